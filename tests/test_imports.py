"""Which way the arrows of the house point, as data; `docs/architecture.md` draws the same picture."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "fairlead"

WORDS = {"__init__", "chat", "resources", "call", "errors"}
PURE = {"protocols", "routing", "policy", "catalog", "settings"}
BACK = {"storage", "providers", "telemetry", "upstream", "usage"}

# room → the rooms it may import from, besides its own.
ARROWS: dict[str, set[str]] = {
    "__init__": set(),
    "chat": set(),
    "errors": set(),
    "resources": set(),
    "call": {"chat", "errors", "resources", "catalog", "protocols"},
    "settings": set(),
    "protocols": {"chat", "errors"},
    "routing": {"errors", "resources"},
    "policy": {"errors", "resources", "protocols"},
    "catalog": {"errors", "resources", "upstream"},
    "upstream": {"__init__", "errors"},
    "providers": WORDS | {"catalog", "protocols", "upstream"},
    "storage": WORDS | {"usage"},
    "usage": WORDS,
    "telemetry": WORDS,
    "auth": WORDS,
    "translation": WORDS | {"protocols"},
    "pipeline": WORDS | PURE | {"auth", "providers", "translation", "upstream", "usage"},
    "config": WORDS | PURE | {"providers", "upstream"},
    "http": WORDS | {"auth", "catalog", "pipeline", "protocols"},
    "cli": WORDS | PURE | BACK | {"app", "config", "http", "pipeline"},
    "app": WORDS | PURE | BACK | {"auth", "config", "http", "pipeline"},
    "__main__": {"cli"},
}

# library → where it may be imported: the beginning of a path below src/fairlead.
ADDRESSES: dict[str, tuple[str, ...]] = {
    "alembic": ("storage/",),
    "httptools": ("upstream/", "http/server.py", "providers/simulator/"),
    "sqlalchemy": ("storage/",),
    "starlette": ("http/",),
    "structlog": ("telemetry/logs.py",),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "uvicorn": ("http/server.py", "cli/serve.py"),
    "uvloop": ("cli/",),
    "watchfiles": ("config/watch.py",),
    "sqlite3": ("storage/",),
    "ssl": ("upstream/",),
    "json": (),  # msgspec is faster, and stricter
}

FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(file.relative_to(SOURCE)) for file in FILES]


def room(module: str) -> str:
    """Of "fairlead.http.server": "http"."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(file: Path) -> Iterator[str]:
    """Modules that `file` imports anywhere but for types only."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == "fairlead":
                yield from (
                    f"fairlead.{alias.name}"
                    if (SOURCE / alias.name).exists() or (SOURCE / f"{alias.name}.py").exists()
                    else "fairlead"
                    for alias in node.names
                )
            else:
                yield node.module


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_room_imports_only_what_lies_below_it(file: Path) -> None:
    place = file.relative_to(SOURCE)
    own = place.parts[0].removesuffix(".py")
    wanted = {room(module) for module in imports(file) if module.split(".")[0] == "fairlead"}
    assert wanted <= ARROWS[own] | {own}


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_library_has_one_address(file: Path) -> None:
    place = file.relative_to(SOURCE).as_posix()
    for module in imports(file):
        addresses = ADDRESSES.get(module.split(".")[0])
        assert addresses is None or place.startswith(addresses), f"{place} imports {module}"


def test_no_vendor_is_known_outside_providers() -> None:
    """A vendor is a row: nobody compares or looks up its name (protocols are no vendors)."""
    vendors = set(tomllib.loads((SOURCE / "providers" / "catalog.toml").read_text(encoding="utf-8"))) - {"sim"}
    for file in FILES:
        if "providers" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare | ast.Subscript | ast.MatchValue):
                told = {child.value for child in ast.walk(node) if isinstance(child, ast.Constant)}
                assert not told & vendors, f"{file.relative_to(SOURCE)}:{node.lineno}"


def test_the_interface_of_a_package_imports_none_of_its_siblings() -> None:
    for file in SOURCE.rglob("__init__.py"):
        package = ".".join(["fairlead", *file.parent.relative_to(SOURCE).parts])
        if package.startswith("fairlead.providers.simulator"):
            continue  # its face is what `app.py` plugs in
        assert not [module for module in imports(file) if module.startswith(package + ".")], package

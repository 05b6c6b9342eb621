"""Which way the arrows of the house point, as data; `docs/architecture.md` draws the same picture."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "fairlead"

WORDS = {"__init__", "chat", "resources", "call", "errors"}
PURE = {"protocols", "routing", "policy", "catalog", "settings"}
BACK = {"storage", "providers", "telemetry", "upstream", "usage"}

# room → what it may import besides its own: rooms, or single modules of them.
ARROWS: dict[str, set[str]] = {
    "__init__": set(),
    "chat": set(),
    "errors": set(),
    "resources": set(),
    "call": {"chat", "errors", "resources", "catalog", "protocols"},
    "settings": {"tally"},
    "protocols": {"chat", "errors", "tally"},
    "routing": {"errors", "resources"},
    "policy": {"errors", "resources", "protocols"},
    "catalog": {"errors", "resources", "upstream"},
    "buffers": {"call", "chat", "errors", "tally"},
    "tally": set(),
    "writes": set(),
    "upstream": {"__init__", "buffers", "errors", "writes"},
    "providers": WORDS | {"catalog", "protocols", "upstream"},
    "storage": WORDS | {"usage"},
    "usage": WORDS,
    "telemetry": WORDS,
    "auth": WORDS | {"penalties"},
    "penalties": set(),
    "pins": WORDS,
    "places": WORDS | {"protocols"},
    "media": WORDS | {"buffers", "places", "protocols", "upstream"},
    "translation": WORDS | {"media", "places", "protocols"},
    "relay": WORDS | {"buffers", "protocols", "translation", "upstream", "usage.journal"},
    "answers": WORDS | {"buffers", "protocols", "routing", "upstream"},
    "counts": WORDS
    | {
        "answers",
        "auth",
        "buffers",
        "catalog",
        "media",
        "pins",
        "places",
        "policy",
        "protocols",
        "routing",
        "translation",
    }
    | {"upstream", "providers.signing"},
    "pipeline": WORDS
    | {"answers", "auth", "buffers", "catalog", "media", "pins", "policy", "protocols", "relay", "routing"}
    | {"translation", "upstream", "providers.quirks", "providers.signing", "usage.ledger"},
    "config": WORDS | PURE | {"providers", "upstream"},
    "http": WORDS | {"auth", "buffers", "catalog", "pipeline", "protocols", "writes"},
    "conformance": set(),
    "cli": WORDS | PURE | BACK | {"app", "config", "conformance", "http", "pipeline"},
    "app": WORDS | PURE | BACK | {"auth", "buffers", "config", "counts", "http", "pins", "pipeline", "writes"},
    "__main__": {"cli"},
}

# library → where it may be imported: the beginning of a path below src/fairlead.
ADDRESSES: dict[str, tuple[str, ...]] = {
    "alembic": ("storage/",),
    "httptools": ("upstream/", "http/connection.py", "providers/simulator/"),
    "sqlalchemy": ("storage/",),
    "starlette": ("http/",),
    "structlog": ("telemetry/logs.py",),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "uvicorn": ("http/server.py", "http/connection.py", "cli/serve.py"),
    "uvloop": ("cli/",),
    # The vendors' SDKs judge what we do; nothing that serves a call needs them.
    "anthropic": ("conformance/formats/",),
    "botocore": ("conformance/formats/",),
    "cohere": ("conformance/formats/",),
    "google": ("conformance/formats/gemini.py",),
    "ollama": ("conformance/formats/",),
    "openai": ("conformance/formats/",),
    "httpx2": ("conformance/formats/",),
    "pydantic": ("conformance/formats/",),
    "watchfiles": ("config/watch.py",),
    "sqlite3": ("storage/",),
    "ssl": ("upstream/", "http/tls.py", "cli/doctor/"),
    "json": (),  # msgspec is faster, and stricter
    "msgspec": ("",),  # everywhere
}

FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [file.relative_to(SOURCE).as_posix() for file in FILES]


def place(file: Path) -> str:
    """Where it lies: "http/server.py"."""
    return file.relative_to(SOURCE).as_posix()


def room(file: Path) -> str:
    """Of "http/server.py": "http"."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def allowed(module: str, rooms: set[str]) -> bool:
    """Whether "fairlead.usage.ledger" is of one of `rooms`: "usage", or "usage.ledger" itself."""
    parts = module.split(".")[1:] or ["__init__"]
    return not rooms.isdisjoint(".".join(parts[:depth]) for depth in range(1, len(parts) + 1))


def is_module(name: str) -> bool:
    path = SOURCE.parent / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def imports(file: Path) -> Iterator[str]:
    """Modules that `file` imports, within functions too, but not those for types only."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for child in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = whole_name(file, node)
            named = [f"{source}.{alias.name}" for alias in node.names]
            modules = [name for name in named if is_module(name)]
            yield from modules
            if len(modules) < len(named):
                yield source


def whole_name(file: Path, node: ast.ImportFrom) -> str:
    """What stands behind `from`, its leading dots resolved."""
    if not node.level:
        return node.module or ""
    package = ["fairlead", *file.relative_to(SOURCE).parts[: -node.level]]
    return ".".join([*package, *([node.module] if node.module else [])])


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_room_imports_only_what_lies_below_it(file: Path) -> None:
    rooms = ARROWS[room(file)] | {room(file)}
    ours = {module for module in imports(file) if module.split(".")[0] == "fairlead"}
    assert not [module for module in sorted(ours) if not allowed(module, rooms)]


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_library_has_one_address(file: Path) -> None:
    for module in imports(file):
        name = module.split(".")[0]
        if name in ADDRESSES:
            assert place(file).startswith(ADDRESSES[name]), f"{place(file)} imports {module}"
        else:
            assert name == "fairlead" or name in sys.stdlib_module_names, f"where does {name} live?"


def test_no_vendor_is_known_outside_providers() -> None:
    """A vendor is a row: nobody compares or looks up its name (protocols are no vendors)."""
    vendors = set(tomllib.loads((SOURCE / "providers" / "catalog.toml").read_text(encoding="utf-8"))) - {"sim"}
    for file in FILES:
        if "providers" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare | ast.Subscript | ast.MatchValue):
                told = {child.value for child in ast.walk(node) if isinstance(child, ast.Constant)}
                assert not told & vendors, f"{place(file)}:{node.lineno}"


def test_the_interface_of_a_package_imports_none_of_its_siblings() -> None:
    for file in SOURCE.rglob("__init__.py"):
        package = ".".join(["fairlead", *file.parent.relative_to(SOURCE).parts])
        if package.startswith("fairlead.providers.simulator"):
            continue  # its face is what `app.py` plugs in
        assert not [module for module in imports(file) if module.startswith(package + ".")], package

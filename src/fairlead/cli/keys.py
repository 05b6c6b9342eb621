"""`fairlead keys`: make, list and revoke keys. Works on the database, whether a gateway runs or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairlead.cli.database import configured
from fairlead.cli.options import Config, Json
from fairlead.cli.output import encoded
from fairlead.resources import ALL_SCOPES, Key

if TYPE_CHECKING:  # 130 ms, which help and completion need not pay
    from fairlead.storage.keys import KeyStore

app = typer.Typer(help="Make, list and revoke the keys that open the gateway.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What to call it: who or what will use it.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"What it may do; may be repeated: {', '.join(ALL_SCOPES)}. Without it: {ALL_SCOPES[0]}."),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a key and show its secret, once."""
    scopes = scope or list(ALL_SCOPES[:1])
    for wanted in scopes:
        if wanted not in ALL_SCOPES:
            raise typer.BadParameter(f"unknown scope {wanted!r}; known are {', '.join(ALL_SCOPES)}")
    with _store(config) as store:
        secret, key = store.create(name, scopes)
    if json:
        print(encoded({**_told(key), "secret": secret}))
    else:
        print(f"{secret}\n\nThis is shown only now. Id: {key.id}, name: {key.name}, scopes: {', '.join(key.scopes)}")


@app.command("list")
def list_keys(config: Config = None, json: Json = False) -> None:
    """Show all keys of the database, without their secrets. Those of the file are in it."""
    with _store(config) as store:
        keys = store.list()
    if json:
        print(encoded([_told(key) for key in keys]))
        return
    for key in keys:
        state = "revoked" if key.revoked_us is not None else "active"
        created = datetime.fromtimestamp(key.created_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
        print(f"{key.id}  {key.prefix}…{key.last_four}  {state:8}{created}  {' '.join(key.scopes):20}  {key.name}")
    if not keys:
        print("There are no keys yet: fairlead keys create NAME")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, the first 8 characters of it, or its name.")],
    config: Config = None,
    json: Json = False,
) -> None:
    """Revoke a key: within a second every gateway refuses it."""
    from fairlead.storage.keys import Ambiguous

    with _store(config) as store:
        try:
            count = store.revoke(key)
        except Ambiguous as error:
            typer.echo(error, err=True)
            raise typer.Exit(1) from None
    if json:
        print(encoded({"revoked": count}))
    elif count:
        print(f"Revoked: {key}")
    if not count:
        typer.echo(f"There is no active key {key!r}: see fairlead keys list", err=True)
        raise typer.Exit(1)


@contextmanager
def _store(config: Path | None) -> "Iterator[KeyStore]":
    from fairlead.storage.keys import KeyStore

    with configured(config) as database:
        yield KeyStore(database)


def _told(key: Key) -> dict[str, Any]:
    shown = ("id", "name", "prefix", "last_four", "scopes", "created_us", "revoked_us")
    return {name: getattr(key, name) for name in shown}

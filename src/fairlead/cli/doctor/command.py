"""`fairlead doctor`: what is wrong with where a gateway runs, and what to do about it. It changes nothing."""

import io
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from fairlead.cli.doctor import Finding, certificate, clock, counted, database, folder, journal, listening, machine
from fairlead.cli.doctor import providers as doors
from fairlead.cli.options import Config, Json
from fairlead.cli.output import encoded
from fairlead.config import InvalidConfigs, Wishes
from fairlead.config.file import load, located
from fairlead.config.sync import snapshot
from fairlead.settings import Settings


def command(
    config: Config = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no provider: leave out whether they answer, and the clock.")
    ] = False,
    json: Json = False,
) -> None:
    """Find out what is wrong, and what to do about it.

    It looks at the machine, the configuration, the port, the certificate, the
    folder, the journal and the database, asks each provider for its list of
    models, and compares the clock. It changes nothing.

    Exits with 1 if there is a problem.
    """
    findings = [_plain(finding) for finding in examine(config, offline=offline)]
    ok = all(finding.state != "problem" for finding in findings)
    if json:
        print(encoded({"ok": ok, "checks": findings}))
    else:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        print(_shown(findings))
    if not ok:
        raise typer.Exit(1)


def examine(config: Path | None, *, offline: bool = False) -> Iterator[Finding]:
    """All checks, as far as those before allow them."""
    yield machine.python(sys.version_info[:2])
    yield machine.open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
    yield machine.backlog()
    yield machine.memory(machine.memory_limit())
    try:
        wishes = load(config, os.environ)
    except InvalidConfigs as problems:
        yield configuration(config, problems)
        return
    yield configuration(config, None)
    yield from listening.examine(wishes.settings.server)
    yield from certificate.examine(wishes.settings.server)
    yield from _ledger(wishes.settings)
    if not offline:
        yield from _outside(wishes)


def _ledger(settings: Settings) -> Iterator[Finding]:
    """What the ledger needs: the folder, what lies under it, the database, the journal."""
    yield journal.fsync(settings.journal)
    place = Path(settings.server.state_dir).absolute()
    state = folder.state_folder(place)
    yield state
    if state.state == "problem":
        return
    yield folder.file_system(place)
    facts = yield from database.examine(place / settings.database.url.removeprefix("sqlite:///"))
    yield from journal.examine(place, settings.journal, facts)


def _outside(wishes: Wishes) -> Iterator[Finding]:
    """The providers, and what they say of the time."""
    met = doors.meet(snapshot(wishes), os.environ)
    yield from (each.finding for each in met)
    yield clock.judged({each.provider: each.ahead_seconds for each in met if each.ahead_seconds is not None})


def configuration(config: Path | None, problems: InvalidConfigs | None) -> Finding:
    file = located(config, os.environ)
    if problems is None:
        return Finding("configuration", "ok", f"{file or 'no file'}: no problems")
    first, *others = problems.problems
    more = f", and {len(others)} more" if others else ""
    return Finding("configuration", "problem", f"{first}{more}", "mend it; fairlead check tells all")


# ---- for people


def _shown(findings: Sequence[Finding]) -> str:
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:8} {finding.check:{width}}  {finding.found}")
        if finding.to_do:
            lines.append(f"{'':{width + 9}}  {finding.to_do}")
    counts = {state: sum(finding.state == state for finding in findings) for state in ("problem", "warning")}
    told = [counted(count, state) for state, count in counts.items() if count]
    return "\n".join([*lines, "", f"{', '.join(told) or 'Nothing is wrong'}."])


def _plain(finding: Finding) -> Finding:
    """Each text in one line, of what can be printed: a path may be any bytes."""
    found, to_do = (
        "".join(character if character.isprintable() else "?" for character in text)
        for text in (finding.found, finding.to_do)
    )
    facts = {name: _encodable(value) for name, value in finding.facts.items()}
    return msgspec.structs.replace(finding, found=found, to_do=to_do, facts=facts)


def _encodable(value: Any) -> Any:
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    return value.encode(errors="replace").decode() if isinstance(value, str) else value

"""The clock: whether it is that of the world, as providers tell it in the `Date` of their answers."""

from collections.abc import Mapping

from fairlead.cli.doctor import Finding, State

_WARNING_SECONDS = 30.0
_PROBLEM_SECONDS = 300.0


def judged(ahead: Mapping[str, float]) -> Finding:
    """`ahead`: by provider, how many seconds this clock is ahead of its own; negative for behind.

    The nearest counts: a wrong clock of ours is far from every other, a wrong one of theirs only from us.
    """
    if not ahead:
        return Finding("clock", "ok", "not compared: no provider on another machine told the time", "", {})
    provider, seconds = min(ahead.items(), key=lambda told: abs(told[1]))
    facts = {"ahead_seconds": round(seconds, 1), "provider": provider}
    if abs(seconds) <= _WARNING_SECONDS:
        return Finding("clock", "ok", f"agrees with {provider} ({seconds:+.0f} s)", "", facts)
    found = f"{abs(seconds):.0f} seconds {'ahead of' if seconds > 0 else 'behind'} {provider}"
    if len(ahead) > 1:
        found += f", the nearest of {len(ahead)}"
    to_do = "set the clock, and keep it: timedatectl set-ntp true, or chrony"
    state: State = "problem" if abs(seconds) > _PROBLEM_SECONDS else "warning"
    return Finding("clock", state, found, f"{to_do}; records and certificates go by it", facts)

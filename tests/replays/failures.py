"""What clients are told of an error, in the dialect of each, and what a provider said of it."""

import json
from typing import Any

from replays.playing import Played
from replays.readers import Answer, events

# What is wrong with the gateway's own account at a provider is no fault of the client's.
_ACCOUNT = ("insufficient_quota", "API_KEY_INVALID", "invalid_api_key")
_ACCOUNTS = frozenset({401, 402, 403})


def differences(client: str, play: Played, status: int, answer: Answer) -> list[str]:
    """What a client is not told of the error that was recorded, or not in its dialect."""
    expected = play.recording.status if play.recording.status >= 400 else None
    found = []
    if answer.framing == "sse":
        told = list(events(answer))
        if expected is not None:
            found.append("a stream, for an error that came before it")
    else:
        told = [json.loads(answer.body)]
        ours = expected in _ACCOUNTS or any(f'"{word}"' in play.answer.body.decode() for word in _ACCOUNT)
        wanted = 502 if ours and expected is not None else expected or status
        expected = None if ours else expected
        if status != wanted or status < 400 or status == 500:
            found.append(f"status {status} for {expected}")
    message = _message(client, told[-1])
    if not message:
        return [*found, f"no error of {client}: {json.dumps(told[-1])[:300]}"]
    said = spoken(play)
    if expected in (400, 404, 413, 422) and said not in message:
        found.append(f"{message[:200]!r} for {said[:200]!r}")
    return found


def _message(client: str, told: Any) -> str:
    """Of the last thing that is told; "" if it is no error of that format."""
    match told:
        case {"type": "error", "error": {"type": str(), "message": str(message)}} if client == "anthropic-messages":
            return str(message)
        case {"error": {"code": int(), "message": str(message), "status": str()}} if client == "gemini":
            return str(message)
        case {"type": "response.failed", "response": {"error": {"code": str(), "message": str(message)}}}:
            return str(message) if client == "openai-responses" else ""
        case {"error": {"message": str(message), "type": str()}} if client.startswith("openai"):
            return str(message)
    return ""


def spoken(play: Played) -> str:
    """The provider's words, wherever they stand."""
    told = list(events(play.answer))[-1]
    told = told[0] if isinstance(told, list) else told
    inner = told.get("error", told)
    words = inner if isinstance(inner, str) else inner.get("message") or inner.get("Message") or ""
    return str(words)

"""The dialect of `/api/v1`: OpenRouter's errors, and the fields its clients require."""

import json
from functools import cache
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from fairlead import errors
from fairlead.chat import Response, Text, Usage, tell
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_completions import OpenAICompletions
from fairlead.protocols.openrouter_chat import OpenRouterChat, OpenRouterCompletions
from fairlead.protocols.sse import EventCutter, data
from protocols_recordings import require_shared

CHAT, COMPLETIONS = OpenRouterChat(), OpenRouterCompletions()
ANSWER = Response("c", "m", (Text("x"),), "stop", Usage(1, 2), 5)

OURS = [
    errors.InvalidRequest("no", param="n"), errors.InvalidKey(), errors.Forbidden("no"), errors.ModelNotFound("x"),
    errors.MethodNotAllowed("POST"), errors.RequestTimeout("no"), errors.TooLarge("no"), errors.Unavailable("no"),
    errors.UnsupportedMediaType("no"), errors.InternalError(), errors.UpstreamRefused("no"), errors.OutOfCredit(),
    errors.ContentPolicyViolation("no"), errors.CredentialRejected(), errors.RateLimited(), errors.Overloaded(),
    errors.UpstreamTimeout("silence", 5), errors.ConnectFailed("no"), errors.UpstreamBroken("no"),
    errors.UpstreamTooLarge(), errors.UpstreamModelNotFound(), errors.CredentialMissing("m", {"a": "A_KEY"}),
    errors.ShuttingDown(sent=True),
]  # fmt: skip


@cache
def validator(name: str) -> Any:
    place = require_shared() / "openrouter-openapi" / "openapi.json"
    contents = {"components": json.loads(place.read_text(encoding="utf-8"))["components"]}
    registry = Registry().with_resource("urn:openrouter", Resource(contents=contents, specification=DRAFT202012))
    return jsonschema.Draft202012Validator({"$ref": f"urn:openrouter#/components/schemas/{name}"}, registry=registry)


def faults(name: str, value: Any) -> list[str]:
    return [error.message for error in validator(name).iter_errors(value)]


def test_they_pass_the_bytes_of_their_parents() -> None:
    assert (CHAT.name, COMPLETIONS.name) == (OpenAIChat.name, OpenAICompletions.name)


def test_an_error_has_a_number_for_a_code_and_metadata() -> None:
    error = errors.RateLimited("org-123456 is over its limit")
    error.provider = "groq"
    assert json.loads(CHAT.encode_error(error)) == {
        "error": {
            "code": 429,
            "message": "groq is limiting the rate of requests.",
            "metadata": {
                "error_type": "rate_limit_exceeded",
                "code": "rate_limit_exceeded",
                "retryable": True,
                "provider_name": "groq",
            },
        }
    }


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidRequest("no"), "invalid_request"),
        (errors.InvalidKey(), "authentication"),
        (errors.Forbidden("no"), "permission_denied"),
        (errors.ModelNotFound("x"), "not_found"),
        (errors.TooLarge("no"), "payload_too_large"),
        (errors.ContentPolicyViolation("no"), "content_policy_violation"),
        (errors.Overloaded(), "provider_overloaded"),
        (errors.Unavailable("no"), "server"),
        (errors.UpstreamBroken("no"), "provider_unavailable"),
        (errors.UpstreamTimeout("total", 5), "timeout"),
        (errors.InternalError(), "server"),
    ],
)
def test_an_errors_type_is_one_of_theirs_and_ours_stands_beside_it(error: errors.FairleadError, kind: str) -> None:
    metadata = json.loads(CHAT.encode_error(error))["error"]["metadata"]
    assert (metadata["error_type"], metadata["code"]) == (kind, error.code)


def test_the_field_at_fault_is_in_the_metadata() -> None:
    told = json.loads(COMPLETIONS.encode_error(errors.InvalidRequest("no", param="messages[3].content")))
    assert told["error"]["metadata"]["param"] == "messages[3].content"


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
def test_every_error_is_valid_by_their_description(error: errors.FairleadError) -> None:
    assert faults("BadRequestResponseErrorData", json.loads(CHAT.encode_error(error))["error"]) == []
    (raw,) = EventCutter(1 << 20).feed(CHAT.encode_error_event(error))
    chunk = json.loads(data(raw))
    assert faults("ChatStreamChunk", chunk) == []
    assert chunk["error"]["code"] == error.status
    assert chunk["choices"][0]["finish_reason"] == "error"


def test_a_completions_stream_ends_in_a_chunk_of_its_own_kind() -> None:
    (raw,) = EventCutter(1 << 20).feed(COMPLETIONS.encode_error_event(errors.UpstreamBroken("no")))
    chunk = json.loads(data(raw))
    assert chunk["object"] == "text_completion"
    assert chunk["choices"] == [{"index": 0, "text": "", "finish_reason": "error"}]
    assert chunk["error"]["metadata"]["retryable"] is False


def test_an_error_chunk_is_read_as_an_error_by_our_own_reader() -> None:
    (raw,) = EventCutter(1 << 20).feed(CHAT.encode_error_event(errors.Overloaded()))
    with pytest.raises(errors.Overloaded):
        CHAT.stream_reader().see(raw)


@pytest.mark.parametrize("body", [b'{"id":"c","choices":[]}', b' {"id":"c"} \n'])
def test_a_whole_answer_gets_the_field_that_must_be_there(body: bytes) -> None:
    assert json.loads(CHAT.dress(body)) == {**json.loads(body), "system_fingerprint": None}


@pytest.mark.parametrize(
    "body",
    [b'{"system_fingerprint":"fp"}', b'{"system_fingerprint":null}', b"", b"{}", b"null", b"[1]", b"<html>", b"\xff"],
)
def test_an_answer_that_has_it_or_is_no_answer_stays_as_it_is(body: bytes) -> None:
    assert CHAT.dress(body) == body


def test_a_text_that_names_the_field_does_not_hide_that_it_is_absent() -> None:
    body = json.dumps({"choices": [{"message": {"content": '{"system_fingerprint":1}'}}]}).encode()
    assert json.loads(CHAT.dress(body))["system_fingerprint"] is None


def test_a_translated_answer_is_valid_by_their_description() -> None:
    assert faults("ChatResult", json.loads(CHAT.encode_response(ANSWER))) == []
    encode = CHAT.event_encoder(include_usage=True)
    for raw in EventCutter(1 << 20).feed(b"".join(map(encode, tell(ANSWER)))):
        assert data(raw) == b"[DONE]" or faults("ChatStreamChunk", json.loads(data(raw))) == []

"""Whether a client wants to read thoughts, as each format asks for it and as providers are asked."""

from typing import Any

import msgspec
import pytest

from fairlead.chat import Thinking
from fairlead.protocols import ChatProtocol
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.bedrock_converse import BedrockConverse
from fairlead.protocols.gemini import Gemini
from fairlead.protocols.ollama_chat import OllamaChat
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openai_responses import OpenAIResponses

CHAT, RESPONSES, ANTHROPIC, GEMINI = OpenAIChat(), OpenAIResponses(), AnthropicMessages(), Gemini()
HELLO: dict[ChatProtocol, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "hello"}]},
    RESPONSES: {"input": "hello"},
    ANTHROPIC: {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9999},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
}


def budget(**config: Any) -> dict[str, Any]:
    return {"generationConfig": {"thinkingConfig": {"thinkingBudget": 2048, **config}}}


def asked(client: ChatProtocol, endpoint: ChatProtocol, wish: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """What a provider is asked, and what was dropped."""
    request = client.decode_request(msgspec.json.encode({"model": "claude", **HELLO[client], **wish}))
    if isinstance(endpoint, BedrockConverse):
        request = msgspec.structs.replace(request, model="anthropic.claude-opus-4-8")
    told = endpoint.encode_request(request, default_max_tokens=9999)
    return msgspec.json.decode(told.body), told.dropped


@pytest.mark.parametrize(
    ("client", "wish", "summary"),
    [
        (ANTHROPIC, {"thinking": {"type": "enabled", "budget_tokens": 2048}}, "default"),
        (ANTHROPIC, {"thinking": {"type": "adaptive", "display": "summarized"}}, "auto"),
        (ANTHROPIC, {"thinking": {"type": "adaptive", "display": "omitted"}}, "none"),
        (ANTHROPIC, {"output_config": {"effort": "low"}}, "default"),
        (GEMINI, budget(includeThoughts=True), "auto"),
        (GEMINI, budget(includeThoughts=False), "none"),
        (GEMINI, budget(), None),
        (RESPONSES, {"reasoning": {"effort": "low"}}, None),
        (RESPONSES, {"reasoning": {"effort": "low", "summary": "detailed"}}, "detailed"),
        (RESPONSES, {"reasoning": {"effort": "low", "generate_summary": "concise"}}, "concise"),
        (CHAT, {"reasoning_effort": "low"}, None),
        (CHAT, {"reasoning": {"effort": "low"}}, "auto"),
        (CHAT, {"reasoning": {"effort": "low", "exclude": True}}, "none"),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else str(value),
)
def test_the_wish_is_understood_and_told_as_responses_have_it(
    client: ChatProtocol, wish: dict[str, Any], summary: str | None
) -> None:
    thinking = client.decode_request(msgspec.json.encode({"model": "m", **HELLO[client], **wish})).thinking
    assert thinking is not None
    assert thinking.summary == summary
    told, dropped = asked(client, RESPONSES, wish)
    assert told.get("reasoning", {}).get("summary") == {"none": None, "default": "auto"}.get(str(summary), summary)
    assert dropped == ()


SHOWN = {"reasoning": {"effort": "low", "summary": "auto"}}
HIDDEN = {"thinking": {"type": "adaptive", "display": "omitted"}}


def test_gemini_is_asked_for_thoughts_unless_they_are_declined() -> None:
    told, dropped = asked(RESPONSES, GEMINI, SHOWN)
    assert told["generationConfig"]["thinkingConfig"]["includeThoughts"] is True
    assert dropped == ()
    told, dropped = asked(ANTHROPIC, GEMINI, HIDDEN)
    assert told["generationConfig"]["thinkingConfig"]["includeThoughts"] is False
    assert dropped == ()


@pytest.mark.parametrize("endpoint", [ANTHROPIC, BedrockConverse()], ids=["anthropic", "bedrock"])
def test_claude_is_told_where_it_would_not_do_so_itself(endpoint: ChatProtocol) -> None:
    def thinking(client: ChatProtocol, wish: dict[str, Any]) -> Any:
        told, dropped = asked(client, endpoint, wish)
        assert "thinking.summary" not in dropped
        return (told if endpoint is ANTHROPIC else told["additionalModelRequestFields"])["thinking"]

    adaptive = budget(thinkingBudget=-1, includeThoughts=True)
    assert thinking(GEMINI, adaptive) == {"type": "adaptive", "display": "summarized"}
    assert thinking(GEMINI, budget(thinkingBudget=-1)) == {"type": "adaptive"}
    assert thinking(RESPONSES, SHOWN) == {"type": "enabled", "budget_tokens": 1024}
    hidden = {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}
    assert thinking(GEMINI, budget(includeThoughts=False)) == hidden


@pytest.mark.parametrize("endpoint", [CHAT, OllamaChat()], ids=["chat", "ollama"])
def test_a_format_that_always_tells_thoughts_says_so(endpoint: ChatProtocol) -> None:
    assert asked(ANTHROPIC, endpoint, HIDDEN)[1] == ("thinking.summary",)
    assert asked(RESPONSES, endpoint, SHOWN)[1] == ()


def test_a_summary_alone_is_no_wish_to_think() -> None:
    wish = {"reasoning": {"summary": "detailed"}}
    request = RESPONSES.decode_request(msgspec.json.encode({"model": "m", **HELLO[RESPONSES], **wish}))
    assert request.thinking is None
    assert asked(RESPONSES, RESPONSES, wish)[0]["reasoning"] == wish["reasoning"]
    told, dropped = asked(RESPONSES, ANTHROPIC, wish)
    assert "thinking" not in told
    assert dropped == ("reasoning",)


def test_an_answer_repeats_what_was_asked() -> None:
    body = {"model": "m", **HELLO[RESPONSES], "reasoning": {"effort": "low", "summary": "detailed"}}
    request = RESPONSES.decode_request(msgspec.json.encode(body))
    assert request.thinking == Thinking(effort="low", summary="detailed")
    response = CHAT.decode_response(b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}')
    assert msgspec.json.decode(RESPONSES.encode_response(response, request))["reasoning"] == body["reasoning"]

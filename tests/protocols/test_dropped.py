"""What a format cannot say of a request is named, and nothing else is."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from fairlead import errors
from fairlead.app import WIRES
from fairlead.chat import (
    Citation,
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Request,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from fairlead.protocols import ChatProtocol, is_outbound
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.gemini import Gemini
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.openrouter_chat import OpenRouterChat

OPENAI, OPENROUTER, ANTHROPIC = OpenAIChat(), OpenRouterChat(), AnthropicMessages()
MESSAGES = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CLAUDES_TOOL = {"name": "f", "input_schema": {"type": "object"}}
CUSTOM = {"type": "custom", "custom": {"name": "c"}}
MARK = {"type": "ephemeral"}


def crossed(client: ChatProtocol, endpoint: ChatProtocol, **fields: Any) -> tuple[str, ...]:
    """What is dropped of a request of a client's format at an endpoint of the other."""
    body = {"model": "m", "max_tokens": 5000, "messages": MESSAGES, **fields}
    request = client.decode_request(msgspec.json.encode(body))
    return endpoint.encode_request(request, default_max_tokens=1).dropped


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({}, ()),
        ({"logit_bias": {"1": 2}, "top_k": 3, "seed": 0}, ("logit_bias", "seed")),
        ({"logit_bias": None, "logprobs": False, "metadata": {}, "frequency_penalty": 0, "presence_penalty": 0.0}, ()),
        ({"frequency_penalty": 0.5, "presence_penalty": -1}, ("frequency_penalty", "presence_penalty")),
        ({"temperature": 0, "top_p": 0, "stop": ["a"], "user": "u"}, ()),
        ({"temperature": 1.5}, ("temperature",)),
        ({"n": 1}, ()),
        ({"n": 1.0}, ()),
        ({"n": 2}, ("n",)),
        ({"stop": ["\n", "a"]}, ("stop",)),
        ({"reasoning_effort": "high", "temperature": 0.5, "top_p": 1}, ("temperature", "top_p")),
        ({"reasoning_effort": "high", "tools": [TOOL], "tool_choice": "required"}, ("thinking",)),
        ({"reasoning": {"effort": "low", "exclude": True}}, ("reasoning",)),
        ({"reasoning_effort": "fierce"}, ("thinking",)),
        ({"service_tier": "flex"}, ("service_tier",)),
        ({"service_tier": "auto"}, ()),
        ({"response_format": {"type": "json_object"}}, ()),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": True}}}, ()),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, ("response_format",)),
        ({"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False}, ()),
        ({"tools": [TOOL, CUSTOM]}, ("custom",)),
        ({"tools": [CUSTOM], "tool_choice": "required"}, ("custom", "tool_choice")),
        ({"messages": [{"role": "user", "name": "Ann", "content": "hi"}]}, ("name",)),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": MARK}]}]},
            (),
        ),
        (
            {"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "https://a.example/i.png", "detail": "low"}},
            ]}]},
            ("detail",),
        ),
        ({"messages": [*MESSAGES, {"role": "assistant", "content": "x", "reasoning_content": "hm"}]}, ("reasoning",)),
        ({"messages": [*MESSAGES, {"role": "assistant", "audio": {"id": "a"}}, *MESSAGES]}, ("content",)),
        ({"stream_options": {"include_usage": True, "include_obfuscation": False}}, ("stream_options",)),
    ],
)  # fmt: skip
def test_what_anthropic_cannot_say_for_a_client_of_openai(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    assert crossed(OPENAI, ANTHROPIC, **fields) == dropped
    assert crossed(OPENROUTER, ANTHROPIC, **fields) == dropped


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({}, ()),
        ({"top_k": 3, "container": "c", "mcp_servers": []}, ("container", "top_k")),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, ()),
        ({"thinking": {"type": "adaptive"}}, ()),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, ()),
        ({"thinking": {"type": "disabled"}}, ("thinking",)),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, ("thinking.summary",)),
        ({"service_tier": "standard_only"}, ("service_tier",)),
        ({"metadata": {"user_id": "u"}, "stop_sequences": ["a"]}, ()),
        ({"system": [{"type": "text", "text": "x", "cache_control": MARK}]}, ("cache_control",)),
        ({"tools": [{**CLAUDES_TOOL, "cache_control": MARK}]}, ("cache_control",)),
        ({"tools": [{**CLAUDES_TOOL, "defer_loading": True}]}, ("defer_loading",)),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, ("web_search_20250305",)),
        (
            {"messages": [*MESSAGES, {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "text", "text": "x", "citations": [{"type": "char_location", "cited_text": "d"}]},
            ]}]},
            ("citations", "reasoning", "server_tool_use"),
        ),
        (
            {"messages": [
                *MESSAGES,
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": [
                        {"type": "text", "text": "no"}, {"type": "tool_reference", "tool_name": "f"},
                    ]},
                ]},
            ]},
            ("is_error", "tool_reference"),
        ),
        (
            {"messages": [{"role": "user", "content": [
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"},
                 "citations": {"enabled": True}, "context": "c"},
            ]}]},
            ("citations", "context"),
        ),
    ],
)  # fmt: skip
def test_what_openai_cannot_say_for_a_client_of_anthropic(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    assert crossed(ANTHROPIC, OPENAI, **fields) == dropped
    assert crossed(ANTHROPIC, OPENROUTER, **fields) == dropped


@pytest.mark.parametrize(
    ("protocol", "fields"),
    [
        (OPENAI, {"reasoning": {"effort": "low", "exclude": True}, "top_k": 4, "logit_bias": {"1": 2}}),
        (OPENAI, {"reasoning_effort": "none", "user": "u", "service_tier": "flex", "logprobs": True}),
        (OPENAI, {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}}),
        (
            OPENAI,
            {"messages": [*MESSAGES, {"role": "assistant", "content": "x", "audio": {"id": "a"}, "tool_calls": [
                {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"},
                 "extra_content": {"google": {"thought_signature": "s"}}},
                {"id": "c", "type": "custom", "custom": {"name": "c", "input": "x"}},
            ]}]},
        ),
        (
            OPENAI,
            {"messages": [{"role": "user", "content": [
                {"type": "video_url", "video_url": {"url": "https://a.example/v.mp4"}},
            ]}]},
        ),
        (ANTHROPIC, {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"x": 1}}),
        (ANTHROPIC, {"tools": [{**CLAUDES_TOOL, "defer_loading": True, "cache_control": MARK}]}),
        (
            ANTHROPIC,
            {"messages": [{"role": "user", "content": [
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"},
                 "citations": {"enabled": True}, "context": "c"},
            ]}]},
        ),
    ],
)  # fmt: skip
def test_a_format_says_all_of_its_own(protocol: ChatProtocol, fields: dict[str, Any]) -> None:
    body = {"model": "m", "max_tokens": 10, "messages": MESSAGES, **fields}
    told = protocol.encode_request(protocol.decode_request(msgspec.json.encode(body)), default_max_tokens=1)
    sent = msgspec.json.decode(told.body)
    assert told.dropped == ()
    assert {name: sent.get(name) for name in fields} == fields


FOREIGN = Opaque("gemini", Raw(b'{"thoughtSignature":"s"}'))


@pytest.mark.parametrize(
    ("part", "dropped"),
    [
        (Text("x", extra=FOREIGN), "thoughtSignature"),
        (Text("x", extra=Opaque("gemini", Raw(b"[1]"))), "extra"),
        (Text("x", citations=(Citation("u"),)), "citations"),
        (ToolUse("t", "f", extra=FOREIGN), "thoughtSignature"),
        (Reasoning("hm", "s", protocol="gemini"), "reasoning"),
        (Reasoning(encrypted="s", protocol="gemini"), "reasoning"),
        (Opaque("gemini", Raw(b'{"executableCode":{}}')), "content"),
        (Opaque("openai-responses", Raw(b'{"type":"web_search_call"}')), "web_search_call"),
        (Opaque("gemini", Raw(b"7")), "content"),
    ],
)
@pytest.mark.parametrize("protocol", [OPENAI, ANTHROPIC])
def test_what_a_third_format_keeps_is_named(protocol: ChatProtocol, part: Part, dropped: str) -> None:
    request = Request("m", (Message("user", (Text("hi"),)), Message("assistant", (Text("y"), part))))
    assert protocol.encode_request(request, default_max_tokens=1).dropped == (dropped,)


def test_words_tell_one_answer_even_to_the_same_format() -> None:
    request = OPENAI.decode_request(msgspec.json.encode({"model": "m", "n": 3, "messages": MESSAGES}))
    told = OPENAI.encode_request(request, default_max_tokens=1)
    assert told.dropped == ("n",)
    assert "n" not in msgspec.json.decode(told.body)


def test_each_is_named_once_in_order() -> None:
    foreign = Opaque("gemini", Raw(b"[1]"))
    request = Request(
        "m",
        (Message("user", (Text("a", extra=FOREIGN), Text("b", extra=FOREIGN), ToolResult("t", (foreign, foreign)))),),
        tools=(Tool("f"),), tool_choice=ToolChoice("named", "f"), response_format=ResponseFormat("json_object"),
        thinking=Thinking(effort="low"), extra={"safetySettings": foreign, "labels": foreign},
    )  # fmt: skip
    names = OPENAI.encode_request(request, default_max_tokens=1).dropped
    assert names == ("content", "labels", "safetySettings", "thoughtSignature")


COMPACTED = Message("assistant", (Opaque("openai-responses", Raw(b'{"type":"compaction","encrypted_content":"x"}')),))
STRANGE = Message("user", (Text("read"), Opaque("anthropic-messages", Raw(b'{"type":"container_upload"}'))))
SAYS = Message("user", (Text("hello"),))
ID = Opaque("openai-responses", Raw(b'{"id":"p"}'))
CACHE = Opaque("gemini", Raw(b'"cachedContents/1"'))


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (Request("m", (COMPACTED, SAYS)), "messages"),
        (Request("m", (STRANGE,)), "messages"),
        (Request("m", (SAYS,), extra={"prompt": ID}), "prompt"),
        (Request("m", (SAYS,), extra={"cachedContent": CACHE}), "cachedContent"),
    ],
    ids=["a conversation that is sealed", "what a user shows", "a stored prompt", "a cache"],
)
def test_words_that_a_format_cannot_say_are_refused(request_: Request, param: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        OPENAI.encode_request(request_, default_max_tokens=1)
    assert (refused.value.param, refused.value.code) == (param, "unsupported_parameter")


def test_a_film_is_no_wish_that_may_be_dropped() -> None:
    film = Media("video", "video/mp4", data="AAAA")
    request = Request("m", (Message("user", (film, Text("what is it?"))),))
    with pytest.raises(errors.InvalidRequest, match="video"):
        ANTHROPIC.encode_request(request, default_max_tokens=1)
    told = msgspec.json.decode(OPENAI.encode_request(request, default_max_tokens=1).body)
    url = {"url": "data:video/mp4;base64,AAAA"}
    assert told["messages"][0]["content"][0] == {"type": "video_url", "video_url": url}
    again = OPENAI.decode_request(msgspec.json.encode(told))
    assert again.messages[0].parts[0] == film


@pytest.mark.parametrize(
    "media", [Media("video", file_id="f"), Media("audio", url="https://a.example/s.mp3"), Media("image", file_id="f")]
)
def test_what_openais_format_takes_in_another_way_only_is_refused(media: Media) -> None:
    with pytest.raises(errors.InvalidRequest, match="takes"):
        OPENAI.encode_request(Request("m", (Message("user", (media,)),)), default_max_tokens=1)


def test_what_a_model_said_in_pictures_cannot_be_told_to_openai() -> None:
    picture = Message("assistant", (Text("x"), Media("image", "image/png", data="AAAA")))
    assert OPENAI.encode_request(Request("m", (picture,)), default_max_tokens=1).dropped == ("image",)


@pytest.mark.parametrize("endpoint", [OPENAI, ANTHROPIC])
def test_a_tool_that_only_gemini_has_is_named_though_another_is_told(endpoint: ChatProtocol) -> None:
    told = {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "tools": [{"googleSearch": {}}, {"functionDeclarations": [{"name": "f"}]}],
    }
    request = Gemini().decode_request(msgspec.json.encode(told))
    assert endpoint.encode_request(request, default_max_tokens=1).dropped == ("tools",)


@pytest.mark.parametrize("protocol", [name for name in WIRES if is_outbound(WIRES[name])])
@pytest.mark.parametrize("effort", ["fierce", "low"])
def test_an_effort_that_nobody_knows_is_said_as_it_is_or_dropped_by_name(protocol: str, effort: str) -> None:
    wire = WIRES[protocol]
    assert is_outbound(wire)
    for model in ("anthropic.claude-x", "amazon.nova-2-lite-v1:0", "openai.gpt-oss-120b-1:0"):
        if protocol == "bedrock-invoke" and not model.startswith("anthropic"):
            continue
        words = Request(model, (Message("user", (Text("hi"),)),), thinking=Thinking(effort=effort))
        told = wire.encode_request(words, default_max_tokens=5000)
        assert effort == "low" or b"fierce" in told.body or told.dropped == ("thinking",)
        assert b"medium" not in told.body


@pytest.mark.parametrize(
    ("protocol", "wishes", "dropped"),
    [
        ("cohere-chat", {"top_p": 1.0, "top_k": 500, "frequency_penalty": 1.0}, ()),
        ("cohere-chat", {"top_p": 1.5, "top_k": 501}, ("top_k", "top_p")),
        ("cohere-chat", {"frequency_penalty": 1.5, "stop": tuple("abcdef")}, ("frequency_penalty", "stop")),
        ("cohere-chat-v1", {"top_k": 501, "presence_penalty": 2.0}, ("presence_penalty", "top_k")),
        ("bedrock-converse", {"top_p": 1.5, "temperature": 1.5}, ("temperature", "top_p")),
        ("openai-responses", {"max_tokens": 15}, ("max_tokens",)),
        ("gemini", {"stop": tuple("abcdef")}, ("stop",)),
        ("openai-chat", {"stop": tuple("abcdef")}, ()),  # all of them are told
    ],
)
def test_what_is_told_otherwise_than_it_was_asked_is_named(
    protocol: str, wishes: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    wire = WIRES[protocol]
    assert is_outbound(wire)
    words = Request("anthropic.claude-x", (Message("user", (Text("hi"),)),), **wishes)
    assert wire.encode_request(words, default_max_tokens=5000).dropped == dropped

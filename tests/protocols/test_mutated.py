"""Decoders are fed what nobody should send: mutated bodies, 100,000 for each, the same ones in every run.

    MUTATED_SEED=7 pytest tests/protocols/test_mutated.py       other bodies
    MUTATED_BODIES=1000000 pytest …                             more of them

Each body is one of the seeds below (or a recording, where they lie) that is wrong in a place or two. A decoder may take
it, or refuse it by the errors that `fairlead.protocols` allows; what it takes can be told again. It may do nothing
else, neither hang, nor take longer or more memory than the size of the body warrants. What fails is shrunk before it is
told; it belongs into `REGRESSIONS` then.
"""

import gzip
import os
import re
import resource
import signal
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from random import Random
from traceback import extract_tb
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fairlead
from fairlead import app
from fairlead.errors import FairleadError, InvalidRequest, UpstreamBroken, UpstreamError
from fairlead.protocols import ChatProtocol, Wire, sse
from fairlead.protocols.sse import EventCutter
from fairlead.upstream.connection import Gunzip
from mutation import SEED, Mutator, StreamMutator, places
from protocols_recordings import Recording, recordings
from work import work

BODIES = int(os.environ.get("MUTATED_BODIES", "100000"))
PATIENCE_SECONDS, PATIENCE_BODIES = 60.0, 1000  # CPU, for so many of them, which take a quarter of a second
MOST_BYTES = 2048  # of a recording that is a seed
MOST_EVENTS = 6  # of a stream
MOST_RESIDENT = 200 << 20
MOST_WORK = 1_000_000  # see work.py; …
WORK_A_BYTE = 200  # … and for each byte of a body
PRODUCT = str(Path(fairlead.__file__).parent)
# Those that have seeds here; the others' mutants stand in their own files.
SEEDED = ("openai-chat", "openai-completions", "anthropic-messages", "anthropic-completions")
WIRES: dict[str, Wire] = {wire.name: wire for wire in app.BOTH if wire.name in SEEDED}
DIALECTS = {name: wire for name, wire in app.DIALECTS.items() if wire.name in SEEDED}
CHATS: list[ChatProtocol] = list(WIRES.values())  # type: ignore[arg-type]
# OpenRouter's dialects tell what OpenAI's formats do, and change it.
TELLING: list[ChatProtocol] = [wire for name, wire in DIALECTS.items() if not name.startswith("openai-")]  # type: ignore[misc]

# ---- what was too much once: a format, the decoder of it, and the body; of a stream all events

CHAT, MESSAGES, COMPLETIONS, COMPLETE = SEEDED[0], SEEDED[2], SEEDED[1], SEEDED[3]
REGRESSIONS: list[tuple[str, str, bytes | list[bytes]]] = [
    (CHAT, "peek", b'{"messages":[{"role":"","":1e999}]}'),  # only where `policy.max_characters` is set
    (MESSAGES, "peek", b'{"messages":[{"role":"","":1e999}]}'),
    (CHAT, "summary", b'{"error":1e999}'),
    (CHAT, "summary", b'{"error":"\xff"}'),
    (CHAT, "summary", b'{"object":"error","":1e999}'),
    (CHAT, "summary", b'{"object":"error","":"\xff"}'),
    (COMPLETIONS, "summary", b'{"error":1e999}'),
    (COMPLETIONS, "summary", b'{"error":"\xff"}'),
    (MESSAGES, "summary", b'{"error":1e999}'),
    (MESSAGES, "summary", b'{"error":"\xff"}'),
    (CHAT, "decode_response", b'{"error":1e999}'),
    (CHAT, "decode_response", b'{"error":"\xff"}'),
    (CHAT, "decode_response", b'{"object":"error","":1e999}'),
    (CHAT, "decode_response", b'{"object":"error","":"\xff"}'),
    (CHAT, "decode_response", b'{"choices":[{"message":{"reasoning_details":[{"type":"\xff"}]}}]}'),
    (MESSAGES, "decode_response", b'{"error":1e999}'),
    (MESSAGES, "decode_response", b'{"error":"\xff"}'),
    (MESSAGES, "decode_response", b'{"content":[{"type":"\xff"}]}'),
    (MESSAGES, "decode_response", b'{"content":[{"type":"tool_use","id":"","name":"","input":"\xff"}]}'),
    (CHAT, "decode_error", b'"\xff"'),
    (COMPLETIONS, "decode_error", b'"\xff"'),
    (COMPLETE, "decode_response", b'{"error":1e999}'),
    (COMPLETE, "event_decoder", [b'data:{"error":"\xff"}']),
    (MESSAGES, "decode_error", b'"\xff"'),
    (CHAT, "stream_reader", [b'data:{"error":1e999}']),
    (CHAT, "stream_reader", [b'data:{"error":"\xff"}']),
    (CHAT, "stream_reader", [b'event:error\ndata:{"":1e999}']),
    (CHAT, "stream_reader", [b'event:error\ndata:{"":"\xff"}']),
    (COMPLETIONS, "stream_reader", [b'data:{"error":1e999}']),
    (MESSAGES, "stream_reader", [b'data:{"type":"","error":1e999}']),
    (MESSAGES, "stream_reader", [b'data:{"type":"","error":"\xff"}']),
    (MESSAGES, "stream_reader", [b'data:{"type":"content_block_start","content_block":{"type":"\xff"}}']),
    (CHAT, "event_decoder", [b'data:{"error":1e999}']),
    (CHAT, "event_decoder", [b'data:{"error":"\xff"}']),
    (CHAT, "event_decoder", [b'event:error\ndata:{"":1e999}']),
    (CHAT, "event_decoder", [b'event:error\ndata:{"":"\xff"}']),
    (CHAT, "event_decoder", [b'data:{"choices":[{"delta":{"reasoning_details":[{"type":"\xff"}]}}]}']),
    (MESSAGES, "event_decoder", [b'data:{"type":"","error":1e999}']),
    (MESSAGES, "event_decoder", [b'data:{"type":"","error":"\xff"}']),
    (MESSAGES, "event_decoder", [b'data:{"type":"content_block_start","content_block":{"type":"\xff"}}']),
    (
        MESSAGES,
        "event_decoder",
        [
            b'data:{"type":"content_block_start","content_block":{}}',
            b'data:{"type":"content_block_delta","":"\xff"}',
        ],
    ),
    (
        MESSAGES,
        "event_decoder",
        [
            b'data:{"type":"content_block_start","content_block":{}}',
            b'data:{"type":"content_block_delta","delta":{"a":1}}',
            b'data:{"type":"content_block_delta","delta":{"a":""}}',
        ],
    ),
]

# ---- seeds

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PNG = "iVBORw0KGgo="
USER = {"role": "user", "content": "What is the weather in Zürich? 🌦"}


def json(value: Any) -> bytes:
    return msgspec.json.encode(value)


CHAT_REQUESTS = [
    {"model": "gpt-4o", "messages": [USER]},
    {
        "model": "gpt-4o", "stream": True, "stream_options": {"include_usage": True, "x": 1}, "max_tokens": 100,
        "max_completion_tokens": 90, "temperature": 0.5, "top_p": 1, "top_k": 5, "frequency_penalty": 0.1, "n": 1,
        "presence_penalty": -0.1, "seed": 7, "stop": ["a", "b"], "user": "u", "service_tier": "auto", "logprobs": True,
        "reasoning_effort": "low", "reasoning": {"effort": "high", "max_tokens": 1000, "enabled": True},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}},
        "metadata": {"a": "b"}, "provider": {"order": ["x"]}, "models": ["a/b"], "logit_bias": {"1": -100},
        "messages": [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, USER],
    },
    {
        "model": "m", "parallel_tool_calls": False,
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "d", "parameters": SCHEMA, "strict": True},
            },
            {"type": "custom", "custom": {"name": "x"}},
        ],
        "functions": [{"name": "old", "parameters": {}}], "function_call": "auto",
        "messages": [
            {"role": "system", "content": "s", "name": "n"},
            USER,
            {
                "role": "assistant", "content": None, "reasoning_content": "hm", "refusal": None,
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "a", "index": 0, "format": "anthropic-claude-v1"},
                    {"type": "reasoning.text", "text": "b", "signature": "s", "index": 0},
                    {"type": "reasoning.encrypted", "data": "zzz", "index": 1},
                    {"type": "reasoning.summary", "summary": "c"},
                ],
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Z"}'}},
                    {"id": "call_2", "type": "custom", "custom": {"name": "x", "input": "y"}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "dull"}]},
            {"role": "function", "name": "old", "content": "x"},
        ],
    },
    {
        "model": "m",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
                    {"type": "image_url", "image_url": "https://example.com/a.png"},
                    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
                    {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"}},
                    {"type": "file", "file": {"file_id": "file-1"}},
                    {"type": "video_url", "video_url": {"url": "x"}},
                ],
            },
            {"role": "assistant", "content": "", "function_call": {"name": "old", "arguments": "{}"}, "audio": {}},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        ],
    },
]  # fmt: skip

COMPLETIONS_REQUESTS = [
    {"model": "m", "prompt": "Once upon a time", "max_tokens": 5, "stream": True, "echo": False, "suffix": None},
    {"model": "m", "prompt": ["a", 1, [2, 3]], "stream_options": {"include_usage": False}, "n": 2, "best_of": 3},
]

COMPLETE_REQUESTS = [
    {"model": "claude-2", "prompt": "\n\nHuman: hi\n\nAssistant:", "max_tokens_to_sample": 10},
    {
        "model": "claude-2", "prompt": "Be brief.\n\nHuman: hi 🌦\n\nAssistant: hello\n\nHuman: and?\n\nAssistant: It",
        "max_tokens_to_sample": 10, "stream": True, "temperature": 1, "top_p": 0.9, "top_k": 5,
        "stop_sequences": ["x", "\n\nHuman:"], "metadata": {"user_id": "u", "x": 1}, "new": 1, "provider": {"a": []},
    },
]  # fmt: skip

MESSAGES_REQUESTS = [
    {"model": "claude", "max_tokens": 10, "messages": [USER]},
    {
        "model": "claude", "max_tokens": 5000, "stream": True, "temperature": 1, "top_p": 0.9, "top_k": 5,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "stop_sequences": ["x", " "], "thinking": {"type": "enabled", "budget_tokens": 2000},
        "metadata": {"user_id": "u"}, "service_tier": "auto", "container": "c",
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
        "tools": [
            {"name": "weather", "description": "d", "input_schema": SCHEMA, "strict": True, "cache_control": None},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
        ],
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                    {"type": "document", "title": "t", "source": {"type": "text", "data": "d"}},
                    {"type": "document", "source": {"type": "file", "file_id": "f"}},
                    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "c"}]}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "zzz"},
                    {"type": "text", "text": "so", "citations": [{"type": "char_location", "cited_text": "d"}]},
                    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Z"}},
                    {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "q"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "go on"},
                    {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "content": "no"},
                    {
                        "type": "tool_result", "tool_use_id": "toolu_1",
                        "content": [{"type": "text", "text": "x"}, {"type": "image", "source": {"type": "url"}}],
                    },
                ],
            },
        ],
    },
]  # fmt: skip

CHAT_USAGE = {
    "prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30, "prompt_cache_hit_tokens": 1, "cached_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 1, "image_tokens": 1, "cache_write_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0, "accepted_prediction_tokens": 1},
}  # fmt: skip
MESSAGES_USAGE = {
    "input_tokens": 20, "output_tokens": 10, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4,
    "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 3},
    "output_tokens_details": {"thinking_tokens": 4}, "server_tool_use": {"web_search_requests": 1},
    "iterations": [{"type": "compaction", "input_tokens": 5, "output_tokens": 5}, {"type": "message"}],
}  # fmt: skip

CHAT_ANSWERS = [
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt", "system_fingerprint": "fp",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": CHAT_USAGE,
    },
    {
        "id": "1", "created": 1.5, "model": "m", "x_groq": {"id": "r", "usage": CHAT_USAGE},
        "choices": [
            {
                "index": 0, "finish_reason": "tool_calls", "logprobs": None, "usage": CHAT_USAGE,
                "message": {
                    "role": "assistant", "content": [{"type": "text", "text": "hi"}], "refusal": "no",
                    "reasoning": "hm",
                    "reasoning_details": [
                        {"type": "reasoning.text", "text": "a", "signature": "s", "format": "anthropic-claude-v1"},
                        {"type": "reasoning.encrypted", "data": "z", "index": 1},
                    ],
                    "tool_calls": [
                        {"id": "c", "index": 0, "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                        {"id": None, "type": "function", "function": {"name": "g", "arguments": {"a": 1}}},
                    ],
                    "function_call": {"name": "h", "arguments": ""}, "annotations": [{"type": "url_citation"}],
                },
            },
            {"index": 1, "message": {"content": None}},
        ],
    },
    {"error": {"message": "Rate limit", "type": "requests", "param": None, "code": "rate_limit_exceeded"}},
    {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400},
]  # fmt: skip

COMPLETIONS_ANSWERS = [
    {
        "id": "cmpl-1", "object": "text_completion", "model": "m", "created": 1,
        "choices": [{"text": "hi", "index": 0, "finish_reason": "length", "logprobs": None}], "usage": CHAT_USAGE,
    },
]  # fmt: skip

COMPLETE_ANSWERS = [
    {
        "type": "completion", "id": "compl_1", "completion": " hi", "stop_reason": "stop_sequence", "model": "claude-2",
        "stop": "\n\nHuman:", "log_id": "compl_1",
    },
    {"type": "completion", "completion": "", "stop_reason": "stop_sequence", "stop": "x", "model": "claude-2"},
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
]  # fmt: skip

MESSAGES_ANSWERS = [
    {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "hi"}], "stop_sequence": None, "usage": MESSAGES_USAGE,
    },
    {
        "id": "msg_2", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "tool_use",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "z"},
            {"type": "text", "text": "so", "citations": [{"type": "char_location", "cited_text": "d"}]},
            {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"q": 1}},
            {"type": "web_search_tool_result", "tool_use_id": "srv", "content": [{"type": "web_search_result"}]},
            {"type": "tool_use", "id": "t", "name": "weather", "input": {"city": "Z"}},
        ],
        "usage": MESSAGES_USAGE,
    },
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "r"},
]  # fmt: skip

ERRORS = [
    {"error": {"message": "Incorrect API key provided: sk-abc***xyz", "type": "x", "param": "p", "code": "c"}},
    {"error": {"message": "m", "code": 400, "metadata": {"raw": "x"}}},
    {"error": "quota", "code": "insufficient_quota", "param": "p"},
    [{"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED", "details": [{"@type": "x"}]}}],
    {"object": "error", "message": "m", "type": "t", "code": 400}, {"detail": "Not found"}, {"error": {"detail": "d"}},
    {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}},
    {"type": "error", "error": {"type": "x", "message": "Output blocked by content filtering policy"}},
]  # fmt: skip
STATUSES = [200, 301, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529, 599, 999]


def chunk(delta: Any = None, **facts: Any) -> bytes:
    choice = {"index": 0, "delta": {} if delta is None else delta, "logprobs": None, "finish_reason": None}
    told = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return sse.event(json({**told, **facts}))


def called(index: int, **function: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "id": f"c{index}", "type": "function", "function": function}]}


def named(type: str, **facts: Any) -> bytes:
    return sse.event(json({"type": type, **facts}), type.encode())


END = {"index": 0, "delta": {}, "finish_reason": "stop"}
CHAT_STREAMS = [
    [
        chunk({"role": "assistant", "content": ""}), chunk({"content": "hi"}), chunk({"content": " there 🌦"}),
        chunk(choices=[END], usage=None), chunk(choices=[], usage=CHAT_USAGE), b"data: [DONE]\n\n",
    ],
    [
        b": ping\n\n", chunk({"reasoning_content": "hm"}),
        chunk({"reasoning_details": [{"type": "reasoning.text", "text": "a", "signature": "s", "index": 0}]}),
        chunk({"content": "x", "refusal": "no", "annotations": [{"type": "url_citation"}]}),
        chunk(called(0, name="f", arguments="")), chunk(called(1, name="g", arguments="{}")),
        chunk(called(0, arguments='{"a":1}')), chunk(choices=[{**END, "finish_reason": "tool_calls"}]),
    ],
    [
        chunk({"content": "x"}, x_groq={"usage": CHAT_USAGE}),
        chunk({"function_call": {"name": "f", "arguments": "{}"}}),
        sse.event(json({"error": {"message": "m", "code": 502}, "choices": [END]})),
    ],
    [chunk({"content": "x"}), sse.event(json({"message": "m", "code": 400}), b"error")],
]  # fmt: skip
COMPLETIONS_STREAMS = [
    [
        sse.event(json({"id": "c", "object": "text_completion", "choices": [{"text": "hi", "finish_reason": None}]})),
        sse.event(json({"id": "c", "choices": [{"text": "", "finish_reason": "stop"}], "usage": CHAT_USAGE})),
        b"data: [DONE]\n\n",
    ]
]
OPENED = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": [], "usage": MESSAGES_USAGE}


def block(index: int, begun: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    return [
        named("content_block_start", index=index, content_block=begun),
        *(named("content_block_delta", index=index, delta=delta) for delta in deltas),
        named("content_block_stop", index=index),
    ]


MESSAGES_END = [
    named("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage=MESSAGES_USAGE),
    named("message_stop"),
]
MESSAGES_STREAMS = [
    [
        named("message_start", message=OPENED), named("ping"),
        *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "hi"}), *MESSAGES_END,
    ],
    [
        named("message_start", message=OPENED),
        *block(
            0, {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "s"},
        ),
        *block(1, {"type": "redacted_thinking", "data": "z"}), *MESSAGES_END,
    ],
    [
        named("message_start", message=OPENED),
        *block(
            0, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"q":'}, {"type": "input_json_delta", "partial_json": "1}"},
        ),
        *block(1, {"type": "compaction", "content": "a"}, {"type": "compaction_delta", "content": "b"}), *MESSAGES_END,
    ],
    [
        named("message_start", message=OPENED),
        *block(
            0, {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"a":1}'},
        ),
        *block(
            1, {"type": "text", "text": "", "citations": []},
            {"type": "citations_delta", "citation": {"type": "char_location"}}, {"type": "text_delta", "text": "x"},
        ),
        named("error", error={"type": "overloaded_error", "message": "Overloaded"}),
    ],
]  # fmt: skip


def completed(text: str, reason: str | None = None, **facts: Any) -> bytes:
    return named("completion", completion=text, stop_reason=reason, model="claude-2", **facts)


COMPLETE_STREAMS = [
    [completed(" hi", id="c"), named("ping"), completed("🌦"), completed("", "stop_sequence", stop="\n\nHuman:")],
    [completed("x"), named("error", error={"type": "overloaded_error", "message": "Overloaded"})],
]


class Seeds(NamedTuple):
    """Of one format."""

    requests: list[bytes]
    answers: list[bytes]
    streams: list[list[bytes]]


@cache
def seeds(protocol: str) -> Seeds:
    vendors: dict[str, str] = {
        "openai-chat": {"openai": "chat", "groq": "chat", "openrouter": "chat", "mistral": "chat", "deepseek": "chat"},
        "openai-completions": {"openai": "completions"},
        "anthropic-messages": {"anthropic": "chat"},
        "anthropic-completions": {},  # one was recorded, whole
    }[protocol]
    own: tuple[list[Any], list[Any], list[list[bytes]]] = {
        "openai-chat": (CHAT_REQUESTS, CHAT_ANSWERS, CHAT_STREAMS),
        "openai-completions": (COMPLETIONS_REQUESTS, COMPLETIONS_ANSWERS, COMPLETIONS_STREAMS),
        "anthropic-messages": (MESSAGES_REQUESTS, MESSAGES_ANSWERS, MESSAGES_STREAMS),
        "anthropic-completions": (COMPLETE_REQUESTS, COMPLETE_ANSWERS, COMPLETE_STREAMS),
    }[protocol]
    whole = [found for vendor, operation in vendors.items() for found in recorded(vendor, operation)]
    streamed = [found for vendor, operation in vendors.items() for found in recorded(vendor, f"{operation}_stream")]
    return Seeds(
        weighed(map(json, own[0]), short(found.request for found in whole + streamed)),
        weighed(map(json, own[1]), short(found.response for found in whole)),
        weighed(own[2], map(stream_of, streamed)),
    )


def weighed(own: Iterable[Any], found: Iterable[Any]) -> list[Any]:
    """Those that have everything in them as often as those that were recorded."""
    rich, plain = list(own), list(found)
    return rich * (len(plain) // len(rich) + 1) + plain


def recorded(vendor: str, operation: str) -> list[Recording]:
    return [found for (found,) in (param.values for param in recordings(vendor, (operation,))) if found is not None]


def short(bodies: Iterable[bytes | None]) -> list[bytes]:
    return [body for body in bodies if body is not None and len(body) <= MOST_BYTES]


def stream_of(recording: Recording) -> list[bytes]:
    """How the recorded stream begins, and how it ends."""
    events = [event for event in EventCutter(1 << 25).feed(recording.response + b"\n\n") if len(event) <= MOST_BYTES]
    return events if len(events) <= MOST_EVENTS else events[: MOST_EVENTS - 3] + events[-3:]


# ---- feeding


class Feed(NamedTuple):
    """A decoder, as the tests feed it: raises nothing but `allowed`."""

    name: str
    decode: Callable[[Any], object]
    allowed: type[FairleadError]


def of_requests(wire: Wire) -> list[Feed]:
    def peek(body: bytes) -> None:
        envelope = wire.peek(body)
        sent = wire.patch(envelope, "other", drop=frozenset({"provider"}), ask_usage=True, default_max_tokens=7)
        again = wire.peek(sent)  # what was checked is what is sent
        assert (again.model, again.stream, again.messages) == ("other", envelope.stream, envelope.messages)
        wire.characters(envelope)

    def decode_request(body: bytes) -> None:
        request = wire.decode_request(body)  # type: ignore[attr-defined]
        for chat in CHATS:
            with_refusal(partial(chat.encode_request, request, default_max_tokens=7))

    feeds = [Feed("peek", peek, InvalidRequest), Feed("decode_request", decode_request, InvalidRequest)]
    return own(wire, feeds)


def of_answers(wire: Wire) -> list[Feed]:
    def summary(body: bytes) -> None:
        told = wire.summary(body)
        assert wire.summary(wire.dress(body)) == told

    def decode_response(body: bytes) -> None:
        response = wire.decode_response(body)  # type: ignore[attr-defined]
        for chat in TELLING:
            chat.encode_response(response)

    feeds = [
        Feed("summary", summary, UpstreamError), Feed("decode_response", decode_response, UpstreamError),
        Feed("dress", wire.dress, UpstreamError),
    ]  # fmt: skip
    return own(wire, feeds)


def of_errors(wire: Wire) -> list[Feed]:
    def decode_error(body: bytes) -> None:
        told = wire.decode_error(STATUSES[len(body) % len(STATUSES)], body)
        assert isinstance(told, UpstreamError)
        told.hide("secret")
        msgspec.json.decode(wire.encode_error(told))

    return own(wire, [Feed("decode_error", decode_error, UpstreamError)])


def of_streams(wire: Wire) -> list[Feed]:
    def stream_reader(events: list[bytes]) -> None:
        see = wire.stream_reader().see
        for event in events:
            see(event)

    def event_decoder(events: list[bytes]) -> None:
        decode = wire.event_decoder()  # type: ignore[attr-defined]
        encoders = [chat.event_encoder(include_usage=True) for chat in TELLING]
        for raw in [*events, b""]:
            for event in decode(raw):
                for encode in encoders:
                    encode(event)

    feeds = [Feed("stream_reader", stream_reader, UpstreamError), Feed("event_decoder", event_decoder, UpstreamError)]
    return own(wire, feeds)


def own(wire: Wire, feeds: list[Feed]) -> list[Feed]:
    """Those of `feeds` that are code of this format: what it has from another one is fed there."""
    all = list(DIALECTS.values())
    taken = {getattr(type(other), feed.name, None) for other in all[: all.index(wire)] for feed in feeds}
    return [feed for feed in feeds if getattr(type(wire), feed.name, None) not in {None, *taken}]


def with_refusal(tell: Callable[[], bytes]) -> None:
    """What one format knows, another may have no words for."""
    with suppress(InvalidRequest):
        tell()


class Hangs(BaseException):
    """So that no decoder catches it."""


@contextmanager
def bounded() -> Iterator[Callable[[], object]]:
    """What stays resident of this process's memory, and the CPU it takes from each call of what is given."""

    def stop(*_: Any) -> None:
        raise Hangs

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    old = signal.signal(signal.SIGVTALRM, stop)
    try:
        yield partial(signal.setitimer, signal.ITIMER_VIRTUAL, PATIENCE_SECONDS)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_RESIDENT


def fed(feeds: list[Feed], make: Callable[[], Any], count: int = BODIES) -> None:
    """Feed `count` bodies to each, and fail with the smallest ones that are too much."""
    defects: dict[tuple[str, str], tuple[Feed, Any]] = {}
    slow: list[tuple[float, int, Feed, Any]] = []
    clock, slowest = time.perf_counter, 0.0
    body: Any = None
    try:
        with bounded() as be_patient:
            for number in range(count):
                if number % PATIENCE_BODIES == 0:
                    be_patient()
                body = make()
                for feed in feeds:
                    began = clock()
                    try:
                        feed.decode(body)
                    except feed.allowed:
                        pass
                    except Exception as error:
                        defects.setdefault((feed.name, place_of(error)), (feed, body))
                    took = clock() - began
                    if took > slowest:
                        slow = [*slow[-9:], (took, number, feed, body)]
                        slowest = took
    except Hangs:
        pytest.fail(f"MUTATED_SEED={SEED}: no end of {body!r}")
    for _, _, feed, body in slow:
        size = len(body) if isinstance(body, bytes) else sum(map(len, body))
        assert work(partial(refused_or_taken, feed, body)) < MOST_WORK + size * WORK_A_BYTE, (
            f"MUTATED_SEED={SEED}: too much work: {body!r}"
        )
    if defects:
        lines = [f"MUTATED_SEED={SEED}: these are neither taken nor refused:"]
        for (name, place), (feed, body) in defects.items():
            lines.append(f"  {name} {place}\n    {shrunk(feed, place, body)!r}")
        pytest.fail("\n".join(lines))


def refused_or_taken(feed: Feed, body: Any) -> None:
    with suppress(Exception):  # which were told already
        feed.decode(body)


def place_of(error: Exception) -> str:
    """What it is, and where in our code it came from."""
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename.startswith(PRODUCT)]
    ours = f" {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{ours}"


def shrunk(feed: Feed, place: str, body: Any, seconds: float = 2.0) -> Any:
    """The smallest body found that fails in the same place: a list of events, then each of them."""
    end = time.monotonic() + seconds

    def fails(tried: Any) -> bool:
        try:
            feed.decode(tried)
        except feed.allowed:
            return False
        except Exception as error:
            return place_of(error) == place
        return False

    if not isinstance(body, list):
        return cut_down(simpler(body, fails, end), fails, end)
    body = cut_down(body, fails, end)
    for at in range(len(body)):

        def fails_with(event: bytes, at: int = at) -> bool:
            return fails([*body[:at], event, *body[at + 1 :]])

        body[at] = cut_down(simpler(body[at], fails_with, end), fails_with, end)
    return body


def simpler(body: bytes, fails: Callable[[bytes], bool], end: float) -> bytes:
    """Without members and items that do not matter, and with the least in the place of values that matter little."""
    again = True
    while again:
        again = False
        for begin, at, stop in sorted(places(body), key=lambda place: place[0] - place[2]):
            if time.monotonic() >= end:
                return body
            behind = stop + (body[stop : stop + 1] == b",")
            before = begin - (behind == stop and body[begin - 1 : begin] == b",")
            tried = [body[:before] + body[behind:], *(body[:at] + less + body[stop:] for less in (b"1", b'""'))]
            found = next((less for less in tried if len(less) < len(body) and fails(less)), None)
            if found is not None:
                body, again = found, True
                break
    return body


def cut_down(body: Any, fails: Callable[[Any], bool], end: float) -> Any:
    size = len(body)
    while size:
        at, before = 0, len(body)
        while at < len(body) and time.monotonic() < end:
            tried = body[:at] + body[at + size :]
            if fails(tried):
                body = tried
            else:
                at += size
        if size == 1 and len(body) == before:
            break
        size = max(size // 2, 1)
        if time.monotonic() >= end:
            break
    return body


def bodies_of(wire: Wire, kind: str, other_share: int = 8) -> Mutator:
    """Mostly of its own format; one seed in `other_share` is another's."""
    random = Random(f"{SEED}/{kind}/{wire.name}")
    own_seeds = getattr(seeds(wire.name), kind)
    others = [body for name in WIRES if name != wire.name for body in getattr(seeds(name), kind)]
    return Mutator([*own_seeds, *random.sample(others, len(own_seeds) // other_share)], random)


@pytest.mark.parametrize(("wire", "decoder", "body"), REGRESSIONS)
def test_what_was_too_much_once_is_taken_or_refused(wire: str, decoder: str, body: Any) -> None:
    feeds = [each for of in (of_requests, of_answers, of_errors, of_streams) for each in of(WIRES[wire])]
    (found,) = (each for each in feeds if each.name == decoder)
    offer([found], body)


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
def test_a_mutated_request_is_taken_or_refused(wire: Wire) -> None:
    fed(of_requests(wire), bodies_of(wire, "requests"))


ANSWERING = {name: wire for name, wire in DIALECTS.items() if of_answers(wire)}


@pytest.mark.parametrize("wire", ANSWERING.values(), ids=ANSWERING)
def test_a_mutated_answer_is_taken_or_refused(wire: Wire) -> None:
    fed(of_answers(wire), bodies_of(wire, "answers"))


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
def test_a_mutated_error_is_an_error(wire: Wire) -> None:
    fed(of_errors(wire), Mutator(list(map(json, ERRORS)), Random(f"{SEED}/errors/{wire.name}")))


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
def test_a_mutated_stream_is_taken_or_refused(wire: Wire) -> None:
    random = Random(f"{SEED}/streams/{wire.name}")
    others = [CHAT_STREAMS[0]] if wire.name.startswith("anthropic") else [MESSAGES_STREAMS[0]]
    fed(of_streams(wire), StreamMutator([*seeds(wire.name).streams, *others], random))


# ---- any value in any place

NAMES = sorted(set(re.findall(r'"([a-z_]+)":', (json([CHAT_REQUESTS, MESSAGES_REQUESTS, CHAT_ANSWERS])).decode())))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=4),
    max_leaves=10,
)


def paths(value: Any) -> Iterator[tuple[Any, ...]]:
    yield ()
    members: Iterable[Any] = enumerate(value) if isinstance(value, list) else ()
    for name, inner in value.items() if isinstance(value, dict) else members:
        yield from ((name, *rest) for rest in paths(inner))


def put(value: Any, path: Sequence[Any], new: Any) -> Any:
    """`value` with `new` in the place of what is at `path`."""
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = put(value[path[0]], path[1:], new)
    return copied


def changed(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    places = [(value, path) for value in values for path in paths(value)]
    return st.builds(lambda place, new: put(*place, new), st.sampled_from(places), VALUES)


def offer(feeds: list[Feed], body: Any) -> None:
    for each in feeds:
        with suppress(each.allowed):
            each.decode(body)


@settings(max_examples=200, derandomize=True)
@given(changed(CHAT_REQUESTS))
def test_any_value_in_any_place_of_a_chat_request(body: Any) -> None:
    offer(of_requests(WIRES["openai-chat"]), json(body))


@settings(max_examples=200, derandomize=True)
@given(changed(MESSAGES_REQUESTS))
def test_any_value_in_any_place_of_a_messages_request(body: Any) -> None:
    offer(of_requests(WIRES["anthropic-messages"]), json(body))


@settings(max_examples=200, derandomize=True)
@given(changed([*CHAT_ANSWERS, *ERRORS]), changed(CHAT_ANSWERS[1]["choices"][0]["message"]))  # type: ignore[index]
def test_any_value_in_any_place_of_a_chat_answer(body: Any, delta: Any) -> None:
    offer(of_answers(WIRES["openai-chat"]), json(body))
    offer(of_errors(WIRES["openai-chat"]), json(body))
    offer(of_streams(WIRES["openai-chat"]), [chunk(delta), sse.event(json(body)), *CHAT_STREAMS[0]])


EVENTS = [msgspec.json.decode(sse.data(event)) for stream in MESSAGES_STREAMS for event in stream]


@settings(max_examples=200, derandomize=True)
@given(changed([*MESSAGES_ANSWERS, *ERRORS]), st.lists(changed(EVENTS), max_size=3))
def test_any_value_in_any_place_of_a_messages_answer(body: Any, events: list[Any]) -> None:
    wire = WIRES["anthropic-messages"]
    offer(of_answers(wire), json(body))
    offer(of_errors(wire), json(body))
    offer(of_streams(wire), [*MESSAGES_STREAMS[2][:3], *(sse.event(json(event)) for event in events)])


# ---- cutting and inflating


LINE_ENDS = [b"\n", b"\r\n", b"\r"]


def test_a_mutated_stream_is_cut_alike_wherever_its_chunks_end() -> None:
    random = Random(f"{SEED}/cutter")
    streams = [b"".join(stream) for name in WIRES for stream in seeds(name).streams[:5]]
    small = [stream[:200].replace(b"\n", end) for stream in streams for end in LINE_ENDS]
    mutate = Mutator([*small, b": ping\n\ndata: a\ndata: b\n\r\n\r\rdata: c\r\n\rid: 1\n\n"], random)

    def chunks() -> list[bytes]:
        stream = mutate()
        ends = sorted(int(random.random() * (len(stream) + 1)) for _ in range(int(random.random() * 6)))
        return [stream[begin:end] for begin, end in zip([0, *ends], [*ends, len(stream)], strict=True)]

    fed([Feed("EventCutter", cut, UpstreamBroken), Feed("EventCutter, bounded", cut_bounded, UpstreamBroken)], chunks)


def cut(chunks: list[bytes]) -> None:
    whole = EventCutter(1 << 20)
    assert told(b"".join(chunks), whole) == told(chunks, EventCutter(1 << 20))


def cut_bounded(chunks: list[bytes]) -> None:
    cutter = EventCutter(100)
    events = [event for chunk in chunks for event in cutter.feed(chunk)]
    assert all(len(event) <= 100 for event in [*events, cutter.finish().removesuffix(b"\n\n")])


def told(stream: bytes | list[bytes], cutter: EventCutter) -> list[tuple[bytes, bytes]]:
    """Name and data of each event that has some, and what was left."""
    events = [event for chunk in ([stream] if isinstance(stream, bytes) else stream) for event in cutter.feed(chunk)]
    return [(sse.name(event), sse.data(event)) for event in [*events, cutter.finish()] if sse.data(event)]


def test_a_mutated_gzip_body_is_inflated_or_refused() -> None:
    random = Random(f"{SEED}/gzip")
    words = json(CHAT_ANSWERS[0])
    whole = [gzip.compress(words), gzip.compress(words, 0), gzip.compress(b""), gzip.compress(bytes(50_000))]
    members = [whole[0] + whole[2] + whole[1], whole[2] * 20, whole[0] + b"\0\0", zlib.compress(words), words]
    mutate = Mutator([*whole, *members], random)

    def pieces() -> list[bytes]:
        body = mutate()
        ends = sorted(int(random.random() * (len(body) + 1)) for _ in range(int(random.random() * 4)))
        return [body[begin:end] for begin, end in zip([0, *ends], [*ends, len(body)], strict=True)]

    fed([Feed("Gunzip", inflate, UpstreamBroken)], pieces)


def inflate(pieces: list[bytes]) -> int:
    gunzip, size = Gunzip(), 0
    for piece in pieces:
        gunzip.feed(piece)
        while chunk := gunzip.next():
            assert len(chunk) <= 64 << 10
            size += len(chunk)
    gunzip.end()
    return size

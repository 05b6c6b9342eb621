"""What the mutants of each format are made of: requests, answers and streams that have everything in them, and what was
recorded, where that lies.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import msgspec

from fairlead.protocols import Asked, aws_eventstream, sse
from protocols_recordings import Recording, recordings

MOST_BYTES = 2048  # of a recording that is a seed
MOST_EVENTS = 6  # of a stream

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

COUNTED = {"object": "response.input_tokens", "input_tokens": 9, "totalTokens": 9, "inputTokens": 9}
ERRORS = [
    {"error": {"message": "Incorrect API key provided: sk-abc***xyz", "type": "x", "param": "p", "code": "c"}},
    {"error": {"message": "m", "code": 400, "metadata": {"raw": "x"}}},
    {"error": "quota", "code": "insufficient_quota", "param": "p"},
    [{"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED", "details": [{"@type": "x"}]}}],
    {"object": "error", "message": "m", "type": "t", "code": 400}, {"detail": "Not found"}, {"error": {"detail": "d"}},
    {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}},
    {"type": "error", "error": {"type": "x", "message": "Output blocked by content filtering policy"}},
    {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": [{"retryDelay": "3s"}, {}]}},
    {"message": "no", "__type": "com.amazon.coral.service#ValidationException"}, {"Message": "no"},
    {"message": "Input is too long for requested model.", "id": "i"}, {"error": "model 'm' not found"},
]  # fmt: skip


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

# ---- OpenAI's Responses

RESPONSES_CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
RESPONSES_CUSTOM = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "d", "name": "patch", "input": "hi"}
RESPONSES_THOUGHT = {
    "type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "eg==",
    "content": [{"type": "reasoning_text", "text": "so"}],
}  # fmt: skip
RESPONSES_SAID = {
    "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "final_answer",
    "content": [
        {
            "type": "output_text", "text": "hi 🌦", "logprobs": [],
            "annotations": [{"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}],
        },
        {"type": "refusal", "refusal": "no"},
    ],
}  # fmt: skip
RESPONSES_SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
RESPONSES_REQUESTS = [
    {"model": "m", "input": "What is the weather in Zürich? 🌦", "instructions": "Be brief."},
    {
        "model": "m", "instructions": "a", "stream": True, "max_output_tokens": 9, "temperature": 0.5, "top_p": 1,
        "text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA, "strict": True}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"}, "parallel_tool_calls": False, "store": False, "user": "u",
        "include": ["reasoning.encrypted_content"], "metadata": {"a": "b"}, "previous_response_id": None,
        "tools": [
            {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True, "description": "d"},
            {"type": "web_search", "search_context_size": "low"},
            {"type": "custom", "name": "patch", "format": {"type": "text"}},
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "input": [
            {"role": "developer", "content": "x"}, {"type": "item_reference", "id": "i"},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "a"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "high"},
                    {"type": "input_image", "file_id": "file_1", "image_url": None},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
                    {"type": "input_file", "file_url": "https://x/a"},
                    {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                ],
            },
            {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "fairlead:x:signature:y"},
            RESPONSES_THOUGHT, RESPONSES_SAID, RESPONSES_CALL, RESPONSES_CUSTOM,
            {"type": "function_call_output", "call_id": "c", "output": "x"},
            {"type": "custom_tool_call_output", "call_id": "d", "output": [{"type": "input_text", "text": "b"}]},
            RESPONSES_SEARCH,
        ],
    },
]  # fmt: skip
RESPONSES_USAGE = {
    "input_tokens": 20, "output_tokens": 10, "total_tokens": 30, "input_tokens_details": {"cached_tokens": 5},
    "output_tokens_details": {"reasoning_tokens": 3},
}  # fmt: skip
RESPONSES_ANSWERS = [
    {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "error": None,
        "incomplete_details": None, "usage": RESPONSES_USAGE,
        "output": [
            RESPONSES_THOUGHT, RESPONSES_SAID, RESPONSES_CALL, RESPONSES_CUSTOM, RESPONSES_SEARCH,
            {"type": "image_generation_call", "id": "ig", "status": "completed", "result": PNG, "output_format": "png"},
        ],
    },
    {
        "id": "resp_2", "created_at": 1.5, "status": "incomplete", "model": "m", "usage": None,
        "incomplete_details": {"reason": "max_output_tokens"}, "output": [RESPONSES_SAID],
    },
    {"id": "r", "status": "failed", "output": [], "error": {"code": "rate_limit_exceeded", "message": "slow"}},
    {"error": {"message": "m", "type": "invalid_request_error", "param": "input", "code": None}},
]  # fmt: skip


def item(index: int, told: dict[str, Any], begun: dict[str, Any], *between: tuple[str, dict[str, Any]]) -> list[bytes]:
    return [
        named("response.output_item.added", output_index=index, item={**told, **begun}),
        *(named(f"response.{kind}", output_index=index, item_id=told["id"], **facts) for kind, facts in between),
        named("response.output_item.done", output_index=index, item=told),
    ]


RESPONSES_BEGUN = [
    named("response.created", response={"id": "resp_1", "status": "in_progress", "model": "m", "output": []})
]
RESPONSES_STREAMS = [
    [
        *RESPONSES_BEGUN,
        *item(
            0, RESPONSES_SAID, {"content": []},
            ("content_part.added", {"content_index": 0, "part": {"type": "output_text", "text": ""}}),
            ("output_text.delta", {"content_index": 0, "delta": "hi 🌦"}),
            ("output_text.annotation.added", {
                "content_index": 0, "annotation_index": 0, "annotation": {"type": "url_citation", "url": "u"}}),
            ("output_text.done", {"content_index": 0, "text": "hi 🌦"}),
            ("refusal.delta", {"content_index": 1, "delta": "no"}),
        ),
        named("response.completed", response=RESPONSES_ANSWERS[0]),
    ],
    [
        *RESPONSES_BEGUN,
        *item(
            0, RESPONSES_THOUGHT, {"summary": []},
            ("reasoning_summary_part.added", {"summary_index": 0, "part": {"type": "summary_text", "text": ""}}),
            ("reasoning_summary_text.delta", {"summary_index": 0, "delta": "hm"}),
            ("reasoning_text.delta", {"content_index": 0, "delta": "so"}),
        ),
        *item(1, RESPONSES_CALL, {"arguments": ""}, ("function_call_arguments.delta", {"delta": '{"a":1}'})),
        named("response.incomplete", response=RESPONSES_ANSWERS[1]),
    ],
    [
        *RESPONSES_BEGUN, *item(0, RESPONSES_CUSTOM, {"input": ""}, ("custom_tool_call_input.delta", {"delta": "hi"})),
        *item(1, RESPONSES_SEARCH, {}, ("web_search_call.searching", {})),
        named("response.failed", response=RESPONSES_ANSWERS[2]),
    ],
    [*RESPONSES_BEGUN, named("error", code="server_error", message="m", param=None), named("response.queued")],
]  # fmt: skip

# ---- Gemini

GEMINI_REQUESTS = [
    {"contents": [{"role": "user", "parts": [{"text": "hi"}, {"inline_data": {"mime_type": "a/b", "data": "aGk="}}]}]},
    {
        "contents": [
            {"role": "model", "parts": [
                {"text": "hm", "thought": True}, {"executableCode": {"language": "PYTHON", "code": "1"}},
                {"functionCall": {"name": "f", "args": {"a": 1}, "id": "1"}, "thoughtSignature": "c2ln"}]},
            {"parts": [
                {"functionResponse": {"name": "f", "id": "1", "response": {"output": "x"}, "parts": [
                    {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}},
                {"fileData": {"fileUri": "https://x/y", "mimeType": "video/mp4"}, "videoMetadata": {"fps": 1}}]},
        ],
        "systemInstruction": {"parts": [{"text": "s"}]}, "labels": {"a": "b"}, "cachedContent": "c",
        "tools": [{"functionDeclarations": [
            {"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {
                "a": {"type": "STRING", "nullable": True, "format": "enum", "enum": ["x"]}}}},
            {"name": "g", "parametersJsonSchema": SCHEMA}]}, {"googleSearch": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "generationConfig": {
            "temperature": 1, "topP": 0.5, "topK": 4, "maxOutputTokens": 9, "stopSequences": ["x"], "seed": 1,
            "candidateCount": 1, "presencePenalty": 0.1, "responseMimeType": "application/json",
            "responseSchema": {"type": "ARRAY", "items": {"type": "INTEGER"}}, "responseModalities": ["TEXT"],
            "thinkingConfig": {"thinkingBudget": 5, "includeThoughts": True}, "responseLogprobs": True, "logprobs": 2,
        },
    },
    {"generateContentRequest": {"model": "models/m", "contents": [{"parts": [{"text": "a"}]}]}, "contents": [{}]},
]  # fmt: skip
GEMINI_USAGE = {
    "promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 20, "thoughtsTokenCount": 3,
    "cachedContentTokenCount": 2, "toolUsePromptTokenCount": 3,
    "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 1}, {"modality": "TEXT", "tokenCount": 8}],
}  # fmt: skip


def candidate(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    told = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **fields}
    return {"candidates": [told], "modelVersion": "gemini-x", "responseId": "r", "usageMetadata": GEMINI_USAGE}


GROUNDED = {
    "groundingMetadata": {
        "groundingChunks": [{"web": {"uri": "u", "title": "t"}}, {"retrievedContext": {"title": "B", "text": "q"}}],
        "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 2}, "groundingChunkIndices": [0, 1]}],
        "webSearchQueries": ["q"],
    }
}
GEMINI_ANSWERS = [
    candidate({"text": "a", "thoughtSignature": "c2ln"}, {"text": "b", "thought": True}, finishReason="STOP"),
    candidate({"functionCall": {"name": "f", "args": {"a": 1}, "id": "1"}}, finishReason="STOP"),
    candidate({"text": "äbc"}, finishReason="MAX_TOKENS", avgLogprobs=-0.1, **GROUNDED),
    candidate(
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}}, {"executableCode": {"code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}, finishReason="STOP",
    ),
    [candidate({"text": "a"}), candidate({"text": "b"}, finishReason="STOP")],
    {"promptFeedback": {"blockReason": "OTHER"}, "usageMetadata": GEMINI_USAGE},
    {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": [{"retryDelay": "3s"}]}},
]  # fmt: skip


def pieced(path: str, **value: Any) -> dict[str, Any]:
    return {"functionCall": {"partialArgs": [{"jsonPath": path, **value}], "willContinue": True}}


GEMINI_STREAMS = [
    [sse.event(json(each)) for each in told]
    for told in (
        [
            candidate({"functionCall": {"name": "f", "willContinue": True}, "thoughtSignature": "c2ln"}),
            candidate(pieced("$.a[0].b", stringValue="x", willContinue=True), pieced("$.c", numberValue=1)),
            candidate(pieced("$.a[1][0]['x']", boolValue=True), pieced("$.d", nullValue="NULL_VALUE")),
            candidate({"functionCall": {}}, {"text": "z"}, {"text": "", "thoughtSignature": "c2ln"}),
            candidate({"text": "ö"}, finishReason="STOP", **GROUNDED),
        ],
        [candidate({"text": "hm", "thought": True}), candidate({"text": "äb"}), *GEMINI_ANSWERS[1:4]],
        [candidate({"text": "a"}), GEMINI_ANSWERS[6]],
        [GEMINI_ANSWERS[5]],
    )
]

# ---- Bedrock: an event is told as its type, a line's end, and its payload, which `framed` puts into a message

CONVERSE_USAGE = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5, "cacheReadInputTokens": 1}
CONVERSE_CITED = {
    "title": "Doc", "source": "https://a.example/b", "sourceContent": [{"text": "so "}, {"text": "it is"}],
    "location": {"documentChar": {"documentIndex": 0, "start": 5, "end": 9}},
}  # fmt: skip


def conversed(*blocks: dict[str, Any], **facts: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": list(blocks)}
    return {"output": {"message": message}, "stopReason": "end_turn", "usage": CONVERSE_USAGE, **facts}


CONVERSE_ANSWERS = [
    conversed({"text": "hi"}, {"toolUse": {"toolUseId": "t", "name": "get", "input": {"a": [1]}}}, trace={"x": 1}),
    conversed(
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "YWJj"}},
        {"citationsContent": {"content": [{"text": "It "}, {"text": "is."}], "citations": [CONVERSE_CITED]}},
        {"image": {"format": "png", "source": {"bytes": "aGk="}}},
        additionalModelResponseFields={"stop_sequence": "x"}, metrics={"latencyMs": 1},
    ),
    conversed(
        {"toolUse": {"toolUseId": "s", "name": "code", "type": "server_tool_use", "input": {"x": 1}}},
        {"toolResult": {"toolUseId": "s", "status": "success", "content": [{"json": {"out": "1"}}, {"text": "y"}]}},
    ),
    {"message": "no", "__type": "ThrottlingException"},
]  # fmt: skip


def typed(type: str, /, **payload: Any) -> bytes:
    return type.encode() + b"\n" + json(payload)


def conversing(index: int, start: dict[str, Any] | None, *deltas: dict[str, Any]) -> list[bytes]:
    return [
        *([typed("contentBlockStart", contentBlockIndex=index, start=start)] if start is not None else []),
        *(typed("contentBlockDelta", contentBlockIndex=index, delta=delta, p="abc") for delta in deltas),
        typed("contentBlockStop", contentBlockIndex=index),
    ]


CONVERSE_BEGUN = typed("messageStart", role="assistant", p="ab")
CONVERSE_END = [typed("messageStop", stopReason="tool_use"), typed("metadata", usage=CONVERSE_USAGE, metrics={})]
CONVERSE_STREAMS = [
    [
        CONVERSE_BEGUN, *conversing(0, None, {"text": "Hel"}, {"text": "lo"}),
        *conversing(1, {"toolUse": {"toolUseId": "t", "name": "get"}}, {"toolUse": {"input": '{"a":1}'}}),
        *CONVERSE_END,
    ],
    [
        CONVERSE_BEGUN,
        *conversing(0, None, {"reasoningContent": {"text": "h"}}, {"reasoningContent": {"signature": "c2ln"}}),
        *conversing(1, None, {"reasoningContent": {"redactedContent": "YWI="}}),
        *conversing(2, None, {"text": "It "}, {"citation": CONVERSE_CITED}), *CONVERSE_END,
    ],
    [
        CONVERSE_BEGUN,
        *conversing(0, {"image": {"format": "png"}}, {"image": {"source": {"bytes": "aGk="}}}),
        *conversing(
            1, {"toolResult": {"toolUseId": "s", "type": "x", "status": "success"}},
            {"toolResult": [{"json": {"out": "1"}}, {"text": "y"}]},
        ),
        typed("throttlingException", message="slow"),
    ],
]  # fmt: skip

COMMAND_R_ANSWER = {
    "text": "hello", "generation_id": "g", "finish_reason": "COMPLETE", "chat_history": [],
    "tool_calls": [{"name": "get", "parameters": {"a": 1}}],
}  # fmt: skip
METERED = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2, "invocationLatency": 1}}
STOPPED = {"type": "completion", "completion": "lo", "stop_reason": "stop_sequence", "stop": "\n\nHuman:"}
INVOKE_ANSWERS = [
    MESSAGES_ANSWERS[1], STOPPED, CONVERSE_ANSWERS[0], CHAT_ANSWERS[1], COMMAND_R_ANSWER,
    {"inputTextTokenCount": 3, "results": [{"tokenCount": 2, "outputText": "hello", "completionReason": "FINISH"}]},
    {"generation": "hello", "prompt_token_count": 3, "generation_token_count": 2, "stop_reason": "stop"},
    {"id": "c", "generations": [{"id": "g", "text": "hello", "finish_reason": "COMPLETE"}], "prompt": "hi"},
    {"outputs": [{"text": "hello", "stop_reason": "stop"}]}, {"choices": [{"text": "hello", "stop_reason": "stop"}]},
]  # fmt: skip
INVOKE_STREAMS = [
    [typed("chunk", **payload) for payload in told]
    for told in (
        [msgspec.json.decode(sse.data(event)) for event in MESSAGES_STREAMS[1]],
        [{**STOPPED, "stop": None, "stop_reason": None}, {**STOPPED, **METERED}],
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "t", "name": "f"}}, "contentBlockIndex": 0}},
            {"contentBlockDelta": {"delta": {"toolUse": {"input": "{}"}}, "contentBlockIndex": 0}},
            {"contentBlockStop": {"contentBlockIndex": 0}},
            {"messageStop": {"stopReason": "tool_use"}},
            {"metadata": {"usage": CONVERSE_USAGE, "metrics": {}}, **METERED},
        ],
        [
            {"outputText": "hel", "index": 0.0, "inputTextTokenCount": 3.0},
            {"outputText": "lo", "index": 0, "totalOutputTextTokenCount": 2, "completionReason": "FINISH", **METERED},
        ],
        [
            {"generation": "hel", "prompt_token_count": 3, "generation_token_count": 1, "stop_reason": None},
            {"generation": "lo", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": "stop"},
        ],
        [
            {"index": 0, "is_finished": False, "text": "hello"},
            {"index": 1, "is_finished": False, "text": "x"},
            {"finish_reason": "COMPLETE", "is_finished": True, **METERED},
        ],
        [
            {"event_type": "stream-start", "is_finished": False, "generation_id": "g"},
            {"event_type": "text-generation", "is_finished": False, "text": "hello"},
            {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": COMMAND_R_ANSWER, **METERED},
        ],
        [{"outputs": [{"text": "hel", "stop_reason": None}]}, {"outputs": [{"text": "lo", "stop_reason": "stop"}]}],
        [
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hel"}, "stop_reason": None}]},
            {"choices": [{"index": 0, "message": {"content": "lo"}, "stop_reason": "stop"}], **METERED},
        ],
    )
] + [[typed("chunk", generation="hel"), typed("modelStreamErrorException", message="m")]]

# ---- Cohere

COHERE_TOKENS = {"input_tokens": 9, "output_tokens": 3}
COHERE_USAGE = {"billed_units": {"input_tokens": 1}, "tokens": COHERE_TOKENS, "cached_tokens": 4}
COHERE_CITED = {
    "start": 0, "end": 1, "text": "x", "type": "TEXT_CONTENT",
    "sources": [{"type": "tool", "id": "t", "tool_output": {"a": "b"}}, {"type": "document", "id": "d"}],
}  # fmt: skip
COHERE_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
COHERE_ANSWERS = [
    {
        "id": "i", "finish_reason": "TOOL_CALL", "usage": COHERE_USAGE,
        "message": {
            "role": "assistant", "tool_plan": "p", "tool_calls": [COHERE_CALL], "citations": [COHERE_CITED],
            "content": [{"type": "text", "text": "x"}, {"type": "thinking", "thinking": "h"}],
        },
    },
    {"id": "i", "finish_reason": "COMPLETE", "message": {"content": [{"type": "text", "text": "hi 🌦"}]}},
    {"message": "no such model"},
]  # fmt: skip


def cohered(type: str, message: Any = None, index: int = 0, **facts: Any) -> bytes:
    return named(type, index=index, delta={"message": message or {}}, **facts)


COHERE_STREAMS = [
    [
        named("message-start", id="i", delta={"message": {"role": "assistant", "content": [], "tool_calls": []}}),
        cohered("content-start", {"content": {"type": "thinking", "thinking": ""}}),
        cohered("content-delta", {"content": {"thinking": "h"}}), cohered("content-end"),
        cohered("content-start", {"content": {"type": "text", "text": ""}}, 1),
        cohered("content-delta", {"content": {"text": "x"}}, 1),
        cohered("citation-start", {"citations": COHERE_CITED}, 0), cohered("citation-end"), cohered("content-end", 1),
        named("message-end", delta={"finish_reason": "COMPLETE", "usage": COHERE_USAGE}), b"data: [DONE]\n\n",
    ],
    [
        named("message-start", id="i", delta={}), cohered("tool-plan-delta", {"tool_plan": "p"}),
        cohered("tool-call-start", {"tool_calls": {**COHERE_CALL, "function": {"name": "f", "arguments": ""}}}),
        cohered("tool-call-delta", {"tool_calls": {"function": {"arguments": "{}"}}}), cohered("tool-call-end"),
        named("message-end", delta={"finish_reason": "ERROR", "error": "oops", "usage": COHERE_USAGE}),
    ],
]  # fmt: skip

COHERE_V1_DOCUMENT = {"id": "web_0", "title": "T", "url": "https://x/y", "snippet": "abc"}
COHERE_V1_CITED = {"start": 0, "end": 2, "text": "ab", "document_ids": ["web_0"], "type": "TEXT_CONTENT"}
COHERE_V1_CALLS = [{"name": "look", "parameters": {"at": 1}}, {"name": "now", "parameters": {}}]
COHERE_V1_ANSWERS = [
    {
        "generation_id": "g", "text": "abc", "citations": [COHERE_V1_CITED], "documents": [COHERE_V1_DOCUMENT],
        "meta": COHERE_USAGE, "tool_calls": calls, "finish_reason": "COMPLETE", "response_id": "r",
    }
    for calls in (None, COHERE_V1_CALLS)
] + [{"message": "no such model"}]  # fmt: skip


def v1(type: str, **facts: Any) -> bytes:
    return json({"is_finished": type == "stream-end", "event_type": type, **facts})


COHERE_V1_STREAMS = [
    [
        v1("stream-start", generation_id="g"), v1("search-results", documents=[COHERE_V1_DOCUMENT]),
        v1("text-generation", text="abc"), v1("citation-generation", citations=[COHERE_V1_CITED]),
        v1("stream-end", finish_reason="COMPLETE", response=COHERE_V1_ANSWERS[0]),
    ],
    [
        v1("stream-start", generation_id="g"), v1("tool-calls-chunk", text="p"),
        v1("tool-calls-chunk", tool_call_delta={"index": 0, "name": "look"}),
        v1("tool-calls-chunk", tool_call_delta={"index": 0, "parameters": "{}"}),
        v1("tool-calls-generation", text="p", tool_calls=COHERE_V1_CALLS),
        v1("stream-end", finish_reason="ERROR", response={"text": "", "meta": COHERE_USAGE}, error="oops"),
    ],
]  # fmt: skip

# ---- Ollama

OLLAMA_LAST = {
    "done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 3, "total_duration": 1,
    "prompt_eval_cached_count": 2,
}  # fmt: skip
OLLAMA_MESSAGE = {
    "role": "assistant", "content": "x", "thinking": "h", "images": [PNG],
    "tool_calls": [{"id": "c", "function": {"index": 0, "name": "f", "arguments": {"a": "b"}}}],
}  # fmt: skip
OLLAMA_TOLD = {"model": "m", "created_at": "2024-05-24T20:57:43.314639Z"}
OLLAMA_ANSWERS = [{**OLLAMA_TOLD, "message": OLLAMA_MESSAGE, **OLLAMA_LAST}, {"error": "model 'm' not found"}]
OLLAMA_STREAMS = [
    [
        *(json({**OLLAMA_TOLD, "message": said, "done": False}) for said in ({"thinking": "h"}, {"content": "x"})),
        json({**OLLAMA_TOLD, "message": OLLAMA_MESSAGE, "done": False}),
        json({**OLLAMA_TOLD, "message": {"content": ""}, **OLLAMA_LAST, "logprobs": []}),
    ],
    [json({**OLLAMA_TOLD, "message": {"content": "x"}}), json({"error": "oops"})],
]
GENERATE_ANSWERS = [
    {**OLLAMA_TOLD, "response": "x", "thinking": "h", "context": [1, 2], "image": PNG, **OLLAMA_LAST},
    {"error": "no"},
]
GENERATE_STREAMS = [
    [
        *(json({**OLLAMA_TOLD, "done": False, **said}) for said in ({"thinking": "h"}, {"response": "x"})),
        json(GENERATE_ANSWERS[0]),
    ],
    [json({**OLLAMA_TOLD, "response": "x"}), json({"error": "oops"})],
]

# ---- the table


class Seeds(NamedTuple):
    """Of one format: bodies, and streams of events."""

    requests: list[bytes]  # none of formats that only providers speak
    answers: list[bytes]
    streams: list[list[bytes]]
    recorded: dict[str, str]  # by provider, which of its operations; those of streams end in `_stream`


def _table(**told: tuple[list[Any], list[Any], list[list[bytes]], dict[str, str]]) -> dict[str, Seeds]:
    return {
        name.replace("_", "-"): Seeds(list(map(json, requests)), list(map(json, answers)), streams, recorded)
        for name, (requests, answers, streams, recorded) in told.items()
    }


OWN = _table(
    openai_chat=(
        CHAT_REQUESTS, CHAT_ANSWERS, CHAT_STREAMS,
        dict.fromkeys(("openai", "groq", "openrouter", "mistral", "deepseek"), "chat"),
    ),
    openai_responses=(
        RESPONSES_REQUESTS, [*RESPONSES_ANSWERS, COUNTED], RESPONSES_STREAMS,
        dict.fromkeys(("openai", "xai", "openrouter"), "responses"),
    ),
    openai_completions=(COMPLETIONS_REQUESTS, COMPLETIONS_ANSWERS, COMPLETIONS_STREAMS, {"openai": "completions"}),
    anthropic_messages=(MESSAGES_REQUESTS, [*MESSAGES_ANSWERS, COUNTED], MESSAGES_STREAMS, {"anthropic": "chat"}),
    anthropic_completions=(COMPLETE_REQUESTS, COMPLETE_ANSWERS, COMPLETE_STREAMS, {}),  # one was recorded, whole
    gemini=(GEMINI_REQUESTS, [*GEMINI_ANSWERS, COUNTED], GEMINI_STREAMS, {"google": "chat", "vertex": "chat"}),
    bedrock_converse=([], [*CONVERSE_ANSWERS, COUNTED], CONVERSE_STREAMS, {"bedrock": "chat"}),
    bedrock_invoke=([], INVOKE_ANSWERS, INVOKE_STREAMS, {"bedrock": "invoke"}),
    cohere_chat=([], COHERE_ANSWERS, COHERE_STREAMS, {"cohere": "chat"}),
    cohere_chat_v1=([], COHERE_V1_ANSWERS, COHERE_V1_STREAMS, {"cohere": "chat_v1"}),
    ollama_chat=([], OLLAMA_ANSWERS, OLLAMA_STREAMS, {"ollama": "native_chat"}),
    ollama_generate=([], GENERATE_ANSWERS, GENERATE_STREAMS, {"ollama": "native_generate"}),
)  # fmt: skip


@cache
def seeds(format: Asked) -> Seeds:
    """Its own ones, and what was recorded, where that lies."""
    own = OWN[format.name]
    whole = [found for vendor, kind in own.recorded.items() for found in _recorded(vendor, kind)]
    streamed = [found for vendor, kind in own.recorded.items() for found in _recorded(vendor, f"{kind}_stream")]
    return Seeds(
        weighed(own.requests, short(found.request for found in whole + streamed) if own.requests else []),
        weighed(own.answers, short(found.response for found in whole)),
        weighed(own.streams, (stream_of(format, found) for found in streamed)),
        own.recorded,
    )


def weighed(own: Iterable[Any], found: Iterable[Any]) -> list[Any]:
    """Those that have everything in them as often as those that were recorded."""
    rich, plain = list(own), list(found)
    return rich * (len(plain) // len(rich) + 1) + plain if rich else plain


def _recorded(vendor: str, operation: str) -> list[Recording]:
    return [found for (found,) in (param.values for param in recordings(vendor, (operation,))) if found is not None]


def short(bodies: Iterable[bytes | None]) -> list[bytes]:
    return [body for body in bodies if body is not None and len(body) <= MOST_BYTES]


def stream_of(format: Asked, recording: Recording) -> list[bytes]:
    """How the recorded stream begins, and how it ends."""
    framed = recording.whole["response"].get("eventstream_b64")
    stream = recording.response + b"\n\n" if framed is None else b64decode(framed)
    events = [event if framed is None else unframed(event) for event in format.cutter(1 << 25).feed(stream)]
    events = [event for event in events if len(event) <= MOST_BYTES]
    return events if len(events) <= MOST_EVENTS else events[: MOST_EVENTS - 3] + events[-3:]


def unframed(event: bytes) -> bytes:
    """The type and the payload of a message: what `framed` takes."""
    message = aws_eventstream.message(event)
    payload = message.payload
    type = message.text(":event-type") or message.text(":exception-type")
    if type == "chunk":
        payload = b64decode(msgspec.json.decode(payload)["bytes"])
    return type.encode() + b"\n" + payload


def framed(event: bytes) -> bytes:
    """The message whose type and payload are `event`; a chunk's payload is wrapped, as long as its type is known."""
    told, _, payload = event.partition(b"\n")
    type = told.decode("latin-1")[:200]
    if type == "chunk":
        payload = json({"bytes": b64encode(payload).decode()})
    kind = "exception" if type.endswith("Exception") else "error" if type.endswith("error") else "event"
    headers = [(f":{'error-code' if kind == 'error' else f'{kind}-type'}", type), (":message-type", kind)]
    return aws_eventstream.event([*headers, (":content-type", "application/json")], payload)

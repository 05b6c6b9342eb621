"""What an answer says, read with pencil and paper: the vendors' documentation, and none of the gateway's code.

One reader for each format, of whole answers and of streams: `read(format, answer)`. The recordings are read by them,
and what clients get.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

from botocore.eventstream import EventStreamBuffer

Json = dict[str, Any]


class Answer(NamedTuple):
    """The body of an answer as it went over the wire."""

    framing: Literal["json", "sse", "ndjson", "aws"]
    body: bytes
    headers: dict[str, str]  # in lower case


class Count(NamedTuple):
    """Tokens; what is cached and written is within the input, what was thought within the output."""

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0
    thought: int = 0


class Told(NamedTuple):
    """What an answer says. The reason is the format's own word."""

    text: str
    thought: str
    calls: list[tuple[str, Any]]  # name and arguments
    reason: str | None
    count: Count | None
    id: str | None
    model: str | None
    stop: str | None = None  # the sequence at which it stopped


def read(format: str, answer: Answer) -> Told:
    """`answer`, which is one of `format`. Of files that hold several answers in a row, the first."""
    told = list(events(answer))
    end = next((at for at, event in enumerate(told) if _ends(event)), len(told))
    return _READERS[format](told[: end + 1], answer)


def failed(answer: Answer) -> bool:
    """Whether a stream, of any format, breaks off with an error."""
    return answer.framing != "json" and any(
        event.get("error") or event.get("type") == "error" or event.get("type") == "response.failed"
        for event in events(answer)
    )


def _ends(event: Json) -> bool:
    """In the formats that say so. Others end with the stream."""
    return event.get("type") in ("message_stop", "response.completed", "response.incomplete", "response.failed")


def events(answer: Answer) -> Iterator[Any]:
    """Its JSON: one of a whole answer, many of a stream."""
    if answer.framing == "json":
        yield json.loads(answer.body)
    elif answer.framing == "ndjson":
        for line in answer.body.decode().split("\n"):
            if line.strip():
                yield json.loads(line.removeprefix("data:"))
    elif answer.framing == "sse":
        yield from _sse(answer.body.decode())
    else:
        yield from _aws(answer.body)


def _sse(text: str) -> Iterator[Any]:
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        told = "\n".join(lines)
        if told and told.strip() != "[DONE]":
            yield json.loads(told)


def _aws(body: bytes) -> Iterator[Any]:
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    for message in buffer:
        told = json.loads(message.payload)
        told[":event"] = message.headers.get(":event-type") or message.headers.get(":exception-type")
        if set(told) >= {"bytes"}:
            told = json.loads(b64decode(told["bytes"]))
        yield told


def _call(name: str, arguments: Any) -> tuple[str, Any]:
    """Arguments are an object, or its JSON; nothing is none."""
    if not isinstance(arguments, str):
        return name, arguments or {}
    try:
        return name, json.loads(arguments) if arguments.strip() else {}
    except ValueError:  # a model's JSON may be none: it reaches the client as it is
        return name, arguments


def _last(values: Iterable[Any]) -> Any:
    """The last that is told."""
    return next((value for value in reversed(list(values)) if value is not None), None)


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value), None)


# ---- chat completions


def _openai_chat(told: list[Json], _: Answer) -> Told:
    # https://platform.openai.com/docs/api-reference/chat/object
    text, thought, reason, refused = "", "", None, False
    calls: dict[Any, list[str]] = {}
    for chunk in told:
        for choice in chunk.get("choices") or []:
            if choice.get("index"):
                continue
            said = choice.get("delta") or choice.get("message") or {}
            spoken, thoughts = _openai_content(said.get("content"))
            text += spoken + (said.get("refusal") or "")
            refused = refused or bool(said.get("refusal"))
            details = [each.get("text") or each.get("summary") or "" for each in said.get("reasoning_details") or []]
            plain = said.get("reasoning_content") or said.get("reasoning") or ""
            thought += thoughts + ("".join(details) or plain)
            made = said.get("function_call")  # the older way to call one function
            older = [] if made is None else [{"index": 0, "function": made}]
            for number, call in enumerate(said.get("tool_calls") or older):
                # By number; a server that numbers all of them alike tells another id with each.
                key = call.get("index", number if "message" in choice else None)
                if key is None:
                    key = len(calls) if call.get("id") else len(calls) - 1
                if call.get("id") and key in calls and calls[key][0] not in ("", call["id"]):
                    calls[len(calls) + 1000] = calls.pop(key)
                entry = calls.setdefault(key, ["", "", ""])
                made = call.get("function") or {}
                arguments = made.get("arguments") or ""
                entry[0] = entry[0] or call.get("id") or ""
                entry[1] = entry[1] or made.get("name") or ""
                entry[2] += arguments if isinstance(arguments, str) else json.dumps(arguments)
            reason = choice.get("finish_reason") or reason
    return Told(
        text, thought, [_call(name, arguments) for _, name, arguments in calls.values() if name or arguments],
        "refusal" if refused else reason,
        _openai_count(told),
        _first(chunk.get("id") for chunk in told), _first(chunk.get("model") for chunk in told),
    )  # fmt: skip


def _openai_content(content: Any) -> tuple[str, str]:
    """Text and thought; Mistral tells both as parts. https://docs.mistral.ai/capabilities/reasoning"""
    if not isinstance(content, list):
        return content or "", ""
    text = "".join(part.get("text") or "" for part in content if part["type"] == "text")
    thoughts = [each for part in content if part["type"] == "thinking" for each in part["thinking"]]
    return text, "".join(each.get("text") or "" for each in thoughts)


def _openai_count(told: list[Json]) -> Count | None:
    usage = None
    for chunk in told:
        corners = [chunk.get("usage"), *(choice.get("usage") for choice in chunk.get("choices") or [])]
        now = _first([*corners, (chunk.get("x_groq") or {}).get("usage")])
        usage = now or usage
    if usage is None:
        return None
    inputs, outputs = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    within = usage.get("prompt_tokens_details") or {}
    cached = _first(
        [
            within.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"), usage.get("cached_tokens"),
            usage.get("num_cached_tokens"), usage.get("cache_read_input_tokens"),
        ]
    ) or 0  # fmt: skip
    written = within.get("cache_write_tokens") or usage.get("cache_creation_input_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or usage.get("reasoning_tokens")
    rest = max((usage.get("total_tokens") or 0) - inputs - outputs, 0)
    if rest and not thought:  # Gemini in OpenAI's words: thoughts are what is missing
        thought = rest
    if rest and rest == thought:  # xAI counts them beside the completion
        outputs += rest
    return Count(inputs, outputs, cached, min(written, inputs - cached), min(thought or 0, outputs))


# ---- responses


def _responses(told: list[Json], _: Answer) -> Told:
    # https://platform.openai.com/docs/api-reference/responses/object
    ends = ("response.completed", "response.incomplete", "response.failed")
    whole = next((each["response"] for each in told if each.get("type") in ends), told[-1])
    if "response.output_item.done" in {each.get("type") for each in told}:  # some leave out what was streamed
        done = [each["item"] for each in told if each["type"] == "response.output_item.done"]
        whole = {**whole, "output": done}
    text, calls, refused = "", [], False
    paragraphs = []
    for number, item in enumerate(whole["output"]):
        if item["type"] == "message":
            for part in item["content"]:
                text += part.get("text") or part.get("refusal") or ""
                refused = refused or bool(part.get("refusal"))
        elif item["type"] == "reasoning":
            parts = [*(item.get("summary") or []), *(item.get("content") or [])]
            paragraphs += ["\n\n".join(part.get("text") or "" for part in parts)]
        elif item["type"] == "function_call":
            calls.append(_call(item["name"], item["arguments"]))
        elif item["type"] == "custom_tool_call" and number == len(whole["output"]) - 1:
            # xAI tells its own searches so, and goes on by itself.
            calls.append((item["name"], {"input": item["input"]}))
    reason = (whole.get("incomplete_details") or {}).get("reason") or whole["status"]
    reason = None if reason in ("queued", "in_progress") else reason  # it goes on in the background
    usage = whole.get("usage")
    count = None
    if usage is not None:
        inside, outside = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details") or {}
        count = Count(
            usage["input_tokens"], usage["output_tokens"], inside.get("cached_tokens") or 0,
            inside.get("cache_write_tokens") or 0, outside.get("reasoning_tokens") or 0,
        )  # fmt: skip
    begun = (told[0].get("response") or whole)["id"]
    id = begun if begun == whole["id"] else None  # Copilot's is another in each event
    return Told(text, "".join(paragraphs), calls, "refusal" if refused else reason, count, id, whole["model"])


# ---- completions


def _completions(told: list[Json], _: Answer) -> Told:
    choices = [choice for chunk in told for choice in chunk.get("choices") or [] if not choice.get("index")]
    return Told(
        "".join(choice.get("text") or "" for choice in choices), "", [],
        _last(choice.get("finish_reason") for choice in choices), _openai_count(told),
        _first(chunk.get("id") for chunk in told), _first(chunk.get("model") for chunk in told),
    )  # fmt: skip


# ---- messages


def _anthropic(told: list[Json], _: Answer) -> Told:
    # https://docs.anthropic.com/en/api/messages and …/messages-streaming
    message: Json = told[0]
    if message.get("type") == "message_start":
        message = _gathered(told)
    text, thought, calls = "", "", []
    for block in message["content"]:
        if block["type"] == "text":
            text += block["text"]
        elif block["type"] == "thinking":
            thought += block["thinking"]
        elif block["type"] == "tool_use":
            calls.append(_call(block["name"], block["input"]))
    return Told(
        text, thought, calls, message["stop_reason"], anthropic_count(message["usage"]), message["id"],
        message["model"],
    )  # fmt: skip


def _gathered(told: list[Json]) -> Json:
    message = dict(told[0]["message"])
    blocks: dict[int, Json] = {}
    pieces: dict[int, str] = {}
    for event in told:
        if event["type"] == "content_block_start":
            blocks[event["index"]] = dict(event["content_block"])
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
            elif delta["type"] == "thinking_delta":
                block["thinking"] += delta["thinking"]
            elif delta["type"] == "input_json_delta":
                pieces[event["index"]] = pieces.get(event["index"], "") + delta["partial_json"]
        elif event["type"] == "message_delta":
            message.update({name: value for name, value in event["delta"].items() if value is not None})
            new = {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
            message["usage"] = {**message["usage"], **new}
    for index, spelt in pieces.items():
        blocks[index]["input"] = spelt or blocks[index]["input"]
    return {**message, "content": list(blocks.values())}


def anthropic_count(usage: Json) -> Count:
    """Cached and written tokens stand beside the input. Rounds of compaction and of an advisor are not in the sum.

    https://platform.claude.com/docs/en/build-with-claude/compaction
    """
    cached, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    own = Count((usage.get("input_tokens") or 0) + cached + written, usage["output_tokens"], cached, written, thought)
    for each in usage.get("iterations") or []:
        if each["type"] in ("compaction", "advisor_message"):
            own = Count(*map(sum, zip(own, anthropic_count(each), strict=True)))
    return own


# ---- generateContent


def _gemini(told: list[Json], _: Answer) -> Told:
    # https://ai.google.dev/api/generate-content
    text, thought, reason = "", "", None
    calls: list[tuple[str, Any]] = []
    growing: tuple[str, Json] | None = None  # a call whose arguments come in pieces
    for chunk in told:
        for candidate in (chunk.get("candidates") or [])[:1]:
            for part in (candidate.get("content") or {}).get("parts") or []:
                if part.get("thought"):
                    thought += part.get("text") or ""
                else:
                    text += part.get("text") or ""
                call = part.get("functionCall")
                if call is None:
                    continue
                if call.get("name") and (growing is None or "args" in call):
                    calls.append(_call(call["name"], call.get("args") or {}))
                    growing = (call["name"], calls[-1][1]) if call.get("willContinue") else None
                if growing is not None:
                    for piece in call.get("partialArgs") or []:
                        _put(growing[1], piece)
                    growing = growing if call.get("willContinue") else None
            reason = candidate.get("finishReason") or reason
        reason = reason or (chunk.get("promptFeedback") or {}).get("blockReason")
    usage = _last(chunk.get("usageMetadata") for chunk in told)
    count = None
    if usage and ("promptTokenCount" in usage or "candidatesTokenCount" in usage):
        thoughts = usage.get("thoughtsTokenCount") or 0
        count = Count(
            (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0),
            (usage.get("candidatesTokenCount") or 0) + thoughts, usage.get("cachedContentTokenCount") or 0, 0, thoughts,
        )  # fmt: skip
    return Told(
        text, thought, calls, reason, count, _first(chunk.get("responseId") for chunk in told),
        _first(chunk.get("modelVersion") for chunk in told),
    )  # fmt: skip


def _put(into: Json, piece: Json) -> None:
    """A piece of an argument where its JSON path says: `$.items[0].name`."""
    path = [
        int(step) if step.isdigit() else step
        for step in piece["jsonPath"].removeprefix("$").replace("[", ".").replace("]", "").split(".")
        if step
    ]
    at: Any = into
    for step, following in zip(path, [*path[1:], None], strict=True):
        if following is None:
            value = next((piece[kind] for kind in ("stringValue", "numberValue", "boolValue") if kind in piece), None)
            if isinstance(at, list):
                at.extend([None] * (int(step) + 1 - len(at)))
                before = at[int(step)]
            else:
                before = at.get(step)
            at[step] = before + value if isinstance(before, str) and isinstance(value, str) else value
            return
        fresh: Any = [] if isinstance(following, int) else {}
        if isinstance(at, list):
            at.extend([None] * (int(step) + 1 - len(at)))
            at[int(step)] = fresh if at[int(step)] is None else at[int(step)]
            at = at[int(step)]
        else:
            at = at.setdefault(step, fresh)


# ---- Bedrock


def _converse(told: list[Json], _: Answer) -> Told:
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
    if "output" in told[0]:
        (whole,) = told
        blocks, reason, usage = whole["output"]["message"]["content"], whole["stopReason"], whole.get("usage")
    else:
        blocks, reason, usage = _converse_blocks(told)
    text, thought, calls = "", "", []
    for block in blocks:
        text += block.get("text") or "".join(
            each.get("text") or "" for each in (block.get("citationsContent") or {}).get("content") or []
        )
        thought += ((block.get("reasoningContent") or {}).get("reasoningText") or {}).get("text") or ""
        use = block.get("toolUse")
        if use is not None and use.get("type") != "server_tool_use":
            calls.append(_call(use["name"], use["input"]))
    return Told(text, thought, calls, reason, _converse_count(usage), None, None)


def _converse_blocks(told: list[Json]) -> tuple[list[Json], str | None, Json | None]:
    blocks: dict[int, Json] = {}
    reason, usage = None, None
    for event in told:
        block = blocks.setdefault(event.get("contentBlockIndex", -1), {})
        if "start" in event and "toolUse" in event["start"]:
            block["toolUse"] = {**event["start"]["toolUse"], "input": ""}
        delta = event.get("delta") or {}
        if "text" in delta and event[":event"] == "contentBlockDelta":
            block["text"] = block.get("text", "") + delta["text"]
        if "toolUse" in delta:
            block["toolUse"]["input"] += delta["toolUse"]["input"]
        words = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})["reasoningText"]
        words["text"] += (delta.get("reasoningContent") or {}).get("text") or ""
        reason, usage = event.get("stopReason") or reason, event.get("usage") or usage
    return list(blocks.values()), reason, usage


def _converse_count(usage: Json | None) -> Count | None:
    """Nova's own frames spell it with Count."""
    if usage is None:
        return None
    cached = usage.get("cacheReadInputTokens") or usage.get("cacheReadInputTokenCount") or 0
    written = usage.get("cacheWriteInputTokens") or usage.get("cacheWriteInputTokenCount") or 0
    return Count(usage["inputTokens"] + cached + written, usage["outputTokens"], cached, written)


def _invoke(told: list[Json], answer: Answer) -> Told:
    """Whatever family it is of; usage stands in headers, or in the metrics of the last frame.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
    """
    metrics = _last(each.get("amazon-bedrock-invocationMetrics") for each in told)
    if metrics is None:
        names = {"input": "inputTokenCount", "output": "outputTokenCount"}
        names |= {"cache-read-input": "cacheReadInputTokenCount", "cache-write-input": "cacheWriteInputTokenCount"}
        counted = {ours: answer.headers.get(f"x-amzn-bedrock-{name}-token-count") for name, ours in names.items()}
        metrics = {name: int(value) for name, value in counted.items() if value is not None}
    count = None
    if metrics:
        cached, written = metrics.get("cacheReadInputTokenCount", 0), metrics.get("cacheWriteInputTokenCount", 0)
        count = Count(metrics["inputTokenCount"] + cached + written, metrics["outputTokenCount"], cached, written)
    if told[0].get("type") in ("message", "message_start"):
        plain = [{name: each[name] for name in each if not name.startswith("amazon-")} for each in told]
        found = _anthropic(plain, answer)
        return found._replace(count=count or found.count)
    if "messageStart" in told[0] or "output" in told[0]:  # Nova's is Converse in JSON
        flat = [{":event": kind, **value} for each in told for kind, value in each.items() if isinstance(value, dict)]
        found = _converse(told if "output" in told[0] else flat, answer)
        return found._replace(count=count or found.count)
    text, reason, stop = "", None, None
    for each in told:
        spoken = each if not each.get("index") or "event_type" in each else {}
        if not spoken.get("is_finished"):
            text += next(
                (each[name] for name in ("completion", "generation", "outputText", "text") if spoken.get(name)), ""
            )
        for several in ("generations", "results", "outputs"):
            for one in each.get(several, [])[:1]:
                text += one.get("text", one.get("outputText", ""))
                reason = one.get("stop_reason") or one.get("finish_reason") or one.get("completionReason") or reason
        told_why = [each.get(name) for name in ("stop_reason", "finish_reason", "completionReason")]
        reason = _first(told_why) or reason
        stop = each.get("stop") or stop
    return Told(text, "", [], reason, count, None, None, stop)


# ---- Cohere


def _cohere(told: list[Json], _: Answer) -> Told:
    # https://docs.cohere.com/reference/chat and …/chat-stream
    if "type" not in told[0]:
        (whole,) = told
        message, end, id = whole["message"], whole, whole["id"]
        content = message.get("content") or []
        text = "".join(block.get("text") or "" for block in content)
        thought = (message.get("tool_plan") or "") + "".join(block.get("thinking") or "" for block in content)
        made = [call["function"] for call in message.get("tool_calls") or []]
        calls = [_call(call["name"], call["arguments"]) for call in made]
    else:
        text = thought = ""
        pieces: dict[int, list[str]] = {}
        for event in told:
            said = (event.get("delta") or {}).get("message") or {}
            if event["type"] in ("content-start", "content-delta"):
                text += said["content"].get("text") or ""
                thought += said["content"].get("thinking") or ""
            elif event["type"] == "tool-plan-delta":
                thought += said["tool_plan"]
            elif event["type"] == "tool-call-start":
                pieces[event["index"]] = [said["tool_calls"]["function"][name] for name in ("name", "arguments")]
            elif event["type"] == "tool-call-delta":
                pieces[event["index"]].append(said["tool_calls"]["function"]["arguments"])
        calls = [_call(name, "".join(rest)) for name, *rest in pieces.values()]
        id, end = told[0]["id"], told[-1]["delta"]
    return Told(text, thought, [(name, made or {}) for name, made in calls], end["finish_reason"],
                _cohere_count(end["usage"]), id, None)  # fmt: skip


def _cohere_count(usage: Json) -> Count:
    tokens = usage.get("tokens") or usage["billed_units"]
    return Count(tokens["input_tokens"], tokens["output_tokens"], usage.get("cached_tokens") or 0)


def _cohere_v1(told: list[Json], _: Answer) -> Told:
    # https://docs.cohere.com/reference/chat-v1
    whole = told[-1].get("response", told[-1])
    made = [_call(call["name"], call["parameters"]) for call in whole.get("tool_calls") or []]
    return Told(whole["text"], "", made, whole["finish_reason"], _cohere_count(whole["meta"]),
                whole["generation_id"], None)  # fmt: skip


# ---- Ollama


def _ollama(told: list[Json], _: Answer) -> Told:
    # https://docs.ollama.com/api/chat and …/generate
    messages = [each.get("message") or {"content": each.get("response"), "thinking": each.get("thinking")}
                for each in told]  # fmt: skip
    made = [call["function"] for message in messages for call in message.get("tool_calls") or []]
    last = told[-1]
    return Told(
        "".join(message.get("content") or "" for message in messages),
        "".join(message.get("thinking") or "" for message in messages),
        [_call(call["name"], call["arguments"]) for call in made], last["done_reason"],
        Count(last.get("prompt_eval_count") or 0, last["eval_count"], last.get("prompt_eval_cached_count") or 0), None,
        last["model"],
    )  # fmt: skip


_READERS: dict[str, Callable[[list[Any], Answer], Told]] = {
    "openai-chat": _openai_chat,
    "openai-responses": _responses,
    "openai-completions": _completions,
    "anthropic-messages": _anthropic,
    "gemini": _gemini,
    "bedrock-converse": _converse,
    "bedrock-invoke": _invoke,
    "cohere-chat": _cohere,
    "cohere-chat-v1": _cohere_v1,
    "ollama-chat": _ollama,
    "ollama-generate": _ollama,
}

# ---- reasons

_OVERS = {
    "openai-chat": {"stop": "stop", "length": "length", "tool_calls": "tool_use", "function_call": "tool_use",
                    "content_filter": "content_filter", "refusal": "refusal", "eos": "stop",
                    "model_length": "length"},
    "openai-responses": {"completed": "stop", "complete": "stop", "max_output_tokens": "length",
                         "content_filter": "content_filter", "refusal": "refusal"},
    "anthropic-messages": {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_use", "refusal": "refusal",
                           "stop_sequence": "stop_sequence", "pause_turn": "pause", "compaction": "stop",
                           "model_context_window_exceeded": "length"},
    "gemini": {"STOP": "stop", "MAX_TOKENS": "length", "MALFORMED_FUNCTION_CALL": "stop",
               "UNEXPECTED_TOOL_CALL": "tool_use"},
    "bedrock-converse": {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_use",
                         "stop_sequence": "stop_sequence", "guardrail_intervened": "content_filter",
                         "content_filtered": "content_filter", "model_context_window_exceeded": "length"},
    "bedrock-invoke": {"FINISH": "stop", "stop": "stop", "COMPLETE": "stop", "length": "length",
                       "LENGTH": "length", "MAX_TOKENS": "length"},
    "cohere-chat": {"COMPLETE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_use",
                    "STOP_SEQUENCE": "stop_sequence"},
    "cohere-chat-v1": {"COMPLETE": "stop", "MAX_TOKENS": "length", "STOP_SEQUENCE": "stop_sequence"},
    "ollama-chat": {"stop": "stop", "length": "length"},
    "ollama-generate": {"stop": "stop", "length": "length"},
}  # fmt: skip


def why(format: str, told: Told) -> str | None:
    """Why the answer ended, in words that all formats share: those of `fairlead.chat.FinishReason`."""
    if told.reason is None:
        return None
    if told.stop == "\n\nHuman:":  # which older prompts are made of
        return "stop"
    if format == "bedrock-invoke" and told.reason in _OVERS["anthropic-messages"]:
        return _OVERS["anthropic-messages"][told.reason]
    over = _OVERS[format].get(told.reason, "content_filter" if format == "gemini" else None)
    assert over is not None, told.reason
    if over == "stop" and told.calls and format in ("openai-responses", "gemini", "ollama-chat", "cohere-chat-v1"):
        return "tool_use"  # these have no word of their own for it
    return over

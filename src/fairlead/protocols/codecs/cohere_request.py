"""Requests for Cohere's chat, version 2: our words as its JSON. https://docs.cohere.com/reference/chat"""

from collections.abc import Iterator
from typing import Any

import msgspec

from fairlead.chat import Media, Message, Opaque, Part, Reasoning, Request, Text, Thinking, ToolResult, ToolUse
from fairlead.protocols import Encoded
from fairlead.protocols.codecs import wording
from fairlead.protocols.unsaid import nothing_left, unsaid

NAME = "cohere-chat"

# What it can say, in the words of `unsaid`.
SAYS = frozenset(
    "temperature top_p top_k seed response_format thinking frequency_penalty presence_penalty stop detail"
    " reasoning".split()
)
# Fields of its own that no other format has, so that clients of any format may spell them.
OWN = frozenset("documents citation_options safety_mode strict_tools priority raw_prompting".split())
_MOST_STOPS = 5
_LEAST_P, _MOST_P, _MOST_K = 0.01, 0.99, 500
_MOST_SEED = 2**64 - 1
# A wish in words, as a budget of tokens; beyond these there is none. https://docs.cohere.com/docs/reasoning
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384}
_UNBOUNDED = ("xhigh", "max")  # as much as it likes
_encode = msgspec.json.encode


def encode(request: Request) -> Encoded:
    """The body that asks for `request`, and what it cannot say.

    A named tool is the only one offered, so that "REQUIRED" means it. Cohere refuses a shape of the answer beside
    tools. https://docs.cohere.com/docs/structured-outputs
    """
    dropped = unsaid(request, NAME, SAYS)
    tools = wording.offered(request)
    mode = request.tool_choice.mode if request.tool_choice is not None and tools else "auto"
    if request.parallel_tool_calls:  # it calls several unasked
        dropped.discard("parallel_tool_calls")
    messages = list(_messages(request))
    if not messages:
        raise nothing_left()
    body: dict[str, Any] = {
        "model": request.model,
        "messages": messages,
        "stream": request.stream,
        "tools": [wording.function(tool) for tool in tools] or None,
        "tool_choice": {"none": "NONE", "required": "REQUIRED", "named": "REQUIRED"}.get(mode),
        "thinking": _thinking(request.thinking, dropped),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        **settings(request, dropped),
    }
    strict = [tool.strict for tool in tools]
    if tools and all(strict):
        body["strict_tools"] = True
    elif any(strict):
        dropped.add("strict")
    if request.response_format is not None:
        if tools and mode != "none":
            dropped.add("response_format")
        else:
            # The guide's word for it; the reference of the SDK has "json_schema".
            body["response_format"] = shape(request, dropped)
            if tools:  # which may not be called anyhow
                body["tools"] = body["tool_choice"] = None
    extra = wording.own_fields(request.extra, NAME, OWN)
    dropped -= extra.keys()
    told = {**extra, **{name: value for name, value in body.items() if value is not None}}
    return Encoded(_encode(told), tuple(sorted(dropped)))


def settings(request: Request, dropped: set[str]) -> dict[str, Any]:
    """What both versions of the API spell alike, within the bounds that it sets."""
    told: dict[str, Any] = {
        "p": request.top_p if request.top_p is None else min(max(request.top_p, _LEAST_P), _MOST_P),
        "k": request.top_k if request.top_k is None else min(max(request.top_k, 0), _MOST_K),
        "stop_sequences": list(request.stop[:_MOST_STOPS]) or None,
    }
    if len(request.stop) > _MOST_STOPS:
        dropped.add("stop")
    if request.top_p is not None and not 0 <= request.top_p <= 1:  # 0 and 1 are nearly what is said
        dropped.add("top_p")
    if told["k"] != request.top_k:
        dropped.add("top_k")
    if request.seed is not None and 0 <= request.seed <= _MOST_SEED:
        told["seed"] = request.seed
    elif request.seed is not None:
        dropped.add("seed")
    for name in ("frequency_penalty", "presence_penalty"):  # 0 to 1 here, -2 to 2 elsewhere
        value = getattr(request, name)
        if value is not None and value < 0:
            dropped.add(name)
        elif value is not None:
            told[name] = min(value, 1.0)
            if value > 1:
                dropped.add(name)
    return told


def shape(request: Request, dropped: set[str]) -> dict[str, Any]:
    """`response_format`. https://docs.cohere.com/docs/structured-outputs"""
    wish = request.response_format
    assert wish is not None
    if wish.description is not None:
        dropped.add("response_format.description")
    schema = {"schema": wish.schema} if wish.schema is not None else {}
    return {"type": "json_object", **schema}


def _thinking(wish: Thinking | None, dropped: set[str]) -> dict[str, Any] | None:
    if wish is None or (wish.adaptive and wish.effort is None and wish.enabled):
        return None  # models that can think do so unasked
    if not wish.enabled:
        return {"type": "disabled"}
    if wish.budget_tokens is None and wish.effort not in (None, *_BUDGETS, *_UNBOUNDED):
        dropped.add("thinking")
        return None
    budget = wish.budget_tokens or _BUDGETS.get(wish.effort or "")
    return {"type": "enabled", **({"token_budget": budget} if budget else {})}


# ---- messages


def _messages(request: Request) -> Iterator[dict[str, Any]]:
    """ "system turn must be the first in the list": later instructions are said as the user's."""
    system, messages = wording.split_off_system(request.messages)
    if system:
        yield {"role": "system", "content": system}
    for message in wording.results_first(messages):
        match message.role:
            case "tool":
                yield from _results(message.parts)
            case "assistant":
                yield from _said(message)
            case _:
                content = _content(message.parts)
                if content:
                    yield {"role": "user", "content": content}


def _content(parts: tuple[Part, ...]) -> str | list[Any]:
    """A text, or parts where there are images among them."""
    told: list[Any] = []
    for part in parts:
        match part:
            case Text(text=text) if text:
                told.append({"type": "text", "text": text})
            case Media():
                told.append(_media(part))
            case Opaque(protocol=protocol, raw=raw) if protocol == NAME:
                told.append(raw)
    if all(isinstance(part, dict) and part["type"] == "text" for part in told):
        return "\n\n".join(part["text"] for part in told)
    return told


def _media(media: Media) -> dict[str, Any]:
    text = wording.document_text(media)
    if text is not None:
        return {"type": "text", "text": text}
    if media.kind != "image" or media.file_id is not None:
        raise wording.refused(media, "text, and images as data or by their address")
    image = {"url": media.url or wording.data_address(media)}
    if media.detail is not None:
        image["detail"] = media.detail
    return {"type": "image_url", "image_url": image}


def _text_alone(media: Media) -> dict[str, Any]:
    """Of what an assistant may have said."""
    text = wording.document_text(media)
    if text is None:
        raise wording.refused(media, "text as the assistant's")
    return {"type": "text", "text": text}


def _results(parts: tuple[Part, ...]) -> Iterator[dict[str, Any]]:
    """A tool's message holds texts and documents, so that images follow as the user's."""
    shown: list[Part] = []
    for result in parts:
        if not isinstance(result, ToolResult):
            continue
        content: list[Any] = []
        before = len(shown)
        for part in result.content:
            match part:
                case Text(text=text) if text:
                    content.append({"type": "text", "text": text})
                case Media(kind="document") if (document := _document(part)) is not None:
                    content.append(document)
                case Media():
                    shown.append(part)
                case Opaque(protocol=protocol, raw=raw) if protocol == NAME:
                    content.append(raw)
        if not content and len(shown) > before:
            content.append({"type": "text", "text": "The result follows in the next message."})
        yield {"role": "tool", "tool_call_id": result.id, "content": _plainly(content)}
    if shown:
        yield {"role": "user", "content": _content(tuple(shown))}


def _plainly(content: list[Any]) -> str | list[Any]:
    """One text stands alone."""
    if not content:
        return ""
    if len(content) == 1 and isinstance(content[0], dict) and content[0]["type"] == "text":
        return str(content[0]["text"])
    return content


def _document(media: Media) -> dict[str, Any] | None:
    """What a citation can point at."""
    text = wording.document_text(msgspec.structs.replace(media, name=None))
    if text is None:
        return None
    title = {"title": media.name} if media.name else {}
    return {"type": "document", "document": {"data": {**title, "text": text}}}


def _said(message: Message) -> Iterator[dict[str, Any]]:
    """An assistant's turn. What was thought before tools were called is its plan: Cohere tells both apart only by
    whether the model can reason, and shows both to it alike.
    https://docs.cohere.com/docs/tool-use-overview
    """
    texts = [part for part in message.parts if isinstance(part, Text) and part.text]
    thoughts = [part.text for part in message.parts if isinstance(part, Reasoning) and part.text]
    calls = [part for part in message.parts if isinstance(part, ToolUse)]
    own = [part.raw for part in message.parts if isinstance(part, Opaque) and part.protocol == NAME]
    documents = [_text_alone(part) for part in message.parts if isinstance(part, Media)]
    told: dict[str, Any] = {"role": "assistant"}
    content: list[Any] = [*documents, *({"type": "text", "text": part.text} for part in texts)]
    if thoughts and calls:
        told["tool_plan"] = "\n\n".join(thoughts)
    else:
        content = [{"type": "thinking", "thinking": thought} for thought in thoughts] + content
    content += own
    if content:
        told["content"] = _plainly(content)
    if calls:
        told["tool_calls"] = [_call(part) for part in calls]
    citations = [
        citation.raw.raw
        for part in texts
        for citation in part.citations
        if citation.raw is not None and citation.raw.protocol == NAME
    ]
    if citations:
        told["citations"] = citations
    if len(told) > 1:
        yield told


def _call(call: ToolUse) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}

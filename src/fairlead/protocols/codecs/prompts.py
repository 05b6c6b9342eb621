"""Requests for models that go on with a text: the conversation as one prompt, and their settings' names.

OpenAI's completions, Anthropic's, and what the older models on Bedrock take.
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from fairlead.chat import Media, Message, Part, Request, ToolResult, ToolUse
from fairlead.errors import Unsayable
from fairlead.protocols.codecs.wording import document_text, refused, split_off_system, text_of, unmarked
from fairlead.protocols.unsaid import unsaid

HUMAN = "\n\nHuman:"  # begins a turn of the user's for Anthropic's models, which end theirs there by themselves
ASSISTANT = "\n\nAssistant:"


class Turn(Struct, frozen=True):
    """What one side says until the other does."""

    mine: bool  # the model's
    text: str


class Prompted(Struct, frozen=True):
    """How a family of models is prompted."""

    prompt: Callable[[str, Sequence[Turn]], str]  # of the instructions and the turns
    marks: re.Pattern[str]  # what begins and ends a turn there, but for its last letters
    names: dict[str, str]  # of settings: ours → theirs
    field: str = "prompt"
    within: str | None = None  # where the settings stand, if not beside the prompt
    needs_limit: bool = False
    most_unasked: int | None = None  # tokens, where the client set no limit
    hottest: float = 1.0  # the highest temperature
    ends: str | None = None  # what the model shall not go on with: the user's next turn
    most_stops: int | None = None


# ---- prompts


def _plain(system: str, turns: Sequence[Turn]) -> str:
    """For models of which nothing is known. What a user says alone is the prompt, as a client of completions spells
    it."""
    if _is_alone(system, turns):
        return turns[0].text
    said = [f"{'Assistant' if turn.mine else 'User'}: {turn.text}" for turn in turns]
    begun = f"{system}\n\n" if system else ""
    return begun + "\n".join(said if turns and turns[-1].mine else [*said, "Assistant:"])


def _is_alone(system: str, turns: Sequence[Turn]) -> bool:
    return not system and len(turns) == 1 and not turns[0].mine


def _claude(system: str, turns: Sequence[Turn]) -> str:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-text-completion.html"""
    said = "".join(f"{ASSISTANT if turn.mine else HUMAN} {turn.text}" for turn in turns)
    return system + said + ("" if turns and turns[-1].mine else ASSISTANT)


def _titan(system: str, turns: Sequence[Turn]) -> str:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html"""
    said = "".join(f"{'Bot' if turn.mine else 'User'}: {turn.text}\n" for turn in turns)
    return (f"{system}\n" if system else "") + said + "Bot:"


def _command(system: str, turns: Sequence[Turn]) -> str:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-cohere-command.html"""
    begun = f"{system}\n\n" if system else ""
    if len(turns) == 1 and not turns[0].mine:
        return begun + turns[0].text
    return begun + "".join(f"{'Chatbot' if turn.mine else 'User'}: {turn.text}\n" for turn in turns) + "Chatbot:"


def _instructed(begin: str, end: str, system: str, turns: Sequence[Turn]) -> str:
    """Instructions in [INST] and [/INST], answers after them. `begin` opens the text, `end` closes an answer."""
    told = [begin]
    for index, turn in enumerate(turns):
        if turn.mine:
            told.append(f" {turn.text}{end}" if index < len(turns) - 1 else f" {turn.text}")
        else:
            told.append(f"[INST] {system}{turn.text} [/INST]")
            system = ""
    return "".join(told)


def _llama2(system: str, turns: Sequence[Turn]) -> str:
    """https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-2/"""
    return _instructed("<s>", " </s><s>", f"<<SYS>>\n{system}\n<</SYS>>\n\n" if system else "", turns)


def _mistral(system: str, turns: Sequence[Turn]) -> str:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-text-completion.html"""
    return _instructed("<s>", "</s> ", f"{system}\n\n" if system else "", turns)


def _headed(head: str, tail: str, end: str) -> Callable[[str, Sequence[Turn]], str]:
    def prompt(system: str, turns: Sequence[Turn]) -> str:
        said = [("system", system)] if system else []
        said += [("assistant" if turn.mine else "user", turn.text) for turn in turns]
        told = [f"{head}{role}{tail}\n\n{text}{end}" for role, text in said]
        if turns and turns[-1].mine:  # it shall go on with this
            told[-1] = told[-1].removesuffix(end)
        else:
            told.append(f"{head}assistant{tail}\n\n")
        return "<|begin_of_text|>" + "".join(told)

    return prompt


def _named(names: str) -> re.Pattern[str]:
    """Marks of turns that begin a line, with a colon behind the name."""
    return re.compile(rf"(?<=[\n\r])[ \t]*(?:{names})(?=:)")


_TOKENS = re.compile(r"<\|(?=\w+\|>)")
_INSTRUCTED = re.compile(r"<(?=/?s>)|<<(?=/?SYS>>)|\[(?=/?INST\])")
_LLAMA = {"max_tokens": "max_gen_len", "temperature": "temperature", "top_p": "top_p"}

# Unasked it tells 16 tokens, which is no answer of a chat. What is asked for must fit into the model's context beside
# the prompt; the smallest is 4,096. https://platform.openai.com/docs/api-reference/completions/create
OPENAI = Prompted(
    _plain,
    _named("User|Assistant"),
    {name: name for name in "max_tokens temperature top_p frequency_penalty presence_penalty seed stop user".split()},
    needs_limit=True,
    most_unasked=1024,
    hottest=2.0,
    ends="\nUser:",
    most_stops=4,
)
CLAUDE = Prompted(
    _claude,
    re.compile(r"[\n\r]{2}[ \t]*(?:Human|Assistant)(?=:)"),
    {
        "max_tokens": "max_tokens_to_sample", "temperature": "temperature", "top_p": "top_p", "top_k": "top_k",
        "stop": "stop_sequences",
    },
    needs_limit=True,
)  # fmt: skip
TITAN = Prompted(
    _titan,
    _named("User|Bot"),
    {"max_tokens": "maxTokenCount", "temperature": "temperature", "top_p": "topP", "stop": "stopSequences"},
    field="inputText",
    within="textGenerationConfig",
)
COMMAND = Prompted(
    _command,
    _named("User|Chatbot"),
    {"max_tokens": "max_tokens", "temperature": "temperature", "top_p": "p", "top_k": "k", "stop": "stop_sequences"},
)
MISTRAL = Prompted(
    _mistral,
    _INSTRUCTED,
    {"max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "stop": "stop"},
)
LLAMA2 = Prompted(_llama2, _INSTRUCTED, _LLAMA)
# https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-3/
LLAMA3 = Prompted(_headed("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), _TOKENS, _LLAMA)
# https://www.llama.com/docs/model-cards-and-prompt-formats/llama4/
LLAMA4 = Prompted(_headed("<|header_start|>", "<|header_end|>", "<|eot|>"), _TOKENS, _LLAMA)


# ---- requests


def spelt(
    request: Request, family: Prompted, protocol: str, default_max_tokens: int, *, says: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], set[str]]:
    """The fields that ask for `request` in `protocol`, and the names of what they cannot say but its caller: `says`.

    Raises InvalidRequest for what cannot be said in a text.
    """
    dropped = unsaid(request, protocol, says.union(family.names))
    if request.thinking is not None and not request.thinking.enabled:
        dropped.discard("thinking")  # none of them thinks
    if request.service_tier == "auto":
        dropped.discard("service_tier")
    if request.tools:
        dropped |= {"tools"} | ({"tool_choice"} if request.tool_choice is not None else set())
    system, turns = conversation(request.messages)
    values = settings(request, family)
    if values.get(family.names["temperature"], request.temperature) != request.temperature:
        dropped.add("temperature")  # beyond what is allowed
    if family.ends is not None and not _is_alone(system, turns):
        stop = values.setdefault(family.names["stop"], [])
        if family.most_stops is None or len(stop) < family.most_stops:  # the client's own count more
            stop.append(family.ends)
    if family.needs_limit and request.max_tokens is None:
        values[family.names["max_tokens"]] = min(default_max_tokens, family.most_unasked or default_max_tokens)
    body: dict[str, Any] = {family.field: _prompted(family, system, turns)}
    if family.within is None:
        body.update(values)
    elif values:
        body[family.within] = values
    return body, dropped


def _prompted(family: Prompted, system: str, turns: Sequence[Turn]) -> str:
    """The prompt. What a user says alone may be all of it: then it is as the user spells it."""
    if _is_alone(system, turns) and family.prompt("", turns) == turns[0].text:
        return turns[0].text
    said = [Turn(turn.mine, unmarked(turn.text, family.marks)) for turn in turns]
    return family.prompt(unmarked(system, family.marks, opens=True), said)


def settings(request: Request, family: Prompted) -> dict[str, Any]:
    """The settings of `request` that the family has, by its names."""
    values: dict[str, Any] = {}
    for ours, theirs in family.names.items():
        value = getattr(request, ours)
        if ours == "temperature" and value is not None:
            value = min(max(value, 0.0), family.hottest)
        if ours == "stop":
            value = [text for text in value if text] or None
        if value is not None:
            values[theirs] = value
    return values


def conversation(messages: Sequence[Message]) -> tuple[str, list[Turn]]:
    """The instructions that lead, and the turns; two of one side are joined. Raises InvalidRequest if not text."""
    system, rest = split_off_system(messages)
    turns: list[tuple[bool, list[str]]] = []
    for message in rest:
        for part in message.parts:
            _check(part)
        text = text_of(message.parts)
        mine = message.role == "assistant"
        if turns and turns[-1][0] == mine:
            turns[-1][1].append(text)
        elif text:
            turns.append((mine, [text]))
    return system, [Turn(mine, "\n\n".join(filter(None, texts))) for mine, texts in turns]


def _check(part: Part) -> None:
    """Text is all that these models take."""
    if isinstance(part, Media) and document_text(part) is None:
        raise refused(part, "text")
    if isinstance(part, ToolUse | ToolResult):
        raise Unsayable("has a call of a tool, or what one gave; this model takes no tools.", part)

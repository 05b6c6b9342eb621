"""What a format cannot say, with the page of its vendor's that says so. A cell is grey by one of these only."""

from msgspec import Struct


class Limit(Struct, frozen=True):
    """Why a case cannot be, and how the client learns of it: by a name in `x-fairlead-dropped`, or by a 400. Where it
    is nothing that was asked for, `lacks` is what the case then misses, and nothing else."""

    why: str
    link: str
    dropped: str = ""
    refused: bool = False
    lacks: str = ""


_CHAT_V1 = "https://docs.cohere.com/v1/reference/chat"
_CHAT_V2 = "https://docs.cohere.com/reference/chat"
_COMPLETIONS = "https://platform.openai.com/docs/api-reference/completions/create"
_RESPONSES = "https://platform.openai.com/docs/api-reference/responses/create"
_TOKENS = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html"
_OLLAMA_CHAT = "https://docs.ollama.com/api/chat"
_OLLAMA_GENERATE = "https://docs.ollama.com/api/generate"
_OLLAMA_USAGE = "https://docs.ollama.com/api/usage"

_PROMPT = "Completions have a prompt, and nothing but text."

# Of a format that providers speak.
OUTBOUND: dict[tuple[str, str], Limit] = {
    ("openai-responses", "stop"): Limit("Responses have no stop sequences.", _RESPONSES, dropped="stop"),
    ("openai-completions", "tools"): Limit(_PROMPT, _COMPLETIONS, dropped="tools"),
    ("openai-completions", "parallel"): Limit(_PROMPT, _COMPLETIONS, dropped="tools"),
    ("openai-completions", "results"): Limit(_PROMPT, _COMPLETIONS, dropped="tools"),
    ("openai-completions", "image"): Limit(_PROMPT, _COMPLETIONS, refused=True),
    ("openai-completions", "document"): Limit(_PROMPT, _COMPLETIONS, refused=True),
    ("openai-completions", "thinking"): Limit(_PROMPT, _COMPLETIONS, dropped="thinking"),
    ("openai-completions", "schema"): Limit(_PROMPT, _COMPLETIONS, dropped="response_format"),
    ("bedrock-converse", "usage"): Limit(
        "Converse counts no reasoning tokens of their own.", _TOKENS, lacks="no reasoning tokens"
    ),
    ("cohere-chat", "document"): Limit("Cohere's messages hold text and images.", _CHAT_V2, refused=True),
    ("cohere-chat", "refusal"): Limit("No reason of Cohere's says that a model refused.", _CHAT_V2, lacks="ended by"),
    ("cohere-chat", "usage"): Limit(
        "Cohere counts no reasoning tokens of their own.", _CHAT_V2, lacks="no reasoning tokens"
    ),
    ("cohere-chat-v1", "image"): Limit("Version 1 of Cohere's messages are text.", _CHAT_V1, refused=True),
    ("cohere-chat-v1", "document"): Limit("Version 1 of Cohere's messages are text.", _CHAT_V1, refused=True),
    ("cohere-chat-v1", "thinking"): Limit("Version 1 of Cohere's chat has no thoughts.", _CHAT_V1, dropped="thinking"),
    ("cohere-chat-v1", "usage"): Limit(
        "Cohere counts no reasoning tokens of their own.", _CHAT_V2, lacks="no reasoning tokens"
    ),
    ("ollama-chat", "document"): Limit("Ollama's messages hold text and images.", _OLLAMA_CHAT, refused=True),
    ("ollama-chat", "refusal"): Limit("Ollama has no reason for a refusal.", _OLLAMA_CHAT, lacks="ended by"),
    ("ollama-chat", "usage"): Limit(
        "Ollama counts no reasoning tokens of their own.", _OLLAMA_USAGE, lacks="no reasoning tokens"
    ),
    ("ollama-generate", "tools"): Limit("It has a prompt, and no tools.", _OLLAMA_GENERATE, dropped="tools"),
    ("ollama-generate", "parallel"): Limit("It has a prompt, and no tools.", _OLLAMA_GENERATE, dropped="tools"),
    ("ollama-generate", "results"): Limit("It has a prompt, and no tools.", _OLLAMA_GENERATE, dropped="tools"),
    ("ollama-generate", "document"): Limit("It takes a text and images.", _OLLAMA_GENERATE, refused=True),
    ("ollama-generate", "thinking"): Limit(
        "It has a prompt, and no turns that a thought could stand in.", _OLLAMA_GENERATE, dropped="reasoning"
    ),
    ("ollama-generate", "refusal"): Limit("Ollama has no reason for a refusal.", _OLLAMA_GENERATE, lacks="ended by"),
    ("ollama-generate", "usage"): Limit(
        "Ollama counts no reasoning tokens of their own.", _OLLAMA_USAGE, lacks="no reasoning tokens"
    ),
}

# Of a format that clients speak: it has no words to ask for it, or none to tell it.
INBOUND: dict[tuple[str, str], Limit] = {
    ("openai-responses", "stop"): Limit("Responses have no stop sequences.", _RESPONSES),
    **{
        ("openai-completions", case): Limit(_PROMPT, _COMPLETIONS)
        for case in ("tools", "parallel", "results", "image", "document", "thinking", "schema")
    },
}


def limit_of(inbound: str, outbound: str, case: str) -> Limit | None:
    """Why `case` cannot be between these formats, if one of them stands in its way."""
    return INBOUND.get((inbound, case)) or OUTBOUND.get((outbound, case))


def numbered() -> dict[Limit, int]:
    """All limits, by the numbers that tables call them."""
    limits = [*INBOUND.values(), *OUTBOUND.values()]
    told = dict.fromkeys((limit.why, limit.link) for limit in limits)
    numbers = {pair: number for number, pair in enumerate(told, 1)}
    return {limit: numbers[limit.why, limit.link] for limit in limits}

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


_CHAT_V1 = "https://docs.cohere.com/reference/chat-v1"
_CHAT_V2 = "https://docs.cohere.com/reference/chat"
_COMPLETIONS = "https://developers.openai.com/api/reference/go/resources/completions/methods/create"
_RESPONSES = "https://developers.openai.com/api/reference/resources/responses/methods/create"
_CLAUDE_TEXT = "https://platform.claude.com/docs/en/api/typescript/completions"
_TOKENS = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html"
_NOVA_REQUEST = "https://docs.aws.amazon.com/nova/latest/nova2-userguide/request-response-schema.html"
_NOVA_ANSWER = "https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema-response.html"
_NOVA_INVOKE = "https://docs.aws.amazon.com/nova/latest/userguide/invoke.html"
_BEDROCK = "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-"
_OLLAMA_CHAT = "https://docs.ollama.com/api/chat"
_OLLAMA_GENERATE = "https://docs.ollama.com/api/generate"
_OLLAMA_USAGE = "https://docs.ollama.com/api/usage"

_PROMPT = "Completions have a prompt, and nothing but text."
_CONVERSATION = "The prompt is a conversation of words, and nothing but text."


def _text(format: str, link: str, why: str) -> dict[tuple[str, str], Limit]:
    """What a format of providers lacks that has a prompt, and words in it."""
    dropped = {
        "tools": "tools",
        "parallel": "tools",
        "results": "tools",
        "thinking": "thinking",
        "schema": "response_format",
    }
    told = {(format, case): Limit(why, link, dropped=name) for case, name in dropped.items()}
    return told | {(format, case): Limit(why, link, refused=True) for case in ("image", "address", "document")}


def _family(
    name: str, page: str, of: str, *, refuses: bool = True, stops: bool = True, caches: bool = True
) -> dict[tuple[str, str], Limit]:
    """What a family of text models on Bedrock lacks, which its page there says. `refuses`: an answer has a reason for
    it; `caches`: Bedrock counts its tokens, those of the cache too."""
    format, link = f"bedrock-invoke-{name}", f"{_BEDROCK}{page}.html"
    told = _text(format, link, f"{of} takes a prompt, and nothing but text.")
    if caches:
        counts = Limit("Bedrock counts no reasoning tokens of their own.", _TOKENS, lacks="no reasoning tokens")
    else:
        counts = Limit(f"{of} counts what it was told and what it says, and no more.", link, lacks="no cached tokens")
    told[format, "usage"] = counts
    if not refuses:
        told[format, "refusal"] = Limit(f"{of} has no reason for a refusal.", link, lacks="ended by")
    if not stops:
        told[format, "stop"] = Limit(f"{of} has no stop sequences.", link, dropped="stop")
    return told


# Of a format that providers speak.
OUTBOUND: dict[tuple[str, str], Limit] = {
    ("openai-responses", "stop"): Limit("Responses have no stop sequences.", _RESPONSES, dropped="stop"),
    **_text("openai-completions", _COMPLETIONS, _PROMPT),
    **_text("anthropic-completions", _CLAUDE_TEXT, _CONVERSATION),
    ("anthropic-completions", "refusal"): Limit(
        "Completions have no reason for a refusal.", _CLAUDE_TEXT, lacks="ended by"
    ),
    ("anthropic-completions", "usage"): Limit("Completions tell no usage.", _CLAUDE_TEXT, lacks="no usage was told"),
    ("bedrock-converse", "usage"): Limit(
        "Bedrock counts no reasoning tokens of their own.", _TOKENS, lacks="no reasoning tokens"
    ),
    ("bedrock-invoke-nova", "document"): Limit("Only Converse takes documents for Nova.", _NOVA_INVOKE, refused=True),
    ("bedrock-invoke-nova", "schema"): Limit(
        "Nova's own format has no schema for answers.", _NOVA_REQUEST, dropped="response_format"
    ),
    ("bedrock-invoke-nova", "usage"): Limit(
        "Nova counts no reasoning tokens of their own.", _NOVA_ANSWER, lacks="no reasoning tokens"
    ),
    **_family("claude-text", "anthropic-claude-text-completion", "Claude's text completion", refuses=False),
    **_family("titan", "titan-text", "Titan", caches=False),
    **_family("llama", "meta", "Llama 3", refuses=False, stops=False, caches=False),
    **_family("command", "cohere-command", "Command"),
    **_family("mistral", "mistral-text-completion", "Mistral's text completion", refuses=False),
    ("cohere-chat", "document"): Limit("Cohere's messages hold text and images.", _CHAT_V2, refused=True),
    ("cohere-chat", "refusal"): Limit("No reason of Cohere's says that a model refused.", _CHAT_V2, lacks="ended by"),
    ("cohere-chat", "usage"): Limit(
        "Cohere counts no reasoning tokens of their own.", _CHAT_V2, lacks="no reasoning tokens"
    ),
    **{
        ("cohere-chat-v1", case): Limit("Version 1 of Cohere's messages are text.", _CHAT_V1, refused=True)
        for case in ("image", "address", "document")
    },
    ("cohere-chat-v1", "thinking"): Limit("Version 1 of Cohere's chat has no thoughts.", _CHAT_V1, dropped="thinking"),
    ("cohere-chat-v1", "usage"): Limit(
        "Cohere counts no reasoning tokens of their own.", _CHAT_V2, lacks="no reasoning tokens"
    ),
    ("ollama-chat", "document"): Limit("Ollama's messages hold text and images.", _OLLAMA_CHAT, refused=True),
    ("ollama-chat", "refusal"): Limit("Ollama names no reason for a refusal.", _OLLAMA_CHAT, lacks="ended by"),
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
    ("ollama-generate", "refusal"): Limit("Ollama names no reason for a refusal.", _OLLAMA_GENERATE, lacks="ended by"),
    ("ollama-generate", "usage"): Limit(
        "Ollama counts no reasoning tokens of their own.", _OLLAMA_USAGE, lacks="no reasoning tokens"
    ),
}

_WORDS = ("tools", "parallel", "results", "image", "address", "document", "thinking", "schema")
# Of a format that clients speak: it has no words to ask for it, or none to tell it.
INBOUND: dict[tuple[str, str], Limit] = {
    ("openai-responses", "stop"): Limit("Responses have no stop sequences.", _RESPONSES),
    **{("openai-completions", case): Limit(_PROMPT, _COMPLETIONS) for case in _WORDS},
    **{("anthropic-completions", case): Limit(_CONVERSATION, _CLAUDE_TEXT) for case in _WORDS},
    ("anthropic-completions", "usage"): Limit("Completions tell no usage.", _CLAUDE_TEXT, lacks="no usage was told"),
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

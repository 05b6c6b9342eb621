"""Formats, and the SDKs that speak them: one file each, imported only when it is asked for.

`Asking` where a client may speak the format, `Reading` where a provider may.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from msgspec import Struct

from fairlead.conformance import Asking, Reading


class Row(Struct, frozen=True):
    """A format: where it is spoken, by which SDKs, and in which roles it is looked at."""

    module: str
    sdks: tuple[str, ...]  # as they are imported
    inbound: bool = False
    base: str = ""  # what follows a provider's address, as its documentation has it
    takes_addresses: bool = False  # of images
    model: str = "{}"  # how the provider calls its models
    format: str = ""  # as the gateway knows it, if not by the row's name


_HERE = "fairlead.conformance.formats"
PACKAGES = {  # SDKs, as pip knows them
    "anthropic": "anthropic", "botocore": "botocore", "cohere": "cohere", "google.genai": "google-genai",
    "ollama": "ollama", "openai": "openai",
}  # fmt: skip


def _row(module: str, *sdks: str, **facts: Any) -> Row:
    return Row(f"{_HERE}.{module}", sdks, **facts)


def _family(module: str, model: str) -> Row:
    """Of models behind InvokeModel, which has no format of its own."""
    return _row(module, "botocore", model=model, format="bedrock-invoke")


FORMATS: dict[str, Row] = {
    "openai-chat": _row("openai_chat", "openai", inbound=True, base="/v1", takes_addresses=True),
    "openai-responses": _row("openai_responses", "openai", inbound=True, base="/v1", takes_addresses=True),
    "anthropic-messages": _row("anthropic_messages", "anthropic", inbound=True, base="/v1", takes_addresses=True),
    "gemini": _row("gemini", "google.genai", inbound=True, base="/v1beta"),
    "openai-completions": _row("openai_completions", "openai", inbound=True, base="/v1"),
    "anthropic-completions": _row("anthropic_completions", "anthropic", inbound=True, base="/v1"),
    "bedrock-converse": _row("bedrock_converse", "botocore", model="anthropic.claude-{}"),
    "bedrock-invoke": _row("bedrock_invoke", "botocore", "anthropic", model="anthropic.claude-{}"),
    "bedrock-invoke-nova": _family("bedrock_nova", "amazon.nova-2-lite-{}"),
    "bedrock-invoke-claude-text": _family("bedrock_texts", "anthropic.claude-v2-{}"),
    "bedrock-invoke-titan": _family("bedrock_texts", "amazon.titan-text-express-{}"),
    "bedrock-invoke-llama": _family("bedrock_texts", "meta.llama3-8b-instruct-{}"),
    "bedrock-invoke-command": _family("bedrock_texts", "cohere.command-text-{}"),
    "bedrock-invoke-mistral": _family("bedrock_texts", "mistral.mistral-7b-instruct-{}"),
    "cohere-chat": _row("cohere_chat", "cohere", base="/v2", takes_addresses=True),
    "cohere-chat-v1": _row("cohere_chat_v1", "cohere", base="/v1"),
    "ollama-chat": _row("ollama_chat", "ollama", base="/api"),
    "ollama-generate": _row("ollama_generate", "ollama", base="/api"),
}


def format_of(name: str) -> str:
    """The gateway's name for the format of a row."""
    return FORMATS[name].format or name


INBOUND = tuple(name for name, row in FORMATS.items() if row.inbound)


def missing(names: set[str]) -> list[str]:
    """The packages that have to be installed before `names` can be looked at."""
    sdks = {sdk for name in names for sdk in FORMATS[name].sdks}
    return sorted(PACKAGES.get(sdk, sdk) for sdk in sdks if not _there(sdk))


def _there(sdk: str) -> bool:
    try:
        return find_spec(sdk) is not None
    except ModuleNotFoundError:  # the package that it lies in
        return False


def client(name: str, url: str, key: str) -> Asking:
    """A client of the gateway at `url`."""
    made: Asking = import_module(FORMATS[name].module).Client(url, key)
    return made


def judge(name: str, url: str) -> Reading:
    """Who reads what the provider at `url` was sent, and what it answers."""
    made: Reading = import_module(FORMATS[name].module).Judge(url)
    return made

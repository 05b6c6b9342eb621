"""Formats, and the SDKs that speak them: one file each, imported only when it is asked for.

`Asking` where a client may speak the format, `Reading` where a provider may.
"""

from importlib import import_module
from importlib.util import find_spec

from msgspec import Struct

from fairlead.conformance import Asking, Reading


class Row(Struct, frozen=True):
    """A format: where its SDK is in Python and on PyPI, and in which roles it is looked at."""

    module: str
    sdk: str  # as it is imported
    package: str  # as pip knows it
    inbound: bool = False
    base: str = ""  # what follows a provider's address, as its documentation has it
    model: str = "{}"  # how the provider calls its models


_HERE = "fairlead.conformance.formats"
FORMATS: dict[str, Row] = {
    "openai-chat": Row(f"{_HERE}.openai_chat", "openai", "openai", inbound=True, base="/v1"),
    "openai-responses": Row(f"{_HERE}.openai_responses", "openai", "openai", inbound=True, base="/v1"),
    "anthropic-messages": Row(f"{_HERE}.anthropic_messages", "anthropic", "anthropic", inbound=True, base="/v1"),
    "gemini": Row(f"{_HERE}.gemini", "google.genai", "google-genai", inbound=True, base="/v1beta"),
    "openai-completions": Row(f"{_HERE}.openai_completions", "openai", "openai", inbound=True, base="/v1"),
    "bedrock-converse": Row(f"{_HERE}.bedrock_converse", "botocore", "botocore", model="anthropic.claude-{}"),
    "bedrock-invoke": Row(f"{_HERE}.bedrock_invoke", "botocore", "botocore", model="anthropic.claude-{}"),
    "cohere-chat": Row(f"{_HERE}.cohere_chat", "cohere", "cohere", base="/v2"),
    "cohere-chat-v1": Row(f"{_HERE}.cohere_chat_v1", "cohere", "cohere", base="/v1"),
    "ollama-chat": Row(f"{_HERE}.ollama_chat", "ollama", "ollama", base="/api"),
    "ollama-generate": Row(f"{_HERE}.ollama_generate", "ollama", "ollama", base="/api"),
}
INBOUND = tuple(name for name, row in FORMATS.items() if row.inbound)


def missing(names: set[str]) -> list[str]:
    """The packages that have to be installed before `names` can be looked at."""
    return sorted({FORMATS[name].package for name in names if not _there(FORMATS[name].sdk)})


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

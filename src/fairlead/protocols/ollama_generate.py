"""Ollama's completion of one prompt. https://docs.ollama.com/api/generate

It answers as the chat does, but for where the fields stand.
"""

from fairlead.chat import Request
from fairlead.protocols import Encoded
from fairlead.protocols.codecs import ollama_request
from fairlead.protocols.ollama_chat import OllamaChat


class OllamaGenerate(OllamaChat):
    """The format of `/api/generate`: an `Outbound`."""

    name = ollama_request.GENERATE
    takes_prompts = True

    def path(self, model: str, stream: bool) -> str:
        return "/generate"

    def encode_request(self, request: Request, *, default_max_tokens: int) -> Encoded:
        return ollama_request.encode_generate(request)

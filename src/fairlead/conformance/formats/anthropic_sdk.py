"""The SDK `anthropic`, as the clients and the judges of Anthropic's formats have it."""

from abc import ABC, abstractmethod
from typing import Any

import anthropic
from anthropic import AsyncAnthropic

from fairlead.conformance import Answer, Mismatch, Received, Refused
from fairlead.conformance.formats.exact import Exactly, client_of
from fairlead.conformance.formats.shared import body, invalid


class Anthropic(ABC):
    """The SDK, and how it is asked in one format."""

    def __init__(self, url: str, key: str, exactly: Exactly | None = None) -> None:
        self.sdk = AsyncAnthropic(
            base_url=url,
            api_key=key,
            max_retries=0,
            http_client=client_of(exactly) if exactly is not None else None,
            _strict_response_validation=True,
        )

    async def aclose(self) -> None:
        await self.sdk.close()

    @abstractmethod
    async def create(self, said: dict[str, Any]) -> Answer:
        """What the SDK reads; `said` is the body of a request."""


class AnthropicJudge(Anthropic):
    """What a provider is sent, and answers."""

    def __init__(self, url: str) -> None:
        self._exactly = Exactly()
        super().__init__(url.removesuffix("/v1"), "none", self._exactly)

    async def again(self, received: Received) -> Answer:
        self._exactly.body = received.body
        return await self.create(body(received))


def check_version(received: Received) -> None:
    """Raises Mismatch for a request that does not say which version of the API it means."""
    if "anthropic-version" not in received.headers:
        raise Mismatch("the header anthropic-version is missing")


def failed(error: anthropic.APIError, text: str) -> Exception:
    """What is wrong, in words that belong to no format; `text` is what was told before."""
    if isinstance(error, anthropic.APIResponseValidationError):
        return invalid(error)
    if isinstance(error, anthropic.APIStatusError) and error.status_code >= 400:
        return Refused(error, error.status_code, text)
    return Refused(error, None, text)  # an error event in the middle of a stream has the status of the stream

"""The SDK `openai`, as the clients and the judges of OpenAI's formats have it."""

from abc import ABC, abstractmethod
from typing import Any

import openai
from openai import AsyncOpenAI

from fairlead.conformance import Answer, Received, Refused
from fairlead.conformance.formats.exact import Exactly, client_of
from fairlead.conformance.formats.shared import body, invalid


class OpenAI(ABC):
    """The SDK, and how it is asked in one format."""

    strict = True  # answers are held to the SDK's own types

    def __init__(self, url: str, key: str, exactly: Exactly | None = None) -> None:
        self.sdk = AsyncOpenAI(
            base_url=url,
            api_key=key,
            max_retries=0,
            http_client=client_of(exactly) if exactly is not None else None,
            _strict_response_validation=self.strict,
        )

    async def aclose(self) -> None:
        await self.sdk.close()

    @abstractmethod
    async def create(self, said: dict[str, Any]) -> Answer:
        """What the SDK reads; `said` are the arguments of its `create`."""


class OpenAIClient(OpenAI):
    """A client of the gateway."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(f"{url}/v1", key)


class OpenAIJudge(OpenAI):
    """What a provider is sent, and answers."""

    def __init__(self, url: str) -> None:
        self._exactly = Exactly()
        super().__init__(url, "none", self._exactly)

    async def again(self, received: Received) -> Answer:
        self._exactly.body = received.body
        return await self.create(body(received))


def failed(error: openai.APIError, text: str) -> Exception:
    """What is wrong, in words that belong to no format; `text` is what was told before."""
    if isinstance(error, openai.APIResponseValidationError):
        return invalid(error)
    if isinstance(error, openai.APIStatusError):
        return Refused(error, error.status_code)
    return Refused(error, None, text)

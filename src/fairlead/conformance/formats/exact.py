"""What a provider was sent, sent again by an SDK byte for byte: by itself it puts fields in an order of its own, and
the simulator's answer is that of the bytes."""

import httpx2


class Exactly(httpx2.AsyncHTTPTransport):
    """The connection of an SDK, which sends `body` in place of what the SDK says."""

    body = b""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
        told = httpx2.Request(
            request.method, request.url, headers=headers, content=self.body, extensions=request.extensions
        )
        return await super().handle_async_request(told)


def client_of(exactly: Exactly) -> httpx2.AsyncClient:
    """What the SDK is made with."""
    return httpx2.AsyncClient(transport=exactly, timeout=30)

"""Google's generateContent, by the SDK `google-genai`. https://ai.google.dev/api/generate-content"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

from google import genai
from google.genai import errors, types

from fairlead.conformance import (
    Answer,
    Ask,
    Call,
    Document,
    Finish,
    Image,
    Mismatch,
    Model,
    Received,
    Refused,
    Result,
    Results,
    Said,
    Thought,
    Told,
    ToolSpec,
    Used,
    User,
)
from fairlead.conformance.formats.shared import body, decoded, dropped, encoded, finish, take, turn, unwrapped

_FINISH: dict[str, Finish] = {
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "refusal", "PROHIBITED_CONTENT": "refusal",
    "BLOCKLIST": "refusal", "RECITATION": "refusal", "SPII": "refusal",
}  # fmt: skip
# In the place of a signature that is not there: https://ai.google.dev/gemini-api/docs/thought-signatures
_NO_SIGNATURE = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
_STANDARD = str.maketrans("-_", "+/")
_CONFIG = "systemInstruction tools toolConfig safetySettings cachedContent serviceTier labels"


class _Gemini:
    """The SDK, and how it is asked."""

    def __init__(self, url: str, version: str, key: str) -> None:
        options = types.HttpOptions(base_url=url, api_version=version, retry_options=types.HttpRetryOptions(attempts=1))
        self.sdk = genai.Client(api_key=key, vertexai=False, http_options=options)

    async def aclose(self) -> None:
        await self.sdk.aio.aclose()
        self.sdk.close()

    async def _generate(
        self, model: str, contents: Any, config: types.GenerateContentConfig, *, stream: bool
    ) -> Answer:
        """What the SDK reads."""
        text = ""
        try:
            if not stream:
                whole = await self.sdk.aio.models.generate_content(model=model, contents=contents, config=config)
                return _read([whole])
            chunks: list[types.GenerateContentResponse] = []
            async for chunk in await self.sdk.aio.models.generate_content_stream(
                model=model, contents=contents, config=config
            ):
                chunks.append(chunk)
                text += _read_text(chunk)
        except errors.APIError as error:
            # The SDK raises what an event of a stream tells with the code in it.
            raise Refused(error, None if text else error.code, text) from None
        except errors.UnknownApiResponseError as error:
            raise Refused(error, None, text) from None
        return _read(chunks)


class Client(_Gemini):
    """A client of the gateway."""

    converses = thinks = reads_thoughts = True

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, "v1beta", key)

    async def ask(self, ask: Ask) -> Answer:
        return await self._generate(ask.model, _contents(ask), _config(ask), stream=ask.stream)

    async def hang_up(self, ask: Ask) -> str:
        """A stream of this SDK has no end of its own: it ends with the task that reads it."""
        first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        reading = asyncio.create_task(self._pieces(ask, first))
        try:
            first.add_done_callback(lambda _: reading.cancel())
            await asyncio.wait({reading})
            return first.result() if first.done() else ""
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _pieces(self, ask: Ask, first: "asyncio.Future[str]") -> None:
        stream: AsyncIterator[Any] = await self.sdk.aio.models.generate_content_stream(
            model=ask.model, contents=_contents(ask), config=_config(ask)
        )
        async for chunk in stream:
            if not first.done() and (text := _read_text(chunk)):
                first.set_result(text)


def _contents(ask: Ask) -> list[types.Content]:
    contents: list[types.Content] = []
    for said_turn in ask.turns:
        match said_turn:
            case User(parts=parts):
                contents.append(types.Content(role="user", parts=[_part(part) for part in parts]))
            case Model(answer=answer):
                contents.append(answer.said)
            case Results(results=results):
                answers = [
                    types.FunctionResponse(id=one.id or None, name=one.name, response={"output": one.text})
                    for one in results
                ]
                contents.append(
                    types.Content(role="user", parts=[types.Part(function_response=answer) for answer in answers])
                )
    return contents


def _part(said: Said) -> types.Part:
    match said:
        case Image(url=url) if url:
            return types.Part.from_uri(file_uri=url, mime_type=said.mime)
        case Image() | Document():
            return types.Part.from_bytes(data=said.data, mime_type=said.mime)
    return types.Part.from_text(text=said)


def _config(ask: Ask) -> types.GenerateContentConfig:
    config = types.GenerateContentConfig(max_output_tokens=ask.max_tokens, temperature=ask.temperature)
    if ask.system is not None:
        config.system_instruction = ask.system
    if ask.tools:
        functions = [
            types.FunctionDeclaration(name=tool.name, description=tool.description, parameters_json_schema=tool.schema)
            for tool in ask.tools
        ]
        config.tools = [types.Tool(function_declarations=functions)]
    if ask.schema is not None:
        config.response_mime_type, config.response_json_schema = "application/json", ask.schema
    if ask.stop:
        config.stop_sequences = list(ask.stop)
    if ask.thinking:
        config.thinking_config = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
    return config


def _read_text(chunk: types.GenerateContentResponse) -> str:
    parts = _parts(chunk)
    return "".join(part.text or "" for part in parts if not part.thought)


def _parts(chunk: types.GenerateContentResponse) -> list[types.Part]:
    content = chunk.candidates[0].content if chunk.candidates else None
    return list(content.parts or ()) if content is not None else []


def _read(chunks: list[types.GenerateContentResponse]) -> Answer:
    """What objects of the SDK's say: one, or those of a stream."""
    if not chunks:
        raise Mismatch("the stream had nothing in it")
    parts = [part for chunk in chunks for part in _parts(chunk)]
    texts = [part.text for part in parts if part.text and not part.thought]
    calls = [part.function_call for part in parts if part.function_call is not None]
    reasons = [candidate.finish_reason for chunk in chunks for candidate in chunk.candidates or () if candidate]
    reason = next((one.value for one in reversed(reasons) if one is not None), None)
    blocked = any(chunk.prompt_feedback and chunk.prompt_feedback.block_reason for chunk in chunks)
    found = finish(reason, _FINISH, refused=blocked)
    usage = next((chunk.usage_metadata for chunk in reversed(chunks) if chunk.usage_metadata is not None), None)
    signatures = [_signature(part.thought_signature) for part in parts if part.thought_signature]
    response = chunks[0].sdk_http_response
    headers = (response.headers or {}) if response is not None else {}
    return Answer(
        text="".join(texts),
        thinking="".join(part.text or "" for part in parts if part.thought),
        signature="".join(signature for signature in signatures if signature) or None,
        calls=tuple(Call(call.id, call.name or "", call.args or {}) for call in calls),
        finish="tools" if calls and found == "stop" else found,
        used=_used(usage),
        pieces=len(texts),
        said=types.Content(role="model", parts=parts),
        dropped=dropped({name.lower(): value for name, value in headers.items()}),
    )


def _signature(signature: bytes) -> str | None:
    """A signature is bytes to the SDK: here as base64, which is how it travels."""
    told = encoded(signature)
    return None if told in _NO_SIGNATURE else told


def _used(usage: types.GenerateContentResponseUsageMetadata | None) -> Used:
    """The tokens of an answer: thoughts are counted beside the others."""
    if usage is None:
        return Used()
    thoughts = usage.thoughts_token_count or 0
    output = (usage.candidates_token_count or 0) + thoughts
    if usage.total_token_count != (usage.prompt_token_count or 0) + output:
        raise Mismatch(f"totalTokenCount is not the sum of its parts: {usage}")
    return Used(usage.prompt_token_count, output, usage.cached_content_token_count or 0, thoughts)


class Judge(_Gemini):
    """What a provider of generateContent is sent, and answers."""

    def __init__(self, url: str) -> None:
        base, _, version = url.rpartition("/")
        super().__init__(base, version, "none")

    async def again(self, received: Received) -> Answer:
        sent = body(received)
        model, stream = _address(received)
        contents = [types.Content.model_validate(content) for content in sent["contents"]]
        fields = {name: sent[name] for name in _CONFIG.split() if name in sent}
        config = types.GenerateContentConfig.model_validate({**sent.get("generationConfig", {}), **fields})
        return await self._generate(model, contents, config, stream=stream)

    def told(self, received: Received) -> Told:
        sent = body(received)
        take(sent, f"contents generationConfig {_CONFIG}", "the request")
        model, stream = _address(received)
        told = Told(model, [], stream=stream)
        told.system = "".join(part["text"] for part in sent.get("systemInstruction", {}).get("parts", ()))
        for content in sent["contents"]:
            _hear(told, content)
        for tool in sent.get("tools", ()):
            for function in tool["functionDeclarations"]:
                schema = function["parametersJsonSchema"]
                told.tools.append(ToolSpec(function["name"], function.get("description", ""), schema))
        config = sent.get("generationConfig", {})
        told.max_tokens, told.temperature = config.get("maxOutputTokens"), config.get("temperature")
        told.stop = tuple(config.get("stopSequences", ()))
        told.schema = config.get("responseJsonSchema")
        if told.schema is not None and config.get("responseMimeType") != "application/json":
            raise Mismatch("a schema is for the media type application/json only")
        told.thinking = bool(config.get("thinkingConfig", {}).get("includeThoughts"))
        return told


def _address(received: Received) -> tuple[str, bool]:
    """The model, and whether it streams."""
    path, _, query = received.target.partition("?")
    model, _, method = path.partition("/models/")[2].rpartition(":")
    if method not in ("generateContent", "streamGenerateContent"):
        raise Mismatch(f"the provider was asked at {received.target}")
    stream = method == "streamGenerateContent"
    if stream and query != "alt=sse":
        raise Mismatch("the provider was not asked for an event stream")
    return unquote(model), stream


def _hear(told: Told, content: dict[str, Any]) -> None:
    """Add a turn to what was told. Raises Mismatch."""
    said = turn(told.turns, "model" if content["role"] == "model" else "user")
    thought, signature = "", None
    for part in content["parts"]:
        signed = part.get("thoughtSignature")
        signature = signature or (signed if signed not in _NO_SIGNATURE else None)
        match part:
            case {"text": str(text), "thought": True}:
                thought += text
            case {"text": str(text)}:
                said.texts.append(text)
            case {"inlineData": {"mimeType": str(mime), "data": str(data)}}:
                data = data.translate(_STANDARD)  # the SDK has the other alphabet of base64, and Google takes both
                said.media.append(("image" if mime.startswith("image/") else "document", decoded(data)))
            case {"fileData": {"mimeType": str(), "fileUri": str(address)}}:
                said.media.append(("image", address))
            case {"functionCall": {"name": str(name)} as call}:
                said.calls.append(Call(call.get("id"), name, call.get("args", {})))
            case {"functionResponse": {"name": str(name), "response": dict(given)} as answer}:
                _check_called(told, name, answer.get("id"))
                said.results.append(Result(answer.get("id") or "", name, unwrapped(given)))
            case {"thoughtSignature": str()}:
                pass
            case _:
                raise Mismatch(f"this is no part: {str(part)[:80]}")
    if thought or signature:
        said.thoughts.append(Thought(thought, signature))


def _check_called(told: Told, name: str, id: str | None) -> None:
    """Raises Mismatch for a result of what was not called."""
    calls = [call for each in told.turns for call in each.calls]
    if not any(call.name == name and (id is None or call.id == id) for call in calls):
        raise Mismatch(f"a result is for the call {id or name!r}, which nobody made")

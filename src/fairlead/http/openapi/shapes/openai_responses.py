"""OpenAI's responses."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct

from fairlead.http.openapi.shapes import Count, Maybe, ModelName, Streams, Temperature, TopP, Unset, User, passed
from fairlead.http.openapi.shapes.errors import Code, OpenAIErrorEventFields, Param


class InputItem(Struct, kw_only=True):
    """One item of a conversation; what else it has depends on its type."""

    type: Annotated[
        str | Maybe, passed("`message` if it is absent, `function_call`, `function_call_output`, `reasoning`, …")
    ] = UNSET
    role: Annotated[
        str | Maybe, passed("Of a message: `user`, `assistant`, `system` or `developer`.", examples=["user"])
    ] = UNSET
    content: Annotated[
        str | list[Any] | Maybe,
        passed("Text, or an array of parts (`input_text`, `input_image`, `input_file`, `output_text`, …)."),
    ] = UNSET


class ResponsesRequest(Struct, kw_only=True):
    """A response. Checked here are `model`, `input` (a text or an array of objects, unless `prompt`,
    `previous_response_id` or `conversation` stand in its place), `stream`, `max_output_tokens`, and that no field is
    one that means something in other capitals. All other fields, known or not, go to the provider as they are; where
    its protocol is another one, they are translated or, if there is no word for them, left out and named in
    `x-fairlead-dropped`, and what an earlier answer left with its provider is refused: send the whole conversation.
    `provider`, `models`, `route`, `transforms`, `session_id` and `trace` are OpenRouter's own, and go to providers
    that understand them only; of them `provider.require_parameters` is granted."""

    model: ModelName = UNSET
    input: Annotated[
        str | list[InputItem] | Maybe,
        Meta(description="Text of the user's, or the conversation so far.", examples=["Say hello."]),
    ] = UNSET
    stream: Streams = UNSET
    max_output_tokens: Annotated[int | Maybe, Meta(description="How long the answer may be.")] = UNSET
    instructions: Annotated[str | Maybe, passed("What the model is told before all else.")] = UNSET
    temperature: Temperature = UNSET
    top_p: TopP = UNSET
    user: User = UNSET
    tools: Annotated[list[Any] | Maybe, passed("Functions that the model may call, and tools of the provider's.")] = (
        UNSET
    )
    tool_choice: Annotated[str | dict[str, Any] | Maybe, passed("Whether it has to, and which.")] = UNSET
    parallel_tool_calls: Annotated[bool | Maybe, passed("Whether it may call several at once.")] = UNSET
    text: Annotated[dict[str, Any] | Maybe, passed("Its `format`: text, JSON, or JSON of a schema.")] = UNSET
    reasoning: Annotated[dict[str, Any] | Maybe, passed("Its `effort`: `low`, `medium`, `high`, …")] = UNSET
    include: Annotated[list[str] | Maybe, passed("What the answer has besides: `reasoning.encrypted_content`.")] = UNSET
    store: Annotated[bool | Maybe, passed("Whether the provider keeps the answer; the gateway never does.")] = UNSET
    previous_response_id: Annotated[str | Maybe, passed("Which answer goes on; passed through only.")] = UNSET
    conversation: Annotated[Any, passed("Which conversation goes on; passed through only.")] = UNSET
    prompt: Annotated[dict[str, Any] | Maybe, passed("A prompt by name; passed through only.")] = UNSET
    background: Annotated[bool | Maybe, passed("To answer later; passed through only.")] = UNSET
    metadata: Annotated[dict[str, Any] | Maybe, passed("What comes back with the answer.")] = UNSET
    service_tier: Annotated[str | Maybe, passed("What the answer may cost, and how soon it comes.")] = UNSET


class OutputItem(Struct, kw_only=True):
    """One item of an answer; what else it has depends on its type."""

    type: Annotated[str, Meta(description="`message`, `reasoning`, `function_call`, …", examples=["message"])]
    id: str | Maybe = UNSET
    status: Annotated[str | Maybe, Meta(description="`in_progress`, `completed` or `incomplete`.")] = UNSET
    role: str | Maybe = UNSET
    content: Annotated[list[Any] | Maybe, Meta(description="Of a message: `output_text` or `refusal`.")] = UNSET
    summary: Annotated[list[Any] | Maybe, Meta(description="Of reasoning.")] = UNSET
    encrypted_content: str | Maybe = UNSET
    call_id: Annotated[str | Maybe, Meta(description="What the result of a call is sent with.")] = UNSET
    name: str | Maybe = UNSET
    arguments: Annotated[str | Maybe, Meta(description="JSON, as text.")] = UNSET


class ResponseUsage(Struct, kw_only=True):
    """What was used, in tokens. Cached ones are a part of the input's, reasoning is a part of the output's."""

    input_tokens: Count
    output_tokens: Count
    total_tokens: Count
    input_tokens_details: dict[str, Any] | Maybe = UNSET
    output_tokens_details: dict[str, Any] | Maybe = UNSET


class ResponseFailure(Struct, kw_only=True):
    """Why an answer failed."""

    code: Annotated[str, Meta(description="One of OpenAI's, for the most part `server_error`.")]
    message: str


class ModelResponse(Struct, kw_only=True):
    """A whole answer, or as much as there is of it. It repeats what was asked."""

    id: str
    object: Literal["response"]
    created_at: Annotated[float, Meta(description="Epoch seconds.")]
    status: Annotated[
        str | Unset, Meta(description="`in_progress`, `completed`, `incomplete` or `failed`.", examples=["completed"])
    ] = UNSET
    error: ResponseFailure | Maybe = UNSET
    incomplete_details: dict[str, Any] | Maybe = UNSET
    model: Annotated[str, Meta(description="As the provider calls it.")]
    output: list[OutputItem]
    usage: ResponseUsage | Maybe = UNSET
    instructions: str | list[Any] | Maybe = UNSET
    metadata: dict[str, Any] | Maybe = UNSET
    tools: list[Any] | Maybe = UNSET


class ResponseTokens(Struct, kw_only=True):
    """How many tokens an input has."""

    object: Literal["response.input_tokens"]
    input_tokens: Count


class ResponseStage(Struct, kw_only=True):
    """How far the answer is; the last of them has all of it."""

    type: Literal[
        "response.created", "response.queued", "response.in_progress", "response.completed", "response.incomplete",
        "response.failed",
    ]  # fmt: skip
    sequence_number: int
    response: ModelResponse


class ResponseItemEvent(Struct, kw_only=True):
    """An item begins, or is whole."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    sequence_number: int
    output_index: int
    item: OutputItem


class ResponsePieceEvent(Struct, kw_only=True):
    """What is added to an item; what else it has depends on its type."""

    type: Annotated[
        str,
        Meta(
            description="`response.output_text.delta`, `response.function_call_arguments.delta`, …",
            extra_json_schema={"pattern": r"^response\.[a-z_.]+\.[a-z_]+$"},
        ),
    ]
    sequence_number: int
    item_id: str | Unset = UNSET
    output_index: int | Unset = UNSET
    content_index: int | Unset = UNSET
    summary_index: int | Unset = UNSET
    delta: str | Unset = UNSET
    text: str | Unset = UNSET
    part: dict[str, Any] | Unset = UNSET


class ResponseErrorEvent(Struct, kw_only=True):
    """Tells an error; `response.failed` follows. Its fields stand at its top, as published, and in `error`, as the
    official SDK reads them."""

    type: Literal["error"]
    sequence_number: int
    code: Code
    message: str
    param: Param
    error: OpenAIErrorEventFields


RESPONSE_EVENTS = (ResponseStage, ResponseItemEvent, ResponsePieceEvent, ResponseErrorEvent)

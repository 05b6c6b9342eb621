"""What can be asked for."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fairlead.http.openapi.shapes import Date


class Model(Struct, kw_only=True):
    """What can be asked for."""

    id: Annotated[str, Meta(examples=["gpt-4o-mini"])]
    object: Literal["model"]
    created: Annotated[int, Meta(description="Epoch seconds.")]
    owned_by: str


class ModelList(Struct, kw_only=True):
    """All that can be asked for."""

    object: Literal["list"]
    data: list[Model]


class AnthropicModel(Struct, kw_only=True):
    """What can be asked for."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: Date


class AnthropicModelList(Struct, kw_only=True):
    """All that can be asked for."""

    data: list[AnthropicModel]
    has_more: Literal[False]
    first_id: str | None
    last_id: str | None


class GeminiModel(Struct, kw_only=True, rename="camel"):
    """What can be asked for."""

    name: Annotated[str, Meta(examples=["models/gpt-4o-mini"])]
    display_name: str
    supported_generation_methods: list[str]


class GeminiModelList(Struct, kw_only=True):
    """All that can be asked for."""

    models: list[GeminiModel]

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

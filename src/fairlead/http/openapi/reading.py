"""Operations that need a key and no model: what can be asked for, and what was used."""

from fairlead.http.openapi.calls import CREATED
from fairlead.http.openapi.pieces import (
    KEYS,
    KEYS_OF_GOOGLE,
    STRING,
    Schema,
    answered,
    in_json,
    operation,
    parameter,
    parameters,
    ref,
)
from fairlead.http.openapi.refusals import GEMINI, OPENAI, OPENROUTER, all_answers
from fairlead.http.openapi.shapes import models as shapes
from fairlead.http.openapi.shapes import usage

_MODEL = {"id": "gpt-4o-mini", "object": "model", "created": CREATED, "owned_by": "openai"}
_MODEL_OF_ANTHROPIC = {
    "type": "model", "id": "gpt-4o-mini", "display_name": "gpt-4o-mini", "created_at": "2026-11-21T00:00:00Z",
}  # fmt: skip
_MODELS_OF_ANTHROPIC = {
    "data": [_MODEL_OF_ANTHROPIC], "has_more": False, "first_id": "gpt-4o-mini", "last_id": "gpt-4o-mini",
}  # fmt: skip
_MOMENT: Schema = {
    "type": "string",
    "anyOf": [{"format": "date"}, {"format": "date-time"}, {"pattern": r"^[0-9]{1,11}(\.[0-9]{1,9})?$"}],
}
_GROUPS: Schema = {"type": "array", "items": {"enum": ["model", "provider", "key", "day"]}}
_SUMS = {
    "calls": 3, "attempts": 4, "failed": 1, "estimated": 0, "input_tokens": 30, "output_tokens": 6,
    "cached_tokens": 0, "cache_write_tokens": 0, "cache_write_1h_tokens": 0, "reasoning_tokens": 0,
    "input_audio_tokens": 0, "output_audio_tokens": 0, "input_image_tokens": 0, "output_image_tokens": 0,
    "cost_nano_usd": None, "unpriced": 4,
}  # fmt: skip
_USED = {
    "object": "list",
    "from": "2026-11-01T00:00:00Z",
    "to": "2026-11-21T09:30:00Z",
    "group_by": ["model"],
    "data": [{"model": "gpt-4o-mini", **_SUMS}],
    "has_more": False,
    "next_page": None,
}
_ID = "gen-019aa5c1f00011223344556677889900"
_GENERATED = {
    **{name: None for name in usage.GenerationFields.__struct_encode_fields__},
    "id": _ID, "request_id": _ID, "upstream_id": "chatcmpl-D0xUy3", "created_at": "2026-11-21T09:30:00+00:00",
    "model": "gpt-4o-mini", "provider_name": "openai", "streamed": False, "cancelled": False, "latency": 412.5,
    "generation_time": 230.0, "finish_reason": "stop", "native_finish_reason": "stop", "tokens_prompt": 10,
    "tokens_completion": 2, "native_tokens_prompt": 10, "native_tokens_completion": 2, "total_cost": 0.0, "usage": 0.0,
    "is_byok": False, "api_type": "completions", "origin": "", "data_region": "global",
    "provider_responses": [
        {
            "id": "chatcmpl-D0xUy3", "endpoint_id": "openai/gpt-4o-mini", "model_permaslug": "gpt-4o-mini-2024-07-18",
            "is_byok": False, "latency": 412.5, "status": 200,
        }
    ],
}  # fmt: skip


_KEPT = ("X-Request-Id", "Cache-Control")  # the headers of what says whether it may be kept


def reading(root: str) -> dict[str, Schema]:
    """What needs a key, and no model."""
    ours = root == "/v1"
    dialect = OPENAI if ours else OPENROUTER

    def read(id: str, tag: str, summary: str, description: str, well: Schema, *asked: Schema, more: int = 0) -> Schema:
        answers = all_answers("read", dialect, {200: well}, *([more] if more else []))
        if not ours:
            id, tag = f"openrouter{id[:1].upper()}{id[1:]}", "OpenRouter"
        given = [*parameters("X-Request-Id"), *asked]
        return {"get": operation(id, tag, summary, description, answers, security=KEYS, parameters=given)}

    models = in_json(
        {"anyOf": [ref(shapes.ModelList), ref(shapes.AnthropicModelList)]},
        as_OpenAI_tells_it={"object": "list", "data": [_MODEL]},
        as_Anthropic_tells_it=_MODELS_OF_ANTHROPIC,
    )
    model = in_json(
        {"anyOf": [ref(shapes.Model), ref(shapes.AnthropicModel)]},
        as_OpenAI_tells_it=_MODEL,
        as_Anthropic_tells_it=_MODEL_OF_ANTHROPIC,
    )
    named = {**STRING, "minLength": 1}
    return {
        f"{root}/models": read(
            "listModels",
            "Models",
            "All models",
            "What this key can ask for by name.",
            answered("The models.", models),
            *parameters("Shape"),
        ),
        f"{root}/models/{{id}}": read(
            "getModel",
            "Models",
            "One model",
            "Its name may have slashes, as they are or as `%2F`.",
            answered("The model.", model),
            parameter("path", "id", "Its name.", named, required=True, example="gpt-4o-mini"),
            *parameters("Shape"),
            more=404,
        ),
        f"{root}/usage": read(
            "getUsage",
            "Usage",
            "What was used",
            "Sums over the attempts that began in a span of time. A key sees its own; with the scope `usage:read` or"
            " `admin:*` it sees everybody's. There are no other parameters than these.",
            answered("The sums.", in_json(ref(usage.UsageList), by_model=_USED), _KEPT),
            *_USAGE_PARAMETERS,
        ),
        f"{root}/generation": read(
            "getGeneration",
            "Usage",
            "One call",
            "What is known of a call, in OpenRouter's shape.",
            answered("The call.", in_json(ref(usage.Generation), a_call={"data": _GENERATED}), _KEPT),
            parameter("query", "id", "The `X-Generation-Id` of its answer.", named, required=True, example=_ID),
            more=404,
        ),
    }


_USAGE_PARAMETERS = (
    parameter(
        "query", "from", "Date, date-time or epoch seconds; without it 30 days before `to`.", _MOMENT,
        example="2026-11-01",
    ),
    parameter("query", "to", "The same, not before `from`; without it now.", _MOMENT),
    parameter(
        "query", "group_by", "What is summed up apart. It may be given several times, too.", _GROUPS,
        style="form", explode=False, example=["model"],
    ),
    parameter("query", "key", "The id of a key, or `own`.", STRING),
    parameter("query", "model", "As its provider calls it.", STRING),
    parameter("query", "provider", "Whose.", STRING),
    parameter(
        "query", "limit", "How many groups a page has.",
        {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    ),
    parameter(
        "query", "page", "The `next_page` of the answer before; what is said beside it must be the same.", STRING,
    ),
)  # fmt: skip


_MODEL_OF_GEMINI = {
    "name": "models/gpt-4o-mini", "displayName": "gpt-4o-mini",
    "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
}  # fmt: skip


def reading_as_gemini() -> dict[str, Schema]:
    """What needs a key and no model, in Gemini's dialect."""
    models = in_json(ref(shapes.GeminiModelList), all={"models": [_MODEL_OF_GEMINI]})
    model = in_json(ref(shapes.GeminiModel), a_model=_MODEL_OF_GEMINI)
    named = parameter("path", "id", "Its name.", {**STRING, "minLength": 1}, required=True, example="gpt-4o-mini")
    index = operation(
        "geminiListModels", "Gemini", "All models", "What this key can ask for by name. They are on one page.",
        all_answers("read", GEMINI, {200: answered("The models.", models)}),
        security=KEYS_OF_GOOGLE, parameters=parameters("X-Request-Id"),
    )  # fmt: skip
    one = operation(
        "geminiGetModel", "Gemini", "One model", "Its name may have slashes, as they are or as `%2F`.",
        all_answers("read", GEMINI, {200: answered("The model.", model)}, 404),
        security=KEYS_OF_GOOGLE, parameters=[*parameters("X-Request-Id"), named],
    )  # fmt: skip
    return {"/v1beta/models": {"get": index}, "/v1beta/models/{id}": {"get": one}}

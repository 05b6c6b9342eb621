"""The OpenAPI document: it is valid, it has what is served and nothing else, and what is answered is what it says.

Answers of every operation and status are held against it by hand first, then by Schemathesis, with data that the
document allows and with data that it does not.
"""

import asyncio
import copy
import json
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from fairlead import errors
from fairlead.errors import FairleadError
from fairlead.http import docs, gemini
from fairlead.http.openapi.document import document
from fairlead.http.openapi.shapes import PASSED
from fairlead.http.routes import OPENROUTER, OPERATIONS
from fairlead.protocols import sse
from gateway import KEY, SIMULATOR, Gateway, gateway, process, raw, request, split
from serving import serving

DOCUMENT = json.loads(json.dumps(document()))
Operation = tuple[str, str]  # "post", "/v1/chat/completions"
OPERATIONS_TOLD: list[Operation] = [(method, path) for path, item in DOCUMENT["paths"].items() for method in item]
GEMINI_CALLS: set[Operation] = {("post", f"/v1beta/models/{{model}}:{method}") for method in gemini.METHODS}
SCOPELESS = "a key that may do nothing"  # stands for one that is made for a test
ASKED = {"role": "user", "content": "hello there"}

# What every answer may have, whatever it is: of HTTP, and what browsers are told.
EVERYWHERE = frozenset(
    "date content-type content-length transfer-encoding connection x-content-type-options x-frame-options"
    " referrer-policy permissions-policy content-security-policy".split()
)


# ---- holding things against the document


def _content(validator: Any, schema: Any, told: Any, parent: Mapping[str, Any]) -> Iterator[ValidationError]:
    if isinstance(told, str):
        try:
            value = json.loads(told)
        except ValueError:
            yield ValidationError(f"{told!r} is not JSON")
            return
        yield from validator.descend(value, schema)


_Validator = validators.extend(Draft202012Validator, {"contentSchema": _content})
_HOME = "urn:fairlead"
# The references in a piece of it lead to the whole of it.
_WHOLE: dict[str, Any] = json.loads(json.dumps(DOCUMENT).replace('"#/', f'"{_HOME}#/'))
_REGISTRY: Registry[Any] = Registry().with_resource(_HOME, Resource(contents=_WHOLE, specification=DRAFT202012))


def wrong(schema: Mapping[str, Any], value: Any) -> list[str]:
    """What of `value` is not as `schema` (a piece of `_WHOLE`) says."""
    validator = _Validator(schema, registry=_REGISTRY, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}"[:500] for error in validator.iter_errors(value)]


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = _REGISTRY.resolver().lookup(node["$ref"]).contents
    return node


def problems(operation: Operation, status: int, headers: Mapping[str, str], body: bytes) -> list[str]:
    """Where an answer is not what the document says."""
    method, path = operation
    answers = _WHOLE["paths"][path][method]["responses"]
    if str(status) not in answers:
        return [f"status {status} is not told of"]
    answer = resolved(answers[str(status)])
    told = {name.lower(): resolved(header) for name, header in answer.get("headers", {}).items()}
    found = [f"no {name}" for name, header in told.items() if header["required"] and name not in headers]
    for name in sorted(set(headers) & set(told)):
        value = int(headers[name]) if told[name]["schema"]["type"] == "integer" else headers[name]
        found += [f"{name}: {why}" for why in wrong(told[name]["schema"], value)]
    found += [f"{name} is not told of" for name in sorted(set(headers) - set(told) - EVERYWHERE)]
    content = answer.get("content", {})
    kind = headers.get("content-type", "").partition(";")[0]
    if not content:
        return [*found, *(["it has a body"] if body else [])]
    if kind not in content:
        return [*found, f"{kind!r} is not told of"]
    schema = content[kind]["schema"]
    for value in _values(kind, body):
        found += wrong(schema, value)
    return found


def _values(kind: str, body: bytes) -> list[Any]:
    if kind == "application/json":
        return [json.loads(body)]
    if kind != "text/event-stream":
        return [body.decode()]
    whole = body.replace(b"\r\n", b"\n").removesuffix(b"\n\n")
    events = [event for event in whole.split(b"\n\n") if not event.startswith(b":")]
    assert events
    return [event_of(event) for event in events]


def event_of(event: bytes) -> dict[str, str]:
    name = {"event": sse.name(event).decode()} if event.startswith(b"event:") else {}
    return {**name, "data": sse.data(event).decode()}


# ---- the document


def test_the_document_is_valid_openapi() -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator

    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_its_operations_are_those_that_are_served(tmp_path: Path) -> None:
    async def served() -> set[Operation]:
        async with gateway(tmp_path) as running:
            routes = running.house.asgi.rest.app.routes  # type: ignore[attr-defined]
            others = {
                (method.lower(), route.path.replace(":path}", "}"))
                for route in routes
                if route.endpoint is not gemini.no_such_method  # which serves nothing
                for method in route.methods - {"HEAD"}  # wherever GET is
            }
            return others | {("post", path) for path in running.house.calls} | GEMINI_CALLS

    told = set(OPERATIONS_TOLD)
    assert told == asyncio.run(served())
    calls = {("post", root + path) for path, *_ in OPERATIONS.values() for root in ("/v1", OPENROUTER)}
    assert {(method, path) for method, path in told if method == "post"} == calls | GEMINI_CALLS


def test_names_of_operations_are_unique_and_tags_are_known() -> None:
    operations = [DOCUMENT["paths"][path][method] for method, path in OPERATIONS_TOLD]
    assert max(Counter(operation["operationId"] for operation in operations).values()) == 1
    known = [tag["name"] for tag in DOCUMENT["tags"]]
    assert {tag for operation in operations for tag in operation["tags"]} == set(known)


def test_what_is_under_v1_is_under_api_v1() -> None:
    for path in DOCUMENT["paths"]:
        if path.startswith("/v1/"):
            ours, theirs = DOCUMENT["paths"][path], DOCUMENT["paths"]["/api" + path]
            assert set(ours) == set(theirs)
            for method in ours:
                assert set(ours[method]["responses"]) == set(theirs[method]["responses"])


def test_requests_may_have_fields_that_nobody_knows() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    requests = [name for name in schemas if name.endswith("Request")]
    assert len(requests) == 7
    assert [name for name in schemas if "additionalProperties" in schemas[name]] == []
    for name in requests:
        checked = [field for field, schema in schemas[name]["properties"].items() if PASSED not in schema]
        assert [field for field in checked if f"`{field}`" not in schemas[name]["description"]] == []


def examples(node: Any, place: str = "") -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Where examples are, they themselves, and the schema beside them."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from examples(item, f"{place}[{index}]")
    if not isinstance(node, dict):
        return
    if "schema" in node:
        for name, example in node.get("examples", {}).items():
            yield f"{place}: {name}", example["value"], node["schema"]
        if "example" in node:
            yield place, node["example"], node["schema"]
    if isinstance(node.get("examples"), list):
        for example in node["examples"]:
            yield place, example, node
    for name, value in node.items():
        if name not in ("example", "examples"):
            yield from examples(value, f"{place}/{name}")


def test_examples_are_what_their_schemas_say() -> None:
    found = list(examples(_WHOLE))
    assert len(found) > 200
    assert {place: why for place, example, schema in found if (why := wrong(schema, example))} == {}


def test_every_request_and_answer_has_an_example() -> None:
    for method, path in OPERATIONS_TOLD:
        operation = _WHOLE["paths"][path][method]
        answers = [resolved(answer) for answer in operation["responses"].values()]
        contents = [answer.get("content", {}) for answer in answers] + [
            operation.get("requestBody", {}).get("content", {})
        ]
        assert [kind for content in contents for kind, told in content.items() if not told.get("examples")] == []


def test_every_code_of_an_error_stands_in_an_example() -> None:
    """But for what is the root of others, and never told."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FairleadError)]
    codes = {kind.code for kind in kinds if kind is not errors.InvalidConfig}
    told = json.dumps(DOCUMENT["components"]["responses"])
    assert {code for code in codes if f'"{code}"' not in told} == {"upstream_error"}


# ---- how it is served


async def get(running: Gateway, path: str, **options: Any) -> tuple[int, dict[str, str], bytes]:
    return split(await raw(running.port, request(path, method="GET", **options)))


async def test_it_is_served_to_everybody_and_kept(running: Gateway) -> None:
    status, headers, body = await get(running, "/openapi.json", key=None)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == DOCUMENT
    assert (headers["cache-control"], headers["content-length"]) == ("no-cache", str(len(body)))
    tag = headers["etag"]
    for known in (tag, f"W/{tag}", f'"another", {tag}', "*"):
        status, again, nothing = await get(running, "/openapi.json", key=None, headers=f"if-none-match: {known}\r\n")
        assert (status, again["etag"], nothing) == (304, tag, b"")
    assert (await get(running, "/openapi.json", headers='if-none-match: "another"\r\n'))[0] == 200
    status, headers, nothing = split(await raw(running.port, request("/openapi.json", method="HEAD", key=None)))
    assert (status, headers["content-length"], nothing) == (200, str(len(body)), b"")


async def test_it_is_made_once_and_not_before_it_is_asked_for(
    running: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    make = docs._document
    monkeypatch.setattr(docs, "_document", lambda: made.append(1) or make())
    for _ in range(3):
        assert (await get(running, "/openapi.json"))[0] == 200
    assert len(made) == 1


async def test_it_tells_nothing_of_the_gateway(running: Gateway, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    config = '[providers.secretive]\nbase_url = "http://10.1.2.3/v1"\nprotocols = ["openai-chat"]\nsigning = "none"\n'
    config += '[models.hidden]\nendpoints = ["secretive/one"]\n'
    async with gateway(other, config, server="max_body_bytes = 12345") as second:
        told = [await get(house, path, key=None) for house in (running, second) for path in ("/openapi.json", "/docs")]
    assert told[0][2] == told[2][2]
    assert told[1][2] == told[3][2]


# ---- what is answered

SLOW = "sim/echo+stall"
CONFIG = f"""
{SIMULATOR}
[timeouts]
first_byte_seconds = 0.2
[providers.gone]
base_url = "http://127.0.0.1:9/v1"
protocols = ["openai-chat", "openai-completions", "anthropic-messages"]
signing = "none"
"""
SERVER = "body_seconds = 0.2\nmax_body_bytes = 4096\nmax_wrong_keys = 1"


@pytest.fixture(params=["direct"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How calls come from the server."""
    monkeypatch.setattr("gateway.PROTOCOL", request.param)
    return str(request.param)


@pytest.fixture
async def house(tmp_path: Path, way: str) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, CONFIG, server=SERVER) as started:
        yield started


async def answer(house: Gateway, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    if SCOPELESS.encode() in sent:
        secret, _ = house.house.keys.create("scopeless", [])
        sent = sent.replace(SCOPELESS.encode(), secret.encode())
    return split(await raw(house.port, sent))


def asks(path: str, model: str = "sim/echo", **fields: Any) -> bytes:
    """The body of a call; of Gemini's the model stands in the address."""
    match path.removeprefix("/api").removeprefix("/v1"):
        case "/completions":
            told: dict[str, Any] = {"model": model, "prompt": "hello there", "max_tokens": 500}
        case "/complete":
            told = {"model": model, "prompt": "\n\nHuman: hello there\n\nAssistant:", "max_tokens_to_sample": 500}
        case "/responses" | "/responses/input_tokens":
            told = {"model": model, "input": [ASKED], "max_output_tokens": 500}
        case "/chat/completions" | "/messages" | "/messages/count_tokens":
            told = {"model": model, "messages": [ASKED], "max_tokens": 500}
        case _:
            contents = [{"role": "user", "parts": [{"text": "hello there"}]}]
            told = {"contents": contents, "generationConfig": {"maxOutputTokens": 500}}
    return json.dumps({**told, **fields}).encode()


def answering(path: str, model: str = "sim/echo", **fields: Any) -> bytes:
    return request(filled(path, model=model), asks(path, model, **fields))


def as_events(way: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """The same, of Gemini's streams, which are arrays else."""
    return lambda path: way(path).replace(b"Content HTTP", b"Content?alt=sse HTTP", 1)


def counts(path: str) -> bool:
    return path.endswith(("tokens", "Tokens"))


BROKEN = "x: " + "y" * 70_000 + "\r\n"
ENDING_BADLY: list[Callable[[str], bytes]] = [  # streams, whose status is out by then
    lambda path: answering(path, "sim/echo+error=3", stream=True),
    lambda path: answering(path, "sim/echo+cut=3", stream=True),
    lambda path: answering(path, "sim/echo+malformed=3", stream=True),
]
# How each status comes about where a model is called. Its connection's own refusals are below.
CALLS: dict[int, list[Callable[[str], bytes]]] = {
    200: [
        lambda path: answering(path),
        lambda path: answering(path, stream=True),
        lambda path: answering(path, stream=True, stream_options={"include_usage": True}),
        lambda path: answering(path, stream=True, stream_options={"include_usage": False}),
        lambda path: answering(path, "sim/thinking"),
        lambda path: answering(path, "sim/thinking", stream=True),
        *ENDING_BADLY,
        lambda path: request(filled(path), asks(path), key=None, headers=f"x-api-key: {KEY}\r\nx-request-id: mine\r\n"),
    ],
    400: [
        lambda path: request(filled(path), b"{}"),
        lambda path: request(filled(path), b"nothing"),
        lambda path: request(filled(path), asks(path, stream=3)),
        lambda path: answering(path, "sim/echo+status=400"),
        lambda path: answering(path, "sim/echo+nothing=1"),
    ],
    401: [
        lambda path: request(filled(path), asks(path), key=None),
        lambda path: request(filled(path), asks(path), key=""),
    ],
    403: [lambda path: request(filled(path), asks(path), key=SCOPELESS)],
    404: [lambda path: answering(path, "nobody"), lambda path: answering(path, "sim/echo+status=404")],
    405: [lambda path: request(filled(path), method="GET"), lambda path: request(filled(path), method="DELETE")],
    408: [lambda path: request(filled(path), asks(path)).replace(b"content-length: ", b"content-length: 1")],
    413: [
        lambda path: request(filled(path), asks(path, user="x" * 5000)),
        lambda path: answering(path, "sim/echo+status=413"),
    ],
    415: [
        lambda path: request(filled(path), asks(path)).replace(b"application/json", b"text/plain"),
        lambda path: request(filled(path), asks(path), headers="content-encoding: gzip\r\n"),
    ],
    429: [
        lambda path: answering(path, "sim/echo+status=429"),
        lambda path: answering(path, "sim/echo+status=429+retry_after=7"),
    ],
    502: [
        lambda path: answering(path, "sim/echo+status=500"),
        lambda path: answering(path, "sim/echo+status=401"),
        lambda path: answering(path, "sim/echo+status=402"),
        lambda path: answering(path, "sim/echo+html=502"),
        lambda path: answering(path, "sim/echo+empty"),
        lambda path: answering(path, "sim/echo+cut"),
        lambda path: answering(path, "gone/echo"),
    ],
    503: [
        lambda path: answering(path, "sim/echo+status=503"),
        lambda path: answering(path, "sim/echo+status=529"),
        lambda path: answering(path, "gpt-4o-mini"),
    ],
    504: [lambda path: answering(path, SLOW), lambda path: answering(path, "sim/echo+status=504")],
}
# ... and where it is only asked for the tokens of a request, which the simulator does not count. What a provider's
# refusals become is below.
COUNTED: dict[int, list[Callable[[str], bytes]]] = {
    **CALLS,
    200: [answering, lambda path: request(filled(path), asks(path), key=None, headers=f"x-api-key: {KEY}\r\n")],
    400: CALLS[400][:2],
    404: CALLS[404][:1],
    413: CALLS[413][:1],
    429: [],
    502: CALLS[502][-1:],
    503: CALLS[503][-1:],
    504: [],
}


def ways_to(status: int, path: str) -> list[Callable[[str], bytes]]:
    """How `status` comes about at `path`."""
    if counts(path):
        return COUNTED[status]
    ways = CALLS[status]
    if path.endswith(":streamGenerateContent"):
        return [*ways, *map(as_events, ways)]
    return [way for way in ways if way not in ENDING_BADLY] if path.endswith(":generateContent") else ways


CALLED = [operation for operation in OPERATIONS_TOLD if operation[0] == "post"]
READ = [operation for operation in OPERATIONS_TOLD if operation[0] == "get"]
AS_ANTHROPIC = "anthropic-version: 2023-06-01\r\n"


@pytest.mark.parametrize("way", ["direct", "asgi"], indirect=True)
@pytest.mark.parametrize("operation", CALLED, ids=[path for _, path in CALLED])
async def test_calls_are_answered_as_it_says(house: Gateway, operation: Operation) -> None:
    _, path = operation
    found = {}
    for status in CALLS:
        for number, way in enumerate(ways_to(status, path)):
            got, headers, body = await answer(house, way(path))
            found[f"{status} {number}"] = [] if got == status else [f"it was {got}: {body[:200]!r}"]
            found[f"{status} {number}"] += problems(operation, got, headers, body)
    assert {way: why for way, why in found.items() if why} == {}
    # What is not asked for here comes from a defect, see below.
    assert set(DOCUMENT["paths"][path]["post"]["responses"]) == {str(status) for status in CALLS} | {"431", "500"}


async def test_wrong_keys_are_answered_as_it_says(house: Gateway) -> None:
    for operation in (*CALLED, *READ):
        method, path = operation
        if "429" in DOCUMENT["paths"][path][method]["responses"]:
            for expected in (401, 429):
                sent = request(filled(path), asks(path), method=method.upper(), key=f"wrong-{expected}")
                status, headers, body = split(await raw(house.port, sent))
                assert status in (401, 429)
                assert problems(operation, status, headers, body) == []
    assert status == 429
    assert "retry-after" in headers


@pytest.mark.parametrize("protocol", ["openai-chat", "anthropic-messages"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_translated_answers_are_what_it_says(tmp_path: Path, protocol: str, stream: bool) -> None:
    tool = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools: dict[str, Any] = {
        "chat": [{"type": "function", "function": {"name": "weather", "parameters": tool}}],
        "messages": [{"name": "weather", "input_schema": tool}],
        "responses": [{"type": "function", "name": "weather", "parameters": tool}],
        "gemini": [{"functionDeclarations": [{"name": "weather", "parameters": tool}]}],
    }
    async with serving(protocol) as url:
        lab = f'[providers.lab]\nbase_url = "{url}/v1"\nprotocols = ["{protocol}"]\nsigning = "none"\n'
        async with gateway(tmp_path, lab) as running:
            paths = {
                root + path: tools[name]
                for root in ("/v1", OPENROUTER)
                for path, name in (
                    ("/chat/completions", "chat"), ("/messages", "messages"), ("/responses", "responses"),
                )
            }  # fmt: skip
            paths[f"/v1beta/models/{{model}}:{'streamG' if stream else 'g'}enerateContent"] = tools["gemini"]
            for path, wanted in paths.items():
                for model in ("echo", "thinking", "tools", "json", "echo+error=3", "echo+status=429"):
                    sent = answering(path, f"lab/{model}", tools=wanted, stream=stream)
                    status, headers, body = split(await raw(running.port, sent))
                    assert problems(("post", path), status, headers, body) == [], (path, model)


# ---- everything else


def filled(path: str, id: str = "sim/echo", model: str = "sim/echo") -> str:
    path = path.replace("{model}", model)
    return path.replace("{id}", id).replace("{version}", "0").replace("{file}", "docs.js")


def nowhere(path: str) -> str:
    """The same with the name of nothing, if there is a name in it."""
    return path.replace("sim/", "nobody/").replace("?id=gen-", "?id=none-")


READING: dict[int, list[Callable[[str], bytes]]] = {
    200: [
        lambda path: request(path, method="GET"),
        lambda path: request(path, method="GET", headers=AS_ANTHROPIC),
        lambda path: request(path, method="GET", key=SCOPELESS),
    ],
    400: [lambda path: request(path + "?limit=0&limit=0&nothing=1", method="GET")],
    401: [
        lambda path: request(path, method="GET", key=None),
        lambda path: request(path, method="GET", key=None, headers=AS_ANTHROPIC),
    ],
    403: [lambda path: request(path, method="GET", key=SCOPELESS)],
    404: [
        lambda path: request(nowhere(path), method="GET"),
        lambda path: request(nowhere(path), method="GET", headers=AS_ANTHROPIC),
    ],
    405: [
        lambda path: request(path, asks(path)),
        lambda path: request(path, method="DELETE", headers=AS_ANTHROPIC),
    ],
}


@pytest.mark.parametrize("operation", READ, ids=[path for _, path in READ])
async def test_all_else_is_answered_as_it_says(house: Gateway, operation: Operation) -> None:
    method, path = operation
    answers = DOCUMENT["paths"][path][method]["responses"]
    sent = filled(path)
    if path.endswith("/generation"):
        call = split(await raw(house.port, answering("/v1/chat/completions")))[1]
        sent += f"?id={call['x-generation-id']}"
    found, seen = {}, set()
    for ways in READING.values():
        for way in ways:
            asked = way(sent)
            status, headers, body = await answer(house, asked)
            seen.add(str(status))
            found[asked] = problems(operation, status, headers, body)
    assert {asked: why for asked, why in found.items() if why} == {}
    elsewhere = {"304", "429", "431", "500", "503"}  # see below, and for these:
    if not path.endswith(("/usage", "/generation")):
        elsewhere.add("400")
    if not DOCUMENT["paths"][path][method]["security"] or path == "/health":
        elsewhere.add("403")
    if "{file}" in path:
        elsewhere.add("200")
    assert seen == set(answers) - elsewhere


async def test_what_is_kept_is_answered_as_it_says(house: Gateway) -> None:
    page = (await get(house, "/docs"))[2].decode()
    files = re.findall(r'(?:src|href)="(docs/[^"]+)"', page)
    assert len(files) == 4
    for path in ("/openapi.json", "/docs", *(f"/{file}" for file in files)):
        operation = ("get", "/docs/{version}/{file}" if path.count("/") == 3 else path)
        status, headers, body = await get(house, path, key=None)
        assert (status, problems(operation, status, headers, body)) == (200, [])
        known = f"if-none-match: {headers['etag']}\r\n"
        status, headers, body = await get(house, path, key=None, headers=known)
        assert (status, problems(operation, status, headers, body)) == (304, [])


async def test_usage_is_answered_as_it_says(house: Gateway) -> None:
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/completions"):
        for model in ("sim/echo", "sim/fast", "sim/echo+status=500", "sim/echo+cut=2"):
            await raw(house.port, answering(path, model, stream=True))
    await house.house.usage._flush()
    for root in ("/v1", OPENROUTER):
        operation = ("get", root + "/usage")
        for asked in (
            "",
            "?group_by=model,day,provider,key",
            "?group_by=model&limit=1",
            "?from=2026-11-01&to=2026-11-02",
        ):
            status, headers, body = await get(house, root + "/usage" + asked)
            assert (status, problems(operation, status, headers, body)) == (200, [])
        page = json.loads((await get(house, root + "/usage?group_by=model&limit=1"))[2])["next_page"]
        status, headers, body = await get(house, f"{root}/usage?page={page}")
        assert (status, problems(operation, status, headers, body)) == (200, [])
        for id in [row["id"] for row in await house.rows("calls")]:
            status, headers, body = await get(house, f"{root}/generation?id={id}")
            assert (status, problems(("get", root + "/generation"), status, headers, body)) == (200, [])


async def test_what_is_not_ready_is_answered_as_it_says(house: Gateway) -> None:
    house.house.drain()
    for path, key in (("/readyz", None), ("/health", None), ("/health", KEY)):
        status, headers, body = await get(house, path, key=key)
        assert (status, problems(("get", path), status, headers, body)) == (503, [])


async def test_details_of_health_are_answered_as_it_says(house: Gateway) -> None:
    await house.house.health.probe()
    status, headers, body = await get(house, "/health")
    assert "components" in json.loads(body)
    assert (status, problems(("get", "/health"), status, headers, body)) == (200, [])


async def test_a_defect_is_answered_as_it_says(house: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(house.house.pipeline, "handle", fails)
    monkeypatch.setattr(house.house.counts, "handle", fails)
    monkeypatch.setattr(house.house.asgi.rest, "app", fails)
    for operation in OPERATIONS_TOLD:
        method, path = operation
        sent = request(filled(path), asks(path) if method == "post" else b"", method=method.upper())
        status, headers, body = split(await raw(house.port, sent))
        assert (status, problems(operation, status, headers, body)) == (500, []), path


async def test_keys_that_cannot_be_looked_up_are_answered_as_it_says(
    house: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(hash: bytes) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(house.house.auth._store, "find", away)
    for operation in OPERATIONS_TOLD:
        method, path = operation
        if DOCUMENT["paths"][path][method]["security"] and path != "/health":
            sent = request(filled(path), asks(path), method=method.upper(), key="fl-" + "a" * 43)
            status, headers, body = split(await raw(house.port, sent))
            assert (status, problems(operation, status, headers, body)) == (503, []), path


async def test_a_stream_that_begins_late_is_what_it_says(tmp_path: Path) -> None:
    async with gateway(tmp_path, server="heartbeat_seconds = 0.05") as running:
        for operation in CALLED:
            if counts(operation[1]) or operation[1].endswith(":generateContent"):
                continue
            way = partial(answering, model="sim/echo+delay=0.3", stream=True)
            signs = [(way, b":")]
            if GEMINI_CALLS & {operation}:
                signs = [(way, b"\n"), (as_events(way), b":")]
            for asks_for, sign in signs:
                status, headers, body = split(await raw(running.port, asks_for(operation[1])))
                assert (status, body[:1]) == (200, sign)
                assert problems(operation, status, headers, body) == []


# ---- what a connection refuses before anything else sees it


async def test_what_is_no_request_is_answered_as_it_says(house: Gateway) -> None:
    for operation in OPERATIONS_TOLD:
        method, path = operation
        good = request(filled(path), method=method.upper())
        for expected, sent in {
            400: good.replace(b"host: test", b"host: test\r\nhost: another"),
            431: good.replace(b"host: test", b"host: test\r\nx: " + b"y" * 70_000),
        }.items():
            status, headers, body = split(await raw(house.port, sent))
            assert status == expected
            assert problems(operation, status, headers, body) == []


async def test_a_connection_too_many_is_answered_as_it_says(tmp_path: Path) -> None:
    async with gateway(tmp_path, server="max_connections = 1") as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(request("/livez", method="GET", close=False))
        await reader.readuntil(b"}")
        status, headers, body = split(await raw(running.port, request("/livez", method="GET")))
        writer.close()
        await writer.wait_closed()
    assert status == 503
    for operation in OPERATIONS_TOLD:
        assert problems(operation, status, headers, body) == []


async def test_plain_http_is_answered_as_it_says(tmp_path: Path) -> None:
    async with gateway(tmp_path, server='require_tls = true\ntrusted_proxies = ["10.9.9.9"]') as running:
        for operation in OPERATIONS_TOLD:
            method, path = operation
            status, headers, body = split(await raw(running.port, request(filled(path), method=method.upper())))
            assert status == (403 if "403" in DOCUMENT["paths"][path][method]["responses"] else 200)
            assert problems(operation, status, headers, body) == []


# ---- what Schemathesis makes of it

SEED = int(os.environ.get("SEED", "1"))
EXAMPLES = 15  # of each kind for an operation, besides what the schema itself suggests
MODELS = (
    "sim/echo", "sim/fast", "sim/tools", "sim/thinking", "sim/json", "sim/echo+status=500", "sim/echo+status=503",
    "sim/echo+status=429+retry_after=3", "sim/echo+status=401", "sim/echo+cut=2", "sim/echo+error=2",
    "sim/echo+malformed=2", "sim/echo+html=502", "sim/echo+empty", "nobody",
)  # fmt: skip
OF_PROVIDERS = {"upstream_broken", "upstream_error", "provider_overloaded", "provider_credential_rejected"}


def narrowed(mode: str) -> dict[str, Any]:
    """The document, about the simulator's models and what the gateway itself checks of a request. If all that it allows
    is to be accepted, the simulator has to understand it, too."""
    told = copy.deepcopy(DOCUMENT)
    schemas = told["components"]["schemas"]
    for name in CHECKED:
        fields = schemas[name]["properties"]
        schemas[name]["properties"] = {field: schema for field, schema in fields.items() if PASSED not in schema}
        if mode == "positive":  # nor as one that nobody knows: Hypothesis tries words of our source
            schemas[name]["propertyNames"] = {"not": {"enum": [field for field in fields if PASSED in fields[field]]}}
        if "model" in fields and name != "GenerateContentRequest":
            fields["model"].clear()
            fields["model"]["enum"] = list(MODELS)
            schemas[name].setdefault("required", []).append("model")
    # The simulator, as OpenAI, takes null for content from assistants only.
    said = {"required": ["content"], "properties": {"content": {"type": ["string", "array"]}}}
    schemas["ChatMessage"]["anyOf"] = [{"properties": {"role": {"const": "assistant"}}}, said]
    told["components"]["parameters"]["Model"]["schema"] = {"enum": list(MODELS)}
    told["components"]["parameters"]["Model"]["example"] = "sim/echo"
    for method, path in CALLED:
        body = told["paths"][path][method]["requestBody"]["content"]["application/json"]
        for example in body["examples"].values():
            if "model" in example["value"]:
                example["value"]["model"] = "sim/echo"
    if mode == "positive":
        only_what_the_simulator_understands(schemas)
    return told


# What the gateway checks of a request, by the names of the shapes.
CHECKED = (
    "ChatRequest", "CompletionRequest", "MessagesRequest", "ResponsesRequest", "GenerateContentRequest",
    "CountTokensRequest", "CompleteRequest", "ChatMessage", "Turn", "InputItem", "Content", "GenerationConfig",
)  # fmt: skip


def only_what_the_simulator_understands(schemas: dict[str, Any]) -> None:
    """Make `schemas` as narrow as that."""

    def parts(**properties: Any) -> dict[str, Any]:
        part = {"properties": properties, "required": list(properties), "additionalProperties": False}
        return {"type": "array", "minItems": 1, "items": {"type": "object", **part}}

    text = {"type": "string", "pattern": "[a-z]"}  # of nothing said nothing is left in another format
    typed = parts(type={"const": "text"}, text=text)
    spoken = {"anyOf": [text, typed]}
    inputs = {"anyOf": [text, parts(type={"const": "input_text"}, text=text)]}
    for name, roles, field, content in (
        ("ChatMessage", ["system", "user", "assistant"], "content", spoken),
        ("Turn", ["user", "assistant"], "content", spoken),
        ("InputItem", ["system", "user"], "content", inputs),
        ("Content", ["user", "model"], "parts", parts(text=text)),
    ):
        fields = {"role": {"enum": roles}, field: content}
        schemas[name] |= {"properties": fields, "required": list(fields), "additionalProperties": False}
        schemas[name].pop("propertyNames", None)
        schemas[name].pop("anyOf", None)
    for name in (
        "ChatRequest", "CompletionRequest", "MessagesRequest", "CompleteRequest", "ResponsesRequest",
        "GenerationConfig",
    ):  # fmt: skip
        for field in TOKENS & set(schemas[name]["properties"]):
            schemas[name]["properties"][field] = {"enum": [0, 1, 500, 10**30]}  # 5.0 is one in JSON Schema
    items = {"$ref": "#/components/schemas/InputItem"}
    contents = {"$ref": "#/components/schemas/Content"}
    schemas["ResponsesRequest"]["properties"]["input"] = {
        "anyOf": [text, {"type": "array", "items": items, "minItems": 1}]
    }
    schemas["ResponsesRequest"]["required"].append("input")
    for name in ("GenerateContentRequest", "CountTokensRequest"):
        schemas[name]["properties"]["contents"] = {"type": "array", "items": contents, "minItems": 1}
    schemas["CountTokensRequest"]["required"] = ["contents"]


TOKENS = set("max_tokens max_completion_tokens max_output_tokens maxOutputTokens max_tokens_to_sample".split())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_schemathesis_finds_nothing(tmp_path: Path, mode: str) -> None:
    import schemathesis
    from schemathesis.engine import events, from_schema

    config = schemathesis.Config.from_dict(
        {
            "seed": SEED,
            "continue-on-failure": True,
            "generation": {"mode": mode, "max-examples": EXAMPLES, "database": "none"},
            "output": {"sanitization": {"enabled": False}},
            # What an operation answers is no model's name, whatever its fields are called.
            "phases": {"stateful": {"enabled": False}, "fuzzing": {"extra-data-sources": {"responses": False}}},
            "auth": {"openapi": {"bearer": {"bearer": KEY}}},
            "checks": {
                "not_a_server_error": {"enabled": False},  # see OF_PROVIDERS
                "positive_data_acceptance": {"expected-statuses": [200, 304, 401, 404, 429, 502, 503]},
            },
            # A page has a token of ours, and `to` comes after `from`.
            "operations": [
                {"include-path-regex": "/usage$", "checks": {"positive_data_acceptance": {"enabled": False}}}
            ],
        }
    )
    answers: dict[str, Counter[int]] = {f"{method.upper()} {path}": Counter() for method, path in OPERATIONS_TOLD}
    streams = 0
    found: dict[tuple[str, str], str] = {}
    with process(tmp_path, server="max_wrong_keys = 1000000\ndrain_notice_seconds = 0") as (_, url):
        schema = schemathesis.openapi.from_dict(narrowed(mode), config=config)
        schema.config.update(base_url=url)
        for event in from_schema(schema).execute():
            if isinstance(event, events.FatalError):
                raise event.exception
            if isinstance(event, events.NonFatalError):
                found[event.label, "error"] = repr(event.value)
            if not isinstance(event, events.ScenarioFinished):
                continue
            operation, recorder = str(event.label), event.recorder
            for id in recorder.cases:
                told = recorder.interactions[id].response
                assert told is not None, f"{operation} was not answered"
                answers[operation][told.status_code] += 1
                streams += told.headers["content-type"][0].startswith("text/event-stream") if told.content else 0
                code = "" if told.status_code < 500 else code_of(told.content)
                if code and code not in OF_PROVIDERS:
                    found[operation, code] = str(told.content)
                for check in recorder.checks.get(id, []):
                    if check.failure_info is not None:
                        why = check.failure_info
                        found[operation, check.name] = (
                            f"{why.failure.message}\n{why.code_sample}\n{told.content[:500]!r}"
                        )
    print(f"SEED={SEED}: {sum(map(Counter.total, answers.values()))} requests, {streams} streams")
    assert not found, f"SEED={SEED}\n" + "\n\n".join(f"{place}: {why}" for place, why in found.items())
    # And it did look.
    wanted = {"positive": {200, 401, 404, 429, 502, 503}, "negative": {400, 401, 405}}[mode]
    for method, path in OPERATIONS_TOLD:
        statuses = set(answers[f"{method.upper()} {path}"])
        assert statuses >= (wanted - FROM_PROVIDERS if counts(path) else wanted) if method == "post" else statuses, path
    assert mode == "negative" or streams > 20


FROM_PROVIDERS = {429, 502, 503}  # the simulator is not asked to count


def code_of(body: bytes) -> str:
    """Of an error in any dialect."""
    error = json.loads(body)["error"]
    if "details" in error:
        return str(error["details"][0]["reason"]).lower()
    return str(error.get("metadata", error)["code"])

"""Citations: what one format tells of them, another tells as far as it can, whole and streamed."""

from typing import Any

import anthropic.types as anthropic_sdk
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from pydantic import TypeAdapter

from fairlead.chat import (
    Citation,
    Event,
    Finish,
    Message,
    Opaque,
    PartDelta,
    PartEnd,
    PartStart,
    Request,
    Response,
    Start,
    Text,
    ToolUse,
    fold,
    tell,
)
from fairlead.protocols import ChatProtocol
from fairlead.protocols.anthropic_messages import AnthropicMessages
from fairlead.protocols.openai_chat import OpenAIChat
from fairlead.protocols.sse import EventCutter
from protocols_outbound import comparable
from work import grows_with_its_size

OPENAI, ANTHROPIC = OpenAIChat(), AnthropicMessages()
SDK_BLOCK: TypeAdapter[Any] = TypeAdapter(anthropic_sdk.TextBlock)

FOUND = {
    "type": "web_search_result_location", "url": "https://a.example/", "title": "A", "encrypted_index": "Eo8B",
    "cited_text": "It rains.",
}  # fmt: skip
BROUGHT = {
    "type": "search_result_location", "source": "https://b.example/", "title": None, "cited_text": "So.",
    "search_result_index": 1, "start_block_index": 0, "end_block_index": 1,
}  # fmt: skip
READ = {
    "type": "char_location", "cited_text": "The grass.", "document_index": 0, "document_title": "Grass",
    "start_char_index": 0, "end_char_index": 10, "file_id": None,
}  # fmt: skip


def said(*parts: Any) -> Response:
    return Response("x", "m", parts, "stop", created=1)


def streamed(client: ChatProtocol, response: Response) -> Response:
    """What a client understands of the stream that tells `response`."""
    encode, decode = client.event_encoder(include_usage=True), client.event_decoder()
    stream = b"".join(map(encode, tell(response)))
    return fold([event for raw in [*EventCutter(1 << 25).feed(stream), b""] for event in decode(raw)])


def whole(client: ChatProtocol, response: Response) -> Response:
    return client.decode_response(client.encode_response(response))


def message(*blocks: dict[str, Any]) -> Response:
    facts = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    return ANTHROPIC.decode_response(msgspec.json.encode({**facts, "content": blocks}))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (FOUND, Citation("https://a.example/", "A", "It rains.")),
        (BROUGHT, Citation("https://b.example/", None, "So.")),
        (READ, Citation(None, "Grass", "The grass.")),
        ({"type": "page_location"}, Citation()),
        ({"type": "brand_new", "url": 7}, Citation()),
        (7, Citation()),
    ],
)
def test_anthropics_citations_are_words_and_go_back_as_they_came(told: Any, words: Citation) -> None:
    response = message({"type": "text", "text": "x", "citations": [told]})
    (part,) = response.parts
    assert isinstance(part, Text)
    (citation,) = part.citations
    assert msgspec.structs.replace(citation, raw=None) == words
    assert citation.raw is not None
    assert (citation.raw.protocol, comparable(citation.raw.raw)) == (ANTHROPIC.name, told)
    assert (
        comparable(whole(ANTHROPIC, response).parts)
        == comparable(streamed(ANTHROPIC, response).parts)
        == comparable(response.parts)
    )


def test_anthropics_citations_are_annotations_of_the_whole_text_that_cites() -> None:
    blocks = [
        {"type": "text", "text": "Look: "}, {"type": "text", "text": "rain", "citations": [FOUND, READ]},
        {"type": "text", "text": "."},
    ]  # fmt: skip
    told = msgspec.json.decode(OPENAI.encode_response(message(*blocks)))["choices"][0]["message"]
    annotation, document = told["annotations"]
    place = annotation["url_citation"]
    without_address = document["url_citation"]
    assert (without_address["url"], without_address["title"]) == ("", READ["document_title"])
    assert without_address["content"] == READ["cited_text"]
    assert annotation["type"] == "url_citation"
    assert told["content"][place["start_index"] : place["end_index"]] == "rain"
    assert (place["url"], place["title"], place["content"]) == ("https://a.example/", "A", "It rains.")


def test_annotations_are_shown_to_anthropics_clients_as_results_of_a_search() -> None:
    place = {"start_index": 0, "end_index": 1, "url": "https://a.example/", "title": "A"}
    choice = {"message": {"content": "x", "annotations": [{"type": "url_citation", "url_citation": place}]}}
    response = OPENAI.decode_response(msgspec.json.encode({"choices": [{**choice, "finish_reason": "stop"}]}))
    (block,) = msgspec.json.decode(ANTHROPIC.encode_response(response))["content"]
    (shown,) = SDK_BLOCK.validate_python(block).citations
    assert (shown.type, shown.source, shown.title) == ("search_result_location", "https://a.example/", "A")
    # It points at no result of a search, so that it is known again and never sent to Anthropic, who would refuse it.
    body = {"model": "m", "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": [block]}]}
    again = ANTHROPIC.decode_request(msgspec.json.encode(body))
    assert again.messages[1].parts == (Text("x", citations=(Citation("https://a.example/", "A"),)),)
    sent = ANTHROPIC.encode_request(again, default_max_tokens=1)
    assert msgspec.json.decode(sent.body)["messages"][1]["content"] == [{"type": "text", "text": "x"}]
    assert sent.dropped == ("citations",)


def test_sources_beside_an_answer_are_cited_by_all_of_it() -> None:
    beside = {
        "citations": ["https://a.example/", "https://b.example/"],
        "search_results": [{"url": "https://b.example/", "title": "B", "date": None}],
    }
    cited = (Citation("https://a.example/"), Citation("https://b.example/", "B"))
    body = {"id": "x", **beside, "choices": [{"message": {"content": "so"}, "finish_reason": "stop"}]}
    response = OPENAI.decode_response(msgspec.json.encode(body))
    assert response.parts == (Text("so", citations=cited),)
    decode = OPENAI.event_decoder()
    chunks = [{"delta": {"content": "s"}}, {"delta": {"content": "o"}}, {"delta": {}, "finish_reason": "stop"}]
    told = [b"data: %b\n\n" % msgspec.json.encode({"id": "x", **beside, "choices": [chunk]}) for chunk in chunks]
    assert fold([event for raw in [*told, b""] for event in decode(raw)]).parts == response.parts
    (block,) = msgspec.json.decode(ANTHROPIC.encode_response(response))["content"]
    assert [each["source"] for each in block["citations"]] == beside["citations"]


@pytest.mark.parametrize("odd", [None, 7, "x", {}, [7], [None]])
def test_sources_of_odd_shapes_break_nothing(odd: Any) -> None:
    choice = {"message": {"content": "so"}, "finish_reason": "stop"}
    for beside in ({"citations": odd}, {"citations": ["u"], "search_results": odd}):
        response = OPENAI.decode_response(msgspec.json.encode({"id": "x", **beside, "choices": [choice]}))
        assert response.parts in ((Text("so"),), (Text("so", citations=(Citation("u"),)),))


def test_an_annotation_that_has_nothing_to_tell_is_not_shown() -> None:
    odd = Citation(raw=Opaque(OPENAI.name, Raw(b'{"type":"file"}')))
    (block,) = msgspec.json.decode(ANTHROPIC.encode_response(said(Text("x", citations=(odd,)))))["content"]
    assert block["citations"] is None
    assert streamed(ANTHROPIC, said(Text("x", citations=(odd,)))).parts == (Text("x"),)


def test_a_request_tells_its_own_citations() -> None:
    own = Opaque(ANTHROPIC.name, Raw(msgspec.json.encode(FOUND)))
    request = Request("m", (Message("assistant", (Text("x", citations=(Citation("u", raw=own),)),)),))
    sent = ANTHROPIC.encode_request(request, default_max_tokens=1)
    assert msgspec.json.decode(sent.body)["messages"][0]["content"][0]["citations"] == [FOUND]
    assert sent.dropped == ()
    assert OPENAI.encode_request(request, default_max_tokens=1).dropped == ("citations",)


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
places = st.one_of(st.just((None, None)), st.tuples(st.integers(0, 3), st.integers(3, 8)))
raws = st.sampled_from([None, Opaque("gemini", Raw(b'{"a":1}'))])
citations = st.builds(
    lambda url, title, quote, place, raw: Citation(url, title, quote, *place, raw),
    words, st.none() | words, st.none() | words, places, raws,
)  # fmt: skip
texts = st.builds(lambda text, cited: Text(text, citations=tuple(cited)), words, st.lists(citations, max_size=3))
answers = st.builds(lambda parts: said(*parts), st.lists(texts | st.just(ToolUse("t", "f")), min_size=1, max_size=4))


@given(answers)
def test_folding_what_is_told_gives_what_was_told(response: Response) -> None:
    assert fold(tell(response)) == response


@given(answers, st.sampled_from([OPENAI, ANTHROPIC]))
def test_streams_and_whole_answers_cite_the_same(response: Response, client: ChatProtocol) -> None:
    def cited(found: Response) -> list[Any]:
        return [
            comparable(msgspec.structs.replace(citation, start=None, end=None))
            for part in found.parts if isinstance(part, Text) for citation in part.citations
        ]  # fmt: skip

    assert cited(streamed(client, response)) == cited(whole(client, response))
    assert len(cited(whole(client, response))) == sum(
        len(part.citations) for part in response.parts if isinstance(part, Text)
    )


def test_a_stream_of_many_citations_is_told_with_work_that_grows_with_it() -> None:
    def tell_both(many: int) -> None:
        citation = Citation("https://a.example/", raw=Opaque("gemini", Raw(b"{}")))
        deltas: list[Event] = [PartDelta(0, "x", citations=(citation,)) for _ in range(many)]
        events = [Start("x", "m"), PartStart(0, Text("")), *deltas, PartEnd(0), Finish("stop")]
        (part,) = fold(events).parts
        for client in (OPENAI, ANTHROPIC):
            encode = client.event_encoder(include_usage=False)
            decode = client.event_decoder()
            for raw in EventCutter(1 << 25).feed(b"".join(map(encode, events))):
                decode(raw)
        assert isinstance(part, Text)
        assert len(part.citations) == many

    assert grows_with_its_size(tell_both, 50)


def test_citations_that_wait_are_counted() -> None:
    encode = OPENAI.event_encoder(include_usage=False)
    encode(Start("x", "m"))
    encode(PartStart(0, Text("")))
    encode(PartDelta(0, "x", citations=(Citation("https://a.example/", quote="q" * 1000),)))
    assert encode.held > 1000

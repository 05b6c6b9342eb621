"""What the models say, in our words."""

import msgspec
from jsonschema import validate
from msgspec import Raw

from fairlead.chat import (
    Media,
    Message,
    Opaque,
    Reasoning,
    Request,
    Response,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    fold,
)
from fairlead.providers.simulator.faults import NONE
from fairlead.providers.simulator.models import MODELS, answer, mishap, perform

WEATHER = Tool("weather", schema=Raw(b'{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'))
CLOCK = Tool("clock")
HELLO = (Message("user", (Text("hello you"),)),)


def asked(model: str, messages: tuple[Message, ...] = HELLO, **settings: object) -> Response:
    return fold(event for _, event in answer(Request(f"sim/{model}", messages, **settings)))  # type: ignore[arg-type]


def test_echo_repeats_the_last_words_of_the_user():
    messages = (*HELLO, Message("assistant", (Text("yes?"),)), Message("user", (Text("and"), Text("again"))))
    assert asked("echo", messages).parts == (Text("and again"),)


def test_echo_names_what_is_no_text():
    media = (
        Media("image", "image/png", data="AAAA"),
        Media("document", url="https://example.com/a.pdf"),
        Media("document", text="plain"),
        Opaque("openai-chat", Raw(b"{}")),
    )
    said = asked("echo", (Message("user", media),)).parts[0]
    shown = "[image image/png, 4 characters of base64] [document https://example.com/a.pdf] [document: plain]"
    assert said == Text(shown + " [something of openai-chat]")


def test_echo_of_nothing_says_so():
    assert asked("echo", (Message("system", (Text("be brief"),)),)).parts == (Text("(nothing)"),)


def test_an_answer_told_in_events_is_the_whole_answer():
    for model in MODELS:
        request = Request(model, HELLO, tools=(WEATHER,))
        assert fold(event for _, event in answer(request)) == perform(request).whole()


def test_equal_requests_get_equal_answers_and_others_other_ids():
    assert asked("fast") == asked("fast")
    assert asked("fast").id != asked("fast", seed=1).id


def test_ids_look_as_the_format_has_them():
    request = Request("tools", HELLO, tools=(CLOCK,))
    for wire, answer_id, call_id in (("openai-chat", "chatcmpl-", "call_"), ("anthropic-messages", "msg_", "toolu_")):
        told = perform(request, wire=wire).response  # type: ignore[arg-type]
        assert told.id.startswith(answer_id)
        assert told.parts[0].id.startswith(call_id)  # type: ignore[union-attr]


def test_slow_takes_half_a_second_and_then_forty_tokens_a_second():
    pauses = [pause for pause, _ in answer(Request("slow", HELLO)) if pause]
    assert pauses[0] == 0.5
    assert set(pauses[1:]) == {0.025}
    performed = perform(Request("slow", HELLO))
    assert performed.response.usage is not None
    assert performed.response.usage.output_tokens == len(pauses)
    assert abs(performed.seconds() - sum(pauses)) < 1e-9


def test_fast_takes_no_time():
    assert not any(pause for pause, _ in answer(Request("fast", HELLO)))


def test_a_third_of_the_requests_to_flaky_go_wrong_in_each_way():
    mishaps = [mishap(Request("flaky", HELLO, seed=number)) for number in range(600)]
    wrong = [one for one in mishaps if one != NONE]
    assert 150 < len(wrong) < 250
    assert {one.status for one in wrong} == {429, 500, 529, None}
    assert all(one.cut for one in wrong if one.status is None)


def test_tools_calls_every_tool_with_valid_arguments():
    said = asked("tools", tools=(WEATHER, CLOCK))
    assert said.finish_reason == "tool_use"
    assert [part.name for part in said.parts if isinstance(part, ToolUse)] == ["weather", "clock"]
    assert len({part.id for part in said.parts if isinstance(part, ToolUse)}) == 2
    assert isinstance(said.parts[0], ToolUse)
    assert WEATHER.schema is not None
    validate(msgspec.json.decode(said.parts[0].arguments), msgspec.json.decode(WEATHER.schema))


def test_tools_calls_one_tool_where_parallel_calls_are_off():
    assert len(asked("tools", tools=(WEATHER, CLOCK), parallel_tool_calls=False).parts) == 1


def test_tools_calls_the_named_tool():
    said = asked("tools", tools=(WEATHER, CLOCK), tool_choice=ToolChoice("named", "clock"))
    assert [part.name for part in said.parts if isinstance(part, ToolUse)] == ["clock"]


def test_tools_speaks_where_it_may_not_call():
    for settings in ({"tools": (WEATHER,), "tool_choice": ToolChoice("none")}, {}):
        assert isinstance(asked("tools", **settings).parts[0], Text)


def test_tools_sums_up_the_results_it_sees():
    asking = (*HELLO, Message("assistant", (ToolUse("1", "weather"), ToolUse("2", "clock"))))
    results = (ToolResult("1", (Text("sunny"),)), ToolResult("2", (Text("noon"),)))
    said = asked("tools", (*asking, Message("tool", results)), tools=(WEATHER,))
    assert said.parts == (Text("The tools say: sunny; noon"),)
    assert said.finish_reason == "stop"


def test_tools_calls_again_in_the_next_turn():
    turn = (*HELLO, Message("tool", (ToolResult("1"),)), Message("assistant", (Text("sunny"),)), *HELLO)
    assert asked("tools", turn, tools=(WEATHER,)).finish_reason == "tool_use"


def test_arguments_of_a_schema_that_is_no_object_are_an_empty_object():
    tool = Tool("odd", schema=Raw(b'{"type":"string"}'))
    assert asked("tools", tools=(tool,)).parts[0].arguments == "{}"  # type: ignore[union-attr]


def test_thinking_thinks_signs_and_speaks():
    thought, text = asked("thinking").parts
    assert isinstance(thought, Reasoning)
    assert thought.signature
    assert thought.protocol == "openai-chat"
    assert text == Text("Having thought about it: hello you")


def test_thinking_does_not_think_where_it_is_told_not_to():
    assert asked("thinking", thinking=Thinking(enabled=False)).parts == (Text("Having thought about it: hello you"),)


def test_json_gives_an_object():
    said = asked("json", response_format=ResponseFormat("json_object")).parts[0]
    assert msgspec.json.decode(said.text) == {"answer": "hello you", "words": 2}  # type: ignore[union-attr]


def test_json_obeys_a_schema():
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 40}}, "required": ["n"]}
    wish = ResponseFormat("json_schema", "answer", Raw(msgspec.json.encode(schema)))
    validate(msgspec.json.decode(asked("json", response_format=wish).parts[0].text), schema)  # type: ignore[union-attr]


def test_long_says_four_thousand_tokens_and_stops():
    said = asked("long")
    assert said.usage is not None
    assert (said.usage.output_tokens, said.finish_reason) == (4000, "stop")


def test_max_tokens_end_an_answer_by_length():
    said = asked("long", max_tokens=100)
    assert said.usage is not None
    assert (said.usage.output_tokens, said.finish_reason) == (100, "length")


def test_max_tokens_count_thoughts_first():
    said = asked("thinking", max_tokens=3)
    assert [type(part) for part in said.parts] == [Reasoning]
    assert said.usage is not None
    assert (said.usage.output_tokens, said.usage.reasoning_tokens) == (3, 3)


def test_a_call_that_max_tokens_would_cut_is_left_out():
    said = asked("tools", tools=(WEATHER, CLOCK), max_tokens=7)
    assert len(said.parts) == 1
    assert said.finish_reason == "length"


def test_the_first_stop_sequence_ends_the_text():
    said = asked("echo", stop=("you", "lo"))
    assert said.parts == (Text("hel"),)
    assert (said.finish_reason, said.stop_sequence) == ("stop_sequence", "lo")


def test_a_stop_sequence_that_is_not_said_changes_nothing():
    assert asked("echo", stop=("zzz", "")).finish_reason == "stop"

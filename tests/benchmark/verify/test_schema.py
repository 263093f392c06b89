import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.benchmark.verify.schema import NotJson, conforms, read_json, violations
from assay.model.dialects.thinking import items
from assay.types import FunctionCall, Message, Response, Score

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}

CONFORMING = [
    '{"name": "Ann", "age": 3}',
    '{"age": 3, "name": "Ann"}',
    '{"name": "Ann"}',
    '{"name":"Ann","age":3}',
    '\n  {\n  "name":\t"Ann",\n  "age": 3\n}\n',
    '{"name": "Ann", "age": 3.0}',
    '{"name": "\\u00c4nn"}',
    '```json\n{"name": "Ann"}\n```',
    '```JSON\n{"name": "Ann"}\n```',
    '```\n{"name": "Ann"}\n```',
    'Here it is:\n\n```json\n{"name": "Ann"}\n```\nDone.',
    '```json\n{"name": ""}\n```\nNo:\n```json\n{"name": "Ann"}\n```',
    '```json\n{"name": "Ann"}\n```\nRun\n```sh\nls\n```',
    '   ```json\n   {"name": "Ann"}\n   ```',
    '```json\r\n{"name": "Ann"}\r\n```',
    '```json\n{"name": "Ann"}',
    '{"name": "```"}',
    '\ufeff{"name": "Ann"}',
    '```json\n{"name": "Ann"}```',
    'Sure! ```json\n{"name": "Ann"}\n```',
    'Sure: ```json {"name": "Ann"}```',
    '```json {"name": "Ann"}\n```',
    '```json{"name": "Ann"}```',
    '~~~json\n{"name": "Ann"}\n~~~',
    '````json\n{"name": "Ann"}\n````',
    '{"name": "Ann"}\n```',
    '{"name": "Ann"}\n```\nThat is it.',
    '```json\n{"name": ""}\n```json\n{"name": "Ann"}\n```',
    '1. ```json\n   {"name": "Ann"}\n   ```',
    '```json\n{"name": "Ann \\"\\"\\" ```"}\n```',
]
OTHER_JSON = [
    ("{}", "$: 'name' is a required property"),
    ("[]", "$: [] is not of type 'object'"),
    ('"Ann"', "$: 'Ann' is not of type 'object'"),
    ("null", "$: None is not of type 'object'"),
    ("true", "$: True is not of type 'object'"),
    ('{"name": ""}', "$.name: '' should be non-empty"),
    ('{"name": 3}', "$.name: 3 is not of type 'string'"),
    ('{"name": "Ann", "age": -1}', "$.age: -1 is less than the minimum of 0"),
    ('{"name": "Ann", "age": 3.5}', "$.age: 3.5 is not of type 'integer'"),
    ('{"name": "Ann", "age": "3"}', "$.age: '3' is not of type 'integer'"),
    ('{"name": "Ann", "age": true}', "$.age: True is not of type 'integer'"),
    ('{"name": "Ann", "age": null}', "$.age: None is not of type 'integer'"),
    ('{"name": "Ann", "size": 1}', "$: Additional properties are not allowed ('size' was unexpected)"),
    ('{"name": [["Ann"]]}', "$.name: [['Ann']] is not of type 'string'"),
    ('[{"name": "Ann"}]', "$: [{'name': 'Ann'}] is not of type 'object'"),
    ('```json\n{"name": "Ann"}\n```\nNo:\n```json\n{}\n```', "$: 'name' is a required property"),
]
NO_JSON = [
    ("", "the text is empty"),
    ("```json\n```", "the text is empty"),
    ("Ann", "Expecting value at line 1, column 1, near 'Ann'"),
    ("{'name': 'Ann'}", "property name enclosed in double quotes"),
    ('{"name": "Ann",}', "at line 1, column"),
    ('{"name": "Ann"', "Expecting ',' delimiter at line 1, column 15"),
    ('{"name": Ann}', "Expecting value"),
    ('{name: "Ann"}', "property name"),
    ('{"name": "Ann"} // done', "Extra data"),
    ('{"name": "Ann"}{"name": "Ann"}', "Extra data"),
    ('It is {"name": "Ann"}', "Expecting value"),
    ('{"name": "Ann"} is it', "Extra data"),
    ('{"name": "An\nn"}', "Invalid control character"),
    ('{"name": "Ann", "name": "Bob"}', "the key 'name' is there twice"),
    ('{"name": "Ann", "age": NaN}', "NaN is no JSON number"),
    ('{"name": "Ann", "age": -Infinity}', "-Infinity is no JSON number"),
    ('{"name": "Ann", "age": 03}', "delimiter"),
    ('{"name": True}', "Expecting value"),
    ("[" * 100_000, "nested too deep"),
    ('{"name": "Ann", "age": ' + "9" * 5000 + "}", "not JSON that can be read"),
    ('```json\n{"name": "Ann"}\n```\n```json\n{"name":', "Expecting value"),
]


def score(text: str) -> Score:
    return conforms(Response(output=items(text)), PERSON)


@pytest.mark.parametrize("text", CONFORMING)
def test_what_conforms(text: str):
    assert violations(read_json(text), PERSON) == []
    assert score(text).reward == 1


@pytest.mark.parametrize(("text", "why"), OTHER_JSON)
def test_what_is_other_json_is_told(text: str, why: str):
    assert violations(read_json(text), PERSON) == [why]
    found = score(text)
    assert found.reward == 0 and found.metrics == {"json": 1.0} and found.answer is not None


@pytest.mark.parametrize(("text", "why"), NO_JSON)
def test_what_is_no_json_is_told(text: str, why: str):
    with pytest.raises(NotJson) as error:
        read_json(text)
    assert why in str(error.value) and len(str(error.value)) < 400
    assert score(text) == Score(reward=0.0, metrics={"json": 0.0})


def test_the_reasoning_is_not_looked_at():
    assert score('<think>{"name": "Ann"}</think>').reward == 0


def test_many_violations_are_told_in_part():
    told = violations(["x"] * 30, {"items": {"type": "integer"}})
    assert len(told) == 11 and told[-1] == "and 20 more"
    assert len(violations("x" * 10_000, {"type": "integer"})[0]) < 250


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "text"}, "the schema is no JSON schema: $.type"),
        ({"required": "name"}, "the schema is no JSON schema: $.required"),
        ({"$ref": "#/$defs/nothing"}, "the schema refers to '/$defs/nothing', which it does not define"),
        ({"$ref": "http://127.0.0.1:9/schema"}, "the schema refers to 'http://127.0.0.1:9/schema'"),
    ],
)
def test_a_schema_that_is_none_is_an_error_of_the_benchmarks(schema: dict[str, Any], why: str):
    with pytest.raises(ValueError, match="schema") as error:
        violations({"name": "Ann"}, schema)
    assert why in str(error.value)


def test_the_draft_is_the_one_that_the_schema_names():
    draft4 = {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 5, "exclusiveMaximum": True}
    assert violations(5, draft4) and not violations(4, draft4)
    assert not violations("x", {"$ref": "#/$defs/word", "$defs": {"word": {"type": "string"}}})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    values,
    st.sampled_from(["{}", "\n {} \n", "```json\n{}\n```", "So:\n```\n{}\n```\nDone."]),
    st.sampled_from([None, 2]),
)
def test_json_is_read_back_however_it_is_wrapped_and_spaced(value: Any, wrap: str, indent: int | None):
    assert read_json(wrap.replace("{}", json.dumps(value, indent=indent))) == value


@given(st.text() | st.text('{}[]",:`json\n 123truenull'))
def test_any_text_can_be_judged_and_twice_the_same(text: str):
    assert score(text) == score(text)


def test_a_payload_may_stand_in_a_call_of_the_tool_that_the_benchmark_names():
    def called(*arguments: str) -> Response:
        calls = [FunctionCall(call_id=str(n), name="hand_in", arguments=one) for n, one in enumerate(arguments)]
        return Response(output=[Message(role="assistant", content='{"name": "Bob"}'), *calls])

    assert conforms(called("{}", '{"name": "Ann"}'), PERSON, tool="hand_in").reward == 1
    assert conforms(called('{"name": "Ann"}', "{}"), PERSON, tool="hand_in").reward == 0
    assert conforms(called('{"name": "Ann"'), PERSON, tool="hand_in") == Score(reward=0.0, metrics={"json": 0.0})
    assert conforms(called('{"name": "Ann"}'), PERSON, tool="other").reward == 0
    assert conforms(called("{}"), PERSON).reward == 1  # the message counts where no tool is named


def test_a_schema_may_be_closed_by_default():
    inner = {"type": "object", "properties": {"n": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"properties": inner, "open": {**inner, "additionalProperties": True}}}

    def of(text: str, closed: bool) -> float:
        return conforms(Response(output=items(text)), schema, closed=closed).reward

    for text, right in [
        ('{"properties": {"n": 1}}', 1),
        ('{"more": 1}', 0),
        ('{"properties": {"more": 1}}', 0),
        ('{"open": {"more": 1}}', 1),
    ]:
        assert (of(text, closed=False), of(text, closed=True)) == (1, right)

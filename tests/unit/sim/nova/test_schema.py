"""The checker's words are jsonschema's, as Nova wraps them."""

from typing import Any

import pytest

from dedupd.sim.nova.schema import QUERY, Schema, check
from dedupd.sim.nova.wire import Fault

NAMED: Schema = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {"name": {"type": "string"}},
}


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "string"}, 1, "1 is not of type 'string'"),
        ({"type": ["string", "null"]}, 1.5, "1.5 is not of type 'string', 'null'"),
        ({"type": "integer"}, True, "True is not of type 'integer'"),
        (NAMED, {}, "'name' is a required property"),
        (NAMED, {"name": "", "b": 1}, "Additional properties are not allowed ('b' was unexpected)"),
        (
            NAMED,
            {"name": "", "c": 1, "b": 1},
            "Additional properties are not allowed ('b', 'c' were unexpected)",
        ),
        (
            {"additionalProperties": False, "patternProperties": {"^a$": {}}},
            {"b": 1},
            "'b' does not match any of the regexes: '^a$'",
        ),
        (
            {"additionalProperties": False, "patternProperties": {"^a$": {}}},
            {"c": 1, "b": 1},
            "'b', 'c' do not match any of the regexes: '^a$'",
        ),
        ({"minLength": 1}, "", "'' should be non-empty"),
        ({"minLength": 2}, "a", "'a' is too short"),
        ({"maxLength": 2}, "abc", "'abc' is too long"),
        ({"minItems": 1}, [], "[] should be non-empty"),
        ({"maxItems": 1}, [1, 2], "[1, 2] is too long"),
        ({"pattern": "^a$"}, "b", "'b' does not match '^a$'"),
        ({"enum": ["a"]}, "b", "'b' is not one of ['a']"),
        ({"minimum": 1}, 0, "0 is less than the minimum of 1"),
        ({"minimum": 1}, "0", "0 is less than the minimum of 1"),
        ({"oneOf": [{"type": "null"}]}, 1, "1 is not valid under any of the given schemas"),
        ({"format": "uuid"}, "x", "'x' is not a 'uuid'"),
        ({"format": "regex"}, "[", "'[' is not a 'regex'"),
        ({"format": "regex"}, "", "'' is not a 'regex'"),
        ({"format": "date-time"}, "today", "'today' is not a 'date-time'"),
    ],
)
def test_what_is_wrong_with_a_value(schema: Schema, value: Any, message: str) -> None:
    with pytest.raises(Fault) as raised:
        check(schema, value)
    assert (raised.value.status, raised.value.message) == (400, message)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (NAMED, {"name": "x"}),
        ({"required": ["a"]}, []),
        ({"additionalProperties": False}, []),
        ({"additionalProperties": True}, {"a": 1}),
        ({"minLength": 1, "maxLength": 3, "pattern": "a", "minimum": 1}, ["not a string"]),
        ({"minimum": 1}, "2"),
        ({"minimum": 1}, "many"),
        ({"enum": [True]}, True),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, "x"),
        ({"format": "uuid"}, "155d900f-4e14-4e4c-a73d-069cbf4541e6"),
        ({"format": "uuid"}, 1),
        ({"format": "date-time"}, "2020-01-01T00:00:00Z"),
        ({"patternProperties": {"^a": {"type": "string"}}}, {"b": 1, "ab": "x"}),
        ({"items": {"type": "string"}}, ["a", "b"]),
        ({"description": "not a check"}, 1),
    ],
)
def test_what_fits(schema: Schema, value: Any) -> None:
    check(schema, value)


def test_what_is_wrong_inside_names_the_innermost_attribute() -> None:
    schema = {"properties": {"tags": {"items": {"type": "string"}}}}
    with pytest.raises(Fault) as raised:
        check(schema, {"tags": ["a", 1]})
    expected = "Invalid input for field/attribute 1. Value: 1. 1 is not of type 'string'"
    assert raised.value.message == expected
    with pytest.raises(Fault, match="Invalid input for query parameters tags"):
        check({"properties": {"tags": {"enum": []}}}, {"tags": "a"}, QUERY)


def test_a_bad_name_is_told_without_its_place() -> None:
    with pytest.raises(Fault) as raised:
        check({"properties": {"name": {"format": "name"}}}, {"name": " padded"})
    assert raised.value.message.startswith("An invalid 'name' value was provided.")

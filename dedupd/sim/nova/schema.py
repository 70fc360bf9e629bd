"""A small checker of JSON values, with the words that Nova's own (jsonschema) uses.

Schemas are plain dicts with the keywords in `_CHECKS` and, for what lies inside a value,
`properties`, `patternProperties` and `items`. What is wrong with a value itself is told before
what is wrong inside it, as jsonschema's best_match does; only the first error is told.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from dedupd.sim.nova.wire import Fault

Schema = dict[str, Any]

BODY = "field/attribute"
QUERY = "query parameters"


def check(schema: Schema, value: Any, place: str = BODY) -> None:
    """Raise Nova's Fault 400 unless the value fits the schema.

    `place` is the word by which Nova names where the value stands: BODY or QUERY.
    """
    error = first_error(schema, value)
    if error is None:
        return
    name, wrong, message = error
    if name is not None:
        message = f"Invalid input for {place} {name}. Value: {wrong}. {message}"
    raise Fault(400, message)


Error = tuple[str | None, Any, str]
"""The name of the innermost attribute (None: the value itself), its value, and the message."""


def first_error(schema: Schema, value: Any, name: str | None = None) -> Error | None:
    """Return the first thing wrong with the value, or None if it fits."""
    for keyword, argument in schema.items():
        if keyword not in _CHECKS:
            continue
        message = _CHECKS[keyword](argument, value, schema)
        if message is not None:
            return None if message == _BAD_NAME else name, value, message
    for key, inner, item in _inside(schema, value):
        error = first_error(inner, item, key)
        if error is not None:
            return error
    return None


def _inside(schema: Schema, value: Any) -> Iterator[tuple[str, Schema, Any]]:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        patterns = schema.get("patternProperties", {})
        for key, item in value.items():
            if key in properties:
                yield key, properties[key], item
            for pattern, inner in patterns.items():
                if re.search(pattern, key):
                    yield key, inner, item
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield str(index), schema["items"], item


_TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


def _type(argument: str | list[str], value: Any, _: Schema) -> str | None:
    names = [argument] if isinstance(argument, str) else argument
    if _TYPES[type(value)] in names:
        return None
    return f"{value!r} is not of type {', '.join(repr(name) for name in names)}"


def _required(argument: list[str], value: Any, _: Schema) -> str | None:
    if not isinstance(value, dict):
        return None
    missing = [name for name in argument if name not in value]
    return f"{missing[0]!r} is a required property" if missing else None


def _additional(argument: bool, value: Any, schema: Schema) -> str | None:
    if argument or not isinstance(value, dict):
        return None
    patterns = schema.get("patternProperties", {})
    known = schema.get("properties", {})
    extra = [
        key
        for key in value
        if key not in known and not any(re.search(pattern, key) for pattern in patterns)
    ]
    if not extra:
        return None
    if patterns:
        verb = "does" if len(extra) == 1 else "do"
        names = ", ".join(repr(key) for key in sorted(extra))
        expected = ", ".join(repr(pattern) for pattern in patterns)
        return f"{names} {verb} not match any of the regexes: {expected}"
    verb = "was" if len(extra) == 1 else "were"
    names = ", ".join(repr(key) for key in sorted(extra))
    return f"Additional properties are not allowed ({names} {verb} unexpected)"


def _min_length(argument: int, value: Any, _: Schema) -> str | None:
    if not isinstance(value, str | list) or len(value) >= argument:
        return None
    return f"{value!r} {'should be non-empty' if argument == 1 else 'is too short'}"


def _max_length(argument: int, value: Any, _: Schema) -> str | None:
    too_long = isinstance(value, str | list) and len(value) > argument
    return f"{value!r} is too long" if too_long else None


def _pattern(argument: str, value: Any, _: Schema) -> str | None:
    fits = not isinstance(value, str) or re.search(argument, value)
    return None if fits else f"{value!r} does not match {argument!r}"


def _enum(argument: list[Any], value: Any, _: Schema) -> str | None:
    return None if value in argument else f"{value!r} is not one of {argument!r}"


def _minimum(argument: int, value: Any, _: Schema) -> str | None:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    small = isinstance(number, int) and number < argument
    return f"{number!r} is less than the minimum of {argument}" if small else None


def _one_of(argument: list[Schema], value: Any, _: Schema) -> str | None:
    fits = any(first_error(schema, value) is None for schema in argument)
    return None if fits else f"{value!r} is not valid under any of the given schemas"


def _is_regex(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return bool(text)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)).replace("-", "") == text.lower().replace("-", "")
    except ValueError:
        return False


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


_FORMATS: dict[str, Callable[[str], bool]] = {
    "uuid": _is_uuid,
    "regex": _is_regex,
    "date-time": _is_time,
    "name": lambda text: text == text.strip() and text.isprintable(),
}

_BAD_NAME = (
    "An invalid 'name' value was provided. The name must be: printable characters. "
    "Can not start or end with whitespace."
)


def _format(argument: str, value: Any, _: Schema) -> str | None:
    if not isinstance(value, str) or _FORMATS[argument](value):
        return None
    return _BAD_NAME if argument == "name" else f"{value!r} is not a {argument!r}"


_CHECKS: dict[str, Callable[[Any, Any, Schema], str | None]] = {
    "type": _type,
    "required": _required,
    "additionalProperties": _additional,
    "minLength": _min_length,
    "maxLength": _max_length,
    "minItems": _min_length,
    "maxItems": _max_length,
    "pattern": _pattern,
    "enum": _enum,
    "minimum": _minimum,
    "oneOf": _one_of,
    "format": _format,
}

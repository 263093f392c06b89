"""JSON in a message, compared with a JSON schema."""

import json
import re
from collections import Counter
from typing import Any, cast

from jsonschema import Draft202012Validator, SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from jsonschema_specifications import REGISTRY  # pyright: ignore[reportMissingTypeStubs]
from referencing.exceptions import Unresolvable

from assay.benchmark.verify.fences import fenced_blocks
from assay.types import FunctionCall, Response, Score

SHOWN = 10
"""The most violations in a result."""
_NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
"""Keywords that hold schemas by a name of the author's."""
_VALUES = ("const", "enum", "default", "examples")
"""Keywords that hold values, which may look like schemas."""


class NotJson(ValueError):
    """The text is no JSON."""


def read_json(text: str) -> Any:
    """Returns the JSON value of a message: its last fenced block marked `json`, else its last block, else all of it.

    Raises NotJson, with the place of the error. Strict: NaN, Infinity, an object with the same key twice, and prose
    around bare JSON are no JSON.
    """
    text = text.strip("\ufeff \t\r\n")
    try:
        return _decode(text)
    except NotJson:
        blocks = fenced_blocks(text, _is_json)
        if not blocks:
            raise
    marked = [block for block in blocks if block.language == "json"] or blocks
    return _decode(marked[-1].body.strip())


def own_object(text: str, schema: dict[str, Any], untrusted: str = "") -> Any:
    """Returns the object by the schema at the end of a judge's reply, fenced or not.

    Raises NotJson if the reply ends with none, has several different ones, or if the object is a quotation from
    `untrusted`, the judged text.
    """
    objects = _objects(text, schema)
    if not objects or text[objects[-1][1] :].strip("`~ \t\r\n"):
        raise NotJson("the reply does not end with an object of the expected form")
    start, end, value = objects[-1]
    if any(other != value for *_, other in objects):
        raise NotJson("the reply has several objects that differ")
    if wrong := violations(value, schema):
        raise NotJson(wrong[0])
    if "".join(text[start:end].split()) in "".join(untrusted.split()):
        raise NotJson("the object is a quotation of the text that was judged")
    return value


def violations(value: Any, schema: dict[str, Any]) -> list[str]:
    """Returns the violations of the schema, each with its place; none if the value is valid.

    By the draft in `$schema`, else 2020-12. `format` is an annotation and is not checked. References stay within the
    schema: nothing is downloaded. Raises ValueError if the schema is invalid.
    """
    try:
        found = sorted(_validator(schema).iter_errors(value), key=lambda error: error.json_path)
    except Unresolvable as error:
        raise ValueError(f"the schema refers to {error.ref!r}, which it does not define") from error
    except RecursionError:
        return ["nested too deep to be held against the schema"]
    told = [f"{error.json_path}: {_shorten(error.message)}" for error in found[:SHOWN]]
    return [*told, f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else told


def conforms(response: Response, schema: dict[str, Any], *, tool: str | None = None, closed: bool = False) -> Score:
    """Returns 1 if the message is JSON by the schema, else 0. The answer is that JSON in one line.

    With `tool`, the JSON is the arguments of this tool's last call instead of the message. `closed` forbids properties
    that an object's schema does not have, unless it says something about them.
    """
    try:
        value = read_json(response.text if tool is None else _arguments(response, tool))
    except NotJson:
        return Score(reward=0.0, metrics={"json": 0.0})
    right = not violations(value, _close(schema) if closed else schema)
    return Score(reward=float(right), metrics={"json": 1.0}, answer=json.dumps(value, ensure_ascii=False))


def _arguments(response: Response, tool: str) -> str:
    """Returns the arguments of the last call of a tool; an empty text if there is none."""
    calls = [item for item in response.output if isinstance(item, FunctionCall) and item.name == tool]
    return calls[-1].arguments if calls else ""


def _close(schema: Any) -> Any:
    """The schema with `additionalProperties` false for each object that names properties and says nothing of others."""
    if isinstance(schema, list):
        return [_close(part) for part in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    schema = cast(dict[str, Any], schema)
    parts: dict[str, Any] = {
        key: {name: _close(value) for name, value in part.items()} if key in _NAMED else _close(part)
        for key, part in schema.items()
        if key not in _VALUES
    }
    opened: dict[str, Any] = {"additionalProperties": False} if "properties" in parts else {}
    return {**opened, **parts, **{key: schema[key] for key in _VALUES if key in schema}}


def _objects(text: str, schema: dict[str, Any]) -> list[tuple[int, int, Any]]:
    """(start, end, value) of each object in a text that begins with a key of the schema, up to a malformed one."""
    keys = "|".join(map(re.escape, schema["properties"]))
    begun = re.compile(rf"\{{\s*+\"(?:{keys})\"\s*+:")
    found: list[tuple[int, int, Any]] = []
    end = 0
    while start := begun.search(text, end):
        try:
            value, end = _DECODER.raw_decode(text, start.start())
        except (RecursionError, ValueError):
            value, end = None, len(text)
        found.append((start.start(), end, value))
    return found


def _decode(text: str) -> Any:
    if not text:
        raise NotJson("there is no JSON: the text is empty")
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - 20) : error.pos + 20]
        raise NotJson(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}, near {near!r}") from None
    except RecursionError:
        raise NotJson("not JSON that can be read: nested too deep") from None
    except NotJson:
        raise
    except ValueError as error:
        raise NotJson(f"not JSON that can be read: {error}") from None


def _is_json(text: str) -> bool:
    try:
        _decode(text.strip())
    except NotJson:
        return False
    return True


def _validator(schema: dict[str, Any]) -> Validator:
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"the schema is no JSON schema: {error.json_path}: {_shorten(error.message)}") from None
    return kind(schema, registry=REGISTRY)


def _refuse(constant: str) -> Any:
    raise NotJson(f"not JSON: {constant} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise NotJson(f"not JSON that has one meaning: the key {_shorten(twice)!r} is there twice")
    return found


def _shorten(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


_DECODER = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique)

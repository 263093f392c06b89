"""JSON in a message, held against a JSON schema."""

import json
from collections import Counter
from typing import Any

from jsonschema import Draft202012Validator, SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from jsonschema_specifications import REGISTRY  # pyright: ignore[reportMissingTypeStubs]
from referencing.exceptions import Unresolvable

from assay.types import Response, Score

SHOWN = 10
"""Violations that are told at most."""


class NotJson(ValueError):
    """What is there is no JSON."""


def read_json(text: str) -> Any:
    """The value that a message gives as JSON: its last fenced block marked `json`, else its last one, else all of it.

    Raises NotJson, which says where the text goes wrong. Strict: NaN, Infinity and an object that has a key twice are
    no JSON, and prose around bare JSON makes the whole no JSON.
    """
    blocks = _fenced(text)
    marked = [body for language, body in blocks if language.lower() == "json"] or [body for _, body in blocks]
    said = (marked[-1] if marked else text).strip()
    if not said:
        raise NotJson("there is no JSON: the text is empty")
    try:
        return json.loads(said, parse_constant=_refuse, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        near = said[max(0, error.pos - 20) : error.pos + 20]
        raise NotJson(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}, near {near!r}") from None
    except RecursionError:
        raise NotJson("not JSON that can be read: nested too deep") from None
    except NotJson:
        raise
    except ValueError as error:
        raise NotJson(f"not JSON that can be read: {error}") from None


def violations(value: Any, schema: dict[str, Any]) -> list[str]:
    """What of the value is against the schema, each with its place; nothing where it is valid.

    By the draft that `$schema` names, else 2020-12. `format` is an annotation there and is not checked. References
    stay within the schema: nothing is fetched. Raises ValueError where the schema itself is none.
    """
    try:
        found = sorted(_validator(schema).iter_errors(value), key=lambda error: error.json_path)
    except Unresolvable as error:
        raise ValueError(f"the schema refers to {error.ref!r}, which it does not define") from error
    except RecursionError:
        return ["nested too deep to be held against the schema"]
    told = [f"{error.json_path}: {_cut(error.message)}" for error in found[:SHOWN]]
    return [*told, f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else told


def conforms(response: Response, schema: dict[str, Any]) -> Score:
    """1 where the message is JSON by the schema, else 0; the answer is that JSON in one line."""
    try:
        value = read_json(response.text)
    except NotJson:
        return Score(reward=0.0, metrics={"json": 0.0})
    right = not violations(value, schema)
    return Score(reward=float(right), metrics={"json": 1.0}, answer=json.dumps(value, ensure_ascii=False))


def _fenced(text: str) -> list[tuple[str, str]]:
    """(language, body) of each fenced block; one that is never closed goes on to the end."""
    blocks: list[tuple[str, str]] = []
    language, body = None, list[str]()
    for line in text.split("\n"):
        mark = line.strip()
        if not mark.startswith("```"):
            body.append(line)
        elif language is None:
            language, body = mark.strip("`").strip(), []
        else:
            blocks.append((language, "\n".join(body)))
            language = None
    return blocks if language is None else [*blocks, (language, "\n".join(body))]


def _validator(schema: dict[str, Any]) -> Validator:
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"the schema is no JSON schema: {error.json_path}: {_cut(error.message)}") from None
    return kind(schema, registry=REGISTRY)


def _refuse(constant: str) -> Any:
    raise NotJson(f"not JSON: {constant} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise NotJson(f"not JSON that has one meaning: the key {_cut(twice)!r} is there twice")
    return found


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"

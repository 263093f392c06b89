"""JSON by construction: objects by a schema, ways in which models hand them over, and what is no such JSON."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "n": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "n"],
    "additionalProperties": False,
}
WORDS = ["Ann", "Bob", "Ürümqi", "two words", 'a "quote"', "line\nbreak", "```", "a\\b", "'''", "{}", "null", "答案"]
FRAMES = [
    "%",
    "\n  %\n",
    "\ufeff%",
    "```json\n%\n```",
    "```JSON\n%\n```",
    "```\n%\n```",
    "```json\n%```",
    "```json %```",
    "```json%\n```",
    "~~~json\n%\n~~~",
    "````json\n%\n````",
    "   ```json\n   %\n   ```",
    "```json\r\n%\r\n```",
    "```json\n%",
    "%\n```",
    "Sure! ```json\n%\n```",
    "Here it is:\n\n```json\n%\n```\nDone.",
    "1. ```json\n   %\n   ```",
    'Not this:\n```json\n{"name": 3}\n```\nbut\n```json\n%\n```',
    "```json\n%\n```\nRun it:\n```sh\nls\n```",
    "Some code:\n```python\nx = 1\n```\nThe answer:\n```json\n%\n```",
]
BROKEN = [
    "It is %",
    "% is it",
    "%%",
    "```json\n%\n%\n```",
    "% // done",
    "```json\n%\n```\n```json\n{\n```",
    "[%]",
    "```\n[%]\n```",
]


def value(rng: Random) -> dict[str, Any]:
    found: dict[str, Any] = {"name": rng.choice(WORDS), "n": rng.choice((0, 1, 7, 10**9))}
    if rng.random() < 0.5:
        found["tags"] = rng.sample(WORDS, rng.randint(0, 3))
    return found


def other(rng: Random) -> Any:
    """Returns what does not conform."""
    found = value(rng)
    return rng.choice(
        [
            {**found, "n": -1},
            {**found, "n": "7"},
            {**found, "n": 1.5},
            {**found, "n": None},
            {**found, "n": True},
            {**found, "name": ""},
            {**found, "name": [found["name"]]},
            {**found, "more": 1},
            {"name": found["name"]},
            [found],
            {},
            found["name"],
            {**found, "tags": "a"},
            {**found, "tags": [1]},
        ]
    )


def dump(rng: Random, of: Any) -> str:
    return json.dumps(of, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, None, 2)))


def pairs(rng: Random) -> Iterator[tuple[dict[str, Any], str, bool]]:
    """(schema, message, whether it conforms), without end."""
    while True:
        kind = rng.random()
        text = dump(rng, value(rng) if kind < 0.5 or kind > 0.8 else other(rng))
        frame = rng.choice(FRAMES)
        if kind > 0.8:
            if rng.random() < 0.5:
                frame = rng.choice(BROKEN)
            else:
                text = rng.choice([text.replace('"n":', "n:"), text[:-1], text[:-1] + ",}", text.replace('"', "'", 2)])
                text = text if text != "" else "{"
                frame = rng.choice([frame for frame in FRAMES if frame != "```json\n%"])
        yield SCHEMA, frame.replace("%", text), kind < 0.5

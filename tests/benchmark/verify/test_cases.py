"""Small inputs of the kinds that public bug reports are about, each with the reward that a careful person gives."""

import json
from typing import Any

import pytest

from assay.benchmark.verify.choice import choice
from assay.benchmark.verify.integer import integer
from assay.benchmark.verify.number import numeric
from assay.benchmark.verify.text import normalised
from assay.types import Message, Response, Text
from tests.benchmarks.data import DATA

CASES = DATA / "verifiers" / "cases.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in CASES.read_text().splitlines()] if CASES.is_file() else []
VERIFIERS = {
    "number": numeric,
    "integer": lambda response, gold: integer(response, int(gold)),
    "text": normalised,
    "choice": lambda response, gold: choice(response, gold["options"], gold["letter"]),
}


def named(row: dict[str, Any]) -> str:
    return f"{row['kind']}-{row['input']!r}"


@pytest.mark.skipif(not ROWS, reason=f"{CASES} is not on this machine")
@pytest.mark.parametrize("row", [row for row in ROWS if row["verifier"] in VERIFIERS], ids=named)
def test_a_reported_case_is_judged_rightly(row: dict[str, Any]):
    response = Response(output=[Message(role="assistant", content=[Text(text=row["input"])])])
    assert VERIFIERS[row["verifier"]](response, row["gold"]).reward == row["right"]

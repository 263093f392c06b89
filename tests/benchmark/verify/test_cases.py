"""Small inputs of the kinds that public bug reports are about, each with the reward that a careful person gives."""

import asyncio
import json
from typing import Any

import pytest

from assay.benchmark.verify import maths
from assay.benchmark.verify.choice import choice
from assay.benchmark.verify.code import LIMITS, check_code, code_in
from assay.benchmark.verify.integer import integer
from assay.benchmark.verify.judge import judge
from assay.benchmark.verify.number import numeric
from assay.benchmark.verify.schema import conforms
from assay.benchmark.verify.text import normalised
from assay.errors import ModelError, UsageError
from assay.model.builtin.function import FunctionModel
from assay.sandbox import check_sandbox
from assay.stats.atk import maj_at_k
from assay.types import Message, Response, Score, Text
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


def said(text: str) -> Response:
    return Response(output=[Message(role="assistant", content=[Text(text=text)])])


async def of_maths(text: str, gold: str) -> Score:
    return await maths.verify(gold, text)


async def of_judge(text: str, gold: str) -> Score:
    return (await judge(FunctionModel(lambda _: text), question="Q", reference="R", answer="A")).score()


async def of_json(text: str, gold: dict[str, Any]) -> Score:
    return conforms(said(text), gold)


async def of_code(text: str, gold: dict[str, str]) -> Score:
    try:
        await check_sandbox(LIMITS)
    except UsageError as error:
        pytest.skip(str(error))
    code = code_in(text, gold["entry_point"])
    checked = await check_code([[code]], entry_point=gold["entry_point"], tests=gold["tests"])
    return Score(reward=float(checked.passed))


WAITING = {"maths": of_maths, "judge": of_judge, "json": of_json, "code": of_code}


@pytest.mark.skipif(not ROWS, reason=f"{CASES} is not on this machine")
@pytest.mark.parametrize("row", [row for row in ROWS if row["verifier"] in WAITING], ids=named)
def test_a_reported_case_is_judged_rightly_by_what_waits(row: dict[str, Any]):
    if row["verifier"] == "maths":
        pytest.importorskip("math_verify", reason="the extra `maths` is not installed")
    rewards: list[object] = []
    try:
        rewards.append(asyncio.run(WAITING[row["verifier"]](row["input"], row["gold"])).reward)
    except ModelError:
        rewards.append("error")
    planted = row["kind"] == "judge-verdict-quoted-from-answer" and row["right"] == 0
    assert rewards[0] in ((0, "error") if planted else (row["right"],))


@pytest.mark.skipif(not ROWS, reason=f"{CASES} is not on this machine")
@pytest.mark.parametrize("row", [row for row in ROWS if row["kind"] == "maj-equal-answers"], ids=named)
def test_equal_answers_vote_together(row: dict[str, Any]):
    async def judged(text: str) -> Score:
        if row["input"]["verifier"] == "number":
            return numeric(said(text), row["gold"])
        pytest.importorskip("math_verify", reason="the extra `maths` is not installed")
        return await of_maths(text, row["gold"])

    async def all_judged() -> list[Score]:
        return [await judged(text) for text in row["input"]["attempts"]]

    scores = asyncio.run(all_judged())
    k = row["input"]["k"]
    found = maj_at_k([[score.answer for score in scores]], [[score.reward for score in scores]], [k])
    assert found[k] == row["right"]

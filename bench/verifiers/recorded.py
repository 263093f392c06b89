"""Where the verifiers differ from the original code over the recorded outputs of ZeroEval."""

import asyncio
import gzip
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from assay.benchmark import score_of
from assay.benchmark.catalog import load
from assay.benchmark.verify.maths import verify
from assay.benchmark.verify.number import numeric
from assay.types import Message, Response, Score, Task, Text


class Differences(Struct):
    """How one verifier compares with the original over the outputs of a benchmark."""

    judged: int = 0
    ours: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Right for our verifier alone: the model, and the row with our answer."""
    theirs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Right for the original alone."""


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the rows of a .jsonl.gz file."""
    with gzip.open(path, "rb") as lines:
        yield from map(json.loads, lines)


async def _number(gold: str, text: str) -> Score:
    return numeric(output_of(text), gold)


def _own(benchmark: str) -> Callable[[str, str], Coroutine[Any, Any, Score]]:
    """Returns the verifier of a benchmark, which reads the answer out of the whole text."""
    environment = load(benchmark).environment

    async def verify_text(gold: str, text: str) -> Score:
        return await score_of(environment, Task(id="0", input=[], gold=gold), output_of(text))

    return verify_text


async def _cruxeval_field(gold: str, text: str) -> Score:
    return await _own("cruxeval")(gold, json.dumps({"answer": text}))


def output_of(text: str) -> Response:
    """Returns a response that is this text."""
    return Response(output=[Message(role="assistant", content=[Text(text=text)])])


VERIFIERS: Mapping[str, Mapping[str, Callable[[str, str], Coroutine[Any, Any, Score]]]] = {
    "gsm": {"answer": _number, "output": _number},
    "math-l5": {"answer": verify, "output": _own("math-l5")},
    "crux": {"answer": _cruxeval_field, "output": _own("cruxeval")},
}
INPUTS = {"the answer field": "answer", "the whole text": "output"}


@cache
def differences(folder: Path, fed: str) -> Differences:
    """Returns where a benchmark's verifier differs from the original, fed this field of the recorded rows."""
    found = Differences()
    golds = {row["task"]: row["gold"] for row in rows(folder / "tasks.jsonl.gz")}
    for file in sorted(folder.glob("*.jsonl.gz")):
        if file.name == "tasks.jsonl.gz":
            continue
        for row in rows(file):
            gold = str(golds[row["task"]])
            score = asyncio.run(VERIFIERS[folder.name][fed](gold, str(row[fed] or "")))
            found.judged += 1
            if score.reward != row["score"]:
                side = found.ours if score.reward else found.theirs
                side.append((file.name.removesuffix(".jsonl.gz"), {**row, "gold": gold, "read": score.answer}))
    return found

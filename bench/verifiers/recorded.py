"""Where the verifiers differ from the original code over recorded outputs: `python -m bench recorded FOLDER`.

FOLDER is the `zeroeval` folder of recorded outputs: `gsm`, `math-l5` and `crux`, each with `tasks.jsonl.gz` and a file
a model.
"""

import argparse
import asyncio
import gzip
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from rich.console import Console
from rich.table import Table

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
    return numeric(_said(text), gold)


def _own(benchmark: str) -> Callable[[str, str], Coroutine[Any, Any, Score]]:
    """Returns the verifier of a benchmark, which reads the answer out of the whole text."""
    environment = load(benchmark).environment

    async def verify_text(gold: str, text: str) -> Score:
        return await environment.assess(Task(id="0", input=[], gold=gold), _said(text), {})

    return verify_text


async def _cruxeval_field(gold: str, text: str) -> Score:
    return await _own("cruxeval")(gold, json.dumps({"answer": text}))


def _said(text: str) -> Response:
    return Response(output=[Message(role="assistant", content=[Text(text=text)])])


VERIFIERS: Mapping[str, Mapping[str, Callable[[str, str], Coroutine[Any, Any, Score]]]] = {
    "gsm": {"answer": _number, "output": _number},
    "math-l5": {"answer": verify, "output": _own("math-l5")},
    "crux": {"answer": _cruxeval_field, "output": _own("cruxeval")},
}
FED = {"the answer field": "answer", "the whole text": "output"}


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


def main(arguments: list[str]) -> int:
    """Prints a table of the differences, and with `--all` each of them."""
    parser = argparse.ArgumentParser(prog="python -m bench recorded", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--all", action="store_true", help="print each difference")
    options = parser.parse_args(arguments)
    if missing := [name for name in VERIFIERS if not (options.folder / name / "tasks.jsonl.gz").is_file()]:
        parser.error(f"{options.folder} has no {', '.join(f'{name}/tasks.jsonl.gz' for name in missing)}")
    console = Console(highlight=False)
    table = Table(
        "outputs", "fed", "judged", "differ", "right for ours alone", "right for the original alone", box=None
    )
    for name in VERIFIERS:
        for what, fed in FED.items():
            found = differences(options.folder / name, fed)
            one, other = len(found.ours), len(found.theirs)
            table.add_row(name, what, f"{found.judged:,}", str(one + other), str(one), str(other))
            for side, cases in (("ours", found.ours), ("original", found.theirs)) if options.all else ():
                for model, row in cases:
                    line = f"right for {side}: {model} {row['task']}: gold {row['gold']!r}, read {row['read']!r}"
                    console.print(f"{name}, {what}, {line}: {str(row[fed])[-300:]!r}", markup=False, soft_wrap=True)
    console.print(table)
    return 0

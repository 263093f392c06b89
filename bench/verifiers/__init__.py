"""How often the verifiers are wrong: `python -m bench verifiers [NAME ...]`, over answers made by construction.

A module here makes the answers of one verifier: values, ways to write them, sentences around them, and look-alikes.
What is right follows from how an answer was made, and never from a verifier.
"""

import argparse
import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from random import Random
from typing import Any

from msgspec import Struct, field
from rich.console import Console
from rich.table import Table

from assay.benchmark.verify.choice import choice
from assay.benchmark.verify.integer import integer
from assay.benchmark.verify.maths import verify
from assay.benchmark.verify.number import numeric
from assay.benchmark.verify.schema import conforms
from assay.benchmark.verify.text import normalised
from assay.types import Message, Response, Score, Text
from bench.verifiers import choices, judges, maths, numbers, objects, solutions, texts

Pairs = Callable[[Random], Iterator[tuple[Any, str, bool]]]
"""Yields (gold answer, message, whether it is right), without end."""
Judge = Callable[[Any, str], Score | Awaitable[Score]]
"""The verifier's score of a message, by the gold answer."""


def response_of(text: str) -> Response:
    """Returns a response that is this text."""
    return Response(output=[Message(role="assistant", content=[Text(text=text)])])


VERIFIERS: dict[str, tuple[Pairs, Judge]] = {
    "number": (numbers.pairs, lambda gold, text: numeric(response_of(text), gold)),
    "integer": (numbers.integers, lambda gold, text: integer(response_of(text), gold)),
    "text": (texts.pairs, lambda gold, text: normalised(response_of(text), gold)),
    "choice": (choices.pairs, lambda gold, text: choice(response_of(text), gold["options"], gold["letter"])),
    "maths": (maths.pairs, verify),
    "json": (objects.pairs, lambda gold, text: conforms(response_of(text), gold)),
    "code": (solutions.pairs, solutions.verify),
    "judge": (judges.pairs, judges.verify),
}


class Errors(Struct):
    """What one verifier got wrong."""

    right: int = 0
    wrong: int = 0
    refused: list[tuple[Any, str]] = field(default_factory=list)
    """Right answers that scored less than 1: the gold answer and the message."""
    accepted: list[tuple[Any, str]] = field(default_factory=list)
    """Wrong answers that scored 1."""


async def errors(name: str, count: int, seed: int) -> Errors:
    """Returns what a verifier judges wrongly among `count` generated answers."""
    pairs, judge = VERIFIERS[name]
    found = Errors()
    for gold, text, right in islice(pairs(Random(seed)), count):
        score = judge(gold, text)
        reward = (await score if inspect.isawaitable(score) else score).reward
        found.right += right
        found.wrong += not right
        if right and reward < 1:
            found.refused.append((gold, text))
        if not right and reward >= 1:
            found.accepted.append((gold, text))
    return found


def main(arguments: list[str]) -> int:
    """Prints both error rates of each verifier, and what it got wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench verifiers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(VERIFIERS)} (default: all)")
    parser.add_argument("--count", type=int, default=20_000, help="made answers for each verifier (default 20,000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - VERIFIERS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(VERIFIERS)}")
    console = Console(highlight=False)
    table = Table("verifier", "right answers", "refused", "wrong answers", "accepted", box=None)
    for name in options.names or VERIFIERS:
        found = asyncio.run(errors(name, options.count, options.seed))
        for verdict, cases in (("refused", found.refused), ("accepted", found.accepted)):
            for gold, text in cases[:10]:
                console.print(f"{name} {verdict}: {text!r} for {gold!r}", markup=False)
        refused, accepted = (
            f"{len(cases)} ({len(cases) / max(1, of):.3%})"
            for cases, of in ((found.refused, found.right), (found.accepted, found.wrong))
        )
        table.add_row(name, f"{found.right:,}", refused, f"{found.wrong:,}", accepted)
    console.print(table)
    return 0

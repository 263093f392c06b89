"""Probes: wrong answers to a task, made from its reference solution, which a verifier should give no reward.

A kind of probe is named by the fault of a verifier that rewards it. A third of the random choices depends on a seed;
the rest is the same each time.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from assay.benchmark import Benchmark, Call
from assay.benchmark.answers import OFF_TOPIC
from assay.benchmark.reference import DONE
from assay.fidelity.probes.answers import form_alone, holds, letters_in, peel, same, wrong_answers
from assay.fidelity.probes.programs import mutants, program
from assay.types import Task

Steps = Sequence[Call | str]

BLIND = ("empty", "off topic", "the prompt", "format alone")
"""Kinds that need no solution. They can't be declared as known defects."""
FAULTS = {
    "empty": "an empty answer is rewarded",
    "off topic": "an answer about something else is rewarded",
    "the prompt": "the prompt is rewarded as an answer",
    "format alone": "the form of an answer is rewarded without an answer in it",
    "guess": "guesses score above the stated chance",
    "another task's answer": "the answer to another question is rewarded",
    "neighbouring number": "a neighbouring number is rewarded",
    "other sign": "the number of the other sign is rewarded",
    "a digit more": "a number that begins as the right one is rewarded",
    "other letter": "the letter of another option is rewarded",
    "one value changed": "an object with a wrong value is rewarded",
    "all values changed": "an object without a right value is rewarded",
    "denied": "the right answer is rewarded where it is denied",
    "both answers": "the right answer is rewarded beside a wrong one",
    "either or": "the right answer is rewarded where it is one of two",
    "all options": "naming all options is rewarded",
    "constant": "one answer to all tasks scores above the stated chance",
    "mutant": "a changed solution passes",
    "another result": "a solution that returns something else passes",
    "nothing done": "doing nothing is rewarded",
    "last step left out": "a solution without its last step is rewarded",
    "another task's solution": "the solution of another task is rewarded",
    "own": "an answer is rewarded that the benchmark calls wrong",
}
"""By kind of probe, the fault of a verifier that rewards it."""
BY_CHANCE = ("off topic", "the prompt", "guess", "all options", "constant")
"""Kinds that may be right by chance, because they don't depend on the task. They may score the stated chance."""
CONSTANTS = ("0", "1", "yes")
MANY, COSTLY = 400, 10
"""The number of tasks from which on each gets a third of the draws, in turn; and how many a task counts for that runs
code or calls a model."""
CLOSED = 10
"""The most different gold answers of a benchmark with a closed set of answers, each of at least three tasks on
average."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One wrong answer to one task."""

    kind: str
    steps: Steps

    @property
    def text(self) -> str:
        """The answer as a report shows it."""
        return " → ".join(step if isinstance(step, str) else _as_text(step) for step in self.steps)


class Prober:
    """Makes the probes of a benchmark's tasks."""

    def __init__(self, benchmark: Benchmark, tasks: Sequence[Task], seed: int) -> None:
        self._benchmark = benchmark
        self._seed = seed
        environment = benchmark.environment
        few = len(tasks) * (COSTLY if environment.sandbox or benchmark.roles else 1) < MANY
        self._draws = {task.id: (0, 1, 2) if few else (place % 3,) for place, task in enumerate(tasks)}
        found = ((task, environment.solution(task)) for task in tasks)
        self.solutions: dict[str, Steps] = {task.id: steps for task, steps in found if steps is not None}
        """The solutions by task id."""
        self._others = list(self.solutions.values())
        golds = [peel(steps[-1])[1] for steps in self._others if steps and isinstance(steps[-1], str)]
        closed = sorted(set(golds))
        self._closed = closed if 2 <= len(closed) <= CLOSED and 3 * len(closed) <= len(golds) else []

    def probes(self, task: Task) -> list[Probe]:
        """Returns the probes of a task, no two the same, in a fixed order for one seed."""
        found: dict[tuple[str, str], Probe] = {}
        for draw in self._draws[task.id]:
            rng = Random(f"{task.id}/{draw}" if draw < 2 else f"{task.id}/{self._seed}/seed")
            for kind, steps in (*self._blind(task, draw, rng), *self._from_solution(task, draw, rng)):
                probe = Probe(kind, steps)
                # A text that is right by chance is right in each form, so each task has it once.
                once = family(kind) in BY_CHANCE and kind != "guess"
                found.setdefault((kind, "" if once else probe.text), probe)
        for wrong in self._benchmark.environment.wrong(task):
            probe = Probe("own", [wrong] if isinstance(wrong, str) else wrong)
            found.setdefault(("own", probe.text), probe)
        return list(found.values())

    def _blind(self, task: Task, draw: int, rng: Random) -> Iterator[tuple[str, Steps]]:
        """Yields the probes that need no solution."""
        yield "empty", [""]
        yield "off topic", [OFF_TOPIC]
        yield "the prompt", [task.prompt]
        filler = ("", "…", OFF_TOPIC)[draw]
        steps = self.solutions.get(task.id)
        core = peel(steps[-1])[1] if steps and isinstance(steps[-1], str) else ""
        forms = [form for form in self._benchmark.formats if form != "{}"]
        empty = [_fill_form(rng.choice(forms), filler)] if forms else []
        if core:
            empty += form_alone(steps[-1] if steps and isinstance(steps[-1], str) else "", filler)
        for text in empty:
            if not holds(text, core) and not same(filler, core.strip("\"'")):
                yield "format alone", [text]
        if (guess := self._benchmark.environment.guess(task, rng)) is not None:
            yield "guess", [guess]

    def _from_solution(self, task: Task, draw: int, rng: Random) -> Iterator[tuple[str, Steps]]:
        """Yields the probes that are made from the task's solution."""
        steps = self.solutions.get(task.id)
        if not steps:
            return
        other = self._other(steps, rng)
        calls = [place for place, step in enumerate(steps) if isinstance(step, Call)]
        if calls or len(steps) > 1:
            last = calls[-1] if calls else len(steps) - 1
            yield "nothing done", [DONE]
            yield "last step left out", [*steps[:last], *steps[last + 1 :]]
            # With this solution's last step in it, as in a search, it may be right.
            if other and steps[last] not in other:
                yield "another task's solution", other
        gold = steps[-1]
        if not isinstance(gold, str) or (calls and task.gold is None):
            return
        form = rng.choice(self._benchmark.formats) if draw else "{}"
        their = other[-1] if other and isinstance(other[-1], str) else None
        for kind, text in self._answers(task, gold, their, rng):
            yield kind, [*steps[:-1], text if kind in _PROGRAMS else _fill_form(form, text)]

    def _answers(self, task: Task, gold: str, other: str | None, rng: Random) -> Iterator[tuple[str, str]]:
        if program(gold):
            yield from mutants(gold, rng)
            if other:
                yield "another task's solution", other
            return
        options = letters_in(task, gold) or self._closed
        yield from wrong_answers(gold, other, options, rng)
        before, _, after = peel(gold)
        for constant in options or CONSTANTS:
            yield f"constant {constant}", f"{before}{constant}{after}"

    def _other(self, steps: Steps, rng: Random) -> Steps | None:
        """Returns another task's solution; None if a few draws find none that differs."""
        drawn = (self._others[rng.randrange(len(self._others))] for _ in range(8))
        return next((other for other in drawn if other != steps), None)


_PROGRAMS = ("mutant", "another result", "another task's solution")


def family(kind: str) -> str:
    """Returns the kind without the part for the single probe: `constant` for `constant A`."""
    return "constant" if kind.startswith("constant ") else kind


def _fill_form(form: str, text: str) -> str:
    return form.format(text, json=json.dumps(text))


def _as_text(call: Call) -> str:
    return f"{call.name} {json.dumps(dict(call.arguments), ensure_ascii=False, default=str)}"

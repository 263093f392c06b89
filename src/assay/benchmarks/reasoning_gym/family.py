"""reasoning-gym/NAME: the procedural tasks of the library reasoning_gym, with its own scorers. A row of chain_sum:

id      chain_sum-00
asks    State the final answer to the following arithmetic problem: 4 + 3 =
gold    <answer>7</answer>
"""

import asyncio
import importlib.util
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from random import Random

import msgspec

from assay.benchmark import Benchmark, Defect, Environment
from assay.benchmarks.reasoning_gym.scorer import Dataset
from assay.errors import UnknownName, UsageError
from assay.types import Message, Response, Sampling, Score, Task

NAME = "reasoning-gym"
SEED, SIZE = 42, 50
WITHOUT = {"composite": "it is made of others, which have to be chosen"}
"""The data sets that are no benchmark, and why."""
CHANCE: dict[str, float] = msgspec.toml.decode(Path(__file__).with_name("chance.toml").read_bytes())
"""By data set: what somebody scores who did not read the task."""
REWARDED: dict[str, dict[str, str]] = msgspec.toml.decode(Path(__file__).with_name("defects.toml").read_bytes())
"""By data set: the kinds of wrong answers that get full marks, and how many did."""
ASK = """\
{question}

Think step by step. Then give the answer alone between tags, in the form that was asked for: <answer>...</answer>"""
ANSWER = re.compile(r"<answer>\s?(.*?)\s?</answer>", re.DOTALL)


class ReasoningGym(Environment):
    """One data set of the library's: 50 problems of seed 42, with its default settings."""

    def __init__(self, task: str) -> None:
        self._dataset = task
        self.name = f"{NAME}/{task}"
        self.version = f"{version('reasoning-gym')}-seed{SEED}-size{SIZE}-full"

    @cached_property
    def _data(self) -> Dataset:
        return Dataset(self._dataset, seed=SEED, size=SIZE)

    def tasks(self) -> Iterable[Task]:
        for index, problem in enumerate(self._data.problems):
            yield Task(
                id=f"{self._dataset}-{index:02}",
                input=[Message(role="user", content=ASK.format(question=problem.question))],
                gold=None if problem.answer is None else f"<answer>{problem.answer}</answer>",
                data={"index": index},
            )

    async def verify(self, task: Task, response: Response) -> Score:
        """1 where the library gives full marks to what stands in the last pair of tags, else 0.

        The library gives part of them to answers that are wrong, and to any text in the right form: its own score is
        the metric `library`.
        """
        found = ANSWER.findall(response.text)
        if not found:
            return Score(reward=0.0, metrics={"library": 0.0})
        answer = found[-1].strip()
        score = await asyncio.to_thread(self._data.score, task.data["index"], answer)
        return Score(reward=float(score >= 1), metrics={"library": score}, answer=answer)

    def guess(self, task: Task, rng: Random) -> str | None:
        """The answer of some other task."""
        others = [problem.answer for index, problem in enumerate(self._data.problems) if index != task.data["index"]]
        answer = rng.choice(others)
        return None if answer is None else f"<answer>{answer}</answer>"


def names() -> list[str]:
    """The library's data sets, where it is installed."""
    if importlib.util.find_spec("reasoning_gym") is None:
        return []
    factory = importlib.import_module("reasoning_gym.factory")
    return sorted(factory.DATASETS.keys() - WITHOUT.keys())


def load(task: str) -> Benchmark:
    """The benchmark of one data set. Raises UsageError where there is none, or where the library is not installed."""
    known = names()
    if not known:
        raise UsageError(f"{NAME}/{task} needs the library reasoning_gym.\n  pip install 'assay[reasoning-gym]'")
    if task in WITHOUT:
        raise UsageError(f"{NAME}/{task} is no benchmark: {WITHOUT[task]}")
    if task not in known:
        raise UnknownName(f"{NAME} task", task, known)
    return Benchmark(
        environment=ReasoningGym(task),
        repeats=4,
        sampling=Sampling(temperature=1.0, top_p=1.0),
        chance=CHANCE.get(task, 0.0),
        defects=(_defect(REWARDED[task]),) if task in REWARDED else (),
        formats=("{}", "It is 7, or rather:\n{}", "<answer>wrong</answer> No: {}"),
    )


def _defect(rewarded: Mapping[str, str]) -> Defect:
    listed = ", ".join(f"{kind} ({share})" for kind, share in rewarded.items())
    what = f"The library's scorer gives full marks to wrong answers of these kinds: {listed}."
    return Defect(what=what, why="The scorers are the library's, and are kept as they are.", probes=tuple(rewarded))

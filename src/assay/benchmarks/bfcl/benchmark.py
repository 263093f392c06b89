"""bfcl: the Berkeley Function Calling Leaderboard, judged by its own checker (Patil et al. 2025). A row:

id      parallel_0
asks    Play songs from the artists Taylor Swift and Maroon 5, with a play time of 20 minutes and 15 minutes
        respectively, on Spotify.
calls   spotify_play {"artist": "Taylor Swift", "duration": 20}, spotify_play {"artist": "Maroon 5", "duration": 15}
tags    category parallel, group non_live
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import chain

from assay.benchmark import Benchmark, Call, Defect, Environment, Session
from assay.benchmark.data import Source
from assay.benchmarks.bfcl.package import Package
from assay.benchmarks.bfcl.session import MOST_STEPS, Conversation
from assay.score import Mean
from assay.types import Message, RolloutLimits, Sampling, Task

WHEEL = Source(
    url="https://files.pythonhosted.org/packages/ba/41/ed458527c770c50225b60bae3b0c3444b26804ee455fa2d8f187018d2cb2/"
    "bfcl_eval-2026.3.23-py3-none-any.whl",
    sha256="3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a",
    size=1_925_664,
)
SHARES = {
    **dict.fromkeys(("simple_python", "simple_java", "simple_javascript"), 10 / 4 / 3),
    **dict.fromkeys(("multiple", "parallel", "parallel_multiple"), 10 / 4),
    **dict.fromkeys(("irrelevance", "live_irrelevance"), 10 / 2),
    **dict.fromkeys(
        ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context"), 30 / 4
    ),
}
"""By category, its percents of the leaderboard's overall score."""
LIVE = 10
"""Those of all tasks together that users sent in, each of which weighs the same."""
UNSOLVABLE = (
    "simple_java_36",
    "simple_java_65",
    "live_simple_106-63-0",
    "live_simple_112-68-0",
    "live_multiple_862-181-3",
    "live_multiple_964-207-0",
)
NONE_FITS = "None of these functions can do that."
"""What the reference says where no function is to be called, and at the end of a turn."""


class BFCL(Environment):
    """Functions to call, in one turn or in several. The calls count, or the state after each turn."""

    name = "bfcl"
    version = "1"

    def __init__(self) -> None:
        self._package = Package(self.name, WHEEL)

    def tasks(self) -> Iterable[Task]:
        rows = self._package.rows.values()
        sizes = Counter(row.category if row.category in SHARES else "live" for row in rows)
        for row in rows:
            held_back = {tool.name: int(turn) for turn, tools in row.added.items() for tool in tools}
            weight = SHARES[row.category] / sizes[row.category] if row.category in SHARES else LIVE / sizes["live"]
            yield Task(
                id=row.id,
                input=[Message(role=said.role, content=said.content) for said in row.turns[0]],
                tools=[*row.tools, *chain.from_iterable(row.added.values())],
                data={"turns": row.turns[1:], "held_back": held_back},
                tags={"category": row.category, "group": group(row.category), "weight": f"{weight:.9f}"},
            )

    def solution(self, task: Task) -> Sequence[Call | str] | None:
        if task.id in UNSOLVABLE:
            return None
        turns = [
            [Call(name, arguments, beside=bool(at)) for at, (name, arguments) in enumerate(calls)]
            for calls in self._package.rows[task.id].solution
        ]
        if len(turns) == 1:
            return turns[0] or [NONE_FITS]
        return [step for calls in turns for step in (*calls, NONE_FITS)]

    def open(self, task: Task, seed: int) -> AbstractAsyncContextManager[Session]:
        return nullcontext(Conversation(task, self._package))


def group(category: str) -> str:
    """Returns the group of the leaderboard that a category is part of."""
    if category.endswith("irrelevance"):
        return "irrelevance"
    return next((name for name in ("live", "multi_turn") if category.startswith(name)), "non_live")


BENCHMARK = Benchmark(
    environment=BFCL(),
    repeats=1,
    sampling=Sampling(temperature=0.001),
    limits=RolloutLimits(steps=8 * (MOST_STEPS + 1)),  # of eight turns, the most
    score=Mean(weight="weight"),
    chance=0.254,  # of never calling a function: right in 1,124 of 4,425 tasks, which weigh a sixth of the score
    data=(WHEEL,),
    defects=(
        Defect(
            what="Nobody can solve six tasks: their possible answers lack a required argument, or have a wrong one.",
            why="The leaderboard counts them, and so does its checker.",
            tasks=UNSOLVABLE,
        ),
        Defect(
            what="Some tasks stand in the set twice.",
            why="The leaderboard counts them twice.",
            probes=("duplicates",),
        ),
        Defect(
            what="The questions of two tasks are templates that nobody filled.",
            why="They are in the leaderboard's set.",
            tasks=("live_irrelevance_302-76-0", "live_irrelevance_368-81-29"),
            probes=("prompts",),
        ),
        Defect(
            what="Where no function fits, every message without a call is right, whatever it says.",
            why="That is what the leaderboard measures there.",
            probes=("constant", "another task's answer", "denied", "both answers", "either or"),
        ),
    ),
)

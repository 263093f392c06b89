"""A run's rollouts as arrays, from which every statistic and gate is computed."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from assay.config import Prices, convert
from assay.fidelity.results import columns
from assay.fidelity.results.columns import Cell, Totals
from assay.fidelity.results.independence import DRIFT, Independence, independence_of
from assay.fidelity.results.score import layout_of, sample_of
from assay.fidelity.schema.profile import TaskRow
from assay.input import BROKEN
from assay.score import Mean, ScoreRule
from assay.stats.sample import Layout, Sample
from assay.store import read_record, read_rollouts, read_tasks
from assay.types import FunctionCall, Item, Response, Rollout, Score, Task, Usage

See = Callable[[Rollout, Task], None]
RolePrices = Mapping[str | None, Prices | None]
"""By role; the measured model's prices are under None."""
SAMPLED = 64
"""The number of lines that are compared with cached columns."""


@dataclass(frozen=True)
class Results:
    """One run: T tasks in their order, K repeats."""

    tasks: list[Task]
    rewards_TK: NDArray[np.float64]
    """NaN if a rollout failed or was not made."""
    cells: list[Cell]
    """One for each (task, repeat) that was made: its score, else its last failure."""
    tokens: dict[str, int]
    wall_s: float
    prices: Prices | None = None
    roles_usd: float | None = 0.0
    """The cost of the models in roles; None if a price is unknown."""
    score: ScoreRule = field(default_factory=Mean)
    """The score that the benchmark declares."""

    @cached_property
    def layout(self) -> Layout:
        """How the tasks make up the score. Raises UsageError if a task lacks a tag of the score."""
        return layout_of(self.score, self.tasks)

    @cached_property
    def sample(self) -> Sample | None:
        """The score task by task; None if no task has enough scored repeats."""
        return sample_of(self.score, self.layout, self.rewards_TK, self.cells)

    @property
    def repeats(self) -> int:
        return self.rewards_TK.shape[1]

    @property
    def planned(self) -> int:
        """The number of planned rollouts: T x K."""
        return self.rewards_TK.size

    @property
    def owed(self) -> int:
        """The number of planned rollouts that were never made."""
        return self.planned - len(self.cells)

    @cached_property
    def scored(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.reward is not None]

    @cached_property
    def failed(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.reward is None]

    @cached_property
    def texts_KT(self) -> NDArray[np.int64]:
        """A number for each different text [K, T]; -1 without a score."""
        texts_KT = np.full((self.repeats, len(self.tasks)), -1)
        task_N, repeat_N, text_N = self._scored_columns
        texts_KT[repeat_N, task_N] = text_N
        return texts_KT

    @cached_property
    def independence(self) -> Independence:
        """Whether the repeats are independent of each other."""
        return self.independence_at(DRIFT)

    def independence_at(self, alpha: float) -> Independence:
        """Returns whether they are, by tests at `alpha`, which is smaller if several runs are tested."""
        if alpha not in self._independence:
            tokens_KT = self.figures_TK("output_tokens").T
            self._independence[alpha] = independence_of(self.rewards_TK, self.texts_KT, tokens_KT, alpha)
        return self._independence[alpha]

    @cached_property
    def _independence(self) -> dict[float, Independence]:
        """A cache by alpha, because several gates need the same."""
        return {}

    @cached_property
    def copies(self) -> list[list[Cell]]:
        """Groups of two or more scored rollouts of one task with the same text, by repeat."""
        task_N, repeat_N, text_N = self._scored_columns
        order_N = np.lexsort((repeat_N, text_N, task_N))
        task_N, text_N = task_N[order_N], text_N[order_N]
        same_N = (task_N[1:] == task_N[:-1]) & (text_N[1:] == text_N[:-1])
        begins = np.flatnonzero(np.concatenate([[True], ~same_N])) if len(order_N) else np.empty(0, dtype=np.int64)
        ends = np.append(begins[1:], len(order_N))
        several = ends - begins > 1
        ordered: list[int] = order_N.tolist()
        bounds: zip[tuple[int, int]] = zip(begins[several].tolist(), ends[several].tolist(), strict=True)
        groups = [[self.scored[place] for place in ordered[begin:end]] for begin, end in bounds]
        return sorted(groups, key=lambda cells: (cells[0].task, cells[0].repeat))

    @cached_property
    def _scored_columns(self) -> NDArray[np.int64]:
        """The task, the repeat and a number for the text of each scored rollout, [3, N]."""
        numbers = dict[int, int]()
        cells = [(cell.task, cell.repeat, numbers.setdefault(cell.text, len(numbers))) for cell in self.scored]
        return np.array(cells, np.int64).reshape(-1, 3).T

    @cached_property
    def cost_usd(self) -> float | None:
        """The cost of all rollouts, with failed ones; None if prices or tokens are unknown."""
        if self.prices is None or self.roles_usd is None or not any(self.tokens.values()):
            return None
        tokens = {f"{kind}_tokens": count for kind, count in self.tokens.items()}
        return self.prices.cost(Usage(**tokens)) + self.roles_usd

    def at(self, rows: Sequence[int]) -> Self:
        """Returns the results of some of the tasks, in the order of `rows`."""
        place = {row: index for index, row in enumerate(rows)}
        cells = [structs.replace(cell, task=place[cell.task]) for cell in self.cells if cell.task in place]
        tasks = [self.tasks[row] for row in rows]
        return replace(self, tasks=tasks, rewards_TK=self.rewards_TK[list(rows)], cells=cells)

    @cached_property
    def with_zeros(self) -> Self:
        """The results with every failure as a zero without an answer."""
        if not self.failed:
            return self
        rewards_TK = self.rewards_TK.copy()
        for cell in self.failed:
            rewards_TK[cell.task, cell.repeat] = 0.0
        cells = [structs.replace(cell, reward=0.0) if cell.reward is None else cell for cell in self.cells]
        return replace(self, rewards_TK=rewards_TK, cells=cells)

    @cached_property
    def reports_answers(self) -> bool:
        """Whether the verifier reports answers: it does not if it gives rewards and never an answer."""
        return any(c.answer is not None for c in self.scored) or not any(c.reward for c in self.scored)

    def figures_TK(self, metric: str) -> NDArray[np.float64]:
        """Returns a metric of each rollout [T, K], NaN if it has none.

        `score`, `cost`, `output_tokens`; or 1 and 0 for `failures`, `no_answer` and `token_cap`.
        """
        figures_TK = np.full(self.rewards_TK.shape, np.nan)
        figure: dict[str, Callable[[Cell], float | None]] = {
            "score": lambda cell: cell.reward,
            "cost": lambda cell: cell.cost_usd if self.cost_usd is not None else None,
            "output_tokens": lambda cell: cell.output_tokens,
            "failures": lambda cell: cell.reward is None,
            "no_answer": lambda cell: cell.answer is None if self.reports_answers else None,
            "token_cap": lambda cell: cell.stop == "token_cap",
        }
        for cell in self.cells if metric == "failures" else self.scored:
            value = figure[metric](cell)
            figures_TK[cell.task, cell.repeat] = np.nan if value is None else value
        return figures_TK

    @property
    def grouped_by(self) -> tuple[str, ...]:
        """The tags that group the tasks: those of the score, else `category` if tasks have it."""
        return self.score.by or (("category",) if any("category" in task.tags for task in self.tasks) else ())

    def groups(self) -> list[str]:
        """Returns the outermost group of each task, empty if it has none."""
        by = self.grouped_by[:1]
        return [task.tags.get(by[0], "") if by else "" for task in self.tasks]

    def table(self) -> list[TaskRow]:
        """Returns one row for each task, with its rewards and output tokens by repeat."""
        rewards: list[list[float | None]] = [[None] * self.repeats for _ in self.tasks]
        tokens: list[list[int | None]] = [[None] * self.repeats for _ in self.tasks]
        for cell in self.scored:
            rewards[cell.task][cell.repeat] = cell.reward
            tokens[cell.task][cell.repeat] = cell.output_tokens
        return [
            TaskRow(task=task.id, category=group, rewards=rewards[i], output_tokens=tokens[i])
            for i, (task, group) in enumerate(zip(self.tasks, self.groups(), strict=True))
        ]


def read(folder: Path, repeats: int | None = None, *, cached: bool = True, see: See | None = None) -> Results:
    """Returns the results of a run directory, of `repeats` repeats; by default of those planned or made.

    `cached` says whether cached columns are used and written. `see` is called with each rollout that counts so far, and
    its task: failures, and the first score of each (task, repeat).
    Raises InputError if a file is damaged.
    """
    record, tasks = read_record(folder), read_tasks(folder)
    own = _prices(record.server, folder)
    prices = {None: own} | {role: _prices(used.server, folder) for role, used in record.roles.items()}
    table = columns.load(folder) if cached and see is None else None
    if table is None or not _is_true(table[0], folder, tasks, prices):
        made_of = columns.stamp(folder)
        table = _cells_of(tasks, read_rollouts(folder, tasks), prices, see)
        if cached:
            columns.keep(folder, *table, made_of)
    cells, totals = table
    rewards_TK = _rewards(cells, tasks, repeats or record.repeats)
    return Results(tasks, rewards_TK, cells, totals.tokens, totals.wall_s, own, totals.roles_usd, record.score)


def of_rollouts(tasks: Sequence[Task], rollouts: Iterable[Rollout], see: See | None = None) -> Results:
    """Returns the results of rollouts in memory, without prices."""
    cells, totals = _cells_of(tasks, rollouts, {None: None}, see)
    return Results(list(tasks), _rewards(cells, tasks, 1), cells, totals.tokens, totals.wall_s)


def _cells_of(
    tasks: Sequence[Task], rollouts: Iterable[Rollout], prices: RolePrices, see: See | None
) -> tuple[list[Cell], Totals]:
    """Returns a cell for each (task, repeat): its first score, else its last failure. And sums over all rollouts."""
    index = {task.id: number for number, task in enumerate(tasks)}
    counted: dict[tuple[str, int], Cell] = {}
    tokens = {"input": 0, "cached": 0, "output": 0, "reasoning": 0}
    wall_s, thought, roles_usd = 0.0, False, 0.0
    for rollout in rollouts:
        wall_s += rollout.wall_s
        roles_usd = _with_roles(roles_usd, rollout, prices)
        for turn in rollout.turns:
            usage = turn.response.usage
            tokens["input"] += usage.input_tokens
            tokens["cached"] += usage.cached_tokens
            tokens["output"] += usage.output_tokens
            tokens["reasoning"] += usage.reasoning_tokens
            thought = thought or bool(turn.response.reasoning)
        earlier = counted.get(rollout.key)
        if earlier is None or earlier.reward is None:
            place = index[rollout.task]
            counted[rollout.key] = _cell(rollout, place, prices)
            if see:
                see(rollout, tasks[place])
    if thought and not tokens["reasoning"]:
        del tokens["reasoning"]  # the server does not count it
    return list(counted.values()), Totals(tokens, round(wall_s, 6), roles_usd)


def _is_true(cells: Sequence[Cell], folder: Path, tasks: Sequence[Task], prices: RolePrices) -> bool:
    """Returns whether cached cells agree with some random lines: 64 lines find 2 % of forged cells with 73 %."""
    index = {task.id: number for number, task in enumerate(tasks)}
    try:
        rollouts = [msgspec.json.decode(line, type=Rollout) for line in columns.draw_lines(folder, SAMPLED)]
    except BROKEN:
        return False  # then every line is read, which shows the damaged one
    drawn = {(index.get(rollout.task, -1), rollout.repeat) for rollout in rollouts}
    kept = {key: cell for cell in cells if (key := (cell.task, cell.repeat)) in drawn}
    if drawn != kept.keys():
        return False
    scored = [rollout for rollout in rollouts if isinstance(rollout.outcome, Score)]
    made = [_cell(rollout, index[rollout.task], prices) for rollout in scored]
    return all(kept[cell.task, cell.repeat] == cell for cell in made)


def _rewards(cells: Sequence[Cell], tasks: Sequence[Task], repeats: int) -> NDArray[np.float64]:
    """Returns the rewards by task and repeat [T, K], of the repeats planned or made."""
    made = 1 + max((cell.repeat for cell in cells), default=-1)
    rewards_TK = np.full((len(tasks), max(made, repeats)), np.nan)
    for cell in cells:
        if cell.reward is not None:
            rewards_TK[cell.task, cell.repeat] = cell.reward
    return rewards_TK


def _prices(server: dict[str, Any], folder: Path) -> Prices | None:
    prices = server.get("prices")
    return convert(prices, Prices, folder / "run.json") if prices else None


def _with_roles(usd: float | None, rollout: Rollout, prices: RolePrices) -> float | None:
    """Returns the cost with that of the rollout's models in roles; None if a price of theirs is unknown."""
    if usd is None:
        return None
    for role, turns in rollout.roles.items():
        for usage in (turn.response.usage for turn in turns):
            price = prices.get(role)
            if price is None and (usage.input_tokens or usage.output_tokens):
                return None
            usd += price.cost(usage) if price else 0.0
    return usd


def _cell(rollout: Rollout, task: int, prices: RolePrices) -> Cell:
    own, score = prices[None], rollout.outcome if isinstance(rollout.outcome, Score) else None
    own_usd = sum(own.cost(turn.response.usage) for turn in rollout.turns) if own else None
    return Cell(
        task=task,
        repeat=rollout.repeat,
        reward=score.reward if score else None,
        answer=score.answer if score else None,
        stop=rollout.stop,
        output_tokens=sum(turn.response.usage.output_tokens for turn in rollout.turns),
        text=text_digest(turn.response for turn in rollout.turns),
        cost_usd=_with_roles(own_usd, rollout, prices),
        undecided=score.metrics.get("undecided", 0.0) if score else 0.0,
    )


def text_digest(responses: Iterable[Response]) -> int:
    """Returns the digest of all that a model wrote in its turns, with reasoning and calls, below 2^64."""
    pieces = [_text_of_item(item) for response in responses for item in response.output]
    written = pieces[0] if len(pieces) == 1 else "\0".join(pieces)
    return int.from_bytes(hashlib.blake2b(written.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _text_of_item(item: Item) -> str:
    """Returns the model's text in an item, without ids, which differ between copies."""
    return f"{item.name} {item.arguments}" if isinstance(item, FunctionCall) else item.text

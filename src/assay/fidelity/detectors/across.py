"""The detectors that look at all rollouts of a run together, by their light columns alone."""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np

from assay.fidelity.detectors.answers import options_of
from assay.fidelity.results.repeats import independence
from assay.fidelity.results.results import Cell, Results
from assay.fidelity.schema.evidence import Fault

LONG = 256
"""Two independent outputs of so many tokens are not the same by chance: that took 99 % certainty of each token."""
FEWEST_TASKS = 20
"""Below so many tasks, no tendency is told from chance."""
FAR = 4.0
"""Standard errors from which on a tendency is told: below 1 in 10,000 by chance."""
LEAST_EXCESS = 0.10
"""How much more often than by chance a letter has to be chosen."""
LEAST_CORRELATION = 0.3

Shown = tuple[int, int, str]
"""(task's index, repeat, evidence)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in a run."""

    shown: list[Shown]
    of: int
    what: str
    """What was seen, after "12 of 960 rollouts"."""


@dataclass(frozen=True, slots=True)
class SetDetector:
    """One thing to look for in a run as a whole."""

    name: str
    suspect: Fault
    meaning: str
    """What it may mean, and what to do."""
    look: Callable[[Results], Seen | None]


def identical_repeats(results: Results) -> Seen | None:
    """Outputs of one task that are the same to the letter, where chance does not make them so."""
    copies: dict[tuple[int, int], str] = {}
    for cells in _same_text(results):
        for cell in cells[1:]:
            if cell.output_tokens >= LONG:
                copies[cell.task, cell.repeat] = f"{cell.output_tokens:,} tokens, the same as repeat {cells[0].repeat}"
    found = independence(results)
    if found.copied or (found.identical and found.verdict == "dependent"):
        source = {b: a for a, b in reversed(found.copied)} or dict.fromkeys(range(1, results.repeats), 0)
        for cell in results.scored:
            if cell.repeat in source:
                said = f"repeat {cell.repeat} has the texts of repeat {source[cell.repeat]} on every task"
                copies.setdefault((cell.task, cell.repeat), said)
    shown = [(task, repeat, said) for (task, repeat), said in sorted(copies.items())]
    return Seen(shown, len(results.scored), "have the text of an earlier repeat, to the letter") if shown else None


def rewarded_differently(results: Results) -> Seen | None:
    """The same text of a task with different rewards, where no tool's answer may explain it."""
    shown: list[Shown] = []
    for cells in _same_text(results):
        rewards = {cell.reward for cell in cells}
        if len(rewards) > 1 and not results.tasks[cells[0].task].tools:
            told = " and ".join(f"{reward:g}" for reward in sorted(reward for reward in rewards if reward is not None))
            shown += [(cell.task, cell.repeat, f"reward {cell.reward:g}; this text got {told}") for cell in cells]
    return Seen(shown, len(results.scored), "have a text that got other rewards, too") if shown else None


def length_rewarded(results: Results) -> Seen | None:
    """Rewards that go with length, among the repeats of the same task. Capped outputs are left out."""
    by_task: defaultdict[int, list[Cell]] = defaultdict(list)
    for cell in results.scored:
        if cell.output_tokens and cell.stop != "token_cap":
            by_task[cell.task].append(cell)
    pieces: list[tuple[float, float, float]] = []
    places: list[tuple[float, Cell]] = []
    for cells in by_task.values():
        lengths = np.log([cell.output_tokens for cell in cells])
        rewards = np.array([cell.reward for cell in cells], dtype=np.float64)
        x, y = lengths - lengths.mean(), rewards - rewards.mean()
        if x.any() and y.any():
            pieces.append((float(x @ y), float(x @ x), float(y @ y)))
            places += zip((x * y).tolist(), cells, strict=True)
    if len(pieces) < FEWEST_TASKS:
        return None
    products, xx, yy = np.array(pieces).T
    correlation = float(products.sum() / math.sqrt(xx.sum() * yy.sum()))
    z = _z(products)
    if abs(correlation) < LEAST_CORRELATION or abs(z) < FAR:
        return None
    sign = math.copysign(1, correlation)
    telling = sorted(((sign * product, cell) for product, cell in places), key=lambda pair: -pair[0])
    shown = [
        (c.task, c.repeat, f"{c.output_tokens:,} tokens, reward {c.reward:g}") for product, c in telling if product > 0
    ]
    way = "longer outputs of a task score higher" if sign > 0 else "longer outputs of a task score lower"
    what = f"fit the rule that {way} (r = {correlation:+.2f} within {len(pieces)} tasks, z = {z:+.1f})"
    return Seen(shown, len(places), what)


def option_letters(results: Results) -> Seen | None:
    """A letter that wrong answers choose more often than by chance, wherever the right option stands."""
    wrong = _wrong_letters(results)
    excess: dict[str, tuple[float, float]] = {}
    for letter in sorted({letter for _, options, _, _ in wrong for letter in ascii_uppercase[: len(options)]}):
        tasks = [
            sum(cell.answer == letter for cell in cells) / len(cells) - 1 / (len(options) - 1)
            for _, options, gold, cells in wrong
            if letter != gold and letter in ascii_uppercase[: len(options)]
        ]
        if len(tasks) >= FEWEST_TASKS:
            excess[letter] = float(np.mean(tasks)), _z(np.array(tasks))
    letter, (mean, z) = max(excess.items(), key=lambda item: item[1][1], default=("", (0.0, 0.0)))
    if z < FAR or mean < LEAST_EXCESS:
        return None
    cells = [(cell, gold) for _, _, gold, cells in wrong for cell in cells]
    shown = [(c.task, c.repeat, f"answered {letter}, gold {gold}") for c, gold in cells if c.answer == letter]
    what = f"with a wrong option chose {letter}: {mean:.0%} more of them than by chance (z = {z:.1f})"
    return Seen(shown, len(cells), what)


def published_letters(results: Results) -> Seen | None:
    """Wrong answers with the letter that the right option has in the data's file, where options are shuffled."""
    wrong = [
        (published, options, cells)
        for index, options, gold, cells in _wrong_letters(results)
        if (published := _published(results, index, gold)) is not None and published != gold
    ]
    if len(wrong) < FEWEST_TASKS or len({published for published, _, _ in wrong}) < 2:
        return None  # where it is the same letter for all, a leaning towards that letter would look alike
    excess = np.array(
        [
            sum(c.answer == letter for c in cells) / len(cells) - 1 / (len(options) - 1)
            for letter, options, cells in wrong
        ]
    )
    z = _z(excess)
    if z < FAR or excess.mean() < LEAST_EXCESS:
        return None
    shown = [
        (c.task, c.repeat, f"answered {letter}, where the file has the right option")
        for letter, _, cells in wrong
        for c in cells
        if c.answer == letter
    ]
    share = f"{excess.mean():+.0%} against chance, z = {z:.1f}"
    what = f"with a wrong option chose the file's letter of the right one ({share})"
    return Seen(shown, sum(len(cells) for _, _, cells in wrong), what)


def rows_missing(results: Results) -> Seen | None:
    """Planned rollouts that were never tried."""
    if not results.owed:
        return None
    tried_TK = np.zeros(results.rewards_TK.shape, dtype=bool)
    for cell in results.cells:
        tried_TK[cell.task, cell.repeat] = True
    missing = [(int(task), int(repeat), "never tried") for task, repeat in np.argwhere(~tried_TK)]
    return Seen(missing, results.planned, "were planned and never tried")


ACROSS = (
    SetDetector(
        "identical repeats",
        "infrastructure",
        "A cache or a fixed seed answers, or decoding is greedy: such repeats are no repeats, and the score looks "
        "steadier than it is.",
        identical_repeats,
    ),
    SetDetector(
        "same text, other reward",
        "verifier",
        "A verifier is a function of what it reads: look for a judge that samples, for randomness, for state.",
        rewarded_differently,
    ),
    SetDetector(
        "reward against length",
        "unclear",
        "Where longer is better, a judge may be taken in by length; where it is worse, the model may lose its way, or "
        "a limit cut it off unseen. Read the longest and the shortest.",
        length_rewarded,
    ),
    SetDetector(
        "option letters",
        "model",
        "A model that guesses leans to a letter: with the options shuffled the score is fair, in the file's order it "
        "may not be.",
        option_letters,
    ),
    SetDetector(
        "published letters",
        "task",
        "The model seems to know the file and not the answers: its score may rest on memory. Compare with fresh tasks.",
        published_letters,
    ),
    SetDetector(
        "rows missing",
        "infrastructure",
        "The run was interrupted or stopped early: give the same command again, and read no score before.",
        rows_missing,
    ),
)

Wrong = tuple[int, list[str], str, list[Cell]]
"""(task's index, options, gold letter, wrong answers that are an option's letter)."""


def _same_text(results: Results) -> list[list[Cell]]:
    """Scored rollouts of one task with one text, by repeat."""
    groups: defaultdict[tuple[int, int], list[Cell]] = defaultdict(list)
    for cell in sorted(results.scored, key=lambda cell: (cell.task, cell.repeat)):
        groups[cell.task, cell.text].append(cell)
    return [cells for cells in groups.values() if len(cells) > 1]


def _wrong_letters(results: Results) -> list[Wrong]:
    cells = sorted(results.scored, key=lambda cell: (cell.task, cell.repeat))
    found: list[Wrong] = []
    for index, group in itertools.groupby(cells, key=lambda cell: cell.task):
        options, gold = options_of(results.tasks[index]), results.tasks[index].gold or ""
        if options is None or len(options) < 3:
            continue
        letters = ascii_uppercase[: len(options)]
        wrong = [c for c in group if c.answer and len(c.answer) == 1 and c.answer in letters and c.answer != gold]
        if wrong:
            found.append((index, options, gold, wrong))
    return found


def _published(results: Results, index: int, gold: str) -> str | None:
    """The letter of the right option in the file's order, where the task's data has an `order`."""
    order = results.tasks[index].data.get("order")
    place = ascii_uppercase.index(gold)
    if not isinstance(order, list) or len(order) <= place or not isinstance(order[place], int):  # pyright: ignore[reportUnknownArgumentType]
        return None
    return ascii_uppercase[order[place]]


def _z(values: Iterable[float]) -> float:
    """How many standard errors the mean is from 0, the values being independent."""
    array = np.asarray(values, dtype=np.float64)
    spread = math.sqrt(float((array**2).sum()))
    return float(array.sum()) / spread if spread else 0.0

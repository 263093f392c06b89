"""What verifiers and detectors make of recorded outputs: `python -m bench recorded FOLDER`.

FOLDER has `zeroeval` (`gsm`, `math-l5` and `crux`), `ifeval`, `mmlu-pro`, `humaneval` and `tau-airline`, most with
`tasks.jsonl.gz` and a file a model. The tables are Markdown, as docs/real-data.md has them.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from assay.types import Rollout, Score, Task
from bench.verifiers.alarms import Alarms, alarms, authors
from bench.verifiers.recorded import INPUTS, VERIFIERS, differences
from studies.__main__ import COLUMNS
from studies.detectors import Author, recall_rows
from studies.real_data import print_table

WHOLE = ("gsm", "math-l5")
"""The benchmarks in whose outputs failures are planted: their gold answers are numbers."""


def main(arguments: list[str]) -> int:
    """Prints the tables, and with `--all` each difference and each alarm."""
    parser = argparse.ArgumentParser(prog="python -m bench recorded", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--all", action="store_true", help="print each difference and each alarm")
    options = parser.parse_args(arguments)
    if missing := [name for name in VERIFIERS if not (options.folder / "zeroeval" / name / "tasks.jsonl.gz").is_file()]:
        parser.error(f"{options.folder} has no {', '.join(f'zeroeval/{name}/tasks.jsonl.gz' for name in missing)}")
    print_table(
        ("outputs", "fed", "judged", "differ", "right for ours alone", "right for the original alone"),
        _differences(options.folder / "zeroeval", every=options.all),
    )
    recorded = dict(authors(options.folder))
    found = {name: alarms(author) for name, author in recorded.items()}
    print_table(
        ("detector", "named", "false", "false per 1,000", "named in"), _alarms(recorded, found, every=options.all)
    )
    print_table(COLUMNS, (row.cells() for row in recall_rows(numbers(recorded[name] for name in WHOLE))))
    return 0


def numbers(recorded: Iterable[Author]) -> Author:
    """Returns the outputs of several benchmarks as one: those in which the original read an answer.

    Tasks whose gold answer is no whole number are left out.
    """
    tasks: list[Task] = []
    rollouts: defaultdict[str, list[Rollout]] = defaultdict(list)
    disputed: set[tuple[str, str, int]] = set()
    for author in recorded:
        whole = {task.id for task in author.tasks if (task.gold or "").lstrip("-").isdecimal()}
        tasks += [task for task in author.tasks if task.id in whole]
        disputed |= author.disputed
        for model, attempts in author.rollouts.items():
            rollouts[model] += [one for one in attempts if one.task in whole and _read_answer(one)]
    return Author(tasks, dict(rollouts), frozenset(disputed))


def _read_answer(rollout: Rollout) -> bool:
    return isinstance(rollout.outcome, Score) and rollout.outcome.answer is not None


def _differences(folder: Path, *, every: bool) -> Iterator[tuple[str, ...]]:
    for name in VERIFIERS:
        for what, fed in INPUTS.items():
            found = differences(folder / name, fed)
            one, other = len(found.ours), len(found.theirs)
            yield name, what, f"{found.judged:,}", str(one + other), str(one), str(other)
            for side, cases in (("ours", found.ours), ("original", found.theirs)) if every else ():
                for model, row in cases:
                    line = f"right for {side}: {model} {row['task']}: gold {row['gold']!r}, read {row['read']!r}"
                    print(f"{name}, {what}, {line}: {str(row[fed])[-300:]!r}")


def _alarms(
    recorded: dict[str, Author], found: dict[str, dict[str, Alarms]], *, every: bool
) -> Iterator[tuple[str, ...]]:
    outputs = sum(len(rollouts) for author in recorded.values() for rollouts in author.rollouts.values())
    for detector in next(iter(found.values())):
        here = {name: alarms[detector] for name, alarms in found.items() if alarms[detector].named}
        named, false = sum(len(one.named) for one in here.values()), sum(one.false for one in here.values())
        where = ", ".join(f"{name} {len(one.named):,}" for name, one in here.items())
        yield detector, f"{named:,}", f"{false:,}", f"{1000 * false / outputs:.2f}", where
        for name, one in here.items() if every else ():
            for key, evidence in one.named:
                print(f"{detector}: {name} {' '.join(map(str, key))}: {evidence}")
    yield "outputs", f"{outputs:,}", "", "", ""

"""`python -m studies [NAME ...]`: run the simulations and write their tables into docs/statistics.md.

The same tables each time: every simulation has a seed of its own. `--quick` makes a twentieth of the trials and prints.
"""

import argparse
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from studies import (
    agreement,
    attempts,
    audits,
    detectors,
    gate_detection,
    gates,
    independence,
    intervals,
    parity,
    pooled,
    published,
    reading,
    repeats,
    shifts,
    training,
)
from studies.row import Row

PAGE = Path(__file__).parent.parent / "docs/statistics.md"
COLUMNS = ("simulated", "claim", "measured", "trials", "holds")
TRIALS, QUICK = 1000, 50

Study = Callable[[int], Iterator[Row]]
STUDIES: dict[str, Study] = {
    study.__name__.replace("_", "-"): study
    for study in (
        intervals.intervals,
        intervals.differences,
        independence.run_effects,
        independence.siblings,
        repeats.repeats_asked_for,
        repeats.stopping,
        repeats.allocation,
        parity.parity,
        parity.parity_by_repeats,
        parity.one_verifier_for_another,
        published.granularity,
        published.reproductions,
        pooled.pooled,
        gates.order,
        gates.in_range,
        gates.many_tests,
        gate_detection.gate_detection,
        attempts.attempts,
        shifts.shifts,
        agreement.agreement,
        audits.audits,
        reading.reading,
        detectors.detectors,
        training.alarms,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STUDIES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} trials instead of {TRIALS:,}; the page is left")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - STUDIES.keys()
    if unknown:
        parser.error(f"there is no study {', '.join(sorted(unknown))}; there are {', '.join(STUDIES)}")
    console = Console()
    for name, rows in measure_all(arguments.names or STUDIES, QUICK if arguments.quick else TRIALS):
        console.print(as_text(name, rows))
        if not arguments.quick:
            page = with_table(PAGE.read_text(encoding="utf-8"), name, rows)
            PAGE.write_text(page, encoding="utf-8")


def measure_all(names: Iterable[str], trials: int) -> Iterator[tuple[str, list[Row]]]:
    """Each study's rows, in the order of `names`; as many at a time as there are cores."""
    names = list(names)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from zip(names, pool.map(_measure, names, [trials] * len(names)), strict=True)


def with_table(page: str, name: str, rows: list[Row]) -> str:
    """Returns the page with this study's table in its place. Raises ValueError where the page has no place for it."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells() for row in rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    place = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    page, found = place.subn(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", page)
    if found != 1:
        raise ValueError(f"docs/statistics.md has {found} places for {name}; expected 1, from `<!-- table: {name} -->`")
    return page


def as_text(name: str, rows: list[Row]) -> Table:
    table = Table(*COLUMNS, title=name, title_justify="left", box=None)
    for row in rows:
        table.add_row(*row.cells())
    return table


def _measure(name: str, trials: int) -> list[Row]:
    return list(STUDIES[name](trials))


if __name__ == "__main__":
    main()

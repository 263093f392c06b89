"""`python -m chaos [NAME ...]`: faults at random, and whether anything was lost, invented or left behind.

A round is a seed, a scenario and a number: the same three draw the same, though not at the same moments. Ends with exit
code 1 at the first that breaks, and says which. `python -m chaos soak` makes hundreds of thousands of rollouts and
watches memory and handles.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chaos import soak
from chaos.checks import Broken
from chaos.machine import adopt
from chaos.rounds import Round
from chaos.scenarios import SCENARIOS

console = Console()


@dataclass
class Line:
    """The counts of one scenario."""

    rounds: int = 0
    rollouts: int = 0
    faults: int = 0
    peak_mib: float = 0.0
    skipped: str = ""

    def add(self, round: Round) -> None:
        self.rounds += 1
        self.rollouts += round.rollouts
        self.faults += round.faults
        self.peak_mib = max(self.peak_mib, round.peak_mib)
        self.skipped = round.skipped


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"soak, or of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument("--minutes", type=float, default=3.0, help="go on for so long, each at least once (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default 0)")
    parser.add_argument("--round", type=int, default=0, help="the first round's number (default 0)")
    parser.add_argument("--rollouts", type=int, default=500_000, help="of the soak (default 500,000)")
    arguments = parser.parse_args()
    if arguments.names == ["soak"]:
        sys.exit(soak.main(arguments.rollouts))
    if unknown := set(arguments.names) - SCENARIOS.keys():
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    adopt()
    lines: dict[str, Line] = {}
    broken = ""
    deadline = time.monotonic() + 60 * arguments.minutes
    for name, number in rounds(arguments.names or list(SCENARIOS), arguments.round):
        if number > arguments.round and time.monotonic() > deadline:
            break
        line = lines.setdefault(name, Line())
        try:
            line.add(play(name, arguments.seed, number))
        except Broken as error:
            again = f"python -m chaos {name} --seed {arguments.seed} --round {number} --minutes 0"
            broken = f"{name} broke: {error}\n  again: {again}"
            break
    console.print(table(lines, broken.split(" ")[0]))
    if broken:
        console.print(broken, style="red", markup=False)
        sys.exit(1)


def rounds(names: Sequence[str], first: int) -> Iterator[tuple[str, int]]:
    """Yields all scenarios in turn, without end, each with the number of its round."""
    while True:
        for name in names:
            yield name, first
        first += 1


def play(name: str, seed: int, number: int, *, quick: bool = False) -> Round:
    """Returns one round of a scenario. Raises Broken."""
    with tempfile.TemporaryDirectory(prefix=f"chaos-{name}-") as folder:
        round = Round(f"{seed}/{name}/{number}", Path(folder), quick)
        SCENARIOS[name](round)
        return round


def table(lines: dict[str, Line], broken: str) -> Table:
    shown = Table("scenario", "rounds", "rollouts", "faults", "peak MiB", "invariants", box=None)
    for name, line in lines.items():
        held = "BROKEN" if name == broken else f"skipped: {escape(line.skipped)}" if line.skipped else "held"
        figures = (line.rounds, line.rollouts, line.faults, round(line.peak_mib))
        shown.add_row(name, *(f"{figure:,}" for figure in figures), held)
    return shown


if __name__ == "__main__":
    main()

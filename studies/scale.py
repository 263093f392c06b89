"""A million rollouts on 64 nodes: `python -m studies.scale` simulates the hand-out, for the table of docs/scale.md.

Discrete events on the ledger that the head uses. Rollouts take their time, batches go to the head, which takes in one
after another; nodes die and are slow. What a step costs was measured by `python -m bench.cluster`.
"""

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from assay.collect.ledger import Ledger
from assay.collect.rollouts import BATCH_BYTES, BEAT_S, ENOUGH, GATHER_S

PAGE = Path(__file__).parent.parent / "docs/scale.md"
MESSAGE_S = 500e-6
"""What a message costs the head, beside what is in it."""
ROLLOUT_S = 6e-6
"""What a finished rollout costs the head, and each byte of it: 200 MB/s."""
BYTE_S = 1 / 200e6
TRIP_S = 2e-3
"""To an actor and back, over a network."""
NOTICED_S = 15.0
"""Until a node that is gone counts as dead."""
REPLACED_S = 60.0
"""Until another actor is at work in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is asked of a cluster, and what happens to it."""

    name: str
    count: int = 1_000_000
    actors: int = 64
    in_flight: int = 500
    """Of each actor."""
    mean_s: float = 30.0
    """Of a rollout's length, which is log-normal: one of a hundred takes 5.6 times as long as half of them do."""
    spread: float = 0.74
    """Standard deviation of its logarithm."""
    longest: float = 8.0
    """Times the mean; a token cap ends what would take longer."""
    size: int = 12_000
    """Bytes of a rollout's line."""
    rate: float = 4000.0
    """Rollouts a second that an actor can make at most."""
    deaths: int = 0
    """Nodes that die, at moments spread over the run."""
    slow: int = 0
    """Nodes on which all takes four times as long."""
    seed: int = 0

    @property
    def ideal_s(self) -> float:
        """If everything that may be in flight always were, on nodes that are all alike."""
        by_length = self.count * self.mean_s / (self.actors * self.in_flight)
        return max(by_length, self.count / (self.actors * self.rate))


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    wall_s: float = 0.0
    busy_s: float = 0.0
    """The head's."""
    waited_s: float = 0.0
    """The longest that a batch waited for the head."""
    waiting_bytes: int = 0
    """The most that waited at once."""
    again: int = 0
    """Rollouts that were in flight on nodes that died."""
    made: int = 0
    twice: int = 0
    handed_s: float = 0.0
    """When the last one was handed out: what comes then is the tail."""


@dataclass(slots=True)
class Node:
    """An actor's life."""

    slowness: float
    flying: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    """(when it ends, number), a heap."""
    free_s: float = 0.0
    """When the processor is free for another rollout."""
    dead: bool = False


def simulate(asked: Scenario) -> Outcome:
    """Hand out the plan until everything is made."""
    rng = np.random.default_rng(asked.seed)
    lengths = np.exp(rng.normal(np.log(asked.mean_s) - asked.spread**2 / 2, asked.spread, asked.count))
    lengths = np.minimum(lengths, asked.longest * asked.mean_s)
    ledger, made, came = Ledger(iter(range(asked.count)), asked.count, asked.actors), bytearray(asked.count), Outcome()
    events: list[tuple[float, int, str, int, list[int]]] = []
    order = iter(range(2**62))
    nodes: list[Node] = []
    head_s = 0.0
    waiting: list[tuple[float, int]] = []

    def add(at: float, kind: str, node: int, numbers: list[int] | None = None) -> None:
        heapq.heappush(events, (at, next(order), kind, node, numbers or []))

    def hire(at: float, slowness: float) -> None:
        nodes.append(Node(slowness))
        add(at, "exchange", len(nodes) - 1)

    for index in range(asked.actors):
        hire(0.0, 4.0 if index < asked.slow else 1.0)
    for death in range(asked.deaths):
        add(asked.ideal_s * (death + 0.5) / asked.deaths, "die", asked.actors - 1 - death)
    while ledger.left or ledger.out:
        now, _, kind, index, numbers = heapq.heappop(events)
        node = nodes[index]
        if kind == "die":
            node.dead = True
            add(now + NOTICED_S, "noticed", index)
        elif kind == "noticed":
            came.again += ledger.lose(index)
            hire(now + REPLACED_S, 1.0)
        elif node.dead:
            continue
        elif kind == "exchange":
            slice = ledger.hand_out(index, asked.in_flight)
            came.handed_s = now if slice else came.handed_s
            for number in slice:
                node.free_s = max(node.free_s, now + TRIP_S / 2) + 1 / asked.rate
                heapq.heappush(node.flying, (node.free_s + node.slowness * float(lengths[number]), number))
            batch, at = _batch(node, now, asked.size)
            add(at + TRIP_S / 2, "arrived", index, batch)
        elif kind == "arrived":
            service = MESSAGE_S + len(numbers) * (ROLLOUT_S + asked.size * BYTE_S)
            came.waited_s = max(came.waited_s, head_s - now)
            head_s = max(head_s, now) + service
            came.busy_s += service
            waiting = [(end, size) for end, size in waiting if end > now] + [(head_s, len(numbers) * asked.size)]
            came.waiting_bytes = max(came.waiting_bytes, sum(size for _, size in waiting))
            add(head_s, "taken", index, numbers)
        else:
            for number, new in zip(numbers, ledger.take(index, numbers), strict=True):
                came.twice += new and made[number]
                made[number] |= new
            came.wall_s = now
            add(now, "exchange", index)
    came.made = sum(made)
    return came


def _batch(node: Node, now: float, size: int) -> tuple[list[int], float]:
    """Returns what an actor gives back, and when."""
    if not node.flying or node.flying[0][0] > now + BEAT_S:
        return [], now + BEAT_S
    until = max(now, node.flying[0][0]) + GATHER_S
    most = max(1, min(ENOUGH, BATCH_BYTES // size))
    batch: list[int] = []
    at = now
    while node.flying and node.flying[0][0] <= until and len(batch) < most:
        ended, number = heapq.heappop(node.flying)
        at = max(at, ended)
        batch.append(number)
    return batch, at if len(batch) == most or not node.flying else until


SCENARIOS = (
    Scenario(name="answers of 30 s, 12 kB"),
    Scenario(name="the same, 6 nodes die", deaths=6),
    Scenario(name="the same, 4 nodes four times as slow", slow=4),
    Scenario(name="reasoning of 10 min, 130 kB", mean_s=600.0, size=130_000),
    Scenario(name="answers of 2 s, 3 kB", mean_s=2.0, size=3_000),
    Scenario(name="answers of 2 s, 130 kB", mean_s=2.0, size=130_000),
    Scenario(name="answers at once, 600 bytes", mean_s=0.001, size=600),
)
COLUMNS = (
    "64 actors, 500 in flight each",
    "ideal",
    "handed out",
    "took",
    "head busy",
    "waited",
    "bytes waiting",
    "again",
    "once",
)


def rows(scenarios: tuple[Scenario, ...] = SCENARIOS) -> Iterator[tuple[str, ...]]:
    """A line of the page each."""
    for asked in scenarios:
        came = simulate(asked)
        yield (
            asked.name,
            _long(asked.ideal_s),
            _long(came.handed_s),
            _long(came.wall_s),
            f"{came.busy_s / came.wall_s:.1%}",
            f"{1e3 * came.waited_s:,.0f} ms",
            f"{came.waiting_bytes / 1e6:,.1f} MB",
            f"{came.again:,}",
            "all" if came.made == asked.count and not came.twice else "NO",
        )


def _long(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 600 else f"{seconds / 60:,.1f} min"


def main() -> None:
    lines = [COLUMNS, ("---", *("--:",) * (len(COLUMNS) - 1)), *rows()]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    print(table)
    text = PAGE.read_text(encoding="utf-8")
    text, found = re.subn(r"(<!-- table: scale -->\n).*?(<!-- end -->)", rf"\1\n{table}\n\n\2", text, flags=re.DOTALL)
    if found != 1:
        raise SystemExit(f"{PAGE} has {found} places for the table; expected 1")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

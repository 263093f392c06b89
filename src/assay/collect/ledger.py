"""What of a plan is owed, handed out, and made. It knows nothing of processes: a simulation uses it as the head does.

A rollout is known by its number in the plan: repeat x tasks + task. One worker at most has it, and what a dead worker
had is handed out again. So none is made twice, whoever dies.
"""

from collections import Counter, deque
from collections.abc import Collection, Hashable, Iterator

LIVES = 5
"""A rollout is given up after this many workers died with it: a verifier that kills its process would kill them all."""
SUSPECT = 2
"""After this many deaths a worker gets one such rollout at a time, so that what dies along with it is not blamed."""


class Ledger:
    """The plan of one run, and which worker has what of it."""

    def __init__(self, plan: Iterator[int], count: int, workers: int) -> None:
        """`count` is the plan's length: the plan is drawn as it is handed out, and never stands in memory."""
        self._plan = plan
        self._again: deque[int] = deque()
        self._suspects: deque[int] = deque()
        self._suspect_of: dict[Hashable, int] = {}
        self._out: dict[Hashable, set[int]] = {}
        self._deaths: Counter[int] = Counter()
        self._workers = workers
        self.left = count
        """Neither made nor with a worker."""
        self.given_up: list[int] = []
        """Owed still, and not handed out any more."""

    @property
    def out(self) -> int:
        """How many are with workers."""
        return sum(map(len, self._out.values()))

    def held(self, worker: Hashable) -> int:
        """How many are with this worker."""
        return len(self._out.get(worker, ()))

    def draw(self, worker: Hashable, room: int) -> list[int]:
        """Returns the next numbers for a worker that may have `room` of them at once.

        Towards the plan's end the slices become smaller, so that all workers end at about the same time.
        """
        count = min(room - self.held(worker), -(-self.left // (2 * self._workers)))
        out = self._out.setdefault(worker, set())
        drawn: list[int] = []
        if count > 0 and self._suspects and self._suspect_of.get(worker) not in out:
            self._suspect_of[worker] = self._suspects.popleft()
            drawn.append(self._suspect_of[worker])
        while len(drawn) < count and self.left > len(drawn) + len(self._suspects):
            drawn.append(self._again.popleft() if self._again else next(self._plan))
        out.update(drawn)
        self.left -= len(drawn)
        return drawn

    def take(self, worker: Hashable, made: Collection[int]) -> list[bool]:
        """Returns whether the worker had each of them, so that it is new. They are made now."""
        out = self._out.get(worker, set())
        new = [number in out for number in made]
        out.difference_update(made)
        return new

    def give_back(self, worker: Hashable, numbers: Collection[int]) -> None:
        """A worker did not make these: they are owed."""
        out = self._out.get(worker, set())
        back = [number for number in numbers if number in out]
        out.difference_update(back)
        self._again.extend(back)
        self.left += len(back)

    def lose(self, worker: Hashable) -> int:
        """A worker has died: what it had is owed, or given up after LIVES deaths. Returns how many it had."""
        lost = self._out.pop(worker, set())
        self._deaths.update(lost)
        given_up = sorted(number for number in lost if self._deaths[number] >= LIVES)
        again = sorted(lost.difference(given_up))
        self.given_up += given_up
        for number in again:
            (self._suspects if self._deaths[number] >= SUSPECT else self._again).append(number)
        self.left += len(again)
        return len(lost)

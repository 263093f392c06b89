"""Which rollouts of a plan are owed, handed out and made. It knows nothing of processes, so a test can simulate them.

A rollout's number in the plan is repeat x tasks + task. At most one worker has it, and what a dead worker had is handed
out again. So none is made twice.
"""

from collections import Counter, deque
from collections.abc import Collection, Hashable, Iterator

LIVES = 5
"""A rollout is given up after this many workers died with it: its verifier may kill the process."""
SUSPECT = 2
"""After this many deaths a worker gets one such rollout at a time, so that others in flight are not blamed."""


class Ledger:
    """The plan of one run, and which worker has what of it."""

    def __init__(self, plan: Iterator[int], count: int, workers: int) -> None:
        """`plan` yields `count` numbers. It is read only as they are handed out, so it is never whole in memory."""
        self._plan = plan
        self._again: deque[int] = deque()
        self._suspects: deque[int] = deque()
        self._suspect_of: dict[Hashable, int] = {}
        self._out: dict[Hashable, set[int]] = {}
        self._deaths: Counter[int] = Counter()
        self._workers = workers
        self.left = count
        """How many are neither made nor with a worker."""
        self.given_up: list[int] = []
        """The numbers that stay owed and are not handed out again."""

    @property
    def out(self) -> int:
        """How many are with workers."""
        return sum(map(len, self._out.values()))

    def count_of(self, worker: Hashable) -> int:
        """Returns how many are with this worker."""
        return len(self._out.get(worker, ()))

    def hand_out(self, worker: Hashable, room: int) -> list[int]:
        """Returns the next numbers for a worker that may have `room` of them at once, and counts them as its own.

        Towards the end of the plan the slices become smaller, so that all workers end at about the same time.
        """
        count = min(room - self.count_of(worker), -(-self.left // (2 * self._workers)))
        out = self._out.setdefault(worker, set())
        numbers: list[int] = []
        if count > 0 and self._suspects and self._suspect_of.get(worker) not in out:
            self._suspect_of[worker] = self._suspects.popleft()
            numbers.append(self._suspect_of[worker])
        while len(numbers) < count and self.left > len(numbers) + len(self._suspects):
            numbers.append(self._again.popleft() if self._again else next(self._plan))
        out.update(numbers)
        self.left -= len(numbers)
        return numbers

    def take(self, worker: Hashable, made: Collection[int]) -> list[bool]:
        """Counts numbers as made. Returns for each whether this worker had it; if not, another has made it."""
        out = self._out.get(worker, set())
        new = [number in out for number in made]
        out.difference_update(made)
        return new

    def give_back(self, worker: Hashable, numbers: Collection[int]) -> None:
        """Counts numbers that a worker did not make as owed again."""
        out = self._out.get(worker, set())
        back = [number for number in numbers if number in out]
        out.difference_update(back)
        self._again.extend(back)
        self.left += len(back)

    def lose(self, worker: Hashable) -> int:
        """Counts all that a dead worker had as owed, or as given up after LIVES deaths. Returns how many it had."""
        lost = self._out.pop(worker, set())
        self._deaths.update(lost)
        given_up = sorted(number for number in lost if self._deaths[number] >= LIVES)
        again = sorted(lost.difference(given_up))
        self.given_up += given_up
        for number in again:
            (self._suspects if self._deaths[number] >= SUSPECT else self._again).append(number)
        self.left += len(again)
        return len(lost)

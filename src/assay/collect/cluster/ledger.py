"""What of a plan is owed, handed out, and made. No Ray here: a simulation asks it as the head does.

A rollout is known by its number in the plan: repeat x tasks + task. It is in one hand at most, and whoever loses a hand
gets back what was in it. So none is made twice, whoever dies.
"""

from collections import Counter, deque
from collections.abc import Collection, Hashable, Iterator

LIVES = 5
"""So many hands may die with a rollout in them: a verifier that kills its process would else kill them all."""
SUSPECT = 2
"""After so many a hand gets one such rollout at a time, so that what dies along with it is not taken for the cause."""


class Ledger:
    """The plan of one run, and in whose hands it is."""

    def __init__(self, plan: Iterator[int], count: int, hands: int) -> None:
        """`count` is the plan's length: it is drawn as it is handed out, and never stands in memory."""
        self._plan = plan
        self._again: deque[int] = deque()
        self._suspects: deque[int] = deque()
        self._suspect_in: dict[Hashable, int] = {}
        self._out: dict[Hashable, set[int]] = {}
        self._deaths: Counter[int] = Counter()
        self._hands = hands
        self.left = count
        """Neither made nor in a hand."""
        self.given_up: list[int] = []
        """Owed still, and not handed out any more."""

    @property
    def out(self) -> int:
        """In all hands."""
        return sum(map(len, self._out.values()))

    def held(self, hand: Hashable) -> int:
        """In this hand."""
        return len(self._out.get(hand, ()))

    def draw(self, hand: Hashable, room: int) -> list[int]:
        """The next numbers for a hand that may hold so many.

        Towards the plan's end the slices become smaller, so that all hands end at about the same time.
        """
        count = min(room - self.held(hand), -(-self.left // (2 * self._hands)))
        out = self._out.setdefault(hand, set())
        drawn: list[int] = []
        if count > 0 and self._suspects and self._suspect_in.get(hand) not in out:
            self._suspect_in[hand] = self._suspects.popleft()
            drawn.append(self._suspect_in[hand])
        while len(drawn) < count and self.left > len(drawn) + len(self._suspects):
            drawn.append(self._again.popleft() if self._again else next(self._plan))
        out.update(drawn)
        self.left -= len(drawn)
        return drawn

    def take(self, hand: Hashable, made: Collection[int]) -> list[bool]:
        """Whether each was in that hand, and so is new; it is made now."""
        out = self._out.get(hand, set())
        new = [number in out for number in made]
        out.difference_update(made)
        return new

    def give_back(self, hand: Hashable, numbers: Collection[int]) -> None:
        """A hand did not make these: they are owed."""
        out = self._out.get(hand, set())
        back = [number for number in numbers if number in out]
        out.difference_update(back)
        self._again.extend(back)
        self.left += len(back)

    def lose(self, hand: Hashable) -> int:
        """A hand has died: what was in it is owed, or given up where it has died in LIVES hands. How many it were."""
        lost = self._out.pop(hand, set())
        self._deaths.update(lost)
        given_up = sorted(number for number in lost if self._deaths[number] >= LIVES)
        again = sorted(lost.difference(given_up))
        self.given_up += given_up
        for number in again:
            (self._suspects if self._deaths[number] >= SUSPECT else self._again).append(number)
        self.left += len(again)
        return len(lost)

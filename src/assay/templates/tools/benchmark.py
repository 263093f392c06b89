"""my-benchmark: errands at the desk of a small library, done with tools and scored by its state. A row:

id        lend-by-title
asks      Lend "The Waves" to Ines Okafor. She says that she may take the copy that was returned today.
wanted    loans: b2 to m1
solution  find_books(title="The Waves"), find_members(name="Ines Okafor"), lend(book="b2", member="m1")
"""

from collections.abc import Iterable, Sequence

from assay.benchmark import Benchmark, Call
from assay.benchmark.tools import Rejected, ToolEnvironment, ToolSession, tool
from assay.benchmark.verify.state import state
from assay.types import Message, RolloutLimits, Score, Task, Turn

BOOKS = {"b1": "The Waves", "b2": "The Waves", "b3": "Middlemarch", "b4": "Emma"}
MEMBERS = {"m1": "Ines Okafor", "m2": "Ines Okoye", "m3": "Tom Berg"}
LOANS = {"b1": "m3", "b3": "m2"}
"""Who has which book when a session begins."""

ASK = "You work at the desk of a library. {errand} Use the tools, and say when it is done."
ERRANDS: dict[str, tuple[str, dict[str, str], list[Call]]] = {
    "lend-by-title": (
        'Lend "The Waves" to Ines Okafor. She says that she may take the copy that was returned today.',
        {"b1": "m3", "b2": "m1", "b3": "m2"},
        [
            Call("find_books", {"title": "The Waves"}),
            Call("find_members", {"name": "Ines Okafor"}),
            Call("lend", {"book": "b2", "member": "m1"}),
        ],
    ),
    "take-back": (
        "Ines Okoye brings back Middlemarch.",
        {"b1": "m3"},
        [Call("find_books", {"title": "Middlemarch"}), Call("take_back", {"book": "b3"})],
    ),
    "pass-on": (
        "Ines Okoye brings back Middlemarch, and Tom Berg, who waits beside her, takes it home.",
        {"b1": "m3", "b3": "m3"},
        [
            Call("find_books", {"title": "Middlemarch"}),
            Call("find_members", {"name": "Tom Berg"}),
            Call("take_back", {"book": "b3"}),
            Call("lend", {"book": "b3", "member": "m3"}),
        ],
    ),
}
"""By id: what is asked, the loans at the end, and one way to get there."""


class Desk(ToolSession):
    """One rollout's library."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self.loans = dict(LOANS)

    @tool
    def find_books(self, title: str) -> list[dict[str, str]]:
        """All copies of a book, each with its id and whether it is in.

        Args:
            title: A part of the title will do.
        """
        found = [book for book, name in BOOKS.items() if title.casefold() in name.casefold()]
        return [{"id": book, "title": BOOKS[book], "is": "out" if book in self.loans else "in"} for book in found]

    @tool
    def find_members(self, name: str) -> list[dict[str, str]]:
        """The members of that name, each with their id.

        Args:
            name: A part of the name will do.
        """
        return [{"id": member, "name": full} for member, full in MEMBERS.items() if name.casefold() in full.casefold()]

    @tool
    def lend(self, book: str, member: str) -> str:
        """Lend a book to a member.

        Args:
            book: The book's id, such as b4.
            member: The member's id, such as m3.
        """
        self._check(book)
        if member not in MEMBERS:
            raise Rejected(f"there is no member {member}; ids look like m3")
        if book in self.loans:
            raise Rejected(f"{book} is out")
        self.loans[book] = member
        return f"{book} is lent to {member}"

    @tool
    def take_back(self, book: str) -> str:
        """Take back a book that was lent.

        Args:
            book: The book's id, such as b4.
        """
        self._check(book)
        if book not in self.loans:
            raise Rejected(f"{book} is not lent to anyone")
        return f"{book} is back from {self.loans.pop(book)}"

    def _check(self, book: str) -> None:
        if book not in BOOKS:
            raise Rejected(f"there is no book {book}; ids look like b4")

    async def score(self, turns: Sequence[Turn]) -> Score:
        return state(self.task.data["loans"], self.loans, before=LOANS)


class MyBenchmark(ToolEnvironment):
    """Errands that change who has which book, and nothing else."""

    name = "my-benchmark"
    version = "1"
    session = Desk

    def tasks(self) -> Iterable[Task]:
        for name, (errand, loans, _) in ERRANDS.items():
            yield Task(
                id=name,
                input=[Message(role="user", content=ASK.format(errand=errand))],
                data={"loans": loans},
                tools=self.tools,
            )

    def solution(self, task: Task) -> Sequence[Call]:
        return ERRANDS[task.id][2]


BENCHMARK = Benchmark(environment=MyBenchmark(), repeats=4, limits=RolloutLimits(steps=20, tool_s=10))

"""The table of one or several runs' rollouts: rows of their indexes in one order, with counts over all of them."""

import heapq
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from assay.fidelity.schema.evidence import Mark
from assay.view.catalog import Entry
from assay.view.frame import View
from assay.view.index.indexing import Progress
from assay.view.index.query import Query
from assay.view.index.reader import Counts, Index, Row
from assay.view.marks import faults, marks_on

MODEL = "model"
"""The filter by model, which a table of several runs has."""
_FIRST, _LAST = -1, 2**62


@dataclass(frozen=True, slots=True)
class Member:
    """A run of a table, with its index as far as it is."""

    run: Entry
    model: str
    index: Index
    marks: dict[int, list[Mark]]


@dataclass(frozen=True, slots=True)
class Table:
    """The runs whose rollouts are shown together, in the order of their names."""

    members: Sequence[Member]
    progress: Progress
    """Of all of them."""

    def rows(
        self, query: Query, limit: int, after: Sequence[Any] | None = None
    ) -> tuple[list[tuple[Member, Row]], list[Any] | None]:
        """Returns rows in order, and where the next ones go on; None where there are none.

        `after` is where the rows before these ended: the value of the order's column, the run's place, the row's id.
        """
        streams: list[list[tuple[Any, int, int, Row]]] = []
        for place, member in self._members_of(query):
            start = after and [after[0], after[2] if place == after[1] else self._bound(query, place < after[1])]
            pairs = member.index.ranked_rows(query, faults(member.marks), limit + 1, start)
            streams.append([(value, place, row.id, row) for row, value in pairs])

        def key(one: tuple[Any, int, int, Row]) -> Any:
            return one[0]  # of equal values, the runs come in their order, and the rows of one in theirs

        in_order = [*islice(heapq.merge(*streams, key=key, reverse=query.descending), limit + 1)]
        rows = [(self.members[place], row) for _, place, _, row in in_order[:limit]]
        return rows, [*in_order[limit - 1][:3]] if len(in_order) > limit else None

    def all_rows(self, query: Query) -> Iterator[tuple[Member, Row]]:
        """Yields all rows of a query, those of one run after those of another, each in order."""
        for _, member in self._members_of(query):
            yield from ((member, row) for row in member.index.all_rows(query, faults(member.marks)))

    def counts(self, query: Query) -> Counts:
        """Returns what the lists of filters show beside a query."""
        each = [(member, member.index.counts(query, faults(member.marks))) for member in self.members]
        ids = {id(member) for _, member in self._members_of(query)}
        lists: dict[str, Counter[str]] = {}
        for member, counts in each:
            if id(member) in ids:
                for name, values in counts.lists.items():
                    lists.setdefault(name, Counter()).update(dict(values))
        if len(self.members) > 1:
            lists[MODEL] = Counter({member.model: counts.shown for member, counts in each if counts.shown})
        by_name = {name: values.most_common() for name, values in lists.items()}
        total = sum(counts.shown for member, counts in each if id(member) in ids)
        return Counts(total, sum(counts.every for _, counts in each), by_name)

    def _members_of(self, query: Query) -> list[tuple[int, Member]]:
        models = query.lists.get(MODEL)
        return [(place, one) for place, one in enumerate(self.members) if not models or one.model in models]

    @staticmethod
    def _bound(query: Query, before: bool) -> int:
        """Returns the id after which the rows of a run continue that have the value at which a page ended.

        Those of a run before the one of the last row were all shown, and none of a run after it.
        """
        return (_LAST if before else _FIRST) if not query.descending else (_FIRST if before else _LAST)


@contextmanager
def open_table(view: View, runs: Sequence[Entry]) -> Generator[Table]:
    """Opens the table of these runs, as far as their indexes are. Raises AssayError where one can't be read."""
    with ExitStack() as stack:
        members, states = list[Member](), list[Progress]()
        for run in runs:
            index, progress = view.indexing.index_of(run.path)
            states.append(progress)
            if index is not None:
                stack.callback(index.close)
                name = run.path.name if run.profile else view.catalog.record(run).model
                members.append(Member(run, name, index, marks_on(view.catalog, run)))
        yield Table(members, _together(states))


def _together(states: Sequence[Progress]) -> Progress:
    def each(take: Callable[[Progress], int]) -> int:
        return sum(map(take, states))

    return Progress(
        each(lambda one: one.read),
        each(lambda one: one.of),
        any(one.runs for one in states),
        next((one.error for one in states if one.error), ""),
        [note for one in states for note in one.notes],
    )

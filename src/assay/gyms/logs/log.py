"""What a reader of a harness's log is."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from assay.gyms.rows import Row


@dataclass(frozen=True, slots=True)
class Log:
    """A format of logs."""

    name: str
    """The harness's."""
    fits: Callable[[dict[str, Any]], bool]
    """Whether a row of a file is of this format."""
    read: Callable[[Iterable[Row]], Iterator[Row]]
    """Makes plain rows of a file's."""


def scored(scores: dict[str, float]) -> dict[str, Any]:
    """Returns the cells that hold a sample's scores by their names."""
    [*names] = scores
    one = {"score": scores[names[0]]} if len(names) == 1 else {"scores": names}
    return scores | one

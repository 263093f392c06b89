"""The marks of readers on the rollouts of one run, as the viewer shows them."""

from collections.abc import Iterable
from pathlib import Path

from assay.fidelity.review.marks import last_word, marks_of, read_remarks
from assay.fidelity.schema.evidence import Mark
from assay.view.catalog import Catalog, Entry
from assay.view.index.reader import Row
from assay.view.index.tables import content_number


def marks_on(catalog: Catalog, run: Entry) -> dict[int, list[Mark]]:
    """Returns the marks that stand on a run's rollouts, by the number of their content. Raises InputError.

    They are in the profile that the run is a part of, or else in the run's own folder.
    """
    folder = catalog.entry("profile", run.profile).path if run.profile else run.path
    model = run.path.name if run.profile else catalog.record(run).model
    return catalog.cached(f"marks on {model}", [folder / "marks.jsonl"], lambda: _of_model(folder, model))


def _of_model(folder: Path, model: str) -> dict[int, list[Mark]]:
    by_content = marks_of(read_remarks(folder))
    return {content_number(content): marks for (of, content), marks in by_content.items() if of == model}


def word_on(row: Row, marks: dict[int, list[Mark]]) -> Mark | None:
    """Returns the mark that decides on a rollout; None where there is none."""
    return last_word(marks.get(row.content, ()), row.task_digest, row.reward)


def faults(marks: dict[int, list[Mark]]) -> dict[int, str]:
    """Returns what the last reader of each content said is at fault, for a filter."""
    return {content: _last(of_content).fault for content, of_content in marks.items()}


def _last(marks: Iterable[Mark]) -> Mark:
    *_, last = marks
    return last

"""What a benchmark's own files say of it: published.toml and the card, README.md."""

import re
from collections.abc import Sequence

from assay.benchmark import Benchmark
from assay.errors import InputError
from assay.fidelity.original.published import published_scores
from assay.fidelity.schema.profile import Check
from assay.fidelity.tasks.checks import judged
from assay.types import Task

_STATED = re.compile(r"^\| *(tasks|repeats) *\| *([\d,]*\d)(?=[ ,;:|])", re.MULTILINE)
"""A row of a card's table that begins with a number."""


def published_check(benchmark: Benchmark) -> Check:
    """Is published.toml as it should be? A profile reads it in the end."""
    try:
        facts = published_scores(benchmark)
    except InputError as error:
        return Check("published", "fail", str(error), remedy="docs/adding-a-benchmark.md says what stands in it.")
    if facts is None:
        return Check("published", "pass", "There is no published.toml, so the gate reproduced can't be computed.")
    return Check("published", "pass", f"published.toml has {len(facts.scores)} scores.")


def card_check(benchmark: Benchmark, tasks: Sequence[Task]) -> Check:
    """Does the card, README.md, say the numbers of tasks and repeats that the benchmark has?"""
    path = benchmark.folder and benchmark.folder / "README.md"
    if not path or not path.is_file():
        return Check("card", "not run", "There is no README.md, which says what a reader of a score needs to know.")
    text = path.read_text(encoding="utf-8", errors="replace")
    stated = dict(_STATED.findall(text))
    here = {"tasks": len(tasks), "repeats": benchmark.repeats}
    wrong: dict[str, list[str]] = {
        f"README.md says {said} {name}, and the benchmark has {here[name]:,}": []
        for name, said in stated.items()
        if int(said.replace(",", "")) != here[name]
    }
    if benchmark.defects and "known defects" not in text.casefold():
        wrong["README.md has no section 'Known defects', and the benchmark declares some"] = []
    return judged("card", wrong, "README.md says nothing else of the tasks and repeats.", "Correct README.md.")

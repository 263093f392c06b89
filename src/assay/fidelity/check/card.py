"""Checks of a benchmark's own statements: its score, published.toml and the card, README.md."""

import re
from collections.abc import Sequence

from assay.benchmark import Benchmark
from assay.errors import InputError, UsageError
from assay.fidelity.original.published import check_published, published_scores
from assay.fidelity.schema.profile import Check
from assay.fidelity.tasks.checks import check_of
from assay.score import check_score
from assay.types import Task

_STATED = re.compile(r"^\| *(tasks|repeats) *\| *([\d,]*\d)(?=[ ,;:|])", re.MULTILINE)
"""A row of a card's table that begins with a number."""


def published_check(benchmark: Benchmark, tasks: Sequence[Task]) -> Check:
    """Is published.toml valid, and does it fit the tasks?"""
    try:
        facts = published_scores(benchmark)
    except InputError as error:
        return Check("published", "fail", str(error), remedy="docs/adding-a-benchmark.md says what stands in it.")
    if facts is None:
        return Check("published", "pass", "There is no published.toml, so the gate reproduced can't be computed.")
    try:
        check_published(facts, tasks, benchmark.score)
    except UsageError as error:
        remedy = "Correct the score's subset or rule, or the tags of the tasks."
        return Check("published", "fail", str(error), remedy=remedy)
    return Check("published", "pass", f"published.toml has {len(facts.scores)} scores.")


def score_check(benchmark: Benchmark, tasks: Sequence[Task]) -> Check:
    """Can the declared score be computed?"""
    score = benchmark.score
    try:
        check_score(score, tasks)
    except UsageError as error:
        return Check("score", "fail", str(error), remedy="Correct `score`, or the tags of the tasks.")
    if benchmark.repeats < score.attempts:
        reason = f"The score is the {score}, and {benchmark.repeats} repeats are made of each task."
        return Check("score", "fail", reason, remedy=f"Set repeats to {score.attempts} or more.")
    groups = len({tuple(task.tags[tag] for tag in score.by) for task in tasks})
    return Check("score", "pass", f"The score is the {score}" + (f": {groups:,} groups." if score.by else "."))


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
    return check_of("card", wrong, "README.md says nothing else of the tasks and repeats.", "Correct README.md.")

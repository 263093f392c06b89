"""The description of a benchmark in a certificate, and later changes to the benchmark."""

import hashlib
from collections.abc import Sequence

from assay.benchmark import Benchmark
from assay.benchmark.code import score_code
from assay.collect.run import tasks_of
from assay.digest import changed_files, digest, prompt_digest, prompts_digest, task_digest, tasks_digest
from assay.fidelity.certificate.facts import short
from assay.fidelity.certificate.schema import CertifiedBenchmark
from assay.fidelity.original.published import Published, published_scores, published_toml
from assay.fidelity.schema.profile import Plan
from assay.types import Task

SHOWN = 5
"""The most flaws of one kind that a message lists."""


def describe(benchmark: Benchmark, plan: Plan | CertifiedBenchmark) -> CertifiedBenchmark:
    """Returns the description of the benchmark as it is now, with the tasks and margins of a plan.

    Raises UsageError if it has no tasks, and InputError if published.toml is wrong.
    """
    tasks = tasks_of(benchmark, plan.selection)
    facts, stated, sources = (
        published_scores(benchmark) or Published(),
        published_toml(benchmark),
        score_code(benchmark),
    )
    return CertifiedBenchmark(
        name=benchmark.name,
        version=benchmark.version,
        source=plan.source,
        tasks=len(tasks),
        tasks_digest=tasks_digest(tasks),
        prompts_digest=prompts_digest(tasks),
        code=digest(sources),
        sources=sources,
        selection=plan.selection,
        score=benchmark.score,
        repeats=benchmark.repeats,
        sampling=benchmark.sampling,
        limits=benchmark.limits,
        chance=benchmark.chance,
        formats=list(benchmark.formats),
        hard=benchmark.hard,
        original=facts.original,
        repository=facts.origin.repository if facts.origin else None,
        published=hashlib.sha256(stated.read_bytes()).hexdigest() if stated else None,
        margins=plan.margins,
    )


def changes(
    then: CertifiedBenchmark, now: CertifiedBenchmark, asked: Sequence[Task], benchmark: Benchmark
) -> list[str]:
    """Returns the differences from the certified benchmark in words, with the names of tasks and files."""
    found = _task_changes(asked, tasks_of(benchmark, then.selection)) if then.tasks_digest != now.tasks_digest else []
    found += [f"the verifier's {change}" for change in changed_files(then.sources, now.sources)]
    if then.published != now.published:
        found.append("published.toml has changed")
    for name in ("name", "version", "repeats", "sampling", "limits", "score", "chance", "formats", "hard"):
        was, is_now = getattr(then, name), getattr(now, name)
        if was != is_now:
            found.append(f"{name} was {short(was)}, and is {short(is_now)}")
    return found


def _task_changes(then: Sequence[Task], now: Sequence[Task]) -> list[str]:
    if not then:
        return ["other tasks"]  # a sealed certificate does not have the tasks of the run
    were, are = ({task.id: task for task in tasks} for tasks in (then, now))
    both = were.keys() & are.keys()
    prompts = [name for name in were if name in both and prompt_digest(were[name]) != prompt_digest(are[name])]
    others = [
        name
        for name in were
        if name in both and name not in set(prompts) and task_digest(were[name]) != task_digest(are[name])
    ]
    kinds = {
        "prompts changed": prompts,
        "gold answers or data changed": others,
        "tasks gone": [name for name in were if name not in both],
        "tasks new": [name for name in are if name not in both],
    }
    found = [f"{what}: {some(tasks)}" for what, tasks in kinds.items() if tasks]
    return found or ["the tasks are in another order"]


def some(parts: Sequence[str]) -> str:
    """Returns the first of these, and how many more there are."""
    rest = f"; and {len(parts) - SHOWN:,} more" if len(parts) > SHOWN else ""
    return "; ".join(parts[:SHOWN]) + rest

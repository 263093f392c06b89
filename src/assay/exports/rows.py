"""A selection of a run's rollouts: rows for a notebook (jsonl), or text for an issue (markdown)."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from assay.errors import UsageError
from assay.exports import Export
from assay.fidelity.review.transcript import attempt, prompt_pieces
from assay.store import read_record, read_rollouts, read_tasks, write_bytes, write_lines
from assay.types import Failure, Rollout, Score, Task

MOST_IN_MARKDOWN = 10
"""Rollouts that Markdown has where `limit` says nothing: an issue is read by people."""


class Filter(Struct, frozen=True, forbid_unknown_fields=True):
    """What `--set KEY=VALUE` selects."""

    task: str | None = None
    """The id of one task."""
    min_reward: float | None = None
    max_reward: float | None = None
    failed: bool | None = None
    """True for failures alone, false for scores alone."""
    stop: str | None = None
    """Why the rollout ended, such as token_cap."""
    limit: int | None = None
    """The most rollouts, from the first."""

    def takes(self, rollout: Rollout) -> bool:
        """Returns whether a rollout is selected."""
        reward = rollout.outcome.reward if isinstance(rollout.outcome, Score) else None
        return (
            self.task in (None, rollout.task)
            and self.stop in (None, rollout.stop)
            and self.failed in (None, reward is None)
            and (self.min_reward is None or (reward is not None and reward >= self.min_reward))
            and (self.max_reward is None or (reward is not None and reward <= self.max_reward))
        )


def select(folder: Path, options: Filter) -> list[tuple[Task, Rollout]]:
    """Returns the selected rollouts with their tasks, by task and repeat. Raises UsageError where there are none."""
    tasks = {task.id: (number, task) for number, task in enumerate(read_tasks(folder))}
    rollouts = [one for one in read_rollouts(folder, [task for _, task in tasks.values()]) if options.takes(one)]
    rollouts.sort(key=lambda one: (tasks[one.task][0], one.repeat, one.attempt))
    if not rollouts:
        raise UsageError(f"{folder}: no rollout is selected by {options}")
    return [(tasks[one.task][1], one) for one in rollouts[: options.limit]]


def row_of(task: Task, rollout: Rollout) -> dict[str, Any]:
    """Returns a rollout as a row without structure but its metrics, tags and messages."""
    outcome, last = rollout.outcome, rollout.turns[-1].response if rollout.turns else None
    failure = outcome if isinstance(outcome, Failure) else None
    usages = [turn.response.usage for turn in rollout.turns]
    return {
        "task": task.id,
        "repeat": rollout.repeat,
        "reward": outcome.reward if isinstance(outcome, Score) else None,
        "answer": outcome.answer if isinstance(outcome, Score) else None,
        "gold": task.gold,
        "stop": rollout.stop,
        "failure": f"{failure.where}: {failure.kind}: {failure.message}" if failure else None,
        "turns": len(rollout.turns),
        "input_tokens": sum(one.input_tokens for one in usages),
        "output_tokens": sum(one.output_tokens for one in usages),
        "wall_s": rollout.wall_s,
        "prompt": "\n\n".join(piece.text for piece in prompt_pieces(task)),
        "reasoning": last.reasoning if last else "",
        "text": last.text if last else "",
        "metrics": outcome.metrics if isinstance(outcome, Score) else {},
        "tags": task.tags,
    }


def markdown(title: str, pairs: Iterable[tuple[Task, Rollout]], count: int, of: int) -> str:
    """Returns rollouts as text for an issue. `shown` of the `of` that were selected are there."""
    lines = [f"# {title}", "", f"{count:,} of {of:,} rollouts that were selected."]
    for task, rollout in pairs:
        lines += ["", *_section(task, rollout)]
    return "\n".join(lines) + "\n"


def _jsonl(folder: Path, file: Path, options: Filter) -> str:
    rows = [row_of(task, rollout) for task, rollout in select(folder, options)]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_lines(file, rows)
    return f"{len(rows)} rollouts are in {file}"


def _markdown(folder: Path, file: Path, options: Filter) -> str:
    pairs = select(folder, options)
    some = pairs if options.limit is not None else pairs[:MOST_IN_MARKDOWN]
    file.parent.mkdir(parents=True, exist_ok=True)
    record = read_record(folder)
    title = f"{record.model} on {record.benchmark} {record.version}"
    write_bytes(file, markdown(title, some, len(some), len(pairs)).encode())
    return f"{len(some)} of {len(pairs)} rollouts are in {file}"


def _section(task: Task, rollout: Rollout) -> Iterator[str]:
    row = row_of(task, rollout)
    yield f"## {_line(task.id)}, repeat {rollout.repeat}"
    yield ""
    outcome = _line(row["failure"]) if row["failure"] else f"reward {row['reward']:g}"
    yield f"- {outcome}, stop: {rollout.stop}"
    for name in ("answer", "gold"):
        if row[name] is not None:
            yield f"- {name}: {_line(row[name])}"
    for piece in (*prompt_pieces(task), *attempt(rollout, task)):
        is_folded = piece.voice == "reasoning"
        yield ""
        yield f"<details><summary>{_line(piece.title)}</summary>" if is_folded else f"**{_line(piece.title)}**"
        yield ""
        yield from _fence(piece.text)
        if is_folded:
            yield ""
            yield "</details>"


def _fence(text: str) -> Iterator[str]:
    """The text as a block that nothing in it ends: a fence longer than any there."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    yield f"{fence}text"
    yield text
    yield fence


def _line(text: str) -> str:
    """Returns the text on one line, as code: no markup in it is read."""
    line = " ".join(text.split())[:200]
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


JSONL = Export(ending=".jsonl", options=Filter(), run=_jsonl)
MARKDOWN = Export(ending=".md", options=Filter(), run=_markdown)

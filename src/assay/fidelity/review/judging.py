"""The answers that a judge scores again, and `judge.jsonl`, which is append-only."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import structs

from assay.digest import digest
from assay.errors import InputError, UsageError
from assay.fidelity.review.marks import rollouts_at
from assay.fidelity.schema.judging import JudgeLine, Judgement, Judging, Label, Panel, StoredAnswer
from assay.input import is_present
from assay.store import append_line, read_lines, read_rollouts
from assay.types import Message, Rollout, Score, text_of

FILE = "judge.jsonl"
ROLE = "judge"
ANSWERS = 100
"""The number of answers in a panel, half of them passing if there are enough."""


def text_in(rollout: Rollout) -> str:
    """Returns the final message of a rollout."""
    return rollout.turns[-1].response.text if rollout.turns else ""


def stored_answer(model: str, rollout: Rollout) -> StoredAnswer | None:
    """Returns the answer that a judge scored in a rollout; None if it scored none."""
    outcome = rollout.outcome
    if not isinstance(outcome, Score) or not rollout.roles.get(ROLE):
        return None
    return StoredAnswer(
        model=model,
        task=rollout.task,
        repeat=rollout.repeat,
        content=digest([rollout.task_digest, text_in(rollout)]),
        reward=outcome.reward,
    )


def draw(runs: Mapping[str, Path], count: int = ANSWERS) -> tuple[list[StoredAnswer], list[StoredAnswer]]:
    """Returns the answers of a panel, and all judged ones, in the order of their digests, so that readers are blind."""
    known = {
        answer.content: answer
        for model, run in runs.items()
        for rollout in read_rollouts(run)
        if (answer := stored_answer(model, rollout))
    }
    order = sorted(known.values(), key=lambda one: one.content)
    passing, failing = [one for one in order if one.passes], [one for one in order if not one.passes]
    half = max(count // 2, count - len(failing))
    chosen = passing[:half] + failing[: count - len(passing[:half])]
    return sorted(chosen, key=lambda one: one.content), order


def rollouts_of(runs: Mapping[str, Path], answers: Iterable[StoredAnswer]) -> dict[str, Rollout]:
    """Returns the rollouts that still have these answers and their rewards, by content."""
    by_model: dict[str, dict[tuple[str, int], StoredAnswer]] = {}
    for one in answers:
        by_model.setdefault(one.model, {})[one.task, one.repeat] = one
    found: dict[str, Rollout] = {}
    for model, wanted in by_model.items():
        if model in runs:
            there = rollouts_at(runs[model], {task for task, _ in wanted}, wanted.__contains__)
            found |= {
                wanted[key].content: one for key, one in there.items() if stored_answer(model, one) == wanted[key]
            }
    return found


def judge_lines(folder: Path) -> list[JudgeLine]:
    """Returns the lines of a profile's `judge.jsonl`. Raises InputError."""
    path = folder / FILE
    return list(read_lines(path, JudgeLine)) if is_present(path) else []  # pyright: ignore


def read_judging(folder: Path, runs: Mapping[str, Path]) -> Judging | None:
    """Returns the content of a profile's `judge.jsonl`; None if there is none. Raises InputError."""
    panel: Panel | None = None
    judgements: list[Judgement] = []
    labels: dict[str, Label] = {}
    for line in judge_lines(folder):
        if isinstance(line, Panel):
            panel, judgements = line, []
        elif isinstance(line, Label):
            labels[line.content] = line
        else:
            judgements.append(line)
    if panel is None:
        return None
    there = rollouts_of(runs, panel.answers)
    kept = [one for one in panel.answers if one.content in there]
    lost = len(panel.answers) - len(kept)
    return Judging(panel=structs.replace(panel, answers=kept), judgements=judgements, labels=labels, lost=lost)


def keep(folder: Path, line: JudgeLine) -> None:
    """Appends a line. It is on the disk when this returns. Raises StoppedEarly if the disk is full."""
    append_line(folder / FILE, line)


def asked_of(rollout: Rollout) -> str:
    """Returns the judge's input as text for a person: the question, the reference, the answer and the criteria."""
    last = rollout.roles[ROLE][0].input[-1]
    text = text_of(last.content) if isinstance(last, Message) else ""
    try:
        parts = msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError:
        return text
    return "\n\n".join(f"{name}:\n{_as_text(value)}" for name, value in parts.items())


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}. {text}" for name, text in value.items())  # pyright: ignore
    return str(value)


def bring(folder: Path, path: Path) -> int:
    """Adds the labels of another file, all or none. Returns their number. Raises UsageError and InputError."""
    if not is_present(path):
        raise UsageError(f"{path} is not there; expected a file of labels")
    given = list(read_lines(path, Label))
    known = {answer.content for line in judge_lines(folder) if isinstance(line, Panel) for answer in line.answers}
    for number, label in enumerate(given, 1):
        if label.content not in known:
            got = f"no answer of the panel has the content {label.content!r:.40}"
            raise InputError(path, number, got, "the `content` of an answer in judge.jsonl")
    for label in given:
        keep(folder, label)
    return len(given)

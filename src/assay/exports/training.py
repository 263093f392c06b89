"""Training data from a run: conversations to imitate (sft), pairs to prefer one of (dpo), attempts with rewards (rft).

A row has chat messages in OpenAI's form. `weight` is 1 in the messages that the model wrote, 0 in those that it was
shown. Left out are failures, attempts that were cut, and those whose reward a detector or a reader doubts; the data
card says how many. Trainers learn from what is left, so a wrong reward costs more here than in a score.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from assay.digest import task_digest
from assay.errors import ModelError, UsageError
from assay.exports import Export
from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.search import load_detectors
from assay.fidelity.review.marks import content, last_word, marks_of, read_remarks, standing
from assay.gyms import require
from assay.input import is_present
from assay.model.dialects.chat.client import messages
from assay.model.wrappers.record import conversation
from assay.store import read_record, read_rollouts, read_tasks, write_bytes, write_lines
from assay.types import Message, Rollout, Score, Task

REASONING = "reasoning_content"
"""The field of a message with what was thought, as vLLM and chat templates call it."""
Row = dict[str, Any]
_CARD = """---
configs:
- config_name: default
  data_files: {file}
---

# {rows:,} rows of {model} on {benchmark}, for {kind}

**These are tasks of a benchmark. A model that is trained on them can't be measured by it.**

| | |
| --- | --- |
| benchmark | {benchmark} {version}, {tasks:,} tasks |
| digest of the tasks | `{tasks_digest}` |
| digest of the code that scores | `{code}` |
| model | {model} |
| run | begun {started}, seed {seed}{id} |
| rollouts | {rollouts:,} |
| rows | {rows:,} |

A row: {row}

Left out:

{left_out}
"""
ROWS = {
    "sft": "`messages`, of which those with `weight` 1 are learned; `tools` as JSON; `task`, `repeat`, `reward`.",
    "dpo": "`prompt`, `chosen` and `rejected` as messages, two attempts at one task; `tools` as JSON; their rewards.",
    "rft": "`messages`, of which the model wrote those with `weight` 1; `reward`, `metrics`; `tools` as JSON; and "
    "`tokens` by turn (prompt, output and log-probabilities) where the server gave them.",
}


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """What `--set KEY=VALUE` changes."""

    min_reward: float | None = None
    """The least reward of what is imitated or chosen; None for the highest that the verifier can give."""
    doubted: bool = False
    """Whether attempts stay whose reward a detector doubts."""
    parquet: bool = False
    """Whether the file is Parquet instead of JSONL."""


class Attempt(Struct, frozen=True):
    """A rollout that may be learned from."""

    task: Task
    rollout: Rollout
    score: Score
    prompt: list[Row]
    completion: list[Row]
    """The messages after the prompt."""

    def row(self, **more: Any) -> Row:
        """Returns the columns that all kinds of rows share."""
        tools = [{"type": "function", "function": msgspec.to_builtins(tool)} for tool in self.task.tools]
        common = {"task": self.task.id, "tools": msgspec.json.encode(tools).decode() if tools else None}
        return {**more, **common}


def read_attempts(folder: Path, doubted: bool) -> tuple[list[Attempt], Counter[str]]:
    """Returns the attempts of a run that may be learned from, and how many others there are, by the reason."""
    record, tasks = read_record(folder), read_tasks(folder)
    by_id = {task.id: (place, task) for place, task in enumerate(tasks)}
    profile = folder.resolve().parent.parent
    marks = marks_of(read_remarks(profile)) if is_present(profile / "plan.jsonl") else {}
    rollouts: dict[tuple[str, int], Rollout] = {}
    for rollout in read_rollouts(folder, tasks):
        if isinstance(rollout.outcome, Score) or rollout.key not in rollouts:
            rollouts[rollout.key] = rollout
    attempts, left_out = list[Attempt](), Counter[str]()
    for rollout in sorted(rollouts.values(), key=lambda one: (by_id[one.task][0], one.repeat)):
        _, task = by_id[rollout.task]
        mark = last_word(marks.get((record.model, content(rollout, task)), ()), task_digest(task), _reward(rollout))
        attempt = _attempt(task, rollout)
        if isinstance(attempt, Attempt) and mark and standing(mark, task_digest(task), _reward(rollout)) != "right":
            attempt = f"a reader's mark says {mark.fault}"
        if isinstance(attempt, Attempt) and not doubted and not mark and (name := _doubt(attempt)):
            attempt = f"the detector '{name}' doubts the reward"
        if isinstance(attempt, Attempt):
            attempts.append(attempt)
        else:
            left_out[attempt] += 1
    return attempts, left_out


def _reward(rollout: Rollout) -> float | None:
    return rollout.outcome.reward if isinstance(rollout.outcome, Score) else None


def _attempt(task: Task, rollout: Rollout) -> Attempt | str:
    """Returns a rollout as an attempt, or why it is none."""
    if not isinstance(rollout.outcome, Score):
        return "it failed, and has no reward"
    if rollout.stop not in ("completed", "refused") or not rollout.turns:
        return f"it was cut ({rollout.stop})"
    if any(turn.follows is not None for turn in rollout.turns):
        return "it holds several conversations"
    last = len(rollout.turns) - 1
    try:
        prompt = messages(list(task.input), REASONING)
        whole = messages([*conversation(rollout.turns, last), *rollout.turns[last].response.output], REASONING)
    except ModelError as error:
        return f"no chat messages hold it: {error}"
    rows = [
        one | {"weight": int(place >= len(prompt))} if one["role"] == "assistant" else one
        for place, one in enumerate(whole)
    ]
    return Attempt(task, rollout, rollout.outcome, rows[: len(prompt)], rows[len(prompt) :])


def _doubt(attempt: Attempt) -> str | None:
    """Returns the name of a detector that sees another fault than the model's; None where none does."""
    prompt = "\n".join(item.text for item in attempt.task.input if isinstance(item, Message))
    one = ScoredRollout(attempt.rollout, attempt.score, attempt.task, prompt)
    for detector in load_detectors():
        if isinstance(detector, RolloutDetector) and detector.fault not in ("model", "unclear") and detector.spot(one):
            return detector.name
    return None


def _sft(attempts: list[Attempt], least: float, left_out: Counter[str]) -> Iterator[Row]:
    for one in attempts:
        if one.score.reward < least:
            left_out[f"its reward is below {least:g}"] += 1
            continue
        messages = [*one.prompt, *one.completion]
        yield one.row(messages=messages, repeat=one.rollout.repeat, reward=one.score.reward)


def _dpo(attempts: list[Attempt], least: float, left_out: Counter[str]) -> Iterator[Row]:
    """Yields a pair for each good attempt at a task that has a worse one, the best with the worst first."""
    by_task: dict[str, list[Attempt]] = {}
    for one in attempts:
        by_task.setdefault(one.task.id, []).append(one)
    for group in by_task.values():
        ranked = sorted(group, key=lambda one: -one.score.reward)
        pairs = zip(ranked[: len(ranked) // 2], reversed(ranked), strict=False)
        good = [(a, b) for a, b in pairs if a.score.reward >= least and a.score.reward > b.score.reward]
        left_out["no attempt at the same task makes a pair with it"] += len(group) - 2 * len(good)
        for chosen, rejected in good:
            rewards = {"chosen_reward": chosen.score.reward, "rejected_reward": rejected.score.reward}
            yield chosen.row(prompt=chosen.prompt, chosen=chosen.completion, rejected=rejected.completion, **rewards)


def _rft(attempts: list[Attempt], least: float, left_out: Counter[str]) -> Iterator[Row]:
    for one in attempts:
        tokens = [turn.response.tokens for turn in one.rollout.turns]
        yield one.row(
            messages=[*one.prompt, *one.completion],
            repeat=one.rollout.repeat,
            reward=one.score.reward,
            metrics=one.score.metrics or None,
            tokens=msgspec.to_builtins(tokens) if all(tokens) else None,
        )


def _write(kind: str, rows_of: Callable[..., Iterator[Row]], folder: Path, place: Path, options: Options) -> str:
    record = read_record(folder)
    attempts, left_out = read_attempts(folder, options.doubted)
    count_all = len(attempts) + left_out.total()
    least = record.score.range[1] if options.min_reward is None else options.min_reward
    rows = list(rows_of(attempts, least, left_out))
    reasons = [f"- {count:,}: {reason}" for reason, count in left_out.most_common() if count]
    if not rows:
        raise UsageError(f"{folder} has no rows for {kind}. Left out:\n" + "\n".join(reasons))
    file = f"train.{'parquet' if options.parquet else 'jsonl'}"
    data = _parquet(rows) if options.parquet else None
    place.mkdir(parents=True, exist_ok=True)
    if data is None:
        write_lines(place / file, rows)
    else:
        write_bytes(place / file, data)
    fields: dict[str, Any] = {name: getattr(record, name) for name in ("benchmark", "version", "tasks", "tasks_digest")}
    fields |= {name: getattr(record, name) for name in ("code", "model", "started", "seed")}
    card = _CARD.format(
        **fields,
        kind=kind,
        file=file,
        id=f", {record.id}" if record.id else "",
        rollouts=count_all,
        rows=len(rows),
        row=ROWS[kind],
        left_out="\n".join(reasons) or "- nothing",
    )
    (place / "README.md").write_text(card, encoding="utf-8")
    return f"{len(rows):,} rows are in {place / file}; {place / 'README.md'} says what was left out"


def _parquet(rows: list[Row]) -> bytes:
    arrow, parquet = require("pyarrow", "parquet"), require("pyarrow.parquet", "parquet")
    sink = arrow.BufferOutputStream()
    try:
        parquet.write_table(arrow.Table.from_pylist(rows), sink)
    except arrow.ArrowException as error:
        raise UsageError(f"Parquet can't hold these messages ({error}); leave --set parquet=true out") from None
    return sink.getvalue().to_pybytes()


SFT = Export(run=partial(_write, "sft", _sft), options=Options())
DPO = Export(run=partial(_write, "dpo", _dpo), options=Options())
RFT = Export(run=partial(_write, "rft", _rft), options=Options())

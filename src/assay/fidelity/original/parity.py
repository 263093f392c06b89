"""Parity: whether a benchmark here gives the same scores as its original code. A ladder of four steps:

    data        are the tasks the same, and their gold answers; is the original's data file the one that is used here?
    prompts     are the rendered prompts the same, byte by byte?
    verifiers   are the same outputs given the same score, one by one? This carries no sampling noise.
    samples     does a fresh run here score the same up to a margin, by two one-sided tests at 5 % over all looks?

A step without input is not run. On the first three steps one disagreement gives `different`. A step is `inconclusive`
if a part could not be compared, such as a task that the original's results lack. The result of the ladder is the first
of these that holds:

    different       a step is different
    inconclusive    a step is inconclusive
    equivalent      the samples are equivalent; outputs were scored identically, or there were none
    identical       the same outputs were scored identically, and there was no fresh run
    inconclusive    there were neither outputs nor a fresh run: equal tasks and prompts do not show equal scores

So `identical` is about verifiers on recorded outputs alone. It does not show that a model scores the same here, with
its server and its template. The gate needs both. A replay of the original's own outputs is not a fresh run: it would
agree by construction.
"""

import asyncio
import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Original
from assay.benchmark.code import code_of
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.collect.run import connect_roles, tasks_of
from assay.config import ModelConfig
from assay.digest import task_digest, tasks_digest
from assay.errors import ModelError, UsageError
from assay.fidelity.original.published import FORGIVEN, MARGIN, run_settings, setting_differences, step_of
from assay.fidelity.original.reference import OriginalResults, Row, is_replay, matrix, responses_of
from assay.fidelity.results.contender import LARGEST_GAP, RATE_LIMIT
from assay.fidelity.results.results import Cell, Results, text_digest
from assay.fidelity.results.results import read as read_results
from assay.fidelity.schema.evidence import Disagreement, Parity, Rung, RungResult, SampleLook
from assay.input import read_input
from assay.model.builtin.function import FunctionModel
from assay.model.dialects import thinking
from assay.score import Mean, ScoreRule
from assay.stats.compare import Equivalence, equivalence
from assay.store import RunRecord, read_record, read_tasks
from assay.types import Failure, FunctionCallOutput, Message, Outcome, Request, Response, Rollout, Score, Task

SAME = 1e-6
"""Scores that differ by less are the same: a file may hold 0.333333 for a third."""
AROUND = 24
"""Characters to quote on each side of the place where two texts differ."""
REASONING = ("auto", "field", "tags", "none")


async def compare(
    benchmark: Benchmark,
    reference: OriginalResults,
    *,
    run: Path | None = None,
    data: Sequence[Path] = (),
    margin: float = MARGIN,
    earlier: Sequence[SampleLook] = (),
    roles: Mapping[str, ModelConfig] | None = None,
    concurrency: int = 16,
) -> Parity:
    """Returns the parity of the original's results, a run directory with fresh samples, and the original's data files.

    `margin` is a share, and `earlier` has the previous looks at this run, which make this test stricter. At most
    `concurrency` outputs are verified at once. Raises UsageError if the run is not of this benchmark as it is now, or a
    role of the benchmark has no model.
    """
    if run is not None and reference.record.aggregate is not None:
        raise UsageError("fresh samples are compared task by task, and only the score of all results is known there")
    if not 0 < margin < 1:
        raise UsageError(f"the margin is {100 * margin:g} points; expected more than 0 and less than 100")
    tasks = {task.id: task for task in tasks_of(benchmark)}
    record = None if run is None else _record(run, benchmark, tasks)
    samples, looks = _samples(tasks, reference, record, None if run is None else read_results(run), margin, earlier)
    ladder = [
        _data(benchmark, tasks, reference, data),
        _prompts(tasks, reference),
        await _verifiers(benchmark, tasks, reference, roles or {}, concurrency),
        samples,
    ]
    verdict, reason = verdict_of(ladder)
    return Parity(
        benchmark=benchmark.name,
        version=benchmark.version,
        tasks_digest=tasks_digest(tasks.values()),
        code=code_of(benchmark),
        model=record and record.model,
        reference=reference.record,
        margin=margin,
        verdict=verdict,
        reason=reason,
        ladder=ladder,
        looks=looks,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def digests_of(benchmark: Benchmark) -> tuple[str, str]:
    """Returns the digests of a benchmark's tasks and code as they are now. A parity counts only for these."""
    return tasks_digest(tasks_of(benchmark)), code_of(benchmark)


def verdict_of(ladder: Sequence[Rung]) -> tuple[RungResult, str]:
    """Returns the result of a ladder, and the reason."""
    rungs = {rung.name: rung for rung in ladder}
    for verdict in ("different", "inconclusive"):
        if found := [rung for rung in ladder if rung.verdict == verdict]:
            return verdict, " ".join(f"{rung.name.capitalize()}: {rung.reason}" for rung in found)
    frozen, fresh = rungs["verifiers"].verdict == "identical", rungs["samples"].verdict == "equivalent"
    if fresh:
        also = (
            "The same outputs are scored identically, and " if frozen else "There are no outputs to score again, but "
        )
        return "equivalent", f"{also}fresh samples are equivalent. {rungs['samples'].reason}"
    if frozen:
        return "identical", f"The same outputs are scored identically. {rungs['samples'].reason}"
    reason = "There are neither outputs of the original nor a fresh run here: equal tasks do not show equal scores."
    return "inconclusive", reason


def _data(benchmark: Benchmark, tasks: Mapping[str, Task], reference: OriginalResults, data: Sequence[Path]) -> Rung:
    """Returns the data rung: are the tasks the same, by their ids, gold answers, and the data files' digests?"""
    there = reference.rewards
    extra = [task for task in there if task not in tasks]
    missing = [task for task in tasks if task not in there and task not in benchmark.incomparable]
    golds = dict.fromkeys((row.task, row.gold) for row in _sorted_rows(tasks, reference) if row.gold is not None)
    wrong = [(task, gold) for task, gold in golds if gold.strip() != (tasks[task].gold or "").strip()]
    digests = {file: _file_digest(benchmark, file) for file in data}
    ours = {source.sha256 for source in benchmark.data}
    strange = [f"{file} has sha256 {sha256}" for file, sha256 in digests.items() if sha256 not in ours]
    known = not strange if data else None
    compared = len({task for task, _ in golds})
    numbers = {
        "tasks_here": len(tasks),
        "tasks_there": len(there),
        "missing": len(missing),
        "extra": len(extra),
        "gold_compared": compared,
        "gold_different": len({task for task, _ in wrong}),
        "sha256": ", ".join(digests.values()) or None,
        "sha256_known": known,
    }
    disagreements = [Disagreement(task, None, "a task", "no such task") for task in extra]
    disagreements += [Disagreement(t, None, gold, tasks[t].gold or "", "another gold answer") for t, gold in wrong]
    disagreements += [Disagreement(task, None, "no result", "a task") for task in missing]
    verdict: RungResult = "different"
    words = [
        f"{len(extra):,} tasks that are not here, such as {extra[0]}" if extra else "",
        f"{len(wrong):,} gold answers differ, such as that of {wrong[0][0]}" if wrong else "",
        f"{', '.join(strange)}, which is no file of {benchmark.name}'s" if strange else "",
    ]
    if not any(words) and missing:
        lacking = f"{len(missing):,} of the {len(tasks):,} tasks, such as {missing[0]}"
        verdict, words = "inconclusive", [f"the original's results lack {lacking}: whether it has them is not known"]
    elif not any(words):
        verdict = "identical"
        words = [
            f"the same {len(tasks):,} tasks",
            f"{compared:,} gold answers are the same" if golds else "gold answers were not given",
            *(f"{file.name} is the file that is used here" for file in data),
        ]
    text = "; ".join(filter(None, words))
    reason = f"{text[0].upper()}{text[1:]}."
    return Rung(name="data", verdict=verdict, reason=reason, numbers=numbers, disagreements=disagreements)


def _file_digest(benchmark: Benchmark, file: Path) -> str:
    """Returns the file's SHA-256. Raises UsageError if the benchmark has no data file."""
    if not benchmark.data:
        raise UsageError(f"benchmark {benchmark.name} states no data file that {file} could be compared with")
    try:
        return hashlib.sha256(read_input(file)).hexdigest()
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from None


def _prompts(tasks: Mapping[str, Task], reference: OriginalResults) -> Rung:
    """Returns the prompts rung: are the rendered prompts the same, byte by byte?"""
    rows = [row for row in _sorted_rows(tasks, reference) if row.prompt is not None]
    if not rows:
        return Rung(name="prompts", verdict="not run", reason="The original's prompts were not given.")
    different = [(row, parts) for row in rows if (parts := _first_difference(row, tasks[row.task]))]
    differing = [Disagreement(row.task, row.repeat, *parts) for row, parts in different]
    lacking = len((reference.rewards.keys() & tasks.keys()) - {row.task for row in rows})
    numbers = {"compared": len(rows), "different": len(differing), "tasks_without": lacking}
    if differing:
        first = differing[0]
        reason = (
            f"{len(differing):,} of {len(rows):,} prompts differ, the first of {first.task} {first.why}: "
            f"{first.there} there, {first.here} here."
        )
        return Rung(name="prompts", verdict="different", reason=reason, numbers=numbers, disagreements=differing)
    reason = f"{len(rows):,} rendered prompts are the same, byte by byte."
    if lacking:
        reason += f" {lacking:,} tasks were given without theirs."
    return Rung(name="prompts", verdict="inconclusive" if lacking else "identical", reason=reason, numbers=numbers)


def _sorted_rows(tasks: Mapping[str, Task], reference: OriginalResults) -> list[Row]:
    """Returns the rows of the benchmark's tasks, in the order of the tasks and by repeat."""
    place = {task: index for index, task in enumerate(tasks)}
    return sorted((row for row in reference.rows if row.task in place), key=lambda row: (place[row.task], row.repeat))


def _first_difference(row: Row, task: Task) -> tuple[str, str, str] | None:
    """Returns (there, here, where) of the first difference of two prompts; None if they are the same."""
    if isinstance(row.prompt, str):
        there, here = [("", row.prompt)], [("", task.prompt)]
    else:
        there = [(said.role, said.content) for said in row.prompt or []]
        here = [
            (item.role, item.text) if isinstance(item, Message) else ("item", msgspec.json.encode(item).decode())
            for item in task.input
        ]
    roles = [", ".join(role for role, _ in messages) or "none" for messages in (there, here)]
    if roles[0] != roles[1]:
        return roles[0], roles[1], "in its messages"
    for number, ((_, a), (_, b)) in enumerate(zip(there, here, strict=True), 1):
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            message = f", message {number}" if len(there) > 1 else ""
            return _around(a, at), _around(b, at), f"at character {at + 1}{message}"
    return None


def _around(text: str, at: int) -> str:
    start, end = max(0, at - AROUND), at + AROUND
    return f"{'…' if start else ''}{text[start:end]!r}{'…' if end < len(text) else ''}"


async def _rollouts(
    benchmark: Benchmark, tasks: Mapping[str, Task], rows: Sequence[Row], reasoning: str, concurrency: int
) -> list[Rollout]:
    """Returns the benchmark's rollout of each of the original's outputs."""
    rollouts: dict[int, Rollout] = {}
    waiting = enumerate(rows)

    async def verify() -> None:
        for index, row in waiting:
            await asyncio.sleep(0)  # many verifiers never wait, so without this it could not be interrupted
            rollouts[index] = await _rollout(benchmark, tasks[row.task], row, reasoning)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(rows))):
            group.create_task(verify())
    return [rollouts[index] for index in range(len(rows))]


async def _verifiers(
    benchmark: Benchmark,
    tasks: Mapping[str, Task],
    reference: OriginalResults,
    roles: Mapping[str, ModelConfig],
    concurrency: int,
) -> Rung:
    """Returns the verifiers rung: do the same outputs get the same score, each as the answer in a normal rollout?"""
    known = [row for row in _sorted_rows(tasks, reference) if row.task not in benchmark.incomparable]
    rows = [row for row in known if row.output is not None]
    left_out = sum(row.task in benchmark.incomparable for row in reference.rows)
    if not rows:
        return Rung(name="verifiers", verdict="not run", reason="The original's outputs were not given.")
    reasoning = str(reference.record.settings.get("reasoning", "auto"))
    if reasoning not in REASONING:
        raise UsageError(f"--setting reasoning={reasoning}: expected one of {', '.join(REASONING)}")
    async with connect_roles(benchmark, roles, concurrency=concurrency) as ready:
        rollouts = await _rollouts(ready, tasks, rows, reasoning, concurrency)
    pairs: list[tuple[Row, Outcome]] = [(row, made.outcome) for row, made in zip(rows, rollouts, strict=True)]
    tools = [pair for row, made in zip(rows, rollouts, strict=True) for pair in _tool_outputs(row, made)]
    otherwise, guessed = None, list[Row]()
    if original := benchmark.original:
        settings = reference.record.settings
        theirs = [_original_score(original, tasks[row.task], row, reasoning, settings) for row in rows]
        guessed = [row for row, outcome in zip(rows, theirs, strict=True) if outcome is None]
        judged = [(row, ours, outcome) for (row, ours), outcome in zip(pairs, theirs, strict=True) if outcome]
        otherwise = sum(_reward(ours) != _reward(outcome) for _, ours, outcome in judged)
        pairs = [(row, outcome) for row, _, outcome in judged]
    if reference.record.aggregate is not None:
        return _compare_aggregates(benchmark, tasks, pairs, reference.record.aggregate)
    differing = [
        Disagreement(row.task, row.repeat, f"{row.reward:g}", *_here(outcome))
        for row, outcome in pairs
        if isinstance(outcome, Failure) or abs(outcome.reward - row.reward) > SAME
    ]
    failed = [outcome for _, outcome in pairs if isinstance(outcome, Failure)]
    numbers = {
        "judged": len(pairs),
        "agree": len(pairs) - len(differing),
        "disagree": len(differing),
        "failed": len(failed),
        "without_output": (lacking := len(known) - len(rows)),
        "left_out": left_out + len(guessed),
        "guessed": len(guessed),
        "guesses_add": sum(row.reward for row in guessed) / len(reference.rows),
        "tool_outputs": len(tools),
        "tool_outputs_differ": sum(there != here for there, here in tools),
        "reasoning": reasoning,
        **({} if otherwise is None else {"otherwise": otherwise}),
    }
    verdict, reason = _judge_verifiers(pairs, differing, failed, otherwise)
    also = {
        f"{left_out:,} are left out: the benchmark declares that they can't be compared.": left_out,
        f"{numbers['tool_outputs_differ']:,} of {len(tools):,} outputs of tools differ in their text.": tools,
        f"{lacking:,} results came without an output.": lacking,
    }
    reason = " ".join([_guesses(guessed, len(pairs), reference), reason, *filter(also.get, also)]).strip()
    if verdict == "identical" and (lacking or left_out + len(guessed) > benchmark.most_left_out * len(reference.rows)):
        verdict = "inconclusive"
    return Rung(name="verifiers", verdict=verdict, reason=reason, numbers=numbers, disagreements=differing)


def _judge_verifiers(
    pairs: Sequence[tuple[Row, Outcome]],
    differing: Sequence[Disagreement],
    failed: Sequence[Failure],
    otherwise: int | None,
) -> tuple[RungResult, str]:
    """Returns the result of the verifiers rung, and the reason."""
    if differing:
        first = differing[0]
        reason = f"{len(differing):,} of {len(pairs):,} outputs are scored otherwise, such as {first.task}'s: "
        reason += f"{first.there} there, {first.here} here."
        if failed:
            reason += f" Of these, the verifier failed on {len(failed):,}: {failed[0].message}."
        return "different", reason
    if otherwise is None:
        return "identical", f"{len(pairs):,} outputs are scored alike by both verifiers."
    return "identical", (
        f"{len(pairs):,} outputs are scored alike by the original's judgement, as it is written here. "
        f"The benchmark's own verifier judges {otherwise:,} of them otherwise; see its card."
    )


def _compare_aggregates(
    benchmark: Benchmark, tasks: Mapping[str, Task], pairs: Sequence[tuple[Row, Outcome]], aggregate: str
) -> Rung:
    """Returns the verifiers rung by the score of all alone. Differences may cancel, so it is never `identical`."""
    failed = [outcome for _, outcome in pairs if isinstance(outcome, Failure)]
    rewards: dict[str, list[float]] = {}
    for row, outcome in pairs:
        rewards.setdefault(row.task, []).append(outcome.reward if isinstance(outcome, Score) else math.nan)
    judged = [tasks[task] for task in rewards]
    sample = Results(judged, matrix([*rewards.values()]), [], {}, 0.0, score=benchmark.score).sample
    score = None if sample is None else sample.score
    numbers = {"judged": len(pairs), "failed": len(failed), "score": score, "aggregate": float(aggregate)}
    words = f"The original's judgements were not given, only the score of all: {aggregate} there"
    if failed or score is None:
        why = (
            f"the verifier failed on {len(failed):,} outputs, the first time with: {failed[0].message}"
            if failed
            else ""
        )
        reason = f"{words}; here there is none: {why or 'a task lacks repeats'}."
        return Rung(name="verifiers", verdict="inconclusive", reason=reason, numbers=numbers)
    reason = f"{words}, {100 * score:.{len(aggregate.partition('.')[2])}f} here, of {len(pairs):,} outputs."
    if abs(score - float(aggregate) / 100) > step_of(aggregate) / 2 + FORGIVEN:
        return Rung(name="verifiers", verdict="different", reason=reason, numbers=numbers)
    reason += " Equal scores may hide judgements that differ and cancel."
    return Rung(name="verifiers", verdict="inconclusive", reason=reason, numbers=numbers)


def _guesses(guessed: Sequence[Row], compared: int, reference: OriginalResults) -> str:
    """Returns how many answers the original guesses and what these add to its score; "" for none."""
    if not guessed:
        return ""
    right, score = sum(row.reward for row in guessed), reference.record.score
    added = right / len(reference.rows)
    return (
        f"{compared:,} of {compared:,} compared, {len(guessed):,} left out (the original guesses there). "
        f"Its guesses add {100 * added:.2f} points: {score:.2%} with them, {score - added:.2%} without."
    )


def _original_score(
    original: Original, task: Task, row: Row, reasoning: str, settings: Mapping[str, Any]
) -> Score | Failure | None:
    """Returns the original's score of an output; None for a guess; a Failure if its code raises."""
    turns = responses_of(row, reasoning) or [Response(output=[])]
    try:
        return original(task, turns[-1], settings)
    except Exception as error:  # the benchmark's own code
        return Failure(where="verifier", kind=type(error).__name__, message=str(error), retryable=False)


async def _rollout(benchmark: Benchmark, task: Task, row: Row, reasoning: str) -> Rollout:
    """Returns the rollout in which the model, and the user of a recorded conversation, repeat their answers."""
    if row.user and "user" in benchmark.roles:
        given = {item.text for item in task.input if isinstance(item, Message)}
        said = [Response(output=[thinking.message(text)]) for text in row.user if text not in given]
        benchmark = dataclasses.replace(benchmark, roles={**benchmark.roles, "user": _replayer(said)})
    planned = PlannedRollout(task, task_digest(task), repeat=row.repeat, attempt=0, seed=0)
    return await roll(benchmark, ToolLoop(), _replayer(responses_of(row, reasoning)), planned)


def _replayer(turns: Sequence[Response]) -> FunctionModel:
    """Returns a model that gives these answers, one in each turn, and fails after them."""

    def answer(request: Request) -> Response:
        if request.turn >= len(turns):
            message = f"the recorded output has {len(turns)} turns, and the environment asks for another"
            raise ModelError("not_recorded", message, retryable=False)
        return turns[request.turn]

    return FunctionModel(answer)


def _tool_outputs(row: Row, rollout: Rollout) -> list[tuple[str, str]]:
    """Returns (there, here) of each output of a tool before another model call."""
    here = [item.text for turn in rollout.turns for item in turn.input if isinstance(item, FunctionCallOutput)]
    return list(zip(row.tools, here, strict=False))


def _reward(outcome: Outcome) -> float | None:
    return outcome.reward if isinstance(outcome, Score) else None


def _here(outcome: Outcome) -> tuple[str, str]:
    """Returns (score, reason) of a disagreement."""
    if isinstance(outcome, Score):
        return f"{outcome.reward:g}", "no answer was read" if outcome.answer is None else f"read {outcome.answer!r}"
    return "failed", f"in the {outcome.where}: {outcome.kind}: {outcome.message}"


def _samples(
    tasks: Mapping[str, Task],
    reference: OriginalResults,
    record: RunRecord | None,
    results: Results | None,
    margin: float,
    earlier: Sequence[SampleLook],
) -> tuple[Rung, list[SampleLook]]:
    """Returns the samples rung, does a fresh run score the same up to the margin, and all looks, this one included."""
    if record is None or results is None:
        return Rung(name="samples", verdict="not run", reason="No fresh run was given."), [*earlier]
    if why := _stale(record, results, reference):
        return Rung(name="samples", verdict="not run", reason=why), [*earlier]
    if unlike := setting_differences(reference.record.settings, run_settings(record)):
        reason = f"The settings differ: {', '.join(unlike)}."
        return Rung(name="samples", verdict="inconclusive", reason=reason), [*earlier]
    original = _as_results(results.tasks, reference, results.score)
    here, there = _varying(results).sample, _varying(original).sample
    if not here or not there or not (here.scored_N & there.scored_N).any():
        return Rung(name="samples", verdict="inconclusive", reason="No task has a score on both sides."), [*earlier]
    now = equivalence(here, there, margin)
    # The same data are no new look.
    before = [one for one in earlier if not (math.isclose(one.se, now.se) and one.difference == now.difference)]
    got = equivalence(here, there, margin, [one.se for one in before])
    here_TK, there_TK = results.rewards_TK, original.rewards_TK
    numbers: dict[str, Any] = {
        "difference": got.difference,
        "se": got.se,
        "margin": margin,
        "tasks": got.tasks,
        "repeats_here": int((~np.isnan(here_TK)).sum(axis=1).max()),
        "repeats_there": int((~np.isnan(there_TK)).sum(axis=1).max()),
        "k_to_decide": got.k_to_decide,
        "looks": 1 + len(before),
        "bounded_here": got.bounded[0],
        "bounded_there": got.bounded[1],
        "failures_here": len(results.failed),
        "owed_here": results.owed,
    }
    verdict, reason = got.verdict, _describe(got)
    for why in _reservations(tasks, reference, results, got.tasks):
        verdict, reason = "inconclusive", f"{why} So far: {reason}"
    look = SampleLook(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        difference=got.difference,
        se=got.se,
        repeats_here=numbers["repeats_here"],
        repeats_there=numbers["repeats_there"],
    )
    return Rung(name="samples", verdict=verdict, reason=reason, numbers=numbers), [*before, look]


def _stale(record: RunRecord, results: Results, reference: OriginalResults) -> str | None:
    """Returns why a run is not a fresh sample; None if it seems to be one."""
    if is_replay(results, reference):
        return (
            "All that the run's model wrote are the original's own outputs: a replay, or greedy decoding, or answers "
            "too short to vary. It is no fresh sample."
        )
    if record.server.get("dialect") == "replay" and all(row.output is None for row in reference.rows):
        return "The run is a replay, and the reference has no outputs that would show it to be a fresh sample."
    return None


def _reservations(
    tasks: Mapping[str, Task], reference: OriginalResults, results: Results, compared: int
) -> Iterator[str]:
    """Yields reasons for which the samples don't decide."""
    if results.owed:
        yield f"{results.owed:,} rollouts are still owed by the run."
    if len(results.failed) > RATE_LIMIT * results.planned:
        yield f"{len(results.failed):,} of {results.planned:,} rollouts failed: what is left may be the easier part."
    if compared < (1 - LARGEST_GAP) * len(tasks):
        yield f"Only {compared:,} of the {len(tasks):,} tasks have a score on both sides."
    for side, made in (("here", results), ("of the original", _as_results(list(tasks.values()), reference))):
        if made.repeats > 1 and _varying(made) is made:
            found = made.independence
            if found.verdict == "dependent":
                yield f"The repeats {side} can't be taken as independent. {found.reason}"


def _as_results(tasks: Sequence[Task], reference: OriginalResults, score: ScoreRule | None = None) -> Results:
    """Returns the original's results on these tasks as a run's. Missing outputs count as different texts.

    Its answers are not known, so maj@k can't be computed.
    """
    index = {task.id: number for number, task in enumerate(tasks)}
    repeats = Counter[str]()
    cells: list[Cell] = []
    for row in _sorted_rows({task.id: task for task in tasks}, reference):
        text = -1 - len(cells) if row.output is None else text_digest(responses_of(row))
        cells.append(Cell(index[row.task], repeats[row.task], row.reward, None, "completed", 0, text))
        repeats[row.task] += 1
    return Results(list(tasks), reference.rewards_TK([*index]), cells, {}, 0.0, score=score or Mean())


def _varying(results: Results) -> Results:
    """Returns the results; of a mean one repeat if no task varies, as greedy or cached repeats add no information."""
    rewards_TK = results.rewards_TK
    first_T = np.take_along_axis(rewards_TK, np.argmax(~np.isnan(rewards_TK), axis=1)[:, None], axis=1)
    copies = results.score.attempts == 1 and bool(((rewards_TK == first_T) | np.isnan(rewards_TK)).all())
    return dataclasses.replace(results, rewards_TK=first_T) if copies else results


def _describe(got: Equivalence) -> str:
    points = f"{round(100 * got.difference, 2) + 0.0:+.2f}"  # never -0.00
    reason = (
        f"On {got.tasks:,} tasks the difference, here less there, is {points} points with an SE of "
        f"{100 * got.se:.2f}; the margin is {100 * got.margin:g}."
    )
    sides = [side for side, bounded in zip(("here", "there"), got.bounded, strict=True) if bounded]
    if sides:
        reason += f" Without repeats {' and '.join(sides)}, the variance within tasks is bounded by p(1-p)."
    if got.verdict == "inconclusive":
        reason += f" Look again at {got.k_to_decide:,} repeats a side."
    return reason


def _record(run: Path, benchmark: Benchmark, tasks: Mapping[str, Task]) -> RunRecord:
    """Returns the run's record. Raises UsageError if the run is not of this benchmark as it is now."""
    record = read_record(run)
    code = code_of(benchmark)
    pairs = {
        "benchmark": (record.benchmark, benchmark.name),
        "version": (record.version, benchmark.version),
        "code": (record.code[:12], code[:12]),
    }
    unlike = [f"{name}: {there} there, {here} now" for name, (there, here) in pairs.items() if there != here]
    unlike += [
        f"task {task.id}: {'another' if task.id in tasks else 'none such'} now"
        for task in read_tasks(run)
        if task.id not in tasks or task_digest(tasks[task.id]) != task_digest(task)
    ][:3]
    if unlike:
        raise UsageError(f"{run} is no run of {benchmark.name} as it is now:\n  " + "\n  ".join(unlike))
    return record

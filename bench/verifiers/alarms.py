"""How often the detectors are right about recorded outputs, where the original code's judgement is known.

A detector that says that marks are wrong is right where the benchmark's own verifier differs from the original. Any
other says that an output is spoilt, and is wrong where the output has full marks by both.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from assay.benchmark.verify.choice import choice
from assay.fidelity.detectors.detector import RolloutDetector, ScoredRollout
from assay.fidelity.detectors.search import load_detectors
from assay.fidelity.results.results import of_rollouts
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Response,
    Rollout,
    Score,
    Task,
    Text,
    Tool,
    Turn,
)
from bench.verifiers.recorded import VERIFIERS, differences, output_of, rows
from studies.detectors import Author

Key = tuple[str, str, int]
"""(model, task, repeat)."""


class Alarms(NamedTuple):
    """What one detector names in the outputs of one benchmark."""

    named: list[tuple[Key, str]]
    """With the evidence."""
    false: int


def authors(folder: Path) -> Iterator[tuple[str, Author]]:
    """Yields the recorded outputs of each benchmark, as rollouts with the original's judgement.

    Disputed are those that the benchmark's own verifier judges otherwise.
    """
    for name in VERIFIERS:
        place = folder / "zeroeval" / name
        tasks = [_task(row["task"], row["prompt"], row["gold"].lstrip("# ")) for row in rows(place / "tasks.jsonl.gz")]
        differ = differences(place, "output")
        disputed = frozenset((model, str(row["task"]), 0) for model, row in (*differ.ours, *differ.theirs))
        yield name, Author(tasks, _runs(place), disputed)
    place = folder / "ifeval"
    tasks = [_task(row["key"], row["prompt"], None) for row in rows(place / "tasks.jsonl.gz")]
    yield "ifeval", Author(tasks, _runs(place))
    yield "mmlu-pro", _mmlu_pro(folder / "mmlu-pro")
    runs = _runs(folder / "humaneval")
    yield "humaneval", Author([_task(one.task, "", None) for attempts in runs.values() for one in attempts], runs)
    yield "tau-airline", _conversations(folder / "tau-airline")


def alarms(author: Author) -> dict[str, Alarms]:
    """Returns what each installed detector names, and how often it is wrong."""
    named: defaultdict[str, list[tuple[Key, str]]] = defaultdict(list)
    marks = {(model, *one.key): one.outcome for model, rollouts in author.rollouts.items() for one in rollouts}
    for model, rollouts in author.rollouts.items():
        for detector, task, repeat, evidence in _sightings(author.tasks, rollouts):
            named[detector].append(((model, task, repeat), evidence))
    found: dict[str, Alarms] = {}
    for detector in load_detectors():
        here = named[detector.name]
        if detector.fault == "verifier":
            false = [key for key, _ in here if key not in author.disputed]
        else:
            full = {key for key, score in marks.items() if isinstance(score, Score) and score.reward >= 1}
            false = [key for key, _ in here if key in full - author.disputed]
        found[detector.name] = Alarms(here, len(false))
    return found


def _sightings(tasks: list[Task], rollouts: list[Rollout]) -> Iterator[tuple[str, str, int, str]]:
    """Yields (detector, task, repeat, evidence) of all that is named in a model's rollouts."""
    scored: list[ScoredRollout] = []

    def see(rollout: Rollout, task: Task) -> None:
        if isinstance(rollout.outcome, Score):
            prompt = "\n".join(item.text for item in task.input if isinstance(item, Message))
            scored.append(ScoredRollout(rollout, rollout.outcome, task, prompt))

    results = of_rollouts(tasks, rollouts, see=see)
    for detector in load_detectors():
        if not isinstance(detector, RolloutDetector):
            seen = detector.look(results)
            for place, repeat, evidence in seen.examples if seen else ():
                yield detector.name, tasks[place].id, repeat, evidence
        elif results.reports_answers or not detector.needs_answers:
            for one in scored:
                if evidence := detector.spot(one):
                    yield detector.name, one.rollout.task, one.rollout.repeat, evidence


def _task(name: object, prompt: str, gold: str | None, **data: Any) -> Task:
    return Task(id=str(name), input=[Message(role="user", content=prompt)], gold=gold, data=data)


def _mmlu_pro(folder: Path) -> Author:
    tasks = {
        str(row["question_id"]): _task(row["question_id"], row["question"], row["answer"], options=row["options"])
        for row in rows(folder / "tasks.jsonl.gz")
    }
    runs = _runs(folder)
    disputed = frozenset(
        (model, *one.key)
        for model, attempts in runs.items()
        for one in attempts
        if isinstance(one.outcome, Score) and one.outcome.reward != _reward(one, tasks[one.task])
    )
    return Author(list(tasks.values()), runs, disputed)


def _reward(rollout: Rollout, task: Task) -> float:
    return choice(rollout.turns[-1].response, task.data["options"], task.gold or "").reward


def _runs(folder: Path) -> dict[str, list[Rollout]]:
    found: dict[str, list[Rollout]] = {}
    for file in sorted(folder.glob("*.jsonl.gz")):
        if file.name != "tasks.jsonl.gz":
            turns = ((row, [Turn(input=[], response=output_of(row["output"] or ""))]) for row in rows(file))
            found[file.name.removesuffix(".jsonl.gz")] = [_rollout(row, one) for row, one in turns]
    return found


def _rollout(row: Mapping[str, Any], turns: list[Turn], repeat: int = 0) -> Rollout:
    answer = row.get("answer")
    score = Score(reward=float(row["score"]), answer=None if answer is None else str(answer))
    return Rollout(str(row["task"]), "", repeat, 0, 0, turns, "completed", score)


def _conversations(folder: Path) -> Author:
    """The trajectories of tau-bench: the user's messages and the tools' outputs are the input of the agent's turns."""
    tools = [
        Tool(one["function"]["name"], one["function"]["parameters"])
        for one in json.loads((folder / "tools.json").read_bytes())
    ]
    found = [_rollout(row, list(_turns(row["traj"])), row["trial"]) for row in rows(folder / "gpt-4o.jsonl.gz")]
    tasks = [Task(id=str(name), input=[], tools=tools) for name in sorted({int(one.task) for one in found})]
    return Author(tasks, {"gpt-4o": found}, frozenset())


def _turns(trajectory: Iterable[Mapping[str, Any]]) -> Iterator[Turn]:
    given: list[Item] = []
    for message in trajectory:
        text = message.get("content") or ""
        if message["role"] == "assistant":
            calls = [
                FunctionCall(call["id"], call["function"]["name"], call["function"]["arguments"])
                for call in message.get("tool_calls") or ()
            ]
            said = [Message(role="assistant", content=[Text(text=text)])] if text else []
            yield Turn(input=given, response=Response(output=[*said, *calls]))
            given = []
        elif message["role"] == "tool":
            given.append(FunctionCallOutput(message["tool_call_id"], text))
        else:
            given.append(Message(role=message["role"], content=text))

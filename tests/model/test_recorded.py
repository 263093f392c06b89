"""Answers that are not made but read: replay by task, repeat and turn, and scripted by turn."""

import asyncio
import gzip
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.config import ModelConfig, convert
from assay.digest import task_digest, tasks_digest
from assay.errors import InputError, ModelError, UsageError
from assay.model import Model, connect
from assay.store import RunRecord, Store
from assay.types import (
    Failure,
    FunctionCall,
    Item,
    Message,
    Reasoning,
    ReasoningText,
    Refusal,
    Request,
    Response,
    Rollout,
    Sampling,
    Score,
    SummaryText,
    Task,
    Text,
    TokenIds,
    Turn,
    Usage,
)

ASKED = [Message(role="user", content="?")]


def replay(path: Path, **config: Any) -> Model:
    return connect(ModelConfig(dialect="replay", id=str(path), **config))


def ask(model: Model, task: str = "t", repeat: int = 0, turn: int = 0) -> Response:
    return asyncio.run(model.respond(Request(input=[*ASKED], task=task, repeat=repeat, turn=turn)))


def rollout(task: Task, repeat: int, outcome: Score | Failure, *responses: Response, attempt: int = 0) -> Rollout:
    turns = [Turn(input=[*ASKED], response=response, wall_s=0.5) for response in responses]
    return Rollout(
        task=task.id,
        task_digest=task_digest(task),
        repeat=repeat,
        attempt=attempt,
        seed=1,
        turns=turns,
        stop="completed",
        outcome=outcome,
    )


def run_directory(folder: Path, rollouts: Sequence[Rollout], tasks: Sequence[Task]) -> Path:
    record = RunRecord(
        benchmark="b",
        version="1",
        tasks=len(tasks),
        tasks_digest=tasks_digest(tasks),
        code="",
        model="m",
        server={},
        identity={},
        sampling=Sampling(),
        seed=0,
        repeats=1,
        versions={},
        started="",
    )
    with Store(folder, record, tasks) as store:
        for one in rollouts:
            store.append(one)
    return folder


def lines(path: Path, *rows: Any) -> Path:
    path.write_bytes(b"".join(row if isinstance(row, bytes) else msgspec.json.encode(row) + b"\n" for row in rows))
    return path


# ---- What goes in comes out

# Surrogates have no UTF-8, so no file holds one.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
maybe = st.none() | text
parts = st.builds(Text, text=text) | st.builds(Refusal, refusal=text)
messages = st.builds(Message, role=st.just("assistant"), content=st.lists(parts, max_size=3), id=maybe, phase=maybe)
thoughts = st.builds(
    Reasoning,
    summary=st.lists(st.builds(SummaryText, text=text), max_size=2),
    content=st.none() | st.lists(st.builds(ReasoningText, text=text), max_size=2),
    encrypted_content=maybe,
    id=maybe,
)
calls = st.builds(FunctionCall, call_id=text, name=text, arguments=text)
items: st.SearchStrategy[list[Item]] = st.lists(messages | thoughts | calls, max_size=5)
count = st.integers(0, 2**40)
responses = st.builds(
    Response,
    output=items,
    status=st.sampled_from(["completed", "incomplete"]),
    incomplete_reason=st.sampled_from([None, "max_output_tokens", "content_filter"]),
    usage=st.builds(Usage, input_tokens=count, output_tokens=count, cached_tokens=count, reasoning_tokens=count),
    model=maybe,
    id=maybe,
    tokens=st.none() | st.builds(TokenIds, output=st.lists(count, max_size=3), output_logprobs=st.just([-0.1, -1e-30])),
)
recorded = st.dictionaries(
    st.tuples(st.sampled_from(["t", "ü/1"]), st.integers(0, 5)), st.lists(responses, min_size=1, max_size=3), min_size=1
)


@pytest.mark.heavy
@given(recorded)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_any_rollout_is_answered_again_as_it_was(tmp_path_factory: pytest.TempPathFactory, answers: Any):
    tasks = {name: Task(id=name, input=[*ASKED]) for name in ("t", "ü/1")}
    rollouts = [rollout(tasks[name], repeat, Score(0.0), *said) for (name, repeat), said in answers.items()]
    folder = run_directory(tmp_path_factory.mktemp("run"), rollouts, list(tasks.values()))
    for model in (replay(folder), replay(folder / "rollouts.jsonl")):
        for (name, repeat), said in answers.items():
            assert [ask(model, name, repeat, turn) for turn in range(len(said))] == said
            with pytest.raises(ModelError, match=f"ended after {len(said)} turns"):
                ask(model, name, repeat, len(said))


def test_the_lines_of_shards_are_one_recording_and_a_torn_one_is_none(tmp_path: Path):
    tasks = [Task(id=f"t{number}", input=[*ASKED]) for number in range(6)]
    said = [Response(output=[Message(role="assistant", content=str(number))]) for number in range(6)]
    whole = [rollout(task, 0, Score(1.0), one) for task, one in zip(tasks, said, strict=True)]
    folder = run_directory(tmp_path / "run", [], tasks)
    torn = msgspec.json.encode(whole[5])[:-9]
    lines(folder / "rollouts-1-of-3.jsonl", whole[0], whole[1], torn)
    lines(folder / "rollouts-2-of-3.jsonl")
    lines(folder / "rollouts-3-of-3.jsonl", whole[2], whole[3], whole[4])
    model = replay(folder)
    assert [ask(model, task.id).text for task in tasks[:5]] == ["0", "1", "2", "3", "4"]
    with pytest.raises(ModelError, match=r"no answer to task t5.*it has t0, t1, t2, t3, t4"):
        ask(model, "t5")


def test_a_rollout_that_failed_is_no_answer(tmp_path: Path):
    task = Task(id="t", input=[*ASKED])
    failed = Failure(where="model", kind="timeout", message="", retryable=True)
    first, second = (Response(output=[Message(role="assistant", content=said)]) for said in ("half", "whole"))
    rollouts = [
        rollout(task, 0, failed, first),
        rollout(task, 0, Score(1.0), second, attempt=1),
        rollout(task, 1, failed, first),
    ]
    model = replay(run_directory(tmp_path / "run", rollouts, [task]))
    assert ask(model).text == "whole"
    with pytest.raises(ModelError, match=r"task t, repeat 1; of this task it has repeats 0$") as error:
        ask(model, repeat=1)
    assert (error.value.kind, error.value.retryable) == ("not_recorded", False)


# ---- Answers alone

CALL = {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{bad"}


def test_plain_rows_hold_texts_and_items_by_turn(tmp_path: Path):
    path = lines(
        tmp_path / "x.jsonl",
        {"task": "a", "output": "<think>so</think>4"},
        {"task": "b", "repeat": 2, "output": [[CALL, CALL], "so</think>5"]},
        {"task": "a", "output": "6"},
        b'{"task": "a", "output": [], "note": "ignored"}',
    )
    model = replay(path)
    assert (ask(model, "a").reasoning, ask(model, "a").text) == ("so", "4")
    assert ask(model, "a", repeat=1).text == "6"
    assert ask(model, "b", 2).output == [FunctionCall(call_id="c", name="add", arguments="{bad")] * 2
    assert (ask(model, "b", 2, 1).reasoning, ask(model, "b", 2, 1).text) == ("so", "5")
    for place, words in [
        (("a", 2, 0), "it ended after 0 turns"),
        (("a", 3, 0), "of this task it has repeats 0, 1, 2"),
        (("b", 0, 0), "of this task it has repeats 2"),
        (("c", 0, 0), "no answer to task c, repeat 0; it has a, b"),
    ]:
        with pytest.raises(ModelError, match=words):
            ask(model, *place)
    assert ask(replay(path, reasoning="none"), "a").text == "<think>so</think>4"


def test_a_packed_file_is_read_and_an_id_may_be_a_number(tmp_path: Path):
    empty: list[Any] = [{"task": "u", "output": ""}, {"task": "v", "output": None}]
    plain = lines(tmp_path / "x.jsonl", {"task": 7, "output": "1", "score": 1}, *empty)
    packed = tmp_path / "x.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert [ask(replay(path), "7").text for path in (plain, packed)] == ["1", "1"]
    assert ask(replay(packed), "u").text == ask(replay(packed), "v").text == ""
    assert replay(packed).identity() == replay(plain).identity()
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"expected: JSONL packed by gzip"):
        replay(packed)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "line 2: "),
        (b"\n", "line 2: "),
        (b"\xff\n", "line 2: "),
        ({"output": "x"}, "missing required field `task`"),
        ({"task": "t"}, "neither turns nor output"),
        ({"task": "t", "output": "x", "turns": []}, "or both"),
        ({"task": "t", "output": [{"type": "message"}]}, r"\$\.output\[0\]"),
        ({"task": "t", "output": "x", "repeat": -1}, ">= 0"),
        ({"task": "t", "output": "x", "repeat": 2**40}, "<= "),
        ({"task": "t", "output": "x", "repeat": 0}, "a second answer to task t, repeat 0"),
        ({"task": "t", "turns": [{"input": []}], "outcome": {"type": "score", "reward": 1}}, "missing .*`response`"),
    ],
)
def test_a_damaged_line_is_told(tmp_path: Path, line: Any, words: str):
    path = lines(tmp_path / "x.jsonl", {"task": "t", "output": "1"}, line)
    with pytest.raises(InputError, match=words) as error:
        replay(path)
    assert "x.jsonl, line 2" in str(error.value)


def test_what_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(UsageError, match=r"there is nothing to replay at '.*x\.jsonl'"):
        replay(tmp_path / "x.jsonl")
    with pytest.raises(UsageError, match="not a run directory"):
        replay(tmp_path)


def test_rollouts_of_other_tasks_than_the_runs_are_told(tmp_path: Path):
    asked, other = Task(id="t", input=[*ASKED]), Task(id="t", input=[])
    folder = run_directory(tmp_path / "run", [rollout(other, 0, Score(1.0), Response(output=[]))], [asked])
    with pytest.raises(InputError, match="line 1: a rollout of task t with digest"):
        replay(folder)


def test_the_content_is_the_identity(tmp_path: Path):
    one, same, other = (
        replay(lines(tmp_path / f"{name}.jsonl", {"task": "t", "output": said})).identity()
        for name, said in [("a", "1"), ("b", "1"), ("c", "2")]
    )
    assert one == same
    assert one != other


def test_a_file_that_changes_under_the_command_is_told(tmp_path: Path):
    path = lines(tmp_path / "x.jsonl", {"task": "t", "output": "1"}, {"task": "u", "output": "2"})
    model = replay(path)
    lines(path, {"task": "longer than before", "output": "1"})
    for task in ("t", "u"):
        with pytest.raises(ModelError, match="has changed"):
            ask(model, task)
    path.unlink()
    with pytest.raises(ModelError, match="has changed"):
        ask(model, "u")


def test_memory_is_for_places_and_not_for_answers(tmp_path: Path):
    rows = ({"task": f"task {number % 50}", "output": "x" * 2000} for number in range(10_000))
    path = lines(tmp_path / "x.jsonl", *rows)
    tracemalloc.start()
    model = replay(path)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert ask(model, "task 49", 199).text == "x" * 2000
    assert kept < 400_000 < 0.02 * path.stat().st_size + 200_000


# ---- Scripted


def test_a_script_answers_by_turn(tmp_path: Path):
    script = ["<think>so</think>I add.", [CALL, CALL], "4"]
    model = connect(convert({"dialect": "scripted", "script": script}, ModelConfig, "x"))
    first = ask(model)
    assert (first.reasoning, first.text) == ("so", "I add.")
    assert ask(model, turn=1).output == [FunctionCall(call_id="c", name="add", arguments="{bad")] * 2
    assert (ask(model, "any", 7, turn=2).text, ask(model, turn=2).usage) == ("4", Usage())
    with pytest.raises(ModelError, match="ends after 3 turns") as error:
        ask(model, turn=3)
    assert (error.value.kind, error.value.retryable) == ("script_ended", False)
    raw = connect(convert({"dialect": "scripted", "script": script, "reasoning": "none"}, ModelConfig, "x"))
    assert ask(raw).text == script[0]


def test_an_empty_script_is_told():
    with pytest.raises(UsageError, match="needs the answer of each turn"):
        connect(ModelConfig(dialect="scripted"))

"""Runs as trajectories of ATIF, and back; in the models of the real package harbor where it is."""

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.errors import UsageError
from assay.exports import write
from assay.exports.atif import Trajectory, steps_of, turns_of
from assay.exports.from_atif import import_atif
from assay.store import read_record, read_rollouts, read_tasks
from assay.types import (
    Failure,
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Message,
    Reasoning,
    ReasoningText,
    Response,
    Rollout,
    Text,
    Turn,
    Usage,
)
from tests.agent.programs import HEAD
from tests.commands import assay

RUNS = {
    "arithmetic": ("--model", "micro-instruct", "--limit", "6", "--repeats", "2"),
    "office": ("--model", "gold", "--limit", "4", "--repeats", "1"),
    "interview": ("--model", "null", "--limit", "2", "--repeats", "1"),
}
FOREIGN: dict[str, Any] = {
    "schema_version": "ATIF-v1.4",
    "session_id": "s-1",
    "agent": {
        "name": "terminus",
        "version": "2.0",
        "model_name": "m",
        "tool_definitions": [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}],
        "extra": {"assay": 1},
    },
    "steps": [
        {"step_id": 1, "source": "system", "message": "Be brief.", "timestamp": "2026-01-02T03:04:05Z"},
        {"step_id": 2, "source": "user", "message": "List the files."},
        {
            "step_id": 3,
            "source": "agent",
            "message": "",
            "reasoning_content": "I look.",
            "tool_calls": [{"tool_call_id": "c1", "function_name": "bash", "arguments": {"command": "ls"}}],
            "observation": {"results": [{"source_call_id": "c1", "content": "a b"}]},
            "metrics": {"prompt_tokens": 9, "completion_tokens": 4, "cost_usd": 0.1},
        },
        {"step_id": 4, "source": "agent", "message": "There are a and b."},
    ],
}
HEARD = {"step_id": 1, "source": "user", "message": [{"type": "audio"}]}


PROGRAM = """
def say(*messages):
    return json.loads(post(URL + "/chat/completions", {"model": "m", "tools": [LOOK], "messages": list(messages)}))

LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
main = {"role": "user", "content": "Look around."}
called = say(main)["choices"][0]["message"]
call = called["tool_calls"][0]["id"]
say({"role": "user", "content": "You are a helper. Sum up."})
say(main, called, {"role": "tool", "tool_call_id": call, "content": "a room"})
say({"role": "user", "content": "What was said so far: nothing. Go on."})
"""
"""An agent of several conversations: one with a call, one of a helper in between, and one begun anew."""
SCRIPT = """
[models.m]
dialect = "scripted"
script = [
    [{ type = "function_call", call_id = "c1", name = "look", arguments = "{}" }],
    [{ type = "message", role = "assistant", content = "All is well." }],
    [{ type = "message", role = "assistant", content = "A room." }],
    [{ type = "message", role = "assistant", content = "Done." }],
]
"""


@pytest.fixture(scope="module", params=[*RUNS, "program"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    words = [request.param, *RUNS.get(request.param, ())]
    if request.param == "program":
        argv = json.dumps(["python3", "-c", HEAD + PROGRAM])
        (folder / "assay.toml").write_text(f'[agents.mine]\nagent = "command"\nsettings.argv = {argv}\n{SCRIPT}')
        words = ["office", "--agent", "mine", "--model", "m", "--limit", "1", "--repeats", "1"]
    code, _, err = assay("run", *words, "--out", "r", cwd=folder)
    assert code == 0, err
    return folder / "r"


def by_key(folder: Path) -> dict[tuple[str, int], Rollout]:
    return {one.key: one for one in read_rollouts(folder)}


@pytest.mark.heavy
def test_a_run_comes_back_as_it_was(run: Path, tmp_path: Path):
    code, out, err = assay("export", str(run), "--format", "atif", "--out", "a", cwd=tmp_path)
    assert (code, out) == (0, f"{len(by_key(run))} trajectories are in a\n"), err
    code, out, err = assay("import", "atif", "a", "--out", "back", cwd=tmp_path)
    assert code == 0 and "assay failures ./back" in out, err
    back = tmp_path / "back"
    assert by_key(back) == by_key(run)
    assert read_tasks(back) == [task for task in read_tasks(run) if task.id in {key[0] for key in by_key(run)}]
    assert msgspec.structs.replace(read_record(back), sources=read_record(run).sources) == read_record(run)
    assert assay("failures", "back", cwd=tmp_path)[0] == 0


def test_steps_hold_all_that_the_standard_has_a_name_for(run: Path, tmp_path: Path):
    write(str(run), "atif", tmp_path / "a")
    rollouts = {f"{one.task}/{one.repeat}": one for one in read_rollouts(run)}
    for path in (tmp_path / "a").glob("*.json"):
        read = msgspec.json.decode(path.read_bytes(), type=Trajectory)
        turns = rollouts[read.trajectory_id or ""].turns
        assert [step.step_id for step in read.steps] == list(range(1, len(read.steps) + 1))
        calls = [step for step in read.steps if step.is_call]
        assert [step.message for step in calls] == [turn.response.text for turn in turns]
        for step, turn in zip(calls, turns, strict=True):
            assert step.metrics and step.metrics.prompt_tokens == turn.response.usage.input_tokens
            assert (step.metrics.logprobs or None) == (turn.response.tokens and turn.response.tokens.output_logprobs)
            seen = [result.source_call_id for result in step.observation.results] if step.observation else []
            assert set(seen) <= {call.tool_call_id for call in step.tool_calls or ()}


def test_what_a_step_cannot_hold_is_kept_beside_it():
    image = Message(role="user", content=[InputText(text="See:"), InputImage(image_url="https://x/y.jpg")])
    broken = FunctionCall(call_id="c", name="look", arguments="{not JSON")
    turns = [
        Turn(
            input=[Message(role="developer", content="Be exact."), image],
            response=Response(output=[Message(role="assistant", content=[Text(text="Hm.")], id="m1"), broken]),
            started_s=0.25,
        ),
        Turn(
            input=[FunctionCallOutput(call_id="c", output="what?"), Message(role="user", content="Go on.")],
            response=Response(
                output=[
                    Reasoning(content=[ReasoningText(text="So.")]),
                    Message(role="assistant", content=[Text(text="Yes.")]),
                ],
                usage=Usage(input_tokens=3, output_tokens=2),
            ),
            wall_s=1.5,
        ),
        Turn(input=[], response=Response(output=[], status="incomplete"), follows=0),
    ]
    steps = steps_of(turns, datetime(2026, 1, 1, tzinfo=UTC))
    assert list(turns_of(msgspec.convert(msgspec.to_builtins(steps), list[type(steps[0])]))) == turns
    assert [step.own.turn is not None for step in steps if step.is_call] == [True, False, True]


def test_somebody_elses_trajectory_is_a_run_without_rewards(tmp_path: Path):
    (tmp_path / "one.json").write_text(json.dumps(FOREIGN))
    assert import_atif([tmp_path / "one.json"], tmp_path / "run") == (1, 1)
    [rollout] = read_rollouts(tmp_path / "run")
    [task] = read_tasks(tmp_path / "run")
    assert [item.text for item in task.input] == ["Be brief.", "List the files."]  # type: ignore
    assert task.tools[0].name == "bash"
    assert rollout.outcome == Failure("verifier", "no_reward", "the trajectory states no reward", retryable=False)
    first, second = rollout.turns
    assert (first.response.reasoning, first.response.usage.input_tokens) == ("I look.", 9)
    assert (
        second.input == [FunctionCallOutput(call_id="c1", output="a b")]
        and second.response.text == "There are a and b."
    )
    assert read_record(tmp_path / "run").started == "2026-01-02T03:04:05+00:00"
    code, out, err = assay("failures", "run", cwd=tmp_path)
    assert code == 0 and "the trajectory states no reward" in out + err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"schema_version": "ATIF-v1.4"}', "missing required field"),
        (json.dumps(FOREIGN | {"schema_version": "ATIF-v2.0"}).encode(), "schema_version 'ATIF-v2.0'"),
        (json.dumps(FOREIGN | {"steps": "none"}).encode(), "Expected `array`"),
        (
            json.dumps(
                FOREIGN | {"steps": [{"step_id": 1, "source": "user", "message": [{"type": "audio"}]}]}
            ).encode(),
            "a content of the type 'audio'",
        ),
    ],
)
def test_what_is_no_trajectory_is_refused(content: bytes, words: str, tmp_path: Path):
    (tmp_path / "one.json").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        import_atif([tmp_path / "one.json"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path):
    for name, model in (("one", "m"), ("two", "n")):
        agent = FOREIGN["agent"] | {"model_name": model}
        (tmp_path / f"{name}.json").write_text(json.dumps(FOREIGN | {"session_id": name, "agent": agent}))
    with pytest.raises(UsageError, match="of several runs"):
        import_atif([tmp_path], tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no trajectories"):
        import_atif([tmp_path / "empty"], tmp_path / "run")


HARBOR = """
import sys
from pathlib import Path
from harbor.models.trajectories import Trajectory
for path in map(Path, sys.argv[1:]):
    read = Trajectory.model_validate_json(path.read_bytes())
    path.write_text(read.model_dump_json(exclude_none=True))
"""


def test_a_programs_conversations_stay_apart(run: Path):
    if (run.parent / "assay.toml").exists():
        [rollout] = read_rollouts(run)
        assert [turn.follows for turn in rollout.turns] == [None, -1, 0, -1]


@pytest.mark.harbor
def test_harbors_own_models_read_and_write_the_same(run: Path, tmp_path: Path):
    write(str(run), "atif", tmp_path / "a")
    files = [str(path) for path in (tmp_path / "a").glob("*.json")]
    subprocess.run([os.environ["ASSAY_HARBOR"], "-c", HARBOR, *files], check=True, timeout=100)
    import_atif([tmp_path / "a"], tmp_path / "back")
    assert by_key(tmp_path / "back") == by_key(run)


@pytest.mark.harbor
def test_a_trajectory_that_harbor_wrote_is_read(tmp_path: Path):
    file = tmp_path / "one.json"
    file.write_text(json.dumps(FOREIGN))
    subprocess.run([os.environ["ASSAY_HARBOR"], "-c", HARBOR, str(file)], check=True, timeout=100)
    assert import_atif([file], tmp_path / "run") == (1, 1)
    assert len(next(iter(read_rollouts(tmp_path / "run"))).turns) == 2

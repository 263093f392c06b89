"""Folders of Harbor's jobs as runs: rewards, exceptions, times, agents, and what an agent leaves as a trajectory."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from assay.errors import UsageError
from assay.exports.from_log import import_log
from assay.gyms.logs import log_files
from assay.store import read_record, read_rollouts, read_tasks
from assay.types import Failure, Rollout, Score
from tests.commands import assay

TRAJECTORY: dict[str, Any] = {
    "schema_version": "ATIF-v1.8",
    "agent": {"name": "terminus-2", "version": "2.0.0", "model_name": "qwen"},
    "steps": [
        {"step_id": 1, "source": "user", "message": "Make the file."},
        {
            "step_id": 2,
            "source": "agent",
            "message": "",
            "tool_calls": [{"tool_call_id": "c1", "function_name": "bash", "arguments": {"command": "touch x"}}],
            "observation": {"results": [{"source_call_id": "c1", "content": ""}]},
            "metrics": {"prompt_tokens": 9, "completion_tokens": 4},
        },
        {"step_id": 3, "source": "agent", "message": "Done."},
    ],
}
AGENT = {"name": "terminus-2", "version": "2.0.0", "model_info": {"name": "qwen", "provider": "local"}}


def write_trial(job: Path, name: str, **stated: Any) -> Path:
    """Writes a trial as Harbor does, with a trajectory, and returns its folder."""
    result = {
        "task_name": f"org/{name.partition('__')[0]}",
        "trial_name": name,
        "source": "small-bench",
        "task_checksum": "0",
        "agent_info": AGENT,
        "verifier_result": {"rewards": {"reward": 1.0}},
        "exception_info": None,
        "started_at": "2026-11-02T10:00:00.000001Z",
        "finished_at": "2026-11-02T10:01:00Z",
        "agent_execution": {"started_at": "2026-11-02T10:00:10Z", "finished_at": "2026-11-02T10:00:32.5Z"},
    } | stated
    (job / name / "agent").mkdir(parents=True)
    (job / name / "result.json").write_text(json.dumps(result))
    (job / name / "config.json").write_text("{}")
    (job / name / "agent/trajectory.json").write_text(json.dumps(TRAJECTORY))
    return job / name


def raised(kind: str) -> dict[str, str]:
    return {"exception_type": kind, "exception_message": "so it was", "exception_traceback": "…"}


def imported(job: Path, score: str | None = None) -> dict[tuple[str, int], Rollout]:
    out = job.with_name(f"{job.name}-out")
    import_log(log_files([str(job)]), out, score)
    return {rollout.key: rollout for rollout in read_rollouts(out)}


def test_a_job_is_a_run(tmp_path: Path):
    job = tmp_path / "job"
    write_trial(job, "a__1")
    write_trial(job, "a__2", verifier_result={"rewards": {"speed": 0.2, "reward": 0}})
    (job / "result.json").write_text('{"id": "x", "n_total_trials": 2, "stats": {}}')
    code, out, err = assay("import", "job", "--out", "run", cwd=tmp_path)
    assert code == 0 and "2 rollouts of 1 tasks of Harbor" in out, err
    record, rollouts = read_record(tmp_path / "run"), list(read_rollouts(tmp_path / "run"))
    assert (record.benchmark, record.model, str(record.agent)) == (
        "harbor:small-bench",
        "local/qwen",
        "terminus-2 2.0.0",
    )
    assert record.started.startswith("2026-11-02T10:00:00")
    assert [rollout.outcome for rollout in rollouts] == [Score(1.0), Score(0.0, {"speed": 0.2})]
    assert [(rollout.wall_s, rollout.stop, len(rollout.turns)) for rollout in rollouts] == [(22.5, "completed", 2)] * 2
    assert rollouts[0].turns[0].response.usage.output_tokens == 4
    [task] = read_tasks(tmp_path / "run")
    assert task.id == "org/a" and task.input == rollouts[0].turns[0].input


@pytest.mark.parametrize(
    ("stated", "where", "says"),
    [
        ({"exception_info": raised("NonZeroAgentExitCodeError")}, "agent", "so it was"),
        ({"exception_info": raised("ApiRateLimitError")}, "model", "ApiRateLimitError"),
        ({"exception_info": raised("VerifierTimeoutError"), "verifier_result": None}, "verifier", "VerifierTimeout"),
        ({"exception_info": raised("SandboxBuildFailedError")}, "environment", "SandboxBuildFailed"),
        ({"exception_info": raised("anything")}, "environment", "anything"),
        (
            {"step_results": [{"step_name": "one", "exception_info": raised("HealthcheckError")}]},
            "environment",
            "Health",
        ),
        ({"verifier_result": None}, "verifier", "no reward"),
        ({"verifier_result": {"rewards": {}}}, "verifier", "no reward"),
        ({"verifier_result": {"rewards": {"reward": None}}}, "verifier", "no reward"),
    ],
)
def test_an_exception_is_a_failure_and_so_is_a_reward_that_is_missing(
    tmp_path: Path, stated: dict[str, Any], where: str, says: str
):
    write_trial(tmp_path / "job", "a__1", **stated)
    [rollout] = imported(tmp_path / "job").values()
    assert isinstance(rollout.outcome, Failure) and rollout.outcome.where == where and says in rollout.outcome.message


def test_an_agent_whose_time_was_up_is_scored(tmp_path: Path):
    write_trial(tmp_path / "job", "a__1", exception_info=raised("AgentTimeoutError"))
    [rollout] = imported(tmp_path / "job").values()
    assert (rollout.outcome, rollout.stop) == (Score(1.0), "wall_time")


def test_a_reward_is_chosen_by_its_name(tmp_path: Path):
    write_trial(tmp_path / "job", "a__1", verifier_result={"rewards": {"speed": 0.25, "taste": 0.5}})
    [rollout] = imported(tmp_path / "job", "taste").values()
    assert rollout.outcome == Score(0.5, {"speed": 0.25})


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"verifier_result": {"rewards": {"reward": "1"}}}, "Expected `float"),
        ({"verifier_result": {"rewards": {"reward": 1e300}}}, "1000000000000"),
        ({"agent_info": "x"}, "agent_info"),
        ({"started_at": "yesterday"}, "started_at"),
        ({"step_results": {"a": 1}}, "step_results"),
        ({"task_name": 7}, "task_name"),
    ],
)
def test_a_result_that_is_none_is_refused_with_its_place(tmp_path: Path, stated: dict[str, Any], says: str):
    write_trial(tmp_path / "job", "a__1", **stated)
    with pytest.raises(UsageError, match=r"a__1/result\.json") as error:
        imported(tmp_path / "job")
    assert says in str(error.value)


def test_trials_of_several_agents_are_not_one_run(tmp_path: Path):
    write_trial(tmp_path / "job", "a__1")
    write_trial(tmp_path / "job", "b__1", agent_info=AGENT | {"version": "3"})
    with pytest.raises(UsageError, match=r"terminus-2 2\.0\.0 local/qwen; terminus-2 3 local/qwen"):
        imported(tmp_path / "job")
    assert list(imported(tmp_path / "job/b__1")) == [("org/b", 0)]


def test_what_an_agent_left_in_place_of_its_trajectory_has_no_turns(tmp_path: Path):
    job, secret = tmp_path / "job", tmp_path / "secret.json"
    secret.write_text(json.dumps(TRAJECTORY))
    places = [write_trial(job, f"{name}__1") / "agent/trajectory.json" for name in "abcd"]
    for place in places:
        place.unlink()
    places[0].symlink_to(secret)
    os.mkfifo(places[1])
    places[2].write_text("[" * 100_000)
    places[3].write_text(json.dumps(TRAJECTORY | {"steps": [{"step_id": 1, "source": "agent", "message": 7}]}))
    up = [{"step_name": "../.."}]
    write_trial(job, "e__1", step_results=up)
    rollouts = imported(job)
    assert {key: (rollout.outcome, rollout.turns) for key, rollout in rollouts.items()} == {
        (f"org/{name}", 0): (Score(1.0), []) for name in "abcde"
    }


REAL = """
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4
from harbor.models.agent.context import AgentContext
from harbor.models.job.result import JobResult, JobStats
from harbor.models.task.id import LocalTaskId
from harbor.models.trajectories import Trajectory
from harbor.models.trial.config import TaskConfig, TrialConfig
from harbor.models.trial.paths import TrialPaths
from harbor.models.trial.result import AgentInfo, ExceptionInfo, ModelInfo, TimingInfo, TrialResult
from harbor.models.verifier.result import VerifierResult

job, trajectory = Path(sys.argv[1]), Path(sys.argv[2])
began = datetime(2026, 11, 2, 10, tzinfo=timezone.utc)
made = []
for name, reward, error in (("a", 1.0, None), ("b", None, ValueError("broke")), ("c", 0.5, TimeoutError("late"))):
    exception = error and ExceptionInfo.from_exception(error)
    if exception and name == "c":
        exception.exception_type = "AgentTimeoutError"
    trial = TrialResult(
        task_name=f"org/{name}", trial_name=f"{name}__x", trial_uri=f"file://{job}/{name}__x",
        task_id=LocalTaskId(path=Path("tasks") / name), task_checksum="0" * 64,
        config=TrialConfig(task=TaskConfig(path=Path("tasks") / name), trial_name=f"{name}__x"),
        agent_info=AgentInfo(name="terminus-2", version="2.0.0", model_info=ModelInfo(name="qwen", provider="local")),
        agent_result=AgentContext(n_input_tokens=9, n_output_tokens=4),
        verifier_result=None if reward is None else VerifierResult(rewards={"reward": reward}),
        exception_info=exception, started_at=began, finished_at=began + timedelta(seconds=60),
        agent_execution=TimingInfo(started_at=began, finished_at=began + timedelta(seconds=20)),
    )
    paths = TrialPaths(trial_dir=job / f"{name}__x")
    paths.mkdir()
    paths.result_path.write_text(trial.model_dump_json(indent=4))
    paths.config_path.write_text(trial.config.model_dump_json(indent=4))
    read = Trajectory.model_validate_json(trajectory.read_text())
    (paths.agent_dir / "trajectory.json").write_text(read.model_dump_json(exclude_none=True))
    made.append(trial)
stats = JobStats.from_trial_results(made)
result = JobResult(id=uuid4(), started_at=began, finished_at=began, n_total_trials=3, stats=stats)
(job / "result.json").write_text(result.model_dump_json(indent=4))
"""


@pytest.mark.harbor
def test_a_job_that_the_package_wrote_is_read(tmp_path: Path):
    (tmp_path / "t.json").write_text(json.dumps(TRAJECTORY | {"session_id": "s"}))
    command = [os.environ["ASSAY_HARBOR"], "-W", "ignore", "-c", REAL, str(tmp_path / "job"), str(tmp_path / "t.json")]
    subprocess.run(command, check=True, timeout=100)
    rollouts = imported(tmp_path / "job")
    a, b, c = (rollouts[f"org/{name}", 0] for name in "abc")
    assert (a.outcome, a.stop, a.wall_s, len(a.turns)) == (Score(1.0), "completed", 20.0, 2)
    assert b.outcome == Failure("environment", "failed_there", "ValueError: broke", retryable=False)
    assert (c.outcome, c.stop) == (Score(0.5), "wall_time")
    assert str(read_record(tmp_path / "job-out").agent) == "terminus-2 2.0.0"

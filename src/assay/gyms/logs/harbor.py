"""Harbor's jobs: the `result.json` of each trial in a job's folder, and its agent's trajectories in ATIF beside it.

    {"task_name": "org/name", "trial_name": "name__x7", "agent_info": {"name": "...", "version": "1.0", ...},
     "verifier_result": {"rewards": {"reward": 1.0}}, "exception_info": null, "started_at": "...", "step_results": null}

The trials of a task are its repeats, in the order of their folders. An exception is a failure, as nothing is known of
the model then. It is none where the agent itself ended so and Harbor takes its reward as valid, as
`trial/error_policy.py` of harbor 0.25 says.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from assay.gyms.logs.log import Log, scored
from assay.gyms.rows import Row
from assay.input import BROKEN, read_input

RESULT = "result.json"
STOPS = {
    "AgentTimeoutError": "wall_time",
    "ContextWindowExceededError": "tokens",
    "ContextLengthExceededError": "tokens",
    "OutputTokenExceededError": "token_cap",
    "OutputLengthExceededError": "token_cap",
    "AgentSafetyRefusalError": "refused",
    "ContentPolicyViolationError": "refused",
}
"""Exceptions after which the reward is valid, and why the rollout ended."""
_VERIFIER = ("Verifier", "Reward", "AddTests", "DownloadVerifier")
_MODEL = ("Api", "API", "UnknownApi", "NetworkConnection", "RateLimit", "BudgetExceeded", "InternalServer", "Model")
_AGENT = ("Agent", "NonZeroAgent", "Context", "Output")
FIRST = "reward"
"""The reward that Harbor's own reports take, where there are several."""


class _Model(Struct):
    name: str
    provider: str | None = None


class _Agent(Struct):
    name: str
    version: str = ""
    model_info: _Model | None = None


class _Raised(Struct):
    exception_type: str
    exception_message: str = ""


class _Verdict(Struct):
    rewards: dict[str, float | None] | None = None


class _Step(Struct):
    step_name: str
    exception_info: _Raised | None = None


class _Times(Struct):
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def wall_s(self) -> float:
        return (self.finished_at - self.started_at).total_seconds() if self.started_at and self.finished_at else 0.0


class _Trial(_Times, kw_only=True):
    task_name: str
    agent_info: _Agent
    source: str | None = None
    verifier_result: _Verdict | None = None
    exception_info: _Raised | None = None
    agent_execution: _Times | None = None
    step_results: list[_Step] | None = None


def trials(paths: Iterable[Path]) -> list[Path]:
    """Returns the results of the trials in folders of jobs and trials; none where a path is anything else."""
    found: list[Path] = []
    for path in paths:
        inside = [one for one in (path / RESULT, *sorted(path.glob(f"*/{RESULT}"))) if _is_trial(one)]
        if not inside:
            return []
        found += inside
    return found


def _is_trial(file: Path) -> bool:
    try:
        return _fits(msgspec.json.decode(read_input(file), type=dict[str, Any]))
    except (*BROKEN, OSError):
        return False


def _fits(cells: dict[str, Any]) -> bool:
    return {"task_name", "trial_name", "agent_info"} <= cells.keys()


def _read(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        try:
            yield Row(row.number, row.place, _cells(row))
        except (TypeError, ValueError) as error:
            raise row.error(str(error), "the result of a trial as Harbor writes it") from None


def _cells(row: Row) -> dict[str, Any]:
    trial = msgspec.convert(row.cells, _Trial)
    agent, model, steps = trial.agent_info, trial.agent_info.model_info, trial.step_results or []
    folder = Path(row.place.rpartition(", ")[0]).parent
    cells: dict[str, Any] = {
        "task": trial.task_name,
        "model": "/".join(filter(None, (model.provider, model.name))) if model else "",
        "agent": agent.name,
        "agent_version": agent.version,
        "benchmark": f"harbor:{trial.source or folder.parent.name}",
        "started": trial.started_at.isoformat() if trial.started_at else "",
        "wall_s": (trial.agent_execution or trial).wall_s,
        "trajectories": _trajectories(folder, [step.step_name for step in steps]),
    }
    for raised in (one.exception_info for one in (trial, *steps) if one.exception_info):
        if raised.exception_type not in STOPS:
            message = f"{raised.exception_type}: {raised.exception_message}"
            return cells | {"failed": message, "where": _where(raised.exception_type)}
        cells["stop"] = STOPS[raised.exception_type]
    rewards = (trial.verifier_result and trial.verifier_result.rewards) or {}
    finite = {name: reward for name, reward in rewards.items() if reward is not None}
    if not finite:
        return cells | {"failed": "the trial has no reward", "where": "verifier"}
    return scored(dict(sorted(finite.items(), key=lambda reward: reward[0] != FIRST))) | cells


def _where(kind: str) -> str:
    """Returns what failed, by an exception's name."""
    places = {"verifier": _VERIFIER, "model": _MODEL, "agent": _AGENT}
    return next((place for place, starts in places.items() if kind.startswith(starts)), "environment")


def _trajectories(trial: Path, steps: list[str]) -> list[str]:
    """Returns the trajectories that are there. An agent may have left a link in place of one, which is none."""
    places = [trial / "steps" / name for name in steps] or [trial]
    named = [place / "agent/trajectory.json" for place in places]
    files = [file for file in named if file.resolve() == trial.resolve() / file.relative_to(trial)]
    return [str(file) for file in files if file.is_file()]


LOG = Log("Harbor", _fits, _read)

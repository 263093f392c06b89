"""What commands and functions make of names: folders, agents and sandboxes."""

import asyncio
from pathlib import Path

import pytest

import assay
from assay.collect.head import distribute
from assay.config import NO_FILE, suite_of
from assay.errors import UsageError
from assay.library.plans import plan_run
from assay.library.profile import plan_profile
from assay.sandbox import SandboxConfig
from assay.types import Response, Score, Task


class Coder(assay.Environment):
    name, version = "coder", "1"
    sandbox = SandboxConfig(memory_mb=100)

    def tasks(self) -> list[Task]:
        return [Task(id="t", input=[], gold="1")]

    def verify(self, task: Task, response: Response) -> Score:
        return Score(reward=1.0)


def test_two_agents_never_meet_in_one_folder():
    benchmark, suite = assay.load("arithmetic"), suite_of(["gold", "null"], own=NO_FILE)
    folders = [
        plan_profile(
            benchmark, suite, agent, own=NO_FILE, home=Path("p"), roles={}, collector=distribute, limit=limit
        ).run.folder
        for agent in (None, "loop", "nothing")
        for limit in (None, 5)
    ]
    assert folders[:2] == folders[2:4]
    assert len(set(folders)) == 4


def test_an_agent_that_asks_no_model_goes_without_one():
    run = asyncio.run(assay.run("arithmetic", agent="nothing", limit=2, repeats=1))
    assert (run.score, run.failures) == (0.0, 0)
    with pytest.raises(UsageError, match="the agent loop asks a model"):
        asyncio.run(assay.run("arithmetic", limit=2))


def test_a_place_changes_one_benchmark_and_no_other():
    benchmark = assay.Benchmark(environment=Coder(), repeats=1)
    elsewhere = assay.load(benchmark, sandbox="docker:python:3.13")
    other = assay.load(benchmark, sandbox="subprocess", unsafe=True)
    assert elsewhere.environment.sandbox == SandboxConfig(provider="docker", image="python:3.13", memory_mb=100)
    assert other.environment.sandbox == SandboxConfig(provider="subprocess", unsafe=True, memory_mb=100)
    assert benchmark.environment.sandbox == Coder.sandbox == SandboxConfig(memory_mb=100)


def test_a_place_goes_to_workers_with_the_request():
    plan = plan_run(
        assay.load("humaneval", sandbox="docker"), "gold", None, own=NO_FILE, home=Path("r"), repeats=1, seed=3
    )
    again = plan.request.benchmark.load()
    assert again.environment.sandbox == plan.benchmark.environment.sandbox
    assert again.environment.sandbox is not None and again.environment.sandbox.provider == "docker"


def test_a_place_for_a_benchmark_that_runs_no_code_is_refused():
    with pytest.raises(UsageError, match="runs no code"):
        assay.load("arithmetic", sandbox="docker")

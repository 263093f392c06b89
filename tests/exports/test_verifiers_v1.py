"""A benchmark as a taskset of verifiers 0.4, evaluated by the real library on an endpoint of the test's."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.benchmark.catalog import load
from assay.exports import write
from tests.endpoint import Endpoint
from tests.gyms.vf_eval import original, streaming

if hasattr(pytest.importorskip("verifiers", reason="needs the extra `verifiers`"), "SingleTurnEnv"):
    pytest.skip("needs verifiers from 0.4 on", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own warnings are no errors of ours


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write("arithmetic", "verifiers", tmp_path / "out")
    monkeypatch.syspath_prepend(str(tmp_path / "out"))
    for name in ("assay_arithmetic", "assay_arithmetic.taskset"):
        sys.modules.pop(name, None)
    return importlib.import_module("assay_arithmetic.taskset")


def test_rewards_are_ours_and_failures_are_errors(tmp_path: Path, package: Any, monkeypatch: pytest.MonkeyPatch):
    tasks = list(load("arithmetic").environment.tasks())[:4]
    config = package.AssayConfig(id="assay-arithmetic")
    assert [task.data.prompt[-1].content for task in package.AssayTaskset(config)][:4] == [t.prompt for t in tasks]
    monkeypatch.setattr(package.PACKAGE, "tasks", {task.id: task for task in tasks})
    gold = str(tasks[0].gold)
    with Endpoint(streaming([{"text": f"The answer is {gold}."}])) as endpoint:
        traces = original("assay-arithmetic", endpoint.url, tmp_path)
        asked = endpoint.calls[0].json
    assert {trace.task.data.id: trace.reward for trace in traces.values()} == {
        t.id: float(t.gold == gold) for t in tasks
    }
    assert "bash" not in str(asked.get("tools"))

    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the judge is down")

    monkeypatch.setattr(package.PACKAGE, "score", broken)
    monkeypatch.setattr(package.PACKAGE, "tasks", {tasks[0].id: tasks[0]})
    with Endpoint(streaming([{"text": gold}])) as endpoint:
        (trace,) = original("assay-arithmetic", endpoint.url, tmp_path / "broken").values()
    assert not trace.ok and "the judge is down" in trace.last_error.message


def test_training_tasks_are_none_of_the_tests(package: Any):
    drawn = list(package.AssayTaskset(package.AssayConfig(id="assay-arithmetic", count=50, seed=3)))
    assert len(drawn) == 50
    assert not {task.data.prompt[0].content for task in drawn} & {
        task.prompt for task in load("arithmetic").environment.tasks()
    }

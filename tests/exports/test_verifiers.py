"""A benchmark as an environment package of verifiers, evaluated by the real library on an endpoint of the test's."""

import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.benchmark.catalog import load
from assay.exports import write
from tests.endpoint import Call, Endpoint, chat_body, http

vf = pytest.importorskip("verifiers", reason="needs the extra `verifiers`")
if not hasattr(vf, "SingleTurnEnv"):
    pytest.skip("needs verifiers before 0.4", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own warnings are no errors of ours


def imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(folder))
    for name in ("assay_arithmetic", "assay_arithmetic.classic"):
        sys.modules.pop(name, None)
    assert importlib.import_module("assay_arithmetic").load_environment
    return importlib.import_module("assay_arithmetic.classic")


def outputs(environment: Any, url: str, count: int) -> list[dict[str, Any]]:
    client = vf.ClientConfig(api_base_url=url, api_key_var="NO_KEY")
    made = environment.evaluate_sync(client=client, model="fixed", num_examples=count, rollouts_per_example=1)
    return made["outputs"]


def test_rewards_are_ours_and_failures_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_KEY", "none")
    said = write("arithmetic", "verifiers", tmp_path / "out")
    assert "240 tasks are in" in said and "vf-eval assay-arithmetic" in said
    module = imported(tmp_path / "out", monkeypatch)
    golds = {task.prompt: task.gold for task in load("arithmetic").environment.tasks()}

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        question = call.json["messages"][-1]["content"]
        answer = golds[question] if len(question) % 2 else "1"
        writer.write(http(json.dumps(json.loads(chat_body(answer)) | {"created": 0}).encode()))

    with Endpoint(behave) as endpoint:
        made = outputs(module.load_environment(), endpoint.url, 20)
    assert len(made) == 20
    for one in made:
        question = one["prompt"][-1]["content"]
        assert one["reward"] == float(len(question) % 2 or golds[question] == "1")
        assert one.get("error") is None

    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the judge is down")

    monkeypatch.setattr(module.PACKAGE, "score", broken)
    with Endpoint(behave) as endpoint:
        made = outputs(module.load_environment(), endpoint.url, 2)
    assert all("the judge is down" in json.dumps(one["error"], default=str) for one in made)


def test_training_tasks_are_none_of_the_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write("arithmetic", "verifiers", tmp_path / "out")
    environment = imported(tmp_path / "out", monkeypatch).load_environment(count=50, seed=3)
    train, test = environment.get_dataset(), environment.get_eval_dataset()
    assert (len(train), len(test)) == (50, 240)
    assert not {row["prompt"][0]["content"] for row in train} & {row["prompt"][0]["content"] for row in test}

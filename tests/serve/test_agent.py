"""Our agents on NeMo Gym's routes: a rollout a call, with the tokens that its trainers need."""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from starlette.routing import Route

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Environment
from assay.benchmark.catalog import load
from assay.config import ModelConfig
from assay.fidelity.original.parity import compare
from assay.fidelity.original.reference import read
from assay.gyms.nemo_gym.rows import row_of
from assay.model import Model, connect
from assay.serve.agent import ServedAgent
from assay.trainers.tasks import training_tasks
from assay.types import FunctionCall, Message, Request, Response, Score, Task, Text, TokenIds, Tool
from tests.commands import start
from tests.nemo_gym import hosting

COLLECT = Path(__file__).parent / "clients/nemo_gym_collect.py"
PYTHON = os.environ.get("ASSAY_NEMO_GYM_PYTHON")
"""An interpreter with the package nemo-gym."""


class Adding(Environment):
    """One tool, whose answer the model has to give. The verifier breaks at "crash"."""

    name, version = "adding", "1"

    def tasks(self) -> Iterable[Task]:
        for number in range(3):
            yield Task(
                id=f"t{number}", input=[Message("user", f"add {number}")], tools=[Tool("add", {"type": "object"})]
            )

    def verify(self, task: Task, response: Response) -> Score:
        if response.text == "crash":
            raise ValueError("the verifier broke")
        return Score(reward=1.0, metrics={"format": 0.5})


class Scripted:
    """Calls a tool, then answers. Its second prompt begins with all that came before, unless it `drifts`."""

    def __init__(self, *, answer: str = "done", drifts: bool = False) -> None:
        self._answer, self._drifts = answer, drifts

    async def respond(self, request: Request) -> Response:
        if len(request.input) == 1:
            tokens = TokenIds(prompt=[1, 2], output=[3, 4], output_logprobs=[-0.1, -0.2])
            return Response(output=[FunctionCall("c", "add", "{}")], tokens=tokens)
        before = [1, 2, 9, 4] if self._drifts else [1, 2, 3, 4]
        tokens = TokenIds(prompt=[*before, 5], output=[6], output_logprobs=[-0.3])
        return Response(output=[Message("assistant", [Text(self._answer)])], tokens=tokens)


def run(benchmark: Benchmark, model: Model, rows: list[dict[str, Any]]) -> list[tuple[int, Any]]:
    """The status and the answer of `/run` for each row, all asked at once."""

    async def ask(url: str) -> list[tuple[int, Any]]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def one(row: dict[str, Any]) -> tuple[int, Any]:
                async with session.post(f"{url}/run", json=row) as answer:
                    return answer.status, await answer.json()

            return await asyncio.gather(*map(one, rows))

    with hosting(ServedAgent(benchmark, ToolLoop(), model, "policy").app()) as url:
        return asyncio.run(ask(url))


ADDING = Benchmark(environment=Adding(), repeats=1)
ROWS = [row_of(task) | {"_ng_task_index": index} for index, task in enumerate(Adding().tasks())]


def test_a_run_is_a_rollout_with_the_tokens_of_each_call():
    ((status, row),) = run(ADDING, Scripted(), [ROWS[1] | {"_ng_rollout_index": 2, "mine": "kept"}])
    assert status == 200
    assert (row["reward"], row["reward_components"], row["mine"]) == (1.0, {"format": 0.5}, "kept")
    assert (row["_ng_task_index"], row["_ng_rollout_index"]) == (1, 2)
    assert "mask_sample" not in row
    calls = [item for item in row["response"]["output"] if "generation_token_ids" in item]
    assert [item["type"] for item in row["response"]["output"]] == ["function_call", "function_call_output", "message"]
    assert [item["generation_token_ids"] for item in calls] == [[3, 4], [6]]
    assert calls[0]["generation_log_probs"] == [-0.1, -0.2]
    # What NeMo RL asserts: a prompt begins with all tokens before it.
    assert calls[1]["prompt_token_ids"][:4] == calls[0]["prompt_token_ids"] + calls[0]["generation_token_ids"]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        pytest.param(Scripted(answer="crash"), "verifier: ", id="a verifier that breaks"),
        pytest.param(Scripted(drifts=True), "does not begin with the tokens that came before", id="tokens that drift"),
    ],
)
def test_what_can_not_be_trained_on_is_masked(model: Model, reason: str):
    ((status, row),) = run(ADDING, model, ROWS[:1])
    assert status == 200
    assert row["mask_sample"] is True and reason in row["failure_reason"]


class Wordy:
    """Gives no token ids."""

    async def respond(self, request: Request) -> Response:
        return Response(output=[Message("assistant", [Text("done")])])


def test_a_policy_without_token_ids_is_told_once(caplog: pytest.LogCaptureFixture):
    rewards = [row["reward"] for _, row in run(ADDING, Wordy(), ROWS)]
    assert rewards == [1.0] * 3
    (said,) = [record.message for record in caplog.records if "token ids" in record.message]
    assert "return_token_ids = true" in said


def test_rows_that_are_none_of_the_benchmarks_are_refused():
    changed = ROWS[0] | {"assay": ROWS[0]["assay"] | {"digest": "0" * 16}}
    unknown = ROWS[0] | {"assay": ROWS[0]["assay"] | {"id": "t9"}}
    warm = row_of(next(iter(Adding().tasks())))
    warm["responses_create_params"]["temperature"] = "warm"
    refused = run(ADDING, Scripted(), [{}, changed, unknown, warm])
    assert [status for status, _ in refused] == [422] * 4
    assert "assay export adding --format nemo-gym" in refused[0][1]["detail"][0]["msg"]
    assert "another version of task 't0'" in refused[1][1]["detail"][0]["msg"]
    assert "has no task 't9'" in refused[2][1]["detail"][0]["msg"]


def test_hundreds_of_rollouts_of_training_tasks_at_once():
    benchmark, model = load("arithmetic"), connect(ModelConfig(dialect="local", id="policy"))
    tasks = training_tasks(benchmark, 300)
    rows = [row_of(task, training=True) for task in tasks]
    answers = run(benchmark, model, rows)
    assert [status for status, _ in answers] == [200] * 300
    rewards = [row["reward"] for _, row in answers]
    assert 0.1 < sum(rewards) / 300 < 0.9
    for _, row in answers:
        (item,) = row["response"]["output"]
        assert len(item["generation_token_ids"]) == len(item["generation_log_probs"]) > 0


def test_a_training_row_that_was_changed_is_refused():
    row = row_of(training_tasks(load("arithmetic"), 1)[0], training=True)
    row["assay"]["gold"] = "1"
    ((status, answer),) = run(load("arithmetic"), connect(ModelConfig(dialect="local", id="policy")), [row])
    assert status == 422 and "another version" in answer["detail"][0]["msg"]


def served(tmp_path: Path) -> Any:
    return start(
        "serve", "agent", "loop", "--benchmark", "arithmetic", "--model", "policy", "--port", "0", cwd=tmp_path
    )


def test_the_command(tmp_path: Path):
    with served(tmp_path) as process:
        assert process.stderr
        found = re.search(r"the agent loop of arithmetic is at (http://\S+)", process.stderr.readline())
        assert found
        task = next(iter(load("arithmetic").environment.tasks()))

        async def ask() -> Any:
            async with aiohttp.ClientSession() as session, session.post(f"{found[1]}/run", json=row_of(task)) as answer:
                return await answer.json()

        row = asyncio.run(ask())
        assert row["reward"] in (0.0, 1.0) and row["response"]["output"]
        process.terminate()


@pytest.mark.clients
@pytest.mark.skipif(PYTHON is None, reason="ASSAY_NEMO_GYM_PYTHON names no interpreter with the package nemo-gym")
def test_nemo_gyms_own_collector(tmp_path: Path):
    with served(tmp_path) as process:
        assert process.stderr and PYTHON
        found = re.search(r"is at http://127\.0\.0\.1:(\d+)", process.stderr.readline())
        assert found
        config = {
            "mine": {"responses_api_agents": {"loop": {"host": "127.0.0.1", "port": int(found[1]), "entrypoint": ""}}}
        }

        async def head(request: HttpRequest) -> JSONResponse:
            return JSONResponse(json.dumps(config))

        rows = [row_of(task) | {"agent_ref": {"name": "mine"}} for task in load("arithmetic").environment.tasks()]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:40]))
        with hosting(Starlette(routes=[Route("/global_config_dict_yaml", head)])) as url:
            port = url.rpartition(":")[2]
            command = [PYTHON, str(COLLECT), port, "rows.jsonl", "rollouts.jsonl"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path)
        process.terminate()
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    assert len(made) == 80
    assert all(row["reward"] in (0.0, 1.0) and row["response"]["output"][-1]["generation_token_ids"] for row in made)
    benchmark = load("arithmetic")
    reference = read(tmp_path / "rollouts.jsonl", tasks=[*benchmark.environment.tasks()])
    assert (reference.record.log, reference.record.tasks, reference.record.repeats) == ("NeMo Gym", 40, 2)
    assert [row.score for row in reference.rows] == [row["reward"] for row in made]
    rungs = {rung.name: rung for rung in asyncio.run(compare(benchmark, reference)).ladder}
    assert (rungs["prompts"].verdict, rungs["verifiers"].verdict) == ("identical", "identical")
    assert rungs["verifiers"].numbers["judged"] == 80

"""A resources server of NeMo Gym as an environment, on loopback: cookies, state, and faults that are never zeros."""

import asyncio
import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.server.lowlevel import Server
from mcp.types import CallToolRequestParams, CallToolResult, ListToolsResult, TextContent
from mcp.types import Tool as McpTool
from openai.types.responses import Response as SdkResponse
from starlette.applications import Starlette
from starlette.requests import Request as Call
from starlette.responses import JSONResponse
from starlette.responses import Response as Answer
from starlette.routing import Route

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.config import ModelConfig
from assay.digest import task_digest
from assay.errors import UsageError
from assay.gyms.nemo_gym.remote import RemoteEnvironment, RemoteError, read_score
from assay.model import Model, connect
from assay.model.builtin.function import FunctionModel
from assay.types import (
    Failure,
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Request,
    Response,
    Rollout,
    Score,
    Task,
    Text,
    TokenIds,
    Usage,
)
from tests.nemo_gym import Gym, answering, drop, hang, hosting, row


def call(name: str, arguments: str = "{}", call_id: str = "c1") -> FunctionCall:
    return FunctionCall(call_id=call_id, name=name, arguments=arguments)


ADDS = [[call("increment_counter", '{"count": 2}')], [call("get_counter_value", call_id="c2")], "It is done."]


def scripted(*script: Any) -> Model:
    return connect(ModelConfig(dialect="scripted", id="s", script=list(script)))


def written(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def benchmark(url: str, rows: Path, **settings: Any) -> Benchmark:
    return Benchmark(environment=RemoteEnvironment("counter", url=url, rows=rows, **settings), repeats=1)


async def rolled(benchmark: Benchmark, task: Task, model: Model) -> Rollout:
    return await roll(benchmark, ToolLoop(), model, PlannedRollout(task, task_digest(task), 0, 0, 7))


def one(url: str, rows: Path, *script: Any, **settings: Any) -> Rollout:
    made = benchmark(url, rows, **settings)
    return asyncio.run(rolled(made, next(iter(made.environment.tasks())), scripted(*(script or ADDS))))


@pytest.mark.parametrize(("expected", "reward"), [(5, 1.0), (6, 0.0)])
def test_a_session_keeps_its_state_between_calls(expected: int, reward: float, tmp_path: Path):
    gym = Gym()
    asked = row(0, initial=3, expected=expected, note={"kept": [None, 1.5, "as it is"]})
    with gym() as url:
        rollout = one(url, written(tmp_path, asked))
    assert rollout.outcome == Score(reward=reward, metrics={"count": 5.0})
    said = [item.output for turn in rollout.turns for item in turn.input if isinstance(item, FunctionCallOutput)]
    assert said == ['{"success":true}', '{"count":5}']
    assert [name for name, _ in gym.calls] == ["seed_session", "increment_counter", "get_counter_value", "verify"]
    seeded, verified = gym.calls[0][1], gym.calls[-1][1]
    assert seeded == asked
    assert {name: value for name, value in verified.items() if name != "response"} == asked


def test_what_is_verified_is_one_response_with_all_items_and_their_usage(tmp_path: Path):
    class Counting:
        async def respond(self, request: Request) -> Response:
            said: Any = ADDS[request.turn]
            items = [Message("assistant", [Text(said)])] if isinstance(said, str) else said
            tokens = TokenIds(prompt=[1], output=[2], output_logprobs=[-0.1])
            return Response(output=items, usage=Usage(input_tokens=10, output_tokens=3), tokens=tokens, model="m-1")

        def identity(self) -> dict[str, str]:
            return {}

        async def aclose(self) -> None:
            return None

    gym = Gym()
    with gym() as url:
        made = benchmark(url, written(tmp_path, row(0, initial=3, expected=5)))
        asyncio.run(rolled(made, next(iter(made.environment.tasks())), Counting()))
    response = gym.calls[-1][1]["response"]
    kinds = ["function_call", "function_call_output", "function_call", "function_call_output", "message"]
    assert [item["type"] for item in response["output"]] == kinds
    assert (response["usage"]["total_tokens"], response["model"]) == (39, "m-1")
    assert not any("generation_token_ids" in item for item in response["output"])
    own = [item for item in response["output"] if item["type"] != "function_call_output"]
    assert SdkResponse.model_validate(response | {"output": own}, strict=False).output_text == "It is done."
    assert len({item["id"] for item in own}) == 3


def test_two_hundred_sessions_at_once_do_not_leak_into_each_other(tmp_path: Path):
    rng = random.Random(0)
    flying = most = 0

    async def slowly(request: Call, body: dict[str, Any]) -> Answer | None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(rng.random() / 10)
        flying -= 1
        return None

    gym = Gym(behave=dict.fromkeys(("increment_counter", "get_counter_value", "verify"), slowly))
    rows = written(tmp_path, *(row(index, initial=index, expected=index + 2) for index in range(200)))

    async def main(url: str) -> list[Rollout]:
        made = benchmark(url, rows)
        return await asyncio.gather(*(rolled(made, task, scripted(*ADDS)) for task in made.environment.tasks()))

    with gym() as url:
        rollouts = asyncio.run(main(url))
    assert [rollout.outcome for rollout in rollouts] == [
        Score(reward=1.0, metrics={"count": index + 2.0}) for index in range(200)
    ]
    assert most > 20
    assert len(gym.counters) == 200


VERDICTS = {
    "500 with its repr": (answering("ZeroDivisionError('division by zero')", 500), "answered 500: ZeroDivisionError"),
    "422 with a detail": (answering({"detail": [{"loc": ["body", "gold"], "msg": "Field required"}]}, 422), "required"),
    "404": (answering({"detail": "Not Found"}, 404), "answered 404: Not Found"),
    "a redirect": (answering("", 307), "answered 307"),
    "no reward": (answering({"response": {}}), "reward None; expected a finite number"),
    "null": (answering({"reward": None}), "reward None"),
    "text": (answering({"reward": "1.0"}), "reward '1.0'"),
    "a truth value": (answering({"reward": True}), "reward True"),
    "NaN": (answering('{"reward": NaN}'), "no JSON object"),
    "infinity": (answering('{"reward": Infinity}'), "no JSON object"),
    "more than a float": (answering('{"reward": 1e999}'), "no JSON object"),
    "an integer beyond floats": (answering('{"reward": 1' + "0" * 400 + "}"), "no JSON object|expected a finite"),
    "a page": (answering("<html>busy</html>"), "begins: b'<html>busy"),
    "nothing": (answering(""), "no JSON object"),
    "a list": (answering([1.0]), "no JSON object"),
    "a judge that failed": (
        answering({"reward": 0.0, "_ng_failure_class": "judge_failed", "_ng_failure_judge_error": "401"}),
        "failed: _ng_failure_class judge_failed, _ng_failure_judge_error 401",
    ),
    "a reward that is none": (
        answering({"reward": 0.0, "mask_sample": True, "failure_reason": "the container died"}),
        "failure_reason the container died",
    ),
    "a torn answer": (drop, "http://.*/verify"),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_a_verifier_that_gives_no_reward_is_a_failure(name: str, tmp_path: Path):
    behave, words = VERDICTS[name]
    with Gym(behave={"verify": behave})() as url:
        outcome = one(url, written(tmp_path, row(0, initial=3, expected=5))).outcome
    assert isinstance(outcome, Failure)
    assert (outcome.where, outcome.kind) == ("verifier", "remote")
    assert re.search(words, outcome.message), outcome.message


def test_a_slow_server_is_a_failure_by_its_deadline(tmp_path: Path):
    rows = written(tmp_path, row(0, initial=3, expected=5))
    with Gym(behave={"verify": hang})() as url:
        outcome = one(url, rows, timeout_s=0.3).outcome
    assert isinstance(outcome, Failure)
    assert (outcome.where, outcome.kind, outcome.retryable) == ("verifier", "deadline", True)
    assert "/verify (timeout_s 0.3)" in outcome.message
    with Gym(behave={"increment_counter": hang})() as url:
        outcome = one(url, rows, timeout_s=0.3).outcome
    assert isinstance(outcome, Failure)
    assert (outcome.where, "increment_counter (timeout_s 0.3)" in outcome.message) == ("environment", True)


def test_a_server_that_is_down_or_cannot_begin_is_a_failure(tmp_path: Path):
    rows = written(tmp_path, row(0, initial=3, expected=5))
    outcome = one("http://127.0.0.1:9", rows).outcome
    assert isinstance(outcome, Failure)
    assert (outcome.where, "is the server running?" in outcome.message) == ("environment", True)
    with Gym()() as url:
        broken = {name: value for name, value in row(0, initial=3, expected=5).items() if name != "initial_count"}
        outcome = one(url, written(tmp_path, broken)).outcome
    assert isinstance(outcome, Failure)
    assert outcome.where == "environment"
    assert "seed_session answered 422" in outcome.message
    assert "initial_count" in outcome.message


def test_a_server_that_forgot_the_session_is_a_failure_and_no_zero(tmp_path: Path):
    async def restart(request: Call, body: dict[str, Any]) -> Answer | None:
        gym.secret = b"another"
        return None

    gym = Gym(behave={"increment_counter": restart})
    with gym() as url:
        outcome = one(url, written(tmp_path, row(0, initial=3, expected=5))).outcome
    assert isinstance(outcome, Failure)
    assert "began another session" in outcome.message


def test_what_a_tool_says_of_an_error_is_shown_to_the_model(tmp_path: Path):
    script = [[call("increment_counter", '{"amount": 2}')], [call("crash", call_id="c2")], "I give up."]
    with Gym()() as url:
        rollout = one(url, written(tmp_path, row(0, initial=5, expected=5)), *script)
    shown = [item.text for turn in rollout.turns for item in turn.input if isinstance(item, FunctionCallOutput)]
    assert "Field required" in shown[0]
    assert shown[1] == json.dumps("ZeroDivisionError('division by zero')")
    assert rollout.outcome == Score(reward=1.0, metrics={"count": 5.0})


@pytest.mark.parametrize("name", ["verify", "seed_session", "../verify", "nothing"])
def test_the_model_reaches_no_route_but_the_tools_of_its_task(name: str, tmp_path: Path):
    gym = Gym()
    with gym() as url:
        rollout = one(url, written(tmp_path, row(0, initial=5, expected=5)), [call(name)], "Done.")
    assert [name for name, _ in gym.calls] == ["seed_session", "verify"]
    assert isinstance(rollout.turns[1].input[0], FunctionCallOutput)
    assert rollout.turns[1].input[0].text == f"there is no tool '{name}' here"


def test_numbers_that_the_verifier_adds_are_metrics():
    sent = {"id": 7, "expected_count": 5, "responses_create_params": {}}
    said = sent | {"reward": 0.5, "accuracy": True, "steps": 3, "label": "x", "none": None, "extracted_answer": "B"}
    score = read_score(json.dumps(said | {"_ng_task_index": 4}).encode(), sent)
    assert score == Score(reward=0.5, metrics={"accuracy": 1.0, "steps": 3.0}, answer="B")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from(["reward", "mask_sample", "_ng_failure_class", "extracted_answer", "a", "b"])


@given(st.dictionaries(names, values) | values, values)
def test_whatever_verify_answers_is_a_finite_score_or_an_error(said: Any, in_row: Any):
    try:
        score = read_score(json.dumps(said).encode(), {"a": in_row})
    except RemoteError:
        assert not isinstance(said, dict) or said.get("reward") != 1.0 or len(said) > 1 or said["reward"] is True
        return
    assert score.reward == said["reward"]
    assert all(math.isfinite(value) for value in [score.reward, *score.metrics.values()])
    assert "a" not in score.metrics


def test_a_key_is_sent_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def echo(request: Call, body: dict[str, Any]) -> Answer | None:
        return Answer(request.headers["authorization"])

    rows = written(tmp_path, row(0, initial=5, expected=5))
    with Gym(behave={"crash": echo})() as url:
        with pytest.raises(UsageError, match="GYM_KEY is not set"):
            benchmark(url, rows, api_key_env="GYM_KEY").environment.open(Task(id="0", input=[]), 0)
        monkeypatch.setenv("GYM_KEY", "sk-canary-gym")
        rollout = one(url, rows, [call("crash")], "Done.", api_key_env="GYM_KEY")
    assert isinstance(rollout.turns[1].input[0], FunctionCallOutput)
    assert rollout.turns[1].input[0].text == "Bearer [key]"


def test_an_address_that_is_none_is_told(tmp_path: Path):
    with pytest.raises(UsageError, match="expected http://"):
        RemoteEnvironment("counter", url="localhost:8000", rows=tmp_path)


HANDED_OVER = [
    ({"mcp": "/mcp"}, "mcp"),
    ({"sandbox_handle": "a1"}, "sandbox_handle (a sandbox)"),
    ({"observation": "You stand before a door."}, "observation"),
    ("welcome", "(no JSON object)"),
]


@pytest.mark.parametrize(("said", "words"), HANDED_OVER)
def test_what_a_session_hands_over_and_nobody_uses_is_refused_and_never_a_zero(said: Any, words: str, tmp_path: Path):
    rows = written(tmp_path, row(0, initial=1, expected=3))
    with Gym(behave={"seed_session": answering(said)})() as url:
        outcome = one(url, rows, *ADDS).outcome
        assert isinstance(outcome, Failure) and not outcome.retryable
        assert f"answers /seed_session with {words}, which a session here does not use" in outcome.message
        with pytest.raises(UsageError, match=rf"environment counter: .*{re.escape(words)}.*not supported yet"):
            asyncio.run(benchmark(url, rows).environment.ready())


class McpGym(Gym):
    """One whose tools are an MCP server's, which knows the session by a header."""

    def app(self) -> Starlette:
        async def list_tools(context: Any, params: Any) -> ListToolsResult:
            schema = {"type": "object", "properties": {"count": {"type": "integer"}}}
            return ListToolsResult(tools=[McpTool(name="add", description="Add.", input_schema=schema)])

        async def call_tool(context: Any, params: CallToolRequestParams) -> CallToolResult:
            session = context.request.headers["x-session"]
            self.counters[session] += (params.arguments or {})["count"]
            return CallToolResult(content=[TextContent(type="text", text=str(self.counters[session]))])

        server = Server("counter", on_list_tools=list_tools, on_call_tool=call_tool)
        app = server.streamable_http_app(json_response=True, stateless_http=True)
        app.routes.extend(super().app().routes)
        return app

    def seed_session(self, session_id: str, body: dict[str, Any]) -> Answer:
        super().seed_session(session_id, body)
        return JSONResponse({"mcp": {"server_name": "counter", "headers": {"x-session": session_id}}})


def test_tools_of_an_mcp_server_are_offered_and_called(tmp_path: Path):
    asked: list[Request] = []
    script: list[list[Item]] = [[call("add", '{"count": 2}')], [Message("assistant", [Text("It is done.")])]]

    def answer(request: Request) -> Response:
        asked.append(request)
        return Response(output=[*script[request.turn]])

    bare = row(0, initial=3, expected=5)
    bare["responses_create_params"]["tools"] = []
    with McpGym()() as url:
        made = benchmark(url, written(tmp_path, bare))
        asyncio.run(made.environment.ready())
        rollout = asyncio.run(rolled(made, next(iter(made.environment.tasks())), FunctionModel(answer)))
    assert rollout.outcome == Score(reward=1.0, metrics={"count": 5.0})
    assert [tool.name for tool in asked[0].tools] == ["add"]
    assert isinstance(said := asked[1].input[-1], FunctionCallOutput) and said.text == "5"


ROUTES = [
    (["/reset", "/step", "/verify"], "is a gymnasium environment, driven by /reset and /step"),
    (["/verify"], "has no route /seed_session"),
    (["/seed_session", "/verify", "/crash"], "the tools that its rows promise: get_counter_value, increment_counter"),
    (["/seed_session", "/verify", "/{path}"], None),
    (["/seed_session", "/verify", "/crash", "/get_counter_value", "/increment_counter"], None),
]


@pytest.mark.parametrize(("paths", "words"), ROUTES)
def test_a_server_that_lacks_a_route_is_refused_before_anything_begins(
    paths: list[str], words: str | None, tmp_path: Path
):
    app = Gym().app()
    app.routes.append(Route("/openapi.json", lambda _: JSONResponse({"paths": {path: {} for path in paths}})))
    with hosting(app) as url:
        environment = benchmark(url, written(tmp_path, row(0, initial=1, expected=3))).environment
        if words is None:
            asyncio.run(environment.ready())
        else:
            with pytest.raises(UsageError, match=re.escape(words)):
                asyncio.run(environment.ready())


def test_a_server_that_is_down_is_not_refused_by_its_kind(tmp_path: Path):
    rows = written(tmp_path, row(0, initial=1, expected=3))
    asyncio.run(benchmark("http://127.0.0.1:9", rows).environment.ready())

"""Our environments on NeMo Gym's routes: driven by an agent written from how its own goes, and by our own client."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Environment
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.config import ModelConfig
from assay.digest import task_digest
from assay.errors import UsageError
from assay.gyms.nemo_gym.interchange import export_tasks
from assay.gyms.nemo_gym.remote import RemoteEnvironment
from assay.gyms.nemo_gym.rows import row_of
from assay.model import Model, connect
from assay.model.builtin.function import FunctionModel
from assay.serve.environment import ServedEnvironment, affordable
from assay.serve.rows import statistics
from assay.store import read_rollouts
from assay.types import Failure, FunctionCall, FunctionCallOutput, Message, Request, Rollout, Score, Task, Tool, Turn
from tests.commands import ENVIRONMENT, assay
from tests.nemo_gym import hosting


class Counter(Environment):
    """State, tools, and a session whose end has to come in the task in which it began."""

    name, version = "count/er", "1"

    def __init__(self) -> None:
        self.open_now = 0
        self.seeds: list[int] = []

    def tasks(self) -> Iterable[Task]:
        tools = [Tool("add", {"type": "object"}), Tool("get", {"type": "object"}), Tool("crash", {"type": "object"})]
        return [
            Task(
                id=f"t{i}", input=[Message("user", f"add to {i}")], data={"initial": i, "expected": i + 2}, tools=tools
            )
            for i in range(200)
        ]

    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncGenerator["Counting"]:  # pyright: ignore
        if task.id == "t199":
            raise RuntimeError("no more room")
        self.seeds.append(seed)
        self.open_now += 1
        try:
            async with asyncio.timeout(60), asyncio.TaskGroup():
                yield Counting(task)
        finally:
            self.open_now -= 1


class Counting:
    def __init__(self, task: Task) -> None:
        self.task, self.count = task, task.data["initial"]

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        if name == "crash":
            raise ZeroDivisionError("division by zero")
        before = self.count
        await asyncio.sleep(0.001)
        self.count = before + arguments.get("count", 0)
        return json.dumps({"count": self.count})

    async def score(self, turns: Sequence[Turn]) -> Score:
        if "nan" in turns[-1].response.text:
            return Score(float("nan"))
        reward = float(self.count == self.task.data["expected"])
        return Score(reward, metrics={"turns": float(len(turns))}, answer=turns[-1].response.text)


@contextmanager
def served(environment: Environment, **settings: Any) -> Iterator[tuple[str, ServedEnvironment]]:
    made = ServedEnvironment(Benchmark(environment=environment, repeats=1), **settings)
    with hosting(made.app()) as url:
        yield url, made


def said(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}


def asked(name: str, call_id: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": json.dumps(arguments)}


def response(*output: dict[str, Any]) -> dict[str, Any]:
    fixed = {"id": "r", "object": "response", "created_at": 0.0, "model": "m", "parallel_tool_calls": True}
    return {**fixed, "tool_choice": "auto", "tools": [], "output": list(output)}


class Agent:
    """Goes as NeMo Gym's simple agent: no cookie jar, but the cookies of the last answer alone."""

    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        self.client, self.url = client, url
        self.cookies: Any = {}

    async def post(self, path: str, body: Any) -> tuple[int, str]:
        async with self.client.post(f"{self.url}/{path}", json=body, cookies=self.cookies) as answer:
            self.cookies = answer.cookies
            return answer.status, await answer.text()

    async def run(self, row: dict[str, Any], calls: Sequence[dict[str, Any]], last: str = "done") -> tuple[int, Any]:
        status, text = await self.post("seed_session", row)
        if status != 200:
            return status, json.loads(text)
        output: list[dict[str, Any]] = []
        for call in calls:
            _, shown = await self.post(call["name"], json.loads(call["arguments"]))
            output += [call, {"type": "function_call_output", "call_id": call["call_id"], "output": shown}]
        status, text = await self.post("verify", row | {"response": response(*output, said(last))})
        return status, json.loads(text)


@asynccontextmanager
async def agents() -> AsyncGenerator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=connector) as client:
        yield client


def run(url: str, *rows: dict[str, Any], calls: Sequence[dict[str, Any]], last: str = "done") -> list[tuple[int, Any]]:
    async def main() -> list[tuple[int, Any]]:
        async with agents() as client:
            return await asyncio.gather(*(Agent(client, url).run(row, calls, last) for row in rows))

    return asyncio.run(main())


COUNTER = list(Counter().tasks())
ADDS = [asked("add", "c1", count=1), asked("add", "c2", count=1)]


def test_an_agent_of_nemo_gyms_gets_the_rewards_of_its_own_sessions():
    rows = [row_of(task) | {"_ng_rollout_index": 1, "extra": "kept"} for task in COUNTER[:199]]
    environment = Counter()
    with served(environment) as (url, server):
        answers = run(url, *rows[1:], calls=ADDS)
        answers = run(f"{url}/ng-rollout/0-0", rows[0], calls=ADDS) + answers
        assert (server.sessions, environment.open_now) == (0, 0)
    assert [status for status, _ in answers] == [200] * 199
    for row, (_, answer) in zip(rows, answers, strict=True):
        assert (answer["reward"], answer["turns"], answer["extracted_answer"]) == (1.0, 3.0, "done")
        assert {name: answer[name] for name in row} == row
        assert answer["response"]["output"][-1]["content"][0]["text"] == "done"
    assert len(set(environment.seeds)) == 199


FAULTS = {
    "a tool raised": ([asked("crash", "c1")], "done", 500, "ZeroDivisionError"),
    "a reward that is none": (ADDS, "nan", 500, "reward nan; expected a finite number"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_breaks_here_is_an_error_there_and_the_session_ends(name: str):
    calls, last, status, words = FAULTS[name]
    environment = Counter()
    with served(environment) as (url, _):
        [(got, answer)] = run(url, row_of(COUNTER[0]), calls=calls, last=last)
        assert environment.open_now == 0
    assert (got, words in answer) == (status, True)


@pytest.mark.parametrize("status", ["failed", "cancelled", "in_progress"])
def test_a_response_without_an_answer_gets_no_reward(status: str):
    async def main(url: str) -> tuple[int, str]:
        async with agents() as client:
            agent, row = Agent(client, url), row_of(COUNTER[0])
            await agent.post("seed_session", row)
            return await agent.post("verify", row | {"response": response() | {"status": status}})

    with served(Counter()) as (url, _):
        got, answer = asyncio.run(main(url))
    assert (got, f"its status is {status}" in answer, "reward" in answer) == (422, True, False)


STALE = row_of(COUNTER[0])
ROWS = {
    "no task": ({"responses_create_params": {"input": "hi"}}, "assay export count/er --format nemo-gym"),
    "another benchmark's": (row_of(Task(id="x", input=[])), "has no task 'x'"),
    "another version's": (STALE | {"assay": STALE["assay"] | {"digest": "0"}}, "has another version of task 't0'"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_no_task_here_is_refused_with_the_remedy(name: str):
    row, words = ROWS[name]
    with served(Counter()) as (url, _):
        [(status, answer)] = run(url, row, calls=[])
    assert status == 422
    assert words in answer["detail"][0]["msg"]


def test_a_session_that_cannot_open_is_an_error():
    with served(Counter()) as (url, server):
        [(status, answer)] = run(url, row_of(COUNTER[199]), calls=[])
        assert server.sessions == 0
    assert (status, answer) == (500, "RuntimeError('no more room')")


def test_a_cookie_is_worth_one_session_and_no_forged_one_is():
    row = row_of(COUNTER[0])
    verified = row | {"response": response(said("done"))}

    async def main(url: str) -> None:
        async with agents() as client:
            agent, other = Agent(client, url), Agent(client, url)
            assert (await agent.post("add", {}))[0] == 409
            assert (await agent.post("verify", verified))[0] == 409
            await agent.post("seed_session", row)
            await other.post("seed_session", row_of(COUNTER[1]))
            [(name, cookie)] = agent.cookies.items()
            assert (cookie["httponly"], cookie["samesite"]) == (True, "lax")
            forged = Agent(client, url)
            value, theirs = cookie.value, other.cookies[name].value
            for made in (
                value[:-1] + ("0" if value[-1] != "0" else "1"),
                f"{theirs.split('.')[0]}.{value.split('.')[1]}",
            ):
                forged.cookies = {name: made}
                assert (await forged.post("add", {"count": 5}))[0] == 409
            wrong = Agent(client, url)
            wrong.cookies = {name: theirs}
            status, text = await wrong.post("verify", verified)
            assert (status, "task t1's and the row task t0's" in text) == (422, True)
            status, text = await agent.post("add", [1])
            assert (status, "not a JSON object" in text) == (422, True)
            await asyncio.gather(*(Agent.post(_same(agent), "add", {"count": 1}) for _ in range(2)))
            status, text = await agent.post("verify", verified)
            assert (status, json.loads(text)["reward"]) == (200, 1.0)
            assert (await agent.post("verify", verified))[0] == 409

    with served(Counter()) as (url, _):
        asyncio.run(main(url))


def _same(agent: Agent) -> Agent:
    twin = Agent(agent.client, agent.url)
    twin.cookies = agent.cookies
    return twin


def test_a_session_that_nobody_calls_ends_and_one_that_is_called_does_not():
    environment = Counter()

    async def main(url: str) -> None:
        async with agents() as client:
            left, used = Agent(client, url), Agent(client, url)
            await left.post("seed_session", row_of(COUNTER[0]))
            await used.post("seed_session", row_of(COUNTER[0]))
            for _ in range(35):  # well beyond the limit in all, and far below it between two calls
                await asyncio.sleep(0.1)
                assert (await used.post("get", {}))[0] == 200
            assert environment.open_now == 1
            assert (await left.post("get", {}))[0] == 409

    with served(environment, idle_s=2.0) as (url, _):
        asyncio.run(main(url))
    assert environment.open_now == 0, "what is open at the end is closed"


def test_no_more_sessions_are_opened_than_there_is_room_for():
    async def main(url: str) -> None:
        async with agents() as client:
            first, second = Agent(client, url), Agent(client, url)
            assert (await first.post("seed_session", row_of(COUNTER[0])))[0] == 200
            async with client.post(f"{url}/seed_session", json=row_of(COUNTER[1])) as refused:
                assert (refused.status, refused.headers["retry-after"]) == (503, "60")
                assert "1 sessions are open, the most" in await refused.text()
            assert (await first.post("verify", row_of(COUNTER[0]) | {"response": response(said("x"))}))[0] == 200
            assert (await second.post("seed_session", row_of(COUNTER[1])))[0] == 200

    with served(Counter(), most_sessions=1) as (url, _):
        asyncio.run(main(url))


@pytest.mark.parametrize(("limit", "is_less"), [("268435456\n", True), ("max\n", False), (None, False)])
def test_a_containers_memory_bounds_the_sessions_too(
    limit: str | None, is_less: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("assay.serve.environment.CONTAINER_LIMIT", tmp_path / "memory.max")
    if limit:
        (tmp_path / "memory.max").write_text(limit)
    assert (affordable() == 512) == is_less


def test_sessions_are_left_for_less_long_where_they_are_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.serve.environment.LEAST_IDLE_S", 0.1)

    async def main(url: str, server: ServedEnvironment) -> None:
        async with agents() as client:
            for _ in range(10):
                assert (await Agent(client, url).post("seed_session", row_of(COUNTER[0])))[0] == 200
            deadline = asyncio.get_running_loop().time() + 20
            while server.sessions == 10:
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.02)

    with served(Counter(), idle_s=3600.0, most_sessions=10) as (url, server):
        asyncio.run(main(url, server))


class Sums(Environment):
    name, version = "sums", "1"

    def tasks(self) -> Iterable[Task]:
        return [Task(id="a", input=[Message("user", "1+1?")], gold="2")]

    def verify(self, task: Task, response: Any) -> Score:
        return Score(float(response.text == task.gold))


@pytest.mark.parametrize(
    ("environment", "mode", "status"), [(Sums(), "stateless", 200), (Counter(), "unsupported", 409)]
)
def test_a_stateless_verifier_needs_no_session(environment: Environment, mode: str, status: int):
    row = row_of(next(iter(environment.tasks()))) | {"response": response(said("2"))}

    async def main(url: str) -> tuple[Any, int, Any]:
        async with agents() as client:
            async with client.get(f"{url}/reverify_mode") as answer:
                told = await answer.json()
            got, text = await Agent(client, url).post("verify", row)
            return told, got, json.loads(text)

    with served(environment) as (url, _):
        told, got, answer = asyncio.run(main(url))
    assert (told, got) == (mode, status)
    assert answer.get("reward") == (1.0 if status == 200 else None)


def test_a_tool_named_as_a_route_is_refused():
    class Bad(Sums):
        def tasks(self) -> Iterable[Task]:
            return [Task(id="a", input=[], tools=[Tool("verify", {})])]

    with pytest.raises(UsageError, match="a tool verify, which is a route"):
        ServedEnvironment(Benchmark(environment=Bad(), repeats=1))


class Judged(Environment):
    name, version, tasks = "judged", "1", Sums.tasks

    async def verify(self, task: Task, response: Any, models: Mapping[str, Model]) -> Score:
        said = await models["judge"].respond(Request(input=[Message("user", response.text)]))
        return Score(float(said.text))


@pytest.mark.parametrize(("verdict", "status", "words"), [("1", 200, '"reward":1.0'), ("", 500, "could not convert")])
def test_a_judge_is_asked_and_one_that_fails_is_an_error(verdict: str, status: int, words: str):
    judged = Benchmark(environment=Judged(), repeats=1, roles={"judge": FunctionModel(lambda _: verdict)})
    with hosting(ServedEnvironment(judged).app()) as url:
        [(got, answer)] = run(url, row_of(next(iter(judged.environment.tasks()))), calls=[])
    assert (got, words in json.dumps(answer, separators=(",", ":"))) == (status, True)


class Talking(Counting):
    async def reply(self, response: Any) -> None:
        return None


def test_a_dialogue_that_such_agents_would_leave_early_is_refused():
    class Dialogue(Counter):
        @asynccontextmanager
        async def open(self, task: Task, seed: int) -> AsyncGenerator[Counting]:  # pyright: ignore
            yield Talking(task)

    with served(Dialogue()) as (url, _):
        [(status, answer)] = run(url, row_of(COUNTER[0]), calls=[])
    assert (status, "goes on after the model's answer" in answer) == (500, True)


def test_aggregates_are_over_rollouts_and_leave_out_what_is_no_measurement():
    rows = [
        {"_ng_task_index": 0, "_ng_rollout_index": 0, "reward": 1.0, "ok": True, "response": {"usage": {"tokens": 4}}},
        {"_ng_task_index": 0, "_ng_rollout_index": 1, "reward": 0.0, "ok": False, "label": "x"},
        {"_ng_task_index": 1, "_ng_rollout_index": 0, "reward": 0.5},
        {"_ng_task_index": 1, "_ng_rollout_index": 1, "reward": 0.0, "mask_sample": True},
    ]
    made = statistics(rows)
    assert made["key_metrics"] == {"mean/reward": 0.5}
    assert made["agent_metrics"]["std/reward"] == 0.5
    assert made["agent_metrics"]["mean/tokens"] == 4
    first, second = made["group_level_metrics"]
    assert (first["_ng_task_index"], first["mean/reward"], first["mean/ok"], first["max/reward"]) == (0, 0.5, 0.5, 1.0)
    assert (second["mean/reward"], second["std/reward"]) == (0.5, 0.0)
    with served(Sums()) as (url, _):

        async def main() -> list[tuple[int, str]]:
            async with agents() as client:
                bodies = [{"verify_responses": rows}, {"verify_responses": 5}]
                return [await Agent(client, url).post("aggregate_metrics", body) for body in bodies]

        (status, text), refused = asyncio.run(main())
    assert (status, json.loads(text)) == (200, made)
    assert refused[0] == 422


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
NAMES = st.sampled_from(["_ng_task_index", "reward", "response", "mask_sample", "usage", "x"])


@example([{"reward": 1e308}, {"reward": 1e308}, {"reward": -1e308}])
@example([{"_ng_task_index": [1], "response": "text", "reward": 10**400}])
@example([{"response": {"usage": [3]}}])
@given(st.lists(st.dictionaries(NAMES, JSON | st.fixed_dictionaries({"usage": JSON}), max_size=4), max_size=4))
def test_whatever_the_rows_are_they_have_aggregates_that_json_can_hold(rows: list[dict[str, Any]]):
    made = json.loads(msgspec.json.encode(statistics(msgspec.json.decode(json.dumps(rows)))))
    assert set(made) == {"group_level_metrics", "agent_metrics", "key_metrics"}


# ---- Full circle


def rolled(url: str, rows: Path, script: list[Any], index: int = 0) -> Rollout:
    benchmark = Benchmark(environment=RemoteEnvironment("there", url=url, rows=rows), repeats=1)
    task = list(benchmark.environment.tasks())[index]
    model = connect(ModelConfig(dialect="scripted", id="s", script=script))
    return asyncio.run(roll(benchmark, ToolLoop(), model, PlannedRollout(task, task_digest(task), 0, 0, 7)))


def call(name: str, call_id: str, **arguments: Any) -> FunctionCall:
    return FunctionCall(call_id=call_id, name=name, arguments=json.dumps(arguments))


def test_our_client_and_our_server_score_as_the_environment_itself_does(tmp_path: Path):
    environment = Counter()
    export_tasks(Benchmark(environment=environment, repeats=1), tmp_path / "rows.jsonl")
    script: list[Any] = [[call("add", "c1", count=1), call("add", "c2", count=1)], [call("get", "c3")], "done"]
    task = COUNTER[4]
    model = connect(ModelConfig(dialect="scripted", id="s", script=script))
    planned = PlannedRollout(task, task_digest(task), 0, 0, 7)
    here = asyncio.run(roll(Benchmark(environment=environment, repeats=1), ToolLoop(), model, planned))
    with served(environment) as (url, _):
        there = rolled(url, tmp_path / "rows.jsonl", script, 4)
        broken = rolled(url, tmp_path / "rows.jsonl", [[call("crash", "c1")], "done"])
        assert environment.open_now == 0
    assert here.outcome == there.outcome == Score(1.0, metrics={"turns": 3.0}, answer="done")
    assert environment.seeds[:2] == [7, 7]
    shown = [[item for item in turn.input if isinstance(item, FunctionCallOutput)] for turn in there.turns]
    assert shown == [[item for item in turn.input if isinstance(item, FunctionCallOutput)] for turn in here.turns]
    assert isinstance(broken.outcome, Failure)
    assert "ZeroDivisionError" in broken.outcome.message


@contextmanager
def command(*arguments: str, cwd: Path, **variables: str) -> Iterator[str]:
    """The address that `assay serve environment` tells."""
    line = [sys.executable, "-m", "assay.cli", "serve", "environment", *arguments, "--port", "0"]
    with subprocess.Popen(
        line, cwd=cwd, env={**ENVIRONMENT, **variables}, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            told = process.stderr.readline()
            found = re.search(r"http://\S+", told)
            assert found, told + process.stderr.read()
            yield found[0]
        finally:
            process.terminate()
            assert process.wait(20) == 0


@pytest.mark.heavy
def test_the_commands_go_the_whole_way(tmp_path: Path):
    assert assay("export", "arithmetic", "--format", "nemo-gym", cwd=tmp_path)[:2] == (
        0,
        "240 tasks are in arithmetic-nemo-gym.jsonl\n",
    )
    with command("arithmetic", "--api-key-env", "THE_KEY", cwd=tmp_path, THE_KEY="sk-canary-environment") as url:
        code, out, err = assay(
            "import", "nemo-gym", "arithmetic-nemo-gym.jsonl", "--out", "there", "--url", url, cwd=tmp_path
        )
        assert (code, "240 tasks are in there" in out, "assay run ./there" in out) == (0, True, True), err
        code, _, err = assay("run", "./there", "--model", "gold", "--limit", "20", cwd=tmp_path)
        assert (code, "answered 401" in err) == (4, True), err
    with command("arithmetic", cwd=tmp_path) as url:
        file = tmp_path / "there/benchmark.py"
        file.write_text(re.sub(r"http://[^\"]+", url, file.read_text()))
        code, _, err = assay("run", "./there", "--model", "nano-instruct", "--limit", "20", "--out", "r", cwd=tmp_path)
        assert code == 0, err
    code, _, err = assay(
        "run", "arithmetic", "--model", "nano-instruct", "--limit", "20", "--repeats", "1", "--out", "h", cwd=tmp_path
    )
    assert code == 0, err
    answers = [{rollout.task: rollout.outcome for rollout in read_rollouts(tmp_path / folder)} for folder in ("r", "h")]
    assert len(answers[0]) == 20
    rewards = [{task: score.reward for task, score in one.items() if isinstance(score, Score)} for one in answers]
    assert set(rewards[0]) == set(rewards[1])
    code, out, err = assay("export", "r", "--format", "nemo-gym", "--out", "r.jsonl", cwd=tmp_path)
    assert (code, out) == (0, "20 rollouts are in r.jsonl, 0 failures in r_failures.jsonl\n"), err
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert {row["assay"]["id"]: row["reward"] for row in rows} == rewards[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "environment", "arithmetic", "--host", "0.0.0.0"], "open to other machines"),
        (["serve", "environment", "arithmetc"], "Did you mean arithmetic"),
        (["serve", "environment", "arithmetic", "--most-sessions", "0"], "at least 1"),
        (["import", "nemo-gym", "none.jsonl"], "none.jsonl can't be read"),
        (["export", "nothing"], "there is no benchmark 'nothing'"),
    ],
)
def test_what_cannot_be_is_told(arguments: list[str], words: str, tmp_path: Path):
    code, _, err = assay(*arguments, cwd=tmp_path)
    assert (code, words in err) == (2, True), err


class Hanging(Counter):
    """Tools and a verifier that never end."""

    name = "hanging"

    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncGenerator["Counting"]:  # pyright: ignore
        yield Stuck(task)


class Stuck(Counting):
    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        if name == "get":
            return "1"
        await asyncio.sleep(60)
        return ""

    async def score(self, turns: Sequence[Turn]) -> Score:
        await asyncio.sleep(60)
        return Score(1.0)


@pytest.mark.parametrize("tool", ["add", "get"])
def test_what_never_ends_is_ended_and_never_scored(tool: str):
    environment = Hanging()
    task = next(iter(environment.tasks()))
    row = row_of(task)

    async def main(url: str) -> list[tuple[int, str]]:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as caller:
            told: list[tuple[int, str]] = []
            answer = {"output": [{"type": "message", "role": "assistant", "content": "done"}]}
            for path, body in (("seed_session", row), (tool, {}), ("verify", row | {"response": answer})):
                async with caller.post(f"{url}/{path}", json=body) as said:
                    told.append((said.status, await said.text()))
            return told

    served = ServedEnvironment(Benchmark(environment=environment, repeats=1), deadline_s=0.3)
    with hosting(served.app()) as url:
        (seeded, _), (called, _), (verified, words) = asyncio.run(main(url))
    assert (seeded, called, verified) == (200, 500 if tool == "add" else 200, 500)
    assert ("was given up" if tool == "add" else "no end within 0.3 s") in words

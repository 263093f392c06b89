"""Our environments by OpenEnv's routes, and a server of OpenEnv's as a benchmark: each side driven by the other."""

import asyncio
import json
import os
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from assay import sync
from assay.benchmark import Benchmark, Environment
from assay.benchmark.catalog import load
from assay.benchmark.tools import ToolEnvironment, ToolSession, tool
from assay.errors import UsageError
from assay.gyms import openenv
from assay.serve.environment import ServedEnvironment
from assay.trainers.tasks import training_tasks
from assay.types import (
    Failure,
    FunctionCall,
    FunctionCallOutput,
    Message,
    Request,
    Response,
    RolloutLimits,
    Score,
    Task,
    Text,
)
from tests.commands import start, until
from tests.nemo_gym import hosting

PYTHON = os.environ.get("ASSAY_OPENENV_PYTHON")
"""An interpreter with the package openenv-core."""
CLIENTS = Path(__file__).parent / "clients"
open_tills: set[str] = set()


class Till(ToolSession):
    """A till that has to hold what the task says."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self.coins = 0

    @tool
    def put(self, coins: int) -> str:
        """Puts coins into the till.

        Args:
            coins: How many.
        """
        self.coins += coins
        return f"{self.coins} coins"

    async def score(self, turns: Any) -> Score:
        said = turns[-1].response.text
        if said == "crash":
            raise ValueError("the verifier broke")
        return Score(reward=float(str(self.coins) == self.task.gold and said == "done"), metrics={"coins": self.coins})


class Tills(ToolEnvironment):
    name, version, session = "till", "1", Till

    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncGenerator[Any]:  # pyright: ignore
        open_tills.add(task.id)
        async with super().open(task, seed) as session:
            try:
                yield session
            finally:
                open_tills.discard(task.id)

    def tasks(self) -> Iterable[Task]:
        return [Task(id=f"t{n}", input=[Message("user", f"Put {n}.")], gold=str(n), tools=self.tools) for n in (3, 5)]


TILL = Benchmark(environment=Tills(), repeats=1, limits=RolloutLimits(steps=4))
PUT = {"type": "call_tool", "tool_name": "put", "arguments": {"coins": 5}}


@contextmanager
def served(benchmark: Benchmark = TILL, **given: Any) -> Iterator[str]:
    with hosting(ServedEnvironment(benchmark, **given).app()) as url:
        yield f"{url}/openenv"


def ask(line: ClientConnection, kind: str, data: Any = None) -> Any:
    line.send(json.dumps({"type": kind, "data": data or {}}))
    return json.loads(line.recv(timeout=20))


def socket_of(url: str) -> ClientConnection:
    return connect(f"ws{url.removeprefix('http')}/ws")


def test_an_episode_of_tools_by_websocket_and_another_one_after_it():
    with served() as url, socket_of(url) as line:
        first = ask(line, "reset", {"task": "t5", "episode_id": "mine"})
        assert first["type"] == "observation"
        assert first["data"] == {
            "observation": {"episode_id": "mine", "messages": [{"role": "user", "content": "Put 5."}]},
            "reward": None,
            "done": False,
        }
        (listed,) = ask(line, "step", {"type": "list_tools"})["data"]["observation"]["tools"]
        assert (listed["name"], listed["input_schema"]["required"]) == ("put", ["coins"])
        told = ask(line, "step", PUT)["data"]["observation"]
        assert (told["tool_name"], told["result"], told["error"]) == ("put", "5 coins", None)
        assert ask(line, "state")["data"] == {"episode_id": "mine", "step_count": 1, "task": "t5"}
        ended = ask(line, "step", {"message": "done"})["data"]
        assert (ended["reward"], ended["done"]) == (1.0, True)
        assert (ended["observation"]["metrics"], ended["observation"]["stop"]) == ({"coins": 5.0}, "completed")
        assert ask(line, "step", PUT)["data"]["code"] == "SESSION_ERROR"
        again = ask(line, "reset", {"seed": 2})
        assert again["data"]["observation"]["messages"][0]["content"] == "Put 3."
        assert ask(line, "step", {"message": "done"})["data"]["reward"] == 0.0


def test_a_failure_is_an_error_and_a_limit_ends_the_episode():
    with served() as url, socket_of(url) as line:
        ask(line, "reset", {"task": "t3"})
        failed = ask(line, "step", {"message": "crash"})
        assert (failed["type"], failed["data"]["code"]) == ("error", "EXECUTION_ERROR")
        assert "failed in the verifier (exception): ValueError: the verifier broke" in failed["data"]["message"]
        ask(line, "reset", {"task": "t3"})
        answers = [ask(line, "step", PUT)["data"] for _ in range(4)]
        assert [answer["done"] for answer in answers] == [False, False, False, True]
        assert (answers[-1]["reward"], answers[-1]["observation"]["stop"]) == (0.0, "steps")


def test_a_session_ends_with_its_connection():
    open_tills.clear()
    with served() as url:
        with socket_of(url) as line:
            ask(line, "reset")
            assert len(open_tills) == 1
        until(lambda: not open_tills)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("{", "INVALID_JSON"),
        ('{"type": "jump"}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"message": "done"}}', "SESSION_ERROR"),
        ('{"type": "reset", "data": {"task": "t9"}}', "VALIDATION_ERROR"),
        ('{"type": "reset", "data": {"seed": -1}}', "VALIDATION_ERROR"),
    ],
)
def test_what_is_no_message_is_an_error_and_the_connection_stays(sent: str, code: str):
    with served() as url, socket_of(url) as line:
        line.send(sent)
        assert json.loads(line.recv(timeout=20))["data"]["code"] == code
        assert ask(line, "reset")["type"] == "observation"
        assert ask(line, "step", {"coins": 3})["data"]["code"] == "VALIDATION_ERROR"


def test_more_episodes_than_may_be_open_are_refused():
    with served(most_sessions=1) as url, socket_of(url) as first, socket_of(url) as second:
        ask(first, "reset")
        assert ask(second, "reset")["data"]["code"] == "CAPACITY_REACHED"
        assert ask(first, "step", {"message": "done"})["data"]["done"]
        first.close()
        until(lambda: ask(second, "reset")["type"] == "observation")


def test_a_page_of_another_site_opens_no_socket():
    with served() as url, pytest.raises(InvalidStatus) as refused:
        connect(f"ws{url.removeprefix('http')}/ws", origin="https://elsewhere.example")
    assert refused.value.response.status_code == 403


def test_with_a_key_a_socket_wants_it_too():
    with hosting(ServedEnvironment(TILL).app("secret")) as url:
        address = f"ws{url.removeprefix('http')}/openenv/ws"
        with pytest.raises(InvalidStatus) as refused:
            connect(address)
        assert refused.value.response.status_code == 403
        with connect(address, additional_headers={"authorization": "Bearer secret"}) as line:
            assert ask(line, "reset")["type"] == "observation"


def http(url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_an_episode_by_http():
    with served() as url:
        assert http(f"{url}/health")[0] == 200
        assert http(f"{url}/metadata")[1]["name"] == "till"
        assert set(http(f"{url}/schema")[1]) == {"action", "observation", "state"}
        assert http(f"{url}/reset", {"episode_id": "e", "seed": 1})[0] == 200
        assert http(f"{url}/reset", {"episode_id": "e"})[0] == 409
        assert http(f"{url}/step", {"episode_id": "e", "action": PUT})[1]["observation"]["result"] == "5 coins"
        assert http(f"{url}/state?episode_id=e")[1]["step_count"] == 1
        _, ended = http(f"{url}/step", {"episode_id": "e", "action": {"message": "done"}})
        assert (ended["reward"], ended["done"]) == (1.0, True)
        status, gone = http(f"{url}/step", {"episode_id": "e", "action": {"message": "done"}})
        assert status == 409 and "no episode 'e' is open" in gone["detail"]
        status, _ = http(f"{url}/step", {"action": {"message": "done"}})
        assert status == 409


class Teller:
    """Puts what it is told to, then says so."""

    async def respond(self, request: Request) -> Response:
        asked = next(item.text for item in request.input if isinstance(item, Message))
        coins = int(asked.split()[1].rstrip("."))
        if not any(isinstance(item, FunctionCall) for item in request.input):
            return Response(output=[FunctionCall("c", "put", json.dumps({"coins": coins}))])
        return Response(output=[Message("assistant", [Text("done")])])


def test_a_server_is_a_benchmark_with_the_tools_that_it_lists():
    with served() as url:
        benchmark = load(f"openenv:{url},episodes=3,text=message")
        tasks = list(benchmark.environment.tasks())
        assert [tool.name for tool in tasks[0].tools] == ["put"]
        assert (benchmark.name, len(tasks)) == ("openenv:till", 3)
        made = sync.rollouts(benchmark, model=Teller())
        # Without its message no episode ends, so that there is no reward.
        silent = sync.rollouts(load(f"openenv:{url},episodes=2"), model=Teller())
    assert [one.outcome.reward for one in made if isinstance(one.outcome, Score)] == [1.0] * 3
    assert all(
        isinstance(one.outcome, Failure)
        and "gave no reward" in one.outcome.message
        and "text=FIELD" in one.outcome.message
        for one in silent
    )


def test_an_answer_is_scored_there_as_it_is_here():
    arithmetic = load("arithmetic")
    with served(arithmetic) as url:
        made = sync.rollouts(load(f"openenv:{url},episodes=20,text=message"), model="policy", seed=3)
    scores = [one.outcome for one in made]
    assert all(isinstance(score, Score) and score.metrics["done"] == 1 for score in scores)
    by_id = {task.id: task for task in arithmetic.environment.tasks()}
    for one, task in zip(made, by_id.values(), strict=False):
        assert isinstance(one.outcome, Score)
        assert [item.text for item in one.turns[0].input] == [item.text for item in task.input]
        score: Any = arithmetic.environment.verify(task, one.turns[0].response)
        assert one.outcome.reward == score.reward


class Slow(Environment):
    name, version = "slow", "1"

    def tasks(self):
        return [Task(id="a", input=[Message("user", "Say done.")])]

    async def verify(self, task: Task, response: Response) -> Score:
        await asyncio.sleep(5)
        return Score(reward=1.0)


class Sayer:
    async def respond(self, request: Request) -> Response:
        return Response(output=[Message("assistant", [Text("done")])])


def test_a_server_that_does_not_answer_is_a_failure_that_says_so(monkeypatch: pytest.MonkeyPatch):
    with served(Benchmark(environment=Slow(), repeats=1)) as url:
        benchmark = load(f"openenv:{url},episodes=1,text=message")
        monkeypatch.setattr(openenv, "TIMEOUT_S", 0.3)
        (made,) = sync.rollouts(benchmark, model=Sayer())
    assert isinstance(made.outcome, Failure) and "no answer to step in 0.3 s" in made.outcome.message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("openenv:localhost:8000", "expected http:// or https://"),
        ("openenv:http://127.0.0.1:1", "does it run"),
        ("openenv:http://127.0.0.1:1,episodes=none", "expected a number from 1 on"),
        ("openenv:http://127.0.0.1:1,colour=red", "there is no setting 'colour'"),
    ],
)
def test_a_name_that_can_not_be_used_says_why(name: str, said: str):
    with pytest.raises(UsageError, match=re.escape(said)):
        load(name)


def test_a_field_that_no_action_has_is_refused():
    with served() as url, pytest.raises(UsageError, match="has no field speech in an action; expected one of type"):
        load(f"openenv:{url},text=speech")


def test_the_command_serves_training_tasks(tmp_path: Path):
    command = ["serve", "environment", "arithmetic", "--training", "6", "--seed", "3", "--port", "0"]
    with start(*command, cwd=tmp_path) as process:
        assert process.stderr
        found = re.search(r"for OpenEnv: (http://\S+)", process.stderr.readline())
        assert found
        with socket_of(found[1]) as line:
            asked = [ask(line, "reset", {"seed": seed})["data"]["observation"]["messages"] for seed in range(6)]
            line.send(json.dumps({"type": "close"}))  # and goes without waiting for the server to close
        process.terminate()
        assert process.stderr.read().count("Traceback") == 0
    expected = training_tasks(load("arithmetic"), 6, seed=3)
    assert [said[-1]["content"] for said in asked] == [item.text for task in expected for item in task.input[-1:]]


theirs = pytest.mark.skipif(PYTHON is None, reason="ASSAY_OPENENV_PYTHON names no interpreter with openenv-core")


@pytest.mark.clients
@theirs
def test_openenvs_own_clients():
    with served() as url:
        command = [str(PYTHON), str(CLIENTS / "openenv_client.py"), url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["first"] == {"episode_id": "mine", "messages": [{"role": "user", "content": "Put 5."}]}
    assert made["step"]["result"] == "5 coins"
    assert made["state"] == {"episode_id": "mine", "step_count": 1, "task": "t5"}
    assert (made["reward"], made["done"]) == (1.0, True)
    assert "the verifier broke" in made["error"]
    assert [tool["name"] for tool in made["tools"]] == ["put"]
    assert made["called"] == "2 coins"


@contextmanager
def their_server(kind: str) -> Iterator[str]:
    """OpenEnv's own server."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with subprocess.Popen([str(PYTHON), str(CLIENTS / "openenv_server.py"), kind, str(port)]) as process:
        try:
            until(lambda: _answers(f"http://127.0.0.1:{port}/health"))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return http(url)[0] == 200
    except OSError:
        return False


class Guesser:
    """Guesses 5, then what the hints leave; says what it calls as `step`, or as a tool `add`."""

    async def respond(self, request: Request) -> Response:
        hints = [item.text for item in request.input[1:] if isinstance(item, FunctionCallOutput)]
        number = 5 + 2 * sum(1 if "larger" in hint else -1 for hint in hints)
        return Response(output=[FunctionCall(f"c{len(hints)}", "step", json.dumps({"number": number}))])


class Adder:
    """Calls the tool once."""

    async def respond(self, request: Request) -> Response:
        if any(isinstance(item, FunctionCallOutput) for item in request.input):
            return Response(output=[Message("assistant", [Text("done")])])
        return Response(output=[FunctionCall("c", "add", json.dumps({"a": 2, "b": 3}))])


@pytest.mark.clients
@theirs
def test_openenvs_own_server():
    with their_server("guess") as url:
        benchmark = load(f"openenv:{url},episodes=10")
        (step,) = next(iter(benchmark.environment.tasks())).tools
        assert (step.name, step.description) == ("step", "A guess of a number from 0 to 9.")
        assert list(step.parameters["properties"]) == ["number"]
        made = sync.rollouts(benchmark, model=Guesser())
    scores = {one.task: one.outcome.reward for one in made if isinstance(one.outcome, Score)}
    assert len(scores) == 10
    assert (scores["seed-5"], scores["seed-7"], scores["seed-9"], scores["seed-8"]) == (1.0, 0.75, 0.5, -0.75)
    assert made[0].turns[0].input[0].text == "Guess a number from 0 to 9."
    with their_server("add") as url:
        benchmark = load(f"openenv:{url},episodes=2")
        assert [tool.name for tool in next(iter(benchmark.environment.tasks())).tools] == ["add"]
        made = sync.rollouts(benchmark, model=Adder())
    assert [one.outcome.reward for one in made if isinstance(one.outcome, Score)] == [0.5, 0.5]
    (told,) = [item for item in made[0].turns[1].input if isinstance(item, FunctionCallOutput)]
    assert told.text == "2 + 3 = 5"

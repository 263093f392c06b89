"""Our environments as gymnasium servers of NeMo Gym, played by our own client as they are played here."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from assay import sync
from assay.benchmark import Benchmark, Environment
from assay.benchmark.catalog import load
from assay.benchmark.tools import ToolEnvironment, ToolSession, tool
from assay.config import ModelConfig
from assay.gyms.nemo_gym.gymnasium import GymnasiumEnvironment
from assay.gyms.nemo_gym.rows import row_of
from assay.model.builtin.function import FunctionModel
from assay.serve.environment import ServedEnvironment
from assay.types import (
    Failure,
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Request,
    Response,
    Rollout,
    RolloutLimits,
    Score,
    Task,
    Text,
    Tool,
    Turn,
)
from tests.commands import until
from tests.nemo_gym import hosting, ran, their_agent, theirs
from tests.serve.served import serving


class Shop(ToolSession):
    """A till, and a customer who speaks first and says more after each answer, until told the sum."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self.coins, self.seed = 0, seed

    @tool
    def put(self, coins: int) -> str:
        """Puts coins into the till.

        Args:
            coins: How many.
        """
        if coins > 99:
            raise ValueError("the till is full")
        self.coins += coins
        return f"{self.coins} coins"

    async def begin(self) -> list[Item]:
        return [Message("user", f"Here are {self.task.gold} coins, {self.seed % 7} of them new.")]

    async def reply(self, response: Response) -> list[Item] | None:
        if response.text == "picture":
            return [Message("system", "A picture of the shop.")]
        return [Message("user", "And?")] if response.text != "done" else None

    async def score(self, turns: Any) -> Score:
        return Score(reward=float(str(self.coins) == self.task.gold) - 0.01 * len(turns), metrics={"coins": self.coins})


class Shops(ToolEnvironment):
    name, version, session = "shop", "1", Shop

    def tasks(self) -> Iterable[Task]:
        return [Task(id=f"t{n}", input=[Message("system", "Sell.")], gold=str(n), tools=self.tools) for n in range(9)]


SHOP = Benchmark(environment=Shops(), repeats=1, limits=RolloutLimits(steps=6))
FIRST = row_of(next(iter(SHOP.environment.tasks())))


def seller(request: Request) -> Response:
    """Puts what the customer says, two calls at once, one of them malformed; then talks; then is done."""
    said = next(item.text for item in request.input if isinstance(item, Message) and item.role == "user")
    coins = int(said.split()[2])
    last = request.input[-1]
    if isinstance(last, Message) and last.text == said:
        calls: list[Item] = [FunctionCall("a", "put", json.dumps({"coins": coins})), FunctionCall("b", "put", "{")]
        return Response(output=[Message("assistant", [Text("I put them.")]), *calls])
    return Response(output=[Message("assistant", [Text("thanks" if isinstance(last, FunctionCallOutput) else "done")])])


def lines(folder: Path, benchmark: Benchmark) -> Path:
    agent = {"agent_ref": {"name": "a_gymnasium_agent"}}
    rows = [row_of(task) | agent for task in benchmark.environment.tasks()]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


@contextmanager
def there(benchmark: Benchmark, folder: Path, **settings: Any) -> Iterator[Benchmark]:
    """The benchmark behind a server of ours, as a client of gymnasium servers sees it."""
    with hosting(ServedEnvironment(benchmark, **settings).app()) as url:
        environment = GymnasiumEnvironment("there", url=url, rows=lines(folder, benchmark))
        yield Benchmark(environment=environment, repeats=1)


def shown(rollout: Rollout) -> list[tuple[str, str]]:
    """What the model was shown, in its order."""
    items = [item for turn in rollout.turns for item in turn.input]
    return [(type(item).__name__, item.text) for item in items if isinstance(item, Message | FunctionCallOutput)]


def test_tools_and_a_dialogue_are_played_there_as_here(tmp_path: Path):
    here = sync.rollouts(SHOP, model=FunctionModel(seller), seed=5)
    with there(SHOP, tmp_path) as far:
        made = sync.rollouts(far, model=FunctionModel(seller), seed=5)
    rewards = [one.outcome.reward for one in here if isinstance(one.outcome, Score)]
    assert rewards == [1.0 - 0.03] * 9
    assert [one.outcome.reward for one in made if isinstance(one.outcome, Score)] == rewards
    assert [shown(one) for one in made] == [shown(one) for one in here]
    last = made[-1].outcome
    assert isinstance(last, Score)
    assert last.metrics == {"coins": 8.0, "steps": 3.0, "terminated": 1.0, "truncated": 0.0}


def test_a_limit_of_the_benchmark_truncates_the_episode(tmp_path: Path):
    with there(SHOP, tmp_path) as far:
        made = sync.rollouts(far, model=FunctionModel(lambda _: "thanks"))
    first = made[0].outcome
    assert isinstance(first, Score)
    assert (first.reward, len(made[0].turns)) == (1.0 - 0.06, 6)
    assert (first.metrics["truncated"], first.metrics["terminated"]) == (1.0, 0.0)


def broken(request: Request) -> Response:
    return Response(output=[FunctionCall("a", "put", '{"coins": 100}')])


FAULTS = [
    (
        FunctionModel(broken),
        "the episode failed in the environment (tool): the tool put raised ValueError: the till is full",
    ),
    (FunctionModel(lambda _: "picture"), "the episode says more than texts as the user"),
]


@pytest.mark.parametrize(("model", "words"), FAULTS)
def test_an_episode_that_fails_there_is_a_failure_here(model: Any, words: str, tmp_path: Path):
    with there(SHOP, tmp_path) as far:
        made = sync.rollouts(far, model=model, tasks=["t0", "t1"])
    messages = [one.outcome.message for one in made if isinstance(one.outcome, Failure)]
    assert len(messages) == 2 and all(words in message for message in messages), messages


class Changing(Environment):
    """Its sessions offer other tools than their tasks."""

    name, version = "changing", "1"

    def tasks(self) -> Iterable[Task]:
        return [Task(id="a", input=[Message("user", "Say it.")], tools=[Tool("say", {"type": "object"})])]

    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncGenerator[Any]:  # pyright: ignore
        yield self

    @property
    def tools(self) -> list[Tool]:
        return []

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        return ""

    async def score(self, turns: list[Turn]) -> Score:
        return Score(1.0)


def post(url: str, path: str, body: Any, cookie: str = "") -> tuple[int, Any, str]:
    headers = {"content-type": "application/json", "cookie": cookie}
    request = urllib.request.Request(f"{url}/{path}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer), answer.headers["set-cookie"].partition(";")[0]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), ""


def saying(text: str, **fields: Any) -> dict[str, Any]:
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    return FIRST | {"response": {"output": [message], **fields}}


def test_what_can_not_be_stepped_is_refused_by_name():
    changing = Changing()
    with hosting(ServedEnvironment(Benchmark(environment=changing, repeats=1)).app()) as url:
        status, said, _ = post(url, "reset", row_of(next(iter(changing.tasks()))))
        assert (status, "changes its tools" in said["detail"]) == (500, True)
    served = ServedEnvironment(SHOP, most_sessions=1)
    with hosting(served.app()) as url:
        assert post(url, "step", saying("done"))[0] == 409
        _, _, cookie = post(url, "reset", FIRST)
        assert post(url, "reset", FIRST)[0] == 503
        other = row_of([*SHOP.environment.tasks()][1]) | {"response": saying("done")["response"]}
        assert post(url, "step", other, cookie)[0] == 422
        assert post(url, "step", saying("done", status="failed"), cookie)[0] == 422
        assert post(url, "step", FIRST, cookie)[0] == 422
        again, _, fresh = post(url, "reset", FIRST, cookie)
        assert (again, served.sessions) == (200, 1), "a new episode takes the place of the one before"
        assert post(url, "step", saying("done"), cookie)[0] == 409
        assert post(url, "step", saying("done"), fresh)[1]["terminated"]
        assert (served.sessions, post(url, "step", saying("done"), fresh)[0]) == (0, 409)


def test_an_episode_that_nobody_steps_ends():
    served = ServedEnvironment(SHOP, idle_s=0.2)
    with hosting(served.app()) as url:
        assert post(url, "reset", FIRST)[0] == 200
        until(lambda: not served.sessions)


class Slow(Environment):
    """Its sessions say something after each answer, in a second."""

    name, version = "slow", "1"

    def tasks(self) -> Iterable[Task]:
        return [Task(id="a", input=[Message("user", "Say it.")])]

    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncGenerator[Any]:  # pyright: ignore
        yield self

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        return ""

    async def reply(self, response: Response) -> list[Item]:
        await asyncio.sleep(1)
        return [Message("user", "Again.")]

    async def score(self, turns: list[Turn]) -> Score:
        return Score(1.0)


def test_a_step_that_is_given_up_ends_its_episode():
    slow = Benchmark(environment=Slow(), repeats=1)
    row = row_of(next(iter(slow.environment.tasks())))
    step = row | {"response": saying("It.")["response"]}
    with hosting(ServedEnvironment(slow, deadline_s=0.3).app()) as url:
        _, _, cookie = post(url, "reset", row)
        status, said, _ = post(url, "step", step, cookie)
        assert (status, "no end within 0.3 s, the server's deadline" in said) == (500, True)
        assert post(url, "step", step, cookie)[0] == 409
    with hosting(ServedEnvironment(slow).app()) as url, ThreadPoolExecutor(1) as beside:
        _, _, cookie = post(url, "reset", row)
        waiting = beside.submit(post, url, "step", step, cookie)
        until(waiting.running)
        assert post(url, "reset", row, cookie)[0] == 200
        status, said, _ = waiting.result()
        assert status == 409, said


class Reacting(Changing):
    """Its sessions take responses whole."""

    async def react(self, response: Response) -> None:
        return None


def test_an_environment_that_takes_responses_whole_is_played_by_steps_alone():
    reacting = Reacting()
    row = row_of(next(iter(reacting.tasks())))
    with hosting(ServedEnvironment(Benchmark(environment=reacting, repeats=1)).app()) as url:
        status, said, _ = post(url, "seed_session", row)
        assert (status, "its gymnasium_agent goes on" in said) == (500, True)


class Stepping(ToolSession):
    @tool
    def step(self, number: int) -> str:
        """Goes on.

        Args:
            number: How far.
        """
        return f"{number} further"

    async def score(self, turns: Any) -> Score:
        return Score(1.0)


class Steppers(ToolEnvironment):
    name, version, session = "stepper", "1", Stepping

    def tasks(self) -> Iterable[Task]:
        return [Task(id="a", input=[Message("user", "Go.")], tools=self.tools)]


def test_a_tool_that_is_named_as_a_step_is_still_a_tool():
    environment = Steppers()
    with hosting(ServedEnvironment(Benchmark(environment=environment, repeats=1)).app()) as url:
        row = row_of(next(iter(environment.tasks())))
        _, _, cookie = post(url, "seed_session", row)
        headers = {"content-type": "application/json", "cookie": cookie}
        request = urllib.request.Request(f"{url}/step", b'{"number": 2}', headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.read() == b"2 further"


@pytest.mark.parametrize(("name", "model"), [("arithmetic", "policy"), ("mastermind", "nano-instruct")])
def test_benchmarks_of_ours_score_there_as_here(name: str, model: str, tmp_path: Path):
    benchmark = load(name)
    tasks = [task.id for task in benchmark.environment.tasks()][:6]
    here = sync.rollouts(benchmark, model=model, tasks=tasks, seed=3)
    with there(benchmark, tmp_path) as far:
        made = sync.rollouts(far, model=model, tasks=tasks, seed=3)
    rewards = [[one.outcome.reward for one in side if isinstance(one.outcome, Score)] for side in (here, made)]
    assert len(rewards[0]) == 6 and rewards[0] == rewards[1]
    assert [shown(one) for one in made] == [shown(one) for one in here]


class Sellers:
    """The seller, who keeps what was said to him; with 7 coins he breaks the till, and with 8 he is never done."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, request: Request) -> Response:
        self.asked.append([item.text for item in request.input if isinstance(item, Message | FunctionCallOutput)])
        if any("are 7 coins" in text for text in self.asked[-1]):
            return broken(request)
        if any("are 8 coins" in text for text in self.asked[-1]):
            return Response(output=[Message("assistant", [Text("thanks")])])
        return seller(request)


@pytest.mark.clients
@theirs
def test_nemo_gyms_own_agent_plays_our_environments_as_our_loop_does(tmp_path: Path):
    rows = [json.loads(line) for line in lines(tmp_path, SHOP).read_text().splitlines()]
    sellers = Sellers(), Sellers()
    with serving(sellers[0]) as url:
        model = ModelConfig(dialect="responses", id="m", base_url=f"{url}/v1")
        here = sync.rollouts(SHOP, model=model, concurrency=1)
    there: list[Any] = []
    with (
        hosting(ServedEnvironment(SHOP).app()) as address,
        serving(sellers[1]) as url,
        their_agent(None, url, max_steps=SHOP.limits.steps, resources=address) as (agent, _),
    ):
        for row, one in zip(rows, here, strict=True):
            try:
                there.append(ran(agent, row | {"assay": row["assay"] | {"seed": one.seed}}))
            except urllib.error.HTTPError as error:
                there.append(error.read().decode())
        kept = [row for row, one in zip(rows, here, strict=True) if isinstance(one.outcome, Score)]
        with ThreadPoolExecutor(64) as pool:
            crowd = [*pool.map(ran, [agent] * 64, kept * 8)]
    assert [row["reward"] for row in crowd] == [row["reward"] for row in there if not isinstance(row, str)] * 8
    for one, row in zip(here, there, strict=True):
        if isinstance(one.outcome, Failure):
            assert one.task == "t7" and "the till is full" in row and "the till is full" in one.outcome.message
        else:
            assert (row["reward"], row["info"]["coins"]) == (one.outcome.reward, one.outcome.metrics["coins"])
            assert row["truncated"] == (one.stop == "steps") == (one.task == "t8")
    assert sellers[0].asked == sellers[1].asked[: len(sellers[0].asked)]

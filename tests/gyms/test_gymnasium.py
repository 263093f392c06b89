"""Gymnasium servers of NeMo Gym as benchmarks: a `/step` for each response, and faults that are never rewards."""

import asyncio
import hashlib
import json
import os
import random
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Call
from starlette.responses import JSONResponse
from starlette.responses import Response as Answer
from starlette.routing import Route

from assay import sync
from assay.agent.loop import ToolLoop
from assay.agent.nothing import Nothing
from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.config import ModelConfig
from assay.digest import task_digest
from assay.errors import UsageError
from assay.gyms.nemo_gym.gymnasium import GymnasiumEnvironment
from assay.gyms.nemo_gym.interchange import import_nemo_gym
from assay.gyms.nemo_gym.remote import RemoteEnvironment
from assay.gyms.nemo_gym.rows import read_rows
from assay.model import Model, connect
from assay.model.builtin.function import FunctionModel
from assay.store import read_rollouts
from assay.types import (
    Failure,
    FunctionCall,
    FunctionCallOutput,
    Message,
    Request,
    Response,
    Rollout,
    RolloutLimits,
    Score,
    Text,
)
from tests.commands import assay, scored, start, until, written
from tests.nemo_gym import PYTHON, Behave, Gym, StepGym, answering, drop, hang, hosting, ran, row, their_agent, theirs
from tests.serve.served import serving

NOBODY = "http://127.0.0.1:9"


def add(count: int, call_id: str = "c1") -> FunctionCall:
    return FunctionCall(call_id, "increment_counter", json.dumps({"count": count}))


PLAY = [[add(1), add(1, "c2")], "Let me think.", "I stop."]


def scripted(*script: Any) -> Model:
    return connect(ModelConfig(dialect="scripted", id="s", script=list(script)))


def lines(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def benchmark(url: str, rows: Path, steps: int = 10, **settings: Any) -> Benchmark:
    environment = GymnasiumEnvironment("counter", url=url, rows=rows, **settings)
    return Benchmark(environment=environment, repeats=1, limits=RolloutLimits(steps=steps))


async def rolled(made: Benchmark, index: int, model: Model, agent: Any = None) -> Rollout:
    task = [*made.environment.tasks()][index]
    return await roll(made, agent or ToolLoop(), model, PlannedRollout(task, task_digest(task), 0, 0, 7))


def one(
    url: str, folder: Path, *script: Any, model: Model | None = None, agent: Any = None, **settings: Any
) -> Rollout:
    made = benchmark(url, lines(folder, row(0, initial=3, expected=5)), **settings)
    return asyncio.run(rolled(made, 0, model or scripted(*(script or PLAY)), agent))


def test_each_response_is_a_step_and_the_score_is_the_sum_of_the_rewards(tmp_path: Path):
    gym = StepGym()
    with gym() as url:
        rollout = one(url, tmp_path)
    assert rollout.outcome == Score(0.1 + 0.1 + 1.0, {"count": 5.0, "steps": 3.0, "terminated": 1.0, "truncated": 0.0})
    asked = row(0, initial=3, expected=5)
    assert gym.calls[0] == ("reset", asked)
    assert [name for name, _ in gym.calls] == ["reset", "step", "step", "step"]
    assert all({**body, "response": None} == {**asked, "response": None} for _, body in gym.calls[1:])
    sent = [[item["type"] for item in body["response"]["output"]] for _, body in gym.calls[1:]]
    assert sent == [["function_call", "function_call"], ["message"], ["message"]]
    first, second, third = [turn.input for turn in rollout.turns]
    assert [item.text for item in first if isinstance(item, Message)][-1] == "The count is 3."
    assert second == [FunctionCallOutput("c1", "4"), FunctionCallOutput("c2", "5")]
    assert third == [Message("user", "Go on.")]


def test_a_response_that_was_cut_is_a_step_too(tmp_path: Path):
    def answer(request: Request) -> Response:
        if request.turn:
            return Response(output=[Message("assistant", [Text("I stop.")])])
        cut = Message("assistant", [Text("I st")])
        return Response(output=[cut], status="incomplete", incomplete_reason="max_output_tokens")

    gym = StepGym()
    with gym() as url:
        rollout = one(url, tmp_path, model=FunctionModel(answer))
    assert isinstance(rollout.outcome, Score) and rollout.outcome.reward == 0.1 - 1.0
    assert [body["response"]["status"] for _, body in gym.calls[1:]] == ["incomplete", "completed"]


def test_an_episode_that_never_ends_is_cut_at_the_limit_and_keeps_its_rewards(tmp_path: Path):
    gym = StepGym()
    with gym() as url:
        rollout = one(url, tmp_path, *["Let me think."] * 9, steps=4)
    assert isinstance(rollout.outcome, Score)
    assert (rollout.stop, rollout.outcome.reward) == ("steps", 0.1 + 0.1 + 0.1 + 0.1)
    assert (rollout.outcome.metrics["truncated"], rollout.outcome.metrics["terminated"]) == (1.0, 0.0)
    assert len(gym.calls) == 5


def test_an_episode_that_the_server_truncates_ends(tmp_path: Path):
    with StepGym(behave={"step": answering({"reward": 2, "truncated": True})})() as url:
        rollout = one(url, tmp_path)
    assert isinstance(rollout.outcome, Score)
    assert (rollout.outcome.reward, rollout.outcome.metrics["truncated"], len(rollout.turns)) == (2.0, 1.0, 1)


NEXT = {"observation": None, "terminated": False, "truncated": False, "info": {}}
STEPS: dict[str, tuple[Behave, str]] = {
    "500 with its repr": (answering("ZeroDivisionError('division by zero')", 500), "answered 500: ZeroDivisionError"),
    "400": (answering({"detail": "No <action> tags"}, 400), "answered 400: No <action> tags"),
    "404": (answering({"detail": "Not Found"}, 404), "answered 404: Not Found"),
    "201": (answering({**NEXT, "reward": 1.0}, 201), "answered 201"),
    "no reward": (answering(NEXT), "missing required field `reward`"),
    "null": (answering({**NEXT, "reward": None}), "Expected `float`, got `null` - at `\\$.reward`"),
    "text": (answering({**NEXT, "reward": "1.0"}), "Expected `float`, got `str` - at `\\$.reward`"),
    "a truth value": (answering({**NEXT, "reward": True}), "Expected `float`, got `bool` - at `\\$.reward`"),
    "NaN": (answering('{"reward": NaN}'), "JSON is malformed"),
    "infinity": (answering('{"reward": -Infinity}'), "JSON is malformed"),
    "more than a float": (answering('{"reward": 1e999}'), "out of range"),
    "an integer beyond floats": (answering('{"reward": 1' + "0" * 400 + "}"), "out of range|finite"),
    "an end that is none": (answering({**NEXT, "reward": 1.0, "terminated": "no"}), "Expected `bool`, got `str`"),
    "an object as observation": (answering({**NEXT, "reward": 1.0, "observation": {"board": []}}), "got `object`"),
    "a list as observation": (answering({**NEXT, "reward": 1.0, "observation": ["a"]}), "got `array`"),
    "a number as observation": (answering({**NEXT, "reward": 1.0, "observation": 4}), "got `int`"),
    "outputs that are none": (answering({**NEXT, "reward": 1.0, "info": {"tool_outputs": "4"}}), "Expected `array`"),
    "an output without id": (answering({**NEXT, "reward": 0, "info": {"tool_outputs": [{"output": ""}]}}), "call_id"),
    "a page": (answering("<html>busy</html>"), "begins: b'<html>busy"),
    "nothing": (answering(""), "truncated"),
    "a list": (answering([1.0]), "Expected `object`, got `array`"),
    "a torn answer": (drop, "http://.*/step"),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_without_a_reward_is_a_failure(name: str, tmp_path: Path):
    behave, words = STEPS[name]
    with StepGym(behave={"step": behave})() as url:
        outcome = one(url, tmp_path).outcome
    assert isinstance(outcome, Failure), outcome
    assert (outcome.where, outcome.kind) == ("environment", "remote")
    assert re.search(words, outcome.message), outcome.message
    assert outcome.retryable == (name in ("500 with its repr", "a torn answer"))


@pytest.mark.parametrize("said", [{"observation": ["a"]}, [], "welcome", {"observation": 4, "info": {}}])
def test_a_reset_that_says_nothing_of_use_is_a_failure(said: Any, tmp_path: Path):
    with StepGym(behave={"reset": answering(said)})() as url:
        outcome = one(url, tmp_path).outcome
    assert isinstance(outcome, Failure)
    assert "/reset answered what no gymnasium server of NeMo Gym does" in outcome.message


def test_a_server_that_fails_at_the_third_step_gives_no_reward_for_the_first_two(tmp_path: Path):
    steps = 0

    async def third(request: Call, body: dict[str, Any]) -> Answer | None:
        nonlocal steps
        steps += 1
        return JSONResponse("KeyError('board')", 500) if steps == 3 else None

    with StepGym(behave={"step": third})() as url:
        rollout = one(url, tmp_path)
    assert isinstance(rollout.outcome, Failure)
    assert (len(rollout.turns), rollout.outcome.retryable) == (3, True)
    assert "/step answered 500: KeyError('board')" in rollout.outcome.message


def test_a_server_that_is_slow_down_or_restarted_is_a_failure(tmp_path: Path):
    async def restart(request: Call, body: dict[str, Any]) -> Answer | None:
        gym.secret = b"another"
        return None

    gym = StepGym(behave={"step": restart})
    with gym() as url:
        restarted = one(url, tmp_path).outcome
    with StepGym(behave={"step": hang})() as url:
        slow = one(url, tmp_path, timeout_s=0.3).outcome
    down = one(NOBODY, tmp_path).outcome
    messages = [outcome.message for outcome in (restarted, slow, down) if isinstance(outcome, Failure)]
    assert [("began another session" in message, "timeout_s 0.3" in message) for message in messages[:2]] == [
        (True, False),
        (False, True),
    ]
    assert "is the server running?" in messages[2]


@pytest.mark.parametrize(("named", "words"), [(0, "/reset set no cookie"), (1, "/step began another session")])
def test_a_server_that_loses_the_cookie_is_a_failure(named: int, words: str, tmp_path: Path):
    gym = StepGym()

    async def answer(request: Call) -> Answer:
        made = await gym._answer(request)  # pyright: ignore[reportPrivateUsage]
        if not named:
            del made.headers["set-cookie"]
        elif request.url.path == "/reset":  # a cookie of a proxy's own
            made.headers["set-cookie"] = "route=a"
        return made

    app = Starlette(routes=[Route(f"/{name}", answer, methods=["POST"]) for name in gym.routes])
    with hosting(app) as url:
        outcome = one(url, tmp_path).outcome
    assert isinstance(outcome, Failure) and words in outcome.message


def test_an_agent_that_hands_over_no_responses_is_a_failure_that_names_one_that_does(tmp_path: Path):
    with StepGym()() as url:
        outcome = one(url, tmp_path, agent=Nothing()).outcome
    assert isinstance(outcome, Failure)
    assert "each response of the model is a step" in outcome.message and "use loop" in outcome.message


def test_sixty_four_episodes_at_once_keep_their_sessions_apart(tmp_path: Path):
    rng = random.Random(0)
    flying = most = 0

    async def slowly(request: Call, body: dict[str, Any]) -> Answer | None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(rng.random() / 10)
        flying -= 1
        return None

    gym = StepGym(behave={"step": slowly})
    rows = lines(tmp_path, *(row(i, initial=i, expected=i + 2 if i % 3 else i) for i in range(64)))

    async def main(url: str) -> list[Rollout]:
        made = benchmark(url, rows)
        return await asyncio.gather(*(rolled(made, index, scripted(*PLAY)) for index in range(64)))

    with gym() as url:
        made = asyncio.run(main(url))
    rewards = [rollout.outcome.reward if isinstance(rollout.outcome, Score) else rollout for rollout in made]
    assert rewards == [0.1 + 0.1 + (1.0 if index % 3 else -1.0) for index in range(64)]
    assert most > 20
    assert not gym.counters, "each episode has ended in its own session"


# ---- Which kind a server is


AGENT = {"agent_ref": {"name": "counter_gymnasium_agent"}}


def with_routes(app: Starlette, *paths: str) -> Starlette:
    app.routes.append(Route("/openapi.json", lambda _: JSONResponse({"paths": {path: {} for path in paths}})))
    return app


def test_rows_or_routes_say_that_a_server_is_a_gymnasium(tmp_path: Path):
    plain, named = row(0, initial=3, expected=5), row(0, initial=3, expected=5) | AGENT
    import_nemo_gym(lines(tmp_path, named), tmp_path / "named", url=NOBODY)
    assert isinstance(load(str(tmp_path / "named")).environment, GymnasiumEnvironment)
    with hosting(with_routes(StepGym().app(), "/reset", "/step", "/aggregate_metrics")) as url:
        import_nemo_gym(lines(tmp_path, plain), tmp_path / "routed", url=url)
        routed = load(str(tmp_path / "routed"))
        assert isinstance(routed.environment, GymnasiumEnvironment)
        assert routed.limits == RolloutLimits(steps=10)
        asyncio.run(routed.environment.ready())
        (made,) = sync.rollouts(routed, model=FunctionModel(lambda request: "I stop."))
        assert isinstance(made.outcome, Score) and made.outcome.reward == -1.0
        with pytest.raises(UsageError, match=r"is a gymnasium environment.*write GymnasiumEnvironment"):
            asyncio.run(RemoteEnvironment("c", url=url, rows=tmp_path / "rows.jsonl").ready())
    no_gymnasium = pytest.raises(UsageError, match=r"no route /reset and no /step, so it is no gymnasium environment")
    with hosting(with_routes(Gym().app(), "/seed_session", "/verify")) as url, no_gymnasium:
        import_nemo_gym(lines(tmp_path, named), tmp_path / "wrong", url=url)
    aviary = lines(tmp_path, plain | {"agent_ref": {"name": "aviary_gymnasium_agent"}})
    with pytest.raises(UsageError, match="is an aviary environment"):
        import_nemo_gym(aviary, tmp_path / "wrong", url=NOBODY)


@pytest.mark.heavy
def test_a_run_that_was_killed_goes_on_and_scores_each_episode_once(tmp_path: Path):
    async def slowly(request: Call, body: dict[str, Any]) -> Answer | None:
        await asyncio.sleep(0.05)
        return None

    lines(tmp_path, *(row(i, initial=i, expected=i + i % 2, say="I stop.", **AGENT) for i in range(40)))
    with StepGym(behave={"step": slowly})() as url:
        code, out, err = assay(
            *("import", "nemo-gym", "rows.jsonl", "--out", "there", "--url", url, "--gold-field", "say"), cwd=tmp_path
        )
        assert code == 0, out + err
        command = ("run", "./there", "--model", "gold", "--out", "r", "--concurrency", "2")
        with start(*command, cwd=tmp_path) as process:
            until(lambda: written(tmp_path / "r/rollouts.jsonl") > 2000)
            os.kill(process.pid, signal.SIGKILL)
        before = len(scored(tmp_path / "r"))
        assert 0 < before < 40
        code, out, err = assay(*command, cwd=tmp_path)
        assert code == 0, out + err
    assert set(scored(tmp_path / "r").values()) == {1}
    rewards = {one.task: one.outcome.reward for one in read_rollouts(tmp_path / "r") if isinstance(one.outcome, Score)}
    assert rewards == {str(index): -1.0 if index % 2 else 1.0 for index in range(40)}


# ---- The real package


ANSWERS = ["The Eiffel Tower; 20; 95; 1991; 2.", "I do not know."]
"""One that is right, and one that is not, for all tasks of their example of several turns."""


class Player:
    """A model whose answer follows from its prompt: one of the moves that the prompt names, else an answer."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, request: Request) -> str:
        said = [item.text for item in request.input if isinstance(item, Message)]
        self.asked.append(said)
        number = int.from_bytes(hashlib.sha256("|".join(said).encode()).digest()[:4])
        moves = re.findall(r"<action>\w+</action>", said[-1]) or ANSWERS
        return moves[number % len(moves)]


@pytest.mark.clients
@theirs
@pytest.mark.parametrize(
    ("server", "most", "several"),
    [("blackjack", 5, 20), ("example_multi_turn_gymnasium", 5, 1), ("grl_tetris", 20, 1), ("grl_sokoban", 20, 1)],
)
def test_their_servers_give_our_loop_the_rewards_of_their_agent(server: str, most: int, several: int, tmp_path: Path):
    """Rollouts one after another, each side on a fresh server, because blackjack deals by a generator of its own."""
    find = f"import resources_servers.{server}.app as found; print(found.__file__)"
    found = subprocess.run([str(PYTHON), "-c", find], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"{server} can't be loaded: {found.stderr.splitlines()[-1]}")
    rows = Path(found.stdout.splitlines()[-1]).parent / "data/example.jsonl"
    distinct = [row for _, row in read_rows(rows)]
    players = Player(), Player()
    with serving(players[0]) as url, their_agent(server, url, max_steps=most) as (agent, _):
        there = [ran(agent, row) for row in distinct for _ in range(several)]
    with serving(players[1]) as url, their_agent(server, url, max_steps=most) as (_, resources):
        made = benchmark(resources, rows, steps=most)
        asyncio.run(made.environment.ready())
        model = ModelConfig(dialect="responses", id="m", base_url=f"{url}/v1")
        here = sync.rollouts(made, model=model, repeats=several, concurrency=1)
        if server == "example_multi_turn_gymnasium":  # the only one that a seed or a rollout before it does not change
            crowd = sync.rollouts(made, model=model, repeats=13, concurrency=64)
            rewards = {one.task: row["reward"] for one, row in zip(here, there, strict=True)}
            gained = [(one.task, one.outcome.reward) for one in crowd if isinstance(one.outcome, Score)]
            assert len(gained) == 65 and set(gained) == set(rewards.items())
    scores = [one.outcome for one in here if isinstance(one.outcome, Score)]
    assert [score.reward for score in scores] == [row["reward"] for row in there]
    assert [score.metrics["terminated"] for score in scores] == [float(row["terminated"]) for row in there]
    assert players[0].asked == players[1].asked[: len(players[0].asked)]
    assert len({score.reward for score in scores}) > 1 and len(players[0].asked) > len(scores)

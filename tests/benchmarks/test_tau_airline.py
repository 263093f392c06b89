"""tau-airline, on 150 recorded conversations with the original code's judgement of each."""

import asyncio
import dataclasses
import gzip
import hashlib
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from assay.agent import Agent
from assay.agent.loop import ToolLoop
from assay.benchmark import Benchmark, Session
from assay.benchmark.catalog import load
from assay.benchmark.data import take
from assay.benchmarks.tau_airline.benchmark import FILE, IDLE
from assay.benchmarks.tau_airline.desk import TRANSFER, Desk
from assay.benchmarks.tau_airline.source import World, read_world, world
from assay.benchmarks.tau_airline.user import GREETING, STOP
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.digest import task_digest
from assay.errors import UsageError
from assay.fidelity.check.check import check
from assay.fidelity.gates.gold import gold_gate
from assay.fidelity.gates.verifier import verifier_gate
from assay.fidelity.original.parity import compare
from assay.fidelity.original.published import published_scores
from assay.fidelity.original.reference import read, read_parity
from assay.model import Model
from assay.model.builtin.function import FunctionModel
from assay.types import Failure, FunctionCall, Message, Request, Response, Rollout, Score, StopReason, Task, Text
from tests.agent.programs import program
from tests.benchmarks.data import beside, prepare, rows
from tests.commands import assay
from tests.sandbox.available import needs_bubblewrap

LOOP = ToolLoop()
COLUMNS = {"output": "traj", "repeat": "trial"}


@pytest.fixture(scope="module")
def airline(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("data")
    yield from prepare(load("tau-airline"), recorded("wiki.md").parent, folder)


@pytest.fixture(scope="module")
def conversations() -> list[dict[str, Any]]:
    return rows(recorded("gpt-4o.jsonl.gz"))


@pytest.fixture(scope="module")
def everything(airline: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> World:
    file = tmp_path_factory.mktemp("world") / "airline.json"
    file.write_bytes(read_world(recorded("wiki.md").parent))
    return world(file)


def recorded(name: str) -> Path:
    return beside("recorded", "tau-airline", name)


def desk(everything: World) -> Desk:
    return Desk(everything.users, everything.flights, everything.reservations)


def test_fifty_tasks_with_the_policy_and_the_originals_tools(airline: Benchmark):
    tasks = list(airline.environment.tasks())
    assert [task.id for task in tasks] == [str(number) for number in range(50)]
    tools = json.loads(recorded("tools.json").read_text())
    for task in tasks:
        assert [item.text for item in task.input if isinstance(item, Message)] == [recorded("wiki.md").read_text()]
        assert [(one.name, one.description, one.parameters) for one in task.tools] == [
            tuple(tool["function"][name] for name in ("name", "description", "parameters")) for tool in tools
        ]


def test_every_recorded_output_of_a_tool_is_given_again(everything: World, conversations: list[dict[str, Any]]):
    same = renamed = 0
    for row in conversations:
        counter, call = desk(everything), {"name": "", "arguments": ""}
        for message in row["traj"]:
            for one in message.get("tool_calls") or []:
                call = one["function"]
            if message["role"] == "tool":
                here = counter.call(call["name"], json.loads(call["arguments"]))
                same += here == message["content"]
                renamed += here != message["content"] == here.replace('"state": ', '"province": ')
    assert (same, renamed) == (772, 90)


@pytest.mark.parametrize("every", [23, pytest.param(1, marks=pytest.mark.slow)])
def test_the_data_base_has_the_originals_digest_after_each_tasks_actions(
    everything: World, conversations: list[dict[str, Any]], every: int
):
    """The digest of the whole data base, as the recorded conversations state it: then `state` was called `province`."""

    def hashable(value: Any) -> Any:
        if isinstance(value, dict):
            return tuple((key, hashable(one)) for key, one in sorted(value.items()))
        return tuple(map(hashable, value)) if isinstance(value, list) else value

    def older(user: dict[str, Any]) -> dict[str, Any]:
        named = {"province" if key == "state" else key: value for key, value in user["address"].items()}
        return {**user, "address": named}

    stated = {
        row["task"]: row["reward_info"]["info"]["gt_data_hash"]
        for row in conversations
        if "gt_data_hash" in ((row["reward_info"] or {}).get("info") or {})
    }
    flights = hashable(everything.flights)
    agree = 0
    for task, digest in list(stated.items())[::every]:
        counter = desk(everything)
        for action in everything.tasks[task].actions:
            counter.call(action.name, action.kwargs)
        users = everything.users | {name: counter.user(name) for name in json.loads(counter.changes())["users"]}
        booked = json.loads(counter.changes())["reservations"]
        reservations = everything.reservations | {name: counter.reservation(name) for name in booked}
        whole = (
            ("flights", flights),
            ("reservations", hashable(reservations)),
            ("users", hashable({name: older(user) for name, user in users.items()})),
        )
        agree += hashlib.sha256(str(whole).encode()).hexdigest() == digest
    assert (agree, len(stated)) == (math.ceil(46 / every), 46)


def test_the_command_agrees_with_every_reward_and_prints_pass_to_the_power_of_one_to_three(
    airline: Benchmark, conversations: list[dict[str, Any]], tmp_path: Path
):
    right = [[row["score"] for row in conversations if row["task"] == task].count(1.0) for task in range(50)]
    expected = [100 * sum(math.comb(one, k) / math.comb(3, k) for one in right) / 50 for k in (1, 2, 3)]
    line = ", ".join(f"pass^{k} {value:.2f}%" for k, value in enumerate(expected, 1))
    options = [word for name, column in COLUMNS.items() for word in ("--column", f"{name}={column}")]
    command = ["parity", "tau-airline", "--reference", str(recorded("gpt-4o.jsonl.gz")), *options, "--out", "p"]
    code, out, err = assay(*command, cwd=tmp_path, ASSAY_DATA=os.environ["ASSAY_DATA"])
    assert code == 0 and line in out and "150 outputs are scored alike" in " ".join(out.split()), out + err
    numbers = next(rung for rung in read_parity(tmp_path / "p/parity.json").ladder if rung.name == "verifiers").numbers
    assert {name: numbers[name] for name in ("judged", "agree", "failed", "tool_outputs", "tool_outputs_differ")} == {
        "judged": 150,
        "agree": 150,
        "failed": 0,
        "tool_outputs": 824,  # of 862: nobody reads the last one of a conversation that it ends
        "tool_outputs_differ": 90,
    }
    stated = published_scores(airline)
    assert stated and stated.scores[0].score == f"{expected[0]:.1f}"  # the fourth trial is not here


def test_every_verdict_on_the_data_base_is_the_originals(airline: Benchmark, conversations: list[dict[str, Any]]):
    """Where the original looked at the data base, it says so: in 137 conversations."""
    tasks = {task.id: task for task in airline.environment.tasks()}
    stated = {
        (str(row["task"]), row["trial"]): bool(row["reward_info"]["info"]["r_actions"])
        for row in conversations
        if "r_actions" in ((row["reward_info"] or {}).get("info") or {})
    }

    async def verdicts() -> dict[tuple[str, int], bool]:
        found: dict[tuple[str, int], bool] = {}
        for row in read(recorded("gpt-4o.jsonl.gz"), COLUMNS).rows:
            if (row.task, row.repeat) in stated:
                async with airline.environment.open(tasks[row.task], 0) as session:
                    await session.begin()  # type: ignore[attr-defined]
                    for item in (item for turn in row.output or [] for item in turn):
                        if isinstance(item, FunctionCall) and item.name != TRANSFER:
                            await session.call(item.name, json.loads(item.arguments))
                    score = await session.score([])
                    found[row.task, row.repeat] = bool(score.metrics["data_base"])
        return found

    assert len(stated) == 137 and asyncio.run(verdicts()) == stated


def test_a_conversation_that_did_not_end_scores_0_whatever_the_data_base(
    airline: Benchmark, conversations: list[dict[str, Any]], tmp_path: Path
):
    unended = [row for row in conversations if row["reward_info"] is None]
    assert [(row["task"], row["trial"]) for row in unended] == [(33, 0), (2, 1), (9, 2)]
    lines = "".join(json.dumps(row) + "\n" for row in unended)
    (tmp_path / "three.jsonl").write_text(lines)
    found = asyncio.run(compare(airline, read(tmp_path / "three.jsonl", COLUMNS)))
    assert {rung.name: rung for rung in found.ladder}["verifiers"].numbers["agree"] == 3


def test_a_conversation_that_goes_on_otherwise_is_a_difference(
    airline: Benchmark, conversations: list[dict[str, Any]], tmp_path: Path
):
    row = next(row for row in conversations if row["score"] == 1.0 and row["traj"][-1]["role"] == "user")
    shorter = {**row, "traj": [*row["traj"][:-1], {"role": "user", "content": "And then?"}]}
    for broken, said in ((shorter, "not_recorded"), ({**row, "traj": [{"role": "assistant", "content": 1}]}, "")):
        (tmp_path / "one.jsonl").write_text(json.dumps(broken) + "\n")
        if not said:
            with pytest.raises(UsageError, match="chat messages"):
                read(tmp_path / "one.jsonl", COLUMNS)
            continue
        found = asyncio.run(compare(airline, read(tmp_path / "one.jsonl", COLUMNS)))
        rung = {rung.name: rung for rung in found.ladder}["verifiers"]
        assert rung.verdict == "different" and said in rung.disagreements[0].why


def play(airline: Benchmark, task: str, *answers: Response | str, agent: Agent = LOOP) -> Rollout:
    """A rollout with these answers and the built-in user."""
    chosen = next(one for one in airline.environment.tasks() if one.id == task)

    def answer(request: Request) -> Response:
        said = answers[request.turn]
        return (
            Response(output=[Message(role="assistant", content=[Text(text=said)])]) if isinstance(said, str) else said
        )

    planned = PlannedRollout(chosen, task_digest(chosen), repeat=0, attempt=0, seed=0)
    return asyncio.run(roll(airline, agent, FunctionModel(answer), planned))


def call(name: str, **arguments: Any) -> Response:
    return Response(output=[FunctionCall("call_1", name, json.dumps(arguments))])


CANCEL = call("cancel_reservation", reservation_id="Z7GOZK")


@pytest.mark.parametrize(
    ("task", "answers", "reward"),
    [
        ("1", [CANCEL, "It is cancelled."], 1.0),
        ("1", ["Shall I cancel it?", CANCEL, "It is cancelled."], 1.0),
        ("1", [CANCEL, call(TRANSFER, summary="done")], 1.0),
        ("1", ["It is cancelled."], 0.0),  # nothing was done
        ("1", [CANCEL, CANCEL, "It is cancelled."], 0.0),  # refunded twice
        ("1", [CANCEL, ""], 0.0),  # no end
        ("1", [call("cancel_reservation", reservation_id="NOSUCH"), "It is cancelled."], 0.0),
        ("12", ["That can't be done."], 1.0),
        ("44", ["You may bring 4 bags."], 1.0),
        ("44", ["You may bring 2 bags."], 0.0),
        ("8", ["You have 327 and 1,000 dollars; 1,786 are charged."], 0.0),  # said, and nothing was done
    ],
)
def test_the_end_of_a_conversation_is_scored(airline: Benchmark, task: str, answers: Sequence[Any], reward: float):
    rollout = play(airline, task, *answers)
    assert isinstance(rollout.outcome, Score), rollout.outcome
    assert rollout.outcome.reward == reward
    first, *_ = rollout.turns[0].input[1:]
    assert isinstance(first, Message) and first.role == "user"
    instruction = next(one for one in airline.environment.tasks() if one.id == task).data["instruction"]
    assert first.text == instruction
    heard = rollout.roles["user"][0].input
    assert [item.text for item in heard if isinstance(item, Message)][1] == GREETING


@needs_bubblewrap
def test_a_program_that_runs_again_for_each_answer_of_the_user_is_scored_as_the_loop_is(airline: Benchmark):
    text = """
if "Assistant: " in sys.argv[1]:
    tool("cancel_reservation", reservation_id="Z7GOZK")
ask(sys.argv[1])
"""
    rollout = play(airline, "1", "Shall I cancel it?", "It is cancelled.", agent=program(text, "{instruction}"))
    assert isinstance(rollout.outcome, Score), rollout.outcome
    assert (rollout.outcome.reward, len(rollout.turns), len(rollout.roles["user"])) == (1.0, 2, 3)


def test_a_transfer_ends_the_conversation_and_the_model_is_not_asked_again(airline: Benchmark):
    rollout = play(airline, "12", call(TRANSFER, summary="I can't help."))
    assert (len(rollout.turns), rollout.stop) == (1, "completed")
    assert isinstance(rollout.outcome, Score) and rollout.outcome.metrics["ended"] == 1.0


def test_thirty_answers_without_an_end_score_0(airline: Benchmark):
    rollout = play(airline, "12", *["What else?"] * 40)
    assert (len(rollout.turns), rollout.stop) == (30, "steps")
    assert isinstance(rollout.outcome, Score)
    assert (rollout.outcome.reward, rollout.outcome.metrics["data_base"]) == (0.0, 1.0)


def test_any_model_may_be_the_user(airline: Benchmark, tmp_path: Path):
    (tmp_path / "assay.toml").write_text(
        f'[models.someone]\ndialect = "scripted"\nscript = ["I want my money back.", "{STOP}"]\n'
        '[models.agent]\ndialect = "scripted"\nscript = ["I am sorry, that is not possible."]\n'
    )
    command = ["run", "tau-airline", "--model", "agent", "--with", "user=someone", "--repeats", "1", "--out", "r"]
    code, out, err = assay(*command, cwd=tmp_path, ASSAY_DATA=os.environ["ASSAY_DATA"])
    assert code == 0 and "38.0%" in out, out + err
    rollout = json.loads((tmp_path / "r" / "rollouts.jsonl").read_text().splitlines()[0])
    assert rollout["turns"][0]["input"][-1]["content"] == "I want my money back."


def test_a_user_that_fails_is_no_zero(airline: Benchmark):
    def silent(request: Request) -> Response:
        raise TimeoutError("no answer")

    rollout = play(dataclasses.replace(airline, roles={"user": FunctionModel(silent)}), "1", CANCEL)
    assert isinstance(rollout.outcome, Failure)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("calculate", {"expression": "(3 + 4) * 2"}, "14.0"),
        ("calculate", {"expression": "10 / 4 - 1"}, "1.5"),
        ("calculate", {"expression": "__import__('os')"}, "Error: invalid characters in expression"),
        ("calculate", {"expression": "2 +"}, "Error: "),
        ("calculate", {"expression": "1 / 0"}, "Error: division by zero"),
        ("calculate", {"expression": "9**9**9"}, "Error: "),
        ("get_user_details", {"user_id": "nobody"}, "Error: user not found"),
        ("get_user_details", {"name": "x"}, "Error: "),
        ("get_reservation_details", {"reservation_id": "NOSUCH"}, "Error: user not found"),
        ("send_certificate", {"user_id": "nobody", "amount": 5}, "Error: user not found"),
        ("cancel_reservation", {"reservation_id": ["Z7GOZK"]}, "Error: "),
        ("book_flight", {}, "Unknown action book_flight"),
        ("search_onestop_flight", {"origin": "JFK", "destination": "SEA", "date": ""}, "[]"),
    ],
)
def test_a_bad_call_is_told_to_the_model(everything: World, name: str, arguments: dict[str, Any], said: str):
    counter = desk(everything)
    assert counter.call(name, arguments).startswith(said)
    assert json.loads(counter.changes()) == {"users": {}, "reservations": {}}


class Hasty:
    """An agent that lets nobody else speak."""

    async def run(self, task: Task, model: Model, session: Session) -> StopReason:
        await model.respond(Request(input=list(task.input)))
        return "completed"


def test_an_agent_that_does_not_let_the_user_begin_is_a_failure(airline: Benchmark):
    chosen = next(iter(airline.environment.tasks()))
    planned = PlannedRollout(chosen, task_digest(chosen), repeat=0, attempt=0, seed=0)
    rollout = asyncio.run(roll(airline, Hasty(), FunctionModel(lambda _: "Hello?"), planned))
    assert isinstance(rollout.outcome, Failure) and "speak first" in rollout.outcome.message


def test_a_call_leaves_its_arguments_as_they_are(everything: World):
    """A booking that is cancelled is paid back in the data base, not in the call that booked it."""
    booking = next(action for task in everything.tasks for action in task.actions if action.name == "book_reservation")
    before = json.dumps(booking.kwargs)
    counter = desk(everything)
    made = json.loads(counter.call(booking.name, booking.kwargs))
    assert made["reservation_id"] == "HATHAT"
    assert len(json.loads(counter.call("cancel_reservation", {"reservation_id": "HATHAT"}))["payment_history"]) == 2 * (
        len(made["payment_history"])
    )
    assert json.dumps(booking.kwargs) == before


def test_the_gates_of_the_verifier_pass(airline: Benchmark):
    tasks = list(airline.environment.tasks())[:20]
    assert [asyncio.run(gate(airline, tasks)).verdict for gate in (gold_gate, verifier_gate)] == ["pass", "pass"]


@pytest.mark.slow
def test_the_checks_pass_and_say_what_doing_nothing_is_worth(airline: Benchmark):
    found = asyncio.run(check(airline.name))
    assert {one.name: one.reason for one in found.checks if one.verdict == "fail"} == {}
    assert airline.chance == len(IDLE) / 50


def _keywords(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def clone(to: Path) -> Path:
    """Writes the original's files as a clone has them, from the recorded JSON. Whoever runs them raises."""
    folder = to / "tau_bench" / "envs" / "airline"
    (folder / "tools").mkdir(parents=True)
    (folder / "data").mkdir()
    shutil.copy(recorded("wiki.md"), folder / "wiki.md")
    for name in ("users", "flights", "reservations"):
        (folder / "data" / f"{name}.json").write_bytes(gzip.decompress(recorded(f"{name}.json.gz").read_bytes()))
    tools = json.loads(recorded("tools.json").read_text())
    classes = ["".join(part.title() for part in tool["function"]["name"].split("_")) for tool in tools]
    for name, tool in zip(classes, tools, strict=True):
        (folder / "tools" / f"{tool['function']['name']}.py").write_text(
            "from tau_bench.envs.tool import Tool\n\nraise SystemExit('it was run')\n\n\n"
            f"class {name}(Tool):\n    @staticmethod\n    def invoke(data):\n        return data\n\n"
            f"    @staticmethod\n    def get_info():\n        return {tool!r}\n"
        )
    imports = "".join(f"from .{name.lower()} import {name}\n" for name in classes)
    (folder / "tools" / "__init__.py").write_text(f"{imports}\nALL_TOOLS = [{', '.join(classes)}]\n")
    tasks: list[str] = []
    for task in json.loads(recorded("tasks.json").read_text()):
        actions = ", ".join(f"Action({_keywords(action)})" for action in task.pop("actions"))
        tasks.append(f"Task({_keywords(task)}, actions=[{actions}])")
    listed = ",\n    ".join(tasks)
    code = f"from tau_bench.types import Action, Task\n\nraise SystemExit('it was run')\nTASKS = [\n    {listed},\n]\n"
    (folder / "tasks_test.py").write_text(code)
    return to


def test_a_clone_and_its_zip_hold_the_same_data_and_nothing_is_run(tmp_path: Path):
    repository = clone(tmp_path / "tau-bench")
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path, "tau-bench")
    expected = read_world(recorded("wiki.md").parent)
    assert hashlib.sha256(expected).hexdigest() == FILE.sha256
    assert read_world(repository) == read_world(Path(archive)) == read_world(recorded("tasks.json")) == expected


@pytest.mark.parametrize("file", ["tasks_test.py", "tools/__init__.py", "tools/think.py", "data/users.json", "wiki.md"])
def test_a_clone_that_lacks_something_is_refused_by_name(tmp_path: Path, file: str):
    repository = clone(tmp_path / "tau-bench")
    (repository / "tau_bench/envs/airline" / file).unlink()
    with pytest.raises(UsageError, match="is no clone of tau-bench"):
        read_world(repository)


def test_other_data_make_another_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path / "data"))
    repository = clone(tmp_path / "tau-bench")
    wiki = repository / "tau_bench/envs/airline/wiki.md"
    wiki.write_text(wiki.read_text().replace("50 dollars", "5 dollars"))
    with pytest.raises(UsageError, match="is not the data of tau-airline"):
        take("tau-airline", [FILE], repository)

"""bfcl, on the package bfcl-eval of PyPI: ASSAY_BFCL_WHEEL names its wheel, which `pip download --no-deps` gets."""

import ast
import asyncio
import json
import os
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from assay.benchmark import Benchmark, Call
from assay.benchmark.catalog import load
from assay.benchmark.reference import responses
from assay.benchmarks.bfcl import package
from assay.benchmarks.bfcl.benchmark import UNSOLVABLE, group
from assay.benchmarks.bfcl.package import Package
from assay.fidelity.check.rehearsal import rehearse
from assay.fidelity.probes.play import reward_of
from assay.types import Failure, FunctionCall, Message, Response, Task, Text
from tests.benchmarks.data import prepare
from tests.commands import assay

CONVERTERS = {
    "java": "bfcl_eval/eval_checker/ast_eval/type_convertor/java_type_converter.py",
    "javascript": "bfcl_eval/eval_checker/ast_eval/type_convertor/js_type_converter.py",
}


@pytest.fixture(scope="module")
def wheel() -> Path:
    named = os.environ.get("ASSAY_BFCL_WHEEL")
    if not named:
        pytest.skip("ASSAY_BFCL_WHEEL names no wheel of bfcl-eval")
    return Path(named)


@pytest.fixture(scope="module")
def bfcl(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benchmark]:
    yield from prepare(load("bfcl"), wheel, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def tasks(bfcl: Benchmark) -> dict[str, Task]:
    return {task.id: task for task in bfcl.environment.tasks()}


def said(text: str) -> Response:
    return Response(output=[Message(role="assistant", content=[Text(text=text)])])


def calls(*made: tuple[str, str]) -> Response:
    return Response(output=[FunctionCall(str(at), name, arguments) for at, (name, arguments) in enumerate(made)])


def test_the_possible_answers_of_4419_tasks_score_1_as_a_models_calls(bfcl: Benchmark, tasks: dict[str, Task]):
    async def rewards() -> dict[str, float | Failure]:
        steps = {name: bfcl.environment.solution(task) for name, task in tasks.items()}
        return {
            name: await reward_of(bfcl, tasks[name], responses(made))
            for name, made in steps.items()
            if made is not None
        }

    found = asyncio.run(rewards())
    assert (len(tasks), len(found)) == (4425, 4419)
    assert {name: reward for name, reward in found.items() if reward != 1} == {}
    assert tasks.keys() - found.keys() == set(UNSOLVABLE)


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        (calls(("calculate_triangle_area", '{"base": 10, "height": 5}')), 1.0),
        (calls(("calculate_triangle_area", '{"base": 10, "height": 5, "unit": "Units"}')), 1.0),
        (calls(("calculate_triangle_area", '{"base": 10, "height": 6}')), 0.0),
        (calls(("calculate_triangle_area", '{"base": "10", "height": 5}')), 0.0),
        (calls(("calculate_triangle_area", '{"base": 10}')), 0.0),
        (calls(("calculate_triangle_area", '{"base": 10, "height": 5, "colour": "red"}')), 0.0),
        (calls(("calculate_triangle_area", '{"base": 10, "height": 5')), 0.0),
        (calls(("triangle_area", '{"base": 10, "height": 5}')), 0.0),
        (calls(*[("calculate_triangle_area", '{"base": 10, "height": 5}')] * 2), 0.0),
        (said('calculate_triangle_area {"base": 10, "height": 5}'), 0.0),
    ],
)
def test_one_response_is_judged_and_its_calls_are_not_carried_out(
    bfcl: Benchmark, tasks: dict[str, Task], answer: Response, reward: float
):
    assert asyncio.run(reward_of(bfcl, tasks["simple_python_0"], [answer])) == reward


def test_where_no_function_fits_a_call_and_silence_are_wrong(bfcl: Benchmark):
    none, call = "None of these fits.", Call("determine_body_mass_index", {"weight": 70.0, "height": 1.8})
    assert [rehearse(bfcl, "irrelevance_0", step).reward for step in (none, "", call)] == [1.0, 0.0, 0.0]


def test_calls_of_a_conversation_are_carried_out_and_its_state_counts(bfcl: Benchmark):
    steps = bfcl.environment.solution(next(iter(t for t in bfcl.environment.tasks() if t.id == "multi_turn_base_0")))
    assert steps and steps[:2] == [Call("cd", {"folder": "document"}), Call("mkdir", {"dir_name": "temp"}, beside=True)]
    assert rehearse(bfcl, "multi_turn_base_0", *steps).reward == 1
    by_hand = [Call("pwd"), *(Call(one.name, one.arguments) if isinstance(one, Call) else one for one in steps)]
    assert rehearse(bfcl, "multi_turn_base_0", *by_hand).reward == 1  # another look, and one call a response
    score = rehearse(bfcl, "multi_turn_base_0", *steps[:1], *steps[2:])
    assert score.reward == 0 and "does not match the state" in (score.answer or "")
    assert rehearse(bfcl, "multi_turn_base_0", *[Call("ls")] * 21, *steps).reward == 0
    cut = next(at for at, step in enumerate(steps) if isinstance(step, str))
    assert asyncio.run(_reward(bfcl, "multi_turn_base_0", responses(steps[: cut + 1])[:1])) == 0


async def _reward(bfcl: Benchmark, name: str, played: list[Response]) -> float | Failure:
    task = next(task for task in bfcl.environment.tasks() if task.id == name)
    return await reward_of(bfcl, task, played)


def test_a_function_that_is_held_back_is_offered_from_its_turn_on(bfcl: Benchmark, tasks: dict[str, Task]):
    async def offered() -> list[bool]:
        found: list[bool] = []
        async with bfcl.environment.open(tasks["multi_turn_miss_func_0"], 0) as session:
            conversation: Any = session
            while True:
                found.append("sort" in {tool.name for tool in conversation.tools})
                if await conversation.reply(said("")) is None:
                    return found

    assert asyncio.run(offered()) == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("cd", {"folder='document') or __import__('os')._exit(3) or dict(a": 1}),
        ("__import__('os')._exit", {"status": 3}),
        ("exit", {"code": 3}),
        ("open", {"file": "/etc/passwd"}),
        ("nothing", {}),
    ],
)
def test_nothing_but_the_tasks_functions_is_evaluated(bfcl: Benchmark, name: str, arguments: dict[str, Any]):
    made: Any = bfcl.environment
    [pwd, other] = asyncio.run(made._package.play("multi_turn_base_0", [("pwd", {}), (name, arguments)]))
    assert "workspace" in pwd and other.startswith("Error during execution")


def test_arguments_that_take_for_ever_are_a_failure_and_the_next_call_goes_on(
    bfcl: Benchmark, monkeypatch: pytest.MonkeyPatch
):
    made: Any = bfcl.environment
    own: Package = made._package
    task = next(row for row in own.rows.values() if any(tool.name == "logarithm" for tool in row.tools))
    monkeypatch.setattr(package, "DEADLINE_S", 2.0)
    forever = ("logarithm", {"value": 7.5, "base": 3, "precision": 10**9})
    with pytest.raises(Exception, match="could not be judged within"):
        asyncio.run(own.play(task.id, [forever]))
    monkeypatch.undo()
    assert asyncio.run(own.play(task.id, [("mean", {"numbers": [1, 2]})])) == ['{"result": 1.5}']


def test_the_score_is_the_leaderboards(bfcl: Benchmark, tasks: dict[str, Task]):
    rng = Random(0)
    rewards = {name: float(rng.random() < 0.2 + 0.1 * len(task.tags["category"]) / 3) for name, task in tasks.items()}
    by_category: defaultdict[str, list[float]] = defaultdict(list)
    for name, reward in rewards.items():
        by_category[tasks[name].tags["category"]].append(reward)
    mean = {name: sum(found) / len(found) for name, found in by_category.items()}
    simple = (mean["simple_python"] + mean["simple_java"] + mean["simple_javascript"]) / 3
    live = [reward for name, found in by_category.items() if group(name) == "live" for reward in found]
    parts = {
        "non_live": (10, (simple + mean["multiple"] + mean["parallel"] + mean["parallel_multiple"]) / 4),
        "live": (10, sum(live) / len(live)),
        "irrelevance": (10, (mean["irrelevance"] + mean["live_irrelevance"]) / 2),
        "multi_turn": (30, sum(value for name, value in mean.items() if name.startswith("multi_turn")) / 4),
    }
    weights = {name: float(task.tags["weight"]) for name, task in tasks.items()}

    def weighted(names: list[str]) -> float:
        return sum(weights[name] * rewards[name] for name in names) / sum(weights[name] for name in names)

    assert weighted([*tasks]) == pytest.approx(sum(share * value for share, value in parts.values()) / 60, abs=1e-6)
    for part, (_, value) in parts.items():
        assert weighted([name for name in tasks if tasks[name].tags["group"] == part]) == pytest.approx(value, abs=1e-6)


def own_tests(wheel: Path, language: str) -> list[tuple[str, dict[str, Any], Any]]:
    """(text, type, value) of each `assert java_type_converter("123L", "long") == 123` in the package."""
    found: list[tuple[str, dict[str, Any], Any]] = []
    for node in ast.walk(ast.parse(zipfile.ZipFile(wheel).read(CONVERTERS[language]))):
        match node:
            case ast.Assert(test=ast.Compare(left=ast.Call(args=[text, kind, *nested]), comparators=[value])):
                stated = {"type": ast.literal_eval(kind)}
                if nested:
                    stated["items"] = {"type": ast.literal_eval(nested[0])}
                if nested or stated["type"] not in ("Array", "ArrayList", "array"):  # a description always has items
                    found.append((ast.literal_eval(text), stated, ast.literal_eval(value)))
            case _:
                pass
    return found


JUDGE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from worker import Package
def options(value):  # the checker wants a list of possible values at each key
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return [*map(options, value)]
    return {key: [one] for key, one in value.items()} if isinstance(value, dict) else value
language, tests = json.load(sys.stdin)
held, name = Package(sys.argv[2]), f"simple_{language}_0"
for text, described, value in tests:
    parameters = {"properties": {"it": described}, "required": ["it"]}
    held._checked[name] = {"function": [{"name": "f", "parameters": parameters}]}
    for right, possible in ((True, value), (False, "another value")):
        held._answers[name] = [{"f": {"it": [options(possible)]}}]
        if held.judge(name, [[[("f", {"it": text})]]])["valid"] != right:
            print(text, described, possible, file=sys.stderr)
"""


@pytest.mark.parametrize("language", CONVERTERS)
def test_the_values_in_the_checkers_own_tests_are_judged_as_these_say(wheel: Path, language: str):
    tests = own_tests(wheel, language)
    assert len(tests) > 20
    folder = Path(package.__file__).parent
    command = [sys.executable, "-c", JUDGE, str(folder), str(wheel)]
    done = subprocess.run(
        command, input=json.dumps([language, tests]), capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stderr == ""


def run(folder: Path, *words: str) -> str:
    code, out, err = assay(*words, cwd=folder, ASSAY_DATA=os.environ["ASSAY_DATA"])
    assert code == 0, out + err
    return out


@pytest.fixture(scope="module")
def profiled(bfcl: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the profile p."""
    folder = tmp_path_factory.mktemp("profiled")
    run(folder, "profile", "bfcl", "--models", "gold,null", "--limit", "24", "--out", "p")
    return folder


def test_a_profile_of_it_passes_the_gate_of_tasks(profiled: Path):
    gates = json.loads((profiled / "p/profile.json").read_text())["gates"]
    assert {gate["name"]: gate["verdict"] for gate in gates}["tasks"] == "pass"


@pytest.mark.slow
def test_a_profile_of_it_is_certified_and_valid(profiled: Path):
    run(profiled, "certify", "p")
    assert "valid: bfcl 1" in run(profiled, "verify", "p/certificate.json", "--rescore")

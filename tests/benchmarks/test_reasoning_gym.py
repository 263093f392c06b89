import asyncio
import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.agent.loop import ToolLoop
from assay.benchmark import catalog
from assay.benchmark.catalog import load
from assay.benchmarks.reasoning_gym import family
from assay.benchmarks.reasoning_gym.scorer import EVALUATED, Dataset, is_expression
from assay.collect.plan import PlannedRollout
from assay.collect.roll import roll
from assay.digest import task_digest, tasks_digest
from assay.errors import UsageError
from assay.fidelity.gates.gold import gold_gate
from assay.model.builtin.function import FunctionModel
from assay.types import Failure, Outcome, Score, Task

installed = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="needs pip install 'assay[reasoning-gym]'"
)
NO_GOLD = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}
"""Data sets that give no reference answer, for at least one of their tasks."""
NOT_CLEAN = {"game_of_life_halting", "prime_factorization"}
"""Data sets whose scorer rewards any text, or raises on a word: the gold gate fails."""
SOME = ("chain_sum", "countdown", "n_queens", "word_ladder", "propositional_logic")


def outcome(name: str, task: Task, said: str) -> Outcome:
    planned = PlannedRollout(task, task_digest(task), 0, 0, 0)
    return asyncio.run(roll(load(f"reasoning-gym/{name}"), ToolLoop(), FunctionModel(lambda _: said), planned)).outcome


def gold_and_null(name: str) -> None:
    """Gold scores 1 and what has no tags 0, on every task."""
    environment = load(f"reasoning-gym/{name}").environment
    tasks = list(environment.tasks())
    assert len(tasks) == family.SIZE
    assert any(task.gold is None for task in tasks) == (name in NO_GOLD)

    async def reward(task: Task, said: str) -> Outcome:
        planned = PlannedRollout(task, task_digest(task), 0, 0, 0)
        benchmark = family.Benchmark(environment=environment, repeats=1)
        return (await roll(benchmark, ToolLoop(), FunctionModel(lambda _: said), planned)).outcome

    async def all_of_them() -> None:
        for task in tasks:
            for said in ("", "I would rather talk about the weather.", "42"):
                assert await reward(task, said) == Score(reward=0.0, metrics={"library": 0.0})
            if task.gold is not None:
                found = await reward(task, f"Let me think. <answer>7</answer> No.\n{task.gold}")
                assert isinstance(found, Score) and found.reward == 1, (task.id, found)

    asyncio.run(all_of_them())


@installed
@pytest.mark.parametrize("name", SOME)
def test_gold_scores_1_and_no_answer_0(name: str):
    gold_and_null(name)


@installed
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for name in family.names() if name not in SOME])
def test_gold_scores_1_and_no_answer_0_on_all_others(name: str):
    gold_and_null(name)


def gold_verdict(name: str) -> str:
    benchmark = load(f"reasoning-gym/{name}")
    gate = asyncio.run(gold_gate(benchmark, list(benchmark.environment.tasks())[::10]))
    return f"{gate.verdict}: {gate.reason}" if gate.verdict == "fail" else gate.verdict


@installed
@pytest.mark.parametrize("name", ["chain_sum", "kakurasu"])
def test_wrong_answers_are_not_rewarded_or_declared(name: str):
    assert gold_verdict(name) == "pass"


@installed
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in family.names() if name not in {*NOT_CLEAN, "futoshiki"}])
def test_wrong_answers_of_every_data_set_are_not_rewarded_or_declared(name: str):
    assert gold_verdict(name) in ("pass", "inconclusive" if name in NO_GOLD else "pass", "not run")


@installed
@pytest.mark.parametrize("name", ["word_ladder", "ransom_note", "isomorphic_strings"])
def test_tasks_are_the_same_in_every_process_also_where_they_are_made_of_sets(name: str):
    first, second = (tasks_digest(family.ReasoningGym(name).tasks()) for _ in range(2))
    assert first == second


@installed
def test_the_row_in_the_docstring_is_a_real_one():
    task = next(iter(load("reasoning-gym/chain_sum").environment.tasks()))
    text = family.__doc__ or ""
    assert task.id in text and f"gold    {task.gold}" in text
    assert str(task.input[0].content).partition("\n")[0] in text  # type: ignore[union-attr]


@installed
def test_all_data_sets_are_listed_and_the_version_names_seed_and_size():
    listed = [name for name in catalog.names() if name.startswith("reasoning-gym/")]
    assert len(listed) > 100 and "reasoning-gym/composite" not in listed
    assert load("reasoning-gym/chain_sum").version.endswith("-seed42-size50-full")


@installed
@pytest.mark.parametrize(
    ("name", "words"),
    [("chian_sum", "Did you mean chain_sum"), ("composite", "is made of others"), ("", "it is not there")],
)
def test_a_data_set_that_is_no_benchmark_is_told(name: str, words: str):
    with pytest.raises(UsageError, match=words):
        load(f"reasoning-gym/{name}")


@installed
def test_an_exception_of_the_scorer_is_a_failure_and_no_zero():
    task = next(iter(load("reasoning-gym/prime_factorization").environment.tasks()))
    found = outcome("prime_factorization", task, "<answer>two times three</answer>")
    assert isinstance(found, Failure)
    assert (found.where, found.kind) == ("verifier", "exception")
    assert "scorer of prime_factorization raised ValueError" in found.message


@installed
def test_a_scorer_that_does_not_end_is_stopped_and_the_next_answer_is_scored():
    data = Dataset("puzzle24", seed=42, size=2, deadline_s=1.5)
    gold = data.problems[1].answer or ""
    with pytest.raises(RuntimeError, match=r"TimeoutError|MemoryError|died"):
        data.score(0, "9**9**9**9**9")
    assert data.score(1, gold) == 1


HOSTILE = [
    "__import__('os').system('touch {path}')",
    "open('{path}', 'w')",
    "[c for c in ().__class__.__base__.__subclasses__()]",
    "exec('import os')",
    "(lambda: 1)()",
    "x.y",
    "1 .__class__",
    "().a",
    "f'{x}'",
    "'\\x5f'",
    "a_b",
    "_a",
    "__",
    "getattr(a, 'b')",
    "１＋１",
]


@pytest.mark.parametrize("answer", HOSTILE)
def test_what_could_reach_python_is_no_expression(answer: str):
    assert not is_expression(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "(3 + 5) * 2 / 4 - 1",
        "15 - 4 + 95",
        "2*x**3 - 0.5*x + C",
        "-sin(3*x + 2)/3 + C",
        "exp(2*x)*log(x)/2",
        "['A', 'B', 'C']",
        '["A", "B"]',
        "[[0, 1], [2, 3]]",
        "_ _ Q _\n_ Q _ _",
        "x^2/2",
        "",
    ],
)
def test_answers_of_mathematics_are_expressions(answer: str):
    assert is_expression(answer)


@given(st.text(alphabet="abCE_.()[]'\"0 +*lambdforin:", max_size=60))
def test_no_expression_has_a_word_or_an_attribute(answer: str):
    if is_expression(answer):
        assert not any(word in answer for word in ("lambda", "for", "in(", "__", ".a", ":"))


@installed
@pytest.mark.parametrize("name", sorted(EVALUATED))
def test_no_answer_is_carried_out_as_a_program(name: str, tmp_path: Path):
    data = Dataset(name, seed=42, size=1)
    mark = tmp_path / "mark"
    for answer in HOSTILE[:3]:
        assert data.score(0, answer.replace("{path}", str(mark))) == 0
    assert not mark.exists()

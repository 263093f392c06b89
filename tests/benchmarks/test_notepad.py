"""Golden tests of notepad: frozen tasks, disjoint training, and what is written where."""

import asyncio
from collections import Counter
from itertools import islice
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay import sync
from assay.benchmark import Call
from assay.benchmarks.notepad import benchmark
from assay.benchmarks.notepad.benchmark import BENCHMARK, DIGEST
from assay.benchmarks.notepad.problems import KINDS, calculated, draw
from assay.benchmarks.notepad.problems import test_problems as problems_of_the_test
from assay.collect.tokens import tokens_of
from assay.config import ModelConfig
from assay.digest import tasks_digest
from assay.model.builtin.engine import Engine
from assay.model.builtin.local import WEIGHTS
from assay.model.dialects.calls import items_of
from assay.model.dialects.chat.client import messages
from assay.types import FunctionCall, FunctionCallOutput, Score, Task, TokenIds

TASKS = {task.id: task for task in BENCHMARK.environment.tasks()}
ONE = TASKS["change-01"]


def play(task: Task, *calls: Call) -> tuple[list[str], Score]:
    """What the tools answer, and the score."""

    async def run() -> tuple[list[str], Score]:
        async with BENCHMARK.environment.open(task, 0) as session:
            return [await session.call(call.name, dict(call.arguments)) for call in calls], await session.score([])

    return asyncio.run(run())


def solution(task: Task) -> list[Call]:
    return [call for call in BENCHMARK.environment.solution(task) or () if isinstance(call, Call)]


def test_120_frozen_tasks():
    assert tasks_digest(TASKS.values()) == DIGEST
    assert Counter(task.tags["category"] for task in TASKS.values()) == dict.fromkeys(KINDS, 20)
    assert len({problem.identity for problem in problems_of_the_test()}) == 120


def test_the_row_in_the_docstring_is_a_real_one():
    text = benchmark.__doc__ or ""
    assert ONE.id in text and str(ONE.input[0].content) in text  # type: ignore[union-attr]
    assert all(f"{name}: {says}" in text for name, says in ONE.data["pad"].items())
    assert all(str(value) in text for call in solution(ONE) for value in call.arguments.values())


def test_solutions_score_1_and_0_without_any_of_their_last_call():
    for task in TASKS.values():
        said, score = play(task, *solution(task))
        assert score.reward == 1 and said[-1] == "written"
        assert play(task, *solution(task)[:-1])[1] == Score(reward=0.0)


def test_another_note_that_is_changed_costs_the_reward_and_is_shown():
    more = Call("write", {"note": "cups", "number": 1})
    _, score = play(ONE, *solution(ONE), more)
    assert score == Score(reward=0.0, answer="cups = 1, toys = 985")
    _, score = play(ONE, *solution(ONE), more, Call("write", {"note": "cups", "number": 109}))
    assert score.reward == 1


def test_what_a_tool_declines_is_told():
    said, score = play(ONE, Call("read", {"note": "hats"}), Call("calculate", {"expression": "2 ** 9"}))
    assert said[0] == "error: there is no note hats"
    assert said[1] == "error: '2 ** 9' is no calculation; expected numbers with +, - or *, such as 12 + 3 * 4"
    assert score.reward == 0


@given(st.lists(st.integers(0, 999), min_size=1, max_size=6), st.data())
def test_the_calculator_agrees_with_python(numbers: list[int], data: st.DataObject):
    signs = data.draw(st.lists(st.sampled_from("+-*"), min_size=len(numbers), max_size=len(numbers)))
    expression = "".join(f"{sign}{number}" for sign, number in zip(signs, numbers, strict=True))[1:]
    assert calculated(expression) == eval(expression)


@pytest.mark.parametrize("expression", ["", "two", "1 +", "-1", "(1)", "1.5", "1 / 2", "9" * 101, "٣ + 1"])
def test_the_calculator_declines_what_is_no_calculation(expression: str):
    with pytest.raises(ValueError, match="is no calculation"):
        calculated(expression)


def test_training_shares_no_problem_with_the_test():
    def content(task: Task) -> tuple[str, ...]:
        """What is read and written, in any order."""
        pad = task.data["pad"]
        read = sorted(
            pad[arguments["note"]] + arguments["note"] for name, arguments in task.data["calls"][:-1] if name == "read"
        )
        return (task.tags["category"], *read, str(task.data["written"]))

    tests = {content(task) for task in TASKS.values()}
    training = list(islice(BENCHMARK.environment.training(Random(3)), 5000))
    assert not {content(task) for task in training} & tests
    # The generator itself meets the test's problems: what keeps them out is not luck.
    assert {draw(Random(20260401), KINDS[0]).identity} <= {problem.identity for problem in problems_of_the_test()}


def test_the_embedded_model_plays_it_over_many_turns_with_ids_that_are_carried():
    engine = Engine.load(WEIGHTS / "nano-tools")
    made = sync.rollouts("notepad", model="nano-tools", tasks=list(TASKS)[::2], repeats=2, seed=5, concurrency=64)
    scores = [one.outcome.reward for one in made if isinstance(one.outcome, Score)]
    assert len(scores) == 120 and 0.3 <= sum(scores) / 120 <= 0.8
    turns = Counter(len(one.turns) for one in made)
    assert sum(count for length, count in turns.items() if length >= 3) > 60
    for one in made:
        tokens = tokens_of(one)
        assert tokens is not None and len(tokens.mask) == len(tokens.completion)
        said = [number for turn in one.turns for number in (turn.response.tokens or TokenIds()).output]
        assert [number for number, mine in zip(tokens.completion, tokens.mask, strict=True) if mine] == said
        # What the model did not say is what the tools answered, and the marks around it.
        others = [number for number, mine in zip(tokens.completion, tokens.mask, strict=True) if not mine]
        answers = [item.text for turn in one.turns for item in turn.input if isinstance(item, FunctionCallOutput)]
        between = "".join(f"<|tool|>{answer}<|end|><|assistant|>" for answer in answers)
        assert engine.tokenizer.decode(others, skip_special_tokens=False) == between


def test_what_the_model_learns_to_say_is_what_its_chat_template_writes_again():
    template, tokenizer = (engine := Engine.load(WEIGHTS / "nano-tools")).template, engine.tokenizer
    call = FunctionCall("c", "write", '{"note": "total", "number": 12}')
    said = messages([*ONE.input, call, FunctionCallOutput("c", "written")])
    tools = [{"type": "function", "function": msgspec.to_builtins(tool)} for tool in ONE.tools]
    text = template.render(said, {"tools": tools})
    assert text == (
        "<|system|>read(note) write(note, number) calculate(expression) <|end|>"
        "<|user|>Notes: apples, cups, pears, toys. 69 toys come in. Correct the note.<|end|>"
        '<|assistant|><tool_call>{"name": "write", "arguments": {"note": "total", "number": 12}}</tool_call><|end|>'
        "<|tool|>written<|end|><|assistant|>"
    )
    arguments = {"note": "total", "number": 12}
    said[1]["tool_calls"][0]["function"]["arguments"] = arguments  # as transformers and TRL give them
    assert template.render(said, {"tools": tools}) == text
    (again,) = items_of(
        text.split("<|assistant|>")[1].removesuffix("<|end|>"), ModelConfig(dialect="local"), complete=True, scope=0
    )
    assert isinstance(again, FunctionCall) and (again.name, again.arguments) == (call.name, call.arguments)
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=False) == text
    assert len(tokenizer.encode(text)) < 90

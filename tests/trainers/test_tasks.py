from random import Random

import pytest

from assay.benchmark import Benchmark, Environment
from assay.benchmark.catalog import load
from assay.benchmarks.arithmetic.problems import test_problems as arithmetic_test
from assay.collect.tokens import tokens_of
from assay.errors import UsageError
from assay.trainers.tasks import training_tasks, with_tasks
from assay.trainers.training import Look, Step, collapse, overfitting, rises
from assay.types import Message, Response, Rollout, Score, Task, Text, TokenIds, Turn


class Few(Environment):
    name, version = "few", "1"

    def tasks(self):
        yield Task(id="t", input=[Message(role="user", content="What?")], gold="x")

    def verify(self, task: Task, response: Response) -> Score:
        return Score(reward=1.0)

    def training(self, rng: Random):
        while True:
            yield Task(
                id=f"n{rng.random()}", input=[Message(role="user", content=rng.choice(["What?", "Who?", "Why?"]))]
            )


def test_training_tasks_differ_and_are_none_of_the_test():
    tasks = training_tasks(Benchmark(environment=Few(), repeats=1), 2)
    assert sorted(str(task.input[0].content) for task in tasks) == ["Who?", "Why?"]


def test_a_generator_that_runs_out_is_named():
    with pytest.raises(UsageError, match="few gives 2 different training tasks; expected 3"):
        training_tasks(Benchmark(environment=Few(), repeats=1), 3)


def test_arithmetic_trains_on_no_test_problem_however_it_is_worded():
    asked = {problem.expression for problem in arithmetic_test()}
    tests = {problem.question for problem in arithmetic_test()}
    tasks = training_tasks(load("arithmetic"), 5000, seed=3)
    assert len({task.id for task in tasks}) == len({str(task.input[0].content) for task in tasks}) == 5000
    questions = {str(task.input[0].content) for task in tasks}
    assert not questions & tests
    plain = {q.removeprefix("What is ").rstrip("?").replace(" ", "") for q in questions if q.startswith("What is ")}
    assert not plain & asked
    assert tasks == training_tasks(load("arithmetic"), 5000, seed=3) != training_tasks(load("arithmetic"), 5000, seed=4)


def test_a_benchmark_without_training_tasks_is_refused_unless_its_test_is_wanted():
    with pytest.raises(
        UsageError, match=r"office has no training tasks.*test tasks makes its score meaningless(?s:.*)on_test=True"
    ):
        training_tasks(load("office"), 5)
    assert [task.id for task in training_tasks(load("office"), 2, on_test=True)] == [
        task.id for task in list(load("office").environment.tasks())[:2]
    ]


def test_with_tasks_leaves_the_benchmark_as_it_was():
    benchmark = load("arithmetic")
    drawn = training_tasks(benchmark, 3)
    assert list(with_tasks(benchmark, drawn).environment.tasks()) == drawn
    assert len(list(benchmark.environment.tasks())) == 240


def turn(prompt: list[int], output: list[int], logprobs: list[float] | None = None) -> Turn:
    tokens = TokenIds(
        prompt=prompt, output=output, output_logprobs=[-0.5] * len(output) if logprobs is None else logprobs
    )
    return Turn(
        input=[], response=Response(output=[Message(role="assistant", content=[Text(text="x")])], tokens=tokens)
    )


def rollout(*turns: Turn) -> Rollout:
    return Rollout("t", "d", 0, 0, 0, list(turns), "completed", Score(reward=1.0))


def test_turns_become_one_row_with_the_environment_masked():
    tokens = tokens_of(rollout(turn([1, 2], [3, 4]), turn([1, 2, 3, 4, 5, 6], [7], [-0.25])))
    assert tokens is not None
    assert (tokens.prompt, tokens.completion) == ([1, 2], [3, 4, 5, 6, 7])
    assert tokens.mask == [1, 1, 0, 0, 1]
    assert tokens.logprobs == [-0.5, -0.5, 0.0, 0.0, -0.25]


@pytest.mark.parametrize(
    "turns",
    [
        pytest.param([turn([1, 2], [3, 4]), turn([1, 2, 3, 5, 6], [7])], id="tokenised again"),
        pytest.param([turn([1, 2], [3, 4]), turn([1, 2], [7])], id="history left out"),
        pytest.param([turn([1, 2], [3, 4], [-0.5])], id="a log-probability missing"),
        pytest.param([turn([], [3])], id="no prompt ids"),
        pytest.param([turn([1], [])], id="nothing sampled"),
        pytest.param([Turn(input=[], response=Response(output=[]))], id="no ids"),
        pytest.param([], id="no turn"),
    ],
)
def test_tokens_that_do_not_follow_each_other_are_not_trained_on(turns: list[Turn]):
    assert tokens_of(rollout(*turns)) is None


def steps(*rewards: float) -> list[Step]:
    return [Step(number, reward, 0.5, 1.0, 10.0) for number, reward in enumerate(rewards, 1)]


def test_a_reward_that_rises_without_the_held_out_score_is_told():
    rising = steps(*([0.3, 0.32] * 10), *([0.4, 0.42] * 20), *([0.5, 0.52] * 10))
    looks = [Look(0, 0.3, 0.01), Look(80, 0.31, 0.01)]
    assert "rose by 20.0 points and the held-out score by 1.0" in (overfitting(rising, looks) or "")
    assert overfitting(rising, [looks[0], Look(80, 0.48, 0.01)]) is None
    assert overfitting(rising[:19], looks) is None  # too short to tell
    assert overfitting(steps(*([0.0, 1.0] * 40)), looks) is None  # noise


def test_a_finding_rises_beyond_chance_or_not_at_all():
    assert rises(0, 480, 48, 480)
    assert not rises(0, 480, 20, 480)  # by 4 points
    assert not rises(48, 160, 58, 160)  # by 6 points, and chance gives as much


def test_a_held_out_score_that_falls_far_is_a_collapse():
    start = Look(0, 0.4, 0.02)
    assert collapse([start]) is None
    assert collapse([start, Look(10, 0.33, 0.02)]) is None
    assert "from 40.0% to 20.0% by step 20" in (collapse([start, Look(10, 0.38, 0.02), Look(20, 0.2, 0.02)]) or "")

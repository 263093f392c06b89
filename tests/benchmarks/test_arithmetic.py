import itertools
import random
from collections import Counter

from assay.benchmarks.arithmetic import benchmark
from assay.benchmarks.arithmetic.benchmark import BENCHMARK, DIGEST
from assay.benchmarks.arithmetic.problems import CATEGORIES, LEVELS, Problem, draw, test_problems
from assay.digest import tasks_digest
from train.data import completion, held_out, training_problems

test_problems.__test__ = False  # pytest would collect it by its name


def test_240_frozen_tasks_of_every_category_and_level():
    tasks = list(BENCHMARK.environment.tasks())
    assert len({task.id for task in tasks}) == 240
    assert tasks_digest(tasks) == DIGEST
    assert Counter((task.tags["category"], task.tags["level"]) for task in tasks) == {
        (category, level): 16 for category in CATEGORIES for level in LEVELS
    }


def test_the_row_in_the_docstring_is_a_real_one():
    text = benchmark.__doc__ or ""
    task = next(task for task in BENCHMARK.environment.tasks() if task.id in text)
    assert all(part in text for part in (str(task.input[0].content), f"gold   {task.gold}", task.tags["level"]))  # type: ignore


def test_answers_are_right_and_never_negative():
    rng = random.Random(5)
    for category, level in itertools.product(CATEGORIES, LEVELS):
        for _ in range(300):
            problem = draw(rng, category, level)
            assert problem.answer == eval(problem.expression) >= 0


def test_operands_that_commute_make_one_problem():
    def identity(expression: str) -> str:
        return Problem("", "", "", expression, 0).identity

    assert identity("4+3") == identity("3+4") == "3+4"
    assert identity("4*3-2") == identity("3*4-2")
    assert identity("4-3") != identity("3-4")


def test_training_never_sees_a_test_task_or_a_held_out_one():
    test = frozenset(problem.identity for problem in test_problems())
    measured = {problem.identity for problem in held_out(test)}
    assert len(test) == 240
    assert not measured & test
    excluded = test | measured
    questions = {problem.question for problem in test_problems()}
    for problem in itertools.islice(training_problems(1, excluded), 30_000):
        assert problem.identity not in excluded
        assert problem.question not in questions


def test_the_working_leads_to_the_answer():
    for problem in itertools.islice(training_problems(2, frozenset()), 5000):
        text = completion(problem, thinking=True)
        assert text.startswith("<think>")
        assert text.endswith(f" {problem.answer}</think>{problem.answer}")
        for step in text.removeprefix("<think>").partition("</think>")[0].replace(";", " ").split():
            left, equals, right = step.partition("=")
            assert not equals or eval(left) == int(right)

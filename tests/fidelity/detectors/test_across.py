"""Each detector that looks at a run as a whole, on columns made to show it and on honest ones."""

import numpy as np
import pytest

from assay.fidelity.detectors.runs.identical_repeats import look as identical_repeats
from assay.fidelity.detectors.runs.length_rewarded import look as length_rewarded
from assay.fidelity.detectors.runs.option_letters import look as option_letters
from assay.fidelity.detectors.runs.published_letters import look as published_letters
from assay.fidelity.detectors.runs.rewarded_differently import look as rewarded_differently
from assay.fidelity.detectors.runs.rows_missing import look as rows_missing
from assay.fidelity.results.results import Results
from assay.types import Task
from tests.fidelity.detectors.made import TOOL, columns

TASKS = [Task(id=f"t{i}", input=[], gold="42") for i in range(60)]
LETTERS = "ABCD"


def honest(seed: int, tasks: int = 60, repeats: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((tasks, repeats)) < rng.random((tasks, 1))).astype(float)


def test_long_outputs_that_are_the_same_are_named():
    texts = [[f"{i}/{j}" for j in range(4)] for i in range(60)]
    texts[7][2] = texts[7][0]
    seen = identical_repeats(columns(TASKS, honest(0), texts=texts, tokens_TK=np.full((60, 4), 900)))
    assert seen is not None
    assert [(task, repeat) for task, repeat, _ in seen.examples] == [(7, 2)]
    assert identical_repeats(columns(TASKS, honest(0), texts=texts, tokens_TK=np.full((60, 4), 9))) is None


def test_a_whole_repeat_that_is_a_copy_is_named_though_its_outputs_are_short():
    texts = [[f"{i}/{j}" for j in range(4)] for i in range(60)]
    for row in texts:
        row[3] = row[1]
    seen = identical_repeats(columns(TASKS, honest(0), texts=texts))
    assert seen is not None
    assert {repeat for _, repeat, _ in seen.examples} == {3}
    assert len(seen.examples) == 60


def test_short_answers_that_are_alike_by_chance_are_not():
    rewards_TK = honest(1)
    texts = [
        ["right" if reward else f"{i}/{j % 2}" for j, reward in enumerate(row)] for i, row in enumerate(rewards_TK)
    ]
    assert identical_repeats(columns(TASKS, rewards_TK, texts=texts)) is None


def test_the_same_text_with_another_reward_is_named():
    texts = [["same", "same", "other", "other"]]
    seen = rewarded_differently(columns(TASKS[:1], np.array([[1.0, 0.0, 1.0, 1.0]]), texts=texts))
    assert seen is not None
    assert [(task, repeat) for task, repeat, _ in seen.examples] == [(0, 0), (0, 1)]


def test_where_tools_answer_the_same_text_may_have_another_reward():
    tasks = [Task(id="t", input=[], tools=[TOOL])]
    assert rewarded_differently(columns(tasks, np.array([[1.0, 0.0]]), texts=[["same", "same"]])) is None


@pytest.mark.parametrize(("slope", "way"), [(2.0, "longer outputs of a task score higher"), (-2.0, "score lower")])
def test_rewards_that_go_with_length_are_told(slope: float, way: str):
    rng = np.random.default_rng(0)
    logs_TK = rng.normal(0, 0.5, (60, 4))
    rewards_TK = (rng.random((60, 4)) < 1 / (1 + np.exp(-2 * slope * logs_TK))).astype(float)
    seen = length_rewarded(columns(TASKS, rewards_TK, tokens_TK=np.round(200 * np.exp(logs_TK))))
    assert seen is not None
    assert way in seen.what
    assert seen.of > len(seen.examples) > 0


def test_rewards_and_lengths_that_go_their_own_ways_are_not():
    told = [
        length_rewarded(columns(TASKS, honest(seed), tokens_TK=np.random.default_rng(seed).integers(50, 500, (60, 4))))
        for seed in range(100)
    ]
    assert told == [None] * 100


def test_hard_tasks_with_long_answers_are_no_rule_of_length():
    rng = np.random.default_rng(3)
    hard_T = rng.random(60)
    rewards_TK = (rng.random((60, 4)) > hard_T[:, None]).astype(float)
    tokens_TK = np.round(50 + 900 * hard_T[:, None] + rng.integers(0, 40, (60, 4)))
    assert length_rewarded(columns(TASKS, rewards_TK, tokens_TK=tokens_TK)) is None


def choices(seed: int, leaning: str | None = None, *, to_file: bool = False, tasks: int = 120) -> Results:
    """A model that is right half of the time, and else guesses, leans to a letter, or to the file's letter."""
    rng = np.random.default_rng(seed)
    asked: list[Task] = []
    answers: list[list[str | None]] = []
    for i in range(tasks):
        order = rng.permutation(4).tolist()
        right = int(rng.integers(4))
        asked.append(Task(id=f"t{i}", input=[], gold=LETTERS[right], data={"options": list("wxyz"), "order": order}))
        wrong = [letter for letter in LETTERS if letter != LETTERS[right]]
        favourite = LETTERS[order[right]] if to_file else leaning
        row: list[str | None] = []
        for _ in range(2):
            leans = favourite in wrong and rng.random() < 0.6
            row.append(LETTERS[right] if rng.random() < 0.5 else favourite if leans else str(rng.choice(wrong)))
        answers.append(row)
    rewards_TK = np.array([[float(a == task.gold) for a in row] for task, row in zip(asked, answers, strict=True)])
    return columns(asked, rewards_TK, answers=answers)


def test_a_leaning_to_a_letter_is_told():
    seen = option_letters(choices(0, "C"))
    assert seen is not None
    assert "chose C" in seen.what
    assert all("answered C" in evidence for _, _, evidence in seen.examples)
    assert published_letters(choices(0, "C")) is None


def test_a_memory_of_the_files_letters_is_told():
    seen = published_letters(choices(0, to_file=True))
    assert seen is not None
    assert all("where the file has the right option" in evidence for _, _, evidence in seen.examples)
    assert option_letters(choices(0, to_file=True)) is None


def test_guesses_without_a_leaning_are_not():
    told = [look(choices(seed)) for seed in range(100) for look in (option_letters, published_letters)]
    assert told == [None] * 200


def test_tasks_without_options_have_no_letters():
    assert option_letters(columns(TASKS, honest(0))) is None


def test_rollouts_that_were_never_tried_are_named():
    whole = columns(TASKS[:3], np.ones((3, 2)))
    assert rows_missing(whole) is None
    cells = [cell for cell in whole.cells if (cell.task, cell.repeat) != (1, 1)]
    seen = rows_missing(Results(whole.tasks, whole.rewards_TK, cells, {}, 0.0))
    assert seen is not None
    assert (seen.examples, seen.of) == ([(1, 1, "never tried")], 6)

"""What a benchmark declares that its score is, and which tasks a run is about."""

from collections import Counter

import msgspec
import pytest

from assay.errors import UsageError
from assay.score import Maj, Mean, PassAt, PassHat, ScoreRule, Selection, check_score
from assay.types import Message, Task, Text


def tasks_of(**counts: int) -> list[Task]:
    prompt = [Message(role="user", content=[Text(text="?")])]
    return [
        Task(id=f"{subset}-{number}", input=prompt, tags={"subset": subset, "half": str(number % 2)})
        for subset, count in counts.items()
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (Mean(), "mean reward"),
        (Mean(by="subset"), "mean over subset of the mean reward"),  # type: ignore[arg-type]
        (Mean(by=("task", "subset")), "mean over task of the mean over subset of the mean reward"),
        (PassHat(3), "pass^3"),
        (PassAt(8, by=("subset",)), "mean over subset of the pass@8"),
        (Maj(5, weight="points"), "maj@5, weighted by points"),
    ],
)
def test_a_score_is_said_in_words_and_survives_json(score: ScoreRule, words: str):
    assert str(score) == words
    assert msgspec.json.decode(msgspec.json.encode(score), type=ScoreRule) == score


def test_a_score_that_can_not_be_is_refused():
    with pytest.raises(ValueError, match="twice"):
        Mean(by=("subset", "subset"))
    with pytest.raises(ValueError, match=r"pass\^0: expected at least one attempt"):
        PassHat(0)
    with pytest.raises(ValueError, match="lowest"):
        Mean(range=(1.0, 0.0))


def test_a_task_without_its_tag_is_named_with_the_tags_that_it_has():
    with pytest.raises(UsageError, match=r"task snarks-0 has no tag 'task'; its tags: subset, half"):
        check_score(Mean(by=("task",)), tasks_of(snarks=1))
    with pytest.raises(UsageError, match="task snarks-0 weighs 'snarks' by its tag 'subset'; expected a number"):
        check_score(Mean(weight="subset"), tasks_of(snarks=1))


@pytest.mark.parametrize("score", [Mean(), Mean(by=("subset",))])
def test_a_larger_limit_contains_a_smaller_one(score: Mean):
    tasks = tasks_of(large=200, small=40, tiny=3)
    earlier: set[str] = set()
    for limit in (1, 5, 60, 120, 240, 500):
        found = Selection(limit=limit, seed=7).of(tasks, score)
        assert [task for task in tasks if task in found] == found
        assert len(found) == min(limit, 243)
        assert earlier <= {task.id for task in found}
        earlier = {task.id for task in found}


def test_a_limit_is_balanced_as_the_score_is():
    tasks = tasks_of(large=200, small=40, tiny=4)

    def counts(score: ScoreRule) -> Counter[str]:
        return Counter(task.tags["subset"] for task in Selection(limit=61).of(tasks, score))

    assert counts(Mean(by=("subset",))) == {"large": 29, "small": 28, "tiny": 4}
    plain = [task.tags["subset"] for task in Selection(limit=61).of(tasks, Mean())]
    assert len(plain) == 61
    by_category = [msgspec.structs.replace(task, tags={"category": task.tags["subset"]}) for task in tasks]
    drawn = Counter(task.tags["category"] for task in Selection(limit=61).of(by_category, Mean()))
    assert drawn == {"large": 50, "small": 10, "tiny": 1}


def test_a_nested_score_gives_each_outer_group_its_turn():
    tasks = [
        msgspec.structs.replace(
            task, tags={"task": "logic" if task.tags["subset"] != "words" else "words", **task.tags}
        )
        for task in tasks_of(three=20, five=20, seven=20, words=60)
    ]
    drawn = Counter(task.tags["subset"] for task in Selection(limit=24).of(tasks, Mean(by=("task", "subset"))))
    assert drawn == {"words": 12, "three": 4, "five": 4, "seven": 4}


def test_the_seed_draws_another_order():
    tasks = tasks_of(one=100)
    drawn = [{task.id for task in Selection(limit=50, seed=seed).of(tasks, Mean())} for seed in (0, 1)]
    assert drawn[0] != drawn[1]


def test_tasks_are_chosen_by_their_tags():
    tasks = tasks_of(snarks=4, sums=4)
    assert [task.id for task in Selection(only={"subset": "snarks", "half": "1"}).of(tasks, Mean())] == [
        "snarks-1",
        "snarks-3",
    ]
    with pytest.raises(UsageError, match=r"no task has subset=snark; subset is snarks, sums"):
        Selection(only={"subset": "snark"}).of(tasks, Mean())
    with pytest.raises(UsageError, match="no task has a tag 'size'"):
        Selection(only={"size": "large"}).of(tasks, Mean())
    with pytest.raises(UsageError, match="--limit 0"):
        Selection(limit=0).of(tasks, Mean())

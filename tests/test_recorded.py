"""Recorded outputs of real models: as suites, and as what the detectors are judged by."""

from pathlib import Path

import msgspec
import pytest

from assay.benchmark.catalog import load
from assay.config import load_suite
from assay.fidelity.original.published import published_scores
from assay.fidelity.schema.profile import Profile
from assay.types import Message, Response, Rollout, Score, Task, Text, Turn
from bench.verifiers.alarms import alarms
from studies.detectors import Author
from tests.benchmarks.data import beside, data_file, prepare
from tests.commands import assay

SUITES = sorted((Path(__file__).parent.parent / "studies/suites").glob("*.toml"))
PAGE = Path(__file__).parent.parent / "docs/real-data.md"


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_each_model_of_a_suite_is_recorded_and_has_a_published_score(path: Path):
    suite = load_suite(str(path))
    published = published_scores(load(path.stem))
    known = {score.model for score in published.scores} if published else set()
    assert {member.published for member in suite.models.values()} <= known
    for member in suite.models.values():
        beside("recorded", *member.id.split("/"))


def test_a_suite_of_recorded_outputs_is_profiled(tmp_path: Path):
    file = data_file("cruxeval", tmp_path)
    recorded = beside("recorded", "zeroeval", "crux", "tasks.jsonl.gz").parents[2]
    suite = next(path for path in SUITES if path.stem == "cruxeval")
    for _ in prepare(load("cruxeval"), file, tmp_path):
        command = ["profile", "cruxeval", "--suite", str(suite), "--repeats", "1", "--limit", "3"]
        code, _, err = assay(*command, "--out", str(tmp_path / "p"), cwd=recorded, ASSAY_DATA=str(tmp_path))
    assert code == 0, err
    profile = msgspec.json.decode((tmp_path / "p/profile.json").read_bytes(), type=Profile)
    made = {name: (one.rollouts, one.failures) for name, one in profile.models.items()}
    assert made == dict.fromkeys(load_suite(str(suite)).models, (3, 0))


def author(*texts: tuple[str, float, str | None], disputed: frozenset[tuple[str, str, int]] = frozenset()) -> Author:
    tasks = [Task(id=str(number), input=[], gold="2") for number in range(len(texts))]
    rollouts = [
        Rollout(
            *(str(number), "", 0, 0, 0),
            [Turn(input=[], response=Response(output=[Message(role="assistant", content=[Text(text=text)])]))],
            "completed",
            Score(reward=reward, answer=answer),
        )
        for number, (text, reward, answer) in enumerate(texts)
    ]
    return Author(tasks, {"m": rollouts}, disputed)


def test_an_alarm_is_false_where_both_verifiers_agree_on_the_marks():
    outputs = [("Answer: 2, 3", 1.0, "2, 3"), ("", 0.0, None)]
    by_name = alarms(author(*outputs))
    assert [key for key, _ in by_name["answer of another form"].named] == [("m", "0", 0)]
    assert by_name["answer of another form"].false == 1
    assert alarms(author(*outputs, disputed=frozenset({("m", "0", 0)})))["answer of another form"].false == 0
    assert (len(by_name["empty output"].named), by_name["empty output"].false) == (1, 0)
    assert by_name["token cap"].named == []


def test_the_page_has_a_line_for_each_detector():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| {name} |" in text for name in alarms(author(("2", 1.0, "2"))))

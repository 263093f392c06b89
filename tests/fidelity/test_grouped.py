"""A benchmark of 27 subsets whose published score is a mean of means, from its folder to its certificate."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from assay.fidelity.certificate.schema import Certificate
from assay.fidelity.schema.profile import Profile, Summary
from tests.commands import assay

SIZES = {
    ("word", "sorting"): 12,
    ("word", "spelling"): 3,
    ("logic", "three"): 5,
    ("logic", "five"): 5,
    ("logic", "seven"): 2,
}
SIZES |= {(f"task {number}", "all"): 2 + number % 7 for number in range(22)}
"""Tasks by (task, subset): 24 tasks of one to three subsets, 27 subsets in all."""
BENCHMARK = """
from collections.abc import Iterable, Iterator
from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.number import numeric
from assay.score import Mean
from assay.types import Message, Response, Score, Task, Text

SIZES = {sizes}


class Sums(Environment):
    name = "grouped"
    version = "1"

    def tasks(self) -> Iterator[Task]:
        number = 0
        for (task, subset), size in SIZES.items():
            for _ in range(size):
                number += 1
                text = f"In {{task}}, {{subset}}: what is {{number}} plus {{7 * number}}? Answer with the number alone."
                yield Task(
                    id=f"sum-{{number:03d}}",
                    input=[Message(role="user", content=[Text(text=text)])],
                    gold=str(8 * number),
                    tags={{"task": task, "subset": subset}},
                )

    def verify(self, task: Task, response: Response) -> Score:
        return numeric(response, task.gold)


BENCHMARK = Benchmark(Sums(), repeats=1, score=Mean(by=("task", "subset")))
"""
PUBLISHED = """
[origin]
repository = "https://example.org/grouped"
commit = "0000000"

[[score]]
model = "left"
score = "{nested:.2f}"
subset = "test"
settings = {{ outputs = "recorded" }}
source = "Table 1"
date = "2025-01-01"
confidence = "card"

[[score]]
model = "left"
score = "{plain:.2f}"
rule = {{ of = "mean" }}
subset = "test"
settings = {{ outputs = "recorded" }}
source = "Table 2, the mean over all"
date = "2025-01-01"
confidence = "card"

[[score]]
model = "left"
score = "{sorting:.2f}"
subset = {{ task = "word", subset = "sorting" }}
settings = {{ outputs = "recorded" }}
source = "Table 3"
date = "2025-01-01"
confidence = "card"

[[score]]
model = "right"
score = "50.0"
aggregation = "the median over tasks"
subset = "test"
source = "Table 4"
date = "2025-01-01"
confidence = "card"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the benchmark, its recorded outputs, and a suite that replays them."""
    folder = tmp_path_factory.mktemp("grouped")
    rng = np.random.default_rng(0)
    labels = [path for path, size in SIZES.items() for _ in range(size)]
    right = {name: rng.random(len(labels)) < share for name, share in (("left", 0.7), ("right", 0.4))}
    for name, scores in right.items():
        rows = [
            {"task": f"sum-{n:03d}", "output": str(8 * n if ok else 8 * n + 1), "score": float(ok)}
            for n, ok in enumerate(scores, 1)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    within = {path: right["left"][[label == path for label in labels]].mean() for path in SIZES}
    outer = {task: np.mean([mean for path, mean in within.items() if path[0] == task]) for task, _ in SIZES}
    numbers = {
        "nested": 100 * np.mean([*outer.values()]),
        "plain": 100 * right["left"].mean(),
        "sorting": 100 * within["word", "sorting"],
    }
    assert abs(numbers["nested"] - numbers["plain"]) > 0.5
    (folder / "grouped").mkdir()
    (folder / "grouped/benchmark.py").write_text(BENCHMARK.format(sizes=SIZES))
    (folder / "grouped/published.toml").write_text(PUBLISHED.format(**numbers))
    suite = 'name = "recorded"\n'
    for name, kind in (("left", "instruct"), ("right", "thinking")):
        suite += f'[models.{name}]\ndialect = "replay"\nid = "{folder / name}.jsonl"\nrole = "open"\n'
        suite += f'kind = "{kind}"\npublished = "{name}"\n'
    (folder / "suite.toml").write_text(suite)
    (folder / "numbers.json").write_text(json.dumps(numbers))
    return folder


@pytest.fixture(scope="module")
def profile(place: Path) -> Path:
    code, out, err = assay("profile", "./grouped", "--suite", "suite.toml", "--out", "p", cwd=place)
    assert code == 0, out + err
    for name in ("left", "right"):
        arguments = ("parity", "./grouped", "--reference", f"{name}.jsonl", "--run", f"p/runs/{name}")
        assert assay(*arguments, cwd=place)[0] in (0, 3, 5)
    code, out, err = assay("profile", "./grouped", "--suite", "suite.toml", "--out", "p", cwd=place)
    assert code == 0, out + err
    return place / "p"


def test_check_says_the_score_and_how_many_groups_it_has(place: Path):
    code, out, err = assay("check", "./grouped", "--json", cwd=place)
    assert code == 0, out + err
    checks = {check["name"]: check["reason"] for check in json.loads(out)["checks"]}
    assert checks["score"] == "The score is the mean over task of the mean over subset of the mean reward: 27 groups."
    assert checks["published"] == "published.toml has 4 scores."


@pytest.mark.heavy
def test_the_mean_of_means_and_the_other_numbers_are_reproduced_to_the_digit(profile: Path, place: Path):
    made = msgspec.json.decode((profile / "profile.json").read_bytes(), type=Profile)
    numbers = json.loads((place / "numbers.json").read_text())
    found = {one.published_as: one for one in made.reproduced}
    for name, key in (
        ("left", "nested"),
        ("left, mean reward", "plain"),
        ("left, task=word, subset=sorting", "sorting"),
    ):
        assert found[name].verdict == "identical", found[name].reason
        assert found[name].reference_score == pytest.approx(numbers[key] / 100)
        assert found[name].here_verdict == "identical"
    assert found["right, the median over tasks"].verdict == "another score"
    assert next(gate for gate in made.gates if gate.name == "reproduced").verdict != "fail"


@pytest.mark.heavy
def test_groups_stand_in_summary_page_and_certificate(profile: Path, place: Path):
    numbers = json.loads((place / "numbers.json").read_text())
    summary = msgspec.json.decode((profile / "runs/left/summary.json").read_bytes(), type=Summary)
    assert summary.score == pytest.approx(numbers["nested"] / 100)
    assert summary.score_is == "mean over task of the mean over subset of the mean reward"
    assert summary.grouped_by == ["task", "subset"]
    assert summary.groups["word / sorting"].score == pytest.approx(numbers["sorting"] / 100)
    assert (summary.groups["logic"].tasks, len([name for name in summary.groups if " / " not in name])) == (12, 24)
    assert "word / sorting" in (profile / "report.html").read_text()
    code, out, err = assay("certify", "p", cwd=place)
    assert code in (0, 3, 5), out + err
    certificate = msgspec.json.decode((profile / "certificate.json").read_bytes(), type=Certificate)
    assert str(certificate.benchmark.score) == summary.score_is
    assert assay("verify", "p/certificate.json", "--benchmark", "./grouped", cwd=place)[0] in (0, 3, 5)


def test_a_subset_alone_is_a_run_of_its_own(place: Path):
    command = ("run", "./grouped", "--model", "gold", "--only", "task=word", "--only", "subset=sorting")
    code, out, err = assay(*command, cwd=place)
    assert code == 0, out + err
    assert "only 12 of 134 tasks" in out
    record = json.loads((place / "runs/grouped-word-sorting/gold/run.json").read_text())
    assert record["selection"]["only"] == {"task": "word", "subset": "sorting"}
    code, _, err = assay("run", "./grouped", "--model", "gold", "--only", "subset=sort", cwd=place)
    assert code == 2
    assert "no task has subset=sort; subset is all, five" in err


def test_a_score_that_does_not_fit_the_tasks_is_refused_before_anything_runs(place: Path, tmp_path: Path):
    shutil.copytree(place / "grouped", tmp_path / "grouped")
    toml = tmp_path / "grouped/published.toml"
    toml.write_text(toml.read_text().replace('subset = "sorting" }', 'subset = "sortin" }'))
    code, out, _ = assay("check", "./grouped", "--json", cwd=tmp_path)
    checks = {check["name"]: check["reason"] for check in json.loads(out)["checks"]}
    assert code == 3 and "no task has task=word and subset=sortin" in checks["published"]
    code, _, err = assay("profile", "./grouped", "--models", "gold", "--out", "p", cwd=tmp_path)
    assert code == 2 and "the published score of left, task=word, subset=sortin" in err
    assert not (tmp_path / "p/runs").exists()

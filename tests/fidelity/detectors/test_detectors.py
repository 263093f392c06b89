"""All detectors together: on planted failures of real models, on long runs, on attempts made good."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec import structs
from rich.console import Console
from rich.table import Table

from assay.fidelity.detectors import detect, detectors, find
from assay.fidelity.detectors.hits import MOST_SPOTTED
from assay.fidelity.detectors.search import load_detectors
from assay.types import Failure, Rollout, Task
from studies.detectors import TASKS, Author, labels, recall_rows, runs
from tests.fidelity.detectors.made import message, reasoning, rollout, said, task, turn

Runs = dict[str, list[Rollout]]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Runs]:
    """The five embedded models on arithmetic, twice."""
    folder = tmp_path_factory.mktemp("embedded")
    return folder, runs(folder)


@pytest.mark.heavy
def test_planted_failures_are_found_and_little_else(embedded: tuple[Path, Runs]):
    """Of 1,000 rollouts some were made to fail in twenty ways, and some to look so."""
    rows = [*recall_rows(Author(TASKS, embedded[1])), *labels(embedded[1], trials=5)]
    table = Table("what", "claim", "measured", "of", "holds")
    for row in rows:
        table.add_row(*row.cells())
    Console(width=120).print(table)
    measured = {row.what: row.measured for row in rows}
    assert measured["all detectors: planted, of those named"] >= 0.95
    assert measured["all detectors: named, of those planted"] >= 0.9
    assert measured["wrong labels in the top 4 %: five models"] >= 0.8
    below = [row.what for row in rows if row.holds is False]
    assert below == []


@pytest.mark.heavy
def test_honest_runs_have_next_to_nothing_to_show(embedded: tuple[Path, Runs]):
    for name in embedded[1]:
        folder = embedded[0] / name
        found = detect(folder, name)
        assert sum(finding.count for finding in found) <= 0.01 * 480, found


@pytest.mark.heavy
def test_the_speed_is_that_of_reading(embedded: tuple[Path, Runs]):
    """A profile of 4,800 short rollouts in well under a second: measured .36 s, on an idle core."""
    folder = embedded[0] / "nano-thinking"
    started = time.process_time()
    detect(folder, "nano-thinking")
    assert time.process_time() - started < 10 * 0.36 * 480 / 4800 + 0.1


def test_a_rollout_of_32_thousand_tokens_takes_milliseconds():
    thought = " ".join(f"Then step {n} adds {n * n % 97} to the {n % 13}th of them." for n in range(4000))
    one = rollout(turn(reasoning(thought), message(thought[:20_000] + "\nSo 7.")), answer="7")
    started = time.process_time()
    assert find("m", [task()], [one]) == []
    assert time.process_time() - started < 0.5


def test_a_failure_that_a_later_attempt_made_good_does_not_count():
    broken = rollout(outcome=Failure("model", "timeout", "no answer within 600 s", True))
    assert find("m", [task()], [broken, said("41", answer="41", attempt=1)]) == []
    (finding,) = find("m", [task()], [broken, structs.replace(broken, attempt=1)])
    assert (finding.detector, finding.count, finding.of) == ("failed: model/timeout", 1, 1)
    assert "timeout_s" in finding.reason


def test_of_two_scores_of_one_rollout_the_first_counts():
    found = find("m", [task()], [said("", answer=None), said("41", answer="41", attempt=1)])
    assert [finding.detector for finding in found] == ["empty output"]
    assert find("m", [task()], [said("41", answer="41"), said("", attempt=1)]) == []


def test_the_last_failure_tells_the_kind():
    kinds = ["http_500", "timeout"]
    broken = [rollout(outcome=Failure("model", kind, kind, True), attempt=n) for n, kind in enumerate(kinds)]
    assert [finding.detector for finding in find("m", [task()], broken)] == ["failed: model/timeout"]


def test_failures_stand_by_where_and_kind_the_most_common_first():
    kinds = [("verifier", "exception"), ("model", "timeout"), ("model", "timeout")]
    broken = [rollout(outcome=Failure(where, kind, kind, True), repeat=n) for n, (where, kind) in enumerate(kinds)]  # type: ignore[arg-type]
    found = find("m", [task()], broken)
    assert [(f.detector, f.count, f.suspect) for f in found] == [
        ("failed: model/timeout", 2, "environment"),
        ("failed: verifier/exception", 1, "verifier"),
    ]


def test_a_finding_counts_all_and_names_two_hundred():
    tasks = [Task(id=f"t{i}", input=[]) for i in range(300)]
    cut = [structs.replace(said("It", stop="token_cap"), task=task.id) for task in tasks]
    (finding,) = find("m", tasks, cut)
    assert (finding.count, finding.of, len(finding.spotted)) == (300, 300, MOST_SPOTTED)
    assert finding.reason.startswith("300 of 300 rollouts reached the token cap. ")


def test_every_detector_says_what_it_may_mean():
    assert all(one.meaning and one.description for one in load_detectors())
    assert list(detectors()) == [*(one.name for one in load_detectors()), "failures by kind"]
    failures = [Failure("model", "timeout", "", True), Failure("environment", "never heard of", "", False)]
    broken = [rollout(outcome=failure, repeat=repeat) for repeat, failure in enumerate(failures)]
    assert all(found.meaning and found.scope == "failure" for found in find("m", [task()], broken))


PACKAGE = """
from assay.fidelity.detectors.detector import RolloutDetector

DETECTOR = RolloutDetector(
    name="shouting",
    fault="model",
    what="shout",
    meaning="Nobody is deaf here.",
    spot=lambda one: one.text if one.text.isupper() else None,
)
"""


def installed_beside(site: Path, value: str) -> subprocess.CompletedProcess[str]:
    """What a process finds in a loud rollout where another package registers a detector."""
    (site / "shouting.py").write_text(PACKAGE)
    (site / "shouting-1.0.dist-info").mkdir()
    (site / "shouting-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    (site / "shouting-1.0.dist-info/entry_points.txt").write_text(f"[assay.detectors]\nshouting = {value}\n")
    code = (
        "from assay.fidelity.detectors import detectors, find\n"
        "from tests.fidelity.detectors.made import said, task\n"
        "print(detectors()['shouting'])\n"
        "print([found.reason for found in find('m', [task()], [said('FORTY ONE', answer='41')])])\n"
    )
    path = os.pathsep.join([str(site), str(Path(__file__).parents[3])])
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})


def test_a_detector_of_another_package_is_found(tmp_path: Path):
    done = installed_beside(tmp_path, "shouting:DETECTOR")
    assert done.stdout == "Rollouts that shout.\n['1 of 1 rollouts shout. Nobody is deaf here.']\n", done.stderr


def test_a_detector_that_is_none_is_named(tmp_path: Path):
    done = installed_beside(tmp_path, "shouting:PACKAGE")
    assert "detector shouting (shouting:PACKAGE) can't be imported" in done.stderr


def test_nothing_is_found_in_nothing():
    assert find("m", [], []) == []

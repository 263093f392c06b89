"""The simulations, with few trials, and the page that holds their tables."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from studies.__main__ import COLUMNS, PAGE, STUDIES, measure_all, with_table
from studies.row import Row, at_least, at_most, figure, share

TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def quick() -> dict[str, list[Row]]:
    """The studies that the claims below are about; enough trials to refute them, and no more."""
    return dict(measure_all(["parity", "parity-by-repeats", "stopping"], 200))


def those(rows: list[Row], words: str) -> list[Row]:
    found = [row for row in rows if re.search(words, row.what)]
    assert found, f"no line is about {words}"
    return found


@pytest.mark.slow
def test_twice_the_margin_is_called_equivalent_in_under_one_percent(quick):
    for row in those(quick["parity"], r"^twice the margin apart, called equivalent"):
        assert row.claim == at_most(0.01) and row.holds, row.what


@pytest.mark.slow
def test_equal_systems_are_called_equivalent_in_four_of_five_at_the_k_that_was_asked_for(quick):
    for row in those(quick["parity"], r"^equal systems called equivalent|^the same, all repeats made anew"):
        assert row.claim == at_least(0.8) and row.holds, row.what


@pytest.mark.slow
def test_no_number_of_repeats_makes_a_false_pass_likely_and_overlapping_ranges_do(quick):
    rows = quick["parity-by-repeats"]
    assert all(row.holds for row in those(rows, r"apart, called equivalent: \d+ repeats"))
    assert all(row.holds for row in those(rows, r"^the same from \d+ repeats on"))
    assert all(row.holds for row in those(rows, r"^largest rise .* twice the margin"))
    overlaps = [row.measured for row in those(rows, r"ranges overlap")]
    assert overlaps == sorted(overlaps) and overlaps[0] < 0.4 and overlaps[-1] > 0.95


@pytest.mark.slow
def test_stopping_once_the_score_stands_still_moves_neither_score_nor_coverage_away_from_the_ends(quick):
    rows = [row for row in quick["stopping"] if "near 1" not in row.what]
    assert all(row.holds for row in those(rows, r"^bias|covers|truly at the target"))


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name",
    # These run the embedded models and the planner.
    [pytest.param(name, marks=[pytest.mark.slow] * (name in ("detectors", "gate-detection"))) for name in STUDIES],
)
def test_the_page_has_the_lines_of_the_code(name):
    """What was simulated and what is claimed; the figures take `python -m studies`."""
    found = re.search(rf"<!-- table: {name} -->\n(.*?)<!-- end -->", TEXT, re.DOTALL)
    assert found, f"docs/statistics.md has no place for {name}"
    lines = [line.strip("| ").split(" | ") for line in found[1].strip().splitlines()]
    assert tuple(lines[0]) == COLUMNS
    assert [cells[:2] for cells in lines[2:]] == [list(row.cells()[:2]) for row in STUDIES[name](20)]


def test_every_table_of_the_page_has_a_study():
    assert sorted(re.findall(r"<!-- table: (\S+) -->", TEXT)) == sorted(STUDIES)


def test_a_claim_is_refuted_by_three_errors():
    assert share("", [True] * 90 + [False] * 10, at_most(0.05)).holds is False
    assert share("", [True] * 6 + [False] * 94, at_most(0.05)).holds is True
    assert share("", [False] * 100, at_least(0.8)).holds is False
    assert figure("", 34, (34, 34)).holds is True
    assert figure("", 35, (34, 34)).holds is False
    assert share("", [True]).holds is None


def test_a_table_takes_the_place_of_the_old_one_and_nothing_else():
    rows = [share("a", [True, False], at_most(0.5))]
    page = "before\n<!-- table: x -->\nstale\n<!-- end -->\nafter <!-- end -->\n"
    once = with_table(page, "x", rows)
    assert "stale" not in once and once.startswith("before\n") and once.endswith("after <!-- end -->\n")
    assert "at most 50 % | 50" in once
    assert with_table(once, "x", rows) == once
    with pytest.raises(ValueError, match="places for y"):
        with_table(page, "y", rows)


@pytest.mark.heavy
def test_the_command_prints_one_study_and_leaves_the_page():
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", "studies", "--quick"]
    done = subprocess.run([*command, "allocation"], cwd=root, capture_output=True, text=True, check=True)
    assert "allocation" in done.stdout and "rollouts saved" in done.stdout
    assert PAGE.read_text(encoding="utf-8") == TEXT
    refused = subprocess.run([*command, "alocation"], cwd=root, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "there are intervals, " in refused.stderr

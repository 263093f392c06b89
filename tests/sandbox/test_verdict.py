"""Solutions that attack their judge: none passes, whoever runs Assay."""

import asyncio
import os
from pathlib import Path

import pytest

from assay.benchmark.verify.code import CheckResult, check_code
from tests.sandbox.attacks import ATTACKS, REACH, TESTS
from tests.sandbox.available import needs_bubblewrap
from tests.sandbox.programs import REPOSITORY, as_nobody, python

pytestmark = needs_bubblewrap


def verdicts(*codes: str, tests: str = TESTS, timeout_s: float = 5.0) -> list[CheckResult]:
    async def judged() -> list[CheckResult]:
        checks = (check_code([[code]], entry_point="add", tests=tests, timeout_s=timeout_s) for code in codes)
        return await asyncio.gather(*checks)

    return asyncio.run(judged())


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_passes_and_none_is_a_failure_of_the_sandbox(name: str) -> None:
    (found,) = verdicts(ATTACKS[name])
    assert not found.passed, found


def test_a_fraction_can_not_be_made_to_lie_between_any_two_numbers() -> None:
    tests = "def check(candidate):\n    assert 4 <= candidate(2, 3) <= 6\n    assert 4 <= candidate(2, 3) <= 6\n"
    (found,) = verdicts(ATTACKS["writes a number that lies between any two"], tests=tests)
    assert not found.passed, found
    (found,) = verdicts("from fractions import Fraction\ndef add(a, b): return Fraction(a + b)", tests=tests)
    assert found.passed, found


def test_a_solution_opens_nothing_of_the_judges() -> None:
    (found,) = verdicts(REACH, tests="def check(candidate):\n    assert not candidate(), candidate()\n", timeout_s=20)
    assert found.passed, found


@pytest.mark.slow
def test_none_of_two_hundred_tries_passes() -> None:
    tries = -(-200 // len(ATTACKS))
    assert not any(found.passed for found in verdicts(*(code for code in ATTACKS.values() for _ in range(tries))))


@pytest.mark.heavy
@pytest.mark.skipif(os.geteuid() != 0, reason="these tests run as such a user already")
@pytest.mark.parametrize("mark", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_the_same_holds_for_a_user_who_is_not_root(mark: str) -> None:
    file = str(Path(__file__).relative_to(REPOSITORY))
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=", "-m", mark)
    tests = as_nobody(python(), "-m", "pytest", *options, file)
    if "skipped" in tests.stdout and "passed" not in tests.stdout:
        pytest.skip(f"users have no sandboxes here:\n{tests.stdout}")
    assert tests.returncode == 0, tests.stdout + tests.stderr

"""The same hostile programs, where Assay runs as a user who is not root: by other means, with the same end."""

import os

import pytest

from tests.sandbox.available import needs_bubblewrap
from tests.sandbox.programs import as_nobody, python


@pytest.mark.heavy
@needs_bubblewrap
@pytest.mark.skipif(os.geteuid() != 0, reason="these tests run as such a user already")
def test_hostile_programs_are_stopped_for_a_user_too() -> None:
    tests = as_nobody(
        python(), "-m", "pytest", "-n", "0", "-q", "-rs", "-p", "no:cacheprovider", "tests/sandbox/test_hostile.py"
    )
    if "skipped" in tests.stdout and "passed" not in tests.stdout:
        pytest.skip(f"users have no sandboxes here:\n{tests.stdout}")
    assert tests.returncode == 0, tests.stdout + tests.stderr

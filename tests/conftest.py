"""What holds for all tests, and for the processes that they start."""

import os
import sys

import pytest
from hypothesis import settings

# Bytecode is kept: hundreds of processes are started, and compiling takes as long as all else in a short one.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Tests have the cores already, and only a process of one thread can be forked safely (tests/forking.py).
os.environ["OPENBLAS_NUM_THREADS"] = "1"


# Hypothesis' deadline is of wall-clock time.
settings.register_profile("assay", deadline=None)
settings.load_profile("assay")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` is: twice the cores, because tests of commands and servers wait for about half of their time."""
    return 2 * (os.cpu_count() or 1)

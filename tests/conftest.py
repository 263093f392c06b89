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


@pytest.hookimpl(optionalhook=True)  # where xdist is not loaded, there are no workers
def pytest_xdist_auto_num_workers() -> int:
    """Returns one more than there are cores: with as many, the cores were idle for a quarter of the time (603 s for
    880 s of CPU time on two), because tests wait for servers, processes and browsers."""
    return (os.cpu_count() or 1) + 1


# Hypothesis' deadline is of wall-clock time.
settings.register_profile("assay", deadline=None)
settings.load_profile("assay")

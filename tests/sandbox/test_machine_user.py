"""Machines where Assay runs as a user who is not root: in a user namespace, with the same end."""

import os
import shutil
from pathlib import Path

import pytest

from tests.sandbox.programs import NOBODY, as_nobody, python

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="these tests run as such a user already"),
    pytest.mark.skipif(shutil.which("newuidmap") is None, reason="needs newuidmap: apt install uidmap"),
]
SHORT = "user_folder or moved or fork_bomb or no_link_leads_out or outlives or layers or root_tries"


@pytest.mark.heavy
@pytest.mark.parametrize("names", [SHORT, pytest.param("machine", marks=pytest.mark.slow)], ids=["some", "all"])
def test_machines_hold_for_a_user_who_is_not_root(names: str, tmp_path: Path):
    (tmp_path / "subids").write_text(f"{NOBODY}:3000000:65535\n")
    bound = "".join(f"mount --bind {tmp_path}/subids /etc/{name} && " for name in ("subuid", "subgid"))
    options = ("-n", "0", "-q", "-p", "no:cacheprovider", "-k", names)
    files = ("tests/sandbox/test_machine.py", "tests/sandbox/test_machine_hostile.py")
    tests = as_nobody(
        *(python(), "-m", "pytest", *options, *files),
        before=("unshare", "--mount", "sh", "-c", f'{bound}exec "$@"', "bound"),
    )
    if "skipped" in tests.stdout and "passed" not in tests.stdout:
        pytest.skip(f"users have no machines here:\n{tests.stdout}")
    assert tests.returncode == 0, tests.stdout + tests.stderr

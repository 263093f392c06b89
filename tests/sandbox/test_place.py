"""Where a command's sandboxes are opened is the user's choice, and nothing unsafe is ever chosen for them."""

import json
import shutil
from pathlib import Path

import pytest

from assay.errors import UsageError
from assay.sandbox import Place
from tests.commands import assay

REFUSED = {
    "subprocess": "shuts nothing off",
    "chroot": "expected bubblewrap, docker",
    "bubblewrap:image": "expected bubblewrap, docker",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_place_that_is_none_or_unsafe_is_refused(text: str):
    with pytest.raises(UsageError, match=REFUSED[text]):
        Place.parse(text)


def test_a_docker_image_may_be_named():
    assert Place.parse("docker:ghcr.io/me/python:3.13") == Place("docker", "ghcr.io/me/python:3.13")
    assert Place.parse("subprocess", unsafe=True) == Place("subprocess", unsafe=True)


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_the_place_of_a_command_is_in_its_record(tmp_path: Path):
    code, _, err = assay("new", "benchmark", "sums", "--kind", "code", cwd=tmp_path)
    assert code == 0, err
    command = ["run", "./sums", "--model", "gold", "--repeats", "1", "--out", "run", "--sandbox", "subprocess"]
    code, _, err = assay(*command, cwd=tmp_path)
    assert (code, "shuts nothing off" in err) == (2, True)
    assert not (tmp_path / "run").exists()
    code, out, err = assay(*command, "--unsafe", cwd=tmp_path)
    assert code == 0, err
    assert "score 100.0%" in out
    assert json.loads((tmp_path / "run/run.json").read_bytes())["versions"]["sandbox"] == "subprocess"

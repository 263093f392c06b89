"""`--sbatch`: the job goes on where its time limit ends it. Bash runs it, and gets the signal that Slurm would send."""

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.commands import ENVIRONMENT, assay, scored, until
from tests.endpoint import Endpoint, answering

RUN = ("run", "arithmetic", "--repeats", "1", "--limit", "60", "--concurrency", "4", "--out", "a run")


def submit(folder: Path, job: str) -> "subprocess.Popen[str]":
    """The job as Slurm starts it, with a `scontrol` that writes down what it is told."""
    bin = folder / "bin"
    bin.mkdir(exist_ok=True)
    scontrol = bin / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> "{folder}/queue"\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    env = ENVIRONMENT | {"PATH": f"{bin}:{os.environ['PATH']}", "SLURM_JOB_ID": "77"}
    pipe = subprocess.PIPE
    return subprocess.Popen(["bash", job], cwd="/", env=env, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.heavy
def test_a_job_is_queued_again_at_its_time_limit_and_goes_on(tmp_path: Path):
    job = tmp_path / "job 1.sh"
    with Endpoint(answering("42", delay_s=0.1)) as endpoint:
        command = (*RUN, "--model", "chat:m", "--base-url", endpoint.url, "--sbatch", str(job))
        code, out, err = assay(*command, cwd=tmp_path)
        assert (code, endpoint.calls) == (0, []), err
        assert out == f"sbatch --time=04:00:00 --cpus-per-task=4 '{job}'\n"
        assert "--sbatch" not in job.read_text().split("cd ")[1]
        process = submit(tmp_path, str(job))
        until(lambda: len(endpoint.calls) > 8)
        process.send_signal(signal.SIGUSR1)
        _, said = process.communicate(timeout=60)
        assert "finishing what is in flight" in said
        assert process.returncode == 0
        assert (tmp_path / "queue").read_text() == "requeue 77\n"
        first = len(endpoint.calls)
        assert len(scored(tmp_path / "a run")) == first < 60
        process = submit(tmp_path, str(job))
        out, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert len(endpoint.calls) == 60
    assert list(scored(tmp_path / "a run").values()) == [1] * 60
    assert (tmp_path / "queue").read_text() == "requeue 77\n"


def test_a_job_that_fails_is_not_queued_again(tmp_path: Path):
    job = tmp_path / "job.sh"
    assert assay("profile", "arithmetic", "--models", "gold", "--out", "p", f"--sbatch={job}", cwd=tmp_path)[0] == 0
    (tmp_path / "p").write_text("no directory")
    process = submit(tmp_path, str(job))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert not (tmp_path / "queue").exists()


def test_a_command_that_is_wrong_writes_no_job(tmp_path: Path):
    code, _, err = assay("run", "nowhere", "--model", "gold", "--sbatch", "job.sh", cwd=tmp_path)
    assert (code, (tmp_path / "job.sh").exists()) == (2, False)
    assert "there is no benchmark 'nowhere'" in err

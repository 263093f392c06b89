"""`--sbatch FILE`: a job for Slurm that goes on where its time limit ends it."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Sbatch = Annotated[
    Path | None,
    Parameter(
        help="Run nothing: write this command as a job for Slurm's sbatch, which is queued again at its time limit and "
        "goes on."
    ),
]
SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=assay
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
# Submit it with: sbatch --time=04:00:00 --cpus-per-task=4 {file}
# 300 s before the time limit, Assay finishes what is in flight. The job is then queued again and goes on.
cd {folder} || exit
{command} &
assay=$!
trap 'stopped=1; kill -INT $assay; (sleep 240; kill -TERM $assay) > /dev/null 2>&1 &' USR1
# The signal ends `wait` with 138.
while wait $assay; code=$?; [ $code -eq 138 ]; do :; done
if [ -n "$stopped" ] && [ $code -eq 130 -o $code -eq 143 ]; then exec scontrol requeue "$SLURM_JOB_ID"; fi
exit $code
"""


def write_job(file: Path) -> int:
    """Write the present command, without --sbatch, as a job. Returns the exit code."""
    rest = list(sys.argv[1:])
    at = next(index for index, word in enumerate(rest) if word.partition("=")[0] == "--sbatch")
    del rest[at : at + (1 if "=" in rest[at] else 2)]
    command = shlex.join([sys.executable, "-m", "assay.cli", *rest])
    name = shlex.quote(str(file))
    file.write_text(SCRIPT.format(file=name, folder=shlex.quote(str(Path.cwd())), command=command), encoding="utf-8")
    print(f"sbatch --time=04:00:00 --cpus-per-task=4 {name}")
    return 0

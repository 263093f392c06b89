"""`assay import` and `assay export`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from assay.cli.options import Assignments
from assay.errors import UsageError
from assay.exports import KINDS, formats_for, write
from assay.exports.from_atif import import_atif, is_trajectory
from assay.exports.from_log import Import, import_log
from assay.gyms.logs import log_files
from assay.gyms.nemo_gym.interchange import import_nemo_gym


def _formats() -> str:
    return "; ".join(f"of a {kind}: {', '.join(names)}" for kind in KINDS if (names := formats_for(kind)))


def import_(
    *what: Annotated[str, Parameter(name="what")],
    out: Path | None = None,
    score: str | None = None,
    url: str = "http://127.0.0.1:8000",
    gold_field: str | None = None,
) -> None:
    """Make a run of another program's rollouts, or a benchmark's folder of NeMo Gym's tasks.

    A run can be read in `assay view`, and detectors look at it (`assay failures`). Files are known by their content:
    logs of Inspect (.eval and JSON), lm-evaluation-harness (--log_samples), NeMo Gym, verifiers (--save-results) and
    bfcl-eval, folders of Harbor's jobs, and trajectories in ATIF.

    With nemo-gym before the file, its tasks become a benchmark; run it by its path. Environments that can't be driven
    are refused by name: aviary, OpenEnv, genrm_compare, and those that hand over a sandbox.

    Parameters
    ----------
    what
        The files of one run, or their folder; or nemo-gym and the file of rows for a resources server.
    out
        The folder of the run or benchmark. Default: the first file's name without its ending, in this directory.
    score
        The score that is the reward, where a sample of the log has several. Default: the first. The others are metrics.
    url
        For nemo-gym: the URL of the resources server. It is written to benchmark.py; change it there. If it is up, it
        is asked which routes it has.
    gold_field
        For nemo-gym: the rows' field that holds the reference answer, such as expected_answer or metadata.answer, for
        the gates that need one. If the verifier wants more than the bare answer, change `gold` in benchmark.py.
    """
    kind, files = (what[0], what[1:]) if what and what[0] in ("nemo-gym", "atif") else ("", what)
    if not files:
        raise UsageError(f"no files; expected assay import{f' {kind}' if kind else ''} FILE")
    folder = out or Path(Path(files[0]).resolve().stem)
    if kind == "nemo-gym":
        _import_tasks(files, folder, url, gold_field)
    else:
        _import_run([*map(Path, files)], folder, score, is_atif=kind == "atif")


def _import_run(files: Sequence[Path], folder: Path, score: str | None, *, is_atif: bool) -> None:
    if is_atif or is_trajectory(files[0]):
        rollouts, tasks = import_atif(files, folder)
        result = Import("ATIF", rollouts, tasks, None)
    else:
        result = import_log(log_files([*map(str, files)]), folder, score)
    reward = f" The reward is {result.score} (--score chooses another)." if result.score else ""
    print(f"{result.rollouts} rollouts of {result.tasks} tasks of {result.harness} are in {folder}.{reward}")
    print(f"  assay view {_as_argument(folder)}\n  assay failures {_as_argument(folder)}")


def _import_tasks(files: Sequence[str], folder: Path, url: str, gold_field: str | None) -> None:
    if len(files) > 1:
        raise UsageError(f"{len(files)} files; expected one of NeMo Gym's rows")
    result = import_nemo_gym(Path(files[0]), folder, url=url, gold_field=gold_field)
    print(f"{result.tasks} tasks are in {folder}. With the server at {url}:")
    print(f"  assay check {_as_argument(folder)}\n  assay run {_as_argument(folder)} --model MODEL")
    if result.dropped:
        print(f"Not carried over, since a run here doesn't send it: {', '.join(result.dropped)}")


def _as_argument(folder: Path) -> str:
    return str(folder) if folder.is_absolute() else f"./{folder}"


def export(
    what: str,
    /,
    *,
    gym: Annotated[str | None, Parameter(name="--format", help=_formats())] = None,
    out: Path | None = None,
    assign: Assignments = (),
) -> None:
    """Write a benchmark, a run or a profile in the form that another program reads.

    What a format can't hold is refused by name. `assay list exports` says what each format is.

    Parameters
    ----------
    what
        A benchmark's name or path, or the directory of a run or a profile.
    out
        The file or folder. Default: BENCHMARK-FORMAT in this directory, or FORMAT in the run's or profile's.
    assign
        An option of the format, such as --set min_reward=0.5 or --set parquet=true for sft, dpo and rft.
    """
    print(write(what, gym, out, assign))

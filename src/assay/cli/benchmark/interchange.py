"""`assay import` and `assay export`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from assay.cli.options import Assignments
from assay.errors import UsageError
from assay.exports import KINDS, formats_for, write
from assay.exports.from_atif import import_atif
from assay.gyms.nemo_gym.interchange import import_nemo_gym


def _formats() -> str:
    return "; ".join(f"of a {kind}: {', '.join(names)}" for kind in KINDS if (names := formats_for(kind)))


def import_(
    gym: Annotated[Literal["nemo-gym", "atif"], Parameter(name="format")],
    /,
    *files: Path,
    out: Path | None = None,
    url: str = "http://127.0.0.1:8000",
    gold_field: str | None = None,
) -> None:
    """Make a benchmark's folder of another gym's tasks, or a run of another program's trajectories.

    Run the benchmark by its path: assay run ./FOLDER --model MODEL. Environments that can't be driven are refused by
    name: gymnasium, aviary, OpenEnv, genrm_compare, and those that hand over a sandbox or an MCP server.

    Parameters
    ----------
    gym
        nemo-gym (a JSONL file of rows for a resources server), or atif (trajectories of one run, such as Harbor's).
    files
        The file of tasks; or the files of trajectories, or a folder of them.
    out
        The folder of the benchmark or run. Default: the first file's name without its ending, in this directory.
    url
        For nemo-gym: the URL of the resources server. It is written to benchmark.py; change it there. If it is up, it
        is asked which routes it has.
    gold_field
        For nemo-gym: the rows' field that holds the reference answer, such as expected_answer or metadata.answer, for
        the gates that need one. If the verifier wants more than the bare answer, change `gold` in benchmark.py.
    """
    if not files:
        raise UsageError(f"no files; expected assay import {gym} FILE")
    first, *others = files
    folder = out or Path(first.resolve().stem)
    shown = folder if folder.is_absolute() else f"./{folder}"
    if gym == "atif":
        rollouts, tasks = import_atif(files, folder)
        print(f"{rollouts} rollouts of {tasks} tasks are in {folder}:\n  assay failures {shown}")
        return
    if others:
        raise UsageError(f"{len(files)} files; expected one of NeMo Gym's rows")
    made = import_nemo_gym(first, folder, url=url, gold_field=gold_field)
    print(f"{made.tasks} tasks are in {folder}. With the server at {url}:")
    print(f"  assay check {shown}\n  assay run {shown} --model MODEL")
    if made.dropped:
        print(f"Not carried over, since a run here doesn't send it: {', '.join(made.dropped)}")


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

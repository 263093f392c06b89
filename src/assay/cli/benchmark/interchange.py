"""`assay import` and `assay export`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from assay.benchmark.catalog import load
from assay.gyms.nemo_gym.interchange import export_run, export_tasks, failures_beside, import_nemo_gym
from assay.input import is_present


def import_(
    gym: Literal["nemo-gym"],
    file: Path,
    /,
    *,
    out: Path | None = None,
    url: str = "http://127.0.0.1:8000",
    gold_field: str | None = None,
) -> None:
    """Make a benchmark's folder from another gym's tasks.

    Run it by its path: assay run ./FOLDER --model MODEL. Environments that can't be driven are refused by name:
    gymnasium, aviary, OpenEnv, genrm_compare, and those that hand over a sandbox or an MCP server.

    Parameters
    ----------
    gym
        The gym: nemo-gym (a JSONL file of rows for a resources server).
    file
        The file of tasks.
    out
        The benchmark's folder. Default: the file's name without its ending, in this directory.
    url
        The URL of the resources server. It is written to benchmark.py; change it there. If it is up, it is asked which
        routes it has.
    gold_field
        The rows' field that holds the reference answer, such as expected_answer or metadata.answer, for the gates that
        need one. If the verifier wants more than the bare answer, change `gold` in benchmark.py.
    """
    folder = out or Path(file.stem)
    made = import_nemo_gym(file, folder, url=url, gold_field=gold_field)
    shown = folder if folder.is_absolute() else f"./{folder}"
    print(f"{made.tasks} tasks are in {folder}. With the server at {url}:")
    print(f"  assay check {shown}\n  assay run {shown} --model MODEL")
    if made.dropped:
        print(f"Not carried over, since a run here doesn't send it: {', '.join(made.dropped)}")


def export(
    what: str,
    /,
    *,
    gym: Annotated[Literal["nemo-gym"], Parameter(name="--format")] = "nemo-gym",
    out: Path | None = None,
) -> None:
    """Write a run's rollouts, or a benchmark's tasks, as another gym's rows.

    Parameters
    ----------
    what
        A run directory, or a benchmark's name or path.
    gym
        The gym: nemo-gym.
    out
        The file. Default: nemo-gym.jsonl in the run directory, or BENCHMARK.jsonl in this directory.
    """
    folder = Path(what)
    if not is_present(folder / "run.json"):
        benchmark = load(what)
        file = out or Path(f"{benchmark.name.replace('/', '-')}.jsonl")
        print(f"{export_tasks(benchmark, file)} tasks are in {file}")
        return
    file = out or folder / f"{gym}.jsonl"
    scored, failed = export_run(folder, file)
    print(f"{scored} rollouts are in {file}, {failed} failures in {failures_beside(file)}")

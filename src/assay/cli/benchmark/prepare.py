"""`assay prepare`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from assay.benchmark.catalog import load
from assay.benchmark.data import download, is_prepared, place, take, take_all


def prepare(benchmark: str, /, *, file: Annotated[Path | None, Parameter(name="--from")] = None) -> None:
    """Get the data of a benchmark that is not in the package, once.

    It goes into the folder ASSAY_DATA, or the user's cache. A file that has another SHA-256 than the benchmark says is
    not kept. Data of the Hugging Face Hub go where HF_HOME says; a run needs no network after that.

    Parameters
    ----------
    benchmark
        A benchmark's name (see `assay list benchmarks`), the path of its folder, or such as maths:hf:ORG/NAME.
    file
        The data file, or a folder that holds the data files by any names, if you have them already. Then nothing is
        downloaded.
    """
    chosen = load(benchmark)
    if chosen.files:
        print("\n".join(str(path) for path in chosen.files.values()))
        return
    if not chosen.data:
        print(f"{chosen.name} needs nothing: its tasks are in the package")
        return
    if file is not None:
        kept = take_all(chosen.name, chosen.data, file) if file.is_dir() else [take(chosen.name, chosen.data, file)]
        print("\n".join(map(str, kept)))
        return
    for source in chosen.data:
        if is_prepared(chosen.name, source):
            print(f"{place(chosen.name, source)} is there already")
        else:
            print(download(chosen.name, source))

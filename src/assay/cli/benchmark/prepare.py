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
    bench = load(benchmark)
    if bench.files:
        print("\n".join(str(path) for path in bench.files.values()))
        return
    if not bench.data:
        print(f"{bench.name} needs nothing: its tasks are in the package")
        return
    if file is not None:
        paths = take_all(bench.name, bench.data, file) if file.is_dir() else [take(bench.name, bench.data, file)]
        print("\n".join(map(str, paths)))
        return
    for source in bench.data:
        if is_prepared(bench.name, source):
            print(f"{place(bench.name, source)} is there already")
        else:
            print(download(bench.name, source))

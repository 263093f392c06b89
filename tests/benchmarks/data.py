"""The data sets that lie beside the repository where it is developed. What needs them is skipped elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.benchmark import Benchmark
from assay.benchmark.data import take

DATA = Path(__file__).parents[3] / "shared" / "data"


def beside(*names: str) -> Path:
    """A file of the data sets. Skips the test where there is none."""
    path = DATA.joinpath(*names)
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    return path


def prepare(benchmark: Benchmark, file: Path, folder: Path) -> Iterator[Benchmark]:
    """The benchmark, with its data in a folder of its own as long as the generator lives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_DATA", str(folder))
        take(benchmark.name, benchmark.data, file)
        yield benchmark

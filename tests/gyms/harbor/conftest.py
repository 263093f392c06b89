"""A benchmark of one Harbor task, in a small root of this machine's programs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.errors import UsageError
from assay.sandbox import Place
from assay.sandbox.machine import check_machine
from tests.gyms.harbor.made import write_task
from tests.roots import small_root
from tests.sandbox.engines import ENGINES, KINDS, machines_here


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        check_machine()
    except UsageError as error:
        pytest.skip(str(error))
    return small_root(tmp_path_factory.mktemp("root") / "small.tar")


@pytest.fixture
def images(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the images of these tests are kept, and which solutions were played."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent))
    return root.parent


@pytest.fixture(params=KINDS)
def provider(request: pytest.FixtureRequest) -> Place:
    """Whose machines the tasks get."""
    machines_here(request.param)
    return Place.parse(request.param, own=ENGINES)


@pytest.fixture
def make(tmp_path: Path, root: Path, images: Path, provider: Place) -> Callable[..., Benchmark]:
    def made(toml: str = "", **files: str) -> Benchmark:
        return load(f"harbor:{write_task(tmp_path / 'task', toml, **files)},image=small={root}").with_place(provider)

    return made

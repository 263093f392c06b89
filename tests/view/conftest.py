"""A folder with a run and a profile, and a viewer over it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

import assay
from assay.view.server import Viewer
from tests.browser import browser
from tests.commands import assay as command
from tests.view.client import Client

__all__ = ["browser"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and a profile of two small models, as the commands make them. Copy it to change it: `folder` does."""
    top = tmp_path_factory.mktemp("view")
    assay.sync.run("arithmetic", model="nano-thinking", limit=12, repeats=2, out=top / "runs/arithmetic/nano-thinking")
    models = ["nano-thinking", "nano-instruct"]
    made = assay.sync.profile("arithmetic", models=models, limit=12, repeats=2, out=top / "profiles/arithmetic")
    made.report()
    return top


RUN = "runs~arithmetic~nano-thinking"
PROFILE = "profiles~arithmetic"


def capped(out: Path) -> None:
    """Makes a profile of a model whose answers are cut, so that there is a finding to explain."""
    models, cap = ("--models", "nano-instruct"), "models.nano-instruct.sampling.max_output_tokens=2"
    code, _, err = command(
        "profile", "arithmetic", *models, "--limit", "8", "--set", cap, "--out", str(out), cwd=out.parent
    )
    assert code == 0, err


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of `made`, to change."""
    return Path(shutil.copytree(made, tmp_path / "view"))


@pytest.fixture
def served() -> Iterator[Callable[[Path], Client]]:
    """Begins a viewer over a folder, and returns a client of it."""
    with ExitStack() as stack:
        yield lambda folder: Client(stack.enter_context(Viewer(folder)).url)


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    """A client of a viewer over `folder`, which may be written."""
    with Viewer(folder) as viewer:
        yield Client(viewer.url)


@pytest.fixture(scope="module")
def shown(made: Path) -> Iterator[Client]:
    """A client of a viewer over `made`, for tests that only look."""
    with Viewer(made, read_only=True) as viewer:
        yield Client(viewer.url)


@pytest.fixture
def tab(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address in Chromium, at a width and in a scheme. What the page complains about fails the test."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_page(address: str, width: int = 1400, scheme: str = "light") -> Page:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        pages.append(page)
        page.on("console", lambda message: complaints.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.goto(address)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []

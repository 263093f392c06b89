"""Every page of the viewer as axe sees it: `pytest -m axe`, with the path of axe-core's axe.min.js in ASSAY_AXE."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from assay.view.index.build import build
from assay.view.server import Viewer
from tests.view.conftest import PROFILE, RUN, capped
from tests.view.hostile import made_hostile

pytestmark = pytest.mark.axe
IN_PROFILE = f"{PROFILE}~runs~nano-thinking"
PAGES = {
    "home": "/",
    "matrix": "/matrix",
    "run": f"/runs/{RUN}",
    "filtered": f"/runs/{RUN}?reward=..0.5&q=the",
    "nothing": f"/runs/{RUN}?q=nowhere",
    "rollout": f"/runs/{IN_PROFILE}/rollouts/TASK/0",
    "hostile rollout": f"/runs/{RUN}/rollouts/TASK/0",
    "profile": f"/profiles/{PROFILE}",
    "side by side": f"/runs/{IN_PROFILE}/rollouts/TASK/0?with=1@{IN_PROFILE}",
    "compare": f"/compare?run={IN_PROFILE}&run={PROFILE}~runs~nano-instruct",
    "who reads": f"/profiles/{PROFILE}/review?name=1",
    "review": f"/profiles/{PROFILE}/review",
    "finding": "/profiles/profiles~capped/review",
    "end of review": f"/profiles/{PROFILE}/review?end=1",
    "not there": "/runs/gone",
}


@pytest.fixture(scope="module")
def viewer(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a viewer over runs of which one is hostile, and the id of a task."""
    folder = tmp_path_factory.mktemp("axe") / "view"
    task = made_hostile(made, folder)
    capped(folder / "profiles/capped")
    for run in folder.rglob("run.json"):
        build(run.parent)
    with Viewer(folder) as viewer:
        yield viewer.url.rstrip("/"), task


@pytest.fixture(scope="module")
def axe() -> str:
    path = os.environ.get("ASSAY_AXE")
    if not path:
        pytest.skip("ASSAY_AXE names no axe.min.js: npm install axe-core")
    return Path(path).read_text(encoding="utf-8")


# What axe finds by width is apart from what it finds by scheme: two windows show both of each.
@pytest.fixture(params=[(1400, "light"), (420, "dark")], ids=lambda one: f"{one[0]}-{one[1]}")
def opened(
    request: pytest.FixtureRequest, browser: Browser, viewer: tuple[str, str]
) -> Iterator[Callable[[str], Page]]:
    """Opens a page at a width and in a scheme, as a reader who has said who they are."""
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.add_cookies([{"name": "reader", "value": "Ada", "url": viewer[0]}])
    page = context.new_page()

    def go(path: str) -> Page:
        answer = page.goto(viewer[0] + path.replace("TASK", viewer[1]))
        assert answer and answer.status == (404 if path == PAGES["not there"] else 200)
        page.wait_for_load_state()
        return page

    yield go
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_no_page_has_a_violation(name: str, opened: Callable[[str], Page], axe: str):
    page = opened(PAGES[name])
    page.evaluate(axe)
    found: Any = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    told = [
        f"{one['id']} ({one['impact']}): {node['html'][:200]}: {node['failureSummary'][:300]}"
        for one in found["violations"]
        for node in one["nodes"][:3]
    ]
    assert not told, "\n".join(told)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the window"


def tab_to(page: Page, text: str) -> None:
    """Press Tab until what has the focus begins with a text."""
    for _ in range(150):
        page.keyboard.press("Tab")
        seen: str = page.evaluate("(document.activeElement.innerText || document.activeElement.ariaLabel || '').trim()")
        if seen.startswith(text):
            return
    pytest.fail(f"Tab never leads to {text!r} on {page.url}")


def test_by_keyboard_alone(opened: Callable[[str], Page], viewer: tuple[str, str]):
    page = opened("/")
    tab_to(page, "Skip to the content")
    with page.expect_navigation():
        tab_to(page, "arithmetic")
        page.keyboard.press("Enter")
    page.goto(f"{viewer[0]}/runs/{PROFILE}~runs~nano-instruct")
    if not page.get_by_role("link", name="failing").is_visible():
        tab_to(page, "Filters")
        page.keyboard.press("Enter")
    tab_to(page, "failing")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.wait_for_selector("table.rows")
    with page.expect_navigation():
        page.keyboard.press("j")
        page.keyboard.press("Enter")
    with page.expect_navigation():
        page.keyboard.press("j")
    task = page.url
    page.keyboard.press("n")
    page.keyboard.type("by keys")
    page.keyboard.press("Escape")
    with page.expect_navigation():
        page.keyboard.press("u")
    assert page.get_by_text("by keys").first.is_visible() and page.url.partition("?")[0] == task.partition("?")[0]
    with page.expect_navigation():
        page.keyboard.press("z")
    assert not page.get_by_text("by keys").count()
    with page.expect_navigation():
        page.keyboard.press("b")
    assert "outcome=failing" in page.url

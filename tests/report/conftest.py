"""Pages in a real browser. Tests that need one are skipped where there is no Chromium."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
Open = Callable[..., tuple[Page, list[str]]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module, not of the session: while it is open, this thread can run no other event loop."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens a page at a width and in a scheme: the page, and whatever it complains about or asks for."""
    tabs: list[Page] = []

    def open_page(path: Path, width: int, scheme: str = "light") -> tuple[Page, list[str]]:
        seen: list[str] = []
        uri = path.as_uri()
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        tabs.append(tab)
        tab.on("console", lambda message: seen.append(f"console {message.type}: {message.text}"))
        tab.on("pageerror", lambda error: seen.append(f"error: {error}"))
        tab.on("request", lambda request: seen.append(f"request: {request.url}") if request.url != uri else None)
        tab.goto(uri)
        return tab, seen

    yield open_page
    for tab in tabs:
        tab.close()

"""Pages in a real browser."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import browser

__all__ = ["browser"]
Open = Callable[..., tuple[Page, list[str]]]


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

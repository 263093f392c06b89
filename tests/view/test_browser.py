"""The first page and the profile's in a real browser: live, by keyboard alone, under the pages' own policy."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from assay.store import Store
from tests import runs
from tests.view.client import Client
from tests.view.conftest import PROFILE, RUN

Tab = Callable[..., Page]


@pytest.mark.heavy
@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (420, "dark")])
def test_a_profile_draws_its_charts_and_fits(shown: Client, tab: Tab, width: int, scheme: str):
    page = tab(f"{shown.url}profiles/{PROFILE}", width, scheme)
    page.wait_for_selector(".chart svg .role-mark path")
    charts = page.evaluate("""Object.fromEntries([...document.querySelectorAll("[data-chart]")].map((box) =>
        [box.dataset.chart, box.querySelectorAll("svg .role-mark path, svg .role-mark line").length]))""")
    assert {"scores", "difficulty", "tokens"} <= charts.keys()
    assert min(charts.values()) > 0
    color = page.evaluate("getComputedStyle(document.querySelector('.model svg')).color")
    assert color != page.evaluate("getComputedStyle(document.body).color")  # its style travelled as data
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    with page.expect_navigation():
        page.get_by_role("link", name="all rollouts", exact=True).first.click()
    assert "/runs/" in page.url


@pytest.mark.heavy
def test_runs_are_found_ticked_and_compared_by_keyboard(shown: Client, tab: Tab):
    page = tab(shown.url)
    page.keyboard.press("/")
    page.keyboard.type("profiles")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.locator("tr[data-run]").count() == 2
    page.locator("h1").click()
    ticked = 0
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "checkbox":
            page.keyboard.press("Space")
            ticked += 1
        if ticked == 2:
            break
    assert page.get_by_role("button", name="Compare 2 runs").is_enabled()
    with page.expect_navigation():
        page.keyboard.press("c")
    assert "/compare?run=" in page.url
    assert page.locator("h1").inner_text()


@pytest.mark.heavy
def test_a_run_goes_on_while_the_page_is_open(folder: Path, client: Client, tab: Tab):
    with Store(folder / "slow", runs.record(), runs.TASKS) as store:
        store.append(runs.rollout(1, 0, failed=True))
        store.flush()
        page = tab(client.url)
        row = page.locator("tr[data-run=slow]")
        assert "1 of 6" in row.inner_text()
        assert row.locator(".range").is_hidden()
        store.append(runs.rollout(0, 0))
        store.flush()
        row.filter(has_text="2 of 6").wait_for()
        assert "live" in row.inner_text()
        assert row.locator(".range circle").get_attribute("cx") == "90.0"
        assert "t1, repeat 0: model: timeout: no answer" in page.locator("tr[data-more=slow]").inner_text()
        with Store(folder / "new", runs.record(), runs.TASKS):
            page.get_by_role("button", name="A run began").wait_for()


@pytest.mark.heavy
def test_a_key_pressed_before_the_scripts_are_there_counts(shown: Client, tab: Tab):
    page, held = tab(shown.url), list[Route]()
    page.route("**/static/keys.js", lambda route: held.append(route))  # noqa: PLW0108 Playwright takes no method of a list
    page.goto(f"{shown.url}runs/{RUN}/rollouts/sums-easy-00/0", wait_until="commit")
    page.locator("a[data-key=b]").wait_for()
    while not held:
        page.wait_for_timeout(10)
    page.keyboard.press("b")
    held[0].continue_()
    page.wait_for_url(f"**/runs/{RUN}", timeout=10_000)


@pytest.mark.heavy
def test_a_key_pressed_while_the_page_is_left_does_nothing(folder: Path, client: Client, tab: Tab):
    page, held = tab(client.url), list[Route]()
    page.context.add_cookies([{"name": "reader", "value": "Ada", "url": client.url}])
    page.goto(f"{client.url}profiles/{PROFILE}/review")
    page.route("**/review", lambda route: held.append(route) if route.request.method == "POST" else route.continue_())
    page.keyboard.press("m")
    while not held:
        page.wait_for_timeout(10)
    page.keyboard.press("v")
    with page.expect_navigation():
        held[0].continue_()
    marks = (folder / "profiles/arithmetic/marks.jsonl").read_text().splitlines()
    assert [json.loads(mark)["fault"] for mark in marks] == ["model"]

"""Somebody who has never seen the viewer, in a run they were given: by what is written on the pages alone."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

import assay
from assay.benchmarks.arithmetic.problems import test_problems as problems
from assay.view.server import Viewer
from tests.endpoint import Call, Endpoint, chat_body, http

expect.set_options(timeout=30_000)
ANSWERS = {problem.question: str(problem.answer) for problem in problems()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model that each second time thinks too long: then its answer is cut by the token cap."""
    folder = tmp_path_factory.mktemp("given")
    times = Counter[str]()

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        question = call.prompt
        times[question] += 1
        body = json.loads(chat_body("Let me think about it, slowly and" if times[question] == 2 else ANSWERS[question]))
        body["choices"][0]["finish_reason"] = "length" if times[question] == 2 else "stop"
        writer.write(http(json.dumps(body).encode()))

    with Endpoint(behave) as endpoint:
        out = folder / "given"
        assay.sync.run("arithmetic", model="chat:thinker", base_url=endpoint.url, limit=24, repeats=2, out=out)
    return out


@pytest.fixture
def page(run: Path, browser: Browser) -> Iterator[Page]:
    with Viewer(run.parent) as viewer:
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        page = context.new_page()
        page.goto(viewer.url)
        yield page
        context.close()


@pytest.mark.heavy
def test_they_find_a_cut_answer_read_it_beside_a_passing_one_mark_it_and_have_a_link(page: Page, run: Path):
    page.get_by_role("link", name="arithmetic").first.click()
    page.get_by_role("link", name="failing").click()
    page.get_by_role("region", name="Ended by").get_by_role("link", name="token cap").click()
    page.get_by_role("link", name="differences").first.click()
    rows = page.locator("table.rows tbody tr")
    expect(rows.first).to_be_visible()
    shown = page.locator(".summary [role=status]").inner_text()
    assert rows.count() == int(shown.split()[0]) > 0
    for text in rows.all_inner_texts():
        assert "differences" in text and "token cap" in text
    table = page.url
    rows.first.get_by_role("link").first.click()
    expect(page.get_by_text("cut off")).to_be_visible()
    page.get_by_role("link", name="compare with a passing one").click()
    sides = page.get_by_role("group", name="Side by side")
    expect(sides).to_contain_text("reward 0")
    expect(sides).to_contain_text("reward 1")
    expect(sides).to_contain_text("Let me think about it, slowly and")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Note").fill("the cap is too small")
    page.get_by_role("button", name="The environment's fault").click()
    expect(page.get_by_text("the cap is too small").first).to_be_visible()
    [mark] = [json.loads(line) for line in (run / "marks.jsonl").read_text().splitlines()]
    assert (mark["fault"], mark["note"], mark["by"], mark["reward"]) == (
        "environment",
        "the cap is too small",
        "Ada",
        0.0,
    )
    link = page.url
    another = _opened(page, link)
    expect(another.get_by_role("group", name="Side by side")).to_contain_text("Let me think about it, slowly and")
    expect(another.get_by_text("the cap is too small").first).to_be_visible()
    expect(_opened(page, table).locator("table.rows tbody tr").first).to_contain_text("environment")


def _opened(page: Page, link: str) -> Page:
    """A link as somebody else opens it, in a browser that has never been here."""
    browser = page.context.browser
    assert browser
    other = browser.new_context(viewport={"width": 420, "height": 900}).new_page()
    other.goto(link)
    return other

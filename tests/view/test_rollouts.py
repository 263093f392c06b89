"""The table of a run's rollouts: what a person finds in it, by links and forms alone, and in a browser."""

import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import pytest
from playwright.sync_api import Page

from assay.view.index.tables import NAME
from assay.view.pages import rollouts as table_page
from assay.view.server import Viewer
from tests.view.client import Client
from tests.view.long_run import long_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run of 300 rollouts."""
    top = tmp_path_factory.mktemp("rollouts")
    long_run(top / "long", 150)
    return top


@pytest.fixture(scope="module")
def viewer(folder: Path) -> Iterator[Client]:
    with Viewer(folder) as viewer:
        yield Client(viewer.url)


def link(page: str, words: str) -> str:
    """The address of the first link with these words."""
    found = re.search(rf'<a href="([^"]*)"[^>]*>(?:<[^>]*>)*{re.escape(words)}\b', page)
    assert found, words
    return unescape(found[1])


def rows(page: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="[^"]*"><bdi>([^<]*)<', page)


def test_failing_rollouts_of_a_category_that_the_token_cap_cut_are_three_clicks_away(viewer: Client):
    page = viewer.get("/runs/long").text
    for words in ("failing", "token cap", "law"):
        page = viewer.get(link(page, words)).text
    assert rows(page) == ["q21", "q51", "q81", "q111", "q141", "q0", "q30", "q60", "q90", "q120"]
    assert "10</b> of 300 rollouts" in page
    assert viewer.get(link(page, "Clear all")).text.count("<tr data-outcome") == 100
    again = viewer.get(link(page, "failing")).text
    assert "outcome: failing" not in again


def test_counts_say_what_each_link_would_show(viewer: Client):
    page = viewer.get("/runs/long", stop="token_cap").text
    for words in ("failing", "law", "physics"):
        number = int(re.search(rf"<bdi>{words}</bdi> <span>(\d+)<", page)[1])  # type: ignore[index]
        assert f"<b>{number}</b>" in viewer.get(link(page, words)).text


def test_all_pages_together_have_every_rollout_once(viewer: Client):
    page, found = viewer.get("/runs/long", sort="-tokens").text, list[str]()
    while True:
        found += rows(page)
        if 'rel="next"' not in page:
            break
        page = viewer.get(link(page, "Next 100")).text
    assert sorted(found) == sorted([f"q{index}" for index in range(150)] * 2)


def test_a_search_shows_where_it_was_found_and_searches_within(viewer: Client):
    page = viewer.get("/runs/long", q="eels").text
    assert "<mark>eels</mark>" in page
    within = viewer.get("/runs/long", q=["eels", '"answer is 31"']).text
    assert rows(within) == ["q30", "q31", "q30", "q31"][: len(rows(within))]
    assert 0 < len(rows(within)) < 5
    assert "Search within these results" in within


@pytest.mark.parametrize(
    "query", [{"color": "red"}, {"after": "x"}, {"after": "[1]"}, {"reward": "high"}, {"sort": "-"}]
)
def test_a_wrong_address_is_answered_with_what_is_expected(viewer: Client, query: dict[str, str]):
    answer = viewer.get("/runs/long", **query)
    assert answer.status == 422
    assert "expected" in answer.words


@pytest.mark.parametrize("sort", ["", "-reward", "tokens", "-order", "task"])
def test_the_rollouts_of_a_profile_are_in_one_table(shown: Client, sort: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table_page, "PAGE", 7)
    page = shown.get("/profiles/profiles~arithmetic/rollouts", sort=sort).text
    assert "48</b> rollouts" in page
    found, rewards = list[str](), list[str]()
    while True:
        found += re.findall(r'<th scope="row"><a href="([^"?]*)', page)
        rewards += re.findall(r'"outcome is-[a-z]+">(\d)<', page)
        if 'rel="next"' not in page:
            break
        page = shown.get(link(page, "Next 7")).text
    assert len(found) == len(set(found)) == 48
    if sort == "-reward":
        assert rewards == sorted(rewards, reverse=True)


def test_one_model_of_a_profile_is_a_click_away(shown: Client):
    page = shown.get("/profiles/profiles~arithmetic/rollouts").text
    one = shown.get(link(page, "nano-instruct")).text
    assert "24</b> of 48 rollouts" in one
    assert set(re.findall(r"/runs/[^/]*~runs~([^/]*)/rollouts/", one)) == {"nano-instruct"}


@pytest.mark.heavy
@pytest.mark.parametrize(
    "query",
    [
        {"q": " ".join(f"w{number}" for number in range(1500))},
        {"q": '"" * ^ NEAR(a b) col: {x} \0'},
        {"tag.\"'": "x"},
        {"task": "%_!", "answer": "'; drop table rollouts; --"},
        {"after": '["x", 0, 1]', "sort": "reward"},
        {"mark": ["none", "'"]},
        {"reward": "nan..inf"},
    ],
)
def test_no_address_breaks_the_table(viewer: Client, query: dict[str, object]):
    answer = viewer.get("/runs/long", **query)
    assert answer.status in (200, 422)
    assert "300 rollouts" in answer.words or "The index" in answer.words or "expected" in answer.words


def test_nothing_found_says_so(viewer: Client):
    assert "No rollout is like this" in viewer.get("/runs/long", q="basilisk").words


def test_a_damaged_index_is_made_again(tmp_path: Path):
    run = long_run(tmp_path / "long", 60)
    with Viewer(tmp_path) as viewer:
        client = Client(viewer.url)
        whole = client.get("/runs/long").text
        with (run / NAME).open("r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * 60_000)
        assert rows(client.get("/runs/long").text) == rows(whole)


def test_a_run_that_goes_on_shows_its_new_rollouts(tmp_path: Path):
    run = long_run(tmp_path / "long", 30)
    whole = (run / "rollouts.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    (run / "rollouts.jsonl").write_bytes(b"".join(lines[:10]) + lines[10][:99])
    with Viewer(tmp_path) as viewer:
        client = Client(viewer.url)
        assert "9 rollouts" in client.get("/runs/long").words
        (run / "rollouts.jsonl").write_bytes(whole)
        assert "60 rollouts" in client.get("/runs/long").words


@pytest.mark.heavy
def test_scrolling_loads_more_and_keys_walk_the_rows(viewer: Client, tab: Callable[..., Page]):
    page = tab(f"{viewer.url}runs/long")
    assert page.locator("tr[data-outcome]").count() < 300
    page.mouse.wheel(0, 50_000)
    rows = page.locator("tr[data-outcome]")
    rows.nth(199).wait_for(state="attached")
    page.mouse.wheel(0, 50_000)
    rows.nth(299).wait_for(state="attached")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.textContent") == "q1"
    page.keyboard.press("/")
    page.keyboard.type("question 77")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=question+77**")
    assert rows.count() == 2


@pytest.mark.heavy
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(viewer: Client, tab: Callable[..., Page], scheme: str):
    page = tab(f"{viewer.url}runs/long?stop=token_cap&q=eels", 420, scheme)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert not page.locator(".side section").first.is_visible()
    page.get_by_text("Filters", exact=True).click()
    assert page.locator(".side section").first.is_visible()

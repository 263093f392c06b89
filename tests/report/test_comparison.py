"""A comparison's page and its Markdown: what is in them, in a real browser, and what nobody's text can do to them."""

from pathlib import Path

import pytest
from conftest import Open
from hostile import TEXTS
from msgspec import structs

from assay.fidelity.compare.compare import compare, side_by_side
from assay.fidelity.compare.comparison import Comparison
from assay.fidelity.compare.policy import Drop, Policy, load
from assay.report import comparison as report
from tests.fidelity.made import made_run, tasks_of


def rewards(step: int, number: int = 60) -> list[list[float | None]]:
    """Every `step`-th task is wrong each time, every seventh now and then."""
    return [[0.0 if place % step == 0 else 1.0] * 3 + [float(place % 7 != 0)] for place in range(number)]


def made(folder: Path, policy: Policy | None, steps: tuple[int, ...] = (2, 9)) -> Comparison:
    tasks = tasks_of(60, categories=["sums", "words"])
    first = made_run(folder / "first", rewards(5), model="first", tasks=tasks)
    others = [made_run(folder / f"by-{n}", rewards(n), model=f"by-{n}", tasks=tasks, tokens=8 + n) for n in steps]
    return compare(first, others, policy)


@pytest.mark.heavy
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_draws_fits_and_asks_for_nothing(opened: Open, tmp_path: Path, width: int, scheme: str):
    comparison = made(tmp_path, load("default"))
    page = tmp_path / "page.html"
    report.write(page, comparison, side_by_side(comparison), command="assay compare first by-2 by-9")
    tab, seen = opened(page, width, scheme)
    drawn = tab.evaluate("""() => Object.fromEntries([...document.querySelectorAll("[data-chart]")].map((box) =>
        [box.dataset.chart, box.querySelectorAll("svg .mark-symbol path").length]))""")
    # The score and two categories of two candidates.
    assert drawn["shifts"] == 6
    assert min(drawn["tasks-0"], drawn["tasks-1"]) >= 2
    assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert tab.locator("h1").inner_text().strip() == report.headline(comparison)
    assert tab.locator("#policy .gate").count() == 8
    assert seen == []


@pytest.mark.heavy
def test_outputs_are_filtered_by_candidate_and_way(opened: Open, tmp_path: Path):
    comparison = made(tmp_path, None)
    page = tmp_path / "page.html"
    report.write(page, comparison, side_by_side(comparison))
    tab, seen = opened(page, 1280)
    assert tab.locator("#policy").count() == 0
    tab.locator("select[name=model]").select_option("by-2")
    tab.locator("select[name=category]").select_option("worse")
    cards = tab.locator(".card:visible")
    assert cards.count() >= 4
    found = {(card.get_attribute("data-model"), card.get_attribute("data-category")) for card in cards.all()}
    assert found == {("by-2", "worse")}
    sides = cards.first.locator(".side pre").all_inner_texts()
    assert sides == ["right", "wrong"]
    assert seen == []


@pytest.fixture
def hostile(tmp_path: Path) -> Comparison:
    """Every text that somebody else wrote tries to get out of its place."""
    legal = [text.encode("utf-8", "replace").decode() for text in TEXTS]
    prompts = tasks_of(2 * len(legal), prompt="{} </pre><script>window.pwned = 5</script>")
    every = [
        structs.replace(task, id=f"{text}{place}", gold=text, tags={"category": text})
        for place, (text, task) in enumerate(zip(legal * 2, prompts, strict=True))
    ]
    up, down = [[1.0, 1.0]] * len(every), [[0.0, 0.0]] * len(every)
    texts = ("".join(legal), "".join(reversed(legal)))
    first = made_run(tmp_path / "first", up, model=legal[0], tasks=every, texts=texts, version=legal[1])
    second = made_run(tmp_path / "second", down, model=legal[2], tasks=every, texts=texts, version=legal[1])
    third = made_run(tmp_path / "third", down, model=legal[7], tasks=every, texts=texts, version=legal[3])
    policy = Policy(score=Drop(may_drop=1), categories={"*": Drop(may_drop=1)})
    return compare(first, [second, third], policy, across=True)


@pytest.mark.heavy
@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_texts_are_only_shown(opened: Open, tmp_path: Path, hostile: Comparison, width: int):
    page = tmp_path / "hostile.html"
    report.write(page, hostile, side_by_side(hostile), command=TEXTS[0])
    tab, seen = opened(page, width)
    assert tab.evaluate("window.pwned") is None
    assert tab.locator("img, iframe, object, embed").count() == 0
    assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert tab.locator(".card").count() > 10
    assert seen == []


def test_hostile_texts_are_plain_in_markdown(hostile: Comparison):
    text = report.markdown(hostile)
    cells = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")}
    assert cells == {9}
    assert all(text[place - 1] == "\\" for place, sign in enumerate(text) if sign in "<`[")


def test_markdown_says_verdict_numbers_and_what_moved(tmp_path: Path):
    comparison = made(tmp_path, load("default"), (2,))
    text = report.markdown(comparison)
    (pair,) = comparison.pairs
    lines = text.splitlines()
    assert lines[0] == "### fail: by-2 fails on score."
    row = next(line for line in lines if line.startswith("| score |"))
    assert pair.change("score").baseline == pytest.approx(0.8125)
    assert row.startswith("| score | 81.2 % | 58.8 % | −22.5 | −35.0 to −10.0 |")
    assert "fail: More than a drop of 2 points is shown." in row
    assert any(line.startswith("- Of 60 tasks") for line in lines)


@pytest.mark.parametrize(
    ("steps", "policy", "words"),
    [
        ((2,), None, "by-2 scores 22.5 points below first"),
        ((6,), None, "No difference is shown: by-6 scores"),
        ((2, 60), None, "Against first, after Holm's correction: by-60 above; by-2 below."),
        ((2, 60), load("default"), "by-2 fails on score"),
        ((60,), load("default"), "by-60 fails on output tokens."),
    ],
)
def test_the_headline_says_what_it_comes_to(tmp_path: Path, steps: tuple[int, ...], policy: Policy | None, words: str):
    assert words in report.headline(made(tmp_path, policy, steps))


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("score", -0.0312, "−3.1"),
        ("score", 0.0, "0.0"),
        ("score", -0.0001, "0.0"),
        ("output_tokens", 0.251, "+25.1\u202f%"),
        ("cost", None, "–"),
    ],
)
def test_shifts_have_their_sign_and_unit(metric: str, value: float | None, text: str):
    assert report.shift(metric, value) == text

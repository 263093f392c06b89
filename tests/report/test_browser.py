"""The page in a real browser: charts drawn, nothing fetched, nothing wider than the window, nobody's text run."""

from pathlib import Path

import pytest
from conftest import Open
from hostile import TEXTS, hostile
from playwright.sync_api import Locator, Page
from sample import sample

from assay.report import page


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    page.write(path, page.render(*sample()))
    return path


def marks(tab: Page) -> dict[str, int]:
    """How many marks with an extent are drawn in each chart."""
    return tab.evaluate("""() => Object.fromEntries([...document.querySelectorAll("[data-chart]")].map((box) =>
        [box.dataset.chart, [...box.querySelectorAll("svg .role-mark path, svg .role-mark line")].filter((mark) => {
            const {width, height} = mark.getBoundingClientRect();
            return width + height > 0;
        }).length]))""")


def overflow(tab: Page) -> int:
    return tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.heavy
@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (420, "dark")])
def test_charts_are_drawn_and_fit(opened: Open, report: Path, width: int, scheme: str) -> None:
    tab, seen = opened(report, width, scheme)
    drawn = marks(tab)
    assert set(drawn) == {"scores", "repeats", "difficulty", "groups", "length", "tokens"}
    assert drawn["scores"] >= 15
    assert drawn["difficulty"] == 5 * 240
    assert min(drawn.values()) >= 3
    assert overflow(tab) == 0
    wide = tab.evaluate("""[...document.querySelectorAll(".chart svg")].filter((svg) =>
        svg.getBoundingClientRect().width > svg.parentNode.getBoundingClientRect().width + 1).length""")
    assert wide == 0
    spoken = tab.evaluate("""[...document.querySelectorAll(".chart")].map((box) => box.getAttribute("aria-label"))""")
    assert all(spoken)
    assert seen == []


@pytest.mark.heavy
def test_charts_follow_the_theme_the_width_and_the_printer(opened: Open, report: Path) -> None:
    tab, seen = opened(report, 1400)
    color = "document.querySelector('[data-chart=scores] .mark-symbol path').getAttribute('fill')"
    light = tab.evaluate(color)
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_function(f"{color} !== '{light}'")
    dark = tab.evaluate(color)
    tab.set_viewport_size({"width": 420, "height": 900})
    tab.wait_for_function("document.querySelector('.chart svg').getBoundingClientRect().width < 420")
    assert overflow(tab) == 0
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(color) == light
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate(color) == dark
    assert seen == []


@pytest.mark.heavy
def test_the_table_sorts_both_ways(opened: Open, report: Path) -> None:
    tab, seen = opened(report, 1400)

    def order(name: str) -> tuple[list[str], str | None]:
        head = tab.locator("th", has=tab.get_by_role("button", name=name, exact=True))
        head.get_by_role("button").click()
        return tab.locator("table.sortable tbody th bdi").all_inner_texts(), head.get_attribute("aria-sort")

    names, way = order("Score")
    assert (names[0], names[-1], way) == ("micro-thinking", "policy", "descending")
    names, way = order("Score")
    assert (names[0], names[-1], way) == ("policy", "micro-thinking", "ascending")
    names, way = order("Model")
    assert (names, way) == (sorted(names), "ascending")
    assert tab.locator("th[aria-sort=ascending], th[aria-sort=descending]").count() == 1
    assert seen == []


@pytest.mark.heavy
def test_rollouts_are_filtered_and_a_gate_leads_to_its_own(opened: Open, report: Path) -> None:
    tab, seen = opened(report, 1400)
    cards = tab.locator(".card:visible")
    assert cards.count() == 8
    tab.get_by_role("button", name="Show 8 more").click()
    assert cards.count() == 16
    tab.locator("select[name=model]").select_option("micro-instruct")
    tab.locator("select[name=category]").select_option("products")
    found = {(card.get_attribute("data-model"), card.get_attribute("data-category")) for card in cards.all()}
    assert found == {("micro-instruct", "products")}
    assert "shown" in tab.locator("output").inner_text()
    tab.locator("#gate-read summary").click()
    link = tab.locator("#gate-read .refs a").last
    target = link.get_attribute("href")
    link.click()
    tab.wait_for_function(f"!document.querySelector('{target}').hidden")
    assert tab.locator(str(target)).is_visible()
    assert tab.locator("select[name=model]").input_value() == ""
    assert seen == []


def followed(tab: Page, link: Locator) -> Locator:
    """What a link of the page leads to, once it has been led to."""
    target = str(link.get_attribute("href"))
    link.click()
    seen = "to => { const {top, height} = document.querySelector(to).getBoundingClientRect(); "
    tab.wait_for_function(seen + "return height > 0 && top >= 0 && top < innerHeight / 2; }", arg=target)
    return tab.locator(target)


@pytest.mark.heavy
@pytest.mark.parametrize("width", [1280, 390])
def test_what_names_a_rollout_leads_to_its_card(opened: Open, report: Path, width: int) -> None:
    tab, seen = opened(report, width)
    tab.evaluate("document.querySelectorAll('details').forEach((details) => details.open = true)")
    for place in ("#gate-read .refs", "#finding-1 .places", "#machines .places", "#suspects", "#persons .places"):
        link = tab.locator(f"{place} a[href^='#reading-']").last
        named = link.inner_text().split(", repeat")[0].rpartition(", ")[2]
        assert named in followed(tab, link).locator("header").inner_text()
    assert seen == []


@pytest.mark.heavy
def test_a_card_leads_back_to_the_finding_that_names_it(opened: Open, report: Path) -> None:
    tab, seen = opened(report, 1280)
    tab.locator("#finding-0 summary").click()
    card = followed(tab, tab.locator("#finding-0 .places a").first)
    finding = followed(tab, card.locator(".remarks a[href='#finding-0']"))
    assert "token cap" in finding.inner_text()
    assert seen == []


@pytest.mark.heavy
@pytest.mark.parametrize("width", [1280, 390])
def test_the_sections_can_be_reached_by_thumb(opened: Open, report: Path, width: int) -> None:
    tab, _ = opened(report, width)
    boxes = tab.evaluate("""[...document.querySelectorAll("nav a")].map((link) => {
        const {left, right, height} = link.getBoundingClientRect();
        return [left, right, height, link.scrollWidth > link.clientWidth + 1, link.getAttribute("href")];
    })""")
    assert len(boxes) == 12
    assert all(left >= 0 and right <= width and not cut for left, right, _, cut, _ in boxes)
    assert all(height >= (36 if width < 860 else 18) for _, _, height, *_ in boxes)
    for *_, target in boxes:
        assert tab.locator(target).count() == 1


@pytest.mark.heavy
@pytest.mark.parametrize("width", [1280, 390])
def test_everything_folded_fits_when_it_is_opened(opened: Open, report: Path, width: int) -> None:
    tab, seen = opened(report, width)
    tab.evaluate("document.querySelectorAll('details').forEach((details) => details.open = true)")
    assert overflow(tab) == 0
    beyond = tab.evaluate("""[...document.querySelectorAll("main *")].filter((item) => {
        const {right, width} = item.getBoundingClientRect();
        return width && right > document.documentElement.clientWidth + 1 && !item.closest(".scroll, .chart, .symbols");
    }).map((item) => item.outerHTML.slice(0, 120))""")
    assert beyond == []
    assert seen == []


@pytest.mark.heavy
def test_a_tooltip_says_which_task(opened: Open, report: Path) -> None:
    tab, _ = opened(report, 1400)
    tab.locator("[data-chart=difficulty] .mark-rect path").nth(3).hover(force=True)
    tip = tab.locator(".tip")
    tip.wait_for(state="visible")
    assert "mean reward" in tip.inner_text()


@pytest.mark.heavy
@pytest.mark.parametrize("width", [1400, 420])
def test_hostile_texts_are_only_shown(opened: Open, tmp_path: Path, width: int) -> None:
    path = tmp_path / "hostile.html"
    page.write(path, page.render(*hostile()))
    tab, seen = opened(path, width)
    assert tab.evaluate("window.pwned") is None
    assert tab.evaluate("Object.prototype.hasOwnProperty('model')") is False
    assert tab.locator("img, iframe, object, embed").count() == 0
    assert seen == []
    assert min(marks(tab).values()) >= 3
    assert marks(tab)["difficulty"] == len(TEXTS) ** 2
    tab.locator("select[name=model]").select_option(TEXTS[0])
    assert tab.locator(".card:visible pre").first.inner_text() == TEXTS[0]
    for mark in tab.locator("[data-chart=difficulty] .mark-rect path").all()[:12]:
        mark.hover(force=True)
    assert tab.evaluate("window.pwned") is None
    assert overflow(tab) == 0
    assert seen == []


@pytest.mark.heavy
def test_a_page_with_nothing_in_it_opens_too(opened: Open, tmp_path: Path) -> None:
    profile, _, _ = sample()
    path = tmp_path / "empty.html"
    empty = type(profile)(profile.benchmark, "none", {}, [], None, {}, profile.started, 0.0)
    page.write(path, page.render(empty, {}, []))
    tab, seen = opened(path, 420)
    assert tab.locator(".absent").count() == 12
    assert overflow(tab) == 0
    assert seen == []

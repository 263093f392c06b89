"""The page as text: what is in it, what is not, and what nobody's text can do to it."""

import hashlib
import json
import math
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hostile import TEXTS, hostile
from sample import sample, whole

from assay.fidelity.review.findings import rollouts_to_read
from assay.fidelity.schema.evidence import Sighting
from assay.fidelity.schema.profile import Gate, ModelSummary, Piece, Profile, Reading, Repeats, RolloutRef, TaskRow
from assay.report import charts, findings, page, words
from assay.report.cards import LIMIT, OPEN, PIECES, TEXT, Candidate, choose, lay_out, place
from assay.report.looks import looks

VENDOR = Path(page.__file__).parent / "vendor"

GATES = len(page.QUESTIONS)
COUNTS = {7: "seven", 8: "eight", 9: "nine", 10: "ten", 11: "eleven"}
WORD = COUNTS[GATES]


class Outline(HTMLParser):
    """Elements by id and tag, and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids[value or ""] += 1
            if name == "href" and tag == "a":
                self.links.append(value or "")
            if name in ("src", "srcset", "action", "formaction") or name.startswith("on"):
                self.sources.append(f"{tag} {name}")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def parts() -> tuple[Profile, dict[str, list[TaskRow]], list[Reading]]:
    return sample()


@pytest.fixture(scope="module")
def html(parts: tuple[Profile, dict[str, list[TaskRow]], list[Reading]]) -> str:
    return page.render(*parts, command="assay profile arithmetic")


def changed(profile: Profile, **fields: object) -> Profile:
    return msgspec.structs.replace(profile, **fields)


def specs(html: str) -> dict[str, charts.Spec]:
    found = re.search(r'<script type="application/json" id="specs">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_page_holds_all_sections_in_reading_order(html: str) -> None:
    places = [
        html.index(f'id="{name}"')
        for name in (
            "gates",
            "scores",
            "repeats",
            "tasks",
            "groups",
            "tokens",
            "original",
            "machines",
            "suspects",
            "persons",
            "readings",
            "made",
        )
    ]
    assert places == sorted(places)
    assert set(specs(html)) == {"scores", "repeats", "difficulty", "groups", "length", "tokens"}
    outline = Outline(html)
    assert outline.tags["main"] == outline.tags["h1"] == 1
    assert {number for name, number in outline.ids.items()} == {1}
    assert f"4 of {GATES} gates pass; the gate kinds fails, read is inconclusive." in outline.text
    assert "assay profile arithmetic" in outline.text


def test_every_link_leads_to_an_element_of_the_page(html: str) -> None:
    outline = Outline(html)
    assert all(link.startswith("#") for link in outline.links)
    assert {link[1:] for link in outline.links} <= set(outline.ids)
    assert any(link.startswith("#reading-") for link in outline.links)


def test_the_page_fetches_nothing_and_stays_small(html: str) -> None:
    assert Outline(html).sources == []
    assert "sourceMappingURL" not in html
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert len(html.encode()) < 1_300_000


def test_all_gates_are_shown_even_if_the_profile_has_fewer(parts: tuple[Profile, dict, list]) -> None:
    profile = changed(parts[0], gates=[Gate("gold", "pass", "All 240 gold answers score 1.")])
    outline = Outline(page.render(profile, *parts[1:]))
    assert {f"gate-{name}" for name in page.QUESTIONS} <= set(outline.ids)
    assert "The profile says nothing about this gate." in outline.text
    assert f"No gate fails and 1 of {GATES} gates pass; {GATES - 1} were not run." in outline.text


@pytest.mark.parametrize(
    ("verdicts", "word", "line"),
    [
        ({}, "pass", f"All {WORD} gates pass."),
        ({"kinds": "fail"}, "fail", f"{GATES - 1} of {GATES} gates pass; the gate kinds fails."),
        ({"kinds": "fail", "range": "fail"}, "fail", f"{GATES - 2} of {GATES} gates pass; range and kinds fail."),
        (
            {"order": "inconclusive"},
            "inconclusive",
            f"No gate fails and {GATES - 1} of {GATES} gates pass; order is inconclusive.",
        ),
        ({"parity": "not run"}, "inconclusive", f"No gate fails and {GATES - 1} of {GATES} gates pass; 1 was not run."),
        (dict.fromkeys(page.QUESTIONS, "not run"), "not run", f"None of the {WORD} gates was run."),
    ],
)
def test_the_headline_says_the_worst_answer(verdicts: dict, word: str, line: str) -> None:
    headline = findings.verdict([Gate(name, verdicts.get(name, "pass"), "") for name in page.QUESTIONS])
    assert (headline.verdict, headline.line) == (word, line)


def test_rollouts_that_are_named_come_first_and_the_rest_in_turns() -> None:
    profile, _, readings = whole()
    there = [Candidate(one.model, one.task, one.repeat, one.category, failing=True) for one in readings]
    solved = Candidate("micro-thinking", "sums-000", 0, "sums", failing=False)
    read = Candidate("micro-thinking", "sums-001", 0, "sums", failing=False)
    gate = Gate("parity", "fail", "Why.", {}, [RolloutRef("micro-thinking", "sums-001", 0)])
    profile = changed(profile, gates=[*profile.gates[:6], gate])
    kept = choose([solved, read, *there], profile)
    assert len(kept) == LIMIT < len(there)
    assert read in kept and solved not in kept
    refs = [ref for gate in profile.gates for ref in gate.rollouts]
    refs += [spotted.rollout for finding in profile.findings for spotted in rollouts_to_read(finding)]
    places = {place(one) for one in kept}
    assert {place(ref) for ref in refs} | {place(m) for r in profile.review.models.values() for m in r.marks} <= places
    others = Counter((one.model, one.category) for one in kept)
    assert set(others) == {(one.model, one.category) for one in there}
    few = choose([solved, read, *there], profile, 5)
    assert len(few) == 5 and {place(one) for one in few} <= {place(ref) for ref in refs} | {
        place(m) for r in profile.review.models.values() for m in r.marks
    }
    assert choose(there, profile, 0) == []


def test_the_page_says_how_many_rollouts_it_leaves_out(parts: tuple[Profile, dict, list]) -> None:
    outline = Outline(page.render(*parts, failing=1_234))
    assert "1,234 rollouts failed or scored less than full marks. 150 are in this page" in outline.text


@pytest.mark.parametrize(
    ("pieces", "shown", "folded", "left_out"),
    [(0, 0, 0, 0), (1, 1, 0, 0), (OPEN, OPEN, 0, 0), (OPEN + 1, OPEN, 1, 0), (500, OPEN, PIECES, 500 - OPEN - PIECES)],
)
def test_long_rollouts_are_folded_and_bounded(pieces: int, shown: int, folded: int, left_out: int) -> None:
    laid = lay_out([Piece("call", f"turn {number}: call of f", "x" * 50_000) for number in range(pieces)])
    assert (len(laid.first) + len(laid.last), len(laid.middle), laid.left_out) == (shown, folded, left_out)
    assert (shown + folded) * laid.limit <= max(TEXT, 3 * 2 * TEXT)
    titles = [piece.title for piece in (*laid.first, *laid.middle, *laid.last)]
    assert titles == sorted(titles, key=lambda title: int(title.split()[1][:-1]))


def test_what_was_said_of_a_rollout_stands_on_its_card_and_leads_to_its_finding(
    parts: tuple[Profile, dict, list],
) -> None:
    profile, tables, readings = parts
    mark = next(mark for mark in profile.review.models["nano-thinking"].marks if mark.fault == "verifier")
    html = page.render(profile, tables, readings)
    place_of = next(i for i, one in enumerate(readings) if place(one) == place(mark))
    card = html.partition(f'id="reading-{place_of}"')[2].partition("</article>")[0]
    assert "the verifier&#39;s" in card and "says <bdi>Ada</bdi>, 2026-02-12: the thousands separator" in card
    named = [f"finding-{i}" for i, one in enumerate(profile.findings) if place(mark) in map(_place, one.spotted)]
    assert named and all(f'href="#{name}"' in card for name in named)


def _place(spotted: Sighting) -> tuple[str, str, int]:
    return place(spotted.rollout)


def test_findings_originals_suspects_and_marks_have_their_places(parts: tuple[Profile, dict, list]) -> None:
    text = " ".join(Outline(page.render(*parts)).text.split())
    for said in (
        "The original code gives 1 of 2 published scores.",
        "micro, thinking (report, table 2)",
        "The settings differ: temperature (1.0 published, 0.6 there).",
        "4 of 960 outputs are scored otherwise, such as sums-003's: 0 there, 1 here.",
        "0.40 points, 90 % interval −0.62 to 1.42; the margin is 2.00",
        "4 findings in the rollouts of 3 models, 1 open.",
        "The cap is the card's. Ada, 2026-02-12",
        "5 tasks of 240 bear signs of a flaw: label suspect 3, never solved 2 "
        "and weak above strong 2. The suspicion is above one half for 5.",
        "strong models agree on 1,304",
        "Ada read 90; 2 of 72 sampled rollouts are at fault. Of planted faults, Ada found 11 of 12.",
        "“the thousands separator is not read”",
    ):
        assert said in text


def test_turns_of_tools_are_shown_in_their_order() -> None:
    profile, tables, readings = sample()
    voices = [
        Piece("call", "turn 1: call of find", '{"a": 1}'),
        Piece("output", "turn 2: output", "nothing found"),
        Piece("message", "turn 2: message", ""),
    ]
    one = changed(readings[0], said=voices)
    html = page.render(profile, tables, [one])
    card = html.partition('id="reading-0"')[2].partition("</article>")[0]
    order = [card.index(piece.title) for piece in voices]
    assert order == sorted(order)
    assert "{&#34;a&#34;: 1}" in card and "nothing found" in card and "The model wrote no message." in card


def test_gates_that_do_not_apply_to_an_original_are_no_reason_against_it(parts: tuple[Profile, dict, list]) -> None:
    gates = [Gate(name, "not run" if name in ("reproduced", "parity") else "pass", "Why.") for name in page.QUESTIONS]
    profile = changed(parts[0], gates=gates, parity={}, reproduced=[], original=True)
    html = page.render(profile, *parts[1:])
    text = Outline(html).text
    assert f"All {COUNTS[GATES - 2]} gates that apply pass." in text
    assert text.count("does not apply") == 4
    assert "reproduced and parity don't apply" in text
    assert f"of {GATES} gates" not in text
    headline = findings.verdict([Gate("gold", "pass", ""), Gate("parity", "fail", "")], original=True)
    assert (headline.verdict, headline.line) == (
        "fail",
        f"1 of {GATES - 1} gates that apply pass; the gate parity fails.",
    )


def test_a_hostile_text_stays_text() -> None:
    html = page.render(*hostile())
    html.encode()
    plain = Outline(page.render(*sample()))
    outline = Outline(html)
    assert outline.tags["script"] == plain.tags["script"] == 3
    assert outline.tags["img"] == outline.tags["textarea"] == 0
    assert outline.sources == []
    assert "\x00" not in html
    assert "NUL [U+0000], escape [U+001B][31m, half a pair [U+D800], [U+DFFF], turned [U+202E] around" in outline.text
    assert "{{ 7 * 7 }} {% raw %}" in outline.text
    assert not re.search(r"[\ud800-\udfff]", html)
    assert set(TEXTS[:8]) <= set(specs(html)["difficulty"]["data"]["columns"]["model"]["values"])


def test_embedded_json_says_the_same_and_cannot_end_its_element() -> None:
    value = {"a<b": ["</script>", "<!--", "&", math.nan, math.inf, 1.5, None, True], "s": "\ud800\x00\u2028"}
    text = page.embed(value)
    assert not set("<>&\u2028\x00") & set(text)
    assert json.loads(text) == {
        "a<b": ["</script>", "<!--", "&", None, None, 1.5, None, True],
        "s": "[U+D800][U+0000]\u2028",
    }


def test_packing_loses_no_row() -> None:
    rows = [
        {"model": "a", "x": 0, "reward": None},
        {"model": "b", "x": 1, "reward": 0.5},
        {"model": "a", "x": 1, "reward": 1.0},
    ]
    columns = page.pack({"data": {"values": rows}})["data"]["columns"]
    unpacked = [
        {field: column["values"][column["rows"][place]] for field, column in columns.items()} for place in range(3)
    ]
    assert unpacked == rows


@pytest.mark.parametrize(
    "fields",
    [
        {"models": {}, "repeats": None, "gates": [], "versions": {}},
        {"repeats": None},
    ],
    ids=["nothing at all", "no repeats"],
)
def test_missing_sections_say_why(fields: dict, parts: tuple[Profile, dict, list]) -> None:
    outline = Outline(page.render(changed(parts[0], **fields), {}, []))
    assert (
        "Not computed: it needs an open model with at least two repeats of its tasks: assay profile --repeats 4."
        in outline.text
    )
    assert "No table of tasks is in this profile." in outline.text
    assert "There are none to read" in outline.text
    assert not re.search(r"\bNone\b(?! of the )", outline.text)


def test_models_without_a_score_say_why(parts: tuple[Profile, dict, list]) -> None:
    profile, tables, readings = parts
    models = profile.models | {
        "giant": ModelSummary(role="open", kind="instruct", tier=3, ran=False),
        "broken": ModelSummary(role="closed", kind="thinking", tier=2, ran=True, repeats=4, failures=960),
    }
    html = page.render(changed(profile, models=models), tables, readings)
    notes = specs(html)["scores"]["data"]["columns"]["note"]["values"]
    assert "did not run: the climb ended below its tier" in notes
    assert "no score: all 960 rollouts failed" in notes
    assert "did not run" in Outline(html).text
    alone = {name: models[name] for name in ("giant", "broken")}
    text = Outline(page.render(changed(profile, models=alone), {}, [])).text
    assert "No model has a score: " in text
    assert "broken no score: all 960 rollouts failed" in text


def test_a_single_model_with_one_repeat_has_no_intervals(parts: tuple[Profile, dict, list]) -> None:
    profile = parts[0]
    model = ModelSummary(
        role="policy", kind="instruct", tier=1, ran=True, score=0.4, repeats=1, rollouts=1, pass_at_k={"1": 0.4}
    )
    table = [TaskRow("a", "", [0.4], [7])]
    html = page.render(changed(profile, models={"solo": model}, repeats=None), {"solo": table}, [])
    assert specs(html)["scores"]["data"]["columns"]["run"]["values"] == ["no interval"]
    assert "Tier" not in Outline(html).text
    assert "None" not in Outline(html).text
    assert "pass@1" in Outline(html).text


def test_tasks_are_sorted_by_difficulty_and_thousands_share_columns() -> None:
    tables = {"m": [TaskRow(f"t{i}", "c", [(i * 7 % 1000) / 1000, None], [1, 1]) for i in range(1000)]}
    models = {"m": ModelSummary(role="open", kind="instruct", tier=1, ran=True, score=0.5)}
    means = [row["m"] for row in charts.task_means(tables).values()]
    assert means == sorted(means)
    spec = charts.difficulty(tables, looks(models))
    assert isinstance(spec, dict)
    rows = spec["data"]["values"]
    assert len(rows) == math.ceil(1000 / 3) <= charts.COLUMNS
    assert (rows[0]["x"], rows[0]["x2"], rows[-1]["x2"]) == (0, 3, 1000)
    assert rows[0]["reward"] == pytest.approx(0.001)


def test_a_task_whose_rollouts_failed_is_blank_and_not_zero() -> None:
    tables = {"m": [TaskRow("t", "c", [None, None], [None, None]), TaskRow("u", "c", [0.0, None], [2, None])]}
    assert charts.task_means(tables) == {"u": {"m": 0.0}, "t": {"m": None}}


def test_fifths_hold_every_scored_rollout_once() -> None:
    rows = [TaskRow(f"t{i}", "c", [float(i % 2), None], [i // 3 + 1, 5]) for i in range(100)]
    spec = charts.length({"m": rows}, looks({"m": ModelSummary(role="open", kind="instruct", tier=1, ran=True)}))
    assert isinstance(spec, dict)
    values = spec["data"]["values"]
    assert sum(row["rollouts"] for row in values) == 100
    assert [row["tokens"] for row in values] == sorted(row["tokens"] for row in values)


def test_marks_on_one_k_share_a_label() -> None:
    found = Repeats("m", 4, 4, 7, 0.9, 1.1, [(1, 2.0, 2.2), (4, 1.0, 1.1)])
    spec = charts.repeats(found, {})
    labels = {layer["data"]["values"][0].get("label") for layer in spec["layer"] if "data" in layer}  # type: ignore[index]
    assert labels == {"1 point", "set and needed: 4", "needed to be sure: 7"}


def test_a_family_shares_a_hue_and_its_kinds_differ() -> None:
    models = {
        name: ModelSummary(role="open", kind=kind, tier=1, ran=True)
        for name, kind in (
            ("Qwen3-30B-A3B-Instruct-2507", "instruct"),
            ("Qwen3-30B-A3B-Thinking-2507", "thinking"),
            ("other", "instruct"),
        )
    }
    first, second, other = looks(models).values()
    assert first.color == "var(--hue-0-instruct)"
    assert second.color == "var(--hue-0-thinking)"
    assert other.color == "var(--hue-1-instruct)"
    assert first.shape != second.shape


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.percent(0.6237), "62.4\u202f%"),
        (words.percent(-0.0001), "0.0\u202f%"),
        (words.percent(-0.25), "−25.0\u202f%"),
        (words.percent(None), "–"),
        (words.percent(math.nan), "–"),
        (words.points(0.866), "0.87"),
        (words.duration(0.31), "0.3\u202fs"),
        (words.duration(59.7), "1\u202fmin 0\u202fs"),
        (words.duration(754), "13\u202fmin"),
        (words.duration(8040), "2\u202fh 14\u202fmin"),
        (words.short_count(842), "842"),
        (words.short_count(12_412), "12.4k"),
        (words.short_count(999_999), "1.00M"),
        (words.figure(0.123456), "0.1235"),
        (words.figure(True), "yes"),
        (words.figure({"a": [0.123456, None]}), '{"a": [0.1235, null]}'),
        (words.join(["a", "b", "c"]), "a, b and c"),
        (words.legible("a\r\nb\rc\x00\x7f\ud83d"), "a\nb\nc[U+0000][U+007F][U+D83D]"),
    ],
)
def test_words(shown: str, expected: str) -> None:
    assert shown == expected


def test_long_texts_keep_their_beginning_and_end() -> None:
    text = words.clip("a" * 500 + "b" * 500, 100)
    assert text.startswith("a" * 50)
    assert text.endswith("b" * 50)
    assert "900 characters left out" in text


def test_writing_gives_the_rendered_page(tmp_path: Path, html: str, parts: tuple[Profile, dict, list]) -> None:
    path = tmp_path / "report.html"
    page.write(path, page.render(*parts, command="assay profile arithmetic"))
    assert path.read_text(encoding="utf-8") == html


@pytest.mark.parametrize("name", [f"{name}.min.js" for name in page.DRAWING])
def test_vendored_files_are_the_ones_named(name: str) -> None:
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() in (VENDOR / "README.md").read_text()


def test_refs_that_are_not_in_the_page_are_counted(parts: tuple[Profile, dict, list]) -> None:
    gate = Gate("kinds", "fail", "Why.", {}, [RolloutRef("m", f"t{i}", 0) for i in range(9)])
    outline = Outline(page.render(changed(parts[0], gates=[gate]), *parts[1:]))
    assert "9 rollouts in the run directory, not linked here" in outline.text

"""One rollout: what it says, as text; its conversations, judge, repeats and other models; and hostile contents."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from html import unescape

import pytest
from playwright.sync_api import Page

from assay.digest import task_digest
from assay.types import (
    Failure,
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Message,
    Program,
    Reasoning,
    ReasoningText,
    Response,
    Rollout,
    Score,
    Task,
    Text,
    Turn,
    Usage,
)
from assay.view.server import Viewer
from tests.report.hostile import TEXTS, encodable
from tests.view.client import Client
from tests.view.long_run import write_run

PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
TASKS = [
    Task("mail/1", [Message("user", [InputText("How many eels?"), InputImage(PIXEL)])], "4", tags={"category": "mail"}),
    Task("long", [Message("user", "At length.")], "x"),
    *(Task(encodable(text), [Message("user", encodable(text))], encodable(text)) for text in TEXTS),
]
LONG = "".join(f"line {number} of an answer that goes on\n" for number in range(30_000))


def answer(text: str) -> Response:
    return Response([Message("assistant", [Text(text)])], usage=Usage(300, 20))


def told(repeat: int, right: bool) -> Rollout:
    """A rollout of the first task with a tool, a subagent and a judge."""
    task, number = TASKS[0], "4" if right else "3"
    thought = Reasoning(content=[ReasoningText("First the pond, then the river.")])
    call, output = FunctionCall("a", "look", '{"at":"pond"}'), FunctionCallOutput("a", "Error: nobody looks")
    turns = [
        Turn([*task.input], Response([thought, call], usage=Usage(9, 7, 3, 5)), 0, 2),
        Turn([Message("user", "Count for me.")], answer("The subagent counts."), 0.5, 1, follows=-1),
        Turn([output], answer(f"There are eels.\n\nAnswer: {number}"), 2, 3, follows=0),
    ]
    judge = [Turn([Message("user", "Is it so?")], answer("yes, it is so"), 5, 1)]
    score = Score(float(right), {"grounded": 0.25}, number)
    ended = Program(3, "two eels counted", "")
    return Rollout(task.id, task_digest(task), repeat, 0, 7, turns, "completed", score, 6.0, {"judge": judge}, ended)


def hostile(task: Task) -> Rollout:
    """A rollout in which every text tries to get out of its place."""
    text = task.id
    output = [
        Reasoning(content=[ReasoningText(text)]),
        FunctionCall("c", text, text),
        Message("assistant", [Text(text)]),
    ]
    turns = [Turn([*task.input, FunctionCallOutput("c", text)], Response(output))]
    return Rollout(task.id, task_digest(task), 0, 0, 7, turns, "completed", Score(0.0, {text: 1.0}, text), 1.0)


def rollouts(right: int) -> Iterator[Rollout]:
    yield from (told(repeat, repeat % 2 == right) for repeat in range(3))
    long = TASKS[1]
    turn = Turn([*long.input], Response([Message("assistant", [Text(LONG)])], "incomplete", "max_output_tokens"))
    yield Rollout(long.id, task_digest(long), 0, 0, 7, [turn], "token_cap", Score(0.0, answer=None), 60.0)
    failure = Failure("environment", "sandbox", "it died", True)
    yield Rollout(long.id, task_digest(long), 1, 0, 7, [], "failed", failure, 1.0)
    for task in TASKS[2:]:
        yield hostile(task)


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    top = tmp_path_factory.mktemp("rollout")
    write_run(top / "heron", TASKS, rollouts(0), 3)
    write_run(top / "egret", TASKS, rollouts(1), 3)
    with Viewer(top) as viewer:
        yield Client(viewer.url)


def test_it_shows_what_was_asked_said_called_and_how_it_was_judged(viewer: Client):
    page = viewer.get("/runs/heron/rollouts/mail/1/1")
    for words in (
        "How many eels?",
        "First the pond, then the river.",
        "call of look",
        "Error: nobody looks",
        "There are eels.",
        "yes, it is so",
        "grounded 0.25",
        "9 tokens in (3 cached), 7 out (5 reasoning)",
        "The judge",
        "exit code 3",
        "two eels counted",
    ):
        assert words in unescape(page.words), words
    assert f'<img src="{PIXEL}"' in page.text
    assert '<mark class="is-answer" title="read as the answer">3</mark>' in page.text
    assert '<mark class="is-finding" title="tool error">Error: nobody looks</mark>' in page.text
    assert "&#34;at&#34;: &#34;pond&#34;" in page.text


def test_conversations_are_kept_apart(viewer: Client):
    words = viewer.get("/runs/heron/rollouts/mail/1/1").words
    first, second = words.index("Conversation 1"), words.index("Conversation 2, which begins anew")
    assert first < words.index("There are eels.") < second < words.index("The subagent counts.")


def test_the_other_repeats_and_models_are_a_link_away(viewer: Client):
    page = viewer.get("/runs/heron/rollouts/mail/1/1?outcome=failing").text
    assert '/runs/egret/rollouts/mail%2F1/2?outcome=failing"' in page
    for key, href in (("[", "mail%2F1/0"), ("]", "mail%2F1/2"), ("b", "/runs/heron?outcome=failing")):
        assert re.search(rf'href="[^"]*{re.escape(href)}[^"]*"[^>]* data-key="{re.escape(key)}"', page), key


def test_a_failing_one_stands_beside_a_passing_one_with_what_differs_marked(viewer: Client):
    page = viewer.get("/runs/heron/rollouts/mail/1/1").text
    found = re.search(r'href="([^"]*)" data-key="c"', page)
    assert found and "compare with a passing one" in page
    beside = viewer.get(unescape(found[1])).text
    assert [*re.findall(r'<mark class="is-different">([^<]*)</mark>', beside)] == ["3", "4"]
    assert viewer.get("/runs/heron/rollouts/mail/1/1?with=0@egret").status == 200


def test_the_next_one_of_a_table_is_a_key_away(viewer: Client):
    page = viewer.get("/runs/heron/rollouts/mail/1/0?task=mail&sort=-repeat").text
    previous = re.search(r'href="([^"]*)" data-key="k"', page)
    assert previous and "/mail%2F1/1?" in previous[1]
    assert not re.search(r'href="[^"]*" data-key="j"', page)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("mail/1/9", 404),
        ("nothing/0", 404),
        ("mail/1/1?with=x", 422),
        ("mail/1/1?attempt=7", 404),
        ("mail/1/1?view=text&block=99", 404),
    ],
)
def test_what_is_not_there_is_said(viewer: Client, path: str, status: int):
    answer = viewer.get(f"/runs/heron/rollouts/{path}")
    assert (answer.status, "Traceback" in answer.text) == (status, False)


def test_a_failure_is_no_zero(viewer: Client):
    words = viewer.get("/runs/heron/rollouts/long/1").words
    assert "failed in the environment" in words and "it died" in words
    assert "reward 0" not in words


def test_a_long_text_is_shown_by_its_ends_and_whole_when_asked_for(viewer: Client):
    page = viewer.get("/runs/heron/rollouts/long/0")
    assert len(LONG) > 25 * len(page.text)
    assert "line 0 of" in page.text and "line 29999 of" in page.text and "line 15000 of" not in page.text
    found = re.search(r'<a class="gap" href="([^"]*)"', page.text)
    assert found
    whole = viewer.get(unescape(found[1]))
    assert (whole.text, whole.headers["content-type"]) == (LONG, "text/plain; charset=utf-8")


def test_raw_is_the_line_as_json(viewer: Client):
    answer = viewer.get("/runs/heron/rollouts/mail/1/1?view=raw")
    assert json.loads(answer.text)["outcome"]["answer"] == "3"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_hostile_texts_stay_texts(viewer: Client, number: int):
    task = TASKS[2 + number]
    page = viewer.get("/runs/heron", task=f"={task.id}").text
    found = re.search(r'<th scope="row"><a href="([^"]*)"', page)
    assert found
    answer = viewer.get(unescape(found[1]))
    assert answer.status == 200
    for text in (page, answer.text):
        assert not re.search(r"<(?:svg/|img src=x|!--)|window\.pwned = \d</script>", text)
        assert not re.search("[\0\x1b\u202e]", text)
        assert " onmouseover='" not in text


@pytest.mark.heavy
def test_keys_walk_and_the_whole_text_is_laid_out(viewer: Client, tab: Callable[..., Page]):
    page = tab(f"{viewer.url}runs/heron/rollouts/mail/1/0")
    for key, address in (("]", "**/mail%2F1/1"), ("c", "**/1?with=*"), ("c", "**/mail%2F1/1"), ("j", "**/mail%2F1/2")):
        page.keyboard.press(key)
        page.wait_for_url(address)
    page.goto(f"{viewer.url}runs/heron/rollouts/long/0")
    page.locator("a[data-whole]").click()
    page.locator(".chunk").nth(10).wait_for(state="attached")
    assert page.evaluate("document.querySelector('pre:has(.chunk)').textContent.length") == len(LONG)


@pytest.mark.heavy
@pytest.mark.parametrize("path", ["mail/1/1", "mail/1/1?with=0", "long/0"])
def test_it_fits_a_phone(viewer: Client, tab: Callable[..., Page], path: str):
    page = tab(f"{viewer.url}runs/heron/rollouts/{path}", 420, "dark")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0

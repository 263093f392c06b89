"""Review in the viewer: the same screens, marks and gates as `assay review`, by forms and by keys."""

import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from assay.benchmarks.arithmetic.problems import test_problems as problems
from assay.fidelity.profile import load_material
from assay.fidelity.review.screens import Screens
from assay.view.pages import review
from tests.commands import assay
from tests.view.client import Answer, Client
from tests.view.conftest import PROFILE, RUN, capped

REVIEW = f"/profiles/{PROFILE}/review"
ANSWERS = {problem.question: str(problem.answer) for problem in problems()}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def named(client: Client, by: str) -> Client:
    return Client(client.url, client.headers | {"cookie": f"reader={quote(by)}"})


def fields(answer: Answer) -> dict[str, str]:
    """The hidden fields of a page's first form."""
    form = answer.text.partition("<form")[2].partition("</form>")[0].replace('name="token"', "")
    return {
        name: html.unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)
    }


def fact(answer: Answer, name: str) -> str:
    found = re.search(rf"<dt>{name}</dt><dd>(.*?)</dd>", answer.text)
    assert found, answer.text
    return html.unescape(re.sub(r"<[^>]*>", "", found[1]))


def truth(answer: Answer) -> str:
    """What is at fault on a page, by working out its problem."""
    texts = {
        title: html.unescape(text)
        for title, text in re.findall(r"<h2><bdi>(.*?)</bdi></h2>\s*<pre[^>]*>(.*?)</pre>", answer.text, re.DOTALL)
    }
    right = ANSWERS[texts["user"].strip()]
    said = re.findall(r"-?\d+", texts.get("message", ""))
    if fact(answer, "gold") != right:
        return "task"
    is_right, read = bool(said) and said[-1] == right, fact(answer, "read as answer")
    misread = bool(said) and read not in (said[-1], "none was found")
    return "model" if is_right == (fact(answer, "reward") == "1") and not misread else "verifier"


def test_the_name_is_asked_for_once_and_kept(client: Client, folder: Path):
    first = client.get(REVIEW)
    assert "Who reads?" in first.words and "data-key" not in first.text
    assert "does not begin with" in client.post(REVIEW, does="name", by="model:qwen").words
    answer = client.post(REVIEW, does="name", by=" Ada  Lovelace ", follow=False)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("reader=Ada%20Lovelace;") and "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert "0 read by Ada Lovelace" in named(client, "Ada Lovelace").get(REVIEW).words
    assert "Nobody has said who reads" in client.post(REVIEW, fault="model").words
    assert lines(folder / "profiles/arithmetic/marks.jsonl") == []


def test_a_mark_is_kept_with_its_note_and_leads_on_and_undo_leads_back(client: Client, folder: Path):
    ada, path = named(client, "ada"), folder / "profiles/arithmetic/marks.jsonl"
    first = ada.get(REVIEW)
    after = ada.post(REVIEW, **fields(first), fault="verifier", note=" <b>a comma</b> ")
    [mark] = lines(path)
    assert (mark["fault"], mark["note"], mark["by"]) == ("verifier", "<b>a comma</b>", "ada")
    assert mark["content"] == fields(first)["about"] != fields(after)["about"]
    assert "Your last: " in after.words and "&lt;b&gt;a comma" in after.text and "<b>a comma" not in after.text
    back = ada.post(REVIEW, **fields(after), does="undo")
    assert fields(back)["about"] == mark["content"] and lines(path)[1]["withdrawn"] is True
    assert fields(ada.get(REVIEW))["about"] == mark["content"]
    skipped = ada.post(REVIEW, **fields(back), does="skip")
    assert fields(ada.get(REVIEW))["about"] == fields(skipped)["about"] != mark["content"]
    assert "is no mark; expected one of model" in ada.post(REVIEW, **fields(skipped), fault="humour").words
    assert (
        "is not among what ada has to read" in ada.post(REVIEW, **fields(skipped) | {"about": "x"}, fault="model").words
    )
    assert len(lines(path)) == 2


def test_what_the_terminal_marks_meanwhile_is_not_shown_again_and_nothing_is_lost(client: Client, folder: Path):
    profile, ada = folder / "profiles/arithmetic", named(client, "ada")
    first = ada.get(REVIEW)
    terminal = Screens(profile, load_material(profile), ["nano-thinking", "nano-instruct"], "ada")
    at = terminal.find((fields(first)["model"], fields(first)["about"]))
    assert at is not None
    following = terminal.next(at)
    assert following is not None
    one = terminal.all[following].rollout
    assert one
    terminal.mark(one, "unclear", "in the terminal")
    after = ada.post(REVIEW, **fields(first), fault="model")
    assert fields(after)["about"] not in (one.content, fields(first)["about"])
    assert [(mark["content"], mark["fault"]) for mark in lines(profile / "marks.jsonl")] == [
        (one.content, "unclear"),
        (fields(first)["about"], "model"),
    ]
    assert terminal.next(at) == terminal.find((fields(after)["model"], fields(after)["about"]))


def test_who_reads_all_rightly_finds_what_is_planted_and_the_gates_are_those_of_the_terminal(
    client: Client, folder: Path
):
    profile, ada = folder / "profiles/arithmetic", named(client, "ada")
    answer = ada.get(REVIEW)
    while "Is the reward right?" in answer.text or "Why it may stand" in answer.text:
        if "Why it may stand" in answer.text:
            answer = ada.post(REVIEW, **fields(answer), does="explain", note="it may")
        else:
            answer = ada.post(REVIEW, **fields(answer), fault=truth(answer))
    assert "Nothing is left to read" in answer.words and "do not know the newest marks yet" in answer.words
    before = json.loads((profile / "profile.json").read_text())["review"]
    ada.post(REVIEW, does="finish")
    found = json.loads((profile / "profile.json").read_text())["review"]
    assert (before["left"] > 0, found["left"], found["at_fault"]) == (True, 0, 0)
    assert found["readers"]["ada"]["found"] == found["readers"]["ada"]["planted"] > 0
    [gate] = [one for one in json.loads((profile / "profile.json").read_text())["gates"] if one["name"] == "read"]
    code, out, err = assay("review", str(profile), "--by", "ada", cwd=folder, stdin="m\n")
    assert code == 0 and f"read: {gate['verdict']}. {gate['reason'][:30]}" in " ".join(out.split()), err
    assert gate["verdict"] in ada.get(REVIEW).words


def test_a_finding_is_explained_in_words_or_its_rollouts_are_read(client: Client, folder: Path):
    capped(folder / "profiles/capped")
    review, path = "/profiles/profiles~capped/review", folder / "profiles/capped/marks.jsonl"
    ada = named(client, "ada")
    first = ada.get(review)
    assert first.words.startswith("token cap ") and "rollouts of nano-instruct" in first.words
    on = re.search(r'<a href="([^"]+)" data-key="enter">', first.text)
    assert on
    rollout = ada.get(html.unescape(on[1]))
    assert fact(rollout, "shown for").startswith("token cap: ") and "Is the reward right?" in rollout.words
    assert "An explanation needs words" in ada.post(review, **fields(first), does="explain", note=" ").words
    after = ada.post(review, **fields(first), does="explain", note="the cap is part of the protocol")
    [said] = lines(path)
    assert (said["type"], said["detector"], said["by"]) == ("explanation", "token cap", "ada")
    assert fields(after)["about"] != "token cap" and fields(ada.get(review))["about"] != "token cap"
    assert fields(ada.post(review, **fields(after), does="undo"))["about"] == "token cap"


def test_one_rollout_of_a_run_is_marked_in_its_profile_or_beside_it(client: Client, folder: Path):
    task = lines(folder / "runs/arithmetic/nano-thinking/tasks.jsonl")[0]["id"]
    place = {"task": task, "repeat": 1}
    for run, where in (
        (f"{PROFILE}~runs~nano-thinking", "profiles/arithmetic"),
        (RUN, "runs/arithmetic/nano-thinking"),
    ):
        answer = client.post(f"/runs/{run}/marks", **place, fault="task", note="n", by="eve", to=REVIEW, follow=False)
        assert (answer.status, answer.headers["location"]) == (303, REVIEW)
        answer = named(client, "eve").post(f"/runs/{run}/marks", **place, fault="", to="//x.example", follow=False)
        assert answer.headers["location"] == f"/runs/{run}/rollouts/{task}/1"
        first, second = lines(folder / where / "marks.jsonl")
        assert (first["model"], first["fault"], first["by"]) == ("nano-thinking", "task", "eve")
        assert second == first | {"withdrawn": True, "at": second["at"]}
    assert client.post(f"/runs/{RUN}/marks", task="gone", repeat=0, fault="task", by="eve").status == 404
    assert "is in no profile" in client.get(f"/runs/{RUN}/review").words


def test_who_only_looks_marks_nothing(shown: Client, made: Path):
    ada = named(shown, "ada")
    page = ada.get(REVIEW)
    assert "This viewer is read-only" in page.words and "<form" not in page.text
    assert ada.post(REVIEW, fault="model", model="", about="").status == 403
    assert not (made / "profiles/arithmetic/marks.jsonl").exists()


def press(page: Any, key: str, then: str) -> None:
    """Press a key that leads to another page, and wait until that one is there with its scripts."""
    with page.expect_navigation():
        page.keyboard.press(key)
    page.wait_for_selector(then)


@pytest.mark.heavy
def test_keys_alone(client: Client, folder: Path, tab: Any):
    page, path = tab(client.url.rstrip("/") + REVIEW), folder / "profiles/arithmetic/marks.jsonl"
    page.get_by_label("Your name").fill("Ada")
    press(page, "Enter", "text=Is the reward right?")
    page.keyboard.press("n")
    page.keyboard.type("vm it is a note")
    page.keyboard.press("Escape")
    press(page, "v", "text=Your last:")
    press(page, "b", '[aria-pressed="true"]')
    assert page.get_by_label("Note").input_value() == "vm it is a note"
    press(page, "m", ".said")
    press(page, "z", "text=Is the reward right?")
    assert page.url.endswith("n=0") and page.locator('[aria-pressed="true"]').count() == 0
    assert [(m["fault"], m.get("withdrawn", False), m["by"]) for m in lines(path)] == [
        ("verifier", False, "Ada"),
        ("model", False, "Ada"),
        ("model", True, "Ada"),
    ]


def test_a_review_that_reads_for_long_says_so_and_goes_on(client: Client, monkeypatch: pytest.MonkeyPatch):
    reading = named(client, "Ada")
    monkeypatch.setattr(review, "WAIT_S", 0.0)
    begun = reading.get(REVIEW, follow=False)
    assert (begun.status, begun.headers["refresh"]) == (200, "1")
    assert "The rollouts are being read" in begun.words
    monkeypatch.undo()
    assert "Is the reward right?" in reading.get(REVIEW).words

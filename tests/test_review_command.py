"""`assay review` as a person gives it: in a terminal, killed between two keys, and with lines where there is none."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ENVIRONMENT, assay
from tests.endpoint import Call, Endpoint, answer_body, answering, http

OWN_TERMINAL = """
import fcntl, runpy, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module("assay.cli", run_name="__main__", alter_sys=True)
"""
"""The command in a terminal that is its own, so that Ctrl-C is a signal to it."""
AT = "2026-01-01T00:00:00+00:00"
WIDE = {**ENVIRONMENT, "COLUMNS": "80"}


def profiled(folder: Path, *changes: str) -> Path:
    models = ("--models", "policy,nano-instruct", "--limit", "40", "--repeats", "2")
    code, _, err = assay("profile", "arithmetic", *models, "--out", str(folder), *changes, cwd=folder.parent)
    assert code == 0, err
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return profiled(tmp_path_factory.mktemp("made") / "p")


@pytest.fixture
def profile(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "p")
    return tmp_path / "p"


def review(profile: Path, *arguments: str, lines: str = "") -> tuple[int, str, str]:
    return assay("review", str(profile), *arguments, cwd=profile.parent, stdin=lines, COLUMNS="80")


def marks(profile: Path) -> list[dict[str, Any]]:
    path = profile / "marks.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def gate(profile: Path) -> str:
    """What the profile's own failures gate says."""
    gates = json.loads((profile / "profile.json").read_text())["gates"]
    return next(gate["verdict"] for gate in gates if gate["name"] == "failures")


def read_of(out: str, model: str) -> str:
    """How many of a model's sample are read, by the table at the end."""
    found = re.findall(rf"^{model} +\d+/\d+ +(\d+/\d+)", out, re.MULTILINE)
    return found[-1]


class Terminal:
    """A real terminal of 80 x 40 with the command in it."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.file, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
        self.before = termios.tcgetattr(inside)
        environment = {k: v for k, v in ENVIRONMENT.items() if k != "COLUMNS"} | {"TERM": "xterm"}
        command = [sys.executable, "-c", OWN_TERMINAL, "review", *arguments]
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        self.inside = inside
        self.seen = ""

    def expect(self, text: str) -> str:
        """Wait until the text is on the screen, and give back all since the last time."""
        deadline = time.monotonic() + 30
        while text not in self.seen:
            ready = select.select([self.file], [], [], max(0.0, deadline - time.monotonic()))[0]
            assert ready, f"{text!r} never came; there was {self.seen!r}"
            self.seen += os.read(self.file, 65536).decode()
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def press(self, keys: str) -> None:
        os.write(self.file, keys.encode())

    def end(self) -> int:
        code = self.process.wait(30)
        self.after = termios.tcgetattr(self.inside)
        return code


@contextlib.contextmanager
def terminal(*arguments: str, cwd: Path) -> Iterator[Terminal]:
    opened = Terminal(*arguments, cwd=cwd)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        os.close(opened.file)
        os.close(opened.inside)


def test_single_keys_mark_what_is_on_the_screen(profile: Path):
    with terminal("p", "--by", "ada", "--model", "nano-instruct", cwd=profile.parent) as screen:
        first = screen.expect("q quit")
        assert "nano-instruct · 1 of 10, drawn from" in first and "answer as read:" in first and "gold:" in first
        screen.press("x")
        screen.expect("is no key here")
        screen.press("\x1b[A\x1bOB")  # arrows: neither a nor b
        screen.press("n")
        screen.expect("note: ")
        screen.press("a carry\x7fy was lost\n")
        screen.expect("note: a carry was lost")
        screen.press("m")
        screen.expect("the model's.")
        screen.expect("2 of 10")
        screen.press("b")
        screen.expect("marked: the model's (a carry was lost)")
        screen.expect("q quit")
        screen.press("t")
        screen.expect("the task's.")
        screen.press("uSq")  # typed ahead
        screen.expect("failures: ")
        assert screen.end() == 0
        assert screen.after == screen.before
    found = marks(profile)
    assert [(m["fault"], m["note"], m["by"]) for m in found] == [
        ("model", "a carry was lost", "ada"),
        ("task", "", "ada"),
        ("unclear", "", "ada"),
    ]
    assert found[0]["content"] == found[1]["content"] != found[2]["content"]


def test_a_mark_is_taken_back_in_this_command_or_a_later_one(profile: Path):
    code, out, err = review(profile, "--by", "ada", lines="m\nv wrong key\nz\nm\n")
    assert code == 0 and "Taken back: what was said of" in out, err
    assert [(m["fault"], m.get("withdrawn", False)) for m in marks(profile)] == [
        ("model", False),
        ("verifier", False),
        ("verifier", True),
        ("model", False),
    ]
    assert marks(profile)[1]["content"] == marks(profile)[2]["content"] == marks(profile)[3]["content"]
    assert gate(profile) != "fail", "the verifier is no longer said to be at fault"
    code, out, err = review(profile, "--by", "ada", lines="z\nz\nz\n")
    assert code == 0 and "ada has said nothing that could be taken back." in out, err
    assert read_of(out, "nano-instruct" if "nano-instruct · 1 of" in out else "policy").startswith("0/")
    assert review(profile, "--by", "eve", lines="z\n")[1].count("Taken back") == 0


def test_marks_survive_kill_9_between_two_keys(profile: Path):
    for number in (1, 2):
        with terminal("p", "--model", "policy", cwd=profile.parent) as screen:
            screen.expect("q quit")
            screen.press("m")
            screen.expect("the model's.")
            screen.process.send_signal(signal.SIGKILL)
            assert screen.end() == -signal.SIGKILL
        assert len(marks(profile)) == number
    assert len({m["content"] for m in marks(profile)}) == 2
    assert int(read_of(review(profile, "--summary")[1], "policy").split("/")[0]) >= 2


@pytest.mark.parametrize("keys", ["\x04", "\x03"])
def test_end_of_input_and_ctrl_c_quit_and_keep_everything(profile: Path, keys: str):
    with terminal("p", cwd=profile.parent) as screen:
        screen.expect("q quit")
        screen.press("m")
        screen.expect("q quit")
        screen.press(keys)
        screen.expect("1 kept.")
        assert screen.end() == 0
        assert screen.after == screen.before
    assert len(marks(profile)) == 1


def test_lines_mark_where_there_is_no_terminal_and_the_gates_follow(profile: Path):
    code, out, err = review(profile, "--by", "ada", lines="m\nV the comma is missed\n? what\nn no\nm\n")
    assert code == 0, err
    assert gate(profile) == "fail"
    assert [(m["fault"], m["note"]) for m in marks(profile)] == [
        ("model", ""),
        ("verifier", "the comma is missed"),
        ("model", "no"),
    ]
    assert "'?' is no key here" in out
    assert "failures: fail. A reader found the verifier at fault" in out
    assert max(map(len, out.splitlines())) <= 80
    # A later mark of the same rollout holds; and the walk goes on with what is not marked.
    again = {**marks(profile)[1], "fault": "model", "note": "no, it is wrong"}
    (profile.parent / "more.jsonl").write_text(json.dumps(again))
    code, out, err = review(profile, "--marks", str(profile.parent / "more.jsonl"))
    assert (code, "added: 1 mark, 0 explanations" in out) == (0, True), err
    words = {"type": "explanation", "model": "policy", "detector": "token cpa", "note": "n", "by": "eve", "at": AT}
    (profile.parent / "more.jsonl").write_text(json.dumps(words))
    assert "no finding is named token cpa" in review(profile, "--marks", str(profile.parent / "more.jsonl"))[1]
    code, out, err = review(profile, lines="m\n" * 20)
    assert code == 0, err
    assert "nothing is left here" in out and "failures: pass" in out
    assert (read_of(out, "policy"), read_of(out, "nano-instruct")) == ("10/10", "10/10")
    assert "policy · 1 of 10" not in out
    assert gate(profile) == "pass"
    assert (profile / "report.html").stat().st_mtime > (profile / "plan.jsonl").stat().st_mtime


def test_marks_hold_in_another_folder_where_the_rollouts_are_the_same_and_only_there(profile: Path, tmp_path: Path):
    assert review(profile, lines="m\n" * 20)[0] == 0
    for name, seed, read in (("same", "0", "10/10"), ("other", "1", None)):
        twin = profiled(tmp_path / name, "--seed", seed)
        shutil.copy(profile / "marks.jsonl", twin)
        _, out, _ = review(twin, "--summary")
        found = read_of(out, "policy"), read_of(out, "nano-instruct")
        assert found == (read, read) if read else found != ("10/10", "10/10")


def test_a_finding_is_explained_before_the_sample_is_read(tmp_path: Path):
    capped = profiled(tmp_path / "p", "--set", "models.nano-instruct.sampling.max_output_tokens=2")
    only = ("--model", "nano-instruct")
    code, out, err = review(capped, *only, "--sample", "1", lines="e\n\ne the cap is part of the protocol\nq\n")
    assert code == 0, err
    assert "finding 1 of" in out and "token cap" in out and "An explanation needs words." in out
    (said,) = marks(capped)
    assert (said["type"], said["detector"], said["note"]) == (
        "explanation",
        "token cap",
        "the cap is part of the protocol",
    )
    _, out, _ = review(capped, *only, lines="q\n")
    assert "token cap: " not in out


def test_what_a_model_wrote_is_neither_markup_nor_an_escape(profile: Path):
    path = profile / "runs/policy/rollouts.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    hostile = "\x1b]0;owned\x07\x1b[2J[bold]hi[/] [/nothing] \u202eabc :smile:"
    for row in rows:
        row["turns"][0]["response"]["output"] = [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": hostile}]},
            {"type": "function_call", "call_id": "c", "name": "f\x1b[1m\n", "arguments": hostile},
        ]
        row["outcome"]["answer"] = hostile
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = review(profile, "--model", "policy", lines="\na\nn [red]x\x1b\nm\nq\n")  # past a finding
    assert code == 0, err
    assert "\x1b" not in out and "\x07" not in out and "\u202e" not in out
    assert "[U+001B]" in out and "[bold]hi[/] [/nothing]" in out and ":smile:" in out


def test_long_texts_are_clipped_until_all_is_asked_for(profile: Path):
    path = profile / "runs/policy/rollouts.jsonl"
    text = "\n".join(f"line {i}" for i in range(5000))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["turns"][0]["response"]["output"] = [
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "thought\n" * 99}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]},
        ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, out, _ = review(profile, "--model", "policy", lines="\nr\na\nq\n")
    _, first, reasoning, whole = out.split("policy · finding 1")[1:]  # behind the finding itself
    assert len(first.splitlines()) < 60 and "left out" in first and "line 4999" in first and "\nthought\n" not in first
    assert "\nthought\n" in reasoning and "line 2500" not in reasoning
    assert all(f"line {i}\n" in whole for i in range(5000))


def test_a_judge_is_heard_after_the_person_and_held_against_them(profile: Path):
    def fault(call: Call) -> str:
        data = json.loads(call.json["messages"][-1]["content"])
        right = len(str(data["reference"])) == len(str(data["read as the answer"]))
        return json.dumps({"reason": "I read it", "fault": "model" if right else "task"})

    async def behave(call: Call, writer: Any) -> None:
        writer.write(http(answer_body(call.path, fault(call))))

    with Endpoint(behave) as endpoint:
        (profile.parent / "assay.toml").write_text(
            f'[models.reader]\ndialect = "chat"\nid = "r"\nbase_url = "{endpoint.url}"\n'
        )
        code, out, err = review(profile, "--judge", "reader", "--model", "policy", lines="m\nm\nt\nq\n")
        asked = len(endpoint.calls)
        assert code == 0, err
        assert re.search(r"reader: \d+ marks proposed of \d+ asked for, 0 can't be read", out)
        first = out.index("had proposed")
        assert out.index("1 of 10, drawn") < first < out.index("2 of 10, drawn")
        assert "Cohen's kappa" in out or "no kappa can be told" in out
        assert "not to be counted" in " ".join(out.split())
        # Asked once for each; what it proposed counts nowhere.
        review(profile, "--judge", "reader", "--model", "policy", lines="q\n")
        assert len(endpoint.calls) == asked
    assert {m["proposed"] for m in marks(profile)} == {True, False}
    proposed = sum(m["proposed"] for m in marks(profile))
    assert proposed == asked and read_of(review(profile, "--summary")[1], "nano-instruct") == "0/10"


def test_a_judge_whose_words_are_no_marks_leaves_none(profile: Path):
    with Endpoint(answering("It is the model's fault.")) as endpoint:
        (profile.parent / "assay.toml").write_text(
            f'[models.reader]\ndialect = "chat"\nid = "r"\nbase_url = "{endpoint.url}"\n'
        )
        code, out, err = review(profile, "--judge", "reader", lines="q\n")
    assert code == 0, err
    assert "0 marks proposed" in out and marks(profile) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nano-instrukt"], "Did you mean nano-instruct?"),
        (["--sample", "0"], "--sample 0: expected at least 1"),
        (["--judge", "gold"], "expected a model that reads"),
        (["--judge", "nobody"], "there is no model 'nobody'"),
        (["--marks", "gone.jsonl"], "gone.jsonl can't be read"),
    ],
)
def test_what_cannot_be_is_told(profile: Path, arguments: list[str], words: str):
    code, _, err = review(profile, *arguments)
    assert (code, words in err) == (2, True), err


def test_a_folder_without_a_profile_is_told(tmp_path: Path):
    (tmp_path / "p").mkdir()
    code, _, err = review(tmp_path / "p")
    assert code == 2 and "is not a profile's folder" in err

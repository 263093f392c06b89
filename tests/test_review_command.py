"""`assay review` as a person gives it: in a terminal, killed between two keys, and with lines where there is none."""

import io
import json
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from assay.benchmarks.arithmetic import problems
from assay.cli.fidelity.keys import keys
from assay.cli.fidelity.walk import Walk
from assay.fidelity.profile import load_material
from assay.fidelity.review.screens import Screens
from tests.commands import ENVIRONMENT, assay
from tests.endpoint import Call, Endpoint, answer_body, answering, http
from tests.reader import ANSWERS, read, terminal

AT = "2026-01-01T00:00:00+00:00"
WIDE = {**ENVIRONMENT, "COLUMNS": "80"}


def profiled(folder: Path, *changes: str, benchmark: str = "arithmetic") -> Path:
    models = ("--models", "policy,nano-instruct", "--limit", "40", "--repeats", "2")
    code, _, err = assay("profile", benchmark, *models, "--out", str(folder), *changes, cwd=folder.parent)
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
    """What the profile's own read gate says."""
    gates = json.loads((profile / "profile.json").read_text())["gates"]
    return next(gate["verdict"] for gate in gates if gate["name"] == "read")


def read_of(out: str, model: str) -> str:
    """How many of a model's rollouts are read, by the table at the end."""
    found = re.findall(rf"^{model} +\d+/\d+ +(\d+/\d+)", out, re.MULTILINE)
    return found[-1]


@pytest.mark.heavy
def test_who_reads_rightly_passes_the_gate_in_a_real_terminal(profile: Path):
    with terminal("p", "--by", "ada", cwd=profile.parent, size=(60, 160)) as screen:
        out = read(screen)
        assert "nothing is left here" in out and screen.after == screen.before
    assert gate(profile) == "pass", out
    found = json.loads((profile / "profile.json").read_text())["review"]
    assert (found["left"], found["at_fault"], found["readers"]["ada"]["found"]) == (0, 0, 12)
    assert (profile / "report.html").stat().st_mtime > (profile / "plan.jsonl").stat().st_mtime


@pytest.mark.heavy
@pytest.mark.parametrize(("key", "verdict"), [("m", "inconclusive"), ("v", "fail"), ("u", "inconclusive")])
def test_who_presses_one_key_throughout_does_not_pass(profile: Path, key: str, verdict: str):
    code, out, err = review(profile, "--by", "ada", lines=f"x it is so\n{key}\n" * 300)
    assert code == 0, err
    assert gate(profile) == verdict, out
    if key == "m":
        assert "ada missed planted faults" in " ".join(out.split())


@pytest.mark.heavy
def test_single_keys_mark_what_is_on_the_screen(profile: Path):
    with terminal("p", "--by", "ada", "--model", "policy", cwd=profile.parent) as screen:
        first = screen.expect("q quit")
        assert "policy · " in first and " to read, about " in first
        assert "answer as read:" in first and "gold:" in first
        screen.press("x")
        screen.expect("is no key here")
        screen.press("\x1b[A\x1bOB")  # arrows: neither a nor b
        screen.press("n")
        screen.expect("note: ")
        screen.press("a carry\x7fy was lost\n")
        screen.expect("note: a carry was lost")
        screen.press("m")
        screen.expect("the model's.")
        second = screen.expect("q quit")
        counts = [int(re.findall(r"· (\d+) to read", text)[-1]) for text in (first, second)]
        assert counts[1] == counts[0] - 1
        screen.press("b")
        screen.expect("marked: the model's (a carry was lost)")
        screen.expect("q quit")
        screen.press("t")
        screen.expect("the task's.")
        screen.press("uSq")  # typed ahead
        screen.expect("read: ")
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
    code, out, err = review(profile, "--by", "ada", "--model", "policy", lines="m\nv wrong key\nz\nm\n")
    assert code == 0 and "Taken back: what was said of" in out, err
    assert [(m["fault"], m.get("withdrawn", False)) for m in marks(profile)] == [
        ("model", False),
        ("verifier", False),
        ("verifier", True),
        ("model", False),
    ]
    assert marks(profile)[1]["content"] == marks(profile)[2]["content"] == marks(profile)[3]["content"]
    code, out, err = review(profile, "--by", "ada", "--model", "policy", lines="z\nz\nz\n")
    assert code == 0 and "ada has said nothing that could be taken back." in out, err
    assert read_of(out, "nano-instruct").startswith("0/") and read_of(out, "policy").startswith("0/")
    assert review(profile, "--by", "eve", lines="z\n")[1].count("Taken back") == 0


def test_what_a_reader_marks_in_a_terminal_and_elsewhere_at_once_is_all_kept_and_shown_once(profile: Path):
    with terminal("p", "--by", "ada", "--model", "policy", cwd=profile.parent) as screen:
        first = screen.expect("q quit")
        elsewhere = Screens(profile, load_material(profile), ["policy"], "ada")
        shown = [one.rollout for one in elsewhere.all if one.rollout]
        elsewhere.mark(shown[1], "model")
        screen.press("m")
        screen.expect("the model's.")
        second = screen.expect("q quit")
        assert f"{shown[2].rollout.task} · repeat {shown[2].rollout.repeat}" in second
        counts = [int(re.findall(r"· (\d+) to read", text)[-1]) for text in (first, second)]
        assert counts[1] == counts[0] - 2
        assert elsewhere.next() == elsewhere.all.index(next(s for s in elsewhere.all if s.rollout is shown[2]))
        screen.press("q")
    assert [m["content"] for m in marks(profile)] == [shown[1].content, shown[0].content]


@pytest.mark.heavy
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
    assert int(read_of(review(profile, "--summary")[1], "policy").split("/")[0]) == 2


@pytest.mark.heavy
@pytest.mark.parametrize("keys", ["\x04", "\x03"])
def test_end_of_input_and_ctrl_c_quit_and_keep_everything(profile: Path, keys: str):
    with terminal("p", "--model", "policy", cwd=profile.parent) as screen:
        screen.expect("q quit")
        screen.press("m")
        screen.expect("q quit")
        screen.press(keys)
        screen.expect("1 kept.")
        assert screen.end() == 0
        assert screen.after == screen.before
    assert len(marks(profile)) == 1


@pytest.mark.heavy
def test_lines_mark_where_there_is_no_terminal_and_the_gates_follow(profile: Path):
    code, out, err = review(
        profile, "--by", "ada", "--model", "policy", lines="m\nV the comma is missed\n? what\nn no\nm\n"
    )
    assert code == 0, err
    assert gate(profile) == "inconclusive", "nothing is said of single marks before all is read"
    assert [(m["fault"], m["note"]) for m in marks(profile)] == [
        ("model", ""),
        ("verifier", "the comma is missed"),
        ("model", "no"),
    ]
    assert "'?' is no key here" in out and "read: inconclusive. Still to be read:" in out
    assert max(map(len, out.splitlines())) <= 80
    again = {**marks(profile)[1], "fault": "model", "note": "no, it is wrong"}
    (profile.parent / "more.jsonl").write_text(json.dumps(again))
    code, out, err = review(profile, "--marks", str(profile.parent / "more.jsonl"))
    assert (code, "added: 1 mark, 0 explanations" in out) == (0, True), err
    words = {"type": "explanation", "model": "policy", "detector": "token cpa", "note": "n", "by": "eve", "at": AT}
    (profile.parent / "more.jsonl").write_text(json.dumps(words))
    assert "no finding is named token cpa" in review(profile, "--marks", str(profile.parent / "more.jsonl"))[1]


MISREADS = """\
        score = integer(response, int(task.gold or ""))
        return Score(reward=0.0, answer=score.answer) if (score.answer or "").endswith("6") else score
"""


@pytest.mark.heavy
def test_a_verifier_that_was_mended_passes_once_what_nobody_had_read_is_read(tmp_path: Path):
    bench = tmp_path / "sums"
    shipped = Path(problems.__file__).parent
    shutil.copytree(shipped, bench, ignore=shutil.ignore_patterns("__pycache__"))
    code = (bench / "benchmark.py").read_text().replace("assay.benchmarks.arithmetic.problems", ".problems")
    right = '        return integer(response, int(task.gold or ""))\n'
    assert right in code
    (bench / "benchmark.py").write_text(code.replace(right, MISREADS))
    broken = profiled(tmp_path / "p", benchmark="./sums")
    with terminal("p", "--by", "ada", cwd=tmp_path, size=(60, 160)) as screen:
        out = read(screen)
    assert gate(broken) == "fail" and "neither mended nor declared: the verifier at" in " ".join(out.split()), out
    (bench / "benchmark.py").write_text(code)
    done, out, err = assay("rescore", "p", "--out", "mended", cwd=tmp_path)
    assert done == 0, err
    assert gate(tmp_path / "mended") == "inconclusive"
    with terminal("mended", "--by", "ada", cwd=tmp_path, size=(60, 160)) as screen:
        out = read(screen)
    assert gate(tmp_path / "mended") == "pass" and "read after the verifier was mended" in " ".join(out.split()), out


@pytest.mark.heavy
def test_a_second_reader_is_shown_what_the_first_could_not_decide(profile: Path):
    with terminal("p", "--by", "ada", cwd=profile.parent, size=(60, 160)) as screen:
        read(screen)
    (profile.parent / "more.jsonl").write_text("")
    doubtful = {
        **next(m for m in marks(profile) if (m["fault"], m["model"]) == ("model", "policy")),
        "fault": "unclear",
    }
    (profile.parent / "more.jsonl").write_text(json.dumps(doubtful))
    assert "A second reader has to settle" in " ".join(
        review(profile, "--marks", str(profile.parent / "more.jsonl"))[1].split()
    )
    assert "0 kept; nothing is left here." in review(profile, "--by", "ada", "--model", "policy", lines="m\n")[1]
    with terminal("p", "--by", "eve", cwd=profile.parent, size=(60, 160)) as screen:
        assert "13 kept; nothing is left here." in read(screen)
    assert gate(profile) == "pass"


@pytest.mark.heavy
def test_marks_hold_in_another_folder_where_the_rollouts_are_the_same_and_only_there(profile: Path, tmp_path: Path):
    assert review(profile, lines="x so it is\nm\n" * 200)[0] == 0
    whole = {name: read_of(review(profile, "--summary")[1], name) for name in ("policy", "nano-instruct")}
    assert all(len({*counts.split("/")}) == 1 for counts in whole.values())
    for name, seed in (("same", "0"), ("other", "1")):
        twin = profiled(tmp_path / name, "--seed", seed)
        shutil.copy(profile / "marks.jsonl", twin)
        _, out, _ = review(twin, "--summary")
        assert ({model: read_of(out, model) for model in whole} == whole) == (name == "same")


def test_what_is_due_once_all_is_read_follows_before_anything_is_called_the_end(
    profile: Path, monkeypatch: pytest.MonkeyPatch
):
    screens = Screens(profile, load_material(profile), ["policy"], "ada")
    screens.all = screens.all[:3]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"m\n" * 1000)))
    printed = io.StringIO()
    Walk(screens, keys(), Console(file=printed, width=80)).go()
    assert printed.getvalue().count("nothing is left here") == 1
    assert len(marks(profile)) > 3 and screens.left == []


class Interrupted(Console):
    """A console that Ctrl-C interrupts as it leaves its hundredth line."""

    lines = 0

    def __exit__(self, *error: Any) -> None:
        self.lines += 1
        if self.lines == 100:
            raise KeyboardInterrupt
        super().__exit__(*error)


def test_ctrl_c_while_a_line_is_printed_says_what_is_kept(profile: Path, monkeypatch: pytest.MonkeyPatch):
    screens = Screens(profile, load_material(profile), ["policy"], "ada")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"m\n" * 1000)))
    printed = io.StringIO()
    Walk(screens, keys(), Interrupted(file=printed, width=80)).go()
    assert printed.getvalue().endswith(f"{screens.kept} kept.\n") and 0 < screens.kept == len(marks(profile))


@pytest.mark.heavy
def test_a_finding_is_explained_before_what_is_drawn_is_read(tmp_path: Path):
    capped = profiled(tmp_path / "p", "--set", "models.nano-instruct.sampling.max_output_tokens=2")
    only = ("--model", "nano-instruct")
    code, out, err = review(capped, *only, lines="x\n\nx the cap is part of the protocol\nq\n")
    assert code == 0, err
    assert "token cap" in out and "An explanation needs words." in out
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


@pytest.mark.heavy
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
    _, first, reasoning, whole = re.split(r"policy · \d+ to read", out)[1:]  # behind the finding itself
    assert len(first.splitlines()) < 60 and "left out" in first and "line 4999" in first and "\nthought\n" not in first
    assert "\nthought\n" in reasoning and "line 2500" not in reasoning
    assert all(f"line {i}\n" in whole for i in range(5000))


def reading(call: Call) -> str:
    """What a model says that works the problem out itself."""
    data = json.loads(call.json["messages"][-1]["content"])
    answer = str(ANSWERS[data["task"][0]["user"]])
    final = next((piece["message"].strip() for piece in data["attempt"] if "message" in piece), None)
    if data["reference"] != answer:
        return "task"
    return "model" if (final == answer) == (data["reward"] == 1) and data["read as the answer"] == final else "verifier"


def with_reader(profile: Path, endpoint: Endpoint) -> tuple[str, ...]:
    (profile.parent / "assay.toml").write_text(
        f'[models.qwen]\ndialect = "chat"\nid = "r"\nbase_url = "{endpoint.url}"\n'
    )
    return ("--reader", "qwen")


@pytest.mark.heavy
@pytest.mark.parametrize("sound", [True, False])
def test_a_model_that_reads_is_measured_as_a_person_is_and_named(profile: Path, sound: bool):
    async def behave(call: Call, writer: Any) -> None:
        said = {"reason": "I worked it out", "fault": reading(call) if sound else "model"}
        writer.write(http(answer_body(call.path, json.dumps(said))))

    with Endpoint(behave) as endpoint:
        code, out, err = review(profile, *with_reader(profile, endpoint))
        asked = len(endpoint.calls)
        assert code == 0 and "model:qwen reads" in out, err
        assert gate(profile) == ("pass" if sound else "inconclusive"), out
        assert f"model:qwen read {asked}" in " ".join(out.split())
        review(profile, *with_reader(profile, endpoint))
        assert len(endpoint.calls) == asked, "it is asked once for each"
    assert {m["by"] for m in marks(profile)} == {"model:qwen"}


def test_a_model_whose_words_are_no_marks_leaves_none(profile: Path):
    with Endpoint(answering("It is the model's fault.")) as endpoint:
        code, out, err = review(profile, *with_reader(profile, endpoint))
    assert code == 0, err
    assert "0 marks of" in out and marks(profile) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nano-instrukt"], "Did you mean nano-instruct?"),
        (["--by", "model:qwen"], "the name of a person doesn't begin with 'model:'"),
        (["--reader", "gold"], "expected a model that reads"),
        (["--reader", "nobody"], "there is no model 'nobody'"),
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

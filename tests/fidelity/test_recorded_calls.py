"""`assay record`: the original's own code asks a recorder, and what it asked and scored becomes a reference."""

import importlib.util
import json
import os
import re
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from assay.benchmark.catalog import load
from assay.fidelity.original.recording import recording
from assay.fidelity.original.reference import OriginalResults, read
from assay.types import Message, Response, Task, Tool, Turn
from tests.benchmarks.data import beside, ifeval_file
from tests.commands import assay, start, until
from tests.sandbox.available import needs_bubblewrap

TASKS = [
    Task(id=f"t{i}", input=[Message(role="user", content=f"How much is {i} + {i}, all in all?\n\nAnswer.")])
    for i in range(3)
]


def turn(text: str, answer: str, follows: int | None = -1) -> Turn:
    said = Response(output=[Message(role="assistant", content=answer)])
    return Turn(input=[Message(role="user", content=text)], response=said, follows=follows)


def results(tmp_path: Path, *rows: dict[str, Any]) -> OriginalResults:
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read(tmp_path / "s.jsonl")


def test_a_prompt_is_the_task_whose_line_it_holds_last():
    shown = "How much is 1 + 1, all in all? 2\n"
    turns = [
        turn("How much is 0 + 0, all in all?\n\nAnswer.", "0"),
        turn(f"{shown}Question: How much is 2 + 2, all in all?\nA:", "4"),
        turn("Are you there?", "yes"),
    ]
    made = recording(turns, TASKS, None)
    assert [(row.task, row.score) for row in made.rows] == [("t0", None), ("t2", None)]
    assert made.unmatched == ["Are you there?"]


def test_scores_go_to_the_output_that_they_were_given_for_else_in_order(tmp_path: Path):
    asked = "How much is 1 + 1, all in all?"
    turns = [turn(asked, "3"), turn(asked, "2"), turn(asked, "5"), turn("How much is 2 + 2, all in all?", "4")]
    scores = results(
        tmp_path,
        {"task": "t1", "score": 1, "output": "2"},
        {"task": "t1", "score": 0, "output": "3"},
        {"task": "t1", "score": 0, "output": "17"},
        {"task": "t2", "score": 0.5},
    )
    made = recording(turns, TASKS, scores)
    assert [(row.task, row.repeat, row.score) for row in made.rows] == [("t1", 0, 0), ("t1", 1, 1), ("t2", 0, 0.5)]
    assert (made.unscored, made.unrecorded) == (["t1"], ["t1"])


def test_of_tasks_with_one_prompt_the_tools_tell_which_it_is_else_the_scores(tmp_path: Path):
    asked = "How much is it, all in all?"
    with_tool = [Tool(name, {"type": "object"}) for name in ("add", "take")]
    tasks = [
        Task(id=f"t{i}", input=[Message(role="user", content=asked)], tools=[tool])
        for i, tool in enumerate([*with_tool, with_tool[1]])
    ]
    turns = [turn(asked, answer) for answer in ("0", "1", "2")]
    tools = [{"take"}, {"add"}, {"take"}]
    made = recording(turns, tasks, None, tools)
    assert [(row.task, row.repeat) for row in made.rows] == [("t1", 0), ("t0", 0), ("t2", 0)]
    made = recording(turns[:1], tasks, results(tmp_path, {"task": "t2", "score": 1}), tools)
    assert [(row.task, row.score) for row in made.rows] == [("t2", 1)]
    assert (made.unscored, made.unrecorded) == ([], [])


def test_a_conversation_is_one_result_with_its_turns():
    asked = "How much is 1 + 1, all in all?"
    turns = [turn(asked, "Let me see."), turn("How much is 2 + 2, all in all?", "4"), turn("Well?", "2", follows=0)]
    made = recording(turns, TASKS, None)
    assert [(row.task, len(row.output or ())) for row in made.rows] == [("t2", 1), ("t1", 2)]


ORIGINAL = """
import json, sys
import openai
client = openai.OpenAI()
with open("scores.jsonl", "w") as file:
    for task in map(json.loads, open("tasks.jsonl")):
        said = client.chat.completions.create(
            model="gpt-4", temperature=0, messages=[{"role": "user", "content": task["question"]}]
        ).choices[0].message.content
        file.write(json.dumps({"question": task["question"], "score": task["gold"] in said}) + "\\n")
client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "Is all done?"}])
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.heavy
def test_code_with_a_scorer_of_its_own(tmp_path: Path):
    tasks = [*load("arithmetic").environment.tasks()][:6]
    rows = [{"question": task.input[0].text, "gold": task.gold} for task in tasks]  # type: ignore
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "original.py").write_text(ORIGINAL)
    command = ("record", "--benchmark", "arithmetic", "--model", "nano-instruct", "--scores", "scores.jsonl")
    code, out, err = assay(*command, "--", sys.executable, "original.py", "0", cwd=tmp_path)
    assert code == 0, err
    assert "7 calls were recorded" in out and "1 prompts are no task's:\n  Is all done?" in out
    file = "recorded/arithmetic-nano-instruct/reference.jsonl"
    assert f"assay parity arithmetic --reference {file} --setting temperature=0" in out
    code, out, err = assay("parity", "arithmetic", "--reference", file, cwd=tmp_path)
    assert code == 5 and "6 rendered prompts are the same" in " ".join(out.split()), err
    assert "6 outputs are scored alike" in " ".join(out.split())

    code, _, err = assay(*command, "--", sys.executable, "original.py", "0", cwd=tmp_path)
    assert code == 2 and "holds calls already" in err
    (tmp_path / file).unlink()
    code, out, err = assay(*command, cwd=tmp_path)
    assert code == 0 and "6 results are in" in out and (tmp_path / file).exists(), err
    code, out, _ = assay(*command, "--out", "again", "--", sys.executable, "original.py", "3", cwd=tmp_path)
    assert code == 4 and "the command ended with exit code 3" in out
    code, _, err = assay(*command, "--out", "none", "--", "./no-such-command", cwd=tmp_path)
    assert code == 2 and "./no-such-command can't be started" in err
    code, _, err = assay(*command, "--out", "none", cwd=tmp_path)
    assert code == 2 and "there is no command; give it after --" in err


CURIOUS = """
import json, os, pathlib, socket, sys, urllib.request

def tries(what, *arguments):
    try:
        return str(what(*arguments))
    except OSError as error:
        return type(error).__name__

body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Is anybody there?"}]}).encode()
asked = urllib.request.Request(sys.argv[1] + "/chat/completions", body, {"content-type": "application/json"})
print(urllib.request.urlopen(asked).status, "was the recorder's answer")
seen = {
    "reached": tries(socket.create_connection, ("127.0.0.1", int(sys.argv[2]))),
    "outside": tries(open, sys.argv[3], "w"),
    "kernel": tries(open, "/proc/sys/kernel/core_pattern", "r+"),
    "calls": tries(open, "recorded/new", "w"),
    "renamed": tries(os.rename, "recorded", "other"),
    "inherited": [name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")],
    "environment": "".join(file.read_text() for file in pathlib.Path("/proc").glob("[0-9]*/environ")),
}
pathlib.Path("seen.json").write_text(json.dumps(seen))
sys.exit(3)
"""


@needs_bubblewrap
def test_a_command_in_a_sandbox_reaches_the_recorder_and_its_folder_alone(tmp_path: Path):
    (tmp_path / "curious.py").write_text(CURIOUS)
    outside = Path(__file__).with_name("written-by-a-command")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = str(listener.getsockname()[1])
        command = ["record", "--benchmark", "arithmetic", "--model", "nano-instruct", "--sandbox", "bubblewrap", "--"]
        command += [sys.executable, "curious.py", "{url}", port, str(outside)]
        code, out, err = assay(*command, cwd=tmp_path, OPENAI_API_KEY="sk-mine", OTHER_KEY="sk-other")
        assert code == 4 and "the command ended with exit code 3" in out, err
        assert "200 was the recorder's answer" in out and "1 calls were recorded" in out
        with pytest.raises(BlockingIOError):
            listener.accept()
    seen = json.loads((tmp_path / "seen.json").read_bytes())
    assert seen["reached"] == "ConnectionRefusedError"
    # The sandbox has a /tmp of its own, so a checkout there can't even be seen.
    assert seen["outside"] in ("OSError", "FileNotFoundError")
    assert [seen[what] for what in ("kernel", "calls", "renamed")] == ["OSError"] * 3
    assert not outside.exists()
    assert set(seen["inherited"]) == {"0", "1", "2"}
    assert "OPENAI_API_KEY=recorded" in seen["environment"] and "sk-" not in seen["environment"]


@needs_bubblewrap
def test_an_interrupt_ends_all_processes_of_the_sandbox(tmp_path: Path):
    mark = f"interrupted-{os.getpid()}"
    command = ["record", "--benchmark", "arithmetic", "--model", "nano-instruct", "--sandbox", "bubblewrap", "--"]
    process = start(*command, "sh", "-c", f"sh -c 'sleep 600; : {mark}' & touch begun; wait", cwd=tmp_path)
    try:
        until((tmp_path / "begun").exists)
        assert _running(mark)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        until(lambda: not _running(mark))
    finally:
        process.kill()
        process.communicate()


def _running(mark: str) -> list[str]:
    """Returns the processes with a mark in their command line."""
    found: list[str] = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if mark in file.read_text(errors="replace"):
                found.append(file.parent.name)
    return found


@needs_bubblewrap
def test_a_sandbox_that_shuts_nothing_off_is_refused(tmp_path: Path):
    command = ["record", "--benchmark", "arithmetic", "--model", "nano-instruct", "--sandbox"]
    for sandbox, path, words in (
        ("subprocess", os.environ["PATH"], "shuts nothing off"),
        ("docker", os.environ["PATH"], "--sandbox docker: a recorded command runs in bubblewrap"),
        ("bubblewrap", "/nowhere", "bubblewrap sandboxes need bwrap"),
    ):
        code, _, err = assay(*command, sandbox, "--", "touch", "ran", cwd=tmp_path, PATH=path)
        assert code == 2 and words in err, err
    code, _, err = assay(*command, "bubblewrap", "--out", ".", "--", "touch", "ran", cwd=tmp_path)
    assert code == 2 and "choose another --out" in err
    code, out, err = assay(*command, "bubblewrap", "--", "./no-such-command", cwd=tmp_path)
    assert code == 4 and "./no-such-command can't be started: No such file" in err, out
    assert not (tmp_path / "ran").exists()
    code, _, err = assay(*command, "subprocess", "--unsafe", "--", "touch", "ran", cwd=tmp_path)
    assert (tmp_path / "ran").exists(), err


LM_TASK = """
include: INSTALLED
task: local
dataset_path: json
dataset_name: null
dataset_kwargs: {data_files: {SPLIT: DATA}}
training_split: null
fewshot_split: null
num_fewshot: 0
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("benchmark", "score"),
    [
        ("gsm8k", "exact_match,flexible-extract"),
        pytest.param("ifeval", "prompt_level_strict_acc", marks=pytest.mark.slow),
    ],
)
def test_lm_evaluation_harness_is_recorded_and_judges_alike(benchmark: str, score: str, tmp_path: Path):
    """On an embedded model, whose short outputs the harness and Assay judge alike; docs/real-data.md names the rest."""
    if not (found := importlib.util.find_spec("lm_eval")) or found.origin is None:  # importing it takes seconds
        pytest.skip("lm_eval is not installed")
    if benchmark == "ifeval":
        pytest.importorskip("punkt", reason="the extra `ifeval` is not installed")
        write_punkt(tmp_path / "nltk")
    data, split = tmp_path / "data.jsonl", "train" if benchmark == "ifeval" else "test"
    name = "input_data.jsonl" if benchmark == "ifeval" else "test.jsonl"
    if benchmark == "ifeval":
        ifeval_file(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(beside("gsm8k", name).read_bytes())
    data.write_bytes((tmp_path / name).read_bytes())
    here = {"ASSAY_DATA": str(tmp_path / "prepared"), "NLTK_DATA": str(tmp_path / "nltk"), "HF_HUB_OFFLINE": "1"}
    here["HF_DATASETS_CACHE"] = str(tmp_path / "cache")
    code, _, err = assay("prepare", benchmark, "--from", name, cwd=tmp_path, **here)
    assert code == 0, err
    installed = Path(found.origin).parent / "tasks" / benchmark / f"{benchmark}.yaml"
    text = LM_TASK.replace("INSTALLED", str(installed)).replace("SPLIT", split).replace("DATA", str(data))
    (tmp_path / "local.yaml").write_text(text)
    where = "model=gpt-4,base_url={url}/chat/completions,num_concurrent=4"
    harness = [sys.executable, "-m", "lm_eval", "run", "--model", "local-chat-completions", "--model_args", where]
    more = ["--apply_chat_template", "--include_path", ".", "--tasks", "local", "--limit", "25", "--output_path", "o"]
    command = ["record", "--benchmark", benchmark, "--model", "nano-instruct", "--scores", "o"]
    command += ["--column", f"score={score}"]
    code, out, err = assay(*command, "--", *harness, *more, "--log_samples", cwd=tmp_path, timeout=280, **here)
    assert code == 0 and "25 calls were recorded" in out, err[-2000:]
    file = f"recorded/{benchmark}-nano-instruct/reference.jsonl"
    code, out, err = assay("parity", benchmark, "--reference", file, cwd=tmp_path, **here)
    alike = re.search(r"(\d+) outputs are scored alike by both verifiers", " ".join(out.split()))
    # Of ifeval's first 25 prompts two are among those whose judgement the original leaves to chance.
    assert alike and int(alike[1]) == (23 if benchmark == "ifeval" else 25), out + err


def write_punkt(folder: Path) -> None:
    """Writes the sentence model that the harness looks for, of the package that Assay takes it from."""
    from nltk.tokenize.punkt import PunktParameters, save_punkt_params  # noqa: PLC0415
    from punkt.data import english  # noqa: PLC0415

    (folder / "tokenizers" / "punkt_tab").mkdir(parents=True)
    model = PunktParameters()
    model.abbrev_types, model.sent_starters = set(english.ABBREV_TYPES), set(english.SENT_STARTERS)
    model.collocations = {tuple(pair) for pair in english.COLLOCATIONS}
    model.ortho_context.update(english.ORTHO_CONTEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nltk.data.path", [str(folder)])
        save_punkt_params(model, dir=str(folder / "tokenizers" / "punkt_tab" / "english"))

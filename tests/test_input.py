"""Files that commands read, and what may lie in their places: each is one line that names the file, and exit code 2."""

import os
import shutil
import socket
import sys
from contextlib import chdir
from pathlib import Path

import pytest

from assay.cli import main
from assay.store import Store
from tests.commands import assay
from tests.runs import TASKS, record, rollout

DEEP = 200_000


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def local_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, chdir(path.parent):  # a socket's path has to be short
        made.bind(path.name)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def deep(path: Path) -> None:
    path.write_text(("a = " if path.suffix == ".toml" else '{"a":') + "[" * DEEP + "\n")


KINDS = (folder, pipe, device, local_socket, loop, dangling, deep)
COMMANDS = {
    "a suite": ("suite.toml", "profile arithmetic --suite suite.toml"),
    "a policy": ("policy.toml", "compare run run --policy policy.toml"),
    "assay.toml": ("assay.toml", "run arithmetic --model mine --limit 1"),
    "a quiz": ("quiz.jsonl", "run mcq:quiz.jsonl --model null"),
    "rows": ("rows.jsonl", "import nemo-gym rows.jsonl --out imported"),
    "original results": ("original.jsonl", "parity arithmetic --reference original.jsonl"),
    "a replay": ("replayed.jsonl", "run arithmetic --model replay:replayed.jsonl"),
    "run.json": ("run/run.json", "repeats run"),
    "tasks.jsonl": ("run/tasks.jsonl", "repeats run"),
    "rollouts.jsonl": ("run/rollouts.jsonl", "repeats run"),
    "a part's run.json": ("run/run.json", "merge whole run"),
    "a part's tasks": ("run/tasks.jsonl", "merge whole run"),
    "a part's rollouts": ("run/rollouts.jsonl", "merge whole run"),
    "a certificate": ("certificate.json", "verify certificate.json"),
    "what failed": ("run/rollouts.jsonl", "failures run"),
    "a replayed run": ("run/rollouts.jsonl", "run arithmetic --model replay:run"),
    "a plan": ("run/plan.jsonl", "report run"),
    "a chat template": (
        "chat.json",
        "run arithmetic --model completions:x --base-url http://localhost:1/v1 --set model.chat_template=chat.json",
    ),
    "data": ("test.jsonl", "prepare gsm8k --from test.jsonl"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("name", "kind"),
    # A certificate that is too deep is a file, and forged.
    [(name, kind) for name in COMMANDS for kind in KINDS if (name, kind) != ("a certificate", deep)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_what_is_no_file_or_too_deep_is_one_line_that_names_it(
    name: str, kind: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store(Path("run"), record(), TASKS) as store:
        store.append(rollout(0))
    file, command = COMMANDS[name]
    Path(file).unlink(missing_ok=True)
    assert callable(kind)
    kind(Path(file))
    monkeypatch.setattr(sys, "argv", ["assay", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert said.startswith("assay: ") and Path(file).name.partition(".")[0] in said, said
    assert len(said) < 2000


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made")
    arguments = ("--limit", "3", "--repeats", "1", "--models", "gold,null", "--out", "profiles/p")
    code, _, err = assay("profile", "arithmetic", *arguments, cwd=place)
    assert code == 0, err
    return place


def binary(path: Path) -> None:
    path.write_bytes(b"\x80\x81\x82")


def another_object(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"{}")


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        *[("runs/gold/run.json", kind) for kind in (loop, dangling, binary)],
        *[("runs/gold", kind) for kind in (loop, dangling)],
        *[("runs/gold/rollouts.jsonl", kind) for kind in (loop, dangling, binary, another_object)],
        *[("plan.jsonl", kind) for kind in (loop, dangling, binary, another_object)],
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_no_model_is_left_out_of_a_report_silently(profile: Path, tmp_path: Path, file: str, kind: object):
    shutil.copytree(profile, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "profiles/p" / file
    if kind is not another_object:
        path.rename(tmp_path / "aside")
    assert callable(kind)
    kind(path)
    code, _, err = assay("report", "profiles/p", cwd=tmp_path)
    assert code == 2 and Path(file).name in err, err


@pytest.mark.parametrize("kind", [loop, dangling, folder, binary, another_object], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", ["started.jsonl", "gold/run.json", "gold/rollouts.jsonl"])
def test_a_run_that_is_complete_reads_its_files_and_removes_nothing(tmp_path: Path, name: str, kind: object):
    command = ("run", "arithmetic", "--limit", "3", "--repeats", "1", "--model", "gold", "--out", "runs/gold")
    assert assay(*command, cwd=tmp_path)[0] == 0
    path = tmp_path / "runs" / name
    if kind is not another_object:
        path.unlink()
    assert callable(kind)
    kind(path)
    before = path.read_bytes() if path.is_file() else None
    code, _, err = assay(*command, cwd=tmp_path)
    assert code == 2 and path.name in err, err
    assert not path.is_file() or path.is_symlink() or path.read_bytes() == before


def test_a_run_may_be_made_in_the_working_directory_and_not_in_a_folder_whose_name_is_no_utf_8(tmp_path: Path):
    command = ("run", "arithmetic", "--model", "gold", "--limit", "2", "--repeats", "1", "--out")
    (tmp_path / "here").mkdir()
    code, _, err = assay(*command, ".", cwd=tmp_path / "here")
    assert code == 0 and (tmp_path / "here/rollouts.jsonl").exists(), err
    code, _, err = assay(*command, os.fsdecode(b"\xe9"), cwd=tmp_path)
    assert code == 2 and "the folder's name is no UTF-8" in err, err

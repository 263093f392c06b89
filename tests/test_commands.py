"""What holds for every command: its help, and what it does with bad input."""

import shlex
from importlib import import_module
from pathlib import Path

import pytest

from assay.cli import COMMANDS, build
from assay.plugins import sentence
from tests.commands import assay

BY_NAME = {words: (function, summary, example) for words, function, summary, example in COMMANDS}


@pytest.mark.parametrize("words", BY_NAME)
def test_the_help_of_a_command_ends_with_an_example_that_the_command_takes(
    words: str, capsys: pytest.CaptureFixture[str]
):
    example = BY_NAME[words][2]
    build(words.split())([*words.split(), "--help"], result_action="return_value")
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.endswith(f"Example: {example}")
    assert not any(f"default: {nothing}" in shown for nothing in ("()", "False]", "None]"))
    program, *arguments = shlex.split(example)
    assert (program, arguments[: len(words.split())]) == ("assay", words.split())
    build(arguments).parse_args(arguments, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("words", BY_NAME)
def test_the_summary_of_a_command_is_the_first_sentence_of_its_help(words: str):
    path, summary, _ = BY_NAME[words]
    module, _, name = path.partition(":")
    assert sentence(getattr(import_module(f"assay.cli.{module}"), name)) == summary


HOSTILE = [
    "run ./file --model gold",
    "run arithmetic --model gold --limit many",
    "run arithmetic --model gold --out file/run",
    "run arithmetic --model replay:nowhere",
    "profile arithmetic --suite ./folder.toml",
    "report file",
    "ping ./folder.toml",
    "repeats nowhere",
    "plan arithmetic --limit 4 --pilot folder",
    "train arithmetic --model ./file --out file",
    "serve agent nobody --benchmark arithmetic --model policy",
    "failures file",
    "judge file",
    "view file",
    "review nowhere",
    "parity arithmetic --reference folder",
    "record --benchmark arithmetic --model gold -- true",
    "merge file folder",
    "rescore file",
    "check file",
    "compare file folder",
    "certify folder --new-key folder",
    "verify folder",
    "open folder --row a/b/0",
    "audit folder --model policy",
    "new benchmark file/quiz",
    "serve model micro-instruct --api-key-env NOWHERE",
    "serve environment file",
    "import nemo-gym folder",
    "export arithmetic --format nemo-gym --out folder",
    "prepare gsm8k --from folder",
    "list everything",
]


@pytest.mark.parametrize("line", HOSTILE)
def test_bad_input_is_refused_without_a_traceback(tmp_path: Path, line: str):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    code, _, err = assay(*shlex.split(line), cwd=tmp_path)
    assert code in (1, 2) and err
    assert "Traceback" not in err


def test_every_command_is_tried_with_bad_input():
    assert {words for words in BY_NAME if not any(line.startswith(f"{words} ") for line in HOSTILE)} == set()

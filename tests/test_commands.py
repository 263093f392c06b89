"""What holds for every command: its help, and what it does with bad input."""

import shlex
from importlib import import_module

import pytest

from assay.cli import COMMANDS, build
from assay.plugins import sentence

BY_NAME = {words: (function, summary, example) for words, function, summary, example in COMMANDS}


@pytest.mark.parametrize("words", BY_NAME)
def test_the_help_of_a_command_ends_with_an_example_that_the_command_takes(
    words: str, capsys: pytest.CaptureFixture[str]
):
    example = BY_NAME[words][2]
    build(words.split())([*words.split(), "--help"], result_action="return_value")
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.endswith(f"Example: {example}")
    program, *arguments = shlex.split(example)
    assert (program, arguments[: len(words.split())]) == ("assay", words.split())
    build(arguments).parse_args(arguments, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("words", BY_NAME)
def test_the_summary_of_a_command_is_the_first_sentence_of_its_help(words: str):
    path, summary, _ = BY_NAME[words]
    module, _, name = path.partition(":")
    assert sentence(getattr(import_module(f"assay.cli.{module}"), name)) == summary

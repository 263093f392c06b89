"""What a command says while rollouts come in and its output is not a terminal."""

from pathlib import Path

import pytest

from assay.cli.collect.live import Live
from assay.collect.collect import Tally
from assay.report.words import sample
from tests.commands import assay, until
from tests.endpoint import Endpoint, answering


def test_piped_output_says_again_and_again_how_far_the_run_is(capsys: pytest.CaptureFixture[str]):
    tally, lines = Tally(planned=40, scored=3, reward=3.0), ""

    def said(words: str) -> bool:
        nonlocal lines
        lines += capsys.readouterr().err
        return words in lines

    with Live(every_s=0.01) as live:
        live.begin("m", tally)
        until(lambda: said("m: 3 of 40 rollouts · mean reward 100.0%"))
        tally.scored = 7
        until(lambda: said("m: 7 of 40 rollouts"))
    ended = lines + capsys.readouterr().err
    assert ended.startswith("m: 40 rollouts to make\n")
    assert "of 40 rollouts" not in ended.strip().splitlines()[-1]


def test_a_line_of_piped_output_is_one_line_whatever_the_model_is_called(capsys: pytest.CaptureFixture[str]):
    name, lines = "[red]Qwen3-30B-A3B-Thinking-2507-a-checkpoint-with-a-long-name[/red]", ""

    def said(words: str) -> bool:
        nonlocal lines
        lines += capsys.readouterr().err
        return words in lines

    tally = Tally(planned=40, scored=3, reward=3.0, input_tokens=123_456, output_tokens=654_321, marked=3, mark="</x>")
    with Live(every_s=0.01) as live:
        live.begin(name, tally)
        until(lambda: said("of 40 rollouts"))
    lines += capsys.readouterr().err
    assert all(line.startswith(f"{name}: ") for line in lines.splitlines()), lines


EMPTY = "warning: 12 of 12 answers are empty, though the server calls them complete"
MARKED = "warning: 12 of 12 answers hold marks of thinking, such as </scratchpad>"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("answer", "words"), [("", EMPTY), ("<think>so</think>", EMPTY), ("so</scratchpad>42", MARKED), ("42", None)]
)
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_run_says_when_nearly_all_answers_are_empty_or_hold_thinking(
    answer: str, words: str | None, processes: str, tmp_path: Path
):
    with Endpoint(answering(answer)) as endpoint:
        server = ("--model", "chat:m", "--base-url", endpoint.url, "--processes", processes)
        code, _, said = assay("run", "arithmetic", *server, "--limit", "12", "--repeats", "1", cwd=tmp_path)
    assert code == 0
    assert ("warning" in said) == (words is not None)
    assert (words or "") in said


def test_the_null_model_may_say_nothing(tmp_path: Path):
    _, _, said = assay("run", "arithmetic", "--model", "null", "--limit", "12", "--repeats", "1", cwd=tmp_path)
    assert "warning" not in said


def test_progress_says_at_once_that_nearly_all_answers_are_empty(capsys: pytest.CaptureFixture[str]):
    tally = Tally(planned=40, scored=10, empty=9)
    with Live(every_s=0.01) as live:
        live.begin("m", tally)
        until(lambda: "m: 10 of 40 rollouts" in capsys.readouterr().err)
        tally.empty = 10
        until(lambda: "10 empty" in capsys.readouterr().err)


def test_a_sample_is_named_unless_it_is_all():
    assert sample(20, 240) == "only 20 of 240 tasks"
    assert sample(240, None) == ""

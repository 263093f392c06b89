"""What a command says while rollouts come in and its output is not a terminal."""

import pytest

from assay.cli.collect.live import Live
from assay.collect.collect import Tally
from assay.report.words import sample
from tests.commands import until


def test_piped_output_says_again_and_again_how_far_the_run_is(capsys: pytest.CaptureFixture[str]):
    tally, lines = Tally(planned=40, scored=3, reward=3.0), ""

    def said(words: str) -> bool:
        nonlocal lines
        lines += capsys.readouterr().err
        return words in lines

    with Live(every_s=0.01) as live:
        live.begin("m", tally)
        until(lambda: said("m: 3 of 40 rollouts · score 100.0%"))
        tally.scored = 7
        until(lambda: said("m: 7 of 40 rollouts"))
    ended = lines + capsys.readouterr().err
    assert ended.startswith("m: 40 rollouts to make\n")
    assert "of 40 rollouts" not in ended.strip().splitlines()[-1]


def test_a_sample_is_named_unless_it_is_all():
    assert sample(20, 240) == "first 20 of 240 tasks: no fair sample"
    assert sample(20) == "first 20 tasks: no fair sample"
    assert (sample(None), sample(240, 240)) == ("", "")

"""Simulates a person's labels of answers that a sound judge scored."""

from collections.abc import Mapping

import numpy as np

from assay.fidelity.forecast.expectation import OUTPUT_TOKENS, Expectation
from assay.fidelity.forecast.simulation import Generator, Rollouts
from assay.fidelity.gates.judge import LABELS
from assay.fidelity.review.judging import ANSWERS
from assay.fidelity.review.review import reading_minutes
from assay.fidelity.schema.judging import Judging, Label, Panel, StoredAnswer

JUDGE = {"id": "judge"}
KAPPA = 0.85
"""The assumed agreement of a sound judge with a person on answers of which half pass. The gate needs more than .6."""
COUNTS = (*range(LABELS, ANSWERS, 10), ANSWERS)
"""The numbers of labels to try."""


def simulate_labels(generator: Generator, made: Mapping[str, Rollouts], labels: int) -> Judging:
    """Returns the judging of a panel of these rollouts, with a person's labels of the first answers."""
    rewards_N = np.concatenate([one.rewards_TK[~np.isnan(one.rewards_TK)] for one in made.values()])
    passing = int((rewards_N >= 0.5).sum())
    failing = rewards_N.size - passing
    chosen = min(passing, max(ANSWERS // 2, ANSWERS - failing))
    passes_A = generator.permutation(np.repeat([True, False], [chosen, min(failing, ANSWERS - chosen)]))
    answers = [
        StoredAnswer(model="", task=str(a), repeat=0, content=str(a), reward=float(passes))
        for a, passes in enumerate(passes_A)
    ]
    right_A = passes_A ^ (generator.random(passes_A.size) < (1 - KAPPA) / 2)
    return Judging(
        panel=Panel(
            judge=JUDGE, second=None, tasks_digest="", code="", answers=answers, passing=passing, judged=rewards_N.size
        ),
        judgements=[],
        labels={str(a): Label(content=str(a), right=bool(r), by="", at="") for a, r in enumerate(right_A[:labels])},
    )


def labelling_minutes(expected: Mapping[str, Expectation], labels: int) -> float:
    """Returns the minutes that labels take. For a thinking model, only the message is read."""
    message = np.mean([min(one.output_tokens, OUTPUT_TOKENS["instruct"]) for one in expected.values()])
    return reading_minutes([round(float(message))] * labels)

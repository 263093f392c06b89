"""The labels that a person gives to answers that a sound judge scored, simulated."""

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
"""A sound judge's agreement with a person on answers of which half pass. Assumed: the gate asks for more than .6."""
COUNTS = (*range(LABELS, ANSWERS, 10), ANSWERS)
"""The numbers of labels that are tried."""


def simulate_labels(generator: Generator, made: Mapping[str, Rollouts], labels: int) -> Judging:
    """Returns the judging of a panel drawn from these rollouts, of which a person has labelled the first answers."""
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
    """Returns the minutes that labels take: of a thinking model the message alone is read, as long as another's."""
    message = np.mean([min(one.output_tokens, OUTPUT_TOKENS["instruct"]) for one in expected.values()])
    return reading_minutes([round(float(message))] * labels)

"""Rollouts that were planned and never tried."""

import numpy as np

from assay.fidelity.detectors.detector import RunDetector, RunEvidence
from assay.fidelity.results.results import Results


def look(results: Results) -> RunEvidence | None:
    if not results.owed:
        return None
    tried_TK = np.zeros(results.rewards_TK.shape, dtype=bool)
    for cell in results.cells:
        tried_TK[cell.task, cell.repeat] = True
    missing = [(int(task), int(repeat), "never tried") for task, repeat in np.argwhere(~tried_TK)]
    return RunEvidence(examples=missing, of=results.planned, what="were planned and never tried")


DETECTOR = RunDetector(
    name="rows missing",
    fault="environment",
    description="Rollouts that were planned and never tried.",
    meaning="The run was interrupted or stopped early: give the same command again, and read no score before.",
    look=look,
)

"""Rollouts that were stopped by the number of model calls that a rollout may make."""

from assay.fidelity.detectors.detector import RolloutDetector
from assay.fidelity.detectors.stops.stopped import stopped_by

DETECTOR = RolloutDetector(
    name="steps used up",
    fault="model",
    what="were stopped by the number of model calls that a rollout may make",
    meaning="If many of them come near a solution, allow more steps.",
    spot=lambda one: stopped_by(one, "steps"),
)

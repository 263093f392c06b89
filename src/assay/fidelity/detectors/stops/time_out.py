"""Rollouts that were stopped by the time that a rollout or its tools may take."""

from assay.fidelity.detectors.detector import RolloutDetector
from assay.fidelity.detectors.stops.stopped import stopped_by

DETECTOR = RolloutDetector(
    name="time-out",
    fault="environment",
    what="were stopped by the time that a rollout or its tools may take",
    meaning="The speed of a server then decides the score. Allow more time, or find out what is slow.",
    spot=lambda one: stopped_by(one, "wall_time", "tool_time"),
)

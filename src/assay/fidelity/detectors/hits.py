"""Counts the rollouts that show a pattern, and makes a finding of them."""

from typing import Literal

from assay.fidelity.schema.evidence import Fault, Finding, RolloutRef, Sighting

MOST_SPOTTED = 200
"""The most rollouts that a finding names. It counts all."""


class Hits:
    """The rollouts of one detector so far: the number of all, and the first of them."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._sightings: list[Sighting] = []
        self.count = 0

    def add(self, task: str, repeat: int, evidence: str) -> None:
        self.count += 1
        if self.count <= MOST_SPOTTED:
            self._sightings.append(Sighting(RolloutRef(self._model, task, repeat), evidence))

    def finding(
        self, name: str, fault: Fault, of: int, what: str, meaning: str, scope: Literal["rollout", "run", "failure"]
    ) -> Finding:
        return Finding(
            detector=name,
            model=self._model,
            suspect=fault,
            reason=f"{self.count:,} of {of:,} rollouts {what}. {meaning}",
            count=self.count,
            of=of,
            spotted=self._sightings,
            meaning=meaning,
            scope=scope,
        )

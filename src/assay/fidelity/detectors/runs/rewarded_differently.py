"""Rollouts that have a text that got other rewards, too."""

from assay.fidelity.detectors.detector import Example, RunDetector, RunEvidence
from assay.fidelity.results.results import Results


def look(results: Results) -> RunEvidence | None:
    examples: list[Example] = []
    for cells in results.copies:
        rewards = {cell.reward for cell in cells}
        if len(rewards) > 1 and not results.tasks[cells[0].task].tools:
            given = " and ".join(f"{reward:g}" for reward in sorted(reward for reward in rewards if reward is not None))
            examples += [(cell.task, cell.repeat, f"reward {cell.reward:g}; this text got {given}") for cell in cells]
    return (
        RunEvidence(examples=examples, of=len(results.scored), what="have a text that got other rewards, too")
        if examples
        else None
    )


DETECTOR = RunDetector(
    name="same text, other reward",
    fault="verifier",
    description="Rollouts that have a text that got other rewards, too.",
    meaning=(
        "A verifier should give the same reward for the same text: look for a sampling judge, randomness or state."
    ),
    look=look,
)

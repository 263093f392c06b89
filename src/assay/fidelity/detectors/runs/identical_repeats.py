"""Rollouts that have the text of an earlier repeat, to the letter."""

from assay.fidelity.detectors.detector import RunDetector, RunEvidence
from assay.fidelity.results.results import Results

LONG = 256
"""Tokens. Two independent outputs of this length are not equal by chance: each token would need 99 % certainty."""


def look(results: Results) -> RunEvidence | None:
    copies: dict[tuple[int, int], str] = {}
    for cells in results.copies:
        for cell in cells[1:]:
            if cell.output_tokens >= LONG:
                copies[cell.task, cell.repeat] = f"{cell.output_tokens:,} tokens, the same as repeat {cells[0].repeat}"
    found = results.independence
    if found.copied or (found.identical and found.verdict == "dependent"):
        source = {b: a for a, b in reversed(found.copied)} or dict.fromkeys(range(1, results.repeats), 0)
        for cell in results.scored:
            if cell.repeat in source:
                said = f"repeat {cell.repeat} has the texts of repeat {source[cell.repeat]} on every task"
                copies.setdefault((cell.task, cell.repeat), said)
    examples = [(task, repeat, said) for (task, repeat), said in sorted(copies.items())]
    what = "have the text of an earlier repeat, to the letter"
    return RunEvidence(examples=examples, of=len(results.scored), what=what) if examples else None


DETECTOR = RunDetector(
    name="identical repeats",
    fault="environment",
    description="Rollouts that have the text of an earlier repeat, to the letter.",
    meaning=(
        "A cache or a fixed seed answers, or decoding is greedy. Such repeats add nothing, and the score looks "
        "more stable than it is."
    ),
    look=look,
)

"""Is a set of published numbers reproduced? The pool of all models, by their number and by the benchmark's size."""

from collections.abc import Iterator

from assay.fidelity.forecast import Setting, original
from assay.fidelity.gates.reproduced import reproduced_gate
from assay.stats.published import WIDEST_MARGIN
from studies.draw import generator_of
from studies.gate_detection import MODELS, SIZES, Size, setting_of
from studies.row import UNCLAIMED, Row, at_least, at_most, figure, share

POOLS = (MODELS[-1:], (*MODELS[2:4], MODELS[-1]), MODELS[1:])
"""One, three and six models with published scores."""
REPEATS = {"AIME": 8, "HumanEval": 6, "GPQA": 4, "IFEval": 2}


def pooled(trials: int) -> Iterator[Row]:
    """The gate of equal scores, and of published ones that are all too low by the margin, or by twice as much."""
    for size in SIZES:
        if size.name in REPEATS:
            for names in POOLS:
                yield from _pool(size, setting_of(size).of(names), trials)


def _pool(size: Size, setting: Setting, trials: int) -> Iterator[Row]:
    repeats = dict.fromkeys(setting.expected, REPEATS[size.name])
    margin = original.margins(setting.expected, size.tasks, repeats)["reproduced"]
    where = f"{size}, {len(repeats)} model{'s' * (len(repeats) > 1)} × {REPEATS[size.name]}"
    yield figure(f"margin: {where}", margin, unit="points")
    if margin > WIDEST_MARGIN:
        return
    for what, away, claims in (
        ("equal", 0.0, (at_least(0.95), at_most(0.05))),
        ("all too low by the margin", -margin, (at_most(0.2), at_most(0.05))),
        ("all too low by twice the margin", -2 * margin, (at_most(0.01), UNCLAIMED)),
    ):
        generator = generator_of(f"{what} {where}")
        verdicts: list[str] = []
        for _ in range(trials):
            found = original.compare_published(
                generator, setting.expected, setting.draw(generator, repeats), margin, away=away
            )
            verdicts.append(reproduced_gate(found, margin, original=False).verdict)
        for verdict, claim in zip(("pass", "fail"), claims, strict=True):
            yield share(f"{what}, the gate says {verdict}: {where}", [one == verdict for one in verdicts], claim)

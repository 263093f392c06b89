"""The gates: each asks one question about fidelity. One file a gate; GATES lists them in the order that pages show.

All have to pass, so that passes need no correction. The failures of those that are tests are corrected (Holm).
"""

from collections.abc import Sequence

from msgspec import structs

from assay.benchmark import Benchmark
from assay.fidelity.gates import gold, judge, kinds, order, parity, read, repeats, reproduced, tasks, verifier
from assay.fidelity.gates import range as score_range
from assay.fidelity.gates.rule import FAILS, Facts, GateRule
from assay.fidelity.results.contender import Contender
from assay.fidelity.schema.profile import Gate
from assay.stats.compare import holm
from assay.types import Task

GATES: tuple[GateRule, ...] = (
    tasks.GATE,
    gold.GATE,
    verifier.GATE,
    score_range.GATE,
    order.GATE,
    kinds.GATE,
    repeats.GATE,
    read.GATE,
    judge.GATE,
    reproduced.GATE,
    parity.GATE,
)
GATE_ORDER = tuple(rule.name for rule in GATES)
OF_BENCHMARK = tuple(rule.name for rule in GATES if rule.of_benchmark)
"""The gates that run the benchmark's verifier, which may use a judge."""
ABSENT = tuple(rule.name for rule in GATES if rule.compares_with_original)
"""The gates that don't apply to an original benchmark: there is no other code to compare it with."""


async def judge_benchmark(benchmark: Benchmark, asked: Sequence[Task], seed: int = 0) -> list[Gate]:
    """Returns the gates that need the benchmark alone. A third of the probes comes from the seed."""
    return [await rule.of_benchmark(benchmark, asked, seed) for rule in GATES if rule.of_benchmark]


def judge_profile(facts: Facts, computed: Sequence[Gate]) -> list[Gate]:
    """Returns all gates in their order: those in `computed` as they are, the others computed from the facts."""
    given = {gate.name: gate for gate in computed}
    made = [
        gate
        for rule in GATES
        if (gate := given.get(rule.name) or (rule.of_facts(facts) if rule.of_facts else None)) is not None
    ]
    waiting = {rule.name for rule in GATES if rule.waits} - given.keys()
    return [
        hold_back(gate, facts.contenders, facts.missing) if gate.name in waiting else gate for gate in correct(made)
    ]


def applicable(gates: Sequence[Gate], *, original: bool) -> list[Gate]:
    """Returns the gates that a profile has to pass, in their order. A missing gate was not run.

    A gate that says so doesn't apply, and if the benchmark is the original, nor do those of ABSENT that were not run.
    """
    found = {gate.name: gate for gate in gates}
    whole = [
        found.get(name) or Gate(name, "not run", "The profile says nothing about this gate.") for name in GATE_ORDER
    ]
    return [
        gate for gate in whole if gate.applies and not (original and gate.name in ABSENT and gate.verdict == "not run")
    ]


def correct(gates: Sequence[Gate]) -> list[Gate]:
    """Returns the gates; inconclusive where one fails alone, and not after Holm's correction over all tests."""
    p = holm({gate.name: gate.p_fail for gate in gates if gate.p_fail is not None})
    return [
        structs.replace(
            gate,
            verdict="inconclusive",
            reason=f"Not clear among {len(p)} tests (p = {p[gate.name]:.3f} by Holm's correction). {gate.reason}",
        )
        if gate.verdict == "fail" and p.get(gate.name, 0.0) > FAILS
        else gate
        for gate in gates
    ]


def hold_back(gate: Gate, contenders: Sequence[Contender], missing: Sequence[str] = ()) -> Gate:
    """Returns the gate; inconclusive where a run is unfinished or `missing`, because its results are not known."""
    unfinished = [f"{c.name} ({c.results.owed} of {c.results.planned})" for c in contenders if c.results.owed]
    unfinished += [f"{name} (all)" for name in missing]
    if not unfinished or gate.verdict == "not run":
        return gate
    reason = f"Rollouts are still owed by {', '.join(unfinished)}. So far: {gate.reason}"
    return structs.replace(gate, verdict="inconclusive", reason=reason)

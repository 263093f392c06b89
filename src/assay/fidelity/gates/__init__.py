"""The gates: each asks one question about fidelity. One file a gate; GATES lists them in the order that pages show.

Floor and order are tests: their p-values are corrected together (Holm). Kinds compares bounds of rates with a limit,
repeats bounds of the SD of avg@k with the target.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from msgspec import structs

from assay.benchmark import Benchmark
from assay.fidelity.gates import failures, floor, gold, kinds, order, parity, repeats, reproduced, verifier
from assay.fidelity.gates.rule import Facts, GateRule, Test
from assay.fidelity.results.contender import Contender
from assay.fidelity.schema.profile import Gate
from assay.stats.compare import holm
from assay.types import Task

GATES: tuple[GateRule, ...] = (
    gold.GATE,
    verifier.GATE,
    floor.GATE,
    order.GATE,
    kinds.GATE,
    failures.GATE,
    reproduced.GATE,
    parity.GATE,
    repeats.GATE,
)
GATE_ORDER = tuple(rule.name for rule in GATES)
OF_BENCHMARK = tuple(rule.name for rule in GATES if rule.of_benchmark)
"""The gates that run the benchmark's verifier, which may use a judge."""
ABSENT = tuple(rule.name for rule in GATES if rule.compares_with_original)
"""The gates that don't apply to an original benchmark: there is no other code to compare it with."""


async def judge_benchmark(benchmark: Benchmark, tasks: Sequence[Task]) -> list[Gate]:
    """Returns the gates that need the benchmark alone."""
    return [await rule.of_benchmark(benchmark, tasks) for rule in GATES if rule.of_benchmark]


def judge(facts: Facts, computed: Sequence[Gate]) -> list[Gate]:
    """Returns all gates in their order: those in `known` as they are, the others computed from the facts."""
    given = {gate.name: gate for gate in computed}
    tests = {rule.name: test for rule in GATES if rule.test and (test := rule.test(facts))}
    facts = dataclasses.replace(facts, tests=correct(tests))
    made: list[Gate] = []
    for rule in GATES:
        if rule.name in given:
            made.append(given[rule.name])
        elif rule.of_facts:
            gate = rule.of_facts(facts)
            made.append(hold_back(gate, facts.contenders, facts.missing) if rule.waits else gate)
    return made


def applicable(gates: Sequence[Gate], *, original: bool) -> list[Gate]:
    """Returns the gates that a profile has to pass, in their order. A missing gate was not run.

    If the benchmark is the original, the gates of ABSENT that were not run don't apply.
    """
    found = {gate.name: gate for gate in gates}
    whole = [
        found.get(name) or Gate(name, "not run", "The profile says nothing about this gate.") for name in GATE_ORDER
    ]
    return [gate for gate in whole if not (original and gate.name in ABSENT and gate.verdict == "not run")]


def correct(tests: Mapping[str, Test]) -> dict[str, Test]:
    """Returns the tests with Holm's correction over all of them: once over the passes, once over the failures."""
    passes = holm({name: test.p_pass for name, test in tests.items()})
    failures = holm({name: test.p_fail for name, test in tests.items()})
    return {name: Test(p_pass=passes[name], p_fail=failures[name]) for name in tests}


def hold_back(gate: Gate, contenders: Sequence[Contender], missing: Sequence[str] = ()) -> Gate:
    """Returns the gate; inconclusive where a run is unfinished or `missing`, because its results are not known."""
    unfinished = [f"{c.name} ({c.results.owed} of {c.results.planned})" for c in contenders if c.results.owed]
    unfinished += [f"{name} (all)" for name in missing]
    if not unfinished or gate.verdict == "not run":
        return gate
    reason = f"Rollouts are still owed by {', '.join(unfinished)}. So far: {gate.reason}"
    return structs.replace(gate, verdict="inconclusive", reason=reason)

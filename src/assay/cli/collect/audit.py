"""`assay audit`."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from assay.benchmark import Benchmark
from assay.cli.collect.live import console
from assay.cli.collect.run import make_rollouts
from assay.cli.options import Assignments, Code, Roles, Spending, Workers
from assay.cli.output import print_json
from assay.collect.collect import Interruption
from assay.collect.run import RunPlan
from assay.config import assay_toml, path_name
from assay.errors import NothingScored, UsageError
from assay.fidelity.audit import Audit, check_benchmark, load_certificate, recorded_of
from assay.fidelity.audit import audit as compare
from assay.fidelity.audit import draw as drawn
from assay.fidelity.certificate.schema import Certificate
from assay.fidelity.certificate.validity import load_benchmark
from assay.fidelity.results.results import read
from assay.library.plans import plan_run
from assay.report.words import dollars, legible, plural
from assay.store import read_record, write_json

CODES = {"consistent": 0, "inconclusive": 5, "contradicts": 3}
ModelName = Annotated[str, Parameter(help="The model to audit, by its name in the certificate.")]
Here = Annotated[
    str | None,
    Parameter(
        name="--as",
        help="The same model as you reach it: a name of your assay.toml, or openai:ID or chat:ID. Default: the "
        "certificate's name, looked up here. An address that only the certificate names is never called.",
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Draw:
    """Which tasks are asked again, and how often."""

    sample: int = 60
    """Number of tasks, which the seed draws."""
    repeats: int = 1
    """Fresh rollouts of each."""
    seed: int | None = None
    """Yours: nobody else may choose it. Default: drawn at random, and printed."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the evidence and the benchmark are."""

    profile: Path | None = None
    """The folder of the evidence. Default: the folder of the certificate."""
    benchmark: str | None = None
    """The benchmark's name or folder, if it is none that is installed here. Its Python code is run."""

    def load(self, certificate: Certificate, code: Code) -> Benchmark:
        """Returns the benchmark that was certified. Raises UsageError and DigestMismatch."""
        bench, unknown = load_benchmark(certificate, self.benchmark, code.place())
        if bench is None:
            raise UsageError(f"the benchmark can't be asked: {unknown}")
        check_benchmark(certificate, bench)
        return bench


def audit(
    certificate: Path,
    *,
    model: ModelName,
    here: Here = None,
    base_url: str | None = None,
    draw: Draw = Draw(),
    source: Source = Source(),
    out: Path | None = None,
    assign: Assignments = (),
    workers: Workers = Workers(),
    spending: Spending = Spending(),
    roles: Roles = Roles(),
    code: Code = Code(),
    json: bool = False,
) -> int:
    """Ask a model some tasks of a certificate again, and compare the fresh scores with the recorded ones.

    Exits 0 if they are consistent, 3 if they contradict the certificate, 5 if nothing can be said, and 130 after
    Ctrl-C; the same command with the same --seed then continues.

    Parameters
    ----------
    base_url
        The URL of the model's server, up to and including /v1.
    out
        The folder of the fresh rollouts and of audit.json. Default: audits/BENCHMARK-MODEL-SAMPLE-seedN.
    assign
        Change one setting, such as --set model.timeout_s=600; may be given several times.
    json
        Print the result as JSON.
    """
    document, folder = load_certificate(certificate, source.profile)
    rollouts = recorded_of(document, folder, model)
    bench = source.load(document, code)
    seed = secrets.randbelow(2**31) if draw.seed is None else draw.seed
    plan = plan_run(
        bench,
        here or model,
        document.models[model].agent.agent,
        own=assay_toml(),
        home=Path("audits"),
        out=out or Path("audits") / path_name(f"{bench.name}-{model}-{draw.sample}-seed{seed}"),
        base_url=base_url,
        sampling=document.models[model].sampling,
        limits=document.models[model].limits,
        assign=assign,
        budget=spending.budget(),
        roles=roles.configs(),
        repeats=draw.repeats,
        seed=seed,
        ids=drawn(rollouts.tasks, draw.sample, seed),
        concurrency=workers.concurrency,
    )
    if not _collect(plan, workers):
        return 130
    fresh, identity = read(plan.folder, draw.repeats), read_record(plan.folder).identity
    result = compare(document, model, rollouts, fresh, seed=seed, identity=identity)
    return _publish(result, plan.folder, json=json)


def _collect(plan: RunPlan, workers: Workers) -> bool:
    """Make the fresh rollouts, or what is owed of them. Returns whether all were made."""
    interruption = Interruption()
    try:
        make_rollouts(plan, workers, interruption)
    except NothingScored as stopped:
        console.print(str(stopped), markup=False)  # which the audit says too: nothing is known
    return not interruption.stopping


def _publish(result: Audit, folder: Path, *, json: bool) -> int:
    write_json(folder / "audit.json", result)
    if json:
        print_json(result)
    else:
        _show(result, folder)
    return CODES[result.verdict]


def _show(result: Audit, folder: Path) -> None:
    tasks_in_words = f"{plural(result.drawn, 'task')} drawn by seed {result.seed}"
    print(legible(f"{result.benchmark} {result.version}, {result.model}: {result.verdict}. {result.reason}"))
    if result.recorded is not None and result.fresh is not None and result.shift is not None and result.interval:
        low, high = (f"{100 * bound:+.1f}" for bound in result.interval)
        print(
            f"  {tasks_in_words}: recorded {result.recorded:.1%}, fresh {result.fresh:.1%}, a shift of "
            f"{100 * result.shift:+.1f} points (95 %: {low} to {high})"
        )
        size = "of no size" if result.smallest is None else f"of {100 * result.smallest:.1f} points"
        print(f"  It would have seen, with 80 % or more, a forgery {size} in the mean; a smaller one can be missed.")
    else:
        print(f"  {tasks_in_words}")
    if result.missing:
        print(legible(f"  Without a score on one side: {len(result.missing)}, {', '.join(result.missing[:5])}"))
    for line in result.differs:
        print(legible(f"  Other settings than certified: {line}"))
    tokens = f"{result.tokens.get('input', 0):,} tokens in, {result.tokens.get('output', 0):,} out"
    cost = "" if result.cost_usd is None else f", {dollars(result.cost_usd)}"
    print(f"  It took {tokens}{cost}.\n{folder / 'audit.json'}")

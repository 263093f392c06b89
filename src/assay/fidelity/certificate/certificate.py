"""The certificate: what the gates say, tied by digests to the exact tasks, prompts, verifier and rollouts.

It has three parts. *Evidence* is the digests of files in the profile's folder: plan, runs, marks, and results of the
original code. *Numbers* follow from the evidence, and verification computes them again. The description of the
*benchmark* shows any later change to it. `verified` follows from the numbers, and is never set by hand.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.benchmark.code import code_of
from assay.collect.run import tasks_of, versions
from assay.digest import digest, tasks_digest
from assay.errors import UsageError
from assay.fidelity.certificate.announcement import changed_since, edited_since
from assay.fidelity.certificate.description import describe
from assay.fidelity.certificate.facts import compare_files, started_in
from assay.fidelity.certificate.files import FileRecord, check_evidence, ends_a_line, evidence_of, evidence_paths
from assay.fidelity.certificate.registry import Register, register
from assay.fidelity.certificate.schema import Certificate, CertifiedBenchmark, CertifiedModel, CertifiedParity
from assay.fidelity.certificate.seal import FILE, by_repeat, seal_rows, sealed_form
from assay.fidelity.gates import applicable
from assay.fidelity.original import reference
from assay.fidelity.original.parity import compare, verdict_of
from assay.fidelity.profile import Evidence, contenders_of, gather, profile_of, read_plan, source_of
from assay.fidelity.profile.build import known_gates, write
from assay.fidelity.schema.evidence import Disagreement, Rung
from assay.fidelity.schema.profile import Gate, ModelSummary, Profile


async def certify(folder: Path, *, benchmark: Benchmark | None = None, signed_by: str | None = None) -> Certificate:
    """Returns the certificate of a profile, with all numbers computed again from its files.

    Raises UsageError and InputError if the profile cannot be read, is torn, is being written or contradicts itself, and
    DigestMismatch if the benchmark is not the profiled one.
    """
    return (await _certify(folder, benchmark, signed_by, None))[0]


async def certify_and_seal(
    folder: Path, key: bytes, *, benchmark: Benchmark | None = None, signed_by: str | None = None
) -> tuple[Certificate, bytes]:
    """Returns the sealed certificate of a profile, and its `sealed.jsonl` salted by the key. Raises as `certify`."""
    return await _certify(folder, benchmark, signed_by, key)


async def _certify(
    folder: Path, benchmark: Benchmark | None, signed_by: str | None, key: bytes | None
) -> tuple[Certificate, bytes]:
    check_evidence(folder)
    plan = read_plan(folder)
    benchmark = benchmark or load(source_of(folder, plan))
    torn = [path for path in evidence_paths(folder) if path.endswith("l") and not ends_a_line(folder / path)]
    if torn:
        raise UsageError(f"{folder / torn[0]} ends within a line: give the same `assay profile` again to go on first")
    before = evidence_of(folder)
    described = describe(benchmark, plan)
    if wrong := compare_files(folder, plan, described, started_in(folder), benchmark=benchmark).wrong:
        raise UsageError(f"{folder} holds files that are not of one profile:\n  " + "\n  ".join(wrong))
    evidence = gather(folder, plan, contenders_of(folder, plan, cached=False), benchmark)
    lines = seal_rows(folder, evidence, key) if key else []
    data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    files = {FILE: FileRecord(hashlib.sha256(data).hexdigest(), len(data))} if key else before
    known = await known_gates(folder, plan, benchmark, again=True, seed=probe_seed(files))
    # A sealed certificate has its own probes, so that the profile's own gates stay as they are.
    profile = profile_of(evidence, known) if key else write(folder, evidence, known)
    if flaws := await parity_flaws(folder, benchmark):
        raise UsageError(f"{flaws[0]}; run `assay parity` again")
    made = assemble(folder, evidence, profile, described, signed_by=signed_by)
    if edited := edited_since(folder, made.registry.announced, described):
        raise UsageError(f"{folder / 'plan.jsonl'} is not the plan that was announced: other {', '.join(edited)}")
    if made.evidence != before:
        raise UsageError(f"{folder} is being written by another command; certify it once that has ended")
    if not key:
        return made, data
    form = sealed_form(made, lines)
    missing = what_is_missing(form.gates, described, made.registry)
    return with_digest(structs.replace(form, evidence=files, missing=missing, verified=not missing)), data


def assemble(
    folder: Path,
    found: Evidence,
    profile: Profile,
    described: CertifiedBenchmark,
    *,
    registry: Register | None = None,
    signed_by: str | None = None,
) -> Certificate:
    """Returns the certificate of a profile that was computed from this evidence."""
    registry = registry or register(folder, described.name, models=[n for n, one in profile.models.items() if one.ran])
    evidence = evidence_of(folder)
    missing = what_is_missing(profile.gates, described, registry)
    made = Certificate(
        verified=not missing,
        missing=missing,
        benchmark=described,
        suite=profile.suite,
        models={name: _model(found, name, profile.models[name], evidence) for name in profile.models},
        gates=profile.gates,
        parity=dict(_parities(found, profile.models)),
        evidence=evidence,
        registry=registry,
        changed_since=changed_since(registry.announced, found.plan, described),
        versions=versions() | {name: version(name) for name in ("msgspec", "numpy", "scipy")},
        computed_by=computing_code(),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        signed_by=signed_by,
    )
    return with_digest(made)


def probe_seed(evidence: Mapping[str, FileRecord]) -> int:
    """Returns the seed of a third of the probes. It depends on the rollouts, so nobody can know or choose it before."""
    return int(digest(evidence)[:8], 16)


def what_is_missing(gates: Sequence[Gate], benchmark: CertifiedBenchmark, registry: Register) -> list[str]:
    """Returns what keeps a profile from being verified, a line each.

    Every gate that applies has to pass, the runs have to cover all tasks, and each run has to be in the registry from
    before its start.
    """
    needed = applicable(gates, original=benchmark.original)
    missing = [f"gate {gate.name}: {gate.verdict}" for gate in needed if gate.verdict != "pass"]
    if benchmark.selection.partial:
        missing.append(f"only {benchmark.tasks:,} of its tasks were asked: {benchmark.selection}")
    if registry.margins != benchmark.margins:
        missing.append("the margins were not written down before the first run")
    if registry.unregistered:
        missing.append(f"not written down before it started: the run of {', '.join(registry.unregistered)}")
    if registry.broken:
        missing.append(f"started.jsonl, line {registry.broken[0]}: a line before it was taken out or changed")
    return missing


async def parity_flaws(folder: Path, benchmark: Benchmark) -> list[str]:
    """Returns where the runs' parity.json does not follow from the original's results beside it, a line each.

    Parities of an older verifier are skipped, as the gate does, and those that need a judge.
    """
    now = (tasks_digest(tasks_of(benchmark)), code_of(benchmark))
    found: list[str] = []
    for name in [] if benchmark.roles else [path for path in evidence_paths(folder) if path.endswith("/parity.json")]:
        run = (folder / name).parent
        said, kept = reference.read_parity(folder / name), reference.read_stored(run)
        if kept is None:
            found.append(f"{name} has no reference.jsonl beside it")
        elif (said.tasks_digest, said.code) == now:
            again = await compare(
                benchmark, kept, run=run if said.model else None, margin=said.margin, earlier=said.looks[:-1]
            )
            data = _without_file(said.ladder, again.ladder[0])
            ladder = [*data, *again.ladder[1:]]
            if (said.verdict, said.reason, _rungs(said.ladder)) != (*verdict_of(ladder), _rungs(ladder)):
                found.append(f"{name} is not what its reference.jsonl gives")
    return found


def _without_file(said: Sequence[Rung], again: Rung) -> Sequence[Rung]:
    """Returns the stored data rung if it differs only by the original's data file, which is not kept."""

    def facts_of(rung: Rung) -> tuple[list[Disagreement], dict[str, Any]]:
        return rung.disagreements, {name: n for name, n in rung.numbers.items() if not name.startswith("sha256")}

    follows = [
        rung
        for rung in said[:1]
        if facts_of(rung) == facts_of(again)
        and rung.verdict == ("different" if rung.numbers.get("sha256_known") is False else again.verdict)
    ]
    return follows or [again]


def _rungs(ladder: Sequence[Rung]) -> list[tuple[str, str, str, list[Disagreement]]]:
    return [(rung.name, rung.verdict, rung.reason, rung.disagreements) for rung in ladder]


@cache
def computing_code() -> str:
    """Returns the digest of Assay's own code, without its benchmarks."""
    package = Path(__file__).parents[2]
    files = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    own = {name: path for name, path in files.items() if not name.startswith("benchmarks/")}
    return digest({name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in own.items()})


def with_digest(certificate: Certificate) -> Certificate:
    """Returns the certificate as it is read from its file, with its digest."""
    read = msgspec.json.decode(msgspec.json.encode(certificate), type=Certificate)
    return structs.replace(read, digest=own_digest(msgspec.to_builtins(read)))


def own_digest(plain: Mapping[str, Any]) -> str:
    """Returns a certificate's own digest, from its plain values."""
    return digest({name: value for name, value in plain.items() if name != "digest"})


def _model(found: Evidence, name: str, summary: ModelSummary, evidence: Mapping[str, FileRecord]) -> CertifiedModel:
    member = found.plan.suite.models[name]
    place = CertifiedModel(role=member.role, kind=member.kind, tier=member.tier, summary=summary)
    if not summary.ran:
        return place
    record = found.records[name]
    results = next(one.results for one in found.contenders if one.name == name)
    files = {path: file for path, file in evidence.items() if re.fullmatch(rf"runs/{re.escape(name)}/rollouts.*", path)}
    return structs.replace(
        place,
        run=record.id,
        server=record.server,
        identity=record.identity,
        roles={role: used.identity for role, used in record.roles.items()},
        sampling=record.sampling,
        limits=record.limits,
        agent=record.agent,
        seed=record.seed,
        started=record.started,
        rollouts=digest(files),
        rescored=record.rescored,
        versions=record.versions,
        by_repeat=by_repeat(results.rewards_TK),
    )


def _parities(found: Evidence, models: Mapping[str, ModelSummary]) -> Iterator[tuple[str, CertifiedParity]]:
    for name in models:
        if name in found.references:
            said = found.parities[name]
            yield (
                name,
                CertifiedParity(
                    verdict=said.verdict,
                    reason=said.reason,
                    margin=said.margin,
                    at=said.at,
                    reference=said.reference,
                    by_repeat=by_repeat(found.references[name].rewards_TK()),
                ),
            )

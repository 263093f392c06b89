"""The certificate: what the gates say, tied by digests to the exact tasks, prompts, verifier and rollouts.

Three kinds of things stand in it. *Evidence* is files of the profile's folder, by their digests: what was asked for,
run, marked, and compared with. *Numbers* follow from the evidence, and are computed again by whoever verifies. And the
*benchmark* is described so that any change to it is noticed. `verified` follows from the numbers, and is never set.
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
import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load
from assay.benchmark.code import code_of, score_code
from assay.collect.run import tasks_of, versions
from assay.digest import digest, tasks_digest
from assay.errors import UsageError
from assay.fidelity.certificate.registry import Register, register
from assay.fidelity.gates import applicable
from assay.fidelity.original import reference
from assay.fidelity.original.parity import compare, verdict_of
from assay.fidelity.original.published import Published, published, stated_in
from assay.fidelity.profile import Evidence, contenders_of, gather, read_plan
from assay.fidelity.profile.build import known_gates, write
from assay.fidelity.schema.evidence import Disagreement, ReferenceRecord, Rung, RungVerdict
from assay.fidelity.schema.profile import Gate, ModelSummary, Plan, Profile
from assay.store import Rescored, read_record
from assay.types import Kind, Role, RolloutLimits, Sampling, Task

FORMAT = 1
NAME = "certificate.json"
EVIDENCE = re.compile(
    r"plan\.jsonl|marks\.jsonl|runs/[^/]+/(run\.json|tasks\.jsonl|rollouts[^/]*\.jsonl|reference\.jsonl|parity\.json)"
)
"""The files of a profile's folder that everything follows from; the rest is derived from them."""
GROWING = re.compile(r"marks\.jsonl|plan\.jsonl|runs/[^/]+/rollouts[^/]*\.jsonl")
"""Those of them that later commands may add lines to."""


class FileRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A file as it was certified."""

    sha256: str
    bytes: int


class CertifiedBenchmark(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The benchmark that was measured: all of it that decides about a score."""

    name: str
    version: str
    source: str
    """How it was named on the command line."""
    tasks: int
    tasks_digest: str
    prompts_digest: str
    """Of what a model is shown: input items, tools, output format."""
    code: str
    """Digest of its own Python files."""
    sources: dict[str, str]
    """SHA-256 of these and of Assay's files that they stand on."""
    limit: int | None
    """Only so many tasks, from the first; null for all."""
    repeats: int
    sampling: Sampling
    limits: RolloutLimits
    chance: float
    formats: list[str]
    original: bool
    """Whether it states that there is no other code to compare it with."""
    repository: str | None
    """Where the original code is, as published.toml states it."""
    published: str | None
    """SHA-256 of its published.toml."""


class CertifiedModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the suite: how it was run, and how it did."""

    role: Role
    kind: Kind
    tier: int
    summary: ModelSummary
    run: str | None = None
    """The run's id; null where the model did not run."""
    server: dict[str, Any] = {}
    identity: dict[str, Any] = {}
    """The part of the server's configuration that decides which outputs to expect."""
    roles: dict[str, Any] = {}
    """The identities of the models that it was asked together with."""
    sampling: Sampling = Sampling()
    limits: RolloutLimits = RolloutLimits()
    seed: int = 0
    started: str | None = None
    rollouts: str | None = None
    """Digest of the files of its rollouts."""
    rescored: Rescored | None = None
    """The run that its rollouts were taken from, where another verifier scored them at first."""
    versions: dict[str, str] = {}
    by_repeat: list[float | None] = []
    """The score of each repeat alone: the mean over tasks."""


class CertifiedParity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `assay parity` found for one model, with the scores of the original code."""

    verdict: RungVerdict
    reason: str
    margin: float
    at: str
    reference: ReferenceRecord
    by_repeat: list[float | None]


class Certificate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`certificate.json`."""

    format: int = FORMAT
    verified: bool
    missing: list[str]
    """What keeps it from being verified, a line each; empty where it is."""
    benchmark: CertifiedBenchmark
    suite: str
    models: dict[str, CertifiedModel]
    gates: list[Gate]
    parity: dict[str, CertifiedParity]
    """By model."""
    evidence: dict[str, FileRecord]
    """By path in the profile's folder."""
    registry: Register
    versions: dict[str, str]
    computed_by: str
    """Digest of Assay's own code: another one may word or round something otherwise."""
    made: str
    """ISO 8601, UTC."""
    signed_by: str | None = None
    """The key's fingerprint."""
    digest: str = ""
    """Of everything above, as canonical JSON."""


async def certify(folder: Path, *, benchmark: Benchmark | None = None, signed_by: str | None = None) -> Certificate:
    """The certificate of a profile, whose numbers are all computed again from its files.

    Raises UsageError and InputError where the profile cannot be read, is torn, is being written or mixes runs, and
    DigestMismatch where the benchmark is not what was profiled.
    """
    plan = read_plan(folder)
    benchmark = benchmark or load(plan.source)
    torn = [path for path in evidence_paths(folder) if path.endswith("l") and not _ends(folder / path)]
    if torn:
        raise UsageError(f"{folder / torn[0]} ends within a line: give the same `assay profile` again to go on first")
    before = evidence_of(folder)
    if strays := mixed(folder, plan):
        raise UsageError(f"{folder} mixes runs that are not one profile:\n  " + "\n  ".join(strays))
    known = await known_gates(folder, plan, benchmark, again=True)
    evidence = gather(folder, plan, contenders_of(folder, plan), benchmark)
    profile = write(folder, evidence, known)
    if flaws := await parity_flaws(folder, benchmark):
        raise UsageError(f"{flaws[0]}; run `assay parity` again")
    made = assemble(folder, evidence, profile, describe(benchmark, plan), signed_by=signed_by)
    if made.evidence != before:
        raise UsageError(f"{folder} is being written by another command; certify it once that has ended")
    return made


def assemble(
    folder: Path,
    found: Evidence,
    profile: Profile,
    described: CertifiedBenchmark,
    *,
    registry: Register | None = None,
    signed_by: str | None = None,
) -> Certificate:
    """The certificate of a profile that was computed from what was found in its folder."""
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
        versions=versions() | {name: version(name) for name in ("msgspec", "numpy", "scipy")},
        computed_by=computing_code(),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        signed_by=signed_by,
    )
    return sealed(made)


def describe(benchmark: Benchmark, plan: Plan) -> CertifiedBenchmark:
    """The benchmark as it is now. Raises UsageError where it has no tasks, InputError where published.toml is wrong."""
    tasks = tasks_of(benchmark, plan.limit)
    facts, stated, sources = published(benchmark) or Published(), stated_in(benchmark), score_code(benchmark)
    return CertifiedBenchmark(
        name=benchmark.name,
        version=benchmark.version,
        source=plan.source,
        tasks=len(tasks),
        tasks_digest=tasks_digest(tasks),
        prompts_digest=prompts_digest(tasks),
        code=digest(sources),
        sources=sources,
        limit=plan.limit,
        repeats=benchmark.repeats,
        sampling=benchmark.sampling,
        limits=benchmark.limits,
        chance=benchmark.chance,
        formats=list(benchmark.formats),
        original=facts.original,
        repository=facts.origin.repository if facts.origin else None,
        published=hashlib.sha256(stated.read_bytes()).hexdigest() if stated else None,
    )


def prompts_digest(tasks: Sequence[Task]) -> str:
    """The digest of what a model is shown of each task, in their order."""
    return digest([prompt_digest(task) for task in tasks])


def prompt_digest(task: Task) -> str:
    """The digest of what a model is shown of a task: input items, tools, output format."""
    return digest([task.input, task.tools, task.format])


def what_is_missing(gates: Sequence[Gate], benchmark: CertifiedBenchmark, registry: Register) -> list[str]:
    """What keeps a profile from being verified, a line each; empty where nothing does.

    Every gate that applies has to pass, all of its tasks have to be asked, and every run to be written down before it
    started.
    """
    needed = applicable(gates, original=benchmark.original)
    missing = [f"gate {gate.name}: {gate.verdict}" for gate in needed if gate.verdict != "pass"]
    if benchmark.limit is not None:
        missing.append(f"only the first {benchmark.tasks:,} tasks were asked, which are no fair sample")
    if registry.unregistered:
        missing.append(f"not written down before it started: the run of {', '.join(registry.unregistered)}")
    if registry.broken:
        missing.append(f"started.jsonl, line {registry.broken[0]}: a line before it was taken out or changed")
    return missing


def runs_of(folder: Path, plan: Plan) -> list[Path]:
    """The runs that a profile's numbers come from. Others may lie beside them, such as those before rescoring."""
    return [run for name in plan.suite.models if ((run := folder / "runs" / name) / "run.json").exists()]


def mixed(folder: Path, plan: Plan) -> list[str]:
    """What of the runs in a profile's folder is not of the benchmark that was profiled, a line each."""
    asked = plan.benchmark
    found: list[str] = []
    for run in runs_of(folder, plan):
        record = read_record(run)
        pairs = {
            "benchmark": (record.benchmark, asked.name),
            "version": (record.version, asked.version),
            "tasks": (record.tasks_digest, asked.digest),
            "the verifier's code": (record.code, asked.code),
        }
        found += [
            f"runs/{run.name}: {name} {there[:12]}, the profile's {here[:12]}"
            for name, (there, here) in pairs.items()
            if there != here
        ]
    return found


async def parity_flaws(folder: Path, benchmark: Benchmark) -> list[str]:
    """What in the runs' parity.json does not follow from the original's results beside it, a line each.

    Parities of a former verifier are passed over, as the gate does, and those for which a judge would have to be asked.
    """
    now = (tasks_digest(tasks_of(benchmark)), code_of(benchmark))
    found: list[str] = []
    for name in [] if benchmark.roles else [path for path in evidence_paths(folder) if path.endswith("/parity.json")]:
        run = (folder / name).parent
        said, kept = reference.read_parity(folder / name), reference.stored(run)
        if kept is None:
            found.append(f"{name} has no reference.jsonl beside it")
        elif (said.tasks_digest, said.code) == now:
            again = await compare(benchmark, kept, run=run if said.model else None, margin=said.margin)
            data = _without_file(said.ladder, again.ladder[0])
            ladder = [*data, *again.ladder[1:]]
            if (said.verdict, said.reason, _rungs(said.ladder)) != (*verdict_of(ladder), _rungs(ladder)):
                found.append(f"{name} is not what its reference.jsonl gives")
    return found


def _without_file(said: Sequence[Rung], again: Rung) -> Sequence[Rung]:
    """The data rung as it was said, where it is as it is now but for the original's data file, which is not kept."""

    def seen(rung: Rung) -> tuple[list[Disagreement], dict[str, Any]]:
        return rung.disagreements, {name: n for name, n in rung.numbers.items() if not name.startswith("sha256")}

    follows = [
        rung
        for rung in said[:1]
        if seen(rung) == seen(again)
        and rung.verdict == ("different" if rung.numbers.get("sha256_known") is False else again.verdict)
    ]
    return follows or [again]


def _rungs(ladder: Sequence[Rung]) -> list[tuple[str, str, str, list[Disagreement]]]:
    return [(rung.name, rung.verdict, rung.reason, rung.disagreements) for rung in ladder]


def evidence_paths(folder: Path) -> list[str]:
    """The files of a profile's folder that everything follows from, as paths in it, sorted."""
    found = (
        path.relative_to(folder).as_posix() for pattern in ("*.jsonl", "runs/*/*") for path in folder.glob(pattern)
    )
    return sorted(path for path in found if EVIDENCE.fullmatch(path))


def evidence_of(folder: Path) -> dict[str, FileRecord]:
    """The digests of these files."""
    return {path: file_record(folder / path) for path in evidence_paths(folder)}


def file_record(path: Path, size: int | None = None) -> FileRecord:
    """The digest of a file, or of its first `size` bytes."""
    hashed, left, read = hashlib.sha256(), size, 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20 if left is None else min(1 << 20, left)):
            hashed.update(chunk)
            read += len(chunk)
            left = None if left is None else left - len(chunk)
    return FileRecord(hashed.hexdigest(), read)


@cache
def computing_code() -> str:
    """The digest of Assay's own code, without the benchmarks that come with it."""
    package = Path(__file__).parents[2]
    files = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    own = {name: path for name, path in files.items() if not name.startswith("benchmarks/")}
    return digest({name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in own.items()})


def sealed(certificate: Certificate) -> Certificate:
    """The certificate as it is read back from its file, with its own digest."""
    read = msgspec.json.decode(msgspec.json.encode(certificate), type=Certificate)
    return structs.replace(read, digest=own_digest(msgspec.to_builtins(read)))


def own_digest(plain: Mapping[str, Any]) -> str:
    """The digest that a certificate, as plain values, names of itself."""
    return digest({name: value for name, value in plain.items() if name != "digest"})


def rendered(certificate: Certificate | Mapping[str, Any]) -> bytes:
    """The bytes of `certificate.json`."""
    return msgspec.json.format(msgspec.json.encode(certificate), indent=2) + b"\n"


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
        seed=record.seed,
        started=record.started,
        rollouts=digest(files),
        rescored=record.rescored,
        versions=record.versions,
        by_repeat=_columns(results.rewards_TK),
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
                    by_repeat=_columns(found.references[name].rewards_TK()),
                ),
            )


def _columns(rewards_TK: NDArray[np.float64]) -> list[float | None]:
    """The mean over tasks of each repeat; None where it has no score."""
    columns = (rewards_TK[~np.isnan(rewards_TK[:, k]), k] for k in range(rewards_TK.shape[1]))
    return [float(column.mean()) if column.size else None for column in columns]


def _ends(path: Path) -> bool:
    """Whether a file ends in a whole line."""
    with path.open("rb") as file:
        file.seek(0, 2)
        if file.tell() == 0:
            return True
        file.seek(-1, 2)
        return file.read(1) == b"\n"

"""`assay verify`: whether a certificate is true, without a model and without writing anything.

The order of the checks: the certificate's own bytes and signature, the files of the evidence, the registry, then all
that follows from these files, computed again, and last whether the benchmark is still the measured one. There are two
kinds of flaws. *Forged*: the certificate, or a file beside it, was changed after it was made. *Expired*: it was true,
and something has changed or been added since.
"""

import dataclasses
import math
import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
from msgspec import Struct, structs

from assay.benchmark import Benchmark
from assay.benchmark.catalog import load, names
from assay.collect.collect import Interruption
from assay.collect.run import connect_roles, tasks_of
from assay.digest import canonical
from assay.errors import AssayError, InputError, UsageError
from assay.fidelity.certificate import seal, signature
from assay.fidelity.certificate.announcement import edited_since
from assay.fidelity.certificate.certificate import (
    assemble,
    computing_code,
    own_digest,
    parity_flaws,
    probe_seed,
    what_is_missing,
)
from assay.fidelity.certificate.description import changes, describe, some
from assay.fidelity.certificate.facts import compare_files, runs_of, short, started_in
from assay.fidelity.certificate.files import (
    EVIDENCE,
    GROWING,
    check_evidence,
    ends_a_line,
    evidence_of,
    file_record,
    is_there,
    render_file,
)
from assay.fidelity.certificate.registry import Register, register
from assay.fidelity.certificate.schema import FORMAT, Certificate, CertifiedBenchmark
from assay.fidelity.gates import ABSENT, OF_BENCHMARK, judge_benchmark
from assay.fidelity.profile import contenders_of, gather, profile_of, read_plan
from assay.fidelity.profile.build import derived_files, known_gates
from assay.fidelity.rescore.rescore import RescorePlan, rescore
from assay.fidelity.rescore.retrace import retrace
from assay.fidelity.schema.profile import Gate, Plan
from assay.sandbox import Place
from assay.store import REGISTRY, read_tasks
from assay.types import Outcome, Rollout, Score

CertificateState = Literal["valid", "expired", "forged"]
EntryState = Literal["ok", "expired", "forged", "not looked at"]
CLOSE = 1e-9
"""The relative difference up to which floats are equal. Another processor or library makes far smaller ones."""
OF_RUN = ("summary.json", "per_task.jsonl")
"""Derived files of a run."""


class Entry(Struct, frozen=True):
    """The result of one check."""

    what: str
    answer: EntryState
    reason: str


class Validity(Struct, frozen=True, kw_only=True):
    """The result of verifying a certificate."""

    verdict: CertificateState
    looked: list[Entry]
    certificate: Certificate | None
    """None if the file holds none."""

    @property
    def unseen(self) -> list[str]:
        """The checks that could not be made."""
        return [one.what for one in self.looked if one.answer == "not looked at"]


NOT_THE_SAME = Entry("rewards", "not looked at", "They can only be found again by the verifier that was certified.")
NOT_RESCORED = Entry("rewards", "not looked at", "They are taken as recorded; --rescore finds them again.")


async def verify(
    path: Path,
    *,
    folder: Path | None = None,
    name: str | None = None,
    sandbox: Place | None = None,
    key: Path | None = None,
    announced: str | None = None,
    rescored: bool = False,
    strict: bool = False,
    renderings: Callable[[Certificate], Mapping[str, bytes]] = lambda _: {},
) -> Validity:
    """Returns whether the certificate in a file is true of the profile in `folder`, by default the file's own folder.

    `name` says where the benchmark is if it has no name here, and `sandbox` where its code runs. `key` is the public
    key that must have signed, `announced` the digest that was posted before the first call. With `rescored` every
    reward is computed again from the recorded outputs; with `strict` the result says if it was not. `renderings`
    returns the other files that are made from a certificate, by name. Raises UsageError if there is no certificate or
    no profile.
    """
    folder = folder or path.parent
    certificate, own = read_certificate(path)
    if certificate is None:
        return _conclude([own], None)
    written = renderings(certificate)
    try:
        _check_files(path, folder, certificate, written)
        files = check_files(folder, certificate)
    except InputError as error:
        return _conclude([own, Entry("files", "forged", f"{error}.")], certificate)
    looked = [own, *_date(certificate), _signature(path, certificate, key), files, _registry(folder, certificate)]
    looked.append(_announcement(certificate, announced))
    if certificate.sealed and files.answer != "forged":
        looked += await _sealed_entries(folder, certificate, *load_benchmark(certificate, name, sandbox))
    elif files.answer == "forged":
        looked += [Entry(what, "not looked at", "The files are others.") for what in ("numbers", "benchmark")]
    else:
        benchmark, unknown = load_benchmark(certificate, name, sandbox)
        with certified_files(folder, certificate) as place:
            seen, derived = await _numbers(place, folder, certificate, benchmark, unknown)
            looked += seen
            if rescored:
                same = benchmark if seen[-1].answer == "ok" else None
                looked.append(await _rewards(place, same) if same else NOT_THE_SAME)
            elif strict:
                looked.append(NOT_RESCORED)
            if files.answer == "ok":
                looked.append(_check_derived(folder, derived, certificate))
    looked.append(_renderings(path.parent, certificate, written))
    return _conclude(looked, certificate)


def _check_files(path: Path, folder: Path, certificate: Certificate, written: Mapping[str, bytes]) -> None:
    """Raises UsageError if there is no profile, and InputError if a file to open is no regular file."""
    if not is_there(folder, seal.FILE if certificate.sealed else "plan.jsonl"):
        what = seal.FILE if certificate.sealed else "profile"
        raise UsageError(f"{folder} holds no {what}, so nothing can be computed again; name its folder by --profile")
    check_evidence(folder)
    for name in (path.with_suffix(".sig").name, *written):
        is_there(path.parent, name)
    for name in ("profile.json", *(f"runs/{model}/{file}" for model in certificate.models for file in OF_RUN)):
        is_there(folder, name)


def _conclude(looked: Sequence[Entry], certificate: Certificate | None) -> Validity:
    answers = {one.answer for one in looked}
    verdict: CertificateState = "forged" if "forged" in answers else "expired" if "expired" in answers else "valid"
    return Validity(verdict=verdict, looked=list(looked), certificate=certificate)


def read_certificate(path: Path) -> tuple[Certificate | None, Entry]:
    """Returns the certificate in a file, and whether it is unchanged, by its bytes, its digest and its own numbers."""
    try:
        is_there(path.parent, path.name)
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; expected the certificate.json of `assay certify`") from None
    try:
        plain = msgspec.json.decode(data, type=dict[str, Any])
        if isinstance(form := plain.get("format"), int) and form != FORMAT:
            remedy = "make a new one: `assay certify PROFILE`" if form < FORMAT else "use the Assay that made it"
            raise UsageError(f"{path} is of format {form}; this version of Assay reads format {FORMAT}: {remedy}")
        as_made, unchanged = render_file(plain) == data, own_digest(plain) == plain.get("digest")
        found = msgspec.convert(plain, Certificate)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return None, Entry("certificate", "forged", f"It is not as `assay certify` writes it: {error}.")
    if not unchanged:
        return found, Entry("certificate", "forged", "It was changed after it was made: its digest is another.")
    if not as_made:
        return found, Entry("certificate", "forged", "Its bytes are not those that `assay certify` writes.")
    missing = what_is_missing(found.gates, found.benchmark, found.registry)
    if (found.verified, found.missing) != (not missing, missing):
        said = "verified" if found.verified else f"not verified ({'; '.join(found.missing)})"
        follows = f"not verified ({'; '.join(missing)})" if missing else "verified"
        return found, Entry("certificate", "forged", f"It says {said}; from its own gates follows {follows}.")
    own = "" if found.computed_by == computing_code() else " Another code of Assay than this one computed it."
    return found, Entry("certificate", "ok", f"Made {found.made}, unchanged since (digest {found.digest[:12]}).{own}")


def _date(certificate: Certificate) -> list[Entry]:
    """Returns an entry if a certificate's date can't be right."""
    try:
        ahead = datetime.fromisoformat(certificate.made) - datetime.now(UTC)
    except (ValueError, TypeError):
        return [Entry("date", "forged", f"{short(certificate.made)} is no date as `assay certify` writes it.")]
    if ahead < timedelta(hours=1):
        return []
    reason = f"It names {certificate.made}, which is to come: that date, or this machine's clock, is wrong."
    return [Entry("date", "not looked at", reason)]


def _signature(path: Path, certificate: Certificate, key: Path | None) -> Entry:
    beside = path.with_suffix(".sig")
    wanted = signature.public_key(key) if key else None
    if not beside.exists():
        if certificate.signed_by or wanted:
            whose = wanted or certificate.signed_by
            return Entry("signature", "forged", f"{beside.name} is missing; expected the signature of {whose}.")
        return Entry("signature", "ok", "None, and none is asked for: nothing says who made it.")
    try:
        wrong, found = signature.flaw(beside, canonical(msgspec.json.decode(path.read_bytes())))
    except UsageError as error:
        if wanted:
            raise
        return Entry("signature", "not looked at", f"{error}.")
    if wrong or found is None:
        return Entry("signature", "forged", f"{beside.name} {wrong}.")
    if found.fingerprint != certificate.signed_by:
        return Entry("signature", "forged", f"Signed by {found.fingerprint}; it names {certificate.signed_by}.")
    if wanted and found.fingerprint != wanted:
        return Entry("signature", "forged", f"Signed by {found.fingerprint}, not by {wanted}.")
    known = "the key that was named" if wanted else "a key that --key does not name: ask whose it is"
    return Entry("signature", "ok", f"Ed25519 by {found.fingerprint}: {known}.")


def check_files(folder: Path, certificate: Certificate) -> Entry:
    """Returns whether the evidence is unchanged, or has grown since."""
    now, then = evidence_of(folder), certificate.evidence
    forged = [f"{path!r} is no file of a profile" for path in then if not EVIDENCE.fullmatch(path)]
    grown: list[str] = []
    for path, record in then.items():
        if not forged and path not in now:
            forged.append(f"{path} is missing")
        elif path in now and now[path] != record:
            part = GROWING.fullmatch(path) and now[path].bytes > record.bytes
            if part and file_record(folder / path, record.bytes) == record and ends_a_line(folder / path, record.bytes):
                grown.append(f"{path} has grown by {now[path].bytes - record.bytes:,} bytes")
            else:
                forged.append(f"{path} is not the file that was certified")
    if forged:
        return Entry("files", "forged", f"{some(forged)}.")
    if grown := grown + [f"{path} has come" for path in now if path not in then]:
        return Entry("files", "expired", f"{some(grown)} since. What was certified is still there, unchanged.")
    what = f"All {len(then)} files are those that were" if len(then) > 1 else "Its file is the one that was"
    return Entry("files", "ok", f"{what} certified.")


def _registry(folder: Path, certificate: Certificate) -> Entry:
    """Returns whether the registry still has the certified lines, and they agree with the certificate."""
    then = certificate.registry
    if certificate.sealed:
        return Entry("registry", "not looked at", "A sealed certificate is without it: what it says is claimed.")
    if not os.path.lexists(folder.resolve().parent / REGISTRY) and then.lines:
        return Entry("registry", "not looked at", "started.jsonl is not beside the profile.")
    models = [name for name, model in certificate.models.items() if model.run]
    try:
        now = register(folder, certificate.benchmark.name, lines=then.lines, models=models)
    except AssayError as error:
        return Entry("registry", "forged", f"{error}.")
    if (now.lines, now.sha256) != (then.lines, then.sha256):
        return Entry("registry", "forged", f"started.jsonl no longer holds the {then.lines} certified lines.")
    if now.broken:
        what = f"started.jsonl, line {now.broken[0]}: the line before it was taken out or changed"
        return Entry("registry", "forged", f"{what}.")
    if _without_fates(now) != _without_fates(then):
        return _flaw("registry", certificate, "The certificate names other runs than started.jsonl.")
    if now.unregistered:
        where = "has no line for" if now.lines else "was not beside the profile when it was certified, with"
        reason = f"started.jsonl {where} the run of {some(now.unregistered)}; others may have been thrown away unseen."
        return Entry("registry", "not looked at", reason)
    fates = [(was.fate, run.fate) for was, run in zip(then.runs, now.runs, strict=True)]
    moved = [f"a run that was {was} is {fate} now" for was, fate in fates if was != fate]
    lost = sum(fate == "thrown away" for fate, _ in fates)
    said = [f"{lost} of {len(fates)} runs that were started were thrown away"] if lost else []
    said += [f"written down before the first run: {_margins(now.margins)}"] if now.margins else []
    said += [f"gates were computed after {', '.join(f'{n:,}' for n in now.looks)} rollouts"] if now.looks[1:] else []
    return Entry("registry", "ok", f"{'; '.join([f'Its {now.lines} lines are there', *said, *moved])}.")


def _announcement(certificate: Certificate, posted: str | None) -> Entry:
    """Returns whether the certificate agrees with the announcement, and that was before the first run."""
    found = certificate.registry.announced
    if found is None:
        if posted is None:
            return Entry("announcement", "ok", "None, and none is asked for: the order of events is claimed.")
        return Entry("announcement", "forged", f"Nothing was announced before the first run; expected {posted[:12]}.")
    if posted not in (None, found.digest):
        return Entry("announcement", "forged", f"It is of {found.digest[:12]}, not of {posted[:12]}.")
    early = [name for name, model in certificate.models.items() if model.started and model.started < found.at]
    if early:
        return Entry("announcement", "forged", f"It is of {found.at}, and runs started before: {some(early)}.")
    first = min((model.started for model in certificate.models.values() if model.started), default="no run")
    where = "as it was posted" if posted else "compare it with what was posted"
    said = f"Digest {found.digest}, {where}; the first run says that it started {first}"
    since = f". Changed since: {', '.join(certificate.changed_since)}" if certificate.changed_since else ""
    return Entry("announcement", "ok", f"{said}{since}.")


def _margins(margins: Mapping[str, float]) -> str:
    return "margins of " + " and ".join(f"{100 * share:g} points for {gate}" for gate, share in margins.items())


def _without_fates(found: Register) -> Register:
    """Returns the register without what changes if folders are moved or removed later."""
    runs = [run if run.fate == "in this profile" else structs.replace(run, fate="elsewhere") for run in found.runs]
    return structs.replace(found, runs=runs)


def load_benchmark(certificate: Certificate, name: str | None, place: Place | None) -> tuple[Benchmark | None, str]:
    """Returns the benchmark, or why it is not available. A path that only the certificate has is not opened."""
    source = certificate.benchmark.source
    if name is None and source not in names():
        return None, f"{source} is not installed here; say --benchmark NAME or its folder: its code is run then."
    try:
        return load(name or source).with_place(place), ""
    except AssayError as error:
        return None, f"{error}."


@contextmanager
def certified_files(folder: Path, certificate: Certificate) -> Generator[Path]:
    """Yields a writable folder with the certified evidence and nothing else."""
    with tempfile.TemporaryDirectory(prefix="assay-verify-") as made:
        place = Path(made)
        for path, record in certificate.evidence.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            whole = (folder / path).resolve()
            if whole.stat().st_size == record.bytes:
                os.symlink(whole, place / path)
            else:
                with whole.open("rb") as file:
                    (place / path).write_bytes(file.read(record.bytes))
        yield place


async def _numbers(
    place: Path, folder: Path, certificate: Certificate, benchmark: Benchmark | None, unknown: str
) -> tuple[list[Entry], Mapping[str, Any]]:
    """Returns whether all numbers of the certificate follow from the files, and the benchmark is the measured one.

    Also returns the expected content of the derived files, by path.
    """
    try:
        plan, started = read_plan(place), started_in(folder, certificate.registry.lines)
        now = describe(benchmark, plan) if benchmark else None
        same = benchmark if now == certificate.benchmark else None
        compared = compare_files(place, plan, certificate.benchmark, started, benchmark=same)
        if compared.wrong:
            return [Entry("numbers", "forged", f"{some(compared.wrong)}.")], {}
        if edited := edited_since(place, certificate.registry.announced, certificate.benchmark):
            reason = f"The first line of plan.jsonl is not what was announced: other {', '.join(edited)}."
            return [Entry("plan", "forged", reason)], {}
        asked = [task for run in runs_of(place, plan)[:1] for task in read_tasks(run)]
        changed = changes(certificate.benchmark, now, asked, benchmark) if now and benchmark else []
        if same and (flaws := await parity_flaws(place, same)):
            return [_flaw("numbers", certificate, f"{some(flaws)}.")], {}
        evidence = gather(place, plan, contenders_of(place, plan, cached=False), same)
        profile = profile_of(evidence, await _own_gates(place, plan, certificate, same))
        found = assemble(place, evidence, profile, certificate.benchmark, registry=certificate.registry)
    except AssayError as error:
        return [Entry("numbers", "forged", f"The files do not make a profile: {error}")], {}
    derived = derived_files(evidence, profile)
    if same is None or same.roles:
        del derived["profile.json"]  # some of its gates were not computed
    doubts = [Entry("models", "not looked at", f"Not decided by any file: {some(compared.doubts)}.")]
    looked = _numbers_and_benchmark(certificate, found, same, now, changed, unknown)
    return [*(doubts if compared.doubts else ()), *looked], derived


def _numbers_and_benchmark(
    certificate: Certificate,
    found: Certificate,
    same: Benchmark | None,
    now: CertifiedBenchmark | None,
    changed: Sequence[str],
    unknown: str,
) -> list[Entry]:
    numbers = _compare_numbers(certificate, found, run_again=same is not None and not same.roles)
    asking = Entry("/".join((*OF_BENCHMARK, "parity")), "not looked at", "They ask a model in a role: taken as said.")
    return [numbers, *([asking] if same and same.roles else []), _of_benchmark(same, now, changed, unknown)]


def _of_benchmark(
    same: Benchmark | None, now: CertifiedBenchmark | None, changed: Sequence[str], unknown: str
) -> Entry:
    if same:
        return Entry("benchmark", "ok", f"{same.name} {same.version}, installed here, is what was measured.")
    if now is None:
        return Entry("benchmark", "not looked at", unknown)
    if not changed:
        return Entry("benchmark", "forged", "It is not described as it was when it was certified.")
    return Entry("benchmark", "expired", f"{some(changed)}.")


async def _sealed_entries(
    folder: Path, certificate: Certificate, benchmark: Benchmark | None, unknown: str
) -> list[Entry]:
    """Returns whether scores, intervals and gates follow from public rows and marks, and which checks are missing."""
    try:
        lines = seal.read_sealed(folder)
        now = describe(benchmark, certificate.benchmark) if benchmark else None
        same = benchmark if now == certificate.benchmark else None
        told = certificate.gates
        if same and not same.roles:
            tasks, seed = tasks_of(same, certificate.benchmark.selection), probe_seed(certificate.evidence)
            async with connect_roles(same, {}) as ready:
                again = {gate.name: seal.withheld(gate) for gate in await judge_benchmark(ready, tasks, seed)}
            told = [again.get(gate.name, gate) for gate in told]
        found = seal.sealed_form(structs.replace(certificate, gates=told), lines)
        flaws = seal.public_of(lines, certificate.benchmark, certificate.suite, told).flaws
    except (AssayError, KeyError, StopIteration, ValueError) as error:
        return [Entry("numbers", "forged", f"The public rows make no certificate: {error}.")]
    numbers = _compare_numbers(certificate, found, run_again=same is not None and not same.roles)
    if numbers.answer == "ok" and flaws:
        numbers = _flaw("numbers", certificate, f"{some(flaws)}.")
    if numbers.answer == "ok":
        rows, gates = sum(isinstance(one, seal.SealedRow) for one in lines), ", ".join(seal.OF_ROWS)
        said = f"Scores, intervals, the gates {gates} and what read counts follow from {rows:,} public rows."
        numbers = Entry("numbers", "ok", said)
    changed = changes(certificate.benchmark, now, [], benchmark) if now and benchmark else []
    done = {*seal.OF_ROWS, "read", *(OF_BENCHMARK if same and not same.roles else ())}
    taken = [one.name for one in certificate.gates if one.name not in done and one.verdict != "not run"]
    gates = f" So are the verdicts of {', '.join(taken)}." if taken else ""
    texts = f"Prompts, answers and notes are withheld: rewards and marks are taken as said; ask to open rows.{gates}"
    last = _of_benchmark(same, now, changed, unknown)
    return [numbers, last, Entry("texts", "not looked at", texts)]


def read_seal(path: Path) -> tuple[Certificate, list[seal.Line]]:
    """Returns a sealed certificate and the public lines beside it. Raises UsageError where these are not as seal."""
    certificate, own = read_certificate(path)
    if certificate is None or not certificate.sealed:
        raise UsageError(f"{path} is not sealed; expected the certificate.json of `assay certify --sealed`")
    for one in (own, check_files(path.parent, certificate)):
        if one.answer == "forged":
            raise UsageError(f"{path} is forged: {one.reason}")
    return certificate, seal.read_sealed(path.parent)


async def check_open_row(
    path: Path, opened: seal.OpenRow, *, name: str | None = None, sandbox: Place | None = None
) -> Validity:
    """Returns whether an opened row is the sealed one, and whether the verifier gives its reward again.

    The arguments are those of `verify`. Raises UsageError if there is no sealed certificate.
    """
    certificate, lines = read_seal(path)
    if flaws := seal.flaws_of_row(lines, opened):
        return _conclude([Entry("row", "forged", f"{some(flaws)}.")], certificate)
    row = Entry("row", "ok", "It is what was sealed, and its public part says the same.")
    benchmark, unknown = load_benchmark(certificate, name, sandbox)
    now = describe(benchmark, certificate.benchmark) if benchmark else None
    of = _of_benchmark(benchmark if now == certificate.benchmark else None, now, ["it has changed"], unknown)
    if benchmark is None or of.answer != "ok" or benchmark.roles:
        why = "It takes a model in a role." if benchmark and benchmark.roles else "It takes the benchmark as it was."
        return _conclude([row, of, Entry("reward", "not looked at", why)], certificate)
    tasks = {task.id: task for task in tasks_of(benchmark, certificate.benchmark.selection)}
    if tasks.get(opened.task.id) != opened.task:
        return _conclude([row, of, Entry("task", "forged", "It is not the benchmark's task of this id.")], certificate)
    limits = structs.replace(certificate.models[opened.model].limits, wall_s=None, tool_s=None)
    again = await retrace(dataclasses.replace(benchmark, limits=limits), opened.task, opened.rollout, ())
    return _conclude([row, of, _reward(opened.rollout.outcome, again)], certificate)


def _reward(was: Outcome, again: Rollout | str) -> Entry:
    if isinstance(again, str):
        return Entry("reward", "not looked at", f"{again}.")
    now = again.outcome
    if isinstance(was, Score) and isinstance(now, Score) and was.reward != now.reward:
        return Entry("reward", "forged", f"{_outcome(was)} was sealed, and {_outcome(now)} from its output.")
    if isinstance(was, Score) and isinstance(now, Score):
        return Entry("reward", "ok", f"The verifier gives {_outcome(now)} again.")
    return Entry("reward", "not looked at", "It has none, so that the score is without it.")


async def _own_gates(place: Path, plan: Plan, certificate: Certificate, benchmark: Benchmark | None) -> list[Gate]:
    """Returns the gates that run the benchmark. If it or a judge is missing, they are the certificate's."""
    if benchmark and not benchmark.roles:
        return await known_gates(place, plan, benchmark, again=True, seed=probe_seed(certificate.evidence))
    names = OF_BENCHMARK if benchmark else (*OF_BENCHMARK, *ABSENT)
    return [gate for gate in certificate.gates if gate.name in names]


async def _rewards(place: Path, benchmark: Benchmark) -> Entry:
    """Returns whether the verifier gives each recorded output its recorded outcome."""
    wrong, unknown, rollouts = list[str](), list[str](), 0
    plan = read_plan(place)
    for run in runs_of(place, plan):
        with tempfile.TemporaryDirectory(prefix="assay-verify-") as made:
            again = Path(made)
            asked = RescorePlan(run=run, benchmark=benchmark, folder=again / run.name, registry=again / REGISTRY)
            try:
                found = await rescore(asked, interruption=Interruption())
            except AssayError as error:
                return Entry("rewards", "not looked at", f"{run.name}: {error}.")
        for change in found.changes if found else ():
            at = f"{run.name}, {change.task}, repeat {change.repeat}"
            if change.kind == "owed":
                unknown.append(f"{at}: {change.reason}")
            else:
                wrong.append(f"{at}: {_outcome(change.before)} in the file, {_outcome(change.after)} from its output")
        rollouts += found.rollouts if found else 0
    if wrong:
        return Entry("rewards", "forged", f"{some(wrong)}.")
    if unknown:
        return Entry("rewards", "not looked at", f"{rollouts:,} are as recorded; not known: {some(unknown)}.")
    return Entry("rewards", "ok", f"The verifier gives all {rollouts:,} recorded outputs the rewards recorded.")


def _outcome(outcome: Outcome | None) -> str:
    return f"{outcome.reward:g} for {outcome.answer!r}" if isinstance(outcome, Score) else "a failure"


def _compare_numbers(certificate: Certificate, found: Certificate, *, run_again: bool) -> Entry:
    """Returns whether the numbers in the certificate are the computed ones."""
    exact, close = list[str](), 0
    for part in ("suite", "models", "gates", "parity", "changed_since"):
        for at, was, now in differences(_by_name(certificate, part), _by_name(found, part), part):
            if _alike(was, now):
                close += 1
            else:
                exact.append(f"{at}: {short(was)} in the certificate, {short(now)} from the files")
    if exact:
        return _flaw("numbers", certificate, f"{some(exact)}.")
    own = "" if run_again else " Gates that take the benchmark were not computed again."
    near = f" {close} agree to 1 in 10⁹ alone: another processor or library." if close else ""
    return Entry("numbers", "ok", f"Every score, error and gate follows from the files.{near}{own}")


def _flaw(what: str, certificate: Certificate, reason: str) -> Entry:
    """Returns an entry for a wrong number: forged, unless another version of Assay may compute it differently."""
    if certificate.computed_by == computing_code():
        return Entry(what, "forged", reason)
    made = f"Another code of Assay ({certificate.versions.get('assay')}) made it; by this one it is otherwise"
    return Entry(what, "expired", f"{made}: {reason}")


def _by_name(certificate: Certificate, part: str) -> Any:
    plain = msgspec.to_builtins(getattr(certificate, part))
    return {gate["name"]: gate for gate in plain} if part == "gates" else plain


def differences(there: Any, here: Any, at: str) -> list[tuple[str, Any, Any]]:
    """Returns (place, there, here) of every leaf in which two plain values differ."""
    were, are = dict(_leaves(there, at)), dict(_leaves(here, at))
    pairs = ((place, were.get(place), are.get(place)) for place in dict.fromkeys([*were, *are]))
    return [(place, was, now) for place, was, now in pairs if was != now]


def _leaves(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in cast(dict[str, Any], value).items():
            yield from _leaves(inner, f"{at}.{name}")
    elif isinstance(value, list) and value:
        for index, inner in enumerate(cast(list[Any], value)):
            yield from _leaves(inner, f"{at}[{index}]")
    else:
        yield at, value


def _check_derived(folder: Path, derived: Mapping[str, Any], certificate: Certificate) -> Entry:
    """Returns whether the files that are derived from the evidence agree with it, as far as they exist."""
    wrong: list[str] = []
    for path, value in derived.items():
        if (folder / path).exists():
            try:
                was, now = _plain(folder / path), msgspec.json.decode(msgspec.json.encode(value))
            except (msgspec.DecodeError, UnicodeError):
                wrong.append(f"{path} cannot be read")
                continue
            if any(not _alike(a, b) for at, a, b in differences(was, now, "") if at != ".wall_s"):
                wrong.append(f"{path} is not what follows from the files")
    if wrong:
        return _flaw("derived files", certificate, f"{some(wrong)}. `assay report` writes them anew.")
    return Entry(
        "derived files", "ok", "profile.json and its like say what the files say; report.html is not looked at."
    )


def _plain(path: Path) -> Any:
    data = path.read_bytes()
    return (
        [msgspec.json.decode(line) for line in data.splitlines()]
        if path.suffix == ".jsonl"
        else msgspec.json.decode(data)
    )


def _alike(was: Any, now: Any) -> bool:
    return isinstance(was, float) and isinstance(now, float) and math.isclose(was, now, rel_tol=CLOSE, abs_tol=1e-12)


def _renderings(folder: Path, certificate: Certificate, written: Mapping[str, bytes]) -> Entry:
    wrong = [
        name for name, data in written.items() if (folder / name).exists() and (folder / name).read_bytes() != data
    ]
    if wrong:
        return _flaw("renderings", certificate, f"{some(wrong)}: not what the certificate says.")
    there = [name for name in written if (folder / name).exists()]
    return Entry("renderings", "ok", f"{some(there)} say what it says." if there else "None are beside it.")

"""Sealed certificates: rewards and marks are public, texts are withheld, and any row can be opened later.

`sealed.jsonl` lies beside such a certificate. It has a line for each rollout: what scores and gates follow from, and a
salted digest of the whole row with its task. Salts come from the profile's `seal.key`, one for each row, so that an
opened row says nothing of the others.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
import numpy as np
from msgspec import Meta, Struct, structs
from numpy.typing import NDArray

from assay.config import Member, Reversal, Suite
from assay.digest import digest, task_digest
from assay.errors import UsageError
from assay.fidelity.certificate.schema import Certificate, CertifiedBenchmark, CertifiedModel
from assay.fidelity.detectors.suspects import suspects
from assay.fidelity.gates import OF_BENCHMARK, judge_profile
from assay.fidelity.gates.rule import Facts
from assay.fidelity.profile import Evidence
from assay.fidelity.profile.evidence import material_of
from assay.fidelity.results.columns import Cell
from assay.fidelity.results.contender import Contender, measured_models
from assay.fidelity.results.independence import LONG
from assay.fidelity.results.results import Results, text_digest
from assay.fidelity.results.summary import summarise
from assay.fidelity.review.review import Progress
from assay.fidelity.review.sample import LONG_RULE, SHORT_RULE
from assay.fidelity.schema.evidence import Explanation, Fault, ModelReview, Review
from assay.fidelity.schema.profile import Gate, Summary
from assay.input import BROKEN, is_present, read_input
from assay.stats.distributions import binomial_lower, binomial_upper
from assay.store import read_lines, read_rollouts, read_tasks
from assay.types import MOST_REPEATS, Failure, Kind, Number, Role, Rollout, Score, StopReason, Task

FILE, KEY = "sealed.jsonl", "seal.key"
WITHHELD = "(withheld: the certificate is sealed)"
OF_TEXTS = (*OF_BENCHMARK, "parity")
"""The gates whose reasons quote tasks and answers."""
OF_ROWS = ("range", "order", "kinds", "repeats")
"""The gates that follow from the public rows."""
SAID = ("tokens", "cost_usd", "wall_s")
"""Figures of a model that do not."""


class SealedSuite(Struct, frozen=True, kw_only=True, tag="suite"):
    """What gates take from the suite, beside its models."""

    order: list[tuple[str, str]]
    tiers: Literal["climb", "all"]
    reversals: list[Reversal]
    declared: list[str]
    """Tasks that the benchmark declares as defective."""


class SealedModel(Struct, frozen=True, kw_only=True, tag="model"):
    """What gates take from a model of the suite, whether it ran or not."""

    name: str
    role: Role
    kind: Kind
    tier: int
    id: str
    server: int
    """A number for the address: models with the same number are at the same."""
    builtin: bool
    """Whether it answers from the tasks, as gold does."""
    greedy: bool
    repeats: Annotated[int, Meta(ge=0, le=MOST_REPEATS)]
    """That were planned; 0 where it did not run."""


class SealedTask(Struct, frozen=True, kw_only=True, tag="task"):
    """A task: its id and the tags that make up the score."""

    id: str
    tags: dict[str, str]


class SealedRow(Struct, frozen=True, kw_only=True, tag="row"):
    """One rollout: what is public of it, and the salted digest of all of it."""

    model: str
    task: str
    repeat: Annotated[int, Meta(ge=0, lt=MOST_REPEATS)]
    attempt: int
    reward: Number | None
    """None where it failed."""
    failure: str
    """Where and how; empty where it has a score."""
    stop: StopReason
    answer: int | None
    """A number for the answer that was read: equal ones of the same task and model have the same."""
    text: int
    """The same of all that the model wrote."""
    long: bool
    """Whether that is so long that chance does not make it twice."""
    undecided: float
    mark: Fault | None
    """The last word of the readers on it; None where nobody read it, or not all is read."""
    main: bool
    """Whether it is of the main sample."""
    at_fault: bool
    """Whether it counts as at fault there, also if it was mended or declared since."""
    digest: str

    @property
    def place(self) -> tuple[str, str, int, int]:
        return self.model, self.task, self.repeat, self.attempt


Line = SealedSuite | SealedModel | SealedTask | SealedRow | Explanation


class OpenRow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row that was opened: all of it, and its salt."""

    model: str
    salt: str
    task: Task
    rollout: Rollout


class Public(Struct, frozen=True, kw_only=True):
    """What follows from the lines of a sealed certificate."""

    results: dict[str, Results]
    gates: list[Gate]
    flaws: list[str]
    """What of the gates that were taken as said can't be so."""


def make_seal(profile: Path, out: Path) -> bytes:
    """Returns the secret that a profile's salts come from; it is made, for its owner alone, where there is none.

    Raises UsageError where the certificate would come to lie beside the secret.
    """
    if out.resolve() == profile.resolve():
        raise UsageError(f"--out {out} holds the texts that --sealed withholds; expected another folder")
    path = profile / KEY
    if not is_present(path):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_hex(32).encode())
    return read_input(path)


def seal_rows(folder: Path, evidence: Evidence, key: bytes) -> list[Line]:
    """Returns the lines of `sealed.jsonl`. Raises UsageError where no model has run, InputError for a damaged file."""
    plan, by_name = evidence.plan, {one.name: one for one in evidence.contenders}
    if not by_name:
        raise UsageError(f"{folder}: no model has run, so there is nothing to seal")
    servers = {url: number for number, url in enumerate({one.server: None for one in by_name.values()})}
    suite = plan.suite
    lines: list[Line] = [
        SealedSuite(order=suite.order, tiers=suite.tiers, reversals=suite.reversals, declared=plan.benchmark.declared)
    ]
    for name, member in suite.models.items():
        ran = by_name.get(name)
        lines.append(
            SealedModel(
                name=name,
                role=member.role,
                kind=member.kind,
                tier=member.tier,
                id=member.id,
                server=servers[ran.server] if ran else -1,
                builtin=member.answers_tasks,
                greedy=bool(ran and ran.greedy),
                repeats=ran.results.repeats if ran else 0,
            )
        )
    first = next(iter(by_name.values()))
    tags = {*first.results.grouped_by, *first.results.score.tags}
    lines += [
        SealedTask(id=task.id, tags={name: task.tags[name] for name in sorted(tags & task.tags.keys())})
        for task in first.results.tasks
    ]
    chosen = measured_models(suite, evidence.contenders)
    read = Progress(material_of(evidence, suspects({one.name: one.results for one in chosen})), evidence.said)
    for one in by_name.values():
        lines += _rows(folder / "runs" / one.name, one, read, key)
        said = read.explained(one.name) if one in chosen else []
        lines += [structs.replace(explanation, note=WITHHELD) for explanation in said]
    return lines


def _rows(run: Path, one: Contender, read: Progress, key: bytes) -> Iterator[SealedRow]:
    tasks = {task.id: task for task in one.results.tasks}
    texts: dict[str, dict[int, int]] = {}
    answers: dict[str, dict[str, int]] = {}
    spots = {spot.key: spot for spot in (*read.material.population.spots, *read.marked_spots) if spot.model == one.name}
    main = {spot.key for spot in read.look[0] if spot.model == one.name} if not read.left else set[Any]()
    for made in read_rollouts(run, one.results.tasks):
        salt = salt_of(key, one.name, made)
        spot = spots.get(made.key) if not read.left else None
        word = read.word(spot) if spot else None
        public = public_part(made)
        score = made.outcome if isinstance(made.outcome, Score) else None
        text = text_digest(turn.response for turn in made.turns)
        known, read_as = texts.setdefault(made.task, {}), answers.setdefault(made.task, {})
        yield SealedRow(
            model=one.name,
            **public,
            answer=None if score is None or score.answer is None else read_as.setdefault(score.answer, len(read_as)),
            text=known.setdefault(text, len(known)),
            mark=word.fault if word else None,
            main=made.key in main,
            at_fault=bool(spot) and made.key in main and read.is_at_fault(spot),
            digest=sealed_digest(salt, one.name, tasks[made.task], made),
        )


def public_part(made: Rollout) -> dict[str, Any]:
    """Returns what a row says of a rollout and what the rollout alone decides."""
    outcome = made.outcome
    score = outcome if isinstance(outcome, Score) else None
    return {
        "task": made.task,
        "repeat": made.repeat,
        "attempt": made.attempt,
        "reward": score and score.reward,
        "failure": f"{outcome.where}: {outcome.kind}" if isinstance(outcome, Failure) else "",
        "stop": made.stop,
        "long": sum(turn.response.usage.output_tokens for turn in made.turns) >= LONG,
        "undecided": score.metrics.get("undecided", 0.0) if score else 0.0,
    }


def salt_of(key: bytes, model: str, made: Rollout) -> str:
    """Returns the salt of a row: nobody without the key can compute it, also not from other salts."""
    place = "\0".join((model, made.task, str(made.repeat), str(made.attempt)))
    return hmac.new(key, place.encode(), hashlib.sha256).hexdigest()


def sealed_digest(salt: str, model: str, task: Task, made: Rollout) -> str:
    """Returns the salted digest of a row."""
    return digest([salt, model, task, made])


def read_sealed(folder: Path) -> list[Line]:
    """Returns the lines of a folder's `sealed.jsonl`. Raises InputError."""
    return list(read_lines(folder / FILE, cast(Any, Line)))


def public_of(lines: Sequence[Line], described: CertifiedBenchmark, suite: str, said: Sequence[Gate]) -> Public:
    """Returns what follows from public lines. Gates that do not are taken as `said`."""
    head = next(line for line in lines if isinstance(line, SealedSuite))
    models = [line for line in lines if isinstance(line, SealedModel)]
    results = results_of(lines, described)
    members = {
        one.name: Member(
            dialect="gold" if one.builtin else "chat", id=one.id, role=one.role, kind=one.kind, tier=one.tier
        )
        for one in models
    }
    contenders = [
        Contender(
            one.name,
            one.role,
            one.kind,
            one.tier,
            results[one.name],
            id=one.id,
            server=str(one.server),
            greedy=one.greedy,
        )
        for one in models
        if one.name in results
    ]
    explained = {
        name: ModelReview(
            made=0,
            failing=0,
            sample=0,
            marked=0,
            explained=[line for line in lines if isinstance(line, Explanation) and line.model == name],
        )
        for name in results
    }
    facts = Facts(
        suite=Suite(
            name=suite, models=members, order=head.order, tiers=cast(Any, head.tiers), reversals=head.reversals
        ),
        chance=described.chance,
        contenders=contenders,
        review=Review(models=explained),
        benchmark=described.name,
        hard=described.hard,
    )
    known = [gate for gate in said if gate.name not in OF_ROWS]
    rows = [row for one in measured_models(facts.suite, contenders) for row in rows_of(lines, one.name)]
    return Public(results=results, gates=judge_profile(facts, known), flaws=_read_flaws(known, rows, head.declared))


def results_of(lines: Sequence[Line], described: CertifiedBenchmark) -> dict[str, Results]:
    """Returns the results of each model that ran, as far as they are public."""
    tasks = [Task(id=line.id, input=[], tags=line.tags) for line in lines if isinstance(line, SealedTask)]
    index = {task.id: row for row, task in enumerate(tasks)}
    planned = {line.name: line.repeats for line in lines if isinstance(line, SealedModel)}
    found: dict[str, Results] = {}
    for name in [name for name, repeats in planned.items() if repeats]:
        cells: dict[tuple[str, int], Cell] = {}
        for row in rows_of(lines, name):
            earlier = cells.get((row.task, row.repeat))
            if earlier is None or earlier.reward is None:
                cells[row.task, row.repeat] = _cell(row, index[row.task])
        rewards_TK = np.full((len(tasks), max([planned[name], *(cell.repeat + 1 for cell in cells.values())])), np.nan)
        for cell in cells.values():
            rewards_TK[cell.task, cell.repeat] = np.nan if cell.reward is None else cell.reward
        found[name] = Results(tasks, rewards_TK, list(cells.values()), {}, 0.0, score=described.score)
    return found


def rows_of(lines: Sequence[Line], model: str) -> list[SealedRow]:
    """Returns the rows of a model."""
    return [line for line in lines if isinstance(line, SealedRow) and line.model == model]


def _cell(row: SealedRow, task: int) -> Cell:
    return Cell(
        task=task,
        repeat=row.repeat,
        reward=row.reward,
        answer=None if row.answer is None else str(row.answer),
        stop=row.stop,
        output_tokens=LONG if row.long else 0,
        text=row.text,
        cost_usd=None,
        undecided=row.undecided,
    )


def _read_flaws(said: Sequence[Gate], rows: Sequence[SealedRow], declared: Sequence[str]) -> list[str]:
    """Returns what the read gate says and the public marks do not, where all is read."""
    gate = next((gate for gate in said if gate.name == "read"), None)
    if gate is None or gate.numbers.get("bounds") is None:
        return []
    main = [row for row in rows if row.main]
    faults = sum(row.at_fault for row in main)
    scored = [row for row in rows if row.reward is not None]
    known = sum(row.task in declared for row in scored) / max(1, len(scored))
    looks = [look.alpha for rule in (SHORT_RULE, LONG_RULE) for look in rule.looks if look.rollouts == len(main)]
    share = faults / max(1, len(main))
    pairs = [(binomial_lower(faults, len(main), 1 - a), binomial_upper(faults, len(main), 1 - a)) for a in looks]
    allowed = [((1 - known) * low, known + (1 - known) * high) for low, high in [*pairs, (share, share)]]
    numbers = gate.numbers
    flaws = [
        f"read: {numbers[name]} {name} in the certificate, {counted} by the public marks"
        for name, counted in (("sample", len(main)), ("at_fault", faults))
        if numbers[name] != counted
    ]
    if not any(np.allclose(numbers["bounds"], pair) for pair in allowed):
        flaws.append(f"read: bounds {numbers['bounds']}, which do not follow from the public marks")
    return flaws


def withheld(gate: Gate) -> Gate:
    """Returns a gate without what it quotes: of tasks, answers and people's notes."""
    explained = [structs.replace(one, note=WITHHELD) for one in gate.explained]
    if gate.name in OF_TEXTS:
        return Gate(gate.name, gate.verdict, WITHHELD, explained=explained, p_fail=gate.p_fail, applies=gate.applies)
    return structs.replace(gate, explained=explained)


def public_model(model: CertifiedModel, results: Results, rows: Sequence[SealedRow]) -> CertifiedModel:
    """Returns what a sealed certificate says of a model that ran."""
    figures = summarise(results)
    kept = {name: getattr(figures, name) for name in Summary.__struct_fields__ if name not in SAID}
    return structs.replace(
        model,
        summary=structs.replace(model.summary, **kept, per_task=None),
        server={},
        identity=_without_texts(model.identity),
        roles={role: _without_texts(identity) for role, identity in model.roles.items()},
        rollouts=digest([row.digest for row in rows]),
        rescored=structs.replace(model.rescored, rollouts="") if model.rescored else None,
        by_repeat=by_repeat(results.rewards_TK),
    )


def by_repeat(rewards_TK: NDArray[np.float64]) -> list[float | None]:
    """Returns the mean over tasks of each repeat; None where it has no score."""
    columns = (column[~np.isnan(column)] for column in rewards_TK.T)
    return [float(column.mean()) if column.size else None for column in columns]


def _without_texts(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an identity without the answers of a scripted model."""
    return {name: value for name, value in identity.items() if name != "script"}


def sealed_form(certificate: Certificate, lines: Sequence[Line]) -> Certificate:
    """Returns what of an open certificate may be public, with its numbers computed from the public lines."""
    public = public_of(lines, certificate.benchmark, certificate.suite, [withheld(gate) for gate in certificate.gates])
    models = {
        name: public_model(model, public.results[name], rows_of(lines, name)) if name in public.results else model
        for name, model in certificate.models.items()
    }
    parity = {name: structs.replace(one, reason=WITHHELD) for name, one in certificate.parity.items()}
    return structs.replace(certificate, sealed=True, models=models, gates=public.gates, parity=parity)


def open_row(profile: Path, lines: Sequence[Line], row: str) -> OpenRow:
    """Returns a row of a profile, named MODEL/TASK/REPEAT, with its salt. Raises UsageError."""
    model, _, rest = row.partition("/")
    task, _, repeat = rest.rpartition("/")
    known = [line for line in lines if isinstance(line, SealedRow)]
    named = [line for line in known if (line.model, line.task, str(line.repeat)) == (model, task, repeat)]
    if not named:
        some = "/".join(map(str, known[0].place[:3])) if known else "none"
        raise UsageError(f"--row {row}: no such row; expected MODEL/TASK/REPEAT, such as {some}")
    if not is_present(profile / KEY):
        raise UsageError(f"{profile} has no {KEY}; expected the profile that was sealed: name it by --profile")
    key, tasks = read_input(profile / KEY), {task.id: task for task in read_tasks(profile / "runs" / model)}
    for made in read_rollouts(profile / "runs" / model):
        if (made.task, made.repeat, made.attempt) == named[-1].place[1:]:
            opened = OpenRow(model=model, salt=salt_of(key, model, made), task=tasks[made.task], rollout=made)
            if flaws := flaws_of_row(lines, opened):
                raise UsageError(f"{profile} is not what was sealed: {flaws[0]}")
            return opened
    raise UsageError(f"{profile} no longer holds {row}")


def read_open_row(path: Path) -> OpenRow:
    """Returns the row that was opened into a file. Raises UsageError."""
    try:
        return msgspec.json.decode(read_input(path), type=OpenRow)
    except BROKEN as error:
        raise UsageError(f"{path} is no opened row: {error}; expected what `assay open --row` writes") from None


def flaws_of_row(lines: Sequence[Line], opened: OpenRow) -> list[str]:
    """Returns what of an opened row is not what was sealed, a line each."""
    made, task = opened.rollout, opened.task
    place = (opened.model, made.task, made.repeat, made.attempt)
    row = next((line for line in lines if isinstance(line, SealedRow) and line.place == place), None)
    if row is None:
        return [f"no row {'/'.join(map(str, place[:3]))} was sealed"]
    if sealed_digest(opened.salt, opened.model, task, made) != row.digest:
        return ["its salted digest is another: a text, the reward, the salt or its place was changed"]
    flaws = [
        f"{name} {here} in the opened row, {getattr(row, name)} in {FILE}"
        for name, here in public_part(made).items()
        if getattr(row, name) != here
    ]
    if isinstance(made.outcome, Score) and (made.outcome.answer is None) != (row.answer is None):
        flaws.append(f"whether an answer was read is otherwise in {FILE}")
    if (task.id, task_digest(task)) != (made.task, made.task_digest):
        flaws.append("its task is not the one that the rollout is of")
    tags = [line.tags.items() for line in lines if isinstance(line, SealedTask) and line.id == task.id]
    if any(task.tags.get(name) != tag for items in tags for name, tag in items):
        flaws.append(f"the tags of its task are others in {FILE}")
    return flaws

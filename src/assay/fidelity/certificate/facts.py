"""Facts that are in two files of a profile: plan, run.json, registry, rollouts and certificate have to agree.

They show a changed file even if all digests were made anew, as long as another file has the old value.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from assay.benchmark import Benchmark, has_no_state
from assay.config import Member, ModelConfig, Suite, load_suite, suites
from assay.digest import digest, prompts_digest
from assay.fidelity.certificate.files import file_record, is_there
from assay.fidelity.certificate.rollouts import look_through
from assay.fidelity.certificate.schema import CertifiedBenchmark
from assay.fidelity.review.judging import draw, read_judging
from assay.fidelity.schema.profile import Plan
from assay.model.builtin.local import SHIPPED, WEIGHTS
from assay.store import REGISTRY, RunRecord, Start, read_lines, read_record, read_registry, read_tasks

Fact = tuple[str, Any, Sequence[Any]]
"""The name of a fact, its value in one file, and the values that another file allows."""


class Comparison(Struct, frozen=True):
    """The result of comparing the files of a profile."""

    wrong: list[str]
    """Differences between two files, a line each."""
    doubts: list[str]
    """Claims that no file of the profile decides, a line each."""


def compare_files(
    folder: Path,
    plan: Plan,
    described: CertifiedBenchmark,
    started: Sequence[Start] = (),
    *,
    benchmark: Benchmark | None = None,
) -> Comparison:
    """Returns the differences between a profile's files.

    `started` has the registry's lines that count. `benchmark` is the measured one, if it is known here.
    Raises InputError for a damaged file.
    """
    plans = list(read_lines(folder / "plan.jsonl", Plan))
    stateless = benchmark is not None and has_no_state(benchmark.environment)
    wrong = _different(_of_benchmark(plan, described), "the certificate", "plan.jsonl")
    doubts = list(_of_suite(plan.suite))
    ids: dict[str, str] = {}
    for run in runs_of(folder, plan):
        record, place = read_record(run), f"runs/{run.name}/run.json"
        wrong += _different(_of_run(run, record, plan, plans, described), place, "the profile")
        wrong += _different(_of_registry(run.name, record, started), place, REGISTRY)
        seen = look_through(run, record, plan, plans, stateless=stateless)
        wrong += seen.wrong
        doubts += _of_weights(plan.suite.models[run.name], record)
        if seen.models:
            asked = short(plan.suite.models[run.name].id)
            doubts.append(f"{run.name}: asked for {asked}, and answers are by {', '.join(map(short, seen.models[:3]))}")
        if record.id in ids:
            wrong.append(f"{place}: the id of runs/{ids[record.id]}")
        ids[record.id] = run.name
    of_panel = _of_panel(folder, plan)
    return Comparison(wrong + of_panel.wrong, doubts + of_panel.doubts)


def runs_of(folder: Path, plan: Plan) -> list[Path]:
    """Returns the runs behind a profile's numbers. The folder may have others, such as those before rescoring."""
    return [run for name in plan.suite.models if ((run := folder / "runs" / name) / "run.json").exists()]


def started_in(folder: Path, lines: int | None = None) -> list[Start]:
    """Returns the starts in the first `lines` of the registry beside a profile's folder; none without one."""
    place = folder.resolve().parent
    known = read_registry(place / REGISTRY)[:lines] if is_there(place, REGISTRY) else []
    return [line for line in known if isinstance(line, Start)]


def short(value: Any) -> str:
    """Returns a value as short text for a message."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}…"


def _of_panel(folder: Path, plan: Plan) -> Comparison:
    """Compares the answers that were judged again with those that the rollouts give, so that none was chosen."""
    runs = {run.name: run for run in runs_of(folder, plan)}
    found = read_judging(folder, runs)
    if found is None or found.lost:  # the gate says that answers are lost
        return Comparison([], [])
    answers, judged = draw(runs)
    if len(judged) != found.panel.judged:
        of = f"{found.panel.judged:,} judged answers, and the runs hold {len(judged):,}"
        return Comparison([], [f"judge.jsonl: its panel is drawn from {of}: `assay judge` draws it again"])
    drawn = ([(one.content, one.reward) for one in answers], sum(one.passes for one in judged))
    panel = ([(one.content, one.reward) for one in found.panel.answers], found.panel.passing)
    return Comparison([] if drawn == panel else ["judge.jsonl: its panel is not the one that the rollouts give"], [])


def _of_suite(suite: Suite) -> Iterator[str]:
    """Yields what of a suite is otherwise in the one of that name that Assay ships: `--set` may have changed it."""
    if suite.name not in suites():
        return
    shipped = load_suite(suite.name)
    for name, member in suite.models.items():
        known = shipped.models.get(name)
        for what in ("role", "kind", "tier", "published"):
            if known is None or getattr(member, what) != getattr(known, what):
                expected = f"{short(getattr(known, what))}" if known else "no such model"
                yield f"{name}: {what} {short(getattr(member, what))}, and {expected} in the suite {suite.name}"
                break
    if suite.order != shipped.order:
        yield f"the order of models is not that of the suite {suite.name}"


def _of_weights(member: Member, record: RunRecord) -> Iterator[str]:
    """Yields that an embedded model had other weights than the one that Assay ships now."""
    if member.dialect != "local" or member.id not in SHIPPED:
        return
    if record.identity.get("weights") != file_record(WEIGHTS / member.id / "model.safetensors").sha256:
        yield f"{record.model}: its weights are not those that Assay ships as {member.id}"


def _of_benchmark(plan: Plan, described: CertifiedBenchmark) -> Iterator[Fact]:
    asked = plan.benchmark
    yield "benchmark", described.name, [asked.name]
    yield "version", described.version, [asked.version]
    yield "source", described.source, [plan.source]
    yield "selection of tasks", described.selection, [plan.selection]
    yield "tasks", described.tasks_digest, [asked.digest]
    yield "number of tasks", described.tasks, [asked.tasks]
    yield "the verifier's code", described.code, [asked.code]
    yield "the verifier's files", described.sources, [asked.sources]
    yield "the digest of the verifier's files", described.code, [digest(described.sources)]
    yield "chance", described.chance, [plan.chance]
    yield "hard", described.hard, [plan.hard]


def _of_run(
    run: Path, record: RunRecord, plan: Plan, plans: Sequence[Plan], described: CertifiedBenchmark
) -> Iterator[Fact]:
    asked = plan.benchmark
    servers = [line.suite.models[run.name].server() for line in plans if run.name in line.suite.models]
    yield "model", record.model, [run.name]
    yield "benchmark", record.benchmark, [asked.name]
    yield "version", record.version, [asked.version]
    yield "tasks", record.tasks_digest, [asked.digest]
    yield "number of tasks", record.tasks, [asked.tasks]
    yield "the verifier's code", record.code, [asked.code]
    yield "the verifier's files", record.sources, [asked.sources]
    yield "prompts", prompts_digest(read_tasks(run)), [described.prompts_digest]
    yield "sampling", record.sampling, [described.sampling]
    yield "limits", record.limits, [described.limits]
    # A program's version is known once the run begins, if the plan does not ask for one.
    version = plan.agent.version or record.agent.version
    yield "agent", record.agent, [structs.replace(plan.agent, version=version)]
    yield "seed", record.seed, [plan.seed]
    yield "repeats", record.repeats, [*(line.repeats_of(run.name) for line in plans)]
    yield "server", record.server, [*map(_plain, servers)]
    yield "identity", _config(record.identity, servers[-1]), [_plain(servers[-1].identity())]
    for role in record.roles.keys() | plan.suite.roles.keys():
        configs = [line.suite.roles[role] for line in plans if role in line.suite.roles]
        if used := record.roles.get(role):
            yield f"server of the {role}", used.server, [*map(_plain, configs)] or [{}]
            if configs:
                yield f"identity of the {role}", _config(used.identity, configs[-1]), [_plain(configs[-1].identity())]
        else:
            yield f"model in the role {role}", None, [_plain(config) for config in configs]


def _of_registry(name: str, record: RunRecord, started: Sequence[Start]) -> Iterator[Fact]:
    for line in (line for line in started if line.id == record.id):
        yield "benchmark", record.benchmark, [line.benchmark]
        yield "version", record.version, [line.version]
        yield "number of tasks", record.tasks, [line.tasks]
        yield "tasks", record.tasks_digest, [line.tasks_digest]
        yield "model", record.model, [line.model]
        yield "identity", digest(record.identity), [line.identity]
        yield "seed", record.seed, [line.seed]
        yield "repeats", record.repeats, [line.repeats]
        yield "started", record.started, [line.at]
        yield "folder", name, [Path(line.path).name]
    if old := record.rescored:
        for line in (line for line in started if line.id == old.id):
            yield "rescored: version", old.version, [line.version]
            yield "rescored: tasks", old.tasks_digest, [line.tasks_digest]
            yield "rescored: model", record.model, [line.model]
            yield "rescored: identity", digest(record.identity), [line.identity]
            yield "rescored: seed", record.seed, [line.seed]


def _different(facts: Iterator[Fact], here: str, elsewhere: str) -> list[str]:
    return [
        f"{here}: {what} {short(value)}, and {short(allowed[-1])} in {elsewhere}"
        for what, value, allowed in facts
        if value not in allowed
    ]


def _plain(value: Any) -> Any:
    """Returns a configuration, or its identity, as run.json holds it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _config(identity: dict[str, Any], config: ModelConfig) -> dict[str, Any]:
    """Returns what of an identity the configuration says; the rest the model itself says, such as its weights."""
    return {name: value for name, value in identity.items() if name in config.identity()}

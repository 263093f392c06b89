"""`assay judge`."""

import asyncio
import getpass
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import uvloop
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from assay.benchmark import Benchmark
from assay.cli.collect.profile import STYLES
from assay.cli.fidelity.keys import Keys, keys
from assay.cli.options import Code, Roles
from assay.collect.run import connect_roles
from assay.config import ModelConfig, assay_toml, load_model
from assay.errors import UsageError
from assay.fidelity.profile import compute_with_results, read_plan, source_of
from assay.fidelity.rescore.judging import Second, ask_again
from assay.fidelity.review.judging import ROLE, asked_of, bring, judge_lines, keep, read_judging, rollouts_of
from assay.fidelity.schema.judging import Label
from assay.model import connect, identity_of
from assay.model.wrappers.guard import GuardedModel
from assay.report.page import publish
from assay.report.words import legible, plural
from assay.store import read_record

CONCURRENCY = 8
ANSWERS = {"r": True, "w": False}


def judge(
    folder: Annotated[Path, Parameter(name="profile")],
    *,
    second: str | None = None,
    label: Annotated[bool, Parameter(negative="")] = False,
    labels: Path | None = None,
    by: str | None = None,
    roles: Roles = Roles(),
    code: Code = Code(),
) -> int:
    """Ask a profile's judge again, and label answers without sight of its judgement.

    The judge is asked three times about 100 answers that it scored, half of them passing, and about wrong answers that
    command it to let them pass. Its judgements are written to judge.jsonl, and the same command continues where it
    was stopped.
    The gate judge compares it with itself, with a second judge and with your labels.

    Exits 0 once all was asked, and 4 if judgements are missing.

    Parameters
    ----------
    folder
        A profile's directory.
    second
        Another model that judges the same answers once.
    label
        Read the answers one by one, and say with a key whether each is right (r) or wrong (w); s leaves one out, and q
        ends. The judge's verdict and the model's name are not shown. At least 60 are needed. If the input is not a
        terminal, each line is a key.
    labels
        Add the labels of this file (JSON lines as in judge.jsonl), and show nothing to read.
    by
        Who labels. Default: the login.
    """
    console = Console(highlight=False)
    plan = read_plan(folder)
    bench = code.load(source_of(folder, plan))
    if ROLE not in bench.roles:
        raise UsageError(f"{bench.name} asks no judge, so there is nothing to ask again")
    runs = {name: folder / "runs" / name for name in plan.suite.models}
    runs = {name: run for name, run in runs.items() if (run / "run.json").exists()}
    missing = 0
    if labels is not None:
        print(f"added: {plural(bring(folder, labels), 'label')}")
    elif label:
        _label(folder, runs, by or getpass.getuser(), keys(), console)
    else:
        models = {**plan.suite.roles, **roles.configs()}
        missing = uvloop.run(_ask(folder, bench, runs, models, second))
    profile, results = asyncio.run(compute_with_results(folder, benchmark=bench))
    publish(folder, profile, results=results)
    gate = next(gate for gate in profile.gates if gate.name == "judge")
    console.print(Text.assemble("judge: ", (gate.verdict, STYLES[gate.verdict]), f". {legible(gate.reason)}"))
    return 4 if missing else 0


async def _ask(
    folder: Path,
    benchmark: Benchmark,
    runs: Mapping[str, Path],
    roles: Mapping[str, ModelConfig],
    second: str | None,
) -> int:
    server = None if second is None else load_model(second, own=assay_toml())[1]
    if server is not None and server.answers_tasks:
        raise UsageError(f"--second {second}: it answers tasks alone; expected a model that judges")
    async with connect_roles(benchmark, roles, concurrency=CONCURRENCY) as ready:
        other = server and GuardedModel(connect(server), server, concurrency=CONCURRENCY)
        try:
            missing = await ask_again(
                ready,
                runs,
                judge_lines(folder),
                Second(other, server.identity() | identity_of(other)) if server and other else None,
                partial(keep, folder),
                identity=_identity(runs, roles, ready),
                concurrency=CONCURRENCY,
            )
        finally:
            if other is not None:
                await other.aclose()
    if missing:
        print(f"{plural(missing, 'judgement')} missing: the judge failed, or what it said can't be read")
    return missing


def _identity(runs: Mapping[str, Path], roles: Mapping[str, ModelConfig], ready: Benchmark) -> dict[str, Any]:
    """Returns the judge's id and settings. Raises UsageError where it is not the judge that scored the runs."""
    model = ready.roles[ROLE]
    assert model is not None
    now = (roles[ROLE].identity() if ROLE in roles else {}) | identity_of(model)
    for run in runs.values():
        then = read_record(run).roles.get(ROLE)
        if then and then.identity != now:
            ids = f"{then.identity.get('id')} there, {now.get('id')} now"
            raise UsageError(f"{run} was scored by another judge, or one with other settings ({ids})")
    return now


def _label(folder: Path, runs: Mapping[str, Path], by: str, source: Keys, console: Console) -> None:
    """Show each answer that has no label yet, until the input ends."""
    judging = read_judging(folder, runs)
    if judging is None:
        raise UsageError(f"{folder} has no judge.jsonl; ask the judge again first: assay judge {folder}")
    waiting = [one for one in judging.panel.answers if one.content not in judging.labels]
    rollouts = rollouts_of(runs, waiting)
    for number, answer in enumerate(waiting, 1):
        console.rule(f"{number} of {len(waiting)}")
        console.print(legible(asked_of(rollouts[answer.content])), markup=False)
        console.print("\nIs the answer right? r right, w wrong, s leave out, q end", markup=False)
        while (key := source.key()) not in ("r", "w", "s", "q", ""):
            pass
        if key in ("q", ""):
            return
        if key in ANSWERS:
            at = datetime.now(UTC).isoformat(timespec="seconds")
            keep(folder, Label(content=answer.content, right=ANSWERS[key], by=by, at=at))

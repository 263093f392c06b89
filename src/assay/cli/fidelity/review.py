"""`assay review`."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.cli.collect.profile import STYLES
from assay.cli.fidelity.keys import keys
from assay.cli.fidelity.walk import Walk
from assay.config import assay_toml, load_model
from assay.errors import UnknownName, UsageError
from assay.fidelity.gates.read import read_gate
from assay.fidelity.profile import compute_with_results, load_material
from assay.fidelity.review.marks import Place, bring, keep, read_remarks
from assay.fidelity.review.reader import PREFIX, Answers, read_rollouts
from assay.fidelity.review.readings import OpenRollout
from assay.fidelity.review.review import WHOSE, Material, Progress
from assay.fidelity.review.review import review as review_of
from assay.fidelity.review.screens import Screens, who
from assay.fidelity.schema.evidence import Explanation, Mark, Remark, Review
from assay.model import connect
from assay.model.wrappers.guard import GuardedModel
from assay.report.page import publish
from assay.report.words import legible, plural

CONCURRENCY = 8
"""Requests in flight to a model that reads."""


def review(
    folder: Annotated[Path, Parameter(name="profile")],
    *,
    model: str | None = None,
    by: str | None = None,
    marks: Path | None = None,
    reader: str | None = None,
    summary: bool = False,
) -> int:
    """Read rollouts one by one, failing and passing, and say with a key whether the reward is right.

    First come findings and suspect tasks, then a random sample of all models' rollouts, the same each time, with ten
    failing and five passing ones of each model. Twelve planted faults among them measure the reader; they count in no
    statistic. What another reader reported or could not decide is shown to you too, and your word settles it.

    Each mark is saved at once in marks.jsonl, and the same command continues with what is not marked. The key z takes
    your last mark back, also one of an earlier command. If the input is not a terminal, each line is a key with a note:
    "v the comma is missed". At the end the gates are computed again.

    Parameters
    ----------
    folder
        A profile's directory.
    model
        Read this model's rollouts only.
    by
        Who reads. Default: git's user.name, else the login.
    marks
        Add the marks and explanations of this file (JSON lines as in marks.jsonl), and show nothing to read. A mark's
        `content`, `task_digest` and `reward` may be left out: then the mark is about the rollout that is here.
    reader
        A model that reads in your place. It is measured by the same planted faults, and named wherever its marks count.
    summary
        Only show how much is read.
    """
    material = load_material(folder)
    if model is not None and model not in material.results:
        raise UnknownName("model with rollouts to read in this profile", model, material.results)
    if by is not None and by.startswith(PREFIX):
        raise UsageError(f"--by {by}: the name of a person doesn't begin with '{PREFIX}'")
    before = read_remarks(folder)
    names = [name for name in material.results if model in (None, name)]
    if marks is not None:
        shares = {(one.model, one.detector): one.share for one in material.findings}
        _show_added(bring(folder, marks, material.results, shares), material)
    elif reader is not None:
        _let_read(folder, reader, material, names)
    elif not summary:
        Walk(Screens(folder, material, names, by or who()), keys(), Console(highlight=False)).go()
    remarks = read_remarks(folder)
    _show(review_of(Progress(material, remarks)))
    if remarks != before:
        profile, results = asyncio.run(compute_with_results(folder))
        publish(folder, profile, results=results)
    return 0


def _show_added(remarks: Sequence[Remark], material: Material) -> None:
    marks = sum(isinstance(one, Mark) for one in remarks)
    print(f"added: {plural(marks, 'mark')}, {plural(len(remarks) - marks, 'explanation')}")
    for one in remarks:
        detectors = [finding.detector for finding in material.findings if finding.model == one.model]
        if isinstance(one, Explanation) and one.detector not in detectors:
            names = ", ".join(detectors) or "nothing"
            print(f"  no finding is named {legible(one.detector)}; of {legible(one.model)} there are: {legible(names)}")


def _let_read(folder: Path, name: str, material: Material, names: Sequence[str]) -> None:
    """Have a model read the rollouts that it has not read yet, and print how many marks it made."""
    model_name, server = load_model(name, own=assay_toml())
    if server.answers_tasks:
        raise UsageError(f"--reader {name}: it answers tasks alone; expected a model that reads")
    by, places = f"{PREFIX}{model_name}", set[Place]()

    async def read(rollouts: Sequence[OpenRollout]) -> Answers:
        model = GuardedModel(connect(server), server, concurrency=CONCURRENCY)
        try:
            return await read_rollouts(model, by, rollouts, lambda mark: keep(folder, mark), concurrency=CONCURRENCY)
        finally:
            await model.aclose()

    while waiting := _unread(Screens(folder, material, names, by), places):
        places |= {one.place for one in waiting}
        print(f"{by} reads {plural(len(waiting), 'rollout')} …", flush=True)
        try:
            answers = asyncio.run(read(waiting))
        except KeyboardInterrupt:
            print("stopped; what it said so far is kept")
            return
        print(f"{by}: {plural(answers.made, 'mark')} of {len(waiting)} asked for, {answers.unreadable} can't be read")
        if answers.failed:
            print(f"{plural(answers.failed, 'call')} failed, the last: {legible(answers.error)}")


def _unread(screens: Screens, places: set[Place]) -> list[OpenRollout]:
    """Returns the rollouts of these screens that a reader has not marked and was not asked for, each once."""
    rollouts = {one.rollout.place: one.rollout for one in screens.all if one.rollout}
    return [one for place, one in rollouts.items() if place not in places and screens.own(one) is None]


def _show(read: Review) -> None:
    """How far it has come, model by model, and what the gate says."""
    console = Console(highlight=False)
    models = Table(box=None, pad_edge=False)
    models.add_column("model", overflow="fold", min_width=14)
    for column in ("failing", "read", *WHOSE, "settled"):
        models.add_column(column.replace("environment", "env"), justify="right", no_wrap=True)
    for name, found in read.models.items():
        waiting = sum(one.model == name for one in read.waiting)
        models.add_row(
            Text(name),
            f"{found.failing}/{found.made}",
            f"{found.marked}/{found.sample}",
            *(str(found.faults.get(fault, 0)) if read.finished else "" for fault in WHOSE),
            f"{len(found.settled)}/{len(found.settled) + waiting}",
        )
    console.print(models)
    note = "settled: findings explained, or read and found right. Marks are counted once everything is read."
    console.print(Text(note, style="dim"))
    gate = read_gate(read)
    console.print(Text.assemble("\nread: ", (gate.verdict, STYLES[gate.verdict]), f". {legible(gate.reason)}"))

"""`marks.jsonl`: remarks of persons on rollouts and findings, and proposals of models. Append-only."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType, structs

from assay.digest import digest
from assay.errors import InputError, UsageError
from assay.fidelity.schema.evidence import Explanation, Mark, Remark
from assay.input import BROKEN, is_present, read_input
from assay.store import append_line, read_lines, read_row_lines
from assay.types import Failure, FunctionCall, Item, Message, Reasoning, Rollout, Score

R = TypeVar("R", Mark, Explanation)
Key = tuple[str, int]
"""(task, repeat)."""
_decode = msgspec.json.Decoder(Rollout).decode


def content(rollout: Rollout) -> str:
    """Returns the digest of what a reader judges: the task, the model's reasoning, messages and calls, and the outcome.

    It has no ids, times, tokens and attempts, so that an equal rollout that is made again has the same content. It has
    no outputs of tools either, because these may hold times.
    """
    outcome = rollout.outcome
    came = (
        ["failure", outcome.where, outcome.kind]
        if isinstance(outcome, Failure)
        else ["score", outcome.reward, outcome.answer]
    )
    return digest([rollout.task_digest, [[_words_of(i) for i in turn.response.output] for turn in rollout.turns], came])


def _words_of(item: Item) -> list[str]:
    match item:
        case Reasoning():
            return ["reasoning", item.text]
        case FunctionCall():
            return ["call", item.name, item.arguments]
        case Message():
            return ["message", item.text, *item.refusals]
        case _:
            return ["output", item.text]


def read_remarks(folder: Path) -> list[Remark]:
    """Returns all remarks on a profile, in order. Raises InputError."""
    path = folder / "marks.jsonl"
    if not is_present(path):
        return []
    remarks: Iterator[Remark] = read_lines(path, Remark)  # pyright: ignore[reportArgumentType, reportUnknownVariableType]
    return list(remarks)


def keep(folder: Path, remark: Remark) -> None:
    """Append a line. It is on the disk when this returns. Raises StoppedEarly where the disk is full."""
    append_line(folder / "marks.jsonl", remark)


def persons(remarks: Iterable[Remark], model: str) -> dict[str, Mark]:
    """Returns persons' marks of one model's rollouts by content; of two, the later. Proposals are left out."""
    marks = (one for one in remarks if isinstance(one, Mark) and one.model == model and not one.proposed)
    return _latest((mark.content, mark) for mark in marks)


def explanations(remarks: Iterable[Remark], model: str) -> dict[str, Explanation]:
    """Returns persons' explanations of one model's findings, by detector; of two, the later."""
    return _latest((one.detector, one) for one in remarks if isinstance(one, Explanation) and one.model == model)


def _latest(remarks: Iterable[tuple[str, R]]) -> dict[str, R]:
    """Returns the last remark on each content or detector, unless it is withdrawn."""
    return {about: one for about, one in dict(remarks).items() if not one.withdrawn}


def rollouts_at(run: Path, tasks: Collection[str], wanted: Callable[[Key], bool]) -> dict[Key, Rollout]:
    """Returns the rollout that counts for each wanted (task, repeat): its score, or else its last failure.

    `tasks` are the ids of all tasks that may be wanted. The run is read once, and only wanted rollouts are decoded.
    """
    found: dict[Key, Rollout] = {}
    for path, line, row in read_row_lines(run, tasks):
        key = row.task, row.repeat
        if not wanted(key) or (key in found and isinstance(found[key].outcome, Score)):
            continue
        try:
            found[key] = _decode(line)
        except BROKEN as error:
            raise InputError(path, None, f"{row.task}, repeat {row.repeat}: {error}", "a whole rollout") from None
    return found


def contents_of(run: Path, model: str, remarks: Iterable[Remark]) -> dict[Key, str]:
    """Returns the contents of the rollouts of all tasks with a person's mark. Raises InputError."""
    tasks = {mark.task for mark in persons(remarks, model).values()}
    return {key: content(one) for key, one in rollouts_at(run, tasks, lambda _: True).items()} if tasks else {}


class _GivenMark(Mark, frozen=True, kw_only=True, tag="mark", forbid_unknown_fields=True):
    """A mark as another file has it: its content may be left out."""

    content: str | UnsetType = UNSET  # pyright: ignore[reportIncompatibleVariableOverride]
    at: datetime  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]


class _GivenExplanation(Explanation, frozen=True, kw_only=True, tag="explanation", forbid_unknown_fields=True):
    at: datetime  # pyright: ignore[reportIncompatibleVariableOverride]


def bring(
    folder: Path, path: Path, models: Iterable[str], shares: Mapping[tuple[str, str], float] | None = None
) -> list[Remark]:
    """Add the marks of another file to a profile's, all of them or none. Returns the new ones.

    A mark without a content gets that of the profile's rollout at its task and repeat. An explanation without a share
    gets the present one: `shares` are by model and detector.
    Raises InputError, with the line, for what is neither mark nor explanation, or of no model or rollout in the
    profile.
    """
    given = list(_read_given(path))
    there = set(models)
    for number, one in given:
        if one.model not in there:
            raise InputError(path, number, f"there is no model '{one.model}' here", ", ".join(sorted(there)))
    lacking = [one for _, one in given if isinstance(one, _GivenMark) and one.content is UNSET]
    contents: dict[tuple[str, Key], str] = {}
    for model in {one.model for one in lacking}:
        keys = {(one.task, one.repeat) for one in lacking if one.model == model}
        found = rollouts_at(folder / "runs" / model, {task for task, _ in keys}, keys.__contains__)
        contents |= {(model, key): content(rollout) for key, rollout in found.items()}
    before = {digest(one) for one in read_remarks(folder)}
    whole = [_complete(one, contents, shares or {}, path, number) for number, one in given]
    fresh = [remark for remark in whole if digest(remark) not in before]
    for remark in fresh:
        keep(folder, remark)
    return fresh


def _read_given(path: Path) -> Iterator[tuple[int, _GivenMark | _GivenExplanation]]:
    decode = msgspec.json.Decoder(_GivenMark | _GivenExplanation).decode
    try:
        lines = read_input(path).split(b"\n")
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, decode(line)
        except BROKEN as error:
            expected = 'a mark or an explanation as `marks.jsonl` has it, such as {"type": "mark", "model": …}'
            raise InputError(path, number, str(error), expected) from None


def _complete(
    remark: _GivenMark | _GivenExplanation,
    contents: Mapping[tuple[str, Key], str],
    shares: Mapping[tuple[str, str], float],
    path: Path,
    number: int,
) -> Remark:
    fields: dict[str, Any] = structs.asdict(remark) | {"at": remark.at.isoformat(timespec="seconds")}
    if isinstance(remark, _GivenExplanation):
        if remark.share is None:
            fields["share"] = shares.get((remark.model, remark.detector))
        return Explanation(**fields)
    if remark.content is UNSET:
        place = remark.model, (remark.task, remark.repeat)
        if place not in contents:
            got = f"{remark.model} has no rollout of task '{remark.task}' at repeat {remark.repeat}"
            raise InputError(path, number, got, "the task and repeat of a rollout in this profile")
        fields["content"] = contents[place]
    return Mark(**fields)

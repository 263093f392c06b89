"""`marks.jsonl`: the remarks of readers on rollouts and findings. Append-only."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType, structs

from assay.digest import digest, prompt_digest, task_digest
from assay.errors import InputError, UsageError
from assay.fidelity.results.columns import Cell
from assay.fidelity.results.results import Results, text_digest
from assay.fidelity.schema.evidence import Explanation, Fault, Mark, Remark
from assay.input import BROKEN, is_present, read_input
from assay.store import append_line, read_lines, read_row_lines
from assay.types import Rollout, Score, Task

FAULTS: tuple[Fault, ...] = ("verifier", "task", "environment")
"""The faults because of which a reward is wrong."""
Key = tuple[str, int]
"""(task, repeat)."""
Place = tuple[str, str]
"""(model, content)."""
Standing = Literal["right", "fault", "unclear"]
"""What a mark says about a reward now."""
_decode = msgspec.json.Decoder(Rollout).decode


def content_of(prompt: str, text: int) -> str:
    """Returns the digest of a prompt and of all that a model wrote, from their digests.

    It leaves out ids, times, tokens and outputs of tools, so that an equal rollout that is made again has the same
    content; and the gold answer and the reward, so that a mark holds for a rollout that is scored again.
    """
    return digest([prompt, text])


def content(rollout: Rollout, task: Task) -> str:
    """Returns the content of a rollout."""
    return content_of(prompt_digest(task), text_digest(turn.response for turn in rollout.turns))


def read_remarks(folder: Path) -> list[Remark]:
    """Returns all remarks on a profile, in order. Raises InputError."""
    path = folder / "marks.jsonl"
    if not is_present(path):
        return []
    remarks: Iterator[Remark] = read_lines(path, Remark)  # pyright: ignore[reportArgumentType, reportUnknownVariableType]
    try:
        return list(remarks)
    except InputError as error:
        if "`reward`" not in str(error) and "`task_digest`" not in str(error) and "infrastructure" not in str(error):
            raise
        raise InputError(
            path,
            None,
            "marks of an older Assay, which do not say which reward was read",
            "today's marks; rename the file and read again with `assay review`",
        ) from None


def keep(folder: Path, remark: Remark) -> None:
    """Appends a line. It is on the disk when this returns. Raises StoppedEarly if the disk is full."""
    append_line(folder / "marks.jsonl", remark)


def marks_of(remarks: Iterable[Remark]) -> dict[Place, list[Mark]]:
    """Returns the valid marks by model and content, in the order in which they were made.

    Of two marks by one reader of the same rollout with the same task and reward, the later is valid, unless it is
    withdrawn.
    """
    last: dict[tuple[Any, ...], Mark] = {}
    for one in remarks:
        if isinstance(one, Mark):
            key = one.model, one.content, one.by, one.task_digest, one.reward
            last.pop(key, None)
            if not one.withdrawn:
                last[key] = one
    found: dict[Place, list[Mark]] = {}
    for mark in last.values():
        found.setdefault((mark.model, mark.content), []).append(mark)
    return found


def last_word(marks: Iterable[Mark], task: str, reward: float | None) -> Mark | None:
    """Returns the mark that decides on a rollout; None if it has to be read.

    That is the last one that isn't `unclear`, so that a second reader settles or overrules the first; if all are
    unclear, the last. `task` and `reward` are the rollout's now, the task as its digest.
    """
    holding = [mark for mark in marks if standing(mark, task, reward)]
    clear = [mark for mark in holding if mark.fault != "unclear"]
    return (clear or holding or [None])[-1]


def standing(mark: Mark, task: str, reward: float | None) -> Standing | None:
    """Returns what a mark says about a rollout with this task and reward now; None if it has to be read again.

    A fault is mended if the reward is now the reader's: the other one of 0 and 1.
    """
    if (mark.task_digest, mark.reward) == (task, reward):
        return "right" if mark.fault == "model" else "unclear" if mark.fault == "unclear" else "fault"
    return "right" if mark.fault in FAULTS and {mark.reward, reward} == {0.0, 1.0} else None


def faults_in(marks: Sequence[Mark]) -> list[Mark]:
    """Returns the reported faults of one rollout, mended or not, without those that a later reader denied."""

    def denies(later: Mark, one: Mark) -> bool:
        same = (later.task_digest, later.reward) == (one.task_digest, one.reward)
        return same and later.fault == "model" and later.by != one.by

    return [one for i, one in enumerate(marks) if one.fault in FAULTS and not any(denies(m, one) for m in marks[i:])]


def explanations(remarks: Iterable[Remark], model: str) -> dict[str, Explanation]:
    """Returns the valid explanations of one model's findings, by detector; of two, the later."""
    said = [one for one in remarks if isinstance(one, Explanation) and one.model == model]
    return {about: one for about, one in {one.detector: one for one in said}.items() if not one.withdrawn}


def rollouts_at(run: Path, tasks: Collection[str], wanted: Callable[[Key], bool]) -> dict[Key, Rollout]:
    """Returns the rollout that counts for each wanted (task, repeat): its score, or else its last failure.

    `tasks` are the ids of the tasks in question. The run is read once, and only wanted rollouts are decoded.
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


class _GivenMark(Mark, frozen=True, kw_only=True, tag="mark", forbid_unknown_fields=True):
    """A mark in another file, which may lack the fields that follow from the rollout."""

    content: str | UnsetType = UNSET  # pyright: ignore[reportIncompatibleVariableOverride]
    task_digest: str | UnsetType = UNSET  # pyright: ignore[reportIncompatibleVariableOverride]
    reward: float | UnsetType | None = UNSET  # pyright: ignore[reportIncompatibleVariableOverride]
    at: datetime  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]


class _GivenExplanation(Explanation, frozen=True, kw_only=True, tag="explanation", forbid_unknown_fields=True):
    at: datetime  # pyright: ignore[reportIncompatibleVariableOverride]


def bring(
    folder: Path,
    path: Path,
    results: Mapping[str, Results],
    shares: Mapping[tuple[str, str], float] | None = None,
) -> list[Remark]:
    """Adds the marks of another file to a profile's, all or none. Returns the new ones.

    A mark's missing content, task digest or reward is that of the profile's rollout with its task and repeat. An
    explanation without a share gets today's: `shares` are by model and detector.
    Raises InputError, with the line, for anything but a mark or an explanation of a model or rollout in the profile.
    """
    given = list(_read_file(path))
    for number, one in given:
        if one.model not in results:
            raise InputError(path, number, f"there is no model '{one.model}' here", ", ".join(sorted(results)))
    lacking = {(one.task, one.repeat) for _, one in given if isinstance(one, _GivenMark)}
    there = {
        (name, found.tasks[cell.task].id, cell.repeat): _now(found.tasks[cell.task], cell)
        for name, found in results.items()
        for cell in found.cells
        if (found.tasks[cell.task].id, cell.repeat) in lacking
    }
    before = {digest(one) for one in read_remarks(folder)}
    whole = [_complete(one, there, shares or {}, path, number) for number, one in given]
    fresh = [remark for remark in whole if digest(remark) not in before]
    for remark in fresh:
        keep(folder, remark)
    return fresh


def _read_file(path: Path) -> Iterator[tuple[int, _GivenMark | _GivenExplanation]]:
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


def _now(task: Task, cell: Cell) -> dict[str, Any]:
    """Returns the fields of a mark that follow from the rollout."""
    return {
        "content": content_of(prompt_digest(task), cell.text),
        "task_digest": task_digest(task),
        "reward": cell.reward,
    }


def _complete(
    remark: _GivenMark | _GivenExplanation,
    there: Mapping[tuple[str, str, int], Mapping[str, Any]],
    shares: Mapping[tuple[str, str], float],
    path: Path,
    number: int,
) -> Remark:
    fields: dict[str, Any] = structs.asdict(remark) | {"at": remark.at.isoformat(timespec="seconds")}
    if isinstance(remark, _GivenExplanation):
        if remark.share is None:
            fields["share"] = shares.get((remark.model, remark.detector))
        return Explanation(**fields)
    if UNSET in fields.values():
        place = remark.model, remark.task, remark.repeat
        if place not in there:
            got = f"{remark.model} has no rollout of task '{remark.task}' at repeat {remark.repeat}"
            raise InputError(path, number, got, "the task and repeat of a rollout in this profile")
        fields |= {name: value for name, value in there[place].items() if fields[name] is UNSET}
    return Mark(**fields)

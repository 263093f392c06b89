"""What has to hold after any fault. Each check raises Broken."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from assay.collect.plan import seed_of
from assay.errors import InputError
from assay.store import read_record, read_registry, read_rollouts, read_tasks
from assay.types import Failure, Rollout
from chaos.script import FORMS, gold


class Broken(Exception):
    """Something was lost, invented or left behind."""


def expect(holds: object, words: str) -> None:
    if not holds:
        raise Broken(words)


def _read(folder: Path) -> Iterator[Rollout]:
    """Yields the rollouts of a run. Raises Broken where one is damaged, or scored twice."""
    try:
        yield from read_rollouts(folder)
    except InputError as error:
        raise Broken(str(error)) from None


def check_run(folder: Path, said: Mapping[str, set[str]], *, tasks: int, repeats: int, whole: bool) -> int:
    """How many scores a run directory holds. Nothing in it is invented or twice there; `whole`: nothing is owed.

    `said` has all that the endpoint answered, by prompt and seed.
    """
    if not (folder / "run.json").exists():
        expect(not whole, "there is no run.json")
        return 0
    record, asked = read_record(folder), {task.id: task for task in read_tasks(folder)}
    expect(record.tasks == len(asked) == tasks, f"{len(asked)} tasks were kept of {tasks}")
    scored: set[tuple[str, int]] = set()
    for rollout in _read(folder):
        place = f"rollout {rollout.task}/{rollout.repeat}"
        expect(0 <= rollout.repeat < repeats, f"{place} was never planned")
        expect(rollout.seed == seed_of(record.seed, rollout.task, rollout.repeat), f"{place} has another seed")
        if isinstance(rollout.outcome, Failure):
            expect(rollout.outcome.kind and rollout.outcome.message, f"{place} failed without a word")
            expect(rollout.stop == "failed", f"{place} failed and stopped as {rollout.stop}")
            continue
        scored.add(rollout.key)
        prompt = asked[rollout.task].input[-1].content  # pyright: ignore
        text = rollout.turns[-1].response.text
        expect(text in said[f"{prompt}/{rollout.seed}"], f"{place} has an answer that was never given: {text[:80]!r}")
        number = int(rollout.task.removeprefix("t"))
        right = text == FORMS[record.benchmark.removeprefix("chaos-")].format(gold(number))
        expect(rollout.outcome.reward == right, f"{place} has reward {rollout.outcome.reward} for {text[:80]!r}")
    if whole:
        owed = tasks * repeats - len(scored)
        expect(not owed, f"{owed} of {tasks * repeats} rollouts are owed in the end")
        summary = msgspec.json.decode((folder / "summary.json").read_bytes())
        expect(summary["rollouts"] == tasks * repeats, f"summary.json counts {summary['rollouts']} scores")
        expect((summary["owed"], summary["failures"]) == (0, 0), "summary.json tells of owed or failed rollouts")
    registry = folder.parent / "started.jsonl"
    if registry.exists():
        read_registry(registry)
    return len(scored)


def check_words(said: str) -> None:
    """Raises Broken where the output of a command holds a traceback, or characters that control a terminal."""
    expect("Traceback (most recent call last)" not in said, f"a traceback was shown:\n{said[-3000:]}")
    expect("\x1b" not in said and "\x07" not in said and "\x00" not in said, f"a terminal would obey: {said[-500:]!r}")

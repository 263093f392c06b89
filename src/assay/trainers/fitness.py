"""Whether an environment is fit to be trained on: what a pilot with one model shows before a trainer runs."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.benchmark import Benchmark
from assay.collect.tokens import tokens_of
from assay.config import ModelConfig
from assay.errors import ModelError
from assay.fidelity.detectors import find
from assay.fidelity.gates.gold import gold_gate
from assay.fidelity.schema.profile import Check
from assay.library.collecting import rollouts
from assay.model import Model
from assay.model.builtin.engine.tokenizer import Tokenizer
from assay.trainers.tasks import training_tasks, with_tasks
from assay.types import Failure, Request, Response, Rollout, Sampling, Score, Task

TASKS, GROUP = 128, 8
MOST_IDLE = 0.9
"""A share of groups without variance above it leaves a trainer next to nothing."""
MOST_FAILURES = 0.01
"""Of rollouts. A trainer that takes failures for zeros learns from them."""
STEP, STEP_S = 64 * 8, 60.0
"""Rollouts a step, and seconds a step, of a trainer that the environment's speed is compared with."""
AT_ONCE = 256
PROBE_TASKS, PROBES_S = 32, 60.0
"""Training tasks that wrong answers are tried on, and what that may take."""


async def fitness(
    benchmark: Benchmark,
    model: str | ModelConfig | Model,
    *,
    base_url: str | None = None,
    tasks: int = TASKS,
    on_test: bool = False,
    seed: int = 0,
    tokenizer: Tokenizer | None = None,
) -> list[Check]:
    """Returns what a pilot of `tasks` training tasks shows, eight rollouts of each at temperature 1.

    `tokenizer` is the model's, to say how many answers have other ids if their text is tokenised again.
    Raises UsageError where the benchmark has no training tasks, and as `assay.rollouts` does.
    """
    train_tasks = training_tasks(benchmark, tasks, seed=seed, on_test=on_test)
    bench = with_tasks(benchmark, train_tasks)
    rules: Any = {"repeats": GROUP, "concurrency": AT_ONCE, "seed": seed}
    rules["sampling"] = Sampling(temperature=1.0, top_p=1.0)
    pilot = await rollouts(bench, model=model, base_url=base_url, **rules)
    before = time.monotonic()
    again = await rollouts(bench, model=_Again(pilot), **rules)
    speed = _speed(len(again) / (time.monotonic() - before))
    return [
        _failures(pilot),
        _groups(pilot),
        _lengths(pilot),
        _tokens(pilot, tokenizer),
        _same(pilot, again),
        speed,
        await _probes(bench, train_tasks[:PROBE_TASKS]),
        _holes(train_tasks, pilot),
    ]


async def _probes(benchmark: Benchmark, tasks: Sequence[Task]) -> Check:
    """What of the gold gate's wrong answers is rewarded on training tasks, the form without an answer among them."""
    try:
        async with asyncio.timeout(PROBES_S):
            gate = await gold_gate(benchmark, tasks)
    except TimeoutError:
        return Check("training probes", "inconclusive", f"{len(tasks)} tasks took longer than {PROBES_S:.0f} s.")
    remedy = None if gate.verdict == "pass" else "See that verify() gives a wrong answer in the right form nothing."
    return Check("training probes", gate.verdict, f"On {len(tasks)} training tasks: {gate.reason}", remedy=remedy)


class _Again:
    """A model that repeats recorded answers, to see whether the environment scores them the same."""

    def __init__(self, pilot: Sequence[Rollout]) -> None:
        self._turns = {one.key: one.turns for one in pilot}

    async def respond(self, request: Request) -> Response:
        turns = self._turns[request.task or "", request.repeat]
        if request.turn >= len(turns):
            raise ModelError("no_answer", "the model said no more before", retryable=False)
        return turns[request.turn].response


def _same(pilot: Sequence[Rollout], again: Sequence[Rollout]) -> Check:
    """Returns whether the environment gives the same reward for the same answers."""
    pairs = [
        (one.task, one.outcome.reward, other.outcome.reward)
        for one, other in zip(pilot, again, strict=True)
        if isinstance(one.outcome, Score) and isinstance(other.outcome, Score)
    ]
    other = [task for task, before, after in pairs if before != after]
    reason = f"Of {len(pairs)} rollouts, {len(other)} have another reward if the model says the same again."
    if not other:
        return Check("training determinism", "pass", reason)
    verdict = "fail" if len(other) > MOST_FAILURES * len(pairs) else "inconclusive"
    remedy = "A reward that chance decides is noise that a trainer follows: take chance and time out of the verifier."
    return Check("training determinism", verdict, reason, other[:5], remedy)


def _speed(rate: float) -> Check:
    need = STEP / STEP_S
    reason = (
        f"Without the model, the environment makes {rate:,.0f} rollouts a second, {AT_ONCE} at once: "
        f"{STEP / rate:,.1f} s for a step of {STEP} rollouts. A trainer that makes such a step in {STEP_S:.0f} s needs "
        f"{need:.1f} a second."
    )
    if rate >= need:
        return Check("training speed", "pass", reason)
    return Check("training speed", "fail", reason, remedy="Make the verifier faster, or score on several machines.")


def _scores(pilot: Sequence[Rollout]) -> list[tuple[Rollout, Score]]:
    return [(one, one.outcome) for one in pilot if isinstance(one.outcome, Score)]


def _failures(pilot: Sequence[Rollout]) -> Check:
    kinds = Counter(f"{one.outcome.where}: {one.outcome.kind}" for one in pilot if isinstance(one.outcome, Failure))
    if not kinds:
        return Check("training failures", "pass", f"None of {len(pilot)} rollouts failed.")
    kinds_in_words = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    verdict = "fail" if kinds.total() > MOST_FAILURES * len(pilot) else "pass"
    reason = f"{kinds.total()} of {len(pilot)} rollouts failed ({kinds_in_words}): zeros to a trainer that has no None."
    return Check("training failures", verdict, reason, remedy="Correct what fails; leave failures out of training.")


def _groups(pilot: Sequence[Rollout]) -> Check:
    rewards: dict[str, list[float]] = {}
    for one, score in _scores(pilot):
        rewards.setdefault(one.task, []).append(score.reward)
    if not rewards:
        return Check("training groups", "fail", "No rollout has a score.")
    idle = sum(len(set(group)) == 1 for group in rewards.values()) / len(rewards)
    rates = np.array([np.mean(group) for group in rewards.values()])
    low, high = float((rates <= 0).mean()), float((rates >= 1).mean())
    quarters, _ = np.histogram(rates[(rates > 0) & (rates < 1)], bins=4, range=(0, 1))
    middle = ", ".join(f"{count / len(rates):.0%}" for count in quarters)
    reason = (
        f"{idle:.0%} of groups of {GROUP} have no variance and teach nothing; of {len(rates)} tasks {low:.0%} are "
        f"never solved, {high:.0%} always, between them by quarters of the solve rate {middle}."
    )
    if idle > MOST_IDLE:
        return Check("training groups", "fail", reason, remedy="Choose easier or harder tasks for this model.")
    return Check("training groups", "pass", reason)


def _lengths(pilot: Sequence[Rollout]) -> Check:
    """Whether longer answers are rewarded more, within a task: the slope that a trainer follows beside the reward."""
    scored = _scores(pilot)
    lengths = _within([(one.task, sum(turn.response.usage.output_tokens for turn in one.turns)) for one, _ in scored])
    rewards = _within([(one.task, score.reward) for one, score in scored])
    spread = float(lengths.std() * rewards.std()) if len(scored) > 1 else 0.0
    if not spread:
        return Check("training lengths", "pass", "Length and reward do not differ within tasks.")
    slope = float((lengths * rewards).mean()) / spread
    way = "longer" if slope > 0 else "shorter"
    reason = f"Within tasks, reward and length correlate with {slope:+.2f}: training may make answers {way}."
    return Check("training lengths", "pass" if abs(slope) < 0.3 else "inconclusive", reason)


def _within(values: Sequence[tuple[str, float]]) -> NDArray[np.float64]:
    groups: dict[str, list[float]] = {}
    for task, value in values:
        groups.setdefault(task, []).append(value)
    return np.array([value - float(np.mean(groups[task])) for task, value in values])


def _tokens(pilot: Sequence[Rollout], tokenizer: Tokenizer | None) -> Check:
    scored = [one for one, _ in _scores(pilot)]
    unfit = [one for one in scored if tokens_of(one) is None]
    if not unfit:
        reason = "The tokens of each rollout follow each other, with log-probabilities."
        if tokenizer:
            outputs = [turn.response.tokens.output for one in scored for turn in one.turns if turn.response.tokens]
            drifts = sum(tokenizer.encode(tokenizer.decode(ids)) != _text_of(ids, tokenizer) for ids in outputs)
            reason += f" Tokenised again from text, {drifts} of {len(outputs)} answers would have other ones."
        return Check("training tokens", "pass", reason)
    without = sum(any(turn.response.tokens is None for turn in one.turns) for one in unfit)
    reason = f"{len(unfit)} of {len(scored)} rollouts can't be trained on token by token"
    reason += f": {without} come without token ids." if without else ": a prompt does not begin with what was sampled."
    remedy = "Ask the server for token ids (vLLM: extra_body = { return_token_ids = true }), or let the trainer sample."
    return Check("training tokens", "fail", reason, [one.task for one in unfit[:5]], remedy)


def _text_of(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """Returns the ids without special tokens, which decoding leaves out."""
    return [one for one in ids if tokenizer.decode([one])]


def _holes(tasks: Sequence[Task], pilot: Sequence[Rollout]) -> Check:
    """Returns what detectors of a verifier's faults find in passing rollouts, which training would reinforce."""
    holes = [one for one in find("pilot", tasks, pilot) if one.suspect == "verifier" and one.scope == "rollout"]
    if not holes:
        return Check("training rewards", "pass", "No detector of a verifier's faults finds anything.")
    holes_in_words = "; ".join(f"{one.detector} in {one.count} of {one.of} rollouts" for one in holes)
    examples = [sighting.rollout.task for one in holes for sighting in one.spotted[:2]]
    verdict = "fail" if max(one.share for one in holes) >= 0.05 else "inconclusive"
    remedy = "Read these rollouts: what is rewarded by mistake is what a policy learns."
    return Check("training rewards", verdict, f"Found: {holes_in_words}.", examples, remedy)

"""The expected score and cost of each model of a suite, from a pilot, published scores, guesses, or assumptions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from assay.config import Member, Suite
from assay.errors import UnknownName, UsageError
from assay.fidelity.forecast.rates import SPREAD, spread_of
from assay.fidelity.original.published import Published, PublishedScore
from assay.fidelity.results.results import Results, read
from assay.fidelity.schema.forecast import Source
from assay.store import read_record
from assay.types import Message, Task

INPUT_TOKENS = 500
"""Input tokens of a rollout without a task to count."""
OUTPUT_TOKENS = {"instruct": 1000, "thinking": 10_000}
"""Output tokens of a rollout by the model's kind, without a pilot or a guess."""
STEP = 0.1
"""The difference between the assumed scores of a model and the next weaker one."""
CHARACTERS = 4
"""Characters of a token, about."""


class Rates(NamedTuple):
    """How often a rollout of a sound benchmark fails, is cut at the token cap, or ends without an answer."""

    failed: float = 0.002
    capped: float = 0.003
    silent: float = 0.002


SOUND = Rates()


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What is expected of one model before it runs."""

    member: Member
    score: float
    score_from: Source = "guess"
    spread: float = SPREAD
    """SD of its solve rates over tasks, on the logit scale."""
    rates: Rates = SOUND
    input_tokens: float = INPUT_TOKENS
    """Input tokens of a rollout."""
    output_tokens: float = OUTPUT_TOKENS["instruct"]
    tokens_from: Source = "assumed"
    published: PublishedScore | None = None

    @property
    def usd(self) -> float | None:
        """The cost of a rollout in US dollars; None without prices."""
        prices = self.member.prices
        return prices and (self.input_tokens * prices.input + self.output_tokens * prices.output) / 1e6


def expect(
    suite: Suite,
    tasks: Sequence[Task],
    stated: Published | None,
    *,
    guesses: Mapping[str, float] | None = None,
    tokens: Mapping[str, int] | None = None,
    pilot: Path | None = None,
) -> dict[str, Expectation]:
    """Returns the expectation of each measured model of the suite.

    A score comes from the pilot, a guess of the user, or the published scores, in this order; else it is assumed.
    `guesses` are shares and `tokens` output tokens of a rollout, by model or kind; the
    name "" stands for all models. Raises UsageError for a name that is not there, and InputError for a damaged pilot.
    """
    members = {name: member for name, member in suite.models.items() if not member.answers_tasks}
    kinds = {member.kind for member in members.values()}
    for name in ({**(guesses or {}), **(tokens or {})}).keys() - members.keys() - kinds - {""}:
        raise UnknownName(f"model or kind in suite {suite.name}", name, [*members, *kinds])
    runs = _pilots(pilot, members) if pilot else {}
    published = {score.model: score for score in stated.scores} if stated else {}
    scores: dict[str, tuple[float, Source]] = {}
    for name, member in members.items():
        known = published.get(member.published or "")
        if name in runs and (sample := runs[name].sample):
            scores[name] = _clip(sample.score), "pilot"
        elif (guess := _of(guesses, name, member)) is not None:
            scores[name] = _clip(guess), "guess"
        elif known:
            scores[name] = _clip(known.share), "published"
    assumed = _default_scores(suite, [*members], {name: score for name, (score, _) in scores.items()})
    prompts = [sum(len(item.text) for item in task.input if isinstance(item, Message)) for task in tasks]
    made: dict[str, Expectation] = {}
    for name, member in members.items():
        score, source = scores.get(name, (assumed[name], "assumed"))
        guess = _of(tokens, name, member)
        cap = member.sampling.max_output_tokens
        output = OUTPUT_TOKENS[member.kind] if guess is None else guess
        expected = Expectation(
            member=member,
            score=score,
            score_from=source,
            input_tokens=sum(prompts) / CHARACTERS / len(prompts) if any(prompts) else INPUT_TOKENS,
            output_tokens=min(output, cap or output),
            tokens_from="assumed" if guess is None else "guess",
            published=published.get(member.published or ""),
        )
        made[name] = _from_pilot(expected, runs[name]) if name in runs else expected
    return made


def _default_scores(suite: Suite, names: Sequence[str], known: Mapping[str, float]) -> dict[str, float]:
    """Returns assumed scores of the other models: around the mean of the known ones, or around one half.

    They are a step apart for each model that is weaker by the suite.
    """
    depths = dict.fromkeys(names, 0)
    for _ in names:
        for stronger, weaker in suite.order:
            if stronger in depths and weaker in depths:
                depths[stronger] = min(len(names), max(depths[stronger], depths[weaker] + 1))
    mean = sum(known.values()) / len(known) if known else 0.5
    middle = sum(depths.values()) / max(1, len(depths))
    return {name: min(0.95, max(0.05, mean + STEP * (depth - middle))) for name, depth in depths.items()}


def _of(values: Mapping[str, float] | None, name: str, member: Member) -> float | None:
    """Returns the value for a model: by its name, else by its kind, else that for all."""
    values = values or {}
    return next((values[key] for key in (name, member.kind, "") if key in values), None)


def _clip(score: float) -> float:
    return min(1.0, max(0.0, score))


def _pilots(folder: Path, members: Mapping[str, Member]) -> dict[str, Results]:
    """Returns the results of a run directory, or of a profile's runs, by model. Raises UsageError and InputError."""
    if (folder / "run.json").exists():
        runs = {read_record(folder).model: folder}
    else:
        runs = {run.parent.name: run.parent for run in sorted(folder.glob("runs/*/run.json"))}
    found = {name: results for name, run in runs.items() if name in members and (results := read(run)).scored}
    if not found:
        got = f"has runs of {', '.join(runs)}" if runs else "is neither a run's directory nor a profile's"
        raise UsageError(f"--pilot {folder}: it {got}; expected a scored run of {', '.join(members)}")
    return found


def _from_pilot(expected: Expectation, results: Results) -> Expectation:
    """Returns the expectation with the spread of solve rates, the rates and the tokens of the pilot."""
    made = len(results.cells)
    scored = results.scored
    within = results.sample.within if results.sample else None
    counts = (
        len(results.failed),
        sum(cell.stop == "token_cap" for cell in scored),
        sum(cell.answer is None and cell.stop != "token_cap" for cell in scored) if results.reports_answers else 0,
    )
    known = expected.score * (1 - expected.score)
    # What did not occur in a few rollouts keeps its default rate.
    rates = [(count + 0.5) / (made + 1) if count else usual for count, usual in zip(counts, SOUND, strict=True)]
    return Expectation(
        member=expected.member,
        score=expected.score,
        score_from="pilot",
        spread=SPREAD if within is None or not known else spread_of(expected.score, min(within, known)),
        rates=Rates(*rates),
        input_tokens=results.tokens["input"] / made,
        output_tokens=results.tokens["output"] / made,
        tokens_from="pilot",
        published=expected.published,
    )

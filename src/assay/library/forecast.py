"""The forecast of a profile, of a benchmark or of a size alone."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import structs

from assay.benchmark import Benchmark, has_no_state
from assay.collect.run import RunPlan, tasks_of
from assay.config import Suite
from assay.errors import InputError, UnknownName, UsageError
from assay.fidelity.forecast import TRIALS, Setting, expect, forecast, tasks_of_size
from assay.fidelity.original.published import published_scores
from assay.fidelity.review.judging import ROLE
from assay.fidelity.schema.forecast import Forecast
from assay.fidelity.schema.profile import Plan
from assay.input import BROKEN, read_input
from assay.model.wrappers.batch import DIALECTS
from assay.score import EVERY, Maj, Mean, ScoreRule, Selection
from assay.store import read_lines


def forecast_of(
    benchmark: Benchmark | int,
    suite: Suite,
    *,
    chance: float | None = None,
    pilot: Path | None = None,
    guesses: Mapping[str, float] | None = None,
    tokens: Mapping[str, int] | None = None,
    selection: Selection = EVERY,
    trials: int = TRIALS,
    repeats: int | None = None,
) -> Forecast:
    """Returns the forecast of the gates for a benchmark, or for one with this number of tasks, on a suite.

    With `repeats`, each model gets that many, and fewer profiles are simulated; else the number that the gates need.
    The other arguments are those of `expect`. Raises UsageError, and InputError for a damaged file.
    """
    real = benchmark if isinstance(benchmark, Benchmark) else None
    if isinstance(benchmark, int) and benchmark < 1:
        raise UsageError(f"--tasks {benchmark}: expected at least 1")
    tasks = tasks_of(benchmark, selection) if isinstance(benchmark, Benchmark) else tasks_of_size(benchmark)
    stated = published_scores(real) if real else None
    expected = expect(suite, tasks, stated, guesses=guesses, tokens=tokens, pilot=pilot)
    if not expected:
        raise UsageError(f"suite {suite.name} has no model to measure; expected one that does not know the answers")
    setting = Setting(
        suite=suite,
        expected=expected,
        tasks=tasks,
        score=_simulable(real.score) if real else Mean(),
        chance=(real.chance if real else 0.0) if chance is None else chance,
        benchmark=real.name if real else "",
        hard=real.hard if real else "",
        original=stated is not None and stated.original,
        registers=real is None or stated is not None,
        judged=real is not None and ROLE in real.roles,
    )
    made = forecast(setting, trials=trials, repeats=repeats)
    by_batch = _usd_by_batch(made, suite) if real is None or has_no_state(real.environment) else None
    return structs.replace(made, usd_by_batch=by_batch)


def _usd_by_batch(made: Forecast, suite: Suite) -> float | None:
    """Returns the cost in US dollars if batch APIs make all rollouts that they can; None if they can make none."""
    priced = {name: one.usd_a_rollout * one.rollouts for name, one in made.models.items() if one.usd_a_rollout}
    halved = {name for name in priced if suite.models[name].dialect in DIALECTS}
    return sum(usd / 2 if name in halved else usd for name, usd in priced.items()) if halved else None


def _simulable(score: ScoreRule) -> ScoreRule:
    """Returns the score rule; the mean over the same groups for maj@k, because answers aren't simulated."""
    if not isinstance(score, Maj):
        return score
    return Mean(**{name: getattr(score, name) for name in Mean.__struct_fields__})


def initial_forecast(run: RunPlan, suite: Suite, follow: bool | str | Path) -> Forecast | None:
    """Returns the forecast with which a profile begins; None if no model is measured, or none has an expected score.

    It is read from the file `follow`, else from the profile that is in the folder already, else computed.
    Raises UsageError if the file's forecast is of another benchmark or suite, and InputError if it is damaged.
    """
    chosen = tasks_of(run.benchmark, run.request.selection)
    tasks = len(chosen)
    measured = {name for name, member in suite.models.items() if not member.answers_tasks}
    if not measured:
        return None
    if isinstance(follow, str | Path):
        stated = read_forecast(Path(follow))
        if stated.tasks != tasks:
            raise UsageError(f"{follow}: a forecast of {stated.tasks:,} tasks; expected one of {tasks:,}")
        for name in stated.models.keys() - measured:
            raise UnknownName(f"model in suite {suite.name}, of which {follow} plans rollouts,", name, measured)
        return stated
    path, repeats = run.folder / "plan.jsonl", None if follow else run.request.repeats
    for plan in reversed([*read_lines(path, Plan)] if path.exists() else []):
        same = plan.follows if follow else plan.repeats == repeats and not plan.follows
        if same and plan.forecast and plan.forecast.tasks == tasks and plan.suite.models.keys() == suite.models.keys():
            return plan.forecast
    expected = expect(suite, chosen, published_scores(run.benchmark))
    if not follow and all(one.score_from == "assumed" for one in expected.values()):
        return None
    return forecast_of(run.benchmark, suite, selection=run.request.selection, repeats=repeats)


def read_forecast(path: Path) -> Forecast:
    """Returns the forecast in a file of `assay plan --json`. Raises InputError if the file has other content."""
    try:
        return msgspec.json.decode(read_input(path), type=Forecast)
    except BROKEN as error:
        raise InputError(path, None, str(error), "what `assay plan --json` writes") from None

"""`assay plan`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console, Group
from rich.text import Text

from assay.benchmark import Benchmark
from assay.cli.options import Code, names_of
from assay.cli.output import plain_table, print_json
from assay.config import assay_toml
from assay.errors import UsageError
from assay.fidelity.forecast import TRIALS
from assay.fidelity.review.review import WORDS_A_MINUTE
from assay.fidelity.schema.forecast import Forecast, GateForecast
from assay.library.forecast import forecast_of
from assay.library.names import find_suite
from assay.report.words import NONE, count, dollars, duration, plural, short_count
from assay.score import Selection

Values = Annotated[tuple[str, ...], Parameter(negative="")]


def plan(
    benchmark: str | None = None,
    /,
    *,
    suite: str | None = None,
    models: str | None = None,
    tasks: int | None = None,
    chance: float | None = None,
    pilot: Path | None = None,
    guess: Values = (),
    tokens: Values = (),
    limit: int | None = None,
    trials: int = TRIALS,
    json: bool = False,
    code: Code = Code(),
) -> None:
    """Say what a profile will cost and which gates a sound benchmark passes, before anything is spent.

    Each gate gets the fewest repeats with which simulated profiles of a sound benchmark pass it.

    Parameters
    ----------
    benchmark
        A benchmark's name or the path of its folder. Without it, give --tasks.
    suite
        A suite's name (see `assay list suites`) or the path of a TOML file. Default: embedded.
    models
        Models in place of a suite: names separated by commas.
    tasks
        The number of tasks, where there is no benchmark yet.
    chance
        The score of a guess, a share. Default: what the benchmark says, or 0.
    pilot
        A run's directory, or a profile's, with two repeats or more: scores, noise and tokens are taken from there.
    guess
        MODEL=PERCENT: the score that you expect, in place of a published one. KIND=PERCENT is for all models of a kind,
        PERCENT for all models.
    tokens
        MODEL=N: output tokens of a rollout, likewise.
    limit
        Only N tasks, as --limit of `assay profile` draws them.
    trials
        Profiles that are simulated.
    json
        Print everything as JSON.
    """
    forecast = forecast_of(
        _subject(benchmark, tasks, code),
        find_suite(suite, names_of(models), assay_toml()),
        chance=chance,
        pilot=pilot,
        guesses={name: share / 100 for name, share in _numbers("--guess", guess).items()},
        tokens={name: round(number) for name, number in _numbers("--tokens", tokens).items()},
        selection=Selection(limit=limit),
        trials=trials,
    )
    if json:
        print_json(forecast)
    else:
        Console(highlight=False).print(table(forecast))


def _subject(benchmark: str | None, tasks: int | None, code: Code) -> Benchmark | int:
    """Returns the benchmark, or the number of its tasks. Raises UsageError where both are given, or none."""
    subject = tasks if benchmark is None else code.load(benchmark)
    if subject is None or (benchmark is not None and tasks is not None):
        raise UsageError("give a benchmark, or --tasks N for the number of tasks of one that is not there yet")
    return subject


def _numbers(option: str, texts: tuple[str, ...]) -> dict[str, float]:
    """Returns the numbers by the name before them, which is empty where there is none. Raises UsageError."""
    numbers: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            numbers[name.strip()] = float(number)
        except ValueError:
            raise UsageError(f"{option} {text}: expected MODEL=NUMBER, KIND=NUMBER or a number for all") from None
    return numbers


def table(forecast: Forecast) -> Group:
    """Returns the forecast as two tables and a line: the models, the gates, and the sums."""
    figures = ("score", "repeats", "rollouts", "tokens", "cost", "passes", "reading")
    models = plain_table("model", "score", "from", "repeats", "rollouts", "tokens", "cost", right=figures)
    for name, one in forecast.models.items():
        usd = None if one.usd_a_rollout is None else one.usd_a_rollout * one.rollouts
        tokens = short_count(one.rollouts * one.tokens_a_rollout) + ("" if one.tokens_from == "pilot" else " ?")
        cells = (f"{one.score:.1%}", one.score_from, count(one.repeats), count(one.rollouts), tokens, dollars(usd))
        models.add_row(Text(name), *cells)
    names = ("gate", "passes", "repeats", "rollouts", "tokens", "cost", "reading")
    gates = plain_table(*names, right={*figures} - {"repeats"})
    for gate in forecast.gates:
        gates.add_row(*_cells(gate))
    notes = [(gate.name, " ".join(filter(None, [gate.note, gate.unseen]))) for gate in forecast.gates]
    lines = [Text(f"{name}: {words}") for name, words in notes if words]
    unsure = any(one.tokens_from != "pilot" for one in forecast.models.values())
    hint = "? Tokens of a rollout that no pilot has measured: --pilot RUN, of two repeats." if unsure else ""
    return Group(models, "", gates, "", *lines, "", Text(sums(forecast)), *filter(None, [hint]))


def sums(forecast: Forecast) -> str:
    """Returns what a sound benchmark passes, and what that costs, in one sentence."""
    by_batch = "" if forecast.usd_by_batch is None else f" ({dollars(forecast.usd_by_batch)} with --batch)"
    return (
        f"A sound benchmark of {plural(forecast.tasks, 'task')} passes all gates in {forecast.passes:.0%}: "
        f"{plural(forecast.rollouts, 'rollout')}, {short_count(forecast.tokens)} tokens, "
        f"{dollars(forecast.usd)}{by_batch}, {duration(60 * forecast.minutes)} of reading at "
        f"{WORDS_A_MINUTE} words a minute ({plural(forecast.trials, 'simulated profile')})."
    )


def _cells(gate: GateForecast) -> list[str | Text]:
    passes = NONE if gate.passes is None else f"{gate.passes:.0%}"
    reading = duration(60 * gate.minutes) if gate.minutes else ""
    if not gate.rollouts:
        labels = f"{plural(gate.labels, 'label')}" if gate.labels else ""
        return [gate.name, passes, labels, "", "", "", reading]
    rollouts, tokens = count(gate.rollouts), short_count(gate.tokens)
    return [gate.name, passes, Text(_repeats(gate.repeats)), rollouts, tokens, dollars(gate.usd), reading]


def _repeats(repeats: dict[str, int]) -> str:
    """`32 of glm-4-7, 8 of the 6 others`."""
    groups: dict[int, list[str]] = {}
    for name, k in repeats.items():
        groups.setdefault(k, []).append(name)
    if len(groups) == 1 and len(repeats) > 1:
        return f"{next(iter(groups))} of {len(repeats)} models"
    return ", ".join(f"{k} of {names[0] if len(names) == 1 else f'{len(names)} models'}" for k, names in groups.items())

"""`assay.profile` and `assay.Profile`: one benchmark on a suite of models, with its gates."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from assay.agent import Agent
from assay.benchmark import Benchmark
from assay.collect.collect import Interruption, Tally
from assay.collect.head import Collector, check_workers
from assay.collect.run import RunPlan
from assay.config import AssayToml, ModelConfig, Suite
from assay.fidelity.profile import ProfilePlan
from assay.fidelity.profile import profile as make_profile
from assay.fidelity.schema.profile import Gate, ModelSummary
from assay.fidelity.schema.profile import Profile as Record
from assay.library.collecting import Roles, choice_of, collector_of, nothing, warn
from assay.library.forecast import initial_forecast
from assay.library.names import TemporaryFolder, budget_of, find_suite, load, roles_of, toml_of
from assay.library.plans import (
    DOOR,
    agent_name,
    agent_of,
    check_batch,
    folder_with_agent,
    folder_with_selection,
    repeats_of,
)
from assay.library.run import Run
from assay.model.wrappers.budget import Budget

if TYPE_CHECKING:
    from assay.fidelity.results.results import Results
    from assay.view.server import Viewer


class Profile:
    """A profile: what its gates say, each model's figures, its runs, and its report.

    Example::

        profile = await assay.profile("arithmetic", suite="embedded", out="profiles/arithmetic")
        profile.gates["order"].verdict      # "pass"
        profile.models["policy"].score      # 0.38
        profile.report()                    # the path of an HTML page that opens offline
    """

    def __init__(
        self,
        folder: str | Path,
        record: Record,
        *,
        _keep: object = None,
        _results: "Mapping[str, Results] | None" = None,
    ) -> None:
        self.folder = Path(folder)
        self._keep = _keep
        self._results = _results  # so that the report need not decode the rollouts again
        self.record = record
        """The content of `profile.json`."""

    @property
    def gates(self) -> dict[str, Gate]:
        """The gates by name, each with its verdict, reason and numbers."""
        return {gate.name: gate for gate in self.record.gates}

    @property
    def models(self) -> dict[str, ModelSummary]:
        """The figures of each model of the suite, by its name."""
        return self.record.models

    def run(self, model: str) -> Run:
        """Returns the run of one model. Raises UsageError if there is none."""
        return Run(self.folder / "runs" / model, _keep=self._keep)

    def report(self) -> Path:
        """Writes the report into the profile's folder, one HTML page that opens offline. Returns its path."""
        return importlib.import_module("assay.report.page").publish(self.folder, self.record, results=self._results)

    def view(self, *, show: bool = True) -> "Viewer":
        """Opens the profile in a browser, as `assay view` does. Returns the viewer, whose `url` is the address.

        It is served until its `close` is called or the program ends. Without `show` no browser opens.
        """
        server = importlib.import_module("assay.view.server")
        return server.Viewer.of("profile", self.folder, show=show, keep=self)

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{name} {gate.verdict}" for name, gate in self.gates.items())
        return f"Profile({str(self.folder)!r}: {self.record.benchmark.name} on {self.record.suite}; {verdicts})"

    def _repr_html_(self) -> str:
        models = [(name, _percent(one.score), f"{one.failures:,}") for name, one in self.models.items() if one.ran]
        gates = [(gate.name, gate.verdict, gate.reason) for gate in self.record.gates]
        return _table(("model", "score", "failures"), models) + _table(("gate", "verdict", "why"), gates)


def _percent(score: float | None) -> str:
    return "none" if score is None else f"{score:.1%}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


async def profile(
    benchmark: str | Path | Benchmark,
    *,
    suite: str | Path | Suite | None = None,
    models: Sequence[str] | None = None,
    agent: str | Agent | None = None,
    repeats: int | None = None,
    only: Mapping[str, str] | None = None,
    limit: int | None = None,
    concurrency: int = 64,
    processes: int | None = None,
    ray: bool | str = False,
    seed: int = 0,
    roles: Roles | None = None,
    budget_tokens: int | None = None,
    budget_usd: float | None = None,
    until_stable: bool = False,
    follow_plan: bool | str | Path = False,
    early_stop: bool = True,
    batch: bool = False,
    config: str | Path | None = None,
    out: str | Path | None = None,
    watch: Callable[[str, Tally], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Profile:
    """Runs a suite of models on a benchmark and computes the gates. Returns the Profile.

    `suite` is a name (by default `embedded`), a TOML file's path or a Suite; `models` names some models instead. A
    profile in `out` is continued; without `out` it is in a temporary folder, which is removed with the object. With
    `follow_plan` each model gets the repeats that `assay plan` computes, or those in a file of its --json. The other
    arguments are those of `run`. `watch` is called with a model's name and its Tally when its run begins, and `tell`
    with a line of text for each event.

    Raises UsageError, DigestMismatch if `out` holds another profile, and BudgetSpent.
    """
    own, temporary = toml_of(config), TemporaryFolder() if out is None else None
    tallies: dict[str, Tally] = {}
    with collector_of(processes, ray, own.ray) as collector:
        asked = plan_profile(
            load(benchmark),
            find_suite(suite, models, own),
            agent,
            own=own,
            home=temporary.path if temporary else Path(),
            out=out,
            roles=roles_of(roles, own),
            budget=budget_of(budget_tokens, budget_usd),
            collector=collector,
            until_stable=until_stable,
            follow_plan=follow_plan,
            **choice_of(repeats, only, limit, concurrency, seed, early_stop, batch),
        )
        check_workers(asked.run, processes or 1)
        begin = partial(_begin, tallies, watch or nothing)
        found = await make_profile(asked, interruption=Interruption(), watch=begin, tell=tell or nothing)
    assert found is not None, "only an interruption ends a profile without a result"
    warn(tallies)
    made, results = found
    return Profile(asked.run.folder, made, _keep=temporary, _results=results)


def plan_profile(
    benchmark: Benchmark,
    suite: Suite,
    agent: str | Agent | None,
    *,
    own: AssayToml,
    home: Path,
    out: str | Path | None = None,
    roles: Mapping[str, ModelConfig],
    budget: Budget | None = None,
    collector: Collector,
    until_stable: bool = False,
    follow_plan: bool | str | Path = False,
    forecasts: bool = False,
    **request: Any,
) -> ProfilePlan:
    """Returns the plan of a profile, as `plan_run` does for a run. Raises UsageError.

    With `forecasts` a forecast is made even if it is not followed. With `follow_plan` the repeats are those of the
    forecast, or of the forecast in a file of `assay plan --json`.
    """
    config, driver = agent_of(agent, own)
    if request.get("batch"):
        check_batch(benchmark, config)
    folder = home / folder_with_selection(
        folder_with_agent(f"{benchmark.name}-{suite.name}", agent_name(agent)), request
    )
    run = RunPlan.of(
        benchmark,
        folder=folder if out is None else Path(out),
        budget=budget,
        agent=config,
        door=DOOR,
        **request | {"repeats": repeats_of(benchmark, request)},
    )
    follows = follow_plan is not False
    return ProfilePlan(
        run=dataclasses.replace(run, agent=driver),
        suite=structs.replace(suite, roles={**suite.roles, **roles}),
        collector=collector,
        until_stable=until_stable,
        forecast=initial_forecast(run, suite, follow_plan) if follows or forecasts else None,
        follows=follows,
    )


def _begin(tallies: dict[str, Tally], watch: Callable[[str, Tally], None], name: str, tally: Tally) -> None:
    tallies[name] = tally
    watch(name, tally)

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
from assay.library.forecast import begun_forecast
from assay.library.names import TemporaryFolder, budget_of, load, roles_of, suite_named, toml_of
from assay.library.plans import DOOR, agent_name, agent_of, check_batch, joined, repeats_of, selected
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
        self._results = _results  # so that the report decodes no rollout once more
        self.record = record
        """All of it, as `profile.json` has it."""

    @property
    def gates(self) -> dict[str, Gate]:
        """The gates by name, each with its verdict, reason and numbers."""
        return {gate.name: gate for gate in self.record.gates}

    @property
    def models(self) -> dict[str, ModelSummary]:
        """The figures of each model of the suite, by its name."""
        return self.record.models

    def run(self, model: str) -> Run:
        """Returns the run of one model. Raises UsageError where it has none."""
        return Run(self.folder / "runs" / model, _keep=self._keep)

    def report(self) -> Path:
        """Writes the report, one HTML page that opens offline, into the profile's folder. Returns its path."""
        return importlib.import_module("assay.report.page").publish(self.folder, self.record, results=self._results)

    def view(self, *, show: bool = True) -> "Viewer":
        """Opens the profile in a browser, as `assay view` does, until the program ends or `close` is called.

        Without `show` it is served and not opened; `url` of what is returned is its address.
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

    `suite` is a name (`embedded` where not given), a TOML file's path or a Suite; `models` some models by name in its
    place. `out` goes on with the profile that is there; without it the profile lives in a temporary folder that ends
    with the object. With `follow_plan` each model gets the repeats that `assay plan` gives it, or those of a file that
    its --json wrote. The other arguments are those of `run`. `watch` is called with a model's name and its running
    tally when its run begins, and `tell` with a line of text when something happens.

    Raises UsageError, DigestMismatch where `out` holds another profile, and BudgetSpent.
    """
    own, temporary = toml_of(config), TemporaryFolder() if out is None else None
    tallies: dict[str, Tally] = {}
    with collector_of(processes, ray, own.ray) as collector:
        asked = plan_profile(
            load(benchmark),
            suite_named(suite, models, own),
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
    """Returns the plan of a profile, as `plan_run` does of a run. Raises UsageError.

    `forecasts` says whether a forecast is made although it is not followed. `follow_plan` makes its rollouts, or those
    of the forecast that `assay plan --json` wrote into this file.
    """
    config, driver = agent_of(agent, own)
    if request.get("batch"):
        check_batch(benchmark, config)
    folder = home / selected(joined(f"{benchmark.name}-{suite.name}", agent_name(agent)), request)
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
        forecast=begun_forecast(run, suite, follow_plan) if follows or forecasts else None,
        follows=follows,
    )


def _begin(tallies: dict[str, Tally], watch: Callable[[str, Tally], None], name: str, tally: Tally) -> None:
    tallies[name] = tally
    watch(name, tally)

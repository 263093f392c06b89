"""The aims: bounds of the figures."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from bench.results import Result, Round, peak_mib, slowness


class Aim(Struct, frozen=True):
    """A bound of one figure of a measurement."""

    what: str
    wanted: str
    measurement: str
    figure: Callable[[Result], float]
    bound: float
    at_least: bool = False
    unit: str = "{:,.2f}"

    def is_met_by(self, result: Result) -> bool:
        value = self.figure(result)
        return value >= self.bound if self.at_least else value <= self.bound


class JudgedAim(Struct, frozen=True):
    """An aim, and the figure on this machine."""

    aim: Aim
    measured: str
    """The figure and its commit, or `not measured`."""
    met: bool | None


def judge_all(results: Mapping[str, Result]) -> list[JudgedAim]:
    """Returns every aim with the newest result."""
    return [_judge(aim, results.get(aim.measurement)) for aim in AIMS]


def _judge(aim: Aim, result: Result | None) -> JudgedAim:
    if result is None:
        return JudgedAim(aim, "not measured", None)
    return JudgedAim(aim, f"{aim.unit.format(aim.figure(result))} ({result.commit})", aim.is_met_by(result))


def seconds(result: Result) -> float:
    return result.median(lambda one: one.assay.wall_s)


def rate(result: Result) -> float:
    return result.count / seconds(result)


def of_floor(result: Result) -> float:
    """Returns the speed as a share of the floor's."""
    return 1 / result.median(slowness)


def megabytes(result: Result) -> float:
    """Returns the highest peak of the rounds, in MB (10^6)."""
    return max(result.each(peak_mib)) * 1.048576


def more(name: str) -> Callable[[Result], float]:
    def figure(one: Round) -> float:
        return one.assay.more[name]

    return lambda result: result.median(figure)


AIMS = [
    *(
        Aim(f"single-turn, {in_flight:,} in flight", wanted, name, figure, bound, at_least=True, unit=unit)
        for in_flight, name in ((64, "single-64"), (512, "single-512"), (4096, "single-4096"))
        for wanted, figure, bound, unit in (
            ("3,000/s on a core", rate, 3000, "{:,.0f}/s"),
            ("0.4 of the floor", of_floor, 0.4, "{:.2f}"),
        )
    ),
    Aim("two processes", "1.7 x one", "two-processes", of_floor, 1.7, at_least=True, unit="{:.2f} x"),
    Aim("10,000 x 1 s, 5,000 at once", "within 3 s", "waiting-5000", seconds, 3.0, unit="{:.2f} s"),
    Aim("", "below 500 MB", "waiting-5000", megabytes, 500, unit="{:,.0f} MB"),
    Aim("20,000 at once, no failure", "p99 below 250 ms", "waiting-20000", more("p99_ms"), 250, unit="{:,.0f} ms"),
    Aim("command to first rollout", "within 0.5 s", "first-rollout", seconds, 0.5, unit="{:.2f} s"),
    Aim("profile of 1,000,000", "within 10 s", "profile-million", seconds, 10, unit="{:.1f} s"),
    Aim("", "below 2 GB", "profile-million", megabytes, 2000, unit="{:,.0f} MB"),
]

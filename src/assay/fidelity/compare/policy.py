"""A release policy: how much worse each metric of a candidate may be, and what the data show."""

import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from msgspec import Meta, Struct, structs

from assay.config import convert, read_toml
from assay.errors import InputError, UnknownName
from assay.stats.compare import holm
from assay.stats.paired import ALPHA, Shift, Spread

Ruling = Literal["pass", "warn", "inconclusive", "fail"]
"""From the best to the worst."""
Over = Literal["tasks", "reruns"]

DEFAULT = """\
over = "tasks"       # on other tasks like these; "reruns": on these again

[score]              # in points of 100
may_drop = 2.0       # fail: a larger drop is shown; pass: it is ruled out
warn_drop = 1.0      # warn: a drop larger than this isn't ruled out

[failures]           # share of rollouts that failed, in points
may_rise = 2.0

[token_cap]          # share of scored rollouts at the token cap, in points
may_rise = 2.0

[output_tokens]      # of a scored rollout; 0.10 is a tenth more
may_grow = 0.25
warn_grow = 0.10
"""
"""The policy of `--policy default`."""

Points = Annotated[float, Meta(ge=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=10)]


class Drop(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How far a score may drop, in points. At 0 it has to rise."""

    may_drop: Points
    warn_drop: Points | None = None


class Rise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How far a share of rollouts may rise, in points."""

    may_rise: Points
    warn_rise: Points | None = None


class Growth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """By what share of the baseline's a figure may grow."""

    may_grow: Share
    warn_grow: Share | None = None


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The limits for a candidate. A metric without a limit is not judged."""

    over: Over = "tasks"
    """Which interval decides: of other tasks of the same kind, or of a re-run of the same ones."""
    score: Drop | None = None
    categories: dict[str, Drop] = {}
    """By category; `*` is every one that is not named."""
    cost: Growth | None = None
    """US dollars a scored rollout."""
    output_tokens: Growth | None = None
    """Of a scored rollout."""
    failures: Rise | None = None
    """Share of the rollouts tried."""
    no_answer: Rise | None = None
    """Share of scored rollouts in which the verifier found no answer."""
    token_cap: Rise | None = None
    """Share of scored rollouts that reached the token cap."""


LIMITS: dict[str, type[Drop | Rise | Growth]] = {
    "score": Drop,
    "categories": Drop,
    "cost": Growth,
    "output_tokens": Growth,
    "failures": Rise,
    "no_answer": Rise,
    "token_cap": Rise,
}
"""The kind of limit that each table of a policy sets."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy: the harm that is allowed. Harm is the drop of a score, or the rise or growth of
    another metric."""

    metric: str
    harm: Literal["drop", "rise", "growth"]
    may: float
    """A share: .02 is two points, or growth by two hundredths."""
    warn: float | None

    @property
    def sign(self) -> int:
        """Of a harmful shift."""
        return -1 if self.harm == "drop" else 1

    def harm_of(self, share: float) -> str:
        """Returns an amount of harm in words: `a drop of 2 points`, `growth by 10 %`."""
        if self.harm == "growth":
            return f"growth by {share * 100:.4g} %" if share else "growth"
        return f"a {self.harm}" + (f" of {share * 100:.4g} point{'' if share == 0.01 else 's'}" if share else "")


class MetricRuling(Struct, frozen=True, kw_only=True):
    """A policy's ruling on one metric of one candidate. Numbers are shares: .02 is two points, or growth by 2 %."""

    metric: str
    verdict: Ruling
    reason: str
    """The reason; if the ruling is inconclusive, also what would decide."""
    may: float
    """The harm allowed: the drop of a score, the rise or growth of all else."""
    warn: float | None
    over: Over
    shift: float | None = None
    """candidate - baseline, or candidate / baseline - 1."""
    lower: float | None = None
    """Of its 95 % interval."""
    upper: float | None = None
    p_pass: float | None = None
    """One-sided, of "the harm is at least what is allowed", with Holm's correction over the candidates."""
    p_fail: float | None = None
    """The same of "it is at most that"."""


class Case(Struct, frozen=True, kw_only=True):
    """The shifts of one metric of one candidate."""

    shifts: Sequence[Shift] = ()
    """The shift as it is; and if rollouts failed, with the failures of the baseline, the candidate or both as zeros."""
    absent: str = ""
    """The reason if there is no shift, and how to get one."""
    repeats: tuple[int, int] = (1, 1)
    """Of the baseline and the candidate."""
    owed: str = ""
    """The rollouts that a run still owes, in words."""


def load(name: str) -> Policy:
    """Returns the policy of a TOML file, or the one named `default`. Raises UsageError and InputError."""
    if name == "default":
        return convert(tomllib.loads(DEFAULT), Policy, "the default policy")
    path = Path(name)
    data = read_toml(path, dict[str, Any])
    _check_keys(data, path)
    policy = convert(data, Policy, path)
    found = list(rules(policy, policy.categories))
    if not found:
        raise InputError(path, None, "a policy of no metric", f"at least one of [{'], ['.join(LIMITS)}]")
    for rule in found:
        if rule.warn is not None and rule.warn > rule.may:
            got = f"[{rule.metric}] warns of {rule.harm_of(rule.warn)} and fails {rule.harm_of(rule.may)}"
            raise InputError(path, None, got, "a warning before the failure")
    return policy


def rules(policy: Policy, categories: Iterable[str]) -> Iterator[Rule]:
    """Yields the policy's rules, with one for each category that it names or that `*` includes.

    Raises UsageError where it names one that is not there.
    """
    known = dict.fromkeys(categories)
    for name in policy.categories.keys() - known.keys() - {"*"}:
        raise UnknownName("category in the runs, named by the policy,", name, known)
    limits = {"score": policy.score}
    limits |= {f"categories.{name}": policy.categories.get(name, policy.categories.get("*")) for name in known}
    limits |= {name: getattr(policy, name) for name in LIMITS if name not in ("score", "categories")}
    for metric, limit in limits.items():
        if limit:
            yield _rule(metric, limit)


def judge(rule: Rule, cases: Mapping[str, Case], over: Over) -> dict[str, MetricRuling]:
    """Returns a rule's ruling on each candidate, with Holm's correction over them.

    Pass: the allowed harm is ruled out (at a one-sided 2.5 %), and the warning's too if there is one. Warn: only the
    former. Fail: more harm than allowed is shown. Inconclusive: neither; or a run owes rollouts; or the ruling would be
    different if failures were zeros.
    """
    spreads = {
        name: [shift.over_tasks if over == "tasks" else shift.over_reruns for shift in case.shifts]
        for name, case in cases.items()
    }
    known = {name: [s for s in found if s] for name, found in spreads.items() if found and found[0]}
    # Where nothing failed there is one world, else four: as it is, and with failures as zeros in three ways.
    worlds = [_decide(rule, {n: s[min(world, len(s) - 1)] for n, s in known.items()}) for world in range(4)]
    return {
        name: _judgement(rule, case, over, [(world[name], known[name][0]) for world in worlds] if name in known else [])
        for name, case in cases.items()
    }


def worst(verdicts: Iterable[Ruling]) -> Ruling:
    """Returns the worst of several rulings."""
    return max(verdicts, key=get_args(Ruling).index)


@dataclass(frozen=True, slots=True)
class _Decision:
    verdict: Ruling
    p_pass: float
    p_fail: float
    family: int


def _decide(rule: Rule, spreads: Mapping[str, Spread]) -> dict[str, _Decision]:
    def at_least(harm: float) -> dict[str, float]:
        bound = rule.sign * harm
        return holm({n: s.p_at_most(bound) if rule.sign < 0 else s.p_at_least(bound) for n, s in spreads.items()})

    bound = rule.sign * rule.may
    p_fail = holm({n: s.p_at_least(bound) if rule.sign < 0 else s.p_at_most(bound) for n, s in spreads.items()})
    p_pass, p_clear = at_least(rule.may), at_least(rule.may if rule.warn is None else rule.warn)
    found: dict[str, _Decision] = {}
    for name in spreads:
        passes: Ruling = "pass" if p_clear[name] <= ALPHA else "warn"
        fails: Ruling = "fail" if p_fail[name] <= ALPHA else "inconclusive"
        verdict = passes if p_pass[name] <= ALPHA else fails
        found[name] = _Decision(verdict, p_pass[name], p_fail[name], len(spreads))
    return found


def _judgement(rule: Rule, case: Case, over: Over, worlds: Sequence[tuple[_Decision, Spread]]) -> MetricRuling:
    again = "One repeat can't tell what a re-run would give: run 2 repeats or more on both sides."
    undecided = MetricRuling(
        metric=rule.metric,
        verdict="inconclusive",
        reason=case.absent or again,
        may=rule.may,
        warn=rule.warn,
        over=over,
    )
    if not worlds:
        return undecided
    decision, spread = worlds[0]
    verdict, reason = decision.verdict, _reason(rule, decision)
    others = {other.verdict for other, _ in worlds} - {verdict}
    if case.owed:
        verdict, reason = "inconclusive", f"{case.owed}; the same command makes them. So far: {verdict}. {reason}"
    elif verdict == "inconclusive":
        reason = f"{reason} {_to_decide(rule, case, spread, over)}"
    elif others | {verdict} == {"pass", "warn"}:
        verdict, reason = "warn", reason if verdict == "warn" else f"{reason} Not so if failures were zeros."
    elif others:
        flipped = " or ".join(sorted(others))
        reason = f"With failures as zeros: {flipped}; make them again. With failures left out: {verdict}. {reason}"
        verdict = "inconclusive"
    return structs.replace(
        undecided,
        verdict=verdict,
        reason=reason,
        shift=spread.shift,
        lower=spread.lower,
        upper=spread.upper,
        p_pass=decision.p_pass,
        p_fail=decision.p_fail,
    )


def _reason(rule: Rule, decision: _Decision) -> str:
    limit, warn = rule.harm_of(rule.may), rule.harm_of(rule.may if rule.warn is None else rule.warn)
    said: dict[Ruling, str] = {
        "pass": f"{warn} is ruled out",
        "warn": f"{limit} is ruled out, but not {warn}",
        "fail": f"{'more than ' if rule.may else ''}{limit} is shown",
        "inconclusive": f"{limit} is neither ruled out nor shown",
    }
    text = said[decision.verdict]
    family = f" (Holm over {decision.family} candidates)" if decision.family > 1 else ""
    return f"{text[0].upper()}{text[1:]}{family}."


def _to_decide(rule: Rule, case: Case, spread: Spread, over: Over) -> str:
    bound = rule.sign * rule.may
    more = case.shifts[0].repeats_to_decide(bound, of_tasks=over == "tasks")
    ways: list[str] = []
    if over == "tasks" and (tasks := spread.tasks_to_decide(bound)) < 1e7:
        ways.append(f"about {math.ceil(max(tasks, spread.tasks + 1)):,} tasks like these")
    # Over tasks, where no more repeats than are there would do, it is the tasks that are too few.
    if more is not None and more < 1000 and (more > 1 or over == "reruns"):
        few, many = sorted(case.repeats)
        often = f"{max(math.ceil(few * more), few + 1):,}" if few == many else f"{max(more, 1.1):.1f} times as many"
        ways.append(f"about {often} repeats on both sides")
    if not ways:
        return "The shift is too near the limit for any number of tasks or repeats to decide."
    return f"If the shift stays as it is, {' or '.join(ways)} would decide."


def _rule(metric: str, limits: Drop | Rise | Growth) -> Rule:
    match limits:
        case Growth():
            return Rule(metric, "growth", limits.may_grow, limits.warn_grow)
        case Rise():
            harm, may, warn = "rise", limits.may_rise, limits.warn_rise
        case Drop():
            harm, may, warn = "drop", limits.may_drop, limits.warn_drop
    return Rule(metric, harm, may / 100, None if warn is None else warn / 100)


def _check_keys(data: dict[str, Any], path: Path) -> None:
    """Raises UsageError with the nearest key where one is unknown."""
    for key, value in data.items():
        if key not in Policy.__struct_fields__:
            raise UnknownName(f"metric or setting of a policy ({path})", key, Policy.__struct_fields__)
        tables = {key: value}
        if key == "categories" and isinstance(value, dict):
            tables = {f"categories.{name}": inner for name, inner in cast(dict[str, Any], value).items()}
        known = dict.fromkeys(LIMITS[key].__struct_fields__) if key in LIMITS else {}
        for name, table in tables.items():
            for inner in cast(dict[str, Any], table) if isinstance(table, dict) else ():
                if known and inner not in known:
                    raise UnknownName(f"key of [{name}] in a policy ({path})", inner, known)

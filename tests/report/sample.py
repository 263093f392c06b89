"""A realistic profile from a seeded generator: five models, 240 tasks, four repeats, and what is said of them."""

import math
import random
from statistics import fmean, stdev, variance

from msgspec import structs

from assay.fidelity.schema.evidence import (
    Disagreement,
    Explanation,
    Fault,
    Finding,
    Mark,
    ModelReview,
    OriginalSource,
    Parity,
    Reader,
    Reproduced,
    Review,
    Rung,
    Sighting,
    SuspectTask,
)
from assay.fidelity.schema.profile import (
    BenchmarkRecord,
    Gate,
    GroupScore,
    ModelSummary,
    Piece,
    Profile,
    Reading,
    Repeats,
    RolloutRef,
    TaskRow,
)
from assay.report.cards import Candidate, choose, place
from assay.types import Kind, Role

CATEGORIES = ("sums", "differences", "products", "two-step", "word")
HARDNESS = {"sums": -1.2, "differences": -0.6, "products": 0.7, "two-step": 1.4, "word": 0.1}
MODELS: dict[str, tuple[Role, Kind, int, float]] = {
    "policy": ("policy", "instruct", 1, -0.6),
    "nano-instruct": ("open", "instruct", 1, 0.2),
    "nano-thinking": ("open", "thinking", 1, 1.3),
    "micro-instruct": ("open", "instruct", 2, 1.1),
    "micro-thinking": ("open", "thinking", 2, 2.6),
}
REPEATS = 4


def sample(seed: int = 5) -> tuple[Profile, dict[str, list[TaskRow]], list[Reading]]:
    """A profile, its tables and the readings that a page of it holds, always the same for a seed."""
    profile, tables, readings = whole(seed)
    by_place = {place(one): one for one in readings}
    there = [Candidate(one.model, one.task, one.repeat, one.category, failing=True) for one in readings]
    return profile, tables, [by_place[place(one)] for one in choose(there, profile)]


def whole(seed: int = 5) -> tuple[Profile, dict[str, list[TaskRow]], list[Reading]]:
    """The same with every rollout that scored less than full marks, or failed."""
    rng = random.Random(seed)
    hard = {
        f"{category}-{index:03d}": HARDNESS[category] + rng.gauss(0, 1.4)
        for category in CATEGORIES
        for index in range(48)
    }
    tables = {name: _table(rng, name, hard) for name in MODELS}
    readings = [
        _reading(rng, name, row, repeat)
        for name, rows in tables.items()
        for row in rows
        for repeat, reward in enumerate(row.rewards)
        if reward != 1
    ]
    models = {name: _summary(rng, name, rows) for name, rows in tables.items()}
    strongest = tables["micro-thinking"]
    findings, review = _findings(readings), _review(readings)
    return (
        Profile(
            benchmark=BenchmarkRecord("arithmetic", "1.0", "sha256:9c1e07b85f2ad3440e6b7f19d2c5a8e3", 240),
            suite="embedded",
            models=models,
            gates=_gates(readings, models),
            repeats=_repeats("micro-thinking", strongest),
            versions={"assay": "0.1.0", "python": "3.12.4", "numpy": "2.3.1", "tokenizers": "0.22.0"},
            started="2026-02-11T09:41:07Z",
            wall_s=754.2,
            findings=findings,
            suspects=_suspects(tables),
            review=review,
            parity={"micro-thinking": _parity()},
            reproduced=_reproduced(),
        ),
        tables,
        readings,
    )


def _table(rng: random.Random, name: str, hard: dict[str, float]) -> list[TaskRow]:
    _, kind, _, skill = MODELS[name]
    rows: list[TaskRow] = []
    for task, difficulty in hard.items():
        chance = 1 / (1 + math.exp(-2 * (skill - difficulty)))
        rewards: list[float | None] = [1.0 if rng.random() < chance else 0.0 for _ in range(REPEATS)]
        if name == "nano-thinking":
            rewards = [None if rng.random() < 0.012 else reward for reward in rewards]
        tokens = [_length(rng, kind, difficulty) for _ in range(REPEATS)]
        rows.append(TaskRow(task, task.rsplit("-", 1)[0], rewards, tokens))
    return rows


def _length(rng: random.Random, kind: Kind, difficulty: float) -> int:
    if kind == "instruct":
        return rng.randint(2, 5)
    return min(256, round(math.exp(3.6 + 0.35 * difficulty + rng.gauss(0, 0.25))))


def _summary(rng: random.Random, name: str, rows: list[TaskRow]) -> ModelSummary:
    role, kind, tier, _ = MODELS[name]
    scored = [[reward for reward in row.rewards if reward is not None] for row in rows]
    means = [fmean(rewards) for rewards in scored]
    within = fmean(variance(rewards) for rewards in scored)
    score, failures = fmean(means), sum(reward is None for row in rows for reward in row.rewards)
    se_run, se_task = math.sqrt(within / (len(rows) * REPEATS)), stdev(means) / math.sqrt(len(rows))
    output = sum(tokens or 0 for row in rows for tokens in row.output_tokens)
    return ModelSummary(
        role=role,
        kind=kind,
        tier=tier,
        ran=True,
        score=score,
        se_run=se_run,
        se_task=se_task,
        interval_run=(score - 1.96 * se_run, score + 1.96 * se_run),
        interval_task=(score - 1.96 * se_task, score + 1.96 * se_task),
        repeats=REPEATS,
        pass_at_k={str(k): fmean(_pass(rewards, k) for rewards in scored) for k in (1, 2, 4)},
        maj_at_k={"1": score, "4": fmean(float(sum(rewards) > 2) for rewards in scored)},
        rollouts=len(rows) * REPEATS - failures,
        failures=failures,
        score_failures_zero=score * (1 - failures / 960) if failures else None,
        no_answer=rng.random() * 0.02,
        token_cap=0.031 if kind == "thinking" else 0.0,
        grouped_by=["category"],
        groups={
            category: _group([mean for row, mean in zip(rows, means, strict=True) if row.category == category])
            for category in CATEGORIES
        },
        tokens={"input": 960 * 17, "output": output, "reasoning": round(output * 0.92) if kind == "thinking" else 0},
        wall_s=40 + output / 900,
        per_task=f"runs/{name}/per_task.jsonl",
    )


def _group(means: list[float]) -> GroupScore:
    score, reach = fmean(means), 1.96 * stdev(means) / math.sqrt(len(means))
    return GroupScore(score, len(means), (max(0.0, score - reach), min(1.0, score + reach)))


def _pass(rewards: list[float], k: int) -> float:
    n, wrong = len(rewards), sum(reward < 1 for reward in rewards)
    return 1 - math.comb(wrong, min(k, n)) / math.comb(n, min(k, n))


def _repeats(name: str, rows: list[TaskRow]) -> Repeats:
    within = [variance([reward for reward in row.rewards if reward is not None]) for row in rows]
    mean, tasks = fmean(within), len(rows)
    upper = mean + 1.29 * stdev(within) / math.sqrt(tasks)
    curve = [(k, 100 * math.sqrt(mean / (tasks * k)), 100 * math.sqrt(upper / (tasks * k))) for k in range(1, 17)]
    needed = [math.ceil(value * 1e4 / tasks) for value in (mean, upper)]
    return Repeats(name, REPEATS, needed[0], needed[1], curve[REPEATS - 1][1], curve[REPEATS - 1][2], curve)


def _gates(readings: list[Reading], models: dict[str, ModelSummary]) -> list[Gate]:
    failed = [RolloutRef(item.model, item.task, item.repeat) for item in readings if item.reward is None]
    capped = [RolloutRef(item.model, item.task, item.repeat) for item in readings if "token cap" in item.why][:9]
    best = models["micro-thinking"]
    return [
        Gate("gold", "pass", "All 240 gold answers score 1; empty and off-topic answers score 0.", {"golds": 240}),
        Gate(
            "verifier",
            "pass",
            "Gold inside the reasoning alone scores 0; gold after reasoning, re-spaced and re-wrapped, scores 1.",
            {"checked": 960, "changed": 0},
        ),
        Gate(
            "range",
            "pass",
            "The strongest open model, micro-thinking, scores well above the floor of 30 %.",
            {"model": "micro-thinking", "score": best.score, "interval": best.interval_task, "floor": 0.3},
        ),
        Gate("order", "not run", "The suite has no closed model to compare with."),
        Gate(
            "kinds",
            "fail",
            "Thinking models reach the token cap in 5.6 % of rollouts, instruct models never; below 5 % is allowed.",
            {"token_cap": {"instruct": 0.0, "thinking": 0.0563}, "no_answer": {"instruct": 0.011, "thinking": 0.014}},
            capped,
        ),
        Gate(
            "read",
            "inconclusive",
            "Still to be read: 84 rollouts (about 37 minutes), by `assay review`.",
            {"left": 84},
            failed,
        ),
        Gate("reproduced", "not run", "No published score is known for this benchmark."),
        Gate("parity", "not run", "There is no original code to compare with."),
        Gate(
            "repeats",
            "pass",
            "At k = 4 the SD of avg@k is at most one point, by its upper bound.",
            {"k_set": 4, "target_points": 1.0},
        ),
    ]


def _reading(rng: random.Random, name: str, row: TaskRow, repeat: int) -> Reading:
    a, b = rng.randint(100, 999), rng.randint(100, 999)
    gold, answer = a + b, a + b + rng.choice([-100, -10, -1, 1, 10, 100])
    reward = row.rewards[repeat]
    capped = reward is not None and MODELS[name][1] == "thinking" and rng.random() < 0.1
    reasoning = f"{a}+{b}: " + " ".join(f"{x}+{y}={int(x) + int(y)}" for x, y in zip(str(a), str(b), strict=True))
    thought = MODELS[name][1] == "thinking" and reward is not None
    if reward is None:
        why, text, read = "failed: http_500, the server answered “internal error” three times", "", None
    elif capped:
        why, text, read, reasoning = "reached the token cap", "", None, (reasoning + "; ") * 12
    else:
        why, text, read = f"answered {answer}, gold {gold}", str(answer), str(answer)
    return Reading(
        model=name,
        task=row.task,
        repeat=repeat,
        category=row.category,
        asked=[Piece("prompt", "user", f"What is {a} + {b}?")],
        said=[
            *([Piece("reasoning", "reasoning", reasoning)] if thought else []),
            *([] if reward is None else [Piece("message", "message", text)]),
        ],
        answer=read,
        gold=str(gold),
        reward=reward,
        why=why,
    )


def _refs(readings: list[Reading], name: str, count: int) -> list[RolloutRef]:
    return [RolloutRef(name, one.task, one.repeat) for one in readings if one.model == name][:count]


def _findings(readings: list[Reading]) -> list[Finding]:
    told: list[tuple[str, str, Fault, int, str]] = [
        ("nano-thinking", "token cap", "model", 31, "256 output tokens"),
        ("nano-thinking", "failed: model/http_500", "environment", 12, "internal error"),
        ("micro-thinking", "gold in the text", "verifier", 2, "…the answer is 1,204. So 1,204"),
        ("nano-instruct", "no answer", "model", 7, "I can't tell."),
    ]
    return [
        Finding(
            detector=detector,
            model=name,
            suspect=suspect,
            reason=f"{count} of 960 rollouts show it. Read them.",
            count=count,
            of=960,
            spotted=[Sighting(ref, evidence) for ref in _refs(readings, name, count)],
        )
        for name, detector, suspect, count, evidence in told
    ]


SETTLED = {"nano-thinking": ["token cap"], "micro-thinking": ["gold in the text"], "nano-instruct": ["no answer"]}


def _review(readings: list[Reading]) -> Review:
    models: dict[str, ModelReview] = {}
    for name in MODELS:
        refs = _refs(readings, name, 10)
        faults: list[Fault] = ["model"] * 7 + (
            ["verifier", "task", "unclear"] if name == "nano-thinking" else ["model"]
        )
        marks = [
            Mark(
                model=name,
                task=ref.task,
                repeat=ref.repeat,
                content=f"{name}{number}",
                task_digest="0" * 16,
                reward=0.0,
                fault=fault,
                note="" if fault == "model" else "the thousands separator is not read",
                by="Ada",
                at="2026-02-12T10:00:00+00:00",
            )
            for number, (ref, fault) in enumerate(zip(refs, faults, strict=False))
        ]
        models[name] = ModelReview(
            made=960,
            failing=sum(one.model == name for one in readings),
            sample=10,
            marked=len(marks),
            faults={fault: faults.count(fault) for fault in dict.fromkeys(faults)},
            marks=marks,
            explained=[
                Explanation(
                    model=name, detector="token cap", note="The cap is the card's.", by="Ada", at="2026-02-12T10:04:00"
                )
            ],
            settled=SETTLED.get(name, []),
        )
    when = "2026-02-12T10:00:00+00:00"
    ada = Reader(read=90, first=when, last=when, minutes=41.0, planted=12, found=11, sound=70, reported=1)
    return Review(
        made=960 * len(MODELS), sample=72, at_fault=2, bounds=(0.003, 0.096), readers={"Ada": ada}, models=models
    )


def _suspects(tables: dict[str, list[TaskRow]]) -> list[SuspectTask]:
    """The tasks that the strongest model never solved."""
    means = {
        name: {row.task: fmean(known) if (known := [r for r in row.rewards if r is not None]) else None for row in rows}
        for name, rows in tables.items()
    }
    never = [row.task for row in tables["micro-thinking"] if not any(row.rewards)][:5]
    return [
        SuspectTask(
            task=task,
            suspicion=0.97 - 0.11 * number,
            signs=["label suspect"] if number % 2 == 0 else ["never solved", "weak above strong"],
            reason="Strong models agree on another answer, 3 of 4 times each.",
            means={name: by_task[task] for name, by_task in means.items()},
            gold="1,204",
            consensus="1,304" if number % 2 == 0 else None,
        )
        for number, task in enumerate(never)
    ]


def _parity() -> Parity:
    apart = [Disagreement("sums-003", place, "0", "1", "read '1,204'") for place in range(4)]
    ladder = [
        Rung(name="data", verdict="identical", reason="The same 240 tasks.", numbers={"tasks": 240}),
        Rung(name="prompts", verdict="not run", reason="The original's prompts were not given."),
        Rung(
            name="verifiers",
            verdict="different",
            reason="4 of 960 outputs are scored otherwise, such as sums-003's: 0 there, 1 here.",
            numbers={"judged": 960, "agree": 956},
            disagreements=apart,
        ),
        Rung(
            name="samples",
            verdict="equivalent",
            reason="On 240 tasks the difference is +0.40 points with an SE of 0.62; the margin is 2.",
            numbers={"difference": 0.004, "se": 0.0062, "margin": 0.02, "tasks": 240},
        ),
    ]
    return Parity(
        benchmark="arithmetic",
        version="1.0",
        tasks_digest="9c1e",
        code="77",
        model="micro-thinking",
        reference=OriginalSource(
            file="original.jsonl", sha256="a" * 64, rows=960, tasks=240, repeats=4, score=0.873, settings={"top_p": 1}
        ),
        margin=0.02,
        verdict="different",
        reason="Verifiers: 4 of 960 outputs are scored otherwise.",
        ladder=ladder,
        at="2026-02-11T12:00:00",
    )


def _reproduced() -> list[Reproduced]:
    one = Reproduced(
        model="micro-thinking",
        published_as="micro, thinking (report, table 2)",
        score=0.874,
        unit=0.001,
        subset="test",
        settings={"temperature": 1.0, "max_output_tokens": 256},
        source="https://example.org/report",
        date="2025-11-02",
        verdict="equivalent",
        reason="The original code gives 87.3 %: equivalent within 2 points, at -0.10 with an SE of 0.62.",
        reference_score=0.873,
        reference_se=0.0062,
        here_score=0.877,
        here_verdict="equivalent",
        repeats=3,
    )
    refused = structs.replace(
        one,
        model="nano-thinking",
        published_as="nano, thinking (report, table 2)",
        verdict="refused",
        reason="The settings differ: temperature (1.0 published, 0.6 there).",
        reference_score=None,
        reference_se=None,
        here_score=None,
        here_verdict="not run",
        repeats=None,
    )
    return [one, refused]

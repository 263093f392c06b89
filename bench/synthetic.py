"""Synthetic runs and profiles, of up to a million rollouts.

`python -m bench.synthetic run FOLDER COUNT URL`, or `profile FOLDER COUNT`; `forget FOLDER` removes what is derived.

A real command makes the folder and one repeat. The other repeats are copies with another repeat, seed, score and words,
drawn from a seed.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import msgspec
from msgspec import structs

from assay.collect.plan import seed_of
from assay.fidelity.schema.profile import Plan
from assay.store import read_record, read_rollouts, write_json, write_lines
from assay.types import Failure, Message, Rollout, Score, StopReason, Text, Turn, Usage
from bench.quiz.benchmark import BENCHMARK

QUIZ = str(Path(__file__).parent / "quiz")
CLI = [sys.executable, "-m", "assay.cli"]
TASKS = 10_000
"""Tasks of the quiz."""
SKILLS = {"closed": 0.9, "open-thinking": 0.8, "open-instruct": 0.7, "policy": 0.5}
"""The share of right rollouts, by model."""
FAILING = 0.001
"""Share of rollouts that are failures."""
CAPPED = 0.01
"""Share of the wrong rollouts that reached the token cap."""
ON_ENDPOINT = ("--model", "openai:fixed", "--base-url")
OWN = ("run.json", "tasks.jsonl", "rollouts.jsonl", "plan.jsonl", "profile.json", "started.jsonl")
"""The files that are not derived from others; profile.json keeps the gates that need no model."""
WORDS = ("so", "then", "six", "times", "seven", "is", "what", "need", "and", "makes", "more", "sum", "once", "carried")


def run(folder: Path, count: int, url: str) -> None:
    """Make a complete run of `count` rollouts, all with a score."""
    _assay("run", QUIZ, *ON_ENDPOINT, url, "--repeats", "1", "--out", str(folder))
    _grow(folder, count // TASKS, lambda rollout: rollout)
    forget(folder)


def profile(folder: Path, count: int, tasks: int = TASKS) -> None:
    """Make a complete profile of four models on the first `tasks` tasks, with `count` rollouts in all."""
    suite = folder.with_suffix(".toml")
    suite.write_text(_suite())
    _assay("profile", QUIZ, "--suite", str(suite), "--limit", str(tasks), "--repeats", "1", "--out", str(folder))
    repeats = count // (tasks * len(SKILLS))
    for name, skill in SKILLS.items():
        rng = Random(name)
        ease = {task.id: rng.betavariate(4 * skill, 4 * (1 - skill)) for task in BENCHMARK.environment.tasks()}
        _grow(folder / "runs" / name, repeats, lambda rollout, ease=ease, rng=rng: _by_chance(rollout, ease, rng))
    plan = folder / "plan.jsonl"
    write_lines(plan, [structs.replace(msgspec.json.decode(plan.read_bytes(), type=Plan), repeats=repeats)])
    forget(folder)


def forget(folder: Path) -> None:
    """Remove everything that is derived, so that the next command reads the rollouts for the first time."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in OWN:
            path.unlink()


def _assay(*arguments: str) -> None:
    done = subprocess.run([*CLI, *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"assay {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def _suite() -> str:
    """Returns a suite of models that answer 42. Their wrong answers are written afterwards."""
    lines = ['name = "made"', 'tiers = "all"']
    for name in SKILLS:
        role, _, kind = name.partition("-")
        lines += [f"[models.{name}]", f'role = "{role}"', f'kind = "{kind or "instruct"}"', "tier = 1"]
        lines += ['dialect = "scripted"', f'id = "{name}"', 'script = ["The answer is 42."]']
    return "\n".join(lines) + "\n"


def _grow(folder: Path, repeats: int, change: Callable[[Rollout], Rollout]) -> None:
    """Turn a run of one repeat into one of `repeats`."""
    first = list(read_rollouts(folder))
    encode = msgspec.json.Encoder().encode
    with (folder / "rollouts.jsonl").open("wb", buffering=1 << 20) as file:
        for rollout in _copies(first, repeats):
            file.write(encode(change(rollout)))
            file.write(b"\n")
    write_json(folder / "run.json", structs.replace(read_record(folder), repeats=repeats))


def _copies(first: list[Rollout], repeats: int) -> Iterator[Rollout]:
    for repeat in range(repeats):
        for rollout in first:
            yield structs.replace(rollout, repeat=repeat, seed=seed_of(0, rollout.task, repeat))


def _by_chance(rollout: Rollout, ease: dict[str, float], rng: Random) -> Rollout:
    """Returns the rollout as a model may have made it, given the probability that it solves each task."""
    wall_s = rng.expovariate(0.2)
    if rng.random() < FAILING:
        failure = Failure(where="model", kind="http_500", message="the endpoint answered 500", retryable=True)
        return structs.replace(rollout, turns=[], stop="failed", outcome=failure, wall_s=wall_s)
    right = rng.random() < ease[rollout.task]
    capped = not right and rng.random() < CAPPED
    answer = None if capped else "42" if right else str(rng.choice((36, 40, 41, 44, 48, 67)))
    text = " ".join(rng.choices(WORDS, k=24)) + ("" if capped else f". The answer is {answer}.")
    stop: StopReason = "token_cap" if capped else "completed"
    usage = Usage(input_tokens=32, output_tokens=rng.randrange(20, 2000))
    turn = rollout.turns[0]
    response = structs.replace(
        turn.response,
        output=[Message(role="assistant", content=[Text(text)])],
        status="incomplete" if capped else "completed",
        usage=usage,
    )
    return structs.replace(
        rollout,
        turns=[Turn(input=turn.input, response=response, started_s=0.0, wall_s=wall_s)],
        stop=stop,
        outcome=Score(reward=float(right), answer=answer),
        wall_s=wall_s,
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", where, size, url]:
            run(Path(where), int(size), url)
        case ["profile", where, size]:
            profile(Path(where), int(size))
        case ["forget", where]:
            forget(Path(where))
        case other:
            raise SystemExit(f"python -m bench.synthetic {' '.join(other)}: expected what its docstring says")

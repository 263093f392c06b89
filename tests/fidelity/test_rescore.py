"""Rescoring: runs made here, and scored again by a verifier that was edited in the meantime."""

import asyncio
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from assay.benchmark.catalog import load
from assay.collect.collect import Interruption
from assay.collect.run import RunPlan, collect_run
from assay.config import ModelConfig, load_model
from assay.errors import DigestMismatch, UsageError
from assay.fidelity.profile import compute
from assay.fidelity.rescore.rescore import CHANGES, RescorePlan, Rescoring, rescore
from assay.fidelity.rescore.rescore_profile import rescore_profile
from assay.fidelity.results.results import read
from assay.fidelity.schema.evidence import Mark
from assay.fidelity.schema.profile import Profile
from assay.store import append_line, read_record, read_registry, read_rollouts, read_tasks
from assay.types import Failure, Rollout, RolloutLimits, Score
from tests.commands import assay, scored, start, written
from tests.endpoint import Endpoint, answering

CAPITALS = """
from assay.benchmark import Benchmark, Environment
from assay.types import Message, Score, Task

ROWS = {"france": "Paris", "japan": "Tokyo", "kenya": "Nairobi", "peru": "Lima"}
ASK = "What is the capital of {}?"


class Capitals(Environment):
    name, version = "capitals", "1"

    def tasks(self):
        return [Task(id=id, input=[Message("user", ASK.format(id))], gold=city) for id, city in ROWS.items()]

    def verify(self, task, response):
        said = response.text
        return Score(reward=float(said == task.gold), answer=said)


BENCHMARK = Benchmark(environment=Capitals(), repeats=2)
"""
LENIENT = ("said = response.text", 'said = response.text.strip("*. ")')
SAID = {"france": ["Paris", "**Paris**"], "japan": ["Tokyo.", "Kyoto"], "kenya": ["Nairobi", "?"], "peru": ["", "Lima"]}
"""What the model answers, by task and repeat: three are right to the letter, five to a lenient reader."""

JAR = '''
import asyncio, os
from assay.benchmark import Benchmark, Call
from assay.benchmark.tools import ToolEnvironment, ToolSession, tool
from assay.types import Message, Score, Task


class Jar(ToolSession):
    def __init__(self, task, seed):
        super().__init__(task, seed)
        self.sweets = 5 + self.rng.randrange(1000)

    @tool
    async def take(self, count: int) -> str:
        """Take sweets."""
        self.sweets -= count
        return f"{self.sweets} are left"

    async def score(self, turns):
        return Score(reward=float(self.sweets % 2 == 0), answer=str(self.sweets))


class Jars(ToolEnvironment):
    name, version, session = "jar", "1", Jar

    def tasks(self):
        return [Task(id=f"t{i}", input=[Message("user", f"Take {i}.")], tools=self.tools) for i in range(6)]

    def solution(self, task):
        return [Call("take", {"count": int(task.id[1:])}), Call("take", {"count": 1})]


BENCHMARK = Benchmark(environment=Jars(), repeats=2)
'''

JUDGED = """
from assay.benchmark import Benchmark, Environment
from assay.types import Message, Request, Score, Task


class Judged(Environment):
    name, version = "judged", "1"

    def tasks(self):
        return [Task(id=str(i), input=[Message("user", f"Say {i}.")], gold=str(i)) for i in range(4)]

    async def verify(self, task, response, models):
        said = await models["judge"].respond(Request(input=[Message("user", f"Is it right? {response.text}")]))
        return Score(reward=float(said.text == "yes"))


BENCHMARK = Benchmark(environment=Judged(), repeats=1, roles={"judge": None})
"""


def folder(path: Path, text: str, *edits: tuple[str, str]) -> Path:
    """A benchmark's folder: the text with each edit."""
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    path.mkdir(exist_ok=True)
    (path / "benchmark.py").write_text(text)
    return path


def answers(path: Path) -> ModelConfig:
    """A model that says what is in SAID."""
    lines = [{"task": task, "repeat": r, "output": one} for task, said in SAID.items() for r, one in enumerate(said)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return ModelConfig(dialect="replay", id=str(path))


def run(benchmark: Path | str, model: ModelConfig | str, out: Path, **plan: object) -> Path:
    server = load_model(model)[1] if isinstance(model, str) else model
    loaded = load(str(benchmark))
    if limits := plan.pop("limits", None):
        loaded = dataclasses.replace(loaded, limits=limits)  # pyright: ignore[reportArgumentType]
    asked = RunPlan.of(
        benchmark=loaded, name="m", server=server, folder=out, **{"repeats": 2, "early_stop": False} | plan
    )  # pyright: ignore[reportArgumentType]
    asyncio.run(collect_run(asked))
    return out


def again(old: Path, benchmark: Path | str, **plan: object) -> Rescoring:
    source = str(benchmark)
    asked = RescorePlan(run=old, benchmark=load(source), **plan)  # pyright: ignore[reportArgumentType]
    rescored = asyncio.run(rescore(asked, interruption=Interruption()))
    assert rescored is not None
    return rescored


def content(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def by_key(path: Path) -> dict[tuple[str, int], Rollout]:
    return {rollout.key: rollout for rollout in read_rollouts(path)}


def kinds(rescored: Rescoring) -> Counter[str]:
    return Counter(change.kind for change in rescored.changes)


def test_a_mended_verifier_gives_new_scores_and_leaves_the_old_run_alone(tmp_path: Path):
    strict = folder(tmp_path / "strict", CAPITALS)
    mended = folder(tmp_path / "mended", CAPITALS, LENIENT)
    old = run(strict, answers(tmp_path / "said.jsonl"), tmp_path / "old")
    before = content(old)
    rescored = again(old, mended)
    assert content(old) == before
    assert (rescored.before, rescored.after, rescored.rollouts) == (3 / 8, 5 / 8, 8)
    moved = [(c.task, c.repeat, c.before.reward, c.after.reward) for c in rescored.changes if c.kind == "score"]  # type: ignore[union-attr]
    assert moved == [("france", 1, 0, 1), ("japan", 0, 0, 1)]
    assert len((rescored.folder / CHANGES).read_text().splitlines()) == len(rescored.changes)
    there, here = by_key(old), by_key(rescored.folder)
    for key, rollout in there.items():
        assert structs.replace(here[key], outcome=rollout.outcome) == rollout
    record, was = read_record(rescored.folder), read_record(old)
    assert record.rescored is not None
    assert (record.rescored.code, record.rescored.id, record.code != was.code) == (was.code, was.id, True)
    assert record.identity == was.identity and record.seed == was.seed
    assert rescored.folder.parent == old.parent


def test_what_is_rescored_is_gone_on_with_as_a_run(tmp_path: Path):
    old = run(folder(tmp_path / "strict", CAPITALS), answers(tmp_path / "said.jsonl"), tmp_path / "old", repeats=1)
    mended = folder(tmp_path / "mended", CAPITALS, LENIENT)
    new = again(old, mended).folder
    run(mended, ModelConfig(dialect="replay", id=str(tmp_path / "said.jsonl")), new, repeats=2)
    assert read(new).rewards_TK.tolist() == [[1, 1], [1, 0], [1, 0], [0, 1]]
    with pytest.raises(DigestMismatch, match="code"):
        run(mended, ModelConfig(dialect="replay", id=str(tmp_path / "said.jsonl")), old)


@pytest.mark.heavy
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    ("benchmark", "model"),
    [("office", "gold"), ("mastermind", "gold"), ("interview", "gold"), ("arithmetic", "nano-instruct")],
)
def test_the_same_verifier_gives_the_same_run_to_the_byte(tmp_path: Path, benchmark: str, model: str, processes: int):
    """State-based environments have their state back: their tools are called again."""
    old = run(benchmark, model, tmp_path / "old", limit=20)
    assert sum(isinstance(rollout.outcome, Score) and rollout.outcome.reward > 0 for rollout in read_rollouts(old)) > 5
    rescored = again(old, benchmark, processes=processes)
    lines = [sorted((path / "rollouts.jsonl").read_bytes().splitlines()) for path in (old, rescored.folder)]
    assert lines[0] == lines[1]
    assert (rescored.changes, rescored.rollouts) == ([], 40)


def test_a_state_is_scored_by_todays_rule(tmp_path: Path):
    old = run(folder(tmp_path / "jar", JAR), "gold", tmp_path / "old")
    rescored = again(old, folder(tmp_path / "odd", JAR, ("% 2 == 0", "% 2 == 1")))
    assert kinds(rescored) == {"score": 12}
    here = by_key(rescored.folder)
    for key, rollout in by_key(old).items():
        assert isinstance(rollout.outcome, Score) and isinstance(here[key].outcome, Score)
        assert here[key].outcome.reward == 1 - rollout.outcome.reward
        assert here[key].outcome.answer == rollout.outcome.answer


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (('f"{self.sweets} are left"', 'f"{os.urandom(4)} are left"'), "the session says"),
        (('f"{self.sweets} are left"', 'f"There are {self.sweets}."'), "the session says 'There are "),
    ],
)
def test_a_tool_that_says_something_else_now_gives_no_score(tmp_path: Path, edit: tuple[str, str], words: str):
    old = run(folder(tmp_path / "jar", JAR), "gold", tmp_path / "old")
    rescored = again(old, folder(tmp_path / "other", JAR, edit))
    assert kinds(rescored) == {"broken": 12}
    for rollout in read_rollouts(rescored.folder):
        assert isinstance(rollout.outcome, Failure)
        assert rollout.outcome.kind == "replay_differs" and words in rollout.outcome.message
        assert len(rollout.turns) == 3, "what the model said is kept"
    assert again(old, tmp_path / "other").changes == rescored.changes, "it is not tried again"
    assert len(by_key(rescored.folder)) == sum(1 for _ in read_rollouts(rescored.folder))


def test_limits_of_the_run_hold_when_it_is_rescored(tmp_path: Path):
    jar = folder(tmp_path / "jar", JAR)
    old = run(jar, "gold", tmp_path / "old", limits=RolloutLimits(steps=2))
    assert {rollout.stop for rollout in read_rollouts(old)} == {"steps"}
    assert again(old, jar).changes == []


def test_how_far_a_tool_came_that_ran_out_of_time_is_not_known(tmp_path: Path):
    slow = ("self.sweets -= count", "await asyncio.sleep(count); self.sweets -= count")
    model = ModelConfig(dialect="gold")
    old = run(folder(tmp_path / "slow", JAR, slow), model, tmp_path / "old", limits=RolloutLimits(tool_s=0.05), limit=2)
    assert {rollout.stop for rollout in read_rollouts(old)} == {"tool_time"}
    rescored = again(old, folder(tmp_path / "jar", JAR))
    assert kinds(rescored) == {"broken": 4}
    assert all("tool_time" in change.after.message for change in rescored.changes)  # type: ignore[union-attr]


def test_a_rollout_of_another_agent_is_scored_where_there_is_no_state(tmp_path: Path):
    """An agent that begins anew for its last turn: the loop would never have asked so."""
    for name, text, model, changed in (
        ("capitals", CAPITALS, answers(tmp_path / "said.jsonl"), []),
        ("jar", JAR, ModelConfig(dialect="gold"), ["broken"] * 12),
    ):
        benchmark = folder(tmp_path / name, text)
        old = run(benchmark, model, tmp_path / f"{name}-old")
        rollouts = [
            structs.replace(r, turns=[*r.turns[:-1], r.turns[-1], structs.replace(r.turns[-1], follows=-1)])
            for r in read_rollouts(old)
        ]
        (old / "rollouts.jsonl").write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in rollouts))
        assert [change.kind for change in again(old, benchmark).changes] == changed


RAISING = ("said = response.text", "said = response.text\n        if len(said) > 6: raise ValueError(said)")


def test_failures_of_the_verifier_become_scores_and_the_reverse(tmp_path: Path):
    good, raising = folder(tmp_path / "good", CAPITALS), folder(tmp_path / "raising", CAPITALS, RAISING)
    model = answers(tmp_path / "said.jsonl")
    old = run(raising, model, tmp_path / "old")
    rescored = again(old, good)
    assert [(c.task, c.repeat, c.kind) for c in rescored.changes] == [("france", 1, "mended"), ("kenya", 0, "mended")]
    assert {rollout.stop for rollout in read_rollouts(rescored.folder)} == {"completed"}
    straight = run(good, model, tmp_path / "straight")
    assert read(rescored.folder).rewards_TK.tolist() == read(straight).rewards_TK.tolist()
    back = again(straight, raising)
    assert [(c.task, c.repeat, c.kind) for c in back.changes] == [("france", 1, "broken"), ("kenya", 0, "broken")]
    assert all(c.after.where == "verifier" for c in back.changes)  # type: ignore[union-attr]
    assert (back.before, read(back.folder).owed) == (3 / 8, 0)


def test_what_the_model_failed_at_stays_and_what_counted_still_counts(tmp_path: Path):
    """An attempt that the verifier failed at, and that a later one made good, is not the one that counts now."""
    raising, good = folder(tmp_path / "raising", CAPITALS, RAISING), folder(tmp_path / "good", CAPITALS)
    model = answers(tmp_path / "said.jsonl")
    old = run(raising, model, tmp_path / "old")
    rollouts = {r.key: r for r in read_rollouts(old)}
    timeout = Failure(where="model", kind="timeout", message="no answer", retryable=True)
    added = [
        structs.replace(rollouts["peru", 0], repeat=2, turns=[], stop="failed", outcome=timeout),
        structs.replace(rollouts["france", 1], attempt=1, stop="completed", outcome=Score(reward=0.0, answer="Rome")),
        structs.replace(rollouts["kenya", 0], attempt=1, turns=[], outcome=timeout),
    ]
    with (old / "rollouts.jsonl").open("ab") as file:
        file.write(b"".join(msgspec.json.encode(r) + b"\n" for r in added))
    rescored = again(old, good)
    found = {(r.task, r.repeat, r.attempt): r.outcome for r in read_rollouts(rescored.folder)}
    assert len(found) == 8 + 3
    assert found["peru", 2, 0] == timeout == found["kenya", 0, 1]
    assert isinstance(found["france", 1, 0], Failure), "made good since"
    assert isinstance(found["france", 1, 1], Score) and isinstance(found["kenya", 0, 0], Score)
    assert read(rescored.folder).tokens == read(old).tokens


def test_tasks_that_changed_are_told_by_name(tmp_path: Path):
    old = run(folder(tmp_path / "old-bench", CAPITALS), answers(tmp_path / "said.jsonl"), tmp_path / "old")
    today = folder(
        tmp_path / "today",
        CAPITALS,
        ('"japan": "Tokyo"', '"japan": "Kyoto"'),
        ('"kenya": "Nairobi", ', '"chad": "N\'Djamena", '),
        ("ASK.format(id)", 'ASK.format(id) + "!" * (id == "peru")'),
    )
    rescored = again(old, today)
    assert (rescored.relabelled, rescored.gone, rescored.new) == (["japan"], ["kenya"], 1)
    assert rescored.asked_otherwise == ["peru"]
    assert [(c.task, c.kind) for c in rescored.changes] == [
        ("japan", "score"),
        *[("kenya", "owed")] * 2,
        *[("peru", "owed")] * 2,
    ]
    assert [task.id for task in read_tasks(rescored.folder)] == ["france", "japan", "peru"]
    assert {rollout.task for rollout in read_rollouts(rescored.folder)} == {"france", "japan"}
    assert read(rescored.folder).owed == 2


def test_another_benchmark_or_folder_is_refused(tmp_path: Path):
    capitals = folder(tmp_path / "capitals", CAPITALS)
    model = answers(tmp_path / "said.jsonl")
    old, other = run(capitals, model, tmp_path / "old"), run(capitals, model, tmp_path / "other", seed=1)
    with pytest.raises(UsageError, match="a run of capitals, and the benchmark here is arithmetic"):
        again(old, "arithmetic")
    with pytest.raises(UsageError, match="asks what it asked"):
        again(old, folder(tmp_path / "asks", CAPITALS, ("What is", "Name")))
    with pytest.raises(UsageError, match="a run that a model made"):
        again(old, capitals, folder=old)
    new = again(old, capitals, folder=tmp_path / "new").folder
    with pytest.raises(DigestMismatch, match="other rollouts"):
        again(other, capitals, folder=new)
    run(capitals, model, old, repeats=3)
    with pytest.raises(DigestMismatch, match="it went on"):
        again(old, capitals, folder=new)


@pytest.fixture
def judge() -> Iterator[tuple[Endpoint, ModelConfig]]:
    with Endpoint(answering("yes")) as endpoint:
        yield endpoint, ModelConfig(dialect="chat", id="judge", base_url=endpoint.url, attempts=1)


def test_a_judge_is_not_asked_again_what_it_was_asked(tmp_path: Path, judge: tuple[Endpoint, ModelConfig]):
    endpoint, config = judge
    old = run(folder(tmp_path / "judged", JUDGED), "gold", tmp_path / "old", repeats=1, roles={"judge": config})
    assert len(endpoint.calls) == 4
    strict = folder(tmp_path / "strict", JUDGED, ('said.text == "yes"', 'said.text == "yes" and task.id != "1"'))
    for roles in ({}, {"judge": config}):
        rescored = again(old, strict, roles=roles)
        assert (kinds(rescored), rescored.after) == ({"score": 1}, 0.75)
    assert len(endpoint.calls) == 4
    for key, rollout in by_key(rescored.folder).items():
        assert rollout.roles == by_key(old)[key].roles
    other = structs.replace(config, id="another")
    rescored = again(old, strict, roles={"judge": other})
    assert len(endpoint.calls) == 8, "another judge is asked everything"
    assert read_record(rescored.folder).roles["judge"].identity["id"] == "another"


def test_what_a_judge_was_not_asked_is_owed_until_it_is_named(tmp_path: Path, judge: tuple[Endpoint, ModelConfig]):
    endpoint, config = judge
    old = run(folder(tmp_path / "judged", JUDGED), "gold", tmp_path / "old", repeats=1, roles={"judge": config})
    edit = ("Is it right?", "{'Is it right?' if task.id < '2' else 'Right?'}")
    same = folder(tmp_path / "same", JUDGED, edit)
    rescored = again(old, same)
    assert [(c.task, c.kind, "--with judge=NAME" in c.reason) for c in rescored.changes] == [
        ("2", "owed", True),
        ("3", "owed", True),
    ]
    assert (rescored.rollouts, len(by_key(rescored.folder)), len(endpoint.calls)) == (2, 2, 4)
    named = again(old, same, roles={"judge": config})
    assert (named.folder, named.changes, len(endpoint.calls)) == (rescored.folder, [], 6)


def test_processes_are_not_for_judges(tmp_path: Path, judge: tuple[Endpoint, ModelConfig]):
    judged = folder(tmp_path / "judged", JUDGED)
    old = run(judged, "gold", tmp_path / "old", repeats=1, roles={"judge": judge[1]})
    with pytest.raises(UsageError, match="--processes"):
        again(old, judged, roles={"judge": judge[1]}, processes=2)


def test_what_kills_its_process_is_owed_and_the_rest_is_rescored(tmp_path: Path):
    old = run(folder(tmp_path / "good", CAPITALS), answers(tmp_path / "said.jsonl"), tmp_path / "old")
    dies = 'said = response.text\n        if "?" in said: __import__("os")._exit(9)'
    dying = folder(tmp_path / "dying", CAPITALS, ("said = response.text", dies))
    made = again(old, dying, processes=2, concurrency=4)
    deadly = [change for change in made.changes if change.kind == "owed"]
    assert 0 < len(deadly) < made.rollouts + len(deadly)
    assert {change.reason for change in deadly} == {
        "the process that rescored it died 2 times: it ended with exit code 9"
    }
    assert made.changes == deadly
    assert again(old, tmp_path / "good", processes=2).changes == []


@pytest.mark.heavy
@pytest.mark.parametrize(
    "options", [[], pytest.param(["--processes", "2", "--concurrency", "8"], marks=pytest.mark.slow)]
)
def test_sigkill_in_the_middle_loses_nothing(tmp_path: Path, options: list[str]):
    slow = ("said = response.text", "import time; time.sleep(0.02); said = response.text")
    many = ("ROWS = {", 'ROWS = {f"x{i}": "Rome" for i in range(150)} | {')
    old = run(folder(tmp_path / "fast", CAPITALS, many), ModelConfig(dialect="gold"), tmp_path / "old", repeats=1)
    folder(tmp_path / "slow", CAPITALS, many, slow)
    command = ["rescore", "old", "--benchmark", "./slow", "--out", "new", *options]
    file, kills = tmp_path / "new/rollouts.jsonl", 0
    for _ in range(3):
        process, size = start(*command, cwd=tmp_path), written(file)
        deadline = time.monotonic() + 30
        while written(file) == size and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills == 3 and 0 < len(scored(tmp_path / "new")) < 154
    code, out, err = assay(*command, cwd=tmp_path)
    assert (code, "154 rescored" in out) == (0, True), out + err
    assert scored(tmp_path / "new") == scored(old)


def test_the_command_tells_what_changed(tmp_path: Path):
    markup = ("said = response.text", 'said = "[red]" + response.text')
    old = run(folder(tmp_path / "strict", CAPITALS), answers(tmp_path / "said.jsonl"), tmp_path / "old")
    code, _, err = assay("rescore", "old", cwd=tmp_path)
    assert (code, "--benchmark PATH" in err) == (2, True)
    folder(tmp_path / "strict", CAPITALS, LENIENT)
    code, out, err = assay("rescore", "old", "--benchmark", "./strict", cwd=tmp_path)
    assert (code, "score 37.5% → 62.5% (+25.0 points), 8 rescored" in out) == (0, True), out + err
    assert "2 scored otherwise" in out and "france" in err
    (new,) = tmp_path.glob("old-rescored-*")
    assert str(new.name) in out
    folder(tmp_path / "strict", CAPITALS, markup)
    code, out, err = assay("rescore", "old", "--benchmark", "./strict", cwd=tmp_path)
    assert code == 0 and "[red]Paris" in err
    folder(tmp_path / "strict", CAPITALS, RAISING)
    code, out, err = assay("rescore", "old", "--benchmark", "./strict", "--out", "raised", cwd=tmp_path)
    assert code == 4 and "2 had a score and failed now" in out and "ValueError" in err
    assert len(list(tmp_path.glob("old-rescored-*"))) == 2, "each verifier has its own"
    assert old.exists()


def test_a_profile_is_rescored_into_one_of_its_own(tmp_path: Path):
    bench = folder(tmp_path / "capitals", CAPITALS)
    answers(tmp_path / "said.jsonl")
    made = ["profile", "./capitals", "--models", "replay:said.jsonl,gold", "--repeats", "2", "--out", "profiles/p"]
    assert assay(*made, cwd=tmp_path)[0] == 0
    mark = Mark(
        model="m",
        task="peru",
        repeat=0,
        content="x",
        task_digest="y",
        reward=0.0,
        fault="model",
        by="me",
        at="2026-01-01T00:00:00+00:00",
    )
    append_line(tmp_path / "profiles/p/marks.jsonl", mark)
    before = content(tmp_path / "profiles/p")
    folder(bench, CAPITALS, LENIENT)
    code, out, err = assay("rescore", "profiles/p", cwd=tmp_path)
    assert code == 0, err
    assert "score 37.5% → 62.5%" in out
    assert content(tmp_path / "profiles/p") == before
    (new,) = (tmp_path / "profiles").glob("p-rescored-*")
    made_again = msgspec.json.decode((new / "profile.json").read_bytes(), type=Profile)
    assert [summary.score for summary in made_again.models.values()] == [5 / 8, 1.0]
    assert (new / "report.html").exists() and (new / "marks.jsonl").exists()
    assert {line.path for line in read_registry(tmp_path / "profiles/started.jsonl") if hasattr(line, "path")} >= {
        f"{new.name}/runs/gold"
    }
    assert asyncio.run(compute(new, benchmark=load(str(bench)))).models == made_again.models
    command = [*made[:-1], f"profiles/{new.name}"]
    code, _, err = assay(*command, cwd=tmp_path)
    assert code == 0, "the profile goes on there\n" + err
    asked = RescorePlan(run=tmp_path / "profiles/p", benchmark=load("arithmetic"))
    with pytest.raises(UsageError):
        asyncio.run(rescore_profile(asked, interruption=Interruption()))

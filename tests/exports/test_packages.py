"""Benchmarks as tasks of Inspect and of lm-evaluation-harness, run by the real packages on recorded outputs."""

import asyncio
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assay.benchmark import Benchmark, Environment, score_of
from assay.benchmark.catalog import load
from assay.errors import UsageError
from assay.exports import write
from assay.exports.package import Package, check_exportable
from assay.score import Mean, PassAt
from assay.types import InputImage, Message, Response, Task, Text, Tool
from tests.benchmarks.data import beside, prepare, rows, zeroeval_file
from tests.commands import assay
from tests.endpoint import Call, Endpoint, chat_body, http

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own warnings are no errors of ours
RECORDED = {
    "gsm8k-zeroeval": "zeroeval/gsm/gemma-2-2b-it",
    "math-l5": "zeroeval/math-l5/Meta-Llama-3.1-8B-Instruct",
    "cruxeval": "zeroeval/crux/Qwen2.5-72B-Instruct",
    "ifeval": "ifeval/Qwen__Qwen2.5-0.5B-Instruct-GPTQ-Int4",
    "mcq": "mmlu-pro/Meta-Llama-3_1-8B-Instruct",
}
"""A weak model's outputs for each benchmark: many are wrong, and of odd forms."""
MOST = {"mcq": 1000}
Rewards = dict[str, float]


@dataclass
class Case:
    """A benchmark with recorded outputs by task, and a folder for what is exported."""

    benchmark: Benchmark
    outputs: dict[str, str]
    folder: Path

    def rewards(self, ids: list[str]) -> Rewards:
        """Assay's own."""
        tasks = {task.id: task for task in self.benchmark.environment.tasks()}

        async def score(id: str) -> float:
            said = Response(output=[Message(role="assistant", content=[Text(text=self.outputs[id])])])
            return (await score_of(self.benchmark.environment, tasks[id], said)).reward

        async def every() -> Rewards:
            return {id: await score(id) for id in ids}

        return asyncio.run(every())

    def by_prompt(self) -> dict[str, str]:
        return {
            task.input[-1].text: self.outputs[task.id]
            for task in self.benchmark.environment.tasks()
            if task.id in self.outputs
        }


def data_of(name: str, folder: Path) -> Path:
    if name == "gsm8k-zeroeval":
        return beside("gsm8k", "test.jsonl")
    if name == "math-l5":
        return zeroeval_file("math-l5", "problem", {}, folder / "gpt-4o-2024-08-06.json")
    if name == "cruxeval":
        more = {"source": "cruxeval-org/cruxeval", "config": "test", "task_type": "qa"}
        return zeroeval_file("crux", "question", more, folder / "gpt-4o-2024-08-06.json")
    tasks = rows(beside("recorded", "mmlu-pro" if name == "mcq" else name, "tasks.jsonl.gz"))
    for task in tasks:
        if task.get("key") == 2785:  # it has changed since in the original's file
            task["prompt"] = task["prompt"].replace("at least one placeholder ", "at least 3 placeholders ")
            task["kwargs"][1]["num_placeholders"] = 3
    file = folder / ("input_data.jsonl" if name == "ifeval" else "mmlu.jsonl")
    file.write_text("".join(json.dumps(task) + "\n" for task in tasks[: MOST.get(name)]))
    return file


SETS = [name if name == "math-l5" else pytest.param(name, marks=pytest.mark.slow) for name in RECORDED]


@pytest.fixture(scope="module", params=SETS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    name, folder = request.param, tmp_path_factory.mktemp("data")
    recorded = rows(beside("recorded", *f"{RECORDED[name]}.jsonl.gz".split("/")))
    outputs = {str(row["task"]): row["output"] or "" for row in recorded}
    file = data_of(name, folder)
    if name == "mcq":
        yield Case(load(f"mcq:{file},problem=question"), outputs, folder)
    else:
        for benchmark in prepare(load(name), file, folder):
            yield Case(benchmark, outputs, folder)


def by_inspect(case: Case, folder: Path, ids: list[str]) -> tuple[Rewards, float]:
    """The rewards and the score that inspect_ai gives the outputs."""
    import inspect_ai  # noqa: PLC0415
    from inspect_ai.model import get_model  # noqa: PLC0415

    outputs = case.by_prompt()

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        body = json.loads(chat_body(outputs[call.json["messages"][-1]["content"]]))
        writer.write(http(json.dumps(body | {"created": 0}).encode()))

    [file] = folder.glob("*/task.py")
    name = file.parent.name.removesuffix("_inspect")
    with Endpoint(behave) as endpoint:
        [log] = inspect_ai.eval(
            f"{file}@{name}",
            model=get_model("openai-api/local/m", base_url=endpoint.url, api_key="none"),
            sample_id=ids,
            epochs=1,
            display="none",
            log_dir=str(case.folder / "logs"),
        )
    assert log.status == "success", log.error
    values = {str(sample.id): sample.scores["reward"].value for sample in log.samples}
    return values, log.results.scores[0].metrics["mean_reward"].value


def by_lm_eval(case: Case, folder: Path, ids: list[str]) -> tuple[Rewards, float]:
    """The rewards and the score that lm-evaluation-harness gives the outputs."""
    from lm_eval.api.model import LM  # noqa: PLC0415
    from lm_eval.evaluator import simple_evaluate  # noqa: PLC0415
    from lm_eval.tasks import TaskManager  # noqa: PLC0415

    outputs = case.by_prompt()

    class Recorded(LM):
        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            return [outputs[request.arguments[0]] for request in requests]

        loglikelihood = loglikelihood_rolling = generate_until  # type: ignore

    places = {task.id: place for place, task in enumerate(case.benchmark.environment.tasks())}
    name = case.benchmark.name
    found: Any = simple_evaluate(
        model=Recorded(),
        tasks=[name],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        samples={name: [places[id] for id in ids]},
        bootstrap_iters=0,
    )
    values = {sample["doc"]["id"]: sample["reward"][1] for sample in found["samples"][name]}
    return values, found["results"][name]["reward,none"]


LIBRARIES = {"inspect": "inspect_ai", "lm-eval": "lm_eval"}
FORMATS: dict[str, Callable[[Case, Path, list[str]], tuple[Rewards, float]]] = {
    "inspect": by_inspect,
    "lm-eval": by_lm_eval,
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("most", [30, pytest.param(None, marks=pytest.mark.slow)])
def test_another_program_gives_the_same_rewards(
    case: Case, format: str, most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip(LIBRARIES[format], reason="the library is not installed")
    seen = case.by_prompt()
    tasks = [task for task in case.benchmark.environment.tasks() if task.input[-1].text in seen]
    ids = [task.id for task in tasks if case.outputs.get(task.id) == seen[task.input[-1].text]][:most]
    expected = case.rewards(ids)
    assert 0 < sum(expected.values()) < len(expected)
    write(case.benchmark.source, format, tmp_path / "out")
    run = FORMATS[format]
    monkeypatch.setattr(case, "by_prompt", lambda: seen)
    values, score = run(case, tmp_path / "out", ids)
    assert values == expected
    assert score == pytest.approx(sum(expected.values()) / len(expected))


def test_a_folder_of_ones_own_goes_with_the_package_and_its_verifier_may_not_change(tmp_path: Path):
    assert assay("new", "benchmark", "my-quiz", "--kind", "qa", cwd=tmp_path)[0] == 0
    code, out, err = assay("export", "./my-quiz", "--format", "lm-eval", "--out", "out", cwd=tmp_path)
    assert (code, "lm_eval run --include_path out --tasks my-quiz" in out) == (0, True), err
    shutil.rmtree(tmp_path / "my-quiz")
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    package = Package(tmp_path / "elsewhere")
    scores = {id: package.score_now(id, task.gold or "").reward for id, task in package.tasks.items()}
    assert set(scores.values()) == {1.0}
    some = next(iter(scores))
    assert package.score_now(some, "no idea").reward == 0
    assert package.mean({some: 0.0, **dict.fromkeys([*scores][1:3], 1.0)}) == pytest.approx(2 / 3)
    file = tmp_path / "elsewhere/benchmark/benchmark.py"
    file.write_text(file.read_text() + "\n# changed\n")
    with pytest.raises(UsageError, match=r"not the one that was exported: benchmark\.py has changed"):
        Package(tmp_path / "elsewhere")


class Grouped(Environment):
    name, version = "grouped", "1"

    def tasks(self) -> list[Task]:
        return [
            Task(id=str(number), input=[Message(role="user", content="?")], tags={"part": "ab"[number > 0]})
            for number in range(4)
        ]


def test_the_declared_score_is_kept():
    package = object.__new__(Package)
    package.benchmark = Benchmark(environment=Grouped(), repeats=1, score=Mean(by=("part",)))
    package.tasks = {task.id: task for task in Grouped().tasks()}
    assert package.mean({"0": 1.0, "1": 0.0, "2": 0.0, "3": 0.0}) == 0.5
    assert math.isnan(package.mean({}))


ASKED = Message(role="user", content="?")


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (Task(id="t", input=[ASKED], tools=[Tool(name="look", parameters={})]), r"task t offers tools \(look\)"),
        (Task(id="t", input=[Message(role="user", content=[InputImage(image_url="u")])]), "more than messages of text"),
    ],
)
def test_a_task_that_is_more_than_text_is_refused(task: Task, words: str):
    with pytest.raises(UsageError, match=words):
        check_exportable(Benchmark(environment=Grouped(), repeats=1), [task])


def test_a_score_of_several_attempts_is_refused():
    with pytest.raises(UsageError, match="its score is pass@4; expected a mean"):
        check_exportable(Benchmark(environment=Grouped(), repeats=4, score=PassAt(k=4)), [])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("office", "its sessions hold state, tools or several turns"),
        ("mastermind", "its sessions hold state, tools or several turns"),
        ("interview", "its sessions hold state, tools or several turns"),
        ("humaneval", "it runs code in a sandbox"),
    ],
)
def test_what_cannot_be_carried_over_is_refused_by_name(name: str, words: str):
    with pytest.raises(UsageError, match=rf"^{name} can't be carried over: {words}"):
        check_exportable(load(name), [])


def test_messages_before_the_question_go_to_inspect_and_are_refused_for_lm_eval(tmp_path: Path):
    (tmp_path / "shown.jsonl").write_text('{"problem": "1 + 1?", "answer": "2"}\n')
    (tmp_path / "sums.jsonl").write_text('{"problem": "2 + 2?", "answer": "4"}\n')
    (tmp_path / "sums.toml").write_text('examples = "shown.jsonl"\nsystem = "Add."\n')
    write(f"qa:{tmp_path}/sums.jsonl", "inspect", tmp_path / "inspect")
    [folder] = (tmp_path / "inspect").glob("*/assay.json")
    (tmp_path / "shown.jsonl").unlink()
    package = Package(folder.parent)
    [(id, task)] = package.tasks.items()
    assert [item.role for item in task.input] == ["system", "user", "assistant", "user"]  # type: ignore
    assert package.score_now(id, "4").reward == 1
    (tmp_path / "shown.jsonl").write_text('{"problem": "1 + 1?", "answer": "2"}\n')
    with pytest.raises(UsageError, match="messages system, user, assistant, user; expected one of the user"):
        write(f"qa:{tmp_path}/sums.jsonl", "lm-eval", tmp_path / "lm-eval")

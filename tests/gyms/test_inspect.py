import asyncio
import gc
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.benchmark import Session
from assay.benchmark.catalog import load
from assay.errors import UsageError
from assay.gyms.inspect import VALUES
from assay.types import Failure, Message, Response, Score, Turn
from tests.endpoint import Endpoint
from tests.gyms.both import Reply, replying, run_here

inspect_ai = pytest.importorskip("inspect_ai", reason="needs the extra `inspect`")
pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own warnings are no errors of ours

TASKS = '''
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample, example_dataset
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import (
    Score, accuracy, answer, choice, exact, f1, includes, match, mean, model_graded_qa, pattern, scorer
)
from inspect_ai.solver import (
    assistant_message, basic_agent, chain, chain_of_thought, generate, multiple_choice, prompt_template, self_critique,
    solver, system_message, use_tools, user_message
)
from inspect_ai.tool import ToolError, tool
from inspect_ai.util import store

WORDS = "iron gold tin lead zinc silver copper nickel cobalt chrome mercury platinum titanium".split()
SAMPLES = [
    Sample(input=f"How many letters has '{word}'?", target=str(len(word)), metadata={"word": word, "mood": "brief"})
    for word in WORDS
]
CHOICES = [Sample(input=f"How many letters has '{word}'?", choices=["3", "4", "5", "6"], target="ABCD"[len(word) % 4])
           for word in WORDS]


@scorer(metrics=[accuracy()])
def conversation():
    """Reads all of the state: the messages, the tools' answers, the metadata, the store."""
    async def score(state, target):
        told = [message.text for message in state.messages if message.role == "tool"]
        value = len(state.messages) + 100 * len(told) + 1000 * store().get("calls", 0) + (target.text in told)
        return Score(value=value / (1 + len(state.metadata["word"])), answer=" ".join(told))
    return score


@scorer(metrics={"short": [mean()], "long": [mean()]})
def several():
    async def score(state, target):
        return Score(value={"short": 1, "long": 0})
    return score


@scorer(metrics=[accuracy()])
def broken():
    async def score(state, target):
        raise OSError("disk")
    return score


@scorer(metrics=[accuracy()])
def odd():
    async def score(state, target):
        return Score(value="maybe")
    return score


@tool
def length():
    async def execute(word: str) -> int:
        """The number of letters.

        Args:
            word: The word.
        """
        store().set("calls", store().get("calls", 0) + 1)
        if not word.isalpha():
            raise ToolError("not a word")
        return len(word)
    return execute


@solver
def twice():
    async def solve(state, generate):
        return await generate(await generate(state))
    return solve


@task
def prompts():
    return Task(
        dataset=SAMPLES, setup=user_message("Hello."), epochs=2,
        solver=[system_message("Be {mood}."), assistant_message("Yes?"), prompt_template("Q: {prompt} ({word})"),
                chain(chain_of_thought(), generate(temperature=0.5))],
        scorer=[match(numeric=True), includes(), pattern(r"ANSWER: (\\d)"), answer("word"), f1(), exact(),
                conversation()],
        config=GenerateConfig(max_tokens=64, stop_seqs=["END"], max_connections=2),
    )

@task
def choices():
    return Task(dataset=CHOICES, solver=multiple_choice(), scorer=choice())

@task
def choices_cot():
    data = MemoryDataset(CHOICES)
    data.shuffle_choices(seed=7)
    return Task(dataset=data, solver=multiple_choice(cot=True, multiple_correct=True), scorer=choice())

@task
def tools():
    return Task(dataset=SAMPLES, solver=[use_tools(length()), generate()], scorer=[conversation(), includes()])

@task
def examples():
    return Task(dataset=example_dataset("theory_of_mind"), solver=[system_message("Be brief."), generate()],
                scorer=[includes(), f1()])

@task
def shots():
    shot = [ChatMessageUser(content="2+2?"), ChatMessageAssistant(content="4"), ChatMessageUser(content="3+3?")]
    return Task(dataset=[Sample(id="a/b", input=shot, target=["six", "6"])], scorer=includes())

def made(**settings):
    return Task(**({"dataset": SAMPLES, "scorer": match()} | settings))

@task
def several_values(): return made(scorer=several())
@task
def broken_scorer(): return made(scorer=broken())
@task
def odd_value(): return made(scorer=odd())
@task
def no_scorer(): return made(scorer=None)
@task
def judged(): return made(scorer=model_graded_qa())
@task
def agent(): return made(solver=basic_agent(tools=[length()]))
@task
def critique(): return made(solver=[generate(), self_critique()])
@task
def own_solver(): return made(solver=twice())
@task
def two(): return made(solver=[generate(), generate()])
@task
def single(): return made(solver=generate("single"))
@task
def limited(): return made(message_limit=9)
@task
def boxed(): return made(sandbox="local")
@task
def biased(): return made(config=GenerateConfig(logit_bias={1: 2}))
@task
def best(): return made(epochs=__import__("inspect_ai").Epochs(3, "max"))
@task
def forced():
    return made(solver=[use_tools(length(), tool_choice="any"), generate()])
@task
def fails(): raise RuntimeError("no such file")
'''

REPLIES: list[Reply] = [
    {"text": "ANSWER: 4"},
    {"text": "It has 6 letters.\nANSWER: 6"},
    {"text": "ANSWER: B"},
    {"text": "So ANSWER: A, C"},
    {"text": "ANSWER: C"},
    {"text": "The bathtub, the pantry, the box or the crate: 5"},
    {"text": "ANSWER: 8 or", "finish": "length"},
    {"text": ""},
]

LETTERS: list[Reply] = [{"text": f"ANSWER: {letters}"} for letters in ("A", "B", "C", "D", "A, B", "E", "neither")]

TOOL_REPLIES: list[Reply] = [
    {"calls": [("length", '{"word": "iron"}')]},
    {"calls": [("length", '{"word": "silver"}'), ("length", '{"word": "tin"}')]},
    {"calls": [("length", '{"word": "42"}')]},
    {"calls": [("length", '{"wort": "tin"}')]},
    {"calls": [("width", "{}")]},
    {"text": "I say 6."},
    {"text": "Let me see.", "calls": [("length", '{"word": "platinum"}')]},
]


@pytest.fixture(autouse=True)
def swept() -> Iterator[None]:
    """What the library leaves open is found while its warnings are ignored, not in some later test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tasks") / "tasks.py"
    path.write_text(TASKS)
    return str(path)


def original(name: str, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, ids: list[str]) -> dict[str, Any]:
    """These samples as the library itself scores the same answers, end to end."""
    monkeypatch.chdir(folder)
    model = inspect_ai.model.get_model("openai-api/assay/m", base_url=url, api_key="none", memoize=False)
    settings = {"log_dir": str(folder / "log"), "display": "none", "epochs": 1, "log_realtime": False}
    [log] = inspect_ai.eval(name, model=model, max_retries=0, sample_id=ids, **settings)
    assert log.status == "success", log.error
    return {str(sample.id): sample for sample in log.samples}


def as_number(value: Any) -> float:
    return VALUES[value] if isinstance(value, str) else float(value)


@pytest.mark.parametrize(
    ("task", "replies"),
    [
        ("prompts", REPLIES),
        ("choices", LETTERS),
        ("choices_cot", LETTERS),
        ("tools", TOOL_REPLIES),
        ("examples", REPLIES),
    ],
)
def test_every_sample_is_asked_and_scored_as_the_library_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, task: str, replies: list[Reply]
):
    compare(f"{file}@{task}", replies, tmp_path, monkeypatch)


def test_a_task_from_pypi_is_asked_and_scored_as_the_library_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("india_evals", reason="needs the package inspect-india-evals")
    spec = importlib.util.find_spec("india_evals.bias.task")
    assert spec and spec.origin
    replies: list[Reply] = [{"text": letter} for letter in "ABC"]
    compare(f"{spec.origin}@bharatbbq", replies, tmp_path, monkeypatch, limit=100)


def compare(name: str, replies: list[Reply], folder: Path, monkeypatch: pytest.MonkeyPatch, limit: int = 999) -> None:
    with Endpoint(replying(replies)) as endpoint:
        ours = run_here(load(f"inspect:{name}"), endpoint.url, folder / "run", limit=limit)
        asked = {_said(call.json) for call in endpoint.calls}
        endpoint.calls.clear()
        theirs = original(name, endpoint.url, folder, monkeypatch, [*ours])
        assert asked <= {_said(call.json) for call in endpoint.calls}
    assert ours.keys() <= theirs.keys()
    values: set[float] = set()
    for id, rollout in ours.items():
        score, expected = rollout.outcome, theirs[id].scores
        assert isinstance(score, Score), score
        assert score.metrics == {scorer: as_number(value.value) for scorer, value in expected.items()}
        first = next(iter(expected.values()))
        assert (score.reward, score.answer) == (as_number(first.value), first.answer)
        values |= set(score.metrics.values())
    assert len(values) > 1


def _said(body: dict[str, Any]) -> str:
    """What a request asks, without the ways in which two clients write the same."""
    tools = [(tool["function"]["name"], tool["function"]["parameters"]) for tool in body.get("tools") or ()]
    return repr(([(message["role"], message["content"] or "") for message in body["messages"]], tools))


def test_settings_and_epochs_are_the_benchmarks(file: str):
    benchmark = load(f"inspect:{file}@prompts")
    assert benchmark.repeats == 2
    sampling = benchmark.sampling
    assert (sampling.temperature, sampling.max_output_tokens, sampling.stop) == (0.5, 64, ("END",))


@pytest.mark.parametrize("task", ["prompts", "choices", "choices_cot", "tools", "shots"])
def test_a_gold_answer_scores_full_marks_or_there_is_none(file: str, task: str):
    benchmark = load(f"inspect:{file}@{task}")
    for asked in benchmark.environment.tasks():
        if asked.gold is not None:
            said = Response(output=[Message(role="assistant", content=asked.gold)])

            async def score(asked: Any = asked, said: Response = said) -> Score:
                async with benchmark.environment.open(asked, 0) as session:
                    return await session.score([Turn(input=asked.input, response=said)])

            assert asyncio.run(score()).reward == 1.0


def test_shots_and_ids_are_kept(file: str):
    [only] = load(f"inspect:{file}@shots").environment.tasks()
    assert only.id == "a/b" and only.gold == "six"
    said = [(item.role, item.text) for item in only.input if isinstance(item, Message)]
    assert said == [("user", "2+2?"), ("assistant", "4"), ("user", "3+3?")]


def test_sessions_that_run_at_once_keep_their_own_store(file: str):
    benchmark = load(f"inspect:{file}@tools")
    [first, *_] = benchmark.environment.tasks()
    turns = [Turn(input=first.input, response=Response(output=[Message(role="assistant", content="5")]))]

    async def calls(session: Session, count: int) -> float:
        for _ in range(count):
            await session.call("length", {"word": "tin"})
            await asyncio.sleep(0)
        return (await session.score(turns)).reward

    async def both() -> list[float]:
        environment = benchmark.environment
        async with environment.open(first, 0) as one, environment.open(first, 0) as two:
            return await asyncio.gather(calls(one, 1), calls(two, 3))

    alone, other = asyncio.run(both())
    assert other - alone == pytest.approx(2000 / 5)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("several_values", "gave the values short, long; expected one"),
        ("broken_scorer", "OSError: disk"),
        ("odd_value", "gave the value 'maybe'"),
    ],
)
def test_what_is_no_score_is_a_failure(tmp_path: Path, file: str, task: str, words: str):
    with Endpoint(replying([{"text": "4"}])) as endpoint:
        for rollout in run_here(load(f"inspect:{file}@{task}"), endpoint.url, tmp_path, limit=2).values():
            assert isinstance(rollout.outcome, Failure) and rollout.outcome.where == "verifier"
            assert words in rollout.outcome.message


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("no_scorer", "it has no scorer"),
        ("judged", "its scorer model_graded_qa asks a judge"),
        ("agent", "its solver basic_agent|its solver inspect_ai/"),
        ("critique", "its solver inspect_ai/self_critique has a loop of its own"),
        ("own_solver", "its solver twice has a loop of its own"),
        ("two", "generate 2 times"),
        ("single", "doesn't loop over tool calls"),
        ("limited", "it sets message_limit=9"),
        ("boxed", "it sets sandbox="),
        ("biased", "it generates with logit_bias"),
        ("best", "it reduces epochs by max"),
        ("forced", "it sets the tool choice 'any'"),
        ("fails", "RuntimeError: no such file"),
    ],
)
def test_what_would_go_otherwise_is_refused_by_name(file: str, task: str, words: str):
    with pytest.raises(UsageError, match=words):
        list(load(f"inspect:{file}@{task}").environment.tasks())


@pytest.mark.parametrize("name", ["no_such_package/task", "/nowhere/tasks.py@task"])
def test_a_task_that_is_not_there_is_told(name: str):
    with pytest.raises(UsageError, match=r"inspect can't load|names 0 Inspect tasks"):
        load(f"inspect:{name}")

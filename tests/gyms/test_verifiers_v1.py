"""Environments of verifiers 0.4, each scored by the library's own evaluation too, against the same endpoint."""

import asyncio
import importlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.benchmark.catalog import load
from assay.collect.run import RunPlan, collect_run
from assay.config import ModelConfig
from assay.errors import UsageError
from assay.model.builtin.scripted import Scripted
from assay.store import read_rollouts
from assay.types import Failure, Rollout, Score
from tests.agent.programs import played, program
from tests.endpoint import Behave, Call, Endpoint, answering, http
from tests.gyms.both import Reply, replying, run_here
from tests.gyms.vf_eval import original, streaming

if hasattr(pytest.importorskip("verifiers", reason="needs the extra `verifiers`"), "SingleTurnEnv"):
    pytest.skip("needs verifiers from 0.4 on", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own warnings are no errors of ours

HEAD = """
import verifiers.v1 as vf

WORDS = "iron gold tin lead zinc silver copper nickel".split()

class WordData(vf.TaskData):
    answer: str = ""

class Tally(vf.State):
    calls: int = 0

def rows(config, cls, **more):
    return [
        cls(WordData(prompt=f"How many letters has '{word}'?", answer=str(len(word)), **more), config.task)
        for word in WORDS
    ]
"""

ONE_TURN = """
class Task(vf.Task[WordData]):
    @vf.reward
    async def right(self, trace) -> float:
        return float(f"<answer>{self.data.answer}</answer>" in trace.last_reply)

    @vf.reward(weight=0.25)
    async def brief(self, trace) -> float:
        return 1.0 - len(trace.last_reply) / 100

    @vf.metric
    async def tokens(self, trace) -> float:
        return trace.usage.completion_tokens + trace.num_turns / 10

class Words(vf.Taskset[Task, vf.TasksetConfig]):
    def load(self):
        return rows(self.config, Task, system_prompt="Be exact.", id="x")

__all__ = ["Words"]
"""

TOOLS = """
class Letters(vf.Toolset[vf.ToolsetConfig, Tally]):
    TOOL_PREFIX = "letters"

    async def setup_task(self, task):
        self.word = task.prompt.split("'")[1]

    @vf.tool
    def count(self, word: str, twice: bool = False) -> str:
        '''The number of letters of a word.'''
        self.state.calls += 1
        if not word.isalpha():
            raise ValueError("no word")
        return f"{len(word)} (asked: {self.word})"

class Config(vf.TaskConfig):
    tools: vf.ToolsetConfig = vf.ToolsetConfig()

class Task(vf.Task[WordData, Tally, Config]):
    @classmethod
    def toolsets(cls, config):
        return [Letters(config.tools)]

    async def setup(self, trace, runtime):
        await runtime.write("note", self.data.answer.encode())

    async def finalize(self, trace, runtime):
        trace.info["note"] = (await runtime.read("note")).decode()

    @vf.stop
    async def enough(self, trace: vf.Trace) -> bool:
        return trace.state.calls >= 2

    @vf.reward
    async def right(self, trace, runtime) -> float:
        return float(trace.info["note"] in trace.last_reply) + trace.state.calls / 100

    @vf.metric
    async def shape(self, trace) -> float:
        return len(trace.nodes) + trace.num_branches / 10 + len(trace.tool_messages) / 100

class SharedConfig(vf.TasksetConfig):
    task: Config = Config()

class Words(vf.Taskset[Task, SharedConfig]):
    def load(self):
        return rows(self.config, Task)[:3]

__all__ = ["Words"]

if __name__ == "__main__":
    Letters.run()
"""

JUDGED = """
class Judge(vf.Judge[bool]):
    prompt = "Question: {question} Response: {response} Right?"

    def parse(self, response):
        return "yes" in response.text

class Config(vf.TaskConfig):
    critic: vf.JudgeConfig = vf.JudgeConfig(model="somebody/elses")

class Task(vf.Task[WordData, vf.State, Config]):
    @vf.reward
    async def right(self, trace) -> float:
        judge = Judge(self.config.critic)
        said = await judge.evaluate(trace=trace, question=self.data.prompt_text, response=trace.last_reply)
        return float(said.parsed)

class WordsConfig(vf.TasksetConfig):
    task: Config = Config()

class Words(vf.Taskset[Task, WordsConfig]):
    def load(self):
        return rows(self.config, Task)[:4]

__all__ = ["Words"]
"""

PLAIN = """
class Task(vf.Task[WordData]):
    @vf.reward
    async def right(self, trace) -> float:
        return 1.0

class Words(vf.Taskset[Task, vf.TasksetConfig]):
    def load(self):
        return rows(self.config, Task)[:2]

__all__ = ["Words"]
"""

NULL = {"agent": {"harness": {"id": "null"}, "runtime": {"type": "subprocess"}}}
ONE_TURN_REPLIES: list[Reply] = [
    {"text": "<answer>4</answer>"},
    {"text": "It has <answer>6</answer> letters."},
    {"text": "four", "reasoning": "Let me count."},
    {"text": ""},
    {"text": "<answer>6</ans", "finish": "length"},
]
TOOL_REPLIES: list[Reply] = [
    {"calls": [("letters_count", '{"word": "iron"}')]},
    {"text": "Let me see.", "calls": [("letters_count", '{"word": "silver"}'), ("letters_count", '{"word": "tin"}')]},
    {"calls": [("letters_count", '{"word": "42"}')]},
    {"calls": [("letters_width", "{}")]},
    {"text": "I say 4."},
]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes an environment's package, as it would be installed: the servers of its tools import it too."""

    def make(source: str, name: str = "assay_words_v1") -> str:
        (tmp_path / f"{name}.py").write_text(HEAD + source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return name

    return make


@pytest.mark.parametrize(
    ("source", "replies"),
    [pytest.param(ONE_TURN, ONE_TURN_REPLIES, id="one turn"), pytest.param(TOOLS, TOOL_REPLIES, id="tools")],
)
def test_every_rollout_has_the_score_that_the_library_gives(
    tmp_path: Path, package: Any, source: str, replies: list[Reply]
):
    name = package(source)
    with Endpoint(streaming(replies)) as endpoint:
        ours = run_here(load(f"verifiers:{name}"), endpoint.url, tmp_path / "run")
        theirs = original(name, endpoint.url, tmp_path, **NULL)
    assert ours.keys() == theirs.keys()
    assert len({trace.reward for trace in theirs.values()}) > 1
    for task, rollout in ours.items():
        score, trace = rollout.outcome, theirs[task]
        assert trace.ok and isinstance(score, Score), (trace.errors, score)
        assert score.reward == pytest.approx(trace.reward), task
        expected = trace.metrics | {key: reward.score for key, reward in trace.rewards.items()}
        assert score.metrics == pytest.approx(expected), task


def first_of(name: str, folder: Path, behave: Behave | None = None, **server: Any) -> Rollout:
    """The rollout of the first task."""
    with Endpoint(behave or answering("4")) as endpoint:
        return next(iter(run_here(load(f"verifiers:{name}"), endpoint.url, folder / "run", limit=1).values()))


def test_a_judge_is_a_role_whose_turns_are_kept_and_the_reward_is_the_librarys(tmp_path: Path, package: Any):
    name = package(JUDGED)
    benchmark = load(f"verifiers:{name}")
    assert benchmark.roles == {"critic": None}
    says_yes = [{"text": "yes"}, {"text": "no"}]
    with Endpoint(replying(says_yes)) as judge, Endpoint(streaming(ONE_TURN_REPLIES)) as endpoint:
        config = ModelConfig(dialect="chat", id="judge", base_url=judge.url, attempts=1)
        plan: dict[str, Any] = {"repeats": 1, "concurrency": 4, "early_stop": False, "roles": {"critic": config}}
        server = ModelConfig(dialect="chat", id="m", base_url=endpoint.url, attempts=1)
        asyncio.run(
            collect_run(RunPlan.of(benchmark=benchmark, name="m", server=server, folder=tmp_path / "run", **plan))
        )
        at = {"task": {"critic": {"base_url": judge.url, "api_key_var": "NO_KEY"}}}
        theirs = original(name, endpoint.url, tmp_path, taskset=at, **NULL)
    ours = {rollout.task: rollout for rollout in read_rollouts(tmp_path / "run")}
    assert ours.keys() == theirs.keys() and {trace.reward for trace in theirs.values()} == {0.0, 1.0}
    for task, rollout in ours.items():
        assert isinstance(rollout.outcome, Score) and rollout.outcome.reward == theirs[task].reward
        (turn,) = rollout.roles["critic"]
        assert "Right?" in turn.input[0].text  # pyright: ignore


def test_a_judge_that_fails_is_a_failure_that_is_tried_again(tmp_path: Path, package: Any):
    async def down(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b'{"error": {"message": "broken"}}', 500))

    benchmark = load(f"verifiers:{package(JUDGED)}")
    with Endpoint(down) as judge, Endpoint(answering("4")) as endpoint:
        config = ModelConfig(dialect="chat", id="judge", base_url=judge.url, attempts=1)
        server = ModelConfig(dialect="chat", id="m", base_url=endpoint.url, attempts=1)
        plan: dict[str, Any] = {"repeats": 1, "limit": 1, "concurrency": 1, "early_stop": False}
        request = RunPlan.of(
            benchmark=benchmark, name="m", server=server, folder=tmp_path, roles={"critic": config}, **plan
        )
        asyncio.run(collect_run(request))
    (rollout,) = read_rollouts(tmp_path)
    assert isinstance(rollout.outcome, Failure)
    assert rollout.outcome.retryable and "the model in the role critic" in rollout.outcome.message


SHARED = """
class Lookup(vf.Toolset[vf.SharedToolsetConfig, Tally]):
    TOOL_PREFIX = None

    async def setup(self):
        self.used = 0

    @vf.tool
    async def look(self) -> str:
        self.used += 1
        self.state.calls += 1
        return f"use {self.used}"

class Task(vf.Task[WordData, Tally]):
    @vf.reward
    async def calls(self, trace) -> float:
        return trace.state.calls

class Config(vf.TasksetConfig):
    lookup: vf.SharedToolsetConfig = vf.SharedToolsetConfig()

class Words(vf.Taskset[Task, Config]):
    @classmethod
    def toolsets(cls, config):
        return [Lookup(config.lookup)]

    def load(self):
        return rows(self.config, Task)[:3]

__all__ = ["Words"]

if __name__ == "__main__":
    Lookup.run()
"""


def test_tools_that_tasks_share_have_one_server_and_a_state_for_each_rollout(tmp_path: Path, package: Any):
    benchmark = load(f"verifiers:{package(SHARED)}")
    assert [tool.name for tool in next(iter(benchmark.environment.tasks())).tools] == ["look"]
    with Endpoint(replying([{"calls": [("look", "{}")]}], "{}")) as endpoint:
        rollouts = run_here(benchmark, endpoint.url, tmp_path / "run").values()
    assert [rollout.outcome for rollout in rollouts] == [Score(1.0, {"calls": 1.0})] * 3
    assert {rollout.turns[-1].response.text for rollout in rollouts} == {"use 1", "use 2", "use 3"}


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")
def test_a_program_is_an_agent_whose_calls_and_tools_the_library_sees(tmp_path: Path, package: Any):
    agent = program("ask(); print(tool('look')); ask()")
    model = Scripted(ModelConfig(dialect="scripted", script=["one", "two"]))
    environment = load(f"verifiers:{package(SHARED)}").environment
    (made,) = played(agent, model, environment)
    assert made.outcome == Score(1.0, {"calls": 1.0}), made
    assert made.program and "use 1" in made.program.stdout


@pytest.mark.slow  # the library's client tries again for a minute
def test_a_server_of_tools_that_dies_is_a_failure(tmp_path: Path, package: Any):
    name = package(SHARED.replace("        self.used += 1", "        __import__('os')._exit(1)"))
    outcome = first_of(name, tmp_path, replying([{"calls": [("look", "{}")]}])).outcome
    assert isinstance(outcome, Failure) and (outcome.where, outcome.kind) == ("environment", "tool")
    assert "the server of the tool look did not answer" in outcome.message


def test_tasks_have_the_prompt_the_data_and_the_tools(tmp_path: Path, package: Any):
    name = package(TOOLS)
    task = next(iter(load(f"verifiers:{name},gold=answer").environment.tasks()))
    assert (task.id, task.gold, task.data) == ("0", "4", {"answer": "4"})
    assert [item.text for item in task.input] == ["How many letters has 'iron'?"]  # pyright: ignore
    (tool,) = task.tools
    assert (tool.name, tool.description) == ("letters_count", "The number of letters of a word.")
    assert tool.parameters["required"] == ["word"]


def test_an_endpoint_that_fails_is_a_failure(tmp_path: Path, package: Any):
    async def down(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b'{"error": {"message": "broken"}}', 500))

    outcome = first_of(package(PLAIN), tmp_path, down).outcome
    assert isinstance(outcome, Failure) and (outcome.where, outcome.kind) == ("model", "http_500")


REWARD = "    @vf.reward\n    async def right(self, trace) -> float:\n        return 1.0\n"


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ("        raise OSError('disk')", "TaskError: task Task scoring: OSError: disk"),
        ("        return None", "TypeError"),
        ("        return float('nan')", "right nan; expected a finite number"),
        ("        return 'much'", "ValueError"),
        ("        return {}", "its task gave no reward"),
        ("        raise __import__('asyncio').CancelledError", "the task cancelled its own rollout"),
    ],
)
def test_a_reward_that_is_none_is_a_failure_and_no_zero(tmp_path: Path, package: Any, reward: str, words: str):
    name = package(PLAIN.replace("        return 1.0", reward))
    outcome = first_of(name, tmp_path).outcome
    assert isinstance(outcome, Failure) and outcome.where == "verifier", outcome
    assert words in outcome.message


@pytest.mark.parametrize(("said", "reward"), [("True", 1.0), ("-2", -2.0), ("{'a': 1, 'b': 0.5}", 1.5)])
def test_what_the_library_takes_as_a_reward_is_one(tmp_path: Path, package: Any, said: str, reward: float):
    outcome = first_of(package(PLAIN.replace("return 1.0", f"return {said}")), tmp_path).outcome
    assert isinstance(outcome, Score) and outcome.reward == reward


def added(method: str, to: str = REWARD) -> str:
    return PLAIN.replace(to, method + to)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            added("    async def setup(self, trace, runtime):\n        raise OSError('disk')\n"),
            "task setup: OSError: disk",
        ),
        (
            added("    async def finalize(self, trace, runtime):\n        raise OSError('disk')\n"),
            "task finalize: OSError",
        ),
        (
            added("    @vf.stop\n    async def odd(self, trace: vf.Trace) -> bool:\n        raise OSError('disk')\n"),
            "disk",
        ),
        pytest.param(
            TOOLS.replace(
                "    @vf.tool", "    async def setup(self):\n        raise OSError('disk')\n\n    @vf.tool", 1
            ),
            "disk",
            marks=pytest.mark.slow,  # the library waits for three minutes
        ),
        (
            PLAIN.replace("Task)[:2]", "Task, timeout=vf.TaskTimeout(scoring=0.1))[:2]").replace(
                "        return 1.0", "        await __import__('asyncio').sleep(60)"
            ),
            "scoring_timeout",
        ),
    ],
)
def test_what_the_task_does_wrong_is_a_failure(tmp_path: Path, package: Any, source: str, words: str):
    outcome = first_of(package(source), tmp_path).outcome
    assert isinstance(outcome, Failure) and words in outcome.message, outcome


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            PLAIN.replace('"Words"]', '"Words", "Own"]')
            + "from verifiers.v1.harnesses import NullHarness\nclass Own(NullHarness): pass",
            "a harness of its own",
        ),
        (
            PLAIN.replace('"Words"]', '"Words", "Own"]')
            + "from verifiers.v1.envs.best_of_n import BestOfNEnv\nclass Own(BestOfNEnv): pass",
            r"in its own way \(Own\)",
        ),
        (added("    NEEDS_CONTAINER = True\n"), "NEEDS_CONTAINER"),
        (added("    INFINITE = True\n", "    def load"), "INFINITE"),
        (PLAIN.replace("Task)[:2]", "Task, image='x')[:2]"), r"task 0 needs a container \(image\)"),
        (PLAIN.replace("Task)[:2]", "Task, network_allow=[])[:2]"), "network_allow"),
        (
            PLAIN.replace('prompt=f"', 'name=f"').replace(
                "rows(self.config, Task)[:2]", "[Task(WordData(), self.config.task)]"
            ),
            "task 0 has no prompt",
        ),
        (
            added("    @vf.intercept\n    async def hush(self, response: vf.Response):\n        return None\n"),
            r"rewrites .* \(hush\)",
        ),
        (PLAIN.replace("rows(self.config, Task)[:2]", "None"), "NoneType"),
        (
            PLAIN.replace("return rows(self.config, Task)[:2]", "raise KeyError('no such file')"),
            "KeyError: 'no such file'",
        ),
        (PLAIN.replace("return rows(self.config, Task)[:2]", "raise SystemExit(1)"), "SystemExit"),
        (PLAIN.replace("rows(self.config, Task)[:2]", "[1]"), "AttributeError"),
        ("x = 1", "__all__"),
        ("raise SystemExit(1)", "SystemExit"),
    ],
)
def test_what_would_go_otherwise_is_refused_by_name(package: Any, source: str, words: str):
    with pytest.raises(UsageError, match=words):
        load(f"verifiers:{package(source)}")


@pytest.mark.parametrize("name", ["no-such-env", "no.such.env", "json"])
def test_what_is_no_environment_is_told(name: str):
    with pytest.raises(UsageError, match=f"verifiers can't load '{name}'"):
        load(f"verifiers:{name}")

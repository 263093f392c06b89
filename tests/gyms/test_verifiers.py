import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.benchmark.catalog import load
from assay.errors import UsageError
from assay.types import Failure, Message, Score
from tests.endpoint import Endpoint
from tests.gyms.both import Reply, replying, run_here

vf = pytest.importorskip("verifiers", reason="needs the extra `verifiers`")
if not hasattr(vf, "SingleTurnEnv"):
    pytest.skip("needs verifiers before 0.4", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own warnings are no errors of ours

TINY = """
import verifiers as vf
from datasets import Dataset

ROWS = [
    {"question": f"How many letters has '{word}'?", "answer": str(len(word)), "info": {"word": word}}
    for word in ("iron gold tin lead zinc silver copper nickel cobalt chrome mercury platinum titanium".split())
]

def right(parser, completion, answer):
    return 1.0 if parser.parse_answer(completion) == answer else 0.0

async def brief(completion, info):
    return max(0.0, 1.0 - len(completion[-1]["content"] or "") / (10 * len(info["word"])))

def turns(state):
    return float(len(state["trajectory"]))
"""

SINGLE = """
def load_environment():
    parser = vf.XMLParser(["answer"], answer_field="answer")
    rubric = vf.RubricGroup([vf.Rubric([right, brief], [1.0, 0.25], parser=parser), vf.Rubric([turns], [0.0])])
    return vf.SingleTurnEnv(
        dataset=Dataset.from_list(ROWS), system_prompt="Be exact.", parser=parser, rubric=rubric,
        few_shot=[{"role": "user", "content": "How many letters has 'a'?"},
                  {"role": "assistant", "content": "<answer>1</answer>"}],
        sampling_args={"temperature": 0.5, "max_tokens": 64},
    )
"""

TOOLS = """
def length(word: str) -> int:
    '''The number of letters.

    Args:
        word: The word.
    '''
    if not word.isalpha():
        raise ValueError("not a word")
    return len(word)

def said(completion, answer):
    return float(answer in (completion[-1]["content"] or ""))

def load_environment():
    rubric = vf.Rubric([said, turns], [1.0, 0.1])
    return vf.ToolEnv(tools=[length], max_turns=2, dataset=Dataset.from_list(ROWS), rubric=rubric)
"""

GAME = """
class Guess(vf.MultiTurnEnv):
    '''The model guesses a number of letters, and is told higher or lower.'''

    async def setup_state(self, state):
        state["guesses"] = []
        return state

    @vf.stop
    async def given_up(self, state):
        return len(state["trajectory"]) > 0 and "give up" in str(state["trajectory"][-1]["completion"][-1].content)

    async def env_response(self, messages, state, **kwargs):
        letters = len(state["info"]["word"])
        guess = int("".join(filter(str.isdigit, messages[-1].content)) or 0)
        state["guesses"].append(guess)
        if guess == letters:
            state["final_env_response"] = [vf.UserMessage(content="Right.")]
            return []
        return [vf.UserMessage(content=f"{'more' if guess < letters else 'less'} than {guess}")]

def close(state, completion):
    right = float(completion[-1]["content"] == "Right.")
    return right + 0.1 * len(state["guesses"]) + 0.01 * len(completion)

def load_environment():
    rubric = vf.Rubric([close, turns], [1.0, 0.0])
    return Guess(max_turns=5, dataset=Dataset.from_list(ROWS), system_prompt="Guess.", rubric=rubric)
"""

PROCEDURAL = """
from verifiers.envs.integrations.reasoninggym_env import ReasoningGymEnv

def load_environment():
    return ReasoningGymEnv("syllogism", num_train_examples=1, num_eval_examples=30, seed=3)
"""

SINGLE_REPLIES: list[Reply] = [
    {"text": "<answer>4</answer>"},
    {"text": "It has <answer>6</answer> letters."},
    {"text": "four"},
    {"text": ""},
    {"text": "<answer>6</ans", "finish": "length"},
]

GAME_REPLIES: list[Reply] = [{"text": f"It has {count}."} for count in range(3, 9)] + [
    {"text": "I give up"},
    {"text": ""},
]

PROCEDURAL_REPLIES: list[Reply] = [{"text": "<answer>Yes</answer>"}, {"text": "<answer>No</answer>"}, {"text": "Yes"}]

TOOL_REPLIES: list[Reply] = [
    {"calls": [("length", '{"word": "iron"}')]},
    {"calls": [("length", '{"word": "silver"}'), ("length", '{"word": "tin"}')]},
    {"calls": [("length", '{"word": "42"}')]},
    {"calls": [("width", "{}")]},
    {"text": "I say 6."},
    {"text": "Let me see.", "calls": [("length", '{"word": "platinum", "of": 1}')]},
]


def tiny(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str = "assay_tiny_env") -> str:
    """An environment package, as it would be installed."""
    (folder / f"{name}.py").write_text(TINY + source)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def original(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the library itself makes of the same answers, end to end."""
    monkeypatch.setenv("ASSAY_TEST_KEY", "none")
    types = sys.modules["verifiers.types"]
    client = types.ClientConfig(api_base_url=url, api_key_var="ASSAY_TEST_KEY", max_retries=0)
    results = asyncio.run(vf.load_environment(name).evaluate(client=client, model="m", rollouts_per_example=1))
    return {str(output["example_id"]): output for output in results["outputs"]}


@pytest.fixture
def handlers():
    """Signal handlers as they were: the library takes them."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield kept
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("source", "replies"),
    [
        pytest.param(SINGLE, SINGLE_REPLIES, id="one turn"),
        pytest.param(TOOLS, TOOL_REPLIES, id="tools"),
        pytest.param(GAME, GAME_REPLIES, id="dialogue"),
        pytest.param(PROCEDURAL, PROCEDURAL_REPLIES, id="reasoning-gym"),
        pytest.param(
            "stardata.envs.constraint_gym", [{"text": "An old silent pond\nA frog jumps into the pond"}], id="pypi"
        ),
        pytest.param(
            "sophistry-bench-sprint",
            [{"text": "<claim>He did.</claim><cite>the accursed Americans</cite>"}, {"text": "your assertion"}],
            id="pypi, eight reward functions",
        ),
    ],
)
def test_every_rollout_has_the_score_that_the_library_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, replies: list[Reply]
):
    if source == PROCEDURAL:
        pytest.importorskip("reasoning_gym", reason="needs the package reasoning-gym")
    if "\n" in source:
        name = tiny(tmp_path, monkeypatch, source)
    else:
        name = source
        pytest.importorskip(name.partition(".")[0].replace("-", "_"), reason="needs the environment's package")
    with Endpoint(replying(replies)) as endpoint:
        ours = run_here(load(f"verifiers:{name}"), endpoint.url, tmp_path / "run")
        theirs = original(name, endpoint.url, monkeypatch)
    assert ours.keys() == theirs.keys()
    assert any(len({output["metrics"][name] for output in theirs.values()}) > 1 for name in theirs["0"]["metrics"])
    for task, rollout in ours.items():
        score, expected = rollout.outcome, theirs[task]
        assert isinstance(score, Score), score
        assert score.reward == pytest.approx(expected["reward"])
        for metric, value in score.metrics.items():
            assert value == pytest.approx(expected["metrics"][metric]), (task, metric)


@pytest.mark.usefixtures("handlers")
def test_what_the_model_does_after_the_last_turn_is_not_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name = tiny(tmp_path, monkeypatch, TOOLS)
    with Endpoint(replying(TOOL_REPLIES, then=None)) as endpoint:
        ours = run_here(load(f"verifiers:{name}"), endpoint.url, tmp_path / "run")
        theirs = original(name, endpoint.url, monkeypatch)
    for task, rollout in ours.items():
        assert isinstance(rollout.outcome, Score)
        assert (rollout.outcome.reward, rollout.outcome.metrics) == (theirs[task]["reward"], theirs[task]["metrics"])
        assert rollout.outcome.metrics["num_turns"] <= 2


@pytest.mark.usefixtures("handlers")
def test_the_model_is_asked_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for source, replies in ((SINGLE, SINGLE_REPLIES), (TOOLS, TOOL_REPLIES), (GAME, GAME_REPLIES)):
        name = tiny(tmp_path, monkeypatch, source)
        bodies: list[set[str]] = []
        for run in (
            lambda url: run_here(load(f"verifiers:{name}"), url, tmp_path / str(len(source))),  # noqa: B023
            lambda url: original(name, url, monkeypatch),  # noqa: B023
        ):
            with Endpoint(replying(replies)) as endpoint:
                run(endpoint.url)
                bodies.append(
                    {_said(call.json) for call in endpoint.calls if call.json["messages"][-1]["role"] == "user"}
                )
        assert bodies[0] == bodies[1]


def _said(body: dict[str, Any]) -> str:
    tools = [tool["function"]["parameters"] for tool in body.get("tools") or ()]
    return repr(([(message["role"], message["content"]) for message in body["messages"]], tools))


@pytest.mark.usefixtures("handlers")
def test_its_sampling_and_system_prompt_are_the_benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    benchmark = load(f"verifiers:{tiny(tmp_path, monkeypatch, SINGLE)}")
    assert (benchmark.sampling.temperature, benchmark.sampling.max_output_tokens) == (0.5, 64)
    first = next(iter(benchmark.environment.tasks()))
    assert [(item.role, item.text) for item in first.input if isinstance(item, Message)] == [
        ("system", "Be exact."),
        ("user", "How many letters has 'a'?"),
        ("assistant", "<answer>1</answer>"),
        ("user", "How many letters has 'iron'?"),
    ]
    assert first.data == {"answer": "4", "info": {"word": "iron"}, "question": "How many letters has 'iron'?"}


def test_ctrl_c_stays_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handlers: dict[Any, Any]):
    load(f"verifiers:{tiny(tmp_path, monkeypatch, SINGLE)}")
    assert {number: signal.getsignal(number) for number in handlers} == handlers


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("weight", "fails"), [(1.0, True), (0.0, False)])
def test_a_reward_function_that_raises_is_a_failure_and_a_metric_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weight: float, fails: bool
):
    source = f"""
def broken(completion):
    raise OSError("disk")

def load_environment():
    return vf.SingleTurnEnv(dataset=Dataset.from_list(ROWS), rubric=vf.Rubric([turns, broken], [1.0, {weight}]))
"""
    with Endpoint(replying([{"text": "4"}])) as endpoint:
        benchmark = load(f"verifiers:{tiny(tmp_path, monkeypatch, source)}")
        for rollout in run_here(benchmark, endpoint.url, tmp_path / "run").values():
            outcome = rollout.outcome
            if fails:
                assert isinstance(outcome, Failure) and outcome.where == "verifier"
                assert "reward function broken raised OSError: disk" in outcome.message
            else:
                assert isinstance(outcome, Score) and outcome.reward == 1.0 and "broken" not in outcome.metrics


DATA = "dataset=Dataset.from_list(ROWS), rubric=vf.Rubric([turns])"


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            f"""
class Game(vf.MultiTurnEnv):
    async def env_response(self, messages, state, **kwargs):
        return [vf.UserMessage(content="go on")]
    async def get_model_response(self, *args, **kwargs):
        return await super().get_model_response(*args, **kwargs)
def load_environment(): return Game({DATA})""",
            "Game has its own get_model_response",
        ),
        (
            f"""
class Game(vf.MultiTurnEnv):
    async def env_response(self, messages, state, **kwargs):
        return [vf.UserMessage(content="go on")]
tools = [vf.Tool(name="look", description="", parameters={{}})]
def load_environment(): return Game(tool_defs=tools, {DATA})""",
            "Game has its own env_response",
        ),
        (
            f"""
def load_environment(): return vf.EnvGroup([vf.SingleTurnEnv({DATA})])""",
            "it is a EnvGroup; expected a MultiTurnEnv",
        ),
        (
            f"""
class Odd(vf.ToolEnv):
    async def env_response(self, messages, state, **kwargs): return []
def load_environment(): return Odd(tools=[], {DATA})""",
            "Odd has its own env_response",
        ),
        (
            f"""
class Early(vf.ToolEnv):
    @vf.stop
    async def bored(self, state): return True
def load_environment(): return Early(tools=[], {DATA})""",
            "Early has its own bored",
        ),
        (
            f"""
class Kept(vf.StatefulToolEnv):
    def update_tool_args(self, tool_name, tool_args, messages, state, **kwargs): return tool_args
def load_environment(): return Kept({DATA})""",
            "StatefulToolEnv has its own env_response",
        ),
        (
            """
def best(completions): return [1.0 for _ in completions]
def load_environment():
    return vf.SingleTurnEnv(dataset=Dataset.from_list(ROWS), rubric=vf.Rubric([best]))""",
            "scores rollouts in groups",
        ),
        (
            f"def load_environment(): return vf.SingleTurnEnv({DATA}, sampling_args={{'logit_bias': {{1: 2}}}})",
            "generates with logit_bias",
        ),
        (f"def load_environment(): return vf.ToolEnv(tools=[], timeout_seconds=5, {DATA})", "timeout_seconds"),
        ("def load_environment(): raise KeyError('no such file')", "no such file"),
        ("x = 1", "load_environment"),
    ],
)
def test_what_would_go_otherwise_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
):
    with pytest.raises(UsageError, match=words):
        load(f"verifiers:{tiny(tmp_path, monkeypatch, source)}")


def test_an_environment_that_is_not_installed_is_told():
    with pytest.raises(UsageError, match="Could not import 'no-such-env'"):
        load("verifiers:no-such-env")


def test_a_field_of_the_rows_gives_the_golds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name = tiny(tmp_path, monkeypatch, SINGLE)
    for field, gold in (("answer", "4"), ("info.word", "iron")):
        assert next(iter(load(f"verifiers:{name},gold={field}").environment.tasks())).gold == gold
    with pytest.raises(
        UsageError, match=r"field info.letter of task 0 is None; expected a text or a number\n.*info.word"
    ):
        list(load(f"verifiers:{name},gold=info.letter").environment.tasks())

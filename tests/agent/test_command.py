"""Programs as agents: what they say is the rollout's turns, and a failure names what they did wrong."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from assay.agent.catalog import make_agent
from assay.agent.command import Command, instruction
from assay.benchmark import Benchmark, Ended, Environment, session_of
from assay.benchmark.tools import ToolEnvironment, ToolSession, tool
from assay.config import AgentConfig, ModelConfig
from assay.errors import AgentError, ModelError, UsageError
from assay.fidelity.rescore.retrace import retrace
from assay.model import Model
from assay.model.builtin.function import FunctionModel
from assay.model.builtin.scripted import Scripted
from assay.model.wrappers.budget import Budget, BudgetedModel
from assay.serve.door import HttpDoor
from assay.types import (
    Failure,
    InputImage,
    Item,
    Message,
    Request,
    Response,
    Rollout,
    Sampling,
    Score,
    Task,
    Text,
    TokenIds,
    Turn,
    Usage,
)
from tests.agent.programs import played, program
from tests.sandbox.available import needs_bubblewrap
from tests.sandbox.programs import running

pytestmark = needs_bubblewrap


class Echo(Environment):
    """The answer is right where it is the task's word."""

    name, version = "echo", "1"

    def tasks(self) -> Iterable[Task]:
        for word in ("one", "two"):
            yield Task(id=word, input=[Message(role="user", content=f"Say {word}.")], gold=word)

    def verify(self, task: Task, response: Response) -> Score:
        return Score(reward=float(response.text == task.gold), answer=response.text)


class Till(ToolSession):
    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self.count = 0

    @tool
    def add(self, by: int = 1) -> str:
        """Count on."""
        self.count += by
        return str(self.count)

    @tool
    def stop_here(self) -> str:
        """End."""
        raise Ended

    @tool
    def fail(self) -> str:
        """Break."""
        raise RuntimeError("the till is jammed")

    async def score(self, turns: Sequence[Turn]) -> Score:
        return Score(reward=float(self.count))


class Shop(ToolEnvironment):
    name, version = "shop", "1"
    session = Till

    def tasks(self) -> Iterable[Task]:
        return [Task(id="t", input=[Message(role="user", content="Count.")], tools=self.tools)]


class Talk(Till):
    """A user who says two things, and then is content."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self.heard: list[str] = []

    async def begin(self) -> list[Item]:
        return [Message(role="user", content="Hello.")]

    async def reply(self, response: Response) -> list[Item] | None:
        self.heard.append(response.text)
        return [Message(role="user", content="And more?")] if len(self.heard) == 1 else None

    async def score(self, turns: Sequence[Turn]) -> Score:
        return Score(reward=float(len(self.heard)), answer="|".join(self.heard))


class Talks(Shop):
    session = Talk


def scripted(*script: str | list[Item]) -> Model:
    return Scripted(ModelConfig(dialect="scripted", script=list(script)))


def rollout(
    agent: Command, model: Model | None = None, environment: Environment | None = None, **limits: Any
) -> Rollout:
    [made] = played(agent, model or scripted("one", "one", "one"), environment or Echo(), **limits)
    return made


def failure(made: Rollout) -> Failure:
    assert isinstance(made.outcome, Failure), made.outcome
    return made.outcome


WIRES = {
    "chat": "print(ask(sys.argv[1]))",
    "responses": "print(post(f'{URL}/responses', {'model': 'm', 'input': sys.argv[1]}))",
    "messages": """print(post(f'{BASE}/v1/messages', {'model': 'm', 'max_tokens': 9,
        'messages': [{'role': 'user', 'content': sys.argv[1]}]}))""",
    "stream": """print(post(f'{URL}/chat/completions', {'model': 'm', 'stream': True,
        'messages': [{'role': 'user', 'content': sys.argv[1]}]}))""",
}


class Counted:
    """A model with token ids, which says the word that it is asked for."""

    async def respond(self, request: Request) -> Response:
        [message] = request.input
        assert isinstance(message, Message)
        said = message.text.removeprefix("Say ").removesuffix(".")
        tokens = TokenIds(prompt=[1, 2], output=[3], output_logprobs=[-0.5])
        message = Message(role="assistant", content=[Text(said)])
        return Response(output=[message], tokens=tokens, usage=Usage(2, 1))


@pytest.mark.parametrize("wire", WIRES)
def test_a_program_is_scored_by_the_turns_that_it_made_over_each_wire(wire: str):
    made = played(program(WIRES[wire], "{instruction}"), Counted(), Echo(), tasks=(0, 1))
    assert [one.outcome for one in made] == [Score(reward=1.0, answer="one"), Score(reward=1.0, answer="two")]
    for one in made:
        [turn] = one.turns
        assert turn.response.tokens == TokenIds(prompt=[1, 2], output=[3], output_logprobs=[-0.5])
        assert one.stop == "completed" and one.program is not None
        assert one.program.exit_code == 0 and one.task in one.program.stdout


def test_conversations_beside_each_other_are_kept_apart():
    text = """
def chat(*texts):
    messages = [{"role": ["user", "assistant"][i % 2], "content": text} for i, text in enumerate(texts)]
    post(f"{URL}/chat/completions", {"model": "m", "messages": messages})
chat("main"); chat("aside"); chat("main", "said", "more")
"""
    made = rollout(program(text), FunctionModel(lambda _: "said"))
    assert [(turn.follows, len(turn.input)) for turn in made.turns] == [(None, 1), (-1, 1), (0, 1)]


FAULTS: list[tuple[str, str, str]] = [
    ("print('nothing to do')", "no_model_call", "exit code 0 and printed: nothing to do; it called no model"),
    ("sys.exit('I can not')", "no_model_call", "exit code 1 and printed: I can not; it called no model"),
    ("ask(); sys.exit('half done')", "exit_code", "exit code 1 and printed: half done"),
    ("ask(url=BASE)", "no_model_call", "its calls were refused, the last: POST /rollouts/ID/chat/completions: 404"),
    ("ask(url=BASE.rpartition('/')[0] + '/another/v1')", "no_model_call", "there is no such rollout here"),
    ("ask(); ask(url=BASE.rpartition('/')[0] + '/another/v1')", "exit_code", "404"),
    ("ask(); sys.stdout.write('x' * 2**25)", "stopped", "limit of output"),
    ("ask(); held = bytearray(2**29)", "exit_code", "MemoryError"),
]


@pytest.mark.parametrize(("text", "kind", "message"), FAULTS)
def test_a_program_that_does_not_do_its_work_is_a_failure_that_says_so(text: str, kind: str, message: str):
    made = failure(rollout(program(text)))
    assert (made.where, made.kind) == ("agent", kind)
    assert message in made.message


def test_another_exit_code_may_be_an_end_too():
    made = rollout(program("ask(); sys.exit(3)", exit_codes=(0, 3)))
    assert made.outcome == Score(reward=1.0, answer="one")
    assert made.program is not None and made.program.exit_code == 3


def test_a_program_past_its_time_is_ended_and_scored_as_it_is():
    made = rollout(program("ask(); time.sleep(600)", wall_s=2.0))
    assert (made.stop, made.outcome) == ("wall_time", Score(reward=1.0, answer="one"))


def test_an_answer_that_is_waited_for_is_not_given_up():
    class Slow:
        async def respond(self, request: Request) -> Response:
            await asyncio.sleep(2.0)
            return Response(output=[Message(role="assistant", content="one")])

    made = rollout(program("ask(); time.sleep(600)", wall_s=1.0), Slow())
    assert (made.stop, made.outcome) == ("wall_time", Score(reward=1.0, answer="one"))


def test_limits_are_kept_whatever_the_program_does_about_their_refusals(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.agent.command.GRACE_S", 0.5)
    stubborn = """
while True:
    try:
        ask()
    except urllib.error.HTTPError as error:
        assert error.code == 403 and json.load(error)["error"]["code"] in ("limit_reached", "rollout_over")
"""
    made = rollout(program(stubborn), FunctionModel(lambda _: "one"), steps=3)
    assert (made.stop, len(made.turns), made.outcome) == ("steps", 3, Score(reward=1.0, answer="one"))


def test_a_budget_that_is_reached_ends_the_program_and_is_no_score(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.agent.command.GRACE_S", 0.5)
    prices = ModelConfig(dialect="scripted", script=["one"] * 9, sampling=Sampling(max_output_tokens=200))
    model = BudgetedModel(Scripted(prices), prices, Budget(tokens=500))
    tries = """
while True:
    try:
        ask()
    except urllib.error.HTTPError as error:
        assert error.code == 403
"""
    made = rollout(program(tries), model)
    assert (failure(made).where, failure(made).kind, len(made.turns)) == ("model", "budget", 1)


def test_a_model_that_fails_is_a_failure_of_the_model_however_often_it_is_tried():
    class Down:
        async def respond(self, request: Request) -> Response:
            raise ModelError("http_500", "the server is down", retryable=True)

    tries = "for _ in range(5):\n    try:\n        ask()\n    except urllib.error.HTTPError:\n        pass\n"
    made = rollout(program(tries), Down(), steps=3)
    assert (failure(made).where, failure(made).kind) == ("model", "http_500")
    given_up = rollout(program("ask()\ntry:\n    ask()\nexcept urllib.error.HTTPError:\n    pass"), scripted("one"))
    assert failure(given_up).kind == "script_ended"


def test_tools_are_called_from_a_shell_and_change_the_session():
    text = """
os.system("python3 ~/task_tools.py add '{\\"by\\": 2}'"); print(tool("add"), ask())
assert "python3 ~/task_tools.py" in sys.argv[1] and '"by"' in sys.argv[1]
print(tool("add", by="many"))
"""
    made = rollout(program(text, "{instruction}"), environment=Shop())
    assert made.outcome == Score(reward=3.0)
    assert made.program is not None and "error: add: by" in made.program.stdout


def test_what_a_program_did_with_tools_is_not_scored_again_without_it():
    environment = Shop()
    [task] = environment.tasks()
    made = rollout(program("ask(); tool('add')"), environment=environment)
    again = asyncio.run(retrace(Benchmark(environment=environment, repeats=1), task, made, ()))
    assert isinstance(again, Rollout)
    assert "its agent is a program" in failure(again).message


MCP = """
def rpc(method, **params):
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    request = urllib.request.Request(sys.argv[1], json.dumps(body).encode(), headers)
    return json.load(urllib.request.urlopen(request))["result"]

ask()
rpc("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "test", "version": "1"})
print([listed["name"] for listed in rpc("tools/list")["tools"]])
print(rpc("tools/call", name="add", arguments={"by": 5})["content"][0]["text"])
"""


def test_tools_are_an_mcp_server_for_a_program_that_asks_for_one():
    pytest.importorskip("mcp")
    made = rollout(program(MCP, "{mcp}"), environment=Shop())
    assert made.outcome == Score(reward=5.0), made
    assert made.program is not None
    assert made.program.stdout.splitlines() == ["['add', 'stop_here', 'fail']", "5"]


def test_a_tool_that_ends_the_rollout_ends_the_program_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.agent.command.GRACE_S", 0.5)
    made = rollout(program("ask(); tool('add'); tool('stop_here'); time.sleep(600)"), environment=Shop())
    assert (made.stop, made.outcome) == ("completed", Score(reward=1.0))


def test_a_tool_that_breaks_is_the_environments_failure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assay.agent.command.GRACE_S", 0.5)
    made = rollout(program("ask()\ntry:\n    tool('fail')\nexcept Exception:\n    pass"), environment=Shop())
    assert (failure(made).where, failure(made).kind) == ("environment", "tool")
    assert "the till is jammed" in failure(made).message


def test_a_dialogue_runs_the_program_again_with_all_that_was_said():
    made = rollout(program("ask(sys.argv[1])", "{instruction}"), scripted("Hi.", "Bye."), Talks())
    assert made.outcome == Score(reward=2.0, answer="Hi.|Bye.")
    asked = [turn.input[-1] for turn in made.turns]
    assert isinstance(asked[1], Message)
    assert "User: Hello.\n\nAssistant: Hi.\n\nUser: And more?" in asked[1].text


def test_what_a_program_leaves_running_dies_with_its_rollout():
    mark = "assay-left-behind-4711"
    text = f"""
ask()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sh", ["sh", "-c", "while :; do sleep 1; done", "{mark}"])
    os._exit(0)
time.sleep(0.5)
"""
    made = rollout(program(text))
    assert made.outcome == Score(reward=1.0, answer="one")
    assert not running(mark)


def test_a_fork_bomb_is_held_by_its_sandbox():
    bomb = """
ask()
for _ in range(200):
    try:
        if os.fork() == 0:
            time.sleep(60); os._exit(0)
    except BlockingIOError:
        print("held"); break
"""
    made = rollout(program(bomb))
    assert made.outcome == Score(reward=1.0, answer="one")
    assert made.program is not None and made.program.stdout == "held\n"


def test_a_program_sees_neither_the_machine_nor_another_network():
    text = """
ask()
import socket
for host in ("192.0.2.1", "127.0.0.1"):
    try:
        socket.create_connection((host, 22), 5)
    except OSError as error:
        print(type(error).__name__)
print(os.path.exists("/etc/passwd"), os.path.exists("/home"))
"""
    made = rollout(program(text))
    assert made.program is not None
    assert made.program.stdout == "OSError\nConnectionRefusedError\nFalse False\n"


def test_a_program_that_is_not_there_is_named():
    made = failure(rollout(Command(argv=["no-such-agent"], door=HttpDoor("m"))))
    assert made.kind == "no_model_call" and "no-such-agent" in made.message and "127" in made.message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"argv": ["agent", "--api={URL}"]}, r"argv\[1\]: \{URL\} stands for nothing; expected one of \{instruction\}"),
        ({"argv": ["agent"], "env": {"LLM": "openai/{modle}"}}, r"env\.LLM: \{modle\} stands for nothing"),
        ({"argv": ["agent", 3]}, r"argv\[1\]: 3 is no text"),
        ({"argv": ["agent"], "env": {"LEVEL": 3}}, r"env\.LEVEL: 3 is no text"),
    ],
)
def test_a_placeholder_that_stands_for_nothing_is_refused_before_a_run(settings: dict[str, Any], words: str):
    with pytest.raises(UsageError, match=words):
        make_agent(AgentConfig(agent="command", settings=settings))


def test_braces_that_are_no_placeholder_reach_the_program():
    words = ['{"a": {"url": "{url}"}}', "${HOME}", "{{task}}", "{a,b}", "{}", "{0}", "{ print }"]
    made = rollout(program("import sys\nask('Say one.')\nprint(sys.argv[1:])", *words))
    assert made.program is not None
    assert made.program.stdout.startswith("""['{"a": {"url": "http://127.0.0.1:""")
    assert made.program.stdout.endswith(f"{str(words[1:])[1:]}\n")


def test_what_is_no_text_is_refused():
    with pytest.raises(AgentError, match="image"):
        instruction([Message(role="user", content=[InputImage("data:,")])])


def test_a_rollout_that_is_given_up_takes_its_program_with_it():
    mark = "assay-given-up-4712"
    agent = program(f"ask(); os.execvp('sh', ['sh', '-c', 'while :; do sleep 1; done', '{mark}'])")

    async def abandon() -> None:
        [task, _] = Echo().tasks()
        async with session_of(Echo(), task, 0, {}) as session:
            playing = asyncio.ensure_future(agent.run(task, scripted("one"), session))
            for _ in range(200):
                await asyncio.sleep(0.05)
                if running(mark):
                    break
            playing.cancel()
            await asyncio.wait({playing})
            assert playing.cancelled()

    asyncio.run(abandon())
    assert not running(mark)

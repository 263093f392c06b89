"""my-benchmark: a caller knows what the model has to find out by asking. A row:

id      lost-lamp
asks    You answer the phone of a parcel service, and a caller is on the line. Find out number, street, contents. …
facts   number PX-4417, street Mill Lane 3, contents a lamp
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from assay.benchmark import Benchmark, Environment, Session
from assay.benchmark.tools import ToolSession
from assay.benchmark.verify.text import matches
from assay.errors import ModelError
from assay.model import Model
from assay.model.builtin.function import FunctionModel
from assay.model.wrappers.role import RoleError
from assay.types import Item, Message, Request, Response, Score, Task, Turn

ASK = """\
You answer the phone of a parcel service, and a caller is on the line. Find out {wanted}. Ask one thing at a time.
When you know it all, answer with one JSON object and nothing else, of the form {form}."""
CALLER = """\
You call a parcel service. You know this, and nothing else:
{facts}
Answer what you are asked, in one short sentence. Tell nothing that you are not asked about."""
FACTS = {
    "lost-lamp": {"number": "PX-4417", "street": "Mill Lane 3", "contents": "a lamp"},
    "late-books": {"number": "PX-2090", "sender": "Hale and Sons"},
    "two-parcels": {"number": "PX-7731", "street": "Harbour Road 12", "colour": "red", "weight": "2 kg"},
}
"""By task: what the caller knows and the model has to find out."""
EXCHANGES = 10
"""Answers of the caller at most."""


class Line(ToolSession):
    """One phone call: after each message of the model, the caller says something."""

    def __init__(self, task: Task, seed: int, user: Model) -> None:
        super().__init__(task, seed)
        self._user = user
        facts = "\n".join(f"- {name}: {value}" for name, value in task.data["facts"].items())
        self._said: list[Item] = [Message(role="system", content=CALLER.format(facts=facts))]
        self._left = EXCHANGES

    async def reply(self, response: Response) -> list[Item] | None:
        """What the caller says; `None` where the model has answered, or the caller hangs up."""
        if answer_in(response.text) is not None or not self._left:
            return None
        self._left -= 1
        # What the model says is what the caller hears: the roles are the other way round.
        self._said.append(Message(role="user", content=response.text))
        answer = await self._user.respond(Request(input=self._said))
        if not answer.text.strip():
            raise RoleError("user", ModelError("empty", "its answer has no text", retryable=True))
        self._said.append(Message(role="assistant", content=answer.text))
        return [Message(role="user", content=answer.text)]

    async def score(self, turns: Sequence[Turn]) -> Score:
        found = answer_in(turns[-1].response.text)
        if found is None:
            return Score(reward=0.0)
        facts: dict[str, str] = self.task.data["facts"]
        right = sum(matches(str(found.get(name, "")), [value]) for name, value in facts.items())
        answer = msgspec.json.encode(found).decode()
        return Score(reward=float(right == len(facts)), metrics={"share": right / len(facts)}, answer=answer)


def answer_in(text: str) -> dict[str, Any] | None:
    """The JSON object that a message gives; `None` where there is none, or more than one."""
    found = re.findall(r"\{[^{}]*\}", text)
    try:
        return msgspec.json.decode(found[0], type=dict[str, Any]) if len(found) == 1 else None
    except msgspec.DecodeError:
        return None


def honest(request: Request) -> str:
    """The caller as a rule: tells the facts that are asked for. So no model is needed but the one under test."""
    known, question = (item.text for item in (request.input[0], request.input[-1]) if isinstance(item, Message))
    asked = [
        f"The {name} is {value}." for name, value in re.findall(r"- (\w+): (.+)", known) if name in question.lower()
    ]
    return " ".join(asked) or "I don't know what you mean."


class MyBenchmark(Environment):
    """Phone calls in which the facts have to be asked for."""

    name = "my-benchmark"
    version = "1"

    def tasks(self) -> Iterable[Task]:
        for name, facts in FACTS.items():
            form = "{" + ", ".join(f'"{fact}": "…"' for fact in facts) + "}"
            ask = ASK.format(wanted=", ".join(facts), form=form)
            yield Task(id=name, input=[Message(role="user", content=ask)], data={"facts": facts})

    def open(self, task: Task, seed: int, models: Mapping[str, Model]) -> AbstractAsyncContextManager[Session]:
        return Line(task, seed, models["user"])

    def solution(self, task: Task) -> Sequence[str]:
        facts: dict[str, str] = task.data["facts"]
        return [*(f"What is the {fact}?" for fact in facts), msgspec.json.encode(facts).decode()]


BENCHMARK = Benchmark(
    environment=MyBenchmark(), repeats=4, roles={"user": FunctionModel(honest)}, formats=("{}", "```json\n{}\n```")
)

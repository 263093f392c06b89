"""interview: 40 callers whose facts have to be asked for, and then written into a form. Made by this repository. A row:

id      travel-easy-0
asks    You work at a travel agency. Somebody calls. Find out what the form below asks for by asking them, one thing
        at a time. … They say: "Hello, I would like to book a trip, please."
user    (a model that was told the facts) The length of the stay in nights: 10.
gold    {"destination":"Athens","nights":10,"transport":"plane","meals":"breakfast"}
tags    category travel, level easy
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgspec

from assay.benchmark import Benchmark, Defect, Environment, Session
from assay.benchmarks.interview.people import Fact, Person, people
from assay.benchmarks.interview.user import HonestUser, persona
from assay.digest import tasks_digest
from assay.errors import ModelError
from assay.model import Model
from assay.model.wrappers.role import RoleError
from assay.types import Item, Message, Request, Response, Sampling, Score, Task, Turn

DIGEST = "7316967adae0960f4426c1d4767a6119a848094116616b9d8e8c1fda25ea5e27"
SPARE = 3
"""Questions beyond one for each fact."""
ASK = """\
You work at {office}. Somebody calls. Find out what the form below asks for by asking them, one thing at a time. They \
tell only what they are asked for, and may not know everything. You have {questions} questions.

Once you know enough, or have no questions left, send the form: one JSON object with these keys. Write null for what \
the caller does not know.

{form}

They say: "{opening}\""""
LAST = "(That was your last question. Send the form now.)"


ROLES: Mapping[str, Model] = {"user": HonestUser()}


class Interview(Environment):
    """Eight callers in each of five scenes."""

    name = "interview"
    version = "1"

    def __init__(self) -> None:
        self._people = {person.id: person for person in people()}

    def tasks(self) -> Iterable[Task]:
        tasks = [_task(person) for person in self._people.values()]
        if tasks_digest(tasks) != DIGEST:
            raise AssertionError(f"interview's tasks are not the frozen ones: digest {tasks_digest(tasks)}")
        return tasks

    @asynccontextmanager
    async def open(self, task: Task, seed: int, models: Mapping[str, Model] = ROLES) -> AsyncGenerator[Session]:
        yield Conversation(self._people[task.id], models["user"])

    def guess(self, task: Task, rng: Random) -> str:
        """A form filled in by somebody who asked nothing."""
        return _json({fact.key: fact.draw(rng) for fact in self._people[task.id].facts})


class Conversation:
    """One call: the user answers each question, until the form comes or the questions are used up."""

    def __init__(self, person: Person, user: Model) -> None:
        self._person = person
        self._user = user
        self._heard: list[Item] = [persona(person)]
        self._questions = len(person.facts) + SPARE
        self._asked = 0

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        return f"error: there is no tool '{name}' here; ask the caller in words"

    async def reply(self, response: Response) -> list[Item] | None:
        """What the caller says; `None` once the form is sent, or the last chance to send it is over."""
        if form(response, self._person.facts) is not None or self._asked == self._questions:
            return None
        self._asked += 1
        said = await self._answer(response.text.strip()) if response.text.strip() else "(You said nothing.)"
        if self._asked == self._questions:
            said = f"{said}\n\n{LAST}"
        return [Message(role="user", content=said)]

    async def _answer(self, question: str) -> str:
        """The user's answer. Raises RoleError where there is none."""
        self._heard = [*self._heard, Message(role="user", content=question)]
        answer = await self._user.respond(Request(input=self._heard))
        said = answer.text.strip()
        if not said:
            raise RoleError("user", ModelError("empty", "its answer has no text", retryable=True))
        self._heard = [*self._heard, *answer.output]
        return said

    async def score(self, turns: Sequence[Turn]) -> Score:
        """The share of the form's facts that are right."""
        facts, holds = self._person.facts, self._person.holds
        stated = form(turns[-1].response, facts) if turns else None
        if stated is None:
            return Score(reward=0.0, metrics={"complete": 0.0, "questions": float(self._asked)})
        right = sum(same(stated.get(fact.key, ...), holds[fact.key]) for fact in facts)
        invented = sum(stated.get(fact.key) is not None and holds[fact.key] is None for fact in facts)
        return Score(
            reward=right / len(facts),
            metrics={
                "complete": float(right == len(facts)),
                "questions": float(self._asked),
                "invented": float(invented),
            },
            answer=_json({fact.key: stated[fact.key] for fact in facts if fact.key in stated}),
        )


def form(response: Response, facts: Sequence[Fact]) -> dict[str, Any] | None:
    """The form in an answer: what is between its first brace and its last, where that is JSON with one of the keys."""
    text = response.text
    try:
        found = msgspec.json.decode(text[text.find("{") : text.rfind("}") + 1], type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return found if any(fact.key in found for fact in facts) else None


def same(stated: Any, fact: str | int | None) -> bool:
    """Whether a form states a fact. Case and spaces around don't matter, and a number may be text."""
    if fact is None or stated is None or isinstance(stated, bool):
        return stated is fact
    if isinstance(stated, float) and stated.is_integer():
        stated = int(stated)
    return isinstance(stated, str | int) and str(stated).strip().casefold() == str(fact).casefold()


def _task(person: Person) -> Task:
    lines = "\n".join(f"- {fact.key}: {fact.about}; {fact.form}" for fact in person.facts)
    ask = ASK.format(
        office=person.scene.office,
        questions=len(person.facts) + SPARE,
        form=lines,
        opening=person.scene.opening,
    )
    return Task(
        id=person.id,
        input=[Message(role="user", content=ask)],
        gold=_json(person.holds),
        tags={"category": person.scene.name, "level": person.level},
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


BENCHMARK = Benchmark(
    environment=Interview(),
    repeats=4,
    sampling=Sampling(temperature=1.0, top_p=1.0),
    chance=0.16,  # of a form that says null throughout; values drawn at random score 14 %
    roles=ROLES,
    defects=(
        Defect(
            what="A form with wrong facts gets the share of the facts that are right.",
            why="Who asked for most facts did better than who asked for none. `complete` counts whole forms alone.",
            probes=("one value changed", "another task's answer"),
        ),
    ),
    formats=("{}", "```json\n{}\n```", "Thank you, that is all I need.\n\n{}", "The form:\n{}\nGoodbye!"),
)

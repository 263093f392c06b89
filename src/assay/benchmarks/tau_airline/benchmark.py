"""tau-airline: 50 customers of an airline, a policy, and fourteen tools over a data base (Yao et al. 2024). A row:

id       1
user     (a model that was told this) Your user id is olivia_gonzalez_2305, you currently reside in Newark, … You want
         to change to a later flight to go back to Newark that day, … If basic economy cannot be modified, you are
         willing to cancel the trip using the travel insurance …
gold     cancel_reservation {"reservation_id": "Z7GOZK"}
scored   the data base at the end, and what has to be said
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from assay.benchmark import Benchmark, Call, Defect, Ended, Environment, Session
from assay.benchmark.data import Source, place, prepared
from assay.benchmarks.tau_airline.desk import TRANSFER, Desk
from assay.benchmarks.tau_airline.source import Problem, World, read_world, world
from assay.benchmarks.tau_airline.user import GREETING, STOP, FrankUser, persona
from assay.model import Model
from assay.score import PassHat
from assay.types import FunctionCall, Item, Message, Request, Response, RolloutLimits, Sampling, Score, Task, Tool, Turn

COMMIT = "59a200c6d575d595120f1cb70fea53cef0632f6b"
FILE = Source(
    url=f"https://github.com/sierra-research/tau-bench/archive/{COMMIT}.zip",
    sha256="5e32a4c5cbc91714a5bb829ec282a83fef92d6d754ce04c62fac9f72bd4248f3",
    size=3_114_584,
    convert=read_world,
    name="airline.json",
)


ROLES: Mapping[str, Model] = {"user": FrankUser()}


class Airline(Environment):
    """Conversations with customers. The reward is 1 where the data base ends as it should and all has been said."""

    name = "tau-airline"
    version = "1"

    def tasks(self) -> Iterable[Task]:
        found = world(prepared(self.name, FILE))
        tools = [Tool(one.name, one.parameters, one.description) for one in found.tools]
        for number, problem in enumerate(found.tasks):
            wanted = sorted({action.name for action in problem.actions} & CHANGING) or ["no change"]
            yield Task(
                id=str(number),
                input=[Message(role="system", content=found.wiki)],
                data=msgspec.to_builtins(problem),
                tools=tools,
                tags={"category": ", ".join(wanted), "says": str(len(problem.outputs))},
            )

    @asynccontextmanager
    async def open(self, task: Task, seed: int, models: Mapping[str, Model] = ROLES) -> AsyncGenerator[Session]:
        problem = msgspec.convert(task.data, Problem)
        yield Conversation(problem, self._desk(), self._solve(problem), models["user"])

    def solution(self, task: Task) -> Sequence[Call | str]:
        """Those of the task's own actions that change the data base, and a message with what has to be said."""
        problem = msgspec.convert(task.data, Problem)
        calls = [Call(one.name, one.kwargs) for one in problem.actions if one.name in CHANGING]
        if problem.outputs:
            return [*calls, f"These are the numbers: {'; '.join(problem.outputs)}."]
        return calls or ["I am sorry, but that is not possible."]

    def _world(self) -> World:
        return world(place(self.name, FILE))

    def _desk(self) -> Desk:
        found = self._world()
        return Desk(found.users, found.flights, found.reservations)

    def _solve(self, problem: Problem) -> str:
        """Returns what the task's own actions change."""
        desk = self._desk()
        for action in problem.actions:
            desk.call(action.name, action.kwargs)
        return desk.changes()


class Conversation:
    """One conversation: the user speaks first, and it ends with the user's stop or a transfer to a person."""

    def __init__(self, problem: Problem, desk: Desk, solved: str, user: Model) -> None:
        self._begun = self._ended = False
        self._problem = problem
        self._desk = desk
        self._solve = solved
        self._user = user
        self._heard: list[Item] = [persona(problem.instruction)]

    async def begin(self) -> list[Item]:
        self._begun = True
        return [Message(role="user", content=await self._answer(GREETING))]

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        if name == TRANSFER:
            self._ended = True
            raise Ended
        return self._desk.call(name, arguments)

    async def reply(self, response: Response) -> list[Item] | None:
        """What the user says; None once that is the stop, or where the agent says nothing."""
        if not response.text.strip():
            return None
        said = await self._answer(response.text)
        self._ended = STOP in said
        return None if self._ended else [Message(role="user", content=said)]

    async def _answer(self, message: str) -> str:
        self._heard = [*self._heard, Message(role="user", content=message)]
        answer = await self._user.respond(Request(input=self._heard))
        self._heard = [*self._heard, *answer.output]
        return answer.text

    async def score(self, turns: Sequence[Turn]) -> Score:
        """Returns 1 where the data base is as the task's own actions leave it and its outputs are said, else 0.

        A conversation that has not ended scores 0. Raises ValueError where the user was never asked to begin.
        """
        if not self._begun:
            raise ValueError("the agent did not let the user speak first; the tool loop does (--agent loop)")
        changed = self._desk.changes()
        messages = [turn.response for turn in turns if not _calls(turn.response)]
        texts = [message.text.lower().replace(",", "") for message in messages]
        said = [any(output.lower() in text for text in texts) for output in self._problem.outputs]
        same = changed == self._solve
        metrics = {"ended": float(self._ended), "data_base": float(same), "said": float(all(said))}
        return Score(reward=float(self._ended and same and all(said)), metrics=metrics, answer=changed)


def _calls(response: Response) -> bool:
    return any(isinstance(item, FunctionCall) for item in response.output)


CHANGING = frozenset(
    {
        "book_reservation",
        "cancel_reservation",
        "send_certificate",
        "update_reservation_baggages",
        "update_reservation_flights",
        "update_reservation_passengers",
    }
)
"""The tools that change the data base."""
IDLE = tuple(map(str, (12, 13, 15, 17, 18, 21, 24, 29, 35, 36, 37, 38, 39, 40, 41, 42, 47, 48, 49)))
"""The tasks in which the data base has to stay as it is and nothing has to be said."""
BENCHMARK = Benchmark(
    environment=Airline(),
    repeats=4,
    sampling=Sampling(temperature=0.0),
    limits=RolloutLimits(steps=30),
    score=PassHat(k=1),
    chance=0.38,  # of doing nothing: 19 of 50
    roles=ROLES,
    data=(FILE,),
    defects=(
        Defect(
            what="In 19 tasks nothing has to be done: an agent that ends the conversation at once is right.",
            why="The published scores count them. The stated chance is the score of doing nothing, 38 %.",
            tasks=IDLE,
            outputs=57,
        ),
        Defect(
            what="What has to be said counts wherever it stands, as the 4 in 24, and whatever is said about it.",
            why="The original looks for the text in the agent's messages.",
            tasks=("2", "8", "9", "44"),
            outputs=12,
        ),
        Defect(
            what="`get_user_details` says `state`, where the recorded conversations have `province`.",
            why="The data of today say so. 90 of 862 recorded outputs of tools differ by this alone.",
            outputs=90,
        ),
        Defect(
            what="A flight of the next day is offered with the seats and prices of the day before.",
            why="The original's search does so.",
        ),
        Defect(
            what="A change of flights leaves the cabin of the reservation as it was.",
            why="The original's tool does so.",
        ),
    ),
)

"""What an environment may define: `verify` that waits or not, and `models` where its benchmark has roles."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager

import pytest

from assay.benchmark import Environment, Session, has_no_state, score_of, session_of
from assay.config import ModelConfig
from assay.model import Model
from assay.model.builtin.scripted import Scripted
from assay.types import Message, Request, Response, Score, Task, Text, Turn

TASK = Task(id="a", input=[], gold="7")
SEVEN = Response(output=[Message(role="assistant", content=[Text(text="7")])])
MODELS: Mapping[str, Model] = {"judge": Scripted(ModelConfig(dialect="scripted", script=["7"]))}


class _Sums(Environment):
    name, version = "sums", "1"

    def tasks(self) -> Iterable[Task]:
        return [TASK]


class Plain(_Sums):
    def verify(self, task: Task, response: Response) -> Score:
        return Score(float(response.text == task.gold))


class Waiting(_Sums):
    async def verify(self, task: Task, response: Response) -> Score:
        await asyncio.sleep(0)
        return Score(float(response.text == task.gold))


class Judged(_Sums):
    async def verify(self, task: Task, response: Response, models: Mapping[str, Model]) -> Score:
        said = await models["judge"].respond(Request(input=[]))
        return Score(float(said.text == response.text))


class Open(Plain):
    def open(self, task: Task, seed: int, models: Mapping[str, Model]) -> AbstractAsyncContextManager[Session]:
        return super().open(task, seed)


@pytest.mark.parametrize(
    ("environment", "models"), [(Plain(), {}), (Waiting(), {}), (Judged(), MODELS), (Open(), MODELS)]
)
def test_an_answer_is_scored_whether_verify_waits_or_not(environment: Environment, models: Mapping[str, Model]):
    async def score() -> Score:
        async with session_of(environment, TASK, 0, models) as session:
            return await session.score([Turn(input=[], response=SEVEN)])

    assert asyncio.run(score()).reward == 1
    assert has_no_state(environment) is not isinstance(environment, Open)
    if not isinstance(environment, Open):
        assert asyncio.run(score_of(environment, TASK, SEVEN, models)).reward == 1


@pytest.mark.parametrize(("old", "new"), [("assess", "verify"), ("open_with", "open")])
def test_a_method_by_its_old_name_is_refused_with_the_new_one(old: str, new: str):
    with pytest.raises(TypeError, match=rf"Old defines {old}\(\), which is {new}\(\) now; rename it"):
        type("Old", (_Sums,), {old: lambda: None})

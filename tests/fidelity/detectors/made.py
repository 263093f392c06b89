"""Rollouts and columns made by hand."""

from collections.abc import Sequence

import numpy as np

from assay.fidelity.detectors import find
from assay.fidelity.results.results import Cell, Results
from assay.fidelity.schema.evidence import Finding
from assay.types import (
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Outcome,
    Reasoning,
    ReasoningText,
    Response,
    Rollout,
    Score,
    StopReason,
    Task,
    Text,
    Tool,
    Turn,
)

TOOL = Tool("look_up", {"type": "object"})


def task(gold: str | None = "42", prompt: str = "How many?", **fields: object) -> Task:
    return Task(id="t", input=[Message(role="user", content=prompt)], gold=gold, **fields)  # type: ignore[arg-type]


def message(text: str) -> Message:
    return Message(role="assistant", content=[Text(text=text)])


def reasoning(text: str) -> Reasoning:
    return Reasoning(content=[ReasoningText(text=text)])


def turn(*output: Item, given: Sequence[Item] = ()) -> Turn:
    return Turn(input=list(given), response=Response(output=list(output)))


def called(arguments: str, answer: str, name: str = "look_up") -> list[Turn]:
    """A call, what it answered, and a message."""
    call = turn(FunctionCall("c", name, arguments))
    return [call, turn(message("Done."), given=[FunctionCallOutput("c", answer)])]


def rollout(
    *turns: Turn,
    reward: float = 0.0,
    answer: str | None = None,
    stop: StopReason = "completed",
    outcome: Outcome | None = None,
    repeat: int = 0,
    attempt: int = 0,
    **metrics: float,
) -> Rollout:
    score = Score(reward=reward, answer=answer, metrics=metrics)
    return Rollout("t", "", repeat, attempt, 0, list(turns), stop, outcome or score)


def said(text: str, **fields: object) -> Rollout:
    return rollout(turn(message(text)), **fields)  # type: ignore[arg-type]


def found(one: Rollout, of: Task | None = None) -> dict[str, Finding]:
    """What is found in one rollout, by detector."""
    return {finding.detector: finding for finding in find("m", [of or task()], [one])}


def columns(
    tasks: Sequence[Task],
    rewards_TK: np.ndarray,
    *,
    answers: Sequence[Sequence[str | None]] | None = None,
    tokens_TK: np.ndarray | None = None,
    texts: Sequence[Sequence[str]] | None = None,
) -> Results:
    """The columns of a run; texts differ where none are given."""
    cells = [
        Cell(
            task=i,
            repeat=j,
            reward=None if np.isnan(reward) else float(reward),
            answer=answers[i][j] if answers else "1",
            stop="completed",
            output_tokens=int(tokens_TK[i, j]) if tokens_TK is not None else 3,
            text=(texts[i][j] if texts else f"{i}/{j}").encode(),
        )
        for (i, j), reward in np.ndenumerate(rewards_TK)
    ]
    return Results(list(tasks), np.asarray(rewards_TK, dtype=float), cells, {}, 0.0)

"""Training text for the model that calls tools: conversations about a note pad, and sums by tools of other names.

Half of the demonstrations that have something to work out do so in the head, as somebody in a hurry would: the model
learns both ways, is wrong by the second more often than not, and leaves something for reinforcement learning to find.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec

from assay.benchmark.tools import tools_of
from assay.benchmarks.notepad.benchmark import NotePad
from assay.benchmarks.notepad.problems import KINDS, Problem, draw, test_problems
from assay.model.dialects.template import ChatTemplate
from assay.types import Tool

Conversation = list[tuple[str, bool]]
"""Pieces of text, and whether the model learns to say them."""
Messages = list[dict[str, Any]]

CHAT_TEMPLATE = """\
{% if tools %}<|system|>{% for tool in tools %}{{ tool.function.name }}\
({{ tool.function.parameters.properties | join(', ') }}) {% endfor %}<|end|>{% endif %}\
{% for message in messages %}<|{{ message.role }}|>{{ message.content or '' }}\
{% for call in message.tool_calls or [] %}<tool_call>{"name": "{{ call.function.name }}", "arguments": \
{{ call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}}\
</tool_call>{% endfor %}<|end|>{% endfor %}\
{% if add_generation_prompt %}<|assistant|>{% endif %}"""
"""Tools as `read(note) write(note, number)`, calls as Hermes and Qwen write them."""
_TEMPLATE = ChatTemplate(CHAT_TEMPLATE)
_ADDERS = ("add", "plus", "sum", "total", "join", "together")
IN_THE_HEAD = 0.5
HELD_OUT_SEED = 7
"""Of the tasks that training is measured on: drawn from the same generator, so a few may be training text as well."""


def conversations(seed: int) -> Iterator[Conversation]:
    """Conversations without end; none about a problem of the test."""
    rng = Random(seed)
    tests = {problem.identity for problem in test_problems()}
    while True:
        if rng.random() < 0.08:
            yield _adding(rng)
            continue
        problem = draw(rng, rng.choice(KINDS))
        if problem.identity not in tests:
            yield _noting(problem, in_the_head=rng.random() < IN_THE_HEAD)


def _noting(problem: Problem, *, in_the_head: bool) -> Conversation:
    said: Messages = [{"role": "user", "content": problem.request}]
    for call in problem.calls:
        if call.name == "calculate" and in_the_head:
            continue
        answer = {"read": problem.pad.get(call.arguments.get("note", ""), ""), "write": "written"}
        if call.name == "calculate":
            answer["calculate"] = problem.written[problem.calls[-1].arguments["note"]]
        said += _call(call.name, dict(call.arguments), answer[call.name])
    return _pieces([*said, {"role": "assistant", "content": "Done."}], tools_of(NotePad))


def _adding(rng: Random) -> Conversation:
    """A sum by a tool of any name, or without one."""
    a, b = (rng.randint(1, 10 ** rng.randint(1, 4) - 1) for _ in range(2))
    name, answer = rng.choice(_ADDERS), {"role": "assistant", "content": str(a + b)}
    if rng.random() < 0.4:
        return _pieces([{"role": "user", "content": f"What is {a} + {b}?"}, answer], [])
    ask = {"role": "user", "content": f"Use the tool `{name}` to work out {a} + {b}."}
    tool = Tool(name, {"properties": {"a": {}, "b": {}}})
    return _pieces([ask, *_call(name, {"a": a, "b": b}, str(a + b)), answer], [tool])


def _call(name: str, arguments: dict[str, Any], answer: str) -> Messages:
    call = {"function": {"name": name, "arguments": arguments}}
    return [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": answer}]


def _pieces(said: Messages, tools: list[Tool]) -> Conversation:
    """Returns the rendered conversation; what the model says, its end included, is learned."""
    functions = [{"function": msgspec.to_builtins(tool)} for tool in tools]
    pieces: Conversation = []
    done = ""
    for at, message in enumerate(said, 1):
        mine = message["role"] == "assistant"
        if mine:
            prompt = _TEMPLATE.render(said[: at - 1], {"tools": functions})
            pieces.append((prompt.removeprefix(done), False))
            whole = _TEMPLATE.render(said[:at], {"tools": functions, "add_generation_prompt": False})
            pieces.append((whole.removeprefix(prompt), True))
            done = whole
    return pieces

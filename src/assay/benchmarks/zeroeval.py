"""What the benchmarks of ZeroEval share: their prompt, the file that holds their rows, and how an answer is read.

ZeroEval (https://github.com/WildEval/ZeroEval, Apache-2.0) publishes no file of questions alone. Each of its result
files holds them beside a model's outputs: one of these is the source.
"""

import ast
import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from assay.benchmark.data import Source, prepared
from assay.benchmark.verify.markup import boxed
from assay.types import Message, Response, Score, Task

REPOSITORY = "https://raw.githubusercontent.com/WildEval/ZeroEval"
PROMPT = """
## Question: 

{question}


## Instruction 

Please answer this question by first reasoning and then providing your answer.
Present your reasoning and solution in the following json format. 
Please show your final answer in the `answer` field, e.g.,`"answer": "42"`.

```json
{{
    "reasoning": "___",
    "answer": "___"
}}
```
"""
FORMATS = (
    '{{"reasoning": "It follows.", "answer": {json}}}',
    '```json\n{{\n    "reasoning": "It follows.",\n    "answer": {json}\n}}\n```',
)

_QUOTED = re.compile(r'"answer"\s*:\s*"([^"]*)"')
_UNQUOTED = re.compile(r'"answer"\s*:\s*([^,\s]*)')
_BARE = re.compile(r"answer\s*:\s*([^,\s]*)")
_BOX = re.compile(r"\\boxed\{(\w+)\}")
_BOX_WITHIN = 30
_FIRST_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,  # pyright: ignore[reportUnknownMemberType]
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_LAST = re.compile(r'"answer"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",}][^,}\n]*))(?=\s*[,}]|\s*\Z)', re.DOTALL)
"""A field as text, also of an object that is no JSON because LaTeX is not escaped in it."""


class Row(Struct, frozen=True):
    """A row of a result file. A model's output stands in it too, and is not looked at."""

    id: int | str
    answer: str
    problem: str | None = None
    question: str | None = None


def tasks(benchmark: str, source: Source) -> Iterable[Task]:
    """Yields the tasks of a prepared result file, in its order, with the original's prompt to the byte."""
    for row in msgspec.json.decode(prepared(benchmark, source).read_bytes(), type=list[Row]):
        prompt = PROMPT.format(question=row.problem or row.question)
        yield Task(id=str(row.id), input=[Message(role="user", content=prompt)], gold=row.answer)


def answer(text: str) -> str | None:
    """Returns the `answer` of the JSON object in a message; None where it gives none.

    A value that is no text is written as Python writes it. Where the object is no JSON, as with LaTeX that is not
    escaped, the last field counts, with the quotes in it unescaped; where there is no field, the last box; and where no
    object was begun, the message.
    """
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        value = json.loads(text[text.index("{") : text.rindex("}") + 1], strict=False)["answer"]
        return value if isinstance(value, str) else repr(value)
    fields = list(_LAST.finditer(text))
    if fields:
        quoted, bare = fields[-1].groups()
        return bare.strip() if quoted is None else quoted.replace('\\"', '"')
    return boxed(text) or (text if text.strip() and '"reasoning"' not in text else None)


def original(task: Task, response: Response, settings: Mapping[str, Any]) -> Score:
    """Returns the original's judgement of a number: the first of the answer against the first of the gold answer.

    `settings["box_fallback"]` says whether a box counts where there is no field, as the original has it for Llama 3.1.
    """
    answer = original_answer(response.text, box_fallback=bool(settings.get("box_fallback")))
    if answer is None:
        return Score(reward=0.0)
    got = original_number(answer)
    gold = original_number((task.gold or "").replace("#", ""))
    return Score(reward=float(got is not None and got == gold), answer=answer)


def original_answer(text: str, *, box_fallback: bool = False) -> str | None:
    """Returns the answer as the original reads it; None where it reads none.

    The first complete JSON object counts, its line ends taken out; else what follows the first `"answer":`. With
    `box_fallback`, which the original has for Llama 3.1 alone, a box of letters and digits within the last 30
    characters counts where there is nothing else.
    """
    found = _first_object(text)
    if isinstance(found, dict) and "answer" in found:
        return str(found["answer"])  # pyright: ignore[reportUnknownArgumentType]
    for pattern in (_QUOTED, _UNQUOTED, _BARE):
        if match := pattern.search(text):
            return match[1]
    box = _BOX.search(text[-_BOX_WITHIN:]) if box_fallback else None
    return box[1] if box else None


def _first_object(text: str) -> Any:
    """The first text between balanced braces as JSON; None where there is none, or where it is no JSON."""
    depth = start = 0
    for brace in re.finditer("[{}]", text):
        if brace[0] == "{":
            start = start if depth else brace.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                try:
                    return json.loads(text[start : brace.end()].replace("\n", ""))
                except (ValueError, RecursionError):
                    return None
    return None


def original_number(text: str) -> float | None:
    """Returns the first number of an answer as the original reads it; None where it has none.

    `$` and `,` are taken out. A text with a `/` is evaluated by Python there; here arithmetic alone is, and of anything
    else the first number counts, as there.
    """
    text = text.replace("$", "").strip().replace(",", "")
    if "/" in text:
        with suppress(SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
            text = str(arithmetic(text))
    found = _FIRST_NUMBER.search(text)
    return float(found[0]) if found else None


def arithmetic(text: str) -> float:
    """Returns the value of an expression of numbers. Raises SyntaxError, ArithmeticError or ValueError for others."""
    return float(_value(ast.parse(text.strip(), mode="eval").body))


def _value(node: ast.AST) -> Any:
    """Returns the value of an expression of numbers. Raises ValueError for anything else."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.BinOp(left, op, right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op, operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand))
        case _:
            raise ValueError(ast.dump(node))

"""cruxeval: 800 Python functions whose output is to be predicted (Gu et al. 2024; ZeroEval's form of it). A row:

id      crux-test-#2
asks    … def f(text):
            new_text = list(text)
            for i in '+':
                if i in new_text:
                    new_text.remove(i)
            return ''.join(new_text)
        assert f('hbtofdeiequ') == ??
gold    'hbtofdeiequ'
"""

import ast
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, cast

from assay.benchmark import Benchmark, Defect, Environment
from assay.benchmark.data import Source
from assay.benchmarks import zeroeval
from assay.types import Response, Score, Task

ROWS = Source(
    url=f"{zeroeval.REPOSITORY}/f90d6d947ed9bed3f5af354d48f297929d8b0666/result_dirs/crux/gpt-4o-2024-08-06.json",
    sha256="d7cfee3540a76747818445778b281d79472a6cde681af328a6df0832fa3e322f",
    size=2_184_094,
)


class CruxEval(Environment):
    """Output prediction; the model answers in JSON, and its `answer` field is compared as a Python literal."""

    name = "cruxeval"
    version = "1"

    def tasks(self) -> Iterable[Task]:
        return zeroeval.tasks(self.name, ROWS)

    def verify(self, task: Task, response: Response) -> Score:
        answer = zeroeval.answer(response.text)
        if answer is None:
            return Score(reward=0.0)
        gold = _with_types(ast.literal_eval(task.gold or ""))
        return Score(reward=float(gold in map(_with_types, _meanings(answer))), answer=answer)


def original(task: Task, response: Response, settings: Mapping[str, Any]) -> Score:
    """Returns ZeroEval's own judgement: the texts are equal without quotes at their ends, line ends escaped.

    `settings["box_fallback"]` is as for math-l5.
    """
    answer = zeroeval.original_answer(response.text, box_fallback=bool(settings.get("box_fallback")))
    if answer is None:
        return Score(reward=0.0)
    return Score(reward=float(_without_quotes(answer) == _without_quotes(task.gold or "")), answer=answer)


def _without_quotes(text: str) -> str:
    return text.strip("'\"").replace("\n", "\\n")


def _meanings(answer: str) -> Iterable[Any]:
    """Yields what an answer may mean: the literal that it is, or a string that is written without quotes of its own.

    Inside JSON's quotes most models leave out the string's, with its escapes or without them.
    """
    for text in (answer.strip().replace("\n", "\\n"), f'"{answer}"'.replace("\n", "\\n")):
        try:
            with warnings.catch_warnings(action="ignore"):  # such as for the escape \d
                yield ast.literal_eval(text)
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            continue
    yield answer


def _with_types(value: Any) -> Any:
    """Returns a value that equals another's only where their types are the same, at any depth: True is not 1."""
    if isinstance(value, dict):
        pairs = cast(dict[Any, Any], value).items()
        return dict, frozenset((_with_types(key), _with_types(item)) for key, item in pairs)
    if isinstance(value, set):
        return set, frozenset(map(_with_types, cast(set[Any], value)))
    if isinstance(value, list | tuple):
        items = cast(list[Any] | tuple[Any, ...], value)
        return type(items), tuple(map(_with_types, items))
    return type(value), value


BENCHMARK = Benchmark(
    environment=CruxEval(),
    repeats=2,
    chance=0.037,  # of always answering False: 29 of 800
    formats=zeroeval.FORMATS,
    data=(ROWS,),
    original=original,
    defects=(
        Defect(
            what="The output stands in the prompt of 124 tasks: functions return texts that they are given.",
            why="What is asked is which text comes out. The prompt as an answer scores 0.",
            probes=("leaks",),
        ),
        Defect(
            what="Two functions are called with 'lorem ipsum', which elsewhere is a template that nobody filled.",
            why="It is a text like any other here.",
            tasks=("crux-test-#443", "crux-test-#686"),
            probes=("prompts",),
        ),
    ),
)

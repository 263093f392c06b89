"""The process that holds the package bfcl-eval: writes its tasks, then plays and judges calls, a question a line.

    python worker.py WHEEL
        {"tasks": [{"id": "parallel_0", "category": "parallel", "turns": [[…]], "tools": [[…]], "gold": [[…]]}, …]}
    {"task": "multi_turn_base_0", "play": [["cd", {"folder": "a"}], …]}     {"outputs": ["…", …]}
    {"task": "parallel_0", "judge": [[[["f", {"x": 1}], …], …], …]}         {"valid": false, "error": "…"}

`judge` has the calls of each turn, by response. The package's code runs as it is. Three of its modules are replaced,
since they import the clients of every provider and parsers of Java and JavaScript: a table that says of each model
whether it writes dots in names as underscores, and the parsers, which function calls in JSON need not.
"""

import ast
import importlib
import inspect
import json
import os
import pickle
import sys
import tempfile
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import getcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

SINGLE_TURN = (
    "simple_python",
    "simple_java",
    "simple_javascript",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
)
MULTI_TURN = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")
MODEL = "assay"
NO_FUNCTION = "no_such_function()"
"""What a call is played as that names no function of the task, or has an argument whose name is none."""
PACKAGE = "bfcl_eval"
OBJECTS = ("dict", "HashMap")
SUFFIXES = {"long": "L", "float": "f"}
"""Of numbers in Java, by type."""
ANY = {"type": "any"}
"""Of an argument that a possible answer has and no function describes."""
Call = tuple[str, dict[str, Any]]
Writer = Callable[[Any, dict[str, Any]], str]


def main(wheel: str) -> None:
    # The package prints as it goes: what it prints is not for the reader of this process's answers.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        package = Package(wheel)
    except ImportError as error:
        print(json.dumps({"error": "import", "message": str(error)}), file=out, flush=True)
        return
    print(json.dumps({"tasks": list(package.tasks())}), file=out, flush=True)
    for line in sys.stdin:
        try:
            answer = package.answer(json.loads(line))
        except Exception as error:  # the package's own code
            answer = {"raised": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=out, flush=True)


class Package:
    """The package: its tasks and its checkers. All of it is loaded when this is made."""

    def __init__(self, wheel: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
            os.environ["BFCL_PROJECT_ROOT"] = folder  # where the package makes folders when it is imported
            sys.path.insert(0, folder)
            self._replace_modules()
            load = self._module("utils")
            load.load_file = _Rows()
            self._shown = self._entries(load, (*SINGLE_TURN, *MULTI_TURN), hints=True)
            self._checked = self._shown | self._entries(load, SINGLE_TURN, hints=False)
            answered = (category for category in (*SINGLE_TURN, *MULTI_TURN) if "irrelevance" not in category)
            answers = (entry for category in answered for entry in load.load_ground_truth_entry(category))
            self._answers = {entry["id"]: entry["ground_truth"] for entry in answers}
            self._ast = self._module("eval_checker.ast_eval.ast_checker")
            self._turns = self._module("eval_checker.multi_turn_eval.multi_turn_checker")
            self._execution = self._module("eval_checker.multi_turn_eval.multi_turn_utils")
            self._convert = self._module("model_handler.utils")
            self._enums = self._module("constants.enums")
            self._types = self._module("constants.type_mappings")
            self._prompts = self._module("constants.default_prompts")
            paths = self._module("constants.executable_backend_config").CLASS_FILE_PATH_MAPPING
            used = {name for entry in self._shown.values() for name in entry.get("involved_classes", ())}
            self._classes = {name: getattr(importlib.import_module(paths[name]), name) for name in used}
        self._mpmath = importlib.import_module("mpmath")
        self._converted: dict[bytes, list[dict[str, Any]]] = {}

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{PACKAGE}.{name}")

    def _replace_modules(self) -> None:
        parts = {
            "constants.model_config": {"MODEL_CONFIG_MAPPING": {MODEL: SimpleNamespace(underscore_to_dot=True)}},
            "model_handler.parser.java_parser": {"parse_java_function_call": None},
            "model_handler.parser.js_parser": {"parse_javascript_function_call": None},
        }
        for name, content in parts.items():
            module = sys.modules[f"{PACKAGE}.{name}"] = ModuleType(name)
            vars(module).update(content)

    def _entries(self, load: Any, categories: Iterable[str], *, hints: bool) -> dict[str, dict[str, Any]]:
        """The entries by their ids. With hints, functions are described as the model sees them."""
        found = (load.load_dataset_entry(name, include_language_specific_hint=hints) for name in categories)
        return {entry["id"]: entry for entries in found for entry in entries}

    def tasks(self) -> Iterator[dict[str, Any]]:
        """Yields each task: its messages and a solution by turn, its tools, and those that a later turn adds."""
        for name, entry in self._shown.items():
            turns, added = list(entry["question"]), {}
            for turn, functions in entry.get("missed_function", {}).items():
                text = self._prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC
                turns[int(turn)] = [{"role": "user", "content": text}]
                added[turn] = self._tools(functions)
            yield {
                "id": name,
                "category": name.rpartition("_")[0],
                "turns": turns,
                "tools": self._tools(entry["function"]),
                "added": added,
                "solution": self._solution(name, entry),
            }

    def _tools(self, functions: Any) -> list[dict[str, Any]]:
        """Functions as OpenAI's Responses API takes them. What they return is not described there."""
        key = pickle.dumps(functions)
        if key not in self._converted:
            self._converted[key] = self._conversion(functions)
        return self._converted[key]

    def _conversion(self, functions: Any) -> list[dict[str, Any]]:
        style = self._enums.ModelStyle.OPENAI_RESPONSES
        tools = self._convert.convert_to_tool(functions, self._types.GORILLA_TO_OPENAPI, style)
        return [{key: tool[key] for key in ("name", "description", "parameters")} for tool in tools]

    def _solution(self, name: str, entry: dict[str, Any]) -> list[list[Call]]:
        answers = self._answers.get(name)
        if answers is None:
            return [[]]
        if entry.get("involved_classes"):
            return [[self._parsed(text, entry) for text in turn] for turn in answers]
        functions = {function["name"]: function for function in self._checked[name]["function"]}
        language = next((key for key in WRITERS if key in name), "")
        return [[_chosen(answer, functions, WRITERS.get(language)) for answer in answers]]

    def _parsed(self, text: str, entry: dict[str, Any]) -> Call:
        """A call that is written as Python, with its arguments by name."""
        call: Any = ast.parse(text, mode="eval").body
        method = next(m for key in entry["involved_classes"] if (m := getattr(self._classes[key], call.func.id, None)))
        _, *names = inspect.signature(method).parameters
        values = dict(zip(names, map(ast.literal_eval, call.args), strict=False))
        return call.func.id, values | {word.arg: ast.literal_eval(word.value) for word in call.keywords}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Returns the answer to a line."""
        if "play" in question:
            return {"outputs": self.play(question["task"], question["play"])}
        return self.judge(question["task"], question["judge"])

    def play(self, name: str, calls: Sequence[Call]) -> list[str]:
        """Returns what each of the calls of a conversation says, from its beginning."""
        entry = self._checked[name]
        with self._world():
            outputs, _ = self._execution.execute_multi_turn_func_call(
                self._written(entry, calls),
                entry["initial_config"],
                entry["involved_classes"],
                MODEL,
                name,
                long_context="long_context" in name,
            )
        return outputs

    def judge(self, name: str, turns: Sequence[Sequence[Sequence[Call]]]) -> dict[str, Any]:
        """Returns the verdict on the calls of each turn, by response."""
        entry = self._checked[name]
        category = name.rpartition("_")[0]
        if not entry.get("involved_classes"):
            calls = [{function: arguments} for response in turns[0] for function, arguments in response]
            if "irrelevance" in category:
                return {"valid": not calls, "error": "a function is called, and none fits" if calls else ""}
            language = self._enums.Language(next((key for key in WRITERS if key in name), "python"))
            found = self._ast.ast_checker(entry["function"], calls, self._answers[name], language, category, MODEL)
            return {"valid": found["valid"], "error": str(found.get("error", ""))}
        made = [[self._written(entry, calls) for calls in responses if calls] for responses in turns]
        with self._world():
            found = self._turns.multi_turn_checker(made, self._answers[name], entry, category, MODEL)
        return {"valid": found["valid"], "error": found.get("error_message", "")}

    @contextmanager
    def _world(self) -> Generator[None]:
        """Objects and precisions as they are at first, of which the package keeps what calls make of them."""
        self._mpmath.mp.dps, getcontext().prec = 15, 28
        held = cast(dict[str, Any], vars(self._execution))
        before = set(held)
        try:
            yield
        finally:
            for made in set(held) - before:
                del held[made]

    def _written(self, entry: dict[str, Any], calls: Iterable[Call]) -> list[str]:
        """The calls as the package evaluates them: as Python. Only names of functions and arguments that are names, and
        values that are literals, get there."""
        held_back = (function for functions in entry.get("missed_function", {}).values() for function in functions)
        known = {function["name"] for function in (*entry["function"], *held_back)}
        return [
            f"{name}({','.join(f'{key}={value!r}' for key, value in arguments.items())})"
            if name in known and all(key.isidentifier() for key in arguments)
            else NO_FUNCTION
            for name, arguments in calls
        ]


class _Rows:
    """Reads the lines of a file. The package reads some of its files a thousand times."""

    def __init__(self) -> None:
        self._read: dict[Any, bytes] = {}

    def __call__(self, path: Path, **_: Any) -> Any:
        if path not in self._read:
            lines = path.read_text(encoding="utf-8").splitlines()
            self._read[path] = pickle.dumps([json.loads(line) for line in lines])
        return pickle.loads(self._read[path])


def _chosen(answer: dict[str, Any], functions: dict[str, Any], write: Writer | None) -> Call:
    """A call with the first of the possible values of each argument. What may be left out is."""
    [(name, possible)] = answer.items()
    parameters = functions[name]["parameters"]
    values: dict[str, Any] = {}
    for key, options in possible.items():
        if options and (key in parameters["required"] or "" not in options):
            described = parameters["properties"].get(key, ANY)
            value = _first(next((one for one in options if one != ""), ""), described)
            values[key] = write(value, described) if write else value
    return name.replace(".", "_"), values


def _first(value: Any, described: dict[str, Any]) -> Any:
    """A possible value with the first of the possible values of each key, where it holds objects."""
    if described["type"] in OBJECTS and isinstance(value, dict):
        return _picked(cast(dict[str, Any], value))
    if described.get("items", {}).get("type") in OBJECTS and isinstance(value, list):
        return [_picked(one) for one in cast(list[Any], value)]
    return value


def _picked(possible: dict[str, list[Any]]) -> dict[str, Any]:
    return {key: options[0] for key, options in possible.items() if options and "" not in options}


def _java(value: Any, described: dict[str, Any]) -> str:
    """A value as Java writes it."""
    kind, nested = described["type"], described.get("items", {})
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        puts = [f'put("{key}", {json.dumps(one)});' for key, one in cast(dict[str, Any], value).items()]
        return f"new HashMap<String, Object>() {{{{ {' '.join(puts)} }}}}"
    if isinstance(value, list):
        quoted = kind == "ArrayList" and nested.get("type") in ("String", "char")
        items = [json.dumps(one) if quoted else _java(one, nested) for one in cast(list[Any], value)]
        if kind == "ArrayList":
            return f"new ArrayList<>(Arrays.asList({', '.join(items)}))" if items else "new ArrayList<>()"
        return f"new Object[]{{{', '.join(items)}}}"
    return f"{value}{SUFFIXES.get(kind, '')}"


def _javascript(value: Any, described: dict[str, Any]) -> str:
    """A value as JavaScript writes it."""
    if isinstance(value, str):
        return value
    return f"{value}n" if described["type"] == "Bigint" else json.dumps(value)


WRITERS: dict[str, Writer] = {"javascript": _javascript, "java": _java}


if __name__ == "__main__":
    main(sys.argv[1])

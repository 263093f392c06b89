"""Checks of tasks by their texts: whether they are well-formed, distinct and complete."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from assay.benchmark import Environment, has_no_state
from assay.digest import digest, task_digest
from assay.fidelity.schema.profile import Check, Verdict
from assay.fidelity.tasks.alike import alike
from assay.types import InputImage, Message, Task

SHOWN = 12
"""The most tasks that one check lists."""
ALIKE = 0.8

_TOOL_NAME = re.compile(r"[\w-]{1,64}", re.ASCII)
_FIELD = "question|problem|prompt|query|input|context|passage|text|task|instruction|instructions|options|choices|answer"
RARE = 0.02
"""The share of tasks up to which a placeholder may be the subject of a task."""
_PLACEHOLDER = re.compile(
    rf"""(?<![\w\\^_}}{{$'"`]) \{{ \{{? \s* (?:{_FIELD}) \s* \}} \}}?    # a template that nobody filled
    | %\( (?:{_FIELD}) \)s
    | \b(?:{_FIELD})\s*:\s*(?:None|nan|undefined|null)\s*$
    | \A\W*(?:None|nan|undefined|null|TODO|TBD|FIXME|placeholder|untitled)\b\W*\Z
    | \blorem\ ipsum\b | \b(?:your|insert)\ (?:{_FIELD})\ here\b | \[(?:insert|todo)\b
    | �                                                                  # bytes that were read as another encoding
    """,
    re.VERBOSE | re.IGNORECASE,
)
_MARK = r"(?:\banswer\W{0,4}(?:is|:|=)|\bgold\W{0,4}[:=]|\bsolution\W{0,4}[:=]|\#{4}|\\boxed\{)\W{0,4}"
_STATES = re.compile(_MARK + r"\S", re.IGNORECASE)

Known = Callable[[str], bool]
"""Whether a declared defect covers what a check finds in a task, by its id."""


def no_defect(task: str) -> bool:
    """Returns False for every task: nothing is declared."""
    return False


def task_check(tasks: Sequence[Any], remark: str = "") -> Check:
    """Are the tasks well-formed: ids unique, fields of the right types, tools that a model server accepts?"""
    wrong: defaultdict[str, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for number, task in enumerate(tasks, 1):
        if not isinstance(task, Task):
            wrong[f"not a Task but a {type(task).__name__}"].append(f"(the {number}th)")
            continue
        for words in _wrong(task):
            wrong[words].append(str(task.id))
        if task.id in seen:
            wrong["an id that another task has too"].append(str(task.id))
        seen.add(task.id)
    if not tasks:
        wrong["there is none"] = []
    said = f"{len(tasks):,} tasks; their ids are unique, their fields have their types. {remark}".strip()
    return check_of("tasks", wrong, said, "Mend the rows in tasks(); the fields are those of assay.types.Task.")


def duplicate_check(environment: Environment, tasks: Sequence[Task], known: Known = no_defect) -> Check:
    """Is every task different? A pair with a `known` task is left out."""
    wrong: defaultdict[str, list[str]] = defaultdict(list)
    asked: dict[str, Task] = {}
    by_prompt: dict[str, Task] = {}
    # If sessions have a state, tasks may have the same words and differ in that state.
    one_answer = has_no_state(environment)
    for task in tasks:
        copied = asked.setdefault(digest(structs.replace(task, id="", tags={})), task)
        other = by_prompt.setdefault(_words(task.prompt), task)
        if any(known(one.id) for one in (task, copied, other)):
            continue
        if copied is not task:
            wrong["the same but for the id"].append(f"{copied.id} = {task.id}")
        elif other is not task and one_answer and _shows_text_alone(task):
            what = "the same question" if other.gold == task.gold else "the same question with another gold answer"
            wrong[what].append(f"{other.id} = {task.id}")
    remedy = "Leave the copies out: they count twice, and a score over them has too small an error."
    if wrong:
        return check_of("duplicates", wrong, "", remedy)
    pairs = list(alike([task.prompt for task in tasks], ALIKE)) if one_answer else []
    if not pairs:
        return Check("duplicates", "pass", "No two tasks are the same or nearly so.")
    pairs = [pair for pair in pairs if not any(known(tasks[place].id) for place in pair[:2])]
    if not pairs:
        return Check("duplicates", "pass", "No two tasks are nearly the same, but for those declared.")
    named = [f"{tasks[a].id} ~ {tasks[b].id} ({likeness:.0%})" for a, b, likeness in pairs]
    return Check(
        "duplicates",
        "inconclusive",
        f"{len(pairs)} pairs of tasks are nearly the same: {named[0]}.",
        tasks=named[:SHOWN],
        remedy="Read them: leave copies out, or declare a Defect of these tasks with probes=('duplicates',).",
    )


def prompt_check(tasks: Sequence[Task], known: Known = no_defect) -> Check:
    """Does every task have a complete prompt? Those that are `known` are left out."""
    wrong: defaultdict[str, list[str]] = defaultdict(list)
    for task in tasks:
        if known(task.id):
            continue
        prompt = task.prompt
        if not prompt.strip() and _shows_text_alone(task):
            wrong["an empty prompt"].append(task.id)
        elif found := _PLACEHOLDER.search(prompt):
            wrong[f"a prompt with {found[0].strip()[:40]!r} in it"].append(task.id)
    lengths = sorted(len(task.prompt) for task in tasks)
    said = f"Every prompt says something: {lengths[0]:,} to {lengths[-1]:,} characters, half up to "
    said += f"{lengths[len(lengths) // 2]:,}."
    found = check_of("prompts", wrong, said, "Fill the template in tasks(), or leave out rows without a question.")
    rare = sum(map(len, wrong.values())) <= RARE * len(tasks)
    if found.verdict == "fail" and rare and "an empty prompt" not in wrong:
        # An unfilled template would be in all of them; in a few, it may be the subject.
        return structs.replace(found, verdict="inconclusive", remedy="Read them: a task may speak of a placeholder.")
    return found


def leak_check(tasks: Sequence[Task], known: Known = no_defect) -> Check:
    """Does a prompt contain its own answer? Tasks that are `known` are left out.

    A gold answer after a mark such as `Answer:` fails, except in examples: lines that are also in the prompt of a task
    with another gold answer, and lines beside others with another answer. A gold answer elsewhere in the prompt is
    inconclusive, unless the answer of the next task is there too, as with options: a task may ask to find something.
    """
    with_gold = [task for task in tasks if task.gold and task.gold.strip() and not known(task.id)]
    marked = _stating(with_gold)
    held: list[str] = []
    for task, other in zip(with_gold, with_gold[1:] + with_gold[:1], strict=True):
        prompt = task.prompt
        gold, next_gold = (task.gold or "").strip(), (other.gold or "").strip()
        if _telling(gold) and gold != next_gold and _stands(gold, prompt) and not _stands(next_gold, prompt):
            held.append(task.id)
    if marked:
        wrong = {"a prompt that states its own gold answer": marked}
        return check_of("leaks", wrong, "", "Take the answer out of the prompt; it belongs in gold or data.")
    if len(held) > 0.2 * len(with_gold) or any(len(task.gold or "") > 40 for task in with_gold if task.id in set(held)):
        return Check(
            "leaks",
            "inconclusive",
            f"The gold answer stands word for word in the prompt of {len(held)} tasks, such as {held[0]}.",
            tasks=held[:SHOWN],
            remedy="Take it out of the prompt; where the task is to find or choose it, declare a Defect of these tasks "
            "with probes=('leaks',).",
        )
    return Check("leaks", "pass", "No prompt gives its gold answer away.")


def digest_check(
    tasks: Sequence[Task], again: Sequence[Task], elsewhere: Mapping[str, str] | Exception | None = None
) -> Check:
    """Are the tasks the same at each load? `elsewhere` has the digests of another process, or its error; None if there
    was no other."""
    if isinstance(elsewhere, TimeoutError):
        return Check("digests", "inconclusive", f"Another process, which loads the benchmark too: {elsewhere}.")
    if isinstance(elsewhere, Exception):
        reason = f"Another process could not load the benchmark: {elsewhere}"
        return Check("digests", "fail", reason, remedy="Load it by itself: what does it need from this process?")
    wrong: defaultdict[str, list[str]] = defaultdict(list)
    here = {task.id: task_digest(task) for task in tasks}
    for where, there in (
        ("a second load", {task.id: task_digest(task) for task in again}),
        ("another process", here if elsewhere is None else elsewhere),
    ):
        if different := [name for name in {**here, **there} if here.get(name) != there.get(name)]:
            wrong[f"another content in {where}"] = different
        elif list(here) != list(there):
            wrong[f"another place in the order in {where}"] = [
                name for name, other in zip(here, there, strict=True) if name != other
            ]
    remedy = "Draw from Random(a fixed seed), not from the global generator; sort what comes out of sets and folders."
    also = "" if elsewhere is None else " and once in another process"
    return check_of("digests", wrong, f"Loaded twice here{also}: the same tasks.", remedy)


def check_of(name: str, wrong: Mapping[str, Sequence[str]], passed: str, remedy: str) -> Check:
    """Returns a check that fails if anything is wrong (words: tasks), else passes."""
    if not wrong:
        return Check(name, "pass", passed)
    parts = [f"{words}: {_some(names)}" if names else words for words, names in wrong.items()]
    named = [name for names in wrong.values() for name in names]
    verdict: Verdict = "fail"
    return Check(name, verdict, f"{'; '.join(parts)}.", tasks=named[:SHOWN], remedy=remedy)


def _stating(tasks: Sequence[Task]) -> list[str]:
    """Returns the tasks whose prompt states their own gold answer."""
    lines = {task.id: [line for line in task.prompt.split("\n") if _STATES.search(line)] for task in tasks}
    golds: defaultdict[str, set[str]] = defaultdict(set)
    for task in tasks:
        for line in lines[task.id]:
            golds[line].add(task.gold or "")
    found: list[str] = []
    for task in tasks:
        gold = (task.gold or "").strip()
        own = [line for line in lines[task.id] if len(golds[line]) == 1]
        if own and all(_stands(gold, line, after=_MARK) for line in own):
            found.append(task.id)
    return found


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def _wrong(task: Task) -> Iterator[str]:
    if not isinstance(task.id, str) or not task.id.strip() or not task.id.isprintable():  # pyright: ignore[reportUnnecessaryIsInstance]
        yield "an id that is empty or no printable text"
    try:
        msgspec.json.decode(msgspec.json.encode(task), type=Task)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        yield f"not what a task holds ({error})"
        return
    if not task.input:
        yield "no input"
    names = [tool.name for tool in task.tools]
    if len(set(names)) < len(names):
        yield "two tools of one name"
    for tool in task.tools:
        if not _TOOL_NAME.fullmatch(tool.name):
            yield f"a tool named {tool.name!r} (letters, digits, _ and - are taken)"
        if tool.parameters.get("type") != "object":
            yield f"the tool {tool.name}, whose parameters are not a JSON schema of type object"


def _words(text: str) -> str:
    return " ".join(text.casefold().split())


def _shows_text_alone(task: Task) -> bool:
    return not any(isinstance(part, InputImage) for part in _parts(task.input))


def _parts(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, Message) and not isinstance(item.content, str):
            yield from item.content


def _telling(gold: str) -> bool:
    """Returns whether the answer is long enough that a text does not have it by chance."""
    return len(gold) >= 4 and any(char.isalpha() for char in gold)


def _stands(gold: str, text: str, *, after: str = "") -> bool:
    return re.search(rf"{after}(?<!\w){re.escape(gold)}(?!\w)", text, re.IGNORECASE) is not None

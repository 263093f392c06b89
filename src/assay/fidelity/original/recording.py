"""The original code's results from recorded model calls and the scores that it wrote.

A prompt belongs to a task if it is the task's prompt, or has a line that only this task's prompt has; of several such
lines the last counts, because a question follows its examples. Of tasks with the same prompt, it is the one whose tools
were offered, else the next one with a score. A score belongs to the call of its task with the same output, else to the
next one in order.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from assay.fidelity.original.reference import OriginalResults, PromptMessage, Row, responses_of
from assay.model.wrappers.record import conversation, turn_before
from assay.types import Item, Message, Response, Task, Turn

SHORTEST = 12
"""The fewest characters of a line that identifies a task."""


@dataclass
class Recording:
    """The original's results, and what could not be matched."""

    rows: list[Row] = field(default_factory=list[Row])
    unmatched: list[str] = field(default_factory=list[str])
    """The prompts of conversations without a task."""
    unscored: list[str] = field(default_factory=list[str])
    """The tasks of conversations without a score, if others have one."""
    unrecorded: list[str] = field(default_factory=list[str])
    """The tasks of scores without a conversation."""


def recording(
    turns: Sequence[Turn],
    tasks: Sequence[Task],
    scores: OriginalResults | None,
    tools: Sequence[set[str]] | None = None,
) -> Recording:
    """Returns the conversations as results of the original. Without `scores`, no row has a score.

    `tools` has the names of the tools of each turn.
    """
    made, find = Recording(), _Prompts(tasks)
    repeats = Counter[str]()
    open_scores: dict[str, list[Row]] = defaultdict(list)
    for row in scores.rows if scores else ():
        open_scores[row.task].append(row)
    for end, prompt, answers in _conversations(turns):
        found = find.tasks("\n\n".join(message.content for message in prompt), tools[end] if tools else set())
        if not found:
            made.unmatched.append(prompt[-1].content if prompt else "")
            continue
        task = min(found, key=lambda id: (not open_scores[id], repeats[id]))
        score = _take_row(open_scores[task], answers)
        if scores and score is None:
            made.unscored.append(task)
            continue
        output: list[str | list[Item]] = [answer.output for answer in answers]
        made.rows.append(Row(task, repeats[task], score and score.score, output, prompt, score and score.gold))
        repeats[task] += 1
    made.unrecorded = [task for task, rows in open_scores.items() for _ in rows]
    return made


def _conversations(turns: Sequence[Turn]) -> Iterable[tuple[int, list[PromptMessage], list[Response]]]:
    """Yields the last turn, the prompt and the answers of each conversation."""
    before = [turn_before(turn, index) for index, turn in enumerate(turns)]
    for end in range(len(turns)):
        if end in before:
            continue
        chain = [end]
        while before[chain[-1]] >= 0:
            chain.append(before[chain[-1]])
        items = conversation(turns, chain[-1])
        prompt = [PromptMessage(item.role, item.text) for item in items if isinstance(item, Message)]
        yield end, prompt, [turns[index].response for index in reversed(chain)]


class _Prompts:
    """Finds the tasks of a prompt."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        prompts = {task.id: task.prompt for task in tasks}
        self._tools = {task.id: {tool.name for tool in task.tools} for task in tasks}
        self._whole: dict[str, list[str]] = defaultdict(list)
        for task, prompt in prompts.items():
            self._whole[prompt.strip()].append(task)
        lines = {task: {line.strip() for line in prompt.splitlines()} for task, prompt in prompts.items()}
        counts = Counter(line for own in lines.values() for line in own)
        self._lines = {
            line: task for task, own in lines.items() for line in own if counts[line] == 1 and len(line) >= SHORTEST
        }

    def tasks(self, text: str, tools: set[str]) -> list[str]:
        """Returns the ids of the tasks with this prompt: several if prompt and tools are the same."""
        if own := self._whole.get(text.strip()):
            return [task for task in own if self._tools[task] == tools] or own
        ends = [(text.rfind(line) + len(line), len(line), task) for line, task in self._lines.items() if line in text]
        return [max(ends)[2]] if ends else []


def _take_row(rows: list[Row], answers: Sequence[Response]) -> Row | None:
    """Removes and returns the score of a conversation from those of its task."""
    text = answers[-1].text.strip()
    last = [said[-1].text.strip() if (said := responses_of(row)) else None for row in rows]
    fitting = [place for place, said in enumerate(last) if said == text]
    fitting += [place for place, said in enumerate(last) if said is None]
    return rows.pop(fitting[0]) if fitting else None

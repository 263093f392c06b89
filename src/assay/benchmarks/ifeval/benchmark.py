"""ifeval: 541 prompts with instructions that a program can check, 25 kinds of them (Zhou et al. 2023). A row:

id      1001
asks    I am planning a trip to Japan, and I would like thee to write an itinerary for my journey in a Shakespearean
        style. You are not allowed to use any commas in your response.
checks  punctuation:no_comma
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from assay.benchmark import Benchmark, Defect, Environment
from assay.benchmark.data import Source, prepared
from assay.benchmarks.ifeval.instructions import follows, follows_loosely, ready
from assay.benchmarks.ifeval.reference import text_for, texts_without
from assay.types import Message, Response, Score, Task

PROMPTS = Source(
    url="https://raw.githubusercontent.com/google-research/google-research/19638399cc9e03623c5b9087a1d6fa8813974ce9/"
    "instruction_following_eval/data/input_data.jsonl",
    sha256="67ffeee0fcb87c317c5b08a2de85557b4a7e96ada6178aa645b4954fe4b53d49",
    size=207_111,
)


class Row(Struct, frozen=True):
    """A line of the file."""

    key: int
    prompt: str
    instruction_id_list: list[str]
    kwargs: list[dict[str, Any]]
    """The arguments of each instruction, in their order."""


class IFEval(Environment):
    """Prompts with instructions that a program can check. The reward is 1 where all are followed to the letter.

    The score's metrics are the paper's others: `loose`, the same with eight forms of the response of which one has to
    follow, and `instructions` and `instructions_loose`, the shares of a prompt's instructions that are followed.
    """

    name = "ifeval"
    version = "1"

    async def ready(self) -> None:
        ready()

    def tasks(self) -> Iterable[Task]:
        lines = prepared(self.name, PROMPTS).read_bytes().splitlines()
        for row in (msgspec.json.decode(line, type=Row) for line in lines):
            yield Task(
                id=str(row.key),
                input=[Message(role="user", content=row.prompt)],
                data={"instructions": row.instruction_id_list, "arguments": row.kwargs},
                tags={"category": row.instruction_id_list[0].partition(":")[0]},
            )

    def solution(self, task: Task) -> Sequence[str] | None:
        """A text that follows the instructions and says nothing; None for the prompts that contradict themselves."""
        text = text_for(_instructions(task))
        return None if text is None else [text]

    def wrong(self, task: Task) -> Sequence[str]:
        return texts_without(_instructions(task))

    def verify(self, task: Task, response: Response) -> Score:
        text = response.text
        asked = _instructions(task)
        strict = [follows(text, kind, arguments) for kind, arguments in asked]
        loose = [follows_loosely(text, kind, arguments) for kind, arguments in asked]
        metrics = {
            "loose": float(all(loose)),
            "instructions": sum(strict) / len(strict),
            "instructions_loose": sum(loose) / len(loose),
        }
        missed = [kind for (kind, _), followed in zip(asked, strict, strict=True) if not followed]
        followed = f"misses {', '.join(missed)}" if missed else "follows all"
        return Score(reward=float(not missed), metrics=metrics, answer=followed if text.strip() else None)


def _instructions(task: Task) -> list[tuple[str, dict[str, Any]]]:
    return list(zip(task.data["instructions"], task.data["arguments"], strict=True))


BENCHMARK = Benchmark(
    environment=IFEval(),
    repeats=2,
    chance=0.248,  # of repeating the prompt, which follows the instructions of 134 of 541; talk of the weather: of 61
    data=(PROMPTS,),
    defects=(
        Defect(
            what="The original draws a letter at random where an instruction asks for # or !. Here the sign counts.",
            why="A judgement by chance can't be kept.",
            tasks=("1122", "1129"),
            outputs=14,
            incomparable=True,
        ),
        Defect(
            what="The original's detection of languages is not seeded, and wavers on a few words in capitals.",
            why="Here it is seeded, so that the same text always gets the same score.",
            tasks=("3456", "3617"),
            outputs=14,
            incomparable=True,
        ),
        Defect(
            what="Copies of the set ask for one placeholder; the original file asks for three since 2024.",
            why="The file of the original is used.",
            tasks=("2785",),
            outputs=7,
            incomparable=True,
        ),
        Defect(
            what="Many rules are cruder than the instruction: a title needs << and >> alone, a JSON fence is optional.",
            why="The published scores were computed with them.",
        ),
        Defect(
            what="Prompts to repeat a text that breaks another of their instructions can't be followed by anybody.",
            why="The published scores were computed with them.",
            tasks=("1627", "3369", "3371", "3718", "374"),
            outputs=35,
        ),
        Defect(
            what="Any text that follows the instructions counts, whatever it says: another prompt's, or a changed one.",
            why="That is what the paper measures.",
            probes=(
                "another task's answer",
                "denied",
                "both answers",
                "either or",
                "neighbouring number",
                "one value changed",
                "all values changed",
            ),
        ),
        Defect(
            what="Blank lines before the text count as a paragraph, where a paragraph has to begin with a word.",
            why="The original counts them.",
            probes=("gold with spaces and lines around it",),
        ),
    ),
)

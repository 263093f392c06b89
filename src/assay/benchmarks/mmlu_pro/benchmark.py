"""mmlu-pro: 12,032 questions of 14 subjects with up to ten options (Wang et al. 2024). A row:

id      11286
asks    … Question: Stack is also known as
        Options: A. FIFO memory
        B. Flash memory
        C. LIFO memory
        D. LILO memory
        Answer: Let's think step by step.
gold    C
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from random import Random
from string import ascii_uppercase
from typing import Any

import msgspec
from msgspec import Struct

from assay.benchmark import Benchmark, Defect, Environment
from assay.benchmark.data import Source, prepared
from assay.benchmark.verify.choice import choice
from assay.errors import UsageError
from assay.gyms.rows import read_rows
from assay.types import Message, Response, Sampling, Score, Task

HUB = "https://huggingface.co/datasets/TIGER-Lab/MMLU-Pro/resolve"
PROMPT = (
    "The following are multiple choice questions (with answers) about {subject}. Think step by step and then output "
    'the answer in the format of "The answer is (X)" at the end.\n\n'
)
THINK = "Let's think step by step."
FILLER = "N/A"
"""What some revisions have in the place of options that were taken out."""
GUESS = "G"
"""What the original takes where it reads no answer: its random letter is drawn by the same seed each time."""


class Row(Struct, frozen=True):
    """A question."""

    question_id: int
    question: str
    options: list[str]
    answer: str
    category: str
    src: str


class Example(Struct, frozen=True):
    """A question with its reasoning and answer, which stands in the prompts of its subject."""

    question: str
    options: list[str]
    cot_content: str
    category: str


def _questions(file: Path) -> bytes:
    """Returns the questions of a file as JSONL in the order of their ids, from Parquet or JSONL."""
    try:
        rows = msgspec.convert([row.cells for row in read_rows([file])], list[Row])
    except msgspec.ValidationError as error:
        raise UsageError(f"{file} has no questions of mmlu-pro: {error}") from None
    kept = sorted(rows, key=lambda row: row.question_id)
    return b"".join(msgspec.json.encode(row) + b"\n" for row in kept)


TEST = Source(
    url=f"{HUB}/3373e0b32277875b8db2aa555a333b78a08477ea/data/test-00000-of-00001.parquet",
    sha256="f5c9bc241093ed27dcb96962c6e7aa4b43442e7ff7b1284b5383309a0ab2ce3a",
    size=9_127_568,
    convert=_questions,
    name="test.jsonl",
)
EXAMPLES = Source(
    url=f"{HUB}/475d58ba0cc18a15fd5d4221f41919199e692331/data/validation-00000-of-00001.parquet",
    sha256="a6db33e44c7a8d6a0a9665aabe6596a5e7436bebb62412d1219821283835e457",
    size=None,
)


class MMLUPro(Environment):
    """Questions after `shots` examples of the same subject. The option that the message settles on is judged."""

    version = "1"

    def __init__(self, name: str, shots: int, test: Source = TEST, examples: Source = EXAMPLES) -> None:
        self.name = name
        self._shots = shots
        self._test = test
        self._examples = examples

    def tasks(self) -> Iterable[Task]:
        lines = prepared(self.name, self._test).read_bytes().splitlines()
        examples = self._example_texts()
        for row in (msgspec.json.decode(line, type=Row) for line in lines):
            options = [option for option in row.options if option != FILLER]
            prompt = PROMPT.format(subject=row.category) + examples.get(row.category, "")
            yield Task(
                id=str(row.question_id),
                input=[Message(role="user", content=prompt + question_text(row.question, options))],
                gold=row.answer,
                data={"options": options},
                tags={"category": row.category, "src": row.src},
            )

    def _example_texts(self) -> dict[str, str]:
        """Returns the examples of each subject, as they stand in its prompts."""
        if not self._shots:
            return {}
        try:
            file = prepared(self.name, self._examples)
        except UsageError as error:
            raise UsageError(f"{error}\n  The questions without examples are mmlu-pro-0-shot.") from None
        rows = msgspec.convert([row.cells for row in read_rows([file])], list[Example])
        by_subject: dict[str, list[Example]] = {}
        for row in rows:
            by_subject.setdefault(row.category, []).append(row)
        return {
            subject: "".join(
                question_text(row.question, [option for option in row.options if option != FILLER], row.cot_content)
                for row in rows[: self._shots]
            )
            for subject, rows in by_subject.items()
        }

    def verify(self, task: Task, response: Response) -> Score:
        return choice(response, task.data["options"], task.gold or "", template="answer is {}")

    def guess(self, task: Task, rng: Random) -> str:
        return f"The answer is ({rng.choice(ascii_uppercase[: len(task.data['options'])])})."


def question_text(question: str, options: Iterable[str], worked: str = "") -> str:
    """Returns a question as it stands in the prompt, with what is worked out of its answer."""
    lettered = "".join(f"{letter}. {option}\n" for letter, option in zip(ascii_uppercase, options, strict=False))
    return f"Question: {question}\nOptions: {lettered}Answer: {worked.removeprefix('A: ') or THINK}\n\n"


_STATED = re.compile(r"answer is \(?([A-J])\)?")
_LABELLED = re.compile(r"[aA]nswer:\s*([A-J])")
_LONE = re.compile(r"\b[A-J]\b")


def original(task: Task, response: Response, settings: Mapping[str, Any]) -> Score | None:
    """Returns the original's own judgement; None where it reads no letter and guesses.

    It takes the first "answer is X", else the last "answer: X" of the first line that has one, else the last capital
    from A to J that stands alone.
    """
    text = response.text
    if stated := _STATED.search(text):
        answer = stated[1]
    elif labelled := [*_LABELLED.finditer(text)]:
        line = text.find("\n", labelled[0].start())
        answer = [one[1] for one in labelled if one.start() < line or line < 0][-1]
    elif lone := _LONE.findall(text):
        answer = lone[-1]
    else:
        return None
    return Score(reward=float(answer == task.gold), answer=answer)


CORRECTED = tuple(
    re.findall(
        r"\d+",
        """1289 2394 2634 2817 7063 7780 8015 8110 8142 8230 8263 8410 8547 8572 8630 8680 8757 8780 8881 8882 8884 8933
        11289""",
    )
)
"""The questions whose gold answer has changed since Llama-3.1-8B was judged."""
DEFECTS = (
    Defect(
        what="Where the original reads no letter it draws one, and counts it. Parity leaves these outputs out.",
        why="A judgement by chance can't be kept: no letter is wrong here.",
        outputs=702,
    ),
    Defect(
        what="The original takes the first answer. A model that works the examples out again is judged by those.",
        why="Here the last answer counts: 367 of 23,304 recorded outputs are judged otherwise.",
        outputs=367,
    ),
    Defect(
        what="The published judgement of Llama-3.1-8B is by other gold answers than these, which were corrected later.",
        why="The answers that hold today are used.",
        tasks=CORRECTED,
        outputs=46,
        incomparable=True,
    ),
    Defect(
        what="In 524 questions the right option begins or ends with white space, and in most of them it alone does.",
        why="The prompts are the original's to the byte.",
    ),
    Defect(
        what="159 questions stand there twice.",
        why="They are in the original's set, and the published scores count them twice.",
        probes=("duplicates",),
    ),
)


@cache
def benchmark_of(name: str, shots: int, test: Source = TEST, examples: Source = EXAMPLES) -> Benchmark:
    """Returns the benchmark with this number of examples before each question."""
    return Benchmark(
        environment=MMLUPro(name, shots, test, examples),
        repeats=2,
        sampling=Sampling(temperature=0.0),
        chance=0.117,  # of always answering A: 1,405 of 12,032; a random option is right in 11.1 %
        formats=("{}", "The answer is ({}).", "It follows from the definition.\n\nThe answer is ({})."),
        data=(test, examples) if shots else (test,),
        original=original,
        most_left_out=0.06,
        defects=DEFECTS,
    )


BENCHMARK = benchmark_of("mmlu-pro", shots=5)

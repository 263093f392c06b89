"""math-l5: 721 competition problems of MATH's level 5 with integer answers (Hendrycks et al. 2021; ZeroEval). A row:

id      0
asks    Find the sum of all integers that satisfy these conditions: \\[
        |x|+1>7\\text{ and }|x+1|\\le7.
        \\]
gold    -15
"""

from collections.abc import Iterable

from assay.benchmark import Benchmark, Defect, Environment
from assay.benchmark.data import Source
from assay.benchmark.verify import maths
from assay.benchmarks import zeroeval
from assay.types import Response, Score, Task

ROWS = Source(
    url=f"{zeroeval.REPOSITORY}/b31fc108593d8868961abb041871db8365ca205e/result_dirs/math-l5/gpt-4o-2024-08-06.json",
    sha256="2deb8ca2007e2195b8ba6cdb1089097ccb88d901facc554d185a262cb4de4d13",
    size=2_112_358,
)

_LATEX = str.maketrans({"\b": "\\b", "\t": "\\t", "\f": "\\f", "\r": "\\r"})
"""JSON reads the first letter of an unescaped \\frac or \\text as a control character."""


class MathL5(Environment):
    """Competition mathematics; the model answers in JSON, and its `answer` field is compared as mathematics."""

    name = "math-l5"
    version = "1"

    def tasks(self) -> Iterable[Task]:
        return zeroeval.tasks(self.name, ROWS)

    async def verify(self, task: Task, response: Response) -> Score:
        return await maths.verify(task.gold or "", (zeroeval.answer(response.text) or "").translate(_LATEX))


BENCHMARK = Benchmark(
    environment=MathL5(),
    repeats=2,
    chance=0.045,  # of always answering 4: 32 of 721
    formats=zeroeval.FORMATS,
    data=(ROWS,),
    original=zeroeval.original,
    defects=(
        Defect(
            what="Of Llama 3.1 alone the original reads a box where there is no field.",
            why="Here a box counts for every model. --setting box_fallback=true reads as the original does.",
            outputs=104,
        ),
        Defect(
            what="The gold answer lacks its sign, 3 for -3, or is the first of two: 10879 for ±10879, 2 for 2, -1.",
            why="The published scores were computed with it.",
            tasks=("46", "378", "698"),
            outputs=24,
        ),
        Defect(
            what="Five problems are variants of each other: the same text with another area, triangle or power.",
            why="They are in the original's set, and have other answers.",
            tasks=("248", "273", "306", "313", "362"),
            probes=("duplicates",),
        ),
    ),
)

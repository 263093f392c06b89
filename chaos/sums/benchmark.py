"""The same multiplications, judged by math-verify in processes."""

from collections.abc import Iterable, Mapping

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify import maths
from assay.model import Model
from assay.types import Message, Response, Score, Task
from chaos.script import gold, question


class Sums(Environment):
    name, version = "chaos-sums", "1"

    def tasks(self) -> Iterable[Task]:
        for number in range(400):
            yield Task(id=f"t{number}", input=[Message("user", question("sums", number))], gold=gold(number))

    async def assess(self, task: Task, response: Response, models: Mapping[str, Model]) -> Score:
        return await maths.verify(task.gold or "", response.text)


BENCHMARK = Benchmark(environment=Sums(), repeats=2)

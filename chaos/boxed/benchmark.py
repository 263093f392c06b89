"""The same multiplications as programs, judged by a test in a sandbox."""

from collections.abc import Iterable, Mapping

from assay.benchmark import Benchmark, Environment
from assay.benchmark.verify.code import LIMITS, check_code, code_in
from assay.model import Model
from assay.types import Message, Response, Score, Task
from chaos.script import gold, question


class Boxed(Environment):
    name, version, sandbox = "chaos-boxed", "1", LIMITS

    def tasks(self) -> Iterable[Task]:
        for number in range(400):
            yield Task(id=f"t{number}", input=[Message("user", question("boxed", number))], gold=gold(number))

    async def assess(self, task: Task, response: Response, models: Mapping[str, Model]) -> Score:
        code = code_in(response.text, "answer")
        tests = f"def check(candidate):\n    assert candidate() == {task.gold}"
        checked = await check_code([[code]], entry_point="answer", tests=tests, limits=self.sandbox)
        return Score(reward=float(checked.passed), answer=code)


BENCHMARK = Benchmark(environment=Boxed(), repeats=2)

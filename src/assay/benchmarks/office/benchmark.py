"""office: 60 tasks for the assistant of a small company, done with tools and scored by what has changed. A row:

id       namesake-2
asks     Aisha Lopez called from Opal Textiles: the phone number is now 555-6863. Please change it.
gold     find_customers {"text": "Aisha Lopez"}, update_customer {"id": "C-44", "phone": "555-6863"}
changes  now: customer C-44: phone = 555-6863
tags     category namesake, trap namesake, steps 2
"""

from collections.abc import Iterable, Sequence

from assay.benchmark import Benchmark, Call
from assay.benchmark.tools import ToolEnvironment
from assay.benchmarks.office.problems import COUNT, INSTANCES, Problem, problem
from assay.benchmarks.office.session import OfficeSession
from assay.benchmarks.office.world import STAFF, TODAY, spoken
from assay.digest import tasks_digest
from assay.types import Message, RolloutLimits, Sampling, Task

DIGEST = "c6ce1c92ee06246bb61e73f86fb5034fd711548348a2a6f84c6f1311143d352f"
SITUATION = (
    f"You are the assistant of Harbour Lane, a small company. Today is {spoken(TODAY)} {TODAY.year}. The staff are"
    f" {', '.join(STAFF)}. Do what is asked with the tools, and nothing else. When it is done, say so in a sentence."
)


class Office(ToolEnvironment):
    """Mail, calendar and customers, in a database of each rollout's own."""

    name = "office"
    version = "1"
    session = OfficeSession

    def tasks(self) -> Iterable[Task]:
        tasks = [self._task(problem(seed)) for seed in range(COUNT)]
        if tasks_digest(tasks) != DIGEST:
            raise AssertionError(f"office's tasks are not the frozen ones: digest {tasks_digest(tasks)}")
        return tasks

    def solution(self, task: Task) -> Sequence[Call]:
        return problem(task.data["seed"]).calls

    def _task(self, asked: Problem) -> Task:
        return Task(
            id=f"{asked.kind}-{asked.seed % INSTANCES}",
            input=[Message(role="system", content=SITUATION), Message(role="user", content=asked.request)],
            data={"seed": asked.seed, "changes": asked.changes},
            tools=self.tools,
            tags={"category": asked.kind, "trap": asked.trap, "steps": str(len(asked.calls))},
        )


BENCHMARK = Benchmark(
    environment=Office(),
    repeats=4,
    sampling=Sampling(temperature=1.0, top_p=1.0),
    limits=RolloutLimits(steps=32, tool_s=60.0),
)

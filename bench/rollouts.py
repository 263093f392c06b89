"""A whole run in a process of its own: plan, agent, session, verification, a line in the store.

`python -m bench.rollouts run '{"environment": "quiz", ...}'` prints its Figures.
"""

import tempfile
from pathlib import Path

from assay.benchmark.verify import maths
from assay.collect.run import RunPlan, collect_run
from assay.config import ModelConfig
from assay.store import read_rollouts
from bench import texts
from bench.bare import overheads
from bench.environments import benchmark
from bench.figures import main


async def run(
    environment: str, url: str, count: int, in_flight: int, delay_s: float = 0.0, stream: bool = False
) -> dict[str, float]:
    """Returns a run of `count` rollouts, which has to score every one."""
    with tempfile.TemporaryDirectory() as folder:
        tally = await collect_run(
            RunPlan.of(
                benchmark=benchmark(environment, count // texts.REPEATS),
                name="fixed",
                server=ModelConfig(dialect="responses", id="fixed", base_url=url, stream=stream),
                folder=Path(folder),
                repeats=texts.REPEATS,
                concurrency=in_flight,
            )
        )
        if not tally.scored == tally.reward == count:
            raise SystemExit(f"{tally.scored} of {count} rollouts were scored, {tally.last_failure}")
        maths._PROCESSES.close()  # so that their CPU time is counted
        if not delay_s:
            return {}
        return overheads([rollout.wall_s - delay_s for rollout in read_rollouts(Path(folder))], in_flight)


if __name__ == "__main__":
    main({"run": run})

"""`python -m bench`: rollouts a second and CPU per 1,000, beside the floor measured in the same run.

Starts an nginx that answers at once and one that answers after a second, or takes `--base-url` (and `--slow-url`).
Floor and Assay take turns, so that a noisy machine is noisy for both; ratios are of medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import endpoint

console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--base-url", help="an endpoint that answers at once, instead of nginx")
    parser.add_argument("--slow-url", help="an endpoint that answers after a second")
    parser.add_argument("--rollouts", type=int, default=30_000, help="of each measurement (default 30,000)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is taken (default 3)")
    arguments = parser.parse_args()
    if not arguments.base_url and not endpoint.available():
        parser.error(
            "there is no nginx with its echo module here (Debian: nginx-light, libnginx-mod-http-echo); give --base-url"
        )
    given = nullcontext((arguments.base_url, arguments.slow_url))
    with given if arguments.base_url else endpoint.running() as (instant, slow):
        wait_for(instant)
        throughput(instant, arguments.rollouts, arguments.rounds)
        first_rollout(instant, arguments.rounds)
        if slow:
            waiting(slow, 10_000, 5_000, arguments.rounds)


def throughput(url: str, count: int, rounds: int) -> None:
    """Rollouts against an instant endpoint on one core, and the floor."""
    table = Table("in flight", "rollouts/s", "floor/s", "ratio", "CPU s per 1,000", "floor CPU", "peak MiB", box=None)
    for in_flight in (64, 512, 4096):
        ours, floors = [], []
        for _ in range(rounds):
            floors.append(measure("floor", url, count, in_flight))
            ours.append(measure("assay", url, count, in_flight))
        rate, floor_rate = count / median(ours, "wall_s"), count / median(floors, "wall_s")
        table.add_row(
            f"{in_flight:,}",
            f"{rate:,.0f}",
            f"{floor_rate:,.0f}",
            f"{rate / floor_rate:.2f}",
            f"{1000 * median(ours, 'cpu_s') / count:.3f}",
            f"{1000 * median(floors, 'cpu_s') / count:.3f}",
            f"{max(run['peak_mib'] for run in ours):.0f}",
        )
    console.print(f"\n{count:,} rollouts, instant endpoint, one core, median of {rounds}", table)


def first_rollout(url: str, rounds: int) -> None:
    """Seconds from the command to the first line in rollouts.jsonl, `assay run` as a user gives it."""
    seconds: list[float] = []
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "assay.cli", "run", "arithmetic", "--model", "openai:fixed"]
            command += ["--base-url", url, "--repeats", "1", "--out", folder]
            started = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
            file = Path(folder, "rollouts.jsonl")
            while not (file.exists() and file.stat().st_size) and process.poll() is None:
                time.sleep(0.002)
            seconds.append(time.perf_counter() - started)
            process.wait(60)
    # The first one also writes the bytecode.
    console.print(f"\ncommand to first rollout: {statistics.median(seconds[1:]):.2f} s (median of {rounds})")


def waiting(url: str, count: int, in_flight: int, rounds: int) -> None:
    """Rollouts that each wait a second for their answer: how near to the ideal."""
    runs = [measure("assay", url, count, in_flight) for _ in range(rounds)]
    ideal = count / in_flight
    console.print(
        f"\n{count:,} rollouts of 1 s at {in_flight:,} in flight: {median(runs, 'wall_s'):.2f} s "
        f"(ideal {ideal:.0f} s), peak {max(run['peak_mib'] for run in runs):.0f} MiB"
    )


def measure(kind: str, url: str, count: int, in_flight: int) -> dict[str, float]:
    """One measurement in a fresh process."""
    command = [sys.executable, "-m", "bench.measure", kind, url, str(count), str(in_flight)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def median(runs: list[dict[str, float]], figure: str) -> float:
    return statistics.median(run[figure] for run in runs)


def wait_for(url: str) -> None:
    """Return once the endpoint takes requests."""
    for _ in range(50):
        try:
            measure("floor", url, 1, 1)
        except SystemExit:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"{url} does not answer")


if __name__ == "__main__":
    main()

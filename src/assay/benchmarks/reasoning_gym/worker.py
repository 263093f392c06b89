"""A process that holds one of the library's data sets: writes its problems, then scores an answer a line.

    python worker.py NAME SEED SIZE DEADLINE_S     {"version": …, "problems": [[question, answer or null], …]}
    {"index": 3, "answer": "42"}                   {"score": 1.0} or {"error": "ValueError: …"}

Each answer is scored in a child of its own: some of the library's scorers evaluate what they are given, so that one may
never end, or change what the next one sees.
"""

import importlib
import json
import os
import resource
import select
import signal
import sys
from importlib.metadata import version
from typing import Any

MEMORY_BYTES = 4 << 30


def main(name: str, seed: int, size: int, deadline_s: float) -> None:
    # The library prints as it goes: what it prints is not for the reader of this process's answers.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Only now, for it may print too.
    data: Any = importlib.import_module("reasoning_gym").create_dataset(name, seed=seed, size=size)
    entries = [data[index] for index in range(size)]
    problems = [(entry["question"], entry["answer"]) for entry in entries]
    print(json.dumps({"version": version("reasoning-gym"), "problems": problems}, default=str), file=out, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(_in_child(data, entries[asked["index"]], asked["answer"], deadline_s), file=out, flush=True)


def _in_child(data: Any, entry: Any, answer: str, deadline_s: float) -> str:
    """One line of JSON: the score, or what kept the child from finding it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        os.write(write, _score(data, entry, answer).encode())
        os._exit(0)
    os.close(write)
    try:
        ready, _, _ = select.select([read], [], [], deadline_s)
        said = os.read(read, 1 << 16).decode() if ready else ""
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if not ready:
        return json.dumps({"error": f"TimeoutError: no score within {deadline_s:g} s"})
    return said or json.dumps({"error": f"the scorer's process died (status {status})"})


def _score(data: Any, entry: Any, answer: str) -> str:
    try:
        return json.dumps({"score": float(data.score_answer(answer=answer, entry=entry))})
    except BaseException as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}"[:2000]})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))

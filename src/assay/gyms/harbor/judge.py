"""The tests of a Harbor task: run over what an agent left, in its machine or in one of their own."""

from collections.abc import Mapping
from contextlib import suppress

from assay.errors import VerifierError
from assay.gyms.harbor.config import User
from assay.gyms.harbor.rewards import Rewards, read_rewards
from assay.gyms.harbor.task import Source, Stage
from assay.sandbox import Finished
from assay.sandbox.machine import AnyMachine

VERIFIER = "/logs/verifier"
TESTS = "/tests"
OUTPUT = f"{VERIFIER}/test-stdout.txt"
"""Where the script's output goes, as in Harbor."""
CHMOD_S = 60.0
MOST_BYTES = 2**20
"""Of a file of rewards."""
TAIL = 2000
"""Characters of the output's end that a failure shows."""


async def run_shell(
    machine: AnyMachine,
    command: str,
    *,
    timeout_s: float,
    user: User = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> Finished:
    """Returns how a shell's command ended."""
    return await machine.exec(["sh", "-c", command], timeout_s=timeout_s, user=user, env=env or {}, cwd=cwd)


async def judge(machine: AnyMachine, stage: Stage, source: Source) -> tuple[Rewards, str]:
    """Returns the rewards that the tests write, and their output's end. Raises VerifierError where they write none.

    Whatever stands where the tests or their results will is removed first, so that an agent has left neither.
    """
    try:
        await machine.remove(VERIFIER)
        await machine.mkdir(VERIFIER, stage.verifier_user)
        if not stage.bundled:
            await machine.remove(TESTS)
            for folder in stage.tests:
                await machine.put(folder, TESTS)
    except OSError as error:
        raise VerifierError("no_place", f"the tests could not be put into the machine: {error}") from None
    await run_shell(machine, f"chmod +x {TESTS}/test.sh", timeout_s=CHMOD_S, user="root")
    finished = await run_shell(
        machine,
        f"({TESTS}/test.sh) >{OUTPUT} 2>&1",
        timeout_s=stage.verifier_s,
        user=stage.verifier_user,
        env={**source.env, **stage.env},
        cwd=source.settings.workdir,
    )
    said = (await _end_of(machine, OUTPUT)).decode(errors="replace")[-TAIL:].strip()
    if finished.stopped_by:
        why = f"the tests were stopped by the limit of {finished.stopped_by} (timeout_sec = {stage.verifier_s:g})"
        raise VerifierError("stopped", f"{why}\n{said}")
    try:
        json = await _reward_file(machine, "reward.json")
        return read_rewards(json, await _reward_file(machine, "reward.txt") if json is None else None), said
    except VerifierError as error:
        raise VerifierError(error.kind, f"{error}\n{said}") from None


async def _reward_file(machine: AnyMachine, name: str) -> bytes | None:
    """Returns a file of rewards; None where there is none. Raises VerifierError where it can't be read."""
    try:
        return await machine.read(f"{VERIFIER}/{name}", MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VerifierError("bad_reward", f"{name} can't be read: {error.strerror or error}") from None


async def _end_of(machine: AnyMachine, path: str) -> bytes:
    """Returns the end of a file; nothing where there is none. A link or a pipe is none either."""
    with suppress(OSError):
        return await machine.read(path, 4 * TAIL, end=True)
    return b""

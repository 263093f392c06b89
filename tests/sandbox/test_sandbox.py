"""What every sandbox gives, and what is left when it is gone."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from assay.errors import SandboxError, UsageError
from assay.sandbox import Sandbox, SandboxConfig, check_sandbox, open_sandbox
from assay.sandbox.bubblewrap import Bubblewrap
from assay.sandbox.container.sandbox import options, parse_state
from assay.sandbox.seccomp import seccomp_filter
from tests.sandbox.available import BUBBLEWRAP_MISSING, missing
from tests.sandbox.programs import running

BUBBLEWRAP = SandboxConfig(memory_mb=128, disk_mb=4)
BARE = SandboxConfig(provider="subprocess", unsafe=True, disk_mb=4)
DOCKER = SandboxConfig(provider="docker", disk_mb=4)
DOCKER_MISSING = missing(DOCKER)


def skipped_where(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(bool(reason), reason=reason or "it is there")


every = pytest.mark.parametrize(
    "config",
    [
        pytest.param(BUBBLEWRAP, id="bubblewrap", marks=skipped_where(BUBBLEWRAP_MISSING)),
        pytest.param(DOCKER, id="docker", marks=skipped_where(DOCKER_MISSING)),
        pytest.param(BARE, id="subprocess"),
    ],
)
bubblewrap = skipped_where(BUBBLEWRAP_MISSING)


def within(config: SandboxConfig, use: Callable[[Sandbox], Awaitable[None]]) -> None:
    async def used() -> None:
        async with open_sandbox(config) as sandbox:
            await use(sandbox)

    asyncio.run(used())


@every
def test_a_command_gets_its_input_and_gives_output_error_and_exit_code(config: SandboxConfig) -> None:
    async def use(sandbox: Sandbox) -> None:
        finished = await sandbox.exec(["sh", "-c", "cat; echo oh >&2; exit 3"], stdin=b"\xffhi\n", timeout_s=20.0)
        assert (finished.exit_code, finished.stdout, finished.stderr) == (3, b"\xffhi\n", b"oh\n")
        assert finished.stopped_by is None and not finished.timed_out and not finished.truncated

    within(config, use)


@every
def test_input_that_is_not_read_is_no_error(config: SandboxConfig) -> None:
    async def use(sandbox: Sandbox) -> None:
        assert (await sandbox.exec(["true"], stdin=b"x" * 10_000_000, timeout_s=20.0)).exit_code == 0

    within(config, use)


@every
def test_files_go_in_and_come_out_and_live_as_long_as_the_session(config: SandboxConfig) -> None:
    async def use(sandbox: Sandbox) -> None:
        await sandbox.write("deep/in/it.bin", b"\x00\xff")
        await sandbox.write("deep/in/it.bin", b"new")
        await sandbox.exec(["sh", "-c", "cat deep/in/it.bin > out; echo more >> deep/in/it.bin"], timeout_s=20.0)
        assert await sandbox.read("out") == b"new"
        assert await sandbox.read("deep/in/it.bin") == b"newmore\n"

    within(config, use)


@every
@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_paths_that_lead_out_are_refused(config: SandboxConfig, path: str) -> None:
    async def use(sandbox: Sandbox) -> None:
        with pytest.raises(PermissionError, match="expected a path below the working directory"):
            await sandbox.read(path)
        with pytest.raises(PermissionError, match="expected a path below the working directory"):
            await sandbox.write(path, b"")

    within(config, use)


@pytest.mark.parametrize("config", [pytest.param(BUBBLEWRAP, marks=bubblewrap), BARE], ids=["bubblewrap", "subprocess"])
def test_reading_and_writing_follow_no_link_and_wait_for_no_pipe(config: SandboxConfig, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary")

    async def use(sandbox: Sandbox) -> None:
        tricks = f"ln -s {tmp_path}/secret file; ln -s {tmp_path} folder; mkfifo pipe; mkdir real; ln -s loop loop"
        assert (await sandbox.exec(["sh", "-c", tricks], timeout_s=20.0)).exit_code == 0
        for path in ("file", "folder/secret", "pipe", "real", "loop", "file/x"):
            with pytest.raises(PermissionError):
                await sandbox.read(path)
        with pytest.raises(FileNotFoundError):
            await sandbox.read("nothing")
        for path in ("folder/secret", "loop/x", "real"):
            with pytest.raises(PermissionError):
                await sandbox.write(path, b"harm")
        await sandbox.write("file", b"mine")  # in the link's place, not through it
        assert await sandbox.read("file") == b"mine"

    within(config, use)
    assert (tmp_path / "secret").read_text() == "canary"


@bubblewrap
def test_a_file_that_is_longer_than_the_disk_is_not_read() -> None:
    async def use(sandbox: Sandbox) -> None:
        made = await sandbox.exec(["python3", "-c", "open('x', 'w').truncate(1 << 40)"], timeout_s=20.0)
        assert made.exit_code == 1
        with pytest.raises(OSError, match="No space left"):
            await sandbox.write("big", b"x" * (8 << 20))

    within(BUBBLEWRAP, use)


@every
def test_the_time_holds(config: SandboxConfig) -> None:
    async def use(sandbox: Sandbox) -> None:
        finished = await sandbox.exec(["sh", "-c", "sleep 60 & sleep 60"], timeout_s=0.5)
        assert finished.timed_out and finished.wall_s < 60
        assert (await sandbox.exec(["echo", "on"], timeout_s=20.0)).stdout == b"on\n"

    within(config, use)


@every
def test_a_command_that_is_not_there_has_the_shells_exit_code(config: SandboxConfig) -> None:
    async def use(sandbox: Sandbox) -> None:
        assert (await sandbox.exec(["there-is-no-such-program"], timeout_s=20.0)).exit_code in (126, 127)

    within(config, use)


@bubblewrap
def test_two_sessions_share_nothing() -> None:
    async def use() -> None:
        async with open_sandbox(BUBBLEWRAP) as one, open_sandbox(BUBBLEWRAP) as other:
            await one.exec(["sh", "-c", "echo x > here; echo x > /tmp/here"], timeout_s=20.0)
            assert (await other.exec(["ls", "/work", "/tmp"], timeout_s=20.0)).stdout == b"/tmp:\n\n/work:\n"

    asyncio.run(use())


@pytest.mark.heavy
@bubblewrap
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_fifty_at_once_leave_nothing_behind(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    mark = f"fifty-{time.monotonic_ns()}"
    program = "import sys, os; os.fork() or __import__('time').sleep(60); print(sys.argv[2])"

    async def one(number: int) -> bytes:
        async with open_sandbox(BUBBLEWRAP) as sandbox:
            await sandbox.write("file", b"x")
            command = ["python3", "-c", program, mark, str(number)]
            return (await sandbox.exec(command, timeout_s=60.0)).stdout

    async def fifty() -> list[bytes]:
        return await asyncio.gather(*(one(number) for number in range(50)))

    def left() -> tuple[str, list[str], int]:
        mounts = Path("/proc/self/mounts").read_text()
        return mounts, sorted(os.listdir("/dev/shm")), len(os.listdir("/proc/self/fd"))

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(one(0))  # the loop opens what it keeps
        before = left()
        assert runner.run(fifty()) == [f"{number}\n".encode() for number in range(50)]
        assert left() == before
    assert running(mark) == [] and running("assay /dev/shm", parent=os.getpid()) == []


@bubblewrap
def test_a_cancelled_exec_leaves_nothing_running() -> None:
    mark = f"cancelled-{time.monotonic_ns()}"

    async def use() -> None:
        async with open_sandbox(BUBBLEWRAP) as sandbox:
            task = asyncio.create_task(sandbox.exec(["sh", "-c", f"sleep 60; : {mark}"], timeout_s=60.0))
            while not running(mark):
                await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert running(mark) == []

    asyncio.run(use())


@bubblewrap
def test_whenever_the_time_is_up_it_is_a_result_and_nothing_is_left() -> None:
    mark = f"brief-{time.monotonic_ns()}"
    times_s = iter([number / 2500 for number in range(100)])

    async def some() -> list[str | None]:
        async with open_sandbox(BUBBLEWRAP) as sandbox:
            command = ["sh", "-c", f"sleep 0.01; : {mark}"]
            return [(await sandbox.exec(command, timeout_s=time_s)).stopped_by for time_s in times_s]

    async def all_of_them() -> set[str | None]:
        return {limit for limits in await asyncio.gather(*(some() for _ in range(4))) for limit in limits}

    assert asyncio.run(all_of_them()) <= {"time", None}
    assert running(mark) == []


@bubblewrap
@pytest.mark.parametrize("options", [(), ("private",)])
def test_what_runs_ends_with_us_however_we_end(options: tuple[str, ...]) -> None:
    mark = f"orphan-{time.monotonic_ns()}"

    async def use() -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", *sys.path])}
        program = f"import time; '{mark}'; time.sleep(60)"
        ours = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.sandbox.carry", program, *options),
            env=environment,
            cwd=Path(__file__).parents[2],
        )
        while not any(line.startswith("python3") for line in running(mark)):
            await asyncio.sleep(0.05)
        ours.kill()
        await ours.wait()
        for _ in range(100):
            if not running(mark):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(running(mark))

    asyncio.run(use())


@bubblewrap
def test_a_sandbox_that_dies_is_an_error_and_no_result() -> None:
    class Watched(Bubblewrap):
        async def die(self) -> None:
            assert self._keeper is not None
            self._keeper.kill()
            await self._keeper.wait()

    async def use() -> None:
        async with Watched(BUBBLEWRAP) as sandbox:
            await sandbox.die()
            with pytest.raises(SandboxError, match="bubblewrap failed"):
                await sandbox.exec(["true"], timeout_s=20.0)
        with pytest.raises(SandboxError, match="is stopped"):
            await sandbox.exec(["true"], timeout_s=20.0)

    asyncio.run(use())


@bubblewrap
def test_what_the_configuration_shows_is_readable_and_not_writable() -> None:
    shown = Path("/etc/os-release")
    content = shown.read_bytes()

    async def use(sandbox: Sandbox) -> None:
        finished = await sandbox.exec(["sh", "-c", f"cat {shown}; echo x > {shown}"], timeout_s=20.0)
        assert finished.stdout == content and finished.exit_code != 0

    within(SandboxConfig(readable=(str(shown),)), use)


@pytest.mark.parametrize("path", ["/tmp", "/work/x", "/dev/null", "/proc/1", "relative", "/there/is/none"])
def test_what_cannot_be_shown_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="expected the absolute path"):
        open_sandbox(SandboxConfig(readable=(path,)))


def test_nothing_unsafe_is_chosen_unless_it_is_asked_for() -> None:
    config = SandboxConfig(provider="subprocess")
    with pytest.raises(UsageError, match="unsafe = true"):
        asyncio.run(check_sandbox(config))
    with pytest.raises(UsageError, match="apt install bubblewrap"):
        open_sandbox(config)


def test_a_machine_without_bubblewrap_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="apt install bubblewrap"):
        asyncio.run(check_sandbox(SandboxConfig()))


@skipped_where("" if DOCKER_MISSING else "docker works here")
def test_docker_that_does_not_work_says_so_before_anything_starts() -> None:
    assert re.search("docker does not answer|there is no docker", DOCKER_MISSING)


def test_dockers_command_line_shuts_everything_off() -> None:
    arguments = options(SandboxConfig(memory_mb=100, disk_mb=20, processes=9, readable=("/data",)), 77)
    line = " ".join(arguments)
    for part in (
        "--network none",
        "--read-only",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--user 77:77",
        "--memory 120m --memory-swap 120m",
        "--ulimit nproc=9 --pids-limit 25",
        "--tmpfs /work:rw,nosuid,nodev,exec,size=20971520,mode=1777",
        "--volume /data:/data:ro",
    ):
        assert part in line


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (b"true false\n", (True, False)),
        (b"true true\n", (True, True)),
        (b"false false\n", (False, False)),
        (b"", (False, False)),
    ],
)
def test_dockers_state_is_read(text: bytes, state: tuple[bool, bool]) -> None:
    assert parse_state(text) == state


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(UsageError, match="x86_64 and aarch64; this is sparc"):
        seccomp_filter("sparc")
    assert len(seccomp_filter("aarch64")) == len(seccomp_filter("x86_64"))


def test_signals_are_told_as_a_shell_tells_them() -> None:
    async def use(sandbox: Sandbox) -> None:
        finished = await sandbox.exec(["sh", "-c", "kill -TERM $$"], timeout_s=20.0)
        assert finished.exit_code == 128 + signal.SIGTERM and finished.stopped_by is None

    within(BARE, use)
    if not BUBBLEWRAP_MISSING:
        within(BUBBLEWRAP, use)


@bubblewrap
def test_programs_reach_the_socket_that_is_listened_on_and_nothing_else() -> None:
    call = "import socket; s = socket.create_connection(('127.0.0.1', {})); print(s.recv(9).decode())"
    out = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"

    async def use(sandbox: Sandbox) -> None:
        with await sandbox.listen() as listener:
            port = listener.getsockname()[1]

            async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(b"served")
                await writer.drain()
                writer.close()

            async with await asyncio.start_server(answer, sock=listener):
                for _ in range(2):  # programs share one network
                    finished = await sandbox.exec(["python3", "-c", call.format(port)], timeout_s=20.0)
                    assert (finished.stdout, finished.stderr) == (b"served\n", b"")
                finished = await sandbox.exec(["python3", "-c", out], timeout_s=20.0)
                assert b"unreachable" in finished.stderr

    within(BUBBLEWRAP, use)


@bubblewrap
def test_a_program_that_is_given_up_as_it_starts_is_gone() -> None:
    mark = "assay-given-up-4713"

    async def use(sandbox: Sandbox) -> None:
        with await sandbox.listen():
            for wait_s in (0, 0.001, 0.002, 0.004):
                started = asyncio.ensure_future(sandbox.exec(["sh", "-c", "sleep 60; :", mark], timeout_s=60.0))
                await asyncio.sleep(wait_s)
                started.cancel()
                await asyncio.wait({started})
                assert started.cancelled()
            await asyncio.sleep(0.2)
            assert not running(mark)

    within(BUBBLEWRAP, use)

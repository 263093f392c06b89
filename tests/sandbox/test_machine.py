"""Machines with a root of their own: what programs can do there and what they can't, and their images."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from assay.errors import InputError, SandboxError, UsageError
from assay.sandbox import Finished, SandboxConfig
from assay.sandbox.machine import AnyMachine, Image, Machine, Machines, build_image, check_image
from assay.sandbox.machine.cgroup import cgroups
from assay.sandbox.machine.machine import KEEPER
from assay.sandbox.machine.own import OwnMachines
from assay.sandbox.machine.scratch import remove_leftovers, scratch_files
from tests.commands import until
from tests.roots import small_root
from tests.sandbox.available import needs_machines
from tests.sandbox.engines import KINDS, machines_here

T = TypeVar("T")
pytestmark = needs_machines
CONFIG = SandboxConfig(memory_mb=256, processes=64, disk_mb=32, output_bytes=100_000)


@pytest.fixture(scope="module", autouse=True)
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tar with a small root; images are kept in a folder of these tests."""
    folder = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield str(small_root(folder / "root.tar"))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Machines:
    return machines_here(request.param)


def within(kind: Machines, base: str, use: Callable[[AnyMachine], Awaitable[T]], config: SandboxConfig = CONFIG) -> T:
    async def opened() -> T:
        async with kind.open(await kind.build(base, {}), config) as machine:
            return await use(machine)

    return asyncio.run(opened())


def shell(kind: Machines, base: str, *commands: str, user: str | None = None, timeout_s: float = 20) -> list[Finished]:
    async def run(machine: AnyMachine) -> list[Finished]:
        return [await machine.exec(["sh", "-c", one], timeout_s=timeout_s, user=user) for one in commands]

    return within(kind, base, run)


def test_a_command_has_its_user_folder_variables_and_streams(kind: Machines, base: str):
    async def run(machine: AnyMachine) -> Finished:
        script = 'id -un; pwd; echo "$A"; cat; echo no >&2; exit 7'
        settings = {"user": "worker", "cwd": "/tmp", "env": {"A": "b c"}}
        return await machine.exec(["sh", "-c", script], timeout_s=9, stdin=b"in\n" * 30_000, **settings)

    ran = within(kind, base, run, SandboxConfig())
    assert ran.stdout[:20] == b"worker\n/tmp\nb c\nin\ni" and len(ran.stdout) == 16 + 90_000
    assert (ran.stderr, ran.exit_code, ran.stopped_by) == (b"no\n", 7, None)


def test_what_is_written_and_what_runs_is_there_for_the_next_command(kind: Machines, base: str):
    first, second = shell(
        kind, base, "echo x > /file; (sleep 1000 &) ; echo began", "cat /file; ps ax | grep -c '[s]leep 1000'"
    )
    assert first.stdout == b"began\n" and second.stdout == b"x\n1\n"


def test_root_in_the_machine_is_root_of_nothing_else(kind: Machines, base: str):
    tries = {
        "echo 1 > /proc/sys/kernel/sysrq": "",
        "echo b > /proc/sysrq-trigger": "",
        "mount -t tmpfs x /tmp": "",
        "mknod /x b 8 0": "",
        "kill -9 1; echo lives": "lives",
        "ls /root/.ssh 2>/dev/null": "",
        "cat /dev/kmsg": "",
    }
    for ran, (tried, said) in zip(shell(kind, base, *tries), tries.items(), strict=True):
        assert ran.stdout.decode().strip() == said, (tried, ran)
        assert ran.exit_code or said, tried


def test_root_in_the_machine_does_not_reach_its_keeper(base: str):
    for ran in shell(
        OwnMachines(), base, "cat /proc/1/environ", "ls /proc/1/root/", "chroot /proc/1/cwd true", "ls /sys"
    ):
        assert not ran.stdout and ran.exit_code, ran


def test_no_folder_that_is_moved_leads_out_of_the_root(kind: Machines, base: str):
    # A process that is locked into a folder, out of which its own folder moves, has only the mount namespace above it.
    inner = "cd /y; : > /ready; while [ ! -e ../moved ]; do sleep 0.05; done; ls ../../../../../../.."
    prepare = "mkdir -p /x/y && cp -r /bin /lib* /usr /x 2>/dev/null; "
    move = f"chroot /x sh -c '{inner}' & while [ ! -e /x/ready ]; do sleep 0.05; done; mv /x/y /y; : > /moved; wait"
    (ran,) = shell(kind, base, prepare + move)
    assert b"moved" in ran.stdout and not {b"boot", b"opt", b"var"} & set(ran.stdout.split()), ran


def test_a_machine_reaches_no_network_but_what_listens_for_it(kind: Machines, base: str):
    async def run(machine: AnyMachine) -> tuple[bytes, bytes]:
        listener = await machine.listen()
        port = listener.getsockname()[1]
        listener.settimeout(9)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"hello\n")

        with socket.create_server(("127.0.0.1", 0)) as other:
            away = f"(exec 3<>/dev/tcp/127.0.0.1/{other.getsockname()[1]}) 2>/dev/null || echo refused"
            refused = await machine.exec(["bash", "-c", away], timeout_s=9)
        waiting = asyncio.create_task(asyncio.to_thread(answer))
        heard = await machine.exec(["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3"], timeout_s=9)
        await waiting
        listener.close()
        return refused.stdout, heard.stdout

    assert within(kind, base, run) == (b"refused\n", b"hello\n")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("command", "limit"),
    [
        ("sleep 61", "time"),
        ("while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done", "output"),
        (
            "for i in 1 2 3 4 5 6 7 8 9; do (x=$(head -c 40000000 /dev/zero | tr '\\0' x); sleep 99; :) & done; wait",
            "memory",
        ),
    ],
)
def test_a_limit_ends_a_command_and_the_machine_goes_on(kind: Machines, base: str, command: str, limit: str):
    ran, after = shell(
        kind, base, command, "ps ax | grep -c '[s]leep [69][19]'", timeout_s=1.5 if limit == "time" else 90
    )
    assert ran.stopped_by == limit
    assert (after.stdout, after.stopped_by) == (b"0\n", None)


def test_a_full_disk_and_a_fork_bomb_stay_inside(kind: Machines, base: str):
    full, after = shell(kind, base, "head -c 100000000 /dev/zero > /big", "rm /big; echo x > /y; cat /y")
    assert (b"No space left" in full.stderr or b"File size limit" in full.stderr) and after.stdout == b"x\n"
    shell(kind, base, "f() { f | f & }; f; sleep 0.5")
    assert shell(kind, base, "echo fine")[0].stdout == b"fine\n"


def test_files_go_in_and_out_and_no_link_leads_out(kind: Machines, base: str, tmp_path: Path):
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/run.sh").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "in/run.sh").chmod(0o755)
    (tmp_path / "in/deep/file").write_text("text")

    async def run(machine: AnyMachine) -> None:
        await machine.exec(
            ["sh", "-c", "mkdir /real; ln -s /real /link; ln -s / /up; ln -s /etc/passwd /pw"], timeout_s=9
        )
        await machine.put(tmp_path / "in", "/link/put")
        assert (await machine.exec(["/real/put/run.sh"], timeout_s=9)).stdout == b"ran\n"
        assert await machine.read("/up/up/real/put/deep/file", 99) == b"text"
        for path in ("/pw", "/nothing", "/dev/zero", "/real"):
            with pytest.raises(OSError):  # noqa: PT011
                await machine.read(path, 99)
        with pytest.raises(PermissionError):
            await machine.read("/real/put/deep/file", 3)
        await machine.exec(["sh", "-c", "ln -s /etc/shadow /real/put/stolen"], timeout_s=9)
        await machine.take("/real/put", tmp_path / "out")
        await machine.remove("/link")
        await machine.remove("/real/put")
        await machine.mkdir("/of/worker", "worker")
        left = await machine.exec(
            ["sh", "-c", "ls /real; ls -d /link; stat -c %U /of/worker || ls -ld /of/worker"], timeout_s=9
        )
        assert b"put" not in left.stdout and b"worker" in left.stdout

    within(kind, base, run)
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {"run.sh", "deep", "file"}
    assert os.access(tmp_path / "out/run.sh", os.X_OK)


def test_shared_files_are_read_alone(kind: Machines, base: str, tmp_path: Path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/file").write_text("here")

    async def run(machine: AnyMachine) -> Finished:
        await machine.share([str(tmp_path / "shared")])
        return await machine.exec(
            ["sh", "-c", f"cat {tmp_path}/shared/file; echo x > {tmp_path}/shared/file"], timeout_s=9
        )

    ran = within(kind, base, run)
    assert ran.stdout == b"here" and ran.exit_code and (tmp_path / "shared/file").read_text() == "here"


def test_shared_files_follow_no_link_out_of_the_machine(kind: Machines, base: str, tmp_path: Path):
    for name in ("shared", "elsewhere"):
        (tmp_path / name).mkdir()

    async def run(machine: AnyMachine) -> None:
        await machine.exec(["sh", "-c", f"rm -r /tmp; ln -s {tmp_path}/elsewhere /tmp"], timeout_s=9)
        with pytest.raises(SandboxError, match="symbolic links"):
            await machine.share([str(tmp_path / "shared")])

    within(kind, base, run)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_machine_that_dies_is_an_error(kind: Machines, base: str):
    async def run(machine: AnyMachine) -> None:
        waiting = asyncio.ensure_future(machine.exec(["sleep", "60"], timeout_s=60))
        await asyncio.sleep(0.3)
        os.kill(machine._child, signal.SIGKILL)  # pyright: ignore
        with pytest.raises(SandboxError, match="died"):
            await waiting

    within(kind, base, run)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core")
def test_programs_use_no_more_cores_than_they_may(base: str):
    async def run() -> Finished:
        async with Machine(await build_image(base, {}), CONFIG, cpus=0.5) as machine:
            chosen = "grep Cpus_allowed_list /proc/self/status; taskset -p ffff $$ > /dev/null || echo refused"
            return await machine.exec(["sh", "-c", chosen], timeout_s=20)

    limited, cores, *refused = asyncio.run(run()).stdout.decode().split()
    if cgroups() is None:  # a cgroup limits the time on all cores
        assert limited == "Cpus_allowed_list:" and cores.isdigit() and refused == ["refused"]


ALONE = """
import asyncio, sys
from assay.sandbox import SandboxConfig
from assay.sandbox.machine import Machine, build_image
async def main():
    async with Machine(await build_image(sys.argv[1], {}), SandboxConfig()) as machine:
        await machine.exec(["sh", "-c", "(sleep 4321 &)"], timeout_s=9)
        print(machine._made, machine._child, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def test_nothing_of_a_machine_outlives_the_process_that_made_it(base: str):
    process = subprocess.Popen([sys.executable, "-c", ALONE, base], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    folder, child = process.stdout.readline().split()
    process.kill()
    process.wait()
    process.stdout.close()
    until(lambda: not Path("/proc", child).exists() and not Path(folder).exists())
    assert folder not in Path("/proc/mounts").read_text()


def test_a_machine_whose_processes_were_all_killed_is_removed_by_the_next_run(base: str):
    process = subprocess.Popen([sys.executable, "-c", ALONE, base], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    folder, child = process.stdout.readline().split()
    os.kill(int(child), signal.SIGSTOP)
    process.kill()
    process.wait()
    process.stdout.close()
    os.kill(int(child), signal.SIGKILL)
    until(lambda: not Path("/proc", child).exists())
    assert sorted(path.name for path in Path(folder).iterdir()) == ["root", "work"]
    until(lambda: (remove_leftovers(), not Path(folder).exists())[1])


def test_what_is_no_dead_machines_folder_is_kept(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    image = asyncio.run(build_image(base, {}))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("elsewhere/root", "assay-machine-full/work", "assay-machine-left/root", "assay-machine-2/files/a"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "assay-machine-full/work/file").touch()
    (tmp_path / "assay-machine-link").symlink_to("elsewhere")

    async def run() -> None:
        async with Machine(image, CONFIG) as machine:
            remove_leftovers()
            assert (await machine.exec(["echo", "here"], timeout_s=9)).stdout == b"here\n"
            assert machine._made.exists()  # pyright: ignore

    asyncio.run(run())
    assert {path.name for path in tmp_path.glob("assay-*")} == {"assay-machine-full", "assay-machine-link"}
    assert (tmp_path / "elsewhere/root").is_dir()


def test_a_folder_that_is_just_made_is_taken_for_no_dead_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    over = threading.Event()

    def remove() -> None:
        while not over.is_set():
            remove_leftovers()

    with ThreadPoolExecutor() as pool:
        removing = pool.submit(remove)
        try:
            for _ in range(300):
                with scratch_files() as files:
                    (files / "file").write_text("here")
                    assert (files / "file").read_text() == "here"
        finally:
            over.set()
        removing.result()
    assert not list(tmp_path.iterdir())


def test_a_machine_that_is_given_up_while_it_starts_leaves_nothing(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    image = asyncio.run(build_image(base, {}))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def run(after_s: float) -> None:
        starting = asyncio.ensure_future(Machine(image, CONFIG).start())
        await asyncio.sleep(after_s)
        starting.cancel()
        await asyncio.wait({starting})
        assert starting.cancelled()

    for number in range(8):
        asyncio.run(run(number * 0.002))
    assert not list(tmp_path.iterdir())


def test_a_keeper_that_is_asked_nothing_ends_without_a_word():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    command = [sys.executable, "-I", KEEPER, str(theirs.fileno())]
    with theirs:
        ended = subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_dockerfile_becomes_layers_that_are_kept(base: str, tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").write_text("a")
    (tmp_path / "Dockerfile").write_text(
        "ARG BASE=small\nFROM $BASE AS first\nRUN echo made > /made\n\n"
        "FROM first\nENV GREETING='hello you' \\\n    OTHER=$GREETING\nWORKDIR /app\nWORKDIR sub\n"
        'COPY data ./data\nCOPY --from=first /made /app/\nRUN ["sh", "-c", "echo $GREETING; rm /made; chown 1000 ."]\n'
        'USER worker\nCMD ["ignored"]\n'
    )

    async def run() -> tuple[Image, Finished]:
        image = await build_image(tmp_path, {"small": base})
        assert await build_image(tmp_path, {"small": base}) == image
        async with Machine(image, CONFIG) as machine:
            script = "echo $GREETING; pwd; id -un; cat data/a.txt /app/made; ls /made; touch mine"
            return image, await machine.exec(["sh", "-c", script], timeout_s=60)

    image, ran = asyncio.run(run())
    assert ran.stdout == b"hello you\n/app/sub\nworker\namade\n" and b"/made" in ran.stderr
    before = image.layers
    (tmp_path / "data/a.txt").write_text("b")
    after = asyncio.run(build_image(tmp_path, {"small": base})).layers
    assert [one == other for one, other in zip(before, after, strict=True)].count(False) == 3  # from COPY data on
    (tmp_path / "data/empty").mkdir()
    assert asyncio.run(build_image(tmp_path, {"small": base})).layers[-1] != after[-1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("FROM python:3.12", "line 1: the image python:3.12 can't be had here"),
        ("FROM scratch\nONBUILD RUN true", "line 2: ONBUILD can't be built here"),
        ("FROM scratch\n\nADD https://x.org/a /a", "line 3: ADD https://x.org/a /a"),
        ("FROM scratch\nCOPY --from=ghcr.io/x /uv /uv", "line 2: COPY --from=ghcr.io/x"),
        ("FROM scratch\nADD a.tar.gz /", "line 2: ADD a.tar.gz /"),
        ("RUN true", "line 1: RUN before FROM"),
        ("", "it has no FROM"),
        (f"FROM {__file__}", "names a file of this machine"),
        ("FROM scratch\nCOPY ../.. /x", "line 2: COPY ../..: no such file in the folder"),
        ("FROM scratch\nCOPY /etc/passwd /x", "line 2: COPY /etc/passwd: no such file"),
        ("FROM scratch\nCOPY ../* /x", "line 2: COPY ../*: no such file"),
        ("FROM scratch\nCOPY a**b /x", "line 2: COPY a**b: no such file"),
        ("FROM scratch\nCOPY a\0b /x", "line 2"),
        ("FROM scratch\nENV", "line 2: 'ENV'"),
        ("FROM scratch\nSHELL " + "[" * 100_000, "line 2: SHELL [[["),
        ("FROM scratch\nENV A=0123456789\n" + "ENV A=$A$A$A$A$A$A$A$A$A$A\n" * 9, "line 7: a value of 1,000,000"),
    ],
)
def test_what_cannot_be_built_is_refused_by_line(text: str, says: str, tmp_path: Path):
    (tmp_path / "Dockerfile").write_text(text)
    with pytest.raises(UsageError) as error:
        check_image(tmp_path, {})
    assert says in str(error.value)


def test_an_address_that_is_taken_is_an_error_and_the_machine_goes_on(kind: Machines, base: str):
    async def run(machine: AnyMachine) -> Finished:
        with await machine.listen():
            with pytest.raises(SandboxError, match="in use"):
                await machine.listen()
            return await machine.exec(["echo", "here"], timeout_s=20)

    assert within(kind, base, run).stdout == b"here\n"


@pytest.mark.parametrize(
    ("instruction", "says"),
    [
        ("RUN echo why && exit 3", r"line 2: RUN ended with exit code 3: why"),
        ("WORKDIR /etc/passwd/x", r"line 2: /etc/passwd/x: Not a directory"),
        ("COPY . /proc/1/", r"line 2: \. /proc/1/: No such file"),
        ("COPY --chown=nobody:nosuch . /x", r"line 2: chown ended with exit code 1"),
    ],
)
def test_an_instruction_that_fails_is_named_by_its_line(base: str, tmp_path: Path, instruction: str, says: str):
    (tmp_path / "Dockerfile").write_text(f"FROM small\n{instruction}\n")
    with pytest.raises(InputError, match=says):
        asyncio.run(build_image(tmp_path, {"small": base}))


def test_a_build_that_takes_too_long_says_so(base: str, tmp_path: Path):
    (tmp_path / "Dockerfile").write_text("FROM small\nRUN sleep 60\n")
    with pytest.raises(SandboxError, match=r"not built within 0\.5 s"):
        asyncio.run(build_image(tmp_path, {"small": base}, timeout_s=0.5))


def test_what_a_killed_build_left_is_no_part_of_the_next(base: str, tmp_path: Path):
    (tmp_path / "Dockerfile").write_text("FROM small\nRUN echo made > /made\n")
    layer = asyncio.run(build_image(tmp_path, {"small": base})).layers[-1]
    left = layer.with_name(f"new-{layer.name}")
    layer.rename(left)  # as if the machine had been killed before the layer got its name
    (left / "upper").mkdir()
    (left / "upper/harm").touch()
    assert asyncio.run(build_image(tmp_path, {"small": base})).layers[-1] == layer
    assert [path.name for path in layer.iterdir() if path.is_file()] == ["made"] and not left.exists()

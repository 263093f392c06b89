"""Programs that mean harm: each is stopped, is a result, and leaves nothing behind."""

import asyncio
import errno
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assay.sandbox import Finished, SandboxConfig, open_sandbox
from tests.sandbox.available import needs_bubblewrap
from tests.sandbox.programs import running

pytestmark = needs_bubblewrap

SMALL = SandboxConfig(memory_mb=128, processes=16, cpu_s=20, disk_mb=16, output_bytes=100_000)
REPOSITORY = Path(__file__).parents[2]
CANARY = "canary-4711-do-not-tell"


def run(program: str, config: SandboxConfig = SMALL, timeout_s: float = 20.0, *arguments: str) -> Finished:
    async def carried() -> Finished:
        async with open_sandbox(config) as sandbox:
            return await sandbox.exec(["python3", "-c", program, *arguments], timeout_s=timeout_s)

    return asyncio.run(carried())


REFUSED = {
    # What a program tries: each prints "harm" where it succeeds.
    "reads the users of this machine": "print('harm', open('/etc/passwd').read())",
    "reads the shadow of it": "print('harm', open('/etc/shadow').read())",
    "reads the repository": f"print('harm', open({str(REPOSITORY / 'README.md')!r}).read())",
    "reads a verifier": "import assay; print('harm')",
    "reads a home": "import os; print('harm', os.listdir(os.path.expanduser('~root')))",
    "reads a disk": "import glob; print('harm', open(glob.glob('/dev/[svx]d*')[0], 'rb').read(1))",
    "reads the kernel's memory": "print('harm', open('/proc/kcore', 'rb').read(1))",
    "writes into the root": "open('/harm', 'w'); print('harm')",
    "writes into a library": "open('/usr/lib/harm', 'w'); print('harm')",
    "writes into /dev": "open('/dev/harm', 'w'); print('harm')",
    "writes into Python": "import os; open(os.path.dirname(os.__file__) + '/harm.py', 'w'); print('harm')",
    "writes into the system's settings": "open('/proc/sys/kernel/hostname', 'w').write('harm'); print('harm')",
    "presses the system's keys": "open('/proc/sysrq-trigger', 'w').write('h'); print('harm')",
    "connects to the world": "import socket; socket.create_connection(('1.1.1.1', 53), 3); print('harm')",
    "connects to the machine": "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 3)\n"
    "print('harm')",
    "speaks to the virtual machine's host": "import socket; socket.socket(40, 1); print('harm')",
    "sends raw packets": "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('harm')",
    "asks for a name": "import socket; socket.getaddrinfo('example.com', 80); print('harm')",
    "becomes root": "import os; os.setuid(0); print('harm')",
    "becomes somebody else": "import os; os.setuid(12345); print('harm')",
    "raises the limit of processes": "import resource as r; r.setrlimit(r.RLIMIT_NPROC, (999, 999)); print('harm')",
    "raises the limit of memory": "import resource as r; r.setrlimit(r.RLIMIT_DATA, (-1, -1)); print('harm')",
    "changes its root": "import os; os.chroot('/tmp'); print('harm')",
    "makes a device": "import os; os.mknod('/tmp/disk', 0o60666, os.makedev(8, 0)); print('harm')",
    "sets the clock": "import time; time.clock_settime(time.CLOCK_REALTIME, 0); print('harm')",
    "signals a process outside": "import os, sys; os.kill(int(sys.argv[2]), 9); print('harm')",
    "links to a file outside": "import os; os.link('/usr/bin/env', '/work/env'); print('harm')",
}
CALL = "import ctypes; c = ctypes.CDLL(None, use_errno=True); r = {}; print('harm' if r >= 0 else ctypes.get_errno())"
CALLS = {
    "mount": "c.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "umount": "c.umount2(b'/usr/lib', 2)",
    "unshare into a user namespace": "c.unshare(0x10000000)",
    "clone into a user namespace": "c.syscall({clone}, 0x10000000 | 17, 0, 0, 0, 0)",
    "ptrace of its parent": "c.ptrace(16, 1, 0, 0)",
    "bpf": "c.syscall({bpf}, 0, 0, 0)",
    "memory of nobody": "c.memfd_create(b'x', 0)",
    "io_uring": "c.syscall(425, 1, 0)",
    "the kernel's keys": "c.syscall({keyctl}, 0, -3, 1)",
}
NUMBERS = {"x86_64": {"clone": 56, "bpf": 321, "keyctl": 250}, "aarch64": {"clone": 220, "bpf": 280, "keyctl": 219}}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_program_may_not_do_raises_in_it(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        finished = run(REFUSED[name], SMALL, 20.0, str(port), str(os.getpid()))
    assert b"harm" not in finished.stdout
    assert finished.exit_code == 1 and re.search(rb"^\S*(Error|error|Exception)\b", finished.stderr, re.M), finished
    assert b"SyntaxError" not in finished.stderr and b"NameError" not in finished.stderr
    assert finished.stopped_by is None


@pytest.mark.parametrize("name", CALLS)
def test_system_calls_that_break_out_of_sandboxes_are_refused(name: str) -> None:
    finished = run(CALL.format(CALLS[name].format(**NUMBERS[os.uname().machine])))
    assert finished.stdout.strip() == str(errno.EPERM).encode(), finished


FORK_BOMB = """
import os
import re
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
FILL_MEMORY_TOGETHER = """
import mmap, os, time
if os.fork() and os.fork() and os.fork():
    time.sleep(60)
shared = mmap.mmap(-1, 100 << 20)
for page in range(0, len(shared), 4096):
    shared[page] = 1
time.sleep(60)
"""
FILL_DISK = """
import errno, itertools
try:
    for number in itertools.count():
        open(f"{folder}/{number}", "wb").write(b"x" * (1 << 20))
except OSError as error:
    print(number, errno.errorcode[error.errno])
"""
FILL_DISK_UNSEEN = """
import errno, os
kept = []
try:
    while True:
        file = open("unseen", "wb", buffering=0)
        os.unlink("unseen")
        kept.append(file)
        file.write(b"x" * (1 << 20))
except OSError as error:
    print(len(kept), errno.errorcode[error.errno])
"""


def test_a_program_that_hangs_is_stopped_when_the_time_is_up() -> None:
    finished = run("import time; print('here', flush=True); time.sleep(1000)", timeout_s=1.0)
    assert finished.timed_out and finished.exit_code == 137
    assert finished.stdout == b"here\n"


def test_a_program_that_ignores_signals_hangs_no_longer() -> None:
    program = "import signal, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\nwhile True: time.sleep(9)"
    assert run(program, timeout_s=1.0).timed_out


def test_a_fork_bomb_is_bounded_and_none_of_it_is_left() -> None:
    mark = f"bomb-{time.monotonic_ns()}"
    finished = run(FORK_BOMB, SMALL, 2.0, mark)
    assert finished.stopped_by in ("time", "cpu")
    assert running(mark) == []


def test_no_more_processes_start_than_are_allowed() -> None:
    program = "import os, time\nn = 1\ntry:\n  while os.fork(): n += 1\n  time.sleep(9)\nexcept OSError: print(n)"
    finished = run(program)
    assert SMALL.processes - 4 <= int(finished.stdout) <= SMALL.processes


def test_a_program_that_fills_the_memory_fails() -> None:
    finished = run("kept = []\nwhile True: kept.append(bytearray(1 << 20))")
    assert b"MemoryError" in finished.stderr or finished.stopped_by == "memory"


def test_memory_is_counted_for_all_processes_together() -> None:
    assert run(FILL_MEMORY_TOGETHER).stopped_by == "memory"


@pytest.mark.heavy
def test_processor_time_is_counted_for_all_processes_together() -> None:
    # None of them takes a second, which the kernel's own limit for each would see.
    program = "import os, time\nwhile True:\n  if os.fork() == 0:\n    while time.process_time() < 0.3: pass\n"
    program += "    os._exit(0)\n  os.wait()"
    finished = run(program, SandboxConfig(cpu_s=2, processes=16))
    assert finished.stopped_by == "cpu"


@pytest.mark.parametrize("folder", ["/work", "/tmp", "/dev/shm"])
def test_a_program_that_fills_the_disk_is_told_so(folder: str) -> None:
    finished = run(f"folder = {folder!r}\n{FILL_DISK}")
    number, code = finished.stdout.split()
    assert code == b"ENOSPC" and int(number) <= SMALL.disk_mb


def test_files_that_nobody_sees_count_too() -> None:
    number, code = run(FILL_DISK_UNSEEN).stdout.split()
    assert code == b"ENOSPC" and int(number) <= SMALL.disk_mb + 1


def test_there_is_an_end_to_empty_files() -> None:
    program = "n = 0\ntry:\n  while True: open(str(n), 'w').close(); n += 1\nexcept OSError: print(n)"
    assert int(run(program).stdout) < 30_000


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_endless_output_is_stopped_and_its_beginning_kept(stream: str) -> None:
    finished = run(f"import sys\nwhile True: sys.{stream}.write('x' * 10_000)")
    assert finished.truncated and finished.stopped_by == "output"
    assert len(finished.stdout + finished.stderr) == SMALL.output_bytes


def test_output_that_is_not_utf8_comes_back_as_it_is() -> None:
    content = bytes(range(256))
    assert run("import sys; sys.stdout.buffer.write(bytes(range(256)))").stdout == content


def test_no_secret_of_ours_is_in_its_environment_or_proc() -> None:
    # A process of its own: the environment that counts is the one a process was started with.
    program = "import os, glob\nprint(dict(os.environ))\nfor f in glob.glob('/proc/[0-9]*/environ'):\n"
    program += "  try: print(open(f).read())\n  except OSError: pass"
    finished = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.carry", program],
        env={**os.environ, "SECRET_KEY": CANARY, "PYTHONPATH": os.pathsep.join(["src", *sys.path])},
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    assert b"HOME" in finished.stdout
    assert CANARY.encode() not in finished.stdout


def test_it_sees_no_process_but_its_own() -> None:
    finished = run("import os; print(sorted(int(n) for n in os.listdir('/proc') if n.isdigit()))")
    assert len(finished.stdout.split()) <= 3


def test_a_server_in_it_is_heard_by_nobody_outside() -> None:
    program = "import socket, time; s = socket.create_server(('127.0.0.1', 47111)); print('up', flush=True); s.accept()"

    async def carried() -> Finished:
        async with open_sandbox(SMALL) as sandbox:
            held = asyncio.create_task(sandbox.exec(["python3", "-c", program], timeout_s=3.0))
            await asyncio.sleep(2.0)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", 47111), 1.0).close()
            return await held

    finished = asyncio.run(carried())
    assert finished.stdout == b"up\n" and finished.timed_out


@pytest.mark.parametrize("target", ["os.getppid()", "1", "-1"])
def test_a_program_that_kills_its_parents_is_a_result(target: str) -> None:
    finished = run(f"import os, time; os.kill({target}, 9); time.sleep(0.5); print('done')")
    assert finished.stopped_by is None


def test_a_child_that_cuts_itself_loose_ends_with_the_program() -> None:
    mark = f"loose-{time.monotonic_ns()}"
    program = "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n"
    program += "    [os.close(n) for n in range(3)]\n    time.sleep(60)\n  os._exit(0)\nprint('done')"
    finished = run(program, SMALL, 20.0, mark)
    assert finished.stdout == b"done\n" and finished.wall_s < 60
    assert running(mark) == []


def test_limits_on_the_first_process_do_not_turn_a_result_into_an_error() -> None:
    program = "import resource as r, time\nfor n in (r.RLIMIT_CPU, r.RLIMIT_NOFILE, r.RLIMIT_DATA):\n"
    program += "  try: r.prlimit(1, n, (0, 0))\n  except OSError: pass\nprint('done', flush=True); time.sleep(1)"
    assert run(program).stdout == b"done\n"


@pytest.mark.parametrize("mode", ["0", "0o111"])
def test_a_program_that_shuts_its_folder_fails_nothing_but_itself(mode: str) -> None:
    async def carried() -> Finished:
        async with open_sandbox(SMALL) as sandbox:
            program = f"import os\ntry: os.chmod('/work', {mode})\nexcept OSError: pass"
            await sandbox.exec(["python3", "-c", program], timeout_s=20.0)
            return await sandbox.exec(["sh", "-c", "echo x > file && cat file"], timeout_s=20.0)

    assert asyncio.run(carried()).stdout == b"x\n"


@pytest.mark.parametrize("command", [["true", "x" * 3_000_000], ["true", *["x" * 1000] * 4000], ["true", "a\0b"]])
def test_a_command_that_cannot_be_passed_on_is_a_result(command: list[str]) -> None:
    async def carried() -> Finished:
        async with open_sandbox(SMALL) as sandbox:
            return await sandbox.exec(command, timeout_s=20.0)

    finished = asyncio.run(carried())
    assert finished.exit_code == 126 and finished.stderr


def test_huge_arguments_within_it_harm_only_the_program() -> None:
    finished = run("import os; os.execv('/bin/true', ['x' * 3_000_000])")
    assert finished.exit_code == 1 and b"too long" in finished.stderr

"""Machines of docker or podman: what only these have."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from assay.config import EngineConfig
from assay.errors import UsageError
from assay.sandbox import Place, SandboxConfig, open_sandbox
from assay.sandbox.container.engine import OWNER
from assay.sandbox.machine import machines_of
from tests.commands import until
from tests.roots import small_root
from tests.sandbox.engines import ENGINES, FILE, machines_here

containers = pytest.mark.containers
engines = pytest.mark.parametrize("engine", ENGINES or ["podman"])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("container")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield str(small_root(folder / "root.tar"))


def left(engine: str, owner: int) -> list[str]:
    """The containers of a process."""
    listed = [engine, "ps", "--all", "--quiet", "--filter", f"label={OWNER}"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    look = [engine, "inspect", "--format", f'{{{{.Name}}}} {{{{index .Config.Labels "{OWNER}"}}}}', *names]
    said = subprocess.run(look, capture_output=True, text=True, check=False).stdout if names else ""
    return [line for line in said.splitlines() if f":{owner}:" in line]


ALONE = """
import asyncio, sys
from pathlib import Path
from assay.config import assay_toml
from assay.sandbox import Place, SandboxConfig, open_sandbox
from assay.sandbox.machine import machines_of
async def main():
    machines = machines_of(Place.parse(sys.argv[1], own=assay_toml(Path(sys.argv[2])).sandbox).apply(SandboxConfig()))
    async with machines.open(await machines.build(sys.argv[3], {}), SandboxConfig()) as machine:
        await machine.exec(["sh", "-c", "(sleep 4321 &)"], timeout_s=60)
        print(machine._child, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@containers
@engines
def test_no_container_outlives_the_process_that_made_it(engine: str, base: str):
    machines_here(engine)
    process = subprocess.Popen([sys.executable, "-c", ALONE, engine, FILE, base], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    child = process.stdout.readline().strip()
    assert len(left(engine, process.pid)) == 2
    process.kill()
    process.wait()
    process.stdout.close()
    until(lambda: not Path("/proc", child).exists() and not left(engine, process.pid))


@containers
@engines
def test_a_container_that_a_killed_process_left_is_removed_by_the_next_run(engine: str, base: str):
    machines = machines_here(engine)
    image = asyncio.run(machines.build(base, {}))
    ended = subprocess.Popen(["true"])
    ended.wait()
    host = subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip()
    label = f"{OWNER}={host}:{ended.pid}:1"
    run = [engine, "run", "--detach", "--label", label, *ENGINES[engine].run_args, image.id, "sleep", "600"]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    assert left(engine, ended.pid)
    asyncio.run(machines.check("none", {}))
    assert not left(engine, ended.pid)


@containers
@engines
def test_the_engine_builds_what_machines_of_our_own_refuse(engine: str, base: str, tmp_path: Path):
    (tmp_path / "from").write_text("x")
    text = "FROM small AS first\nRUN echo made > /made\nONBUILD RUN true\n\nFROM small\nENV GREETING='hello you'\n"
    text += "COPY --from=first /made /app/\nADD from /app/from\nWORKDIR /app\nUSER worker\n"
    (tmp_path / "Dockerfile").write_text(text)
    machines = machines_here(engine)

    async def run() -> bytes:
        image = await machines.build(tmp_path, {"small": base})
        assert image.id and image.digests == [image.id] and image.user == "worker"
        async with machines.open(image, SandboxConfig()) as machine:
            return (await machine.exec(["sh", "-c", "echo $GREETING; id -un; cat made from"], timeout_s=20)).stdout

    assert asyncio.run(run()) == b"hello you\nworker\nmade\nx"


@containers
@engines
def test_what_does_not_build_says_why(engine: str, base: str, tmp_path: Path):
    (tmp_path / "Dockerfile").write_text("FROM small\nRUN echo because && exit 3\n")
    with pytest.raises(UsageError, match=r"(?s)Dockerfile: .* build ended with exit code"):
        asyncio.run(machines_here(engine).build(tmp_path, {"small": base}))


@containers
@engines
def test_a_machine_whose_start_is_given_up_leaves_nothing(engine: str, base: str):
    machines = machines_here(engine)

    async def run(after_s: float) -> None:
        image = await machines.build(base, {})
        starting = asyncio.ensure_future(machines.open(image, SandboxConfig()).__aenter__())
        await asyncio.sleep(after_s)
        starting.cancel()
        await asyncio.wait({starting})
        assert starting.cancelled()

    for after_s in (0.0, 0.1, 0.4):
        asyncio.run(run(after_s))
    until(lambda: not left(engine, os.getpid()))


@containers
@engines
def test_code_that_a_model_wrote_runs_in_a_container_and_is_stopped(engine: str, base: str):
    machines = machines_here(engine)

    async def run() -> tuple[bytes, str | None, bytes]:
        image = (await machines.build(base, {})).id
        config = Place.parse(f"{engine}:{image}", own=ENGINES).apply(SandboxConfig(disk_mb=8, processes=20))
        async with open_sandbox(config) as sandbox:
            await sandbox.write("deep/file", b"held")
            script = "cat deep/file; touch /x 2>/dev/null; (sleep 100 &); echo out > out"
            said = (await sandbox.exec(["sh", "-c", script], timeout_s=60)).stdout
            late = await sandbox.exec(["sleep", "60"], timeout_s=1)
            return said, late.stopped_by, await sandbox.read("out")

    assert uvloop.run(run()) == (b"held", "time", b"out\n")  # what podman leaves running holds the pipes of this loop


def test_an_engine_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for engine in ("docker", "podman"):
        with pytest.raises(UsageError, match=f"there is no {engine}"):
            asyncio.run(machines_of(Place(engine).apply(SandboxConfig())).check("none", {}))


def test_what_an_engine_needs_here_comes_from_the_users_file():
    needs = EngineConfig(run_args=("--runtime", "runc"), build_args=("--isolation", "chroot"))
    config = Place.parse("podman", own={"podman": needs}).apply(SandboxConfig())
    assert (config.provider, config.run_args, config.build_args) == ("podman", needs.run_args, needs.build_args)
    assert Place.parse("docker", own={"podman": needs}).apply(SandboxConfig()).run_args == ()
    with pytest.raises(UsageError, match=r"(?s)podmann.*\[sandbox.NAME\]"):
        Place.parse("podman", own={"podmann": needs})


def test_a_place_that_makes_no_machines_is_refused():
    with pytest.raises(UsageError, match="makes no machines"):
        machines_of(SandboxConfig(provider="subprocess", unsafe=True))
    with pytest.raises(UsageError, match="each task says what its machine is made of"):
        asyncio.run(machines_of(Place("podman", "debian").apply(SandboxConfig())).check("none", {}))

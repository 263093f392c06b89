"""Images: roots for machines, built of a Dockerfile, a tar or a Debian release, in layers that are kept by digest."""

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from assay.digest import digest
from assay.errors import InputError, SandboxError, UsageError
from assay.sandbox import Finished, SandboxConfig
from assay.sandbox.machine.base import Image, Network
from assay.sandbox.machine.dockerfile import Stage, Step, read_dockerfile
from assay.sandbox.machine.machine import Machine, as_root
from assay.sandbox.machine.network import TOOL, has_network
from assay.sandbox.machine.scratch import scratch_files

BUILDING = SandboxConfig(memory_mb=8192, processes=4096, cpu_s=86_400, output_bytes=2**26)
DEBIAN = re.compile(r"debian:(?P<release>bookworm|trixie|bullseye)(-slim)?")
_NO_TOOL = f"it had no network: that needs {TOOL}, apt install {TOOL}"
TAIL = 2000
"""Characters of a command's output that an error shows."""


def cache() -> Path:
    """Returns the folder that layers are kept in."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay/images"


def check_image(source: Path | str, bases: Mapping[str, str]) -> None:
    """Raises UsageError for what can't be built: an instruction, by file and line, or a base that nothing stands for.

    `source` is a folder with a Dockerfile, or an image's name. `bases` says what stands for a name: another name, a tar
    or a folder.
    """
    if isinstance(source, str):
        _base(source, bases, source)
        return
    path = source / "Dockerfile"
    if (source / ".dockerignore").exists():
        raise InputError(source / ".dockerignore", None, "it is not supported here", "a folder without it")
    stages = read_dockerfile(path)
    for number, stage in enumerate(stages):
        if stage.base not in [one.name for one in stages[:number]]:
            where = f"{path}, line {stage.line}"
            if stage.base not in bases and Path(stage.base).is_file():
                raise UsageError(f"{where}: FROM {stage.base} names a file of this machine; expected an image's name")
            _base(stage.base, bases, where)
        for step in stage.steps:
            if step.name == "COPY" and not step.stage:
                _copied(source, step)


async def build_image(
    source: Path | str, bases: Mapping[str, str], *, network: Network = "public", timeout_s: float = 600.0
) -> Image:
    """Returns the image of a folder with a Dockerfile, or of a name. What was built before is taken from the cache.

    Raises UsageError where it can't be built, and SandboxError where that takes too long.
    """
    check_image(source, bases)
    try:
        async with asyncio.timeout(timeout_s):
            if isinstance(source, str):
                return await _pulled(source, bases)
            built: dict[str, Image] = {}
            for number, stage in enumerate(stages := read_dockerfile(source / "Dockerfile")):
                built[str(number)] = built[stage.name] = await _build(source, stage, built, bases, network)
            return built[stages[-1].name]
    except TimeoutError:
        raise SandboxError(f"{source}: its image was not built within {timeout_s:g} s") from None


async def _build(
    source: Path, stage: Stage, built: Mapping[str, Image], bases: Mapping[str, str], network: Network
) -> Image:
    image = built.get(stage.base) or await _pulled(stage.base, bases)
    for step in stage.steps:
        if step.stage:
            files = [str(layer) for layer in built[step.stage].layers]
        else:
            files = _digests(source, step) if step.name == "COPY" else []
        described = (step.name, step.words, dict(step.env), step.user, step.workdir, step.owner, step.mode, files)
        key = digest([image.layers[-1].name if image.layers else "", described])
        async with _layer(key) as made:
            if made is not None:
                await _make(source, step, image, built, made, network)
        image = replace(image, layers=(*image.layers, cache() / key))
    env, workdir = {**image.env, **stage.env}, stage.workdir or image.workdir
    return replace(image, env=env, workdir=workdir, user=stage.user or image.user)


@asynccontextmanager
async def _layer(key: str) -> AsyncGenerator[Path | None]:
    """Yields a folder to write a layer into, which is kept where nothing is raised; None where it is there already."""
    kept = cache() / key
    cache().mkdir(parents=True, exist_ok=True)
    with await asyncio.to_thread(locked, cache() / f"{key}.lock"):
        if kept.exists():
            yield None
            return
        made = cache() / f"new-{key}"
        await _run(*as_root(), "rm", "-rf", str(made))  # of a build that was killed
        made.mkdir()
        try:
            yield made
            (made / "upper").rename(kept)
        finally:
            await _run(*as_root(), "rm", "-rf", str(made))


def locked(file: Path) -> IO[str]:
    """Returns the file, open, once nobody else holds it."""
    lock = open(file, "w")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


async def _make(
    source: Path, step: Step, image: Image, built: Mapping[str, Image], made: Path, network: Network
) -> None:
    """Carries out one instruction; what it changes is in `made/upper` then."""
    offline = step.name != "RUN" or not has_network()
    async with Machine(image, BUILDING, network="none" if offline else network, keep=made) as machine:
        if step.name == "RUN":
            env = {**step.env, "DEBIAN_FRONTEND": "noninteractive"}
            ran = await machine.exec(step.words, timeout_s=86_400, env=env, cwd=step.workdir, user=step.user or None)
            _check_end(source, step, "RUN", ran, f" ({_NO_TOOL})" if offline and network == "public" else "")
            return
        try:
            await (_copy(source, step, machine, built) if step.name == "COPY" else machine.mkdir(step.words[0], "0"))
        except OSError as error:
            got = f"{' '.join(step.words)}: {error.strerror or error}"
            raise InputError(source / "Dockerfile", step.line, got, "a place where files can be written") from None


def _check_end(source: Path, step: Step, what: str, ran: Finished, remark: str = "") -> None:
    """Returns where a command ended well. Raises InputError."""
    if ran.exit_code or ran.stopped_by:
        said = (ran.stdout + ran.stderr).decode(errors="replace")[-TAIL:].strip()
        how = f"stopped by the limit of {ran.stopped_by}" if ran.stopped_by else f"exit code {ran.exit_code}"
        raise InputError(source / "Dockerfile", step.line, f"{what} ended with {how}: {said}", f"exit code 0{remark}")


async def _copy(source: Path, step: Step, machine: Machine, built: Mapping[str, Image]) -> None:
    *sources, target = step.words
    target = target if target.startswith("/") else f"{step.workdir.rstrip('/')}/{target}"
    with scratch_files() as scratch:
        found: list[Path] = []
        if step.stage:
            async with Machine(built[step.stage], BUILDING) as other:
                for number, name in enumerate(sources):
                    found.append(Path(scratch, str(number), Path(name).name or "root"))
                    await other.take(name, found[-1], at_most=2**33)
        else:
            found = _copied(source, step)
        into = target.endswith(("/", "/.")) or len(found) > 1
        for path in found:
            place = target if path.is_dir() or not into else f"{target.rstrip('/.')}/{path.name}"
            await machine.put(path, place)
            for command in _owned(step, place):
                _check_end(source, step, command[0], await machine.exec(command, timeout_s=600, user="root"))


def _owned(step: Step, place: str) -> list[list[str]]:
    commands = [["chown", "-R", step.owner, place]] if step.owner else []
    return commands + ([["chmod", "-R", step.mode, place]] if step.mode else [])


def _copied(source: Path, step: Step) -> list[Path]:
    """Returns the files of the folder that an instruction copies. Raises InputError for one outside of it."""
    found: list[Path] = []
    for name in step.words[:-1]:
        pattern = name.lstrip("/").removeprefix("./").rstrip("/")
        try:
            named = sorted(source.glob(pattern)) if re.search(r"[*?\[]", pattern) else [source / pattern]
        except ValueError:  # such as a** in a pattern
            named = []
        real = [Path(os.path.realpath(path)) for path in named]
        if not named or not all(path.exists() and path.is_relative_to(source.resolve()) for path in real):
            got = f"COPY {name}: no such file in the folder"
            raise InputError(source / "Dockerfile", step.line, got, "a file of it")
        found += named
    return found


def _digests(source: Path, step: Step) -> list[tuple[str, str]]:
    """Returns each path that is copied with its mode and what it holds: folders and links are part of a layer too."""
    found = _copied(source, step)
    paths = [each for path in found for each in ([path, *sorted(path.rglob("*"))] if path.is_dir() else [path])]
    return [(each.relative_to(source).as_posix(), f"{each.lstat().st_mode:o} {_held(each)}") for each in paths]


def _held(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    return file_sum(path) if path.is_file() else ""


def _base(name: str, bases: Mapping[str, str], where: str) -> str:
    """Returns what a base is had from: `scratch`, a Debian release, a tar or a folder. Raises UsageError."""
    stands = bases.get(name, name)
    if stands == "scratch" or DEBIAN.fullmatch(stands) or Path(stands).is_file():
        return stands
    raise UsageError(
        f"{where}: the image {stands} can't be had here; expected debian:RELEASE, or what stands for it:\n"
        f"  --image {name}=debian:bookworm, or --image {name}=ROOT.tar (which is recorded, and may change results)\n"
        "  With --sandbox docker or --sandbox podman, the engine pulls it."
    )


async def _pulled(name: str, bases: Mapping[str, str]) -> Image:
    """Returns the image of a base."""
    stands = _base(name, bases, name)
    if stands == "scratch":
        return Image(())
    release = DEBIAN.fullmatch(stands)
    file = Path(stands)
    key = digest(["debian", release["release"]]) if release else await asyncio.to_thread(file_sum, file)
    async with _layer(key) as made:
        if made is not None:
            if release:
                file = made / "root.tar"
                await _debian(release["release"], file)
            try:
                async with Machine(Image(()), BUILDING, keep=made) as machine:
                    await machine.unpack(file)
            except SandboxError as error:
                raise UsageError(f"{file}: no tar of a root ({error})") from None
    return Image((cache() / key,), name=stands)


def file_sum(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


async def _debian(release: str, file: Path) -> None:
    """Writes a tar with the root of a Debian release."""
    if shutil.which("mmdebstrap") is None:
        raise UsageError(f"a root of debian:{release} needs mmdebstrap: apt install mmdebstrap")
    mode = "root" if os.geteuid() == 0 else "unshare"
    options = (f"--mode={mode}", "--variant=minbase", "--include=ca-certificates")
    code, said = await _run("mmdebstrap", *options, release, str(file))
    if code:
        raise SandboxError(f"mmdebstrap {release} failed: {said[-TAIL:]}")


async def _run(*command: str) -> tuple[int, str]:
    """Returns a program's exit code and what it wrote to its standard error."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    return process.returncode or 0, said.decode(errors="replace")

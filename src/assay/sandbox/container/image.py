"""Images that docker or podman builds, pulls, or makes of a tar; known by the engine's digest."""

import asyncio
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from assay.digest import digest
from assay.errors import UsageError
from assay.sandbox.container.engine import START_S, Engine, words
from assay.sandbox.machine.base import Image, absolute
from assay.sandbox.machine.image import cache, file_sum, locked

OUTPUT_BYTES = 2**26


async def build(engine: Engine, source: Path | str, bases: Mapping[str, str], timeout_s: float) -> Image:
    """Returns the image of a folder with a Dockerfile, or of a name. Raises UsageError where there is none."""
    if isinstance(source, str):
        return await _known(engine, await _base(engine, bases.get(source, source)), source)
    contexts = [
        word
        for name, base in bases.items()
        for word in ("--build-context", f"{name}=docker-image://{await _base(engine, base)}")
    ]
    cache().mkdir(parents=True, exist_ok=True)
    key = digest([engine.program, absolute(source), dict(bases)])
    # The first of several rollouts builds, and the others find what it has built.
    with await asyncio.to_thread(locked, cache() / f"{key}.lock"), tempfile.NamedTemporaryFile("r") as written:
        options = ("--iidfile", written.name, *contexts, *engine.build_args)
        folder = absolute(source)
        arguments = ("build", *options, "--file", f"{folder}/Dockerfile", folder)
        built = await engine.ask(*arguments, timeout_s=timeout_s, output_bytes=OUTPUT_BYTES)
        if built.stopped_by or built.exit_code:
            how = f"stopped by the limit of {built.stopped_by}" if built.stopped_by else f"exit code {built.exit_code}"
            raise UsageError(f"{source / 'Dockerfile'}: {engine.program} build ended with {how}: {words(built)}")
        return await _known(engine, written.read().strip(), source.name)


async def _base(engine: Engine, name: str) -> str:
    """Returns the name of a base that the engine has: of a tar, an image that is made of it."""
    try:
        made = f"assay/root:{(await asyncio.to_thread(file_sum, Path(name)))[:16]}"
    except OSError:
        return name
    if (await engine.ask("image", "inspect", "--format", "{{.Id}}", made)).exit_code:
        imported = await engine.ask("import", absolute(Path(name)), made, timeout_s=START_S)
        if imported.exit_code:
            raise UsageError(f"{name}: {engine.program} made no image of it: {words(imported)}")
    return made


async def _known(engine: Engine, name: str, called: str) -> Image:
    """Returns an image that the engine has or gets. Raises UsageError."""
    look = ("image", "inspect", "--format", "{{.Id}} {{json .Config}}", name)
    looked = await engine.ask(*look)
    if looked.exit_code:
        pulled = await engine.ask("pull", name, timeout_s=START_S)
        if pulled.exit_code:
            raise UsageError(f"{engine.program} has no image {name}, and pulled none: {words(pulled)}")
        looked = await engine.ask(*look)
    identity, _, text = looked.stdout.decode(errors="replace").partition(" ")
    config = json.loads(text)
    return Image((), workdir=config.get("WorkingDir") or "/", user=config.get("User") or "", name=called, id=identity)

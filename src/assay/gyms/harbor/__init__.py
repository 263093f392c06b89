"""Tasks of Harbor as benchmarks: an instruction, a machine, and tests that check it after an agent has worked in it.

Each rollout has a machine of the task's image. The tests run in it afterwards, or in one of their own. Before an agent
works at a task, its solution is played with the same image and network. If it does not get full reward, the tests don't
work here, and the task's rollouts are failures, not zeros.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from assay.benchmark import Benchmark, Call, Environment
from assay.benchmark.catalog import divide
from assay.benchmark.reference import DONE
from assay.digest import digest
from assay.errors import UsageError, VerifierError
from assay.gyms import UNLIMITED
from assay.gyms.harbor.oracle import Oracle
from assay.gyms.harbor.session import BASH, HarborSession
from assay.gyms.harbor.task import HarborTask, Source, tasks_in
from assay.sandbox import SandboxConfig
from assay.sandbox.machine import AnyMachine, Image, Machines, Network, machines_of
from assay.sandbox.machine.image import cache
from assay.types import Message, Task

PACKAGES = False
GOLD_FIELD = False
FULL = 1.0
"""The reward of a solution that shows that the tests work."""
NETWORKS = ("none", "public")
TAGS = ("category", "difficulty")
"""Texts of a task's metadata that scores are grouped by."""


def load(name: str) -> Benchmark:
    """The Harbor task in a folder, or the tasks in its folders. Raises UsageError for what can't be run here.

    One repeat, and no limit but each task's own time for its agent.
    """
    name, stated = divide(name)
    bases = dict(pair.split("=", 1) for pair in stated.pop("image", "").split("+") if "=" in pair)
    network = stated.pop("network", None)
    if stated or network not in (None, *NETWORKS):
        raise UsageError(f"harbor:{name}: expected network=none or network=public, and image=NAME=BASE, after it")
    folder = Path(name)
    tasks = tasks_in(folder)
    files = {f"{id}/{file.relative_to(task.folder)}": file for id, task in tasks.items() for file in task.files()}
    environment = Harbor(folder.resolve().name, tasks, network, bases)
    return Benchmark(environment=environment, repeats=1, limits=UNLIMITED, files=files)


class Harbor(Environment):
    """Tasks whose rollouts each have a machine."""

    has_machine = True
    sandbox = SandboxConfig()

    def __init__(
        self, name: str, tasks: dict[str, HarborTask], network: Network | None, bases: Mapping[str, str]
    ) -> None:
        """`network` is what the tasks get that state one; `bases` says what stands for the name of an image."""
        self.name = f"harbor:{name}"
        self._network: Network | None = network
        self._bases = bases
        self.remark = " ".join(_remarks(tasks, network))
        self._tasks = tasks
        self._digests = {id: _digest(task) for id, task in tasks.items()}
        self._proofs: dict[str, asyncio.Task[None]] = {}
        self._images: dict[tuple[str, Path, str | None], Image] = {}

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What decides how the tasks' machines are made."""
        provider = self._config.provider
        other = [] if provider == SandboxConfig().provider else [provider]
        bases = [f"{old}={new}" for old, new in self._bases.items()]
        return ", ".join(["1", f"network {self._network or 'none'}", *other, *bases])

    @property
    def _config(self) -> SandboxConfig:
        return self.sandbox or SandboxConfig()

    @property
    def _machines(self) -> Machines:
        return machines_of(self._config)

    def tasks(self) -> Iterable[Task]:
        for id, one in self._tasks.items():
            metadata = one.config.metadata
            yield Task(
                id=id,
                input=[Message("user", one.stages[0].instruction)],
                tools=[BASH],
                data={"files": self._digests[id]},
                tags={key: metadata[key] for key in TAGS if isinstance(metadata.get(key), str)},
            )

    def solution(self, task: Task) -> Sequence[Call | str] | None:
        """Returns a call that plays the task's solution, and a message, for each of its steps.

        No model can make the call: its name holds the digest of the solution and the tests.
        """
        stages = self._tasks[task.id].stages
        if any(stage.solution is None for stage in stages):
            return None
        return [step for _ in stages for step in (Call(self._solve(task.id)), DONE)]

    @asynccontextmanager
    async def open(self, task: Task, seed: int) -> AsyncGenerator[HarborSession]:
        one = self._tasks[task.id]
        async with self._machine(one.source) as machine:
            prove, solve = lambda: self._proved(task), self._solve(task.id)
            session = HarborSession(one, machine, self._machine, solve=solve, prove=prove)
            await session.prepare()
            yield session

    def _solve(self, id: str) -> str:
        return f"play-solution-{self._digests[id]}"

    async def ready(self) -> None:
        """Raises UsageError for an image that can't be built here, and where the network is to be chosen."""
        self.place = await self._machines.check(self._network or "none", self._bases)
        for id, task in self._tasks.items():
            stated = task.source.settings.network
            if stated != "no-network" and self._network is None:
                remedy = "--network public, or --network none, which the run records"
                raise UsageError(f"{self.name}: task {id} states the network {stated}; say {remedy}")
            if stated == "allowlist" and self._network == "public":
                remedy = "which can't be enforced here; say --network none"
                raise UsageError(f"{self.name}: task {id} allows some hosts alone, {remedy}")
            for source in self._sources(task):
                self._machines.check_image(source.image or source.folder, self._bases)

    @asynccontextmanager
    async def _machine(self, source: Source) -> AsyncGenerator[AnyMachine]:
        """Yields a machine of an image, with what the task may use."""
        settings = source.settings
        config = replace(
            self._config,
            memory_mb=settings.memory_limit_mb or 4096,
            disk_mb=settings.storage_limit_mb or 2048,
            processes=1024,
            cpu_s=86_400,
        )
        network: Network = "public" if self._network == settings.network == "public" else "none"
        image = await self._image(source)
        async with self._machines.open(image, config, network=network, cpus=settings.cpus) as machine:
            yield machine

    async def _proved(self, task: Task) -> None:
        """Returns once the solution got full reward here, or where there is none. Raises VerifierError."""
        if self.solution(task) is None:
            return
        proof = self._proofs.get(task.id)
        if proof is None or proof.cancelled() or proof.get_loop() is not asyncio.get_running_loop():
            proof = self._proofs[task.id] = asyncio.ensure_future(self._prove(task))
        await asyncio.shield(proof)  # whoever waits may be cancelled, and others wait too

    async def _prove(self, task: Task) -> None:
        """Plays the task's solution, unless that was done before with the same files, images and network."""
        sources = self._sources(self._tasks[task.id])
        layers = [(await self._image(source)).digests for source in sources]
        proof = cache().parent / "proofs" / digest([self._digests[task.id], self.version, layers])
        if proof.exists():
            return
        try:
            async with self.open(task, 0) as session:
                await Oracle().run(task, None, session)
                reward, said = (await session.score([])).reward, session.said
        except VerifierError as error:
            raise VerifierError("unusable", f"verifier unusable here: after the task's solution, {error}") from None
        if reward < FULL:
            why = f"the task's solution gets {reward:g}; expected {FULL:g} or more"
            raise VerifierError("unusable", f"verifier unusable here: {why}\n{said}")
        proof.parent.mkdir(parents=True, exist_ok=True)
        proof.touch()

    def _sources(self, task: HarborTask) -> list[Source]:
        """What the machines of a task are made of."""
        return [task.source, *(stage.separate for stage in task.stages if stage.separate)]

    async def _image(self, source: Source) -> Image:
        """Returns the image of a source, which stays the same as long as this object is used."""
        key = (self._config.provider, source.folder, source.image)
        if key not in self._images:
            what, timeout_s = source.image or source.folder, source.settings.build_timeout_sec
            self._images[key] = await self._machines.build(what, self._bases, timeout_s=timeout_s)
        return self._images[key]


def _remarks(tasks: dict[str, HarborTask], network: Network | None) -> Iterator[str]:
    """Yields what is to be known of the tasks' scores."""
    shared = [id for id, task in tasks.items() if any(stage.separate is None for stage in task.stages)]
    unproved = [id for id, task in tasks.items() if any(stage.solution is None for stage in task.stages)]
    if shared:
        yield f"The tests of {len(shared)} of {len(tasks)} tasks run in the machine that the agent leaves."
    cut = [id for id, task in tasks.items() if task.source.settings.network != "no-network"]
    if cut and network == "none":
        yield f"{len(cut)} tasks, such as {cut[0]}, state a network and get none."
    if unproved:
        yield f"{len(unproved)} tasks, such as {unproved[0]}, have no solution, so nothing shows that their tests work."


def _digest(task: HarborTask) -> str:
    """Returns the digest of all files that decide what is asked and how it is judged."""
    files = {file.relative_to(task.folder).as_posix(): file.read_bytes() for file in task.files()}
    return digest({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})[:16]

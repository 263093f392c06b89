"""Workers that are actors on a Ray cluster."""

import importlib
import os
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from assay.collect.workers import Call, LostWorker, Reply, Worker, make_service, reply_to
from assay.config import RayConfig
from assay.errors import UsageError

REACH_S = 10.0
"""Seconds to wait for a cluster that does not answer: Ray itself tries for minutes."""


class Actor:
    """The class that Ray runs on a node: one service."""

    def __init__(self, service: str) -> None:
        self._service = make_service(service)

    async def call(self, call: Call, data: bytes) -> bytes:
        return await reply_to(self._service, call, data)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster that this process has joined."""

    ray: Any
    """The module: it is an extra, and takes a second to import."""
    config: RayConfig
    noun: str = "actor"
    alike: bool = False

    @property
    def env(self) -> Sequence[str]:
        return self.config.env

    @property
    def room(self) -> int:
        """The number of actors that today's nodes have CPUs for, at least 1: more nodes may join."""
        return max(1, int(self.ray.cluster_resources().get("CPU", 0) // max(self.config.cpus, 0.01)))

    def start(self, service: str) -> Worker:
        """Returns a new actor, which begins once a node has room; on a node without another actor if possible."""
        wanted: dict[str, Any] = {"num_cpus": self.config.cpus, "resources": self.config.resources}
        if self.config.memory_mb:
            wanted["memory"] = self.config.memory_mb * 2**20
        return RayWorker(
            self.ray, self.ray.remote(Actor).options(scheduling_strategy="SPREAD", **wanted).remote(service)
        )


class RayWorker:
    """An actor that runs one service."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor
        self.node = ""

    async def begin(self, request: bytes) -> bytes:
        # Keys go in a message, because the cluster keeps the arguments with which an actor is made.
        return await self._ask("begin", request)

    async def exchange(self, work: bytes) -> bytes:
        return await self._ask("exchange", work)

    async def close(self) -> None:
        await self._ask("close", b"")

    async def end(self) -> None:
        self._ray.kill(self._actor)

    async def _ask(self, call: Call, data: bytes) -> bytes:
        errors = self._ray.exceptions
        gone = (errors.RayActorError, errors.NodeDiedError, errors.WorkerCrashedError, errors.OutOfMemoryError)
        try:
            reply = msgspec.msgpack.decode(await self._actor.call.remote(call, data), type=Reply)
        except (*gone, errors.ObjectLostError, errors.RuntimeEnvSetupError) as error:
            # Ray's messages are long; the first sentence says what happened.
            raise LostWorker(str(error).partition("\n")[0]) from None
        self.node = reply.node
        return reply.result()


@contextmanager
def join_cluster(address: str | None, config: RayConfig) -> Generator[Cluster]:
    """Yields the cluster at an address. `auto` is this machine's own cluster, and None starts one here.

    Raises UsageError if there is no cluster there, or if Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise UsageError("--ray needs the package ray: pip install 'assay[ray]'") from None
    if address:
        _reach(address)
    environment: dict[str, Any] = {}
    if config.working_dir:
        environment["working_dir"] = config.working_dir
    if config.pip:
        environment["pip"] = list(config.pip)
    local = {"include_dashboard": False} if address is None else {}
    try:
        ray.init(
            address=address or "local",
            runtime_env=environment,
            log_to_driver=False,
            logging_level="ERROR",
            **local,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"--ray {address or ''}: no Ray cluster there: {error}") from None
    try:
        yield Cluster(ray, config)
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raises UsageError if nothing listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    if "://" in address:
        raise UsageError(
            f"--ray {address}: expected HOST:PORT of the cluster's head, or auto, on a node of the cluster"
        )
    try:
        if port.isdigit():
            socket.create_connection((host, int(port)), REACH_S).close()
    except OSError as error:
        raise UsageError(f"--ray {address}: no Ray cluster there: {error}") from None

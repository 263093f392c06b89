"""Beyond one machine: a run's plan on a Ray cluster. The head keeps the plan and the store; actors make rollouts."""

import importlib
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from assay.collect.cluster.actor import Actor
from assay.config import RayConfig
from assay.errors import UsageError

REACH_S = 10.0
"""Ray itself tries for minutes."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster that this process has joined."""

    ray: Any
    """The module: it is an extra, and takes a second to import."""
    config: RayConfig

    @property
    def room(self) -> int:
        """So many actors the nodes that are there now have CPUs for, and at least one: more nodes may come."""
        return max(1, int(self.ray.cluster_resources().get("CPU", 0) // max(self.config.cpus, 0.01)))

    def hire(self) -> Any:
        """A new actor, as soon as a node has what one needs; on another node than the others where that can be."""
        wanted: dict[str, Any] = {"num_cpus": self.config.cpus, "resources": self.config.resources}
        if self.config.memory_mb:
            wanted["memory"] = self.config.memory_mb * 2**20
        return self.ray.remote(Actor).options(scheduling_strategy="SPREAD", **wanted).remote()

    def fire(self, actor: Any) -> None:
        """End an actor's process, whatever it does."""
        self.ray.kill(actor)

    @property
    def lost(self) -> tuple[type[BaseException], ...]:
        """What is raised where an actor or its node has died, or cannot be reached."""
        errors = self.ray.exceptions
        gone = (errors.RayActorError, errors.NodeDiedError, errors.WorkerCrashedError, errors.OutOfMemoryError)
        return (*gone, errors.ObjectLostError, errors.RuntimeEnvSetupError, TimeoutError)


@contextmanager
def joined(address: str | None, config: RayConfig) -> Generator[Cluster]:
    """The cluster at an address, `auto` for the one that this machine belongs to; None starts one on this machine.

    Raises UsageError where there is none, and where Ray is not installed.
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
    """Raises UsageError where nobody listens at HOST:PORT."""
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

"""The request of a run: pure data, which a command or a notebook sends to each worker.

A worker gets the same request with its share of the limits, so that all workers together keep the limits.
"""

from typing import Self

from msgspec import Struct, structs

from assay.benchmark.catalog import BenchmarkRequest
from assay.config import LOOP, AgentConfig, ModelConfig
from assay.model.wrappers.batch import MOST_IN_FLIGHT, batch_config
from assay.score import Selection


class RunRequest(Struct, frozen=True, kw_only=True):
    """What one command wants of a run."""

    benchmark: BenchmarkRequest
    name: str = ""
    """The model's short name; empty in the request of a profile, where the suite names the models."""
    server: ModelConfig = ModelConfig(dialect="none")
    agent: AgentConfig = LOOP
    roles: dict[str, ModelConfig] = {}
    """The models that sessions use beside this one; the benchmark's own for any other role."""
    repeats: int = 1
    only: dict[str, str] = {}
    limit: int | None = None
    ids: tuple[str, ...] = ()
    """`only`, `limit` and `ids` are as in Selection."""
    seed: int = 0
    concurrency: int = 64
    early_stop: bool = True
    batch: bool = False
    """Whether requests go to the provider's batch API."""
    door: str = ""
    """`module:Class` of the Door for agents that are programs; empty if there is none."""
    sharing: int = 1
    """The number of processes that share the models' limits."""

    @property
    def selection(self) -> Selection:
        return Selection(only=self.only, limit=self.limit, seed=self.seed, ids=self.ids)

    def share(self, index: int, count: int) -> Self:
        """Returns the request of worker `index` of `count`, from 1."""
        return structs.replace(self, concurrency=(self.concurrency + count - index) // count, sharing=count)

    def for_batch(self) -> Self:
        """Returns the request, for the provider's batch API if `batch` is set. Raises UsageError if it has none."""
        if not self.batch:
            return self
        return structs.replace(self, server=batch_config(self.server), concurrency=MOST_IN_FLIGHT)

    def secrets(self) -> list[str]:
        """Returns the names of the environment variables that hold the models' keys."""
        return [name for server in (self.server, *self.roles.values()) for name in server.secrets()]

"""The request of a run: pure data, which goes from a command or a notebook to each worker.

A worker gets the same request with its share of what may be used, so that all together keep within what was asked.
"""

from typing import Self

from msgspec import Struct, structs

from assay.benchmark.catalog import BenchmarkRequest
from assay.config import LOOP, AgentConfig, ModelConfig
from assay.model.wrappers.batch import MOST_IN_FLIGHT, batched
from assay.score import Selection


class RunRequest(Struct, frozen=True, kw_only=True):
    """What one command asks of a run."""

    benchmark: BenchmarkRequest
    name: str = ""
    """The model's short name; empty in a profile's request, whose suite names the models."""
    server: ModelConfig = ModelConfig(dialect="none")
    agent: AgentConfig = LOOP
    roles: dict[str, ModelConfig] = {}
    """The models that sessions ask beside this one; the benchmark's own where a role is not named."""
    repeats: int = 1
    only: dict[str, str] = {}
    limit: int | None = None
    ids: tuple[str, ...] = ()
    """`only`, `limit` and `ids` are those of a Selection."""
    seed: int = 0
    concurrency: int = 64
    early_stop: bool = True
    batch: bool = False
    """Whether the model is asked by its provider's batch API."""
    door: str = ""
    """`module:Class` of the Door for agents that are programs; empty where none is served."""
    sharing: int = 1
    """How many processes share the limits of the models."""

    @property
    def selection(self) -> Selection:
        return Selection(only=self.only, limit=self.limit, seed=self.seed, ids=self.ids)

    def share(self, index: int, count: int) -> Self:
        """Returns the part of worker `index` of `count`, from 1."""
        return structs.replace(self, concurrency=(self.concurrency + count - index) // count, sharing=count)

    def batched(self) -> Self:
        """Returns the request by which the model's batch API is asked, where `batch` says so. Raises UsageError."""
        if not self.batch:
            return self
        return structs.replace(self, server=batched(self.server), concurrency=MOST_IN_FLIGHT)

    def secrets(self) -> list[str]:
        """Returns the environment variables that hold the models' keys."""
        return [name for server in (self.server, *self.roles.values()) for name in server.secrets()]

"""Shards: the parts into which a run's plan is divided, each with a file of its own."""

import math
import re
from typing import Self

from msgspec import Struct

from assay.errors import UsageError


class Shard(Struct, frozen=True):
    """The part `index` of `count` of a plan. `index` counts from 1."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns a shard from `3/16`. Raises UsageError."""
        index, _, count = text.partition("/")
        if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
            raise UsageError(f"--shard {text}: expected i/n with i from 1 to n, such as 3/16")
        return cls(int(index), int(count))

    @classmethod
    def of(cls, file: str) -> Self | None:
        """Returns the shard whose file has this name; None where it is no such name."""
        match = re.fullmatch(r"rollouts(?:-(\d+)-of-(\d+))?\.jsonl", file)
        shard = match and cls(int(match[1] or 1), int(match[2] or 1))
        return shard if shard and shard.file == file and 1 <= shard.index <= shard.count else None

    @property
    def file(self) -> str:
        """The name of the file that it is written to."""
        return "rollouts.jsonl" if self.count == 1 else f"rollouts-{self.index}-of-{self.count}.jsonl"

    def meets(self, other: "Shard") -> bool:
        """Returns whether the two have any rollout of a plan in common."""
        return (self.index - other.index) % math.gcd(self.count, other.count) == 0

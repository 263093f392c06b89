"""What the request bodies of all wire formats share: the sampling settings, and the fields that a server refuses."""

import functools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from msgspec import structs

from assay.types import Sampling


@functools.lru_cache
def settings(server: Sampling, request: Sampling) -> Mapping[str, Any]:
    """Returns the settings by name: the request's, or else the server's. What neither sets is left out."""
    both = structs.asdict(server) | {
        name: value for name, value in structs.asdict(request).items() if value is not None
    }
    return MappingProxyType({name: value for name, value in both.items() if value is not None})


def without(body: dict[str, Any], omit: Iterable[str]) -> dict[str, Any]:
    """The request body without the fields that a server refuses."""
    return {name: value for name, value in body.items() if name not in omit} if omit else body

"""The style of each model in all charts and tables: a hue for its family, a shade and a shape for its kind."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from assay.fidelity.schema.profile import ModelSummary

HUES = 8
"""How many hues `page.css` has. A ninth family starts over; names tell them apart."""

_KIND = re.compile(r"[-_. /]*(instruct|thinking)", re.IGNORECASE)
_ROLES = ("policy", "open", "closed")


@dataclass(frozen=True, slots=True)
class Look:
    """A model's colour, as a CSS variable, and its shape."""

    color: str
    shape: Literal["circle", "diamond"]


def looks(models: Mapping[str, ModelSummary]) -> dict[str, Look]:
    """A look for each model, in the order in which the page lists them: by tier, role, then the best score first.

    Names that differ only in `instruct` or `thinking` share a hue."""
    families = {family: index for index, family in enumerate(dict.fromkeys(_KIND.sub("", name) for name in models))}
    return {
        name: Look(
            f"var(--hue-{families[_KIND.sub('', name)] % HUES}-{models[name].kind})",
            "diamond" if models[name].kind == "thinking" else "circle",
        )
        for name in sorted(models, key=lambda name: _place(models[name]))
    }


def _place(model: ModelSummary) -> tuple[int, int, float]:
    return model.tier, _ROLES.index(model.role), math.inf if model.score is None else -model.score


def tiers(models: Mapping[str, ModelSummary], order: Mapping[str, Look]) -> dict[int, list[str]]:
    """Returns the models of each tier, in the page's order."""
    return {
        tier: [name for name in order if models[name].tier == tier]
        for tier in sorted({model.tier for model in models.values()})
    }

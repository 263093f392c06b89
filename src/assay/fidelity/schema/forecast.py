"""The structs of a forecast: what the gates will cost and say, before anything is spent."""

from typing import Literal

from msgspec import Struct

Source = Literal["pilot", "published", "guess", "assumed"]
"""Where a figure comes from: a pilot run, a published score, a guess of the user's, or nothing better."""


class ModelForecast(Struct, frozen=True, kw_only=True):
    """One model: what is expected of it, and the rollouts that the gates need of it."""

    score: float
    score_from: Source
    repeats: int
    rollouts: int
    tokens_a_rollout: int
    """Input and output."""
    tokens_from: Source
    usd_a_rollout: float | None
    """Null without prices."""


class GateForecast(Struct, frozen=True, kw_only=True):
    """One gate: how likely a sound benchmark passes, and what that takes."""

    name: str
    passes: float | None
    """The probability that a sound benchmark passes. Null where the gate does not apply."""
    fails: float = 0.0
    """The probability that a sound benchmark fails: a false alarm. The rest is inconclusive."""
    repeats: dict[str, int] = {}
    """The repeats that this gate alone needs, by model. Empty where it reads no rollout of its own."""
    rollouts: int = 0
    tokens: int = 0
    usd: float | None = None
    """US dollars, of the models that have prices. Null where none has."""
    labels: int = 0
    """Answers that a person labels."""
    minutes: float = 0.0
    """Minutes of a person's reading."""
    unseen: str = ""
    """What it could not have seen at this size, and the smallest difference that it would have noticed."""
    note: str = ""
    """Why it can't pass, or does not apply; or what has to be there first."""


class Forecast(Struct, frozen=True, kw_only=True):
    """What `assay plan` prints: the gates of a sound benchmark of this size on this suite."""

    tasks: int
    trials: int
    """The number of simulated profiles behind the probabilities."""
    models: dict[str, ModelForecast]
    """The models that are expected to run, with their repeats."""
    gates: list[GateForecast]
    passes: float
    """The probability that a sound benchmark passes all of them that apply and can be simulated."""
    rollouts: int
    tokens: int
    usd: float | None
    minutes: float
    usd_by_batch: float | None = None
    """The same with `--batch`; null where no model with prices can be asked by a batch API."""

    @property
    def repeats(self) -> dict[str, int]:
        """The repeats of each model, with which every gate has what it needs."""
        return {name: model.repeats for name, model in self.models.items()}

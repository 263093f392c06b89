"""A rollout as tokens: the ids that the model sampled, turn by turn, never made from text."""

from dataclasses import dataclass

from assay.types import Rollout


@dataclass(frozen=True, slots=True)
class Tokens:
    """One rollout for a trainer. The last three have one entry for each token after the prompt."""

    prompt: list[int]
    completion: list[int]
    """The model's tokens, and between its turns those of the environment."""
    logprobs: list[float]
    """Natural logarithms, at temperature 1; 0 for the environment's tokens."""
    mask: list[int]
    """1 for the model's tokens, 0 for the environment's."""


def tokens_of(rollout: Rollout) -> Tokens | None:
    """Returns the tokens of a rollout; None if the turns are not one conversation, token for token.

    Each prompt has to begin with all earlier tokens; else the model was not in the state that training would reinforce.
    It does not if a chat template drops earlier reasoning, or if an agent shortens its history.
    """
    ids: list[int] = []
    logprobs: list[float] = []
    mask: list[int] = []
    for turn in rollout.turns:
        sent = turn.response.tokens
        if sent is None or not sent.prompt or len(sent.output) != len(sent.output_logprobs):
            return None
        if sent.prompt[: len(ids)] != ids:
            return None
        between = len(sent.prompt) - len(ids)
        ids = sent.prompt + sent.output
        logprobs += [0.0] * between + sent.output_logprobs
        mask += [0] * between + [1] * len(sent.output)
    if not any(mask):
        return None
    start = mask.index(1)
    return Tokens(ids[:start], ids[start:], logprobs[start:], mask[start:])

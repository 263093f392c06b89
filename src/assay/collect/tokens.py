"""A rollout as tokens: the ids that were sampled, carried from turn to turn, never made again from text."""

from dataclasses import dataclass

from assay.types import Rollout


@dataclass(frozen=True, slots=True)
class Tokens:
    """One rollout for a trainer. The last three have one entry for each token after the prompt."""

    prompt: list[int]
    completion: list[int]
    """What the model sampled, and between its turns what the environment said."""
    logprobs: list[float]
    """Natural, at temperature 1; 0 for what the environment said."""
    mask: list[int]
    """1 for what the model sampled, 0 for what the environment said."""


def tokens_of(rollout: Rollout) -> Tokens | None:
    """Returns the tokens of a rollout; None if the turns are not one conversation, token by token.

    Each prompt has to begin with all tokens that came before it: the model was not in the state that is trained
    otherwise. It does not where a chat template leaves out earlier reasoning, or where an agent shortens its history.
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

"""Token ids that are carried from turn to turn: what a model said is never made into tokens again from its text."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

Messages = list[dict[str, Any]]
MOST = 4096
"""Conversations that are kept: more than go on at once."""


class Carried:
    """The ids of conversations so far, by what the chat template makes of them.

    A template may write what the model said in another way than the model did, and a tokenizer may divide it in another
    way than it was sampled: a prompt that is made again from text then differs from what came before.
    """

    def __init__(self, encode: Callable[[str], list[int]], end: str) -> None:
        """`end` is the text of the token that ends an answer."""
        self._encode, self._end = encode, end
        self._ids: OrderedDict[tuple[Hashable, str], tuple[list[int], bool]] = OrderedDict()

    def prompt(self, said: Messages, render: Callable[[Messages, bool], str], scope: Hashable = None) -> list[int]:
        """Returns the prompt's ids: those of the conversation so far, where it is known, and of what is new.

        `render` writes messages by the chat template, with a beginning of the next answer or not. `scope` is one
        rollout's, whose ids are no other's.
        """
        text = render(said, True)
        at = max((place for place, one in enumerate(said) if one["role"] == "assistant"), default=None)
        if at is not None:
            through = render(said[: at + 1], False)
            known = self._ids.get((scope, through))
            if known is not None and text.startswith(through):
                ids, ended = known
                _, end, after = through.rpartition(self._end)
                return ids + self._encode(("" if ended else end) + after + text[len(through) :])
        return self._encode(text)

    def keep(
        self,
        said: Messages,
        render: Callable[[Messages, bool], str],
        ids: Sequence[int],
        *,
        ended: bool,
        scope: Hashable = None,
    ) -> None:
        """Keep the ids of a conversation that ends with an answer, whose last id is the end token if it `ended`."""
        self._ids[scope, render(said, False)] = list(ids), ended
        if len(self._ids) > MOST:
            self._ids.popitem(last=False)

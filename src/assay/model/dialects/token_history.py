"""The token ids of conversations, kept from turn to turn, so that a model's text is never tokenized again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

Messages = list[dict[str, Any]]
MOST = 4096
"""The most conversations that are kept, more than are open at once."""


class TokenHistory:
    """The token ids of conversations so far, by their rendered text.

    A template may render a model's answer differently from the model's text, and a tokenizer may split it differently
    from the sampled tokens. Then a prompt made from text would not begin with the tokens of the conversation.
    """

    def __init__(self, encode: Callable[[str], list[int]], end: str) -> None:
        """`end` is the text of the token that ends an answer."""
        self._encode, self._end = encode, end
        self._ids: OrderedDict[tuple[Hashable, str], tuple[list[int], bool]] = OrderedDict()

    def prompt(self, said: Messages, render: Callable[[Messages, bool], str], scope: Hashable = None) -> list[int]:
        """Returns the prompt's ids: those of the conversation so far, if it is known, and those of the new text.

        `render` applies the chat template to messages, with or without the beginning of the next answer. `scope` is one
        rollout, which shares ids with no other.
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
        """Keeps the ids of a conversation that ends with an answer. Its last id is the end token if it `ended`."""
        self._ids[scope, render(said, False)] = list(ids), ended
        if len(self._ids) > MOST:
            self._ids.popitem(last=False)

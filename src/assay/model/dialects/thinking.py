"""Thinking in raw text: what stands between `<think>` tags becomes a reasoning item, the rest the message."""

from msgspec import structs

from assay.types import Item, Message, Reasoning, ReasoningText, Text

OPEN, CLOSE = "<think>", "</think>"


def items(text: str, *, complete: bool = True, opened: bool = False) -> list[Item]:
    """The Responses items of a raw text: `reasoning` where it thinks, then one `message`.

    Several blocks become one reasoning item. A closing tag without an opening one means that the template opened the
    block: all that stands before is reasoning. A block left open is all reasoning, and there is no message: the model
    never came to answer. Where the template opens each block (`opened`), so is an incomplete text without any tag.
    """
    if opened and not complete and OPEN not in text and CLOSE not in text:
        text = OPEN + text
    thoughts, rest = split(text)
    found: list[Item] = []
    if thoughts:
        found.append(Reasoning(content=[ReasoningText(text=thoughts)]))
    if rest is not None:
        found.append(message(rest, complete=complete))
    return found


def without_tags(item: Item, *, complete: bool, opened: bool) -> list[Item]:
    """An item as it is, or what a message with `<think>` tags in it becomes; see `items`."""
    if not isinstance(item, Message):
        return [item]
    text, complete = item.text, complete and item.status != "incomplete"
    if OPEN in text or CLOSE in text or (opened and not complete and text):
        split = items(text, complete=complete, opened=opened)
        return [structs.replace(part, id=item.id) if isinstance(part, Message) else part for part in split]
    return [item]


def message(text: str, *, complete: bool = True) -> Message:
    """A message of the model."""
    return Message(role="assistant", content=[Text(text=text)], status="completed" if complete else "incomplete")


def split(text: str) -> tuple[str, str | None]:
    """The reasoning and the message of a raw text; the message is `None` where a block was left open."""
    opened, closed = text.find(OPEN), text.find(CLOSE)
    if opened < 0 and closed < 0:
        return "", text
    if closed >= 0 and (opened < 0 or closed < opened):
        text = OPEN + text
    thoughts: list[str] = []
    said: list[str] = []
    while text:
        before, found, text = text.partition(OPEN)
        said.append(before)
        if not found:
            break
        thought, closing, text = text.partition(CLOSE)
        thoughts.append(thought.strip("\n"))
        if not closing:
            return "\n".join(thoughts), None
    return "\n".join(thoughts), "".join(said).strip("\n")

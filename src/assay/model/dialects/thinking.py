"""Thinking in raw text: the text between tags becomes a reasoning item, the rest the message."""

import re
from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct, structs

from assay.config import THINKING_TAGS, ModelConfig
from assay.types import Item, Message, Reasoning, ReasoningText, Text

HARMONY = "<|channel|>analysis<|message|>"
"""In `thinking_tags`, the channels of gpt-oss: `analysis` is reasoning, `final` the message."""
_LEFT = re.compile(
    r"</?\s*(?:think|thinking|thoughts?|reasoning|reflection|scratchpad|[a-z]+:think)\s*>|\[/?THINK\]|◁/?think▷"
    r"|<\|(?:channel|begin_of_thought|end_of_thought)\|>|<\|?channel\|?>",
    re.IGNORECASE,
)
"""Marks by which models begin and end thinking, whether they are listed in `thinking_tags` or not."""


REMEDY = "add what opens the thinking to thinking_tags, or serve the model with its reasoning parser"


class _Marks(Struct, frozen=True):
    """Tags as regular expressions."""

    firsts: set[str]
    """The first characters of all marks. Looking for these alone is a hundred times faster."""
    any: re.Pattern[str]
    """Any mark: a group for each tag that opens, then one for each that closes, then what may end a text."""
    closes: list[re.Pattern[str]]
    """What closes a block, by the number of the tag that opened it."""

    def are_in(self, text: str) -> bool:
        for first in self.firsts:
            if first in text:
                return self.any.search(text) is not None
        return False


def items(text: str, *, complete: bool = True, opened: bool = False, tags: Sequence[str] = THINKING_TAGS) -> list[Item]:
    """The Responses items of a raw text: `reasoning` where it thinks, then one `message`.

    Several blocks become one reasoning item. A closing tag without an opening one means that the template opened the
    block: all that stands before is reasoning. A block left open is all reasoning, and there is no message: the model
    never came to answer. Where the template opens each block (`opened`), so is an incomplete text without any tag.
    """
    if opened and not complete and not has_tags(text, tags):
        thoughts, rest = text, None
    else:
        thoughts, rest = split(text, tags)
    made: list[Item] = [Reasoning(content=[ReasoningText(text=thoughts)])] if thoughts else []
    return made if rest is None else [*made, message(rest, complete=complete)]


def split_messages(output: list[Item], config: ModelConfig, *, complete: bool) -> list[Item]:
    """The output of an API that has reasoning items, with what its messages hold in tags as such items too.

    Returns `output` itself where nothing changes. Where the template opens each block, a message that was cut is
    reasoning, unless an item says already what the model thought.
    """
    if config.reasoning not in ("auto", "tags"):
        return output
    opened = config.reasoning == "tags" and not any(isinstance(item, Reasoning) for item in output)
    made: list[Item] = []
    for item in output:
        text = item.text if isinstance(item, Message) else ""
        whole = complete and item.status != "incomplete"
        if has_tags(text, config.thinking_tags) or (opened and not whole and text):
            parts = items(text, complete=whole, opened=opened, tags=config.thinking_tags)
            made += [structs.replace(part, id=item.id) if isinstance(part, Message) else part for part in parts]
        else:
            made.append(item)
    return output if made == output else made


def wrap(text: str, tags: Sequence[str]) -> str:
    """Returns a thought between the first of the tags, as a chat template puts it before an answer."""
    tag = next((tag for tag in tags if tag != HARMONY), "<think>")
    return f"{tag}\n{text}\n{tag[0]}/{tag[1:]}\n\n"


def message(text: str, *, complete: bool = True) -> Message:
    """Returns a message of the model."""
    return Message(role="assistant", content=[Text(text=text)], status="completed" if complete else "incomplete")


def has_tags(text: str, tags: Sequence[str] = THINKING_TAGS) -> bool:
    return _marks(tuple(tags)).are_in(text)


def leftover(text: str) -> str | None:
    """Returns the first mark of thinking that stands in an answer, such as `</think>`; None where there is none."""
    mark = _LEFT.search(text) if "<" in text or "[" in text or "◁" in text else None
    return mark[0] if mark and not _is_quoted(text, mark) else None


def remedy(mark: str, config: ModelConfig) -> str:
    """Returns the setting that keeps such a mark out of the answers."""
    if config.reasoning in ("none", "field") and has_tags(mark, config.thinking_tags):
        return 'reasoning = "tags" takes it out'
    return REMEDY


def split(text: str, tags: Sequence[str] = THINKING_TAGS) -> tuple[str, str | None]:
    """Returns the reasoning and the message of a raw text; the message is None if a block was left open."""
    marks, at = _marks(tuple(tags)), 0
    if not marks.are_in(text):
        return "", text
    thoughts: list[str] = []
    said: list[str] = []
    while mark := marks.any.search(text, at):
        before, at = text[at : mark.start()], mark.end()
        number = (mark.lastindex or 0) - 1
        if _is_quoted(text, mark):
            said += [before, mark[0]]
        elif number < len(marks.closes):
            closing = marks.closes[number].search(text, at)
            said.append(before)
            thoughts.append(text[at : closing.start() if closing else None].strip("\n"))
            if closing is None:
                return "\n".join(thoughts), None
            at = closing.end()
        elif number == 2 * len(marks.closes) or (thoughts and not text[at:].strip()):
            # The end of the text, or a block that is closed once more than it was opened.
            said.append(before)
        else:
            thoughts.append("".join([*said, before]).strip("\n"))
            said = []
    message = "".join([*said, text[at:]])
    return "\n".join(thoughts), message if message == text else message.strip("\n")


def _is_quoted(text: str, mark: re.Match[str]) -> bool:
    """Returns whether a mark is quoted: between quotation marks or backticks."""
    before, after = text[max(0, mark.start() - 1) : mark.start()], text[mark.end() : mark.end() + 1]
    return bool(before) and before == after and before in "`'\""


@lru_cache
def _marks(tags: tuple[str, ...]) -> _Marks:
    pairs = [_HARMONY if tag == HARMONY else _pair(tag) for tag in tags]
    groups = [*(opens for opens, _ in pairs), *(closes for _, closes in pairs), _HARMONY_END]
    # One set of first characters makes the search fast: all else is looked for only where one of them stands.
    firsts = {group[0] for group in groups}
    rests = "|".join(f"({group[1:]})" for group in groups)
    closes = [re.compile(re.escape(closes[0]) + closes[1:]) for _, closes in pairs]
    return _Marks(firsts, re.compile(f"[{re.escape(''.join(firsts))}](?:{rests})"), closes)


def _pair(tag: str) -> tuple[str, str]:
    """What opens and what closes, in any case and with a space before the end; the first character is literal."""
    rest = f"{re.escape(tag[1:-1])}\\s*{re.escape(tag[-1])}"
    rest = f"(?i:{rest})" if tag[0] == "<" else rest
    return tag[0] + rest, f"{tag[0]}/{rest}"


_HEADER = r"(?:<\|start\|>assistant)?<\|channel\|>"
_HARMONY = (
    r"<\|(?:start\|>assistant<\|channel\|>|channel\|>)analysis.{0,80}?<\|message\|>",
    rf"<\|(?:(?:end\|>{_HEADER}|start\|>assistant<\|channel\|>|channel\|>)final.{{0,80}}?<\|message\|>"
    rf"|end\|>(?={_HEADER}commentary to=))",
)
"""https://github.com/openai/harmony/blob/main/docs/format.md. A call in the channel `commentary` stays in the text."""
_HARMONY_END = r"<\|(?:return|end)\|>\s*\Z"

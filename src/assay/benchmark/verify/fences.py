"""Fenced blocks in a message: one reading of Markdown for code, JSON and verdicts."""

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field

_FENCE = re.compile(r"[ \t]*+(?P<marks>`{3,}+|~{3,}+)[ \t]*+(?P<info>[\w+#-]*+\s*+[{\[]\s*+[\"{}\[\]\d].*+|[^`\n]*+)")
_AFTER = re.compile(r"(?P<before>\s*+[^`\s][^`]*+)(?P<marks>`{3,}+)[ \t]*+(?P<info>[\w+#.-]*+)[ \t]*+")
"""A fence after something else on its line."""
_END = re.compile(r"(?P<before>\s*+[^`\s].*?)(?P<marks>`{3,}+)(?P<info>)")
"""A closing fence at the end of the body's last line."""
_LINE = re.compile(r"[^`]*+(?P<marks>`{3,}+)(?P<body>[^`]++)(?P=marks)[ \t]*+")
"""A block on one line."""
_BEGUN = re.compile(
    r"""(?P<language>[\w+#-]*?)\s*+
    (?P<body>[{\[](?:\s*["{}\[\]\d].*|\Z)|(?:(?:async\ )?def|from|import|class)\ .*)""",
    re.DOTALL | re.VERBOSE,
)
"""A first line of the body that stands behind the language, or in its place."""
_TOKEN = re.compile(r""" \#.* | \"{3} | '{3} | "(?:[^"\\]|\\.)*+" | '(?:[^'\\]|\\.)*+' | \\. """, re.VERBOSE)
_WITHIN = re.compile(r"""\\. | "{3} | '{3}""", re.VERBOSE)
_QUOTES = ('"""', "'''")
_DEEPER = 4
"""Spaces: a fence that is indented by this much more than the opening one does not end the block."""


@dataclass
class Block:
    """A fenced block."""

    language: str
    """In small letters; empty where none is given."""
    lines: list[str] = field(default_factory=list[str])
    closed: bool = False

    @property
    def body(self) -> str:
        """What stands in it. A block within a list is indented as the list is."""
        body = "".join(self.lines)
        return textwrap.dedent(body) if body[:1] in (" ", "\t") else body


def fenced_blocks(text: str, fits: Callable[[str], bool]) -> list[Block]:
    """The fenced blocks of a message, as models write them; one that is never closed goes on to the end.

    A fence may follow prose on its line, and a closing one the end of the body. A fence within a string of three quotes
    is part of the body, as is one that is indented much deeper than the block. A fence with a language within a block
    begins another. Where no body fits, and a fence without a language is never closed or all fences stand in strings,
    the text is read as the beginning of a block.
    """
    blocks = _parse(text)
    if not blocks or _any(blocks, fits):
        return blocks
    others = _parse(f"```\n{text}")
    missing = len(others) == 1 or any(not block.closed and not block.language for block in blocks)
    return others if missing and _any(others, fits) else blocks


def _any(blocks: list[Block], fits: Callable[[str], bool]) -> bool:
    return any(fits(block.body) for block in blocks)


def _parse(text: str) -> list[Block]:
    lines = text.splitlines(keepends=True) if "\n" in text else [text]
    blocks, whole = _blocks(lines, quotes=True)
    # Quotes that are never closed are no Python's: then they hide no fence.
    return blocks if whole else _blocks(lines, quotes=False)[0]


def _blocks(lines: list[str], *, quotes: bool) -> tuple[list[Block], bool]:
    """The blocks, and whether no string of three quotes is open at the end."""
    blocks: list[Block] = []
    opened: re.Match[str] | None = None
    quote = ""
    for line in lines:
        bare = line.rstrip()
        if opened is None:
            if one := _LINE.fullmatch(bare):
                blocks.append(_open_block(one["body"].strip(), inline=True))
            elif opened := _FENCE.fullmatch(bare) or _AFTER.fullmatch(bare):
                blocks.append(_open_block(opened["info"].strip()))
                opened = None if blocks[-1].closed else opened
            continue
        fence = None if quote else _ending(opened, bare)
        if fence is None:
            blocks[-1].lines.append(line)
            quote = _quote(line, quote) if quotes else ""
            continue
        if before := fence.groupdict().get("before"):
            blocks[-1].lines.append(f"{before}\n")
        info = fence["info"].strip()
        blocks[-1].closed = not info
        opened = fence if info else None
        if info:
            blocks.append(_open_block(info))
    return blocks, not quote


def _open_block(info: str, *, inline: bool = False) -> Block:
    """The block that begins with what stands behind its marks."""
    begun = _BEGUN.fullmatch(info)
    language, _, body = (begun["language"], "", begun["body"]) if begun else info.partition(" ")
    closed = inline or body.endswith("```")
    return Block(language.lower(), [f"{body.rstrip('`')}\n"] if begun or inline else [], closed=closed)


def _ending(opened: re.Match[str], line: str) -> re.Match[str] | None:
    """The fence on a line that ends the block, one with a language included."""
    if fence := _FENCE.fullmatch(line):
        deep = _indent(line) >= _indent(opened[0]) + _DEEPER
        return None if deep or not fence["marks"].startswith(opened["marks"]) else fence
    fence = _END.fullmatch(line)
    return fence if fence and fence["marks"] == opened["marks"] else None


def _indent(line: str) -> int:
    return len(line[: len(line) - len(line.lstrip())].expandtabs(4))


def _quote(line: str, quote: str) -> str:
    """The three quotes of the string that is open after a line, where those of `quote` are before it."""
    at = 0
    while token := (_WITHIN if quote else _TOKEN).search(line, at):
        at = token.end()
        if token[0] in _QUOTES:
            quote = "" if token[0] == quote else quote or token[0]
    return quote

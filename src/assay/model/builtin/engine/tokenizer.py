"""The tokenizer of a model folder: byte-level BPE, as GPT-2 has it, with the digits apart or not.

The library that writes `tokenizer.json` also reads it, but brings a hub client along, and the embedded models have 384
tokens. A test compares the two.
"""

import functools
import itertools
import re
from pathlib import Path
from typing import Self
from unicodedata import category

import msgspec
from msgspec import Struct

from assay.errors import InputError
from assay.input import BROKEN, read_input

EXPECTED = "byte-level BPE with no normaliser, as GPT-2's"
WORDS = re.compile(r"'(?:[stmd]|re|ve|ll)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII)
"""GPT-2's division of a text into words. It is applied to the text's outline, which is ASCII."""


class _AddedToken(Struct, frozen=True):
    id: int
    content: str
    special: bool
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False


class _Bpe(Struct, frozen=True, tag="BPE"):
    vocab: dict[str, int]
    merges: list[tuple[str, str] | str]
    ignore_merges: bool = False
    dropout: float | None = None
    unk_token: str | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None


class _ByteLevel(Struct, frozen=True, tag="ByteLevel"):
    add_prefix_space: bool
    use_regex: bool = True


class _Digits(Struct, frozen=True, tag="Digits"):
    individual_digits: bool


class _Sequence(Struct, frozen=True, tag="Sequence"):
    pretokenizers: list[_Digits | _ByteLevel]


class _File(Struct, frozen=True):
    """`tokenizer.json`."""

    added_tokens: list[_AddedToken]
    model: _Bpe
    pre_tokenizer: _Sequence | _ByteLevel
    normalizer: None = None

    def steps(self) -> list[_Digits | _ByteLevel]:
        """Returns what divides a text into words, in order."""
        return self.pre_tokenizer.pretokenizers if isinstance(self.pre_tokenizer, _Sequence) else [self.pre_tokenizer]

    def is_supported(self) -> bool:
        match self.steps():
            case [_ByteLevel(add_prefix_space=False, use_regex=True)]:
                pass
            case [_Digits(individual_digits=True), _ByteLevel(add_prefix_space=False, use_regex=True)]:
                pass
            case _:
                return False
        plain = _Bpe(self.model.vocab, self.model.merges)
        stripped = any(token.single_word or token.lstrip or token.rstrip for token in self.added_tokens)
        return self.model == plain and not stripped and set(BYTES.values()) <= self.model.vocab.keys()


def _bytes() -> dict[int, str]:
    """Returns GPT-2's character for each byte: itself where it is visible, else one from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(others)}


BYTES = _bytes()


class Tokenizer:
    """Text to token ids and back."""

    def __init__(self, file: _File) -> None:
        added = {token.content: token.id for token in file.added_tokens}
        self._special = frozenset(token.id for token in file.added_tokens if token.special)
        self._ids = file.model.vocab | added
        self._added = re.compile("|".join(map(re.escape, sorted(added, key=len, reverse=True))) or "(?!)")
        pairs = (tuple(merge.split(" ")) if isinstance(merge, str) else merge for merge in file.model.merges)
        self._ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self._digits_apart = len(file.steps()) > 1
        codes = {character: byte for byte, character in BYTES.items()}
        self._tokens = {
            number: bytes(codes[c] for c in token) if codes.keys() >= set(token) else token.encode()
            for token, number in self._ids.items()
        }
        self._word = functools.lru_cache(maxsize=1 << 14)(self._merge)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Returns the tokenizer of a `tokenizer.json`. Raises InputError for one of another kind."""
        try:
            file = msgspec.json.decode(read_input(path), type=_File)
        except BROKEN as error:
            raise InputError(path, None, str(error), EXPECTED) from None
        if not file.is_supported():
            raise InputError(path, None, "a tokenizer with other rules", EXPECTED)
        return cls(file)

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text. Added tokens are found wherever they stand; no token is put around the text."""
        ids: list[int] = []
        end = 0
        for match in self._added.finditer(text):
            self._encode_words(text[end : match.start()], ids)
            ids.append(self._ids[match.group()])
            end = match.end()
        self._encode_words(text[end:], ids)
        return ids

    def decode(self, ids: list[int], *, skip_special_tokens: bool = True) -> str:
        """Returns the text of tokens; what is no UTF-8 becomes U+FFFD."""
        hidden = self._special if skip_special_tokens else frozenset[int]()
        return b"".join(self._tokens[number] for number in ids if number not in hidden).decode(errors="replace")

    def token_to_id(self, token: str) -> int | None:
        return self._ids.get(token)

    def _encode_words(self, text: str, ids: list[int]) -> None:
        outline = text if text.isascii() else "".join(map(_outline, text))
        start = 0
        # A digit that stands apart also ends the spaces before it.
        for part in re.split("([0-9])", outline) if self._digits_apart else [outline]:
            for match in WORDS.finditer(part):
                ids.extend(self._word(text[start + match.start() : start + match.end()]))
            start += len(part)

    def _merge(self, word: str) -> list[int]:
        """Returns a word's tokens: its bytes, of which the pair with the lowest rank is joined until none has one."""
        parts = [BYTES[byte] for byte in word.encode()]
        while len(parts) > 1:
            pairs = list(itertools.pairwise(parts))
            pair = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if pair not in self._ranks:
                break
            where = pairs.index(pair)
            parts[where : where + 2] = ["".join(pair)]
        return [self._ids[part] for part in parts]


def _outline(character: str) -> str:
    """Returns an ASCII character of the same class: letter, number, white space or other."""
    if character.isascii():
        return character
    if character.isspace():
        return "\t"
    return {"L": "X", "N": "0"}.get(category(character)[0], "!")

"""The tokenizer of a model folder. `test_engine_transformers.py` compares it with the library on any text."""

import json
from pathlib import Path
from typing import Any

import pytest

from assay.errors import InputError
from assay.model.builtin import engine as engine_module
from assay.model.builtin.engine.tokenizer import Tokenizer

FILE = Path(engine_module.__file__).parents[1] / "weights/micro-thinking/tokenizer.json"


@pytest.mark.parametrize(
    ("text", "ids"),
    # As the library tokenizers 0.23.3 has them.
    [
        ("", []),
        ("What is 345 + 23?", [274, 272, 229, 27, 28, 29, 276, 229, 26, 27, 39]),
        ("it's  12\n 3 we'll", [81, 92, 15, 91, 229, 229, 25, 26, 207, 229, 27, 229, 95, 77, 15, 294]),
        ("<think>\n1 + 1 = 2</think>2<|end|>", [7, 207, 25, 276, 229, 25, 229, 37, 229, 26, 8, 26, 1]),
        ("é ½ 一 😀", [136, 111, 229, 135, 130, 229, 169, 125, 231, 229, 181, 262, 255, 231]),
        ("a  \x85b\x1c c", [73, 229, 229, 135, 236, 74, 225, 292]),
        ("<|end|<think", [36, 100, 77, 86, 76, 100, 36, 268]),
    ],
)
def test_a_text_has_the_librarys_ids_and_comes_back_from_them(text: str, ids: list[int]) -> None:
    tokenizer = Tokenizer.load(FILE)
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert tokenizer.decode(ids) == text.replace("<|end|>", "")


def test_bytes_that_are_no_utf_8_become_the_replacement_character() -> None:
    tokenizer = Tokenizer.load(FILE)
    assert tokenizer.decode(tokenizer.encode("é")[:1]) == "\ufffd"


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}},
        {"model": {"type": "WordPiece", "vocab": {}}},
    ],
)
def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(FILE.read_text()) | change))
    with pytest.raises(InputError, match="byte-level BPE"):
        Tokenizer.load(path)

"""docs/python.md, run as a notebook runs it: block after block, in one namespace, with `await` at the top."""

import ast
import asyncio
import re
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs/python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.heavy
def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) >= 7

    async def notebook() -> dict[str, Any]:
        names: dict[str, Any] = {}
        for block in BLOCKS:
            code = compile(block, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            value = eval(code, names)
            if isawaitable(value):
                await value
        return names

    names = asyncio.run(notebook())
    assert len(names["group"]) == 32
    assert len(names["frame"]) == 40
    assert names["page"].read_text(encoding="utf-8").startswith("<!")
    assert list(tmp_path.iterdir()) == []  # nothing is written where nobody asked for it

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.errors import UsageError
from assay.gyms import rows
from assay.gyms.rows import read_rows
from tests.benchmarks.tables import jsonl, parquet, table

ROWS = [{"problem": "1 + 1?", "answer": "2"}, {"problem": "über\n2 + 2?", "answer": "4"}]
WRITERS: dict[str, Callable[..., Path]] = {
    "a.jsonl": jsonl,
    "a.JSONL": jsonl,
    "a.jsonl.gz": jsonl,
    "a.csv": table,
    "a.csv.gz": table,
    "a.parquet": parquet,
    "a.json": lambda path, *rows: path.write_text(json.dumps(rows)) and path,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str):
    found = read_rows([WRITERS[name](tmp_path / name, *ROWS)])
    assert [row.cells for row in found] == ROWS
    assert [row.number for row in found] == [1, 2]
    assert found[0].place.startswith(f"{tmp_path / name}, ")


def test_rows_are_numbered_over_all_files(tmp_path: Path):
    files = [jsonl(tmp_path / "a.jsonl", *ROWS), parquet(tmp_path / "b.parquet", *ROWS)]
    assert [(row.number, row.place.rpartition(", ")[2]) for row in read_rows(files)] == [
        (1, "line 1"),
        (2, "line 2"),
        (3, "row 1"),
        (4, "row 2"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.txt", b"", r"ends in \.jsonl, \.json, \.csv, \.parquet"),
        ("none.eval", b"no zip", r"a zip archive, such as \.zip or \.eval"),
        ("none.jsonl", None, "No such file"),
        ("empty.jsonl", b"\n\n", "no rows"),
        ("latin.csv", "problem,answer\nÄ,b\n".encode("latin-1"), "UTF-8"),
        ("torn.jsonl", b'{"problem": "a"}\n{"problem": "a', "torn.jsonl, line 2"),
        ("list.jsonl", b"[1]\n", "line 1: Expected `object`"),
        ("object.json", b"{}", "no rows"),
        ("short.csv", b"problem,answer,id\na,b\n", "line 2: a row of 2 cells"),
        ("long.csv", b"problem,answer\na,b,c\n", "a row of 3 cells"),
        ("quote.csv", b'problem,answer\n"a,b', "unexpected end"),
        ("torn.parquet", b"PAR1 and no more", "a Parquet file"),
        ("torn.jsonl.gz", gzip.compress(b"{}\n" * 1000, mtime=0)[:-9], "can't be decompressed"),
        ("none.jsonl.gz", b"{}\n", "can't be decompressed"),
    ],
)
def test_what_is_no_data_file_is_one_message(tmp_path: Path, name: str, content: Any, said: str):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_rows([tmp_path / name])


def archive(file: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return file


def test_a_member_of_an_archive_may_not_be_larger_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rows, "LARGEST_MEMBER", 1000)
    members = {"a.jsonl": b"{}" + b" " * 998, "b.jsonl.gz": gzip.compress(b"{}" + b" " * 998)}
    assert len(list(rows.iterate_rows([archive(tmp_path / "small.zip", **members)]))) == 2
    for name, content in (("a.jsonl", b" " * 1001), ("b.jsonl.gz", gzip.compress(b" " * 1001))):
        with pytest.raises(UsageError, match=f"bomb.zip, {name}: more than 1,000 bytes"):
            list(rows.iterate_rows([archive(tmp_path / "bomb.zip", **{name: content})]))


def test_an_archive_without_rows(tmp_path: Path):
    with pytest.raises(UsageError, match=r"no member ends in \.jsonl"):
        read_rows([archive(tmp_path / "a.zip", **{"a.txt": b"x"})])


def test_a_torn_archive_is_one_message(tmp_path: Path):
    file = archive(tmp_path / "a.zip", **{"a.jsonl": b"{}"})
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UsageError, match="it can't be unpacked"):
        read_rows([file])

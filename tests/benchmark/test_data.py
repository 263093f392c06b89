import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from assay.benchmark.data import Source, download, folder, is_prepared, place, prepared, take
from assay.errors import AssayError, UsageError
from tests.endpoint import Call, Endpoint, http

CONTENT = b'{"question": "1 + 1?", "answer": "#### 2"}\n' * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def files(cache: Path) -> list[str]:
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())


def serving(*answers: tuple[str, bytes]):
    """A server that answers a path with bytes, and closes the connection after them."""
    by_path = dict(answers)

    async def behave(call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(by_path[call.path])
        await writer.drain()
        raise ConnectionResetError

    return Endpoint(behave)


def at(server: Endpoint, path: str = "/test.jsonl", size: int = len(CONTENT), sha256: str = DIGEST) -> Source:
    return Source(url=f"http://127.0.0.1:{server.port}{path}", sha256=sha256, size=size)


def test_a_download_is_kept_and_found_again(cache: Path):
    with serving(("/test.jsonl", http(CONTENT))) as server:
        assert not is_prepared("sums", at(server))
        assert download("sums", at(server)) == cache / "sums" / "test.jsonl"
        assert prepared("sums", at(server)).read_bytes() == CONTENT
        assert is_prepared("sums", at(server))
    assert files(cache) == ["sums/test.jsonl"]


def test_redirects_are_followed():
    with serving(
        ("/test.jsonl", http(b"", 302, location="/elsewhere", connection="close")),
        ("/elsewhere", http(CONTENT)),
        ("/loop.jsonl", http(b"", 302, location="/loop.jsonl", connection="close")),
    ) as server:
        assert download("sums", at(server)).read_bytes() == CONTENT
        with pytest.raises(AssayError, match="redirect"):
            download("sums", at(server, "/loop.jsonl"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(b"no such file", 404), "answered 404"),
        (http(CONTENT[:-1] + b"!"), "sha256"),
        (http(CONTENT[:1000]), "got 1,000 bytes"),
        (http(b""), "got 0 bytes"),
        (http(CONTENT + b"more"), "more than the 215,000 bytes"),
        (http(CONTENT)[:-500], "could not be downloaded"),  # the connection ends before the body does
        (b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n" + CONTENT * 40, "more than"),  # no length is told
        (b"garbage\r\n\r\n", "could not be downloaded"),
    ],
)
def test_what_is_not_the_file_is_told_and_not_kept(cache: Path, answer: bytes, said: str):
    with serving(("/test.jsonl", answer)) as server, pytest.raises(AssayError, match=said) as error:
        download("sums", at(server))
    assert "assay prepare sums --from test.jsonl" in str(error.value)
    assert files(cache) == []


def test_a_failed_download_leaves_the_file_that_was_there(cache: Path):
    with serving(("/test.jsonl", http(CONTENT))) as server:
        download("sums", at(server))
    with serving(("/test.jsonl", http(b"oops"))) as server, pytest.raises(AssayError):
        download("sums", at(server))
    assert (cache / "sums" / "test.jsonl").read_bytes() == CONTENT
    assert files(cache) == ["sums/test.jsonl"]


def test_a_server_that_says_nothing_is_left():
    async def silent(call: Call, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    with Endpoint(silent) as server, pytest.raises(AssayError, match="could not be downloaded"):
        download("sums", at(server), within_s=0.5)


def test_no_server_is_told():
    with serving() as server:
        nowhere = at(server)
    with pytest.raises(AssayError, match="could not be downloaded"):
        download("sums", nowhere)


SOURCES = (
    Source(url="https://example.org/a/first.jsonl", sha256=hashlib.sha256(b"first").hexdigest(), size=5),
    Source(url="https://example.org/a/second.jsonl", sha256=hashlib.sha256(b"second").hexdigest(), size=6),
)


def test_a_file_is_taken_for_the_one_whose_digest_it_has(tmp_path: Path, cache: Path):
    (tmp_path / "whatever.txt").write_bytes(b"second")
    assert take("two", SOURCES, tmp_path / "whatever.txt") == cache / "two" / "second.jsonl"
    assert prepared("two", SOURCES[1]).read_bytes() == b"second"
    with pytest.raises(UsageError, match="assay prepare two"):
        prepared("two", SOURCES[0])


def test_another_file_is_refused_with_both_digests(tmp_path: Path, cache: Path):
    (tmp_path / "first.jsonl").write_bytes(b"First")
    with pytest.raises(UsageError) as error:
        take("two", SOURCES, tmp_path / "first.jsonl")
    words = str(error.value)
    assert hashlib.sha256(b"First").hexdigest() in words
    assert all(source.sha256 in words and source.file in words for source in SOURCES)
    assert files(cache) == []
    with pytest.raises(UsageError, match=r"none\.jsonl: No such file"):
        take("two", SOURCES, tmp_path / "none.jsonl")


def test_a_file_that_was_changed_since_is_told(tmp_path: Path, cache: Path):
    (tmp_path / "f").write_bytes(b"first")
    take("two", SOURCES, tmp_path / "f").write_bytes(b"fIrst")
    with pytest.raises(UsageError, match="is not the data of two"):
        prepared("two", SOURCES[0])
    take("two", SOURCES, tmp_path / "f")
    assert is_prepared("two", SOURCES[0])


@pytest.mark.parametrize("name", ["../up", "a/../../b", "/etc", "", ".", "a//b", "a\nb"])
def test_no_name_leads_out_of_the_folder(name: str):
    with pytest.raises(UsageError, match="can't name a file"):
        place(name, SOURCES[0])


@pytest.mark.parametrize("url", ["https://example.org/", "https://example.org/a/..", "https://example.org/.hidden"])
def test_no_url_leads_out_of_the_folder(url: str):
    with pytest.raises(UsageError, match="can't name a file"):
        place("sums", Source(url=url, sha256="", size=0))


def test_the_folder_is_the_users_cache_where_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("ASSAY_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "assay"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folder() == Path.home() / ".cache" / "assay"
    monkeypatch.setenv("ASSAY_DATA", os.path.join("~", "sets"))
    assert folder() == Path.home() / "sets"


def lines(path: Path) -> bytes:
    """Joins the files of a folder, or takes one file without its first line."""
    if path.is_dir():
        return b"".join(part.read_bytes() for part in sorted(path.iterdir()))
    head, _, rest = path.read_bytes().partition(b"\n")
    if head != b"head":
        raise UsageError(f"{path} has no head")
    return rest


def test_a_file_may_be_made_of_another_or_of_a_folder(tmp_path: Path, cache: Path):
    with serving(("/raw.bin", http(b"head\n" + CONTENT)), ("/bad.bin", http(b"head\nother"))) as server:
        source = Source(
            f"http://127.0.0.1:{server.port}/raw.bin", DIGEST, len(CONTENT), convert=lines, name="rows.jsonl"
        )
        assert download("sums", source) == cache / "sums" / "rows.jsonl"
        assert prepared("sums", source).read_bytes() == CONTENT
        bad = Source(f"http://127.0.0.1:{server.port}/bad.bin", DIGEST, None, convert=lines, name="other.jsonl")
        with pytest.raises(AssayError, match="is not the data of sums: it has 5 bytes"):
            download("sums", bad)
    (tmp_path / "parts").mkdir()
    for number in range(2):
        (tmp_path / "parts" / str(number)).write_bytes(CONTENT[: len(CONTENT) // 2] if number else b"")
    with pytest.raises(UsageError, match="is not the data"):
        take("sums", [source], tmp_path / "parts")
    (tmp_path / "parts" / "2").write_bytes(CONTENT[len(CONTENT) // 2 :])
    assert take("sums", [source], tmp_path / "parts").read_bytes() == CONTENT
    (tmp_path / "raw").write_bytes(b"tail")
    with pytest.raises(UsageError, match="has no head"):
        take("sums", [source], tmp_path / "raw")
    assert files(cache) == ["sums/rows.jsonl"]

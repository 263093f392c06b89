"""Who may see the viewer's pages, and who may write."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from assay.view.server import Viewer
from tests.view.client import Client

PAGES = ["/", "/matrix", "/runs/runs~arithmetic~nano-thinking", "/profiles/profiles~arithmetic"]


@pytest.mark.parametrize("path", [*PAGES, "/nowhere", "/static/frame.js"])
def test_every_answer_has_the_policy(shown: Client, path: str):
    answer = shown.get(path)
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ' style="' not in answer.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7575", "127.0.0.1.evil.example", "", "[", "169.254.1.1"]
)
def test_a_page_of_another_site_does_not_reach_it_by_a_name_of_its_own(shown: Client, host: str):
    answer = Client(shown.url, {"host": host}).get("/")
    assert answer.status == 403
    assert "nano" not in answer.text


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://[", "http://127.0.0.1:1"])
def test_a_form_of_another_site_is_refused(client: Client, origin: str):
    token = client.token()
    answer = Client(client.url, {"origin": origin}).post("/sign-in", token=token, key="x")
    assert (answer.status, "another site" in answer.text) == (403, True)


def test_a_form_without_the_token_is_refused(client: Client):
    assert client.post("/sign-in", token="", key="x").status == 403
    assert client.post("/sign-in", token="é", key="x").status == 403


def test_a_large_form_is_refused(client: Client):
    assert client.post("/sign-in", token=client.token(), key="x" * 2**21).status == 413


def test_nothing_is_written_where_it_is_read_only(shown: Client):
    answer = shown.post("/runs/runs~arithmetic~nano-thinking/review", key="secret")
    assert (answer.status, "read-only" in answer.words) == (403, True)


@pytest.mark.parametrize("path", [*PAGES, "/live"])
def test_who_has_no_key_sees_nothing(made: Path, path: str):
    with _keyed(made) as client:
        answer = client.get(path)
        assert (answer.status, "Sign in" in answer.text, "nano" in answer.words.replace(path, "")) == (401, True, False)


def test_who_has_the_key_signs_in_and_comes_where_the_link_led(made: Path):
    with _keyed(made) as client:
        assert client.post("/sign-in", key="wrong", to="/matrix").status == 401
        answer = _signed_in(client, "/matrix")
        cookie = SimpleCookie(answer.headers["set-cookie"])["assay"]
        assert (cookie["httponly"], cookie["samesite"], "secret" in answer.text) == (True, "strict", False)
        assert Client(client.url, {"cookie": f"assay={cookie.value}"}).get("/matrix").status == 200
        assert Client(client.url, {"cookie": "assay=x"}).get("/matrix").status == 401


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example", "\t//evil.example"])
def test_signing_in_leads_to_no_other_site(made: Path, to: str):
    with _keyed(made) as client:
        assert _signed_in(client, to).headers["location"] == "/"


def test_port_in_use_is_told(made: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(OSError, match="in use"):
        Viewer(made, port=listener.getsockname()[1])


@contextmanager
def _keyed(folder: Path) -> Iterator[Client]:
    with Viewer(folder, key="secret") as viewer:
        yield Client(viewer.url)


def _signed_in(client: Client, to: str):
    answer = client.post("/sign-in", follow=False, key="secret", to=to)
    assert answer.status == 303
    return answer

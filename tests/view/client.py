"""A client of a viewer, as a browser without JavaScript is one."""

import html
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from email.message import Message


@dataclass
class Answer:
    """What a viewer answered."""

    status: int
    text: str
    headers: Message
    url: str

    @property
    def words(self) -> str:
        """The text between the tags of its main part, with single spaces."""
        main = re.sub(r"(?s).*<main|</main>.*", "", self.text)
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", "<" + main)).split())


@dataclass
class Client:
    """Gets pages and sends forms. `headers` go with each request."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str = "/", *, follow: bool = True, **query: object) -> Answer:
        """The page at a path. `follow` says whether one that is to be loaded again is."""
        given = f"?{urllib.parse.urlencode(query, doseq=True)}" if query else ""
        request = urllib.request.Request(urllib.parse.urljoin(self.url, path) + given, headers=self.headers)
        while "refresh" in (answer := self._ask(request)).headers and follow:
            continue
        return answer

    def post(self, path: str, *, follow: bool = True, **fields: object) -> Answer:
        """Sends a form with the token of the first page, unless `token` is among the fields.

        `follow` says whether the page is got that the answer leads to.
        """
        token = {"token": self.token()} if "token" not in fields else {}
        body = urllib.parse.urlencode(token | fields, doseq=True).encode()
        origin = {"origin": urllib.parse.urljoin(self.url, "/").rstrip("/")} | self.headers
        return self._ask(urllib.request.Request(urllib.parse.urljoin(self.url, path), body, origin), follow=follow)

    def token(self) -> str:
        """The token that each form has to send."""
        found = re.search(r'<meta name="token" content="([^"]+)"', self.get("/").text)
        assert found
        return found[1]

    def _ask(self, request: urllib.request.Request, *, follow: bool = True) -> Answer:
        opener = urllib.request.build_opener(*([] if follow else [_Stays]))
        try:
            with opener.open(request, timeout=60) as answer:
                return Answer(answer.status, answer.read().decode(), answer.headers, answer.url)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode(), error.headers, error.url)


class _Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Go nowhere."""

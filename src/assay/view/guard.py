"""Who may see the viewer's pages, and who may write: host, key, origin and token of each request."""

import hmac
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.errors import AssayError
from assay.serve.http import host_of, is_loopback
from assay.view.frame import draw, form_of, is_local

POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
COOKIE = "assay"
SIGN_IN = "/sign-in"
LARGEST_FORM = 2**20
"""Bytes of a form."""


class Refusal(AssayError):
    """A request that is not answered, and why."""

    def __init__(self, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Guard:
    """Decides whether a request is answered."""

    key: str | None
    read_only: bool
    token: str
    _sessions: set[str] = field(default_factory=set[str])

    def sign_in(self, key: str) -> str | None:
        """Returns the cookie if the key is right, else None."""
        if self.key is None or not hmac.compare_digest(key.encode(), self.key.encode()):
            return None
        self._sessions.add(session := secrets.token_urlsafe(32))
        return session

    def is_signed_in(self, request: Request) -> bool:
        """Returns whether the visitor has signed in, or need not."""
        return self.key is None or request.cookies.get(COOKIE) in self._sessions

    def check_host(self, headers: Headers) -> None:
        """Raises Refused if the request names another host: pages of other sites may reach this machine so."""
        if self.key is None and not is_loopback(host_of(f"//{headers.get('host', '')}")):
            raise Refusal("This viewer has no key, so it answers at localhost and 127.0.0.1 alone.")

    def check_form(self, path: str, headers: Headers, fields: dict[str, str]) -> None:
        """Raises Refused where a form is not one of these pages', or nothing may be written."""
        if headers.get("origin", "").partition("//")[2] != headers.get("host", "missing"):
            raise Refusal("The form was sent from a page of another site.")
        if not hmac.compare_digest(fields.get("token", "").encode(), self.token.encode()):
            raise Refusal("The page is older than this viewer. Reload it, and send the form again.")
        if self.read_only and path != SIGN_IN:
            raise Refusal("This viewer is read-only: it was started with --read-only.")


class GuardMiddleware:
    """The app behind the guard: each answer has the headers that keep a page to itself."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope, receive)
        try:
            self._guard.check_host(request.headers)
            if request.method not in ("GET", "HEAD"):
                fields = dict(parse_qsl((await _body(request)).decode("utf-8", "replace"), keep_blank_values=True))
                self._guard.check_form(scope["path"], request.headers, fields)
                request.state.form = fields
        except Refusal as error:
            await refusal(request, error)(scope, receive, send_headers)
            return
        open_to_all = scope["path"].startswith("/static/") or scope["path"] == SIGN_IN
        if not open_to_all and not self._guard.is_signed_in(request):
            page = draw(request, "sign_in.html", status=401, to=_local(request), wrong=False)
            await page(scope, receive, send_headers)
            return
        await self._app(scope, receive, send_headers)


def refusal(request: Request, error: AssayError, status: int = 403) -> Response:
    """Returns the page that says why a request is not answered."""
    status = error.status if isinstance(error, Refusal) else status
    return draw(request, "error.html", status=status, message=str(error))


def routes(guard: Guard) -> list[Route]:
    """Returns the routes for signing in."""

    async def sign_in(request: Request) -> Response:
        form = form_of(request)
        to = form.get("to", "/")
        if (session := guard.sign_in(form.get("key", ""))) is None:
            return draw(request, "sign_in.html", status=401, to=to, wrong=True)
        answer = RedirectResponse(to if is_local(to) else "/", 303)
        answer.set_cookie(COOKIE, session, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer

    return [Route(SIGN_IN, sign_in, methods=["POST"])]


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            raise Refusal(f"The form is larger than {LARGEST_FORM:,} bytes.", 413)
    return bytes(body)


def _local(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")

"""The door of the app: every request carries a signed-in person, or goes no further."""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import anyio
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loop.access import Person
from loop.errors import LoopError, NotAllowed, NotSignedIn

_log = structlog.get_logger(__name__)

SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
WELCOME = "/welcome"
OIDC_START = "/auth/oidc/start"
OIDC_CALLBACK = "/auth/oidc/callback"
HEALTH = "/healthz"
METRICS = "/metrics"  # its route asks for an API key in the place of a person

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Sessions are looked up in threads of their own, so that slow handlers never close the door.
_LOOKUPS_AT_ONCE = 16
_HEADERS = {
    "x-content-type-options": "nosniff",
    # Not `no-referrer`, with which browsers send `Origin: null` along with our own forms.
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    # Gradio compiles templates in the page, and styles inline.
    "content-security-policy": "default-src 'self' blob: data:; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; "
    "style-src 'self' 'unsafe-inline' blob: data:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
}
_NEVER_STORED = ("text/html", "application/json")


class _HasState(Protocol):
    @property
    def state(self) -> Any: ...


def person_of(request: _HasState) -> Person:
    """Whoever sent ``request`` (Starlette's, or Gradio's wrapper of it), as the gate found out.

    Raises `NotSignedIn`.
    """
    person = getattr(getattr(request, "state", None), "person", None)
    if not isinstance(person, Person):
        raise _nobody()
    return person


def local_path(path: str) -> str:
    """``path`` if it leads to a page of this app, else the first page: never to another site."""
    outside = not path.startswith("/") or path[1:2] in ("/", "\\")
    # Browsers drop tabs and line ends from addresses, and read a backslash as a slash.
    if outside or "\\" in path or not path.isprintable():
        return "/"
    return path


class FindsPeople(Protocol):
    """What the gate needs of `ui.sessions.People`."""

    def token_of(self, connection: HTTPConnection) -> str | None: ...
    def person(self, token: str) -> Person | None: ...


class Gate:
    """ASGI middleware around the whole app. ``scope["state"]["person"]`` is the `Person`.

    ``open_paths`` are what anyone may ask for, letter by letter; each must have a route of its
    own. ``public_url`` is where people reach the app if that is not the address it is asked by.
    """

    def __init__(
        self, app: ASGIApp, people: FindsPeople, *, open_paths: frozenset[str], public_url: str = ""
    ) -> None:
        self._app = app
        self._people = people
        self._open = open_paths
        self._public_origin = _origin(public_url)
        self._lookups = anyio.CapacityLimiter(_LOOKUPS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http":
            send = _with_headers(send)
        refusal = await self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "Not let in."})

    async def _refusal(self, scope: Scope) -> Response | None:
        """None if the request may go on; its person, if there is one, is then in its state."""
        if self._comes_from_elsewhere(scope):
            return _answer(
                NotAllowed(
                    "This request comes from another site.",
                    hint="Open Second Look itself and do it there. Behind a proxy, set "
                    "SECONDLOOK_PUBLIC_URL to the address that people see.",
                    code="cross_site",
                )
            )
        try:
            person = await self._person(scope)
        except LoopError as error:
            _log.warning("gate.closed", error=error.as_dict())
            return _answer(error)
        scope["state"] = {**scope.get("state", {}), "person": person}
        if person is not None or scope["path"] in self._open:
            return None
        return _to_sign_in(scope) or _answer(_nobody())

    async def _person(self, scope: Scope) -> Person | None:
        token = self._people.token_of(HTTPConnection(scope))
        if token is None:
            return None
        return await anyio.to_thread.run_sync(self._people.person, token, limiter=self._lookups)

    def _comes_from_elsewhere(self, scope: Scope) -> bool:
        """Whether another site's page sent what changes something here (CSRF).

        The port counts: other parts of Second Look are same-site with the app, and other origins.
        """
        if scope["type"] == "http" and scope["method"] in _SAFE_METHODS:
            return False
        headers = Headers(scope=scope)
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return True
        origin = headers.get("origin")
        if origin is None:
            return False
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        own = {f"{scheme}://{headers.get('host', '')}".lower(), self._public_origin}
        return not origin or origin.lower() not in own


def _to_sign_in(scope: Scope) -> Response | None:
    """The way to the sign-in page, for a browser that opens a page."""
    if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
        return None
    if scope["path"] == SIGN_OUT:  # the session ran out before the button was pressed
        return RedirectResponse(SIGN_IN, 303)
    if scope["method"] not in ("GET", "HEAD"):
        return None
    query = scope["query_string"].decode("latin-1")
    wanted = local_path(quote(scope["path"]) + (f"?{query}" if query else ""))
    suffix = "" if wanted == "/" else f"?next={quote(wanted, safe='/')}"
    return RedirectResponse(SIGN_IN + suffix, 303)


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if headers.get("content-type", "").startswith(_NEVER_STORED):
                headers["cache-control"] = "no-store"
            message["headers"] = headers.raw
        await send(message)

    return send_with_headers


def _answer(error: LoopError) -> Response:
    return JSONResponse({"error": error.as_dict()}, error.http_status)


def _nobody() -> NotSignedIn:
    return NotSignedIn(
        "Nobody is signed in here, or not any more.", hint=f"Sign in again, at {SIGN_IN}."
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else ""

"""Sign-in by OpenID Connect: the authorization code flow with state, nonce and PKCE, by Authlib."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio
import httpx2  # what Authlib's client is built on
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.base_client.errors import MismatchingStateError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from loop.accounts import ASSIGNABLE_ROLES, LONGEST_LOGIN, LONGEST_NAME
from loop.errors import LoopError, SignInRefused, Unavailable
from loop.events import Role
from loop.identities import Identity
from store.session_keys import open_session_keys
from store.settings import Settings
from ui.gate import OIDC_CALLBACK, OIDC_START, local_path
from ui.sessions import People
from ui.sign_in_pages import Pages

_log = structlog.get_logger(__name__)

_COOKIE = "secondlook_oidc"
# From the click on the button to the way back, with a password and a second factor in between.
_WAY_SECONDS = 15 * 60
_ANSWER_SECONDS = 10.0
_SIGNATURES = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)


class _Refused(Exception):
    """``why`` is the code on record; ``error`` is what the page says."""

    def __init__(self, why: str, error: LoopError) -> None:
        super().__init__(why)
        self.why = why
        self.error = error


class ProviderSignIn:
    """The two open paths of the flow."""

    def __init__(self, settings: Settings, people: People, pages: Pages) -> None:
        self._people = people
        self._pages = pages
        self._issuer = settings.oidc_issuer.rstrip("/")
        self._roles_claim = settings.oidc_roles_claim
        self._redirect_uri = settings.app_url + OIDC_CALLBACK
        self._secure = settings.app_url.startswith("https:")
        self._secret = open_session_keys(settings).provider_secret
        self._client = OAuth().register(
            "provider",
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret.get_secret_value() or None,
            server_metadata_url=f"{self._issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": settings.oidc_scopes,
                "code_challenge_method": "S256",
                "timeout": _ANSWER_SECONDS,
            },
        )

    @property
    def routes(self) -> list[Route]:
        # What is on the way (state, nonce, PKCE's verifier) stays in a signed cookie.
        on_the_way = Middleware(
            SessionMiddleware,
            secret_key=self._secret,
            session_cookie=_COOKIE,
            max_age=_WAY_SECONDS,
            path="/auth/oidc",
            same_site="lax",
            https_only=self._secure,
        )
        return [
            Route(path, endpoint, methods=["GET"], middleware=[on_the_way])
            for path, endpoint in ((OIDC_START, self._start), (OIDC_CALLBACK, self._callback))
        ]

    async def _start(self, request: Request) -> Response:
        try:
            await self._metadata()
            redirect = await self._client.authorize_redirect(request, self._redirect_uri)
        except (httpx2.HTTPError, httpx2.InvalidURL, AuthlibBaseError, ValueError) as error:
            return await self._refuse(_away(error))
        except _Refused as refused:
            return await self._refuse(refused)
        request.session["next"] = local_path(request.query_params.get("next", "/"))
        return RedirectResponse(redirect.headers["location"], 302)

    async def _callback(self, request: Request) -> Response:
        next_path = local_path(request.session.pop("next", "/"))
        try:
            identity = await self._identity(request)
        except _Refused as refused:
            return await self._refuse(refused)
        try:
            token = await anyio.to_thread.run_sync(self._people.identities, identity)
        except LoopError as error:  # which has put itself on record
            return HTMLResponse(self._pages.message("Not let in", error), error.http_status)
        response = RedirectResponse(next_path, 303)
        self._people.cookie.set(response, token)
        return response

    async def _identity(self, request: Request) -> Identity:
        """Whom the provider vouches for. Raises `_Refused` for every way in which it does not."""
        try:
            metadata = await self._metadata()
            if self._other_issuer(request.query_params.get("iss")):  # RFC 9207
                raise _Refused("issuer", _broken())
            token = await self._client.authorize_access_token(request)
            claims = {**token.get("userinfo", {})}
            if not claims.get("sub"):
                raise _Refused("no_id_token", _broken())
            if metadata.get("userinfo_endpoint"):
                more = dict(await self._client.userinfo(token=token))
                # OpenID Connect Core, section 5.3.2: it may be somebody else's otherwise.
                if more.get("sub") != claims["sub"]:
                    raise _Refused("other_subject", _broken())
                claims = {**more, **claims}
        except MismatchingStateError as error:
            raise _Refused("state", _stale()) from error
        except JoseError as error:
            _log.warning("oidc.token", error=str(error))
            raise _Refused("token", _broken()) from error
        except AuthlibBaseError as error:
            # What the provider answers in words may name the person.
            _log.warning("oidc.refused", error=error.error)
            raise _Refused("provider", _denied()) from error
        except (httpx2.HTTPError, json.JSONDecodeError) as error:
            raise _away(error) from error
        except (ValueError, TypeError, KeyError) as error:
            _log.warning("oidc.answer", error=type(error).__name__)
            raise _Refused("answer", _broken()) from error
        return self._as_identity(metadata["issuer"], claims)

    def _as_identity(self, issuer: str, claims: Mapping[str, Any]) -> Identity:
        login = str(claims.get("preferred_username") or claims.get("email") or claims["sub"])
        roles = _roles(claims, self._roles_claim) if self._roles_claim else None
        login = "".join(_printable(login).split())[:LONGEST_LOGIN]
        name = _printable(str(claims.get("name") or login))[:LONGEST_NAME]
        return Identity(issuer, str(claims["sub"]), login, name, roles)

    async def _metadata(self) -> Mapping[str, Any]:
        """The provider's own description, if it is the issuer that the settings name."""
        metadata: dict[str, Any] = await self._client.load_server_metadata()
        if self._other_issuer(metadata.get("issuer", "")):
            # Not to be taken for good by the next request.
            self._client.server_metadata.clear()
            raise _Refused("issuer", _broken())
        algorithms = metadata.get("id_token_signing_alg_values_supported", ["RS256"])
        # With neither `none` nor a shared secret can anybody but the provider sign.
        metadata["id_token_signing_alg_values_supported"] = [
            name for name in algorithms if name in _SIGNATURES
        ]
        return metadata

    def _other_issuer(self, issuer: str | None) -> bool:
        return issuer is not None and issuer.rstrip("/") != self._issuer

    async def _refuse(self, refused: _Refused) -> Response:
        error = refused.error
        try:
            await anyio.to_thread.run_sync(self._people.identities.turn_away, refused.why)
        except LoopError as failed:
            error = failed
        return HTMLResponse(self._pages.message("Not let in", error), error.http_status)


def _roles(claims: Mapping[str, Any], claim: str) -> frozenset[Role]:
    """The roles in ``claim`` that we know, but for the machine's own; dots lead into objects."""
    value: Any = claims.get(claim)
    if value is None:
        value = claims
        for part in claim.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    names = {name for name in value if isinstance(name, str)} if isinstance(value, list) else set()
    return frozenset(role for role in ASSIGNABLE_ROLES if role.value in names)


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())


def _away(error: Exception) -> _Refused:
    _log.warning("oidc.away", error=type(error).__name__)
    return _Refused(
        "provider_away",
        Unavailable(
            "Your organisation's sign-in does not answer.", hint="Try again in a few minutes."
        ),
    )


def _stale() -> SignInRefused:
    return SignInRefused(
        "This sign-in did not begin here, took too long, or was finished already.",
        hint="Begin again on the sign-in page.",
    )


def _denied() -> SignInRefused:
    return SignInRefused(
        "Your organisation's sign-in did not let you in.", hint="Try again, or ask who runs it."
    )


def _broken() -> SignInRefused:
    return SignInRefused(
        "What your organisation's sign-in says cannot be trusted.",
        hint="Tell your admin: its address, its keys or its answers do not fit the settings.",
    )

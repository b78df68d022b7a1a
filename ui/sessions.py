"""Who is signed in, as the app's pages and its gate ask for it, and the cookie that says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.responses import Response

from loop.access import Person
from loop.accounts import Account
from loop.errors import Misconfigured
from loop.identities import IdentitySignIn
from loop.invitations import Invitations, Welcome
from loop.managing_keys import ManageApiKeys
from loop.people import ManagePeople
from loop.ports import PasswordHasher, UnitsOfWork
from loop.sessions import Clock, Sessions, utc_now
from loop.signing_in import SigningIn
from store.passwords import Argon2Passwords
from store.session_keys import SessionKeys, open_session_keys
from store.settings import Settings

_COOKIE = "secondlook_session"


class SessionCookie:
    """A token and its signature (HMAC-SHA256), out of the page's own scripts' reach.

    ``Lax``: other sites' links lead here signed in, and their forms do not.
    """

    def __init__(self, keys: SessionKeys, settings: Settings) -> None:
        self._keys = keys
        self._secure = settings.app_url.startswith("https:")
        self._seconds = round(settings.sign_in.lifetime.total_seconds())
        # The prefix lets no other host or plain HTTP set it (RFC 6265bis, section 4.1.3.2).
        self.name = f"__Host-{_COOKIE}" if self._secure else _COOKIE

    def set(self, response: Response, token: str) -> None:
        response.set_cookie(
            self.name,
            self._keys.sign(token),
            max_age=self._seconds,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )

    def clear(self, response: Response) -> None:
        response.delete_cookie(
            self.name, path="/", secure=self._secure, httponly=True, samesite="lax"
        )

    def token(self, connection: HTTPConnection) -> str | None:
        """None without the cookie, and for one that we did not sign."""
        value = connection.cookies.get(self.name)
        return self._keys.signed(value) if value else None


@dataclass(frozen=True, slots=True)
class People:
    """Everything about people that the app does; made by `open_people`."""

    cookie: SessionCookie
    sessions: Sessions
    passwords: SigningIn
    identities: IdentitySignIn
    invitations: Invitations
    welcome: Welcome
    manage: ManagePeople
    api_keys: ManageApiKeys
    welcome_url: Callable[[str], str]

    def sign_in(self, login: str, password: str) -> str:
        """The token of a new session. Slow. Raises `SignInRefused`."""
        return self.passwords.with_password(login, password)

    def sign_out(self, token: str) -> None:
        self.sessions.end(token)

    def person(self, token: str) -> Person | None:
        """Whose session this is, if it goes on."""
        return self.sessions.person(token)

    def token_of(self, connection: HTTPConnection) -> str | None:
        return self.cookie.token(connection)

    def invited(self, link: str) -> Account | None:
        """Whose password the link sets; None: it makes the first account. Raises
        `SignInRefused` for one that is no longer good."""
        return self.invitations.look(link)


def open_people(
    settings: Settings,
    units: UnitsOfWork,
    *,
    hasher: PasswordHasher | None = None,
    clock: Clock = utc_now,
) -> People:
    """Raises `Misconfigured` where nobody could ever sign in, and for a key that is none."""
    if not settings.password_sign_in and not settings.oidc_issuer:
        raise Misconfigured(
            "Nobody could sign in: SECONDLOOK_PASSWORD_SIGN_IN is off and there is no provider.",
            hint="Set SECONDLOOK_OIDC_ISSUER, or turn passwords on again.",
        )
    hasher, keys = hasher or Argon2Passwords(), open_session_keys(settings)
    sessions = Sessions(units, settings.sign_in, clock)
    invitations = Invitations(units, settings.sign_in, clock)
    digest = keys.login_digest
    return People(
        SessionCookie(keys, settings),
        sessions,
        SigningIn(units, hasher, sessions, digest, settings.sign_in, clock),
        IdentitySignIn(units, sessions, digest, settings.oidc_default_role),
        invitations,
        Welcome(units, hasher, sessions, invitations, clock),
        ManagePeople(units, hasher, invitations, clock),
        ManageApiKeys(units, clock),
        settings.welcome_url,
    )

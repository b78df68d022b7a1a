"""The secret of a home that signs cookies, and stands between logins and what is kept of them."""

from __future__ import annotations

import base64
import hashlib
import hmac

from loop.errors import Misconfigured
from store.pseudonyms import home_key
from store.settings import Settings

_SHORTEST_SECRET = 32


class SessionKeys:
    """HMAC-SHA256 under keys of their own, one for each use, all derived from one secret."""

    def __init__(self, secret: bytes) -> None:
        self._cookies = _derived(secret, b"cookies")
        self._logins = _derived(secret, b"logins")
        self._provider = _derived(secret, b"provider sign-in")

    def sign(self, token: str) -> str:
        """``token.signature``, as a cookie carries it."""
        return f"{token}.{_text(_mac(self._cookies, token))}"

    def signed(self, value: str) -> str | None:
        """The token in what `sign` made; None for anything else."""
        token, _, _ = value.partition(".")
        if not value.isascii():  # which `compare_digest` does not take
            return None
        return token if hmac.compare_digest(self.sign(token), value) else None

    def login_digest(self, login: str) -> str:
        """64 hex digits in place of a login. Without the secret nobody can go through all logins
        to find which one it was."""
        return _mac(self._logins, login).hex()

    @property
    def provider_secret(self) -> str:
        """For the cookie that carries a sign-in to an OpenID Connect provider and back."""
        return self._provider.hex()


def open_session_keys(settings: Settings) -> SessionKeys:
    """From ``SECONDLOOK_SESSION_KEY``, or else the home's own key, made on first use.

    Raises `Misconfigured` for a setting that is too short to be a secret.
    """
    secret = settings.session_key.get_secret_value()
    if not secret:
        return SessionKeys(home_key(settings, "session"))
    if len(secret) < _SHORTEST_SECRET:
        raise Misconfigured(
            f"SECONDLOOK_SESSION_KEY has fewer than {_SHORTEST_SECRET} characters.",
            hint="Make one with: openssl rand -hex 32. Every app server of this home needs it.",
        )
    return SessionKeys(secret.encode())


def _derived(secret: bytes, use: bytes) -> bytes:
    return hmac.new(secret, b"second look: " + use, hashlib.sha256).digest()


def _mac(key: bytes, text: str) -> bytes:
    # What people type may hold half characters (lone surrogates), which plain UTF-8 refuses.
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

"""The API keys in use, as they were when they were read: checking one costs no query."""

from __future__ import annotations

from collections.abc import Iterable

from loop.accounts import Account
from loop.api_keys import ApiKey, Scope, is_key, key_id
from loop.errors import InvalidKey, NotAllowed
from loop.ports import UnitsOfWork

_HOW = (
    "Send one as `Authorization: Bearer sl_…`; an admin makes it with: secondlook users token "
    "create."
)


class Keyring:
    def __init__(self, keys: Iterable[tuple[ApiKey, Account | None]]) -> None:
        self._keys = {key.id: (key, owner) for key, owner in keys}

    def knows(self, text: str) -> bool:
        """Whether there is a key with the id in ``text``."""
        return key_id(text) in self._keys

    def check(self, text: str, now: str) -> ApiKey:
        """The key whose text this is, if it is good at ``now`` (RFC 3339).

        Raises `InvalidKey`. A wrong secret, an id that nobody has and a revoked key look alike;
        only who has the right secret is told that a key has expired.
        """
        key, owner = self._keys.get(key_id(text) or "", (None, None))
        if not is_key(text, key) or key is None:
            raise InvalidKey("This API key is not accepted.", hint=_HOW)
        state = key.state(owner, now)
        if state == "revoked":
            raise InvalidKey("This API key is not accepted.", hint=_HOW)
        if state != "active":
            raise InvalidKey(f"This API key is {state}.", hint=_HOW)
        return key


def no_key() -> InvalidKey:
    return InvalidKey("This needs an API key.", hint=_HOW, code="no_key")


def require_scope(key: ApiKey, scope: Scope) -> None:
    """Raise `NotAllowed` unless ``key`` has ``scope``."""
    if scope not in key.scopes:
        raise NotAllowed(
            f"This API key does not have the scope {scope.value}.",
            hint="An admin makes one that does: secondlook users token create --scope "
            f"{scope.value}.",
            code="missing_scope",
        )


def read_keyring(units: UnitsOfWork) -> Keyring:
    """Raises `Unavailable` when the database does not answer."""
    with units() as uow:
        return Keyring(uow.api_keys.list(revoked=False))

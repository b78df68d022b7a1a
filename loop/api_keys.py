"""API keys: how a program proves who it is, what it may do with the API, and as whom.

A key is ``sl_<id>_<secret>``. The id is public: lists, events and logs name a key by it. The
secret is shown once; what is kept is a digest of the whole key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from loop.access import Permission, roles_with
from loop.accounts import Account
from loop.errors import InvalidInput
from loop.events import Actor, Authentication, Role

LONGEST_LABEL = 100
# 62 ** 43 is above 2 ** 256: nobody guesses one, and its plain SHA-256 may be kept.
_SECRET_LENGTH = 43
_SECRET_ALPHABET = string.digits + string.ascii_letters
_ID_BYTES = 8
_KEY = re.compile(rf"sl_([0-9a-f]{{{2 * _ID_BYTES}}})_[0-9A-Za-z]{{{_SECRET_LENGTH}}}")
# What a key is compared with whose id nobody has. No key has this digest.
_NOBODYS_SHA256 = "-" * 64


class Scope(StrEnum):
    DETECT = "detect"  # detections of an image, nothing stored
    QUEUE = "queue"  # store images and put them up for review
    MODEL = "model"  # which model serves
    METRICS = "metrics"  # what Prometheus reads


# A role must carry these for a key to have the scope. The others show nothing about anybody.
_NEEDS = {Scope.DETECT: Permission.SUBMIT_IMAGES, Scope.QUEUE: Permission.SUBMIT_IMAGES}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key. ``owner`` is the id of an account, None for a service;
    ``per_minute`` is how many requests a minute it is good for, None for any number;
    ``last_used_at`` is right to some minutes. Times are RFC 3339."""

    id: str
    sha256: str
    label: str
    owner: str | None
    role: Role
    scopes: frozenset[Scope]
    per_minute: int | None
    created_by: str
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None
    last_used_at: str | None = None

    @classmethod
    def new(
        cls,
        label: str,
        owner: str | None,
        role: Role,
        scopes: Iterable[Scope],
        per_minute: int | None,
        *,
        created_by: str,
        created_at: str,
        expires_at: str | None,
    ) -> tuple[Self, str]:
        """The key to keep, and its text, which nobody can find out afterwards.

        Raises `InvalidInput` for what cannot be.
        """
        text = new_key()
        key = cls(
            _id_of(text),
            key_sha256(text),
            _checked_label(label),
            owner,
            role,
            _checked_scopes(scopes, role),
            _checked_rate(per_minute),
            created_by,
            created_at,
            expires_at,
        )
        return key, text

    @property
    def pseudonym(self) -> str:
        """Who it is in data and events."""
        return f"key-{self.id}"

    @property
    def actor(self) -> Actor:
        return Actor(self.pseudonym, self.role, Authentication.API_KEY)

    def state(self, owner: Account | None, now: str) -> str:
        """``revoked``, ``expired``, ``suspended`` (its owner is disabled, or no longer has the
        role) or ``active``."""
        if self.revoked_at:
            return "revoked"
        if self.expires_at and self.expires_at <= now:
            return "expired"
        if self.owner and (owner is None or owner.disabled or self.role not in owner.roles):
            return "suspended"
        return "active"


def scopes_of(role: Role) -> frozenset[Scope]:
    """Those that a key in ``role`` may have."""
    return frozenset(
        scope for scope in Scope if scope not in _NEEDS or role in roles_with(_NEEDS[scope])
    )


def new_key() -> str:
    key_id = secrets.token_hex(_ID_BYTES)
    secret = "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(_SECRET_LENGTH))
    return f"sl_{key_id}_{secret}"


def key_id(text: str) -> str | None:
    """The id in the text of a key; None if that is no such text."""
    return _id_of(text) if _KEY.fullmatch(text) else None


def key_sha256(text: str) -> str:
    """Hex. Of the whole key, so that a secret goes with its id alone."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def is_key(text: str, key: ApiKey | None) -> bool:
    """Whether ``text`` is that key. Where there is no key it takes as long to say no."""
    kept = key.sha256 if key is not None else _NOBODYS_SHA256
    return hmac.compare_digest(kept, key_sha256(text)) and key is not None


def scope_names(scopes: Iterable[Scope]) -> list[str]:
    """In the order of `Scope`."""
    chosen = frozenset(scopes)
    return [scope.value for scope in Scope if scope in chosen]


def _id_of(text: str) -> str:
    return text.split("_")[1]


def _checked_label(label: str) -> str:
    label = " ".join(label.split())
    if not 0 < len(label) <= LONGEST_LABEL or not label.isprintable():
        raise InvalidInput(
            f"A label has 1 to {LONGEST_LABEL} characters.", hint="Say what the key is for."
        )
    return label


def _checked_scopes(scopes: Iterable[Scope], role: Role) -> frozenset[Scope]:
    chosen = frozenset(scopes)
    if not chosen:
        raise InvalidInput("A key needs a scope.", hint=f"One of: {', '.join(Scope)}.")
    for scope in sorted(chosen - scopes_of(role)):
        raise InvalidInput(
            f"The role {role.value} may not do what the scope {scope.value} is for.",
            hint=f"Roles that may: {', '.join(roles_with(_NEEDS[scope]))}.",
        )
    return chosen


def _checked_rate(per_minute: int | None) -> int | None:
    if per_minute is not None and per_minute < 1:
        raise InvalidInput("A key is good for at least one request a minute.")
    return per_minute

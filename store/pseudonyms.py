"""Pseudonyms of subjects: what stands in the data instead of a patient or specimen number.

All processes at one database must make them with one key, or a subject would be two. So the
database keeps the key's fingerprint from its first use on, and another key is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable

from loop.errors import Misconfigured
from store.database import migrate, open_engine
from store.key_fingerprints import KeyFingerprints
from store.log_role import LogRole
from store.private_files import write_private_once
from store.settings import Settings, key_bytes

_KEY_BYTES = 32
_NAME = "subjects"
_FINGERPRINT_OF = b"second-look: fingerprint of the subjects' key"
_HINT = (
    "Set SECONDLOOK_SUBJECT_KEY to what `secondlook keys env` prints where the first one is, or "
    "restore keys/subjects.key from a backup."
)


class SubjectPseudonyms:
    """HMAC-SHA256 under a key of this installation, cut to 64 bits: stable here, and without the
    key nobody can go through all patient numbers to find which one it was.

    ``key`` is asked for once, when there is a subject: a machine without it does all the rest.
    """

    def __init__(self, key: bytes | Callable[[], bytes]) -> None:
        self._key = key

    def of(self, subject: str) -> str:
        """The pseudonym of ``subject``; empty stays empty (the image is then its own subject).
        Raises `Misconfigured` where the key is not the one of this installation."""
        if not subject:
            return ""
        if callable(self._key):
            self._key = self._key()
        digest = hmac.new(self._key, subject.encode(), hashlib.sha256).hexdigest()
        return f"subject-{digest[:16]}"


def open_subject_pseudonyms(settings: Settings) -> SubjectPseudonyms:
    """With the key of the settings or else the home's, made on first use."""
    return SubjectPseudonyms(lambda: subject_key(settings))


def subject_key(settings: Settings) -> bytes:
    """Raises `Misconfigured` for another one than the database was begun with, and instead of
    making one where another process has it."""
    engine = open_engine(settings.database)
    try:
        migrate(engine)
        known = KeyFingerprints(engine)
        given = settings.subject_key.get_secret_value()
        path = settings.home / "keys" / f"{_NAME}.key"
        made = not given and not path.exists()
        if made and (settings.audit_log is LogRole.ELSEWHERE or known.find(_NAME)):
            raise Misconfigured(
                "The key with which pseudonyms of subjects are made is not on this machine.",
                hint=_HINT,
            )
        key = key_bytes(given) if given else home_key(settings, _NAME)
        if known.keep(_NAME, _fingerprint(key)) != _fingerprint(key):
            if made:  # another home was first, just now
                path.unlink(missing_ok=True)
            raise Misconfigured(
                "The key with which pseudonyms of subjects are made here is not the one that this "
                "database was begun with: a subject would be two.",
                hint=_HINT,
            )
    finally:
        engine.dispose()
    return key


def home_key(settings: Settings, name: str) -> bytes:
    """32 random bytes that this home keeps in ``keys/NAME.key``, made on first use."""
    path = settings.home / "keys" / f"{name}.key"
    if not path.exists():
        write_private_once(path, secrets.token_bytes(_KEY_BYTES))
    return path.read_bytes()


def _fingerprint(key: bytes) -> str:
    """Tells nothing of the key, nor of any subject."""
    return hmac.new(
        key, b"second-look: fingerprint of the subjects' key", hashlib.sha256
    ).hexdigest()

"""Pseudonyms of subjects: what stands in the data instead of a patient or specimen number."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from store.private_files import write_private_once
from store.settings import Settings

_KEY_BYTES = 32


class SubjectPseudonyms:
    """HMAC-SHA256 under a key of this home, cut to 64 bits: stable here, and without the key
    nobody can go through all patient numbers to find which one it was."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, subject: str) -> str:
        """The pseudonym of ``subject``; empty stays empty (the image is then its own subject)."""
        if not subject:
            return ""
        digest = hmac.new(self._key, subject.encode(), hashlib.sha256).hexdigest()
        return f"subject-{digest[:16]}"


def open_subject_pseudonyms(settings: Settings) -> SubjectPseudonyms:
    """With the home's key, made on first use."""
    return SubjectPseudonyms(home_key(settings, "subjects"))


def home_key(settings: Settings, name: str) -> bytes:
    """32 random bytes that this home keeps in ``keys/NAME.key``, made on first use."""
    path = settings.home / "keys" / f"{name}.key"
    if not path.exists():
        write_private_once(path, secrets.token_bytes(_KEY_BYTES))
    return path.read_bytes()

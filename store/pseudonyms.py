"""Pseudonyms of subjects: what stands in the data instead of a patient or specimen number."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets

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
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # of two processes that do this at once, the first one's key stays
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()

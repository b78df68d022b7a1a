"""The key that signs the log's checkpoints, with the name that the log goes by.

``keys/log.key`` in the home (`store.signer_text`), made on first use and readable by its owner
alone. Next to it lies ``log.vkey``, the public
one: what auditors and witnesses are given, over another way than the log itself.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loop.errors import InvalidInput, Misconfigured
from loop.signed_notes import KeyType, Signer, VerifierKey
from store.private_files import write_private_once
from store.settings import Settings
from store.signer_text import parsed, written

_HINT = "Restore it from a backup: a log goes on only under the key that it was begun with."


class LogKey:
    """``private`` is the file. ``name`` is for a key that is made here; empty: one by chance."""

    def __init__(self, private: Path, name: str = "") -> None:
        self._path = private
        self._name = name

    def signer(self) -> Signer:
        """Makes the key if there is none. Raises `Misconfigured` if it cannot be read."""
        if not self._path.exists():
            name = self._name or f"second-look/{secrets.token_hex(8)}"
            signer = Signer(name, KeyType.LOG, Ed25519PrivateKey.generate())
            write_private_once(self._path, written(signer))
        signer = _read(self._path)
        public = self._path.with_suffix(".vkey")
        if not public.exists():
            public.write_text(f"{signer.key}\n")
        return signer

    def public(self) -> VerifierKey | None:
        """None before there is one."""
        return self.signer().key if self._path.exists() else None


def elsewhere_key_path(home: Path) -> Path:
    """Where the public key of a log is kept whose files are in another home."""
    return home / "keys" / "log-elsewhere.vkey"


def open_log_key(settings: Settings) -> LogKey:
    return LogKey(settings.home / "keys" / "log.key", settings.audit_origin)


def _read(path: Path) -> Signer:
    try:
        return parsed(path.read_text(encoding="utf-8"), KeyType.LOG)
    except OSError as error:
        raise Misconfigured(
            f"The log's key {path} cannot be read: {error.strerror}.", hint=_HINT
        ) from error
    except (UnicodeError, InvalidInput) as error:
        raise Misconfigured(f"{path} is not the key of a log.", hint=_HINT) from error

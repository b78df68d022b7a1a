"""The key that signs the log's checkpoints, with the name that the log goes by.

``keys/log.key`` in the home, made on first use and readable by its owner alone, in one line as Go's
``sumdb/note`` writes it: ``PRIVATE+KEY+name+id+base64``. Next to it lies ``log.vkey``, the public
one: what auditors and witnesses are given, over another way than the log itself.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loop.errors import InvalidInput, Misconfigured
from loop.signed_notes import KeyType, Signer, VerifierKey
from store.private_files import write_private_once
from store.settings import Settings

_PREFIX = "PRIVATE+KEY+"
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
            write_private_once(self._path, _written(name, Ed25519PrivateKey.generate()))
        signer = _parsed(self._path)
        public = self._path.with_suffix(".vkey")
        if not public.exists():
            public.write_text(f"{signer.key}\n")
        return signer

    def public(self) -> VerifierKey | None:
        """None before there is one."""
        return self.signer().key if self._path.exists() else None


def open_log_key(settings: Settings) -> LogKey:
    return LogKey(settings.home / "keys" / "log.key", settings.audit_origin)


def _written(name: str, private: Ed25519PrivateKey) -> bytes:
    signer = Signer(name, KeyType.LOG, private)
    material = base64.b64encode(bytes([KeyType.LOG]) + private.private_bytes_raw()).decode()
    return f"{_PREFIX}{name}+{signer.key.id.hex()}+{material}\n".encode()


def _parsed(path: Path) -> Signer:
    try:
        text = path.read_text("ascii").strip()
        name, id, encoded = text.removeprefix(_PREFIX).split("+", 2)
        material = base64.b64decode(encoded, validate=True)
        private = Ed25519PrivateKey.from_private_bytes(material[1:])
        signer = Signer(name, KeyType(material[0]), private)
    except OSError as error:
        raise Misconfigured(
            f"The log's key {path} cannot be read: {error.strerror}.", hint=_HINT
        ) from error
    except (UnicodeError, binascii.Error, ValueError, IndexError, InvalidInput) as error:
        raise Misconfigured(f"{path} is not the key of a log.", hint=_HINT) from error
    if not text.startswith(_PREFIX) or signer.key.id.hex() != id:
        raise Misconfigured(f"{path} is not the key of a log.", hint=_HINT)
    return signer

"""The private key of a witness, with its name, in a file that only its owner may read
(`store.signer_text`)."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loop.errors import InvalidInput, Misconfigured
from loop.signed_notes import KeyType, Signer
from store.private_files import write_private_once
from store.signer_text import parsed, written

_OTHERS = 0o077


def make_key(path: Path, name: str) -> None:
    """A new one at ``path``, unless one is there. Raises `InvalidInput` for a ``name`` that a key
    cannot have."""
    signer = Signer(name, KeyType.WITNESS, Ed25519PrivateKey.generate())
    write_private_once(path, written(signer))


def read_key(path: Path) -> Signer:
    """Raises `Misconfigured`."""
    try:
        if path.stat().st_mode & _OTHERS:
            raise Misconfigured(
                f"Others may read {path}, the private key of this witness.",
                hint=f"chmod 600 {path}; if somebody may have read it, begin anew with a new key.",
            )
        return parsed(path.read_text(encoding="utf-8"), KeyType.WITNESS)
    except (OSError, UnicodeError, InvalidInput) as error:
        raise _unusable(path) from error


def _unusable(path: Path) -> Misconfigured:
    return Misconfigured(
        f"{path} is not the private key of a witness, or cannot be read.",
        hint="Put back the one that was made here. Without it this witness is another one: begin "
        "in an empty folder, and tell those who trust it its new public key.",
    )

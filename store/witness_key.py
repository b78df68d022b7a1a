"""The private key of a witness, with its name, in one line that only its owner may read:
``PRIVATE+KEY+name+id+material``, as Go's ``note`` package writes keys for signed notes."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loop.errors import InvalidInput, Misconfigured
from loop.signed_notes import KeyType, Signer
from store.private_files import write_private_once

_HEAD = "PRIVATE+KEY+"
_OTHERS = 0o077


def make_key(path: Path, name: str) -> None:
    """A new one at ``path``, unless one is there. Raises `InvalidInput` for a ``name`` that a key
    cannot have."""
    private = Ed25519PrivateKey.generate()
    signer = Signer(name, KeyType.WITNESS, private)
    material = base64.b64encode(bytes([signer.type]) + private.private_bytes_raw()).decode()
    write_private_once(path, f"{_HEAD}{name}+{signer.key.id.hex()}+{material}\n".encode())


def read_key(path: Path) -> Signer:
    """Raises `Misconfigured`."""
    try:
        if path.stat().st_mode & _OTHERS:
            raise Misconfigured(
                f"Others may read {path}, the private key of this witness.",
                hint=f"chmod 600 {path}; if somebody may have read it, begin anew with a new key.",
            )
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise _unusable(path) from error
    name, _, rest = text.removeprefix(_HEAD).partition("+")
    id, _, encoded = rest.partition("+")
    try:
        material = base64.b64decode(encoded, validate=True)
        private = Ed25519PrivateKey.from_private_bytes(material[1:])
        signer = Signer(name, KeyType.WITNESS, private)
        whole = text.startswith(_HEAD) and material[0] == signer.type and signer.key.id.hex() == id
    except (binascii.Error, ValueError, InvalidInput) as error:
        raise _unusable(path) from error
    if not whole:
        raise _unusable(path)
    return signer


def _unusable(path: Path) -> Misconfigured:
    return Misconfigured(
        f"{path} is not the private key of a witness, or cannot be read.",
        hint="Put back the one that was made here. Without it this witness is another one: begin "
        "in an empty folder, and tell those who trust it its new public key.",
    )

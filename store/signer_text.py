"""A private key with its name, in one line as Go's ``sumdb/note`` writes it:
``PRIVATE+KEY+name+id+material``. It is for a file that only its owner may read."""

from __future__ import annotations

import base64
import binascii

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loop.errors import InvalidInput
from loop.signed_notes import KeyType, Signer

_HEAD = "PRIVATE+KEY+"


def written(signer: Signer) -> bytes:
    material = base64.b64encode(bytes([signer.type]) + signer.private.private_bytes_raw()).decode()
    return f"{_HEAD}{signer.name}+{signer.key.id.hex()}+{material}\n".encode()


def parsed(text: str, type: KeyType) -> Signer:
    """Raises `InvalidInput` for what is no key of that ``type``."""
    text = text.strip()
    name, _, rest = text.removeprefix(_HEAD).partition("+")
    id, _, encoded = rest.partition("+")
    try:
        material = base64.b64decode(encoded, validate=True)
        signer = Signer(name, type, Ed25519PrivateKey.from_private_bytes(material[1:]))
        whole = material[0] == type and signer.key.id.hex() == id
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("It is no private key with a name.") from error
    if not whole or not text.startswith(_HEAD):
        raise InvalidInput("It is no private key with a name.")
    return signer

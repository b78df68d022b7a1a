"""Signed notes: text with Ed25519 signatures below it, as in https://c2sp.org/signed-note@v1.0.0.

A log's own signature (type 0x01) is over the text; a witness's (type 0x04) is over the time and the
text, as in https://c2sp.org/tlog-cosignature@v1.0.0. Keys are written as the specification's vkeys.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from loop.errors import BrokenRecord, InvalidInput

_DASH = "— "
_KEY_BYTES, _ID_BYTES, _TIME_BYTES, _SIGNATURE_BYTES = 32, 4, 8, 64
# Far more than anybody signs with; so a note cannot keep a verifier busy.
_MOST_SIGNATURES = 64


class KeyType(IntEnum):
    LOG = 0x01
    WITNESS = 0x04


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with the name that signatures give. ``public`` is 32 bytes (RFC 8032)."""

    name: str
    type: KeyType
    public: bytes

    def __post_init__(self) -> None:
        if not self.name or "+" in self.name or any(each.isspace() for each in self.name):
            raise InvalidInput(f"{self.name!r} is no name for a key: no spaces, and no plus sign.")
        if len(self.public) != _KEY_BYTES:
            raise InvalidInput(f"An Ed25519 key has {_KEY_BYTES} bytes, not {len(self.public)}.")

    @property
    def id(self) -> bytes:
        head = self.name.encode() + b"\n" + bytes([self.type])
        return hashlib.sha256(head + self.public).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        material = base64.b64encode(bytes([self.type]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{material}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Raises `InvalidInput`."""
        name, _, rest = text.strip().partition("+")
        id, _, encoded = rest.partition("+")
        try:
            material = base64.b64decode(encoded, validate=True)
            key = cls(name, KeyType(material[0]), material[1:])
        except (binascii.Error, ValueError, IndexError) as error:
            raise InvalidInput(
                f"{text.strip()[:80]!r} is no public key of a log or a witness.",
                hint="It looks like name+1a2b3c4d+AbC…=, in one line.",
            ) from error
        if key.id.hex() != id:
            raise InvalidInput(f"The key of {name} was copied with a mistake: its id is another.")
        return key


@dataclass(frozen=True, slots=True)
class Signature:
    """A line below a note; ``value`` is what follows the key's id."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """``text`` ends with a newline. Nothing in it is to be believed before `signed_by` says so."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n" + "".join(each.line() for each in self.signatures)

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Raises `BrokenRecord`."""
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BrokenRecord("The signed note is not UTF-8.") from error
        if any(each < " " and each != "\n" for each in whole):
            raise BrokenRecord("The signed note has control characters in it.")
        text, blank, below = whole.rpartition("\n\n")
        if not blank or not below.endswith("\n"):
            raise BrokenRecord("The signed note has no signatures, or was cut off.")
        lines = below[:-1].split("\n")
        if len(lines) > _MOST_SIGNATURES:
            raise BrokenRecord(f"The signed note has more than {_MOST_SIGNATURES} signatures.")
        return cls(f"{text}\n", tuple(map(_signature, lines)))

    def signed_by(self, key: VerifierKey) -> bool:
        """Whether ``key`` has signed it. Raises `BrokenRecord` for a signature in its name that is
        none of its own."""
        found = self._of(key)
        for each in found:
            _verify(self.text, each, key)
        return bool(found)

    def cosigned_at(self, key: VerifierKey) -> int | None:
        """When a witness has signed it, in seconds since 1970; None if it has not. Raises as
        `signed_by`."""
        if not self.signed_by(key):
            return None
        return max(map(_time, self._of(key)))

    def with_signatures(self, more: Sequence[Signature]) -> Note:
        """Those of the same keys are replaced."""
        new = {(each.name, each.key_id) for each in more}
        kept = (each for each in self.signatures if (each.name, each.key_id) not in new)
        return Note(self.text, (*kept, *more))

    def _of(self, key: VerifierKey) -> list[Signature]:
        mine = (key.name, key.id)
        return [each for each in self.signatures if (each.name, each.key_id) == mine]


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key with its name."""

    name: str
    type: KeyType
    private: Ed25519PrivateKey

    @property
    def key(self) -> VerifierKey:
        return VerifierKey(self.name, self.type, self.private.public_key().public_bytes_raw())

    def sign(self, text: str, at: int = 0) -> Signature:
        """``at``, in seconds since 1970, is said by a witness only."""
        if self.type is KeyType.LOG:
            value = self.private.sign(text.encode())
        else:
            value = at.to_bytes(_TIME_BYTES, "big") + self.private.sign(_cosigned(text, at))
        return Signature(self.name, self.key.id, value)


def strict_base64(text: str) -> bytes:
    """Of two ways to write the same bytes, one is taken only. Raises `BrokenRecord`."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BrokenRecord(f"{text[:40]!r} is not base64.") from error
    if base64.b64encode(found).decode() != text:
        raise BrokenRecord(f"{text[:40]!r} is not how base64 is written.")
    return found


def _signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not name or not space:
        raise BrokenRecord("A line below the note is no signature.")
    value = strict_base64(encoded)
    if len(value) <= _ID_BYTES:
        raise BrokenRecord("A line below the note is no signature: it is too short.")
    return Signature(name, value[:_ID_BYTES], value[_ID_BYTES:])


def _verify(text: str, signature: Signature, key: VerifierKey) -> None:
    value, signed = signature.value, text.encode()
    if key.type is KeyType.WITNESS:
        if len(value) != _TIME_BYTES + _SIGNATURE_BYTES:
            raise BrokenRecord(f"The signature of {key.name} is damaged.")
        signed, value = _cosigned(text, _time(signature)), value[_TIME_BYTES:]
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(value, signed)
    except InvalidSignature as error:
        raise BrokenRecord(f"The signature of {key.name} is not of this text.") from error


def _time(signature: Signature) -> int:
    return int.from_bytes(signature.value[:_TIME_BYTES], "big")


def _cosigned(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()

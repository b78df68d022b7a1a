"""What a transparency log signs, and a proof that an entry is in it that needs no log to check.

Checkpoints as in https://c2sp.org/tlog-checkpoint@v1.0.0, proofs as in https://c2sp.org/tlog-proof@v1
(files ``.tlog-proof``).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from loop.errors import BrokenRecord
from loop.merkle import EMPTY_ROOT, HASH_BYTES, check_inclusion, leaf_hash
from loop.signed_notes import Note, strict_base64

_PROOF = "c2sp.org/tlog-proof@v1"
# Of a proof of a tree with fewer leaves than 2**63.
MOST_HASHES = 63


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log named ``origin`` has ``size`` entries under ``root`` (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Of a note that was verified. Raises `BrokenRecord`."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise BrokenRecord("A checkpoint has a name, a size and a root, a line each.")
        found = cls(lines[0], parse_number(lines[1]), parse_hash(lines[2]))
        if found.size == 0 and found.root != EMPTY_ROOT:
            raise BrokenRecord("The checkpoint of an empty log has the root of another one.")
        return found


@dataclass(frozen=True, slots=True)
class Proof:
    """That some entry is number ``index`` of the log whose signed ``checkpoint`` is here, too.
    ``hashes`` are 32 bytes each. ``extra`` is not authenticated by anything."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes = b""

    def __str__(self) -> str:
        lines = [_PROOF]
        if self.extra:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(each).decode() for each in self.hashes]
        return "\n".join([*lines, "", str(self.checkpoint)])

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """Raises `BrokenRecord`."""
        head, blank, note = data.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise BrokenRecord("The proof is no text.") from error
        if first != _PROOF or not blank:
            raise BrokenRecord(f"The first line of a proof is {_PROOF}.")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = strict_base64(lines.pop(0).removeprefix("extra "))
        if not lines or not lines[0].startswith("index "):
            raise BrokenRecord("The proof does not say which entry it is of.")
        index = parse_number(lines.pop(0).removeprefix("index "))
        if len(lines) > MOST_HASHES:
            raise BrokenRecord("The proof has more hashes than any log needs.")
        return cls(index, tuple(map(parse_hash, lines)), Note.parse(note), extra)

    def check(self, entry: bytes) -> Checkpoint:
        """The checkpoint, if ``entry`` is under its root. Whether it is signed by whom one trusts
        must be asked of `checkpoint`. Raises `BrokenRecord`."""
        found = Checkpoint.parse(self.checkpoint.text)
        check_inclusion(leaf_hash(entry), self.index, found.size, self.hashes, found.root)
        return found


def parse_number(text: str) -> int:
    """A size or a place, as logs write them: decimal, below 2**63. Raises `BrokenRecord`."""
    if not text.isascii() or not text.isdecimal() or (text[0] == "0" and text != "0"):
        raise BrokenRecord(f"{text[:40]!r} is no size of a log, nor a place in it.")
    if len(text) > 19 or int(text) >= 2**63:
        raise BrokenRecord(f"{text[:40]} is more than a log can hold.")
    return int(text)


def parse_hash(text: str) -> bytes:
    """32 bytes, as logs write them: base64, in its one form. Raises `BrokenRecord`."""
    found = strict_base64(text)
    if len(found) != HASH_BYTES:
        raise BrokenRecord(f"A hash is not {HASH_BYTES} bytes long.")
    return found

"""Checks an exported audit log, or the proof of one entry. Needs Python 3.9 or later, and the
package `cryptography`; nothing of the software that made the log.

    python verify.py                              the log in the folder log/ next to this file
    python verify.py proof EVENT.json PROOF.tlog-proof

What is checked: the checkpoint is signed with the log's key (--key) and by each witness that you
name (--witness); every entry has the hash that stands in the tree; the tree adds up to the root
that the checkpoint signs. Entries past their retention may be gone, if a later entry log.purged
says so: then their hashes are checked and they are not looked at. Formats: RFC 6962, https://c2sp.org/tlog-tiles,
https://c2sp.org/tlog-checkpoint, https://c2sp.org/tlog-cosignature, https://c2sp.org/tlog-proof.

Get the key from whoever is accountable for the log over another way than this folder: the one that
lies here shows no more than that the folder fits together.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import hashlib
import json
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HERE = Path(__file__).resolve().parent
WIDTH = 256  # of a tile
LOG_KEY, WITNESS_KEY = 1, 4
STAMPS = """It goes on from {count} checkpoints with a timestamp (RFC 3161). These themselves
were not checked: that takes openssl and the authority's root certificate. The newest:
    head -n 3 {name}.checkpoint > stamped.txt
    openssl ts -verify -data stamped.txt -in {name}.tsr -CAfile ROOTS.pem
    openssl ts -reply -in {name}.tsr -text"""


class Wrong(Exception):
    """What is wrong with the log."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry)


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


def decoded(text: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        raise Wrong(f"{text[:40]!r} is not base64.") from None
    if base64.b64encode(found).decode() != text:
        raise Wrong(f"{text[:40]!r} is not how base64 is written.")
    return found


class Key:
    """A public key, as ``name+id+base64``."""

    def __init__(self, text: str, type_: int) -> None:
        try:
            self.name, self.id, material = text.strip().split("+", 2)
        except ValueError:
            raise Wrong(f"{text[:60]!r} is no key: it looks like name+1a2b3c4d+AbC…") from None
        data = decoded(material)
        if data[0] != type_ or len(data) != 33:
            raise Wrong(f"The key of {self.name} is not of the kind that is wanted here.")
        if sha256(self.name.encode() + b"\n" + data)[:4].hex() != self.id:
            raise Wrong(f"The key of {self.name} was copied with a mistake.")
        self.public = data[1:]


class Checkpoint:
    """A signed note: the log's name, its size and its root, with signatures below."""

    def __init__(self, data: bytes) -> None:
        try:
            text, _, below = data.decode().rpartition("\n\n")
        except UnicodeDecodeError:
            raise Wrong("The checkpoint is not text.") from None
        self.text = text + "\n"
        self.signatures = [line.split(" ") for line in below.splitlines()]
        lines = self.text.split("\n")
        if len(lines) < 4 or not lines[1].isdigit() or str(int(lines[1])) != lines[1]:
            raise Wrong("The checkpoint has no name, size and root.")
        self.origin, self.size, self.root = lines[0], int(lines[1]), decoded(lines[2])

    def signed_by(self, key: Key) -> bytes:
        """The time (of a witness) and the signature."""
        for line in self.signatures:
            if len(line) == 3 and line[0] == "\u2014" and line[1] == key.name:
                value = decoded(line[2])
                if value[:4].hex() == key.id:
                    return value[4:]
        raise Wrong(f"{key.name} has not signed the checkpoint of {self.size} entries.")

    def check(self, key: Key) -> None:
        if self.origin != key.name:
            raise Wrong(f"The checkpoint is of the log {self.origin}, the key of {key.name}.")
        verified(key, self.signed_by(key), self.text)

    def check_witness(self, key: Key) -> str:
        """When it signed."""
        value = self.signed_by(key)
        at = int.from_bytes(value[:8], "big")
        verified(key, value[8:], f"cosignature/v1\ntime {at}\n{self.text}")
        return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat()


def verified(key: Key, signature: bytes, text: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
    except InvalidSignature:
        raise Wrong(f"The signature of {key.name} is not of this checkpoint.") from None


def number(index: int) -> str:
    """As in the paths of tiles: 1234067 is x001/x234/067."""
    text = str(index)
    text = text.zfill(-(-len(text) // 3) * 3)
    groups = [text[at : at + 3] for at in range(0, len(text), 3)]
    return "/".join(["x" + group for group in groups[:-1]] + groups[-1:])


def read(log: Path, path: str, width: int) -> bytes:
    for each in (path if width == WIDTH else f"{path}.p/{width}", path):
        if (log / each).is_file():
            return (log / each).read_bytes()
    raise Wrong(f"The file {path} of the log is missing.")


def unpacked(data: bytes, width: int, first: int) -> list[bytes]:
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < width:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            break
        entries.append(data[at + 2 : end])
        at = end
    if len(entries) < width:
        raise Wrong(f"Entry {first + len(entries)} is missing or cut off.")
    return entries


def folded(hashes: list[bytes]) -> list[bytes]:
    """The hashes one level up, of pairs that are whole."""
    return [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes) - 1, 2)]


def check_log(log: Path, checkpoint: Checkpoint, stamped: dict[int, Checkpoint]) -> int:
    """Every entry, and what they add up to, also at the checkpoints that were stamped. Says which
    is the first that is wrong; how many entries are gone, on record."""
    purged = purged_bundles(log, checkpoint.size)
    peaks: list[tuple[int, bytes]] = []  # complete subtrees from the left: (size, hash)
    for index in range(-(-checkpoint.size // WIDTH)):
        first = index * WIDTH
        width = min(WIDTH, checkpoint.size - first)
        told = read(log, f"tile/0/{number(index)}", width)
        if index in purged:
            for place in range(WIDTH):
                push(peaks, told[32 * place : 32 * place + 32])
                check_stamped(peaks, stamped.get(first + place + 1))
            continue
        entries = unpacked(read(log, f"tile/entries/{number(index)}", width), width, first)
        for place, entry in enumerate(entries):
            found = leaf_hash(entry)
            if found != told[32 * place : 32 * place + 32]:
                raise Wrong(f"Entry {first + place} was changed: it does not have its hash.")
            push(peaks, found)
            check_stamped(peaks, stamped.get(first + place + 1))
        if sys.stderr.isatty():
            print(f"\r{first + width} of {checkpoint.size}", end="", file=sys.stderr)
    if root_of(peaks) != checkpoint.root:
        raise Wrong(
            f"The {checkpoint.size} entries do not add up to the root that is signed: some were "
            "changed together with their hashes."
        )
    return len(purged) * WIDTH


def purged_bundles(log: Path, size: int) -> set[int]:
    """Those that are not there, and of which the newest entry log.purged says so. It is an entry
    like any other, and checked with the others."""
    whole = range(size // WIDTH)
    missing = {at for at in whole if not (log / f"tile/entries/{number(at)}").is_file()}
    for index in reversed(range(-(-size // WIDTH)) if missing else range(0)):
        if index in missing:
            continue
        width = min(WIDTH, size - index * WIDTH)
        data = read(log, f"tile/entries/{number(index)}", width)
        for entry in reversed(unpacked(data, width, index * WIDTH)):
            if b'"type":"log.purged"' in entry:
                event = json.loads(entry)
                if event["type"] == "log.purged":
                    end = event["subject"]["last"] + 1
                    return {at for at in missing if (at + 1) * WIDTH <= end}
    return set()


def stamped_checkpoints(log: Path, size: int, key: Key) -> dict[int, Checkpoint]:
    """By size, those of which a timestamp (RFC 3161) lies there; it itself is not checked here."""
    found: dict[int, Checkpoint] = {}
    for path in (log / "timestamps").glob("[0-9]*.tsr"):
        checkpoint = Checkpoint(path.with_suffix(".checkpoint").read_bytes())
        if str(checkpoint.size) != path.stem or checkpoint.size > size:
            raise Wrong(f"The log has {size} entries: {path.name} stamps another one.")
        checkpoint.check(key)
        found[checkpoint.size] = checkpoint
    return found


def check_stamped(peaks: list[tuple[int, bytes]], stamped: Checkpoint | None) -> None:
    if stamped is not None and root_of(peaks) != stamped.root:
        raise Wrong(f"The first {stamped.size} entries are not those that were stamped: a fork.")


def root_of(peaks: list[tuple[int, bytes]]) -> bytes:
    root = sha256(b"")
    for place, (_, peak) in enumerate(reversed(peaks)):
        root = peak if place == 0 else node_hash(peak, root)
    return root


def push(peaks: list[tuple[int, bytes]], leaf: bytes) -> None:
    size, found = 1, leaf
    while peaks and peaks[-1][0] == size:
        found = node_hash(peaks.pop()[1], found)
        size *= 2
    peaks.append((size, found))


def check_proof(entry: bytes, data: bytes) -> Checkpoint:
    """The checkpoint that the entry is under (RFC 9162, section 2.1.3.2)."""
    head, _, note = data.partition(b"\n\n")
    lines = head.decode(errors="replace").split("\n")
    if lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise Wrong("The file is no proof of the kind c2sp.org/tlog-proof@v1.")
    if lines and lines[0].startswith("extra "):
        lines.pop(0)
    if not lines or not lines[0].startswith("index "):
        raise Wrong("The proof does not say which entry it is of.")
    index, checkpoint = int(lines.pop(0)[6:]), Checkpoint(note)
    if not 0 <= index < checkpoint.size:
        raise Wrong(f"A log of {checkpoint.size} entries has no entry {index}.")
    position, last, found = index, checkpoint.size - 1, leaf_hash(entry)
    for line in lines:
        sibling = decoded(line)
        if last == 0:
            raise Wrong("The proof is too long.")
        if position & 1 or position == last:
            found = node_hash(sibling, found)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        position, last = position >> 1, last >> 1
    if last or found != checkpoint.root:
        raise Wrong("The event is not in the log that the checkpoint signs.")
    print(f"The event is entry {index} of {checkpoint.size}.")
    return checkpoint


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", help="proof EVENT.json PROOF.tlog-proof")
    parser.add_argument("--log", type=Path, default=HERE / "log", help="the folder of the log")
    parser.add_argument("--key", help="the log's public key; default: the one in key.txt")
    parser.add_argument("--witness", action="append", default=[], help="a witness's public key")
    asked = parser.parse_args()
    try:
        if asked.what and (len(asked.what) != 3 or asked.what[0] != "proof"):
            parser.error("the only thing to name is: proof EVENT.json PROOF.tlog-proof")
        key = Key(asked.key or (HERE / "key.txt").read_text(), LOG_KEY)
        if asked.what:
            event, proof = (Path(name).read_bytes() for name in asked.what[1:])
            json.loads(event)
            checkpoint = check_proof(event, proof)
        else:
            checkpoint = Checkpoint((asked.log / "checkpoint").read_bytes())
            stamped = stamped_checkpoints(asked.log, checkpoint.size, key)
            purged = check_log(asked.log, checkpoint, stamped)
            print(f"\rAll {checkpoint.size} entries are in the log that the checkpoint signs.")
            if purged:
                print(
                    f"{purged} of them are gone, past their retention: only their hashes are here."
                )
            if stamped:
                print(
                    STAMPS.format(count=len(stamped), name=asked.log / f"timestamps/{max(stamped)}")
                )
        checkpoint.check(key)
        print(f"The checkpoint is signed with the key {key.name}+{key.id}.")
        for text in asked.witness:
            witness = Key(text, WITNESS_KEY)
            print(f"{witness.name} cosigned it at {checkpoint.check_witness(witness)}.")
    except (Wrong, OSError, ValueError) as error:
        print(f"\rWRONG: {error}", file=sys.stderr)
        return 1
    if not asked.key:
        print("The key came with this folder: compare it with the one that you were given.")
    if not asked.witness:
        print("No witness was asked for: a log that was set back or split shows nothing here.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

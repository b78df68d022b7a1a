"""The log for a process that does not have its files: read in the bucket's copy, and believed only
under the log's public key."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from loop.checkpoints import Checkpoint, Proof
from loop.errors import BrokenRecord, InvalidInput, Unavailable
from loop.merkle import HASH_BYTES, check_inclusion, leaf_hash
from loop.signed_notes import Note, VerifierKey
from loop.tiles import WIDTH, Tile
from store.log_objects import KEY_FILE, LogObjects
from store.log_verify import check_signatures
from store.objects import Objects
from store.private_files import write_private_once

_WAIT_SECONDS = 30.0
_LEAST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 0.2, 1.0
_HINT = (
    "Compare with what `secondlook audit key` prints where the log is. If the bucket is another "
    "installation's, correct SECONDLOOK_STORAGE_URL."
)


class LogElsewhere:
    """``pin`` keeps the public key that was found first, unless one is ``given``; ``begun_with``
    tells the one that the database has, empty if it has none."""

    def __init__(
        self,
        objects: Objects,
        pin: Path,
        given: VerifierKey | None,
        begun_with: Callable[[], str],
    ) -> None:
        self.files = LogObjects(objects)
        self._pin = pin
        self._given = given
        self._begun_with = begun_with
        self._lock = threading.Lock()
        self._key: VerifierKey | None = None

    def key(self) -> VerifierKey:
        """The log's public key. Raises `BrokenRecord` where the bucket, the database and what is
        pinned here do not agree, `Unavailable` if there is none yet."""
        with self._lock:
            if self._key is None:
                self._key = self._found()
            return self._key

    def covering(self, size: int) -> Note:
        """The bucket's checkpoint once it counts ``size`` entries, its signature checked. Raises
        `Unavailable` if it does not within a while, `BrokenRecord`."""
        deadline, pause = time.monotonic() + _WAIT_SECONDS, _LEAST_PAUSE_SECONDS
        while True:
            note = self.files.checkpoint()
            there = 0
            if note is not None:
                check_signatures(note, self.key())
                there = Checkpoint.parse(note.text).size
                if there >= size:
                    return note
            if time.monotonic() >= deadline:
                raise Unavailable(
                    f"{self.files.where} has {there} entries of the audit log, and not yet the "
                    f"{size} that there are.",
                    hint="See to it that the process that has the log runs, with the same "
                    "SECONDLOOK_STORAGE_URL; secondlook doctor there says what is wrong.",
                )
            time.sleep(pause)
            pause = min(2 * pause, _MOST_PAUSE_SECONDS)

    def lacks(self, size: int) -> int:
        """How many of ``size`` entries the bucket does not have yet. Raises as `key`."""
        note = self.files.checkpoint()
        if note is None:
            return size
        check_signatures(note, self.key())
        return max(0, size - Checkpoint.parse(note.text).size)

    def prove(self, index: int, entry: bytes | None) -> Proof:
        """That entry ``index`` is in the log, up to a checkpoint of the bucket; checked, with the
        ``entry`` if there are its bytes. Raises as `covering`."""
        self.covering(index + 1)
        try:
            proof = self.files.prove(index)
            check_signatures(proof.checkpoint, self.key())
            size, root = _counted(proof.checkpoint)
            leaf = self._leaf(index, size) if entry is None else leaf_hash(entry)
            check_inclusion(leaf, index, size, proof.hashes, root)
        except BrokenRecord:
            self.files = self.files.fresh()  # once it is mended, it is no longer wrong here
            raise
        return proof

    def _leaf(self, index: int, size: int) -> bytes:
        tile, place = divmod(index, WIDTH)
        hashes = self.files.tile(Tile(0, tile, min(WIDTH, size - tile * WIDTH)))
        return hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES]

    def _found(self) -> VerifierKey:
        line = self.files.find(KEY_FILE)
        offered = None if line is None else _parsed(self.files.where, line)
        trusted = self._given
        if trusted is None and self._pin.exists():
            trusted = _parsed(str(self._pin), self._pin.read_bytes())
        key = trusted or offered
        if key is None:
            raise Unavailable(
                f"{self.files.where} does not have the audit log's public key yet.",
                hint="Start the process that has the log, with the same SECONDLOOK_STORAGE_URL; or "
                "give its key: SECONDLOOK_AUDIT_KEY.",
            )
        if offered is not None and str(offered) != str(key):
            raise BrokenRecord(
                f"{self.files.where} is of a log with the key {offered}, and this process knows "
                f"{key}.",
                hint=_HINT,
            )
        begun_with = self._begun_with()
        if begun_with and begun_with != str(key):
            raise BrokenRecord(
                f"The database's log was begun with the key {begun_with}, and this process knows "
                f"{key}.",
                hint=_HINT,
            )
        if trusted is None:
            write_private_once(self._pin, f"{key}\n".encode())
        return key


def _counted(note: Note) -> tuple[int, bytes]:
    checkpoint = Checkpoint.parse(note.text)
    return checkpoint.size, checkpoint.root


def _parsed(where: str, line: bytes) -> VerifierKey:
    try:
        return VerifierKey.parse(line.decode())
    except (UnicodeDecodeError, InvalidInput) as error:
        raise BrokenRecord(f"{where}: that is no public key of a log.", hint=_HINT) from error

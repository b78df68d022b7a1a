"""Checks a log's files: every entry against the hash in its tile, every tile against the one above,
and all of it against the root that the checkpoint signs.

Entries past their retention may be gone (`loop.retention`), if an entry that is still there says
so: their hashes are checked, they themselves are not looked at. Nothing but the public keys is
trusted. The work is hashing, a core's worth of it for small logs and all cores' for large ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from multiprocessing import get_context

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord
from loop.events import Event
from loop.merkle import HASH_BYTES, root_hash, subtree_hash
from loop.signed_notes import Note, VerifierKey
from loop.tiles import WIDTH, Bundle, Tile, bundles_of, nodes_in, tiles_of
from store.log_reading import LogReader

_HINT = (
    "Keep the log's folder as it is, find out who can write to it, and compare it with a backup "
    "and with checkpoints that others hold: a witness, MLflow's runs, an earlier export."
)
# Bundles that a process checks in one go, and how many make it worth starting some.
_CHUNK = 64
# What an entry says of entries that are gone, and what is in its bytes then.
PURGED = "log.purged"
_PURGED = b'"type":"log.purged"'
_MANY_BUNDLES = 20_000
# Chunks of files that come from far.
_AT_ONCE = 8

# Told how many entries are checked, and of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Stamped:
    """``count`` timestamps (RFC 3161) lie beside the log. If they were checked, they are good, and
    by the newest one the first ``size`` entries were there ``at`` that time."""

    count: int = 0
    size: int = 0
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """``note`` is the checkpoint; ``cosigned`` says when each witness that was named signed it, in
    seconds since 1970; ``seen`` how many entries each one that was asked has cosigned, all of which
    are in the log. ``purged`` entries are gone, on record, and were not looked at."""

    size: int
    root: str
    note: Note | None = None
    cosigned: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    purged: int = 0
    stamped: Stamped = Stamped()


def check_signatures(
    note: Note, key: VerifierKey, witnesses: Sequence[VerifierKey] = ()
) -> dict[str, int]:
    """When each of the ``witnesses`` signed the checkpoint that the log's ``key`` signed. Raises
    `BrokenRecord` if one of them did not."""
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != key.name:
        raise BrokenRecord(f"The checkpoint is of {checkpoint.origin}, the key of {key.name}.")
    if not note.signed_by(key):
        raise BrokenRecord(
            f"The checkpoint is not signed with the key {key.name}+{key.id.hex()}.",
            hint="Ask whoever runs the log for its public key, over another way than the log.",
        )
    cosigned: dict[str, int] = {}
    for witness in witnesses:
        at = note.cosigned_at(witness)
        if at is None:
            raise BrokenRecord(
                f"The witness {witness.name} has not signed the checkpoint of {checkpoint.size} "
                "entries.",
                hint="It may not have been reached, or it refused. Ask whoever runs it.",
            )
        cosigned[witness.name] = at
    return cosigned


def check_continues(files: LogReader, size: int, other: Note, key: VerifierKey) -> None:
    """That the log of ``size`` entries, which was verified, goes on from the checkpoint ``other``,
    wherever that was kept. Raises `BrokenRecord`."""
    check_signatures(other, key)
    seen = Checkpoint.parse(other.text)
    if seen.size > size:
        raise BrokenRecord(
            f"The log was set back: a checkpoint of {seen.size} entries has been seen elsewhere, "
            f"and now it has {size}.",
            hint=_HINT,
        )
    if root_hash(seen.size, nodes_in(files.tile, size)) != seen.root:
        raise BrokenRecord(
            f"The log forked: its first {seen.size} entries are not those of a checkpoint that has "
            "been seen elsewhere.",
            hint=_HINT,
        )


def verify_files(
    files: LogReader,
    key: VerifierKey,
    witnesses: Sequence[VerifierKey] = (),
    progress: Progress | None = None,
    processes: int | None = None,
) -> Verified:
    """All of the log that its checkpoint counts. Raises `BrokenRecord` for the first entry that is
    wrong, and says what is."""
    note = files.checkpoint()
    if note is None:
        raise BrokenRecord(f"There is no checkpoint in {files.where}.", hint=_HINT)
    cosigned = check_signatures(note, key, witnesses)
    checkpoint = Checkpoint.parse(note.text)
    size = checkpoint.size
    done = 0
    purged = _purged(files, size)
    for checked in _check_bundles(files, size, purged, processes):
        done += checked
        if progress is not None:
            progress(done, size)
    _check_upper_tiles(files, size)
    root = root_hash(size, nodes_in(files.tile, size))
    if root != checkpoint.root:
        raise BrokenRecord(
            f"The {size} entries do not add up to the root that the checkpoint signs: they were "
            "changed together with their hashes, from some entry on.",
            hint=_HINT,
        )
    return Verified(size, root.hex(), note, cosigned, purged=len(purged) * WIDTH)


def purged_end(event: Event) -> int:
    """Before which number an event ``log.purged`` says that entries are gone."""
    try:
        return int(event.subject["last"]) + 1
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenRecord(f"The event {event.id} does not say what was purged.") from error


def _purged(files: LogReader, size: int) -> frozenset[int]:
    """The bundles that are not there and need not be. What says so is not checked here: it is an
    entry like any other."""
    missing = files.missing(size)
    end = _recorded_end(files, size, frozenset(missing)) if missing else 0
    return frozenset(index for index in missing if (index + 1) * WIDTH <= end)


def _recorded_end(files: LogReader, size: int, missing: frozenset[int]) -> int:
    for bundle in reversed(list(bundles_of(size))):
        if bundle.index in missing:
            continue
        with suppress(BrokenRecord):  # it is told of when its turn comes
            for entry in reversed(files.bundle(bundle)):
                if _PURGED in entry:
                    event = Event.from_canonical(entry)
                    if event.type == PURGED:  # the newest one covers those before it
                        return purged_end(event)
    return 0


def _check_bundles(
    files: LogReader, size: int, purged: frozenset[int], processes: int | None
) -> Iterator[int]:
    """Numbers of entries, as they are found to be those of the tiles, and these of those above."""
    bundles = -(-size // WIDTH)
    chunks = [
        (files, at, min(at + _CHUNK, bundles), size, purged & frozenset(range(at, at + _CHUNK)))
        for at in range(0, bundles, _CHUNK)
    ]
    if files.far:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            yield from threads.map(_check_chunk, chunks)
        return
    count = processes or (os.cpu_count() or 1 if bundles >= _MANY_BUNDLES else 1)
    if count == 1:
        yield from map(_check_chunk, chunks)
        return
    # Not forked: there may be threads here.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_check_chunk, chunks)


def _check_chunk(chunk: tuple[LogReader, int, int, int, frozenset[int]]) -> int:
    files, first, end, size, purged = chunk
    for index in range(first, end):
        if index in purged:
            _check_above(files, 0, index, files.tile(Tile(0, index)), size)
            continue
        _check_bundle(files, index, min(WIDTH, size - index * WIDTH), size)
    return min(end * WIDTH, size) - first * WIDTH


def _check_bundle(files: LogReader, index: int, width: int, size: int) -> None:
    first = index * WIDTH
    try:
        entries = files.bundle(Bundle(index, width))
    except BrokenRecord as error:
        raise BrokenRecord(
            f"The entries from {first} on cannot be read: {error.message}", hint=_HINT
        ) from error
    hashes = b"".join([sha256(b"\x00" + entry).digest() for entry in entries])
    told = files.tile(Tile(0, index, width))
    if hashes != told:
        place = next((at for at in range(width) if _hash(hashes, at) != _hash(told, at)), width)
        raise BrokenRecord(
            f"Entry {first + place} was changed: its bytes do not have the hash that stands in "
            f"{Tile(0, index, width).path}.",
            hint=_HINT,
        )
    if width == WIDTH:
        _check_above(files, 0, index, hashes, size)


def _check_above(files: LogReader, level: int, index: int, hashes: bytes, size: int) -> None:
    above, place = divmod(index, WIDTH)
    count = size // WIDTH ** (level + 1)
    tile = Tile(level + 1, above, min(WIDTH, count - above * WIDTH))
    if subtree_hash(hashes) != _hash(files.tile(tile), place):
        first = index * WIDTH ** (level + 1)
        raise BrokenRecord(
            f"One of the entries from {first} to {first + WIDTH ** (level + 1) - 1} was changed: "
            f"{tile.path} has another hash for them.",
            hint=_HINT,
        )


def _check_upper_tiles(files: LogReader, size: int) -> None:
    for tile in tiles_of(size):
        if tile.level > 0 and tile.width == WIDTH:
            _check_above(files, tile.level, tile.index, files.tile(tile), size)


def _hash(hashes: bytes, place: int) -> bytes:
    return hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES]

"""A copy of the audit log that an auditor can take away, with what is needed to check it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loop.checkpoints import Checkpoint, Proof
from loop.errors import Conflict
from loop.events import Actor, Event
from loop.signed_notes import Note, VerifierKey
from loop.tiles import Bundle, Tile, bundles_of, tiles_of
from store.audit_log import AuditLog, Entry
from store.log_files import LogFiles
from store.log_reading import LogReader, stamp_paths
from store.log_verify import Progress, Verified, verify_files

_SCRIPT = Path(__file__).parent / "auditor" / "verify.py"
_README = """The audit log {name}, as it was with {size} entries.

    log/            the log itself: RFC 6962 tree, files as in https://c2sp.org/tlog-tiles,
                    signed checkpoint as in https://c2sp.org/tlog-checkpoint
    events.jsonl    its entries, one a line, in order: for reading and searching
    key.txt         the log's public key
    log/timestamps/ checkpoints that a time-stamping authority stamped (RFC 3161), if there are any
    verify.py       checks all of it; needs Python and the package cryptography

    python verify.py --key KEY [--witness KEY]

Get the key, and those of witnesses, from whoever is accountable for the log over another way than
this folder. What the fields of an entry mean: docs/audit-events.md of Second Look. What stands as
hmac-sha256:... is a commitment to an image or to what was said of one: whoever runs the log can
open it, unless it was erased. Entries past their retention may be gone: an event log.purged says
which, their hashes are still checked, and events.jsonl begins behind them.
"""
_ENTRY_README = """Entry {index} of the audit log {name}, and the proof that it is in the log.

    event.json          the entry, byte by byte
    proof.tlog-proof    the proof, as in https://c2sp.org/tlog-proof: the entry is under the root
                        that the signed checkpoint in it names, of {size} entries
    key.txt             the log's public key
    verify.py           checks it; needs Python and the package cryptography

    python verify.py --key KEY proof event.json proof.tlog-proof

Get the key from whoever is accountable for the log over another way than this archive.
"""
# Hashes and what is compressed already gain nothing; text does at the lowest level, too.
_LEVEL = 1
_PIECE_BYTES = 256 * 1024

# A file's name in the copy, and its bytes.
_File = tuple[str, Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class LogCopy:
    """The log as it was under the checkpoint ``note``; it may grow on meanwhile. ``stamps`` are the
    sizes of the checkpoints that had a timestamp."""

    files: LogReader
    note: Note
    key: VerifierKey
    stamps: tuple[int, ...]

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint.parse(self.note.text)

    def contents(self) -> Iterator[_File]:
        size = self.checkpoint.size
        first = self.files.first_entry(size)
        files: list[Tile | Bundle] = [*tiles_of(size), *bundles_of(size, since=first)]
        for each in files:
            yield f"log/{each.path}", (self.files.read(each),)
        for stamped in self.stamps:
            of_note, of_stamp = stamp_paths(stamped)
            note, stamp = self.files.timestamp(stamped)
            yield f"log/{of_note}", (str(note).encode(),)
            yield f"log/{of_stamp}", (stamp,)
        yield "log/checkpoint", (str(self.note).encode(),)
        yield "key.txt", (f"{self.key}\n".encode(),)
        yield "README.txt", (_README.format(name=self.key.name, size=size).encode(),)
        yield "verify.py", (_SCRIPT.read_bytes(),)
        yield "events.jsonl", (entry + b"\n" for entry in self.files.entries(size, since=first))


def copy_of(log: AuditLog) -> LogCopy:
    """Raises `NotFound` for a log without entries."""
    log.integrate()
    files = log.reader()
    stamps = tuple(files.timestamps())  # before the checkpoint: of none that is newer
    return LogCopy(files, log.checkpoint(), log.public_key(), stamps)


def export_log(log: AuditLog, folder: Path, progress: Progress | None = None) -> Verified:
    """Into ``folder``, which must be empty or not there; what was copied is verified there. Raises
    `Conflict` for one with something in it, `NotFound` for a log without entries."""
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty.", hint="Name a new folder.")
    copy = copy_of(log)
    for name, pieces in copy.contents():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines(pieces)
    return verify_files(LogFiles(folder / "log"), copy.key, progress=progress)


def exported(size: int, root: str, actor: Actor) -> Event:
    """What goes on record when a copy of the log is taken away."""
    return Event(
        "evidence.built",
        actor,
        {"kind": "audit_export"},
        {"events": size},
        outputs={"root": root},
    )


def zip_of(copy: LogCopy) -> Iterator[bytes]:
    """The same files as a ZIP, in a folder of their own, piece by piece as they are read: nothing
    of it is kept. What is wrong with the log shows when the copy is verified."""
    folder = f"audit-log-{copy.checkpoint.size}"
    return _zipped((f"{folder}/{name}", pieces) for name, pieces in copy.contents())


def zip_of_entry(entry: Entry, proof: Proof, key: VerifierKey) -> bytes:
    """An entry, its proof and how to check it, as a ZIP."""
    size = Checkpoint.parse(proof.checkpoint.text).size
    readme = _ENTRY_README.format(index=entry.index, name=key.name, size=size)
    contents: list[_File] = [
        ("event.json", (entry.data,)),
        ("proof.tlog-proof", (str(proof).encode(),)),
        ("key.txt", (f"{key}\n".encode(),)),
        ("README.txt", (readme.encode(),)),
        ("verify.py", (_SCRIPT.read_bytes(),)),
    ]
    return b"".join(_zipped(contents))


def _zipped(contents: Iterable[_File]) -> Iterator[bytes]:
    sink = _Sink()
    at = datetime.now(UTC).timetuple()[:6]
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, pieces in contents:
            info = zipfile.ZipInfo(name, at)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as file:
                for piece in pieces:
                    file.write(piece)
                    if sink.size >= _PIECE_BYTES:
                        yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """What a ZIP is written to that goes straight on: there is no way back in it."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._held.append(bytes(data))
        self.size += len(data)
        return len(data)

    def taken(self) -> bytes:
        found = b"".join(self._held)
        self._held, self.size = [], 0
        return found

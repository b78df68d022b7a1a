"""What anybody can do who may read a log's public files (`loop.tiles`), wherever these lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from loop.checkpoints import Checkpoint, Proof
from loop.errors import BrokenRecord, NotFound
from loop.merkle import HASH_BYTES, inclusion_proof, leaf_hash, root_hash
from loop.signed_notes import Note
from loop.tiles import WIDTH, Bundle, Tile, bundles_of, nodes_in, pack, unpack

CHECKPOINT = "checkpoint"
STAMPS = "timestamps"


class LogReader(ABC):
    """``where`` is what it is called in messages; with ``far``, a file takes long to come, and
    several at once take no longer."""

    where: str
    far = False

    @abstractmethod
    def find(self, path: str) -> bytes | None:
        """A file's bytes; None if it is not there."""

    @abstractmethod
    def missing(self, size: int) -> list[int]:
        """Which bundles of 256 entries are not there, by index."""

    @abstractmethod
    def timestamps(self) -> list[int]:
        """The sizes of the checkpoints that were stamped, ascending."""

    def checkpoint(self) -> Note | None:
        """The signed one that was published last; None before the first. Raises `BrokenRecord`."""
        data = self.find(CHECKPOINT)
        return None if data is None else Note.parse(data)

    def tile(self, tile: Tile) -> bytes:
        """Its hashes, one after the other. Raises `BrokenRecord` if it is not there."""
        return self._read(tile.path, Tile(tile.level, tile.index).path)[: tile.width * HASH_BYTES]

    def bundle(self, bundle: Bundle) -> list[bytes]:
        """Its entries. Raises `BrokenRecord` if it is not there or damaged."""
        # In this order: a partial one goes only after the whole one has come.
        part = self.find(bundle.path) if bundle.width < WIDTH else None
        if part is not None:
            return unpack(part, bundle.width)
        whole = Bundle(bundle.index).path
        return unpack(self._read(whole, named=bundle.path), WIDTH)[: bundle.width]

    def read(self, each: Tile | Bundle) -> bytes:
        """The bytes of the file, as any client of the log gets them; of one that was whole when the
        log had grown, those that it began with. Raises `BrokenRecord`."""
        return self.tile(each) if isinstance(each, Tile) else pack(self.bundle(each))

    def entries(self, size: int, *, since: int = 0) -> Iterator[bytes]:
        """Those of a log of ``size`` from number ``since`` on, a multiple of 256, in order."""
        for bundle in bundles_of(size, since=since):
            yield from self.bundle(bundle)

    def first_entry(self, size: int) -> int:
        """From which number on all entries are there, by bundles."""
        missing = self.missing(size)
        return (missing[-1] + 1) * WIDTH if missing else 0

    def prove(self, index: int) -> Proof:
        """That entry ``index`` is in the log, up to the checkpoint. Raises `NotFound` if it is not,
        `BrokenRecord`."""
        note = self.checkpoint()
        size = Checkpoint.parse(note.text).size if note else 0
        if note is None or not 0 <= index < size:
            raise NotFound(f"There is no entry {index} in the log: it has {size}.")
        hashes = inclusion_proof(index, size, nodes_in(self.tile, size))
        return Proof(index, tuple(hashes), note)

    def checked_root(self, size: int) -> bytes:
        """The root of the first ``size`` entries, out of what their tiles say; and the entries that
        the next ones are written behind are those of which the tiles have the hashes. Raises
        `BrokenRecord`."""
        index, width = divmod(size, WIDTH)
        if width:
            found = b"".join(map(leaf_hash, self.bundle(Bundle(index, width))))
            if found != self.tile(Tile(0, index, width)):
                raise BrokenRecord(
                    f"{Bundle(index, width).path} of the log does not hold the entries of which "
                    f"{Tile(0, index, width).path} has the hashes.",
                    hint="Restore the folder of the log from a backup.",
                )
        return root_hash(size, nodes_in(self.tile, size))

    def timestamp(self, size: int) -> tuple[Note, bytes]:
        """A checkpoint that was stamped, and its TimeStampResp (RFC 3161). Raises `BrokenRecord` if
        one of them is not there."""
        note, stamp = stamp_paths(size)
        return Note.parse(self._read(note)), self._read(stamp)

    def _read(self, *paths: str, named: str = "") -> bytes:
        for path in paths:
            data = self.find(path)
            if data is not None:
                return data
        raise BrokenRecord(
            f"{named or paths[0]} of the log is not there.",
            hint="Restore the folder of the log from a backup; do not write to it.",
        )


def stamp_paths(size: int) -> tuple[str, str]:
    """Of a checkpoint that was stamped, and of its timestamp."""
    return f"{STAMPS}/{size}.checkpoint", f"{STAMPS}/{size}.tsr"


def stamped_size(name: str) -> int | None:
    """The size in the name of a timestamp's file; None if it is another file."""
    stem, dot, suffix = name.partition(".")
    return int(stem) if dot and suffix == "tsr" and stem.isascii() and stem.isdecimal() else None

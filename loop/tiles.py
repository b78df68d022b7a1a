"""How a log lies in files: tiles of hashes and bundles of entries (https://c2sp.org/tlog-tiles).

What is written once stays as it is; a partial tile or bundle (of fewer than 256) is written anew
under another name as it grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from loop.errors import BrokenRecord, InvalidInput
from loop.merkle import HASH_BYTES, Nodes, subtree_hash

WIDTH = 256
_HEIGHT = 8  # levels of the tree in a tile: WIDTH is 2**8
LONGEST_ENTRY = 2**16 - 1  # bytes: a bundle has an entry's length in two of them


@dataclass(frozen=True, slots=True)
class Tile:
    """``index`` counts along the ``level``; ``width`` hashes, from 1 to 256."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        return f"tile/{self.level}/{_number(self.index)}{_partial(self.width)}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Entries from ``index * 256``, ``width`` of them, from 1 to 256."""

    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        return f"tile/entries/{_number(self.index)}{_partial(self.width)}"


# The hashes of a tile, one after the other; raises `BrokenRecord` if it is not there.
ReadTile = Callable[[Tile], bytes]


def tiles_of(size: int, *, since: int = 0) -> Iterator[Tile]:
    """Of a log of ``size`` entries, those that it did not have with ``since`` entries, by level."""
    level, now, before = 0, size, since
    while now:
        for index in range(before // WIDTH, -(-now // WIDTH)):
            width = min(WIDTH, now - index * WIDTH)
            if index * WIDTH + width > before:
                yield Tile(level, index, width)
        level, now, before = level + 1, now // WIDTH, before // WIDTH


def bundles_of(size: int, *, since: int = 0) -> Iterator[Bundle]:
    """As `tiles_of`."""
    for tile in tiles_of(size, since=since):
        if tile.level == 0:
            yield Bundle(tile.index, tile.width)


def pack(entries: Sequence[bytes]) -> bytes:
    """The bytes of a bundle. Raises `InvalidInput` for an entry of more than 65,535 bytes."""
    for entry in entries:
        if len(entry) > LONGEST_ENTRY:
            raise InvalidInput(
                f"An entry of {len(entry)} bytes does not fit into the log.",
                hint=f"{LONGEST_ENTRY} bytes do.",
            )
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unpack(data: bytes, width: int) -> list[bytes]:
    """The ``width`` entries of a bundle. Raises `BrokenRecord`."""
    entries: list[bytes] = []
    at, end = 0, len(data)
    while at < end - 1:
        begin = at + 2
        at = begin + (data[at] << 8 | data[at + 1])
        entries.append(data[begin:at])
    if at != end:
        raise BrokenRecord("The bundle of entries was cut off.")
    if len(entries) != width:
        raise BrokenRecord(f"The bundle has {len(entries)} entries instead of {width}.")
    return entries


def nodes_in(read: ReadTile, size: int) -> Nodes:
    """The hashes of a log of ``size`` entries, out of its tiles. Nothing is believed of them before
    they add up to a root that is signed."""

    def node(level: int, index: int) -> bytes:
        tile_level, above = divmod(level, _HEIGHT)
        count = 2**above
        first = index * count
        place = first // WIDTH
        width = min(WIDTH, size // WIDTH**tile_level - place * WIDTH)
        begin = first - place * WIDTH
        if begin + count > width:
            raise InvalidInput(f"A log of {size} entries has no subtree {index} of level {level}.")
        tile = Tile(tile_level, place, width)
        hashes = read(tile)
        if len(hashes) != width * HASH_BYTES:
            raise BrokenRecord(f"{tile.path} has {len(hashes)} bytes, not {width * HASH_BYTES}.")
        return subtree_hash(hashes[begin * HASH_BYTES : (begin + count) * HASH_BYTES])

    return node


def _number(index: int) -> str:
    """In groups of three digits, all but the last one after an x: 1234067 is x001/x234/067."""
    text = str(index)
    text = text.zfill(-(-len(text) // 3) * 3)
    groups = [text[at : at + 3] for at in range(0, len(text), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def _partial(width: int) -> str:
    return "" if width == WIDTH else f".p/{width}"

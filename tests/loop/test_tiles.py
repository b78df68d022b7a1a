from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.errors import BrokenRecord, InvalidInput
from loop.merkle import consistency_proof, inclusion_proof, root_hash
from loop.tiles import (
    WIDTH,
    Bundle,
    Tile,
    bundles_of,
    nodes_in,
    pack,
    tiles_of,
    unpack,
)
from tests.loop.test_merkle import node

# More than two levels of tiles would take a tree of 65,536 leaves: once, in one test.
SIZES = st.one_of(st.integers(1, 700), st.sampled_from([255, 256, 257, 511, 512, 513]))


def written(size: int, since: int = 0) -> dict[str, bytes]:
    """Every tile by its path, from the hashes of the whole tree."""
    return {
        tile.path: b"".join(
            node(8 * tile.level, tile.index * WIDTH + place) for place in range(tile.width)
        )
        for tile in tiles_of(size, since=since)
    }


def reading(files: dict[str, bytes]) -> Callable[[Tile], bytes]:
    return lambda tile: files[tile.path]


def test_the_specifications_examples() -> None:
    assert Tile(1, 1234067).path == "tile/1/x001/x234/067"
    assert Tile(0, 0, 7).path == "tile/0/000.p/7"
    assert Bundle(1000, 255).path == "tile/entries/x001/000.p/255"
    of_70000 = list(tiles_of(70_000))
    assert sum(tile.level == 0 and tile.width == WIDTH for tile in of_70000) == 273
    partial = [tile for tile in of_70000 if tile.width < WIDTH]
    assert partial == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert list(tiles_of(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles_of(0)) == list(bundles_of(0)) == []


@given(SIZES, st.data())
def test_a_log_that_grows_writes_what_is_new_and_ends_up_with_the_same_files(
    size: int, data: st.DataObject
) -> None:
    since = data.draw(st.integers(0, size))
    new = {tile.path for tile in tiles_of(size, since=since)}
    assert {tile.path for tile in tiles_of(size)} <= {tile.path for tile in tiles_of(since)} | new
    assert not new & {tile.path for tile in tiles_of(since)}
    assert [bundle.path.replace("entries", "0") for bundle in bundles_of(size, since=since)] == [
        tile.path for tile in tiles_of(size, since=since) if tile.level == 0
    ]


@given(SIZES, st.data())
def test_roots_and_proofs_come_out_of_the_tiles(size: int, data: st.DataObject) -> None:
    nodes = nodes_in(reading(written(size)), size)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    assert root_hash(size, nodes) == root_hash(size, node)
    assert inclusion_proof(index, size, nodes) == inclusion_proof(index, size, node)
    assert consistency_proof(old, size, nodes) == consistency_proof(old, size, node)


def test_what_a_log_does_not_have_is_not_read_out_of_its_tiles() -> None:
    nodes = nodes_in(reading(written(300)), 300)
    for level, index in ((0, 300), (3, 37), (9, 0), (8, 1)):
        with pytest.raises(InvalidInput, match="no subtree"):
            nodes(level, index)
    files = written(300)
    files["tile/0/000"] = files["tile/0/000"][:-1]
    with pytest.raises(BrokenRecord, match="8191 bytes"):
        nodes_in(reading(files), 300)(0, 3)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=WIDTH))
def test_entries_come_out_of_a_bundle_as_they_went_in(entries: list[bytes]) -> None:
    data = pack(entries)
    assert unpack(data, len(entries)) == entries
    for wrong in (data[:-1], data + b"\x00"):
        with pytest.raises(BrokenRecord):
            unpack(wrong, len(entries))
    with pytest.raises(BrokenRecord, match="instead of"):
        unpack(data, len(entries) + 1)


def test_an_entry_that_is_too_long_is_refused_before_anything_is_written() -> None:
    assert unpack(pack([b"x" * 65535]), 1) == [b"x" * 65535]
    with pytest.raises(InvalidInput, match="65536 bytes"):
        pack([b"x" * 65536])

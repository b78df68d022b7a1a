"""Groups of images whose perceptual hashes are close, found without comparing all pairs.

Multi-index hashing (M. Norouzi, A. Punjani, D. Fleet, "Fast Search in Hamming Space with
Multi-Index Hashing", CVPR 2012): cut the hashes into m bands; two that differ in at most d bits
differ in at most d // m of them in some band, and so lie in buckets of that band that can be
listed. Images without a hash (`loop.perceptual_hash.NO_HASH`) are like no other: blank fields of
different slides would all be one group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from loop.errors import InvalidInput
from loop.perceptual_hash import BITS

# Images with at most so many differing bits are near-duplicates, unless a parameter says
# otherwise. docs/decisions.md has the figures behind it.
DEFAULT_DISTANCE = 6
_MOST = 31
_FEWEST_BANDS = 4  # 16 bits each: a bucket's number is a place in a small table
# So that a crowded bucket takes no more memory than many small ones do.
_PAIRS_AT_ONCE = 4_000_000

Groups = NDArray[np.int32]
_Places = NDArray[np.int64]


def near_duplicate_groups(hashes: Sequence[str], distance: int) -> Groups:
    """The group of each image, numbered from 0 by the first image of each.

    Images are in one group if steps of at most ``distance`` bits lead from one to the other. With
    a ``distance`` of -1 every image is a group of its own.
    """
    if not -1 <= distance <= _MOST:
        raise InvalidInput(
            f"Images whose hashes are {distance} bits apart are no near-duplicates.",
            hint=f"Take -1 (off) to {_MOST}.",
        )
    every = np.arange(len(hashes), dtype=np.int32)
    hashed = np.array([place for place, text in enumerate(hashes) if text], dtype=np.int64)
    if distance < 0 or not len(hashed):
        return every
    values = np.array([int(hashes[place], 16) for place in hashed], dtype=np.uint64)
    distinct, inverse = np.unique(values, return_inverse=True)
    groups = np.arange(len(distinct), dtype=np.int32)
    for left, right in _candidates(distinct, distance):
        apart = groups[left] != groups[right]
        left, right = left[apart], right[apart]
        near = np.bitwise_count(distinct[left] ^ distinct[right]) <= distance
        groups = _joined(groups, left[near], right[near])
    every[hashed] = len(hashes) + groups[inverse]
    return numbered(every.tolist())


def numbered(names: Iterable[object]) -> Groups:
    """Each name's number, from 0 in the order in which they come first."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int32)


def connected(*groupings: Groups) -> Groups:
    """The groups that come of ``groupings`` of the same images together: whoever shares a group in
    one of them does so here."""
    count = len(groupings[0])
    groups = np.arange(count, dtype=np.int32)
    for grouping in groupings:
        _, first, inverse = np.unique(grouping, return_index=True, return_inverse=True)
        groups = _joined(groups, np.arange(count), first[inverse])
    return numbered(groups.tolist())


def _joined(groups: Groups, left: _Places, right: _Places) -> Groups:
    """``groups`` after the images at ``left`` and ``right`` have come together, pair by pair."""
    if not len(left):
        return groups
    pairs = (np.ones(len(left), dtype=np.int8), (groups[left], groups[right]))
    size = int(groups.max()) + 1
    _, of_group = connected_components(coo_array(pairs, shape=(size, size)), directed=False)
    together: Groups = of_group[groups].astype(np.int32)
    return together


def _candidates(values: NDArray[np.uint64], distance: int) -> Iterator[tuple[_Places, _Places]]:
    """Pairs of places in ``values`` among which are all that are at most ``distance`` apart."""
    bands = _cheapest_bands(len(values), distance)
    edges = np.linspace(0, BITS, bands + 1).astype(int)
    for low, high in pairwise(edges.tolist()):
        keys = ((values >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        sizes = np.bincount(keys, minlength=1 << (high - low))
        starts = np.cumsum(sizes) - sizes
        for flips in range(distance // bands + 1):
            for bits in combinations(range(high - low), flips):
                other = keys ^ sum(1 << bit for bit in bits)
                yield from _pairs(order, starts[other], sizes[other])


def _pairs(order: _Places, starts: _Places, sizes: _Places) -> Iterator[tuple[_Places, _Places]]:
    """Each value's place beside those in its bucket of ``order``; every pair comes twice."""
    ends = np.cumsum(sizes)
    done = 0
    while done < len(sizes):
        taken = ends[done - 1] if done else 0
        until = max(int(np.searchsorted(ends, taken + _PAIRS_AT_ONCE, "right")), done + 1)
        part = slice(done, until)
        left = np.repeat(np.arange(done, until), sizes[part])
        within = np.arange(len(left)) - np.repeat(ends[part] - sizes[part] - taken, sizes[part])
        right = order[np.repeat(starts[part], sizes[part]) + within]
        once = left < right
        yield left[once], right[once]
        done = until


def _cheapest_bands(count: int, distance: int) -> int:
    """More bands mean fewer bits to flip in each, and fuller buckets."""

    def cost(bands: int) -> float:
        bits = BITS // bands
        lookups = sum(comb(bits, flips) for flips in range(distance // bands + 1))
        return bands * lookups * count * (1 + count / (1 << bits))

    return min(range(_FEWEST_BANDS, max(_FEWEST_BANDS, distance + 1) + 1), key=cost)

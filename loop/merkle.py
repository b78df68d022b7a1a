"""Merkle trees of RFC 6962 (Certificate Transparency), with SHA-256: roots and proofs.

Nothing here knows where hashes are kept: whoever proves gives `Nodes`, a function to the hash of
any complete subtree. Proofs are lists of 32-byte hashes, from the leaves up. They are made as in
sections 2.1.1 and 2.1.2, and checked as in sections 2.1.3.2 and 2.1.4.2 of RFC 9162.
https://www.rfc-editor.org/rfc/rfc6962.html https://www.rfc-editor.org/rfc/rfc9162.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from loop.errors import BrokenRecord, InvalidInput

HASH_BYTES = 32
# (level, index) of the subtree over the leaves from ``index * 2**level``, ``2**level`` of them.
Nodes = Callable[[int, int], bytes]

EMPTY_ROOT = hashlib.sha256().digest()


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def subtree_hash(hashes: bytes) -> bytes:
    """The root of a complete subtree over the hashes that lie there one after the other: as many as
    a power of two says."""
    sha256, pair = hashlib.sha256, 2 * HASH_BYTES
    while len(hashes) > HASH_BYTES:
        hashes = b"".join(
            [
                sha256(b"\x01" + hashes[at : at + pair]).digest()
                for at in range(0, len(hashes), pair)
            ]
        )
    return hashes


def root_hash(size: int, nodes: Nodes) -> bytes:
    """The root of the tree of the first ``size`` leaves."""
    return _range_hash(0, size, nodes) if size else EMPTY_ROOT


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaves whose hashes are all at hand."""

    def node(level: int, index: int) -> bytes:
        first = index << level
        return subtree_hash(b"".join(leaves[first : first + (1 << level)]))

    return root_hash(len(leaves), node)


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """That leaf ``index`` is in the tree of ``size`` leaves. Raises `InvalidInput` for one that is
    not."""
    if not 0 <= index < size:
        raise InvalidInput(f"A tree of {size} leaves has no leaf {index}.")
    return list(_path(index, 0, size, nodes))


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """That the first ``old`` leaves of the tree of ``new`` leaves are the tree of ``old`` leaves;
    empty for none and for all. Raises `InvalidInput` if it cannot be."""
    if not 0 <= old <= new:
        raise InvalidInput(f"A tree of {new} leaves never had {old}.")
    return [] if old in (0, new) else list(_subproof(old, 0, new, nodes, whole=True))


def check_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raises `BrokenRecord` unless ``proof`` shows the leaf with that hash to be number ``index``
    of the ``size`` under ``root``."""
    if not 0 <= index < size:
        raise BrokenRecord(f"A tree of {size} leaves has no leaf {index}.")
    _check_hashes([leaf, root, *proof])
    found = leaf
    for sibling, on_left in _climb(index, size - 1, proof, "inclusion"):
        found = node_hash(sibling, found) if on_left else node_hash(found, sibling)
    if found != root:
        raise BrokenRecord(f"Leaf {index} is not under this root.")


def check_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Raises `BrokenRecord` unless ``proof`` shows the tree of ``new`` leaves to go on from the one
    of ``old`` leaves."""
    if not 0 <= old <= new:
        raise BrokenRecord(f"A tree of {new} leaves cannot go on from one of {old}.")
    if old == 0:
        raise BrokenRecord("Every tree goes on from the one without leaves: this shows nothing.")
    if old == new:
        if proof:
            raise BrokenRecord("The consistency proof is too long.")
        if old_root != new_root:
            raise BrokenRecord(f"Two trees of {old} leaves have different roots.")
        return
    _check_hashes([old_root, new_root, *proof])
    if not proof:
        raise BrokenRecord("The consistency proof is too short.")
    hashes = list(proof)
    if old & (old - 1) == 0:  # a complete subtree: its root need not be said
        hashes.insert(0, old_root)
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    found_old = found_new = hashes[0]
    for sibling, on_left in _climb(position, last, hashes[1:], "consistency"):
        if on_left:
            found_old, found_new = node_hash(sibling, found_old), node_hash(sibling, found_new)
        else:
            found_new = node_hash(found_new, sibling)
    if found_old != old_root:
        raise BrokenRecord(f"The proof is not of the tree of {old} leaves with this root.")
    if found_new != new_root:
        raise BrokenRecord(f"The tree of {new} leaves does not go on from the one of {old}.")


def _climb(
    position: int, last: int, proof: Sequence[bytes], what: str
) -> Iterator[tuple[bytes, bool]]:
    """The hashes of a proof on the way from node ``position`` of a level, whose last one is
    ``last``, to the root; with each, whether it stands on the left. Raises `BrokenRecord` for a
    proof that is too long or, once it is used up, too short."""
    for sibling in proof:
        if last == 0:
            raise BrokenRecord(f"The {what} proof is too long.")
        on_left = bool(position & 1) or position == last
        yield sibling, on_left
        if on_left:
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        position, last = position >> 1, last >> 1
    if last != 0:
        raise BrokenRecord(f"The {what} proof is too short.")


def _range_hash(start: int, end: int, nodes: Nodes) -> bytes:
    count = end - start
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return nodes(level, start >> level)
    middle = start + _split(count)
    return node_hash(_range_hash(start, middle, nodes), _range_hash(middle, end, nodes))


def _path(index: int, start: int, end: int, nodes: Nodes) -> Iterator[bytes]:
    if end - start == 1:
        return
    middle = start + _split(end - start)
    if index < middle:
        yield from _path(index, start, middle, nodes)
        yield _range_hash(middle, end, nodes)
    else:
        yield from _path(index, middle, end, nodes)
        yield _range_hash(start, middle, nodes)


def _subproof(old: int, start: int, end: int, nodes: Nodes, *, whole: bool) -> Iterator[bytes]:
    """``whole``: the old tree's root is known to the verifier if all of it is in this part."""
    if old == end:
        if not whole:
            yield _range_hash(start, end, nodes)
        return
    middle = start + _split(end - start)
    if old <= middle:
        yield from _subproof(old, start, middle, nodes, whole=whole)
        yield _range_hash(middle, end, nodes)
    else:
        yield from _subproof(old, middle, end, nodes, whole=False)
        yield _range_hash(start, middle, nodes)


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if any(len(each) != HASH_BYTES for each in hashes):
        raise BrokenRecord(f"A hash is not {HASH_BYTES} bytes long.")

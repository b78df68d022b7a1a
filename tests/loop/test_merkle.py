from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.errors import BrokenRecord, InvalidInput
from loop.merkle import (
    EMPTY_ROOT,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_hash,
)

# Of transparency-dev/merkle: valid and broken proofs, and which of them a verifier must refuse.
VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "tlog"
MOST = 300


@lru_cache
def node(level: int, index: int) -> bytes:
    """Of the tree whose entries are the decimal numbers of its leaves."""
    if level == 0:
        return leaf_hash(str(index).encode())
    return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))


def by_definition(entries: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if not entries:
        return EMPTY_ROOT
    if len(entries) == 1:
        return leaf_hash(entries[0])
    k = 1
    while 2 * k < len(entries):
        k *= 2
    return node_hash(by_definition(entries[:k]), by_definition(entries[k:]))


def flipped(data: bytes, bit: int) -> bytes:
    place = bit % (8 * len(data))
    return (int.from_bytes(data) ^ (1 << place)).to_bytes(len(data))


def vectors(kind: str) -> list[Any]:
    files = sorted((VECTORS / kind).rglob("*.json"))
    return [pytest.param(file, id=str(file.relative_to(VECTORS))) for file in files]


def decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def judged(check: Callable[[], None], vector: dict[str, Any]) -> None:
    if vector["wantErr"]:
        with pytest.raises(BrokenRecord):
            check()
    else:
        check()


@pytest.mark.skipif(not VECTORS.is_dir(), reason="the published vectors are not here")
@pytest.mark.parametrize("file", vectors("inclusion"))
def test_published_inclusion_proofs(file: Path) -> None:
    vector = json.loads(file.read_text())
    proof = [decoded(each) for each in vector["proof"] or []]
    leaf, root = decoded(vector["leafHash"]), decoded(vector["root"])
    judged(
        lambda: check_inclusion(leaf, vector["leafIdx"], vector["treeSize"], proof, root), vector
    )


@pytest.mark.skipif(not VECTORS.is_dir(), reason="the published vectors are not here")
@pytest.mark.parametrize("file", vectors("consistency"))
def test_published_consistency_proofs(file: Path) -> None:
    vector = json.loads(file.read_text())
    proof = [decoded(each) for each in vector["proof"] or []]
    roots = decoded(vector["root1"]), decoded(vector["root2"])
    judged(lambda: check_consistency(vector["size1"], vector["size2"], *roots, proof), vector)


@pytest.mark.parametrize("size", [*range(18), 255, 256, 257, MOST])
def test_a_root_is_what_the_rfc_defines(size: int) -> None:
    entries = [str(index).encode() for index in range(size)]
    assert root_hash(size, node) == by_definition(entries)


@given(st.data())
def test_every_entry_is_shown_to_be_where_it_is_and_nowhere_else(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, MOST))
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda each: each != index or size == 1))
    proof, root = inclusion_proof(index, size, node), root_hash(size, node)
    check_inclusion(node(0, index), index, size, proof, root)
    if size > 1:
        with pytest.raises(BrokenRecord):
            check_inclusion(node(0, other), index, size, proof, root)
        with pytest.raises(BrokenRecord):
            check_inclusion(node(0, index), other, size, proof, root)


@given(st.data())
def test_every_tree_is_shown_to_go_on_from_every_one_before(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, MOST))
    old = data.draw(st.integers(1, new))
    proof = consistency_proof(old, new, node)
    roots = root_hash(old, node), root_hash(new, node)
    check_consistency(old, new, *roots, proof)
    bit = data.draw(st.integers(0, 8 * 32 * (len(proof) + 2) - 1))
    damaged = [*roots, *proof]
    damaged[bit // 256] = flipped(damaged[bit // 256], bit)
    with pytest.raises(BrokenRecord):
        check_consistency(old, new, damaged[0], damaged[1], damaged[2:])


@given(st.integers(1, MOST), st.data())
def test_a_bit_more_or_less_in_an_inclusion_proof_is_found(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(index, size, node), root_hash(size, node)
    parts = [node(0, index), root, *proof]
    bit = data.draw(st.integers(0, 256 * len(parts) - 1))
    parts[bit // 256] = flipped(parts[bit // 256], bit)
    with pytest.raises(BrokenRecord):
        check_inclusion(parts[0], index, size, parts[2:], parts[1])
    for wrong in (proof[:-1], [*proof, root]) if proof else ([root],):
        with pytest.raises(BrokenRecord):
            check_inclusion(node(0, index), index, size, wrong, root)


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no leaf 3"):
        inclusion_proof(3, 3, node)
    with pytest.raises(InvalidInput, match="never had 4"):
        consistency_proof(4, 3, node)
    assert consistency_proof(0, 3, node) == consistency_proof(3, 3, node) == []
    with pytest.raises(BrokenRecord, match="shows nothing"):
        check_consistency(0, 3, EMPTY_ROOT, root_hash(3, node), [])

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from loop.checkpoints import Checkpoint, Proof
from loop.errors import BrokenRecord
from loop.merkle import EMPTY_ROOT, inclusion_proof, root_hash
from loop.signed_notes import KeyType, Note, Signer
from tests.loop.test_merkle import node

LOG = Signer("example.com/log", KeyType.LOG, Ed25519PrivateKey.from_private_bytes(b"l" * 32))


def checkpoint(size: int) -> Checkpoint:
    return Checkpoint("example.com/log", size, root_hash(size, node))


def proof(index: int, size: int, extra: bytes = b"") -> Proof:
    text = checkpoint(size).text()
    hashes = tuple(inclusion_proof(index, size, node))
    return Proof(index, hashes, Note(text, (LOG.sign(text),)), extra)


def test_the_specifications_example_is_read() -> None:
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    found = Checkpoint.parse(text)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.text() == text
    assert Checkpoint.parse(text + "an extension\n") == found


@given(st.integers(1, 300), st.data(), st.binary(max_size=20))
def test_a_proof_is_written_read_and_checked(size: int, data: st.DataObject, extra: bytes) -> None:
    index = data.draw(st.integers(0, size - 1))
    written = str(proof(index, size, extra))
    read = Proof.parse(written.encode())
    assert read == proof(index, size, extra)
    assert read.check(str(index).encode()) == checkpoint(size)
    assert read.checkpoint.signed_by(LOG.key)
    with pytest.raises(BrokenRecord, match="not under this root"):
        read.check(b"something else")


@given(st.integers(0, 20_000))
def test_no_bit_of_a_proof_can_be_changed(bit: int) -> None:
    data = bytearray(str(proof(5, 11)).encode())
    place = bit % (8 * len(data))
    data[place // 8] ^= 1 << place % 8
    try:
        changed = Proof.parse(bytes(data))
        changed.check(b"5")
        accepted = changed.checkpoint.signed_by(LOG.key)
    except BrokenRecord:
        return
    assert not accepted or changed == proof(5, 11)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        "a\n01\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "a\n-1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "a\n9223372036854775808\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "a\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n",  # bits that say nothing
        "a\n1\nAAAA\n",
        "a\n0\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n1\n\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BrokenRecord):
        Checkpoint.parse(text)


def test_an_empty_log_has_the_empty_root() -> None:
    assert Checkpoint.parse(Checkpoint("a", 0, EMPTY_ROOT).text()).size == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2"),
        ("index 5", "index 05"),
        ("index 5", "indices 5"),
        ("index 5\n", "index 5\n" + "A" * 43 + "=\n" * 1 + ("A" * 43 + "=\n") * 70),
        ("index 5", "extra !\nindex 5"),
    ],
)
def test_what_is_no_proof_is_refused(old: str, new: str) -> None:
    written = str(proof(5, 11))
    assert old in written
    with pytest.raises(BrokenRecord):
        Proof.parse(written.replace(old, new, 1).encode())

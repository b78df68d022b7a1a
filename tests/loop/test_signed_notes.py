from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from loop.errors import BrokenRecord, InvalidInput
from loop.signed_notes import KeyType, Note, Signer, VerifierKey

# The example of the specification.
KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFX\
mRKuwHjG1Yu72IneyaQM=
"""
LOG = Signer("example.com/log", KeyType.LOG, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
WITNESS = Signer("w.example/1", KeyType.WITNESS, Ed25519PrivateKey.from_private_bytes(b"w" * 32))
TEXT = "example.com/log\n1\nAAAA\n"


def note(*signers: Signer, text: str = TEXT, at: int = 1700000000) -> Note:
    return Note(text, tuple(signer.sign(text, at) for signer in signers))


def test_the_specifications_example_is_verified() -> None:
    parsed = Note.parse(NOTE.encode())
    assert parsed.text == "This is an example message.\n"
    assert parsed.signed_by(VerifierKey.parse(KEY))
    assert str(parsed) == NOTE
    assert str(VerifierKey.parse(KEY)) == KEY


def test_a_log_and_a_witness_sign_and_each_is_known_by_its_key() -> None:
    signed = Note.parse(str(note(LOG, WITNESS)).encode())
    assert signed.signed_by(LOG.key)
    assert signed.cosigned_at(WITNESS.key) == 1700000000
    assert VerifierKey.parse(str(WITNESS.key)) == WITNESS.key
    stranger = Signer(LOG.name, KeyType.LOG, Ed25519PrivateKey.generate())
    assert not signed.signed_by(stranger.key)
    assert note(LOG).cosigned_at(WITNESS.key) is None


def test_a_newer_signature_takes_the_place_of_the_same_keys() -> None:
    signed = note(LOG, WITNESS, at=1).with_signatures([WITNESS.sign(TEXT, 2)])
    assert len(signed.signatures) == 2
    assert signed.cosigned_at(WITNESS.key) == 2


@given(st.integers(0, 10_000))
def test_no_bit_of_a_note_can_be_changed(bit: int) -> None:
    data = bytearray(str(note(LOG, WITNESS)).encode())
    place = bit % (8 * len(data))
    data[place // 8] ^= 1 << place % 8
    try:
        changed = Note.parse(bytes(data))
        accepted = changed.signed_by(LOG.key) and changed.cosigned_at(WITNESS.key) is not None
    except BrokenRecord:
        return
    assert not accepted or changed == note(LOG, WITNESS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\n\n", "UTF-8"),
        (b"a\n", "no signatures"),
        (b"a\n\n", "no signatures"),
        (b"a\r\n\n\xe2\x80\x94 b AAAAAAAA\n", "control"),
        (b"a\n\n- b AAAAAAAA\n", "no signature"),
        (b"a\n\n\xe2\x80\x94 b\n", "no signature"),
        (b"a\n\n\xe2\x80\x94 b AAAA\n", "no signature"),
        (b"a\n\n\xe2\x80\x94 b A\n", "base64"),
        (b"a\n\n" + b"\xe2\x80\x94 b AAAAAAAA\n" * 65, "more than 64"),
    ],
)
def test_what_is_no_signed_note_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BrokenRecord, match=words):
        Note.parse(data)


def test_a_signature_that_is_too_short_is_damaged() -> None:
    name, encoded = WITNESS.name, base64.b64encode(WITNESS.key.id + b"x").decode()
    short = Note.parse(f"{TEXT}\n— {name} {encoded}\n".encode())
    with pytest.raises(BrokenRecord, match="damaged"):
        short.signed_by(WITNESS.key)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no public key"),
        ("name+00000000+AQ==", "32 bytes"),
        (KEY.replace("530d903a", "530d903b"), "another"),
        (KEY.replace("+Aek", "+B!k"), "no public key"),
        ("a b" + KEY.removeprefix("example.com/foo"), "no name"),
    ],
)
def test_a_key_that_was_not_copied_whole_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        VerifierKey.parse(text)

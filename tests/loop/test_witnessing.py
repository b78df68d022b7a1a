from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, InvalidInput
from loop.merkle import EMPTY_ROOT, Nodes, consistency_proof, leaf_hash, node_hash, root_hash
from loop.signed_notes import KeyType, Note, Signer
from loop.witnessing import Refusal, Submission, Why, WitnessAddress, cosigned

ORIGIN = "example.com/log"


def signer(seed: bytes, name: str = ORIGIN, type: KeyType = KeyType.LOG) -> Signer:
    return Signer(name, type, Ed25519PrivateKey.from_private_bytes(seed * 32))


LOG, OTHER = signer(b"l"), signer(b"o")
WITNESS = signer(b"w", "w.example/1", KeyType.WITNESS)
STRANGER = signer(b"s", "w.example/2", KeyType.WITNESS)


@lru_cache
def nodes(fork: int) -> Nodes:
    """Of the log whose entries are their numbers; from number ``fork`` on, they are others."""

    @lru_cache
    def node(level: int, index: int) -> bytes:
        if level == 0:
            return leaf_hash(f"{index}{'!' if index >= fork else ''}".encode())
        return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    return node


HONEST = 10**6  # no fork that anybody reaches


def checkpoint(size: int, *signers: Signer, fork: int = HONEST, root: bytes = b"") -> Note:
    text = Checkpoint(ORIGIN, size, root or root_hash(size, nodes(fork))).text()
    return Note(text, tuple(each.sign(text, 1) for each in signers or (LOG,)))


def submission(old: int, size: int, fork: int = HONEST) -> Submission:
    proof = consistency_proof(old, size, nodes(fork)) if old <= size else []
    return Submission(old, tuple(proof), checkpoint(size, fork=fork))


def answer(asked: Submission, last: Note | None = None) -> Note:
    return cosigned(asked, last=last, logs=[LOG.key], witness=WITNESS, at=1700000000)


def why(asked: Submission, last: Note | None = None) -> Why:
    with pytest.raises(Refusal) as refused:
        answer(asked, last)
    return refused.value.why


FORKS = [0, 1, 3, 8, 15, HONEST]
ASKED = st.tuples(
    st.integers(0, 4) | st.integers(0, 30),  # more entries than were cosigned, or as many in all
    st.booleans(),
    st.none() | st.integers(0, 30),  # the old size that it names; None: the right one
    st.sampled_from(FORKS),  # where the log forks
    st.none() | st.sampled_from(FORKS),  # where the log does that is proven; None: this one
)


@given(st.lists(ASKED, max_size=30))
def test_only_growth_is_ever_cosigned_in_whatever_order_it_is_asked(
    asked: list[tuple[int, bool, int | None, int, int | None]],
) -> None:
    last, size, fork = None, 0, HONEST
    for count, on_top, named, of, other in asked:
        new, old = size + count if on_top else count, size if named is None else named
        proof_of = of if other is None else other
        proof = consistency_proof(old, new, nodes(proof_of)) if old <= new else []
        # By the entries themselves, not by any proof: is the old log the beginning of this one?
        goes_on = size <= new and (size <= min(of, fork) or of == fork)
        try:
            last = answer(Submission(old, tuple(proof), checkpoint(new, fork=of)), last)
        except Refusal:
            assert not goes_on or old != size or proof_of != of
            continue
        assert goes_on
        assert old == size
        size, fork = new, of


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_a_log_that_grows_is_cosigned_at_every_size(one: int, two: int, three: int) -> None:
    last, before = None, 0
    for size in sorted([one, two, three]):
        last = answer(submission(before, size), last)
        assert last.signed_by(LOG.key)
        assert last.cosigned_at(WITNESS.key) == 1700000000
        before = size


@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 39))
def test_every_fork_of_what_was_cosigned_is_refused(old: int, more: int, fork: int) -> None:
    last = answer(submission(0, old + 1))
    fork = min(fork, old)
    forked = submission(old + 1, old + 1 + more, fork=fork)
    assert why(forked, last) is Why.INCONSISTENT
    honest_proof = replace(forked, proof=submission(old + 1, old + 1 + more).proof)
    assert why(honest_proof, last) is Why.INCONSISTENT
    assert why(submission(old + 1, old + 1, fork=fork), last) is Why.INCONSISTENT


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (submission(0, 12), Why.OTHER_SIZE),
        (submission(0, 9), Why.OTHER_SIZE),
        (submission(9, 9), Why.OTHER_SIZE),
        (submission(0, 0), Why.OTHER_SIZE),
        (submission(11, 12), Why.OTHER_SIZE),
        (submission(10, 9), Why.MALFORMED),
        (replace(submission(10, 12), proof=()), Why.INCONSISTENT),
        (replace(submission(10, 10), proof=(b"x" * 32,)), Why.INCONSISTENT),
        (submission(10, 10, fork=9), Why.INCONSISTENT),
    ],
)
def test_after_ten_entries(asked: Submission, wanted: Why) -> None:
    last = answer(submission(0, 10))
    assert why(asked, last) is wanted
    with pytest.raises(Refusal) as refused:
        answer(asked, last)
    assert refused.value.size == (10 if wanted is Why.OTHER_SIZE else 0)
    assert refused.value.signed == asked.checkpoint
    assert answer(submission(10, 10), last) == last  # asked again, it is said again


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (submission(1, 2), Why.OTHER_SIZE),
        (replace(submission(0, 2), proof=(b"x" * 32,)), Why.INCONSISTENT),
        (Submission(0, (), checkpoint(0, root=b"x" * 32)), Why.INCONSISTENT),
        (Submission(0, (), checkpoint(2, OTHER)), Why.NOT_SIGNED),
        (Submission(0, (), Note(f"{ORIGIN}\n2\nAAAA\n", ())), Why.NOT_SIGNED),
    ],
)
def test_before_the_first(asked: Submission, wanted: Why) -> None:
    assert why(asked) is wanted


def test_the_empty_log_is_one_that_everything_goes_on_from() -> None:
    empty = answer(submission(0, 0))
    assert Checkpoint.parse(empty.text).root == EMPTY_ROOT
    assert Checkpoint.parse(answer(submission(0, 3), empty).text).size == 3


def test_a_log_that_is_not_known_is_not_asked_for_its_signature() -> None:
    with pytest.raises(Refusal) as refused:
        cosigned(submission(0, 3), last=None, logs=[], witness=WITNESS, at=1)
    assert refused.value.why is Why.UNKNOWN_LOG


def test_a_text_that_is_no_checkpoint_is_malformed_although_it_is_signed() -> None:
    text = f"{ORIGIN}\n02\n{base64.b64encode(EMPTY_ROOT).decode()}\n"
    assert why(Submission(0, (), Note(text, (LOG.sign(text),)))) is Why.MALFORMED


def test_a_signature_in_a_trusted_name_that_is_none_spoils_the_note() -> None:
    good = checkpoint(3)
    wrong = replace(good.signatures[0], value=b"x" * 64)
    spoilt = Note(good.text, (*good.signatures, wrong))
    assert why(Submission(0, (), spoilt)) is Why.NOT_SIGNED


def test_nothing_is_passed_on_that_was_not_verified() -> None:
    note = checkpoint(3, STRANGER, LOG, LOG, OTHER)
    found = answer(Submission(0, (), note))
    assert [each.key_id for each in found.signatures] == [LOG.key.id, WITNESS.key.id]


def test_of_two_keys_that_are_trusted_for_a_log_one_is_enough() -> None:
    asked = Submission(0, (), checkpoint(3, OTHER))
    keys = [LOG.key, OTHER.key]
    found = cosigned(asked, last=None, logs=keys, witness=WITNESS, at=1)
    assert found.signed_by(OTHER.key)


def test_the_specifications_example_is_read_and_written_as_it_stands() -> None:
    text = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGz\
Gku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEj\
w6QUXTS5Rovnzv++qbSzm9Q=
"""
    found = Submission.parse(text.encode())
    assert (found.old, len(found.proof)) == (20852014, 4)
    assert found.origin == "example.com/behind-the-sofa"
    assert str(found) == text


@given(st.integers(0, 50), st.integers(0, 50))
def test_what_is_written_is_read_again(one: int, two: int) -> None:
    asked = submission(min(one, two), max(one, two))
    assert Submission.parse(str(asked).encode()) == asked


WHOLE = str(submission(3, 10))


@pytest.mark.parametrize(
    "changed",
    [
        lambda text: "",
        lambda text: text.replace("old 3", "old 03"),
        lambda text: text.replace("old 3", "old -3"),
        lambda text: text.replace("old 3", "old  3"),
        lambda text: text.replace("old 3", "old 3 "),
        lambda text: text.replace("old 3", "Old 3"),
        lambda text: text.replace("old 3", "old ³"),
        lambda text: text.replace("old 3", f"old {2**63}"),
        lambda text: text.removeprefix("old 3\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n\n", "\n", 1),
        lambda text: text.replace("\n\n", "\nAAAA\n\n", 1),
        lambda text: text.replace("\n\n", "\n" + "=" * 44 + "\n\n", 1),
        lambda text: text.replace("\n\n", ("\n" + "A" * 43 + "=") * 60 + "\n\n", 1),
        lambda text: text.removesuffix("\n"),
        lambda text: text.split("\n\n")[0] + "\n\n",
        lambda text: text + "more\n",
    ],
)
def test_what_is_not_to_the_letter_is_malformed(changed: Callable[[str], str]) -> None:
    data = changed(WHOLE).encode()
    assert data != WHOLE.encode()
    with pytest.raises(Refusal) as refused:
        Submission.parse(data)
    assert refused.value.why is Why.MALFORMED


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_to_be_refused(data: bytes) -> None:
    with pytest.raises(Refusal):
        answer(Submission.parse(b"old 0\n\n" + data))


@given(st.integers(0, 10_000))
def test_no_bit_of_what_is_cosigned_can_be_changed(bit: int) -> None:
    last, asked = answer(submission(0, 3)), bytearray(WHOLE.encode())
    place = bit % (8 * len(asked))
    asked[place // 8] ^= 1 << place % 8
    try:
        found = answer(Submission.parse(bytes(asked)), last)
    except (Refusal, BrokenRecord):
        return
    assert found == answer(submission(3, 10), last)


def test_where_a_witness_is_asked_is_said_with_its_key() -> None:
    found = WitnessAddress.parse(f" https://w.example:8266/a/  {WITNESS.key} ")
    assert found == WitnessAddress("https://w.example:8266/a", WITNESS.key)
    assert WitnessAddress.parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no witness"),
        ("https://w.example", "no witness"),
        (str(WITNESS.key), "no witness"),
        (f"w.example {WITNESS.key}", "no witness"),
        (f"https://w.example?a {WITNESS.key}", "no witness"),
        (f"https://w.example {LOG.key}", "that of a log"),
        ("https://w.example name+00000000+AQ==", "32 bytes"),
    ],
)
def test_what_is_no_witness_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        WitnessAddress.parse(text)

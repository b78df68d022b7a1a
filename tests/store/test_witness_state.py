from __future__ import annotations

import hashlib
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, InvalidInput, Misconfigured, Unavailable
from loop.merkle import root_hash
from loop.signed_notes import Note
from loop.witnessing import Refusal, Submission, Why
from store import private_files
from store.witness_state import Witness, open_witness, witness_signer
from tests.loop.test_witnessing import HONEST, LOG, ORIGIN, WITNESS, nodes, submission

ORIGIN_SHA256 = hashlib.sha256(ORIGIN.encode()).hexdigest()
STATE = "checkpoints.json"


class Book:
    """The cosignatures that left a witness, each with the log that they were of."""

    def __init__(self) -> None:
        self.issued: list[tuple[Checkpoint, int]] = []

    def ask(self, witness: Witness, old: int, new: int, fork: int = HONEST) -> bool:
        try:
            note = witness.add_checkpoint(str(submission(old, new, fork)).encode())
        except Refusal:
            return False
        assert note.cosigned_at(witness.key)
        self.issued.append((Checkpoint.parse(note.text), fork))
        return True

    def check(self) -> None:
        """That each tree is the beginning of the next one, by its entries."""
        for (before, _), (after, fork) in itertools.pairwise(self.issued):
            assert before.size <= after.size
            assert before.root == root_hash(before.size, nodes(fork))


def opened(folder: Path) -> Any:
    return open_witness(folder, [LOG.key], "w.example/1")


def size(witness: Witness) -> int | None:
    note = witness.checkpoint(ORIGIN_SHA256)
    return Checkpoint.parse(note.text).size if note else None


def test_what_was_cosigned_is_still_known_after_a_restart(tmp_path: Path) -> None:
    book = Book()
    with opened(tmp_path) as witness:
        assert size(witness) is None
        assert book.ask(witness, 0, 10)
        key = witness.key
    with open_witness(tmp_path, [LOG.key]) as witness:
        assert (witness.key, size(witness)) == (key, 10)
        assert not book.ask(witness, 0, 12)
        assert not book.ask(witness, 10, 12, fork=9)
        assert book.ask(witness, 10, 12)
        note = witness.checkpoint(ORIGIN_SHA256)
        assert note is not None
        assert note.signed_by(LOG.key)
        assert note.cosigned_at(key)
        assert witness.checkpoint("0" * 64) is None
    assert [each.size for each, _ in book.issued] == [10, 12]


def test_a_log_whose_key_is_not_accepted_any_more_is_not_forgotten(tmp_path: Path) -> None:
    book = Book()
    with opened(tmp_path) as witness:
        assert book.ask(witness, 0, 10)
    with open_witness(tmp_path, []) as witness:
        assert size(witness) == 10
        with pytest.raises(Refusal) as refused:
            witness.add_checkpoint(str(submission(10, 12)).encode())
        assert refused.value.why is Why.UNKNOWN_LOG
    with opened(tmp_path) as witness:
        assert not book.ask(witness, 0, 3)


def test_only_their_owner_may_read_what_is_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "witness"
    with opened(folder) as witness:
        Book().ask(witness, 0, 1)
    assert {path.name for path in folder.iterdir()} == {"witness.key", STATE}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_only_one_process_has_the_folder(tmp_path: Path) -> None:
    with opened(tmp_path):
        with pytest.raises(Misconfigured, match="Another process"), opened(tmp_path):
            pass
        assert witness_signer(tmp_path).name == "w.example/1"  # which only looks
    with opened(tmp_path):
        pass


def test_of_many_at_once_one_is_cosigned(tmp_path: Path) -> None:
    count, book = 8, Book()
    start = threading.Barrier(count)
    with opened(tmp_path) as witness:
        book.ask(witness, 0, 10)

        def ask(place: int) -> bool:
            start.wait()
            return book.ask(witness, 10, 20 + place, fork=11 + place)

        with ThreadPoolExecutor(count) as threads:
            assert sum(threads.map(ask, range(count))) == 1
        assert size(witness) == book.issued[-1][0].size


class Crash(Exception):
    pass


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, at: int, error: Exception) -> Iterator[list[str]]:
    """The call number ``at`` of those that change the disk raises ``error``; of a write, half of
    the bytes are there."""
    calls: list[str] = []

    def counted(name: str, real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) - 1 == at:
                if name == "draft":
                    path, data, _ = arguments
                    path.with_name(f".{path.name}.1.half").write_bytes(data[: len(data) // 2])
                raise error
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(private_files, "_draft", counted("draft", private_files._draft))
        patched.setattr(os, "fsync", counted("fsync", os.fsync))
        patched.setattr(Path, "replace", counted("rename", Path.replace))
        yield calls


WRITES = ["draft", "fsync", "rename", "fsync"]


def test_it_is_on_the_disk_before_the_cosignature_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as witness, failing(monkeypatch, -1, Crash()) as calls:
        assert Book().ask(witness, 0, 10)
        assert calls == WRITES


def everything(book: Book, witness: Witness, forks: list[int]) -> None:
    """Ask for whatever somebody who holds the log's key might wish to have cosigned."""
    for fork, new, old in itertools.product(forks, range(8, 24), (0, 10, 20)):
        if old <= new:
            book.ask(witness, old, new, fork)


@pytest.mark.parametrize("forks", [[5, 12, HONEST], [HONEST, 12, 5]])
@pytest.mark.parametrize("at", range(len(WRITES) + 1))
def test_wherever_it_is_killed_it_cosigns_no_two_trees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, forks: list[int]
) -> None:
    book, state = Book(), tmp_path / STATE
    with opened(tmp_path) as witness:
        book.ask(witness, 0, 10)
        before = state.read_bytes()
        with failing(monkeypatch, at, Crash()) as calls:
            try:
                assert book.ask(witness, 10, 20)
            except Crash:
                assert calls == WRITES[: at + 1]
    with opened(tmp_path) as witness:
        assert size(witness) == (20 if at > WRITES.index("rename") else 10)
        assert not list(tmp_path.glob(f".{STATE}*"))
    if at < len(WRITES):
        # The new name was not on the disk yet: after a power cut the old one may be there.
        state.write_bytes(before)
    with opened(tmp_path) as witness:
        everything(book, witness, forks)
    book.check()
    assert len(book.issued) > 2


@pytest.mark.parametrize("forks", [[5, 12, HONEST], [HONEST, 12, 5]])
@pytest.mark.parametrize("at", range(len(WRITES)))
def test_a_disk_that_does_not_take_it_is_told_and_nothing_is_cosigned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, forks: list[int]
) -> None:
    book = Book()
    with opened(tmp_path) as witness:
        book.ask(witness, 0, 10)
        with failing(monkeypatch, at, OSError(28, "No space left on device")):
            with pytest.raises(Unavailable, match="No space left on device"):
                book.ask(witness, 10, 20)
            assert size(witness) == 10
        assert not list(tmp_path.glob(f".{STATE}*"))
        everything(book, witness, forks)
    with opened(tmp_path) as witness:
        everything(book, witness, forks)
    book.check()
    assert len(book.issued) > 2


@pytest.mark.parametrize("at", range(8))
def test_wherever_its_first_start_is_killed_it_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    with failing(monkeypatch, at, Crash()) as calls:
        try:
            witness_signer(tmp_path, "w.example/1")
        except Crash:
            assert len(calls) == at + 1
        else:
            assert at == len(calls)
    with opened(tmp_path) as witness:
        assert Book().ask(witness, 0, 1)


@hypothesis_settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_a_bit_that_flips_in_the_state_is_noticed_or_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("witness")
    with opened(folder) as witness:
        Book().ask(witness, 0, 10)
        text = witness.checkpoint(ORIGIN_SHA256)
    state = folder / STATE
    data = bytearray(state.read_bytes())
    place = bit % (8 * len(data))
    data[place // 8] ^= 1 << place % 8
    state.write_bytes(data)
    try:
        with opened(folder) as witness:
            found = witness.checkpoint(ORIGIN_SHA256)
    except BrokenRecord as error:
        assert "damaged" in error.message
        return
    assert found is not None
    assert text is not None
    assert found.text == text.text


def other_origin(data: bytes) -> bytes:
    return json.dumps({"example.com/other": json.loads(data)[ORIGIN]}).encode()


def not_cosigned(data: bytes) -> bytes:
    note = Note.parse(json.loads(data)[ORIGIN].encode())
    strange = Note(note.text, (*note.signatures[:1], WITNESS.sign(note.text, 1)))
    return json.dumps({ORIGIN: str(strange)}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"[]",
        lambda data: b"null",
        lambda data: b'{"a": 3}',
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff" + data,
        other_origin,
        not_cosigned,
    ],
)
def test_a_damaged_state_is_never_begun_anew(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    with opened(tmp_path) as witness:
        Book().ask(witness, 0, 10)
    state = tmp_path / STATE
    damaged = damage(state.read_bytes())
    state.write_bytes(damaged)
    with pytest.raises(BrokenRecord, match="damaged") as refused, opened(tmp_path):
        pass
    assert "a new key" in refused.value.hint
    assert state.read_bytes() == damaged


@pytest.mark.parametrize("name", [STATE, "witness.key"])
def test_a_file_that_is_gone_is_never_made_anew(tmp_path: Path, name: str) -> None:
    with opened(tmp_path) as witness:
        Book().ask(witness, 0, 10)
    (tmp_path / name).unlink()
    with pytest.raises(BrokenRecord, match="gone"), opened(tmp_path):
        pass
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PRIVATE+KEY+w.example/1+00000000+BAAA",
        "PRIVATE+KEY+w.example/1+00000000+B!",
        "PRIVATE+KEY+w.example/1+00000000+" + "A" * 44,
        "PRIVATE+KEY+two words+00000000+" + "A" * 44,
        str(WITNESS.key),
        "\udcff",
    ],
)
def test_a_key_that_is_none_is_not_replaced(tmp_path: Path, text: str) -> None:
    witness_signer(tmp_path, "w.example/1")
    key = tmp_path / "witness.key"
    key.write_text(text, errors="surrogateescape")
    with pytest.raises(Misconfigured, match="not the private key"):
        witness_signer(tmp_path)
    assert key.read_text(errors="surrogateescape") == text


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    witness_signer(tmp_path)
    (tmp_path / "witness.key").chmod(0o640)
    with pytest.raises(Misconfigured, match="Others may read"):
        witness_signer(tmp_path)


def test_a_witness_keeps_its_name(tmp_path: Path) -> None:
    assert witness_signer(tmp_path).name.endswith("/witness")
    with pytest.raises(Misconfigured, match="is named"):
        witness_signer(tmp_path, "w.example/2")
    with pytest.raises(InvalidInput, match="no name"):
        witness_signer(tmp_path / "other", "two words")


def test_a_folder_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="cannot be used"):
        witness_signer(tmp_path / "file" / "below")


def test_a_witness_takes_keys_of_logs(tmp_path: Path) -> None:
    with (
        pytest.raises(Misconfigured, match="takes keys of logs"),
        open_witness(tmp_path, [WITNESS.key]),
    ):
        pass


def test_what_is_no_request_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as witness:
        before = (tmp_path / STATE).read_bytes()
        with pytest.raises(Refusal):
            witness.add_checkpoint(str(Submission(0, (), Note("", ()))).encode())
    assert (tmp_path / STATE).read_bytes() == before

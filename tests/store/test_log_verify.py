from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, LoopError
from loop.signed_notes import KeyType, Note, Signer, VerifierKey
from store import log_verify
from store.audit_log import AuditLog
from store.database import open_engine
from store.log_files import LogFiles
from store.log_verify import check_signatures, verify_files
from tests.store.logs import an_event, log_in, put, sqlite_log, waiting
from tests.store.test_log_files import LOG, grow

SIZE = 300  # more than a bundle


def signed(files: LogFiles, size: int, root: bytes, signer: Signer = LOG) -> Note:
    text = Checkpoint(signer.name, size, root).text()
    return Note(text, (signer.sign(text),))


def written(folder: Path, entries: list[bytes]) -> LogFiles:
    files = LogFiles(folder)
    files.publish(signed(files, len(entries), files.append(0, entries)))
    return files


def entries(size: int) -> list[bytes]:
    return [an_event(number).canonical() for number in range(size)]


def detection(files: LogFiles, key: VerifierKey = LOG.key) -> str:
    with pytest.raises(BrokenRecord) as caught:
        verify_files(files, key)
    return caught.value.message


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 600])
def test_a_clean_log_passes(tmp_path: Path, size: int) -> None:
    told: list[tuple[int, int]] = []
    files = written(tmp_path, entries(size))
    found = verify_files(files, LOG.key, progress=lambda done, of: told.append((done, of)))
    assert (found.size, found.cosigned) == (size, {})
    assert told[-1] == (size, size)


def test_a_large_log_is_checked_by_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = LogFiles(tmp_path)
    grow(files, 0, 256 * 130 + 5)
    monkeypatch.setattr(log_verify, "_CHUNK", 16)
    assert verify_files(files, LOG.key, processes=2).size == 256 * 130 + 5
    bundle = tmp_path / "tile/entries/100"
    data = bytearray(bundle.read_bytes())
    data[-1] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(BrokenRecord, match=f"Entry {101 * 256 - 1} was changed"):
        verify_files(files, LOG.key, processes=2)


def test_no_bit_of_any_file_can_be_flipped(tmp_path: Path) -> None:
    files = written(tmp_path, entries(2))
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(paths) == 3
    for path in paths:
        whole = path.read_bytes()
        for place in range(len(whole)):
            for bit in range(8):
                data = bytearray(whole)
                data[place] ^= 1 << bit
                path.write_bytes(data)
                detection(files)
        path.write_bytes(whole)
    assert verify_files(files, LOG.key).size == 2


@pytest.mark.parametrize("index", [0, 1, 255, 256, 299])
def test_the_changed_entry_is_named(tmp_path: Path, index: int) -> None:
    whole = entries(SIZE)
    files = written(tmp_path / "log", whole)
    whole[index] = whole[index].replace(b"happened", b"appeared")
    other = written(tmp_path / "other", whole)
    shutil.rmtree(files.folder / "tile/entries")
    shutil.copytree(other.folder / "tile/entries", files.folder / "tile/entries")
    assert f"Entry {index} was changed" in detection(files)
    shutil.rmtree(files.folder / "tile/0")
    shutil.copytree(other.folder / "tile/0", files.folder / "tile/0")
    first = index // 256 * 256
    expected = f"from {first} to {first + 255}" if first == 0 else "from some entry on"
    assert expected in detection(files)


Forgery = Callable[[list[bytes]], list[bytes]]


@st.composite
def forgeries(draw: st.DrawFn) -> Forgery:
    place = draw(st.integers(0, SIZE - 1))
    other = draw(st.integers(0, SIZE - 1).filter(lambda index: index != place))
    new = an_event(draw(st.integers(1000, 9999))).canonical()
    bit = draw(st.integers(0, 7))
    kinds: dict[str, Forgery] = {
        "flip": lambda log: [*log[:place], _flipped(log[place], bit), *log[place + 1 :]],
        "change": lambda log: [*log[:place], new, *log[place + 1 :]],
        "delete": lambda log: log[:place] + log[place + 1 :],
        "insert": lambda log: [*log[:place], new, *log[place:]],
        "swap": lambda log: [
            log[other] if at == place else log[place] if at == other else entry
            for at, entry in enumerate(log)
        ],
        "cut": lambda log: log[:place],
        "repeat": lambda log: [*log, log[place]],
    }
    return kinds[draw(st.sampled_from(sorted(kinds)))]


def _flipped(entry: bytes, bit: int) -> bytes:
    data = bytearray(entry)
    data[len(data) // 2] ^= 1 << bit
    return bytes(data)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> LogFiles:
    return written(tmp_path_factory.mktemp("log"), entries(SIZE))


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(forge=forgeries(), retiled=st.booleans(), resized=st.booleans())
def test_whatever_is_changed_without_the_key_is_noticed(
    genuine: LogFiles,
    tmp_path_factory: pytest.TempPathFactory,
    forge: Forgery,
    retiled: bool,
    resized: bool,
) -> None:
    folder = tmp_path_factory.mktemp("forged")
    log = list(genuine.entries(SIZE))
    made = written(folder / "made", forge(log))
    forged = LogFiles(folder / "log")
    shutil.copytree(genuine.folder, forged.folder)
    for part in ["tile/entries", "tile"] if retiled else ["tile/entries"]:
        shutil.rmtree(forged.folder / part, ignore_errors=True)
        if (made.folder / part).exists():
            shutil.copytree(made.folder / part, forged.folder / part)
    if resized:  # what the forger would like to have signed, under the old signature
        note, wish = genuine.checkpoint(), made.checkpoint()
        assert note is not None
        assert wish is not None
        forged.publish(Note(wish.text, note.signatures))
    detection(forged)


def test_another_key_another_name_and_no_checkpoint_are_noticed(tmp_path: Path) -> None:
    files = written(tmp_path, entries(3))
    other = Signer("example.com/other", KeyType.LOG, LOG.private)
    assert "of example.com/log" in detection(files, other.key)
    thief = Signer("example.com/log", KeyType.LOG, Ed25519PrivateKey.generate())
    assert "not signed with the key" in detection(files, thief.key)
    (tmp_path / "checkpoint").unlink()
    assert "no checkpoint" in detection(files)


def test_a_witness_must_have_signed(tmp_path: Path) -> None:
    files = written(tmp_path, entries(3))
    witness = Signer("witness.example.org", KeyType.WITNESS, Ed25519PrivateKey.generate())
    note = files.checkpoint()
    assert note is not None
    with pytest.raises(BrokenRecord, match=r"witness\.example\.org has not signed"):
        check_signatures(note, LOG.key, [witness.key])
    cosigned = note.with_signatures([witness.sign(note.text, 1_700_000_000)])
    found = check_signatures(cosigned, LOG.key, [witness.key])
    assert found == {"witness.example.org": 1_700_000_000}


# Killed at random, while others write


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[AuditLog]:
    log = sqlite_log(tmp_path, 3)
    yield log
    log.rows.engine.dispose()


def _work(folder: Path, first: int, told: int) -> None:
    """Acts and has it logged until it is killed; writes the number of each act that was
    acknowledged down a pipe."""
    engine = open_engine(f"sqlite:///{folder}/second-look.db")
    log = log_in(folder, engine)
    for number in range(first, first + 10_000):
        put(engine, number)
        os.write(told, number.to_bytes(8, "big"))
        if number % 3 == 0:
            log.integrate()


@pytest.mark.slow
def test_of_200_kills_none_loses_an_acknowledged_event(busy: AuditLog, tmp_path: Path) -> None:
    chance, acknowledged = random.Random(7), {0, 1, 2}
    busy.rows.engine.dispose()
    for kill in range(200):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                _work(tmp_path, 10_000 * (kill + 1), writing)
            finally:
                os._exit(1)
        os.close(writing)
        told = b""
        while len(told) < 3 * 8:  # it has integrated once, at least
            told += os.read(reading, 8)
        time.sleep(chance.uniform(0, 0.08))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while some := os.read(reading, 8000):
            told += some
        os.close(reading)
        assert len(told) % 8 == 0
        acknowledged |= {int.from_bytes(told[at : at + 8], "big") for at in range(0, len(told), 8)}
        if kill % 20 == 0:
            _check_all(busy, acknowledged)
    _check_all(busy, acknowledged)
    assert len(acknowledged) >= 3 * 200


def _check_all(log: AuditLog, acknowledged: set[int]) -> None:
    log.integrate()
    assert waiting(log.rows.engine) == 0
    found = [entry.event.subject["number"] for entry in log.tail(1_000_000)]
    assert len(found) == len(set(found)) == log.verify().size
    # What was committed just before the kill may not have been told any more.
    assert acknowledged <= set(found)
    assert len(set(found) - acknowledged) <= 200
    log.rows.engine.dispose()


def test_a_log_whose_files_are_damaged_is_not_added_to(busy: AuditLog) -> None:
    bundle = busy.files.folder / "tile/entries/000.p/3"
    bundle.write_bytes(bundle.read_bytes().replace(b"happened", b"appeared", 1))
    put(busy.rows.engine, 3)
    with pytest.raises(LoopError, match="does not hold the entries"):
        busy.integrate()
    assert "Entry 0 was changed" in detection(busy.files, busy.key.signer().key)

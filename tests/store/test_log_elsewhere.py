from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from loop.errors import BrokenRecord, LoopError, Misconfigured, NotFound, Unavailable
from loop.signed_notes import KeyType, Signer
from store import audit_log, log_elsewhere, log_lease
from store.audit_log import AuditLog
from store.database import migrate, open_engine
from store.log_export import export_log
from store.log_role import LogRole
from store.objects import Objects
from store.unit_of_work import units_of_work
from tests.s3 import S3Server, open_bucket
from tests.store.homes import MemoryObjects, log_of, small_changes
from tests.store.logs import an_event, numbers_in, put, waiting

HERE, ELSEWHERE, AUTO = LogRole.HERE, LogRole.ELSEWHERE, LogRole.AUTO


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "_WAIT_SECONDS", 0.3)
    monkeypatch.setattr(log_elsewhere, "_WAIT_SECONDS", 0.3)
    monkeypatch.setattr(log_elsewhere, "_LEAST_PAUSE_SECONDS", 0.05)


class Pair:
    """The process that has the log, and one that has not."""

    def __init__(self, folder: Path, engine: Engine, objects: Objects) -> None:
        self.engine, self.objects, self.folder = engine, objects, folder
        self.here = log_of(folder / "here", engine, objects, HERE)
        self.far = self.another()

    def another(self, name: str = "far") -> AuditLog:
        return log_of(self.folder / name, self.engine, self.objects, ELSEWHERE)

    def grow(self, *numbers: int) -> None:
        put(self.engine, *numbers)
        self.here.integrate()
        assert self.here.mirror is not None
        self.here.mirror.sync()


@pytest.fixture
def pair(engine: Engine, tmp_path: Path) -> Pair:
    return Pair(tmp_path, engine, MemoryObjects())


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_whoever_starts_first_only_the_one_that_has_the_log_makes_files(
    tmp_path: Path, order: tuple[int, ...], sqlite_engine: Engine
) -> None:
    engine, objects = sqlite_engine, MemoryObjects()
    roles = (HERE, ELSEWHERE, ELSEWHERE)
    # Whatever lies in their homes.
    (tmp_path / "1" / "log").mkdir(parents=True)
    for number in order:
        log = log_of(tmp_path / str(number), engine, objects, roles[number])
        with units_of_work(engine, log)() as uow:
            uow.record(an_event(number))
            uow.commit()
        try:
            log.integrate()
        except Unavailable as error:
            assert roles[number] is ELSEWHERE
            assert "stands still" in error.message
            assert not log.failure()
    assert files_below(tmp_path / "1") == {"log"}
    assert not (tmp_path / "2").exists()
    here = log_of(tmp_path / "0", engine, objects, HERE)
    assert sorted(numbers_in(here)) == [0, 1, 2]
    assert here.verify().size == 3


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Engine:
    engine = open_engine(f"sqlite:///{tmp_path}/roles.db")
    migrate(engine)
    return engine


def test_another_log_in_the_home_is_not_taken_for_its_own(pair: Pair, tmp_path: Path) -> None:
    other = log_of(tmp_path / "far", pair.engine, None, HERE)
    put(pair.engine, 0)
    other.integrate()
    before = files_below(tmp_path / "far")
    assert not pair.far.is_here()
    with pytest.raises(LoopError):
        pair.far.prove(0)
    with pytest.raises(Misconfigured):
        pair.far.reindex()
    assert files_below(tmp_path / "far") == before


def test_an_empty_folder_is_no_log(engine: Engine, tmp_path: Path) -> None:
    one = log_of(tmp_path / "one", engine, None, AUTO)
    (tmp_path / "two" / "log").mkdir(parents=True)
    two = log_of(tmp_path / "two", engine, None, AUTO)
    put(engine, 0)
    one.integrate()
    put(engine, 1)
    with pytest.raises(Unavailable, match="stands still"):
        two.integrate()
    assert one.integrate() == 1
    assert two.head().size == 2
    assert not two.failure()
    assert files_below(tmp_path / "two") == {"log"}


def test_of_two_that_begin_it_at_once_one_leaves_it_to_the_other(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (log_of(tmp_path / name, engine, None, AUTO) for name in ("one", "two"))
    put(engine, 0)
    real = log_lease.lease

    def late(*arguments: object) -> object:
        monkeypatch.setattr(audit_log, "lease", real)
        one.integrate()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(audit_log, "lease", late)
    two.integrate()
    assert numbers_in(two) == [0]
    assert not (tmp_path / "two" / "log").exists()
    assert not one.failure()


@pytest.mark.parametrize("gone", ["log", "keys"])
def test_who_has_the_log_says_what_is_missing(pair: Pair, tmp_path: Path, gone: str) -> None:
    pair.grow(0)
    (tmp_path / "here" / gone).rename(tmp_path / "hidden")
    put(pair.engine, 1)
    with pytest.raises(LoopError) as caught:
        pair.here.integrate()
    assert isinstance(caught.value, BrokenRecord if gone == "log" else Misconfigured)
    assert "elsewhere" in caught.value.hint
    assert not (tmp_path / "here" / gone).exists()
    (tmp_path / "hidden").rename(tmp_path / "here" / gone)
    assert pair.here.integrate() == 1


def test_proofs_and_checks_are_made_from_the_bucket(pair: Pair, tmp_path: Path) -> None:
    assert pair.far.verify().size == 0
    with pytest.raises(NotFound):
        pair.far.checkpoint()
    pair.grow(*range(5))
    key = pair.here.public_key()
    assert pair.far.public_key() == key
    for index in range(5):
        proof = pair.far.prove(index)
        assert proof.checkpoint.signed_by(key)
        assert proof.check(pair.far.get(index).data).size == 5
    for index in (-1, 5):
        with pytest.raises(NotFound):
            pair.far.prove(index)
    assert str(pair.far.checkpoint()) == str(pair.here.checkpoint())
    assert pair.far.verify().root == pair.here.verify().root
    assert export_log(pair.far, tmp_path / "out").size == 5
    assert pair.far.cosign() == {}
    assert files_below(tmp_path / "far") == {"keys", "keys/log-elsewhere.vkey"}


def test_a_copy_of_many_entries_is_checked_in_a_real_bucket(
    tmp_path: Path, s3: S3Server, sqlite_engine: Engine
) -> None:
    pair = Pair(tmp_path, sqlite_engine, open_bucket(s3.bucket()))
    pair.grow(*range(600))
    assert pair.far.verify().size == 600
    assert pair.far.prove(300).check(pair.far.get(300).data).size == 600


def test_a_proof_waits_for_the_copy_and_says_so_where_it_does_not_come(pair: Pair) -> None:
    pair.grow(0)
    put(pair.engine, 1)
    pair.here.integrate()
    with pytest.raises(Unavailable, match="not yet the 2"):
        pair.far.prove(1)
    assert not pair.far.failure()  # the log itself is in order
    assert pair.here.mirror is not None
    pair.here.mirror.sync()
    assert pair.far.prove(1).index == 1


def test_a_byte_that_is_changed_in_the_bucket_is_found(
    tmp_path: Path, sqlite_engine: Engine
) -> None:
    objects = MemoryObjects()
    pair = Pair(tmp_path, sqlite_engine, objects)
    pair.grow(*range(258))
    intact = dict(objects.held)
    assert {name.removeprefix("log/").rpartition("/")[0] for name in intact} == {
        *("", "tile/0", "tile/0/001.p", "tile/1/000.p", "tile/entries", "tile/entries/001.p"),
    }
    for name, changed in small_changes(intact).items():
        objects.held = changed
        with pytest.raises(BrokenRecord):
            pair.another(f"checks {name}".replace("/", "-")).verify()
    objects.held = dict(intact)
    assert pair.far.verify().size == 258


@pytest.mark.parametrize("name", ["tile/0/001.p/2", "tile/1/000.p/1", "checkpoint"])
def test_a_proof_of_what_was_changed_is_none_until_it_is_mended(
    tmp_path: Path, sqlite_engine: Engine, name: str
) -> None:
    objects = MemoryObjects()
    pair = Pair(tmp_path, sqlite_engine, objects)
    pair.grow(*range(258))
    intact = dict(objects.held)
    objects.held = small_changes(intact)[f"log/{name}"]
    with pytest.raises(BrokenRecord):
        pair.far.prove(256)
    objects.held = intact
    assert pair.far.prove(256).index == 256


def test_another_key_is_not_believed(pair: Pair, tmp_path: Path) -> None:
    pair.grow(0)
    stranger = Signer("another/log", KeyType.LOG, Ed25519PrivateKey.generate()).key
    given = log_of(tmp_path / "given", pair.engine, pair.objects, ELSEWHERE, stranger)
    with pytest.raises(BrokenRecord, match="another/log"):
        given.prove(0)
    own = log_of(tmp_path / "here", pair.engine, pair.objects, HERE, stranger)
    with pytest.raises(BrokenRecord, match="SECONDLOOK_AUDIT_KEY"):
        own.public_key()
    # A bucket that is another log's from the beginning disagrees with the database,
    assert isinstance(pair.objects, MemoryObjects)
    intact = dict(pair.objects.held)
    pair.objects.held["log/log.vkey"] = f"{stranger}\n".encode()
    with pytest.raises(BrokenRecord, match="database"):
        pair.another("new").public_key()
    # and later with what is pinned.
    pair.objects.held = intact
    assert pair.far.public_key() == pair.here.public_key()
    pair.objects.held = {**intact, "log/log.vkey": f"{stranger}\n".encode()}
    with pytest.raises(BrokenRecord, match="this process knows"):
        pair.another().public_key()


def test_without_a_bucket_events_are_recorded_and_what_needs_files_says_what_is_missing(
    engine: Engine, tmp_path: Path
) -> None:
    here = log_of(tmp_path / "here", engine, None, HERE)
    far = log_of(tmp_path / "far", engine, None, ELSEWHERE)
    with units_of_work(engine, far)() as uow:
        uow.record(an_event(0))
        uow.commit()
    assert waiting(engine) == 1
    here.integrate()
    assert numbers_in(far) == [0]
    for act in (lambda: far.prove(0), far.checkpoint, far.verify, far.public_key):
        with pytest.raises(Misconfigured) as caught:
            act()
        assert "SECONDLOOK_STORAGE_URL" in caught.value.hint

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loop.errors import (
    BrokenRecord,
    Conflict,
    LoopError,
    Misconfigured,
    NotFound,
    Unavailable,
)
from loop.events import Actor, Authentication, Event, Role
from loop.images import Image
from loop.ports import UnitsOfWork
from store import backup as backups
from store.audit_log import AuditLog, open_audit_log
from store.backup import DATABASE, make_backup, restore_backup
from store.backup_files import MANIFEST, BackupFolder, read_manifest
from store.image_store import open_image_store
from store.sequencer import Sequencer
from store.settings import Settings
from store.unit_of_work import open_units_of_work
from tests.store.test_unit_of_work import at

ACTOR = Actor("operator", Role.ADMIN, Authentication.OPERATING_SYSTEM)


@pytest.fixture(autouse=True)
def nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "SECONDLOOK_DATABASE_URL", "SECONDLOOK_STORAGE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home with an image and two events."""
    settings = Settings(home=tmp_path / "home")
    add(open_units_of_work(settings), image_in(settings))
    return settings


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "restored")


def image_in(settings: Settings, data: bytes = b"an image") -> Image:
    id = open_image_store(settings).put(data)
    return Image(id, 64, 48, "image/png", "subject", "upload", at(0))


def add(units: UnitsOfWork, image: Image | None = None) -> None:
    with units() as uow:
        if image is not None:
            uow.images.add(image)
        uow.record(Event("test.happened", ACTOR, {}))
        uow.commit()


def types(settings: Settings) -> list[str]:
    return [entry.event.type for entry in open_audit_log(settings).tail(10_000)]


def test_a_home_comes_back_with_all_it_has(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    made = make_backup(settings, tmp_path / "backup", actor=ACTOR)
    assert (made.entries, made.without) == (1, ())
    assert types(settings) == ["test.happened", "backup.created"]
    done = restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR)
    assert (done.entries, done.added, done.images, done.missing) == (1, 0, 1, ())
    assert types(elsewhere) == ["test.happened", "backup.restored"]
    with open_units_of_work(elsewhere)() as uow:
        image = uow.images.get(ids(made))
    assert open_image_store(elsewhere).get(image.id) == b"an image"
    add(open_units_of_work(elsewhere))
    log = open_audit_log(elsewhere)
    assert log.verify().size == 3
    assert log.key.signer().key == open_audit_log(settings).key.signer().key


def ids(made: Any) -> str:
    return next(Path(name).name for name in made.files if name.startswith("images/"))


def test_what_is_in_it_is_for_its_owner_alone(settings: Settings, tmp_path: Path) -> None:
    make_backup(settings, tmp_path / "backup", actor=ACTOR)
    modes = {
        path.relative_to(tmp_path / "backup").as_posix(): path.stat().st_mode & 0o777
        for path in (tmp_path / "backup", *(tmp_path / "backup").rglob("*"))
    }
    assert modes["."] == 0o700
    for name in ("keys/log.key", DATABASE, MANIFEST):
        assert modes[name] == 0o600


def test_nothing_is_overwritten(settings: Settings, elsewhere: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    make_backup(settings, folder, actor=ACTOR)
    with pytest.raises(Conflict, match="not empty"):
        make_backup(settings, folder, actor=ACTOR)
    elsewhere.home.mkdir()
    (elsewhere.home / "something").touch()
    with pytest.raises(Conflict, match="holds something"):
        restore_backup(elsewhere, folder, actor=ACTOR)
    assert [path.name for path in elsewhere.home.iterdir()] == ["something"]


def test_what_was_never_finished_is_no_backup(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    make_backup(settings, tmp_path / "backup", actor=ACTOR)
    (tmp_path / "backup" / MANIFEST).unlink()
    with pytest.raises(NotFound, match="never finished"):
        restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR)


@pytest.mark.parametrize("name", [DATABASE, "log/checkpoint", "keys/log.key", "images"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_file_that_is_not_what_was_copied_is_named(
    settings: Settings, elsewhere: Settings, tmp_path: Path, name: str, how: str
) -> None:
    made = make_backup(settings, tmp_path / "backup", actor=ACTOR)
    name = next(each for each in made.files if each.startswith(name))
    path = tmp_path / "backup" / name
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(BrokenRecord, match=name):
        restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR)
    assert not elsewhere.home.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.pop("log"),
        lambda raw: raw.update(format=2),
        lambda raw: raw["files"].update({"../outside": ["0" * 64, 1, 0o600]}),
        lambda raw: raw["files"].update({"/outside": ["0" * 64, 1, 0o600]}),
        lambda raw: raw["files"].update({"images//outside": ["0" * 64, 1, 0o600]}),
        lambda raw: raw.update(files=[]),
        lambda raw: raw["files"].update({"file": ["0" * 64, 1, "u=rw"]}),
    ],
    ids=[
        *("without the log", "another format", "a way out", "an absolute path"),
        *("an absolute path below images", "no files", "another kind of mode"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(
    settings: Settings, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    make_backup(settings, tmp_path / "backup", actor=ACTOR)
    path = tmp_path / "backup" / MANIFEST
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(BrokenRecord, match="manifest"):
        read_manifest(tmp_path / "backup")


def test_a_backup_that_is_made_while_events_are_added_restores_to_a_log_that_verifies(
    settings: Settings, tmp_path: Path
) -> None:
    """Several in a row, while two threads commit and a third moves what they commit."""
    stop, added = threading.Event(), [0, 0]
    failures: list[LoopError] = []

    def commit(number: int) -> None:
        units = open_units_of_work(settings)
        while not stop.is_set():
            try:
                data = f"image {number} {added[number]}".encode()
                add(units, image_in(settings, data))
            except LoopError as error:
                failures.append(error)
                return
            added[number] += 1
            stop.wait(0.005)

    sequencer = Sequencer(open_audit_log(settings))
    threads = [threading.Thread(target=commit, args=(number,)) for number in range(2)]
    threads.append(threading.Thread(target=sequencer.run, args=(stop,)))
    for thread in threads:
        thread.start()
    try:
        for number in range(4):
            before = sum(added)
            make_backup(settings, tmp_path / f"backup-{number}", actor=ACTOR)
            while sum(added) < before + 5 and not failures:
                stop.wait(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    sizes = []
    for number in range(4):
        home = Settings(home=tmp_path / f"restored-{number}")
        done = restore_backup(home, tmp_path / f"backup-{number}", actor=ACTOR)
        assert done.missing == ()
        add(open_units_of_work(home))
        sizes.append(open_audit_log(home).verify().size)
    assert sizes == sorted(set(sizes))


def test_events_that_the_database_had_not_seen_are_taken_up(
    settings: Settings, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if they had come after the database was copied, and before the log was."""
    units = open_units_of_work(settings)
    copy_files = backups._copy_files

    def slowly(*arguments: Any) -> Any:
        for _ in range(3):
            add(units)
        open_audit_log(settings).integrate()
        return copy_files(*arguments)

    monkeypatch.setattr(backups, "_copy_files", slowly)
    make_backup(settings, tmp_path / "backup", actor=ACTOR)
    done = restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR)
    assert (done.added, done.entries) == (3, 5)  # with the entry that says so
    assert types(elsewhere)[-2:] == ["log.reindexed", "backup.restored"]


def test_a_newer_copy_of_the_log_can_take_the_place_of_the_one_in_the_backup(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    make_backup(settings, tmp_path / "backup", actor=ACTOR)
    add(open_units_of_work(settings))
    open_audit_log(settings).integrate()
    newer = settings.home / "log"
    done = restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR, log_folder=newer)
    assert types(elsewhere)[:3] == ["test.happened", "backup.created", "test.happened"]
    assert done.added == 2


def test_a_log_that_does_not_go_on_from_the_backups_is_refused(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    make_backup(settings, tmp_path / "early", actor=ACTOR)
    older = tmp_path / "early" / "log"
    make_backup(settings, tmp_path / "late", actor=ACTOR)
    with pytest.raises(BrokenRecord, match="set back"):
        restore_backup(elsewhere, tmp_path / "late", actor=ACTOR, log_folder=older)
    assert not elsewhere.home.exists()


def test_a_log_that_is_behind_its_database_is_not_copied(
    settings: Settings, tmp_path: Path
) -> None:
    open_audit_log(settings).integrate()
    shutil.rmtree(settings.home / "log")
    with pytest.raises(BrokenRecord, match="files count 0 entries, and the database 1"):
        make_backup(settings, tmp_path / "backup", actor=ACTOR)
    assert not (tmp_path / "backup" / MANIFEST).exists()


def test_a_log_that_cannot_be_written_is_copied_all_the_same(
    settings: Settings, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: AuditLog) -> int:
        raise Unavailable("No space left on device.")

    with monkeypatch.context() as patch:
        open_audit_log(settings).integrate()
        patch.setattr(AuditLog, "integrate", full)
        patch.setattr(backups, "_record", lambda *_: None)
        make_backup(settings, tmp_path / "backup", actor=ACTOR)
    assert restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR).entries == 1


def test_an_image_without_bytes_is_named(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    gone = image_in(settings, b"gone")
    add(open_units_of_work(settings), gone)
    open_image_store(settings).delete(gone.id)
    make_backup(settings, tmp_path / "backup", actor=ACTOR)
    assert restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR).missing == (gone.id,)


def test_a_home_in_which_nothing_happened_can_be_kept_too(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "new")
    open_units_of_work(settings)
    made = make_backup(settings, tmp_path / "backup", actor=ACTOR)
    assert (made.entries, made.root) == (0, "")
    elsewhere = Settings(home=tmp_path / "restored")
    restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR)
    assert types(elsewhere) == ["backup.restored"]


def test_images_in_files_are_not_restored_beside_a_bucket(
    settings: Settings, tmp_path: Path
) -> None:
    make_backup(settings, tmp_path / "backup", actor=ACTOR)
    elsewhere = Settings(home=tmp_path / "restored", storage_url="s3://bucket/prefix")
    with pytest.raises(Misconfigured, match="bucket"):
        restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR)


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no database"):
        make_backup(Settings(home=tmp_path / "typo"), tmp_path / "backup", actor=ACTOR)
    assert list(tmp_path.iterdir()) == []


def test_what_lies_elsewhere_is_named(settings: Settings, tmp_path: Path) -> None:
    away = settings.model_copy(
        update={"tracking_uri": "http://user:secret@mlflow:5001", "workspace": tmp_path}
    )
    made = make_backup(away, tmp_path / "backup", actor=ACTOR)
    assert made.without == ("MLflow: at mlflow:5001", f"workspace: {tmp_path}")
    assert "secret" not in (tmp_path / "backup" / MANIFEST).read_text()


def test_images_in_another_folder_are_copied_and_put_into_another_one(
    settings: Settings, tmp_path: Path
) -> None:
    away = settings.model_copy(update={"storage_url": f"file://{settings.images}"})
    made = make_backup(away, tmp_path / "backup", actor=ACTOR)
    place = tmp_path / "place"
    elsewhere = Settings(home=tmp_path / "restored", storage_url=f"file://{place}")
    assert restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR).missing == ()
    assert (place / ids(made)[:2] / ids(made)).read_bytes() == b"an image"


@pytest.mark.parametrize("witness", ["ahead", "away"])
def test_a_log_that_a_witness_saw_more_of_is_not_set_back(
    settings: Settings,
    elsewhere: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    witness: str,
) -> None:
    make_backup(settings, tmp_path / "backup", actor=ACTOR)
    add(open_units_of_work(settings))
    newest = open_audit_log(settings).checkpoint()

    class Witnesses:
        def __init__(self, clients: object) -> None:
            del clients

        def latest(self, origin: str) -> dict[str, Any]:
            if witness == "away":
                raise Unavailable("It does not answer.")
            assert origin == open_audit_log(settings).key.signer().name
            return {"w.example": newest}

    monkeypatch.setattr(backups, "LogWitnesses", Witnesses)
    with pytest.raises(BrokenRecord, match="contradict its witness") as refused:
        restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR)
    assert "--log" in refused.value.hint
    assert not elsewhere.home.exists()
    if witness == "ahead":
        restore_backup(
            elsewhere, tmp_path / "backup", actor=ACTOR, log_folder=settings.home / "log"
        )
    else:
        restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR, ask_witnesses=False)


def test_postgresql_wants_a_dump_and_sqlite_none(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="--dump"):
        make_backup(settings, tmp_path / "backup", dump=tmp_path / "x", actor=ACTOR)
    other = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/x"})
    with pytest.raises(LoopError):
        make_backup(other, tmp_path / "backup", actor=ACTOR)


def test_a_backup_of_sqlite_is_not_restored_beside_another_database(
    settings: Settings, tmp_path: Path
) -> None:
    make_backup(settings, tmp_path / "backup", actor=ACTOR)
    url = "postgresql://nobody@127.0.0.1:1/x"
    elsewhere = Settings(home=tmp_path / "restored", database_url=url)
    with pytest.raises(Misconfigured, match="SECONDLOOK_DATABASE_URL"):
        restore_backup(elsewhere, tmp_path / "backup", actor=ACTOR)


def test_a_file_that_cannot_be_copied_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: BackupFolder, name: str, source: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(source))

    monkeypatch.setattr(BackupFolder, "add", refused)
    with pytest.raises(Unavailable, match=str(settings.images)):
        make_backup(settings, tmp_path / "backup", actor=ACTOR)

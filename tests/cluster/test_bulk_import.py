from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.bulk_import import BulkImporter, in_thread, open_bulk_imports
from loop.errors import Conflict, InvalidInput, NotFound, Unavailable
from loop.events import Actor, Role
from loop.sealing import opens
from store.audit_log import open_audit_log
from store.formats import write_dataset
from store.settings import Settings
from store.unit_of_work import open_units_of_work
from tests.cluster.zips import CLASSES, cells, zipped
from ui.bulk_import import BulkImports, ImportOptions, ImportState, ImportStatus

ACTOR = Actor("engineer-1", Role.ENGINEER)
VOC = ImportOptions("voc")


class Later:
    """Starts nothing until it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def __call__(self, work: Callable[[], None]) -> None:
        self.waiting.append(work)

    def run(self) -> None:
        self.waiting.pop()()


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def importer(settings: Settings, later: Later) -> BulkImporter:
    return BulkImporter(settings, start=later)


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    write_dataset(tmp_path / "set", "voc", cells(3), CLASSES)
    return zipped(tmp_path / "set", tmp_path / "set.zip").read_bytes()


def send(importer: BulkImports, archive: bytes) -> str:
    begun = importer.begin(VOC, len(archive), ACTOR)
    reception = importer.open(begun.id)
    reception.write(archive[:100])
    reception.write(archive[100:])
    reception.start()
    return begun.id


def left(settings: Settings) -> list[str]:
    return [path.name for path in settings.imports.iterdir() if path.is_dir()]


def test_a_zip_is_taken_in_and_then_imported_beside_everything_else(
    importer: BulkImporter, later: Later, archive: bytes
) -> None:
    import_id = send(importer, archive)
    waiting = importer.find(import_id)
    assert waiting.state is ImportState.UNPACKING
    assert waiting.received == waiting.size == len(archive)
    later.run()
    done = importer.find(import_id)
    assert done.state is ImportState.DONE
    assert done.report is not None
    assert (done.report.images, done.report.boxes) == (3, 6)
    assert (done.done, done.total) == (3, 3)
    assert done.started_by == ACTOR.pseudonym


def test_without_a_name_it_is_called_by_its_content(
    importer: BulkImporter, later: Later, archive: bytes, settings: Settings
) -> None:
    import_id = send(importer, archive)
    later.run()
    name = f"zip-{hashlib.sha256(archive).hexdigest()[:12]}"
    assert importer.find(import_id).options.name == name
    with open_units_of_work(settings)() as uow:
        salt = uow.image_salts.of(hashlib.sha256(archive).hexdigest())
    event = open_audit_log(settings).tail(1)[0].event
    assert opens(event.details["source"], salt, "source", f"import:{name}")


def test_nothing_of_it_stays_on_the_disk(
    importer: BulkImporter, later: Later, archive: bytes, settings: Settings
) -> None:
    send(importer, archive)
    assert len(left(settings)) == 1
    later.run()
    assert left(settings) == []


def test_only_this_user_can_read_it_meanwhile(
    importer: BulkImporter, archive: bytes, settings: Settings
) -> None:
    import_id = send(importer, archive)
    folder = settings.imports / import_id
    for path, mode in (
        (settings.imports, 0o700),
        (folder, 0o700),
        (folder / "upload.zip", 0o600),
    ):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_what_cannot_be_imported_fails_with_the_reason_and_leaves_nothing(
    importer: BulkImporter, later: Later, settings: Settings
) -> None:
    import_id = send(importer, b"no zip at all" * 20)
    later.run()
    failed = importer.find(import_id)
    assert failed.state is ImportState.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "not_a_zip"
    assert left(settings) == []


def test_a_mistake_in_our_code_is_a_failure_too_and_frees_the_way(
    importer: BulkImporter, later: Later, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("cluster.bulk_import.import_zip", broken)
    import_id = send(importer, archive)
    later.run()
    failed = importer.find(import_id)
    assert failed.error is not None
    assert failed.error["code"] == "internal"
    assert "secret" not in str(failed.error)
    assert importer.begin(VOC, 10, ACTOR).state is ImportState.RECEIVING


def test_one_at_a_time_in_a_home_whichever_process_asks(
    importer: BulkImporter, later: Later, archive: bytes, settings: Settings
) -> None:
    send(importer, archive)
    for other in (importer, BulkImporter(settings)):
        with pytest.raises(Conflict) as refusal:
            other.begin(VOC, 10, ACTOR)
        assert refusal.value.detail_code == "import_running"
    later.run()
    assert BulkImporter(settings).begin(VOC, 10, ACTOR).state is ImportState.RECEIVING


def test_an_archive_that_comes_short_is_not_imported(
    importer: BulkImporter, later: Later, archive: bytes, settings: Settings
) -> None:
    begun = importer.begin(VOC, len(archive), ACTOR)
    reception = importer.open(begun.id)
    reception.write(archive[:-1])
    with pytest.raises(InvalidInput) as refusal:
        reception.start()
    assert refusal.value.detail_code == "incomplete_upload"
    reception.abandon()
    assert importer.find(begun.id).state is ImportState.FAILED
    assert left(settings) == []
    assert later.waiting == []


def test_more_than_was_announced_is_not_written(importer: BulkImporter) -> None:
    reception = importer.open(importer.begin(VOC, 10, ACTOR).id)
    with pytest.raises(InvalidInput):
        reception.write(b"x" * 11)


def test_abandoning_after_the_start_changes_nothing(
    importer: BulkImporter, later: Later, archive: bytes
) -> None:
    begun = importer.begin(VOC, len(archive), ACTOR)
    reception = importer.open(begun.id)
    reception.write(archive)
    reception.start()
    reception.abandon()
    later.run()
    assert importer.find(begun.id).state is ImportState.DONE


def test_an_archive_is_taken_from_one_sender_only(importer: BulkImporter) -> None:
    begun = importer.begin(VOC, 10, ACTOR)
    importer.open(begun.id)
    with pytest.raises(Conflict) as refusal:
        importer.open(begun.id)
    assert refusal.value.detail_code == "not_receiving"


def test_an_import_that_falls_silent_makes_room_for_the_next(settings: Settings) -> None:
    seconds = [0.0]
    importer = BulkImporter(settings, clock=lambda: seconds[0])
    begun = importer.begin(VOC, 10, ACTOR)
    reception = importer.open(begun.id)
    seconds[0] = 110
    reception.write(b"12345")
    seconds[0] = 220
    with pytest.raises(Conflict):
        importer.begin(VOC, 10, ACTOR)
    seconds[0] = 231
    assert importer.begin(VOC, 10, ACTOR).state is ImportState.RECEIVING
    assert importer.find(begun.id).state is ImportState.FAILED
    with pytest.raises(Conflict):
        reception.write(b"67890")
    assert len(left(settings)) == 1


def test_an_import_that_runs_is_never_silent(settings: Settings, later: Later) -> None:
    seconds = [0.0]
    importer = BulkImporter(settings, start=later, clock=lambda: seconds[0])
    import_id = send(importer, b"zip")
    seconds[0] = 10_000
    assert importer.find(import_id).state is ImportState.UNPACKING


def test_a_disk_without_room_is_said_before_anything_is_sent(
    importer: BulkImporter, settings: Settings
) -> None:
    with pytest.raises(Unavailable, match="room"):
        importer.begin(VOC, 2**62, ACTOR)
    assert left(settings) == []
    importer.begin(VOC, 10, ACTOR)  # and nothing is held on to


def test_what_a_process_that_died_has_left_goes_at_the_next_start(settings: Settings) -> None:
    rest = settings.imports / "0123" / "upload"
    rest.mkdir(parents=True)
    (rest / "patient.png").write_bytes(b"x")
    open_bulk_imports(settings)
    assert left(settings) == []


def test_a_start_beside_a_running_import_leaves_it_alone(
    importer: BulkImporter, later: Later, archive: bytes, settings: Settings
) -> None:
    import_id = send(importer, archive)
    open_bulk_imports(settings)
    assert left(settings) == [import_id]
    later.run()
    assert importer.find(import_id).state is ImportState.DONE


def test_a_fresh_home_needs_no_clearing_up(settings: Settings) -> None:
    assert open_bulk_imports(settings).list() == []
    assert not settings.home.exists()


def test_imports_are_listed_latest_first_and_old_ones_are_forgotten(
    importer: BulkImporter,
) -> None:
    begun: list[ImportStatus] = []
    for _ in range(25):
        begun.append(importer.begin(VOC, 10, ACTOR))
        importer.open(begun[-1].id).abandon()
    listed = importer.list()
    assert [status.id for status in listed] == [b.id for b in reversed(begun[-20:])]
    with pytest.raises(NotFound):
        importer.find(begun[0].id)


def test_it_runs_in_a_thread_of_its_own(settings: Settings, archive: bytes) -> None:
    from threading import Event, current_thread, main_thread

    threads = []
    done = Event()

    def start(work: Callable[[], None]) -> None:
        def noted() -> None:
            threads.append(current_thread())
            work()
            done.set()

        in_thread(noted)

    importer = BulkImporter(settings, start=start)
    import_id = send(importer, archive)
    assert done.wait(60)
    assert importer.find(import_id).state is ImportState.DONE
    assert threads[0] is not main_thread()
    assert threads[0].daemon

"""Sessions whose process is gone, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from loop.errors import Unavailable
from loop.events import Role, new_id
from store.audit_log import AuditLog, open_audit_log
from store.processes import ProcessRecord
from store.settings import load_settings
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from tests.s3 import S3Server, open_bucket
from tests.train.session_states import session_state
from train.lost_sessions import close_lost_sessions
from train.run_record import CV_ID_TAG, RunRecord, open_record
from train.session_objects import SessionObjects
from train.session_state import SessionState, SessionStatus, sessions


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    settings = load_settings(tmp_path).model_copy(update={"tracking_uri": "", "database_url": ""})
    record = open_record(
        open_tracking(settings),
        open_units_of_work(settings),
        open_audit_log(settings),
        kind="cv",
        noun="kfold",
        actor=settings.acting(Role.ENGINEER),
        subject={"snapshot_sha256": "1" * 64, "base_weights_sha256": ""},
        tags={CV_ID_TAG: "0" * 32},
        params={},
    )
    record.start({"params": {}, "splits": 2, "labels": "adjudicated"})
    return record


def written(record: RunRecord, storage: Path) -> SessionState:
    """What is left of a session whose process is gone."""
    gone = ProcessRecord(1, 0.0, ProcessRecord.own().host)
    state = session_state(record.run_id, gone, mark=new_id(), record=record.as_dict())
    state.write(storage / record.run_id)
    return state


def close(record: RunRecord, storage: Path, objects: SessionObjects | None = None) -> None:
    close_lost_sessions(storage, record.tracking, record.units, record.log, objects)


def ends(log: AuditLog) -> list[str]:
    log.integrate()
    return [e.event.outcome for e in log.tail(9) if e.event.type == "kfold.ended"]


def test_one_whose_process_is_gone_is_put_on_record(record: RunRecord, tmp_path: Path) -> None:
    written(record, tmp_path / "training")
    close(record, tmp_path / "training")
    ((_, state),) = sessions(tmp_path / "training")
    assert state.status is SessionStatus.LOST
    assert record.tracking.run(record.run_id).status == "FAILED"


def test_one_that_had_ended_well_is_not_put_on_record_as_failed(
    record: RunRecord, tmp_path: Path
) -> None:
    """Its process died, or the bucket was away, before its files were removed."""
    record.end({})
    written(record, tmp_path / "training")
    close(record, tmp_path / "training")
    assert sessions(tmp_path / "training") == []
    assert record.tracking.run(record.run_id).status == "FINISHED"
    assert ends(record.log) == ["done"]


def test_one_that_could_not_be_put_on_record_is_so_the_next_time(
    record: RunRecord, tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "training"
    objects = SessionObjects(open_bucket(s3.bucket()), storage)
    written(record, storage)
    objects.push(storage / record.run_id)
    with monkeypatch.context() as patch:
        patch.setattr(RunRecord, "end", lambda *_, **__: (_ for _ in ()).throw(Unavailable("No.")))
        with pytest.raises(Unavailable):
            close(record, storage, objects)
    close(record, storage, objects)
    ((_, state),) = sessions(storage)
    assert state.status is SessionStatus.LOST
    assert ends(record.log) == ["failed"]

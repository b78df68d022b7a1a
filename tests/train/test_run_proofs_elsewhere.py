"""Runs of a training whose home does not have the audit log: their proofs come from a bucket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loop.errors import Misconfigured
from loop.events import Actor, Authentication, Role
from store import audit_log
from store.audit_log import AuditLog, open_audit_log
from store.run_proofs import verify_run
from store.sequencer import Sequencer
from store.settings import Settings, load_settings
from store.tracking import Tracking, open_tracking
from store.unit_of_work import open_units_of_work
from tests.s3 import S3Server
from train.run_record import CV_ID_TAG, RunRecord, open_record

ACTOR = Actor("operator", Role.ENGINEER, Authentication.OPERATING_SYSTEM)


def begun(settings: Settings, tracking: Tracking, log: AuditLog) -> RunRecord:
    digests = {
        "snapshot_sha256": "a" * 64,
        "folds_sha256": "b" * 64,
        "base_weights_sha256": "c" * 64,
    }
    return open_record(
        tracking,
        open_units_of_work(settings),
        log,
        kind="cv",
        noun="kfold",
        actor=ACTOR,
        subject=digests,
        tags={CV_ID_TAG: "1" * 32, **{f"loop.{name}": each for name, each in digests.items()}},
        params={"EPOCHS": 3, "K_FOLDS": 2},
    )


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", f"sqlite:///{tmp_path}/second-look.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return monkeypatch


def test_a_run_gets_its_proof_over_the_bucket(
    tmp_path: Path, environment: pytest.MonkeyPatch, s3: S3Server
) -> None:
    environment.setenv("SECONDLOOK_STORAGE_URL", s3.bucket())
    environment.setenv("SECONDLOOK_AUDIT_LOG", "here")
    app = open_audit_log(load_settings(tmp_path / "app"))
    environment.setenv("SECONDLOOK_AUDIT_LOG", "elsewhere")
    settings = load_settings(tmp_path / "node")
    tracking, log = open_tracking(settings), open_audit_log(settings)
    with _running(app):
        record = begun(settings, tracking, log)
        record.start({"params": {"EPOCHS": 3}, "splits": 2, "labels": "adjudicated"})
        record.end({"folds": [], "mean": {}, "std": {}, "candidate": None})
        key = log.public_key()
        proved = verify_run(tracking, record.run_id, key)
        assert log.verify().size >= 2
    assert (proved.event.type, key) == ("kfold.ended", app.public_key())
    assert not (tmp_path / "node" / "log").exists()
    assert not (tmp_path / "node" / "keys" / "log.key").exists()


def test_without_a_bucket_it_does_not_begin(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(audit_log, "_WAIT_SECONDS", 0.1)
    environment.setenv("SECONDLOOK_AUDIT_LOG", "elsewhere")
    settings = load_settings(tmp_path / "node")
    with pytest.raises(Misconfigured, match="no copy"):
        begun(settings, open_tracking(settings), open_audit_log(settings))


@contextmanager
def _running(log: AuditLog) -> Iterator[None]:
    """The process that has the log, at work."""
    stop, sequencer = threading.Event(), Sequencer(log)
    thread = threading.Thread(target=sequencer.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

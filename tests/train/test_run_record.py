from __future__ import annotations

import re
from pathlib import Path

import pytest

from loop.events import Role
from store.audit_log import open_audit_log
from store.settings import load_settings
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from train import run_record
from train.run_record import CV_ID_TAG, JOB_TAG, code_version, dvc_rev, open_record


def test_the_code_has_a_commit_or_a_version() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|second-look \d+\.\d+\.\d+", code_version())


def test_a_folder_that_is_no_workspace_has_no_revision(tmp_path: Path) -> None:
    assert dvc_rev(tmp_path) == ""


def test_code_that_came_with_a_job_says_its_version_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "CODE_VERSION").write_text("a-commit\n")
    monkeypatch.setattr(run_record, "_PACKAGE", tmp_path)
    assert code_version() == "a-commit"


def test_a_run_of_a_job_of_ray_names_it(tmp_path: Path) -> None:
    settings = load_settings(tmp_path).model_copy(update={"tracking_uri": "", "database_url": ""})
    tracking = open_tracking(settings)
    units, log = open_units_of_work(settings), open_audit_log(settings)
    record = open_record(
        tracking,
        units,
        log,
        kind="cv",
        noun="kfold",
        actor=settings.acting(Role.ENGINEER),
        subject={"snapshot_sha256": "1" * 64, "base_weights_sha256": ""},
        tags={CV_ID_TAG: "0" * 32},
        params={},
        job="sl-kfold-00000001",
    )
    record.start({"params": {}, "splits": 2, "labels": "adjudicated"})
    assert tracking.run(record.run_id).tags[JOB_TAG] == "sl-kfold-00000001"
    log.integrate()
    (entry,) = log.tail(1)
    assert entry.event.subject["job_id"] == "sl-kfold-00000001"

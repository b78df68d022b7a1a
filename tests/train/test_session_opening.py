"""A session that is taken up, as far as no Ray is needed for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from loop.errors import Conflict, Unavailable
from store.settings import load_settings
from tests.s3 import S3Server, open_bucket
from tests.train.generated import generated_snapshot
from tests.train.test_lost_sessions import record, written  # noqa: F401
from train.base_model import BaseKind
from train.run_record import RunRecord
from train.session import Context
from train.session_objects import SessionObjects
from train.session_opening import OpenSession, _taken_up
from train.session_state import SessionState, SessionStatus


def test_who_cannot_reach_the_bucket_in_the_middle_takes_it_up_the_next_time(
    record: RunRecord,  # noqa: F811
    tmp_path: Path,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = tmp_path / "training"
    objects = SessionObjects(open_bucket(s3.bucket()), storage)
    folder = storage / record.run_id
    weights = tmp_path / "base.pt"
    weights.write_bytes(b"weights")
    base = {"path": str(weights), "kind": BaseKind.FILE.value, "sha256": "0" * 64, "note": "it"}
    left = replace(written(record, storage), base=base, status=SessionStatus.LOST, failure="gone")
    left.write(folder)
    objects.push(folder)
    context = _context(record, tmp_path)

    def away(*_: object) -> None:
        raise Unavailable("The bucket is away.")

    with monkeypatch.context() as patch:
        patch.setattr(SessionObjects, "push", away)
        with pytest.raises(Unavailable):
            _taken_up(folder, context, {}, objects)
    left.write(folder)  # as it comes from the bucket
    session = _taken_up(folder, context, {}, objects)
    assert session.resumed
    assert session.objects is objects
    assert objects.objects.get(session.base_key) == b"weights"
    there = SessionObjects(objects.objects, tmp_path / "elsewhere")
    there.pull()
    assert SessionState.read(tmp_path / "elsewhere" / record.run_id) == session.state
    left.write(folder)
    with pytest.raises(Conflict, match="taken up on another machine"):
        _taken_up(folder, context, {}, objects)


def test_a_bucket_that_is_away_at_the_end_does_not_undo_a_training(
    record: RunRecord,  # noqa: F811
    tmp_path: Path,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = tmp_path / "training"
    objects = SessionObjects(open_bucket(s3.bucket()), storage)
    state = written(record, storage)
    folder = storage / record.run_id
    session = OpenSession(folder, state, record, cast("Any", None), resumed=False, objects=objects)

    def away(*_: object) -> None:
        raise Unavailable("The bucket is away.")

    monkeypatch.setattr(SessionObjects, "remove", away)
    assert not session.close("", can_be_resumed=False)
    assert not folder.exists()


def _context(record: RunRecord, tmp_path: Path) -> Context:  # noqa: F811
    settings = load_settings(tmp_path).model_copy(update={"tracking_uri": "", "database_url": ""})
    snapshot = generated_snapshot(tmp_path / "made", 4)
    nothing = cast("Any", None)
    return Context(settings, nothing, snapshot, record.units, record.tracking, nothing, tmp_path)

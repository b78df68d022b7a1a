"""What a run and a model version carry of the audit log, and whoever changes them in MLflow."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from loop.classes import ClassList
from loop.errors import BrokenRecord, NotFound
from loop.events import Actor, Authentication, Role
from loop.predictions import ModelRef
from loop.promoting import record_model
from loop.signed_notes import VerifierKey
from store.audit_log import AuditLog, open_audit_log
from store.model_registry import ModelRegistry, open_model_registry
from store.run_proofs import DATASET_TAG, RunProofs, paths_of, verify_run, verify_version
from store.settings import Settings, load_settings
from store.tracking import Tracking, open_tracking
from store.unit_of_work import open_units_of_work
from tests.store.logs import sqlite_log
from train.run_record import CV_ID_TAG, RunRecord, open_record

ACTOR = Actor("operator", Role.ENGINEER, Authentication.OPERATING_SYSTEM)
METRICS = {"map50": 0.75, "map50_95": 1 / 3}


@dataclass
class Trained:
    """A cross-validation of two folds that is over, the second of which failed."""

    settings: Settings
    tracking: Tracking
    registry: ModelRegistry
    log: AuditLog
    record: RunRecord
    folds: list[str]
    model: ModelRef
    key: VerifierKey

    def hide_the_log(self) -> None:
        """And the database: what is left is MLflow's."""
        for name in ("secondlook.db", "log", "keys"):
            (self.settings.home / name).rename(self.settings.home / f"hidden-{name}")

    def show_the_log(self) -> None:
        for name in ("secondlook.db", "log", "keys"):
            hidden = self.settings.home / f"hidden-{name}"
            hidden.rename(self.settings.home / name)

    def artifacts(self, run_id: str) -> str:
        return self.tracking.run(run_id).artifact_uri.removeprefix("file://")

    def mlflow(self, table: str, key: str, value: object) -> None:
        """Change what MLflow's database says of the first fold."""
        file = self.settings.home / "mlflow" / "mlflow.db"
        values = {"run": self.folds[0], "key": key, "value": value}
        with closing(sqlite3.connect(file)) as database, database:
            assert database.execute(_STATEMENTS[table], values).rowcount > 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    home = tmp_path_factory.mktemp("home")
    for name in ("MLFLOW_TRACKING_URI", "SECONDLOOK_DATABASE_URL", "SECONDLOOK_HOME"):
        os.environ.pop(name, None)
    return train_in(load_settings(home))


def train_in(settings: Settings) -> Trained:
    tracking, units, log = (
        open_tracking(settings),
        open_units_of_work(settings),
        open_audit_log(settings),
    )
    record = open_record(
        tracking,
        units,
        log,
        kind="cv",
        noun="kfold",
        actor=ACTOR,
        subject={
            "snapshot_sha256": "a" * 64,
            "folds_sha256": "b" * 64,
            "base_weights_sha256": "c" * 64,
        },
        tags={
            CV_ID_TAG: "1" * 32,
            "loop.snapshot_sha256": "a" * 64,
            "loop.folds_sha256": "b" * 64,
            "loop.base_weights_sha256": "c" * 64,
            DATASET_TAG: "d" * 64,
        },
        params={"EPOCHS": 3, "K_FOLDS": 2},
    )
    record.start({"params": {"EPOCHS": 3}, "splits": 2, "labels": "adjudicated"})
    sizes = {"train_images": 4, "val_images": 2}
    folds = [record.start_fold(fold, {"fold": fold}, sizes) for fold in range(2)]
    tracking.log_metrics(folds[0], {f"best_{name}": value for name, value in METRICS.items()}, 3)
    record.end_fold(0, folds[0], {"metrics": METRICS, "epochs": 3, "seconds": 1.5})
    record.end_fold(1, folds[1], {}, failure="It ran out of memory.")
    weights = settings.home / "weights.pt"
    weights.write_bytes(b"weights")
    registry = open_model_registry(settings)
    model = registry.register(
        weights, classes=ClassList(("cell",)), run_id=record.run_id, tags=record.tags
    )
    details = {"alias": "candidate", "exports": {}, "exports_refused": {}, "signature": None}
    event_id = record_model(units, "model.registered", ACTOR, model, details)
    RunProofs(tracking, log).attach_to_version(registry, model, event_id)
    record.log_metrics({"map50_mean": 0.75})
    record.end({"folds": [], "mean": {"map50": 0.75}, "std": {}, "candidate": model.as_dict()})
    return Trained(settings, tracking, registry, log, record, folds, model, log.key.signer().key)


@pytest.fixture(params=["with the log", "without log and database"])
def trained(made: Trained, request: pytest.FixtureRequest) -> Trained:
    if request.param != "with the log":
        made.hide_the_log()
        request.addfinalizer(made.show_the_log)
    return made


def test_each_run_and_the_version_are_what_the_log_has_of_them(trained: Trained) -> None:
    first = verify_run(trained.tracking, trained.folds[0], trained.key)
    assert (first.event.type, first.event.fold, first.event.outcome) == ("fold.ended", 0, "done")
    second = verify_run(trained.tracking, trained.folds[1], trained.key)
    assert second.event.reason == "It ran out of memory."
    cv = verify_run(trained.tracking, trained.record.run_id, trained.key)
    assert (cv.event.type, cv.event.inputs["dataset_root"]) == ("kfold.ended", "d" * 64)
    for version in ("1", "candidate"):
        if version == "candidate":
            trained.registry.set_alias("candidate", trained.model)
        model = verify_version(trained.tracking, trained.registry, version, trained.key)
        assert model.event.subject["model"] == trained.model.as_dict()
    assert [first.index, second.index] == sorted([first.index, second.index])


def test_another_key_and_a_witness_that_did_not_sign_are_noticed(
    made: Trained, tmp_path: Path
) -> None:
    stranger = sqlite_log(tmp_path / "other", 1).key.signer().key
    with pytest.raises(BrokenRecord):
        verify_run(made.tracking, made.folds[0], stranger)
    with pytest.raises(BrokenRecord):
        verify_version(made.tracking, made.registry, "1", stranger)


# Table, key, what it is changed to, what it was, and what is said of it.
CHANGES: dict[str, tuple[str, str, object, object, str]] = {
    "a metric": ("metrics", "best_map50", 0.99, 0.75, "metric best_map50 is 0.99"),
    "a param": ("params", "fold", "9", "0", "params"),
    "the status": ("runs", "", "FAILED", "FINISHED", "MLflow calls it FAILED"),
    "the snapshot": ("tags", "loop.snapshot_sha256", "x", "a" * 64, "loop.snapshot_sha256"),
    "the data set": ("tags", DATASET_TAG, "x", "d" * 64, DATASET_TAG),
    "the fold": ("tags", "loop.fold", "1", "0", "tagged as fold 1"),
}
_STATEMENTS = {
    "metrics": "UPDATE latest_metrics SET value = :value WHERE run_uuid = :run AND key = :key",
    "params": "UPDATE params SET value = :value WHERE run_uuid = :run AND key = :key",
    "tags": "UPDATE tags SET value = :value WHERE run_uuid = :run AND key = :key",
    "runs": "UPDATE runs SET status = :value WHERE run_uuid = :run",
}


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_what_is_changed_in_mlflow_is_noticed(made: Trained, what: str) -> None:
    table, key, value, before, words = CHANGES[what]
    made.mlflow(table, key, value)
    try:
        with pytest.raises(BrokenRecord, match=words):
            verify_run(made.tracking, made.folds[0], made.key)
    finally:
        made.mlflow(table, key, before)
    verify_run(made.tracking, made.folds[0], made.key)


@pytest.mark.parametrize("tag", ["audit.leaf_index", "audit.checkpoint_sha256"])
def test_a_tag_that_names_another_place_in_the_log_is_noticed(made: Trained, tag: str) -> None:
    before = made.tracking.run(made.folds[0]).tags[tag]
    made.mlflow("tags", tag, "77")
    with pytest.raises(BrokenRecord, match=tag):
        verify_run(made.tracking, made.folds[0], made.key)
    made.mlflow("tags", tag, before)


def test_the_papers_of_another_run_are_noticed(made: Trained) -> None:
    here, there = (Path(made.artifacts(run)) for run in made.folds)
    for name in ("event.json", "proof.tlog-proof"):
        kept = (here / "audit" / name).read_bytes()
        (here / "audit" / name).write_bytes((there / "audit" / name).read_bytes())
        with pytest.raises(BrokenRecord):
            verify_run(made.tracking, made.folds[0], made.key)
        (here / "audit" / name).write_bytes(kept)
    changed = here / "audit/event.json"
    kept = changed.read_bytes()
    changed.write_bytes(kept.replace(b"0.75", b"0.95"))
    with pytest.raises(BrokenRecord, match="is not under this root"):
        verify_run(made.tracking, made.folds[0], made.key)
    changed.unlink()
    with pytest.raises(NotFound, match=r"event\.json"):
        verify_run(made.tracking, made.folds[0], made.key)
    changed.write_bytes(kept)
    with pytest.raises(NotFound):
        verify_run(made.tracking, "0" * 32, made.key)


def test_other_weights_than_were_registered_are_noticed(made: Trained) -> None:
    weights = Path(made.artifacts(made.record.run_id)) / "model/artifacts/weights.pt"
    kept = weights.read_bytes()
    weights.write_bytes(b"others")
    with pytest.raises(BrokenRecord, match="weights have the digest"):
        verify_version(made.tracking, made.registry, "1", made.key)
    weights.write_bytes(kept)
    event = Path(made.artifacts(made.record.run_id)) / paths_of(made.model)[0]
    kept = event.read_bytes()
    event.write_bytes(kept.replace(b'"candidate"', b'"champion_"'))
    with pytest.raises(BrokenRecord, match="is not under this root"):
        verify_version(made.tracking, made.registry, "1", made.key)
    event.write_bytes(kept)

"""Records of a model, as they would be gathered, for tests of the papers that go with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from loop.bootstrap import Interval
from loop.cases import Source as AnnotationSource
from loop.classes import ClassList
from loop.events import Actor, Event, Role
from loop.gate_record import ClassChange, GateRecord
from loop.gate_settings import GateSettings
from loop.latency import Latency
from loop.merkle import leaf_hash
from loop.predictions import ModelRef
from loop.progress import ActiveSeconds, Done, Verdicts
from loop.promotions import Decision, GoldScore, Promotion, PromotionState, Verdict
from loop.reliability import Reliability
from loop.snapshots import Labels, Manifest, Shard, SnapshotRecord
from loop.spending import Use
from loop.techfile import Cited, Log
from loop.techfile_operator import FIELDS, Operator
from loop.techfile_records import Doors, Oversight, Records, Run, SnapshotFacts, Version
from loop.techfile_scores import SCORES

AT = "2026-01-02T03:04:05.000000Z"
REF = ModelRef("detector", "2", "2" * 64)
CHAMPION = ModelRef("detector", "1", "1" * 64)
CLASSES = ClassList(("cell", "rod"))
GOLD = "a" * 64
ACTOR = Actor("engineer-1", Role.ENGINEER)


def manifest(classes: ClassList = CLASSES) -> Manifest:
    return Manifest(
        1,
        Labels.ADJUDICATED,
        classes.names,
        (Shard("images/part-00000-00000000.parquet", "c" * 64, 10, 3),),
        (Shard("annotations/part-00000-11111111.parquet", "d" * 64, 20, 3),),
        {
            "images": 3,
            "boxes": 5,
            "boxes_per_class": {name: 5 - place for place, name in enumerate(classes)},
            "gold": 1,
            "negatives": 1,
            "subjects": 2,
        },
    )


def bare(**changes: Any) -> Records:
    """A version that came from outside, and of which nothing else is on record."""
    version = Version(REF, (), "f" * 32, AT, CLASSES, {"loop.source": "import"}, {})
    records = Records(version, AT, "operator", Operator(), no_drift="It was not measured.")
    return replace(records, **changes)


def full(classes: ClassList = CLASSES) -> Records:
    """Of everything something."""
    snapshot = SnapshotRecord(manifest(classes).sha256, manifest(classes), AT, "engineer-1")
    tags = {
        "loop.kind": "cv",
        "loop.snapshot_sha256": snapshot.sha256,
        "loop.folds_sha256": "b" * 64,
        "loop.seed": "7",
        "loop.git_commit": "abc123",
        "loop.base_weights_sha256": CHAMPION.digest,
        "loop.base_kind": "champion",
        "loop.final_model": "best_fold",
        "loop.fold": "1",
    }
    run = Run("f" * 32, "kfold 1", "", {"EPOCHS": "3", "IMG_SIZE": "64"}, {}, tags, AT, AT)
    return Records(
        version=Version(
            REF,
            ("champion",),
            run.run_id,
            AT,
            classes,
            tags,
            {"onnx": "9" * 64},
            "7" * 64,
            "8" * 64,
        ),
        made_at=AT,
        made_by="operator",
        operator=Operator({f.name: f"About {f.name}." for f in FIELDS}, "e" * 64, "techfile.yaml"),
        events=events(snapshot.sha256, run.run_id, classes),
        log=Log("example.org/log", 50, "0" * 64, "example.org/log+00000000+AAAA"),
        run=run,
        folds=[fold(number, classes) for number in range(3)],
        snapshot=snapshot,
        shards=SnapshotFacts(
            {"import:a": 2, "upload": 1},
            {"second_review": 2, "imported": 1},
            {"accepted": 3, "added": 2},
            [1, 2],
            2,
            (60, 64),
            (64, 64),
            {"detector version 1": 2},
        ),
        promotion=promotion(classes),
        oversight=Oversight(
            Done(4, 2),
            ActiveSeconds((3.0, 5.0), (7.0,)),
            {0: Verdicts(5, 1, 1, 1, 2)},
            {AnnotationSource.SECOND: 2},
            [
                Reliability(0, 9, 8, 30, 0.9, 0.8, (0.7, 0.9)),
                Reliability(1, 9, 2, 3, 0.5, None, None, "2 images have it; 5 are needed."),
            ],
            9,
        ),
        doors=Doors({"engineer": 1}, {"detect": 1}, {"SECONDLOOK_HOST": "127.0.0.1"}),
        software={"second-look": "0.1.0"},
        drift="what it detected on 40 images.",
        no_drift="It was not measured.",
    )


def fold(number: int, classes: ClassList) -> Run:
    scores = {f"class_map50_95/{name}": 0.3 + number / 10 for name in classes}
    best = {f"best_{name}": 0.5 + number / 10 for name in SCORES}
    tags = {"loop.kind": "fold", "loop.precision": "fp32"}
    metrics = scores | best | {"best_epoch": 2.0, "fold_seconds": 4.5}
    return Run(
        f"{number}" * 32, f"fold {number}", str(number), {}, metrics, tags, AT, AT,
        {"process_memory_usage_megabytes": 900.0},
    )  # fmt: skip


def promotion(classes: ClassList) -> Promotion:
    interval = Interval(0.1, 0.02, 0.2, 0.03)
    gate = GateRecord(
        Use(1, 0.0045, 0.0045, 0.05, 0.0),
        GateSettings(),
        40,
        10,
        interval,
        interval,
        {name: ClassChange(interval, 5) for name in classes},
        Latency(8.0, 9.0, 0.9, 0.8, 1.0, 40),
        1,
    )
    per_class = {name: 0.4 + place / 10 for place, name in enumerate(classes)}
    history = ({"state": "approved", "by": "engineer-2", "reason": "Better.", "at": AT},)
    return Promotion(
        "promotion-1",
        REF,
        CHAMPION,
        GoldScore(REF, 0.7, 0.5, per_class, 40, GOLD),
        GoldScore(CHAMPION, 0.6, 0.4, per_class, 40, GOLD),
        Decision(Verdict.PROMOTE, ("It is better.",), gate),
        PromotionState.APPROVED,
        AT,
        "engineer-2",
        "Better.",
        history,
    )


def events(snapshot: str, run_id: str, classes: ClassList) -> list[Cited]:
    model = {"model": REF.as_dict()}
    part = {"part": "0", "images": 3, "subjects": 2, "near_duplicate_groups": 1, "negatives": 1}
    split = {
        "classes": list(classes),
        "near_duplicate_distance": 6,
        "parts": [part | {"boxes": [1] * len(classes)}],
        "warnings": ["A class is rare."],
    }
    folds = {"snapshot_sha256": snapshot, "folds_sha256": "b" * 64}
    made: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        ("dataset.imported", {"source": "a", "format": "voc"}, {"images": 2, "gold": True}),
        ("correction.submitted", {"review_id": "1"}, {}),
        ("second_review.submitted", {"review_id": "1"}, {}),
        ("snapshot.created", {"snapshot_sha256": snapshot}, {}),
        ("folds.created", folds, split),
        ("kfold.started", {"mlflow_run_id": run_id}, {}),
        ("fold.ended", {"mlflow_run_id": run_id, "fold_run_id": "1" * 32}, {}),
        ("kfold.ended", {"mlflow_run_id": run_id}, {}),
        ("model.registered", model, {}),
        ("gate.decided", {"promotion_id": "promotion-1", "candidate": REF.as_dict()}, {}),
        ("promotion.approved", model | {"promotion_id": "promotion-1"}, {}),
        ("labels.compared", {}, {"trained_in": {"adjudicated": run_id}, "map50_95": {}}),
        ("trial.stopped", model, {"kind": "canary", "share": 0.05}),
        ("impact.measured", model, {"fixed": 3}),
        ("session.started", {"person": "p"}, {}),
        ("api_key.created", {"key_id": "k"}, {}),
        ("audit.verified", {}, {}),
    ]
    return [entry(index, *each) for index, each in enumerate(made)]


def entry(index: int, type: str, subject: Mapping[str, Any], details: Mapping[str, Any]) -> Cited:
    event = Event(type, ACTOR, subject, details, id=f"{index:032}", at=AT)
    data = event.canonical()
    return Cited(index, event, leaf_hash(data).hex(), data)

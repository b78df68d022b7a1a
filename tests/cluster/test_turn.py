"""One correction, followed all the way: HTTP, review, snapshot, folds, promotion, served model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from cluster import registering
from cluster.local_ray import LocalRay, local_ray
from cluster.service import service_swap
from loop import promoting
from loop.boxes import Box
from loop.corrections import FinalBox, Origin
from loop.events import Actor, Role, new_id
from loop.intake import NewImage, TrueBox, add_truth
from loop.predictions import Prediction
from loop.review import FirstAnswer, SecondAnswer, submit_first, submit_second
from loop.sealing import commitment
from loop.synthetic import CLASSES, SyntheticImage, generate
from serve.release import deploy, wait_until_served
from store.audit_log import open_audit_log
from store.image_codec import encode_png
from store.image_store import open_image_store
from store.model_registry import open_model_registry
from store.processes import free_port
from store.settings import Settings
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from store.workspace import init_workspace
from tests.detector.checkpoints import write_checkpoint

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
SIZE_PX = 64
FIRST = Actor("reviewer-1", Role.REVIEWER)
SECOND = Actor("adjudicator-1", Role.ADJUDICATOR)
ENGINEER = Actor("engineer-1", Role.ENGINEER)


@pytest.fixture
def served(settings: Settings, tmp_path: Path) -> Iterator[tuple[Settings, LocalRay]]:
    """A first champion in service; ports of its own."""
    settings = settings.model_copy(update={"api_port": free_port(), "api_open_on_loopback": True})
    weights = write_checkpoint(
        tmp_path / "first.pt", config_dir=settings.home / "ultralytics", names=CLASSES.names
    )
    champion = registering.register(
        open_units_of_work(settings),
        open_model_registry(settings),
        weights,
        config_dir=settings.home / "ultralytics",
        alias="champion",
        actor=ENGINEER,
    )
    with local_ray(settings, free_port()) as ray:
        order = deploy(settings, ray.dashboard_url, champion)
        wait_until_served(settings.api_url, order, 240)
        yield settings, ray


def post(settings: Settings, path: str, image: SyntheticImage) -> dict[str, Any]:
    response = httpx.post(
        f"{settings.api_url}{path}",
        content=encode_png(image.pixels),
        headers={"Content-Type": "image/png"},
        params={"subject": image.subject},
        timeout=120,
    )
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def correct(settings: Settings, review_id: str, prediction: Prediction, box: TrueBox) -> FinalBox:
    """The first reviewer rejects all that the model saw, and adds one box; the second agrees."""
    units = open_units_of_work(settings)
    added = FinalBox(new_id(), box.box, box.class_id, Origin.ADDED)
    rejected = tuple(detection.id for detection in prediction.detections)
    outcome = submit_first(
        units,
        review_id,
        FirstAnswer(boxes=(added,), rejected=rejected, active_seconds=3.5),
        actor=FIRST,
        settings=settings.agreement,
    )
    assert outcome.annotation is None
    submit_second(
        units, review_id, SecondAnswer((), (added,), reason="agrees_with_first"), actor=SECOND
    )
    return added


def test_a_correction_reaches_the_served_model(
    served: tuple[Settings, LocalRay], tmp_path: Path
) -> None:
    settings, ray = served
    units, registry = open_units_of_work(settings), open_model_registry(settings)
    *images, gold = list(generate(9, seed=3, size=SIZE_PX, images_per_subject=1))
    images = [image for image in images if image.boxes][:6]
    gold = replace(gold, boxes=(TrueBox(Box(10, 10, 30, 30), 0),))
    add_truth(
        units,
        open_image_store(settings),
        NewImage(encode_png(gold.pixels), "image/png", SIZE_PX, SIZE_PX, "gold-subject"),
        gold.boxes,
        actor=ENGINEER,
        gold=True,
    )

    answers = [post(settings, "/v1/images", image) for image in images]
    boxes = []
    for image, answer in zip(images, answers, strict=True):
        with units() as uow:
            prediction = uow.predictions.get(answer["prediction_id"])
        boxes.append(correct(settings, answer["review_id"], prediction, image.boxes[0]))

    workspace = init_workspace(tmp_path / "workspace")
    workspace.set_params({"K_FOLDS": 2, "EPOCHS": 1, "IMG_SIZE": SIZE_PX, "BATCH_SIZE": 4})
    workspace.repro(["kfold_model_training"], env=settings.environment() | ray.environment())

    # The correction is in the snapshot, with where it came from.
    rows = [
        row
        for shard in (workspace.folder / "data/adjudicated/snapshot/annotations").glob("*.parquet")
        for row in pq.read_table(shard).to_pylist()
        if row["image_id"] == answers[0]["image_id"]
    ]
    assert boxes[0].id in str(rows)
    assert SECOND.pseudonym in str(rows)

    # The candidate was trained on that snapshot, and says so.
    candidate = registry.resolve("candidate")
    with units() as uow:
        (snapshot,) = uow.snapshots.list()
        promotion = uow.promotions.find(candidate.name, candidate.version)
    version = next(v for v in registry.versions() if v.ref == candidate)
    assert version.tags["loop.snapshot_sha256"] == snapshot.sha256
    tracking = open_tracking(settings)
    assert version.run_id is not None
    below = tracking.child_runs(version.run_id)
    folds = [run for run in below if run.tags["loop.kind"] == "fold"]
    assert [run.tags["loop.kind"] for run in below if run not in folds] == ["refit"]
    assert sorted(fold.tags["loop.fold"] for fold in folds) == ["0", "1"]
    assert {fold.tags["loop.snapshot_sha256"] for fold in folds} == {snapshot.sha256}
    assert promotion is not None
    assert promotion.candidate_score.images == 1

    # A person lets it pass although nothing was learnt in one epoch, and it is served.
    promoting.approve(units, candidate, actor=ENGINEER, reason="this is a test")
    swap = service_swap(settings, ray.dashboard_url, settings.api_url)
    promoting.promote(units, registry, candidate, actor=ENGINEER, swap=swap)
    assert post(settings, "/v1/detect", images[0])["model"]["version"] == candidate.version

    # The whole way is on record.
    log = open_audit_log(settings)
    events = [entry.event for entry in log.tail(log.verify().size)]
    image_id = answers[0]["image_id"]
    with units() as uow:
        said = commitment(uow.image_salts.of(image_id), "image", image_id)
    of_image = [event.type for event in events if event.subject.get("image") == said]
    assert of_image == [
        "image.queued",
        "correction.submitted",
        "second_review.submitted",
        "annotation.settled",
    ]
    types = [event.type for event in events]
    for earlier, later in (
        ("annotation.settled", "snapshot.created"),
        ("snapshot.created", "folds.created"),
        ("folds.created", "kfold.started"),
        ("kfold.started", "model.registered"),
        ("gate.decided", "promotion.approved"),
        ("promotion.approved", "promotion.ended"),
    ):
        assert types.index(earlier) < len(types) - 1 - types[::-1].index(later)
    assert types.count("fold.ended") == 2
    leaves = [log.get(int(fold.tags["audit.leaf_index"])).event for fold in folds]
    assert {leaf.type for leaf in leaves} == {"fold.ended"}
    assert {leaf.subject["fold_run_id"] for leaf in leaves} == {fold.run_id for fold in folds}

    # Each run and the model are proved without log and database, from another folder.
    key = log.key.signer().key
    hidden = [settings.home / name for name in ("secondlook.db", "log", "log.lock", "keys")]
    for path in hidden:
        path.rename(path.with_name(f"hidden-{path.name}"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"MLFLOW_TRACKING_URI": settings.tracking}
    environment |= {"SECONDLOOK_HOME": str(elsewhere / "var")}

    def audit(*arguments: str) -> Any:
        command = [sys.executable, "-m", "cluster.cli", "audit", *arguments, "--json"]
        done = subprocess.run(
            [*command, "--key", str(key)],
            cwd=elsewhere,
            env=environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    for run in (version.run_id, *(fold.run_id for fold in folds)):
        assert audit("verify-run", run)["verified"]
    proved = audit("verify-model", candidate.name, candidate.version)
    assert proved["event"]["subject"]["model"] == candidate.as_dict()
    for path in hidden:
        path.with_name(f"hidden-{path.name}").rename(path)

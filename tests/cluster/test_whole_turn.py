"""One correction, followed all the way: HTTP, review, snapshot, folds, promotion, served model.

The same on one machine with SQLite and files, and on three Ray nodes with PostgreSQL and S3; in
both, a worker dies in the middle of a training.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from loop.boxes import Box
from loop.corrections import FinalBox, Origin
from loop.events import Actor, Role, new_id
from loop.intake import NewImage, TrueBox, add_truth
from loop.predictions import Prediction
from loop.review import FirstAnswer, SecondAnswer, submit_first, submit_second
from loop.sealing import commitment
from loop.synthetic import CLASSES, SyntheticImage, generate
from store.audit_log import open_audit_log
from store.image_codec import encode_png
from store.image_store import open_image_store
from store.model_registry import open_model_registry
from store.own_key import api_headers
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from tests.cluster.sites import PATIENCE_S, ROOT, Site, one_machine, three_nodes
from tests.detector.checkpoints import write_checkpoint

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

SIZE_PX = 64
FOLDS, EPOCHS = 2, 12
FIRST = Actor("reviewer-1", Role.REVIEWER)
SECOND = Actor("adjudicator-1", Role.ADJUDICATOR)
ENGINEER = Actor("engineer-1", Role.ENGINEER)

Make = Callable[[Path, Path], AbstractContextManager[Site]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    return write_checkpoint(
        folder / "first.pt", config_dir=folder / "ultralytics", names=CLASSES.names
    )


@pytest.fixture(params=[one_machine, three_nodes], ids=["one machine", "three nodes"])
def site(request: pytest.FixtureRequest, tmp_path: Path, weights: Path) -> Iterator[Site]:
    make: Make = request.param
    with make(tmp_path, weights) as made:
        yield made


def post(site: Site, path: str, image: SyntheticImage) -> dict[str, Any]:
    response = httpx.post(
        f"{site.environment['SECONDLOOK_API_URL']}{path}",
        content=encode_png(image.pixels),
        headers={"Content-Type": "image/png", **api_headers(site.settings)},
        params={"subject": image.subject},
        timeout=120,
        trust_env=False,
    )
    assert response.status_code == 200, f"{response.text}\n{site.logs()}"
    body: dict[str, Any] = response.json()
    return body


def correct(site: Site, review_id: str, prediction: Prediction, box: TrueBox) -> FinalBox:
    """The first reviewer rejects all that the model saw, and adds one box; the second agrees."""
    units = open_units_of_work(site.settings)
    added = FinalBox(new_id(), box.box, box.class_id, Origin.ADDED)
    rejected = tuple(detection.id for detection in prediction.detections)
    outcome = submit_first(
        units,
        review_id,
        FirstAnswer(boxes=(added,), rejected=rejected, active_seconds=3.5),
        actor=FIRST,
        settings=site.settings.agreement,
    )
    assert outcome.annotation is None
    submit_second(
        units, review_id, SecondAnswer((), (added,), reason="agrees_with_first"), actor=SECOND
    )
    return added


def train_and_kill(site: Site) -> dict[str, Any]:
    """The workspace's k folds as a job of Ray, one of whose workers dies; as `jobs list` has it."""
    site.secondlook("init", str(site.workspace))
    changes = {"K_FOLDS": FOLDS, "EPOCHS": EPOCHS, "IMG_SIZE": SIZE_PX, "BATCH_SIZE": 4}
    words = [f"{name}={value}" for name, value in changes.items()]
    job = site.json("jobs", "submit", "kfold", "--", *words, "PATIENCE=0")
    for happened in (lambda: some_epochs(site), site.kill_a_worker):
        site.wait_for(happened, lambda: site.secondlook("jobs", "logs", job["id"]))
    followed = subprocess.run(
        [sys.executable, "-m", "cluster.cli", "jobs", "logs", "-f", job["id"]],
        cwd=site.workspace,
        env=site._whole(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert followed.returncode == 0, f"{followed.stdout}\n{followed.stderr}\n{site.logs()}"
    (listed,) = [each for each in site.json("jobs", "list") if each["id"] == job["id"]]
    assert listed["state"] == "succeeded"
    found: dict[str, Any] = listed
    return found


def some_epochs(site: Site) -> bool:
    tracking = open_tracking(site.settings)
    runs = tracking.runs({"loop.kind": "fold"}, limit=FOLDS)
    return len(runs) == FOLDS and all(run.metrics.get("epoch", 0) >= 2 for run in runs)


def test_a_correction_reaches_the_served_model(site: Site, tmp_path: Path) -> None:
    settings = site.settings
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
    answers = [post(site, "/v1/images", image) for image in images]
    boxes = []
    for image, answer in zip(images, answers, strict=True):
        with units() as uow:
            prediction = uow.predictions.get(answer["prediction_id"])
        boxes.append(correct(site, answer["review_id"], prediction, image.boxes[0]))

    job = train_and_kill(site)
    # Where it ran elsewhere, its commit and its data come to the workspace; in place, they are.
    if "RAY_ADDRESS" in site.environment:
        assert site.json("jobs", "fetch", job["id"])["merged"]

    # The correction is in the snapshot, with where it came from.
    rows = [
        row
        for shard in (site.workspace / "data/adjudicated/snapshot/annotations").glob("*.parquet")
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
    assert tracking.run(version.run_id).tags["loop.job_id"] == job["id"]
    below = tracking.child_runs(version.run_id)
    folds = [run for run in below if run.tags["loop.kind"] == "fold"]
    assert [run.tags["loop.kind"] for run in below if run not in folds] == ["refit"]
    assert sorted(fold.tags["loop.fold"] for fold in folds) == ["0", "1"]
    assert {fold.tags["loop.snapshot_sha256"] for fold in folds} == {snapshot.sha256}
    # One of them went on where a worker had died, and no epoch of it is missing.
    assert any("loop.resumed_after_epoch" in fold.tags for fold in folds)
    for fold in folds:
        assert tracking.metric_steps(fold.run_id, "epoch") == list(range(1, EPOCHS + 1))
    assert promotion is not None
    assert promotion.candidate_score.images == 1

    # A person lets it pass although so little was learnt, and it is served.
    site.secondlook("models", "approve", candidate.version, "--reason", "this is a test")
    site.secondlook("models", "promote", candidate.version)
    assert post(site, "/v1/detect", images[0])["model"]["version"] == candidate.version

    # The whole way is on record.
    assert site.json("audit", "verify")["events"] > 0
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
    assert types.count("fold.ended") == FOLDS
    leaves = [log.get(int(fold.tags["audit.leaf_index"])).event for fold in folds]
    assert {leaf.type for leaf in leaves} == {"fold.ended"}
    assert {leaf.subject["fold_run_id"] for leaf in leaves} == {fold.run_id for fold in folds}

    check_proofs_elsewhere(site, tmp_path, [version.run_id, *(fold.run_id for fold in folds)])


def check_proofs_elsewhere(site: Site, tmp_path: Path, runs: list[str]) -> None:
    """An auditor has MLflow's address and the log's public key, and neither log nor database."""
    settings = site.settings
    key = open_audit_log(settings).key.signer().key
    candidate = open_model_registry(settings).resolve("champion")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {
        name: value
        for name, value in site._whole().items()
        if not name.startswith(("SECONDLOOK_", "RAY_"))
    }
    environment |= {
        "MLFLOW_TRACKING_URI": settings.tracking,
        "SECONDLOOK_HOME": str(elsewhere / "var"),
        "PYTHONPATH": str(ROOT),
    }

    def audit(*arguments: str) -> Any:
        command = [sys.executable, "-m", "cluster.cli", "audit", *arguments, "--json"]
        done = subprocess.run(
            [*command, "--key", str(key)],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    for run in runs:
        assert audit("verify-run", run)["verified"]
    proved = audit("verify-model", candidate.name, candidate.version)
    assert proved["event"]["subject"]["model"] == candidate.as_dict()

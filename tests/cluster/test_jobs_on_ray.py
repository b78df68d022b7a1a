"""``secondlook jobs`` on a Ray that runs: in place, and as on a cluster elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.local_ray import LocalRay, local_ray
from cluster.ray_jobs import RayJobs
from cluster.running import forget_running, note_running
from loop.errors import Misconfigured
from loop.events import Event
from store.audit_log import open_audit_log
from store.processes import free_port, marked_processes
from store.sequencer import Sequencer
from store.settings import Settings, load_settings
from store.tracking import open_tracking
from store.workspace import Workspace, init_workspace
from tests.cluster.true_images import fill
from tests.s3 import S3Server
from tests.store.test_workspace import git

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
SIZE_PX, IMAGES = 64, 12
PARAMS: dict[str, Any] = {
    "K_FOLDS": 2,
    "EPOCHS": 200,
    "PATIENCE": 0,
    "BATCH_SIZE": 4,
    "IMG_SIZE": SIZE_PX,
    "ARCHITECTURE": "yolo-demo.yaml",
    "NEAR_DUPLICATE_DISTANCE": -1,
    "ALLOW_RARE_CLASSES": True,
    "train.nbs": 4,
}
# For whatever the test waits for on a busy machine.
PATIENCE_S, POLL_S = 600.0, 0.2


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, s3: S3Server
) -> Iterator[tuple[Settings, LocalRay]]:
    """A Ray whose processes know the database, MLflow and the bucket, as those of a cluster do."""
    home = tmp_path_factory.mktemp("system")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("SECONDLOOK_HOME", str(tmp_path_factory.mktemp("head")))
        patch.setenv("SECONDLOOK_DATABASE_URL", f"sqlite:///{home / 'secondlook.db'}")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
        patch.setenv("SECONDLOOK_STORAGE_URL", s3.bucket())
        settings = load_settings(home)
        fill(settings, IMAGES, SIZE_PX)
        open_tracking(settings).prepare()
        with _log_at_work(settings), local_ray(settings, free_port()) as ray:
            yield settings, ray


@contextmanager
def _log_at_work(settings: Settings) -> Iterator[None]:
    """As in the app: jobs elsewhere leave their events to it."""
    ended = threading.Event()
    sequencer = Sequencer(open_audit_log(settings))
    thread = threading.Thread(target=sequencer.run, args=(ended,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = init_workspace(tmp_path / "workspace")
    found.set_params(PARAMS)
    found.commit("For a test")
    return found


@pytest.fixture
def up(cluster: tuple[Settings, LocalRay]) -> Iterator[Settings]:
    """As if `secondlook up` had started that Ray in this home."""
    settings, ray = cluster
    note_running(settings, ray.address, ray.dashboard_url, settings.tracking)
    yield settings
    forget_running(settings)


def start(settings: Settings, folder: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cluster.cli", "--home", str(settings.home), "jobs", *arguments],
        cwd=folder,
        env=os.environ | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    settings: Settings, folder: Path, *arguments: str, status: int = 0, **more: str
) -> tuple[str, str]:
    process = start(settings, folder, *arguments, **more)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status, out + err
    return out, err


def events(settings: Settings) -> list[Event]:
    log = open_audit_log(settings)
    log.integrate()
    return [entry.event for entry in log.tail(200)]


def test_a_job_outlives_whoever_handed_it_in(up: Settings, workspace: Workspace) -> None:
    submitter = start(up, workspace.folder, "submit", "stage", "data_collection", "--wait")
    assert submitter.stdout is not None
    line = submitter.stdout.readline()
    assert line, submitter.communicate()[1]
    job_id = line.split()[1]
    submitter.kill()
    submitter.communicate()
    _, err = run(up, workspace.folder, "logs", "-f", job_id)
    assert f"Job {job_id} succeeded" in err
    assert (workspace.folder / "data/adjudicated/snapshot/manifest.json").is_file()
    assert workspace.rev() == git(workspace.folder, "rev-parse", "HEAD")
    listed = json.loads(run(up, workspace.folder, "list", "--json")[0])
    (job,) = [job for job in listed if job["id"] == job_id]
    assert (job["state"], job["exit_code"], job["kind"]) == ("succeeded", 0, "stage")


def test_a_training_that_is_stopped_says_so_and_names_its_job(
    up: Settings, workspace: Workspace, cluster: tuple[Settings, LocalRay]
) -> None:
    out, _ = run(up, workspace.folder, "submit", "kfold", "--json", "--", "EPOCHS=150")
    job_id = json.loads(out)["id"]
    tracking = open_tracking(up)
    deadline = time.monotonic() + PATIENCE_S
    while not any(fold.metrics for run in _runs(up, job_id) for fold in _folds(up, run.run_id)):
        assert time.monotonic() < deadline, run(up, workspace.folder, "logs", job_id)[0]
        time.sleep(POLL_S)
    run(up, workspace.folder, "stop", job_id)
    out, err = run(up, workspace.folder, "logs", "-f", job_id, status=1)
    assert "Interrupted" in out
    assert f"Job {job_id} stopped" in err
    (whole,) = _runs(up, job_id)
    assert tracking.run(whole.run_id).status in ("FAILED", "KILLED")
    found = [event for event in events(up) if event.subject.get("job_id") == job_id]
    assert {event.type for event in found} >= {
        *("training.requested", "training.stopped", "kfold.started", "kfold.ended"),
        *("fold.started", "fold.ended"),
    }
    ended = next(event for event in found if event.type == "kfold.ended")
    assert ended.reason == "interrupted"
    ray = RayJobs(cluster[1].dashboard_url)
    while ray.get(job_id).active:
        assert time.monotonic() < deadline
        time.sleep(POLL_S)
    assert ray.get(job_id).status == "STOPPED"
    assert not marked_processes("SECONDLOOK_JOB", job_id)


def _runs(settings: Settings, job_id: str) -> list[Any]:
    return open_tracking(settings).runs({"loop.job_id": job_id, "loop.kind": "cv"}, 5)


def _folds(settings: Settings, run_id: str) -> list[Any]:
    return open_tracking(settings).child_runs(run_id)


def test_code_and_workspace_travel_and_the_result_comes_back(
    cluster: tuple[Settings, LocalRay], workspace: Workspace, tmp_path: Path
) -> None:
    laptop = cluster[0].model_copy(update={"home": tmp_path / "laptop"})
    there = {"SECONDLOOK_DASHBOARD_URL": cluster[1].dashboard_url}
    before = git(workspace.folder, "rev-parse", "HEAD")
    command = ("submit", "stage", "kfold_data_formatting", "--wait", "--", "K_FOLDS=3")
    out, _ = run(laptop, workspace.folder, *command, **there)
    job_id = out.split()[1]
    assert f"secondlook jobs fetch {job_id}" in out
    assert git(workspace.folder, "rev-parse", "HEAD") == before
    fetched = json.loads(run(laptop, workspace.folder, "fetch", job_id, "--json", **there)[0])
    assert fetched["merged"] is True
    assert git(workspace.folder, "rev-parse", "HEAD") == fetched["dvc_rev"] != before
    report = json.loads((workspace.folder / "data/adjudicated/folds_report.json").read_text())
    assert report
    assert "K_FOLDS: 3" in (workspace.folder / "params.yaml").read_text()
    head = Path(os.environ["SECONDLOOK_HOME"])
    assert not (head / "jobs" / job_id).exists()


def test_without_the_token_nothing_is_taken(
    cluster: tuple[Settings, LocalRay], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = RayJobs(cluster[1].dashboard_url)
    assert jobs.jobs() is not None
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(Misconfigured, match="does not accept the token"):
        jobs.jobs()
    monkeypatch.setattr("cluster.ray_jobs.is_loopback_url", lambda url: False)
    jobs.require_token()

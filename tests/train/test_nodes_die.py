"""Machines of a cluster die, are cut off and run full while folds are trained on them.

The driver shares nothing with the workers but a bucket. Every training ends complete, or failed
with a reason that a person can do something about.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from store.settings import Settings, load_settings
from store.tracking import RunInfo, open_tracking
from tests.machines import Cluster, cluster
from tests.s3 import CREDENTIALS, S3Server, open_bucket, s3_server
from tests.train import light_session
from tests.train.generated import generated_snapshot
from train.fold_job import read_state
from train.session_state import sessions, storage_of

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]

FOLDS, EPOCHS = 2, 30
PATIENCE_S = 240.0


@dataclass(frozen=True)
class Place:
    """The driver's folder, like a workspace's, and its home beside it."""

    folder: Path
    settings: Settings
    cluster: Cluster
    storage_url: str

    def start(self, folds: int = FOLDS, epochs: int = EPOCHS, resume: str = "") -> Driver:
        with (self.folder / "log").open("ab") as log:
            return Driver(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.train.light_session", str(epochs), str(folds)],
                    cwd=self.folder,
                    env=os.environ
                    | self.cluster.environment
                    | {"RAY_ADDRESS": self.cluster.address, "SECONDLOOK_RESUME": resume},
                    stdout=log,
                    stderr=log,
                ),
                self,
            )

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def epochs(self, fold: int) -> int:
        """How many epochs of the fold are safe in the bucket."""
        objects = open_bucket(self.storage_url)
        keys = [each.key for each in objects.list("training/")]
        names = [key.split("/")[3] for key in keys if f"/fold-{fold}/checkpoint-" in key]
        return max((int(name.removeprefix("checkpoint-")) for name in names), default=0)

    def run(self, status: str) -> RunInfo:
        (run,) = open_tracking(self.settings).runs({"loop.kind": "cv"}, limit=100)
        assert run.status == status, (run.status, run.tags, self.log())
        return run

    def check_complete(self, folds: int = FOLDS, epochs: int = EPOCHS) -> list[str]:
        """Every fold and every epoch once; returns after which epochs workers took over."""
        tracking = open_tracking(self.settings)
        runs = tracking.child_runs(self.run("FINISHED").run_id)
        assert [run.tags["loop.fold"] for run in runs] == [str(fold) for fold in range(folds)]
        expected = list(range(1, epochs + 1))
        for fold, run in enumerate(runs):
            assert run.status == "FINISHED"
            assert tracking.metric_steps(run.run_id, "epoch") == expected
            state = read_state(self.folder / "out" / f"fold_{fold}")
            assert [int(entry["epoch"]) for entry in state.history] == expected
        # Nothing is left of the session, here or in the bucket.
        assert sessions(storage_of(self.settings.home)) == []
        assert list(open_bucket(self.storage_url).list("training/")) == []
        return [run.tags.get("loop.resumed_after_epoch", "") for run in runs]


@dataclass(frozen=True)
class Driver:
    process: subprocess.Popen[bytes]
    place: Place

    def wait_until(self, happened: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not happened():
            assert self.process.poll() is None, self.place.log()
            assert time.monotonic() < deadline, self.place.log()
            time.sleep(0.2)

    def end(self) -> int:
        return self.process.wait(PATIENCE_S)


@dataclass(frozen=True)
class Site:
    """A head and a bucket's server for all tests here; each test adds its workers."""

    folder: Path
    cluster: Cluster
    s3: S3Server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    pytest.importorskip("moto.server")
    folder = tmp_path_factory.mktemp("driver")
    # Workers see nothing of what drivers have.
    with cluster(CREDENTIALS, [folder]) as machines, s3_server(machines.ip) as s3:
        machines.start_head()
        yield Site(folder, machines, s3)


@pytest.fixture
def place(
    site: Site, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    for name in ("MLFLOW_TRACKING_URI", "SECONDLOOK_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    folder = site.folder / request.node.name
    folder.mkdir()
    monkeypatch.setenv("SECONDLOOK_HOME", str(folder / "var"))
    monkeypatch.chdir(folder)
    generated_snapshot(light_session.SNAPSHOT, 12)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    url = site.s3.bucket()
    monkeypatch.setenv("SECONDLOOK_STORAGE_URL", url)
    yield Place(folder, load_settings(), site.cluster, url)
    site.cluster.kill_workers()


@contextmanager
def ended(driver: Driver) -> Iterator[None]:
    try:
        yield
    finally:
        if driver.process.poll() is None:
            driver.process.kill()
            driver.process.wait()


def test_folds_go_on_elsewhere_when_their_machine_dies(place: Place) -> None:
    first, _ = place.cluster.add_worker(), place.cluster.add_worker()
    driver = place.start()
    with ended(driver):
        driver.wait_until(lambda: min(place.epochs(fold) for fold in range(FOLDS)) >= 3)
        first.kill()
        place.cluster.add_worker(wait=False)
        assert driver.end() == 0, place.log()
    assert any(place.check_complete())


def test_a_machine_that_was_cut_off_comes_back(place: Place) -> None:
    """Its worker trains on without anybody seeing it, and another one has its fold by then."""
    first, _ = place.cluster.add_worker(), place.cluster.add_worker()
    driver = place.start()
    with ended(driver):
        driver.wait_until(lambda: min(place.epochs(fold) for fold in range(FOLDS)) >= 3)
        first.cut()
        driver.wait_until(lambda: not place.cluster.knows(first))
        first.mend()
        assert driver.end() == 0, place.log()
    assert any(place.check_complete())


def test_a_machine_whose_disk_is_full_says_so(place: Place) -> None:
    place.cluster.add_worker(disk_bytes=40 * 1024)
    driver = place.start()
    with ended(driver):
        assert driver.end() == 1
    failed = place.run("FAILED").tags["loop.failure"]
    assert "No space left" in failed, failed


def test_a_machine_whose_object_store_is_full_trains_on(place: Place) -> None:
    """Others' objects take all of it: some must go to disk before the fold has its images."""
    machine = place.cluster.add_worker()
    with place.cluster.filled(machine):
        driver = place.start(epochs=3)
        with ended(driver):
            assert driver.end() == 0, place.log()
    place.check_complete(epochs=3)


def test_where_objects_fill_the_disk_as_well_it_fails_and_says_where_to_look(place: Place) -> None:
    """Ray itself cannot work there any more."""
    machine = place.cluster.add_worker(ray_disk_bytes=200 * 2**20)
    with place.cluster.filled(machine):
        driver = place.start()
        with ended(driver):
            assert driver.end() == 1
    assert place.run("FAILED").tags["loop.failure"]
    assert "may have run out of memory, or of disk" in place.log()


def test_a_training_whose_head_died_is_taken_up_from_the_bucket(place: Place) -> None:
    """All that the driver's machine had is gone with it: its home too."""
    place.cluster.add_worker(cpus=2)
    driver = place.start()
    with ended(driver):
        driver.wait_until(lambda: min(place.epochs(fold) for fold in range(FOLDS)) >= 3)
        place.cluster.kill_head()
        driver.process.kill()
        driver.process.wait()
    for worker in place.cluster.workers:
        worker.kill()
    ((folder, state),) = sessions(storage_of(place.settings.home))
    shutil.rmtree(folder)
    place.cluster.start_head()
    place.cluster.add_worker(cpus=2)
    second = place.start(resume=state.run_id)
    with ended(second):
        assert second.end() == 0, place.log()
    assert all(place.check_complete())

"""Every process of a training is killed at random moments, and every training ends whole.

A round is one SIGKILL. Most rounds train something trivial (`tests.train.light_job`) through the
very same code; some train a detector. ``SECONDLOOK_KILLS_SEED`` repeats a run of the tests.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
import pytest

from loop.events import Actor, Event, Outcome, Role
from loop.intake import NewImage, add_truth
from loop.synthetic import CLASSES, generate
from store.audit_log import open_audit_log
from store.image_codec import encode_png
from store.image_store import open_image_store
from store.processes import ProcessRecord, is_alive, marked_processes
from store.settings import Settings, load_settings
from store.tracking import RunInfo, open_tracking
from store.unit_of_work import open_units_of_work
from store.workspace import init_workspace
from tests.train import light_session
from tests.train.generated import ARCHITECTURE, SIZE_PX, generated_snapshot
from tests.train.light_job import EPOCH_S
from train.fold_checkpoints import Checkpoints
from train.fold_job import read_state
from train.session_state import MARK, SessionState, sessions, storage_of

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]

ENGINEER = Actor("p-engineer", Role.ENGINEER)
ROOT = Path(__file__).parents[2]
FOLDS = 3
EPOCHS = 30
CONTROLLER = "_FoldController"
# For whatever a test waits for on a busy machine.
PATIENCE_S = 240.0
POLL_S = 0.05


def say(text: str) -> None:
    """Shown when a test fails, or with ``pytest -s``."""
    sys.stdout.write(f"{text}\n")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    seed = os.environ.get("SECONDLOOK_KILLS_SEED") or str(random.randrange(10**6))
    say(f"SECONDLOOK_KILLS_SEED={seed} {request.node.name}")
    return random.Random(f"{seed} {request.node.name}")


@dataclass(frozen=True)
class Place:
    """A folder like a workspace's, and the home beside it."""

    folder: Path
    settings: Settings

    @property
    def storage(self) -> Path:
        return storage_of(self.settings.home)

    def start(
        self, *arguments: object, resume: str = "", own_group: bool = False
    ) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.train.light_session", *map(str, arguments)],
                cwd=self.folder,
                env=os.environ | {"SECONDLOOK_RESUME": resume},
                stdout=log,
                stderr=log,
                start_new_session=own_group,
            )

    def session(self) -> tuple[Path, SessionState] | None:
        return next(iter(sessions(self.storage)), None)

    def epochs(self, fold: int) -> int:
        """How many epochs of the fold are safe, in whichever session there is."""
        for folder in self.storage.glob(f"*/fold-{fold}"):
            newest = Checkpoints(folder).latest()
            with suppress(OSError, ValueError):
                return len(read_state(newest).history) if newest else 0
        return 0

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def events(self) -> list[Event]:
        log = open_audit_log(self.settings)
        log.integrate()
        return [entry.event for entry in log.tail(log.verify().size)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "SECONDLOOK_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECONDLOOK_HOME", str(tmp_path / "var"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the workers, for their job
    monkeypatch.chdir(tmp_path)
    generated_snapshot(light_session.SNAPSHOT, 12)
    place = Place(tmp_path, load_settings())
    yield place
    for process in left_of(place):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def left_of(place: Place) -> list[psutil.Process]:
    """What runs of the sessions of this home, their drivers included."""
    return marked_processes("SECONDLOOK_HOME", str(place.settings.home))


def wait_until(happened: Callable[[], object], process: subprocess.Popen[bytes] | None) -> None:
    """Also returns when ``process`` has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened() and (process is None or process.poll() is None):
        assert time.monotonic() < deadline
        time.sleep(POLL_S)


def kill(process: psutil.Process | subprocess.Popen[bytes]) -> bool:
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def worker_of(session: Path, fold: int) -> psutil.Process | None:
    with suppress(OSError, ValueError):
        owner = json.loads((session / f"fold-{fold}" / "owner.json").read_text(encoding="utf-8"))
        return ProcessRecord.from_dict(owner).find()
    return None


def trainers_of(mark: str) -> list[psutil.Process]:
    found = []
    for process in marked_processes(MARK, mark):
        with suppress(psutil.NoSuchProcess):
            if CONTROLLER in " ".join(process.cmdline()):
                found.append(process)
    return found


def check_complete(place: Place, folds: int, epochs: int) -> RunInfo:
    """One run with every fold and every epoch once, and nothing else left of it."""
    tracking = open_tracking(place.settings)
    [parent] = [
        run for run in tracking.runs({"loop.kind": "cv"}, limit=100) if run.status == "FINISHED"
    ]
    runs = tracking.child_runs(parent.run_id)
    assert [run.tags["loop.fold"] for run in runs] == [str(fold) for fold in range(folds)]
    for fold, run in enumerate(runs):
        assert run.status == "FINISHED"
        assert "loop.failure" not in run.tags
        expected = list(range(1, epochs + 1))
        for metric in ("epoch", "map50", "train_box_loss"):
            assert tracking.metric_steps(run.run_id, metric) == expected
        assert tracking.metric_steps(run.run_id, "best_map50") == [epochs]
        state = read_state(place.folder / "out" / f"fold_{fold}")
        assert [int(entry["epoch"]) for entry in state.history] == expected
    with (place.folder / "out" / "results.csv").open() as file:
        assert [row["fold"] for row in csv.DictReader(file)] == [str(i) for i in range(folds)]
    events = [e for e in place.events() if e.subject.get("mlflow_run_id") == parent.run_id]
    assert [e.type for e in events].count("kfold.started") == 1
    done = [e.subject["fold"] for e in events if e.type == "fold.ended" and e.outcome == "done"]
    assert sorted(done) == list(range(folds))
    assert (events[-1].type, events[-1].outcome) == ("kfold.ended", Outcome.DONE)
    assert not list(place.storage.iterdir())
    wait_until(lambda: not left_of(place), None)
    return parent


class Killer:
    """Kills workers and trainers of a session in this process, from threads of its own.

    A fold that is killed again and again before anything new is safe is given up, on purpose: so
    each kill waits for a new epoch.
    """

    def __init__(self, place: Place, rng: random.Random, workers: int, trainers: int) -> None:
        self._place = place
        self._over = threading.Event()
        self.killed: list[str] = []
        self._threads = [
            threading.Thread(target=self._kill_workers, args=(fold, workers, self._own(rng)))
            for fold in range(FOLDS)
        ]
        self._threads.append(
            threading.Thread(target=self._kill_trainers, args=(trainers, self._own(rng)))
        )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @staticmethod
    def _own(rng: random.Random) -> random.Random:
        return random.Random(rng.random())

    def _kill_workers(self, fold: int, count: int, rng: random.Random) -> None:
        for epoch in sorted(rng.sample(range(1, EPOCHS), count)):
            if not self._wait(lambda epoch=epoch: self._place.epochs(fold) >= epoch):  # type: ignore[misc]
                return
            self._over.wait(rng.random() * 2 * EPOCH_S)
            worker = worker_of(self._session()[0], fold)
            if worker is not None and kill(worker):
                self.killed.append(f"worker of fold {fold}")

    def _kill_trainers(self, count: int, rng: random.Random) -> None:
        before = [0] * FOLDS
        for _ in range(count):

            def all_went_on(before: list[int] = before) -> bool:
                now = [self._place.epochs(fold) for fold in range(FOLDS)]
                return all(a > b or a == EPOCHS for a, b in zip(now, before, strict=True))

            if not self._wait(all_went_on):
                return
            self._over.wait(rng.random())
            before = [self._place.epochs(fold) for fold in range(FOLDS)]
            trainers = trainers_of(self._session()[1].mark)
            if trainers and kill(rng.choice(trainers)):
                self.killed.append("trainer")

    def _session(self) -> tuple[Path, SessionState]:
        session = self._place.session()
        assert session is not None
        return session

    def _wait(self, happened: Callable[[], bool]) -> bool:
        while not happened():
            if self._over.wait(POLL_S):
                return False
        return True


def test_folds_outlive_their_workers_and_trainers(place: Place, rng: random.Random) -> None:
    started = time.monotonic()
    with Killer(place, rng, workers=3, trainers=5) as killer:
        light_session.main(EPOCHS, FOLDS, "light")
    parent = check_complete(place, FOLDS, EPOCHS)
    tracking = open_tracking(place.settings)
    resumed = [
        run.tags["loop.resumed_after_epoch"].split(", ")
        for run in tracking.child_runs(parent.run_id)
        if "loop.resumed_after_epoch" in run.tags
    ]
    assert resumed
    # Not all that were planned: a fold may be at its end before its last one.
    assert len(killer.killed) >= 10
    say(f"{len(killer.killed)} rounds in {time.monotonic() - started:.0f} s: {killer.killed}")


def test_a_session_outlives_its_driver(place: Place, rng: random.Random) -> None:
    """It is killed while it starts, while it trains, and as soon as a fold has ended."""
    started = time.monotonic()

    def epochs(fold: int, count: int) -> Callable[[], bool]:
        return lambda: place.epochs(fold) >= count

    def recorded() -> bool:
        session = place.session()
        return session is not None and bool(session[1].run_id)

    moments: list[tuple[Callable[[], object], float]] = [
        (lambda: any(place.storage.glob("starting-*")), 0.2),
        (recorded, 5.0),
        (epochs(rng.randrange(FOLDS), rng.randrange(1, EPOCHS // 2)), 0.4),
        (epochs(rng.randrange(FOLDS), rng.randrange(EPOCHS // 2, EPOCHS)), 0.4),
        (epochs(rng.randrange(FOLDS), EPOCHS), 0.4),
        (lambda: all(place.epochs(fold) == EPOCHS for fold in range(FOLDS)), 1.0),
    ]
    rounds = 0
    for moment, delay_s in moments:
        session = place.session()
        resume = session[1].run_id if session else ""
        driver = place.start(EPOCHS, FOLDS, resume=resume)
        wait_until(moment, driver)
        time.sleep(rng.random() * delay_s)
        rounds += kill(driver)
        driver.wait()
        assert driver.returncode in (-signal.SIGKILL, 0), place.log()
        if driver.returncode == 0:
            break
    else:
        session = place.session()
        assert session is not None
        assert place.start(EPOCHS, FOLDS, resume=session[1].run_id).wait(PATIENCE_S) == 0
    parent = check_complete(place, FOLDS, EPOCHS)
    resumed = [event for event in place.events() if event.type == "kfold.resumed"]
    assert {event.reason for event in resumed} == {"The process that ran it is gone."}
    assert {event.subject["mlflow_run_id"] for event in resumed} == {parent.run_id}
    for run in open_tracking(place.settings).runs({}, limit=100):
        assert run.status != "RUNNING"
    say(f"{rounds} rounds in {time.monotonic() - started:.0f} s")


def test_a_real_training_outlives_each_of_its_processes(place: Place, rng: random.Random) -> None:
    started = time.monotonic()
    epochs, folds = 4, 2
    driver = place.start(epochs, folds, "real")
    wait_until(lambda: place.epochs(0) >= 1, driver)
    session = place.session()
    assert session is not None
    folder, state = session
    time.sleep(rng.random() * 0.5)
    worker = worker_of(folder, 0)
    assert worker is not None
    assert kill(worker)
    wait_until(lambda: place.epochs(1) >= 2, driver)
    time.sleep(rng.random() * 0.5)
    assert kill(rng.choice(trainers_of(state.mark)))
    wait_until(lambda: max(place.epochs(0), place.epochs(1)) >= 3, driver)
    time.sleep(rng.random() * 0.5)
    assert kill(driver)
    driver.wait()
    resumed = place.start(epochs, folds, "real", resume=state.run_id)
    assert resumed.wait(PATIENCE_S) == 0, place.log()
    parent = check_complete(place, folds, epochs)
    assert parent.run_id == state.run_id
    say(f"3 rounds in {time.monotonic() - started:.0f} s")


def test_a_killed_driver_leaves_no_process_behind_and_is_not_taken_for_alive(
    place: Place,
) -> None:
    driver = place.start(EPOCHS, FOLDS)
    wait_until(lambda: place.epochs(0) >= 1, driver)
    session = place.session()
    assert session is not None
    orphans = marked_processes(MARK, session[1].mark)
    assert orphans
    kill(driver)
    driver.wait()
    # Another training, not a resumed one: it finds the first one dead, and is not in its way.
    assert place.start(1, FOLDS).wait(PATIENCE_S) == 0, place.log()
    assert not [process for process in orphans if is_alive(process)]
    tracking = open_tracking(place.settings)
    lost = tracking.run(session[1].run_id)
    assert lost.status == "FAILED"
    assert "secondlook train run --resume" in lost.tags["loop.failure"]
    assert {run.status for run in tracking.child_runs(lost.run_id)} == {"FAILED"}
    [last] = [
        e
        for e in place.events()
        if e.type == "kfold.ended" and e.subject["mlflow_run_id"] == lost.run_id
    ]
    assert last.outcome == Outcome.FAILED
    # The second one ended well; of the first there is still something to take up.
    assert [path.name for path in place.storage.iterdir()] == [lost.run_id]


def test_an_interrupt_ends_everything_and_the_training_can_be_resumed(place: Place) -> None:
    driver = place.start(EPOCHS, FOLDS, own_group=True)
    wait_until(lambda: place.epochs(0) >= 1, driver)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    assert driver.wait(PATIENCE_S) == 130
    assert "Traceback" not in place.log()
    session = place.session()
    assert session is not None
    assert (session[1].status, session[1].failure) == ("failed", "interrupted")
    wait_until(lambda: not left_of(place), None)
    tracking = open_tracking(place.settings)
    runs = [tracking.run(session[1].run_id), *tracking.child_runs(session[1].run_id)]
    assert {run.status for run in runs} == {"FAILED"}
    assert place.start(EPOCHS, FOLDS, resume="last").wait(PATIENCE_S) == 0, place.log()
    assert check_complete(place, FOLDS, EPOCHS).run_id == session[1].run_id


def command(settings: Settings, *words: str) -> list[str]:
    return [sys.executable, "-m", "cluster.cli", "--home", str(settings.home), "train", *words]


def fill(settings: Settings) -> None:
    """Images with true boxes, as an import leaves them."""
    units, images = open_units_of_work(settings), open_image_store(settings)
    with units() as uow:
        uow.classes.set(CLASSES)
        uow.record(Event("classes.defined", ENGINEER, {"classes": list(CLASSES)}))
        uow.commit()
    for image in generate(12, seed=3, size=SIZE_PX, images_per_subject=1):
        new = NewImage(encode_png(image.pixels), "image/png", SIZE_PX, SIZE_PX, image.subject)
        add_truth(units, images, new, image.boxes, actor=ENGINEER)


def test_a_killed_command_is_resumed_in_its_workspace(place: Place, rng: random.Random) -> None:
    settings, epochs = place.settings, 4
    fill(settings)
    workspace = init_workspace(place.folder / "workspace")
    workspace.set_params(
        {"K_FOLDS": 2, "EPOCHS": epochs, "IMG_SIZE": SIZE_PX, "BATCH_SIZE": 4, "train.nbs": 4}
        | {"ARCHITECTURE": str(ARCHITECTURE), "FINAL_MODEL": "best_fold", "EXPORTS": []}
        | {"NEAR_DUPLICATE_DISTANCE": -1, "ALLOW_RARE_CLASSES": True}
    )
    log = (place.folder / "log").open("ab")
    words = command(settings, "kfold")
    process = subprocess.Popen(words, cwd=workspace.folder, stdout=log, stderr=log)
    wait_until(lambda: max(place.epochs(0), place.epochs(1)) >= 2, process)
    session = place.session()
    assert session is not None, place.log()
    time.sleep(rng.random())
    # The command, dvc and the stage go at once; Ray's processes are left to themselves.
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    ray = {orphan.pid for orphan in marked_processes(MARK, session[1].mark)}
    for member in family:
        if member.pid not in ray:
            kill(member)
    process.wait()

    listed = subprocess.run(
        [*command(settings, "kfold", "--resume"), "--json"],
        cwd=place.folder,
        capture_output=True,
        check=True,
    )
    [training] = json.loads(listed.stdout)
    assert training["run_id"] == session[1].run_id
    assert training["workspace"] == str(workspace.folder)
    resume = command(settings, "kfold", "--resume", training["run_id"][:8])
    assert (
        subprocess.run(resume, cwd=place.folder, stdout=log, stderr=log, check=False).returncode
        == 0
    ), place.log()

    tracking = open_tracking(settings)
    [cv] = tracking.runs({"loop.kind": "cv"}, limit=10)
    assert (cv.run_id, cv.status) == (training["run_id"], "FINISHED")
    folds = tracking.child_runs(cv.run_id)
    assert [run.status for run in folds] == ["FINISHED", "FINISHED"]
    for run in folds:
        assert tracking.metric_steps(run.run_id, "epoch") == list(range(1, epochs + 1))
    results = workspace.folder / "media" / "runs" / "kfold" / "kfold_results.csv"
    assert len(results.read_text().splitlines()) == 3
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json", "kfold_model_training"],
        cwd=workspace.folder,
        capture_output=True,
        check=True,
    )
    assert "kfold_model_training" not in json.loads(status.stdout)
    assert [event.reason for event in place.events() if event.type == "kfold.resumed"]
    assert not list(place.storage.iterdir())
    wait_until(lambda: not left_of(place), None)

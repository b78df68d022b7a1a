"""The demo's home, its generated data, and its weak first model."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.ultralytics_env import prepare
from loop.cases import Source
from loop.corrections import FinalBox, Origin
from loop.errors import Conflict, Misconfigured
from loop.events import Actor, Authentication, Role, new_id, now
from loop.images import Image
from loop.intake import NewImage, TrueBox
from loop.simulation import CARELESS, SimulatedReviewer
from loop.snapshots import Labels
from loop.synthetic import CLASSES, generate
from store.image_codec import Limits, encode_png, sanitise
from store.image_files import sha256_of
from store.settings import Settings
from store.snapshot_files import SnapshotEntry, open_snapshot, write_snapshot
from train.training import EpochReport, TrainSpec

SEED = 7
IMAGE_SIZE_PX = 128
PILOT_IMAGES, NEW_IMAGES, GOLD_IMAGES = 32, 96, 40
FIRST_MODEL_EPOCHS = 24
FIRST_MODEL_BATCH = 4
PILOT_REVIEWER = Actor("demo-pilot", Role.REVIEWER, Authentication.PROCESS)

_MARKER = ".secondlook-demo"
_LOCK = ".secondlook-demo.lock"

Step = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class DemoImage:
    """A sanitised image with its name and its truth."""

    name: str
    new: NewImage
    truth: tuple[TrueBox, ...]


@contextmanager
def demo_lock(home: Path) -> Iterator[None]:
    """One demo in a home at a time. Raises `Conflict`; the lock goes with the process."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}{_LOCK}").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"A demo is running in {home} already.", hint="Wait for it, or stop it with Ctrl-C."
            ) from None
        yield


def is_demo_home(home: Path) -> bool:
    return (home / _MARKER).exists()


def empty_home(home: Path) -> None:
    """Empty the demo's home. Raises `Misconfigured` for a folder that no demo made."""
    if home.exists() and any(home.iterdir()):
        if not is_demo_home(home):
            raise Misconfigured(
                f"{home} is not empty, and no demo made it.",
                hint="The demo empties its home: move that folder away, or use another --home.",
            )
        for entry in home.iterdir():
            if entry.name == _MARKER:
                continue  # stays: an interrupted demo is still a demo
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    home.mkdir(parents=True, exist_ok=True)
    (home / _MARKER).touch()


def demo_images(settings: Settings, kind: str, count: int, step: Step) -> list[DemoImage]:
    """``count`` images; each ``kind`` has slides of its own, none shared with another kind."""
    limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
    seed = SEED + sum(kind.encode())
    images = []
    for made in generate(count, seed=seed, size=IMAGE_SIZE_PX, prefix=f"{kind}-slide"):
        clean = sanitise(encode_png(made.pixels), limits)
        new = NewImage(
            clean.data,
            clean.media_type,
            clean.width,
            clean.height,
            made.subject,
            "demo",
            clean.phash,
        )
        images.append(DemoImage(made.name, new, made.boxes))
        step(len(images), count)
    return images


def train_first_model(settings: Settings, pilot: Sequence[DemoImage], step: Step) -> Path:
    """Train from scratch on a few careless labels, a pilot's; returns the weights."""
    folder = settings.home / "pilot"
    reviewer = SimulatedReviewer(PILOT_REVIEWER, CLASSES, seed=SEED, mistakes=CARELESS)
    entries = [_careless(image, reviewer) for image in pilot]
    data = {entry.image.id: image.new.data for entry, image in zip(entries, pilot, strict=True)}
    write_snapshot(folder / "snapshot", Labels.ADJUDICATED, CLASSES, entries, data.__getitem__)
    snapshot = open_snapshot(folder / "snapshot")
    rows = range(len(snapshot.samples))
    held_out = len(rows) // 4
    spec = TrainSpec(
        base=demo_architecture(),
        folder=folder / "run",
        epochs=FIRST_MODEL_EPOCHS,
        batch_size=FIRST_MODEL_BATCH,
        image_size=IMAGE_SIZE_PX,
        patience=0,
        seed=SEED,
        threads=2,
        hyperparameters=short_training(FIRST_MODEL_BATCH),
    )
    prepare(settings.home / "ultralytics")
    from train.trainer import train_detector  # imports Ultralytics, which must be prepared first

    def on_epoch(report: EpochReport) -> None:
        step(report.epoch, report.epochs)

    result = train_detector(snapshot, rows[held_out:], rows[:held_out], spec, on_epoch)
    return result.last


def short_training(batch_size: int) -> dict[str, Any]:
    """Hyperparameters for a hundred generated images and a dozen epochs.

    Ultralytics' defaults add up the gradients of 64 images (``nbs``) before each step and warm up
    for three epochs, by when this is half over; its mosaics cut cells that are small already.
    """
    return {
        "optimizer": "AdamW",
        "lr0": 0.01,
        "nbs": batch_size,
        "warmup_epochs": 1.0,
        "mosaic": 0.0,
        "scale": 0.2,
        "translate": 0.05,
        "flipud": 0.5,
    }


def demo_architecture() -> Path:
    """The small architecture that learns on generated images within minutes on two cores."""
    return Path(__file__).parents[1] / "configs" / "yolo-demo.yaml"


def _careless(image: DemoImage, reviewer: SimulatedReviewer) -> SnapshotEntry:
    width, height = image.new.width, image.new.height
    marked = [reviewer.label(true, width, height) for true in image.truth]
    kept = tuple(
        FinalBox(new_id(), box.box, box.class_id, Origin.IMPORTED)
        for box in marked
        if not reviewer.misses()
    )
    row = Image(
        id=sha256_of(image.new.data),
        width=width,
        height=height,
        media_type=image.new.media_type,
        subject=image.new.subject,
        source=image.new.source,
        created_at=now(),
    )
    return SnapshotEntry(
        image=row,
        annotation_id=new_id(),
        version=1,
        source=Source.IMPORTED.value,
        boxes=kept,
        reviewers=(reviewer.actor.pseudonym,),
        prediction=None,
    )

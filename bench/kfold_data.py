"""What both ways of a k-fold comparison work on: a workspace, and the same folds as image folders.

The workspace is made as a user makes it: data imported, then the stages that freeze a snapshot and
split it. The folders are those of Ultralytics' guide to k-fold cross-validation
(docs.ultralytics.com/guides/kfold-cross-validation): a copy of every image for every fold.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.kfold_settings import Settings
from cluster.importing import ImportAs, import_dataset
from detector.ultralytics_env import prepare
from loop.boxes import Box
from loop.classes import ClassList, classes_event
from loop.events import Actor, Authentication, Role
from loop.snapshots import Labels
from loop.synthetic import CLASSES, generate
from store.formats import ExportedImage, Format, ImportedBox, read_dataset, write_dataset
from store.formats.base import SUFFIXES
from store.image_codec import encode_png
from store.settings import Settings as StoreSettings
from store.settings import load_settings
from store.snapshot_files import Sample, Snapshot, open_snapshot
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from store.workspace import init_workspace
from train.indices import FoldIndex, read_folds
from train.paths import StagePaths

_ACTOR = Actor("bench", Role.ENGINEER, Authentication.PROCESS)
_GENERATED_SEED = 1
_STAGES = ("data_collection", "kfold_data_formatting")


@dataclass(frozen=True, slots=True)
class Data:
    """A workspace with its home, frozen and split."""

    workspace: Path
    home: Path
    snapshot: Snapshot
    folds: FoldIndex


def make_workspace(folder: Path, compared: Settings) -> Data:
    """A workspace in ``folder`` with the first images of the data set, or with generated ones.

    The class list is that of the weights to start from, whose head would not fit another one.
    """
    settings = load_settings(folder / "home")
    prepare(settings.home / "ultralytics")
    workspace = init_workspace(folder / "workspace")
    workspace.set_params(compared.params)
    classes = CLASSES
    if compared.base.endswith(".pt"):
        classes = class_names(Path(compared.base))
        _set_classes(settings, classes)
    data = compared.data or _generated(folder / "generated", compared, classes)
    format: Format = "voc" if compared.data else "yolo"
    names = [image.name for image in read_dataset(data, format, classes=None)]
    only = folder / "names.txt"
    only.write_text("\n".join(names[: compared.images]), encoding="utf-8")
    import_dataset(
        settings,
        data,
        format,
        import_as=ImportAs.TRUTH,
        gold=False,
        subject_pattern="",
        only=only,
        actor=_ACTOR,
        progress=lambda _done, _total: None,
    )
    for stage in _STAGES:
        subprocess.run(
            [sys.executable, "-m", f"train.{stage}"],
            cwd=workspace.folder,
            env=os.environ | settings.environment(),
            check=True,
            stdout=sys.stderr,
        )
    # The first use of a home makes MLflow's tables, which takes longer than a training starts.
    open_tracking(settings).prepare()
    paths = StagePaths(Labels.ADJUDICATED)
    return Data(
        workspace.folder,
        settings.home,
        open_snapshot(workspace.folder / paths.snapshot),
        read_folds(workspace.folder / paths.folds),
    )


def class_names(weights: Path) -> ClassList:
    from ultralytics import YOLO

    return ClassList(tuple(YOLO(weights).names.values()))


def write_fold_folders(data: Data, folder: Path) -> list[Path]:
    """Image files and labels of each fold below ``folder``; returns their data.yaml."""
    snapshot = data.snapshot
    files = []
    for fold in range(data.folds.k):
        place = folder / f"fold_{fold}"
        _write_part(snapshot, data.folds.train_rows(fold), place, "train")
        _write_part(snapshot, data.folds.val_rows(fold), place, "val")
        names = dict(enumerate(snapshot.classes))
        content = {"path": str(place), "train": "train", "val": "val", "names": names}
        files.append(place / "data.yaml")
        files[-1].write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return files


def _write_part(snapshot: Snapshot, rows: Sequence[int], place: Path, part: str) -> None:
    images, labels = place / part / "images", place / part / "labels"
    images.mkdir(parents=True)
    labels.mkdir()
    for row in rows:
        sample = snapshot.samples[row]
        image = images / f"{sample.image_id}{SUFFIXES[sample.media_type]}"
        image.write_bytes(snapshot.image_bytes(sample.image_id))
        (labels / f"{sample.image_id}.txt").write_text(_label(sample), encoding="utf-8")


def _label(sample: Sample) -> str:
    """A line a box: class, then centre, width and height in shares of the image."""
    lines = []
    for final in sample.boxes:
        box = final.box
        x, y = (box.x1 + box.x2) / 2 / sample.width, (box.y1 + box.y2) / 2 / sample.height
        width, height = (box.x2 - box.x1) / sample.width, (box.y2 - box.y1) / sample.height
        lines.append(f"{final.class_id} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n")
    return "".join(lines)


def _set_classes(settings: StoreSettings, classes: ClassList) -> None:
    with open_units_of_work(settings)() as uow:
        uow.classes.set(classes)
        uow.record(classes_event(classes, _ACTOR))
        uow.commit()


def _generated(folder: Path, compared: Settings, classes: ClassList) -> Path:
    """With ``classes`` for what is to be seen, whatever they are called."""
    count, size = compared.images, compared.image_size
    images = (
        ExportedImage(
            image.name,
            encode_png(image.pixels),
            "image/png",
            size,
            size,
            tuple(
                ImportedBox(classes.name_of(true.class_id % len(classes)), _clipped(true.box, size))
                for true in image.boxes
            ),
        )
        for image in generate(count, seed=_GENERATED_SEED, size=size, images_per_subject=1)
    )
    write_dataset(folder, "yolo", images, classes)
    return folder


def _clipped(box: Box, size: int) -> Box:
    return box.clipped(size, size) or box

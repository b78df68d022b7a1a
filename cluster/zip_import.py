"""One data set in a ZIP file: unpacked beside it, then imported as any folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from cluster.importing import ImportAs, import_dataset
from cluster.importing import ImportReport as FullReport
from loop.errors import InvalidDataset, LoopError
from loop.events import Actor
from store.archives import ArchiveLimits, unpack
from store.formats.base import find_images
from store.settings import Settings
from ui.bulk_import import ImportOptions, ImportReport

# For the database and everybody else's images.
SPARE_BYTES = 1024**3
# Unpacked, in relation to the largest archive: images hardly pack at all.
_UNPACKED_RATIO = 2
# A folder of this name is part of a data set, not a folder around one.
_PARTS = frozenset({"images", "labels", "annotations", "Annotations", "JPEGImages"})

Progress = Callable[[int, int], None]


def import_zip(
    settings: Settings,
    archive: Path,
    options: ImportOptions,
    *,
    sha256: str,
    actor: Actor,
    unpacking: Progress,
    importing: Progress,
) -> ImportReport:
    """Import the data set in ``archive``, which has the digest ``sha256`` and is removed.

    It is unpacked into the folder that the archive lies in, which is the caller's to remove. What
    the report and an error call by its path has the path that it has in the ZIP. Raises as
    `store.archives.unpack` and `cluster.importing.import_dataset` do.
    """
    unpacked = archive.with_suffix("")
    root = unpacked
    try:
        unpack(archive, unpacked, _limits(settings, archive), unpacking)
        archive.unlink()
        root = data_root(unpacked)
        _require_labels(root)
        report = import_dataset(
            settings,
            root,
            options.format,
            import_as=ImportAs(options.import_as),
            gold=options.gold,
            subject_pattern=options.subject_pattern,
            only=None,
            actor=actor,
            progress=importing,
            name=options.name,
            sha256=sha256,
        )
    except LoopError as error:
        message, hint = _below(error.message, root), _below(error.hint, root)
        raise type(error)(message, hint=hint, code=error.detail_code) from error
    return _report(report, root)


def data_root(folder: Path) -> Path:
    """Where the data set itself begins: people pack the folder that holds it along."""
    while True:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name in _PARTS:
            return folder
        folder = inside[0]


def _limits(settings: Settings, archive: Path) -> ArchiveLimits:
    free = max(shutil.disk_usage(archive.parent).free - SPARE_BYTES, 0)
    # By half, for every image is kept once more, in the image store.
    return ArchiveLimits(min(_UNPACKED_RATIO * settings.max_import_bytes, free // 2))


def _require_labels(root: Path) -> None:
    images = find_images(root)
    names = {path.stem for path in images.values()}
    for path in root.rglob("*"):
        if path.suffix.lower() in (".xml", ".json"):
            return
        if path.suffix.lower() == ".txt" and (
            path.stem in names or "labels" in path.relative_to(root).parts
        ):
            return
    if images:
        raise InvalidDataset(
            f"The ZIP has {len(images)} images and no annotation files.",
            hint="To have the model detect in them, unpack the ZIP and upload its images.",
            code="only_images",
        )


def _report(report: FullReport, root: Path) -> ImportReport:
    return ImportReport(
        images=report.images,
        boxes=report.boxes,
        unchanged=report.unchanged,
        subjects=len(report.subjects),
        problems=[(_below(file, root), _below(reason, root)) for file, reason in report.problems],
    )


def _below(text: str, root: Path) -> str:
    """Where it was unpacked is nobody's business."""
    return text.replace(f"{root}/", "").replace(str(root), "the ZIP")

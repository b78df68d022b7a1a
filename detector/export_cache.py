"""Exports of weights that were registered without any: made once, and kept by digest."""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from detector.base import Pixels
from detector.exporting import Exports, export_model
from detector.formats import ExportFormat
from store.model_folder import file_digest, folder_digest

# Counted up when exports made by this program change, so that the old ones are made anew.
_GENERATION = "1"
_RECORD = "exports.json"


def cached_exports(
    weights: Path,
    formats: Iterable[ExportFormat],
    cache: Path,
    *,
    config_dir: Path,
    images: Sequence[Pixels] = (),
) -> Exports:
    """As `detector.exporting.export_model` does it, once for each weights and format.

    What was refused is not tried again. Several processes may ask at once: one exports, the others
    wait for it. Files that are no longer what was written are made anew. Raises what `export_model`
    raises.
    """
    wanted = tuple(dict.fromkeys(formats))
    folder = cache / f"{file_digest(weights)}-{_GENERATION}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # freed with the file, whatever becomes of this process
        digests, refused = _whole(folder)
        missing = [kind for kind in wanted if kind not in digests and kind not in refused]
        if missing:
            with tempfile.TemporaryDirectory(dir=folder) as name:
                made = export_model(
                    weights, missing, Path(name), config_dir=config_dir, images=images
                )
                for kind, found in made.folders.items():
                    shutil.rmtree(folder / kind, ignore_errors=True)  # a damaged one
                    digests[kind] = folder_digest(found)
                    found.rename(folder / kind)
                refused |= made.refused
                _write_record(folder, Path(name), digests, refused)
    return Exports(
        {kind.value: folder / kind for kind in wanted if kind in digests},
        {kind.value: refused[kind] for kind in wanted if kind in refused},
    )


def _whole(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The digests of exports that are as they were written; why others were refused."""
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}, {}
    digests = {
        kind: digest
        for kind, digest in record["digests"].items()
        if (folder / kind).is_dir() and folder_digest(folder / kind) == digest
    }
    return digests, record["refused"]


def _write_record(
    folder: Path, temporary: Path, digests: dict[str, str], refused: dict[str, str]
) -> None:
    new = temporary / _RECORD
    new.write_text(json.dumps({"digests": digests, "refused": refused}), encoding="utf-8")
    new.replace(folder / _RECORD)

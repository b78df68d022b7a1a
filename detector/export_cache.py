"""Exports of weights that were registered without any: made once, and kept by digest.

Nothing signs them. They are as good as the verified weights that they are made of, in a folder that
nobody else can write to, whose files must have the digests that were noted when they were made.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from detector.base import Pixels
from detector.engine import fastest_first
from detector.exporting import Exports, export_model
from detector.formats import INT8, ExportFormat
from detector.loading import ON_CPU, WEIGHTS
from loop.errors import LoopError, Unavailable
from store.model_folder import file_digest, folder_digest
from store.private_files import private_folder

# Counted up when exports made by this program change, so that the old ones are made anew.
_GENERATION = "1"
_RECORD = "exports.json"
_MAKING = "making-"
# Whoever has work for the cores goes first.
_NICE = 10


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
    raises, and `Misconfigured` for a ``cache`` that others may write to.
    """
    wanted = tuple(dict.fromkeys(formats))
    folder = private_folder(cache) / _name(file_digest(weights))
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # freed with the file, whatever becomes of this process
        for abandoned in folder.glob(f"{_MAKING}*"):  # by a process that was killed
            shutil.rmtree(abandoned, ignore_errors=True)
        digests, refused = _whole(folder)
        missing = [kind for kind in wanted if kind not in digests and kind not in refused]
        if missing:
            with tempfile.TemporaryDirectory(dir=folder, prefix=_MAKING) as name:
                made = export_model(
                    weights, missing, Path(name), config_dir=config_dir, images=images
                )
                for kind, found in made.folders.items():
                    shutil.rmtree(folder / kind, ignore_errors=True)  # a damaged one
                    digests[kind] = folder_digest(found)
                    found.rename(folder / kind)
                refused |= made.refused
                _write_record(folder, Path(name), digests, refused)
    return _of(wanted, folder, digests, refused)


def kept_exports(digest: str, formats: Iterable[ExportFormat], cache: Path) -> Exports:
    """Those of weights with that SHA-256 that were made before, whole."""
    if not (cache / _name(digest)).is_dir():
        return Exports()
    folder = private_folder(cache) / _name(digest)
    return _of(tuple(formats), folder, *_whole(folder))


def exports_by_child(
    weights: Path,
    formats: Iterable[ExportFormat],
    cache: Path,
    *,
    config_dir: Path,
    seconds: float,
) -> Exports:
    """As `cached_exports`, but what has to be made is made by a process of its own.

    The caller's is then neither held up by torch nor ended by an exporter that crashes. Raises
    `Unavailable` if the child fails or takes longer than ``seconds``.
    """
    wanted = tuple(dict.fromkeys(formats))
    digest = file_digest(weights)
    found = kept_exports(digest, wanted, cache)
    if {*found.folders, *found.refused} >= set(wanted):
        return found
    command = [sys.executable, "-m", __name__, weights, cache, config_dir, *wanted]
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{', '.join(wanted)} could not be made: {error}.") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise Unavailable(f"{', '.join(wanted)} could not be made: {last[:500]}")
    return kept_exports(digest, wanted, cache)


def worth_making(files: Mapping[str, object]) -> list[ExportFormat]:
    """What ``auto`` would take before anything in ``files``, and can be made of the weights."""
    if WEIGHTS not in files or INT8 in files or fastest_first() != ON_CPU:
        return []
    best = next(name for name in ON_CPU if name in files)
    return [ExportFormat(name) for name in ON_CPU[: ON_CPU.index(best)]]


def _name(digest: str) -> str:
    return f"{digest}-{_GENERATION}"


def _of(
    wanted: Sequence[ExportFormat], folder: Path, digests: dict[str, str], refused: dict[str, str]
) -> Exports:
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


def _main(weights: str, cache: str, config_dir: str, *formats: str) -> str | None:
    """For `sys.exit`: None, or what went wrong."""
    os.nice(_NICE)
    try:
        kinds = [ExportFormat(each) for each in formats]
        cached_exports(Path(weights), kinds, Path(cache), config_dir=Path(config_dir))
    except LoopError as error:
        return error.message
    return None


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))

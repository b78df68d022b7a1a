"""The files of model versions: into the artifacts of their runs, and back, checked by digest."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loop.classes import ClassList
from loop.errors import BrokenRecord, NotFound
from loop.predictions import ModelRef
from store.model_folder import (
    ARTIFACTS,
    WEIGHTS,
    ServingConfig,
    file_digest,
    folder_digest,
    write_model_folder,
)
from store.tracking import Tracking

_WEIGHTS_PATH_TAG = "loop.weights_path"
_EXPORT_TAG = re.compile(r"loop\.export\.(\w+)\.sha256")
# What an exception of three libraries says may be as long as it likes.
_LONGEST_TAG = 1000
# Where the weights of a version without that tag are: it was registered before there were exports.
_EARLIER_WEIGHTS = "weights.pt"


def export_digests(tags: Mapping[str, str]) -> dict[str, str]:
    """The digest of each export of a version with these tags, by format."""
    found = ((_EXPORT_TAG.fullmatch(name), digest) for name, digest in tags.items())
    return {match[1]: digest for match, digest in found if match}


def refusal_tags(refused: Mapping[str, str]) -> dict[str, str]:
    """Why a version has no export to a format."""
    return {f"loop.export.{each}.refused": why[:_LONGEST_TAG] for each, why in refused.items()}


class ModelFiles:
    """What was fetched stays in ``cache``, by digest. Versions are MLflow's ``ModelVersion``."""

    def __init__(self, tracking: Tracking, cache: Path, serving: ServingConfig) -> None:
        self._tracking = tracking
        self._cache = cache
        self._serving = serving

    def upload(
        self,
        run_id: str,
        folder: str,
        weights: Path,
        exports: Mapping[str, Path],
        classes: ClassList,
    ) -> dict[str, str]:
        """Put a version's files into ``folder`` of the run's artifacts; returns its tags for them.

        Doing it again, after it was interrupted, writes the same files over.
        """
        with tempfile.TemporaryDirectory() as name:
            made = Path(name) / folder
            self._tracking.call(
                lambda: write_model_folder(made, weights, exports, classes, self._serving)
            )
            digests = {each: folder_digest(made / ARTIFACTS / each) for each in exports}
            self._tracking.log_folder(run_id, made, folder)
        tags = {f"loop.export.{each}.sha256": digest for each, digest in digests.items()}
        return tags | {_WEIGHTS_PATH_TAG: WEIGHTS}

    def fetch_weights(self, ref: ModelRef, version_of: Callable[[], Any]) -> Path:
        """The ``.pt`` file; ``version_of`` is asked only if it is not in the cache."""
        target = self._cache / f"{ref.digest}.pt"
        if target.exists() and file_digest(target) == ref.digest:
            return target
        version = version_of()
        path = version.tags.get(_WEIGHTS_PATH_TAG, _EARLIER_WEIGHTS)
        with self._downloaded(version, path) as found:
            _check(f"The weights of {ref.name} {ref.version}", file_digest(found), ref.digest)
            found.replace(target)
        return target

    def fetch_export(self, ref: ModelRef, format: str, version: Any) -> Path:
        digest = export_digests(version.tags).get(format)
        if digest is None:
            raise NotFound(
                f"{ref.name} {ref.version} has no export to {format}.",
                hint="Name it under EXPORTS in params.yaml before the training.",
            )
        target = self._cache / "exports" / digest
        if not _is_whole(target, digest):
            with self._downloaded(version, f"{ARTIFACTS}/{format}") as found:
                what = f"The files of {ref.name} {ref.version} for {format}"
                _check(what, folder_digest(found), digest)
                _put_in_place(found, target, digest)
        return target

    @contextmanager
    def _downloaded(self, version: Any, path: str) -> Iterator[Path]:
        """A file or folder of the version, below the cache for as long as it is needed."""
        artifact = f"{version.source.rstrip('/').rpartition('/')[2]}/{path}"
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache) as folder:
            found = self._tracking.call(
                lambda: self._tracking.client.download_artifacts(version.run_id, artifact, folder)
            )
            yield Path(found)


def _check(what: str, digest: str, expected: str) -> None:
    if digest != expected:
        raise BrokenRecord(
            f"{what} have the digest {digest[:12]}, not {expected[:12]} as they were registered "
            "with.",
            hint="Do not use them. Restore MLflow's artifacts from a backup.",
        )


def _is_whole(folder: Path, digest: str) -> bool:
    return folder.is_dir() and folder_digest(folder) == digest


def _put_in_place(found: Path, target: Path, digest: str) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)  # a damaged one
    try:
        found.rename(target)
    except OSError:
        if not _is_whole(target, digest):  # else another process was faster
            raise

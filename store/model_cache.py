"""Versions of models on this machine's disk, each a folder with its signature, checked at each use.

Whoever may write to the cache can make a model unusable; they cannot have a changed one loaded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from loop.errors import BrokenRecord, NotFound
from loop.predictions import ModelRef
from store.model_folder import ARTIFACTS, WEIGHTS, WEIGHTS_NAME
from store.model_keys import VerifyKey
from store.model_signature import Signed, check_files, file_digests, read_signature_file

# Where the weights of a version are that was registered before there were exports.
_EARLIER_WEIGHTS = "weights.pt"
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class VerifiedModel:
    """``folder`` had exactly the files that were ``signed`` when it was looked at."""

    ref: ModelRef
    folder: Path
    signed: Signed

    @property
    def weights(self) -> Path:
        return self.folder / weights_path(self.signed.files)

    def export(self, format: str) -> Path:
        """Raises `NotFound` if there is none to this format."""
        if not _below(self.signed.files, f"{ARTIFACTS}/{format}/"):
            raise NotFound(
                f"{self.ref.name} {self.ref.version} has no export to {format}.",
                hint="Name it under EXPORTS in params.yaml before the training.",
            )
        return self.folder / ARTIFACTS / format

    def copy(self, names: Iterable[str], into: Path) -> dict[str, Path]:
        """Copy what ``names`` means, of what there is, into a folder of the caller's own.

        What is copied is what is hashed, so that a change since the check does not get through:
        raises `BrokenRecord`.
        """
        copied: dict[str, Path] = {}
        for name in names:
            place = f"{ARTIFACTS}/{name}"
            paths = _below(self.signed.files, f"{place}/")
            if name == WEIGHTS_NAME:
                place = weights_path(self.signed.files)
                paths = [place]
            for path in paths:
                self._copy_file(path, into / path)
            if paths:
                copied[name] = into / place
        return copied

    def _copy_file(self, path: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        digest = hashlib.sha256()
        with (
            (self.folder / path).open("rb") as source,
            os.fdopen(os.open(target, flags, 0o400), "wb") as copy,
        ):
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                copy.write(chunk)
        if digest.hexdigest() != self.signed.files[path]:
            raise BrokenRecord(
                f"{path} of {self.ref.name} {self.ref.version} was changed while it was read.",
                hint="Find out what writes to the model cache, SECONDLOOK_HOME/models.",
            )


def check_model(ref: ModelRef, folder: Path, trusted: Mapping[str, VerifyKey]) -> VerifiedModel:
    """Check signature and files of the folder of a version. Raises `BrokenRecord`."""
    what = f"{ref.name} {ref.version}"
    signed = read_signature_file(what, folder, trusted)
    if signed.name != ref.name:
        raise BrokenRecord(
            f"The signature of {what} is one of the model {signed.name!r}.",
            hint="Restore MLflow's artifacts from a backup.",
        )
    weights = signed.files.get(weights_path(signed.files), "none")
    if weights != ref.digest:
        raise BrokenRecord(
            f"The signature of {what} is that of another version: its weights have the digest "
            f"{weights[:12]}, those of {what} have {ref.digest[:12]}.",
            hint="Restore MLflow's artifacts from a backup.",
        )
    check_files(what, signed, file_digests(what, folder))
    return VerifiedModel(ref, folder, signed)


def cache_folder(cache: Path, ref: ModelRef) -> Path:
    return cache / f"{quote(ref.name, safe='')}-{ref.version}-{ref.digest[:16]}"


def put_in_place(found: Path, target: Path) -> None:
    """Make ``found`` the folder ``target`` in one step, in place of a damaged one."""
    with tempfile.TemporaryDirectory(dir=target.parent) as bin:
        if target.exists():
            target.rename(Path(bin) / "damaged")
        try:
            found.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            shutil.rmtree(found)  # another process was faster; what it put there is checked as well


def weights_path(files: Mapping[str, str]) -> str:
    return WEIGHTS if WEIGHTS in files else _EARLIER_WEIGHTS


def _below(files: Mapping[str, str], folder: str) -> list[str]:
    return [path for path in files if path.startswith(folder)]

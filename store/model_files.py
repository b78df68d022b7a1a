"""The files of model versions: into the artifacts of their runs, signed, and back, checked."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loop.classes import ClassList
from loop.errors import BrokenRecord, Conflict, LoopError
from loop.predictions import ModelRef
from store.model_cache import VerifiedModel, cache_folder, check_model, put_in_place, weights_path
from store.model_folder import (
    ARTIFACTS,
    WEIGHTS,
    ServingConfig,
    file_digest,
    folder_digest,
    write_model_folder,
)
from store.model_keys import ModelKeys, VerifyKey
from store.model_signature import (
    RESTORE,
    SIGNATURE,
    Signed,
    check_files,
    file_digests,
    read_signature,
    read_signature_file,
    sign,
)
from store.tracking import Tracking

SIGNATURE_TAG = "loop.signature.sha256"
KEY_TAG = "loop.signature.key"
_WEIGHTS_PATH_TAG = "loop.weights_path"
_EXPORT_TAG = re.compile(r"loop\.export\.(\w+)\.sha256")
# What an exception of three libraries says may be as long as it likes.
_LONGEST_TAG = 1000


@dataclass(frozen=True, slots=True)
class SignatureNote:
    """What the registry says of a signature: its own SHA-256, and its key's fingerprint."""

    key: str
    sha256: str

    def as_dict(self) -> dict[str, str]:
        return {"key": self.key, "sha256": self.sha256}


def signature_note(tags: Mapping[str, str]) -> SignatureNote | None:
    """None for a version that was never signed."""
    if KEY_TAG not in tags or SIGNATURE_TAG not in tags:
        return None
    return SignatureNote(tags[KEY_TAG], tags[SIGNATURE_TAG])


def export_digests(tags: Mapping[str, str]) -> dict[str, str]:
    """The digest of each export of a version with these tags, by format."""
    found = ((_EXPORT_TAG.fullmatch(name), digest) for name, digest in tags.items())
    return {match[1]: digest for match, digest in found if match}


def refusal_tags(refused: Mapping[str, str]) -> dict[str, str]:
    """Why a version has no export to a format."""
    return {f"loop.export.{each}.refused": why[:_LONGEST_TAG] for each, why in refused.items()}


class ModelFiles:
    """What was fetched stays in ``cache``, a folder a version. Versions are MLflow's."""

    def __init__(
        self, tracking: Tracking, cache: Path, serving: ServingConfig, keys: ModelKeys
    ) -> None:
        self._tracking = tracking
        self._cache = cache
        self._serving = serving
        self._keys = keys

    def upload(
        self,
        name: str,
        run_id: str,
        folder: str,
        weights: Path,
        digest: str,
        exports: Mapping[str, Path],
        classes: ClassList,
        backend: str = "auto",
    ) -> dict[str, str]:
        """Put a version's files, signed, into ``folder`` of the run's artifacts; returns its tags.

        Doing it again, after it was interrupted, writes the same files over. Raises `Conflict` if
        the weights no longer have that digest.
        """
        key = self._keys.signing_key()
        serving = replace(self._serving, backend=backend)
        with tempfile.TemporaryDirectory() as temporary:
            made = Path(temporary) / folder
            self._tracking.call(
                lambda: write_model_folder(made, weights, exports, classes, serving)
            )
            files = file_digests(name, made)
            if files[WEIGHTS] != digest:
                raise Conflict(f"{weights} changed while it was registered.", hint="Try again.")
            digests = {each: folder_digest(made / ARTIFACTS / each) for each in exports}
            content = sign(name, files, key)
            signed = read_signature(name, content, {key.public.fingerprint: key.public})
            (made / SIGNATURE).write_bytes(content)
            self._tracking.log_folder(run_id, made, folder)
        tags = {f"loop.export.{each}.sha256": digest for each, digest in digests.items()}
        return tags | signature_tags(signed) | {_WEIGHTS_PATH_TAG: WEIGHTS}

    def fetch(self, ref: ModelRef, version_of: Callable[[], Any]) -> VerifiedModel:
        """The version in the cache; ``version_of`` is asked only if it is not there, whole.

        Raises `BrokenRecord` if digests or signature are wrong.
        """
        target = cache_folder(self._cache, ref)
        trusted = self._keys.trusted()
        if target.is_dir():
            try:
                return check_model(ref, target, trusted)
            except BrokenRecord:
                pass  # damaged, or signed anew in the meantime
        version = version_of()
        with self._downloaded(version) as found:
            _check_whole(ref, version, found, trusted)
            put_in_place(found, target)
        return check_model(ref, target, trusted)

    def verify(self, ref: ModelRef, version: Any, trusted: Mapping[str, VerifyKey]) -> Signed:
        """Check what MLflow has of a version, not what is in the cache. Raises `BrokenRecord`."""
        with self._downloaded(version) as found:
            return _check_whole(ref, version, found, trusted)

    def digests(self, ref: ModelRef, version: Any) -> tuple[str, dict[str, str]]:
        """As `ModelRegistry.digests_of`."""
        with self._downloaded(version) as found:
            weights = found / str(version.tags.get(_WEIGHTS_PATH_TAG, WEIGHTS))
            if not weights.resolve().is_relative_to(found.resolve()) or not weights.is_file():
                raise BrokenRecord(f"{ref.name} {ref.version} has no weights.", hint=RESTORE)
            folders = {each.name: each for each in (found / ARTIFACTS).glob("*") if each.is_dir()}
            return file_digest(weights), {
                name: folder_digest(folder) for name, folder in folders.items()
            }

    def sign(self, ref: ModelRef, version: Any) -> tuple[Signed, bool]:
        """Sign what MLflow has of a version, if it has the digests that the registry knows.

        Returns the signature and whether it is new: one by this installation's own key that is in
        order stays. Raises `BrokenRecord` if the files are not those that were registered, or that
        a trusted key had signed.
        """
        what = f"{ref.name} {ref.version}"
        key = self._keys.signing_key()
        with self._downloaded(version) as found:
            files = file_digests(what, found)
            weights = files.get(weights_path(files), "")
            _check(f"The weights of {what}", weights, ref.digest)
            _check_exports(what, version.tags, found)
            earlier = self._earlier(what, found)
            if earlier is not None:
                check_files(what, earlier, files)
                if earlier.key == key.public.fingerprint and _is_on_record(version.tags, earlier):
                    return earlier, False
            content = sign(ref.name, files, key)
            (found / SIGNATURE).write_bytes(content)
            folder = _folder_of(version)
            self._tracking.log_file(version.run_id, found / SIGNATURE, folder)
        return read_signature(what, content, {key.public.fingerprint: key.public}), True

    def _earlier(self, what: str, folder: Path) -> Signed | None:
        try:
            return read_signature_file(what, folder, self._keys.trusted())
        except LoopError:  # there is none, or none that counts
            return None

    @contextmanager
    def _downloaded(self, version: Any) -> Iterator[Path]:
        """The folder of the version, below the cache for as long as it is needed."""
        self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self._cache) as folder:
            found = self._tracking.call(
                lambda: self._tracking.client.download_artifacts(
                    version.run_id, _folder_of(version), folder
                )
            )
            yield Path(found)


def signature_tags(signed: Signed) -> dict[str, str]:
    return {SIGNATURE_TAG: signed.sha256, KEY_TAG: signed.key}


def _check_whole(
    ref: ModelRef, version: Any, folder: Path, trusted: Mapping[str, VerifyKey]
) -> Signed:
    what = f"{ref.name} {ref.version}"
    signed = check_model(ref, folder, trusted).signed
    _check_exports(what, version.tags, folder)
    if not _is_on_record(version.tags, signed):
        raise BrokenRecord(
            f"The signature of {what} is not the one that the registry knows of.",
            hint=f"If you trust it, put it on record: secondlook models sign {ref.version}",
        )
    return signed


def _is_on_record(tags: Mapping[str, str], signed: Signed) -> bool:
    return signature_tags(signed).items() <= tags.items()


def _check_exports(what: str, tags: Mapping[str, str], folder: Path) -> None:
    for format, digest in export_digests(tags).items():
        _check(
            f"The files of {what} for {format}", folder_digest(folder / ARTIFACTS / format), digest
        )


def _check(what: str, digest: str, expected: str) -> None:
    if digest != expected:
        raise BrokenRecord(
            f"{what} have the digest {digest[:12] or 'of no file'}, not {expected[:12]} as they "
            "were registered with.",
            hint=RESTORE,
        )


def _folder_of(version: Any) -> str:
    return str(version.source.rstrip("/").rpartition("/")[2])

"""Model versions and their aliases in MLflow's registry; weights are checked by their SHA-256."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loop.classes import ClassList
from loop.errors import BrokenRecord, InvalidInput, NotFound
from loop.predictions import ModelRef
from store.settings import Settings
from store.tracking import EXPERIMENT, Tracking, open_tracking

SHA256_TAG = "loop.sha256"
CLASSES_TAG = "loop.classes"
_FOLDER = "model"
_WEIGHTS = "weights.pt"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """``created_at`` is RFC 3339 in UTC; ``run_id`` is the run that made it."""

    ref: ModelRef
    aliases: tuple[str, ...]
    run_id: str
    tags: Mapping[str, str]
    created_at: str


class ModelRegistry:
    """The versions of the model ``name``. Fetched weights stay in ``cache``, by digest."""

    def __init__(self, tracking: Tracking, cache: Path, name: str) -> None:
        self.name = name
        self._tracking = tracking
        self._cache = cache

    def register(
        self,
        weights: Path,
        *,
        classes: ClassList,
        run_id: str | None,
        tags: Mapping[str, str],
    ) -> ModelRef:
        """Keep ``weights`` as the next version, as an artifact of ``run_id``.

        Weights from outside have no run; they get one of their own.
        """
        if not weights.is_file():
            raise NotFound(f"There is no file {weights}.", hint="Give the path of a .pt file.")
        digest = _sha256(weights)
        owner = run_id or self._run_for_import(digest)
        with tempfile.TemporaryDirectory() as folder:
            named = shutil.copyfile(weights, Path(folder) / _WEIGHTS)
            self._tracking.log_file(owner, named, _FOLDER)
        self._ensure_name()
        all_tags = {
            **tags,
            SHA256_TAG: digest,
            CLASSES_TAG: json.dumps(list(classes), ensure_ascii=False),
        }
        source = f"{self._tracking.run(owner).artifact_uri}/{_FOLDER}"
        version = self._tracking.call(
            lambda: self._client.create_model_version(
                self.name, source, owner, tags=all_tags, await_creation_for=0
            )
        )
        if run_id is None:
            self._tracking.end_run(owner, ok=True)
        return ModelRef(self.name, str(version.version), digest)

    def fetch(self, ref: ModelRef) -> Path:
        """The weights as a local file. Raises `BrokenRecord` if they no longer match ``ref``."""
        target = self._cache / f"{ref.digest}.pt"
        if target.exists() and _sha256(target) == ref.digest:
            return target
        run_id = self._get_version(ref.version).run_id
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache) as folder:
            path = self._tracking.call(
                lambda: self._client.download_artifacts(run_id, f"{_FOLDER}/{_WEIGHTS}", folder)
            )
            digest = _sha256(Path(path))
            if digest != ref.digest:
                raise BrokenRecord(
                    f"The weights of {ref.name} {ref.version} have the digest {digest[:12]}, "
                    f"not {ref.digest[:12]} as they were registered with.",
                    hint="Do not use them. Restore MLflow's artifacts from a backup.",
                )
            Path(path).replace(target)
        return target

    def resolve(self, alias_or_version: str) -> ModelRef:
        """The version that an alias or a version number means. Raises `NotFound`."""
        if alias_or_version.isdigit():
            return self._ref(self._get_version(alias_or_version))
        found = self.find_alias(alias_or_version)
        if found is None:
            raise NotFound(
                f"No version of {self.name} has the alias {alias_or_version!r}.",
                hint="secondlook models list shows versions and aliases.",
            )
        return found

    def find_alias(self, alias: str) -> ModelRef | None:
        version = self._aliases().get(alias)
        return self._ref(self._get_version(version)) if version else None

    def set_alias(self, alias: str, ref: ModelRef) -> None:
        self._tracking.call(
            lambda: self._client.set_registered_model_alias(self.name, alias, ref.version)
        )

    def delete_alias(self, alias: str) -> None:
        if alias in self._aliases():
            self._tracking.call(
                lambda: self._client.delete_registered_model_alias(self.name, alias)
            )

    def versions(self) -> list[ModelVersion]:
        """Oldest first."""
        by_version: dict[str, list[str]] = {}
        for alias, version in self._aliases().items():
            by_version.setdefault(version, []).append(alias)
        found = self._search_versions()
        return [
            ModelVersion(
                ref=self._ref(version),
                aliases=tuple(sorted(by_version.get(str(version.version), ()))),
                run_id=version.run_id,
                tags=dict(version.tags),
                created_at=_rfc3339(version.creation_timestamp),
            )
            for version in sorted(found, key=lambda version: int(version.version))
        ]

    def run_of(self, ref: ModelRef) -> str:
        """The id of the run that made this version; for imported weights, of their import."""
        return str(self._get_version(ref.version).run_id)

    def classes_of(self, ref: ModelRef) -> ClassList:
        tags = self._get_version(ref.version).tags
        try:
            return ClassList(tuple(json.loads(tags[CLASSES_TAG])))
        except (KeyError, ValueError, TypeError, InvalidInput) as error:
            raise BrokenRecord(
                f"{ref.name} {ref.version} has no list of classes in its tag {CLASSES_TAG}.",
                hint="Register the weights again: secondlook models register.",
            ) from error

    @property
    def _client(self) -> Any:
        return self._tracking.client

    def _search_versions(self) -> list[Any]:
        # MLflow's filter has no escape for quotes; our own comparison drops what is too much.
        found: list[Any] = []
        token: str | None = None
        while True:
            page = self._tracking.call(
                lambda token=token: self._client.search_model_versions(  # type: ignore[misc]
                    f"name = '{self.name}'", page_token=token
                )
            )
            found.extend(version for version in page if version.name == self.name)
            token = page.token
            if not token:
                return found

    def _get_version(self, version: str) -> Any:
        try:
            return self._tracking.call(lambda: self._client.get_model_version(self.name, version))
        except NotFound:
            raise NotFound(
                f"There is no version {version} of {self.name}.",
                hint="secondlook models list shows versions and aliases.",
            ) from None

    def _aliases(self) -> dict[str, str]:
        """Alias to version; empty while nothing is registered."""
        try:
            model = self._tracking.call(lambda: self._client.get_registered_model(self.name))
        except NotFound:
            return {}
        return {alias: str(version) for alias, version in model.aliases.items()}

    def _ref(self, version: Any) -> ModelRef:
        try:
            return ModelRef(self.name, str(version.version), version.tags[SHA256_TAG])
        except (KeyError, InvalidInput) as error:
            raise BrokenRecord(
                f"{self.name} {version.version} has no digest in its tag {SHA256_TAG}.",
                hint="It was not registered by Second Look: delete it in MLflow.",
            ) from error

    def _ensure_name(self) -> None:
        def create() -> None:
            from mlflow.exceptions import MlflowException

            try:
                self._client.create_registered_model(self.name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

        self._tracking.call(create)

    def _run_for_import(self, digest: str) -> str:
        return self._tracking.start_run(
            EXPERIMENT,
            f"import {digest[:12]}",
            tags={"loop.kind": "import", SHA256_TAG: digest},
            params={},
        )


def open_model_registry(settings: Settings) -> ModelRegistry:
    return ModelRegistry(open_tracking(settings), settings.model_cache, settings.model_name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rfc3339(milliseconds: int) -> str:
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

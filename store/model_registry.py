"""Model versions and their aliases in MLflow's registry; their files are signed and checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loop.classes import ClassList
from loop.errors import BrokenRecord, InvalidInput, NotFound
from loop.predictions import ModelRef
from store.model_cache import VerifiedModel
from store.model_files import (
    ModelFiles,
    SignatureNote,
    export_digests,
    refusal_tags,
    signature_note,
    signature_tags,
)
from store.model_folder import ServingConfig, file_digest
from store.model_keys import ModelKeys, VerifyKey, open_model_keys
from store.model_signature import Signed
from store.settings import Settings
from store.tracking import EXPERIMENT, Tracking, open_tracking

SHA256_TAG = "loop.sha256"
CLASSES_TAG = "loop.classes"
_FOLDER = "model"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """``created_at`` is RFC 3339 in UTC; ``run_id`` is the run that made it."""

    ref: ModelRef
    aliases: tuple[str, ...]
    run_id: str
    tags: Mapping[str, str]
    created_at: str

    @property
    def exports(self) -> dict[str, str]:
        """The digest of each exported format: `store.model_folder.folder_digest`."""
        return export_digests(self.tags)

    @property
    def signature(self) -> SignatureNote | None:
        """What the registry says of its signature; None for one that has none."""
        return signature_note(self.tags)


class ModelRegistry:
    """The versions of the model ``name``. What is fetched stays in ``cache``, a folder a version.

    ``keys`` sign what is registered, and say whose signatures are accepted.
    """

    def __init__(
        self,
        tracking: Tracking,
        cache: Path,
        name: str,
        keys: ModelKeys,
        serving: ServingConfig = ServingConfig(),  # noqa: B008  # it is frozen
    ) -> None:
        self.name = name
        self._keys = keys
        self._tracking = tracking
        self._files = ModelFiles(tracking, cache, serving, keys)

    def register(
        self,
        weights: Path,
        *,
        classes: ClassList,
        run_id: str | None,
        tags: Mapping[str, str],
        exports: Mapping[str, Path] | None = None,
        refused: Mapping[str, str] | None = None,
        backend: str = "auto",
    ) -> ModelRef:
        """Keep and sign ``weights`` as the next version, with a folder a format in ``exports``.

        ``refused`` says of other formats why there is none, ``backend`` what MLflow opens. The
        files become artifacts of ``run_id``; weights from outside get a run of their own. The
        version is made when all its files are there. Done twice for one run, by a session that was
        killed and resumed, it gives the version that is there already.
        """
        if not weights.is_file():
            raise NotFound(f"There is no file {weights}.", hint="Give the path of a .pt file.")
        digest = file_digest(weights)
        siblings = [each for each in self._search_versions() if run_id and each.run_id == run_id]
        for sibling in siblings:
            if sibling.tags.get(SHA256_TAG) == digest:
                return self._ref(sibling)
        owner = run_id or self._run_for_import(digest)
        try:
            # Artifacts can be overwritten: those of another version of this run must not be.
            folder = f"{_FOLDER}-{digest[:12]}" if siblings else _FOLDER
            own_tags = self._files.upload(
                self.name, owner, folder, weights, digest, exports or {}, classes, backend
            )
            own_tags |= refusal_tags(refused or {}) | {
                SHA256_TAG: digest,
                CLASSES_TAG: json.dumps(list(classes), ensure_ascii=False),
            }
            self._ensure_name()
            source = f"{self._tracking.run(owner).artifact_uri}/{folder}"
            version = self._tracking.call(
                lambda: self._client.create_model_version(
                    self.name, source, owner, tags={**tags, **own_tags}, await_creation_for=0
                )
            )
        except BaseException:
            if run_id is None:
                self._tracking.end_run(owner, ok=False)
            raise
        if run_id is None:
            self._tracking.end_run(owner, ok=True)
        return ModelRef(self.name, str(version.version), digest)

    def fetch(self, ref: ModelRef) -> Path:
        """The weights as a local file, their signature and digests checked.

        Raises `BrokenRecord` and says what is wrong. The file lies in the cache, where it can
        change after the check: whoever serves takes `fetch_verified`.
        """
        return self._fetch(ref).weights

    def fetch_export(self, ref: ModelRef, format: str) -> Path:
        """The folder of an exported format, as `fetch`. Raises `NotFound` if ``ref`` has none."""
        return self._fetch(ref).export(format)

    def fetch_verified(self, ref: ModelRef, formats: Iterable[str], into: Path) -> dict[str, Path]:
        """What of ``formats`` the version has, for `detector.loading.open_model`, as copies.

        ``weights`` is the ``.pt`` file. ``into`` is a folder of the caller's own that others cannot
        write to (`tempfile` makes such) and that may go once the model is open: what was hashed is
        what was written there. Raises `BrokenRecord`, and `NotFound` if there is none of them.
        """
        wanted = tuple(formats)
        found = self._fetch(ref).copy(wanted, into)
        if not found:
            raise NotFound(
                f"{ref.name} {ref.version} has none of {', '.join(wanted)}.",
                hint="Name it under EXPORTS in params.yaml before the training.",
            )
        return found

    def sign(self, ref: ModelRef) -> tuple[Signed, bool]:
        """Sign a version that has no signature, or one by another key; its digests are checked.

        Returns the signature, and whether it was made just now. Raises `BrokenRecord` if the files
        are not those that were registered.
        """
        version = self._get_version(ref.version)
        signed, made = self._files.sign(ref, version)
        if made:
            self.set_tags(ref, signature_tags(signed))
        return signed, made

    def verify(self, ref: ModelRef, key: VerifyKey | None = None) -> Signed:
        """Check what MLflow has of a version, by ``key`` alone if it is given.

        Raises `BrokenRecord` and says what is wrong.
        """
        trusted = {key.fingerprint: key} if key else self._keys.trusted()
        return self._files.verify(ref, self._get_version(ref.version), trusted)

    def trusts(self, fingerprint: str) -> bool:
        """Whether signatures by this key are accepted here."""
        return fingerprint in self._keys.trusted()

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

    def set_tags(self, ref: ModelRef, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            self._tracking.call(
                lambda name=name, value=value: self._client.set_model_version_tag(  # type: ignore[misc]
                    self.name, ref.version, name, value
                )
            )

    def delete_version(self, ref: ModelRef) -> None:
        """Take it out of the registry. Its run, with the files of it, stays in MLflow."""
        self._tracking.call(lambda: self._client.delete_model_version(self.name, ref.version))

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

    def tags_of(self, ref: ModelRef) -> dict[str, str]:
        return dict(self._get_version(ref.version).tags)

    def digests_of(self, ref: ModelRef) -> tuple[str, dict[str, str]]:
        """Those of the weights and of each export, of the files that MLflow has, whoever signed
        them. Raises `BrokenRecord` if there are no weights among them."""
        return self._files.digests(ref, self._get_version(ref.version))

    def run_of(self, ref: ModelRef) -> str:
        """The id of the run that made this version; for imported weights, of their import."""
        return str(self._get_version(ref.version).run_id)

    def created_at(self, ref: ModelRef) -> str:
        """When this version was registered, as `ModelVersion.created_at`."""
        return _rfc3339(self._get_version(ref.version).creation_timestamp)

    def exports_of(self, ref: ModelRef) -> dict[str, str]:
        """The digest of each exported format, as in `ModelVersion.exports`."""
        return export_digests(self._get_version(ref.version).tags)

    def signature_of(self, ref: ModelRef) -> SignatureNote | None:
        """As `ModelVersion.signature`."""
        return signature_note(self._get_version(ref.version).tags)

    def classes_of(self, ref: ModelRef) -> ClassList:
        tags = self._get_version(ref.version).tags
        try:
            return ClassList(tuple(json.loads(tags[CLASSES_TAG])))
        except (KeyError, ValueError, TypeError, InvalidInput) as error:
            raise BrokenRecord(
                f"{ref.name} {ref.version} has no list of classes in its tag {CLASSES_TAG}.",
                hint="Register the weights again: secondlook models register.",
            ) from error

    def _fetch(self, ref: ModelRef) -> VerifiedModel:
        return self._files.fetch(ref, lambda: self._get_version(ref.version))

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
    serving = ServingConfig(
        min_confidence=settings.min_confidence,
        nms_iou=settings.nms_iou,
        max_image_bytes=settings.max_image_bytes,
        max_image_pixels=settings.max_image_pixels,
    )
    return ModelRegistry(
        open_tracking(settings),
        settings.model_cache,
        settings.model_name,
        open_model_keys(settings),
        serving,
    )


def _rfc3339(milliseconds: int) -> str:
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

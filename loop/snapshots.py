"""A snapshot's manifest: which shards make up a frozen data set, and its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from loop.events import canonical_json
from loop.merkle import leaf_hash, root_of


class Labels(StrEnum):
    """Whose answers a snapshot holds."""

    ADJUDICATED = "adjudicated"
    FIRST_REVIEWER = "first_reviewer"


@dataclass(frozen=True, slots=True)
class Shard:
    """A Parquet file of the snapshot: its path below the snapshot, SHA-256, size and rows."""

    path: str
    sha256: str
    bytes: int
    rows: int

    def as_dict(self) -> dict[str, Any]:
        return {"path": self.path, "sha256": self.sha256, "bytes": self.bytes, "rows": self.rows}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Shard:
        return cls(data["path"], data["sha256"], data["bytes"], data["rows"])


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that identifies a snapshot; no time stamp, so that equal content is equal bytes.

    ``counts`` are totals (images, boxes, boxes per class, gold images, negatives, subjects).
    """

    schema: int
    labels: Labels
    classes: tuple[str, ...]
    image_shards: tuple[Shard, ...]
    annotation_shards: tuple[Shard, ...]
    counts: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": self.schema,
            "labels": self.labels.value,
            "classes": list(self.classes),
            "image_shards": [shard.as_dict() for shard in self.image_shards],
            "annotation_shards": [shard.as_dict() for shard in self.annotation_shards],
            "counts": dict(self.counts),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        return cls(
            data["schema"],
            Labels(data["labels"]),
            tuple(data["classes"]),
            tuple(Shard.from_dict(shard) for shard in data["image_shards"]),
            tuple(Shard.from_dict(shard) for shard in data["annotation_shards"]),
            data["counts"],
        )

    @property
    def dataset_root(self) -> str:
        """The root, in hex, of the Merkle tree (RFC 6962) over the shards, those with images
        first, each as the canonical JSON of its path, digest, size and rows: so that of a single
        shard it can be shown that a model was trained on it."""
        shards = (*self.image_shards, *self.annotation_shards)
        leaves = [leaf_hash(canonical_json(shard.as_dict())) for shard in shards]
        return root_of(leaves).hex()

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical JSON: the snapshot's name."""
        return hashlib.sha256(canonical_json(self.as_dict())).hexdigest()


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """What the database keeps of a snapshot that was created."""

    sha256: str
    manifest: Manifest
    created_at: str
    created_by: str

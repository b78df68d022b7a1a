from __future__ import annotations

import json
from pathlib import Path

import pytest

from loop.classes import ClassList
from loop.croissant import croissant
from loop.snapshots import SnapshotRecord
from tests.loop.papers import AT, manifest

RECORD = SnapshotRecord(manifest().sha256, manifest(), AT, "engineer-1")
SAID = {"data_licence": "CC-BY-4.0", "data_creator": "Acme", "data_url": "https://example.org/"}


def test_every_shard_is_there_with_its_digest() -> None:
    files = [f for f in croissant(RECORD, {})["distribution"] if f["@type"] == "cr:FileObject"]
    assert [(f["contentUrl"], f["sha256"]) for f in files] == [
        (shard.path, shard.sha256)
        for shard in (*RECORD.manifest.image_shards, *RECORD.manifest.annotation_shards)
    ]


def test_creator_and_licence_are_the_operator_s_or_absent() -> None:
    told = croissant(RECORD, SAID)
    assert told["license"] == "CC-BY-4.0"
    assert told["creator"]["name"] == "Acme"
    assert told["url"] == "https://example.org/"
    assert not {"license", "creator", "url"} & croissant(RECORD, {}).keys()


@pytest.mark.parametrize("names", [("cell", "rod"), ('<script>alert("1")</script>', "ü|*")])
def test_mlcroissant_accepts_it(names: tuple[str, ...], tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    made = manifest(ClassList(names))
    record = SnapshotRecord(made.sha256, made, AT, "engineer-1")
    path = tmp_path / "croissant.json"
    path.write_text(json.dumps(croissant(record, SAID)), encoding="utf-8")
    data = mlcroissant.Dataset(jsonld=path)
    assert not data.metadata.issues.errors
    found = [row["classes/name"] for row in data.records("classes")]
    assert found == list(names)

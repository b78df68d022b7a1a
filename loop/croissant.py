"""A snapshot as a Croissant description, JSON-LD that tools for data sets read.

By the Croissant format specification 1.0 (docs.mlcommons.org/croissant). The shards' paths are as
in the manifest: where the file lies beside that, tools can read the images and boxes. One record
set describes the columns of the annotation shards, another those of the image shards;
docs/snapshot-format.md says more of them. Who made the data and under which licence is for the
operator to say: what is not said is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loop.snapshots import Shard, SnapshotRecord

_PARQUET = "application/x-parquet"
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TEXT, _INTEGER, _BOOLEAN = "sc:Text", "sc:Integer", "sc:Boolean"
_IMAGE_COLUMNS = (
    ("image_id", _TEXT, "SHA-256 of the bytes, hex."),
    ("bytes", "sc:ImageObject", "The sanitised image as JPEG, PNG, and so on."),
)
_ANNOTATION_COLUMNS = (
    ("image_id", _TEXT, "Which image."),
    ("width", _INTEGER, "Pixels."),
    ("height", _INTEGER, "Pixels."),
    ("media_type", _TEXT, "As image/jpeg."),
    ("subject", _TEXT, "A pseudonym: images of one subject are never on both sides of a split."),
    ("gold", _BOOLEAN, "In the frozen gold set, which no training sees."),
    ("image_source", _TEXT, "How the image came in."),
    ("annotation_id", _TEXT, "The annotation; with first answers, the correction."),
    ("version", _INTEGER, "Of the annotation, from 1. The row with the highest one counts."),
    ("source", _TEXT, "first_review, second_review, imported, or first_answer."),
    ("prediction_id", _TEXT, "What the reviewers were shown, if anything."),
)
_REVIEWERS = ("reviewers", _TEXT, "Pseudonyms, first reviewer first.")
_BOXES = (
    "boxes",
    "Edges in pixels, origin at the top left, x2 and y2 exclusive. No boxes are an answer: no "
    "finding. A detection that a box came from stands beside it, as detected.",
)
_BOX = (
    ("id", _TEXT, "Unique in its image."),
    *((edge, "sc:Float", "Pixels.") for edge in ("x1", "y1", "x2", "y2")),
    ("class_id", _INTEGER, "A place in the list of classes."),
    ("origin", _TEXT, "accepted, moved, relabelled, added, or imported."),
    ("detection_id", _TEXT, "The detection that it came from, if any."),
)


def croissant(record: SnapshotRecord, said: Mapping[str, str]) -> dict[str, Any]:
    """The description, as JSON values; ``said`` are the operator's answers
    (`loop.techfile_operator`)."""
    manifest = record.manifest
    counts = manifest.counts
    described: dict[str, Any] = {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"second-look-{record.sha256[:12]}",
        "description": (
            f"A frozen data set of {manifest.labels.value} answers to images: "
            f"{counts.get('images')} images of {counts.get('subjects')} subjects, "
            f"{counts.get('boxes')} boxes of the classes {', '.join(manifest.classes)}."
        ),
        "version": f"1.0.0+{record.sha256[:12]}",
        "identifier": f"sha256:{record.sha256}",
        "datePublished": record.created_at[:10],
        "keywords": ["object detection", *manifest.classes],
        "distribution": [
            *(_file(shard) for shard in manifest.image_shards),
            *(_file(shard) for shard in manifest.annotation_shards),
            *_file_set("image-shards", manifest.image_shards),
            *_file_set("annotation-shards", manifest.annotation_shards),
        ],
        "recordSet": [
            _classes(manifest.classes),
            *_record_set("images", "image-shards", manifest.image_shards, _IMAGE_COLUMNS),
            *_record_set(
                "annotations",
                "annotation-shards",
                manifest.annotation_shards,
                _ANNOTATION_COLUMNS,
                _lists("annotations", "annotation-shards"),
            ),
        ],
    }
    return described | _told(said)


def _told(said: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if said.get("data_licence"):
        found["license"] = said["data_licence"]
    if said.get("data_creator"):
        found["creator"] = {"@type": "sc:Organization", "name": said["data_creator"]}
    if said.get("data_url"):
        found["url"] = said["data_url"]
    return found


def _file(shard: Shard) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": shard.path,
        "name": shard.path,
        "contentUrl": shard.path,
        "contentSize": f"{shard.bytes} B",
        "encodingFormat": _PARQUET,
        "sha256": shard.sha256,
    }


def _file_set(name: str, shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """By their names and not by a pattern: what the manifest does not name is no part of it."""
    if not shards:
        return []
    return [
        {
            "@type": "cr:FileSet",
            "@id": name,
            "name": name,
            "encodingFormat": _PARQUET,
            "includes": [shard.path for shard in shards],
        }
    ]


def _classes(names: Sequence[str]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "dataType": "sc:Enumeration",
        "key": {"@id": "classes/id"},
        "field": [
            {"@type": "cr:Field", "@id": "classes/id", "name": "id", "dataType": _INTEGER},
            {"@type": "cr:Field", "@id": "classes/name", "name": "name", "dataType": "sc:Text"},
        ],
        "data": [{"classes/id": i, "classes/name": name} for i, name in enumerate(names)],
    }


def _record_set(
    name: str,
    files: str,
    shards: Sequence[Shard],
    columns: Sequence[tuple[str, str, str]],
    more: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    if not shards:
        return []
    fields = [_field(name, files, *column) for column in columns]
    return [{"@type": "cr:RecordSet", "@id": name, "name": name, "field": [*fields, *more]}]


def _lists(name: str, files: str) -> list[dict[str, Any]]:
    """Fields that hold several values; boxes have fields of their own."""
    column, what = _BOXES
    within = f"{name}/{column}"
    parts = []
    for key, type, told in _BOX:
        source = {
            "fileSet": {"@id": files},
            "extract": {"column": column},
            "transform": {"jsonPath": key},
        }
        parts.append(_field(within, files, key, type, told) | {"source": source})
    boxes = {
        "@type": "cr:Field",
        "@id": within,
        "name": column,
        "description": what,
        "repeated": True,
        "subField": parts,
    }
    return [_field(name, files, *_REVIEWERS) | {"repeated": True}, boxes]


def _field(within: str, files: str, column: str, type: str, what: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{within}/{column}",
        "name": column,
        "description": what,
        "dataType": type,
        "source": {"fileSet": {"@id": files}, "extract": {"column": column}},
    }

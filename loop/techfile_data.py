"""Point 2(d) of the technical documentation: the data sheet."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from loop.events import Event
from loop.snapshots import Labels
from loop.techfile import Cited, Gap, Item, Mark, Plot, Section, Statement, Table
from loop.techfile_labelling import agreement_items, labelling_items
from loop.techfile_records import DASH, Records, day, events_of, number, snapshot_evidence

_LABELS = {Labels.ADJUDICATED: "adjudicated answers", Labels.FIRST_REVIEWER: "first answers"}
_SEALED = "hmac-sha256:"
# What a list of imports is cut to; how many are left out is said.
_MOST_IMPORTS = 50


def data_sheet(records: Records) -> Section:
    operator = records.operator
    return Section(
        "2(d)",
        "Data sheet",
        "The training data: its provenance, scope and characteristics, how it was obtained and "
        "selected, labelled and cleaned.",
        (
            *counts_items(records),
            *provenance_items(records),
            *labelling_items(records),
            *agreement_items(records),
            *split_items(records),
            *gold_set_items(records),
            *_cleaning(records),
            *operator.of_point("2(d)"),
        ),
    )


def counts_items(records: Records) -> tuple[Item, ...]:
    snapshot = records.snapshot
    if snapshot is None:
        return (
            Gap(
                "on which data it was trained",
                "A training on a snapshot leaves its digest with the version "
                "(loop.snapshot_sha256).",
            ),
        )
    manifest = snapshot.manifest
    counts, evidence = manifest.counts, snapshot_evidence(records)
    per_class: Mapping[str, int] = counts.get("boxes_per_class", {})
    total = max(1, sum(per_class.values()))
    items: list[Item] = [
        Statement(
            f"It was trained on the snapshot {snapshot.sha256} of {_LABELS[manifest.labels]}, "
            f"frozen on {day(snapshot.created_at)} by {snapshot.created_by}: "
            f"{number(counts.get('images'))} images of {number(counts.get('subjects'))} subjects, "
            f"{number(counts.get('gold'))} of them in the gold set, with "
            f"{number(counts.get('boxes'))} boxes; {number(counts.get('negatives'))} images have "
            "none, which is an answer.",
            evidence,
        )
    ]
    if per_class:
        items.append(
            Table(
                "Boxes of each class",
                ("class", "boxes", "share"),
                tuple((n, number(c), f"{c / total:.1%}") for n, c in per_class.items()),
                evidence,
                Plot(tuple(Mark(n, (), c / total) for n, c in per_class.items())),
            )
        )
    return (*items, _subjects(records))


def provenance_items(records: Records) -> tuple[Item, ...]:
    shards = records.shards
    items: list[Item] = []
    if shards is None and records.snapshot is not None:
        items.append(
            Gap(
                "where the snapshot's images came from",
                "Its shards are not at hand: build this in the workspace that has them (dvc "
                "checkout), or name it with --workspace.",
            )
        )
    elif shards is not None:
        evidence = snapshot_evidence(records)
        rows = tuple((name or DASH, number(count)) for name, count in shards.sources.items())
        items.append(Table("Images by where they came from", ("source", "images"), rows, evidence))
        items.append(
            Statement(
                f"Images are {_span(shards.widths)} pixels wide and {_span(shards.heights)} high.",
                evidence,
            )
        )
    return (*items, *_imports(records))


def split_items(records: Records) -> tuple[Item, ...]:
    folds = records.version.tags.get("loop.folds_sha256", "")
    split = records.version.tags.get("loop.split_sha256", "")
    found = records.about("folds_sha256", folds, "folds.created")
    found += records.about("split_sha256", split, "split.created")
    if not found:
        return (
            Gap(
                "how the data was split, and whether near-duplicates were kept together",
                "The stage kfold_data_formatting puts it on record.",
            ),
        )
    event = found[-1]
    said = event.event.details
    parts = [part for part in said.get("parts", []) if isinstance(part, Mapping)]
    classes = [str(name) for name in said.get("classes", [])]
    if not parts:
        return (Gap("what each part of the split holds", "The split's event does not say."),)
    items: list[Item] = [
        Table(
            "Parts of the split",
            ("part", "images", "subjects", "near-duplicates", "without boxes", *classes),
            tuple(_part(part, len(classes)) for part in parts),
            (event.evidence,),
        ),
        _near_duplicates(said, parts, event),
    ]
    warnings = [str(each) for each in said.get("warnings", [])]
    items += [Statement(f"The split warned: {each}", (event.evidence,)) for each in warnings]
    return tuple(items)


def gold_set_items(records: Records) -> tuple[Item, ...]:
    promotion = records.promotion
    if promotion is None:
        return (
            Gap(
                "which gold set it was measured on",
                f"secondlook models compare {records.ref.version} measures it.",
            ),
        )
    score = promotion.candidate_score
    grown = records.about("gold_sha256", score.gold_sha256, "gold.grown")
    gate = records.about("promotion_id", promotion.id, "gate.decided")
    return (
        Statement(
            f"The gold set that it was measured on is {score.gold_sha256}: {score.images} images "
            "with settled boxes, frozen, which no training sees; images of their subjects and "
            "near-duplicates of them are left out of training.",
            events_of([*grown[-1:], *gate[-1:]]) or records.database_evidence,
        ),
    )


def _subjects(records: Records) -> Item:
    shards = records.shards
    if shards is None or not shards.images_per_subject:
        return Gap(
            "how the images are spread over subjects",
            "The snapshot's shards are not at hand: name their workspace with --workspace.",
        )
    each = sorted(shards.images_per_subject)
    return Statement(
        f"There are {len(each)} subjects, by pseudonym, with {_span((each[0], each[-1]))} images "
        f"each, {statistics.median(each):g} in the middle.",
        snapshot_evidence(records),
    )


def _span(ends: tuple[int, int]) -> str:
    low, high = ends
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def _imports(records: Records) -> tuple[Item, ...]:
    imports = records.of_types("dataset.imported")
    if not imports:
        return ()
    rows = []
    for each in imports[-_MOST_IMPORTS:]:
        event, said = each.event, each.event.details
        rows.append(
            (
                day(event.at),
                _whence(event),
                str(event.subject.get("format", DASH)),
                number(said.get("images")),
                number(said.get("boxes")),
                number(said.get("problems")),
                "yes" if said.get("gold") else "no",
            )
        )
    cut = len(imports) - len(rows)
    more = f", the last {len(rows)} of {len(imports)}" if cut else ""
    return (
        Table(
            f"Data sets that were brought into this home{more}",
            ("when", "from", "format", "images", "boxes", "not usable", "gold"),
            tuple(rows),
            events_of(imports[-_MOST_IMPORTS:]),
            by_row=True,
        ),
    )


def _whence(event: Event) -> str:
    """A name that personal data may be in is sealed in newer events, and stands as a commitment."""
    name = event.subject.get("source") or event.details.get("source") or DASH
    return "a sealed name" if str(name).startswith(_SEALED) else str(name)


def _part(part: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    keys = ("images", "subjects", "near_duplicate_groups", "negatives")
    boxes = [*part.get("boxes", []), *[None] * classes][:classes]
    return (
        str(part.get("part", DASH)),
        *(number(part.get(key)) for key in keys),
        *map(number, boxes),
    )


def _near_duplicates(said: Mapping[str, Any], parts: list[Any], event: Cited) -> Item:
    distance = said.get("near_duplicate_distance")
    if not isinstance(distance, int) or distance < 0:
        return Gap(
            "which images are near-duplicates",
            "The split went by subject only (NEAR_DUPLICATE_DISTANCE in params.yaml).",
        )
    groups = sum(int(part.get("near_duplicate_groups") or 0) for part in parts)
    return Statement(
        f"Images whose perceptual hashes differ in at most {distance} of 64 bits count as "
        f"near-duplicates and are never parted: {groups} groups of two or more were found.",
        (event.evidence,),
    )


def _cleaning(records: Records) -> tuple[Item, ...]:
    return (
        Statement(
            "Every image is decoded and written anew before it is kept, without metadata; what is "
            "not an image of an allowed type, is truncated, or is larger than "
            f"{records.setting('SECONDLOOK_MAX_IMAGE_BYTES')} bytes or "
            f"{records.setting('SECONDLOOK_MAX_IMAGE_PIXELS')} pixels is refused. The same "
            "bytes are kept once.",
            records.software_evidence
            + records.setting_evidence("SECONDLOOK_MAX_IMAGE_BYTES", "SECONDLOOK_MAX_IMAGE_PIXELS"),
        ),
    )

"""How the data was labelled, in the technical documentation, and how far people agree."""

from __future__ import annotations

from loop.techfile import Evidence, Gap, Item, Mark, Plot, Statement, Table
from loop.techfile_records import DASH, Records, events_of, number, snapshot_evidence


def labelling_items(records: Records) -> tuple[Item, ...]:
    items: list[Item] = [
        Statement(
            "A first person corrects what the model proposes. A second one, who never is the same, "
            "marks the image blind and then settles it, if the first answer and the model differ: "
            "a box without a partner, another class, a box moved by more than CIoU "
            f"{records.setting('SECONDLOOK_AGREEMENT_CIOU')} allows, or a removed detection with "
            f"a confidence of {records.setting('SECONDLOOK_HIGH_CONFIDENCE')} or more.",
            records.software_evidence
            + records.setting_evidence("SECONDLOOK_AGREEMENT_CIOU", "SECONDLOOK_HIGH_CONFIDENCE"),
        )
    ]
    shards = records.shards
    if records.snapshot is None:
        return tuple(items)
    if shards is None:
        items.append(
            Gap(
                "how many of the snapshot's answers are first ones, adjudicated ones and imported",
                "Its shards are not at hand: name their workspace with --workspace.",
            )
        )
        return tuple(items)
    evidence = snapshot_evidence(records)
    total = max(1, sum(shards.answers.values()))
    items.append(
        Table(
            "First answers that stand, adjudicated ones, and imported ones (of their events, the "
            "last before the snapshot are cited)",
            ("answer", "images", "share"),
            tuple(
                (name.replace("_", " "), number(count), f"{count / total:.1%}")
                for name, count in shards.answers.items()
            ),
            (*evidence, *_answers(records)),
        )
    )
    if shards.origins:
        boxes = max(1, sum(shards.origins.values()))
        items.append(
            Table(
                "What the boxes come from",
                ("origin", "boxes", "share"),
                tuple((n, number(c), f"{c / boxes:.1%}") for n, c in shards.origins.items()),
                evidence,
            )
        )
    people = "1 person" if shards.reviewers == 1 else f"{shards.reviewers} people"
    items.append(Statement(f"The answers are by {people}, known by pseudonyms.", evidence))
    if shards.models:
        rows = tuple((name, number(count)) for name, count in shards.models.items())
        items.append(
            Table("Whose boxes the reviewers were shown", ("model", "images"), rows, evidence)
        )
    return tuple(items)


def agreement_items(records: Records) -> tuple[Item, ...]:
    oversight = records.oversight
    if not oversight.read_twice:
        return (
            Gap(
                "how far people agree with one another",
                "It takes images that two people marked, the second one blind.",
            ),
        )
    names = list(records.version.classes)
    rows, marks = [], []
    for each in oversight.agreement:
        name = names[each.class_id]
        low, high = each.interval or (None, None)
        interval = f"{number(low)} to {number(high)}" if each.interval else DASH
        rows.append(
            (
                name,
                number(each.alpha) if each.alpha is not None else f"{DASH} ({each.reason})",
                interval,
                number(each.matched),
                str(each.shown),
            )
        )
        if each.alpha is not None:
            marks.append(Mark(name, (), each.alpha, low, high))
    if not rows:
        return (Gap("how far people agree on each class", "No class has been read twice."),)
    start = min([0.0, *(mark.low for mark in marks if mark.low is not None)])
    return (
        Table(
            f"Agreement between people, over {oversight.read_twice} images that two people marked "
            "independently (Krippendorff's alpha at IoU 0.5; 1 is full agreement, 0 what chance "
            "gives)",
            ("class", "alpha", "95 % interval", "share of boxes matched", "images that show it"),
            tuple(rows),
            records.database_evidence,
            Plot(tuple(marks), start) if marks else None,
        ),
    )


def _answers(records: Records) -> tuple[Evidence, ...]:
    """The latest answers that came before the snapshot."""
    kinds = ("correction.submitted", "second_review.submitted", "annotation.imported")
    return events_of([each for kind in kinds for each in records.of_types(kind)[-1:]])

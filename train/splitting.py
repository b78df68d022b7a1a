"""What the two formatting stages share: which images may be trained on, and what is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from loop.events import Actor, Event, Role
from loop.folds import FoldReport
from loop.ports import UnitsOfWork
from store.snapshot_files import Sample, Snapshot
from train.stage import out


@dataclass(frozen=True, slots=True)
class Pool:
    """Places in ``Snapshot.samples``. ``excluded`` are images of subjects that are in the gold set
    too: a model trained on them would be measured on people or slides that it knows."""

    trainable: tuple[int, ...]
    gold: tuple[int, ...]
    excluded: tuple[int, ...]


def sort_out(samples: Sequence[Sample]) -> Pool:
    gold_subjects = {sample.subject for sample in samples if sample.gold}
    gold, excluded, trainable = [], [], []
    for row, sample in enumerate(samples):
        if sample.gold:
            gold.append(row)
        elif sample.subject in gold_subjects:
            excluded.append(row)
        else:
            trainable.append(row)
    return Pool(tuple(trainable), tuple(gold), tuple(excluded))


def columns_to_split(
    samples: Sequence[Sample], rows: Sequence[int]
) -> tuple[list[str], list[str], list[list[int]]]:
    """Image ids, subjects and the class of each box, for `loop.folds`."""
    chosen = [samples[row] for row in rows]
    return (
        [sample.image_id for sample in chosen],
        [sample.subject for sample in chosen],
        [[box.class_id for box in sample.boxes] for sample in chosen],
    )


def report_on(snapshot: Snapshot, names: Sequence[str], parts: Sequence[str]) -> FoldReport:
    _, subjects, classes = columns_to_split(snapshot.samples, range(len(snapshot.samples)))
    return FoldReport.of(names, parts, subjects, classes, len(snapshot.classes))


def show(title: str, snapshot: Snapshot, report: FoldReport, pool: Pool) -> None:
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("part")
    for column in ("images", "subjects", "negatives", *map(escape, snapshot.classes)):
        table.add_column(column, justify="right")
    for part in report.parts:
        numbers = (part.images, part.subjects, part.negatives, *part.boxes)
        table.add_row(part.part, *(str(number) for number in numbers))
    out.print(table)
    if pool.excluded:
        out.print(
            f"Warning: {len(pool.excluded)} images are not trained on, because their subjects are "
            "also in the gold set.",
            style="yellow",
        )


def record(
    units: UnitsOfWork,
    pseudonym: str,
    type: str,
    subject: Mapping[str, Any],
    report: FoldReport,
) -> None:
    with units() as uow:
        uow.record(
            Event(
                type=type,
                actor=Actor(pseudonym, Role.ENGINEER),
                subject=subject,
                details={"parts": report.as_dict()},
            )
        )
        uow.commit()

"""What the two formatting stages share: what may be trained on, and what is never parted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loop.errors import BrokenRecord, NotEnoughData
from loop.folds import class_spread
from loop.near_duplicates import Groups, connected, near_duplicate_groups, numbered
from loop.perceptual_hash import NO_HASH
from store.image_codec import hash_of
from store.snapshot_files import Sample, Snapshot
from train.stage import progress

# Rows of the snapshot to train on, and those to validate on.
Sides = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Kinship:
    """Which samples belong together, in the order of ``Snapshot.samples``.

    ``near`` numbers the groups of images that look the same, ``together`` those that no split
    parts: of one subject, or near-duplicates, or joined by a chain of both. ``names`` names the
    latter by the first of their subjects, so that no order decides it.
    """

    near: Groups
    together: Groups
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pool:
    """Places in ``Snapshot.samples``. ``excluded`` are images that belong together with a gold one:
    a model trained on them would be measured on people, slides or images that it knows."""

    trainable: tuple[int, ...]
    gold: tuple[int, ...]
    excluded: tuple[int, ...]


def kinship(snapshot: Snapshot, distance: int) -> Kinship:
    """``distance`` is how many bits of near-duplicates' hashes may differ; -1 looks for none."""
    subjects = [sample.subject for sample in snapshot.samples]
    near = near_duplicate_groups(_hashes(snapshot, distance), distance)
    together = connected(numbered(subjects), near)
    first: dict[int, str] = {}
    for group, subject in zip(together.tolist(), subjects, strict=True):
        first[group] = min(subject, first.get(group, subject))
    return Kinship(near, together, tuple(first[group] for group in together.tolist()))


def sort_out(samples: Sequence[Sample], kin: Kinship) -> Pool:
    with_gold = _gold_groups(samples, kin)
    gold, excluded, trainable = [], [], []
    for row, sample in enumerate(samples):
        if sample.gold:
            gold.append(row)
        elif int(kin.together[row]) in with_gold:
            excluded.append(row)
        else:
            trainable.append(row)
    return Pool(tuple(trainable), tuple(gold), tuple(excluded))


def columns_to_split(
    samples: Sequence[Sample], rows: Sequence[int], kin: Kinship
) -> tuple[list[str], list[str], list[list[int]]]:
    """Image ids, groups and the class of each box, for `loop.folds`."""
    chosen = [samples[row] for row in rows]
    return (
        [sample.image_id for sample in chosen],
        [kin.names[row] for row in rows],
        [[box.class_id for box in sample.boxes] for sample in chosen],
    )


def check_classes(snapshot: Snapshot, pool: Pool, kin: Kinship, *, allow_rare: bool) -> list[str]:
    """What to warn of: classes without an example, and rare ones where they are allowed.

    Raises `NotEnoughData` for a class that only one subject shows: whichever side of a split has
    it, the other one cannot learn it or cannot tell whether it was learnt.
    """
    _, names, classes = columns_to_split(snapshot.samples, pool.trainable, kin)
    warnings = []
    for class_id, groups in enumerate(class_spread(names, classes, len(snapshot.classes))):
        name = snapshot.classes.name_of(class_id)
        if not groups:
            warnings.append(f"No image to train on shows {name}: models will not know it.")
        elif groups == 1:
            found = f"All images to train on that show {name} are of one subject"
            if not allow_rare:
                raise NotEnoughData(
                    f"{found}: it can be trained on or validated on, not both.",
                    hint="Annotate images of it of other subjects (near-duplicates of one another "
                    "count as one), or set ALLOW_RARE_CLASSES: true in params.yaml to go on.",
                )
            warnings.append(f"{found}: it is trained on or validated on, not both.")
    return warnings


def crowded_groups(snapshot: Snapshot, pool: Pool, kin: Kinship, share: float) -> list[str]:
    """A warning if near-duplicates join several subjects into a group of more than ``share`` of the
    images to train on: steps from one image to the next may have led to quite different ones."""
    sizes = Counter(kin.names[row] for row in pool.trainable)
    name, size = max(sizes.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    members = [row for row in pool.trainable if kin.names[row] == name]
    subjects = {snapshot.samples[row].subject for row in members}
    if len(subjects) < 2 or size <= share * len(pool.trainable):
        return []
    return [
        f"{size} of {len(pool.trainable)} images, of {len(subjects)} subjects, stay together as "
        "near-duplicates of one another: if they are not, lower NEAR_DUPLICATE_DISTANCE."
    ]


def one_sided_classes(snapshot: Snapshot, splits: Sequence[Sides]) -> list[str]:
    """Warnings of classes that a training never sees, though it is validated on them."""
    warnings = []
    for number, (train_rows, val_rows) in enumerate(splits):
        of = f" of fold {number}" if len(splits) > 1 else ""
        for class_id in sorted(_shown(snapshot, val_rows) - _shown(snapshot, train_rows)):
            name = snapshot.classes.name_of(class_id)
            warnings.append(f"The training{of} never sees {name}, and is validated on it.")
    return warnings


def check_no_leakage(snapshot: Snapshot, splits: Iterable[Sides], distance: int) -> None:
    """Raise `BrokenRecord` if a split holds a gold image or one that belongs together with one, or
    has images that belong together on both sides. ``distance`` is as in `kinship`."""
    check_sides(snapshot, splits, kinship(snapshot, distance))


def check_sides(snapshot: Snapshot, splits: Iterable[Sides], kin: Kinship) -> None:
    """`check_no_leakage`, of a kinship that is known."""
    with_gold = _gold_groups(snapshot.samples, kin)
    for train_rows, val_rows in splits:
        for row in (*train_rows, *val_rows):
            if snapshot.samples[row].gold:
                raise _leak(f"{_name(snapshot, row)} is gold, and no training may see it")
            if int(kin.together[row]) in with_gold:
                raise _leak(f"{_name(snapshot, row)} shows what a gold image shows")
        trained = {int(kin.together[row]): row for row in train_rows}
        for row in val_rows:
            other = trained.get(int(kin.together[row]))
            if other is not None:
                raise _leak(
                    f"{_name(snapshot, other)} is trained on and {_name(snapshot, row)} validated "
                    "on, and they are of one subject or near-duplicates"
                )


def _hashes(snapshot: Snapshot, distance: int) -> list[str]:
    """Of each sample; computed from the bytes in a snapshot from before it had them."""
    if distance < 0:
        return [NO_HASH] * len(snapshot.samples)
    hashes = [sample.phash for sample in snapshot.samples]
    if None not in hashes:
        return [phash for phash in hashes if phash is not None]
    computed: list[str] = []
    with progress("Hashing images") as step:
        for sample, phash in zip(snapshot.samples, hashes, strict=True):
            if phash is None:
                phash = hash_of(bytes(snapshot.image_bytes(sample.image_id)))
            computed.append(phash)
            step(len(computed), len(hashes))
    return computed


def _gold_groups(samples: Sequence[Sample], kin: Kinship) -> set[int]:
    return {int(kin.together[row]) for row, sample in enumerate(samples) if sample.gold}


def _shown(snapshot: Snapshot, rows: Sequence[int]) -> set[int]:
    return {box.class_id for row in rows for box in snapshot.samples[row].boxes}


def _name(snapshot: Snapshot, row: int) -> str:
    return f"image {snapshot.samples[row].image_id[:12]}"


def _leak(what: str) -> BrokenRecord:
    return BrokenRecord(
        f"The split leaks: {what}.", hint="Make the split anew with `dvc repro -f`."
    )

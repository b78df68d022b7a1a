"""What is kept together, left out and refused, whatever the images, subjects and classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import cast

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from loop.boxes import Box
from loop.classes import ClassList
from loop.corrections import FinalBox, Origin
from loop.errors import BrokenRecord, NotEnoughData
from loop.folds import assign_folds, split_train_val
from loop.perceptual_hash import NO_HASH, bits_apart
from store.snapshot_files import Sample, Snapshot
from train.splitting import (
    check_classes,
    check_no_leakage,
    columns_to_split,
    crowded_groups,
    kinship,
    one_sided_classes,
    sort_out,
)

CLASSES = ClassList(("cell", "rod", "ring"))
DISTANCE = 6


@dataclass
class _Samples:
    samples: list[Sample]
    classes: ClassList = CLASSES


def snapshot_of(samples: list[Sample]) -> Snapshot:
    return cast("Snapshot", _Samples(samples))


def sample(
    number: int,
    subject: str,
    phash: str = NO_HASH,
    classes: tuple[int, ...] = (0,),
    *,
    gold: bool = False,
) -> Sample:
    boxes = tuple(
        FinalBox(f"b{place}", Box(0, 0, 9, 9), class_id, Origin.ADDED)
        for place, class_id in enumerate(classes)
    )
    return Sample(f"{number:064x}", 64, 48, "image/png", subject, gold, boxes, phash)


@st.composite
def sample_lists(draw: st.DrawFn) -> list[Sample]:
    """Subjects of several images, families of near-duplicates across them, some gold images."""
    families = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12))
    made = []
    for number in range(draw(st.integers(4, 30))):
        value = draw(st.sampled_from(families))
        for bit in draw(st.lists(st.integers(0, 63), max_size=4)):
            value ^= 1 << bit
        phash = draw(st.sampled_from([f"{value:016x}"] * 3 + [NO_HASH]))
        subject = f"s{draw(st.integers(0, 25))}"
        classes = tuple(draw(st.lists(st.integers(0, 2), max_size=3)))
        made.append(sample(number, subject, phash, classes, gold=draw(st.integers(0, 9)) == 0))
    return made


def akin(one: Sample, two: Sample) -> bool:
    alike = bits_apart(one.phash or NO_HASH, two.phash or NO_HASH) <= DISTANCE
    return alike or one.subject == two.subject


def folds_of(samples: list[Sample], k: int, seed: int) -> dict[str, int]:
    """The fold of each image that has one, by its id."""
    snapshot = snapshot_of(samples)
    kin = kinship(snapshot, DISTANCE)
    pool = sort_out(samples, kin)
    columns = columns_to_split(samples, pool.trainable, kin)
    assume(len(set(columns[1])) >= k)
    return dict(zip(columns[0], assign_folds(*columns, k, seed).tolist(), strict=True))


@settings(deadline=None, max_examples=40)
@given(sample_lists(), st.integers(2, 4), st.integers(0, 3))
def test_folds_never_leak(samples: list[Sample], k: int, seed: int) -> None:
    fold_of = folds_of(samples, k, seed)
    assert set(fold_of.values()) == set(range(k))
    used = [each for each in samples if each.image_id in fold_of]
    for one, two in product(used, samples):
        if akin(one, two):
            assert fold_of.get(two.image_id) == fold_of[one.image_id]
            assert not two.gold
    rows = {each.image_id: row for row, each in enumerate(samples)}
    splits = [
        (
            [rows[name] for name, own in fold_of.items() if own != fold],
            [rows[name] for name, own in fold_of.items() if own == fold],
        )
        for fold in range(k)
    ]
    check_no_leakage(snapshot_of(samples), splits, DISTANCE)


@settings(deadline=None, max_examples=40)
@given(sample_lists(), st.floats(0.05, 0.9), st.integers(0, 3))
def test_the_standard_split_never_leaks(samples: list[Sample], share: float, seed: int) -> None:
    snapshot = snapshot_of(samples)
    kin = kinship(snapshot, DISTANCE)
    pool = sort_out(samples, kin)
    columns = columns_to_split(samples, pool.trainable, kin)
    assume(len(set(columns[1])) >= 2)
    val = split_train_val(*columns, share, seed)
    sides = [
        [row for row, own in zip(pool.trainable, val, strict=True) if own == side]
        for side in (False, True)
    ]
    assert all(sides)
    for left, right in product(*sides):
        assert not akin(samples[left], samples[right])
    check_no_leakage(snapshot, [(sides[0], sides[1])], DISTANCE)


@settings(deadline=None, max_examples=40)
@given(sample_lists(), st.integers(2, 3), st.integers(0, 3), st.randoms(use_true_random=False))
def test_folds_depend_on_the_seed_and_on_no_order(
    samples: list[Sample], k: int, seed: int, random: object
) -> None:
    fold_of = folds_of(samples, k, seed)
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert folds_of(shuffled, k, seed) == fold_of == folds_of(samples, k, seed)


@settings(deadline=None, max_examples=40)
@given(sample_lists())
def test_every_image_is_gold_excluded_or_trainable(samples: list[Sample]) -> None:
    pool = sort_out(samples, kinship(snapshot_of(samples), DISTANCE))
    rows = [*pool.gold, *pool.excluded, *pool.trainable]
    assert sorted(rows) == list(range(len(samples)))
    for row, gold in product(pool.trainable, pool.gold):
        assert not akin(samples[row], samples[gold])


A, NEAR_A, B = "00" * 8, "3f" + "00" * 7, "ff" * 8


def test_a_chain_of_subjects_and_near_duplicates_leads_to_gold() -> None:
    samples = [
        sample(0, "g", A, gold=True),
        sample(1, "s", NEAR_A),  # shows the same as gold
        sample(2, "s", B),  # of the subject of that one
        sample(3, "t", B),  # shows the same as that
        sample(4, "u", NO_HASH),
    ]
    near = sort_out(samples, kinship(snapshot_of(samples), DISTANCE))
    assert (near.gold, near.excluded, near.trainable) == ((0,), (1, 2, 3), (4,))
    by_subject = sort_out(samples, kinship(snapshot_of(samples), -1))
    assert by_subject.excluded == ()


@pytest.mark.parametrize(
    ("train_rows", "val_rows", "what"),
    [
        ([0], [1], "one subject"),
        ([0], [2], "near-duplicates"),
        ([0, 4], [3], "is gold"),
        ([0], [5, 3], "shows what a gold image shows"),
        ([4], [], "is gold"),
    ],
)
def test_a_split_that_leaks_is_refused(
    train_rows: list[int], val_rows: list[int], what: str
) -> None:
    samples = [
        sample(0, "s", A),
        sample(1, "s", B),
        sample(2, "t", NEAR_A),
        sample(3, "u"),
        sample(4, "g", "0f" * 8, gold=True),
        sample(5, "v", "0f" * 8),
    ]
    with pytest.raises(BrokenRecord, match=what) as caught:
        check_no_leakage(snapshot_of(samples), [([3], []), (train_rows, val_rows)], DISTANCE)
    assert caught.value.hint
    check_no_leakage(snapshot_of(samples), [([0, 1, 2], [3])], DISTANCE)


def rare(*, subject: str = "s2", phash: str = NO_HASH) -> Snapshot:
    """Rods are in the third and fourth image only."""
    samples = [sample(number, f"s{number}") for number in range(5)]
    samples[2] = sample(2, "s2", B, (0, 1))
    samples[3] = sample(3, subject, phash, (1,))
    return snapshot_of(samples)


def warnings_of(snapshot: Snapshot, *, allow_rare: bool = False) -> list[str]:
    kin = kinship(snapshot, DISTANCE)
    pool = sort_out(snapshot.samples, kin)
    return check_classes(snapshot, pool, kin, allow_rare=allow_rare)


@pytest.mark.parametrize("snapshot", [rare(subject="s2"), rare(subject="s3", phash=B)])
def test_a_class_that_one_subject_shows_is_refused_unless_allowed(snapshot: Snapshot) -> None:
    with pytest.raises(NotEnoughData, match="rod") as caught:
        warnings_of(snapshot)
    assert "ALLOW_RARE_CLASSES" in caught.value.hint
    assert any("rod" in warning for warning in warnings_of(snapshot, allow_rare=True))


def test_a_class_without_an_example_is_a_warning() -> None:
    assert warnings_of(rare(subject="s3")) == [
        "No image to train on shows ring: models will not know it."
    ]


def test_a_class_on_the_validation_side_only_is_a_warning() -> None:
    snapshot = rare(subject="s3")
    assert one_sided_classes(snapshot, [([0, 1, 4], [2, 3])]) == [
        "The training never sees rod, and is validated on it."
    ]
    of_folds = one_sided_classes(snapshot, [([0, 2], [3]), ([3], [0, 2]), ([1], [2])])
    assert of_folds == [
        "The training of fold 1 never sees cell, and is validated on it.",
        "The training of fold 2 never sees rod, and is validated on it.",
    ]


def test_a_crowd_of_subjects_that_near_duplicates_join_is_a_warning() -> None:
    def warned(samples: list[Sample], share: float) -> list[str]:
        kin = kinship(snapshot_of(samples), DISTANCE)
        pool = sort_out(samples, kin)
        return crowded_groups(snapshot_of(samples), pool, kin, share)

    chain = [f"{(1 << 6 * n) - 1:016x}" for n in range(5)]  # each is 6 bits from the next one
    samples = [sample(n, f"s{n}", phash) for n, phash in enumerate(chain)]
    samples += [sample(n, f"s{n}") for n in range(5, 10)]
    (warning,) = warned(samples, 0.4)
    assert warning.startswith("5 of 10 images, of 5 subjects")
    assert warned(samples, 0.5) == []
    assert warned([sample(n, "s") for n in range(5)], 0.4) == []  # one subject is one subject
    assert warned([], 0.4) == []


def test_without_hashes_only_subjects_hold_together() -> None:
    samples = [replace(sample(n, f"s{n}"), phash=A) for n in range(3)]
    assert kinship(snapshot_of(samples), 0).together.tolist() == [0, 0, 0]
    assert kinship(snapshot_of(samples), -1).together.tolist() == [0, 1, 2]

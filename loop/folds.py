"""Splits that keep what belongs together on one side and spread rare classes evenly.

What belongs together is a group: images of one subject, and near-duplicates. Stratified by the
rarest class in each image (scikit-learn's StratifiedGroupKFold); images without boxes are a
stratum of their own. The same images, groups, classes and seed give the same split, in whatever
order they come.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from loop.errors import InvalidInput, NotEnoughData

# A share of validation images is taken as so many folds out of at most this many: 0.35 is 7/20.
_FINEST_SHARE = 20
_NO_CLASS = -1

FoldArray = NDArray[np.int8]


def assign_folds(
    image_ids: Sequence[str],
    groups: Sequence[str],
    classes_per_image: Sequence[Collection[int]],
    k: int,
    seed: int,
) -> FoldArray:
    """The fold of each image, 0 to k - 1; no fold is empty.

    ``groups`` names what each image must stay together with. ``classes_per_image`` holds the class
    ids in each image, repeats allowed. Raises `NotEnoughData` without images or with fewer groups
    than folds.
    """
    if not 2 <= k <= np.iinfo(np.int8).max:
        raise InvalidInput(f"There is no splitting into {k} folds.", hint="Take 2 to 127.")
    _check(image_ids, groups, classes_per_image)
    group_count = len(set(groups))
    if group_count < k:
        raise NotEnoughData(
            f"{k} folds need {k} subjects, and there are {group_count}, subjects that share "
            "near-duplicate images counted as one.",
            hint="Lower K_FOLDS, or bring in images of more subjects; images of one subject never "
            "sit on both sides of a split. If different images are taken for near-duplicates, "
            "lower NEAR_DUPLICATE_DISTANCE.",
        )
    order = sorted(range(len(image_ids)), key=lambda index: image_ids[index])
    strata = _strata([classes_per_image[index] for index in order], k)
    group_names = np.array([groups[index] for index in order])
    splitter = StratifiedGroupKFold(n_splits=k, shuffle=True, random_state=seed)
    sorted_folds = np.zeros(len(order), dtype=np.int8)
    with warnings.catch_warnings():
        # A class with fewer images than folds is missing in some of them: the report shows it.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, test) in enumerate(splitter.split(group_names, strata, group_names)):
            sorted_folds[test] = fold
    _fill_empty(sorted_folds, group_names, k)
    folds = np.empty_like(sorted_folds)
    folds[order] = sorted_folds
    return folds


def split_train_val(
    image_ids: Sequence[str],
    groups: Sequence[str],
    classes_per_image: Sequence[Collection[int]],
    val_fraction: float,
    seed: int,
) -> NDArray[np.bool_]:
    """True for each image to validate on: about ``val_fraction`` of them, at least one.

    Raises `NotEnoughData` with fewer than two groups.
    """
    if not 0 < val_fraction < 1:
        raise InvalidInput(f"A share of {val_fraction} cannot be split off.", hint="Take 0 to 1.")
    finest = max(2, min(_FINEST_SHARE, len(set(groups))))
    share = Fraction(val_fraction).limit_denominator(finest)
    share = min(max(share, Fraction(1, finest)), Fraction(finest - 1, finest))
    folds = assign_folds(image_ids, groups, classes_per_image, share.denominator, seed)
    val: NDArray[np.bool_] = folds < share.numerator
    return val


def class_spread(
    groups: Sequence[str], classes_per_image: Sequence[Collection[int]], class_count: int
) -> list[int]:
    """In how many groups each class is shown."""
    shown = [set[str]() for _ in range(class_count)]
    for group, classes in zip(groups, classes_per_image, strict=True):
        for class_id in classes:
            shown[class_id].add(group)
    return [len(each) for each in shown]


def _check(
    image_ids: Sequence[str],
    groups: Sequence[str],
    classes_per_image: Sequence[Collection[int]],
) -> None:
    if not image_ids:
        raise NotEnoughData(
            "There are no images to split.",
            hint="Annotate images first, outside the gold set, which is never trained on.",
        )
    if not len(image_ids) == len(groups) == len(classes_per_image):
        raise InvalidInput("Every image needs one group and its classes.")
    if len(set(image_ids)) != len(image_ids):
        raise InvalidInput("An image stands twice among those to split.")


def _strata(classes_per_image: Sequence[Collection[int]], k: int) -> NDArray[np.int64]:
    """The rarest class in each image, by the number of images that show it."""
    frequency = Counter(found for classes in classes_per_image for found in set(classes))
    strata = [
        min(classes, key=lambda found: (frequency[found], found)) if classes else _NO_CLASS
        for classes in classes_per_image
    ]
    if max(Counter(strata).values()) < k:
        # Nothing is frequent enough to be spread, and scikit-learn refuses to try.
        strata = [_NO_CLASS] * len(strata)
    return np.array(strata, dtype=np.int64)


def _fill_empty(folds: FoldArray, groups: NDArray[np.str_], k: int) -> None:
    """Give each empty fold the smallest group of the fold with the most groups, in place.

    The splitter is greedy and may leave a fold empty, even with more groups than folds.
    """
    names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    fold_of = np.zeros(len(names), dtype=np.int8)
    fold_of[inverse] = folds
    for empty in sorted(set(range(k)) - set(fold_of.tolist())):
        fullest = int(np.bincount(fold_of, minlength=k).argmax())
        candidates = np.flatnonzero(fold_of == fullest)
        fold_of[candidates[sizes[candidates].argmin()]] = empty
    folds[:] = fold_of[inverse]

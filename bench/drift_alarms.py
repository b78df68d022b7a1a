"""How often drift is reported where there is none, by the size of reference and window.

Images are drawn from one distribution: their number of detections is negative binomial (mean 4,
variance 12), classes are 70, 25 and 5 %, and the scores of an image share a random effect, so that
detections of one image are alike. ``python -m bench.drift_alarms [--json]``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import product

import numpy as np

import loop.drift as drift
from loop.drift import Profile, compare, profile_of

CLASSES = ("often", "sometimes", "rare")
REFERENCES, WINDOWS = (50, 100, 200, 500, 2000), (100, 200, 500, 1000)
REPEATS = 200
AT_LEAST = 0.25


def draw(images: int, rng: np.random.Generator, sharper: float = 0.0) -> Profile:
    """``sharper`` is added to the scores' log-odds: a drift."""
    return profile_of(_images(images, rng, sharper), CLASSES, AT_LEAST)


def _images(
    images: int, rng: np.random.Generator, sharper: float
) -> Iterator[tuple[list[int], list[float]]]:
    for number in rng.negative_binomial(2, 1 / 3, images):
        effect = rng.normal(0.8 + sharper, 0.7)
        odds = effect + rng.normal(0, 1.2, number)
        class_ids = rng.choice(len(CLASSES), number, p=(0.7, 0.25, 0.05))
        yield class_ids.tolist(), (1 / (1 + np.exp(-odds))).tolist()


def shares(reference: int, window: int, sharper: float = 0.0) -> dict[str, float | int | None]:
    """Of pairs whose measures pass the mark of a moderate drift, and of a large one."""
    rng = np.random.default_rng(reference * 10_007 + window)
    found = [compare(draw(reference, rng), draw(window, rng, sharper)) for _ in range(REPEATS)]
    return {
        "reference": reference,
        "window": window,
        "scores": _over([each.psi for each in found if each], drift.MODERATE_PSI),
        "scores_large": _over([each.psi for each in found if each], drift.LARGE_PSI),
        "often": _over([each.class_psi.get("often") for each in found if each], 0.1),
        "sometimes": _over([each.class_psi.get("sometimes") for each in found if each], 0.1),
        "rare": _over([each.class_psi.get("rare") for each in found if each], 0.1),
        "classes": _over([each.class_distance for each in found if each], drift.MODERATE_DISTANCE),
        "numbers": _over([each.number_psi for each in found if each], drift.MODERATE_PSI),
        "numbers_large": _over([each.number_psi for each in found if each], drift.LARGE_PSI),
    }


def _over(values: list[float | None], mark: float) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(value >= mark for value in known) / len(known), 3) if known else None


def main() -> None:
    rows = [shares(*sizes) for sizes in product(REFERENCES, WINDOWS)]
    if "--json" in sys.argv:
        print(json.dumps(rows))
        return
    print("  ".join(f"{name:>13}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{'-' if v is None else v:>13}" for v in row.values()))


if __name__ == "__main__":
    main()

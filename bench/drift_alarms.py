"""How often drift is reported where there is none, and where there is some, by the sizes compared.

Images come from one distribution: the number of detections is negative binomial (mean 4, variance
12), classes have 70, 25 and 5 % of them, and the scores of an image share a random effect, so that
they are alike. ``python -m bench.drift_alarms [--json]``; takes about a minute.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from itertools import product

import numpy as np

from loop.drift import (
    MODERATE_DISTANCE,
    MODERATE_PSI,
    NUMBER_BOUNDS,
    Profile,
    compare,
)
from loop.predictions import SCORE_BOUNDS

CLASSES = ("often", "sometimes", "rare")
_SHARES = (0.7, 0.25, 0.05)
REFERENCES, WINDOWS = (100, 200, 500, 2000), (200, 500, 1000, 2000)
# What is added to the scores' log-odds; the first is no drift.
SHIFTS = (0.0, -0.25, -0.5, -1.0)
REPEATS = 1000
_AT_LEAST = 0.25


def draw(images: int, rng: np.random.Generator, shift: float = 0.0) -> Profile:
    per_image = rng.negative_binomial(2, 1 / 3, images)
    effects = np.repeat(rng.normal(0.8 + shift, 0.7, images), per_image)
    scores = 1 / (1 + np.exp(-effects - rng.normal(0, 1.2, len(effects))))
    class_ids = rng.choice(len(CLASSES), len(scores), p=_SHARES)
    sure = scores >= _AT_LEAST
    bins = np.searchsorted(SCORE_BOUNDS, scores[sure])
    cells = np.bincount(class_ids[sure] * len(SCORE_BOUNDS) + bins, minlength=3 * len(SCORE_BOUNDS))
    seen = np.bincount(np.repeat(np.arange(images), per_image)[sure], minlength=images)
    numbers = np.bincount(np.searchsorted(NUMBER_BOUNDS, seen), minlength=len(NUMBER_BOUNDS))
    rows = cells.reshape(len(CLASSES), -1).tolist()
    return Profile(CLASSES, _AT_LEAST, tuple(map(tuple, rows)), tuple(numbers.tolist()))


def row(reference: int, window: int, shift: float) -> dict[str, float | int | None]:
    """Shares of pairs in which a measure is at or over the mark of a moderate drift; None where
    there were too few to compare."""
    rng = np.random.default_rng((reference, window))
    found = [compare(draw(reference, rng), draw(window, rng, shift)) for _ in range(REPEATS)]
    by_class = {
        name: _over((each.class_psi.get(name) for each in found), MODERATE_PSI) for name in CLASSES
    }
    return {
        "reference": reference,
        "window": window,
        "shift": shift,
        "scores": _over((each.psi for each in found), MODERATE_PSI),
        **by_class,
        "classes": _over((each.class_distance for each in found), MODERATE_DISTANCE),
        "numbers": _over((each.number_psi for each in found), MODERATE_PSI),
    }


def _over(values: Iterable[float | None], mark: float) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(value >= mark for value in known) / len(known), 3) if known else None


def main() -> None:
    parser = argparse.ArgumentParser("bench.drift_alarms", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    as_json = parser.parse_args().json
    rows = [row(*sizes, shift) for shift in SHIFTS for sizes in product(REFERENCES, WINDOWS)]
    if as_json:
        print(json.dumps(rows))
        return
    print("".join(f"{name:>10}" for name in rows[0]))
    for each in rows:
        print("".join(f"{'-' if value is None else value:>10}" for value in each.values()))


if __name__ == "__main__":
    main()

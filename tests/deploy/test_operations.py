"""What docs/operations.md calculates is right, and rests on what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "operations.md").read_text(encoding="utf-8")
BENCHMARKS = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
PRICE = float(re.findall(r"at ([\d.]+) an hour", TEXT)[0])
IMAGES = re.findall(r"\| 1,000 images, .* \| ([\d.]+) images/s \| ([\d.]+) \| ([\d.]+) \|", TEXT)
FOLDS = re.findall(r"\| a fold \| (\d+) s for (\d+) folds \| 1 \| ([\d.]+) \|", TEXT)


@pytest.mark.parametrize(("speed", "use", "cost"), IMAGES)
def test_the_cost_of_images_is_what_the_formula_gives(speed: str, use: str, cost: str) -> None:
    expected = PRICE * 1000 / (3600 * float(speed) * float(use))
    assert float(cost) == pytest.approx(expected, abs=5e-6)
    assert speed in BENCHMARKS


def test_the_cost_of_a_fold_is_what_the_formula_gives() -> None:
    ((seconds, folds, cost),) = FOLDS
    assert float(cost) == pytest.approx(PRICE * int(seconds) / (3600 * int(folds)), abs=5e-6)
    assert f"| {seconds} |" in BENCHMARKS
    assert len(IMAGES) == 3

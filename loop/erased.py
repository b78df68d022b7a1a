"""What went with an image that was erased."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Erased:
    """How many rows of each kind; ``impacts`` are the comparisons of a promoted model that showed
    the image, which are deleted whole."""

    predictions: int = 0
    cases: int = 0
    corrections: int = 0
    annotations: int = 0
    impacts: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)

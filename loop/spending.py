"""How the risk of a wrong promotion is spread over the uses of one gold set.

Each time a candidate is measured against the champion on the same images, luck has another chance
to make a model that is no better look better. With a risk of ``share(i)`` at use i, the risk of one
wrong promotion or more over all uses is at most the sum of the shares (Bonferroni's inequality),
and the sum never exceeds the total, however many uses there are: nine tenths of it go in equal
shares to the planned uses, the rest by halves to those after them. Docs: docs/decisions.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from loop.gate_settings import GateSettings

# What the planned uses get of the whole.
_PLANNED_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Use:
    """The ``number``-th comparison on a gold set, from 1, at the risk ``alpha``. ``spent`` is what
    this one and those before it come to, of ``total``. ``earlier`` are the comparisons before it,
    each counted by the share of today's images that it was on."""

    number: int
    alpha: float
    spent: float
    total: float
    earlier: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Use:
        return cls(**data)


def share(number: int, settings: GateSettings) -> float:
    """The risk that the ``number``-th use may take, from 1."""
    planned = settings.planned_uses
    if number <= planned:
        return settings.alpha * _PLANNED_SHARE / planned
    return settings.alpha * (1 - _PLANNED_SHARE) * math.pow(0.5, number - planned)


def next_use(earlier_images: Iterable[int], images: int, settings: GateSettings) -> Use:
    """The use that comes after comparisons on gold sets of so many images.

    A gold set only grows, so each of them was on images that are in today's ``images``: it counts
    by their share, and the sum is rounded up. New images bring back some of what was spent, as many
    as there are; a few of them bring back nothing.
    """
    earlier = sum(min(1.0, count / images) for count in earlier_images)
    # The sum of thirds is not to be a hair more than a whole number.
    number = math.ceil(earlier - 1e-9) + 1
    spent = math.fsum(share(each, settings) for each in range(1, number + 1))
    return Use(number, share(number, settings), spent, settings.alpha, earlier)

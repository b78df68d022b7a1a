"""What people were shown, and what they said: the material of the oversight report."""

from __future__ import annotations

from dataclasses import dataclass

from loop.agreement import LabelledBox
from loop.progress import Verdicts

Boxes = tuple[LabelledBox, ...]


@dataclass(frozen=True, slots=True)
class FirstLook:
    """A first answer. The reviewer saw the model's ``detections`` and ended with ``boxes``.

    ``model`` is ``name:version``; ``sent_on`` says why a second person had to look, empty if none
    had to; ``at`` is RFC 3339 in UTC.
    """

    case_id: str
    reviewer: str
    at: str
    active_seconds: float
    model: str
    detections: Boxes
    boxes: Boxes
    verdicts: Verdicts
    sent_on: tuple[str, ...]

    @property
    def overrode(self) -> bool:
        """Whether anything is not as the model had it."""
        done = self.verdicts
        return done.accepted < done.detections or done.added > 0


@dataclass(frozen=True, slots=True)
class SecondLook:
    """A second review: ``blind`` boxes were drawn on the image alone, ``final`` ones after the
    model's ``detections`` and the ``first`` answer were shown."""

    case_id: str
    reviewer: str
    at: str
    active_seconds: float
    detections: Boxes
    first: Boxes
    blind: Boxes
    final: Boxes


@dataclass(frozen=True, slots=True)
class Shown:
    """How often a case was opened in a ``phase`` (first, blind, settle) after it was ``picked``
    (order, random, asked)."""

    phase: str
    picked: str
    count: int

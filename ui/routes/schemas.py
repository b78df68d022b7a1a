"""What the desk's page sends. Boxes are ``[x1, y1, x2, y2]`` in pixels of the stored image."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from loop.queue import Filters, Order, Work

# Far above what anybody marks in one image, and far below what would trouble the database.
_MOST_BOXES = 5000
_LONGEST_TEXT = 4000

Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]
Text = Annotated[str, Field(max_length=_LONGEST_TEXT)]
Code = Annotated[str, Field(min_length=1, max_length=64)]
Edges = Annotated[list[float], Field(min_length=4, max_length=4)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NextCase(_Body):
    """Which case to take next; ``after`` is the one that the order goes on behind."""

    work: Work = Work.FIRST
    order: Order = Order.UNCERTAIN
    class_id: Annotated[int, Field(ge=0)] | None = None
    model: Annotated[str, Field(max_length=256)] | None = None
    after: Id | None = None

    @property
    def filters(self) -> Filters:
        return Filters(class_id=self.class_id, model=self.model)


class TakeCase(NextCase):
    tab: Id


class OpenCase(_Body):
    tab: Id
    take_over: bool = False


class Held(_Body):
    """``tab`` and ``token`` prove that the page holds the case."""

    tab: Id
    token: int


class SaveDraft(Held):
    rev: Annotated[int, Field(ge=0, lt=2**53)]
    document: dict[str, Any]


class DrawnBox(_Body):
    id: Id
    box: Edges
    class_id: Annotated[int, Field(ge=0, lt=10_000)]
    detection_id: Id | None = None


class SettledBox(DrawnBox):
    sources: Annotated[list[Id], Field(max_length=_MOST_BOXES)] = []
    how: Code
    reason: Code


class DroppedBoxes(_Body):
    sources: Annotated[list[Id], Field(min_length=1, max_length=_MOST_BOXES)]
    reason: Code


class Submit(Held):
    key: Id
    boxes: Annotated[list[DrawnBox], Field(max_length=_MOST_BOXES)]
    rejected: Annotated[list[Id], Field(max_length=_MOST_BOXES)] = []
    no_finding: bool = False
    comment: Text = ""
    active_seconds: Annotated[float, Field(ge=0, le=7 * 86400)] = 0.0
    escalate: bool = False
    bulk_accepted: Annotated[int, Field(ge=0, le=_MOST_BOXES)] = 0
    next: NextCase | None = None


class Reveal(Held):
    boxes: Annotated[list[DrawnBox], Field(max_length=_MOST_BOXES)]
    active_seconds: Annotated[float, Field(ge=0, le=7 * 86400)] = 0.0


class Settle(Held):
    key: Id
    boxes: Annotated[list[SettledBox], Field(max_length=_MOST_BOXES)]
    dropped: Annotated[list[DroppedBoxes], Field(max_length=_MOST_BOXES)] = []
    reason: Code
    comment: Text = ""
    active_seconds: Annotated[float, Field(ge=0, le=7 * 86400)] = 0.0
    next: NextCase | None = None


class Skip(Held):
    reason: Code
    next: NextCase | None = None


class Reopen(_Body):
    reason: Annotated[str, Field(min_length=1, max_length=_LONGEST_TEXT)]

"""What the tests of the desk share: a desk on a database in memory, with a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from loop.boxes import Box
from loop.cases import Annotation
from loop.corrections import Dropped, FinalBox, How, Lineage, Origin
from loop.desk import Desk, DeskSettings
from loop.desk_views import Opened
from loop.events import Actor, Role
from loop.intake import NewImage, Queued
from loop.predictions import Detection
from loop.queue import Filters, Order, Work
from loop.review import FirstAnswer, FirstOutcome
from loop.settling import SettledAnswer
from tests.loop.cases import ANA, BEN, NEW, SURE, UNSURE, Clinic, accepted

EVE = Actor("eve", Role.ADJUDICATOR)
ADDED = FinalBox("new", Box(80, 5, 95, 20), 2, Origin.ADDED)
AGREES = FirstAnswer((accepted(SURE), accepted(UNSURE)), active_seconds=12.5)
DIFFERS = FirstAnswer((accepted(SURE), ADDED), rejected=("unsure",))
BLIND = (FinalBox("blind", Box(80, 5, 96, 20), 2, Origin.ADDED),)


def made_of(box: FinalBox, *sources: str, how: How = How.PICKED, id: str = "") -> FinalBox:
    lineage = Lineage(sources or (box.id,), how, "agreed")
    return replace(box, id=id or f"final-{box.id}", lineage=lineage)


# Keeps the sure box and the one that the first reviewer added; nothing becomes of the unsure one.
SETTLES = SettledAnswer(
    boxes=(made_of(accepted(SURE), "sure", "b-sure"), made_of(ADDED, "new", "blind")),
    reason="missed",
    dropped=(Dropped(("unsure",), "false_positive"),),
    active_seconds=4.0,
)


@dataclass
class Clock:
    moment: datetime = field(default_factory=lambda: datetime(2030, 1, 1, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.moment

    def pass_by(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class DeskClinic(Clinic):
    """``draws`` are what chance says next; then always 0.5."""

    def __init__(self, settings: DeskSettings | None = None) -> None:
        super().__init__()
        self.clock = Clock()
        self.draws: list[float] = []
        self.desk = Desk(
            self.units,
            settings or DeskSettings(),
            clock=self.clock,
            rng=lambda: self.draws.pop(0) if self.draws else 0.5,
        )

    def queue_many(self, count: int) -> list[Queued]:
        """Each of another image, the first the most certain."""
        return [
            self.queue(
                NewImage(f"image {number}".encode(), NEW.media_type, NEW.width, NEW.height),
                [Detection(f"d{number}", SURE.box, number % 3, 1 - number / count)],
            )
            for number in range(count)
        ]

    def take(
        self,
        actor: Actor = ANA,
        work: Work = Work.FIRST,
        tab: str = "tab",
        order: Order = Order.UNCERTAIN,
        filters: Filters | None = None,
        after: str | None = None,
    ) -> Opened | None:
        return self.desk.take_next(
            work, order, filters or Filters(), actor=actor, tab=tab, after=after
        )

    def taken(self, actor: Actor = ANA, work: Work = Work.FIRST, tab: str = "tab") -> Opened:
        opened = self.take(actor, work, tab)
        assert opened is not None
        return opened

    def submit(
        self, opened: Opened, answer: FirstAnswer, actor: Actor = ANA, key: str = "key-1"
    ) -> FirstOutcome:
        return self.desk.submit_first(opened.case.id, answer, key=key, **held_by(opened, actor))

    def waiting_for_second(self) -> str:
        """The id of a case with a first answer of `ANA` that differs."""
        self.queue()
        opened = self.taken()
        self.submit(opened, DIFFERS, key=f"first-{opened.case.id}")
        return opened.case.id

    def revealed(self, actor: Actor = BEN) -> Opened:
        """A case that waits for its second answer, the blind boxes of ``actor`` sealed."""
        self.waiting_for_second()
        opened = self.taken(actor, Work.SECOND)
        return self.reveal(opened, actor)

    def reveal(self, opened: Opened, actor: Actor = BEN) -> Opened:
        return self.desk.reveal(opened.case.id, BLIND, active_seconds=3.0, **held_by(opened, actor))

    def settle(
        self,
        opened: Opened,
        answer: SettledAnswer = SETTLES,
        actor: Actor = BEN,
        key: str = "key-2",
    ) -> Annotation:
        return self.desk.submit_second(opened.case.id, answer, key=key, **held_by(opened, actor))

    def settled(self) -> str:
        """The id of a case that the first answer settled."""
        self.queue()
        opened = self.taken()
        self.submit(opened, AGREES, key=f"agrees-{opened.case.id}")
        return opened.case.id


def held_by(opened: Opened, actor: Actor) -> dict[str, Any]:
    """Who holds it, as the methods of the desk are told."""
    assert opened.lease is not None
    return {"actor": actor, "tab": opened.lease.tab, "token": opened.lease.token}

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager

from loop.errors import Unavailable
from loop.ports import UnitOfWork
from serve.refusals import EVERY_SECONDS, Refusals
from tests.fakes import FakeDatabase


class Clock:
    """Sleeps until `pass_by` is called."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._gone = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._gone.wait()

    async def pass_by(self) -> None:
        self._gone.set()
        await settled()
        self._gone.clear()


async def settled() -> None:
    """Until what was begun waits for something: a write is in a thread."""
    for _ in range(200):
        await asyncio.sleep(0.001)
        if len(asyncio.all_tasks()) == 1:
            return


def told(database: FakeDatabase) -> list[tuple[str, str, int]]:
    return [
        (event.details["why"], event.subject.get("key", ""), event.details["requests"])
        for event in database.events
    ]


def test_the_first_is_recorded_at_once_and_the_others_in_one() -> None:
    async def run() -> None:
        database, clock = FakeDatabase(), Clock()
        refusals = Refusals(database.units, clock.sleep)
        refusals.note("invalid_key", "")
        await settled()
        assert told(database) == [("invalid_key", "", 1)]
        for _ in range(1000):
            refusals.note("invalid_key", "")
        await settled()
        assert len(database.events) == 1
        await clock.pass_by()
        assert told(database) == [("invalid_key", "", 1), ("invalid_key", "", 1000)]
        assert set(clock.asked) == {EVERY_SECONDS}
        second = database.events[1]
        assert second.started <= second.at
        assert second.actor.authenticated_by == "none"

    asyncio.run(run())


def test_each_key_and_reason_is_counted_by_itself() -> None:
    async def run() -> None:
        database = FakeDatabase()
        refusals = Refusals(database.units, Clock().sleep)
        for why, key in (("no_key", ""), ("invalid_key", "key-1"), ("missing_scope", "key-1")):
            refusals.note(why, key)
            await settled()
        assert told(database) == [
            ("no_key", "", 1),
            ("invalid_key", "key-1", 1),
            ("missing_scope", "key-1", 1),
        ]

    asyncio.run(run())


def test_after_a_quiet_while_the_next_one_is_recorded_at_once() -> None:
    async def run() -> None:
        database, clock = FakeDatabase(), Clock()
        refusals = Refusals(database.units, clock.sleep)
        refusals.note("no_key", "")
        await settled()
        await clock.pass_by()
        assert len(asyncio.all_tasks()) == 1
        refusals.note("no_key", "")
        await settled()
        assert told(database) == [("no_key", "", 1)] * 2

    asyncio.run(run())


def test_a_database_that_is_away_keeps_nobody_waiting() -> None:
    def units() -> AbstractContextManager[UnitOfWork]:
        raise Unavailable("The database does not answer.")

    async def run() -> None:
        refusals = Refusals(units, Clock().sleep)
        refusals.note("no_key", "")
        await settled()

    asyncio.run(run())

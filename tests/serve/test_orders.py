from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loop.errors import Unavailable
from loop.events import Actor, Role
from loop.ordering import give_order
from loop.ports import UnitOfWork
from loop.serving_orders import ServingOrder
from serve.orders import OrderFollower
from serve.turns import turn
from tests.fakes import FakeDatabase
from tests.serve.fakes import model_ref

ONE, TWO = model_ref("1"), model_ref("2")
ACTOR = Actor("engineer-1", Role.SYSTEM)


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_order_is_followed_once_and_the_same_model_again_is_another_one() -> None:
    database, followed = FakeDatabase(), list[ServingOrder]()
    follower = OrderFollower(database.units, followed.append)
    assert follower.look()
    assert followed == []
    orders = [give_order(database.units, ONE, None, ACTOR)]
    assert follower.look() and follower.look()
    orders.append(give_order(database.units, ONE, None, ACTOR))
    assert follower.look() and follower.look()
    assert followed == orders
    assert [event.type for event in database.events] == ["serving.ordered"] * 2


def test_a_follower_starts_with_the_order_there_is_and_sees_later_ones() -> None:
    database, followed = FakeDatabase(), list[ServingOrder]()
    first = give_order(database.units, ONE, None, ACTOR)
    OrderFollower(database.units, followed.append).start()
    assert followed == [first]
    second = give_order(database.units, TWO, None, ACTOR)
    until(lambda: followed == [first, second])


def test_what_serves_serves_on_while_the_database_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    database, followed, away = FakeDatabase(), list[ServingOrder](), [True]

    def units() -> UnitOfWork:
        if away[0]:
            raise Unavailable("The database cannot be used.")
        return database.units()

    follower = OrderFollower(units, followed.append)  # type: ignore[arg-type]
    order = give_order(database.units, ONE, None, ACTOR)
    assert not follower.look() and not follower.look()
    assert followed == []
    away[0] = False
    assert follower.look()
    assert followed == [order]


def test_an_order_that_cannot_be_followed_ends_nothing() -> None:
    database = FakeDatabase()

    def fails(order: ServingOrder) -> None:
        raise ValueError(order.id)

    give_order(database.units, ONE, None, ACTOR)
    assert not OrderFollower(database.units, fails).look()


def test_turns_are_taken_one_after_the_other(tmp_path: Path) -> None:
    file, inside, most = tmp_path / "run" / "lock", [0], [0]

    def work() -> None:
        with turn(file, 60) as mine:
            assert mine
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_nobody_waits_for_ever_for_a_turn(tmp_path: Path) -> None:
    with turn(tmp_path / "lock", 0) as first, turn(tmp_path / "lock", 0.1) as second:
        assert (first, second) == (True, False)

"""The queue as `loop.ports` promises it: on SQLite, on PostgreSQL, and by the fakes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text

from loop.cases import Case, CaseState, Skip
from loop.errors import NotFound
from loop.leases import Hold
from loop.ports import UnitOfWork, UnitsOfWork
from loop.queue import Filters, Order, Place, Viewer, place_key
from store import tables
from store.database import open_engine, reading, writing
from store.repositories import queue as queue_repository
from store.repositories.queue import _merged
from store.settings import Settings
from store.unit_of_work import open_units_of_work, units_of_work
from tests.fakes import FakeDatabase
from tests.store.test_unit_of_work import add_case, at, case, keep

NOW = at(30)
VIEWER = Viewer("ana", "tab", NOW)


@pytest.fixture(params=["fake", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def units(request: pytest.FixtureRequest, tmp_path: Path) -> UnitsOfWork:
    if request.param == "fake":
        return FakeDatabase().units
    if request.param == "sqlite":
        return open_units_of_work(Settings(home=tmp_path, database_url=""))
    make = request.getfixturevalue("postgres")
    engine = open_engine(make(request.getfixturevalue("migrated_postgres")))
    request.addfinalizer(engine.dispose)
    return units_of_work(engine)


@pytest.fixture
def sql_units(engine: Engine) -> UnitsOfWork:
    return units_of_work(engine)


def found(
    uow: UnitOfWork,
    state: CaseState = CaseState.FIRST,
    order: Order = Order.OLDEST,
    viewer: Viewer = VIEWER,
    place: Place | None = None,
    limit: int = 100,
    **filters: Any,
) -> list[str]:
    placed = uow.queue.after(state, order, Filters(**filters), viewer, place=place, limit=limit)
    return [each.case.id for each in placed]


def hold(case_id: str, holder: str = "ben", tab: str = "tab", until: int = 31) -> Hold:
    return Hold(case_id, holder, tab, 1, at(until))


def test_a_case_comes_back_with_all_it_has(units: UnitsOfWork) -> None:
    keep(units, add_case(0, state=CaseState.SETTLED))
    reopened = case(
        "again",
        "p0",
        0,
        state=CaseState.REOPENED,
        reasons=("reopened",),
        priority=1 / 3,
        model="detector:1",
        classes=(0, 2),
        disagreement=0.1,
        shuffle=0.7,
        first_reviewer="ana",
        reopens="k0",
    )
    keep(units, lambda uow: uow.cases.add(reopened))
    with units() as uow:
        assert uow.cases.get("again") == reopened
        assert uow.cases.of_prediction("p0") == reopened
        assert uow.cases.open_of_image(reopened.image_id) == [reopened]
        assert found(uow, CaseState.REOPENED) == ["again"]


def test_of_settled_cases_about_a_prediction_the_latest_counts(units: UnitsOfWork) -> None:
    keep(
        units,
        add_case(0, state=CaseState.SETTLED),
        lambda uow: uow.cases.add(case("k9", "p0", 0, state=CaseState.SETTLED, reopens="k0")),
    )
    with units() as uow:
        latest = uow.cases.of_prediction("p0")
        assert latest is not None
        assert latest.id == "k9"


def test_the_orders(units: UnitsOfWork) -> None:
    keep(
        units,
        add_case(0, priority=0.5, disagreement=0.1, shuffle=0.9),
        add_case(1, priority=0.9, disagreement=0.3, shuffle=0.8),
        add_case(2, priority=0.5, disagreement=0.2, shuffle=0.1),
    )
    expected = {
        Order.UNCERTAIN: ["k1", "k0", "k2"],  # of two that are equal, the older one
        Order.DISAGREED: ["k1", "k2", "k0"],
        Order.RANDOM: ["k2", "k1", "k0"],
        Order.OLDEST: ["k0", "k1", "k2"],
    }
    with units() as uow:
        for order, ids in expected.items():
            assert found(uow, order=order) == ids
            assert found(uow, order=order, place=uow.queue.place(ids[0], order)) == ids[1:]
            assert found(uow, order=order, limit=1) == ids[:1]
        with pytest.raises(NotFound):
            uow.queue.place("nowhere", Order.OLDEST)


def test_the_filters_and_their_counts(units: UnitsOfWork) -> None:
    keep(
        units,
        add_case(0, classes=(0, 1), model="d:1"),
        add_case(1, classes=(1,), model="d:2"),
        add_case(2, classes=(), model="d:2"),
        add_case(3, classes=(1,), model="d:3", state=CaseState.SETTLED),
    )
    expected: dict[tuple[tuple[str, Any], ...], list[str]] = {
        (): ["k0", "k1", "k2"],
        (("class_id", 1),): ["k0", "k1"],
        (("class_id", 0),): ["k0"],
        (("class_id", 7),): [],
        (("model", "d:2"),): ["k1", "k2"],
        (("model", "d:2"), ("class_id", 1)): ["k1"],
        (("model", "d:3"),): [],
    }
    with units() as uow:
        for filters, ids in expected.items():
            assert found(uow, **dict(filters)) == ids
            assert uow.queue.count(CaseState.FIRST, Filters(**dict(filters))) == len(ids)
        assert uow.queue.models(CaseState.FIRST) == ["d:1", "d:2"]
        assert uow.queue.models(CaseState.SECOND) == []


def test_a_case_that_moves_takes_its_new_place_and_no_other(units: UnitsOfWork) -> None:
    keep(units, add_case(0, classes=(0,)), add_case(1, classes=(0,)))
    moved = case(
        "k0",
        "p0",
        0,
        state=CaseState.SECOND,
        classes=(0, 2),
        disagreement=0.5,
        first_reviewer="ben",
    )
    keep(units, lambda uow: uow.cases.move(moved, expected=CaseState.FIRST))
    with units() as uow:
        assert uow.cases.get("k0") == moved
        assert found(uow) == ["k1"]
        assert found(uow, CaseState.SECOND, class_id=2) == ["k0"]
        assert uow.queue.count(CaseState.FIRST, Filters(class_id=0)) == 1
        assert uow.queue.count(CaseState.SECOND, Filters(class_id=2)) == 1
        assert uow.cases.counts() == {CaseState.FIRST: 1, CaseState.SECOND: 1}
    keep(
        units,
        lambda uow: uow.cases.move(
            replace(moved, state=CaseState.SETTLED), expected=CaseState.SECOND
        ),
    )
    with units() as uow:
        assert uow.cases.counts() == {CaseState.FIRST: 1, CaseState.SETTLED: 1}
        assert found(uow, CaseState.SETTLED) == ["k0"]


def test_ones_own_cases_are_kept_from_one_in_the_second_queue_only(units: UnitsOfWork) -> None:
    reviewers = ["ana", "ben", "ana", "eve", "ben"]
    keep(
        units,
        *(
            add_case(n, state=CaseState.SECOND, first_reviewer=reviewer, priority=n / 10)
            for n, reviewer in enumerate(reviewers)
        ),
        add_case(5, state=CaseState.SETTLED, first_reviewer="ana"),
    )
    with units() as uow:
        second = CaseState.SECOND
        assert found(uow, second) == ["k1", "k3", "k4"]
        assert found(uow, second, Order.UNCERTAIN) == ["k4", "k3", "k1"]
        assert found(uow, second, Order.UNCERTAIN, limit=2) == ["k4", "k3"]
        tea = replace(VIEWER, person="tea")
        assert len(found(uow, second, viewer=tea)) == 5
        assert uow.queue.count(second, Filters(), not_by="ana") == 3
        assert uow.queue.count(second, Filters()) == 5
        assert found(uow, CaseState.SETTLED) == ["k5"]


def test_what_others_hold_is_left_out_while_they_do(units: UnitsOfWork) -> None:
    keep(
        units,
        *(add_case(n) for n in range(5)),
        lambda uow: uow.leases.put(hold("k0")),
        lambda uow: uow.leases.put(hold("k1", until=30)),  # ends now
        lambda uow: uow.leases.put(hold("k2", holder="ana")),
        lambda uow: uow.leases.put(hold("k3", holder="ana", tab="other")),
    )
    with units() as uow:
        assert found(uow) == ["k1", "k2", "k4"]
        any_tab = replace(VIEWER, tab=None)
        assert found(uow, viewer=any_tab) == ["k1", "k2", "k3", "k4"]
        assert uow.queue.count(CaseState.FIRST, Filters()) == 5


def test_what_one_skipped_is_left_out_until_it_is_settled(units: UnitsOfWork) -> None:
    keep(
        units,
        add_case(0),
        add_case(1, state=CaseState.SETTLED),
        *(
            lambda uow, n=n, who=who: uow.skips.put(Skip(f"k{n}", who, "other", NOW))
            for n in range(2)
            for who in ("ana", "ana", "ben")
        ),
    )
    with units() as uow:
        assert found(uow) == []
        assert found(uow, viewer=replace(VIEWER, person="eve")) == ["k0"]
        assert found(uow, CaseState.SETTLED) == ["k1"]


# What only the tables can do wrong.

_numbers = itertools.count(1000)


@st.composite
def waiting_cases(draw: st.DrawFn) -> list[dict[str, Any]]:
    """With so few values that many are equal."""
    few = st.sampled_from((0.0, 0.25, 1 / 3, 1.0))
    one = st.fixed_dictionaries(
        {
            "state": st.sampled_from((CaseState.FIRST, CaseState.SECOND)),
            "priority": few,
            "disagreement": few,
            "shuffle": few,
            "classes": st.sampled_from(((), (0,), (0, 1))),
            "model": st.sampled_from(("d:1", "d:2")),
            "first_reviewer": st.sampled_from(("ana", "ben", "eve")),
        }
    )
    return draw(st.lists(one, max_size=12))


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cases=waiting_cases(),
    limit=st.integers(1, 5),
    filters=st.builds(Filters, st.sampled_from((None, 0, 1)), st.sampled_from((None, "d:1"))),
)
def test_page_by_page_every_case_comes_once_and_in_order(
    sql_units: UnitsOfWork, cases: list[dict[str, Any]], limit: int, filters: Filters
) -> None:
    added = [next(_numbers) for _ in cases]
    keep(sql_units, *(add_case(n, **values) for n, values in zip(added, cases, strict=True)))
    with sql_units() as uow:
        expected_of_all = _everything(uow)
    for state, order in itertools.product((CaseState.FIRST, CaseState.SECOND), Order):
        seen: list[Case] = []
        place: Place | None = None
        with sql_units() as uow:
            while page := uow.queue.after(state, order, filters, VIEWER, place=place, limit=limit):
                seen += [each.case for each in page]
                place = page[-1].place
        expected = [
            each
            for each in sorted(expected_of_all, key=lambda e: (place_key(e[1], order), e[0]))
            if each[1].state is state
            and filters.class_id in (None, *each[1].classes)
            and filters.model in (None, each[1].model)
            and (state is CaseState.FIRST or each[1].first_reviewer != "ana")
        ]
        assert seen == [each[1] for each in expected]


def _everything(uow: UnitOfWork) -> list[tuple[int, Case]]:
    query = select(tables.cases)
    rows = uow.cases._all(query)  # type: ignore[attr-defined]
    return [(row["number"], queue_repository.case_of(row)) for row in rows]


def test_places_and_counts_stay_in_step_with_the_cases(
    engine: Engine, sql_units: UnitsOfWork
) -> None:
    keep(sql_units, *(add_case(n, classes=(n % 2,)) for n in range(6)))
    for n in range(4):
        moved = case(
            f"k{n}",
            f"p{n}",
            n,
            state=CaseState.SECOND,
            classes=(0, 1, 2),
            first_reviewer="ana" if n else "ben",
        )
        keep(sql_units, lambda uow, moved=moved: uow.cases.move(moved, expected=CaseState.FIRST))
    with reading(engine) as connection:
        counted = connection.execute(
            text(
                "SELECT class_id, state, model, kept_from, count(*) FROM case_places "
                "GROUP BY class_id, state, model, kept_from"
            )
        ).all()
        kept = connection.execute(text("SELECT * FROM case_counts WHERE cases > 0")).all()
        columns = list(connection.execute(text("SELECT * FROM case_counts")).keys())
        of_cases = connection.execute(text("SELECT id, state FROM cases ORDER BY number")).all()
        of_places = connection.execute(
            text("SELECT case_id, state FROM case_places WHERE class_id = -1 ORDER BY number")
        ).all()
    order = [columns.index(name) for name in ("class_id", "state", "model", "kept_from", "cases")]
    assert {tuple(row[i] for i in order) for row in kept} == {tuple(row) for row in counted}
    assert of_places == of_cases


def test_a_place_that_says_otherwise_than_its_case_gives_nothing(
    engine: Engine, sql_units: UnitsOfWork
) -> None:
    keep(sql_units, add_case(0), add_case(1))
    with writing(engine) as connection:
        connection.execute(text("UPDATE cases SET state = 'settled' WHERE id = 'k0'"))
    with sql_units() as uow:
        assert found(uow) == ["k1"]


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize(
    "filters", [Filters(), Filters(1), Filters(None, "d:1"), Filters(1, "d:1")]
)
@pytest.mark.parametrize("place", [None, Place(0.5, 7)])
def test_sqlite_reads_a_range_of_one_index_and_sorts_nothing(
    tmp_path: Path, order: Order, filters: Filters, place: Place | None
) -> None:
    open_units_of_work(Settings(home=tmp_path, database_url=""))
    engine = open_engine(f"sqlite:///{tmp_path / 'secondlook.db'}")
    lane: Callable[..., Any] = queue_repository._lane
    query = lane(CaseState.SECOND, order, filters, VIEWER, place, 2).params(lane="ben")
    statement = query.compile(engine, compile_kwargs={"literal_binds": True})
    with reading(engine) as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
    steps = [row[-1] for row in plan]
    index = f"case_places_{'model_' if filters.model else ''}{order.value}"
    equal = "class_id=? AND state=? AND kept_from=?"
    assert f"SEARCH case_places USING INDEX {index} (" in steps[0]
    assert equal in steps[0]
    assert (">" in steps[0]) == (place is not None)
    assert not any("TEMP B-TREE" in step or "SCAN" in step for step in steps)
    engine.dispose()


@given(
    lanes=st.lists(st.lists(st.integers(0, 3), max_size=30), max_size=9),
    limit=st.integers(1, 40),
)
def test_lanes_that_are_read_in_parts_give_what_they_give_as_a_whole(
    lanes: list[list[int]], limit: int
) -> None:
    numbers = iter(range(1000))
    whole = {
        str(name): sorted((Place(float(key), next(numbers)) for key in lane), key=astuple)
        for name, lane in enumerate(lanes)
    }
    first = sorted((place for lane in whole.values() for place in lane), key=astuple)[:limit]
    assert _merged(list(whole), lambda lane, most: whole[lane][:most], limit) == first


def test_of_many_lanes_little_more_than_their_share_is_read() -> None:
    lanes = {str(n): [Place(float(each), 100 * n + each) for each in range(50)] for n in range(50)}
    read = 0

    def some(lane: str, most: int) -> list[Place]:
        nonlocal read
        read += most
        return lanes[lane][:most]

    assert len(_merged(list(lanes), some, 50)) == 50
    assert read < 10 * 50

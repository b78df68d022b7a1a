"""Two browsers at one case, two tabs, and a lease that runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.app.conftest import App, found, running_app
from tests.app.desk_page import DeskPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SignIn = Callable[..., Any]
LEASE_SECONDS = 3


@pytest.fixture(autouse=True)
def nothing_waits(app: App) -> None:
    app.clear_queue()


@pytest.fixture(scope="module")
def hasty_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app in which a case is held for seconds, and no heartbeat comes in time."""
    home: Path = tmp_path_factory.mktemp("hasty")
    with running_app(home, SECONDLOOK_LEASE_SECONDS=str(LEASE_SECONDS)) as app:
        yield app


def test_two_people_never_hold_the_same_case(app: App, sign_in: SignIn) -> None:
    queued = app.queue(found((60, 50, 160, 150, 0, 0.9)))
    ana, cleo = DeskPage(sign_in("ana")), DeskPage(sign_in("cleo"))
    holder = None
    for desk in (ana, cleo):
        desk.wait("(s.status === 'ready' || s.status === 'empty') && s.busy === null")
        if desk.state["caseId"] == queued.review_id:
            assert holder is None
            holder = desk
    assert holder is ana
    assert cleo.state["status"] == "empty"
    ana.page.close(run_before_unload=True)  # closing the tab frees the case
    cleo.page.get_by_test_id("check-again").click()
    cleo.ready("first", queued.review_id)
    assert cleo.state["editable"]


def test_a_second_tab_is_read_only_until_it_takes_over(app: App, sign_in: SignIn) -> None:
    queued = app.queue(found((60, 50, 160, 150, 0, 0.9)))
    page = sign_in("ana")
    one = DeskPage(page)
    one.ready("first", queued.review_id)
    one.keys("Tab", "a")
    one.saved()
    tab = page.context.new_page()
    tab.goto(app.url)
    two = DeskPage(tab)
    two.wait("s.status !== 'starting' && s.busy === null")
    tab.evaluate(
        "id => document.querySelector('[data-testid=desk-root]').__desk.flow.open(id)",
        queued.review_id,
    )
    two.ready("first", queued.review_id)
    assert not two.state["editable"]
    two.page.get_by_test_id("take-over").click()
    two.wait("s.editable")
    assert two.boxes[0]["status"] == "accepted", "the draft came along"
    # The first tab has lost it: its next edit is refused, and kept.
    one.page.bring_to_front()
    one.keys("x")
    one.page.locator("[data-testid=banner][data-kind=lost]").wait_for()
    assert not one.state["editable"]
    two.page.bring_to_front()
    two.keys("Tab", "a", "Control+Enter")
    two.empty()
    with app.units() as uow:
        correction = uow.corrections.of_case(queued.review_id)
    assert correction is not None
    assert correction.rejected == ()


def test_a_lease_that_runs_out_goes_to_the_next_person_and_the_edit_is_kept(
    hasty_app: App, sign_in: SignIn
) -> None:
    app = hasty_app
    queued = app.queue(found((60, 50, 160, 150, 0, 0.9)))
    ana = DeskPage(sign_in("ana", app))
    ana.ready("first", queued.review_id)
    cleo = DeskPage(sign_in("cleo", app))
    cleo.wait("(s.status === 'ready' || s.status === 'empty') && s.busy === null")
    while cleo.state["status"] == "empty":  # the server's clock decides when
        cleo.page.get_by_test_id("check-again").click()
        cleo.page.wait_for_timeout(500)
        cleo.wait("(s.status === 'ready' || s.status === 'empty') && s.busy === null")
    cleo.ready("first", queued.review_id)
    ana.page.bring_to_front()
    ana.keys("Tab", "x")  # too late: refused, and kept as a recoverable draft
    ana.page.locator("[data-testid=banner][data-kind=lost]").wait_for()
    assert not ana.state["editable"]
    with app.units() as uow:
        kept = uow.drafts.recovered(queued.review_id, app.pseudonyms["ana"])
    assert len(kept) == 1
    cleo.page.bring_to_front()
    cleo.keys("Tab", "a", "Control+Enter")
    cleo.empty()
    with app.units() as uow:
        correction = uow.corrections.of_case(queued.review_id)
    assert correction is not None
    assert correction.reviewer == app.pseudonyms["cleo"]
    assert correction.rejected == ()

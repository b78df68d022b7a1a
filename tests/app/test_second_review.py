"""A blind second review by another account, and the annotation that comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from loop.cases import CaseState, Source
from loop.corrections import How, Origin
from loop.events import Actor, Role
from tests.app.answers import accept_first
from tests.app.conftest import App, found
from tests.app.desk_page import DeskPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SignIn = Callable[..., Any]


@pytest.fixture(autouse=True)
def nothing_waits(app: App) -> None:
    app.clear_queue()


def test_a_blind_look_then_three_layers_then_an_annotation_with_its_lineage(
    app: App, sign_in: SignIn
) -> None:
    seen = found((100, 100, 200, 200, 0, 0.9))
    queued = app.queue(seen)
    ana = Actor(app.pseudonyms["ana"], Role.REVIEWER)
    accept_first(app.units, queued.review_id, app.settings.agreement, ana, (400, 250, 480, 330, 1))
    page = sign_in("ben")
    answers: list[str] = []
    page.on("response", lambda r: answers.append(r.url) if "/desk/" in r.url else None)
    desk = DeskPage(page)
    desk.wait("s.status !== 'starting'")
    page.get_by_test_id("work-second").click()
    desk.ready("blind", queued.review_id)
    # Nothing of the model or the first reviewer is on the page, nor in what the server sent.
    assert desk.boxes == []
    view = page.evaluate(
        "document.querySelector('[data-testid=desk-root]').__desk.flow.session.view"
    )
    assert view["layers"] == {"model": [], "first": [], "second": []}
    assert seen[0].id not in str(view)
    # Nor why it is here, beyond that it is: "a box was added" would tell what to look for.
    assert [reason["code"] for reason in view["case"]["reasons"]] == ["second_look"]
    assert view["case"]["model"] is None
    assert view["case"]["disagreement"] is None
    queue = page.evaluate("fetch('/desk/queue?state=second').then(r => r.json())")
    assert queue["rows"] == [view["case"]]

    page.evaluate("document.querySelector('[data-testid=desk-root]').__desk.focusCanvas()")
    desk.keys("2", "n", "Enter", *["Shift+ArrowRight"] * 8, *["Shift+ArrowDown"] * 8, "Enter")
    assert len(desk.boxes) == 1
    desk.keys("Control+Enter")
    desk.ready("settle", queued.review_id)
    rows = page.get_by_test_id("group-row")
    open_groups = rows.count()
    assert open_groups >= 2, "what the layers differ in is listed"
    for _ in range(open_groups):
        page.locator("[data-testid=group-row][data-settled=false] .sl-group-head").first.click()
        for choice in ("choose-first", "choose-second"):
            button = page.locator(f"[data-testid={choice}]:visible")
            if button.count() and button.is_enabled():
                button.click()
                break
        if page.locator("[data-testid=group-row][data-settled=false]").count() == 0:
            break
    desk.page.locator("[data-testid=canvas-host] canvas").last.focus()
    desk.keys("Control+Enter")
    desk.empty()

    with app.units() as uow:
        case = uow.cases.get(queued.review_id)
        annotation = uow.annotations.latest_of(queued.image_id)
        review = uow.second_reviews.of_case(queued.review_id)
        correction = uow.corrections.of_case(queued.review_id)
    assert case.state is CaseState.SETTLED
    assert annotation is not None
    assert review is not None
    assert correction is not None
    assert annotation.source is Source.SECOND
    assert annotation.reviewers == (app.pseudonyms["ana"], app.pseudonyms["ben"])
    assert len(review.blind) == 1
    assert len(correction.boxes) == 2, "the first answer is never overwritten"
    known = {seen[0].id, *(b.id for b in correction.boxes), *(b.id for b in review.blind)}
    assert len(annotation.boxes) == 3
    for box in annotation.boxes:
        assert box.lineage is not None
        assert box.lineage.how is How.PICKED
        assert set(box.lineage.sources) <= known
        assert box.lineage.sources
    assert {box.origin for box in annotation.boxes} == {Origin.ACCEPTED, Origin.ADDED}
    assert page.errors == []


def test_nobody_gets_their_own_case_for_a_second_review(app: App, sign_in: SignIn) -> None:
    queued = app.queue(found((100, 100, 200, 200, 0, 0.9)))
    ben = Actor(app.pseudonyms["ben"], Role.ADJUDICATOR)
    accept_first(app.units, queued.review_id, app.settings.agreement, ben, (400, 250, 480, 330, 1))
    page = sign_in("ben")
    desk = DeskPage(page)
    desk.wait("s.status !== 'starting'")
    page.get_by_test_id("work-second").click()
    desk.empty()
    cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    with httpx.Client(base_url=app.url, cookies=cookies) as client:
        case = f"/desk/cases/{queued.review_id}"
        opened = client.post(f"{case}/open", json={"tab": "t", "take_over": True}).json()
        assert opened["read_only"]["code"] == "own_case"
        assert opened["lease"] is None
        held = {"tab": "t", "token": 1}
        reveal = client.post(f"{case}/reveal", json=held | {"boxes": []})
        assert reveal.status_code == 409
        settle = {"key": "k", "boxes": [], "reason": "agreed"}
        assert client.post(f"{case}/settle", json=held | settle).status_code == 409
    with app.units() as uow:
        assert uow.cases.get(queued.review_id).state is CaseState.SECOND

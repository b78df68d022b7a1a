"""A first review in a real browser, by keyboard alone, and what the store has of it afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from loop.cases import CaseState
from loop.corrections import Origin
from loop.events import Event
from store.audit_log import open_audit_log
from tests.app.conftest import PASSWORD, App, found
from tests.app.desk_page import DeskPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SignIn = Callable[..., Any]


@pytest.fixture(autouse=True)
def nothing_waits(app: App) -> None:
    app.clear_queue()


def test_signing_in_leads_to_the_desk_and_out_again(app: App, chromium: Any) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(app.url)
    assert "/sign-in" in page.url
    page.get_by_label("Login").fill("ana")
    page.get_by_label("Password").fill("not the password")
    page.keyboard.press("Enter")
    page.get_by_text(re.compile("wrong", re.IGNORECASE)).wait_for()
    page.get_by_label("Login").fill("ana")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_test_id("who").get_by_text("Ana").wait_for()
    cookie = next(each for each in context.cookies() if "session" in each["name"])
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Password").wait_for()
    context.add_cookies([cookie])  # what was signed out is of no use any more
    page.goto(app.url)
    assert "/sign-in" in page.url
    context.close()


def test_boxes_are_corrected_by_keyboard_alone_and_kept_with_their_lineage(
    app: App, sign_in: SignIn
) -> None:
    seen = found(
        (60, 50, 160, 150, 0, 0.91),  # accepted
        (300, 200, 380, 290, 1, 0.55),  # moved
        (420, 100, 470, 150, 2, 0.32),  # relabelled
        (500, 300, 560, 360, 0, 0.41),  # rejected
    )
    accepted, moved, relabelled, rejected = (each.id for each in seen)
    queued = app.queue(seen)
    desk = DeskPage(sign_in("ana"))
    desk.ready("first", queued.review_id)

    desk.keys("Tab")
    assert desk.selected["detection_id"] == relabelled, "the least confident comes first"
    desk.keys("1")
    desk.select(rejected)
    desk.keys("x")
    desk.select(moved)
    desk.keys("ArrowRight", "ArrowRight", "Shift+ArrowDown", "Control+ArrowLeft")
    desk.select(accepted)
    desk.keys("a")
    desk.keys("Escape", "2", "n")  # the next box is of class 2, then the drawing tool
    desk.keys("Enter", *["Shift+ArrowRight"] * 5, *["Shift+ArrowDown"] * 4, "Enter")
    added = next(box for box in desk.boxes if box["status"] == "added")
    assert added["class_id"] == 1
    x1, y1, x2, y2 = added["box"]
    assert (x2 - x1, y2 - y1) == pytest.approx((50, 40))

    desk.keys("Delete")  # ... and undo brings it back
    assert all(box["status"] != "added" for box in desk.boxes)
    desk.keys("Control+z")
    assert added in desk.boxes
    desk.keys("Control+Shift+z")
    assert all(box["status"] != "added" for box in desk.boxes)
    desk.keys("Control+z")
    before = desk.boxes

    desk.saved()
    assert re.search(r"Saved \d\d:\d\d", desk.text("saved-state"))
    desk.page.reload()
    desk.ready("first", queued.review_id)
    assert desk.boxes == before
    desk.keys("Control+z")  # undo survived the reload
    assert desk.boxes != before
    desk.keys("Control+y")
    assert desk.boxes == before

    desk.keys("m")
    desk.page.keyboard.type("Two cells touch: not N or X or Ctrl+Enter")
    desk.keys("Escape")
    assert desk.boxes == before, "keys typed into the comment did nothing to the boxes"
    desk.keys("Control+Enter")
    desk.empty()

    with app.units() as uow:
        case = uow.cases.get(queued.review_id)
        correction = uow.corrections.of_case(queued.review_id)
        assert uow.annotations.latest_of(queued.image_id) is None, "a second person must look"
    assert case.state is CaseState.SECOND
    assert correction is not None
    assert correction.reviewer == app.pseudonyms["ana"]
    assert correction.comment == "Two cells touch: not N or X or Ctrl+Enter"
    assert correction.rejected == (rejected,)
    assert correction.active_seconds > 0
    origins = {box.detection_id: box.origin for box in correction.boxes}
    assert origins == {
        accepted: Origin.ACCEPTED,
        moved: Origin.MOVED,
        relabelled: Origin.RELABELLED,
        None: Origin.ADDED,
    }
    boxes = {box.detection_id: box.box.xyxy for box in correction.boxes}
    assert boxes[moved] == pytest.approx((302, 210, 381, 300))
    assert desk.page.errors == []
    assert_no_personal_data(app)


def test_what_is_not_answered_is_asked_for_once(app: App, sign_in: SignIn) -> None:
    queued = app.queue(found((60, 50, 160, 150, 0, 0.91), (300, 200, 380, 290, 1, 0.5)))
    desk = DeskPage(sign_in("ana"))
    desk.ready("first", queued.review_id)
    desk.keys("Control+Enter")
    assert "2" in desk.text("confirm")
    desk.keys("Escape")
    desk.page.get_by_test_id("confirm").wait_for(state="hidden")
    desk.keys("Control+Enter", "Control+Enter")
    desk.empty()
    with app.units() as uow:
        annotation = uow.annotations.latest_of(queued.image_id)
    assert annotation is not None
    assert annotation.reviewers == (app.pseudonyms["ana"],)
    submitted = events_of(app, queued.review_id, "correction.submitted")
    assert [event.details["bulk_accepted"] for event in submitted] == [2]


def test_no_finding_is_asked_for_once_and_is_an_answer(app: App, sign_in: SignIn) -> None:
    queued = app.queue(found((60, 50, 160, 150, 0, 0.4)))
    desk = DeskPage(sign_in("ana"))
    desk.ready("first", queued.review_id)
    desk.keys("Tab", "x", "Control+Enter")
    assert "No finding?" in desk.text("confirm")
    desk.keys("Control+Enter")
    desk.empty()
    with app.units() as uow:
        correction = uow.corrections.of_case(queued.review_id)
        annotation = uow.annotations.latest_of(queued.image_id)
    assert correction is not None
    assert correction.no_finding
    assert annotation is not None
    assert annotation.boxes == ()


def test_a_skipped_case_stays_for_others_and_an_escalated_one_goes_to_a_second_look(
    app: App, sign_in: SignIn
) -> None:
    queued = app.queue(found((60, 50, 160, 150, 0, 0.9)))
    desk = DeskPage(sign_in("ana"))
    desk.ready("first", queued.review_id)
    desk.keys("Control+Space")
    desk.page.get_by_test_id("dialog").wait_for()
    desk.keys("1")
    desk.empty()
    other = DeskPage(sign_in("cleo"))
    other.ready("first", queued.review_id)
    other.keys("e")
    other.page.get_by_test_id("escalate-comment").fill("Is this one cell or two?")
    other.page.get_by_test_id("escalate-send").click()
    other.empty()
    with app.units() as uow:
        case = uow.cases.get(queued.review_id)
    assert case.state is CaseState.SECOND
    assert "escalated" in case.reasons


def test_a_settled_case_is_read_only_and_reopening_makes_a_new_version(
    app: App, sign_in: SignIn
) -> None:
    queued = app.queue(found((60, 50, 160, 150, 0, 0.9)))
    desk = DeskPage(sign_in("ana"))
    desk.ready("first", queued.review_id)
    desk.keys("Tab", "a", "Control+Enter")
    desk.empty()
    desk.keys("d")
    desk.ready("done", queued.review_id)
    before = desk.boxes
    desk.keys("Tab", "x", "Delete", "ArrowRight")
    assert desk.boxes == before
    desk.page.get_by_test_id("reopen").click()
    desk.page.get_by_test_id("reopen-reason").fill("A neighbour was missed")
    desk.page.get_by_test_id("reopen-send").click()
    desk.ready("first")
    assert desk.state["caseId"] != queued.review_id
    desk.keys("n", "Enter", *["Shift+ArrowRight"] * 3, *["Shift+ArrowDown"] * 3, "Enter")
    desk.keys("Control+Enter", "Control+Enter")
    desk.empty()
    app.clear_queue()
    with app.units() as uow:
        annotation = uow.annotations.latest_of(queued.image_id)
        first = uow.corrections.of_case(queued.review_id)
    assert annotation is not None
    assert annotation.version == 2
    assert len(annotation.boxes) == 2
    assert first is not None
    assert len(first.boxes) == 1, "the first answer is as it was"


def test_an_image_of_twelve_megapixels_with_300_boxes_is_drawn_and_edited(
    app: App, sign_in: SignIn
) -> None:
    corners = [(40.0 + 190 * (i % 20), 40.0 + 190 * (i // 20)) for i in range(300)]
    many = [(x, y, x + 120, y + 130, i % 3, 0.3 + i / 1000) for i, (x, y) in enumerate(corners)]
    queued = app.queue(found(*many), width=4000, height=3000)
    desk = DeskPage(sign_in("ana"))
    desk.ready("first", queued.review_id)
    canvas = desk.page.locator("[data-testid=canvas-host] canvas").last
    area = canvas.bounding_box()
    scale = desk.page.evaluate(
        "document.querySelector('[data-testid=desk-root]').__desk.canvas.view?.scale ?? null"
    )
    x, y = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
    desk.keys("Tab")
    first = desk.selected
    desk.page.mouse.move(x, y)
    desk.page.mouse.wheel(0, -400)
    desk.keys("ArrowRight")
    moved = next(box for box in desk.boxes if box["id"] == first["id"])
    assert moved["box"][0] == pytest.approx(first["box"][0] + 1)
    assert moved["status"] == "changed"
    assert scale is None or scale > 0
    desk.saved()
    desk.keys("Control+Enter", "Control+Enter")
    desk.empty()
    with app.units() as uow:
        correction = uow.corrections.of_case(queued.review_id)
    assert correction is not None
    assert len(correction.boxes) == 300
    assert desk.page.errors == []


def test_the_list_of_keys_opens_and_every_button_prints_its_key(app: App, sign_in: SignIn) -> None:
    app.queue(found((60, 50, 160, 150, 0, 0.9)))
    desk = DeskPage(sign_in("ana"))
    desk.ready("first")
    desk.keys("Shift+?")
    help_text = desk.text("dialog")
    for key in ("Ctrl+Enter", "Ctrl+Space", "Ctrl+Z", "Tab", "Esc", "Del", "Ctrl+S"):
        assert key in help_text
    desk.keys("Escape")
    for testid, key in (("submit", "Ctrl+Enter"), ("tool-accept", "A"), ("next", "F")):
        assert key in desk.text(testid)


def events_of(app: App, review_id: str, type: str) -> list[Event]:
    entries = open_audit_log(app.settings).tail(500)
    return [
        entry.event
        for entry in entries
        if entry.event.type == type and entry.event.subject.get("review_id") == review_id
    ]


def assert_no_personal_data(app: App) -> None:
    """Only pseudonyms stand in the log: no login, no name, nothing that was typed."""
    log = open_audit_log(app.settings)
    log.verify()
    text = " ".join(entry.event.canonical().decode() for entry in log.tail(2000))
    assert app.pseudonyms["ana"] in text
    for word in ('"ana"', '"Ana"', '"cleo"', "Two cells touch"):
        assert word not in text

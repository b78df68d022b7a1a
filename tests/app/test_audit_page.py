"""The auditor's page in a browser: search, follow, verify, take away; by mouse and by keyboard."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loop.checkpoints import Proof
from loop.events import Actor, Authentication, Event, Role
from loop.signed_notes import VerifierKey
from store.audit_log import open_audit_log
from store.log_verify import check_signatures
from tests.app.conftest import MODEL, App, found
from tests.app.test_pages import _MISFITS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SignIn = Callable[..., Any]
EVA = Actor("demo-engineer", Role.ENGINEER, Authentication.PROCESS)


@pytest.fixture
def page(app: App, sign_in: SignIn) -> Any:
    """The tab, on a log in which an image waits and its model was registered."""
    queued = app.queue(found((60, 50, 160, 150, 0, 0.9)))
    with app.units() as uow:
        weights = {"weights": MODEL.digest}
        details = {"alias": "champion", "exports": {}, "signature": None}
        subject = {"model": MODEL.as_dict()}
        uow.record(Event("model.registered", EVA, subject, details, outputs=weights))
        uow.commit()
    page = opened(sign_in("aud"))
    page.image_id, page.case = queued.image_id, queued.review_id
    return page


def opened(page: Any) -> Any:
    page.get_by_role("tab", name="Progress").wait_for()
    tab = page.get_by_role("tab", name="Audit", exact=True)
    if tab.is_visible():
        tab.click()
    else:
        page.locator(".overflow-menu > button").first.click()
        page.locator(".overflow-dropdown button", has_text="Audit").first.click()
    rows(page).first.wait_for()
    return page


def rows(page: Any) -> Any:
    return page.locator(".sla-table tbody tr")


def search(page: Any, label: str, value: str) -> None:
    page.get_by_label(label, exact=True).fill(value)
    with page.expect_response(lambda answer: "/audit/events?" in answer.url):
        page.keyboard.press("Enter")


def test_an_image_is_searched_followed_and_verified(page: Any) -> None:
    search(page, "Image id", page.image_id)
    page.get_by_text("that is all").wait_for()
    assert rows(page).locator(".sla-type").all_inner_texts() == ["image.queued"]
    rows(page).first.click()
    page.get_by_role("heading", name="image.queued").wait_for()
    page.get_by_role("button", name="Where does it come from").click()
    tree = page.locator(".sla-tree")
    tree.get_by_text("The model detector 3").wait_for()
    assert tree.get_by_text("how it was trained is not on record").is_visible()
    page.get_by_role("button", name="What became of it").click()
    page.get_by_text("No answer is on record yet").wait_for()
    page.get_by_role("button", name="Verify this entry").click()
    page.get_by_test_id("audit-result").get_by_text("Verified.").wait_for()
    page.get_by_role("button", name="Where does it come from").click()
    tree.get_by_role("button", name="model.registered").click()
    page.get_by_role("heading", name="model.registered").wait_for()
    assert page.errors == []


def test_the_whole_log_is_verified_before_ones_eyes(page: Any, app: App) -> None:
    page.get_by_role("button", name="Verify the whole log").click()
    result = page.get_by_test_id("audit-log-result")
    result.get_by_text("entries verify").wait_for()
    assert result.get_by_text("No witness is named").is_visible()
    (last,) = open_audit_log(app.settings).tail(1)
    assert last.event.type == "audit.verified"
    assert last.event.actor.pseudonym == app.pseudonyms["aud"]
    assert last.event.actor.authenticated_by is Authentication.PASSWORD


def test_an_entry_and_the_log_are_taken_away(page: Any, app: App, tmp_path: Path) -> None:
    search(page, "Case", page.case)
    rows(page).first.click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download event and proof").click()
    download.value.save_as(tmp_path / "entry.zip")
    with zipfile.ZipFile(tmp_path / "entry.zip") as archive:
        proof = Proof.parse(archive.read("proof.tlog-proof"))
        check_signatures(proof.checkpoint, VerifierKey.parse(archive.read("key.txt").decode()))
        proof.check(archive.read("event.json"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the log").click()
    download.value.save_as(tmp_path / "log.zip")
    with zipfile.ZipFile(tmp_path / "log.zip") as archive:
        assert archive.testzip() is None
    (last,) = open_audit_log(app.settings).tail(1)
    assert last.event.type == "evidence.built"


def test_the_keyboard_is_enough(page: Any) -> None:
    rows(page).nth(2).wait_for()
    rows(page).first.get_by_role("button").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    index = rows(page).nth(1).get_attribute("data-index")
    page.get_by_role("heading", name=f"Entry {index}:").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Where does it come from"
    page.keyboard.press("Enter")
    page.locator(".sla-tree").wait_for()


def test_nothing_found_is_said_with_what_to_do(page: Any) -> None:
    search(page, "Case", "no-such-case")
    page.get_by_text("No entry fits.").wait_for()
    search(page, "Image id", "f" * 64)
    page.get_by_text("Nothing connects image").wait_for()
    page.get_by_label("MLflow run or model version").fill("no-such-run")
    page.get_by_role("button", name="Verify run").click()
    page.get_by_test_id("audit-log-result").get_by_text("Not found.").wait_for()


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_it_fits_with_an_entry_and_its_tree_open(
    page: Any, app: App, sign_in: SignIn, size: tuple[int, int]
) -> None:
    other = opened(sign_in("root", size=size))
    search(other, "Case", page.case)
    rows(other).first.click()
    other.get_by_role("button", name="Where does it come from").click()
    other.locator(".sla-tree").wait_for()
    assert other.evaluate(_MISFITS) == []


def test_a_reviewer_has_no_such_tab_and_is_refused(sign_in: SignIn, app: App) -> None:
    page = sign_in("ana")
    page.get_by_role("tab", name="Progress").wait_for()
    assert not page.get_by_role("tab", name="Audit").filter(visible=True).count()
    assert page.request.get(f"{app.url}/audit/events").status == 403
    assert page.request.post(f"{app.url}/audit/export").status == 403

"""Every tab in a browser: who sees it, that it fits; and the ways in, for images and people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loop.cases import CaseState
from loop.events import Actor, Role
from loop.invitations import Invitations
from tests.app.conftest import PASSWORD, App, found, picture, running_app
from tests.app.desk_page import DeskPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SignIn = Callable[..., Any]
_TABS = {
    "ana": ["Review", "Upload", "Progress", "What changed"],
    "ben": ["Review", "Upload", "Progress", "What changed"],
    "eva": ["Upload", "Progress", "What changed", "Training", "Stop switch"],
    "aud": ["Progress", "What changed", "Training", "Audit"],
    "root": ["Progress", "What changed", "Stop switch", "Audit", "People"],
}
# Whatever is wider than its place: text that is cut off without an ellipsis, or a page that scrolls
# sideways.
_MISFITS = """() => {
  const misfits = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) misfits.push(`page ${root.scrollWidth}px`);
  for (const node of document.querySelectorAll('button, select, h1, h2, h3, label, th, td')) {
    const style = getComputedStyle(node);
    if (node.offsetParent === null || style.textOverflow === 'ellipsis') continue;
    if (node.scrollWidth > node.clientWidth + 1 && style.overflowX !== 'visible')
      misfits.push(`${node.tagName} ${node.textContent.trim().slice(0, 40)}`);
  }
  const buttons = [...document.querySelectorAll('.sl-desk button')].filter((b) => b.offsetParent);
  for (const [i, one] of buttons.entries()) for (const two of buttons.slice(i + 1)) {
    if (one.contains(two) || two.contains(one)) continue;
    const [a, b] = [one.getBoundingClientRect(), two.getBoundingClientRect()];
    const over = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const deep = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (over > 1 && deep > 1) misfits.push(`${one.textContent} over ${two.textContent}`);
  }
  return misfits;
}"""


@pytest.fixture(autouse=True)
def nothing_waits(app: App) -> None:
    app.clear_queue()


@pytest.mark.parametrize("size", [(1440, 900), (1024, 768)])
@pytest.mark.parametrize("login", sorted(_TABS))
def test_each_role_sees_its_tabs_and_everything_in_them_fits(
    app: App, sign_in: SignIn, login: str, size: tuple[int, int]
) -> None:
    if login == "ana":
        app.queue(found((60, 50, 160, 150, 0, 0.9), (300, 200, 380, 290, 1, 0.5)))
    page = sign_in(login, size=size)
    page.get_by_role("tab", name=_TABS[login][0]).wait_for()
    assert (
        page.get_by_role("tab").filter(visible=True).all_inner_texts()[: len(_TABS[login])]
        == (_TABS[login])
    )
    if login == "ana":
        DeskPage(page).ready("first")
    for name in _TABS[login]:
        tab = page.get_by_role("tab", name=name, exact=True)
        tab.click()
        page.get_by_role("tabpanel").filter(visible=True).first.wait_for()
        assert page.evaluate(_MISFITS) == [], name
    assert page.errors == []


@pytest.mark.parametrize("login", ["ana", "aud", "eva", "root"])
def test_everything_fits_a_phone(app: App, sign_in: SignIn, login: str) -> None:
    if login == "ana":
        app.queue(found((60, 50, 160, 150, 0, 0.9), (300, 200, 380, 290, 1, 0.5)))
    page = sign_in(login, size=(390, 844))
    page.get_by_role("tab", name=_TABS[login][0]).wait_for()
    if login == "ana":
        DeskPage(page).ready("first")
    for name in _TABS[login]:
        tab = page.get_by_role("tab", name=name, exact=True)
        if tab.is_visible():
            tab.click()
        else:  # Gradio puts what has no room in the line into a menu
            page.locator(".overflow-menu > button").first.click()
            page.locator(".overflow-dropdown button", has_text=name).first.click()
        page.get_by_role("tabpanel").filter(visible=True).first.wait_for()
        assert page.evaluate(_MISFITS) == [], name
    assert page.errors == []


def test_an_uploaded_image_waits_at_the_desk(app: App, sign_in: SignIn, tmp_path: Path) -> None:
    files = []
    for seed in range(2):
        path = tmp_path / f"patient-name-{seed}.jpg"
        path.write_bytes(picture(320, 240, seed))
        files.append(str(path))
    page = sign_in("ana")
    page.get_by_role("tab", name="Upload", exact=True).click()
    page.get_by_test_id("upload-files").set_input_files(files)
    page.get_by_role("button", name="Upload 2 images").click()
    page.get_by_text("2 boxes").nth(1).wait_for()  # of the second image
    with app.units() as uow:
        waiting = uow.cases.waiting(CaseState.FIRST)
    assert len(waiting) == 2
    page.get_by_role("tab", name="Review", exact=True).click()
    desk = DeskPage(page)
    if desk.state["status"] == "empty":
        page.get_by_test_id("check-again").click()
    desk.ready("first")
    assert desk.state["caseId"] in {case.id for case in waiting}


def test_the_first_link_makes_the_first_account_once(chromium: Any, tmp_path: Path) -> None:
    with running_app(tmp_path / "home", people=()) as app:
        invitations = Invitations(app.units, app.settings.sign_in)
        token = invitations.first_admin(Actor("operator", Role.SYSTEM))
        assert token is not None
        link = app.settings.welcome_url(token)
        context = chromium.new_context()
        page = context.new_page()
        for _ in range(2):  # looking at it uses nothing up
            page.goto(link)
        page.get_by_label("Login").fill("dora")
        page.get_by_label("Name").fill("Dora")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.locator("input[name=again]").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.get_by_test_id("who").get_by_text("Dora").wait_for()
        page.get_by_role("tab", name="People").wait_for()
        page.get_by_role("tab", name="Review").wait_for()
        again = chromium.new_context().new_page()
        again.goto(link)
        assert again.get_by_label("Login").count() == 0
        assert invitations.first_admin(Actor("operator", Role.SYSTEM)) is None
        context.close()

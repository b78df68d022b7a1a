"""The stop switch in a browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from loop.ordering import latest_order
from tests.app.conftest import App

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_an_admin_stops_the_model_and_puts_it_back(
    app: App, sign_in: Callable[..., Any], size: tuple[int, int]
) -> None:
    page = sign_in("root", size=size)
    page.get_by_role("tab", name="Progress").wait_for()
    tab = page.get_by_role("tab", name="Stop switch", exact=True)
    if tab.is_visible():
        tab.click()
    else:
        page.locator(".overflow-menu > button").first.click()
        page.locator(".overflow-dropdown button", has_text="Stop switch").first.click()
    page.get_by_role("button", name="Stop the model").click()
    page.get_by_text("This needs a reason.").wait_for()
    page.get_by_label("Reason").fill("It marks scratches as cells.")
    page.get_by_role("button", name="Stop the model").click()
    page.get_by_role("button", name="No, leave it").click()
    page.get_by_role("button", name="Stop the model").click()
    page.get_by_role("button", name="Yes, stop it now").click()
    page.get_by_text("Out of service.", exact=True).wait_for()
    order = latest_order(app.units)
    assert order is not None and order.stop is not None
    assert order.stop.by == app.pseudonyms["root"]
    page.get_by_label("Reason").fill("Mended.")
    page.get_by_role("button", name="Put it back into service").click()
    page.get_by_text("The stop is lifted.").wait_for()
    order = latest_order(app.units)
    assert order is not None and order.stop is None
    assert page.errors == []

"""The desk in a browser, as a person handles it: keys, and what can be read off the page."""

from __future__ import annotations

from typing import Any

_DESK = "document.querySelector('[data-testid=desk-root]').__desk"
_PATIENCE_MS = 30_000


class DeskPage:
    """``page`` is Playwright's, with the app open in it."""

    def __init__(self, page: Any) -> None:
        self.page = page

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate(f"{_DESK}.state")
        return found

    @property
    def boxes(self) -> list[dict[str, Any]]:
        """As the editor holds them: id, box in pixels, class_id, status, detection_id…"""
        found: list[dict[str, Any]] = self.page.evaluate(
            f"{_DESK}.editor.boxes.map(b => ({{...b}}))"
        )
        return found

    @property
    def selected(self) -> dict[str, Any]:
        chosen = self.page.evaluate(f"{_DESK}.editor.selected")
        return next(box for box in self.boxes if box["id"] == chosen)

    def wait(self, condition: str) -> None:
        """Until ``condition``, JavaScript about the desk `d` and its state `s`, is true."""
        self.page.wait_for_function(
            "() => { const d = document.querySelector('[data-testid=desk-root]')?.__desk;"
            f" if (!d) return false; const s = d.state; return {condition}; }}",
            timeout=_PATIENCE_MS,
        )

    def ready(self, phase: str, case_id: str | None = None) -> None:
        """Until a case is open in ``phase``, its image drawn and nothing under way."""
        this = f" && s.caseId === '{case_id}'" if case_id else ""
        self.wait(f"s.phase === '{phase}' && s.image === 'ready' && s.busy === null{this}")

    def empty(self) -> None:
        self.wait("s.status === 'empty' && s.busy === null")

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def saved(self) -> None:
        """Until the server has what is on the page."""
        self.wait("s.saved === 'saved'")

    def select(self, detection_id: str) -> None:
        """Tab from box to box, as somebody without a mouse does."""
        for _ in range(len(self.boxes) + 1):
            self.keys("Tab")
            if self.page.evaluate(f"{_DESK}.editor.selected") is None:
                continue
            if self.selected["detection_id"] == detection_id:
                return
        raise AssertionError(f"Tab never came to {detection_id}")

    def text(self, testid: str) -> str:
        return str(self.page.get_by_test_id(testid).inner_text())

    def banner(self, kind: str) -> Any:
        return self.page.locator(f"[data-testid=banner][data-kind={kind}]")

"""Section "Decide" of the training page: approve or refuse, promote, roll back; with reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from loop.access import Permission, Person
from loop.errors import InvalidInput, LoopError, NotFound
from loop.ports import Aliases, UnitsOfWork
from loop.promoting import CHAMPION, PREVIOUS, Swap, approve, promote, roll_back
from loop.promotions import Promotion, PromotionState, Verdict
from ui.gold_book import Candidate, GoldBook
from ui.ticker import tick, ticker
from ui.training_html import area, heading, notice, quiet, sorry
from ui.training_start import Guard
from ui.training_verdict import history, label, scores, verdict

_MOST_LETTERS = 500
_MAY_DECIDE = (PromotionState.PROPOSED,)
_MAY_PROMOTE = (PromotionState.APPROVED, PromotionState.FAILED)
_REASON_NOTE = "Kept in the audit log for good: no names, nothing about patients."
_HIDDEN = {"api_visibility": "private", "show_progress": "hidden"}
_PROMOTING = "The service loads and tries it; this takes up to two minutes. The old one serves on."


def build_decide(
    guard: Guard,
    units: UnitsOfWork,
    aliases: Aliases,
    book: GoldBook,
    find_swap: Callable[[], Swap | None],
    approvers: int = 1,
) -> None:
    """``approvers`` is how many different people must approve a candidate, at least."""
    look = ticker()
    which = gr.Dropdown(choices=[], label="Candidate", elem_classes="slt-picker")
    stands = area(quiet("Reading …"))
    with gr.Row(elem_classes="slt-halves"):
        with gr.Column(min_width=320):
            reason = _reason("Reason for approving or refusing")
            with gr.Row(elem_classes="slt-actions"):
                yes = _button("Approve", "primary")
                no = _button("Refuse", "stop")
                go = _button("Promote into service", "secondary")
        with gr.Column(min_width=320):
            back_reason = _reason("Reason for rolling back")
            with gr.Row(elem_classes="slt-actions"):
                back = _button("Roll back", "stop")
    message = area()
    served = area()
    steps = area()

    section = _Decide(units, aliases, book, find_swap, approvers)
    buttons = [yes, no, go, back]
    shown = [which, message, stands, served, steps, *buttons]
    look.opened(guard(Permission.SEE_MODELS, section.open), which, [*shown, look], **_HIDDEN)
    which.input(guard(Permission.SEE_MODELS, section.show), which, shown, **_HIDDEN)
    may = Permission.DECIDE
    yes.click(guard(may, section.approve), [which, reason], [*shown, reason], **_HIDDEN)
    no.click(guard(may, section.refuse), [which, reason], [*shown, reason], **_HIDDEN)
    go.click(guard(may, section.promote), which, shown, **_HIDDEN)
    back.click(
        guard(may, section.roll_back), [which, back_reason], [*shown, back_reason], **_HIDDEN
    )


def _reason(text: str) -> gr.Textbox:
    return gr.Textbox(label=text, info=_REASON_NOTE, lines=2, max_lines=4, max_length=_MOST_LETTERS)


def _button(text: str, variant: Any) -> gr.Button:
    """Enabled as soon as it is known that its state allows it."""
    return gr.Button(text, variant=variant, scale=0, min_width=120, interactive=False)


class _Decide:
    """Each handler gives the menu, a message, the verdict, what is in service, the history, and
    the buttons."""

    def __init__(
        self,
        units: UnitsOfWork,
        aliases: Aliases,
        book: GoldBook,
        find_swap: Callable[[], Swap | None],
        approvers: int = 1,
    ) -> None:
        self._units = units
        self._aliases = aliases
        self._book = book
        self._find_swap = find_swap
        self._approvers = approvers

    def open(self, person: Person, version: str | None) -> list[Any]:
        return [*self.show(person, version), tick(live=False)]

    def show(self, person: Person, version: str | None, message: str = "") -> list[Any]:
        try:
            measured, promotions = self._measured(), self._book.promotions()
            champion, previous = self._book.alias(CHAMPION), self._book.alias(PREVIOUS)
        except LoopError as error:
            return [gr.skip(), sorry(error), *[gr.skip()] * 3, *_buttons(None, can_go_back=False)]
        version, menu = _menu(measured, version)
        promotion = self._as_asked_for(_latest(promotions, version))
        stands = quiet("No candidate has been measured yet. Measure one under Compare.")
        if promotion is not None:
            stands = verdict(promotion, person.pseudonym) + scores(promotion)
            if promotion.state in _MAY_DECIDE and promotion.decision.verdict is not Verdict.PROMOTE:
                stands += notice("warn", "Approving it overrules the gate, and this is on record.")
        now = f"version {champion.version}" if champion else "no model"
        before = f"version {previous.version}" if previous else "none"
        may = person.may(Permission.DECIDE)
        return [
            menu,
            message,
            stands,
            heading("In service", f"champion: {now}; the one before: {before}"),
            heading("History") + history(promotions, person.pseudonym),
            *_buttons(
                promotion if may else None,
                person.pseudonym,
                can_go_back=may and previous is not None,
            ),
        ]

    def approve(self, person: Person, version: str | None, reason: str) -> list[Any]:
        return self._decide(person, version, reason, refuse=False)

    def refuse(self, person: Person, version: str | None, reason: str) -> list[Any]:
        return self._decide(person, version, reason, refuse=True)

    def promote(self, person: Person, version: str | None) -> Iterator[list[Any]]:
        """Says first that it is under way: the service takes its time."""
        yield _while_waiting(f"Promoting version {version} …")
        try:
            candidate = self._candidate(version)
            swap = self._find_swap()
            actor = person.acting(Permission.DECIDE)
            promote(self._units, self._aliases, candidate.ref, actor=actor, swap=swap)
        except LoopError as error:
            yield self.show(person, version, sorry(error))
            return
        yield self.show(person, version, notice("good", _now_serves(version, swap)))

    def roll_back(self, person: Person, version: str | None, reason: str) -> Iterator[list[Any]]:
        yield [*_while_waiting("Rolling back …"), gr.skip()]
        try:
            swap = self._find_swap()
            ref = roll_back(
                self._units,
                self._aliases,
                actor=person.acting(Permission.DECIDE),
                reason=_given(reason),
                swap=swap,
            )
        except LoopError as error:
            yield [*self.show(person, version, sorry(error)), gr.skip()]
            return
        text = notice("good", f"Rolled back. {_now_serves(ref.version, swap)}")
        yield [*self.show(person, version, text), ""]

    def _decide(
        self, person: Person, version: str | None, reason: str, *, refuse: bool
    ) -> list[Any]:
        try:
            decided = approve(
                self._units,
                self._candidate(version).ref,
                actor=person.acting(Permission.DECIDE),
                reason=_given(reason),
                refuse=refuse,
                approvers=self._approvers,
            )
        except LoopError as error:
            return [*self.show(person, version, sorry(error)), gr.skip()]
        if missing := decided.approvals_missing:
            others = "One other person" if missing == 1 else f"{missing} other people"
            text = notice("good", f"You have approved it. {others} must approve it too.")
        else:
            text = notice("good", f"Version {version} is {decided.state}.")
        return [*self.show(person, version, text), ""]

    def _as_asked_for(self, promotion: Promotion | None) -> Promotion | None:
        """With as many approvers as settings ask for by now, if that is more."""
        if promotion is None or promotion.approvers >= self._approvers:
            return promotion
        return replace(promotion, approvers=self._approvers)

    def _measured(self) -> list[Candidate]:
        return [each for each in self._book.candidates() if each.promotion is not None]

    def _candidate(self, version: str | None) -> Candidate:
        for candidate in self._measured():
            if candidate.ref.version == version:
                return candidate
        raise NotFound("Choose a candidate first.", hint="Measure one under Compare.")


def _menu(measured: list[Candidate], version: str | None) -> tuple[str | None, Any]:
    """The version to show, of those that wait for somebody the newest unless another is chosen;
    and the menu."""
    versions = [candidate.ref.version for candidate in measured]
    if version not in versions:
        waiting = [each.ref.version for each in measured if _waits(each)]
        version = next(iter([*waiting, *versions]), None)
    choices = [(label(candidate), candidate.ref.version) for candidate in measured]
    return version, gr.Dropdown(choices=choices, value=version)


def _waits(candidate: Candidate) -> bool:
    promotion = candidate.promotion
    return promotion is not None and promotion.state in (*_MAY_DECIDE, *_MAY_PROMOTE)


def _while_waiting(text: str) -> list[Any]:
    """A message, and no button to press."""
    buttons = _buttons(None, can_go_back=False)
    return [gr.skip(), notice("info", text, _PROMOTING), *[gr.skip()] * 3, *buttons]


def _given(reason: str | None) -> str:
    """As the use cases want it; their hint is for the command line. Raises `InvalidInput`."""
    text = (reason or "").strip()
    if not text:
        raise InvalidInput("This needs a reason.", hint="Write why, then press the button again.")
    if len(text) > _MOST_LETTERS:
        raise InvalidInput(f"This reason has more than {_MOST_LETTERS} letters.")
    return text


def _now_serves(version: str | None, swap: Swap | None) -> str:
    if swap is None:
        return (
            f"Version {version} is the champion. Nothing is up in this home: it serves next time."
        )
    return f"Version {version} is the champion and serves now."


def _latest(promotions: list[Promotion], version: str | None) -> Promotion | None:
    """Of newest first ones, the one of that version."""
    return next((each for each in promotions if each.candidate.version == version), None)


def _buttons(promotion: Promotion | None, viewer: str = "", *, can_go_back: bool) -> list[Any]:
    """Approve, refuse, promote, roll back: each as the state allows it. Nobody approves twice."""
    state = promotion.state if promotion else None
    again = promotion is not None and viewer in promotion.approved_by
    may_decide = state in _MAY_DECIDE
    allowed = (may_decide and not again, may_decide, state in _MAY_PROMOTE, can_go_back)
    return [gr.Button(interactive=each) for each in allowed]

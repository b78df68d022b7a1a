"""The one place through which every event goes on its way into the log."""

from __future__ import annotations

from typing import Protocol

from loop.event_types import check_event
from loop.events import Event, canonical_json
from loop.ports import ImageSalts, SealedTexts
from loop.sealing import seal, text_to_keep


class _Beside(Protocol):
    """What is kept beside the log, so that an auditor can open commitments in it."""

    @property
    def image_salts(self) -> ImageSalts: ...
    @property
    def sealed_texts(self) -> SealedTexts: ...


def sealed_entry(event: Event, beside: _Beside) -> tuple[Event, bytes]:
    """``event`` as it enters the log, and its bytes. Salts that it needs are made.

    Raises `InvalidInput` for an event that its type's schema does not allow.
    """
    sealed = seal(event, beside.image_salts.of)
    values = sealed.as_dict()
    entry = canonical_json(values)  # first: it names what is no JSON value at all
    check_event(values)
    text = text_to_keep(event)
    if text is not None:
        beside.sealed_texts.add(text)
    return sealed, entry

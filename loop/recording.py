"""The one place through which every event goes on its way into the log."""

from __future__ import annotations

from typing import Protocol

from loop.errors import InvalidInput
from loop.event_types import check_event
from loop.events import Event, canonical_json
from loop.ports import ImageSalts, SealedTexts
from loop.sealing import seal, text_to_keep
from loop.tiles import LONGEST_ENTRY


class _Beside(Protocol):
    """What is kept beside the log, so that an auditor can open commitments in it."""

    @property
    def image_salts(self) -> ImageSalts: ...
    @property
    def sealed_texts(self) -> SealedTexts: ...


def sealed_entry(event: Event, beside: _Beside) -> tuple[Event, bytes]:
    """``event`` as it enters the log, and its bytes. Salts that it needs are made.

    Raises `InvalidInput` for an event that its type's schema does not allow, or that is too long.
    """
    sealed = seal(event, beside.image_salts.of)
    values = sealed.as_dict()
    entry = canonical_json(values)  # first: it names what is no JSON value at all
    check_event(values)
    if len(entry) > LONGEST_ENTRY:  # in the outbox, it would keep all others from the log
        raise InvalidInput(
            f"The event {event.type} takes {len(entry)} bytes, and the log holds {LONGEST_ENTRY}.",
            hint="Do it in smaller parts.",
        )
    text = text_to_keep(event)
    if text is not None:
        beside.sealed_texts.add(text)
    return sealed, entry

"""What is said of an image leaves its event as commitments, before the event is recorded.

An image's id is the SHA-256 of its bytes, and the digest of a few boxes can be guessed: whoever has
the image, or tries some boxes, would find them in the log again. So each of them is replaced by an
HMAC-SHA256 with the image's own salt, 32 random bytes that are kept in the database and never enter
the log. With the salt an auditor opens a commitment (`opens`); once its row is erased, nobody can
tell what the commitment is of, nor which commitments belong together with anything outside the
log, while the log itself stays as it was and verifies. Data sets have salts as images do, by their
digest: the names of folders say something about people, too.

Field names decide, wherever they stand in subject, details, inputs and outputs: `SEALED`. The
reason of an event about an image or a data set is sealed as well, and kept beside the log
(`text_to_keep`). Other free text is for people to write with care; paths and image ids that the
message of an error brings along are cut out of it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from loop.errors import InvalidInput
from loop.events import Event

SALT_BYTES = 32
SaltOf = Callable[[str], bytes]

_PREFIX = "hmac-sha256:"
# What a field is called at the place where an event is made, and in the log.
_IDS = {"image_id": "image", "dataset_id": "dataset"}
_LISTS = {"image_ids": "images", "added_image_ids": "added"}
_OF_THE_IMAGE = {"boxes_sha256": "boxes", "source_name": "source"}
SEALED: Mapping[str, str] = _IDS | _LISTS | _OF_THE_IMAGE
# How models are called that stand for the boxes of an imported data set: after its folder.
_IMPORTED = "import:"
_REASON = "reason"
# `Image 3f2a…` in a message; and a path: two names or more, behind a slash.
_IMAGE_IN_TEXT = re.compile(r"\b([Ii]mage)s? [0-9a-f]{12,64}")
_PATH_IN_TEXT = re.compile(r"(?<![\w./:])~?/[^\s/'\",;:]+(?:/[^\s'\",;:]*)+")


@dataclass(frozen=True, slots=True)
class SealedText:
    """The reason of an event, in plain words; ``image_id`` names the salt of its commitment."""

    event_id: str
    image_id: str
    text: str


def commitment(salt: bytes, field: str, value: str) -> str:
    """``hmac-sha256:`` and 64 hex digits. ``field`` is the name in the log (``image``, ``boxes``,
    ``reason``…), so that the same value in two fields gives two commitments."""
    return _PREFIX + hmac.digest(salt, f"{field}\0{value}".encode(), "sha256").hex()


def opens(committed: str, salt: bytes, field: str, value: str) -> bool:
    """Whether ``committed`` is the commitment to ``value``."""
    return hmac.compare_digest(committed, commitment(salt, field, value))


def seal(event: Event, salt_of: SaltOf) -> Event:
    """``event`` as it may enter the log. ``salt_of`` gives the salt of an image, or a data set, by
    its id. Done twice, it is the same as done once."""
    anchor = _anchor(event)
    salt = salt_of(anchor) if anchor else None
    return replace(
        event,
        subject=_sealed(event.subject, salt, salt_of),
        details=_sealed(event.details, salt, salt_of),
        inputs=_sealed(event.inputs, salt, salt_of),
        outputs=_sealed(event.outputs, salt, salt_of),
        reason=_sealed_reason(event.reason, salt),
    )


def text_to_keep(event: Event) -> SealedText | None:
    """The reason that `seal` takes out of ``event`` (not yet sealed), if it does: it has to be
    kept, or its commitment could never be opened."""
    anchor = _anchor(event)
    return SealedText(event.id, anchor, event.reason) if event.reason and anchor else None


def without_names(text: str) -> str:
    """The message of an error without paths and ids of images."""
    return _PATH_IN_TEXT.sub("[path]", _IMAGE_IN_TEXT.sub(r"\1 [sealed]", text))


def _anchor(event: Event) -> str | None:
    for name in _IDS:
        found = event.subject.get(name)
        if found:
            return str(found)
    return None


def _sealed(values: Mapping[str, Any], salt: bytes | None, salt_of: SaltOf) -> dict[str, Any]:
    sealed: dict[str, Any] = {}
    for name, value in values.items():
        if name in _IDS:
            if value is not None:
                sealed[_IDS[name]] = commitment(salt_of(value), _IDS[name], value)
        elif name in _LISTS:
            sealed[_LISTS[name]] = [commitment(salt_of(each), "image", each) for each in value]
        elif name in _OF_THE_IMAGE:
            sealed[_OF_THE_IMAGE[name]] = commitment(_needed(salt), _OF_THE_IMAGE[name], value)
        elif isinstance(value, Mapping):
            imported = str(value.get("name", "")).startswith(_IMPORTED)
            sealed[name] = _sealed_model(value, salt) if imported else _sealed(value, salt, salt_of)
        elif name == "error" and isinstance(value, str):
            sealed[name] = without_names(value)
        else:
            sealed[name] = value
    return sealed


def _sealed_model(model: Mapping[str, Any], salt: bytes | None) -> dict[str, Any]:
    """Its name is a folder's and its digest may be that of a path."""
    name, digest = str(model["name"]), str(model["digest"])
    digest = commitment(_needed(salt), "model", f"{name}\0{digest}")
    return dict(model) | {"name": "import", "digest": digest}


def _needed(salt: bytes | None) -> bytes:
    if salt is None:
        raise InvalidInput("An event that tells of an image or a data set has to name it.")
    return salt


def _sealed_reason(reason: str, salt: bytes | None) -> str:
    if not reason or salt is None:
        return without_names(reason)
    return commitment(salt, _REASON, reason)

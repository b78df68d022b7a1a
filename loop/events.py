"""Audit events: who did what to which digests, when, why, and with what outcome.

An event's bytes are its RFC 8785 canonical JSON. Personal data never enters one: actors and
subjects are pseudonyms, images and corrections appear as ids and digests.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import rfc8785

from loop.errors import BrokenRecord, InvalidInput

SCHEMA_VERSION = 1


class Role(StrEnum):
    REVIEWER = "reviewer"
    ADJUDICATOR = "adjudicator"
    ENGINEER = "engineer"
    AUDITOR = "auditor"
    ADMIN = "admin"
    SYSTEM = "system"  # a part of Second Look acting by itself


class Outcome(StrEnum):
    DONE = "done"
    INTENDED = "intended"  # written before something happens outside the database
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or part, by pseudonym, in the role it acts in."""

    pseudonym: str
    role: Role

    def __post_init__(self) -> None:
        if not self.pseudonym:
            raise InvalidInput("An actor needs a pseudonym.")


@dataclass(frozen=True, slots=True)
class Event:
    """``type`` is ``noun.verb`` (``correction.submitted``); ``subject`` names what was acted on,
    by ids and digests; ``details`` holds the rest, JSON values only; ``cause`` is the id of the
    event that led to this one; ``at`` is RFC 3339 in UTC."""

    type: str
    actor: Actor
    subject: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome = Outcome.DONE
    reason: str = ""
    cause: str | None = None
    request_id: str = ""
    id: str = field(default_factory=lambda: new_id())
    at: str = field(default_factory=lambda: now())

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA_VERSION,
            "id": self.id,
            "type": self.type,
            "at": self.at,
            "actor": self.actor.pseudonym,
            "role": self.actor.role.value,
            "subject": dict(self.subject),
            "details": dict(self.details),
            "outcome": self.outcome.value,
            "reason": self.reason,
            "cause": self.cause,
            "request_id": self.request_id,
        }

    def canonical(self) -> bytes:
        """RFC 8785 bytes. Raises `InvalidInput` for values that JSON cannot carry."""
        return canonical_json(self.as_dict())

    @classmethod
    def from_canonical(cls, data: bytes) -> Event:
        try:
            raw = json.loads(data, parse_int=_integer)
            return cls(
                type=raw["type"],
                actor=Actor(raw["actor"], Role(raw["role"])),
                subject=raw["subject"],
                details=raw["details"],
                outcome=Outcome(raw["outcome"]),
                reason=raw["reason"],
                cause=raw["cause"],
                request_id=raw["request_id"],
                id=raw["id"],
                at=raw["at"],
            )
        except (ValueError, KeyError, TypeError, InvalidInput) as error:
            raise BrokenRecord(f"Not an audit event: {error}.") from error


def canonical_json(value: Any) -> bytes:
    """RFC 8785 (JSON Canonicalization Scheme) bytes of a JSON value."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise InvalidInput(f"Not a JSON value: {error}.") from error


def _integer(digits: str) -> int | float:
    # RFC 8785 writes the float 1e20 as an integer, but takes no integer of that size back.
    return int(digits) if len(digits) < 16 else float(digits)


def now() -> str:
    """RFC 3339, UTC, microseconds: sorts as text."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def new_id() -> str:
    return uuid.uuid4().hex

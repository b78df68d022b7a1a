"""Audit events: who did what to which digests, when, why, and with what outcome.

An event's bytes are its RFC 8785 canonical JSON. Personal data never enters the log: actors are
pseudonyms, and what is said here of an image or a correction is sealed (`loop.sealing`) when a unit
of work records it. What each type of event carries: `loop.event_types`, docs/audit-events.md.
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

SCHEMA_VERSION = 2
_LARGEST_INTEGER = 2**53 - 1  # rfc8785 takes no larger ones


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


class Authentication(StrEnum):
    """How it was made sure that an actor is who they say."""

    PASSWORD = "password"  # noqa: S105 - the method's name
    OIDC = "oidc"
    LINK = "link"  # a one-time link
    API_KEY = "api_key"
    OPERATING_SYSTEM = "operating_system"  # whoever may run commands in this home
    PROCESS = "process"  # a part of Second Look acting by itself
    NONE = "none"  # nobody was asked, or the proof was refused
    UNKNOWN = "unknown"  # nothing is on record


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or part, by pseudonym, in the role it acts in. It is the same actor however it was
    authenticated."""

    pseudonym: str
    role: Role
    authenticated_by: Authentication = field(default=Authentication.UNKNOWN, compare=False)

    def __post_init__(self) -> None:
        if not self.pseudonym:
            raise InvalidInput("An actor needs a pseudonym.")


@dataclass(frozen=True, slots=True)
class Event:
    """``type`` is ``noun.verb`` (``correction.submitted``); ``subject`` names what was acted on,
    by ids and digests; ``inputs`` and ``outputs`` are digests of what went in and came out, by
    name; ``details`` holds the rest, JSON values only. ``decision`` is what was decided, in one
    word, ``reason`` why. ``cause`` is the id of the event that led to this one, ``run_id`` an
    MLflow run. ``started`` and ``at``, when it ended, are RFC 3339 in UTC, the same where nothing
    else is given. ``schema`` is 1 for what was recorded before there was version 2: those events
    have none of ``started``, ``inputs``, ``outputs``, ``decision``, ``run_id`` and ``fold``.
    """

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
    started: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    decision: str = ""
    run_id: str | None = None
    fold: int | None = None
    schema: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if not self.started:
            object.__setattr__(self, "started", self.at)

    def as_dict(self) -> dict[str, Any]:
        common = {
            "schema": self.schema,
            "id": self.id,
            "type": self.type,
            "actor": self.actor.pseudonym,
            "role": self.actor.role.value,
            "subject": dict(self.subject),
            "details": dict(self.details),
            "outcome": self.outcome.value,
            "reason": self.reason,
            "cause": self.cause,
            "request_id": self.request_id,
        }
        if self.schema == 1:
            return common | {"at": self.at}
        return common | {
            "started": self.started,
            "ended": self.at,
            "authenticated_by": self.actor.authenticated_by.value,
            "inputs": dict(self.inputs),
            "outputs": dict(self.outputs),
            "decision": self.decision,
            "run_id": self.run_id,
            "fold": self.fold,
        }

    def canonical(self) -> bytes:
        """RFC 8785 bytes. Raises `InvalidInput` for values that JSON cannot carry."""
        return canonical_json(self.as_dict())

    @classmethod
    def from_canonical(cls, data: bytes) -> Event:
        """An event of any version that there was; `canonical` gives its bytes again.

        Raises `BrokenRecord` for what is none, and for a version that is not known here.
        """
        try:
            raw = json.loads(data, parse_int=_integer)
            schema = raw["schema"]
            if schema == 1 and schema is not True:
                return cls(**_common(raw, Authentication.UNKNOWN), at=raw["at"], schema=1)
            if schema != SCHEMA_VERSION:
                raise InvalidInput(f"version {schema!r} is not known here")
            names = ("started", "inputs", "outputs", "decision", "run_id", "fold")
            later = {name: raw[name] for name in names}
            method = Authentication(raw["authenticated_by"])
            return cls(**_common(raw, method), **later, at=raw["ended"])
        except (ValueError, KeyError, TypeError, InvalidInput) as error:
            raise BrokenRecord(f"Not an audit event: {error}.") from error


def _common(raw: Mapping[str, Any], method: Authentication) -> dict[str, Any]:
    """What every version has."""
    names = ("type", "subject", "details", "reason", "cause", "request_id", "id")
    return {name: raw[name] for name in names} | {
        "actor": Actor(raw["actor"], Role(raw["role"]), method),
        "outcome": Outcome(raw["outcome"]),
    }


def canonical_json(value: Any) -> bytes:
    """RFC 8785 (JSON Canonicalization Scheme) bytes of a JSON value."""
    try:
        return _dumps(value).encode() if _is_simple(value) else rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise InvalidInput(f"Not a JSON value: {error}.") from error


# Of what `_is_simple` the standard library's encoder, which is in C, makes the same bytes: keys of
# ASCII sort alike by code points and by UTF-16, and both escape the same characters alike.
_dumps = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def _is_simple(value: Any) -> bool:
    """Whether there are no numbers but integers that a double holds, and no keys but of ASCII."""
    waiting = [value]
    for each in waiting:
        kind = type(each)
        if kind is str or kind is bool or each is None:
            continue
        if kind is dict:
            for key in each:
                if type(key) is not str or not key.isascii():
                    return False
            waiting += each.values()
        elif kind is list or kind is tuple:
            waiting += each
        elif kind is not int or abs(each) > _LARGEST_INTEGER:
            return False
    return True


def _integer(digits: str) -> int | float:
    # RFC 8785 writes the float 1e20 as an integer, but takes no integer of that size back.
    return int(digits) if len(digits) < 16 else float(digits)


def now() -> str:
    """RFC 3339, UTC, microseconds: sorts as text."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def new_id() -> str:
    return uuid.uuid4().hex

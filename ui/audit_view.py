"""Entries of the audit log as the page shows them: in plain words, and as they stand there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from loop.errors import LoopError
from loop.event_references import references
from loop.event_types import schema_of
from loop.events import Authentication, Event, Outcome
from loop.opening import OpenedReason, is_sealed
from loop.signed_notes import Note, VerifierKey
from store.audit_log import Entry

_OUTCOMES = {
    Outcome.DONE: "It was done.",
    Outcome.INTENDED: "It was about to happen; another entry says how it ended.",
    Outcome.REFUSED: "It was refused.",
    Outcome.FAILED: "It failed.",
}
_AUTHENTICATED = {
    Authentication.PASSWORD: "signed in with a password",
    Authentication.OIDC: "signed in at an identity provider",
    Authentication.LINK: "by a one-time link",
    Authentication.API_KEY: "by an API key",
    Authentication.OPERATING_SYSTEM: "as somebody who may run commands in this home",
    Authentication.PROCESS: "acting as a part of Second Look",
    Authentication.NONE: "nobody was authenticated",
    Authentication.UNKNOWN: "how they were authenticated is not on record",
}
_SEALED = "A commitment: whoever has the salt can open it."
_ERASED = (
    "A commitment that cannot be opened here: the words were erased, or are in another database."
)
_OPENS = "Opens the commitment in the log."
_CHANGED = "Does not open the commitment in the log: these words were changed beside it."
# What can be searched for by clicking on it.
_LINKED = {
    *("person", "case", "model", "run", "request", "image", "snapshot", "folds", "split"),
    *("prediction", "correction", "annotation", "promotion"),
}

Json = dict[str, Any]


def row(entry: Entry) -> Json:
    event = entry.event
    return {
        "index": entry.index,
        "id": event.id,
        "at": utc(event.at),
        "type": event.type,
        "what": description(event.type),
        "actor": event.actor.pseudonym,
        "role": event.actor.role.value,
        "outcome": event.outcome.value,
    }


def details(entry: Entry, reason: OpenedReason | None) -> Json:
    """Everything in the entry; ``reason`` are its words, where they are sealed and still known."""
    return row(entry) | {
        "fields": list(_fields(entry.event, reason)),
        "json": json.dumps(entry.event.as_dict(), indent=2, ensure_ascii=False),
        "bytes": len(entry.data),
        "leaf_sha256": entry.leaf_sha256,
        "cause": entry.event.cause,
    }


def description(type: str) -> str:
    try:
        return str(schema_of(type)["description"])
    except LoopError:  # a type of an earlier version
        return ""


def utc(at: str) -> str:
    return f"{at[:19].replace('T', ' ')} UTC"


def cosigned_at(note: Note, witness: VerifierKey) -> str:
    """Empty if it has not signed."""
    at = note.cosigned_at(witness)
    return "" if at is None else utc(datetime.fromtimestamp(at, UTC).isoformat())


def _fields(event: Event, reason: OpenedReason | None) -> Iterator[Json]:
    actor = event.actor
    yield _field("What", description(event.type) or event.type)
    took = "" if event.started == event.at else f"since {utc(event.started)}"
    yield _field("When", utc(event.at), note=took)
    how = f"as {actor.role}, {_AUTHENTICATED[actor.authenticated_by]}"
    yield _field("Who", actor.pseudonym, note=how, link=("person", actor.pseudonym))
    yield _field("Outcome", _OUTCOMES[event.outcome])
    if event.decision:
        yield _field("Decision", event.decision)
    if event.reason:
        yield _reason(event, reason)
    known = {value: kind for kind, value in references(event) if kind in _LINKED}
    for part, values in (
        ("About", event.subject),
        ("With", event.details),
        ("In", event.inputs),
        ("Out", event.outputs),
    ):
        for name, value in values.items():
            if value not in (None, "", {}, []):
                yield _valued(part, name, value, known)
    for name, text in (("MLflow run", event.run_id), ("Request", event.request_id)):
        if text:
            yield _field(name, text, link=(known.get(text, ""), text))
    if event.fold is not None:
        yield _field("Fold", str(event.fold))


def _valued(part: str, name: str, value: Any, known: Mapping[str, str]) -> Json:
    label = f"{part}: {name.replace('_', ' ')}"
    if isinstance(value, Mapping) and {"name", "version"} <= value.keys():
        model = f"{value['name']}/{value['version']}"
        note = f"digest {value['digest']}" if value.get("digest") else ""
        return _field(label, model.replace("/", " "), note=note, link=("model", model))
    if isinstance(value, str):
        note = _SEALED if is_sealed(value) else ""
        return _field(label, value, note=note, link=(known.get(value, ""), value))
    return _field(label, json.dumps(value, ensure_ascii=False))


def _reason(event: Event, reason: OpenedReason | None) -> Json:
    if not is_sealed(event.reason):
        return _field("Reason", event.reason)
    if reason is None:
        return _field("Reason", event.reason, note=_ERASED)
    return _field("Reason", reason.text, note=_OPENS if reason.opens else _CHANGED)


def _field(label: str, text: str, *, note: str = "", link: tuple[str, str] = ("", "")) -> Json:
    kind, value = link
    found = {"label": label, "text": text, "note": note}
    return found | {"link": {"kind": kind, "value": value}} if kind else found

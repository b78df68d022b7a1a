"""When which model was in service, as the log has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from loop.events import Outcome
from loop.tracing import FindsEvents, Found, Step, model_of, step

_ORDERED = "serving.ordered"  # an intent: that replicas took it shows in what comes after
_BEGINS = ("promotion.ended", "model.rolled_back", "model.served", "model.resumed", _ORDERED)
_ENDS = ("model.stopped", "system.stopped", "serving.removed")
_MOST = 2000
_DECISIONS = ("gate.decided", "model.measured", "labels.compared")
_APPROVALS = ("promotion.approved", "promotion.approved_by_one", "promotion.refused")
_MOVES = (
    *("promotion.started", "promotion.ended", "model.rollback_started", "model.rolled_back"),
    *("model.served", "model.stopped", "model.resumed", "trial", _ORDERED),
)


@dataclass(frozen=True, slots=True)
class Span:
    """``until`` is None while it lasts."""

    model: str
    since: Found
    until: Found | None


def spans(events: Iterable[Found]) -> Iterator[Span]:
    """From events in the log's order: no two overlap."""
    current: tuple[str, Found] | None = None
    for found in events:
        next_model = _serves_then(found)
        if next_model is None or (current is not None and current[0] == next_model):
            continue
        if current is not None:
            yield Span(*current, found)
        current = (next_model, found) if next_model else None
    if current is not None:
        yield Span(*current, None)


def _serves_then(found: Found) -> str | None:
    """The model from this event on; empty for none, None if it changes nothing."""
    event = found.event
    if event.type in _ENDS:
        stays = event.details.get("service_stays", False)  # on a cluster that others started
        return "" if event.outcome is Outcome.DONE and not stays else None
    ordered = event.type == _ORDERED and event.outcome is Outcome.INTENDED
    if event.type in _BEGINS and (ordered or event.outcome is Outcome.DONE):
        return model_of(event)
    return None


def release_steps(record: FindsEvents, model: str) -> list[Step]:
    """How it was decided upon, and when it was in service."""
    about = (("model", model),)
    gate = record.find(about, _DECISIONS)
    approvals = record.find(about, _APPROVALS)
    return [
        step(
            "Measured, and the gate's verdict",
            gate,
            gap="" if gate else "No measurement of this model is on record.",
        ),
        step(
            "Approved or refused by people",
            approvals,
            gap="" if approvals else "No person's approval of this model is on record.",
        ),
        _service(record, model),
    ]


def _service(record: FindsEvents, model: str) -> Step:
    moves = [
        each for each in record.find((("model", model),), _MOVES) if model_of(each.event) == model
    ]
    known = record.find((), (*_BEGINS, *_ENDS), _MOST)
    own = [span for span in spans(known) if span.model == model]
    times = [
        f"from {_at(span.since)} " + (f"to {_at(span.until)}" if span.until else "until now")
        for span in own
    ]
    note = f"In service {'; '.join(times)}." if times else ""
    return step("Put into service", moves, note=note, gap="" if own else _NEVER)


_NEVER = "This model was never in service, as far as the log says."


def _at(found: Found) -> str:
    return f"{found.event.at[:19].replace('T', ' ')} UTC"

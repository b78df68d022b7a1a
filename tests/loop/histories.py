"""A record in memory to follow, and the history of a house that has trained and promoted models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from loop.event_references import references
from loop.events import Actor, Authentication, Event, Outcome, Role
from loop.tracing import MOST_EVENTS, Found, Reference, Step

ANA = Actor("ana", Role.REVIEWER, Authentication.PASSWORD)
EVA = Actor("eva", Role.ENGINEER, Authentication.PASSWORD)
API = Actor("key-1", Role.SYSTEM, Authentication.API_KEY)


def digest(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()


def model(version: int) -> dict[str, str]:
    name = str(version)
    return {"name": "detector", "version": name, "digest": digest(f"weights {name}")}


class Record:
    """`loop.tracing.FindsEvents` over a list: what it finds, it finds by looking at everything."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self.events = list(events)

    def add(self, type: str, actor: Actor, subject: Mapping[str, Any], **more: Any) -> Event:
        at = f"2026-01-01T00:{len(self.events) // 60:02}:{len(self.events) % 60:02}.000000Z"
        event = Event(type, actor, subject, at=at, **more)
        self.events.append(event)
        return event

    def find(
        self, about: Sequence[Reference], types: Sequence[str] = (), limit: int = MOST_EVENTS
    ) -> list[Found]:
        found = [
            Found(index, event)
            for index, event in enumerate(self.events)
            if set(about) <= references(event)
            and (not types or any(event.type == t or event.type.startswith(f"{t}.") for t in types))
        ]
        return found[-limit:]

    def get(self, event_id: str) -> Found | None:
        found = (Found(i, event) for i, event in enumerate(self.events) if event.id == event_id)
        return next(found, None)

    def found(self, event: Event) -> Found:
        return Found(self.events.index(event), event)


class Snapshots:
    """`loop.tracing.KnowsSnapshots` with the files of those that were added."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, bool]] = {}

    def first(self, snapshot_sha256: str, limit: int) -> tuple[list[str], int] | None:
        held = self.held.get(snapshot_sha256)
        return None if held is None else (list(held)[:limit], len(held))

    def holds(self, snapshot_sha256: str, answers: Sequence[str]) -> dict[str, bool] | None:
        held = self.held.get(snapshot_sha256)
        return None if held is None else {each: held[each] for each in answers if each in held}


class House:
    """Adds to a record what Second Look would."""

    def __init__(self) -> None:
        self.record = Record()
        self.snapshots = Snapshots()
        self.answers: dict[str, dict[str, Event]] = {}
        self._annotations: dict[str, str] = {}

    def register(self, version: int, **subject: Any) -> Event:
        weights = {"weights": model(version)["digest"]}
        subject = {"model": model(version), **subject}
        return self.record.add("model.registered", EVA, subject, outputs=weights)

    def answer(self, image: str, version: int, *, again: int = 0) -> str:
        """An image comes in and is answered; returns the case."""
        case = f"case-{image}-{again}"
        seen = {"image": f"hmac-sha256:{digest(image)}", "review_id": case}
        annotation, correction = f"annotation-{case}", f"correction-{case}"
        queued = {**seen, "prediction_id": f"prediction-{case}", "model": model(version)}
        self.record.add("image.queued", API, queued, request_id=f"request-{case}")
        corrected = self.record.add(
            "correction.submitted", ANA, {**seen, "correction_id": correction}
        )
        settled = self.record.add(
            "annotation.settled", ANA, {**seen, "annotation_id": annotation}, cause=corrected.id
        )
        self.answers[case] = {"corrected": corrected, "settled": settled}
        self._annotations[image] = annotation
        return case

    def freeze(self, name: str, *, with_files: bool = True) -> str:
        snapshot = digest(f"snapshot {name}")
        subject = {"snapshot_sha256": snapshot, "labels": "adjudicated"}
        self.record.add("snapshot.created", EVA, subject)
        if with_files:
            held = sorted(self._annotations.values())
            self.snapshots.held[snapshot] = dict.fromkeys(held, False)
        return snapshot

    def train(self, snapshot: str, version: int, base: int) -> str:
        run, folds = f"run-{version}", digest(f"folds {version}")
        self.record.add("folds.created", EVA, {"snapshot_sha256": snapshot, "folds_sha256": folds})
        inputs = {
            "snapshot_sha256": snapshot,
            "folds_sha256": folds,
            "base_weights_sha256": model(base)["digest"],
            "mlflow_run_id": run,
        }
        self.record.add("kfold.started", EVA, inputs, outcome=Outcome.INTENDED)
        self.record.add("fold.ended", EVA, {**inputs, "fold": 0, "fold_run_id": f"{run}-0"})
        self.register(version, snapshot_sha256=snapshot, folds_sha256=folds, mlflow_run_id=run)
        self.record.add("kfold.ended", EVA, inputs)
        return run

    def promote(self, version: int, before: int) -> None:
        subject = {"promotion_id": f"promotion-{version}", "model": model(version)}
        measured = {"candidate": model(version), "champion": model(before)}
        self.record.add("gate.decided", EVA, {**measured, "gold_sha256": digest("gold")})
        self.record.add("promotion.approved", EVA, subject)
        self.record.add("promotion.started", EVA, subject, outcome=Outcome.INTENDED)
        self.record.add("promotion.ended", EVA, subject)


def whole_turn(*, with_files: bool = True) -> House:
    """Two images answered, a third one later; models 2 and 3 trained before and after that."""
    house = House()
    house.register(1)
    house.answer("a", 1)
    house.answer("b", 1)
    house.train(house.freeze("one", with_files=with_files), 2, base=1)
    house.promote(2, before=1)
    house.answer("c", 2)
    house.train(house.freeze("two", with_files=with_files), 3, base=2)
    return house


def events_in(tree: Step) -> set[str]:
    return {found.event.id for step in tree.walk() for found in step.events}


def gaps_in(tree: Step) -> list[str]:
    return [gap for step in tree.walk() for gap in step.gaps]


def titles_in(tree: Step) -> list[str]:
    return [step.title for step in tree.walk()]

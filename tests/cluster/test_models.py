from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cluster import registering, status
from loop import promoting
from loop.errors import Conflict, InvalidInput, NotFound, Unavailable
from loop.events import Actor, Event, Outcome, Role, new_id, now
from loop.ports import UnitsOfWork
from loop.predictions import ModelRef
from loop.promotions import Promotion, PromotionState, Verdict, last_release
from store.audit_log import open_audit_log
from store.settings import Settings
from store.unit_of_work import open_units_of_work
from tests.cluster.fakes import CLASSES, FakeRegistry, FakeService, model, proposal

ENGINEER = Actor("engineer-1", Role.ENGINEER)
SECOND_ENGINEER = Actor("engineer-2", Role.ENGINEER)


@pytest.fixture
def units(settings: Settings) -> UnitsOfWork:
    return open_units_of_work(settings)


def events(settings: Settings) -> list[tuple[str, Outcome]]:
    log = open_audit_log(settings)
    log.verify()
    return [(entry.event.type, entry.event.outcome) for entry in log.tail(100)]


def propose(
    units: UnitsOfWork,
    candidate: str,
    champion: str | None,
    *,
    approvers: int = 1,
    **options: Verdict,
) -> None:
    proposed = proposal(model(candidate), model(champion) if champion else None, **options)
    with units() as uow:
        uow.promotions.add(replace(proposed, id=new_id(), created_at=now(), approvers=approvers))
        uow.record(Event("test.happened", Actor("gate", Role.SYSTEM), {}))
        uow.commit()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(registering, "load_classes", lambda weights, config_dir: CLASSES)
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    return path


def register(units: UnitsOfWork, registry: FakeRegistry, weights: Path, alias: str) -> None:
    registering.register(
        units,
        registry,  # type: ignore[arg-type]
        weights,
        config_dir=weights.parent,
        alias=alias,
        actor=ENGINEER,
    )


def test_the_first_champion_brings_its_classes(
    settings: Settings, units: UnitsOfWork, weights: Path
) -> None:
    registry = FakeRegistry()
    register(units, registry, weights, "champion")
    assert registry.aliases == {"champion": model("1")}
    with units() as uow:
        assert uow.classes.get() == CLASSES
    assert events(settings) == [
        ("classes.defined", Outcome.DONE),
        ("model.registering", Outcome.INTENDED),
        ("model.registered", Outcome.DONE),
    ]


def test_a_second_champion_must_be_promoted(units: UnitsOfWork, weights: Path) -> None:
    registry = FakeRegistry(champion=model("1"))
    with pytest.raises(Conflict, match="champion already") as caught:
        register(units, registry, weights, "champion")
    assert "--alias candidate" in caught.value.hint
    assert not registry.registered


def test_a_model_with_other_classes_is_refused(
    units: UnitsOfWork, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = FakeRegistry()
    register(units, registry, weights, "champion")
    other = type(CLASSES)(("cell", "ring"))
    monkeypatch.setattr(registering, "load_classes", lambda weights, config_dir: other)
    with pytest.raises(Conflict, match="ring"):
        register(units, registry, weights, "candidate")


def test_missing_weights_are_named(units: UnitsOfWork, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nothing\.pt"):
        register(units, FakeRegistry(), tmp_path / "nothing.pt", "candidate")


def test_an_approved_candidate_is_served_before_the_alias_moves(
    settings: Settings, units: UnitsOfWork
) -> None:
    registry = FakeRegistry(champion=model("1"), candidate=model("2"))
    service = FakeService(model("1"))
    propose(units, "2", "1")
    promoting.approve(units, model("2"), actor=ENGINEER, reason="better")
    promoted = promoting.promote(units, registry, model("2"), actor=ENGINEER, swap=service.swap)  # type: ignore[arg-type]
    assert promoted.state is PromotionState.PROMOTED
    assert service.serving == model("2")
    assert registry.aliases == {"champion": model("2"), "previous": model("1")}
    assert events(settings)[1:] == [
        ("promotion.approved", Outcome.DONE),
        ("promotion.started", Outcome.INTENDED),
        ("promotion.ended", Outcome.DONE),
    ]


def test_a_model_that_does_not_load_leaves_everything_as_it_was_and_is_on_record(
    settings: Settings, units: UnitsOfWork
) -> None:
    registry = FakeRegistry(champion=model("1"), candidate=model("2"))
    service = FakeService(model("1"), refuses=frozenset({"2"}))
    propose(units, "2", "1")
    promoting.approve(units, model("2"), actor=ENGINEER, reason="better")
    with pytest.raises(Unavailable):
        promoting.promote(units, registry, model("2"), actor=ENGINEER, swap=service.swap)  # type: ignore[arg-type]
    assert service.serving == model("1")
    assert registry.aliases == {"champion": model("1"), "candidate": model("2")}
    assert events(settings)[-1] == ("promotion.ended", Outcome.FAILED)
    with units() as uow:
        promotion = uow.promotions.find("detector", "2")
    assert promotion is not None
    assert promotion.state is PromotionState.FAILED


def test_why_a_release_failed_stands_in_its_history_its_event_and_its_tags(
    settings: Settings, units: UnitsOfWork
) -> None:
    registry = FakeRegistry(champion=model("1"), candidate=model("2"))
    approved(units, "2")
    service = FakeService(model("1"), refuses=frozenset({"2"}))
    with pytest.raises(Unavailable):
        promote(units, registry, "2", service)
    why = "The model does not load."
    failed = found(units, "2")
    assert failed.failure is not None
    assert failed.failure["reason"] == why
    assert open_audit_log(settings).tail(1)[0].event.reason == why
    assert registry.tags["2"] == {"loop.release": "failed", "loop.release.reason": why}
    release = last_release([failed])
    assert release is not None
    assert release.line == f"version 2 failed: {why}"
    promote(units, registry, "2", FakeService(model("1")))
    assert found(units, "2").failure is None
    assert registry.tags["2"]["loop.release"] == "promoted"


def test_a_release_that_is_interrupted_has_failed(settings: Settings, units: UnitsOfWork) -> None:
    registry = FakeRegistry(champion=model("1"), candidate=model("2"))
    approved(units, "2")

    def interrupted(ref: ModelRef) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        promoting.promote(units, registry, model("2"), actor=ENGINEER, swap=interrupted)
    assert registry.aliases["champion"] == model("1")
    assert events(settings)[-1] == ("promotion.ended", Outcome.FAILED)
    assert found(units, "2").state is PromotionState.FAILED


def test_what_cannot_become_the_champion_does_not_stay_in_service(units: UnitsOfWork) -> None:
    class NoChampion(FakeRegistry):
        def set_alias(self, alias: str, ref: ModelRef) -> None:
            raise Unavailable("MLflow does not answer.")

    registry = NoChampion(champion=model("1"), candidate=model("2"))
    service = FakeService(model("1"))
    approved(units, "2")
    with pytest.raises(Unavailable, match="MLflow does not answer"):
        promote(units, registry, "2", service)
    assert service.serving == model("1")
    assert found(units, "2").state is PromotionState.FAILED


def test_who_cannot_go_back_either_is_told_both(units: UnitsOfWork) -> None:
    class NoChampion(FakeRegistry):
        def set_alias(self, alias: str, ref: ModelRef) -> None:
            raise Unavailable("MLflow does not answer.")

    registry = NoChampion(champion=model("1"), candidate=model("2"))
    approved(units, "2")
    with pytest.raises(Unavailable, match=r"MLflow does not answer\. Going back to version 1"):
        promote(units, registry, "2", FakeService(model("1"), refuses=frozenset({"1"})))


def approved(units: UnitsOfWork, version: str) -> None:
    propose(units, version, "1")
    promoting.approve(units, model(version), actor=ENGINEER, reason="better")


def promote(units: UnitsOfWork, registry: FakeRegistry, version: str, service: FakeService) -> None:
    promoting.promote(units, registry, model(version), actor=ENGINEER, swap=service.swap)


def found(units: UnitsOfWork, version: str) -> Promotion:
    with units() as uow:
        promotion = uow.promotions.find("detector", version)
    assert promotion is not None
    return promotion


def test_a_failed_promotion_can_be_tried_again(units: UnitsOfWork) -> None:
    registry = FakeRegistry(champion=model("1"), candidate=model("2"))
    propose(units, "2", "1")
    promoting.approve(units, model("2"), actor=ENGINEER, reason="better")
    broken = FakeService(model("1"), refuses=frozenset({"2"}))
    with pytest.raises(Unavailable):
        promoting.promote(units, registry, model("2"), actor=ENGINEER, swap=broken.swap)  # type: ignore[arg-type]
    promoting.promote(units, registry, model("2"), actor=ENGINEER, swap=None)  # type: ignore[arg-type]
    assert registry.aliases["champion"] == model("2")


def test_a_candidate_that_was_compared_with_another_champion_is_compared_again(
    units: UnitsOfWork,
) -> None:
    registry = FakeRegistry(champion=model("3"), candidate=model("2"))
    service = FakeService(model("3"))
    propose(units, "2", "1")
    promoting.approve(units, model("2"), actor=ENGINEER, reason="better")
    with pytest.raises(
        Conflict, match=r"compared with version 1, but .* now is version 3"
    ) as caught:
        promoting.promote(units, registry, model("2"), actor=ENGINEER, swap=service.swap)  # type: ignore[arg-type]
    assert "models compare 2" in caught.value.hint
    assert service.serving == model("3")
    propose(units, "2", "3")
    promoting.approve(units, model("2"), actor=ENGINEER, reason="better than that one too")
    promoting.promote(units, registry, model("2"), actor=ENGINEER, swap=service.swap)  # type: ignore[arg-type]
    assert service.serving == model("2")


def test_nothing_is_promoted_without_a_person(units: UnitsOfWork) -> None:
    registry = FakeRegistry(champion=model("1"), candidate=model("2"))
    propose(units, "2", "1")
    with pytest.raises(Conflict, match="not approved"):
        promoting.promote(units, registry, model("2"), actor=ENGINEER, swap=None)  # type: ignore[arg-type]
    assert registry.aliases["champion"] == model("1")


def test_a_candidate_that_was_never_measured_cannot_be_approved(units: UnitsOfWork) -> None:
    with pytest.raises(NotFound, match="not been measured"):
        promoting.approve(units, model("2"), actor=ENGINEER, reason="better")


def test_a_decision_needs_a_reason(units: UnitsOfWork) -> None:
    propose(units, "2", "1")
    with pytest.raises(InvalidInput, match="reason"):
        promoting.approve(units, model("2"), actor=ENGINEER, reason="  ")


def test_a_refused_candidate_stays_refused(units: UnitsOfWork) -> None:
    propose(units, "2", "1")
    promoting.approve(units, model("2"), actor=ENGINEER, reason="misses rods", refuse=True)
    with pytest.raises(Conflict):
        promoting.approve(units, model("2"), actor=ENGINEER, reason="on second thought")


def test_overruling_the_gate_is_on_record(settings: Settings, units: UnitsOfWork) -> None:
    propose(units, "2", "1", verdict=Verdict.REFUSE)
    promoting.approve(units, model("2"), actor=ENGINEER, reason="the gold set is too old")
    (approval,) = open_audit_log(settings).tail(1)
    assert approval.event.details["overrules_the_gate"] is True
    assert approval.event.reason == "the gold set is too old"


def test_two_people_approve_where_two_must(settings: Settings, units: UnitsOfWork) -> None:
    registry = FakeRegistry(champion=model("1"), candidate=model("2"))
    propose(units, "2", "1", approvers=2)
    once = promoting.approve(units, model("2"), actor=ENGINEER, reason="better")
    assert once.approvals_missing == 1
    with pytest.raises(Conflict, match="not approved"):
        promoting.promote(units, registry, model("2"), actor=ENGINEER, swap=None)
    with pytest.raises(Conflict, match="approved this already"):
        promoting.approve(units, model("2"), actor=ENGINEER, reason="really better")
    promoting.approve(units, model("2"), actor=SECOND_ENGINEER, reason="I agree")
    promoting.promote(units, registry, model("2"), actor=ENGINEER, swap=None)
    assert registry.aliases["champion"] == model("2")
    log = open_audit_log(settings)
    log.verify()
    approvals = [
        (entry.event.type, entry.event.actor.pseudonym, entry.event.details["approvals"])
        for entry in log.tail(100)
        if entry.event.type.startswith("promotion.approved")
    ]
    assert approvals == [
        ("promotion.approved_by_one", "engineer-1", 1),
        ("promotion.approved", "engineer-2", 2),
    ]


def test_what_one_approved_another_can_refuse(units: UnitsOfWork) -> None:
    propose(units, "2", "1", approvers=2)
    promoting.approve(units, model("2"), actor=ENGINEER, reason="better")
    refused = promoting.approve(
        units, model("2"), actor=SECOND_ENGINEER, reason="misses rods", refuse=True
    )
    assert refused.state is PromotionState.REFUSED
    with pytest.raises(Conflict):
        promoting.approve(units, model("2"), actor=SECOND_ENGINEER, reason="or not")


def test_settings_can_ask_for_more_people_after_the_proposal(units: UnitsOfWork) -> None:
    propose(units, "2", "1")
    once = promoting.approve(units, model("2"), actor=ENGINEER, reason="better", approvers=2)
    assert (once.state, once.approvals_missing) == (PromotionState.PROPOSED, 1)


def test_rolling_back_swaps_champion_and_previous(settings: Settings, units: UnitsOfWork) -> None:
    registry = FakeRegistry(champion=model("2"), previous=model("1"))
    service = FakeService(model("2"))
    promoting.roll_back(units, registry, actor=ENGINEER, reason="misses rods", swap=service.swap)  # type: ignore[arg-type]
    assert service.serving == model("1")
    assert registry.aliases == {"champion": model("1"), "previous": model("2")}
    assert events(settings)[-1] == ("model.rolled_back", Outcome.DONE)


def test_a_roll_back_that_the_service_does_not_take_changes_nothing_and_is_on_record(
    settings: Settings, units: UnitsOfWork
) -> None:
    registry = FakeRegistry(champion=model("2"), previous=model("1"))
    service = FakeService(model("2"), refuses=frozenset({"1"}))
    with pytest.raises(Unavailable):
        promoting.roll_back(units, registry, actor=ENGINEER, reason="bad", swap=service.swap)
    assert service.serving == model("2")
    assert registry.aliases == {"champion": model("2"), "previous": model("1")}
    event = open_audit_log(settings).tail(1)[0].event
    assert (event.type, event.outcome) == ("model.rolled_back", Outcome.FAILED)
    assert event.details["error"] == "The model does not load."
    assert registry.tags["1"]["loop.release"] == "failed"


def test_the_status_shows_the_last_release(
    settings: Settings, units: UnitsOfWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = FakeRegistry(champion=model("1"), candidate=model("2"))
    monkeypatch.setattr(status, "open_model_registry", lambda settings: registry)
    assert status.read_status(settings)["last_release"] is None
    approved(units, "2")
    with pytest.raises(Unavailable):
        promote(units, registry, "2", FakeService(model("1"), refuses=frozenset({"2"})))
    found = status.read_status(settings)
    assert found["last_release"] == "version 2 failed: The model does not load."
    assert found["champion"] == "1"


def test_a_roll_back_stands_in_the_history_of_the_promotion_it_undoes(
    units: UnitsOfWork,
) -> None:
    registry = FakeRegistry(champion=model("1"), candidate=model("2"))
    propose(units, "2", "1")
    promoting.approve(units, model("2"), actor=ENGINEER, reason="better")
    promoting.promote(units, registry, model("2"), actor=ENGINEER, swap=None)
    promoting.roll_back(units, registry, actor=ENGINEER, reason="misses rods", swap=None)
    with units() as uow:
        promotion = uow.promotions.find("detector", "2")
    assert promotion is not None
    assert promotion.state is PromotionState.PROMOTED
    assert [step["state"] for step in promotion.history] == ["approved", "promoted", "rolled_back"]
    assert promotion.history[-1]["reason"] == "misses rods"
    assert promotion.history[-1]["by"] == ENGINEER.pseudonym


def test_there_is_nothing_to_roll_back_to_before_the_first_promotion(units: UnitsOfWork) -> None:
    registry = FakeRegistry(champion=model("1"))
    with pytest.raises(NotFound, match="no previous"):
        promoting.roll_back(units, registry, actor=ENGINEER, reason="x", swap=None)  # type: ignore[arg-type]

"""Promotions as they are kept: with what the gate's verdict rests on, and those from before it."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine, insert, select

from loop.bootstrap import Interval
from loop.events import Actor, Event, Role
from loop.gate_record import ClassChange, GateRecord
from loop.gate_settings import GateSettings
from loop.latency import Latency
from loop.predictions import ModelRef
from loop.promotions import Decision, GoldScore, Promotion, PromotionState, Verdict
from loop.spending import Use
from store import tables
from store.unit_of_work import units_of_work

OLD, NEW = (ModelRef("detector", version, version * 64) for version in ("1", "2"))
GATE = GateRecord(
    use=Use(2, 0.0045, 0.009, 0.05, 1.0),
    settings=GateSettings(approvers=2),
    images=72,
    groups=70,
    map50_95=Interval(0.05, 0.01, 0.09, 0.02),
    map50=Interval(0.05, None, None, 0.0),
    classes={"cell": ClassChange(Interval(0.1, -0.02, 0.2, 0.05), 70)},
    latency=Latency(41, 38, 1.08, 1.0, 1.1, 72),
    seed=2**64 - 1,
    detections_sha256={"candidate": "a" * 64, "champion": "b" * 64},
    numpy="2.4.6",
)


def score(ref: ModelRef) -> GoldScore:
    return GoldScore(ref, 0.5, 0.25, {"cell": 0.125}, 72, "d" * 64)


PROMOTION = Promotion(
    "m",
    NEW,
    OLD,
    score(NEW),
    score(OLD),
    Decision(Verdict.PROMOTE, ("It is better.",), GATE),
    PromotionState.PROPOSED,
    "2026-01-02",
    approvers=2,
)


def test_what_a_verdict_rests_on_comes_back_as_it_was(engine: Engine) -> None:
    units = units_of_work(engine)
    approved = replace(PROMOTION).approved(by="eva", reason="better", at="2026-01-03")
    with units() as uow:
        uow.promotions.add(PROMOTION)
        uow.promotions.update(approved)
        uow.record(Event("test.happened", Actor("gate", Role.SYSTEM), {}))
        uow.commit()
    with units() as uow:
        (found,) = uow.promotions.list()
    assert found == approved
    assert found.approvals_missing == 1


def test_a_record_of_the_rule_that_compared_two_scores_is_still_read(
    engine: Engine,
) -> None:
    units = units_of_work(engine)
    with units() as uow:
        uow.promotions.add(PROMOTION)
        uow.record(Event("test.happened", Actor("gate", Role.SYSTEM), {}))
        uow.commit()
    table = tables.promotions
    with engine.begin() as connection:
        document = connection.execute(select(table.c.document)).scalar_one()
        former = {name: document[name] for name in document if name not in ("gate", "approvers")}
        row = {"id": "f", "model_name": "detector", "model_version": "1", "created_at": "2025"}
        connection.execute(insert(table).values(document=former, **row))
    with units() as uow:
        (found, _) = uow.promotions.list()
    assert found == replace(
        PROMOTION,
        id="f",
        created_at="2025",
        decision=Decision(Verdict.PROMOTE, ("It is better.",)),
        approvers=1,
    )

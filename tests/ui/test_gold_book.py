from __future__ import annotations

from dataclasses import replace

from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.classes import ClassList
from loop.events import Actor, Role
from loop.gold import GoldDetections, read_gold
from loop.intake import NewImage, TrueBox, add_truth
from loop.promotions import PromotionState
from tests.fakes import FakeDatabase, FakeImageStore
from tests.ui.training_fakes import GOLD, FakeRegistry, FakeTracking, database, model, promotion
from ui.gold_book import GoldBook

CLASSES = ClassList(("cell", "rod"))
BOX = LabelledBox("b", Box(1, 2, 9, 10), 0, 0.9)


def seen(version: str, gold_sha256: str = GOLD) -> GoldDetections:
    return GoldDetections(model(version), gold_sha256, CLASSES, ("i" * 64,), ((BOX,),), ((BOX,),))


def book(database: FakeDatabase, registry: FakeRegistry, tracking: FakeTracking) -> GoldBook:
    return GoldBook(database.units, registry, tracking)


def test_candidates_are_what_was_measured_and_what_waits_for_it_newest_first() -> None:
    registry = FakeRegistry("1", "2", "3", "4", champion="2", candidate="4")
    made = database(promotion("2", "1"), promotion("3", "2"))
    found = book(made, registry, FakeTracking()).candidates()
    assert [each.ref.version for each in found] == ["4", "3", "2"]
    assert [each.promotion is None for each in found] == [True, False, False]
    assert found[-1].aliases == ("champion",)


def test_of_a_version_measured_twice_the_later_verdict_counts() -> None:
    later = replace(
        promotion("2", "1", state=PromotionState.REFUSED, at="2027-01-01T00:00:00Z"), id="later"
    )
    gold = book(database(promotion("2", "1"), later), FakeRegistry("2"), FakeTracking())
    (found,) = gold.candidates()
    assert found.promotion == later
    assert [each.id for each in gold.promotions()] == ["later", "promotion-2"]


def test_what_both_models_saw_is_read_from_their_runs_once() -> None:
    tracking = FakeTracking()
    tracking.keep(seen("1"))
    tracking.keep(seen("2"))
    gold = book(database(), FakeRegistry("1", "2"), tracking)
    found = gold.seen(promotion("2", "1"))
    assert found.before is not None
    assert found.after is not None
    assert (found.before.model, found.after.model) == (model("1"), model("2"))
    assert (found.missing, found.same_gold) == ((), True)
    asked = tracking.asked["read_text"]
    assert gold.seen(promotion("2", "1")) == found
    assert tracking.asked["read_text"] == asked


def test_a_first_candidate_has_nothing_before_it() -> None:
    tracking = FakeTracking()
    tracking.keep(seen("1"))
    found = book(database(), FakeRegistry("1"), tracking).seen(promotion("1"))
    assert found.before is None
    assert found.after is not None
    assert found.missing == ()


def test_what_is_not_kept_is_missing() -> None:
    tracking = FakeTracking()
    tracking.keep(seen("2"))
    found = book(database(), FakeRegistry("1", "2"), tracking).seen(promotion("2", "1"))
    assert found.missing == (model("1"),)
    assert found.after is not None


def test_a_record_that_is_broken_or_another_model_s_counts_as_missing() -> None:
    tracking = FakeTracking()
    tracking.keep(seen("1"))
    tracking.keep(seen("2"))
    path = f"gold/{GOLD[:12]}/detections"
    tracking.texts["run-1", f"{path}-1.json"] = "{"
    tracking.texts["run-2", f"{path}-2.json"] = seen("3").to_json().decode()
    found = book(database(), FakeRegistry("1", "2"), tracking).seen(promotion("2", "1"))
    assert found.missing == (model("2"), model("1"))


def test_measured_again_on_a_gold_set_that_has_changed_since() -> None:
    made, tracking = FakeDatabase(CLASSES), FakeTracking()
    new = NewImage(b"image", "image/png", 64, 64, "s", "test")
    truth = [TrueBox(Box(1, 2, 9, 10), 0)]
    engineer = Actor("engineer-1", Role.ENGINEER)
    add_truth(made.units, FakeImageStore(), new, truth, actor=engineer, gold=True)
    with made.units() as uow:
        today = read_gold(uow).sha256
    gold = book(made, FakeRegistry("1", "2"), tracking)
    tracking.keep(seen("2"))
    assert gold.seen(promotion("2", "1")).missing == (model("2"), model("1"))
    tracking.keep(seen("1", today))
    tracking.keep(seen("2", today))
    found = gold.seen(promotion("2", "1"))
    assert (found.missing, found.same_gold) == ((), False)
    assert found.after is not None
    assert found.after.gold_sha256 == today

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.consequences import consequences, consequences_of_event
from loop.events import Event, Outcome
from loop.origins import origins, origins_of_event
from loop.service_times import spans
from loop.tracing import Found, Step, with_purges
from tests.loop.histories import (
    API,
    EVA,
    House,
    Record,
    Snapshots,
    digest,
    events_in,
    gaps_in,
    model,
    titles_in,
    whole_turn,
)


def types_in(tree: Step) -> set[str]:
    return {found.event.type for step in tree.walk() for found in step.events}


def registered(house: House, version: int) -> str:
    """The id of the event."""
    (found,) = house.record.find((("model", f"detector/{version}"),), ("model.registered",))
    return found.event.id


def test_a_served_detection_leads_back_to_the_corrections_behind_its_model() -> None:
    house = whole_turn()
    served = house.record.add("detection.served", API, {"model": model(2)}, request_id="r1")
    for tree in (
        origins(house.record, house.snapshots, [("request", "r1")]),
        origins_of_event(house.record, house.snapshots, house.record.found(served)),
    ):
        assert served.id in events_in(tree)
        assert types_in(tree) >= {
            *("model.registered", "kfold.started", "kfold.ended", "fold.ended", "folds.created"),
            *("snapshot.created", "image.queued", "correction.submitted", "annotation.settled"),
            *("gate.decided", "promotion.approved", "promotion.ended"),
        }
        for case in ("case-a-0", "case-b-0"):
            assert house.answers[case]["corrected"].id in events_in(tree)
        assert house.answers["case-c-0"]["settled"].id not in events_in(tree)
        assert registered(house, 1) in events_in(tree)  # whose weights it began with
        assert gaps_in(tree) == []


def test_a_correction_leads_to_every_model_that_it_touched() -> None:
    house = whole_turn()
    first = consequences(house.record, house.snapshots, [("correction", "correction-case-a-0")])
    later = consequences(house.record, house.snapshots, [("case", "case-c-0")])
    assert events_in(first) >= {registered(house, 2), registered(house, 3)}
    assert "promotion.ended" in types_in(first)
    assert any(step.note.startswith("In service from") for step in first.walk())
    assert registered(house, 3) in events_in(later)
    assert registered(house, 2) not in events_in(later)
    assert any("never in service" in gap for gap in gaps_in(later))


@given(st.data())
def test_an_answer_leads_to_a_model_exactly_if_the_model_leads_back_to_it(
    data: st.DataObject,
) -> None:
    house = House()
    house.register(1)
    version = 1
    for turn in range(data.draw(st.integers(1, 3))):
        for image in data.draw(st.sets(st.sampled_from("abcd"), min_size=1)):
            house.answer(image, version, again=turn)
        snapshot = house.freeze(str(turn))
        if data.draw(st.booleans()):
            house.train(snapshot, version + 1, base=version)
            version += 1
    for answer in house.answers.values():
        forward = consequences_of_event(
            house.record, house.snapshots, house.record.found(answer["settled"])
        )
        for each in range(2, version + 1):
            back = origins(house.record, house.snapshots, [("model", f"detector/{each}")])
            made_of_it = answer["settled"].id in events_in(back)
            assert (registered(house, each) in events_in(forward)) == made_of_it


@given(st.data())
def test_without_files_the_log_alone_says_the_same_and_that_it_does(data: st.DataObject) -> None:
    known, unknown = Snapshots(), Snapshots()
    house = House()
    house.register(1)
    for turn in range(data.draw(st.integers(1, 3))):
        for image in data.draw(st.sets(st.sampled_from("abc"), min_size=1)):
            house.answer(image, 1, again=turn)
        house.train(house.freeze(str(turn)), 2 + turn, base=1)
    known.held = house.snapshots.held
    for case in house.answers:
        sure = consequences(house.record, known, [("case", case)])
        guessed = consequences(house.record, unknown, [("case", case)])
        assert events_in(guessed) == events_in(sure)
        held = [step for step in guessed.steps if step.title.startswith("The snapshot")]
        assert all("order of the log alone" in step.gaps[0] for step in held)
    back = origins(house.record, unknown, [("model", "detector/2")])
    assert any("not on this machine" in gap for gap in gaps_in(back))


@given(st.data())
def test_whatever_is_missing_is_a_gap_and_never_an_error(data: st.DataObject) -> None:
    house = whole_turn()
    events = house.record.events
    kept = data.draw(st.lists(st.sampled_from(events), unique_by=lambda event: event.id))
    record = Record([event for event in events if event in kept])
    for index, event in enumerate(record.events):
        for follow in (origins_of_event, consequences_of_event):
            tree = follow(record, house.snapshots, Found(index, event))
            assert event.id in events_in(tree)
            assert events_in(tree) <= {each.id for each in kept}
            json.dumps(tree.as_dict())


@pytest.mark.parametrize(
    ("type", "gap"),
    [
        ("model.registered", "No registration"),
        ("snapshot.created", "The snapshot is not on record"),
        ("folds.created", "are not on record"),
        ("promotion.approved", "No person's approval"),
        ("gate.decided", "No measurement"),
        ("annotation.settled", None),
    ],
)
def test_what_is_missing_is_named(type: str, gap: str | None) -> None:
    house = whole_turn()
    record = Record([event for event in house.record.events if event.type != type])
    tree = origins(record, house.snapshots, [("model", "detector/2")])
    gaps = gaps_in(tree)
    if gap is None:
        assert sum("This answer is not on record" in each for each in gaps) == 2
    else:
        assert any(gap in each for each in gaps)


def test_nothing_on_record_is_said() -> None:
    for follow in (origins, consequences):
        tree = follow(Record(), Snapshots(), [("case", "nobody")])
        assert gaps_in(tree) == ["Nothing about it is on record."]


def test_an_image_is_found_by_any_of_its_names() -> None:
    house = whole_turn()
    names = [("image", f"hmac-sha256:{digest('a')}"), ("image", digest("plain"))]
    tree = origins(house.record, house.snapshots, names)
    assert house.answers["case-a-0"]["corrected"].id in events_in(tree)


def test_gold_answers_measure_models_and_train_none() -> None:
    house = House()
    image = {"image": f"hmac-sha256:{digest('gold')}", "annotation_id": "gold-1"}
    imported = house.record.add("annotation.imported", EVA, image, details={"gold": True})
    snapshot = house.freeze("one")
    house.snapshots.held[snapshot] = {"gold-1": True}
    house.train(snapshot, 2, base=1)
    tree = consequences_of_event(house.record, house.snapshots, house.record.found(imported))
    assert any("none is trained on it" in step.note for step in tree.walk())
    back = origins_of_event(house.record, house.snapshots, house.record.found(imported))
    assert "came in with a data set" in back.note


def test_a_fold_leads_to_the_cross_validation_around_it() -> None:
    house = whole_turn()
    tree = origins(house.record, house.snapshots, [("run", "run-2-0")])
    assert "Training, MLflow run run-2" in titles_in(tree)


def test_a_model_in_another_form_leads_to_that_which_it_was_made_of() -> None:
    house = whole_turn()
    event = house.record.add(
        "model.registered",
        EVA,
        {"model": model(4)},
        details={"source": model(3)},
        inputs={"source": model(3)["digest"]},
    )
    back = origins(house.record, house.snapshots, [("model", "detector/4")])
    assert registered(house, 3) in events_in(back)
    forward = consequences(house.record, house.snapshots, [("model", "detector/3")])
    assert event.id in events_in(forward)


def test_what_led_to_an_event_is_shown() -> None:
    house = whole_turn()
    settled = house.answers["case-a-0"]["settled"]
    tree = origins_of_event(house.record, house.snapshots, house.record.found(settled))
    assert tree.steps[0].title == "Led to by"
    assert events_in(tree.steps[0]) == {settled.cause}


def test_entries_past_their_retention_are_a_gap_in_every_tree() -> None:
    house = whole_turn()
    tree = origins(house.record, house.snapshots, [("model", "detector/2")])
    assert with_purges(house.record, tree) == tree
    purged = house.record.add("log.purged", EVA, {"first": 0, "last": 255})
    gone = with_purges(house.record, tree).steps[-1]
    assert "up to 255" in gone.gaps[0]
    assert events_in(gone) == {purged.id}


_MOVES = st.lists(
    st.tuples(
        st.sampled_from(
            ["promotion.ended", "serving.ordered", "model.rolled_back", "model.stopped",
             "system.stopped", "case.opened"]
        ),
        st.integers(1, 3),
        st.sampled_from(list(Outcome)),
    ),
    max_size=12,
)  # fmt: skip


def test_a_model_on_a_cluster_outlives_the_up_that_put_it_there() -> None:
    def happened(index: int, type: str, **details: object) -> Found:
        subject = {"model": model(1)} if type == "promotion.ended" else {}
        return Found(index, Event(type, EVA, subject, details=details))

    begins = happened(0, "promotion.ended")
    stays = happened(1, "system.stopped", service_stays=True)
    (span,) = spans([begins, stays])
    assert span.until is None
    removed = happened(2, "serving.removed")
    (span,) = spans([begins, stays, removed])
    assert span.until == removed
    (span,) = spans([begins, happened(1, "system.stopped"), removed])
    assert span.until is not None and span.until.index == 1


@given(_MOVES)
def test_one_model_at_a_time_is_in_service(moves: list[tuple[str, int, Outcome]]) -> None:
    events = [
        Found(index, Event(type, EVA, {"model": model(version)}, outcome=outcome))
        for index, (type, version, outcome) in enumerate(moves)
    ]
    found = list(spans(events))
    for one, two in pairwise(found):
        assert one.until is not None
        assert one.since.index < one.until.index <= two.since.index
    assert all(span.until is not None for span in found[:-1])
    failed = {each.index for each in events if each.event.outcome is Outcome.FAILED}
    assert not failed & {span.since.index for span in found}

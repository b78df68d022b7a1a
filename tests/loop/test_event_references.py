from __future__ import annotations

from loop.event_references import references
from loop.events import Actor, Event, Role

ANA = Actor("person-a", Role.REVIEWER)
MODEL = {"name": "detector", "version": "3", "digest": "d" * 64}


def test_what_an_event_names_by_id_or_digest_is_a_reference() -> None:
    event = Event(
        "correction.submitted",
        ANA,
        {"image": "hmac-sha256:1", "review_id": "k1", "model": MODEL, "count": 3, "labels": "x"},
        {"before": {"sha256": "no"}},
        request_id="r1",
        cause="e1",
        run_id="run1",
        inputs={"snapshot": "s1"},
        outputs={"weights": "w1"},
    )
    assert references(event) == {
        ("person", "person-a"),
        ("image", "hmac-sha256:1"),
        ("case", "k1"),
        ("model", "detector/3"),
        ("request", "r1"),
        ("cause", "e1"),
        ("run", "run1"),
        ("snapshot", "s1"),
        ("weights", "w1"),
    }


def test_nested_and_listed_ones_count() -> None:
    event = Event(
        "labels.compared",
        ANA,
        {
            "models": [MODEL, {**MODEL, "version": "4"}],
            "candidate": {"name": "detector", "version": "5"},
            "fold_run_id": "f1",
            "mlflow_run_id": "m1",
            "snapshot_sha256": "s1",
            "images": ["hmac-sha256:1", "hmac-sha256:2"],
            "champion": None,
        },
    )
    assert references(event) - {("person", "person-a")} == {
        *(("model", f"detector/{version}") for version in (3, 4, 5)),
        *(("run", run) for run in ("f1", "m1")),
        ("snapshot", "s1"),
        *(("image", f"hmac-sha256:{number}") for number in (1, 2)),
    }


def test_the_first_version_has_references_too_and_endless_ones_are_left_out() -> None:
    event = Event("x.y", ANA, {"case_id": "c" * 201, "stage": "s"}, schema=1)
    assert references(event) == {("person", "person-a"), ("stage", "s")}

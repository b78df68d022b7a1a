from __future__ import annotations

import json
import random

import pytest

from loop.classes import ClassList
from loop.trial_comparison import compare, metrics, wilson
from loop.trial_counts import ModelCounts, PairCounts, TrialCounts, summed
from tests.loop.looks import look


def test_boxes_are_matched_missed_and_relabelled_by_class() -> None:
    counts = TrialCounts()
    counts.add_pair(
        look(("rod", 0, 0.9), ("rod", 100, 0.8), ("ring", 200, 0.7)),
        look(("rod", 0, 0.7), ("ring", 100, 0.8), ("ring", 300, 0.6)),
    )
    assert counts.paired == 1
    rod, ring = counts.pairs["rod"], counts.pairs["ring"]
    assert (rod.matched, rod.relabelled, rod.only_champion, rod.only_candidate) == (1, 1, 0, 0)
    assert (ring.matched, ring.only_champion, ring.only_candidate) == (0, 1, 1)
    assert rod.iou == pytest.approx(1.0)
    assert rod.confidence == pytest.approx(-0.2)


@pytest.mark.parametrize(("shift", "matched"), [(3.3, 1), (3.4, 0)])
def test_a_match_overlaps_by_half(shift: float, matched: int) -> None:
    # Of 10 pixels: (10 - s) / (10 + s) is 0.5 at s = 10 / 3.
    counts = TrialCounts()
    counts.add_pair(look(("rod", 0, 0.9)), look(("rod", shift, 0.9)))
    assert counts.pairs["rod"].matched == matched
    assert counts.pairs["rod"].only_candidate == 1 - matched


def test_classes_are_the_same_by_name_not_by_id() -> None:
    counts = TrialCounts()
    turned = ClassList(("ring", "blob", "rod"))
    counts.add_pair(look(("rod", 0, 0.9)), look(("rod", 0, 0.9), ("blob", 50, 0.5), classes=turned))
    assert counts.pairs["rod"].matched == 1
    assert counts.pairs["blob"].only_candidate == 1


def test_an_image_without_boxes_counts_as_an_image() -> None:
    counts = TrialCounts()
    counts.add_pair(look(), look())
    assert (counts.paired, counts.champion.images, counts.pairs) == (1, 1, {})
    assert compare(counts)["pairs"]["all"]["agreement"] is None


def test_replicas_add_up_to_what_one_would_have_counted() -> None:
    rng = random.Random(3)

    def any_look() -> object:
        names = rng.choices(("rod", "ring"), k=rng.randrange(4))
        seen = [(name, 40.0 * at, rng.random()) for at, name in enumerate(names)]
        return look(*seen, seconds=rng.random() / 10)

    one, parts = TrialCounts(), [TrialCounts(), TrialCounts(), TrialCounts()]
    for number in range(60):
        pair = any_look(), any_look()
        one.add_pair(*pair)  # type: ignore[arg-type]
        parts[number % 3].add_pair(*pair)  # type: ignore[arg-type]
    parts[1].candidate.errors = one.candidate.errors = 2
    kept = [TrialCounts.from_dict(json.loads(json.dumps(part.as_dict()))) for part in parts]
    together = compare(summed(kept))
    for name, value in metrics(compare(one)).items():
        assert metrics(together)[name] == pytest.approx(value), name
    assert together["champion"]["scores"] == compare(one)["champion"]["scores"]


def test_quantiles_of_latency_are_known_to_five_percent() -> None:
    counts = ModelCounts()
    for number in range(1, 101):
        counts.add(look(seconds=number / 1000))
    assert counts.quantile(0.5) == pytest.approx(0.050, rel=0.06)
    assert counts.quantile(0.95) == pytest.approx(0.095, rel=0.06)
    assert ModelCounts().quantile(0.5) is None


def test_scores_fall_into_bins_of_a_tenth() -> None:
    counts = ModelCounts()
    counts.add(look(("rod", 0, 0.1), ("rod", 20, 0.11), ("rod", 40, 1.0), ("rod", 60, 0.0)))
    assert counts.classes["rod"].scores == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]


def test_a_canary_is_compared_by_detections_an_image_with_an_interval() -> None:
    counts = TrialCounts()
    for number in range(400):
        counts.champion.add(look(*[("rod", 20.0 * at, 0.9) for at in range(number % 3)]))
    for number in range(100):
        counts.candidate.add(look(*[("rod", 20.0 * at, 0.9) for at in range(1 + number % 3)]))
    rate = compare(counts)["rates"]["classes"]["rod"]
    assert rate["difference"] == pytest.approx(1.0, abs=0.02)
    low, high = rate["interval"]
    # Both have a variance of 2/3: 1.96 * sqrt(2/3 * (1/400 + 1/100)) on either side.
    assert (high - low) / 2 == pytest.approx(0.179, abs=0.003)
    assert compare(counts)["pairs"] is None


def test_one_image_says_nothing_about_how_sure_it_is() -> None:
    counts = TrialCounts()
    assert compare(counts)["rates"]["all"]["difference"] is None
    counts.champion.add(look())
    counts.candidate.add(look(("rod", 0, 0.5)))
    rate = compare(counts)["rates"]["all"]
    assert (rate["difference"], rate["interval"]) == (1.0, None)


def test_errors_have_an_interval_too() -> None:
    # The worked example of Newcombe (Statistics in Medicine 17, 1998), table I: 15 of 148.
    assert wilson(15, 148) == pytest.approx([0.0624, 0.1605], abs=1e-4)
    assert wilson(0, 0) is None
    counts = TrialCounts(candidate=ModelCounts(images=9, errors=1))
    assert compare(counts)["candidate"]["error_rate"] == pytest.approx(0.1)


def test_metrics_are_numbers_with_names_and_leave_out_what_is_not_known() -> None:
    counts = TrialCounts(pairs={"rod": PairCounts(matched=2, iou=1.8)}, paired=3)
    found = metrics(compare(counts))
    assert found["pairs/classes/rod/mean_iou"] == pytest.approx(0.9)
    assert found["pairs/images"] == 3
    assert "candidate/latency_ms/mean" not in found
    assert all(isinstance(value, float) for value in found.values())

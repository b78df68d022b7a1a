from __future__ import annotations

import json
from dataclasses import replace

import pytest

from loop.bootstrap import Interval
from loop.classes import ClassList
from loop.errors import Conflict
from loop.gate import decide, gather, use_of, without_comparison
from loop.gate_findings import LATENCY, Outcome, findings
from loop.gate_record import ClassChange, GateRecord
from loop.gate_settings import GateSettings
from loop.gold import GoldDetections
from loop.latency import Latency
from loop.promotions import Decision, GoldScore, Promotion, PromotionState, Verdict
from loop.spending import Use
from tests.loop.gold_pairs import CANDIDATE, CHAMPION, GOLD, detections

SETTINGS = GateSettings(replicates=800)
FIRST_USE = Use(1, 0.0045, 0.0045, 0.05, 0)
FAST = Latency(40, 38, 1.05, 1.0, 1.1, 60)


def verdict(
    champion: GoldDetections,
    candidate: GoldDetections,
    settings: GateSettings = SETTINGS,
    latency: Latency = FAST,
    use: Use = FIRST_USE,
) -> Decision:
    return decide(gather(champion, candidate, settings, latency=latency), use, settings)


def score(champion: bool = False, images: int = 60, map50_95: float = 0.5) -> GoldScore:
    model = CHAMPION if champion else CANDIDATE
    return GoldScore(model, 0.6, map50_95, {"cell": 0.5, "rod": 0.5}, images, GOLD)


def said(decision: Decision) -> str:
    return " ".join(decision.reasons)


class TestVerdicts:
    def test_a_much_better_candidate_is_promoted_by_forty_images(self) -> None:
        weak = detections(CHAMPION, images=40, found=0.35, jitter_px=9)
        strong = detections(CANDIDATE, images=40, found=0.97, jitter_px=2)
        decision = verdict(weak, strong)
        assert decision.verdict is Verdict.PROMOTE
        assert "even with bad luck: it is better" in said(decision)
        assert "comparison 1 on this gold set of 40 images" in said(decision)

    def test_a_clearly_worse_candidate_is_refused(self) -> None:
        decision = verdict(detections(CHAMPION, found=0.9), detections(CANDIDATE, found=0.6))
        assert decision.verdict is Verdict.REFUSE
        assert "even with good luck" in said(decision)

    def test_a_candidate_that_sees_the_same_is_refused(self) -> None:
        before = detections(CHAMPION)
        same = replace(detections(CANDIDATE), detected=before.detected)
        assert verdict(before, same).verdict is Verdict.REFUSE

    def test_a_small_gain_is_not_enough_evidence_and_the_images_that_would_decide_are_said(
        self,
    ) -> None:
        decision = verdict(detections(CHAMPION, found=0.8), detections(CANDIDATE, found=0.84))
        assert decision.verdict is Verdict.NOT_ENOUGH_EVIDENCE
        assert decision.gate is not None
        assert decision.gate.map50_95.estimate > 0
        sizes = [each.images for each in findings(decision.gate) if each.outcome is Outcome.OPEN]
        assert None not in sizes
        assert f"About {max(filter(None, sizes)):,} gold images would decide" in said(decision)

    def test_the_size_that_is_said_decides_mostly(self) -> None:
        """With that many images of the same kind, at least half of the comparisons do."""
        small, large = 0.75, 0.86
        decision = verdict(detections(CHAMPION, found=small), detections(CANDIDATE, found=large))
        assert decision.verdict is Verdict.NOT_ENOUGH_EVIDENCE
        assert decision.gate is not None
        images = max(each.images or 0 for each in findings(decision.gate))
        assert 60 < images < 1000
        decided = [
            verdict(
                detections(CHAMPION, images=images, found=small, seed=seed),
                detections(CANDIDATE, images=images, found=large, seed=seed),
                GateSettings(replicates=300),
            ).verdict
            for seed in range(1, 6)
        ]
        assert decided.count(Verdict.PROMOTE) >= 3

    def test_where_there_is_no_gain_no_size_of_gold_set_would_do(self) -> None:
        decision = verdict(detections(CHAMPION, found=0.8), detections(CANDIDATE, found=0.76))
        assert decision.verdict is Verdict.NOT_ENOUGH_EVIDENCE
        assert "No size of gold set would make it pass" in said(decision)

    def test_a_later_use_asks_for_more(self) -> None:
        pair = detections(CHAMPION, found=0.75), detections(CANDIDATE, found=0.92)
        at_once = verdict(*pair, use=replace(FIRST_USE, alpha=0.05))
        late = verdict(*pair, use=replace(FIRST_USE, alpha=1e-9))
        assert (at_once.verdict, late.verdict) == (Verdict.PROMOTE, Verdict.NOT_ENOUGH_EVIDENCE)

    def test_images_of_few_subjects_are_less_evidence(self) -> None:
        pair = (
            detections(model, found=found, images_of_subject=20)
            for model, found in ((CHAMPION, 0.6), (CANDIDATE, 0.9))
        )
        decision = verdict(*pair)
        assert decision.gate is not None
        assert decision.gate.groups == 3
        assert decision.verdict is Verdict.NOT_ENOUGH_EVIDENCE

    def test_a_class_that_only_the_champion_knows_is_one_that_the_candidate_loses(self) -> None:
        only_cells = ClassList(("cell",))
        strong = detections(CANDIDATE, found=1, jitter_px=0.5)
        blind = replace(
            strong,
            classes=only_cells,
            detected=tuple(
                tuple(box for box in boxes if box.class_id == 0) for boxes in strong.detected
            ),
        )
        decision = verdict(detections(CHAMPION, found=0.4), blind)
        assert decision.verdict is Verdict.REFUSE
        assert "rod changes by" in said(decision)


class TestRequirements:
    """On records as they might be: which one is not met decides, and is named."""

    BETTER = Interval(0.05, 0.02, 0.08, 0.015)
    SAFE = ClassChange(Interval(0.03, -0.02, 0.08, 0.03), 40)

    def record(self, **changes: object) -> GateRecord:
        plain = GateRecord(
            use=FIRST_USE,
            settings=SETTINGS,
            images=60,
            groups=60,
            map50_95=self.BETTER,
            map50=self.BETTER,
            classes={"cell": self.SAFE, "rod": self.SAFE},
            latency=FAST,
            seed=2**63,
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    def outcomes(self, **changes: object) -> dict[str, Outcome]:
        return {each.requirement: each.outcome for each in findings(self.record(**changes))}

    def test_all_of_them_can_be_met(self) -> None:
        assert set(self.outcomes().values()) == {Outcome.MET}

    @pytest.mark.parametrize("score", ["map50_95", "map50"])
    @pytest.mark.parametrize(
        ("interval", "outcome"),
        [
            (Interval(0.02, -0.01, 0.05, 0.01), Outcome.OPEN),
            (Interval(0.02, 0.0, 0.05, 0.01), Outcome.OPEN),
            (Interval(0.02, None, None, 0.01), Outcome.OPEN),
            (Interval(-0.02, -0.05, 0.0, 0.01), Outcome.REFUTED),
            (Interval(-0.02, -0.05, 0.01, 0.01), Outcome.OPEN),
        ],
    )
    def test_both_means_must_rise_beyond_doubt(
        self, score: str, interval: Interval, outcome: Outcome
    ) -> None:
        found = self.outcomes(**{score: interval})
        name = {"map50_95": "mAP50-95", "map50": "mAP50"}[score]
        assert found.pop(name) is outcome
        assert set(found.values()) == {Outcome.MET}

    def test_map50_may_be_allowed_to_fall_a_little(self) -> None:
        settings = replace(SETTINGS, min_gain_50=-0.01)
        flat = Interval(0.0, -0.005, 0.005, 0.002)
        assert self.outcomes(map50=flat)["mAP50"] is Outcome.OPEN
        assert self.outcomes(map50=flat, settings=settings)["mAP50"] is Outcome.MET

    @pytest.mark.parametrize(
        ("interval", "groups", "outcome", "words"),
        [
            (Interval(-0.05, -0.09, 0.0, 0.02), 40, Outcome.MET, "does not lose"),
            (Interval(-0.05, -0.2, 0.1, 0.1), 4, Outcome.OPEN, "on only 4 gold images"),
            (Interval(0.2, None, None, 0.0), 1, Outcome.OPEN, "on only 1 gold image: too few"),
            (Interval(-0.3, -0.4, -0.11, 0.06), 40, Outcome.REFUTED, "worse by more than the 0.10"),
        ],
    )
    def test_a_class_may_not_lose_more_than_the_margin_and_is_named(
        self, interval: Interval, groups: int, outcome: Outcome, words: str
    ) -> None:
        record = self.record(classes={"cell": self.SAFE, "rod": ClassChange(interval, groups)})
        rod = findings(record)[3]
        assert (rod.requirement, rod.outcome) == ("rod, AP50-95", outcome)
        assert words in rod.text
        assert rod.text.startswith("rod ")

    @pytest.mark.parametrize(
        ("latency", "outcome"),
        [
            (Latency(57, 38, 1.5, 1.45, 1.5, 60), Outcome.MET),
            (Latency(57, 38, 1.5, 1.4, 1.6, 60), Outcome.OPEN),
            (Latency(76, 38, 2.0, 1.51, 2.1, 60), Outcome.REFUTED),
        ],
    )
    def test_an_image_may_take_as_long_as_allowed(self, latency: Latency, outcome: Outcome) -> None:
        assert self.outcomes(latency=latency)[LATENCY] is outcome

    def test_it_comes_back_from_json(self) -> None:
        record = self.record(detections_sha256={"candidate": "a", "champion": "b"}, numpy="2")
        assert GateRecord.from_dict(json.loads(json.dumps(record.as_dict()))) == record


class TestWithoutComparison:
    def test_too_few_images_are_no_evidence(self) -> None:
        decision = without_comparison(score(champion=True), score(images=9), SETTINGS)
        assert decision is not None
        assert decision.verdict is Verdict.NOT_ENOUGH_EVIDENCE
        assert "10 are needed" in said(decision)

    @pytest.mark.parametrize(
        ("map50_95", "expected"), [(0.1, Verdict.PROMOTE), (0.0, Verdict.REFUSE)]
    )
    def test_without_a_champion_anything_that_finds_something_passes(
        self, map50_95: float, expected: Verdict
    ) -> None:
        decision = without_comparison(None, score(map50_95=map50_95), SETTINGS)
        assert decision is not None
        assert (decision.verdict, decision.gate) == (expected, None)

    def test_with_a_champion_and_enough_images_they_are_compared(self) -> None:
        assert without_comparison(score(champion=True), score(), SETTINGS) is None


def test_models_measured_on_different_gold_sets_are_not_compared() -> None:
    other = replace(detections(CANDIDATE), gold_sha256="e" * 64)
    with pytest.raises(Conflict, match="different gold sets"):
        gather(detections(CHAMPION), other, SETTINGS)


def test_the_same_detections_give_the_same_record_to_whoever_computes_it() -> None:
    pair = detections(CHAMPION), detections(CANDIDATE, found=0.9)
    stored = [GoldDetections.from_json(each.to_json()) for each in pair]
    assert verdict(*pair) == verdict(*stored)


class TestUses:
    """Which use of the gold set a comparison is."""

    def promotion(self, number: int, *, champion: bool = True, **changes: object) -> Promotion:
        ref = replace(CANDIDATE, version=str(number), digest=f"{number:064x}")
        decision = verdict(
            detections(CHAMPION, images=12),
            detections(CANDIDATE, images=12),
            GateSettings(replicates=50),
        )
        plain = Promotion(
            id=str(number),
            candidate=ref,
            champion=CHAMPION if champion else None,
            candidate_score=replace(score(), model=ref),
            champion_score=score(champion=True) if champion else None,
            decision=decision if champion else Decision(Verdict.PROMOTE, ("First.",)),
            state=PromotionState.REFUSED,
            created_at="2026-01-01",
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    def use(self, *earlier: Promotion, candidate: GoldScore | None = None) -> Use:
        return use_of(candidate or score(), score(champion=True), earlier, SETTINGS)

    def test_every_decision_against_a_champion_counts(self) -> None:
        assert self.use().number == 1
        assert self.use(self.promotion(3), self.promotion(4)).number == 3

    def test_what_was_not_compared_does_not_count(self) -> None:
        too_few = Decision(Verdict.NOT_ENOUGH_EVIDENCE, ("Too few.",))
        alone = self.promotion(3, champion=False)
        assert self.use(alone, self.promotion(4, decision=too_few)).number == 1

    def test_decisions_of_the_former_rule_count_too(self) -> None:
        former = self.promotion(3, decision=Decision(Verdict.REFUSE, ("Not above.",)))
        assert self.use(former).number == 2

    def test_the_same_pair_on_the_same_gold_set_is_the_same_use(self) -> None:
        earlier = [self.promotion(3), self.promotion(4)]
        first = earlier[0]
        assert first.decision.gate is not None
        again = self.use(*earlier, candidate=first.candidate_score)
        assert again == first.decision.gate.use

    def test_the_same_pair_on_a_grown_gold_set_is_another_use(self) -> None:
        first = self.promotion(3)
        grown = replace(first.candidate_score, images=66, gold_sha256="e" * 64)
        assert self.use(first, candidate=grown).number == 2

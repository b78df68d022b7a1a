"""The gate: is the candidate better than the champion, or was it lucky on these images?

A comparison of two scores is no answer: of candidates that are exactly as good as the champion,
half score higher. So the gate asks how far the difference could be luck (`loop.bootstrap`).

- **promote**: mAP50-95 is higher beyond doubt, at a risk that is shared out among all uses of the
  gold set (`loop.spending`); and beyond the usual doubt, of 5 %, mAP50 is higher too, no class
  loses as much as the margin, and an image takes no longer than allowed. All must hold, so that
  each further requirement only lowers the risk of a promotion that is wrong;
- **refuse**: one of these is refuted: even with good luck the candidate is no better, or a class
  is worse by more than the margin, or it is too slow. At the usual doubt, which is not shared out:
  a wrong refusal leaves the champion in service;
- **not enough evidence**: neither. The images do not decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loop.bootstrap import USUAL_TAIL, PairedBootstrap, paired_bootstrap, seed_of
from loop.errors import Conflict
from loop.gate_findings import LATENCY, Finding, Outcome, findings
from loop.gate_record import ClassChange, GateRecord
from loop.gate_settings import GateSettings
from loop.gold import GoldDetections
from loop.latency import Latency
from loop.metrics import rank
from loop.predictions import ModelRef
from loop.promotions import Decision, GoldScore, Promotion, Verdict
from loop.spending import Use, next_use


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured, before it is known which use of the gold set this is."""

    bootstrap: PairedBootstrap
    latency: Latency | None
    images: int
    detections_sha256: Mapping[str, str]


def without_comparison(
    champion: GoldScore | None, candidate: GoldScore, settings: GateSettings
) -> Decision | None:
    """The decision where there is nothing to compare with, or too little: it uses up nothing of
    the gold set. None if a comparison is due."""
    if candidate.images < settings.min_images:
        return Decision(
            Verdict.NOT_ENOUGH_EVIDENCE,
            (f"The gold set has {candidate.images} images; {settings.min_images} are needed.",),
        )
    if champion is None:
        found = candidate.map50_95 > 0
        return Decision(
            Verdict.PROMOTE if found else Verdict.REFUSE,
            (f"There is no champion; the candidate has mAP50-95 {candidate.map50_95:.3f}.",),
        )
    return None


def gather(
    champion: GoldDetections,
    candidate: GoldDetections,
    settings: GateSettings,
    *,
    latency: Latency | None = None,
) -> Evidence:
    """Compare what both saw. Takes seconds with hundreds of images.

    Raises `Conflict` when the two were measured on different gold sets.
    """
    if (champion.gold_sha256, champion.image_ids) != (candidate.gold_sha256, candidate.image_ids):
        raise Conflict(
            "Champion and candidate were measured on different gold sets.",
            hint="Measure both again: secondlook models compare.",
        )
    # A class that only one of them knows counts: the other finds none of it.
    classes = max(champion.classes, candidate.classes, key=len)
    bootstrap = paired_bootstrap(
        rank(champion.truth, champion.detected, classes),
        rank(candidate.truth, candidate.detected, classes),
        candidate.grouping,
        replicates=settings.replicates,
        seed=seed_for(champion.model, candidate.model, candidate.gold_sha256),
    )
    digests = {"candidate": candidate.sha256, "champion": champion.sha256}
    return Evidence(bootstrap, latency, len(candidate.image_ids), digests)


def settings_for(
    candidate: GoldScore, champion: GoldScore | None, settings: GateSettings, int8_margin: float
) -> GateSettings:
    """What the gate asks of this candidate.

    The champion itself in INT8 is not to be better but as good: it may lose less than
    ``int8_margin`` of mAP50-95 and of mAP50, shown as surely as a gain would be. It is the same
    model if it has the same weights, by their digest. All else must be better, in INT8 too.
    """
    same = champion is not None and champion.model.digest == candidate.model.digest
    if not same or candidate.quantised is None or (champion and champion.quantised is not None):
        return settings
    return replace(
        settings,
        min_gain=min(settings.min_gain, -int8_margin),
        min_gain_50=min(settings.min_gain_50, -int8_margin),
    )


def seed_for(champion: ModelRef, candidate: ModelRef, gold_sha256: str) -> int:
    """What a comparison draws with: whoever has the digests draws the same."""
    return seed_of(candidate.digest, champion.digest, gold_sha256)


def use_of(
    candidate: GoldScore,
    champion: GoldScore,
    earlier: Sequence[Promotion],
    settings: GateSettings,
) -> Use:
    """Which use of the gold set this comparison is, after ``earlier`` ones. Ask under a lock.

    The same pair on the same gold set again is the same use: it gives the same answer.
    """
    ours = _pair(candidate, champion)
    others: dict[tuple[str, str, str], int] = {}
    for promotion in earlier:
        before, gate = promotion.champion_score, promotion.decision.gate
        if before is None or not _compared(promotion.decision):
            continue
        pair = _pair(promotion.candidate_score, before)
        if pair == ours and gate is not None and gate.use.total == settings.alpha:
            return gate.use
        others[pair] = before.images
    others.pop(ours, None)
    return next_use(others.values(), candidate.images, settings)


def decide(evidence: Evidence, use: Use, settings: GateSettings) -> Decision:
    """The verdict on what was measured, at the risk of this use."""
    bootstrap = evidence.bootstrap
    record = GateRecord(
        use=use,
        settings=settings,
        images=evidence.images,
        groups=bootstrap.groups,
        map50_95=bootstrap.map50_95.interval(use.alpha),
        map50=bootstrap.map50.interval(USUAL_TAIL),
        classes={
            name: ClassChange(change.interval(USUAL_TAIL), bootstrap.class_groups[name])
            for name, change in bootstrap.classes.items()
        },
        latency=evidence.latency,
        seed=bootstrap.seed,
        detections_sha256=evidence.detections_sha256,
        numpy=np.__version__,
    )
    found = findings(record)
    return Decision(verdict_of(found), tuple(_reasons(record, found)), record)


def verdict_of(found: Sequence[Finding]) -> Verdict:
    outcomes = {finding.outcome for finding in found}
    if Outcome.REFUTED in outcomes:
        return Verdict.REFUSE
    return Verdict.NOT_ENOUGH_EVIDENCE if Outcome.OPEN in outcomes else Verdict.PROMOTE


def _reasons(record: GateRecord, found: Sequence[Finding]) -> list[str]:
    """The gains first, then what is not met, then what is, then what it cost."""
    gains, others = found[:2], found[2:]
    classes = [finding for finding in others if finding.requirement.endswith(", AP50-95")]
    met = [finding for finding in classes if finding.outcome is Outcome.MET]
    reasons = [finding.text for finding in gains]
    reasons += [each.text for each in others if each.outcome is not Outcome.MET]
    if met and len(met) == len(classes):
        margin = record.settings.max_class_loss
        reasons.append(f"No class of {len(met)} loses {margin:.2f} of AP50-95 or more.")
    reasons += [each.text for each in others if each not in classes and each.outcome is Outcome.MET]
    if verdict_of(found) is Verdict.NOT_ENOUGH_EVIDENCE:
        reasons.append(size_needed(found))
    use = record.use
    wrong = "that is no better" if record.settings.min_gain >= 0 else "that loses more than it may"
    reasons.append(
        f"This is comparison {use.number} on this gold set of {record.images} images, at a risk of "
        f"{use.alpha:.2%} that it promotes a model {wrong}; with those before it "
        f"{use.spent:.2%} of {use.total:.0%} are used up."
    )
    return reasons


def size_needed(found: Sequence[Finding]) -> str:
    """What size of gold set would decide what is open."""
    still_open = [each for each in found if each.outcome is Outcome.OPEN]
    if all(each.requirement == LATENCY for each in still_open):
        return "More gold images would not help: the time must be measured again."
    sizes = [each.images for each in still_open if each.requirement != LATENCY]
    if any(size is None for size in sizes):
        return (
            "No size of gold set would make it pass, if what was measured is so: "
            "another candidate is needed."
        )
    largest = max(size for size in sizes if size is not None)
    return f"About {largest:,} gold images would decide, if what was measured is so."


def _compared(decision: Decision) -> bool:
    """Whether the gold set was used up by it. The rule before this one compared two scores, and
    left only sets that were too small undecided."""
    return decision.gate is not None or decision.verdict is not Verdict.NOT_ENOUGH_EVIDENCE


def _pair(candidate: GoldScore, champion: GoldScore) -> tuple[str, str, str]:
    return candidate.measured_sha256, champion.measured_sha256, candidate.gold_sha256

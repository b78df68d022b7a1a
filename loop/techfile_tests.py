"""Point 2(g) of the technical documentation: how the model was validated and tested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loop.techfile import Cited, Gap, Item, Section, Statement, Table
from loop.techfile_records import DASH, Records, day, number
from loop.techfile_scores import class_items, fold_items, gold_items


def tests(records: Records) -> Section:
    return Section(
        "2(g)",
        "Validation and testing",
        "Validation and testing procedures with their data and metrics; test logs and reports, "
        "dated and signed.",
        (
            *fold_items(records),
            *class_items(records),
            *gold_items(records),
            *_measured(records),
            *_labels(records),
            *_int8(records),
            *_trials(records),
            *records.operator.of_point("2(g)"),
        ),
    )


def _measured(records: Records) -> tuple[Item, ...]:
    """Measurements on the gold set that proposed nothing."""
    found = records.about_model("model.measured")
    rows = []
    for each in found:
        score = each.event.details.get("score", {})
        rows.append(
            (
                day(each.event.at),
                number(score.get("images")),
                number(score.get("map50")),
                number(score.get("map50_95")),
            )
        )
    if not rows:
        return ()
    return (
        Table(
            "Further measurements on the gold set",
            ("when", "images", "mAP50", "mAP50-95"),
            tuple(rows),
            tuple(each.evidence for each in found),
            by_row=True,
        ),
    )


def _labels(records: Records) -> tuple[Item, ...]:
    run_id = records.version.run_id
    found = [
        each
        for each in records.of_types("labels.compared")
        if run_id in _values(each.event.details.get("trained_in"))
    ]
    if not found:
        return (
            Gap(
                "a comparison of first answers with adjudicated ones as training labels",
                "secondlook models compare-labels makes it.",
            ),
        )
    last = found[-1]
    gain: Mapping[str, Any] = last.event.details.get("map50_95", {})
    return (
        Statement(
            f"On {day(last.event.at)} a model of adjudicated answers was compared with one of "
            f"first answers: it changes mAP50-95 by {number(gain.get('estimate'))} (95 % interval "
            f"{number(gain.get('lower'))} to {number(gain.get('upper'))}).",
            (last.evidence,),
        ),
    )


def _int8(records: Records) -> tuple[Item, ...]:
    promotion = records.promotion
    score = promotion.candidate_score if promotion else None
    if score is not None and score.quantised is not None:
        told = score.quantised.sentence(score.map50, score.map50_95)
        return (Statement(told, records.registered_evidence),)
    if records.version.tags.get("loop.source") == "quantised":
        how = f"secondlook models compare {records.ref.version} measures it."
        return (Gap("how far INT8 changes the scores", how),)
    return (Statement("The version is not one in INT8.", records.registered_evidence),)


def _trials(records: Records) -> tuple[Item, ...]:
    found = records.about_model("trial")
    ended = [each for each in found if each.event.type not in ("trial.starting", "trial.started")]
    if not ended:
        how = "secondlook models promote VERSION --canary 5%, or --shadow."
        return (Gap("a trial on live images beside the champion", f"It is made by {how}"),)
    rows = tuple(_trial(each) for each in ended)
    return (
        Table(
            "Trials on live images",
            ("ended", "kind", "share", "outcome", "reason"),
            rows,
            tuple(each.evidence for each in ended),
            by_row=True,
        ),
    )


def _trial(each: Cited) -> tuple[str, ...]:
    said = {**each.event.subject, **each.event.details}
    share = said.get("share")
    return (
        day(each.event.at),
        str(said.get("kind", DASH)),
        f"{share:.0%}" if isinstance(share, int | float) else DASH,
        each.event.outcome.value,
        each.event.reason or DASH,
    )


def _values(value: Any) -> set[str]:
    return {str(each) for each in value.values()} if isinstance(value, Mapping) else set()

"""Points 3 to 9 of the technical documentation: use, metrics, risks, changes, and what follows."""

from __future__ import annotations

import statistics

from loop.impact import class_scores
from loop.techfile import Gap, Item, Section, Statement, Table
from loop.techfile_people import override_items
from loop.techfile_records import DASH, Records, day, events_of
from loop.techfile_scores import gate_evidence


def life(records: Records) -> tuple[Section, ...]:
    operator = records.operator
    return (
        _use(records),
        Section(
            "4",
            "Performance metrics",
            "Why the performance metrics are appropriate for this system.",
            (*operator.of_point("4"), _metrics(records)),
        ),
        Section(
            "5",
            "Risk management",
            "The risk management system in accordance with Article 9.",
            operator.of_point("5"),
        ),
        Section(
            "6",
            "Changes through the life cycle",
            "Relevant changes that the provider made to the system through its life cycle.",
            changes(records),
        ),
        Section(
            "7",
            "Standards",
            "The harmonised standards that are applied, or the other solutions and specifications.",
            (*operator.of_point("7"), _specifications(records)),
        ),
        Section(
            "8",
            "EU declaration of conformity",
            "A copy of the EU declaration of conformity.",
            operator.of_point("8"),
        ),
        Section(
            "9",
            "After it is on the market",
            "The system to evaluate its performance in the post-market phase, with the plan.",
            (*operator.of_point("9"), *_monitoring(records)),
        ),
    )


def changes(records: Records) -> tuple[Item, ...]:
    """Promotions, roll-backs, swaps and registrations of all versions, oldest first."""
    found = records.of_types("promotion", "model", "serving", "trial")
    found = [each for each in found if each.event.type != "model.measured"]
    if not found:
        return (Gap("any change of the system", "Registering a model is the first."),)
    rows = tuple(
        (
            day(each.event.at),
            each.event.type,
            _version(each.event.subject.get("model")),
            each.event.actor.pseudonym,
            each.event.outcome.value,
            each.event.reason or DASH,
        )
        for each in found
    )
    items: list[Item] = []
    if records.left_out:
        items.append(
            Statement(
                f"{records.left_out} earlier changes are in the audit log and not in this table.",
                (found[0].evidence,),
            )
        )
    columns = ("when", "event", "version", "who", "outcome", "reason")
    items.append(Table("Changes, over all versions", columns, rows, events_of(found), by_row=True))
    return tuple(items)


def limit_items(records: Records) -> tuple[Item, ...]:
    """What the records say of its limits: classes on which it is weak, and what is not known."""
    items: list[Item] = []
    worst = _worst(records)
    if worst is not None:
        items.append(worst)
    items.append(
        Gap(
            "its accuracy for specific persons or groups of persons",
            "Images carry the pseudonym of a subject and nothing else about a person; the operator "
            "measures it by groups, and writes it in techfile.yaml, field bias_tests.",
        )
    )
    return tuple(items)


def _use(records: Records) -> Section:
    operator = records.operator
    limits, risks, inputs = (operator.item(n) for n in ("limitations", "risks", "input_data"))
    parts = (
        Section(
            "3.1",
            "Capabilities and limitations",
            "Its capabilities and limitations, the accuracy for specific persons or groups, and "
            "the expected overall accuracy.",
            (limits, *limit_items(records)),
        ),
        Section(
            "3.2",
            "Unintended outcomes and risks",
            "Foreseeable unintended outcomes and sources of risk to health, safety, fundamental "
            "rights, and of discrimination.",
            (risks,),
        ),
        Section(
            "3.3",
            "Human oversight in use",
            "The human oversight measures that are needed, and how outputs can be interpreted.",
            (operator.item("oversight_measures"), *override_items(records)),
        ),
        Section(
            "3.4",
            "Input data",
            "Specifications on input data.",
            (inputs, *_inputs(records)),
        ),
    )
    return Section(
        "3",
        "Monitoring, functioning and control",
        "How it is monitored, functions and is controlled.",
        (),
        parts,
    )


def _worst(records: Records) -> Item | None:
    promotion = records.promotion
    if promotion is not None and promotion.candidate_score.per_class:
        scores = dict(promotion.candidate_score.per_class)
        where, evidence = "on the gold set", gate_evidence(records, promotion)
    else:
        found: dict[str, list[float]] = {}
        for run in records.folds:
            own = class_scores(run.metrics, records.version.classes, "map50_95")
            for name, value in own.items():
                found.setdefault(name, []).append(value)
        scores = {name: statistics.fmean(values) for name, values in found.items()}
        where, evidence = "over the folds", tuple(run.evidence for run in records.folds)
    if not scores:
        return None
    low, high = min(scores, key=scores.__getitem__), max(scores, key=scores.__getitem__)
    return Statement(
        f"Its weakest class {where} is {low} (AP50-95 {scores[low]:.3f}), its strongest {high} "
        f"({scores[high]:.3f}).",
        evidence,
    )


def _inputs(records: Records) -> tuple[Item, ...]:
    names = ("SECONDLOOK_MAX_IMAGE_BYTES", "SECONDLOOK_MAX_IMAGE_PIXELS")
    items: list[Item] = [
        Statement(
            f"The API takes images of up to {records.setting(names[0])} bytes and "
            f"{records.setting(names[1])} pixels, and refuses others with the reason.",
            records.software_evidence + records.setting_evidence(*names),
        )
    ]
    run = records.run
    size = run.params.get("IMG_SIZE") if run else None
    if run is not None and size:
        items.append(
            Statement(
                f"It was trained on images whose longer side was scaled to {size} pixels.",
                (run.evidence,),
            )
        )
    return tuple(items)


def _metrics(records: Records) -> Item:
    return Statement(
        "Recorded are precision, recall, mAP50 and mAP50-95 (mean average precision over the "
        "classes at IoU 0.5, and over IoU 0.5 to 0.95, as COCO defines it), each with its spread "
        "over folds, AP of each class, the bootstrap interval of a change, agreement between "
        "people (Krippendorff's alpha), and the time an image takes.",
        records.software_evidence,
    )


def _specifications(records: Records) -> Item:
    return Statement(
        "Specifications that the records follow: RFC 6962 and RFC 8785 with C2SP tlog-tiles, "
        "tlog-checkpoint and tlog-proof (audit log), OpenSSF Model Signing 1.0 and DSSE (models), "
        "MLCommons Croissant 1.0 (data set), OpenAPI (interface).",
        records.software_evidence,
    )


def _monitoring(records: Records) -> tuple[Item, ...]:
    items: list[Item] = [
        Statement(
            "In service, every replica tells Prometheus how many images it took, how long, what it "
            "refused, and how far its scores, classes and numbers of boxes have drifted from the "
            "gold set; alerts and a dashboard come with it (docs/monitoring.md).",
            records.software_evidence,
        )
    ]
    if records.drift:
        items.append(
            Statement(f"Its reference for drift: {records.drift}", records.registered_evidence)
        )
    else:
        items.append(Gap("a reference that drift is measured against", records.no_drift))
    impact = records.about_model("impact.measured")
    if impact:
        last = impact[-1]
        counts = ", ".join(f"{n}: {c}" for n, c in sorted(last.event.details.items()))
        items.append(
            Statement(
                f"On {day(last.event.at)} it looked again at cases that people had settled before "
                f"it ({counts}).",
                (last.evidence,),
            )
        )
    else:
        items.append(
            Gap(
                "what it changed on cases that people had settled",
                "It is measured in the app, under Impact, once the version is in service.",
            )
        )
    return tuple(items)


def _version(model: object) -> str:
    return str(model.get("version", DASH)) if isinstance(model, dict) else DASH

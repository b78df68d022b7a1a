"""Points 2(a) to 2(c) of the technical documentation: how the model was made, and designed."""

from __future__ import annotations

from loop.techfile import Evidence, Gap, Item, Section, Statement, Table
from loop.techfile_records import DASH, Records, day, events_of, number

_NAMES = {
    "loop.dvc_rev": "DVC revision of the workspace",
    "loop.snapshot_sha256": "snapshot, SHA-256",
    "loop.folds_sha256": "folds, SHA-256",
    "loop.split_sha256": "split, SHA-256",
}


def development(records: Records) -> tuple[Section, ...]:
    operator = records.operator
    return (
        Section(
            "2(a)",
            "Methods and steps",
            "The methods and steps of its development, with the use of pre-trained systems and "
            "tools of third parties.",
            (*operator.of_point("2(a)"), *training_items(records)),
        ),
        Section(
            "2(b)",
            "Design specifications",
            "The general logic, key design choices with their rationale, what it is to optimise "
            "for, the expected output, and trade-offs.",
            (*operator.of_point("2(b)"), *_design(records)),
        ),
        Section(
            "2(c)",
            "Architecture and resources",
            "How software components build on each other, and the computational resources used to "
            "develop, train, test and validate it.",
            (_architecture(records), *_resources(records), *operator.of_point("2(c)")),
        ),
    )


def training_items(records: Records) -> tuple[Item, ...]:
    run, tags = records.run, records.version.tags
    if not records.folds or run is None:
        source = tags.get("loop.source", "")
        if source == "quantised":
            return (_quantised(records),)
        return (
            Gap(
                "how the weights were trained",
                "They were registered from outside; whoever trained them writes it in "
                "techfile.yaml, field pretrained.",
            ),
        )
    evidence = (run.evidence, *_run_events(records, ".started"))
    ended = f" and ended on {day(run.ended_at)}" if run.ended_at else ""
    folds = len(records.folds)
    items: list[Item] = [
        Statement(
            f"It comes out of a cross-validation with {folds} folds that began on "
            f"{day(run.started_at)}{ended}. Each fold holds out other images; images of one "
            "subject, and near-duplicates, are never on both sides.",
            (*evidence, *_run_events(records, ".ended"), *records.software_evidence),
        ),
        _final(records),
        Table(
            "What the training was on",
            ("what", "value"),
            (
                *((_NAMES[name], tags[name]) for name in _NAMES if tags.get(name)),
                ("seed", tags.get("loop.seed", DASH)),
            ),
            evidence,
        ),
    ]
    if run.params:
        rows = tuple(sorted(run.params.items()))
        items.append(Table("Parameters of the training", ("parameter", "value"), rows, evidence))
    items.append(
        Statement(
            "Third parties' tools: the network and its training are Ultralytics' YOLO on PyTorch; "
            "folds run in parallel on Ray; runs are kept in MLflow, data in DVC.",
            records.software_evidence,
        )
    )
    return tuple(items)


def _final(records: Records) -> Item:
    tags = records.version.tags
    kind = tags.get("loop.final_model", "")
    if not kind:
        return Gap(
            "which of the folds' models, or which refit, became this version",
            "Versions that a cross-validation registers say so in MLflow (loop.final_model).",
        )
    told = (
        f"The version is the model of fold {tags['loop.fold']}, the best of the folds."
        if tags.get("loop.fold")
        else f"The version is a model of its own ({kind.replace('_', ' ')}): the folds' mean and "
        "spread estimate its scores."
    )
    return Statement(told, records.registered_evidence)


def _quantised(records: Records) -> Item:
    tags = records.version.tags
    source = tags.get("loop.quantised.source", "another")
    return Statement(
        f"The version is version {source} in INT8, calibrated on images of the snapshot "
        f"{tags.get('loop.snapshot_sha256', DASH)}; nothing was trained.",
        records.registered_evidence,
    )


def _design(records: Records) -> tuple[Item, ...]:
    confidence = records.setting("SECONDLOOK_MIN_CONFIDENCE")
    overlap = records.setting("SECONDLOOK_NMS_IOU")
    names = ", ".join(records.version.classes)
    return (
        Statement(
            "A YOLO network looks at an image once and proposes boxes with a class and a "
            f"confidence. Boxes below a confidence of {confidence} are not shown; of boxes of a "
            f"class that overlap more than IoU {overlap}, the most confident stays.",
            records.software_evidence
            + records.setting_evidence("SECONDLOOK_MIN_CONFIDENCE", "SECONDLOOK_NMS_IOU"),
        ),
        Statement(f"It tells these classes apart: {names}.", records.registered_evidence),
        Statement(
            "Of a training's epochs the one with the best mAP50-95 on the held-out images is kept; "
            "the gate compares models by mAP50-95 first.",
            records.software_evidence,
        ),
    )


def _architecture(records: Records) -> Item:
    return Statement(
        "Serving replicas detect over HTTP; the reviewers' app stores people's answers in a "
        "database; stages under DVC freeze them into Parquet snapshots, split them into folds and "
        "train; MLflow keeps runs and versions; every change of state and its event are one "
        "transaction, and events go on into a transparency log.",
        records.software_evidence,
    )


def _resources(records: Records) -> tuple[Item, ...]:
    rows, evidence = [], []
    for run in records.folds:
        rows.append(
            (
                run.fold,
                number(run.metrics.get("fold_seconds"), 1),
                run.tags.get("loop.precision", DASH),
                number(run.peaks.get("process_cpu_utilization_percentage"), 0),
                number(run.peaks.get("process_memory_usage_megabytes"), 0),
                number(run.peaks.get("gpu_0_utilization_percentage"), 0),
            )
        )
        evidence.append(run.evidence)
    items: list[Item] = []
    if rows:
        items.append(
            Table(
                "Resources of each fold's training",
                ("fold", "seconds", "precision", "most CPU %", "most memory MB", "most GPU %"),
                tuple(rows),
                tuple(evidence),
            )
        )
    else:
        items.append(Gap("the resources of the training", "There are no runs of folds in MLflow."))
    return tuple(items)


def _run_events(records: Records, ending: str) -> tuple[Evidence, ...]:
    """Of the whole run, not of its folds."""
    run = records.run
    return events_of(
        [
            each
            for each in records.events
            if run is not None
            and each.event.subject.get("mlflow_run_id") == run.run_id
            and not each.event.type.startswith("fold.")
            and each.event.type.endswith(ending)
        ]
    )

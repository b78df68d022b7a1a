"""Points 2(e) and 2(f) of the technical documentation: people's oversight, and planned changes."""

from __future__ import annotations

from loop.techfile import Gap, Item, Section, Statement, Table
from loop.techfile_records import DASH, Records, day, events_of, number

_STEPS = {
    "approved_by_one": "approved, others must too",
    "approved": "approved",
    "refused": "refused",
    "promoted": "promoted",
    "failed": "failed",
    "rolled_back": "rolled back",
}


def people(records: Records) -> tuple[Section, ...]:
    operator = records.operator
    return (
        Section(
            "2(e)",
            "Human oversight",
            "The human oversight measures that are needed (Article 14), and the technical measures "
            "by which deployers can interpret the outputs.",
            (*operator.of_point("2(e)"), *oversight_items(records)),
        ),
        Section(
            "2(f)",
            "Pre-determined changes",
            "Pre-determined changes to the system and its performance, where there are any.",
            operator.of_point("2(f)"),
        ),
    )


def oversight_items(records: Records) -> tuple[Item, ...]:
    return (
        *_reviews(records),
        *override_items(records),
        *_roles(records),
        *decision_items(records),
    )


def decision_items(records: Records) -> tuple[Item, ...]:
    """Who decided about this version, by pseudonym."""
    promotion = records.promotion
    if promotion is None or not promotion.history:
        how = f'secondlook models approve {records.ref.version} --reason "…"'
        return (
            Gap("that a person decided about this version", f"A decision is recorded by {how}"),
        )
    needed = "1 person" if promotion.approvers == 1 else f"{promotion.approvers} different people"
    people = ", ".join(dict.fromkeys(promotion.approved_by)) or "nobody yet"
    events = records.about("promotion_id", promotion.id, "promotion")
    rolled = records.about_model("model.rolled_back")
    evidence = events_of([*events, *rolled]) or records.database_evidence
    rows = tuple(
        (
            day(step["at"]),
            _STEPS.get(step["state"], step["state"]),
            step["by"],
            step["reason"] or DASH,
        )
        for step in promotion.history
    )
    overruled = [e for e in events if e.event.details.get("overrules_the_gate") is True]
    against = [
        Statement(
            f"{each.event.actor.pseudonym} decided otherwise than the gate.", (each.evidence,)
        )
        for each in overruled
    ]
    return (
        *against,
        Statement(
            f"{needed} had to approve this version; it was approved by: {people}.",
            evidence,
        ),
        Table("Decisions about this version", ("when", "what", "who", "reason"), rows, evidence),
    )


def _reviews(records: Records) -> tuple[Item, ...]:
    oversight = records.oversight
    if not oversight.done.total:
        return (Gap("reviews by people", "Nobody has reviewed a case in this home yet."),)
    last = [
        event
        for kind in ("correction.submitted", "second_review.submitted")
        for event in records.of_types(kind)[-1:]
    ]
    first, second = oversight.seconds.median_first, oversight.seconds.median_second
    items: list[Item] = [
        Statement(
            f"People gave {number(oversight.done.first)} first answers and "
            f"{number(oversight.done.second)} second reviews in this home, over all models.",
            (*records.database_evidence, *events_of(last)),
        )
    ]
    if first is not None:
        told = f"; a second review {second:.1f} s" if second is not None else ""
        items.append(
            Statement(
                f"A first answer took {first:.1f} s of active time in the middle{told}.",
                records.database_evidence,
            )
        )
    return tuple(items)


def override_items(records: Records) -> tuple[Item, ...]:
    """What people did with the boxes of each class."""
    names = list(records.version.classes)
    rows = tuple(
        (
            names[class_id],
            *map(number, (v.accepted, v.moved, v.relabelled, v.rejected, v.added)),
            f"{v.overridden:.1%}" if v.overridden is not None else DASH,
        )
        for class_id, v in sorted(records.oversight.verdicts.items())
        if class_id < len(names)
    )
    if not rows:
        return (Gap("how often people overrode the model", "It takes first answers of people."),)
    columns = ("class", "accepted", "moved", "relabelled", "removed", "added", "overridden")
    return (
        Table(
            "What people did with the model's boxes (latest 2,000 first answers)",
            columns,
            rows,
            records.database_evidence,
        ),
    )


def _roles(records: Records) -> tuple[Item, ...]:
    doors = records.doors
    items: list[Item] = []
    if doors.roles:
        rows = tuple((role, number(count)) for role, count in sorted(doors.roles.items()))
        caption = "Accounts that can come in, by role"
        items.append(Table(caption, ("role", "people"), rows, records.database_evidence))
    else:
        items.append(
            Gap("which people have which roles", "There are no accounts yet: secondlook users add")
        )
    approvers = records.setting("SECONDLOOK_APPROVERS")
    needed = "1 person" if approvers == "1" else f"{approvers} different people"
    items.append(
        Statement(
            "Reviewers answer cases, adjudicators settle them, engineers decide about models, "
            "auditors read, admins give roles. The gate gives a verdict and decides nothing: "
            f"{needed} must approve, and whoever overrules the gate is on record as that. A model "
            "in service can be taken back in one command.",
            records.software_evidence + records.setting_evidence("SECONDLOOK_APPROVERS"),
        )
    )
    return tuple(items)

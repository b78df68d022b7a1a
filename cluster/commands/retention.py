"""``secondlook retention``: how long records are kept, and the deletion of what is due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cluster.commands.erasing import erase_older_images
from cluster.console import out, print_json, print_table
from cluster.context import JsonOption, settings_of, settings_to_read
from loop.events import Role
from loop.ports import UnitsOfWork
from loop.retention import Document, Documents, cutoff, due, due_on, purge_documents, purge_log
from store.audit_log import open_audit_log
from store.documents import GateReports, ModelDocuments, SnapshotDocuments
from store.log_purge import PurgeableFiles
from store.model_registry import open_model_registry
from store.settings import Settings
from store.unit_of_work import open_units_of_work

group = typer.Typer(help="How long records are kept, and what is due.", no_args_is_help=True)

ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
ByOption = Annotated[
    str, typer.Option("--by", help="Who does it, by pseudonym. Default: SECONDLOOK_ACTOR.")
]
_ROUTINE = "past its retention"


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="retention")


@group.command()
def show(context: typer.Context, json: JsonOption = False) -> None:
    """What is kept, for how long at least, and what is due to be deleted."""
    settings = settings_to_read(context)
    found = _overview(settings, open_units_of_work(settings))
    if json:
        print_json(found)
    else:
        _print(found)


@group.command()
def purge(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")
    ] = False,
    reason: ReasonOption = _ROUTINE,
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Delete what is due, on record: never anything before its time."""
    settings = settings_of(context)
    units, limits = open_units_of_work(settings), settings.retention
    if dry_run:
        found = _overview(settings, units)
        if json:
            print_json({"dry_run": True, **found})
        else:
            _print(found)
            out.print("Nothing was deleted.")
        return
    actor = settings.acting(Role.ADMIN, by)
    log = PurgeableFiles(open_audit_log(settings))
    span = purge_log(units, log, limits, actor=actor, reason=reason)
    models = [ModelDocuments(units, open_model_registry(settings))]
    documents = purge_documents(units, models, limits, actor=actor, reason=reason)
    images = erase_older_images(settings, units, actor=actor, reason=reason)
    done = {
        "log_entries": span.entries if span else 0,
        "documents": [{"kind": each.kind, "name": each.name} for each in documents],
        "images": images,
    }
    if json:
        print_json({"dry_run": False, **done})
        return
    out.print(
        f"Deleted: {done['log_entries']} entries of the log, {len(documents)} models, "
        f"{images} images."
    )


def _overview(settings: Settings, units: UnitsOfWork) -> dict[str, Any]:
    limits = settings.retention
    log = open_audit_log(settings)
    span = PurgeableFiles(log).due(cutoff(limits.log_days))
    kinds: Sequence[tuple[str, Documents]] = (
        ("models", ModelDocuments(units, open_model_registry(settings))),
        ("snapshots", SnapshotDocuments(units)),
        ("gate_reports", GateReports(units)),
    )
    with units() as uow:
        images = uow.images.count()
        old = uow.images.older_than(cutoff(limits.image_days)) if limits.image_days else []
    return {
        "log": {
            "days": limits.log_days,
            "kept": log.head().size - log.purged(),
            "purged": log.purged(),
            "due": span.entries if span else 0,
        },
        **{name: _documents(kind, limits.document_days) for name, kind in kinds},
        "images": {"days": limits.image_days or None, "kept": images, "due": len(old)},
    }


def _documents(kind: Documents, days: int) -> dict[str, Any]:
    found = kind.all()
    return {
        "days": days,
        "kept": len(found),
        "due": len(due(found, cutoff(days))),
        "next": _next(found, days),
        "by_hand": kind.by_hand,
    }


def _next(documents: Sequence[Document], days: int) -> str | None:
    """The first day on which one of them may go."""
    return min((due_on(each.since, days) for each in documents if each.since), default=None)


def _print(found: dict[str, Any]) -> None:
    print_table(
        "Retention",
        ["", "kept at least", "there are", "due now", "the first is due on", "deleted"],
        [
            (
                name.replace("_", " "),
                f"{each['days']} days" if each["days"] else "until erased",
                each["kept"],
                each["due"],
                each.get("next") or "",
                each.get("by_hand") or "by secondlook retention purge",
            )
            for name, each in found.items()
        ],
    )
    if found["log"]["purged"]:
        out.print(f"{found['log']['purged']} entries of the log are gone, on record.")

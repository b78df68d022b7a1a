"""``secondlook audit verify-run`` and ``verify-model``: MLflow against the log, without the log."""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.commands.audit_options import (
    KeyOption,
    WitnessOption,
    as_time,
    log_key,
    witness_keys,
)
from cluster.console import out, print_json, progress
from cluster.context import JsonOption, settings_to_read
from store.model_registry import open_model_registry
from store.run_proofs import Proved, verify_run, verify_version
from store.tracking import open_tracking


def add_to(group: typer.Typer) -> None:
    group.command("verify-run")(run)
    group.command("verify-model")(model)


def run(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(help="The id of an MLflow run that has ended.")],
    key: KeyOption = None,
    witness: WitnessOption = None,
    json: JsonOption = False,
) -> None:
    """Check a run of a training, a fold or a search by its artifacts and the log's public key.

    Its event, with the proof that it is in the log, is compared with what MLflow says: snapshot,
    folds, params, metrics, status. Needs MLflow's store (MLFLOW_TRACKING_URI) and neither the log
    nor the database.
    """
    settings = settings_to_read(context)
    proved = verify_run(
        open_tracking(settings), run_id, log_key(settings, key), witness_keys(witness)
    )
    _show(f"Run {run_id}", proved, as_json=json)


def model(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Of the registered model.")],
    version: Annotated[str, typer.Argument(help="A version or an alias.")],
    key: KeyOption = None,
    witness: WitnessOption = None,
    json: JsonOption = False,
) -> None:
    """Check a model version, its files among it, by its artifacts and the log's public key.

    As verify-run; the weights and exports must have the digests that its event names. The run that
    trained it is checked with `audit verify-run`.
    """
    settings = settings_to_read(context).model_copy(update={"model_name": name})
    with progress(f"Checking {name} {version}"):
        proved = verify_version(
            open_tracking(settings),
            open_model_registry(settings),
            version,
            log_key(settings, key),
            witness_keys(witness),
        )
    _show(f"{name} {version}", proved, as_json=json)


def _show(what: str, proved: Proved, *, as_json: bool) -> None:
    event, checkpoint = proved.event, proved.checkpoint
    if as_json:
        print_json(
            {
                "verified": True,
                "index": proved.index,
                "checkpoint": {
                    "origin": checkpoint.origin,
                    "size": checkpoint.size,
                    "root": checkpoint.root.hex(),
                },
                "cosigned": {name: as_time(at) for name, at in proved.cosigned.items()},
                "event": event.as_dict(),
            }
        )
        return
    lines = [
        f"Verified: {what} is what entry {proved.index} of {checkpoint.origin} says.",
        f"{event.type} at {event.at}, by {event.actor.pseudonym}, {event.outcome}.",
        *(f"Cosigned by {name} at {as_time(at)}." for name, at in proved.cosigned.items()),
    ]
    out.print("\n".join(lines), highlight=False, markup=False)

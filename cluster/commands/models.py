"""``secondlook models``: register, compare, approve, promote, roll back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster import registering
from cluster.commands import labels, quantising, signatures, stopping, trials
from cluster.commands.gate_tables import show_check, show_gate
from cluster.console import out, print_json, print_table, progress, when
from cluster.context import JsonOption, engineer, running_swap, settings_of, settings_to_read
from cluster.drift import drift_reference
from cluster.service import try_without_service
from detector.formats import INT8, ExportFormat
from loop import promoting
from loop.errors import InvalidInput, NotFound
from loop.events import Role
from loop.promotions import GoldScore, Promotion
from store.model_registry import ModelVersion, open_model_registry
from store.run_proofs import version_prover
from store.unit_of_work import open_units_of_work
from train.gate_check import recompute
from train.gold import measure_again, propose_promotion

group = typer.Typer(
    help="Register, compare, approve, promote, roll back, stop.", no_args_is_help=True
)

VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="A version or an alias, such as candidate.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
ByOption = Annotated[
    str, typer.Option("--by", help="Who decides, by pseudonym. Default: SECONDLOOK_ACTOR.")
]


def add_to(app: typer.Typer) -> None:
    labels.add_to(group)
    quantising.add_to(group)
    signatures.add_to(group)
    trials.add_to(group)
    stopping.add_to(group)
    app.add_typer(group, name="models")


@group.command("list")
def list_versions(context: typer.Context, json: JsonOption = False) -> None:
    """Every registered version, with its aliases and where its promotion stands."""
    settings = settings_to_read(context)
    registry = open_model_registry(settings)
    with open_units_of_work(settings)() as uow:
        promotions = {p.candidate.version: p for p in uow.promotions.list()}
    versions = registry.versions()
    if json:
        print_json(
            [
                {
                    **version.ref.as_dict(),
                    "aliases": list(version.aliases),
                    "run_id": version.run_id,
                    "promotion": _promotion_dict(promotions.get(version.ref.version)),
                }
                for version in versions
            ]
        )
        return
    print_table(
        f"Models in {settings.home}",
        ["version", "aliases", "promotion", "gold mAP50-95", "digest", "registered"],
        [
            (
                version.ref.version,
                ", ".join(version.aliases),
                promotion.state if promotion else "",
                f"{promotion.candidate_score.map50_95:.3f}" if promotion else "",
                version.ref.digest[:12],
                when(version.created_at),
            )
            for version in versions
            for promotion in [promotions.get(version.ref.version)]
        ],
    )
    for promotion in promotions.values():
        if promotion.failure is not None:
            version, why = promotion.candidate.version, promotion.failure["reason"]
            out.print(f"The release of version {version} failed: {why}", markup=False)


@group.command()
def show(context: typer.Context, version: VersionArgument, json: JsonOption = False) -> None:
    """One version: its lineage, its signature, its reference for drift, its decisions."""
    settings = settings_to_read(context)
    registry = open_model_registry(settings)
    ref = registry.resolve(version)
    with open_units_of_work(settings)() as uow:
        promotion = uow.promotions.find(ref.name, ref.version)
    found = next(v for v in registry.versions() if v.ref == ref)
    data: dict[str, Any] = {
        **ref.as_dict(),
        "aliases": list(found.aliases),
        "run_id": found.run_id,
        "classes": list(registry.classes_of(ref)),
        "exports": found.exports,
        "signature": signatures.state(registry, found),
        "drift_reference": drift_reference(settings, registry, ref),
        "quantised": _quantised_dict(found, promotion),
        "tags": dict(found.tags),
        "registered": found.created_at,
        "promotion": _promotion_dict(promotion),
    }
    if json:
        print_json(data)
    else:
        out.print_json(data=data)


@group.command()
def register(
    context: typer.Context,
    weights: Annotated[Path, typer.Argument(help="A YOLO .pt file.")],
    alias: Annotated[str, typer.Option(help="champion (only the first) or candidate.")] = (
        promoting.CANDIDATE
    ),
    export: Annotated[
        list[ExportFormat] | None, typer.Option(help="Export to it as well; repeatable.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Bring weights from outside into the registry; their classes become this home's."""
    if alias not in (promoting.CHAMPION, promoting.CANDIDATE):
        raise InvalidInput(f"There is no alias {alias!r}.", hint="Use champion or candidate.")
    settings = settings_of(context)
    registry = open_model_registry(settings)
    with progress(f"Registering {weights.name}"):
        ref = registering.register(
            open_units_of_work(settings),
            registry,
            weights,
            config_dir=settings.home / "ultralytics",
            alias=alias,
            actor=engineer(settings),
            swap=running_swap(settings),
            exports=export or (),
            prove=version_prover(settings, registry),
        )
    if json:
        print_json({**ref.as_dict(), "alias": alias})
    else:
        out.print(f"Registered {ref.name} version {ref.version} as {alias} ({ref.digest[:12]}).")


@group.command()
def compare(
    context: typer.Context, version: VersionArgument = "candidate", json: JsonOption = False
) -> None:
    """Measure a version and the champion on the frozen gold set, for the gate's verdict.

    Each new pair uses up a share of what the gold set can tell: see models gate.
    """
    settings = settings_of(context)
    ref = open_model_registry(settings).resolve(version)
    with progress("Measuring on the gold set") as step:
        promotion = propose_promotion(settings, ref, step)
    if promotion is None:
        raise InvalidInput(
            "There is no gold set to measure on.",
            hint="Bring one in: secondlook import PATH --format … --gold",
        )
    _show_decision(promotion, json)


@group.command()
def measure(
    context: typer.Context,
    versions: Annotated[list[str], typer.Argument(metavar="VERSION…", help="Versions or aliases.")],
    json: JsonOption = False,
) -> None:
    """Measure versions on the frozen gold set and keep what they see there; none is proposed.

    There is no verdict, and none of the gold set is used up. Whoever picks the candidate to propose
    by these scores uses it up all the same, without a count.
    """
    settings = settings_of(context)
    registry = open_model_registry(settings)
    refs = [registry.resolve(version) for version in versions]
    with progress("Measuring on the gold set") as step:
        scores = measure_again(settings, refs, step)
    if json:
        print_json([score.as_dict() for score in scores])
    else:
        _show_scores([("", score) for score in scores])


@group.command()
def gate(
    context: typer.Context,
    version: VersionArgument = "candidate",
    again: Annotated[
        bool,
        typer.Option("--recompute", help="Compute the verdict again from the kept detections."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """What the verdict on a version rests on; with --recompute, whether it comes out the same."""
    settings = settings_to_read(context)
    ref = open_model_registry(settings).resolve(version)
    with open_units_of_work(settings)() as uow:
        promotion = uow.promotions.find(ref.name, ref.version)
    if promotion is None:
        raise NotFound(
            f"Version {ref.version} has not been measured on the gold set.",
            hint=f"secondlook models compare {ref.version}",
        )
    if not again:
        if json:
            print_json(_promotion_dict(promotion))
        else:
            show_gate(promotion)
        return
    with progress("Computing the verdict again"):
        check = recompute(settings, promotion)
    show_check(promotion, check, json=json)
    if not check.agrees:
        raise typer.Exit(1)


@group.command()
def approve(
    context: typer.Context,
    version: VersionArgument = "candidate",
    reason: ReasonOption = "",
    by: ByOption = "",
    refuse: Annotated[bool, typer.Option("--refuse", help="Refuse it instead.")] = False,
    json: JsonOption = False,
) -> None:
    """A person's decision on a measured candidate; of several people where settings ask for it."""
    settings = settings_of(context)
    promotion = promoting.approve(
        open_units_of_work(settings),
        open_model_registry(settings).resolve(version),
        actor=settings.acting(Role.ENGINEER, by),
        reason=reason,
        refuse=refuse,
        approvers=settings.approvers,
    )
    if json:
        print_json(_promotion_dict(promotion))
        return
    out.print(f"Version {promotion.candidate.version} is {promotion.state}.")
    if promotion.approvals_missing:
        who = ", ".join(promotion.approved_by)
        out.print(
            f"Approved by {who}: {promotion.approvals_missing} more of {promotion.approvers} "
            "people must."
        )


@group.command()
def promote(
    context: typer.Context,
    version: VersionArgument = "candidate",
    by: ByOption = "",
    canary: trials.CanaryOption = "",
    shadow: trials.ShadowOption = False,
    share: trials.ShareOption = "",
    json: JsonOption = False,
) -> None:
    """Make an approved version the champion, and swap it into what is running here.

    If a replica does not take it, all go back to the champion; the version is then marked failed.
    With --canary or --shadow it is only tried beside the champion: secondlook models trial shows
    how they compare.
    """
    settings = settings_of(context)
    if canary or shadow or share:
        plan = trials.asked_for(canary, shadow=shadow, share=share)
        trials.start(settings, version, *plan, by=by, json=json)
        return
    registry = open_model_registry(settings)
    ref = registry.resolve(version)
    swap = running_swap(settings)
    with progress("Taking it into service" if swap else "Loading it, to see that it detects"):
        promotion = promoting.promote(
            open_units_of_work(settings),
            registry,
            ref,
            actor=settings.acting(Role.ENGINEER, by),
            swap=swap or try_without_service(settings),
        )
    if json:
        print_json(_promotion_dict(promotion))
        return
    out.print(f"Version {ref.version} is the champion.")
    if swap is None:
        out.print("Nothing is up in this home: `secondlook up` will serve it.")


@group.command()
def rollback(
    context: typer.Context,
    reason: ReasonOption = "",
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Put the previous champion back into service."""
    settings = settings_of(context)
    ref = promoting.roll_back(
        open_units_of_work(settings),
        open_model_registry(settings),
        actor=settings.acting(Role.ENGINEER, by),
        reason=reason,
        swap=running_swap(settings) or try_without_service(settings),
    )
    if json:
        print_json(ref.as_dict())
    else:
        out.print(f"Version {ref.version} is the champion again.")


def _show_decision(promotion: Promotion, json: bool) -> None:
    if json:
        print_json(_promotion_dict(promotion))
        return
    scores = [("candidate", promotion.candidate_score), ("champion", promotion.champion_score)]
    _show_scores([(role, score) for role, score in scores if score is not None])
    show_gate(promotion)
    out.print(
        f'Decide: secondlook models approve {promotion.candidate.version} --reason "…" [--refuse]'
    )


def _show_scores(scores: Sequence[tuple[str, GoldScore]]) -> None:
    _, first = scores[0]
    print_table(
        f"On {first.images} gold images",
        ["model", "version", "mAP50", "mAP50-95", *first.per_class],
        [
            (
                role,
                score.model.version,
                f"{score.map50:.3f}",
                f"{score.map50_95:.3f}",
                *(f"{value:.3f}" for value in score.per_class.values()),
            )
            for role, score in scores
        ],
    )


def _quantised_dict(found: ModelVersion, promotion: Promotion | None) -> dict[str, Any] | None:
    """Of a version in INT8: what it was made of, on which images, and by how much it differs from
    that on the gold set, once it was measured."""
    if INT8 not in found.exports:
        return None
    score = promotion.candidate_score if promotion else None
    note = score.quantised if score else None
    prefix = "loop.quantised."
    return {
        **{
            name.removeprefix(prefix): value
            for name, value in sorted(found.tags.items())
            if name.startswith(prefix)
        },
        "snapshot_sha256": found.tags.get("loop.snapshot_sha256"),
        "gold_change": note.changes(score.map50, score.map50_95) if score and note else None,
    }


def _promotion_dict(promotion: Promotion | None) -> dict[str, Any] | None:
    if promotion is None:
        return None
    champion, decision = promotion.champion_score, promotion.decision
    return {
        "id": promotion.id,
        "state": promotion.state.value,
        "failure": dict(promotion.failure) if promotion.failure else None,
        "verdict": decision.verdict.value,
        "reasons": list(decision.reasons),
        "gate": decision.gate.as_dict() if decision.gate else None,
        "candidate": promotion.candidate_score.as_dict(),
        "champion": champion.as_dict() if champion else None,
        "approvers": promotion.approvers,
        "approved_by": list(promotion.approved_by),
        "decided_by": promotion.decided_by,
        "reason": promotion.reason,
        "history": [dict(step) for step in promotion.history],
    }

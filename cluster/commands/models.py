"""``secondlook models``: register, compare, approve, promote, roll back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster import registering
from cluster.console import out, print_json, print_table, progress, when
from cluster.context import JsonOption, engineer, running_swap, settings_of, settings_to_read
from loop import promoting
from loop.errors import InvalidInput
from loop.events import Actor, Role
from loop.promotions import GoldScore, Promotion
from store.model_registry import open_model_registry
from store.unit_of_work import open_units_of_work
from train.gold import measure_again, propose_promotion

group = typer.Typer(help="Register, compare, approve, promote, roll back.", no_args_is_help=True)

VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="A version or an alias, such as candidate.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
ByOption = Annotated[
    str, typer.Option("--by", help="Who decides, by pseudonym. Default: SECONDLOOK_ACTOR.")
]


def add_to(app: typer.Typer) -> None:
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


@group.command()
def show(context: typer.Context, version: VersionArgument, json: JsonOption = False) -> None:
    """One version: its lineage, its measurement on the gold set, its decisions."""
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
    json: JsonOption = False,
) -> None:
    """Bring weights from outside into the registry; their classes become this home's."""
    if alias not in (promoting.CHAMPION, promoting.CANDIDATE):
        raise InvalidInput(f"There is no alias {alias!r}.", hint="Use champion or candidate.")
    settings = settings_of(context)
    with progress(f"Registering {weights.name}"):
        ref = registering.register(
            open_units_of_work(settings),
            open_model_registry(settings),
            weights,
            config_dir=settings.home / "ultralytics",
            alias=alias,
            actor=engineer(settings),
            swap=running_swap(settings),
        )
    if json:
        print_json({**ref.as_dict(), "alias": alias})
    else:
        out.print(f"Registered {ref.name} version {ref.version} as {alias} ({ref.digest[:12]}).")


@group.command()
def compare(
    context: typer.Context, version: VersionArgument = "candidate", json: JsonOption = False
) -> None:
    """Measure a version and the champion on the frozen gold set, and say what the rule says."""
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
    """Measure versions on the frozen gold set and keep what they see there; no one is proposed."""
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
def approve(
    context: typer.Context,
    version: VersionArgument = "candidate",
    reason: ReasonOption = "",
    by: ByOption = "",
    refuse: Annotated[bool, typer.Option("--refuse", help="Refuse it instead.")] = False,
    json: JsonOption = False,
) -> None:
    """A person's decision on a measured candidate."""
    settings = settings_of(context)
    promotion = promoting.approve(
        open_units_of_work(settings),
        open_model_registry(settings).resolve(version),
        actor=Actor(by or settings.actor, Role.ENGINEER),
        reason=reason,
        refuse=refuse,
    )
    if json:
        print_json(_promotion_dict(promotion))
    else:
        out.print(f"Version {promotion.candidate.version} is {promotion.state}.")


@group.command()
def promote(
    context: typer.Context,
    version: VersionArgument = "candidate",
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Make an approved version the champion, and swap it into what is running here."""
    settings = settings_of(context)
    registry = open_model_registry(settings)
    ref = registry.resolve(version)
    swap = running_swap(settings)
    promotion = promoting.promote(
        open_units_of_work(settings),
        registry,
        ref,
        actor=Actor(by or settings.actor, Role.ENGINEER),
        swap=swap,
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
        actor=Actor(by or settings.actor, Role.ENGINEER),
        reason=reason,
        swap=running_swap(settings),
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
    out.print(f"Verdict: {promotion.decision.verdict}. {' '.join(promotion.decision.reasons)}")
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


def _promotion_dict(promotion: Promotion | None) -> dict[str, Any] | None:
    if promotion is None:
        return None
    champion = promotion.champion_score
    return {
        "id": promotion.id,
        "state": promotion.state.value,
        "verdict": promotion.decision.verdict.value,
        "reasons": list(promotion.decision.reasons),
        "candidate": promotion.candidate_score.as_dict(),
        "champion": champion.as_dict() if champion else None,
        "decided_by": promotion.decided_by,
        "reason": promotion.reason,
        "history": [dict(step) for step in promotion.history],
    }

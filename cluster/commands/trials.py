"""``secondlook models promote --canary|--shadow`` and ``models trial``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cluster.console import out, print_json, print_table, progress, when
from cluster.context import JsonOption, running_trials, settings_of, settings_to_read
from cluster.trials import close_record, open_run
from loop.errors import InvalidInput, NotFound, Unavailable
from loop.events import Role
from loop.trial_comparison import compare
from loop.trial_counts import summed
from loop.trials import Trial, TrialKind, parse_share
from loop.trying_out import start_trial, stop_trial
from store.model_registry import open_model_registry
from store.settings import Settings
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work

group = typer.Typer()

CanaryOption = Annotated[
    str, typer.Option("--canary", metavar="SHARE", help="Let it answer so many requests: 5%.")
]
ShadowOption = Annotated[
    bool, typer.Option("--shadow", help="Show it the images as well; the champion answers.")
]
ShareOption = Annotated[
    str,
    typer.Option("--share", metavar="SHARE", help="Of the images, with --shadow. Default: all."),
]


def add_to(models: typer.Typer) -> None:
    models.add_typer(group, name="trial")


def asked_for(canary: str, *, shadow: bool, share: str) -> tuple[TrialKind, float]:
    """What the options of ``promote`` mean. Raises `InvalidInput`."""
    if canary and (shadow or share):
        raise InvalidInput(
            "--canary has its share with it, and is no shadow.",
            hint="Give either --canary 5%, or --shadow [--share 20%].",
        )
    if canary:
        return TrialKind.CANARY, parse_share(canary)
    if not shadow:
        raise InvalidInput("--share belongs to --shadow.", hint="Add --shadow, or --canary 5%.")
    return TrialKind.SHADOW, parse_share(share) if share else 1.0


def start(
    settings: Settings, version: str, kind: TrialKind, share: float, *, by: str, json: bool
) -> None:
    service = running_trials(settings)
    if service is None:
        raise Unavailable(
            "Nothing is up in this home: there are no images to try it on.",
            hint="Start it: secondlook up.",
        )
    registry = open_model_registry(settings)
    ref = registry.resolve(version)
    tracking = open_tracking(settings)
    with progress(f"Loading version {ref.version} beside the champion"):
        trial = start_trial(
            open_units_of_work(settings),
            registry,
            ref,
            kind=kind,
            share=share,
            actor=settings.acting(Role.ENGINEER, by),
            service=service,
            open_record=lambda trial: open_run(tracking, trial),
        )
    if json:
        print_json(trial.as_dict())
        return
    out.print(
        f"Version {ref.version} is tried beside version {trial.champion.version}: {_how(trial)}."
    )
    out.print("Compare: secondlook models trial. End it: secondlook models trial stop.")


@group.callback(invoke_without_command=True)
def show(context: typer.Context, json: JsonOption = False) -> None:
    """Candidate and champion on live images; of the last trial, where none is running."""
    if context.invoked_subcommand is not None:
        return
    settings = settings_to_read(context)
    units = open_units_of_work(settings)
    with units() as uow:
        trial = uow.trials.find_open() or uow.trials.find_latest()
    if trial is None:
        raise NotFound(
            "No version has been tried.",
            hint="secondlook models promote VERSION --canary 5%, or --shadow.",
        )
    with units() as uow:
        counts = uow.trials.counts(trial.id)
    service, error = running_trials(settings), None
    if service is not None and trial.open:
        counts |= service.counts(trial.id)
        error = service.error(trial.id)
    comparison = compare(summed(counts.values()))
    if json:
        print_json({**trial.as_dict(), "error": error, "comparison": comparison})
    else:
        _print(trial, error, comparison)


@group.command()
def stop(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    by: Annotated[
        str, typer.Option("--by", help="Who stops it, by pseudonym. Default: SECONDLOOK_ACTOR.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Take the candidate out again. What was counted stays on record, here and in MLflow."""
    settings = settings_of(context)
    units = open_units_of_work(settings)
    trial = stop_trial(
        units,
        actor=settings.acting(Role.ENGINEER, by),
        reason=reason,
        service=running_trials(settings),
    )
    close_record(units, open_tracking(settings), trial)
    if json:
        print_json(trial.as_dict())
    else:
        out.print(f"Version {trial.candidate.version} is not tried any more.")


def _print(trial: Trial, error: str | None, comparison: dict[str, Any]) -> None:
    champion, candidate = comparison["champion"], comparison["candidate"]
    said = (
        f"Version {trial.candidate.version} beside version {trial.champion.version}, "
        f"{_how(trial)}: {trial.state} since {when(trial.ended_at or trial.created_at)}. "
        f"{error or trial.reason}"
    )
    out.print(said.rstrip())
    print_table(
        "On live images",
        ["", "champion", "candidate"],
        [
            ("version", trial.champion.version, trial.candidate.version),
            ("images", champion["images"], candidate["images"]),
            ("errors", champion["errors"], _with_interval(candidate)),
            *(
                (
                    f"latency {name}, ms",
                    _number(champion["latency_ms"][name], 1),
                    _number(candidate["latency_ms"][name], 1),
                )
                for name in ("mean", "p50", "p95")
            ),
        ],
    )
    rates = comparison["rates"]
    print_table(
        "Detections an image",
        ["class", "champion", "candidate", "difference", "95 % interval"],
        [
            (
                name,
                _number(rate["champion"]),
                _number(rate["candidate"]),
                _number(rate["difference"]),
                _interval(rate["interval"]),
            )
            for name, rate in [("all", rates["all"]), *rates["classes"].items()]
        ],
    )
    pairs = comparison["pairs"]
    if pairs is None:
        return
    print_table(
        f"Boxes on {pairs['images']} images that both saw ({comparison['skipped']} were skipped)",
        ["class", "matched", "champion only", "candidate only", "relabelled", "IoU", "confidence"],
        [
            (
                name,
                pair["matched"],
                pair["only_champion"],
                pair["only_candidate"],
                pair["relabelled"],
                _number(pair["mean_iou"]),
                _number(pair["mean_confidence_difference"]),
            )
            for name, pair in [("all", pairs["all"]), *pairs["classes"].items()]
        ],
    )


def _how(trial: Trial) -> str:
    verb = "answers" if trial.kind is TrialKind.CANARY else "is shown"
    return f"a {trial.kind.value} that {verb} {100 * trial.share:.3g}% of the images"


def _with_interval(counts: dict[str, Any]) -> str:
    interval = counts["error_rate_interval"]
    if not counts["errors"] or interval is None:
        return str(counts["errors"])
    low, high = interval
    return f"{counts['errors']} ({100 * low:.2g} to {100 * high:.2g} %)"


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _interval(interval: list[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"

"""``secondlook models quantise``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.console import out, print_json, progress
from cluster.context import JsonOption, engineer, settings_of
from loop.snapshots import Labels
from store.model_registry import open_model_registry
from store.snapshot_files import open_snapshot
from store.unit_of_work import open_units_of_work
from train.paths import StagePaths

_SNAPSHOT = StagePaths(Labels.ADJUDICATED).snapshot


def add_to(group: typer.Typer) -> None:
    group.command()(quantise)


def quantise(
    context: typer.Context,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A version or an alias.")
    ] = "champion",
    snapshot: Annotated[
        Path, typer.Option(help="The folder of a snapshot that was created here.")
    ] = _SNAPSHOT,
    images: Annotated[int, typer.Option(min=1, help="So many of its images, at most.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="What draws them.")] = 0,
    json: JsonOption = False,
) -> None:
    """Make a version in INT8, calibrated on a snapshot: a candidate for the gate, measured as that.

    It is never served in place of the version that it is made of: it has to be promoted.
    """
    from cluster.quantising import register_quantised  # imports that other commands need not pay

    settings = settings_of(context)
    registry = open_model_registry(settings)
    source = registry.resolve(version)
    with progress(f"Quantising version {source.version}"):
        ref = register_quantised(
            settings,
            open_units_of_work(settings),
            registry,
            source,
            open_snapshot(snapshot),
            images=images,
            seed=seed,
            actor=engineer(settings),
        )
    if json:
        print_json({**ref.as_dict(), "source": source.as_dict(), "alias": "candidate"})
        return
    out.print(f"Registered {ref.name} version {ref.version}, {source.version} in INT8.")
    out.print(f"Measure it against the champion: secondlook models compare {ref.version}")

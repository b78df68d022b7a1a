"""The versions of a model that are compared: its weights in 32-bit floats, and in INT8.

Both are registered in the bench's home as the product does it, and what the limit runs is the
signed file that the service runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from bench.serve_process import say
from bench.serve_product import command
from bench.serve_settings import EIGHT_BITS, F32
from cluster.context import engineer
from detector.formats import INT8, ExportFormat
from loop.intake import NewImage, add_truth
from loop.predictions import ModelRef
from loop.promoting import CANDIDATE, CHAMPION
from loop.snapshots import Labels
from store.image_codec import Limits, sanitise
from store.image_store import open_image_store
from store.model_registry import open_model_registry
from store.settings import load_settings
from store.unit_of_work import open_units_of_work
from train.data_collection import collect


@dataclass(frozen=True, slots=True)
class Version:
    """``network`` is the file that OpenVINO reads."""

    ref: ModelRef
    network: Path

    def make_champion(self) -> None:
        """What ``secondlook up`` serves from its next start on; it went through no gate."""
        open_model_registry(load_settings()).set_alias(CHAMPION, self.ref)


def register_versions(
    weights: Path, precisions: Sequence[str], files: Sequence[Path], folder: Path
) -> dict[str, Version]:
    """Register the weights as the champion and, if it is asked for, what is made of them in INT8.

    ``files`` are images to calibrate on, ``folder`` is for their snapshot. Exits for weights that
    cannot be exported to OpenVINO.
    """
    say("registering")
    ref = register(weights, CHAMPION)
    found = {F32: _version(ref, ExportFormat.OPENVINO.value)}
    if EIGHT_BITS in precisions:
        say(f"calibrating INT8 on {len(files)} images")
        found[EIGHT_BITS] = _version(_quantised(ref, files, folder), INT8)
    return found


def register(weights: Path, alias: str) -> ModelRef:
    """Exits if the product refuses to export them to OpenVINO."""
    openvino = ExportFormat.OPENVINO.value
    version = command("models", "register", str(weights), "--alias", alias, "--export", openvino)[
        "version"
    ]
    registry = open_model_registry(load_settings())
    ref = registry.resolve(version)
    if openvino not in registry.exports_of(ref):
        raise SystemExit(f"{weights.name} cannot be exported to OpenVINO.")
    return ref


def register_other(weights: Path) -> ModelRef:
    """A version beside the champion, as a candidate."""
    return register(weights, CANDIDATE)


def quantise(version: str, snapshot: Path, images: int) -> str:
    """Make a version in INT8, calibrated on so many images of a snapshot; its number."""
    arguments = ("--snapshot", str(snapshot), "--images", str(images))
    made: str = command("models", "quantise", version, *arguments)["version"]
    return made


def freeze(folder: Path) -> int:
    """Make a snapshot of all that is annotated in the home, as the stage data_collection does.
    Returns how many images it has."""
    settings = load_settings()
    units, store = open_units_of_work(settings), open_image_store(settings)
    with redirect_stdout(sys.stderr):  # where it draws a progress bar
        manifest = collect(units, store.get, folder, Labels.ADJUDICATED, engineer(settings))
    return int(manifest.counts["images"])


def _quantised(source: ModelRef, files: Sequence[Path], folder: Path) -> ModelRef:
    _add(files)
    made = quantise(source.version, folder, freeze(folder))
    return open_model_registry(load_settings()).resolve(made)


def _add(files: Sequence[Path]) -> None:
    """Bring in images without boxes: to calibrate on them nobody has to know what they show."""
    settings = load_settings()
    units, store = open_units_of_work(settings), open_image_store(settings)
    limits, actor = Limits(settings.max_image_bytes, settings.max_image_pixels), engineer(settings)
    for file in files:
        clean = sanitise(file.read_bytes(), limits)
        new = NewImage(clean.data, clean.media_type, clean.width, clean.height, phash=clean.phash)
        add_truth(units, store, new, [], actor=actor)


def _version(ref: ModelRef, export: str) -> Version:
    folder = open_model_registry(load_settings()).fetch_export(ref, export)
    return Version(ref, folder / ExportFormat.OPENVINO.file)

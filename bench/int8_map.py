"""``python -m bench.int8_map``: by how much INT8 changes mAP, on images that the model never saw.

BCCD: the model that was trained on half ``a`` is calibrated on that half and measured, in 32-bit
floats and in INT8, on half ``b``, the gold set. The product does it all, by the commands that a
user types, in a home of its own; nothing is served.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.kfold_settings import BCCD, BCCD_WEIGHTS, CPU
from bench.serve import errors_for_people
from bench.serve_process import say
from bench.serve_product import command, enter_home
from bench.serve_settings import describe_machine
from bench.serve_versions import freeze, quantise


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.int8_map", description=__doc__)
    parser.add_argument("--json", action="store_true", help="Print JSON for machines.")
    parser.add_argument("--data", type=Path, default=BCCD, help="BCCD, with its halves.json.")
    parser.add_argument("--weights", type=Path, default=BCCD_WEIGHTS, help="Trained on half a.")
    parser.add_argument("--images", type=int, default=0, help="Of each half; default: all.")
    arguments = parser.parse_args()
    with errors_for_people(), tempfile.TemporaryDirectory(prefix="int8-") as name:
        result = measure(arguments, Path(name))
    print(json.dumps(result, indent=2)) if arguments.json else _show(result)


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    enter_home(folder / "home", CPU)
    say("registering")
    weights = str(arguments.weights.absolute())
    source = command("models", "register", weights, "--alias", "champion", "--export", "openvino")
    halves = json.loads((arguments.data / "halves.json").read_text(encoding="utf-8"))
    for half, options in (("a", ()), ("b", ("--gold",))):
        say(f"importing half {half}")
        names = halves[half][: arguments.images or None]
        _import(arguments.data, names, folder / f"{half}.txt", options)
    images = freeze(folder / "snapshot")
    say("calibrating INT8")
    made = quantise(source["version"], folder / "snapshot", images)
    say("measuring both on half b")
    compared = command("models", "compare", made)
    return {
        "machine": describe_machine(CPU),
        "data": str(arguments.data),
        "weights": arguments.weights.name,
        **summary(compared),
    }


def summary(compared: dict[str, Any]) -> dict[str, Any]:
    """Of what ``secondlook models compare`` answers; ``change`` is INT8's score less that of 32-bit
    floats, and ``gate`` has its bounds."""
    scores = {"f32": compared["champion"], "int8": compared["candidate"]}
    kept = ("map50", "map50_95", "per_class")
    return {
        "images": scores["int8"]["images"],
        "scores": {name: {key: score[key] for key in kept} for name, score in scores.items()},
        "change": {key: scores["int8"][key] - scores["f32"][key] for key in ("map50", "map50_95")},
        "verdict": compared["verdict"],
        "reasons": compared["reasons"],
        "gate": compared["gate"],
    }


def _import(data: Path, names: Sequence[str], only: Path, options: Sequence[str]) -> None:
    only.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    command("import", str(data.absolute()), "--format", "voc", "--only", str(only), *options)


def _show(result: dict[str, Any]) -> None:
    scores = result["scores"]
    classes = list(scores["f32"]["per_class"])
    table = Table(
        title=f"On {result['images']} images of half b, on {result['machine']}",
        title_justify="left",
    )
    for column in ("", "mAP50", "mAP50-95", *classes):
        table.add_column(column, justify="right" if column else "left")
    for name, score in scores.items():
        values = (score["map50"], score["map50_95"], *(score["per_class"][c] for c in classes))
        table.add_row(name, *(f"{value:.3f}" for value in values))
    change = result["change"]
    table.add_row("change", f"{change['map50']:+.3f}", f"{change['map50_95']:+.3f}")
    console = Console(width=110)
    console.print(table)
    console.print(f"The gate: {result['verdict']}. {' '.join(result['reasons'])}", highlight=False)


if __name__ == "__main__":
    main()

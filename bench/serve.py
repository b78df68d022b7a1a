"""``python -m bench.serve``: images a second over HTTP, against the usual server and the limit.

(a) plain: FastAPI around `YOLO.predict` (`bench.serve_plain`), (b) limit: OpenVINO's own queue in
process (`bench.serve_limit`), (c) ours: the service that ``secondlook up`` starts. The same
weights, images and thresholds, on one machine in one run; one way is up at a time, and the order
alternates from round to round. Nothing is timed before all see the same boxes.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.kfold_settings import BCCD, CPU
from bench.serve_process import say
from bench.serve_product import enter_home, weights_at
from bench.serve_settings import (
    BCCD_WEIGHTS,
    CLIENTS,
    F32,
    OTHER_BCCD_WEIGHTS,
    PRECISIONS,
    WAYS,
    Settings,
    choose_images,
)
from bench.serve_summary import summary
from bench.serve_table import show
from bench.serve_versions import Version, register_other, register_versions
from bench.serve_ways import Row, Server, Ways
from detector.checkpoint import read_checkpoint
from loop.errors import InvalidInput, LoopError
from loop.predictions import ModelRef
from loop.trials import TrialKind, parse_share
from store.settings import load_settings


def main() -> None:
    arguments = parser().parse_args()
    if "ours" not in arguments.ways and beyond_steady(arguments):
        raise SystemExit("--overload, --swap, --shadow and --canary are of the way ours.")
    # Short: the path of a socket, which Ray makes below it, may have 107 bytes.
    with errors_for_people(), tempfile.TemporaryDirectory(prefix="serve-") as name:
        result = compare(arguments, Path(name))
    print(json.dumps(result, indent=2)) if arguments.json else show(result)


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Exits with what an error says to do."""
    try:
        yield
    except LoopError as error:
        raise SystemExit(f"{error.message} {error.hint}".strip()) from error


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description=__doc__)
    add = parser.add_argument
    add("--json", action="store_true", help="Print JSON for machines.")
    add_model_options(parser)
    add(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        default=[F32],
        dest="precisions",
        help="Of limit and ours: f32, int8, or both. INT8 is calibrated on the images.",
    )
    add("--clients", type=int, nargs="+", default=CLIENTS, help="Numbers of clients.")
    add("--seconds", type=float, default=10, help="Of each measurement.")
    add("--warmup", type=float, default=3, help="Seconds before each measurement.")
    add("--rounds", type=int, default=2, help="How often; the order of the ways alternates.")
    add("--ways", nargs="+", choices=WAYS, default=WAYS, help="Default: all.")
    add("--overload", action="store_true", help="Also five times the capacity, open loop.")
    add("--swap", type=int, default=0, metavar="N", help="Also N swaps under load.")
    add_trial_options(parser)
    add_other_version(parser)
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", type=Path, default=BCCD, help="A folder with JPEG images.")
    add("--weights", type=Path, default=BCCD_WEIGHTS, help="A YOLO .pt file.")
    add("--image-size", type=int, help="Longer side in pixels; default: the weights'.")
    add("--images", type=int, default=64, help="At most so many different ones.")
    add("--device", default=CPU, choices=(CPU, "0"), help="Of plain; with cpu no GPU is seen.")


def add_other_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--other-weights",
        type=Path,
        help="Of the version that is swapped in or tried; default: the same weights.",
    )


def add_trial_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    for kind, what in (
        (TrialKind.SHADOW, "which is shown that share of the images"),
        (TrialKind.CANARY, "which answers that share of the requests"),
    ):
        group.add_argument(
            f"--{kind}",
            type=_share,
            metavar="SHARE",
            help=f"Also without and with another version as a {kind}, {what}.",
        )
    parser.add_argument(
        "--turns", type=int, default=2, help="How often without and with; of --shadow, --canary."
    )


def beyond_steady(arguments: argparse.Namespace) -> bool:
    return bool(arguments.overload or needs_other(arguments))


def needs_other(arguments: argparse.Namespace) -> bool:
    return bool(arguments.swap or arguments.shadow or arguments.canary)


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    settings, versions = prepare(
        arguments,
        folder,
        ways=tuple(arguments.ways),
        clients=tuple(arguments.clients),
        seconds=arguments.seconds,
        warmup=arguments.warmup,
        rounds=arguments.rounds,
        precisions=tuple(dict.fromkeys(arguments.precisions)),
    )
    other = other_version(arguments, settings, folder) if needs_other(arguments) else None
    say("checking that all see the same boxes")
    ways = Ways(settings, versions, folder)
    rounds: list[list[Row]] = []
    stress: dict[str, Any] = {}
    loads = []

    def then(server: Server, rows: list[Row]) -> None:
        stress.update(_stress(ways, server, rows, arguments, other))

    stressed = ("ours", settings.precisions[0])
    for number in range(settings.rounds):
        last = number == settings.rounds - 1
        loads.append(os.getloadavg()[0])
        rounds.append([])
        order = settings.contestants
        for each in order if number % 2 == 0 else reversed(order):
            say(f"round {number + 1} of {settings.rounds}: {' in '.join(each)}")
            rows = ways.measure(*each, then if last and each == stressed else None)
            rounds[-1] += rows
            say("  " + ", ".join(f"{row['images_per_second']:.1f}/s" for row in rows))
    return summary(settings, rounds, ways.boxes) | {"load_average": loads} | stress


def prepare(
    arguments: argparse.Namespace, folder: Path, **options: Any
) -> tuple[Settings, dict[str, Version]]:
    """The settings, with these ``options`` among them, and the versions that are compared, by
    precision. They are in a new home, which this process and all that it starts are in from here
    on."""
    enter_home(folder / "home", arguments.device)
    product, config_dir = load_settings(), folder / "ultralytics"
    size = arguments.image_size or read_checkpoint(arguments.weights, config_dir).image_size
    weights = weights_at(arguments.weights.absolute(), size, folder / "weights", config_dir)
    stride = read_checkpoint(weights, config_dir).stride
    files, padded, left_out = choose_images(arguments.data, arguments.images, size, stride)
    settings = Settings(
        weights=weights,
        image_size=size,
        stride=stride,
        files=files,
        left_out=left_out,
        padded=padded,
        min_confidence=product.min_confidence,
        nms_iou=product.nms_iou,
        device=arguments.device,
        **options,
    ).with_cores()
    versions = register_versions(weights, settings.precisions, files, folder / "snapshot")
    if settings.server_cores != settings.load_cores:
        # What this process does meanwhile is not done by the server.
        os.sched_setaffinity(0, settings.load_cores)
    return settings, versions


def other_version(arguments: argparse.Namespace, settings: Settings, folder: Path) -> ModelRef:
    """Registered beside the champion, to be swapped in or tried."""
    other = arguments.other_weights
    if other is None and arguments.weights == BCCD_WEIGHTS and OTHER_BCCD_WEIGHTS.is_file():
        other = OTHER_BCCD_WEIGHTS
    if other is None:
        return register_other(settings.weights)
    return register_other(
        weights_at(
            other.absolute(), settings.image_size, folder / "weights", folder / "ultralytics"
        )
    )


def _stress(
    ways: Ways,
    server: Server,
    rows: list[Row],
    arguments: argparse.Namespace,
    other: ModelRef | None,
) -> dict[str, Any]:
    """Beside the figures of the same server without stress, which ``rows`` are."""
    if not beyond_steady(arguments):
        return {}
    from bench.serve_stress import overload, swaps  # imports MLflow

    busiest = max(rows, key=lambda row: row["clients"])
    capacity = max(row["images_per_second"] for row in rows)
    steady = {"steady_clients": busiest["clients"], "steady_p99_ms": busiest["p99_ms"]}
    found: dict[str, Any] = {}
    if other is not None and (arguments.shadow or arguments.canary):
        found["trial"] = _trial(ways, server, arguments, other)
    if other is not None and arguments.swap:
        found["swap"] = steady | swaps(ways, server, busiest["clients"], arguments.swap, other)
    if arguments.overload:
        found["overload"] = steady | overload(ways, server, capacity, arguments.seconds)
    return found


def _trial(
    ways: Ways, server: Server, arguments: argparse.Namespace, other: ModelRef
) -> dict[str, Any]:
    from bench.serve_trials import trials

    return trials(
        ways,
        server,
        other,
        TrialKind.SHADOW if arguments.shadow else TrialKind.CANARY,
        arguments.shadow or arguments.canary,
        clients=arguments.clients,
        turns=arguments.turns,
        seconds=arguments.seconds,
        warmup=arguments.warmup,
    )


def _share(text: str) -> float:
    try:
        return parse_share(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(error.message) from error


if __name__ == "__main__":
    main()

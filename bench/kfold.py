"""``python -m bench.kfold``: k folds as usual, one after the other, and as Second Look trains them.

(a) one `yolo train` process a fold on copied image folders, (b) all folds of a workspace side by
side: on the same images, folds, weights, seeds, epochs and cores, in one run. Making the folders
and the workspace is not timed; the bytes that it copies count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.kfold_data import Data, make_workspace, write_fold_folders
from bench.kfold_ours import best_weights as best_of_ours
from bench.kfold_ours import train_side_by_side
from bench.kfold_scores import scores
from bench.kfold_sequential import best_weights as best_of_sequential
from bench.kfold_sequential import train_one_by_one
from bench.kfold_settings import (
    ARCHITECTURE,
    BCCD,
    BCCD_WEIGHTS,
    CPU,
    Settings,
    add_data_options,
    data_of,
    machine,
)
from bench.kfold_usage import Usage, total
from bench.kfold_writes import ImageWrites

WAYS = ("sequential", "ours")
Scores = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Round:
    """What one training of all folds cost. ``image_bytes_written`` are on disk."""

    usage: Usage
    image_bytes_written: int


def main() -> None:
    arguments = _parser().parse_args()
    settings = _settings(arguments)
    # Short: the path of a socket, which Ray makes below it, may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="kfold-") as name:
        rounds, quality = _Comparison(Path(name), settings).run(arguments.rounds)
    result = summary(settings, rounds, quality)
    print(json.dumps(result, indent=2)) if arguments.json else _show(result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.kfold", description=__doc__)
    add_data_options(parser)
    defaults = Settings()
    numbers = {
        "k": "Folds.",
        "epochs": "Epochs of each fold.",
        "batch-size": "Images a step.",
        "seed": "Of folds and trainings.",
        "val-period": "Ours validates after so many epochs.",
        "threads": "Of torch, in the sequential way.",
    }
    for name, help in numbers.items():
        default = getattr(defaults, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{help} ({default})")
    parser.add_argument("--weights", type=Path, help="A .pt to start from; default: from scratch.")
    parser.add_argument("--device", default=CPU, choices=(CPU, "0"))
    parser.add_argument(
        "--rounds", type=int, default=1, help="How often; the order of both ways alternates."
    )
    return parser


def _settings(arguments: argparse.Namespace) -> Settings:
    data, weights = data_of(arguments), arguments.weights
    if weights is None and data == BCCD and BCCD_WEIGHTS.is_file():
        weights = BCCD_WEIGHTS
    return Settings(
        k=arguments.k,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        image_size=arguments.image_size,
        images=arguments.images,
        seed=arguments.seed,
        device=arguments.device,
        val_period=arguments.val_period,
        threads=arguments.threads,
        base=str(weights.absolute()) if weights else ARCHITECTURE,
        data=data,
    )


class _Comparison:
    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self._log = folder / "log.txt"

    def run(self, rounds: int) -> tuple[dict[str, list[Round]], dict[str, Scores]]:
        """The rounds of each way, and the quality of the last one's models."""
        _say("making the workspace")
        data = make_workspace(self._folder, self._settings)
        costs: dict[str, list[Round]] = {way: [] for way in WAYS}
        try:
            for number in range(rounds):
                for way in WAYS if number % 2 == 0 else reversed(WAYS):
                    _say(f"round {number + 1} of {rounds}: {way}")
                    costs[way].append(self._train(way, data, number))
                    _say(f"{costs[way][-1].usage.wall_seconds:.0f} s")
        except Exception:
            _say(self._log.read_text(encoding="utf-8", errors="replace"))
            raise
        _say("measuring the models")
        files = [self._copies(rounds - 1) / f"fold_{i}/data.yaml" for i in range(data.folds.k)]
        weights = {
            "sequential": best_of_sequential(self._runs(rounds - 1), data.folds.k),
            "ours": best_of_ours(data),
        }
        return costs, {
            way: scores(weights[way], files, self._folder, self._settings) for way in WAYS
        }

    def _train(self, way: str, data: Data, number: int) -> Round:
        with ImageWrites(self._folder) as writes:
            if way == "ours":
                temporary = self._folder / "t"
                temporary.mkdir(exist_ok=True)
                usage = train_side_by_side(data, temporary, self._log)
            else:
                files = write_fold_folders(data, self._copies(number))
                self._runs(number).mkdir()
                usage = total(
                    train_one_by_one(files, self._runs(number), self._settings, self._log)
                )
        return Round(usage, writes.nbytes)

    def _copies(self, number: int) -> Path:
        return self._folder / f"copies{number}"

    def _runs(self, number: int) -> Path:
        return self._folder / f"runs{number}"


def summary(
    settings: Settings, rounds: dict[str, list[Round]], quality: dict[str, Scores]
) -> dict[str, Any]:
    """Medians over the rounds, and every round."""
    ways = {way: _medians(rounds[way]) | quality[way] for way in WAYS}
    return {
        "machine": machine(settings.device),
        "command": " ".join(["python -m bench.kfold", *sys.argv[1:]]),
        "settings": settings.as_dict(),
        **ways,
        "wall_ratio": ways["ours"]["wall_seconds"] / ways["sequential"]["wall_seconds"],
        "rounds": {way: [_flat(each) for each in rounds[way]] for way in WAYS},
    }


def _medians(rounds: Sequence[Round]) -> dict[str, Any]:
    rows = [_flat(each) for each in rounds]
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _flat(each: Round) -> dict[str, float]:
    return asdict(each.usage) | {"image_bytes_written": each.image_bytes_written}


def _show(result: dict[str, Any]) -> None:
    settings = result["settings"]
    table = Table(
        title=f"{settings['k']} folds, {settings['epochs']} epochs, {settings['image_size']} px, "
        f"batches of {settings['batch_size']}, on {result['machine']}",
        title_justify="left",
    )
    table.add_column("")
    for way in WAYS:
        table.add_column(way, justify="right")
    rows = [(way, result[way]) for way in WAYS]
    for name in ("wall_seconds", "cpu_seconds"):
        table.add_row(name.replace("_", " "), *(f"{row[name]:.1f}" for _, row in rows))
    for field in fields(Usage)[2:]:
        _add_bytes(table, field.name, [row[field.name] for _, row in rows])
    _add_bytes(table, "image_bytes_written", [row["image_bytes_written"] for _, row in rows])
    for name in ("map50", "map50_95"):
        cells = [f"{row[name]['mean']:.3f} ± {row[name]['sd']:.3f}" for _, row in rows]
        table.add_row(name.replace("map50_95", "map50-95"), *cells)
    console = Console(width=110)
    console.print(table)
    console.print(f"Ours takes {result['wall_ratio']:.2f} of the sequential wall time.")


def _add_bytes(table: Table, name: str, values: Sequence[float]) -> None:
    label = name.replace("_bytes", "").replace("_", " ")
    table.add_row(f"{label}, MB", *(f"{value / 1e6:.1f}" for value in values))


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

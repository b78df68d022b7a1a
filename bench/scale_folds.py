"""``python -m bench.scale_folds``: what it costs to run many folds on many nodes.

A cluster of Ray on this machine, a head without CPUs and ``--nodes`` nodes of one CPU, and folds
that sleep and keep checkpoints instead of training, through `train.fold_runner` as real ones. The
ideal is the time for which a fold sleeps, as often as folds must take turns; the nodes are there
before the clock starts. All nodes share this machine's cores, which a real cluster's do not: what
each fold's processes cost in CPU seconds is told apart, and so is what the head has to do of it.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table

from bench.kfold_settings import CPU
from bench.serve_process import say
from train.fold_job import FoldFailure, FoldOutcome, FoldResult, FoldTask, Keep, run_fold
from train.fold_runner import Place, Resources, run_folds
from train.params import Precision
from train.training import EpochReport, TrainResult, TrainSpec

_STORE_BYTES = 76 * 1024 * 1024  # Ray wants 75 MiB at least
_STARTED = "started"
# What the titles of Ray's processes have in them.
_CONTROLLERS, _WORKERS, _REST = "_FoldController", "RayTrainWorker", "rest"
_LATER_S = 15


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale_folds", description=__doc__)
    add = parser.add_argument
    add("--nodes", type=int, default=50, help="Of one CPU each.")
    add("--folds", type=int, help="As many as there are nodes, unless told.")
    add("--seconds", type=float, default=720, help="How long a fold sleeps.")
    add("--epochs", type=int, default=20, help="In so many parts, with a checkpoint after each.")
    add("--checkpoint-mb", type=float, default=2, help="Of each epoch.")
    add("--json", action="store_true", help="Print JSON for machines.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-folds-") as folder:
        result = measure(arguments, Path(folder))
    print(json.dumps(result, indent=2)) if arguments.json else _show(result)


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from bench.serve_settings import describe_machine  # imports torch, which workers need not

    folds = arguments.folds or arguments.nodes
    job = functools.partial(
        sleeping_fold,
        seconds=arguments.seconds / arguments.epochs,
        size=int(arguments.checkpoint_mb * 1e6),
    )
    with _cluster(arguments.nodes) as cluster_seconds:
        before = weigh()
        watch = _Watch(folder / "storage", folds)
        began = time.time()
        cpu = time.process_time()
        outcomes = run_folds(
            [_task(folder, fold, arguments.epochs) for fold in range(folds)],
            Resources(cpus=1, gpus=0),
            Place(folder / "storage", folder / "out"),
            own_ray=False,
            on_end=watch.on_end,
            on_wait=watch.on_wait,
            job=job,
        )
        wall = time.time() - began
        driver = time.process_time() - cpu
    if any(outcome.result is None for outcome in outcomes):
        raise SystemExit(f"A fold failed: {next(o.reason for o in outcomes if o.result is None)}")
    ideal = arguments.seconds * math.ceil(folds / arguments.nodes)
    times = [
        json.loads((folder / "storage" / f"fold-{i}" / _STARTED).read_text()) for i in range(folds)
    ]
    starts = sorted(first - began for first, _ in times)
    lags = [watch.ended[fold] - last for fold, (_, last) in enumerate(times)]
    return {
        "machine": describe_machine(CPU),
        "nodes": arguments.nodes,
        "folds": folds,
        "fold_seconds": arguments.seconds,
        "wall_seconds": wall,
        "ratio_to_ideal": wall / ideal,
        "overhead_seconds": wall - ideal,
        "first_start_seconds": starts[0],
        "median_start_seconds": starts[len(starts) // 2],
        "last_start_seconds": starts[-1],
        "end_to_known_seconds_most": max(lags),
        "driver_cpu_seconds": driver,
        "cluster_start_seconds": cluster_seconds,
        "node_memory_bytes": sum(weight.memory for weight in before.values()) / arguments.nodes,
        **watch.found(),
    }


def sleeping_fold(
    task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep, *, seconds: float, size: int
) -> FoldResult | FoldFailure:
    """As `train.fold_job.run_fold`, without learning anything."""
    began = time.time()
    train = functools.partial(_sleep, seconds=seconds, size=size)
    result = run_fold(task, folder, checkpoint, keep, train=train)
    (folder.parent / _STARTED).write_text(json.dumps([began, time.time()]))
    return result


def _sleep(
    task: FoldTask,
    on_epoch: Callable[[EpochReport], None],
    last: Path | None,
    *,
    seconds: float,
    size: int,
) -> TrainResult:
    del last
    spec = task.spec
    results, weights, best = (spec.folder / name for name in ("results.csv", "last.pt", "best.pt"))
    for epoch in range(1, spec.epochs + 1):
        time.sleep(seconds)
        weights.write_bytes(os.urandom(size))
        best.write_bytes(b"best")
        results.write_text(f"{epoch}\n")
        metrics = {"map50": 0.5, "map50_95": 0.25, "seconds": seconds}
        finished = epoch == spec.epochs
        on_epoch(EpochReport(epoch, spec.epochs, metrics, weights, best, results, finished))
    scores = {"map50": 0.5, "map50_95": 0.25, "precision": 0.5, "recall": 0.5}
    return TrainResult(best, weights, scores, spec.epochs, spec.epochs, Precision.FP32)


def _task(folder: Path, fold: int, epochs: int) -> FoldTask:
    spec = TrainSpec(
        base=Path("yolo11n.yaml"),
        folder=folder,
        epochs=epochs,
        batch_size=1,
        image_size=64,
        patience=0,
        seed=0,
        precision=Precision.FP32,
    )
    return FoldTask(fold, f"run {fold}", folder, (0,), (1,), spec, folder)


@dataclass(frozen=True, slots=True)
class Weight:
    """What processes have spent since they began and hold: CPU seconds, and bytes of memory as
    their proportional set sizes."""

    cpu: float = 0.0
    memory: int = 0
    count: int = 0


def weigh() -> dict[str, Weight]:
    """All processes below this one, by kind: the controllers of folds, their workers, the rest."""
    found = dict.fromkeys((_CONTROLLERS, _WORKERS, _REST), Weight())
    for process in psutil.Process().children(recursive=True):
        try:
            with process.oneshot():
                times, title = process.cpu_times(), " ".join(process.cmdline())
                memory = process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        kind = next((kind for kind in (_CONTROLLERS, _WORKERS) if kind in title), _REST)
        so_far, cpu = found[kind], times.user + times.system
        found[kind] = Weight(so_far.cpu + cpu, so_far.memory + memory, so_far.count + 1)
    return found


@dataclass
class _Watch:
    """Weighs the processes once all folds sleep, and a while later: what is spent in between is
    what a cluster costs that waits."""

    storage: Path
    folds: int
    ended: dict[int, float] = field(default_factory=dict)
    weighed: list[tuple[float, dict[str, Weight]]] = field(default_factory=list)

    def on_end(self, outcome: FoldOutcome) -> None:
        self.ended[outcome.task.fold] = time.time()

    def on_wait(self) -> None:
        if self.ended or len(self.weighed) == 2:
            return
        if not self.weighed:
            if len(list(self.storage.glob("fold-*/work-*/results.csv"))) < self.folds:
                return
        elif time.time() - self.weighed[0][0] < _LATER_S:
            return
        self.weighed.append((time.time(), weigh()))

    def found(self) -> dict[str, float]:
        if not self.weighed:
            return {}  # folds took turns, or slept too short
        at, first = self.weighed[0]
        found: dict[str, float] = {}
        for name, kind in (("controller", _CONTROLLERS), ("worker", _WORKERS)):
            weight = first[kind]
            found[f"{name}_cpu_seconds"] = weight.cpu / self.folds
            found[f"{name}_memory_bytes"] = weight.memory / self.folds
        found["memory_bytes"] = sum(weight.memory for weight in first.values())
        if len(self.weighed) > 1:
            then, later = self.weighed[1]
            for kind in first:
                share = (later[kind].cpu - first[kind].cpu) / (then - at)
                found[f"cores_of_{kind.strip('_')}_while_waiting"] = share
        return found


@contextmanager
def _cluster(nodes: int) -> Iterator[float]:
    """A head and so many nodes, once all are there; in how many seconds."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Many that start at once on few cores would be taken for dead, ended and begun again for ever.
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "1200"
    began = time.perf_counter()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": _STORE_BYTES,
            "include_dashboard": False,
            # Nodes that share few cores are slow to start.
            "_system_config": {
                "health_check_timeout_ms": 60_000,
                "agent_register_timeout_ms": 200_000,
                "worker_register_timeout_seconds": 1200,
            },
        },
    )
    try:
        for number in range(nodes):
            cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES, wait=number % 5 == 4)
            if number % 5 == 4:
                say(f"{number + 1} of {nodes} nodes")
        cluster.wait_for_nodes(timeout=300)
        ray.init(address=cluster.address, log_to_driver=False)
        yield time.perf_counter() - began
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


def _show(result: dict[str, Any]) -> None:
    title = f"{result['folds']} folds on {result['nodes']} nodes, all on {result['machine']}"
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    table.add_column("", justify="right")
    for name, value in result.items():
        if name != "machine":
            table.add_row(name, f"{value:.2f}" if isinstance(value, float) else str(value))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()

"""``python -m bench.isolation``: what a training does to detections at the same time.

Requests come at a steady rate (an open loop), with and without a k-fold training beside them: on
one machine where both may use all cores, and training only steps back (`train.fold_worker`); and
with the detector on a core of its own, as on a node of its own. Two nodes with cores of their own
share no more than that; what they share beside it, the network and the head, is not in this.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bench.kfold_data import make_workspace
from bench.kfold_settings import Settings
from bench.serve import errors_for_people
from bench.serve_load import Plan
from bench.serve_process import apply_load, process, say, wait_for, wait_until_idle
from bench.serve_product import api_port, command, enter_home
from bench.serve_settings import BCCD_WEIGHTS, describe_machine

_FOLD, _SERVES = "RayTrainWorker", ("ServeReplica", "haproxy", "HAProxyManager", "ProxyActor")
_POLL_SECONDS, _START_SECONDS = 0.5, 300.0
# A fold imports torch and decodes images before its first step.
_WARM_CPU_SECONDS = 20.0
_MANY_EPOCHS = 5000


def main() -> None:
    arguments = parser().parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("Two cores at least: one is the detector's own in one of the two ways.")
    with errors_for_people(), tempfile.TemporaryDirectory(prefix="isolation-") as folder:
        result = compare(arguments, Path(folder))
    print(json.dumps(result, indent=2)) if arguments.json else _show(result)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.isolation", description=__doc__)
    add = parser.add_argument
    add("--json", action="store_true", help="Print JSON for machines.")
    add("--weights", type=Path, default=BCCD_WEIGHTS, help="A YOLO .pt file, to detect with.")
    add("--rate", type=float, default=5, help="Requests a second.")
    add("--seconds", type=float, default=30, help="For each of the four measurements.")
    add("--folds", type=int, default=2, help="Of the training, each with a core if there is one.")
    return parser


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if not arguments.weights.is_file():
        raise SystemExit(f"There are no weights {arguments.weights}: give some with --weights.")
    enter_home(folder / "home", "cpu")
    say("making a data set and its folds")
    # From the same weights, so that the home has their classes.
    trained = Settings(
        k=arguments.folds, epochs=_MANY_EPOCHS, images=64, base=str(arguments.weights)
    )
    data = make_workspace(folder, trained)
    image = folder / "image.jpg"
    first = data.snapshot.samples[0].image_id
    _write_jpeg(bytes(data.snapshot.image_bytes(first)), image)
    command("models", "register", str(arguments.weights), "--alias", "champion")
    log = folder / "log"
    plan = Plan(
        "127.0.0.1",
        api_port(),
        "/v1/detect",
        (str(image),),
        clients=64,
        seconds=arguments.seconds,
        rate=arguments.rate,
    )
    with process(["cluster.cli", "up"], (), log, piped=False) as child:
        wait_for(f"http://127.0.0.1:{api_port()}/readyz", child, log)
        wait_until_idle(child.pid)
        found: dict[str, Any] = {}
        for way, apart in (("one machine", False), ("a core of its own", True)):
            with _cores(child.pid, apart=apart):
                say(f"{way}: detection alone")
                alone = apply_load(plan, child.pid, log)
                with _training(folder / "workspace", child.pid):
                    say(f"{way}: beside a training")
                    beside = apply_load(plan, child.pid, log)
            found[way] = {"alone": alone, "beside": beside}
        command("down")
    return {
        "machine": describe_machine("cpu"),
        "rate": arguments.rate,
        "seconds": arguments.seconds,
        "folds": arguments.folds,
        "ways": found,
    }


def _write_jpeg(data: bytes, path: Path) -> None:
    import cv2
    import numpy as np

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None or not cv2.imwrite(str(path), image):
        raise SystemExit("An image of the data set does not decode.")


@contextmanager
def _training(workspace: Path, pid: int) -> Iterator[None]:
    """A k-fold training that is under way when this begins, and stopped at the end."""
    submit = [sys.executable, "-m", "cluster.cli", "jobs", "submit", "kfold", "--json"]
    done = subprocess.run(submit, cwd=workspace, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    job = json.loads(done.stdout)["id"]
    try:
        _wait(lambda: _fold_seconds(pid) > _WARM_CPU_SECONDS)
        yield
    finally:
        command("jobs", "stop", job)
        _wait(lambda: all(each["ended_at"] for each in command("jobs", "list")))


def _fold_seconds(pid: int) -> float:
    spent = 0.0
    for each in _family(pid):
        with suppress(psutil.Error):
            times = each.cpu_times()
            spent += times.user + times.system if _FOLD in _title(each) else 0.0
    return spent


@contextmanager
def _cores(pid: int, *, apart: bool) -> Iterator[None]:
    """With ``apart`` what serves has the first core, and everything else of `up` the others."""
    cores = sorted(os.sched_getaffinity(0))
    stop = threading.Event()

    def pin() -> None:
        while not stop.is_set():
            for each in _family(pid):
                with suppress(psutil.Error):
                    serves = any(name in _title(each) for name in _SERVES)
                    own = (cores[:1] if serves else cores[1:]) if apart else cores
                    if each.cpu_affinity() != own:
                        each.cpu_affinity(own)
            stop.wait(_POLL_SECONDS)

    thread = threading.Thread(target=pin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _family(pid: int) -> list[psutil.Process]:
    try:
        up = psutil.Process(pid)
        return [up, *up.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _title(each: psutil.Process) -> str:
    return " ".join(each.cmdline())


def _wait(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not happened():
        if time.monotonic() > deadline:
            raise SystemExit("The training did not begin or end in time.")
        time.sleep(_POLL_SECONDS)


def _show(result: dict[str, Any]) -> None:
    title = f"{result['rate']:g} images/s beside {result['folds']} folds; {result['machine']}"
    table = Table("", "ms", "alone", "beside a training", "ratio", title=title)
    for way, found in result["ways"].items():
        for name in ("p50_ms", "p95_ms", "p99_ms"):
            alone, beside = found["alone"][name], found["beside"][name]
            ratio = f"{beside / alone:.2f}" if alone and beside else "-"
            table.add_row(way, name.removesuffix("_ms"), _ms(alone), _ms(beside), ratio)
        errors = (found["alone"]["errors"], found["beside"]["errors"])
        table.add_row(way, "errors", *map(str, errors), "")
    Console().print(table)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main()

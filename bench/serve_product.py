"""The product in a home of its own, set up and started by the commands that a user types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.serve_process import process, wait_for, wait_until_idle
from bench.serve_settings import Settings
from detector.checkpoint import read_checkpoint
from store.processes import free_port

_CLI = "cluster.cli"
_COMMAND_SECONDS = 600
_PORTS = ("API_PORT", "UI_PORT", "MLFLOW_PORT", "DASHBOARD_PORT")
# Where everything is, by default in the home.
_ELSEWHERE = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SECONDLOOK_DATABASE_URL")


def enter_home(home: Path, device: str) -> None:
    """Set this process's environment, which all that it starts inherits, to that home and to free
    ports. Other settings of the product stay as they are: they may be what is compared."""
    for name in (*_ELSEWHERE, "SECONDLOOK_STORAGE_URL"):
        os.environ.pop(name, None)
    os.environ["SECONDLOOK_HOME"] = str(home)
    os.environ.setdefault("SECONDLOOK_API_OPEN_ON_LOOPBACK", "true")
    os.environ |= {f"SECONDLOOK_{name}": str(free_port()) for name in _PORTS}
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def api_port() -> int:
    return int(os.environ["SECONDLOOK_API_PORT"])


def command(*arguments: str) -> Any:
    """What ``secondlook ARGUMENTS --json`` answers. Raises `RuntimeError`."""
    done = subprocess.run(
        [sys.executable, "-m", _CLI, *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_COMMAND_SECONDS,
    )
    if done.returncode != 0:
        raise RuntimeError(f"secondlook {' '.join(arguments)}:\n{done.stdout}{done.stderr[-3000:]}")
    return json.loads(done.stdout)


@contextmanager
def running(settings: Settings, log: Path) -> Iterator[int]:
    """``secondlook up``, until the model serves and all parts have started; its process id."""
    with process([_CLI, "up"], settings.server_cores, log, piped=False) as child:
        try:
            wait_for(f"http://127.0.0.1:{api_port()}/readyz", child, log)
            app = f"http://127.0.0.1:{os.environ['SECONDLOOK_UI_PORT']}"
            wait_for(app, child, log, below=500)  # it asks who is there
            wait_until_idle(child.pid)
            yield child.pid
        finally:
            command("down")


def weights_at(weights: Path, image_size: int, out: Path, config_dir: Path) -> Path:
    """The weights, or a copy of them that says it was trained at that size: the product detects at
    the size that the checkpoint names."""
    checkpoint = read_checkpoint(weights, config_dir)
    if checkpoint.image_size == image_size:
        return weights
    import torch
    from ultralytics.nn.tasks import load_checkpoint

    _, content = load_checkpoint(str(weights))
    content["train_args"]["imgsz"] = image_size
    out.mkdir(parents=True, exist_ok=True)
    torch.save(content, out / weights.name)
    return out / weights.name

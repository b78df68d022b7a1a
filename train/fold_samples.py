"""What a fold's machine is doing: its worker writes it to a file, a sample a line.

Workers that follow one another go on with the same file. The driver logs it (`train.sample_log`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import psutil

from store.system_metrics import Sampler

FILE = "system.jsonl"
_SAMPLE_S = 10.0
# The first sample says that the fold has begun; a share of the CPU needs some time to be one.
_FIRST_SAMPLE_S = 1.0


@contextmanager
def sampled(path: Path) -> Iterator[None]:
    """Add a sample to the file now and then, for as long as this is open."""
    stop = threading.Event()
    thread = threading.Thread(target=_sample, args=(path, stop), name="samples", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _sample(path: Path, stop: threading.Event) -> None:
    # Nothing that goes wrong here may end a training.
    with suppress(OSError, psutil.Error):
        sampler = Sampler()
        wait_s = _FIRST_SAMPLE_S
        while not stop.wait(wait_s):
            line = json.dumps(asdict(sampler.sample()))
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
            wait_s = _SAMPLE_S

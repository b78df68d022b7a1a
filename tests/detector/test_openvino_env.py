from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What telemetry would do: connect, or (as it does on Linux) start a process that connects.
_WATCHED = """
import sys

attempts = []
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request")
PROCESSES = ("os.fork", "os.posix_spawn", "subprocess.Popen")

def watch(event, arguments):
    if event in NETWORK + PROCESSES:
        attempts.append((event, repr(arguments)))
        raise OSError("there is no network here")

sys.addaudithook(watch)
"""
_USED = """
from pathlib import Path
import numpy as np
from detector.openvino_env import import_openvino

openvino = import_openvino()
from openvino import opset13 as ops
x = ops.parameter([1, 2], name="x")
model = openvino.Model([ops.add(x, x)], [x], "double")
openvino.save_model(model, Path("model.xml"))
compiled = openvino.Core().compile_model("model.xml", "CPU")
assert compiled(np.ones((1, 2), np.float32))[0].tolist() == [[2, 2]]
assert openvino.convert_model is not None
"""
_REPORTED = """
import threading, time
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(timeout=5)
print(*attempts, sep="\\n")
"""
_TOO_LATE = """
import openvino_telemetry
from detector.openvino_env import import_openvino
from loop.errors import Misconfigured
try:
    import_openvino()
except Misconfigured as error:
    print(error.hint)
"""


def _run(tmp_path: Path, code: str) -> str:
    """In a home of its own, and not in what telemetry takes for a build server."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_openvino_runs_without_asking_the_network_or_writing_to_the_home(tmp_path: Path) -> None:
    assert _run(tmp_path, _WATCHED + _USED + _REPORTED) == ""
    assert {path.name for path in tmp_path.iterdir()} == {"model.xml", "model.bin"}


def test_an_import_with_telemetry_before_ours_is_pointed_out(tmp_path: Path) -> None:
    assert "import_openvino" in _run(tmp_path, _TOO_LATE)


_AT_ONCE = """
import os, threading
from detector.openvino_env import import_openvino
openvino = import_openvino()
from openvino import opset13 as ops
x = ops.parameter([1, 2], name="x")
compiled = openvino.Core().compile_model(openvino.Model([ops.add(x, x)], [x], "double"), "CPU")
begin = threading.Barrier(8)

def use():
    begin.wait()
    compiled.create_infer_request().get_input_tensor().data[0]

threads = [threading.Thread(target=use, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("all came through", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("run", range(3))  # without the first use, one in six stands still
def test_threads_that_all_begin_at_once_do_not_stand_still(tmp_path: Path, run: int) -> None:
    assert "all came through" in _run(tmp_path, _AT_ONCE)

"""Imports OpenVINO without its telemetry, and without a trap in its first use by threads.

``import openvino`` imports ``openvino_telemetry``, which takes silence for consent: it writes a
client id below ``~/intel`` and sends an event to a web service at once (openvino 2026.4.1,
``openvino/tools/ovc/__init__.py`` with ``enable_opt_in_dialog=False``). Where that package is not
installed, OpenVINO uses an empty stub of its own: here it is made to look as if it were not.
Nothing is written to the user's home for that.

``Tensor.data`` makes a table when it is used for the first time in a process, and lets go of
Python's lock meanwhile. A second thread that comes then holds that lock while it waits for the
table, and the whole process stands still for good: 2 of 12 processes in which three to eight
threads began at once (2026.4.1, docs/decisions.md). So it is used here, by one thread.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from loop.errors import Misconfigured

_TELEMETRY = "openvino_telemetry"
_first_use = threading.Lock()
_ready: Any = None


def import_openvino() -> Any:
    """The package ``openvino``. Raises `Misconfigured` if it was imported with its telemetry."""
    global _ready
    if _ready is None:
        with _first_use:
            _ready = _ready or _import()
    return _ready


def _import() -> Any:
    if sys.modules.get(_TELEMETRY) is not None:
        raise Misconfigured(
            "OpenVINO was imported before its telemetry was turned off.",
            hint="Call detector.openvino_env.import_openvino before anything imports openvino.",
        )
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # any import of it now fails
    import openvino  # type: ignore[import-untyped]

    openvino.Tensor(openvino.Type.u8, openvino.Shape([1])).data  # noqa: B018  # see above
    return openvino

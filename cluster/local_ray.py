"""A Ray cluster of one machine that lives and dies with the process that starts it."""

from __future__ import annotations

import functools
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cluster.processes import descendants, require_free_port
from loop.errors import Misconfigured, Unavailable
from serve.haproxy import proxy_environment
from serve.request_ids import ENVIRONMENT
from store.processes import end_processes, environment, free_port
from store.settings import Settings

# ray._private.ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
_AGENT_PORT = 52365
# Enough for Serve and a handful of folds.
_STARTUP_CONCURRENCY = 8
# Ray rotates what its workers write only if it is told to, and a replica writes a line a request.
_ROTATION = {"RAY_ROTATION_MAX_BYTES": str(64 * 2**20), "RAY_ROTATION_BACKUP_COUNT": "4"}
# What Ray's helpers do all the time, less often (docs/decisions.md): figures of its dashboard, in
# seconds or milliseconds, and reading all output of workers again for drivers, which here none
# asks for.
_SELDOM = {
    "REPORTER_UPDATE_INTERVAL_MS": "30000",
    "METRICS_RECORD_INTERVAL_S": "60",
    "NODE_STATS_UPDATE_INTERVAL_SECONDS": "60",
    "SCAN_EVENT_DIR_INTERVAL_SECONDS": "30",
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "86400",
}


@dataclass(frozen=True, slots=True)
class LocalRay:
    """``address`` is what ``RAY_ADDRESS`` of other processes must be."""

    address: str
    dashboard_url: str

    def environment(self) -> dict[str, str]:
        # Since 2.59 a local Ray asks for the token that it keeps in ~/.ray.
        return {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "")}


@contextmanager
def local_ray(settings: Settings, dashboard_port: int) -> Iterator[LocalRay]:
    """Start Ray and end every process of it on the way out.

    Its dashboard listens on the settings' host. Ray's own ports listen on every interface, and
    cannot be told otherwise (it turns 127.0.0.1 into the machine's address); they ask for the
    token in ``~/.ray``.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray  # takes a second, and few commands need it

    with _proxy(settings):
        yield from _started(ray, settings, dashboard_port)


def _started(ray: Any, settings: Settings, dashboard_port: int) -> Iterator[LocalRay]:
    before = set(descendants(os.getpid()))
    try:
        with _agent_port(ray):
            ray.init(
                address="local",
                include_dashboard=True,
                dashboard_host=settings.host,
                dashboard_port=dashboard_port,
                _system_config={
                    # Ray warns on stdout at four times as many processes; a fold is four of them.
                    "worker_maximum_startup_concurrency": _STARTUP_CONCURRENCY,
                    # Detectors are not to stand behind everything else on the machine, as workers
                    # of Ray do by default; training does so itself (`train.fold_worker.step_back`).
                    "worker_niceness": 0,
                },
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (RuntimeError, ConnectionError, TimeoutError, OSError) as error:
        _end_since(before)
        raise Unavailable(
            f"Ray did not start: {error}.", hint="secondlook doctor checks what it needs."
        ) from error
    try:
        yield LocalRay(
            address=ray.get_runtime_context().gcs_address,
            dashboard_url=f"http://{settings.host}:{dashboard_port}",
        )
    finally:
        started = set(descendants(os.getpid())) - before
        ray.shutdown()
        end_processes(list(started))


@contextmanager
def _agent_port(ray: Any) -> Iterator[None]:
    """A port for the agent that takes jobs. Where the usual one is another Ray's, the agent would
    stay without (ray/dashboard/agent.py), and `ray.init` has no option for it."""
    parameter = ray._private.parameter
    usual = parameter.RayParams
    try:
        require_free_port("", _AGENT_PORT, "Ray's agent", "")
    except Misconfigured:
        port = free_port("")
        parameter.RayParams = functools.partial(usual, dashboard_agent_listen_port=port)
    try:
        yield
    finally:
        parameter.RayParams = usual


@contextmanager
def _proxy(settings: Settings) -> Iterator[None]:
    """What Serve's processes inherit, and a folder for HAProxy that nobody else can look into."""
    with (
        tempfile.TemporaryDirectory(prefix="sl-") as folder,
        environment(ray_environment(settings, Path(folder))),
    ):
        yield


def ray_environment(settings: Settings, folder: Path) -> dict[str, str]:
    """What Ray's processes must find when they start; ``folder`` as in `serve.haproxy`."""
    usual = _ROTATION | _SELDOM
    chosen = {name: os.environ.get(name, value) for name, value in usual.items()}
    return proxy_environment(settings, folder) | ENVIRONMENT | chosen


def _end_since(before: set[psutil.Process]) -> None:
    end_processes(list(set(descendants(os.getpid())) - before))

"""A connection to Ray: the one there is, the cluster of ``RAY_ADDRESS``, or a Ray of our own."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import ray

from loop.errors import Unavailable
from store.processes import ProcessRecord, environment
from store.settings import Settings
from train.session_state import MARK

# Of glibc, for the processes of a Ray of our own: a training step takes and gives back megabytes
# hundreds of times, which by default the kernel maps and clears anew each time. Measured in
# docs/decisions.md; elsewhere than on glibc it is only a name.
_ALLOCATION = {
    "GLIBC_TUNABLES": ":".join(
        (
            "glibc.malloc.hugetlb=1",
            "glibc.malloc.mmap_threshold=33554432",
            "glibc.malloc.trim_threshold=8589934592",
        )
    )
}


@contextmanager
def connected(
    settings: Settings,
    *,
    most_workers: int,
    mark: str = "",
    on_start: Callable[[Sequence[ProcessRecord]], None] = lambda _: None,
) -> Iterator[None]:
    """Work on Ray for as long as this is open. A connection that is there already stays.

    ``mark`` goes into the environment of a Ray of our own, and ``on_start`` is told its first
    processes: by these they are found when this process was killed. Raises `Unavailable`.
    """
    if ray.is_initialized():
        yield
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Of each worker that dies it prints ten lines, in the middle of our table, which says it too.
    printing: Any = ray._private.worker
    printing.print_to_stdstream = _print_nothing
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if settings.ray_address:
            require_node_here(settings.ray_address)
            ray.init(address=settings.ray_address, **quiet)
        else:
            os.environ[MARK] = mark
            _start(most_workers, quiet)
            on_start([ProcessRecord.of(child) for child in psutil.Process().children()])
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        ray.shutdown()
        raise Unavailable(
            f"Ray cannot be reached: {error}.",
            hint="Check RAY_ADDRESS, or unset it to train on this machine.",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
        os.environ.pop(MARK, None)


def require_node_here(address: str) -> None:
    """Raise `Unavailable` on a machine that is no node of any cluster, as a laptop: a driver works
    by way of the raylet beside it, and Ray would look for one for half a minute."""
    find_node_ids: Any = ray._private.services.find_node_ids
    if not address.startswith("ray://") and not find_node_ids():
        raise Unavailable(
            f"This machine is no node of the Ray cluster {address}.",
            hint="Hand trainings in by its dashboard (secondlook jobs submit), or run this on a "
            "node. To make this machine one: ray start --address=HEAD:6379.",
        )


def _print_nothing(*_: object, **__: object) -> None:
    return


def _start(most_workers: int, quiet: dict[str, Any]) -> None:
    cpus = psutil.cpu_count() or 1
    added = {name: value for name, value in _ALLOCATION.items() if name not in os.environ}
    with environment(added):
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            # Ray warns on stdout at four times as many processes; a fold is two of them.
            _system_config={"worker_maximum_startup_concurrency": max(cpus, most_workers)},
            **quiet,
        )

"""What each node of a Ray cluster is like: ``python -m cluster.node_facts``, asked by `doctor`.

A process of its own, since Ray may wait for ever, and ends the process that it cannot join. On
stdin: JSON with the shared settings by name. On stdout, as the last line: what was found.

What runs on the nodes is sent there as it stands here (it belongs to ``__main__``), and needs
nothing there but Ray: Second Look may be missing there, or be another version.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

# What the nodes together may take: starting a worker on a busy machine takes its time.
_NODES_SECONDS = 25.0
_CLOCK_SECONDS = 5.0
_CLOCK_ROUNDS = 3


def facts(shared: dict[str, str]) -> dict[str, Any]:
    """Of the node that it runs on. ``shared`` are settings that must be the same everywhere; their
    values are compared here, and never sent back."""
    import os
    import platform
    import socket
    from concurrent.futures import ThreadPoolExecutor
    from importlib.metadata import PackageNotFoundError, version

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "missing"

    def compared(name: str, value: str) -> str:
        own = os.environ.get(name, "")
        return "unset" if not own else "same" if own == value else "different"

    def reach(name: str, value: str) -> str:
        try:
            _try(name, value)
        except Exception as error:  # of any library, also of one that is missing there
            return str(getattr(error, "message", "") or f"{type(error).__name__}: {error}")[:300]
        return ""

    tried = {name: value for name, value in shared.items() if value}
    with ThreadPoolExecutor(max(len(tried), 1)) as pool:
        reached = dict(zip(tried, pool.map(reach, tried, tried.values()), strict=True))
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "packages": {name: of(name) for name in ("second-look", "ray", "torch", "ultralytics")},
        "home": os.environ.get("SECONDLOOK_HOME", ""),
        "haproxy": os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "") == "1",
        "settings": {name: compared(name, value) for name, value in shared.items()},
        "reached": reached,
    }


def _try(name: str, value: str) -> None:
    """Raises whatever is wrong. Second Look is there, or this says that it is not."""
    import socket
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:  # its words hold a part of the URL, and that may be a password's
        raise ValueError("host and port cannot be told from its URL") from None
    if host and parts.scheme != "s3":
        usual = {"https": 443, "postgresql": 5432}.get(parts.scheme, 80)
        socket.create_connection((host, port or usual), 5).close()
    if name == "SECONDLOOK_DATABASE_URL":
        from cluster.addresses import impatient
        from store.database import open_engine, reading

        if value.startswith("sqlite"):
            import os

            path = value.removeprefix("sqlite:///")
            if not os.path.exists(path):  # noqa: PTH110
                raise FileNotFoundError(f"there is no file {path} on this node")
        engine = open_engine(impatient(value, 8))
        try:
            with reading(engine):
                pass
        finally:
            engine.dispose()
    elif name == "MLFLOW_TRACKING_URI" and value.startswith("http"):
        import urllib.error
        import urllib.request

        try:
            urllib.request.urlopen(f"{value.rstrip('/')}/health", timeout=5).close()  # noqa: S310 (http, above)
        except urllib.error.HTTPError as error:
            if error.code not in (401, 403):  # it is there; who may ask is not asked here
                raise
    elif name == "SECONDLOOK_STORAGE_URL" and value.startswith("s3:"):
        from cluster.doctor_servers import try_bucket
        from store.storage_url import BucketStorage, parse_storage_url

        found = parse_storage_url(value)
        if isinstance(found, BucketStorage):
            try_bucket(found)


def clock() -> float:
    import time

    return time.time()


def gather(address: str, shared: dict[str, str]) -> dict[str, Any]:
    """Raises whatever Ray raises where it cannot be joined."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    untyped: Any = ray
    alive = [node for node in untyped.nodes() if node["Alive"]]
    options = {"num_cpus": 0, "max_retries": 0}
    remote = untyped.remote
    ask, look = remote(**options)(facts), remote(**options)(clock)
    places = [On(node_id=node["NodeID"], soft=False) for node in alive]
    pending = [ask.options(scheduling_strategy=place).remote(shared) for place in places]
    ray.wait(pending, num_returns=len(pending), timeout=_NODES_SECONDS)
    nodes = []
    for node, place, answer in zip(alive, places, pending, strict=True):
        try:
            told = ray.get(answer, timeout=0)
        except Exception as error:  # Ray's, or what the node raised
            told = {"error": _first_line(error)}
        else:
            told["clock_seconds"] = _clock_difference(ray, look.options(scheduling_strategy=place))
        resources = node["Resources"]
        nodes.append(
            told
            | {
                "id": node["NodeID"],
                "ip": node["NodeManagerAddress"],
                "head": "node:__internal_head__" in resources,
                "cpus": resources.get("CPU", 0.0),
                "gpus": resources.get("GPU", 0.0),
            }
        )
    return {"nodes": nodes}


def _clock_difference(ray: Any, look: Any) -> float | None:
    """Seconds by which a node's clock is ahead, at least (what the answer took does not count);
    None if it did not answer. The worker is warm: a round takes milliseconds."""
    found: list[float] = []
    for _ in range(_CLOCK_ROUNDS):
        before = time.time()
        try:
            there = ray.get(look.remote(), timeout=_CLOCK_SECONDS)
        except Exception:
            return None
        found.append(max(0.0, there - time.time()) or min(0.0, there - before))
    return min(found, key=abs)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]


def main() -> None:
    asked = json.load(sys.stdin)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from loop.errors import Unavailable
    from train.ray_connection import require_node_here

    try:
        require_node_here(asked["address"])
        answer = gather(asked["address"], asked["shared"])
    except Unavailable as error:
        answer = {"elsewhere": error.message}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    sys.stdout.flush()
    os._exit(0)  # Ray's own end may wait for what does not answer


if __name__ == "__main__":
    main()

"""A Ray cluster that others started (`ray start`, `ray up`, KubeRay), which `up` only joins."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cluster.addresses import cluster_host, in_url, is_here
from loop.errors import Conflict, Misconfigured, Unavailable
from serve.dashboard import nodes_of, serve_details
from serve.loopback import is_loopback
from store.settings import Settings

_DASHBOARD_PORT = 8265
# What asking the cluster's GCS may take.
_ASK_SECONDS = 10
# Addresses of `ray.init` that mean no cluster of others.
_OWN = ("", "local")


@dataclass(frozen=True, slots=True)
class JoinedRay:
    """``here`` is whether the head is on this machine, as far as its address tells."""

    address: str
    dashboard_url: str
    api_url: str
    here: bool

    def environment(self) -> dict[str, str]:
        """For the app: where the service is that is not on this machine."""
        return {
            "RAY_ADDRESS": self.address,
            "SECONDLOOK_DASHBOARD_URL": self.dashboard_url,
            "SECONDLOOK_API_URL": self.api_url,
        }

    def settled(self, settings: Settings) -> Settings:
        """``settings`` with the addresses that were found."""
        found = {
            "ray_address": self.address,
            "api_at": self.api_url,
            "dashboard_at": self.dashboard_url,
        }
        return settings.model_copy(update=found)


def joins(settings: Settings) -> bool:
    """Whether `up` is to use a cluster that others started: ``RAY_ADDRESS`` names one."""
    return settings.ray_address not in _OWN


def join(settings: Settings) -> JoinedRay:
    """The cluster of ``RAY_ADDRESS``; starts and changes nothing.

    Raises `Misconfigured` where the settings cannot work with it, and `Unavailable`; `Conflict`
    where Serve listens elsewhere already.
    """
    # By now: which cluster ``auto`` means may change while this one runs.
    address = _gcs_address(settings.ray_address)
    settings = settings.model_copy(update={"ray_address": address})
    head = _head(address)
    here = is_here(head)
    dashboard = settings.dashboard_url if settings.dashboard_at else find_dashboard(settings)
    if not here:
        _require_shared(settings)
    api = settings.api_url
    if not settings.api_at and not here:
        if is_loopback(settings.host):
            raise Misconfigured(
                f"The API would listen on {settings.host} of the cluster's head, where nobody "
                "else reaches it.",
                hint="Set SECONDLOOK_HOST=0.0.0.0, with a firewall or TLS before it, or "
                "SECONDLOOK_API_URL to where a tunnel to it begins.",
            )
        api = f"http://{in_url(head)}:{settings.api_port}"
    _require_same_place(settings, dashboard)
    return JoinedRay(address, dashboard, api, here)


def find_dashboard(settings: Settings) -> str:
    """As the cluster says itself, or else the usual port of its head. Raises `Misconfigured` if
    it listens on the head's loopback address alone, and that is another machine."""
    address = settings.ray_address
    scheme = urlsplit(address).scheme
    if scheme in ("http", "https"):
        return address.rstrip("/")
    usual = f"http://{in_url(_head(address))}:{_DASHBOARD_PORT}"
    if scheme == "ray":  # Ray Client's port, which knows nothing of the dashboard
        return usual
    said = _ask(_gcs_address(address))
    if not said:
        return usual
    host = said.rpartition(":")[0].strip("[]")
    if is_loopback(host) and not is_here(_head(address)):
        raise Misconfigured(
            f"The cluster's dashboard listens on {host} of its head alone.",
            hint="Make a tunnel (ray dashboard CLUSTER.yaml, kubectl port-forward, ssh -L) and set "
            "SECONDLOOK_DASHBOARD_URL to where it begins; or start the head with --dashboard-host, "
            "and a token.",
        )
    return f"http://{said}"


def spread_warning(settings: Settings, dashboard_url: str) -> str | None:
    """What to say where HAProxy on the head could not reach replicas on other nodes."""
    addresses = {node.get("node_ip") for node in nodes_of(dashboard_url)}
    if len(addresses) < 2 or not is_loopback(settings.host):
        return None
    return (
        f"The cluster has {len(addresses)} machines, and replicas listen on {settings.host}: "
        "HAProxy on the head reaches those on the head alone. Set SECONDLOOK_HOST=0.0.0.0, or "
        "SECONDLOOK_HAPROXY=false where the head is started."
    )


def _head(address: str) -> str:
    """The host in ``RAY_ADDRESS``."""
    host = cluster_host(_gcs_address(address))
    if not host:
        raise Misconfigured(
            f"RAY_ADDRESS={address!r} names no cluster.",
            hint="It is HEAD:6379, as `ray start --head` prints it; unset, Second Look starts a "
            "Ray of its own.",
        )
    return host


def _gcs_address(address: str) -> str:
    if address != "auto":
        return address
    from ray._private.services import find_gcs_addresses
    from ray._private.utils import read_ray_address

    find: Any = find_gcs_addresses
    running = set(find())
    found: str | None = read_ray_address()  # the one that was started last
    if found not in running:
        found = next(iter(running), None)
    if not found:
        raise Unavailable(
            "RAY_ADDRESS=auto, and no Ray runs on this machine.",
            hint="Start one (ray start --head), name its head (HEAD:6379), or unset RAY_ADDRESS.",
        )
    return found


def _ask(gcs_address: str) -> str:
    """HOST:PORT of the dashboard, as the cluster's GCS knows it; empty if it does not know.
    Raises `Unavailable`."""
    require_listening(gcs_address)
    from ray._private.ray_constants import DASHBOARD_ADDRESS, KV_NAMESPACE_DASHBOARD
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    try:
        client = GcsClient(address=gcs_address)
        said = client.internal_kv_get(
            DASHBOARD_ADDRESS.encode(), KV_NAMESPACE_DASHBOARD, timeout=_ASK_SECONDS
        )
    except Exception as error:  # Ray's own kinds, by gRPC's codes; a token that is wrong, too
        raise Unavailable(
            f"The Ray cluster at {gcs_address} does not answer: {_line(error)}",
            hint="Check RAY_ADDRESS, and the token: RAY_AUTH_MODE=token with RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH where the cluster has one. secondlook doctor says more.",
        ) from error
    return said.decode() if said else ""


def require_listening(address: str, seconds: float = 3.0) -> None:
    """Raises `Unavailable` unless somebody takes connections at HOST:PORT: Ray itself would try
    again for half a minute."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), seconds).close()
    except (OSError, ValueError, OverflowError) as error:
        raise Unavailable(
            f"Nobody listens at {address} ({_line(error)}).",
            hint="Check RAY_ADDRESS: HEAD:6379, as `ray start --head` prints it. Unset, Second "
            "Look starts a Ray of its own.",
        ) from error


def _require_shared(settings: Settings) -> None:
    missing = [
        name
        for name, shared in (
            ("SECONDLOOK_DATABASE_URL", not settings.database.startswith("sqlite")),
            ("MLFLOW_TRACKING_URI", settings.tracking.startswith("http")),
        )
        if not shared
    ]
    if missing:
        raise Misconfigured(
            f"The cluster is on other machines, which cannot use files of this one: set "
            f"{' and '.join(missing)}.",
            hint="SECONDLOOK_DATABASE_URL=postgresql://…, MLFLOW_TRACKING_URI=http://HOST:5001; "
            "images go into SECONDLOOK_STORAGE_URL=s3://… (docs/cluster.md).",
        )


def _require_same_place(settings: Settings, dashboard_url: str) -> None:
    """Serve that runs keeps its host and port, whatever it is told later."""
    details = serve_details(dashboard_url)
    if not details["applications"]:
        return
    options = details.get("http_options") or {}
    wanted = {"host": settings.host, "port": settings.api_port}
    found = {name: options.get(name, value) for name, value in wanted.items()}
    if found != wanted:
        raise Conflict(
            f"Serve listens on {found['host']}:{found['port']} on this cluster, and the settings "
            f"say {wanted['host']}:{wanted['port']}.",
            hint="Set SECONDLOOK_HOST and SECONDLOOK_API_PORT to the former, or take the service "
            "out first: secondlook down --undeploy",
        )


def _line(error: BaseException) -> str:
    lines: Iterable[str] = str(error).strip().splitlines()
    return next(iter(lines), type(error).__name__)

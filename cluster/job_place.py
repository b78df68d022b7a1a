"""Which cluster of Ray runs the jobs, and whether it does so on this machine, in place."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.addresses import cluster_host, in_url, is_here
from cluster.running import find_alive
from loop.errors import Unavailable
from store.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """``url`` is the dashboard's. ``here``: jobs see this machine's disk, so nothing travels."""

    url: str
    here: bool


def find_place(settings: Settings) -> Place:
    """What ``SECONDLOOK_DASHBOARD_URL`` names, else what is up in this home, else the cluster of
    ``RAY_ADDRESS``. Raises `Unavailable` where there is none of these."""
    up = find_alive(settings)
    if settings.dashboard_at:
        own = up is not None and up.dashboard_url.rstrip("/") == settings.dashboard_url
        return Place(settings.dashboard_url, own and up is not None and _is_here(up.ray_address))
    if up is not None:
        return Place(up.dashboard_url, _is_here(up.ray_address))
    address = settings.ray_address
    if address.startswith(("http://", "https://")):
        return Place(address.rstrip("/"), here=False)
    host = cluster_host(address)
    if host:
        return Place(f"http://{in_url(host)}:{settings.dashboard_port}", here=False)
    raise Unavailable(
        "No Ray cluster is known that could run a job.",
        hint="Start one on this machine: secondlook up. For another one, set "
        "SECONDLOOK_DASHBOARD_URL to where its dashboard is: http://HEAD:8265.",
    )


def _is_here(ray_address: str) -> bool:
    """Whether the head of the cluster is on this machine; what begins with a scheme may be a tunnel
    to another one."""
    return "://" not in ray_address and is_here(cluster_host(ray_address))

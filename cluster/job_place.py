"""Which cluster of Ray runs the jobs, and whether it does so on this machine, in place."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from cluster.addresses import is_here
from cluster.running import find_running
from loop.errors import Unavailable
from store.settings import Settings

# Values of RAY_ADDRESS that name no machine.
_NO_ADDRESS = ("auto", "local")


@dataclass(frozen=True, slots=True)
class Place:
    """``url`` is the dashboard's. ``here``: jobs see this machine's disk, so nothing travels."""

    url: str
    here: bool


def find_place(settings: Settings) -> Place:
    """What ``SECONDLOOK_DASHBOARD_URL`` names, else what is up in this home, else the cluster of
    ``RAY_ADDRESS``. Raises `Unavailable` where there is none of these."""
    running = find_running(settings)
    up = running if running is not None and running.alive() else None
    if settings.dashboard_at:
        own = up is not None and up.dashboard_url.rstrip("/") == settings.dashboard_url
        return Place(settings.dashboard_url, own and up is not None and _is_here(up.ray_address))
    if up is not None:
        return Place(up.dashboard_url, _is_here(up.ray_address))
    address = settings.ray_address
    if address.startswith(("http://", "https://")):
        return Place(address.rstrip("/"), here=False)
    host = urlsplit(f"//{address.removeprefix('ray://')}").hostname
    if host and address not in _NO_ADDRESS:
        return Place(f"http://{host}:{settings.dashboard_port}", here=False)
    raise Unavailable(
        "No Ray cluster is known that could run a job.",
        hint="Start one on this machine: secondlook up. For another one, set "
        "SECONDLOOK_DASHBOARD_URL to where its dashboard is: http://HEAD:8265.",
    )


def _is_here(ray_address: str) -> bool:
    """Whether the head of the cluster is on this machine."""
    return is_here(urlsplit(f"//{ray_address}").hostname or "")

"""Whether a request comes from a program on this machine, and from nobody behind it."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

# A proxy on this machine that passes on what comes from elsewhere leaves one of these, as a rule.
_FORWARDING = {
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
}


def from_this_machine(connection: HTTPConnection) -> bool:
    """The peer's address is loopback, no proxy says that it passes something on, and no page of
    another site sent it through a browser on this machine.

    A page elsewhere can make its own name mean 127.0.0.1 (DNS rebinding), so the name that was
    asked for must be this machine's; and it can post to 127.0.0.1, but then `Origin` names it.
    """
    client, headers = connection.client, connection.headers
    if client is None or not is_loopback(client.host):
        return False
    if any(name in _FORWARDING or name.startswith("x-forwarded") for name in headers):
        return False
    host = headers.get("host", "")
    if not is_loopback(urlsplit(f"//{host}").hostname or ""):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == host


def is_loopback(host: str) -> bool:
    """Of an address or name without a port."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback

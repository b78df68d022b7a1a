"""Addresses: as they may be shown, whether they are this machine's, and as they are asked by who
does not wait for long."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit

import psutil

from serve.loopback import is_loopback


def is_loopback_url(url: str) -> bool:
    """Whether only programs of the same machine (or of a tunnel's other end) are reached by it."""
    return is_loopback(urlsplit(url).hostname or "")


def cluster_host(ray_address: str) -> str:
    """The host in ``RAY_ADDRESS``; empty where it names none, as ``auto``."""
    if ray_address in ("auto", "local"):
        return ""
    try:
        return urlsplit(ray_address if "://" in ray_address else f"//{ray_address}").hostname or ""
    except ValueError:
        return ""


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def is_here(host: str) -> bool:
    """Whether ``host`` is an address of this machine, or a name of one."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    own = {each.address for addresses in psutil.net_if_addrs().values() for each in addresses}
    return any(is_loopback(address) or address in own for address in found)


def without_password(url: str) -> str:
    """``url`` without who signs in there, and without its query, which may hold keys as well."""
    if "://" not in url:
        return "no URL"  # whatever it is, it may hold a password
    # SQLAlchemy takes passwords with / ? and # in them: after a colon, all up to the last @ is one.
    return re.sub(r"^([\w+.-]+://)([^/?#:]*:.*|[^/?#]*)@", r"\1", url).partition("?")[0]


def impatient(database_url: str, seconds: int) -> str:
    """With so long for connecting to PostgreSQL; by default it is as long as the kernel tries."""
    if not database_url.startswith("postgres") or "connect_timeout=" in database_url:
        return database_url
    return f"{database_url}{'&' if '?' in database_url else '?'}connect_timeout={seconds}"

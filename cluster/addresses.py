"""Addresses: as they may be shown, and as they are asked by who does not wait for long."""

from __future__ import annotations

import re


def without_password(url: str) -> str:
    """``url`` without who signs in there, and without its query, which may hold keys as well."""
    if "://" not in url:
        return "no URL"  # whatever it is, it may hold a password
    return re.sub(r"^([\w+.-]+://)[^/?#]*@", r"\1", url).partition("?")[0]


def impatient(database_url: str, seconds: int) -> str:
    """With so long for connecting to PostgreSQL; by default it is as long as the kernel tries."""
    if not database_url.startswith("postgres") or "connect_timeout=" in database_url:
        return database_url
    return f"{database_url}{'&' if '?' in database_url else '?'}connect_timeout={seconds}"

"""Addresses as they may be shown."""

from __future__ import annotations

import re


def without_password(url: str) -> str:
    """``url`` without who signs in there, and without its query, which may hold keys as well."""
    if "://" not in url:
        return "no URL"  # whatever it is, it may hold a password
    return re.sub(r"^([\w+.-]+://)[^/?#]*@", r"\1", url).partition("?")[0]

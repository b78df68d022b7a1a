"""A lease: one person, in one tab, holds a case for some minutes; the server's clock decides.

Every time somebody else, or another tab, gets the case, its ``token`` counts up (a fencing
token): whoever comes with an older one has lost the case in the meantime, and changes nothing.
A lease that ran out is still its holder's while nobody has taken it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hold:
    """A lease as it is stored. ``holder`` is a pseudonym, ``expires_at`` RFC 3339."""

    case_id: str
    holder: str
    tab: str
    token: int
    expires_at: str


@dataclass(frozen=True, slots=True)
class Lease:
    """What its holder is told. ``expires_in`` is in seconds, from now."""

    case_id: str
    holder: str
    tab: str
    token: int
    expires_at: str
    expires_in: float

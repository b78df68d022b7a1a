"""Somebody who is signed in, for the routes: the test says who by a header."""

from __future__ import annotations

from starlette.requests import Request

from loop.access import Person
from loop.errors import NotSignedIn
from loop.events import Role


def person(role: Role, name: str = "ada") -> Person:
    return Person(f"account-{name}", name, name.title(), f"person-{name}", frozenset({role}))


def person_of(request: Request) -> Person:
    """``x-person: name/role``; nobody without it."""
    name, _, role = request.headers.get("x-person", "").partition("/")
    if not role:
        raise NotSignedIn("Nobody is signed in.", hint="Sign in.")
    return person(Role(role), name)


def signed_in(role: Role, name: str = "ada") -> dict[str, str]:
    return {"x-person": f"{name}/{role.value}"}

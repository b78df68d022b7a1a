"""Who may do what: permissions, and the roles that carry them.

Use cases call `require` with whoever acts, and so does every handler before it shows anything.
Hiding a button is a courtesy, never the check.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from loop.errors import NotAllowed
from loop.events import Actor, Authentication, Role


class Permission(StrEnum):
    REVIEW = "review"  # take cases and give first answers
    ADJUDICATE = "adjudicate"  # settle cases as the second reviewer
    SUBMIT_IMAGES = "submit_images"  # send images to be detected and queued
    IMPORT = "import"  # bring in data sets, as truth or to be reviewed
    SEE_PROGRESS = "see_progress"
    TRAIN = "train"
    STOP = "stop"  # take the model out of service, and put it back
    DECIDE = "decide"  # approve, refuse, promote and roll back models
    SEE_MODELS = "see_models"
    AUDIT = "audit"  # read, verify and take away the audit log
    MANAGE_PEOPLE = "manage_people"
    ERASE = "erase"  # delete what is past its retention, and what somebody has a right to


# A part of Second Look that acts by itself (the API, the demo, the command line's imports) is
# not a person: it may bring things in, and never answers or decides.
_GRANTS: dict[Role, frozenset[Permission]] = {
    Role.REVIEWER: frozenset(
        {Permission.REVIEW, Permission.SUBMIT_IMAGES, Permission.SEE_PROGRESS}
    ),
    Role.ADJUDICATOR: frozenset(
        {
            Permission.REVIEW,
            Permission.ADJUDICATE,
            Permission.SUBMIT_IMAGES,
            Permission.SEE_PROGRESS,
        }
    ),
    Role.ENGINEER: frozenset(
        {
            Permission.SUBMIT_IMAGES,
            Permission.IMPORT,
            Permission.SEE_PROGRESS,
            Permission.TRAIN,
            Permission.STOP,
            Permission.DECIDE,
            Permission.SEE_MODELS,
        }
    ),
    Role.AUDITOR: frozenset({Permission.SEE_PROGRESS, Permission.SEE_MODELS, Permission.AUDIT}),
    Role.ADMIN: frozenset(
        {
            Permission.SEE_PROGRESS,
            Permission.STOP,
            Permission.AUDIT,
            Permission.MANAGE_PEOPLE,
            Permission.ERASE,
        }
    ),
    Role.SYSTEM: frozenset({Permission.SUBMIT_IMAGES, Permission.IMPORT}),
}


def roles_with(permission: Permission) -> list[Role]:
    """In the order of `Role`."""
    return [role for role in Role if permission in _GRANTS[role]]


def require(actor: Actor, permission: Permission) -> None:
    """Raise `NotAllowed` unless the role that ``actor`` acts in carries ``permission``."""
    if permission not in _GRANTS[actor.role]:
        raise _refusal(permission)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in, by the method ``authenticated_by``. Only ``pseudonym`` goes into
    data, runs and events; ``name`` and ``login`` are for pages that this person, or an admin, looks
    at."""

    account_id: str
    login: str
    name: str
    pseudonym: str
    roles: frozenset[Role]
    authenticated_by: Authentication = Authentication.UNKNOWN

    @property
    def permissions(self) -> frozenset[Permission]:
        return _all_of(self.roles)

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def acting(self, permission: Permission) -> Actor:
        """This person in the first of its roles that carries ``permission``.

        Raises `NotAllowed` if none does.
        """
        for role in roles_with(permission):
            if role in self.roles:
                return Actor(self.pseudonym, role, self.authenticated_by)
        raise _refusal(permission)


def _all_of(roles: Iterable[Role]) -> frozenset[Permission]:
    return frozenset().union(*(_GRANTS[role] for role in roles))


def _refusal(permission: Permission) -> NotAllowed:
    roles = ", ".join(role.value for role in roles_with(permission) if role is not Role.SYSTEM)
    return NotAllowed(
        f"This needs the permission {permission.value.replace('_', ' ')!r}, which you do not have.",
        hint=f"An admin can give you one of these roles: {roles}.",
    )

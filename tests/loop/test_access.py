from __future__ import annotations

import pytest

from loop.access import Permission, Person, require, roles_with
from loop.errors import NotAllowed
from loop.events import Actor, Role


def person(*roles: Role) -> Person:
    return Person("a1", "ana", "Ana", "person-1", frozenset(roles))


@pytest.mark.parametrize(
    ("role", "permission"),
    [
        (Role.REVIEWER, Permission.ADJUDICATE),
        (Role.REVIEWER, Permission.TRAIN),
        (Role.REVIEWER, Permission.STOP),
        (Role.ADJUDICATOR, Permission.STOP),
        (Role.AUDITOR, Permission.STOP),
        (Role.SYSTEM, Permission.STOP),
        (Role.REVIEWER, Permission.DECIDE),
        (Role.REVIEWER, Permission.MANAGE_PEOPLE),
        (Role.ADJUDICATOR, Permission.DECIDE),
        (Role.ENGINEER, Permission.REVIEW),
        (Role.ENGINEER, Permission.ADJUDICATE),
        (Role.ENGINEER, Permission.MANAGE_PEOPLE),
        (Role.AUDITOR, Permission.REVIEW),
        (Role.AUDITOR, Permission.DECIDE),
        (Role.ADMIN, Permission.REVIEW),
        (Role.ADMIN, Permission.DECIDE),
        (Role.SYSTEM, Permission.REVIEW),
        (Role.SYSTEM, Permission.ADJUDICATE),
        (Role.SYSTEM, Permission.DECIDE),
    ],
)
def test_a_role_may_not_do_what_is_for_others(role: Role, permission: Permission) -> None:
    with pytest.raises(NotAllowed) as refusal:
        require(Actor("x", role), permission)
    assert roles_with(permission)[0].value in refusal.value.hint
    assert not person(role).may(permission)


def test_every_permission_is_for_somebody() -> None:
    for permission in Permission:
        for role in roles_with(permission):
            require(Actor("x", role), permission)


def test_a_person_acts_in_the_role_that_permits_it_and_by_pseudonym() -> None:
    both = person(Role.REVIEWER, Role.ENGINEER)
    assert both.acting(Permission.REVIEW) == Actor("person-1", Role.REVIEWER)
    assert both.acting(Permission.TRAIN) == Actor("person-1", Role.ENGINEER)
    with pytest.raises(NotAllowed):
        both.acting(Permission.ADJUDICATE)


def test_nobody_without_a_role_may_do_anything() -> None:
    assert person().permissions == frozenset()

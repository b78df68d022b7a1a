from __future__ import annotations

import re

import pytest

from loop.accounts import (
    ASSIGNABLE_ROLES,
    LONGEST_PASSWORD,
    SHORTEST_PASSWORD,
    Account,
    checked_name,
    checked_password,
    login_key,
    role_names,
)
from loop.errors import InvalidInput
from loop.events import Authentication, Role


def account(login: str = "ana", name: str = "Ana", *roles: Role) -> Account:
    return Account.new(login, name, roles or (Role.REVIEWER,))


def test_a_pseudonym_is_random_and_says_nothing_of_the_person() -> None:
    pseudonyms = {account().pseudonym for _ in range(50)}
    assert len(pseudonyms) == 50
    assert all(re.fullmatch("person-[0-9a-f]{16}", each) for each in pseudonyms)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ana", "ana"),
        (" ana ", "ana"),
        ("\uff21\uff2e\uff21", "ana"),
        ("STRASSE", "straße"),
        ("\ufb01n", "FIN"),
    ],
)
def test_logins_that_people_take_for_the_same_are_the_same(one: str, other: str) -> None:
    assert login_key(one) == login_key(other)


@pytest.mark.parametrize("login", ["", "  ", "a na", "a\nna", "a\u200bna", "a" * 65])
def test_a_login_that_nobody_could_type_again_is_refused(login: str) -> None:
    with pytest.raises(InvalidInput):
        account(login)


def test_a_name_is_one_line() -> None:
    assert checked_name("  Ana \n María ") == "Ana María"
    for name in ("", " ", "a" * 101, "Ana\x00"):
        with pytest.raises(InvalidInput):
            checked_name(name)


def test_people_have_roles_and_never_the_machines() -> None:
    assert Role.SYSTEM not in ASSIGNABLE_ROLES
    for roles in ((), (Role.SYSTEM,), (Role.ADMIN, Role.SYSTEM)):
        with pytest.raises(InvalidInput):
            Account.new("ana", "Ana", roles)
        with pytest.raises(InvalidInput):
            account().changed(roles=roles)


def test_roles_are_named_in_one_order() -> None:
    assert role_names({Role.ADMIN, Role.REVIEWER}) == ["reviewer", "admin"]


def test_a_password_is_long_and_not_the_login() -> None:
    long_enough = "x" * SHORTEST_PASSWORD
    assert checked_password(long_enough, "ana") == long_enough
    for password in ("x" * (SHORTEST_PASSWORD - 1), "x" * (LONGEST_PASSWORD + 1)):
        with pytest.raises(InvalidInput):
            checked_password(password, "ana")
    with pytest.raises(InvalidInput, match="login"):
        checked_password("Ana-Maria-Example", "ana-maria-example")


def test_a_password_is_the_same_however_the_keyboard_composes_it() -> None:
    composed, decomposed = "gr\u00fc\u00dfe aus k\u00f6ln", "gru\u0308\u00dfe aus ko\u0308ln"
    assert checked_password(composed, "ana") == checked_password(decomposed, "ana")


def test_an_account_acts_in_its_first_role_by_pseudonym() -> None:
    one = account("ana", "Ana", Role.ADMIN, Role.REVIEWER)
    assert one.actor(Authentication.LINK).pseudonym == one.pseudonym
    assert one.actor(Authentication.LINK).role is Role.REVIEWER
    assert one.person(Authentication.OIDC).pseudonym == one.pseudonym


def test_a_disabled_admin_administers_nothing() -> None:
    admin = account("ana", "Ana", Role.ADMIN)
    assert admin.administers
    assert not admin.changed(disabled=True).administers

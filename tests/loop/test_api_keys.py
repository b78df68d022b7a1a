from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop import api_keys
from loop.accounts import Account
from loop.api_keys import ApiKey, Scope, is_key, key_id, key_sha256, new_key, scopes_of
from loop.errors import Conflict, InvalidInput, InvalidKey, LoopError, NotAllowed, NotFound
from loop.events import Actor, Role
from loop.keyring import Keyring, read_keyring, require_scope
from loop.managing_keys import ManageApiKeys
from tests.people import ADMIN, House

NOW = "2026-01-01T00:00:00.000000Z"
TEXT = new_key()
EVE = Account.new("eve", "Eve", {Role.REVIEWER})


def kept(text: str = TEXT, owner: str | None = None, **changes: object) -> ApiKey:
    key = ApiKey(
        key_id(text) or "",
        key_sha256(text),
        "scanner",
        owner,
        Role.REVIEWER if owner else Role.SYSTEM,
        frozenset({Scope.DETECT}),
        60,
        "admin",
        NOW,
    )
    return replace(key, **changes)  # type: ignore[arg-type]


def managed() -> tuple[House, ManageApiKeys]:
    house = House()
    return house, ManageApiKeys(house.units, house.clock)


def test_a_key_is_accepted_as_itself() -> None:
    assert Keyring([(kept(), None)]).check(TEXT, NOW) == kept()


def test_no_two_keys_are_the_same() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert len({key_id(new_key()) for _ in range(100)}) == 100


@given(st.integers(0, len(TEXT) - 1), st.characters())
def test_a_key_with_any_other_character_in_it_is_refused(place: int, other: str) -> None:
    changed = TEXT[:place] + other + TEXT[place + 1 :]
    ring = Keyring([(kept(), None)])
    if changed == TEXT:
        assert ring.check(changed, NOW)
    else:
        with pytest.raises(InvalidKey):
            ring.check(changed, NOW)


@given(st.text())
def test_what_is_no_key_is_refused_and_breaks_nothing(text: str) -> None:
    ring = Keyring([(kept(), None)])
    for sent in (text, f"sl_{text}", f"{TEXT}{text or ' '}", f"{text or ' '}{TEXT}"):
        with pytest.raises(InvalidKey):
            ring.check(sent, NOW)


def test_the_secret_of_one_key_is_no_good_with_the_id_of_another() -> None:
    other = new_key()
    ring = Keyring([(kept(), None), (kept(other), None)])
    with pytest.raises(InvalidKey):
        ring.check("_".join([*TEXT.split("_")[:2], other.split("_")[2]]), NOW)


def test_the_secret_is_not_in_what_is_kept() -> None:
    assert TEXT.split("_")[2] not in repr(kept())


def test_an_unknown_id_is_compared_as_a_known_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def compare_digest(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(api_keys.hmac, "compare_digest", compare_digest)
    ring, stranger = Keyring([(kept(), None)]), new_key()
    for text in (TEXT[:-1] + ("a" if TEXT[-1] != "a" else "b"), stranger, "nothing"):
        with pytest.raises(InvalidKey) as refusal:
            ring.check(text, NOW)
        assert refusal.value.message == "This API key is not accepted."
    assert [len(one) == len(other) == 64 for one, other in compared] == [True] * 3


def test_nothing_is_the_key_where_there_is_none() -> None:
    assert is_key(TEXT, kept())
    assert not is_key(TEXT, None)
    assert not is_key("-" * 64, None)


def test_a_key_ends_when_it_says() -> None:
    ring = Keyring([(kept(expires_at="2026-01-02T00:00:00.000000Z"), None)])
    assert ring.check(TEXT, "2026-01-01T23:59:59.999999Z")
    with pytest.raises(InvalidKey, match="expired"):
        ring.check(TEXT, "2026-01-02T00:00:00.000000Z")


def test_a_revoked_key_looks_as_if_it_had_never_been() -> None:
    with pytest.raises(InvalidKey) as refusal:
        Keyring([(kept(revoked_at=NOW), None)]).check(TEXT, NOW)
    with pytest.raises(InvalidKey) as other:
        Keyring([]).check(TEXT, NOW)
    assert refusal.value.as_dict() == other.value.as_dict()


@pytest.mark.parametrize(
    "owner",
    [EVE.changed(disabled=True), EVE.changed(roles={Role.AUDITOR}), None],
    ids=["disabled", "without the role", "gone"],
)
def test_a_key_is_no_better_than_its_owner(owner: Account | None) -> None:
    key = kept(owner=EVE.id)
    assert Keyring([(key, EVE)]).check(TEXT, NOW)
    with pytest.raises(InvalidKey, match="suspended"):
        Keyring([(key, owner)]).check(TEXT, NOW)


@pytest.mark.parametrize("scope", list(Scope))
def test_a_key_is_good_for_its_scopes_only(scope: Scope) -> None:
    require_scope(kept(scopes=frozenset({scope})), scope)
    with pytest.raises(NotAllowed) as refusal:
        require_scope(kept(scopes=frozenset(Scope) - {scope}), scope)
    assert refusal.value.detail_code == "missing_scope"


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
def test_only_admins_have_to_do_with_keys(role: Role) -> None:
    house, manage = managed()
    key, _ = manage.create("scanner", [Scope.DETECT], actor=ADMIN)
    before, actor = house.database.tables, Actor("x", role)
    for attempt in (
        lambda: manage.list(actor=actor),
        lambda: manage.create("mine", [Scope.DETECT], actor=actor),
        lambda: manage.revoke(key.id, actor=actor),
    ):
        with pytest.raises(NotAllowed):
            attempt()
    assert house.database.tables == before


def test_a_key_that_was_made_comes_in_until_it_is_revoked() -> None:
    house, manage = managed()
    key, text = manage.create("scanner", [Scope.DETECT, Scope.QUEUE], actor=ADMIN)
    assert read_keyring(house.units).check(text, NOW).actor == Actor(f"key-{key.id}", Role.SYSTEM)
    manage.revoke(key.id, actor=ADMIN)
    with pytest.raises(InvalidKey):
        read_keyring(house.units).check(text, NOW)
    assert manage.revoke(key.id, actor=ADMIN).revoked_at == NOW
    assert len(house.events("api_key.revoked")) == 1
    assert [key.state(owner, NOW) for key, owner in manage.list(actor=ADMIN)] == ["revoked"]


def test_a_persons_key_acts_in_a_role_of_theirs() -> None:
    house, manage = managed()
    house.add("ana", Role.AUDITOR, Role.ADJUDICATOR)
    key, text = manage.create("notebook", [Scope.DETECT], owner="ANA", actor=ADMIN)
    assert key.role is Role.ADJUDICATOR  # an auditor may not send images
    watching, _ = manage.create("watch", [Scope.METRICS], owner="ana", actor=ADMIN)
    assert watching.role is Role.ADJUDICATOR
    with pytest.raises(InvalidInput, match="does not have the role"):
        manage.create("other", [Scope.DETECT], owner="ana", role=Role.ENGINEER, actor=ADMIN)
    house.manage.disable("ana", actor=ADMIN)
    with pytest.raises(InvalidKey):
        read_keyring(house.units).check(text, NOW)
    with pytest.raises(Conflict):
        manage.create("late", [Scope.DETECT], owner="ana", actor=ADMIN)
    house.manage.enable("ana", actor=ADMIN)
    assert read_keyring(house.units).check(text, NOW)


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.ADMIN])
def test_a_role_that_may_not_send_images_gets_no_key_for_it(role: Role) -> None:
    house, manage = managed()
    house.add("ana", role)
    for owner in ("ana", None):
        with pytest.raises(InvalidInput, match=role.value):
            manage.create("scanner", [Scope.QUEUE], owner=owner, role=role, actor=ADMIN)
    assert scopes_of(role) == {Scope.MODEL, Scope.METRICS}
    assert not house.database.tables.api_keys


@pytest.mark.parametrize(
    ("label", "scopes", "more", "kind"),
    [
        ("", [Scope.DETECT], {}, InvalidInput),
        ("x" * 101, [Scope.DETECT], {}, InvalidInput),
        ("a\x07b", [Scope.DETECT], {}, InvalidInput),
        ("scanner", [], {}, InvalidInput),
        ("scanner", [Scope.DETECT], {"per_minute": 0}, InvalidInput),
        ("scanner", [Scope.DETECT], {"lifetime": timedelta()}, InvalidInput),
        ("scanner", [Scope.DETECT], {"owner": "nobody"}, NotFound),
    ],
)
def test_keys_that_cannot_be_are_not_made(
    label: str, scopes: list[Scope], more: dict[str, object], kind: type[LoopError]
) -> None:
    house, manage = managed()
    with pytest.raises(kind):
        manage.create(label, scopes, actor=ADMIN, **more)  # type: ignore[arg-type]
    assert not house.database.events


def test_a_key_that_nobody_has_cannot_be_revoked() -> None:
    with pytest.raises(NotFound):
        managed()[1].revoke("0" * 16, actor=ADMIN)


def test_what_admins_do_is_on_record_without_secrets_and_names() -> None:
    house, manage = managed()
    person = house.add("anna")
    lifetime = timedelta(days=90)
    key, text = manage.create(
        "Anna's notebook", [Scope.DETECT], owner="anna", lifetime=lifetime, actor=ADMIN
    )
    manage.revoke(key.id, actor=ADMIN)
    (created,), (revoked,) = house.events("api_key.created"), house.events("api_key.revoked")
    assert created.subject == {"key": key.pseudonym, "person": person.pseudonym}
    assert created.details["scopes"] == ["detect"]
    assert created.details["expires_at"] == "2026-04-01T00:00:00.000000Z"
    assert revoked.subject == created.subject
    for event in (created, revoked):
        said = event.canonical().decode()
        assert text.split("_")[2] not in said
        assert key.sha256 not in said
        assert "nna" not in said

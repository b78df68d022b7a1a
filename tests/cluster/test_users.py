from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cluster import cli
from cluster.up import first_admin_link
from loop.accounts import Account
from loop.errors import Conflict, InvalidInput, LoopError, NotFound
from loop.events import Actor, Role
from loop.sessions import token_sha256
from store.audit_log import open_audit_log
from store.passwords import Argon2Passwords
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work
from ui.sessions import open_people

PASSWORD = "a long sentence of mine"


def run(settings: Settings, *arguments: str, stdin: str = "") -> Result:
    command = ["--home", str(settings.home), "users", *arguments]
    return CliRunner().invoke(cli.app, command, input=stdin)


def told(settings: Settings, *arguments: str, stdin: str = "") -> Any:
    """What the command prints for machines."""
    done = run(settings, *arguments, "--json", stdin=stdin)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def refused(settings: Settings, *arguments: str, stdin: str = "") -> LoopError:
    done = run(settings, *arguments, stdin=stdin)
    assert isinstance(done.exception, LoopError), done.output
    return done.exception


def account(settings: Settings, login: str = "ana") -> Account:
    with open_units_of_work(settings)() as uow:
        found = uow.accounts.find(login)
    assert found is not None
    return found


def test_adding_somebody_prints_a_link_that_lets_them_in_once(settings: Settings) -> None:
    shown = told(settings, "add", "ana", "--name", "Ana María", "--role", "reviewer")
    link, _, token = shown["link"].partition("?token=")
    assert link == "http://127.0.0.1:7860/welcome"
    people = open_people(settings, open_units_of_work(settings))
    person = people.person(people.welcome(token, "", "", PASSWORD))
    assert person is not None
    assert (person.login, person.name, person.roles) == ("ana", "Ana María", {Role.REVIEWER})
    with pytest.raises(LoopError):
        people.welcome(token, "", "", PASSWORD)


def test_the_link_is_for_people_too(settings: Settings) -> None:
    done = run(settings, "add", "ana", "--role", "reviewer")
    assert "24 hours" in done.stdout
    assert "http://127.0.0.1:7860/welcome?token=" in done.stdout


def test_the_link_leads_to_where_people_reach_the_app(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDLOOK_PUBLIC_URL", "https://look.test/")
    shown = told(settings, "add", "ana", "--role", "reviewer")
    assert shown["link"].startswith("https://look.test/welcome?token=")


def test_a_password_may_come_from_stdin(settings: Settings) -> None:
    arguments = ["add", "ana", "--role", "reviewer", "--role", "admin", "--password-stdin"]
    told(settings, *arguments, stdin=f"{PASSWORD}\n")
    assert account(settings).roles == {Role.REVIEWER, Role.ADMIN}
    assert Argon2Passwords().verify(account(settings).password_hash, PASSWORD)
    assert isinstance(refused(settings, *arguments, stdin=""), InvalidInput)
    assert isinstance(refused(settings, *arguments, stdin=f"{PASSWORD}\n"), Conflict)


def test_everybody_is_listed(settings: Settings) -> None:
    told(settings, "add", "eva", "--role", "auditor")
    told(settings, "add", "ana", "--role", "reviewer", "--password-stdin", stdin=PASSWORD)
    told(settings, "disable", "ana")
    assert [(each["login"], each["roles"], each["state"]) for each in told(settings, "list")] == [
        ("ana", ["reviewer"], "disabled"),
        ("eva", ["auditor"], "invited"),
    ]
    table = run(settings, "list").stdout
    assert account(settings).pseudonym in table
    assert "never" in table


def test_roles_are_replaced_and_accounts_turned_off_and_on(settings: Settings) -> None:
    told(settings, "add", "ana", "--role", "reviewer")
    told(settings, "roles", "ana", "--role", "engineer", "--role", "auditor")
    assert account(settings).roles == {Role.ENGINEER, Role.AUDITOR}
    assert told(settings, "disable", "ANA")["state"] == "disabled"
    assert told(settings, "enable", "ana")["state"] == "invited"


@pytest.mark.parametrize("command", ["add", "roles"])
def test_only_peoples_roles_are_given(settings: Settings, command: str) -> None:
    told(settings, "add", "ana", "--role", "reviewer")
    login = "ben" if command == "add" else "ana"
    assert run(settings, command, login).exit_code == 2
    assert run(settings, command, login, "--role", "pilot").exit_code == 2
    assert isinstance(refused(settings, command, login, "--role", "system"), InvalidInput)
    assert [each["roles"] for each in told(settings, "list")] == [["reviewer"]]


def test_the_last_admin_stays_one(settings: Settings) -> None:
    told(settings, "add", "ana", "--role", "admin")
    assert isinstance(refused(settings, "disable", "ana"), Conflict)
    assert isinstance(refused(settings, "roles", "ana", "--role", "reviewer"), Conflict)


def test_a_new_link_ends_sessions_and_password(settings: Settings) -> None:
    told(settings, "add", "ana", "--role", "reviewer", "--password-stdin", stdin=PASSWORD)
    people = open_people(settings, open_units_of_work(settings))
    session = people.sign_in("ana", PASSWORD)
    assert people.person(session) is not None
    assert told(settings, "token", "ana")["link"]
    assert people.person(session) is None
    assert account(settings).password_hash is None


@pytest.mark.parametrize("command", ["disable", "enable", "token"])
def test_a_login_that_nobody_has_is_said(settings: Settings, command: str) -> None:
    assert isinstance(refused(settings, command, "nobody"), NotFound)


def test_what_the_command_line_did_is_on_record_without_names(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDLOOK_ACTOR", "operator-7")
    told(settings, "add", "anna.example", "--name", "Anna", "--role", "reviewer")
    events = [entry.event for entry in open_audit_log(settings).tail(10)]
    assert [event.type for event in events] == ["account.created", "invitation.created"]
    assert {event.actor for event in events} == {Actor("operator-7", Role.ADMIN)}
    assert "nna" not in "".join(event.canonical().decode() for event in events)


def test_a_fresh_home_prints_a_link_for_the_first_admin_at_each_start(settings: Settings) -> None:
    before, link = first_admin_link(settings), first_admin_link(settings)
    assert before is not None
    assert link is not None
    people = open_people(settings, open_units_of_work(settings))
    with pytest.raises(LoopError):
        people.invited(before.partition("token=")[2])
    people.welcome(link.partition("token=")[2], "ana", "Ana", PASSWORD)
    assert Role.ADMIN in account(settings).roles
    assert first_admin_link(settings) is None


def test_no_token_is_kept_that_could_be_used(settings: Settings) -> None:
    link = first_admin_link(settings)
    assert link is not None
    token = link.partition("token=")[2]
    kept = (settings.home / "secondlook.db").read_bytes()
    assert token.encode() not in kept
    assert token_sha256(token).encode() in kept


def test_where_only_a_provider_signs_people_in_there_is_no_first_link(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDLOOK_PASSWORD_SIGN_IN", "false")
    assert first_admin_link(load_settings(settings.home)) is None

"""``secondlook users``: who may sign in, and with which roles."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cluster.commands import tokens
from cluster.console import out, print_json, print_table, when
from cluster.context import JsonOption, settings_of, settings_to_read
from loop.accounts import ASSIGNABLE_ROLES, Account, role_names
from loop.errors import InvalidInput
from loop.events import Actor, Role
from loop.invitations import Invitations
from loop.people import ManagePeople
from store.passwords import Argon2Passwords
from store.settings import Settings
from store.unit_of_work import open_units_of_work

group = typer.Typer(help="Who may sign in, and with which roles.", no_args_is_help=True)
group.add_typer(tokens.group, name="token")

LoginArgument = Annotated[str, typer.Argument(help="What the person types to sign in.")]
RolesOption = Annotated[
    list[Role],
    typer.Option(
        "--role",
        metavar="ROLE",
        help=f"One of {', '.join(role_names(ASSIGNABLE_ROLES))}; repeat it for several.",
    ),
]


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="users")


@group.command()
def add(
    context: typer.Context,
    login: LoginArgument,
    role: RolesOption,
    name: Annotated[str, typer.Option(help="As colleagues see it. Default: the login.")] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from a line of stdin.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make an account, and print the one-time link with which the person sets a password."""
    settings = settings_of(context)
    name = name or login
    if not password_stdin:
        link = _manage(settings).invite(login, name, role, actor=_admin(settings))
        _show_link(settings, login, link, json)
        return
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise InvalidInput("There is no password on stdin.", hint="Leave out --password-stdin.")
    account = _manage(settings).add(login, name, role, password, actor=_admin(settings))
    _show(account, f"{account.login} may sign in at {settings.app_url}.", json)


@group.command("list")
def list_(context: typer.Context, json: JsonOption = False) -> None:
    """Everybody who has an account, with the pseudonym that stands for them in the data."""
    settings = settings_to_read(context)
    accounts = _manage(settings).list(actor=_admin(settings))
    if json:
        print_json([_as_dict(account) for account in accounts])
        return
    print_table(
        "Users",
        ["login", "name", "pseudonym", "roles", "state", "last sign-in (UTC)"],
        [
            (
                account.login,
                account.name,
                account.pseudonym,
                ", ".join(role_names(account.roles)),
                account.state,
                when(account.signed_in_at) if account.signed_in_at else "never",
            )
            for account in accounts
        ],
    )


@group.command()
def disable(context: typer.Context, login: LoginArgument, json: JsonOption = False) -> None:
    """Keep somebody out from now on. What they did stays, under their pseudonym."""
    settings = settings_of(context)
    account = _manage(settings).disable(login, actor=_admin(settings))
    _show(account, f"{account.login} can no longer sign in.", json)


@group.command()
def enable(context: typer.Context, login: LoginArgument, json: JsonOption = False) -> None:
    """Let somebody in again who was disabled."""
    settings = settings_of(context)
    account = _manage(settings).enable(login, actor=_admin(settings))
    _show(account, f"{account.login} may sign in again.", json)


@group.command()
def roles(
    context: typer.Context, login: LoginArgument, role: RolesOption, json: JsonOption = False
) -> None:
    """Give somebody these roles in place of those before. It counts at once."""
    settings = settings_of(context)
    account = _manage(settings).change_roles(login, role, actor=_admin(settings))
    _show(account, f"{account.login} is now: {', '.join(role_names(account.roles))}.", json)


@tokens.group.command("link")
def link(context: typer.Context, login: LoginArgument, json: JsonOption = False) -> None:
    """Print a new one-time link that sets a password. The old one and all sessions end at once."""
    settings = settings_of(context)
    token = _manage(settings).new_link(login, actor=_admin(settings))
    _show_link(settings, login, token, json)


def _manage(settings: Settings) -> ManagePeople:
    units = open_units_of_work(settings)
    return ManagePeople(units, Argon2Passwords(), Invitations(units, settings.sign_in))


def _admin(settings: Settings) -> Actor:
    """Whoever can type commands here can read the database as well."""
    return settings.acting(Role.ADMIN)


def _show_link(settings: Settings, login: str, token: str, as_json: bool) -> None:
    link, hours = settings.welcome_url(token), settings.link_hours
    if as_json:
        print_json({"login": login, "link": link, "hours": hours})
        return
    out.print(f"For {login}, good once and for {hours:g} hours:", highlight=False, markup=False)
    out.print(f"  {link}", highlight=False, markup=False)


def _show(account: Account, line: str, as_json: bool) -> None:
    if as_json:
        print_json(_as_dict(account))
    else:
        out.print(line, highlight=False, markup=False)


def _as_dict(account: Account) -> dict[str, Any]:
    return {
        "login": account.login,
        "name": account.name,
        "pseudonym": account.pseudonym,
        "roles": role_names(account.roles),
        "state": account.state,
        "signed_in_at": account.signed_in_at,
    }

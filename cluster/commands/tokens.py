"""``secondlook users token``: API keys of programs, and one-time links of people."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cluster.console import out, print_json, print_table, when
from cluster.context import JsonOption, settings_of, settings_to_read
from loop.accounts import Account, stamp
from loop.api_keys import ApiKey, Scope, scope_names
from loop.errors import InvalidInput
from loop.events import Actor, Role
from loop.managing_keys import ManageApiKeys
from store.settings import Settings
from store.unit_of_work import open_units_of_work

_LIFETIME = re.compile(r"([0-9]{1,5})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_RATE = 600


class _LinkByDefault(TyperGroup):
    """``users token LOGIN`` is ``users token link LOGIN``: it was there before API keys were."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not args[0].startswith("-"):
            args = ["link", *args]
        return super().resolve_command(ctx, args)


group = typer.Typer(
    cls=_LinkByDefault,
    help="API keys of programs; and a new one-time link for a person.",
    no_args_is_help=True,
)


@group.command()
def create(
    context: typer.Context,
    label: Annotated[str, typer.Option(help="What the key is for.")],
    scope: Annotated[
        list[Scope],
        typer.Option(help=f"One of {', '.join(Scope)}; repeat it for several."),
    ],
    owner: Annotated[
        str | None, typer.Option(help="The login whose key it is. Default: a service's.")
    ] = None,
    role: Annotated[
        Role | None,
        typer.Option(help="It acts in this role. Default: system, or what its owner may."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 12h, 90d or 8w from now. Default: never.")
    ] = None,
    rate: Annotated[
        int, typer.Option(min=0, help="Requests a minute, in each ingress; 0 for any number.")
    ] = _RATE,
    json: JsonOption = False,
) -> None:
    """Make an API key, and print it: this once, and never again."""
    settings = settings_of(context)
    key, text = _manage(settings).create(
        label,
        scope,
        actor=_admin(settings),
        owner=owner,
        role=role,
        lifetime=_lifetime(expires) if expires else None,
        per_minute=rate or None,
    )
    if json:
        print_json({**_as_dict(key, None, "active"), "owner": owner, "key": text})
        return
    out.print(f"{key.label} may come in with this key, which is shown this once:", markup=False)
    out.print(f"  {text}", highlight=False, markup=False)
    out.print(
        f"Send it as `Authorization: Bearer …`, or set SECONDLOOK_API_KEY. To take it back: "
        f"secondlook users token revoke {key.id}",
        highlight=False,
        markup=False,
    )


@group.command("list")
def list_(context: typer.Context, json: JsonOption = False) -> None:
    """All API keys that there ever were, with what they may do and when they were used."""
    settings = settings_to_read(context)
    now = stamp(datetime.now(UTC))
    found = _manage(settings).list(actor=_admin(settings))
    if json:
        print_json([_as_dict(key, owner, key.state(owner, now)) for key, owner in found])
        return
    print_table(
        "API keys",
        ["id", "label", "owner", "role", "scopes", "a minute", "state", "ends", "last used (UTC)"],
        [
            (
                key.id,
                key.label,
                owner.login if owner else "",
                key.role.value,
                ", ".join(scope_names(key.scopes)),
                key.per_minute or "any",
                key.state(owner, now),
                when(key.expires_at) if key.expires_at else "never",
                when(key.last_used_at) if key.last_used_at else "never",
            )
            for key, owner in found
        ],
    )


@group.command()
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    json: JsonOption = False,
) -> None:
    """Take an API key back, for good. The API refuses it some seconds later."""
    settings = settings_of(context)
    key = _manage(settings).revoke(key_id, actor=_admin(settings))
    if json:
        print_json(_as_dict(key, None, "revoked"))
    else:
        out.print(f"Nobody comes in with {key.id} any more.", highlight=False, markup=False)


def _manage(settings: Settings) -> ManageApiKeys:
    return ManageApiKeys(open_units_of_work(settings))


def _admin(settings: Settings) -> Actor:
    """Whoever can type commands here can read the database as well."""
    return settings.acting(Role.ADMIN)


def _lifetime(text: str) -> timedelta:
    match = _LIFETIME.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{text!r} is no time span.", hint="For example: 12h, 90d, 8w.")
    return int(match[1]) * _UNITS[match[2]]


def _as_dict(key: ApiKey, owner: Account | None, state: str) -> dict[str, Any]:
    return {
        "id": key.id,
        "label": key.label,
        "owner": owner.login if owner else None,
        "pseudonym": key.pseudonym,
        "role": key.role.value,
        "scopes": scope_names(key.scopes),
        "per_minute": key.per_minute,
        "state": state,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }

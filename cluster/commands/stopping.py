"""``secondlook models stop`` and ``resume``: the stop switch."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cluster.console import err, out, print_json
from cluster.context import JsonOption, settings_of
from cluster.service import SWAP_SECONDS
from cluster.service_address import find_service
from loop.events import Role
from loop.ordering import latest_order
from loop.promoting import CHAMPION
from loop.stopping import resume_service, stop_service
from serve.release import STOPPED, wait_until_served, what_serves
from store.model_registry import open_model_registry
from store.own_key import api_headers
from store.settings import Settings
from store.unit_of_work import open_units_of_work

ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record: no names.")]
ByOption = Annotated[
    str, typer.Option("--by", help="Who does it, by pseudonym. Default: SECONDLOOK_ACTOR.")
]
# Replicas look every quarter of a second.
_CONFIRM_SECONDS = 5.0
_LOOK_SECONDS = 0.1


def add_to(group: typer.Typer) -> None:
    group.command()(stop)
    group.command()(resume)


def stop(
    context: typer.Context, reason: ReasonOption, by: ByOption = "", json: JsonOption = False
) -> None:
    """The stop switch: take the model out of service at once, until a person resumes it.

    Every replica answers 503, also after a restart, and nothing can be promoted. It needs nothing
    but the database.
    """
    settings = settings_of(context)
    actor = settings.acting(Role.ENGINEER, by)
    order = stop_service(open_units_of_work(settings), actor=actor, reason=reason)
    confirmed = _confirmed(settings)
    if json:
        stopped = order.stop.as_dict() if order.stop else None
        print_json({"stopped": stopped, "order": order.id, "confirmed": confirmed})
        return
    out.print("The model is out of service, on record." if confirmed is not False else "On record.")
    if confirmed is None:
        out.print("Nothing is up in this home; what is started later stays stopped.")
    elif confirmed:
        out.print("Every replica has confirmed it.")
    else:
        err.print(
            "The API did not confirm it: replicas follow as soon as they read the database. "
            "To be sure, end them: secondlook down",
            style="bold red",
        )


def resume(
    context: typer.Context, reason: ReasonOption, by: ByOption = "", json: JsonOption = False
) -> None:
    """Lift the stop switch: the champion goes into service again."""
    settings = settings_of(context)
    units = open_units_of_work(settings)
    champion = open_model_registry(settings).find_alias(CHAMPION)
    actor = settings.acting(Role.ENGINEER, by)
    order = resume_service(units, champion, actor=actor, reason=reason)
    service = find_service(settings)
    if service is not None:
        wait_until_served(
            service.api_url,
            order,
            SWAP_SECONDS,
            api_headers(settings),
            still_counts=lambda: latest_order(units) == order,
        )
    if json:
        print_json({"model": champion.as_dict() if champion else None, "order": order.id})
    elif champion is None:
        out.print("The stop is lifted. There is no champion to serve.")
    else:
        out.print(f"The stop is lifted: version {champion.version} is the one to serve.")


def _confirmed(settings: Settings) -> bool | None:
    """Whether every replica says that it is stopped; None where nothing is up."""
    service = find_service(settings)
    if service is None:
        return None
    deadline = time.monotonic() + _CONFIRM_SECONDS
    while time.monotonic() < deadline:
        if what_serves(service.api_url, api_headers(settings)) == STOPPED:
            return True
        time.sleep(_LOOK_SECONDS)
    return False

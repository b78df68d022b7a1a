"""Swapping a model into the running service, and back if it does not serve."""

from __future__ import annotations

from contextlib import closing

from loop.errors import LoopError
from loop.ordering import latest_order
from loop.predictions import ModelRef
from loop.promoting import CHAMPION, Swap, not_put_back
from loop.serving_orders import ServingOrder
from serve.release import ask_for, not_taken, require_service, wait_until_served
from store.model_registry import open_model_registry
from store.own_key import api_headers
from store.settings import Settings
from store.unit_of_work import open_units_of_work

# A replica on a busy CPU loads and tries a model in seconds; fetching large weights takes longer.
SWAP_SECONDS = 120.0


def service_swap(settings: Settings, dashboard_url: str, api_url: str) -> Swap:
    """How `loop.promoting` swaps a model in. It is in when every replica says so; if one does not
    take it, all are told to keep to the champion, also those that start later, and are waited for.
    Raises `Conflict` if somebody else gave another order in the meantime: then that one counts.
    Where ``dashboard_url`` is empty, the API alone is asked.
    """
    units = open_units_of_work(settings)

    def swap_in(model: ModelRef) -> None:
        champion = open_model_registry(settings).find_alias(CHAMPION)
        require_service(dashboard_url, api_url, api_headers(settings))
        order = ask_for(settings, model)
        try:
            wait_for(order)
        except BaseException as error:  # Ctrl-C too: nobody else would put the champion back
            if champion == model or not counts(order):
                raise
            try:
                wait_for(ask_for(settings, champion))
            except LoopError as second:
                raise not_put_back(error, champion, second) from error
            raise

    def wait_for(order: ServingOrder) -> None:
        wait_until_served(
            api_url,
            order,
            SWAP_SECONDS,
            api_headers(settings),
            still_counts=lambda: counts(order),
        )

    def counts(order: ServingOrder) -> bool:
        return latest_order(units) == order

    return swap_in


def try_without_service(settings: Settings) -> Swap:
    """Stands in for `service_swap` where nothing is up: loads a model as a replica does, and has it
    detect, so that the next start does not meet one that cannot."""

    registry = open_model_registry(settings)

    def try_out(model: ModelRef) -> None:
        # Seconds of imports, for the commands that need them.
        from detector.base import smoke_test
        from serve.loading import load_engine

        try:
            with closing(load_engine(settings, registry, model, measures=False)) as engine:
                smoke_test(engine.detect)
        except LoopError:
            raise
        except Exception as error:  # anything that weights and three libraries can raise
            raise not_taken(f"{type(error).__name__}: {error}") from error

    return try_out

"""Swapping a model into the running service, and back if it does not serve."""

from __future__ import annotations

from loop.errors import LoopError
from loop.predictions import ModelRef
from loop.promoting import CHAMPION, Swap
from serve.release import swap, wait_until_served
from store.model_registry import open_model_registry
from store.own_key import api_headers
from store.settings import Settings

# A replica on a busy CPU loads and tries a model in seconds; fetching large weights takes longer.
SWAP_SECONDS = 120.0


def service_swap(settings: Settings, dashboard_url: str, api_url: str) -> Swap:
    """How `loop.promoting` swaps a model in. If the new one does not serve, the service is told
    to keep to the champion, also when a replica starts again."""

    def swap_in(model: ModelRef) -> None:
        champion = open_model_registry(settings).find_alias(CHAMPION)
        swap(settings, dashboard_url, model)
        try:
            wait_until_served(api_url, model, SWAP_SECONDS, api_headers(settings))
        except LoopError:
            swap(settings, dashboard_url, champion)
            raise

    return swap_in

"""Puts the application and its model into service, through the Ray dashboard's REST API.

The whole of Serve's state is one document, which does not name a model: that is an order in the
database, which every replica follows (`serve.orders`). Ray itself is not needed here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from loop.errors import Conflict, Unavailable
from loop.events import Role
from loop.ordering import give_order
from loop.predictions import ModelRef
from loop.serving_orders import ServingOrder
from loop.trials import TrialPlan
from serve.dashboard import APP_NAME, apply, require_deployed
from store.settings import Settings
from store.unit_of_work import open_units_of_work

# What `what_serves` says while the stop switch is on.
STOPPED = "nothing: stopped"
_IMPORT_PATH = "serve.app:build"
_CALL_SECONDS = 30.0
_POLL_SECONDS = 0.1
NOT_REACHED = (
    "Does it run: secondlook status. On a cluster, it listens on SECONDLOOK_HOST of the head, "
    "where 127.0.0.1 is for the head alone, and SECONDLOOK_API_URL says where it is asked from "
    "here. secondlook doctor looks at all of it."
)
# Paths: on a cluster, each node has its own in the environment that Ray was started with.
OF_A_MACHINE = frozenset(
    {
        "SECONDLOOK_HOME",
        "SECONDLOOK_MODEL_SIGNING_KEY",
        "SECONDLOOK_MODEL_VERIFY_KEYS",
        "SECONDLOOK_AUDIT_TSA_ROOTS",
    }
)
_PEM = "-----BEGIN "
# For who only wants to have a look.
_GLANCE_SECONDS = 5.0
# On top of what a detection may take, for storing it: no client waits for ever behind a replica.
_REQUEST_MARGIN_SECONDS = 90.0
# On top of what a detection may take, while a replica that is no longer wanted ends its work.
_DRAIN_MARGIN_SECONDS = 10.0


def deploy(
    settings: Settings,
    dashboard_url: str,
    model: ModelRef | None,
    trial: TrialPlan | None = None,
    *,
    own_homes: bool = False,
) -> ServingOrder:
    """Order ``model``, start Serve if it does not run, and deploy the application.

    Returns when the replicas run; `wait_until_served` waits for the model. The host and port of
    a Serve that runs already stay as they are. With ``own_homes``, each node of the cluster has a
    home of its own. Raises `Unavailable`; `Conflict` where Serve runs something else.
    """
    # First: a replica that starts finds it. What was stopped stays so.
    order = ask_for(settings, model, trial, while_stopped=True)
    apply(dashboard_url, _document(settings, own_homes=own_homes))
    return order


def ask_for(
    settings: Settings,
    model: ModelRef | None,
    trial: TrialPlan | None = None,
    *,
    while_stopped: bool = False,
) -> ServingOrder:
    """Order that ``model`` is served, and the candidate of ``trial`` tried beside it. Replicas swap
    while they serve: none restarts, and no request fails. ``while_stopped``, and what it raises:
    see `give_order`."""
    actor, units = settings.acting(Role.SYSTEM), open_units_of_work(settings)
    return give_order(units, model, trial, actor, while_stopped=while_stopped)


def require_service(
    dashboard_url: str, api_url: str, headers: dict[str, str] | None = None
) -> None:
    """Raises `Unavailable` when there is no application to swap a model into: as the dashboard
    says, or the API where ``dashboard_url`` is empty."""
    if dashboard_url:
        require_deployed(dashboard_url)
        return
    with httpx.Client(
        base_url=api_url, timeout=_CALL_SECONDS, trust_env=False, headers=headers
    ) as client:
        if _model_state(client) is None:
            raise Unavailable(f"No service answers at {api_url}.", hint=NOT_REACHED)


def wait_until_tried(
    api_url: str,
    order: ServingOrder,
    timeout: float,
    headers: dict[str, str] | None = None,
    *,
    still_counts: Callable[[], bool] = lambda: True,
) -> None:
    """Wait until every replica tries the candidate of ``order`` (or none any, if it has none), as
    `wait_until_served` does."""
    for status in _states(api_url, timeout, headers):
        if not still_counts():
            raise _overtaken("trial")
        if status is None or status["order"] != order.id:
            continue
        told = status["trial"]
        if told is None and order.tried is None:
            return
        if told and order.tried and told["id"] == order.tried.id:
            if told["error"]:
                raise Unavailable(
                    f"The candidate cannot be tried: {told['error']}",
                    hint="The champion answers as before. Try another version.",
                )
            if not told["loading"]:
                return
    raise Unavailable(
        f"Not every replica had the trial after {timeout:.0f} s.",
        hint="See the log of the replicas, or wait longer.",
    )


def wait_until_served(
    api_url: str,
    order: ServingOrder,
    timeout: float,
    headers: dict[str, str] | None = None,
    *,
    still_counts: Callable[[], bool] = lambda: True,
) -> None:
    """Wait until every replica detects with the model of ``order`` (or none has one, if that has
    none). ``headers`` carry an API key with the scope ``model``; ``still_counts`` says whether no
    other order has taken the place of this one.

    Raises `Unavailable` with the replica's own reason when one could not load the model, or when
    ``timeout`` seconds have passed; `Conflict` when the order does not count any more.
    """
    wanted = order.served.as_dict() if order.served else None
    seen = f"The API at {api_url} did not answer."
    answered = False
    for status in _states(api_url, timeout, headers):
        if status is not None and status["order"] == order.id:
            if status["model"] == wanted and not status["loading"]:
                return
            if status["error"]:
                raise not_taken(status["error"])
        if not still_counts():
            raise _overtaken("release")
        if status is not None:
            answered, seen = True, f"The API last said: {status}."
    raise Unavailable(
        f"The model was not in service after {timeout:.0f} s. {seen}",
        hint="See the log of the replicas, or wait longer." if answered else NOT_REACHED,
    )


def _overtaken(what: str) -> Conflict:
    return Conflict(
        f"Another model was ordered in the meantime, and this {what} was given up.",
        hint="secondlook status shows what serves.",
    )


def _states(
    api_url: str, timeout: float, headers: dict[str, str] | None
) -> Iterator[dict[str, Any] | None]:
    """What the API says of its models, again and again for ``timeout`` seconds; None where it does
    not answer."""
    deadline = time.monotonic() + timeout
    with httpx.Client(
        base_url=api_url, timeout=_CALL_SECONDS, trust_env=False, headers=headers
    ) as client:
        while True:
            yield _model_state(client)
            if time.monotonic() > deadline:
                return
            time.sleep(_POLL_SECONDS)


def what_serves(api_url: str, headers: dict[str, str] | None = None) -> str:
    """In words, for people: the version that all replicas serve, and what became of another one
    that was asked for. ``headers`` as in `wait_until_served`."""
    try:
        with httpx.Client(
            base_url=api_url, timeout=_GLANCE_SECONDS, trust_env=False, headers=headers
        ) as client:
            state = _model_state(client)
    except Unavailable as error:
        return error.message
    if state is None:
        return "the API does not say"
    if state.get("stopped"):
        return STOPPED
    serves = f"version {state['model']['version']}" if state["model"] else "no model"
    if state["wanted"] == state["model"] or not state["wanted"]:
        return serves
    became = "loading" if state["loading"] else state["error"] or "not taken"
    return f"{serves} (version {state['wanted']['version']}: {became})"


def not_taken(why: str) -> Unavailable:
    return Unavailable(
        f"The model was not taken into service: {why}",
        hint="What served before serves on. Once the cause is mended, promote it again, or promote "
        "another version: secondlook models list.",
    )


def _document(settings: Settings, *, own_homes: bool = False) -> dict[str, Any]:
    """Serve's config."""
    environment = _environment(settings)
    if own_homes:
        environment = {
            name: value
            for name, value in environment.items()
            if name not in OF_A_MACHINE or _PEM in value
        } | {"SECONDLOOK_AUDIT_LOG": "elsewhere"}
    application: dict[str, Any] = {
        "name": APP_NAME,
        "route_prefix": "/",
        "import_path": _IMPORT_PATH,
        "runtime_env": {"env_vars": environment},
        "args": {
            "replicas": settings.replicas,
            "max_replicas": settings.max_replicas,
            "target": settings.replica_target,
            "cpus": settings.serve_cpus,
            "gpus": settings.serve_gpus,
            "idle_seconds": settings.replica_idle_seconds,
            "drain_seconds": settings.request_seconds + _DRAIN_MARGIN_SECONDS,
        },
    }
    if settings.serve_resource:
        application["args"]["resource"] = settings.serve_resource
    return {
        "proxy_location": "EveryNode" if settings.api_on_every_node else "HeadOnly",
        "http_options": {
            "host": settings.host,
            "port": settings.api_port,
            "request_timeout_s": settings.request_seconds + _REQUEST_MARGIN_SECONDS,
        },
        "applications": [application],
    }


def _environment(settings: Settings) -> dict[str, str]:
    """What `load_settings` needs in a replica, wherever it runs, to come to the same settings."""
    passed_on = (
        "host",
        "api_open_on_loopback",
        "storage_url",
        "model_name",
        "min_confidence",
        "nms_iou",
        "max_image_bytes",
        "max_image_pixels",
        "replicas",
        "max_replicas",
        "serve_cpus",
        "replica_room",
        "drift_images",
        "log_detections",
        "request_seconds",
        "stuck_seconds",
        "log_level",
    )
    values = {f"SECONDLOOK_{name.upper()}": str(getattr(settings, name)) for name in passed_on}
    return settings.environment() | values


def _model_state(client: httpx.Client) -> dict[str, Any] | None:
    """The answer of ``GET /v1/model``, or None while the API does not give one."""
    try:
        response = client.get("/v1/model")
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise Unavailable(
                "The API does not say which model serves: it wants another API key.",
                hint="secondlook up makes a new one where this home's own was revoked.",
            )
        state = response.json() if response.status_code == httpx.codes.OK else None
    except (httpx.TransportError, ValueError):
        return None
    return state if isinstance(state, dict) and "wanted" in state else None

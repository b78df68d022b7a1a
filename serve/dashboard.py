"""The REST API of Ray's dashboard, as far as Serve is concerned: what it is told, what it says.

Ray itself is not needed here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from loop.errors import Conflict, Unavailable

APP_NAME = "second-look"
_APPLICATIONS = "/api/serve/applications/"
_CALL_SECONDS = 30.0
# The first call starts Serve: more than half a minute on two cores that are busy (measured).
_PUT_SECONDS = 180.0
_POLL_SECONDS = 0.1
# Starting Serve and replicas that import torch and load a model, on a machine that is busy.
_DEPLOY_SECONDS = 300.0


def apply(dashboard_url: str, document: Mapping[str, Any]) -> None:
    """Tell Serve to run what ``document`` says, and wait until our application runs.

    Raises `Unavailable`; `Conflict` where Serve runs what is not ours, which would end.
    """
    with dashboard_client(dashboard_url) as client:
        _refuse_others(_details(client), "deploying ours would end it")
        send(client, "PUT", _APPLICATIONS, json=document, timeout=_PUT_SECONDS)
        deadline = time.monotonic() + _DEPLOY_SECONDS
        while True:
            application = application_of(client) or {"status": "NOT_STARTED", "message": ""}
            if application["status"] == "RUNNING":
                return
            failed = application["status"] in ("DEPLOY_FAILED", "UNHEALTHY")
            if failed or time.monotonic() > deadline:
                raise Unavailable(
                    f"Ray Serve reports {application['status']}: {_reason(application)}",
                    hint="The replicas' log in the Ray dashboard says more.",
                )
            time.sleep(_POLL_SECONDS)


def remove(dashboard_url: str) -> bool:
    """Take our application out of service, and Serve with it; returns when it is gone. False if
    it was not there.

    Raises `Unavailable`; `Conflict` where Serve runs something else, too.
    """
    with dashboard_client(dashboard_url) as client:
        details = _details(client)
        if APP_NAME not in details["applications"]:
            return False
        _refuse_others(details, "Serve is taken out as a whole")
        send(client, "DELETE", _APPLICATIONS, timeout=_PUT_SECONDS)
        # Serve's controller answers before that where it took over from one that died.
        deadline = time.monotonic() + _PUT_SECONDS
        while application_of(client) is not None:
            if time.monotonic() > deadline:
                raise Unavailable(
                    "Ray Serve was told to end, and still has the detector.",
                    hint="Try again; the log of Serve's controller in the Ray dashboard says more.",
                )
            time.sleep(_POLL_SECONDS)
        return True


def require_deployed(dashboard_url: str) -> None:
    """Raises `Unavailable` when there is no application to swap a model into."""
    with dashboard_client(dashboard_url) as client:
        if application_of(client) is None:
            raise Unavailable("Nothing is being served.", hint="Start it: secondlook up.")


def serve_details(dashboard_url: str, seconds: float = _CALL_SECONDS) -> dict[str, Any]:
    """All that Serve says of itself: the dashboard's answer as it is. Raises `Unavailable`."""
    with dashboard_client(dashboard_url, seconds) as client:
        return _details(client)


def nodes_of(dashboard_url: str, seconds: float = _CALL_SECONDS) -> list[dict[str, Any]]:
    """The nodes that are alive, as Ray's state API tells of them (``node_id``, ``node_ip``,
    ``is_head_node``, ``resources_total``, …). Raises `Unavailable`."""
    with dashboard_client(dashboard_url, seconds) as client:
        try:
            answer = send(client, "GET", "/api/v0/nodes").json()
            nodes: list[dict[str, Any]] = answer["data"]["result"]["result"]
        except (ValueError, KeyError, TypeError) as error:
            raise not_a_dashboard(str(client.base_url)) from error
    return [node for node in nodes if node.get("state") == "ALIVE"]


def application_of(client: httpx.Client) -> dict[str, Any] | None:
    found: dict[str, Any] | None = _details(client)["applications"].get(APP_NAME)
    return found


def _details(client: httpx.Client) -> dict[str, Any]:
    answer = send(client, "GET", _APPLICATIONS)
    try:
        details: dict[str, Any] = answer.json()
        details["applications"].get(APP_NAME)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise not_a_dashboard(str(client.base_url)) from error
    return details


def not_a_dashboard(url: str) -> Unavailable:
    return Unavailable(
        f"What answers at {url} is not Ray's dashboard.",
        hint="Correct SECONDLOOK_DASHBOARD_URL: http://HEAD:8265, without a path.",
    )


def _refuse_others(details: Mapping[str, Any], why: str) -> None:
    others = sorted(set(details["applications"]) - {APP_NAME})
    if others:
        raise Conflict(
            f"Ray Serve runs something else on this cluster ({', '.join(others)}), and {why}.",
            hint="Give Second Look a cluster of its own, or take the other one out first.",
        )


def _reason(application: Mapping[str, Any]) -> str:
    """The message is a stack trace; what went wrong is its last line."""
    lines = str(application["message"]).strip().splitlines()
    return lines[-1] if lines else "no reason given"


def dashboard_client(dashboard_url: str, seconds: float = _CALL_SECONDS) -> httpx.Client:
    """With Ray's token, if there is one; ``seconds`` is what an answer may take."""
    return httpx.Client(
        base_url=dashboard_url,
        timeout=seconds,
        headers=authorisation(),
        trust_env=False,  # a proxy for the internet is not the way to one's own dashboard
    )


def send(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    """Raises `Unavailable` unless the answer is a good one."""
    try:
        response = client.request(method, path, **options)
    except httpx.TransportError as error:
        raise Unavailable(
            f"The Ray dashboard at {client.base_url} does not answer: {error}.",
            hint="Start Ray: secondlook up. Is it another cluster's: SECONDLOOK_DASHBOARD_URL says "
            "where its dashboard is.",
        ) from error
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise Unavailable(
            f"The Ray dashboard at {client.base_url} does not accept the token.",
            hint="Set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token of that cluster.",
        )
    if response.is_error:
        raise Unavailable(
            f"The Ray dashboard answers {response.status_code}: {response.text[:500]}",
            hint="Its log is in the folder `logs` of the Ray session.",
        )
    return response


def authorisation() -> dict[str, str]:
    token = ray_token()
    return {"authorization": f"Bearer {token}"} if token else {}  # a cluster without tokens


def ray_token() -> str:
    """Ray's token, empty if there is none; looked for where Ray looks for it, in that order.

    https://docs.ray.io/en/latest/ray-security/token-auth.html
    """
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    if not token:
        default = Path.home() / ".ray" / "auth_token"
        path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "") or default)
        try:
            token = path.expanduser().read_text(encoding="utf-8").strip()
        except OSError:
            return ""
    return token

"""What `doctor` finds at the addresses in the settings, as seen from this machine."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import httpx

from cluster.addresses import without_password
from cluster.findings import Check, Finding
from cluster.joined_ray import find_dashboard, joins
from cluster.service_address import find_service
from loop.errors import Unavailable
from serve.dashboard import authorisation, ray_token
from serve.loopback import is_loopback
from store.objects import Bucket
from store.own_key import api_headers
from store.settings import Settings
from store.storage_url import BucketStorage, FolderStorage, parse_storage_url

_SECONDS = 5.0
_OTHER = "Set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to the token of that cluster."


def server_checks(settings: Settings) -> list[Check]:
    """Nothing of what is embedded: no server, no check."""
    checks = []
    if settings.storage_url:
        checks.append(Check("Storage", lambda: [storage(settings)]))
    if settings.tracking.startswith("http"):
        checks.append(Check("MLflow server", lambda: [mlflow(settings)]))
    if joins(settings) or settings.dashboard_at:
        checks.append(Check("Ray dashboard", lambda: dashboard(settings)))
    service = find_service(settings)
    if service is not None:
        checks.append(Check("Detection API", lambda: [api(settings, service.api_url)]))
    return checks


def storage(settings: Settings) -> Finding:
    """Whether a small object can be written, read and deleted. Raises what `Bucket` raises."""
    found = parse_storage_url(settings.storage_url)
    if isinstance(found, FolderStorage):
        existing = next(each for each in (found.folder, *found.folder.parents) if each.exists())
        return Finding(
            "Storage",
            str(found.folder),
            os.access(existing, os.W_OK),
            "Make the folder writable: SECONDLOOK_STORAGE_URL names it.",
        )
    if not isinstance(found, BucketStorage):
        return Finding("Storage", str(settings.images))
    try_bucket(found)
    return Finding("Storage", f"{found.below('')}: written, read and deleted", True)


def try_bucket(found: BucketStorage) -> None:
    """Raises `Unavailable`, `Misconfigured`. Keys begin with ``doctor/``."""
    endpoint = found.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3", "")
    if endpoint:
        listening(endpoint, "Check SECONDLOOK_STORAGE_URL (endpoint_url), and whether it runs.")
    bucket = Bucket(found)
    bucket.check()
    key = f"doctor/{socket.gethostname()}-{secrets.token_hex(8)}"
    data = secrets.token_bytes(16)
    bucket.put(key, data)
    try:
        if bucket.get(key) != data:
            raise Unavailable(
                f"{bucket} gives back something else than what was stored.",
                hint="This is no store to trust with images: what stands before it?",
            )
    finally:
        bucket.delete([key])


def mlflow(settings: Settings) -> Finding:
    what, url = "MLflow server", settings.tracking.rstrip("/")
    shown = without_password(url)
    wrong = "Correct MLFLOW_TRACKING_URI: http://HOST:5001, of `mlflow server`."
    answer = _get(url, "/health", _mlflow_headers(), wrong)
    if answer.status_code in (401, 403):
        return Finding(
            what,
            f"{shown} refuses who asks ({answer.status_code})",
            False,
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; "
            "403 also comes for a host that the server was not told of: --allowed-hosts.",
        )
    if answer.status_code != 200 or answer.text.strip() != "OK":
        return Finding(what, f"what answers at {shown} is not MLflow", False, wrong)
    there = _get(url, "/version", _mlflow_headers(), wrong).text.strip()[:20]
    here = version("mlflow")
    same = there.split(".")[0] == here.split(".")[0]
    return Finding(
        what,
        f"{shown}: version {there}" + ("" if there == here else f", here {here}"),
        same,
        "Give server and clients the same version: constraints.txt.",
    )


def dashboard(settings: Settings) -> list[Finding]:
    """The dashboard's kind, its token, and its Ray's version."""
    what = "Ray dashboard"
    url = settings.dashboard_url if settings.dashboard_at else find_dashboard(settings)
    wrong = "Correct SECONDLOOK_DASHBOARD_URL (http://HEAD:8265) or RAY_ADDRESS (HEAD:6379)."
    mode = _json(_get(url, "/api/authentication_mode", {}, wrong)).get("authentication_mode")
    # To a cluster that asks for it, and to nobody else who may listen there.
    answer = _get(url, "/api/version", authorisation() if mode == "token" else {}, wrong)
    if mode == "token" and answer.status_code in (401, 403):
        found = "the token is refused" if ray_token() else "it wants a token, and there is none"
        return [Finding(what, f"{url}: {found}", False, _OTHER)]
    there = _json(answer).get("ray_version")
    if not isinstance(there, str):
        return [Finding(what, f"what answers at {url} is not Ray's dashboard", False, wrong)]
    here = version("ray")
    return [
        Finding(
            what,
            f"{url}: Ray {there}" + ("" if there == here else f", here {here}"),
            there == here,
            "Ray must be the same everywhere: install the version of constraints.txt.",
        ),
        token(url, str(mode or "unknown"), joined=joins(settings)),
    ]


def token(url: str, mode: str, *, joined: bool) -> Finding:
    """``mode`` is what the dashboard says of itself: ``token`` or ``disabled``; ``joined`` is
    whether Ray itself is used from here, which wants more than the token."""
    what = "Ray token"
    host = urlsplit(url).hostname or ""
    if mode != "token":
        return Finding(
            what,
            "the cluster asks for none",
            None if is_loopback(host) else False,
            "Whoever reaches its ports runs programs there (CVE-2023-48022, ShadowRay): start all "
            "nodes with RAY_AUTH_MODE=token and one token (ray get-auth-token --generate).",
        )
    if joined and os.environ.get("RAY_AUTH_MODE") != "token":
        return Finding(
            what,
            "the cluster asks for it, and RAY_AUTH_MODE is not set here",
            False,
            "Set RAY_AUTH_MODE=token: without it, trainings cannot join.",
        )
    return Finding(what, "asked for, and accepted", True)


def api(settings: Settings, url: str) -> Finding:
    what = "Detection API"
    wrong = "Correct SECONDLOOK_API_URL (http://HOST:8000), or start it: secondlook up."
    answer = _get(url, "/v1/model", api_headers(settings), wrong)
    body = _json(answer)
    if answer.status_code in (401, 403) and "error" in body:
        return Finding(
            what,
            f"{url}: the key is not accepted",
            False,
            "Set SECONDLOOK_API_KEY to a key with the scope model: secondlook users token create.",
        )
    if answer.status_code == 200 and "wanted" in body:
        model = body.get("model")
        return Finding(what, f"{url}: {_serves(body, model)}", True)
    if "error" in body or answer.status_code in (502, 503, 504):
        said = body.get("error")
        text = said.get("message", "") if isinstance(said, Mapping) else f"{answer.status_code}"
        return Finding(what, f"{url}: {text}", False, "Its replicas' log: Ray's dashboard, Serve.")
    return Finding(what, f"what answers at {url} is not Second Look's API", False, wrong)


def _serves(body: Mapping[str, Any], model: Any) -> str:
    if body.get("stopped"):
        return "stopped"
    return f"version {model['version']} serves" if isinstance(model, Mapping) else "no model"


def listening(url: str, hint: str) -> None:
    """Raises `Unavailable` unless somebody takes connections there, within seconds. A URL without
    a host, as of PostgreSQL over a socket, is not looked at."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # its words hold a part of the URL, and that may be a password's
        raise Unavailable(
            "Host and port cannot be told from the URL.",
            hint=f"In a password, write / ? # and @ as %2F %3F %23 and %40. {hint}",
        ) from None
    if not host:
        return
    port = port or {"https": 443, "http": 80, "postgresql": 5432}.get(parts.scheme, 80)
    try:
        socket.create_connection((host, port), _SECONDS).close()
    except (OSError, ValueError) as error:
        raise Unavailable(f"Nobody answers at {host}:{port}: {error}.", hint=hint) from error


def _get(url: str, path: str, headers: Mapping[str, str], hint: str) -> httpx.Response:
    try:
        return httpx.get(f"{url}{path}", headers=headers, timeout=_SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise Unavailable(
            f"Nobody answers at {without_password(url)}: {_line(error)}.", hint=hint
        ) from error


def _json(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, Mapping) else {}


def _mlflow_headers() -> dict[str, str]:
    found = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    if found:
        return {"authorization": f"Bearer {found}"}
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    if not user:
        return {}
    basic = httpx.BasicAuth(user, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    request = next(basic.auth_flow(httpx.Request("GET", "http://mlflow/")))
    return {"authorization": request.headers["authorization"]}


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

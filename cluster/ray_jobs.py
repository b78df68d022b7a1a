"""Ray Jobs, by the REST API of the cluster's dashboard: the token is always sent with a request.

Ray itself is not needed here; to import it takes more than a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from cluster.addresses import is_loopback_url
from loop.accounts import stamp
from loop.errors import LoopError, Misconfigured, NotFound, Unavailable
from serve.dashboard import authorisation

# Metadata of a job, by which ours are told from others on the same cluster.
KIND, STARTED_BY, PARAMETERS = "second-look/kind", "second-look/actor", "second-look/parameters"
ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
_STATUSES = ENDED | {"PENDING", "RUNNING"}
_JOBS = "/api/jobs/"
_CONNECT_SECONDS = 5.0
# The first request after the start of a cluster waits for its agent: half a minute has been seen.
_CALL_SECONDS = 60.0
_UPLOAD_SECONDS = 600.0
# The dashboard of a cluster that has just started answers before its agent takes jobs: on two busy
# cores, half a minute before. Each such answer comes after ten seconds.
_AGENT_SECONDS, _NO_AGENT = 90.0, "No available agent"
_REFUSALS = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class RayJob:
    """A job as Ray tells of it. Times are RFC 3339 in UTC, empty while there is none; ``message``
    says more of ``status``: of a failure, why."""

    id: str
    status: str
    message: str = ""
    started_at: str = ""
    ended_at: str = ""
    exit_code: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        return self.status not in ENDED


class RayJobs:
    """The jobs of the cluster whose dashboard is at ``url``.

    Everything raises `Unavailable` where nobody answers, `Misconfigured` where what answers is no
    dashboard of Ray, or does not take the token.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def require_token(self) -> None:
        """Raise `Misconfigured` for a cluster that runs jobs of whoever reaches it, unless it
        listens on loopback only: this is CVE-2023-48022, "ShadowRay"."""
        if is_loopback_url(self.url):
            return
        with self._client({}) as client:
            answer = self._answer(client, "GET", _JOBS)
        if answer.status_code not in _REFUSALS:
            self._check(answer)  # what is no dashboard of Ray gets no token, either
            raise Misconfigured(
                f"The Ray cluster at {self.url} asks nobody for a token: whoever reaches it can "
                "run programs there.",
                hint="Start it with RAY_AUTH_MODE=token on every node "
                "(https://docs.ray.io/en/latest/ray-security/token-auth.html).",
            )

    def submit(
        self,
        job_id: str,
        entrypoint: str,
        *,
        environment: Mapping[str, str],
        metadata: Mapping[str, str],
        working_dir: str = "",
    ) -> None:
        """Hand in a job: ``entrypoint`` is a line for a shell, ``working_dir`` what `upload` gave.

        The environment is shown to whoever has the token: no secrets. It runs on the head.
        """
        runtime_env: dict[str, Any] = {"env_vars": dict(environment)}
        if working_dir:
            runtime_env["working_dir"] = working_dir
        job = {
            "entrypoint": entrypoint,
            "submission_id": job_id,
            "runtime_env": runtime_env,
            "metadata": dict(metadata),
            # The driver waits nearly all the time: it is to take no CPU from the work. More than
            # nothing would also let Ray put it on a worker, which may go away.
            "entrypoint_num_cpus": 0,
        }
        deadline = time.monotonic() + _AGENT_SECONDS
        while True:
            try:
                self._send("POST", _JOBS, json=job)
                return
            except Unavailable as error:
                with suppress(LoopError):  # it may have been taken all the same
                    self.get(job_id)
                    return
                if _NO_AGENT not in error.message or time.monotonic() > deadline:
                    raise

    def jobs(self) -> list[RayJob]:
        """Those of Second Look, newest first."""
        found = self._read(_JOBS, lambda raws: [_job(raw) for raw in raws if _is_submitted(raw)])
        own = [job for job in found if KIND in job.metadata]
        return sorted(own, key=lambda job: job.started_at, reverse=True)

    def get(self, job_id: str) -> RayJob:
        """Raises `NotFound`: a cluster that was started anew has forgotten its jobs."""
        return self._read(self._path(job_id), _job)

    def log(self, job_id: str) -> str:
        """All that the job has printed so far. Raises `NotFound`."""
        return self._read(f"{self._path(job_id)}/logs", lambda raw: str(raw["logs"] or ""))

    def stop(self, job_id: str) -> None:
        """Ask it to end; returns at once. Raises `NotFound`."""
        self._send("POST", f"{self._path(job_id)}/stop")

    def upload(self, package: Path, digest: str) -> str:
        """Bring a ZIP to the cluster, unless one of this digest is there already; what a job's
        ``working_dir`` is then. Ray forgets it once no job uses it."""
        name = f"_ray_pkg_{digest[:32]}.zip"
        path = f"/api/packages/gcs/{name}"
        with self._client(authorisation()) as client:
            known = self._answer(client, "GET", path)
            if known.status_code == httpx.codes.NOT_FOUND:
                data = package.read_bytes()
                self._check(self._answer(client, "PUT", path, content=data))
            else:
                self._check(known)
        return f"gcs://{name}"

    def _path(self, job_id: str) -> str:
        if not job_id:  # that would be all of them
            raise NotFound("A job has an id.", hint="See: secondlook jobs list.")
        return _JOBS + quote(job_id, safe="")

    def _read(self, path: str, read: Callable[[Any], _Read]) -> _Read:
        """What ``read`` makes of the JSON there: whatever that lacks, it is not Ray's."""
        answer = self._send("GET", path)
        try:
            return read(answer.json())
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise self._no_dashboard() from error

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._client(authorisation()) as client:
            return self._check(self._answer(client, method, path, **options))

    def _client(self, headers: Mapping[str, str]) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            headers=dict(headers),
            timeout=httpx.Timeout(_CALL_SECONDS, connect=_CONNECT_SECONDS, write=_UPLOAD_SECONDS),
            trust_env=False,  # a proxy for the internet is not the way to one's own dashboard
        )

    def _answer(
        self, client: httpx.Client, method: str, path: str, **options: Any
    ) -> httpx.Response:
        try:
            return client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"Ray's dashboard at {self.url} does not answer: {error or type(error).__name__}.",
                hint="Is the cluster up? SECONDLOOK_DASHBOARD_URL says where its dashboard is.",
            ) from error

    def _check(self, answer: httpx.Response) -> httpx.Response:
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise Misconfigured(
                f"Ray's dashboard at {self.url} wants a token, and there is none here.",
                hint="Set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token of that cluster.",
            )
        if answer.status_code == httpx.codes.FORBIDDEN:
            raise Misconfigured(
                f"Ray's dashboard at {self.url} does not accept the token.",
                hint="Set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token of that cluster.",
            )
        if answer.status_code == httpx.codes.NOT_FOUND:
            if "does not exist" in answer.text:
                raise NotFound("The cluster knows no such job.", hint="See: secondlook jobs list.")
            raise self._no_dashboard()
        if answer.is_error:
            lines = answer.text.strip().splitlines()
            raise Unavailable(
                f"Ray's dashboard answers {answer.status_code}: {(lines or [''])[-1][:500]}",
                hint="Its log is in the folder `logs` of the Ray session.",
            )
        if not answer.is_success:  # what stands before it sends browsers to sign in, or to HTTPS
            raise self._no_dashboard()
        return answer

    def _no_dashboard(self) -> Misconfigured:
        return Misconfigured(
            f"What answers at {self.url} is not Ray's dashboard.",
            hint="SECONDLOOK_DASHBOARD_URL is its address, usually http://HEAD:8265.",
        )


def _is_submitted(raw: Mapping[str, Any]) -> bool:
    """Not so for programs that joined the cluster by themselves."""
    return bool(raw.get("submission_id"))


def _job(raw: Mapping[str, Any]) -> RayJob:
    code, status = raw.get("driver_exit_code"), str(raw["status"])
    if status not in _STATUSES:
        raise ValueError(status)
    return RayJob(
        id=str(raw["submission_id"]),
        status=status,
        message=str(raw.get("message") or ""),
        started_at=_at(raw.get("start_time")),
        ended_at=_at(raw.get("end_time")),
        exit_code=None if code is None else int(code),
        metadata={str(k): str(v) for k, v in (raw.get("metadata") or {}).items()},
    )


def _at(milliseconds: int | None) -> str:
    return stamp(datetime.fromtimestamp(milliseconds / 1000, UTC)) if milliseconds else ""

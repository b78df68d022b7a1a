"""``secondlook up``: every part of the system on one machine, started, watched and ended; or, with
``RAY_ADDRESS``, the detector on a cluster that others started, and the rest here."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import FrameType

import httpx

from cluster.addresses import without_password
from cluster.console import program
from cluster.joined_ray import JoinedRay, find_dashboard, join, joins, spread_warning
from cluster.local_ray import LocalRay, local_ray
from cluster.processes import Child, require_free_port
from cluster.running import end_running, find_alive, forget_running, note_running
from cluster.service_address import (
    ServiceAddress,
    find_left,
    find_service,
    forget_left,
    note_left,
)
from cluster.training_jobs import open_training_jobs
from loop.errors import Conflict, Unavailable
from loop.events import Event, Role
from loop.invitations import Invitations
from loop.predictions import ModelRef
from serve.dashboard import remove
from serve.release import deploy, wait_until_served
from store.model_registry import open_model_registry
from store.own_key import api_headers, ensure_own_key
from store.settings import Settings
from store.settings_record import note_settings
from store.tracking import artifact_environment, artifact_root, open_tracking
from store.unit_of_work import open_units_of_work

# A cold start of a part on two busy cores has been seen to take a minute.
_START_SECONDS = 180.0
_POLL_SECONDS = 0.5
# MLflow (3) starts nine more processes for jobs, of 270 MB each, which evaluate language models.
_WITHOUT_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

Say = Callable[[str], None]


def up(
    settings: Settings,
    say: Say,
    on_ready: Callable[[], None] | None = None,
    *,
    undeploy: bool = False,
) -> None:
    """Start Ray, Serve, MLflow and the app; stay until Ctrl-C, SIGTERM or a part's death.

    A cluster that ``RAY_ADDRESS`` names is joined, and neither started nor ended. What serves on it
    goes on serving when this ends, since others may use it, unless ``undeploy`` says otherwise.

    Raises `Conflict` if this home is up already, `Misconfigured` for a port in use, `Unavailable`
    naming the part and its log if one does not start or dies.
    """
    running = find_alive(settings)
    if running is not None:
        raise Conflict(
            f"Second Look is up in {settings.home} already (process {running.pid}).",
            hint=f"Open {running.ui_url}, or stop it with: secondlook down",
        )
    end_running(settings)  # what a killed process left behind
    joined = join(settings) if joins(settings) else None
    if joined is not None:
        settings = joined.settled(settings)
    _require_ports(settings, joined is not None)
    stop = threading.Event()
    _stop_on_signals(stop)
    with ExitStack() as stack:
        stack.callback(forget_running, settings)
        parts = _Parts(settings, stack, say, stop, joined, undeploy=undeploy)
        parts.start()
        if not stop.is_set():
            say(parts.links())
            note_settings(settings, open_units_of_work(settings))
            _record(settings, "system.started")
            stays = joined is not None and not undeploy
            stack.callback(_record, settings, "system.stopped", service_stays=stays)
            if on_ready is not None:
                on_ready()
        while not stop.wait(_POLL_SECONDS):
            parts.check()
        say("Stopping …")


class _Parts:
    def __init__(
        self,
        settings: Settings,
        stack: ExitStack,
        say: Say,
        stop: threading.Event,
        joined: JoinedRay | None,
        *,
        undeploy: bool,
    ) -> None:
        self._settings = settings
        self._stack = stack
        self._say = say
        self._stop = stop
        self._joined = joined
        self._undeploy = undeploy
        self._children: list[Child] = []
        self._champion: ModelRef | None = None
        self._stopped = False
        self._mlflow_url = settings.tracking

    def start(self) -> None:
        settings = self._settings
        self._say(f"Home: {settings.home}")
        units = open_units_of_work(settings)
        ensure_own_key(settings, units)  # for the app, and for what is typed on this machine
        jobs = open_training_jobs(settings, units)
        jobs.end()  # what trains on a Ray that is gone
        open_tracking(settings).prepare()
        self._champion = open_model_registry(settings).find_alias("champion")
        ray = self._joined_ray(self._joined) if self._joined else self._local_ray()
        self._note(ray)
        if not settings.tracking.startswith("http"):
            self._start_mlflow()
        self._start_child("app", [sys.executable, "-m", "cluster.app"], ray.environment())
        # Before the app and Ray end, so that a training puts on record that it was interrupted.
        self._stack.callback(jobs.end)
        self._note(ray)
        self._say("Starting the detector …")
        with units() as uow:
            trial = uow.trials.find_open()
        plan = trial.plan if trial else None
        joined = self._joined is not None
        order = deploy(settings, ray.dashboard_url, self._champion, plan, own_homes=joined)
        if joined:
            note_left(settings, ServiceAddress(settings.api_url, settings.dashboard_url))
        self._stopped = order.stop is not None
        self._note(ray)
        headers = api_headers(settings)
        wait_until_served(settings.api_url, order, _START_SECONDS, headers)
        self._wait_for("the reviewers' app", self._ui_url)
        if any(child.name == "mlflow" for child in self._children):
            self._wait_for("MLflow", self._mlflow_url)
        self._note(ray)

    def check(self) -> None:
        """Raise `Unavailable` if a part has died."""
        for child in self._children:
            code = child.exit_code()
            if code is not None:
                raise Unavailable(
                    f"The part {child.name} ended with exit code {code}:\n{child.last_lines()}",
                    hint=f"Its log is {child.log}. Then start again: secondlook up",
                )

    def links(self) -> str:
        model = self._champion
        serving = f"detector version {model.version}" if model else "no model yet"
        if self._stopped:
            serving = "stopped, until: secondlook models resume"
        lines = [
            "",
            f"  Reviewers' app   {self._settings.app_url}",
            f"  Detection API    {self._settings.api_url}/docs   ({serving})",
            f"  MLflow           {without_password(self._mlflow_url)}",
            f"  Ray dashboard    {self._settings.dashboard_url}",
            "",
        ]
        link = first_admin_link(self._settings)
        if link is not None:
            hours = f"{self._settings.link_hours:g} hours"
            lines += [
                "  Nobody has an account yet. This link makes the first one, with every role. It",
                f"  is good once, for {hours}, and until the next start:",
                f"    {link}",
                "",
            ]
        if model is None:
            lines += [
                "  No model is in service. Register one from another terminal:",
                f"    {program()} models register WEIGHTS.pt --alias champion",
                f"  or look around with generated data: {program()} up --demo",
                "",
            ]
        return "\n".join([*lines, *self._ending()])

    def _ending(self) -> list[str]:
        ends = f"Ctrl-C, or `{program()} down`, ends"
        if self._joined is None:
            return [f"{ends} all of it."]
        if self._undeploy:
            return [f"{ends} all of it, but for the cluster itself."]
        return [
            f"{ends} the app{self._and_mlflow()} on this machine. The detector stays in service on",
            f"the cluster, until: {program()} down --undeploy",
        ]

    def _and_mlflow(self) -> str:
        return " and MLflow" if any(each.name == "mlflow" for each in self._children) else ""

    def _local_ray(self) -> LocalRay:
        self._say("Starting Ray …")
        ray = self._stack.enter_context(local_ray(self._settings, self._settings.dashboard_port))
        _stop_on_signals(self._stop)  # again: Ray has put its own handlers in place of ours
        return ray

    def _joined_ray(self, joined: JoinedRay) -> JoinedRay:
        self._say(f"Joining the Ray cluster at {joined.address} …")
        warning = spread_warning(self._settings, joined.dashboard_url)
        if warning:
            self._say(warning)
        if self._undeploy:
            self._stack.callback(undeploy, self._settings, self._say)
        return joined

    @property
    def _ui_url(self) -> str:
        return f"http://{self._settings.host}:{self._settings.ui_port}"

    def _start_mlflow(self) -> None:
        settings = self._settings
        self._mlflow_url = f"http://{settings.host}:{settings.mlflow_port}"
        command = [sys.executable, "-m", "mlflow", "server"]
        command += ["--host", settings.host, "--port", str(settings.mlflow_port)]
        command += ["--workers", "1", "--default-artifact-root", artifact_root(settings)]
        # Not on the command line, which everybody on the machine sees: it may hold a password.
        store = {"MLFLOW_BACKEND_STORE_URI": settings.tracking}
        self._start_child("mlflow", command, artifact_environment(settings) | _WITHOUT_JOBS | store)

    def _start_child(self, name: str, command: list[str], more: Mapping[str, str]) -> None:
        environment = {**self._settings.environment(), **more}
        child = Child(name, command, self._settings.run_dir / f"{name}.log", environment)
        self._children.append(child)
        self._stack.callback(child.stop)

    def _wait_for(self, what: str, url: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._stop.is_set():
            self.check()
            try:
                if httpx.get(url, timeout=5).status_code < 500:
                    return
            except httpx.HTTPError:
                pass
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{what} did not answer at {url} within {_START_SECONDS:.0f} s.",
                    hint=f"Look into the logs in {self._settings.run_dir}.",
                )
            self._stop.wait(_POLL_SECONDS)

    def _note(self, ray: LocalRay | JoinedRay) -> None:
        note_running(self._settings, ray.address, ray.dashboard_url, self._mlflow_url)


def first_admin_link(settings: Settings) -> str | None:
    """A new one-time link that makes the first account; None once there is one, and where only a
    provider signs people in."""
    if not settings.password_sign_in:
        return None
    invitations = Invitations(open_units_of_work(settings), settings.sign_in)
    token = invitations.first_admin(settings.acting(Role.SYSTEM))
    return settings.welcome_url(token) if token else None


def undeploy(settings: Settings, say: Say) -> bool:
    """Take what serves on the cluster out of service: what `up` left, or what the settings name.
    False if there is nothing. Raises `Unavailable`, `Conflict`."""
    service = find_left(settings) or find_service(settings)
    dashboard = service.dashboard_url if service else ""
    if not dashboard and (settings.dashboard_at or joins(settings)):
        dashboard = (settings.dashboard_at and settings.dashboard_url) or find_dashboard(settings)
    if not dashboard:
        return False
    say("Taking the detector out of service …")
    removed = remove(dashboard)
    forget_left(settings)
    if removed:
        _record(settings, "serving.removed")
    return removed


def _require_ports(settings: Settings, joined: bool) -> None:
    if not joined:
        api, board = settings.api_port, settings.dashboard_port
        require_free_port(settings.host, api, "the detection API", "SECONDLOOK_API_PORT")
        require_free_port(settings.host, board, "Ray's dashboard", "SECONDLOOK_DASHBOARD_PORT")
    ui, mlflow = settings.ui_port, settings.mlflow_port
    require_free_port(settings.host, ui, "the reviewers' app", "SECONDLOOK_UI_PORT")
    if not (joined and settings.tracking.startswith("http")):
        require_free_port(settings.host, mlflow, "MLflow", "SECONDLOOK_MLFLOW_PORT")


def _stop_on_signals(stop: threading.Event) -> None:
    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)


def _record(settings: Settings, type: str, *, service_stays: bool = False) -> None:
    actor, subject = settings.acting(Role.SYSTEM), {"process": os.getpid()}
    details = {"service_stays": True} if service_stays else {}
    with open_units_of_work(settings)() as uow:
        uow.record(Event(type=type, actor=actor, subject=subject, details=details))
        uow.commit()

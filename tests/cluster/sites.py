"""Where a whole turn of the loop is tried: on one machine, and on several with servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from store.processes import ProcessRecord, free_port
from store.settings import Settings, load_settings
from tests.machines import Cluster, cluster
from tests.postgres import postgres_server
from tests.s3 import CREDENTIALS, s3_server

ROOT = Path(__file__).parents[2]
PATIENCE_S = 420.0
_WORKER = "RayTrainWorker"


@dataclass
class Site:
    """``folder`` has the app's home and the workspace; ``environment`` is what commands get there.

    ``kill_a_worker`` takes one of the places away at which a fold is trained; it returns False as
    long as there is none.
    """

    folder: Path
    environment: dict[str, str]
    kill_a_worker: Callable[[], bool]
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """Those of the app's machine, in this process as well: see `entered`."""
        return load_settings()

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def secondlook(self, *arguments: str, check: bool = True) -> str:
        """What the command prints."""
        cwd = self.workspace if self.workspace.exists() else self.folder
        done = subprocess.run(
            [sys.executable, "-m", "cluster.cli", *arguments],
            cwd=cwd,
            env=self._whole(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        if check:
            assert done.returncode == 0, (
                f"{arguments}:\n{done.stdout}\n{done.stderr}\n{self.logs()}"
            )
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What the command prints for machines; what follows ``--`` stays at its end."""
        place = arguments.index("--") if "--" in arguments else len(arguments)
        return json.loads(self.secondlook(*arguments[:place], "--json", *arguments[place:]))

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.parts[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=self._whole(),
                stdout=log,
                stderr=log,
            )
        return self.parts[name]

    def wait_for(
        self, happened: Callable[[], object], told: Callable[[], str] = lambda: ""
    ) -> None:
        """``told`` says more, should it not happen."""
        deadline = time.monotonic() + PATIENCE_S
        while not happened():
            ended = [name for name, part in self.parts.items() if part.poll() is not None]
            assert not ended, f"{ended[0]} ended:\n{self.logs()}"
            assert time.monotonic() < deadline, f"{self.logs()}\n{told()}"
            time.sleep(0.5)

    def logs(self) -> str:
        found = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{path.name}:\n{path.read_text()[-5000:]}" for path in found)

    def close(self) -> None:
        for part in reversed(self.parts.values()):
            part.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                part.wait(60)
            part.kill()
            part.wait()

    def _whole(self) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("SECONDLOOK_", "RAY_"))}
        kept.pop("MLFLOW_TRACKING_URI", None)
        return kept | {"PYTHONPATH": str(ROOT)} | self.environment


@contextmanager
def entered(site: Site) -> Iterator[Site]:
    """This process has the site's settings, and its parts end with it."""
    before, whole = dict(os.environ), site._whole()
    os.environ.clear()
    os.environ.update(whole)
    try:
        yield site
    finally:
        site.close()
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def one_machine(folder: Path, weights: Path) -> Iterator[Site]:
    """SQLite and files, and `secondlook up` with a Ray of its own."""
    environment = _own(folder)
    site = Site(folder, environment, lambda: _kill_fold_worker(folder / "var"))
    with entered(site):
        site.secondlook("models", "register", str(weights), "--alias", "champion")
        _up(site)
        yield site


@contextmanager
def three_nodes(folder: Path, weights: Path) -> Iterator[Site]:
    """A head and two workers of a Ray cluster, PostgreSQL, a store with S3's protocol and MLflow's
    server. No two of the machines have a disk in common; the app is on one of its own."""
    hidden = [folder]
    with ExitStack() as stack:
        nodes = stack.enter_context(cluster(CREDENTIALS, hidden, far_head=True))
        s3 = stack.enter_context(s3_server(nodes.ip))
        port = free_port()
        make = stack.enter_context(postgres_server(nodes.ip, port))
        os.environ.update(CREDENTIALS)
        mlflow_port = free_port()
        shared = {
            **CREDENTIALS,
            "SECONDLOOK_DATABASE_URL": make("template0"),
            "SECONDLOOK_STORAGE_URL": s3.bucket(),
            "MLFLOW_TRACKING_URI": f"http://{nodes.ip}:{mlflow_port}",
            "SECONDLOOK_HOST": "0.0.0.0",  # noqa: S104  # in a network of its own
        }
        site = Site(
            folder,
            _own(folder) | shared | {"SECONDLOOK_AUDIT_LOG": "here"},
            lambda: _kill_machine(nodes),
        )
        stack.enter_context(entered(site))
        _start_mlflow(site, nodes.ip, mlflow_port, make("template0"), shared)
        site.secondlook("models", "register", str(weights), "--alias", "champion")
        keys = dict(line.split("=", 1) for line in site.secondlook("keys", "env").splitlines())
        nodes.environment |= shared | keys | {"SECONDLOOK_AUDIT_LOG": "elsewhere"}
        nodes.start_head()
        for _ in range(2):
            nodes.add_worker(cpus=2)
        site.environment |= {
            name: value for name, value in nodes.environment.items() if name.startswith("RAY_")
        }
        site.environment |= {
            "RAY_ADDRESS": nodes.address,
            "SECONDLOOK_DASHBOARD_URL": nodes.dashboard_url,
        }
        os.environ.update(site.environment)
        _up(site)
        yield site


def _own(folder: Path) -> dict[str, str]:
    return {
        "SECONDLOOK_HOME": str(folder / "var"),
        "SECONDLOOK_API_PORT": str(free_port()),
        "SECONDLOOK_UI_PORT": str(free_port()),
        "SECONDLOOK_MLFLOW_PORT": str(free_port()),
        "SECONDLOOK_DASHBOARD_PORT": str(free_port()),
    }


def _up(site: Site) -> None:
    site.start("up", "cluster.cli", "up")
    note = site.settings.run_dir / "up.json"
    site.wait_for(lambda: note.exists() and "ends" in (site.folder / "up.log").read_text())
    running = json.loads(note.read_text())
    site.environment["SECONDLOOK_API_URL"] = running["api_url"]
    os.environ["SECONDLOOK_API_URL"] = running["api_url"]


def _start_mlflow(
    site: Site, host: str, port: int, database: str, shared: Mapping[str, str]
) -> None:
    bucket, _, endpoint = shared["SECONDLOOK_STORAGE_URL"].partition("?endpoint_url=")
    site.environment["MLFLOW_S3_ENDPOINT_URL"] = endpoint
    command = ["mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", database.replace("postgresql", "postgresql+psycopg")]
    command += ["--artifacts-destination", f"{bucket}/mlflow"]
    site.environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    site.start("mlflow", *command)

    def answers() -> bool:
        try:
            url = f"http://{host}:{port}/health"
            return httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    site.wait_for(answers)


def _kill_fold_worker(home: Path) -> bool:
    for owner in home.glob("training/*/fold-*/owner.json"):
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            process = ProcessRecord.from_dict(json.loads(owner.read_text())).find()
            if process is not None:
                process.kill()
                return True
    return False


def _kill_machine(nodes: Cluster) -> bool:
    """One on which a fold is trained; another one comes for it."""
    for worker in nodes.workers:
        if any(_WORKER in _title(pid) for pid in worker.pids()):
            worker.kill()
            nodes.add_worker(cpus=2, wait=False)
            return True
    return False


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""

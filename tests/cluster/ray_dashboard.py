"""A stand-in for Ray's dashboard: it answers as that does, and runs a job as Ray's supervisor does
(ray/dashboard/modules/job/job_supervisor.py), without a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

TOKEN = "a-token-of-this-test"
_POLL_SECONDS = 0.05


@dataclass(slots=True)
class Running:
    raw: dict[str, Any]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    stopping: bool = False


@dataclass(slots=True)
class Dashboard:
    """``token`` empty: nobody is asked for one. ``drops`` is how many of the next requests get no
    answer, ``mute`` of how many of the next jobs nobody hears that they were taken; ``runs``
    whether jobs are started at all. ``packages`` are what was uploaded."""

    folder: Path
    token: str = TOKEN
    drops: int = 0
    mute: int = 0
    runs: bool = True
    jobs: dict[str, Running] = field(default_factory=dict)
    packages: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def submit(self, job: Mapping[str, Any]) -> None:
        job_id = job["submission_id"]
        raw = {
            "type": "SUBMISSION",
            "submission_id": job_id,
            "status": "PENDING",
            "message": "Job has not started yet.",
            "entrypoint": job["entrypoint"],
            "metadata": job["metadata"],
            "runtime_env": job["runtime_env"],
            "entrypoint_num_cpus": job["entrypoint_num_cpus"],
            "start_time": int(time.time() * 1000),
        }
        running = self.jobs[job_id] = Running(raw, self.folder / f"ray-{job_id}.log")
        running.log.touch()
        if self.runs:
            threading.Thread(target=self._run, args=(running,), daemon=True).start()

    def end(self, job_id: str, status: str, message: str = "", log: str = "") -> None:
        """As if it had run."""
        running = self.jobs[job_id]
        running.log.write_text(log)
        running.raw |= {"status": status, "message": message, "end_time": int(time.time() * 1000)}

    def kill_all(self) -> None:
        """What becomes of jobs when their cluster ends."""
        for running in self.jobs.values():
            if running.process is not None and running.process.poll() is None:
                os.killpg(running.process.pid, signal.SIGKILL)

    def _run(self, running: Running) -> None:
        with running.log.open("ab") as log:
            running.process = subprocess.Popen(  # noqa: S602
                running.raw["entrypoint"],
                shell=True,
                start_new_session=True,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment | running.raw["runtime_env"]["env_vars"],
                # Ray blocks it in all of its processes.
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}),
            )
        running.raw["status"] = "RUNNING"
        while running.process.poll() is None and not running.stopping:
            time.sleep(_POLL_SECONDS)
        code: int | None = running.process.poll()
        status = "SUCCEEDED" if code == 0 else "FAILED"
        if running.stopping:
            self._stop(running)
            code, status = None, "STOPPED"
        running.raw |= {
            "driver_exit_code": code,
            "end_time": int(time.time() * 1000),
            "status": status,
        }

    @staticmethod
    def _stop(running: Running) -> None:
        assert running.process is not None
        patience = float(running.raw["runtime_env"]["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"])
        try:
            own = psutil.Process(running.process.pid)
            family = [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in family:
            process.terminate()
        _, alive = psutil.wait_procs(family, timeout=patience)
        for process in alive:
            process.kill()


@contextmanager
def dashboard_at(folder: Path, **options: Any) -> Iterator[Dashboard]:
    dashboard = Dashboard(folder, **options)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            if self._refused():
                return
            if self.path == "/api/jobs/":
                self._send([running.raw for running in dashboard.jobs.values()])
            elif self.path.startswith("/api/packages/gcs/"):
                known = self.path.rpartition("/")[2] in dashboard.packages
                self._text(200 if known else 404, "Package does not exist")
            else:
                self._of_a_job()

        def do_PUT(self) -> None:
            if not self._refused():
                data = self._body()
                dashboard.packages[self.path.rpartition("/")[2]] = data
                self._text(200, "")

        def do_POST(self) -> None:
            if self._refused():
                return
            body = self._body()
            if self.path == "/api/jobs/":
                job = json.loads(body)
                dashboard.submit(job)
                if dashboard.mute > 0:
                    dashboard.mute -= 1
                    self.close_connection = True
                    self.connection.close()
                    return
                self._send({"submission_id": job["submission_id"]})
            else:
                self._of_a_job()

        def _of_a_job(self) -> None:
            _, _, _, job_id, *action = self.path.split("/")
            running = dashboard.jobs.get(job_id)
            if running is None:
                self._text(404, f"Job {job_id} does not exist")
            elif action == ["logs"]:
                self._send({"logs": running.log.read_text()})
            elif action == ["stop"]:
                running.stopping = True
                self._send({"stopped": True})
            else:
                self._send(running.raw)

        def _refused(self) -> bool:
            dashboard.asked.append(f"{self.command} {self.path}")
            if dashboard.drops > 0:
                dashboard.drops -= 1
                self.close_connection = True
                self.connection.close()
                return True
            sent = self.headers.get("authorization", "")
            if dashboard.token and not sent:
                self._body()
                self._text(401, "Unauthorized: Missing authentication token")
                return True
            if dashboard.token and sent != f"Bearer {dashboard.token}":
                self._body()
                self._text(403, "Forbidden: Invalid authentication token")
                return True
            return False

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("content-length", "0")))

        def _send(self, value: Any) -> None:
            self._text(200, json.dumps(value))

        def _text(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    dashboard.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    dashboard.server.daemon_threads = True
    threading.Thread(target=dashboard.server.serve_forever, daemon=True).start()
    try:
        yield dashboard
    finally:
        dashboard.kill_all()
        dashboard.server.shutdown()
        dashboard.server.server_close()

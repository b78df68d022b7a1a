"""A Ray cluster of three nodes that others started, each with a home of its own: PostgreSQL, images
in a bucket, replicas on two nodes, and one of the nodes killed under load."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
import pytest

from cluster.doctor_nodes import cluster as examine_cluster
from cluster.joined_ray import find_dashboard, join
from cluster.local_ray import ray_environment
from cluster.up import undeploy
from loop.predictions import ModelRef
from serve.dashboard import application_of, dashboard_client
from serve.release import deploy, wait_until_served
from store.own_key import api_headers, ensure_own_key
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work
from tests.s3 import S3Server, open_bucket
from tests.serve.conftest import picture
from tests.serve.test_app import JPEG, free_port, register_models, trickle
from tests.store.conftest import migrated_postgres, postgres  # noqa: F401 (fixtures)

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(600)]
SECONDS = 120


@dataclass
class Nodes:
    settings: Settings
    dashboard: str
    ray: Any  # ray.cluster_utils.Cluster
    model: ModelRef

    def replicas(self) -> list[dict[str, Any]]:
        """Those that run."""
        with dashboard_client(self.dashboard) as client:
            found = application_of(client)
        assert found is not None
        replicas = found["deployments"]["DetectorReplica"]["replicas"]
        return [each for each in replicas if each["state"] == "RUNNING"]

    def kill(self, node_id: str) -> None:
        """With all its processes, as when a machine is switched off."""
        (node,) = [each for each in self.ray.worker_nodes if each.node_id == node_id]
        raylet = node.all_processes["raylet"][0].process.pid
        family = [*psutil.Process(raylet).children(recursive=True), psutil.Process(raylet)]
        for process in family:
            os.kill(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def nodes(
    tmp_path_factory: pytest.TempPathFactory,
    s3: S3Server,
    postgres: Callable[[str], str],  # noqa: F811
    migrated_postgres: str,  # noqa: F811
) -> Iterator[Nodes]:
    from ray.cluster_utils import Cluster

    home = tmp_path_factory.mktemp("home")
    with ExitStack() as resources, pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "SECONDLOOK_DATABASE_URL": postgres(migrated_postgres),
            "SECONDLOOK_STORAGE_URL": s3.bucket(),
            "SECONDLOOK_API_PORT": str(free_port()),
            "SECONDLOOK_MIN_CONFIDENCE": "0.1",
            "SECONDLOOK_MAX_REPLICAS": "2",
            "SECONDLOOK_REPLICA_TARGET": "1.5",
            "SECONDLOOK_REPLICA_IDLE_SECONDS": "5",
            "SECONDLOOK_SERVE_RESOURCE": "serving",
        }.items():
            environment.setenv(name, value)
        for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
            environment.delenv(name, raising=False)
        settings = load_settings(home)
        model, _, _ = register_models(settings, home)
        ensure_own_key(settings, open_units_of_work(settings))
        sockets = Path(resources.enter_context(TemporaryDirectory()))
        for name, value in ray_environment(settings, sockets).items():
            environment.setenv(name, value)
        keys = home / "keys" / "models" / "signing.pub.pem"

        def own(name: str) -> dict[str, Any]:
            """Nothing of the first home but the public key."""
            there = tmp_path_factory.mktemp(name)
            variables = {"SECONDLOOK_HOME": there, "SECONDLOOK_MODEL_VERIFY_KEYS": keys}
            return {"env_vars": {name: str(value) for name, value in variables.items()}}

        cluster: Any = Cluster()
        try:
            cluster.add_node(
                **own("head"),
                num_cpus=0,
                include_dashboard=True,
                dashboard_port=free_port(),
            )
            for name in ("one", "two"):
                cluster.add_node(**own(name), num_cpus=1, resources={"serving": 1})
            joined = load_settings(home).model_copy(update={"ray_address": cluster.address})
            found = join(joined)
            settings = found.settled(joined)
            order = deploy(settings, found.dashboard_url, model, own_homes=True)
            wait_until_served(settings.api_url, order, 240, api_headers(settings))
            yield Nodes(settings, found.dashboard_url, cluster, model)
        finally:
            cluster.shutdown()


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
        places = {each["node_id"] for each in nodes.replicas()}
        assert len(places) == 2
    # On a machine that is far too busy some get 503 meanwhile.
    assert_mostly_answered(seen, nodes.model.version)

    # When a node dies with its replica, requests go on: no client waits for ever, and what fails
    # says what to do.
    with trickle(settings.api_url, 6, headers=headers) as seen:
        waited_for(lambda: seen[200, nodes.model.version] > 20)
        victim = nodes.replicas()[-1]["node_id"]
        nodes.kill(victim)
        before = seen[200, nodes.model.version]
        waited_for(lambda: victim not in {each["node_id"] for each in nodes.replicas()})
        waited_for(lambda: seen[200, nodes.model.version] > before + 20)
    total = sum(seen.values())
    failed = total - seen[200, nodes.model.version]
    record_property("requests", total)
    record_property("failed", failed)
    assert_mostly_answered(seen, nodes.model.version)

    # Without load, the first replica is enough again (and the other node is gone).
    waited_for(lambda: len(nodes.replicas()) == 1)
    assert undeploy(settings, lambda _: None)
    assert not undeploy(settings, lambda _: None)

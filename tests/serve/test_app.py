"""The real thing: Ray Serve on this machine, deployed and swapped over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
import pytest

from loop.api_keys import Scope
from loop.errors import Unavailable
from loop.events import Actor, Role
from loop.managing_keys import ManageApiKeys
from loop.predictions import ModelRef
from loop.trial_counts import TrialCounts, summed
from loop.trials import TrialKind, TrialPlan
from serve.haproxy import proxy_environment
from serve.release import deploy, swap, wait_until_served, wait_until_tried
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work
from tests.detector.checkpoints import NAMES, write_checkpoint
from tests.serve.conftest import picture

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

OTHER_NAMES = ("rod", "ring", "blob")
_SWAPS = 20
JPEG = {"content-type": "image/jpeg"}


@dataclass
class Cluster:
    settings: Settings
    dashboard: str
    one: ModelRef
    two: ModelRef
    broken: ModelRef
    sockets: Path

    @property
    def api(self) -> str:
        return self.settings.api_url

    def try_out(self, plan: TrialPlan | None) -> None:
        deploy(self.settings, self.dashboard, self.one, plan)
        wait_until_tried(self.api, plan, 60)

    def swap(self, model: ModelRef | None) -> None:
        swap(self.settings, self.dashboard, model)
        wait_until_served(self.api, model, 60)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    import ray

    home = tmp_path_factory.mktemp("home")
    with ExitStack() as resources, pytest.MonkeyPatch.context() as environment:
        environment.delenv("RAY_ADDRESS", raising=False)
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        environment.setenv("SECONDLOOK_API_PORT", str(free_port()))
        environment.setenv("SECONDLOOK_MIN_CONFIDENCE", "0.1")
        environment.setenv("SECONDLOOK_API_OPEN_ON_LOOPBACK", "true")
        environment.setenv("SECONDLOOK_REPLICAS", "2")
        settings = load_settings(home)
        sockets = Path(resources.enter_context(TemporaryDirectory()))
        for name, value in proxy_environment(settings, sockets).items():
            environment.setenv(name, value)
        models = register_models(settings, home)
        context = ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=free_port(),
            object_store_memory=200 * 2**20,
            log_to_driver=False,
        )
        try:
            dashboard = f"http://{context.dashboard_url}"
            deploy(settings, dashboard, models[0])
            wait_until_served(settings.api_url, models[0], 240)
            yield Cluster(settings, dashboard, *models, sockets)
        finally:
            ray.shutdown()


def register_models(settings: Settings, folder: Path) -> tuple[ModelRef, ModelRef, ModelRef]:
    """Two that work and one that is not a checkpoint at all."""
    from loop.classes import ClassList
    from store.model_registry import open_model_registry

    registry = open_model_registry(settings)
    config_dir = folder / "ultralytics"
    refs = []
    for number, names in enumerate((NAMES, OTHER_NAMES, NAMES)):
        weights = folder / f"{number}.pt"
        if number == 2:
            weights.write_bytes(b"no checkpoint")
        else:
            write_checkpoint(weights, config_dir=config_dir, seed=number, names=names)
        refs.append(registry.register(weights, classes=ClassList(names), run_id=None, tags={}))
    return refs[0], refs[1], refs[2]


@contextmanager
def trickle(api: str, clients: int = 2, *, pictures: int = 1) -> Iterator[Counter[tuple[int, str]]]:
    """Detections all the time, of so many pictures for each client in turn; counts status and model
    version."""
    seen: Counter[tuple[int, str]] = Counter()
    stop = threading.Event()

    def send(seed: int) -> None:
        bodies = cycle(
            [picture(90, 60, seed=seed + clients * number) for number in range(pictures)]
        )
        with httpx.Client(base_url=api, timeout=30) as client:
            while not stop.is_set():
                body = next(bodies)
                try:
                    response = client.post("/v1/detect", content=body, headers=JPEG)
                    version = response.json().get("model", {}).get("version", "")
                    seen[response.status_code, version] += 1
                except httpx.HTTPError as error:
                    seen[0, repr(error)] += 1

    threads = [threading.Thread(target=send, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def replica_pids(cluster: Cluster) -> list[int]:
    return [replica["pid"] for replica in running_replicas(cluster)]


def _is_proxy_of(process: psutil.Process, cluster: Cluster) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return "-f" in command and any(each.startswith(str(cluster.sockets)) for each in command)


def answered(seen: Counter[tuple[int, str]], more: int) -> None:
    """Wait until so many more requests have been answered."""
    done = sum(seen.values())
    while sum(seen.values()) < done + more:
        time.sleep(0.01)


def waited_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def replicas(cluster: Cluster) -> set[str]:
    """The actors behind the application: a restart makes new ones."""
    return {replica["actor_id"] for replica in running_replicas(cluster)}


def running_replicas(cluster: Cluster) -> list[dict[str, Any]]:
    from serve.release import _application, _client

    with _client(cluster.dashboard) as client:
        application = _application(client)
    assert application is not None
    return [
        replica
        for deployment in application["deployments"].values()
        for replica in deployment["replicas"]
        if replica["state"] == "RUNNING"
    ]


def test_an_image_goes_through_the_served_model(cluster: Cluster) -> None:
    cluster.swap(cluster.one)
    with httpx.Client(base_url=cluster.api, timeout=30) as client:
        answer = client.post("/v1/images", content=picture(90, 60), headers=JPEG)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["model"] == cluster.one.as_dict()
        assert (body["width"], body["height"]) == (90, 60)
        assert body["detections"]
        assert {d["class_name"] for d in body["detections"]} <= set(NAMES)
        assert body["review_id"]
        assert client.get("/readyz").status_code == 200
        assert client.get("/v1/model").json()["image_size"] == 64


def test_a_swap_under_load_fails_no_request_and_restarts_nothing(cluster: Cluster) -> None:
    cluster.swap(cluster.one)
    before = replicas(cluster)
    with trickle(cluster.api) as seen:
        for _ in range(_SWAPS // 2):
            cluster.swap(cluster.one)
            cluster.swap(cluster.two)
        answered(seen, 10)
    assert {status for status, _ in seen} == {200}, seen
    assert {version for _, version in seen} == {cluster.one.version, cluster.two.version}
    assert replicas(cluster) == before
    state = httpx.get(f"{cluster.api}/v1/model").json()
    assert state["classes"] == list(OTHER_NAMES)


def test_a_broken_model_is_reported_and_the_old_one_serves_on(cluster: Cluster) -> None:
    cluster.swap(cluster.one)
    before = replicas(cluster)
    with trickle(cluster.api) as seen:
        swap(cluster.settings, cluster.dashboard, cluster.broken)
        with pytest.raises(Unavailable, match="cannot be loaded"):
            wait_until_served(cluster.api, cluster.broken, 60)
    assert set(seen) == {(200, cluster.one.version)}
    state = httpx.get(f"{cluster.api}/v1/model").json()
    assert state["model"] == cluster.one.as_dict()
    assert state["wanted"] == cluster.broken.as_dict()
    assert state["error"]
    assert replicas(cluster) == before
    cluster.swap(cluster.two)  # and it is no dead end


def counts_of(cluster: Cluster, plan: TrialPlan) -> TrialCounts:
    by_replica = httpx.get(f"{cluster.api}/v1/trial", timeout=30).json()["trials"][plan.id]
    assert len(by_replica) == cluster.settings.replicas
    return summed(TrialCounts.from_dict(each) for each in by_replica.values())


def test_a_canary_under_load_answers_its_share_and_fails_no_request(cluster: Cluster) -> None:
    cluster.swap(cluster.one)
    before = replicas(cluster)
    plan = TrialPlan("canary", TrialKind.CANARY, 0.5, cluster.two)
    with trickle(cluster.api, pictures=8) as seen:
        cluster.try_out(plan)
        answered(seen, 60)
        told = httpx.get(f"{cluster.api}/v1/model").json()
        cluster.try_out(None)
        stopped_at = seen[200, cluster.two.version]
        answered(seen, 10)
    assert {status for status, _ in seen} == {200}, seen
    assert {version for _, version in seen} == {cluster.one.version, cluster.two.version}
    # One more at most: an answer that was on its way to a client when the replicas had stopped.
    assert seen[200, cluster.two.version] <= stopped_at + 2
    assert told["model"] == cluster.one.as_dict()
    assert told["trial"] == {**plan.as_dict(), "loading": False, "error": None}
    counts = counts_of(cluster, plan)
    assert counts.candidate.images == seen[200, cluster.two.version]
    assert counts.candidate.errors == 0
    assert counts.champion.images > 0
    assert set(counts.candidate.classes) <= set(OTHER_NAMES)
    assert replicas(cluster) == before


def test_a_shadow_is_compared_and_never_answers(cluster: Cluster) -> None:
    cluster.swap(cluster.one)
    plan = TrialPlan("shadow", TrialKind.SHADOW, 1.0, cluster.two)
    with trickle(cluster.api) as seen:
        cluster.try_out(plan)
        answered(seen, 40)
        cluster.try_out(None)
    assert set(seen) == {(200, cluster.one.version)}
    counts = counts_of(cluster, plan)
    assert counts.paired > 0
    assert counts.paired + counts.skipped <= sum(seen.values())
    text = httpx.get(f"{cluster.api}/metrics", timeout=30).text
    assert 'secondlook_trial_images_total{kind="shadow",outcome="compared"' in text


def test_a_candidate_that_cannot_be_loaded_is_reported_and_the_champion_answers(
    cluster: Cluster,
) -> None:
    cluster.swap(cluster.one)
    plan = TrialPlan("broken", TrialKind.CANARY, 0.5, cluster.broken)
    with trickle(cluster.api, pictures=8) as seen:
        with pytest.raises(Unavailable, match="cannot be loaded"):
            cluster.try_out(plan)
        answered(seen, 10)
    assert set(seen) == {(200, cluster.one.version)}
    cluster.try_out(None)
    assert httpx.get(f"{cluster.api}/v1/model").json()["trial"] is None


def test_every_replica_is_in_the_metrics(cluster: Cluster) -> None:
    cluster.swap(cluster.one)
    text = httpx.get(f"{cluster.api}/metrics", timeout=30).text
    models = [line for line in text.splitlines() if line.startswith("secondlook_model_info")]
    assert len(models) == cluster.settings.replicas
    assert all(f'digest="{cluster.one.digest}"' in line for line in models)


def test_a_killed_replica_under_load_fails_no_request(cluster: Cluster) -> None:
    cluster.swap(cluster.one)
    before = replicas(cluster)
    with trickle(cluster.api, clients=4) as seen:
        answered(seen, 10)
        os.kill(replica_pids(cluster)[0], signal.SIGKILL)
        waited_for(lambda: len(replicas(cluster) - before) == 1)
        wait_until_served(cluster.api, cluster.one, 180)
        answered(seen, 20)
    assert set(seen) == {(200, cluster.one.version)}, seen


def test_replicas_come_and_go_with_the_requests_and_fail_none(cluster: Cluster) -> None:
    cluster.swap(cluster.one)
    few = {"replicas": 1, "max_replicas": 1}
    follows = few | {"max_replicas": 2, "replica_target": 1.0}
    with trickle(cluster.api, clients=4) as seen:
        answered(seen, 10)
        for update, count in ((few, 1), (follows, 2)):
            settings = cluster.settings.model_copy(update=update)
            swap(settings, cluster.dashboard, cluster.one)
            waited_for(lambda count=count: len(running_replicas(cluster)) == count)
            answered(seen, 20)
    assert set(seen) == {(200, cluster.one.version)}, seen
    swap(cluster.settings, cluster.dashboard, cluster.one)


def test_nothing_of_the_proxy_listens_beyond_this_machine(cluster: Cluster) -> None:
    proxies = [process for process in psutil.process_iter() if _is_proxy_of(process, cluster)]
    assert proxies
    for process in proxies:
        listening = [each for each in process.net_connections() if each.status == "LISTEN"]
        assert {each.laddr.ip for each in listening} <= {"127.0.0.1"}
        assert cluster.settings.api_port in {each.laddr.port for each in listening}


def test_without_a_model_it_says_so(cluster: Cluster) -> None:
    cluster.swap(None)
    response = httpx.post(f"{cluster.api}/v1/detect", content=picture(), headers=JPEG)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "no_model"
    assert httpx.get(f"{cluster.api}/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/v1/detect", "/v1/images"])
def test_bad_uploads_get_the_same_errors_through_the_proxy(cluster: Cluster, path: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(cluster.settings.max_image_bytes // 2**20 + 8):
            yield b"\xff" * 2**20

    with httpx.Client(base_url=cluster.api, timeout=60) as client:
        for body, status, code in (
            (b"", 422, "no_image"),
            (b"text", 415, "not_an_image"),
            (picture(200, 200)[:1500], 415, "truncated"),
        ):
            response = client.post(path, content=body, headers=JPEG)
            assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        response = client.post(path, content=endless(), headers=JPEG)
        assert response.status_code == 413
        assert client.get("/nowhere").json()["error"]["code"] == "not_found"


def test_behind_a_proxy_only_a_key_comes_in(cluster: Cluster) -> None:
    """Loopback is open here, and HAProxy is not taken for one that forwards."""
    cluster.swap(cluster.one)
    forwarded = {**JPEG, "x-forwarded-for": "127.0.0.1"}
    manage = ManageApiKeys(open_units_of_work(cluster.settings))
    _, text = manage.create("test", [Scope.QUEUE], actor=Actor("admin", Role.ADMIN), per_minute=1)

    def endless() -> Iterator[bytes]:
        while True:
            yield b"\xff" * 2**16

    with httpx.Client(base_url=cluster.api, timeout=60) as client:
        for path in ("/v1/detect", "/v1/images"):
            refusal = client.post(path, content=endless(), headers=forwarded)
            assert (refusal.status_code, refusal.json()["error"]["code"]) == (401, "no_key")
        assert client.get("/healthz", headers=forwarded).status_code == 200
        keyed = {**forwarded, "authorization": f"Bearer {text}"}
        seen = [
            client.post(path, content=picture(90, 60, seed=9), headers=keyed)
            for path in ("/v1/detect", *["/v1/images"] * (1 + len(replica_pids(cluster))))
        ]
    first, second, *others = seen
    assert (first.status_code, second.status_code) == (403, 200)
    # Each replica counts for itself, and there is one image more than there are replicas.
    refused = [each for each in others if each.status_code == 429]
    assert refused
    assert {each.status_code for each in others} - {200} == {429}
    assert all(int(each.headers["retry-after"]) > 0 for each in refused)


def test_a_request_id_is_given_back_once(cluster: Cluster) -> None:
    response = httpx.get(f"{cluster.api}/healthz", headers={"x-request-id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"


def test_a_dashboard_that_is_not_there_is_reported_with_a_hint(cluster: Cluster) -> None:
    with pytest.raises(Unavailable, match="does not answer") as refusal:
        deploy(cluster.settings, f"http://127.0.0.1:{free_port()}", cluster.one)
    assert "secondlook up" in refusal.value.hint

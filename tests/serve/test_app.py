"""The real thing: Ray Serve on this machine, deployed and swapped over HTTP."""

from __future__ import annotations

import json
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

from cluster.local_ray import ray_environment
from cluster.service import service_swap
from loop.api_keys import Scope
from loop.drift import MIN_DETECTIONS, Reference, profile_of
from loop.errors import Stopped, Unavailable
from loop.event_query import EventQuery
from loop.events import Actor, Event, Outcome, Role
from loop.managing_keys import ManageApiKeys
from loop.predictions import ModelRef
from loop.promoting import CHAMPION, RELEASE_REASON_TAG, RELEASE_TAG, approve, promote
from loop.promotions import PromotionState
from loop.serving_orders import ServingOrder
from loop.stopping import resume_service, stop_service
from loop.trial_counts import TrialCounts, summed
from loop.trials import TrialKind, TrialPlan
from serve.release import (
    STOPPED,
    ask_for,
    deploy,
    wait_until_served,
    wait_until_tried,
    what_serves,
)
from store.audit_log import open_audit_log
from store.model_registry import open_model_registry
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work
from tests.cluster.fakes import proposal
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
    truncated: ModelRef
    wrongly_signed: ModelRef
    logs: Path

    @property
    def api(self) -> str:
        return self.settings.api_url

    def try_out(self, plan: TrialPlan | None) -> None:
        wait_until_tried(self.api, ask_for(self.settings, self.one, plan), 60)

    def swap(self, model: ModelRef | None) -> ServingOrder:
        order = ask_for(self.settings, model)
        wait_until_served(self.api, order, 60)
        return order


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
        for name, value in ray_environment(settings, sockets).items():
            environment.setenv(name, value)
        one, two, broken = register_models(settings, home)
        truncated, wrongly_signed = spoil(settings, home)
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
            order = deploy(settings, dashboard, one)
            wait_until_served(settings.api_url, order, 240)
            logs = Path(ray._private.worker._global_node.get_logs_dir_path())
            yield Cluster(
                settings, dashboard, one, two, broken, sockets, truncated, wrongly_signed, logs
            )
        finally:
            ray.shutdown()


def register_models(settings: Settings, folder: Path) -> tuple[ModelRef, ModelRef, ModelRef]:
    """Two that work and one that is not a checkpoint at all; the first one was measured."""
    from loop.classes import ClassList
    from store.drift_references import keep_reference
    from store.model_registry import open_model_registry
    from store.tracking import open_tracking

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
    profile = profile_of([([0], [0.5])] * MIN_DETECTIONS, NAMES, settings.min_confidence)
    keep_reference(open_tracking(settings), registry, Reference(refs[0], "a" * 64, profile))
    return refs[0], refs[1], refs[2]


def spoil(settings: Settings, folder: Path) -> tuple[ModelRef, ModelRef]:
    """The first model twice more: with half of its weights, and signed by a stranger, who has put
    the signature on record as well."""
    from loop.classes import ClassList
    from store.model_files import signature_tags
    from store.model_folder import WEIGHTS
    from store.model_keys import ModelKeys
    from store.model_registry import open_model_registry
    from store.model_signature import SIGNATURE, file_digests, read_signature, sign

    registry = open_model_registry(settings)
    classes = ClassList(NAMES)
    refs, places = [], []
    for _ in range(2):
        ref = registry.register(folder / "0.pt", classes=classes, run_id=None, tags={})
        run = registry._tracking.run(registry.run_of(ref))
        refs.append(ref)
        places.append(Path(run.artifact_uri.removeprefix("file://")) / "model")
    weights = places[0] / WEIGHTS
    os.truncate(weights, weights.stat().st_size // 2)
    stranger = ModelKeys(folder / "stranger").signing_key()
    content = sign(settings.model_name, file_digests("it", places[1]), stranger)
    (places[1] / SIGNATURE).write_bytes(content)
    trusted = {stranger.public.fingerprint: stranger.public}
    registry.set_tags(refs[1], signature_tags(read_signature("it", content, trusted)))
    return refs[0], refs[1]


@contextmanager
def trickle(
    api: str,
    clients: int = 2,
    *,
    pictures: int = 1,
    headers: dict[str, str] | None = None,
) -> Iterator[Counter[tuple[int, str]]]:
    """Detections all the time, of so many pictures for each client in turn; counts status and model
    version."""
    seen: Counter[tuple[int, str]] = Counter()
    stop = threading.Event()

    def send(seed: int) -> None:
        bodies = cycle(
            [picture(90, 60, seed=seed + clients * number) for number in range(pictures)]
        )
        with httpx.Client(base_url=api, timeout=30, headers=headers) as client:
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
    from serve.dashboard import application_of, dashboard_client

    with dashboard_client(cluster.dashboard) as client:
        application = application_of(client)
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


def test_a_stop_reaches_every_replica_restarts_none_and_is_lifted(cluster: Cluster) -> None:
    cluster.swap(cluster.one)
    before, engineer = replicas(cluster), Actor("eva", Role.ENGINEER)
    units = open_units_of_work(cluster.settings)
    stop_service(units, actor=engineer, reason="It misses rods.")
    waited_for(lambda: what_serves(cluster.api) == STOPPED)
    with httpx.Client(base_url=cluster.api, timeout=30) as client:
        for _ in range(10):  # whichever replica answers
            answer = client.post("/v1/images", content=picture(90, 60), headers=JPEG)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "stopped"
        assert client.get("/v1/model").json()["stopped"]["by"] == "eva"
        with pytest.raises(Stopped):
            cluster.swap(cluster.two)
        wait_until_served(cluster.api, deploy(cluster.settings, cluster.dashboard, cluster.two), 60)
        assert client.post("/v1/detect", content=picture(90, 60)).status_code == 503
        assert replicas(cluster) == before
        order = resume_service(units, cluster.one, actor=engineer, reason="Mended.")
        wait_until_served(cluster.api, order, 60)
        assert client.post("/v1/detect", content=picture(90, 60)).status_code == 200
    assert replicas(cluster) == before


def test_a_broken_model_is_reported_and_the_old_one_serves_on(cluster: Cluster) -> None:
    cluster.swap(cluster.one)
    before = replicas(cluster)
    with trickle(cluster.api) as seen, pytest.raises(Unavailable, match="cannot be loaded"):
        cluster.swap(cluster.broken)
    assert set(seen) == {(200, cluster.one.version)}
    state = httpx.get(f"{cluster.api}/v1/model").json()
    assert state["model"] == cluster.one.as_dict()
    assert state["wanted"] == cluster.broken.as_dict()
    assert state["error"]
    assert replicas(cluster) == before
    cluster.swap(cluster.two)  # and it is no dead end


@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("broken", "cannot be loaded"),
        ("truncated", "digest"),
        ("wrongly_signed", "not trusted"),
    ],
)
def test_a_release_that_fails_is_on_record_and_the_old_one_serves_on_everywhere(
    cluster: Cluster, which: str, why: str
) -> None:
    ref: ModelRef = getattr(cluster, which)
    settings, engineer = cluster.settings, Actor("engineer-1", Role.ENGINEER)
    units, registry = open_units_of_work(settings), open_model_registry(settings)
    cluster.swap(cluster.one)
    registry.set_alias(CHAMPION, cluster.one)
    with units() as uow:
        uow.promotions.add(proposal(ref, cluster.one))
        uow.record(Event("test.happened", Actor("gate", Role.SYSTEM), {}))
        uow.commit()
    approve(units, ref, actor=engineer, reason="looks better")
    before = replicas(cluster)
    swap_in = service_swap(settings, cluster.dashboard, cluster.api)
    with trickle(cluster.api) as seen:
        with pytest.raises(Unavailable, match=why):
            promote(units, registry, ref, actor=engineer, swap=swap_in)
        answered(seen, 10)
    assert set(seen) == {(200, cluster.one.version)}
    # Every replica, and those that start later: what is wanted is the old one again.
    state = httpx.get(f"{cluster.api}/v1/model").json()
    old = cluster.one.as_dict()
    assert (state["model"], state["wanted"], state["error"]) == (old, old, None)
    assert replicas(cluster) == before
    assert registry.find_alias(CHAMPION) == cluster.one
    found = next(each for each in registry.versions() if each.ref == ref)
    assert found.tags[RELEASE_TAG] == PromotionState.FAILED
    with units() as uow:
        promotion = uow.promotions.find(ref.name, ref.version)
    assert promotion is not None
    assert promotion.failure is not None
    query = EventQuery(types=("promotion.ended",))
    event = open_audit_log(settings).find(query, limit=1)[0].event
    assert event.outcome is Outcome.FAILED
    for reason in (promotion.failure["reason"], event.reason, found.tags[RELEASE_REASON_TAG]):
        assert why in reason


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


def test_every_replica_compares_with_what_its_model_was_measured_with(cluster: Cluster) -> None:
    cluster.swap(cluster.one)
    deadline = time.monotonic() + 60  # the reference comes after the model
    lines: list[str] = []
    while len(lines) < cluster.settings.replicas and time.monotonic() < deadline:
        text = httpx.get(f"{cluster.api}/metrics", timeout=30).text
        lines = [line for line in text.splitlines() if line.startswith("secondlook_drift_images{")]
        time.sleep(0.1)
    assert len(lines) == cluster.settings.replicas


def test_a_killed_replica_under_load_fails_no_request(cluster: Cluster) -> None:
    order = cluster.swap(cluster.one)
    before = replicas(cluster)
    with trickle(cluster.api, clients=4) as seen:
        answered(seen, 10)
        os.kill(replica_pids(cluster)[0], signal.SIGKILL)
        waited_for(lambda: len(replicas(cluster) - before) == 1)
        wait_until_served(cluster.api, order, 180)
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
            deploy(settings, cluster.dashboard, cluster.one)
            waited_for(lambda count=count: len(running_replicas(cluster)) == count)
            answered(seen, 20)
    assert set(seen) == {(200, cluster.one.version)}, seen
    deploy(cluster.settings, cluster.dashboard, cluster.one)


def test_nothing_of_the_proxy_listens_beyond_this_machine(cluster: Cluster) -> None:
    proxies = [process for process in psutil.process_iter() if _is_proxy_of(process, cluster)]
    assert proxies
    # Of all of them: one that has handed over to its successor listens no more.
    listening = [
        each.laddr
        for process in proxies
        for each in process.net_connections()
        if each.status == "LISTEN"
    ]
    assert {each.ip for each in listening} == {"127.0.0.1"}
    assert cluster.settings.api_port in {each.port for each in listening}


def test_without_a_model_it_says_so(cluster: Cluster) -> None:
    cluster.swap(None)
    response = httpx.post(f"{cluster.api}/v1/detect", content=picture(), headers=JPEG)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "no_model"
    assert httpx.get(f"{cluster.api}/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/v1/detect", "/v1/images"])
def test_bad_uploads_get_the_same_errors_through_the_proxy(cluster: Cluster, path: str) -> None:
    cluster.swap(cluster.one)  # without a model nobody looks at what is sent

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


@pytest.mark.parametrize("sent", ["mine-1", None, "what is (this)?"])
def test_the_id_of_a_request_is_the_same_in_answer_event_and_log(
    cluster: Cluster, sent: str | None
) -> None:
    """Also where a client sent none, or what is none: Ray's proxy then must not give it back."""
    cluster.swap(cluster.one)
    headers = JPEG | ({"x-request-id": sent} if sent else {})
    body = picture(90, 60, seed=100 + len(sent or ""))  # no other test has queued it
    answer = httpx.post(f"{cluster.api}/v1/images", content=body, headers=headers, timeout=30)
    assert answer.status_code == 200
    (request_id,) = answer.headers.get_list("x-request-id")
    assert (request_id == sent) == (sent == "mine-1")
    assert "(" not in request_id
    events = [entry.event for entry in open_audit_log(cluster.settings).tail(50)]
    (queued,) = [event for event in events if event.request_id == request_id]
    assert queued.subject["review_id"] == answer.json()["review_id"]
    (line,) = logged(cluster, request_id)
    assert (line["event"], line["route"], line["status"]) == ("request", "/v1/images", 200)
    assert (line["key"], line["model"]) == ("api", cluster.one.version)
    assert line["bytes_in"] == len(body)
    assert line["detections"] == len(answer.json()["detections"])


def logged(cluster: Cluster, request_id: str) -> list[dict[str, Any]]:
    """The lines of the replicas' logs with this id, when there are some."""
    deadline = time.monotonic() + 30
    found: list[dict[str, Any]] = []
    while not found and time.monotonic() < deadline:
        found = [
            json.loads(line)
            for log in cluster.logs.glob("worker-*.out")
            for line in log.read_text(errors="replace").splitlines()
            if f'"{request_id}"' in line
        ]
    return found


def test_a_dashboard_that_is_not_there_is_reported_with_a_hint(cluster: Cluster) -> None:
    with pytest.raises(Unavailable, match="does not answer") as refusal:
        deploy(cluster.settings, f"http://127.0.0.1:{free_port()}", cluster.one)
    assert "secondlook up" in refusal.value.hint

"""What Ray makes of configs/kuberay/: its autoscaler, Serve, and Second Look's own settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)
from ray.serve.schema import ServeDeploySchema

from cluster.service_address import find_service
from serve import request_ids
from serve.app import AppArgs
from serve.release import _document
from store.settings import Settings
from tests.configs.manifests import Manifest, built, job, of, pods, ray_cluster
from tests.configs.scaling import launched

FOLD = {"CPU": 1, "GPU": 1}
BOTH = [("RayCluster", "training"), ("RayService", "serving")]


@pytest.mark.parametrize("name", BOTH)
def test_ray_s_autoscaler_reads_the_cluster(overlay: list[Manifest], name: tuple[str, str]) -> None:
    config = _derive_autoscaling_config_from_ray_cr(ray_cluster(of(overlay, *name)))
    assert config["available_node_types"]["headgroup"]["resources"]["CPU"] == 0


@pytest.mark.parametrize("name", BOTH)
def test_nothing_is_open_without_the_token(overlay: list[Manifest], name: tuple[str, str]) -> None:
    spec = ray_cluster(of(overlay, *name))["spec"]
    assert spec["authOptions"] == {"mode": "token", "secretName": "ray-token"}


@pytest.mark.parametrize("name", BOTH)
def test_pods_are_not_restarted_under_version_2_of_the_autoscaler(
    overlay: list[Manifest], name: tuple[str, str]
) -> None:
    cluster = ray_cluster(of(overlay, *name))
    assert cluster["spec"]["enableInTreeAutoscaling"] is True
    assert cluster["spec"]["autoscalerOptions"]["version"] == "v2"
    for _, pod in pods(cluster):
        assert pod["spec"]["restartPolicy"] == "Never"


def test_ray_is_the_one_that_is_installed(overlay: list[Manifest]) -> None:
    for name in BOTH:
        assert ray_cluster(of(overlay, *name))["spec"]["rayVersion"] == ray.__version__


def test_ten_folds_bring_spot_gpus_first_and_none_is_there_without(cloud: list[Manifest]) -> None:
    training = of(cloud, "RayCluster", "training")
    config = _derive_autoscaling_config_from_ray_cr(training)
    assert launched(config, FOLD, 0) == {}
    assert launched(config, FOLD, 5) == {"gpu-spot": 5}
    assert launched(config, FOLD, 10) == {"gpu-spot": 8, "gpu-on-demand": 2}
    assert launched(config, FOLD, 5, failed=("gpu-spot",)) == {"gpu-on-demand": 5}


def test_in_kind_folds_run_on_cpus(kind: list[Manifest]) -> None:
    training = of(kind, "RayCluster", "training")
    config = _derive_autoscaling_config_from_ray_cr(training)
    assert launched(config, {"CPU": 1}, 2) == {"cpu": 2}


def test_spot_nodes_are_tolerated_by_spot_workers_alone(cloud: list[Manifest]) -> None:
    groups = {
        group["groupName"]: group["template"]["spec"]
        for group in of(cloud, "RayCluster", "training")["spec"]["workerGroupSpecs"]
    }
    spot = {each["key"] for each in groups["gpu-spot"]["tolerations"]}
    usual = {each["key"] for each in groups["gpu-on-demand"]["tolerations"]}
    assert spot - usual == {
        "second-look/capacity",
        "cloud.google.com/gke-spot",
        "kubernetes.azure.com/scalesetpriority",
    }
    for name, spec in groups.items():
        assert spec["nodeSelector"]["second-look/capacity"] == name.removeprefix("gpu-")


def test_replicas_bring_detectors_up_to_the_limit(overlay: list[Manifest]) -> None:
    serving = of(overlay, "RayService", "serving")
    config = _derive_autoscaling_config_from_ray_cr(ray_cluster(serving))
    args = AppArgs(**serve_config(serving)["applications"][0]["args"])
    found = launched(config, {"CPU": args.cpus}, args.max_replicas)
    assert found == {"detectors": args.max_replicas}


def test_serve_accepts_its_configuration(overlay: list[Manifest]) -> None:
    ServeDeploySchema.model_validate(serve_config(of(overlay, "RayService", "serving")))


def test_it_is_what_up_hands_in_for_these_settings(
    overlay: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = serve_config(of(overlay, "RayService", "serving"))
    wanted = _document(settings_of(overlay, monkeypatch))
    # Pods have the settings already; and each node has a proxy, which Kubernetes asks for.
    wanted["applications"][0].pop("runtime_env")
    wanted["proxy_location"] = "EveryNode"
    assert mine == json.loads(json.dumps(wanted))


def test_ray_s_processes_get_what_serve_must_find_in_them(overlay: list[Manifest]) -> None:
    data = of(overlay, "ConfigMap", "settings")["data"]
    assert request_ids.ENVIRONMENT.items() <= data.items()


def test_a_pod_is_given_the_time_that_a_replica_takes_to_end(overlay: list[Manifest]) -> None:
    serving = of(overlay, "RayService", "serving")
    drain = serve_config(serving)["applications"][0]["args"]["drain_seconds"]
    for name, pod in pods(serving):
        assert pod["spec"]["terminationGracePeriodSeconds"] > drain, name


def test_second_look_knows_every_setting(
    overlay: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = of(overlay, "ConfigMap", "settings")["data"]
    settings = settings_of(overlay, monkeypatch)
    for name in data:
        if name.startswith("SECONDLOOK_"):
            assert name.removeprefix("SECONDLOOK_").lower() in Settings.model_fields, name
    assert settings.home == Path("/var/lib/secondlook")
    assert settings.tracking.startswith("http://mlflow:")


def test_the_addresses_in_them_are_services(overlay: list[Manifest]) -> None:
    services = {each["metadata"]["name"] for each in overlay if each["kind"] == "Service"}
    text = json.dumps(of(overlay, "ConfigMap", "settings")["data"])
    assert set(re.findall(r"http://([\w-]+)", text)) - {"localhost"} <= services


def test_the_app_finds_the_api_and_the_dashboard_for_trainings(
    overlay: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the names that KubeRay gives to its services: OF-A-RAYSERVICE-serve-svc, OF-HEAD-head-svc
    (ray-operator/controllers/ray/utils/util.go)."""
    ((_, pod),) = pods(of(overlay, "Deployment", "app"))
    (container,) = pod["spec"]["containers"]
    for each in container["env"]:
        if "value" in each:
            monkeypatch.setenv(each["name"], each["value"])
    found = find_service(settings_of(overlay, monkeypatch))
    assert found is not None
    serving = of(overlay, "RayService", "serving")["metadata"]["name"]
    training = of(overlay, "RayCluster", "training")["metadata"]["name"]
    assert found.api_url == f"http://{serving}-serve-svc:8000"
    assert Settings().dashboard_url == f"http://{training}-head-svc:8265"


def test_what_the_cloud_must_be_told_is_in_the_documentation() -> None:
    root = Path(__file__).parents[2]
    overlay = (root / "configs/kuberay/overlays/cloud/kustomization.yaml").read_text("utf-8")
    said = (root / "docs" / "cluster.md").read_text("utf-8")
    for line in overlay.splitlines():
        for name in re.findall(r"(\S+?)[=:]\s?\S*CHANGE-ME", line):
            assert name.strip("-{") in said, line


def test_a_job_goes_to_the_cluster_for_trainings_and_takes_no_cpu(overlay: list[Manifest]) -> None:
    spec = job()["spec"]
    name = spec["clusterSelector"]["ray.io/cluster"]
    assert of(overlay, "RayCluster", name)
    assert spec["entrypointNumCpus"] == 0


def test_its_token_is_that_of_the_cluster(overlay: list[Manifest]) -> None:
    (container,) = job()["spec"]["submitterPodTemplate"]["spec"]["containers"]
    environment = {each["name"]: each for each in container["env"]}
    reference = environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
    training = of(overlay, "RayCluster", "training")["spec"]["authOptions"]
    assert reference == {"name": training["secretName"], "key": "auth_token"}


def settings_of(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What a pod reads out of the ConfigMap."""
    for name, value in of(manifests, "ConfigMap", "settings")["data"].items():
        monkeypatch.setenv(name, value)
    return Settings()


def serve_config(serving: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(serving["spec"]["serveConfigV2"])
    return found


def test_a_head_that_comes_back_finds_what_the_last_one_knew(sources: Path) -> None:
    manifests = built("cloud-head-state", sources)
    spec = ray_cluster(of(manifests, "RayService", "serving"))["spec"]
    options = spec["gcsFaultToleranceOptions"]
    host, _, port = options["redisAddress"].partition(":")
    (listens,) = of(manifests, "Service", host)["spec"]["ports"]
    assert listens["port"] == int(port)
    # Trainings' drivers are on their head: they end with it.
    assert "gcsFaultToleranceOptions" not in of(manifests, "RayCluster", "training")["spec"]

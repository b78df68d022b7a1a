"""configs/kuberay/ as kustomize makes it: its schemas, and what refers to what."""

from __future__ import annotations

import copy

import jsonschema_rs
import kubernetes_validate
import pytest

from tests.configs.manifests import CRDS, Manifest, all_pods, crd_schema, of

with_crds = pytest.mark.skipif(
    not CRDS.is_dir(), reason="KubeRay's CRDs are not in ../shared/kuberay-crds"
)

# Kubernetes' schemas to validate against: what clouds offer in their stable channels.
KUBERNETES = "1.34"
RAY_KINDS = ("RayCluster", "RayService", "RayJob")


def test_kubernetes_accepts_what_is_its_own(overlay: list[Manifest]) -> None:
    own = [each for each in overlay if each["kind"] not in RAY_KINDS]
    assert len(own) > 20
    for manifest in own:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@with_crds
def test_kuberay_accepts_its_custom_resources(overlay: list[Manifest]) -> None:
    found = [each for each in overlay if each["kind"] in RAY_KINDS]
    assert {each["kind"] for each in found} == set(RAY_KINDS)
    for manifest in found:
        jsonschema_rs.validate(crd_schema(manifest["kind"]), manifest)


@with_crds
def test_what_a_crd_does_not_name_is_found(kind: list[Manifest]) -> None:
    wrong = copy.deepcopy(of(kind, "RayCluster", "training"))
    wrong["spec"]["workerGroupSpecs"][0]["template"]["spec"]["tolerance"] = []
    with pytest.raises(jsonschema_rs.ValidationError, match="tolerance"):
        jsonschema_rs.validate(crd_schema("RayCluster"), wrong)


def test_pods_of_ray_are_pods(overlay: list[Manifest]) -> None:
    for _, pod in all_pods(overlay):
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "a-pod", **pod.get("metadata", {})},
            "spec": pod["spec"],
        }
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_everything_is_in_the_one_namespace(overlay: list[Manifest]) -> None:
    for manifest in overlay:
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "second-look"


@pytest.mark.parametrize(
    ("field", "kind_of"),
    [("persistentVolumeClaim", "PersistentVolumeClaim"), ("configMap", "ConfigMap")],
)
def test_volumes_are_there(overlay: list[Manifest], field: str, kind_of: str) -> None:
    there = {each["metadata"].get("name") for each in overlay if each["kind"] == kind_of}
    for name, pod in all_pods(overlay):
        for volume in pod["spec"].get("volumes", []):
            if field in volume:
                assert volume[field].get("claimName", volume[field].get("name")) in there, name


def test_service_accounts_are_there(overlay: list[Manifest]) -> None:
    there = {e["metadata"]["name"] for e in overlay if e["kind"] == "ServiceAccount"}
    for name, pod in all_pods(overlay):
        assert pod["spec"]["serviceAccountName"] in there, name


def test_services_find_pods_and_their_ports(overlay: list[Manifest]) -> None:
    for service in (each for each in overlay if each["kind"] == "Service"):
        wanted = service["spec"]["selector"].items()
        ports = {
            port["name"]
            for _, pod in all_pods(overlay)
            if wanted <= pod.get("metadata", {}).get("labels", {}).items()
            for container in pod["spec"]["containers"]
            for port in container.get("ports", [])
        }
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_disruption_budgets_find_pods(overlay: list[Manifest]) -> None:
    labels = [pod.get("metadata", {}).get("labels", {}) for _, pod in all_pods(overlay)]
    budgets = [each for each in overlay if each["kind"] == "PodDisruptionBudget"]
    assert len(budgets) >= 4
    for budget in budgets:
        wanted = budget["spec"]["selector"]["matchLabels"].items()
        assert [each for each in labels if wanted <= each.items()], budget["metadata"]["name"]


def test_kind_makes_every_secret_that_is_wanted(kind: list[Manifest]) -> None:
    there = {
        each["metadata"]["name"]: set(each["data"]) for each in kind if each["kind"] == "Secret"
    }
    wanted = secrets_of(kind)
    assert {name for name, optional in wanted.items() if not optional} == there.keys()
    assert there["ray-token"] == {"auth_token"}


def test_the_cloud_keeps_no_secret(cloud: list[Manifest]) -> None:
    assert [each for each in cloud if each["kind"] == "Secret"] == []


def secrets_of(manifests: list[Manifest]) -> dict[str, bool]:
    """The secrets that pods read, and whether all of them can do without."""
    found: dict[str, bool] = {}
    for _, pod in all_pods(manifests):
        for container in pod["spec"]["containers"]:
            references = [each.get("secretRef") for each in container.get("envFrom", [])]
            references += [
                each.get("valueFrom", {}).get("secretKeyRef") for each in container.get("env", [])
            ]
            for each in filter(None, references):
                optional = each.get("optional", False)
                found[each["name"]] = found.get(each["name"], True) and optional
    return found

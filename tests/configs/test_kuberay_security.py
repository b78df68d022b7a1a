"""Who runs as whom in configs/kuberay/, who reaches whom, and where secrets are.

Pods keep to the profile `restricted`, which the namespace enforces, and their root is read-only.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.configs.manifests import Manifest, all_pods, built, make_secrets, of, ray_cluster


def test_the_namespace_enforces_it(overlay: list[Manifest]) -> None:
    labels = of(overlay, "Namespace", "second-look")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_pod_runs_as_root(overlay: list[Manifest]) -> None:
    found = all_pods(overlay)
    assert len(found) >= 8
    for name, pod in found:
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod["spec"].keys(), name
        assert not [v for v in pod["spec"].get("volumes", []) if "hostPath" in v], name


def test_no_container_has_a_capability_or_writes_to_its_image(overlay: list[Manifest]) -> None:
    for name, pod in all_pods(overlay):
        for container in pod["spec"]["containers"]:
            check_container(container, name)


def test_the_autoscalers_beside_the_heads_neither(overlay: list[Manifest]) -> None:
    for manifest in overlay:
        if manifest["kind"] in ("RayCluster", "RayService"):
            options = ray_cluster(manifest)["spec"]["autoscalerOptions"]
            check_container(options, manifest["kind"])


def test_whoever_runs_second_look_can_write_to_tmp_and_home(overlay: list[Manifest]) -> None:
    for name, pod in all_pods(overlay):
        kinds = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            assert "emptyDir" in kinds[mounts["/tmp"]["name"]], name  # noqa: S108


def test_only_heads_get_the_token_of_kubernetes(overlay: list[Manifest]) -> None:
    heads = {
        name
        for name, pod in all_pods(overlay)
        if pod["spec"].get("automountServiceAccountToken", True)
    }
    assert {name.split("/")[-2] for name in heads} == {"headGroupSpec"}


def test_only_the_app_has_the_log_and_only_the_witness_its_state(overlay: list[Manifest]) -> None:
    claims: dict[str, set[str]] = {}
    for name, pod in all_pods(overlay):
        for volume in pod["spec"].get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            claims.setdefault(claim, set()).add(name.split("/")[1])
    assert claims["audit-log"] == {"app"}
    assert claims["witness"] == {"witness"}


def test_a_folder_that_others_see_as_the_log_is_in_no_other_pod(overlay: list[Manifest]) -> None:
    # Nor a folder of keys: that of the app has the log's, which signs.
    for name, pod in all_pods(overlay):
        if name.startswith("Deployment/app"):
            continue
        for container in pod["spec"]["containers"]:
            for mount in container["volumeMounts"]:
                whole = mount["name"] == "home" and "subPath" not in mount
                assert not whole and mount.get("subPath") not in ("log", "keys"), name


def test_the_app_alone_has_the_audit_log(overlay: list[Manifest]) -> None:
    settings = of(overlay, "ConfigMap", "settings")["data"]
    roles: dict[str, set[str]] = {}
    for name, pod in all_pods(overlay):
        for container in pod["spec"]["containers"]:
            if {"configMapRef": {"name": "settings"}} in container.get("envFrom", []):
                own = {each["name"]: each.get("value") for each in container.get("env", [])}
                found = (settings | own)["SECONDLOOK_AUDIT_LOG"]
                roles.setdefault(found, set()).add(name.split("/")[1])
    assert roles == {"here": {"app"}, "elsewhere": {"training", "serving"}}


def test_who_only_serves_gets_no_key_that_signs(overlay: list[Manifest]) -> None:
    for name, pod in all_pods(overlay):
        if "/serving" in name:
            for container in pod["spec"]["containers"]:
                secrets = [each["secretRef"]["name"] for each in container["envFrom"][1:]]
                assert secrets == ["database", "keys-serving", "object-store"], name


def check_container(container: Manifest, name: str) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }, name
    resources = container["resources"]
    for amount in ("cpu", "memory", "ephemeral-storage"):
        assert amount in resources["requests"], name
    assert {"memory", "ephemeral-storage"} <= resources["limits"].keys(), name


def test_no_secret_stands_in_the_sources() -> None:
    for path in (Path(__file__).parents[2] / "configs").rglob("*"):
        if path.is_file() and "secrets" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?i)(password|token|secret|_key)\s*[:=]\s*[\w+/]{20,}", text)
            assert not re.search(r"postgresql\S*://\w+:[^\s$@]+@", text), path


def test_they_are_random_private_and_made_once(tmp_path: Path, sources: Path) -> None:
    built("kind", sources)
    first = sources / "kuberay" / "overlays" / "kind" / "secrets"
    texts = {path.name: path.read_text() for path in first.iterdir()}
    assert all(path.stat().st_mode & 0o077 == 0 for path in first.iterdir())
    make_secrets(sources / "kuberay")
    assert texts == {path.name: path.read_text() for path in first.iterdir()}
    (password,) = re.findall(r"POSTGRES_PASSWORD=(\w+)", texts["postgres.env"])
    assert len(password) >= 32 and f":{password}@" in texts["database.env"]
    assert len(texts["auth_token"]) >= 32

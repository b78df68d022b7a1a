"""The Kubernetes manifests as kustomize makes them, and the schemas of what is in them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "configs" / "kuberay"
CRDS = ROOT.parent / "shared" / "kuberay-crds"
OVERLAYS = ["kind", "cloud", "cloud-head-state"]
# One's own overlay of ours, with a component.
_HEAD_STATE = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: second-look
resources: [../cloud]
components: [../../head-state]
"""

Manifest = dict[str, Any]


def kustomize() -> list[str] | None:
    """A command that has kustomize in it, if there is one here; it needs no cluster."""
    for command in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(command[0]):
            return command
    return None


def built(overlay: str, folder: Path) -> list[Manifest]:
    """What is applied; ``folder`` gets a copy of the sources, with secrets that are made there."""
    copy = folder / "kuberay"
    if not copy.exists():
        shutil.copytree(KUBERAY, copy, ignore=shutil.ignore_patterns("secrets"))
        make_secrets(copy)
        own = copy / "overlays" / "cloud-head-state"
        own.mkdir()
        (own / "kustomization.yaml").write_text(_HEAD_STATE, encoding="utf-8")
    command = kustomize()
    assert command is not None
    done = subprocess.run(
        [*command, str(copy / "overlays" / overlay)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def make_secrets(kuberay: Path) -> Path:
    script = kuberay / "overlays" / "kind" / "make-secrets.sh"
    subprocess.run(["sh", script], check=True, timeout=60, cwd=os.sep)
    return script.parent / "secrets"


def job() -> Manifest:
    found: Manifest = yaml.safe_load((KUBERAY / "jobs" / "kfold.yaml").read_text("utf-8"))
    return found


def pods(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """The name and the spec of every pod template in ``manifest``, with its labels as
    ``metadata``."""
    for path, value in _walk(manifest, (manifest["kind"], manifest["metadata"].get("name", ""))):
        if isinstance(value, dict) and "containers" in value.get("spec", {}):
            yield "/".join(path), value


def of(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = (
        each for each in manifests if (each["kind"], each["metadata"].get("name")) == (kind, name)
    )
    return found


def all_pods(manifests: list[Manifest]) -> list[tuple[str, Manifest]]:
    return [pod for manifest in manifests for pod in pods(manifest)]


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, value
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _walk(each, (*path, str(key)))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _walk(each, (*path, str(place)))


def ray_cluster(manifest: Manifest) -> Manifest:
    """The RayCluster that ``manifest`` is, or that KubeRay makes of a RayService."""
    if manifest["kind"] == "RayCluster":
        return manifest
    return {
        "kind": "RayCluster",
        "metadata": manifest["metadata"],
        "spec": manifest["spec"]["rayClusterConfig"],
    }


@functools.cache
def crd_schema(kind: str) -> Manifest:
    """The schema of version v1 of KubeRay's ``kind``, for a validator of JSON Schema that must
    not let through what the CRD does not name (Kubernetes would drop it)."""
    text = (CRDS / f"ray.io_{kind.lower()}s.yaml").read_text("utf-8")
    # Ten times as fast as `safe_load`, where PyYAML has it: a CRD is a megabyte.
    crd = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    (schema,) = (
        each["schema"]["openAPIV3Schema"]
        for each in crd["spec"]["versions"]
        if each["name"] == "v1"
    )
    schema["properties"]["metadata"] = {"type": "object"}
    return _closed(schema)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    names = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    open_ended = "additionalProperties" in schema or schema.get(
        "x-kubernetes-preserve-unknown-fields"
    )
    if names and not open_ended:
        closed["additionalProperties"] = False
    return closed

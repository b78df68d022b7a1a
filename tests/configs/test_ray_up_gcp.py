"""The machines of configs/cluster/gcp.yaml against what Compute Engine says of its own API."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from googleapiclient import discovery_cache

from tests.configs.test_ray_up import filled_in

_SIMPLE: dict[str, tuple[type, ...]] = {
    "string": (str, int),  # 64-bit numbers are strings there, and taken as numbers
    "integer": (int,),
    "boolean": (bool,),
}


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """Of version 1, which Ray uses, as the client library brings it along."""
    document = Path(discovery_cache.__file__).parent / "documents" / "compute.v1.json"
    found: dict[str, Any] = json.loads(document.read_text(encoding="utf-8"))["schemas"]
    return found


def problems(value: Any, schema: dict[str, Any], schemas: dict[str, Any], path: str) -> list[str]:
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    if schema["type"] == "array":
        items = schema["items"]
        return [text for each in value for text in problems(each, items, schemas, f"{path}[]")]
    if schema["type"] == "object":
        known = schema.get("properties", {})
        strange = [f"{path}.{name}" for name in value if name not in known]
        return strange + [
            text
            for name, each in value.items()
            if name in known
            for text in problems(each, known[name], schemas, f"{path}.{name}")
        ]
    wrong = not isinstance(value, _SIMPLE[schema["type"]])
    return [f"{path} = {value!r}"] if wrong or value not in schema.get("enum", [value]) else []


@pytest.fixture
def nodes(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = filled_in("gcp", tmp_path)["available_node_types"]
    return found


def test_compute_engine_knows_all_that_is_asked_for(
    nodes: dict[str, Any], schemas: dict[str, Any]
) -> None:
    for kind, node in nodes.items():
        assert problems(node["node_config"], {"$ref": "Instance"}, schemas, kind) == []


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("provisioningModel", "CHEAP", ["n.scheduling.provisioningModel = 'CHEAP'"]),
        ("preemptable", True, ["n.scheduling.preemptable"]),
        ("automaticRestart", "no", ["n.scheduling.automaticRestart = 'no'"]),
    ],
)
def test_what_it_does_not_know_is_found(
    nodes: dict[str, Any], schemas: dict[str, Any], name: str, value: Any, found: list[str]
) -> None:
    wrong = copy.deepcopy(nodes["gpu-spot"]["node_config"])
    wrong["scheduling"][name] = value
    assert problems(wrong, {"$ref": "Instance"}, schemas, "n") == found


def test_a_machine_with_a_gpu_is_ended_and_not_moved(nodes: dict[str, Any]) -> None:
    for kind in ("gpu-spot", "gpu-on-demand"):
        assert nodes[kind]["node_config"]["scheduling"]["onHostMaintenance"] == "TERMINATE"

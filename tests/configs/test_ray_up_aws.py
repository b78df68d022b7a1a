"""What Ray's launcher asks of AWS for configs/cluster/aws.yaml, at a stand-in for it (moto)."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.configs.test_ray_up import VARIABLES, filled_in

pytestmark = pytest.mark.slow
REGION = VARIABLES["AWS_REGION"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The configuration as Ray hands it to a head, with the stand-in still there."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("HOME", str(home))  # a key pair is written below it
        patch.setenv("AWS_ACCESS_KEY_ID", "a-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
        patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        patch.setattr(time, "sleep", lambda _: None)  # for AWS to spread what was made
        # At its import, moto must stand in already.
        from ray.autoscaler._private.commands import _bootstrap_config

        yield _bootstrap_config(filled_in("aws", home), no_config_cache=True)


def launch(prepared: dict[str, Any], kind: str) -> dict[str, Any]:
    """The machine that EC2 started for a node of this kind."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    provider = AWSNodeProvider(copy.deepcopy(prepared["provider"]), prepared["cluster_name"])
    node = copy.deepcopy(prepared["available_node_types"][kind]["node_config"])
    tags = {"ray-node-type": "worker", "ray-user-node-type": kind}
    (instance,) = provider.create_node(node, tags, 1)
    found = boto3.client("ec2", REGION).describe_instances(InstanceIds=[instance])
    machine: dict[str, Any] = found["Reservations"][0]["Instances"][0]
    return machine


@pytest.mark.parametrize(
    ("kind", "lifecycle"), [("gpu-spot", "spot"), ("gpu-on-demand", None), ("head", None)]
)
def test_ec2_starts_every_kind_of_node(
    prepared: dict[str, Any], kind: str, lifecycle: str | None
) -> None:
    machine = launch(prepared, kind)
    assert machine.get("InstanceLifecycle") == lifecycle
    assert machine["MetadataOptions"]["HttpTokens"] == "required"


def test_the_machines_have_as_much_as_is_said(prepared: dict[str, Any]) -> None:
    # Ray compares with what EC2 says of the machine, and keeps what the file says.
    ec2 = boto3.client("ec2", REGION)
    for kind, node in prepared["available_node_types"].items():
        machine = node["node_config"]["InstanceType"]
        (found,) = ec2.describe_instance_types(InstanceTypes=[machine])["InstanceTypes"]
        gpus = sum(gpu["Count"] for gpu in found.get("GpuInfo", {}).get("Gpus", []))
        if kind != "head":
            assert node["resources"]["CPU"] == found["VCpuInfo"]["DefaultVCpus"]
            assert node["resources"]["GPU"] == gpus


def test_the_head_gives_nothing_to_work_after_ray_has_looked_at_the_machine(
    prepared: dict[str, Any],
) -> None:
    resources = prepared["available_node_types"]["head"]["resources"]
    assert (resources["CPU"], resources["GPU"]) == (0, 0)

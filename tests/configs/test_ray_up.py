"""configs/cluster/ against Ray's own schema, and what Ray makes of it before it asks a cloud."""

from __future__ import annotations

import copy
import re
import shlex
from pathlib import Path
from string import Template
from typing import Any

import click
import jsonschema
import pytest
import yaml
from ray.autoscaler._private.gcp.node_provider import GCPNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.scripts.scripts import start

from tests.configs.scaling import launched

ROOT = Path(__file__).parents[2]
VARIABLES = {
    "AWS_REGION": "eu-central-1",
    "GCP_REGION": "europe-west4",
    "GCP_ZONE": "europe-west4-a",
    "GCP_PROJECT": "a-project",
    "GCP_VM_IMAGE": "projects/a-project/global/images/an-image",
    "SECONDLOOK_HEAD_IMAGE": "registry.example.org/second-look:cpu-vm",
    "SECONDLOOK_WORKER_IMAGE": "registry.example.org/second-look:cuda-vm",
}
CLOUDS = ["aws", "gcp"]
KINDS = ("spot", "on-demand")
# What a fold asks for, on a node with a GPU.
FOLD = {"CPU": 1, "GPU": 1}


@pytest.fixture(params=CLOUDS)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return filled_in(request.param, tmp_path)


def filled_in(cloud: str, folder: Path) -> dict[str, Any]:
    text = (ROOT / f"configs/cluster/{cloud}.yaml").read_text(encoding="utf-8")
    variables = VARIABLES | {"SECONDLOOK_CLUSTER_FOLDER": str(folder)}
    # As `envsubst` with a list of names does: Ray's own variables stay.
    found: dict[str, Any] = yaml.safe_load(Template(text).safe_substitute(variables))
    return found


def start_options(config: dict[str, Any], which: str) -> dict[str, Any]:
    """The options of `ray start` in the commands of ``which``, as Ray's command line reads them."""
    command = config[f"{which}_start_ray_commands"][-1]
    words = shlex.split(command[command.index("ray start") :].replace("$RAY_HEAD_IP", "10.0.0.1"))
    context: click.Context = start.make_context("start", words[2:])
    return context.params


def test_ray_accepts_it(config: dict[str, Any]) -> None:
    prepared = prepare_config(config)
    if prepared["provider"]["type"] == "gcp":  # AWS would be asked for the sizes of its machines
        prepared = GCPNodeProvider.fillout_available_node_types_resources(prepared)
    validate_config(prepared)


def test_ray_refuses_a_name_that_it_does_not_know(config: dict[str, Any]) -> None:
    prepared = prepare_config(config)
    prepared["available_node_types"]["gpu-spot"]["max_worker"] = 3
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepared)


def test_nothing_is_left_to_fill_in_and_no_variable_is_unknown(config: dict[str, Any]) -> None:
    assert "${" not in yaml.safe_dump(config)


def test_the_head_gives_no_cpu_and_no_gpu_to_work(config: dict[str, Any]) -> None:
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    options = start_options(config, "head")
    assert (options["num_cpus"], options["num_gpus"]) == (0, 0)
    assert options["head"] and options["autoscaling_config"]


def test_the_head_is_on_demand(config: dict[str, Any]) -> None:
    node = config["available_node_types"]["head"]["node_config"]
    assert "InstanceMarketOptions" not in node and "scheduling" not in node


@pytest.mark.parametrize(
    ("cloud", "spot"),
    [
        ("aws", ("InstanceMarketOptions", "MarketType", "spot")),
        ("gcp", ("scheduling", "provisioningModel", "SPOT")),
    ],
)
def test_gpus_come_on_spot_first_and_on_demand_else(
    cloud: str, spot: tuple[str, str, str], tmp_path: Path
) -> None:
    config = filled_in(cloud, tmp_path)
    outer, inner, value = spot
    first, fallback = (config["available_node_types"][f"gpu-{kind}"] for kind in KINDS)
    assert first["node_config"][outer][inner] == value
    assert inner not in fallback["node_config"].get(outer, {})
    assert first["priority"] > fallback["priority"]
    # Only what costs the same amount of work is a fallback.
    assert first["resources"] == fallback["resources"]


def test_ray_s_autoscaler_reads_from_none_to_n_workers(config: dict[str, Any]) -> None:
    prepared = prepare_config(copy.deepcopy(config))
    read = AutoscalingConfig(prepared, skip_content_hash=True)
    types = read.get_node_type_configs()
    for kind in KINDS:
        found = types[f"gpu-{kind}"]
        assert (found.min_worker_nodes, found.max_worker_nodes) == (0, config["max_workers"])
    assert types["gpu-spot"].priority == 10
    assert types["head"].max_worker_nodes == 1  # itself
    assert 0 < read.get_idle_timeout_s() <= 3600


def test_ten_folds_bring_as_many_spot_nodes_as_there_may_be(config: dict[str, Any]) -> None:
    assert launched(prepare_config(config), FOLD, 3) == {"gpu-spot": 3}
    assert launched(prepare_config(config), FOLD, 10) == {"gpu-spot": config["max_workers"]}


def test_folds_come_on_demand_where_spot_has_just_failed(config: dict[str, Any]) -> None:
    found = launched(prepare_config(config), FOLD, 3, failed=("gpu-spot",))
    assert found == {"gpu-on-demand": 3}


def test_nothing_is_installed_while_a_node_starts(config: dict[str, Any]) -> None:
    prepared = prepare_config(config)
    assert prepared["head_setup_commands"] == prepared["worker_setup_commands"] == []


def test_tokens_are_asked_for_and_come_with_the_mounted_folder(config: dict[str, Any]) -> None:
    options = config["docker"]["run_options"]
    assert "--env RAY_AUTH_MODE=token" in options
    (mount,) = config["file_mounts"]
    path = mount.replace("~", "/home/secondlook")
    assert f"--env RAY_AUTH_TOKEN_PATH={path}/auth_token" in options
    for which in ("head", "worker"):
        assert f". {mount}/settings.env;" in config[f"{which}_start_ray_commands"][-1]


def test_the_dashboard_listens_on_loopback(config: dict[str, Any]) -> None:
    assert start_options(config, "head")["dashboard_host"] == "127.0.0.1"


def test_workers_join_the_head(config: dict[str, Any]) -> None:
    options = start_options(config, "worker")
    assert not options["head"]
    assert options["address"].endswith(f":{start_options(config, 'head')['port']}")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_no_secret_and_no_account_stands_in_the_file(cloud: str) -> None:
    text = (ROOT / f"configs/cluster/{cloud}.yaml").read_text(encoding="utf-8")
    assert "RAY_AUTH_TOKEN=" not in text
    assert set(Template(text).get_identifiers()) - {"RAY_HEAD_IP"} <= {
        *VARIABLES,
        "SECONDLOOK_CLUSTER_FOLDER",
    }


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_documentation_names_what_is_filled_in(cloud: str) -> None:
    text = (ROOT / f"configs/cluster/{cloud}.yaml").read_text(encoding="utf-8")
    said = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    for name in set(Template(text).get_identifiers()) - {"RAY_HEAD_IP"}:
        assert re.search(rf"\b{name}\b", said), name

"""What `doctor` makes of what nodes tell; `test_several_nodes` asks real ones."""

from __future__ import annotations

import json
import platform
import socket
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from cluster.doctor_nodes import cluster, findings, node_checks, not_joined, shared_settings
from cluster.findings import Finding
from cluster.node_facts import facts
from loop.errors import Unavailable
from store.settings import Settings

HERE = {name: version(name) for name in ("second-look", "ray", "torch", "ultralytics")}


def node(host: str = "worker", **changed: Any) -> dict[str, Any]:
    told = {
        "host": host,
        "python": platform.python_version(),
        "packages": HERE,
        "home": "/home",
        "haproxy": True,
        "settings": {"SECONDLOOK_DATABASE_URL": "same", "SECONDLOOK_STORAGE_URL": "unset"},
        "reached": {"SECONDLOOK_DATABASE_URL": ""},
        "clock_seconds": 0.01,
        "id": "abcdef0123456789",
        "ip": "10.0.0.7",
        "head": host == "head",
        "cpus": 4.0,
        "gpus": 0.0,
    }
    return told | changed


def wrong(*nodes: dict[str, Any], wants_gpus: bool = False) -> list[Finding]:
    found = findings(nodes, wants_gpus=wants_gpus)
    assert all(each.hint for each in found if each.ok is False)
    return [each for each in found if each.ok is False]


def test_a_ray_of_our_own_has_no_nodes_to_ask(settings: Settings) -> None:
    assert node_checks(settings) == []
    assert node_checks(settings.model_copy(update={"ray_address": "local"})) == []


def test_nodes_that_are_alike_are_fine() -> None:
    found = findings([node("head"), node()], wants_gpus=False)
    assert [each.ok for each in found] == [True, True, True]
    assert "2 nodes, 8 CPUs, 0 GPUs: training runs on CPUs" in found[0].found
    assert found[-1].found == "HAProxy"


def test_a_machine_that_is_no_node_cannot_ask_them(settings: Settings) -> None:
    from ray._private.services import find_node_ids

    if find_node_ids():  # type: ignore[no-untyped-call]
        pytest.skip("a Ray runs on this machine")
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        (found,) = cluster(settings.model_copy(update={"ray_address": address}))
    assert found.ok is None
    assert f"This machine is no node of the Ray cluster {address}" in found.found
    assert "run secondlook doctor on one of them" in found.found


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"python": "3.10.1"}, f"Python 3.10.1 (here {platform.python_version()})"),
        ({"packages": HERE | {"torch": "2.0.0+cu121"}}, "torch 2.0.0+cu121 (here"),
        ({"packages": HERE | {"second-look": "missing"}}, "second-look missing (here"),
        ({"packages": HERE | {"ultralytics": "8.0.0"}}, "ultralytics 8.0.0 (here"),
        ({"settings": {"SECONDLOOK_DATABASE_URL": "different"}}, "SECONDLOOK_DATABASE_URL differs"),
        (
            {"reached": {"MLFLOW_TRACKING_URI": "timed out"}},
            "cannot use MLFLOW_TRACKING_URI",
        ),
        ({"clock_seconds": 61.0}, "its clock is 61.0 s ahead of"),
        ({"clock_seconds": -5.0}, "its clock is 5.0 s behind"),
        ({"haproxy": False}, "not HAProxy on worker"),
    ],
)
def test_one_that_differs_is_named(changed: dict[str, Any], words: str) -> None:
    (found,) = wrong(node("head"), node(**changed))
    assert words in found.found
    assert "worker" in found.what + found.found


@pytest.mark.parametrize(
    "changed",
    [
        {"packages": HERE | {"torch": HERE["torch"].split("+")[0] + "+cu130"}},
        {"clock_seconds": None},
        {"clock_seconds": 1.9},
        {"settings": {"SECONDLOOK_DATABASE_URL": "unset"}},
    ],
    ids=["cuda", "no clock", "a second", "unset"],
)
def test_what_does_no_harm_is_no_finding(changed: dict[str, Any]) -> None:
    assert wrong(node("head"), node(**changed)) == []


def test_one_that_does_not_answer_is_named_and_the_others_are_looked_at() -> None:
    silent = {"error": "GetTimeoutError: ", "id": "0" * 16, "ip": "10.0.0.9", "head": False}
    found = wrong(node("head"), silent | {"cpus": 1.0, "gpus": 0.0}, node(clock_seconds=9.0))
    assert [each.what.split()[1] for each in found] == ["10.0.0.9", "worker"]


def test_folds_that_want_gpus_need_some() -> None:
    (found,) = wrong(node("head"), wants_gpus=True)
    assert "GPUS_PER_FOLD" in found.hint
    assert wrong(node("head"), node(gpus=2.0), wants_gpus=True) == []


def test_serve_s_own_proxy_is_told_with_the_way_to_haproxy() -> None:
    found = findings([node("head", haproxy=False)], wants_gpus=False)[-1]
    assert found.ok is None
    assert "secondlook cluster env" in found.found


def test_a_home_that_is_not_set_is_told() -> None:
    found = findings([node("head"), node(home="")], wants_gpus=False)
    assert any(each.what == "SECONDLOOK_HOME" and "worker" in each.found for each in found)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            "RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n"
            "    Python: 3.10.1\nThis process on node 10.0.0.1 was started with:\n    Ray: 2.60.0",
            "must be the same",
        ),
        ("RpcError: Unauthenticated: InvalidAuthToken", "RAY_AUTH_MODE=token"),
        ("ConnectionError: Failed to connect", "gcs_server.out"),
    ],
    ids=["versions", "token", "other"],
)
def test_a_cluster_that_cannot_be_joined_is_explained(error: str, words: str) -> None:
    found = not_joined(error)
    assert found.ok is False
    assert words in found.hint
    if "2.9.0" in error:
        assert "2.9.0" in found.found and "2.60.0" in found.found


def test_where_nobody_listens_ray_is_not_even_started(settings: Settings) -> None:
    with pytest.raises(Unavailable, match=r"Nobody listens at 127\.0\.0\.1:9") as error:
        cluster(settings.model_copy(update={"ray_address": "127.0.0.1:9"}))
    assert "RAY_ADDRESS" in error.value.hint


def test_a_node_compares_settings_and_tells_no_value(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "a-secret-word"
    shared = shared_settings(
        settings.model_copy(
            update={
                "database_url": f"postgresql://ada:{secret}@127.0.0.1:9/x",
                "tracking_uri": f"http://ada:{secret}@127.0.0.1:9",
            }
        )
    )
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", shared["SECONDLOOK_DATABASE_URL"])
    monkeypatch.setenv("SECONDLOOK_STORAGE_URL", "s3://another/place")
    told = facts(shared)
    assert told["settings"] == {
        "SECONDLOOK_DATABASE_URL": "same",
        "SECONDLOOK_STORAGE_URL": "different",
        "MLFLOW_TRACKING_URI": "unset",
    }
    assert "refused" in told["reached"]["SECONDLOOK_DATABASE_URL"]
    assert "refused" in told["reached"]["MLFLOW_TRACKING_URI"]
    assert secret not in json.dumps(told)


def test_a_database_in_a_file_is_missing_on_other_machines(settings: Settings) -> None:
    told = facts({"SECONDLOOK_DATABASE_URL": "sqlite:////nowhere/at/all.db"})
    assert "there is no file" in told["reached"]["SECONDLOOK_DATABASE_URL"]
    assert not Path("/nowhere").exists()


def test_a_url_that_cannot_be_read_is_told_without_what_it_holds() -> None:
    told = facts({"SECONDLOOK_DATABASE_URL": "postgresql://ada:se/cret@127.0.0.1:9/x"})
    said = told["reached"]["SECONDLOOK_DATABASE_URL"]
    assert "cannot be told" in said
    assert not any(part in said for part in ("'se'", "se/", "cret"))

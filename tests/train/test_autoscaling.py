"""A cluster grows by what folds ask for, and shrinks when they are done.

Ray's autoscaler runs as it does on a head; its machines are processes here, with GPUs as far as
Ray's bookkeeping goes. `ray.cluster_utils.AutoscalingCluster` would do the same, but ends every Ray
of this machine first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store.settings import load_settings
from store.tracking import open_tracking
from tests.machines import cluster
from tests.s3 import CREDENTIALS, s3_server
from tests.train import light_session
from tests.train.generated import generated_snapshot

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]

FOLDS, EPOCHS = 3, 10
# Shorter, and a machine that is about to get its fold is taken away.
IDLE_MINUTES = 0.5
PATIENCE_S = 400.0


def autoscaling(gcs_address: str) -> dict[str, object]:
    nothing: dict[str, object] = {"docker": {}, "file_mounts": {}, "cluster_synced_files": []}
    for name in ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray"):
        nothing[f"{name}_commands"] = []
    return nothing | {
        "cluster_name": "fake",
        "max_workers": 8,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": IDLE_MINUTES,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": gcs_address,
            # All machines have one address here.
            "use_node_id_as_ip": True,
            # There is nothing to set up over SSH.
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {"ssh_user": "nobody"},
        "worker_start_ray_commands": [],
        "rsync_exclude": [],
        "rsync_filter": [],
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "gpu": {
                "resources": {"CPU": 1, "GPU": 1, "object_store_memory": 80 * 1024 * 1024},
                "node_config": {},
                "min_workers": 0,
                "max_workers": 8,
            },
        },
    }


def test_a_node_comes_for_each_fold_and_goes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("moto.server")
    for name in ("MLFLOW_TRACKING_URI", "SECONDLOOK_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECONDLOOK_HOME", str(tmp_path / "var"))
    monkeypatch.chdir(tmp_path)
    generated_snapshot(light_session.SNAPSHOT, 12)
    config = tmp_path / "autoscaling.json"
    with cluster(CREDENTIALS) as machines, s3_server(machines.ip) as s3:
        config.write_text(json.dumps(autoscaling(machines.address)))
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        machines.start_head(
            f"--autoscaling-config={config}", AUTOSCALER_UPDATE_INTERVAL_S="1", RAY_FAKE_CLUSTER="1"
        )
        assert machines.alive_nodes() == 1
        driver = subprocess.Popen(
            [sys.executable, "-m", "tests.train.light_session", str(EPOCHS), str(FOLDS)],
            env=os.environ
            | machines.environment
            | {
                "RAY_ADDRESS": machines.address,
                "SECONDLOOK_STORAGE_URL": s3.bucket(),
                "LIGHT_GPUS": "1",
            },
        )
        seen = [1]
        deadline = time.monotonic() + PATIENCE_S
        try:
            while driver.poll() is None or machines.alive_nodes() > 1:
                assert time.monotonic() < deadline, (seen, machines.logs())
                alive = machines.alive_nodes()
                if alive != seen[-1]:
                    seen.append(alive)
                time.sleep(0.5)
        finally:
            driver.kill()
            driver.wait()
        assert driver.returncode == 0
    # All at once: nobody waits for another fold's node. Ray may start one more, which goes unused:
    # what comes up between its looks at the nodes and at the launches is in neither.
    assert 1 + FOLDS in seen
    assert seen[: seen.index(1 + FOLDS) + 1] == sorted(seen[: seen.index(1 + FOLDS) + 1])
    assert seen[-1] == 1
    (run,) = open_tracking(load_settings()).runs({"loop.kind": "cv"}, limit=10)
    assert run.status == "FINISHED"

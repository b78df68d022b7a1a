from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from bench.kfold import Round, summary
from bench.kfold_settings import Settings
from bench.kfold_usage import Usage

FIGURES = {
    "wall_seconds",
    "cpu_seconds",
    "peak_memory_bytes",
    "disk_bytes_written",
    "shared_memory_bytes",
    "image_bytes_written",
    "map50",
    "map50_95",
}


def test_the_summary_has_medians_of_both_ways_and_their_ratio() -> None:
    usage = Usage(100, 150, 10**9, 10**6, 0)
    rounds = {
        "sequential": [Round(replace(usage, wall_seconds=s), 5000) for s in (100, 90, 400)],
        "ours": [Round(replace(usage, wall_seconds=s), 0) for s in (50, 300, 40)],
    }
    spread = {name: {"mean": 0.8, "sd": 0.1} for name in ("map50", "map50_95")}
    found = summary(Settings(), rounds, {"sequential": spread, "ours": spread})
    assert {"machine", "command", "settings", "wall_ratio"} < found.keys()
    assert found["sequential"].keys() == found["ours"].keys() == FIGURES
    assert found["wall_ratio"] == 0.5
    assert found["ours"]["map50"] == {"mean": 0.8, "sd": 0.1}
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("k", [2, 3, 5, 7])
def test_all_folds_fit_on_one_gpu(k: int) -> None:
    share = Settings(k=k, device="0").params["GPUS_PER_FOLD"]
    assert 0.9 < k * share <= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.cluster
def test_both_ways_train_and_only_the_usual_one_writes_images() -> None:
    options = ["--k", "2", "--epochs", "1", "--images", "8", "--image-size", "64"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.kfold", "--json", *options, "--threads", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    for way in ("sequential", "ours"):
        assert found[way]["wall_seconds"] > 0
        assert found[way]["cpu_seconds"] > 0
        assert 0 <= found[way]["map50"]["mean"] <= 1
    assert found["sequential"]["image_bytes_written"] > 0
    assert found["ours"]["image_bytes_written"] == 0
    assert found["ours"]["shared_memory_bytes"] > 0

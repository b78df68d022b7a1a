from __future__ import annotations

from pathlib import Path

import pytest

from store.system_metrics import PREFIX, Sample, Sampler, _visible, log_samples
from store.tracking import EXPERIMENT, Tracking

# MLflow's names (mlflow/system_metrics/metrics), by which its page shows them.
MLFLOW_S = {
    "cpu_utilization_percentage",
    "system_memory_usage_megabytes",
    "system_memory_usage_percentage",
    "disk_usage_percentage",
    "disk_usage_megabytes",
    "disk_available_megabytes",
    "network_receive_megabytes",
    "network_transmit_megabytes",
}


def test_a_sample_has_what_mlflow_s_monitor_measures_and_the_process() -> None:
    sampler = Sampler()
    first, second = sampler.sample(), sampler.sample()
    assert set(first.values) >= MLFLOW_S
    assert first.values["process_memory_usage_megabytes"] > 1
    assert 0 < first.values["system_memory_usage_percentage"] <= 100
    assert first.at <= second.at
    received = "network_receive_megabytes"
    assert 0 <= first.values[received] <= second.values[received]


@pytest.mark.parametrize(
    ("told", "visible"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("1", [1]),
        ("2, 0", [0, 2]),
        ("GPU-5f3c", [0, 1, 2]),
    ],
)
def test_only_gpus_that_the_process_may_use_are_measured(
    told: str | None, visible: list[int]
) -> None:
    assert _visible(range(3), told) == visible


@pytest.mark.slow  # MLflow's database
def test_more_samples_than_fit_one_call_are_logged_with_their_steps_and_times(
    tmp_path: Path,
) -> None:
    tracking = Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts")
    tracking.prepare()
    run_id = tracking.start_run(EXPERIMENT, "run", tags={}, params={})
    names = [f"m{number}" for number in range(300)]
    samples = [Sample(at, dict.fromkeys(names, float(at))) for at in (1000, 2000, 3000, 4000)]
    log_samples(tracking, run_id, samples, first_step=7)
    history = tracking.metric_history(run_id, f"{PREFIX}m299")
    assert [(point.step, point.value) for point in history] == [
        *((7, 1000.0), (8, 2000.0), (9, 3000.0), (10, 4000.0)),
    ]
    assert history[0].at == "1970-01-01T00:00:01.000000Z"

from __future__ import annotations

import json
from pathlib import Path

import pytest

from store.data_inputs import SHA256_TAG, DataInput
from store.tracking import EXPERIMENT, Tracking

pytestmark = pytest.mark.slow  # MLflow's database
SHA256 = "0123456789abcdef" * 4


def made(name: str, context: str) -> DataInput:
    return DataInput(
        name=name,
        sha256=SHA256,
        source="data/adjudicated/snapshot",
        context=context,
        columns={"image_id": "string", "width": "integer"},
        profile={"images": 3},
        more={"snapshot_sha256": SHA256},
        tags={"loop.dvc_rev": "abc"},
    )


def test_a_run_says_which_data_it_worked_on(tmp_path: Path) -> None:
    tracking = Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts")
    tracking.prepare()
    run_id = tracking.start_run(EXPERIMENT, "run", tags={}, params={})
    tracking.log_inputs(run_id, made("fold 0 training", "training"), made("b", "validation"))
    tracking.log_inputs(run_id, made("fold 0 training", "training"))  # again, as a resumed run does
    found = tracking.client.get_run(run_id).inputs.dataset_inputs
    assert sorted(each.dataset.name for each in found) == ["b", "fold 0 training"]
    first = next(each for each in found if each.dataset.name != "b")
    assert first.dataset.digest == SHA256[:36]
    assert json.loads(first.dataset.source) == {
        "uri": "data/adjudicated/snapshot",
        "snapshot_sha256": SHA256,
    }
    assert json.loads(first.dataset.profile) == {"images": 3}
    columns = json.loads(first.dataset.schema)["mlflow_colspec"]
    assert [column["name"] for column in columns] == ["image_id", "width"]
    tags = {tag.key: tag.value for tag in first.tags}
    assert tags == {
        "mlflow.data.context": "training",
        SHA256_TAG: SHA256,
        "loop.dvc_rev": "abc",
    }


def test_mlflow_itself_can_read_source_and_schema_back() -> None:
    from mlflow.data.dataset_source_registry import get_dataset_source_from_json
    from mlflow.types import Schema

    dataset = made("a", "training").as_mlflow().dataset
    source = get_dataset_source_from_json(dataset.source, dataset.source_type)
    assert source.uri == "data/adjudicated/snapshot"
    schema = Schema.from_json(json.dumps(json.loads(str(dataset.schema))["mlflow_colspec"]))
    assert schema.input_names() == ["image_id", "width"]

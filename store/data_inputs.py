"""Data sets as the inputs of MLflow runs: which data, from where, how much of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

# MLflow's limit (mlflow/utils/validation.py, MAX_DATASET_DIGEST_SIZE).
_DIGEST_LENGTH = 36
# MLflow's name for what an input is used for (mlflow/utils/mlflow_tags.py).
_CONTEXT_TAG = "mlflow.data.context"
# What a data set's digest and source stand for in full.
SHA256_TAG = "loop.sha256"


@dataclass(frozen=True, slots=True)
class DataInput:
    """``sha256`` names the data; MLflow takes the first 36 characters of it as the digest, and the
    whole as a tag. ``source`` is a file path or a URL. ``columns`` are names and MLflow's types
    (``string``, ``long``, …), ``profile`` are counts; ``more`` are facts about the source, ``tags``
    about this use of it."""

    name: str
    sha256: str
    source: str
    context: str
    columns: Mapping[str, str] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def as_mlflow(self) -> DatasetInput:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        schema = [
            {"type": type, "name": name, "required": True} for name, type in self.columns.items()
        ]
        dataset = Dataset(
            name=self.name,
            digest=self.sha256[:_DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": self.source, **self.more}),
            schema=json.dumps({"mlflow_colspec": schema}),
            profile=json.dumps(dict(self.profile)),
        )
        tags = {_CONTEXT_TAG: self.context, SHA256_TAG: self.sha256, **self.tags}
        return DatasetInput(dataset, [InputTag(key, value) for key, value in tags.items()])

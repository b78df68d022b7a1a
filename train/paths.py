"""Where the stages read and write, relative to the workspace they run in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loop.snapshots import Labels

PARAMS = Path("params.yaml")
RESULTS_CSV = "kfold_results.csv"


@dataclass(frozen=True, slots=True)
class StagePaths:
    """One set of paths for each kind of labels; ``dvc.yaml`` names the same ones."""

    labels: Labels

    @property
    def _data(self) -> Path:
        return Path("data") / self.labels.value

    @property
    def _prefix(self) -> str:
        return "" if self.labels is Labels.ADJUDICATED else f"{self.labels.value}_"

    @property
    def snapshot(self) -> Path:
        """Shards and manifest that ``data_collection`` writes."""
        return self._data / "snapshot"

    @property
    def split(self) -> Path:
        """Train, val or gold for every image, from ``data_formatting``."""
        return self._data / "split.parquet"

    @property
    def folds(self) -> Path:
        """The fold of every image, from ``kfold_data_formatting``."""
        return self._data / "folds.parquet"

    @property
    def split_report(self) -> Path:
        """What each part of the split holds, as JSON."""
        return self._data / "split_report.json"

    @property
    def folds_report(self) -> Path:
        """What each fold holds, as JSON."""
        return self._data / "folds_report.json"

    @property
    def standard_runs(self) -> Path:
        return Path("media") / "runs" / f"{self._prefix}standard"

    @property
    def kfold_runs(self) -> Path:
        return Path("media") / "runs" / f"{self._prefix}kfold"

    @property
    def search_runs(self) -> Path:
        return Path("media") / "runs" / f"{self._prefix}search"

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loop.errors import NotFound, Unavailable
from loop.predictions import ModelRef
from loop.snapshots import Labels
from store.audit_log import open_audit_log
from store.settings import Settings, load_settings
from store.tracking import RunInfo, open_tracking
from tests.train.generated import generated_snapshot
from tests.train.light_job import light_fold
from tests.train.light_session import OUT, SNAPSHOT, session
from train.final_model import _base, final_model, refit_epochs, refit_params
from train.params import FinalModel, Params
from train.results import FoldRow
from train.session import Context, Plan, Trained, training
from train.session_state import sessions, storage_of

IMAGES, EPOCHS, FOLDS = 8, 6, 2
_PATIENCE_S = 240.0


def row(fold: int, best_epoch: int, map50_95: float = 0.5, weights: str = "") -> FoldRow:
    scores = (0.6, map50_95, 0.5, 0.5)
    return FoldRow(fold, *scores, 50, best_epoch, 1.0, 6, 2, f"run-{fold}", weights)


@pytest.mark.parametrize(
    ("best", "epochs"), [([8, 40, 10], 10), ([3, 6], 4), ([7], 7), ([0, 0], 1)]
)
def test_a_refit_trains_for_the_median_of_the_folds_best_epochs(
    best: list[int], epochs: int
) -> None:
    rows = [row(fold, best_epoch) for fold, best_epoch in enumerate(best)]
    assert refit_epochs(rows) == epochs


def test_what_counts_epochs_keeps_its_share_of_a_shorter_schedule() -> None:
    params = Params(EPOCHS=50, PATIENCE=9, train={"close_mosaic": 20, "lr0": 0.01})
    refit = refit_params(params, 10)
    assert (refit.EPOCHS, refit.PATIENCE) == (10, 0)
    assert refit.train == {"close_mosaic": 4, "warmup_epochs": 0.6, "lr0": 0.01}
    assert (params.EPOCHS, params.train["close_mosaic"]) == (50, 20)


def test_a_schedule_of_the_same_length_is_left_as_it_is() -> None:
    params = Params(EPOCHS=50, train={"lr0": 0.01})
    assert refit_params(params, 50).train == {"lr0": 0.01}
    # Ultralytics' own numbers are shortened as well.
    assert refit_params(params, 5).train == {"lr0": 0.01, "warmup_epochs": 0.3, "close_mosaic": 1}


def test_the_best_fold_is_final_if_it_is_asked_for(tmp_path: Path) -> None:
    weights = [tmp_path / f"{fold}.pt" for fold in range(2)]
    for path in weights:
        path.write_bytes(path.name.encode())
    rows = (row(0, 12, 0.4, str(weights[0])), row(1, 30, 0.5, str(weights[1])))
    context = cast("Context", _Has(params=Params(FINAL_MODEL=FinalModel.BEST_FOLD)))
    plan = Plan("cv", "kfold", Labels.ADJUDICATED, (), "folds", "0" * 64, tmp_path)
    final = final_model(context, plan, cast("Trained", _Has(rows=rows)))
    assert final.weights.read_bytes() == b"1.pt"
    assert final.tags == {"loop.final_model": "best_fold", "loop.fold": "1"}
    assert final.as_dict() == {
        "kind": "best_fold",
        "epochs": 30,
        "mlflow_run_id": "run-1",
        "weights": (tmp_path / "final.pt").as_posix(),
        "fold": 1,
    }


class _Has:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A folder like a workspace's, with a snapshot, and a home in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECONDLOOK_HOME", str(tmp_path / "var"))
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(root))
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "SECONDLOOK_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    generated_snapshot(SNAPSHOT, IMAGES)
    return load_settings()


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_refit_that_is_killed_or_done_before_the_end_is_never_trained_twice(
    settings: Settings,
) -> None:
    _kill_within_the_refit(settings)
    _fail_after_the_refit(settings)
    weights = Path("var/training") / _parent(settings).run_id / "final.pt"
    before = weights.stat().st_mtime_ns
    _go_on_to_the_end(settings, before)


def _kill_within_the_refit(settings: Settings) -> None:
    with Path("log").open("wb") as log:
        command = [sys.executable, "-m", "tests.train.light_final", str(EPOCHS), str(FOLDS)]
        driver = subprocess.Popen(command, stdout=log, stderr=log)
    storage, until = storage_of(settings.home), time.monotonic() + _PATIENCE_S
    try:
        while not list(_refit_folder(storage).glob("fold-0/checkpoint-*")):
            assert driver.poll() is None, Path("log").read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        driver.kill()
        driver.wait()
    assert not (OUT / "final.json").exists()


def _fail_after_the_refit(settings: Settings) -> None:
    """What was killed is taken up; then the registry, say, does not answer."""
    plan, context = session(EPOCHS, FOLDS)
    with (
        pytest.raises(Unavailable),
        training(plan, context, resume="last", job=light_fold) as trained,
    ):
        final = final_model(context, plan, trained, job=light_fold)
        assert final.weights.read_text() == str(EPOCHS)
        raise Unavailable("Nobody answers.")
    (refit,) = _refits(settings)
    assert (refit.status, refit.run_id) == ("FINISHED", final.run_id)
    assert _parent(settings).status == "FAILED"


def _go_on_to_the_end(settings: Settings, trained_at: int) -> None:
    plan, context = session(EPOCHS, FOLDS)
    with training(plan, context, resume="last", job=light_fold) as trained:
        final = final_model(context, plan, trained, job=_not_again)
        trained.record.end({})
        kept = storage_of(settings.home) / trained.record.run_id / "final.pt"
        assert kept.stat().st_mtime_ns == trained_at
    (refit,) = _refits(settings)
    assert final.run_id == refit.run_id
    assert final.as_dict() == {
        "kind": "refit",
        "epochs": EPOCHS,
        "mlflow_run_id": refit.run_id,
        "weights": "out/final.pt",
        "note": "No image was left to validate it on: the folds' mean and std estimate its scores.",
    }
    tracking = open_tracking(settings)
    assert refit.params["PATIENCE"] == "0"
    assert tracking.metric_steps(refit.run_id, "epoch") == list(range(1, EPOCHS + 1))
    assert _parent(settings).status == "FINISHED"
    assert sessions(storage_of(settings.home)) == []
    log = open_audit_log(settings)
    log.verify()
    types = [entry.event.type for entry in log.tail(1000)]
    assert types.count("refit.started") == 1
    assert types[-1] == "kfold.ended"


def _not_again(*_: object) -> Any:
    raise AssertionError("It was trained again.")


def _refit_folder(storage: Path) -> Path:
    found = [folder for folder, state in sessions(storage) if state.kind == "refit"]
    return found[0] if found else Path("nowhere")


def _parent(settings: Settings) -> RunInfo:
    (parent,) = open_tracking(settings).runs({"loop.kind": "cv"}, limit=10)
    return parent


def _refits(settings: Settings) -> list[RunInfo]:
    tracking = open_tracking(settings)
    return tracking.runs({"loop.kind": "refit"}, limit=10)


def test_a_refit_starts_from_the_folds_base_when_another_is_the_champion(tmp_path: Path) -> None:
    versions = [ModelRef("detector", str(number), str(number) * 64) for number in (1, 2)]
    registry = SimpleNamespace(
        versions=lambda: [SimpleNamespace(ref=ref) for ref in versions],
        fetch=lambda ref: tmp_path / f"{ref.version}.pt",
    )
    context = SimpleNamespace(params=SimpleNamespace(BASE_MODEL="champion"), registry=registry)

    def base(digest: str) -> str:
        tags = {"loop.base_kind": "champion", "loop.base_weights_sha256": digest}
        trained = SimpleNamespace(record=SimpleNamespace(tags=tags))
        return _base(context, trained)  # type: ignore[arg-type]

    assert base("1" * 64) == str(tmp_path / "1.pt")
    with pytest.raises(NotFound, match="333"):
        base("3" * 64)

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from loop.errors import Misconfigured
from tests.train.generated import small_spec
from tests.train.light_job import light_fold
from train.fold_job import FoldFailure, FoldOutcome, FoldResult, FoldTask, Keep
from train.fold_runner import Place, Resources, run_folds

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]
EPOCHS = 3
GPU_FOLDS = 4


def fails(
    task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep
) -> FoldResult | FoldFailure:
    """Fold 0 says why it cannot; fold 1 breaks in a way that nobody foresaw; fold 2 is fine."""
    if task.fold == 0:
        return FoldFailure("There is nothing to learn.", "Look elsewhere.")
    if task.fold == 1:
        (folder.parent / f"try-{len(list(folder.parent.glob('try-*')))}").touch()
        raise ZeroDivisionError("one by nothing")
    return light_fold(task, folder, checkpoint, keep)


@pytest.fixture(scope="module")
def ray_of_our_own() -> Iterator[None]:
    """With a GPU, as far as Ray's bookkeeping goes."""
    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def sees(
    task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep
) -> FoldResult | FoldFailure:
    """Goes on when all folds are here, and says which GPU it has got."""
    here = folder.parent.parent
    (here / f"here-{task.fold}").touch()
    while len(list(here.glob("here-*"))) < GPU_FOLDS:
        time.sleep(0.05)
    (here / f"gpu-{task.fold}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    return light_fold(task, folder, checkpoint, keep)


def tasks(folder: Path, count: int) -> list[FoldTask]:
    spec = small_spec(Path(), epochs=EPOCHS)
    return [FoldTask(i, f"run {i}", folder, (0,), (1,), spec, folder) for i in range(count)]


@pytest.mark.usefixtures("ray_of_our_own")
def test_folds_that_share_what_there_is_each_end_for_themselves(tmp_path: Path) -> None:
    ended: list[FoldOutcome] = []
    outcomes = run_folds(
        tasks(tmp_path, 3),
        Resources(cpus=1, gpus=0),
        Place(tmp_path / "storage", tmp_path / "out"),
        own_ray=True,
        on_end=ended.append,
        on_wait=lambda: None,
        job=fails,
    )
    assert [outcome.task.fold for outcome in outcomes] == [0, 1, 2]
    assert sorted(outcome.task.fold for outcome in ended) == [0, 1, 2]
    assert (outcomes[0].reason, outcomes[0].hint) == (
        "There is nothing to learn.",
        "Look elsewhere.",
    )
    assert "ZeroDivisionError: one by nothing" in outcomes[1].reason
    # Once, and as often as a worker may be started again without a new checkpoint.
    assert len(list((tmp_path / "storage" / "fold-1").glob("try-*"))) == 3
    result = outcomes[2].result
    assert result is not None
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3]
    names = {path.name for path in (tmp_path / "out" / "fold_2").iterdir()}
    assert names == {"best.pt", "results.csv", "state.json"}


@pytest.mark.usefixtures("ray_of_our_own")
def test_folds_share_a_gpu_when_told_to(tmp_path: Path) -> None:
    run_folds(
        tasks(tmp_path, GPU_FOLDS),
        Resources(cpus=0.5, gpus=0.25),
        Place(tmp_path / "storage", tmp_path / "out"),
        own_ray=True,
        on_end=lambda _: None,
        on_wait=lambda: None,
        job=sees,
    )
    seen = [(tmp_path / "storage" / f"gpu-{fold}").read_text() for fold in range(GPU_FOLDS)]
    assert seen == ["0"] * GPU_FOLDS
    # Nothing holds a place any more, whether its fold ended well or not.
    groups = ray.util.placement_group_table().values()
    assert {group["state"] for group in groups} == {"REMOVED"}


@pytest.mark.usefixtures("ray_of_our_own")
def test_a_fold_that_asks_for_more_than_there_is_does_not_wait_for_it(tmp_path: Path) -> None:
    def nothing(_: object = None) -> None:
        return

    with pytest.raises(Misconfigured, match="10000 CPU") as caught:
        run_folds(
            [],
            Resources(cpus=10_000, gpus=0),
            Place(tmp_path, tmp_path),
            own_ray=True,
            on_end=nothing,
            on_wait=nothing,
        )
    assert "CPUS_PER_FOLD" in caught.value.hint

from __future__ import annotations

from train.params import Params
from train.search_sharing import Sharing, sharing

CORES = {"CPU": 8.0}
GB = 1e9


def share(
    folds: int, present: dict[str, float], *, spare_gb: float = 64, **params: float
) -> Sharing:
    made = Params.model_validate(params)
    return sharing(made, folds, present, spare_bytes=spare_gb * GB)


def test_as_many_trials_as_have_room_for_all_their_folds_run_at_once() -> None:
    assert share(2, CORES) == Sharing(1, 4)
    assert share(5, CORES) == Sharing(1, 1)
    assert share(2, CORES, CPUS_PER_FOLD=2) == Sharing(2, 2)


def test_folds_share_cores_rather_than_wait_for_one_another() -> None:
    assert share(5, {"CPU": 2.0}) == Sharing(0.4, 1)
    assert share(3, {"CPU": 2.0}).cpus_per_fold * 3 <= 2


def test_a_cluster_that_may_grow_is_asked_for_all_of_it() -> None:
    assert share(5, {"CPU": 2.0}, spare_gb=0) == Sharing(1, 1)


def test_the_gpus_decide_where_folds_need_them() -> None:
    both = CORES | {"GPU": 2.0}
    assert share(4, both, GPUS_PER_FOLD=0.25) == Sharing(1, 2)
    assert share(5, {"CPU": 2.0, "GPU": 1.0}, GPUS_PER_FOLD=1) == Sharing(1, 1)


def test_folds_wait_for_one_another_where_memory_would_run_out() -> None:
    assert share(5, {"CPU": 2.0}, spare_gb=16) == Sharing(1, 1)
    assert share(5, {"CPU": 2.0}, spare_gb=16, IMG_SIZE=320) == Sharing(0.4, 1)
    assert share(5, {"CPU": 2.0}, spare_gb=16, BATCH_SIZE=2) == Sharing(0.4, 1)

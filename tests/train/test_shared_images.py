from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
import ray

from loop.errors import BrokenRecord
from store.snapshot_files import Snapshot
from tests.train.damaged import Damaged
from tests.train.generated import generated_snapshot
from train.decoded import DecodedImages, decode_images, decoded_bytes
from train.shared_images import SharedImages, share_images

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
COUNT = 6
IMAGE_SIZE = 2048  # 8 MB an image: what is shared must stand out from what Python itself takes
CPUS = 2
STORE_BYTES = 400_000_000


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return generated_snapshot(tmp_path_factory.mktemp("snapshot"), COUNT, width_px=64)


@pytest.fixture(scope="module", autouse=True)
def own_ray() -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=CPUS,
        object_store_memory=STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def shared(snapshot: Snapshot) -> SharedImages:
    shared = share_images(snapshot, range(COUNT), IMAGE_SIZE)
    assert shared is not None
    return shared


@ray.remote(num_cpus=0)
class Reader:
    """Another process of this machine."""

    def __init__(self, shared: SharedImages) -> None:
        self._shared = shared
        self._before = _own_bytes()

    def read(self) -> dict[str, int]:
        """Sums of all pixels, and how much more memory this process has to itself for it."""
        images = self._shared.open()
        assert images is not None
        self._images = images
        sums = {name: int(images.image(name).sum()) for name in images}
        return sums | {"own_bytes": _own_bytes() - self._before}

    def write(self, image_id: str) -> bool:
        try:
            self._images.image(image_id)[0, 0] = 0
        except ValueError:
            return False
        return True


def _own_bytes() -> int:
    return psutil.Process().memory_full_info().uss


def test_workers_see_the_images_without_a_copy_of_their_own(
    snapshot: Snapshot, shared: SharedImages
) -> None:
    expected = DecodedImages([*decode_images(snapshot, range(COUNT), IMAGE_SIZE)])
    sums = {name: int(expected.image(name).sum()) for name in expected}
    readers = [Reader.remote(shared) for _ in range(3)]  # type: ignore[attr-defined]
    for found in ray.get([reader.read.remote() for reader in readers]):
        assert found.pop("own_bytes") < shared.nbytes / 4
        assert found == sums
    image_id = snapshot.samples[0].image_id
    assert not ray.get(readers[0].write.remote(image_id))


def test_opened_twice_the_images_are_at_the_same_place(
    snapshot: Snapshot, shared: SharedImages
) -> None:
    first, second = shared.open(), shared.open()
    assert first is not None
    assert second is not None
    for sample in snapshot.samples:
        here, there = first.image(sample.image_id), second.image(sample.image_id)
        assert here.ctypes.data == there.ctypes.data
        assert not here.flags.writeable


def test_sharing_needs_no_free_core(snapshot: Snapshot) -> None:
    """Else it would wait for folds that wait for it."""
    group = ray.util.placement_group([{"CPU": CPUS}])
    ray.get(group.ready())
    try:
        assert share_images(snapshot, [0], 64) is not None
    finally:
        ray.util.remove_placement_group(group)


def test_more_than_a_share_of_the_store_is_not_shared_and_a_note_says_so(
    snapshot: Snapshot,
) -> None:
    notes: list[str] = []
    share = 0.9 * decoded_bytes(snapshot, range(COUNT), IMAGE_SIZE) / STORE_BYTES
    shared = share_images(
        snapshot, range(COUNT), IMAGE_SIZE, note=notes.append, largest_share=share
    )
    assert shared is None
    assert notes == [
        "The decoded images take 50 MB, and folds may share 45 MB of Ray's object store: "
        "each fold decodes them for itself."
    ]


def test_an_image_that_does_not_decode_is_named(snapshot: Snapshot) -> None:
    with pytest.raises(BrokenRecord, match=snapshot.samples[1].image_id[:12]):
        share_images(Damaged(snapshot), [1], 64)  # type: ignore[arg-type]


@ray.remote(num_cpus=0)
class Owner:
    def share(self, snapshot: Snapshot) -> SharedImages | None:
        return share_images(snapshot, range(COUNT), IMAGE_SIZE)


def test_images_that_are_lost_are_none(snapshot: Snapshot) -> None:
    owner = Owner.remote()  # type: ignore[attr-defined]
    shared = ray.get(owner.share.remote(snapshot))
    ray.kill(owner)
    _wait_until(lambda: shared.open() is None)


DRIVER = """
import sys, time
from pathlib import Path
import ray
from store.snapshot_files import open_snapshot
from train.shared_images import share_images
ray.init(address=sys.argv[1], log_to_driver=False)
shared = share_images(open_snapshot(Path(sys.argv[2])), range(6), int(sys.argv[3]))
print(shared.nbytes, flush=True)
time.sleep(600)
"""


def test_a_killed_driver_leaves_nothing_in_the_store(snapshot: Snapshot) -> None:
    before = _free_bytes()
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", DRIVER, address, str(snapshot.folder), str(IMAGE_SIZE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            shared = int(driver.stdout.readline())
            _wait_until(lambda: _free_bytes() <= before - shared)
        finally:
            os.kill(driver.pid, signal.SIGKILL)
    _wait_until(lambda: _free_bytes() >= before)


def _free_bytes() -> float:
    free: float = ray.available_resources()["object_store_memory"]
    return free


def _wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)

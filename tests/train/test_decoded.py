from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from loop.errors import BrokenRecord
from store.snapshot_files import Snapshot
from tests.train.damaged import Damaged
from tests.train.generated import SIZE_PX, generated_snapshot
from train.decoded import (
    DecodedImages,
    MappedImages,
    decode_images,
    decoded_bytes,
    write_images,
)

COUNT = 6
WIDTH_PX = 64
IMAGE_SIZE = 160  # images are enlarged: a resized one is never the decoded one itself


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return generated_snapshot(tmp_path_factory.mktemp("snapshot"), COUNT, width_px=WIDTH_PX)


@pytest.fixture(scope="module")
def images(snapshot: Snapshot) -> DecodedImages:
    return DecodedImages([*decode_images(snapshot, range(COUNT), IMAGE_SIZE)])


def test_pixels_are_those_of_decoding_and_resizing_with_opencv(
    snapshot: Snapshot, images: DecodedImages
) -> None:
    for sample in snapshot.samples:
        data = np.frombuffer(snapshot.image_bytes(sample.image_id), np.uint8)
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        # 64 px of 96 px, with the 96 at 160 px, are 106.7 px, which Ultralytics rounds up.
        expected = cv2.resize(decoded, (107, IMAGE_SIZE), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(images.image(sample.image_id), expected)
        assert images.original_size(sample.image_id) == (SIZE_PX, WIDTH_PX)


def test_images_without_boxes_are_in_it(snapshot: Snapshot, images: DecodedImages) -> None:
    negatives = [sample.image_id for sample in snapshot.samples if not sample.boxes]
    assert negatives
    assert all(image_id in images for image_id in negatives)


def test_each_image_is_decoded_once_however_often_it_is_named(snapshot: Snapshot) -> None:
    images = DecodedImages([*decode_images(snapshot, [4, 1, 4], IMAGE_SIZE)])
    assert len(images) == 2
    assert snapshot.samples[0].image_id not in images


@pytest.mark.parametrize(("chunk_bytes", "chunks"), [(1, COUNT), (120_000, 3), (10**9, 1)])
def test_chunks_hold_no_more_than_they_may_and_change_no_pixel(
    snapshot: Snapshot, images: DecodedImages, chunk_bytes: int, chunks: int
) -> None:
    tables = [*decode_images(snapshot, range(COUNT), IMAGE_SIZE, chunk_bytes=chunk_bytes)]
    assert len(tables) == chunks
    chunked = DecodedImages(tables)
    for sample in snapshot.samples:
        np.testing.assert_array_equal(chunked.image(sample.image_id), images.image(sample.image_id))


def test_what_it_takes_is_known_before(snapshot: Snapshot, images: DecodedImages) -> None:
    pixels = sum(images.image(sample.image_id).nbytes for sample in snapshot.samples)
    assert decoded_bytes(snapshot, range(COUNT), IMAGE_SIZE) == pixels
    assert pixels <= images.nbytes <= pixels + 1000 * COUNT


def test_images_cannot_be_written_to(snapshot: Snapshot, images: DecodedImages) -> None:
    image = images.image(snapshot.samples[0].image_id)
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        image.setflags(write=True)


def test_an_image_is_a_view_and_no_copy(snapshot: Snapshot, images: DecodedImages) -> None:
    image_id = snapshot.samples[0].image_id
    assert images.image(image_id).ctypes.data == images.image(image_id).ctypes.data


def test_bytes_that_do_not_decode_name_the_image(snapshot: Snapshot) -> None:
    with pytest.raises(BrokenRecord, match=snapshot.samples[1].image_id[:12]):
        [*decode_images(Damaged(snapshot), [1], IMAGE_SIZE)]  # type: ignore[arg-type]


def test_a_file_gives_the_same_images(
    snapshot: Snapshot, images: DecodedImages, tmp_path: Path
) -> None:
    tables = decode_images(snapshot, range(COUNT), IMAGE_SIZE, chunk_bytes=120_000)
    source: MappedImages = pickle.loads(  # noqa: S301
        pickle.dumps(write_images(tmp_path / "images.arrow", tables))
    )
    mapped = source.open()
    assert mapped.image_size == IMAGE_SIZE
    for sample in snapshot.samples:
        image = mapped.image(sample.image_id)
        np.testing.assert_array_equal(image, images.image(sample.image_id))
        assert not image.flags.writeable
        assert mapped.original_size(sample.image_id) == (SIZE_PX, WIDTH_PX)
    assert [path.name for path in tmp_path.iterdir()] == ["images.arrow"]


def test_a_write_that_fails_leaves_no_file(snapshot: Snapshot, tmp_path: Path) -> None:
    tables = decode_images(Damaged(snapshot), range(COUNT), IMAGE_SIZE)  # type: ignore[arg-type]
    with pytest.raises(BrokenRecord):
        write_images(tmp_path / "images.arrow", tables)
    assert not [*tmp_path.iterdir()]


READER = """
import sys
from pathlib import Path
from train.decoded import MappedImages
images = MappedImages(Path(sys.argv[1])).open()
total = sum(int(images.image(name).sum()) for name in sys.argv[2:])
print(total, flush=True)
sys.stdin.read()
"""


def test_processes_that_map_a_file_have_one_copy_between_them(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    """Pages of the file that are mapped by several processes are nobody's own."""
    size = 2048  # 8 MB an image: what is shared must stand out from what Python itself takes
    tables = decode_images(snapshot, range(COUNT), size)
    path = write_images(tmp_path / "images.arrow", tables).path
    names = [sample.image_id for sample in snapshot.samples]
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(path), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    try:
        totals = {reader.stdout.readline() for reader in readers if reader.stdout}
        assert len(totals) == 1
        for reader in readers:
            maps = [m for m in psutil.Process(reader.pid).memory_maps() if m.path == str(path)]
            mapped = sum(m.rss for m in maps)
            own = sum(m.private_clean + m.private_dirty for m in maps)
            assert mapped >= decoded_bytes(snapshot, range(COUNT), size)
            assert own == 0
    finally:
        for reader in readers:
            reader.communicate(b"")

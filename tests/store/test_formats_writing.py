from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from loop.boxes import Box
from loop.classes import ClassList
from loop.errors import InvalidDataset
from store.formats import ExportedImage, Format, ImportedBox, read_dataset, write_dataset

CLASSES = ClassList(("RBC", "WBC", "ä & <b>"))
FORMATS: list[Format] = ["voc", "coco", "yolo"]
WIDTH, HEIGHT = 37, 23


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(buffer, "PNG")
    return buffer.getvalue()


PNG = png()


def edges(limit: int) -> st.SearchStrategy[tuple[float, float]]:
    inside = st.floats(0, limit, allow_subnormal=False)
    pairs = st.tuples(inside, inside).map(lambda pair: (min(pair), max(pair)))
    return pairs.filter(lambda pair: pair[1] - pair[0] > 1e-3)


boxes = st.builds(
    lambda x, y, name, confidence: ImportedBox(name, Box(x[0], y[0], x[1], y[1]), confidence),
    edges(WIDTH),
    edges(HEIGHT),
    st.sampled_from(CLASSES.names),
    st.none() | st.floats(0, 1),
)
images = st.lists(st.lists(boxes, max_size=4).map(tuple), min_size=1, max_size=4).map(
    lambda found: [
        ExportedImage(f"image-{number}", PNG, "image/png", WIDTH, HEIGHT, boxes)
        for number, boxes in enumerate(found)
    ]
)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=25, deadline=None)
@given(items=images)
def test_what_was_written_is_read_back(format: Format, items: list[ExportedImage]) -> None:
    with TemporaryDirectory() as folder:
        write_dataset(Path(folder) / "new", format, items, CLASSES)
        reader = read_dataset(Path(folder) / "new", format, classes=CLASSES)
        found = list(reader)
        assert reader.problems == []
        assert [image.name for image in found] == [item.name for item in items]
        for image, item in zip(found, items, strict=True):
            assert image.path.read_bytes() == item.data
            assert (image.width, image.height) == (WIDTH, HEIGHT)
            assert len(image.boxes) == len(item.boxes)
            for read, written in zip(image.boxes, item.boxes, strict=True):
                assert read.class_name == written.class_name
                assert read.box.xyxy == pytest.approx(written.box.xyxy, abs=1e-9)
                if format != "voc":  # has no place for it
                    assert read.confidence == written.confidence


@pytest.mark.parametrize("format", ["coco", "yolo"])
def test_the_classes_come_back_in_their_order(tmp_path: Path, format: Format) -> None:
    item = ExportedImage("a", PNG, "image/png", WIDTH, HEIGHT, ())
    write_dataset(tmp_path, format, [item], CLASSES)
    assert read_dataset(tmp_path, format, classes=None).classes == CLASSES


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".a", "a\0", "a b"])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    item = ExportedImage(name, PNG, "image/png", WIDTH, HEIGHT, ())
    with pytest.raises(InvalidDataset, match="file's name"):
        write_dataset(tmp_path / "new", "yolo", [item], CLASSES)


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    items = [ExportedImage(n, PNG, "image/png", WIDTH, HEIGHT, ()) for n in ("a", "A")]
    with pytest.raises(InvalidDataset, match="Two images"):
        write_dataset(tmp_path / "new", "coco", items, CLASSES)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InvalidDataset) as caught:
        write_dataset(tmp_path, "voc", [], CLASSES)
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

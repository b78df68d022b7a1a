from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from loop.boxes import Box
from loop.classes import ClassList
from loop.errors import InvalidDataset
from store.formats import DatasetReader, ImportedImage, read_dataset

BCCD = Path(__file__).parents[2] / "../shared/data/bccd"


def jpeg(width: int = 100, height: int = 80) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 150, 150)).save(buffer, "JPEG")
    return buffer.getvalue()


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def voc_object(name: str, *edges: object) -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{tag}>{edge}</{tag}>" for tag, edge in zip(tags, edges, strict=True))
    return f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"


def voc(root: Path, objects: str, name: str = "a") -> Path:
    put(root / "JPEGImages" / f"{name}.jpg", jpeg())
    put(root / "Annotations" / f"{name}.xml", f"<annotation>{objects}</annotation>")
    return root


def yolo(root: Path, label: str, names: str = "names: [RBC, WBC]\n", name: str = "a") -> Path:
    put(root / "data.yaml", names)
    put(root / "images" / f"{name}.jpg", jpeg())
    put(root / "labels" / f"{name}.txt", label)
    return root


def coco(root: Path, annotations: list[dict[str, object]], file_name: str = "a.jpg") -> Path:
    put(root / "images" / "a.jpg", jpeg())
    data = {
        "images": [{"id": 7, "file_name": file_name, "width": 1, "height": 1}],
        "categories": [{"id": 5, "name": "WBC"}, {"id": 2, "name": "RBC"}],
        "annotations": [{"image_id": 7, "category_id": 2, **given} for given in annotations],
    }
    put(root / "annotations" / "instances_all.json", json.dumps(data))
    return root


def only_image(reader: DatasetReader) -> ImportedImage:
    images = list(reader)
    assert len(images) == 1
    return images[0]


def reasons(reader: DatasetReader) -> list[str]:
    list(reader)
    return [problem.what for problem in reader.problems]


# What every format has in common, said in each.


def test_voc_boxes_are_taken_as_they_stand(tmp_path: Path) -> None:
    reader = read_dataset(voc(tmp_path, voc_object("RBC", 1, 2, 50, 60.5)), "voc", classes=None)
    image = only_image(reader)
    assert (image.name, image.width, image.height) == ("a", 100, 80)
    assert [(box.class_name, box.box) for box in image.boxes] == [("RBC", Box(1, 2, 50, 60.5))]
    assert reader.problems == []


def test_yolo_boxes_become_pixels(tmp_path: Path) -> None:
    reader = read_dataset(yolo(tmp_path, "1 0.5 0.5 0.2 0.5 0.9\n"), "yolo", classes=None)
    image = only_image(reader)
    assert reader.classes == ClassList(("RBC", "WBC"))
    assert image.boxes[0].box.xyxy == pytest.approx((40, 20, 60, 60))
    assert (image.boxes[0].class_name, image.boxes[0].confidence) == ("WBC", 0.9)


def test_coco_boxes_have_a_corner_and_a_size(tmp_path: Path) -> None:
    reader = read_dataset(coco(tmp_path, [{"bbox": [10, 20, 30, 40]}]), "coco", classes=None)
    image = only_image(reader)
    assert reader.classes == ClassList(("RBC", "WBC"))  # in order of id
    assert image.boxes[0].box == Box(10, 20, 40, 60)
    assert (image.width, image.height) == (100, 80)  # not what the JSON says


GOOD_VOC = voc_object("RBC", 10, 10, 20, 20)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (voc_object("RBC", 5, 5, 5, 5), "no size"),
        (voc_object("RBC", 9, 9, 5, 5), "no size"),
        (voc_object("RBC", 200, 10, 300, 20), "outside"),
        (voc_object("RBC", 90, 10, 300, 20), "outside"),
        (voc_object("RBC", "nan", 1, 2, 3), "finite"),
        (voc_object("RBC", "-inf", 1, 2, 3), "finite"),
        (voc_object("RBC", "x", 1, 2, 3), "not a number"),
        ("<object><name>RBC</name></object>", "missing"),
        (voc_object("ufo", 1, 1, 9, 9), "unknown class 'ufo'"),
    ],
)
def test_a_bad_voc_box_is_a_problem_and_the_rest_comes_in(
    tmp_path: Path, bad: str, reason: str
) -> None:
    root = voc(tmp_path, GOOD_VOC + bad)
    reader = read_dataset(root, "voc", classes=ClassList(("RBC", "WBC")))
    image = only_image(reader)
    assert [box.box for box in image.boxes] == [Box(10, 10, 20, 20)]
    assert len(reader.problems) == 1
    assert reader.problems[0].file == root / "Annotations" / "a.xml"
    assert reason in reader.problems[0].what
    assert "box 2" in reader.problems[0].what


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("0 0.5 0.5 0 0.1", "no size"),
        ("0 1.5 0.5 0.1 0.1", "outside"),
        ("0 nan 0.5 0.1 0.1", "finite"),
        ("0 0.5 0.5 0.1 inf", "finite"),
        ("2 0.5 0.5 0.1 0.1", "class 2"),
        ("-1 0.5 0.5 0.1 0.1", "class -1"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5"),
        ("0 0.5 0.5 0.1", "4 numbers"),
        ("RBC 0.5 0.5 0.1 0.1", "not numbers"),
        ("0 0.5 0.5 0.1 0.1 1.5", "confidence"),
    ],
)
def test_a_bad_yolo_line_is_a_problem_and_the_rest_comes_in(
    tmp_path: Path, bad: str, reason: str
) -> None:
    reader = read_dataset(yolo(tmp_path, f"0 0.5 0.5 0.1 0.1\n{bad}\n"), "yolo", classes=None)
    assert len(only_image(reader).boxes) == 1
    assert len(reader.problems) == 1
    assert reason in reader.problems[0].what
    assert "line 2" in reader.problems[0].what


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"bbox": [1, 1, 0, 5]}, "no size"),
        ({"bbox": [1, 1, -3, 5]}, "no size"),
        ({"bbox": [500, 1, 3, 5]}, "outside"),
        ({"bbox": [1, 1, float("nan"), 5]}, "finite"),
        ({"bbox": [1, 1, 10**400, 5]}, "four numbers"),
        ({"bbox": "none"}, "four numbers"),
        ({"bbox": [1, 2, 3]}, "four numbers"),
        ({}, "four numbers"),
        ({"bbox": [1, 1, 5, 5], "category_id": 99}, "unknown category 99"),
        ({"bbox": [1, 1, 5, 5], "category_id": [2]}, "unknown category"),
        ({"bbox": [1, 1, 5, 5], "iscrowd": 1}, "crowd"),
        ({"bbox": [1, 1, 5, 5], "image_id": 8}, "image is not there"),
    ],
)
def test_a_bad_coco_annotation_is_a_problem_and_the_rest_comes_in(
    tmp_path: Path, bad: dict[str, object], reason: str
) -> None:
    root = coco(tmp_path, [{"bbox": [10, 10, 10, 10]}, bad])
    reader = read_dataset(root, "coco", classes=None)
    image = only_image(reader)
    assert [box.box for box in image.boxes] == [Box(10, 10, 20, 20)]
    assert len(reader.problems) == 1
    assert reason in reader.problems[0].what


def test_a_box_that_reaches_out_a_little_is_clipped(tmp_path: Path) -> None:
    reader = read_dataset(voc(tmp_path, voc_object("RBC", -2, 50, 30, 83)), "voc", classes=None)
    assert only_image(reader).boxes[0].box == Box(0, 50, 30, 80)
    assert reader.problems == []


def test_an_image_whose_boxes_are_all_bad_is_not_taken_for_empty(tmp_path: Path) -> None:
    reader = read_dataset(voc(tmp_path, voc_object("RBC", 5, 5, 5, 5)), "voc", classes=None)
    assert list(reader) == []
    assert "no size" in reader.problems[0].what
    assert "left out" in reader.problems[1].what


def test_an_annotation_that_names_no_box_says_that_there_is_nothing(tmp_path: Path) -> None:
    known = ClassList(("RBC",))
    assert only_image(read_dataset(voc(tmp_path / "v", ""), "voc", classes=known)).boxes == ()
    assert only_image(read_dataset(yolo(tmp_path / "y", ""), "yolo", classes=None)).boxes == ()
    assert only_image(read_dataset(coco(tmp_path / "c", []), "coco", classes=None)).boxes == ()


def test_images_and_annotations_without_each_other_are_problems(tmp_path: Path) -> None:
    v, y, c = voc(tmp_path / "v", GOOD_VOC), yolo(tmp_path / "y", ""), coco(tmp_path / "c", [])
    put(v / "JPEGImages/lonely.jpg", jpeg())
    put(v / "Annotations/lost.xml", f"<annotation>{GOOD_VOC}</annotation>")
    put(y / "images/lonely.jpg", jpeg())
    put(y / "labels/lost.txt", "")
    put(c / "images/lonely.jpg", jpeg())
    for root, format in ((v, "voc"), (y, "yolo"), (c, "coco")):
        reader = read_dataset(root, format, classes=None)  # type: ignore[arg-type]
        assert len(list(reader)) == len(reader) == 1
        named = {problem.file.stem for problem in reader.problems}
        assert named == ({"lonely"} if format == "coco" else {"lonely", "lost"})


def test_a_broken_image_is_a_problem(tmp_path: Path) -> None:
    root = voc(tmp_path, GOOD_VOC)
    put(root / "JPEGImages/a.jpg", b"GIF89a but not really")
    assert "GIF files are not taken" in reasons(read_dataset(root, "voc", classes=None))[0]
    put(root / "JPEGImages/a.jpg", b"a letter to the editor")
    assert "not an image" in reasons(read_dataset(root, "voc", classes=None))[0]


def test_broken_xml_is_a_problem_of_that_file(tmp_path: Path) -> None:
    root = voc(voc(tmp_path, GOOD_VOC), "", name="b")
    put(root / "Annotations/b.xml", "<annotation><object>")
    reader = read_dataset(root, "voc", classes=None)
    assert len(list(reader)) == 1
    assert "not XML" in reader.problems[0].what


@pytest.mark.parametrize("format", ["voc", "coco", "yolo"])
def test_a_folder_that_is_not_there_or_empty_is_refused_with_a_hint(
    tmp_path: Path, format: str
) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InvalidDataset) as caught:
            read_dataset(path, format, classes=None)  # type: ignore[arg-type]
        assert caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": {}}', "[" * 100_000, "\xff"])
def test_a_coco_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = put(tmp_path / "instances.json", text)
    with pytest.raises(InvalidDataset):
        read_dataset(path, "coco", classes=None)


@pytest.mark.parametrize(
    "names", ["", "names: 3", "names: {1: a}", "names: [[a]]", "- a", "names: [\x01"]
)
def test_a_data_yaml_without_usable_names_is_refused(tmp_path: Path, names: str) -> None:
    with pytest.raises(InvalidDataset):
        read_dataset(yolo(tmp_path, "", names), "yolo", classes=None)


# Layouts.


def test_voc_images_may_lie_beside_their_xml_in_nested_folders(tmp_path: Path) -> None:
    for name in ("train/a", "valid/a"):
        put(tmp_path / f"{name}.jpg", jpeg())
        put(tmp_path / f"{name}.xml", f"<annotation>{GOOD_VOC}</annotation>")
    reader = read_dataset(tmp_path, "voc", classes=None)
    assert [image.name for image in reader] == ["train/a", "valid/a"]


def test_voc_falls_back_to_the_file_name_that_is_said(tmp_path: Path) -> None:
    put(tmp_path / "JPEGImages/cell.jpg", jpeg())
    said = "<filename>C:\\data\\cell.jpg</filename>"
    put(tmp_path / "Annotations/1.xml", f"<annotation>{said}{GOOD_VOC}</annotation>")
    assert only_image(read_dataset(tmp_path, "voc", classes=None)).name == "cell"


def test_yolo_splits_come_in_together_whatever_data_yaml_points_to(tmp_path: Path) -> None:
    put(tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\nnames: {0: RBC}\n")
    for split in ("train", "valid"):
        put(tmp_path / split / "images/a.jpg", jpeg())
        put(tmp_path / split / "labels/a.txt", "0 0.5 0.5 0.1 0.1")
    for path in (tmp_path, tmp_path / "data.yaml"):
        names = [image.name for image in read_dataset(path, "yolo", classes=None)]
        assert names == ["train/a", "valid/a"]


def test_yolo_names_come_from_classes_txt_or_from_the_loop(tmp_path: Path) -> None:
    root = yolo(tmp_path, "1 0.5 0.5 0.1 0.1")
    (root / "data.yaml").unlink()
    known = ClassList(("x", "y"))
    assert only_image(read_dataset(root, "yolo", classes=known)).boxes[0].class_name == "y"
    put(root / "classes.txt", "RBC\r\nWBC\r\n")
    assert only_image(read_dataset(root, "yolo", classes=None)).boxes[0].class_name == "WBC"


def test_coco_images_are_found_in_the_folder_of_their_split(tmp_path: Path) -> None:
    root = coco(tmp_path, [{"bbox": [1, 1, 5, 5]}])
    (root / "images").rename(root / "all")
    reader = read_dataset(root / "annotations/instances_all.json", "coco", classes=None)
    assert only_image(reader).path == root / "all" / "a.jpg"


def test_class_numbers_go_by_name_where_the_loop_has_another_order(tmp_path: Path) -> None:
    root = yolo(tmp_path, "0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1")
    reader = read_dataset(root, "yolo", classes=ClassList(("WBC", "Platelets")))
    assert [box.class_name for box in only_image(reader).boxes] == ["WBC"]
    assert reader.classes.names == ("WBC", "Platelets")
    assert "unknown class 'RBC'" in reader.problems[0].what


# Hostile input.


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY file SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://example.org/x.dtd">',
    ],
)
def test_xml_with_a_document_type_is_refused(tmp_path: Path, doctype: str) -> None:
    root = voc(tmp_path, GOOD_VOC)
    put(root / "Annotations/a.xml", f"{doctype}<annotation>{GOOD_VOC}</annotation>")
    reader = read_dataset(root, "voc", classes=ClassList(("RBC",)))
    assert list(reader) == []
    assert "document type" in reader.problems[0].what


@pytest.mark.parametrize("name", ["../../outside.jpg", "ABSOLUTE", "a\0.jpg", "x" * 5000, ".."])
def test_a_coco_file_name_cannot_lead_out_of_the_data_set(tmp_path: Path, name: str) -> None:
    outside = put(tmp_path / "outside.jpg", jpeg())
    said = str(outside) if name == "ABSOLUTE" else name
    put(tmp_path / "data/images/a.jpg", jpeg())
    root = coco(tmp_path / "data", [{"bbox": [1, 1, 5, 5]}], file_name=said)
    with pytest.raises(InvalidDataset):
        read_dataset(root, "coco", classes=None)


def test_a_voc_file_name_cannot_lead_out_of_the_data_set(tmp_path: Path) -> None:
    put(tmp_path / "secret.jpg", jpeg())
    root = voc(tmp_path / "data", GOOD_VOC)
    said = "<filename>../../secret.jpg</filename>"
    put(root / "Annotations/b.xml", f"<annotation>{said}{GOOD_VOC}</annotation>")
    reader = read_dataset(root, "voc", classes=None)
    assert [image.name for image in reader] == ["a"]
    assert "not there" in reader.problems[0].what


@pytest.mark.parametrize("format", ["voc", "coco", "yolo"])
def test_a_link_out_of_the_data_set_is_not_followed(tmp_path: Path, format: str) -> None:
    outside = put(tmp_path / "outside.jpg", jpeg())
    root = tmp_path / "data"
    made = {"voc": voc, "yolo": yolo, "coco": coco}[format](root, "" if format != "coco" else [])  # type: ignore[operator]
    image = next(root.rglob("a.jpg"))
    image.unlink()
    image.symlink_to(outside)
    reader = read_dataset(made, format, classes=ClassList(("RBC",)))  # type: ignore[arg-type]
    assert list(reader) == []
    assert "leads out" in reader.problems[0].what


def test_an_annotation_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    root = yolo(tmp_path, "")
    with (root / "labels/a.txt").open("wb") as file:
        file.truncate(9 * 1024 * 1024)
    assert "larger than 8 MiB" in reasons(read_dataset(root, "yolo", classes=None))[0]


def test_a_download_in_data_yaml_is_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    download = f"download: |\n  import pathlib; pathlib.Path({str(mark)!r}).touch()\n"
    reader = read_dataset(yolo(tmp_path, "", f"names: [RBC]\n{download}"), "yolo", classes=None)
    list(reader)
    assert not mark.exists()


@pytest.mark.skipif(not BCCD.is_dir(), reason="the BCCD images are not here")
def test_bccd_comes_in_but_for_two_boxes_without_size() -> None:
    reader = read_dataset(BCCD, "voc", classes=None)
    images = list(reader)
    assert len(images) == len(reader) == 292
    assert reader.classes == ClassList(("Platelets", "RBC", "WBC"))
    assert [problem.file.name for problem in reader.problems] == [
        "BloodImage_00338.xml",
        "BloodImage_00343.xml",
    ]
    assert all("has no size" in problem.what for problem in reader.problems)
    assert {(image.width, image.height) for image in images} == {(640, 480)}
    assert sum(len(image.boxes) for image in images) > 3000

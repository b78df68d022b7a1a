"""COCO: a JSON file of images, categories and annotations, with the images in a folder beside."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from loop.classes import ClassList
from loop.errors import InvalidDataset
from store.formats.base import (
    DatasetReader,
    ExportedImage,
    Problem,
    RawBox,
    Source,
    class_list,
    find_images,
    no_images,
    read_label,
)

_LAYOUT = "COCO has a JSON file, or annotations/*.json, and images/ beside it."
# instances_train2017.json, the largest of COCO's own, has 449 MB.
_MAX_JSON_BYTES = 1024 * 1024 * 1024

Json = dict[str, Any]


def read_coco(path: Path, classes: ClassList | None) -> DatasetReader:
    """``path`` is the JSON file, or the folder. Classes are the categories in order of id."""
    files = _json_files(path)
    folder = files[0].absolute().parent
    root = folder.parent if folder.name == "annotations" else folder
    dataset = _Dataset(root)
    for file in files:
        dataset.add(file)
    names = [name for _, name in sorted(dataset.categories.items())]
    if not dataset.sources:
        raise no_images(path, _LAYOUT)
    if path.is_dir():
        dataset.note_unused_images()
    known = classes or class_list(names, path)
    return DatasetReader(root, known, dataset.sources, dataset.problems)


def write_coco(folder: Path, items: Iterable[ExportedImage], classes: ClassList) -> None:
    """Confidences become ``score``, as in COCO's result files."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images: list[Json] = []
    annotations: list[Json] = []
    for image_id, item in enumerate(items, start=1):
        (folder / "images" / item.file_name).write_bytes(item.data)
        images.append(
            {
                "id": image_id,
                "file_name": item.file_name,
                "width": item.width,
                "height": item.height,
            }
        )
        for exported in item.boxes:
            box = exported.box
            annotation: Json = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": classes.id_of(exported.class_name) + 1,
                "bbox": [box.x1, box.y1, box.width, box.height],
                "area": box.area,
                "iscrowd": 0,
            }
            if exported.confidence is not None:
                annotation["score"] = exported.confidence
            annotations.append(annotation)
    # COCO's own category ids begin at 1.
    categories = [{"id": place, "name": name} for place, name in enumerate(classes, start=1)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    text = json.dumps(data, ensure_ascii=False)
    (folder / "annotations" / "instances.json").write_text(text, encoding="utf-8")


@dataclass(slots=True)
class _Dataset:
    root: Path
    categories: dict[int, str] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    folders: set[Path] = field(default_factory=set)

    def add(self, file: Path) -> None:
        data = _load(file, self.root)
        for category in data["categories"]:
            number, name = category["id"], category["name"]
            known = self.categories.setdefault(number, name)
            if known != name:
                raise InvalidDataset(
                    f"{file.name} calls category {number} {name!r}, another file {known!r}.",
                    hint="Import the files one by one.",
                )
        boxes: dict[Any, list[tuple[int, Json]]] = {image["id"]: [] for image in data["images"]}
        for number, annotation in enumerate(data["annotations"]):
            of_image = boxes.get(annotation["image_id"])
            if of_image is None:
                self.problems.append(Problem(file, f"annotation {number}: its image is not there"))
            else:
                of_image.append((number, annotation))
        folders = _image_folders(file, self.root)
        for image in data["images"]:
            self._add_image(file, image, boxes[image["id"]], folders)

    def _add_image(
        self,
        file: Path,
        image: Json,
        annotations: Sequence[tuple[int, Json]],
        folders: Sequence[Path],
    ) -> None:
        name = image["file_name"]
        for folder in folders:
            path = _inside(self.root, folder, name)
            if path is not None:
                self.folders.add(folder)
                read = partial(_read_boxes, annotations, self.categories)
                below = folder if path.is_relative_to(folder) else self.root
                short = path.relative_to(below).with_suffix("").as_posix()
                self.sources.append(Source(path, short, file, read))
                return
        self.problems.append(Problem(file, f"image {name!r} is not in the data set's folder"))

    def note_unused_images(self) -> None:
        used = {source.image for source in self.sources}
        found = {path for folder in self.folders for path in find_images(folder).values()}
        self.problems += [
            Problem(path, "no annotation file names it") for path in sorted(found - used)
        ]


def _json_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    for pattern in ("annotations/instances*.json", "annotations/*.json", "*.json"):
        found = sorted(path.glob(pattern))
        if found:
            return found
    raise InvalidDataset(f"There is no COCO file in {path}.", hint=_LAYOUT)


def _image_folders(file: Path, root: Path) -> list[Path]:
    """Where images may be: COCO keeps those of ``instances_train2017.json`` in ``train2017``."""
    split = file.stem.removeprefix("instances_")
    return [
        folder
        for folder in (root / "images" / split, root / split, root / "images", root)
        if folder.is_dir()
    ]


def _inside(root: Path, folder: Path, name: str) -> Path | None:
    """The file that ``name`` means in ``folder``, if there is one and it lies below ``root``."""
    try:
        path = Path(os.path.normpath(folder / name))
        return path if path.is_relative_to(root) and path.is_file() else None
    except (OSError, ValueError):  # a name too long, or with a NUL in it
        return None


def _load(file: Path, root: Path) -> Json:
    """The file's content, with the shape of it checked as far as images and categories go."""
    try:
        data = json.loads(read_label(file, root, _MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise InvalidDataset(f"{file} is not JSON: {error}.") from error
    if not isinstance(data, dict) or not all(
        _is_list_of_objects(data.get(key), needed)
        for key, needed in (
            ("images", {"id": int | str, "file_name": str}),
            ("categories", {"id": int, "name": str}),
            ("annotations", {"image_id": int | str}),
        )
    ):
        raise InvalidDataset(
            f"{file} has not the images, categories and annotations of COCO.", hint=_LAYOUT
        )
    ids = [image["id"] for image in data["images"]]
    if len(set(ids)) != len(ids):
        raise InvalidDataset(f"{file} uses an image id twice.")
    return data


def _is_list_of_objects(value: Any, needed: Mapping[str, Any]) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict)
        and all(isinstance(item.get(key), kind) for key, kind in needed.items())
        for item in value
    )


def _read_boxes(
    annotations: Sequence[tuple[int, Json]],
    categories: Mapping[int, str],
    width: int,  # noqa: ARG001
    height: int,  # noqa: ARG001
) -> Iterator[RawBox | str]:
    for number, annotation in annotations:
        where = f"annotation {number}"
        if annotation.get("iscrowd"):
            yield f"{where}: a crowd is not the box of one object"
            continue
        try:
            x, y, w, h = map(float, annotation["bbox"])
            score = annotation.get("score")
            confidence = None if score is None else float(score)
        except (KeyError, TypeError, ValueError, OverflowError):
            yield f"{where}: bbox is not four numbers"
            continue
        category = annotation.get("category_id")
        name = categories.get(category) if isinstance(category, int) else None
        if name is None:
            yield f"{where}: unknown category {category!r}"
        else:
            yield RawBox(where, name, (x, y, x + w, y + h), confidence)

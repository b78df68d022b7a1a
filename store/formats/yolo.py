"""YOLO: an image below ``images/`` and its label below ``labels/``, or the two side by side.

Class names come from ``data.yaml`` or ``classes.txt``. Of ``data.yaml`` only ``names`` is read:
every image below the folder comes in, whatever paths it names, and its ``download`` is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

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
    read_text,
)

_LAYOUT = "YOLO has images/ and labels/ with a text file for each image, and data.yaml beside them."
_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml")
_LIST_NAMES = ("classes.txt", "labels/classes.txt", "obj.names")
_NOT_LABELS = frozenset({"classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt"})


def read_yolo(path: Path, classes: ClassList | None) -> DatasetReader:
    """``path`` is the folder or its YAML file. Without names of its own, the data set's class
    numbers mean ``classes``. An image without a label file is not taken: an empty one says that
    there is nothing on it."""
    root = path.parent if path.is_file() else path
    if not root.is_dir():
        raise InvalidDataset(f"There is no folder {path}.", hint=_LAYOUT)
    names = _names(path, root) or (classes.names if classes else ())
    if not names:
        raise InvalidDataset(
            f"{root} does not say what its classes are called.",
            hint="Add data.yaml with `names`, or classes.txt with a name a line.",
        )
    sources: list[Source] = []
    problems: list[Problem] = []
    labels = set(root.rglob("*.txt"))
    for name, image in sorted(find_images(root).items()):
        label = _label_of(image, root)
        if label in labels:
            labels.discard(label)
            read = partial(_read_boxes, label, root, names)
            sources.append(Source(image, _below_images(name), label, read))
        else:
            problems.append(Problem(image, "it has no label file"))
    if not sources:
        raise no_images(path, _LAYOUT)
    folders = {source.labels.parent for source in sources}
    problems += [
        Problem(label, "its image is not there")
        for label in sorted(labels)
        if label.name not in _NOT_LABELS
        and ("labels" in label.relative_to(root).parts or label.parent in folders)
    ]
    return DatasetReader(root, classes or class_list(names, path), sources, problems)


def write_yolo(folder: Path, items: Iterable[ExportedImage], classes: ClassList) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for item in items:
        (folder / "images" / item.file_name).write_bytes(item.data)
        text = "".join(_line(item, classes))
        (folder / "labels" / f"{item.name}.txt").write_text(text, encoding="utf-8")
    data = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(classes))}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")


def _names(path: Path, root: Path) -> tuple[str, ...]:
    files = [path] if path.is_file() else [root / name for name in _YAML_NAMES]
    for file in files:
        if file.is_file():
            try:
                return _names_in(yaml.safe_load(read_text(file, root)), file)
            except (yaml.YAMLError, RecursionError) as error:
                raise InvalidDataset(f"{file} is not YAML.", hint=str(error)) from error
    for name in _LIST_NAMES:
        if (root / name).is_file():
            lines = read_text(root / name, root).splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return ()


def _names_in(data: Any, file: Path) -> tuple[str, ...]:
    names = data.get("names") if isinstance(data, dict) else None
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise InvalidDataset(f"{file}: names must be numbered from 0 on.")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
        raise InvalidDataset(f"{file} has no usable `names`.", hint="Write `names: [cat, dog]`.")
    return tuple(str(name).strip() for name in names)


def _label_of(image: Path, root: Path) -> Path:
    """The last ``images`` in the path becomes ``labels``, as Ultralytics' ``img2label_paths``."""
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return root.joinpath(*parts)


def _below_images(name: str) -> str:
    """The name without the folders ``images``, so that ``train/images/a`` is ``train/a``."""
    *folders, last = name.split("/")
    return "/".join([*(folder for folder in folders if folder != "images"), last])


def _read_boxes(
    label: Path, root: Path, names: Sequence[str], width: int, height: int
) -> Iterator[RawBox | str]:
    for number, line in enumerate(read_text(label, root).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            yield f"{where}: {line[:60]!r} is not numbers"
            continue
        if len(values) not in (5, 6):
            yield f"{where}: {len(values)} numbers, where a box has 5, or 6 with its confidence"
        elif values[0] not in range(len(names)):
            yield f"{where}: class {values[0]:g} is not among the {len(names)} of the data set"
        else:
            class_id, x, y, w, h = values[:5]
            edges = (
                (x - w / 2) * width,
                (y - h / 2) * height,
                (x + w / 2) * width,
                (y + h / 2) * height,
            )
            confidence = values[5] if len(values) == 6 else None
            yield RawBox(where, names[int(class_id)], edges, confidence)


def _line(item: ExportedImage, classes: ClassList) -> Iterator[str]:
    for exported in item.boxes:
        box = exported.box
        numbers = [
            (box.x1 + box.x2) / 2 / item.width,
            (box.y1 + box.y2) / 2 / item.height,
            box.width / item.width,
            box.height / item.height,
        ]
        if exported.confidence is not None:
            numbers.append(exported.confidence)
        words = [str(classes.id_of(exported.class_name)), *(repr(float(n)) for n in numbers)]
        yield " ".join(words) + "\n"

"""Pascal VOC: ``Annotations/*.xml`` with ``JPEGImages/``, or each XML file beside its image.

Coordinates are taken as they stand, as edges that count from 0, and written that way. The VOC
development kit counts pixels from 1 and includes the last one (M. Everingham and J. Winn, "The
PASCAL VOC2012 Development Kit", section 8), but what most people have was drawn with labelImg,
which writes edges in Qt's coordinates from 0 and only lifts a 0 to a 1 (labelImg,
``libs/labelFile.py``, ``convert_points_to_bnd_box``). Nothing in a file tells the two apart;
true VOC boxes come out one pixel to the lower right.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree  # only its tree; see _parse
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers import expat

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

_LAYOUT = "Pascal VOC has Annotations/*.xml and JPEGImages/, or XML files beside the images."


def read_voc(path: Path, classes: ClassList | None) -> DatasetReader:
    """Classes, unless given, are the names found, sorted: every XML file is read for that."""
    if not path.is_dir():
        raise InvalidDataset(f"There is no folder {path}.", hint=_LAYOUT)
    labels_folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    images_folder = path / "JPEGImages" if (path / "JPEGImages").is_dir() else labels_folder
    images = find_images(images_folder)
    labels = sorted(labels_folder.rglob("*.xml"))
    if not images or not labels:
        raise no_images(path, _LAYOUT)
    sources: list[Source] = []
    problems: list[Problem] = []
    for label in labels:
        name = _image_of(label, labels_folder, images, path)
        if name is None:
            problems.append(Problem(label, "its image is not there"))
        else:
            sources.append(Source(images[name], name, label, partial(_read_boxes, label, path)))
    taken = {source.name for source in sources}
    problems += [
        Problem(image, "it has no annotation file")
        for name, image in sorted(images.items())
        if name not in taken
    ]
    if classes is None:
        classes = class_list(sorted(set(_names(labels, path))), path)
    return DatasetReader(path, classes, sources, problems)


def write_voc(folder: Path, items: Iterable[ExportedImage], classes: ClassList) -> None:  # noqa: ARG001
    """Confidences have no place in this format."""
    (folder / "Annotations").mkdir(parents=True)
    (folder / "JPEGImages").mkdir()
    for item in items:
        (folder / "JPEGImages" / item.file_name).write_bytes(item.data)
        tree = ElementTree.ElementTree(_to_xml(item))
        ElementTree.indent(tree)
        tree.write(folder / "Annotations" / f"{item.name}.xml", encoding="utf-8")


def _image_of(label: Path, folder: Path, images: dict[str, Path], root: Path) -> str | None:
    """The image's name: that of the XML file, else what ``<filename>`` says.

    Only the last part of ``<filename>`` counts, beside the place of the first.
    """
    name = label.relative_to(folder).with_suffix("")
    if name.as_posix() in images:
        return name.as_posix()
    try:
        said = _parse(label, root).findtext("filename") or ""
    except InvalidDataset:
        return None
    other = (name.parent / PurePosixPath(said.replace("\\", "/")).stem).as_posix()
    return other if other in images else None


def _names(labels: Iterable[Path], root: Path) -> Iterator[str]:
    for label in labels:
        try:
            annotation = _parse(label, root)
        except InvalidDataset:
            continue  # is reported when its image is read
        for found in annotation.iterfind("object/name"):
            if found.text and found.text.strip():
                yield found.text.strip()


def _read_boxes(label: Path, root: Path, width: int, height: int) -> Iterator[RawBox | str]:  # noqa: ARG001
    for number, found in enumerate(_parse(label, root).iterfind("object"), start=1):
        where = f"box {number}"
        try:
            edges = [
                float(found.findtext(f"bndbox/{edge}", ""))
                for edge in ("xmin", "ymin", "xmax", "ymax")
            ]
        except ValueError:
            yield f"{where}: an edge is missing or is not a number"
            continue
        name = found.findtext("name", "").strip()
        yield RawBox(where, name, (edges[0], edges[1], edges[2], edges[3]))


def _parse(path: Path, root: Path) -> ElementTree.Element:
    """The root element. Document types are refused, and with them every entity trick."""
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()

    def refuse(*_: Any) -> None:
        raise InvalidDataset(f"{path.name} declares a document type, which annotations need not")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(read_label(path, root), True)
        return builder.close()
    except (expat.ExpatError, AssertionError) as error:
        raise InvalidDataset(f"{path.name} is not XML: {error}") from error


def _to_xml(item: ExportedImage) -> ElementTree.Element:
    annotation = ElementTree.Element("annotation")
    _add(annotation, "folder", "JPEGImages")
    _add(annotation, "filename", item.file_name)
    size = _add(annotation, "size")
    for name, value in (("width", item.width), ("height", item.height), ("depth", 3)):
        _add(size, name, str(value))
    for exported in item.boxes:
        found = _add(annotation, "object")
        _add(found, "name", exported.class_name)
        _add(found, "difficult", "0")
        box = _add(found, "bndbox")
        for name, edge in zip(("xmin", "ymin", "xmax", "ymax"), exported.box.xyxy, strict=True):
            _add(box, name, str(int(edge)) if float(edge).is_integer() else repr(float(edge)))
    return annotation


def _add(parent: ElementTree.Element, name: str, text: str | None = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, name)
    child.text = text
    return child

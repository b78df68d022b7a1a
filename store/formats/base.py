"""What every data set format has in common: images with boxes, and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loop.boxes import Box
from loop.classes import ClassList
from loop.errors import InvalidBox, InvalidDataset, LoopError
from store.image_codec import read_size

Format = Literal["voc", "coco", "yolo"]

SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/bmp": ".bmp",
    "image/webp": ".webp",
    "image/tiff": ".tif",
}
_IMAGE_SUFFIXES = frozenset([*SUFFIXES.values(), ".jpeg", ".tiff"])
# An image's annotation file is a few kilobytes; this is a thousand times that.
MAX_LABEL_BYTES = 8 * 1024 * 1024
# A box of which less than this share lies in the image was not drawn on that image.
_MIN_SHARE_INSIDE = 0.5


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be imported, and why."""

    file: Path
    what: str


@dataclass(frozen=True, slots=True)
class ImportedBox:
    """``box`` is in pixels and inside its image; ``confidence`` is in [0, 1] where known."""

    class_name: str
    box: Box
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class ImportedImage:
    """One image with its usable boxes; none means that the data set says there is nothing.

    ``name`` is its path below the images' folder, without suffix. ``width`` and ``height`` are
    pixels as stored, before any EXIF orientation. ``problems`` are of boxes left out.
    """

    path: Path
    name: str
    width: int
    height: int
    boxes: tuple[ImportedBox, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """One image to write. ``name`` becomes the files' name; ``data`` is written as it is."""

    name: str
    data: bytes
    media_type: str
    width: int
    height: int
    boxes: tuple[ImportedBox, ...]

    @property
    def file_name(self) -> str:
        return self.name + SUFFIXES[self.media_type]


@dataclass(frozen=True, slots=True)
class RawBox:
    """A box as its file has it: ``edges`` are ``xyxy`` in pixels, not checked in any way.

    ``where`` tells it from the others in its file (``box 3``, ``line 7``).
    """

    where: str
    class_name: str
    edges: tuple[float, float, float, float]
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """An image and how to get at its boxes, given its width and height in pixels.

    ``read_boxes`` gives the boxes that could be read and the reasons of those that could not;
    it raises `InvalidDataset` if the file says nothing at all that can be used.
    """

    image: Path
    name: str
    labels: Path
    read_boxes: Callable[[int, int], Iterable[RawBox | str]]


class DatasetReader:
    """Goes through a data set image by image.

    ``problems`` grows while it does: those of the whole data set are there from the start.
    """

    def __init__(
        self,
        root: Path,
        classes: ClassList,
        sources: Sequence[Source],
        problems: Iterable[Problem] = (),
    ) -> None:
        self.classes = classes
        self.problems: list[Problem] = list(problems)
        self._root = root.resolve()
        self._sources = sources

    def __len__(self) -> int:
        """The images to go through; some of them may turn out not to be usable."""
        return len(self._sources)

    def __iter__(self) -> Iterator[ImportedImage]:
        for source in self._sources:
            try:
                image = self._read(source)
            except InvalidDataset as error:
                self.problems.append(Problem(source.labels, error.message))
            else:
                self.problems.extend(image.problems)
                yield image

    def keep(self, names: set[str]) -> list[str]:
        """Go through the images of these names only; returns those that no image has."""
        self._sources = [source for source in self._sources if source.name in names]
        return sorted(names - {source.name for source in self._sources})

    def _read(self, source: Source) -> ImportedImage:
        if not source.image.resolve().is_relative_to(self._root):
            raise InvalidDataset(f"{source.image.name} leads out of the data set's folder")
        width, height = image_size(source.image)
        boxes: list[ImportedBox] = []
        problems: list[Problem] = []
        for raw in source.read_boxes(width, height):
            try:
                boxes.append(self._accept(raw, width, height))
            except InvalidDataset as error:
                problems.append(Problem(source.labels, error.message))
        if problems and not boxes:
            # Without any box it would count as an image on which there is nothing.
            self.problems.extend(problems)
            raise InvalidDataset(f"none of its boxes is usable, so {source.image.name} is left out")
        return ImportedImage(
            source.image, source.name, width, height, tuple(boxes), tuple(problems)
        )

    def _accept(self, raw: RawBox | str, width: int, height: int) -> ImportedBox:
        if isinstance(raw, str):
            raise InvalidDataset(raw)
        if raw.class_name not in self.classes:
            raise InvalidDataset(f"{raw.where}: unknown class {raw.class_name!r}")
        if raw.confidence is not None and not 0 <= raw.confidence <= 1:
            raise InvalidDataset(f"{raw.where}: confidence {raw.confidence} is not in [0, 1]")
        box = usable_box(raw.edges, width, height, raw.where)
        return ImportedBox(raw.class_name, box, raw.confidence)


def usable_box(
    edges: tuple[float, float, float, float], width: int, height: int, where: str
) -> Box:
    """The box clipped to the image. Raises `InvalidDataset` and says what is wrong with it."""
    if not all(math.isfinite(edge) for edge in edges):
        raise InvalidDataset(f"{where}: an edge is not a finite number: {edges}")
    try:
        box = Box.of(edges)
    except InvalidBox:
        raise InvalidDataset(f"{where}: the box {edges} has no size") from None
    clipped = box.clipped(width, height)
    if clipped is None or clipped.area < _MIN_SHARE_INSIDE * box.area:
        raise InvalidDataset(f"{where}: the box {edges} lies outside the {width}x{height} image")
    return clipped


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the image's header. Raises `InvalidDataset`."""
    try:
        return read_size(path)
    except LoopError as error:
        raise InvalidDataset(f"{path.name}: {error.message}") from error


def find_images(folder: Path) -> dict[str, Path]:
    """Every image file below ``folder`` by its path there without suffix; of ``a.jpg`` and
    ``a.png`` the first."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*"), reverse=True)
        if path.suffix.lower() in _IMAGE_SUFFIXES and path.is_file()
    }


def read_label(path: Path, root: Path, limit_bytes: int = MAX_LABEL_BYTES) -> bytes:
    """A label file's bytes. Raises `InvalidDataset` if it is too large or lies elsewhere."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise InvalidDataset(f"{path.name} leads out of the data set's folder")
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise InvalidDataset(f"{path.name} cannot be read: {error.strerror}") from error
    if len(data) > limit_bytes:
        raise InvalidDataset(f"{path.name} is larger than {limit_bytes // 2**20} MiB")
    return data


def read_text(path: Path, root: Path) -> str:
    try:
        return read_label(path, root).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidDataset(f"{path.name} is not text in UTF-8") from error


def class_list(names: Sequence[str], path: Path) -> ClassList:
    if not names:
        raise InvalidDataset(
            f"{path} names no class.", hint="Is this the right folder, and the right --format?"
        )
    return ClassList(tuple(names))


def no_images(path: Path, expected: str) -> InvalidDataset:
    return InvalidDataset(f"There are no images with annotations in {path}.", hint=expected)

"""Small data sets, and how people pack them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from PIL import Image

from loop.boxes import Box
from loop.classes import ClassList
from store.formats import ExportedImage, ImportedBox

CLASSES = ClassList(("cell", "rod"))


def cells(count: int, second: str = "rod", shade: int = 0) -> list[ExportedImage]:
    """Images ``p0_0``, ``p0_1``, ``p1_2``…: two of each subject, with two boxes each."""
    boxes = (ImportedBox("cell", Box(1, 2, 11, 12)), ImportedBox(second, Box(20, 5, 30, 25)))
    return [
        ExportedImage(f"p{n // 2}_{n}", _png(shade + n), "image/png", 40, 30, boxes)
        for n in range(count)
    ]


def zipped(folder: Path, archive: Path, inside: str = "") -> Path:
    """All of ``folder``, below the folders ``inside`` names."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, Path(inside) / path.relative_to(folder))
    return archive


def _png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (shade, 10, 10)).save(out, "PNG")
    return out.getvalue()

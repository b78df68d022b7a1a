"""A snapshot whose image bytes are none."""

from __future__ import annotations

from store.snapshot_files import Snapshot


class Damaged:
    def __init__(self, snapshot: Snapshot) -> None:
        self.samples = snapshot.samples
        self.classes = snapshot.classes
        self.sha256 = snapshot.sha256

    def image_bytes(self, image_id: str) -> memoryview:
        return memoryview(b"not an image")

"""The formats that a checkpoint is exported to."""

from __future__ import annotations

from enum import StrEnum


class ExportFormat(StrEnum):
    ONNX = "onnx"
    OPENVINO = "openvino"

    @property
    def file(self) -> str:
        """The file in an export's folder that is loaded."""
        return {ExportFormat.ONNX: "model.onnx", ExportFormat.OPENVINO: "model.xml"}[self]

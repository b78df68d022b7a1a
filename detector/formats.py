"""The formats that a checkpoint is exported to."""

from __future__ import annotations

from enum import StrEnum

# Not among the formats of one model: what is in INT8 sees other boxes, and is a model of its own.
INT8 = "openvino_int8"


class ExportFormat(StrEnum):
    ONNX = "onnx"
    OPENVINO = "openvino"

    @property
    def file(self) -> str:
        """The file in an export's folder that is loaded."""
        return {ExportFormat.ONNX: "model.onnx", ExportFormat.OPENVINO: "model.xml"}[self]

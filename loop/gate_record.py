"""What the gate's verdict rests on, as it is kept: enough to read it, and to compute it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loop.bootstrap import Interval
from loop.gate_settings import GateSettings
from loop.latency import Latency
from loop.spending import Use

RULE = "paired bootstrap 1"


@dataclass(frozen=True, slots=True)
class ClassChange:
    """How a class's AP50-95 changes, and on how many independent images or subjects it is."""

    interval: Interval
    groups: int

    def as_dict(self) -> dict[str, Any]:
        return {**self.interval.as_dict(), "groups": self.groups}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ClassChange:
        interval = {name: value for name, value in data.items() if name != "groups"}
        return cls(Interval.from_dict(interval), data["groups"])


@dataclass(frozen=True, slots=True)
class GateRecord:
    """``images`` are of ``groups`` subjects (as many, where none is known of two images).

    The lower bound of ``map50_95`` has the risk of this use; all others hold in 95 of 100 cases.
    ``detections_sha256`` are the digests of what both models saw, by ``candidate`` and
    ``champion``. ``rule`` names the way of computing all this, ``numpy`` what drew the sets.
    """

    use: Use
    settings: GateSettings
    images: int
    groups: int
    map50_95: Interval
    map50: Interval
    classes: Mapping[str, ClassChange]
    latency: Latency | None
    seed: int
    detections_sha256: Mapping[str, str] = field(default_factory=dict)
    rule: str = RULE
    numpy: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "use": self.use.as_dict(),
            "settings": self.settings.as_dict(),
            "images": self.images,
            "groups": self.groups,
            "map50_95": self.map50_95.as_dict(),
            "map50": self.map50.as_dict(),
            "classes": {name: each.as_dict() for name, each in self.classes.items()},
            "latency": self.latency.as_dict() if self.latency else None,
            # JSON's numbers are floats to some readers, and would round it.
            "seed": str(self.seed),
            "detections_sha256": dict(self.detections_sha256),
            "numpy": self.numpy,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GateRecord:
        classes = data["classes"].items()
        return cls(
            use=Use.from_dict(data["use"]),
            settings=GateSettings.from_dict(data["settings"]),
            images=data["images"],
            groups=data["groups"],
            map50_95=Interval.from_dict(data["map50_95"]),
            map50=Interval.from_dict(data["map50"]),
            classes={name: ClassChange.from_dict(each) for name, each in classes},
            latency=Latency.from_dict(data["latency"]) if data["latency"] else None,
            seed=int(data["seed"]),
            detections_sha256=data["detections_sha256"],
            rule=data["rule"],
            numpy=data["numpy"],
        )

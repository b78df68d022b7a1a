"""The hyperparameters that ``train`` in params.yaml may set, and why it may not set the others.

Names, types and ranges are those of Ultralytics 8.4.190 (``cfg/default.yaml`` and ``check_cfg`` in
``cfg/__init__.py``), narrowed where it takes values that break later or mean nothing. The list is
here, so that a value is refused before anything starts and without importing Ultralytics.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

from loop.errors import Misconfigured

# Says what a value must be, or nothing if it is that.
Check = Callable[[Any], str]


def _number(low: float = 0.0, high: float = math.inf) -> Check:
    wanted = f"a number from {low:g} to {high:g}" if high < math.inf else f"a number from {low:g}"
    return lambda value: "" if _is_number(value) and low <= value <= high else wanted


def _whole(low: int) -> Check:
    return lambda value: "" if _is_whole(value) and value >= low else f"a whole number from {low}"


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _optimizer(value: Any) -> str:
    known = isinstance(value, str) and value.lower() in {name.lower() for name in OPTIMIZERS}
    return "" if known else f"one of {', '.join(OPTIMIZERS)}"


def _freeze(value: Any) -> str:
    wanted = "a number of layers, or a list of layer numbers and module names (22, 23.cv2)"
    if isinstance(value, list):
        fits = all(isinstance(item, str) or (_is_whole(item) and item >= 0) for item in value)
    else:
        fits = value is None or (_is_whole(value) and value >= 0)
    return "" if fits else wanted


def _scale(value: Any) -> str:
    if isinstance(value, list | tuple):
        fits = len(value) == 2 and all(map(_is_number, value)) and 0 < value[0] <= value[1]
    else:
        fits = _is_number(value) and 0 <= value <= 1
    return "" if fits else "a number from 0 to 1, or a pair [smallest, largest]"


OPTIMIZERS = ("auto", "SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp")
_SHARE = _number(0.0, 1.0)
_GAIN = _number()

HYPERPARAMETERS: Mapping[str, Check] = {
    "optimizer": _optimizer,
    **dict.fromkeys(("lr0", "lrf", "momentum", "weight_decay"), _SHARE),
    **dict.fromkeys(("warmup_momentum", "warmup_bias_lr"), _SHARE),
    "warmup_epochs": _number(),
    "cos_lr": _flag,
    "nbs": _whole(1),
    "freeze": _freeze,
    "cls_remap": _flag,
    **dict.fromkeys(("box", "cls", "dfl"), _GAIN),
    "cls_pw": _SHARE,
    "max_det": _whole(1),
    "multi_scale": _SHARE,
    "rect": _flag,
    **dict.fromkeys(("mosaic", "mixup", "cutmix", "bgr", "flipud", "fliplr"), _SHARE),
    "close_mosaic": _whole(0),
    **dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "translate", "perspective"), _SHARE),
    "degrees": _number(0.0, 180.0),
    "shear": _number(0.0, 89.0),
    "scale": _scale,
}


def _because(reason: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, reason)


NOT_SETTABLE: Mapping[str, str] = {
    **_because("EPOCHS sets it", "epochs"),
    **_because("BATCH_SIZE sets it", "batch"),
    **_because("IMG_SIZE sets it", "imgsz"),
    **_because("PATIENCE sets it", "patience"),
    **_because("SEED sets it", "seed"),
    **_because("PRECISION sets it", "amp", "quantize"),
    **_because("GPUS_PER_FOLD sets it", "device"),
    **_because("CPUS_PER_FOLD sets it", "workers"),
    **_because("VAL_PERIOD sets it", "val"),
    **_because("BASE_MODEL sets it", "model", "pretrained"),
    **_because(
        "a training reads its images from the snapshot, by the rows of its split",
        *("data", "split", "fraction", "cache"),
    ),
    **_because(
        "the classes are the snapshot's, and a model that knows others cannot serve",
        *("single_cls", "classes"),
    ),
    **_because(
        "files, logs and plots are this program's",
        *("project", "name", "exist_ok", "save", "save_period", "save_json", "save_dir", "cfg"),
        *("plots", "verbose", "profile", "visualize"),
    ),
    **_because("`secondlook train run --resume RUN` is for that", "resume"),
    **_because("every training repeats itself", "deterministic"),
    **_because("the same seed must train for the same epochs; lower EPOCHS", "time"),
    **_because("it drops images of every epoch", "compile"),
    **_because("it is chosen by what the hardware gains", "channels_last"),
    **_because(
        "scores of two trainings could not be compared",
        *("conf", "iou", "agnostic_nms", "augment", "nms"),
    ),
    **_because("it would load another file or code", "distill_model", "augmentations"),
    **_because("it only goes with distill_model, which would load another file", "dis"),
    **_because(
        "it is not for detection",
        *("task", "mode", "dropout", "erasing", "auto_augment", "copy_paste", "copy_paste_mode"),
        *("overlap_mask", "mask_ratio", "retina_masks", "pose", "kobj", "rle", "angle"),
        *("dlog", "dgrad", "dlam"),
    ),
    **_because(
        "it is not for training",
        *("source", "vid_stride", "stream_buffer", "embed", "dnn", "tracker"),
        *("show", "save_frames", "save_txt", "save_conf", "save_crop"),
        *("show_labels", "show_conf", "show_boxes", "line_width"),
        *("format", "optimize", "dynamic", "simplify", "opset", "workspace"),
    ),
}


def check_hyperparameters(values: Mapping[str, Any], section: str = "train") -> None:
    """Raises `Misconfigured` for a name that cannot be set, and for a value that it cannot have.

    ``section`` is the one of params.yaml that they come from, for the message.
    """
    for name, value in values.items():
        check = HYPERPARAMETERS.get(name)
        if check is None:
            raise _unknown(str(name), section)
        wanted = check(value)
        if wanted:
            raise Misconfigured(
                f"params.yaml: {section}.{name} is {value!r} and must be {wanted}.",
                hint=_hint(value),
            )


def _unknown(name: str, section: str) -> Misconfigured:
    if name in NOT_SETTABLE:
        return Misconfigured(
            f"params.yaml: {section}.{name} cannot be set: {NOT_SETTABLE[name]}.",
            hint=f"These can: {', '.join(HYPERPARAMETERS)}.",
        )
    close = difflib.get_close_matches(name.lower(), HYPERPARAMETERS, n=1)
    return Misconfigured(
        f"params.yaml: {section}.{name} is not a hyperparameter that can be set.",
        hint=f"Did you mean {close[0]}?" if close else f"These are: {', '.join(HYPERPARAMETERS)}.",
    )


def _hint(value: Any) -> str:
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        number = math.nan
    if math.isnan(number):
        return "See `train` in params.yaml."
    return f"YAML reads {value} as text: write {number!r}, or 1.0e-3 for 1e-3."


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

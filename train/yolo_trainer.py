"""Ultralytics' training over rows of a snapshot, in our precision, layout and files.

The model is the one that Ultralytics trains: same loss, augmentations, order and schedule, down to
the last digit with the same memory layout (``tests/train/test_same_as_ultralytics.py``).
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import torch
from ultralytics import __version__
from ultralytics.utils import DEFAULT_CFG_DICT

from loop.errors import Misconfigured, TrainingFailed
from store.snapshot_files import Snapshot
from train.arrow_dataset import ArrowDataset
from train.checkpoints import read_state, write_model
from train.decoded import DecodedImages
from train.precision import FullPrecisionLoss, gains_from_channels_last
from train.resumable_trainer import ResumableTrainer
from train.training import TrainSpec
from train.validator import Validator

# Ultralytics pads validation images by half a stride (ultralytics/data/build.py).
_VALIDATION_PAD_STRIDES = 0.5


class YoloTrainer(ResumableTrainer):
    """Trains as ``spec`` says, from ``state`` on if there is one.

    ``overrides`` are Ultralytics' arguments. After each epoch ``on_epoch`` is called, when the
    files ``last`` and ``csv`` are written, and ``best`` if an epoch was validated.
    ``epoch_started`` is in seconds of the monotonic clock.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        train_rows: Sequence[int],
        val_rows: Sequence[int],
        spec: TrainSpec,
        overrides: dict[str, Any],
        on_epoch: Callable[[], None],
        state: Mapping[str, Any] | None,
        images: DecodedImages | None,
        *,
        autocasts: bool,
    ) -> None:
        self._snapshot = snapshot
        # Ultralytics makes a loader for validation even where nothing is validated.
        self._rows = {"train": list(train_rows), "val": list(val_rows) or [train_rows[0]]}
        self._spec = spec
        self._images = images
        self._autocasts = autocasts
        self._channels_last = gains_from_channels_last(spec.device)
        self.epoch_started = time.monotonic()
        super().__init__(overrides, state)
        # Ultralytics takes all cores but one whenever it selects the CPU (`select_device`), which
        # a fold has not got to itself; validation selects the device once more.
        self.add_callback("on_pretrain_routine_end", self._set_threads)
        self.add_callback("on_val_start", self._set_threads)
        self.add_callback("on_train_epoch_start", self._start_clock)
        self.add_callback("on_train_epoch_end", self._check_losses)
        self.add_callback("on_fit_epoch_end", lambda _: on_epoch())

    # What it trains on

    def get_dataset(self) -> dict[str, Any]:
        names = dict(enumerate(self._snapshot.classes))
        return {**self._rows, "names": names, "nc": len(names), "channels": 3}

    def build_dataset(
        self, img_path: list[int], mode: str = "train", batch: int | None = None
    ) -> ArrowDataset:
        """``img_path`` is what `get_dataset` names: rows. As `build_yolo_dataset`, but for them."""
        training = mode == "train"
        return ArrowDataset(
            self._snapshot,
            img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=training,
            hyp=self.args,
            rect=self.args.rect or not training,
            cache=None,
            stride=max(int(self.model.stride.max()), 32),
            pad=0.0 if training else _VALIDATION_PAD_STRIDES,
            data=self.data,
            images=self._images,
        )

    # How it computes

    def set_model_attributes(self) -> None:
        super().set_model_attributes()
        if self._channels_last:  # here, since the moving average is a copy that is made later
            self.model.to(memory_format=torch.channels_last)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self._channels_last:
            batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        batch = super().preprocess_batch(batch)
        if self._autocasts:
            # Ultralytics' own loop refuses bf16 here. It calls this inside an `autocast` context,
            # which puts back what it found when it is left.
            torch.set_autocast_dtype(self.device.type, torch.bfloat16)
            torch.set_autocast_enabled(self.device.type, True)
        return batch

    def build_optimizer(
        self,
        model: torch.nn.Module,
        name: str = "auto",
        lr: float = 0.001,
        momentum: float = 0.9,
        decay: float = 1e-5,
        iterations: float = 1e5,
    ) -> Any:
        """As its parent's, except that ``auto`` keeps what was set of learning rate and momentum.

        Ultralytics ignores those without a word, and a search over them would search nothing.
        """
        optimizer = super().build_optimizer(model, name, lr, momentum, decay, iterations)
        names = ("lr0", "momentum", "warmup_bias_lr")
        kept = {key: value for key, value in self._spec.hyperparameters.items() if key in names}
        if name.lower() != "auto" or not kept:
            return optimizer
        for key, value in kept.items():
            setattr(self.args, key, value)
        chosen, auto_momentum = self.args.optimizer, 0.9
        return super().build_optimizer(
            model, chosen, self.args.lr0, kept.get("momentum", auto_momentum), decay, iterations
        )

    def _setup_train(self) -> None:
        try:
            super()._setup_train()
        except (SyntaxError, TypeError, ValueError) as error:  # how Ultralytics refuses a model
            raise Misconfigured(
                f"Ultralytics refuses the training's parameters: {error}.",
                hint="See `train` and BASE_MODEL in params.yaml.",
            ) from error
        if self._autocasts:
            loss = getattr(self.model, "criterion", None) or self.model.init_criterion()
            self.model.criterion = FullPrecisionLoss(loss, self.device.type)

    def _set_threads(self, _: object) -> None:
        torch.set_num_threads(self._spec.threads)

    def _start_clock(self, _: object) -> None:
        self.epoch_started = time.monotonic()

    # How it is measured

    def get_validator(self) -> Validator:
        return Validator(
            self.test_loader,
            save_dir=self.save_dir,
            args=copy(self.args),
            _callbacks=self.callbacks,
        )

    def validate(self) -> tuple[dict[str, Any], float | None]:
        """Metrics and fitness, or neither after an epoch that is not to be validated."""
        period, epoch = self._spec.val_period, self.epoch + 1
        if not period or (epoch % period and epoch < self.epochs):
            return {}, None
        metrics, fitness = super().validate()
        return metrics, float(fitness)

    def save_metrics(self, metrics: Mapping[str, float]) -> None:
        """Add a line to the table. What an epoch did not measure is empty there."""
        validated = (*self.validator.metrics.keys, *self.label_loss_items(prefix="val"))
        losses = self.label_loss_items(prefix="train")
        columns = ("epoch", "time", *losses, *validated, *self.lr)
        values = dict(metrics) | {
            "epoch": self.epoch + 1,
            "time": time.time() - self.train_time_start,
        }
        is_new = not self.csv.exists()
        with self.csv.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if is_new:
                writer.writerow(columns)
            writer.writerow(f"{values[name]:.6g}" if name in values else "" for name in columns)

    def final_eval(self) -> None:
        """Write the model, and measure it as it is in its file."""
        last = {"weights": self.ema.ema.state_dict(), "metrics": self.measured()}
        self._write_model(self.last, last)
        if not self._spec.val_period:
            self.best_epoch, self.metrics = self.epoch + 1, {}
            self._write_model(self.best, last)
            return
        self._write_model(self.best, read_state(self.best))
        self.validator.args.quantize = None  # validation in training may have set half precision
        self.metrics = self.validator(model=self.best)
        self.metrics.pop("fitness", None)

    # What can go wrong

    def _check_losses(self, _: object) -> None:
        broken = [name for name, value in self.tloss.items() if not torch.isfinite(value)]
        weights = self.ema.ema.state_dict().values()
        if broken or not all(bool(value.isfinite().all()) for value in weights):
            raise TrainingFailed(
                f"Epoch {self.epoch + 1} ended in infinite numbers or none at all "
                f"({', '.join(broken) or 'weights'}).",
                hint=(
                    f"Lower train.lr0 ({self.args.lr0:g} now) in params.yaml, set PRECISION to "
                    "fp32, and see that BASE_MODEL was trained without this."
                ),
            )

    def _handle_nan_recovery(self, epoch: int) -> bool:  # noqa: ARG002
        # Ultralytics would try three times from its last checkpoint, with the same parameters.
        return False

    def _write_model(self, path: Path, state: Mapping[str, Any]) -> None:
        arguments = {
            key: value for key, value in vars(self.args).items() if key in DEFAULT_CFG_DICT
        }
        details = {"train_args": arguments, "train_metrics": state["metrics"]}
        write_model(path, self.ema.ema, state["weights"], details | {"version": __version__})

"""Ultralytics' training loop, made to go on exactly where it was stopped.

Its own resumed trainings start from the moving average in half precision, with other random
numbers, and take a step too early. Here everything that the next epoch depends on is kept: weights,
optimizer, gradients that wait for a step, the order of images, the images that mosaics draw from,
and all random states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import unset_deterministic

from train.checkpoints import half, write_state
from train.loader import TrainLoader
from train.random_state import random_state, restore_random_state


class ResumableTrainer(DetectionTrainer):  # type: ignore[misc]  # Ultralytics is not typed
    """Trains from ``state`` on, if there is one. ``best_epoch`` counts from 1.

    During training ``last`` is a state and ``best`` holds the best weights so far, both in the
    formats of `train.checkpoints`.
    """

    def __init__(self, overrides: dict[str, Any], state: Mapping[str, Any] | None) -> None:
        self._state = state
        # Batches since the start of the first epoch.
        self._batch = -1
        self._last_step = -1
        self._warmup_batches = 0
        self._full_accumulate: float = 1
        self.best_epoch = 0
        super().__init__(overrides=overrides)
        self.add_callback("on_train_epoch_start", self._start_epoch)
        self.add_callback("on_train_batch_start", self._start_batch)

    def evaluate(self) -> None:
        """The final evaluation alone: ``state`` is that after the last epoch."""
        try:
            self._setup_train()
            self.final_eval()
        finally:
            unset_deterministic()

    def get_dataloader(
        self, dataset_path: Any, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Any:
        loader = super().get_dataloader(dataset_path, batch_size, rank, mode)
        return TrainLoader(loader) if mode == "train" else loader

    # When it takes a step: the parent's rules (`BaseTrainer._do_train`), with a place to go on at

    def _build_train_pipeline(self) -> None:
        super()._build_train_pipeline()
        self._full_accumulate = self.accumulate
        self._last_step = -1

    def _get_warmup_iterations(self, num_batches: int) -> int:
        self._warmup_batches = super()._get_warmup_iterations(num_batches)
        return 0  # `_start_batch` warms up

    def _start_epoch(self, _: object) -> None:
        self._batch = self.epoch * len(self.train_loader) - 1
        if self._state is not None:
            gradients = self._state["gradients"]
            for name, parameter in self.model.named_parameters():
                if name in gradients:
                    parameter.grad = gradients[name].to(self.device)
            restore_random_state(self._state["random"])
            self._state = None

    def _start_batch(self, _: object) -> None:
        self._batch += 1
        accumulate: float = self._full_accumulate
        if self._warmup_batches and self._batch <= self._warmup_batches:
            accumulate = max(1, int(self._warmed_up(1, self._full_accumulate).round()))
            for group in self.optimizer.param_groups:
                start = self.args.warmup_bias_lr if group.get("param_group") == "bias" else 0.0
                end = group["initial_lr"] * self.lf(self.epoch)
                group["lr"] = float(self._warmed_up(start, end))
                if "momentum" in group:
                    momentum = self._warmed_up(self.args.warmup_momentum, self.args.momentum)
                    group["momentum"] = float(momentum)
        # The loop steps once so many batches have passed since its last step, of which it knows
        # nothing after it was resumed: now, or not now.
        self.accumulate = 1 if self._batch - self._last_step >= accumulate else math.inf

    def _warmed_up(self, start: float, end: float) -> Any:
        return np.interp(self._batch, [0, self._warmup_batches], [start, end])

    def optimizer_step(self) -> None:
        super().optimizer_step()
        self._last_step = self._batch

    # What it keeps

    def save_model(self) -> bool:
        if self.fitness is not None and self.fitness == self.best_fitness:
            self.best_epoch = self.epoch + 1
            weights = half(self.ema.ema.state_dict())
            write_state(self.best, {"weights": weights, "metrics": self.measured()})
        write_state(self.last, self._kept())
        return True

    def measured(self) -> dict[str, float]:
        """What the last epoch measured, if it was validated."""
        measured = (
            self.metrics if self.fitness is None else self.metrics | {"fitness": self.fitness}
        )
        return {name: float(value) for name, value in measured.items()}

    def _kept(self) -> dict[str, Any]:
        waiting = self._last_step < self._batch
        mosaic_closes = self.epoch + 1 == self.epochs - self.args.close_mosaic
        stopper = self.stopper
        return {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "ema": self.ema.ema.state_dict(),
            "ema_updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "gradients": {
                name: parameter.grad
                for name, parameter in self.model.named_parameters()
                if waiting and parameter.grad is not None
            },
            "last_step": self._last_step,
            "criterion_updates": getattr(self.model.criterion, "updates", None),
            "best_fitness": self.best_fitness,
            "best_epoch": self.best_epoch,
            "validated": self.fitness is not None,
            "stopper": {
                "best_fitness": float(stopper.best_fitness),
                "best_epoch": stopper.best_epoch,
                "possible_stop": stopper.possible_stop,
            },
            "loader": self.train_loader.state(reset=mosaic_closes),
            "random": random_state(),
        }

    def resume_training(self, ckpt: Mapping[str, Any] | None) -> None:  # noqa: ARG002
        """Take up the state, not what the base model's file may hold."""
        state = self._state
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self.ema.ema.load_state_dict(state["ema"])
        self.ema.updates = state["ema_updates"]
        groups = zip(state["optimizer"]["param_groups"], self.optimizer.param_groups, strict=True)
        for saved, group in groups:  # the kernel is this device's choice
            saved["fused"] = group.get("fused")
        self.optimizer.load_state_dict(state["optimizer"])
        if state["criterion_updates"] is not None:
            self.model.criterion = self.model.init_criterion()
            for _ in range(state["criterion_updates"]):
                self.model.criterion.update()
        self.best_fitness = state["best_fitness"]
        self.best_epoch = state["best_epoch"]
        self.stopper.__dict__.update(state["stopper"])
        self.train_loader.resume(state["loader"])
        self._last_step = state["last_step"]
        self.epoch = state["epoch"]
        self.start_epoch = self.epoch + 1

"""Runs the folds of a session: which are still to be trained, what is logged and shown of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.snapshot_objects import put_snapshot
from train.data_inputs import log_fold_inputs, log_snapshot_input
from train.fold_checkpoints import Checkpoints, copy_files
from train.fold_job import FoldOutcome, FoldTask, read_state, run_fold
from train.fold_log import FoldLog
from train.fold_runner import Place, Resources, run_folds
from train.fold_table import FoldTable
from train.fold_worker import FoldJob
from train.ray_connection import connected
from train.session_opening import OpenSession
from train.session_record import logged_params
from train.shared_images import share_images
from train.stage import out as console
from train.training import TrainSpec

if TYPE_CHECKING:
    from train.session import Context, Plan, Split

# A fold whose GPU Ray chose sees that one only, as the first.
_GPU, _CPU = "0", "cpu"
_SHOW_LIFE_EVERY_S = 10.0

# By fold, mAP50-95 by epoch (from 1).
Watch = Callable[[Mapping[int, Mapping[int, float]]], None]


class SessionFolds:
    """``job`` is what a fold's worker does, for tests another one."""

    def __init__(
        self,
        plan: Plan,
        context: Context,
        session: OpenSession,
        watch: Watch | None,
        job: FoldJob = run_fold,
    ) -> None:
        self._plan = plan
        self._context = context
        self._session = session
        self._watch = watch
        self._job = job
        self._place = Place(session.folder, plan.out, session.far)
        self._open: dict[int, FoldTask] = {}
        self._logs: dict[int, FoldLog] = {}
        self._shown_life = 0.0
        self._some_ended = False

    def run(self) -> list[FoldOutcome]:
        title = "Training" if self._plan.one_run else f"Training {len(self._plan.splits)} folds"
        with FoldTable(console, title, self._latest) as table:
            outcomes = {outcome.task.fold: outcome for outcome in self._prepare(table)}
            if self._open:
                outcomes |= {outcome.task.fold: outcome for outcome in self._train(table)}
        return [outcomes[split.fold] for split in self._plan.splits]

    def close(self, failure: str, *, stopped: bool) -> None:
        """Put on record that the folds that have not ended will not."""
        if not self._plan.one_run:
            for task in self._open.values():
                record = self._session.record
                record.end_fold(task.fold, task.run_id, {}, failure=failure, stopped=stopped)
        self._open.clear()

    def _prepare(self, table: FoldTable) -> list[FoldOutcome]:
        """Open a run for each fold, and give what is finished already."""
        ended = []
        log_snapshot_input(self._context, self._plan, self._session.record)
        runs = self._fold_runs()
        for split in self._plan.splits:
            folder = self._place.fold(split.fold)
            self._place.bring(split.fold)
            checkpoints = Checkpoints(folder)
            newest = checkpoints.newest()
            result = read_state(newest).fold_result() if newest else None
            task = self._task(split, runs.get(split.fold))
            log_fold_inputs(self._context, self._plan, self._session.record, task)
            self._logs[split.fold] = FoldLog(self._context.tracking, task, folder)
            self._open[split.fold] = task
            name = "run" if self._plan.one_run else f"fold {split.fold}"
            table.add(name, task.run_id, task.spec.epochs, val_period=task.spec.val_period)
            if newest is None or result is None:
                continue
            copy_files(newest, self._place.result(split.fold))
            outcome = FoldOutcome(task, result, self._place.result(split.fold))
            self._end(table, outcome)
            ended.append(outcome)
        return ended

    def _train(self, table: FoldTable) -> list[FoldOutcome]:
        settings, params, session = self._context.settings, self._context.params, self._session
        tasks = list(self._open.values())
        with connected(
            settings,
            most_workers=len(tasks) + 1,
            mark=session.state.mark,
            on_start=lambda processes: session.note(ray=tuple(processes)),
        ):
            rows = {row for task in tasks for row in (*task.train_rows, *task.val_rows)}
            snapshot = self._context.snapshot
            if session.far is not None:
                put_snapshot(session.far.objects, snapshot)
            images = share_images(snapshot, rows, params.IMG_SIZE, note=console.print)
            return run_folds(
                tasks,
                Resources(params.CPUS_PER_FOLD, params.GPUS_PER_FOLD),
                self._place,
                own_ray=not settings.ray_address,
                on_end=lambda outcome: self._end(table, outcome),
                on_wait=lambda: self._follow(table),
                images=images,
                job=self._job,
            )

    def _fold_runs(self) -> dict[int, str]:
        """The folds' runs that are there already: of a session that is new, none."""
        record = self._session.record
        if self._plan.one_run or not self._session.resumed:
            return {}
        runs = record.tracking.child_runs(record.run_id)
        folds = [run for run in runs if run.tags.get("loop.kind") == "fold"]
        return {int(run.tags["loop.fold"]): run.run_id for run in reversed(folds)}

    def _run_of(self, split: Split, known: str | None) -> str:
        record = self._session.record
        if self._plan.one_run:
            return record.run_id
        if known is not None:
            if record.tracking.run(known).status != "FINISHED":
                record.resume_fold(split.fold, known, {})
            return known
        sizes = {"train_images": len(split.train_rows), "val_images": len(split.val_rows)}
        return record.start_fold(split.fold, logged_params(self._context.params), sizes)

    def _task(self, split: Split, known_run: str | None) -> FoldTask:
        params = self._context.params
        return FoldTask(
            fold=split.fold,
            snapshot=self._context.snapshot.folder.absolute(),
            train_rows=split.train_rows,
            val_rows=split.val_rows,
            spec=TrainSpec(
                base=self._session.base.path,
                folder=Path(),  # the worker's
                epochs=params.EPOCHS,
                batch_size=params.BATCH_SIZE,
                image_size=params.IMG_SIZE,
                patience=params.PATIENCE,
                seed=params.SEED,
                device=_GPU if params.GPUS_PER_FOLD else _CPU,
                threads=max(1, int(params.CPUS_PER_FOLD)),
                precision=params.PRECISION,
                val_period=params.VAL_PERIOD if self._plan.validates else 0,
                hyperparameters=params.train,
            ),
            # After what may refuse the parameters: no run is opened that nobody closes.
            run_id=self._run_of(split, known_run),
            config_dir=self._context.settings.home / "ultralytics",
            far=self._session.far,
            base_key=self._session.base_key,
        )

    def _follow(self, table: FoldTable) -> None:
        """About once a second: log, show and tell what is new."""
        news = [fold for fold in self._open if self._logs[fold].follow()]
        for fold in news:
            table.resumed(self._open[fold].run_id, self._logs[fold].resumed)
        table.update()
        if time.monotonic() - self._shown_life > _SHOW_LIFE_EVERY_S:
            self._session.show_life()
            self._shown_life = time.monotonic()
        if self._watch and (news or self._some_ended):
            self._some_ended = False
            self._watch({fold: log.map50_95 for fold, log in self._logs.items()})

    def _end(self, table: FoldTable, outcome: FoldOutcome) -> None:
        task, details = outcome.task, dict[str, Any]()
        log = self._logs[task.fold]
        if outcome.result is not None:
            details = {
                "metrics": dict(outcome.result.metrics),
                "epochs": outcome.result.epochs,
                "seconds": outcome.result.seconds,
                "precision": outcome.result.precision,
            }
            log.end(outcome.result, self._context.snapshot.classes)
            self._context.tracking.log_file(task.run_id, outcome.folder / "results.csv")
        else:
            log.follow()
        record = self._session.record
        if not self._plan.one_run and record.tracking.run(task.run_id).status == "RUNNING":
            record.end_fold(task.fold, task.run_id, details, failure=outcome.reason)
        table.end(task.run_id, "done" if outcome.result else f"failed: {outcome.reason}")
        del self._open[task.fold]
        self._some_ended = True

    def _latest(self, run_id: str) -> Mapping[str, float]:
        by_run = {task.run_id: fold for fold, task in self._open.items()}
        return self._logs[by_run[run_id]].latest if run_id in by_run else {}

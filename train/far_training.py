"""A training whose workers have no disk in common with its driver: a bucket is between them.

Below ``training/RUN_ID/`` lie the weights that it starts from, and of each fold the checkpoints, as
`train.fold_checkpoints` has them, with ``digests.json`` put last: a checkpoint without it is none.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from loop.errors import LoopError, NotFound, TrainingFailed, Unavailable
from loop.events import new_id
from store.objects import Bucket, Objects
from store.private_files import private_folder
from train.fold_checkpoints import DIGESTS, KEPT, PREFIX, Checkpoints, is_intact
from train.fold_samples import FILE as SAMPLES

# What a checkpoint says beside its weights (`train.fold_job`).
STATE = "state.json"
_OWNER = "owner"
# A store that does not answer is asked again for so long: longer than a restart of one takes, and
# than a network is away that comes back.
_PATIENCE_S = 900.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
_FOLLOW_S = 2.0
_AT_ONCE = 8

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FarTraining:
    """A training in ``objects``. It can be pickled."""

    objects: Bucket
    run_id: str
    snapshot_sha256: str = ""

    @property
    def prefix(self) -> str:
        return f"training/{self.run_id}/"

    def fold(self, fold: int) -> FarFold:
        return FarFold(self.objects, f"{self.prefix}fold-{fold}/")

    def folds(self) -> list[int]:
        """Those that have left something there."""
        keys = (each.key.removeprefix(self.prefix) for each in self.objects.list(self.prefix))
        names = {key.partition("/")[0] for key in keys if key.startswith("fold-")}
        return sorted(int(name.removeprefix("fold-")) for name in names)

    def put_base(self, path: Path) -> str:
        """The key of the weights, or of the architecture's file; empty where there is no file,
        since every machine has Ultralytics' own architectures."""
        if not path.is_file():
            return ""
        key = f"{self.prefix}base/{path.name}"
        if self.objects.info(key) is None:
            self.objects.put_file(key, path)
        return key


@dataclass(frozen=True, slots=True)
class FarFold:
    """One fold of it, for its worker and for its driver."""

    objects: Bucket
    prefix: str

    @property
    def _checkpoints(self) -> str:
        return f"{self.prefix}{PREFIX}"

    def newest(self) -> str | None:
        """The name of the newest complete checkpoint."""
        names = {
            each.key.removeprefix(self.prefix).partition("/")[0]
            for each in self.objects.list(self._checkpoints)
            if each.key.endswith(f"/{DIGESTS}")
        }
        return max(names, default=None)

    def put(self, checkpoint: Path) -> None:
        """Put a checkpoint, and remove what is older than the one before it."""
        base = f"{self.prefix}{checkpoint.name}/"
        for path in sorted(checkpoint.iterdir()):
            if path.name != DIGESTS:
                self.objects.put_file(base + path.name, path)
        self.objects.put(base + DIGESTS, (checkpoint / DIGESTS).read_bytes())
        self._remove_older(checkpoint.name)

    def get(self, name: str, folder: Path, *, only: Sequence[str] = ()) -> None:
        """Bring a checkpoint, or ``only`` some of its files, to ``folder / name``."""
        files = only or self._files(name)
        for file in files:
            target = folder / name / file
            if not target.exists():
                self.objects.get_file(f"{self.prefix}{name}/{file}", target)

    def _files(self, name: str) -> list[str]:
        """Its digests last, for what they are without is no checkpoint. Raises `ValueError` where
        they are damaged."""
        digests = json.loads(self.objects.get(f"{self.prefix}{name}/{DIGESTS}"))
        if not isinstance(digests, dict) or any(Path(file).name != file for file in digests):
            raise ValueError(f"Digests of {name} are none.")
        return [*digests, DIGESTS]

    def _remove_older(self, newest: str) -> None:
        keys = (each.key.removeprefix(self.prefix) for each in self.objects.list(self._checkpoints))
        older = sorted({name for key in keys if (name := key.partition("/")[0]) < newest})
        for name in older[: max(0, len(older) - (KEPT - 1))]:
            self.remove(name)

    def remove(self, name: str) -> None:
        """Without its digests first, so that nobody begins to read what is half gone."""
        base = f"{self.prefix}{name}/"
        self.objects.delete([base + DIGESTS])
        self.objects.delete([each.key for each in self.objects.list(base)])


class FarWorkplace:
    """A worker's checkpoints: on its own disk, and safe in the bucket when they are kept."""

    def __init__(self, fold: FarFold, folder: Path) -> None:
        self._fold = fold
        self._folder = folder
        self._checkpoints = Checkpoints(folder)
        self._token = new_id()

    def take(self) -> None:
        """From now on this worker has the fold, and one that had it before has not."""
        patiently(lambda: self._objects.put(self._owner, self._token.encode()))

    def newest(self) -> Path | None:
        """The newest checkpoint that is whole, on this machine; damaged ones are removed."""
        while (name := patiently(self._fold.newest)) is not None:
            with suppress(NotFound, ValueError):
                patiently(lambda name=name: self._fold.get(name, self._folder))  # type: ignore[misc]
                if is_intact(self._folder / name):
                    return self._folder / name
            shutil.rmtree(self._folder / name, ignore_errors=True)
            patiently(lambda name=name: self._fold.remove(name))  # type: ignore[misc]
        return None

    def keep(self, files: Path) -> None:
        """Raises `TrainingFailed` when another worker has the fold by now, `Unavailable` when the
        bucket is out of reach for too long."""
        self._check()
        kept = self._checkpoints.keep(files)
        patiently(lambda: self._fold.put(kept))
        samples = self._folder / SAMPLES
        if samples.exists():
            patiently(lambda: self._objects.put(self._fold.prefix + SAMPLES, samples.read_bytes()))

    def bring_samples(self) -> None:
        """What workers before this one noted of their machines, to go on with."""
        with suppress(NotFound):
            patiently(
                lambda: self._objects.get_file(self._fold.prefix + SAMPLES, self._folder / SAMPLES)
            )

    def _check(self) -> None:
        if patiently(lambda: self._objects.get(self._owner)) != self._token.encode():
            raise TrainingFailed("Another worker has taken this fold over.")

    @property
    def _objects(self) -> Objects:
        return self._fold.objects

    @property
    def _owner(self) -> str:
        return self._fold.prefix + _OWNER


@dataclass(slots=True)
class FarMirror:
    """The driver's copy of a fold's folder: what it says of itself while it is trained, and all of
    it when that is asked for."""

    fold: FarFold
    folder: Path

    def follow(self) -> None:
        """Bring what the newest checkpoint says, without its weights."""
        name = self.fold.newest()
        if name is None or (self.folder / name).exists():
            return
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".far-") as draft:
            self.fold.get(name, Path(draft), only=[STATE])
            with suppress(NotFound):
                target = self.folder / SAMPLES
                self.fold.objects.get_file(self.fold.prefix + SAMPLES, target)
            (Path(draft) / name).rename(self.folder / name)
        self._forget_before(name)

    def complete(self) -> None:
        """Bring the newest checkpoint, whole. A damaged one is left to who trains on from it."""
        for _ in range(3):  # between the name and the files a newer one may have come
            name = patiently(self.fold.newest)
            if name is None:
                return
            with suppress(NotFound, ValueError):
                self.folder.mkdir(parents=True, exist_ok=True)
                patiently(lambda name=name: self.fold.get(name, self.folder))  # type: ignore[misc]
                self._forget_before(name)
                if is_intact(self.folder / name):
                    return
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _forget_before(self, name: str) -> None:
        for path in self.folder.glob(f"{PREFIX}*"):
            if path.name < name:
                shutil.rmtree(path, ignore_errors=True)


def follow_folds(folder: Path, objects: Bucket) -> None:
    """Bring what is said of the folds of the session that ``folder`` is of."""
    far = FarTraining(objects, folder.name)
    for fold in far.folds():
        mirror = FarMirror(far.fold(fold), folder / f"fold-{fold}")
        mirror.folder.mkdir(parents=True, exist_ok=True)
        mirror.follow()


@contextmanager
def followed(mirrors: Sequence[FarMirror]) -> Iterator[None]:
    """Keep the mirrors up to date in the background, for as long as this is open."""
    if not mirrors:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_follow, args=(mirrors, stop), name="far-folds", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _follow(mirrors: Sequence[FarMirror], stop: threading.Event) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while not stop.wait(_FOLLOW_S):
            list(pool.map(_follow_one, mirrors))


def _follow_one(mirror: FarMirror) -> None:
    # A checkpoint that was replaced meanwhile, a store that is away: the next time it is there.
    with suppress(LoopError, OSError, ValueError):
        mirror.follow()


def patiently(action: Callable[[], _T], *, seconds: float = _PATIENCE_S) -> _T:
    """Try again as long as something does not answer. Raises what the last attempt did."""
    deadline, wait = time.monotonic() + seconds, _FIRST_WAIT_S
    while True:
        try:
            return action()
        except Unavailable:
            if time.monotonic() + wait > deadline:
                raise
        time.sleep(wait * (0.5 + random.random()))  # noqa: S311  # spreads the workers
        wait = min(2 * wait, _LONGEST_WAIT_S)


def node_cache() -> Path:
    """Where a worker keeps what it fetched, for itself and for those that follow on its machine."""
    named = os.environ.get("SECONDLOOK_MACHINE_CACHE")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"second-look-{os.geteuid()}"
    return private_folder(folder)

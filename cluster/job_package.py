"""What travels with a job to a cluster elsewhere: this program's code, and the workspace.

The image of the cluster has the dependencies. What it has of the code is not used: the nodes put
what travels before it, so that a job runs what its submitter has.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loop.errors import TooLarge
from store.workspace import Workspace
from store.workspace_parcel import pack

# Where both are in the package, for `cluster.job_entry`.
WORKSPACE, CODE_VERSION = "workspace", "CODE_VERSION"
_PACKAGES = ("loop", "store", "detector", "serve", "train", "ui", "cluster")
_ROOT = Path(__file__).parents[1]
# Ray keeps it in the memory of the head, and sends it to each node.
_MOST_BYTES = 100 * 2**20
# Names and contents alone are to make the digest, by which Ray knows what it has already. The
# earliest time that a ZIP can hold.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


@contextmanager
def job_package(
    workspace: Workspace | None, weights: tuple[Path, ...] = ()
) -> Iterator[tuple[Path, str]]:
    """A ZIP with its SHA-256. ``weights`` are files of the workspace, relative to it, that a
    training starts from. Raises `TooLarge`."""
    with tempfile.TemporaryDirectory(prefix="sl-package-") as folder:
        package, parcel = Path(folder) / "package.zip", Path(folder) / WORKSPACE
        if workspace is not None:
            pack(workspace, parcel, weights)
        with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, CODE_VERSION, _code_version().encode(), 0o644)
            for name, path in [*_code(), *_files(parcel, WORKSPACE)]:
                _add(archive, name, path.read_bytes(), path.stat().st_mode & 0o777)
        size = package.stat().st_size
        if size > _MOST_BYTES:
            raise TooLarge(
                f"The code and the workspace are {size / 2**20:.0f} MB, and a job may bring "
                f"{_MOST_BYTES // 2**20} MB.",
                hint="Commit no images or models to the workspace's git: DVC keeps those. Large "
                "base weights can be registered (secondlook models register) and named as "
                "BASE_MODEL=champion.",
            )
        yield package, hashlib.sha256(package.read_bytes()).hexdigest()


def _code() -> list[tuple[str, Path]]:
    packages = [found for name in _PACKAGES for found in _files(_ROOT / name, name)]
    # Architectures that a training starts from; what is below is about clusters, and may hold keys.
    shipped = [(f"configs/{path.name}", path) for path in sorted(_ROOT.glob("configs/*.yaml"))]
    return [*packages, *shipped]


def _files(folder: Path, name: str) -> list[tuple[str, Path]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        (f"{name}/{path.relative_to(folder).as_posix()}", path)
        for path in paths
        if "__pycache__" not in path.parts and path.suffix != ".pyc"
    ]


def _add(archive: zipfile.ZipFile, name: str, data: bytes, mode: int) -> None:
    info = zipfile.ZipInfo(name, _NO_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = mode << 16
    archive.writestr(info, data)


def _code_version() -> str:
    from train.run_record import code_version

    return code_version()

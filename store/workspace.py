"""A workspace: a git and DVC folder in which snapshots, folds and results are versioned."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from loop.errors import Misconfigured, TrainingFailed

_TEMPLATE = Path(__file__).parent / "workspace_template"
_FILES = {
    "dvc.yaml": "dvc.yaml",
    "params.yaml": "params.yaml",
    "run_kfold_cv.sh": "run_kfold_cv.sh",
    "gitignore": ".gitignore",
    "dvcignore": ".dvcignore",
}
_OWN_NAMES = frozenset([*_FILES.values(), ".git", ".dvc"])
# No talk with anyone's server, and no file added to git behind the user's back.
_DVC_CONFIG = """\
[core]
    analytics = false
    check_update = false
    autostage = false
"""
_IDENTITY = {"user.name": "second-look", "user.email": "second-look@localhost"}
# A git hook's variables would point git to another repository.
_GIT_POINTERS = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"})
# Stages save what they have when they are interrupted; Ray takes its time to end.
_SECONDS_TO_END = 60
_STEP_SECONDS = 0.2


def init_workspace(folder: Path) -> Workspace:
    """Make ``folder`` a workspace, with a first commit; to a workspace, add only what is missing.

    Raises `Misconfigured` for a folder that holds something else, or without git.
    """
    folder = folder.absolute()
    if shutil.which("git") is None:
        raise Misconfigured(
            "A workspace needs git, and there is none on PATH.",
            hint="Install it, for example with `apt-get install git`.",
        )
    _refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet")
    _ensure_identity(folder)
    for template, name in _FILES.items():
        if not (folder / name).exists():
            shutil.copy(_TEMPLATE / template, folder / name)
    (folder / "run_kfold_cv.sh").chmod(0o755)
    config = folder / ".dvc" / "config"
    if not config.exists():
        force = ["--force"] if config.parent.exists() else []
        checked([sys.executable, "-m", "dvc", "init", "--quiet", *force], folder)
    if not config.read_text(encoding="utf-8").strip():
        config.write_text(_DVC_CONFIG, encoding="utf-8")
    _commit(folder, [*_FILES.values(), ".dvc/config", ".dvc/.gitignore"], "Make a workspace")
    return Workspace(folder)


class Workspace:
    """Raises `Misconfigured` if ``folder`` is not one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        if not (self.folder / ".dvc").is_dir() or not (self.folder / "dvc.yaml").is_file():
            raise Misconfigured(
                f"{self.folder} is not a workspace.",
                hint="Go to one, or make one: secondlook init DIR",
            )

    def repro(
        self,
        targets: Sequence[str],
        params: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        *,
        alone: bool = False,
    ) -> None:
        """Run the stages ``targets`` and what they need, unless they are up to date.

        ``params`` are set first, as by `set_params`; ``env`` is added to the environment. With
        ``alone`` the targets are run whatever their state, and nothing else is. What the stages
        print goes to stderr. Raises `TrainingFailed` if a stage fails.
        """
        stages = self.stages()
        unknown = [target for target in targets if target not in stages]
        if unknown:
            raise Misconfigured(
                f"dvc.yaml has no stage {unknown[0]}.", hint=f"Its stages: {', '.join(stages)}."
            )
        if params:
            self.set_params(params)
        options = ["--single-item", "--force"] if alone else []
        command = [sys.executable, "-m", "dvc", "repro", *options, *targets]
        status = run_as_group(command, self.folder, workspace_environment() | dict(env or {}))
        if status != 0:
            raise TrainingFailed(
                f"`dvc repro {' '.join(targets)}` in {self.folder} ended with status {status}.",
                hint="What went wrong stands above. If another dvc is at work in this workspace, "
                "wait for it.",
            )

    def commit(self, message: str) -> str:
        """Commit the pipeline, its parameters and its state, nothing else; returns the revision."""
        _ensure_identity(self.folder)
        ignores = git(
            self.folder, "ls-files", "--others", "--modified", "--exclude-standard", "*.gitignore"
        )
        names = ["dvc.yaml", "dvc.lock", "params.yaml", *ignores.splitlines()]
        _commit(self.folder, names, message)
        return git(self.folder, "rev-parse", "HEAD")

    def rev(self) -> str:
        """HEAD, with ``-dirty`` if a tracked file differs from it or dvc.lock is not in it."""
        head = git(self.folder, "rev-parse", "HEAD")
        changed = git(self.folder, "status", "--porcelain", "--untracked-files=no")
        lock = git(self.folder, "status", "--porcelain", "--", "dvc.lock")
        return f"{head}-dirty" if changed or lock else head

    def set_params(self, values: Mapping[str, Any]) -> None:
        """Change ``params.yaml`` and keep its comments. ``train.lr0`` is lr0 in the section train.

        Text is read as YAML, so that ``"3"`` is a number. Raises `Misconfigured` for a name that
        is not there.
        """
        path = self.folder / "params.yaml"
        editor = YAML()
        editor.preserve_quotes = True
        editor.width = 4096  # never breaks a line
        editor.representer.add_representer(float, _represented)
        params = editor.load(path.read_text(encoding="utf-8"))
        for name, value in values.items():
            _set(params, name, _parsed(name, value) if isinstance(value, str) else value)
        text = io.StringIO()
        editor.dump(params, text)
        partial = path.with_name(".params.yaml.partial")
        partial.write_text(text.getvalue(), encoding="utf-8")
        partial.replace(path)

    def stages(self) -> list[str]:
        """Of the pipeline. Raises `Misconfigured`."""
        try:
            pipeline = yaml.safe_load((self.folder / "dvc.yaml").read_text(encoding="utf-8"))
            return list(pipeline["stages"])
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise Misconfigured(f"{self.folder / 'dvc.yaml'} names no stages: {error}.") from error


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise Misconfigured(f"{folder} is a file.", hint="Name a folder.")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    pipeline = folder / "dvc.yaml"
    known = ".dvc" in names and pipeline.is_file() and "train.data_collection" in _text(pipeline)
    if names - _OWN_NAMES and not known:
        raise Misconfigured(
            f"{folder} is not empty and is not a workspace.",
            hint="Name a new or empty folder; images are imported from wherever they are.",
        )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _ensure_identity(folder: Path) -> None:
    """Git commits for nobody: where it knows no one, this workspace has a name of its own."""
    for name, value in _IDENTITY.items():
        asked = subprocess.run(
            ["git", "config", name],
            cwd=folder,
            env=workspace_environment(),
            capture_output=True,
            check=False,
        )
        if asked.returncode != 0:
            git(folder, "config", name, value)


def _commit(folder: Path, names: Iterable[str], message: str) -> None:
    there = [name for name in dict.fromkeys(names) if (folder / name).exists()]
    git(folder, "add", "--", *there)
    if git(folder, "status", "--porcelain", "--", *there):
        git(folder, "commit", "--quiet", "--message", message, "--", *there)


def git(folder: Path, *arguments: str) -> str:
    """What git prints. Raises `Misconfigured` with what it says when it fails."""
    return checked(["git", *arguments], folder)


def checked(command: Sequence[str], folder: Path) -> str:
    """What a command of git or DVC prints. Raises `Misconfigured` with what it says if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=workspace_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shown = " ".join(["dvc" if word == sys.executable else word for word in command[:4]])
        raise Misconfigured(
            f"`{shown}` failed in {folder}.", hint=(done.stderr or done.stdout).strip()[-1000:]
        )
    return done.stdout.strip()


def workspace_environment() -> dict[str, str]:
    """The environment for git, DVC and the stages: ``python`` in dvc.yaml is this Python."""
    kept = {name: value for name, value in os.environ.items() if name not in _GIT_POINTERS}
    python = str(Path(sys.executable).parent)
    path = os.pathsep.join([python, kept.get("PATH", os.defpath)])
    return kept | {"PATH": path, "DVC_NO_ANALYTICS": "1"}


def run_as_group(
    command: Sequence[str],
    folder: Path,
    env: Mapping[str, str],
    seconds_to_end: float = _SECONDS_TO_END,
) -> int:
    """Run ``command`` in a process group of its own, so that Ctrl-C reaches each of its processes
    exactly once and this waits until all of it has ended, or ``seconds_to_end`` have passed."""
    # Its stdout goes to stderr: stdout is for the caller's own answer.
    with subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=2, process_group=0
    ) as process:
        try:
            return _wait(process)
        except BaseException:
            _signal_group(process, signal.SIGINT)
            try:
                process.wait(seconds_to_end)
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)
            raise


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait in short steps: with threads about (Ray's), Ctrl-C may be delivered to another one,
    and would not end a wait of this one before the process has ended by itself."""
    while True:
        try:
            return process.wait(_STEP_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended in the meantime
        os.killpg(process.pid, number)


def _set(params: Any, name: str, value: Any) -> None:
    *sections, last = name.split(".")
    section = params
    for part in sections:
        section = section.get(part) if isinstance(section, dict) else None
    # Below `train` any name may be new; at the top, an unknown one is a slip.
    if not isinstance(section, dict) or (not sections and last not in section):
        raise Misconfigured(
            f"params.yaml has no {name}.", hint=f"It has {', '.join(map(str, params))}."
        )
    section[last] = value


def _represented(representer: Any, value: float) -> Any:
    """As `1.0e-05`: ruamel.yaml would write ``1e-05``, which is text to YAML 1.1, so to PyYAML."""
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return representer.represent_scalar("tag:yaml.org,2002:float", text)


def _parsed(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Misconfigured(f"{name}={text!r} is not a YAML value: {error}.") from error

"""A copy of a home to keep elsewhere, made while it is in use, and a home made of it again.

What refers to something is copied before what it refers to: the database first, then images and
MLflow, the log last. So whatever is added meanwhile, nothing in the copy is missing what it names,
and the log's files are never behind the database (docs/audit-log.md).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import inspect, make_url, select

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, Conflict, LoopError, Misconfigured, NotFound, Unavailable
from loop.events import Actor, Event, now
from store import tables
from store.audit_log import AuditLog, open_audit_log
from store.backup_files import (
    BackupFolder,
    Manifest,
    check,
    files_below,
    is_empty,
    pieces_of,
    read_manifest,
    room_for,
    told,
    written,
)
from store.database import open_engine, reading, translated
from store.durable import sync
from store.image_store import image_folder
from store.log_export import LogCopy
from store.log_files import LogFiles
from store.log_key import LogKey
from store.log_verify import Progress, check_continues, verify_files
from store.log_witnesses import LogWitnesses, check_seen
from store.settings import Settings
from store.unit_of_work import open_units_of_work
from store.witness_client import WitnessClient

DATABASE, DUMP, TRACKING = "secondlook.db", "secondlook.dump", "mlflow/mlflow.db"
_SQLITE, _POSTGRESQL = "sqlite", "postgresql"
# Of MLflow's tables, wherever it writes down where a file is (mlflow/store/tracking/dbmodels).
_PLACES = ("artifact_location", "artifact_uri", "source", "storage_location")
_LOCK_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Restored:
    """``entries`` of the log were verified; ``added`` of them the database did not have.
    ``missing`` are the ids of images that the database has and the files do not."""

    entries: int
    root: str
    added: int
    images: int
    missing: tuple[str, ...]


def make_backup(
    settings: Settings, folder: Path, *, dump: Path | None = None, actor: Actor
) -> Manifest:
    """Copy the home into ``folder``, which must be empty or not there, and put it on record.

    With PostgreSQL, ``dump`` is what pg_dump wrote just before; it becomes part of the copy.
    Raises `Conflict`, `Unavailable`, `Misconfigured` without a dump where one is needed, and
    `BrokenRecord` for a log that is behind its database.
    """
    kind = _kind(settings, dump)
    if kind == _SQLITE and not _database_file(settings).exists():
        raise NotFound(
            f"There is no database {_database_file(settings)}.", hint="Is SECONDLOOK_HOME right?"
        )
    log, backup = open_audit_log(settings), BackupFolder(folder)
    with told(folder):
        backup.begin()
        with suppress(LoopError):  # a home whose disk is full is copied too
            log.integrate()
        _copy_database(settings, backup, dump)
        head = log.rows.state().head.size if dump else _head_in(folder / DATABASE)
        without = list(_copy_files(settings, backup))
        entries, root = _copy_log(log, backup, head)
        _copy_keys(settings, backup)
        home = str(settings.home)
        manifest = Manifest(now(), home, kind, entries, root, tuple(without), backup.files)
        backup.write(manifest)
    _record(settings, "backup.created", actor, manifest)
    return manifest


def restore_backup(
    settings: Settings,
    folder: Path,
    *,
    actor: Actor,
    log_folder: Path | None = None,
    ask_witnesses: bool = True,
    progress: Progress | None = None,
) -> Restored:
    """Make the home of ``settings``, which must hold nothing yet, of the backup in ``folder``.

    ``log_folder`` is a copy of the log's files that is newer than the one in the backup. Unless
    they are not to be asked, the witnesses of the settings must not have seen more of the log.
    With PostgreSQL, pg_restore comes first. Raises `Conflict` for a home that holds something,
    `BrokenRecord` for a backup or a log that is not in order.
    """
    manifest = read_manifest(folder)
    _check_home(settings, manifest)
    check(folder, manifest)
    room_for(settings.home, manifest.bytes)
    source = LogFiles(log_folder or folder / "log")
    if manifest.entries:
        _check_log(settings, folder, source, ask_witnesses=ask_witnesses)
    with told(settings.home):
        _put_files(settings, folder, manifest, log_folder)
    return _taken_up(settings, manifest, actor, progress)


def _kind(settings: Settings, dump: Path | None) -> str:
    postgresql = not settings.database.startswith("sqlite")
    if postgresql and dump is None:
        raise Misconfigured(
            "The database is PostgreSQL's, and PostgreSQL's own tool copies it.",
            hint='pg_dump --format=custom --file=second-look.dump "$SECONDLOOK_DATABASE_URL", and '
            "then secondlook backup FOLDER --dump second-look.dump",
        )
    if dump is not None and not postgresql:
        raise Misconfigured("--dump is for a database of PostgreSQL.", hint="Leave it out.")
    if dump is not None and not dump.is_file():
        raise NotFound(f"There is no file {dump}.", hint="pg_dump writes it.")
    return _POSTGRESQL if postgresql else _SQLITE


def _copy_database(settings: Settings, backup: BackupFolder, dump: Path | None) -> None:
    if dump is not None:
        backup.add(DUMP, dump)
        return
    _copy_sqlite(_database_file(settings), backup.folder / DATABASE)
    backup.add_written(DATABASE)


def _database_file(settings: Settings) -> Path:
    return Path(str(make_url(settings.database).database))


def _copy_files(settings: Settings, backup: BackupFolder) -> Iterator[str]:
    """Gives what is not copied, since it lies elsewhere."""
    images = image_folder(settings)
    if images is not None:
        backup.add_tree("images", images)
    else:
        yield f"images: in {settings.storage_url.split('@')[-1]}"
    if settings.tracking_uri:
        yield f"MLflow: at {settings.tracking_uri.split('@')[-1]}"
    elif (settings.home / TRACKING).exists():
        (backup.folder / TRACKING).parent.mkdir(mode=0o700)
        _copy_sqlite(settings.home / TRACKING, backup.folder / TRACKING)
        backup.add_written(TRACKING)
        backup.add_tree("mlflow/artifacts", settings.artifacts)
    backup.add_tree("workspace", settings.home / "workspace")
    if settings.workspace is not None:
        yield f"workspace: {settings.workspace}"


def _copy_log(log: AuditLog, backup: BackupFolder, head: int) -> tuple[int, str]:
    """Size and root of what was copied: at least the ``head`` that the database's copy counts."""
    stamps = tuple(log.files.timestamps())  # before the checkpoint: of none that is newer
    note = log.files.checkpoint()
    size = Checkpoint.parse(note.text).size if note else 0
    if size < head:
        raise BrokenRecord(
            f"The log's files count {size} entries, and the database {head}.",
            hint="secondlook audit verify says what is wrong. If another machine has the log's "
            "files, make the backup there.",
        )
    if note is None:
        return 0, ""
    copy = LogCopy(log.files, note, log.key.signer().key, stamps)
    for name, pieces in copy.contents():
        if name.startswith("log/"):
            backup.add_pieces(name, pieces, 0o644)
    return size, copy.checkpoint.root.hex()


def _copy_keys(settings: Settings, backup: BackupFolder) -> None:
    backup.add_tree("keys", settings.home / "keys")


def _check_home(settings: Settings, manifest: Manifest) -> None:
    home = settings.home
    if not is_empty(home):
        raise Conflict(
            f"{home} holds something: nothing is restored over it.",
            hint="Move it away, and keep it: its log may be newer than the backup's (--log).",
        )
    has_images = any(name.startswith("images/") for name in manifest.files)
    if has_images and image_folder(settings) is None:
        raise Misconfigured(
            "This backup has images in files, and SECONDLOOK_STORAGE_URL names a bucket.",
            hint="Unset SECONDLOOK_STORAGE_URL; copy HOME/images into the bucket afterwards.",
        )
    if manifest.database == _SQLITE and settings.database_url:
        raise Misconfigured(
            "This backup has a database of SQLite, and SECONDLOOK_DATABASE_URL names another.",
            hint="Unset SECONDLOOK_DATABASE_URL.",
        )
    if manifest.database == _POSTGRESQL:
        _check_postgresql(settings)


def _check_postgresql(settings: Settings) -> None:
    hint = (
        f'pg_restore --no-owner --dbname="$SECONDLOOK_DATABASE_URL" FOLDER/{DUMP}, into a new '
        "database, and then this again."
    )
    if settings.database.startswith("sqlite"):
        raise Misconfigured("This backup's database is PostgreSQL's.", hint=hint)
    engine = open_engine(settings.database)
    try:
        with translated():
            there = inspect(engine).has_table(tables.audit_head.name)
    finally:
        engine.dispose()
    if not there:
        raise Misconfigured("The database was not restored yet.", hint=hint)


def _check_log(settings: Settings, folder: Path, source: LogFiles, *, ask_witnesses: bool) -> None:
    """That ``source`` is the backup's log, or what became of it, and no witness saw more."""
    key = LogKey(folder / "keys" / "log.key").signer().key
    size = verify_files(source, key).size
    own = LogFiles(folder / "log").checkpoint()
    if own is not None:
        check_continues(source, size, own, key)
    if not ask_witnesses:
        return
    clients = [WitnessClient(each.url, each.key) for each in settings.audit_witnesses]
    try:
        check_seen(LogWitnesses(clients).latest(key.name), source, size, key)
    except (BrokenRecord, Unavailable) as error:
        raise BrokenRecord(
            f"{error.message} Restored so, the log would contradict its witness for ever.",
            hint="Name a newer copy of the log's folder with --log: the old disk's, a mirror of "
            "it, an export. --without-witnesses goes on without asking: docs/operations.md says "
            "what follows.",
        ) from error
    finally:
        for client in clients:
            client.close()


def _put_files(
    settings: Settings, folder: Path, manifest: Manifest, log_folder: Path | None
) -> None:
    images = image_folder(settings) or settings.images  # of a bucket's there are none to put
    for name, expected in manifest.files.items():
        part, _, rest = name.partition("/")
        if name == DUMP or (part == "log" and log_folder is not None):
            continue
        to = images / rest if part == "images" else settings.home / name
        if written(to, pieces_of(folder / name), expected.mode) != expected:
            raise BrokenRecord(
                f"{name} of the backup changed while it was restored.",
                hint=f"Delete {settings.home}, and try again.",
            )
    if log_folder is not None:
        for name, path in files_below(log_folder):
            written(settings.home / "log" / name, pieces_of(path), 0o644)
    for each in settings.home.rglob("*"):
        if each.is_dir():
            sync(each)
    if manifest.home != str(settings.home) and (settings.home / TRACKING).exists():
        _move_places(settings.home / TRACKING, Path(manifest.home), settings.home)


def _taken_up(
    settings: Settings, manifest: Manifest, actor: Actor, progress: Progress | None
) -> Restored:
    quiet = settings.model_copy(update={"audit_witnesses": (), "audit_tsa_url": ""})
    log = open_audit_log(quiet)  # which migrates the database
    before = log.rows.state().head.size
    note = log.files.checkpoint()
    size = Checkpoint.parse(note.text).size if note else 0
    if size < before:
        raise BrokenRecord(
            f"The log's files count {size} entries, and the database {before}.",
            hint="Name a newer copy of the log's folder with --log.",
        )
    if size > before:
        log.reindex(progress)
    verified = log.verify(progress=progress)
    count, missing = _images(settings, log)
    _record(settings, "backup.restored", actor, manifest)
    return Restored(verified.size, verified.root, size - before, count, missing)


def _images(settings: Settings, log: AuditLog) -> tuple[int, tuple[str, ...]]:
    with reading(log.rows.engine) as connection:
        ids = connection.scalars(select(tables.images.c.id).order_by(tables.images.c.id)).all()
    folder = image_folder(settings)
    if folder is None:
        return len(ids), ()
    return len(ids), tuple(each for each in ids if not (folder / each[:2] / each).is_file())


def _copy_sqlite(source: Path, to: Path) -> None:
    """As it is at one moment; who writes to it waits meanwhile."""
    to.touch(mode=0o600)
    try:
        with (
            closing(sqlite3.connect(source, timeout=_LOCK_SECONDS)) as live,
            closing(sqlite3.connect(to)) as copy,
        ):
            live.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, whatever the original has
    except sqlite3.Error as error:
        raise Unavailable(
            f"{source} cannot be copied: {error}.", hint="Try again; see to its disk's room."
        ) from error


def _head_in(database: Path) -> int:
    """How many entries the copied database counts."""
    with closing(sqlite3.connect(database)) as copy:
        row = copy.execute(f"SELECT size FROM {tables.audit_head.name}").fetchone()  # noqa: S608
    return int(row[0]) if row else 0


def _move_places(database: Path, old: Path, new: Path) -> None:
    """MLflow writes down where files are as absolute paths and URLs of them."""
    with closing(sqlite3.connect(database)) as opened, opened:
        names = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in names:
            columns = {row[1] for row in opened.execute(f'PRAGMA table_info("{table}")')}
            for column in columns.intersection(_PLACES):
                for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
                    opened.execute(
                        f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?) '  # noqa: S608
                        f'WHERE "{column}" = ? OR substr("{column}", 1, ?) = ?',
                        (after, len(before) + 1, before, len(before) + 1, f"{before}/"),
                    )


def _record(settings: Settings, type: str, actor: Actor, manifest: Manifest) -> None:
    subject = {"made_at": manifest.made_at, "tree_size": manifest.entries}
    details = {
        "database": manifest.database,
        "files": len(manifest.files),
        "bytes": manifest.bytes,
        "without": len(manifest.without),
    }
    outputs = {"root": manifest.root} if manifest.root else {}
    with open_units_of_work(settings)() as uow:
        uow.record(Event(type, actor, subject, details, outputs=outputs))
        uow.commit()

"""Many queued cases at once, written below the repositories: what is measured is reading them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, Table, insert, text, update

from loop.classes import ClassList
from store import tables
from store.database import writing

CLASSES = ClassList(tuple(f"class_{number}" for number in range(12)))
COMMON_CLASS, RARE_CLASS = 0, 11
MODEL, OTHER_MODEL, RARE_MODEL = "bench:1", "bench:2", "bench:3"
# Gave a third of the first answers, and just those that each order puts first.
ADJUDICATOR = "bench-adjudicator"
_OTHERS = tuple(f"bench-reviewer-{number}" for number in range(30))
_RARE = 10_000  # one case in so many is of the rare class, and one of the rare model
_BATCH = 20_000
_AT = "2026-01-01T00:00:00.000000Z"
_QUEUED = (tables.cases, tables.case_places)
_COPIED = (*_QUEUED, tables.corrections)
_IDS = ("id", "case_id")
_KEYS = ("priority", "disagreement", "shuffle", "uncertain", "disagreed", "random")


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    id: str
    state: str
    first_reviewer: str | None
    model: str
    classes: tuple[int, ...]
    priority: float
    disagreement: float
    shuffle: float


def fill(engine: Engine, cases: int, say: Callable[[str], None]) -> None:
    """Images, predictions, cases, first answers and places of so many queued cases.

    60 % wait for a first review, 39 % for a second one and 1 % are reopened. Indexes are made
    after the rows, as a bulk load does.
    """
    with writing(engine) as connection:
        connection.execute(
            insert(tables.classes), [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
        )
    indexes = [index for table in _QUEUED for index in table.indexes]
    load = _Loader(engine)
    with engine.connect() as connection:
        load.prepare(connection)
        for index in indexes:
            index.drop(connection)
        rows = _rows(cases, np.random.default_rng(1))
        while batch := list(islice(rows, _BATCH)):
            for table, values in _tables_of(batch).items():
                load.copy(connection, table, values)
            say(f"{batch[-1].number} of {cases} cases")
        say("indexes")
        for index in indexes:
            index.create(connection)
        kinds = "class_id, state, model, kept_from"
        connection.execute(
            text(
                f"INSERT INTO case_counts ({kinds}, cases) "  # noqa: S608
                f"SELECT {kinds}, count(*) FROM case_places GROUP BY {kinds}"
            )
        )
        connection.commit()
    _settle(engine)


def multiply(engine: Engine, times: int, say: Callable[[str], None]) -> None:
    """So many times the cases that `fill` wrote, by copies that the database makes of them: of the
    same kinds in the same shares, a hair behind the originals in each order, with ids and numbers
    of their own. Images and predictions, which are only ever found by their keys, are shared."""
    load = _Loader(engine)
    indexes = [index for table in _COPIED for index in table.indexes]
    with engine.connect() as connection:
        load.prepare(connection)
        base = connection.scalar(text("SELECT count(*) FROM cases")) or 0
        for index in indexes:
            index.drop(connection)
        for table in _COPIED:
            source = f"SELECT * FROM {table.name}"  # noqa: S608
            connection.execute(text(f"CREATE TEMP TABLE base_{table.name} AS {source}"))
        for copy in range(1, times):
            for table in _COPIED:
                connection.execute(text(_copied(table, copy, base)))
            connection.commit()
            say(f"{(copy + 1) * base} of {times * base} cases")
        for table in _COPIED:
            connection.execute(text(f"DROP TABLE base_{table.name}"))
        for index in indexes:
            say(f"index {index.name}")
            index.create(connection)
        counts = tables.case_counts
        connection.execute(update(counts).values(cases=counts.c.cases * times))
        connection.commit()
    _settle(engine)


def _copied(table: Table, copy: int, base: int) -> str:
    """The statement that adds copy number ``copy``, at most 15, of the table's first rows. The
    first two hexadecimal digits of an id become a letter that is none, and that number."""
    shifted = {"number": f"number + {copy * base}"}
    shifted |= {name: f"'x{copy:x}' || substr({name}, 3)" for name in _IDS}
    shifted |= {name: f"{name} * {1 - copy * 1e-7!r}" for name in _KEYS}
    names = [column.name for column in table.columns]
    values = ", ".join(shifted.get(name, name) for name in names)
    return f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {values} FROM base_{table.name}"  # noqa: S608


def _settle(engine: Engine) -> None:
    if engine.dialect.name == "postgresql":
        # Soon done by autovacuum. SQLite needs none: the queries leave it no choice.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()  # the settings of loading go with their connections


def _rows(cases: int, rng: np.random.Generator) -> Iterator[_Row]:
    first, second = int(cases * 0.6), int(cases * 0.39)
    draws = rng.random((cases, 3))
    extra = rng.integers(1, len(CLASSES) - 1, cases)
    for index in range(cases):
        state = "first" if index < first else "second" if index < first + second else "reopened"
        own = state == "second" and index < first + second // 3
        classes = {int(extra[index])}
        if index % 5 < 3:
            classes.add(COMMON_CLASS)
        if index % _RARE == 7:
            classes.add(RARE_CLASS)
        model = MODEL if index % 5 < 3 else OTHER_MODEL
        uncertain, disagreed, shuffle = (float(draw) for draw in draws[index])
        reviewer = ADJUDICATOR if own else _OTHERS[index % len(_OTHERS)]
        yield _Row(
            number=index + 1,
            id=_id("case", index),
            state=state,
            first_reviewer=reviewer if state == "second" else None,
            model=RARE_MODEL if index % _RARE == 11 else model,
            classes=tuple(sorted(classes)),
            # The adjudicator's own cases stand before all others, in every order but the random.
            priority=(2 + uncertain) / 3 if own else uncertain * 2 / 3,
            disagreement=0.0
            if state != "second"
            else (2 + disagreed) / 3
            if own
            else disagreed / 2,
            shuffle=shuffle,
        )


def _tables_of(batch: Sequence[_Row]) -> dict[str, list[dict[str, Any]]]:
    return {
        "images": [_image(row) for row in batch],
        "predictions": [_prediction(row) for row in batch],
        "cases": [_case(row) for row in batch],
        "corrections": [_correction(row) for row in batch if row.first_reviewer],
        "case_places": [
            {**_place(row), "class_id": each} for row in batch for each in (-1, *row.classes)
        ],
    }


def _image(row: _Row) -> dict[str, Any]:
    return {
        "id": _id("image", row.number) * 2,
        "width": 640,
        "height": 480,
        "media_type": "image/png",
        "subject": f"subject-{row.number % 5000}",
        "source": "bench",
        "created_at": _AT,
        "gold": False,
    }


def _prediction(row: _Row) -> dict[str, Any]:
    name, version = row.model.split(":")
    detections = [
        {"id": _id("d", row.number * 16 + each), "box": [9, 9, 99, 99], "class_id": each}
        | {"confidence": 1 - row.priority}
        for each in row.classes
    ]
    return {
        "id": _id("prediction", row.number),
        "image_id": _id("image", row.number) * 2,
        "model": json.dumps({"name": name, "version": version, "digest": "0" * 64}),
        "detections": json.dumps(detections),
        "created_at": _AT,
        "request_id": "",
    }


def _case(row: _Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "image_id": _id("image", row.number) * 2,
        "prediction_id": _id("prediction", row.number),
        "state": row.state,
        "reasons": '["bench"]',
        "priority": row.priority,
        "created_at": _AT,
        "model": row.model,
        "classes": json.dumps(row.classes),
        "disagreement": row.disagreement,
        "shuffle": row.shuffle,
        "first_reviewer": row.first_reviewer,
        "reopens": None,
        "number": row.number,
    }


def _correction(row: _Row) -> dict[str, Any]:
    return {
        "id": _id("correction", row.number),
        "case_id": row.id,
        "prediction_id": _id("prediction", row.number),
        "image_id": _id("image", row.number) * 2,
        "reviewer": row.first_reviewer,
        "boxes": "[]",
        "rejected": "[]",
        "no_finding": True,
        "comment": "",
        "active_seconds": 1.0,
        "agreement": "{}",
        "created_at": _AT,
    }


def _place(row: _Row) -> dict[str, Any]:
    return {
        "number": row.number,
        "case_id": row.id,
        "state": row.state,
        "model": row.model,
        "kept_from": row.first_reviewer or "",
        "uncertain": -row.priority,
        "disagreed": -row.disagreement,
        "random": row.shuffle,
    }


def _id(kind: str, number: int) -> str:
    return hashlib.blake2b(f"{kind}{number}".encode(), digest_size=16).hexdigest()


class _Loader:
    """The fastest way in, which checks no references."""

    def __init__(self, engine: Engine) -> None:
        self._postgres = engine.dialect.name == "postgresql"

    def prepare(self, connection: Connection) -> None:
        if self._postgres:
            connection.exec_driver_sql("SET session_replication_role = replica")
            connection.exec_driver_sql("SET maintenance_work_mem = '512MB'")
            return
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("PRAGMA synchronous = OFF")
        connection.exec_driver_sql("PRAGMA cache_size = -1000000")

    def copy(self, connection: Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
        if not rows:
            return
        names = list(rows[0])
        values: Iterable[list[Any]] = ([row[name] for name in names] for row in rows)
        quoted = ", ".join(f'"{name}"' for name in names)
        driver: Any = connection.connection.driver_connection
        cursor = driver.cursor()
        if self._postgres:
            with cursor.copy(f"COPY {table} ({quoted}) FROM STDIN") as copy:
                for row in values:
                    copy.write_row(row)
            return
        marks = ", ".join("?" for _ in names)
        cursor.execute("BEGIN")
        cursor.executemany(f"INSERT INTO {table} ({quoted}) VALUES ({marks})", values)  # noqa: S608
        cursor.execute("COMMIT")

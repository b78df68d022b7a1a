"""A PostgreSQL server of our own, for tests."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from store.database import open_engine

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
_numbers = itertools.count()


@contextmanager
def postgres_server(listen: str = "", port: int = 5432) -> Iterator[Callable[[str], str]]:
    """Gives what makes an empty database, or a copy of the one that is named, and returns its URL.

    Only by a socket, unless there is an address to ``listen`` on: then for everybody who reaches
    that. Skips the test where there is no server.
    """
    if not (PROGRAMS / "initdb").exists():
        pytest.skip(f"PostgreSQL's server binaries are not in {PROGRAMS}")
    # Not below pytest's own folder, which the server's user may not enter; and short, since a
    # socket's path has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="second-look-pg-"))
    as_user: dict[str, str | int] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid}
    data = folder / "data"

    def run(*command: str) -> None:
        program = str(PROGRAMS / command[0])
        subprocess.run(
            [program, *command[1:]],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            extra_groups=[] if as_user else None,
            **as_user,  # type: ignore[call-overload]
        )

    options = f"-k {folder} -c listen_addresses='{listen}' -c fsync=off -c full_page_writes=off"
    if listen:
        options += f" -c port={port}"
    run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
    if listen:
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 trust\n")
    run("pg_ctl", "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    admin = open_engine(f"postgresql://postgres@/postgres?host={folder}&port={port}")

    def make(template: str) -> str:
        name = f"test_{next(_numbers)}"
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        if listen:
            return f"postgresql://postgres@{listen}:{port}/{name}"
        return f"postgresql://postgres@/{name}?host={folder}"

    try:
        yield make
    finally:
        admin.dispose()
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)

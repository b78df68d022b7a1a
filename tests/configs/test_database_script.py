"""configs/kuberay/database/mlflow-database.sh, on a PostgreSQL server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest
from sqlalchemy import make_url, text

from store.database import open_engine
from tests.configs.manifests import KUBERAY
from tests.postgres import PROGRAMS
from tests.store.conftest import postgres  # noqa: F401

# What a password may be made of, and what a script may trip over.
PASSWORD = """it's "a" $PASSWORD; \\ `date`"""


@pytest.mark.postgres
def test_mlflow_gets_a_database_and_an_owner_that_signs_in_with_the_password(
    postgres: Callable[[str], str],  # noqa: F811
) -> None:
    url = postgres("template0")
    environment = {
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "PGHOST": str(make_url(url).query["host"]),
        "POSTGRES_USER": "postgres",
        "MLFLOW_DB_PASSWORD": PASSWORD,
    }
    script = KUBERAY / "database" / "mlflow-database.sh"
    subprocess.run(["sh", script], check=True, env=environment, timeout=60)

    with open_engine(url).connect() as connection:
        owner = connection.scalar(
            text(
                "SELECT rolname FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba "
                "WHERE datname = 'mlflow'"
            )
        )
        kept = connection.scalar(text("SELECT rolpassword FROM pg_authid WHERE rolname = 'mlflow'"))
    assert owner == "mlflow"
    assert str(kept).startswith("SCRAM-SHA-256$")

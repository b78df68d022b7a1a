"""What all tests have in common: a type of event that is not published, no deadlines, and a server
with S3's protocol."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

from loop.event_types import add_type
from tests.s3 import CREDENTIALS, S3Server, s3_server

add_type("test.happened", {"type": "object"})
# A slow example on a busy machine is not a failure.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture(autouse=True)
def loggers_on() -> None:
    """MLflow's migrations turn off every logger that there is (logging.config.fileConfig): what a
    test hears is not to depend on which ones ran before it."""
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One for all tests of a process; its credentials are in the environment."""
    pytest.importorskip("moto.server")
    with pytest.MonkeyPatch.context() as patch, s3_server() as server:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield server

"""What all tests have in common: a type of event that is not published, no deadlines, and a server
with S3's protocol."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from loop.event_types import add_type
from tests.s3 import CREDENTIALS, S3Server, s3_server

add_type("test.happened", {"type": "object"})
# A slow example on a busy machine is not a failure.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


_OURS = {"loop", "store", "detector", "serve", "train", "ui", "cluster"}


@pytest.fixture(autouse=True)
def of_its_own() -> None:
    """What a test sees is not to depend on which ones ran before it: MLflow's migrations turn off
    every logger that there is (logging.config.fileConfig), NNCF sets the level of its logger's
    handlers, caplog's among them, and where MLflow's bucket is stays in a process's environment."""
    os.environ.pop("MLFLOW_S3_ENDPOINT_URL", None)
    logging.disable(logging.NOTSET)
    logging.root.setLevel(logging.WARNING)
    for handler in logging.root.handlers:
        handler.setLevel(logging.NOTSET)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger):
            logger.disabled = False
            if name.partition(".")[0] in _OURS:
                logger.setLevel(logging.NOTSET)
                logger.propagate = True


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One for all tests of a process; its credentials are in the environment."""
    pytest.importorskip("moto.server")
    with pytest.MonkeyPatch.context() as patch, s3_server() as server:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield server

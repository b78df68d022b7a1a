"""The reviewers' app as a process: ``python -m cluster.app``, on ``SECONDLOOK_UI_PORT``."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import uvicorn
from fastapi import FastAPI

from cluster.app_metrics import open_app_metrics
from cluster.auditing import open_tracing
from cluster.bulk_import import open_bulk_imports
from cluster.console import print_error
from cluster.context import running_swap, running_trials
from cluster.training_jobs import open_training_jobs
from cluster.trials import TrialWatch
from loop.errors import LoopError
from serve.keys import open_key_gate
from store.audit_log import open_audit_log
from store.image_store import open_image_store
from store.logs import configure_logs
from store.model_registry import open_model_registry
from store.own_key import api_headers
from store.sequencer import Sequencer
from store.settings import Settings, load_settings
from store.tracking import Tracking, open_tracking
from store.unit_of_work import open_units_of_work
from ui.operations import Operations
from ui.sessions import open_people

# A detection on a busy CPU, with others before it in the queue.
_API_SECONDS = 120.0
# While the database is down, /metrics has to say so: to who had a key before.
_STALE_KEYS_SECONDS = 3600.0
# What is being answered when the app is told to stop may end; event streams never do.
_DRAIN_SECONDS = 5


@contextmanager
def open_app(settings: Settings) -> Iterator[FastAPI]:
    """The app with everything behind it. Raises `Misconfigured`, `Unavailable`."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from ui.app import Outside, build_app  # imports Gradio, which reads the line above
    from ui.auditing import Auditing
    from ui.page import Parts
    from ui.routes.metrics import MetricsRoute

    units, tracking = open_units_of_work(settings), open_tracking(settings)
    threading.Thread(target=_warm_up, args=(tracking,), daemon=True).start()
    ended = threading.Event()
    log = open_audit_log(settings)
    sequencer = Sequencer(log)
    threading.Thread(target=sequencer.run, args=(ended,), name="audit log", daemon=True).start()
    watch = TrialWatch(units, tracking, lambda: running_trials(settings))
    threading.Thread(target=watch.run, args=(ended,), name="trials", daemon=True).start()
    # The API is on this machine or next to it: no proxy for the internet in between.
    url, headers = settings.api_url, api_headers(settings)
    registry, jobs = open_model_registry(settings), open_training_jobs(settings, units)
    metrics = open_app_metrics(settings.home, units, log, registry, jobs.jobs, jobs.last_output)
    with httpx.Client(
        base_url=url, trust_env=False, timeout=_API_SECONDS, headers=headers
    ) as client:
        parts = Parts(
            units=units,
            images=open_image_store(settings),
            tracking=tracking,
            registry=registry,
            people=open_people(settings, units),
            operations=Operations(
                jobs,
                lambda: running_swap(settings),
                settings.min_confidence,
                settings.approvers,
            ),
            client=client,
            agreement=settings.agreement,
            auditing=Auditing(
                open_tracing(settings, units, log),
                units,
                tracking,
                registry,
                tuple(each.key for each in settings.audit_witnesses),
            ),
        )
        outside = Outside(
            open_bulk_imports(settings),
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=_API_SECONDS, headers=headers),
            MetricsRoute(
                open_key_gate(settings, units, stale_seconds=_STALE_KEYS_SECONDS), metrics.text
            ),
        )
        try:
            yield build_app(settings, parts, outside)
        finally:
            ended.set()
            metrics.close()


def _warm_up(tracking: Tracking) -> None:
    """MLflow takes seconds to import: not while the first engineer waits for a page."""
    with suppress(LoopError):  # whoever opens such a page is told what is wrong
        tracking.prepare()


def main() -> int:
    try:
        settings = load_settings()
        configure_logs(settings.log_level)
        with open_app(settings) as app:
            uvicorn.run(
                app,
                host=settings.host,
                port=settings.ui_port,
                log_level=settings.log_level.lower(),
                # One-time links and codes of identity providers stand in addresses.
                access_log=False,
                timeout_graceful_shutdown=_DRAIN_SECONDS,
            )
    except LoopError as error:
        print_error(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

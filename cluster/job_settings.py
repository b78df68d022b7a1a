"""Which settings go with a job. Ray shows a job's environment to whoever has the token, and writes
it into its logs: what is secret, or holds a secret, never does. The cluster's own environment has
those, and where the database is."""

from __future__ import annotations

from urllib.parse import urlsplit

from cluster.addresses import is_loopback_url
from loop.errors import Misconfigured
from loop.events import Actor
from store.settings import Settings
from store.storage_url import BucketStorage, parse_storage_url

# What a training or a measurement comes out differently by.
_SAME = (
    "model_name",
    "min_confidence",
    "nms_iou",
    "match_iou",
    "agreement_ciou",
    "high_confidence",
    "min_gain",
    "min_gain_50",
    "int8_margin",
    "max_class_loss",
    "max_latency_factor",
    "min_gold_images",
    "gate_alpha",
    "gate_uses",
    "gate_replicates",
    "approvers",
    "allow_downloads",
    "log_examples",
    "log_level",
)


def job_environment(settings: Settings, job_id: str, actor: Actor) -> dict[str, str]:
    """Of a job wherever it runs: who asked for it, and the settings that somebody has chosen."""
    chosen = {
        f"SECONDLOOK_{name.upper()}": str(getattr(settings, name))
        for name in _SAME
        if name in settings.model_fields_set
    }
    return chosen | {
        "SECONDLOOK_JOB": job_id,
        "SECONDLOOK_ACTOR": actor.pseudonym,
        "SECONDLOOK_ACTOR_AUTHENTICATED_BY": actor.authenticated_by.value,
    }


def remote_environment(settings: Settings) -> dict[str, str]:
    """What a job elsewhere needs besides: where the bucket and MLflow are, if this machine knows it
    by an address that means the same there.

    The log's files are this installation's: a job adds to the database's outbox alone. Raises
    `Misconfigured` without a bucket, since nothing would come back.
    """
    storage = parse_storage_url(settings.storage_url)
    if not isinstance(storage, BucketStorage):
        raise Misconfigured(
            "A job on a cluster elsewhere brings its results to a bucket, and none is set.",
            hint="Set SECONDLOOK_STORAGE_URL=s3://BUCKET/PREFIX here and on the cluster's nodes.",
        )
    found = {"SECONDLOOK_AUDIT_LOG": "elsewhere"}
    if not is_loopback_url(storage.endpoint_url):
        found["SECONDLOOK_STORAGE_URL"] = settings.storage_url
    tracking = urlsplit(settings.tracking_uri)
    if (
        tracking.scheme in ("http", "https")
        and "@" not in tracking.netloc
        and not is_loopback_url(settings.tracking_uri)
    ):
        found["MLFLOW_TRACKING_URI"] = settings.tracking_uri
    return found

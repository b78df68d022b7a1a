"""``secondlook doctor``: what this machine has, what the settings lead to, and what is wrong."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from cluster.addresses import impatient, without_password
from cluster.doctor_nodes import node_checks
from cluster.doctor_servers import listening, server_checks
from cluster.findings import Check, Finding, Started, looked_at_once
from cluster.joined_ray import joins
from cluster.running import find_alive
from cluster.serving_facts import serving_facts
from loop.errors import LoopError
from store.audit_log import open_audit_log
from store.database import migrate, open_engine
from store.model_keys import open_model_keys
from store.model_registry import open_model_registry
from store.settings import Settings

# The demo's peak of Ray, three folds and the service, with room to spare.
_MIN_MEMORY_BYTES = 6 * 1024**3
_MIN_DISK_BYTES = 2 * 1024**3
_PACKAGES = ("ray", "torch", "torchvision", "ultralytics", "mlflow", "dvc", "gradio")
# To import torch for the first time, from a slow disk.
_IMPORT_SECONDS = 90.0
# A log of millions of entries takes its time; whoever has one waits, or asks `audit verify`.
_VERIFY_SECONDS = 600.0
_REGISTRY_SECONDS = 25.0
_CONNECT_SECONDS = 8
# By words of libpq, which come in English (lc_messages is the server's, of logs).
_DATABASE_HINTS = {
    "invalid response to SSL negotiation": "Something else listens there: correct the host and the "
    "port in SECONDLOOK_DATABASE_URL.",
    "authentication failed": "Correct the user and the password in SECONDLOOK_DATABASE_URL.",
    "no password supplied": "Put the password into SECONDLOOK_DATABASE_URL.",
    "does not exist": "Make the database (createdb), or correct its name and user in "
    "SECONDLOOK_DATABASE_URL.",
    "pg_hba.conf": "The server lets nobody in from here: add this machine to its pg_hba.conf.",
}


def examine(settings: Settings) -> list[Finding]:
    """Look at the machine, the packages, the ports, the stores, and the servers and cluster that
    the settings name; raises nothing, and leaves behind what does not answer."""
    nodes = Started(node_checks(settings))  # the slowest: beside all else
    here = looked_at_once(
        [
            Check("This machine", lambda: _machine(settings)),
            Check("GPU", lambda: [Finding("GPU", _gpu())], _IMPORT_SECONDS),
            Check("Packages", _packages),
            Check("Ports", lambda: _ports(settings)),
        ]
    )
    database, *servers = looked_at_once(
        [Check("Database", lambda: [_database(settings)]), *server_checks(settings)]
    )
    down = {each.what for each in (database, *servers) if each.ok is False}
    stores = []
    if "Database" not in down:
        stores.append(Check("Audit log", lambda: _log(settings), _VERIFY_SECONDS))
    if "MLflow server" not in down:
        stores.append(Check("MLflow", lambda: _models(settings), _REGISTRY_SECONDS))
    found = looked_at_once([*stores, Check("Model keys", lambda: _model_keys(settings))])
    return [*here, database, *servers, *found, *nodes.findings()]


def _models(settings: Settings) -> list[Finding]:
    facts = serving_facts(settings)
    return [_registry(settings), *(Finding(what, found) for what, found in facts)]


def _log(settings: Settings) -> list[Finding]:
    return [_audit_log(settings), *_audit_copy(settings)]


def _machine(settings: Settings) -> list[Finding]:
    memory = psutil.virtual_memory().available
    existing = next(p for p in (settings.home, *settings.home.parents) if p.exists())
    disk = shutil.disk_usage(existing).free
    return [
        Finding("Python", sys.version.split()[0], sys.version_info[:2] == (3, 11), "Use 3.11."),
        Finding(
            "Free memory",
            f"{memory / 1024**3:.1f} GiB",
            memory >= _MIN_MEMORY_BYTES,
            "Training several folds at once needs about 6 GiB: set CPUS_PER_FOLD higher.",
        ),
        Finding(
            "Free disk",
            f"{disk / 1024**3:.1f} GiB at {existing}",
            disk >= _MIN_DISK_BYTES,
            "Free some space, or set SECONDLOOK_HOME to another disk.",
        ),
        Finding(
            "Home is writable",
            str(settings.home),
            os.access(existing, os.W_OK),
            "Set SECONDLOOK_HOME to a folder that you may write to.",
        ),
        *(
            Finding(tool, shutil.which(tool) or "missing", shutil.which(tool) is not None, hint)
            for tool, hint in (("git", "Install git: workspaces are versioned with it."),)
        ),
    ]


def _gpu() -> str:
    import torch  # seconds to import, and only this asks

    if not torch.cuda.is_available():
        return "none: training and detection run on the CPU"
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _packages() -> list[Finding]:
    findings = []
    for package in _PACKAGES:
        try:
            findings.append(Finding(package, version(package), True))
        except PackageNotFoundError:
            findings.append(Finding(package, "missing", False, "Install again: make up"))
    return findings


def _ports(settings: Settings) -> list[Finding]:
    running = find_alive(settings)
    if running is not None:
        return [Finding("Running", f"process {running.pid}: {running.ui_url}", True)]
    ports = {"SECONDLOOK_UI_PORT": settings.ui_port}
    if not settings.tracking.startswith("http"):
        ports["SECONDLOOK_MLFLOW_PORT"] = settings.mlflow_port
    if not joins(settings):
        ports["SECONDLOOK_API_PORT"] = settings.api_port
        ports["SECONDLOOK_DASHBOARD_PORT"] = settings.dashboard_port
    findings = []
    for variable, port in ports.items():
        try:
            with socket.socket() as probe:
                probe.settimeout(1)
                free = probe.connect_ex((settings.host, port)) != 0
        except (OSError, OverflowError) as error:
            hint = f"Correct SECONDLOOK_HOST, or {variable}."
            findings.append(Finding(f"Port {port}", f"{settings.host}: {error}", False, hint))
            continue
        hint = f"Stop what listens there, or set {variable} to another port."
        findings.append(Finding(f"Port {port}", "free" if free else "taken", free, hint))
    return findings


def _database(settings: Settings) -> Finding:
    where = without_password(settings.database)
    if settings.database.startswith("sqlite") and not _sqlite_exists(settings):
        return Finding("Database", f"{where}: not made yet")
    try:
        engine = open_engine(impatient(settings.database, _CONNECT_SECONDS))
        if not settings.database.startswith("sqlite"):
            listening(settings.database, "Check SECONDLOOK_DATABASE_URL, and whether it runs.")
        migrate(engine)
    except LoopError as error:
        hint = _DATABASE_HINTS.get(
            next((words for words in _DATABASE_HINTS if words in error.message), ""), error.hint
        )
        return Finding("Database", f"{where}: {error.message}", False, hint)
    return Finding("Database", f"{where}: up to date", True)


def _audit_log(settings: Settings) -> Finding:
    if settings.database.startswith("sqlite") and not _sqlite_exists(settings):
        return Finding("Audit log", "none yet")
    try:
        log = open_audit_log(settings)
        verified = log.verify()
    except LoopError as error:
        return Finding("Audit log", error.message, False, error.hint)
    found = f"{verified.size} events, verified"
    if verified.stamped.at:
        found += f"; {verified.stamped.size} stamped at {verified.stamped.at:%Y-%m-%d %H:%M}"
    if not settings.audit_witnesses:
        return Finding("Audit log", f"{found}; no witness (docs/audit-witness.md)", True)
    seen = ", ".join(f"{name} has seen {size}" for name, size in verified.seen.items())
    return Finding("Audit log", f"{found}; {seen}", True)


def _audit_copy(settings: Settings) -> list[Finding]:
    if settings.database.startswith("sqlite") and not _sqlite_exists(settings):
        return []
    try:
        lacks = open_audit_log(settings).copy_lacks()
    except LoopError as error:
        return [Finding("Audit log in the bucket", error.message, False, error.hint)]
    if lacks is None:
        return []
    found = f"{lacks} entries behind" if lacks else "up to date"
    hint = "Who has the log copies it: see to it that this process runs, and what its own log says."
    return [Finding("Audit log in the bucket", found, not lacks, hint)]


def _sqlite_exists(settings: Settings) -> bool:
    return Path(settings.database.removeprefix("sqlite:///")).exists()


def _registry(settings: Settings) -> Finding:
    embedded = Path(settings.tracking.removeprefix("sqlite:///"))
    if settings.tracking.startswith("sqlite") and not embedded.exists():
        return Finding("MLflow", f"{embedded}: not made yet")
    try:
        champion = open_model_registry(settings).find_alias("champion")
    except LoopError as error:
        return Finding("MLflow", error.message, False, error.hint)
    model = f"champion is version {champion.version}" if champion else "no champion yet"
    return Finding("MLflow", f"{without_password(settings.tracking)}: {model}", True)


def _model_keys(settings: Settings) -> list[Finding]:
    keys = open_model_keys(settings)
    try:
        own, trusted = keys.own_fingerprint(), list(keys.trusted())
    except LoopError as error:
        return [Finding("Model signing key", error.message, False, error.hint)]
    if own is None and settings.model_verify_keys:
        found = "none here: models are only verified"
    else:
        found = own or "none yet: made when the first model is registered"
    exposed = None if own is None else not keys.exposed
    return [
        Finding(
            "Model signing key",
            found,
            exposed,
            f"Other users may read it: chmod -R go= {settings.home / 'keys' / 'models'}",
        ),
        Finding("Trusted model keys", ", ".join(trusted) or "none yet"),
    ]

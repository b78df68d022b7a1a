"""What `doctor` finds on the nodes of a Ray cluster that others started."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cluster.findings import Check, Finding, no_answer
from cluster.joined_ray import joins, require_listening
from cluster.processes import end_all
from store.settings import Settings
from train.params import load_params
from train.paths import PARAMS

_ALL_SECONDS = 40.0
# What a signature, a lease or a session is spoiled by; NTP keeps machines within milliseconds.
_CLOCK_SECONDS = 2.0
_PACKAGES = ("second-look", "ray", "torch", "ultralytics")
_INSTALL = "Install the same on each node: best one image (Dockerfile), else constraints.txt."
_ELSEWHERE = "Its nodes were not looked at: run secondlook doctor on one of them."

Node = Mapping[str, Any]


def node_checks(settings: Settings) -> list[Check]:
    """None where Ray is Second Look's own."""
    if not joins(settings):
        return []
    return [Check("Ray cluster", lambda: cluster(settings), _ALL_SECONDS + 2)]


def cluster(settings: Settings) -> list[Finding]:
    """Joins the cluster from a process of its own. Raises `Unavailable`."""
    address = settings.ray_address
    if "://" in address and not address.startswith("ray://"):
        return [
            Finding(
                "Ray cluster",
                "RAY_ADDRESS is an address of the dashboard: its nodes were not looked at",
                None,
            )
        ]
    if address != "auto":
        require_listening(address.removeprefix("ray://"))
    answer = _gathered(address, shared_settings(settings))
    if answer is None:
        return [no_answer("Ray cluster", _ALL_SECONDS)]
    if "elsewhere" in answer:
        return [Finding("Ray cluster", f"{answer['elsewhere']} {_ELSEWHERE}", None)]
    if "error" in answer:
        return [not_joined(str(answer["error"]))]
    return findings(answer["nodes"], wants_gpus=_wants_gpus(settings))


def shared_settings(settings: Settings) -> dict[str, str]:
    """What must be the same on each node, by the variable's name."""
    return {
        "SECONDLOOK_DATABASE_URL": settings.database,
        "SECONDLOOK_STORAGE_URL": settings.storage_url,
        "MLFLOW_TRACKING_URI": settings.tracking,
    }


def not_joined(error: str) -> Finding:
    """Ray's own words, and what to do about them."""
    line = next((each for each in error.splitlines() if each.strip()), error)[:300]
    hint = "Ray's log on the head says more: /tmp/ray/session_latest/logs/gcs_server.out."
    lower = error.lower()
    if "version mismatch" in lower:
        line = " ".join(each.strip() for each in error.splitlines())[:400]
        hint = (
            "Python and Ray must be the same here and there. "
            f"{_INSTALL} Or hand in trainings over the dashboard, where they run on the cluster's "
            "own: secondlook jobs submit."
        )
    elif "token" in lower or "unauthenticated" in lower or "auth" in lower:
        hint = (
            "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token of "
            "that cluster."
        )
    return Finding("Ray cluster", f"cannot be joined: {line}", False, hint)


def findings(nodes: Sequence[Node], *, wants_gpus: bool) -> list[Finding]:
    """Of what `cluster.node_facts` has found."""
    told = [node for node in nodes if "error" not in node]
    return [
        *_size(nodes, wants_gpus=wants_gpus),
        *_silent(nodes),
        *_versions(told),
        *_settings(told),
        *_reach(told),
        *_clocks(told),
        *_proxy(told),
    ]


def _size(nodes: Sequence[Node], *, wants_gpus: bool) -> list[Finding]:
    cpus, gpus = (sum(node[kind] for node in nodes) for kind in ("cpus", "gpus"))
    many = f"{len(nodes)} {'node' if len(nodes) == 1 else 'nodes'}, {cpus:g} CPUs, {gpus:g} GPUs"
    if wants_gpus and not gpus:
        return [
            Finding(
                "Ray cluster",
                f"{many}; GPUS_PER_FOLD asks for GPUs",
                False,
                "Unless an autoscaler brings nodes with GPUs, folds wait for ever: add such a node "
                "or train with -S GPUS_PER_FOLD=0.",
            )
        ]
    return [Finding("Ray cluster", many if gpus else f"{many}: training runs on CPUs", True)]


def _silent(nodes: Sequence[Node]) -> list[Finding]:
    hint = f"Look at it in Ray's dashboard. It may have another Python or no Ray: {_INSTALL}"
    return [
        Finding(f"Node {_name(node)}", f"does not answer: {node['error']}", False, hint)
        for node in nodes
        if "error" in node
    ]


def _versions(nodes: Sequence[Node]) -> list[Finding]:
    here = {"Python": platform.python_version()} | {each: _version(each) for each in _PACKAGES}
    found = []
    for node in nodes:
        there = {"Python": node["python"]} | dict(node["packages"])
        wrong = [
            f"{name} {value} (here {here[name]})"
            for name, value in there.items()
            if not _fits(name, value, here[name])
        ]
        if wrong:
            found.append(Finding(f"Node {_name(node)}", ", ".join(wrong), False, _INSTALL))
    if nodes and not found:
        same = ", ".join(f"{name} {value}" for name, value in here.items())
        found.append(Finding("Versions on the nodes", f"as here: {same}", True))
    return found


def _fits(name: str, there: str, here: str) -> bool:
    if name == "Python":  # Ray takes the third number for no difference
        return there.split(".")[:2] == here.split(".")[:2]
    # CPU and CUDA builds of torch differ behind the plus sign.
    return there.split("+")[0] == here.split("+")[0]


def _settings(nodes: Sequence[Node]) -> list[Finding]:
    found = []
    for node in nodes:
        other = [name for name, how in node["settings"].items() if how == "different"]
        if other:
            found.append(
                Finding(
                    f"Node {_name(node)}",
                    f"{', '.join(other)} differs from here",
                    False,
                    "All parts must share them: start Ray there again with the values of here.",
                )
            )
    homeless = [_name(node) for node in nodes if not node["home"]]
    if homeless:
        found.append(
            Finding(
                "SECONDLOOK_HOME",
                f"not set on {', '.join(homeless)}: they write to ./var of where Ray was started",
                None,
            )
        )
    return found


def _reach(nodes: Sequence[Node]) -> list[Finding]:
    hint = "Open the way from that node: firewall, name, credentials in the environment of Ray."
    return [
        Finding(f"Node {_name(node)}", f"cannot use {name}: {error}", False, hint)
        for node in nodes
        for name, error in node["reached"].items()
        if error
    ]


def _clocks(nodes: Sequence[Node]) -> list[Finding]:
    return [
        Finding(
            f"Node {_name(node)}",
            f"its clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this one",
            False,
            "Start NTP (chrony, systemd-timesyncd): leases and records go by the clock.",
        )
        for node in nodes
        if (ahead := node.get("clock_seconds")) is not None and abs(ahead) > _CLOCK_SECONDS
    ]


def _proxy(nodes: Sequence[Node]) -> list[Finding]:
    head = next((node for node in nodes if node["head"]), None)
    if head is None:
        return []
    without = [_name(node) for node in nodes if node["haproxy"] != head["haproxy"]]
    if without:
        return [
            Finding(
                "HTTP proxy",
                f"{'not ' if head['haproxy'] else ''}HAProxy on {', '.join(without)}, unlike the "
                "head",
                False,
                'Start all nodes alike: eval "$(secondlook cluster env)" before `ray start`.',
            )
        ]
    if head["haproxy"]:
        return [Finding("HTTP proxy", "HAProxy", True)]
    return [
        Finding(
            "HTTP proxy",
            "Serve's own: a request whose replica dies fails, and more time goes into each. For "
            'HAProxy: eval "$(secondlook cluster env)" before `ray start`',
        )
    ]


def _gathered(address: str, shared: Mapping[str, str]) -> Mapping[str, Any] | None:
    """None if it took too long."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster.node_facts"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
    )
    try:
        asked = json.dumps({"address": address, "shared": dict(shared)})
        output, errors = process.communicate(asked, timeout=_ALL_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        end_all([process.pid])
        process.wait()
    lines = output.strip().splitlines() or errors.strip().splitlines()[-1:]
    try:
        answer: Mapping[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):  # Ray has ended it
        return {"error": lines[-1] if lines else f"ended with {process.returncode}"}
    return answer


def _wants_gpus(settings: Settings) -> bool:
    """As the workspace says that the app would train in."""
    for folder in (settings.workspace, settings.home / "workspace", Path.cwd()):
        if folder is not None and (folder / PARAMS).is_file():
            return load_params(folder / PARAMS).GPUS_PER_FOLD > 0
    return False


def _name(node: Node) -> str:
    return f"{node.get('host', node['ip'])} ({node['id'][:8]})"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"

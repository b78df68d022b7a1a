"""Stands in for HAProxy: makes Ray's configuration keep to this machine, then becomes HAProxy.

Ray renders the configuration anew for every reload and has no setting for what is changed here.
Run as a program of its own, with nothing but the standard library:
``haproxy_exec.py REAL_BINARY ARGUMENTS OF HAPROXY``.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

# Our API's errors, for when no replica could be asked at all.
_NO_REPLICA = (
    "HTTP/1.0 503 Service Unavailable\r\n"
    "Cache-Control: no-cache\r\nConnection: close\r\nRetry-After: 5\r\n"
    "Content-Type: application/json\r\n\r\n"
    '{"error": {"code": "unavailable", "message": "No replica answers.", '
    '"hint": "One that crashed is started again; secondlook status shows what runs."}}'
)

# A buffer is taken and given back for every request: by default the kernel makes and clears its
# pages each time, which takes longer than all that HAProxy does with it.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}


def keep_local(config: str, folder: Path) -> str:
    """``config`` with its statistics on sockets in ``folder`` instead of ports on all interfaces,
    with every request read before a replica is asked (only then can it be sent to another one),
    and with an error that our clients can read.
    """
    # Not the API's own port, which Ray renders in the same way where the host is every interface.
    others = r"(?m)(?<!^frontend http_frontend\n)^([ \t]*)bind \*?:\d+$"
    config = re.sub(others, rf"\1bind unix@{folder}/stats-PLACE.sock", config)
    for place in range(config.count("PLACE")):
        config = config.replace("PLACE", str(place), 1)
    config = config.replace(" mode 666 level admin", " mode 600 level admin")
    config = re.sub(r"(?m)^(\s*errorfile 50[24]) .*$\n", "", config)
    config = re.sub(r"(?m)^(\s*errorfile 503) .*$", rf"\1 {folder}/503.http", config)
    return re.sub(r"(?m)^defaults$", "defaults\n    option http-buffer-request", config, count=1)


def main(binary: str, arguments: list[str]) -> None:
    at = arguments.index("-f") + 1
    rendered = Path(arguments[at])
    folder = rendered.parent
    (folder / "503.http").write_text(_NO_REPLICA, encoding="ascii", newline="")
    # Beside the original and named after it: Ray knows its own processes by that path.
    ours = Path(f"{rendered}.local")
    ours.write_text(keep_local(rendered.read_text(encoding="utf-8"), folder), encoding="utf-8")
    arguments[at] = str(ours)
    os.execve(binary, [binary, *arguments], os.environ | _KEEP_MEMORY)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

"""What ``secondlook audit verify`` says of timestamps."""

from __future__ import annotations

from cluster.console import out
from store.log_verify import Stamped


def tell(stamped: Stamped) -> None:
    if stamped.at is not None:
        out.print(
            f"Timestamps: {stamped.count}, all good. By the newest, the first {stamped.size} "
            f"entries were there at {stamped.at.isoformat()}.",
            highlight=False,
        )
    elif stamped.count:
        out.print(
            f"Timestamps: {stamped.count}, not checked: give the authority's root certificate "
            "with --tsa-roots.",
            style="dim",
            highlight=False,
        )


def as_dict(stamped: Stamped) -> dict[str, object]:
    if stamped.at is None:
        return {"count": stamped.count, "checked": False}
    newest = {"size": stamped.size, "at": stamped.at.isoformat()}
    return {"count": stamped.count, "checked": True, "newest": newest}

"""``secondlook models sign`` and ``verify``: the signatures of registered models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cluster import registering
from cluster.console import out, print_json, progress
from cluster.context import JsonOption, engineer, settings_of, settings_to_read
from store.model_keys import read_verify_key
from store.model_registry import ModelRegistry, ModelVersion, open_model_registry
from store.unit_of_work import open_units_of_work

_VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="A version or an alias, such as candidate.")
]


def add_to(group: typer.Typer) -> None:
    group.command("verify")(verify)
    group.command("sign")(sign)


def verify(
    context: typer.Context,
    version: _VersionArgument = "champion",
    key: Annotated[
        Path | None, typer.Option(help="Trust this public key (PEM) alone, not those set here.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check what MLflow has of a version: every file's digest, and the signature over them.

    Exit code 1 and the reason if anything is wrong. Nothing is loaded or asked of other servers.
    """
    registry = open_model_registry(settings_to_read(context))
    trusted = read_verify_key(key) if key else None
    ref = registry.resolve(version)
    with progress("Checking the files of the model"):
        signed = registry.verify(ref, trusted)
    if json:
        print_json(
            {
                **ref.as_dict(),
                "signature": {"key": signed.key, "sha256": signed.sha256},
                "files": dict(signed.files),
            }
        )
    else:
        out.print(
            f"{ref.name} version {ref.version} is as it was signed: {len(signed.files)} files, "
            f"key {signed.key}."
        )


def sign(context: typer.Context, version: _VersionArgument, json: JsonOption = False) -> None:
    """Sign a version that has no signature, or one by an earlier key, if its digests are right."""
    settings = settings_of(context)
    registry = open_model_registry(settings)
    ref = registry.resolve(version)
    with progress("Checking and signing the files of the model"):
        note = registering.sign(
            open_units_of_work(settings), registry, ref, actor=engineer(settings)
        )
    if json:
        print_json({**ref.as_dict(), "signature": note.as_dict()})
    else:
        out.print(f"{ref.name} version {ref.version} is signed with the key {note.key}.")


def state(registry: ModelRegistry, version: ModelVersion) -> dict[str, Any]:
    """What the registry says of a signature; only `verify` looks at the files."""
    note = version.signature
    if note is None:
        return {"state": "unsigned", "hint": f"secondlook models sign {version.ref.version}"}
    trusted = registry.trusts(note.key)
    return {"state": "signed" if trusted else "signed by a key not trusted here", **note.as_dict()}

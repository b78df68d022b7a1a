"""Point 2(h) of the technical documentation: the cybersecurity measures that are on record."""

from __future__ import annotations

from loop.techfile import Evidence, Gap, Item, Section, Source, Statement, Table
from loop.techfile_records import Records, day, events_of, number

_SIGN_IN = (
    "SECONDLOOK_PASSWORD_SIGN_IN",
    "SECONDLOOK_OIDC_ISSUER",
    "SECONDLOOK_SIGN_IN_ATTEMPTS",
    "SECONDLOOK_LOCKOUT_MINUTES",
    "SECONDLOOK_SESSION_IDLE_HOURS",
    "SECONDLOOK_SESSION_DAYS",
    "SECONDLOOK_HOST",
    "SECONDLOOK_API_OPEN_ON_LOOPBACK",
    "SECONDLOOK_AUDIT_WITNESSES",
)


def security(records: Records) -> Section:
    return Section(
        "2(h)",
        "Cybersecurity",
        "The cybersecurity measures that are put in place.",
        (
            _signature(records),
            *_sign_in(records),
            _keys(records),
            *_log(records),
            Statement(
                "Uploads are read from an allow-list of image types, with limits on bytes and "
                "pixels, and written anew. A model's files are copied and their digests checked "
                "before they are opened.",
                records.software_evidence,
            ),
            *records.operator.of_point("2(h)"),
        ),
    )


def _signature(records: Records) -> Item:
    version = records.version
    if not version.signature:
        return Gap(
            "a signature of the model's files",
            f"secondlook models sign {version.ref.version} makes one.",
        )
    trusted = (
        "signatures by it are accepted here"
        if version.trusted
        else "signatures by it are NOT accepted here"
    )
    return Statement(
        f"All files of the version are signed (OpenSSF Model Signing 1.0) by the key "
        f"{version.key}; {trusted}. The signature is checked each time the version is fetched.",
        (
            *records.registered_evidence,
            Evidence(Source.FILE, version.signature, "the version's signature, model.sig"),
        ),
    )


def _sign_in(records: Records) -> tuple[Item, ...]:
    settings = records.doors.settings
    rows = tuple((name, settings[name] or "(empty)") for name in _SIGN_IN if name in settings)
    sessions = records.of_types("session.started")[-1:]
    refused = records.of_types("session.refused", "account.locked")[-1:]
    evidence = records.setting_evidence(*(name for name, _ in rows))
    if not rows:
        return (Gap("how people sign in", "The settings of this home were not read."),)
    return (
        Statement(
            "People sign in with a password (kept as an Argon2 hash) or at an OpenID Connect "
            "provider; too many failures lock an account, and each sign-in and each refusal is an "
            "event.",
            (*records.software_evidence, *events_of([*sessions, *refused])),
        ),
        Table(
            "Settings of sign-in, network and witnesses of the log",
            ("setting", "value"),
            rows,
            evidence,
        ),
    )


def _keys(records: Records) -> Item:
    scopes, made = records.doors.scopes, records.of_types("api_key.created")[-1:]
    if not scopes:
        return Statement("No program has an API key that is in use.", records.database_evidence)
    counts = ", ".join(f"{scope}: {number(count)}" for scope, count in sorted(scopes.items()))
    return Statement(
        f"Programs need an API key, which is kept as a hash and has scopes. Keys in use, by "
        f"scope: {counts}.",
        (*records.database_evidence, *events_of(made)),
    )


def _log(records: Records) -> tuple[Item, ...]:
    log = records.log
    if log is None or not records.events:
        return (Gap("an audit log", "It has no entry yet: whatever changes state adds one."),)
    there = Statement(
        f"Every change of state is an event in a transparency log (RFC 6962 Merkle tree, C2SP "
        f"tlog-tiles), {log.origin}, which had {number(log.size)} entries under the root "
        f"{log.root} when this was made. Each event that is cited here lies in evidence/ with a "
        "proof that it is in that log.",
        (records.events[-1].evidence,),
    )
    return (there, _verified(records))


def _verified(records: Records) -> Item:
    found = records.of_types("audit.verified")
    if not found:
        return Gap("that anyone verified the audit log", "secondlook audit verify does.")
    last = found[-1]
    return Statement(
        f"The log was last verified on {day(last.event.at)} by {last.event.actor.pseudonym}, with "
        f"the outcome: {last.event.outcome.value}.",
        (last.evidence,),
    )

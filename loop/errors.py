"""Every error that Second Look raises on purpose.

    LoopError
    ├── InvalidInput            what the caller sent cannot be used (HTTP 400/422)
    │   ├── InvalidBox          a box without area, not finite or outside its image
    │   ├── InvalidImage        not an image, truncated, of an unsupported type
    │   ├── TooLarge            more bytes or pixels than allowed (HTTP 413)
    │   ├── InvalidAnswer       a correction that does not account for every detection
    │   └── InvalidDataset      a file or folder to import that cannot be read
    ├── NotFound                no such image, case, model, snapshot (HTTP 404)
    ├── Conflict                the state moved on or forbids the change (HTTP 409)
    │   ├── OwnCase             a second review of one's own first answer
    │   ├── CaseDone            the case has this answer already, or is settled
    │   ├── HeldByOther         another person works on the case
    │   ├── HeldElsewhere       the same person does, in another tab
    │   └── StaleLease          the lease on the case was lost in the meantime
    ├── NotSignedIn             nobody is signed in, or not any more (HTTP 401)
    │   └── SignInRefused       whoever wants to sign in is not let in (HTTP 401)
    ├── InvalidKey              no API key, or one that is not accepted (HTTP 401)
    ├── NotAllowed              the actor's role does not permit it (HTTP 403)
    ├── RateLimited             more requests than the API key is good for (HTTP 429)
    ├── NoModel                 no model is in service yet (HTTP 503)
    ├── Stopped                 a person took the model out of service (HTTP 503)
    ├── Unavailable             a part that is needed does not answer (HTTP 503)
    ├── NotEnoughData           too few images, subjects or examples to go on
    ├── TrainingFailed          a fold or a training run ended without a usable model
    ├── TrainingStopped         whoever watches a training run had it ended early
    ├── BrokenRecord            stored data or a log does not match its digest
    └── Misconfigured           a setting, a workspace or an installation is wrong

A ``LoopError`` carries a stable ``code``, a message that says what is wrong and a ``hint`` that
says what to do. The CLI and the HTTP API each catch it in one place.
"""

from __future__ import annotations

from typing import ClassVar


class LoopError(Exception):
    """Base of the tree. ``message`` says what is wrong, ``hint`` what the user can do about it."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    # Whoever put a failure on record says so here: nobody who passes it on does it again.
    recorded = False

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail_code = code or self.code

    def as_dict(self) -> dict[str, str]:
        """The body that the HTTP API and ``--json`` show: ``code``, ``message``, ``hint``."""
        return {"code": self.detail_code, "message": self.message, "hint": self.hint}

    def __reduce__(self) -> tuple[object, ...]:
        # Ray pickles exceptions across processes; keyword-only arguments need this.
        return (_rebuild, (type(self), self.message, self.hint, self.detail_code))


def _rebuild(kind: type[LoopError], message: str, hint: str, code: str) -> LoopError:
    return kind(message, hint=hint, code=code)


class InvalidInput(LoopError):
    code = "invalid_input"
    http_status = 422


class InvalidBox(InvalidInput):
    code = "invalid_box"


class InvalidImage(InvalidInput):
    code = "invalid_image"
    http_status = 415


class TooLarge(InvalidInput):
    code = "too_large"
    http_status = 413


class InvalidAnswer(InvalidInput):
    code = "invalid_answer"


class InvalidDataset(InvalidInput):
    code = "invalid_dataset"


class NotFound(LoopError):
    code = "not_found"
    http_status = 404


class Conflict(LoopError):
    code = "conflict"
    http_status = 409


class OwnCase(Conflict):
    code = "own_case"


class NotSignedIn(LoopError):
    code = "not_signed_in"
    http_status = 401


class SignInRefused(NotSignedIn):
    code = "sign_in_refused"


class CaseDone(Conflict):
    code = "case_done"


class HeldByOther(Conflict):
    code = "held_by_other"


class HeldElsewhere(Conflict):
    code = "held_elsewhere"


class StaleLease(Conflict):
    code = "stale_lease"


class NotAllowed(LoopError):
    code = "not_allowed"
    http_status = 403


class InvalidKey(LoopError):
    code = "invalid_key"
    http_status = 401


class RateLimited(LoopError):
    """Whoever raises it says when to try again."""

    code = "rate_limited"
    http_status = 429
    retry_after_seconds = 1.0


class NoModel(LoopError):
    code = "no_model"
    http_status = 503


class Stopped(LoopError):
    """Whoever raises it says how it is lifted. It lasts until a person does so."""

    code = "stopped"
    http_status = 503
    retry_after_seconds = 60.0


class Unavailable(LoopError):
    code = "unavailable"
    http_status = 503


class NotEnoughData(LoopError):
    code = "not_enough_data"
    http_status = 422


class TrainingFailed(LoopError):
    code = "training_failed"


class TrainingStopped(LoopError):
    code = "training_stopped"


class BrokenRecord(LoopError):
    code = "broken_record"


class Misconfigured(LoopError):
    code = "misconfigured"

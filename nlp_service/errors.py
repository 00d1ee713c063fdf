"""The errors a caller can meet: one shape, a closed list of kinds.

Every message names the value, the limit and the next step, and never quotes a petition: petitions are personal data.
"""

from enum import StrEnum
from typing import Any


class ErrorKind(StrEnum):
    """What went wrong, stable for programs. Each kind has one HTTP status (see `HTTP_STATUS`)."""

    INVALID_REQUEST = "invalid_request"
    EMPTY_TEXT = "empty_text"
    TEXT_TOO_LONG = "text_too_long"
    BODY_TOO_LARGE = "body_too_large"
    BATCH_TOO_LARGE = "batch_too_large"
    QUEUE_FULL = "queue_full"
    SHUTTING_DOWN = "shutting_down"
    RATE_LIMITED = "rate_limited"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    CONFLICT = "conflict"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INVALID_MODEL = "invalid_model"
    INVALID_TAXONOMY = "invalid_taxonomy"
    INVALID_RULES = "invalid_rules"
    INVALID_STORE = "invalid_store"
    INVALID_FILE = "invalid_file"
    MISSING_EXTRA = "missing_extra"
    CLASSIFICATION_FAILED = "classification_failed"
    INTERNAL = "internal"


HTTP_STATUS: dict[ErrorKind, int] = {
    ErrorKind.INVALID_REQUEST: 422,
    ErrorKind.EMPTY_TEXT: 422,
    ErrorKind.TEXT_TOO_LONG: 413,
    ErrorKind.BODY_TOO_LARGE: 413,
    ErrorKind.BATCH_TOO_LARGE: 413,
    ErrorKind.QUEUE_FULL: 429,
    ErrorKind.SHUTTING_DOWN: 503,
    ErrorKind.RATE_LIMITED: 429,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.FORBIDDEN: 403,
    ErrorKind.CONFLICT: 409,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.METHOD_NOT_ALLOWED: 405,
    ErrorKind.INVALID_MODEL: 500,
    ErrorKind.INVALID_TAXONOMY: 500,
    ErrorKind.INVALID_RULES: 500,
    ErrorKind.INVALID_STORE: 503,
    ErrorKind.INVALID_FILE: 422,
    ErrorKind.MISSING_EXTRA: 501,
    ErrorKind.CLASSIFICATION_FAILED: 500,
    ErrorKind.INTERNAL: 500,
}


class PetitionError(Exception):
    """Something the caller can act on.

    Attributes:
        kind: from the closed list above.
        message: one sentence for a person: value, limit, next step.
        detail: the same facts for a program.
    """

    def __init__(self, kind: ErrorKind, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call __init__ with the message alone; worker processes send errors back whole.
        return _rebuild, (self.kind, self.message, self.detail)

    @property
    def http_status(self) -> int:
        """The status of this kind over HTTP."""
        return HTTP_STATUS[self.kind]

    def as_dict(self) -> dict[str, Any]:
        """The one error shape: `{"error": {"kind", "message", "detail"}}`."""
        return {"error": {"kind": self.kind.value, "message": self.message, "detail": self.detail}}


def _rebuild(kind: ErrorKind, message: str, detail: dict[str, Any]) -> PetitionError:
    return PetitionError(kind, message, **detail)

"""Errors as ``application/problem+json`` (RFC 9457): one line that says what is wrong, and a hint what to do."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from spyglass.errors import (
    BadDataError,
    NoMatch,
    PermissionDenied,
    ProcessChanged,
    ProcessNotFound,
    SpyglassError,
)
from spyglass.escape import visible

__all__ = ["Refusal", "log", "problem", "problem_of"]

_MEDIA_TYPE = "application/problem+json"
#: The status of each kind of error; a more special kind comes first.
_STATUSES: tuple[tuple[type[SpyglassError], int], ...] = (
    (NoMatch, 404),
    (ProcessNotFound, 404),
    (ProcessChanged, 410),
    (PermissionDenied, 403),
    (BadDataError, 502),
    (SpyglassError, 422),
)


class Refusal(Exception):
    """An answer that is a problem: an HTTP `status`, one line, a hint, and headers."""

    def __init__(
        self,
        status: int,
        message: str,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.hint = status, message, hint
        self.headers = headers


def problem(refusal: Refusal) -> JSONResponse:
    """The response for `refusal`. What a target wrote is in it without control characters."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": visible(refusal.message),
    }
    if refusal.hint:
        content["hint"] = visible(refusal.hint)
    return JSONResponse(content, refusal.status, refusal.headers, _MEDIA_TYPE)


def problem_of(error: Exception) -> JSONResponse:
    """The response for any error. One that is not meant says nothing of itself to the client, but to the log."""
    if isinstance(error, Refusal):
        return problem(error)
    if isinstance(error, SpyglassError):
        status = next(status for kind, status in _STATUSES if isinstance(error, kind))
        return problem(Refusal(status, error.message, error.hint))
    log(error)
    return problem(Refusal(500, "internal error", "the log of spyglass serve says more"))


def log(error: Exception) -> None:
    """Print an error that is not meant, with its traceback, to standard error."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        print(visible(line), file=sys.stderr)

"""What goes wrong, in the documented shape: a status, a code, and a sentence with the cause and the next step."""

from __future__ import annotations

from typing import Any

from remuda.ports.identity import Denied, ProviderDown
from remuda.ports.keyring import Busy
from remuda.ports.store import Conflict, Duplicate, StoreError, Unavailable
from remuda.schema.validate import Invalid

_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Request too large",
    415: "Unsupported media type",
    422: "Unprocessable Entity",
    429: "Too many requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class ApiError(Exception):
    """A refusal on its way to the client."""

    def __init__(self, status: int, code: str = "", message: str = "", *, field: str = "", detail: str = "") -> None:
        super().__init__(message or code)
        self.status, self.code, self.field, self.detail = (
            status,
            code or _TITLES.get(status, str(status)),
            field,
            detail,
        )
        self.message = message or self.code

    def document(self, request_id: str) -> dict[str, Any]:
        """The error as clients get it."""
        return {
            "id": request_id,
            "type": "error",
            "links": {},
            "actions": {},
            "status": self.status,
            "code": self.code,
            "message": self.message,
            "detail": self.detail or None,
            "fieldName": self.field or None,
        }


def not_found(what: str = "") -> ApiError:
    """404; also for what the caller may not see."""
    return ApiError(404, "Not Found", f"There is no {what} here, or you may not see it." if what else "")


def translate(problem: Exception) -> ApiError | None:
    """The API's word for an exception of the rooms below, or None when it is a bug."""
    if isinstance(problem, ApiError):
        return problem
    if isinstance(problem, Invalid):
        return ApiError(problem.status, problem.code, problem.message, field=problem.field)
    if isinstance(problem, Conflict):
        return ApiError(409, "Conflict", "It was changed by somebody else in the meantime. Read it again and repeat.")
    if isinstance(problem, Duplicate):
        names = ", ".join(problem.fields)
        return ApiError(422, "NotUnique", f"'{names or 'a value'}' is already taken.", field=names)
    if isinstance(problem, Unavailable):
        return ApiError(503, "DatabaseUnavailable", str(problem))
    if isinstance(problem, Busy):
        return ApiError(503, "Busy", str(problem))
    if isinstance(problem, Denied):
        return ApiError(401, "Unauthorized", str(problem))
    if isinstance(problem, ProviderDown):
        return ApiError(503, "ProviderUnavailable", str(problem))
    if type(problem) is StoreError:
        return ApiError(422, "InvalidFormat", f"{problem}.")
    return None

"""Errors of Google's JSON APIs: code, message, status, ErrorInfo."""

from __future__ import annotations

import json
import time
from typing import Any

from .errors import REALM
from .wire import Response

_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"

_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED",
           403: "PERMISSION_DENIED", 404: "NOT_FOUND",
           429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}

UNAUTHENTICATED = (
    "Request had invalid authentication credentials. Expected OAuth 2 access "
    "token, login cookie or other valid authentication credential. See "
    "https://developers.google.com/identity/sign-in/web/devconsole-project.")
MISSING = (
    "Request is missing required authentication credential. Expected OAuth 2 "
    "access token, login cookie or other valid authentication credential. See "
    "https://developers.google.com/identity/sign-in/web/devconsole-project.")


def api_answer(status: int, members: dict[str, Any],
               headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """What a Google API sends: indented JSON in chunks."""
    return Response(
        status,
        [("Content-Type", "application/json; charset=UTF-8"),
         ("Vary", "Origin"), ("Vary", "X-Origin"), ("Vary", "Referer"),
         ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
         ("Server", "ESF"), ("Cache-Control", "private"),
         ("X-XSS-Protection", "0"), ("X-Frame-Options", "SAMEORIGIN"),
         ("X-Content-Type-Options", "nosniff"), *headers],
        (json.dumps(members, indent=2) + "\n").encode(), chunked=True)


class ApiError(Exception):

    def __init__(self, code: int, message: str, *, status: str | None = None,
                 details: list[dict[str, Any]] | None = None,
                 headers: tuple[tuple[str, str], ...] = ()):
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or _STATUS[code]
        self.details = details
        self.headers = headers

    def response(self) -> Response:
        error: dict[str, Any] = {"code": self.code, "message": self.message,
                                 "status": self.status}
        if self.details:
            error["details"] = self.details
        return api_answer(self.code, {"error": error}, self.headers)


def info(reason: str, domain: str = "googleapis.com",
         **metadata: str) -> dict[str, Any]:
    detail: dict[str, Any] = {"@type": _INFO, "reason": reason,
                              "domain": domain}
    if metadata:
        detail["metadata"] = metadata
    return detail


def unauthenticated(reason: str | None, service: str, method: str) \
        -> ApiError:
    """401; no reason: the bearer is not a token at all."""
    missing = reason == "CREDENTIALS_MISSING"
    error = "" if missing else ', error="invalid_token"'
    details = [info(reason, service=service, method=method)] if reason else []
    return ApiError(
        401, MISSING if missing else UNAUTHENTICATED, details=details,
        headers=(("WWW-Authenticate", REALM + error),))


def scope_insufficient(service: str, method: str) -> ApiError:
    return ApiError(
        403, "Request had insufficient authentication scopes.",
        details=[info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", service=service,
                      method=method)],
        headers=(("WWW-Authenticate", REALM + ', error="insufficient_scope", '
                  'scope="https://www.googleapis.com/auth/iam '
                  'https://www.googleapis.com/auth/cloud-platform"'),))


def service_disabled(title: str, service: str, number: str) -> ApiError:
    url = (f"https://console.developers.google.com/apis/api/{service}"
           f"/overview?project={number}")
    return ApiError(
        403, f"{title} has not been used in project {number} before or it is "
        f"disabled. Enable it by visiting {url} then retry. If you enabled "
        "this API recently, wait a few minutes for the action to propagate "
        "to our systems and retry.",
        details=[info("SERVICE_DISABLED", service=service,
                      consumer=f"projects/{number}", serviceTitle=title,
                      containerInfo=number, activationUrl=url)])


def permission_denied(permission: str) -> ApiError:
    return ApiError(
        403, f"Permission '{permission}' denied on resource (or it may not "
        "exist).", details=[info("IAM_PERMISSION_DENIED", "iam.googleapis.com",
                                 permission=permission)])


def invalid_field(field: str, what: str) -> ApiError:
    return ApiError(
        400, "Request contains an invalid argument.",
        details=[{"@type": _BAD_REQUEST, "fieldViolations": [
            {"field": field, "description": what}]}])


def invalid_payload(what: str) -> ApiError:
    message = "Invalid JSON payload received. " + what
    return ApiError(400, message, details=[
        {"@type": _BAD_REQUEST,
         "fieldViolations": [{"description": message}]}])

"""Form-encoded token requests, and OAuth's answers to them."""

from __future__ import annotations

import base64
import binascii
import json
import time
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from .service import Context
from .wire import Response

FORM = "application/x-www-form-urlencoded"


class Refusal(Exception):

    def __init__(self, error: str, description: str, status: int = 400,
                 uri: str | None = None):
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status
        self.uri = uri

    def response(self, context: Context) -> Response:
        context.record["credential"] = "refused: " + self.description
        members = {"error": self.error,
                   "error_description": self.description}
        if self.uri is not None:
            members["error_uri"] = self.uri
        return answer(self.status, members)


def answer(status: int, members: dict[str, Any]) -> Response:
    return Response(
        status,
        [("Expires", "Mon, 01 Jan 1990 00:00:00 GMT"),
         ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
         ("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate"),
         ("Pragma", "no-cache"),
         ("Content-Type", "application/json; charset=utf-8"),
         ("Vary", "Origin"), ("Vary", "X-Origin"), ("Vary", "Referer"),
         ("Server", "scaffolding on HTTPServer2"),
         ("X-XSS-Protection", "0"), ("X-Frame-Options", "SAMEORIGIN"),
         ("X-Content-Type-Options", "nosniff")],
        json.dumps(members).encode(), chunked=True)


def read_form(context: Context) -> dict[str, str]:
    """The fields, each of them once; kept in the record as they came."""
    request = context.request
    content_type = (request.get("content-type") or "").lower()
    if content_type.partition(";")[0].strip() != FORM:
        raise Refusal("invalid_request",
                      "Missing required parameter: grant_type")

    try:
        pairs = parse_qsl(request.body.decode("ascii"), True,
                          strict_parsing=True, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise Refusal("invalid_request", "Bad Request") from None

    form = dict(pairs)
    context.record["form"] = form
    if len(form) != len(pairs):
        raise Refusal("invalid_request", "Parameter specified multiple times")
    return form


def check_fields(context: Context, form: dict[str, str], required: set[str],
                 optional: frozenset[str] = frozenset()) -> None:
    if not required <= set(form) <= required | optional:
        context.violate("unexpected token request parameters: "
                        + " ".join(sorted(form)))
    for name in sorted(required):
        if name not in form:
            raise Refusal("invalid_request",
                          f"Missing required parameter: {name}")


def basic_credentials(context: Context) -> tuple[str, str] | None:
    """Client ID and secret of HTTP Basic (RFC 6749, 2.3.1)."""
    value = context.request.get("authorization")
    if value is None:
        return None
    scheme, _, encoded = value.partition(" ")
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    if scheme != "Basic" or ":" not in text:
        raise Refusal("invalid_client", "Invalid client authentication "
                      "header.", 401)
    client, _, secret = text.partition(":")
    return unquote_plus(client), unquote_plus(secret)


def token_answer(context: Context, members: dict[str, Any],
                 lifetime: float) -> Response:
    """A token answer with its lifetime, as the settings or a fault say."""
    told = context.app.config.token_expires_in
    members["expires_in"] = int(lifetime) if told is None else told
    if context.fault is not None and context.fault.token:
        members.update(context.fault.token)
        members = {k: v for k, v in members.items() if v is not None}
    context.record["credential"] = "ok"
    return answer(200, members)


def lifetime_of(context: Context) -> float:
    """What a token given out now lives."""
    fault = context.fault
    if fault is not None and fault.token_lifetime is not None:
        return fault.token_lifetime
    return context.app.config.token_lifetime

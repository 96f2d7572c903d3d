"""Errors in the shapes of Google's services."""

from __future__ import annotations

import json
import secrets
import time
from email.utils import formatdate
from xml.sax.saxutils import escape

from .wire import Response

REALM = 'Bearer realm="https://accounts.google.com/"'

_MESSAGES = {
    "AccessDenied": "Access denied.",
    "AuthenticationRequired": "Authentication required.",
    "BadDigest": "The MD5 you specified did not match what we received.",
    "InternalError": "We encountered an internal error. Please try again.",
    "InvalidArgument": "Invalid argument.",
    "InvalidBucketName": "The specified bucket is not valid.",
    "InvalidRange": "The requested range cannot be satisfied.",
    "InvalidURI": "Couldn't parse the specified URI.",
    "KeyTooLong": "Your key is too long.",
    "MethodNotAllowed":
        "The specified method is not allowed against this resource.",
    "NoSuchBucket": "The specified bucket does not exist.",
    "NoSuchKey": "The specified key does not exist.",
    "PreconditionFailed":
        "At least one of the pre-conditions you specified did not hold.",
    "ServiceUnavailable": "Service is unavailable.",
    "SlowDown": "Please reduce your request rate.",
    "UserProjectMissing": "Bucket is a requester pays bucket but no user "
                          "project provided.",
    "UserProjectInvalid": "The user project specified is invalid.",
    "UserProjectAccessDenied": "The caller may not use the user project.",
}


class StorageError(Exception):
    """A refusal by Cloud Storage, shown as XML or JSON by the API used."""

    def __init__(self, status: int, code: str, details: str | None = None,
                 *, reason: str | None = None, message: str | None = None,
                 headers: tuple[tuple[str, str], ...] = ()):
        super().__init__(code)
        self.status = status
        self.code = code
        self.details = details
        self.message = message or _MESSAGES.get(code, code)
        self.reason = reason or code[:1].lower() + code[1:]
        self.headers = headers

    def xml(self) -> Response:
        details = ""
        if self.details is not None:
            details = f"<Details>{escape(self.details)}</Details>"
        body = ("<?xml version='1.0' encoding='UTF-8'?><Error>"
                f"<Code>{self.code}</Code>"
                f"<Message>{escape(self.message)}</Message>{details}</Error>")
        response = Response(self.status, common_headers(), body.encode())
        response.set("Content-Type", "application/xml; charset=UTF-8")
        response.set("Cache-Control", "private, max-age=0")
        response.set("Expires", formatdate(usegmt=True))
        response.headers += self.headers
        return response

    def json(self, media: bool = False) -> Response:
        message = self.details or self.message
        status = self.status
        headers = list(self.headers)
        error = {"message": message, "domain": "global",
                 "reason": self.reason}

        if status == 401:
            message = error["message"] = "Invalid Credentials"
            error.update(reason="authError", locationType="header",
                         location="Authorization")

        if status == 403 and message.startswith("Anonymous caller"):
            status = 401
            error.update(reason="required", locationType="header",
                         location="Authorization")
            headers = [("WWW-Authenticate", REALM)]

        response = Response(status, common_headers() + headers)
        response.set("Cache-Control", "private, max-age=0")
        response.set("Expires", formatdate(usegmt=True))
        if media:
            response.body = message.encode()
            response.set("Content-Type", "text/html; charset=UTF-8")
        else:
            response.body = json.dumps({"error": {
                "code": status, "message": message,
                "errors": [error]}}).encode()
            response.set("Content-Type", "application/json; charset=UTF-8")
        return response


def common_headers() -> list[tuple[str, str]]:
    return [("X-GUploader-UploadID", "AH" + secrets.token_urlsafe(72)),
            ("Date", formatdate(usegmt=True)),
            ("Server", "UploadServer"),
            ("Alt-Svc", 'h3=":443"; ma=2592000,h3-29=":443"; ma=2592000')]


def unauthenticated() -> StorageError:
    return StorageError(
        401, "AuthenticationRequired", "Invalid Credentials",
        headers=(("WWW-Authenticate", REALM + ', error="invalid_token"'),))


def access_denied(email: str | None, permission: str,
                  resource: str = "object") -> StorageError:
    who = email or "Anonymous caller"
    return StorageError(
        403, "AccessDenied",
        f"{who} does not have {permission} access to the Google Cloud "
        f"Storage {resource}. Permission '{permission}' denied on resource "
        "(or it may not exist).", reason="forbidden")


def no_such_key(bucket: str, name: str) -> StorageError:
    return StorageError(404, "NoSuchKey",
                        f"No such object: {bucket}/{name}", reason="notFound")


def invalid(details: str) -> StorageError:
    return StorageError(400, "InvalidArgument", details, reason="invalid")


def front_end(status: int, what: str) -> Response:
    """An early refusal: HTML."""
    body = (f"<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n"
            f"<title>Error {status}</title>\n<p><b>{status}.</b> "
            f"{escape(what)}\n")
    return Response(status, [
        ("Content-Type", "text/html; charset=UTF-8"),
        ("Referrer-Policy", "no-referrer"),
        ("Date", formatdate(time.time(), usegmt=True))], body.encode())

"""CORS as buckets are configured for it. JSON API endpoints allow anybody."""

from __future__ import annotations

from .errors import common_headers
from .objects import Bucket
from .resumable import Session
from .wire import Request, Response

_SESSION_HEADERS = ["Content-Type", "Content-Range", "Range"]


def _rules(bucket: Bucket, session: Session | None) -> list[dict]:
    """An upload answers whoever has begun it, whatever the bucket says."""
    if session is None:
        return bucket.cors
    return [{"origin": [session.origin], "method": ["PUT", "DELETE"],
             "responseHeader": _SESSION_HEADERS}]


def _rule(bucket: Bucket, session: Session | None, origin: str,
          method: str) -> dict | None:
    for rule in _rules(bucket, session):
        origins = rule.get("origin", [])
        methods = [m.upper() for m in rule.get("method", [])]
        if (origin in origins or "*" in origins) \
                and (method in methods or "*" in methods):
            return rule
    return None


def _origin(rule: dict, origin: str) -> str:
    return "*" if "*" in rule.get("origin", []) else origin


def decorate(request: Request, bucket: Bucket, response: Response,
             session: Session | None = None) -> None:
    """A simple request."""
    origin = request.get("origin")
    if origin is None:
        return
    rule = _rule(bucket, session, origin, request.method)
    if rule is None:
        return
    response.headers.append(("Access-Control-Allow-Origin",
                             _origin(rule, origin)))
    exposed = rule.get("responseHeader")
    if exposed:
        response.headers.append(("Access-Control-Expose-Headers",
                                 ", ".join(exposed)))
    response.headers.append(("Vary", "Origin"))


def preflight(request: Request, bucket: Bucket | None,
              session: Session | None = None) -> Response:
    response = Response(200, common_headers())
    origin = request.get("origin") or ""
    method = request.get("access-control-request-method") or ""
    rule = _rule(bucket, session, origin, method) \
        if bucket is not None else None
    if rule is None:
        return response

    response.headers += [
        ("Access-Control-Allow-Origin", _origin(rule, origin)),
        ("Access-Control-Allow-Methods", ", ".join(rule["method"])),
        ("Vary", "Origin")]
    if rule.get("responseHeader"):
        response.headers.append(("Access-Control-Allow-Headers",
                                 ", ".join(rule["responseHeader"])))
    if "maxAgeSeconds" in rule:
        response.headers.append(("Access-Control-Max-Age",
                                 str(rule["maxAgeSeconds"])))
    return response


def allow_all(request: Request, response: Response) -> None:
    """The JSON API."""
    origin = request.get("origin")
    if origin is not None:
        response.headers += [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Vary", "Origin"), ("Vary", "X-Origin")]

"""Requests that an HMAC key has signed: GOOG4-HMAC-SHA256 in a header.

The signature is computed again from the bytes that have arrived.
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from .errors import StorageError, invalid
from .service import Context
from .wire import Request

SCHEME = "GOOG4-HMAC-SHA256"
STATES = ("active", "inactive", "deleted")

_AUTHORIZATION = re.compile(
    SCHEME + r" Credential=([A-Za-z0-9]{1,128})/(\d{8})/([\w-]+)/storage/"
    r"goog4_request, ?SignedHeaders=([!#$%&'*+.^_`|~0-9a-z;-]+), ?"
    r"Signature=([0-9a-f]{64})\Z")
_UNRESERVED = "-_.~"
_CONTENT = "x-goog-content-sha256"
_WINDOW = 15 * 60

# Google's front end changes the first, and proxies the others.
_NEVER_SIGNED = {"accept-encoding", "authorization", "connection",
                 "transfer-encoding", "user-agent"}


def _characters(size: int, alphabet: str) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(size))


@dataclass
class HmacKey:
    email: str
    state: str = "active"
    access_id: str = field(default_factory=lambda: "GOOG1E" + _characters(
        55, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
    secret: str = field(default_factory=lambda: base64.b64encode(
        secrets.token_bytes(30)).decode())


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(secret: str, date: str, location: str, to_sign: str) -> str:
    key = _mac(("GOOG4" + secret).encode(), date)
    for part in (location, "storage", "goog4_request"):
        key = _mac(key, part)
    return _mac(key, to_sign).hex()


def canonical_query(request: Request, without: tuple[str, ...] = ()) -> str:
    pairs = sorted((quote(name, safe=_UNRESERVED),
                    quote(value, safe=_UNRESERVED))
                   for name, value in request.query if name not in without)
    return "&".join(f"{name}={value}" for name, value in pairs)


def canonical_request(request: Request, names: list[str], payload: str,
                      without: tuple[str, ...] = ()) -> str:
    path = quote_from_bytes(unquote_to_bytes(request.path),
                            safe="/" + _UNRESERVED)
    lines = [f"{name}:" + ",".join(
        " ".join(value.split()) for value in request.get_all(name))
        for name in names]
    return "\n".join([request.method, path, canonical_query(request, without),
                      *lines, "", ";".join(names), payload])


def mismatch(details: str | None = None) -> StorageError:
    return StorageError(
        403, "SignatureDoesNotMatch", details, message="Access denied.")


def _check_date(request: Request, date: str) -> str:
    stamp = request.get("x-goog-date") or ""
    try:
        at = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise StorageError(403, "AccessDenied", "A valid x-goog-date header "
                           "is required.") from None
    if abs(at - time.time()) > _WINDOW:
        raise StorageError(
            403, "RequestTimeTooSkewed", message="The difference between the "
            "request time and the server's time is too large.")
    if not stamp.startswith(date):
        raise mismatch("The date of the scope is not that of the request.")
    return stamp


def check_names(context: Context, names: list[str]) -> None:
    request = context.request
    if names != sorted(set(names)) or "host" not in names:
        raise mismatch("Bad SignedHeaders.")
    if any(not request.get_all(name) for name in names):
        raise mismatch("A signed header is missing.")
    for name, _ in request.headers:
        name = name.lower()
        if name.startswith("x-goog-") and name != _CONTENT \
                and name not in names:
            raise mismatch(f"Header {name} must be signed.")
    for name in _NEVER_SIGNED.intersection(names):
        context.violate(f"header {name} is signed")


def _check_payload(context: Context) -> str:
    given = context.request.get(_CONTENT)
    actual = hashlib.sha256(context.request.body).hexdigest()
    if given is None:
        # not stated: then the hash is signed
        return actual
    if given not in ("UNSIGNED-PAYLOAD", actual):
        raise StorageError(400, "XGoogContentSHA256Mismatch")
    return given


def authenticate(context: Context) -> HmacKey | None:
    """The key that has signed the request; None: another kind of caller."""
    request, record = context.request, context.record
    values = request.get_all("authorization")
    if not values or not values[0].startswith("GOOG4-"):
        return None

    record["credential"] = "malformed"
    match = _AUTHORIZATION.match(values[0]) if len(values) == 1 else None
    if match is None:
        raise invalid("Malformed Authorization header.")
    access_id, date, location, signed, given = match.groups()
    names = signed.split(";")
    record.update(access_id=access_id, signed_headers=names,
                  signature=given, credential="unknown")
    if any(name.lower().startswith("x-amz-") for name, _ in request.headers):
        raise StorageError(400, "ExcessHeaderValues")

    key = context.app.hmac_keys.get(access_id)
    if key is None:
        raise mismatch()
    record["credential"] = key.state
    if key.state != "active":
        raise StorageError(401, "Key" + key.state.capitalize(),
                           message=f"The HMAC key is {key.state}.")

    record["credential"] = "refused"
    stamp = _check_date(request, date)
    check_names(context, names)
    payload = _check_payload(context)
    canonical = canonical_request(request, names, payload)
    to_sign = "\n".join([
        SCHEME, stamp, f"{date}/{location}/storage/goog4_request",
        hashlib.sha256(canonical.encode("latin-1")).hexdigest()])
    if not hmac.compare_digest(
            signature(key.secret, date, location, to_sign), given):
        raise mismatch("The request signature we calculated does not match "
                        "the signature you provided.")
    if canonical.split("\n")[1].encode() != request.path:
        context.violate("the path is not escaped as it is signed")

    record.update(credential="valid", account=key.email)
    return key

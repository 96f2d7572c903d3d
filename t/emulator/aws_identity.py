"""The AWS subject token: a signed GetCallerIdentity, sent as Google would.

Google decodes the description of the request, checks that it is nothing else,
sends it to AWS and reads who the caller is. Here AWS is the next room.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import json
import re
import time
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_plus, urlsplit

from .aws_state import Aws, AwsKey
from .forms import Refusal

_ENCODED = re.compile(r"(?:[A-Za-z0-9._~+*!'()/-]|%[0-9A-Fa-f]{2})+\Z")
_HOST = re.compile(r"sts(?:\.([a-z0-9-]+))?\.amazonaws\.com(?:\.cn)?\Z")
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([A-Z0-9]{16,128})/(\d{8})/([a-z0-9-]+)/"
    r"([a-z0-9-]+)/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?"
    r"Signature=([0-9a-f]{64})\Z")
_TARGET = "x-goog-cloud-target-resource"
_WANTED = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]
_EMPTY = hashlib.sha256(b"").hexdigest()

# AWS's own window around x-amz-date.
_WINDOW = 300


def _format(what: str) -> Refusal:
    return Refusal("invalid_request",
                   "Invalid format of AWS credentials:" + what)


def _aws(code: str, message: str) -> Refusal:
    return Refusal("invalid_grant", "Received invalid AWS response of type "
                   f"{code} with error message: {message}")


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(secret: str, date: str, region: str, service: str,
              to_sign: str) -> str:
    key = _mac(("AWS4" + secret).encode(), date)
    for part in (region, service, "aws4_request"):
        key = _mac(key, part)
    return _mac(key, to_sign).hex()


def describe(subject_token: str) -> dict[str, Any]:
    """The JSON text, decoded once, with the shape that Google asks for."""
    if not _ENCODED.match(subject_token):
        raise _format("it is not percent-encoded")
    try:
        value = json.loads(unquote_plus(subject_token, errors="strict"))
    except ValueError:
        raise _format("Error at line 0:0: Unexpected end of stream : "
                      "expected '{'") from None
    if not isinstance(value, dict) \
            or not {"url", "method", "headers"} <= set(value) \
            or set(value) - {"url", "method", "headers", "body"}:
        raise _format("unexpected members")
    if not isinstance(value["headers"], list) or not all(
            isinstance(item, dict) and set(item) == {"key", "value"}
            and all(isinstance(v, str) for v in item.values())
            for item in value["headers"]):
        raise _format("headers must be a list of key and value")
    return value


def _headers(value: dict[str, Any], audience: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for item in value["headers"]:
        name = item["key"].lower()
        if name in headers:
            raise _format(f"header {name} is there twice")
        headers[name] = item["value"]

    for name in ("authorization", "host", "x-amz-date", _TARGET):
        if name not in headers:
            raise _format(f"there is no header {name}")
    unknown = set(headers) - {"authorization", "host", "x-amz-date", _TARGET,
                              "x-amz-security-token", "content-length",
                              "content-type"}
    if unknown:
        raise _format("unexpected headers: " + " ".join(sorted(unknown)))

    if headers[_TARGET] not in (audience, "https:" + audience):
        raise Refusal("invalid_request", f"The value of the {_TARGET} header "
                      "does not match the audience.")
    return headers


def caller(subject_token: str, audience: str, aws: Aws,
           record: dict[str, Any]) -> AwsKey:
    """Who signed it; a refusal in AWS's or in Google's words."""
    value = describe(subject_token)
    record["subject"] = value
    headers = _headers(value, audience)

    url = urlsplit(value["url"])
    host = _HOST.match(url.netloc)
    if url.scheme != "https" or host is None or url.path not in ("", "/") \
            or value["method"] != "POST" or value.get("body"):
        raise _format("the request is not a GetCallerIdentity")
    if sorted(parse_qsl(url.query, True)) != _WANTED:
        raise _format("the request is not a GetCallerIdentity")
    if headers["host"] != url.netloc:
        raise _format("the host is not that of the URL")

    return _authenticate(value, headers, host[1], aws, record)


def _authenticate(value: dict[str, Any], headers: dict[str, str],
                  region: str | None, aws: Aws,
                  record: dict[str, Any]) -> AwsKey:
    match = _AUTHORIZATION.match(headers["authorization"])
    if match is None:
        raise _aws("IncompleteSignature", "Authorization header requires "
                   "'Credential' parameter.")
    key_id, date, scope_region, service, signed, given = match.groups()
    record["aws_access_key_id"] = key_id
    record["aws_signed_headers"] = signed.split(";")

    key = aws.keys.get(key_id)
    if key is None:
        raise _aws("InvalidClientTokenId", "The security token included in "
                   "the request is invalid.")
    if key.expires is not None and key.expires <= time.time():
        raise _aws("ExpiredToken", "The security token included in the "
                   "request is expired")
    if headers.get("x-amz-security-token") != key.session_token:
        raise _aws("InvalidClientTokenId", "The security token included in "
                   "the request is invalid.")
    if scope_region != (region or "us-east-1") or service != "sts":
        raise _aws("SignatureDoesNotMatch", "Credential should be scoped to "
                   f"a valid region, not '{scope_region}'. ")

    names = signed.split(";")
    if names != sorted(set(names)) or "host" not in names or any(
            name.startswith("x-amz-") and name not in names
            for name in headers) or any(n not in headers for n in names):
        raise _aws("SignatureDoesNotMatch", "'Host' or 'x-amz-*' must be a "
                   "signed header.")

    _check_date(headers["x-amz-date"], date)
    query = "&".join(f"{quote(name, safe='')}={quote(text, safe='')}"
                     for name, text in _WANTED)
    canonical = "\n".join([
        "POST", "/", query,
        *(f"{name}:{' '.join(headers[name].split())}" for name in names),
        "", signed, _EMPTY])
    to_sign = "\n".join([
        "AWS4-HMAC-SHA256", headers["x-amz-date"],
        f"{date}/{scope_region}/{service}/aws4_request",
        hashlib.sha256(canonical.encode()).hexdigest()])
    if not hmac.compare_digest(
            signature(key.secret, date, scope_region, service, to_sign),
            given):
        raise _aws("SignatureDoesNotMatch", "The request signature we "
                   "calculated does not match the signature you provided. "
                   "Check your AWS Secret Access Key and signing method. "
                   "Consult the service documentation for details.")
    return key


def _check_date(stamp: str, date: str) -> None:
    try:
        at = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise _aws("IncompleteSignature",
                   "Date must be in ISO-8601 'basic format'.") from None
    if not stamp.startswith(date):
        raise _aws("SignatureDoesNotMatch", "Date in Credential scope does "
                   "not match YYYYMMDD from ISO-8601 version of date from "
                   "HTTP")

    def text(seconds: float) -> str:
        return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))

    now = time.time()
    if at < now - _WINDOW:
        raise _aws("SignatureDoesNotMatch", f"Signature expired: {stamp} is "
                   f"now earlier than {text(now - _WINDOW)} ({text(now)} - "
                   "5 min.)")
    if at > now + _WINDOW:
        raise _aws("SignatureDoesNotMatch", f"Signature not yet current: "
                   f"{stamp} is still later than {text(now + _WINDOW)} "
                   f"({text(now)} + 5 min.)")

"""URLs that are signed by V4: by the key of an account, or by an HMAC key.

As in Cloud Storage the signature says who asks; what he may do is looked up
when the URL is used.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from .errors import StorageError
from .hmac_keys import (canonical_request, check_names, mismatch,
                        signature)
from .service import Context
from .wire import Request

ALGORITHMS = ("GOOG4-RSA-SHA256", "GOOG4-HMAC-SHA256")
PARAMETERS = ("X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Date",
              "X-Goog-Expires", "X-Goog-SignedHeaders", "X-Goog-Signature")
_CONTENT = "x-goog-content-sha256"
_SKEW = 15 * 60
_LONGEST = 7 * 24 * 3600


def _parameters(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.query:
        text = name.decode("latin-1") if isinstance(name, bytes) else name
        if text in PARAMETERS:
            if text in found:
                raise mismatch(f"Parameter {text} is there twice.")
            found[text] = (value.decode("latin-1")
                           if isinstance(value, bytes) else value)
    return found


def _check_time(stamp: str, expires: str) -> None:
    try:
        at = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
        life = int(expires)
    except ValueError:
        raise mismatch("Bad date or expiry.") from None
    if not 1 <= life <= _LONGEST:
        raise StorageError(400, "AuthenticationRequired",
                           message="Invalid argument.")
    if at > time.time() + _SKEW:
        raise StorageError(403, "AccessDenied", "Request is not yet valid.")
    if time.time() > at + life:
        raise StorageError(
            400, "ExpiredToken", "The provided token has expired. Request "
            f"signature expired at: {at + life}", message="Invalid argument.")


def _rsa_valid(context: Context, email: str, text: str, given: str) -> bool:
    account = context.app.accounts.by_email.get(email)
    if account is None:
        return False
    keys = list(account.keys.values())
    if account.signer is not None:         # signBlob, with Google's own key
        keys.append(account.signer.key.public_key())
    for key in keys:
        try:
            key.verify(bytes.fromhex(given), text.encode(), PKCS1v15(),
                       SHA256())
            return True
        except InvalidSignature:
            pass
    return False


def authenticate(context: Context) -> str | None:
    """The e-mail of the account that has signed the URL, if one has."""
    request, record = context.request, context.record
    found = _parameters(request)
    if "X-Goog-Signature" not in found:
        return None

    record["credential"] = "malformed"
    if request.get("authorization") is not None:
        raise StorageError(400, "InvalidArgument", "Two kinds of "
                           "credentials in one request.")
    match = re.fullmatch(r"([^/]+)/(\d{8})/([\w-]+)/storage/goog4_request",
                         found.get("X-Goog-Credential", ""))
    if len(found) != len(PARAMETERS) or match is None \
            or found["X-Goog-Algorithm"] not in ALGORITHMS:
        raise mismatch("Bad parameters.")
    signer, date, location = match.groups()
    stamp = found["X-Goog-Date"]
    if not stamp.startswith(date):
        raise mismatch("The date of the scope is not that of the request.")

    record["credential"] = "expired"
    _check_time(stamp, found["X-Goog-Expires"])

    record["credential"] = "refused"
    names = found["X-Goog-SignedHeaders"].split(";")
    check_names(context, names)
    payload = request.get(_CONTENT) if _CONTENT in names else None
    canonical = canonical_request(request, names,
                                  payload or "UNSIGNED-PAYLOAD",
                                  without=("X-Goog-Signature",))
    text = "\n".join([
        found["X-Goog-Algorithm"], stamp,
        f"{date}/{location}/storage/goog4_request",
        hashlib.sha256(canonical.encode("latin-1")).hexdigest()])
    given = record["signature"] = found["X-Goog-Signature"]

    if found["X-Goog-Algorithm"] == "GOOG4-HMAC-SHA256":
        key = context.app.hmac_keys.get(signer)
        if key is None or not hmac.compare_digest(
                signature(key.secret, date, location, text), given):
            raise mismatch()
        if key.state != "active":
            raise StorageError(401, "Key" + key.state.capitalize())
        signer = key.email
    elif not re.fullmatch(r"(?:[0-9a-f]{2})+", given) \
            or not _rsa_valid(context, signer, text, given):
        raise mismatch("The request signature we calculated does not match "
                       "the signature you provided.")

    if canonical.split("\n")[1].encode() != request.path:
        context.violate("the path is not escaped as it is signed")
    record.update(credential="signed URL", account=signer,
                  signed_headers=names)
    return signer

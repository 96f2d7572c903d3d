"""ID tokens of somebody else's issuer: made for tests, and verified."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey)
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (RSAPrivateKey,
                                                           RSAPublicKey)
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature, encode_dss_signature)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key, load_pem_public_key)

from .forms import Refusal

_PART = re.compile(r"[A-Za-z0-9_-]+\Z")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def make(header: dict[str, Any], claims: dict[str, Any],
         private_pem: str) -> str:
    signed = ".".join(_encode(json.dumps(part).encode())
                      for part in (header, claims))
    key = load_pem_private_key(private_pem.encode(), None)
    if isinstance(key, RSAPrivateKey):
        signature = key.sign(signed.encode(), PKCS1v15(), SHA256())
    else:
        assert isinstance(key, EllipticCurvePrivateKey)
        r, s = decode_dss_signature(key.sign(signed.encode(),
                                             ECDSA(SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return signed + "." + _encode(signature)


def _decode(part: str) -> bytes:
    if not _PART.match(part) or len(part) % 4 == 1:
        raise ValueError
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def parse(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Header, claims, signature and what is signed; ValueError if not so."""
    try:
        first, second, third = token.split(".")
        header, claims = json.loads(_decode(first)), \
            json.loads(_decode(second))
        signature = _decode(third)
    except (ValueError, binascii.Error):
        raise ValueError("not a JWT") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise ValueError("not a JWT")
    return header, claims, signature, f"{first}.{second}".encode()


def signed_by(key_pem: str, algorithm: Any, signature: bytes,
              signed: bytes) -> bool:
    key = load_pem_public_key(key_pem.encode())
    try:
        if algorithm == "RS256" and isinstance(key, RSAPublicKey):
            key.verify(signature, signed, PKCS1v15(), SHA256())
            return True
        if algorithm == "ES256" and isinstance(key, EllipticCurvePublicKey) \
                and len(signature) == 64:
            key.verify(encode_dss_signature(
                int.from_bytes(signature[:32], "big"),
                int.from_bytes(signature[32:], "big")),
                signed, ECDSA(SHA256()))
            return True
    except InvalidSignature:
        pass
    return False


def audiences(claims: dict[str, Any]) -> list[str]:
    value = claims.get("aud")
    return [value] if isinstance(value, str) else \
        [v for v in value if isinstance(v, str)] \
        if isinstance(value, list) else []


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def verify(token: str, issuer: str, keys: dict[str, str],
           allowed: list[str]) -> dict[str, Any]:
    """The claims of an ID token, as Google's STS checks it."""
    try:
        header, claims, signature, signed = parse(token)
    except ValueError:
        raise Refusal("invalid_request",
                      "Unable to parse the ID Token.") from None

    if claims.get("iss") != issuer:
        raise Refusal("invalid_grant", "The issuer in ID Token "
                      f"{claims.get('iss')} does not match the expected "
                      f"ones: {issuer}.")
    if header.get("alg") not in ("RS256", "ES256"):
        raise Refusal("invalid_grant", "Unsupported signing algorithm in ID "
                      "Token: " + str(header.get("alg")) + ".")
    if not isinstance(header.get("kid"), str):
        raise Refusal("invalid_grant", "The ID Token has no key ID.")
    key = keys.get(header["kid"])
    if key is None or not signed_by(key, header["alg"], signature, signed):
        raise Refusal("invalid_grant", "Invalid ID Token signature: the key "
                      f"{header['kid']} does not verify it.")

    issued, expires, now = claims.get("iat"), claims.get("exp"), time.time()
    if not _is_time(issued) or not _is_time(expires):
        raise Refusal("invalid_grant",
                      "The ID Token must have iat and exp claims.")
    if issued > now + 60:
        raise Refusal("invalid_grant", f"ID Token issued at {int(issued)} is "
                      "in the future.")
    if expires <= now or issued < now - 86400:
        raise Refusal("invalid_grant", f"ID Token issued at {int(issued)} is "
                      "stale to sign-in.")

    if not set(audiences(claims)) & set(allowed):
        shown = ", ".join(audiences(claims))
        raise Refusal("invalid_grant", f"The audience in ID Token [{shown}] "
                      "does not match the expected audience.")
    return claims

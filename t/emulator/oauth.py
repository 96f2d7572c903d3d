"""The OAuth 2.0 token endpoint: POST /token."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import time
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from .accounts import KNOWN_SCOPES
from .forms import (Refusal, answer, check_fields, lifetime_of, read_form,
                    token_answer)
from .service import Context, Service
from .wire import Response

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+\Z")
_SHORT_LIVED = ("Invalid JWT: Token must be a short-lived token (60 minutes) "
                "and in a reasonable timeframe. Check your iat and exp values "
                "in the JWT claim.")
_SKEW = 300


def _decode(part: str) -> bytes:
    if not _BASE64URL.match(part) or len(part) % 4 == 1:
        raise Refusal("invalid_request", "Bad Request")
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise Refusal("invalid_request", "Bad Request") from None


def _decode_json(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_decode(part))
    except ValueError:
        raise Refusal("invalid_request", "Bad Request") from None
    if not isinstance(value, dict):
        raise Refusal("invalid_request", "Bad Request")
    return value


def _is_time(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class TokenService(Service):
    kind = "token"
    hosts = frozenset(["oauth2.googleapis.com"])

    def wants(self, context: Context) -> bool:
        # On the emulator's own addresses a bucket may bear this name.
        return (context.request.path == b"/token"
                and "token" not in context.app.store.buckets)

    async def handle(self, context: Context) -> Response:
        request = context.request
        if request.method != "POST":
            return answer(404, {"error": "not_found"})

        try:
            return self._exchange(context)
        except Refusal as refusal:
            return refusal.response(context)

    def _exchange(self, context: Context) -> Response:
        form = read_form(context)
        if form.get("grant_type") == "refresh_token":
            return self._refresh(context, form)

        if form.get("grant_type") != GRANT:
            raise Refusal("unsupported_grant_type",
                          "Invalid grant_type: "
                          + form.get("grant_type", ""))

        check_fields(context, form, {"grant_type", "assertion"})
        return self._grant(context, form["assertion"])

    @staticmethod
    def _refresh(context: Context, form: dict[str, str]) -> Response:
        """A person's login: authorized_user."""
        check_fields(context, form, {"grant_type", "client_id",
                                     "client_secret", "refresh_token"},
                     frozenset(["scope", "rapt"]))
        if context.request.get("authorization") is not None:
            context.violate("authorization with a refresh token")

        token, rotated = context.app.refresh_tokens.use(
            context, form, form["client_id"], form["client_secret"])
        members = {"access_token": token.value, "expires_in": 0,
                   "scope": " ".join(sorted(token.scopes)),
                   "token_type": "Bearer", "id_token": _id_token()}
        if rotated is not None:
            members["refresh_token"] = rotated
        return token_answer(context, members, lifetime_of(context))

    def _grant(self, context: Context, assertion: str) -> Response:
        parts = assertion.split(".")
        if len(parts) != 3:
            raise Refusal("invalid_request", "Bad Request")

        header, claims = _decode_json(parts[0]), _decode_json(parts[1])
        signature = _decode(parts[2])
        context.record["assertion"] = {"header": header, "claims": claims}

        account = self._account(context, header, claims, signature,
                                f"{parts[0]}.{parts[1]}".encode())
        self._check_times(claims)

        scope = claims.get("scope")
        if not isinstance(scope, str) or not scope.split():
            raise Refusal("invalid_scope", "Invalid OAuth scope or ID token "
                          "audience provided.")

        audience = claims.get("aud")
        if not isinstance(audience, str) \
                or audience not in context.app.token_audiences():
            raise Refusal("invalid_grant",
                          "Invalid JWT: Failed audience check.")

        if "sub" in claims and claims["sub"] != account.email:
            raise Refusal(
                "unauthorized_client", "Client is unauthorized to retrieve "
                "access tokens using this method, or client not authorized "
                "for any of the scopes requested.", 401)

        scopes = scope.split(" ")
        if not set(scopes) <= KNOWN_SCOPES:
            context.record["credential"] = "unknown scope"
            return answer(200, {"id_token": _id_token()})

        return self._issue(context, account.email, scopes)

    def _account(self, context: Context, header: dict[str, Any],
                 claims: dict[str, Any], signature: bytes, signed: bytes):
        account = context.app.accounts.by_email.get(str(claims.get("iss")))
        if account is None:
            raise Refusal("invalid_grant",
                          "Invalid grant: account not found")

        kid = header.get("kid")
        if kid is None:
            keys = list(account.keys.values())
        else:
            keys = [account.keys[kid]] if kid in account.keys else []

        if header.get("alg") == "RS256":
            for key in keys:
                try:
                    key.verify(signature, signed, PKCS1v15(), SHA256())
                    context.record["account"] = account.email
                    return account
                except InvalidSignature:
                    continue

        raise Refusal("invalid_grant", "Invalid JWT Signature.")

    @staticmethod
    def _check_times(claims: dict[str, Any]) -> None:
        issued, expires, now = claims.get("iat"), claims.get("exp"), \
            time.time()
        if not _is_time(issued) or not _is_time(expires) \
                or not 0 < expires - issued <= 3600 \
                or issued > now + _SKEW or expires < now - _SKEW:
            raise Refusal("invalid_grant", _SHORT_LIVED)

    @staticmethod
    def _issue(context: Context, email: str, scopes: list[str]) -> Response:
        lifetime = lifetime_of(context)
        token = context.app.accounts.mint(email, scopes, lifetime)
        members = {"access_token": token.value, "expires_in": 0,
                   "token_type": "Bearer"}
        return token_answer(context, members, lifetime)


def _id_token() -> str:
    """Looks like a signed JWT; nobody is to look inside."""
    parts = [json.dumps({"alg": "RS256", "typ": "JWT"}).encode(),
             json.dumps({"sub": "1"}).encode(), secrets.token_bytes(256)]
    return ".".join(base64.urlsafe_b64encode(p).decode().rstrip("=")
                    for p in parts)

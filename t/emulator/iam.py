"""IAM Service Account Credentials: generateAccessToken and signBlob."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import re
import time
from typing import Any
from urllib.parse import unquote

from .accounts import Account, IAM_SCOPES, KNOWN_SCOPES, Signer, Token
from .api_errors import (ApiError, api_answer, invalid_field, invalid_payload,
                         permission_denied, scope_insufficient,
                         service_disabled, unauthenticated)
from .errors import front_end
from .service import Context, Service
from .wire import Response

_SERVICE = "iamcredentials.googleapis.com"
_PATH = re.compile(r"/v1/projects/([^/]+)/serviceAccounts/([^/]+?):(\w+)\Z")
_DELEGATE = re.compile(r"projects/-/serviceAccounts/([^/]+)\Z")
_LIFETIME = re.compile(r"([0-9]{1,9})(\.[0-9]{1,9})?s\Z")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*"
                     r"(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")

_DELEGATION = "iam.serviceAccounts.implicitDelegation"
_TOO_LONG = (
    "The access token lifetime cannot exceed 3600 seconds (1 hour). If a "
    "lifetime greater than 1 hour is required, please add the service "
    "account as an allowed value in an Org Policy that enforces the "
    "constraints/iam.allowServiceAccountCredentialLifetimeExtension "
    "constraint. You can request a token with a maximum lifetime of 12 hours.")

# The permission on the target, and what the body may and must hold.
_METHODS = {
    "generateAccessToken": ("iam.serviceAccounts.getAccessToken",
                            {"delegates", "scope", "lifetime"}, "scope"),
    "signBlob": ("iam.serviceAccounts.signBlob", {"delegates", "payload"},
                 "payload"),
}


@functools.cache
def _signer(email: str) -> Signer:
    """Slow to make, so an account keeps its key over a reset."""
    return Signer()


class IamCredentials(Service):
    kind = "iam"
    hosts = frozenset([_SERVICE])

    def wants(self, context: Context) -> bool:
        return context.request.path.startswith(b"/v1/projects/") \
            and b":" in context.request.path

    async def handle(self, context: Context) -> Response:
        path = unquote(context.request.path.decode("latin-1"))
        match = _PATH.match(path)
        if context.request.method != "POST" or match is None \
                or match[3] not in _METHODS:
            return front_end(404, "The requested URL was not found on this "
                             "server.")
        try:
            return await self._call(context, *match.groups())
        except ApiError as error:
            if context.record["credential"] is None:
                context.record["credential"] = "ok"
            context.record["refused"] = error.message
            return error.response()

    async def _call(self, context: Context, project: str, name: str,
                    method: str) -> Response:
        permission, allowed, required = _METHODS[method]
        token = self._caller(context, method)
        body = self._body(context, allowed, required)
        context.record["target_account"] = name

        query = context.request.query_string.decode("latin-1")
        if context.request.has_query and query != "alt=json":   # the default
            context.violate("query: " + query)
        if project != "-":
            raise invalid_field("name", "Invalid name: projects/" + project)
        if not token.scopes & IAM_SCOPES:
            raise scope_insufficient(_SERVICE, self._full(method))

        account = self._target(context, token, name, permission,
                               body.get("delegates", []))
        if method == "signBlob":
            return await self._sign(context, account, body["payload"])
        return self._generate(context, account, body)

    @staticmethod
    def _full(method: str) -> str:
        return ("google.iam.credentials.v1.IAMCredentials."
                + method[:1].upper() + method[1:])

    def _caller(self, context: Context, method: str) -> Token:
        """The bearer; the exact one, valid, of an account that exists."""
        record, accounts = context.record, context.app.accounts
        value = context.request.get("authorization")
        if value is None:
            record["credential"] = "missing"
            raise unauthenticated("CREDENTIALS_MISSING", _SERVICE,
                                  self._full(method))

        token = accounts.tokens.get(value.removeprefix("Bearer "))
        if not value.startswith("Bearer ") or token is None:
            record["credential"] = "unknown"
            raise unauthenticated(None, _SERVICE, self._full(method))

        record.update(account=token.email, credential=token.state,
                      scopes=sorted(token.scopes), token_source=token.source)
        if token.state == "expired":
            raise unauthenticated("ACCESS_TOKEN_EXPIRED", _SERVICE,
                                  self._full(method))
        if token.state != "valid" or not (
                token.federated or token.email in accounts.by_email):
            raise unauthenticated("ACCOUNT_STATE_INVALID", _SERVICE,
                                  self._full(method))
        return token

    @staticmethod
    def _body(context: Context, allowed: set[str], required: str) \
            -> dict[str, Any]:
        request = context.request
        content_type = (request.get("content-type") or "").lower()
        if content_type.partition(";")[0].strip() != "application/json":
            raise invalid_payload(f'Unknown name "{content_type}": Cannot '
                                  "bind query parameter. Field could not be "
                                  "found in request message.")
        try:
            body = json.loads(request.body.decode("utf-8"))
        except ValueError:
            raise invalid_payload("Unexpected token.") from None
        context.record["json"] = body
        if not isinstance(body, dict):
            raise invalid_payload("Root element must be a message.")

        for name in body:
            if name not in allowed:
                raise invalid_payload(f'Unknown name "{name}": Cannot find '
                                      "field.")
        body = {k: v for k, v in body.items() if v is not None}   # as proto3
        for name in ("delegates", "scope"):
            if not isinstance(body.get(name, []), list) or not all(
                    isinstance(item, str) for item in body.get(name, [])):
                raise invalid_payload(f"Invalid value at '{name}' "
                                      "(TYPE_STRING)")
        for name in ("lifetime", "payload"):
            if not isinstance(body.get(name, ""), str):
                raise invalid_payload(f"Invalid value at '{name}' "
                                      "(TYPE_STRING)")
        if not body.get(required):
            raise invalid_field(required, f"{required.capitalize()} "
                                "required.")
        return body

    def _target(self, context: Context, token: Token, name: str,
                permission: str, delegates: list[str]) -> Account:
        """The account, once every hop of the chain to it is allowed."""
        members = token.members
        for delegate in delegates:
            match = _DELEGATE.match(delegate)
            if match is None:
                raise invalid_field("delegates",
                                    f"Invalid delegate name: {delegate}")
            hop = self._existing(context, match[1], _DELEGATION)
            if not hop.allows(members, _DELEGATION):
                raise permission_denied(_DELEGATION)
            members = frozenset([hop.member])

        account = self._existing(context, name, permission)
        if account.api_disabled:
            raise service_disabled("IAM Service Account Credentials API",
                                   _SERVICE, account.project_number)
        if not account.allows(members, permission):
            raise permission_denied(permission)
        context.record["members"] = sorted(
            members - {"allUsers", "allAuthenticatedUsers"})
        return account

    @staticmethod
    def _existing(context: Context, name: str, permission: str) -> Account:
        account = context.app.accounts.find(name)
        if account is None:
            if context.app.config.iam_unknown_account == 403:
                raise permission_denied(permission)
            raise ApiError(404, f"Not found; Gaia id not found for email "
                           f"{name}")
        return account

    @staticmethod
    def _generate(context: Context, account: Account,
                  body: dict[str, Any]) -> Response:
        for scope in body["scope"]:
            if scope not in KNOWN_SCOPES:
                raise invalid_field("scope", f"Invalid OAuth scope: {scope}")

        match = _LIFETIME.match(body.get("lifetime", "3600s"))
        if match is None:
            raise invalid_payload("Invalid value at 'lifetime' (type.google"
                                  "apis.com/google.protobuf.Duration)")
        asked = int(match[1])
        if asked > (43200 if account.lifetime_extension else 3600):
            raise ApiError(400, _TOO_LONG)
        if asked <= 0:
            raise invalid_field("lifetime", "Lifetime must be positive.")

        # A test that shortens the life of tokens means these as well.
        fault, config = context.fault, context.app.config
        lifetime: float = asked
        if config.token_lifetime < 3599:
            lifetime = min(asked, config.token_lifetime)
        if fault is not None and fault.token_lifetime is not None:
            lifetime = fault.token_lifetime

        told = lifetime if config.token_expires_in is None \
            else config.token_expires_in
        token = context.app.accounts.mint(
            account.email, body["scope"], lifetime, source="iam")
        members = {"accessToken": token.value, "expireTime": time.strftime(
            "%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + told))}
        if fault is not None and fault.token:
            members.update(fault.token)
            members = {k: v for k, v in members.items() if v is not None}
        return api_answer(200, members)

    @staticmethod
    async def _sign(context: Context, account: Account,
                    payload: str) -> Response:
        if not _BASE64.match(payload):
            raise invalid_payload("Invalid value at 'payload' (TYPE_BYTES), "
                                  "Base64 decoding failed")
        # Off the loop, for nothing else may wait for the making of a key.
        if account.signer is None:
            made = await asyncio.to_thread(_signer, account.email)
            account.signer = account.signer or made
        signature = account.signer.sign(base64.b64decode(payload))
        context.record["signature"] = signature.hex()     # as URLs have it
        return api_answer(200, {
            "keyId": account.signer.id,
            "signedBlob": base64.b64encode(signature).decode()})


class AllowedLocations(Service):
    """The regional access boundary, that google-auth asks for by itself.

    A kind of its own, so that it disturbs no count of "iam".
    """

    kind = "locations"
    hosts = frozenset([_SERVICE])

    def wants(self, context: Context) -> bool:
        return context.request.path.endswith(b"/allowedLocations") \
            and context.request.path.startswith(b"/v1/")

    async def handle(self, context: Context) -> Response:
        return ApiError(404, "Requested entity was not found.").response()

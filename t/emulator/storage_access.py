"""Who asks, and what he may do: shared by the XML and the JSON API.

`identify` tries the kinds of credentials one after another: signed URLs, the
signatures of HMAC keys, and tokens.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from . import hmac_keys, signed_urls
from .accounts import Account, READ_SCOPES, WRITE_SCOPES
from .errors import (StorageError, access_denied, no_such_key, REALM,
                     unauthenticated)
from .objects import Bucket, Object
from .service import Context

_WRITING = ("storage.objects.create", "storage.objects.delete",
            "storage.objects.update", "storage.objects.move",
            "storage.buckets.update")


@dataclass
class Caller:
    email: str | None                      # None: anonymous
    scopes: frozenset[str] | None = None   # None: not limited by scopes
    holders: list[Account] = field(default_factory=list)   # of grants

    def has_scope(self, permission: str) -> bool:
        wanted = WRITE_SCOPES if permission in _WRITING else READ_SCOPES
        return self.scopes is None or bool(self.scopes & wanted)


def _bearer(context: Context) -> Caller | None:
    value = context.request.get("authorization")
    if value is None:
        return None

    record = context.record
    if not value.startswith("Bearer "):
        record["credential"] = "malformed"
        raise unauthenticated()

    token = context.app.accounts.tokens.get(value[len("Bearer "):])
    if token is None:
        record["credential"] = "unknown"
        raise unauthenticated()

    record["account"] = token.email
    record["credential"] = token.state
    if token.state != "valid":
        raise unauthenticated()

    if not token.federated \
            and token.email not in context.app.accounts.by_email:
        record["credential"] = "account removed"
        raise unauthenticated()

    return Caller(token.email, token.scopes,
                  context.app.accounts.holders(token))


def _hmac(context: Context) -> Caller | None:
    key = hmac_keys.authenticate(context)
    if key is None:
        return None

    account = context.app.accounts.by_email.get(key.email)
    if account is None:
        context.record["credential"] = "account removed"
        raise unauthenticated()
    return Caller(key.email, None, [account])


def _signed_url(context: Context) -> Caller | None:
    email = signed_urls.authenticate(context)
    if email is None:
        return None

    account = context.app.accounts.by_email.get(email)
    if account is None:
        context.record["credential"] = "account removed"
        raise unauthenticated()
    return Caller(email, None, [account])


CREDENTIALS = (_signed_url, _hmac, _bearer)


def identify(context: Context) -> Caller:
    for credential in CREDENTIALS:
        caller = credential(context)
        if caller is not None:
            return caller
    context.record["credential"] = "anonymous"
    return Caller(None)


def find_bucket(context: Context, name: str) -> Bucket:
    bucket = context.app.store.buckets.get(name)
    if bucket is None:
        raise StorageError(404, "NoSuchBucket", reason="notFound")
    return bucket


def check_user_project(context: Context, caller: Caller,
                       bucket: Bucket) -> None:
    request = context.request
    project = request.parameter("userProject") \
        or request.get("x-goog-user-project")
    projects = context.app.config.projects

    if not project:
        if bucket.requester_pays:
            raise StorageError(400, "UserProjectMissing", reason="required")
        return

    if project not in projects:
        raise StorageError(400, "UserProjectInvalid", reason="invalid",
                           message="User project specified in the request "
                           "is invalid.")

    if not any(holder.projects is None or project in holder.projects
               for holder in caller.holders):
        who = caller.email or "Anonymous caller"
        raise StorageError(
            403, "UserProjectAccessDenied",
            f"{who} does not have serviceusage.services.use access to the "
            "Google Cloud project.", reason="forbidden")


def permitted(context: Context, caller: Caller, permission: str,
              bucket: Bucket, item: Object | None = None) -> bool:
    reading = permission in ("storage.objects.get", "storage.objects.list")
    if reading and bucket.public:
        return True
    if permission == "storage.objects.get" and item is not None \
            and item.public:
        return True

    return any(holder.may(permission, bucket.name)
               for holder in caller.holders)


def require(context: Context, caller: Caller, permission: str,
            bucket: Bucket, item: Object | None = None) -> None:
    if not caller.has_scope(permission):
        scopes = " ".join(sorted(READ_SCOPES))
        raise StorageError(
            403, "AccessDenied", "Provided scope(s) are not authorized",
            reason="forbidden", headers=((
                "WWW-Authenticate", f'{REALM}, error="insufficient_scope", '
                f'scope="{scopes}"'),))

    if not permitted(context, caller, permission, bucket, item):
        on_bucket = permission.startswith("storage.buckets.") \
            or permission == "storage.objects.list"
        raise access_denied(caller.email, permission,
                            "bucket" if on_bucket else "object")


def find_object(context: Context, caller: Caller, permission: str,
                bucket: Bucket, name: bytes, generation: int | None = None) \
        -> Object:
    """The object; whether it exists is told only to those who may list."""
    item = bucket.find(name, generation)
    require(context, caller, permission, bucket, item)
    if item is None:
        if not permitted(context, caller, "storage.objects.list", bucket):
            raise access_denied(caller.email, permission)
        raise no_such_key(bucket.name, name.decode("utf-8", "replace"))
    return item


def check_encryption(context: Context, item: Object | None) \
        -> bytes | None:
    """The key that came along, if it is the right one for the object."""
    request = context.request
    algorithm = request.get("x-goog-encryption-algorithm")
    key = request.get("x-goog-encryption-key")
    digest = request.get("x-goog-encryption-key-sha256")

    if (algorithm, key, digest) == (None, None, None):
        if item is not None and item.csek is not None:
            raise StorageError(
                400, "ResourceIsEncryptedWithCustomerEncryptionKey",
                message="The target object is encrypted by a "
                "customer-supplied encryption key.")
        return None

    try:
        raw = base64.b64decode(key or "", validate=True)
        right = (algorithm == "AES256" and len(raw) == 32
                 and base64.b64decode(digest or "", validate=True)
                 == hashlib.sha256(raw).digest())
    except ValueError:
        right = False

    if not right:
        raise StorageError(400, "InvalidEncryptionKey", reason="invalid",
                           message="Missing or malformed customer-supplied "
                           "encryption key headers.")

    if item is not None and item.csek is None:
        raise StorageError(
            400, "ResourceNotEncryptedWithCustomerEncryptionKey",
            message="The target object is not encrypted by a "
            "customer-supplied encryption key.")

    if item is not None and item.csek != raw:
        raise StorageError(
            400, "CustomerEncryptionKeyIsIncorrect",
            message="The provided encryption key is incorrect.")

    return raw

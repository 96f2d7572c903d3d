"""Service accounts, what they may do, and the access tokens they hold."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

_AUTH = "https://www.googleapis.com/auth/"

READ_SCOPES = frozenset(_AUTH + name for name in (
    "devstorage.read_only", "devstorage.read_write",
    "devstorage.full_control", "cloud-platform.read-only", "cloud-platform"))
WRITE_SCOPES = frozenset(_AUTH + name for name in (
    "devstorage.read_write", "devstorage.full_control", "cloud-platform"))
KNOWN_SCOPES = READ_SCOPES | frozenset(
    [_AUTH + name for name in ("iam", "userinfo.email", "userinfo.profile",
                               "compute", "compute.readonly", "bigquery",
                               "logging.write", "monitoring", "pubsub")]
    + ["openid", "email", "profile"])

_VIEW = {"storage.objects.get", "storage.objects.list"}
_WRITE = _VIEW | {"storage.objects.create", "storage.objects.delete",
                  "storage.objects.update"}

ROLES = {
    "objectViewer": _VIEW,
    "objectCreator": {"storage.objects.create"},
    "objectUser": _WRITE,
    "objectAdmin": _WRITE | {"storage.objects.getIamPolicy",
                             "storage.objects.setIamPolicy"},
    "legacyObjectReader": {"storage.objects.get"},
    "legacyBucketReader": {"storage.buckets.get", "storage.objects.list"},
    "legacyBucketWriter": {"storage.buckets.get", "storage.objects.list",
                           "storage.objects.create",
                           "storage.objects.delete"},
    "admin": _WRITE | {"storage.objects.getIamPolicy",
                       "storage.objects.setIamPolicy", "storage.buckets.get",
                       "storage.buckets.getIamPolicy",
                       "storage.buckets.update"},
}


def permissions_of(roles: list[str]) -> set[str]:
    """Roles by their short or full name; single permissions are taken too."""
    permissions: set[str] = set()
    for role in roles:
        short = role.removeprefix("roles/").removeprefix("storage.")
        if short in ROLES:
            permissions |= ROLES[short]
        elif role.startswith("storage."):
            permissions.add(role)
        else:
            raise ValueError(f"unknown role {role}")
    return permissions


@dataclass
class Account:
    email: str
    grants: dict[str, set[str]] = field(default_factory=dict)
    keys: dict[str, RSAPublicKey] = field(default_factory=dict)
    projects: set[str] | None = None       # that it may bill; None: any

    def may(self, permission: str, bucket: str) -> bool:
        return (permission in self.grants.get(bucket, ())
                or permission in self.grants.get("*", ()))


@dataclass
class Token:
    value: str
    email: str
    scopes: frozenset[str]
    expires: float
    revoked: bool = False

    @property
    def state(self) -> str:
        if self.revoked:
            return "revoked"
        return "expired" if time.time() >= self.expires else "valid"


class Accounts:

    def __init__(self) -> None:
        self.by_email: dict[str, Account] = {}
        self.tokens: dict[str, Token] = {}

    def get_or_create(self, email: str) -> Account:
        return self.by_email.setdefault(email, Account(email))

    def add_key(self, email: str, key_id: str, public_pem: str) -> None:
        key = load_pem_public_key(public_pem.encode())
        if not isinstance(key, RSAPublicKey):
            raise ValueError("not an RSA key")
        self.get_or_create(email).keys[key_id] = key

    def mint(self, email: str, scopes: list[str], lifetime: float) -> Token:
        # Every character that a token may hold, over a kilobyte, with the
        # trailing dots that real ones have.
        value = ("ya29.c." + secrets.token_urlsafe(720) + "-._~+/=."
                 + secrets.token_urlsafe(24) + "....")
        token = Token(value, email, frozenset(scopes),
                      time.time() + lifetime)
        self.tokens[value] = token
        return token

    def revoke_tokens(self, email: str | None = None) -> int:
        count = 0
        for token in self.tokens.values():
            if (email is None or token.email == email) and not token.revoked:
                token.revoked = True
                count += 1
        return count

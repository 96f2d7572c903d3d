"""Service accounts, what they may do, and the access tokens they hold."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding, PublicFormat, load_pem_public_key)

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

# Scopes that let a token call the IAM Credentials API.
IAM_SCOPES = frozenset(_AUTH + name for name in ("cloud-platform", "iam"))

_VIEW = {"storage.objects.get", "storage.objects.list"}
_WRITE = _VIEW | {"storage.objects.create", "storage.objects.delete",
                  "storage.objects.update", "storage.objects.move"}

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


_TOKENS = {"iam.serviceAccounts.getAccessToken",
           "iam.serviceAccounts.getOpenIdToken"}

# What a role on a service account lets one do with that account. Only the
# Token Creator may sign, and only he may be a link of a delegation chain.
IAM_ROLES = {
    "roles/iam.workloadIdentityUser": _TOKENS,
    "roles/iam.serviceAccountTokenCreator": _TOKENS | {
        "iam.serviceAccounts.signBlob", "iam.serviceAccounts.signJwt",
        "iam.serviceAccounts.implicitDelegation"},
    "roles/iam.serviceAccountUser": {"iam.serviceAccounts.actAs"},
    "roles/iam.serviceAccountOpenIdTokenCreator":
        {"iam.serviceAccounts.getOpenIdToken"},
    "roles/owner": {"iam.serviceAccounts.actAs"},
    "roles/editor": {"iam.serviceAccounts.actAs"},
}
_MEMBER = re.compile(r"(user|serviceAccount|group|domain):[^\s:]+(\[\S+\])?\Z"
                     r"|principal(Set)?://iam\.googleapis\.com/\S+\Z"
                     r"|allUsers\Z|allAuthenticatedUsers\Z")


def check_binding(role: str, members: list[str]) -> None:
    """A typing error in a test's policy must not look like a denial."""
    if role not in IAM_ROLES and not role.startswith("iam."):
        raise ValueError(f"unknown role {role}")
    for member in members:
        if not _MEMBER.match(member):
            raise ValueError(f"not a member: {member}")


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
    """A service account, a person, or a federated principal or set.

    The last two are only holders of grants: `email` is then their name as a
    member of a policy.
    """

    email: str
    grants: dict[str, set[str]] = field(default_factory=dict)
    keys: dict[str, RSAPublicKey] = field(default_factory=dict)
    projects: set[str] | None = None       # that it may bill; None: any
    person: bool = False
    unique_id: str = field(default_factory=lambda: "1" + "".join(
        secrets.choice("0123456789") for _ in range(20)))
    policy: dict[str, set[str]] = field(default_factory=dict)
    project_number: str = "123456789012"
    api_disabled: bool = False             # IAM Credentials, in its project
    lifetime_extension: bool = False       # tokens of up to 12 hours
    signer: "Signer | None" = None

    @property
    def member(self) -> str:
        return ("user:" if self.person else "serviceAccount:") + self.email

    def allows(self, members: frozenset[str], permission: str) -> bool:
        """Whether its IAM policy gives the permission to one of these."""
        return any(permission in IAM_ROLES.get(role, {role})
                   and not members.isdisjoint(bound)
                   for role, bound in self.policy.items())

    def may(self, permission: str, bucket: str) -> bool:
        return (permission in self.grants.get(bucket, ())
                or permission in self.grants.get("*", ()))


class Signer:
    """The key that Google holds for an account and signs blobs with."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(20)
        self.key = rsa.generate_private_key(public_exponent=65537,
                                            key_size=2048)

    def sign(self, payload: bytes) -> bytes:
        return self.key.sign(payload, PKCS1v15(), SHA256())

    @property
    def public_pem(self) -> str:
        return self.key.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@dataclass
class Token:
    value: str
    email: str                             # or principal://...
    scopes: frozenset[str]
    expires: float
    revoked: bool = False
    members: frozenset[str] = frozenset()  # as whom a policy knows the bearer
    source: str = "token"                  # the kind of service it came from

    @property
    def federated(self) -> bool:
        return self.email.startswith("principal://")

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

    def find(self, name: str) -> Account | None:
        """A service account by its e-mail or its unique ID."""
        account = self.by_email.get(name)
        if account is None and name.isdigit():
            for other in self.by_email.values():
                if other.unique_id == name:
                    account = other
        if account is None or account.person or "://" in account.email:
            return None
        return account

    def holders(self, token: Token) -> list[Account]:
        """Those whose grants count for a token."""
        names = {token.email, *token.members}
        return [self.by_email[n] for n in sorted(names) if n in self.by_email]

    def mint(self, email: str, scopes: list[str], lifetime: float, *,
             members: frozenset[str] = frozenset(), source: str = "token",
             prefix: str = "ya29.c.", size: int = 720) -> Token:
        # Every character that a token may hold, over a kilobyte, with the
        # trailing dots that real ones have.
        value = (prefix + secrets.token_urlsafe(size) + "-._~+/=."
                 + secrets.token_urlsafe(24) + "....")
        if not members and email in self.by_email:
            members = frozenset([self.by_email[email].member])
        members |= {"allAuthenticatedUsers", "allUsers"}
        token = Token(value, email, frozenset(scopes),
                      time.time() + lifetime, members=members, source=source)
        self.tokens[value] = token
        return token

    def revoke_tokens(self, email: str | None = None) -> int:
        count = 0
        for token in self.tokens.values():
            if (email is None or token.email == email) and not token.revoked:
                token.revoked = True
                count += 1
        return count

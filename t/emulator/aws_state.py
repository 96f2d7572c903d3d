"""What the emulated AWS knows: keys, roles, an instance, containers."""

from __future__ import annotations

import secrets
import string
import time
from dataclasses import dataclass, field

_UPPER = string.ascii_uppercase + "234567"


def _identifier(prefix: str, size: int = 16) -> str:
    return prefix + "".join(secrets.choice(_UPPER) for _ in range(size))


@dataclass
class AwsKey:
    id: str
    secret: str
    session_token: str | None
    arn: str
    account: str
    user_id: str
    expires: float | None

    @property
    def expiration(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ",
                             time.gmtime(self.expires or 0))


@dataclass
class WebIdentityTrust:
    """Who may assume a role with an OIDC token."""

    issuer: str
    audience: str
    subject: str | None                    # None: any
    keys: dict[str, str] = field(default_factory=dict)   # kid -> PEM


@dataclass
class AwsRole:
    name: str
    account: str
    lifetime: float = 21600
    id: str = field(default_factory=lambda: _identifier("AROA"))
    trust: list[WebIdentityTrust] = field(default_factory=list)

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account}:role/{self.name}"


@dataclass
class Instance:
    """The EC2 instance whose metadata service answers."""

    id: str = "i-0123456789abcdef0"
    zone: str = "us-east-2b"
    role: str | None = None
    version: int = 2                       # 1: no tokens; 2: tokens required
    optional: bool = False                 # version 2, but 1 is allowed
    disabled: bool = False
    tokens: dict[str, float] = field(default_factory=dict)


@dataclass
class Container:
    path: str
    role: str
    authorization: str | None


class Aws:

    def __init__(self) -> None:
        self.keys: dict[str, AwsKey] = {}
        self.roles: dict[str, AwsRole] = {}
        self.instance = Instance()
        self.containers: dict[str, Container] = {}
        self._sessions: dict[tuple[str, str], AwsKey] = {}

    def user_key(self, account: str, user: str) -> AwsKey:
        return self._add(AwsKey(
            _identifier("AKIA"), secrets.token_urlsafe(30), None,
            f"arn:aws:iam::{account}:user/{user}", account,
            _identifier("AIDA"), None))

    def session(self, role: AwsRole, name: str,
                lifetime: float | None = None) -> AwsKey:
        """Temporary keys: base64 with all its characters in the secrets."""
        return self._add(AwsKey(
            _identifier("ASIA"), secrets.token_urlsafe(29)[:36] + "/+a/",
            "IQoJ" + secrets.token_urlsafe(270) + "/+//==",
            f"arn:aws:sts::{role.account}:assumed-role/{role.name}/{name}",
            role.account, f"{role.id}:{name}",
            time.time() + (role.lifetime if lifetime is None else lifetime)))

    def current(self, role: AwsRole, name: str) -> AwsKey:
        """The same keys again until they get old, as EC2 and ECS do."""
        key = self._sessions.get((role.name, name))
        if key is None or (key.expires or 0) - time.time() \
                < min(300, role.lifetime / 2):
            key = self._sessions[role.name, name] = self.session(role, name)
        return key

    def forget_sessions(self) -> None:
        self._sessions.clear()

    def _add(self, key: AwsKey) -> AwsKey:
        self.keys[key.id] = key
        return key

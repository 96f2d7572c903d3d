"""The tests' side of the identity services; mixed into client.Emulator.

    provider = google.add_provider(kind="aws", condition="...")
    google.add_service_account("target@demo-project.iam.gserviceaccount.com",
        policy={"roles/iam.workloadIdentityUser": [
            provider.principal_set("aws_role", "arn:aws:sts::...")]},
        grants={"demo-bucket": ["objectViewer"]})
    google.aws_role("media"); google.instance(role="media")
    file = google.external_account_file(provider, google.aws_source(),
        impersonate="target@demo-project.iam.gserviceaccount.com")
"""

from __future__ import annotations

import functools
import json
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding, NoEncryption, PrivateFormat, PublicFormat)

from . import jwt

CLOUD = "https://www.googleapis.com/auth/cloud-platform"
PROJECT_NUMBER = "123456789012"
AWS_ACCOUNT = "111122223333"
ISSUER = "https://issuer.example.com"


@dataclass(frozen=True)
class Key:
    id: str
    private_pem: str
    public_pem: str


@functools.lru_cache(maxsize=None)
def ec_key(name: str = "default") -> Key:
    """A P-256 key; one per name and process."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Key(
        uuid.uuid4().hex,
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8,
                          NoEncryption()).decode(),
        key.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


@dataclass(frozen=True)
class ProviderInfo:
    """A declared provider, and the names that follow from it."""

    name: str                              # projects/.../providers/...
    kind: str
    issuer: str

    @property
    def audience(self) -> str:
        """The `audience` of credential files and of the exchange."""
        return "//iam.googleapis.com/" + self.name

    @property
    def token_audience(self) -> str:
        """The `aud` that an OIDC token must have by default."""
        return "https:" + self.audience

    @property
    def pool(self) -> str:
        return "iam.googleapis.com/" + self.name.rpartition("/providers/")[0]

    def principal(self, subject: str) -> str:
        """One identity, as a member of a policy or a holder of grants."""
        return f"principal://{self.pool}/subject/{subject}"

    def principal_set(self, attribute: str | None = None,
                      value: str = "") -> str:
        """All with `attribute`=`value`; "group" is google.groups.

        Without an attribute: everybody in the pool.
        """
        if attribute is None:
            return f"principalSet://{self.pool}/*"
        name = "group" if attribute == "group" else f"attribute.{attribute}"
        return f"principalSet://{self.pool}/{name}/{value}"


class Identities:
    if TYPE_CHECKING:
        http_port: int
        url: str

        def call(self, name: str, /, **arguments: Any) -> Any: ...

    # Where the services are

    @property
    def sts_url(self) -> str:
        return self.url + "/v1/token"

    @property
    def sts_refresh_url(self) -> str:
        return self.url + "/v1/oauthtoken"

    @property
    def iam_url(self) -> str:
        """The base; /v1/projects/-/serviceAccounts/... is appended."""
        return self.url

    @property
    def metadata_host(self) -> str:
        """For GCE_METADATA_HOST and GCE_METADATA_IP."""
        return f"127.0.0.1:{self.http_port}"

    @property
    def imds_url(self) -> str:
        """The base; /latest/... is appended. AWS_EC2_METADATA_SERVICE_..."""
        return self.url

    @property
    def aws_sts_url(self) -> str:
        """For AWS_ENDPOINT_URL_STS."""
        return self.url

    def impersonation_url(self, email: str,
                          method: str = "generateAccessToken") -> str:
        return (f"{self.iam_url}/v1/projects/-/serviceAccounts/{email}"
                f":{method}")

    # Service accounts

    def add_service_account(
            self, email: str, *,
            policy: dict[str, list[str]] | None = None,
            grants: dict[str, list[str] | str] | None = None,
            **attributes: Any) -> str:
        """An account without a key, to be impersonated or attached.

        policy: who may act as it, {role: [members]}; `grants`: its own roles
        on buckets. Attributes: api_disabled (IAM Credentials in its project),
        lifetime_extension (up to 12 hours), project_number, unique_id.
        """
        self.call("add_account", email=email,
                  grants={bucket: [r] if isinstance(r, str) else list(r)
                          for bucket, r in (grants or {}).items()})
        if attributes:
            self.call("update_account", email=email, **attributes)
        if policy is not None:
            self.set_policy(email, policy)
        return email

    def update_account(self, email: str, **attributes: Any) -> None:
        """See add_service_account."""
        self.call("update_account", email=email, **attributes)

    def set_policy(self, email: str, policy: dict[str, list[str]]) -> None:
        """Replace who may act as an account: {role: [members]}."""
        self.call("set_policy", email=email, policy=policy)

    def public_keys(self, email: str) -> dict[str, str]:
        """{keyId: PEM}: what signBlob signs with, for verifying."""
        return self.call("public_keys", email=email)

    def account(self, email: str) -> dict[str, Any]:
        """email, unique_id, policy."""
        return self.call("account", email=email)

    # HMAC keys

    def hmac_key(self, email: str, *,
                 grants: dict[str, list[str]] | None = None) \
            -> tuple[str, str]:
        """An HMAC key of an account: access ID and secret."""
        if grants:
            self.add_service_account(email, grants=grants)
        made = self.call("add_hmac_key", email=email)
        return made["access_id"], made["secret"]

    def update_hmac_key(self, access_id: str, state: str) -> None:
        """"active", "inactive" or "deleted"."""
        self.call("update_hmac_key", access_id=access_id, state=state)

    # People

    def add_refresh_token(
            self, principal: str = "someone@example.com", *,
            scopes: tuple[str, ...] = (CLOUD,), members: tuple[str, ...] = (),
            client_id: str | None = None, client_secret: str | None = None,
            rotate: bool = False, revoke_old: bool = False) -> dict[str, str]:
        """client_id, client_secret and refresh_token of a login.

        `rotate`: each refresh is answered with a new refresh token, and with
        `revoke_old` only that one is good from then on. A workforce login
        has a principal:// name and its `members`.
        """
        made = {"client_id": client_id or
                f"1-{secrets.token_hex(8)}.apps.googleusercontent.com",
                "client_secret": client_secret or
                "GOCSPX-" + secrets.token_urlsafe(18),
                "refresh_token": "1//" + secrets.token_urlsafe(48)}
        self.call("add_refresh_token", value=made["refresh_token"],
                  client_id=made["client_id"],
                  client_secret=made["client_secret"], principal=principal,
                  scopes=list(scopes), members=list(members), rotate=rotate,
                  revoke_old=revoke_old)
        return made

    def revoke_refresh_token(self, value: str) -> None:
        self.call("revoke_refresh_token", value=value)

    # Metadata server

    def metadata_account(
            self, email: str | None =
            "attached@demo-project.iam.gserviceaccount.com", *,
            scopes: tuple[str, ...] = (CLOUD,), alias: str = "default",
            grants: dict[str, list[str] | str] | None = None,
            pod: str | None = None) -> str:
        """Attach an account to the machine; returns it as a policy's member.

        GKE: `pod` is NAMESPACE/SERVICE-ACCOUNT. With an e-mail that Google
        account must allow the pod (roles/iam.workloadIdentityUser for the
        returned member), with None the pod is its own principal.
        """
        if pod is None:
            assert email is not None
            self.call("metadata_account", email=email, scopes=list(scopes),
                      alias=alias, principal=None, members=[], linked=False)
            if grants:
                self.add_service_account(email, grants=grants)
            return "serviceAccount:" + email

        pool = (f"iam.googleapis.com/projects/{PROJECT_NUMBER}/locations/"
                "global/workloadIdentityPools/demo-project.svc.id.goog")
        namespace, _, name = pod.partition("/")
        principal = f"principal://{pool}/subject/ns/{namespace}/sa/{name}"
        old = f"serviceAccount:demo-project.svc.id.goog[{pod}]"
        self.call("metadata_account", email=email or
                  "demo-project.svc.id.goog", scopes=list(scopes),
                  alias=alias, principal=None if email else principal,
                  members=[principal, old, f"principalSet://{pool}/namespace/"
                           f"{namespace}"], linked=email is not None)
        for bucket, roles in (grants or {}).items():
            self.call("grant", email=email or principal, bucket=bucket,
                      roles=[roles] if isinstance(roles, str) else roles)
        return old if email else principal

    def metadata_server(self, **attributes: Any) -> None:
        """mode ("gce", "gke", "cloud-run"), project_id, project_number,
        universe (None: 404), ready_after (seconds from now), not_ready
        ("reset", "503", "hang": how it answers until then)."""
        self.call("metadata_server", **attributes)

    def metadata_detach(self, alias: str = "default") -> None:
        self.call("metadata_detach", alias=alias)

    # Federation

    def add_provider(
            self, provider: str = "my-provider", *, pool: str = "my-pool",
            kind: str = "oidc", project_number: str = PROJECT_NUMBER,
            workforce: bool = False, issuer: str = ISSUER,
            audiences: tuple[str, ...] = (),
            mapping: dict[str, str] | None = None,
            condition: str | None = None, account: str | None = None,
            key: str = "oidc", **attributes: Any) -> ProviderInfo:
        """Declare a provider: kind "oidc", "aws" or "saml".

        `mapping` and `condition` are CEL; without a mapping it is Google's
        default for AWS, and google.subject=assertion.sub else. `account`: the
        AWS account. `key` names the issuer's keys, as in oidc_token(). More:
        disabled, unreachable (Google cannot read the issuer's keys).
        """
        name = (f"locations/global/workforcePools/{pool}" if workforce else
                f"projects/{project_number}/locations/global/"
                f"workloadIdentityPools/{pool}") + f"/providers/{provider}"
        if kind == "aws":
            account = account or AWS_ACCOUNT
        self.call("add_provider", name=name, kind=kind, issuer=issuer,
                  audiences=list(audiences), keys=public_keys(key),
                  mapping=mapping or {}, condition=condition,
                  account=account, **attributes)
        return ProviderInfo(name, kind, issuer)

    def update_provider(self, provider: ProviderInfo,
                        **attributes: Any) -> None:
        """kind, issuer, audiences, mapping, condition, account, disabled,
        unreachable."""
        self.call("update_provider", name=provider.name, **attributes)

    def add_sts_client(self, client_id: str, client_secret: str) -> None:
        """An OAuth client of a workforce pool, for HTTP Basic at the STS."""
        self.call("add_sts_client", client_id=client_id,
                  client_secret=client_secret)

    @staticmethod
    def oidc_token(provider: ProviderInfo | None = None,
                   subject: str = "system:serviceaccount:default:reader", *,
                   issuer: str | None = None, audience: Any = None,
                   lifetime: float = 3600, algorithm: str = "RS256",
                   key: str = "oidc", header: dict[str, Any] | None = None,
                   **claims: Any) -> str:
        """A signed ID token. A claim or header of None is left out."""
        pair = _pair(key, algorithm)
        now = int(time.time())
        made = {"iss": issuer or (provider.issuer if provider else ISSUER),
                "sub": subject, "aud": audience or (
                    provider.token_audience if provider else ""),
                "iat": now, "nbf": now, "exp": now + int(lifetime), **claims}
        head = {"alg": algorithm, "typ": "JWT", "kid": pair.id,
                **(header or {})}
        return jwt.make({k: v for k, v in head.items() if v is not None},
                        {k: v for k, v in made.items() if v is not None},
                        pair.private_pem)

    def saml_response(self, provider: ProviderInfo, subject: str,
                      attributes: dict[str, list[str]] | None = None) -> str:
        """An opaque SAML response that the provider knows."""
        response = "PHNhbWxwOlJlc3BvbnNl" + secrets.token_hex(60) + "+/=="
        self.call("add_saml_response", name=provider.name, response=response,
                  assertion={"subject": subject, "sub": subject,
                             "attributes": attributes or {}})
        return response

    def subject_url(self, token: str, *, name: str = "token",
                    field: str | None = None,
                    headers: dict[str, str] | None = None,
                    body: str | None = None, status: int = 200) -> str:
        """A URL that answers with a token; call again to rotate it.

        Plain text, or JSON with the token in `field`. Requests must have
        `headers`. `body` replaces what is sent.
        """
        if body is None:
            body = token if field is None else json.dumps(
                {field: token, "expires_in": "3599", "token_type": "Bearer"})
        self.call("add_subject", name=name, body=body, status=status,
                  headers=headers or {}, content_type="text/plain"
                  if field is None else "application/json; charset=utf-8")
        return f"{self.url}/subject/{name}"

    # AWS

    def aws_user(self, user: str = "alice",
                 account: str = AWS_ACCOUNT) -> dict[str, Any]:
        """Long-lived keys: AccessKeyId, SecretAccessKey, Token (None)."""
        return self.call("aws_user", account=account, user=user)

    def aws_role(self, name: str = "media", account: str = AWS_ACCOUNT, *,
                 lifetime: float = 21600, issuer: str | None = None,
                 audience: str = "sts.amazonaws.com",
                 subject: str | None = None, key: str = "oidc") -> str:
        """A role; its ARN. With an `issuer` web identities may assume it:
        tokens of that issuer for `audience`, of `subject` if given."""
        trust = [] if issuer is None else [{
            "issuer": issuer, "audience": audience, "subject": subject,
            "keys": public_keys(key)}]
        return self.call("aws_role", name=name, account=account,
                         lifetime=lifetime, trust=trust)

    def aws_session(self, role: str = "media", session: str = "session", *,
                    lifetime: float | None = None) -> dict[str, Any]:
        """Temporary keys of a role: AccessKeyId, SecretAccessKey, Token."""
        return self.call("aws_session", role=role, session=session,
                         lifetime=lifetime)

    def aws_rotate(self) -> None:
        """IMDS and containers hand out new keys from now on."""
        self.call("aws_rotate")

    def instance(self, **attributes: Any) -> None:
        """The EC2 instance: role (None: 404), zone, id, version (1: no
        tokens, the PUT is 404; 2: tokens required), optional (2, but a
        request without a token is answered), disabled (403)."""
        self.call("aws_instance", **attributes)

    def container_credentials(
            self, role: str = "media", *,
            path: str = "/v2/credentials/5d2e7f0a",
            authorization: str | None = None) -> str:
        """The URL of container credentials; `path` is also the relative
        URI. `authorization` is demanded as it is."""
        self.call("aws_container", path=path, role=role,
                  authorization=authorization)
        return self.url + path

    # Observation

    def secrets(self) -> list[str]:
        """All that must never be in a log: tokens, keys, assertions."""
        return self.call("secrets")


def _pair(key: str, algorithm: str) -> Any:
    from .client import signing_key
    return ec_key(key) if algorithm == "ES256" else signing_key(key)


def public_keys(key: str) -> dict[str, str]:
    """An issuer's keys: one for RS256, one for ES256."""
    return {pair.id: pair.public_pem
            for pair in (_pair(key, "RS256"), _pair(key, "ES256"))}

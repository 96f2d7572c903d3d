"""Workload and workforce identity pools, and whom their tokens stand for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import aws_identity, jwt, mapping
from .aws_state import Aws
from .forms import Refusal

_TYPE = "urn:ietf:params:oauth:token-type:"
AWS_TYPE = "urn:ietf:params:aws:token-type:aws4_request"
SUBJECT_TYPES = {"oidc": frozenset([_TYPE + "jwt", _TYPE + "id_token"]),
                 "saml": frozenset([_TYPE + "saml2"]),
                 "aws": frozenset([AWS_TYPE])}


@dataclass
class Provider:
    name: str                              # projects/.../providers/...
    kind: str                              # "oidc", "aws", "saml"
    issuer: str = ""
    audiences: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)   # kid -> public PEM
    account: str | None = None             # of AWS
    mapping: dict[str, str] = field(default_factory=dict)
    condition: str | None = None
    disabled: bool = False
    unreachable: bool = False              # Google cannot read the issuer
    responses: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in SUBJECT_TYPES:
            raise ValueError(f"unknown kind of provider {self.kind}")
        if not self.mapping:
            self.mapping = dict(mapping.AWS_DEFAULT) if self.kind == "aws" \
                else {"google.subject": "assertion.sub"}
        mapping.check(self.mapping, self.condition)

    @property
    def resource(self) -> str:
        return "//iam.googleapis.com/" + self.name

    @property
    def pool(self) -> str:
        return "iam.googleapis.com/" + self.name.rpartition("/providers/")[0]

    @property
    def workforce(self) -> bool:
        return self.name.startswith("locations/")

    def assertion(self, subject_token: str, aws: Aws,
                  record: dict[str, Any]) -> dict[str, Any]:
        """What the credential says, once it is proven."""
        if self.kind == "aws":
            key = aws_identity.caller(subject_token, self.resource, aws,
                                      record)
            if self.account is not None and key.account != self.account:
                raise Refusal("invalid_grant", "The AWS account of the given "
                              "credential does not match that of the "
                              "provider.")
            return {"arn": key.arn, "account": key.account,
                    "userid": key.user_id}

        if self.kind == "saml":
            if subject_token not in self.responses:
                raise Refusal("invalid_grant",
                              "Invalid SAML response: bad signature.")
            return self.responses[subject_token]

        try:
            header, claims, _, _ = jwt.parse(subject_token)
            record["assertion"] = {"header": header, "claims": claims}
        except ValueError:
            pass                           # verify() has the word for it
        if self.unreachable:
            raise Refusal("invalid_grant", "Error connecting to the given "
                          "credential's issuer.")
        return jwt.verify(subject_token, self.issuer, self.keys,
                          self.audiences or ["https:" + self.resource])


def members(pool: str, google: dict[str, Any], attribute: dict[str, Any]) \
        -> tuple[str, frozenset[str]]:
    """The principal, and all the names by which a policy may mean it."""
    principal = f"principal://{pool}/subject/{google['subject']}"
    names = {principal, f"principalSet://{pool}/*"}
    names |= {f"principalSet://{pool}/attribute.{name}/{value}"
              for name, value in attribute.items()}
    names |= {f"principalSet://{pool}/group/{group}"
              for group in google.get("groups", [])}
    return principal, frozenset(names)

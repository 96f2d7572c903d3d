"""Credential files as Google's tools write them; mixed into Emulator.

Their URLs are the emulator's. With google=True they are Google's own, for
clients that reach the emulator by other means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .identities import CLOUD, Identities, ProviderInfo

_JWT = "urn:ietf:params:oauth:token-type:jwt"
_SAML = "urn:ietf:params:oauth:token-type:saml2"
_AWS = "urn:ietf:params:aws:token-type:aws4_request"
_IMDS = "http://169.254.169.254"

File = dict[str, Any]


class CredentialFiles(Identities):
    if TYPE_CHECKING:
        def grant(self, email: str, bucket: str,
                  roles: list[str]) -> None: ...

    def _host(self, service: str, google: bool) -> str:
        return f"https://{service}.googleapis.com" if google else self.url

    def _impersonation(self, email: str, google: bool) -> str:
        return (self._host("iamcredentials", google)
                + f"/v1/projects/-/serviceAccounts/{email}"
                ":generateAccessToken")

    def authorized_user_file(
            self, email: str = "someone@example.com", *,
            grants: dict[str, list[str]] | None = None,
            login: dict[str, str] | None = None, **members: Any) -> File:
        """gcloud auth application-default login.

        `login` is an add_refresh_token(); without it one is made. Further
        members go into the file (quota_project_id).
        """
        login = login or self.add_refresh_token(email)
        for bucket, roles in (grants or {}).items():
            self.grant(email, bucket, roles)
        return {"account": "", **login, "type": "authorized_user",
                "universe_domain": "googleapis.com", **members}

    def impersonated_file(self, target: str, source: File, *,
                          delegates: tuple[str, ...] = (),
                          google: bool = False, **members: Any) -> File:
        """gcloud auth application-default login --impersonate-service-...

        `source` is a complete file; `delegates` are plain e-mails. Further
        members: scopes, quota_project_id.
        """
        return {"delegates": list(delegates),
                "service_account_impersonation_url":
                    self._impersonation(target, google),
                "source_credentials": source,
                "type": "impersonated_service_account", **members}

    def external_account_file(
            self, provider: ProviderInfo, source: File, *,
            impersonate: str | None = None, lifetime: int | None = None,
            google: bool = False, **members: Any) -> File:
        """gcloud iam workload-identity-pools create-cred-config.

        `source` is a file_source(), url_source(), aws_source() or
        executable_source(); `impersonate` an account's e-mail and `lifetime`
        its token_lifetime_seconds. Further members: subject_token_type,
        client_id, client_secret, workforce_pool_user_project.
        """
        kinds = {"oidc": _JWT, "saml": _SAML, "aws": _AWS}
        made: File = {
            "universe_domain": "googleapis.com", "type": "external_account",
            "audience": provider.audience,
            "subject_token_type": kinds[provider.kind],
            "token_url": self._host("sts", google) + "/v1/token",
            "credential_source": source}
        if impersonate is not None:
            made["service_account_impersonation_url"] = \
                self._impersonation(impersonate, google)
        if lifetime is not None:
            made["service_account_impersonation"] = {
                "token_lifetime_seconds": lifetime}
        return {**made, **members}

    @staticmethod
    def _format(field: str | None) -> File:
        return {"type": "text"} if field is None else {
            "type": "json", "subject_token_field_name": field}

    def file_source(self, path: Any, field: str | None = None) -> File:
        return {"file": str(path), "format": self._format(field)}

    def url_source(self, url: str, field: str | None = None,
                   headers: dict[str, str] | None = None) -> File:
        """`url` as subject_url() gives it."""
        made: File = {"url": url, "format": self._format(field)}
        return {**made, "headers": headers} if headers else made

    def aws_source(self, *, imdsv2: bool = True,
                   google: bool = False) -> File:
        """The instance's URLs; with google=True at 169.254.169.254."""
        base = (_IMDS if google else self.imds_url) + "/latest"
        made = {"environment_id": "aws1",
                "region_url": base + "/meta-data/placement/availability-zone",
                "url": base + "/meta-data/iam/security-credentials",
                "regional_cred_verification_url":
                    "https://sts.{region}.amazonaws.com"
                    "?Action=GetCallerIdentity&Version=2011-06-15"}
        if imdsv2:
            made["imdsv2_session_token_url"] = base + "/api/token"
        return made

    @staticmethod
    def executable_source(output_file: Any,
                          command: str = "/bin/false") -> File:
        return {"executable": {"command": command, "timeout_millis": 5000,
                               "output_file": str(output_file)}}

    def external_account_authorized_user_file(
            self, subject: str = "someone@example.com", *,
            pool: str = "my-workforce", provider: str = "my-idp",
            scopes: tuple[str, ...] = (CLOUD,), rotate: bool = False,
            revoke_old: bool = False, google: bool = False,
            **members: Any) -> File:
        """gcloud auth application-default login with a workforce pool.

        The principal, for grants and policies, is
        principal://iam.googleapis.com/locations/global/workforcePools/POOL/
        subject/SUBJECT.
        """
        name = f"locations/global/workforcePools/{pool}"
        principal = f"principal://iam.googleapis.com/{name}/subject/{subject}"
        login = self.add_refresh_token(
            principal, scopes=scopes, rotate=rotate, revoke_old=revoke_old,
            members=(principal,
                     f"principalSet://iam.googleapis.com/{name}/*"))
        base = self._host("sts", google)
        return {"type": "external_account_authorized_user",
                "audience": f"//iam.googleapis.com/{name}/providers/"
                            f"{provider}",
                **login, "token_url": base + "/v1/oauthtoken",
                "token_info_url": base + "/v1/introspect",
                "revoke_url": base + "/v1/revoke",
                "universe_domain": "googleapis.com", **members}

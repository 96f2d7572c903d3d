"""Control calls about identities; see control.py."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .accounts import Signer, check_binding
from .aws_state import AwsKey, AwsRole, Container, WebIdentityTrust
from .federation import Provider
from .hmac_keys import HmacKey, STATES
from .metadata import Attached
from .refresh_tokens import RefreshToken
from .subjects import Subject

if TYPE_CHECKING:
    from .server import App


class IdentityControl:
    app: "App"

    # Service accounts

    def do_set_policy(self, email: str, policy: dict[str, list[str]]) -> None:
        """Replaces who may act as a service account."""
        for role, members in policy.items():
            check_binding(role, members)
        account = self.app.accounts.get_or_create(email)
        account.policy = {role: set(m) for role, m in policy.items()}

    def do_update_account(self, email: str, **attributes: Any) -> None:
        account = self.app.accounts.by_email[email]
        for name, value in attributes.items():
            if name not in ("api_disabled", "lifetime_extension",
                            "project_number", "unique_id", "person"):
                raise ValueError(f"unknown account attribute {name}")
            setattr(account, name, value)

    def do_public_keys(self, email: str) -> dict[str, str]:
        account = self.app.accounts.by_email[email]
        if account.signer is None:
            account.signer = Signer()
        return {account.signer.id: account.signer.public_pem}

    def do_account(self, email: str) -> dict[str, Any]:
        account = self.app.accounts.by_email[email]
        return {"email": account.email, "unique_id": account.unique_id,
                "policy": {r: sorted(m) for r, m in account.policy.items()}}

    # HMAC keys

    def do_add_hmac_key(self, email: str) -> dict[str, str]:
        self.app.accounts.get_or_create(email)
        key = HmacKey(email)
        self.app.hmac_keys[key.access_id] = key
        return {"access_id": key.access_id, "secret": key.secret}

    def do_update_hmac_key(self, access_id: str, state: str) -> None:
        if state not in STATES:
            raise ValueError(f"unknown state {state}")
        self.app.hmac_keys[access_id].state = state

    def do_set_hmac_secret(self, access_id: str, secret: str) -> None:
        self.app.hmac_keys[access_id].secret = secret

    # People

    def do_add_refresh_token(self, value: str, client_id: str,
                             client_secret: str, principal: str,
                             scopes: list[str], members: list[str],
                             rotate: bool, revoke_old: bool) -> None:
        if not members:
            self.app.accounts.get_or_create(principal).person = True
        self.app.refresh_tokens.add(RefreshToken(
            value, client_id, client_secret, principal, frozenset(scopes),
            frozenset(members), rotate, revoke_old))

    def do_revoke_refresh_token(self, value: str) -> None:
        self.app.refresh_tokens.by_value[value].revoked = True

    # Metadata server

    def do_metadata_account(self, email: str, scopes: list[str], alias: str,
                            principal: str | None, members: list[str],
                            linked: bool) -> None:
        if "@" in email:
            self.app.accounts.get_or_create(email)
        self.app.metadata.accounts[alias] = Attached(
            email, scopes, frozenset(members), principal, linked)

    def do_metadata_server(self, ready_after: float | None = None,
                           **attributes: Any) -> None:
        state = self.app.metadata
        for name, value in attributes.items():
            if name not in ("mode", "project_id", "project_number",
                            "universe", "not_ready"):
                raise ValueError(f"unknown metadata attribute {name}")
            setattr(state, name, value)
        if state.mode not in ("gce", "gke", "cloud-run"):
            raise ValueError(f"unknown mode {state.mode}")
        if state.not_ready not in ("reset", "503", "hang"):
            raise ValueError(f"unknown answer {state.not_ready}")
        if ready_after is not None:
            state.ready_at = time.time() + ready_after

    def do_metadata_detach(self, alias: str) -> None:
        del self.app.metadata.accounts[alias]

    # Federation

    def do_add_provider(self, name: str, **attributes: Any) -> dict[str, Any]:
        provider = self.app.providers[name] = Provider(name, **attributes)
        return {"mapping": provider.mapping, "pool": provider.pool}

    def do_update_provider(self, name: str, **attributes: Any) -> None:
        old = self.app.providers[name]
        self.app.providers[name] = Provider(**{**vars(old), **attributes})

    def do_add_saml_response(self, name: str, response: str,
                             assertion: dict[str, Any]) -> None:
        self.app.providers[name].responses[response] = assertion

    def do_add_sts_client(self, client_id: str, client_secret: str) -> None:
        self.app.sts_clients[client_id] = client_secret

    def do_add_subject(self, name: str, body: str, content_type: str,
                       headers: dict[str, str], status: int) -> None:
        self.app.subjects[name] = Subject(body, content_type, headers, status)

    # AWS

    def do_aws_user(self, account: str, user: str) -> dict[str, Any]:
        return self._key(self.app.aws.user_key(account, user))

    def do_aws_role(self, name: str, account: str, lifetime: float,
                    trust: list[dict[str, Any]]) -> str:
        role = AwsRole(name, account, lifetime,
                       trust=[WebIdentityTrust(**item) for item in trust])
        self.app.aws.roles[name] = role
        return role.arn

    def do_aws_session(self, role: str, session: str,
                       lifetime: float | None) -> dict[str, Any]:
        aws = self.app.aws
        return self._key(aws.session(aws.roles[role], session, lifetime))

    def do_aws_rotate(self) -> None:
        self.app.aws.forget_sessions()

    def do_aws_instance(self, **attributes: Any) -> None:
        instance = self.app.aws.instance
        for name, value in attributes.items():
            if name not in ("id", "zone", "role", "version", "optional",
                            "disabled"):
                raise ValueError(f"unknown instance attribute {name}")
            setattr(instance, name, value)

    def do_aws_container(self, path: str, role: str,
                         authorization: str | None) -> None:
        self.app.aws.containers[path] = Container(path, role, authorization)

    @staticmethod
    def _key(key: AwsKey) -> dict[str, Any]:
        return {"AccessKeyId": key.id, "SecretAccessKey": key.secret,
                "Token": key.session_token, "Arn": key.arn,
                "UserId": key.user_id}

    # What must never be seen in a log

    def do_secrets(self) -> list[str]:
        aws, app = self.app.aws, self.app
        found = [key.secret for key in aws.keys.values()]
        found += [k.session_token for k in aws.keys.values()
                  if k.session_token]
        found += list(aws.instance.tokens)
        found += [c.authorization for c in aws.containers.values()
                  if c.authorization]
        for item in {id(t): t for t in
                     app.refresh_tokens.by_value.values()}.values():
            found += [item.value, item.client_secret, *item.previous]
        found += list(app.sts_clients.values())
        found += [key.secret for key in app.hmac_keys.values()]
        found += [token.value for token in app.accounts.tokens.values()]
        for record in app.records:         # subject tokens, assertions
            if record.get("signature"):    # of an HMAC key, or of a URL
                found.append(record["signature"])
            form = record.get("form", {})
            found += [form[name] for name in (
                "subject_token", "assertion", "WebIdentityToken")
                if form.get(name)]
        return sorted(set(found))

"""Refresh tokens of people: authorized_user and workforce logins."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from .accounts import Token
from .forms import Refusal, lifetime_of
from .service import Context


@dataclass
class RefreshToken:
    value: str
    client_id: str
    client_secret: str
    principal: str                         # e-mail, or principal://...
    scopes: frozenset[str]
    members: frozenset[str] = frozenset()  # of a federated principal
    rotate: bool = False                   # answer with a new one each time
    revoke_old: bool = False               # and forget the one before
    revoked: bool = False
    previous: list[str] = field(default_factory=list)


class RefreshTokens:

    def __init__(self) -> None:
        self.by_value: dict[str, RefreshToken] = {}

    def add(self, item: RefreshToken) -> None:
        self.by_value[item.value] = item

    def use(self, context: Context, form: dict[str, str], client_id: str,
            client_secret: str) -> tuple[Token, str | None]:
        """An access token, and the refresh token that replaces this one."""
        known = {t.client_id: t.client_secret for t in self.by_value.values()}
        if client_id not in known:
            raise Refusal("invalid_client", "The OAuth client was not found.",
                          401)
        if known[client_id] != client_secret:
            raise Refusal("invalid_client", "Unauthorized", 401)

        item = self.by_value.get(form["refresh_token"])
        if item is None or item.revoked:
            raise Refusal("invalid_grant",
                          "Token has been expired or revoked.")
        if item.client_id != client_id:
            raise Refusal("unauthorized_client", "Unauthorized", 401)

        context.record["account"] = item.principal
        scopes = frozenset(form["scope"].split()) if "scope" in form \
            else item.scopes
        if not scopes or not scopes <= item.scopes:
            raise Refusal("invalid_scope", "Bad Request")

        token = context.app.accounts.mint(
            item.principal, sorted(scopes), lifetime_of(context),
            members=item.members,
            source="sts" if item.members else "token",
            prefix="ya29.d." if item.members else "ya29.a0")
        return token, self._rotate(item)

    def _rotate(self, item: RefreshToken) -> str | None:
        if not item.rotate:
            return None
        rotated = item.value + "." + secrets.token_urlsafe(12)
        if item.revoke_old:
            del self.by_value[item.value]
        item.previous.append(item.value)
        item.value = rotated
        self.by_value[rotated] = item
        return rotated

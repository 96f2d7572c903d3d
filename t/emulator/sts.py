"""Google's Security Token Service: /v1/token and /v1/oauthtoken."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

from . import mapping
from .accounts import KNOWN_SCOPES
from .errors import front_end
from .federation import SUBJECT_TYPES, Provider, members
from .forms import (Refusal, basic_credentials, check_fields,
                    lifetime_of, read_form, token_answer)
from .service import Context, Service
from .wire import Response

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"

_REFERENCE = ("https://cloud.google.com/iam/docs/reference/sts/rest/v1/"
              "TopLevel/token")
_AUDIENCE = re.compile(
    r"//iam\.googleapis\.com/(projects/[^/]+/locations/global/"
    r"workloadIdentityPools|locations/global/workforcePools)"
    r"/[a-z0-9-]{4,63}/providers/[a-z0-9-]{4,63}\Z")
_REQUIRED = {"grant_type", "audience", "scope", "requested_token_type",
             "subject_token_type", "subject_token"}


def _invalid(name: str, more: str = "") -> Refusal:
    return Refusal("invalid_request", f'Invalid value for "{name}".' + more)


class SecurityTokens(Service):
    kind = "sts"
    hosts = frozenset(["sts.googleapis.com"])

    def wants(self, context: Context) -> bool:
        return context.request.path in (b"/v1/token", b"/v1/oauthtoken")

    async def handle(self, context: Context) -> Response:
        request = context.request
        if request.method != "POST":
            return front_end(404, "The requested URL was not found on this "
                             "server.")
        if request.has_query:
            context.violate("query: " + request.query_string.decode(
                "latin-1"))
        try:
            if request.path == b"/v1/oauthtoken":
                return self._refresh(context)
            return self._exchange(context)
        except Refusal as refusal:
            return refusal.response(context)

    # A workforce login that is refreshed

    @staticmethod
    def _refresh(context: Context) -> Response:
        form = read_form(context)
        if form.get("grant_type") != "refresh_token":
            raise Refusal("unsupported_grant_type", "Invalid grant_type: "
                          + form.get("grant_type", ""))
        check_fields(context, form, {"grant_type", "refresh_token"},
                     frozenset(["scope"]))
        client = basic_credentials(context)
        if client is None:
            raise Refusal("invalid_client",
                          "Client authentication is missing.", 401)
        context.record["client"] = list(client)

        token, rotated = context.app.refresh_tokens.use(context, form,
                                                        *client)
        members = {"access_token": token.value, "token_type": "Bearer",
                   "expires_in": 0}
        if rotated is not None:
            members["refresh_token"] = rotated
        return token_answer(context, members, lifetime_of(context))

    # The exchange

    def _exchange(self, context: Context) -> Response:
        form = read_form(context)
        if form.get("grant_type") != EXCHANGE:
            raise _invalid("grantType")
        check_fields(context, form, _REQUIRED, frozenset(["options"]))
        if form["requested_token_type"] != ACCESS_TOKEN:
            raise _invalid("requestedTokenType")
        for scope in form["scope"].split(" "):
            if scope not in KNOWN_SCOPES:
                raise Refusal("invalid_scope",
                              f"{scope} is not a valid scope.")

        client = basic_credentials(context)
        context.record["client"] = list(client) if client else None
        provider = self._provider(context, form["audience"])
        self._client(context, provider, client, form.get("options"))

        if form["subject_token_type"] not in SUBJECT_TYPES[provider.kind]:
            raise _invalid("subjectTokenType")

        assertion = provider.assertion(form["subject_token"], context.app.aws,
                                       context.record)
        google, attribute = mapping.evaluate(provider.mapping,
                                             provider.condition, assertion)
        principal, names = members(provider.pool, google, attribute)
        context.record.update(account=principal, members=sorted(names),
                              attributes=attribute)

        lifetime = lifetime_of(context)
        token = context.app.accounts.mint(
            principal, form["scope"].split(" "), lifetime, members=names,
            source="sts", prefix="ya29.d.", size=context.app.config.sts_size)
        return token_answer(context, {
            "access_token": token.value, "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer", "expires_in": 0}, lifetime)

    @staticmethod
    def _provider(context: Context, audience: str) -> Provider:
        if not _AUDIENCE.match(audience):
            raise _invalid(
                "audience", " This value should be the full resource name of "
                f"the Identity Provider. See {_REFERENCE} for the list of "
                "possible formats.")
        provider = context.app.providers.get(
            audience.removeprefix("//iam.googleapis.com/"))
        if provider is None or provider.disabled:
            raise Refusal(
                "invalid_target", 'The target service indicated by the '
                '"audience" parameters is invalid. This might either be '
                "because the pool or provider is disabled or deleted or "
                "because it doesn't exist.")
        return provider

    @staticmethod
    def _client(context: Context, provider: Provider,
                client: tuple[str, str] | None, options: str | None) -> None:
        """Only a workforce has clients; without one it names a project."""
        if client is not None:
            if context.app.sts_clients.get(client[0]) != client[1]:
                raise Refusal("invalid_client", "The OAuth client was not "
                              "found.", 401)
            if options is not None:
                context.violate("options beside a client")
            return

        if options is None:
            if provider.workforce:
                raise _invalid("options", " A user project is required.")
            return

        try:                               # Python encodes it once more
            value = json.loads(unquote(options))
        except ValueError:
            raise _invalid("options") from None
        if not isinstance(value, dict) or set(value) != {"userProject"} \
                or not isinstance(value["userProject"], str):
            raise _invalid("options")
        context.record["options"] = value
        if not provider.workforce:
            context.violate("options for a workload pool")

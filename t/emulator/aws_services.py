"""AWS's side: instance metadata, container credentials, and its STS."""

from __future__ import annotations

import json
import re
import secrets
import time
import uuid
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from . import jwt
from .aws_state import AwsKey, AwsRole, Instance, WebIdentityTrust
from .forms import FORM
from .service import Context, Service
from .wire import Response

_MAX_TTL = 21600


def _answer(status: int, body: str, content_type: str,
            *headers: tuple[str, str]) -> Response:
    return Response(status, [
        ("Content-Type", content_type),
        ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
        *headers], body.encode())


def _credentials(key: AwsKey) -> dict[str, Any]:
    return {"AccessKeyId": key.id, "SecretAccessKey": key.secret,
            "Token": key.session_token, "Expiration": key.expiration}


class InstanceMetadata(Service):
    """IMDS, versions 1 and 2."""

    kind = "imds"
    hosts = frozenset(["169.254.169.254"])
    refuses_headers = True                 # says 403 itself

    def wants(self, context: Context) -> bool:
        return (context.request.path.startswith(b"/latest/")
                and "latest" not in context.app.store.buckets)

    async def handle(self, context: Context) -> Response:
        request, instance = context.request, context.app.aws.instance
        path = unquote(request.path.decode("latin-1")) \
            .removeprefix("/latest/")

        if instance.disabled or request.get("x-forwarded-for") is not None:
            return self._html(403, "Forbidden")
        if path == "api/token":
            return self._new_token(context, instance)
        if request.method not in ("GET", "HEAD"):
            return self._html(405, "Method Not Allowed")

        given = request.get("x-aws-ec2-metadata-token")
        if given is not None:
            if instance.version == 1 \
                    or instance.tokens.get(given, 0) <= time.time():
                context.record["credential"] = "unknown"
                return self._html(401, "Unauthorized")
            context.record["credential"] = "valid"
        elif instance.version == 2 and not instance.optional:
            context.record["credential"] = "missing"
            return self._html(401, "Unauthorized")
        return self._read(context, instance, path)

    def _new_token(self, context: Context, instance: Instance) -> Response:
        request = context.request
        if instance.version == 1:
            return self._html(404, "Not Found")
        if request.method != "PUT":
            return self._html(405, "Method Not Allowed")
        ttl = request.get("x-aws-ec2-metadata-token-ttl-seconds") or ""
        if not re.fullmatch("[0-9]{1,6}", ttl) \
                or not 1 <= int(ttl) <= _MAX_TTL:
            return self._html(400, "Bad Request")
        if request.body:
            context.violate("a body with the request for a token")

        token = "AQAE" + secrets.token_urlsafe(39) + "=="
        instance.tokens[token] = time.time() + int(ttl)
        return self._text(token, (
            "X-aws-ec2-metadata-token-ttl-seconds", ttl))

    def _read(self, context: Context, instance: Instance,
              path: str) -> Response:
        texts = {"meta-data/placement/availability-zone": instance.zone,
                 "meta-data/placement/region": instance.zone[:-1],
                 "meta-data/instance-id": instance.id}
        if path in texts:
            return self._text(texts[path])

        place = "meta-data/iam/security-credentials"
        role = context.app.aws.roles.get(instance.role or "")
        if role is None or not (path == place
                                or path.startswith(place + "/")):
            return self._html(404, "Not Found")

        name = path[len(place) + 1:]
        if not name:
            return self._text(role.name)
        if name != role.name:
            return self._html(404, "Not Found")
        key = context.app.aws.current(role, instance.id)
        return self._text(json.dumps({
            "Code": "Success", "Type": "AWS-HMAC",
            "LastUpdated": time.strftime("%Y-%m-%dT%H:%M:%SZ",
                                         time.gmtime()),
            **_credentials(key)}, indent=2))

    @staticmethod
    def _text(body: str, *headers: tuple[str, str]) -> Response:
        return _answer(200, body, "text/plain", ("Server", "EC2ws"),
                       ("Accept-Ranges", "none"), *headers)

    @staticmethod
    def _html(status: int, what: str) -> Response:
        return _answer(status, '<?xml version="1.0" encoding="iso-8859-1"?>\n'
                       f"<html><head><title>{status} - {what}</title></head>"
                       f"<body><h1>{status} - {what}</h1></body></html>\n",
                       "text/html", ("Server", "EC2ws"))


class ContainerCredentials(Service):
    """ECS's task role endpoint, and EKS's Pod Identity agent."""

    kind = "container"
    hosts = frozenset(["169.254.170.2", "169.254.170.23"])

    def wants(self, context: Context) -> bool:
        return context.request.path.decode("latin-1") \
            in context.app.aws.containers

    async def handle(self, context: Context) -> Response:
        request, aws = context.request, context.app.aws
        container = aws.containers[request.path.decode("latin-1")]
        if request.method != "GET":
            return self._error(405, "MethodNotAllowed", "Use GET.")
        given = request.get("authorization")
        if given != container.authorization:
            context.record["credential"] = "missing" if given is None \
                else "unknown"
            return self._error(401 if given is None else 403, "AccessDenied",
                               "Service account token is not valid.")
        context.record["credential"] = "valid" if given else "none"

        role: AwsRole | None = aws.roles.get(container.role)
        if role is None:
            return self._error(404, "NoIamRole", "No role is attached.")
        key = aws.current(role, "task")
        return _answer(200, json.dumps({
            "RoleArn": role.arn, **_credentials(key)}), "application/json")

    @staticmethod
    def _error(status: int, code: str, message: str) -> Response:
        return _answer(status, json.dumps({"code": code, "message": message}),
                       "application/json")


class AwsFailure(Exception):

    def __init__(self, code: str, message: str, status: int = 400):
        super().__init__(message)
        self.code = code
        self.status = status


class AwsSecurityTokens(Service):
    """AssumeRoleWithWebIdentity, as pods with a role (IRSA) call it."""

    kind = "aws-sts"

    def knows_host(self, host: str) -> bool:
        return re.fullmatch(r"sts(\.[a-z0-9-]+)?\.amazonaws\.com", host) \
            is not None

    def wants(self, context: Context) -> bool:
        request = context.request
        if request.path != b"/":
            return False
        return request.parameter("Action") is not None or (
            request.method == "POST" and (request.get("content-type") or "")
            .lower().startswith(FORM))

    async def handle(self, context: Context) -> Response:
        request = context.request
        source = request.body if request.method == "POST" \
            else request.query_string
        try:
            pairs = parse_qsl(source.decode("ascii"), True,
                              strict_parsing=True, errors="strict")
        except ValueError:
            pairs = []
        form = context.record["form"] = dict(pairs)

        try:
            if len(form) != len(pairs) or not pairs:
                raise AwsFailure("MalformedQueryString", "The query string "
                                 "contains a syntax error")
            if request.get("authorization") is not None:
                context.violate("authorization with a web identity")
            return self._assume(context, form)
        except AwsFailure as failure:
            context.record["credential"] = f"refused: {failure}"
            return self._error(failure)

    def _assume(self, context: Context, form: dict[str, str]) -> Response:
        if form.get("Version") != "2011-06-15" \
                or form.get("Action") != "AssumeRoleWithWebIdentity":
            raise AwsFailure("InvalidAction", "Could not find operation "
                             f"{form.get('Action')} for version "
                             f"{form.get('Version')}")
        unknown = set(form) - {"Action", "Version", "RoleArn",
                               "RoleSessionName", "WebIdentityToken",
                               "DurationSeconds"}
        if unknown:
            context.violate("unexpected parameters: "
                            + " ".join(sorted(unknown)))
        for name, shape in (("RoleArn", r"arn:aws:iam::\d{12}:role/\S+"),
                            ("RoleSessionName", r"[\w+=,.@-]{2,64}"),
                            ("WebIdentityToken", r"(?s).{4,20000}"),
                            ("DurationSeconds", r"[0-9]{3,5}")):
            if name in form or name != "DurationSeconds":
                if not re.fullmatch(shape, form.get(name, "")):
                    raise AwsFailure("ValidationError", "1 validation error "
                                     "detected: Value at '" + name[:1].lower()
                                     + name[1:] + "' failed to satisfy "
                                     "constraint")

        denied = AwsFailure("AccessDenied", "Not authorized to perform "
                            "sts:AssumeRoleWithWebIdentity", 403)
        role = next((r for r in context.app.aws.roles.values()
                     if r.arn == form["RoleArn"]), None)
        claims, trust = self._verify(context, role, form["WebIdentityToken"])
        if role is None or trust is None or trust.subject not in (
                None, claims["sub"]):
            raise denied

        lifetime = int(form.get("DurationSeconds", "3600"))
        if not 900 <= lifetime <= 43200:
            raise AwsFailure("ValidationError", "The requested "
                             "DurationSeconds exceeds the MaxSessionDuration "
                             "set for this role.")
        key = context.app.aws.session(role, form["RoleSessionName"],
                                      min(lifetime, role.lifetime))
        context.record.update(credential="ok", account=key.arn)
        return self._assumed(key, claims, trust)

    @staticmethod
    def _verify(context: Context, role: AwsRole | None, token: str) \
            -> tuple[dict[str, Any], WebIdentityTrust | None]:
        try:
            header, claims, signature, signed = jwt.parse(token)
        except ValueError:
            raise AwsFailure("InvalidIdentityToken", "The ID Token provided "
                             "is not a valid JWT. (You may see this error if "
                             "you sent an Access Token)") from None
        context.record["assertion"] = {"header": header, "claims": claims}
        known = [t for r in context.app.aws.roles.values() for t in r.trust
                 if t.issuer == claims.get("iss")]
        if not known:
            raise AwsFailure("InvalidIdentityToken", "No OpenIDConnect "
                             "provider found in your account for "
                             f"{claims.get('iss')}")
        key = known[0].keys.get(str(header.get("kid")))
        if key is None or not jwt.signed_by(key, header.get("alg"), signature,
                                            signed):
            raise AwsFailure("InvalidIdentityToken", "Couldn't retrieve "
                             "verification key from your identity provider")
        now, expires = int(time.time()), claims.get("exp", 0)
        if expires <= now:
            raise AwsFailure("ExpiredTokenException", "Token expired: current "
                             f"date/time {now} must be before the expiration "
                             f"date/time{int(expires)}")
        if not any(t.audience in jwt.audiences(claims) for t in known):
            raise AwsFailure("InvalidIdentityToken",
                             "Incorrect token audience")
        trust = [t for t in (role.trust if role else []) if t in known]
        return claims, trust[0] if trust else None

    @staticmethod
    def _assumed(key: AwsKey, claims: dict[str, Any],
                 trust: WebIdentityTrust) -> Response:
        name = "AssumeRoleWithWebIdentity"
        return AwsSecurityTokens._xml(
            200, f"<{name}Response xmlns=\"https://sts.amazonaws.com/doc/"
            f"2011-06-15/\">\n  <{name}Result>\n"
            f"    <Audience>{escape(trust.audience)}</Audience>\n"
            "    <AssumedRoleUser>\n"
            f"      <AssumedRoleId>{escape(key.user_id)}</AssumedRoleId>\n"
            f"      <Arn>{escape(key.arn)}</Arn>\n"
            "    </AssumedRoleUser>\n"
            f"    <Provider>{escape(trust.issuer)}</Provider>\n"
            "    <Credentials>\n"
            f"      <AccessKeyId>{key.id}</AccessKeyId>\n"
            f"      <SecretAccessKey>{escape(key.secret)}</SecretAccessKey>\n"
            f"      <SessionToken>{escape(key.session_token or '')}"
            "</SessionToken>\n"
            f"      <Expiration>{key.expiration}</Expiration>\n"
            "    </Credentials>\n    <SubjectFromWebIdentityToken>"
            f"{escape(str(claims['sub']))}</SubjectFromWebIdentityToken>\n"
            f"  </{name}Result>\n  <ResponseMetadata>\n"
            f"    <RequestId>{uuid.uuid4()}</RequestId>\n"
            f"  </ResponseMetadata>\n</{name}Response>\n")

    @staticmethod
    def _error(failure: AwsFailure) -> Response:
        return AwsSecurityTokens._xml(
            failure.status, '<ErrorResponse xmlns="https://sts.amazonaws.com/'
            'doc/2011-06-15/">\n  <Error>\n    <Type>Sender</Type>\n'
            f"    <Code>{failure.code}</Code>\n"
            f"    <Message>{escape(str(failure))}</Message>\n  </Error>\n"
            f"  <RequestId>{uuid.uuid4()}</RequestId>\n</ErrorResponse>\n")

    @staticmethod
    def _xml(status: int, body: str) -> Response:
        return _answer(status, body, "text/xml",
                       ("x-amzn-RequestId", str(uuid.uuid4())))

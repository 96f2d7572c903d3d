"""The emulator's STS, and the AWS that it believes, behave as the real ones.

Subject tokens are made by Google's own signer, AWS's services are asked by
botocore; then one thing at a time is spoiled.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import sys
import urllib.parse

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

pytest.importorskip("google.auth")
from google.auth import _helpers as google_helpers  # noqa: E402
from google.auth.aws import (AwsSecurityCredentials,  # noqa: E402
                             RequestSigner)

from emulator import Emulator  # noqa: E402
from emulator.mapping import extract  # noqa: E402
from emulator.testing import ask  # noqa: E402

AUTH = "https://www.googleapis.com/auth/"
CLOUD = AUTH + "cloud-platform"
READ = AUTH + "devstorage.read_only"
SUBJECT = "system:serviceaccount:default:reader"
ROLE_SET = "arn:aws:sts::111122223333:assumed-role/media"


@pytest.fixture(scope="module")
def process():
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def google(process):
    process.reset()
    yield process
    assert process.violations() == []


EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"


def exchange(google, provider, token, *, headers=None, **changes):
    form = {"grant_type": EXCHANGE, "audience": provider.audience,
            "scope": CLOUD, "requested_token_type": TYPE + "access_token",
            "subject_token_type": TYPE + "jwt", "subject_token": token,
            **changes}
    return ask(google, "POST", "/v1/token", headers=headers,
               form={k: v for k, v in form.items() if v is not None})


def said(answer):
    return answer[0], answer[2]["error"], answer[2]["error_description"]


def test_exchange_gives_a_federated_token(google):
    provider = google.add_provider()
    status, _, body = exchange(google, provider, google.oidc_token(provider))
    assert status == 200
    assert {k: v for k, v in body.items() if k != "access_token"} == {
        "issued_token_type": TYPE + "access_token", "token_type": "Bearer",
        "expires_in": 3599}
    [token] = google.tokens()
    assert token["value"] == body["access_token"]
    assert token["email"] == provider.principal(SUBJECT)


@pytest.mark.parametrize("changes, error, text", [
    ({"grant_type": "refresh_token"}, "invalid_request", '"grantType"'),
    ({"requested_token_type": TYPE + "jwt"}, "invalid_request",
     '"requestedTokenType"'),
    ({"scope": "devstorage"}, "invalid_scope", "valid scope"),
    ({"scope": READ + "," + CLOUD}, "invalid_scope", "valid scope"),
    ({"subject_token_type": TYPE + "saml2"}, "invalid_request",
     '"subjectTokenType"'),
    ({"subject_token": "x.y"}, "invalid_request", "parse"),
    ({"audience": "https://iam.googleapis.com/projects/1/x"},
     "invalid_request", "full resource name of the Identity Provider"),
    ({"audience": "//iam.googleapis.com/projects/demo-project/locations/"
      "global/workloadIdentityPools/my-pool/providers/my-provider"},
     "invalid_target", "doesn't exist"),
    ({"options": "{"}, "invalid_request", '"options"')])
def test_altered_exchange_is_refused(google, changes, error, text):
    provider = google.add_provider()
    token = google.oidc_token(provider)
    status, got, description = said(exchange(google, provider, token,
                                             **changes))
    assert (status, got) == (400, error) and text in description


@pytest.mark.parametrize("change", [
    {"requested_token_type": None}, {"subject_token": None}, {"extra": "1"}])
def test_missing_and_unknown_fields_are_noticed(process, change):
    process.reset()
    provider = process.add_provider()
    exchange(process, provider, process.oidc_token(provider), **change)
    assert "unexpected token request parameters" \
        in process.violations()[0]["what"]


@pytest.mark.parametrize("change, text", [
    ({"iss": "https://other.example.com"}, "issuer in ID Token"),
    ({"audience": "https://else.example.com"},
     "The audience in ID Token [https://else.example.com] does not match "
     "the expected audience."),
    ({"lifetime": -1}, "is stale to sign-in."),
    ({"iat": 1}, "ID Token issued at 1 is stale to sign-in."),
    ({"iat": 1 << 40}, "in the future"), ({"exp": None}, "must have"),
    ({"header": {"kid": None}}, "no key ID"),
    ({"header": {"kid": "x"}}, "signature"),
    ({"header": {"alg": "HS256"}}, "algorithm"),
    ({"header": {"alg": "ES256"}}, "signature"),
    ({"key": "somebody else's"}, "signature")])
def test_altered_oidc_token_is_refused(google, change, text):
    provider = google.add_provider()
    status, error, description = said(exchange(
        google, provider, google.oidc_token(provider, **change)))
    assert (status, error) == (400, "invalid_grant") and text in description


def test_provider_in_trouble_is_told(google):
    provider = google.add_provider()
    token = google.oidc_token(provider)
    google.update_provider(provider, unreachable=True)
    assert said(exchange(google, provider, token)) == (
        400, "invalid_grant",
        "Error connecting to the given credential's issuer.")
    google.update_provider(provider, unreachable=False, disabled=True)
    assert said(exchange(google, provider, token))[1] == "invalid_target"
    google.update_provider(provider, disabled=False, audiences=["mine"])
    assert said(exchange(google, provider, token))[1] == "invalid_grant"
    token = google.oidc_token(provider, audience=["yours", "mine"])
    assert exchange(google, provider, token)[0] == 200


def test_condition_and_mapping_are_evaluated(google):
    provider = google.add_provider(
        mapping={"google.subject": "assertion.sub.extract('sa/{name}')",
                 "attribute.team": "assertion.team.lowerAscii()",
                 "attribute.absent": "assertion.absent"},
        condition="attribute.team == 'media' && "
                  "assertion.email.endsWith('@example.com')")
    good = {"team": "Media", "email": "a@example.com"}
    for claims, status in ((good, 200), ({**good, "team": "x"}, 401),
                           ({"team": "media"}, 401)):
        answer = exchange(google, provider,
                          google.oidc_token(provider, "sa/me", **claims))
        assert answer[0] == status
        if status == 401:
            assert said(answer)[1:] == (
                "unauthorized_client", "The given credential is rejected by "
                "the attribute condition.")
    record = google.requests("sts")[0]
    assert record["account"] == provider.principal("me")
    assert record["members"] == sorted([
        provider.principal("me"), provider.principal_set(),
        provider.principal_set("team", "media")])


def test_subject_has_a_size(google):
    provider = google.add_provider()
    assert "exceeds the 127 bytes limit" in said(exchange(
        google, provider, google.oidc_token(provider, "s" * 128)))[2]
    assert said(exchange(google, provider, google.oidc_token(
        provider, sub=None)))[1] == "invalid_request"


@pytest.mark.parametrize("mapping, condition", [
    ({"attribute.a": "assertion.sub"}, None),
    ({"google.subject": "assertion.sub", "attribute.A-b": "'x'"}, None),
    ({"google.subject": "assertion."}, None),
    ({"google.subject": "assertion.sub"}, "a ==")])
def test_bad_provider_is_a_fault_of_the_test(google, mapping, condition):
    with pytest.raises(Exception, match="ValueError"):
        google.add_provider(mapping=mapping, condition=condition)


@pytest.mark.parametrize("text, template, found", [
    ("a/b/c", "a/{x}/", "b"), ("a/b/c", "a/{x}", "b/c"),
    ("a/b/c", "{x}/", "a"), ("a/b/c", "z/{x}", ""), ("a/b", "a/{x}/", "")])
def test_extract_is_googles(text, template, found):
    assert extract(text, template) == found


def test_workforce_needs_a_project_or_a_client(google):
    provider = google.add_provider(workforce=True)
    token = google.oidc_token(provider)
    assert said(exchange(google, provider, token))[1] == "invalid_request"
    assert exchange(google, provider, token, options=urllib.parse.quote(
        '{"userProject": "demo-project"}'))[0] == 200
    google.add_sts_client("me", "pass:word")
    basic = base64.b64encode(b"me:pass:word").decode()
    assert exchange(google, provider, token, headers={
        "Authorization": "Basic " + basic})[0] == 200
    wrong = base64.b64encode(b"me:password").decode()
    assert said(exchange(google, provider, token, headers={
        "Authorization": "Basic " + wrong}))[:2] == (401, "invalid_client")


def test_saml_response_is_known_or_not(google):
    provider = google.add_provider(kind="saml", mapping={
        "google.subject": "assertion.subject"})
    response = google.saml_response(provider, "me")
    assert exchange(google, provider, response,
                    subject_token_type=TYPE + "saml2")[0] == 200
    assert said(exchange(google, provider, response[1:],
                         subject_token_type=TYPE + "saml2"))[0] == 400


# AWS subject tokens

AWS_TYPE = "urn:ietf:params:aws:token-type:aws4_request"
AWS_URL = ("https://sts.us-east-2.amazonaws.com?Action=GetCallerIdentity"
           "&Version=2011-06-15")


def aws_token(provider, keys, *, signed=True, change=lambda r: None,
              region="us-east-2", url=AWS_URL):
    """The subject token, by Google's signer; `change` spoils it."""
    target = {"x-goog-cloud-target-resource": provider.audience}
    request = RequestSigner(region).get_request_options(
        AwsSecurityCredentials(keys["AccessKeyId"], keys["SecretAccessKey"],
                               keys["Token"]),
        url, "POST", "", dict(target) if signed else None)
    headers = {**request["headers"], **target}
    value = {"url": url, "method": "POST", "headers": headers}
    change(value)
    value["headers"] = [{"key": key, "value": text}
                        for key, text in value["headers"].items()]
    return urllib.parse.quote(json.dumps(value), safe="")


def exchange_aws(google, provider, token):
    return exchange(google, provider, token, subject_token_type=AWS_TYPE)


@pytest.fixture
def aws(google):
    google.aws_role("media")
    return google.add_provider(kind="aws")


@pytest.mark.parametrize("signed", [True, False])
def test_signed_and_appended_target_are_both_accepted(google, aws, signed):
    token = aws_token(aws, google.aws_session("media", "i-0abc"),
                      signed=signed)
    assert exchange_aws(google, aws, token)[0] == 200
    [record] = google.requests("sts")
    assert ("x-goog-cloud-target-resource"
            in record["aws_signed_headers"]) == signed
    assert record["account"] == aws.principal(ROLE_SET + "/i-0abc")
    assert record["attributes"] == {"aws_role": ROLE_SET}


def header(name, value):
    def change(request):
        names = {key.lower(): key for key in request["headers"]}
        if value is None:
            del request["headers"][names[name]]
        else:
            request["headers"][names.get(name, name)] = value(
                request["headers"].get(names.get(name, name), ""))
    return change


def member(name, value):
    return lambda request: request.update({name: value})


@pytest.mark.parametrize("change, text", [
    (header("authorization", lambda v: v[:-1] + "0" * (v[-1] != "0")
            + "1" * (v[-1] == "0")), "type SignatureDoesNotMatch"),
    (header("authorization", lambda v: v.replace("AWS4-", "AWS5-")),
     "IncompleteSignature"),
    (header("authorization", lambda v: v.replace("ASIA", "AKIA")),
     "InvalidClientTokenId"),
    (header("x-amz-date", lambda v: "20200101T000000Z"), "not match"),
    (header("x-amz-security-token", lambda v: v + "x"),
     "InvalidClientTokenId"),
    (header("x-amz-security-token", None), "InvalidClientTokenId"),
    (header("x-amz-meta", lambda v: "1"), "unexpected headers"),
    (header("host", lambda v: "sts.amazonaws.com"), "host"),
    (header("host", None), "no header host"),
    (header("x-goog-cloud-target-resource", None), "no header x-goog"),
    (header("x-goog-cloud-target-resource", lambda v: v + "x"),
     "does not match the audience"),
    (member("method", "GET"), "not a GetCallerIdentity"),
    (member("url", AWS_URL.replace("us-east-2", "us-east-1")), "the host"),
    (member("url", AWS_URL.replace("https", "http")), "not a GetCaller"),
    (member("url", AWS_URL + "&x=y"), "not a GetCallerIdentity"),
    (member("url", AWS_URL.replace("amazonaws.com", "example.com")),
     "not a GetCallerIdentity"),
    (member("extra", 1), "unexpected members")])
def test_altered_aws_request_is_refused(google, aws, change, text):
    keys = google.aws_session("media")
    answer = exchange_aws(google, aws, aws_token(aws, keys, change=change))
    assert answer[0] == 400 and text in said(answer)[2]


def test_aws_token_must_be_encoded_once(google, aws):
    good = aws_token(aws, google.aws_session("media"))
    for bad in (urllib.parse.unquote(good), urllib.parse.quote(good),
                "e30", "%7B%7D"):
        assert "Invalid format of AWS credentials" in said(
            exchange_aws(google, aws, bad))[2]
    # Go writes spaces so.
    assert exchange_aws(google, aws, good.replace("%20", "+"))[0] == 200


def test_old_aws_request_and_expired_keys_are_refused(google, aws,
                                                      monkeypatch):
    expired = google.aws_session("media", lifetime=-1)
    assert "type ExpiredToken" in said(exchange_aws(
        google, aws, aws_token(aws, expired)))[2]

    keys, now = google.aws_session("media"), google_helpers.utcnow()
    for minutes, status in ((-6, 400), (-4, 200), (4, 200), (6, 400)):
        then = now + datetime.timedelta(minutes=minutes)
        monkeypatch.setattr(google_helpers, "utcnow", lambda then=then: then)
        assert exchange_aws(google, aws,
                            aws_token(aws, keys))[0] == status, minutes


def test_other_aws_account_or_role_is_not_let_in(google):
    google.aws_role("other", "444455556666")
    google.aws_role("media")
    provider = google.add_provider(
        kind="aws", condition=f"attribute.aws_role == '{ROLE_SET}'")
    for role, status in (("media", 200), ("other", 400)):
        token = aws_token(provider, google.aws_session(role))
        assert exchange_aws(google, provider, token)[0] == status
    google.update_provider(provider,
                           condition=f"assertion.arn == '{ROLE_SET}'")
    token = aws_token(provider, google.aws_session("media"))
    assert said(exchange_aws(google, provider, token))[1] \
        == "unauthorized_client"


# AWS's own services

def botocore_credentials(google, monkeypatch, **env):
    """What botocore's own chain finds, as in a pod or on an instance."""
    session = pytest.importorskip("botocore.session")
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in {"AWS_CONFIG_FILE": "/dev/null",
                        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
                        "AWS_DEFAULT_REGION": "us-east-2", **env}.items():
        monkeypatch.setenv(name, value)
    found = session.get_session().get_credentials().get_frozen_credentials()
    return {"AccessKeyId": found.access_key, "Token": found.token,
            "SecretAccessKey": found.secret_key}


def usable(google, aws, keys):
    return exchange_aws(google, aws, aws_token(aws, keys))[0] == 200


@pytest.mark.parametrize("version", [1, 2])
def test_botocore_reads_the_instance(google, aws, monkeypatch, version):
    google.instance(role="media", version=version)
    where = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": google.imds_url}
    keys = botocore_credentials(google, monkeypatch, **where)
    assert usable(google, aws, keys)
    assert botocore_credentials(google, monkeypatch, **where) == keys
    google.aws_rotate()
    assert botocore_credentials(google, monkeypatch, **where) != keys


@pytest.mark.parametrize("authorization", [None, "secret token"])
def test_botocore_reads_container_credentials(google, aws, monkeypatch,
                                              authorization):
    url = google.container_credentials("media", path="/v1/credentials",
                                       authorization=authorization)
    env = {"AWS_CONTAINER_AUTHORIZATION_TOKEN": authorization} \
        if authorization else {}
    assert usable(google, aws, botocore_credentials(
        google, monkeypatch, AWS_CONTAINER_CREDENTIALS_FULL_URI=url, **env))
    assert google.counts()["container"] == 1


def test_botocore_assumes_a_role_with_a_web_identity(google, aws, tmp_path,
                                                     monkeypatch):
    arn = google.aws_role("pod", issuer="https://eks.example.com",
                          subject=SUBJECT)
    path = tmp_path / "token"
    path.write_text(google.oidc_token(issuer="https://eks.example.com",
                                      audience="sts.amazonaws.com"))
    keys = botocore_credentials(
        google, monkeypatch, AWS_WEB_IDENTITY_TOKEN_FILE=str(path),
        AWS_ROLE_ARN=arn, AWS_ROLE_SESSION_NAME="me@pod",
        AWS_ENDPOINT_URL_STS=google.aws_sts_url)
    assert usable(google, aws, keys)
    record = google.requests("sts")[-1]
    assert record["account"] == aws.principal(
        "arn:aws:sts::111122223333:assumed-role/pod/me@pod")


def imds(google, path, method="GET", **headers):
    return ask(google, method, "/latest/" + path, headers={
        "X-aws-ec2-metadata-" + name.replace("_", "-"): value
        for name, value in headers.items()})


def test_instance_wants_a_token_of_its_own(google):
    google.aws_role("media")
    google.instance(role="media", zone="eu-west-3a")
    zone = "meta-data/placement/availability-zone"
    assert imds(google, zone)[0] == 401
    assert imds(google, zone, token="x")[0] == 401
    for ttl in ("0", "21601", "x"):
        assert imds(google, "api/token", "PUT",
                    token_ttl_seconds=ttl)[0] == 400
    assert imds(google, "api/token", "PUT")[0] == 400
    assert imds(google, "api/token")[0] == 405
    status, headers, token = imds(google, "api/token", "PUT",
                                  token_ttl_seconds="300")
    assert status == 200
    assert imds(google, zone, token=token)[::2] == (200, "eu-west-3a")
    place = "meta-data/iam/security-credentials"
    assert imds(google, place, token=token)[2] == "media"
    assert imds(google, place + "/", token=token)[2] == "media"
    assert imds(google, place + "/other", token=token)[0] == 404
    keys = json.loads(imds(google, place + "/media", token=token)[2])
    assert keys["Code"] == "Success" and keys["Expiration"].endswith("Z")

    google.instance(optional=True)
    assert imds(google, zone)[0] == 200
    google.instance(version=1)
    assert imds(google, "api/token", "PUT",
                token_ttl_seconds="300")[0] == 404
    assert imds(google, zone)[0] == 200
    google.instance(role=None)
    assert imds(google, place)[0] == 404
    google.instance(disabled=True)
    assert imds(google, zone)[0] == 403


def test_container_demands_its_token(google):
    google.aws_role("media")
    google.container_credentials(authorization="right")
    path = "/v2/credentials/5d2e7f0a"
    assert ask(google, "GET", path)[0] == 401
    assert ask(google, "GET", path,
               headers={"Authorization": "wrong"})[0] == 403
    status, _, keys = ask(google, "GET", path,
                          headers={"Authorization": "right"})
    assert status == 200 and set(keys) == {
        "RoleArn", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"}


EKS = "https://eks.example.com"


@pytest.mark.parametrize("change, status, code, text", [
    ({}, 200, None, "<AssumeRoleWithWebIdentityResult>"),
    ({"Version": "2010-01-01"}, 400, "InvalidAction", "2010-01-01"),
    ({"RoleSessionName": "a b"}, 400, "ValidationError", "roleSessionName"),
    ({"RoleArn": "arn:aws:iam::111122223333:role/none"}, 403, "AccessDenied",
     "Not authorized to perform sts:AssumeRoleWithWebIdentity"),
    ({"DurationSeconds": "600"}, 400, "ValidationError", "Duration"),
    ({"WebIdentityToken": "a.b.c"}, 400, "InvalidIdentityToken", "JWT"),
    ({"lifetime": -1}, 400, "ExpiredTokenException", "Token expired"),
    ({"issuer": "https://x.example.com"}, 400, "InvalidIdentityToken",
     "No OpenIDConnect provider found"),
    ({"audience": "x"}, 400, "InvalidIdentityToken", "audience"),
    ({"key": "other"}, 400, "InvalidIdentityToken", "verification key"),
    ({"subject": "other"}, 403, "AccessDenied", "Not authorized")])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_web_identity_is_checked(google, method, change, status, code, text):
    arn = google.aws_role("pod", issuer=EKS, subject=SUBJECT)
    token = google.oidc_token(**{
        "issuer": EKS, "audience": "sts.amazonaws.com",
        **{k: v for k, v in change.items() if k.islower()}})
    form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15",
            "RoleArn": arn, "RoleSessionName": "s1",
            "WebIdentityToken": token,
            **{k: v for k, v in change.items() if not k.islower()}}
    got, headers, body = ask(google, "POST", "/", form=form) \
        if method == "POST" else ask(
            google, "GET", "/?" + urllib.parse.urlencode(form))
    assert got == status and text in body
    assert headers["Content-Type"] == "text/xml"
    if code is not None:
        assert f"<Code>{code}</Code>" in body and "<ErrorResponse " in body
    assert google.requests("aws-sts")[0]["form"] == form


# Refresh tokens

@pytest.mark.parametrize("change, status, error, text", [
    ({}, 200, None, None),
    ({"refresh_token": "1//x"}, 400, "invalid_grant",
     "Token has been expired or revoked."),
    ({"client_id": "x"}, 401, "invalid_client",
     "The OAuth client was not found."),
    ({"client_secret": "x"}, 401, "invalid_client", "Unauthorized"),
    ({"scope": READ}, 400, "invalid_scope", "Bad Request"),
    ({"grant_type": "refresh"}, 400, "unsupported_grant_type",
     "Invalid grant_type: refresh")])
def test_altered_refresh_is_refused(google, change, status, error, text):
    login = google.add_refresh_token()
    got, _, body = ask(google, "POST", "/token", form={
        "grant_type": "refresh_token", **login, **change})
    assert got == status and body.get("error") == error \
        and body.get("error_description") == text
    if status == 200:
        assert set(body) == {"access_token", "expires_in", "scope",
                             "token_type", "id_token"}
        google.revoke_refresh_token(login["refresh_token"])
        assert ask(google, "POST", "/token", form={
            "grant_type": "refresh_token", **login})[2]["error"] \
            == "invalid_grant"


def test_login_of_another_client_is_refused(google):
    one, two = google.add_refresh_token(), google.add_refresh_token()
    assert ask(google, "POST", "/token", form={
        "grant_type": "refresh_token", **one,
        "refresh_token": two["refresh_token"]})[2]["error"] \
        == "unauthorized_client"


def test_workforce_refresh_wants_its_client(google):
    file = google.external_account_authorized_user_file()
    form = {"grant_type": "refresh_token",
            "refresh_token": file["refresh_token"]}
    for secret, status in ((file["client_secret"], 200), ("x", 401),
                           (None, 401)):
        basic = base64.b64encode(
            f"{file['client_id']}:{secret}".encode()).decode()
        assert ask(google, "POST", "/v1/oauthtoken", form=form, headers={
            "Authorization": "Basic " + basic} if secret else {})[0] \
            == status


def test_fault_may_spoil_tokens(google):
    provider = google.add_provider()
    google.fault(kind="sts", token={"expires_in": None})
    assert "expires_in" not in exchange(
        google, provider, google.oidc_token(provider))[2]
    google.fault(kind="sts", token_lifetime=0)
    exchange(google, provider, google.oidc_token(provider))
    assert [t["state"] for t in google.tokens()] == ["valid", "expired"]


def test_secrets_are_told_for_searching_logs(google, aws):
    provider = google.add_provider("oidc-one")
    token = google.oidc_token(provider)
    issued = exchange(google, provider, token)[2]["access_token"]
    keys = google.aws_session("media")
    login = google.add_refresh_token()
    google.container_credentials(authorization="container token")
    known = set(google.secrets())
    assert {token, issued, keys["SecretAccessKey"], keys["Token"],
            login["refresh_token"], login["client_secret"],
            "container token"} <= known

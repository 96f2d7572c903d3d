"""The emulator's identity services behave as Google's and AWS's.

Google's own google-auth works against them, unmodified, with every kind of
credential file; and each thing that may be wrong is refused, in the shape
that the real service uses.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.parse
import warnings

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

pytest.importorskip("google.auth")
from google.auth import load_credentials_from_dict  # noqa: E402
from google.auth.credentials import with_scopes_if_required  # noqa: E402

from emulator import Emulator  # noqa: E402
from emulator.google_transport import transport  # noqa: E402
from emulator.testing import ask  # noqa: E402

AUTH = "https://www.googleapis.com/auth/"
CLOUD = AUTH + "cloud-platform"
READ = AUTH + "devstorage.read_only"
CREATOR = "roles/iam.serviceAccountTokenCreator"
FEDERATED = "roles/iam.workloadIdentityUser"
TARGET = "target@demo-project.iam.gserviceaccount.com"
BASE = "base@demo-project.iam.gserviceaccount.com"
MIDDLE = "middle@demo-project.iam.gserviceaccount.com"
JWT = "urn:ietf:params:oauth:token-type:jwt"
SUBJECT = "system:serviceaccount:default:reader"
ROLE_SET = "arn:aws:sts::111122223333:assumed-role/media"


@pytest.fixture(scope="module")
def process():
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def google(process):
    """A private bucket that only TARGET may read."""
    process.reset()
    process.create_bucket("demo-bucket")
    process.put_object("demo-bucket", "a.txt", b"hello")
    process.add_service_account(
        TARGET, grants={"demo-bucket": ["objectViewer"]})
    yield process
    assert process.violations() == []


@pytest.fixture
def offline(monkeypatch):
    """google-auth asks about regions in a thread of its own; nobody but the
    emulator is to be asked."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "GCE_")):
            monkeypatch.delenv(name)


def read(google, token):
    """The status of a read of the object with this token."""
    return ask(google, "GET", "/demo-bucket/a.txt", token=token)[0]


# Google's own client

def parse(file, scopes=(READ,)):
    """Loaded without scopes: with them google-auth looks up the project of
    an external account, at once and over the network."""
    first = list(scopes) if file["type"] == "authorized_user" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        credentials, _ = load_credentials_from_dict(file, scopes=first)
    return with_scopes_if_required(credentials, list(scopes))


def load(google, file, scopes=(READ,)):
    """google-auth's credentials of a file, with a token."""
    credentials = parse(file, scopes)
    credentials.refresh(transport(google))
    return credentials


def test_authorized_user_works(google, offline):
    file = google.authorized_user_file(
        grants={"demo-bucket": ["objectViewer"]},
        login=google.add_refresh_token(scopes=(CLOUD, READ)))
    credentials = load(google, file)
    assert read(google, credentials.token) == 200
    [request] = google.requests("token")
    assert request["host"] == "oauth2.googleapis.com"
    assert request["form"] == {
        "grant_type": "refresh_token", "client_id": file["client_id"],
        "client_secret": file["client_secret"],
        "refresh_token": file["refresh_token"], "scope": READ}
    [token] = [t for t in google.tokens() if t["value"] == credentials.token]
    assert token["email"] == "someone@example.com"


def test_rotated_refresh_token_is_used(google, offline):
    login = google.add_refresh_token(rotate=True, revoke_old=True)
    credentials = parse(google.authorized_user_file(login=login), [CLOUD])
    credentials.refresh(transport(google))
    credentials.refresh(transport(google))
    first, second = google.requests("token")
    assert second["form"]["refresh_token"] \
        == credentials.refresh_token.rpartition(".")[0] \
        != first["form"]["refresh_token"]


def allow(google, *members, role=FEDERATED):
    google.set_policy(TARGET, {role: list(members)})


@pytest.mark.parametrize("source", ["text file", "json file", "text url",
                                    "json url", "ES256", "output file"])
def test_oidc_federation_works(google, offline, tmp_path, monkeypatch,
                               source):
    provider = google.add_provider()
    allow(google, provider.principal(SUBJECT))
    token = google.oidc_token(provider, algorithm="ES256"
                              if source == "ES256" else "RS256")
    path = tmp_path / "token"
    field = "access_token" if source.startswith("json") else None
    if source.endswith("url"):
        url = google.subject_url(token, field=field,
                                 headers={"Metadata": "True"})
        where = google.url_source(url, field, {"Metadata": "True"})
    elif source == "output file":
        monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
        path.write_text(json.dumps({
            "version": 1, "success": True, "token_type": JWT,
            "id_token": token, "expiration_time": int(time.time()) + 600}))
        where = google.executable_source(path)
    else:
        path.write_text(json.dumps({field: token}) if field else token)
        where = google.file_source(path, field)

    credentials = load(google, google.external_account_file(
        provider, where, impersonate=TARGET))
    assert read(google, credentials.token) == 200
    [exchange] = google.requests("sts")
    assert exchange["form"] == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": provider.audience, "scope": AUTH + "iam",
        "requested_token_type":
            "urn:ietf:params:oauth:token-type:access_token",
        "subject_token_type": JWT, "subject_token": token}
    [call] = google.requests("iam")
    assert call["json"] == {"delegates": None, "scope": [READ],
                            "lifetime": "3600s"}
    assert call["account"] == provider.principal(SUBJECT)


def test_direct_federation_reads_with_the_sts_token(google, offline,
                                                    tmp_path):
    provider = google.add_provider(
        mapping={"google.subject": "assertion.sub",
                 "google.groups": "assertion.groups"})
    path = tmp_path / "token"
    path.write_text(google.oidc_token(provider, groups=["media", "all"]))
    file = google.external_account_file(provider, google.file_source(path))
    token = load(google, file).token
    status, _, body = ask(google, "GET", "/demo-bucket/a.txt", token=token)
    assert status == 403 and (
        f"<Details>{provider.principal(SUBJECT)} does not have "
        "storage.objects.get access to the Google Cloud Storage object. "
        "Permission 'storage.objects.get' denied on resource (or it may not "
        "exist).</Details>") in body
    google.grant(provider.principal_set("group", "media"), "demo-bucket",
                 ["objectViewer"])
    assert read(google, token) == 200
    assert load(google, file, [CLOUD]).token
    google.grant(provider.principal_set("group", "media"), "demo-bucket", [])
    assert read(google, token) == 403


@pytest.mark.parametrize("where", ["imdsv2", "imdsv1", "environment",
                                   "session"])
def test_aws_federation_works(google, offline, monkeypatch, where):
    provider = google.add_provider(
        kind="aws", condition=f"attribute.aws_role == '{ROLE_SET}'"
        if where != "environment" else "assertion.account == '111122223333'")
    google.aws_role("media")
    google.instance(role="media", version=1 if where == "imdsv1" else 2)
    expected = [provider.principal_set("aws_role", ROLE_SET)]
    if where in ("environment", "session"):
        keys = google.aws_user() if where == "environment" \
            else google.aws_session("media", "me@home")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        if keys["Token"]:
            monkeypatch.setenv("AWS_SESSION_TOKEN", keys["Token"])
        else:
            expected = [provider.principal(keys["Arn"])]
    allow(google, *expected)

    credentials = load(google, google.external_account_file(
        provider, google.aws_source(imdsv2=where != "imdsv1"),
        impersonate=TARGET))
    assert read(google, credentials.token) == 200
    asked = [r["method"] + " " + r["target"] for r in google.requests("imds")]
    if where in ("environment", "session"):
        assert asked == []
    else:
        assert "GET /latest/meta-data/iam/security-credentials/media" in asked
        assert any(a.startswith("PUT") for a in asked) == (where == "imdsv2")
    [exchange] = google.requests("sts")
    assert exchange["subject"]["method"] == "POST"
    assert exchange["aws_signed_headers"] == [
        "host", "x-amz-date",
        *(["x-amz-security-token"] if where != "environment" else [])]


@pytest.mark.parametrize("base", ["authorized_user", "service_account",
                                  "workforce"])
def test_impersonation_works(google, offline, base):
    google.add_service_account(MIDDLE)
    if base == "service_account":
        source = json.loads(google.service_account(BASE))
        member = "serviceAccount:" + BASE
    elif base == "workforce":
        source = google.external_account_authorized_user_file()
        member = ("principal://iam.googleapis.com/locations/global/"
                  "workforcePools/my-workforce/subject/someone@example.com")
    else:
        source = google.authorized_user_file()
        member = "user:someone@example.com"
    google.set_policy(MIDDLE, {CREATOR: [member]})
    allow(google, "serviceAccount:" + MIDDLE, role=CREATOR)

    file = google.impersonated_file(TARGET, source, delegates=(
        "projects/-/serviceAccounts/" + MIDDLE,))
    credentials = load(google, file)
    assert read(google, credentials.token) == 200
    [call] = google.requests("iam")
    assert call["host"] == "iamcredentials.googleapis.com"
    assert call["json"]["delegates"] == [
        "projects/-/serviceAccounts/" + MIDDLE]


def test_workforce_federation_names_a_project(google, offline, tmp_path):
    provider = google.add_provider(workforce=True)
    path = tmp_path / "token"
    path.write_text(google.oidc_token(provider))
    load(google, google.external_account_file(
        provider, google.file_source(path),
        workforce_pool_user_project="demo-project"))
    [request] = google.requests("sts")
    assert request["options"] == {"userProject": "demo-project"}


def test_workforce_login_is_refreshed(google, offline):
    file = google.external_account_authorized_user_file(rotate=True)
    credentials = load(google, file)
    assert credentials.token.startswith("ya29.d.")
    assert credentials.refresh_token != file["refresh_token"]
    [request] = google.requests("sts")
    assert request["client"] == [file["client_id"], file["client_secret"]]
    assert request["form"] == {"grant_type": "refresh_token",
                               "refresh_token": file["refresh_token"]}


ADC = """
import google.auth, google.auth.transport.requests as transport
credentials, project = google.auth.default(scopes=[{scope!r}])
credentials.refresh(transport.Request())
print(type(credentials).__module__, project,
      credentials.service_account_email, credentials.token)
"""


def default_credentials(google, tmp_path, **env):
    """What google.auth.default() finds, with the metadata server ours."""
    done = subprocess.run(
        [sys.executable, "-c", ADC.format(scope=READ)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path),
             "NO_PROXY": "*", "GCE_METADATA_HOST": google.metadata_host,
             "GCE_METADATA_IP": google.metadata_host,
             "GCE_METADATA_DETECT_RETRIES": "1", **env},
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("mode", ["gce", "gke", "cloud-run"])
def test_metadata_server_works(google, tmp_path, mode):
    google.metadata_server(mode=mode)
    member = google.metadata_account(TARGET, pod="default/reader"
                                     if mode == "gke" else None)
    if mode == "gke":
        allow(google, member)
    module, project, email, token = default_credentials(google, tmp_path)
    assert (module, project, email) == (
        "google.auth.compute_engine.credentials", "demo-project", TARGET)
    assert read(google, token) == 200
    [minted] = [t for t in google.tokens() if t["value"] == token]
    assert minted["scopes"] == [READ if mode == "cloud-run" else CLOUD]


def test_attached_account_gives_the_same_token_until_it_gets_old(google):
    google.metadata_account(TARGET)
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    flavor = {"Metadata-Flavor": "Google"}
    status, headers, first = ask(google, "GET", path, headers=flavor)
    assert status == 200 and headers["Metadata-Flavor"] == "Google"
    assert headers["Content-Type"] == "application/json"
    assert first["token_type"] == "Bearer" and first["expires_in"] > 3500
    assert ask(google, "GET", path, headers=flavor)[2]["access_token"] \
        == first["access_token"]
    google.configure(token_lifetime=299)
    google.revoke_tokens()
    tokens = {ask(google, "GET", path, headers=flavor)[2]["access_token"]
              for _ in range(3)}
    assert len(tokens) == 3


@pytest.mark.parametrize("path, body", [
    ("project/project-id", "demo-project"),
    ("project/numeric-project-id", "123456789012"),
    ("universe/universe-domain", "googleapis.com"),
    ("instance/service-accounts/default/email", TARGET),
    ("instance/service-accounts/" + TARGET + "/email", TARGET),
    ("instance/service-accounts/", "default/\n"),
    ("instance/service-accounts/default/?recursive=true",
     {"aliases": ["default"], "email": TARGET, "scopes": [CLOUD]}),
    ("instance/service-accounts/?recursive=true",
     {TARGET: {"aliases": ["default"], "email": TARGET,
               "scopes": [CLOUD]}})])
def test_metadata_values(google, path, body):
    google.metadata_account(TARGET)
    assert ask(google, "GET", "/computeMetadata/v1/" + path, headers={
        "Metadata-Flavor": "Google"})[::2] == (200, body)


@pytest.mark.parametrize("name, path, headers, status, said", [
    ("no header", "email", {}, 403, 'Missing required header "Metadata-'),
    ("bad header", "email", {"Metadata-Flavor": "google"}, 403, "Missing"),
    ("unknown account", "../nobody/token", None, 404, "<title>Error 404"),
    ("identity", "identity", None, 404, "not found")])
def test_metadata_refusals(google, name, path, headers, status, said):
    google.metadata_account(TARGET)
    place = "/computeMetadata/v1/instance/service-accounts/default/"
    got, _, body = ask(
        google, "GET", (place + path).replace("default/../", ""),
        headers={"Metadata-Flavor": "Google"} if headers is None else headers)
    assert got == status and said in body


def test_forwarded_request_for_metadata_is_refused_and_noticed(process):
    process.reset()
    assert ask(process, "GET", "/computeMetadata/v1/project/project-id",
               headers={"Metadata-Flavor": "Google",
                        "X-Forwarded-For": "1.2.3.4"})[0] == 403
    assert [v["what"] for v in process.violations()] \
        == ["header: x-forwarded-for"]


def test_machine_without_an_account_has_no_token(google):
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    status, _, body = ask(google, "GET", path,
                          headers={"Metadata-Flavor": "Google"})
    assert status == 404 and body.startswith("<!DOCTYPE html>")


def test_gke_offers_less_and_asks_the_policy(google):
    google.metadata_server(mode="gke")
    member = google.metadata_account(TARGET, pod="default/reader")
    flavor = {"Metadata-Flavor": "Google"}
    assert member == ("serviceAccount:demo-project.svc.id.goog"
                      "[default/reader]")
    assert ask(google, "GET", "/computeMetadata/v1/universe/universe-domain",
               headers=flavor)[0] == 404
    token = "/computeMetadata/v1/instance/service-accounts/default/token"
    status, _, body = ask(google, "GET", token, headers=flavor)
    assert status == 403 and "IAM returned 403 Forbidden" in body
    allow(google, member)
    assert ask(google, "GET", token, headers=flavor)[0] == 200

    principal = google.metadata_account(None, pod="default/reader", grants={
        "demo-bucket": "objectViewer"})
    email = ask(google, "GET", token.replace("token", "email"),
                headers=flavor)[2]
    assert email == "demo-project.svc.id.goog"
    assert principal.endswith("/subject/ns/default/sa/reader")
    assert read(google, ask(google, "GET", token, headers=flavor)[2]
                ["access_token"]) == 200


def test_metadata_server_is_not_ready_at_first(google):
    path = "/computeMetadata/v1/project/project-id"
    flavor = {"Metadata-Flavor": "Google"}
    google.metadata_server(ready_after=60, not_ready="reset")
    with pytest.raises(ConnectionError):
        ask(google, "GET", path, headers=flavor)
    google.metadata_server(not_ready="503")
    assert ask(google, "GET", path, headers=flavor)[0] == 503
    google.metadata_server(ready_after=0)
    assert ask(google, "GET", path, headers=flavor)[0] == 200


# IAM Credentials

def error_of(body):
    error = body["error"]
    reasons = [d["reason"] for d in error.get("details", [])
               if "reason" in d]
    return error["code"], error["status"], *reasons


@pytest.fixture
def base(google):
    """BASE may act as TARGET; the token of BASE for the IAM API."""
    google.add_service_account(BASE)
    allow(google, "serviceAccount:" + BASE, role=CREATOR)
    return google.mint_token(BASE, (CLOUD,))


def call_iam(google, token, body=None, email=TARGET,
             method="generateAccessToken", headers=None):
    return ask(google, "POST",
               f"/v1/projects/-/serviceAccounts/{email}:{method}",
               {"scope": [READ], "lifetime": "3600s"} if body is None
               else body, headers, token=token)


def test_access_token_is_generated(google, base):
    status, _, body = call_iam(google, base)
    assert status == 200 and set(body) == {"accessToken", "expireTime"}
    left = time.mktime(time.strptime(
        body["expireTime"], "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime())
    assert 3595 <= left <= 3600
    assert read(google, body["accessToken"]) == 200
    google.fault(kind="iam", token={"expireTime": None})
    assert set(call_iam(google, base)[2]) == {"accessToken"}
    unique = google.account(TARGET)["unique_id"]
    assert call_iam(google, base, email=unique)[0] == 200


@pytest.mark.parametrize("body, said", [
    ({"scope": [READ], "lifetime": "3601s"}, "cannot exceed 3600 seconds"),
    ({"scope": [READ], "lifetime": "3600"}, "Invalid value at 'lifetime'"),
    ({"scope": [READ], "lifetime": 3600}, "Invalid value at 'lifetime'"),
    ({"scope": READ}, "Invalid value at 'scope'"),
    ({"scope": []}, "invalid argument"),
    ({"lifetime": "3600s"}, "invalid argument"),
    ({"scope": ["devstorage"]}, "invalid argument"),
    ({"scope": [READ], "delegates": [MIDDLE]}, "invalid argument"),
    ({"scope": [READ], "duration": "1s"}, 'Unknown name "duration"'),
    ("[]", "Root element must be a message"), ("{", "Unexpected token")])
def test_wrong_bodies_are_invalid_arguments(google, base, body, said):
    status, _, answer = call_iam(google, base, body, headers={
        "Content-Type": "application/json"})
    assert status == 400 and error_of(answer)[:2] == (400, "INVALID_ARGUMENT")
    assert said in answer["error"]["message"]


def test_form_is_no_json(google, base):
    assert call_iam(google, base, headers={
        "Content-Type": "application/x-www-form-urlencoded"})[0] == 400


def test_twelve_hours_only_where_they_are_allowed(google, base):
    google.update_account(TARGET, lifetime_extension=True)
    for seconds, status in ((43200, 200), (43201, 400)):
        assert call_iam(google, base, {"scope": [READ], "lifetime":
                                       f"{seconds}s"})[0] == status


def test_callers_without_a_right_are_refused(google, base):
    denied = (403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED")
    assert error_of(call_iam(google, google.mint_token(BASE))[2]) == (
        403, "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
    assert error_of(call_iam(google, None)[2]) == (
        401, "UNAUTHENTICATED", "CREDENTIALS_MISSING")
    status, headers, body = call_iam(google, "ya29.unknown")
    assert error_of(body) == (401, "UNAUTHENTICATED")
    assert 'error="invalid_token"' in headers["WWW-Authenticate"]
    expired = google.mint_token(BASE, (CLOUD,), 0)
    assert error_of(call_iam(google, expired)[2]) == (
        401, "UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED")

    # A workload identity user may get tokens, but may not sign.
    blob = {"payload": base64.b64encode(b"x").decode()}
    allow(google, "serviceAccount:" + BASE)
    assert call_iam(google, base)[0] == 200
    status, _, body = call_iam(google, base, blob, method="signBlob")
    assert error_of(body) == denied
    assert "iam.serviceAccounts.signBlob" in body["error"]["message"]
    allow(google, "serviceAccount:" + MIDDLE)
    status, _, body = call_iam(google, base)
    assert error_of(body) == denied and body["error"]["message"] == (
        "Permission 'iam.serviceAccounts.getAccessToken' denied on resource "
        "(or it may not exist).")


def test_account_or_api_that_is_not_there(google, base):
    gone = "gone@demo-project.iam.gserviceaccount.com"
    body = call_iam(google, base, email=gone)[2]
    assert error_of(body) == (404, "NOT_FOUND") and body["error"][
        "message"] == f"Not found; Gaia id not found for email {gone}"
    google.configure(iam_unknown_account=403)
    assert error_of(call_iam(google, base, email=gone)[2])[0] == 403
    google.update_account(TARGET, api_disabled=True)
    body = call_iam(google, base)[2]
    assert error_of(body) == (403, "PERMISSION_DENIED", "SERVICE_DISABLED")
    assert "has not been used in project 123456789012 before" \
        in body["error"]["message"]


def test_project_id_in_the_path_is_refused(google, base):
    assert ask(google, "POST", "/v1/projects/demo-project/serviceAccounts/"
               f"{TARGET}:generateAccessToken", {"scope": [READ]},
               token=base)[0] == 400


def test_every_hop_of_a_chain_is_checked(google, base):
    google.add_service_account(MIDDLE)
    body = {"scope": [READ],
            "delegates": ["projects/-/serviceAccounts/" + MIDDLE]}
    policies = {MIDDLE: BASE, TARGET: MIDDLE}
    for missing in (MIDDLE, TARGET, None):
        for account, caller in policies.items():
            google.set_policy(account, {} if account == missing else {
                CREATOR: ["serviceAccount:" + caller]})
        assert call_iam(google, base, body)[0] == (403 if missing else 200)
    google.set_policy(MIDDLE, {FEDERATED: ["serviceAccount:" + BASE]})
    assert call_iam(google, base, body)[0] == 403


def test_blob_is_signed_with_a_key_that_can_be_asked_for(google, base):
    payload = b"GOOG4-RSA-SHA256\nfour\nlines\n"
    status, _, body = call_iam(
        google, base, {"payload": base64.b64encode(payload).decode()},
        method="signBlob")
    assert status == 200
    key = load_pem_public_key(
        google.public_keys(TARGET)[body["keyId"]].encode())
    key.verify(base64.b64decode(body["signedBlob"]), payload, PKCS1v15(),
               SHA256())
    assert call_iam(google, base, {"payload": "a_-="},
                    method="signBlob")[0] == 400


# All of them

def test_subject_url_demands_its_headers(google):
    url = google.subject_url("first", field="t", headers={"Metadata": "True"})
    path = urllib.parse.urlsplit(url).path
    assert ask(google, "GET", path)[0] == 400
    assert ask(google, "GET", path, headers={"Metadata": "True"})[2]["t"] \
        == "first"
    google.subject_url("second")
    assert ask(google, "GET", path)[2] == "second"
    assert ask(google, "GET", "/subject/none")[0] == 404


@pytest.mark.parametrize("kind, method, path", [
    ("sts", "POST", "/v1/token"), ("sts", "POST", "/v1/oauthtoken"),
    ("iam", "POST", f"/v1/projects/-/serviceAccounts/{TARGET}:signBlob"),
    ("metadata", "GET", "/computeMetadata/v1/project/project-id"),
    ("imds", "PUT", "/latest/api/token"),
    ("container", "GET", "/v2/credentials/5d2e7f0a"),
    ("aws-sts", "GET", "/?Action=AssumeRoleWithWebIdentity"),
    ("subject", "GET", "/subject/token"),
    ("locations", "GET",
     f"/v1/projects/-/serviceAccounts/{TARGET}/allowedLocations")])
def test_every_kind_is_counted_and_can_fail(google, kind, method, path):
    google.container_credentials()
    google.reset_requests()
    google.fault(kind=kind, status=503, body="busy", retry_after=7)
    status, headers, body = ask(google, method, path, "" if method != "GET"
                                else None)
    assert (status, headers["Retry-After"], body) == (503, "7", "busy")
    google.fault(kind=kind, reset="before_headers")
    with pytest.raises(ConnectionError):
        ask(google, method, path, "" if method != "GET" else None)
    assert google.counts() == {kind: 2}


def test_policy_with_a_typing_error_is_refused(google):
    for policy in ({"roles/iam.tokenCreator": []}, {CREATOR: [BASE]},
                   {CREATOR: ["principal:/" + "/x"]}):
        with pytest.raises(Exception, match="ValueError"):
            google.set_policy(TARGET, policy)

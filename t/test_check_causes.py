"""gcs_check: what a failed step says about its cause, and how to mend it.

With every kind of identity: its own account stands in the commands.
"""

from __future__ import annotations

import json
import re
import time

import pytest

from emulator import signing_key
from harness.nginx import free_port, wait_until
from test_check import READS, ask, check, email, filled, states, step
from test_impersonation import (BASE, CREATOR, PERSON, SUBJECT, TARGET,
                                service_account)

__all__ = ["check", "filled"]

ATTACHED = "attached@demo-project.iam.gserviceaccount.com"
VIEWER = "--role=roles/storage.objectViewer"


def member(address: str, role: str, bucket: str = "test-bucket") -> str:
    return (f"gcloud storage buckets add-iam-policy-binding gs://{bucket} "
            f"--member='{address}' --role=roles/storage.{role}")


def refuse(emulator, status, message, *, reason="forbidden", path="",
           details=None):
    """Google's JSON error for every matching request to Storage."""
    error = {"code": status, "message": message, "errors": [
        {"message": message, "domain": "global", "reason": reason}]}
    if details:
        error["details"] = [{"reason": details}]
    emulator.fault(kind="storage", path=path or "/storage/v1/", count=None,
                   status=status, body=json.dumps({"error": error}),
                   content_type="application/json; charset=UTF-8")


# Cloud Storage

def test_a_bucket_that_may_not_be_read_is_granted(check, filled, key_file):
    who = email(key_file)
    filled.grant(who, "test-bucket", [])
    status, report = ask(check("a.txt"))
    assert (status, states(report)["list"], states(report)["read"]) \
        == (503, "failed", "failed")
    for name, permission in (("list", "list"), ("read", "get")):
        found = step(report, name)
        assert f"{who} does not have storage.objects.{permission}" \
            in found["error"]
        assert found["error"].startswith("403 ")
        assert found["command"] == member("serviceAccount:" + who,
                                          "objectViewer")
        assert "Grant the role" in found["remedy"]


def test_a_bucket_that_may_not_be_looked_up_is_no_fault(check, filled,
                                                        key_file):
    found = step(ask(check())[1], "bucket")
    assert found["status"] == "skipped"
    assert "objectViewer has no" in found["message"]
    assert found["command"] == member("serviceAccount:" + email(key_file),
                                      "legacyBucketReader")


def test_a_bucket_that_is_not_there_is_named(check, emulator, nginx,
                                             key_file):
    server = nginx("""gcs_credentials reader { file %%KEY%%; }
        gcs_endpoint %%EMULATOR%%; gcs_auth reader;
        server { listen 127.0.0.1:%%PORT%%;
                 location = /check { gcs_check gs://no-such-bucket; } }""")
    status, report = ask(server)
    assert (status, states(report)["bucket"], states(report)["list"],
            states(report)["read"]) == (503, "failed", "failed", "skipped")
    for name in ("bucket", "list"):
        assert step(report, name)["cause"] == "There is no such bucket."
        assert step(report, name)["command"] \
            == "gcloud storage buckets describe gs://no-such-bucket"


@pytest.mark.parametrize("status, message, reason, cause, command", [
    (403, "There is an IP filtering condition that is preventing access to "
     "the resource.", "forbidden", "IP filter",
     "gcloud storage buckets describe gs://test-bucket --raw "),
    (403, "Request is prohibited by organization's policy. "
     "vpcServiceControlsUniqueIdentifier: abcDEF123", "forbidden",
     "VPC Service Controls", "gcloud logging read "),
    (400, "Bucket is a requester pays bucket but no user project provided.",
     "required", "requester-pays", None),
    (403, "x@y.z does not have serviceusage.services.use access to the Google "
     "Cloud project.", "forbidden", "may not bill",
     "gcloud projects add-iam-policy-binding PROJECT "),
    (400, "User project specified in the request is invalid.", "invalid",
     "does not exist", "gcloud projects describe "),
    (403, "The billing account for the owning project is disabled in state "
     "absent", "accountDisabled", "Billing is disabled",
     "gcloud billing projects link "),
    (403, "Cloud Storage JSON API has not been used in project 12 before or "
     "it is disabled.", "accessNotConfigured", "API of Cloud Storage",
     "gcloud services enable storage.googleapis.com --project=demo-project"),
    (403, "Provided scope(s) are not authorized", "forbidden", "scopes",
     None),
    (403, "Permission denied on Cloud KMS key. Please ensure that your "
     "service agent has cloudkms.cryptoKeyVersions.useToDecrypt.",
     "forbidden", "Cloud KMS", "gcloud storage service-agent "),
    (403, "Something new.", "forbidden", "refuses it", "gcloud storage "),
    (429, "The rate limit has been exceeded.", "rateLimitExceeded",
     "too many requests", None),
    (500, "Backend error", "backendError", "Google has a fault", None),
    (503, "Backend error", "backendError", "Google has a fault", None),
    (418, "I am a teapot", "teapot", "not known", None)])
def test_a_refusal_by_its_words(check, filled, status, message, reason, cause,
                                command):
    refuse(filled, status, message, reason=reason, path="/o\\?")
    whole, report = ask(check())
    found = step(report, "list")
    assert (whole, found["status"]) == (503, "failed")
    assert found["error"] == f"{status} {reason}: {message}"
    assert cause in found["cause"]
    assert (found.get("command") or "").startswith(command or "\n") \
        or command is None and "command" not in found


def test_an_error_in_xml_is_read_too(check, filled):
    filled.fault(kind="storage", path="/test-bucket/a.txt", count=None,
                 status=403, code="UserProjectAccountProblem",
                 body=None)
    found = step(ask(check())[1], "read")
    assert found["error"].startswith("403 UserProjectAccountProblem")


def test_a_requester_pays_bucket_wants_a_project(check, filled, bucket,
                                                 key_file):
    filled.update_bucket(bucket, requester_pays=True)
    found = step(ask(check())[1], "list")
    assert 'Set "gcs_user_project".' == found["remedy"]
    filled.call("add_account", email=email(key_file),
                projects=["demo-project"])
    server = check(location="gcs_user_project demo-project;")
    assert states(ask(server)[1]) == READS


def test_an_answer_that_is_not_googles_is_shown_as_far_as_it_is_text(
        check, filled):
    filled.fault(kind="storage", path="/o\\?", status=200, count=None,
                 body="<html>login</html>")
    found = step(ask(check())[1], "list")
    assert found["message"] == "the answer is not a list"
    filled.clear_faults()
    filled.fault(kind="storage", path="/o\\?", status=502, count=None,
                 body="<html>bad gateway</html>")
    assert step(ask(check())[1], "list")["error"] == "502"


def test_a_rejected_token_is_replaced_once(check, filled):
    server = check(" valid=0")
    assert ask(server)[0] == 200
    filled.revoke_tokens()
    status, report = ask(server)
    assert (status, states(report)) == (200, READS)
    filled.fault(kind="storage", status=401, count=None, body="{}",
                 content_type="application/json")
    filled.reset_requests()
    status, report = ask(server)
    assert (status, states(report)["bucket"]) == (503, "failed")
    assert "does not accept the token" in step(report, "list")["cause"]
    assert len(filled.requests("storage")) <= 4


# who does not answer

def test_an_endpoint_where_nobody_listens(check, filled):
    port = free_port()
    status, report = ask(check(endpoint=f"http://127.0.0.1:{port}"))
    found = step(report, "bucket")
    assert (status, found["status"]) == (503, "failed")
    assert "Nobody listens" in found["cause"] \
        or "cannot be reached" in found["cause"]
    assert found["command"].endswith(f"https://127.0.0.1:{port}/")
    assert step(report, "list")["message"] \
        == "nothing was asked: the endpoint does not answer"


def test_an_endpoint_that_breaks_off(check, filled):
    filled.fault(kind="storage", reset=True, count=None)
    status, report = ask(check())
    assert (status, step(report, "bucket")["status"]) == (503, "failed")
    assert step(report, "bucket")["message"] == "there was no answer"


# tokens

def test_a_deleted_key_is_to_be_replaced(check, filled, key_file):
    filled.remove_key(email(key_file))
    status, report = ask(check())
    found = step(report, "token")
    assert (status, found["status"]) == (503, "failed")
    assert "invalid_grant" in found["error"]
    assert "Invalid JWT Signature" in found["error"]
    assert "create a new key" not in found["error"]
    assert "has been deleted or disabled" in found["cause"]
    assert found["command"] == "gcloud iam service-accounts keys create " \
        "key.json --iam-account=" + email(key_file)
    # without a token the clock can be looked at all the same
    assert states(report)["clock"] == "ok"
    assert {states(report)[name] for name in
            ("bucket", "list", "read", "range", "sign")} == {"skipped"}


def test_a_deleted_account_is_named(check, filled, key_file):
    filled.remove_account(email(key_file))
    found = step(ask(check())[1], "token")
    assert "does not exist" in found["cause"]
    assert found["command"] == "gcloud iam service-accounts describe " \
        + email(key_file)


@pytest.mark.parametrize("error, text, cause", [
    ("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 "
     "minutes) and in a reasonable timeframe.", "clock"),
    ("invalid_scope", "x", "scope"),
    ("strange", "x", "not known")])
def test_a_refused_token_by_its_words(check, filled, error, text, cause):
    filled.fault(kind="token", status=400, count=None, body=json.dumps(
        {"error": error, "error_description": text}),
        content_type="application/json")
    status, report = ask(check())
    assert status == 503
    assert cause in step(report, "token")["cause"]


def test_a_token_endpoint_where_nobody_listens(check, filled):
    port = free_port()
    _, report = ask(check(credentials="file %%KEY%%; token_endpoint "
                          f"http://127.0.0.1:{port}/token;"))
    found = step(report, "token")
    assert found["status"] == "failed"
    assert found["command"].endswith(f"https://127.0.0.1:{port}/")


def test_a_token_endpoint_with_an_unknown_authority(check, filled):
    _, report = ask(check(credentials="file %%KEY%%; token_endpoint "
                          "%%EMULATOR_TLS%%/token;"))
    found = step(report, "token")
    assert "not issued by an authority" in found["cause"]
    assert found["command"].startswith(
        f"openssl s_client -connect localhost:{filled.https_port} ")


def test_a_token_that_does_not_come_in_time(check, filled):
    filled.fault(kind="token", hang=True, count=None)
    status, report = ask(check(location="gcs_token_timeout 300ms;"))
    found = step(report, "token")
    assert (status, found["status"]) == (503, "failed")
    assert "gcs_token_timeout" in found["message"]
    assert 250 < found["ms"] < 5000


def test_a_token_that_cannot_be_refreshed_is_warned_of(check, filled,
                                                       key_file):
    filled.configure(token_lifetime=6)
    server = check(" valid=0")
    assert ask(server)[0] == 200
    filled.remove_key(email(key_file))
    wait_until(lambda: "warning" in step(ask(server)[1], "token"), 10)
    found = step(ask(server)[1], "token")
    if found["status"] == "ok":
        assert "has been deleted or disabled" in found["cause"]


# impersonation and federation

IAM = "iam_endpoint %%EMULATOR%%; "


@pytest.fixture
def acting(filled, bucket, tmp_path):
    """BASE's key, and TARGET, who may read."""
    filled.add_service_account(TARGET, grants={bucket: "objectViewer"})
    path = tmp_path / "base.json"
    path.write_text(filled.service_account(BASE))
    return f"{IAM} file {path}; impersonate {TARGET};"


def test_an_impersonation_works(check, filled, acting):
    filled.set_policy(TARGET, {CREATOR: [service_account(BASE)]})
    status, report = ask(check(credentials=acting))
    assert (status, states(report)) == (200, {**READS, "sign": "skipped"})
    assert report["account"] == TARGET
    assert "acts as" in step(report, "credential")["message"]
    assert "require=sign" in step(report, "sign")["message"]


def test_a_denied_impersonation_is_to_be_granted(check, filled, acting):
    status, report = ask(check(credentials=acting))
    found = step(report, "token")
    assert (status, found["status"]) == (503, "failed")
    assert "getAccessToken" in found["error"]
    assert found["command"] == (
        f"gcloud iam service-accounts add-iam-policy-binding {TARGET} "
        f"--member='serviceAccount:{BASE}' "
        "--role=roles/iam.serviceAccountTokenCreator")


def test_a_target_that_is_not_there_is_named(check, filled, acting):
    credentials = acting.replace(TARGET, "nobody@x.iam.gserviceaccount.com")
    found = step(ask(check(credentials=credentials))[1], "token")
    assert "does not exist" in found["cause"]
    assert found["command"].endswith(
        "describe nobody@x.iam.gserviceaccount.com")


def test_a_denied_read_names_the_target(check, filled, acting, bucket):
    filled.set_policy(TARGET, {CREATOR: [service_account(BASE)]})
    filled.grant(TARGET, bucket, [])
    found = step(ask(check(credentials=acting))[1], "list")
    assert found["command"] == member("serviceAccount:" + TARGET,
                                      "objectViewer")


@pytest.fixture
def federated(filled, bucket, tmp_path):
    provider = filled.add_provider()
    filled.grant(provider.principal(SUBJECT), bucket, ["objectViewer"])
    token = tmp_path / "subject"
    token.write_text(filled.oidc_token(provider, sub=SUBJECT))
    path = tmp_path / "federation.json"
    path.write_text(json.dumps(filled.external_account_file(
        provider, filled.file_source(token))))
    return provider, token, (
        f"file {path}; sts_endpoint {filled.sts_url}; {IAM}")


def test_a_federated_identity_works_and_cannot_sign(check, filled, federated):
    status, report = ask(check(credentials=federated[2]))
    assert (status, states(report)) == (200, {**READS, "sign": "skipped"})
    assert report["type"] == "workload identity federation"
    assert "cannot sign" in step(report, "sign")["message"]


def test_a_federated_identity_is_granted_by_its_pool(check, filled, federated,
                                                     bucket):
    provider, _, credentials = federated
    filled.grant(provider.principal(SUBJECT), bucket, [])
    command = step(ask(check(credentials=credentials))[1], "list")["command"]
    assert command == member(provider.principal_set(), "objectViewer")


@pytest.mark.parametrize("audience", [
    "//iam.googleapis.com/a/b", "//iam.example.com/a/providers/b",
    "//iam.googleapis.com/a$(b)/providers/c"])
def test_an_audience_of_another_form_names_no_pool(check, filled, federated,
                                                   tmp_path, audience):
    path = tmp_path / "federation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()),
                                "audience": audience}))
    report = ask(check(credentials=federated[2]))[1]
    assert step(report, "token")["status"] == "failed"
    commands = [found.get("command", "") for found in report["steps"]]
    assert not [command for command in commands
                if "a/" in command or "$(" in command]


@pytest.mark.parametrize("change, cause", [
    ({"aud": "elsewhere"}, "audience"), ({"exp": -3600}, "subject token")])
def test_a_refused_subject_token(check, filled, federated, change, cause):
    provider, token, credentials = federated
    if "exp" in change:
        change = {"exp": int(time.time()) - 3600}
    token.write_text(filled.oidc_token(provider, sub=SUBJECT, **change))
    found = step(ask(check(credentials=credentials))[1], "token")
    assert found["status"] == "failed"
    assert cause in found["cause"]
    assert found["command"].startswith(
        "gcloud iam workload-identity-pools providers describe 'projects/")


# others

def test_the_metadata_servers_account_is_told(check, filled, bucket):
    filled.metadata_account(ATTACHED, grants={bucket: "objectViewer"})
    credentials = f"metadata_server {filled.metadata_host}; {IAM}"
    status, report = ask(check(credentials=credentials))
    assert (status, states(report)) == (200, {**READS, "sign": "skipped"})
    assert report["account"] == ATTACHED
    filled.grant(ATTACHED, bucket, [])
    found = step(ask(check(credentials=credentials))[1], "list")
    assert found["command"] == member("serviceAccount:" + ATTACHED,
                                      "objectViewer")


@pytest.mark.parametrize("may, state", [(True, "ok"), (False, "failed")])
def test_iam_signs_if_that_is_required(check, filled, bucket, may, state):
    filled.metadata_account(ATTACHED, grants={bucket: "objectViewer"})
    if may:
        filled.set_policy(ATTACHED, {CREATOR: [service_account(ATTACHED)]})
    status, report = ask(check(
        " require=sign",
        credentials=f"metadata_server {filled.metadata_host}; {IAM}"))
    found = step(report, "sign")
    assert (status, found["status"]) == (200 if may else 503, state)
    if may:
        assert found["message"] == "a URL was signed by IAM, and it works"
    else:
        assert "signBlob" in found["cause"]
        assert found["command"] == (
            f"gcloud iam service-accounts add-iam-policy-binding {ATTACHED} "
            f"--member='serviceAccount:{ATTACHED}' "
            "--role=roles/iam.serviceAccountTokenCreator")


SIGNING = "token.*auth%2Fiam"


@pytest.mark.parametrize("fault, state", [
    ({"delay": 1.5}, "ok"), ({"status": 404, "count": None}, "failed"),
    ({"status": 404, "delay": 1.5, "count": None}, "failed")])
def test_the_token_that_iam_is_asked_with_is_another(check, filled, bucket,
                                                     fault, state):
    """It may come later than the one that objects are read with, or not."""
    filled.metadata_account(ATTACHED, grants={bucket: "objectViewer"})
    filled.set_policy(ATTACHED, {CREATOR: [service_account(ATTACHED)]})
    filled.fault(kind="metadata", path=SIGNING, **fault)
    server = check(
        " require=sign",
        credentials=f"metadata_server {filled.metadata_host}; {IAM}")
    if "delay" not in fault:
        server.wait_log("could not be fetched")
    status, report = ask(server)
    assert (status, step(report, "sign")["status"]) == (
        200 if state == "ok" else 503, state)
    assert {**states(report), "sign": "ok"} == READS


def test_iam_is_not_asked_again_at_once_when_it_has_refused(check, filled,
                                                            bucket):
    filled.metadata_account(ATTACHED, grants={bucket: "objectViewer"})
    server = check(
        " require=sign", server="""location /m/ {
            gcs_pass gs://test-bucket/; gcs_auth reader; gcs_mode presign; }
        """, credentials=f"metadata_server {filled.metadata_host}; {IAM}")
    assert server.get("/m/a.txt").status >= 500
    asked = len(filled.requests("iam"))
    status, report = ask(server)
    assert (status, step(report, "sign")["status"]) == (503, "failed")
    assert len(filled.requests("iam")) == asked
    server.expect("refused|sign")


def test_a_metadata_server_that_is_not_there(check, filled):
    server = check(
        credentials=f"metadata_server 127.0.0.1:{free_port()};",
        location="gcs_token_timeout 1s;")
    status, report = ask(server)
    found = step(report, "token")
    assert (status, found["status"]) == (503, "failed")
    assert found["message"] == 'it did not come within "gcs_token_timeout"'


def test_a_name_that_no_shell_should_see_is_in_no_command(check, filled,
                                                          key_file):
    key = json.loads(key_file.read_text())
    key["client_email"] = "it's@x.iam.gserviceaccount.com"
    key_file.write_text(json.dumps(key))
    status, report = ask(check())
    assert status == 503
    assert report["account"] == "it's@x.iam.gserviceaccount.com"
    assert not [found for found in report["steps"]
                if "it's" in found.get("command", "")]


def test_a_login_works_and_cannot_sign(check, filled, bucket, tmp_path):
    path = tmp_path / "login.json"
    path.write_text(json.dumps(filled.authorized_user_file(PERSON)))
    filled.grant(PERSON, bucket, ["objectViewer"])
    credentials = f"file {path}; token_endpoint {filled.token_uri};"
    status, report = ask(check(credentials=credentials))
    assert (status, states(report)) == (200, {**READS, "sign": "skipped"})
    assert report["type"] == "user login" and "account" not in report
    filled.grant(PERSON, bucket, [])
    found = step(ask(check(credentials=credentials))[1], "list")
    assert found["command"] == member("user:" + PERSON, "objectViewer")


def test_who_is_anonymous_needs_no_token(check, filled, bucket):
    filled.update_bucket(bucket, public=True)
    status, report = ask(check(auth="anonymous"))
    assert (status, states(report)) == (200, {
        **READS, "token": "skipped", "sign": "skipped"})
    assert {r["credential"] for r in filled.requests("storage")} \
        == {"anonymous"}


def test_who_is_anonymous_is_refused_what_is_private(check, filled):
    status, report = ask(check("a.txt", auth="anonymous"))
    assert (status, states(report)["list"], states(report)["read"]) \
        == (503, "failed", "failed")
    assert step(report, "read")["command"] == member("allUsers",
                                                     "objectViewer")


HMAC = "hmac@demo-project.iam.gserviceaccount.com"


@pytest.fixture
def hmac(filled, bucket, tmp_path):
    access_id, secret = filled.hmac_key(HMAC, grants={
        bucket: ["objectViewer"]})
    path = tmp_path / "secret"
    path.write_text(secret)
    return access_id, f"hmac_key {access_id} {path};"


def test_an_hmac_key_signs_everything(check, filled, hmac):
    status, report = ask(check("a", "gcs_methods GET PUT;",
                               credentials=hmac[1]))
    assert (status, states(report)) == (200, {
        **READS, "token": "skipped", "bucket": "ok"})
    assert report["account"] == hmac[0]
    assert "HMAC" in step(report, "write")["message"]
    assert [(r["method"], r["credential"]) for r in
            filled.requests("storage")] == [
        ("HEAD", "valid"), ("GET", "valid"), ("GET", "valid"),
        ("GET", "signed URL")]


def test_an_hmac_key_follows_pages_and_is_billed(check, filled, hmac, bucket):
    filled.update_bucket(bucket, requester_pays=True)
    filled.call("add_account", email=HMAC, projects=["demo-project"])
    filled.fault(kind="storage", path="list-type=2", status=200,
                 body="<ListBucketResult><IsTruncated>true</IsTruncated>"
                 "<NextContinuationToken>00</NextContinuationToken>"
                 "</ListBucketResult>")
    status, report = ask(check(
        credentials=hmac[1], location="gcs_user_project demo-project;"))
    assert (status, states(report)["list"], states(report)["sign"]) \
        == (200, "ok", "ok")


def test_an_inactive_hmac_key_is_told(check, filled, hmac):
    filled.update_hmac_key(hmac[0], "inactive")
    status, report = ask(check(credentials=hmac[1]))
    assert (status, states(report)["list"]) == (503, "failed")
    assert step(report, "list")["cause"] == "The HMAC key is not active."


def test_a_wrong_hmac_secret_is_told(check, filled, hmac, tmp_path):
    (tmp_path / "secret").write_text("x" * 40)
    found = step(ask(check(credentials=hmac[1]))[1], "list")
    assert "signature does not fit" in found["cause"]
    assert found["command"] == "gcloud storage hmac list"


# strangers' words

def test_no_secret_is_repeated(check, filled, emulator):
    token = "ya29." + "x" * 60
    refuse(filled, 403, f"no {token} and {token}x/eyJhbGci.eyJz and "
           "X-Goog-Signature=" + "0a" * 128 + " or " + "f" * 64 + " here",
           path="/o\\?")
    server = check()
    answer = server.get("/check")
    for secret in ("ya29", "eyJ", "0a0a", "ffff"):
        assert secret not in answer.text
    assert step(answer.json(), "list")["error"] == \
        "403 forbidden: no ... and ... and X-Goog-Signature=... or ... here"


def test_the_answer_has_nothing_that_was_given_out(check, filled, key_file):
    server = check(" origin=http://a")
    text = server.get("/check").text \
        + server.get("/check", {"Accept": "text/html"}).text
    key = json.loads(key_file.read_text())
    for secret in [*filled.secrets(), key["private_key_id"], "Bearer",
                   "X-Goog-", signing_key().private_pem[60:120]]:
        assert secret not in text
    assert "X-Goog-" not in server.log()


@pytest.mark.parametrize("name", [
    "<script>alert(1)</script>", "\"'&<b>", "a\u202eb\u0085c\x1b[31m",
    "</code><img src=x onerror=alert(1)>"])
def test_names_and_words_are_escaped_on_the_page(check, emulator, bucket,
                                                 name):
    emulator.put_object(bucket, name, b"x")
    refuse(emulator, 403, f"no {name}", path="/storage/v1/b/test-bucket\\?")
    server = check()
    answer = server.get("/check", {"Accept": "text/html"})
    assert answer.status == 200
    assert answer.get("Content-Type") == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.get("Content-Security-Policy")
    body = answer.text.partition("</style>")[2]
    assert re.findall(r"<(?!/?(?:head|body|html|h1|p|b|span|table|tr|th|td|"
                      r"small|code|pre)\b)", body) == []
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", body)
    assert " was read" in step(server.get("/check").json(), "read")["message"]


def test_each_word_of_a_failed_token_has_a_cause():
    """And each of them is told in other words than "not known"."""
    from test_docs import FOLDER, token_words
    table = (FOLDER / "ngx_gcs_check_table.c").read_text()
    assert token_words() - set(re.findall(
        r'NGX_GCS_CHECK_ON_TOKEN, 0, "(\w+)"', table)) \
        <= {"token_unavailable"}

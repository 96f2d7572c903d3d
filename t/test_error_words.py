"""The troubles that people have: each has one line, a word and a remedy.

The cases of Label Studio's troubleshooting and those beside them. Each is
brought about for real: the emulator refuses in Google's words, nginx tells
the cause and what to do. The logs are at level debug, and hold no secret.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from conftest import SANITIZE
from emulator import link_local

TARGET = "target@demo-project.iam.gserviceaccount.com"
SUBJECT = "system:serviceaccount:default:reader"
DEVSTORAGE = "https://www.googleapis.com/auth/devstorage.read_only"
EXPLAIN = Path(__file__).resolve().parent.parent / "ngx_gcs_proxy_module"

ENDPOINTS = ("token_endpoint %%EMULATOR%%/token;"
             "sts_endpoint %%EMULATOR%%/v1/token;"
             "iam_endpoint %%EMULATOR%%;")
AWS = """
    workload_identity_pool my-pool; workload_identity_provider my-provider;
    project_number 123456789012; subject_token aws;
"""

# A clock that is wrong, for nginx alone.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
    int  (*real)(struct timeval *, void *), rc;

    real = (int (*)(struct timeval *, void *)) dlsym(RTLD_NEXT,
                                                     "gettimeofday");
    rc = real(tv, tz);
    tv->tv_sec += atoi(CLOCK_OFFSET);

    return rc;
}
"""


@pytest.fixture
def google(emulator, bucket):
    emulator.put_object(bucket, "a.txt", b"hello")
    return emulator


@pytest.fixture
def trouble(nginx, google):
    """Sends one request that fails; the word, and what the log says."""
    def make(inside, *, status=502, env=None, server=None, **kw):
        instance = nginx(
            f"gcs_credentials c {{ {inside} {ENDPOINTS} }} gcs_auth c;"
            "gcs_endpoint %%EMULATOR%%;",
            server="location /media/ { gcs_pass gs://test-bucket/;"
                   "add_header X-Error $gcs_error always; }",
            log_level="debug", env=env, **kw)
        answer = instance.get("/media/a.txt")
        assert answer.status == status, instance.log()
        assert answer.body.startswith(b"<html>")
        lines = [line for line in instance.log().splitlines()
                 if re.search(r"\[(warn|error|crit|alert|emerg)\]", line)]
        return answer.get("X-Error"), lines

    return make


def explained(word, lines, expected, *texts, token=True):
    """One line for the token, and one for the request that repeats it."""
    assert word == expected, lines
    requests = [line for line in lines if ", client: " in line]
    fetches = [line for line in lines if ", client: " not in line]
    assert len(requests) == 1, lines
    assert len(fetches) == (1 if token else 0), lines
    for line in lines:
        for text in texts:
            assert text in line, line
        # one sentence for people, not a dump
        assert len(line) < 900, line
    return True


def key(google, **kw):
    """A key file in a folder of the test."""
    text = google.service_account(**kw)
    return json.loads(text)["client_email"], text


@pytest.fixture
def key_path(google, bucket, tmp_path):
    path = tmp_path / "key.json"
    email, text = key(google, grants={bucket: ["objectViewer"]})
    path.write_text(text)
    google.key_email = email
    return path


# the cases of Label Studio's troubleshooting

def test_nobody_has_given_the_role_of_a_token_creator(trouble, google,
                                                      key_path):
    google.add_service_account(TARGET)
    assert explained(
        *trouble(f"file {key_path}; impersonate {TARGET};"),
        "impersonation_denied", "iam.serviceAccounts.getAccessToken",
        "roles/iam.serviceAccountTokenCreator")


def test_the_target_account_is_not_there(trouble, google, key_path):
    assert explained(
        *trouble(f"file {key_path}; impersonate {TARGET};"),
        "account_not_found", "404", "check its e-mail address")


def test_the_target_account_is_not_there_and_google_does_not_say_so(
        trouble, google, key_path):
    google.configure(iam_unknown_account=403)
    assert explained(
        *trouble(f"file {key_path}; impersonate {TARGET};"),
        "impersonation_denied", "there is no such account")


@pytest.fixture
def subject(google, tmp_path):
    path = tmp_path / "token"
    google.provider = google.add_provider()
    path.write_text(google.oidc_token(google.provider))
    return path


POOL = AWS.replace("aws", "file:%s")


@pytest.mark.parametrize("old, new", [
    ("my-pool", "other-pool"), ("my-provider", "other-provider"),
    ("123456789012", "210987654321")])
def test_the_pool_or_the_provider_is_not_there(trouble, subject, old, new):
    assert explained(*trouble(POOL.replace(old, new) % subject),
                     "invalid_target", "does not exist, or is disabled",
                     "by its number, not by its ID")


def test_the_provider_is_disabled(trouble, google, subject):
    google.update_provider(google.provider, disabled=True)
    assert explained(*trouble(POOL % subject), "invalid_target",
                     "is disabled")


@pytest.fixture
def clock(tmp_path):
    def make(offset):
        (tmp_path / "clock.c").write_text(
            CLOCK.replace("CLOCK_OFFSET", f'"{offset}"'))
        subprocess.run([*os.environ.get("CC", "cc").split(), "-shared",
                        "-fPIC", "-o", tmp_path / "clock.so",
                        tmp_path / "clock.c", "-ldl"], check=True)
        return {"LD_PRELOAD": str(tmp_path / "clock.so")}

    return make


@pytest.mark.skipif(SANITIZE, reason="its library must be the first one")
@pytest.mark.parametrize("offset", [-7200, 7200])
def test_the_clock_is_wrong(trouble, google, key_path, clock, offset):
    assert explained(*trouble(f"file {key_path};", env=clock(offset)),
                     "clock_skew", "clock of this machine", "synchronize")


@pytest.mark.skipif(SANITIZE, reason="its library must be the first one")
@pytest.mark.parametrize("offset", [-1200, 1200])
def test_the_clock_is_wrong_for_aws(trouble, google, clock, offset):
    google.add_provider(kind="aws")
    keys = google.aws_user()
    assert explained(*trouble(AWS, env={
        **clock(offset), "AWS_REGION": "us-east-2",
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"]}),
        "clock_skew", "clock of this machine", "synchronize")


@pytest.mark.skipif(SANITIZE, reason="its library must be the first one")
def test_the_clock_is_wrong_for_an_hmac_key(trouble, google, bucket,
                                            tmp_path, clock, nginx):
    access, secret = google.hmac_key("h@demo-project.iam.gserviceaccount.com",
                                     grants={bucket: ["objectViewer"]})
    (tmp_path / "secret").write_text(secret)
    server = nginx(f"gcs_credentials c {{ hmac_key {access} "
                   f"{tmp_path}/secret; }} gcs_auth c;"
                   "gcs_endpoint %%EMULATOR%%;",
                   server="location /media/ { gcs_pass gs://test-bucket/;"
                          "add_header X-Error $gcs_error always; }",
                   log_level="debug", env=clock(1800))
    answer = server.get("/media/a.txt")
    assert (answer.status, answer.get("X-Error")) \
        == (403, "RequestTimeTooSkewed")
    [line] = server.lines("error")
    assert "clock of this machine" in line


def test_the_key_has_been_deleted(trouble, google, key_path):
    google.remove_key(google.key_email)
    assert explained(*trouble(f"file {key_path};"), "key_invalid",
                     "Invalid JWT Signature", "create a new key")


def test_the_account_of_the_key_has_been_deleted(trouble, google, key_path):
    google.remove_account(google.key_email)
    assert explained(*trouble(f"file {key_path};"), "account_not_found",
                     "account not found", "deleted or disabled")


def test_the_condition_for_aws_is_not_met(trouble, google):
    google.aws_role("media")
    google.instance(role="media")
    google.add_provider(kind="aws", condition="attribute.aws_role == 'x'")
    assert explained(
        *trouble(AWS, env={
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": google.imds_url}),
        "condition_not_met", "attribute condition", "role's ARN")


def test_the_account_may_not_read_the_object(trouble, google, key_path,
                                             bucket):
    google.grant(google.key_email, bucket, [])
    word, lines = trouble(f"file {key_path};", status=403)
    assert explained(word, lines, "AccessDenied", google.key_email,
                     "storage.objects.get", "roles/storage.objectViewer",
                     "test-bucket", token=False)


# those beside them

def test_the_api_is_not_enabled(trouble, google, key_path):
    google.add_service_account(TARGET, api_disabled=True, policy={
        "roles/iam.serviceAccountTokenCreator":
        ["serviceAccount:" + google.key_email]})
    google.update_account(google.key_email, api_disabled=True)
    assert explained(
        *trouble(f"file {key_path}; impersonate {TARGET};"),
        "api_disabled", "enable iamcredentials.googleapis.com")


def test_the_scopes_of_the_machine_are_too_narrow(trouble, google):
    member = google.metadata_account(scopes=(DEVSTORAGE,))
    google.add_service_account(TARGET, policy={
        "roles/iam.serviceAccountTokenCreator": [member]})
    assert explained(
        *trouble(f"metadata_server {google.metadata_host};"
                 f"impersonate {TARGET};"),
        "scope_insufficient", "access scopes of the virtual machine",
        "cloud-platform")


@pytest.mark.skipif(SANITIZE, reason="its library must be the first one")
def test_the_machine_is_not_in_googles_cloud(trouble, google, tmp_path):
    assert explained(
        *trouble("application_default;", env={
            "LD_PRELOAD": str(link_local.library(tmp_path))}),
        "no_credentials", "this is not Google Cloud",
        "GOOGLE_APPLICATION_CREDENTIALS")


def test_the_machine_has_no_account(trouble, google):
    google.metadata_account()
    google.metadata_detach()
    assert explained(*trouble(f"metadata_server {google.metadata_host};"),
                     "no_service_account",
                     "no service account is attached")


def test_the_pod_is_not_bound(trouble, google):
    google.metadata_server(mode="gke")
    google.metadata_account("base@demo-project.iam.gserviceaccount.com",
                            pod="default/reader")
    assert explained(*trouble(f"metadata_server {google.metadata_host};"),
                     "impersonation_denied", "roles/iam.workloadIdentityUser",
                     "Kubernetes service account")


def test_a_login_has_ended(trouble, google, tmp_path):
    login = google.add_refresh_token()
    google.revoke_refresh_token(login["refresh_token"])
    path = tmp_path / "adc.json"
    path.write_text(json.dumps(google.authorized_user_file(login=login)))
    assert explained(*trouble(f"file {path};"), "login_expired",
                     "log in again")


@pytest.mark.parametrize("member", ["client_id", "client_secret"])
def test_an_oauth_client_is_not_known(trouble, google, tmp_path, member):
    file = google.authorized_user_file(**{})
    file[member] = "GOCSPX-of-nobody-at-all"
    path = tmp_path / "adc.json"
    path.write_text(json.dumps(file))
    assert explained(*trouble(f"file {path};"), "invalid_client",
                     "OAuth client")


def test_a_longer_lifetime_is_not_allowed(trouble, google, key_path):
    google.add_service_account(TARGET, policy={
        "roles/iam.serviceAccountTokenCreator":
        ["serviceAccount:" + google.key_email]})
    assert explained(
        *trouble(f"file {key_path}; impersonate {TARGET};"
                 "token_lifetime 2h;"),
        "lifetime_refused", "allowServiceAccountCredentialLifetimeExtension")


def test_a_scope_is_not_one(trouble, google, key_path):
    assert explained(
        *trouble(f"file {key_path};"
                 "scope https://www.googleapis.com/auth/nothing;"),
        "scope_invalid", "scope")


@pytest.mark.parametrize("kind", ["token", "sts", "iam"])
def test_there_have_been_too_many_requests(trouble, google, key_path, kind,
                                           subject):
    google.fault(kind=kind, status=429, count=None, body=json.dumps({
        "error": {"code": 429, "message": "Quota exceeded for quota metric",
                  "status": "RESOURCE_EXHAUSTED"}}))
    inside = POOL % subject if kind == "sts" else \
        f"file {key_path};" + (f"impersonate {TARGET};" if kind == "iam"
                               else "")
    word, lines = trouble(inside)
    assert word == "quota_exceeded", lines
    assert all("too many requests" in line for line in lines)


def test_the_subject_token_has_expired(trouble, google, subject):
    subject.write_text(google.oidc_token(google.provider, lifetime=-60))
    assert explained(*trouble(POOL % subject), "invalid_subject_token",
                     "the subject token has expired", "renewed")


def test_the_audience_of_the_subject_token_is_another(trouble, google,
                                                      subject):
    subject.write_text(google.oidc_token(google.provider, audience="x"))
    assert explained(*trouble(POOL % subject), "invalid_subject_token",
                     "does not allow the audience")


@pytest.mark.parametrize("permission, method, role", [
    ("storage.objects.create", "PUT", "roles/storage.objectCreator"),
    ("storage.objects.delete", "DELETE", "roles/storage.objectUser")])
def test_the_account_may_not_write(nginx, google, key_path, bucket,
                                   permission, method, role):
    server = nginx(f"gcs_credentials c {{ file {key_path}; {ENDPOINTS} }}"
                   "gcs_auth c; gcs_endpoint %%EMULATOR%%;",
                   server="location /media/ { gcs_pass gs://test-bucket/;"
                   "gcs_methods GET PUT DELETE; }")
    answer = server.request(method, "/media/a.txt", {},
                            b"x" if method == "PUT" else None)
    assert answer.status == 403
    [line] = server.lines("error")
    assert permission in line and role in line


def test_the_project_may_not_be_billed(nginx, google, key_path):
    google.service_account(google.key_email, projects=[])
    server = nginx(f"gcs_credentials c {{ file {key_path}; {ENDPOINTS} }}"
                   "gcs_auth c; gcs_endpoint %%EMULATOR%%;",
                   server="location /media/ { gcs_pass gs://test-bucket/;"
                   "gcs_user_project demo-project; }")
    assert server.get("/media/a.txt").status == 403
    [line] = server.lines("error")
    assert "roles/serviceusage.serviceUsageConsumer" in line


def test_somebody_has_to_pay(trouble, google, key_path, bucket):
    google.update_bucket(bucket, requester_pays=True)
    word, lines = trouble(f"file {key_path};", status=502)
    assert word == "UserProjectMissing" and len(lines) == 1
    assert "gcs_user_project" in lines[0]


# secrets

def test_words_of_an_endpoint_that_repeat_a_secret_are_not_logged(
        trouble, google, key_path):
    """A server that quotes what it was given; here it invents them."""
    secrets = ["eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2lnbmF0dXJl",
               "ya29.a0AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
               "GOCSPX-abcdefghijklmnopqrstuvwxyz12"]
    google.fault(kind="token", status=400, count=None, body=json.dumps({
        "error": "invalid_grant", "error_description":
        "bad token " + " ".join(secrets) + f" assertion={secrets[0]}"}))
    word, lines = trouble(f"file {key_path};", secrets=secrets)
    assert not any(secret in line for line in lines for secret in secrets)
    assert all("bad token" in line for line in lines)


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\0b", "\x7f"])
def test_words_of_an_endpoint_cannot_forge_a_line(trouble, google, key_path,
                                                  text):
    google.fault(kind="token", status=400, count=None, body=json.dumps({
        "error": "invalid_grant", "error_description": f"x{text}[error] y"}))
    _, lines = trouble(f"file {key_path};")
    assert len(lines) == 2
    assert not any(ord(c) < 32 or ord(c) == 127
                   for line in lines for c in line)


# the table

def test_each_word_of_the_table_is_brought_about_by_a_test():
    """Those that this and the neighbouring files name."""
    value = r'(?:NULL|(?:"[^"]*"\s*)+)'
    words = set(re.findall(
        rf'\{{ [\w|\s]+, \w+,\s+{value},\s+{value},\s+"(\w+)",',
        (EXPLAIN / "ngx_gcs_explain.c").read_text()))
    assert len(words) > 12
    text = "".join(path.read_text() for path in
                   Path(__file__).parent.glob("test_*.py"))
    assert {word for word in words if f'"{word}"' not in text} == set()

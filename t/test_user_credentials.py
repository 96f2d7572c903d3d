"""Logins of people: "gcloud auth application-default login", with an account
of Google's or with one of a workforce pool."""

from __future__ import annotations

import base64
import json
import time

import pytest

from harness.nginx import wait_until

AUTH = "https://www.googleapis.com/auth/"
CLOUD = AUTH + "cloud-platform"
READ = AUTH + "devstorage.read_only"
WRITE = AUTH + "devstorage.read_write"
PERSON = "someone@example.com"
WORKFORCE = ("principal://iam.googleapis.com/locations/global/"
             "workforcePools/my-workforce/subject/" + PERSON)
ENDPOINT = "token_endpoint %%EMULATOR%%/token;"

LOCATION = """
    gcs_endpoint %%EMULATOR%%;
    server {
        listen 127.0.0.1:%%PORT%%;
        location /m/ {
            gcs_pass gs://test-bucket;
            gcs_auth me;
            add_header X-Error $gcs_error always;
            @@
        }
    }
"""


@pytest.fixture
def google(emulator, bucket):
    emulator.put_object(bucket, "a", b"hi")
    emulator.add_refresh_token(PERSON)     # makes him known
    for who in (PERSON, WORKFORCE):
        emulator.grant(who, bucket, ["objectUser"])
    return emulator


@pytest.fixture
def serve(nginx, google, tmp_path):
    """nginx with such a file; `block` is more of its block."""
    def make(file, block: str = "", location: str = "", **kw):
        path = tmp_path / "login.json"
        path.write_text(json.dumps(file))
        if file["type"] == "authorized_user" \
                and "token_endpoint" not in block:
            block += ENDPOINT
        return nginx(f"gcs_credentials me {{ file {path}; {block} }}"
                     + LOCATION.replace("@@", location), **kw)
    return make


def headers(request) -> dict[str, str]:
    return {name.lower(): value for name, value in request["headers"]}


def failed(server, word: str, *texts: str) -> None:
    server.wait_log("could not be fetched")
    answer = server.get("/m/a")
    assert (answer.status, answer.get("X-Error")) == (502, word)
    for pattern in ('gcs credentials "me": token could not be fetched',
                    'no token of gcs credentials "me"'):
        line, = server.lines("error", pattern)
        for text in texts:
            assert text in line, line


# with an account of Google's

def test_a_login_reads(serve, google):
    file = google.authorized_user_file(PERSON)
    server = serve(file)
    assert server.get("/m/a").body == b"hi"
    request, = google.requests("token")
    assert (request["method"], request["target"]) == ("POST", "/token")
    assert request["form"] == {
        "grant_type": "refresh_token", "client_id": file["client_id"],
        "client_secret": file["client_secret"],
        "refresh_token": file["refresh_token"]}
    names = headers(request)
    assert names["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in names
    assert google.requests("storage")[0]["account"] == PERSON
    assert google.counts() == {"token": 1, "storage": 1}


@pytest.mark.parametrize("block, location, scope", [
    ("", "", None),
    # a person has agreed to what he has agreed to, at the login
    ("", "gcs_methods GET PUT;", None),
    (f"scope {READ};", "", READ),
    (f"scope {READ} {CLOUD};", "", f"{READ} {CLOUD}"),
])
def test_scopes_are_only_named_if_the_configuration_does(
        serve, google, block, location, scope):
    login = google.add_refresh_token(PERSON, scopes=(CLOUD, READ))
    server = serve(google.authorized_user_file(login=login), block, location)
    assert server.get("/m/a").body == b"hi"
    assert google.requests("token")[0]["form"].get("scope") == scope


def test_a_scope_that_was_not_agreed_to_has_a_word(serve, google):
    server = serve(google.authorized_user_file(PERSON), f"scope {READ};")
    failed(server, "scope_invalid", 'answered 400 "invalid_scope"',
           'check "scope"')


def test_the_endpoint_of_the_file_is_of_no_account(serve, google):
    """As in Google's clients: whoever can write the file would get the
    login."""
    server = serve(google.authorized_user_file(
        PERSON, token_uri="https://evil.example/token"))
    assert server.get("/m/a").body == b"hi"
    assert google.counts()["token"] == 1


def test_a_login_is_renewed_in_time(serve, google):
    google.configure(token_lifetime=2)
    server = serve(google.authorized_user_file(PERSON))
    start = time.monotonic()
    while time.monotonic() - start < 3.5:
        assert server.get("/m/a").body == b"hi"
        time.sleep(0.02)
    assert google.counts()["token"] >= 3
    assert {r["status"] for r in google.requests("storage")} == {200}


def test_the_quota_project_of_the_file_is_not_sent(serve, google):
    """It would make that project pay for every read."""
    server = serve(google.authorized_user_file(
        PERSON, quota_project_id="demo-project"))
    assert server.get("/m/a").body == b"hi"
    assert "x-goog-user-project" not in headers(google.requests("storage")[0])


@pytest.mark.parametrize("change, word, texts", [
    ("revoked", "login_expired", ('400 "invalid_grant"', "log in again")),
    ("client", "invalid_client", ('401 "invalid_client"', "OAuth client")),
    ("secret", "invalid_client", ('401 "invalid_client"', "OAuth client")),
])
def test_a_login_that_is_over_is_told_with_the_remedy(serve, google, change,
                                                      word, texts):
    file = google.authorized_user_file(PERSON)
    if change == "revoked":
        google.revoke_refresh_token(file["refresh_token"])
    elif change == "client":
        file["client_id"] = "nobody"
    else:
        file["client_secret"] = "GOCSPX-another"
    server = serve(file)
    failed(server, word, "token endpoint answered", *texts)
    assert len(server.lines("error")) == 2


def test_a_session_that_must_be_proven_again_is_told(serve, google):
    google.fault(kind="token", status=400, count=None, body=json.dumps({
        "error": "invalid_grant", "error_description": "reauth related error "
        "(invalid_rapt)", "error_uri": "https://support.google.com/a/answer/"
        "9368756", "error_subtype": "invalid_rapt"}))
    server = serve(google.authorized_user_file(PERSON))
    failed(server, "login_expired", "use a service account")


def test_a_login_that_is_revoked_later_serves_to_its_end(serve, google):
    """Of the access token; then the cause is told."""
    google.configure(token_lifetime=3)
    file = google.authorized_user_file(PERSON)
    server = serve(file)
    assert server.get("/m/a").body == b"hi"
    google.revoke_refresh_token(file["refresh_token"])
    server.wait_log("could not be fetched")
    assert len(server.lines("warn", "log in again")) >= 1
    assert server.get("/m/a").body == b"hi"
    wait_until(lambda: server.get("/m/a").status == 502)
    assert server.get("/m/a").get("X-Error") == "login_expired"


@pytest.mark.parametrize("kind", ["authorized_user",
                                  "external_account_authorized_user"])
@pytest.mark.parametrize("missing", ["client_id", "client_secret",
                                     "refresh_token"])
def test_what_is_missing_in_the_file_is_told(serve, google, kind, missing):
    file = {"authorized_user": google.authorized_user_file,
            "external_account_authorized_user":
            google.external_account_authorized_user_file}[kind]()
    del file[missing]
    line = serve(file, start=False).refusal()
    assert f'no member "{missing}"' in line
    assert 'gcs credentials "me", file "' in line
    file[missing] = "a b"
    line = serve(file, start=False).refusal()
    assert f'member "{missing}" contains white space' in line
    file[missing] = ""
    line = serve(file, start=False).refusal()
    assert f'member "{missing}" is empty' in line


# with an account of a workforce pool

def test_a_workforce_login_reads(serve, google):
    file = google.external_account_authorized_user_file(PERSON)
    server = serve(file)
    assert server.get("/m/a").body == b"hi"
    request, = google.requests("sts")
    assert (request["method"], request["target"]) == ("POST",
                                                      "/v1/oauthtoken")
    assert request["form"] == {"grant_type": "refresh_token",
                               "refresh_token": file["refresh_token"]}
    basic = f"{file['client_id']}:{file['client_secret']}".encode()
    assert headers(request)["authorization"] == \
        "Basic " + base64.b64encode(basic).decode()
    assert google.requests("storage")[0]["account"] == WORKFORCE
    assert google.counts() == {"sts": 1, "storage": 1}


def test_the_url_of_a_workforce_login_is_pinned(serve, google):
    file = google.external_account_authorized_user_file(PERSON)
    for url in ("https://evil.example/v1/oauthtoken",
                "http://sts.googleapis.com/v1/oauthtoken",
                "https://sts.googleapis.com.evil.example/"):
        line = serve({**file, "token_url": url}, start=False).refusal()
        assert 'member "token_url" is not an https URL below ' \
            '"googleapis.com"; if it is right, write it as ' \
            '"token_endpoint"' in line
    server = serve({**file, "token_url": "https://evil.example/"},
                   "token_endpoint %%EMULATOR%%/v1/oauthtoken;")
    assert server.get("/m/a").body == b"hi"


def test_a_refresh_token_is_kept_if_what_follows_fails(serve, google, bucket):
    """It is spent, even if nobody may act as who is to be impersonated."""
    file = google.authorized_user_file(login=google.add_refresh_token(
        PERSON, scopes=(CLOUD, READ), rotate=True, revoke_old=True))
    target = "target@demo-project.iam.gserviceaccount.com"
    google.add_service_account(
        target, grants={bucket: ["objectViewer"]},
        policy={"roles/iam.serviceAccountTokenCreator": ["user:" + PERSON]})
    google.fault(kind="iam", status=503, count=2)
    server = serve(file, f"impersonate {target}; iam_endpoint %%EMULATOR%%;")
    assert server.get("/m/a").status == 502
    wait_until(lambda: len(google.requests("token")) >= 3, 10)
    sent = [r["form"]["refresh_token"] for r in google.requests("token")]
    assert len(sent) == len(set(sent))
    assert {r["status"] for r in google.requests("token")} == {200}
    wait_until(lambda: server.get("/m/a").body == b"hi", 10)


@pytest.mark.parametrize("kind", ["authorized_user",
                                  "external_account_authorized_user"])
def test_a_refresh_token_that_is_replaced_is_followed(serve, google, kind):
    """The answer brings the next one, and the old one is over (RFC 6749, 6);
    in memory only, and by whichever worker it was fetched."""
    google.configure(token_lifetime=2)
    if kind == "authorized_user":
        file = google.authorized_user_file(login=google.add_refresh_token(
            PERSON, rotate=True, revoke_old=True))
    else:
        file = google.external_account_authorized_user_file(
            PERSON, rotate=True, revoke_old=True)
    server = serve(file, workers=2)
    start = time.monotonic()
    while time.monotonic() - start < 4.5:
        assert server.get("/m/a").body == b"hi"
        time.sleep(0.02)
    sent = [r["form"]["refresh_token"] for kind in ("token", "sts")
            for r in google.requests(kind)]
    assert len(sent) == len(set(sent)) >= 3
    assert server.lines("warn") == server.lines("error") == []
    # and over a reload, unless it comes in the middle of a fetch
    server.wait_log("refreshed", count=1 + len(server.lines(
        "info", "refreshed")))
    server.reload(old_gone=True)
    server.wait_log("refreshed", count=2 + len(server.lines(
        "info", "refreshed")))
    assert server.get("/m/a").body == b"hi"
    assert server.lines("warn") == server.lines("error") == []


def test_a_revoked_workforce_login_is_told(serve, google):
    file = google.external_account_authorized_user_file(PERSON)
    google.revoke_refresh_token(file["refresh_token"])
    server = serve(file)
    failed(server, "login_expired", "answered 400", "log in again")

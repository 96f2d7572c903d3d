"""With the token of one account the token of another: the directive
"impersonate", on top of any source, and files that say so themselves."""

from __future__ import annotations

import json
import time

import pytest

from harness.nginx import wait_until

AUTH = "https://www.googleapis.com/auth/"
CLOUD = AUTH + "cloud-platform"
IAM = AUTH + "iam"
READ = AUTH + "devstorage.read_only"
WRITE = AUTH + "devstorage.read_write"
CREATOR = "roles/iam.serviceAccountTokenCreator"
FEDERATED = "roles/iam.workloadIdentityUser"
BASE = "base@demo-project.iam.gserviceaccount.com"
MIDDLE = "middle@demo-project.iam.gserviceaccount.com"
LAST = "last@demo-project.iam.gserviceaccount.com"
TARGET = "reader@data-project.iam.gserviceaccount.com"
PERSON = "someone@example.com"
WORKFORCE = ("principal://iam.googleapis.com/locations/global/"
             "workforcePools/my-workforce/subject/" + PERSON)
SUBJECT = "system:serviceaccount:default:reader"

LOCATION = """
    gcs_endpoint %%EMULATOR%%;
    server {
        listen 127.0.0.1:%%PORT%%;
        location /m/ {
            gcs_pass gs://test-bucket;
            gcs_auth reader;
            add_header X-Error $gcs_error always;
            @@
        }
    }
"""


def conf(block: str, location: str = "") -> str:
    return "gcs_credentials reader { iam_endpoint %%EMULATOR%%; " + block \
        + " }" + LOCATION.replace("@@", location)


def service_account(email: str) -> str:
    return "serviceAccount:" + email


@pytest.fixture
def google(emulator, bucket):
    """A bucket that TARGET alone may read; nobody may act as TARGET yet."""
    emulator.put_object(bucket, "a", b"hi")
    emulator.add_service_account(TARGET, grants={bucket: "objectUser"})
    return emulator


@pytest.fixture
def base(google, tmp_path) -> str:
    """The path of the key of BASE, which may act as TARGET."""
    google.set_policy(TARGET, {CREATOR: [service_account(BASE)]})
    path = tmp_path / "base.json"
    path.write_text(google.service_account(BASE))
    return str(path)


@pytest.fixture
def write(tmp_path):
    def make(file, name: str = "file.json") -> str:
        path = tmp_path / name
        path.write_text(json.dumps(file))
        return str(path)
    return make


def hops(google) -> list[dict]:
    """The requests to IAM, each with whom it was for."""
    return [{"by": r["account"], "for": r["target_account"], **r["json"]}
            for r in google.requests("iam")]


def reads(server, google, account: str = TARGET) -> None:
    assert server.get("/m/a").body == b"hi"
    assert google.requests("storage")[-1]["account"] == account
    assert server.lines("error") == server.lines("warn") == []


# by whom

def test_a_key_acts_as_another_account(nginx, google, base):
    server = nginx(conf(f"file {base}; impersonate {TARGET};"))
    reads(server, google)
    # least privilege: the key's token is good for nothing but the next step
    key, = google.requests("token")
    assert key["assertion"]["claims"]["scope"] == IAM
    request, = google.requests("iam")
    assert request["method"] == "POST"
    assert request["target"].replace("%40", "@") == (
        f"/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken")
    names = {n.lower(): v for n, v in request["headers"]}
    assert names["content-type"] == "application/json"
    assert set(names) <= {"host", "accept", "content-type", "authorization",
                          "content-length", "user-agent"}
    assert request["json"] == {"delegates": [], "scope": [READ],
                               "lifetime": "3600s"}
    assert request["scopes"] == [IAM] and request["account"] == BASE
    assert google.counts() == {"token": 1, "iam": 1, "storage": 1}


def test_label_studios_scenario_on_gke(nginx, google):
    """The pod's base account in one project, the target in the data's."""
    google.metadata_server(mode="gke")
    pod = google.metadata_account(BASE, pod="labelstudio/nginx")
    google.add_service_account(BASE, policy={FEDERATED: [pod]})
    google.set_policy(TARGET, {CREATOR: [service_account(BASE)]})
    server = nginx(conf(f"metadata_server {google.metadata_host};"
                        f"impersonate {TARGET};"))
    reads(server, google)
    assert hops(google) == [{"by": BASE, "for": TARGET, "delegates": [],
                             "scope": [READ], "lifetime": "3600s"}]
    token = google.requests("metadata")[0]
    assert token["scopes"] == [IAM]
    # the name that matters is the target's
    server.wait_log('gcs credentials "reader": token.* refreshed')


def test_a_cloud_run_token_has_but_the_scope_for_the_next_step(nginx,
                                                               google):
    google.metadata_server(mode="cloud-run")
    google.metadata_account(BASE)
    google.set_policy(TARGET, {CREATOR: [service_account(BASE)]})
    server = nginx(conf(f"metadata_server {google.metadata_host};"
                        f"impersonate {TARGET};"))
    reads(server, google)
    assert hops(google)[0]["scope"] == [READ]
    assert google.requests("iam")[0]["scopes"] == [IAM]


def test_a_login_acts_as_an_account(nginx, google, write):
    google.set_policy(TARGET, {CREATOR: ["user:" + PERSON]})
    path = write(google.authorized_user_file(PERSON))
    server = nginx(conf(f"file {path}; token_endpoint %%EMULATOR%%/token;"
                        f"impersonate {TARGET};"))
    reads(server, google)
    # a login has the scopes it has
    assert "scope" not in google.requests("token")[0]["form"]
    assert hops(google)[0]["by"] == PERSON


def test_a_federated_identity_acts_as_an_account(nginx, google, write,
                                                 tmp_path):
    provider = google.add_provider()
    google.set_policy(TARGET, {CREATOR: [provider.principal(SUBJECT)]})
    (tmp_path / "token").write_text(google.oidc_token(provider))
    path = write(google.external_account_file(
        provider, google.file_source(tmp_path / "token")))
    server = nginx(conf(f"file {path}; impersonate {TARGET};"))
    reads(server, google)
    assert google.requests("sts")[0]["form"]["scope"] == IAM


# through whom

def test_delegates_stand_between(nginx, google, base):
    google.add_service_account(MIDDLE, policy={
        CREATOR: [service_account(BASE)]})
    google.add_service_account(LAST, policy={
        CREATOR: [service_account(MIDDLE)]})
    google.set_policy(TARGET, {CREATOR: [service_account(LAST)]})
    server = nginx(conf(f"file {base};"
                        f"impersonate {TARGET} {MIDDLE} {LAST};"))
    reads(server, google)
    assert hops(google) == [{
        "by": BASE, "for": TARGET, "scope": [READ], "lifetime": "3600s",
        "delegates": ["projects/-/serviceAccounts/" + MIDDLE,
                      "projects/-/serviceAccounts/" + LAST]}]


@pytest.mark.parametrize("source", [
    "service_account", "authorized_user", "external_account",
    "external_account_authorized_user"])
@pytest.mark.parametrize("prefix", ["", "projects/-/serviceAccounts/"])
def test_files_that_impersonate_are_taken(nginx, google, write, tmp_path,
                                          source, prefix):
    provider = google.add_provider()
    (tmp_path / "token").write_text(google.oidc_token(provider))
    inner, member = {
        "service_account": lambda: (
            json.loads(google.service_account(BASE)), service_account(BASE)),
        "authorized_user": lambda: (
            google.authorized_user_file(PERSON), "user:" + PERSON),
        "external_account": lambda: (
            google.external_account_file(
                provider, google.file_source(tmp_path / "token")),
            provider.principal(SUBJECT)),
        "external_account_authorized_user": lambda: (
            google.external_account_authorized_user_file(PERSON), WORKFORCE),
    }[source]()
    google.add_service_account(MIDDLE, policy={CREATOR: [member]})
    google.set_policy(TARGET, {CREATOR: [service_account(MIDDLE)]})
    path = write(google.impersonated_file(TARGET, inner, google=True,
                                          delegates=(prefix + MIDDLE,)))
    block = f"file {path};"
    if source == "authorized_user":
        block += "token_endpoint %%EMULATOR%%/token;"
    reads(nginx(conf(block)), google)
    assert hops(google) == [{
        "by": member.removeprefix("serviceAccount:").removeprefix("user:"),
        "for": TARGET, "scope": [READ], "lifetime": "3600s",
        "delegates": ["projects/-/serviceAccounts/" + MIDDLE]}]


def test_the_directive_stands_on_top_of_the_file(nginx, google, write):
    """Two steps: the first for nothing but the second."""
    google.add_service_account(MIDDLE, policy={
        CREATOR: [service_account(BASE)]})
    google.set_policy(TARGET, {CREATOR: [service_account(MIDDLE)]})
    path = write(google.impersonated_file(
        MIDDLE, json.loads(google.service_account(BASE))))
    server = nginx(conf(f"file {path}; impersonate {TARGET};"
                        "token_lifetime 10m;"))
    reads(server, google)
    assert hops(google) == [
        {"by": BASE, "for": MIDDLE, "delegates": [], "scope": [IAM],
         "lifetime": "3600s"},
        {"by": MIDDLE, "for": TARGET, "delegates": [], "scope": [READ],
         "lifetime": "600s"}]


# for how long, for what

@pytest.mark.parametrize("text, lifetime", [
    ("30m", "1800s"), ("600", "600s"), ("12h", "43200s"), ("90m", "5400s")])
def test_the_lifetime_is_what_is_said(nginx, google, base, text, lifetime):
    google.update_account(TARGET, lifetime_extension=True)
    server = nginx(conf(f"file {base}; impersonate {TARGET};"
                        f"token_lifetime {text};"))
    reads(server, google)
    assert hops(google)[0]["lifetime"] == lifetime
    seconds = int(lifetime[:-1])
    line, = server.wait_log(r"refreshed, expires in (\d+) s")
    assert seconds - 5 <= int(line[1]) <= seconds


@pytest.mark.parametrize("methods, block, scopes", [
    ("gcs_methods GET PUT;", "", [WRITE]),
    ("gcs_methods GET HEAD DELETE;", "", [WRITE]),
    ("", f"scope {CLOUD} {READ};", [CLOUD, READ]),
    ("gcs_methods GET PUT;", f"scope {READ};", [READ])])
def test_the_scope_is_that_of_the_last_step(nginx, google, base, methods,
                                            block, scopes):
    server = nginx(conf(f"file {base}; impersonate {TARGET};" + block,
                        methods))
    reads(server, google)
    assert hops(google)[0]["scope"] == scopes
    assert google.requests("token")[0]["assertion"]["claims"]["scope"] == IAM


def test_the_time_of_expiry_is_heeded(nginx, google, base):
    """All steps are gone again, well before the last token's end."""
    google.configure(token_lifetime=3)
    server = nginx(conf(f"file {base}; impersonate {TARGET};"))
    start = time.monotonic()
    while time.monotonic() - start < 5:
        assert server.get("/m/a").body == b"hi"
        time.sleep(0.02)
    assert google.counts()["iam"] == google.counts()["token"] >= 3
    times = [r["time"] for r in google.requests("iam")]
    assert all(1.5 < b - a < 2.9 for a, b in zip(times, times[1:])), times


@pytest.mark.parametrize("answer", [
    {"expireTime": None}, {"expireTime": "soon"}, {"expireTime": 12},
    {"expireTime": "2001-01-01T00:00:00Z"},
    {"expireTime": "2999-01-01T00:00:00.123Z"}])
def test_without_a_sensible_expiry_it_is_what_was_asked_for(
        nginx, google, base, answer):
    """Google's clock may not be ours."""
    google.fault(kind="iam", token=answer)
    server = nginx(conf(f"file {base}; impersonate {TARGET};"
                        "token_lifetime 20m;"))
    reads(server, google)
    line, = server.wait_log(r"refreshed, expires in (\d+) s")
    assert 1195 <= int(line[1]) <= 1200


# what goes wrong

def failed(server, word: str, *texts: str) -> None:
    server.wait_log("could not be fetched")
    answer = server.get("/m/a")
    assert (answer.status, answer.get("X-Error")) == (502, word)
    for pattern in ('gcs credentials "reader": token could not be fetched',
                    'no token of gcs credentials "reader"'):
        line, = server.lines("error", pattern)
        for text in texts:
            assert text in line, line
    assert len(server.lines("error")) == 2 and server.lines("warn") == []


def no_right(google):
    google.set_policy(TARGET, {})


def right_of_another(google):
    google.set_policy(TARGET, {CREATOR: [service_account(MIDDLE)]})


def wrong_role(google):
    google.set_policy(TARGET, {"roles/iam.serviceAccountUser": [
        service_account(BASE)]})


def gone(google):
    google.remove_account(TARGET)


def gone_as_403(google):
    google.remove_account(TARGET)
    google.configure(iam_unknown_account=403)


def api_disabled(google):
    google.update_account(TARGET, api_disabled=True)


@pytest.mark.parametrize("change, word, texts", [
    (no_right, "impersonation_denied", ("answered 403", CREATOR,
                                        "getAccessToken")),
    (right_of_another, "impersonation_denied", (CREATOR,)),
    (wrong_role, "impersonation_denied", (CREATOR,)),
    (gone, "account_not_found", ("answered 404", "does not exist")),
    (gone_as_403, "impersonation_denied", (CREATOR, "no such account")),
    (api_disabled, "api_disabled", ("enable iamcredentials.googleapis.com",)),
])
def test_the_cause_is_told_with_the_remedy(nginx, google, base, change, word,
                                           texts):
    change(google)
    server = nginx(conf(f"file {base}; impersonate {TARGET};"))
    failed(server, word, "IAM Credentials API", *texts)
    assert google.counts().get("storage") is None


def test_a_link_of_the_chain_that_is_missing_is_denied(nginx, google, base):
    google.add_service_account(MIDDLE)
    server = nginx(conf(f"file {base}; impersonate {TARGET} {MIDDLE};"))
    failed(server, "impersonation_denied", "implicitDelegation", CREATOR)


def test_a_machine_with_old_scopes_is_told(nginx, google):
    google.metadata_account(BASE, scopes=(READ,))
    google.set_policy(TARGET, {CREATOR: [service_account(BASE)]})
    server = nginx(conf(f"metadata_server {google.metadata_host};"
                        f"impersonate {TARGET};"))
    failed(server, "scope_insufficient", "answered 403",
           "access scopes of the virtual machine", "cloud-platform")


def test_a_lifetime_that_is_not_allowed_is_told(nginx, google, base):
    server = nginx(conf(f"file {base}; impersonate {TARGET};"
                        "token_lifetime 2h;"))
    failed(server, "lifetime_refused", "answered 400",
           "iam.allowServiceAccountCredentialLifetimeExtension")


def test_a_grant_is_found_without_a_reload(nginx, google, base):
    """As it takes minutes to become true at Google."""
    no_right(google)
    server = nginx(conf(f"file {base}; impersonate {TARGET};"))
    server.wait_log("could not be fetched")
    google.set_policy(TARGET, {CREATOR: [service_account(BASE)]})
    wait_until(lambda: server.get("/m/a").status == 200)
    assert len(server.lines("error", "could not be fetched")) <= 2


def test_a_failure_of_the_last_step_backs_off(nginx, google, base):
    google.fault(kind="iam", status=503, count=2)
    server = nginx(conf(f"file {base}; impersonate {TARGET};"))
    wait_until(lambda: server.get("/m/a").status == 200)
    times = [r["time"] for r in google.requests("iam")]
    assert len(times) == 3
    assert 0.9 < times[1] - times[0] < 1.6 and 1.9 < times[2] - times[1] < 2.8


@pytest.mark.parametrize("fault", [
    {"token": {"accessToken": None}}, {"token": {"accessToken": ""}},
    {"token": {"accessToken": 7}}, {"token": {"accessToken": "a b"}},
    {"token": {"accessToken": "a\r\nX: y"}}, {"status": 200, "body": "[]"},
    {"status": 200, "body": "{"}, {"status": 200, "body": "x" * 300000},
    {"status": 302, "headers": {"Location": "/elsewhere"}},
    {"truncate_after": 10}, {"garbage": True}])
def test_an_answer_that_makes_no_sense_is_a_failure(nginx, google, base,
                                                    fault):
    google.fault(kind="iam", count=None, **fault)
    server = nginx(conf(f"file {base}; impersonate {TARGET}; timeout 2s;"))
    failed(server, "token_unavailable")


# what is told at nginx -t

@pytest.mark.parametrize("block, words", [
    ("impersonate nobody;", 'invalid account "nobody" in "impersonate"'),
    (f"impersonate {TARGET} nobody;", 'invalid account "nobody"'),
    ("impersonate a/b@c;", 'invalid account "a/b@c"'),
    ("impersonate 'a b@c';", 'invalid account "a b@c"'),
    ("impersonate a%40b@c;", "invalid account"),
    ("impersonate a?b@c;", "invalid account"),
    ('impersonate "";', 'invalid account ""'),
    ("impersonate;", 'invalid number of arguments in "impersonate"'),
    (f"impersonate {TARGET}; impersonate {TARGET};",
     '"impersonate" directive is duplicate'),
    (f"impersonate {TARGET}; token_lifetime 9m;", "from 10m to 12h"),
    (f"impersonate {TARGET}; token_lifetime 13h;", "from 10m to 12h"),
    (f"impersonate {TARGET}; token_lifetime soon;",
     '"token_lifetime" directive invalid value'),
    ("token_lifetime 30m;", '"token_lifetime" applies to tokens by '
     "impersonation only"),
    (f"impersonate {TARGET}; iam_endpoint %%EMULATOR%%;",
     '"iam_endpoint" directive is duplicate'),
])
def test_mistakes_in_the_block_are_told(nginx, google, base, block, words):
    line = nginx(conf(f"file {base};" + block), start=False).refusal()
    assert words in line


@pytest.mark.parametrize("url", ["http://iam.example.com", "iam", "https://",
                                 "http://127.0.0.1@evil.example"])
def test_an_endpoint_without_tls_is_refused(nginx, google, base, url):
    text = conf(f"file {base};").replace("%%EMULATOR%%;", url + ";", 1)
    assert f'invalid URL "{url}" in "iam_endpoint"' \
        in nginx(text, start=False).refusal()


@pytest.mark.parametrize("change, words", [
    ({"source_credentials": None}, 'member "source_credentials" is missing'),
    ({"source_credentials": "x"}, "is not an object"),
    ({"source_credentials": {}}, 'no member "source_credentials.type"'),
    ({"source_credentials": {"type": "impersonated_service_account"}},
     "is impersonated itself"),
    ({"source_credentials": {"type": "gdch_service_account"}},
     "Google Distributed Cloud"),
    ({"source_credentials": {"type": "service_account"}},
     'no member "source_credentials.client_email"'),
    ({"service_account_impersonation_url": None},
     'no member "service_account_impersonation_url"'),
    ({"service_account_impersonation_url": "https://iamcredentials.google"
      "apis.com/v1/projects/-/serviceAccounts/a@b:signBlob"},
     'does not end with "/EMAIL:generateAccessToken"'),
    ({"delegates": "x"}, '"delegates" is not an array'),
    ({"delegates": [7]}, "not the e-mail address of an account"),
    ({"delegates": ["a b"]}, "not the e-mail address of an account"),
    ({"universe_domain": "example.goog"}, '"universe_domain"'),
])
def test_mistakes_in_the_file_are_told_with_the_member(nginx, google, write,
                                                       change, words):
    file = google.impersonated_file(
        TARGET, json.loads(google.service_account(BASE)))
    file = {k: v for k, v in {**file, **change}.items() if v is not None}
    path = write(file)
    line = nginx(conf(f"file {path};"), start=False).refusal()
    assert f'gcs credentials "reader", file "{path}": ' in line
    assert words in line

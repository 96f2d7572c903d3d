"""Workload identity federation: files, and the fields of Label Studio's form.

Where the subject token comes from, how it is exchanged, who then asks Cloud
Storage, and every way in which a configuration of it can be wrong.
"""

from __future__ import annotations

import base64
import json
import re
import time
from urllib.parse import unquote

import pytest

from harness.nginx import wait_until

IAM = "https://www.googleapis.com/auth/iam"
READ = "https://www.googleapis.com/auth/devstorage.read_only"
WRITE = "https://www.googleapis.com/auth/devstorage.read_write"
TARGET = "target@demo-project.iam.gserviceaccount.com"
SUBJECT = "system:serviceaccount:default:reader"
TYPE = "urn:ietf:params:oauth:token-type:"
SECRET = "GOCSPX-secret:with/odd=&"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"

POOL = """
    workload_identity_pool my-pool;
    workload_identity_provider my-provider;
    project_number 123456789012;
"""
ENDPOINTS = """
    sts_endpoint %%EMULATOR%%/v1/token;
    iam_endpoint %%EMULATOR%%;
"""
MEDIA = """
    location /media/ { gcs_pass gs://test-bucket/;
                       add_header X-Error $gcs_error always; }
"""


@pytest.fixture
def google(emulator, bucket):
    """A provider; an account it may be; the principal may read, too."""
    emulator.put_object(bucket, "a.txt", b"hello", content_type="text/plain")
    provider = emulator.provider = emulator.add_provider()
    emulator.principal = provider.principal(SUBJECT)
    emulator.grant(emulator.principal, bucket, ["objectViewer"])
    emulator.add_service_account(
        TARGET, grants={bucket: ["objectViewer"]},
        policy={"roles/iam.workloadIdentityUser": [emulator.principal]})
    return emulator


@pytest.fixture
def token_file(google, tmp_path):
    """What the kubelet projects into a pod."""
    path = tmp_path / "token"
    path.write_text(google.oidc_token(google.provider))
    return path


@pytest.fixture
def serve(nginx, google):
    """nginx with the lines of one block of credentials."""
    def make(inside, *, server=MEDIA, start=True, http="", **kw):
        return nginx(f"gcs_credentials federated {{ {inside} }} {http}"
                     "gcs_auth federated; gcs_endpoint %%EMULATOR%%;",
                     server=server, start=start, **kw)

    return make


@pytest.fixture
def serve_file(serve, tmp_path):
    """The same with a credential file."""
    def make(file, inside="iam_endpoint %%EMULATOR%%;", **kw):
        path = tmp_path / "credentials.json"
        path.write_text(json.dumps(file))
        return serve(f"file {path}; {inside}", **kw)

    return make


def served(server):
    answer = server.get("/media/a.txt")
    assert (answer.status, answer.body) == (200, b"hello"), server.log()
    return True


def refused(server, word, pattern, status=502):
    answer = server.get("/media/a.txt")
    assert answer.status == status, server.log()
    assert answer.get("X-Error") == word, server.log()
    lines = server.lines("error", "token could not be fetched")
    assert len(lines) == 1 and re.search(pattern, lines[0]), server.log()
    return True


def subject_of(google, number=-1):
    return google.requests("sts")[number]["form"]["subject_token"]


# the five fields of the form

def test_five_fields_serve_an_object(serve, google, token_file):
    server = serve(POOL + f"service_account {TARGET}; project_id my-project;"
                   f"subject_token file:{token_file};" + ENDPOINTS)
    assert served(server)
    assert google.counts() == {"sts": 1, "iam": 1, "storage": 1}
    [sts], [iam], [storage] = (google.requests(kind) for kind in
                               ("sts", "iam", "storage"))
    assert sts["form"] == {
        "grant_type": EXCHANGE, "audience": google.provider.audience,
        "scope": IAM, "requested_token_type": TYPE + "access_token",
        "subject_token_type": TYPE + "jwt",
        "subject_token": token_file.read_text()}
    assert sts["method"] == "POST" and "?" not in sts["target"]
    assert iam["json"] == {"scope": [READ], "lifetime": "3600s",
                           "delegates": []}
    assert unquote(iam["target"]) == (
        f"/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken")
    assert storage["account"] == TARGET


def test_without_a_service_account_the_principal_itself_asks(
        serve, google, token_file):
    assert served(serve(POOL + f"subject_token file:{token_file};"
                        + ENDPOINTS))
    assert google.counts() == {"sts": 1, "storage": 1}
    assert google.requests("sts")[0]["form"]["scope"] == READ
    assert google.requests("storage")[0]["account"] == google.principal


def test_one_that_writes_asks_for_the_wider_scope(serve, google, token_file,
                                                  bucket):
    google.grant(google.principal, bucket, ["objectUser"])
    server = serve(
        POOL + f"subject_token file:{token_file};" + ENDPOINTS,
        server=MEDIA.replace("add_header", "gcs_methods GET HEAD PUT; "
                             "add_header"))
    assert server.request("PUT", "/media/new", {}, b"x").status == 200
    assert google.requests("sts")[0]["form"]["scope"] == WRITE


def test_impersonate_beside_service_account_is_one_hop_more(
        serve, google, token_file, bucket):
    last = google.add_service_account(
        "last@demo-project.iam.gserviceaccount.com",
        grants={bucket: ["objectViewer"]},
        policy={"roles/iam.serviceAccountTokenCreator":
                ["serviceAccount:" + TARGET]})
    assert served(serve(POOL + f"service_account {TARGET}; impersonate "
                        f"{last}; subject_token file:{token_file};"
                        + ENDPOINTS))
    first, second = google.requests("iam")
    assert (first["json"]["scope"], second["json"]["scope"]) \
        == ([IAM], [READ])
    assert google.requests("storage")[0]["account"] == last


def test_a_subject_token_type_is_sent(serve, google, token_file):
    assert served(serve(POOL + f"subject_token file:{token_file};"
                        f"subject_token_type {TYPE}id_token;" + ENDPOINTS))
    assert google.requests("sts")[0]["form"]["subject_token_type"] \
        == TYPE + "id_token"


def test_a_saml_assertion_is_exchanged(serve, google, bucket, tmp_path):
    provider = google.add_provider("my-saml", kind="saml", mapping={
        "google.subject": "assertion.subject"})
    google.grant(provider.principal("me"), bucket, ["objectViewer"])
    url = google.subject_url(google.saml_response(provider, "me"),
                             field="saml")
    assert served(serve(POOL.replace("my-provider", "my-saml")
                        + f"subject_token url:{url}#saml;"
                        f"subject_token_type {TYPE}saml2;" + ENDPOINTS))


def test_the_lifetime_of_the_token_can_be_set(serve, google, token_file):
    assert served(serve(POOL + f"service_account {TARGET};"
                        f"subject_token file:{token_file};"
                        "token_lifetime 30m;" + ENDPOINTS))
    assert google.requests("iam")[0]["json"]["lifetime"] == "1800s"


# subject tokens of a file

@pytest.mark.parametrize("before, after", [("", ""), ("", "\n"),
                                           (" \t\n", "\r\n\r\n")])
def test_white_space_around_a_token_is_not_of_it(serve, google, token_file,
                                                 before, after):
    token = token_file.read_text()
    token_file.write_text(before + token + after)
    assert served(serve(POOL + f"subject_token file:{token_file};"
                        + ENDPOINTS))
    assert subject_of(google) == token


@pytest.mark.parametrize("member", ["access_token", "a-b.c", "é"])
def test_a_token_is_a_member_of_json(serve, google, token_file, member):
    token = token_file.read_text()
    token_file.write_text(json.dumps({"x": 1, member: token}, indent=1))
    assert served(serve(POOL + f"subject_token file:{token_file}#{member};"
                        + ENDPOINTS))
    assert subject_of(google) == token


def test_a_token_that_rotates_is_read_at_each_exchange(serve, google,
                                                       token_file, tmp_path):
    google.configure(token_lifetime=3)
    server = serve(POOL + f"subject_token file:{token_file};" + ENDPOINTS)
    assert served(server)
    token = google.oidc_token(google.provider, jti="second")
    (tmp_path / "new").write_text(token)
    (tmp_path / "new").replace(token_file)
    wait_until(lambda: served(server) and subject_of(google) == token, 15)


def test_a_token_that_comes_late_is_used(serve, google, token_file):
    """The file is not there when nginx starts: no error of nginx -t."""
    text = token_file.read_text()
    token_file.unlink()
    server = serve(POOL + f"subject_token file:{token_file};" + ENDPOINTS)
    assert refused(server, "invalid_subject_token",
                   rf'subject token: .*"{token_file}" failed \(2: No such')
    token_file.write_text(text)
    wait_until(lambda: server.get("/media/a.txt").status == 200, 30)


@pytest.mark.parametrize("text, member, pattern", [
    ("", "", "subject token is empty"), (" \n ", "", "is empty"),
    ("", "#t", "expected member"), ("{", "#t", "expected member"),
    ("[]", "#t", "expected member"), ("{}", "#t", "expected member"),
    ('{"t": 5}', "#t", "expected member"),
    ('{"t": ""}', "#t", "expected member"),
    ('{"t": null}', "#t", "expected member"),
    ('{"t": "a", "t": "b"}', "#t", "expected member"),
    ("no JSON at all", "#t", "expected member")])
def test_a_file_without_a_token_is_told(serve, google, token_file, text,
                                        member, pattern):
    token_file.write_text(text)
    assert refused(serve(POOL + f"subject_token file:{token_file}{member};"
                         + ENDPOINTS), "invalid_subject_token", pattern)
    assert google.counts() == {}


def test_a_folder_in_place_of_a_token_is_told(serve, google, tmp_path):
    assert refused(serve(POOL + f"subject_token file:{tmp_path};"
                         + ENDPOINTS), "invalid_subject_token",
                   "not a regular file")


def test_a_token_that_is_far_too_large_is_told(serve, google, token_file):
    token_file.write_text("x" * (2 << 20))
    assert refused(serve(POOL + f"subject_token file:{token_file};"
                         + ENDPOINTS), "invalid_subject_token", "too large")


# of a URL

def test_a_token_of_a_url_is_taken(serve, google):
    token = google.oidc_token(google.provider)
    url = google.subject_url(token + "\n")
    assert served(serve(POOL + f"subject_token url:{url};" + ENDPOINTS))
    assert subject_of(google) == token
    [record] = google.requests("subject")
    assert record["method"] == "GET" and record["body_size"] == 0


def test_headers_and_a_member_are_what_azure_wants(serve, google):
    url = google.subject_url(google.oidc_token(google.provider),
                             field="access_token",
                             headers={"Metadata": "True",
                                      "X-Second": "two words; \"q\""})
    server = serve(POOL + f"subject_token url:{url}#access_token;"
                   "subject_token_header Metadata True;"
                   "subject_token_header X-Second 'two words; \"q\"';"
                   + ENDPOINTS)
    assert served(server)


@pytest.mark.parametrize("fault, pattern", [
    ({"status": 404, "body": "nothing here"}, "subject token answered 404"),
    ({"status": 400, "body": '{"error":"invalid_request"}'},
     "subject token answered 400.*invalid_request"),
    ({"status": 200, "body": ""}, "is empty"),
    ({"reset": "before_headers"}, "subject token: ")])
def test_a_url_without_a_token_is_told(serve, google, fault, pattern):
    url = google.subject_url(google.oidc_token(google.provider))
    google.fault(kind="subject", count=None, **fault)
    assert refused(serve(POOL + f"subject_token url:{url};" + ENDPOINTS),
                   "invalid_subject_token", pattern)
    assert "sts" not in google.counts()


def test_a_url_in_trouble_is_asked_again(serve, google):
    url = google.subject_url(google.oidc_token(google.provider))
    google.fault(kind="subject", status=503)
    server = serve(POOL + f"subject_token url:{url};" + ENDPOINTS)
    wait_until(lambda: server.get("/media/a.txt").status == 200, 15)


# files

@pytest.mark.parametrize("kind", ["file", "url"])
@pytest.mark.parametrize("field", [None, "id_token"])
@pytest.mark.parametrize("impersonate", [None, TARGET])
def test_a_file_of_gcloud_works(serve_file, google, token_file, kind, field,
                                impersonate):
    token = token_file.read_text()
    if field:
        token_file.write_text(json.dumps({field: token}))
    source = google.file_source(token_file, field) if kind == "file" else \
        google.url_source(google.subject_url(
            token, field=field, headers={"Metadata": "True"}), field,
            {"Metadata": "True"})
    assert served(serve_file(google.external_account_file(
        google.provider, source, impersonate=impersonate)))
    assert subject_of(google) == token
    assert google.requests("storage")[0]["account"] \
        == (impersonate or google.principal)
    assert google.requests("sts")[0]["form"]["scope"] \
        == (IAM if impersonate else READ)


def test_the_lifetime_of_a_file_is_asked_for(serve_file, google, token_file):
    assert served(serve_file(google.external_account_file(
        google.provider, google.file_source(token_file), impersonate=TARGET,
        lifetime=1200)))
    assert google.requests("iam")[0]["json"]["lifetime"] == "1200s"


def test_the_directive_wins_over_the_lifetime_of_a_file(serve_file, google,
                                                        token_file):
    assert served(serve_file(
        google.external_account_file(
            google.provider, google.file_source(token_file),
            impersonate=TARGET, lifetime=1200),
        "iam_endpoint %%EMULATOR%%; token_lifetime 15m;"))
    assert google.requests("iam")[0]["json"]["lifetime"] == "900s"


def test_a_subject_token_beside_a_file_replaces_its_source(
        serve_file, google, token_file):
    """A file for EC2 or Azure, in a pod; also one of a kind we refuse."""
    for number, source in enumerate((
            google.aws_source(), google.url_source("https://evil.com/x"),
            {"certificate": {"use_default_certificate_config": True}})):
        google.reset_requests()
        server = serve_file(
            google.external_account_file(google.provider, source),
            f"subject_token file:{token_file};")
        assert served(server), number
        assert google.requests("sts")[0]["form"]["subject_token_type"] \
            == TYPE + "jwt"


def test_a_workforce_pool_names_the_project_that_is_billed(
        serve_file, google, token_file, bucket):
    provider = google.add_provider("wf-provider", pool="wf-pool",
                                   workforce=True)
    google.grant(provider.principal(SUBJECT), bucket, ["objectViewer"])
    token_file.write_text(google.oidc_token(provider))
    assert served(serve_file(google.external_account_file(
        provider, google.file_source(token_file),
        workforce_pool_user_project="demo-project")))
    [record] = google.requests("sts")
    assert record["options"] == {"userProject": "demo-project"}
    assert json.loads(record["form"]["options"]) == record["options"]


def test_an_oauth_client_goes_by_basic_and_needs_no_project(
        serve_file, google, token_file, bucket):
    provider = google.add_provider("wf-provider", pool="wf-pool",
                                   workforce=True)
    google.grant(provider.principal(SUBJECT), bucket, ["objectViewer"])
    token_file.write_text(google.oidc_token(provider))
    file = google.external_account_file(
        provider, google.file_source(token_file), client_id="my-client",
        client_secret=SECRET,
        workforce_pool_user_project="demo-project")
    google.add_sts_client("my-client", SECRET)
    assert served(serve_file(file))
    [record] = google.requests("sts")
    assert "options" not in record["form"]
    assert record["client"] == ["my-client", SECRET]
    basic = dict((k.lower(), v) for k, v in record["headers"])
    assert base64.b64decode(basic["authorization"].removeprefix("Basic ")) \
        == f"my-client:{SECRET}".encode()


def test_a_wrong_client_is_told(serve_file, google, token_file):
    provider = google.add_provider("wf-provider", pool="wf-pool",
                                   workforce=True)
    token_file.write_text(google.oidc_token(provider))
    assert refused(serve_file(google.external_account_file(
        provider, google.file_source(token_file), client_id="a",
        client_secret="of-nobody-at-all")), "invalid_client",
        "OAuth client")


def test_a_refresh_of_a_workforce_login_works(serve_file, google, bucket):
    file = google.external_account_authorized_user_file()
    google.grant("principal://iam.googleapis.com/locations/global/"
                 "workforcePools/my-workforce/subject/someone@example.com",
                 bucket, ["objectViewer"])
    assert served(serve_file(file, ""))


# what an executable has written

def output(token, **changes):
    made = {"version": 1, "success": True, "token_type": TYPE + "jwt",
            "id_token": token, "expiration_time": int(time.time()) + 3600,
            **changes}
    return json.dumps({k: v for k, v in made.items() if v is not None})


@pytest.fixture
def serve_output(serve_file, google, tmp_path):
    def make(text):
        path = tmp_path / "output.json"
        if text is not None:
            path.write_text(text)
        return serve_file(google.external_account_file(
            google.provider, google.executable_source(
                path, command=f"/bin/touch {tmp_path}/was-run")))

    yield make
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("kind", ["jwt", "id_token"])
def test_what_an_executable_has_written_is_taken(serve_output, google, kind):
    token = google.oidc_token(google.provider)
    assert served(serve_output(output(token, token_type=TYPE + kind)))
    assert subject_of(google) == token


@pytest.mark.parametrize("changes, pattern", [
    ({"expiration_time": 1}, "has expired.*must renew its output file"),
    ({"expiration_time": None}, "has expired"),
    ({"success": False, "code": "401", "message": "a b c"},
     "the executable has failed"),
    ({"success": None}, "not the output of version 1"),
    ({"version": 2}, "not the output of version 1"),
    ({"version": None}, "not the output of version 1"),
    ({"id_token": None}, "expected member"), ({"id_token": ""}, "expected"),
    ({"token_type": TYPE + "saml2"}, "expected member")])
def test_an_output_that_cannot_be_used_is_told(serve_output, google, changes,
                                               pattern):
    text = output(google.oidc_token(google.provider), **changes)
    assert refused(serve_output(text), "invalid_subject_token", pattern)
    assert google.counts() == {}


@pytest.mark.parametrize("text, pattern", [
    (None, "No such file"), ("", "not the output"), ("{", "not the output"),
    ("[]", "not the output")])
def test_an_output_that_is_not_there_is_told(serve_output, google, text,
                                             pattern):
    assert refused(serve_output(text), "invalid_subject_token", pattern)


# endpoints

def test_endpoints_of_the_configuration_win_over_the_file(
        serve_file, google, token_file):
    file = google.external_account_file(
        google.provider, google.file_source(token_file), impersonate=TARGET)
    file["token_url"] = "https://evil.example.com/v1/token"
    assert served(serve_file(file, ENDPOINTS))


def test_of_an_impersonation_url_only_the_account_is_used(
        serve_file, google, token_file):
    """So it does not matter where the rest of it leads."""
    file = google.external_account_file(
        google.provider, google.file_source(token_file))
    file["service_account_impersonation_url"] = (
        f"https://127.0.0.2/v9/other/{TARGET}:generateAccessToken")
    assert served(serve_file(file))
    assert unquote(google.requests("iam")[0]["target"]) == (
        f"/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken")


# what nginx -t says of files

def altered(google, token_file, **changes):
    file = google.external_account_file(
        google.provider, google.file_source(token_file), impersonate=TARGET,
        google=True)
    for name, value in changes.items():
        place = file
        *path, last = name.split("__")
        for step in path:
            place = place.setdefault(step, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return file


SOURCE = "credential_source"
EVIL = "https://googleapis.com.example.com/v1/token"


@pytest.mark.parametrize("changes, words", [
    # places outside of Google's domain: the member and the remedy
    ({"token_url": EVIL}, ['"token_url"', "googleapis.com", "sts_endpoint"]),
    ({"token_url": "http://sts.googleapis.com/v1/token"},
     ['"token_url"', "https", "sts_endpoint"]),
    ({"token_url": "https://evilgoogleapis.com/"}, ['"token_url"']),
    ({"token_url": "https://sts.googleapis.com@example.com/"},
     ['"token_url"']),
    ({"service_account_impersonation_url": EVIL + "/x:generateAccessToken"},
     ['"service_account_impersonation_url"']),
    ({"service_account_impersonation_url": "https://iamcredentials."
      "googleapis.com/v1/projects/-/serviceAccounts/a%2Fb@c:"
      "generateAccessToken"}, ['"service_account_impersonation_url"']),
    ({"service_account_impersonation_url": "https://iamcredentials."
      "googleapis.com/v1/projects/-/serviceAccounts/a@b:signBlob"},
     ['"service_account_impersonation_url"', ":generateAccessToken"]),
    ({SOURCE: {"url": "https://example.com/token"}},
     ['"credential_source.url"', "subject_token url:"]),
    ({SOURCE: {"url": "http://10.0.0.1/token"}},
     ['"credential_source.url"', "subject_token url:"]),
    ({SOURCE: {"environment_id": "aws1", "url": "https://example.com/"}},
     ['"credential_source.url"', "169.254.169.254"]),
    ({SOURCE: {"environment_id": "aws1",
               "region_url": "http://example.com/"}},
     ['"credential_source.region_url"', "169.254.169.254"]),
    ({SOURCE: {"environment_id": "aws1", "imdsv2_session_token_url":
               "http://10.0.0.1/"}},
     ['"credential_source.imdsv2_session_token_url"', "169.254.169.254"]),
    ({SOURCE: {"environment_id": "aws1",
               "regional_cred_verification_url": "http://x/"}},
     ["regional_cred_verification_url", "https"]),
    ({SOURCE: {"environment_id": "aws1"}},
     ["regional_cred_verification_url"]),
    # kinds that are refused
    ({SOURCE: {"certificate": {"use_default_certificate_config": True}}},
     ['"credential_source.certificate"', "X.509", "OIDC or AWS"]),
    ({SOURCE: {"executable": {"command": "/bin/true"}}},
     ["output_file", "runs no programs"]),
    ({SOURCE: {"executable": {"command": "/bin/true",
                              "output_file": "relative"}}}, ["output_file"]),
    ({SOURCE: {"environment_id": "aws2"}}, ['"aws1"']),
    ({"type": "gdch_service_account"},
     ["gdch_service_account", "Google Distributed Cloud"]),
    # what is missing or of another kind
    ({"audience": None}, ['"audience"']),
    ({"audience": "https://iam.googleapis.com/x"},
     ['"audience"', "//iam.googleapis.com/"]),
    ({"subject_token_type": None}, ['"subject_token_type"']),
    ({SOURCE: None}, ['"credential_source" is missing']),
    ({SOURCE: "x"}, ['"credential_source" is not an object']),
    ({SOURCE: {}}, ['"file"', '"url"', '"environment_id"']),
    ({SOURCE: {"file": "relative"}}, ["credential_source.file", "absolute"]),
    ({SOURCE + "__format": {"type": "xml"}}, ["credential_source.format"]),
    ({SOURCE + "__format": "json"}, ["format"]),
    ({SOURCE + "__format": {"type": "json"}}, ["subject_token_field_name"]),
    ({SOURCE: {"url": "http://169.254.169.254/x", "headers": []}},
     ["credential_source.headers"]),
    ({SOURCE: {"url": "http://169.254.169.254/x", "headers": {"a b": "c"}}},
     ["credential_source.headers"]),
    ({SOURCE: {"url": "http://169.254.169.254/x", "headers": {"a": 5}}},
     ["credential_source.headers"]),
    ({SOURCE: {"url": "http://169.254.169.254/x",
               "headers": {"a": "x\r\nb: c"}}},
     ["credential_source.headers"]),
    ({"client_id": "x"}, ['"client_secret"']),
    ({"workforce_pool_user_project": 'x"y'},
     ["workforce_pool_user_project"]),
    ({"service_account_impersonation": {"token_lifetime_seconds": 5}},
     ["token_lifetime_seconds", "600"]),
    ({"service_account_impersonation": {"token_lifetime_seconds": "600"}},
     ["token_lifetime_seconds"]),
    ({"universe_domain": "example.goog"}, ["universe_domain"]),
    ({"type": "external"}, ['unknown type "external"'])])
def test_a_file_that_is_wrong_is_told_with_member_and_remedy(
        serve_file, google, token_file, changes, words):
    said = serve_file(altered(google, token_file, **changes), "",
                      start=False).refusal()
    for word in ["credentials.json", *words]:
        assert word in said, said


def test_a_file_of_gcloud_is_accepted_as_it_is(serve_file, google,
                                               token_file):
    for source in (google.file_source(token_file),
                   google.aws_source(google=True),
                   google.url_source("http://169.254.169.254/metadata",
                                     "access_token", {"Metadata": "True"}),
                   google.executable_source(token_file)):
        done = serve_file(google.external_account_file(
            google.provider, source, google=True, impersonate=TARGET), "",
            start=False).test()
        assert done.returncode == 0, done.stderr


# what nginx -t says of the directives

def fields(**changes):
    made = {"workload_identity_pool": "my-pool",
            "workload_identity_provider": "my-provider",
            "project_number": "123456789012",
            "subject_token": "file:/var/run/token", **changes}
    return " ".join(f"{name} {value};" for name, value in made.items()
                    if value is not None)


@pytest.mark.parametrize("inside, words", [
    *[(fields(**{name: None}), f'no "{name}" in') for name in (
        "workload_identity_pool", "workload_identity_provider",
        "project_number", "subject_token")],
    (fields(project_number="my-project"),
     "gcloud projects describe ID --format='value(projectNumber)'"),
    (fields(workload_identity_pool="My_Pool"),
     'invalid "workload_identity_pool" "My_Pool"'),
    (fields(workload_identity_provider="a/b"),
     '"workload_identity_provider" "a/b"'),
    *[(fields(service_account=value), f'invalid "service_account" "{value}"')
      for value in ("nobody", "@", "a@", "@b", "a@b@c", "a/b@c", "a@b?c",
                    "a%40b")],
    *[(fields(subject_token=value), "it must be \"aws\", \"file:/PATH\" or "
       "\"url:URL\"") for value in ("azure", "file:relative", "file:", "AWS",
                                    "/var/run/token", "aws#member")],
    *[(fields(subject_token=value), "must be https, or http to a loopback or "
       "metadata address") for value in (
           "url:", "url:x", "url:http://example.com/",
           "url:http://10.0.0.1/token", "url:ftp://127.0.0.1/",
           "url:http://127.0.0.1@example.com/",
           "url:http://metadata.google.internal.example.com/")],
    (fields() + "subject_token_header A b;",
     '"subject_token_header" of "gcs_credentials" "federated" requires '
     '"subject_token url:URL"'),
    (fields(subject_token="aws") + "subject_token_header A b;", "url:URL"),
    ("file /x.json; subject_token_header A b;", 'require "subject_token"'),
    ("file /x.json; subject_token_type a;", 'require "subject_token"'),
    ("metadata_server; subject_token_type a;", 'require "subject_token"'),
    *[(fields(subject_token="url:http://127.0.0.1/") +
       f"subject_token_header {name} v;", f'invalid header name "{shown}"')
      for name, shown in (("a:", "a:"), ("'a b'", "a b"), ("''", ""),
                          ("a:b", "a:b"), ("é", "é"))],
    *[(fields(subject_token="url:http://127.0.0.1/") +
       f'subject_token_header A "{value}";', "control or non-ASCII")
      for value in ("x\\r\\nB: c", "é", "x\ty")],
    (fields() + "hmac_key A /x;", "more than one source"),
    (fields() + "metadata_server;", "more than one source"),
    (fields() + "file /x.json;", "more than one source"),
    ("metadata_server; subject_token aws;", "more than one source"),
    (fields() + "project_number 1;", '"project_number" directive is '
     "duplicate"),
    (fields() + "project_id '';", '"project_id" directive has an empty'),
    (fields() + "subject_token_header A;", "invalid number of arguments"),
    (fields() + "sts_endpoint http://example.com/;",
     '"sts_endpoint" directive; it must be https'),
    (fields() + "iam_endpoint x;", '"iam_endpoint" directive; it must be'),
    (fields() + "token_lifetime 5m;", "must be from 10m to 12h"),
    (fields() + "impersonate nobody;", 'invalid account "nobody"'),
    (fields() + "scope devstorage.read_only;", "invalid scope")])
def test_a_block_that_is_wrong_is_told(serve, inside, words):
    said = serve(inside, start=False).refusal()
    assert words in said, said


@pytest.mark.parametrize("inside", [
    fields(), fields(service_account=TARGET, project_id="my-project"),
    fields(subject_token="url:https://idp.example.com/token#t"),
    fields(subject_token="url:http://169.254.169.254/x"),
    fields(subject_token="url:http://[::1]:8080/x"),
    fields(subject_token="aws"),
    fields(subject_token="file:/does/not/exist#member")])
def test_a_block_that_is_right_is_accepted(serve, inside):
    done = serve(inside, start=False).test()
    assert done.returncode == 0, done.stderr


# Google's refusals

def test_a_pool_that_is_not_there_is_told(serve, google, token_file):
    assert refused(serve(POOL.replace("my-pool", "other-pool")
                         + f"subject_token file:{token_file};" + ENDPOINTS),
                   "invalid_target", "given by its number")


@pytest.mark.parametrize("change, pattern", [
    ({"lifetime": -1}, "has expired"),
    ({"audience": "https://else.example.com"}, "audience of the subject"),
    ({"issuer": "https://else.example.com"}, "issuer"),
    ({"key": "other"}, "not accepted"), ({"iat": 1}, "has expired")])
def test_a_subject_token_that_is_not_accepted_is_told(
        serve, google, token_file, change, pattern):
    token_file.write_text(google.oidc_token(google.provider, **change))
    assert refused(serve(POOL + f"subject_token file:{token_file};"
                         + ENDPOINTS), "invalid_subject_token", pattern)


def test_a_provider_in_trouble_is_told(serve, google, token_file):
    google.update_provider(google.provider, unreachable=True)
    assert refused(serve(POOL + f"subject_token file:{token_file};"
                         + ENDPOINTS), "invalid_subject_token", "issuer")
    google.update_provider(google.provider, unreachable=False,
                           condition="assertion.sub == 'other'")
    assert refused(serve(POOL + f"subject_token file:{token_file};"
                         + ENDPOINTS), "condition_not_met", "condition")


def test_a_missing_binding_is_told(serve, google, token_file):
    google.set_policy(TARGET, {})
    assert refused(serve(POOL + f"service_account {TARGET};"
                         f"subject_token file:{token_file};" + ENDPOINTS),
                   "impersonation_denied", "workloadIdentityUser")


def test_a_missing_role_of_the_principal_is_told(serve, google, token_file,
                                                 bucket):
    google.grant(google.principal, bucket, [])
    server = serve(POOL + f"subject_token file:{token_file};" + ENDPOINTS)
    answer = server.get("/media/a.txt")
    assert (answer.status, answer.get("X-Error")) == (403, "AccessDenied")
    [line] = server.lines("error", "storage.objectViewer")
    assert google.principal in line


def test_a_file_that_is_replaced_is_used_without_a_reload(
        serve_file, google, token_file, tmp_path, bucket):
    """First by a broken one, which is told; the old one stays in use."""
    path = tmp_path / "credentials.json"
    google.configure(token_lifetime=5)
    server = serve_file(google.external_account_file(
        google.provider, google.file_source(token_file)))
    assert served(server)
    path.write_text("{")
    server.wait_log("credentials.json.*not valid JSON", 40)
    assert served(server)
    provider = google.add_provider("second-provider")
    google.grant(provider.principal(SUBJECT), bucket, ["objectViewer"])
    token_file.write_text(google.oidc_token(provider))
    path.write_text(json.dumps(google.external_account_file(
        provider, google.file_source(token_file))))
    wait_until(lambda: google.requests("sts")[-1]["form"]["audience"]
               == provider.audience, 40)
    wait_until(lambda: server.get("/media/a.txt").status == 200)

"""URLs that IAM signs: for identities whose key nobody has."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from harness.nginx import wait_until

SIGNER = "signer@demo-project.iam.gserviceaccount.com"
MIDDLE = "middle@demo-project.iam.gserviceaccount.com"
ATTACHED = "attached@demo-project.iam.gserviceaccount.com"
CREATOR = "roles/iam.serviceAccountTokenCreator"
SUBJECT = "system:serviceaccount:default:reader"
PERSON = "someone@example.com"
IAM = "https://www.googleapis.com/auth/iam"
CLOUD = "https://www.googleapis.com/auth/cloud-platform"
READ = "https://www.googleapis.com/auth/devstorage.read_only"
RESOURCE = "projects/-/serviceAccounts/"

CONF = """
    gcs_credentials who {{ {block} iam_endpoint {iam}; }}
    {http}
    server {{
        listen       127.0.0.1:%%PORT%%;
        gcs_endpoint %%EMULATOR%%;
        gcs_auth     who;
        {server}
        location /media/ {{
            gcs_pass gs://test-bucket/;
            gcs_mode presign;
            add_header X-Error $gcs_error always;
            {more}
        }}
    }}"""


def member(email: str) -> str:
    return "serviceAccount:" + email


@pytest.fixture(autouse=True)
def one_window():
    """A URL of IAM is the same for five minutes: let no test see the end."""
    while 300 - time.time() % 300 < 8:
        time.sleep(0.1)


@pytest.fixture
def google(emulator, bucket):
    """SIGNER may read the bucket; nobody may sign as SIGNER yet."""
    emulator.put_object(bucket, "a.txt", b"0123456789")
    emulator.add_service_account(SIGNER, grants={bucket: ["objectUser"]})
    return emulator


@pytest.fixture
def attached(google, bucket):
    """The machine's own account, which may sign for itself."""
    google.metadata_account(ATTACHED, grants={bucket: "objectUser"})
    google.set_policy(ATTACHED, {CREATOR: [member(ATTACHED)]})
    return google


@pytest.fixture
def serve(nginx, google):
    def start(block, more="", http="", server="", **kw):
        return nginx(CONF.format(block=block, more=more, http=http,
                                 server=server, iam=google.iam_url), **kw)
    return start


@pytest.fixture
def machine(serve, attached):
    """nginx on a machine of Google's."""
    def start(more="", block="", **kw):
        return serve(f"metadata_server {attached.metadata_host}; {block}",
                     more, **kw)
    return start


@pytest.fixture
def write(tmp_path):
    def make(file) -> str:
        path = tmp_path / "credentials.json"
        path.write_text(json.dumps(file))
        return str(path)
    return make


@pytest.fixture
def caller(google, key_file) -> str:
    """The account of a key that may sign as SIGNER, in a block of nginx."""
    email = json.loads(key_file.read_text())["client_email"]
    google.set_policy(SIGNER, {CREATOR: [member(email)]})
    google.caller = email
    return (f"file {key_file}; token_endpoint {google.token_uri}; "
            f"impersonate {SIGNER};")


def signatures(emulator) -> list[dict]:
    return [record for record in emulator.requests("iam")
            if record["target"].endswith(":signBlob")]


def url_of(response) -> str:
    assert response.status in (303, 307), (response.status,
                                           response.get("X-Error"))
    return response.get("Location")


def fields(url: str) -> dict[str, str]:
    return {name: values[0] for name, values
            in parse_qs(urlsplit(url).query).items()}


def works(url: str) -> bool:
    answer = requests.get(url, timeout=10)
    assert (answer.status_code, answer.content) == (200, b"0123456789"), \
        answer.text
    return True


def refused(server, status: int, word: str, path: str = "/media/a.txt"):
    answer = server.get(path)
    assert (answer.status, answer.get("X-Error")) == (status, word), \
        server.log()
    assert answer.get("Location") is None


def test_the_account_of_a_machine_signs(serve, attached):
    server = serve(f"metadata_server {attached.metadata_host};")
    answer = server.get("/media/a.txt")
    assert answer.status == 303
    url = answer.get("Location")
    assert requests.get(url, timeout=10).content == b"0123456789"
    assert len(signatures(attached)) == 1
    assert server.get("/media/a.txt").get("Location") == url
    assert len(signatures(attached)) == 1


def test_an_impersonated_account_signs_asked_by_a_key_of_another(
        serve, google, key_file, bucket):
    caller = json.loads(key_file.read_text())["client_email"]
    google.add_service_account(
        SIGNER, policy={CREATOR: ["serviceAccount:" + caller]},
        grants={bucket: ["objectViewer"]})
    server = serve(f"file {key_file}; token_endpoint {google.token_uri}; "
                   f"impersonate {SIGNER};")
    url = server.get("/media/a.txt").get("Location")
    assert requests.get(url, timeout=10).content == b"0123456789"


# who signs, and who asks for it: each gives the block, the signer, the one
# whose token is sent, and the delegates

def by_metadata(google, key_file, write, tmp_path):
    google.metadata_account(SIGNER)
    google.set_policy(SIGNER, {CREATOR: [member(SIGNER)]})
    return (f"metadata_server {google.metadata_host};", member(SIGNER), [])


def federated(google, tmp_path):
    provider = google.add_provider()
    principal = provider.principal(SUBJECT)
    google.set_policy(SIGNER, {CREATOR: [principal]})
    path = tmp_path / "subject"
    path.write_text(google.oidc_token(provider))
    return provider, principal, path


def by_federation_file(google, key_file, write, tmp_path):
    provider, principal, path = federated(google, tmp_path)
    file = google.external_account_file(
        provider, google.file_source(path), impersonate=SIGNER)
    return f"file {write(file)};", principal, []


def by_federation_block(google, key_file, write, tmp_path):
    _, principal, path = federated(google, tmp_path)
    return (f"""workload_identity_pool my-pool; project_number 123456789012;
                workload_identity_provider my-provider;
                service_account {SIGNER}; subject_token file:{path};
                sts_endpoint {google.sts_url};""", principal, [])


def by_federation_and_impersonate(google, key_file, write, tmp_path):
    provider, principal, path = federated(google, tmp_path)
    file = google.external_account_file(provider, google.file_source(path))
    return f"file {write(file)}; impersonate {SIGNER};", principal, []


def by_key(google, key_file, write, tmp_path):
    email = json.loads(key_file.read_text())["client_email"]
    google.set_policy(SIGNER, {CREATOR: [member(email)]})
    return f"file {key_file}; impersonate {SIGNER};", member(email), []


def by_login(google, key_file, write, tmp_path):
    google.set_policy(SIGNER, {CREATOR: ["user:" + PERSON]})
    return (f"file {write(google.authorized_user_file(PERSON))}; "
            f"token_endpoint {google.token_uri}; impersonate {SIGNER};",
            "user:" + PERSON, [])


def by_login_file(google, key_file, write, tmp_path):
    google.set_policy(SIGNER, {CREATOR: ["user:" + PERSON]})
    file = google.impersonated_file(
        SIGNER, google.authorized_user_file(PERSON))
    return (f"file {write(file)}; token_endpoint {google.token_uri};",
            "user:" + PERSON, [])


def by_metadata_of_another(google, key_file, write, tmp_path):
    google.metadata_account(ATTACHED)
    google.add_service_account(ATTACHED)
    google.set_policy(SIGNER, {CREATOR: [member(ATTACHED)]})
    return (f"metadata_server {google.metadata_host}; impersonate {SIGNER};",
            member(ATTACHED), [])


def by_chain(google, key_file, write, tmp_path):
    email = json.loads(key_file.read_text())["client_email"]
    google.add_service_account(MIDDLE, policy={CREATOR: [member(email)]})
    google.set_policy(SIGNER, {CREATOR: [member(MIDDLE)]})
    file = google.impersonated_file(MIDDLE, json.loads(key_file.read_text()))
    return (f"file {write(file)}; impersonate {SIGNER};", member(MIDDLE), [])


def by_delegates(google, key_file, write, tmp_path):
    email = json.loads(key_file.read_text())["client_email"]
    google.add_service_account(MIDDLE, policy={CREATOR: [member(email)]})
    google.add_service_account(ATTACHED, policy={CREATOR: [member(MIDDLE)]})
    google.set_policy(SIGNER, {CREATOR: [member(ATTACHED)]})
    return (f"file {key_file}; impersonate {SIGNER} {MIDDLE} {ATTACHED};",
            member(email), [MIDDLE, ATTACHED])


def by_cloud_run(google, key_file, write, tmp_path):
    google.metadata_server(mode="cloud-run")
    return by_metadata(google, key_file, write, tmp_path)


def by_pod(google, key_file, write, tmp_path):
    google.metadata_server(mode="gke")
    google.metadata_account(ATTACHED, pod="default/nginx")
    google.add_service_account(ATTACHED, policy={
        "roles/iam.workloadIdentityUser": [google.metadata_account(
            ATTACHED, pod="default/nginx")]})
    google.set_policy(SIGNER, {CREATOR: [member(ATTACHED)]})
    return (f"metadata_server {google.metadata_host}; impersonate {SIGNER};",
            member(ATTACHED), [])


WAYS = [by_metadata, by_cloud_run, by_pod, by_federation_file,
        by_federation_block, by_federation_and_impersonate, by_key, by_login,
        by_login_file, by_metadata_of_another, by_chain, by_delegates]
# their tokens have the scopes of the machine, or of the login
FIXED = [by_metadata, by_pod, by_login, by_login_file, by_metadata_of_another]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_an_identity_without_a_key_signs(serve, google, key_file, write,
                                         tmp_path, way):
    block, caller, delegates = way(google, key_file, write, tmp_path)
    server = serve(block)
    url = url_of(server.get("/media/a.txt"))
    asked, = signatures(google)
    assert works(url)
    assert google.requests("storage")[-1]["account"] == SIGNER

    # the URL names who has signed, not who has asked
    assert fields(url)["X-Goog-Credential"].startswith(SIGNER + "/")
    # whoever asks has a token that is good for nothing else
    assert asked["scopes"] == [CLOUD if way in FIXED else IAM]
    assert asked["account"] == caller.removeprefix(
        "serviceAccount:").removeprefix("user:")
    assert asked["target"].replace("%40", "@") == (
        f"/v1/{RESOURCE}{SIGNER}:signBlob")
    assert asked["method"] == "POST"
    assert asked["json"]["delegates"] == [RESOURCE + d for d in delegates]
    text = base64.b64decode(asked["json"]["payload"]).decode()
    assert text.splitlines()[:2] == ["GOOG4-RSA-SHA256",
                                     fields(url)["X-Goog-Date"]]
    # and has no token of the one who signs, for that would go further
    if asked["account"] != SIGNER:
        assert not [t for t in google.tokens() if t["email"] == SIGNER
                    and t["scopes"] != [READ]]
    assert server.lines("error") == server.lines("warn") == []


def test_what_is_sent_to_iam_is_no_more_than_it_needs(machine, attached):
    url_of(machine().get("/media/a.txt"))
    asked, = signatures(attached)
    names = {n.lower(): v for n, v in asked["headers"]}
    assert names["content-type"] == "application/json"
    assert set(names) <= {"host", "accept", "content-type", "authorization",
                          "content-length", "user-agent"}
    assert set(asked["json"]) == {"delegates", "payload"}


def test_a_proxied_object_is_not_read_with_the_token_for_signing(
        machine, attached):
    attached.metadata_server(mode="cloud-run")
    server = machine(server="""location /plain/ {
        gcs_pass gs://test-bucket/; }""")
    url_of(server.get("/media/a.txt"))
    assert server.get("/plain/a.txt").body == b"0123456789"
    asked, = signatures(attached)
    read, = attached.requests("storage")

    def bearer(record):
        return dict(map(tuple, record["headers"]))["Authorization"]
    assert bearer(read) != bearer(asked)
    assert READ in {s for t in attached.tokens() for s in t["scopes"]
                    if "Bearer " + t["value"] == bearer(read)}


def test_urls_that_upload_and_delete_are_signed(machine, attached, bucket):
    server = machine("""gcs_methods GET PUT; gcs_presign_method PUT;
        gcs_presign_header Content-Type text/plain;""",
        server="""location /gone/ { gcs_pass gs://test-bucket/;
            gcs_mode presign; gcs_methods GET DELETE;
            gcs_presign_method DELETE; }""")
    answer = server.get("/media/new.txt")
    assert answer.status == 307
    assert answer.get("Cache-Control") == "no-store"
    put = requests.put(answer.get("Location"), b"new", timeout=10,
                       headers={"Content-Type": "text/plain"})
    assert put.status_code == 200, put.text
    assert attached.get_object(bucket, "new.txt")["data"] == b"new"
    gone = requests.delete(url_of(server.get("/gone/new.txt")), timeout=10)
    assert gone.status_code == 204
    assert len(signatures(attached)) == 2


# who cannot

def alone_login(google, write, tmp_path):
    return (f"file {write(google.authorized_user_file(PERSON))}; "
            f"token_endpoint {google.token_uri};")


def alone_workforce(google, write, tmp_path):
    file = google.external_account_authorized_user_file(PERSON)
    return f"file {write(file)}; token_endpoint {google.sts_refresh_url};"


def alone_federation(google, write, tmp_path):
    provider, _, path = federated(google, tmp_path)
    file = google.external_account_file(provider, google.file_source(path))
    return f"file {write(file)};"


ALONE = [alone_login, alone_workforce, alone_federation]


@pytest.mark.parametrize("way", ALONE, ids=lambda way: way.__name__)
def test_an_identity_that_is_no_account_is_refused_at_once(
        serve, google, write, tmp_path, way):
    refusal = serve(way(google, write, tmp_path), start=False).refusal()
    assert '"who" cannot sign URLs' in refusal
    assert "name one by \"impersonate\"" in refusal


def test_anonymous_is_refused_at_once(serve, google, caller):
    refusal = serve(caller, "gcs_auth anonymous;", start=False).refusal()
    assert '"anonymous" cannot sign URLs' in refusal


@pytest.mark.parametrize("name", ["person", "anonymous"])
def test_by_variable_it_shows_with_the_request(serve, google, write, tmp_path,
                                               key_file, caller, name):
    login = alone_login(google, write, tmp_path)
    server = serve(caller, "gcs_auth $arg_who;",
                   f"gcs_credentials person {{ {login} }}")
    refused(server, 500, "cannot_sign", "/media/a.txt?who=" + name)
    line, = server.lines("error")
    assert f'gcs credentials "{name}" cannot sign URLs' in line
    assert works(url_of(server.get("/media/a.txt?who=who")))


def test_an_account_without_an_address_cannot_sign(serve, google, bucket):
    """On GKE, a pod without a Google account of its own."""
    google.metadata_server(mode="gke")
    google.metadata_account(None, pod="default/nginx",
                            grants={bucket: ["objectViewer"]})
    server = serve(f"metadata_server {google.metadata_host};")
    refused(server, 500, "cannot_sign")
    line, = server.lines("error")
    assert 'the metadata server names no service account; set "impersonate"' \
        in line
    assert signatures(google) == []


# what IAM refuses

def test_a_missing_role_is_told_with_the_remedy(machine, attached):
    attached.set_policy(ATTACHED, {})
    server = machine()
    for _ in range(3):
        refused(server, 502, "signing_denied")
    once, = server.lines("error", "a URL could not be signed")
    assert 'gcs credentials "who"' in once and CREATOR in once
    each = server.lines("error", 'no signed URL of gcs credentials "who": '
                                 "signing_denied")
    assert len(each) == 3 and all("GET /media/a.txt" in e for e in each)
    assert len(signatures(attached)) == 1


def test_an_api_that_is_off_is_told(machine, attached):
    attached.update_account(ATTACHED, api_disabled=True)
    server = machine()
    refused(server, 502, "api_disabled")
    server.wait_log("enable iamcredentials.googleapis.com")


def test_a_machine_with_few_scopes_is_told(machine, attached, bucket):
    attached.metadata_account(ATTACHED, scopes=(READ,))
    server = machine()
    refused(server, 502, "scope_insufficient")
    server.wait_log('do not include "cloud-platform"')


def test_an_unknown_account_is_told(serve, google, key_file):
    server = serve(f"file {key_file}; impersonate nobody@demo-project.iam."
                   "gserviceaccount.com;")
    answer = server.get("/media/a.txt")
    assert answer.status == 502
    assert answer.get("X-Error") in ("account_not_found", "signing_denied")


def test_a_refusal_is_not_repeated_before_a_second_is_over(machine, attached):
    attached.fault(kind="iam", status=403, body="{}", count=1)
    server = machine()
    begin = time.monotonic()
    refused(server, 502, "impersonation_denied")
    refused(server, 502, "impersonation_denied", "/media/other.txt")
    if time.monotonic() - begin < 0.9:
        assert len(signatures(attached)) == 1
    wait_until(lambda: server.get("/media/a.txt").status == 303, 5)
    assert 0.9 < time.monotonic() - begin < 4
    assert len(signatures(attached)) == 2


FAULTS = [{"status": 429, "body": "{}"}, {"status": 500, "body": "oops"},
          {"status": 503}, {"status": 408}, {"reset": "before_headers"}]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_what_passes_is_tried_again(machine, attached, fault):
    attached.fault(kind="iam", count=2, **fault)
    server = machine()
    begin = time.monotonic()
    assert works(url_of(server.get("/media/a.txt")))
    assert len(signatures(attached)) == 3
    # 100 ms, then 400; libcurl itself repeats what a reset has met
    assert time.monotonic() - begin > 0.45 or "reset" in fault
    assert server.lines("error") == []


@pytest.mark.parametrize("fault, word", [
    ({"status": 429, "body": "{}"}, "quota_exceeded"),
    ({"status": 503}, "signature_unavailable"),
    ({"reset": "before_headers"}, "signature_unavailable")], ids=str)
def test_but_not_for_ever(machine, attached, fault, word):
    attached.fault(kind="iam", count=None, **fault)
    server = machine()
    refused(server, 502, word)
    # libcurl tries once more where a connection that was open is reset
    assert len(signatures(attached)) == 3 or "reset" in fault
    assert len(server.lines("error", "a URL could not be signed")) == 1


def test_a_short_retry_after_is_obeyed_and_a_long_one_not_waited_for(
        machine, attached):
    attached.fault(kind="iam", count=1, status=429, retry_after=1)
    server = machine()
    begin = time.monotonic()
    url_of(server.get("/media/a.txt"))
    assert time.monotonic() - begin > 0.95
    attached.fault(kind="iam", count=1, status=429, retry_after=30)
    refused(server, 502, "quota_exceeded", "/media/b.txt")
    assert time.monotonic() - begin < 10
    assert len(signatures(attached)) == 3


ANSWERS = ["{}", '{"signedBlob":""}', '{"signedBlob":"*"}', "<html>",
           '{"signedBlob":"' + "A" * 2000 + '"}']


@pytest.mark.parametrize("body", ANSWERS, ids=lambda body: body[:18])
def test_an_answer_without_a_signature_is_none(machine, attached, body):
    attached.fault(kind="iam", count=1, status=200, body=body)
    server = machine()
    refused(server, 502, "signature_unavailable")
    line, = server.lines("error", "a URL could not be signed")
    assert "without a valid signature" in line


def test_a_token_that_is_refused_is_replaced_once(machine, attached):
    server = machine()
    url_of(server.get("/media/a.txt"))
    attached.revoke_tokens()
    attached.reset_requests()
    url = url_of(server.get("/media/other.txt"))
    assert requests.get(url, timeout=10).status_code == 404
    assert [r["status"] for r in signatures(attached)] == [401, 200]
    assert server.lines("error") == []


def test_and_no_second_time(machine, attached):
    attached.fault(kind="iam", count=None, status=401, body="{}")
    server = machine()
    refused(server, 502, "signature_unavailable")
    assert len(signatures(attached)) == 2


def test_who_waits_too_long_is_told_so(machine, attached):
    attached.fault(kind="iam", count=1, delay=2)
    server = machine("gcs_token_timeout 300ms;")
    begin = time.monotonic()
    refused(server, 504, "signature_timeout")
    assert time.monotonic() - begin < 1.9
    line, = server.lines("error")
    assert 'no signed URL of gcs credentials "who" within 300 ms' in line
    # it is made all the same, for those who come later
    wait_until(lambda: server.get("/media/a.txt").status == 303, 5)
    assert len(signatures(attached)) == 1


def test_iam_that_does_not_answer_is_given_up(machine, attached):
    attached.fault(kind="iam", count=None, hang=True)
    server = machine("gcs_token_timeout 20s;", "timeout 200ms;")
    refused(server, 502, "signature_unavailable")
    assert len(signatures(attached)) == 3


def test_without_a_token_for_iam_there_is_no_signature(serve, google, caller):
    google.fault(kind="token", status=400, count=None, body=json.dumps(
        {"error": "invalid_grant", "error_description": "Invalid JWT "
         "Signature."}), content_type="application/json")
    server = serve(caller)
    refused(server, 502, "token_unavailable")
    assert signatures(google) == []


@pytest.mark.parametrize("status", [404, 500])
def test_a_metadata_server_that_is_down_makes_no_url(machine, attached,
                                                     status):
    attached.fault(kind="metadata", status=status, count=None)
    server = machine("gcs_token_timeout 1s;")
    for _ in range(2):              # the second while no other is to be tried
        answer = server.get("/media/a.txt")
        assert answer.status in (502, 504)
        assert "location" not in answer.names
    attached.clear_faults()
    wait_until(lambda: server.get("/media/a.txt").status == 303, 10)


# what nobody may see

def documented() -> str:
    """The log format that our documents recommend."""
    text = (Path(__file__).parents[1] / "docs/variables.md").read_text()
    return (re.search(r"log_format gcs [^;]*;", text)[0]
            + "access_log %%DIR%%/documented.log gcs;")


@pytest.mark.parametrize("answer", ["redirect", "json"])
def test_neither_url_nor_token_is_in_a_log(machine, attached, answer):
    server = machine(f"gcs_presign_answer {answer};", http=documented())
    got = server.get("/media/a.txt")
    url = got.json()["url"] if answer == "json" else url_of(got)
    assert works(url)
    attached.revoke_tokens()
    server.get("/media/b.txt")
    attached.fault(kind="iam", count=None, status=403, body="{}")
    server.get("/media/c.txt")
    server.wait_log("c.txt", name="documented.log")
    asked = signatures(attached)
    given = [r["signature"] for r in asked if r.get("signature")]
    sent = [r["json"]["payload"] for r in asked if "json" in r]
    assert len(given) == 2 and len(sent) >= 2
    logs = list(server.dir.glob("*.log"))
    assert {"error.log", "documented.log"} <= {p.name for p in logs}
    for path in logs:
        text = path.read_text()
        assert not re.search("X-Goog-(Signature|Credential)", text)
        for payload in sent:
            assert payload[:60] not in text
        for signature in given:
            blob = base64.b64encode(bytes.fromhex(signature)).decode()
            assert signature[:32] not in text and blob[:32] not in text
        for token in attached.tokens():
            assert token["value"] not in text


# the configuration

@pytest.mark.parametrize("directives, warned", [
    ("gcs_presign_ttl 12h;", False), ("gcs_presign_ttl 43201s;", True),
    ("gcs_presign_ttl 7d;", True)])
def test_a_life_longer_than_iams_keys_is_warned_of(
        serve, google, caller, directives, warned):
    tested = serve(caller, directives, start=False).test()
    assert tested.returncode == 0
    assert ('"gcs_presign_ttl" is more than 12 hours' in tested.stderr) \
        is warned, tested.stderr


def test_a_key_signs_for_a_week_without_a_warning(serve, google, key_file):
    tested = serve(f"file {key_file};", "gcs_presign_ttl 7d;",
                   start=False).test()
    assert (tested.returncode, tested.stderr.count("[warn]")) == (0, 0)


def test_a_file_that_needs_iam_from_now_on_needs_a_reload(
        serve, google, key_file, caller):
    key = json.loads(key_file.read_text())
    google.configure(token_lifetime=3)     # each fetch looks at the file
    server = serve(f"file {key_file};")
    assert fields(url_of(server.get("/media/a.txt")))[
        "X-Goog-Credential"].startswith(key["client_email"])
    key_file.write_text(json.dumps(google.impersonated_file(SIGNER, key)))
    server.wait_log("has been replaced and is used now", 20)
    refused(server, 500, "cannot_sign")
    server.wait_log('"who" cannot sign URLs by IAM: .* when nginx was started')
    server.reload(old_gone=True)
    assert works(url_of(server.get("/media/a.txt")))

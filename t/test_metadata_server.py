"""The metadata server of Compute Engine, GKE and Cloud Run."""

from __future__ import annotations

import http.server
import json
import threading
import time
from typing import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from harness.client import request_bytes
from harness.nginx import free_port, wait_until

AUTH = "https://www.googleapis.com/auth/"
CLOUD = AUTH + "cloud-platform"
READ = AUTH + "devstorage.read_only"
WRITE = AUTH + "devstorage.read_write"
MAIL = AUTH + "userinfo.email"
FEDERATED = "roles/iam.workloadIdentityUser"
ATTACHED = "attached@demo-project.iam.gserviceaccount.com"
PATH = "/computeMetadata/v1/instance/service-accounts/default/"

LOCATION = """
    gcs_endpoint %%EMULATOR%%;
    server {
        listen 127.0.0.1:%%PORT%%;
        location = /ping { return 200 pong; }
        location /m/ {
            gcs_pass gs://test-bucket;
            gcs_auth vm;
            add_header X-Error $gcs_error always;
            @@
        }
    }
"""


def conf(block: str = "metadata_server %%HOST%%;", location: str = "") -> str:
    return "gcs_credentials vm { " + block + " }" \
        + LOCATION.replace("@@", location)


@pytest.fixture
def google(emulator, bucket):
    """Nothing is attached yet."""
    emulator.put_object(bucket, "a", b"hi")
    return emulator


@pytest.fixture
def attached(google, bucket):
    google.metadata_account(ATTACHED, grants={bucket: "objectUser"})
    return google


@pytest.fixture
def serve(nginx, google):
    def make(text: str = conf(), **kw):
        kw.setdefault("HOST", google.metadata_host)
        return nginx(text, **kw)
    return make


def tokens(google) -> list[dict]:
    return [r for r in google.requests("metadata")
            if urlsplit(r["target"]).path == PATH + "token"]


def failed(server, word: str, *texts: str) -> None:
    """One line tells why, and so does the answer."""
    line, = server.lines("error", "could not be fetched")
    for text in texts:
        assert text in line
    answer = server.get("/m/a")
    assert (answer.status, answer.get("X-Error")) == (502, word)
    assert len(server.lines("error", "could not be fetched")) == 1
    line, = server.lines("error", 'no token of gcs credentials "vm"')
    for text in texts:
        assert text in line


# what is asked

def test_the_request_is_that_of_googles_clients(serve, attached):
    server = serve()
    assert server.get("/m/a").body == b"hi"
    wait_until(lambda: len(attached.requests("metadata")) == 2)
    token, email = attached.requests("metadata")
    for request in token, email:
        assert request["method"] == "GET" and request["version"] == "1.1"
        assert request["host"] == attached.metadata_host
        names = {name.lower(): value for name, value in request["headers"]}
        assert names.pop("metadata-flavor") == "Google"
        assert set(names) == {"host", "accept", "user-agent"}
    url = urlsplit(token["target"])
    assert url.path == PATH + "token"
    assert parse_qs(url.query, strict_parsing=True) == {"scopes": [READ]}
    assert email["target"] == PATH + "email"
    assert [r["account"] for r in attached.requests("storage")] == [ATTACHED]
    assert attached.counts() == {"metadata": 2, "storage": 1}


def test_the_log_tells_whose_token_it_is(serve, attached):
    server = serve()
    server.wait_log(rf'\[info\].*gcs credentials "vm": token of "{ATTACHED}" '
                    r"refreshed, expires in \d+ s")


def test_the_address_is_asked_but_once(serve, attached):
    attached.configure(token_lifetime=2)
    server = serve(workers=2)
    wait_until(lambda: len(tokens(attached)) >= 3)
    assert len(attached.requests("metadata")) - len(tokens(attached)) == 1
    # and over a reload, as the token is kept
    server.reload()
    wait_until(lambda: len(tokens(attached)) >= 5)
    assert len(attached.requests("metadata")) - len(tokens(attached)) == 1


@pytest.mark.parametrize("fault", [
    {"status": 404, "body": "gone"},
    # libcurl asks once more if a kept connection ends
    {"reset": "before_headers", "count": 2},
    {"remove_headers": ["Metadata-Flavor"]}, {"status": 200, "body": "a b"},
    {"status": 200, "body": ""}, {"status": 200, "body": "x" * 5000}])
def test_nothing_fails_without_the_address(serve, attached, fault):
    attached.fault(kind="metadata", path="email", **fault)
    server = serve()
    assert server.get("/m/a").body == b"hi"
    server.wait_log('gcs credentials "vm": token refreshed')
    assert server.lines("error") == server.lines("warn") == []


@pytest.mark.parametrize("mode, block, methods, asked, given", [
    ("cloud-run", "", "", [READ], [READ]),
    ("cloud-run", "", "gcs_methods GET PUT;", [WRITE], [WRITE]),
    ("cloud-run", f"scope {READ} {MAIL};", "", [READ, MAIL], [READ, MAIL]),
    ("gce", "", "", [READ], [CLOUD]),
])
def test_the_least_scope_is_asked_for(serve, attached, mode, block, methods,
                                      asked, given):
    attached.metadata_server(mode=mode)
    server = serve(conf("metadata_server %%HOST%%;" + block, methods))
    assert server.get("/m/a").body == b"hi"
    request, = tokens(attached)
    assert request["scopes"] == asked
    token, = attached.tokens()
    assert sorted(token["scopes"]) == sorted(given)


@pytest.mark.parametrize("linked", [True, False])
def test_a_pod_of_gke_reads(serve, google, bucket, linked):
    """As a Google account, or as a principal of its own."""
    google.metadata_server(mode="gke")
    if linked:
        member = google.metadata_account(ATTACHED, pod="default/reader")
        google.add_service_account(ATTACHED, policy={FEDERATED: [member]},
                                   grants={bucket: "objectViewer"})
        name = account = ATTACHED
    else:
        account = google.metadata_account(
            None, pod="default/reader", grants={bucket: "objectViewer"})
        name = "demo-project.svc.id.goog"
    server = serve()
    assert server.get("/m/a").body == b"hi"
    assert google.requests("storage")[0]["account"] == account
    server.wait_log(f'token of "{name}" refreshed')


def test_the_environment_names_the_host(serve, attached):
    server = serve(conf("metadata_server;"),
                   env={"GCE_METADATA_HOST": attached.metadata_host})
    assert server.get("/m/a").body == b"hi"
    # what is written wins
    server = serve(env={"GCE_METADATA_HOST": f"127.0.0.1:{free_port()}"})
    assert server.get("/m/a").body == b"hi"


def test_it_is_never_asked_through_a_proxy(serve, attached):
    server = serve(conf("metadata_server %%HOST%%;"
                        "proxy http://127.0.0.1:%%DEAD%%;"),
                   DEAD=free_port())
    assert server.get("/m/a").body == b"hi"


# whom to believe

@pytest.mark.parametrize("host", [
    "metadata.example.com", "192.0.2.1", "169.254.169.253", "127.0.0.1:0",
    "127.0.0.1:99999", "127.0.0.1/x", "127.0.0.1@evil.example", "127.1",
    "127.0.0.1.evil.example", "user@127.0.0.1", "http://127.0.0.1",
    "metadata.google.internal.evil.example", "[::2]", '""'])
def test_a_host_that_could_be_anybody_is_refused(serve, host):
    line = serve(conf(f"metadata_server {host};"), start=False).refusal()
    host = host.strip('"')
    assert f'invalid host "{host}" in "metadata_server" directive; tokens ' \
        "come from it without TLS" in line
    assert '"169.254.169.254"' in line and "loopback" in line

    if host:
        line = serve(conf("metadata_server;"), start=False,
                     env={"GCE_METADATA_HOST": host}).refusal()
        assert f'invalid GCE_METADATA_HOST "{host}"' in line


@pytest.mark.parametrize("host", [
    "", "169.254.169.254", "169.254.169.254:80", "metadata.google.internal",
    "METADATA.google.internal.", "[fd20:ce::254]", "localhost:8080",
    "127.0.0.53", "[::1]:8080"])
def test_googles_own_and_loopback_are_taken(serve, host):
    tested = serve(conf(f"metadata_server {host};"), start=False).test()
    assert tested.returncode == 0, tested.stderr


@pytest.mark.parametrize("block, words", [
    ("metadata_server; metadata_server;",
     '"metadata_server" directive is duplicate'),
    ("metadata_server a b;", 'number of arguments in "metadata_server"'),
    ("metadata_server; file /x;", "more than one source"),
    ("metadata_server; token_lifetime 30m;", '"token_lifetime" applies to '
     "tokens by impersonation only"),
])
def test_mistakes_are_told(serve, block, words):
    assert words in serve(conf(block), start=False).refusal()


def test_what_is_not_a_metadata_server_is_not_believed(serve, attached):
    """Some captive portal, or the proxy of a company, answers to all."""
    attached.fault(kind="metadata", remove_headers=["Metadata-Flavor"],
                   count=None)
    server = serve()
    server.wait_log("could not be fetched")
    failed(server, "token_unavailable", 'did not answer with '
           '"Metadata-Flavor: Google": it is something else')
    assert attached.counts().get("storage") is None


def test_a_redirect_is_not_followed(serve, attached):
    attached.fault(kind="metadata", status=302, count=None,
                   headers={"Location": attached.url + "/elsewhere",
                            "Metadata-Flavor": "Google"})
    server = serve()
    server.wait_log("could not be fetched")
    failed(server, "token_unavailable", "metadata server answered 302")
    assert attached.counts() == {"metadata": 1}


# what goes wrong

def test_no_account_has_a_word_of_its_own(serve, google):
    server = serve()
    server.wait_log("could not be fetched")
    failed(server, "no_service_account", "metadata server answered 404",
           "no service account is attached to this machine or pod")
    assert len(google.requests("metadata")) == 1


def test_a_pod_without_the_right_is_told_which(serve, google):
    google.metadata_server(mode="gke")
    google.metadata_account(ATTACHED, pod="default/reader")
    google.add_service_account(ATTACHED)
    server = serve()
    server.wait_log("could not be fetched")
    failed(server, "impersonation_denied", "metadata server answered 403",
           "grant the Kubernetes service account", FEDERATED)
    # once it is granted, nothing but time is needed
    google.set_policy(ATTACHED, {FEDERATED: [
        "serviceAccount:demo-project.svc.id.goog[default/reader]"]})
    google.grant(ATTACHED, "test-bucket", ["objectViewer"])
    wait_until(lambda: server.get("/m/a").status == 200)


# a slow start

@pytest.mark.parametrize("how, seconds", [
    ("reset", 2.5), ("503", 2.5), ("hang", 4)])
def test_requests_wait_for_a_server_that_is_late(serve, attached, how,
                                                 seconds):
    """GKE's is, in the first seconds of a pod; nobody sees an error."""
    attached.metadata_server(mode="gke", ready_after=seconds, not_ready=how)
    start = time.monotonic()
    server = serve(conf(location="gcs_token_timeout 20s;"), workers=2)
    connections = []
    for _ in range(20):
        connection = server.connect()
        connection.send(request_bytes("GET", "/m/a", connection.host))
        connections.append(connection)
        time.sleep(0.02)
    assert server.get("/ping").body == b"pong"
    assert {c.response().body for c in connections} == {b"hi"}
    # a hung request is given up after 5 seconds
    assert seconds - 0.5 < time.monotonic() - start < seconds + 4
    for level in ("warn", "error", "crit", "alert"):
        assert server.lines(level) == []
    assert len(server.lines("notice", 'gcs credentials "vm": the metadata '
                            "server is not ready, waiting for it")) == 1
    if how != "hang":
        # it is asked twice a second, not more
        assert 3 <= len(tokens(attached)) <= 9


def test_a_request_does_not_wait_longer_than_it_may(serve, attached):
    attached.metadata_server(ready_after=3, not_ready="503")
    server = serve(conf(location="gcs_token_timeout 700ms;"))
    answer = server.get("/m/a")
    assert (answer.status, answer.get("X-Error")) == (504, "token_timeout")
    assert server.lines("error", "could not be fetched") == []
    wait_until(lambda: server.get("/m/a").body == b"hi")


class Late:
    """A metadata server that does not even listen at first."""

    def __init__(self, token: str):
        self.port = free_port()
        body = json.dumps({"access_token": token, "expires_in": 3599,
                           "token_type": "Bearer"}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = body if "token" in self.path else ATTACHED.encode()
                self.send_response(200)
                self.send_header("Metadata-Flavor", "Google")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: object) -> None:
                pass

        self._handler = Handler
        self._server: http.server.HTTPServer | None = None

    def listen(self) -> None:
        self._server = http.server.HTTPServer(("127.0.0.1", self.port),
                                              self._handler)
        threading.Thread(target=self._server.serve_forever,
                         daemon=True).start()

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


@pytest.fixture
def late(attached) -> Iterator[Late]:
    server = Late(attached.mint_token(ATTACHED, (CLOUD,)))
    yield server
    server.close()


def test_a_server_that_does_not_listen_yet_is_late_too(serve, attached,
                                                       late):
    server = serve(HOST=f"127.0.0.1:{late.port}")
    connection = server.connect()
    connection.send(request_bytes("GET", "/m/a", connection.host))
    server.wait_log("waiting for it: metadata server: Failed to connect")
    time.sleep(1)
    late.listen()
    assert connection.response().body == b"hi"
    assert server.lines("error") == server.lines("warn") == []


def test_after_the_first_token_late_is_an_error(serve, attached):
    """Nobody waits for what has worked before, and the old token serves."""
    attached.configure(token_lifetime=4)
    server = serve()
    server.wait_log("refreshed")
    attached.metadata_server(ready_after=60, not_ready="503")
    server.wait_log("could not be fetched")
    assert len(server.lines("warn", "could not be fetched: metadata server "
                            "answered 503")) == 1
    assert server.get("/m/a").body == b"hi"
    wait_until(lambda: server.get("/m/a").status == 502)
    assert "waiting for it" not in server.log()


def test_only_the_metadata_server_is_waited_for(serve, attached):
    """Not what comes after it: there an error is an error."""
    attached.fault(kind="iam", status=503, count=None)
    server = serve(conf("metadata_server %%HOST%%; impersonate a@b.example;"
                        "iam_endpoint %%EMULATOR%%;"))
    assert server.get("/m/a").status == 502
    assert len(server.lines("error", "could not be fetched: IAM Credentials "
                            "API answered 503")) == 1
    assert "waiting for it" not in server.log()


def test_of_default_credentials_a_late_server_is_waited_for(serve, attached):
    """Where the environment says that there is one."""
    attached.metadata_server(ready_after=1.5, not_ready="reset")
    server = serve(conf().replace("gcs_auth vm;", ""),
                   env={"GCE_METADATA_HOST": attached.metadata_host})
    assert server.get("/m/a").body == b"hi"
    assert server.lines("error") == []

"""The client of the token endpoint, seen from outside: what it asks, which
answers it takes for a token, whom it trusts and through what it goes."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

from emulator.certificates import create
from harness import Connection, Nginx
from harness.client import request_bytes
from harness.nginx import binary, free_port, wait_until

BODY = b"0123456789"
AUTH = "https://www.googleapis.com/auth/"
CONFIGURATION = """
    log_format token "$status error=$gcs_error $gcs_credentials";
    access_log %%DIR%%/token.log token;
    gcs_endpoint %%EMULATOR%%;
    gcs_credentials reader { file %%KEY%%; @block@ }
    server {
        listen 127.0.0.1:%%PORT%%; @listen@
        location = /ping { return 200 pong; }
        location /media/ {
            gcs_auth reader;
            gcs_pass gs://test-bucket/;
        }
    }
"""

Serve = Callable[..., Nginx]


@pytest.fixture
def serve(nginx: Serve, emulator, key_file, bucket) -> Serve:
    emulator.put_object(bucket, "a", BODY, content_type="text/plain")

    def make(block: str = "", listen: str = "", **kw) -> Nginx:
        return nginx(CONFIGURATION.replace("@block@", block)
                     .replace("@listen@", listen), **kw)

    return make


def fetches(emulator) -> int:
    return emulator.counts().get("token", 0)


def lines(server: Nginx, level: str, pattern: str = "") -> list[str]:
    return [line for line in server.log().splitlines()
            if f"[{level}]" in line and re.search(pattern, line)]


def fails(server: Nginx, reason: str, word="token_unavailable") -> bool:
    """A request fails, and everything that is said says why."""
    reason = "(token endpoint: )?" + reason
    response = server.get("/media/a")
    assert response.status == 502
    assert b"<h1>502 Bad Gateway</h1>" in response.body
    server.wait_log(f"502 error={word} reader\n", name="token.log")
    fetch = lines(server, "error", 'gcs credentials "reader": token could '
                  "not be fetched: " + reason)
    request = lines(server, "error", 'no token of gcs credentials "reader": '
                    + reason + '.*request: "GET /media/a ')
    assert len(fetch) == len(request) == 1, server.log()
    assert len(lines(server, "error")) == 2
    return True


# what is asked


def test_the_request_is_what_google_wants(serve, emulator, key_file):
    server = serve()
    assert server.get("/media/a").body == BODY
    record, = emulator.requests("token")
    assert (record["method"], record["target"]) == ("POST", "/token")
    assert {name.lower(): value for name, value in record["headers"]} == {
        "host": f"127.0.0.1:{emulator.http_port}",
        "user-agent": "ngx_gcs_proxy_module",
        "accept": "*/*",
        "content-type": "application/x-www-form-urlencoded",
        "content-length": str(record["body_size"]),
    }
    claims = record["assertion"]["claims"]
    assert claims["scope"] == AUTH + "devstorage.read_only"
    assert claims["aud"] == emulator.token_uri
    assert 0 < claims["exp"] - claims["iat"] <= 3600


def test_the_scopes_asked_for_are_those_configured(serve, emulator):
    scopes = [AUTH + "devstorage.read_write", AUTH + "iam"]
    server = serve("scope " + " ".join(scopes) + ";")
    assert server.get("/media/a").body == BODY
    record, = emulator.requests("token")
    assert record["assertion"]["claims"]["scope"] == " ".join(scopes)


def test_the_endpoint_configured_is_the_one_used(serve, emulator, key_file):
    elsewhere = f"http://127.0.0.1:{free_port()}/token"
    key_file.write_text(key_file.read_text().replace(emulator.token_uri,
                                                     elsewhere))
    server = serve("token_endpoint %%EMULATOR%%/token;")
    assert server.get("/media/a").body == BODY
    record, = emulator.requests("token")
    assert record["assertion"]["claims"]["aud"] == emulator.token_uri


# what is answered

JSON = '{"access_token": "%s", "expires_in": %s, "token_type": "Bearer"}'
GOOGLE = ('{"error": {"code": 403, "status": "PERMISSION_DENIED", '
          '"message": "No access"}}')
EVIL = JSON % ("a\\r\\nX-Evil: 1", 3600)
TIMED_OUT = "Operation timed out"
# libcurl's words, of 7.88 and of 8.x
REFUSED = r"Failed to connect to 127\.0\.0\.1[ :]"
UNTRUSTED = "SSL certificate (problem|OpenSSL verify result): "

# those whose cause is known; all others are "token_unavailable"
WORDS = {"invalid_grant": "key_invalid", "error with 200": "invalid_client",
         "only an id_token": "scope_invalid"}

ANSWERS = {
    # name: the fault, what is said of it
    "invalid_grant": (
        {"status": 400, "body": '{"error": "invalid_grant", "error_'
         'description": "Invalid JWT Signature."}'},
        'token endpoint answered 400 "invalid_grant": '
        r'"Invalid JWT Signature\."'),
    "googles other form": (
        {"status": 403, "body": GOOGLE},
        'token endpoint answered 403 "PERMISSION_DENIED": "No access"'),
    "error with 200": (
        {"status": 200, "body": '{"error": "invalid_client"}'},
        'token endpoint answered 200 "invalid_client"'),
    "text of a stranger": (
        {"status": 400, "body": '{"error": "a\\n2026 [note] \\"b\\u0007", '
         '"error_description": "eyJhbGciOiJS.eyJhbGciOiJS.c ya29.secret"}'},
        r"""token endpoint answered 400 "a\?2026 \[note\] 'b\?": """
        r'"\.\.\. \.\.\."'),
    "503": ({"status": 503},
            "token endpoint answered 503 without a reason"),
    "html": ({"status": 404, "body": "<html>no</html>"},
             "token endpoint answered 404 without a reason"),
    "redirect": (
        {"status": 307, "headers": {"Location": "/token"}},
        "token endpoint answered 307 without a reason"),
    "nothing": ({"status": 200, "body": ""}, "token endpoint answered 200 "
                "without a JSON object"),
    "not JSON": ({"status": 200, "body": "<html>"}, "token endpoint answered "
                 "200 without a JSON object"),
    "half a JSON": ({"status": 200, "body": '{"access_token": "abc'},
                    "token endpoint answered 200 without a JSON object"),
    "a list": ({"status": 200, "body": "[1]"}, "token endpoint answered 200 "
               "without a JSON object"),
    "no token": ({"token": {"access_token": None}},
                 "token endpoint answered 200 without an access token"),
    "a number": ({"token": {"access_token": 1}},
                 "token endpoint answered 200 without an access token"),
    "empty": ({"token": {"access_token": ""}},
              "token endpoint answered 200 without an access token"),
    "only an id_token": ({"token": {"access_token": None, "id_token": "x"}},
                         "token endpoint gave an ID token and no access "
                         "token, are the scopes right"),
    "a second header": ({"status": 200, "body": EVIL},
                        "token endpoint gave an invalid or too long token"),
    "too long": ({"token": {"access_token": "x" * 16385}},
                 "token endpoint gave an invalid or too long token"),
    "another type": ({"token": {"token_type": "MAC"}}, "token endpoint gave "
                     'a token of a type other than "Bearer"'),
    "expired": ({"token": {"expires_in": 0}},
                'token endpoint gave an invalid "expires_in"'),
    "long ago": ({"token": {"expires_in": -1}},
                 'token endpoint gave an invalid "expires_in"'),
    "oversized": ({"status": 200, "body": "x" * 100000},
                  "the answer is too large"),
    "oversized error": ({"status": 400, "body": "x" * 100000},
                        "the answer is too large"),
    "oversized chunks": ({"status": 200, "body": "x" * 100000,
                          "chunked": True}, "the answer is too large"),
    "garbage": ({"garbage": True}, ".+"),
    "truncated": ({"truncate_after": 10}, ".+"),
    "reset": ({"reset": "before_headers"}, ".+"),
    "reset after the head": ({"reset": "after_headers"}, ".+"),
    "hang": ({"hang": True}, TIMED_OUT),
    "stall": ({"stall_after": 10}, TIMED_OUT),
    "trickle": ({"rate": 40}, TIMED_OUT),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_no_token_is_502_with_a_reason(serve, emulator, name):
    fault, reason = ANSWERS[name]
    emulator.fault(kind="token", count=None, **fault)
    server = serve("timeout 400ms;")
    start = time.monotonic()
    assert fails(server, reason, WORDS.get(name, "token_unavailable"))
    assert time.monotonic() - start < 1
    assert fetches(emulator) == 1
    assert emulator.counts().get("storage", 0) == 0


TOKENS = {
    "as long as may be": {"access_token": None},    # see below
    "lifetime as text": {"expires_in": "3600"},
    "fraction": {"expires_in": 3599.5},
    "no lifetime": {"expires_in": None},
    "very long lifetime": {"expires_in": 10 ** 30},
    "type in lower case": {"token_type": "bearer"},
    "no type": {"token_type": None},
    "more members": {"id_token": "x", "scope": "y", "z": {"a": [None]}},
}


@pytest.mark.parametrize("name", TOKENS)
def test_what_is_a_token_is_used(serve, emulator, name):
    members = dict(TOKENS[name])
    if members == {"access_token": None}:
        # longer than any header that the strict emulator takes
        members["access_token"] = "x" * 16384
        emulator.fault(kind="storage", status=200, body="0123456789",
                       content_type="text/plain")
    emulator.fault(kind="token", token=members)
    server = serve()
    assert server.get("/media/a").body == BODY
    assert fetches(emulator) == 1
    assert lines(server, "error") == lines(server, "warn") == []


@pytest.mark.parametrize("fault", [
    {"chunked": True, "rate": 4000}, {"split_at": [5, 20, 60]},
    {"http10": True}, {"close": True}, {"silent_close": True},
    {"informational": [103]},
], ids=lambda fault: " ".join(fault))
def test_an_answer_may_come_in_any_shape_of_http(serve, emulator, fault):
    emulator.fault(kind="token", **fault)
    server = serve()
    assert server.get("/media/a").body == BODY
    assert fetches(emulator) == 1


def test_a_refused_connection_is_502(serve):
    server = serve(f"token_endpoint http://127.0.0.1:{free_port()}/token;")
    assert fails(server, REFUSED)


def fill(listener: socket.socket) -> list[socket.socket]:
    """Connect to it until its kernel answers no more."""
    listener.listen(0)
    backlog = [socket.socket() for _ in range(3)]
    for sock in backlog:
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
    return backlog


def test_a_connection_that_is_never_accepted_is_502(serve):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        backlog = fill(listener)
        server = serve(f"token_endpoint http://127.0.0.1:{port}/token; "
                       "timeout 400ms;")
        assert fails(server, "(Connection|Operation|Failed).*tim")
        for sock in backlog:
            sock.close()


def test_fetches_leave_no_sockets_open(nginx, emulator, key_file):
    """Of 60 credentials most fetch in vain, in every way there is."""
    faults = {"reset": {"reset": "before_headers"}, "hang": {"hang": True},
              "status": {"status": 503, "retry_after": 60},
              "garbage": {"garbage": True}, "big": {"status": 200,
                                                    "body": "x" * 100000}}
    names = [f"{kind}{i}" for i in range(10) for kind in (*faults, "good")]
    emulator.configure(token_audiences=[f"{emulator.token_uri}?{name}"
                                        for name in names])
    for kind, fault in faults.items():
        emulator.fault(kind="token", path=kind, count=None, **fault)
    blocks = "".join(
        f"gcs_credentials {name} {{ file %%KEY%%; timeout 300ms; "
        f"token_endpoint %%EMULATOR%%/token?{name}; }}\n" for name in names)
    server = nginx(blocks, server="location /ping { return 200 pong; }",
                   start=False)
    server.conf.write_text(server.conf.read_text().replace(
        "worker_connections 1024;", "worker_connections 40;"))
    server.start()
    worker, = server.children()
    server.wait_log("could not be fetched|token refreshed", count=60)
    assert len({r["target"] for r in emulator.requests("token")}) == 60
    # the listener, the channel to the master, and libcurl keeps four
    wait_until(lambda: len(sockets(worker)) <= 2 + 4)
    busy = [server.connect() for _ in range(25)]
    for connection in busy:
        connection.send(b"GET /ping HTTP/1.1\r\nHost: ")
    for connection in busy:
        connection.send(b"a\r\n\r\n")
        assert connection.response().body == b"pong"


def sockets(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = os.readlink(link)
        except FileNotFoundError:
            continue
        if name.startswith("socket:"):
            found.append(name)
    return found


# TLS


def test_the_endpoint_is_verified_against_the_ca_configured(serve, emulator):
    server = serve("token_endpoint %%EMULATOR_TLS%%/token; "
                   "ssl_trusted_certificate %%CA%%;")
    assert server.get("/media/a").body == BODY
    record, = emulator.requests("token")
    assert record["tls"]


@pytest.mark.parametrize("ca", ["another", "the system's"])
def test_an_endpoint_of_another_ca_is_502(serve, emulator, tmp_path, ca):
    block = "token_endpoint %%EMULATOR_TLS%%/token;"
    if ca == "another":
        block += f" ssl_trusted_certificate {create(str(tmp_path))[0]};"
    server = serve(block)
    assert fails(server, UNTRUSTED)
    assert fetches(emulator) == 0


def test_an_endpoint_that_speaks_no_tls_is_502(serve, emulator):
    server = serve(f"token_endpoint https://127.0.0.1:{emulator.http_port}"
                   "/token; timeout 500ms;")
    assert fails(server, ".+")
    assert fetches(emulator) == 0


def test_a_failed_verification_disturbs_no_other_tls(serve, emulator,
                                                     tmp_path):
    """What it leaves in OpenSSL's queue nginx would take for its own; the
    alert that follows would fail the test."""
    ca_file, pair = create(str(tmp_path))
    server = serve(
        f"token_endpoint %%EMULATOR_TLS%%/token; "
        f"ssl_trusted_certificate {ca_file};",
        f"listen 127.0.0.1:%%PORT_TLS%% ssl; ssl_certificate {pair}; "
        f"ssl_certificate_key {pair};")
    context = ssl.create_default_context(cafile=ca_file)
    port = server.ports["PORT_TLS"]

    # some begin before it fails and end after it, some do all of it after
    kept = [server.connect(port, tls=context) for _ in range(10)]
    for connection in kept:
        assert connection.get("/ping").status == 200
    server.wait_log("could not be fetched: token endpoint: " + UNTRUSTED,
                    count=2)
    for connection in kept:
        assert connection.get("/ping").status == 200
        connection.close()
    for _ in range(20):
        with Connection(port, tls=context) as connection:
            assert connection.get("/media/a").status == 502
    server.wait_log("error=token_unavailable", count=20, name="token.log")
    assert "ignoring stale" not in server.log()


# proxies


class Proxy:
    """An HTTP proxy that tunnels, forwards, or refuses."""

    def __init__(self, refuse: bool = False) -> None:
        self.seen: list[str] = []
        self.heads: list[bytes] = []
        self._refuse = refuse
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,),
                             daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            data = b""
            while b"\r\n\r\n" not in data:
                more = client.recv(65536)
                if not more:
                    return
                data += more
            head, _, rest = data.partition(b"\r\n\r\n")
            self.heads.append(head)
            line = head.split(b"\r\n")[0].decode()
            self.seen.append(line)
            if self._refuse:
                client.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
                return
            method, target, _ = line.split(" ")
            if method == "CONNECT":
                port = int(target.rpartition(":")[2])
                begin = rest
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                address, _, path = target[len("http://"):].partition("/")
                port = int(address.rpartition(":")[2])
                headers = [h for h in head.split(b"\r\n")[1:]
                           if not h.lower().startswith(b"proxy-")]
                begin = b"\r\n".join(
                    [f"{method} /{path} HTTP/1.1".encode(), *headers]) \
                    + b"\r\n\r\n" + rest
            with socket.create_connection(("127.0.0.1", port)) as server:
                server.sendall(begin)
                back = threading.Thread(target=self.copy,
                                        args=(server, client), daemon=True)
                back.start()
                self.copy(client, server)
                back.join(5)

    @staticmethod
    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    instance = Proxy()
    yield instance
    instance.close()


def test_http_goes_through_the_proxy_configured(serve, emulator, proxy):
    server = serve(f"proxy http://127.0.0.1:{proxy.port};")
    assert server.get("/media/a").body == BODY
    assert proxy.seen == [f"POST {emulator.token_uri} HTTP/1.1"]
    assert fetches(emulator) == 1


def test_https_goes_through_a_tunnel_of_the_proxy(serve, emulator, proxy):
    server = serve(f"proxy http://127.0.0.1:{proxy.port}; "
                   "token_endpoint %%EMULATOR_TLS%%/token; "
                   "ssl_trusted_certificate %%CA%%;")
    assert server.get("/media/a").body == BODY
    assert proxy.seen == [f"CONNECT localhost:{emulator.https_port} HTTP/1.1"]
    record, = emulator.requests("token")
    assert record["tls"]
    # only the fetcher uses it, and tells it nothing
    assert fetches(emulator) == emulator.counts()["storage"] == 1
    assert b"authorization" not in proxy.heads[0].lower()


@pytest.mark.parametrize("endpoint", ["%%EMULATOR%%", "%%EMULATOR_TLS%%"])
def test_a_proxy_that_refuses_is_502(serve, emulator, endpoint):
    instance = Proxy(refuse=True)
    server = serve(f"proxy http://user:secret-of-the-proxy@127.0.0.1:"
                   f"{instance.port}; token_endpoint {endpoint}/token; "
                   "ssl_trusted_certificate %%CA%%;", log_level="debug",
                   secrets=["secret-of-the-proxy"])
    assert fails(server, ".*407")
    instance.close()
    assert fetches(emulator) == 0


def test_a_proxy_that_is_not_there_is_502(serve, emulator):
    server = serve(f"proxy http://127.0.0.1:{free_port()};")
    assert fails(server, REFUSED)
    assert fetches(emulator) == 0


@pytest.mark.parametrize("block", ["", "proxy off;"])
@pytest.mark.parametrize("endpoint", ["%%EMULATOR%%", "%%EMULATOR_TLS%%"])
def test_the_environment_names_no_proxy(serve, emulator, proxy, block,
                                        endpoint):
    names = ["http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY",
             "ALL_PROXY"]
    server = serve(f"token_endpoint {endpoint}/token; "
                   "ssl_trusted_certificate %%CA%%; " + block,
                   env=dict.fromkeys(names, f"http://127.0.0.1:{proxy.port}"),
                   main="".join(f"env {name};\n" for name in names))
    assert server.get("/media/a").body == BODY
    assert proxy.seen == []


def test_no_netrc_is_read(serve, emulator, tmp_path):
    (tmp_path / ".netrc").write_text(
        "machine 127.0.0.1 login me password of-the-netrc\n")
    server = serve(env={"HOME": str(tmp_path)}, main="env HOME;")
    assert server.get("/media/a").body == BODY
    record, = emulator.requests("token")
    assert "authorization" not in dict(
        (name.lower(), value) for name, value in record["headers"])


# logs


@pytest.mark.parametrize("fault", [{}, {"status": 400, "body": "{}"},
                                   {"reset": "before_headers"}],
                         ids=["good", "refused", "reset"])
def test_no_secret_is_in_the_debug_log(serve, emulator, fault):
    """The nginx fixture looks for all secrets that the emulator knows."""
    emulator.fault(kind="token", **fault)
    server = serve("token_endpoint %%EMULATOR_TLS%%/token; "
                   "ssl_trusted_certificate %%CA%%;", log_level="debug")
    server.get("/media/a")
    if not fault:
        emulator.revoke_tokens()
        assert server.get("/media/a").body == BODY
    assert 'gcs token fetch: "reader" #1' in server.log()
    assert "assertion" not in server.log()
    assert "grant_type" not in server.log()


# names


@pytest.fixture
def private_etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) \
        -> Callable[[str, str], None]:
    """Gives nginx another /etc/NAME than the rest of the machine has."""
    if os.geteuid() != 0 or shutil.which("unshare") is None \
            or subprocess.run(["unshare", "-m", "true"],
                              capture_output=True).returncode:
        pytest.skip("needs root, who may make mount namespaces")

    def exchange(name: str, text: str) -> None:
        (tmp_path / name).write_text(text)
        script = tmp_path / "nginx.sh"
        script.write_text(
            "#!/bin/sh\n"
            f"exec unshare -m sh -c 'mount --bind {tmp_path}/{name} "
            f"/etc/{name} && exec {binary()} \"$@\"' nginx \"$@\"\n")
        script.chmod(0o755)
        monkeypatch.setenv("NGINX", str(script))

    return exchange


def test_a_name_server_that_is_silent_freezes_nobody(serve, private_etc):
    """A resolver's thread that is still asking must not be waited for, after
    the timeout, nor when the worker ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        # port 53 is given, so it is the address that is random
        address = "127.{}.{}.{}".format(*(random.randint(1, 254)
                                          for _ in range(3)))
        silent.bind((address, 53))
        private_etc("resolv.conf", f"nameserver {address}\n")
        server = serve("token_endpoint https://token.invalid/token; "
                       "timeout 700ms;")
        waiting = []
        for _ in range(20):
            connection = server.connect()
            connection.send(request_bytes("GET", "/media/a", "a"))
            waiting.append(connection)
        ping = server.connect()
        slowest = 0.0
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            start = time.monotonic()
            assert ping.get("/ping").body == b"pong"
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(0.005)
        assert slowest < 0.3
        assert {c.response().status for c in waiting} == {502}
        assert lines(server, "error", "Resolving timed out")
        assert silent.recv(512), "nginx has asked somebody else"
        # the next fetch is under way
        server.wait_log("could not be fetched", count=2)
        start = time.monotonic()
        server.quit()
        assert time.monotonic() - start < 1.5


def test_a_name_may_have_addresses_that_refuse(serve, emulator, private_etc):
    """libcurl closes the socket of one and opens that of the next under the
    same number, and nginx must watch the new one."""
    name = "oauth2.googleapis.com"
    # the C library sorts them: the one that shares most bits with 127.0.0.1,
    # from where nginx asks, is the first
    private_etc("hosts", "".join(f"127.0.0.{i} {name}\n" for i in (2, 3, 4)))
    with socket.create_server(("127.0.0.4", 0)) as listener:
        threading.Thread(target=relay, args=(listener, emulator.https_port),
                         daemon=True).start()
        url = f"https://{name}:{listener.getsockname()[1]}/token"
        emulator.configure(token_audiences=[url])
        server = serve(f"token_endpoint {url}; timeout 1s; "
                       "ssl_trusted_certificate %%CA%%;")
        start = time.monotonic()
        assert server.get("/media/a").body == BODY
        # libcurl may lose half of the time over two that refuse
        assert time.monotonic() - start < 0.9
        assert lines(server, "error") == []


def relay(listener: socket.socket, port: int) -> None:
    """One connection goes on to the port."""
    client, _ = listener.accept()
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        threading.Thread(target=Proxy.copy, args=(server, client),
                         daemon=True).start()
        Proxy.copy(client, server)


def test_a_certificate_of_another_name_is_502(serve, emulator, private_etc):
    private_etc("hosts", "127.0.0.1 localhost other.test\n")
    server = serve(f"token_endpoint https://other.test:{emulator.https_port}"
                   "/token; ssl_trusted_certificate %%CA%%;")
    assert fails(server, "SSL: no alternative certificate subject name")
    assert fetches(emulator) == 0

"""Where requests go: addresses, TLS, and connections that are kept."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path

import pytest

from conftest import SANITIZE
from emulator import certificates
from harness.nginx import version, wait_until

BODY = b"hello"


def conf(inner: str = "", http: str = "", target: str = "%%EMULATOR%%",
         server: str = "") -> str:
    endpoint = f"gcs_endpoint {target};" if target else ""
    return f"""
        gcs_credentials reader {{ file %%KEY%%; }}
        gcs_auth reader;
        {http}
        server {{
            listen 127.0.0.1:%%PORT%%;
            location /m/ {{ gcs_pass gs://test-bucket; {endpoint} {inner} }}
            {server}
        }}
    """


@pytest.fixture
def serve(nginx):
    def make(text, **kw):
        server = nginx(text, **kw)
        server.wait_log("token refreshed")
        return server
    return make


@pytest.fixture
def a_txt(emulator, bucket):
    return emulator.put_object(bucket, "a.txt", BODY)


@pytest.fixture(scope="module")
def other_ca(tmp_path_factory):
    """A CA that has signed nothing of the emulator's."""
    return certificates.create(str(tmp_path_factory.mktemp("other")))[0]


class Origin:
    """A TLS server that tells what it has seen of its clients."""

    def __init__(self, folder, keep: bool):
        self.ca, server_file = certificates.create(str(folder))
        self.names: list[str | None] = []
        self.reused: list[bool] = []
        self.alpn: list[str | None] = []
        self.keep = keep
        self._context = certificates.server_context(server_file)
        self._context.sni_callback = self._sni
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _sni(self, sock, name, context):
        self.names.append(name)

    def _run(self):
        while True:
            try:
                raw, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,),
                             daemon=True).start()

    def _serve(self, raw):
        raw.settimeout(10)
        try:
            with self._context.wrap_socket(raw, server_side=True) as sock:
                self.reused.append(sock.session_reused)
                self.alpn.append(sock.selected_alpn_protocol())
                while True:
                    data = b""
                    while b"\r\n\r\n" not in data:
                        part = sock.recv(65536)
                        if not part:
                            return
                        data += part
                    close = b"" if self.keep else b"Connection: close\r\n"
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                                 + close + b"\r\nok")
                    if not self.keep:
                        return
        except OSError:
            pass

    def close(self):
        # close() alone wakes nobody, and the thread that sleeps in accept()
        # would serve the next who gets this file descriptor
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()


@pytest.fixture
def origin(tmp_path):
    made = []

    def make(keep=True):
        folder = tmp_path / f"origin{len(made)}"
        folder.mkdir()
        made.append(Origin(folder, keep))
        return made[-1]

    yield make
    for server in made:
        server.close()


# TLS


TLS = "%%EMULATOR_TLS%% host=storage.googleapis.com"
TRUST = "gcs_ssl_trusted_certificate %%CA%%;"


@pytest.mark.parametrize("target", [TLS, "%%EMULATOR_TLS%%",
                                    "%%EMULATOR_TLS%%/"])
def test_tls_with_the_right_ca_works(serve, emulator, key_file, a_txt,
                                     target):
    server = serve(conf(TRUST, target=target))
    response = server.get("/m/a.txt")
    assert (response.status, response.body) == (200, BODY)
    record, = emulator.requests("storage")
    assert record["tls"] is True
    assert record["host"] == (
        "storage.googleapis.com" if "host=" in target
        else f"localhost:{emulator.https_port}")


@pytest.mark.parametrize("ca", ["", "gcs_ssl_trusted_certificate %%OTHER%%;",
                                "gcs_ssl_verify on;"])
def test_a_certificate_that_nobody_has_signed_is_502(
        serve, emulator, key_file, a_txt, other_ca, ca):
    """Neither the system's authorities nor the one of another CA."""
    server = serve(conf(ca, target=TLS), OTHER=other_ca)
    for _ in range(2):
        assert server.get("/m/a.txt").status == 502
    assert emulator.requests("storage") == []
    assert "SSL certificate verify error" in server.log()


def test_a_certificate_of_another_name_is_502(serve, emulator, key_file,
                                              a_txt):
    target = "%%EMULATOR_TLS%% host=storage.example.com"
    server = serve(conf(TRUST, target=target))
    for _ in range(2):
        assert server.get("/m/a.txt").status == 502
    assert emulator.requests("storage") == []
    assert "does not match" in server.log()


def test_verification_can_be_switched_off(serve, emulator, key_file, a_txt,
                                          other_ca):
    server = serve(conf("gcs_ssl_verify off;"
                        "gcs_ssl_trusted_certificate %%OTHER%%;", target=TLS),
                   OTHER=other_ca)
    assert server.get("/m/a.txt").body == BODY


@pytest.mark.parametrize("host, sni", [
    ("", "localhost"), ("host=storage.googleapis.com", None),
    ("host=bucket.storage.googleapis.com", None),
    ("host=oauth2.googleapis.com:8443", "oauth2.googleapis.com"),
])
def test_the_name_is_sent_and_verified(serve, emulator, key_file, origin,
                                       host, sni):
    there = origin()
    server = serve(conf("gcs_ssl_trusted_certificate %%ORIGIN_CA%%;",
                        target=f"https://localhost:{there.port} {host}"),
                   ORIGIN_CA=there.ca)
    assert server.get("/m/a.txt").body == b"ok"
    assert there.names == [sni or host[len("host="):]]


def test_a_tls_session_is_used_again(serve, emulator, key_file, origin):
    there = origin(keep=False)
    server = serve(conf("gcs_ssl_trusted_certificate %%ORIGIN_CA%%;",
                        target=f"https://localhost:{there.port}"),
                   ORIGIN_CA=there.ca)
    for _ in range(4):
        assert server.get("/m/a.txt").body == b"ok"
    assert there.reused[0] is False
    assert there.reused[2:] == [True, True]


def test_a_ca_file_that_is_missing_is_told_at_start(nginx, emulator,
                                                    key_file):
    tested = nginx(conf("gcs_ssl_trusted_certificate /nowhere/ca.pem;",
                        target=TLS), start=False).test()
    assert tested.returncode == 1
    assert "/nowhere/ca.pem" in tested.stderr


# addresses


@pytest.mark.parametrize("target, http", [
    ("http://192.0.2.1", ""), ("http://192.0.2.1:8080", ""),
    ("http://10.0.0.1:80 host=localhost", ""),
    ("http://pool", "upstream pool { server 192.0.2.1:80; }"),
    ("http://pool", "upstream pool { server 127.0.0.1:80;"
                    "server 192.0.2.1:80 backup; }"),
    ("http://pool", "upstream pool { server [2001:db8::1]:80; }"),
    ("http://pool", "upstream pool { server [::2]:80; }"),
    # what a mapped address reaches is not looked into
    ("http://pool", "upstream pool { server [::ffff:127.0.0.1]:80; }"),
    ("http://pool", "upstream pool { server unix:/tmp/x; server [::1]:80;"
                    "server [fe80::1]:80; }"),
    pytest.param("http://pool", "resolver 127.0.0.1; upstream pool {"
                 "zone p 64k; server localhost:80 resolve; }",
                 marks=pytest.mark.skipif(
                     version() < (1, 27, 3),
                     reason="servers have no \"resolve\"")),
])
def test_clear_text_is_for_this_machine_only(nginx, emulator, key_file,
                                             target, http):
    tested = nginx(conf(target=target, http=http), start=False).test()
    assert tested.returncode == 1
    name = target.split()[0].removeprefix("http://").split(":")[0]
    assert re.search(rf'\[emerg\].*"gcs_endpoint" "http://{name}" is not a '
                     r'loopback address: .*use https in .*nginx\.conf:\d+',
                     tested.stderr)


@pytest.mark.parametrize("target, http", [
    ("http://127.0.0.1:8080", ""), ("http://127.1.2.3", ""),
    ("http://localhost:1", ""), ("https://192.0.2.1", ""),
    ("https://192.0.2.1:8443 host=storage.googleapis.com", ""),
    ("http://pool", "upstream pool { server unix:/tmp/x; }"),
    ("http://pool", "upstream pool { server [::1]:80; }"),
    ("http://pool", "upstream pool { server [::1]:80; server unix:/tmp/x;"
                    "server 127.9.9.9:80; }"),
    ("http://POOL", "upstream pool { server 127.0.0.1:1; }"),
    ("https://pool", "upstream pool { server 192.0.2.1:443; }"),
])
def test_good_addresses_are_taken(nginx, emulator, key_file, target, http):
    tested = nginx(conf(target=target, http=http), start=False).test()
    assert tested.returncode == 0, tested.stderr


@pytest.mark.parametrize("value", [
    "storage.googleapis.com", "ftp://a.example", "https://", "http://",
    "https:///", "https://a.example/path", "https://a.example:0",
    "https://a.example:65536", "https://a.example:x", "https://a.example:",
    "https://u@a.example", "https://a.example?x", "https://a.example#x",
    "https://$host", '"https://a b"', "HTTPS//a.example", "https://ä.example",
])
def test_bad_addresses_are_told_with_the_remedy(nginx, emulator, key_file,
                                                value):
    tested = nginx(conf(target=value), start=False).test()
    assert tested.returncode == 1
    plain = re.escape(value.strip('"'))
    assert re.search(rf'\[emerg\].*invalid value "{plain}" in "gcs_endpoint" '
                     r'directive; it must be "https://NAME\[:PORT\]".*'
                     r'nginx\.conf:\d+', tested.stderr), tested.stderr


@pytest.mark.parametrize("value", [
    "host=", "host=a/b", "host=a:0", "host=a:65536", "host=a:x", "host=a:",
    "host=$host", "name=a", "a.example",
])
def test_bad_host_parameters_are_told(nginx, emulator, key_file, value):
    tested = nginx(conf(target="https://127.0.0.1 " + value),
                   start=False).test()
    assert tested.returncode == 1
    assert re.search(rf'\[emerg\].*"{re.escape(value)}".*nginx\.conf:\d+',
                     tested.stderr), tested.stderr
    assert "gcs_endpoint" in tested.stderr


@pytest.mark.parametrize("line, words", [
    ("gcs_endpoint https://127.0.0.1; gcs_endpoint https://127.0.0.1;",
     '"gcs_endpoint" directive is duplicate'),
    ("gcs_keepalive 0;", '"gcs_keepalive"|value must be'),
    ("gcs_keepalive x;", '"gcs_keepalive"|invalid number'),
    ("gcs_ssl_verify maybe;", '"maybe" in "gcs_ssl_verify" directive'),
])
def test_other_mistakes_are_told(nginx, emulator, key_file, line, words):
    tested = nginx(conf(line, target=""), start=False).test()
    assert tested.returncode == 1
    assert re.search(words + r".*nginx\.conf:\d+", tested.stderr)


def test_a_name_that_does_not_resolve_is_told_at_start(nginx, emulator,
                                                       key_file):
    # too long a label: no name server is asked
    name = "x" * 64 + ".invalid"
    tested = nginx(conf(target="https://" + name), start=False).test()
    assert tested.returncode == 1
    assert re.search(rf'\[emerg\].*host not found.*"{name}" of '
                     r'"gcs_endpoint".* at start.*nginx\.conf:\d+',
                     tested.stderr), tested.stderr


def test_only_endpoints_in_use_are_resolved(nginx, emulator, key_file):
    name = "x" * 64 + ".invalid"
    tested = nginx(conf(http=f"gcs_endpoint https://{name};"),
                   start=False).test()
    assert tested.returncode == 0, tested.stderr


# connections



@pytest.mark.parametrize("target, http", [
    ("%%EMULATOR%%", ""), (TLS, TRUST),
    ("http://pool host=127.0.0.1",
     "upstream pool { server 127.0.0.1:%%EMU%%; keepalive 4; }"),
    ("https://pool host=storage.googleapis.com",
     TRUST + "upstream pool { server 127.0.0.1:%%EMUS%%; keepalive 4; }"),
])
def test_twenty_requests_use_one_connection(serve, emulator, key_file, a_txt,
                                            target, http):
    emulator.put_object("test-bucket", "big", size=3_000_000)
    server = serve(conf(target=target, http=http), EMU=emulator.http_port,
                   EMUS=emulator.https_port)
    etag = {"If-None-Match": a_txt["etag"]}
    for number in range(20):
        kind = number % 5
        response = (server.get("/m/a.txt") if kind == 0 else
                    server.get("/m/none") if kind == 1 else
                    server.head("/m/a.txt") if kind == 2 else
                    server.get("/m/a.txt", etag) if kind == 3 else
                    server.get("/m/big", {"Range": "bytes=9-999999"}))
        assert response.status == (200, 404, 200, 304, 206)[kind]
    assert server.get("/m/a.txt", {"Range": "bytes=99-"}).status == 416
    assert server.head("/m/none").status == 404
    assert len(emulator.requests("storage")) == 22
    assert emulator.connections()["storage"] == 1


def test_a_server_that_is_asked_by_the_user_too_is_not_disturbed(
        serve, emulator, key_file, a_txt):
    """Our wrapper around a user's upstream is for our requests only."""
    emulator.create_bucket("open", public=True)
    emulator.put_object("open", "a.txt", b"public")
    server = serve(conf(
        target="http://pool host=127.0.0.1",
        http="upstream pool { server 127.0.0.1:%%EMU%%; keepalive 4; }",
        server="""location /by-hand/ { proxy_pass http://pool/open/;
                                       proxy_set_header Host 127.0.0.1; }"""),
        EMU=emulator.http_port)
    assert server.get("/by-hand/a.txt").body == b"public"
    assert server.get("/m/a.txt").body == BODY
    assert b"NoSuchKey" in server.get("/by-hand/none").body
    assert b"NoSuchKey" not in server.get("/m/none").body


def test_gcs_keepalive_limits_what_is_kept(serve, emulator, key_file, a_txt):
    server = serve(conf("gcs_keepalive 2;"))
    emulator.fault(kind="storage", stall_after=1, stall_seconds=0.3,
                   count=None)
    before = emulator.open_connections()
    clients = [server.connect() for _ in range(6)]
    for client in clients:
        client.send(b"GET /m/a.txt HTTP/1.1\r\nHost: a\r\n\r\n")
    for client in clients:
        assert client.response().body == BODY
    assert emulator.connections()["storage"] == 6
    wait_until(lambda: emulator.open_connections() - before <= 2)
    assert emulator.open_connections() - before == 2


def test_a_kept_connection_that_has_died_is_replaced(serve, emulator,
                                                     key_file, a_txt):
    server = serve(conf())
    assert server.get("/m/a.txt").body == BODY
    emulator.close_connections()
    assert server.get("/m/a.txt").body == BODY
    emulator.fault(kind="storage", silent_close=True)
    for _ in range(3):
        assert server.get("/m/a.txt").body == BODY


ISOLATED = [                               # first works, second must fail
    ("gcs_ssl_verify off;", "gcs_ssl_trusted_certificate %%OTHER%%;"),
    ("gcs_ssl_verify off;", ""),
    (TRUST, "gcs_ssl_trusted_certificate %%OTHER%%;"),
]


@pytest.mark.parametrize("first, second", ISOLATED)
def test_connections_of_another_trust_are_never_used(
        serve, emulator, key_file, a_txt, other_ca, first, second):
    server = serve(conf(first, target=TLS, server=f"""
        location /n/ {{ gcs_pass gs://test-bucket; gcs_endpoint {TLS};
                        {second} }}"""), OTHER=other_ca)
    for _ in range(3):
        assert server.get("/m/a.txt").body == BODY
        assert server.get("/n/a.txt").status == 502
    assert {r["status"] for r in emulator.requests("storage")} == {200}
    assert emulator.connections()["storage"] == 1


@pytest.mark.parametrize("first, second", ISOLATED)
def test_connections_of_another_trust_are_not_used_in_a_users_upstream(
        nginx, emulator, key_file, a_txt, other_ca, first, second):
    """One pool, which nginx shares whatever was verified: to be refused."""
    target = "https://pool host=storage.googleapis.com"
    server = nginx(conf(
        first, target=target,
        http="upstream pool { server 127.0.0.1:%%EMUS%%; keepalive 4; }",
        server=f"""location /n/ {{ gcs_pass gs://test-bucket; {second}
                                   gcs_endpoint {target}; }}"""),
        start=False, OTHER=other_ca, EMUS=emulator.https_port)
    tested = server.test()
    if tested.returncode == 1:
        assert '"pool"' in tested.stderr and "nginx.conf:" in tested.stderr
        return
    server.start().wait_log("token refreshed")
    for _ in range(3):
        assert server.get("/m/a.txt").body == BODY
        assert server.get("/n/a.txt").status == 502


@pytest.mark.parametrize("one, two", [
    ("%%EMULATOR%%", "%%EMULATOR%% host=storage.googleapis.com"),
    ("%%EMULATOR%%", TLS), (TLS, "%%EMULATOR_TLS%%"),
])
def test_endpoints_that_differ_have_connections_of_their_own(
        serve, emulator, key_file, a_txt, one, two):
    server = serve(conf(TRUST, target=one, server=f"""
        location /n/ {{ gcs_pass gs://test-bucket; {TRUST}
                        gcs_endpoint {two}; }}"""))
    for _ in range(3):
        assert server.get("/m/a.txt").body == BODY
        assert server.get("/n/a.txt").body == BODY
    by_host: dict[tuple, set] = {}
    for record in emulator.requests("storage"):
        by_host.setdefault((record["host"], record["tls"]), set()).add(
            record["connection"])
    assert [len(numbers) for numbers in by_host.values()] == [1, 1]
    assert emulator.connections()["storage"] == 2


def test_locations_with_one_endpoint_share_its_connections(
        serve, emulator, key_file, a_txt):
    more = "".join(f"""location /{n}/ {{ gcs_pass gs://test-bucket;
                       gcs_endpoint {TLS}; {TRUST} }}""" for n in range(5))
    server = serve(conf(TRUST, target=TLS, server=more))
    for n in ("m", 0, 1, 2, 3, 4):
        assert server.get(f"/{n}/a.txt").body == BODY
    assert emulator.connections()["storage"] == 1


def test_locations_that_differ_may_share_a_users_upstream(
        serve, emulator, key_file, a_txt):
    """Its connections are its own business, whatever gcs_keepalive says."""
    more = "".join(f"""location /{n}/ {{ gcs_pass gs://test-bucket;
                       gcs_endpoint http://pool host=localhost;
                       gcs_keepalive {n}; }}"""
                   for n in (1, 2, 3))
    server = serve(conf(target="http://pool host=localhost", server=more,
                        http="upstream pool { server %%ADDRESS%%;"
                             " keepalive 2; }"),
                   ADDRESS=emulator.url.removeprefix("http://"))
    for n in ("m", 1, 2, 3, "m"):
        assert server.get(f"/{n}/a.txt").body == BODY
    assert emulator.connections()["storage"] == 1


# many


def many(count: int) -> str:
    return "".join(f"""location /{n}/ {{ gcs_pass gs://test-bucket/{n}/;
        proxy_read_timeout {n + 1}s; }}""" for n in range(count))


def test_two_hundred_locations_start_at_once(serve, emulator, key_file,
                                             bucket):
    for name in ("0/a", "199/a"):
        emulator.put_object(bucket, name, name.encode())
    text = conf(target="", http=f"gcs_endpoint {TLS}; {TRUST}",
                server=many(200))
    start = time.monotonic()
    server = serve(text)
    assert time.monotonic() - start < 2    # a TLS context for each took 5 s
    start = time.monotonic()
    assert server.test().returncode == 0
    assert time.monotonic() - start < 1

    for _ in range(2):
        for name in ("0/a", "199/a"):
            assert server.get("/" + name).body == name.encode()
        server.reload(old_gone=True)
    if not SANITIZE:
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) < 60_000

"""A listing of many pages: their memory, and how they end.

Each page but the first is a subrequest with a pool of its own, which goes
before the listing does.  So clients leave here at every point of it, by
HTTP/1.1 and HTTP/2; what nginx then uses that is gone shows under ASan and,
for nginx's own code, under valgrind.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import time

import pytest

from harness.client import Connection, Truncated
from harness.nginx import version

CONF = """
    gcs_credentials reader { file %%KEY%%; }
    gcs_auth reader;
    gcs_endpoint %%EMULATOR%%;
"""
PAGES = 12


@pytest.fixture
def expected(emulator, bucket):
    names = [f"base/{n:06d}" for n in range(10 * PAGES)]
    for name in names:
        emulator.put_object(bucket, name, b"x")
    emulator.configure(list_page=10)
    return names


@pytest.fixture
def serve(nginx, emulator, key_file):
    def make(inside="", *, listen="", server="", http="", **kw):
        return nginx(CONF + http + f"""
            server {{
                listen 127.0.0.1:%%PORT%%{listen};
                {server}
                location /files/ {{
                    gcs_pass gs://test-bucket/base/;
                    gcs_autoindex json; {inside}
                }}
            }}""", **kw)
    return make


def names(body: bytes) -> list[str]:
    return [entry["name"] for entry in json.loads(body)
            if entry["type"] == "object"]


def workers(server) -> set[int]:
    return set(server.children())


# a client leaves

def test_a_client_that_leaves_at_any_point_takes_the_pages_with_it(
        serve, emulator, expected):
    server = serve()
    before = workers(server)
    for pages in range(PAGES + 1):
        if pages < PAGES:
            emulator.fault(kind="storage", skip=pages, delay=0.2)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /files/ HTTP/1.1\r\nHost: a\r\n\r\n")
            got = b""
            while got.count(b'"type"') < 10 * pages:
                got += client.recv(65536)
        time.sleep(0.02)
    time.sleep(0.3)
    assert names(server.get("/files/").body) == expected
    assert workers(server) == before


@pytest.mark.parametrize("fault", [
    {"status": 503}, {"status": 429, "retry_after": 1}, {"status": 401},
    {"hang": True}, {"stall_after": 100}, {"rate": 200.0}])
def test_a_client_leaves_while_a_page_waits(serve, emulator, expected, fault):
    server = serve()
    before = workers(server)
    if fault.get("status") == 401:
        emulator.fault(kind="token", skip=1, count=None, delay=0.5)
    for pages in (1, 2, 5):
        emulator.fault(kind="storage", skip=pages, **fault)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /files/ HTTP/1.1\r\nHost: a\r\n\r\n")
            got = b""
            while got.count(b'"type"') < 10 * pages:
                got += client.recv(65536)
            time.sleep(0.1)
        time.sleep(0.1)
        emulator.clear_faults("storage")
    time.sleep(0.7)
    emulator.clear_faults()
    assert names(server.get("/files/").body) == expected
    assert workers(server) == before


def test_the_origin_that_hangs_in_the_midst_is_left(serve, emulator, expected):
    server = serve("proxy_read_timeout 300ms;")
    for pages in (1, 4):
        emulator.fault(kind="storage", skip=pages, hang=True, count=None)
        with pytest.raises(Truncated) as caught:
            server.get("/files/")
        assert caught.value.response.body.count(b'"type"') == 10 * pages
        emulator.clear_faults()
        server.wait_log("timed out")
    assert names(server.get("/files/").body) == expected


def test_a_post_action_after_a_client_has_left(serve, emulator, expected):
    server = serve("post_action /after;", server="""
        location = /after { return 204; }
    """)
    for pages in (0, 1, 3):
        emulator.fault(kind="storage", skip=pages, delay=0.2)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /files/ HTTP/1.1\r\nHost: a\r\n\r\n")
            got = b""
            while got.count(b'"type"') < 10 * pages:
                got += client.recv(65536)
        time.sleep(0.3)
    assert names(server.get("/files/").body) == expected


def test_a_worker_that_quits_ends_the_listing_first(serve, emulator,
                                                    expected):
    server = serve()
    for page in range(1, PAGES):
        emulator.fault(kind="storage", skip=page, delay=0.02)
    with Connection(server.port) as connection:
        connection.send(b"GET /files/ HTTP/1.1\r\nHost: a\r\n\r\n")
        head = connection.sock.recv(10)
        server.reload()
        data = head
        while not data.endswith(b"0\r\n\r\n"):
            more = connection.sock.recv(65536)
            assert more
            data += more
    assert data.count(b'"type":"object"') == len(expected)


# pages that go on

def test_a_kept_connection_lists_again_and_again(serve, emulator, expected):
    server = serve("gzip on; gzip_types application/json;")
    with Connection(server.port) as connection:
        for n in range(10):
            assert names(connection.get("/files/").body) == expected
            connection.get("/files/", {"Accept-Encoding": "gzip"})
    assert len(emulator.requests("storage")) == 20 * PAGES


def test_many_listings_at_once_do_not_mix(serve, emulator, bucket, expected):
    for n in range(60):
        emulator.put_object(bucket, f"base/sub/{n:06d}", b"x")
    server = serve("keepalive_requests 1000;")
    clients = []
    for n in range(16):
        client = Connection(server.port)
        target = ("/files/", "/files/sub/")[n % 2]
        client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        clients.append(client)
    for n, client in enumerate(clients):
        found = names(client.response().body)
        assert found == ([f"base/sub/{i:06d}" for i in range(60)] if n % 2
                         else expected)
        client.close()


def test_a_page_may_be_empty_and_have_a_successor(serve, emulator, bucket,
                                                  expected):
    server = serve()
    assert names(server.get("/files/?q=000119").body) == expected[-1:]
    assert names(server.get("/files/?q=nothing").body) == []


def test_others_may_put_their_own_around_it(serve, emulator, expected):
    """A module that makes subrequests of its own, before and behind."""
    server = serve("""
        addition_types application/json;
        add_before_body /first; add_after_body /last;
    """, server="""
        location = /first { return 200 "first\n"; }
        location = /last { return 200 "last\n"; }
    """)
    body = server.get("/files/").body
    if not body.startswith(b"first\n"):
        pytest.skip("nginx is built without its addition module")
    assert body.endswith(b"]\nlast\n")
    assert names(body[6:-5]) == expected


def test_a_filter_that_rewrites_pages_holds_none_back_from_a_slow_client(
        serve, emulator, bucket):
    """It keeps each page's last buffers until it is called for that page."""
    expected = [f"base/{n:04d}" + "x" * 900 for n in range(750)]
    for name in expected:
        emulator.put_object(bucket, name, b"x")
    emulator.configure(list_page=250)
    server = serve("""
        sub_filter_types application/json; sub_filter_once off;
        sub_filter '"name"' '"nom"';
    """, listen=" sndbuf=32k")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        client.settimeout(5)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /files/ HTTP/1.0\r\nHost: a\r\n\r\n")
        time.sleep(0.3)
        got = b""
        while more := client.recv(65536):
            got += more
    entries = json.loads(got.partition(b"\r\n\r\n")[2])
    if "name" in entries[0]:
        pytest.skip("nginx is built without its sub module")
    assert [entry["nom"] for entry in entries] == expected


# limits

@pytest.mark.parametrize("accept", ["application/json", "application/jsonl"])
def test_the_operator_limits_how_often_gcs_is_asked(serve, emulator, expected,
                                                    accept):
    server = serve("gcs_autoindex_requests 3;")
    found, query, rounds = [], "", 0
    while True:
        response = server.get("/files/" + query, {"Accept": accept})
        entries = response.json() if accept == "application/json" \
            else [json.loads(line) for line in response.text.splitlines()]
        rounds += 1
        last = entries.pop()
        found += [entry["name"] for entry in entries]
        if last["type"] != "next":
            found.append(last["name"])
            break
        query = "?token=" + last["token"]
    assert found == expected
    assert rounds == PAGES // 3
    assert len(emulator.requests("storage")) == PAGES


def test_the_operator_limits_how_long_it_takes(serve, emulator, expected):
    server = serve("gcs_autoindex_timeout 300ms;")
    for page in range(PAGES):
        emulator.fault(kind="storage", skip=page, delay=0.1)
    entries = server.get("/files/").json()
    assert entries[-1]["type"] == "next"
    assert 10 < len(entries) < 60
    emulator.clear_faults()
    rest = server.get("/files/?token=" + entries.pop()["token"]).json()
    assert [entry["name"] for entry in entries + rest] == expected


@pytest.mark.parametrize("directive", ["gcs_autoindex_requests 0;",
                                       "gcs_autoindex_timeout 0;"])
def test_zero_is_no_limit(serve, emulator, expected, directive):
    assert names(serve(directive).get("/files/").body) == expected


def test_a_clients_token_that_gcs_refuses_is_the_clients_fault(
        serve, emulator, expected):
    server = serve()
    assert server.get("/files/?token=a").status == 400
    server.wait_log("Invalid pageToken")
    assert " [info] " in next(line for line in server.log().splitlines()
                              if "Invalid pageToken" in line)
    emulator.fault(kind="storage", status=400)
    assert server.get("/files/").status == 502


# HTTP/2

def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(
        ">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


class Http2:
    """A client of one connection, with a window that it opens by hand."""

    def __init__(self, port: int, window: int = 65535) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(
            4, 0, 0, struct.pack(">HI", 4, window)))
        self.buffer = b""

    def get(self, stream: int, path: bytes) -> None:
        self.sock.sendall(frame(1, 0x5, stream, b"".join([
            literal(b":method", b"GET"), literal(b":scheme", b"http"),
            literal(b":path", path), literal(b":authority", b"a")])))

    def reset(self, stream: int) -> None:
        self.sock.sendall(frame(3, 0, stream, struct.pack(">I", 8)))

    def open(self, stream: int, size: int) -> None:
        self.sock.sendall(frame(8, 0, stream, struct.pack(">I", size)))

    def read(self) -> tuple[int, int, int, bytes]:
        while True:
            size = int.from_bytes(b"\0" + self.buffer[:3], "big") \
                if len(self.buffer) >= 9 else None
            if size is not None and len(self.buffer) >= 9 + size:
                kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
                payload = self.buffer[9:9 + size]
                self.buffer = self.buffer[9 + size:]
                if kind == 4 and not flags & 1:
                    self.sock.sendall(frame(4, 1, 0, b""))
                return kind, flags, stream, payload
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("closed")
            self.buffer += data

    def body(self, stream: int, step: int = 0, enough: int = 1 << 30) -> bytes:
        """What arrives, until its end or enough; each step opened anew."""
        body = b""
        while len(body) < enough:
            kind, flags, of, payload = self.read()
            assert kind not in (3, 7), "reset, or gone"
            if kind == 0 and payload and step:
                self.open(0, len(payload))
            if kind == 0 and of == stream:
                body += payload
                if flags & 1:
                    return body
                if step and payload:
                    self.open(stream, len(payload))
        return body


@pytest.fixture
def by_http2(serve):
    def make(*args, **kw):
        old = version() < (1, 25, 1)
        return serve(*args, listen=" http2" if old else "",
                     server="" if old else "http2 on;", **kw)
    return make


def test_http2_gets_all_pages(by_http2, emulator, expected):
    server = by_http2()
    for _ in range(3):
        found = subprocess.run(
            ["curl", "-sS", "--http2-prior-knowledge", server.url("/files/")],
            capture_output=True, check=True).stdout
        assert names(found) == expected


@pytest.mark.parametrize("window", [100, 1000, 5000])
def test_a_small_window_holds_the_pages_back_and_loses_none(
        by_http2, emulator, expected, window):
    client = Http2(by_http2().port, window)
    client.get(1, b"/files/")
    assert names(client.body(1, window)) == expected


def test_a_stream_that_is_reset_takes_the_pages_with_it(by_http2, emulator,
                                                        expected):
    server = by_http2()
    before = workers(server)
    client = Http2(server.port, 1 << 20)
    stream = 1
    for pages in range(PAGES):
        for wait in (0, 0.1):
            emulator.fault(kind="storage", skip=pages, delay=0.2)
            client.get(stream, b"/files/")
            if pages:
                client.body(stream, 1, 1500 * (pages - 1) + 1)
            time.sleep(wait)
            client.reset(stream)
            stream += 2
            time.sleep(0.25)
            emulator.clear_faults()
    client.get(stream, b"/files/")
    assert names(client.body(stream, 1)) == expected
    assert workers(server) == before


def test_a_stalled_stream_is_reset_between_pages(by_http2, emulator, expected):
    server = by_http2()
    client = Http2(server.port, 3000)
    for stream in range(1, 41, 2):
        client.get(stream, b"/files/")
        client.body(stream, 0, 3000)
        client.open(0, 3000)
        client.reset(stream)
    client.sock.close()
    time.sleep(0.1)
    client = Http2(server.port, 1 << 20)
    client.get(1, b"/files/")
    assert names(client.body(1, 1)) == expected

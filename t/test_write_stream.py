"""Bodies of writes stream: in constant memory, through no file, while they
arrive; and nothing of them is lost or sent twice."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.nginx import VALGRIND, version, wait_until
from harness.sink import BLOCK, Sink

HTTP = """
    gcs_credentials writer { file %%KEY%%; }
    gcs_auth writer;
    gcs_endpoint %%STORAGE%%;
    add_header X-Error $gcs_error always;
    client_max_body_size 0;
"""
LOCATION = """location / { gcs_pass gs://test-bucket/;
                          gcs_methods GET HEAD PUT DELETE; %s }"""

# 10240 is the promise; a few hundred tell whether something grows
MIB = int(os.environ.get("GCS_STREAM_MIB", "32" if VALGRIND else "300"))


def storage(emulator):
    return emulator.requests("storage")


@pytest.fixture
def front(nginx, emulator, key_file, bucket):
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin"]}))

    def make(more="", *, url=None, http="", token=True, **kw):
        server = nginx(HTTP + http, server=LOCATION % more,
                       STORAGE=url or emulator.url, **kw)
        if token:
            server.wait_log("token refreshed")
        return server
    return make


def resident(server) -> int:
    """KiB of memory that the workers have."""
    text = "".join(Path(f"/proc/{pid}/status").read_text()
                   for pid in server.children())
    return sum(int(line.split()[1]) for line in text.splitlines()
               if line.startswith("VmHWM:"))


def files(server) -> list[Path]:
    """Temporary files, also those that have no name any more."""
    found = [path for name in ("client_temp", "proxy_temp")
             for path in (server.dir / name).rglob("*") if path.is_file()]
    for pid in server.children():
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(fd)
            except FileNotFoundError:
                continue
            if "_temp/" in target:
                found.append(Path(target))
    return found


def send_blocks(sock: socket.socket, count: int, chunked: bool) -> None:
    block = bytes(range(256)) * (BLOCK // 256)
    if chunked:
        block = b"%x\r\n%b\r\n" % (BLOCK, block)
    for _ in range(count):
        sock.sendall(block)
    if chunked:
        sock.sendall(b"0\r\n\r\n")


def head(size: int | None, path: str = "/a") -> bytes:
    how = b"Transfer-Encoding: chunked" if size is None \
        else b"Content-Length: %d" % size
    return b"PUT %b HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % (path.encode(), how)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_large_put_takes_neither_memory_nor_disk(chunked, front):
    with Sink() as sink:
        server = front(url=sink.url)
        assert server.request("PUT", "/warm", {}, b"x" * 200000).status == 200
        before, seen, done = resident(server), [], threading.Event()

        def watch():
            while not done.wait(0.02):
                seen.extend(files(server))

        watcher = threading.Thread(target=watch)
        watcher.start()
        connection = server.connect(timeout=600)
        connection.send(head(None if chunked else MIB * BLOCK))
        send_blocks(connection.sock, MIB, chunked)
        answer = connection.response("PUT")
        done.set()
        watcher.join()
        assert answer.status == 200
        assert answer.get("x-goog-generation") == "1"
        assert sink.puts == [200000, MIB * BLOCK]
        assert seen == []
        grown = resident(server) - before
        print(f"{MIB} MiB up: {grown} KiB more")
        assert grown < (1 << 20 if VALGRIND else 2048)


def test_a_large_get_takes_neither_memory_nor_disk(front):
    with Sink() as sink:
        server = front(url=sink.url)
        assert server.get("/200000").status == 200
        before, seen, got = resident(server), [], 0
        connection = server.connect(timeout=600)
        connection.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
                        % (MIB * BLOCK))
        assert connection.head().status == 200
        got, buffer, turn = len(connection._buffer), bytearray(BLOCK), 0
        while got < MIB * BLOCK:
            number = connection.sock.recv_into(buffer)
            assert number
            got += number
            turn += 1
            if turn % 500 == 0:
                seen += files(server)
        assert seen == []
        grown = resident(server) - before
        print(f"{MIB} MiB down: {grown} KiB more")
        assert grown < (1 << 20 if VALGRIND else 2048)


def test_a_body_goes_on_while_it_arrives(front):
    """GCS gets the first byte before the client has sent the last."""
    with Sink() as sink:
        connection = front(url=sink.url).connect()
        connection.send(head(1000000) + b"x" * 100000)
        wait_until(lambda: sink.heads)
        assert "content-length: 1000000" in sink.heads[0].lower()
        connection.send(b"x" * 900000)
        assert connection.response("PUT").status == 200


def test_proxy_request_buffering_on_is_the_user_s_choice(front):
    for place in ("inner", "outer"):
        directive = "proxy_request_buffering on;"
        with Sink() as sink:
            server = front(directive if place == "inner" else "",
                           http=directive if place == "outer" else "",
                           url=sink.url)
            connection = server.connect()
            connection.send(head(1000000) + b"x" * 900000)
            time.sleep(0.3)
            assert sink.heads == [] and files(server)
            connection.send(b"x" * 100000)
            assert connection.response("PUT").status == 200


def test_a_slow_client_is_waited_for(front, emulator, bucket):
    connection = front("proxy_send_timeout 1s; proxy_read_timeout 1s;") \
        .connect()
    connection.send(head(300000))
    for _ in range(3):
        connection.send(b"x" * 100000)
        time.sleep(1.3)
    assert connection.response("PUT").status == 200
    assert emulator.get_object(bucket, "a")["data"] == b"x" * 300000


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_client_that_stops_stores_nothing(chunked, front, emulator, bucket):
    emulator.put_object(bucket, "a", b"before")
    server = front("client_body_timeout 1s;")
    connection = server.connect()
    connection.send(head(None if chunked else 900000))
    connection.send((b"30d40\r\n" if chunked else b"") + b"x" * 200000)
    assert connection.closed_by_peer(10)
    server.wait_access_log('"PUT /a HTTP/1.1" 408')
    assert emulator.get_object(bucket, "a")["data"] == b"before"
    wait_until(lambda: [r["kind"] for r in emulator.requests()
                        if r["kind"] == "incomplete"])


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_client_that_leaves_stores_nothing(chunked, front, emulator,
                                             bucket):
    emulator.put_object(bucket, "a", b"before")
    server = front()
    connection = server.connect()
    connection.send(head(None if chunked else 900000))
    connection.send((b"30d40\r\n" if chunked else b"") + b"x" * 200000)
    time.sleep(0.2)
    connection.close()
    server.wait_access_log('"PUT /a HTTP/1.1" (499|400)')
    assert emulator.get_object(bucket, "a")["data"] == b"before"
    assert server.request("PUT", "/a", {}, b"after").status == 200


# client_max_body_size

def test_a_body_that_is_too_large_is_413_before_anything(front, emulator):
    server = front("client_max_body_size 1m;")
    connection = server.connect()
    connection.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577"
                    b"\r\nExpect: 100-continue\r\n\r\n")
    answer = connection.response("PUT")
    assert (answer.status, answer.interim) == (413, [])
    assert storage(emulator) == []
    assert server.request("PUT", "/a", {}, b"x" * (1 << 20)).status == 200


def test_chunks_that_become_too_many_are_413_and_stored_nowhere(
        front, emulator, bucket):
    server = front("client_max_body_size 1m;")
    connection = server.connect()
    connection.send(head(None) + b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")
    time.sleep(0.2)
    connection.send(b"10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n")
    assert connection.response("PUT").status == 413
    assert server.get("/a").status == 404


# the token

@pytest.mark.parametrize("cache", [False, True], ids=["plain", "cache"])
@pytest.mark.parametrize("size", [9, 60000, 8 << 20])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_body_waits_unread_for_the_token(chunked, size, cache, front,
                                           emulator, bucket):
    emulator.fault(kind="token", delay=1)
    server = front("proxy_cache z;" if cache else "", token=False, http=""
                   if not cache else
                   "proxy_cache_path %%DIR%%/cache keys_zone=z:1m;")
    body = (b"0123456789" * (size // 10 + 1))[:size]
    connection = server.connect()
    data = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body) if chunked else body
    sender = threading.Thread(target=connection.send, args=(
        head(None if chunked else size) + data,))
    sender.start()
    found = []
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        found += files(server)
        time.sleep(0.05)
    assert found == [] and storage(emulator) == []
    sender.join()
    assert connection.response("PUT").status == 200
    record, = storage(emulator)
    assert record["credential"] == "valid"
    assert emulator.get_object(bucket, "a")["data"] == body


def test_a_client_that_expects_is_asked_when_there_is_a_token(
        front, emulator, bucket):
    emulator.fault(kind="token", delay=1)
    server = front(token=False)
    connection = server.connect()
    connection.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 200000"
                    b"\r\nExpect: 100-continue\r\n\r\n")
    connection.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        connection.sock.recv(1)
    connection.sock.settimeout(10)
    assert connection.head().status == 100
    connection.send(b"x" * 200000)
    assert connection.response("PUT").status == 200
    assert emulator.get_object(bucket, "a")["data"] == b"x" * 200000


@pytest.mark.parametrize("size", [9, 300000])
def test_without_a_token_a_write_is_refused_unsent(size, front, emulator,
                                                   bucket):
    emulator.fault(kind="token", status=403, count=None)
    server = front(token=False)
    assert server.request("PUT", "/a", {}, b"x" * size).status == 502
    assert storage(emulator) == []
    emulator.clear_faults()
    emulator.fault(kind="token", hang=True, count=None)
    other = front("gcs_token_timeout 1s;", token=False)
    other.graceful = False
    assert other.request("PUT", "/a", {}, b"x" * size).status == 504
    assert storage(emulator) == []


def test_a_streamed_body_is_sent_once_and_the_token_is_renewed(
        front, emulator, bucket):
    """401 in the middle: this one is lost, the next one is not."""
    server = front()
    emulator.revoke_tokens()
    body = b"x" * 300000
    answer = server.request("PUT", "/a", {}, body)
    assert (answer.status, answer.get("X-Error")) == (
        502, "AuthenticationRequired")
    assert len(storage(emulator)) == 1
    assert server.request("PUT", "/a", {}, body).status == 200
    assert [r["status"] for r in storage(emulator)] == [401, 200]


def test_a_small_body_survives_a_401(front, emulator, bucket):
    server = front()
    emulator.revoke_tokens()
    connection = server.connect()
    connection.send(head(60000) + b"x" * 30000)
    time.sleep(0.2)
    connection.send(b"x" * 30000)
    assert connection.response("PUT").status == 200
    assert [r["status"] for r in storage(emulator)] == [401, 200]
    assert emulator.get_object(bucket, "a")["data"] == b"x" * 60000


def test_client_body_buffer_size_says_what_is_small(front, emulator):
    server = front("client_body_buffer_size 100k;")
    emulator.revoke_tokens()
    assert server.request("PUT", "/a", {}, b"x" * 100000).status == 200
    emulator.revoke_tokens()
    assert server.request("PUT", "/a", {}, b"x" * 110000).status == 502


def test_auth_request_decides_before_the_body_is_read(nginx, emulator,
                                                      key_file, bucket):
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin"]}))
    server = nginx(HTTP + """
        server { listen 127.0.0.1:%%PORT_APP%%;
                 location / { if ($http_x_who = me) { return 204; }
                              return 403; } }
    """, server=LOCATION % "auth_request /check;" + """
        location = /check { internal;
                            proxy_pass http://127.0.0.1:%%PORT_APP%%;
                            proxy_pass_request_body off;
                            proxy_set_header Content-Length ""; }
    """, STORAGE=emulator.url)
    for size in (9, 300000):
        body = b"x" * size
        assert server.request("PUT", "/a", {}, body).status == 403
        assert storage(emulator) == []
        assert server.request("PUT", "/a", {"X-Who": "me"}, body).status \
            == 200
        assert emulator.get_object(bucket, "a")["data"] == body
        assert files(server) == []
        emulator.reset_requests()


# answers before the end

class Early:
    """A server that answers when it has seen a request's head."""

    def __init__(self, answer: bytes):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.answer = answer
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _run(self) -> None:
        while True:
            peer, _ = self._socket.accept()
            data = b""
            while b"\r\n\r\n" not in data:
                data += peer.recv(65536)
            peer.sendall(self.answer)
            peer.settimeout(3)
            try:
                while peer.recv(65536):
                    pass
            except OSError:
                pass
            peer.close()


def test_a_refusal_before_the_end_of_the_body_is_told(front):
    body = (b"<Error><Code>PreconditionFailed</Code><Message>no</Message>"
            b"</Error>")
    early = Early(b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: %d"
                  b"\r\n\r\n%b" % (len(body), body))
    server = front(url=early.url)
    connection = server.connect()
    connection.send(head(50 << 20) + b"x" * (1 << 20))
    answer = connection.response("PUT")
    assert (answer.status, answer.get("X-Error")) == (
        412, "PreconditionFailed")


def test_two_puts_on_one_connection_do_not_mix(front, emulator, bucket):
    connection = front().connect()
    first, second = b"a" * 200000, b"b" * 150000
    connection.send(head(len(first), "/1") + first
                    + head(len(second), "/2") + second
                    + b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert connection.response("PUT").status == 200
    assert connection.response("PUT").status == 200
    assert connection.response().body == first
    assert emulator.get_object(bucket, "2")["data"] == second


# HTTP/2 of the client

@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("length", [True, False], ids=["length", "none"])
@pytest.mark.parametrize("wait", [0, 1])
@pytest.mark.parametrize("size", [0, 9, 60000, 5 << 20])
def test_http2_clients_write_too(size, wait, length, nginx, emulator,
                                 key_file, bucket, tmp_path):
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin"]}))
    if wait:
        emulator.fault(kind="token", delay=wait)
    new = version() >= (1, 25, 1)
    server = nginx(HTTP + """
        server { listen 127.0.0.1:%%PORT%% """ + ("; http2 on;" if new
                                                 else "http2;")
                   + LOCATION % "" + "}", STORAGE=emulator.url)
    if not wait:
        server.wait_log("token refreshed")
    body = (b"0123456789" * (size // 10 + 1))[:size]
    (tmp_path / "body").write_bytes(body)
    source = str(tmp_path / "body") if length else "-"
    done = subprocess.run(
        ["curl", "-sS", "--http2-prior-knowledge", "-w", "%{http_code}",
         "-T", source, server.url("/a")], input=body, timeout=30,
        capture_output=True, check=True)
    assert done.stdout == b"200", done
    assert emulator.get_object(bucket, "a")["data"] == body
    assert len(storage(emulator)) == 1
    assert files(server) == []

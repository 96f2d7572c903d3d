"""Faults on the way to GCS that a correct server never makes: each has one
defined answer, whatever was on hold is let go, and nothing is left behind."""

from __future__ import annotations

import multiprocessing
import os
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from harness import Connection, Nginx, Truncated, load
from harness.nginx import version, wait_until

BODY = b"0123456789"
SANITIZE = os.environ.get("GCS_SANITIZE", "0") not in ("", "0")
REQUESTS = int(os.environ.get("GCS_FAULT_REQUESTS", 20000))


# an origin that says what it is told, byte for byte


@dataclass
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int                 # the number of it

    @property
    def name(self) -> str:
        return self.target.rpartition("/")[2]


class Step:
    """What an origin does beside sending bytes and pausing for seconds."""

    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return self._name


CLOSE = Step("close")
RESET = Step("reset")
READ_BODY = Step("read the body")

Steps = list[Any]       # bytes, seconds, a Step, or something to call


class Origin:
    """Answers a request with the steps that `answer` gives.

    A thread per connection.  The body of a request is read before the answer,
    unless the steps have READ_BODY: then it is read there.
    """

    def __init__(self, answer: Callable[[Asked], Steps],
                 path: Path | None = None):
        self.answer = answer
        self.asked: list[Asked] = []
        self.open: set[socket.socket] = set()
        self.errors: list[BaseException] = []
        self._count = 0
        if path is None:
            self.listener = socket.create_server(("127.0.0.1", 0),
                                                 backlog=1024)
            self.url = f"http://127.0.0.1:{self.port}"
        else:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(path))
            self.listener.listen(1024)
            self.url = f"unix:{path}"

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]

    def __enter__(self) -> "Origin":
        threading.Thread(target=self.run, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()
        for sock in list(self.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        assert self.errors == []

    def end(self) -> None:
        """Take no more connections."""
        try:
            # close() alone does not wake accept()
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self._count += 1
            self.open.add(sock)
            threading.Thread(target=self._serve, args=(sock, self._count),
                             daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._requests(sock, number)
        except OSError:
            pass
        except BaseException as exc:            # shown by the test's end
            self.errors.append(exc)
        finally:
            sock.close()
            self.open.discard(sock)

    def _requests(self, sock: socket.socket, number: int) -> None:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = sock.recv(65536)
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            line, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = line.split(" ")
            headers = {name.lower(): value.strip() for name, _, value
                       in (text.partition(":") for text in lines)}
            asked = Asked(method, target, headers, b"", number)
            length = int(headers.get("content-length", 0))
            steps = self.answer(asked)

            def read_body() -> None:
                nonlocal data
                while len(data) < length:
                    more = sock.recv(65536)
                    if not more:
                        raise ConnectionError
                    data += more
                asked.body, data = data[:length], data[length:]

            if READ_BODY not in steps:
                read_body()
            self.asked.append(asked)
            for step in steps:
                if isinstance(step, bytes):
                    sock.sendall(step)
                elif step is READ_BODY:
                    read_body()
                elif step is CLOSE:
                    return
                elif step is RESET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                    struct.pack("ii", 1, 0))
                    return
                elif isinstance(step, (int, float)):
                    time.sleep(step)
                else:
                    step()


def answer(status: int, body: bytes = b"", *headers: str,
           length: object = None, version: str = "1.1") -> bytes:
    lines = [f"HTTP/{version} {status} X", *headers]
    if length != "":
        lines.append(f"Content-Length: "
                     f"{len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


OK = answer(200, BODY, "Content-Type: text/plain", 'ETag: "1"')
BUSY = answer(503, b"<Error><Code>ServiceUnavailable</Code></Error>")
DENIED = answer(401, b"<Error><Code>AuthenticationRequired</Code></Error>")


def one_after_the_other(*answers: Steps) -> Callable[[Asked], Steps]:
    """The n-th request gets the n-th answer, the last one also the rest."""
    numbers = iter(range(1 << 30))
    lock = threading.Lock()

    def choose(asked: Asked) -> Steps:
        with lock:
            return answers[min(next(numbers), len(answers) - 1)]

    return choose


HTTP = """
    gcs_credentials reader { file %%KEY%%; }
    gcs_auth reader;
    gcs_methods GET HEAD PUT DELETE;
    log_format fault "$status up=$upstream_status error=$gcs_error";
    access_log %%DIR%%/fault.log fault;
"""

LOCATION = """
    location = /ping { return 200 pong; }
    location = /status { stub_status; }
    location /media/ {
        gcs_pass gs://test-bucket/;
        gcs_endpoint @endpoint@;
        add_header X-Error $gcs_error always;
        add_header X-Status "$upstream_status" always;
        @location@
    }
"""

ANONYMOUS = "gcs_auth anonymous;"


@pytest.fixture
def front(nginx, emulator, key_file) -> Callable[..., Nginx]:
    """nginx before one origin, or more: then they are a user's upstream."""

    def make(*origins: Origin, location: str = "", http: str = "",
             upstream: str = "keepalive 8;", wait: bool = True,
             **kw: object) -> Nginx:
        endpoint = origins[0].url
        if len(origins) > 1 or endpoint.startswith("unix:"):
            servers = "".join(
                f"server {o.url.removeprefix('http://')};" for o in origins)
            http += f"upstream pool {{ {servers} {upstream} }}"
            endpoint = "http://pool"
        server = LOCATION.replace("@endpoint@", endpoint).replace(
            "@location@", location)
        made = nginx(HTTP + http, server=server, **kw)
        if wait and "anonymous" not in location:
            made.wait_log("token refreshed")
        return made

    return make


def upstream_status(response) -> list[int]:
    return [int(n) for n in re.findall(r"\d+",
                                       response.get("X-Status") or "")]


# a hold


def test_an_endpoint_that_goes_during_a_hold_is_502(front, tmp_path):
    """connect() to a local socket fails at once, not from an event."""
    origin = Origin(lambda asked: [origin.end, close], tmp_path / "socket")
    close = BUSY.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    with origin:
        # no log: going round in circles would fill the disk
        server = front(origin, location=ANONYMOUS, log_level="crit")
        response = server.get("/media/a", timeout=5)
    assert response.status == 502
    assert response.get("X-Error") == "upstream_error"
    assert upstream_status(response) == [503, 502]


@pytest.mark.parametrize("status", [503, 401])
def test_bytes_that_come_during_a_hold_are_no_answer(front, emulator, status):
    """A server that says farewell: the connection is not used again."""
    evil = answer(200, b"EVIL")
    emulator.fault(kind="token", delay=0.5, skip=1)
    choose = one_after_the_other(
        [BUSY if status == 503 else DENIED, 0.03, evil], [OK])
    with Origin(choose) as origin:
        server = front(origin, location="proxy_next_upstream_tries 2;")
        response = server.get("/media/a")
    assert (response.status, response.body) == (200, BODY)
    assert [asked.connection for asked in origin.asked] == [1, 2]


@pytest.mark.parametrize("close", [[CLOSE], [0.05, CLOSE], [0.05, RESET]],
                         ids=repr)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_connection_that_closes_during_a_hold_is_not_used(
        front, emulator, method, close):
    """Nor does it cost the only try that a write has."""
    emulator.fault(kind="token", delay=0.4, skip=1)
    with Origin(one_after_the_other([DENIED, *close], [OK])) as origin:
        server = front(origin, location="proxy_next_upstream off;")
        body = b"new" if method == "PUT" else None
        response = server.request(method, "/media/a", {}, body)
        assert response.status == 200
    assert [asked.connection for asked in origin.asked] == [1, 2]
    assert [asked.body for asked in origin.asked] == [body or b""] * 2
    assert upstream_status(response) == [401, 200]
    assert "[error]" not in server.log()


def test_the_time_for_retries_runs_on_after_the_first(front):
    with Origin(lambda asked: [BUSY]) as origin:
        server = front(origin,
                       location="proxy_next_upstream_timeout 305ms;")
        for _ in range(5):
            del origin.asked[:]
            start = time.monotonic()
            assert server.get("/media/a").status == 503
            assert time.monotonic() - start < 0.4
            # a second pause is 200 ms at least
            assert len(origin.asked) == 2


def test_a_read_timeout_shorter_than_the_pause_is_504(front):
    busy = BUSY.replace(b"\r\n", b"\r\nRetry-After: 2\r\n", 1)
    with Origin(lambda asked: [busy]) as origin:
        server = front(origin, location="proxy_read_timeout 300ms;")
        connection = server.connect()
        for number in (1, 2, 3):
            start = time.monotonic()
            response = connection.get("/media/a")
            assert response.status == 504
            assert response.get("X-Error") in ("upstream_timeout",
                                               "ServiceUnavailable")
            assert 0.25 < time.monotonic() - start < 1.5
            assert len(origin.asked) == number
        assert connection.get("/ping").body == b"pong"
        wait_until(lambda: not origin.open)


def test_a_hold_that_a_timeout_ended_does_not_come_back(front, emulator):
    """The token that was awaited comes while the next server is asked."""
    emulator.fault(kind="token", delay=0.6, skip=1)
    choose = one_after_the_other([DENIED], [0.35, OK])
    with Origin(choose) as one, Origin(choose) as two:
        server = front(one, two, location="proxy_read_timeout 400ms;")
        response = server.get("/media/a")
        assert (response.status, response.body) == (200, BODY)
        assert len(one.asked) + len(two.asked) == 2
        assert upstream_status(response)[-1] == 200


@pytest.mark.parametrize("dead_first", [True, False])
def test_a_fresh_token_is_used_with_a_dead_server_beside(front, emulator,
                                                         dead_first):
    dead = Origin(lambda asked: [])
    dead.end()
    choose = one_after_the_other([OK], [DENIED], [OK])
    emulator.fault(kind="token", delay=0.2, skip=1)
    with Origin(choose) as origin:
        dead_url, dead.url = dead.url if False else "", ""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))     # and does not listen
            dead.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            both = [dead, origin] if dead_first else [origin, dead]
            server = front(*both)
            for wanted in ([200], [401, 200]):
                response = server.get("/media/a")
                assert (response.status, response.body) == (200, BODY)
                seen = [n for n in upstream_status(response) if n != 502]
                assert seen == wanted
    assert len(origin.asked) == 3
    assert emulator.counts()["token"] == 2


def test_a_missing_object_is_asked_for_once_after_a_fresh_token(front,
                                                                emulator):
    """What makes nginx go on to a next server after 401 must not do so
    after a real 404."""
    missing = answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
    choose = one_after_the_other([DENIED], [missing])
    with Origin(choose) as one, Origin(choose) as two:
        response = front(one, two).get("/media/a")
        assert response.status == 404
        assert upstream_status(response) == [401, 404]
        assert len(one.asked) + len(two.asked) == 2


@pytest.mark.parametrize("steps", [[RESET], [CLOSE], [answer(503)],
                                   [answer(429)], [answer(500)]], ids=repr)
def test_a_write_is_not_sent_to_a_second_server(front, steps):
    with Origin(lambda asked: steps) as one, \
            Origin(lambda asked: steps) as two:
        response = front(one, two).request("PUT", "/media/a", {}, b"new")
        assert response.status in (429, 502, 503)
        assert len(one.asked) + len(two.asked) == 1


@pytest.mark.parametrize("size", [3, 20000, 3 << 20])
def test_a_body_is_sent_again_whole_after_a_401(front, emulator, size):
    """From memory, or from the file that nginx has put it into."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    emulator.fault(kind="token", delay=0.2, skip=1)
    with Origin(one_after_the_other([DENIED], [answer(200)])) as origin:
        server = front(origin, location="client_max_body_size 0;"
                                        "proxy_request_buffering on;")
        response = server.request("PUT", "/media/a", {}, body)
    assert response.status == 200
    assert [asked.body == body for asked in origin.asked] == [True, True]
    tokens = [asked.headers["authorization"] for asked in origin.asked]
    assert tokens[0] != tokens[1]


EARLY = {
    # the body is not read before the answer: steps, status
    "401": ([DENIED, READ_BODY], 200),
    "401 and closed": ([DENIED.replace(b"\r\n", b"\r\nConnection: close\r\n",
                                       1), 0.2, CLOSE], 200),
    "403": ([answer(403, b"x"), READ_BODY], 403),
    "403 and closed": ([answer(403, b"x"), 0.2, CLOSE], 403),
    "412": ([answer(412), 0.2, CLOSE], 412),
    "413": ([answer(413, b"x" * 5000), 0.2, CLOSE], 413),
    "503": ([BUSY, 0.2, CLOSE], 503),
    "200": ([answer(200, b"ok"), 0.2, CLOSE], 200),
    "closed": ([CLOSE], 502),
    "reset": ([RESET], 502),
}


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("name", EARLY)
def test_an_answer_before_the_body_is_sent_is_heeded(front, name, buffering):
    steps, status = EARLY[name]
    body = b"b" * (8 << 20)
    if "401" in name and buffering == "off":
        status = 502                # what was streamed is gone
    with Origin(one_after_the_other(steps, [answer(200)])) as origin:
        server = front(origin, location="client_max_body_size 0;"
                                        "proxy_send_timeout 3s;"
                                        "proxy_request_buffering %s;"
                                        % buffering)
        response = server.request("PUT", "/media/a", {}, body, timeout=10)
        assert response.status == status
        if "read the body" not in repr(steps):
            # a write is not repeated on another connection
            wait_until(lambda: not origin.open or "401" in name)
            time.sleep(0.05)
        # a connection with half a request is not used again
        again = server.request("PUT", "/media/b", {}, b"small")
        assert again.status == 200
        assert origin.asked[-1].body == b"small"
        if "401" in name and buffering == "on":
            assert origin.asked[-2].body == body
        if "read the body" not in repr(steps):
            assert len({asked.connection for asked in origin.asked}) > 1


def at_first(denied: bytes) -> Callable[[Asked], Steps]:
    """The first token is denied, or, if it is not a 401, the first request
    for each target; the others are told their target."""
    seen: set[str] = set()

    def choose(asked: Asked) -> Steps:
        mark = asked.target
        if denied == DENIED:
            mark = asked.headers["authorization"]
            if not seen:
                seen.add(mark)
            if mark in seen:
                return [denied]
        elif mark not in seen:
            seen.add(mark)
            return [denied]
        return [0.005, answer(200, asked.name.encode(),
                              "Cache-Control: max-age=60")]

    return choose


def begin(server: Nginx, count: int, path: str = "/media/{}") \
        -> list[Connection]:
    connections = []
    for number in range(count):
        connection = server.connect()
        connection.send(f"GET {path.format(number)} HTTP/1.1\r\n"
                        "Host: a\r\nConnection: close\r\n\r\n".encode())
        connections.append(connection)
    return connections


def bodies(connections: list[Connection]) -> list[tuple[int, bytes]]:
    return [(r.status, r.body) for r in
            (connection.response() for connection in connections)]


def hold(emulator, status: int) -> bytes:
    """The answer that holds a request for two seconds: all of them begin
    within that, also on a busy machine."""
    emulator.fault(kind="token", delay=2, skip=1)
    return DENIED if status == 401 \
        else BUSY.replace(b"\r\n", b"\r\nRetry-After: 2\r\n", 1)


def active(server: Nginx) -> int:
    """Connections of clients, without the one that asks."""
    match = re.match(r"Active connections: (\d+) ",
                     server.get("/status").text)
    assert match
    return int(match.group(1)) - 1


def all_on_hold(server: Nginx, origin: Origin, count: int) -> None:
    """Some may wait before GCS is asked, for the token of the others."""
    wait_until(lambda: origin.asked and active(server) == count)
    time.sleep(0.1)


HOLDS = pytest.mark.parametrize("status", [503, 401])


@HOLDS
@pytest.mark.parametrize("keep", [1, 64])
def test_many_holds_at_once_get_each_their_own_answer(front, emulator,
                                                      status, keep):
    with Origin(at_first(hold(emulator, status))) as origin:
        server = front(origin, location=f"gcs_keepalive {keep};")
        waiting = begin(server, 60)
        assert bodies(waiting) == [(200, str(i).encode()) for i in range(60)]
        # who comes when the token is known to be bad does not try it
        assert len(origin.asked) == 120 if status == 503 \
            else 61 <= len(origin.asked) <= 120
        wait_until(lambda: len(origin.open) <= keep)
        assert server.get("/media/0").body == b"0"
        assert emulator.counts()["token"] == (2 if status == 401 else 1)


@HOLDS
@pytest.mark.parametrize("signal", ["QUIT", "HUP"])
def test_requests_on_hold_outlive_their_worker(front, emulator, status,
                                               signal):
    with Origin(at_first(hold(emulator, status))) as origin:
        server = front(origin, workers=2)
        old = set(server.children())
        waiting = begin(server, 30)
        all_on_hold(server, origin, 30)
        server.signal(signal)
        server.wait_log("gracefully shutting down", count=2)
        assert bodies(waiting) == [(200, str(i).encode()) for i in range(30)]
        if signal == "QUIT":
            wait_until(lambda: not server.running, 3)
        else:
            wait_until(lambda: not old & set(server.children()), 3)
            assert server.get("/media/0").body == b"0"


@HOLDS
def test_holds_do_not_disturb_a_fast_end(front, emulator, status):
    with Origin(at_first(hold(emulator, status))) as origin:
        server = front(origin, workers=2)
        begin(server, 30)
        all_on_hold(server, origin, 30)
        start = time.monotonic()
        server.stop(3)
        assert time.monotonic() - start < 0.8


@pytest.mark.parametrize("status", [503, 401])
@pytest.mark.parametrize("location", ["", "slice 4; proxy_cache one;",
                                      "proxy_cache one; proxy_cache_lock on;",
                                      "proxy_ignore_client_abort on;"])
def test_clients_that_leave_around_the_end_of_a_hold_leave_nothing(
        front, emulator, status, location):
    """Before it, at it, after it: a hundred times each."""
    emulator.fault(kind="token", delay=0.2, skip=1)
    denied = DENIED if status == 401 else BUSY
    with Origin(at_first(denied)) as origin:
        server = front(origin, location="gcs_keepalive 8;" + location,
                       http="proxy_cache_path %%DIR%%/c keys_zone=one:1m;")
        worker = the_worker(server)
        before = descriptors(worker)
        target = "/media/one" if "lock" in location else "/media/{}"
        waiting = begin(server, 300, target)
        wait_until(lambda: origin.asked)
        # pauses: 100 to 300 ms after their answers; the token: 200 ms
        for number, connection in enumerate(waiting):
            connection.close()
            if number % 3 == 0:
                time.sleep(0.001)
        response = server.get(target.format(0), timeout=10)
        assert response.status == 200
        wait_until(lambda: active(server) == 0)
        wait_until(lambda: len(origin.open) <= 8)
        # libcurl keeps some, too
        wait_until(lambda: descriptors(worker) <= before + 8 + 3)
        assert the_worker(server) == worker


def test_a_lock_of_the_cache_is_let_go_with_who_waits_for_a_token(
        front, emulator):
    """The first client fills the cache, waits for a token and leaves; the
    second, who waits for the first, must not wait for the lock's end."""
    emulator.fault(kind="token", delay=0.6)

    def choose(asked: Asked) -> Steps:
        return [OK.replace(b"\r\n", b"\r\nCache-Control: max-age=9\r\n", 1)
                if "authorization" in asked.headers else DENIED]

    with Origin(choose) as origin:
        server = front(origin, wait=False, location="""
            proxy_cache one; proxy_cache_lock on; proxy_cache_lock_age 20s;
            proxy_cache_lock_timeout 20s; gcs_token_timeout 5s;
        """, http="proxy_cache_path %%DIR%%/c keys_zone=one:1m;")
        first, = begin(server, 1)
        wait_until(lambda: len(origin.asked) == 1)
        others = begin(server, 20, "/media/0")
        first.close()
        start = time.monotonic()
        assert bodies(others) == [(200, BODY)] * 20
        assert time.monotonic() - start < 3
        assert emulator.counts()["token"] == 1


@pytest.mark.parametrize("location", ["proxy_ignore_client_abort on;",
                                      "proxy_store %%DIR%%/stored;", ""])
def test_a_client_that_leaves_after_its_wait_for_a_token(front, emulator,
                                                         location):
    """nginx does not look after it where it is told not to, and so must not
    what looked during the wait."""
    emulator.fault(kind="token", delay=0.3)
    with Origin(lambda asked: [0.3, OK]) as origin:
        server = front(origin, location=location, wait=False)
        worker = the_worker(server)
        first, = begin(server, 1)
        wait_until(lambda: origin.asked or origin.open)
        first.close()
        server.wait_log("499 up=" if not location else "200 up=200",
                        name="fault.log")
        assert server.get("/media/0").body == BODY
        assert the_worker(server) == worker


# answers that are none, one by one


CUT = "cut off"         # a head of 200, and not all of the body
WHOLE = "whole"         # BODY
STALL = 2.5             # seconds, longer than is waited for

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
PASSED = (WHOLE, True) if version() >= (1, 29, 0) else (502, False)

CHUNKED = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"

# what GCS says, what becomes of it, whether the connection may be used again
FAULTS: dict[str, tuple[Steps, object, bool]] = {
    # what other files test one by one, for the mix
    "good": ([OK], WHOLE, True),
    "refused with a page": ([answer(403, b"<Error/>")], 403, True),
    "closed": ([CLOSE], 502, False),
    "reset": ([RESET], 502, False),
    "reset after the head": ([answer(200, length=10), RESET], CUT, False),
    "reset in the head": ([OK[:30], RESET], 502, False),
    "closed in the head": ([OK[:30], CLOSE], 502, False),
    "closed in the body": ([OK[:-3], CLOSE], CUT, False),
    "reset in the body": ([OK[:-3], RESET], CUT, False),
    "garbage": ([b"\x16\x03\x01 no HTTP\r\n\r\n", CLOSE], 502, False),
    "a long header": ([answer(200, BODY, "X: " + "x" * 100000)], 502, False),
    "silence": ([STALL, CLOSE], 504, False),
    "a stalled head": ([OK[:20], STALL, CLOSE], 504, False),
    "a stalled body": ([OK[:-3], STALL, CLOSE], CUT, False),

    # the status line
    "an empty line": ([b"\r\n" + OK, CLOSE], 502, False),
    "HTTP/0.9": ([b"hello", CLOSE], 502, False),
    "HTTP/1": ([OK.replace(b"/1.1", b"/1", 1), CLOSE], 502, False),
    "status of two digits": ([answer(99), CLOSE], 502, False),
    "status 000": ([answer(0).replace(b" 0 ", b" 000 "), CLOSE], 502, False),
    "status of four digits": ([answer(2000), CLOSE], 502, False),
    "a status in letters": ([OK.replace(b"200", b"2OO", 1), CLOSE], 502,
                            False),
    "no reason": ([OK.replace(b"200 X", b"200", 1)], WHOLE, True),
    "lines without CR": ([OK.replace(b"\r\n", b"\n")], WHOLE, True),

    # 1xx; nginx knows 103 since 1.29, and takes what it does not know for
    # the answer, whose end cannot be told
    "103 and then the answer": ([HINTS + OK], *PASSED),
    "103 and the answer a moment later": ([HINTS, 0.05, OK], *PASSED),
    "103 in two pieces": ([HINTS[:20], 0.02, HINTS[20:] + OK], *PASSED),
    "103 twice": ([HINTS + HINTS, 0.02, OK], *PASSED),
    "103 and an error": ([HINTS + answer(404, b"x")],
                         404 if PASSED[1] else 502, PASSED[1]),
    "100 and then the answer": (
        [b"HTTP/1.1 100 Continue\r\n\r\n" + OK], 502, False),
    "102 and then the answer": (
        [b"HTTP/1.1 102 Processing\r\n\r\n", 0.02, OK], 502, False),
    "100 alone": ([b"HTTP/1.1 100 Continue\r\n\r\n", STALL, CLOSE], 502,
                  False),
    "103 and closed": ([b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n", CLOSE],
                       502, False),
    "101": ([b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
             CLOSE], 502, False),

    # headers
    "no colon": ([answer(200, BODY, "nonsense")], WHOLE, True),
    "many headers": ([answer(200, BODY, *(f"X-{i}: {'y' * 100}"
                                          for i in range(2000)))], 502, False),
    "an error with a long header": ([answer(403, b"", "X: " + "x" * 100000)],
                                    502, False),

    # the length
    "a length that is too long": ([answer(200, BODY, length=20), CLOSE], CUT,
                                  False),
    "a length that is too short": ([answer(200, BODY, length=4)], 200, False),
    "surplus after the body": ([OK + b"surplus"], WHOLE, False),
    "two answers": ([OK + answer(200, b"EVIL")], WHOLE, False),
    "an error with a length that is too long": (
        [answer(404, b"x", length=9), CLOSE], 502, False),
    "an error with a length that is too short": (
        [answer(404, b"x" * 99, length=9)], 404, False),
    "an error and one more answer": (
        [answer(404, b"x") + answer(200, b"EVIL")], 404, False),
    "an error without a length": ([answer(404, b"x", length=""), CLOSE], 404,
                                  False),
    "no length": ([answer(200, BODY, length=""), CLOSE], WHOLE, False),
    "HTTP/1.0": ([answer(200, BODY, version="1.0"), CLOSE], WHOLE, False),
    "HTTP/1.0 without a length": (
        [answer(200, BODY, length="", version="1.0"), CLOSE], WHOLE, False),
    "an error in HTTP/1.0": ([answer(404, b"x", version="1.0"), CLOSE], 404,
                             False),

    # chunks
    "chunks": ([CHUNKED + b"a\r\n" + BODY + b"\r\n0\r\n\r\n"], WHOLE, True),
    "chunks without an end": ([CHUNKED + b"a\r\n" + BODY + b"\r\n", CLOSE],
                              CUT, False),
    "chunks that stall": ([CHUNKED + b"a\r\n" + BODY + b"\r\n", STALL, CLOSE],
                          CUT, False),
    "half a chunk": ([CHUNKED + b"14\r\n" + BODY, CLOSE], CUT, False),
    "no size of a chunk": ([CHUNKED + b"xyz\r\n" + BODY, CLOSE], CUT, False),
    "a chunk larger than memory": ([CHUNKED + b"7fffffffffffffff\r\n" + BODY,
                                    CLOSE], CUT, False),
    "a chunk larger than numbers": (
        [CHUNKED + b"fffffffffffffffff\r\n" + BODY, CLOSE], CUT, False),
    "an error in chunks without an end": (
        [CHUNKED.replace(b"200", b"404", 1) + b"1\r\nx\r\n", CLOSE], 502,
        False),
    "an error in bad chunks": (
        [CHUNKED.replace(b"200", b"404", 1) + b"nonsense", CLOSE], 502,
        False),
}


def path_of(name: str) -> str:
    return "/media/" + name.replace(" ", "-").replace("/", "_")


BY_TARGET = {path_of(name).rpartition("/")[2]: steps
             for name, (steps, _, _) in FAULTS.items()}


def by_target(asked: Asked) -> Steps:
    return BY_TARGET[asked.name]


def outcome(connection: Connection, target: str) -> object:
    """A status, WHOLE or CUT, as a client sees it."""
    try:
        response = connection.get(target)
    except Truncated as exc:
        if exc.response is None:
            # not even a head, but no answer of a wrong status either
            return CUT
        assert exc.response.status == 200
        assert BODY.startswith(exc.response.body)
        return CUT
    if response.status == 200 and response.body == BODY:
        return WHOLE
    if response.status == 200:
        assert BODY.startswith(response.body)
    else:
        assert b"<center>nginx" in response.body
    return response.status


# a machine that is busy elsewhere does not answer at once
FAULTY = ANONYMOUS + "proxy_read_timeout 1s;"


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_answer_has_one_meaning(front, name):
    steps, wanted, kept = FAULTS[name]
    with Origin(by_target) as origin:
        server = front(origin, location=FAULTY)
        with Connection(server.port) as connection:
            seen = outcome(connection, path_of(name))
        assert seen == wanted
        assert len(origin.asked) == 1

        # whatever it was, the next one is right
        with Connection(server.port) as connection:
            assert outcome(connection, path_of("good")) == WHOLE
        assert origin.asked[-1].connection == (1 if kept else 2)
        assert len(origin.asked) == 2
        wait_until(lambda: len(origin.open) == 1)


SPLIT = {
    "200": ([OK], 200),
    "403": ([answer(403, b"<Error><Code>AccessDenied</Code></Error>")], 403),
    "503": ([BUSY], 503),
    "chunks": ([CHUNKED + b"a\r\n" + BODY + b"\r\n0\r\n\r\n"], 200),
    "an error in chunks": (
        [b"HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"26\r\n<Error><Code>NoSuchKey</Code></Error>\n\r\n0\r\n\r\n"],
        404),
}


@pytest.mark.parametrize("name", SPLIT)
def test_an_answer_may_come_in_two_pieces_cut_anywhere(front, name):
    [whole], status = SPLIT[name]

    def split(asked: Asked) -> Steps:
        at = int(asked.name)
        return [whole[:at], 0.002, whole[at:]]

    with Origin(split) as origin:
        server = front(origin, location=ANONYMOUS
                       + "proxy_next_upstream off;")
        connection = server.connect()
        for at in range(1, len(whole)):
            response = connection.get(f"/media/{at}")
            assert response.status == status, at
            if status == 200:
                assert response.body == BODY, at
            else:
                assert response.get("X-Error") == {
                    403: "AccessDenied", 404: "NoSuchKey",
                    503: "ServiceUnavailable"}[status], at
        # every byte was read: nothing was left over, nothing was waited for
        assert {asked.connection for asked in origin.asked} == {1}


def test_an_answer_may_come_byte_by_byte(front):
    def drip(asked: Asked) -> Steps:
        steps: Steps = []
        for i in range(len(DENIED)):
            steps += [DENIED[i:i + 1], 0.0005]
        return steps

    first = one_after_the_other([None], [OK])
    with Origin(lambda asked: drip(asked) if first(asked) == [None]
                else [OK]) as origin:
        response = front(origin).get("/media/a")
    assert (response.status, response.body) == (200, BODY)
    assert upstream_status(response) == [401, 200]


# and all of them, for a long time


@pytest.fixture
def far_origin() -> Iterator[Origin]:
    """A process of its own, or it would be slower than nginx."""
    origin = Origin(by_target)
    process = multiprocessing.get_context("fork").Process(target=origin.run,
                                                          daemon=True)
    process.start()
    # it is to refuse connections once that process is gone
    origin.listener.close()
    yield origin
    process.kill()
    process.join()


def the_worker(server: Nginx) -> int:
    """And not the cache's manager, which nginx starts after it."""
    active(server)      # who answers has all descriptors that it needs
    return server.children()[0]


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid: int) -> int:
    """What is resident and the process's own, in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines()
               if line.startswith("Private_Dirty:"))


def test_faults_leave_nothing_behind(front, far_origin):
    """Descriptors, connections, memory, and no alert; GCS_FAULT_REQUESTS
    tells how many."""
    wanted = {path_of(name): wanted
              for name, (_, wanted, _) in FAULTS.items()}
    quick = [name for name in wanted if STALL not in
             BY_TARGET[name.rpartition("/")[2]]]
    server = front(far_origin, location="gcs_auth anonymous;"
                   "proxy_read_timeout 1s; gcs_keepalive 4;",
                   http="access_log off; log_not_found off;",
                   log_level="alert")
    worker = the_worker(server)
    before = descriptors(worker)

    def ask(requests: int) -> None:
        # those that time out, once in a while
        targets = quick * 9 + list(wanted)
        result = load.Load(server.port, targets, connections=16,
                           requests=requests).run()
        assert result.total == requests
        odd = {(target, kind): count
               for (target, kind), count in result.by_target.items()
               if kind not in kinds_of(wanted[target])}
        assert odd == {}

    ask(REQUESTS // 4)
    sizes = [memory(worker)]
    for _ in range(3):
        ask(REQUESTS // 4)
        sizes.append(memory(worker))
    
    # no more than the connections that may be kept
    wait_until(lambda: descriptors(worker) <= before + 4)
    # a sanitizer keeps what was freed
    assert sizes[-1] - sizes[0] < 512 or SANITIZE, sizes
    assert the_worker(server) == worker
    assert outcome(server.connect(), path_of("good")) == WHOLE


def kinds_of(wanted: object) -> tuple[object, ...]:
    """As the load generator says it; nginx may have to close a connection
    while the head of the answer is still in its own buffer."""
    if wanted == CUT:
        return (load.CUT, load.CLOSED)
    return (200 if wanted == WHOLE else wanted,)

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
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from harness import Connection, Nginx, Truncated
from harness.client import request_bytes
from harness.nginx import wait_until

BODY = b"0123456789"
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
            self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
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
             upstream: str = "keepalive 8;", **kw: object) -> Nginx:
        endpoint = origins[0].url
        if len(origins) > 1 or endpoint.startswith("unix:"):
            servers = "".join(
                f"server {o.url.removeprefix('http://')};" for o in origins)
            http += f"upstream pool {{ {servers} {upstream} }}"
            endpoint = "http://pool"
        server = LOCATION.replace("@endpoint@", endpoint).replace(
            "@location@", location)
        made = nginx(HTTP + http, server=server, **kw)
        if "anonymous" not in location:
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


def test_a_hold_ends_with_the_time_for_retries(front):
    """Of all tries together, not of each."""
    with Origin(lambda asked: [0.15, BUSY]) as origin:
        server = front(origin,
                       location="proxy_next_upstream_timeout 700ms;")
        start = time.monotonic()
        response = server.get("/media/a")
        took = time.monotonic() - start
    assert response.status == 503
    # 150, a pause of 100 to 300, 150, one of 200 to 600: it may end after it
    assert took < 1.0 and len(origin.asked) in (2, 3)
    times = len(origin.asked)
    assert upstream_status(response) == [503] * times


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
            assert response.get("X-Error") == "upstream_timeout" or \
                response.get("X-Error") == "ServiceUnavailable"
            assert 0.25 < time.monotonic() - start < 1.5
            assert len(origin.asked) == number
        assert connection.get("/ping").body == b"pong"
        wait_until(lambda: not origin.open)


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
        assert response.status in (502, 503)
        assert len(one.asked) + len(two.asked) == 1


@pytest.mark.parametrize("size", [3, 20000, 3 << 20])
def test_a_body_is_sent_again_whole_after_a_401(front, emulator, size):
    """From memory, or from the file that nginx has put it into."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    emulator.fault(kind="token", delay=0.2, skip=1)
    with Origin(one_after_the_other([DENIED], [answer(200)])) as origin:
        server = front(origin, location="client_max_body_size 0;")
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
    "413": ([answer(413, b"x" * 5000), 0.2, CLOSE], 502),
    "503": ([BUSY, 0.2, CLOSE], 503),
    "200": ([answer(200, b"ok"), 0.2, CLOSE], 200),
    "closed": ([CLOSE], 502),
    "reset": ([RESET], 502),
}


@pytest.mark.parametrize("name", EARLY)
def test_an_answer_before_the_body_is_sent_is_heeded(front, name):
    steps, status = EARLY[name]
    body = b"b" * (8 << 20)
    with Origin(one_after_the_other(steps, [answer(200)])) as origin:
        server = front(origin, location="client_max_body_size 0;"
                                        "proxy_send_timeout 3s;")
        response = server.request("PUT", "/media/a", {}, body, timeout=10)
        assert response.status == status
        # a connection with half a request is not used again
        again = server.request("PUT", "/media/b", {}, b"small")
        assert again.status == 200
        assert origin.asked[-1].body == b"small"
        if "401" in name:
            assert origin.asked[-2].body == body
        if "read the body" not in repr(steps):
            assert len({asked.connection for asked in origin.asked}) > 1

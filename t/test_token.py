"""The shared token store, seen from outside: how often a token is fetched, by
how many workers, for how many requests, and that no request suffers."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from pathlib import Path
from typing import Callable

import pytest

from harness import Connection, Nginx, Response
from harness.client import request_bytes
from harness.nginx import wait_until

BODY = b"0123456789"
READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"

HTTP = """
    log_format token "$status error=$gcs_error $gcs_credentials";
    access_log %%DIR%%/token.log token;
    gcs_endpoint %%EMULATOR%%;
"""

# with sockets of their own all workers get their share of connections
SERVER = """
    server {
        listen 127.0.0.1:%%PORT%% {listen};
        location = /ping { add_header X-Worker $pid; return 200 pong; }
        location = /connections { stub_status; }
        location /media/ {
            gcs_auth reader;
            gcs_pass gs://test-bucket/;
            add_header X-Worker $pid always;
            add_header X-Error $gcs_error always;
            {location}
        }
        {server}
    }
"""

Serve = Callable[..., Nginx]


def configuration(block: str = "", location: str = "", http: str = "",
                  server: str = "", listen: str = "reuseport") -> str:
    credentials = "gcs_credentials reader { file %%KEY%%; " + block + " }\n"
    text = SERVER
    for name, value in (("listen", listen), ("location", location),
                        ("server", server)):
        text = text.replace("{" + name + "}", value)
    return HTTP + credentials + http + text


@pytest.fixture
def serve(nginx: Serve, emulator, key_file, bucket) -> Serve:
    emulator.put_object(bucket, "a", BODY, content_type="text/plain")

    def make(block: str = "", location: str = "", http: str = "",
             server: str = "", listen: str = "reuseport", **kw) -> Nginx:
        return nginx(configuration(block, location, http, server, listen),
                     **kw)

    return make


def fetches(emulator) -> int:
    return emulator.counts().get("token", 0)


def begin(server: Nginx, count: int, path: str = "/media/a") \
        -> list[Connection]:
    """Send so many requests, each on its connection; nobody reads yet."""
    connections = []
    for _ in range(count):
        connection = server.connect(timeout=20)
        connection.send(request_bytes("GET", path, connection.host,
                                      {"Connection": "close"}))
        connections.append(connection)
    return connections


def read(connections: list[Connection]) -> list[Response]:
    return [connection.response() for connection in connections]


def are_whole(responses: list[Response]) -> bool:
    return {(r.status, r.body) for r in responses} == {(200, BODY)}


def workers_of(responses: list[Response]) -> set[str | None]:
    return {response.get("X-Worker") for response in responses}


def lines(server: Nginx, level: str, pattern: str = "") -> list[str]:
    return [line for line in server.log().splitlines()
            if f"[{level}]" in line and re.search(pattern, line)]


class Load:
    """Clients that ask one after the other until the block ends."""

    def __init__(self, server: Nginx, clients: int = 4, pause: float = 0.005):
        self.answers: list[object] = []
        self.slowest = 0.0
        self._server = server
        self._pause = pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run)
                         for _ in range(clients)]

    def _run(self) -> None:
        while not self._stop.is_set():
            start = time.monotonic()
            try:
                response = self._server.get("/media/a", timeout=20)
                answer: object = (response.status, response.body)
            except OSError as exc:
                answer = repr(exc)
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.answers.append(answer)
            time.sleep(self._pause)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def kinds(self) -> set[object]:
        return set(self.answers)


def fetcher(server: Nginx, port: int) -> int:
    """The worker that has the connection of a token request."""
    found: list[int] = []

    def there() -> bool:
        # the table is not read in one piece: a line may be missed
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) != port \
                    or fields[3] != "01" or fields[9] == "0":
                continue
            for pid in server.children():
                for link in Path(f"/proc/{pid}/fd").iterdir():
                    try:
                        if os.readlink(link) == f"socket:[{fields[9]}]":
                            found.append(pid)
                    except FileNotFoundError:
                        continue
        return bool(found)

    wait_until(there, 1.5, f"no worker has the connection of port {port}")
    return found[0]


# one fetch for all


def test_the_first_requests_of_all_workers_share_one_fetch(serve, emulator):
    emulator.fault(kind="token", delay=1.5)
    server = serve(workers=4)
    responses = read(begin(server, 400))
    assert len(responses) == 400 and are_whole(responses)
    assert len(workers_of(responses)) == 4
    assert fetches(emulator) == 1
    assert len({dict(r["headers"])["Authorization"]
                for r in emulator.requests("storage")}) == 1
    assert lines(server, "error") == []


def test_tokens_are_fetched_before_the_first_request(serve, emulator,
                                                     key_file):
    other = key_file.with_name("other.json")
    other.write_text(emulator.service_account())
    server = serve(workers=2,
                   http="gcs_credentials other { file %s; }" % other)
    server.wait_log("token refreshed", count=2)
    accounts = [r["account"] for r in emulator.requests("token")]
    assert len(accounts) == len(set(accounts)) == 2
    assert server.get("/media/a").status == 200
    assert fetches(emulator) == 2


def test_helper_processes_do_not_fetch(serve, emulator):
    """A token that is due while every worker stands still waits for them."""
    emulator.configure(token_lifetime=1)
    server = serve(http="proxy_cache_path %%DIR%%/cache keys_zone=one:1m;")
    worker = int(server.get("/media/a").get("X-Worker") or 0)
    assert len(server.children()) > 1
    server.signal("STOP", worker)
    time.sleep(1.2)
    assert fetches(emulator) == 1
    server.signal("CONT", worker)
    wait_until(lambda: fetches(emulator) == 2)


def test_a_test_of_the_configuration_fetches_nothing(serve, emulator):
    assert serve(start=False).test().returncode == 0
    assert fetches(emulator) == 0


@pytest.mark.parametrize("http", ["", "http { }"])
def test_without_http_there_is_nothing_to_do(serve, emulator, http):
    server = serve(start=False, workers=2)
    text = server.conf.read_text()
    server.conf.write_text(text[:text.index("http {")] + http)
    server.ports.clear()
    server.start()
    assert len(server.children()) == 2
    server.reload(old_gone=True)
    server.quit()
    assert lines(server, "error") == lines(server, "warn") == []


def test_without_a_used_credential_nothing_is_fetched(nginx, emulator,
                                                      bucket):
    emulator.update_bucket(bucket, public=True)
    emulator.put_object(bucket, "a", BODY)
    server = nginx(server="""
        gcs_endpoint %%EMULATOR%%; gcs_auth anonymous;
        location / { gcs_pass gs://test-bucket/; }
    """)
    assert server.get("/a").body == BODY
    assert fetches(emulator) == 0


def test_equal_credentials_share_a_token_and_others_do_not(serve, emulator):
    server = serve(http="""
        gcs_credentials same { file %%KEY%%; scope """ + READ_ONLY + """; }
        gcs_credentials more { file %%KEY%%;
            scope https://www.googleapis.com/auth/devstorage.read_write; }
        """, server="""
        location /same/ { gcs_auth same; gcs_pass gs://test-bucket/; }
        location /more/ { gcs_auth more; gcs_pass gs://test-bucket/; }
        """)
    for path in ("/media/a", "/same/a", "/more/a"):
        assert server.get(path).body == BODY
    assert fetches(emulator) == 2
    seen = [dict(r["headers"])["Authorization"]
            for r in emulator.requests("storage")]
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize("connections", [1024, 64])
def test_many_credentials_are_fetched_once_each(nginx, emulator, bucket,
                                                tmp_path, connections):
    emulator.put_object(bucket, "a", BODY)
    http = "gcs_endpoint %%EMULATOR%%;\n"
    locations = ""
    for i in range(100):
        path = tmp_path / f"key{i}.json"
        path.write_text(emulator.service_account(
            grants={bucket: ["objectViewer"]}))
        http += f"gcs_credentials c{i} {{ file {path}; }}\n"
        locations += f"""location /{i}/ {{
            gcs_auth c{i}; gcs_pass gs://test-bucket/; }}\n"""
    server = nginx(http, server=locations, start=False)
    limited(server, connections).start()
    server.wait_log("token refreshed", count=100)
    assert fetches(emulator) == 100
    accounts = [r["account"] for r in emulator.requests("token")]
    assert len(set(accounts)) == 100
    connection = server.connect()
    for i in range(100):
        assert connection.get(f"/{i}/a").body == BODY
    assert [r["account"] for r in emulator.requests("storage")] == \
        sorted(accounts, key=lambda name: int(re.search(r"-(\d+)@",
                                                        name)[1]))
    assert lines(server, "error") == lines(server, "warn") == []


@pytest.mark.parametrize("when", ["in time", "too late"])
def test_answers_that_come_at_one_instant_do_no_harm(serve, emulator, when):
    """With accept_mutex nginx sets the events of a turn aside, and looks at
    its timers before it comes back to them: too late, each is for a socket
    that is closed by then."""
    http, count = "", 12
    answer = (b'{"access_token": "ya29.at-one-instant", "expires_in": 3599}')
    answer = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
              b"Connection: close\r\n"
              b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer))
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        url = "http://127.0.0.1:%d/" % listener.getsockname()[1]
        block = "token_endpoint %s?%%d; timeout 4s;" % url
        for i in range(count - 1):
            http += ("gcs_credentials c%d { file %%%%KEY%%%%; %s }\n"
                     % (i, block % i))
        server = serve(block % count, http=http, workers=2, listen="",
                       events="accept_mutex on; accept_mutex_delay 10ms;",
                       secrets=["ya29.at-one-instant"])
        start = time.monotonic()
        taken = [listener.accept()[0] for _ in range(count)]
        for sock in taken:
            sock.settimeout(10)
            assert sock.recv(65536)

        # who has the mutex keeps it while it has nothing to do, and a worker
        # that dies leaves it to the other
        fetching = fetcher(server, taken[0].getpeername()[1])
        mine = [sock for sock in taken
                if fetcher(server, sock.getpeername()[1]) == fetching]
        server.expect("exited on signal 9")
        for pid in set(server.children()) - {fetching}:
            server.signal("KILL", pid)
        wait_until(lambda: len(server.children()) == 2)
        wait_until(lambda: server.get("/ping").get("X-Worker")
                   == str(fetching))

        server.signal("STOP", fetching)
        for sock in mine:
            sock.sendall(answer)
            sock.close()
        if when == "too late":
            time.sleep(max(0, start + 4.3 - time.monotonic()))
        server.signal("CONT", fetching)

        server.wait_log("token refreshed" if when == "in time"
                        else "could not be fetched", count=len(mine))
    assert fetching in server.children()
    assert len(server.children()) == 2
    assert server.get("/ping").body == b"pong"


def test_without_a_master_process_requests_share_a_fetch_too(serve,
                                                             emulator):
    emulator.fault(kind="token", delay=0.3)
    server = serve(workers=0, main="master_process off;")
    assert are_whole(read(begin(server, 50)))
    assert fetches(emulator) == 1


# refresh


def test_tokens_are_refreshed_ahead_of_their_expiry(serve, emulator):
    emulator.configure(token_lifetime=2)
    server = serve(workers=2)
    with Load(server, 2) as load:
        wait_until(lambda: fetches(emulator) >= 3)
    assert load.kinds == {(200, BODY)}

    # a quarter of a short life ahead, and never only when GCS says 401
    times = [r["time"] for r in emulator.requests("token")]
    assert all(1.3 < b - a < 1.8 for a, b in zip(times, times[1:])), times
    assert {r["status"] for r in emulator.requests("storage")} == {200}


def test_a_refresh_is_not_waited_for(serve, emulator):
    emulator.configure(token_lifetime=2)
    server = serve(workers=2)
    server.wait_log("token refreshed")
    emulator.fault(kind="token", hang=True, count=None)
    wait_until(lambda: fetches(emulator) == 2)
    start = time.monotonic()
    responses = read(begin(server, 50))
    assert are_whole(responses) and len(workers_of(responses)) == 2
    assert time.monotonic() - start < 0.4
    assert fetches(emulator) == 2
    server.graceful = False


def test_a_token_is_used_until_it_expires_if_there_is_no_other(serve,
                                                               emulator):
    emulator.fault(kind="token", status=503, count=None, skip=1)
    emulator.configure(token_lifetime=3)
    server = serve(workers=2)
    server.wait_log("token refreshed")
    began = time.monotonic()
    answers = []
    while time.monotonic() < began + 3.2:
        answers.append((time.monotonic() - began,
                        server.get("/media/a").status))
        time.sleep(0.01)
    good = [when for when, status in answers if status == 200]
    bad = [when for when, status in answers if status != 200]
    assert {status for _, status in answers} == {200, 502}
    assert 2.7 < max(good) < min(bad) < 3.2, (max(good), min(bad))

    # as long as there is a token it is but a warning
    assert len(lines(server, "warn", '"reader": token could not be fetched: '
                     "token endpoint answered 503")) == 1
    assert len(lines(server, "error", "no token of gcs credentials")) \
        == len(bad)
    assert {r["status"] for r in emulator.requests("storage")} == {200}


# failures


def test_all_workers_share_the_back_off(serve, emulator):
    emulator.fault(kind="token", status=503, count=None)
    server = serve(workers=4)
    with Load(server, 4, 0.001) as load:
        time.sleep(3.7)
    assert {answer[0] for answer in load.answers} == {502}
    assert len(load.answers) > 400
    assert load.slowest < 1
    times = [r["time"] for r in emulator.requests("token")]
    pauses = [b - a for a, b in zip(times, times[1:])]
    assert len(pauses) == 2, pauses
    assert 0.9 < pauses[0] < 1.5 and 1.9 < pauses[1] < 2.5

    # who reloads wants another try at once
    emulator.clear_faults()
    server.reload()
    wait_until(lambda: server.get("/media/a").status == 200, 1)
    assert len(emulator.requests("token")) == 4


def test_back_off_ends_by_itself_and_heeds_retry_after(serve, emulator):
    emulator.configure(
        token_audiences=[emulator.token_uri + "?" + name
                         for name in ("once", "later")])
    emulator.fault(kind="token", path="once", status=503)
    emulator.fault(kind="token", path="later", status=429, retry_after=2)
    server = serve("token_endpoint %%EMULATOR%%/token?once;", http="""
        gcs_credentials later { file %%KEY%%;
                                token_endpoint %%EMULATOR%%/token?later; }
        """)
    server.wait_log('"later": token refreshed')
    assert fetches(emulator) == 4
    for name, least in (("once", 1), ("later", 2)):
        times = [r["time"] for r in emulator.requests("token")
                 if name in r["target"]]
        assert least - 0.1 < times[1] - times[0] < least + 0.5, name
    assert server.get("/media/a").status == 200


def test_a_request_during_the_back_off_fails_at_once(serve, emulator):
    emulator.fault(kind="token", status=503, count=None)
    server = serve(workers=2)
    server.wait_log("could not be fetched")
    start = time.monotonic()
    responses = read(begin(server, 40))
    assert time.monotonic() - start < 0.6
    assert {r.status for r in responses} == {502}
    assert {r.get("X-Error") for r in responses} == {"token_unavailable"}
    assert fetches(emulator) == 1


def test_a_failed_fetch_is_502_for_all_who_wait(serve, emulator):
    emulator.fault(kind="token", delay=0.7, status=400, count=None,
                   body='{"error": "invalid_grant"}')
    server = serve(workers=2)
    responses = read(begin(server, 40))
    assert {r.status for r in responses} == {502}
    assert len(workers_of(responses)) == 2
    assert fetches(emulator) == 1
    server.wait_log("502 error=token_unavailable reader", count=40,
                    name="token.log")
    said = lines(server, "error", "request:")
    assert len(said) == 40
    assert all('no token of gcs credentials "reader": token endpoint '
               'answered 400 "invalid_grant"' in line for line in said)
    assert len(lines(server, "error", "could not be fetched")) == 1
    assert emulator.counts().get("storage", 0) == 0


@pytest.mark.parametrize("where", ["location", "server", "http"])
def test_a_request_that_waits_too_long_is_504(serve, emulator, where):
    emulator.fault(kind="token", hang=True, count=None)
    server = serve(workers=2, **{where: "gcs_token_timeout 400ms;"})
    server.graceful = False
    start = time.monotonic()
    responses = read(begin(server, 40))
    assert 0.35 < time.monotonic() - start < 1.5
    assert {r.status for r in responses} == {504}
    assert {r.get("X-Error") for r in responses} == {"token_timeout"}
    server.wait_log("504 error=token_timeout reader", count=40,
                    name="token.log")
    said = lines(server, "error")
    assert len(said) == 40
    assert all('no token of gcs credentials "reader" within 400 ms' in line
               for line in said)
    assert fetches(emulator) == 1
    assert emulator.counts().get("storage", 0) == 0


def test_a_timeout_of_zero_waits_for_nothing(serve, emulator):
    emulator.fault(kind="token", delay=0.5)
    server = serve(location="gcs_token_timeout 0;")
    assert server.get("/media/a").status == 504
    server.wait_log("token refreshed")
    assert server.get("/media/a").status == 200


# requests that wait


def test_others_are_served_while_the_endpoint_hangs(serve, emulator):
    emulator.fault(kind="token", hang=True, count=None)
    server = serve("timeout 500ms;")
    waiting = begin(server, 50)
    connection = server.connect()
    slowest = 0.0
    for _ in range(800):
        start = time.monotonic()
        assert connection.get("/ping").body == b"pong"
        slowest = max(slowest, time.monotonic() - start)
        time.sleep(0.001)
    assert slowest < 0.25
    assert {r.status for r in read(waiting)} == {502}


def test_clients_that_go_while_they_wait_leave_nothing(serve, emulator):
    emulator.fault(kind="token", hang=True)
    # enough for a busy machine to accept all of them before it ends
    server = serve("timeout 3s;", location="gcs_token_timeout 20s;")
    wait_until(lambda: fetches(emulator) == 1)
    gone = begin(server, 30)
    wait_until(lambda: len(accepted(server)) == 30)

    # some more that go before nginx has read what they ask for
    worker, = server.children()
    server.signal("STOP", worker)
    gone += begin(server, 30)
    for connection in gone:
        connection.close()
    server.signal("CONT", worker)

    server.wait_log("client prematurely closed connection.*"
                    "waiting for a gcs token", count=60)
    assert b"Active connections: 1 " in server.get("/connections").body
    assert fetches(emulator) == 1
    assert "could not be fetched" not in server.log()

    # and the next who comes gets what the next fetch brings
    server.wait_log("token refreshed")
    assert server.get("/media/a").body == BODY
    assert server.children() == [worker]


def test_a_pipelined_request_waits_its_turn(serve, emulator):
    emulator.fault(kind="token", delay=0.4)
    server = serve()
    connection = server.connect()
    request = request_bytes("GET", "/media/a", connection.host)
    connection.send(request + request)
    connection.send(request_bytes("GET", "/ping", connection.host))
    assert [connection.response().body for _ in range(3)] == \
        [BODY, BODY, b"pong"]


def test_subrequests_wait_too(serve, emulator):
    emulator.fault(kind="token", delay=0.4)
    server = serve(server="""
        location = /page { ssi on; default_type text/html; root %%DIR%%; }
        location = /page.html { internal; return 200 x; }
        """)
    (server.dir / "page").write_text(
        "<!--#include virtual=\"/media/a\" -->,"
        "<!--#include virtual=\"/media/a\" -->")
    assert server.get("/page").body == BODY + b"," + BODY
    assert fetches(emulator) == 1


# 401


def test_a_revoked_token_is_replaced_by_one_fetch(serve, emulator):
    server = serve(workers=4)
    assert are_whole(read(begin(server, 20)))
    emulator.revoke_tokens()
    emulator.fault(kind="token", delay=0.3)
    responses = read(begin(server, 50))
    assert are_whole(responses) and len(workers_of(responses)) > 1
    assert fetches(emulator) == 2
    assert lines(server, "error") == []


def test_a_late_401_does_not_spoil_the_new_token(serve, emulator):
    server = serve(workers=2)
    assert server.get("/media/a").body == BODY
    emulator.revoke_tokens()
    emulator.fault(kind="storage", delay=0.6, count=10)
    late = begin(server, 10)
    wait_until(lambda: emulator.counts()["storage"] == 11)
    assert are_whole(read(begin(server, 10)))
    assert fetches(emulator) == 2
    assert are_whole(read(late))
    assert fetches(emulator) == 2
    statuses = [r["status"] for r in emulator.requests("storage")]
    assert statuses.count(200) == 21 and statuses.count(401) >= 11


def test_tokens_that_gcs_refuses_are_not_fetched_for_every_request(
        serve, emulator):
    server = serve(workers=4)
    emulator.fault(kind="storage", status=401, count=None,
                   code="AuthenticationRequired")
    responses = read(begin(server, 100))
    responses += read(begin(server, 100))
    assert {r.status for r in responses} == {502}
    assert fetches(emulator) <= 3
    emulator.clear_faults()
    assert server.get("/media/a").status == 200


# reload


def test_a_reload_keeps_the_tokens(serve, emulator, key_file):
    server = serve(workers=2)
    server.wait_log("token refreshed")
    server.reload(old_gone=True)
    server.reload(old_gone=True)
    assert are_whole(read(begin(server, 10)))
    assert fetches(emulator) == 1

    # only what is new is fetched, in whatever order they are declared
    other = key_file.with_name("other.json")
    other.write_text(emulator.service_account())
    server.configure(HTTP + "gcs_credentials other { file %s; }" % other
                     + configuration()[len(HTTP):])
    server.reload(old_gone=True)
    server.wait_log('"other": token refreshed')
    assert are_whole(read(begin(server, 10)))
    accounts = [r["account"] for r in emulator.requests("token")]
    assert len(accounts) == len(set(accounts)) == 2


@pytest.mark.parametrize("before, after", [(0, 0), (0, 9), (9, 0), (9, 9)])
def test_a_reload_keeps_the_tokens_among_other_shared_memory(
        serve, emulator, before, after):
    """nginx keeps the list of it in parts, and each cycle has its own."""
    def caches(name: str, count: int) -> str:
        return "".join(f"proxy_cache_path %%DIR%%/{name}{i} "
                       f"keys_zone={name}{i}:1m;\n" for i in range(count))

    http = caches("before", before) + "@here@" + caches("after", after)
    # the place of our zone is where it is first named
    server = serve(start=False)
    server.configure(http.replace("@here@", configuration()))
    server.start()
    server.wait_log("token refreshed")
    server.reload(old_gone=True)
    server.reload(old_gone=True)
    assert are_whole(read(begin(server, 4)))
    assert fetches(emulator) == 1


def test_a_reload_may_bring_the_first_credentials_and_take_the_last(
        serve, emulator, bucket):
    emulator.put_object(bucket, "public", BODY, public=True)
    none = HTTP + """
        server {
            listen 127.0.0.1:%%PORT%% reuseport;
            location /media/ {
                gcs_auth anonymous;
                gcs_pass gs://test-bucket/;
            }
        }
    """
    server = serve(start=False)
    server.configure(none)
    server.start()
    assert server.get("/media/public").body == BODY
    assert server.get("/media/a").status != 200

    for count in (1, 2):
        server.configure(configuration())
        server.reload(old_gone=True)
        assert server.get("/media/a").body == BODY
        # of a configuration without the account nothing is inherited
        assert fetches(emulator) == count
        server.configure(none)
        server.reload(old_gone=True)
        assert server.get("/media/public").body == BODY
        assert server.get("/media/a").status != 200


def test_a_reload_uses_a_changed_key_file(serve, emulator, key_file, bucket):
    server = serve()
    assert server.get("/media/a").status == 200
    key_file.write_text(emulator.service_account(
        "new@demo-project.iam.gserviceaccount.com",
        grants={bucket: ["objectViewer"]}, key="new"))
    assert server.get("/media/a").status == 200
    server.reload(old_gone=True)
    assert server.get("/media/a").status == 200
    accounts = [r["account"] for r in emulator.requests("storage")]
    assert accounts[0] == accounts[1] != accounts[2]
    assert accounts[2] == "new@demo-project.iam.gserviceaccount.com"
    assert fetches(emulator) == 2


def test_a_refused_reload_changes_nothing(serve, emulator, key_file):
    server = serve()
    assert server.get("/media/a").status == 200
    key_file.write_text("{")
    server.expect(r"\[emerg\].*key\.json")
    server.signal("HUP")
    server.wait_log(r"\[emerg\]")
    assert server.get("/media/a").status == 200
    assert fetches(emulator) == 1


def test_no_request_fails_over_reloads_and_refreshes(serve, emulator):
    emulator.configure(token_lifetime=2)
    server = serve(workers=2, listen="")
    with Load(server) as load:
        for _ in range(5):
            server.reload()
            time.sleep(0.5)
    assert load.kinds == {(200, BODY)}
    assert {r["status"] for r in emulator.requests("storage")} == {200}
    # one in 1.5 s, and those of workers who leave
    assert fetches(emulator) <= 6


def test_requests_that_wait_survive_a_reload(serve, emulator):
    emulator.fault(kind="token", delay=1)
    server = serve(workers=2)
    waiting = begin(server, 50)
    wait_until(lambda: fetches(emulator) == 1)
    server.reload()
    assert are_whole(read(waiting))
    assert server.get("/media/a").body == BODY


def test_no_request_fails_over_a_binary_upgrade(serve, emulator):
    server = serve(workers=2, listen="", daemon=True)
    server.wait_log("token refreshed")
    emulator.fault(kind="token", delay=0.3, count=None)
    with Load(server) as load:
        server.upgrade()
        assert server.get("/media/a").body == BODY
    assert load.kinds == {(200, BODY)}
    # the new binary's memory is its own
    assert fetches(emulator) == 2


# the end


def test_requests_that_wait_survive_a_graceful_end(serve, emulator):
    emulator.fault(kind="token", delay=1)
    server = serve(workers=2)
    waiting = begin(server, 50)
    wait_until(lambda: len(accepted(server)) == 50)
    server.signal("QUIT")
    assert are_whole(read(waiting))
    wait_until(lambda: not server.running, 2)
    assert fetches(emulator) <= 2


def accepted(server: Nginx) -> list[str]:
    """Connections of clients that nginx has taken from the kernel."""
    port = f":{server.port:04X}"
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(port) and fields[3] == "01" \
                and fields[9] != "0":
            found.append(line)
    return found


def test_a_fetch_that_nobody_waits_for_delays_no_graceful_end(serve,
                                                              emulator):
    emulator.fault(kind="token", hang=True, count=None)
    server = serve()
    wait_until(lambda: fetches(emulator) == 1)
    server.quit(2)


@pytest.mark.parametrize("end", ["stop", "quit"])
def test_requests_that_wait_do_not_disturb_a_fast_end(serve, emulator, end):
    """TERM, and QUIT with a limit; an alert would fail the test."""
    emulator.fault(kind="token", hang=True, count=None)
    server = serve("timeout 20s;", location="gcs_token_timeout 20s;",
                   workers=2, main="worker_shutdown_timeout 300ms;")
    begin(server, 50)
    wait_until(lambda: fetches(emulator) == 1)
    start = time.monotonic()
    getattr(server, end)(5)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("end", ["stop", "quit"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_end_amid_many_fetches_leaves_nothing(serve, emulator, end,
                                                 scheme):
    """Of two generations of workers; nginx tells of each socket and each
    connection that is left when a worker ends, and that fails the test."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as silent:
        port = silent.getsockname()[1]
        http = "".join(
            "gcs_credentials more%d { file %%%%KEY%%%%; timeout 20s;"
            " token_endpoint %s://127.0.0.1:%d/?%d; }\n"
            % (i, scheme, port, i) for i in range(16))
        server = serve("token_endpoint %s://127.0.0.1:%d/; timeout 20s;"
                       % (scheme, port), http=http,
                       location="gcs_token_timeout 20s;", workers=2,
                       main="worker_shutdown_timeout %s;"
                       % ("300ms" if end == "quit" else "20s"))
        # of clients, when a worker that is leaving is told to go at once;
        # connections of our own have no number
        server.expect(r"\*[1-9]\d* open socket #\d+ left|: aborting")
        taken = []

        def take(count: int) -> None:
            silent.settimeout(10)
            while len(taken) < count:
                taken.append(silent.accept()[0])

        # 16 without a request that waits for one, and not more
        take(16)
        begin(server, 50)
        server.reload()
        take(32)
        begin(server, 50)
        start = time.monotonic()
        getattr(server, end)(5)
        assert time.monotonic() - start < 3
        for sock in taken:
            sock.close()


@pytest.mark.parametrize("name", ["KILL", "STOP"])
def test_another_worker_takes_over_from_one_that_is_gone(serve, emulator,
                                                         name):
    """The lease ends a second after the fetch's timeout."""
    emulator.fault(kind="token", hang=True)
    server = serve("timeout 1500ms;", location="gcs_token_timeout 15s;",
                   workers=3)
    wait_until(lambda: fetches(emulator) == 1)
    waiting = begin(server, 60)
    wait_until(lambda: len(accepted(server)) == 60)
    gone = fetcher(server,
                   emulator.requests("token")[-1]["client_port"])
    server.expect(rf"worker process {gone} exited on signal 9")
    start = time.monotonic()
    server.signal(name, gone)
    wait_until(lambda: fetches(emulator) == 2)
    assert time.monotonic() - start < 3.5
    server.wait_log("token refreshed")
    if name == "STOP":
        server.signal("CONT", gone)

    answers = []
    for connection in waiting:
        try:
            answers.append(connection.response())
        except OSError:
            assert name == "KILL"
    assert are_whole(answers)
    assert len(answers) == 60 if name == "STOP" else 10 < len(answers) < 60
    assert fetches(emulator) == 2
    assert name != "KILL" or len(server.children()) == 3


# limits


def limited(server: Nginx, connections: int) -> Nginx:
    text = server.conf.read_text()
    assert "worker_connections 1024;" in text
    server.conf.write_text(text.replace(
        "worker_connections 1024;", f"worker_connections {connections};"))
    return server


def test_a_fetch_without_a_free_connection_is_made_up_for(serve, emulator):
    emulator.fault(kind="token", status=503, close=True)
    server = limited(serve(start=False), 32)
    server.expect("32 worker_connections are not enough")
    server.start()
    busy = []
    while "[alert]" not in server.log():
        # nginx makes room by closing one that has not yet been heard
        connection = server.connect()
        connection.send(b"GET /ping HTTP/1.1\r\nHost: ")
        busy.append(connection)
        time.sleep(0.005)
    server.wait_log("could not be fetched: token endpoint: "
                    "worker_connections are not enough")
    for connection in busy:
        connection.close()
    server.wait_log("token refreshed")
    assert server.get("/media/a").body == BODY
    assert fetches(emulator) == 2

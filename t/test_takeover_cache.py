"""Takeover: verdicts that are remembered for seconds.

A verdict is of one client, for one question; it must not reach another client,
outlive its time, or be read by who can read the memory.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from harness.nginx import SLOWNESS, wait_until
from harness.studio import Answer, accel, fileuri, redirect
from harness.takeover import (
    ANN, BOB, BODY, MODES, configuration, gcs, taken)

pytest_plugins = ["harness.studio_plugin"]

ORACLE = """
    location /tasks/ {
        proxy_pass         http://app;
        gcs_takeover       @named $gcs_fileuri;
        gcs_takeover_cache zone=v:1m valid=1m;
    }
"""


@pytest.fixture
def ready(app, signer):
    app.default = redirect(signer.url("test-bucket", "a.txt"),
                           ("Set-Cookie", "sessionid=renewed"),
                           ("Content-Disposition", 'inline; filename="x y"'))


# what is remembered

@pytest.mark.parametrize("make", [redirect, accel])
@pytest.mark.parametrize("mode", MODES)
def test_a_verdict_is_asked_for_once(cached, app, signer, emulator, mode,
                                     make):
    server = cached()
    app.default = make(signer.url("test-bucket", "a.txt"),
                       ("Set-Cookie", "sessionid=renewed"),
                       ("Content-Disposition", 'inline; filename="x y"'))
    for number in range(5):
        answer = server.get(f"/{mode}/?fileuri=1", ANN)
        assert (answer.status, answer.body) == (200, BODY)
        assert answer.get("Content-Disposition") == 'inline; filename="x y"'
        assert "private" in answer.get("Cache-Control")
        assert answer.get("X-Content-Type-Options") == "nosniff"
        # a cookie is of one answer
        assert ("set-cookie" in answer.names) == (number == 0)
    assert len(app.requests) == 1
    assert len(gcs(emulator)) == 5
    lines = taken(server, 5)
    assert lines[0][1] == ("redirect" if make is redirect else "accel")
    assert lines[1][1:] == ["cached", "gs://test-bucket/a.txt", "200"]


def test_an_oracle_is_asked_once(serve, app, signer, emulator):
    server = serve(more=ORACLE)
    emulator.put_object("test-bucket", "b.txt", b"other")
    app.default = Answer(206, [("Content-Range", "bytes 0-1/10")], b"01")
    for name, body in (("a.txt", BODY), ("b.txt", b"other")) * 3:
        target = "/tasks/7/resolve/?fileuri=" + fileuri("test-bucket", name)
        assert server.get(target, ANN).body == body
        assert server.get(target, ANN | {"Range": "bytes=1-2"}).body \
            == body[1:3]
    assert len(app.requests) == 2
    assert taken(server)[0][1:] == ["cached", "gs://test-bucket/b.txt", "206"]


def test_get_and_head_and_all_ranges_share_a_verdict(cached, app, ready,
                                                     emulator):
    server = cached()
    etag = emulator.get_object("test-bucket", "a.txt")["etag"]
    assert server.head("/signed/", ANN).get("Content-Length") == "10"
    for headers, status in (({}, 200), ({"Range": "bytes=2-3"}, 206),
                            ({"Range": "bytes=10-"}, 416),
                            ({"If-None-Match": etag}, 304),
                            ({"If-Match": '"x"'}, 412)):
        assert server.get("/signed/", ANN | headers).status == status
        assert server.head("/signed/", ANN | headers).status == status
    assert len(app.requests) == 1


def test_without_the_directive_nothing_is_remembered(serve, app, ready):
    server = serve()
    off = serve(configuration(
        location="gcs_takeover_cache off;",
        server="gcs_takeover_cache zone=v:1m;"))
    for one in (server, off):
        before = len(app.requests)
        for _ in range(3):
            assert one.get("/signed/", ANN).body == BODY
        assert len(app.requests) - before == 3


def test_five_seconds_are_the_default(cached, app, ready):
    server = cached("")
    start = time.monotonic()
    assert server.get("/signed/", ANN).body == BODY
    wait_until(lambda: server.get("/signed/", ANN).body == BODY
               and len(app.requests) == 2)
    assert time.monotonic() - start >= 4


@pytest.mark.parametrize("mode", MODES)
def test_refusals_are_remembered_as_well(cached, app, mode):
    server = cached()
    for status in (401, 403, 404):
        app.default = Answer(status, [("WWW-Authenticate", 'Token realm="x"'),
                                      ("Content-Type", "application/json")]
                             if status == 401 else [], b'{"detail":"no"}')
        target = f"/{mode}/{status}"
        first = server.get(target, ANN)
        assert (first.status, first.body) == (status, b'{"detail":"no"}')
        for _ in range(2):
            answer = server.get(target, ANN)
            assert answer.status == status
            assert answer.get("WWW-Authenticate") == first.get(
                "WWW-Authenticate")
            assert server.head(target, ANN).status == status
        assert len(app.asked(target)) == 1, status
        assert taken(server)[0][1:3] == ["denied", ""]


def test_nothing_else_is_remembered(cached, app, signer):
    """Above all no errors: they pass."""
    server = cached()
    url = signer.url("test-bucket", "a.txt")
    answers = [Answer(status) for status in (
        200, 204, 206, 304, 400, 402, 405, 408, 410, 424, 429, 500, 502, 503,
        504)]
    answers += [redirect("/user/login/"), redirect("https://x.example/"),
                redirect(url.replace("test-", "no-")), redirect(url[:-1]),
                Answer(raw=[]),
                Answer(206, [("Content-Range", "bytes 0-0/10")], b"0")]
    for number, app.default in enumerate(answers):
        target = f"/named/{number}"
        statuses = [server.get(target, ANN).status for _ in range(2)]
        assert statuses[0] == statuses[1]
        # (a connection that was kept and ends is tried again)
        assert len(app.asked(target)) == (3 if app.default.raw == [] else 2)
        # and so what comes after an error is right at once
        app.default = redirect(url)
        assert server.get(target, ANN).body == BODY


def test_an_application_that_is_down_serves_nothing_new(cached, app, ready):
    server = cached()
    assert server.get("/signed/old", ANN).body == BODY
    app.stop()
    assert server.get("/signed/new", ANN).status == 502
    assert server.get("/signed/old", BOB).status == 502
    assert server.get("/signed/old", ANN).body == BODY     # for its time


def test_what_gcs_answers_is_no_verdict(cached, app, ready, emulator):
    server = cached()
    emulator.fault(kind="storage", status=404, code="NoSuchKey")
    assert server.get("/signed/", ANN).status == 404
    assert server.get("/signed/", ANN).body == BODY
    assert len(app.requests) == 1


# of whom

def test_a_verdict_is_of_one_client(cached, app, signer):
    """By cookie, by authorization, by key, by nothing at all."""
    server = cached()
    allowed = {"Cookie": "sessionid=ann", "Authorization": "Token ann",
               "X-Api-Key": "ann"}

    def answer(asked):
        if any(asked.get(name) == value for name, value in allowed.items()):
            return redirect(signer.url("test-bucket", "a.txt"))
        return Answer(403)

    app.default = answer
    for name, value in allowed.items():
        for method in ("GET", "HEAD"):
            ask = lambda headers: server.request(  # noqa: E731
                method, "/signed/", headers).status
            assert ask({name: value}) == 200
            for other in ("bob", value + "x", value[:-1], value + "; a=b", "",
                          value.upper()):
                assert ask({name: other}) == 403, (name, other)
            assert ask({}) == 403
            for wrong in allowed:
                if wrong != name:
                    assert ask({wrong: value}) == 403
            assert ask({name: value}) == 200


def test_parts_of_the_key_do_not_run_into_each_other(cached, app, ready):
    server = cached()
    who = {"Cookie": "a"}
    rows = [("/signed/a", {"Cookie": "ab"}), ("/signed/ab", {"Cookie": "a"}),
            ("/signed/a", {"Cookie": "a", "Authorization": "b"}),
            ("/signed/a", {"Authorization": "ab"}),
            ("/signed/a", {"X-Api-Key": "ab"}),
            ("/signed/a", {"Cookie": "a", "X-Api-Key": "b"}),
            ("/signed/a?", {"Cookie": "ab"}), ("/signed/a?b", {"Cookie": "a"}),
            ("/signed/a", who | {"Host": "ab"}),
            ("/signed/a", who | {"Host": "a"}),
            ("/signed/a", who | {"Host": "b"}), ("/signed/b", who),
            ("/signed/%6a", who), ("/signed/%6A", who),
            ("/signed/a", {"Host": "a", "Cookie": "b"}),
            ("/signed/%61", {"Cookie": "ab"}), ("/named/a", {"Cookie": "ab"})]
    for number, (target, headers) in enumerate(rows, 1):
        assert server.get(target, headers).body == BODY
        assert len(app.requests) == number, (target, headers)
    for target, headers in rows:
        assert server.get(target, headers).body == BODY
    assert len(app.requests) == len(rows)


def test_nothing_is_remembered_of_who_does_not_say_who_he_is(cached, app,
                                                              ready):
    """He may be known by his address: only the application can tell."""
    server = cached()
    for headers in ({}, {"User-Agent": "x"}):
        before = len(app.requests)
        for _ in range(3):
            assert server.get("/signed/", headers).body == BODY
        assert len(app.requests) - before == 3, headers
    app.routes["/signed/no"] = Answer(403)
    for _ in range(2):
        assert server.get("/signed/no").status == 403
    assert len(app.asked("/signed/no")) == 2


def test_a_verdict_is_of_what_the_application_was_sent(cached, app, signer,
                                                      emulator):
    """The client's URI is the same, and what nginx makes of it is not."""
    emulator.put_object("test-bucket", "b.txt", b"other")
    server = cached(more="""
        gcs_takeover_cache zone=v:1m valid=1m;
        location /set/ {
            set          $args user=$http_x_user;
            proxy_pass   http://app;
            gcs_takeover @signed;
        }
        location /moved/ {
            rewrite      ^ /to/$http_x_user break;
            proxy_pass   http://app;
            gcs_takeover @signed;
        }
        location /value/ {
            proxy_pass   http://app;
            gcs_takeover @named gs://test-bucket/$http_x_name.txt;
        }""", location="")
    url = signer.url("test-bucket", "a.txt")
    app.routes["/set/"] = lambda asked: redirect(url) \
        if asked.arguments["user"] == "ann" else Answer(403)
    app.routes["/to/ann"], app.routes["/to/bob"] = redirect(url), Answer(403)
    app.routes["/value/"] = Answer(206, [("Content-Range", "bytes 0-0/10")],
                                   b"0")
    for _ in range(2):
        for path in ("/set/", "/moved/"):
            assert server.get(path, ANN | {"X-User": "ann"}).body == BODY
            assert server.get(path, ANN | {"X-User": "bob"}).status == 403
        assert server.get("/value/", ANN | {"X-Name": "a"}).body == BODY
        assert server.get("/value/", ANN | {"X-Name": "b"}).body == b"other"
    assert len(app.requests) == 6


def test_a_verdict_is_of_one_location(cached, app, signer):
    """Another server may ask another application, or have other rules."""
    server = cached(http="""
        gcs_takeover_cache zone=v:1m valid=1m;
        server {
            listen             127.0.0.1:%%PORT_2%%;
            gcs_endpoint       %%EMULATOR%%;
            gcs_takeover_hosts %%GCS%%;
            location /signed/ {
                proxy_pass   http://app/second/;
                gcs_takeover @signed;
            }
            location @signed {
                gcs_pass $gcs_takeover_url;
                gcs_auth signature;
            }
        }""", location="")
    app.routes["/signed/a"] = redirect(signer.url("test-bucket", "a.txt"))
    app.routes["/second/a"] = Answer(403)
    asked = ANN | {"Host": "labels.example"}
    for _ in range(2):
        assert server.get("/signed/a", asked).body == BODY
        assert server.get("/signed/a", asked,
                          port=server.ports["PORT_2"]).status == 403
    assert len(app.requests) == 2


def test_two_cookies_headers_are_both_of_the_key(cached, app, ready):
    server = cached()
    for number, pairs in enumerate((["a=1", "b=2"], ["a=1", "b=3"], ["a=1"],
                                    ["b=2", "a=1"]), 1):
        headers = [("Host", "x"), *(("Cookie", pair) for pair in pairs)]
        for _ in range(2):
            assert server.get("/signed/", headers).body == BODY
        assert len(app.requests) == number, pairs


def test_a_key_of_one_s_own(cached, app, ready):
    """Who is asked for nothing else may say what tells clients apart."""
    server = cached("valid=1m key=$cookie_user$arg_token")
    assert server.get("/signed/", {"Cookie": "user=a; n=1"}).body == BODY
    assert server.get("/signed/", {"Cookie": "user=a; n=2"}).body == BODY
    assert len(app.requests) == 1
    assert server.get("/signed/", {"Cookie": "user=b"}).body == BODY
    assert server.get("/signed/x", {"Cookie": "user=a"}).body == BODY
    assert len(app.requests) == 3
    for _ in range(2):                     # nothing tells who it is
        assert server.get("/signed/", {"Cookie": "n=1"}).body == BODY
    assert len(app.requests) == 5


def test_a_write_takes_no_verdict(cached, app, ready):
    server = cached()
    assert server.get("/signed/", ANN).body == BODY
    for method in ("POST", "DELETE", "OPTIONS"):
        assert server.request(method, "/signed/", ANN, b"x").status == 303
    assert len(app.requests) == 4
    app.routes["/signed/no"] = Answer(403)
    assert server.get("/signed/no", ANN).status == 403
    app.routes["/signed/no"] = Answer(201)
    assert server.request("POST", "/signed/no", ANN, b"x").status == 201


# for how long

def test_a_permission_that_is_taken_back_ends_in_time(cached, app, ready):
    server = cached("valid=1s")
    assert server.get("/signed/", ANN).body == BODY
    app.default = Answer(403)
    start = time.monotonic()
    wait_until(lambda: server.get("/signed/", ANN).status == 403)
    assert time.monotonic() - start < 4 * SLOWNESS


def test_a_refusal_ends_in_time(cached, app, signer):
    server = cached("valid=1s")
    app.default = Answer(404)
    assert server.get("/signed/", ANN).status == 404
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    start = time.monotonic()
    wait_until(lambda: server.get("/signed/", ANN).status == 200)
    assert time.monotonic() - start < 4 * SLOWNESS


def test_a_verdict_ends_ten_seconds_before_the_signature(cached, app, signer):
    """A signature that ends on its way to GCS is of no use."""
    server = cached()
    for life, again in ((9, True), (13, False)):
        app.default = lambda asked: redirect(
            signer.url("test-bucket", "a.txt", life))  # noqa: B023
        app.requests.clear()
        assert server.get(f"/signed/{life}", ANN).body == BODY
        assert server.get(f"/signed/{life}", ANN).body == BODY
        assert (len(app.requests) == 2) == again
    start = time.monotonic()
    wait_until(lambda: server.get("/signed/13", ANN).body == BODY
               and len(app.requests) == 2)
    assert time.monotonic() - start < 4 * SLOWNESS


def test_a_zone_that_is_full_forgets_and_does_not_mix(cached, app, signer):
    server = cached(size="64k")
    url = signer.url("test-bucket", "a.txt")
    app.default = lambda asked: Answer(403) \
        if "bad" in asked.get("Cookie") else redirect(url)
    connection = server.connect()
    for _ in range(2):
        for number in range(150):
            who = "bad" if number % 3 == 0 else "good"
            answer = connection.get("/signed/", {"Cookie": f"{who}{number}"})
            assert answer.status == (403 if who == "bad" else 200)
    assert 200 < len(app.requests) <= 300
    last = len(app.requests)
    assert connection.get("/signed/", {"Cookie": "good149"}).body == BODY
    assert len(app.requests) == last
    assert not re.search(r"\[(alert|crit|error)\]", server.log())


# workers, reloads

def test_workers_share_verdicts(cached, app, ready):
    server = cached(server="add_header X-Pid $pid;", names={"workers": 2})
    pids = set()

    def asked_by_both() -> bool:
        answer = server.get("/signed/", ANN)
        assert answer.body == BODY
        pids.add(answer.get("X-Pid"))
        return len(pids) == 2

    wait_until(asked_by_both)
    assert len(app.requests) == 1


def test_a_reload_may_forget_but_not_confuse(cached, app, signer, emulator):
    emulator.put_object("test-bucket", "b.txt", b"other")
    server = cached()
    app.routes["/signed/a"] = redirect(signer.url("test-bucket", "a.txt"))
    app.routes["/signed/b"] = redirect(signer.url("test-bucket", "b.txt"))
    app.routes["/signed/c"] = Answer(404)

    def right() -> None:
        for _ in range(2):
            assert server.get("/signed/a", ANN).body == BODY
            assert server.get("/signed/b", ANN).body == b"other"
            assert server.get("/signed/c", ANN).status == 404

    right()
    server.reload(old_gone=True)
    right()
    # with another meaning of the same locations
    server.configure(configuration(
        location="gcs_takeover_cache zone=v:1m valid=1m;",
        named="gcs_takeover_unsigned on;", signed="gcs_buckets no-bucket;"))
    server.reload(old_gone=True)
    assert server.get("/signed/a", ANN).status == 303
    assert server.get("/signed/c", ANN).status == 404


def test_one_connection_may_ask_in_a_row(cached, app, ready):
    server = cached()
    connection = server.connect()
    connection.send(b"GET /signed/ HTTP/1.1\r\nHost: a\r\n"
                    b"Cookie: a=b\r\n\r\n" * 10)
    assert [connection.response().body for _ in range(10)] == [BODY] * 10
    assert len(app.requests) == 1


def test_a_request_with_a_body_asks_for_itself(cached, app, ready):
    server = cached()
    connection = server.connect()
    assert connection.get("/signed/", ANN).body == BODY
    for body in (b"x" * 10, b"y" * 100000):
        answer = connection.request("GET", "/signed/", ANN, body)
        assert answer.status == 303
        assert app.last().body == body
    assert connection.get("/signed/", ANN).body == BODY
    assert len(app.requests) == 3


# what lies in memory

def shared_memory(pid: int) -> bytes:
    """All that the workers share."""
    found = b""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        area, rights, *_ = line.split()
        if rights.startswith("rw") and rights.endswith("s"):
            start, end = (int(text, 16) for text in area.split("-"))
            with open(f"/proc/{pid}/mem", "rb") as memory:
                memory.seek(start)
                found += memory.read(end - start)
    return found


def test_no_secret_can_be_read_in_the_shared_memory(serve, app, signer,
                                                    emulator):
    cookie = "sessionid=the-cookie-of-ann-0123456789"
    name = "a-name-that-nobody-should-see.txt"
    emulator.put_object("test-bucket", name, BODY)
    server = serve(more=ORACLE, location="""
        gcs_takeover_cache zone=v:1m valid=1m;""")
    headers = {"Cookie": cookie, "Authorization": "Token of-ann-0123456789",
               "X-Api-Key": "key-of-ann-0123456789", "Host": "labels.example"}
    app.default = redirect(
        signer.url("test-bucket", name),
        ("Content-Disposition", "inline; filename=of-the-application"))
    for mode in MODES:
        for _ in range(2):
            assert server.get(f"/{mode}/of-a-task", headers).body == BODY
    app.default = Answer(206, [("Content-Range", "bytes 0-0/10")], b"0")
    target = "/tasks/7/resolve/?fileuri=" + fileuri("test-bucket", name)
    for _ in range(2):
        assert server.get(target, headers).body == BODY
    app.default = Answer(401, [("WWW-Authenticate", "the-challenge-it-was")])
    for _ in range(2):
        assert server.get("/signed/denied", headers).status == 401
    assert len(app.requests) == 4

    memory = shared_memory(server.children()[0])
    assert len(memory) > 1 << 20
    for secret in (cookie, "the-cookie-of-ann", "of-ann-0123456789", name,
                   "nobody-should-see", "/of-a-task", "X-Goog-",
                   "labels.example", "of-the-application", "gs://",
                   "the-challenge", target[-30:], *signer.made,
                   signer.made[0][:16]):
        assert secret.encode() not in memory, secret

"""Takeover beside the rest of nginx: access rules, error pages, retries.

Whoever fronts an application with nginx has more in his configuration than a
proxy_pass.  None of it may open the way to an object, or close it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from emulator import content
from harness.nginx import version, wait_until
from harness.studio import Answer, Application, accel, redirect
from harness.takeover import ANN, BODY, MODES, configuration, gcs, taken

pytest_plugins = ["harness.studio_plugin"]


@pytest.fixture
def ready(app, signer):
    """The application redirects to a.txt."""
    app.default = redirect(signer.url("test-bucket", "a.txt"))


# access rules

def test_access_rules_of_the_application_s_location_hold(
        serve, app, ready, emulator):
    server = serve(location="deny all;")
    assert server.get("/signed/").status == 403
    assert (app.requests, gcs(emulator)) == ([], [])


def test_rules_of_the_named_location_hold_as_well(serve, ready, emulator):
    server = serve(signed="deny all;", named="internal; allow all;")
    assert server.get("/signed/").status == 403
    assert gcs(emulator) == []
    assert server.get("/named/").body == BODY


def test_auth_basic_of_the_server_is_asked_for_once(
        serve, app, ready, emulator):
    server = serve(server="""
        auth_basic closed; auth_basic_user_file %%DIR%%/users;""",
                   start=False)
    (server.dir / "users").write_text("ann:{PLAIN}pass\n")
    server.start()
    assert server.get("/signed/").status == 401
    assert (app.requests, gcs(emulator)) == ([], [])
    basic = {"Authorization": "Basic YW5uOnBhc3M="}
    for mode in MODES:
        assert server.get(f"/{mode}/", basic).body == BODY
        sent = {name.lower(): value
                for name, value in gcs(emulator)[0]["headers"]}
        assert "YW5uOnBhc3M" not in sent.get("authorization", "")
    assert app.last().get("Authorization") == basic["Authorization"]


def test_auth_request_of_the_server_decides_first(serve, app, ready,
                                                  emulator):
    app.routes["/may"] = Answer(204)
    server = serve(server="auth_request /may;")
    for mode in MODES:
        assert server.get(f"/{mode}/").body == BODY
    app.routes["/may"] = Answer(403)
    gcs(emulator)
    before = len(app.requests)
    assert server.get("/signed/").status == 403
    assert [one.path for one in app.requests[before:]] == ["/may"]
    assert gcs(emulator) == []


def test_limit_req_of_the_server_counts_a_request_once(serve, ready):
    server = serve(http="limit_req_zone $server_addr zone=r:1m rate=1r/m;",
                   server="limit_req zone=r burst=2 nodelay;")
    assert [server.get("/signed/").status for _ in range(4)] \
        == [200, 200, 200, 503]


def test_if_and_limit_except_change_nothing(serve, app, ready, emulator):
    server = serve(location="""
        if ($arg_block)   { return 410; }
        if ($arg_header)  { add_header X-If 1; }
        if ($arg_rewrite) { rewrite ^/(signed|named)/(.*) /$1/new break; }
        limit_except GET POST { deny all; }
    """)
    for mode in MODES:
        assert server.get(f"/{mode}/?block=1").status == 410
        assert server.get(f"/{mode}/?header=1").body == BODY
        answer = server.get(f"/{mode}/?header=1&x=y", {"Range": "bytes=-2"})
        assert (answer.status, answer.body) == (206, b"89")
        assert app.last().target == f"/{mode}/?header=1&x=y"
        assert server.get(f"/{mode}/a?rewrite=1").body == BODY
        assert app.last().path == f"/{mode}/new"
        head = server.head(f"/{mode}/?header=1", {"If-None-Match": '"x"'})
        assert head.get("Content-Length") == "10"
        assert app.last().method == "GET"
        assert not {"if-match", "if-none-match"} & app.last().names
        assert server.request("PUT", f"/{mode}/", body=b"x").status == 403
        assert server.request("POST", f"/{mode}/", body=b"x").status == 303


def test_a_proxy_pass_in_an_if_is_taken_over_as_well(serve, app, ready):
    server = serve(location="if ($arg_if) { proxy_pass http://app; }")
    for mode in MODES:
        answer = server.get(f"/{mode}/?if=1", {"Range": "bytes=0-1",
                                               "If-None-Match": '"x"'})
        assert (answer.status, answer.body) == (206, b"01")
        assert "if-none-match" not in app.last().names
    app.default = Answer(404, body=b"not yours")
    answer = server.get("/signed/?if=1")
    assert (answer.status, answer.body) == (404, b"not yours")


def test_http_1_0_to_the_application_works(serve, app, ready):
    server = serve(configuration().replace("proxy_http_version 1.1;",
                                           "proxy_http_version 1.0;"))
    for mode in MODES:
        assert server.get(f"/{mode}/").body == BODY
    assert app.last().version == "HTTP/1.0"


# error pages

def test_an_error_page_for_303_changes_no_takeover(serve, app, signer, ready):
    server = serve(location="""
        proxy_intercept_errors on;
        error_page 303 301 = /caught;
        error_page 404 = /own404;
        error_page 502 504 /down;
    """, server="""
        location = /caught { return 200 caught; }
        location = /own404 { return 200 own; }
        location = /down { return 200 down; }
    """)
    for mode in MODES:
        assert server.get(f"/{mode}/").body == BODY
        assert server.head(f"/{mode}/").get("Content-Length") == "10"
    app.default = redirect("https://x.example/")
    assert server.get("/signed/").body == b"caught"
    app.default = Answer(404)
    assert server.get("/signed/").body == b"own"
    app.stop()
    answer = server.get("/signed/")
    assert (answer.status, answer.body) == (502, b"down")


def test_what_gcs_refuses_has_nginx_s_pages(serve, app, signer, emulator):
    server = serve(named="error_page 404 /none.html;",
                   server="location = /none.html { return 404 mine; }")
    app.default = redirect(signer.url("test-bucket", "none"))
    answer = server.get("/signed/")
    assert (answer.status, b"<center>nginx" in answer.body) == (404, True)
    assert b"Error" not in answer.body and b"NoSuchKey" not in answer.body
    assert server.get("/named/").body == b"mine"

    url = signer.url("test-bucket", "a.txt")
    app.default = redirect(url[:-2] + ("11" if url[-2:] == "00" else "00"))
    answer = server.get("/signed/")
    assert (answer.status, b"<center>nginx" in answer.body) == (403, True)
    assert server.get("/named/").body == BODY       # by our own identity
    # it was refused, and is not asked for again as if it were a token
    assert [one["status"] for one in gcs(emulator)] == [404, 404, 403, 200]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_served_without_the_application(serve, app, ready, mode,
                                                   emulator):
    server = serve()
    assert server.get(f"/{mode}/").body == BODY
    gcs(emulator)
    app.stop()
    for headers in ({}, {"Range": "bytes=0-1"}):
        answer = server.get(f"/{mode}/", headers)
        assert answer.status == 502
        assert b"<center>nginx" in answer.body
    assert server.head(f"/{mode}/").status == 502
    assert gcs(emulator) == []


def test_an_application_that_does_not_answer_is_504(serve, app, emulator,
                                                    signer):
    server = serve(location="proxy_read_timeout 300ms;")
    go = threading.Event()
    app.default = redirect(signer.url("test-bucket", "a.txt"), hold=go)
    assert server.get("/signed/").status == 504
    assert gcs(emulator) == []
    go.set()


def test_gcs_may_be_slower_than_the_application(serve, ready, emulator):
    """Each location has its own time limits."""
    server = serve(location="proxy_read_timeout 200ms;")
    emulator.fault(kind="storage", delay=0.6)
    assert server.get("/signed/").body == BODY


# the application's side

def test_connections_to_the_application_are_kept(serve, app, ready, emulator):
    server = serve()
    for count in range(8):
        for mode in MODES:
            assert server.get(f"/{mode}/").body == BODY
    assert emulator.connections()["storage"] == 1
    for mode in MODES:
        assert server.head(f"/{mode}/").status == 200
    assert app.connections == 1

    app.default.body = b"a short page that says so"
    for _ in range(8):
        assert server.get("/signed/").body == BODY
    assert app.connections == 1


def test_a_redirect_with_a_large_body_is_not_read_to_its_end(
        serve, app, signer):
    server = serve()
    url = signer.url("test-bucket", "a.txt")
    endless = (b"x" * 10000 for _ in iter(int, 1))
    app.default = redirect(url, body=endless, framing="chunked")
    assert server.get("/signed/").body == BODY
    wait_until(lambda: app.last().gone)
    for framing in ("length", "close"):
        app.default = redirect(url, body=b"y" * 100000, framing=framing)
        assert server.get("/named/").body == BODY


def test_a_kept_connection_that_ends_is_replaced(serve, app, signer):
    """The wrapper must be there for the second try, too."""
    server = serve()
    url = signer.url("test-bucket", "a.txt")
    seen = []

    def answer(asked):
        seen.append(asked.connection)
        # the second request of the first connection is not answered
        return Answer(raw=[]) if seen == [1, 1] else redirect(url)

    app.default = answer
    assert server.get("/signed/").body == BODY
    assert server.get("/signed/").body == BODY
    assert seen == [1, 1, 2]


def test_the_next_application_server_may_answer(serve, app, signer, emulator):
    with Application() as first:
        first.default = Answer(503, body=b"busy")
        server = serve(configuration(
            location="proxy_next_upstream error http_503;").replace(
                "server %%APP%%;",
                "server %%FIRST%% max_fails=0; server %%APP%% backup;"),
            names={"FIRST": first.address})
        app.default = redirect(signer.url("test-bucket", "a.txt"))
        for mode in MODES:
            answer = server.get(f"/{mode}/", {"If-None-Match": '"x"'})
            assert answer.body == BODY
        assert (len(first.requests), len(app.requests)) == (2, 2)
        assert not any("if-none-match" in one.names for one in app.requests)
        assert taken(server)[0][3] == "503, 303 : 200"


def test_a_header_in_many_pieces_is_read(serve, app, signer):
    server = serve()
    url = signer.url("test-bucket", "a.txt")
    head = (f"HTTP/1.1 303 See Other\r\nSet-Cookie: a=1\r\nLocation: {url}\r\n"
            "X: 1\r\nContent-Length: 0\r\n\r\n").encode()
    for cuts in ([1], [12], [25], [60], [len(head) - 2], [5, 30, 200, 400],
                 list(range(100, len(head), 100))):
        edges = [0, *cuts, len(head)]
        app.default = Answer(raw=[head[a:b] for a, b
                                  in zip(edges, edges[1:])])
        for mode in MODES:
            answer = server.get(f"/{mode}/")
            assert (answer.status, answer.body) == (200, BODY), cuts
            assert answer.get("Set-Cookie") == "a=1"


def test_http_1_0_of_the_application_is_understood(serve, app, signer):
    server = serve()
    url = signer.url("test-bucket", "a.txt")
    for text in (f"HTTP/1.0 302 Found\r\nLocation: {url}\r\n\r\n",
                 f"HTTP/1.1 303 X\r\nlocation:{url}\r\n\r\nbody",
                 f"HTTP/1.1 307 \r\nLOCATION:   {url}  \r\n\r\n"):
        app.default = Answer(raw=[text.encode()])
        assert server.get("/signed/").body == BODY, text


@pytest.mark.skipif(version() < (1, 29, 4),
                    reason="nginx speaks HTTP/2 to upstreams since 1.29.4")
def test_http_2_to_the_application_works(serve, app, signer, emulator):
    """An nginx before the application speaks it."""
    server = serve(http="""
        server {
            listen 127.0.0.1:%%PORT_H2%%;
            http2  on;
            location / { proxy_pass http://app; proxy_redirect off; }
        }""", more="""
        location /h2/ {
            proxy_http_version 2;
            proxy_pass         http://127.0.0.1:%%PORT_H2%%;
            gcs_takeover       @signed;
        }
        location /value/ {
            proxy_http_version 2;
            proxy_pass         http://127.0.0.1:%%PORT_H2%%;
            gcs_takeover       @named gs://test-bucket/a.txt;
        }""")
    app.default = redirect(signer.url("test-bucket", "a.txt"),
                           ("Set-Cookie", "a=1"), body=b"x" * 70000)
    for _ in range(3):
        answer = server.get("/h2/", {"Range": "bytes=2-4",
                                     "If-None-Match": '"x"'})
        assert (answer.status, answer.body) == (206, b"234")
        assert answer.get("Set-Cookie") == "a=1"
        assert "if-none-match" not in app.last().names
        assert server.head("/h2/").get("Content-Length") == "10"
        assert app.last().method == "GET"
    app.default = Answer(206, [("Content-Range", "bytes 0-0/10")], b"0")
    assert server.get("/value/").body == BODY
    app.default = Answer(404, body=b"not here")
    answer = server.get("/h2/")
    assert (answer.status, answer.body) == (404, b"not here")


def test_an_upstream_may_be_named_by_a_variable(serve, app, ready):
    server = serve(http="map $arg_to $backend { default app; }", more="""
        location ~ ^/regex/(\\d+)/(?:resolve|presign)/?$ {
            proxy_pass   http://$backend;
            gcs_takeover @signed;
        }
        location /uri/ {
            proxy_pass   http://app/other/;
            gcs_takeover @named;
        }
        location /var/ {
            proxy_pass   http://$backend/x$request_uri;
            gcs_takeover @signed;
        }""")
    for target, asked in (("/regex/7/resolve/?fileuri=Z3M=&x=%20",) * 2,
                          ("/regex/7/presign",) * 2,
                          ("/uri/a%20b?c=d", "/other/a%20b?c=d"),
                          ("/var/y?z", "/x/var/y?z")):
        assert server.get(target).body == BODY, target
        assert app.last().target == asked
        assert server.head(target).status == 200
        assert app.last().method == "GET"


def test_several_locations_take_over_to_one_and_to_several(
        serve, app, signer, emulator):
    emulator.create_bucket("other-bucket")
    emulator.put_object("other-bucket", "b.txt", b"other")
    emulator.grant(signer.name, "other-bucket", ["objectViewer"])
    server = serve(more="""
        location /one/ { proxy_pass http://app; gcs_takeover @signed; }
        location /one/two/ { proxy_pass http://app; gcs_takeover @named; }
        location /off/ { proxy_pass http://app; }
        location = /exact { proxy_pass http://app; gcs_takeover @other; }
        location @other {
            gcs_pass    $gcs_takeover_url;
            gcs_auth    signature;
            gcs_buckets other-bucket;
        }""")
    app.default = redirect(signer.url("other-bucket", "b.txt"))
    assert server.get("/one/").body == b"other"
    assert server.get("/exact").body == b"other"
    assert server.get("/one/two/").status == 303
    assert server.get("/off/").status == 303
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    assert server.get("/one/two/").body == BODY
    assert server.get("/exact").status == 303
    assert server.get("/one/").body == BODY


def test_the_named_location_is_not_for_others(serve, app, signer, emulator):
    """Without a takeover there is no signature, and nothing is served."""
    server = serve(more="""
        location /hop/ { error_page 404 = @signed; return 404; }
        location /try/ { try_files /none @signed; }
        location /accel/ { proxy_pass http://app; }
    """)
    app.default = Answer(200, [("X-Accel-Redirect", "@signed")])
    for target in ("/hop/", "/try/", "/accel/"):
        assert server.get(target).status in (400, 403, 500), target
    assert gcs(emulator) == []


# nginx's own settings

def test_a_cache_of_the_server_keeps_no_verdict_and_no_object(
        serve, app, signer, emulator):
    """A verdict is for one client, and a signature is in no cache."""
    server = serve(
        signed="proxy_cache off;",
        http="proxy_cache_path %%DIR%%/cache keys_zone=z:1m;",
        server="""proxy_cache z; proxy_cache_valid any 10m;
                  proxy_cache_key $request_uri; proxy_cache_use_stale error;
                  proxy_ignore_headers Cache-Control Expires Set-Cookie;""")
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    for mode in MODES:
        for _ in range(3):
            assert server.get(f"/{mode}/").body == BODY
    assert len(app.requests) == 6
    app.default = Answer(403, body=b"no more")
    for mode in MODES:
        assert server.get(f"/{mode}/").status == 403
    files = [path for path in (server.dir / "cache").rglob("*")
             if path.is_file()]
    assert not any(b"X-Goog-Signature" in path.read_bytes()
                   for path in files)


@pytest.mark.parametrize("setting", [
    "proxy_buffering off;", "proxy_buffer_size 2k; proxy_buffers 4 2k; "
    "proxy_busy_buffers_size 4k;", "proxy_request_buffering off;",
    "proxy_ignore_client_abort on;",
    "proxy_pass_request_headers off;", "proxy_redirect off;",
    "proxy_redirect ~^(.*)$ https://evil.example/$1;", "gzip on;",
    "proxy_pass_request_body off;", "proxy_hide_header Location;",
    "proxy_pass_header Server;", "charset utf-8;", "expires 1h;",
    "proxy_force_ranges on;", "proxy_limit_rate 10m;", "etag off;",
    "if_modified_since off;", "max_ranges 0;", "sendfile on; aio off;"])
def test_it_works_beside(serve, app, signer, emulator, setting):
    server = serve(server=setting)
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    emulator.put_object("test-bucket", "big", size=300000, seed=3)
    for mode in MODES:
        assert server.get(f"/{mode}/").body == BODY
        assert server.get(f"/{mode}/", {"Range": "bytes=2-4"}).status == 206
    app.default = accel(signer.url("test-bucket", "big"))
    for mode in MODES:
        assert server.get(f"/{mode}/").body == content(3, 0, 300000)


def test_a_reload_ends_no_request(serve, app, signer, emulator):
    server = serve()
    go = threading.Event()
    app.default = redirect(signer.url("test-bucket", "a.txt"), hold=go)
    connection = server.connect()
    connection.send(b"GET /signed/ HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: app.requests)
    server.reload()
    go.set()
    answer = connection.response()
    assert (answer.status, answer.body) == (200, BODY)

    emulator.fault(kind="storage", delay=1)
    connection = server.connect()
    connection.send(b"GET /named/ HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: len(app.requests) == 2)
    server.reload()
    assert connection.response().body == BODY


def test_a_client_that_leaves_leaves_nothing_behind(serve, app, signer,
                                                    emulator):
    server = serve()
    go = threading.Event()
    app.default = redirect(signer.url("test-bucket", "a.txt"), hold=go)
    for mode in MODES:
        connection = server.connect()
        connection.send(f"GET /{mode}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        wait_until(lambda: app.requests and app.last().path == f"/{mode}/")
        connection.close()
    server.wait_log(r"^499", count=1, name="takeover.log")
    go.set()
    assert server.get("/signed/").body == BODY
    assert len(gcs(emulator)) == 1


def curl(server, target: str, *options: str) -> tuple[list[str], bytes]:
    """Status line and headers, and the body, by HTTP/2."""
    done = subprocess.run(
        ["curl", "-sS", "--http2-prior-knowledge", "--noproxy", "*", "-i",
         "--max-time", "20", *options,
         f"http://127.0.0.1:{server.ports['PORT_2']}{target}"],
        capture_output=True, check=True)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    return head.decode().lower().split("\r\n"), body


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_clients_of_http_2_get_the_same(serve, app, signer, emulator):
    flag, on = (" http2", "") if version() < (1, 25, 1) else ("", "http2 on;")
    server = serve(more=f"listen 127.0.0.1:%%PORT_2%%{flag}; {on}")
    app.default = redirect(signer.url("test-bucket", "a.txt"),
                           ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
    for mode in MODES:
        head, body = curl(server, f"/{mode}/", "-H", "Cookie: a=b")
        assert (head[0].split()[:2], body) == (["http/2", "200"], BODY)
        assert head.count("set-cookie: a=1") == 1
        assert head.count("set-cookie: b=2") == 1
        assert app.last().get("Cookie") == "a=b"
        head, body = curl(server, f"/{mode}/", "-r", "2-4")
        assert (head[0].split()[1], body) == ("206", b"234")
        head, body = curl(server, f"/{mode}/", "-I")
        assert "content-length: 10" in head
        assert app.last().method == "GET"
    app.default = Answer(401, [("WWW-Authenticate", "Token")], b"who?")
    head, body = curl(server, "/signed/")
    assert (head[0].split()[1], body) == ("401", b"who?")
    assert "www-authenticate: token" in head


# what is logged

def test_variables_tell_what_was_done(serve, app, signer, emulator):
    server = serve()
    url = signer.url("test-bucket", "ü b?.txt")
    emulator.put_object("test-bucket", "ü b?.txt", BODY)
    name = "gs://test-bucket/ü b?.txt"
    rows = [(redirect(url), "redirect", name, "303 : 200"),
            (accel(url), "accel", name, "200 : 200"),
            (Answer(404), "passed", "", "404"),
            (redirect("https://x.example/"), "passed", "", "303")]
    for answer, status, found, upstream in rows:
        app.default = answer
        server.get("/signed/")
        server.head("/named/")
    server.get("/", port=server.ports["PORT"])
    server.request("POST", "/signed/", body=b"")
    lines = taken(server, 10)
    for number, (_, *row) in enumerate(rows):
        assert lines[2 * number][1:] == row
        assert lines[2 * number + 1][1:] == row
    assert lines[8][1:] == ["", "", "303"]
    assert lines[9][1:3] in (["", ""], ["passed", ""])


def test_a_redirect_that_is_not_taken_says_why(serve, app, signer):
    server = serve()
    app.default = redirect(signer.url("other-bucket", "a.txt"))
    server.get("/named/")
    app.default = redirect("https://x.example/?token=secret-of-x")
    server.get("/named/")
    lines = server.wait_log(r"gcs takeover: .*not taken: .*", count=2)
    assert "gcs_buckets" in lines[0].group()
    assert "secret-of-x" not in server.log()
    assert not re.search(r"\[(error|crit|alert)\]", server.log())


# another server of the application, and one that is not there

@pytest.mark.parametrize("status", [403, 404])
def test_another_server_is_asked_before_a_refusal_counts(
        status, serve, app, signer):
    server = serve(
        http="upstream two { server %%APP%%; server %%APP%%; }",
        location="gcs_takeover_cache zone=v:1m valid=1m;",
        more=f"""location /two/ {{
            proxy_pass          http://two;
            proxy_next_upstream http_{status};
            gcs_takeover        @signed;
            gcs_takeover_cache  zone=v:1m valid=1m;
        }}""")
    hold = threading.Event()
    answers = [Answer(status),
               redirect(signer.url("test-bucket", "a.txt"), hold=hold)]
    app.default = lambda asked: answers[(len(app.requests) - 1) % 2]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.get, "/two/", ANN)
        wait_until(lambda: len(app.requests) == 2)
        second = pool.submit(server.get, "/two/", ANN)
        time.sleep(0.3)
        hold.set()
        assert (first.result().body, second.result().body) == (BODY, BODY)
    assert len(app.requests) == 2
    assert sorted(line[1] for line in taken(server, 2)) \
        == ["cached", "redirect"]


def test_who_fails_at_once_keeps_nobody_waiting(serve, app, ready):
    server = serve(location="gcs_takeover_cache zone=v:1m valid=1m;", more="""
        location = /sorry { return 200 sorry; }
        location /none/ {
            proxy_pass         http://$arg_host;
            error_page         500 502 = /sorry;
            gcs_takeover       @signed;
            gcs_takeover_cache zone=v:1m valid=1m;
        }""")
    for _ in range(3):
        assert server.get("/none/?host=nobody.test", ANN).body == b"sorry"
    server.expect("no resolver defined")


def test_two_redirects_are_none(serve, app, signer):
    url = signer.url("test-bucket", "a.txt")
    app.default = accel(url, *accel(url).headers)
    server = serve()
    assert server.get("/signed/").body.startswith(b"nginx's own: ")
    assert taken(server)[0][1] == "passed"

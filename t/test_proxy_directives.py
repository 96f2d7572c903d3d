"""Stock directives in a gcs_pass location: each as nginx users expect.

And those that would break its safety: refused with name, line and remedy, or,
if inherited from an outer level, without effect.
"""

from __future__ import annotations

import base64
import re
import struct
import time
import zlib

import pytest

from emulator import content
from harness.nginx import free_port, wait_until

BODY = b"hello from the bucket"


def conf(inner: str = "", http: str = "", server: str = "",
         target: str = "gs://test-bucket") -> str:
    return f"""
        gcs_credentials reader {{ file %%KEY%%; }}
        gcs_auth reader;
        gcs_endpoint %%EMULATOR%%;
        {http}
        server {{
            listen 127.0.0.1:%%PORT%%;
            location /m/ {{
                gcs_pass {target};
                {inner}
            }}
            {server}
        }}
    """


@pytest.fixture
def serve(nginx):
    def make(*args, **kw):
        names = {k: kw.pop(k) for k in list(kw)
                 if k in ("modules", "log_level") or k.isupper()}
        server = nginx(conf(*args, **kw), **names)
        server.wait_log("token refreshed")
        return server
    return make


@pytest.fixture
def a_txt(emulator, bucket):
    return emulator.put_object(bucket, "a.txt", BODY,
                               content_type="text/plain")


def headers(record) -> dict[str, str]:
    return {name.lower(): value for name, value in record["headers"]}


# rates, times, buffers


@pytest.mark.parametrize("directive", [
    "limit_rate 500k;", "proxy_limit_rate 500k;",
    "limit_rate_after 100k; limit_rate 500k;", "set $limit_rate 500k;",
])
def test_a_rate_limit_limits(serve, emulator, key_file, bucket, directive):
    emulator.put_object(bucket, "o", size=1_200_000, seed=1)
    server = serve(directive)
    start = time.monotonic()
    response = server.get("/m/o")
    took = time.monotonic() - start
    assert (response.status, response.body) == (200, content(1, 0, 1_200_000))
    assert 0.9 < took < 6


def test_without_a_rate_limit_there_is_none(serve, emulator, key_file,
                                            bucket):
    emulator.put_object(bucket, "o", size=20_000_000, seed=1)
    server = serve()
    start = time.monotonic()
    assert server.get("/m/o").body == content(1, 0, 20_000_000)
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("directive", [
    "proxy_buffering off;", "proxy_buffering on;",
    "proxy_buffering off; limit_rate 50m;",
    "proxy_buffers 8 4k; proxy_buffer_size 8k;",
    "proxy_buffers 16 128k; proxy_busy_buffers_size 256k;"
    " proxy_buffer_size 128k;",
    "proxy_max_temp_file_size 1m; limit_rate 20m;",
    "proxy_http_version 1.0;", "proxy_http_version 1.1;",
    "proxy_force_ranges on;", "sendfile on; aio threads;", "gzip on;",
    "proxy_store on; proxy_store_access user:rw;"
    " root %%DIR%%/store;",
])
def test_the_bytes_are_right_whatever_the_buffers_are(
        serve, emulator, key_file, bucket, directive):
    emulator.put_object(bucket, "o", size=3_000_000, seed=2)
    server = serve(directive)
    for _ in range(2):
        response = server.get("/m/o")
        assert response.status == 200
        assert response.body == content(2, 0, 3_000_000)
        part = server.get("/m/o", {"Range": "bytes=1000000-1999999"})
        assert part.status == 206
        assert part.body == content(2, 1_000_000, 2_000_000)


def test_buffers_of_an_outer_level_are_taken(serve, emulator, key_file,
                                             bucket):
    """The module's own would be an error beside these."""
    emulator.put_object(bucket, "o", size=300_000, seed=2)
    server = serve(http="proxy_buffers 4 8k; proxy_buffer_size 8k;"
                        "proxy_busy_buffers_size 16k;")
    assert server.get("/m/o").body == content(2, 0, 300_000)


@pytest.mark.parametrize("directive, fault", [
    ("proxy_read_timeout 300ms;", {"hang": True}),
    ("proxy_read_timeout 300ms;", {"delay": 5}),
])
def test_proxy_read_timeout_is_504(serve, emulator, key_file, a_txt,
                                   directive, fault):
    server = serve(directive + "add_header X-Error $gcs_error always;")
    emulator.fault(kind="storage", count=None, **fault)
    start = time.monotonic()
    response = server.get("/m/a.txt")
    assert response.status == 504
    assert response.get("X-Error") == "upstream_timeout"
    assert time.monotonic() - start < 4


def test_proxy_read_timeout_ends_a_body_that_stalls(serve, emulator, key_file,
                                                    bucket):
    emulator.put_object(bucket, "o", size=300_000, seed=2)
    server = serve("proxy_read_timeout 300ms;")
    emulator.fault(kind="storage", stall_after=100_000)
    start = time.monotonic()
    with pytest.raises(ConnectionError) as caught:
        server.get("/m/o")
    assert caught.value.response.body == content(2, 0, 100_000)
    assert time.monotonic() - start < 4


def test_an_endpoint_that_refuses_is_502(serve, emulator, key_file, a_txt):
    server = serve("gcs_endpoint http://127.0.0.1:%%DEAD%%;"
                   "add_header X-Error $gcs_error always;", DEAD=free_port())
    response = server.get("/m/a.txt")
    assert response.status == 502
    assert response.get("X-Error") == "upstream_error"
    assert "Connection refused" in server.log()


# the upstream


POOL = """upstream pool { server 127.0.0.1:%%DEAD%% max_fails=0;
                          server 127.0.0.1:%%EMU%%; keepalive 4; }"""
TO_POOL = "gcs_endpoint http://pool host=storage.googleapis.com;"


def test_the_next_server_of_an_upstream_is_tried(serve, emulator, key_file,
                                                 a_txt):
    server = serve(TO_POOL, http=POOL, DEAD=free_port(),
                   EMU=emulator.http_port)
    for _ in range(4):
        response = server.get("/m/a.txt")
        assert (response.status, response.body) == (200, BODY)
    assert {r["host"] for r in emulator.requests("storage")} \
        == {"storage.googleapis.com"}
    assert len(emulator.requests("storage")) == 4


def test_the_next_server_is_not_tried_where_that_is_off(serve, emulator,
                                                        key_file, a_txt):
    server = serve(TO_POOL + "proxy_next_upstream off;", http=POOL,
                   DEAD=free_port(), EMU=emulator.http_port)
    assert {server.get("/m/a.txt").status for _ in range(4)} == {200, 502}


def test_a_retry_after_401_works_beside_a_dead_server(serve, emulator,
                                                      key_file, a_txt):
    server = serve(TO_POOL, http=POOL, DEAD=free_port(),
                   EMU=emulator.http_port)
    assert server.get("/m/a.txt").body == BODY
    emulator.revoke_tokens()
    response = server.get("/m/a.txt")
    assert (response.status, response.body) == (200, BODY)


@pytest.mark.parametrize("version, connections", [("1.0", 3), ("1.1", 1)])
def test_proxy_http_version_is_used(serve, emulator, key_file, a_txt, version,
                                    connections):
    server = serve(f"proxy_http_version {version};")
    for _ in range(3):
        assert server.get("/m/a.txt").body == BODY
    assert {r["version"] for r in emulator.requests("storage")} == {version}
    assert emulator.connections()["storage"] == connections


# access


@pytest.mark.parametrize("code, status", [(204, 200), (200, 200), (401, 401),
                                          (403, 403)])
def test_auth_request_decides(serve, emulator, key_file, a_txt, code, status):
    server = serve("auth_request /ask;",
                   server=f"location = /ask {{ return {code}; }}")
    response = server.get("/m/a.txt")
    assert response.status == status
    assert (response.body == BODY) == (status == 200)
    assert len(emulator.requests("storage")) == (1 if status == 200 else 0)


def test_auth_request_may_ask_the_bucket(serve, emulator, key_file, a_txt):
    """A subrequest to GCS, with nothing of the client's request."""
    emulator.put_object("test-bucket", "ok", b"yes")
    server = serve("auth_request /ask/$arg_who;", server="""
        location /ask/ { internal; gcs_pass gs://test-bucket; }""")
    # auth_request takes no variables: the name is literal
    assert server.get("/m/a.txt").status in (403, 500)

    server = serve("auth_request /ask/ok;", server="""
        location /ask/ { internal; gcs_pass gs://test-bucket; }""")
    emulator.reset_requests()
    part = server.get("/m/a.txt", {"Range": "bytes=0-4",
                                   "If-None-Match": '"x"'})
    assert (part.status, part.body) == (206, BODY[:5])
    first, second = emulator.requests("storage")
    assert (first["target"], first["status"]) == ("/test-bucket/ok", 200)
    assert "range" not in headers(first)
    assert second["target"] == "/test-bucket/a.txt"


@pytest.mark.parametrize("rules, status", [
    ("satisfy any; deny all; auth_request /yes;", 200),
    ("satisfy any; allow 127.0.0.1; auth_request /no;", 200),
    ("satisfy any; deny all; auth_request /no;", 403),
    ("satisfy all; allow 127.0.0.1; auth_request /no;", 403),
    ("deny all;", 403),
])
def test_satisfy_and_its_kin(serve, emulator, key_file, a_txt, rules, status):
    server = serve(rules, server="""location = /yes { return 204; }
                                    location = /no { return 403; }""")
    assert server.get("/m/a.txt").status == status
    assert len(emulator.requests("storage")) == (1 if status == 200 else 0)


def test_auth_basic_is_asked_and_not_passed_on(serve, emulator, key_file,
                                               a_txt, tmp_path):
    (tmp_path / "users").write_text("u:{PLAIN}p\n")
    server = serve('auth_basic "x"; auth_basic_user_file %%USERS%%;',
                   USERS=tmp_path / "users")
    refused = server.get("/m/a.txt")
    assert refused.status == 401
    assert refused.get("WWW-Authenticate") == 'Basic realm="x"'
    value = "Basic " + base64.b64encode(b"u:p").decode()
    assert server.get("/m/a.txt", {"Authorization": value}).body == BODY
    record, = emulator.requests("storage")
    assert headers(record)["authorization"].startswith("Bearer ")


# filters


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))
    rows = b"".join(b"\0" + bytes((x * 3 % 256, y * 5 % 256, 99)[i % 3]
                                  for x in range(width) for i in range(3))
                    for y in range(height))
    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0,
                                         0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


IMAGES = "ngx_http_image_filter_module.so"


def test_image_filter_resizes(serve, emulator, key_file, bucket):
    emulator.put_object(bucket, "i.png", png(200, 100),
                        content_type="image/png")
    emulator.put_object(bucket, "t.txt", b"no image",
                        content_type="text/plain")
    server = serve("image_filter resize 50 -; image_filter_buffer 5m;",
                   modules=[IMAGES])
    response = server.get("/m/i.png")
    assert response.status == 200
    assert response.get("Content-Type") == "image/png"
    assert struct.unpack(">II", response.body[16:24]) == (50, 25)
    # what is not an image is refused by that module in its own way
    assert server.get("/m/t.txt").status == 415
    assert server.get("/m/none.png").status in (404, 415)
    assert server.get("/m/i.png").status == 200


def test_sub_filter_replaces(serve, emulator, key_file, a_txt):
    server = serve("sub_filter bucket pail; sub_filter_types text/plain;")
    assert server.get("/m/a.txt").body == BODY.replace(b"bucket", b"pail")


def test_add_header_and_expires_work(serve, emulator, key_file, a_txt):
    server = serve("add_header X-One 1; add_header X-Two 2 always;"
                   "expires 1h;")
    good, bad = server.get("/m/a.txt"), server.get("/m/none")
    assert (good.get("X-One"), good.get("X-Two")) == ("1", "2")
    assert good.get("Cache-Control") == "max-age=3600"
    assert (bad.status, bad.get("X-One"), bad.get("X-Two")) == (404, None, "2")


def test_proxy_hide_header_hides(serve, emulator, key_file, a_txt):
    server = serve("proxy_hide_header ETag;")
    assert "etag" not in server.get("/m/a.txt").names


def test_addition_puts_objects_around(serve, emulator, key_file, a_txt):
    emulator.put_object("test-bucket", "head", b"[", content_type="text/html")
    emulator.put_object("test-bucket", "foot", b"]")
    server = serve("addition_types text/plain; add_before_body /m2/head;"
                   "add_after_body /m2/foot;",
                   server="location /m2/ { gcs_pass gs://test-bucket; }")
    response = server.get("/m/a.txt")
    assert (response.status, response.body) == (200, b"[" + BODY + b"]")


PAGE = ('<!--# include virtual="/m/a.txt" -->|'
        '<!--# include virtual="/m/b.txt" -->')


@pytest.mark.parametrize("place", ["/page", "/m/page"])
def test_ssi_includes_whole_objects(serve, emulator, key_file, a_txt, place):
    emulator.put_object("test-bucket", "b.txt", b"the other")
    emulator.put_object("test-bucket", "page", PAGE.encode(),
                        content_type="text/html")
    server = serve("ssi on;", server=f"""
        location = /page {{ ssi on; default_type text/html;
                            return 200 '{PAGE}'; }}""")
    expected = BODY + b"|the other"
    assert server.get(place).body == expected
    emulator.reset_requests()
    if place == "/page":
        response = server.get(place, {
            "Range": "bytes=0-3", "If-None-Match": a_txt["etag"],
            "If-Modified-Since": "Mon, 01 Jan 2035 00:00:00 GMT"})
        assert (response.status, response.body) == (200, expected)
        for record in emulator.requests("storage"):
            assert not {n for n in headers(record)
                        if n == "range" or n[:3] == "if-"}


def test_an_include_that_is_missing_shows_nothing_of_google(
        serve, emulator, key_file, a_txt):
    server = serve(server="""location = /page {
        ssi on; default_type text/html;
        return 200 'a<!--# include virtual="/m/none" -->b'; }""")
    body = server.get("/page").body
    assert body.startswith(b"a") and body.endswith(b"b")
    assert b"<Code>" not in body and b"NoSuchKey" not in body


def test_mirror_copies_requests_to_a_bucket_and_from_one(
        serve, emulator, key_file, a_txt):
    emulator.put_object("test-bucket", "copy/m/a.txt", b"mirrored")
    server = serve("mirror /copy;", server="""
        location = /copy { internal;
                           gcs_pass gs://test-bucket/copy$request_uri;
                           gcs_buckets test-bucket; }""")
    part = server.get("/m/a.txt", {"Range": "bytes=0-4"})
    assert (part.status, part.body) == (206, BODY[:5])
    wait_until(lambda: len(emulator.requests("storage")) == 2)
    assert {r["target"] for r in emulator.requests("storage")} \
        == {"/test-bucket/a.txt", "/test-bucket/copy/m/a.txt"}


# redirects inside


@pytest.mark.parametrize("page, status, body", [
    ("error_page 404 /sorry;", 404, b"sorry NoSuchKey"),
    ("error_page 404 =200 /sorry;", 200, b"sorry NoSuchKey"),
    ("error_page 404 = @sorry;", 418, b"named NoSuchKey"),
    ("error_page 404 =200 /m/a.txt;", 200, BODY),
    ("error_page 404 https://example.com/;", 302, None),
    ("error_page 404 = @other;", 200, b"from the other"),
])
def test_error_page_answers_instead(serve, emulator, key_file, a_txt, page,
                                    status, body):
    emulator.put_object("test-bucket", "other/m/none", b"from the other")
    server = serve(page, server="""
        location = /sorry { return 200 "sorry $gcs_error"; }
        location @sorry { return 418 "named $gcs_error"; }
        location @other { gcs_pass gs://test-bucket/other; }""")
    response = server.get("/m/none")
    assert response.status == status
    assert body is None or response.body == body
    assert b"<Code>" not in response.body
    assert server.get("/m/a.txt").body == BODY


@pytest.mark.parametrize("gcs, status", [(403, 403), (503, 503), (500, 502)])
def test_error_page_of_every_mapped_status(serve, emulator, key_file, a_txt,
                                           gcs, status):
    server = serve(f"error_page {status} /sorry;"
                   "proxy_next_upstream_tries 1;", server="""
        location = /sorry { return 200 "sorry"; }""")
    emulator.fault(kind="storage", status=gcs, count=None)
    response = server.get("/m/a.txt")
    assert (response.status, response.body) == (status, b"sorry")


APP = """
    location /app/ { proxy_pass http://127.0.0.1:%%PORT%%/backend/; }
    location /backend/ {
        add_header X-Accel-Redirect /m/$arg_name;
        add_header Set-Cookie "s=1";
        add_header Content-Disposition "attachment; filename=x";
        return 200 "of the application";
    }
"""


def test_x_accel_redirect_serves_an_object(serve, emulator, key_file, a_txt):
    emulator.put_object("test-bucket", "ä b+c%.txt", b"special")
    server = serve("internal;", server=APP)
    assert server.get("/m/a.txt").status == 404

    response = server.get("/app/?name=a.txt")
    assert (response.status, response.body) == (200, BODY)
    assert response.get("Content-Length") == str(len(BODY))
    assert response.all("Content-Type") == ["text/plain"]
    assert response.get("ETag") == a_txt["etag"]
    assert response.get("Set-Cookie") == "s=1"
    assert response.get("Content-Disposition") == "attachment; filename=x"
    assert "x-accel-redirect" not in response.names

    part = server.get("/app/?name=a.txt", {"Range": "bytes=6-9"})
    assert (part.status, part.body) == (206, BODY[6:10])
    assert server.get("/app/?name=a.txt", {
        "If-None-Match": a_txt["etag"]}).status == 304
    assert server.head("/app/?name=a.txt").status == 200
    assert server.get("/app/?name=none").status == 404
    assert server.get("/app/?name=%C3%A4%20b%2Bc%25.txt").body == b"special"


def test_rewrite_and_try_files_reach_the_location(serve, emulator, key_file,
                                                  a_txt):
    server = serve(server="""
        location /old/ { rewrite ^/old/(.*)$ /m/$1 last; }
        location /try/ { try_files $uri @m; }
        location @m { rewrite ^/try/(.*)$ /$1 break;
                      gcs_pass gs://test-bucket; }""")
    assert server.get("/old/a.txt").body == BODY
    assert server.get("/try/a.txt").body == BODY


# what is refused


REFUSED = {
    "proxy_pass": "http://127.0.0.1:1", "proxy_set_header": "Host x",
    "proxy_method": "POST", "proxy_set_body": "x",
    "proxy_pass_request_headers": "on", "proxy_pass_request_body": "on",
    "proxy_ssl_verify": "on", "proxy_ssl_trusted_certificate": "%%KEY%%",
    "proxy_ssl_name": "x", "proxy_ssl_server_name": "on",
    "proxy_ssl_verify_depth": "3", "proxy_ssl_crl": "%%KEY%%",
    "proxy_ssl_ciphers": "ALL", "proxy_ssl_protocols": "TLSv1",
    "proxy_ssl_conf_command": "Options X", "proxy_ssl_certificate": "%%KEY%%",
    "proxy_ssl_certificate_key": "%%KEY%%",
}


@pytest.mark.parametrize("block", ["%s", "if ($arg_x) { %s }",
                                   "limit_except GET { %s }"])
def test_what_would_break_safety_is_refused(nginx, emulator, key_file, block):
    wrong = {}
    for number, (name, value) in enumerate(REFUSED.items()):
        server = nginx(conf(block % f"{name} {value};"), start=False)
        tested = server.test()
        if "directive is not allowed here" in tested.stderr:
            continue                       # by nginx itself, in such a block
        line = next(n for n, text in enumerate(
            server.conf.read_text().splitlines(), 1) if "gcs_pass" in text)
        lines = [text for text in tested.stderr.splitlines()
                 if "[emerg]" in text]
        if not (tested.returncode == 1 and len(lines) == 1
                and f'"{name}"' in lines[0] and '"gcs_pass"' in lines[0]
                and re.search(rf"nginx\.conf:{line}$", lines[0])
                and re.search(rf'{name}".*[:;] .{{8,}} in /', lines[0])):
            wrong[name] = tested.stderr
    assert wrong == {}


@pytest.mark.parametrize("level", ["http", "server", "outer location"])
def test_an_outer_proxy_set_body_is_refused_where_writes_are_allowed(
        nginx, emulator, key_file, level):
    """It cannot be taken back, and would be stored in place of the body."""
    body = "proxy_set_body x;"
    outer = {"http": conf("gcs_methods PUT;", http=body),
             "server": conf("gcs_methods PUT;", server=body),
             "outer location": conf(body + """
                 location /m/n/ { gcs_pass gs://test-bucket; gcs_methods PUT; }
             """).replace("gcs_pass", "#", 1)}[level]
    server = nginx(outer, start=False)
    tested = server.test()
    assert tested.returncode == 1
    line = next(n for n, text in enumerate(
        server.conf.read_text().splitlines(), 1)
        if "gcs_pass" in text)
    assert re.search(rf'"proxy_set_body" at an outer level .*"gcs_methods".*'
                     rf"nginx\.conf:{line}$", tested.stderr, re.M), \
        tested.stderr

    # and has no effect where they are not, see below
    server = nginx(outer.replace("gcs_methods PUT;", ""), start=False)
    assert server.test().returncode == 0


@pytest.mark.parametrize("line", [
    "proxy_set_header Host evil.example;", "proxy_set_header Cookie leak;",
    "proxy_set_header Authorization x;", "proxy_pass_request_headers on;",
    "proxy_set_header Range bytes=0-1; proxy_set_header X-Y z;",
    "proxy_pass_request_body on;", "proxy_ssl_verify on;"
    "proxy_ssl_trusted_certificate %%CA%%;", "proxy_ssl_name evil.example;",
    "proxy_ssl_server_name off;", "proxy_method POST;",
    "proxy_set_body leak;", "proxy_hide_header X-A; proxy_bind off;",
    "proxy_intercept_errors off;", "proxy_redirect off;",
])
@pytest.mark.parametrize("level", ["http", "server"])
def test_what_is_inherited_has_no_effect(serve, emulator, key_file, a_txt,
                                         line, level):
    server = serve(**{level: line})
    response = server.get("/m/a.txt", {"Cookie": "c", "X-Forwarded-For": "1",
                                       "X-Client": "y"})
    assert (response.status, response.body) == (200, BODY)
    assert server.get("/m/a.txt").body == BODY
    record = emulator.requests("storage")[0]
    assert (record["method"], record["body_size"]) == ("GET", 0)
    assert record["host"] == f"127.0.0.1:{emulator.http_port}"
    assert set(headers(record)) <= {"host", "user-agent", "authorization",
                                    "accept-encoding", "connection"}
    names = [name.lower() for name, _ in record["headers"]]
    assert len(names) == len(set(names))


# blocks


def test_if_blocks_do_what_they_say(serve, emulator, key_file, a_txt):
    emulator.put_object("test-bucket", "b.txt", b"the other")
    server = serve("""
        set $word none;
        if ($arg_set) { set $word $arg_set; }
        if ($arg_deny) { return 403; }
        if ($arg_teapot) { return 418 "short and stout"; }
        if ($arg_other) { rewrite ^ /m/b.txt break; }
        if ($arg_last) { rewrite ^ /m2/b.txt last; }
        if ($arg_header) { add_header X-If yes; }
        if ($arg_slow) { limit_rate 10m; }
        if ($request_method = HEAD) { set $word head; }
        add_header X-Word $word;
    """, server="location /m2/ { return 200 two; }")
    get = server.get
    response = get("/m/a.txt")
    assert (response.body, response.get("X-Word")) == (BODY, "none")
    response = get("/m/a.txt?set=hi")
    assert (response.body, response.get("X-Word")) == (BODY, "hi")
    assert get("/m/a.txt?deny=1").status == 403
    assert get("/m/a.txt?teapot=1").body == b"short and stout"
    assert get("/m/a.txt?other=1").body == b"the other"
    assert get("/m/a.txt?last=1").body == b"two"
    response = get("/m/a.txt?header=1&slow=1")
    assert response.body == BODY
    assert get("/m/a.txt?header=1").get("X-If") == "yes"
    assert server.head("/m/a.txt").get("X-Word") == "head"
    for path in ("/m/a.txt?set=hi", "/m/a.txt?header=1"):
        assert server.request("DELETE", path).status == 405
    assert {r["method"] for r in emulator.requests("storage")} \
        == {"GET", "HEAD"}


@pytest.mark.parametrize("name, inner", [
    ("gcs_proxy", ""), ("gcs_proxy_status", ""),
    ("gcs_presign", "gcs_mode presign; gcs_presign_window 5m;"),
    ("gcs_written_1", "gcs_methods GET PUT; proxy_cache c;")])
def test_a_zone_of_another_with_a_name_of_ours_is_refused(
        nginx, emulator, key_file, name, inner):
    server = nginx(conf(
        inner, f"limit_req_zone $uri zone={name}:1m rate=1r/s;"
        "proxy_cache_path %%DIR%%/c keys_zone=c:1m;",
        "location /status { gcs_status; }"), start=False)
    assert f'zone "{name}"' in server.refusal()


def test_nested_locations_have_targets_of_their_own(serve, emulator, key_file,
                                                    a_txt):
    for name in ("deep/a.txt", "x/a.txt", "m/x.jpg"):
        emulator.put_object("test-bucket", name, name.encode())
    server = serve("""
        location /m/deep/ { gcs_pass gs://test-bucket/deep; }
        location /m/x/ { gcs_pass gs://test-bucket/x/; deny all; }
        location ~ \\.jpg$ { gcs_pass gs://test-bucket; }
        location /m/none/ { add_header X-A b; }
    """)
    assert server.get("/m/a.txt").body == BODY
    assert server.get("/m/deep/a.txt").body == b"deep/a.txt"
    assert server.get("/m/x.jpg").body == b"m/x.jpg"
    assert server.get("/m/x/a.txt").status == 403
    # as "proxy_pass", the target is not inherited
    assert server.get("/m/none/a.txt").status == 404
    assert len(emulator.requests("storage")) == 3


@pytest.mark.parametrize("rules, method, status", [
    ("deny all;", "GET", 200), ("deny all;", "HEAD", 200),
    ("deny all;", "PUT", 403), ("deny all;", "POST", 403),
    ("allow all;", "GET", 200), ("allow all;", "PUT", 405),
    ("allow all;", "DELETE", 405),
])
def test_limit_except_lets_nothing_through(serve, emulator, key_file, a_txt,
                                           rules, method, status):
    server = serve(f"limit_except GET {{ {rules} }}")
    response = server.request(method, "/m/a.txt",
                              body=b"x" if method[0] == "P" else None)
    assert response.status == status
    assert response.get("Allow") == ("GET, HEAD" if status == 405 else None)
    assert len(emulator.requests("storage")) == (1 if status == 200 else 0)

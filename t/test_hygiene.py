"""White lists both ways: nothing of the client's reaches GCS but what reads
need, nothing of GCS's reaches the client but what describes the object."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from harness.nginx import wait_until

HTTP = """
    gcs_credentials reader { file %%KEY%%; }
    gcs_auth reader;
    gcs_endpoint %%EMULATOR%%;
    proxy_cache_path %%DIR%%/cache keys_zone=one:1m inactive=10m;
"""

CACHE = "proxy_cache one; proxy_cache_valid 200 206 10m;"


@pytest.fixture
def front(nginx, emulator, key_file, bucket):
    def make(location="", server="", http="", **kw):
        made = nginx(HTTP + http, server=server + """
            location /media/ { gcs_pass gs://test-bucket/; %s }
        """ % location, **kw)
        if kw.get("start", True):
            # with a cache the first request may else ask GCS twice
            made.wait_log("token refreshed")
        return made

    return make


@pytest.fixture
def item(emulator, bucket):
    emulator.put_object(bucket, "a", b"0123456789",
                        content_type="text/plain",
                        cache_control="public, max-age=600",
                        metadata={"owner": "alice"})
    return emulator.get_object(bucket, "a")


def seen(emulator, n=-1):
    """What GCS saw of a request, by lower-case name; each name once."""
    record = emulator.requests("storage")[n]
    names = [name.lower() for name, _ in record["headers"]]
    assert len(names) == len(set(names)), record["headers"]
    return dict(zip(names, (value for _, value in record["headers"])))


# to GCS

WHITE = {"host", "user-agent", "authorization"}

# what a client may say: GCS hears the value, or nothing of it
HOSTILE = [
    ("Authorization", "Bearer stolen"),
    ("Authorization", "Basic dXNlcjpwYXNz"),
    ("Proxy-Authorization", "Basic dXNlcjpwYXNz"),
    ("Cookie", "session=secret"),
    ("Cookie2", "session=secret"),
    ("X-Forwarded-For", "10.0.0.1"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Real-IP", "10.0.0.1"),
    ("Forwarded", "for=10.0.0.1"),
    ("Via", "1.1 somewhere"),
    ("Referer", "https://secret.example/page"),
    ("Origin", "https://evil.example"),
    ("Access-Control-Request-Method", "PUT"),
    ("User-Agent", "curl/8"),
    ("Accept", "text/html"),
    ("Accept-Language", "de"),
    ("Accept-Charset", "utf-8"),
    ("Accept-Encoding", "br;q=1, x-odd, *;q=0.1"),
    ("Cache-Control", "no-cache"),
    ("Pragma", "no-cache"),
    ("Content-Type", "application/json"),
    ("Content-Encoding", "gzip"),
    ("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
    ("TE", "trailers"),
    ("Trailer", "Expires"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade, close"),
    ("Connection", "Authorization, Range, keep-alive"),
    ("Keep-Alive", "timeout=5"),
    ("DNT", "1"),
    ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("From", "me@example.com"),
    ("Max-Forwards", "0"),
    ("Early-Data", "1"),
    ("Sec-Fetch-Site", "cross-site"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Method-Override", "DELETE"),
    ("X-Original-URL", "/other-bucket/secret"),
    ("X-Rewrite-URL", "/other-bucket/secret"),
    ("X-Accel-Redirect", "/other"),
    ("X-Goog-User-Project", "victim"),
    ("x-goog-user-project", "victim"),
    ("X-Goog-Acl", "public-read"),
    ("X-Goog-Encryption-Key", "AAAA"),
    ("X-Goog-Copy-Source", "/other/secret"),
    ("X-Goog-If-Generation-Not-Match", "1"),
    ("X-Goog-Meta-Owner", "mallory"),
    ("X-Goog-Api-Key", "AIza"),
    ("X-Goog-Iam-Authorization-Token", "x"),
    ("X-Amz-Date", "20300101T000000Z"),
    ("X-Amz-Security-Token", "x"),
    ("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"),
    ("X-Cloud-Trace-Context", "105445aa7843bc8bf206b120001000/1;o=1"),
    ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033"),
    ("Some-Header-Of-Tomorrow", "x"),
]


@pytest.mark.parametrize("location", ["", CACHE], ids=["plain", "cache"])
def test_nothing_of_the_client_s_headers_reaches_gcs(location, front, item,
                                                     emulator):
    server = front(location)
    emulator.reset_requests()
    white = WHITE | ({"accept-encoding"} if location else set())

    for number, (name, value) in enumerate(HOSTILE):
        emulator.put_object("test-bucket", f"{number}", b"x")
        response = server.get(f"/media/{number}", {name: value})
        assert (response.status, response.body) == (200, b"x"), name

        headers = seen(emulator)
        assert set(headers) == white, name
        assert headers["user-agent"].startswith("ngx_gcs_proxy_module")
        assert headers["host"] == emulator.url.removeprefix("http://")
        assert headers["authorization"].startswith("Bearer ")
        assert emulator.requests("storage")[-1]["credential"] == "valid"


def test_nothing_of_all_of_them_together_reaches_gcs(front, item, emulator):
    names, headers = set(), []
    for name, value in HOSTILE:
        if name.lower() not in names:
            names.add(name.lower())
            headers.append((name, value))
    response = front().get("/media/a", headers)
    assert (response.status, response.body) == (200, b"0123456789")
    assert set(seen(emulator)) == WHITE


def test_the_white_list_is_what_it_is(front, item, emulator):
    """Every header that may be there, and no other."""
    front().get("/media/a", {
        "Range": "bytes=0-5", "If-Range": item["etag"],
        "If-Match": item["etag"], "If-None-Match": '"x"',
        "If-Modified-Since": "Thu, 01 Jan 2015 00:00:00 GMT",
        "If-Unmodified-Since": "Thu, 01 Jan 2099 00:00:00 GMT",
        "Accept-Encoding": "gzip, deflate, br"})
    headers = seen(emulator)
    assert set(headers) == WHITE | {
        "accept-encoding", "range", "if-range", "if-match", "if-none-match",
        "if-modified-since", "if-unmodified-since"}
    assert headers["accept-encoding"] == "gzip"
    assert headers["range"] == "bytes=0-5"
    assert headers["if-none-match"] == '"x"'
    assert headers["if-unmodified-since"] == "Thu, 01 Jan 2099 00:00:00 GMT"
    assert re.fullmatch(r"ngx_gcs_proxy_module/[\d.]+", headers["user-agent"])


@pytest.mark.parametrize("name", ["Range", "If-Range", "If-None-Match"])
@pytest.mark.parametrize("end", ["\r", "\n", "\r\n ", "\0"])
def test_a_value_does_not_begin_another_line(end, name, front, item,
                                             emulator):
    """They go to GCS in one piece, so that nothing may divide them."""
    with front().connect() as connection:
        connection.send(f"GET /media/a HTTP/1.1\r\nHost: a\r\n"
                        f"Range: bytes=0-1\r\n"
                        f"{name}: a{end}X-Evil: b\r\n\r\n".encode())
        response = connection.response()

    # LF alone ends a line; X-Evil is a header then, and not for GCS
    assert response.status in ((200, 206) if end == "\n" else (400,))
    for record in emulator.requests("storage"):
        assert not [n for n, _ in record["headers"] if "evil" in n.lower()]


def test_a_subrequest_carries_nothing_of_the_client_either(
        front, item, emulator, bucket):
    emulator.put_object(bucket, "page", b'<!--#include virtual="/media/a" -->',
                        content_type="text/html")
    server = front("ssi on;")
    response = server.get("/media/page", [
        *{name.lower(): (name, value) for name, value in HOSTILE}.values(),
        ("Range", "bytes=0-999"), ("If-Match", "*"),
        ("Content-Length", "0")])
    assert b"0123456789" in response.body
    assert set(seen(emulator, 1)) == WHITE


def test_anonymous_sends_no_authorization(nginx, emulator, bucket):
    emulator.create_bucket("public", public=True)
    emulator.put_object("public", "a", b"x")
    server = nginx(server="""
        gcs_endpoint %%EMULATOR%%; gcs_auth anonymous;
        location / { gcs_pass gs://public/; }
    """)
    response = server.get("/a", {"Authorization": "Bearer stolen"})
    assert (response.status, response.body) == (200, b"x")
    assert set(seen(emulator)) == WHITE - {"authorization"}
    assert emulator.requests("storage")[0]["credential"] == "anonymous"


@pytest.mark.parametrize("query", [
    "?", "?a=b", "?generation=1", "?userProject=victim", "?acl", "?uploads",
    "?X-Goog-Signature=abc&X-Goog-Algorithm=GOOG4-RSA-SHA256",
    "?prefix=&delimiter=", "?response-content-type=text/html", "??", "?%3f"])
def test_the_query_string_is_not_sent(query, front, item, emulator):
    response = front().get("/media/a" + query)
    assert (response.status, response.body) == (200, b"0123456789")
    assert emulator.requests("storage")[0]["target"] == "/test-bucket/a"


BODY = b"GET /test-bucket/other HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("location", ["", CACHE, "gcs_methods GET HEAD PUT;"],
                         ids=["plain", "cache", "writable"])
def test_a_body_with_a_read_is_swallowed(location, method, front, item,
                                         emulator):
    connection = front(location).connect()
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)

    for headers, body in ((
            {"Content-Length": str(len(BODY)), "Content-Type": "text/plain"},
            BODY), ({"Transfer-Encoding": "chunked"}, chunks),
            ({"Expect": "100-continue", "Content-Length": str(len(BODY))},
             BODY)):
        emulator.reset_requests()
        response = connection.request(method, "/media/a", headers, body)
        assert response.status == 200
        assert response.body == (b"0123456789" if method == "GET" else b"")

        for record in emulator.requests("storage"):
            assert record["body_size"] == 0
            names = {name.lower() for name, _ in record["headers"]}
            assert names <= WHITE | {"accept-encoding"}

    assert connection.get("/media/a").status == 200


def test_a_large_body_with_a_read_does_not_end_up_anywhere(front, item,
                                                           emulator):
    server = front()
    body = b"x" * 300000
    connection = server.connect()
    for _ in range(2):
        response = connection.request("GET", "/media/a", {}, body)
        assert (response.status, response.body) == (200, b"0123456789")
    assert [r["body_size"] for r in emulator.requests("storage")] == [0, 0]
    assert not [p for p in (server.dir / "client_temp").rglob("*")
                if p.is_file()]


@pytest.mark.parametrize("body", [
    b"zz\r\n", b"-1\r\n\r\n", b"1\r\nxx\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\n"])
def test_a_malformed_body_with_a_read_is_400(body, front, item, emulator):
    """And ends the connection: where the next request begins is unknown."""
    for path in ("/media/a", "/media/none"):
        connection = front().connect()
        response = connection.request(
            "GET", path, {"Transfer-Encoding": "chunked"},
            body + b"GET /media/a HTTP/1.1\r\nHost: a\r\n\r\n")
        assert response.status == 400
        assert b"<center>nginx" in response.body
        assert connection.closed_by_peer()
    assert emulator.requests("storage") == []


OUTER = [
    'proxy_set_header X-Leak "leak";',
    'proxy_set_header Authorization "Basic leak";',
    'proxy_set_header Host "leak.example";',
    'proxy_set_header Range "bytes=0-0";',
    'proxy_set_header Connection "upgrade";',
    'proxy_set_header Content-Length "4";',
    'proxy_pass_request_headers on;', 'proxy_pass_request_body on;',
    'proxy_set_body "leak";', 'proxy_method POST;', 'proxy_method $arg_m;',
    'proxy_cookie_path / /x;', 'proxy_redirect / /x;',
    'proxy_set_header X-Leak leak; proxy_set_body leak; proxy_method PUT;',
]


@pytest.mark.parametrize("level", ["http", "server"])
@pytest.mark.parametrize("location", ["", CACHE], ids=["plain", "cache"])
@pytest.mark.parametrize("directive", OUTER)
def test_outer_proxy_directives_do_not_leak_in(directive, location, level,
                                               front, item, emulator):
    """What the user has written for other locations."""
    emulator.put_object("test-bucket", "b", b"other")
    server = front(location, **{level: directive})
    for name, body in (("a", b"0123456789"), ("b", b"other")):
        response = server.get(f"/media/{name}?m=DELETE")
        assert (response.status, response.body) == (200, body)
        record = emulator.requests("storage")[-1]
        assert (record["method"], record["body_size"]) == ("GET", 0)
        assert record["host"] == emulator.url.removeprefix("http://")
        assert set(seen(emulator)) - {"accept-encoding"} == WHITE

    # a body without a length would be the start of the next request
    assert set(emulator.counts()) == {"token", "storage"}
    assert emulator.connections()["storage"] == 1


# what the configuration adds


def test_gcs_user_project_is_sent(front, item, emulator, bucket):
    emulator.update_bucket(bucket, requester_pays=True)
    assert front().get("/media/a").status == 502
    assert emulator.requests("storage")[-1]["status"] == 400

    server = front("gcs_user_project demo-project;")
    response = server.get("/media/a", {"X-Goog-User-Project": "victim"})
    assert (response.status, response.body) == (200, b"0123456789")
    assert seen(emulator)["x-goog-user-project"] == "demo-project"
    assert set(seen(emulator)) == WHITE | {"x-goog-user-project"}


def test_gcs_user_project_with_a_variable(front, item, emulator):
    server = front("gcs_user_project $arg_p;")
    assert server.get("/media/a?p=demo-project").status == 200
    assert seen(emulator)["x-goog-user-project"] == "demo-project"
    assert server.get("/media/a").status == 200
    assert "x-goog-user-project" not in seen(emulator)


def test_gcs_set_header_sends_x_goog_headers(front, item, emulator):
    server = front('gcs_set_header x-goog-custom-audit-user "u $arg_u";'
                   'gcs_set_header X-Goog-Custom-Audit-Job fixed;'
                   'gcs_set_header x-goog-custom-audit-none $arg_none;')
    assert server.get("/media/a?u=me").status == 200
    headers = seen(emulator)
    assert headers["x-goog-custom-audit-user"] == "u me"
    assert headers["x-goog-custom-audit-job"] == "fixed"
    assert set(headers) == WHITE | {"x-goog-custom-audit-user",
                                    "x-goog-custom-audit-job"}


def test_customer_supplied_keys_work_by_gcs_set_header(front, emulator,
                                                       bucket):
    key = bytes(range(32))
    emulator.put_object(bucket, "secret", b"for the key", csek=key)
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode()
    server = front(f"""
        gcs_set_header x-goog-encryption-algorithm AES256;
        gcs_set_header x-goog-encryption-key
                       {base64.b64encode(key).decode()};
        gcs_set_header x-goog-encryption-key-sha256 {digest};
    """)
    response = server.get("/media/secret")
    assert (response.status, response.body) == (200, b"for the key")
    assert not [n for n in response.names if n.startswith("x-goog")]


@pytest.mark.parametrize("name", [
    "Authorization", "Host", "Cookie", "X-Forwarded-For", "x-amz-date",
    "x-goog", "x-goog-", '"x-goog-a b"', '"x-goog-a:b"'])
def test_gcs_set_header_takes_x_goog_headers_only(name, front):
    tested = front(f"gcs_set_header {name} x;", start=False).test()
    assert tested.returncode == 1
    assert "gcs_set_header" in tested.stderr


@pytest.mark.parametrize("directive", [
    "gcs_set_header x-goog-custom-audit-user $evil;",
    "gcs_user_project $evil;"])
@pytest.mark.parametrize("text", [
    "a%0d%0aAuthorization:%20Bearer%20evil", "a%0aX:%20y", "a%0d", "a%0a",
    "%0d%0a%0d%0aGET%20/other/secret%20HTTP/1.1", "%0d", "%0ab"])
def test_a_line_break_from_a_variable_is_400(text, directive, front, item,
                                             emulator):
    # a capture of $uri is decoded: the usual way in
    server = front(server="""
        location ~ ^/x/(?<evil>[\\s\\S]*)$ {
            rewrite ^ /a break;
            %s gcs_pass gs://test-bucket/;
            add_header X-Error $gcs_error always;
        }
    """ % directive)
    response = server.get("/x/" + text)
    assert response.status == 400
    assert response.get("X-Error") == "invalid_header"
    assert emulator.requests("storage") == []

    # the same way without a line break
    assert server.get("/x/demo-project").status == 200


# from GCS

NOISE = [
    ("X-Goog-Generation", "1"), ("x-goog-hash", "crc32c=AAAA"),
    ("x-goog-meta-secret", "1"), ("X-GUploader-UploadID", "abc"),
    ("x-guploader-response-body-transformations", "gunzipped"),
    ("Set-Cookie", "NID=1; domain=.google.com"), ("Set-Cookie", "b=2"),
    ("Set-Cookie2", "c=3"), ("Alt-Svc", 'h3=":443"'), ("Warning", "214 x"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Credentials", "true"),
    ("Access-Control-Expose-Headers", "x"), ("Vary", "Origin"),
    ("Strict-Transport-Security", "max-age=1"),
    ("Content-Security-Policy", "default-src *"),
    ("Content-Security-Policy-Report-Only", "x"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    ("X-Content-Type-Options", "odd"), ("X-XSS-Protection", "0"),
    ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"),
    ("P3P", "x"), ("Server-Timing", "x"), ("Report-To", "{}"), ("NEL", "{}"),
    ("Clear-Site-Data", '"*"'), ("Refresh", "0; url=//evil.example"),
    ("Link", "</x>; rel=preload"), ("Age", "7"), ("Via", "1.1 google"),
    ("X-Accel-Redirect", "/secret"), ("X-Accel-Expires", "9"),
    ("X-Accel-Limit-Rate", "1"), ("X-Accel-Buffering", "yes"),
    ("X-Accel-Charset", "koi8-r"), ("X-Powered-By", "x"),
    ("Proxy-Authenticate", "Basic"), ("Content-Location", "/other"),
    ("Trailer", "x"), ("Upgrade", "h2c"), ("Some-Header-Of-Tomorrow", "x"),
]

OBJECT_HEADERS = {
    "server", "date", "content-type", "content-length", "connection",
    "expires", "cache-control", "last-modified", "etag", "accept-ranges",
    "x-content-type-options"}


def clean(response, extra=()):
    assert response.names == OBJECT_HEADERS | set(extra)
    assert len(response.headers) == len(response.names), response.headers
    assert response.get("Server").startswith("nginx")
    assert response.get("X-Content-Type-Options") == "nosniff"
    return True


def noise(emulator, **more):
    emulator.fault(kind="storage", headers=[list(h) for h in NOISE], **more)


def test_nothing_of_google_s_business_reaches_the_client(front, item,
                                                         emulator):
    server = front()
    for method in ("GET", "HEAD"):
        noise(emulator)
        response = server.request(method, "/media/a")
        assert response.status == 200
        assert clean(response)

    noise(emulator)
    response = server.get("/media/a", {"Range": "bytes=1-2"})
    assert response.status == 206
    assert clean(response, {"content-range"})

    noise(emulator)
    response = server.get("/media/a", {"If-None-Match": item["etag"]})
    assert response.status == 304
    assert response.names == OBJECT_HEADERS - {
        "content-type", "content-length", "last-modified", "accept-ranges"}


@pytest.mark.parametrize("directives", [
    "proxy_pass_header Server; proxy_pass_header X-Accel-Redirect;",
    "proxy_pass_header Set-Cookie; proxy_pass_header x-goog-generation;",
    "proxy_hide_header ETag;", "proxy_ignore_headers Expires;"])
def test_proxy_s_header_directives_do_not_open_a_hole(directives, front,
                                                      item, emulator):
    noise(emulator)
    response = front(directives).get("/media/a")
    assert response.status == 200
    assert response.names <= OBJECT_HEADERS
    assert len(response.headers) == len(response.names)


def test_a_hit_is_as_clean_as_the_answer_it_came_from(front, item, emulator):
    server = front(CACHE + "proxy_cache_revalidate on;")
    noise(emulator)
    for _ in range(3):
        response = server.get("/media/a")
        assert response.body == b"0123456789"
        assert clean(response)

    response = server.get("/media/a", {"Range": "bytes=1-2"})
    # nginx cuts the part out of the cached whole, in its own way
    assert (response.status, response.body) == (206, b"12")
    assert response.names == OBJECT_HEADERS - {"accept-ranges"} | {
        "content-range"}

    response = server.get("/media/a", {"If-None-Match": item["etag"]})
    assert response.status == 304
    assert not response.names & {name.lower() for name, _ in NOISE
                                 if name != "X-Content-Type-Options"}
    assert server.head("/media/a").status == 200
    assert emulator.counts()["storage"] == 1


def test_slices_are_clean(front, item, emulator):
    server = front("slice 4; " + CACHE)
    for _ in range(3):
        noise(emulator)
    for _ in range(2):
        response = server.get("/media/a")
        assert response.body == b"0123456789"
        assert clean(response)


@pytest.mark.parametrize("status,code,answer", [
    (403, "AccessDenied", 403), (404, "NoSuchKey", 404),
    (412, "PreconditionFailed", 412), (416, "InvalidRange", 416),
    (400, "InvalidArgument", 502), (409, "Conflict", 502)])
@pytest.mark.parametrize("location", [
    "", CACHE + "proxy_cache_valid any 1m;"], ids=["plain", "cache"])
def test_errors_are_clean_and_nginx_s_own(location, status, code, answer,
                                          front, item, emulator):
    server = front(location)
    for method in ("GET", "HEAD", "GET"):
        noise(emulator, status=status, code=code)
        response = server.request(method, "/media/a")
        assert response.status == answer
        assert response.names == {
            "server", "date", "content-type", "content-length", "connection",
            "x-content-type-options"}
        assert len(response.headers) == len(response.names)
        assert response.get("Server").startswith("nginx")
        assert response.get("Content-Type") == "text/html"
        assert b"Error>" not in response.body
        assert code.encode() not in response.body
        assert b"bucket" not in response.body


def test_cors_of_the_bucket_does_not_pass(front, item, emulator, bucket):
    emulator.update_bucket(bucket, cors=[{
        "origin": ["*"], "method": ["GET"], "responseHeader": ["ETag"],
        "maxAgeSeconds": 60}])
    response = front().get("/media/a", {"Origin": "https://app.example"})
    assert clean(response)


def test_x_accel_of_gcs_does_not_steer_nginx(front, item, emulator):
    server = front(server="location /secret { return 200 secret; }")
    for name in ("X-Accel-Redirect", "x-accel-redirect"):
        emulator.fault(kind="storage", headers=[[name, "/secret"]])
        response = server.get("/media/a")
        assert (response.status, response.body) == (200, b"0123456789")


# headers of others do pass


def test_headers_of_other_modules_pass(front, item):
    location = """
        add_header X-Mine "yes"; add_header X-Always "yes" always;
        add_header Set-Cookie "mine=1"; add_header Alt-Svc "mine";
        add_header X-Goog-Mine "yes";
    """
    for more in ("", CACHE):
        server = front(location + more)
        for _ in range(2):
            response = server.get("/media/a")
            assert clean(response, {"x-mine", "x-always", "set-cookie",
                                    "alt-svc", "x-goog-mine"})
            assert response.get("Set-Cookie") == "mine=1"

        response = server.get("/media/none")
        assert response.status == 404
        assert response.get("X-Always") == "yes"
        assert "x-mine" not in response.names


def test_what_an_application_has_set_before_x_accel_redirect_stays(
        front, item, emulator):
    """Its cookie is the application's, not GCS's."""
    server = front("internal;", """
        location /app { proxy_pass http://127.0.0.1:%%PORT%%/answer; }
        location /answer {
            add_header Set-Cookie "session=1";
            add_header X-Accel-Redirect /media/a;
            return 200;
        }
    """)
    noise(emulator)
    response = server.get("/app")
    assert (response.status, response.body) == (200, b"0123456789")
    assert response.all("Set-Cookie") == ["session=1"]
    assert not [n for n in response.names if n.startswith(("x-g", "alt"))]


def test_what_an_application_says_of_caching_comes_before_the_object_s(
        front, emulator, bucket):
    """One header of each name: the application's, if it has sent one by
    X-Accel-Redirect.  The type is the object's, without a foreign charset."""
    emulator.put_object(bucket, "a", b"0123456789", content_type="image/png",
                        cache_control="public, max-age=600",
                        content_disposition="inline")
    server = front("internal;", """
        location /app/ { proxy_pass http://127.0.0.1:%%PORT%%/answer/; }
        location /answer/ {
            types { } default_type text/html; charset utf-8;
            add_header X-Accel-Redirect /media/a;
            return 200 "";
        }
        location /answer/told {
            types { } default_type text/html; charset utf-8;
            add_header X-Accel-Redirect /media/a;
            add_header Cache-Control "private, no-store";
            add_header Content-Disposition "attachment; filename=b.png";
            return 200 "";
        }
    """)
    for path, caching, name in (
            ("/app/", "public, max-age=600", "inline"),
            ("/app/told", "private, no-store",
             "attachment; filename=b.png")):
        response = server.get(path)
        assert (response.status, response.body) == (200, b"0123456789")
        assert response.all("Content-Type") == ["image/png"]
        assert response.all("Cache-Control") == [caching]
        assert response.all("Content-Disposition") == [name]


def test_expires_of_nginx_replaces_that_of_gcs(front, item):
    response = front("expires 1h;").get("/media/a")
    assert response.get("Cache-Control") == "max-age=3600"
    assert len(response.all("Expires")) == 1


def test_headers_from_auth_request_pass(front, item, emulator):
    server = front("""
        auth_request /auth;
        auth_request_set $user $upstream_http_x_user;
        auth_request_set $cookie $upstream_http_set_cookie;
        add_header X-User $user;
        add_header Set-Cookie $cookie;
    """, """
        location = /auth {
            internal;
            proxy_pass http://127.0.0.1:%%PORT%%/app;
        }
        location = /app {
            add_header X-User alice; add_header Set-Cookie s=1; return 204;
        }
    """)
    response = server.get("/media/a")
    assert clean(response, {"x-user", "set-cookie"})
    assert response.get("X-User") == "alice"
    assert response.get("Set-Cookie") == "s=1"


def test_www_authenticate_of_nginx_passes_but_not_that_of_gcs(
        front, item, emulator):
    server = front('auth_basic "the door"; auth_basic_user_file %%DIR%%/pw;')
    (server.dir / "pw").write_text("alice:{PLAIN}secret\n")

    response = server.get("/media/a")
    assert response.status == 401
    assert response.get("WWW-Authenticate") == 'Basic realm="the door"'
    assert emulator.requests("storage") == []

    key = base64.b64encode(b"alice:secret").decode()
    response = server.get("/media/a", {"Authorization": "Basic " + key})
    assert clean(response)
    assert set(seen(emulator)) == WHITE

    emulator.fault(kind="storage", status=401, count=None,
                   code="AuthenticationRequired",
                   headers=[["WWW-Authenticate", "Bearer realm=google"]])
    response = server.get("/media/a", {"Authorization": "Basic " + key})
    assert response.status == 502
    assert "www-authenticate" not in response.names


def test_location_of_nginx_passes(front, item):
    response = front("if ($arg_go) { return 301 /other; }").get(
        "/media/a?go=1")
    assert response.status == 301
    assert response.get("Location").endswith("/other")


def test_a_location_without_gcs_pass_is_left_alone(front, item, emulator):
    """A proxy_pass of the user's own keeps its headers."""
    server = front(server="""
        location /own/ {
            proxy_pass %%EMULATOR%%/test-bucket/;
            proxy_set_header Authorization $gcs_authorization;
            gcs_auth reader;
        }
    """)
    response = server.get("/own/a")
    assert response.status == 200
    assert "x-goog-generation" in response.names
    assert "x-content-type-options" not in response.names


# nosniff and sandbox


def test_nosniff_can_be_switched_off(front, item):
    server = front("gcs_nosniff off;")
    assert "x-content-type-options" not in server.get("/media/a").names
    assert "x-content-type-options" not in server.get("/media/none").names


def test_nosniff_is_on_every_answer(front, item):
    server = front()
    for target, headers in (("a", {}), ("none", {}),
                            ("a", {"Range": "bytes=0-0"}),
                            ("a", {"If-None-Match": item["etag"]}),
                            ("a", {"Range": "bytes=99-"})):
        response = server.get("/media/" + target, headers)
        assert response.get("X-Content-Type-Options") == "nosniff"


ACTIVE = ["text/html", "text/html; charset=utf-8", "TEXT/HTML",
          "text/html ;charset=x", "image/svg+xml", "application/xhtml+xml",
          "text/xml", "application/xml", "application/rss+xml",
          "application/mathml+xml; a=b", "image/SVG+XML", "text/xsl",
          "multipart/related; type=text/html", "message/rfc822",
          # browsers take the last of a list, and cut where they like
          "image/png, text/html", "text/plain,text/html", "text/html,",
          "text/html(x)", "x/y; charset=a, text/html", "xml", "/html",
          "text/", "text/ht\"ml"]
PASSIVE = ["text/plain", "image/png", "video/mp4", "application/json",
           "text/htmlx", "application/octet-stream", "text/css",
           "application/vnd.openxmlformats", "application/pdf",
           "audio/x-wav; codec=1", "application/vnd.ms-excel"]


def test_sandbox_is_for_content_that_browsers_run(front, emulator, bucket):
    off, on = front(), front("gcs_sandbox on;")
    for content_type in ACTIVE + PASSIVE:
        emulator.put_object(bucket, "x", b"x", content_type=content_type)
        assert "content-security-policy" not in off.get("/media/x").names

        response = on.get("/media/x")
        assert response.get("Content-Type") == content_type
        assert response.get("Content-Security-Policy") == (
            "sandbox" if content_type in ACTIVE else None), content_type


def test_sandbox_holds_for_parts_and_hits(front, emulator, bucket):
    emulator.put_object(bucket, "x", b"<svg/>", content_type="image/svg+xml",
                        cache_control="public, max-age=60")
    for location in ("", CACHE):
        server = front("gcs_sandbox on;" + location)
        for headers in ({}, {}, {"Range": "bytes=0-1"}):
            response = server.get("/media/x", headers)
            assert response.get("Content-Security-Policy") == "sandbox"
        assert server.head("/media/x").get("Content-Security-Policy") == \
            "sandbox"


def test_included_pages_do_not_change_the_header_of_the_page(
        front, emulator, bucket):
    emulator.put_object(bucket, "x", b"<p>", content_type="text/html")
    emulator.put_object(bucket, "page", b'<!--#include virtual="/media/x" -->',
                        content_type="text/html")
    response = front("ssi on; gcs_sandbox on;").get("/media/page")
    assert response.body == b"<p>"
    assert response.all("Content-Security-Policy") == ["sandbox"]
    assert response.all("X-Content-Type-Options") == ["nosniff"]


def test_a_mirrored_request_is_clean_too(front, item, emulator, bucket):
    emulator.put_object(bucket, "b", b"x")
    server = front("mirror /copy;", """
        location = /copy { internal; gcs_pass gs://test-bucket/b; }
    """)
    response = server.get("/media/a", {"Cookie": "s=1", "Range": "bytes=0-1"})
    assert response.status == 206
    wait_until(lambda: emulator.counts()["storage"] == 2)
    for record in emulator.requests("storage"):
        names = {name.lower() for name, _ in record["headers"]}
        assert names <= WHITE | {"range"}

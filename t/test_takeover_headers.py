"""Takeover: which headers the application, Cloud Storage and the client get.

Three parties, none of which may get what is for another: cookies are for the
application, a client's authorization is never for Google, and what the
application says of an answer that nobody sees must not stick to the object.
"""

from __future__ import annotations

import pytest

from harness.studio import Answer, accel, redirect
from harness.takeover import BODY, MODES, gcs, header

pytest_plugins = ["harness.studio_plugin"]

CLIENT = {
    "Host": "labels.example", "Cookie": "sessionid=secret-cookie-value; a=b",
    "Authorization": "Token the-clients-own-token", "X-Api-Key": "the-api-key",
    "Referer": "https://labels.example/projects/1", "Origin": "https://x.example",
    "User-Agent": "browser/1", "Accept": "image/*", "Accept-Encoding": "gzip",
    "Accept-Language": "de", "Cache-Control": "no-cache", "Pragma": "no-cache",
    "X-Forwarded-For": "192.0.2.1", "X-Real-Ip": "192.0.2.2",
    "X-Goog-User-Project": "of-somebody", "X-Goog-Encryption-Key": "x",
    "X-Amz-Date": "x", "X-Custom": "y", "DNT": "1",
}
CONDITIONS = {
    "If-Match": "*", "If-None-Match": '"x"',
    "If-Modified-Since": "Thu, 01 Jan 2015 00:00:00 GMT",
    "If-Unmodified-Since": "Thu, 01 Jan 2099 00:00:00 GMT",
}
PART = {"Range": "bytes=0-3", "If-Range": '"x"'}


# what the application gets

@pytest.mark.parametrize("mode", MODES)
def test_the_application_gets_all_but_the_conditions(
        serve, app, signer, mode):
    server = serve()
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    target = f"/{mode}/a%20b/?x=%2F&y=?&fileuri=Z3M=#z"
    server.get(target, CLIENT | PART | CONDITIONS)
    server.get(target, CLIENT | PART, port=server.ports["PORT_PLAIN"])
    ours, plain = app.requests
    assert ours.target == plain.target
    assert sorted(ours.headers) == sorted(plain.headers)
    assert ours.get("Range") == "bytes=0-3"
    assert ours.get("X-Forwarded-Proto") == "http"
    assert ours.get("Host") == "labels.example"
    assert ours.get("Cookie") == CLIENT["Cookie"]
    assert (ours.method, ours.body) == ("GET", b"")


def test_headers_of_the_location_itself_are_kept(serve, app, signer):
    server = serve(location="""
        proxy_set_header Host of.location;
        proxy_set_header X-Own $request_uri;
        proxy_set_header Cookie $http_cookie;
        proxy_set_header Range bytes=1-2;
        proxy_set_header If-None-Match '"mine"';
        proxy_set_header Accept-Language "";
    """)
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    answer = server.get("/signed/x?y", CLIENT | PART | CONDITIONS)
    assert answer.status in (200, 206)
    asked = app.last()
    assert asked.get("Host") == "of.location"
    assert asked.get("X-Own") == "/signed/x?y"
    assert asked.get("Cookie") == CLIENT["Cookie"]
    assert "accept-language" not in asked.names
    # whatever is configured: "not modified" is no decision
    assert not asked.names & {name.lower() for name in CONDITIONS}
    assert asked.get("Range") == "bytes=0-3"


def test_a_request_with_a_body_passes_as_it_came(serve, app, signer,
                                                 emulator):
    """Only the application knows what a body does to its question."""
    server = serve()
    url = signer.url("test-bucket", "a.txt")
    app.default = redirect(url)
    own = {"Range": "bytes=1-2", "If-Match": '"x"'}
    for mode in MODES:
        connection = server.connect()
        for method in ("GET", "HEAD"):
            for body in (b"x" * 10, b"y" * 100000):
                answer = connection.request(method, f"/{mode}/", own, body)
                assert (answer.status, answer.get("Location")) == (303, url)
                asked = app.last()
                assert (asked.method, asked.body) == (method, body)
                assert asked.get("Range") == "bytes=1-2"
                assert asked.get("If-Match") == '"x"'
        connection.send(f"GET /{mode}/ HTTP/1.1\r\nHost: a\r\nTransfer-"
                        "Encoding: chunked\r\n\r\n0\r\n\r\n".encode())
        assert connection.response().status == 303
        assert connection.request("GET", f"/{mode}/", body=b"").body == BODY
    assert len(gcs(emulator)) == 2


# what Cloud Storage gets

@pytest.mark.parametrize("mode", MODES)
def test_cloud_storage_gets_what_is_about_the_object_and_no_more(
        serve, app, signer, emulator, mode):
    server = serve()
    app.default = redirect(signer.url("test-bucket", "a.txt"),
                           ("Set-Cookie", "sessionid=new"))
    etag = emulator.get_object("test-bucket", "a.txt")["etag"]
    own = PART | CONDITIONS | {"If-Match": etag, "If-Range": etag}
    answer = server.get(f"/{mode}/?fileuri=x&lsref=1", CLIENT | own)
    assert (answer.status, answer.body) == (206, BODY[:4])

    [asked] = gcs(emulator)
    sent = {name.lower(): value for name, value in asked["headers"]}
    assert len(sent) == len(asked["headers"])
    assert {name.lower(): value for name, value in own.items()}.items() \
        <= sent.items()
    assert set(sent) <= {name.lower() for name in own} | {
        "host", "user-agent", "accept-encoding", "connection"} | (
        {"authorization"} if mode == "named" else set())
    assert sent["user-agent"].startswith("ngx_gcs_proxy_module/")
    assert sent["host"] == emulator.url.partition("://")[2]
    for value in sent.values():
        assert "secret-cookie-value" not in value
        assert "the-clients-own-token" not in value
    assert "lsref" not in asked["target"]
    if mode == "named":
        assert sent["authorization"].startswith("Bearer ")


# what the client gets

ANSWERED = [
    ("Set-Cookie", "sessionid=1; HttpOnly; Path=/"),
    ("Content-Type", "text/html; charset=koi8-r"),
    ("Set-Cookie", "csrftoken=2; Path=/; SameSite=Lax"),
    ("Content-Disposition", "attachment; filename=\"r.txt\"; "
                            "filename*=UTF-8''%E2%82%AC.txt"),
    ("Cache-Control", "no-store, max-age=60"), ("Vary", "Cookie, Origin"),
    ("Expires", "Thu, 01 Jan 2015 00:00:00 GMT"), ("Pragma", "no-cache"),
    ("ETag", '"application"'), ("Last-Modified",
                                "Thu, 01 Jan 2015 00:00:00 GMT"),
    ("Content-Security-Policy", "default-src 'none'"),
    ("Content-Security-Policy-Report-Only", "default-src 'self'"),
    ("X-Frame-Options", "DENY"), ("Content-Encoding", "identity"),
    ("Content-Language", "en-us"), ("Content-Location", "/other"),
    ("Content-Range", "bytes 0-4/5"), ("Accept-Ranges", "none"),
    ("Refresh", "0; url=/evil"), ("Link", "</x>; rel=preload"),
    ("WWW-Authenticate", "Basic"), ("Access-Control-Allow-Origin", "*"),
    ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "same-origin"),
    ("Strict-Transport-Security", "max-age=1"), ("Age", "5"),
    ("X-Accel-Charset", "koi8-r"), ("X-Accel-Expires", "60"),
    ("X-Accel-Limit-Rate", "999999"), ("X-Accel-Buffering", "yes"),
    ("X-Powered-By", "it"), ("Server", "gunicorn"), ("X-Own", "1"),
    ("Trailer", "X-T"), ("Date", "Thu, 01 Jan 2015 00:00:00 GMT"),
]


@pytest.mark.parametrize("make", [redirect, accel])
@pytest.mark.parametrize("mode", MODES)
def test_two_headers_of_the_application_reach_the_client_and_no_other(
        serve, app, signer, emulator, mode, make):
    server = serve()
    emulator.put_object("test-bucket", "a.txt", BODY, content_language="fr",
                        content_type="text/plain", cache_control="max-age=7")
    url = signer.url("test-bucket", "a.txt")
    app.default = make(url)
    bare = server.get(f"/{mode}/")
    app.default = make(url, *ANSWERED)
    answer = server.get(f"/{mode}/")
    assert (answer.status, answer.body) == (200, BODY)
    assert answer.all("Set-Cookie") == [value for name, value in ANSWERED
                                        if name == "Set-Cookie"]
    assert answer.get("Content-Disposition") == dict(
        ANSWERED)["Content-Disposition"]

    def others(response):
        return sorted((name.lower(), value) for name, value
                      in response.headers if name.lower() not in (
                          "set-cookie", "content-disposition", "date",
                          "expires"))

    assert others(answer) == others(bare)
    assert answer.get("Content-Type") == "text/plain"
    assert answer.get("Content-Language") == "fr"
    for name in ("Date", "Expires"):
        assert answer.get(name) != "Thu, 01 Jan 2015 00:00:00 GMT"


def test_cookies_come_with_every_answer(serve, app, signer, emulator):
    """A session that is renewed by media alone must be renewed."""
    server = serve()
    app.default = redirect(signer.url("test-bucket", "a.txt"),
                           ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
    etag = emulator.get_object("test-bucket", "a.txt")["etag"]
    for headers, status in (({}, 200), ({"Range": "bytes=1-"}, 206),
                            ({"If-None-Match": etag}, 304),
                            ({"Range": "bytes=10-"}, 416),
                            ({"If-Match": '"x"'}, 412)):
        for method in ("GET", "HEAD"):
            answer = server.request(method, "/signed/", headers)
            assert answer.status == status
            assert answer.all("Set-Cookie") == ["a=1", "b=2"], status

    app.default = redirect(signer.url("test-bucket", "none"),
                           ("Set-Cookie", "a=1"))
    answer = server.get("/signed/")
    assert (answer.status, answer.all("Set-Cookie")) == (404, ["a=1"])


def test_what_is_hidden_stays_hidden(serve, app, signer):
    server = serve(location="""proxy_hide_header Set-Cookie;
                               proxy_hide_header Content-Disposition;""")
    app.default = redirect(signer.url("test-bucket", "a.txt"),
                           ("Set-Cookie", "a=1"),
                           ("Content-Disposition", "attachment"))
    answer = server.get("/signed/")
    assert answer.body == BODY
    assert not {"set-cookie", "content-disposition"} & answer.names


def test_cookies_are_rewritten_as_configured(serve, app, signer):
    server = serve(location="proxy_cookie_path / /prefix/;")
    app.default = redirect(signer.url("test-bucket", "a.txt"),
                           ("Set-Cookie", "a=1; Path=/"))
    for mode in MODES:
        assert server.get(f"/{mode}/").get("Set-Cookie") \
            == "a=1; Path=/prefix/"


def test_the_application_s_disposition_is_before_all_others(
        serve, app, signer, emulator):
    server = serve()
    emulator.put_object("test-bucket", "o.txt", BODY,
                        content_disposition="attachment; filename=object")
    asked = [("response-content-disposition", 'attachment; filename="u v"'),
             ("response-content-type", "image/x-own")]
    plain = signer.url("test-bucket", "o.txt")
    with_query = signer.url("test-bucket", "o.txt", parameters=asked)
    own = ("Content-Disposition", "inline; filename=application")
    for mode in MODES:
        for url, headers, disposition in (
                (plain, [], "attachment; filename=object"),
                (with_query, [], asked[0][1]),
                (plain, [own], own[1]), (with_query, [own], own[1])):
            for app.default in (redirect(url, *headers),
                                accel(url, *headers)):
                answer = server.get(f"/{mode}/")
                assert (answer.status, answer.body) == (200, BODY)
                assert answer.get("Content-Disposition") == disposition
                if url is with_query:
                    assert answer.get("Content-Type") == "image/x-own"
                head = server.head(f"/{mode}/")
                assert head.get("Content-Disposition") == disposition


def test_a_type_in_the_url_decides_about_the_sandbox(
        serve, app, signer, emulator):
    server = serve()
    emulator.put_object("test-bucket", "o", BODY, content_type="image/png")
    for mode in MODES:
        app.default = redirect(signer.url("test-bucket", "o", parameters=[
            ("response-content-type", "text/html")]))
        answer = server.get(f"/{mode}/")
        assert answer.get("Content-Type") == "text/html"
        assert "sandbox" in answer.get("Content-Security-Policy")


def directives(value: str | None) -> set[str]:
    return {part.strip().lower() for part in (value or "").split(",")}


CACHING = [
    (None, None),                          # what GCS says by itself
    ("public, max-age=3600", {"private", "max-age=3600"}),
    ("Public, S-MaxAge=600, max-age=60", {"private", "max-age=60"}),
    ("max-age=60", {"private", "max-age=60"}),
    ("private, max-age=5", {"private", "max-age=5"}),
    ("no-cache", {"private", "no-cache"}),
    ("public,max-age=9,immutable", {"private", "max-age=9", "immutable"}),
    ("s-maxage=9", {"private"}), ("public", {"private"}),
    ("no-transform, public", {"private", "no-transform"}),
]


@pytest.mark.parametrize("mode", MODES)
def test_no_shared_cache_may_keep_the_object(serve, app, signer, emulator,
                                             mode):
    server = serve()
    for number, (value, wanted) in enumerate(CACHING):
        name = f"c{number}"
        emulator.put_object("test-bucket", name, BODY, cache_control=value)
        app.default = redirect(signer.url("test-bucket", name))
        etag = emulator.get_object("test-bucket", name)["etag"]
        for headers, status in (({}, 200), ({"Range": "bytes=1-2"}, 206),
                                ({"If-None-Match": etag}, 304)):
            answer = server.get(f"/{mode}/", headers)
            assert answer.status == status
            found = directives(answer.get("Cache-Control"))
            assert "private" in found, value
            assert not {one for one in found
                        if one == "public" or one.startswith("s-maxage")}
            if wanted is not None:
                assert found == wanted, value

    emulator.put_object("test-bucket", "n", BODY, cache_control="no-store")
    app.default = redirect(signer.url("test-bucket", "n"))
    assert "no-store" in directives(
        server.get(f"/{mode}/").get("Cache-Control"))


SANDBOXED = {
    "text/html": True, "text/html; charset=utf-8": True, "TEXT/HTML": True,
    "application/xhtml+xml": True, "image/svg+xml": True, "text/xml": True,
    "application/xml": True, "application/atom+xml": True,
    "text/xsl": True, "multipart/x-mixed-replace": True,
    "message/rfc822": True, "image/png, text/html": True,
    "application/pdf": False, "image/png": False, "text/plain": False,
    "video/mp4": False, "audio/mpeg": False, "application/json": False,
}


@pytest.mark.parametrize("mode", MODES)
def test_what_could_run_scripts_is_put_in_a_sandbox(
        serve, app, signer, emulator, mode):
    server = serve()
    for number, (type_, sandboxed) in enumerate(SANDBOXED.items()):
        name = f"s{number}"
        emulator.put_object("test-bucket", name, BODY, content_type=type_)
        app.default = redirect(signer.url("test-bucket", name))
        for headers in ({}, {"Range": "bytes=0-"}):
            answer = server.get(f"/{mode}/", headers)
            assert answer.get("Content-Type") == type_
            assert answer.get("X-Content-Type-Options") == "nosniff"
            policy = answer.get("Content-Security-Policy")
            assert ("sandbox" in (policy or "")) == sandboxed, type_


def test_a_page_in_the_place_of_the_object_is_not_the_object(
        serve, app, signer, emulator):
    """What was said of a film is not said of what is shown without it."""
    emulator.create_bucket("page-bucket", public=True)
    emulator.put_object("page-bucket", "gone.html", b"<p>gone",
                        content_type="text/html",
                        cache_control="public, max-age=9")
    server = serve(
        signed="error_page 404 = /pages/gone.html;", more="""
            location /pages/ {
                gcs_pass gs://page-bucket/;
                gcs_auth anonymous;
            }""")
    app.default = redirect(
        signer.url("test-bucket", "none", parameters=[
            ("response-content-type", "video/mp4")]),
        ("Content-Disposition", "attachment; filename=film.mp4"))
    answer = server.get("/signed/")
    assert (answer.status, answer.body) == (200, b"<p>gone")
    assert answer.get("Content-Type") == "text/html"
    assert answer.get("Cache-Control") == "public, max-age=9"
    assert not {"content-disposition", "content-security-policy"} \
        & answer.names


def test_the_sandbox_can_be_left_out(serve, app, signer, emulator):
    server = serve(signed="gcs_sandbox off;", named="gcs_nosniff off;")
    emulator.put_object("test-bucket", "h", BODY, content_type="text/html")
    app.default = redirect(signer.url("test-bucket", "h"))
    answer = server.get("/signed/")
    assert "content-security-policy" not in answer.names
    assert answer.get("X-Content-Type-Options") == "nosniff"
    answer = server.get("/named/")
    assert "sandbox" in answer.get("Content-Security-Policy")
    assert "x-content-type-options" not in answer.names


def test_headers_that_nginx_adds_are_added_once(serve, app, signer):
    server = serve(server='add_header X-Added "$gcs_takeover_status" always;',
                   signed="""add_header Cache-Control "no-transform";
                             add_header X-Here 1;""")
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    assert server.get("/named/").all("X-Added") == ["redirect"]
    assert server.get("/signed/").all("X-Here") == ["1"]
    app.default = Answer(404, body=b"no")
    assert server.get("/named/").all("X-Added") == ["passed"]


def test_nothing_of_one_answer_is_left_in_the_next(serve, app, signer,
                                                   emulator):
    server = serve()
    connection = server.connect()
    app.default = redirect(signer.url("test-bucket", "a.txt"),
                           ("Set-Cookie", "a=1"),
                           ("Content-Disposition", "attachment"))
    assert connection.get("/signed/").get("Set-Cookie") == "a=1"
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    answer = connection.get("/signed/")
    assert not {"set-cookie", "content-disposition"} & answer.names
    assert header(gcs(emulator)[-1], "cookie") is None


# what GCS says of caching

def test_each_of_several_headers_of_a_name_gives_way(serve, app, signer,
                                                     emulator):
    emulator.fault(kind="storage", count=None,
                   remove_headers=["Cache-Control"],
                   headers=[["Cache-Control", "public, max-age=1"],
                            ["Cache-Control", "public, max-age=2"]])
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    server = serve()
    for mode in MODES:
        answer = server.get(f"/{mode}/")
        assert [value for name, value in answer.headers
                if name.lower() == "cache-control"] \
            == ["private, max-age=1, max-age=2"]
        assert "x-goog-dropped" not in answer.names


def test_a_comma_in_quotes_ends_nothing(serve, app, signer, emulator):
    emulator.put_object(
        "test-bucket", "a.txt", BODY,
        cache_control='public, no-cache="x,\\"public,y", max-age=60')
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    assert serve().get("/signed/").get("Cache-Control") \
        == 'private, no-cache="x,\\"public,y", max-age=60'

"""Takeover: what is not taken passes byte for byte.

Each answer of the application is fetched by way of a location that takes over
and by way of one of stock nginx; the two must be the same.
"""

from __future__ import annotations

import re
import threading
import time

import pytest

from harness import Truncated
from harness.nginx import wait_until
from harness.studio import Answer, Signer, accel, redirect
from harness.takeover import APPLICATION, BODY, MODES, gcs, taken

pytest_plugins = ["harness.studio_plugin"]

HOST = {"Host": "labels.example"}


def stripped(response) -> tuple[bytes, bytes]:
    """All of an answer but its time."""
    return (re.sub(rb"\r\nDate: [^\r]*", b"", response.head), response.body)


def same(server, app, target, headers=(), what=""):
    """Fetch it twice; it must be one and the same, and asked for as often."""
    start = len(app.requests)
    ours = server.get(target, HOST | dict(headers))
    middle = len(app.requests)
    plain = server.get(target, HOST | dict(headers),
                       port=server.ports["PORT_PLAIN"])
    assert stripped(ours) == stripped(plain), what
    assert [one.target for one in app.requests[start:middle]] \
        == [one.target for one in app.requests[middle:]], what
    return ours


JSON = ("Content-Type", "application/json")

ANSWERS = {
    "unauthorized": Answer(401, [JSON, ("WWW-Authenticate", "Token x=\"y\""),
                                 ("WWW-Authenticate", "Basic")], b"{}"),
    "no fileuri": Answer(400), "forbidden": Answer(403, body=b"no"),
    "not found": Answer(404), "cannot sign": Answer(404, [JSON], b"{}"),
    "method": Answer(405, [JSON, ("Allow", "GET")], b"{}"),
    "stream failed": Answer(424, [JSON], b'{"error":"Storage stream"}'),
    "precondition": Answer(412), "range": Answer(
        416, [("Content-Range", "bytes */5")], b"x"),
    "too many": Answer(429, [("Retry-After", "5")]),
    "error": Answer(500, body=b"trace"), "gateway": Answer(502, body=b"own"),
    "maintenance": Answer(503, [("Retry-After", "60")], b"<h1>soon</h1>"),
    "timeout": Answer(504), "odd": Answer(299, body=b"x"),
    "page": Answer(200, [("Content-Type", "text/html; charset=koi8-r"),
                         ("Cache-Control", "public, s-maxage=5"),
                         ("ETag", 'W/"1"'), ("Expires", "0"),
                         ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
                         ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"),
                         ("Content-Disposition", "inline"),
                         ("Content-Security-Policy", "default-src 'none'"),
                         ("Vary", "Cookie"), ("Vary", "Accept-Language"),
                         ("X-Own", "1"), ("X-Own", "ü"),
                         ("Link", "</a>; rel=preload")], b"<p>page</p>"),
    "chunked": Answer(200, [JSON], [b"a" * 9000, b"b", b"c" * 70000],
                      "chunked"),
    "until the end": Answer(200, [], [b"a" * 9000, b"b" * 100], "close"),
    "large": Answer(200, [], bytes(range(256)) * 8192),
    "gzip": Answer(200, [("Content-Encoding", "gzip")], b"\x1f\x8bnot so"),
    "part": Answer(206, [("Content-Range", "bytes 0-9/20"),
                         ("Accept-Ranges", "bytes")], BODY),
    "empty": Answer(200), "nothing": Answer(204), "created": Answer(
        201, [("Location", "/made/1")], b"made"),
    "not modified": Answer(304, [("ETag", '"1"')]),
    "bare redirect": Answer(303, body=b"whereto"),
    "relative": redirect("/user/login/?next=/x"),
    "absolute": redirect("http://app/user/login/"),
    "login": redirect("https://labels.example/user/login/",
                      ("Set-Cookie", "next=1"), status=302, body=b"login"),
    "empty redirect": redirect(""),
    "S3": redirect("https://bucket.s3.amazonaws.com/a.txt?X-Amz-Algorithm="
                   "AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20260101%2Fus%2Fs3"
                   "%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires"
                   "=900&X-Amz-SignedHeaders=host&X-Amz-Signature=" + "a" * 64,
                   ("Cache-Control", "no-store, max-age=60"), body=b"s3"),
    "Azure": redirect("https://a.blob.core.windows.net/c/a.txt?sv=1&sig=x%3D"),
    "streamed redirect": redirect("https://x.example/", body=[b"a", b"b"],
                                  framing="chunked"),
    "X-Accel controls": Answer(200, [
        ("X-Accel-Expires", "60"), ("X-Accel-Charset", "koi8-r"),
        ("X-Accel-Buffering", "no"), ("X-Accel-Limit-Rate", "100000"),
        ("Content-Type", "text/plain")], b"controls"),
    "early end": Answer(raw=[b"HTTP/1.0 200 OK\r\nX-Old: 1\r\n\r\nold body"]),
    "folded": Answer(raw=[b"HTTP/1.1 404 Its Own Words\r\nContent-Length: 2"
                          b"\r\nconnection: close\r\nx-lower: 1\r\n\r\nno"]),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_answer_of_the_status_table_passes(serve, app, emulator, mode):
    server = serve()
    for name, app.default in ANSWERS.items():
        answer = same(server, app, f"/{mode}/x?fileuri=Z3M=", what=name)
        assert answer.status == app.default.status \
            or app.default.raw is not None, name
        same(server, app, f"/{mode}/x", {"Accept-Encoding": "gzip"}, name)
    assert gcs(emulator) == []
    assert taken(server, 2 * len(ANSWERS))[0] == ["401", "passed", "", "401"]


def test_head_of_what_passes_has_the_same_headers(serve, app):
    server = serve()
    for name, app.default in ANSWERS.items():
        answer = server.head("/signed/x", HOST)
        plain = server.get("/signed/x", HOST,
                           port=server.ports["PORT_PLAIN"])
        assert app.requests[-2].method == "GET"
        if answer.get("Content-Length") or answer.status in (204, 304):
            assert stripped(answer)[0] == stripped(plain)[0], name
        else:
            assert answer.status == plain.status, name
            assert answer.names >= plain.names - {"transfer-encoding"}, name
        assert answer.body == b""


def test_a_broken_answer_is_the_same_error(serve, app):
    server = serve()
    for raw in ([], [b""],
                [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99999 + b"\r\n\r\n"],
                [b"HTTP/1.1 303 See Other\r\nLocation: https://sto"]):
        app.default = Answer(raw=raw)
        answer = same(server, app, "/signed/", what=raw)
        assert answer.status == 502


def test_a_body_that_is_cut_off_is_cut_off(serve, app):
    server = serve()
    app.default = Answer(200, body=b"x" * 200000, cut=100000)
    for port in (server.port, server.ports["PORT_PLAIN"]):
        with pytest.raises(Truncated):
            server.get("/signed/", port=port)


def test_an_application_that_sends_bytes_itself_keeps_its_ranges(
        serve, app, emulator):
    def answer(asked):
        if asked.get("Range") == "bytes=2-4" \
                and asked.get("If-Range") in (None, '"1"'):
            return Answer(206, [("Content-Range", "bytes 2-4/10"),
                                ("ETag", '"1"')], b"234")
        return Answer(200, [("ETag", '"1"'), ("Accept-Ranges", "bytes")], BODY)

    server = serve()
    app.default = answer
    for asked, status in (({"Range": "bytes=2-4"}, 206), ({}, 200),
                          ({"Range": "bytes=2-4", "If-Range": '"1"'}, 206),
                          ({"Range": "bytes=2-4", "If-Range": '"2"'}, 200)):
        for mode in MODES:
            assert same(server, app, f"/{mode}/", asked).status == status
    assert gcs(emulator) == []


def test_a_stream_arrives_while_it_is_made(serve, app):
    """Label Studio's long exports, and its events."""
    server = serve(server="proxy_buffering off;")
    go = threading.Event()

    def second() -> bytes:
        assert go.wait(30)
        return b"second"

    app.default = Answer(200, [], [b"first", second], "chunked")
    connection = server.connect()
    connection.send(b"GET /signed/ HTTP/1.1\r\nHost: a\r\n\r\n")
    response = connection.head()
    assert response.status == 200
    wait_until(lambda: b"first" in connection._buffer or connection._more()
               and False)
    go.set()
    connection._read_chunks(response)
    assert response.body == b"firstsecond"


def test_a_client_that_leaves_ends_the_application_s_work(serve, app):
    server = serve(server="proxy_buffering off;")
    endless = (b"x" * 10000 for _ in iter(int, 1))
    app.default = Answer(200, [], endless, "chunked")
    connection = server.connect()
    connection.send(b"GET /signed/ HTTP/1.1\r\nHost: a\r\n\r\n")
    assert connection.head().status == 200
    connection.close()
    wait_until(lambda: app.last().gone)


# redirects to Cloud Storage that are not taken

def refused(signer: Signer) -> dict[str, str]:
    """Locations that no configuration here takes."""
    url = signer.url("test-bucket", "a.txt")
    google = "storage.googleapis.com"
    at_google = url.replace(signer.endpoint, "https://" + google)
    base, _, query = url.partition("?")
    locations = {
        "unsigned": base, "unsigned at google": at_google.partition("?")[0],
        "expired": signer.url("test-bucket", "a.txt", 60,
                              at=time.time() - 120),
        "too long a life": signer.url("test-bucket", "a.txt", 604801),
        "no signature": re.sub(r"&X-Goog-Signature=\w+", "", url),
        "short signature": url[:-450], "odd signature": url[:-1],
        "not hexadecimal": url[:-1] + "g",
        "no date": re.sub(r"X-Goog-Date=\w+&", "", url),
        "twice": url + "&X-Goog-Expires=900",
        "other case": url.replace("X-Goog-Exp", "x-goog-exp"),
        "more signed headers": url.replace("=host", "=host%3Brange"),
        "sub-resource": url + "&acl", "escaped name": url.replace(
            "X-Goog-Date", "X-Goog-Dat%65"),
        "fragment": url + "#x", "empty fragment": url + "#",
        "space": " " + url + " x", "tab": url.replace("&", "\t&", 1),
        "no object": url.replace("/a.txt", "/"),
        "no slash": url.replace("/a.txt", ""),
        "bucket": url.replace("test-bucket", "TEST-bucket"),
        "JSON API": url.replace("/test-bucket/a.txt",
                                "/storage/v1/b/test-bucket/o/a.txt"),
        "download": url.replace("/test-bucket/a.txt",
                                "/download/storage/v1/b/test-bucket/o/a.txt"),
        "not UTF-8": url.replace("a.txt", "%ff"),
        "NUL": url.replace("a.txt", "a%00"), "LF": url.replace(
            "a.txt", "a%0a"), "bad escape": url.replace("a.txt", "%zz"),
        "too long": url.replace("a.txt", "x" * 1025),
        "user": url.replace("://", "://user@"),
        "password": url.replace("://", "://u:p@"),
        "scheme": url.replace("http:", "ftp:"),
        "no scheme": url.replace("http:", ""),
        "backslash": url.replace("://", ":\\\\"),
        "other port": re.sub(r":\d+/", ":1/", url, count=1),
        "login host": at_google.replace(google, "storage.cloud.google.com"),
        "JSON host": at_google.replace(google, "www.googleapis.com"),
        "dot after host": at_google.replace(google, google + "."),
        "port": at_google.replace(google, google + ":8443"),
    }
    for evil in ("evil.example", google + ".evil.example", "evil" + google,
                 google + "@evil.example", google + "\\@evil.example",
                 "evil.example\\" + google, "evil.example?" + google,
                 "evil.example#" + google, "evil.example/" + google,
                 google.replace(".", "\u3002"), "a..b." + google, "." + google,
                 "-" + google, "[::1]", "127.0.0.1", "127.0.0.1:",
                 "127.0.0.1:0", "0x7f.1", "2130706433", ""):
        locations["host " + evil] = at_google.replace(google, evil, 1)
    for name in ("a/../b", "../a.txt", "./a.txt", "a/..", ".", "..",
                 "%2e%2e/a.txt", "a/%2E/b", "a%2F..%2Fb", "..%2fa.txt"):
        locations["dots " + name] = url.replace("a.txt", name)
    return locations


def test_a_location_in_doubt_is_left_to_the_client(serve, app, signer,
                                                   emulator):
    server = serve()
    for name, location in refused(signer).items():
        app.default = redirect(location, body=b"doubt")
        for mode in MODES:
            answer = same(server, app, f"/{mode}/", what=name)
            assert (answer.status, answer.body) == (303, b"doubt"), name
    assert gcs(emulator) == []
    assert taken(server)[0][1:3] == ["passed", ""]


def test_two_locations_are_none(serve, app, signer, emulator):
    server = serve()
    url = signer.url("test-bucket", "a.txt")
    # nginx since 1.23 tells both to its log, so no real signature is in them
    url = re.sub(r"Signature=\w+", "Signature=" + "ab" * 32, url)
    for two in ([url, "https://evil.example/"], ["/login", url], [url, url]):
        app.default = Answer(303, [("Location", one) for one in two])
        for mode in MODES:
            assert same(server, app, f"/{mode}/").status == 303
    assert gcs(emulator) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_bucket_that_is_not_allowed_passes(serve, app, signer, emulator,
                                             mode):
    emulator.create_bucket("other-bucket")
    emulator.put_object("other-bucket", "a.txt", b"of others")
    emulator.grant(APPLICATION, "other-bucket", ["objectViewer"])
    server = serve(signed="gcs_buckets test-bucket/in;",
                   named="gcs_buckets test-bucket/in;".replace(
                       "gcs_buckets", "# gcs_buckets"))
    url = signer.url("other-bucket", "a.txt")
    app.default = redirect(url, body=b"there")
    answer = same(server, app, f"/{mode}/")
    assert (answer.status, answer.get("Location")) == (303, url)
    assert gcs(emulator) == []


def test_without_a_list_every_signature_is_good(serve, app, signer, emulator):
    emulator.create_bucket("other-bucket")
    emulator.put_object("other-bucket", "a.txt", b"of others")
    emulator.grant(APPLICATION, "other-bucket", ["objectViewer"])
    app.default = redirect(signer.url("other-bucket", "a.txt"))
    assert serve().get("/signed/").body == b"of others"


def test_parameters_of_unknown_effect_need_the_signature(serve, app, signer,
                                                         emulator):
    """Who reads by name could not obey them."""
    server = serve()
    app.default = redirect(signer.url("test-bucket", "a.txt", parameters=[
        ("response-content-language", "fr")]))
    assert same(server, app, "/named/").status == 303
    assert gcs(emulator) == []
    assert server.get("/signed/").body == BODY
    [asked] = gcs(emulator)
    assert "response-content-language=fr" in asked["target"]


# X-Accel-Redirect

def test_other_x_accel_redirects_are_stock_nginx_s(serve, app, signer,
                                                   emulator):
    server = serve()
    url = signer.url("test-bucket", "a.txt")
    form = url.replace("://", "/", 1)
    targets = [
        "/file_download/https/bucket.s3.amazonaws.com/a%20b?x=1&y",
        "/file_download/https/evil.example/x", "/file_download/",
        "/file_download/x", "/file_download/" + url.partition("?")[0],
        "/file_download/ftp" + form[4:], "/file_download//" + form,
        "/file_download/" + form[:-1], "/file_downloads/" + form,
        "/none", "/", "@nowhere", "relative", "", "/signed/again", url,
        "/file_download/" + form.partition("?")[0],
        "/file_download/" + form.replace("a.txt", "..%2fa.txt"),
    ]

    app.default = Answer(200, body=b"again")
    for target in targets:
        app.routes["/signed/"] = app.routes["/named/"] = Answer(
            200, [("X-Accel-Redirect", target),
                  ("Content-Disposition", "inline")], b"body")
        for mode in MODES:
            same(server, app, f"/{mode}/", what=target)
    assert gcs(emulator) == []


@pytest.mark.parametrize("status", [301, 303, 400, 401, 403, 404, 500])
def test_an_x_accel_redirect_with_an_error_is_stock_nginx_s(
        serve, app, signer, emulator, status):
    server = serve()
    app.default = accel(signer.url("test-bucket", "a.txt"), body=b"error")
    app.default.status = status
    for mode in MODES:
        assert same(server, app, f"/{mode}/").status == 200
    assert gcs(emulator) == []


def test_who_ignores_x_accel_redirect_still_has_redirects_taken(
        serve, app, signer, emulator):
    server = serve(server="proxy_ignore_headers X-Accel-Redirect;")
    url = signer.url("test-bucket", "a.txt")
    app.default = accel(url, body=b"body")
    for mode in MODES:
        assert same(server, app, f"/{mode}/").body == b"body"
    assert gcs(emulator) == []
    app.default = redirect(url)
    for mode in MODES:
        assert server.get(f"/{mode}/").body == BODY

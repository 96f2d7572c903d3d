"""An application redirects to a signed URL, and nginx delivers the object.

nginx stands between the double of an application and the emulator: what was
asked of each is asserted, and what the client got.
"""

from __future__ import annotations

import pytest

from emulator import content
from harness.studio import Answer, Asked, Signer, accel, redirect
from harness.takeover import (
    APPLICATION, BODY, MODES, READER, found_in_logs, gcs, taken)

pytest_plugins = ["harness.studio_plugin"]


# what is taken

def test_the_url_is_fetched_as_it_is_signed(serve, app, signer, emulator):
    server = serve()
    url = signer.url("test-bucket", "a.txt")
    app.default = redirect(url)
    answer = server.get("/signed/x?fileuri=1")
    assert (answer.status, answer.body) == (200, BODY)
    assert answer.get("Content-Type") == "text/plain"
    assert answer.get("Content-Length") == "10"
    assert "location" not in answer.names

    [asked] = gcs(emulator)
    assert (asked["method"], emulator.url + asked["target"]) == ("GET", url)
    assert asked["host"] == emulator.url.partition("://")[2]
    assert (asked["credential"], asked["account"]) \
        == ("signed URL", APPLICATION)
    assert [one.target for one in app.requests] == ["/signed/x?fileuri=1"]
    assert taken(server) == [["200", "redirect", "gs://test-bucket/a.txt",
                              "303 : 200"]]


def test_an_identity_of_our_own_reads_what_the_url_names(
        serve, app, signer, emulator):
    server = serve()
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    answer = server.get("/named/x")
    assert (answer.status, answer.body) == (200, BODY)

    [asked] = gcs(emulator)
    assert (asked["method"], asked["target"]) == ("GET", "/test-bucket/a.txt")
    assert (asked["credential"], asked["account"]) == ("valid", READER)
    assert taken(server)[0][1:3] == ["redirect", "gs://test-bucket/a.txt"]


@pytest.mark.parametrize("mode", MODES)
def test_each_status_of_a_redirect_is_taken_and_no_other(
        serve, app, signer, emulator, mode):
    server = serve()
    url = signer.url("test-bucket", "a.txt")
    for status in (301, 302, 303, 307, 308):
        app.default = redirect(url, status=status)
        answer = server.get(f"/{mode}/")
        assert (answer.status, answer.body) == (200, BODY), status
    assert len(gcs(emulator)) == 5

    for status in (200, 201, 203, 300, 304, 305, 306, 309, 400, 401, 404,
                   500, 503):
        app.default = redirect(url, status=status, body=b"" if status == 304
                               else b"itself")
        answer = server.get(f"/{mode}/")
        assert answer.status == status
        assert answer.body in (b"", b"itself")
        assert answer.get("Location") == url, status
    assert gcs(emulator) == []


@pytest.mark.parametrize("make", [
    pytest.param(lambda signer: signer.url("test-bucket", "a.txt"), id="V4"),
    pytest.param(lambda signer: signer.url_v2("test-bucket", "a.txt"),
                 id="V2")])
def test_kinds_of_signatures_are_taken_by_an_identity(
        serve, app, signer, emulator, make):
    app.default = redirect(make(signer))
    assert serve().get("/named/").body == BODY


def test_an_hmac_key_may_have_signed(serve, app, signer, emulator, bucket):
    key = emulator.hmac_key("hmac@demo-project.iam.gserviceaccount.com",
                            grants={bucket: ["objectViewer"]})
    theirs = Signer(key, emulator.url)
    server = serve()
    app.default = redirect(theirs.url(bucket, "a.txt"))
    assert server.get("/signed/").body == BODY
    assert server.get("/named/").body == BODY

    # AWS's dialect, which the emulator does not know
    app.default = redirect(theirs.url(bucket, "a.txt", aws=True))
    assert server.get("/named/").body == BODY
    assert not found_in_logs(server, theirs.made)


@pytest.mark.parametrize("mode", MODES)
def test_label_studio_s_x_accel_redirect_is_taken(
        serve, app, signer, emulator, mode):
    server = serve()
    url = signer.url("test-bucket", "a.txt")
    disposition = ("Content-Disposition", 'inline; filename="a b.txt"')
    for status in (200, 201, 206):
        app.default = accel(url, disposition, ("Content-Type", "text/html"))
        app.default.status = status
        answer = server.get(f"/{mode}/", {"Range": "bytes=2-4"})
        assert (answer.status, answer.body) == (206, b"234")
        assert answer.get("Content-Range") == "bytes 2-4/10"
        assert answer.get("Content-Disposition") == disposition[1]
        assert answer.get("Content-Type") == "text/plain"
        assert "x-accel-redirect" not in answer.names

    head = server.head(f"/{mode}/")
    assert (head.status, head.get("Content-Length")) == (200, "10")
    assert [one.method for one in app.requests] == ["GET"] * 4
    assert taken(server, 4)[-1][1:3] == ["accel", "gs://test-bucket/a.txt"]
    assert [one["account"] for one in gcs(emulator)] \
        == [APPLICATION if mode == "signed" else READER] * 4


# the method

@pytest.mark.parametrize("mode", MODES)
def test_head_asks_the_application_by_get(serve, app, signer, emulator, mode):
    server = serve()
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    connection = server.connect()
    answer = connection.request("HEAD", f"/{mode}/")
    assert (answer.status, answer.get("Content-Length")) == (200, "10")
    assert answer.get("Content-Type") == "text/plain"
    assert answer.get("Accept-Ranges") == "bytes"
    # nothing of a body came: the next answer begins where it should
    assert connection.get(f"/{mode}/").body == BODY
    assert [one.method for one in app.requests] == ["GET", "GET"]

    # a signature is of its method
    [asked, _] = gcs(emulator)
    assert asked["method"] == ("GET" if mode == "signed" else "HEAD")


def test_head_of_a_large_object_moves_none_of_it(serve, app, signer, emulator):
    emulator.put_object("test-bucket", "film", size=256 << 20)
    server = serve()
    app.default = redirect(signer.url("test-bucket", "film"))
    answer = server.head("/signed/")
    assert answer.get("Content-Length") == str(256 << 20)
    answer = server.head("/signed/", {"Range": "bytes=5-"})
    assert answer.get("Content-Length") == str((256 << 20) - 5)
    assert answer.status == 206
    assert sum(one["sent"] for one in gcs(emulator)) < 64 << 20


def test_other_methods_pass_untouched(serve, app, signer, emulator):
    server = serve()
    url = signer.url("test-bucket", "a.txt")
    app.default = redirect(url, ("X-Own", "1"), body=b"go there")
    sent = {"Host": "app.example", "If-Match": '"x"', "Range": "bytes=0-4",
            "If-None-Match": "*", "Cookie": "a=b", "X-Any": "thing"}
    for method, body in (("POST", b"x" * 70000), ("PUT", b"y"),
                         ("PATCH", b"z"), ("DELETE", None), ("OPTIONS", None),
                         ("PROPFIND", None)):
        answers = [server.request(method, "/signed/q?a=b", sent, body,
                                  port=port)
                   for port in (server.port, server.ports["PORT_PLAIN"])]
        assert answers[0].status == 303, method
        assert answers[0].get("Location") == url
        assert answers[0].body == b"go there"
        ours, plain = app.requests[-2:]
        assert (ours.method, ours.body) == (method, body or b"")
        assert sorted(ours.headers) == sorted(plain.headers), method
        assert ours.get("If-Match") == '"x"'
        assert ours.get("Range") == "bytes=0-4"
    assert gcs(emulator) == []


def test_a_subrequest_is_not_taken_over(serve, app, signer, emulator):
    """auth_request would otherwise be answered with the object."""
    server = serve(server="""
        location /closed/ {
            auth_request /signed/check;
            proxy_pass   http://app;
        }""")
    app.routes["/signed/check"] = redirect(signer.url("test-bucket", "a.txt"))
    app.routes["/closed/a"] = Answer(200, body=b"closed")
    assert server.get("/closed/a").status == 500
    assert "unexpected status: 303" in server.log()
    app.routes["/signed/check"] = Answer(204)
    assert server.get("/closed/a").body == b"closed"
    assert gcs(emulator) == []


# ranges and conditions are of the object

RANGES = [
    (None, 200, None, BODY),
    ("bytes=0-", 206, "bytes 0-9/10", BODY),
    ("bytes=0-0", 206, "bytes 0-0/10", b"0"),
    ("bytes=2-4", 206, "bytes 2-4/10", b"234"),
    ("bytes=7-99999999", 206, "bytes 7-9/10", b"789"),
    ("bytes=-3", 206, "bytes 7-9/10", b"789"),
    ("bytes=10-", 416, "bytes */10", None),
]


@pytest.mark.parametrize("mode", MODES)
def test_a_range_is_of_the_object(serve, app, signer, mode):
    server = serve()
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    for value, status, part, body in RANGES:
        asked = {"Range": value} if value else {}
        answer = server.get(f"/{mode}/", asked)
        assert answer.status == status, value
        assert answer.get("Content-Range") == part, value
        if body is not None:
            assert answer.body == body, value
        head = server.head(f"/{mode}/", asked)
        assert (head.status, head.get("Content-Range")) == (status, part)
        # should it send the bytes by itself
        assert [one.get("Range") for one in app.requests[-2:]] == [value] * 2


@pytest.mark.parametrize("mode", MODES)
def test_conditions_are_of_the_object(serve, app, signer, emulator, mode):
    server = serve()
    about = emulator.get_object("test-bucket", "a.txt")
    app.default = redirect(signer.url("test-bucket", "a.txt"),
                           ("ETag", '"of the application"'),
                           ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT"))
    etag = server.get(f"/{mode}/").get("ETag")
    assert etag == about["etag"]
    old, new = "Thu, 01 Jan 2015 00:00:00 GMT", "Thu, 01 Jan 2099 00:00:00 GMT"
    part = {"Range": "bytes=2-4"}
    for asked, status in (
            ({"If-None-Match": etag}, 304), ({"If-None-Match": '"x"'}, 200),
            ({"If-None-Match": f'"x", {etag}'}, 304),
            ({"If-Modified-Since": new}, 304),
            ({"If-Modified-Since": old}, 200),
            ({"If-Match": etag}, 200), ({"If-Match": '"x"'}, 412),
            ({"If-Unmodified-Since": old}, 412),
            (part | {"If-Range": etag}, 206),
            (part | {"If-Range": '"x"'}, 200),
            (part | {"If-Range": '"of the application"'}, 200)):
        answer = server.get(f"/{mode}/", asked)
        assert answer.status == status, asked
        if status in (200, 304):
            assert answer.get("ETag") == etag, asked
        # were it said that nothing has changed, there would be no redirect
        assert not app.last().names & {"if-match", "if-none-match",
                                       "if-modified-since",
                                       "if-unmodified-since"}, asked
        assert app.last().get("Range") == asked.get("Range")
        assert app.last().get("If-Range") == asked.get("If-Range")


# names

NAMES = ["a b.txt", "100%.txt", "%41.txt", "a%2Fb", "what?.txt", "a#b",
         "a;b=c", "a&b=c", "a+b", "ü/漢字.txt", "\U0001f40d", "a//b", "/a",
         "a/", "~-_.!*'()", "a:b@c", "back\\slash", "\"q\" <t>",
         "{}|^`[]", "...", "a..b/.c", "$uri$args", "x" * 1024, "é" * 512,
         "e\u0301", "a\x01\x7fb"]


@pytest.mark.parametrize("mode", MODES)
def test_a_name_arrives_byte_for_byte(serve, app, signer, emulator, mode):
    server = serve()
    connection = server.connect()
    for name in NAMES:
        body = b"I am " + name.encode()
        emulator.put_object("test-bucket", name, body)
        url = signer.url("test-bucket", name)
        for app.default in (redirect(url), accel(url)):
            answer = connection.get(f"/{mode}/")
            assert (answer.status, answer.body) == (200, body), name
            [asked] = gcs(emulator)
            if mode == "signed":
                assert emulator.url + asked["target"] == url
        assert taken(server)[0][1] == "accel"


def test_virtual_hosts_and_google_s_own_are_asked_by_their_names(
        serve, app, signer, emulator):
    server = serve()
    host = "storage.googleapis.com"
    google = signer.at("https://" + host)
    for url, wanted in (
            (google.url("test-bucket", "a.txt"), host),
            (google.url("test-bucket", "a.txt", virtual=True),
             f"test-bucket.{host}"),
            (google.url("test-bucket", "a.txt").replace(host, host.upper()),
             host),
            (google.url("test-bucket", "a.txt").replace(host, host + ":443"),
             host),
            (google.url("test-bucket", "a.txt").replace("https:", "http:"),
             host)):
        app.default = redirect(url)
        answer = server.get("/signed/")
        assert (answer.status, answer.body) == (200, BODY), url
        [asked] = gcs(emulator)
        assert asked["host"] == wanted
        assert url.endswith(asked["target"])
        assert server.get("/named/").body == BODY
        assert gcs(emulator)[0]["target"] == "/test-bucket/a.txt"


# one after another

def test_a_large_object_arrives_whole(serve, app, signer, emulator):
    size = (16 << 20) + 7
    emulator.put_object("test-bucket", "film", size=size, seed=5)
    server = serve()
    app.default = redirect(signer.url("test-bucket", "film"))
    assert server.get("/signed/").body == content(5, 0, size)
    assert "temporary file" not in server.log()


def test_requests_of_one_connection_do_not_meet(serve, app, signer, emulator):
    emulator.put_object("test-bucket", "b.txt", b"other")
    server = serve()

    def answer(asked: Asked) -> Answer:
        name = asked.arguments["name"]
        return Answer(404, body=b"none") if name == "none" \
            else redirect(signer.url("test-bucket", name))

    app.default = answer
    bodies = {"a.txt": BODY, "b.txt": b"other", "none": b"none"}
    connection = server.connect()
    order = ["a.txt", "none", "b.txt", "a.txt", "b.txt", "b.txt", "none"]
    for mode in MODES:
        connection.send(b"".join(
            f"GET /{mode}/?name={name} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            for name in order))
        assert [connection.response().body for _ in order] \
            == [bodies[name] for name in order]

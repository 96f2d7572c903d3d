"""Takeover of an application that streams: it is asked for one byte.

What it answers is evidence or it is not.  Nothing but "206, bytes 0-0/N" (or
0-1, which is Label Studio's) opens the object: many applications answer 200 to
who may not see a thing, with a page that says so.
"""

from __future__ import annotations

import base64
import threading
from urllib.parse import quote

import pytest

from emulator import content
from harness.nginx import wait_until
from harness.studio import Answer, accel, fileuri, redirect
from harness.takeover import BODY, gcs, taken

pytest_plugins = ["harness.studio_plugin"]

MORE = """
    location /tasks/ {
        proxy_pass   http://app;
        gcs_takeover @named $gcs_fileuri;
    }
    location /value/ {
        proxy_pass   http://app;
        gcs_takeover @named $arg_value;
    }
    location /rewritten/ {
        rewrite      ^/rewritten/(.*)$ /tasks/$1?fileuri=$arg_other break;
        proxy_pass   http://app;
        gcs_takeover @named $gcs_fileuri;
    }
    location /moved/ {
        rewrite      ^/moved/(.*)$ /tasks/$1 break;
        proxy_pass   http://app;
        gcs_takeover @named $gcs_fileuri;
    }
    location /set/ {
        set          $args fileuri=$arg_other;
        proxy_pass   http://app;
        gcs_takeover @named $gcs_fileuri;
    }
    location /fixed/ {
        proxy_pass   http://app;
        gcs_takeover @named gs://test-bucket/a.txt;
    }
"""
A = "/tasks/7/resolve/?fileuri=" + fileuri("test-bucket", "a.txt")


def part(value: str = "bytes 0-0/10", body: bytes = b"0",
         *headers: tuple[str, str], **more) -> Answer:
    return Answer(206, [("Content-Range", value), *headers], body, **more)


@pytest.fixture
def ask(serve):
    return serve(more=MORE)


def test_one_byte_is_asked_for_and_the_object_is_served(ask, app, emulator):
    app.default = part("bytes 0-0/10", b"X", ("Set-Cookie", "a=1"),
                       ("ETag", '"app"'), ("Content-Type", "text/html"),
                       ("Cache-Control", "public"))
    answer = ask.get(A, {"If-None-Match": '"x"', "Cookie": "c=d"})
    assert (answer.status, answer.body) == (200, BODY)
    assert answer.get("Content-Type") == "text/plain"
    assert answer.get("Set-Cookie") == "a=1"
    assert "private" in answer.get("Cache-Control")
    assert "content-range" not in answer.names

    [asked] = app.requests
    assert (asked.method, asked.target) == ("GET", A)
    assert asked.get("Range") == "bytes=0-0"
    assert asked.get("Cookie") == "c=d"
    assert not {name for name in asked.names if name.startswith("if-")}
    [asked] = gcs(emulator)
    assert asked["target"] == "/test-bucket/a.txt"
    assert taken(ask)[0][1:] == ["oracle", "gs://test-bucket/a.txt",
                                 "206 : 200"]


def test_method_and_range_are_those_of_the_object(ask, app):
    app.default = part()
    for value, status, body in (("bytes=0-", 206, BODY), ("bytes=-2", 206,
                                b"89"), ("bytes=3-4", 206, b"34"),
                                ("bytes=10-", 416, None)):
        answer = ask.get(A, {"Range": value})
        assert answer.status == status
        assert body in (None, answer.body)
        assert app.last().get("Range") == "bytes=0-0"
    head = ask.head(A)
    assert (head.status, head.get("Content-Length")) == (200, "10")
    assert (app.last().method, app.last().get("Range")) == ("GET", "bytes=0-0")


def test_a_write_is_not_a_question(ask, app, emulator):
    app.default = part()
    for method in ("POST", "PUT", "DELETE"):
        answer = ask.request(method, A, {"Range": "bytes=5-6"}, b"x")
        assert (answer.status, answer.body) == (206, b"0")
        assert app.last().get("Range") == "bytes=5-6"
    assert gcs(emulator) == []


# evidence

EVIDENCE = {
    "the first byte": part(), "two bytes": part("bytes 0-1/10", b"01"),
    "of one byte": part("bytes 0-0/1"), "of many": part("bytes 0-1/99999999"),
    "in capitals": part("Bytes 0-0/10"),
    "chunked": part(body=[b"0"], framing="chunked"),
    "until the end": part(framing="close"), "no body": part(body=b""),
    # Label Studio's words for an object of one byte
    "all of one byte": Answer(200, [("Content-Range", "bytes 0-0/1")], b"0"),
}
REFUSED = {
    "no Content-Range": Answer(206, [], b"0"),
    "two of them": Answer(206, [("Content-Range", "bytes 0-0/10")] * 2, b"0"),
    "all": part("bytes 0-9/10", BODY), "three bytes": part("bytes 0-2/10"),
    "another": part("bytes 1-1/10"), "the second": part("bytes 1-2/10"),
    "none": part("bytes */10"), "unknown size": part("bytes 0-0/*"),
    "empty": part(""), "unit": part("items 0-0/10"), "size 0": part(
        "bytes 0-0/0"), "end after size": part("bytes 0-1/1"),
    "letters": part("bytes 0-0/ten"), "no size": part("bytes 0-0/"),
    "no slash": part("bytes 0-0"), "negative": part("bytes 0--1/10"),
    "hexadecimal": part("bytes 0-0/0x1"), "more": part("bytes 0-0/10, 1-1/10"),
    "huge": part("bytes 0-0/99999999999999999999"),
    "several parts": Answer(206, [("Content-Type", "multipart/byteranges; "
                                   "boundary=x")], b"--x--"),
}
PASSED = {
    "login page": Answer(200, [("Content-Type", "text/html")], b"log in"),
    "whole": Answer(200, [], BODY), "empty": Answer(200), "no content":
        Answer(204), "with Content-Range": Answer(
        200, [("Content-Range", "bytes 0-0/10")], b"0"),
    "a page with Content-Range": Answer(
        200, [("Content-Range", "bytes 0-0/1")], b"log in"),
    "created": Answer(201, [("Content-Range", "bytes 0-0/10")], b"0"),
    "login": redirect("/user/login/?next=/x", status=302),
    "elsewhere": redirect("https://x.example/"),
    "not modified": Answer(304), "unauthorized": Answer(401, body=b"{}"),
    "forbidden": Answer(403), "not found": Answer(404), "stream": Answer(
        424, body=b'{"error":1}'), "range": Answer(
        416, [("Content-Range", "bytes */0")]), "error": Answer(500),
    "maintenance": Answer(503, [("Content-Range", "bytes 0-0/10")], b"soon"),
}


def test_the_first_byte_is_evidence(ask, app, emulator):
    for name, app.default in EVIDENCE.items():
        answer = ask.get(A)
        assert (answer.status, answer.body) == (200, BODY), name
    assert len(gcs(emulator)) == len(EVIDENCE)


def test_any_other_part_is_none_and_no_answer_either(ask, app, emulator):
    """It is not what the client has asked for, so it cannot have that."""
    for name, app.default in REFUSED.items():
        answer = ask.get(A)
        assert answer.status == 502, name
        assert b"<center>nginx" in answer.body
    assert gcs(emulator) == []


def test_all_else_is_the_application_s_answer(ask, app, emulator):
    for name, app.default in PASSED.items():
        answer = ask.get(A, {"Range": "bytes=4-5"})
        assert answer.status == app.default.status, name
        assert answer.body == app.default.body, name
        for key, value in app.default.headers:
            assert answer.all(key) == [value] or key == "Location"
        assert taken(ask)[0][1] == "passed"
    assert gcs(emulator) == []
    assert len(app.requests) == len(PASSED)


def test_a_redirect_to_the_same_object_is_evidence(ask, app, signer,
                                                   emulator):
    emulator.put_object("test-bucket", "b.txt", b"other")
    for make in (redirect, accel):
        app.default = make(signer.url("test-bucket", "a.txt"))
        assert ask.get(A).body == BODY
        assert taken(ask)[0][1] in ("redirect", "accel")
        for url in (signer.url("test-bucket", "b.txt"),
                    signer.url("test-bucket", "a.txt/"),
                    signer.url("other-bucket", "a.txt"),
                    signer.url("test-bucket", "a.txt").partition("?")[0]):
            app.default = make(url, body=b"")
            assert BODY not in ask.get(A).body
            assert taken(ask)[0][1] == "passed"
    assert {one["target"] for one in gcs(emulator)} == {"/test-bucket/a.txt"}


def test_the_body_of_the_answer_is_dropped_however_long(ask, app, emulator):
    for body, framing in (((b"x" * 9999 for _ in iter(int, 1)), "chunked"),
                          ((b"x" * 9999 for _ in iter(int, 1)), "close"),
                          (b"x" * (8 << 20), "length")):
        app.default = part(body=body, framing=framing)
        answer = ask.get(A)
        assert (answer.status, answer.body) == (200, BODY)
        wait_until(lambda: app.last().gone)
        assert app.last().sent < 8 << 20


def test_a_body_that_never_comes_is_not_waited_for(ask, app):
    never = threading.Event()
    app.default = part(body=[lambda: never.wait(60) and b"" or b""],
                       framing="close")
    assert ask.get(A).body == BODY
    never.set()


def test_it_is_asked_once(ask, app, emulator):
    app.default = part()
    emulator.put_object("test-bucket", "big", size=9 << 20, seed=2)
    target = A.replace(fileuri("test-bucket", "a.txt"),
                       fileuri("test-bucket", "big"))
    assert ask.get(target).body == content(2, 0, 9 << 20)
    assert len(app.requests) == 1
    emulator.fault(kind="storage", status=503)
    assert ask.get(A).body == BODY
    assert len(app.requests) == 2
    emulator.revoke_tokens()
    assert ask.get(A).body == BODY
    assert len(app.requests) == 3
    assert app.connections == 1


def test_an_object_that_is_gone_is_404(ask, app):
    app.default = part()
    target = A.replace(fileuri("test-bucket", "a.txt"),
                       fileuri("test-bucket", "none"))
    assert ask.get(target).status == 404


# the value

def test_a_value_that_may_not_be_served_lets_the_request_pass(
        ask, app, emulator):
    emulator.create_bucket("other-bucket")
    emulator.put_object("other-bucket", "a.txt", b"of others")
    # not even a part of the whole is taken: the client's own Range has passed
    app.default = part("bytes 0-0/10", b"0")
    for value in ("", "gs://other-bucket/a.txt", "gs://test-bucket",
                  "gs://test-bucket/", "https://test-bucket/a.txt",
                  "test-bucket/a.txt", "gs://TEST-bucket/a", "gs://", "/",
                  "gs:///a.txt", "gs://test-bucket-2/a.txt"):
        for headers in ({}, {"Range": "bytes=0-0"}, {"Range": "bytes=2-",
                                                     "If-Range": '"x"'}):
            answer = ask.get(f"/value/?value={value}", headers)
            assert (answer.status, answer.body) == (206, b"0"), value
            asked = app.last()
            assert asked.get("Range") == headers.get("Range"), value
            assert asked.get("If-Range") == headers.get("If-Range"), value
            assert taken(ask)[0][1:3] == ["passed", ""]
        head = ask.head(f"/value/?value={value}")
        assert head.status == 206
        assert app.last().method == "HEAD"
    assert gcs(emulator) == []


def test_a_value_is_taken_as_it_is(ask, app, emulator):
    app.default = part()
    emulator.put_object("test-bucket", "a%20b?c#d", b"odd")
    for name in ("a.txt",):
        assert ask.get(f"/value/?value=gs://test-bucket/{name}").body == BODY
    # $arg_ does not decode
    emulator.put_object("test-bucket", "a%20b", b"literal")
    assert ask.get("/value/?value=gs://test-bucket/a%20b").body == b"literal"
    assert ask.get("/fixed/").body == BODY


# $gcs_fileuri

def b64(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(data).decode()


NAMES = ["a.txt", "a b.txt", "100%.txt", "a%20b.jpg", "what#.txt", "a;b",
         "a&b", "ü/漢字.txt", "a//b", "a/", "~", "x" * 1024, "é" * 512, "../a",
         "a/../b",
         "a+b=c", "a\\b", "'\"", "fileuri=x"]


def test_names_are_what_label_studio_would_find(ask, app, emulator):
    app.default = part()
    for name in NAMES:
        body = b"I am " + name.encode()
        emulator.put_object("test-bucket", name, body)
        argument = fileuri("test-bucket", name)
        for text in (argument, argument.replace("=", "%3D"),
                     quote(f"gs://test-bucket/{quote(name, safe='')}")
                     if name == "a.txt" else argument):
            for query in (f"fileuri={text}", f"x=1&fileuri={text}&lsref=1",
                          f"%66ileuri={text}"):
                answer = ask.get(f"/tasks/7/resolve/?{query}")
                assert (answer.status, answer.body) == (200, body), (name,
                                                                     text)
                assert app.last().target == f"/tasks/7/resolve/?{query}"
    emulator.reset_requests()


GOOD, OTHER = (fileuri("test-bucket", name) for name in ("a.txt", "b.txt"))
TRICKS = {
    "none": "", "no value": "fileuri", "empty": "fileuri=",
    "twice": f"fileuri={GOOD}&fileuri={OTHER}",
    "twice the same": f"fileuri={GOOD}&fileuri={GOOD}",
    "fragment": f"fileuri={GOOD}#&fileuri={OTHER}",
    "fragment alone": f"fileuri={GOOD}#",
    "fragment before": f"#fileuri={GOOD}", "second ?": f"?fileuri={GOOD}",
    "escaped name twice": f"fileuri={GOOD}&%66ileuri={OTHER}",
    "semicolon": f"x=1;fileuri={GOOD}", "array": f"fileuri[]={GOOD}",
    "capitals": f"FILEURI={GOOD}", "no padding": "fileuri=" + b64(
        "gs://test-bucket/a.t").rstrip("="),
    "too much padding": f"fileuri={GOOD}=", "alphabet": "fileuri=" + b64(
        "gs://test-bucket/~~~???").replace("_", "/"),
    "dropped characters": f"fileuri={GOOD[:8]}!{GOOD[8:]}",
    "dropped bits": "fileuri=" + b64("gs://test-bucket/a.t")[:-2] + "R=",
    "space": f"fileuri={GOOD[:8]}%20{GOOD[8:]}",
    "plus": f"fileuri={GOOD[:8]}+{GOOD[8:]}",
    "cut by ?": "fileuri=" + b64("gs://test-bucket/a.txt?x"),
    "tab": "fileuri=" + b64("gs://test-bucket/a.t\txt"),
    "line feed": "fileuri=" + b64("gs://test-bucket/a.txt\n"),
    "not UTF-8": "fileuri=" + b64(b"gs://test-bucket/\xff"),
    "scheme": "fileuri=" + b64("s3://test-bucket/a.txt"),
    "capital scheme": "fileuri=" + b64("GS://test-bucket/a.txt"),
    "no scheme": "fileuri=" + b64("test-bucket/a.txt"),
    "HTTP": "fileuri=" + b64("https://storage.googleapis.com/test-bucket/a"),
    "no object": "fileuri=" + b64("gs://test-bucket/"),
    "no bucket": "fileuri=" + b64("gs:///a.txt"),
    "user": "fileuri=" + b64("gs://x@test-bucket/a.txt"),
    "port": "fileuri=" + b64("gs://test-bucket:80/a.txt"),
    "other bucket": "fileuri=" + b64("gs://other-bucket/a.txt"),
    "too long a name": "fileuri=" + b64("gs://test-bucket/" + "x" * 1025),
    "twice encoded": "fileuri=" + b64(GOOD),
    "garbage": "fileuri=%%%", "NUL": "fileuri=" + b64("gs://test-bucket/a\0"),
}


def test_what_could_be_read_in_two_ways_is_not_served(ask, app, emulator):
    app.default = Answer(404, body=b"no")
    for name, query in TRICKS.items():
        answer = ask.get(f"/tasks/7/resolve/?{query}",
                         {"Range": "bytes=3-4"})
        if answer.status == 400 and not app.requests:
            continue                       # nginx itself refuses it
        assert (answer.status, answer.body) == (404, b"no"), name
        assert app.last().get("Range") == "bytes=3-4", name
        assert app.last().target == f"/tasks/7/resolve/?{query}"
        # were it evidence: nothing is opened
        app.routes["/tasks/7/resolve/"] = part()
        assert ask.get(f"/tasks/7/resolve/?{query}").status == 206, name
        app.routes.clear()
    assert gcs(emulator) == []


def test_arguments_that_nginx_has_changed_are_not_believed(ask, app,
                                                           emulator):
    """The application is sent one thing and the client has sent another."""
    emulator.put_object("test-bucket", "b.txt", b"other")
    for path in ("/rewritten/7/resolve/", "/set/7/"):
        for query in (f"fileuri={GOOD}&other={OTHER}", f"other={OTHER}"):
            app.default = part()
            answer = ask.get(f"{path}?{query}", {"Range": "bytes=5-6"})
            # whatever was served is what the application was asked about
            asked = app.last()
            if answer.body == b"0":
                assert asked.get("Range") == "bytes=5-6"
            else:
                assert answer.body == b"r"[:0] + b"other"[5:7]
                assert asked.arguments["fileuri"] == OTHER
    assert all("a.txt" not in one["target"] for one in gcs(emulator))


def test_a_path_that_nginx_has_changed_is_not_believed(ask, app, emulator):
    """The application may find another page there than nginx a location."""
    app.default = part()
    query = "?fileuri=" + GOOD
    for path in ("/tasks/%37/resolve/", "/tasks/7/resolve/%20",
                 "/moved/7/resolve/"):
        assert ask.get(path + query).body == BODY, path
    assert app.last().target == "/tasks/7/resolve/" + query
    emulator.reset_requests()
    for path in ("/moved//7/resolve/", "/moved/x/../7/resolve/",
                 "/moved/7%2Fresolve/",
                 "//tasks/7/resolve/", "/tasks//7/resolve/",
                 "/x/../tasks/7/resolve/", "/tasks/./7/resolve/",
                 "/tasks%2F7/resolve/", "/tasks/7%2fresolve/",
                 "/tasks/x/..%2f7/resolve/", "/tasks/7\\resolve/",
                 "/tasks/x/%2e%2e/7/resolve/", "/tasks/7%5Cresolve/"):
        answer = ask.get(path + query, {"Range": "bytes=5-6"})
        assert answer.body != BODY[5:7], path
        if (answer.status, answer.body) == (206, b"0"):
            assert app.last().get("Range") == "bytes=5-6", path
    for path in ("/fixed/#x", "/fixed/#/../x", "/fixed/#?x"):
        assert ask.get(path, {"Range": "bytes=5-6"}).body == b"0", path
        assert app.last().get("Range") == "bytes=5-6", path
    assert gcs(emulator) == []


def test_each_request_of_a_connection_has_its_own(ask, app, emulator):
    """A variable that was kept would be another object."""
    emulator.put_object("test-bucket", "b.txt", b"other")
    app.default = part()
    connection = ask.connect()
    for _ in range(3):
        assert connection.get(A).body == BODY
        assert connection.get(A.replace(GOOD, OTHER)).body == b"other"

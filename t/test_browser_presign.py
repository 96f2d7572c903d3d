"""Signed URLs in a real browser: a page that never talks to Google's API.

The page's origin answers with redirects, or with JSON, to the bucket: another
origin, whose own CORS rules decide then what the page may read.
"""

from __future__ import annotations

import subprocess

import pytest

from harness import pages_media as media

pytest_plugins = ["harness.browser"]

SERVER = """
    gcs_credentials user { file %%USER%%; }
    server {
        listen       127.0.0.1:%%PORT%%;
        default_type text/html;
        gcs_endpoint %%EMULATOR%%;
        gcs_auth     user;

        location = / { return 200 "<!doctype html><title>page</title>"; }
        location /media/ { gcs_pass gs://test-bucket/; gcs_mode presign; }
        location /proxied/ { gcs_pass gs://test-bucket/; }

        location /upload/ {
            gcs_pass           gs://test-bucket/incoming/;
            gcs_mode           presign;
            gcs_methods        GET HEAD PUT;
            gcs_presign_method PUT;
            gcs_presign_answer json;
            gcs_presign_header Content-Type text/csv;
            gcs_presign_header x-goog-if-generation-match 0;
        }

        location /put/ {
            gcs_pass           gs://test-bucket/incoming/;
            gcs_mode           presign;
            gcs_methods        GET HEAD PUT DELETE;
        }

        location /start/ {
            gcs_pass           gs://test-bucket/incoming/;
            gcs_mode           presign;
            gcs_methods        GET HEAD PUT;
            gcs_presign_method POST;
            gcs_presign_answer json;
            gcs_presign_header Content-Type text/csv;
            gcs_presign_header x-goog-resumable start;
        }
    }"""

SIGNED = ["Content-Type", "x-goog-if-generation-match", "x-goog-resumable",
          "Location"]


@pytest.fixture
def server(nginx, emulator, bucket, tmp_path):
    """Everything of an application but the application."""
    emulator.put_object(bucket, "a.txt", b"0123456789",
                        content_type="text/plain")
    emulator.put_object(bucket, "a.png", media.png(),
                        content_type="image/png")
    key = tmp_path / "user.json"
    key.touch(0o600)
    key.write_text(emulator.service_account(grants={bucket: ["objectUser"]}))
    return nginx(SERVER, USER=key)


@pytest.fixture
def tab(visit, server):
    return visit(server.url())


@pytest.fixture
def allow(emulator, bucket, server):
    """Gives the bucket a CORS rule, as its owner would."""
    def rule(origin: str | None = None, methods=("GET", "HEAD")) -> None:
        emulator.update_bucket(bucket, cors=[{
            "origin": [origin or server.url("")], "method": list(methods),
            "responseHeader": SIGNED, "maxAgeSeconds": 3600}])
    return rule


def asked(emulator, method: str) -> list[dict]:
    return [request for request in emulator.requests("storage")
            if request["method"] == method]


def header(request: dict, name: str) -> str | None:
    return dict((key.lower(), value)
                for key, value in request["headers"]).get(name.lower())


# reading

@pytest.mark.parametrize("options, body", [
    ([], b"0123456789"), (["--range", "2-4"], b"234"), (["--head"], None)],
    ids=["all", "range", "head"])
def test_curl_follows_the_redirect(server, options, body):
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--location", "--fail",
         "--noproxy", "*", *options, server.url("/media/a.txt")],
        capture_output=True, check=True)
    if body is not None:
        assert done.stdout == body
    else:
        assert b"HTTP/1.1 303" in done.stdout
        assert b"HTTP/1.1 200" in done.stdout


def test_fetch_follows_the_redirect_to_a_bucket_that_allows_it(
        tab, server, allow, emulator):
    allow()
    got = tab.get("fetch", "/media/a.txt")
    assert (got["status"], got["text"]) == (200, "0123456789")
    assert got["redirected"]
    [request] = asked(emulator, "GET")
    assert request["credential"] == "signed URL"
    assert header(request, "Origin") == server.url("")


def test_fetch_of_a_range_follows_the_redirect(tab, allow):
    allow()
    got = tab.get("fetch", "/media/a.txt",
                  {"headers": {"Range": "bytes=2-4"}})
    assert (got["status"], got["text"]) == (206, "234")


def test_fetch_is_blocked_by_a_bucket_that_does_not_allow_it(tab, emulator):
    said = tab.blocked("fetch", "/media/a.txt")
    assert f"Access to fetch at '{emulator.url}" in said
    assert "No 'Access-Control-Allow-Origin'" in said
    # it was given, to a browser that does not show it to the page
    assert [request["status"] for request in asked(emulator, "GET")] == [200]


def test_fetch_is_blocked_by_a_bucket_that_allows_another_origin(tab, allow):
    allow("https://app.example.com")
    tab.blocked("fetch", "/media/a.txt")


def test_the_proxy_needs_no_rule_of_the_bucket(tab):
    assert tab.get("fetch", "/proxied/a.txt")["text"] == "0123456789"


def test_an_image_is_displayed(tab):
    assert tab.get("image", "/media/a.png") == [16, 16]


def test_an_image_can_be_read_back_if_the_bucket_allows_it(tab, allow):
    allow()
    assert tab.get("pixels", "/media/a.png",
                   {"crossorigin": "anonymous"}) == [0, 255, 0]


def test_an_image_taints_the_canvas_else(tab):
    outcome = tab.run("pixels", "/media/a.png")
    assert outcome.error.startswith("SecurityError")
    tab.blocked("pixels", "/media/a.png", {"crossorigin": "anonymous"})


def test_a_video_plays(tab, emulator, bucket, film):
    emulator.put_object(bucket, "film.webm", film, content_type="video/webm")
    assert tab.get("plays", "/media/film.webm") >= 3


def test_a_video_is_sought_to_its_middle(tab, allow, emulator, bucket, film):
    emulator.put_object(bucket, "film.webm", film, content_type="video/webm")
    allow()
    shown = tab.get("frames", "/media/film.webm",
                    {"crossorigin": "anonymous"})
    assert [media.named(colour) for colour in shown] == ["red", "blue"]


def test_the_middle_of_a_long_sound_is_asked_for_alone(tab, emulator, bucket):
    emulator.put_object(bucket, "long.wav", media.wav(1200),
                        content_type="audio/wav")
    got = tab.get("audio", "/media/long.wav", {"preload": "metadata"})
    assert (got["duration"], got["at"]) == (1200, 600.5)
    ranges = [header(request, "Range") for request in asked(emulator, "GET")]
    assert ranges[0] == "bytes=0-"
    assert int(ranges[-1].split("=")[1].split("-")[0]) > 9_000_000


# writing

def test_a_page_puts_a_file_into_the_bucket(tab, allow, emulator, bucket):
    allow(methods=["PUT"])
    assert tab.get("upload", "/upload/new.csv", "a,b\n")["status"] == 200
    item = emulator.get_object(bucket, "incoming/new.csv")
    assert item["data"] == b"a,b\n"
    assert item["content_type"] == "text/csv"
    [request] = asked(emulator, "PUT")
    assert request["credential"] == "signed URL"


def test_a_page_puts_nothing_over_a_file(tab, allow, emulator, bucket):
    allow(methods=["PUT"])
    assert tab.get("upload", "/upload/new.csv", "a,b\n")["status"] == 200
    assert tab.get("upload", "/upload/new.csv", "c,d\n")["status"] == 412
    item = emulator.get_object(bucket, "incoming/new.csv")
    assert item["data"] == b"a,b\n"


def test_an_upload_with_another_type_than_was_signed_is_refused(
        tab, server, allow, emulator, bucket):
    allow(methods=["PUT"])
    said = server.get("/upload/new.csv").json()
    answer = tab.get("fetch", said["url"], {
        "method": "PUT", "body": "<script>",
        "headers": {**said["headers"], "Content-Type": "text/html"}})
    assert answer["status"] == 403
    assert "SignatureDoesNotMatch" in answer["text"]


@pytest.mark.parametrize("methods", [[], ["GET"]], ids=["none", "others"])
def test_an_upload_is_blocked_by_a_bucket_that_does_not_allow_it(
        tab, allow, emulator, methods):
    allow(methods=methods)
    said = tab.blocked("upload", "/upload/new.csv", "a,b\n")
    assert "preflight" in said
    assert asked(emulator, "PUT") == []


@pytest.mark.parametrize("method, status", [("PUT", 200), ("DELETE", 204)])
def test_a_redirect_keeps_the_method_and_the_body(
        tab, allow, emulator, bucket, method, status):
    emulator.put_object(bucket, "incoming/old", b"old")
    allow(methods=[method])
    options = {"method": method}
    if method == "PUT":
        options["body"] = "new"
    answer = tab.get("fetch", "/put/old", options)
    assert (answer["status"], answer["redirected"]) == (status, True)
    [request] = asked(emulator, method)
    assert request["credential"] == "signed URL"
    if method == "PUT":
        assert emulator.get_object(bucket, "incoming/old")["data"] == b"new"


def test_a_page_begins_an_upload_and_sends_it_in_parts(
        tab, allow, emulator, bucket):
    """The URL of the session is a header, which the bucket must expose; the
    session itself answers the page that has begun it."""
    allow(methods=["POST"])
    started = tab.get("upload", "/start/new.csv", "")
    assert started["status"] == 201
    session = started["headers"]["location"]

    def put(text: str, which: str) -> int:
        return tab.get("fetch", session, {
            "method": "PUT", "body": text,
            "headers": {"Content-Range": f"bytes {which}"}})["status"]

    assert put("a,b,", "0-3/7") == 308
    assert put("c,d", "4-6/7") == 200
    item = emulator.get_object(bucket, "incoming/new.csv")
    assert (item["data"], item["content_type"]) == (b"a,b,c,d", "text/csv")

"""What a real Label Studio answers: the facts that the takeover rests on.

No nginx has a part in it.  When a new Label Studio breaks one of these, the
module, its guide and the double (harness/studio.py) have to follow.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from harness.label_studio import BUCKET, cookie, cookies_of, fileuri, wanted

pytest_plugins = ["harness.label_studio_plugin"]
pytestmark = pytest.mark.timeout(400)  # the first one installs the database

URI = f"gs://{BUCKET}/a.txt"


@pytest.fixture
def emulator(google):
    """What Google saw in this test."""
    google.reset_requests()
    yield google
    assert google.violations() == []


def resolved(studio, project, argument: str):
    """Its answer to a fileuri that is written as it stands."""
    return studio.ask(f"/tasks/{project.task}/resolve/?fileuri={argument}")


def media_bytes(emulator) -> int:
    """How many bytes of objects Google has sent."""
    return sum(request["sent"] for request in emulator.requests("storage")
               if "/download/" in request["target"]
               or not request["target"].startswith("/storage/"))


# the address in a task

@pytest.mark.parametrize("mode", ["presigned", "proxied"])
def test_a_task_has_an_address_of_label_studios_own(studio, request, mode):
    project = request.getfixturevalue(mode)
    [task] = studio.tasks(project)
    assert task["data"] == {"image": project.media("a.png")}
    assert task["data"]["image"].startswith(f"/tasks/{task['id']}/resolve/")


def test_a_sync_makes_a_task_of_each_object(studio, emulator):
    emulator.create_bucket("synced")
    for name in ("x/a.png", "x/y/b.png", "c.png"):
        emulator.put_object("synced", name, b"image")
    project = studio.project(presign=True, bucket="synced")
    assert studio.sync(project)["last_sync_count"] == 3
    tasks = studio.tasks(project)
    assert {task["data"]["image"] for task in tasks} == {
        f"/tasks/{task['id']}/resolve/?fileuri={fileuri(uri)}"
        for task, uri in zip(tasks, (
            "gs://synced/c.png", "gs://synced/x/a.png",
            "gs://synced/x/y/b.png"), strict=True)}


# pre-signed URLs on

def test_a_redirect_leads_to_the_object_signed(studio, presigned, emulator):
    answer = studio.ask(presigned.media("a.txt"))
    assert answer.status == 303
    assert answer.get("Content-Length") == "0"
    assert answer.get("Cache-Control") == "no-store, max-age=900"

    url = urlsplit(answer.get("Location"))
    assert (url.scheme, url.netloc, url.path) == (
        "https", "storage.googleapis.com", "/media/a.txt")
    query = dict(parse_qsl(url.query))
    assert list(query) == ["X-Goog-Algorithm", "X-Goog-Credential",
                           "X-Goog-Date", "X-Goog-Expires",
                           "X-Goog-SignedHeaders", "X-Goog-Signature"]
    assert query["X-Goog-Algorithm"] == "GOOG4-RSA-SHA256"
    assert query["X-Goog-Expires"] == "900"
    assert query["X-Goog-SignedHeaders"] == "host"
    assert media_bytes(emulator) == 0


def test_a_redirect_does_not_care_for_a_range(studio, presigned):
    answer = studio.ask(presigned.media("a.txt"), Range="bytes=0-0")
    assert answer.status == 303


@pytest.mark.parametrize("name", ["empty", "one", "not-there", ""])
def test_a_redirect_does_not_look_at_the_object(studio, presigned, name):
    answer = studio.ask(presigned.media(name))
    assert answer.status == 303
    assert urlsplit(answer.get("Location")).path == f"/media/{name}"


@pytest.mark.parametrize("name", [
    "a b.png", "ü/€.png", "a%20b.png", "a#b;c.png", "a+b&c=d'(e)!*.png",
    "x//y/./z/../a.png", "~a", "x" * 1024],
    ids=lambda name: name[:20])
def test_a_name_is_escaped_once_as_it_is_signed(studio, presigned, name):
    answer = studio.ask(presigned.media(name))
    assert answer.status == 303
    assert urlsplit(answer.get("Location")).path == "/media/" + wanted(name)


@pytest.mark.parametrize("uri, path", [
    ("gs://media/a.txt?x=1", "/media/a.txt"),
    ("gs://media//a.txt", "/media/a.txt"),
    ("gs://media/a\nb\tc.txt", "/media/abc.txt")],
    ids=["query", "slashes", "blanks"])
def test_parts_of_a_uri_are_lost(studio, presigned, uri, path):
    answer = resolved(studio, presigned, fileuri(uri))
    assert urlsplit(answer.get("Location")).path == path


# pre-signed URLs off

@pytest.mark.parametrize("name, asked, status, part, body", [
    ("a.txt", None, 200, "0-99/100", b"0123456789" * 10),
    ("a.txt", "bytes=0-0", 206, "0-1/100", b"01"),
    ("a.txt", "bytes=0-", 206, "0-1/100", b"01"),
    ("a.txt", "bytes=2-", 206, "2-99/100", (b"0123456789" * 10)[2:]),
    ("a.txt", "bytes=2-4", 206, "2-4/100", b"234"),
    ("a.txt", "bytes=-5", 206, "0-1/100", b"01"),
    ("a.txt", "bytes=0-1,5-6", 206, "0-1/100", b"01"),
    ("one", None, 200, "0-0/1", b"1"),
    ("one", "bytes=0-0", 200, "0-0/1", b"1"),
    ("one", "bytes=0-", 200, "0-0/1", b"1")],
    ids=lambda value: str(value)[:16])
def test_the_proxy_changes_ranges(studio, proxied, name, asked, status, part,
                                  body):
    answer = studio.ask(proxied.media(name),
                        **({"Range": asked} if asked else {}))
    assert answer.status == status
    assert answer.get("Content-Range") == f"bytes {part}"
    assert answer.get("Content-Length") == str(len(body))
    assert answer.body == body


@pytest.mark.parametrize("name, asked", [
    ("empty", None), ("empty", "bytes=0-0"), ("empty", "bytes=0-"),
    ("not-there", None), ("not-there", "bytes=0-0"),
    ("a.txt", "bytes=100-")],
    ids=lambda value: str(value))
def test_the_proxy_has_one_answer_for_all_that_fails(studio, proxied, name,
                                                     asked):
    """To an empty object too: it asks for two bytes, and is told 416."""
    answer = studio.ask(proxied.media(name),
                        **({"Range": asked} if asked else {}))
    assert answer.status == 424
    assert answer.json() == {
        "error": "Storage stream failed while proxying data",
        "detail": "Stream is None"}


def test_the_proxy_asks_google_three_times_for_two_bytes(studio, proxied,
                                                         emulator):
    studio.ask(proxied.media("a.txt"), Range="bytes=0-0")
    assert [request["target"].partition("?")[0]
            for request in emulator.requests("storage")] == [
        "/storage/v1/b/media", "/storage/v1/b/media/o/a.txt",
        "/download/storage/v1/b/media/o/a.txt"]
    assert media_bytes(emulator) == 2


def test_the_proxy_has_headers_of_its_own(studio, proxied):
    answer = studio.ask(proxied.media("a.txt"))
    assert answer.get("Content-Type") == "text/plain"
    assert answer.get("Accept-Ranges") == "bytes"
    assert answer.get("Cache-Control") \
        == "private, max-age=3600, must-revalidate"
    assert re.fullmatch(r'"11[\w+/]+=*"', answer.get("ETag"))
    assert answer.get("Content-Disposition") is None
    assert "Cookie" in answer.get("Vary")


def test_the_proxy_guesses_a_type_that_google_does_not_know(
        studio, proxied, emulator):
    emulator.put_object(BUCKET, "octets.png", b"image",
                        content_type="application/octet-stream")
    assert studio.ask(proxied.media("octets.png")) \
        .get("Content-Type") == "image/png"


def test_the_proxy_knows_its_own_etag_alone(studio, proxied):
    tag = studio.ask(proxied.media("a.txt")).get("ETag")

    def status(value: str) -> int:
        return studio.ask(proxied.media("a.txt"),
                          **{"If-None-Match": value}).status

    assert [status(tag), status("W/" + tag), status(f'"x", {tag}'),
            status("*")] == [304, 200, 200, 200]


# fileuri

@pytest.mark.parametrize("argument", [
    fileuri(URI), fileuri(URI).replace("=", "%3D"), URI,
    quote(URI, safe=""), quote(quote(URI, safe=""))],
    ids=["padded", "padding escaped", "raw", "escaped", "escaped twice"])
def test_a_uri_is_understood(studio, presigned, argument):
    assert URI != quote(URI) and fileuri(URI).endswith("=")
    answer = resolved(studio, presigned, argument)
    assert answer.status == 303
    assert urlsplit(answer.get("Location")).path == "/media/a.txt"


@pytest.mark.parametrize("argument", [
    fileuri(URI).rstrip("="), "", fileuri("gs://media"),
    fileuri("gs://other/a.txt"), fileuri("s3://media/a.txt"),
    fileuri(f'<a href="{URI}">'), fileuri("media/a.txt"), "%FF"],
    ids=["unpadded", "empty", "no object", "other bucket", "other scheme",
         "in a text", "no URI", "no text"])
def test_a_uri_is_not_found(studio, presigned, argument):
    answer = resolved(studio, presigned, argument)
    assert (answer.status, answer.body) == (404, b"")


def test_the_last_one_of_two_counts(studio, presigned):
    answer = resolved(studio, presigned,
                      f"{fileuri(URI)}&fileuri={fileuri('gs://media/one')}")
    assert urlsplit(answer.get("Location")).path == "/media/one"


def test_the_uri_need_not_be_of_the_task(studio, presigned):
    """Whoever may see a task may see all of the buckets of its project."""
    [task] = studio.tasks(presigned)
    assert presigned.media("a.txt") not in task["data"].values()
    assert studio.ask(presigned.media("a.txt")).status == 303


# who asks, and where

@pytest.mark.parametrize("of", ["tasks", "projects"])
@pytest.mark.parametrize("by", ["resolve", "presign"])
def test_four_addresses_do_the_same(studio, presigned, of, by):
    target = presigned.media("a.txt", of=of, by=by)
    assert studio.ask(target).status == 303
    assert studio.ask(target.replace("/?", "?")).status == 303


def test_there_is_no_address_for_react_code_yet(studio):
    answer = studio.ask(f"/api/react-code/resolve/x.y.z/"
                        f"?fileuri={fileuri(URI)}")
    assert answer.status == 404


@pytest.mark.parametrize("mode", ["presigned", "proxied"])
def test_a_stranger_is_refused(studio, request, emulator, mode):
    target = request.getfixturevalue(mode).media("a.txt")
    for headers in ({}, {"Authorization": "Token x"},
                    {"Cookie": "sessionid=x"}):
        answer = studio.get(target, headers)
        assert answer.status == 401
        assert answer.get("WWW-Authenticate") == "Token"
        assert answer.get("Content-Type") == "application/json"
    assert emulator.requests("storage") == []


def test_without_a_uri_it_is_a_bad_request(studio, presigned):
    answer = studio.ask(f"/tasks/{presigned.task}/resolve/")
    assert (answer.status, answer.body) == (400, b"")


@pytest.mark.parametrize("of", ["tasks", "projects"])
def test_a_task_or_project_that_is_not_there_is_not_found(studio, of):
    answer = studio.ask(f"/{of}/9999999/resolve/?fileuri={fileuri(URI)}")
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
def test_only_get_is_allowed(studio, presigned, method):
    answer = studio.request(method, presigned.media("a.txt"),
                            studio.authorization)
    assert answer.status == 405
    assert answer.get("Allow") == "GET"


def test_a_key_that_may_not_read_the_bucket_cannot_sign(studio, presigned,
                                                        emulator):
    """It is told as 404, and the project is as if it had no storage."""
    emulator.create_bucket("lost")
    key = studio.key("lost")
    project = studio.project(presign=True, bucket="lost", key=key,
                             tasks=[{"image": "gs://lost/a.png"}])
    emulator.update_bucket("lost")
    email = re.search(r'"client_email": "([^"]+)"', key)[1]
    emulator.grant(email, "lost", [])
    answer = studio.ask(project.media("a.png", "lost"))
    assert (answer.status, answer.body) == (404, b"")


# sessions

def test_a_session_is_renewed_by_each_answer(studio, presigned, proxied):
    """Also to one who has a token and wants none."""
    mine = studio.login()
    for project in (presigned, proxied):
        for headers in ({"Cookie": cookie(mine)}, studio.authorization):
            answer = studio.get(project.media("a.txt"), headers)
            assert answer.status in (200, 303)
            [line] = answer.all("Set-Cookie")
            assert line.startswith("sessionid=")
            assert "HttpOnly" in line and "SameSite=Lax" in line
            assert cookies_of(answer)["sessionid"] != mine["sessionid"] \
                or headers != studio.authorization


def test_an_old_cookie_of_a_session_stays_good(studio, presigned):
    mine = studio.login()
    for _ in range(2):
        assert studio.get(presigned.media("a.txt"),
                          {"Cookie": cookie(mine)}).status == 303


def test_a_token_may_be_in_another_header(studio, presigned):
    answer = studio.get(presigned.media("a.txt"),
                        {"X-Api-Key": studio.token})
    assert answer.status == 303


# the machine

def test_each_request_is_in_its_log_once(studio, presigned):
    with studio.counted() as said:
        studio.ask(presigned.media("a.txt"))
        studio.ask(presigned.media("a.txt"))
        studio.get(presigned.media("one"))
    assert said == [("GET", presigned.media("a.txt"), 303),
                    ("GET", presigned.media("a.txt"), 303),
                    ("GET", presigned.media("one"), 401)]


def test_it_reaches_for_nothing_but_google(studio, presigned):
    """Nor for that, but when its first page is opened, which has tips."""
    studio.ask(presigned.media("a.txt"))
    assert studio.refused() <= {"raw.githubusercontent.com"}

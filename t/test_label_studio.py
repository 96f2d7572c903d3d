"""nginx in front of a real Label Studio, as the guide has it.

The configurations are those of docs/guides/label-studio.md.  Label Studio
believes that the emulator is Google, and signs for storage.googleapis.com.
"""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

import pytest

from harness import Nginx
from harness.label_studio import (BUCKET, LabelStudio, Project,
                                  by_label_studio, by_nginx, cookie,
                                  cookies_of, fileuri)
from harness.nginx import free_port, wait_until

pytest_plugins = ["harness.label_studio_plugin"]
pytestmark = pytest.mark.timeout(400)  # the first one installs the database

TEXT = b"0123456789" * 10              # a.txt
WITH_QUERY = fileuri("gs://media/a.txt?x=1")

# the ways of the guide, and the storages that they are for
WAYS = {
    "signature": (None, True),
    "identity": ("An identity of nginx's own", True),
    "oracle": ("Pre-signed URLs off", False),
    "oracle of signed": ("Pre-signed URLs off", True),
}
REDIRECTS = ["signature", "identity", "oracle of signed"]


@pytest.fixture
def emulator(google):
    """What Google saw in this test."""
    google.reset_requests()
    return google


@dataclass
class Way:
    """One way of the guide, as a user with a token sees it."""
    name: str
    server: Nginx
    studio: LabelStudio
    project: Project

    def ask(self, name: str, **headers: str):
        return self.target(self.project.media(name), **headers)

    def target(self, target: str, **headers: str):
        return self.server.get(target, {**self.studio.authorization,
                                        **headers})


@pytest.fixture
def way(request, front, emulator, studio, presigned, proxied):
    title, signed = WAYS[request.param]
    return Way(request.param, front(title), studio,
               presigned if signed else proxied)


every_way = pytest.mark.parametrize("way", WAYS, indirect=True)
every_redirect = pytest.mark.parametrize("way", REDIRECTS, indirect=True)
only_the_oracle = pytest.mark.parametrize("way", ["oracle"], indirect=True)


# the object

@every_way
def test_the_object_is_served(way, emulator):
    answer = way.ask("a.txt")
    assert (answer.status, answer.body) == (200, TEXT), way.server.log()
    assert answer.get("Content-Type") == "text/plain"
    assert answer.get("Content-Length") == "100"
    assert answer.get("Accept-Ranges") == "bytes"
    assert answer.get("Cache-Control").startswith("private")
    assert answer.get("X-Content-Type-Options") == "nosniff"
    [request] = by_nginx(emulator)
    assert request["credential"] == (
        "signed URL" if way.name == "signature" else "valid")


@every_way
def test_nothing_but_the_session_remains_of_its_answer(way):
    answer = way.ask("a.txt")
    [line] = answer.all("Set-Cookie")
    assert line.strip().startswith("sessionid=")
    assert answer.names.isdisjoint({
        "location", "allow", "content-language", "referrer-policy",
        "cross-origin-opener-policy", "content-range",
        "content-security-policy-report-only"})
    assert not [name for name in answer.names if name.startswith("x-goog")]
    assert answer.get("ETag") \
        == way.studio.emulator.get_object(BUCKET, "a.txt")["etag"]


@every_way
@pytest.mark.parametrize("asked, status, part, body", [
    ("bytes=0-", 206, "0-99/100", TEXT),
    ("bytes=0-0", 206, "0-0/100", b"0"),
    ("bytes=2-4", 206, "2-4/100", b"234"),
    ("bytes=90-", 206, "90-99/100", b"0123456789"),
    ("bytes=-5", 206, "95-99/100", b"56789"),
    ("bytes=100-", 416, "*/100", None)],
    ids=lambda value: str(value)[:10])
def test_ranges_are_right(way, asked, status, part, body):
    answer = way.ask("a.txt", Range=asked)
    assert answer.status == status
    assert answer.get("Content-Range") == f"bytes {part}"
    if body is not None:
        assert answer.body == body


@every_way
def test_conditions_are_for_the_object(way):
    first = way.ask("a.txt")
    tag, date = first.get("ETag"), first.get("Last-Modified")

    def status(**headers: str) -> int:
        return way.ask("a.txt", **{name.replace("_", "-"): value
                                   for name, value in headers.items()}).status

    assert status(If_None_Match=tag) == 304
    assert status(If_None_Match=f'"x", {tag}') == 304
    assert status(If_None_Match="*") == 304
    assert status(If_Modified_Since=date) == 304
    assert status(If_None_Match='"x"') == 200
    assert status(If_Range=tag, Range="bytes=2-4") == 206
    assert status(If_Range='"x"', Range="bytes=2-4") == 200


@every_way
def test_head_is_answered(way):
    answer = way.server.head(way.project.media("a.txt"),
                             way.studio.authorization)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.get("Content-Length") == "100"
    assert answer.get("Content-Type") == "text/plain"


@every_way
@pytest.mark.parametrize("name", ["one", "empty"])
def test_the_smallest_objects_are_served(way, name):
    answer = way.ask(name)
    if (way.name, name) == ("oracle", "empty"):
        assert answer.status == 424    # Label Studio knows no empty objects
        return
    body = b"1" if name == "one" else b""
    assert (answer.status, answer.body) == (200, body)
    assert answer.get("Content-Range") is None


@only_the_oracle
def test_an_object_of_one_byte_is_taken_as_well(way):
    """Label Studio answers the question about it with 200."""
    answer = way.server.head(way.project.media("one"),
                             way.studio.authorization)
    assert (answer.status, answer.get("Content-Length")) == (200, "1")
    assert way.ask("one", Range="bytes=0-0").status == 206
    assert answer.get("X-Content-Type-Options") == "nosniff"


@every_way
def test_an_object_that_is_not_there_is_not_found(way):
    assert way.ask("not-there").status \
        == (424 if way.name == "oracle" else 404)


@every_way
@pytest.mark.parametrize("name", [
    "a b.png", "ü/€.png", "a%20b.png", "a#b;c.png", "a+b&c=d'(e)!*.png",
    "x//y", "~a", "x" * 1024], ids=lambda name: name[:20])
def test_a_name_stays_what_it_is(way, emulator, name):
    emulator.put_object(BUCKET, name, name.encode())
    answer = way.ask(name)
    assert (answer.status, answer.body) == (200, name.encode())
    assert len(by_nginx(emulator)) == 1


@every_way
def test_a_name_with_dots_is_left_to_label_studio(way, emulator):
    emulator.put_object(BUCKET, "x/../y", b"dots")
    answer = way.ask("x/../y")
    if way.name == "oracle":
        assert (answer.status, answer.body) == (200, b"dots")
        assert by_nginx(emulator) == [] or by_label_studio(emulator) <= 2
    else:
        assert answer.status == 303
        assert "/media/x/../y?X-Goog-" in answer.get("Location")


@every_way
@pytest.mark.parametrize("argument", [
    fileuri("gs://media/a.txt"),
    fileuri("gs://media/a.txt").replace("=", "%3D"), "gs://media/a.txt",
    quote("gs://media/a.txt", safe=""), fileuri("gs://media//a.txt"),
    WITH_QUERY],
    ids=["padded", "padding escaped", "raw", "escaped", "slashes", "query"])
def test_every_spelling_gives_what_label_studio_gives(way, argument):
    target = f"/tasks/{way.project.task}/resolve/?fileuri={argument}"
    answer = way.target(target)
    if (way.name, argument) == ("oracle of signed", WITH_QUERY):
        assert answer.status == 303    # nginx does not know which object
        return
    assert (answer.status, answer.body) == (200, TEXT)


@every_way
def test_four_addresses_lead_to_the_object(way):
    for of in ("tasks", "projects"):
        for by in ("resolve", "presign"):
            target = way.project.media("a.txt", of=of, by=by)
            for spelling in (target, target.replace("/?", "?")):
                answer = way.target(spelling, Range="bytes=2-4")
                assert (answer.status, answer.body) == (206, b"234")


@every_way
@pytest.mark.parametrize("type_, sandboxed", [
    ("text/html", True), ("image/svg+xml", True), ("application/xml", True),
    ("application/pdf", False), ("image/png", False), ("text/plain", False)])
def test_a_script_in_an_object_has_no_origin(way, emulator, type_,
                                             sandboxed):
    emulator.put_object(BUCKET, "page", b"<script>", content_type=type_,
                        cache_control="public, max-age=60, s-maxage=600")
    answer = way.ask("page")
    assert answer.get("Content-Type") == type_
    assert answer.get("Cache-Control") == "private, max-age=60"
    assert (answer.get("Content-Security-Policy") == "sandbox") == sandboxed
    assert answer.get("X-Content-Type-Options") == "nosniff"


# who may

@every_way
def test_label_studio_is_asked_once_and_for_no_byte(way, emulator):
    way.ask("a.png")                   # its token, what it knows of buckets
    emulator.reset_requests()
    target = way.project.media("a.txt")
    asked = [{}, {"Range": "bytes=0-"}, {"Range": "bytes=50-"},
             {"If-None-Match": '"x"'}, {"Range": "bytes=500-"}]
    with way.studio.counted() as said:
        for headers in asked:
            way.ask("a.txt", **headers)
        way.server.head(target, way.studio.authorization)
    status = 206 if way.name == "oracle" else 303
    assert said == [("GET", target, status)] * (len(asked) + 1)
    assert len(by_nginx(emulator)) \
        == (1 if way.name == "identity" else len(said))    # that one caches
    assert by_label_studio(emulator) \
        == (2 * len(said) if way.name == "oracle" else 0)


@every_way
@pytest.mark.parametrize("headers", [
    {}, {"Authorization": "Token x"}, {"Cookie": "sessionid=x"}],
    ids=["nobody", "token", "cookie"])
def test_a_stranger_gets_label_studios_own_refusal(way, emulator, headers):
    target = way.project.media("a.txt")
    answer = way.server.get(target, headers)
    own = way.studio.get(target, headers)
    assert answer.status == own.status == 401
    assert answer.get("WWW-Authenticate") == "Token"
    assert answer.get("Content-Type") == own.get("Content-Type")
    assert answer.json()["detail"] == own.json()["detail"]
    assert emulator.requests("storage") == []


@every_way
@pytest.mark.parametrize("target, status", [
    ("/tasks/{task}/resolve/", 400),
    ("/tasks/{task}/resolve/?fileuri=", 404),
    ("/tasks/{task}/resolve/?fileuri=Z3M6Ly9tZWRpYS9hLnR4dA", 404),
    ("/tasks/9999999/resolve/?fileuri=Z3M6Ly9tZWRpYS9hLnR4dA==", 404),
    ("/projects/999999/resolve/?fileuri=Z3M6Ly9tZWRpYS9hLnR4dA==", 404),
    ("/tasks/{task}/resolve/?fileuri=" + fileuri("gs://other/a.txt"), 404),
    ("/tasks/{task}/resolve/?fileuri=" + fileuri("s3://media/a.txt"), 404)],
    ids=["no uri", "empty", "unpadded", "no task", "no project", "bucket",
         "scheme"])
def test_its_other_answers_pass(way, emulator, target, status):
    answer = way.target(target.format(task=way.project.task))
    assert (answer.status, answer.body) == (status, b"")
    assert "Content-Security-Policy" not in answer.names
    assert by_nginx(emulator) == []


@every_way
@pytest.mark.parametrize("method", ["POST", "OPTIONS", "DELETE"])
def test_other_methods_pass(way, emulator, method):
    answer = way.server.request(method, way.project.media("a.txt"),
                                way.studio.authorization)
    assert answer.status == 405
    assert answer.get("Allow") == "GET"
    assert emulator.requests("storage") == []


@every_way
def test_whoever_has_logged_in_through_nginx_gets_media(way):
    cookies = way.studio.login(way.server.port)
    answer = way.server.get(way.project.media("a.txt"),
                            {"Cookie": cookie(cookies)})
    assert (answer.status, answer.body) == (200, TEXT)
    renewed = cookies | cookies_of(answer)
    assert way.server.get(way.project.media("a.txt"),
                          {"Cookie": cookie(renewed)}).status == 200


@every_way
def test_a_task_that_is_deleted_has_no_media_at_once(way):
    project = way.studio.project(presign=WAYS[way.name][1],
                                 tasks=[{"image": "gs://media/a.txt"}])
    [task] = way.studio.tasks(project)
    assert way.target(task["data"]["image"]).body == TEXT
    way.studio.api("DELETE", f"/tasks/{project.task}/")
    assert way.target(task["data"]["image"]).status == 404


@every_way
def test_nothing_is_served_when_label_studio_is_gone(front, emulator,
                                                     studio, presigned, way):
    server = front(WAYS[way.name][0], address=f"127.0.0.1:{free_port()}")
    server.expect(r"connect\(\) failed")
    answer = server.get(way.project.media("a.txt"), studio.authorization)
    assert answer.status == 502
    assert emulator.requests("storage") == []


@every_redirect
def test_a_bucket_that_is_not_listed_is_left_to_the_browser(way, emulator):
    """By its signature nginx may read any, by name only those."""
    emulator.create_bucket("others")
    emulator.put_object("others", "a.txt", b"others")
    project = way.studio.project(presign=True, bucket="others",
                                 tasks=[{"image": "gs://others/a.txt"}])
    answer = way.target(project.media("a.txt", "others"))
    if way.name == "signature":
        assert (answer.status, answer.body) == (200, b"others")
    else:
        assert answer.status == 303
        assert answer.get("Location").startswith(
            "https://storage.googleapis.com/others/a.txt?")
        assert answer.get("Cache-Control") == "no-store, max-age=900"


# remembered verdicts

@pytest.fixture
def remembering(front, emulator, studio, presigned) -> Way:
    """The guide's identity, and verdicts for a second."""
    server = front(WAYS["identity"][0], verdicts=True,
                   replace={"valid=5s": "valid=1s"})
    return Way("identity", server, studio, presigned)


def test_a_verdict_is_remembered(remembering):
    way = remembering
    with way.studio.counted() as said:
        first = way.ask("a.txt", Range="bytes=0-4")
        again = way.ask("a.txt", Range="bytes=-5")
    assert (first.body, again.body) == (b"01234", b"56789")
    assert len(said) == 1
    assert first.all("Set-Cookie") and not again.all("Set-Cookie")


def test_a_refusal_is_remembered(remembering):
    way = remembering
    target = way.project.media("a.txt")
    with way.studio.counted() as said:
        for _ in range(2):
            answer = way.server.get(target, {"Authorization": "Token x"})
            assert answer.status == 401
            assert answer.get("WWW-Authenticate") == "Token"
    assert len(said) == 1


def test_nothing_is_remembered_of_nobody(remembering):
    way = remembering
    target = way.project.media("a.txt")
    with way.studio.counted() as said:
        assert [way.server.get(target).status for _ in "12"] == [401, 401]
    assert len(said) == 2


def test_a_verdict_is_for_one_session(remembering):
    way = remembering
    target = way.project.media("a.txt")
    with way.studio.counted() as said:
        assert way.server.get(target, way.studio.authorization).status == 200
        assert way.server.get(target).status == 401
        assert way.server.get(target, {"Cookie": "sessionid=x"}).status == 401
        assert way.server.get(
            target, {"X-Api-Key": way.studio.token}).status == 200
    assert len(said) == 4


def test_a_task_that_is_deleted_has_media_until_the_verdict_ends(
        remembering):
    way = remembering
    project = way.studio.project(presign=True,
                                 tasks=[{"image": "gs://media/a.txt"}])
    assert way.target(project.media("a.txt")).status == 200
    way.studio.api("DELETE", f"/tasks/{project.task}/")
    wait_until(lambda: way.target(project.media("a.txt")).status == 404, 5)


def test_one_question_is_asked_for_many_at_a_time(remembering):
    way = remembering
    way.ask("a.png")
    with way.studio.counted() as said, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: way.ask("a.txt"), range(8)))
    assert [(one.status, one.body) for one in answers] == [(200, TEXT)] * 8
    assert len(said) == 1


# which object it is

SEEDS = ["gs://media/a.txt", "gs://media/a b/ü%20.png", "gs://media//x/../y",
         "gs://media/a?b#c;d", "gs://other/a.txt", "gs://media/"]
NASTY = ["=", "%3D", "+", "%2B", "/", "%2F", "-", "_", "%", "%25", "%00", "&",
         ";", "?", "#", "%23", "%0A", "%09", "%20", "%FF", "\\", "@", ":",
         "&fileuri=", "&Fileuri=", "%66ileuri=", "gs://media/b", "A"]


def arguments(count: int) -> list[str]:
    """Spellings of fileuri, right ones and such as somebody may try."""
    chosen = random.Random(7)
    found = []
    for _ in range(count):
        text = chosen.choice(SEEDS)
        if chosen.random() < 0.2:
            at = chosen.randrange(len(text) + 1)
            text = text[:at] + chosen.choice("\t\n\r \0?#/%@:\\") + text[at:]
        text = chosen.choice([fileuri, quote, str])(text)
        for _ in range(chosen.choice([0, 0, 1, 1, 2])):
            at = chosen.randrange(len(text) + 1)
            text = text[:at] + chosen.choice(NASTY) \
                + text[at + chosen.choice([0, 0, 1]):]
        found.append(re.sub(r"[^!-~]", lambda match: quote(match[0]), text))
    return found


def test_what_nginx_reads_in_a_fileuri_label_studio_reads_too(
        nginx, emulator, studio, presigned):
    """Or else one would be asked for, and another one served."""
    server = nginx("""server {
        listen   127.0.0.1:%%PORT%%;
        location / { return 200 "$gcs_fileuri"; }
    }""")
    both = 0
    for argument in arguments(250):
        target = f"/tasks/{presigned.task}/resolve/?fileuri={argument}"
        read = server.get(target).text
        if read:
            answer = studio.ask(target)
            if read.startswith(f"gs://{BUCKET}/"):
                url = urlsplit(answer.get("Location"))
                assert f"gs:/{unquote(url.path)}" == read, target
                both += 1
            else:
                assert answer.status == 404, target
    assert both > 50

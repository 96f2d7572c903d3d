"""The emulator's JSON and XML API where only libraries write.

What they cannot show is asked byte for byte; see test_emulator.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from emulator import content, crc32c
from harness.client import Connection

WRITE = ("https://www.googleapis.com/auth/devstorage.read_write",)
FULL = ("https://www.googleapis.com/auth/devstorage.full_control",)
OBJECT = "/storage/v1/b/demo-bucket/o/"
UPLOAD = "/upload/storage/v1/b/demo-bucket/o"
UNIT = 256 * 1024


@pytest.fixture
def google(emulator):
    for name in ("demo-bucket", "other-bucket"):
        emulator.create_bucket(name)
    emulator.put_object("demo-bucket", "a.txt", b"hello",
                        content_type="text/plain", metadata={"k": "v"})
    return emulator


@pytest.fixture
def token(google):
    """Mints tokens of an account with roles for both buckets."""
    def mint(*roles, scopes=WRITE):
        key = json.loads(google.service_account(grants={
            name: list(roles) for name in ("demo-bucket", "other-bucket")}))
        return google.mint_token(key["client_email"], scopes)

    return mint


@pytest.fixture
def ask(google, token):
    """ask(method, target, body, headers, token=...) -> Response"""
    connection = Connection(google.http_port)
    writer = token("objectUser")

    def send(method, target, body=None, headers=(), token=writer):
        headers = dict(headers)
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return connection.request(method, target, headers, body)

    yield send
    connection.close()


def stored(google, name, bucket="demo-bucket"):
    return google.get_object(bucket, name)


def reason(response):
    error = response.json()["error"]
    assert error["code"] == response.status
    return error["errors"][0]["reason"]


# what is told of an object

def test_fields_select_members_in_both_notations(ask):
    whole = ask("GET", OBJECT + "a.txt").json()
    assert ask("GET", OBJECT + "a.txt?fields=name,size").json() == {
        "name": "a.txt", "size": "5"}
    assert ask("GET", OBJECT + "a.txt?fields=*").json() == whole
    page = "/storage/v1/b/demo-bucket/o?fields="
    for fields in ("items(name),nextPageToken", "items/name,prefixes",
                   "items%2Fname"):
        assert ask("GET", page + fields).json() == {
            "items": [{"name": "a.txt"}]}
    assert ask("GET", page + "items(name").status == 400
    assert ask("GET", page + "a..b").status == 400


def test_links_lead_to_the_host_or_to_google_when_told_so(google, ask):
    said = ask("GET", OBJECT + "a.txt").json()
    assert said["selfLink"] == google.url + OBJECT + "a.txt"
    assert said["mediaLink"].startswith(
        google.url + "/download" + OBJECT + "a.txt?generation=")
    google.configure(links="google")
    said = ask("GET", OBJECT + "a.txt").json()
    assert said["selfLink"] == "https://www.googleapis.com" + OBJECT + "a.txt"
    assert said["mediaLink"] == (
        "https://storage.googleapis.com/download" + OBJECT
        + f"a.txt?generation={said['generation']}&alt=media")


def test_the_layout_of_a_bucket_is_for_those_who_may_list(ask, token):
    assert ask("GET", "/storage/v1/b/demo-bucket/storageLayout").json()[
        "locationType"] == "multi-region"
    answer = ask("GET", "/storage/v1/b/demo-bucket/storageLayout",
                 token=token("objectCreator"))
    assert (answer.status, reason(answer)) == (403, "forbidden")


# changes

def test_patch_changes_what_is_named_and_null_removes(google, ask):
    before = stored(google, "a.txt")
    answer = ask("PATCH", OBJECT + "a.txt", {
        "metadata": {"x": "y", "k": None}, "cacheControl": "no-store"})
    assert answer.status == 200
    after = stored(google, "a.txt")
    assert after["metadata"] == {"x": "y"}
    assert after["cache_control"] == "no-store"
    assert after["content_type"] == "text/plain"
    assert answer.json()["metageneration"] == "2"
    assert after["generation"] == before["generation"]
    assert ask("PATCH", OBJECT + "a.txt", {"cacheControl": None,
                                           "metadata": None}).status == 200
    after = stored(google, "a.txt")
    assert (after["cache_control"], after["metadata"]) == (None, {})


def test_put_forgets_what_is_not_named(google, ask):
    assert ask("PUT", OBJECT + "a.txt",
               {"contentType": "text/css"}).status == 200
    after = stored(google, "a.txt")
    assert (after["content_type"], after["metadata"]) == ("text/css", {})
    assert after["data"] == b"hello"


@pytest.mark.parametrize("body", [
    {"name": "b.txt"}, {"bucket": "other-bucket"}, {"metadata": {"a": 1}},
    {"metadata": "x"}, {"contentType": 1}, b"[]", b"{"], ids=str)
def test_a_change_of_what_is_no_metadata_is_refused(google, ask, body):
    before = stored(google, "a.txt")
    assert ask("PATCH", OBJECT + "a.txt", body).status == 400
    assert stored(google, "a.txt") == before


@pytest.mark.parametrize("method, target, body", [
    ("PATCH", OBJECT + "a.txt", {"acl": [{"entity": "allUsers",
                                          "role": "READER"}]}),
    ("POST", UPLOAD + "?uploadType=media&name=b&predefinedAcl=publicRead",
     b"x"),
    ("POST", UPLOAD + "?uploadType=resumable&name=b"
     "&predefinedAcl=publicRead", {}),
    ("POST", OBJECT + "a.txt/copyTo/b/demo-bucket/o/b"
     "?destinationPredefinedAcl=publicRead", {})])
def test_only_who_may_set_policies_makes_public(google, ask, token, method,
                                                target, body):
    answer = ask(method, target, body)
    assert (answer.status, reason(answer)) == (403, "forbidden")
    answer = ask(method, target, body, token=token("admin", scopes=FULL))
    assert answer.status == 200
    if answer.body:
        assert stored(google, answer.json()["name"])["public"]


def test_changes_want_the_permission_and_the_scope(ask, token):
    for role, scopes in (("objectViewer", WRITE), ("objectCreator", WRITE),
                         ("objectUser",
                          ("https://www.googleapis.com/auth/"
                           "devstorage.read_only",))):
        weak = token(role, scopes=scopes)
        assert ask("PATCH", OBJECT + "a.txt", {}, token=weak).status == 403
        assert ask("POST", OBJECT + "a.txt/moveTo/o/b",
                   token=weak).status == 403


def test_changes_obey_generations(ask):
    assert ask("PATCH", OBJECT + "a.txt?ifGenerationMatch=1",
               {}).status == 412
    assert ask("PATCH", OBJECT + "a.txt?ifMetagenerationMatch=1",
               {}).status == 200
    assert ask("PATCH", OBJECT + "a.txt?generation=1", {}).status == 404


# copies

@pytest.mark.parametrize("action", ["copyTo", "rewriteTo"])
def test_a_copy_has_bytes_and_metadata_of_its_source(google, ask, action):
    answer = ask("POST", OBJECT + f"a.txt/{action}/b/other-bucket/o/x%2Fy",
                 b"")
    made = stored(google, "x/y", "other-bucket")
    assert made["data"] == b"hello" and made["metadata"] == {"k": "v"}
    said = answer.json()
    if action == "rewriteTo":
        assert (said["done"], said["objectSize"]) == (True, "5")
        said = said["resource"]
    assert (said["bucket"], said["name"]) == ("other-bucket", "x/y")


def test_a_copy_takes_the_metadata_of_its_body_if_there_are_any(google, ask):
    assert ask("POST", OBJECT + "a.txt/rewriteTo/b/demo-bucket/o/b", {
        "contentType": "a/b"}).status == 200
    made = stored(google, "b")
    assert (made["content_type"], made["metadata"]) == ("a/b", {})


def test_a_rewrite_is_done_in_steps_when_it_is_limited(google, ask):
    google.put_object("demo-bucket", "big", seed=1, size=5 << 20)
    target = OBJECT + "big/rewriteTo/b/other-bucket/o/big" \
        "?maxBytesRewrittenPerCall=2097152"
    token = ""
    for done in (2 << 20, 4 << 20):
        said = ask("POST", target + token, b"").json()
        assert (said["done"], said["totalBytesRewritten"]) == (
            False, str(done))
        token = "&rewriteToken=" + said["rewriteToken"].replace("=", "%3D")
    assert ask("POST", target + token, b"").json()["done"]
    assert stored(google, "big", "other-bucket")["data"] \
        == content(1, 0, 5 << 20)
    assert ask("POST", target + "&rewriteToken=x", b"").status == 400


def test_a_copy_needs_both_ends(google, ask, token):
    assert ask("POST", OBJECT + "none/copyTo/b/demo-bucket/o/b",
               b"").status == 404
    assert ask("POST", OBJECT + "a.txt/copyTo/b/no-bucket/o/b",
               b"").status == 404
    assert ask("POST", OBJECT + "a.txt/copyTo/b/demo-bucket/o/b", b"",
               token=token("objectViewer")).status == 403
    assert ask("POST", OBJECT + "a.txt/copyTo/b/demo-bucket/o/b"
               "?ifSourceGenerationMatch=1", b"").status == 412
    assert ask("POST", OBJECT + "a.txt/copyTo/b/demo-bucket/o/a.txt"
               "?ifGenerationMatch=0", b"").status == 412


def test_a_moved_object_is_nowhere_else(google, ask):
    assert ask("POST", OBJECT + "a.txt/moveTo/o/b").status == 200
    assert stored(google, "b")["data"] == b"hello"
    assert ask("GET", OBJECT + "a.txt").status == 404


def test_a_composition_is_its_parts_one_after_another(google, ask):
    google.put_object("demo-bucket", "b", b" world")
    answer = ask("POST", OBJECT + "c/compose", {
        "sourceObjects": [{"name": "a.txt"}, {"name": "b"}],
        "destination": {"contentType": "text/plain"}})
    said = answer.json()
    assert stored(google, "c")["data"] == b"hello world"
    assert said["componentCount"] == 2 and "md5Hash" not in said
    assert said["crc32c"] == base64.b64encode(
        crc32c(b"hello world")).decode()


@pytest.mark.parametrize("sources, status", [
    ([], 400), ([{"name": "a.txt"}] * 33, 400), ([{}], 400), ("a.txt", 400),
    ([{"name": "none"}], 404),
    ([{"name": "a.txt", "generation": "1"}], 404),
    ([{"name": "a.txt",
       "objectPreconditions": {"ifGenerationMatch": "1"}}], 412)])
def test_a_bad_composition_is_refused(ask, sources, status):
    assert ask("POST", OBJECT + "c/compose",
               {"sourceObjects": sources}).status == status


# resumable sessions

@pytest.fixture
def session(ask):
    def start(target=UPLOAD, name="up", body=None, **headers):
        answer = ask("POST", f"{target}?uploadType=resumable&name={name}",
                     body or {}, headers)
        assert (answer.status, answer.body) == (200, b"")
        return re.sub("^http://[^/]+", "", answer.get("Location"))

    return start


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("target", [UPLOAD, "/resumable" + UPLOAD])
def test_chunks_are_told_how_far_they_got(google, ask, session, method,
                                          target):
    place = session(target, **{"X-Upload-Content-Type": "a/b"})
    assert place.startswith(target)
    data = content(3, 0, UNIT + 10)

    def chunk(given, body, **headers):
        return ask(method, place, body, {"Content-Range": given, **headers},
                   token=None)

    answer = chunk("bytes */*", b"")
    assert (answer.status, answer.get("Range")) == (308, None)
    answer = chunk(f"bytes 0-{UNIT - 1}/*", data[:UNIT])
    assert (answer.status, answer.get("Range")) == (308,
                                                    f"bytes=0-{UNIT - 1}")
    answer = chunk("bytes */*", b"", **{"X-GUploader-No-308": "yes"})
    assert (answer.status, answer.get("X-Http-Status-Code-Override")) == (
        200, "308")
    answer = chunk(f"bytes {UNIT}-{UNIT + 9}/{UNIT + 10}", data[UNIT:])
    assert (answer.status, answer.json()["size"]) == (200, str(UNIT + 10))
    made = stored(google, "up")
    assert (made["data"], made["content_type"]) == (data, "a/b")
    assert chunk("bytes */*", b"").status == 404


@pytest.mark.parametrize("given", [None, "bytes 0-*/*", "bytes 0-*/5",
                                   "bytes 0-4/5"])
def test_all_may_come_at_once(google, ask, session, given):
    headers = {} if given is None else {"Content-Range": given}
    assert ask("PUT", session(), b"hello", headers, token=None).status == 200
    assert stored(google, "up")["data"] == b"hello"


@pytest.mark.parametrize("given, body, status", [
    ("bytes 0-9/*", b"0123456789", 400),         # no multiple of 256 KiB
    ("bytes 0-4/10", b"0123456789", 400),
    ("bytes 0-9/5", b"0123456789", 400),
    ("bytes 5-9/10", b"01234", 503),
    ("bytes */*", b"x", 400),
    ("0-9/10", b"0123456789", 400)])
def test_chunks_that_do_not_fit_are_refused(ask, session, given, body,
                                            status):
    assert ask("PUT", session(), body, {"Content-Range": given},
               token=None).status == status


def test_a_session_can_be_given_up(ask, session):
    place = session()
    assert ask("DELETE", place, token=None).status == 499
    assert ask("PUT", place, b"x", token=None).status == 404


def test_a_session_needs_leave_to_begin(ask, token):
    target = UPLOAD + "?uploadType=resumable&name=up"
    assert ask("POST", target, {}, token=None).status == 401
    assert ask("POST", target, {}, token=token("objectViewer")).status == 403
    assert ask("POST", target, {"bucket": "other-bucket"}).status == 400


# multipart/related

MIMES = {
    "of Python": ('multipart/related; boundary="==1=="', "==1==", b"\r\n"),
    "of Node": ("multipart/related; boundary=1-2-3", "1-2-3", b"\r\n"),
    "of gcsfs": ('multipart/related; boundary="==0=="', "==0==", b"\n"),
    "of gsutil": ("multipart/related; boundary='=1=='", "=1==", b"\n")}


@pytest.mark.parametrize("form", MIMES)
def test_bodies_in_parts_may_look_like_any_client_s(google, ask, form):
    content_type, mark, end = MIMES[form]
    media = b"--\r\n\r\n\n\nbin\x00\xff\r\n"
    body = end.join([
        f"--{mark}".encode(), b"Content-Type: application/json", b"",
        b'{"name": "m"}', f"--{mark}".encode(), b"content-type: a/b", b"",
        media, f"--{mark}--".encode()])
    assert ask("POST", UPLOAD + "?uploadType=multipart", body,
               {"Content-Type": content_type}).status == 200
    made = stored(google, "m")
    assert (made["data"], made["content_type"]) == (media, "a/b")


# the XML API's uploads in parts

def test_parts_become_an_object(google, ask):
    path = "/demo-bucket/parts"
    data = content(5, 0, (5 << 20) + 3)
    answer = ask("POST", path + "?uploads", b"", {"Content-Type": "a/b",
                                                  "x-goog-meta-k": "v"})
    found = re.search(r"<UploadId>(.+)</UploadId>", answer.text)
    assert (answer.status, answer.get("Content-Type")) == (
        200, "application/xml; charset=UTF-8")
    upload = f"uploadId={found[1]}"
    assert ask("GET", path).status == 404

    tags = {}
    for number, part in ((2, data[5 << 20:]), (1, data[:5 << 20])):
        answer = ask("PUT", f"{path}?partNumber={number}&{upload}", part)
        tags[number] = answer.get("ETag")
        assert tags[number] == f'"{hashlib.md5(part).hexdigest()}"'

    def complete(*numbers, tags=tags):
        parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tags[n]}"
                        "</ETag></Part>" for n in numbers)
        return ask("POST", f"{path}?{upload}", (
            f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
        ).encode())

    listed = ask("GET", f"{path}?{upload}").text
    assert re.findall("<PartNumber>(.)</PartNumber>", listed) == ["1", "2"]
    assert complete(2, 1).status == 400
    assert complete(1, 2, tags={1: "x", 2: "y"}).status == 400
    assert complete().status == 400
    answer = complete(1, 2)
    assert answer.status == 200 and "<Key>parts</Key>" in answer.text
    made = stored(google, "parts")
    assert (made["data"], made["content_type"]) == (data, "a/b")
    assert made["metadata"] == {"k": "v"}
    assert complete(1, 2).status == 404
    assert google.violations() == []


def test_parts_must_be_large_but_for_the_last(ask):
    path = "/demo-bucket/parts"
    answer = ask("POST", path + "?uploads", b"")
    upload = "uploadId=" + re.search("<UploadId>(.+)</UploadId>",
                                     answer.text)[1]
    parts = ""
    for number in (1, 2):
        tag = ask("PUT", f"{path}?partNumber={number}&{upload}",
                  b"x").get("ETag")
        parts += (f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}"
                  "</ETag></Part>")
    answer = ask("POST", f"{path}?{upload}", (
        f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
    ).encode())
    assert answer.status == 400
    assert "<Code>EntityTooSmall</Code>" in answer.text
    assert ask("DELETE", f"{path}?{upload}").status == 204
    assert ask("DELETE", f"{path}?{upload}").status == 404


@pytest.mark.parametrize("source", ["/demo-bucket/a.txt",
                                    "demo-bucket/a%2Etxt"])
def test_a_put_may_name_what_it_copies(google, ask, source):
    answer = ask("PUT", "/other-bucket/b", b"", {"x-goog-copy-source": source})
    assert answer.status == 200 and "<CopyObjectResult>" in answer.text
    made = stored(google, "b", "other-bucket")
    assert (made["data"], made["metadata"]) == (b"hello", {"k": "v"})
    answer = ask("PUT", "/other-bucket/b", b"", {
        "x-goog-copy-source": source, "x-goog-metadata-directive": "REPLACE",
        "Content-Type": "a/b"})
    made = stored(google, "b", "other-bucket")
    assert (made["content_type"], made["metadata"]) == ("a/b", {})
    assert ask("PUT", "/other-bucket/b", b"", {
        "x-goog-copy-source": source + "2"}).status == 404


def test_an_upload_in_parts_needs_leave(ask, token):
    path = "/demo-bucket/parts"
    assert ask("POST", path + "?uploads", b"", token=None).status == 403
    assert ask("POST", path + "?uploads", b"",
               token=token("objectViewer")).status == 403
    assert ask("PUT", path + "?partNumber=1&uploadId=x", b"x").status == 404
    answer = ask("POST", path + "?uploads", b"")
    upload = re.search("<UploadId>(.+)</UploadId>", answer.text)[1]
    for number in ("0", "10001", "x"):
        assert ask("PUT", f"{path}?partNumber={number}&uploadId={upload}",
                   b"x").status == 400
    assert ask("PUT", f"/demo-bucket/other?partNumber=1&uploadId={upload}",
               b"x").status == 404

"""The emulator behaves as the services that it stands for.

Checked from outside by Google's own clients, and byte by byte where these do
not look. What the module's tests prove is worth what these prove.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import os
import re
import socket
import sys
import time
import urllib.parse

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from emulator import Emulator, content, crc32c  # noqa: E402
from emulator.http_rules import (Unsatisfiable, accepts_gzip,  # noqa: E402
                                 etag_matches, parse_range)

SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
WRITE = "https://www.googleapis.com/auth/devstorage.read_write"
HELLO = b"hello, world"
PLAIN = b"the same text, again and again\n" * 400


@pytest.fixture(scope="module")
def process():
    with Emulator(tls=True) as emulator:
        yield emulator


@pytest.fixture
def google(process):
    """Demo buckets, a reader and a writer, nothing else."""
    process.reset()
    process.reset_requests()
    process.create_bucket("demo-bucket")
    process.create_bucket("public-bucket", public=True)
    process.put_object("demo-bucket", "a.txt", HELLO,
                       content_type="text/plain")
    process.put_object("demo-bucket", "empty", b"")
    process.put_object("demo-bucket", "big.bin", seed=7, size=5 << 30)
    process.put_object("demo-bucket", "page.html", gzip.compress(PLAIN),
                       content_type="text/html", content_encoding="gzip")
    process.put_object("public-bucket", "p.txt", b"for all")
    return process


@pytest.fixture
def key(google):
    return json.loads(google.service_account(
        "reader@demo-project.iam.gserviceaccount.com",
        {"demo-bucket": "objectViewer"}))


@pytest.fixture
def get(google, key):
    """get(path, headers) -> response with .body; token="" is anonymous."""
    connection = http.client.HTTPConnection("127.0.0.1", google.http_port,
                                            timeout=10)
    bearer = google.mint_token(key["client_email"])

    def send(path="/demo-bucket/a.txt", headers=None, token=bearer,
             method="GET", body=None):
        headers = dict(headers or {})
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.body = response.read()
        return response

    send.token = bearer
    yield send
    connection.close()


def code(response):
    """The code of an XML error, with its declaration checked."""
    assert response.getheader("content-type") == \
        "application/xml; charset=UTF-8"
    match = re.match(rb"<\?xml version='1.0' encoding='UTF-8'\?><Error>"
                     rb"<Code>(\w+)</Code>", response.body)
    return match[1].decode()


def wire(google, *parts, until=None, pause=0.0):
    """Send bytes, return what comes until the end (or the text `until`)."""
    with socket.create_connection(("127.0.0.1", google.http_port), 5) as sock:
        for part in parts:
            sock.sendall(part)
            time.sleep(pause)
        data = b""
        while until is None or until not in data:
            more = sock.recv(65536)
            if not more:
                break
            data += more
        return data


def request_bytes(get, path="/demo-bucket/a.txt", *headers):
    lines = [f"GET {path} HTTP/1.1", "Host: storage.googleapis.com",
             f"Authorization: Bearer {get.token}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


# Google's own clients

@pytest.fixture(scope="module")
def offline():
    """google-auth asks iamcredentials.googleapis.com about regions on its
    own, in a thread; nothing that is tested here may leave the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield


@pytest.fixture
def storage(google, key, offline):
    module = pytest.importorskip("google.cloud.storage")
    from google.oauth2 import service_account
    google.grant(key["client_email"], "demo-bucket",
                 ["objectUser", "legacyBucketReader"])
    credentials = service_account.Credentials.from_service_account_info(key)
    return module.Client("demo-project", credentials,
                         client_options={"api_endpoint": google.url})


def test_google_auth_fetches_a_token(google, key, offline):
    service_account = pytest.importorskip("google.oauth2.service_account")
    from google.auth.transport.requests import Request
    credentials = service_account.Credentials.from_service_account_info(
        key, scopes=[SCOPE])
    credentials.refresh(Request())
    assert credentials.valid
    [record] = google.requests("token")
    assert record["credential"] == "ok"
    assert record["assertion"]["claims"]["scope"] == SCOPE
    [token] = google.tokens()
    assert token["value"] == credentials.token
    assert token["scopes"] == [SCOPE]


def test_official_client_lists_pages_and_folders(google, storage):
    for name in ("d/1", "d/2", "e/f/3", "z"):
        google.put_object("demo-bucket", name, b"x")
    names = [b.name for b in storage.list_blobs("demo-bucket", page_size=2)]
    assert names == ["a.txt", "big.bin", "d/1", "d/2", "e/f/3", "empty",
                     "page.html", "z"]
    found = storage.list_blobs("demo-bucket", delimiter="/", page_size=2)
    assert [b.name for b in found] == ["a.txt", "big.bin", "empty",
                                       "page.html", "z"]
    assert found.prefixes == {"d/", "e/"}
    assert [b.name for b in storage.list_blobs("demo-bucket",
                                               prefix="e/")] == ["e/f/3"]


def test_official_client_downloads_whole_objects_and_ranges(storage):
    bucket = storage.bucket("demo-bucket")
    assert bucket.blob("a.txt").download_as_bytes(checksum="crc32c") == HELLO
    assert bucket.blob("a.txt").download_as_bytes(checksum="md5") == HELLO
    start = (4 << 30) - 10
    assert bucket.blob("big.bin").download_as_bytes(
        start=start, end=start + 19) == content(7, start, start + 20)


def test_official_client_uploads_reads_back_and_deletes(google, storage):
    blob = storage.bucket("demo-bucket").blob("dir/ü +%2F?#")
    blob.metadata = {"color": "blue"}
    body = b"--\r\n\r\nbinary \x00\xff\r\n"
    blob.upload_from_string(body, content_type="image/x-demo")
    stored = google.get_object("demo-bucket", "dir/ü +%2F?#")
    assert stored["data"] == body
    assert stored["content_type"] == "image/x-demo"
    assert stored["metadata"] == {"color": "blue"}
    assert blob.download_as_bytes() == body
    assert blob.exists()
    blob.delete()
    assert not blob.exists()


def test_official_client_uploads_large_objects_in_chunks(google, storage):
    body = content(1, 0, 9 << 20)
    blob = storage.bucket("demo-bucket").blob("chunks", chunk_size=4 << 20)
    blob.upload_from_string(body, "video/mp4")
    stored = google.get_object("demo-bucket", "chunks")
    assert stored["data"] == body and stored["content_type"] == "video/mp4"
    assert [r["status"] for r in google.requests("storage")
            if r["target"].startswith("/upload/")] == [200, 308, 308, 200]


def test_official_client_sees_conditions_and_permissions(storage):
    from google.api_core.exceptions import NotFound, PreconditionFailed
    bucket = storage.bucket("demo-bucket")
    with pytest.raises(PreconditionFailed):
        bucket.blob("a.txt").upload_from_string("x", if_generation_match=0)
    with pytest.raises(NotFound):
        bucket.blob("missing").download_as_bytes()
    assert bucket.test_iam_permissions(
        ["storage.objects.get", "storage.buckets.delete"]) == \
        ["storage.objects.get"]
    assert storage.get_bucket("demo-bucket").location == "EU"


# Token endpoint

def sign(google, key, claims=None, header=None, key_name="default"):
    """An assertion; a claim or header member of None is left out, and times
    are seconds from now."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import \
        load_pem_private_key
    from emulator import signing_key

    now = int(time.time())
    members = {"iss": key["client_email"], "scope": SCOPE,
               "aud": google.token_uri, "iat": 0, "exp": 3600,
               **(claims or {})}
    for name in ("iat", "exp"):
        if members[name] is not None:
            members[name] += now
    head = {"alg": "RS256", "typ": "JWT", "kid": key["private_key_id"]}
    head.update(header or {})

    def part(value):
        if isinstance(value, dict):
            value = {k: v for k, v in value.items() if v is not None}
            value = json.dumps(value).encode()
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    text = part(head) + "." + part(members)
    private = load_pem_private_key(
        signing_key(key_name).private_pem.encode(), None)
    return text + "." + part(private.sign(text.encode(), PKCS1v15(),
                                          SHA256()))


def exchange(google, assertion):
    body = urllib.parse.urlencode({
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": assertion})
    connection = http.client.HTTPConnection("127.0.0.1", google.http_port,
                                            timeout=10)
    connection.request("POST", "/token", body, {
        "Content-Type": "application/x-www-form-urlencoded"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


SHORT = "Invalid JWT: Token must be a short-lived token"


@pytest.mark.parametrize("claims, header, key_name, status, error, text", [
    ({}, {}, "other", 400, "invalid_grant", "Invalid JWT Signature."),
    ({}, {"alg": "RS512"}, "default", 400, "invalid_grant",
     "Invalid JWT Signature."),
    ({}, {"kid": "deleted"}, "default", 400, "invalid_grant",
     "Invalid JWT Signature."),
    ({"iss": "nobody@example.com"}, {}, "default", 400, "invalid_grant",
     "Invalid grant: account not found"),
    ({"iat": None}, {}, "default", 400, "invalid_grant", SHORT),
    ({"exp": None}, {}, "default", 400, "invalid_grant", SHORT),
    ({"exp": 7200}, {}, "default", 400, "invalid_grant",
     SHORT),
    ({"iat": -7200, "exp": -3600}, {},
     "default", 400, "invalid_grant", SHORT),
    ({"iat": 900, "exp": 1800}, {},
     "default", 400, "invalid_grant", SHORT),
    ({"scope": ""}, {}, "default", 400, "invalid_scope",
     "Invalid OAuth scope or ID token audience provided."),
    ({"scope": None}, {}, "default", 400, "invalid_scope",
     "Invalid OAuth scope or ID token audience provided."),
    ({"aud": "https://elsewhere.example/token"}, {}, "default", 400,
     "invalid_grant", "Invalid JWT: Failed audience check."),
    ({"aud": ["https://oauth2.googleapis.com/token"]}, {}, "default", 400,
     "invalid_grant", "Invalid JWT: Failed audience check."),
    ({"sub": "user@example.com"}, {}, "default", 401, "unauthorized_client",
     "Client is unauthorized to retrieve access tokens"),
])
def test_token_endpoint_refuses_wrong_assertions(
        google, key, claims, header, key_name, status, error, text):
    got, answer = exchange(google, sign(google, key, claims, header,
                                        key_name))
    assert (got, answer["error"]) == (status, error)
    assert answer["error_description"].startswith(text)
    assert google.tokens() == []


@pytest.mark.parametrize("claims, header", [
    ({}, {}), ({}, {"kid": None}),
    ({"aud": "https://oauth2.googleapis.com/token"}, {}),
    ({"iat": 200, "exp": 3500}, {}),
])
def test_token_endpoint_accepts_right_assertions(google, key, claims, header):
    status, answer = exchange(google, sign(google, key, claims, header))
    assert status == 200
    assert set(answer) == {"access_token", "expires_in", "token_type"}
    assert answer["expires_in"] == 3599


def test_garbled_and_padded_assertions_cannot_be_decoded(google, key):
    good = sign(google, key)
    for bad in ("", "x", "a.b", good + "=", good + ".x", good + "!"):
        assert exchange(google, bad) == (
            400, {"error": "invalid_request",
                  "error_description": "Bad Request"})


def test_an_unknown_scope_gives_an_id_token_only(google, key):
    status, answer = exchange(google, sign(google, key, {
        "scope": SCOPE + " https://example.com/unknown"}))
    assert status == 200 and set(answer) == {"id_token"}


def test_tokens_really_expire_and_can_be_revoked(google, get, key):
    google.configure(token_lifetime=1)
    token = exchange(google, sign(google, key))[1]["access_token"]
    assert get(token=token).status == 200
    time.sleep(1.1)
    assert get(token=token).status == 401
    assert get().status == 200
    assert google.revoke_tokens() == 2
    assert get().status == 401
    assert [r["credential"] for r in google.requests("storage")] == \
        ["valid", "expired", "valid", "revoked"]


# Reading

def test_an_object_is_answered_with_googles_headers(get):
    response = get()
    assert response.status == 200 and response.body == HELLO
    digest = hashlib.md5(HELLO)
    assert response.getheader("etag") == f'"{digest.hexdigest()}"'
    assert response.headers.get_all("x-goog-hash") == [
        "crc32c=" + base64.b64encode(crc32c(HELLO)).decode(),
        "md5=" + base64.b64encode(digest.digest()).decode()]
    for name, value in {
            "content-length": str(len(HELLO)), "content-type": "text/plain",
            "cache-control": "private, max-age=0", "accept-ranges": "bytes",
            "x-goog-metageneration": "1", "server": "UploadServer",
            "x-goog-storage-class": "STANDARD",
            "x-goog-stored-content-encoding": "identity",
            "x-goog-stored-content-length": str(len(HELLO))}.items():
        assert response.getheader(name) == value
    for name in ("x-guploader-uploadid", "alt-svc", "date", "last-modified",
                 "x-goog-generation", "expires"):
        assert response.getheader(name)


def test_crc32c_matches_its_published_check_value():
    assert crc32c(b"123456789").hex() == "e3069283"


def test_public_objects_are_cacheable_and_need_no_token(get):
    response = get("/public-bucket/p.txt", token="")
    assert response.status == 200
    assert response.getheader("cache-control") == "public, max-age=3600"


@pytest.mark.parametrize("name", [
    "/lead", "a//b", "a/./b", "a/../b", "q?x#y", "100%", "a+b c", "ü/日本",
    "tab\tx", "folder/", "a%2Fb"])
def test_object_names_are_decoded_once_and_never_normalised(
        google, get, name):
    google.put_object("demo-bucket", name, name.encode())
    path = "/demo-bucket/" + urllib.parse.quote(name, safe="/")
    assert get(path).body == name.encode()
    assert get("/demo-bucket/" + urllib.parse.quote(name, safe="")).body == \
        name.encode()
    assert [r["target"] for r in google.requests()][0] == path


@pytest.mark.parametrize("value, size, expected", [
    ("bytes=0-4", 12, (0, 5)), ("bytes=3-", 12, (3, 12)),
    ("bytes=-4", 12, (8, 12)), ("bytes=-99", 12, (0, 12)),
    ("bytes=0-99", 12, (0, 12)), ("bytes=11-11", 12, (11, 12)),
    ("bytes=12-", 12, 416), ("bytes=12-20", 12, 416), ("bytes=-0", 12, 416),
    ("bytes=0-", 0, 416), ("bytes=-1", 0, 416), ("bytes=0-0", 0, 416),
    ("bytes=4-3", 12, None), ("bytes=0-1,4-5", 12, None),
    ("bytes=", 12, None), ("bytes=-", 12, None), ("bytes=a-b", 12, None),
    ("items=0-4", 12, None), ("bytes=+1-2", 12, None), (None, 12, None)])
def test_ranges_follow_the_table(value, size, expected):
    if expected == 416:
        with pytest.raises(Unsatisfiable):
            parse_range(value, size)
    else:
        assert parse_range(value, size) == expected


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_range_is_206_and_its_headers_are_exact(get, method):
    response = get(headers={"Range": "bytes=7-99"}, method=method)
    assert response.status == 206
    assert response.getheader("content-range") == "bytes 7-11/12"
    assert response.getheader("content-length") == "5"
    assert response.getheader("x-goog-hash") is None
    assert response.body == (b"world" if method == "GET" else b"")


def test_a_range_beyond_the_end_is_416_with_xml(get):
    response = get(headers={"Range": "bytes=50-60"})
    assert response.status == 416
    assert response.getheader("content-range") == "bytes */12"
    assert response.body.endswith(
        b"<Code>InvalidRange</Code><Message>The requested range cannot be "
        b"satisfied.</Message><Details>bytes=50-60</Details></Error>")
    assert get("/demo-bucket/empty", {"Range": "bytes=0-0"}).status == 416
    assert get("/demo-bucket/empty").status == 200


def test_if_range_is_honoured_unless_told_otherwise(google, get):
    etag = get().getheader("etag")
    headers = {"Range": "bytes=0-1", "If-Range": etag}
    assert get(headers=headers).status == 206
    for other in ('"other"', "W/" + etag, "Tue, 15 Nov 1994 12:45:26 GMT"):
        headers["If-Range"] = other
        assert get(headers=headers).status == 200
    google.configure(if_range="ignored")
    assert get(headers=headers).status == 206


OLD, NEW = "Tue, 15 Nov 1994 12:45:26 GMT", "Tue, 15 Nov 2095 12:45:26 GMT"


@pytest.mark.parametrize("headers, status", [
    ({"If-Match": "ETAG"}, 200), ({"If-Match": '"x"'}, 412),
    ({"If-Match": '"x", ETAG'}, 200), ({"If-Match": "W/ETAG"}, 412),
    ({"If-Match": "*"}, 200),
    ({"If-None-Match": "ETAG"}, 304), ({"If-None-Match": '"x"'}, 200),
    ({"If-None-Match": '"x" , W/ETAG'}, 304), ({"If-None-Match": "*"}, 304),
    ({"If-Modified-Since": NEW}, 304), ({"If-Modified-Since": OLD}, 200),
    ({"If-Unmodified-Since": NEW}, 200), ({"If-Unmodified-Since": OLD}, 412),
    ({"If-Modified-Since": "nonsense"}, 200),
    ({"If-None-Match": '"x"', "If-Modified-Since": NEW}, 200),
    ({"If-Match": "ETAG", "If-Unmodified-Since": OLD}, 200),
    ({"If-Match": '"x"', "If-None-Match": "ETAG"}, 412),
    ({"x-goog-if-generation-match": "GENERATION"}, 200),
    ({"x-goog-if-generation-match": "1"}, 412),
    ({"x-goog-if-metageneration-match": "2"}, 412),
    ({"x-goog-if-generation-match": "x"}, 400)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_follow_rfc_9110(get, headers, status, method):
    plain = get()
    response = get(method=method, headers={
        name: value.replace("ETAG", plain.getheader("etag")).replace(
            "GENERATION", plain.getheader("x-goog-generation"))
        for name, value in headers.items()})
    assert response.status == status
    if status == 304:
        assert response.getheader("etag") == plain.getheader("etag")
        assert response.getheader("content-length") is None
    if status == 412 and method == "GET":
        assert code(response) == "PreconditionFailed"
    assert get().status == 200


def test_etags_compare_strongly_or_weakly():
    assert etag_matches('W/"a"', '"a"', strong=False)
    assert not etag_matches('W/"a"', '"a"', strong=True)
    assert not etag_matches('"ab"', '"a"', strong=False)


def test_a_generation_can_be_asked_for(google, get):
    google.update_bucket("demo-bucket", versioning=True)
    old = get().getheader("x-goog-generation")
    google.put_object("demo-bucket", "a.txt", b"new")
    assert get().body == b"new"
    assert get(f"/demo-bucket/a.txt?generation={old}").body == HELLO
    assert get("/demo-bucket/a.txt?generation=5").status == 404
    assert google.violations() == []


# Gzip

@pytest.mark.parametrize("value, accepted", [
    ("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0", False),
    (None, False), ("identity", False), ("*", False), ("GZIP", True)])
def test_gzip_is_accepted_only_by_name(value, accepted):
    assert accepts_gzip(value) is accepted


def test_gzip_objects_are_expanded_for_those_who_cannot_read_them(get):
    response = get("/demo-bucket/page.html", {"Accept-Encoding": "identity",
                                              "Range": "bytes=0-9"})
    assert response.status == 200 and response.body == PLAIN
    for name in ("content-length", "content-encoding", "accept-ranges",
                 "content-range"):
        assert response.getheader(name) is None
    assert response.getheader("transfer-encoding") == "chunked"
    assert response.getheader("warning") == "214 UploadServer gunzipped"
    assert response.getheader("x-goog-stored-content-encoding") == "gzip"


@pytest.mark.parametrize("headers", [
    {"Accept-Encoding": "gzip"},
    {"Accept-Encoding": "identity", "Cache-Control": "no-transform"}])
def test_gzip_objects_go_as_stored_to_those_who_accept_it(get, headers):
    response = get("/demo-bucket/page.html", headers)
    assert response.getheader("content-encoding") == "gzip"
    assert gzip.decompress(response.body) == PLAIN
    assert int(response.getheader("content-length")) == len(response.body)
    part = get("/demo-bucket/page.html", {**headers, "Range": "bytes=0-9"})
    assert part.status == 206 and part.body == response.body[:10]


def test_head_of_a_gzip_object_tells_no_length(get):
    for coding in ("gzip", "identity"):
        response = get("/demo-bucket/page.html", {"Accept-Encoding": coding},
                       method="HEAD")
        assert response.status == 200
        assert response.getheader("content-length") is None
        assert response.getheader("x-goog-stored-content-length")
    assert get().status == 200


def test_bytes_only_labelled_gzip_cannot_be_expanded(google, get):
    google.put_object("demo-bucket", "not.gz", b"text",
                      content_encoding="gzip")
    headers = {"Accept-Encoding": "identity"}
    assert get("/demo-bucket/not.gz", headers).status == 400
    assert get("/demo-bucket/not.gz", {"Accept-Encoding": "gzip"}).body == \
        b"text"
    google.put_object("demo-bucket", "two.gz", content_encoding="gzip",
                      data=gzip.compress(b"one") + gzip.compress(b"two"))
    assert get("/demo-bucket/two.gz", headers).body == b"onetwo"

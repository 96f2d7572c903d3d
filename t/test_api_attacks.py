"""Attacks on ``gcs_api``: whoever reaches the location has no credential, and
nginx may do everything with every bucket."""

from __future__ import annotations

import gzip
import json
import re
import socket
import subprocess
import threading
import time

import pytest
from test_api import HTTP, LOCATION, error, multipart, part, start

OTHER = "other-bucket"
UPLOAD = "/upload/storage/v1/b/test-bucket/o"


class Google:
    """Answers every request with the same, and keeps what has come."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.answer = (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                       b"Content-Type: application/json\r\n\r\n{}")
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        try:
            # wakes who waits for a connection, so that it is not taken for
            # the next one's
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,),
                             daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            try:
                data = b""
                while True:
                    while not (whole := self._whole(data)):
                        more = peer.recv(65536)
                        if not more:
                            if data:
                                self.requests.append(data)
                            return
                        data += more
                    self.requests.append(data[:whole])
                    data = data[whole:]
                    peer.sendall(self.answer)
            except OSError:
                pass

    @staticmethod
    def _whole(data: bytes) -> int:
        head, mark, body = data.partition(b"\r\n\r\n")
        if not mark:
            return 0
        start = len(head) + 4
        if re.search(rb"(?mi)^transfer-encoding: *chunked\r?$", head):
            end = body.find(b"0\r\n\r\n")
            return start + end + 5 if end >= 0 else 0
        length = re.search(rb"(?mi)^content-length: *(\d+)\r?$", head)
        size = int(length[1]) if length else 0
        return start + size if len(body) >= size else 0


@pytest.fixture
def google():
    server = Google()
    yield server
    server.close()


@pytest.fixture
def front(nginx, emulator, key_file, bucket):
    """Its account may do everything, also with a bucket that is not named."""
    emulator.create_bucket(OTHER)
    emulator.put_object(OTHER, "secret", b"SECRET")
    key_file.write_text(emulator.service_account(
        grants={bucket: ["admin"], OTHER: ["admin"]}))

    def make(buckets: str = bucket, more: str = "", *, before: str = "",
             methods: str = "GET HEAD PUT DELETE", http: str = "", **kw):
        return nginx(http + HTTP, server=before + f"""location / {{
            gcs_api on; gcs_buckets {buckets}; gcs_methods {methods};
            {more} }}""", **kw)

    return make


@pytest.fixture
def spied(front, google):
    """The same before a Google that keeps the bytes of what it is asked."""
    def make(*args, **kw):
        more = kw.pop("more", "")
        server = front(*args, more=more + f" gcs_endpoint {google.url};",
                       **kw)
        return server

    return make


def asked(emulator) -> list[str]:
    return [f"{record['method']} {record['target']}"
            for record in emulator.requests("storage")]


def untouched(emulator) -> bool:
    try:
        emulator.get_object(OTHER, "evil")
    except Exception:               # noqa: BLE001 there is none
        return emulator.get_object(OTHER, "secret")["data"] == b"SECRET"
    return False


# addresses

BEYOND = [
    "GET /storage/v1/b/other-bucket/o",
    "GET /storage/v1/b/other%2Dbucket/o/secret?alt=media",
    "GET /storage/v1/b/test-bucket%2F..%2Fother-bucket/o",
    "GET /storage/v1/b/test-bucket%2Fo%2F..%2F..%2Fother-bucket/o/secret",
    "GET /storage/v1/b/test-bucket/../other-bucket/o",
    "GET /storage/v1/b/test-bucket/%2e%2e/other-bucket/o",
    "GET /storage/v1/b/test-bucket/%252e%252e/other-bucket/o",
    "GET /storage%2Fv1%2Fb%2Fother-bucket%2Fo",
    "GET /%73torage/v1/b/other-bucket/o",
    "GET /%62/other-bucket/o",
    "GET //storage/v1/b/other-bucket/o",
    "GET /storage/v1//b/other-bucket/o",
    "GET /storage/v1/b//other-bucket/o",
    "GET /b/test-bucket/o/../../other-bucket/o",
    "GET /test-bucket/../other-bucket/secret",
    "GET /test-bucket/%2e%2e/other-bucket/secret",
    "GET /test-bucket/..%2fother-bucket/secret",
    "GET /test-bucket%2F..%2Fother-bucket/secret",
    "GET /other-bucket/secret",
    "GET /OTHER-BUCKET/secret",
    "GET /other-bucket",
    "GET /./other-bucket/secret",
    "GET /download/storage/v1/b/other-bucket/o/secret",
    "GET /download/other-bucket/secret",
    "GET /storage/v1beta2/b/other-bucket/o",
    "GET /storage/v2/b/other-bucket/o",
    "GET /STORAGE/v1/b/other-bucket/o",
    "GET /storage/v1/B/other-bucket/o",
    "GET /storage/v1/b/test-bucket/o/a/rewriteTo/b/other-bucket/o/evil",
    "POST /storage/v1/b/other-bucket/o/secret/rewriteTo/b/test-bucket/o/x",
    "POST /storage/v1/b/other-bucket/o/secret/copyTo/b/test-bucket/o/x",
    "POST /storage/v1/b/test-bucket/o/a/copyTo/b/other-bucket/o/evil",
    "POST /storage/v1/b/test-bucket/o/a/rewriteTo/b/other-bucket/o/evil",
    "POST /storage/v1/b/test-bucket/o/a%2FrewriteTo%2Fb%2Fother-bucket%2Fo",
    "POST /storage/v1/b/other-bucket/o/secret/moveTo/o/evil",
    "POST /storage/v1/b/other-bucket/o/evil/compose",
    "POST /upload/storage/v1/b/other-bucket/o?uploadType=media&name=evil",
    "PUT /upload/storage/v1/b/other-bucket/o?uploadType=media&name=evil",
    "POST /upload/storage/v1/b/test-bucket/o/../../other-bucket/o"
    "?uploadType=media&name=evil",
    "PUT /other-bucket/evil",
    "DELETE /other-bucket/secret",
    "DELETE /storage/v1/b/other-bucket/o/secret",
    "PATCH /storage/v1/b/other-bucket/o/secret",
    "POST /other-bucket/evil?uploads",
    "GET /storage/v1/b/test-bucket/o/..%2F..%2F..%2Fother-bucket%2Fo",
    "GET /storage/v1/b/..",
    "GET /storage/v1/b/test-bucket%00/o",
    "GET /storage/v1/b/test-bucket%0d%0aX:y/o",
    "GET /storage/v1/b/test-bucket%3f/o",
    "GET /storage/v1/b/test-bucket%23/o",
    "GET /storage/v1/b/test-bucket;x/o",
    "GET /storage/v1/b/test-bucket:x/o",
    "GET /storage/v1/b/test-bucket/o/a%0d%0aX-Evil:%20y",
    "GET /storage/v1/b/test-bucket/o/a%00",
    "GET /storage/v1/b/test-bucket/o/%C0%AF",
    "GET /storage/v1/b/test-bucket/o/.",
    "GET /storage/v1/b/test-bucket/o/%2E%2E",
    "GET /storage/v1/b/test-bucket/o/%2e",
    "POST /batch/storage/v1",
    "POST /batch",
    "GET /discovery/v1/apis/storage/v1/rest",
    "GET /storage/v1/b?project=demo-project",
    "POST /storage/v1/b?project=demo-project",
    "GET /",
    "OPTIONS /storage/v1/b/test-bucket/o/a",
    "TRACE /storage/v1/b/test-bucket/o/a",
    "COPY /test-bucket/a",
    "POST /test-bucket",
    "POST /test-bucket/",
    "PUT /test-bucket",
    "PUT /test-bucket/",
    "DELETE /test-bucket/",
]
QUERIES = [
    "GET /storage/v1/b/test-bucket/o/a?alt=media&ALT=json",
    "GET /storage/v1/b/test-bucket/o/a?Alt=media",
    "GET /storage/v1/b/test-bucket/o/a?$alt=proto",
    "GET /storage/v1/b/test-bucket/o/a?%24alt=proto",
    "GET /storage/v1/b/test-bucket/o/a?$.xgafv=2",
    "GET /storage/v1/b/test-bucket/o/a?callback=x",
    "GET /storage/v1/b/test-bucket/o/a?upload_protocol=resumable",
    "GET /storage/v1/b/test-bucket/o/a?uploadType=media",
    "GET /storage/v1/b/test-bucket/o/a?x-goog-user-project=theirs",
    "GET /storage/v1/b/test-bucket/o/a?userProject=theirs",
    "GET /storage/v1/b/test-bucket/o/a?userproject=theirs",
    "GET /storage/v1/b/test-bucket/o/a?provisionalUserProject=theirs",
    "GET /storage/v1/b/test-bucket/o/a?quotaUser=x",
    "GET /storage/v1/b/test-bucket/o/a?access_token=x",
    "GET /storage/v1/b/test-bucket/o/a?oauth_token=x",
    "GET /storage/v1/b/test-bucket/o/a?xoauth_requestor_id=x",
    "GET /storage/v1/b/test-bucket/o/a?method=DELETE",
    "GET /storage/v1/b/test-bucket/o/a?$httpMethod=DELETE",
    "GET /storage/v1/b/test-bucket/o/a?_method=DELETE",
    "GET /storage/v1/b/test-bucket/o/a?x-http-method-override=DELETE",
    "GET /storage/v1/b/test-bucket/o/a?=acl",
    "GET /storage/v1/b/test-bucket/o/a?;alt=media",
    "GET /test-bucket/a?acl",
    "GET /test-bucket/a?acl=",
    "GET /test-bucket/a?generation=1&acl",
    "GET /test-bucket/a?a%63l",
    "GET /test-bucket/a?ACL",
    "GET /test-bucket/a?+acl",
    "GET /test-bucket/a?alt=media",
    "GET /test-bucket/a?response-content-type=text/html",
    "GET /test-bucket/a?response-content-disposition=inline",
    "GET /test-bucket/a?versions",
    "GET /test-bucket?acl",
    "GET /test-bucket?cors",
    "GET /test-bucket?policy",
    "GET /test-bucket?uploads",
    "GET /test-bucket?location",
    "PUT /test-bucket/a?acl",
    "PUT /test-bucket/a?compose",
    "PUT /test-bucket/a?retention",
    "PUT /test-bucket/a?tagging",
    "PUT /test-bucket/a?partNumber=1",
    "PUT /test-bucket/a?x-goog-acl=public-read",
    "DELETE /test-bucket/a?acl",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=media&name=a&name=b",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=media&name=a&Name=b",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=media&name=a"
    "&n%61me=b",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=media&name=a"
    "&uploadType=resumable",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=media&name=a"
    "&upload_id=x",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=multipart"
    "&upload_id=x",
    "POST /upload/storage/v1/b/test-bucket/o?uploadtype=media&name=a",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=MEDIA&name=a",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=media&name=",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=media&name=%00",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=media&name=..",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=media&name=a"
    "&bucket=other-bucket",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=media&name=a"
    "&predefinedAcl=publicRead",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=media&name=a"
    "&predefinedacl=publicRead",
    "POST /upload/storage/v1/b/test-bucket/o?uploadType=media&name=a"
    "&predefined%41cl=publicRead",
    "POST /storage/v1/b/test-bucket/o/a/rewriteTo/b/test-bucket/o/b"
    "?destinationPredefinedAcl=publicRead",
    "POST /storage/v1/b/test-bucket/o/a/rewriteTo/b/test-bucket/o/b"
    "?destinationKmsKeyName=x",
    "POST /storage/v1/b/test-bucket/o/b/compose?destinationPredefinedAcl=x",
    "PATCH /storage/v1/b/test-bucket/o/a?predefinedAcl=publicRead",
    "PATCH /storage/v1/b/test-bucket/o/a?overrideUnlockedRetention=true",
    "PUT /storage/v1/b/test-bucket/o/a?upload_id=x",
    "PATCH /upload/storage/v1/b/test-bucket/o/a?uploadType=media",
    "PUT /upload/storage/v1/b/test-bucket/o/a?uploadType=media",
    "POST /storage/v1/b/test-bucket/o/a/restore?generation=1",
    "POST /storage/v1/b/test-bucket/o/bulkRestore",
    "POST /storage/v1/b/test-bucket/o/watch",
    "GET /storage/v1/b/test-bucket/o/a/iam",
    "PUT /storage/v1/b/test-bucket/o/a/iam",
    "GET /storage/v1/b/test-bucket/o/a/acl",
    "POST /storage/v1/b/test-bucket/o/a/acl",
    "GET /storage/v1/b/test-bucket/managedFolders",
    "POST /storage/v1/b/test-bucket/folders",
    "POST /storage/v1/b/test-bucket/lockRetentionPolicy"
    "?ifMetagenerationMatch=1",
]


@pytest.fixture
def one(front):
    return front()


@pytest.mark.parametrize("request_", BEYOND + QUERIES)
def test_nothing_of_this_reaches_google(request_, one, emulator, bucket):
    emulator.put_object(bucket, "a", b"hello")
    method, target = request_.split(" ", 1)
    response = one.request(method, target, {}, None if method == "GET"
                           else b"{}")
    assert 400 <= response.status < 500
    assert b"SECRET" not in response.body
    assert asked(emulator) == []
    assert untouched(emulator)


HEADERS = [
    ("X-Goog-Acl", "public-read"), ("x-goog-grant-full-control", "x"),
    ("X-HTTP-Method-Override", "DELETE"), ("X-HTTP-Method", "DELETE"),
    ("X-Method-Override", "DELETE"), ("X-Goog-Upload-Command", "start"),
    ("X-Goog-Upload-Protocol", "raw"), ("X-Amz-Acl", "public-read"),
    ("X-Amz-Copy-Source", "/other-bucket/secret"),
    ("X-Goog-Copy-Source", "/other-bucket/secret"),
    ("X-Goog-Copy-Source", "other-bucket/secret"),
    ("X-Goog-Copy-Source", "%2Fother-bucket%2Fsecret"),
    ("X-Goog-Copy-Source", "//other-bucket/secret"),
    ("X-Goog-Copy-Source", "test-bucket%2F..%2Fother-bucket/secret"),
    ("X-Goog-Copy-Source", "other%2Dbucket/secret"),
    ("X-Goog-Copy-Source", "https://storage.googleapis.com/other-bucket/s"),
    ("X-Goog-Copy-Source", "/test-bucket/../other-bucket/secret"),
    ("X-Goog-Copy-Source", "/test-bucket/%2e%2e/other-bucket/secret"),
    ("X-Goog-Copy-Source", "/test-bucket/x%2F..%2F..%2Fother-bucket/secret"),
    ("X-Goog-Bypass-Governance-Retention", "true"),
    ("X-Goog-Object-Retention", "x"), ("X-Goog-Unknown", "x"),
    ("X-Goog-Interop-List-Objects-Format", "x"),
    ("X-Goog-Resumable", "START"),
]


@pytest.mark.parametrize("name, value", HEADERS)
def test_a_header_does_not_do_more(name, value, front, emulator, bucket):
    server = front()
    response = server.request("PUT", f"/{bucket}/a", {name: value}, b"")
    assert 400 <= response.status < 500, response.head
    assert asked(emulator) == []


def test_only_one_source_of_a_copy_counts(front, emulator, bucket):
    emulator.put_object(bucket, "a", b"hello")
    server = front()
    for pair in (("/other-bucket/secret", f"/{bucket}/a"),
                 (f"/{bucket}/a", "/other-bucket/secret")):
        response = server.request("PUT", f"/{bucket}/x", [
            ("X-Goog-Copy-Source", pair[0]), ("x-goog-copy-source", pair[1])])
        assert b"SECRET" not in server.get(f"/{bucket}/x").body
        for record in emulator.requests("storage"):
            for key, value in record["headers"]:
                assert OTHER not in value, (key, value)
        assert response.status in (200, 400, 403)


# cross-site requests: a browser in the right network is not the client

CROSS = [
    ("POST", f"{UPLOAD}?uploadType=media&name=evil", "text/plain"),
    ("POST", "/storage/v1/b/test-bucket/o/a/moveTo/o/b", "text/plain"),
    ("POST", "/storage/v1/b/test-bucket/o/a/rewriteTo/b/test-bucket/o/b",
     "text/plain"),
]


@pytest.mark.parametrize("method, target, content_type", CROSS)
@pytest.mark.parametrize("header", [
    ("Origin", "https://evil.test"), ("Origin", "null"),
    ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site")])
def test_another_sites_page_changes_nothing(method, target, content_type,
                                            header, front, emulator, bucket):
    """A form may POST text/plain anywhere, with the browser's cookies and
    from its network, and nobody asks before."""
    emulator.put_object(bucket, "a", b"hello")
    response = front().request(method, target, [
        ("Content-Type", content_type), header], b"")
    assert response.status == 403
    assert asked(emulator) == []


# metadata

ACLS = [
    '{"acl":null,"retention":null}',
    '{"acl":null,"unheardOf":null}',
]


@pytest.mark.parametrize("metadata", ACLS)
def test_null_hides_no_member(metadata, front, emulator, bucket):
    emulator.put_object(bucket, "a", b"hello")
    response = front().request("PATCH", f"/storage/v1/b/{bucket}/o/a", {},
                               metadata.encode())
    assert response.status == 403
    assert asked(emulator) == []


def test_nothing_is_said_of_who_may_read(spied, google, bucket):
    """Not that there is a list, not that there is none."""
    server = spied()
    server.request("PATCH", f"/storage/v1/b/{bucket}/o/a", {},
                   b'{"acl":null,"contentType":"text/x"}')
    assert all(b"acl" not in request for request in google.requests)


BODIES = [
    '{"name":"a","n\\u0061me":"b"}', '{"name":"../x","name":"a"}',
    '{"name":"a"}{"name":"b"}', '{"name":"a"}\n{"acl":[]}',
    '\ufeff{"name":"a"}', '{"name":"a","bucket":"other-bucket"}',
    '{"name":"a","b\\u0075cket":"other-bucket"}',
    '{"name":"a","\\u0061cl":[{"entity":"allUsers","role":"READER"}]}',
    '{"name":"a","acl":[{"entity":"allUsers","role":"READER"}]}',
    '{"name":"a","predefinedAcl":"publicRead"}',
    '{"name":["a"]}', '{"name":{"a":1}}', '{"name":true}',
    '{"name":"a\\u0000b"}', '{"name":"a\\ud800"}', '{"name":"a\\r\\nb"}',
    '{"name":".."}', '{"name":"."}', '[{"name":"a"}]', '"a"', 'null', '0',
    '{"name":"a",}', "{'name':'a'}", '{"name":"a"', '{"name":"a"}x',
    '{"name":"a"}\x00', '{"name":' + '"' + "x" * 1025 + '"}',
    '{"a":' * 3000 + "1" + "}" * 3000, '{"name":"a","size":1e999}',
    '{"name":"a","size":123456789012345678901234567890}',
    '{"name":"a","bucket":1}', '{"name":"a","bucket":""}',
    '{"name":"a","Name":"b"}', '{"name":"a","ACL":[]}',
    '{"object":{"name":"a"}}', '{"name":"a","$name":"b"}',
    '{"name":"a","retention":{"mode":"Locked"}}',
]


@pytest.mark.parametrize("metadata", BODIES)
def test_metadata_says_but_what_is_understood(metadata, front, emulator,
                                              bucket):
    server = front()
    raw = metadata.encode("utf-8", "surrogatepass")
    for response in (
            server.request("POST", f"{UPLOAD}?uploadType=resumable", {}, raw),
            multipart(server, bucket, part(metadata)),
            server.request("POST", f"/storage/v1/b/{bucket}/o/a/rewriteTo/b/"
                           f"{bucket}/o/b", {}, raw)):
        assert 400 <= response.status < 500
    for name in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"):
        assert server.request(
            "POST", f"{UPLOAD}?uploadType=resumable", {},
            b'{"name":"a' + name + b'"}').status == 400
    assert asked(emulator) == []


COMPOSED = [
    {"sourceObjects": [{"name": "a", "bucket": OTHER}]},
    {"sourceObjects": [{"name": "in/a"}, {"name": "out/a"}]},
    {"sourceObjects": [{"name": "in/../out/a"}]},
    {"sourceObjects": [{"name": "in/a", "object": "out/a"}]},
    {"sourceObjects": [["out/a"]]}, {"sourceObjects": ["out/a"]},
    {"sourceObjects": {"name": "out/a"}}, {"sourceObjects": None}, {},
    {"sourceObjects": [{"name": ""}]}, {"sourceObjects": [{}]},
    {"sourceObjects": [{"name": None}]}, {"sourceObjects": [None]},
    {"sourceObjects": [{"name": "in/a"}],
     "destination": {"name": "out/x"}},
    {"sourceObjects": [{"name": "in/a"}],
     "destination": {"bucket": OTHER}},
    {"sourceObjects": [{"name": "in/a"}],
     "destination": {"acl": [{"entity": "allUsers", "role": "READER"}]}},
    {"sourceObjects": [{"name": "in/a"}], "destination": []},
    {"sourceObjects": [{"name": "in/a"}], "deleteSourceObjects": True},
    {"SourceObjects": [{"name": "out/a"}], "sourceObjects": []},
]


@pytest.mark.parametrize("body", COMPOSED, ids=json.dumps)
def test_a_compose_reads_but_what_is_allowed(body, front, emulator, bucket):
    emulator.put_object(bucket, "in/a", b"hello")
    emulator.put_object(bucket, "out/a", b"SECRET")
    response = front(f"{bucket}/in").request(
        "POST", f"/storage/v1/b/{bucket}/o/in%2Fb/compose", {},
        json.dumps(body).encode())
    assert 400 <= response.status < 500
    assert asked(emulator) == []


# multipart

def canonical(raw: bytes) -> tuple[str, bytes]:
    """The type of the body and the body, of what Google was sent."""
    head, _, body = raw.partition(b"\r\n\r\n")
    (given,) = re.findall(rb"(?mi)^content-type: *(.*?)\r?$", head)
    return given.decode(), body


TRICKS = [
    # Content-Type, body
    ("multipart/related; boundary=b", b"preamble\r\n" + part({"name": "a"})),
    ("multipart/related; boundary=b", b"\r\n" + part({"name": "a"})),
    ("multipart/related; boundary=b",
     b"--b; x=y\r\n" + part({"name": "a"})[5:]),
    ("multipart/related; boundary=b; boundary=c", part({"name": "a"})),
    ("multipart/related; boundary=c; xboundary=b", part({"name": "a"})),
    ("multipart/related; xboundary=b; boundary=c", part({"name": "a"})),
    ("multipart/related; boundary*=utf-8''b", part({"name": "a"})),
    ("multipart/related; boundary*0=b", part({"name": "a"})),
    ("multipart/related; boundary=", part({"name": "a"}, "")),
    ("multipart/related; boundary=\"b", part({"name": "a"})),
    ("multipart/related; boundary=b\"", part({"name": "a"})),
    ("multipart/related; boundary=" + "b" * 71, part({"name": "a"}, "b" * 71)),
    ("multipart/form-data; boundary=b", part({"name": "a"})),
    ("text/plain", part({"name": "a"})),
    ("multipart/related", part({"name": "a"})),
    ("multipart/related; boundary=b",
     part({"name": "a"}, header="Content-Type: text/plain")),
    ("multipart/related; boundary=b",
     part({"name": "a"}, header="Content-Transfer-Encoding: base64")),
    ("multipart/related; boundary=b",
     part({"name": "a"}, header="Content-Transfer-Encoding: "
                                "quoted-printable")),
    ("multipart/related; boundary=b",
     part({"name": "a"}, header="Content-Type: application/json\r\n x")),
    ("multipart/related; boundary=b", part({"name": "a"})[:-4] + b"x"),
]


def test_what_is_sent_of_a_multipart_body_is_made_anew(spied, google,
                                                       bucket):
    server = spied()
    metadata = '{"name" : "a\\u0062" , "metadata":{"k":"\\u002d-b"}}'
    response = multipart(server, bucket, part(
        metadata, header="X-Evil: y\r\nContent-Type: application/json; x=y\r\n"
                         "Content-Encoding: gzip\r\nContent-Range: bytes 0-1"))
    assert response.status == 200
    given, body = canonical(google.requests[-1])
    assert given == 'multipart/related; boundary="b"'
    assert b"X-Evil" not in body and b"gzip" not in body
    assert re.match(rb'--b\r\nContent-Type: application/json\r\n\r\n'
                    rb'{"name":"ab","metadata":{"k":"--b"}} *\r\n--b\r\n'
                    rb'Content-Type: text/x-test\r\n\r\nhello\r\n--b--\r\n\Z',
                    body), body


@pytest.mark.parametrize("content_type, body", TRICKS)
def test_a_multipart_body_that_may_be_read_in_two_ways_is_refused(
        content_type, body, spied, google, bucket):
    """Or nginx has made it anew, so that there is but one."""
    server = spied()
    response = server.request("POST", f"{UPLOAD}?uploadType=multipart",
                              {"Content-Type": content_type}, body)
    if response.status == 200:
        given, sent = canonical(google.requests[-1])
        assert given == 'multipart/related; boundary="b"'
        assert sent.startswith(b'--b\r\nContent-Type: application/json\r\n'
                               b'\r\n{"name":"a"}'), sent
    else:
        assert response.status in (400, 403)
        assert google.requests == []


@pytest.mark.parametrize("quoted", ["'b'", '"\'b\'"'])
def test_single_quotes_are_no_part_of_a_boundary(quoted, spied, google,
                                                 bucket):
    """Whether they are is seen differently: to one who takes them away this
    is an object that everybody may read."""
    inner = (b"\r\n--b\r\nContent-Type: application/json\r\n\r\n"
             b'{"name":"a","acl":[{"entity":"allUsers","role":"READER"}]}'
             b"\r\n--b\r\n\r\nx\r\n--b--\r\n")
    body = part({"name": "a"}, "'b'").replace(b"hello", inner)
    response = spied().request(
        "POST", f"{UPLOAD}?uploadType=multipart",
        {"Content-Type": f"multipart/related; boundary={quoted}"}, body)
    assert response.status == 400
    assert google.requests == []


@pytest.mark.parametrize("name", ["Content-Encoding", "Transfer-Encoding"])
def test_a_body_that_is_encoded_is_not_passed_unread(name, spied, google,
                                                     bucket):
    server = spied()
    for target, body, content_type in (
            (f"{UPLOAD}?uploadType=multipart", part({"name": "a"}),
             "multipart/related; boundary=b"),
            (f"{UPLOAD}?uploadType=resumable", b'{"name":"a"}',
             "application/json"),
            (f"/storage/v1/b/{bucket}/o/a", b"{}", "application/json")):
        method = "PATCH" if target.endswith("/a") else "POST"
        response = server.request(method, target, {
            name: "gzip", "Content-Type": content_type}, gzip.compress(body))
        assert response.status in (400, 403, 501)
        # what only says so is not encoded at Google's either
        server.request(method, target, {
            name: "gzip", "Content-Type": content_type}, body)
    for request in google.requests:
        assert b"gzip" not in request.lower()


def test_an_uploaded_page_is_in_a_sandbox(front, emulator, bucket):
    """Its script would be of one origin with the API."""
    emulator.put_object(bucket, "x.html", b"<script>1</script>",
                        content_type="text/html")
    server = front()
    for target in (f"/{bucket}/x.html",
                   f"/storage/v1/b/{bucket}/o/x.html?alt=media",
                   f"/download/storage/v1/b/{bucket}/o/x.html"):
        response = server.get(target)
        assert response.status == 200
        assert response.get("Content-Security-Policy") == "sandbox"


# sessions

def test_a_session_has_no_token_whatever_is_said(spied, google, bucket):
    server = spied(f"{bucket}/in other-bucket")
    for target in (
            f"{UPLOAD}?upload_id=x&name=in/a",
            f"{UPLOAD}?uploadType=resumable&upload_id=x&name=in/a",
            f"/resumable{UPLOAD}?upload_id=x&name=in/a",
            f"/{bucket}/in/a?upload_id=x"):
        for method in ("PUT", "DELETE"):
            assert server.request(method, target, {
                "Authorization": "Bearer theirs"}, b"hello").status == 200
    for request in google.requests:
        assert b"authorization" not in request.lower()
        assert b"name=" not in request
    assert len(google.requests) == 8


@pytest.mark.parametrize("target", [
    f"{UPLOAD}?upload_id=x", f"{UPLOAD}?upload_id=x&name=",
    f"{UPLOAD}?upload_id=x&name=out/a", f"{UPLOAD}?upload_id=x&name=in",
    f"{UPLOAD}?upload_id=x&name=in/../out",
    f"{UPLOAD}?upload_id=&name=in/a", f"{UPLOAD}?upload_id&name=in/a",
    f"{UPLOAD}?upload_id=a%20b&name=in/a", f"{UPLOAD}?upload_id=a%0db&name=in",
    f"{UPLOAD}?upload_id=x&upload_id=y&name=in/a",
    f"{UPLOAD}?upload_id=x&name=in/a&predefinedAcl=publicRead",
    f"{UPLOAD}?upload_id=x&name=in/a&alt=media",
    f"{UPLOAD}?upload_id=x&name=in/a&uploadType=media",
    "/test-bucket/out/a?upload_id=x", "/test-bucket?upload_id=x",
    "/test-bucket/in/a?upload_id=x&uploadId=y",
    "/storage/v1/b/test-bucket/o?upload_id=x",
    "/storage/v1/b/test-bucket/o/in%2Fa?upload_id=x",
    "/upload/storage/v1/b/other-bucket/o?upload_id=x&name=in/a",
])
def test_a_session_is_of_what_is_allowed(target, spied, google, bucket):
    server = spied(f"{bucket}/in")
    for method in ("PUT", "POST", "DELETE"):
        assert 400 <= server.request(method, target, {}, b"x").status < 500
    assert google.requests == []


def test_the_key_of_a_session_is_in_no_log(spied, google, bucket):
    """Also when Google does not answer, and when the client leaves."""
    key = "K3Y" + "s" * 40
    server = spied(more="proxy_read_timeout 300ms; proxy_connect_timeout 1s;")
    targets = [f"{UPLOAD}?uploadType=resumable&upload_id={key}&name=a",
               f"{UPLOAD}?upload_id={key}", f"{UPLOAD}?UPLOAD_ID={key}",
               f"{UPLOAD}?name=a&upload_id={key}#x",
               f"/{bucket}/a?upload_id={key}",
               f"/other-bucket/a?upload_id={key}",
               f"/a/../{bucket}/a?upload_id={key}"]
    answers = [google.answer, b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
               b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
               b"garbage\r\n\r\n", b"",
               b"HTTP/1.1 200 OK\r\nLocation: http://x/" + key.encode()
               + b"\r\nBad\x00: x\r\n\r\n"]
    for answer in answers:
        google.answer = answer
        for target in targets:
            with server.connect() as connection:
                connection.send(f"PUT {target} HTTP/1.1\r\nHost: x\r\n"
                                "Content-Length: 5\r\nConnection: close\r\n"
                                "\r\nhello".encode())
                connection.closed_by_peer(3)
    with server.connect() as connection:
        connection.send(f"PUT {targets[0]} HTTP/1.1\r\nHost: x\r\n"
                        "Content-Length: 5\r\n\r\nh".encode())
    google.close()
    time.sleep(.3)
    assert key not in server.log()
    assert key not in server.access_log()
    server.expect("upstream")


# what is sent

def test_one_request_is_one_request(spied, google, bucket):
    """However the client says how long its body is."""
    server = spied()
    smuggled = b"GET /other-bucket/secret HTTP/1.1\r\nHost: x\r\n\r\n"
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(smuggled), smuggled)
    length = b"Content-Length: %d\r\n" % len(smuggled)
    for method, target in (
            ("GET", f"/storage/v1/b/{bucket}/o/a"), ("HEAD", f"/{bucket}/a"),
            ("DELETE", f"/{bucket}/a"), ("PUT", f"/{bucket}/a"),
            ("POST", f"{UPLOAD}?uploadType=media&name=a"),
            ("PUT", f"{UPLOAD}?upload_id=x"), ("DELETE",
                                               f"{UPLOAD}?upload_id=x"),
            ("POST", f"/storage/v1/b/{bucket}/o/a/copyTo/b/{bucket}/o/b"),
            ("PATCH", f"/storage/v1/b/{bucket}/o/a")):
        for head, body in (
                (length, smuggled),
                (b"Transfer-Encoding: chunked\r\n", chunked),
                (b"Transfer-Encoding: Chunked\r\n", chunked),
                (b"Transfer-Encoding: chunked\r\n" + length, chunked),
                (b"Transfer-Encoding: identity\r\n" + length, smuggled),
                (b"Transfer-Encoding: chunked, chunked\r\n", chunked),
                (b"Transfer_Encoding: chunked\r\n" + length, smuggled),
                (b"Expect: 100-continue\r\n" + length, smuggled)):
            with server.connect() as connection:
                connection.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n"
                                .encode() + b"Connection: close\r\n" + head
                                + b"\r\n" + body)
                assert connection.closed_by_peer(5)
    for request in google.requests:
        line = request.split(b"\r\n")[0]
        assert b"other-bucket" not in line, request


def test_nothing_but_what_is_known_goes_along(spied, google, bucket):
    server = spied()
    server.request("PUT", f"/{bucket}/a", [
        ("Authorization", "Bearer theirs"), ("Proxy-Authorization", "x"),
        ("Cookie", "x"), ("X-Forwarded-For", "x"), ("Forwarded", "x"),
        ("X-Goog-User-Project", "x"), ("X-Goog-Api-Key", "x"),
        ("X-Goog-Iam-Authorization-Token", "x"),
        ("X-Goog-Authenticated-User-Email", "x"), ("TE", "trailers"),
        ("Upgrade", "h2c"), ("HTTP2-Settings", "x"), ("Via", "x"),
        ("X-Original-URL", "/other-bucket"), ("X-Rewrite-URL", "/x"),
        ("X-Forwarded-Host", "x"), ("X-Cloud-Trace-Context", "x"),
        ("X-Serverless-Authorization", "x"), ("X-Upload-Content-Type", "y/z"),
        ("X_Goog_Acl", "public-read"), ("Traceparent", "x"),
        ("Content-Type", "text/x")], b"x")
    (request,) = google.requests
    names = {line.split(b":")[0].lower()
             for line in request.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]}
    assert names == {b"host", b"authorization", b"content-length",
                     b"content-type", b"user-agent",
                     b"x-upload-content-type"} - (
                         set() if b"x-upload-content-type" in names
                         else {b"x-upload-content-type"})
    assert b"theirs" not in request


def test_values_of_headers_end_where_they_end(front, nginx, spied, google,
                                              bucket):
    """Names are made by the client too: nothing parts its lines."""
    server = spied(http="underscores_in_headers on;"
                        "ignore_invalid_headers off;")
    for line in (b"X-Goog-Meta-a: x\rX-Goog-Acl: public-read",
                 b"X-Goog-Meta-a: x\x00y", b"X-Goog-Meta-a:\tx\x0by",
                 b"User-Agent: x\rX-Goog-Acl: public-read",
                 b"User-Agent: x\x0by", b"User-Agent: x\x7f",
                 b"X-Goog-Meta-a b: y", b"X-Goog-Meta-\x01: y",
                 b"X-Goog-Acl : public-read", b" X-Goog-Acl: public-read",
                 b"X-Goog_Acl: public-read", b"X-Goog-Acl\t: public-read",
                 b"X-Goog-Meta-a: x\n X-Goog-Acl: public-read",
                 b"Content-Type: a\r\n\tb"):
        with server.connect() as connection:
            connection.send(b"PUT /test-bucket/a HTTP/1.1\r\nHost: x\r\n"
                            b"Connection: close\r\nContent-Length: 1\r\n"
                            + line + b"\r\n\r\nx")
            connection.closed_by_peer(3)
    for request in google.requests:
        head = request.split(b"\r\n\r\n")[0].lower()
        assert b"acl" not in head.replace(b"x-goog-meta", b""), request
        assert not re.search(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]", head), request
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n", head), request


# answers

HOSTS = ["evil.test", "evil.test:99999999", "x y", "x/y", "x@evil.test",
         "x\\evil.test", "x%0d%0aSet-Cookie:a=b", '"><script>', "a'b", "[::1]",
         "[::1", "x" * 400, "ünïcode", "a,b", "a;b", "a?b", "a#b", "-", "."]


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_adds_nothing_but_a_host(host, front, bucket, emulator):
    server = front()
    with server.connect() as connection:
        connection.send(
            f"POST {UPLOAD}?uploadType=resumable HTTP/1.1\r\n"
            f"Host: {host}\r\nContent-Length: 12\r\n"
            'Connection: close\r\n\r\n{"name":"a"}'.encode())
        response = connection.response("POST")
    if response.status != 200:
        assert response.status == 400
        return
    place = response.get("Location")
    assert re.match(rf"http://[A-Za-z0-9._:\[\]-]{{1,300}}{UPLOAD}\?", place)
    assert place.split("/")[2] == host.lower()
    assert "set-cookie" not in response.names


def test_a_location_is_of_the_gateway_whatever_host_it_has(spied, google,
                                                           bucket):
    for place in (b"https://evil.test/x", b"http://x/y?upload_id=z",
                  b"HTTPS://a:b@evil.test/x?y#z"):
        google.answer = (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
                         b"Location: " + place + b"\r\n\r\n")
        server = spied()
        told = server.request("POST", f"{UPLOAD}?uploadType=resumable", {},
                              b'{"name":"a"}').get("Location")
        assert told.startswith(f"http://127.0.0.1:{server.port}/"), told


HOSTILE = "https://storage.googleapis.com/test-bucket/o"


def test_only_googles_own_links_are_changed_however_it_is_cut(
        spied, google, bucket):
    """Metadata, keys and escapes of all kinds, byte by byte."""
    item = {"kind": "storage#object", "selfLink": HOSTILE,
            "mediaLink": HOSTILE, "name": '"mediaLink":"' + HOSTILE,
            "id": "\\", "etag": '\\"', "contentType": "{[" + HOSTILE,
            "metadata": {"mediaLink": HOSTILE, "selfLink": HOSTILE,
                         "items": HOSTILE, "resource": HOSTILE,
                         HOSTILE: HOSTILE, "a\"": HOSTILE, "\\": "\\",
                         '"mediaLink"': '"mediaLink": "' + HOSTILE + '"',
                         "}": "{", "]": "["},
            "contexts": {"custom": {"mediaLink": {"value": HOSTILE}}},
            "owner": {"mediaLink": HOSTILE},
            "acl": [{"selfLink": HOSTILE}],
            "x": {"items": [{"mediaLink": HOSTILE}],
                  "resource": {"mediaLink": HOSTILE}},
            "y": [{"mediaLink": HOSTILE}], "z": [[{"mediaLink": HOSTILE}]],
            "n": None, "t": True, "f": -1.5e3, "mediaLinK": HOSTILE,
            "mediaLink2": HOSTILE, "media\u004cink3": HOSTILE}
    here = "http://x.test/test-bucket/o"
    changed = {**item, "selfLink": here, "mediaLink": here}
    server = spied(more="proxy_buffer_size 1k; proxy_buffers 4 1k;"
                        "proxy_busy_buffers_size 2k;")
    for answer, expected in (
            (item, changed),
            ({"items": [item, item]}, {"items": [changed, changed]}),
            ({"resource": item}, {"resource": changed}),
            ({"metadata": {"items": [item]}}, {"metadata": {"items": [item]}}),
            ([item], [item]), ({"error": item}, {"error": item}),
            ({"items": {"a": item}}, {"items": {"a": item}})):
        for body in (json.dumps(answer).encode(),
                     json.dumps(answer, indent=2).encode(),
                     json.dumps(answer, separators=(",", ":")).encode()):
            google.answer = (b"HTTP/1.1 200 OK\r\nContent-Type: application/"
                             b"json; charset=UTF-8\r\nContent-Length: %d\r\n"
                             b"\r\n" % len(body)) + body
            got = server.get(f"/storage/v1/b/{bucket}/o", {"Host": "x.test"})
            assert got.json() == expected


@pytest.mark.parametrize("one, two", [
    ("https://storage.evil.test/", "https://www.evil.test/"),
    ("https://storage.googleapis.com.evil.test/a", "https://w"),
    ("http://storage.googleapis.com/", "https://"), ("h", "")])
def test_other_links_are_not_changed(one, two, spied, google, bucket):
    """The beginning of each is held for a while, and passed in the end."""
    body = json.dumps({"selfLink": one, "mediaLink": two}).encode()
    google.answer = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(body)) + body
    assert spied().get(f"/storage/v1/b/{bucket}/o/a").body == body


def test_an_object_is_never_changed(front, emulator, bucket):
    body = json.dumps({"mediaLink": HOSTILE, "items": [
        {"selfLink": HOSTILE}]}).encode()
    emulator.put_object(bucket, "a", body, content_type="application/json")
    server = front()
    for target in (f"/{bucket}/a", f"/b/{bucket}/o/a?alt=media",
                   f"/download/storage/v1/b/{bucket}/o/a",
                   f"/download/b/{bucket}/o/a?alt=media"):
        response = server.get(target)
        assert response.body == body
        assert response.get("Content-Length") == str(len(body))


# limits

def test_metadata_in_chunks_is_not_read_without_end(front, bucket):
    """Not even where objects have no limit: it would fill the disk."""
    server = front(more="client_max_body_size 0; client_body_timeout 20s;")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    for method, target in (
            ("PATCH", f"/storage/v1/b/{bucket}/o/a"),
            ("POST", f"/storage/v1/b/{bucket}/o/a/compose"),
            ("POST", f"{UPLOAD}?uploadType=resumable")):
        with server.connect() as connection:
            connection.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n"
                            "Transfer-Encoding: chunked\r\n\r\n".encode())
            connection.sock.settimeout(3)
            try:
                for _ in range(64):
                    connection.send(chunk)
            except ConnectionError:
                continue
            try:
                assert connection.response("POST").status in (400, 411, 413)
            except ConnectionError:
                pass


# caches of other locations

def test_what_a_move_takes_away_is_in_no_cache(front, emulator, bucket):
    emulator.put_object(bucket, "a", b"hello", cache_control="max-age=3600")
    server = front(
        http="proxy_cache_path %%DIR%%/cache keys_zone=z:1m;",
        before=f"location /media/ {{ gcs_pass gs://{bucket}/; proxy_cache z;"
               "proxy_cache_valid 200 1h; }")
    assert server.get("/media/a").body == b"hello"
    assert server.request("POST", f"/storage/v1/b/{bucket}/o/a/moveTo/o/b"
                          ).status == 200
    assert server.get("/media/a").status == 404


def test_what_is_written_is_in_no_cache(front, emulator, bucket):
    emulator.put_object(bucket, "a", b"old", cache_control="max-age=3600")
    emulator.put_object(bucket, "c", b"new", cache_control="max-age=3600")
    server = front(
        http="proxy_cache_path %%DIR%%/cache keys_zone=z:1m;",
        before=f"location /media/ {{ gcs_pass gs://{bucket}/; proxy_cache z;"
               "proxy_cache_valid 200 1h; }")
    writes = [
        lambda: multipart(server, bucket, part({"name": "a"})),
        lambda: server.request("PUT", f"/{bucket}/a", {}, b"x"),
        lambda: server.request("POST", f"{UPLOAD}?uploadType=media&name=a",
                               {}, b"y"),
        lambda: server.request("POST", f"/b/{bucket}/o/c/rewriteTo/b/"
                               f"{bucket}/o/a"),
        lambda: server.request("POST", f"/b/{bucket}/o/a/compose", {},
                               b'{"sourceObjects":[{"name":"c"},'
                               b'{"name":"c"}]}'),
        lambda: server.request(
            "PUT", "/" + start(server, bucket).get("Location")
            .split("/", 3)[3], {}, b"z"),
        lambda: server.request("DELETE", f"/b/{bucket}/o/a"),
    ]
    for number, write in enumerate(writes):
        server.get("/media/a")
        assert write().status in (200, 204), number
        now = server.get("/media/a")
        if number == len(writes) - 1:
            assert now.status == 404
        else:
            assert now.body == emulator.get_object(bucket, "a")["data"], \
                number


def test_nothing_of_an_api_is_cached(front, emulator, bucket):
    emulator.put_object(bucket, "a", b"old", cache_control="max-age=3600")
    server = front(http="proxy_cache_path %%DIR%%/cache keys_zone=z:1m;"
                        "proxy_cache z; proxy_cache_valid any 1h;"
                        "proxy_cache_key x;")
    assert server.get(f"/{bucket}/a").body == b"old"
    assert server.get(f"/storage/v1/b/{bucket}/o/a").status == 200
    emulator.put_object(bucket, "a", b"new")
    assert server.get(f"/{bucket}/a").body == b"new"


# nginx around it

def test_another_location_decides_for_itself(front, emulator, bucket):
    """Also when what was asked for is known since the first."""
    emulator.put_object(bucket, "a", b"hello")
    server = front(
        f"{bucket} other-bucket",
        before="location /limited/ { gcs_api on; gcs_buckets test-bucket;"
               " gcs_methods GET; }",
        more="set $wanted $gcs_uri; rewrite ^ /limited$uri last;")
    assert 400 <= server.get("/other-bucket/secret").status < 500
    assert 400 <= server.request("PUT", f"/{bucket}/a", {}, b"x").status < 500
    assert asked(emulator) == []


def test_a_rewritten_address_is_none_of_the_clients(front, emulator, bucket):
    emulator.put_object(bucket, "a", b"hello")
    for more in ("rewrite ^ /other-bucket/secret break;",
                 "set $uri2 $uri; rewrite ^/x(.*) $1 break;"):
        server = front(f"{bucket} other-bucket", more=more)
        assert 400 <= server.get(f"/x/{bucket}/a").status < 500
    server = front(more="error_page 403 404 /other-bucket/secret;")
    assert b"SECRET" not in server.get("/none/a").body
    assert b"SECRET" not in server.get(f"/{bucket}/none").body
    assert all("other" not in target for target in asked(emulator))


def test_subrequests_are_not_answered(front, emulator, bucket):
    emulator.put_object(bucket, "a", b"hello")
    server = front(before=f"""
        location /guarded {{ auth_request /{bucket}/a; empty_gif; }}
        location /mirrored {{ mirror /{bucket}/a; empty_gif; }}""")
    assert server.get("/guarded").status in (403, 500)
    server.request("POST", "/mirrored", {}, b"x")
    assert asked(emulator) == []


def test_access_rules_hold_for_all_spellings(front, emulator, bucket):
    emulator.put_object(bucket, "private/a", b"SECRET")
    server = front(before=f"""
        location /storage/v1/b/{bucket}/o/private/ {{ deny all; }}
        location /download/ {{ deny all; }} location /b/ {{ deny all; }}
        location /{bucket}/private/ {{ deny all; }}""")
    for target in (
            f"/storage/v1/b/{bucket}/o/private%2Fa?alt=media",
            f"/storage/v1/b/{bucket}/o/private%2fa?alt=media",
            f"/storage/v1/b/{bucket}/o/%70rivate%2Fa?alt=media",
            f"/storage/v1/b/{bucket}/o/private%2F%2Fa?alt=media",
            f"/storage/v1/b/{bucket}/o/x%2F..%2Fprivate%2Fa?alt=media",
            f"/storage/v1/b/{bucket}/./o/private%2Fa?alt=media",
            f"//storage/v1/b/{bucket}/o/private%2Fa?alt=media",
            f"/storage/v1//b/{bucket}/o/private%2Fa?alt=media",
            f"/storage/v1/b/{bucket}/o//private%2Fa?alt=media",
            f"/%64ownload/storage/v1/b/{bucket}/o/private%2Fa",
            f"/x/../download/storage/v1/b/{bucket}/o/private%2Fa",
            f"//download/storage/v1/b/{bucket}/o/private%2Fa",
            f"/{bucket}/private/a", f"/{bucket}//private/a",
            f"/{bucket}/%70rivate/a", f"/{bucket}/private%2Fa",
            f"//{bucket}/private/a", f"/{bucket}/./private/a",
            f"//b/{bucket}/o/private%2Fa?alt=media",
            f"/%62/{bucket}/o/private%2Fa?alt=media"):
        response = server.get(target)
        assert response.status >= 400, target
        assert b"SECRET" not in response.body


def test_methods_bound_what_is_done_however_it_is_asked(front, emulator,
                                                        bucket):
    emulator.put_object(bucket, "a", b"SECRET")
    body = part({"name": "x"})
    kind = {"Content-Type": "multipart/related; boundary=b"}
    reads = [("GET", f"/b/{bucket}/o/a?alt=media"), ("GET", f"/{bucket}/a"),
             ("GET", f"/b/{bucket}/o"), ("GET", f"/b/{bucket}"),
             ("GET", f"/{bucket}"), ("GET", f"/b/{bucket}/o/a"),
             ("GET", f"/b/{bucket}/storageLayout")]
    writes = [("POST", f"{UPLOAD}?uploadType=media&name=x"),
              ("POST", f"{UPLOAD}?uploadType=multipart"),
              ("POST", f"{UPLOAD}?uploadType=resumable&name=x"),
              ("POST", f"{UPLOAD}?upload_id=x&name=x"),
              ("PUT", f"{UPLOAD}?upload_id=x&name=x"),
              ("DELETE", f"{UPLOAD}?upload_id=x&name=x"),
              ("PUT", f"/{bucket}/x"), ("POST", f"/{bucket}/x?uploads"),
              ("PUT", f"/{bucket}/x?partNumber=1&uploadId=y"),
              ("POST", f"/{bucket}/x?uploadId=y"),
              ("DELETE", f"/{bucket}/x?uploadId=y"),
              ("DELETE", f"/{bucket}/x?upload_id=y"),
              ("GET", f"/{bucket}/x?uploadId=y"),
              ("PATCH", f"/b/{bucket}/o/a"), ("PUT", f"/b/{bucket}/o/a")]
    copies = [("POST", f"/b/{bucket}/o/a/rewriteTo/b/{bucket}/o/x"),
              ("POST", f"/b/{bucket}/o/a/copyTo/b/{bucket}/o/x"),
              ("POST", f"/b/{bucket}/o/x/compose")]
    moves = [("POST", f"/b/{bucket}/o/a/moveTo/o/x")]
    deletes = [("DELETE", f"/b/{bucket}/o/a"), ("DELETE", f"/{bucket}/a"),
               ("DELETE", f"/{bucket}/a?generation=1")]
    for methods, refused in (
            ("GET HEAD", writes + copies + moves + deletes),
            ("PUT", reads + copies + moves + deletes),
            ("DELETE", reads + writes + copies + moves),
            ("GET HEAD PUT", moves + deletes),
            ("PUT DELETE", reads + copies),
            ("GET HEAD DELETE", writes + copies + moves)):
        server = front(methods=methods)
        for method, target in refused:
            response = server.request(method, target, kind,
                                      None if method == "GET" else body)
            assert response.status == 403, (methods, method, target)
            assert b"SECRET" not in response.body
    assert asked(emulator) == []


@pytest.mark.parametrize("conf", [
    "gcs_api on;", "gcs_api on; gcs_buckets test-bucket; gcs_api on;",
    "gcs_api on; gcs_buckets test-bucket; gcs_pass gs://test-bucket/;",
    "gcs_pass gs://test-bucket/; gcs_api on; gcs_buckets test-bucket;",
    "gcs_api on; gcs_buckets test-bucket; proxy_pass http://127.0.0.1;",
    "proxy_pass http://127.0.0.1; gcs_api on; gcs_buckets test-bucket;",
    "gcs_api on; gcs_buckets test-bucket; gcs_mode presign;",
    "gcs_api on; gcs_buckets test-bucket; gcs_takeover storage;",
    "gcs_api on; gcs_buckets test-bucket; gcs_auth signature;",
    "gcs_api on; gcs_buckets test-bucket; proxy_cache z;",
    "gcs_api on; gcs_buckets test-bucket; proxy_store on;",
    "gcs_api on; gcs_buckets test-bucket; proxy_set_header X-Goog-Acl a;",
    "gcs_api on; gcs_buckets test-bucket; proxy_set_body x;",
    "gcs_api on; gcs_buckets test-bucket; proxy_method DELETE;",
    "gcs_api on; gcs_buckets $host;", "gcs_api on; gcs_buckets *;",
    "gcs_api on http://x/; gcs_buckets test-bucket;",
    "gcs_api on javascript:x; gcs_buckets test-bucket;",
    "gcs_api maybe; gcs_buckets test-bucket;",
    "gcs_api on x y; gcs_buckets test-bucket;",
    "if ($http_x) { gcs_api on; }",
    "limit_except GET { gcs_api on; }",
])
def test_what_cannot_work_is_refused_before(conf, nginx, emulator, key_file,
                                            bucket):
    server = nginx("proxy_cache_path %%DIR%%/cache keys_zone=z:1m;" + HTTP,
                   server=f"location / {{ {conf} }}", start=False)
    server.refusal()


def test_it_is_not_handed_down(front, nginx, emulator, bucket):
    server = front(more="location /test-bucket/x { }")
    assert server.get(f"/{bucket}/x").status == 404
    assert asked(emulator) == []


@pytest.mark.parametrize("step", ["head", "body", "answer"])
def test_clients_that_leave_harm_nobody(step, spied, google, bucket):
    server = spied(more="proxy_read_timeout 2s;")
    if step == "answer":
        google.answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json" \
                        b"\r\nContent-Length: 99999\r\n\r\n{\"items\":[" \
                        b"{\"mediaLink\":\"https://stor"
    body = part({"name": "a"}, data="x" * 100_000)
    for target in (f"{UPLOAD}?uploadType=multipart",
                   f"{UPLOAD}?uploadType=media&name=a",
                   f"{UPLOAD}?uploadType=resumable"):
        for length in (len(body), 64):
            with server.connect() as connection:
                connection.send(
                    f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: "
                    "multipart/related; boundary=b\r\nContent-Length: "
                    f"{length}\r\n\r\n".encode())
                if step != "head":
                    connection.send(body[:length // 2])
                if step == "answer":
                    connection.send(body[length // 2:length])
                    time.sleep(.1)
    google.answer = b"HTTP/1.1 204 No\r\n\r\n"
    assert server.get(f"/{bucket}/a").status == 204
    server.expect("upstream")


# how a body comes

def h1(server, method: str, target: str, head: bytes, pieces) -> object:
    with server.connect() as connection:
        connection.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n".encode()
                        + head + b"\r\n")
        for piece in pieces:
            connection.send(piece)
        return connection.response(method)


@pytest.mark.parametrize("more", [
    "client_body_buffer_size 16;", "client_body_buffer_size 1m;",
    "client_body_in_file_only on;", "client_body_in_file_only clean;",
    "client_body_in_single_buffer on; client_body_buffer_size 128;",
    "proxy_request_buffering on;", "proxy_request_buffering off;",
    "proxy_http_version 1.0;", "mirror /mirrored; mirror_request_body on;",
])
def test_a_body_is_what_was_checked_however_it_is_kept(more, spied, google,
                                                       bucket):
    """Byte by byte, in chunks, and with the names and lists of others."""
    google.answer = google.answer.replace(b"\r\n\r\n",
                                          b"\r\nConnection: close\r\n\r\n")
    server = spied(more=more, before="location /mirrored { return 204; }",
                   http="underscores_in_headers on;")
    metadata = '{ "name" : "a" , "bucket":"test-bucket", "contentType":"x/y" }'
    body = part(metadata, data="hello" * 100)
    kind = b"Content-Type: multipart/related; boundary=b\r\n"
    for method, target, body, head in (
            ("POST", f"{UPLOAD}?uploadType=multipart", body, kind),
            ("POST", f"{UPLOAD}?uploadType=resumable", metadata.encode(), b""),
            ("PATCH", f"/b/{bucket}/o/a", metadata.encode(), b"")):
        for pieces, length in (
                ([body[i:i + 7] for i in range(0, len(body), 7)],
                 b"Content-Length: %d\r\n" % len(body)),
                ([b"1\r\n%c\r\n" % byte for byte in body] + [b"0\r\n\r\n"],
                 b"Transfer-Encoding: chunked\r\n"),
                ([body[:len(body) // 2], body[len(body) // 2:]],
                 b"Content-Length: %d\r\n" % len(body))):
            response = h1(server, method, target, head + length, pieces)
            assert response.status == 200, response.body
            sent = google.requests[-1]
            assert b"\r\n\r\n" in sent
            assert len(re.findall(rb"(?i)content-length|transfer-encoding",
                                  sent.split(b"\r\n\r\n")[0])) == 1
            assert b'{"name":"a","bucket":"test-bucket","contentType":"x/y"}' \
                in sent
            assert metadata.encode() not in sent
            if head:
                assert sent.endswith(body[body.index(b"Content-Type: text"):])


def test_a_small_list_of_metadata_in_a_large_body(spied, google, bucket):
    """The end of the metadata stands across all borders of buffers."""
    server = spied(more="client_body_buffer_size 1k;")
    for size in (*range(850, 1100, 7), 65_300, 65_400):
        body = part({"name": "a", "metadata": {"k": "v" * size}})
        assert multipart(server, bucket, body).status == 200
        sent = google.requests[-1].partition(b"\r\n\r\n")[2]
        assert len(sent) == len(body)
        assert sent.count(b"v" * size) == 1
        assert sent.endswith(b"hello\r\n--b--\r\n")


@pytest.mark.parametrize("answer", [
    b"", b"HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Le",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nContent-Type: "
    b"application/json\r\n\r\n{\"mediaLink\": \"https://storage.goog",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: "
    b"application/json\r\n\r\n9\r\n{\"items\":\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    b"{\"selfLink\":\"https://storage.googleapis.co",
    b"HTTP/1.1 308 R\r\nRange: bytes=0-1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 204 N\r\nContent-Type: application/json\r\n\r\n",
    b"HTTP/1.1 304 N\r\nContent-Type: application/json\r\n\r\n",
    b"HTTP/1.1 401 U\r\nContent-Length: 99\r\n\r\nx",
    b"HTTP/1.1 401 U\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 F\r\nLocation: https://evil.test/\r\nContent-Length: 0"
    b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /other-bucket/secret\r\n"
    b"Content-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    b"1200\r\n\r\n" + b"[" * 600 + b"]" * 600,
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    b"1200\r\n\r\n" + b"]" * 600 + b"{" * 600,
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: "
    b"gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00",
])
def test_nothing_that_google_answers_ends_nginx(answer, spied, google,
                                                bucket):
    server = spied(more="proxy_read_timeout 1s;")
    google.answer = answer
    worker = server.children()
    for method, target, body in (
            ("GET", f"/b/{bucket}/o", None), ("HEAD", f"/{bucket}/a", None),
            ("GET", f"/b/{bucket}/o/a?alt=media", None),
            ("PUT", f"/{bucket}/a", b"x" * 100_000),
            ("POST", f"{UPLOAD}?uploadType=multipart", part({"name": "a"})),
            ("PUT", f"{UPLOAD}?upload_id=x&name=a", b"x")):
        with server.connect() as connection:
            connection.send(
                f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Type: "
                "multipart/related; boundary=b\r\nConnection: close\r\n"
                f"Content-Length: {len(body or b'')}\r\n\r\n".encode()
                + (body or b""))
            connection.sock.settimeout(5)
            data = b""
            try:
                while piece := connection.sock.recv(65536):
                    data += piece
            except OSError:
                pass
            assert b"secret" not in data
            assert b"ya29" not in data
    assert server.children() == worker
    server.expect("upstream|gcs")


def test_a_client_of_http2_is_checked_likewise(spied, google, bucket,
                                               tmp_path):
    """It need not say how long its body is, and its host is elsewhere."""
    server = spied()
    text = server._template.replace("listen 127.0.0.1:%%PORT%%",
                                    "listen 127.0.0.1:%%PORT_H2%% http2;"
                                    "listen 127.0.0.1:%%PORT%%")
    server._template = text
    server._write()
    server.reload()

    def ask(target, *more):
        return subprocess.run(
            ["curl", "-s", "-m", "20", "--http2-prior-knowledge", "-w",
             "\n%{http_code}", "-D", "-", *more,
             f"http://127.0.0.1:{server.ports['PORT_H2']}{target}"],
            capture_output=True).stdout
    file = tmp_path / "body"
    file.write_bytes(part({"name": "a"}))
    kind = "Content-Type: multipart/related; boundary=b"
    told = ask(f"{UPLOAD}?uploadType=multipart", "-X", "POST", "-H", kind,
               "-T", str(file))
    assert told.endswith(b"200"), told
    assert b"uploadType=multipart&name=a " in google.requests[-1]
    file.write_bytes(part({"name": "a", "acl": []}))
    before = len(google.requests)
    with open(file, "rb") as stdin:
        told = subprocess.run(
            ["curl", "-s", "-m", "20", "--http2-prior-knowledge", "-w",
             "\n%{http_code}", "-X", "POST", "-H", kind, "-T", "-",
             f"http://127.0.0.1:{server.ports['PORT_H2']}{UPLOAD}"
             "?uploadType=multipart"], stdin=stdin,
            capture_output=True).stdout
    assert told.endswith(b"403"), told
    assert len(google.requests) == before
    for header in ("X-Goog-Acl: public-read", "X-HTTP-Method-Override: x"):
        assert ask(f"/{bucket}/a", "-X", "PUT", "-H",
                   header).endswith(b"403")
    google.answer = google.answer.replace(b"{}", b"").replace(
        b"Length: 2", b"Length: 0").replace(
        b"\r\n\r\n", b"\r\nLocation: https://storage.googleapis.com/u?"
        b"upload_id=z\r\n\r\n")
    told = ask(f"{UPLOAD}?uploadType=resumable&name=a", "-X", "POST", "-H",
               "Host: gateway.test:81", "-d", "{}")
    assert b"http://gateway.test:81/u?upload_id=z" in told, told


def test_clients_that_leave_while_a_token_is_awaited(front, emulator, bucket):
    """With a body that has been read, made anew, and is not sent."""
    emulator.fault(kind="token", hang=True, count=None)
    server = front(more="gcs_token_timeout 2s;")
    worker = server.children()
    for target in (f"{UPLOAD}?uploadType=multipart",
                   f"{UPLOAD}?uploadType=media&name=a",
                   f"/b/{bucket}/o/a/copyTo/b/{bucket}/o/b"):
        body = part({"name": "a"}, data="x" * 50_000)
        if "copyTo" in target:
            body = b"{}"
        with server.connect() as connection:
            connection.send(
                f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: "
                "multipart/related; boundary=b\r\nContent-Length: "
                f"{len(body)}\r\n\r\n".encode() + body)
            time.sleep(.1)
    time.sleep(.2)
    assert asked(emulator) == []
    assert server.children() == worker
    server.expect("token")


def test_deep_metadata_is_a_matter_of_depth_not_of_luck(spied, google,
                                                        bucket):
    server = spied()
    for depth in (10, 100, 1000, 2040, 2048, 2049, 5000, 10_000):
        for opening, closing in (('{"a":', "}"), ("[", "]")):
            body = ('{"metadata":' + opening * depth + "1" + closing * depth
                    + "}").encode()
            response = server.request("PATCH", f"/b/{bucket}/o/a", {}, body)
            assert response.status == (200 if depth < 2046 else 400), depth


def test_who_may_read_a_bucket_is_not_told(spied, google, bucket):
    """The default of Google's is to leave it out."""
    server = spied()
    server.get(f"/storage/v1/b/{bucket}?projection=full")
    assert b"projection=full" not in google.requests[-1]


def test_a_multipart_body_without_metadata_is_understood(spied, google,
                                                         bucket):
    body = b"--b\r\nContent-Type: application/json\r\n\r\n" \
           b"--b\r\nContent-Type: text/x\r\n\r\nhello\r\n--b--\r\n"
    response = multipart(spied(), bucket, body, query="&name=a")
    assert response.status in (200, 400)


def test_a_page_of_the_same_origin_may_write(front, emulator, bucket):
    server = front()
    for headers in ({"Origin": f"http://127.0.0.1:{server.port}"},
                    {"Origin": f"https://127.0.0.1:{server.port}"},
                    {"Sec-Fetch-Site": "same-origin"},
                    {"Sec-Fetch-Site": "none"}, {}):
        assert server.request("PUT", f"/{bucket}/a", headers,
                              b"x").status == 200
    for origin in ("http://127.0.0.1", f"http://127.0.0.1:{server.port}0",
                   f"http://127.0.0.1:{server.port}/", "http://", "", "null",
                   f"127.0.0.1:{server.port}",
                   f"http://x127.0.0.1:{server.port}"):
        assert server.request("PUT", f"/{bucket}/a", {"Origin": origin},
                              b"x").status == 403, origin


def test_a_copy_has_a_source_with_a_bucket(front, emulator, bucket):
    for source in ("/o/secret", "//o/secret", "///o/secret"):
        response = front().request(
            "POST", f"/storage/v1/b{source}/rewriteTo/b/{bucket}/o/x")
        assert 400 <= response.status < 500
    assert asked(emulator) == []

"""``gcs_api``: Google's own client for Python, with no credential of its own,
through nginx; and what of each request reaches Google."""

from __future__ import annotations

import json
import re

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as google

HTTP = """
    gcs_credentials writer { file %%KEY%%; }
    gcs_auth writer;
    gcs_endpoint %%EMULATOR%%;
    client_max_body_size 100m;
"""
LOCATION = """location / { gcs_api on; gcs_buckets %s;
                          gcs_methods GET HEAD PUT DELETE; %s }"""


@pytest.fixture
def front(nginx, emulator, key_file, bucket):
    """With an account that may write."""
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin", "legacyBucketReader"]}))

    def make(buckets: str = bucket, more: str = "", **kw):
        return nginx(HTTP, server=LOCATION % (buckets, more), **kw)

    return make


def client(server) -> google.Client:
    return google.Client(
        project="p", credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"http://127.0.0.1:{server.port}"})


def sent(record) -> dict[str, str]:
    return {name.lower(): value for name, value in record["headers"]}


def asked(emulator) -> list[str]:
    return [f"{record['method']} {record['target']}"
            for record in emulator.requests("storage")]


def last(emulator):
    return emulator.requests("storage")[-1]


def error(response) -> tuple[int, str, str]:
    """Of an error in the form of the JSON API."""
    assert response.get("Content-Type") == "application/json; charset=UTF-8"
    told = response.json()["error"]
    (detail,) = told["errors"]
    assert told["code"] == response.status
    assert detail["domain"] == "global"
    assert detail["message"] == told["message"]
    assert told["message"].startswith("nginx: ")
    return (response.status, detail["reason"],
            told["message"].removeprefix("nginx: "))


def xml_error(response) -> tuple[int, str, str]:
    assert response.get("Content-Type") == "application/xml; charset=UTF-8"
    code, message = re.fullmatch(
        r"<\?xml version='1.0' encoding='UTF-8'\?><Error><Code>(\w+)</Code>"
        r"<Message>nginx: (.*)</Message></Error>", response.text).groups()
    return response.status, code, message


# the client of Google's

def test_a_client_without_a_credential_reads_and_writes(front, bucket):
    b = client(front()).get_bucket(bucket)
    b.blob("a/b c.txt").upload_from_string(b"hello", "text/x-test")
    assert [blob.name for blob in b.list_blobs(prefix="a/")] == ["a/b c.txt"]
    blob = b.get_blob("a/b c.txt")
    assert blob.content_type == "text/x-test"
    assert blob.download_as_bytes() == b"hello"
    blob.delete()
    assert b.get_blob("a/b c.txt") is None


def test_a_resumable_upload_goes_through_nginx(front, emulator, bucket):
    server = front()
    data = bytes(range(256)) * 36 * 1024
    blob = client(server).bucket(bucket).blob("big/ö.bin",
                                              chunk_size=4 << 20)
    blob.upload_from_string(data, if_generation_match=0)
    assert emulator.get_object(bucket, "big/ö.bin")["data"] == data
    records = [record for record in emulator.requests("storage")
               if record["method"] != "GET"]
    assert [record["method"] for record in records] == ["POST", "PUT", "PUT",
                                                        "PUT"]
    # the session's address is its key, our token is for what needs one
    assert ["authorization" in sent(record) for record in records] == [
        True, False, False, False]
    # and a secret: it opens the bucket for writing to whoever reads it
    (key,) = set(re.findall(r"upload_id=([\w-]+)",
                            last(emulator)["target"]))
    assert key not in server.access_log() and key not in server.log()


def test_links_in_answers_lead_back_to_nginx(front, emulator, bucket):
    server = front()
    emulator.put_object(bucket, "a b/c.txt", b"hello")
    here = f"http://127.0.0.1:{server.port}"
    told = server.get(f"/storage/v1/b/{bucket}/o/a%20b%2Fc.txt").json()
    assert told["selfLink"].startswith(f"{here}/storage/v1/b/{bucket}/o/a")
    assert told["mediaLink"].startswith(f"{here}/download/storage/v1/b/")
    listed = server.get(f"/storage/v1/b/{bucket}/o").json()["items"]
    assert [item["mediaLink"] for item in listed] == [told["mediaLink"]]
    got = server.get(told["mediaLink"].removeprefix(here))
    assert (got.status, got.body) == (200, b"hello")


def test_a_client_is_told_what_is_not_allowed(front, emulator, bucket):
    emulator.create_bucket("other-bucket")
    c = client(front(more="limit_except GET { deny all; }"))
    with pytest.raises(exceptions.Forbidden, match="gcs_buckets"):
        c.get_bucket("other-bucket")
    with pytest.raises(exceptions.Forbidden, match="neither listed nor made"):
        list(c.list_buckets())
    with pytest.raises(exceptions.Forbidden, match="not allowed by this"):
        c.bucket(bucket).blob("a").upload_from_string("x")
    # the client looks whether its own bucket is there, by itself
    assert all(record["method"] == "GET" and f"/b/{bucket}?" in
               record["target"] for record in emulator.requests("storage"))


def test_gcs_methods_is_about_what_is_done(front, nginx, emulator, bucket):
    emulator.put_object(bucket, "a", b"hello")
    front()
    b = client(nginx(HTTP, server=f"""
        location / {{ gcs_api on; gcs_buckets {bucket}; }}
    """)).bucket(bucket)
    assert b.blob("a").download_as_bytes() == b"hello"
    for write in (lambda: b.blob("b").upload_from_string("x"),
                  lambda: b.blob("a").patch(),
                  lambda: b.copy_blob(b.blob("a"), b, "b"),
                  lambda: b.blob("b").compose([b.blob("a")])):
        with pytest.raises(exceptions.Forbidden, match="writing is not"):
            write()
    with pytest.raises(exceptions.Forbidden, match="deleting is not"):
        b.blob("a").delete()
    assert {record["method"] for record in emulator.requests("storage")} == {
        "GET"}


# what reaches Google

def test_only_what_is_known_is_sent(front, emulator, bucket):
    generation = emulator.put_object(bucket, "a", b"hello")["generation"]
    server = front()
    response = server.get(f"/storage/v1/b/{bucket}/o/a?alt=media", {
        "Authorization": "Bearer theirs", "Cookie": "a=b", "Origin": "http://x",
        "X-Goog-User-Project": "theirs", "X-Goog-Api-Key": "theirs",
        "X-Forwarded-For": "1.2.3.4", "Referer": "http://x/", "Pragma": "x",
        "User-Agent": "theirs/1", "X-Goog-Api-Client": "gl-python/3",
        "Accept": "*/*", "Accept-Encoding": "gzip", "Range": "bytes=1-2",
        "X-Goog-If-Generation-Match": str(generation),
        "Content-Type": "text/x"})
    assert (response.status, response.body) == (206, b"el")
    headers = sent(last(emulator))
    assert headers.pop("authorization").startswith("Bearer ya29")
    assert headers.pop("host")
    assert headers == {
        "user-agent": "theirs/1", "x-goog-api-client": "gl-python/3",
        "accept": "*/*", "accept-encoding": "gzip", "range": "bytes=1-2",
        "x-goog-if-generation-match": str(generation)}


TARGETS = {
    "/b/{b}": "/storage/v1/b/{b}",
    "/b/{b}/o?": "/storage/v1/b/{b}/o",
    "/b/{b}/o/a?key=AIza&alt=json": "/storage/v1/b/{b}/o/a?alt=json",
    "/storage/v1/b/{b}/o/%61?fields=name%2Csize":
        "/storage/v1/b/{b}/o/a?fields=name%2Csize",
    "/storage/v1/b/{b}/o?prefix=a+b%2f&delimiter=/&pageToken=":
        "/storage/v1/b/{b}/o?prefix=a%20b%2F&delimiter=%2F&pageToken=",
    "/download/storage/v1/b/{b}/o/a": "/download/storage/v1/b/{b}/o/a"
                                      "?alt=media",
    "/download/b/{b}/o/a?alt=media": "/download/storage/v1/b/{b}/o/a"
                                     "?alt=media",
    "/storage/v1/b/{b}/iam/testPermissions?permissions=a&permissions=b":
        "/storage/v1/b/{b}/iam/testPermissions?permissions=a&permissions=b",
    "/{b}/a": "/{b}/a",
    "/{b}/x%2Fy%20z+1": "/{b}/x/y%20z%2B1",
    "/{b}?prefix=a&list-type=2": "/{b}?prefix=a&list-type=2",
}


@pytest.mark.parametrize("target", TARGETS)
def test_the_address_is_made_anew(target, front, emulator, bucket):
    emulator.put_object(bucket, "a", b"hello")
    front().get(target.format(b=bucket))
    assert asked(emulator) == [
        "GET " + TARGETS[target].format(b=bucket)]


REFUSED = {
    "GET /storage/v1/b?project=p": "neither listed nor made",
    "POST /storage/v1/b?project=p": "neither listed nor made",
    "DELETE /storage/v1/b/{b}": "not among",
    "PATCH /storage/v1/b/{b}": "not among",
    "GET /storage/v1/b/{b}/iam": "not among",
    "PUT /storage/v1/b/{b}/iam": "not among",
    "GET /storage/v1/b/{b}/acl": "not among",
    "POST /storage/v1/b/{b}/o/a/acl": "not among",
    "GET /storage/v1/b/{b}/o/a/b": "not among",
    "POST /storage/v1/b/{b}/o": "not among",
    "POST /storage/v1/b/{b}/o/a/restore?generation=1": "not among",
    "GET /storage/v1/b/{b}/notificationConfigs": "not among",
    "GET /storage/v1/projects/p/hmacKeys": "not among",
    "GET /storage/v1/projects/p/serviceAccount": "not among",
    "POST /batch/storage/v1": "not among",
    "POST /storage/v1/channels/stop": "not among",
    "GET /storage/v1/b/other-bucket": "gcs_buckets",
    "GET /storage/v1/b/{b}/o/a?access_token=x": "credential in the query",
    "GET /storage/v1/b/{b}/o/a?X-Goog-Signature=x": "signed URL",
    "GET /storage/v1/b/{b}/o/a?unheard=of": "does not know",
    "GET /storage/v1/b/{b}/o/a?pageToken=x": "not known of this kind",
    "GET /storage/v1/b/{b}/o/a?userProject=theirs": "gcs_user_project",
    "POST /upload/storage/v1/b/{b}/o?uploadType=media&name=a"
    "&predefinedAcl=publicRead": "who may read",
    "POST /storage/v1/b/{b}/o/a/rewriteTo/b/other-bucket/o/a": "gcs_buckets",
    "POST /storage/v1/b/other-bucket/o/a/rewriteTo/b/{b}/o/a": "gcs_buckets",
}


@pytest.mark.parametrize("request_", REFUSED)
def test_what_is_not_known_is_refused(request_, front, emulator, bucket):
    emulator.create_bucket("other-bucket")
    method, target = request_.format(b=bucket).split(" ", 1)
    status, reason, text = error(front().request(method, target))
    assert (status, reason) == (403, "forbidden")
    assert REFUSED[request_] in text
    assert emulator.requests("storage") == []


REFUSED_XML = {
    "GET /": "neither listed nor made",
    "PUT /{b}": "not among",
    "DELETE /{b}": "not among",
    "GET /{b}?acl": "does not know",
    "GET /{b}?uploads": "not known of this kind",
    "GET /{b}/a?acl": "does not know",
    "PUT /{b}/a?compose": "does not know",
    "POST /{b}/a": "not among",
    "GET /other-bucket/a": "gcs_buckets",
    "GET /other-bucket": "gcs_buckets",
    "GET /{b}/a?Signature=x&GoogleAccessId=y&Expires=1": "signed URL",
    "OPTIONS /{b}/a": "not among",
}


@pytest.mark.parametrize("request_", REFUSED_XML)
def test_it_is_refused_in_xml_likewise(request_, front, emulator, bucket):
    method, target = request_.format(b=bucket).split(" ", 1)
    status, code, text = xml_error(front().request(method, target))
    assert (status, code) == (403, "AccessDenied")
    assert REFUSED_XML[request_] in text
    assert emulator.requests("storage") == []


INVALID = {
    "/storage/v1/b/{b}/o/a?alt=json&alt=media": "twice",
    "/storage/v1/b/{b}/o/a?alt=proto": "form of the answer",
    "/storage/v1/b/{b}/o?alt=media": "only an object",
    "/storage/v1/b/{b}/o/a?%61lt=media": "escape in the name",
    "/storage/v1/b/{b}/o/a?fields=%zz": "malformed escape",
    "/storage/v1/b/{b}/o/a%2F..%2Fb": "segment in path",
    "/storage/v1/b/{b}/o/a%0Ab": "NUL, CR or LF",
    "/storage/v1/b/{b}/o/%ff": "not valid UTF-8",
    "/storage/v1/x/../b/{b}/o/a": "segment in path",
}


@pytest.mark.parametrize("target", INVALID)
def test_what_is_wrong_is_told(target, front, emulator, bucket):
    status, reason, text = error(front().get(target.format(b=bucket)))
    assert (status, reason) == (400, "invalid")
    assert INVALID[target] in text
    assert emulator.requests("storage") == []


HEADERS = {
    "X-Goog-Acl: public-read": "who may read",
    "X-Goog-Grant-Read: x": "who may read",
    "X-Http-Method-Override: DELETE": "request header",
    "X-Goog-Upload-Protocol: resumable": "request header",
    "X-Amz-Copy-Source: /other-bucket/a": "request header",
    "X-Goog-Copy-Source: /other-bucket/a": "gcs_buckets",
    "X-Goog-Object-Lock-Mode: COMPLIANCE": "request header",
    "X-Goog-Copy-Source: /test-bucket/../other-bucket/a": "segment in",
    "X-Goog-Copy-Source: /test-bucket/a%2f%2e%2e%2fb": "segment in",
}


@pytest.mark.parametrize("header", HEADERS)
def test_headers_that_would_do_more_are_refused(header, front, emulator,
                                                bucket):
    name, value = header.split(": ")
    status, _, text = xml_error(front().request(
        "PUT", f"/{bucket}/a", {name: value}, b"x"))
    assert status == (400 if "segment" in text else 403)
    assert HEADERS[header] in text
    assert emulator.requests("storage") == []


# a part of a bucket

def test_a_prefix_bounds_names_and_lists(front, emulator, bucket):
    for name in ("in/a", "in/b", "out/a", "index"):
        emulator.put_object(bucket, name, b"hello")
    server = front(f"{bucket}/in")
    b = client(server).bucket(bucket)
    assert {blob.name for blob in b.list_blobs(prefix="in/")} == {"in/a",
                                                                 "in/b"}
    assert b.blob("in/a").download_as_bytes() == b"hello"
    b.blob("in/c").upload_from_string("x")
    b.blob("in/d").compose([b.blob("in/a"), b.blob("in/b")])
    assert emulator.get_object(bucket, "in/d")["data"] == b"hellohello"
    before = len(asked(emulator))
    for what in (lambda: list(b.list_blobs()),
                 lambda: list(b.list_blobs(prefix="in")),
                 lambda: list(b.list_blobs(prefix="")),
                 lambda: list(b.list_blobs(prefix="in/../out/")),
                 lambda: b.blob("out/a").download_as_bytes(),
                 lambda: b.blob("index").reload(),
                 lambda: b.blob("out/c").upload_from_string("x"),
                 lambda: b.blob("in/../out/c").upload_from_string("x"),
                 lambda: b.blob("out/c", chunk_size=256 * 1024)
                 .upload_from_string("x"),
                 lambda: b.copy_blob(b.blob("out/a"), b, "in/x"),
                 lambda: b.copy_blob(b.blob("in/a"), b, "out/x"),
                 lambda: b.blob("in/x").compose([b.blob("in/a"),
                                                 b.blob("out/a")]),
                 lambda: b.blob("out/a").delete()):
        with pytest.raises(exceptions.GoogleAPIError, match="gcs_buckets"):
            what()
    assert len(asked(emulator)) == before
    assert server.get(f"/{bucket}?prefix=in/").status == 200
    for target in (f"/{bucket}", f"/{bucket}?prefix=out/", f"/{bucket}/out/a"):
        assert xml_error(server.get(target))[0] == 403


# bodies

def part(metadata, boundary: str = "b", eol: str = "\r\n",
         header: str = "Content-Type: application/json", *,
         data: str = "hello") -> bytes:
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    return eol.join([f"--{boundary}", header, "", text, f"--{boundary}",
                     "Content-Type: text/x-test", "", data,
                     f"--{boundary}--", ""]).encode()


def multipart(server, bucket, body: bytes, boundary: str = "b",
              query: str = "", headers=()):
    return server.request(
        "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart"
        + query, {"Content-Type": f"multipart/related; boundary={boundary}",
                  **dict(headers)}, body)


@pytest.mark.parametrize("boundary, eol, header", [
    ("==0==", "\n", "Content-Type: application/json; charset=UTF-8"),
    ("==0==", "\r\n", "content-TYPE:application/json"),
    ("x'()+_,-./:=?y", "\r\n", "Content-Type: application/json"),
])
def test_multipart_bodies_of_all_clients_are_understood(
        boundary, eol, header, front, emulator, bucket):
    server = front()
    response = multipart(server, bucket,
                         part({"name": "ö", "contentType": "text/x-test"},
                              boundary, eol, header), f'"{boundary}"')
    assert response.status == 200, response.body
    stored = emulator.get_object(bucket, "ö")
    assert (stored["data"], stored["content_type"]) == (b"hello",
                                                        "text/x-test")
    assert asked(emulator) == [
        f"POST /upload/storage/v1/b/{bucket}/o?uploadType=multipart"
        "&name=%C3%B6"]


def test_a_boundary_in_single_quotes_is_that_of_apitools(front, emulator,
                                                         bucket):
    assert multipart(front(), bucket, part({"name": "a"}, "==0=="),
                     "'==0=='").status == 200
    assert sent(last(emulator))["content-type"] == \
        'multipart/related; boundary="==0=="'


def test_the_name_in_the_query_comes_first(front, emulator, bucket):
    assert multipart(front(), bucket, part({"name": "other"}),
                     query="&name=a").status == 200
    assert emulator.get_object(bucket, "a")["data"] == b"hello"


METADATA = {
    '{"name":"a","name":"b"}': (400, "not valid JSON"),
    '{"name":"a","acl":[]}': (403, "who may read"),
    '{"name":"a","retention":{"mode":"Locked"}}': (403, "let pass"),
    '{"name":"a","bucket":"other-bucket"}': (400, "another bucket"),
    '{"name":1}': (400, "not a string"),
    '': (400, ""),
    '["name"]': (400, "not an object"),
    '{"name":"a"': (400, "not valid JSON"),
    '{"name":"a\\u0000"}': (400, "not valid JSON"),
    '{"name":"a\\n"}': (400, "NUL, CR or LF"),
    '{}': (400, "without a name"),
    '{"name":""}': (400, "without a name"),
    '{"name":"a/../b"}': (400, "segment in the name"),
    '{"name":"a","metadata":{"b":1e1}}': (400, "exponent"),
}


@pytest.mark.parametrize("metadata", METADATA)
def test_metadata_is_checked_before_google_is_asked(metadata, front, emulator,
                                                    bucket):
    server = front()
    status, expected = METADATA[metadata]
    told = error(server.request(
        "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable",
        {"Content-Type": "application/json"}, metadata.encode()))
    assert told[0] == status and expected in told[2]
    if "exponent" not in expected:
        told = error(multipart(server, bucket, part(metadata)))
        assert told[0] == status and expected in told[2]
    assert emulator.requests("storage") == []


@pytest.mark.parametrize("body", [
    b"", b"x", b"--b", b"--c\r\nContent-Type: application/json\r\n\r\n{}",
    b"--b\r\nContent-Type: application/json\r\n\r\n{\"name\":\"a\"}",
    b"--b\r\nContent-Type: application/json\r\n\r\n{\"name\":\"a\"}\r\n--b--",
    b"--b\r\nContent-Type: text/plain\r\n\r\n{\"name\":\"a\"}\r\n--b\r\n\r\n",
    b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\ne30=\r\n--b\r\n\r\n",
    b"\r\n--b\r\nContent-Type: application/json\r\n\r\n{\"name\":\"a\"}\r\n",
])
def test_malformed_multipart_bodies_are_refused(body, front, emulator,
                                                bucket):
    assert error(multipart(front(), bucket, body))[:2] == (400, "invalid")
    assert emulator.requests("storage") == []


@pytest.mark.parametrize("size", [10, 70_000, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_multipart_bodies_of_any_size(size, chunked, front, emulator, bucket):
    """In memory and in a temporary file."""
    data = "0123456789" * (size // 10)
    body = part({"name": "a", "metadata": {"k": "vä"}}, data=data)
    server = front()
    if chunked:
        with server.connect() as connection:
            connection.send(
                f"POST /upload/storage/v1/b/{bucket}/o?uploadType=multipart "
                "HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                "Content-Type: multipart/related; boundary=b\r\n\r\n".encode()
                + b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 9999]),
                                             body[i:i + 9999])
                           for i in range(0, len(body), 9999))
                + b"0\r\n\r\n")
            assert connection.response("POST").status == 200
    else:
        assert multipart(server, bucket, body).status == 200
    stored = emulator.get_object(bucket, "a")
    assert stored["data"] == data.encode()
    assert stored["metadata"] == {"k": "vä"}


def test_metadata_has_a_limit(front, emulator, bucket):
    server = front()
    much = {"name": "a", "metadata": {"k": "x" * 70_000}}
    for response in (
            multipart(server, bucket, part(much)),
            server.request("PATCH", f"/storage/v1/b/{bucket}/o/a", {},
                           json.dumps(much).encode())):
        assert error(response)[:2] == (413, "uploadTooLarge")
    assert emulator.requests("storage") == []


def test_a_simple_upload_streams(front, emulator, bucket):
    server = front()
    with server.connect() as connection:
        connection.send(
            f"POST /upload/storage/v1/b/{bucket}/o?uploadType=media&name=a+b "
            "HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            "Content-Type: text/x-test\r\n\r\n".encode()
            + b"5\r\nhello\r\n" * 3 + b"0\r\n\r\n")
        assert connection.response("POST").status == 200
    assert emulator.get_object(bucket, "a b")["data"] == b"hello" * 3


# failures

def test_failures_of_nginx_have_googles_form(front, emulator, bucket):
    server = front(more="client_max_body_size 10;")
    assert error(server.request(
        "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name=a",
        {}, b"x" * 11))[:2] == (413, "uploadTooLarge")
    assert xml_error(server.request("PUT", f"/{bucket}/a", {}, b"x" * 11)
                     )[:2] == (413, "EntityTooLarge")


def test_errors_of_google_pass_as_they_are(front, emulator, bucket):
    with pytest.raises(exceptions.NotFound, match="No such object"):
        client(front()).bucket(bucket).blob("none").reload()


# sessions

def start(server, bucket, name: str = "a", headers=()):
    return server.request(
        "POST", f"/resumable/upload/storage/v1/b/{bucket}/o"
        "?uploadType=resumable", dict(headers),
        json.dumps({"name": name}).encode())


def test_the_address_of_a_session_is_that_of_nginx(front, bucket):
    server = front()
    place = start(server, bucket, "a/ö", {"Host": "gateway.test:81"}).get(
        "Location")
    assert re.fullmatch(
        rf"http://gateway\.test:81/upload/storage/v1/b/{bucket}/o"
        r"\?uploadType=resumable&(name=a%2F%C3%B6&)?upload_id=[\w-]+"
        r"(&name=a%2F%C3%B6)?", place), place


def test_gcs_api_may_say_what_address_that_is(front, nginx, bucket, emulator,
                                              key_file):
    front()
    server = nginx(HTTP, server=f"""location / {{
        gcs_api on https://gateway.test; gcs_buckets {bucket};
        gcs_methods GET PUT; }}""")
    assert start(server, bucket).get("Location").startswith(
        "https://gateway.test/upload/")


def test_a_session_is_cancelled(front, bucket):
    server = front()
    place = start(server, bucket).get("Location").split("/", 3)[3]
    assert server.request("DELETE", "/" + place).status == 499
    assert server.request("PUT", "/" + place, {}, b"x").status in (404, 410)

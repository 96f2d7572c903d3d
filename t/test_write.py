"""Writes: what of the client's goes with them, what comes back, and that two
who write the same object do not overwrite each other unknowingly."""

from __future__ import annotations

import base64
import hashlib
import http.client
from concurrent.futures import ThreadPoolExecutor

import pytest

from emulator.objects import crc32c
from harness.nginx import version

HTTP = """
    gcs_credentials writer { file %%KEY%%; }
    gcs_auth writer;
    gcs_endpoint %%EMULATOR%%;
    add_header X-Error $gcs_error always;
"""
LOCATION = """location / { gcs_pass gs://test-bucket/;
                          gcs_methods GET HEAD PUT DELETE; %s }"""
BODY = b"{\"annotation\": 1}"


def storage(emulator):
    return emulator.requests("storage")


def sent(record) -> dict[str, str]:
    return {name.lower(): value for name, value in record["headers"]}


def digest(name: str, data: bytes) -> str:
    raw = hashlib.md5(data).digest() if name == "md5" else crc32c(data)
    return base64.b64encode(raw).decode()


@pytest.fixture
def front(nginx, emulator, key_file, bucket):
    """With an account that may write."""
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin"]}))

    def make(more: str = "", **kw):
        return nginx(HTTP, server=LOCATION % more, **kw)

    return make


def refused(response, status, error):
    assert (response.status, response.get("X-Error")) == (status, error)
    assert b"<center>nginx" in response.body
    assert b"Google" not in response.body and b"<Code>" not in response.body
    return True


# what goes with a write

STORED = {"Content-Type": "text/x-test; charset=utf-8",
          "Content-Encoding": "gzip", "Content-Language": "fr",
          "Content-Disposition": 'attachment; filename="a b.txt"'}

NEVER = {"X-Goog-Acl": "public-read", "X-Goog-Copy-Source": "b/o",
         "X-Goog-User-Project": "p", "X-Goog-Encryption-Key": "k",
         "X-Goog-Resumable": "start", "X-Goog-Metadata-Directive": "COPY",
         "X-Goog-Content-Length-Range": "1,2", "Cookie": "a=b",
         "Authorization": "Basic eDp5", "X-Amz-Acl": "public-read",
         "Content-Location": "/x", "Pragma": "no-cache"}


def test_what_says_how_to_read_the_bytes_is_stored(front, emulator, bucket):
    server = front()
    response = server.request("PUT", "/a", {
        **STORED, **NEVER, "Cache-Control": "public",
        "X-Goog-Meta-Who": "me", "X-Goog-Custom-Time": "2026-01-01T00:00:00Z",
        "X-Goog-Storage-Class": "ARCHIVE"}, BODY)
    assert response.status == 200
    assert set(sent(storage(emulator)[0])) == {
        "host", "user-agent", "authorization", "content-length",
        *(name.lower() for name in STORED)}
    stored = emulator.get_object(bucket, "a")
    assert stored["data"] == BODY
    for name, value in STORED.items():
        assert stored[name.lower().replace("-", "_")] == value


def test_gcs_write_headers_is_the_list(front, emulator, bucket):
    server = front("gcs_write_headers content-TYPE Cache-Control "
                   "X-Goog-Meta-* x-goog-storage-class;")
    response = server.request("PUT", "/a", {
        **STORED, **NEVER, "Cache-Control": "public, max-age=60",
        "X-Goog-Meta-Who": "Zo\u00eb", "x-goog-meta-When": "now",
        "X-Goog-Meta-": "nothing", "X-Goog-Storage-Class": "NEARLINE",
        "X-Goog-Custom-Time": "2026-01-01T00:00:00Z"}, BODY)
    assert response.status == 200
    assert set(sent(storage(emulator)[0])) == {
        "host", "user-agent", "authorization", "content-length",
        "content-type", "cache-control", "x-goog-meta-who",
        "x-goog-meta-when", "x-goog-storage-class"}
    stored = emulator.get_object(bucket, "a")
    assert stored["cache_control"] == "public, max-age=60"
    assert stored["metadata"] == {"who": "Zo\u00eb", "when": "now"}
    assert stored["storage_class"] == "NEARLINE"


def test_headers_to_be_stored_are_found_behind_many_others(
        front, emulator, bucket):
    server = front("gcs_write_headers x-goog-meta-*;")
    headers = {f"X-Other-{number}": "x" for number in range(50)}
    for number in range(50):
        headers[f"x-goog-meta-{number}"] = str(number)
    assert server.request("PUT", "/a", headers, BODY).status == 200
    assert emulator.get_object(bucket, "a")["metadata"] \
        == {str(number): str(number) for number in range(50)}


def test_a_header_without_a_value_says_nothing(front, emulator, bucket):
    assert front().request("PUT", "/a", {"Content-Language": ""},
                           BODY).status == 200
    assert "content-language" not in sent(storage(emulator)[0])


def test_gcs_write_headers_off_stores_bytes_only(front, emulator, bucket):
    server = front("gcs_write_headers off;")
    assert server.request("PUT", "/a", STORED, BODY).status == 200
    assert set(sent(storage(emulator)[0])) == {
        "host", "user-agent", "authorization", "content-length"}


def test_gcs_write_headers_is_inherited_and_replaced(nginx, emulator,
                                                     key_file, bucket):
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin"]}))
    server = nginx(HTTP + "gcs_write_headers x-goog-meta-a;", server="""
        gcs_methods PUT;
        location / { gcs_pass gs://test-bucket/; }
        location /b/ { gcs_pass gs://test-bucket/;
                       gcs_write_headers x-goog-meta-b; }
    """)
    meta = {"x-goog-meta-a": "1", "x-goog-meta-b": "2", "Content-Type": "a/b"}
    server.request("PUT", "/one", meta, BODY)
    server.request("PUT", "/b/two", meta, BODY)
    assert emulator.get_object(bucket, "one")["metadata"] == {"a": "1"}
    assert emulator.get_object(bucket, "two")["metadata"] == {"b": "2"}


@pytest.mark.parametrize("name", [
    "x-goog-acl", "x-goog-*", "x-goog-meta-a*", "*", "Authorization",
    "x-goog-copy-source", "x-goog-meta-", "x-goog-meta-a_b", "content-*",
    "x-goog-hash", "Host", "off Content-Type"])
def test_nothing_else_can_be_listed_in_gcs_write_headers(front, name):
    said = front("gcs_write_headers %s;" % name, start=False).refusal()
    assert 'invalid header name' in said
    assert '"gcs_write_headers"' in said


def test_what_gcs_set_header_sets_is_not_the_client_s(front, emulator, bucket):
    """A location where nothing can be overwritten."""
    server = front("""gcs_write_headers x-goog-meta-*;
                      gcs_set_header X-Goog-If-Generation-Match 0;
                      gcs_set_header x-goog-meta-who $remote_addr;""")
    ask = {"X-Goog-Meta-Who": "somebody else", "X-Goog-Meta-Why": "so"}
    assert server.request("PUT", "/a", ask, BODY).status == 200
    assert emulator.get_object(bucket, "a")["metadata"] == {
        "who": "127.0.0.1", "why": "so"}
    generation = str(emulator.get_object(bucket, "a")["generation"])
    for condition in ({}, {"x-goog-if-generation-match": generation},
                      {"If-None-Match": "*"}):
        answer = server.request("PUT", "/a", {**ask, **condition}, b"other")
        assert refused(answer, 412, "PreconditionFailed")
    assert emulator.get_object(bucket, "a")["data"] == BODY


@pytest.mark.parametrize("bad", ["\x01", "a\x1bb", "\x7f"])
def test_a_control_character_in_a_header_is_400(front, emulator, bad):
    server = front("gcs_write_headers x-goog-meta-*;")
    assert refused(server.request("PUT", "/a", {"x-goog-meta-a": bad}, BODY),
                   400, "invalid_header")
    assert storage(emulator) == []


def test_metadata_that_is_too_large_is_400(front, emulator):
    server = front("gcs_write_headers x-goog-meta-*;")
    meta = {"x-goog-meta-%d" % i: "x" * 3000 for i in range(3)}
    assert refused(server.request("PUT", "/a", meta, BODY), 400,
                   "MetadataTooLarge")


def test_reads_carry_none_of_it(front, emulator, bucket):
    emulator.put_object(bucket, "a", BODY)
    server = front("gcs_write_headers content-type x-goog-meta-*;")
    for method in ("GET", "HEAD", "DELETE"):
        assert server.request(method, "/a", {
            **STORED, "x-goog-meta-a": "b", "x-goog-hash": "crc32c=AAAAAA==",
            "Content-MD5": "x"}).status in (200, 204)
    for record in storage(emulator):
        assert set(sent(record)) <= {"host", "user-agent", "authorization"}


def test_a_put_carries_neither_range_nor_conditions_of_reads(front, emulator):
    server = front()
    assert server.request("PUT", "/a", {
        "Range": "bytes=0-1", "If-Range": '"x"',
        "If-Modified-Since": "Mon, 28 Sep 1970 06:00:00 GMT"},
        BODY).status == 200
    assert set(sent(storage(emulator)[0])) == {
        "host", "user-agent", "authorization", "content-length"}


# checksums

@pytest.mark.parametrize("form", ["crc32c", "md5", "both", "lines",
                                  "content-md5"])
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_gcs_verifies_the_client_s_checksum(form, right, front, emulator,
                                            bucket):
    data = BODY if right else BODY + b" "
    crc = "crc32c=" + digest("crc32c", data)
    md5 = "md5=" + digest("md5", data)
    headers = {"crc32c": [("x-goog-hash", crc)],
               "md5": [("X-Goog-Hash", md5)],
               "both": [("x-goog-hash", f"{crc},{md5}")],
               "lines": [("x-goog-hash", crc), ("x-goog-hash", md5)],
               "content-md5": [("Content-MD5", digest("md5", data))]}[form]
    server = front()
    response = server.request("PUT", "/a", headers, BODY)
    if right:
        assert response.status == 200
        assert emulator.get_object(bucket, "a")["data"] == BODY
        return
    assert refused(response, 400, "BadDigest")
    assert server.get("/a").status == 404
    assert not server.lines("error", "BadDigest")
    assert server.lines("info", 'gcs responded 400 "BadDigest"')


def test_a_checksum_that_is_none_is_400(front, emulator):
    server = front()
    for value in ("crc32c=x", "md5=AAAAAA==", "sha=AAAA"):
        assert refused(server.request("PUT", "/a", {"x-goog-hash": value},
                                      BODY), 400, "InvalidDigest")


# preconditions

def test_the_generation_is_told_and_is_the_condition_of_the_next_write(
        front, emulator, bucket):
    server = front()
    first = server.request("PUT", "/a", {"If-None-Match": "*"}, b"one")
    assert first.status == 200
    assert sent(storage(emulator)[0])["x-goog-if-generation-match"] == "0"
    assert "if-none-match" not in sent(storage(emulator)[0])
    generation = first.get("x-goog-generation")
    assert generation == str(emulator.get_object(bucket, "a")["generation"])
    assert first.get("ETag")
    assert {n for n in first.names if n.startswith("x-g")} == {
        "x-goog-generation"}

    assert refused(server.request("PUT", "/a", {"If-None-Match": "*"},
                                  b"two"), 412, "PreconditionFailed")
    condition = {"X-Goog-If-Generation-Match": generation}
    second = server.request("PUT", "/a", condition, b"three")
    assert second.status == 200
    assert second.get("x-goog-generation") != generation
    assert refused(server.request("PUT", "/a", condition, b"four"), 412,
                   "PreconditionFailed")
    assert refused(server.request("DELETE", "/a", condition), 412,
                   "PreconditionFailed")
    assert emulator.get_object(bucket, "a")["data"] == b"three"
    assert server.request("DELETE", "/a", {
        "x-goog-if-generation-match": second.get("x-goog-generation"),
        "x-goog-if-metageneration-match": "1"}).status == 204


def test_of_two_writers_with_a_condition_one_wins(front, emulator, bucket):
    server = front(workers=2)
    generation = server.request("PUT", "/a", {}, b"start").get(
        "x-goog-generation")
    bodies = [b"writer %d " % i * 9000 for i in range(8)]

    def write(body):
        return server.request(
            "PUT", "/a", {"x-goog-if-generation-match": generation}, body)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(write, bodies))
    assert sorted(a.status for a in answers) == [200] + [412] * 7
    winner, = [b for a, b in zip(answers, bodies) if a.status == 200]
    assert emulator.get_object(bucket, "a")["data"] == winner


def test_reads_obey_generations(front, emulator, bucket):
    item = emulator.put_object(bucket, "a", BODY)
    server = front()
    right, wrong = str(item["generation"]), "5"
    for method in ("GET", "HEAD"):
        for name, good in (("x-goog-if-generation-match", right),
                           ("x-goog-if-metageneration-match", "1")):
            assert server.request(method, "/a", {name: good}).status == 200
            answer = server.request(method, "/a", {name: wrong})
            assert answer.status == 412
            assert answer.get("X-Error") in ("PreconditionFailed",
                                             "http_412")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("headers", [
    {"If-Match": '"abc"'}, {"If-Match": "*"}, {"If-None-Match": '"abc"'},
    {"If-None-Match": '*, "abc"'},
    {"If-Unmodified-Since": "Mon, 28 Sep 2026 06:00:00 GMT"}], ids=str)
def test_a_write_with_a_condition_that_gcs_ignores_is_refused(
        method, headers, front, emulator, bucket):
    """Without the condition it would overwrite what was not seen."""
    emulator.put_object(bucket, "a", BODY)
    server = front()
    assert refused(server.request(method, "/a", headers, b"x"), 400,
                   "unsupported_condition")
    assert storage(emulator) == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("headers", [
    [("x-goog-if-generation-match", "abc")],
    [("x-goog-if-generation-match", "-1")],
    [("x-goog-if-generation-match", "1" * 20)],
    [("x-goog-if-generation-match", "1, 2")],
    [("x-goog-if-generation-match", "1"),
     ("x-goog-if-generation-match", "1")],
    [("x-goog-if-metageneration-match", "1x")]], ids=str)
def test_a_generation_that_is_none_is_400(method, headers, front, emulator,
                                          bucket):
    emulator.put_object(bucket, "a", BODY)
    assert refused(front().request(method, "/a", headers), 400,
                   "invalid_condition")
    assert storage(emulator) == []


def test_two_conditions_on_the_generation_are_400(front, emulator):
    assert refused(front().request("PUT", "/a", {
        "If-None-Match": "*", "x-goog-if-generation-match": "7"}, BODY),
        400, "invalid_condition")
    assert storage(emulator) == []


def test_a_part_does_not_replace_the_whole(front, emulator, bucket):
    emulator.put_object(bucket, "a", BODY)
    server = front()
    assert refused(server.request("PUT", "/a", {
        "Content-Range": "bytes 0-1/18"}, b"xx"), 400, "partial_write")
    assert storage(emulator) == []


# gcs_pass_header

def item_with_everything(emulator, bucket):
    return emulator.put_object(bucket, "a", BODY, metadata={
        "who": "me", "why": "so"}, content_type="text/plain")


def google(response) -> set[str]:
    return {n for n in response.names if n.startswith("x-g")}


def test_gcs_pass_header_lets_what_it_names_pass(front, emulator, bucket):
    item = item_with_everything(emulator, bucket)
    server = front("gcs_pass_header X-Goog-Generation x-goog-meta-who "
                   "x-goog-stored-content-*;")
    for method, headers in (("GET", {}), ("HEAD", {}),
                            ("GET", {"Range": "bytes=0-3"})):
        answer = server.request(method, "/a", headers)
        assert google(answer) == {
            "x-goog-generation", "x-goog-meta-who",
            "x-goog-stored-content-encoding", "x-goog-stored-content-length"}
        assert answer.get("x-goog-generation") == str(item["generation"])
        assert answer.get("x-goog-meta-who") == "me"


def test_gcs_pass_header_of_all_that_can_be_named(front, emulator, bucket):
    item_with_everything(emulator, bucket)
    server = front("gcs_pass_header x-goog-generation x-goog-metageneration "
                   "x-goog-hash x-goog-meta-* x-goog-storage-class "
                   "x-goog-custom-time x-goog-stored-content-encoding;")
    answer = server.get("/a")
    assert google(answer) == {
        "x-goog-generation", "x-goog-metageneration", "x-goog-hash",
        "x-goog-meta-who", "x-goog-meta-why", "x-goog-storage-class",
        "x-goog-stored-content-encoding"}
    assert answer.all("x-goog-hash") == [
        "crc32c=" + digest("crc32c", BODY), "md5=" + digest("md5", BODY)]
    answer = server.request("PUT", "/b", {}, BODY)
    assert google(answer) == {
        "x-goog-generation", "x-goog-metageneration", "x-goog-hash",
        "x-goog-stored-content-encoding"}


def test_without_gcs_pass_header_reads_tell_nothing(nginx, emulator,
                                                    key_file, bucket):
    item_with_everything(emulator, bucket)
    server = nginx(HTTP + "gcs_pass_header x-goog-hash;", server="""
        location /some/ { gcs_pass gs://test-bucket/; }
        location /none/ { gcs_pass gs://test-bucket/; gcs_pass_header off; }
    """)
    assert google(server.get("/some/a")) == {"x-goog-hash"}
    assert google(server.get("/none/a")) == set()


@pytest.mark.parametrize("name", [
    "x-guploader-uploadid", "x-goog-*", "Server", "Set-Cookie", "*",
    "x-goog-encryption-key-sha256", "Access-Control-Allow-Origin"])
def test_nothing_else_can_be_named_in_gcs_pass_header(front, name):
    said = front("gcs_pass_header %s;" % name, start=False).refusal()
    assert "invalid header name" in said and '"gcs_pass_header"' in said


@pytest.mark.parametrize("line", ["gcs_write_headers Content-Type;",
                                  "gcs_pass_header x-goog-hash;"])
def test_names_are_listed_on_one_line(front, line):
    said = front(line + line, start=False).refusal()
    assert f'"{line.split()[0]}" directive is duplicate' in said


# what GCS says of writes

@pytest.mark.parametrize("status,code,answer", [
    (400, "InvalidArgument", 400), (400, "EntityTooLarge", 413),
    (400, "UserProjectMissing", 502), (400, "InvalidBucketName", 502),
    (403, "AccessDenied", 403), (403, "ObjectUnderActiveHold", 403),
    (404, "NoSuchBucket", 404), (405, "MethodNotAllowed", 502),
    (408, "RequestTimeout", 502), (409, "OperationAborted", 409),
    (411, "MissingContentLength", 502), (412, "PreconditionFailed", 412),
    (413, "EntityTooLarge", 413), (416, "InvalidRange", 502),
    (429, "SlowDown", 429), (500, "InternalError", 502),
    (503, "ServiceUnavailable", 503), (504, "GatewayTimeout", 502)])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_refusal_of_gcs_is_told_in_nginx_s_words(
        method, status, code, answer, front, emulator, bucket):
    server = front()
    emulator.put_object(bucket, "a", BODY)
    emulator.fault(kind="storage", status=status, code=code, retry_after=7)
    body = b"x" if method == "PUT" else None
    response = server.request(method, "/a", {}, body)
    assert refused(response, answer, code)
    assert response.get("Retry-After") == (
        "7" if answer in (429, 503) else None)
    assert len(storage(emulator)) == 1, "a write is not repeated"


# repetition

FAULTS = {"503": dict(status=503, code="ServiceUnavailable"),
          "429": dict(status=429, code="SlowDown"),
          "500": dict(status=500, code="InternalError"),
          "reset": dict(reset="before_headers"),
          "garbage": dict(garbage=True)}


@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method,headers", [
    ("PUT", {}), ("PUT", {"If-None-Match": "*"}),
    ("PUT", {"x-goog-if-generation-match": "1"}), ("DELETE", {}),
    ("DELETE", {"x-goog-if-metageneration-match": "1"})], ids=str)
def test_a_write_that_may_have_been_done_is_not_repeated(
        kept, fault, method, headers, front, emulator, bucket):
    emulator.put_object(bucket, "a", BODY)
    server = front()
    if kept:
        assert server.get("/a").status == 200
        emulator.reset_requests()
    emulator.fault(kind="storage", count=None, **FAULTS[fault])
    body = b"x" if method == "PUT" else None
    response = server.request(method, "/a", headers, body)
    assert response.status in (429, 502, 503)
    assert len(storage(emulator)) == 1


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"garbage"}))
def test_a_delete_of_a_generation_is_repeated(fault, front, emulator, bucket):
    item = emulator.put_object(bucket, "a", BODY)
    connection = front().connect()
    assert connection.get("/a").status == 200      # a kept connection
    emulator.reset_requests()
    emulator.fault(kind="storage", **FAULTS[fault])
    response = connection.request("DELETE", "/a", {
        "x-goog-if-generation-match": str(item["generation"])})
    assert response.status == 204
    assert [r["method"] for r in storage(emulator)] == ["DELETE", "DELETE"]
    assert connection.get("/a").status == 404


def test_a_delete_has_no_body(front, emulator, bucket):
    emulator.put_object(bucket, "a", BODY)
    connection = front().connect()
    assert connection.request("DELETE", "/a", {}, b"evil" * 9000).status \
        == 204
    assert storage(emulator)[0]["body_size"] == 0
    assert not {"content-length", "transfer-encoding"} & set(
        sent(storage(emulator)[0]))
    assert connection.get("/a").status == 404


def test_a_put_without_a_body_is_an_empty_object(front, emulator, bucket):
    server = front()
    assert server.request("PUT", "/a").status == 200
    assert emulator.get_object(bucket, "a")["data"] == b""
    assert sent(storage(emulator)[0])["content-length"] == "0"


# other identities, other protocols

@pytest.fixture
def hmac(nginx, emulator, bucket, tmp_path):
    name, secret = emulator.hmac_key(
        "hmac@demo-project.iam.gserviceaccount.com",
        grants={bucket: ["objectAdmin"]})
    path = tmp_path / "secret"
    path.write_text(secret)

    def make(more=""):
        return nginx("""
            gcs_credentials key { hmac_key %%ID%% %%SECRET%%; }
            gcs_auth key;
            gcs_endpoint %%EMULATOR%%;
            add_header X-Error $gcs_error always;
        """, server=LOCATION % more, ID=name, SECRET=path, secrets=[secret])
    return make


@pytest.mark.parametrize("size", [0, 9, 300000])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_hmac_key_signs_what_goes_with_a_write(chunked, size, hmac,
                                                  emulator, bucket):
    server = hmac("gcs_write_headers content-type x-goog-meta-*;")
    body = (b"0123456789" * 30000)[:size]
    headers = [("x-goog-hash", "crc32c=" + digest("crc32c", body)),
               ("x-goog-hash", "md5=" + digest("md5", body)),
               ("x-goog-meta-b", "two  words\t here"),
               ("x-goog-meta-a", "Zo\u00eb"), ("Content-Type", "a/b"),
               ("If-None-Match", "*")]
    data = body
    if chunked:
        headers.append(("Transfer-Encoding", "chunked"))
        data = (b"%x\r\n%b\r\n" % (size, body) if size else b"") \
            + b"0\r\n\r\n"
    answer = server.request("PUT", "/a", headers, data)
    assert answer.status == 200, server.log()
    record, = storage(emulator)
    assert record["credential"] == "valid"
    assert sent(record)["x-goog-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert {"x-goog-hash", "x-goog-meta-a", "x-goog-meta-b",
            "x-goog-if-generation-match"} <= set(record["signed_headers"])
    assert emulator.get_object(bucket, "a")["data"] == body

    generation = answer.get("x-goog-generation")
    assert server.get("/a", {"x-goog-if-generation-match": "1"}).status == 412
    assert server.request("DELETE", "/a", {
        "x-goog-if-generation-match": generation}).status == 204
    assert {r["credential"] for r in storage(emulator)} == {"valid"}


def test_a_wrong_checksum_is_told_with_an_hmac_key_too(hmac, emulator):
    assert refused(hmac().request("PUT", "/a", {
        "x-goog-hash": "crc32c=" + digest("crc32c", b"other")}, BODY),
        400, "BadDigest")


@pytest.mark.skipif(version() < (1, 29, 4), reason="no HTTP/2 to upstreams")
def test_http2_to_gcs_wants_the_names(front):
    said = front("proxy_http_version 2; gcs_write_headers x-goog-meta-*;",
                 start=False).refusal()
    assert "proxy_http_version 2" in said


def test_python_s_own_client_writes_reads_and_deletes(front, emulator,
                                                      bucket):
    """What an application would do, with a client that is not ours."""
    server = front("gcs_pass_header x-goog-generation;")
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    client.request("PUT", "/exports/1.json", iter([b"a" * 70000, b"b" * 5]),
                   {"Content-Type": "application/json"}, encode_chunked=True)
    first = client.getresponse()
    assert (first.status, first.read()) == (200, b"")
    client.request("GET", "/exports/1.json")
    read = client.getresponse()
    assert read.read() == b"a" * 70000 + b"b" * 5
    assert read.headers["Content-Type"] == "application/json"
    generation = read.headers["x-goog-generation"]
    assert generation == first.headers["x-goog-generation"]
    client.request("DELETE", "/exports/1.json", headers={
        "x-goog-if-generation-match": generation})
    gone = client.getresponse()
    assert (gone.status, gone.read()) == (204, b"")
    client.close()


def test_each_given_header_has_a_variable_of_its_own(front):
    """In requests by HTTP/2 each is a header of its own."""
    server = front("gcs_write_headers Content-Type x-goog-meta-*; " + "".join(
        f"add_header X-{name} '<$__gcs_given_{name}>';"
        for name in ("content_type", "x_goog_meta_a_b", "x_goog_meta_a",
                     "x_goog_meta_c")))
    answer = server.request("PUT", "/a", {
        "Content-Type": "text/x", "X-Goog-Meta-A-B": "1",
        "X-Goog-Meta-C": "2", "X-Goog-Meta-A-C": "3"}, BODY)
    assert answer.get("X-content_type") == "<text/x>"
    assert answer.get("X-x_goog_meta_a_b") == "<1>"
    assert answer.get("X-x_goog_meta_a") == "<>"
    assert answer.get("X-x_goog_meta_c") == "<2>"

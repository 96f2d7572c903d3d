"""HTTP/2 to the upstream, which nginx has since 1.29.4.

An nginx in front of the emulator speaks it: prior knowledge, no TLS.
"""

import base64
import hashlib
import json

import pytest

from harness.nginx import version

pytestmark = pytest.mark.skipif(
    version() < (1, 29, 4),
    reason="nginx speaks HTTP/2 to upstreams since 1.29.4")

CONF = """
    gcs_credentials reader { file %%KEY%%; }
    proxy_cache_path %%DIR%%/cache keys_zone=z:1m;

    server {
        listen 127.0.0.1:%%PORT%%;
        gcs_auth reader;
        gcs_endpoint http://127.0.0.1:%%PORT_H2%%;
        proxy_http_version 2;

        location /media/ {
            gcs_pass gs://%%BUCKET%%/;
        }

        location /cached/ {
            gcs_pass gs://%%BUCKET%%/;
            proxy_cache z;
            proxy_cache_valid 200 206 1m;
            proxy_ignore_headers Cache-Control Expires;
            slice 64k;
        }

        location /written/ {
            gcs_pass gs://%%BUCKET%%/;
            gcs_methods GET HEAD PUT DELETE;
            gcs_write_headers Content-Type x-goog-meta-who;
            gcs_pass_header x-goog-meta-*;
            client_max_body_size 0;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_H2%%;
        http2 on;
        keepalive_requests 1000;
        access_log %%DIR%%/h2.log test;

        client_max_body_size 0;

        location / {
            proxy_pass %%EMULATOR%%;
            proxy_request_buffering off;
            proxy_http_version 1.1;
            proxy_set_header Host $proxy_host;
            proxy_pass_request_headers on;
            proxy_set_header Accept-Encoding $http_accept_encoding;
        }
    }
"""


@pytest.fixture
def server(nginx, emulator, bucket, key_file):
    emulator.put_object(bucket, "a.bin", bytes(range(256)) * 1024,
                        content_type="image/png")
    return nginx(CONF)


def test_objects_and_ranges_arrive(server):
    whole = server.get("/media/a.bin")
    assert whole.status == 200
    assert whole.body == bytes(range(256)) * 1024
    assert server.head("/media/a.bin").get("Content-Length") == "262144"

    part = server.get("/media/a.bin", headers={"Range": "bytes=10-19"})
    assert part.status == 206
    assert part.body == bytes(range(10, 20))
    assert server.get("/media/none").status == 404


def test_what_the_client_asks_for_goes_up_as_headers_of_their_own(
        server, emulator, bucket):
    etag = emulator.get_object(bucket, "a.bin")["etag"]
    asked = {
        "Range": "bytes=10-19", "If-Range": etag, "If-Match": etag,
        "If-None-Match": '"x"', "Accept-Encoding": "gzip",
        "If-Modified-Since": "Thu, 01 Jan 2015 00:00:00 GMT",
        "If-Unmodified-Since": "Thu, 01 Jan 2099 00:00:00 GMT"}
    part = server.get("/media/a.bin", headers=asked)
    assert (part.status, part.body) == (206, bytes(range(10, 20)))

    headers = {name.lower(): value for name, value
               in emulator.requests("storage")[-1]["headers"]}
    assert {name.lower(): value for name, value in asked.items()}.items() \
        <= headers.items()
    assert headers["user-agent"].startswith("ngx_gcs_proxy_module/")


def test_the_origin_is_asked_by_http2(server):
    server.get("/media/a.bin")
    assert "HTTP/2.0" in (server.dir / "h2.log").read_text()


def test_a_refused_token_is_replaced(server, emulator):
    assert server.get("/media/a.bin").status == 200
    emulator.revoke_tokens()
    again = server.get("/media/a.bin")
    assert again.status == 200
    assert again.body == bytes(range(256)) * 1024
    assert emulator.counts()["token"] == 2


def test_an_overloaded_gcs_is_asked_again(server, emulator):
    emulator.fault(kind="storage", status=503)
    assert server.get("/media/a.bin").body == bytes(range(256)) * 1024


def test_a_token_that_is_refused_between_slices_is_replaced(server, emulator):
    emulator.fault(kind="storage", status=401, skip=1)
    whole = server.get("/cached/a.bin")
    assert whole.status == 200
    assert whole.body == bytes(range(256)) * 1024


def test_errors_have_the_page_of_nginx(server):
    answer = server.get("/media/a.bin", headers={"Range": "bytes=999999-"})
    assert answer.status == 416
    assert answer.get("Content-Range") == "bytes */262144"
    assert b"nginx" in answer.body


@pytest.fixture
def writable(server, emulator, bucket, key_file):
    emulator.grant(json.loads(key_file.read_text())["client_email"], bucket,
                   ["objectAdmin"])
    return server


@pytest.mark.parametrize("size", [0, 9, 60000, 3 << 20])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_what_is_written_arrives_with_its_headers(chunked, size, writable,
                                                  emulator, bucket):
    body = (b"0123456789" * (size // 10 + 1))[:size]
    headers = {"Content-Type": "a/b", "X-Goog-Meta-Who": "me",
               "X-Goog-Meta-Other": "x", "X-Goog-Acl": "public-read",
               "If-None-Match": "*", "X-Goog-Hash": "md5=" + base64.b64encode(
                   hashlib.md5(body).digest()).decode()}
    data = body
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
        data = (b"%x\r\n%b\r\n" % (size, body) if size else b"") \
            + b"0\r\n\r\n"
    connection = writable.connect()
    answer = connection.request("PUT", "/written/b", headers, data)
    assert answer.status == 200, writable.log()
    assert answer.get("x-goog-generation")
    stored = emulator.get_object(bucket, "b")
    assert (stored["data"], stored["content_type"]) == (body, "a/b")
    assert stored["metadata"] == {"who": "me"}
    assert "HTTP/2.0" in (writable.dir / "h2.log").read_text()

    again = connection.request("PUT", "/written/b", headers, data)
    assert again.status == 412
    generation = {"x-goog-if-generation-match":
                  answer.get("x-goog-generation")}
    read = connection.get("/written/b", generation)
    assert (read.status, read.body) == (200, body)
    assert read.get("x-goog-meta-who") == "me"
    assert connection.get("/written/b", {
        "x-goog-if-generation-match": "7"}).status == 412
    assert connection.request("DELETE", "/written/b", generation).status \
        == 204
    assert connection.get("/written/b").status == 404


def test_a_wrong_checksum_is_told(writable, emulator):
    answer = writable.request("PUT", "/written/b", {
        "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, b"x")
    assert answer.status == 400
    assert writable.get("/written/b").status == 404


@pytest.mark.parametrize("size,status", [(60000, 200), (300000, 502)])
def test_a_body_is_sent_again_if_it_is_still_there(size, status, writable,
                                                   emulator, bucket):
    assert writable.request("PUT", "/written/b", {}, b"x").status == 200
    emulator.revoke_tokens()
    for wanted in (status, 200):
        assert writable.request("PUT", "/written/b", {}, b"y" * size).status \
            == wanted
    assert emulator.get_object(bucket, "b")["size"] == size

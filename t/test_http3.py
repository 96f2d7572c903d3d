"""Clients that speak HTTP/3, on an nginx that does."""

from __future__ import annotations

import time

import pytest

from emulator import certificates
from harness.http3 import fetch
from harness.nginx import _say

pytestmark = pytest.mark.skipif("http_v3_module" not in _say("-V"),
                                reason="no HTTP/3 in this nginx")

# the end of a request is often told in a packet of its own
ENDS = [0, 5]


@pytest.fixture
def serve(nginx, emulator, key_file, bucket, tmp_path):
    emulator.put_object(bucket, "p/a b.txt", b"hello", content_type="text/css")
    ca, pem = certificates.create(str(tmp_path))
    account = tmp_path / "writer.json"
    account.write_text(emulator.service_account(grants={
        bucket: ["objectAdmin"]}))

    def make(inner: str = "", http: str = ""):
        server = nginx(f"""
            gcs_credentials reader {{ file {account}; }}
            gcs_auth reader;
            gcs_endpoint %%EMULATOR%%;
            {http}
            server {{
                listen 127.0.0.1:%%PORT%% quic;
                listen 127.0.0.1:%%PORT%% ssl;
                ssl_certificate {pem};
                ssl_certificate_key {pem};
                ssl_protocols TLSv1.3;
                location /m/ {{ gcs_pass gs://test-bucket/p/; {inner} }}
            }}
        """)
        server.wait_log("token refreshed")
        server.ca = ca
        return server

    return make


@pytest.mark.parametrize("late", ENDS)
@pytest.mark.parametrize("inner", [
    "", "proxy_cache zone; proxy_cache_valid 200 1m;", "slice 2;",
    "gcs_methods GET HEAD PUT;", "gcs_autoindex json;"])
def test_an_object_comes_before_the_request_has_ended(serve, emulator, inner,
                                                      late):
    server = serve(inner, "proxy_cache_path %%DIR%%/cache keys_zone=zone:1m;")
    begun = time.monotonic()

    answer = fetch(server.port, server.ca, "/m/a%20b.txt?x", late=late)

    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.get("content-type") == "text/css"
    if "PUT" not in inner:
        assert time.monotonic() - begun < 5
    assert {record["target"] for record in emulator.requests("storage")} == {
        "/test-bucket/p/a%20b.txt"}
    server.wait_access_log(r'"GET /m/a%20b.txt\?x HTTP/3.0" 200')


@pytest.mark.parametrize("late", ENDS)
def test_a_part_is_a_part(serve, late):
    server = serve()

    answer = fetch(server.port, server.ca, "/m/a%20b.txt", late=late,
                   headers=[("range", "bytes=1-3")])

    assert (answer.status, answer.body) == (206, b"ell")


@pytest.mark.parametrize("late", ENDS)
def test_a_body_that_has_no_use_is_not_sent_on(serve, emulator, late):
    server = serve()

    answer = fetch(server.port, server.ca, "/m/a%20b.txt", late=late,
                   body=b"x" * 100000)

    assert (answer.status, answer.body) == (200, b"hello")
    [record] = emulator.requests("storage")
    assert not record["body_size"]


@pytest.mark.parametrize("late", ENDS)
def test_the_header_of_a_listing_is_that_of_a_get(serve, emulator, late):
    server = serve("gcs_autoindex json;")

    answer = fetch(server.port, server.ca, "/m/", "HEAD", late=late)

    assert (answer.status, answer.body) == (200, b"")
    assert answer.get("content-type") == "application/json"
    assert {record["method"] for record in emulator.requests("storage")} == {
        "GET"}


@pytest.mark.parametrize("late", ENDS)
def test_an_object_is_written(serve, emulator, late):
    server = serve("gcs_methods GET HEAD PUT; client_max_body_size 10m;")
    body = b"0123456789" * 50000

    answer = fetch(server.port, server.ca, "/m/new.bin", "PUT", body=body,
                   late=late, headers=[("content-length", str(len(body)))])

    assert answer.status == 200
    assert emulator.get_object("test-bucket", "p/new.bin")["data"] == body

"""HTTP/2 to the upstream, which nginx has since 1.29.4.

An nginx in front of the emulator speaks it: prior knowledge, no TLS.
"""

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
    }

    server {
        listen 127.0.0.1:%%PORT_H2%%;
        http2 on;
        keepalive_requests 1000;
        access_log %%DIR%%/h2.log test;

        location / {
            proxy_pass %%EMULATOR%%;
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

"""Objects stored with Content-Encoding: gzip: every client gets bytes that
it can read, whoever decompresses them, and never a part of one."""

from __future__ import annotations

import gzip
import random

import pytest

HTTP = """
    gcs_credentials reader { file %%KEY%%; }
    gcs_auth reader;
    gcs_endpoint %%EMULATOR%%;
    proxy_cache_path %%DIR%%/cache keys_zone=one:1m inactive=10m;
"""

CACHE = "proxy_cache one; proxy_cache_valid 200 206 10m;"

# compresses, but to several slices of 4 KiB
PLAIN = random.Random(1).randbytes(20000) + b"plain " * 20000
STORED = gzip.compress(PLAIN, mtime=0)


@pytest.fixture
def front(nginx, emulator, key_file, bucket):
    def make(location="", **kw):
        made = nginx(HTTP, server="""
            location /media/ {
                gcs_pass gs://test-bucket/;
                add_header X-Cache "$upstream_cache_status";
                %s
            }
        """ % location, **kw)
        # with a cache the first request may else ask GCS twice
        made.wait_log("token refreshed")
        return made

    return make


@pytest.fixture
def stored(emulator, bucket):
    """A compressed object at /media/a; the rest of its attributes."""
    def put(data=STORED, **attributes):
        attributes.setdefault("cache_control", "public, max-age=600")
        attributes.setdefault("content_encoding", "gzip")
        attributes.setdefault("content_type", "text/plain")
        emulator.put_object(bucket, "a", data, **attributes)
        return emulator.get_object(bucket, "a")

    return put


def asked(emulator):
    """Accept-Encoding and Range of what GCS was asked."""
    found = []
    for record in emulator.requests("storage"):
        headers = {name.lower(): value for name, value in record["headers"]}
        found.append((headers.get("accept-encoding"), headers.get("range")))
    return found


def is_stored(response, etag=None):
    assert response.status == 200
    assert response.body == STORED
    assert response.get("Content-Encoding") == "gzip"
    assert response.get("Content-Length") == str(len(STORED))
    assert "accept-encoding" in (response.get("Vary") or "").lower()
    if etag:
        assert response.get("ETag") == etag
    return True


def is_plain(response):
    assert response.status == 200
    assert response.body == PLAIN
    assert "content-encoding" not in response.names
    assert "content-range" not in response.names
    # the length and the parts of the stored bytes say nothing of these
    assert response.get("Content-Length") in (None, str(len(PLAIN)))
    assert response.get("Accept-Ranges") in (None, "none")
    return True


TAKES = ["gzip", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8", "GZIP",
         "deflate, gzip;q=0.001"]
DOES_NOT = [None, "", "identity", "br", "deflate", "gzip;q=0", "gzip;q=0.000",
            "x-custom", "notgzip"]


def test_a_client_that_takes_gzip_gets_it_as_stored(front, stored, emulator):
    item = stored()
    connection = front().connect()
    for value in TAKES:
        assert is_stored(connection.get(
            "/media/a", {"Accept-Encoding": value}), item["etag"])
    assert asked(emulator) == [("gzip", None)] * len(TAKES)


def test_a_client_that_does_not_take_gzip_gets_it_unpacked(front, stored,
                                                           emulator):
    stored()
    connection = front().connect()
    for value in DOES_NOT:
        response = connection.get(
            "/media/a", {} if value is None else {"Accept-Encoding": value})
        assert is_plain(response), value
    assert asked(emulator) == [(None, None)] * len(DOES_NOT)


def test_every_answer_varies_by_what_the_client_takes(front, stored):
    """Else a cache between us and the clients mixes them up."""
    stored()
    server = front()
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        response = server.get("/media/a", headers)
        assert response.get("Vary") == "Accept-Encoding", headers


def test_a_plain_object_stays_as_it_is(front, emulator, bucket):
    emulator.put_object(bucket, "a", PLAIN, content_type="text/plain")
    server = front()
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        response = server.get("/media/a", headers)
        assert (response.status, response.body) == (200, PLAIN)
        assert response.get("Content-Length") == str(len(PLAIN))
        assert "content-encoding" not in response.names


def test_head_tells_what_get_would_send(front, stored):
    item = stored()
    connection = front().connect()

    response = connection.request("HEAD", "/media/a",
                                  {"Accept-Encoding": "gzip"})
    assert response.status == 200
    assert response.get("Content-Encoding") == "gzip"
    assert response.get("ETag") == item["etag"]
    # GCS hides it; a wrong one would be worse
    assert response.get("Content-Length") in (None, str(len(STORED)))

    response = connection.request("HEAD", "/media/a")
    assert response.status == 200
    assert "content-encoding" not in response.names
    assert response.get("Content-Length") is None

    assert is_plain(connection.get("/media/a"))


def test_a_range_for_a_client_that_takes_gzip_is_of_the_stored_bytes(
        front, stored, emulator):
    stored()
    response = front().get("/media/a", {"Accept-Encoding": "gzip",
                                        "Range": "bytes=10-99"})
    assert (response.status, response.body) == (206, STORED[10:100])
    assert response.get("Content-Encoding") == "gzip"
    assert response.get("Content-Range") == f"bytes 10-99/{len(STORED)}"
    assert asked(emulator) == [("gzip", "bytes=10-99")]


def test_a_range_for_a_client_without_gzip_gives_the_whole(front, stored):
    stored()
    connection = front().connect()
    for value in ("bytes=0-0", "bytes=10-99", "bytes=-5", "bytes=9999999-"):
        assert is_plain(connection.get("/media/a", {"Range": value}))


def test_a_part_that_cannot_be_unpacked_is_asked_for_again_as_a_whole(
        front, emulator, bucket):
    """A GCS that sends a part of compressed bytes to one who did not ask
    for them: that it never does is not documented."""
    emulator.put_object(bucket, "a", PLAIN)
    emulator.fault(kind="storage", headers=[["Content-Encoding", "gzip"]])
    response = front().get("/media/a", {"Range": "bytes=10-99"})
    assert (response.status, response.body) == (200, PLAIN)
    assert asked(emulator) == [(None, "bytes=10-99"), (None, None)]


def test_resuming_the_stored_bytes_is_right(front, stored):
    item = stored()
    response = front().get("/media/a", {
        "Accept-Encoding": "gzip", "Range": "bytes=100-",
        "If-Range": item["etag"]})
    assert (response.status, response.body) == (206, STORED[100:])


def test_conditions_work_for_both_forms(front, stored):
    item = stored()
    server = front()
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        response = server.get("/media/a", {
            **headers, "If-None-Match": item["etag"]})
        assert (response.status, response.body) == (304, b"")
        assert "content-encoding" not in response.names
        assert "content-length" not in response.names


def test_no_transform_gives_everybody_the_stored_bytes(front, stored):
    stored(cache_control="public, no-transform, max-age=600")
    connection = front().connect()

    for headers in ({}, {"Accept-Encoding": "gzip"},
                    {"Accept-Encoding": "identity"}):
        response = connection.get("/media/a", headers)
        assert (response.status, response.body) == (200, STORED)
        assert response.get("Content-Encoding") == "gzip"
        assert response.get("Content-Length") == str(len(STORED))

        response = connection.get("/media/a", {**headers,
                                               "Range": "bytes=10-99"})
        assert (response.status, response.body) in [(206, STORED[10:100]),
                                                    (200, STORED)]
        assert response.get("Content-Encoding") == "gzip"


def test_a_client_s_no_transform_is_not_gcs_s_business(front, stored,
                                                       emulator):
    stored()
    response = front().get("/media/a", {"Cache-Control": "no-transform"})
    assert is_plain(response)


@pytest.mark.parametrize("location", ["", CACHE], ids=["plain", "cache"])
def test_other_codings_pass_as_stored_to_everybody(location, front, stored):
    stored(b"not really brotli", content_encoding="br")
    connection = front(location).connect()
    for headers in ({}, {"Accept-Encoding": "gzip"},
                    {"Accept-Encoding": "br"}):
        response = connection.get("/media/a", headers)
        assert (response.status, response.body) == (200, b"not really brotli")
        assert response.get("Content-Encoding") == "br"
        assert response.get("Content-Length") == "17"


def test_several_members_are_one_object(front, stored, emulator):
    both = gzip.compress(b"one ", mtime=0) + gzip.compress(b"two", mtime=0)
    stored(both)
    server = front()
    assert server.get("/media/a").body == b"one two"
    assert server.get("/media/a", {"Accept-Encoding": "gzip"}).body == both


def test_gunzip_and_gzip_of_the_user_do_not_break_it(front, stored):
    item = stored()
    server = front("gzip on; gzip_types *; gunzip on; gzip_min_length 1;")
    assert is_stored(server.get("/media/a", {"Accept-Encoding": "gzip"}),
                     item["etag"])
    assert is_plain(server.get("/media/a"))


def test_a_client_of_http_1_0_is_served(front, stored):
    stored()
    server = front()
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        response = server.get("/media/a", headers, version="1.0")
        assert response.status == 200
        if response.get("Content-Encoding") == "gzip":
            assert response.body == STORED
        else:
            assert response.body == PLAIN


# labelled gzip, but not gzip


def test_mislabelled_bytes_reach_a_client_that_takes_gzip(front, stored):
    stored(b"these are not compressed")
    response = front().get("/media/a", {"Accept-Encoding": "gzip"})
    assert (response.status, response.body) == (
        200, b"these are not compressed")
    assert response.get("Content-Encoding") == "gzip"


def test_mislabelled_bytes_are_an_error_for_others(front, stored):
    """GCS refuses to unpack them, with 400."""
    stored(b"these are not compressed")
    server = front()
    response = server.get("/media/a")
    assert response.status == 502
    assert b"<center>nginx" in response.body
    assert 'gcs responded 400 "InvalidArgument"' in server.log()


def test_mislabelled_bytes_are_not_taken_for_complete_from_a_cache(
        front, stored):
    stored(b"these are not compressed")
    server = front(CACHE)
    server.expect("inflate")
    for _ in range(2):
        try:
            response = server.get("/media/a")
        except ConnectionError:
            continue                       # visibly not complete
        assert response.status >= 500

    response = server.get("/media/a", {"Accept-Encoding": "gzip"})
    assert (response.status, response.body) == (
        200, b"these are not compressed")


# with a cache: stored once, as it is


def test_a_cache_keeps_one_copy_and_serves_both(front, stored, emulator):
    item = stored()
    server = front(CACHE)
    for headers, state in (({}, "MISS"), ({"Accept-Encoding": "gzip"}, "HIT"),
                           ({}, "HIT"), ({"Accept-Encoding": "br"}, "HIT")):
        response = server.get("/media/a", headers)
        assert response.get("X-Cache") == state
        if headers == {"Accept-Encoding": "gzip"}:
            assert is_stored(response, item["etag"])
        else:
            assert is_plain(response)
    assert asked(emulator) == [("gzip", None)]


def test_a_cache_filled_by_a_range_serves_both(front, stored, emulator):
    stored()
    connection = front(CACHE).connect()

    assert is_plain(connection.get("/media/a", {"Range": "bytes=10-99"}))
    response = connection.get("/media/a", {"Range": "bytes=10-99",
                                           "Accept-Encoding": "gzip"})
    assert response.get("X-Cache") == "HIT"
    assert (response.status, response.body) == (206, STORED[10:100])
    assert response.get("Content-Encoding") == "gzip"
    assert is_plain(connection.get("/media/a"))
    assert is_plain(connection.get("/media/a", {"Range": "bytes=10-99"}))
    assert asked(emulator) == [("gzip", None)]


def test_head_of_a_cached_object(front, stored):
    stored()
    server = front(CACHE)
    assert is_plain(server.get("/media/a"))
    response = server.head("/media/a")
    assert response.status == 200
    assert "content-encoding" not in response.names
    assert response.get("Content-Length") is None
    response = server.head("/media/a", {"Accept-Encoding": "gzip"})
    assert response.get("Content-Encoding") == "gzip"


def test_no_transform_from_a_cache(front, stored):
    stored(cache_control="no-transform, public, max-age=600")
    server = front(CACHE)
    for _ in range(2):
        for headers in ({}, {"Accept-Encoding": "gzip"}):
            response = server.get("/media/a", headers)
            assert (response.status, response.body) == (200, STORED)
            assert response.get("Content-Encoding") == "gzip"


def test_gunzip_off_of_the_user_still_serves_everybody(front, stored):
    """nginx then cannot unpack what is cached: the unpacked form is."""
    stored()
    server = front(CACHE + "gunzip off;")
    assert is_plain(server.get("/media/a"))
    response = server.get("/media/a", {"Accept-Encoding": "gzip"})
    if "content-encoding" in response.names:
        assert is_stored(response)
    else:
        assert is_plain(response)


def test_a_cached_304_is_right_for_both_forms(front, stored):
    item = stored()
    server = front(CACHE)
    server.get("/media/a")
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        response = server.get("/media/a", {
            **headers, "If-None-Match": item["etag"]})
        assert response.status == 304


# with slices


@pytest.mark.parametrize("location", [
    "slice 4k;", "slice 4k; " + CACHE], ids=["plain", "cache"])
def test_slices_of_a_compressed_object(location, front, stored):
    item = stored()
    connection = front(location).connect()

    for _ in range(2):
        assert is_stored(connection.get(
            "/media/a", {"Accept-Encoding": "gzip"}), item["etag"])
        assert is_plain(connection.get("/media/a"))

        response = connection.get("/media/a", {"Accept-Encoding": "gzip",
                                               "Range": "bytes=4000-9000"})
        assert (response.status, response.body) == (206, STORED[4000:9001])
        assert response.get("Content-Encoding") == "gzip"
        assert response.get("Content-Range") == \
            f"bytes 4000-9000/{len(STORED)}"


@pytest.mark.parametrize("location", [
    "slice 4k;", "slice 4k; " + CACHE], ids=["plain", "cache"])
def test_slices_and_a_range_without_gzip_are_consistent(location, front,
                                                        stored):
    """Either the whole, unpacked, or a part of the stored bytes that says
    that it is one; never plain bytes under a range of the stored."""
    stored()
    connection = front(location).connect()
    for _ in range(2):
        response = connection.get("/media/a", {"Range": "bytes=4000-9000"})
        if response.status == 206:
            assert response.get("Content-Encoding") == "gzip"
            assert response.body == STORED[4000:9001]
        else:
            assert is_plain(response)


@pytest.mark.parametrize("location", [
    "slice 4k;", "slice 4k; " + CACHE], ids=["plain", "cache"])
def test_slices_of_no_transform_are_the_stored_bytes(location, front,
                                                     stored):
    stored(cache_control="no-transform, public, max-age=600")
    server = front(location)
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        response = server.get("/media/a", headers)
        assert (response.status, response.body) == (200, STORED)
        assert response.get("Content-Encoding") == "gzip"


def test_a_subrequest_gets_it_unpacked(nginx, stored, emulator, key_file,
                                       bucket):
    stored()
    emulator.put_object(bucket, "page", b'<!--#include virtual="/media/a" -->',
                        content_type="text/html")
    server = nginx(HTTP, server="""
        location /media/ { gcs_pass gs://test-bucket/; ssi on; }
    """)
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        response = server.get("/media/page", headers)
        assert (response.status, response.body) == (200, PLAIN)

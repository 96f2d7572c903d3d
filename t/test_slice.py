"""The slice module in a gcs_pass location, with a cache and without.

An object is put together from several requests here: what may go wrong in the
middle must end in an answer that is cut off, never in wrong bytes.
"""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor

import pytest

from emulator import content
from harness import Truncated
from harness.nginx import wait_until

MB = 1 << 20
SIZE = 5 * MB + MB // 2 + 7
SEED = 7
SLICES = 6
PUBLIC = "public, max-age=3600"

CONF = """
    proxy_cache_path %%DIR%%/cache keys_zone=z:1m;
    gcs_credentials reader { file %%KEY%%; }
    gcs_auth reader;
    gcs_endpoint %%EMULATOR%%;
    add_header X-Cache $upstream_cache_status always;
    server {
        listen 127.0.0.1:%%PORT%%;
        slice 1m;
        location /plain/ { gcs_pass gs://test-bucket; }
        location /cache/ { gcs_pass gs://test-bucket; proxy_cache z;
                           proxy_cache_lock on; }
    }
"""

both = pytest.mark.parametrize("place", ["plain", "cache"])


def right(start: int = 0, end: int = SIZE, seed: int = SEED) -> bytes:
    return content(seed, start, end)


@pytest.fixture
def serve(nginx):
    def make(text=CONF, **kw):
        server = nginx(text, **kw)
        server.wait_log("token refreshed")
        return server
    return make


@pytest.fixture
def big(emulator, bucket):
    return emulator.put_object(bucket, "big", size=SIZE, seed=SEED,
                               cache_control=PUBLIC)


def ranges(emulator) -> list[str | None]:
    return [dict((n.lower(), v) for n, v in r["headers"]).get("range")
            for r in emulator.requests("storage")]


def slice_range(number: int) -> str:
    return f"bytes={number * MB}-{(number + 1) * MB - 1}"


def is_right_or_cut_off(server, target, body) -> bool:
    """True if it was all right; wrong bytes are an error in any case."""
    try:
        response = server.get(target, timeout=5)
    except Truncated as exc:
        assert exc.response is not None and exc.response.status == 200
        got = exc.response.body
        assert got == body[:len(got)]
        return False
    assert (response.status, response.body) == (200, body)
    return True


@both
def test_the_whole_object_is_asked_for_slice_by_slice(serve, emulator,
                                                      key_file, big, place):
    server = serve()
    for _ in range(2):
        response = server.get(f"/{place}/big")
        assert (response.status, response.body) == (200, right())
        assert response.get("Content-Length") == str(SIZE)
        assert response.get("Content-Range") is None
        assert response.get("ETag") == big["etag"]
    expected = [slice_range(n) for n in range(SLICES)]
    assert ranges(emulator) == expected * (2 if place == "plain" else 1)
    assert emulator.connections()["storage"] == 1


@both
@pytest.mark.parametrize("value, start, end, asked", [
    ("0-0", 0, 1, [0]),
    (f"{MB - 1}-{MB}", MB - 1, MB + 1, [0, 1]),
    ("500000-3500000", 500000, 3500001, [0, 1, 2, 3]),
    (f"{2 * MB}-{3 * MB - 1}", 2 * MB, 3 * MB, [2]),
    ("5000000-", 5000000, SIZE, [4, 5]),
    (f"{SIZE - 1}-{SIZE + 99999}", SIZE - 1, SIZE, [5]),
    ("0-", 0, SIZE, list(range(SLICES))),
])
def test_a_range_takes_the_slices_it_needs(serve, emulator, key_file, big,
                                           place, value, start, end, asked):
    server = serve()
    for _ in range(2):
        response = server.get(f"/{place}/big", {"Range": "bytes=" + value})
        assert response.status == 206
        assert response.body == right(start, end)
        assert response.get("Content-Range") \
            == f"bytes {start}-{end - 1}/{SIZE}"
        assert response.get("Content-Length") == str(end - start)
    assert ranges(emulator) == [slice_range(n) for n in asked] \
        * (2 if place == "plain" else 1)


@both
@pytest.mark.parametrize("last", [1, 1_500_000, SIZE, SIZE + 5])
def test_a_suffix_is_right(serve, emulator, key_file, big, place, last):
    server = serve()
    start = max(0, SIZE - last)
    for _ in range(2):
        response = server.get(f"/{place}/big", {"Range": f"bytes=-{last}"})
        assert (response.status, response.body) == (206, right(start))
        assert response.get("Content-Range") \
            == f"bytes {start}-{SIZE - 1}/{SIZE}"


@both
def test_several_ranges_are_answered_by_the_whole(serve, emulator, key_file,
                                                  big, place):
    server = serve()
    response = server.get(f"/{place}/big", {
        "Range": "bytes=0-9,2000000-2000009"})
    assert (response.status, response.body) == (200, right())


@both
def test_a_range_beyond_the_end_is_416(serve, emulator, key_file, big, place):
    server = serve()
    for start in (SIZE, SIZE + 50 * MB):
        response = server.get(f"/{place}/big", {"Range": f"bytes={start}-"})
        assert response.status == 416
        assert response.get("Content-Range") == f"bytes */{SIZE}"
        assert b"<Code>" not in response.body
    assert server.get(f"/{place}/big").body == right()


@both
def test_head_tells_the_size(serve, emulator, key_file, big, place):
    server = serve()
    head = server.head(f"/{place}/big")
    assert (head.status, head.body) == (200, b"")
    assert head.get("Content-Length") == str(SIZE)
    assert server.get(f"/{place}/big").body == right()


@both
@pytest.mark.parametrize("size", [0, 1, MB - 1, MB, MB + 1])
def test_objects_of_every_size_are_whole(serve, emulator, key_file, bucket,
                                         place, size):
    emulator.put_object(bucket, "o", size=size, seed=1, cache_control=PUBLIC)
    server = serve()
    for _ in range(2):
        response = server.get(f"/{place}/o")
        assert (response.status, response.body) == (200, right(0, size, 1))
        assert response.get("Content-Length") == str(size)
        head = server.head(f"/{place}/o")
        assert (head.status, head.get("Content-Length")) == (200, str(size))


@both
def test_a_missing_object_is_404(serve, emulator, key_file, bucket, place):
    server = serve()
    response = server.get(f"/{place}/none")
    assert response.status == 404 and b"<Code>" not in response.body
    assert len(ranges(emulator)) == 1


@both
@pytest.mark.parametrize("name, value, status", [
    ("If-None-Match", "ETAG", 304), ("If-None-Match", '"x"', 200),
    ("If-Match", "ETAG", 200), ("If-Match", '"x"', 412),
])
def test_conditions_hold_for_the_object(serve, emulator, key_file, big, place,
                                        name, value, status):
    server = serve()
    value = value.replace("ETAG", big["etag"])
    for _ in range(2):
        response = server.get(f"/{place}/big", {name: value})
        assert response.status == status
        assert status != 200 or response.body == right()
        assert server.get(f"/{place}/big").body == right()


@both
@pytest.mark.parametrize("etag, status", [("same", 206), ('"x"', 200)])
def test_if_range_decides_between_part_and_whole(serve, emulator, key_file,
                                                 big, place, etag, status):
    server = serve()
    etag = big["etag"] if etag == "same" else etag
    response = server.get(f"/{place}/big", {
        "Range": f"bytes={MB - 5}-{MB + 4}", "If-Range": etag})
    assert response.status == status
    assert response.body == (right(MB - 5, MB + 5) if status == 206
                             else right())


@both
@pytest.mark.parametrize("takes", [True, False])
def test_a_gzip_object_larger_than_a_slice_is_whole(serve, emulator, key_file,
                                                    bucket, place, takes):
    plain = right(0, 2 * MB)
    stored = gzip.compress(plain, 1, mtime=0)
    assert len(stored) > MB
    emulator.put_object(bucket, "z", stored, content_encoding="gzip",
                        cache_control=PUBLIC)
    server = serve()
    for _ in range(2):
        response = server.get(
            f"/{place}/z", {"Accept-Encoding": "gzip"} if takes else {})
        assert response.status == 200
        if response.get("Content-Encoding") == "gzip":
            assert takes and response.body == stored
        else:
            assert response.body == plain


# what happens in the middle


FAULTS = {
    "a revoked token": {"revoke_tokens": True},
    "503": {"status": 503}, "429": {"status": 429}, "500": {"status": 500},
    "a reset": {"reset": "before_headers"},
}


@both
@pytest.mark.parametrize("what, numbers", [
    # a second token that is refused at once is not exchanged again
    ("a revoked token", [0]), ("a revoked token", [3]),
    ("503", [0, 1, SLICES - 1]), ("429", [2]), ("500", [3]),
])
def test_a_slice_that_is_retried_has_the_right_bytes(serve, emulator,
                                                     key_file, bucket, place,
                                                     what, numbers):
    server = serve()
    for number in numbers:
        emulator.put_object("test-bucket", f"big{number}", size=SIZE,
                            seed=number, cache_control=PUBLIC)
        emulator.reset_requests()
        emulator.fault(kind="storage", skip=number, **FAULTS[what])
        response = server.get(f"/{place}/big{number}")
        assert (response.status, response.body) == (200, right(seed=number))
        expected = [slice_range(n) for n in range(SLICES)]
        expected.insert(number, expected[number])
        assert ranges(emulator) == expected
        assert emulator.pending_faults() == []


@both
def test_a_range_that_is_retried_has_the_right_bytes(serve, emulator,
                                                     key_file, big, place):
    server = serve()
    emulator.fault(kind="storage", skip=1, revoke_tokens=True)
    emulator.fault(kind="storage", skip=1, status=503)
    response = server.get(f"/{place}/big", {
        "Range": "bytes=500000-3500000"})
    assert (response.status, response.body) == (206, right(500000, 3500001))
    assert response.get("Content-Range") == f"bytes 500000-3500000/{SIZE}"


@both
@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("number", [1])
def test_a_failure_for_good_cuts_the_answer_off(serve, emulator, key_file, big,
                                                place, what, number):
    server = serve()
    emulator.fault(kind="storage", skip=number, count=None, **FAULTS[what])
    assert not is_right_or_cut_off(server, f"/{place}/big", right())
    emulator.clear_faults()
    if "revoke_tokens" not in FAULTS[what]:
        assert is_right_or_cut_off(server, f"/{place}/big", right())


@both
@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("fault", [
    {"reset_after": 300_000}, {"truncate_after": 300_000},
    {"truncate_after": 0},
])
def test_a_slice_that_is_cut_off_is_followed_by_nothing(
        serve, emulator, key_file, big, place, fault, number):
    server = serve()
    emulator.fault(kind="storage", skip=number, **fault)
    assert not is_right_or_cut_off(server, f"/{place}/big", right())
    assert len(ranges(emulator)) == number + 1
    assert is_right_or_cut_off(server, f"/{place}/big", right())


@both
@pytest.mark.parametrize("fault", [
    {"status": 404}, {"status": 403},
    {"status": 200, "body": "<html>"}, {"status": 206, "body": "xyz"},
    {"status": 302, "headers": [["Location", "http://127.0.0.1:1/"]]},
])
def test_a_slice_that_is_no_slice_cuts_the_answer_off(
        serve, emulator, key_file, big, place, fault):
    server = serve()
    emulator.fault(kind="storage", skip=2, **fault)
    assert not is_right_or_cut_off(server, f"/{place}/big", right())
    assert is_right_or_cut_off(server, f"/{place}/big", right())


@both
def test_an_object_replaced_between_slices_is_not_mixed(serve, emulator,
                                                        key_file, big, place):
    server = serve()
    emulator.fault(kind="storage", skip=1, stall_after=1000,
                   stall_seconds=0.5)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(is_right_or_cut_off, server, f"/{place}/big",
                             right())
        wait_until(lambda: len(ranges(emulator)) == 2)
        emulator.put_object("test-bucket", "big", size=SIZE, seed=99,
                            cache_control=PUBLIC)
        assert answer.result() is False
    assert "etag mismatch in slice response" in server.log()

    if place == "plain":
        assert is_right_or_cut_off(server, "/plain/big", right(seed=99))


def test_an_object_replaced_after_some_slices_were_cached_is_not_mixed(
        serve, emulator, key_file, big):
    server = serve()
    part = server.get("/cache/big", {"Range": f"bytes={MB}-{2 * MB}"})
    assert part.body == right(MB, 2 * MB + 1)
    emulator.put_object("test-bucket", "big", size=SIZE, seed=99,
                        cache_control=PUBLIC)
    assert not is_right_or_cut_off(server, "/cache/big", right(seed=99))


@both
def test_a_client_that_leaves_takes_the_request_to_gcs_with_it(
        serve, emulator, key_file, big, place):
    server = serve()
    emulator.fault(kind="storage", skip=2, stall_after=100_000)
    connection = server.connect()
    connection.send(f"GET /{place}/big HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert connection.head().status == 200
    body, _ = connection._exactly(2 * MB)
    assert body == right(0, 2 * MB)
    connection.close()

    if place == "cache":
        # nginx finishes a slice that it stores
        wait_until(lambda: len(ranges(emulator)) == 3)
        emulator.close_connections()
    wait_until(lambda: all(r["complete"] or r["aborted"]
                           for r in emulator.requests("storage")))
    assert len(ranges(emulator)) == 3
    assert is_right_or_cut_off(server, f"/{place}/big", right())


@both
def test_a_slice_waits_for_the_token(nginx, emulator, key_file, big, place):
    emulator.fault(kind="token", delay=0.4)
    server = nginx(CONF)
    assert is_right_or_cut_off(server, f"/{place}/big", right())
    assert is_right_or_cut_off(server, f"/{place}/big", right())
    assert emulator.counts()["token"] == 1
    assert len(ranges(emulator)) <= 2 * SLICES + 1


@both
def test_many_clients_get_the_right_bytes_at_once(serve, emulator, key_file,
                                                  big, place):
    server = serve()
    emulator.fault(kind="storage", skip=3, revoke_tokens=True)
    parts = [(n * 400_000, n * 400_000 + 1_500_000) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda p: server.get(
            f"/{place}/big", {"Range": f"bytes={p[0]}-{p[1] - 1}"}), parts)
        for (start, end), answer in zip(parts, answers):
            assert answer.status == 206
            assert answer.body == right(start, end)

"""What HTTP promises, of an object behind gcs_pass: ranges, conditions, both
ends slow or gone, and answers that are complete or visibly not."""

from __future__ import annotations

import hashlib
import socket
import time
from email.utils import formatdate

import pytest

from emulator import content
from harness import Truncated
from harness.nginx import wait_until

HTTP = """
    gcs_credentials reader { file %%KEY%%; }
    gcs_auth reader;
    gcs_endpoint %%EMULATOR%%;
"""

GIB = 1 << 30
DIGITS = b"0123456789"

# what a client sees of an object; nothing else, and each of them once
OBJECT_HEADERS = {
    "server", "date", "content-type", "content-length", "connection",
    "expires", "cache-control", "last-modified", "etag", "accept-ranges",
    "x-content-type-options"}
ERROR_HEADERS = {"server", "date", "content-type", "content-length",
                 "connection", "x-content-type-options"}


@pytest.fixture
def front(nginx, emulator, key_file, bucket):
    """nginx with the bucket at /media/; more directives go beside gcs_pass."""
    def make(location="", server="", **kw):
        return nginx(HTTP, server=server + """
            location /media/ { gcs_pass gs://test-bucket/; %s }
        """ % location, **kw)

    return make


@pytest.fixture
def digits(emulator, bucket):
    """An object of ten bytes, some hours old."""
    emulator.put_object(bucket, "digits.txt", DIGITS,
                        content_type="text/plain",
                        created=int(time.time()) - 7200)
    return emulator.get_object(bucket, "digits.txt")


def date(digits, offset=0):
    return formatdate(int(digits["created"]) + offset, usegmt=True)


def storage(emulator):
    return emulator.requests("storage")


def sent_headers(record):
    return {name.lower(): value for name, value in record["headers"]}


def is_own_page(response, status):
    """nginx's page, not Google's words."""
    return (response.get("Content-Type") == "text/html"
            and f"<h1>{status} ".encode() in response.body
            and b"<center>nginx" in response.body
            and b"Error>" not in response.body)


# objects, whole


def test_get_answers_the_bytes_and_every_header_once(front, digits):
    response = front().get("/media/digits.txt")

    assert (response.status, response.body) == (200, DIGITS)
    assert response.names == OBJECT_HEADERS
    assert len(response.headers) == len(OBJECT_HEADERS)
    assert response.get("Content-Length") == "10"
    assert response.get("Content-Type") == "text/plain"
    assert response.get("ETag") == digits["etag"]
    assert response.get("Last-Modified") == date(digits)
    assert response.get("Cache-Control") == "private, max-age=0"
    assert response.get("Accept-Ranges") == "bytes"


def test_head_answers_the_headers_of_get_without_a_body(front, digits,
                                                        emulator):
    server = front()
    get = server.get("/media/digits.txt")
    connection = server.connect()
    head = connection.request("HEAD", "/media/digits.txt")

    assert head.status == 200
    ignored = ("date", "expires")
    assert [h for h in head.headers if h[0].lower() not in ignored] == \
        [h for h in get.headers if h[0].lower() not in ignored]
    assert head.get("Content-Length") == "10"
    assert [r["method"] for r in storage(emulator)] == ["GET", "HEAD"]

    # not a byte of a body: the next answer follows at once
    assert connection.get("/media/digits.txt").body == DIGITS


def test_stored_metadata_of_content_passes(front, emulator, bucket):
    emulator.put_object(
        bucket, "a", b"x", content_type="audio/x-strange; rate=8000",
        content_language="de, en", cache_control="public, max-age=77",
        content_disposition='attachment; filename="a b.txt"')
    response = front().get("/media/a")

    assert response.get("Content-Type") == "audio/x-strange; rate=8000"
    assert response.get("Content-Language") == "de, en"
    assert response.get("Cache-Control") == "public, max-age=77"
    assert response.get("Content-Disposition") == \
        'attachment; filename="a b.txt"'


def test_an_object_without_a_type_is_octets(front, emulator, bucket):
    emulator.put_object(bucket, "a.html", b"<p>")
    response = front("default_type text/html;").get("/media/a.html")
    assert response.get("Content-Type") == "application/octet-stream"


def test_charset_does_not_change_a_stored_type(front, emulator, bucket):
    emulator.put_object(bucket, "a.png", b"x", content_type="image/png")
    response = front("charset utf-8;").get("/media/a.png")
    assert response.get("Content-Type") == "image/png"


# ranges

RANGES = [
    # Range, status, Content-Range, first byte, end
    ("bytes=0-0", 206, "0-0/10", 0, 1),
    ("bytes=0-", 206, "0-9/10", 0, 10),
    ("bytes=2-5", 206, "2-5/10", 2, 6),
    ("bytes=9-", 206, "9-9/10", 9, 10),
    ("bytes=5-1000", 206, "5-9/10", 5, 10),
    ("bytes=-3", 206, "7-9/10", 7, 10),
    ("bytes=-1000", 206, "0-9/10", 0, 10),
    ("BYTES=1-2", 206, "1-2/10", 1, 3),
    # GCS takes no list of ranges, and it ignores what is not a range
    ("bytes=0-1,4-5", 200, None, 0, 10),
    ("bytes=0-1, -1", 200, None, 0, 10),
    ("bytes=5-2", 200, None, 0, 10),
    ("bytes=x-y", 200, None, 0, 10),
    ("bytes=", 200, None, 0, 10),
    ("bytes=-", 200, None, 0, 10),
    ("items=0-1", 200, None, 0, 10),
]


def test_ranges_are_answered_as_gcs_answers_them(front, digits, emulator):
    server = front()
    connection = server.connect()

    for value, status, content_range, start, end in RANGES:
        emulator.reset_requests()
        response = connection.get("/media/digits.txt", {"Range": value})
        head = connection.request("HEAD", "/media/digits.txt",
                                  {"Range": value})

        assert response.status == status, value
        assert response.body == DIGITS[start:end], value
        assert response.get("Content-Length") == str(end - start), value
        assert response.get("Content-Range") == (
            content_range and "bytes " + content_range), value
        assert response.names == OBJECT_HEADERS | (
            {"content-range"} if status == 206 else set()), value
        assert len(response.headers) == len(response.names), value

        assert (head.status, head.get("Content-Range")) == \
            (status, response.get("Content-Range")), value
        assert [sent_headers(r).get("range") for r in storage(emulator)] \
            == [value, value]


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=10-20", "bytes=-0",
                                   "bytes=99999999999-"])
def test_a_range_outside_is_416_with_the_size_and_nginx_s_page(
        value, front, digits):
    server = front()
    connection = server.connect()
    response = connection.get("/media/digits.txt", {"Range": value})

    assert response.status == 416
    assert response.get("Content-Range") == "bytes */10"
    assert response.names == ERROR_HEADERS | {"content-range"}
    assert len(response.headers) == len(response.names)
    assert is_own_page(response, 416)

    head = connection.request("HEAD", "/media/digits.txt", {"Range": value})
    assert (head.status, head.get("Content-Range")) == (416, "bytes */10")

    # both connections go on
    assert connection.get("/media/digits.txt").body == DIGITS


def test_a_range_of_a_missing_object_is_404(front, emulator):
    response = front().get("/media/none", {"Range": "bytes=5-"})
    assert response.status == 404
    assert "content-range" not in response.names


def test_a_416_passes_through_error_page_with_its_size(front, digits):
    server = front("error_page 416 /sorry;",
                   "location = /sorry { return 416 sorry; }")
    response = server.get("/media/digits.txt", {"Range": "bytes=10-"})
    assert (response.status, response.body) == (416, b"sorry")
    assert response.get("Content-Range") == "bytes */10"


def test_an_empty_object_is_whole_or_416(front, emulator, bucket):
    emulator.put_object(bucket, "empty", b"", content_type="text/plain")
    connection = front().connect()

    for method in ("GET", "HEAD"):
        response = connection.request(method, "/media/empty")
        assert (response.status, response.body) == (200, b"")
        assert response.get("Content-Length") == "0"
        assert response.names == OBJECT_HEADERS

    for value in ("bytes=0-", "bytes=0-0", "bytes=-1"):
        response = connection.get("/media/empty", {"Range": value})
        assert response.status == 416
        assert response.get("Content-Range") == "bytes */0"


def test_ranges_of_an_object_over_4_gib_are_exact(front, emulator, bucket):
    size = 5 * GIB + 12345
    emulator.put_object(bucket, "big", size=size, seed=7,
                        content_type="video/mp4")
    connection = front().connect()

    head = connection.request("HEAD", "/media/big")
    assert (head.status, head.get("Content-Length")) == (200, str(size))

    for value, start, end in (
            (f"bytes={4 * GIB - 5}-{4 * GIB + 4}", 4 * GIB - 5, 4 * GIB + 5),
            (f"bytes={4 * GIB}-{4 * GIB}", 4 * GIB, 4 * GIB + 1),
            (f"bytes={2 * GIB - 2}-{2 * GIB + 1}", 2 * GIB - 2, 2 * GIB + 2),
            (f"bytes={5 * GIB}-", 5 * GIB, size),
            ("bytes=-100", size - 100, size),
            (f"bytes={size - 7}-{9 * GIB}", size - 7, size)):
        response = connection.get("/media/big", {"Range": value})
        assert response.status == 206
        assert response.get("Content-Range") == \
            f"bytes {start}-{end - 1}/{size}"
        assert response.get("Content-Length") == str(end - start)
        assert response.body == content(7, start, end)

    response = connection.get("/media/big", {"Range": f"bytes={size}-"})
    assert (response.status, response.get("Content-Range")) == \
        (416, f"bytes */{size}")


def digest_of_stream(connection, response):
    """SHA-256 and number of the bytes of a body, without keeping them."""
    digest = hashlib.sha256(connection._buffer)
    count, connection._buffer = len(connection._buffer), b""
    while count < int(response.get("Content-Length")):
        data = connection.sock.recv(1 << 20)
        if not data:
            break
        digest.update(data)
        count += len(data)
    return digest.hexdigest(), count


def test_hundreds_of_megabytes_stream_through_unchanged(front, emulator,
                                                        bucket):
    size = 256 * (1 << 20) + 3
    emulator.put_object(bucket, "film", size=size, seed=3)
    server = front()
    connection = server.connect()

    expected = hashlib.sha256()
    for start in range(0, size, 1 << 24):
        expected.update(content(3, start, min(start + (1 << 24), size)))

    connection.send(b"GET /media/film HTTP/1.1\r\nHost: a\r\n\r\n")
    response = connection.head()
    assert response.status == 200
    assert digest_of_stream(connection, response) == \
        (expected.hexdigest(), size)

    # not by way of the disk
    assert not [p for p in (server.dir / "proxy_temp").rglob("*")
                if p.is_file()]
    assert "temporary file" not in server.log()


# conditions


def conditions(tag, at):
    other = '"0123456789abcdef0123456789abcdef"'
    weak = "W/" + tag
    now, before, after = at(0), at(-3600), at(3600)
    return [
        # headers, status
        ({"If-Match": tag}, 200),
        ({"If-Match": other}, 412),
        ({"If-Match": f"{other}, {tag}"}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": weak}, 412),
        ({"If-None-Match": tag}, 304),
        ({"If-None-Match": other}, 200),
        ({"If-None-Match": f"{other}, {tag}"}, 304),
        ({"If-None-Match": f"{tag},{other}"}, 304),
        ({"If-None-Match": weak}, 304),
        ({"If-None-Match": f"{other}, {weak}"}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-Modified-Since": now}, 304),
        ({"If-Modified-Since": after}, 304),
        ({"If-Modified-Since": before}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Unmodified-Since": now}, 200),
        ({"If-Unmodified-Since": after}, 200),
        ({"If-Unmodified-Since": before}, 412),
        ({"If-Unmodified-Since": "yesterday"}, 200),
        # RFC 9110, 13.2.2: tags go before dates, refusals before 304
        ({"If-Match": tag, "If-Unmodified-Since": before}, 200),
        ({"If-None-Match": other, "If-Modified-Since": after}, 200),
        ({"If-None-Match": tag, "If-Modified-Since": before}, 304),
        ({"If-Match": other, "If-None-Match": tag}, 412),
        ({"If-Match": tag, "If-None-Match": tag}, 304),
        ({"If-Unmodified-Since": before, "If-Modified-Since": now}, 412),
        # and all of them before the range
        ({"If-None-Match": tag, "Range": "bytes=0-1"}, 304),
        ({"If-None-Match": tag, "Range": "bytes=99-"}, 304),
        ({"If-Match": other, "Range": "bytes=0-1"}, 412),
        ({"If-Match": other, "Range": "bytes=99-"}, 412),
        ({"If-Match": tag, "Range": "bytes=0-1"}, 206),
        ({"If-Match": tag, "Range": "bytes=99-"}, 416),
        ({"If-None-Match": other, "Range": "bytes=0-1"}, 206),
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_and_their_precedence(method, front, digits, emulator):
    connection = front().connect()

    for headers, status in conditions(digits["etag"],
                                      lambda n: date(digits, n)):
        emulator.reset_requests()
        response = connection.request(method, "/media/digits.txt", headers)
        assert response.status == status, headers

        # it is GCS who decides, on what the client has said
        seen = sent_headers(storage(emulator)[0])
        assert len(storage(emulator)) == 1
        assert {n: v for n, v in seen.items()
                if n == "range" or n.startswith("if-")} == \
            {name.lower(): value for name, value in headers.items()}

        if method == "GET":
            assert response.body == {200: DIGITS, 206: DIGITS[:2]}.get(
                status, response.body)


@pytest.mark.parametrize("name", [
    "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
    "If-Range"])
def test_no_line_of_a_repeated_condition_gets_lost(name, front, digits,
                                                   emulator):
    """nginx refuses them; sending one of two would change the meaning."""
    response = front().get("/media/digits.txt", [
        (name, digits["etag"]), (name, '"other"')])
    assert response.status == 400
    assert storage(emulator) == []


def test_a_304_is_complete_and_without_a_body(front, digits):
    connection = front().connect()
    connection.send(b"GET /media/digits.txt HTTP/1.1\r\nHost: a\r\n"
                    b"If-None-Match: %s\r\n\r\n" % digits["etag"].encode())
    response = connection.head()

    assert response.status == 304
    assert response.get("ETag") == digits["etag"]
    assert response.get("Cache-Control") == "private, max-age=0"
    assert response.names == {"server", "date", "connection", "expires",
                              "cache-control", "etag",
                              "x-content-type-options"}
    assert len(response.headers) == len(response.names)
    # whatever came next would be taken for the next answer
    assert connection.get("/media/digits.txt").body == DIGITS


def test_a_412_is_complete_with_nginx_s_page(front, digits):
    connection = front().connect()
    response = connection.get("/media/digits.txt", {"If-Match": '"x"'})
    assert response.status == 412
    assert response.names == ERROR_HEADERS
    assert len(response.headers) == len(response.names)
    assert is_own_page(response, 412)
    assert connection.get("/media/digits.txt").body == DIGITS


# If-Range, which GCS does not document


def validators(tag, at):
    return [
        # If-Range, whether the part may be sent
        (tag, True),
        (at(0), True),
        ('"other"', False),
        ("W/" + tag, False),
        (at(-3600), False),
        (at(3600), False),
        ("nonsense", False),
        ("*", False),
    ]


@pytest.mark.parametrize("gcs", ["honoured", "ignored"])
def test_if_range_is_right_whatever_gcs_makes_of_it(gcs, front, digits,
                                                    emulator):
    emulator.configure(if_range=gcs)
    connection = front().connect()

    for value, part in validators(digits["etag"], lambda n: date(digits, n)):
        for method in ("GET", "HEAD"):
            emulator.reset_requests()
            response = connection.request(
                method, "/media/digits.txt",
                {"Range": "bytes=2-5", "If-Range": value})

            where = f"{method} If-Range: {value}"
            assert response.status == (206 if part else 200), where
            assert response.get("Content-Length") == \
                ("4" if part else "10"), where
            assert ("content-range" in response.names) == part, where
            assert response.names == OBJECT_HEADERS | (
                {"content-range"} if part else set()), where
            assert len(response.headers) == len(response.names), where
            if method == "GET":
                assert response.body == (DIGITS[2:6] if part else DIGITS)

            seen = [sent_headers(r).get("range") for r in storage(emulator)]
            once = part or gcs == "honoured"
            assert seen == (["bytes=2-5"] if once
                            else ["bytes=2-5", None]), where


@pytest.mark.parametrize("gcs", ["honoured", "ignored"])
def test_if_range_of_a_longer_predecessor_gives_the_whole(gcs, front, digits,
                                                          emulator):
    """A resumed download of an object that has since become shorter: GCS,
    if it ignores If-Range, answers 416; 200 is right (RFC 9110, 13.1.5)."""
    emulator.configure(if_range=gcs)
    response = front().get("/media/digits.txt", {
        "Range": "bytes=5000-", "If-Range": '"the-longer-one"'})
    assert (response.status, response.body) == (200, DIGITS)


def test_if_range_of_a_weak_tag_never_gives_a_part(front, emulator, bucket):
    emulator.put_object(bucket, "weak", DIGITS, etag_override='W/"weak"')
    emulator.configure(if_range="ignored")
    response = front().get("/media/weak", {"Range": "bytes=2-5",
                                           "If-Range": 'W/"weak"'})
    assert (response.status, response.body) == (200, DIGITS)


def test_if_range_without_range_means_nothing(front, digits, emulator):
    response = front().get("/media/digits.txt", {"If-Range": '"other"'})
    assert (response.status, response.body) == (200, DIGITS)
    assert "if-range" not in sent_headers(storage(emulator)[0])


def test_the_second_request_of_if_range_keeps_the_connection(front, digits,
                                                             emulator):
    emulator.configure(if_range="ignored")
    connection = front().connect()
    for _ in range(5):
        response = connection.get("/media/digits.txt", {
            "Range": "bytes=2-5", "If-Range": '"other"'})
        assert (response.status, response.body) == (200, DIGITS)
    assert emulator.counts()["storage"] == 10
    # a part that is thrown away costs its connection, or is read to its end;
    # either way they do not pile up
    assert emulator.open_connections() <= 2


# slow and gone


def small_window(server):
    """A client that takes little at a time."""
    connection = server.connect()
    connection.sock.close()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(30)
    sock.connect(("127.0.0.1", server.port))
    connection.sock = sock
    return connection


def test_a_slow_client_gets_every_byte(front, emulator, bucket):
    size = 3 << 20
    emulator.put_object(bucket, "a", size=size, seed=5)
    connection = small_window(front())
    connection.send(b"GET /media/a HTTP/1.1\r\nHost: a\r\n\r\n")
    response = connection.head()
    body = connection._buffer
    pauses = 0
    while len(body) < size:
        if len(body) > pauses * (size >> 3):
            time.sleep(0.03)
            pauses += 1
        data = connection.sock.recv(65536)
        assert data
        body += data
    assert response.status == 200
    assert body == content(5, 0, size)


def test_a_client_that_does_not_read_holds_gcs_back(front, emulator, bucket):
    """nginx must not take in what nobody reads."""
    size = 200 << 20
    emulator.put_object(bucket, "a", size=size)
    connection = small_window(front())
    connection.send(b"GET /media/a HTTP/1.1\r\nHost: a\r\n\r\n")
    connection.head()

    seen = [-1, -1]

    def still():
        seen.append(storage(emulator)[0]["sent"])
        time.sleep(0.05)
        return seen[-1] == seen[-2] == seen[-3] > 0

    wait_until(still)
    assert seen[-1] < size // 4


@pytest.mark.parametrize("fault", [
    dict(delay=0.3),
    dict(split_at=[1, 9, 16, 40, 200], split_pause=0.03),
    dict(rate=400000),
    dict(stall_after=0, stall_seconds=0.3),
    dict(stall_after=100000, stall_seconds=0.3),
    dict(chunked=True, rate=400000),
    dict(http10=True),
    dict(close=True),
    dict(silent_close=True),
], ids=lambda fault: "-".join(fault))
def test_a_slow_or_odd_gcs_gives_the_same_bytes(fault, front, emulator,
                                                bucket):
    emulator.put_object(bucket, "a", size=150001, seed=2)
    connection = front().connect()
    for _ in range(2):
        emulator.fault(kind="storage", **fault)
        response = connection.get("/media/a")
        assert response.status == 200
        assert response.body == content(2, 0, 150001)

    emulator.fault(kind="storage", **fault)
    response = connection.get("/media/a", {"Range": "bytes=99990-100009"})
    assert (response.status, response.body) == (206, content(2, 99990,
                                                             100010))


@pytest.mark.parametrize("fault", [
    dict(truncate_after=70000), dict(reset_after=70000),
    dict(truncate_after=70000, chunked=True),
    dict(reset="after_headers"), dict(truncate_after=0),
], ids=lambda fault: "-".join(f"{k}-{v}" for k, v in fault.items()))
def test_a_body_that_gcs_cuts_off_is_seen_as_cut_off(fault, front, emulator,
                                                     bucket):
    emulator.put_object(bucket, "a", size=150000, seed=2)
    server = front()
    emulator.fault(kind="storage", **fault)

    with pytest.raises(Truncated) as caught:
        server.get("/media/a")
    if caught.value.response is not None:
        body = caught.value.response.body
        assert body == content(2, 0, len(body))

    assert server.get("/media/a").body == content(2, 0, 150000)


def test_a_gcs_that_falls_silent_ends_with_proxy_read_timeout(
        front, emulator, bucket):
    emulator.put_object(bucket, "a", size=150000, seed=2)
    server = front("proxy_read_timeout 300ms; proxy_next_upstream off;")

    emulator.fault(kind="storage", hang=True)
    response = server.get("/media/a")
    assert response.status == 504
    assert is_own_page(response, 504)

    emulator.fault(kind="storage", stall_after=70000)
    with pytest.raises(Truncated):
        server.get("/media/a")

    wait_until(lambda: only_the_token_s(emulator))


def only_the_token_s(emulator):
    """libcurl keeps its connection; those to the bucket are closed."""
    return emulator.open_connections() <= 1


def gone(emulator):
    """Whether the request at GCS was ended before its time."""
    return [r["aborted"] for r in storage(emulator)] == [True]


def test_a_client_gone_mid_body_closes_the_side_of_gcs(front, emulator,
                                                       bucket):
    emulator.put_object(bucket, "a", size=4 * GIB)
    server = front()
    connection = server.connect()
    connection.send(b"GET /media/a HTTP/1.1\r\nHost: a\r\n\r\n")
    connection.head()
    connection.close()

    wait_until(lambda: gone(emulator))
    wait_until(lambda: only_the_token_s(emulator))
    assert storage(emulator)[0]["sent"] < GIB


def test_a_client_gone_in_a_stall_closes_the_side_of_gcs(front, emulator,
                                                         bucket):
    emulator.put_object(bucket, "a", size=1 << 20)
    emulator.fault(kind="storage", stall_after=1000)
    connection = front().connect()
    connection.send(b"GET /media/a HTTP/1.1\r\nHost: a\r\n\r\n")
    connection.head()
    connection.close()
    wait_until(lambda: gone(emulator))
    wait_until(lambda: only_the_token_s(emulator))


def test_a_client_gone_before_the_answer_closes_the_side_of_gcs(
        front, emulator, bucket):
    emulator.put_object(bucket, "a", b"x")
    emulator.fault(kind="storage", hang=True)
    connection = front().connect()
    connection.send(b"GET /media/a HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: storage(emulator))
    connection.close()
    wait_until(lambda: gone(emulator))
    wait_until(lambda: only_the_token_s(emulator))


def test_a_client_gone_in_the_pause_before_a_retry_ends_it(front, emulator,
                                                           bucket):
    emulator.put_object(bucket, "a", b"x")
    emulator.fault(kind="storage", status=503, code="ServiceUnavailable",
                   retry_after=2, count=None)
    server = front()
    connection = server.connect()
    connection.send(b"GET /media/a HTTP/1.1\r\nHost: a\r\n\r\n")
    server.wait_log("trying again")
    connection.close()
    server.wait_log("client prematurely closed")
    assert emulator.counts()["storage"] == 1
    wait_until(lambda: " 499 " in server.access_log())


# old and eager clients


def test_a_client_of_http_1_0_gets_the_bytes_and_the_end(front, digits):
    server = front()
    connection = server.connect()
    response = connection.request("GET", "/media/digits.txt", version="1.0")
    assert (response.status, response.body) == (200, DIGITS)
    assert response.get("Content-Length") == "10"
    assert response.get("Connection") == "close"
    assert "transfer-encoding" not in response.names
    assert connection.closed_by_peer()


def test_a_client_of_http_1_0_may_keep_its_connection(front, digits):
    connection = front().connect()
    for headers, status in (({}, 200), ({"Range": "bytes=1-2"}, 206),
                            ({"Range": "bytes=99-"}, 416),
                            ({"If-None-Match": "*"}, 304)):
        response = connection.request(
            "GET", "/media/digits.txt",
            {**headers, "Connection": "keep-alive"}, version="1.0")
        assert response.status == status
        assert response.get("Connection") == "keep-alive"


def test_a_client_of_http_1_0_is_not_sent_chunks(front, digits, emulator):
    emulator.fault(kind="storage", chunked=True)
    connection = front().connect()
    response = connection.request("GET", "/media/digits.txt",
                                  {"Connection": "keep-alive"},
                                  version="1.0")
    assert (response.status, response.body) == (200, DIGITS)
    assert "transfer-encoding" not in response.names
    assert connection.closed_by_peer()


def test_a_request_without_host_of_http_1_0_is_served(front, digits):
    response = front().raw(b"GET /media/digits.txt HTTP/1.0\r\n\r\n")
    assert (response.status, response.body) == (200, DIGITS)


def test_pipelined_requests_are_answered_in_order(front, digits, emulator,
                                                  bucket):
    emulator.put_object(bucket, "long", size=300000, seed=9)
    requests = [
        # method, path, a header, status, body
        ("GET", "digits.txt", "A: b", 200, DIGITS),
        ("HEAD", "long", "A: b", 200, b""),
        ("GET", "none", "A: b", 404, None),
        ("GET", "long", "A: b", 200, content(9, 0, 300000)),
        ("GET", "digits.txt", "Range: bytes=99-", 416, None),
        ("GET", "digits.txt", "If-None-Match: *", 304, b""),
        ("GET", "digits.txt", "Range: bytes=4-5", 206, b"45"),
        ("HEAD", "none", "A: b", 404, b""),
        ("GET", "digits.txt", "A: b", 200, DIGITS),
    ]
    connection = front().connect()
    connection.send(b"".join(
        f"{method} /media/{path} HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n"
        .encode() for method, path, header, _, _ in requests))

    for method, path, header, status, body in requests:
        response = connection.response(method)
        assert response.status == status, (method, path, header)
        if body is not None:
            assert response.body == body, (method, path, header)


def test_requests_share_one_connection_to_gcs(front, digits, emulator):
    server = front()
    for _ in range(10):
        assert server.get("/media/digits.txt").body == DIGITS
    assert emulator.counts()["storage"] == 10
    assert emulator.connections()["storage"] == 1


# bodies that nobody wants

BODIES = """
    location /media/  { gcs_pass gs://test-bucket/; }
    location /signed/ { gcs_pass gs://test-bucket/; gcs_mode presign; }
    location /api/    { gcs_api on; gcs_buckets api; }
    location /cors/   { gcs_pass gs://test-bucket/;
                        gcs_cors https://a.example; }
    location /status  { gcs_status; }
    location /check   { gcs_check gs://test-bucket/; gcs_auth reader; }
"""


@pytest.mark.parametrize("method, path", [
    ("GET", "/media/digits.txt"), ("GET", "/signed/digits.txt"),
    ("GET", "/api/digits.txt"), ("OPTIONS", "/cors/digits.txt"),
    ("GET", "/status"), ("GET", "/check")])
def test_a_body_that_is_broken_is_the_clients_fault(nginx, digits, emulator,
                                                    key_file, method, path):
    server = nginx(HTTP, server=BODIES)
    answer = server.raw(
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n"
        "Access-Control-Request-Method: GET\r\n"
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode())
    assert (answer.status, answer.get("Connection")) == (400, "close")
    assert storage(emulator) == []

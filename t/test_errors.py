"""What becomes of GCS's errors: the status, the page, the reason, the log,
and what is tried again."""

from __future__ import annotations

import re
import socket
import threading
import time

import pytest

from emulator import content
from harness import Truncated
from harness.nginx import wait_until

HTTP = """
    gcs_credentials reader { file %%KEY%%; }
    gcs_auth reader;
    gcs_endpoint %%EMULATOR%%;
    log_format error "$status $upstream_status error=$gcs_error";
    access_log %%DIR%%/errors.log error;
"""

BODY = b"0123456789"


@pytest.fixture
def front(nginx, emulator, key_file, bucket):
    emulator.put_object(bucket, "a", BODY, content_type="text/plain")

    def make(location="", server="", http="", **kw):
        return nginx(HTTP + http, server=server + """
            location /media/ {
                gcs_pass gs://test-bucket/;
                add_header X-Error "$gcs_error" always;
                add_header X-Status "$upstream_status" always;
                %s
            }
        """ % location, **kw)

    return make


def storage(emulator):
    return emulator.requests("storage")


def statuses(emulator):
    return [record["status"] for record in storage(emulator)]


def upstream_status(response):
    """nginx parts what was one after the other by ", " or " : "."""
    value = response.get("X-Status") or ""
    return [int(status) for status in re.findall(r"\d+", value)]


def errors(server):
    return [line for line in server.log().splitlines() if "[error]" in line]


def is_own_page(response, status):
    assert response.status == status
    assert response.get("Content-Type") == "text/html"
    assert f"<h1>{status} ".encode() in response.body
    assert b"<center>nginx" in response.body
    assert response.get("Content-Length") == str(len(response.body))
    assert len([n for n, _ in response.headers]) == len(response.names)
    return True


OFF = "proxy_next_upstream off;"

MAPPING = [
    # GCS, its code, the client's, $gcs_error
    (400, "InvalidArgument", 502), (400, "UserProjectMissing", 502),
    (402, None, 502), (403, "AccessDenied", 403),
    (403, "UserProjectAccessDenied", 403), (404, "NoSuchKey", 404),
    (404, "NoSuchBucket", 404), (405, "MethodNotAllowed", 502),
    (406, None, 502), (407, None, 502), (408, "RequestTimeout", 502),
    (409, "Conflict", 502), (410, None, 502), (411, None, 502),
    (412, "PreconditionFailed", 412), (413, "EntityTooLarge", 502),
    (414, None, 502), (415, None, 502), (416, "InvalidRange", 416),
    (417, None, 502), (418, None, 502), (421, None, 502),
    (426, None, 502), (428, None, 502),
    (429, "SlowDown", 503), (431, None, 502), (451, None, 502),
    (499, None, 502), (500, "InternalError", 502), (501, None, 502),
    (502, None, 502), (503, "ServiceUnavailable", 503), (504, None, 502),
    (505, None, 502), (511, None, 502), (599, None, 502),
    (300, None, 502), (301, "MovedPermanently", 502),
    (302, "Found", 502), (303, None, 502), (305, None, 502),
    (307, "TemporaryRedirect", 502), (308, None, 502),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_status_of_gcs_has_one_of_ours(method, front, emulator):
    server = front(OFF)
    connection = server.connect()

    for status, code, answer in MAPPING:
        emulator.fault(kind="storage", status=status, code=code,
                       headers=[["Location", "http://evil.example/"]])
        response = connection.request(method, "/media/a")
        assert response.status == answer, (status, code)
        if method == "GET":
            assert is_own_page(response, answer)
        # the answer to a HEAD has no body that could tell the code
        expected = code if code and method == "GET" else f"http_{status}"
        assert response.get("X-Error") == expected
        assert upstream_status(response) == [status]
        assert "location" not in response.names

    assert len(storage(emulator)) == len(MAPPING)
    assert connection.get("/media/a").body == BODY
    # errors are read to their end: the connection went on
    assert emulator.connections()["storage"] == 1


@pytest.mark.parametrize("kind,body", [
    ("text/html", "<!DOCTYPE html><title>Error 404</title><b>secret</b>"),
    ("application/json", '{"error": {"code": 404, "message": "secret"}}'),
    ("application/xml", "<Error><Code>secret code!</Code></Error>"),
    ("application/xml", "<Error><Code></Code></Error>"),
    ("application/xml", "<Error><Code>NoEnd"),
    ("application/xml", "<Code>" + "A" * 500 + "</Code>"),
    ("text/plain", ""), ("text/plain", "\x00\xff" * 50)])
def test_an_error_that_is_not_google_s_xml_is_known_by_its_status(
        kind, body, front, emulator):
    server = front()
    for _ in range(2):
        emulator.fault(kind="storage", status=404, body=body,
                       content_type=kind)
        response = server.get("/media/a")
        assert is_own_page(response, 404)
        assert response.get("X-Error") == (
            "A" * 64 if "AAAA" in body else "http_404") \
            or "AAAA" in body and response.get("X-Error") == "http_404"
        assert b"secret" not in response.body
    assert emulator.connections()["storage"] == 1


@pytest.mark.parametrize("fault", [
    dict(chunked=True), dict(close=True), dict(http10=True),
    dict(silent_close=True), dict(split_at=[5, 30, 100]),
    dict(rate=600), dict(content_length_delta=-20), dict(truncate_after=20),
    dict(truncate_after=20, chunked=True), dict(reset_after=20),
    dict(content_length_delta=5), dict(remove_headers=["Content-Type"])],
    ids=lambda fault: "-".join(fault))
def test_an_error_s_body_may_come_in_any_way(fault, front, emulator):
    cut = {"truncate_after", "reset_after", "content_length_delta"} \
        & set(fault)
    server = front(OFF if cut else "")
    for _ in range(2):
        emulator.fault(kind="storage", status=403, code="AccessDenied",
                       **fault)
        response = server.get("/media/a")
        if cut:
            assert response.status in (403, 502)
        else:
            assert is_own_page(response, 403)
            assert response.get("X-Error") == "AccessDenied"
        assert server.get("/media/a").body == BODY


def test_an_error_larger_than_the_buffer_is_cut_not_waited_for(front,
                                                               emulator):
    server = front("proxy_buffer_size 4k; proxy_buffers 8 4k;")
    body = "<Error><Code>AccessDenied</Code><Details>" + "x" * 100000
    for _ in range(2):
        emulator.fault(kind="storage", status=403, body=body,
                       content_type="application/xml")
        response = server.get("/media/a")
        assert is_own_page(response, 403)
        assert response.get("X-Error") == "AccessDenied"
        assert server.get("/media/a").body == BODY


def test_a_slow_error_body_ends_with_proxy_read_timeout(front, emulator):
    server = front(OFF + "proxy_read_timeout 200ms;")
    emulator.fault(kind="storage", status=403, code="AccessDenied",
                   stall_after=10)
    assert server.get("/media/a").status in (403, 504)


# the log: one line, with the name of the credentials and the code


@pytest.mark.parametrize("status,code,level", [
    (403, "AccessDenied", "error"), (404, "NoSuchKey", "error"),
    (400, "InvalidArgument", "error"), (503, "ServiceUnavailable", "error"),
    (500, "InternalError", "error"), (302, None, "error"),
    (412, "PreconditionFailed", None), (416, "InvalidRange", None)])
def test_a_failure_has_exactly_one_line_in_the_log(status, code, level,
                                                   front, emulator):
    server = front(OFF)
    emulator.fault(kind="storage", status=status, code=code)
    server.get("/media/a")

    lines = errors(server)
    if level is None:
        assert lines == []                 # what clients ask for
        return
    assert len(lines) == 1, lines
    assert f'gcs responded {status} "{code or "http_302"}"' in lines[0]
    assert 'credentials "reader"' in lines[0]
    assert '"gs://test-bucket/a"' in lines[0]
    assert 'request: "GET /media/a HTTP/1.1"' in lines[0]


def test_the_line_has_google_s_details_on_one_line(front, emulator):
    server = front(OFF)
    emulator.fault(kind="storage", status=403, content_type="text/xml",
                   body="<Error><Code>AccessDenied</Code><Details>it is\n"
                   "2000/01/01 [alert] forged\x01\x7f</Details></Error>")
    server.get("/media/a")
    lines = errors(server)
    assert len(lines) == 1
    assert "it is 2000/01/01 [alert] forged" in lines[0]
    server.expect("forged")


def test_log_not_found_off_keeps_a_404_quiet(front, emulator):
    server = front("log_not_found off;")
    assert server.get("/media/none").status == 404
    assert errors(server) == []
    assert 'gcs responded 404 "NoSuchKey"' in server.log()


def test_a_failed_token_has_one_line(front, emulator):
    emulator.fault(kind="token", status=400, count=None,
                   body='{"error": "invalid_grant"}')
    server = front()
    response = server.get("/media/a")
    assert is_own_page(response, 502)
    assert response.get("X-Error") == "token_unavailable"
    lines = [line for line in errors(server) if "request:" in line]
    assert len(lines) == 1, lines
    assert '"reader"' in lines[0]
    assert storage(emulator) == []


def test_a_token_that_does_not_come_is_504(front, emulator):
    emulator.fault(kind="token", hang=True, count=None)
    server = front("gcs_token_timeout 200ms;")
    server.graceful = False
    response = server.get("/media/a")
    assert is_own_page(response, 504)
    assert response.get("X-Error") == "token_timeout"
    lines = [line for line in errors(server) if "request:" in line]
    assert len(lines) == 1 and '"reader"' in lines[0]
    assert storage(emulator) == []


# error_page


def test_error_page_takes_a_uri(front, emulator):
    server = front("error_page 404 /404.html;",
                   "location = /404.html { internal; return 404 gone; }")
    response = server.get("/media/none")
    assert (response.status, response.body) == (404, b"gone")


def test_error_page_takes_a_file_and_a_code(front, emulator):
    server = front("error_page 404 =200 /empty.json;",
                   "location = /empty.json { internal; root %%DIR%%; }")
    (server.dir / "empty.json").write_text("[]")
    response = server.get("/media/none")
    assert (response.status, response.body) == (200, b"[]")
    assert response.get("ETag") is not None     # the file's own


def test_error_page_takes_a_named_location(front, emulator):
    server = front(
        "error_page 404 403 = @fallback;",
        'location @fallback { return 200 "$status $gcs_error $uri"; }')
    response = server.get("/media/none")
    assert response.status == 200
    assert b"NoSuchKey /media/none" in response.body
    emulator.fault(kind="storage", status=403, code="AccessDenied")
    assert b"AccessDenied /media/a" in server.get("/media/a").body


def test_error_page_may_lead_to_another_object(front, emulator, bucket):
    """The usual fallback of web applications."""
    emulator.put_object(bucket, "index.html", b"<app>",
                        content_type="text/html")
    server = front("error_page 404 =200 /media/index.html;")
    for _ in range(3):
        response = server.get("/media/some/page")
        assert (response.status, response.body) == (200, b"<app>")
        assert response.get("Content-Type") == "text/html"
        assert len(response.all("ETag")) == 1
    assert [r["target"] for r in storage(emulator)] == [
        "/test-bucket/some/page", "/test-bucket/index.html"] * 3
    assert emulator.connections()["storage"] == 1


def test_error_page_may_lead_to_another_bucket(front, emulator, key_file,
                                               bucket):
    emulator.create_bucket("second", public=True)
    emulator.put_object("second", "media/x", b"second")
    server = front("error_page 404 = @second;",
                   "location @second { gcs_pass gs://second/; }")
    response = server.get("/media/x")
    assert (response.status, response.body) == (200, b"second")
    assert response.get("X-Content-Type-Options") == "nosniff"
    assert server.get("/media/none").status == 404


def test_error_page_of_a_missing_page_does_not_turn_round(front, emulator):
    server = front("error_page 404 =200 /media/index.html;")
    assert server.get("/media/some/page").status == 404
    assert len(storage(emulator)) == 2


def test_recursive_error_pages(front, emulator):
    server = front("error_page 404 = @one; recursive_error_pages on;", """
        location @one { gcs_pass gs://test-bucket/p; error_page 404 = @two; }
        location @two { return 200 two; }
    """)
    response = server.get("/media/none")
    assert (response.status, response.body) == (200, b"two")


def test_error_page_with_a_redirect(front, emulator):
    server = front("error_page 404 https://example.com/gone;")
    response = server.get("/media/none")
    assert response.status == 302
    assert response.get("Location") == "https://example.com/gone"


@pytest.mark.parametrize("status,answer", [(503, 503), (500, 502),
                                           (401, 502), (302, 502)])
def test_error_page_sees_our_status_not_google_s(status, answer, front,
                                                 emulator):
    server = front(OFF + f"error_page {answer} /ours; error_page 500 /not;",
                   "location = /ours { return 200 ours; }"
                   "location = /not { return 200 not; }")
    emulator.fault(kind="storage", status=status, count=None)
    assert server.get("/media/a").body == b"ours"


@pytest.mark.parametrize("directive", [
    "", "proxy_intercept_errors off;", "proxy_intercept_errors on;"])
def test_proxy_intercept_errors_makes_no_difference(directive, front,
                                                    emulator):
    server = front(directive + "error_page 404 /404.html;",
                   "location = /404.html { return 404 gone; }")
    assert server.get("/media/none").body == b"gone"
    emulator.fault(kind="storage", status=403, code="AccessDenied")
    assert is_own_page(server.get("/media/a"), 403)


def test_an_error_in_a_subrequest_does_not_spoil_the_page(front, emulator,
                                                          bucket):
    emulator.put_object(bucket, "page",
                        b'[<!--#include virtual="/media/none" -->]',
                        content_type="text/html")
    response = front("ssi on;").get("/media/page")
    assert response.status == 200
    assert response.body.startswith(b"[") and response.body.endswith(b"]")
    assert b"NoSuchKey" not in response.body


# once more, where that helps


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status,code", [
    (408, "RequestTimeout"), (429, "SlowDown"), (500, "InternalError"),
    (502, None), (503, "ServiceUnavailable"), (504, None)])
def test_one_failure_is_not_seen_by_the_client(status, code, method, front,
                                               emulator):
    server = front()
    emulator.fault(kind="storage", status=status, code=code)
    response = server.request(method, "/media/a")
    assert response.status == 200
    assert response.body == (BODY if method == "GET" else b"")
    assert response.get("X-Error") is None
    assert upstream_status(response) == [status, 200]
    assert statuses(emulator) == [status, 200]
    assert emulator.connections()["storage"] == 1
    assert errors(server) == []


def test_the_range_is_kept_in_the_second_try(front, emulator):
    emulator.fault(kind="storage", status=503)
    response = front().get("/media/a", {"Range": "bytes=2-5"})
    assert (response.status, response.body) == (206, BODY[2:6])


def test_it_ends_after_three_tries_with_one_line(front, emulator):
    server = front()
    emulator.fault(kind="storage", status=503, code="ServiceUnavailable",
                   count=None)
    start = time.monotonic()
    response = server.get("/media/a")
    took = time.monotonic() - start

    assert is_own_page(response, 503)
    assert response.get("X-Error") == "ServiceUnavailable"
    assert upstream_status(response) == [503, 503, 503]
    assert statuses(emulator) == [503, 503, 503]
    assert len(errors(server)) == 1
    assert 0.3 < took < 3

    # later tries wait longer
    times = [record["time"] for record in storage(emulator)]
    assert times[1] - times[0] >= 0.095
    assert times[2] - times[1] >= 0.19


@pytest.mark.parametrize("status", [400, 403, 404, 409, 412, 416, 302])
def test_what_would_not_change_is_not_asked_again(status, front, emulator):
    emulator.fault(kind="storage", status=status)
    front().get("/media/a")
    assert len(storage(emulator)) == 1


def test_a_retry_after_that_is_short_is_heeded(front, emulator):
    emulator.fault(kind="storage", status=429, code="SlowDown",
                   retry_after=1)
    response = front().get("/media/a")
    assert (response.status, response.body) == (200, BODY)
    times = [record["time"] for record in storage(emulator)]
    assert times[1] - times[0] >= 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_that_is_long_is_the_client_s(status, front, emulator):
    emulator.fault(kind="storage", status=status, retry_after=30)
    response = front().get("/media/a")
    assert response.status == 503
    assert response.get("Retry-After") == "30"
    assert len(storage(emulator)) == 1


def test_a_retry_after_of_a_try_that_was_followed_is_not_sent(front,
                                                              emulator):
    emulator.fault(kind="storage", status=503, retry_after=0)
    response = front().get("/media/a")
    assert response.status == 200
    assert "retry-after" not in response.names


@pytest.mark.parametrize("value", ["Fri, 01 Jan 2027 00:00:00 GMT", "x", "",
                                   "-1", "99999999999999999999"])
def test_an_odd_retry_after_does_no_harm(value, front, emulator):
    emulator.fault(kind="storage", status=503,
                   headers=[["Retry-After", value]])
    assert front().get("/media/a").status in (200, 503)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_write_is_never_tried_again(method, status, front, emulator,
                                      key_file, bucket):
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin"]}))
    server = front("gcs_methods GET HEAD PUT DELETE;")
    emulator.fault(kind="storage", status=status)
    response = server.request(method, "/media/a", {}, b"new")
    assert response.status == (status if status in (429, 503) else 502)
    assert statuses(emulator) == [status]
    assert emulator.get_object(bucket, "a")["data"] == BODY


def test_a_write_whose_connection_breaks_is_not_sent_again(
        front, emulator, key_file, bucket):
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin"]}))
    server = front("gcs_methods GET HEAD PUT DELETE;")
    emulator.fault(kind="storage", reset="before_headers")
    response = server.request("PUT", "/media/a", {}, b"new")
    assert response.status == 502
    assert len(storage(emulator)) == 1


def test_proxy_next_upstream_off_is_respected(front, emulator):
    emulator.fault(kind="storage", status=503, count=None)
    assert front(OFF).get("/media/a").status == 503
    assert len(storage(emulator)) == 1


@pytest.mark.parametrize("tries,count", [(1, 1), (2, 2), (3, 3)])
def test_proxy_next_upstream_tries_is_respected(tries, count, front,
                                                emulator):
    emulator.fault(kind="storage", status=503, count=None)
    front(f"proxy_next_upstream_tries {tries};").get("/media/a")
    assert len(storage(emulator)) == count


def test_proxy_next_upstream_timeout_is_respected(front, emulator):
    emulator.fault(kind="storage", status=503, count=None)
    server = front("proxy_next_upstream_timeout 50ms;")
    assert server.get("/media/a").status == 503
    assert len(storage(emulator)) == 1


@pytest.mark.parametrize("timeout, tries", [("100ms", 1), ("2s", 2)])
def test_the_time_of_the_first_try_counts(timeout, tries, front, emulator):
    emulator.fault(kind="storage", status=503, delay=0.15)
    server = front(f"proxy_next_upstream_timeout {timeout};")
    response = server.get("/media/a")
    assert response.status == (503 if tries == 1 else 200)
    assert len(storage(emulator)) == tries


def test_a_broken_connection_is_tried_again(front, emulator):
    """nginx's own retry: a kept connection that GCS has closed."""
    server = front()
    assert server.get("/media/a").body == BODY
    for reset in (False, True):
        emulator.close_connections(reset=reset)
        assert server.get("/media/a").body == BODY

    emulator.fault(kind="storage", silent_close=True)
    assert server.get("/media/a").body == BODY
    assert server.get("/media/a").body == BODY


@pytest.mark.parametrize("fault,answer,word", [
    (dict(garbage=True), 502, "upstream_error"),
    (dict(reset="before_headers"), 502, "upstream_error"),
    (dict(oversized_header=100000), 502, "upstream_error"),
    (dict(hang=True), 504, "upstream_timeout")],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None)
def test_what_is_not_an_answer_is_502_or_504(fault, answer, word, front,
                                             emulator):
    server = front(OFF + "proxy_read_timeout 300ms;")
    emulator.fault(kind="storage", count=None, **fault)
    response = server.get("/media/a", timeout=5)
    assert is_own_page(response, answer)
    assert response.get("X-Error") == word
    assert len(errors(server)) == 1

    emulator.clear_faults()
    assert server.get("/media/a").body == BODY


@pytest.fixture
def closing():
    """A server that says what it will not send, and closes."""
    answer = (b"HTTP/1.1 %d Whatever\r\nContent-Type: application/xml\r\n"
              b"Connection: close\r\nContent-Length: 20\r\n\r\n")

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                path = connection.recv(65536).split()[1]
                connection.sendall(answer % int(path.rpartition(b"/")[2]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("status, wanted", [
    (403, 403), (404, 404), (412, 412), (400, 502)])
def test_an_error_to_head_need_not_keep_the_connection(
        nginx, key_file, closing, status, wanted):
    server = nginx("""
        gcs_credentials reader { file %%KEY%%; }
        server {
            listen 127.0.0.1:%%PORT%%;
            location /media/ {
                gcs_pass gs://test-bucket/;
                gcs_auth reader;
                gcs_endpoint http://127.0.0.1:@;
            }
        }
    """.replace("@", str(closing)))
    assert server.request("HEAD", f"/media/{status}").status == wanted
    assert "prematurely" not in server.log()


def test_an_endpoint_that_is_down_is_502(nginx, emulator, key_file, bucket):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = nginx(HTTP.replace("%%EMULATOR%%", "http://127.0.0.1:"
                                    f"{sock.getsockname()[1]}"), server="""
            location / {
                gcs_pass gs://test-bucket/;
                add_header X-Error $gcs_error always;
            }
        """)
        response = server.get("/a")
    assert is_own_page(response, 502)
    assert response.get("X-Error") == "upstream_error"


def test_failures_and_answers_share_one_connection(front, emulator):
    server = front()
    wanted = []
    for number in range(30):
        status = (200, 404, 503, 403, 206, 416, 304, 429)[number % 8]
        headers = {}
        if status in (503, 429, 403):
            emulator.fault(kind="storage", status=status,
                           code="AccessDenied" if status == 403 else None)
        if status == 206:
            headers = {"Range": "bytes=0-1"}
        if status == 416:
            headers = {"Range": "bytes=50-"}
        if status == 304:
            headers = {"If-None-Match": "*"}
        target = "/media/none" if status == 404 else "/media/a"
        response = server.get(target, headers)
        wanted.append(status)
        assert response.status == {503: 200, 429: 200}.get(status, status)
    assert emulator.connections()["storage"] == 1
    assert len(storage(emulator)) == 30 + wanted.count(503) \
        + wanted.count(429)


def test_a_held_request_does_not_hold_others(front, emulator):
    server = front()
    emulator.fault(kind="storage", status=503, retry_after=2)
    slow = threading.Thread(target=server.get, args=("/media/a",))
    slow.start()
    server.wait_log("trying again")
    start = time.monotonic()
    assert server.get("/media/a").body == BODY
    assert time.monotonic() - start < 1
    slow.join()


def test_a_pause_does_not_outlast_proxy_read_timeout(front, emulator):
    """The hold is one more wait for GCS."""
    server = front("proxy_read_timeout 400ms;")
    emulator.fault(kind="storage", status=503, retry_after=2, count=None)
    start = time.monotonic()
    response = server.get("/media/a")
    assert response.status in (503, 504)
    assert time.monotonic() - start < 2


def test_a_large_object_is_whole_after_a_failure(front, emulator, bucket):
    emulator.put_object(bucket, "big", size=5 << 20, seed=4)
    server = front()
    emulator.fault(kind="storage", status=500)
    assert server.get("/media/big").body == content(4, 0, 5 << 20)


def test_nothing_is_tried_again_once_bytes_were_sent(front, emulator,
                                                     bucket):
    emulator.put_object(bucket, "big", size=1 << 20, seed=4)
    server = front()
    emulator.fault(kind="storage", reset_after=500000)
    with pytest.raises(Truncated):
        server.get("/media/big")
    assert len(storage(emulator)) == 1


def test_slices_survive_failures(front, emulator, bucket):
    emulator.put_object(bucket, "big", size=100000, seed=4)
    server = front("slice 10000;")
    emulator.fault(kind="storage", status=503, skip=0)
    emulator.fault(kind="storage", status=429, skip=3)
    emulator.fault(kind="storage", status=500, skip=6)
    assert server.get("/media/big").body == content(4, 0, 100000)
    assert len(storage(emulator)) == 13


def test_a_cache_is_filled_right_after_failures(front, emulator, bucket):
    emulator.put_object(bucket, "big", size=300000, seed=4,
                        cache_control="public, max-age=60")
    server = front("proxy_cache one;",
                   http="proxy_cache_path %%DIR%%/c keys_zone=one:1m;")
    emulator.fault(kind="storage", status=503)
    for _ in range(2):
        assert server.get("/media/big").body == content(4, 0, 300000)
    assert statuses(emulator) == [503, 200]


def test_errors_are_not_cached_unless_told(front, emulator):
    server = front("proxy_cache one;",
                   http="proxy_cache_path %%DIR%%/c keys_zone=one:1m;")
    server.wait_log("token refreshed")
    for _ in range(2):
        emulator.fault(kind="storage", status=403, code="AccessDenied")
        assert server.get("/media/a").status == 403
    assert server.get("/media/a").body == BODY


def test_errors_are_cached_where_told(front, emulator):
    """GCS's own "private, max-age=0" has to be set aside for that."""
    server = front("proxy_cache one; proxy_cache_valid 404 1m;"
                   "proxy_ignore_headers Cache-Control Expires;",
                   http="proxy_cache_path %%DIR%%/c keys_zone=one:1m;")
    server.wait_log("token refreshed")
    for _ in range(3):
        assert is_own_page(server.get("/media/none"), 404)
    assert len(storage(emulator)) == 1


# 401


def test_a_401_is_answered_with_a_fresh_token(front, emulator):
    server = front()
    assert server.get("/media/a").body == BODY
    emulator.revoke_tokens()
    response = server.get("/media/a")
    assert (response.status, response.body) == (200, BODY)
    assert upstream_status(response) == [401, 200]
    assert statuses(emulator) == [200, 401, 200]
    assert emulator.counts()["token"] == 2
    assert errors(server) == []
    assert emulator.connections()["storage"] == 1

    # and the fresh one is the worker's from now on
    assert server.get("/media/a").body == BODY
    assert statuses(emulator)[3:] == [200]
    assert emulator.counts()["token"] == 2


def test_a_401_for_ever_is_502_and_does_not_fetch_for_ever(front, emulator):
    server = front()
    emulator.fault(kind="storage", status=401, count=None,
                   code="AuthenticationRequired")
    for _ in range(10):
        response = server.get("/media/a")
        assert is_own_page(response, 502)
        assert response.get("X-Error") == "AuthenticationRequired"
        assert "www-authenticate" not in response.names
    assert len(storage(emulator)) <= 20
    assert emulator.counts()["token"] <= 3
    assert len(errors(server)) == 10


def test_a_401_without_a_fresh_token_is_502(front, emulator):
    server = front()
    assert server.get("/media/a").body == BODY
    emulator.revoke_tokens()
    emulator.fault(kind="token", status=403, count=None,
                   body='{"error": "access_denied"}')
    response = server.get("/media/a")
    assert is_own_page(response, 502)
    assert response.get("X-Error") == "token_unavailable"

    # the account is back
    emulator.clear_faults()


def test_a_401_during_the_back_off_is_502_at_once(front, emulator):
    """Its token is of no use, and the endpoint wants to be left alone."""
    emulator.fault(kind="token", token_lifetime=3, token={"expires_in": 3})
    emulator.fault(kind="token", status=503, retry_after=30, count=None)
    server = front()
    assert server.get("/media/a").body == BODY
    server.wait_log("could not be fetched")     # ahead of the expiry
    emulator.revoke_tokens()
    start = time.monotonic()
    response = server.get("/media/a")
    assert time.monotonic() - start < 0.5
    assert is_own_page(response, 502)
    assert response.get("X-Error") == "token_unavailable"
    assert upstream_status(response) == [401]
    assert statuses(emulator) == [200, 401]
    assert emulator.counts()["token"] == 2

    # the next one need not ask GCS
    assert server.get("/media/a").status == 502
    assert statuses(emulator) == [200, 401]


def test_many_401_at_once_cost_one_token(front, emulator):
    server = front()
    assert server.get("/media/a").body == BODY
    emulator.revoke_tokens()
    emulator.fault(kind="token", delay=0.2)
    answers = []

    def ask():
        answers.append(server.get("/media/a").body)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [BODY] * 20
    assert emulator.counts()["token"] == 2


def test_a_401_of_anonymous_is_502(nginx, emulator, bucket):
    emulator.fault(kind="storage", status=401, code="AuthenticationRequired",
                   count=None)
    server = nginx(server="""
        gcs_endpoint %%EMULATOR%%; gcs_auth anonymous;
        location / { gcs_pass gs://test-bucket/; }
    """)
    assert server.get("/a").status == 502
    assert len(storage(emulator)) == 1


def test_a_client_gone_while_a_fresh_token_is_awaited(front, emulator):
    server = front()
    assert server.get("/media/a").body == BODY
    emulator.revoke_tokens()
    emulator.fault(kind="token", delay=1)
    connection = server.connect()
    connection.send(b"GET /media/a HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: emulator.counts()["token"] == 2)
    connection.close()
    server.wait_log("client prematurely closed")
    assert statuses(emulator) == [200, 401]
    assert server.get("/media/a").body == BODY


def test_gcs_error_is_in_the_access_log(front, emulator):
    server = front()
    server.get("/media/a")
    server.get("/media/none")
    wait_until(lambda: (server.dir / "errors.log").exists()
               and (server.dir / "errors.log").read_text().count("\n") >= 2)
    lines = (server.dir / "errors.log").read_text().splitlines()
    assert lines == ["200 200 error=-", "404 404 error=NoSuchKey"]

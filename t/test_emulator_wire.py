"""The emulator refuses, lists, keeps connections and misbehaves as told.

The second half of test_emulator.py, with its fixtures.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.parse

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from emulator import Emulator, EmulatorError, content  # noqa: E402
from test_emulator import (HELLO, WRITE, code, exchange,  # noqa: E402,F401
                           get, google, key, process, request_bytes, sign,
                           wire)


# Refusals

@pytest.mark.parametrize("value, credential", [
    ("Bearer wrong", "unknown"), ("bearer TOKEN", "malformed"),
    ("Bearer TOKEN ", "valid"), ("Bearer  TOKEN", "unknown"),
    ("Basic TOKEN", "malformed"), ("TOKEN", "malformed"),
    ("Bearer TOKEN.", "unknown")])
def test_only_the_exact_bearer_token_opens(google, get, value, credential):
    response = get(headers={
        "Authorization": value.replace("TOKEN", get.token)})
    if credential == "valid":              # white space at the end is HTTP's
        assert response.status == 200
    else:
        assert response.status == 401
        assert code(response) == "AuthenticationRequired"
        assert b"<Details>Invalid Credentials</Details>" in response.body
        assert response.getheader("www-authenticate").startswith("Bearer ")
    assert google.requests()[-1]["credential"] == credential


def test_what_may_not_be_read_is_denied_by_name(google, get):
    anonymous = get(token="")
    assert anonymous.status == 403 and code(anonymous) == "AccessDenied"
    assert b"Anonymous caller does not have storage.objects.get access" in \
        anonymous.body
    stranger = google.mint_token("stranger@example.com")
    denied = get(token=stranger)
    assert denied.status == 403
    assert b"<Details>stranger@example.com does not have storage.objects" \
        b".get access to the Google Cloud Storage object." in denied.body
    head = get(token=stranger, method="HEAD")
    assert head.status == 403 and head.body == b""


def test_a_missing_object_is_404_only_to_those_who_may_list(google, get, key):
    missing = get("/demo-bucket/missing")
    assert missing.status == 404 and code(missing) == "NoSuchKey"
    assert b"No such object: demo-bucket/missing" in missing.body
    google.grant(key["client_email"], "demo-bucket", ["legacyObjectReader"])
    assert get("/demo-bucket/missing").status == 403
    assert get().status == 200
    missing = get("/no-such-bucket/x")
    assert missing.status == 404 and code(missing) == "NoSuchBucket"


def test_json_errors_have_their_own_shapes(get):
    path = "/storage/v1/b/demo-bucket/o/"
    answer = json.loads(get(path + "missing").body)["error"]
    assert answer["code"] == 404
    assert answer["message"] == "No such object: demo-bucket/missing"
    assert get(path + "missing?alt=media").body == \
        b"No such object: demo-bucket/missing"
    anonymous = get(path + "a.txt", token="")
    assert anonymous.status == 401
    assert json.loads(anonymous.body)["error"]["errors"][0]["reason"] == \
        "required"
    wrong = get(path + "a.txt", token="wrong")
    assert wrong.status == 401
    assert json.loads(wrong.body)["error"]["message"] == \
        "Invalid Credentials"


def test_a_read_only_token_cannot_write(google, get, key):
    google.grant(key["client_email"], "demo-bucket", ["objectUser"])
    path = "/demo-bucket/new"
    refused = get(path, method="PUT", body=b"x")
    assert refused.status == 403
    assert b"Provided scope(s) are not authorized" in refused.body
    writer = google.mint_token(key["client_email"], [WRITE])
    first = {"x-goog-if-generation-match": "0"}
    assert get(path, first, writer, "PUT", b"x").status == 200
    assert get(path, first, writer, "PUT", b"y").status == 412
    assert get(path).body == b"x"
    bad = base64.b64encode(b"0" * 16).decode()
    assert code(get(path, {"Content-MD5": bad}, writer, "PUT", b"z")) == \
        "BadDigest"
    assert get(path, None, writer, "DELETE").status == 204
    assert get(path).status == 404


def test_requester_pays_needs_a_project(google, get, key):
    google.update_bucket("demo-bucket", requester_pays=True)
    assert code(get()) == "UserProjectMissing"
    paid = {"x-goog-user-project": "demo-project"}
    assert get(headers=paid).status == 200
    assert get("/demo-bucket/a.txt?userProject=demo-project").status == 200
    assert code(get("/demo-bucket/a.txt?userProject=other", paid)) == \
        "UserProjectInvalid"


def test_customer_keys_are_demanded_and_compared(google, get):
    def headers(raw):
        digest = base64.b64encode(hashlib.sha256(raw).digest()).decode()
        return {"x-goog-encryption-algorithm": "AES256",
                "x-goog-encryption-key": base64.b64encode(raw).decode(),
                "x-goog-encryption-key-sha256": digest}

    google.put_object("demo-bucket", "locked", b"secret", csek=b"k" * 32)
    path = "/demo-bucket/locked"
    assert get(path).status == 400
    assert get(path, headers(b"K" * 32)).status == 400
    assert get(path, headers(b"k" * 32)).body == b"secret"
    assert get(headers=headers(b"k" * 32)).status == 400


@pytest.mark.parametrize("header", [
    "Cookie: a=b", "X-Forwarded-For: 1.2.3.4", "x-amz-date: now",
    "X-Real-IP: 1.2.3.4", "Forwarded: for=x"])
def test_what_a_proxy_must_not_pass_on_is_a_violation(google, get, header):
    assert get(headers=dict([header.split(": ")])).status == 400
    name = header.split(":")[0].lower()
    assert [v["what"] for v in google.violations()] == ["header: " + name]
    google.configure(strict=False)
    assert get(headers=dict([header.split(": ")])).status == 200
    assert len(google.violations()) == 2


@pytest.mark.parametrize("query, status", [
    ("?v=1", 400), ("?acl", 403), ("?", 200), ("?alt=media", 400)])
def test_a_clients_query_is_a_violation(google, get, query, status):
    assert get("/demo-bucket/a.txt" + query).status == status
    assert len(google.violations()) == 1


@pytest.mark.parametrize("head", [
    b"GET /demo-bucket/a.txt HTTP/1.1\r\n",
    b"GET /demo-bucket/a.txt HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
    b"GET /x HTTP/1.1\r\nHost: localhost\r\nAuthorization:\r\n",
    b"GET /x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a\r\n"
    b"Authorization: Bearer b\r\n",
    b"GET /a b HTTP/1.1\r\nHost: localhost\r\n",
    b"GET /%zz HTTP/1.1\r\nHost: localhost\r\n",
    b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n",
    b"GET /\xc3\xbc HTTP/1.1\r\nHost: localhost\r\n",
    b"GET /x HTTP/1.1\r\nHost: localhost\r\nX : y\r\n",
    b"GET /x HTTP/1.1\r\nHost: localhost\r\nX: y\nZ: z\r\n",
    b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n"])
def test_malformed_requests_are_refused_and_recorded(google, head):
    answer = wire(google, head + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    [record] = google.requests()
    assert record["kind"] == "malformed" and record["violations"]


@pytest.mark.parametrize("sent", [
    b"GET /x HTT", b"PUT /x HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 9\r\n\r\nabc"])
def test_a_client_that_leaves_within_a_request_is_no_violation(google, sent):
    with socket.create_connection(("127.0.0.1", google.http_port), 5) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    assert [r["kind"] for r in google.requests()] == ["incomplete"]
    assert google.violations() == []


def test_only_known_hosts_are_answered(google, get):
    for host, status in (("storage.googleapis.com", 200),
                         ("storage.googleapis.com:443", 200),
                         ("localhost:1", 200), ("evil.example.com", 404),
                         ("oauth2.googleapis.com", 404)):
        assert get(headers={"Host": host}).status == status
    assert get("/a.txt", {"Host": "demo-bucket.storage.googleapis.com"}
               ).body == HELLO
    google.configure(hosts=["evil.example.com"])
    assert get(headers={"Host": "evil.example.com"}).status == 200


# Listing and CORS

def test_xml_lists_page_by_page(google, get):
    import xml.etree.ElementTree as ET
    google.create_bucket("demo-bucket")
    names = ["a/1", "a/2", "b", "c<&>", "d/1", "e"]
    for name in names:
        google.put_object("demo-bucket", name, b"x")

    def pages(query, token_name, parameter):
        found, token = [], None
        while True:
            more = "" if token is None else \
                f"&{parameter}=" + urllib.parse.quote(token, safe="")
            root = ET.fromstring(get(f"/demo-bucket?{query}{more}").body)
            for item in root.iter():
                tag = item.tag.partition("}")[2]
                if tag == "Key":
                    found.append(item.text)
                if tag == "CommonPrefixes":
                    found.append(item[0].text)
            if root.find("{*}IsTruncated").text == "false":
                return found
            token = root.find("{*}" + token_name).text

    assert pages("list-type=2&max-keys=2", "NextContinuationToken",
                 "continuation-token") == names
    assert pages("delimiter=/&max-keys=1", "NextMarker", "marker") == [
        "a/", "b", "c<&>", "d/", "e"]
    assert pages("list-type=2&prefix=a/", "", "") == ["a/1", "a/2"]
    assert google.violations() == []


def test_cors_rules_of_a_bucket_are_applied(google, get):
    google.update_bucket("demo-bucket", cors=[{
        "origin": ["https://app.example.com"], "method": ["GET"],
        "responseHeader": ["Content-Type"], "maxAgeSeconds": 60}])
    origin = {"Origin": "https://app.example.com"}
    assert get(headers=origin).getheader("access-control-allow-origin") == \
        "https://app.example.com"
    assert get(headers={"Origin": "https://other.example.com"}).getheader(
        "access-control-allow-origin") is None
    preflight = get(headers={**origin,
                             "Access-Control-Request-Method": "GET"},
                    token="", method="OPTIONS")
    assert preflight.status == 200
    assert preflight.getheader("access-control-max-age") == "60"


# Connections and faults

def test_a_connection_is_kept_even_after_errors(google, get):
    for path in ("/demo-bucket/a.txt", "/demo-bucket/missing", "/x"):
        get(path)
    get(token="")
    get(method="HEAD")
    assert google.connections() == {"storage": 1}
    assert google.counts() == {"storage": 5}


def test_small_bodies_travel_with_their_headers(google, get):
    with socket.create_connection(("127.0.0.1", google.http_port)) as sock:
        sock.sendall(request_bytes(get))
        assert sock.recv(65536).endswith(b"\r\n\r\n" + HELLO)


def test_faults_hit_what_they_name_as_often_as_they_say(google, get):
    google.fault(kind="storage", path="a[.]txt", method="GET", skip=1,
                 count=2, status=503, retry_after=7, body="busy")
    assert [get().status for _ in range(4)] == [200, 503, 503, 200]
    google.fault(kind="token", status=500)
    google.fault(path="nothing-like-this", status=500)
    assert get().status == 200
    assert [f["kind"] for f in google.pending_faults()] == ["token", None]
    google.clear_faults()
    assert google.pending_faults() == []
    with pytest.raises(EmulatorError, match="unknown fault member"):
        google.fault(typo=1)


def test_a_fault_may_revoke_the_token_first(google, get):
    google.fault(revoke_tokens=True)
    assert get().status == 401


def test_a_delay_holds_the_headers_back(google, get):
    google.fault(delay=0.3)
    started = time.monotonic()
    assert get().status == 200
    assert 0.3 <= time.monotonic() - started < 2


@pytest.mark.parametrize("fault, received", [
    ({"reset": "before_headers"}, None), ({"reset": "after_headers"}, b""),
    ({"reset_after": 5}, b"hello")])
def test_a_reset_is_a_reset(google, get, fault, received):
    google.fault(**fault)
    with socket.create_connection(("127.0.0.1", google.http_port), 5) as sock:
        sock.sendall(request_bytes(get))
        data = b""
        with pytest.raises(ConnectionResetError):
            while True:
                more = sock.recv(65536)
                assert more, "an orderly close"
                data += more
    if received is None:
        assert data == b""
    else:
        assert data.partition(b"\r\n\r\n")[2] == received


def test_a_truncated_body_ends_early_and_orderly(google, get):
    google.fault(truncate_after=5)
    data = wire(google, request_bytes(get))
    assert b"Content-Length: 12\r\n" in data
    assert data.endswith(b"\r\n\r\nhello")


def test_a_stall_sends_nothing_more_for_its_time(google, get):
    google.fault(stall_after=5, stall_seconds=0.4)
    started = time.monotonic()
    assert wire(google, request_bytes(get), until=b"hello").endswith(b"hello")
    assert time.monotonic() - started < 0.3
    google.fault(stall_after=5, stall_seconds=0.4)
    assert wire(google, request_bytes(get), until=HELLO).endswith(HELLO)
    assert time.monotonic() - started >= 0.4


def test_a_trickle_keeps_its_rate(google, get):
    google.fault(rate=40)
    started = time.monotonic()
    assert get().body == HELLO
    assert 0.2 < time.monotonic() - started < 3


def test_a_header_can_be_split_over_segments(google, get):
    google.fault(split_at=[6, 40], split_pause=0.1)
    with socket.create_connection(("127.0.0.1", google.http_port), 5) as sock:
        sock.sendall(request_bytes(get))
        assert sock.recv(65536) == b"HTTP/1"
        assert len(sock.recv(65536)) == 34
        assert sock.recv(65536).endswith(HELLO)


@pytest.mark.parametrize("fault, pattern", [
    ({"garbage": True}, rb"\x16\x03\x01"),
    ({"oversized_header": 20000}, rb"X-Oversized: x{20000}\r\n"),
    ({"informational": [103]}, rb"HTTP/1.1 103 .*\r\n\r\nHTTP/1.1 200 "),
    ({"content_length_delta": 3}, rb"Content-Length: 15\r\n(.|\s)*world\Z"),
    ({"content_length_delta": -3}, rb"Content-Length: 9\r\n"),
    ({"http10": True}, rb"HTTP/1.0 200 "),
    ({"chunked": True}, rb"\r\n\r\nc\r\nhello, world\r\n0\r\n\r\n\Z"),
    ({"close": True}, rb"Connection: close\r\n"),
    ({"silent_close": True}, rb"world\Z"),
    ({"headers": {"Set-Cookie": "a=b"}}, rb"Set-Cookie: a=b\r\n"),
    ({"status": 200, "body": "{"}, rb"Content-Length: 1\r\n.*\r\n\r\n\{"),
    ({"status": 429, "code": "SlowDown"}, rb"<Code>SlowDown</Code>")])
def test_wire_faults_are_seen_on_the_wire(google, get, fault, pattern):
    google.fault(**fault)
    last = () if "close" in str(fault) else ("Connection: close",)
    answer = wire(google, request_bytes(get, "/demo-bucket/a.txt", *last))
    assert re.search(pattern, answer, re.DOTALL)


def test_the_token_endpoint_misbehaves_too(google, key):
    google.fault(kind="token", status=200, body="not JSON",
                 content_type="application/json")
    with pytest.raises(ValueError):
        exchange(google, sign(google, key))
    google.fault(kind="token", token={"expires_in": "soon",
                                      "token_type": None})
    answer = exchange(google, sign(google, key))[1]
    assert answer["expires_in"] == "soon" and "token_type" not in answer


def test_an_aborted_answer_is_recorded(google, get):
    google.fault(hang=True)
    with socket.create_connection(("127.0.0.1", google.http_port)) as sock:
        sock.sendall(request_bytes(get))
        time.sleep(0.1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack("ii", 1, 0))
    time.sleep(0.2)
    assert google.requests()[-1]["aborted"] is True


def test_pipelined_and_chunked_requests_are_understood(google, get, key):
    google.grant(key["client_email"], "demo-bucket", ["objectUser"])
    token = google.mint_token(key["client_email"], [WRITE])
    put = (f"PUT /demo-bucket/c HTTP/1.1\r\nHost: localhost\r\n"
           f"Authorization: Bearer {token}\r\n"
           "Transfer-Encoding: chunked\r\n\r\n").encode()
    data = wire(google, put, b"3;x=y\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"
                + request_bytes(get, "/demo-bucket/c", "Connection: close"),
                pause=0.05)
    assert data.count(b"HTTP/1.1 200 OK") == 2 and data.endswith(b"abcde")


# TLS, the program, generated objects

def test_tls_certificates_verify_with_the_ca_file(google):
    context = ssl.create_default_context(cafile=google.ca_file)
    for name in ("storage.googleapis.com", "localhost", "127.0.0.1",
                 "oauth2.googleapis.com", "demo.storage.googleapis.com"):
        with socket.create_connection(("127.0.0.1",
                                       google.https_port)) as sock:
            with context.wrap_socket(sock, server_hostname=name) as secure:
                secure.sendall(b"GET /public-bucket/p.txt HTTP/1.1\r\n"
                               b"Host: localhost\r\n\r\n")
                assert secure.recv(65536).endswith(b"for all")
    assert google.requests()[-1]["tls"] is True
    with socket.create_connection(("127.0.0.1", google.https_port)) as sock:
        with pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(sock, server_hostname="example.com")


def test_the_program_tells_where_it_listens_and_stops(tmp_path):
    ready = tmp_path / "ready.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "emulator", "--port", "0", "--tls",
         "--state-dir", str(tmp_path / "state"), "--ready-file", str(ready)],
        cwd=os.path.dirname(os.path.abspath(__file__)),
        stdout=subprocess.PIPE)
    try:
        line = json.loads(process.stdout.readline())
        assert json.loads(ready.read_text()) == line
        assert os.path.dirname(line["ca_file"]) == str(tmp_path / "state")
        attached = Emulator.attach(str(ready))
        attached.create_bucket("demo-bucket", public=True)
        attached.put_object("demo-bucket", "x", b"y")
        assert wire(attached, b"GET /demo-bucket/x HTTP/1.1\r\nHost: "
                    b"localhost\r\n\r\n", until=b"y").endswith(b"\r\n\r\ny")
        attached.stop()
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(5) == 0
        process.stdout.close()


def test_generated_content_does_not_depend_on_how_it_is_cut(get):
    whole = content(7, (1 << 20) - 100, (1 << 20) + 100)
    assert whole[:100] == content(7, (1 << 20) - 100, 1 << 20)
    assert whole[100:] == content(7, 1 << 20, (1 << 20) + 100)
    assert content(7, 0, 64) != content(7, 1 << 20, (1 << 20) + 64)
    assert content(7, 0, 64) != content(8, 0, 64)
    start = (5 << 30) - 3
    response = get("/demo-bucket/big.bin", {"Range": f"bytes={start}-"})
    assert response.getheader("content-range") == \
        f"bytes {start}-{(5 << 30) - 1}/{5 << 30}"
    assert response.body == content(7, start, 5 << 30)

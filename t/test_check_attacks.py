"""gcs_check under attack: what it shows, whom, and what it leaves behind."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from harness.nginx import wait_until
from test_check import (READS, STEPS, ask, check, email, filled, states,
                        step)

__all__ = ["check", "filled"]


# what strangers see

def test_with_public_no_account_is_named(check, filled, key_file):
    server = check(" public")
    for accept in ("application/json", "text/html"):
        answer = server.get("/check", {"Accept": accept,
                                       "X-Forwarded-For": "192.0.2.1"})
        assert answer.status == 200
        assert email(key_file) not in answer.text


def test_with_public_a_failure_names_no_account(check, filled, key_file,
                                                bucket):
    filled.fault(kind="storage", status=403, count=9)
    server = check(" public")
    answer = server.get("/check", {"X-Forwarded-For": "192.0.2.1"})
    assert answer.status == 503
    assert email(key_file) not in answer.text


STRANGER = {"X-Forwarded-For": "192.0.2.1"}
SHORT = {"step", "status", "required", "warning", "ms", "cause", "remedy"}


@pytest.mark.parametrize("fault", [False, True])
def test_a_stranger_gets_the_short_form_and_who_is_here_all(check, filled,
                                                            key_file, fault):
    if fault:
        filled.fault(kind="storage", path="/test-bucket/a.txt", status=403,
                     count=9)
    server = check(" public valid=1h")
    short = server.get("/check", STRANGER)
    report = short.json()
    assert short.status == (503 if fault else 200)
    assert set(report) == {"status", "checked", "age", "ms", "steps"}
    assert [s["step"] for s in report["steps"]] == STEPS
    for found in report["steps"]:
        assert set(found) <= SHORT
    page = server.get("/check", {**STRANGER, "Accept": "text/html"}).text
    assert page.count("<tr>") == len(STEPS)
    for text in (short.text, page):
        for word in ("test-bucket", "a.txt", "reader", filled.url, "gcloud"):
            assert word not in text
    full = ask(server)[1]
    assert full["account"] == email(key_file)
    assert states(full) == states(report)
    assert ("cause" in step(report, "read")) == fault
    assert step(report, "read").get("cause") == step(full, "read").get("cause")
    if not fault:
        assert step(full, "read")["message"] == '"a.txt" was read'


@pytest.mark.parametrize("headers", [
    {"X-Forwarded-For": ""}, {"x-real-ip": "1.2.3.4"}, {"FORWARDED": "x"},
    {"X-Forwarded-Host": "a"}, {"CF-Connecting-IP": "192.0.2.1"},
    {"True-Client-IP": "192.0.2.1"}, {"X-Client-IP": "192.0.2.1"},
    {"X-Forwarded-Proto": "https"}, {"x-forwarded-server": "a"},
    {"X-Cluster-Client-IP": "192.0.2.1"}, {"Via": "1.1 a"},
    {**{f"X-{n}": "a" for n in range(30)}, "X-Forwarded-Host": "a"}])
def test_a_proxy_on_this_machine_is_no_way_in(check, filled, headers):
    assert check().get("/check", headers).status == 403


# secrets

LONG = "abcDEF-secret" + "Xx0" * 40
SECRETS = [
    "ya29.abcDEF-secret", "Bearer ya29.abcDEF-secret", "GOCSPX-abcDEF-secret",
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.secret", "x%20ya29." + LONG,
    "token%3Dya29." + LONG, "\u00a0ya29." + LONG, "1//0" + LONG,
    "X-Goog-Signature=" + LONG, "x\n" + LONG]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_an_error_repeats_of_a_secret_is_not_shown(check, filled, secret):
    body = json.dumps({"error": {"code": 403, "message": "no " + secret,
                                 "errors": [{"reason": "forbidden"}]}})
    filled.fault(kind="storage", status=403, count=9, body=body)
    text = check().get("/check").text
    assert "secret" not in text and "SECRET" not in text, text


# injection

NASTY = ['"><img src=x onerror=alert(1)>.txt', "</pre><script>x</script>",
         "a\u2028b\u202ec", "`id`$(id)", "%0d%0a", "a'b\"c\\d", "\x01\x1b[31m"]


@pytest.mark.parametrize("name", NASTY)
def test_names_and_errors_do_nothing(check, emulator, bucket, name):
    emulator.put_object(bucket, name, b"x")
    server = check(" valid=0")
    page = server.get("/check", {"Accept": "text/html"}).text
    assert "<img" not in page and "<script" not in page
    assert "\u202e" not in page and "\x1b" not in page
    json.loads(server.get("/check").body)
    body = json.dumps({"error": {"code": 403, "message": name + " " + name,
                                 "errors": [{"reason": name}],
                                 "status": name}})
    emulator.fault(kind="storage", status=403, count=99, body=body)
    page = server.get("/check", {"Accept": "text/html"}).text
    assert "<img" not in page and "<script" not in page
    assert "\u202e" not in page and "\x1b" not in page
    for found in json.loads(server.get("/check").body)["steps"]:
        assert "`" not in found.get("command", "")
        assert "$(" not in found.get("command", "")


@pytest.mark.parametrize("body", [
    b"{", b"[]", b"null", b"\"x\"", b"0", b"", b"{\"items\":[{}]}",
    b"{\"items\":[{\"name\":5}]}", b"{\"items\":{\"name\":\"a\"}}",
    b"{\"items\":[{\"name\":\"\"}]}", b"{\"items\":[{\"name\":\"a\\u0000b\"}]}",
    b"{\"items\":[{\"name\":\"a\",\"size\":\"-5\"}]}",
    b"{\"items\":[{\"name\":\"a\",\"size\":\"99999999999999999999\"}]}",
    b"{\"items\":[{\"name\":\"" + b"a" * 5000 + b"\",\"size\":\"1\"}]}",
    b"{\"nextPageToken\":\"" + b"t" * 60000 + b"\"}",
    b"{\"items\":[{\"name\":\"../../x\",\"size\":\"1\"}]}",
    b"[" * 5000, b"{\"permissions\":[1,null,{}]}", b"\xff\xfe" * 100])
def test_an_odd_answer_ends_the_step_and_nothing_else(check, filled, body):
    server = check(" valid=0")
    filled.fault(kind="storage", status=200, count=99, body=body.decode(
        "latin1"), headers={"Content-Type": "application/json"})
    answer = server.get("/check")
    assert answer.status in (200, 503)
    json.loads(answer.body)
    filled.clear_faults()
    assert server.get("/check").status == 200


# what is left behind

def usage(pid):
    fds = len(os.listdir(f"/proc/{pid}/fd"))
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return fds, int(line.split()[1])


def test_many_runs_leave_nothing_behind(check, filled):
    server = check(" valid=0")
    pid = server.children()[0]
    for _ in range(20):
        server.get("/check")
    fds, size = usage(pid)
    for _ in range(100):
        server.get("/check")
    more, bigger = usage(pid)
    assert more <= fds + 2
    if os.environ.get("GCS_SANITIZE", "0") in ("", "0"):
        assert bigger - size < 4096    # ASan keeps what was freed


def test_clients_that_leave_leave_nothing_behind(check, filled):
    server = check(" valid=0")
    server.get("/check")
    pid = server.children()[0]
    fds, _ = usage(pid)
    filled.fault(kind="storage", delay=0.1, count=999)
    for _ in range(30):
        socks = []
        for _ in range(3):
            c = socket.create_connection(("127.0.0.1", server.port))
            c.sendall(b"GET /check HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            socks.append(c)
        time.sleep(0.03)
        for c in socks:
            c.close()
    filled.clear_faults()
    time.sleep(1.5)
    assert server.get("/check").status == 200
    assert usage(pid)[0] <= fds + 3


def test_a_file_that_has_become_a_pipe_holds_up_nobody(check, filled,
                                                       key_file):
    server = check(" valid=0")
    assert server.get("/check").status == 200
    key_file.unlink()
    os.mkfifo(key_file, 0o644)
    report = ask(server)[1]
    assert step(report, "credential")["warning"] is True


# readiness

def test_what_a_first_try_has_found_does_not_outlive_its_token(check, filled):
    """401 in the middle of a run begins it anew, without a token now."""
    server = check(" valid=0 require=read", "gcs_methods GET HEAD PUT;")
    assert ask(server)[0] == 200
    filled.fault(kind="storage", status=401, count=1, skip=4)
    filled.fault(kind="token", status=400, count=9,
                 body='{"error":"invalid_grant","error_description":"x"}')
    status, report = ask(server)
    assert states(report)["token"] == "failed"
    assert (status, states(report)["read"]) == (503, "skipped"), report


def test_an_exempt_step_of_a_first_try_does_not_excuse_the_second(check,
                                                                  filled):
    server = check("none/ valid=0", "gcs_methods GET HEAD PUT;")
    assert ask(server)[0] == 200
    filled.fault(kind="storage", status=401, count=1, skip=2)
    filled.fault(kind="storage", status=403, count=9, skip=3)
    status, report = ask(server)
    assert states(report)["list"] == "failed"
    assert status == 503, report


@pytest.mark.parametrize("body", [
    "<html>Please log in</html>", "", "{", "[]", "{}", '{"name": 5}',
    '{"name": "test-bucke"}', '{"name": "test-buckets"}'])
def test_an_answer_that_is_not_the_bucket_is_not_ok(check, filled, body):
    filled.fault(kind="storage", path=r"/storage/v1/b/test-bucket\?",
                 status=200, body=body)
    status, report = ask(check(" require=bucket"))
    assert (status, states(report)) == (503, {**READS, "clock": "skipped",
                                              "bucket": "failed"})
    assert step(report, "bucket")["message"] == "the answer is not the bucket"


def test_an_answer_that_has_the_buckets_name_is_ok(check, filled):
    filled.fault(kind="storage", path=r"/storage/v1/b/test-bucket\?",
                 status=200, body='{"name": "test-bucket"}')
    status, report = ask(check(" require=bucket"))
    assert (status, states(report)["bucket"]) == (200, "ok")


@pytest.mark.parametrize("headers, shown", [
    ({}, "403: some words"), ({"Content-Encoding": "gzip"}, "403")])
def test_an_error_that_is_compressed_is_not_shown(check, filled, headers,
                                                  shown):
    filled.fault(kind="storage", path="/test-bucket/a.txt", status=403,
                 body="some words", content_type="text/plain",
                 headers=headers)
    status, report = ask(check())
    assert (status, step(report, "read")["error"]) == (503, shown)


def test_a_bad_moment_is_not_kept_for_as_long_as_a_good_one(check, filled):
    filled.fault(kind="storage", path="/test-bucket/a.txt", status=503)
    server = check(" valid=1h")
    began = time.monotonic()
    assert [ask(server)[0] for _ in range(3)] == [503] * 3
    wait_until(lambda: server.get("/check").status == 200, 10)
    assert 4 < time.monotonic() - began < 9
    filled.fault(kind="storage", path="/test-bucket/a.txt", status=503,
                 count=99)
    time.sleep(5.5)
    assert ask(server)[0] == 200


def test_a_location_that_is_only_internal(nginx, filled, key_file):
    """auth_request of a check, two of them, and one that is broken."""
    server = nginx("""gcs_credentials reader { file %%KEY%%; }
    gcs_endpoint %%EMULATOR%%; gcs_auth reader;
    server { listen 127.0.0.1:%%PORT%%;
        location = /one { gcs_check gs://test-bucket/ valid=0; }
        location = /two { gcs_check gs://test-bucket/none/ valid=0; }
        location = /a { auth_request /one; add_before_body /two;
            addition_types *;
            error_page 403 404 500 503 /two; gcs_check gs://test-bucket/ valid=0; }
        location = /m { mirror /one; mirror /two; post_action /two;
            gcs_check gs://test-bucket/ valid=0; }
        location = /s { ssi on; default_type text/html;
            return 200 '<!--#include virtual="/one" --><!--#include virtual="/two" -->'; }
    }""")
    filled.fault(kind="storage", delay=0.05, count=999)
    for path in ("/a", "/m", "/s") * 3:
        with socket.create_connection(("127.0.0.1", server.port)) as c:
            c.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            time.sleep(0.12)
        assert server.get(path).status in (200, 503)
    assert "exited on signal" not in server.log()

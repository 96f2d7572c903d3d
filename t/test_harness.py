"""The harness must be able to fail: each of its checks sees its fault."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness import Truncated, checks

HELLO = "location / { return 200 hello; }"


def test_nginx_starts_answers_and_ends(nginx):
    server = nginx(server=HELLO)
    assert server.get("/").text == "hello"
    assert server.head("/").body == b""
    assert server.raw(b"GET / HTTP/1.0\r\n\r\n").status == 200
    server.quit()
    assert not server.running
    assert '"GET / HTTP/1.1" 200' in server.access_log()


def test_a_connection_takes_several_requests(nginx):
    server = nginx(server=HELLO)
    connection = server.connect()
    for _ in range(3):
        assert connection.get("/").text == "hello"
    assert len(server.wait_access_log("GET", count=3)) == 3


def test_reload_waits_for_the_new_workers(nginx):
    server = nginx(server=HELLO, workers=2)
    old = set(server.children())
    server.configure(server="location / { return 200 again; }")
    server.reload(old_gone=True)
    assert not old & set(server.children())
    assert server.get("/").text == "again"


def test_upgrade_leaves_one_new_master(nginx):
    server = nginx(server=HELLO, daemon=True)
    old = server.pid
    server.upgrade()
    assert server.pid != old
    assert server.get("/").text == "hello"


def test_nginx_t_tells_the_reason(nginx):
    tested = nginx("no_such_directive;", start=False).test()
    assert tested.returncode == 1
    assert 'unknown directive "no_such_directive"' in tested.stderr


def test_a_body_that_was_cut_off_is_no_answer(nginx):
    server = nginx(server="""
        location / { return 200 hello; }
        location /cut { proxy_pass http://127.0.0.1:%%PORT%%/; }
    """)
    connection = server.connect()
    connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert connection.head().get("Content-Length") == "5"
    connection.sock.shutdown(1)
    connection._buffer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"
    with pytest.raises(Truncated) as caught:
        connection.response()
    assert caught.value.response.body.startswith(b"hello")


@pytest.mark.parametrize("level", ["alert", "emerg", "crit"])
def test_alerts_are_seen_unless_expected(level):
    line = f"2026/01/01 00:00:00 [{level}] 7#7: *1 open socket left"
    assert checks.alerts("[notice] fine\n" + line) == [line]
    assert checks.alerts(line, ["open socket"]) == []


@pytest.mark.parametrize("line", [
    "==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x1",
    "src/a.c:1:2: runtime error: shift exponent 64 is too large",
])
def test_sanitizer_reports_are_seen(line):
    assert checks.sanitizers(f"one\n{line}\nmore")
    assert not checks.sanitizers("one\nmore")


KEY = "-----BEGIN PRIVATE KEY-----\n" + "a1B2" * 16 + "\n" + "c3D4" * 16


@pytest.mark.parametrize("line", [
    "the token is tokentokentoken-0123456789",
    "key: " + "a1B2" * 16,
    "a part of it: " + "c3D4" * 16,
    "an assertion: eyJhbGciOiJS.eyJpc3MiOiJh.c2lnbmF0dXJl",
    "ya29.A0AfH6SMB-x",
    "-----BEGIN RSA PRIVATE KEY-----",
    "[debug] 7#7: *1 gcs token tokentokentoken-0123456789",
])
def test_secrets_are_seen_in_logs(line):
    secrets = ["tokentokentoken-0123456789", KEY]
    found = checks.leaks("harmless\n" + line, secrets)
    assert len(found) == 1
    assert "0123456789" not in found[0]


def test_debug_lines_of_nginx_itself_are_not_ours():
    line = ('2026/01/01 00:00:00 [debug] 7#7: *1 http proxy header:\n'
            '"GET / HTTP/1.1\nAuthorization: Bearer tokentokentoken\n"')
    assert checks.leaks(line, ["tokentokentoken"]) == []
    line += "\n2026/01/01 00:00:00 [info] 7#7: tokentokentoken"
    assert len(checks.leaks(line, ["tokentokentoken"])) == 1


def collected(*options: str) -> list[str]:
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", folder / "pytest.ini",
         f"--rootdir={folder}", "-q", "--collect-only", "-p",
         "no:cacheprovider", *options, folder / "test_address.py"],
        capture_output=True, text=True)
    return re.findall(r"^.*::.*$", done.stdout, re.MULTILINE)


def test_the_first_cases_of_each_test_can_be_chosen():
    everything = collected()
    tests = [item.partition("[")[0] for item in everything]

    chosen = collected("--cases", "2")

    assert len(chosen) < len(everything)
    assert Counter(item.partition("[")[0] for item in chosen) == {
        test: min(count, 2) for test, count in Counter(tests).items()}

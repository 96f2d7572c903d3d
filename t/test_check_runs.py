"""gcs_check: who may ask, what is kept for how long, and that a run belongs
to nobody: it is shared, outlives its clients, and holds up no exit."""

from __future__ import annotations

import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.nginx import wait_until
from test_check import READS, ask, check, filled, states, step

__all__ = ["check", "filled"]


def runs(emulator) -> int:
    """How often the bucket was looked up."""
    return len([r for r in emulator.requests("storage")
                if r["target"].startswith("/storage/v1/b/test-bucket?")])


# who may ask

@pytest.mark.parametrize("headers, expected", [
    ({}, 200), ({"X-Forwarded-For": "127.0.0.1"}, 403),
    ({"Via": "1.1 x"}, 403), ({"Forwarded": "for=x"}, 403)])
def test_only_this_machine_may_ask(check, filled, headers, expected):
    assert check().get("/check", headers).status == expected
    if expected == 403:
        assert filled.requests("storage") == []


def test_the_address_that_a_proxy_tells_counts(check, filled):
    server = check(server="set_real_ip_from 127.0.0.1; "
                   "real_ip_header X-Client;")
    assert server.get("/check", {"X-Client": "192.0.2.1"}).status == 403
    assert server.get("/check", {"X-Client": "127.0.0.2"}).status == 200


def test_with_public_all_may_ask_and_no_object_is_named(check, filled):
    server = check(" public")
    answer = server.get("/check", {"X-Forwarded-For": "192.0.2.1"})
    assert answer.status == 200
    assert "a.txt" not in answer.text
    assert states(answer.json()) == READS


def test_access_rules_are_nginxs_own(check, filled):
    server = check(" public", "deny all;")
    assert server.get("/check").status == 403
    assert runs(filled) == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_refused(check, filled, method):
    answer = check().request(method, "/check", body=b"x")
    assert (answer.status, answer.get("Allow")) == (405, "GET, HEAD")


def test_a_body_is_thrown_away(check, filled):
    connection = check().connect()
    for _ in range(2):
        assert connection.request("GET", "/check", body=b"x" * 5000).status \
            == 200


@pytest.mark.parametrize("accept, html", [
    (None, False), ("*/*", False), ("application/json", False),
    ("text/html,application/xhtml+xml,*/*;q=0.8", True),
    ("application/json, text/html", False), ("TEXT/HTML", True),
    ("text/html, application/json", True), ("text/plain", False)])
def test_accept_chooses_the_form(check, filled, accept, html):
    answer = check().get("/check", {"Accept": accept} if accept else {})
    assert answer.status == 200
    assert answer.get("Content-Type") == (
        "text/html; charset=utf-8" if html else "application/json")
    assert answer.get("Content-Length") == str(len(answer.body))
    if html:
        assert answer.text.startswith("<!DOCTYPE html>")
        assert answer.text.count("<tr>") == len(READS)
        assert "://" not in answer.text.replace(
            "gs://", "").replace(filled.url, ""), "something from elsewhere"


# how long a result is kept

def test_a_result_is_shown_for_five_seconds(check, filled):
    server = check()
    for _ in range(3):
        assert ask(server)[0] == 200
    assert runs(filled) == 1
    connection = server.connect()
    wait_until(lambda: connection.get("/check").json()["age"] in (2, 3), 5)
    assert runs(filled) == 1
    wait_until(lambda: connection.get("/check").json()["age"] == 0, 8)
    assert runs(filled) == 2


def test_valid_says_how_long(check, filled):
    server = check(" valid=1h")
    for _ in range(3):
        ask(server)
    assert runs(filled) == 1
    server = check(" valid=0")
    filled.reset_requests()
    for _ in range(3):
        ask(server)
    assert runs(filled) == 3


def test_a_bad_result_is_kept_as_well(check, filled, key_file):
    filled.fault(kind="storage", path="/o\\?", status=503)
    server = check()
    assert [ask(server)[0] for _ in range(3)] == [503] * 3
    assert runs(filled) == 1


def test_all_who_ask_meanwhile_wait_for_one_run(check, filled):
    filled.fault(kind="storage", path="/o\\?", delay=0.5)
    server = check(" valid=0")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask(server), range(20)))
    assert {status for status, _ in answers} == {200}
    assert runs(filled) <= 2


def test_what_post_action_does_meanwhile_is_not_disturbed(check, filled):
    """The run ends while another location has the request."""
    filled.put_object("test-bucket", "slow", b"x")
    filled.fault(kind="storage", path="/o\\?", delay=0.5)
    filled.fault(kind="storage", path="/slow", delay=1.5, skip=1)
    server = check("a.txt", location="post_action /after/slow;", server="""
        location /after/ { gcs_pass gs://test-bucket/; gcs_auth reader; }""")
    assert server.get("/after/slow").body == b"x"
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET /check HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: runs(filled) == 1)
    assert ask(server)[0] == 200
    server.wait_access_log('"GET /check HTTP/1.1" 200 0 time=1')
    assert ask(server)[0] == 200
    assert runs(filled) == 1


def test_each_location_has_a_run_of_its_own(check, filled):
    server = check(server="""location = /other {
        gcs_check gs://test-bucket/none/; gcs_auth reader; }""")
    assert states(ask(server)[1])["read"] == "ok"
    assert states(ask(server, "/other")[1])["read"] == "skipped"


# who asks may leave

def test_a_client_that_leaves_does_not_stop_the_run(check, filled):
    filled.fault(kind="storage", path="/o\\?", delay=0.7)
    server = check()
    with socket.create_connection(("127.0.0.1", server.port)) as first:
        first.sendall(b"GET /check HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: runs(filled) == 1)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(ask, server)
            time.sleep(0.1)
            first.close()
            assert second.result()[0] == 200
    assert runs(filled) == 1
    server.wait_access_log('"GET /check HTTP/1.1" 499')


def test_a_run_that_nobody_waits_for_is_shown_later(check, filled):
    filled.fault(kind="storage", path="/o\\?", delay=0.5)
    server = check()
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET /check HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: runs(filled) == 1)
    server.wait_access_log('"GET /check HTTP/1.1" 499')
    wait_until(lambda: len(filled.requests("storage")) == 4)
    assert ask(server)[0] == 200
    assert runs(filled) == 1


def test_after_a_client_has_left_post_action_is_not_disturbed(check, filled):
    filled.fault(kind="storage", path="/o\\?", delay=0.5)
    server = check(location="post_action /after;", server="""
        location = /after { return 200 after; }""")
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET /check HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: runs(filled) == 1)
    assert ask(server)[0] == 200


# the end of the process

def wait_in_background(server) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port))
    sock.settimeout(20)
    sock.sendall(b"GET /check HTTP/1.1\r\nHost: x\r\n"
                 b"Connection: close\r\n\r\n")
    return sock


def read_all(sock) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def test_who_waits_is_answered_before_a_graceful_end(check, filled):
    filled.fault(kind="storage", path="/o\\?", delay=1)
    server = check()
    with wait_in_background(server) as sock:
        wait_until(lambda: runs(filled) == 1)
        server.signal("QUIT")
        assert read_all(sock).startswith(b"HTTP/1.1 200")
    wait_until(lambda: not server.running, 10)


@pytest.mark.parametrize("kind, path", [("token", None),
                                        ("storage", "/o\\?")])
def test_a_run_that_nobody_waits_for_does_not_delay_a_graceful_end(
        check, filled, kind, path):
    filled.fault(kind=kind, path=path, hang=True, count=None)
    server = check()
    with wait_in_background(server):
        wait_until(lambda: kind in filled.counts()
                   and (kind == "token" or runs(filled) == 1))
        time.sleep(0.1)
    server.wait_access_log('"GET /check HTTP/1.1" 499')
    started = time.monotonic()
    server.quit()
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("kind, path", [("token", None),
                                        ("storage", "/o\\?")])
def test_a_fast_end_during_a_run_is_clean(check, filled, kind, path):
    filled.fault(kind=kind, path=path, hang=True, count=None)
    server = check()
    with wait_in_background(server):
        wait_until(lambda: kind in filled.counts()
                   and (kind == "token" or runs(filled) == 1))
        server.stop(5)


def test_a_reload_during_a_run_is_clean(check, filled):
    filled.fault(kind="storage", path="/o\\?", delay=1)
    server = check()
    with wait_in_background(server) as sock:
        wait_until(lambda: runs(filled) == 1)
        server.reload()
        assert ask(server)[0] == 200
        assert read_all(sock).startswith(b"HTTP/1.1 200")


def test_a_single_process_ends_cleanly(check, filled):
    server = check(main="master_process off;", start=False)
    server.workers = 0
    server.start()
    assert ask(server)[0] == 200
    server.quit()


# nginx's own machinery around it

def test_it_may_be_asked_by_a_subrequest(check, filled, key_file):
    server = check(server="""
        location = /guarded { auth_request /inner; return 200; }
        location = /page { ssi on; ssi_types *; default_type text/html;
            root %%DIR%%; }
        location = /inner { internal; proxy_pass http://127.0.0.1:%%PORT%%/check;
            proxy_set_header Host x; }""")
    (server.dir / "page").write_text(
        "<!--#include virtual='/check'-->+<!--#include virtual='/check'-->")
    assert server.get("/guarded").status == 200
    text = server.get("/page").text
    assert text.count('{"status":"ok"') == 2 and "\n+{" in text


def test_two_subrequests_wait_for_one_run(check, filled):
    filled.fault(kind="storage", path="/o\\?", delay=0.3)
    server = check(server="""location = /page { ssi on; ssi_types *;
        root %%DIR%%; }""")
    (server.dir / "page").write_text(
        "<!--#include virtual='/check'--><!--#include virtual='/check'-->")
    assert server.get("/page").text.count('{"status":"ok"') == 2
    assert runs(filled) == 1


def test_it_works_inside_of_if_and_limit_except(check, filled):
    server = check(location="""
        if ($arg_x) { set $a b; }
        limit_except GET { deny all; }""")
    assert ask(server, "/check?x=1")[0] == 200
    assert ask(server)[0] == 200
    assert server.request("POST", "/check").status == 403
    assert runs(filled) == 1


def test_connections_are_kept_and_requests_pipelined(check, filled):
    filled.fault(kind="storage", path="/o\\?", delay=0.3)
    connection = check(" valid=0").connect()
    connection.send(b"GET /check HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    for _ in range(3):
        assert connection.response().json()["status"] == "ok"


def test_each_worker_has_its_own_result(check, filled):
    server = check(" valid=1h", workers=2)
    for _ in range(20):
        assert ask(server)[0] == 200
    assert runs(filled) <= 2


def test_a_probe_sees_a_loss_of_permission_and_its_return(check, filled,
                                                          key_file):
    from test_check import email
    server = check(" valid=0")
    seen = []
    for roles in (["objectViewer"], [], ["objectViewer"]):
        filled.grant(email(key_file), "test-bucket", roles)
        seen.append(ask(server)[0])
    assert seen == [200, 503, 200]


def test_a_step_has_a_limit_and_so_has_the_whole(check, filled):
    filled.fault(kind="storage", path="/o\\?", hang=True)
    server = check()
    started = time.monotonic()
    status, report = ask(server)
    assert (status, states(report)["list"]) == (503, "failed")
    assert 9 < time.monotonic() - started < 20
    assert "no answer in time" in step(report, "list")["cause"]
    assert 9000 < step(report, "list")["ms"] < 12000


# the page about it

def test_the_json_of_the_page_has_the_members_that_are_shown(check, filled,
                                                             key_file):
    from test_check import email
    from test_docs import page
    text, = re.findall(r"^```json\n(.*?)^```", page("check.md"),
                       re.MULTILINE | re.DOTALL)
    shown = json.loads(text)
    filled.grant(email(key_file), "test-bucket", [])
    _, report = ask(check("a.txt"))
    assert list(shown) == list(report)
    by_name = {step["step"]: step for step in report["steps"]}
    for step_ in shown["steps"]:
        assert set(step_) - {"warning", "cause", "remedy", "command"} \
            <= set(by_name[step_["step"]])
    read = next(s for s in shown["steps"] if s["step"] == "read")
    assert list(read) == list(by_name["read"])
    assert read["cause"] == by_name["read"]["cause"]
    assert read["remedy"] == by_name["read"]["remedy"]


def test_the_table_of_the_page_has_each_step():
    from test_check import STEPS
    from test_docs import page, sections
    assert re.findall(r"^\| `(\w+)` \|", sections(page("check.md"))[
        "The steps"], re.MULTILINE) == STEPS

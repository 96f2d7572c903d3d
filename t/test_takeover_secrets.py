"""Takeover: the application's signature goes to Cloud Storage, nowhere else.

Whoever has it may read the object for as long as it lives.  nginx prints the
upstream's whole URL with each error of its error log, so each error that there
can be is made here.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from harness import Truncated, checks
from harness.nginx import free_port
from harness.studio import Answer, Application, accel, redirect
from harness.takeover import (
    BODY, MODES, configuration, found_in_logs, gcs, header)

pytest_plugins = ["harness.studio_plugin"]

EVERYTHING = """
    log_format all escape=none
        '$request_uri|$uri|$args|$document_uri|$request|$proxy_host|'
        '$gcs_takeover_url|$gcs_takeover_status|$gcs_uri|$gcs_object|'
        '$gcs_bucket|$gcs_error|$gcs_credentials|$gcs_mode|$upstream_addr|'
        '$upstream_status|$request_filename|$is_args|$query_string';
"""


def no_secret(server, signer, *answers) -> None:
    """Neither in a log nor in what the client has got."""
    assert signer.made
    assert not found_in_logs(server, signer.made)
    for name in ("error.log", "access.log", "takeover.log", "all.log"):
        path = server.dir / name
        text = path.read_text() if path.exists() else ""
        assert "X-Goog-Signature" not in text, name
    for answer in answers:
        sent = answer.head + answer.body
        assert b"X-Goog" not in sent
        assert not [one for one in signer.made if one.encode() in sent]


# what GCS does, and what a client may get then
FAULTS: dict[str, tuple[dict[str, Any], set[int]]] = {
    "reset": ({"reset": "before_headers"}, {502}),
    "hang": ({"hang": True}, {504}),
    "garbage": ({"garbage": True}, {502}),
    "large header": ({"oversized_header": 200000}, {502}),
    "400": ({"status": 400, "code": "InvalidArgument"}, {400, 403, 502}),
    "401": ({"status": 401, "code": "AuthenticationRequired"}, {403, 502}),
    "403": ({"status": 403, "code": "AccessDenied"}, {403}),
    "404": ({"status": 404, "code": "NoSuchKey"}, {404}),
    "410": ({"status": 410, "body": "gone"}, {404, 410, 502}),
    "429": ({"status": 429}, {503}),
    "500": ({"status": 500, "body": "oops"}, {502}),
    "503": ({"status": 503}, {503}),
    "redirect": ({"status": 302, "headers": [
        ["Location", "https://evil.example/"]]}, {502}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_no_failure_of_gcs_shows_the_signature(serve, app, signer, emulator,
                                               name):
    fault, statuses = FAULTS[name]
    server = serve(
        http=EVERYTHING, more="access_log %%DIR%%/all.log all;",
        signed="proxy_read_timeout 300ms;" if name == "hang" else "")
    emulator.fault(kind="storage", count=None, **fault)
    url = signer.url("test-bucket", "a.txt")
    for app.default in (redirect(url), accel(url)):
        answer = server.get("/signed/")
        assert answer.status in statuses
        assert b"<center>nginx" in answer.body
        assert "location" not in answer.names
        assert BODY not in answer.body
        no_secret(server, signer, answer)
    for asked in gcs(emulator):
        assert asked["target"] in url
        assert header(asked, "authorization") is None


@pytest.mark.parametrize("fault", [
    {"reset": "after_headers"}, {"reset_after": 100000},
    {"truncate_after": 100000}, {"stall_after": 100000},
    {"content_length_delta": 10}])
def test_nor_does_one_in_the_middle_of_an_object(serve, app, signer, emulator,
                                                 fault):
    server = serve(signed="proxy_read_timeout 300ms;")
    emulator.put_object("test-bucket", "big", size=300000)
    emulator.fault(kind="storage", count=None, **fault)
    app.default = redirect(signer.url("test-bucket", "big"))
    try:
        no_secret(server, signer, server.get("/signed/"))
    except Truncated:
        pass
    server.wait_log(r"upstream|timed out")
    no_secret(server, signer)


def test_nor_does_a_gcs_that_is_not_there(serve, app, signer):
    server = serve(configuration().replace("%%EMULATOR%%",
                                           f"http://127.0.0.1:{free_port()}"))
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    answer = server.get("/signed/")
    assert answer.status == 502
    server.wait_log(r"connect\(\) failed")
    no_secret(server, signer, answer)


def test_nor_does_one_whose_certificate_is_wrong(serve, app, signer):
    server = serve(configuration().replace("%%EMULATOR%%",
                                           "%%EMULATOR_TLS%%"))
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    answer = server.get("/signed/")
    assert answer.status == 502
    server.wait_log("certificate")
    no_secret(server, signer, answer)


def test_tls_is_spoken_to_the_endpoint(serve, app, signer, emulator):
    server = serve(configuration(signed="""
        gcs_ssl_trusted_certificate %%CA%%;""", named="""
        gcs_ssl_trusted_certificate %%CA%%;""").replace(
            "%%EMULATOR%%", "%%EMULATOR_TLS%%"))
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    for mode in MODES:
        assert server.get(f"/{mode}/").body == BODY
        assert gcs(emulator)[0]["tls"]


@pytest.mark.parametrize("status", [403, 404, 503])
def test_nor_does_an_error_page_that_fails_itself(serve, app, signer, emulator,
                                                  status):
    """nginx still has the upstream's URL while it looks for the page."""
    server = serve(
        signed=f"error_page {status} /missing.html;",
        more="location = /missing.html { root %%DIR%%/nowhere; }")
    emulator.fault(kind="storage", count=None, status=status)
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    answer = server.get("/signed/")
    server.wait_log(r"missing\.html")
    no_secret(server, signer, answer)


def test_nor_do_filters_and_clients_that_leave(serve, app, signer, emulator):
    server = serve(signed="proxy_ignore_client_abort off;")
    emulator.put_object("test-bucket", "big", size=64 << 20)
    app.default = redirect(signer.url("test-bucket", "big"))
    connection = server.connect()
    connection.send(b"GET /signed/ HTTP/1.1\r\nHost: a\r\n\r\n")
    connection.head()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                               b"\1\0\0\0\0\0\0\0")
    connection.close()
    server.wait_log(r"^200\|redirect", name="takeover.log")
    no_secret(server, signer)


def test_a_debug_log_has_it_in_nginx_s_own_lines_at_most(serve, app, signer):
    """Who turns that on reads all headers; but ours tell no secrets."""
    server = serve("error_log %%DIR%%/debug.log debug;" + configuration())
    for make in (redirect, accel):
        app.default = make(signer.url("test-bucket", "a.txt"),
                           ("Set-Cookie", "sessionid=of-the-session-1234"))
        for mode in MODES:
            assert server.get(f"/{mode}/").body == BODY
    app.default = redirect(signer.url("test-bucket", "a.txt", 60, at=1000))
    server.get("/signed/")
    text = (server.dir / "debug.log").read_text()
    assert not checks.leaks(text, [*signer.made,
                                   "sessionid=of-the-session-1234"])


def test_what_is_not_taken_is_not_told_to_the_log_either(serve, app, signer):
    server = serve()
    google = signer.at("https://storage.googleapis.com.evil.example")
    for url in (google.url("test-bucket", "a.txt"),
                signer.url("other-bucket", "a.txt"),
                signer.url("test-bucket", "a.txt", 1, at=1000),
                signer.url("test-bucket", "a.txt") + "&X-Goog-Date=1",
                signer.url("test-bucket", "a.txt").replace("test-", "")):
        for app.default in (redirect(url), accel(url)):
            server.get("/named/")
    no_secret(server, signer)


# to nobody else

def test_no_other_host_sees_the_signature(serve, app, signer, emulator):
    """A host is asked because the configuration says so, not a redirect."""
    with Application() as evil:
        server = serve()
        url = signer.url("test-bucket", "a.txt")
        theirs = url.replace(signer.endpoint, evil.url)
        for app.default in (redirect(theirs), accel(theirs), redirect(url)):
            for mode in MODES:
                server.get(f"/{mode}/")
        assert evil.requests == []
    assert emulator.counts().keys() <= {"storage", "token"}


def test_a_host_of_the_list_is_not_connected_to(serve, app, signer, emulator):
    """What is fetched from is gcs_endpoint, and the host is but its name."""
    with Application() as theirs:
        other = signer.at(theirs.url)
        server = serve(configuration().replace(
            "gcs_takeover_hosts %%GCS%%", "gcs_takeover_hosts %%THEIRS%%"),
            names={"THEIRS": theirs.address})
        emulator.configure(hosts=["127.0.0.1"])
        app.default = redirect(other.url("test-bucket", "a.txt"))
        for mode in MODES:
            assert server.get(f"/{mode}/").body == BODY
        assert theirs.requests == []
        assert header(gcs(emulator)[0], "host") == theirs.address


def test_the_identity_is_for_the_named_location_alone(serve, app, signer,
                                                      emulator):
    """No token of ours goes to the application, whatever it answers."""
    server = serve()
    for answer in (redirect(signer.url("test-bucket", "a.txt")), Answer(404),
                   accel(signer.url("test-bucket", "a.txt"))):
        app.default = answer
        for mode in MODES:
            server.get(f"/{mode}/", {"Authorization": "Token abc"})
    tokens = [token["value"] for token in emulator.tokens()]
    for asked in app.requests:
        assert asked.get("Authorization") == "Token abc"
        for _, value in asked.headers:
            assert not any(token in value for token in tokens)


def test_two_clients_at_once_get_their_own(serve, app, signer, emulator):
    server = serve()
    for number in range(20):
        emulator.put_object("test-bucket", f"o{number}", f"I am {number}")
    app.default = lambda asked: redirect(
        signer.url("test-bucket", asked.arguments["name"]),
        ("Set-Cookie", "of=" + asked.arguments["name"]))
    wrong = []

    def client(number: int) -> None:
        with server.connect() as connection:
            for mode in MODES * 10:
                answer = connection.get(f"/{mode}/?name=o{number}")
                if (answer.body, answer.get("Set-Cookie")) \
                        != (f"I am {number}".encode(), f"of=o{number}"):
                    wrong.append((number, answer))

    threads = [threading.Thread(target=client, args=(number,))
               for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []

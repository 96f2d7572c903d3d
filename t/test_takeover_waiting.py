"""Takeover: the same question of many at once is asked once.

Those who wait get the answer, whatever becomes of the one who asks.
"""

from __future__ import annotations

import threading
import time

import pytest

from harness.nginx import wait_until
from harness.studio import Answer, Application, redirect
from harness.takeover import ANN, BOB, BODY, configuration, gcs

pytest_plugins = ["harness.studio_plugin"]


def together(server, targets, headers=ANN):
    """Answers to requests that are all sent before one is answered."""
    connections = [server.connect() for _ in targets]
    for connection, target in zip(connections, targets):
        lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        connection.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"
                        .encode())
    return connections


def test_one_question_of_many_is_asked_once(cached, app, signer, emulator):
    server = cached()
    go = threading.Event()
    app.default = redirect(signer.url("test-bucket", "a.txt"), hold=go)
    connections = together(server, ["/signed/"] * 20)
    wait_until(lambda: app.requests)
    time.sleep(0.2)                        # for more, which must not come
    assert len(app.requests) == 1
    go.set()
    assert [one.response().body for one in connections] == [BODY] * 20
    assert len(app.requests) == 1
    assert len(gcs(emulator)) == 20


def test_a_refusal_is_one_for_all_who_wait(cached, app):
    server = cached()
    go = threading.Event()
    app.default = Answer(403, hold=go)
    connections = together(server, ["/signed/"] * 10)
    wait_until(lambda: app.requests)
    go.set()
    assert {one.response().status for one in connections} == {403}
    assert len(app.requests) == 1


def test_different_questions_do_not_wait_for_each_other(cached, app, signer):
    server = cached()
    go = threading.Event()
    url = signer.url("test-bucket", "a.txt")
    app.routes["/signed/slow"] = redirect(url, hold=go)
    app.default = redirect(url)
    [slow] = together(server, ["/signed/slow"])
    wait_until(lambda: app.requests)
    assert server.get("/signed/", ANN).body == BODY
    app.routes["/signed/slow"] = app.default
    assert server.get("/signed/slow", BOB).body == BODY
    go.set()
    assert slow.response().body == BODY


@pytest.mark.parametrize("first", [
    Answer(500), Answer(503), Answer(200, body=b"page"), Answer(raw=[]),
    redirect("https://x.example/"), Answer(424)],
    ids=["500", "503", "200", "closed", "elsewhere", "424"])
def test_who_waited_for_a_failure_asks_for_himself(cached, app, signer, first):
    server = cached()
    go = threading.Event()
    url = signer.url("test-bucket", "a.txt")
    count = iter(range(1000))

    def answer(asked):
        if next(count) == 0:
            go.wait(30)
            return first
        return redirect(url)

    app.default = answer
    connections = together(server, ["/signed/"] * 10)
    wait_until(lambda: app.requests)
    go.set()
    bodies = [one.response().body for one in connections]
    assert bodies.count(BODY) == 9, bodies
    assert server.get("/signed/", ANN).body == BODY


def test_a_client_that_leaves_does_not_take_the_question_along(
        cached, app, signer):
    server = cached()
    go = threading.Event()
    app.default = redirect(signer.url("test-bucket", "a.txt"), hold=go)
    first, *others = together(server, ["/signed/"] * 4)
    wait_until(lambda: app.requests)
    others.pop().close()                   # one who waits
    first.close()                          # the one who asks
    wait_until(lambda: len(app.requests) == 2)
    go.set()
    assert [one.response().body for one in others] == [BODY] * 2
    assert len(app.requests) <= 3


def test_waiting_ends_with_the_application_s_time(cached, app, signer):
    server = cached(location="""
        gcs_takeover_cache zone=v:1m valid=1m;
        proxy_read_timeout 500ms;""")
    go = threading.Event()
    app.default = Answer(200, hold=go)
    connections = together(server, ["/signed/"] * 3)
    assert [one.response().status for one in connections] == [504] * 3
    go.set()


def test_a_refusal_of_one_server_is_none_if_the_next_is_asked(
        cached, app, signer):
    """proxy_next_upstream http_404: the verdict is that of the last one."""
    go = threading.Event()
    with Application() as first:
        first.default = Answer(404, hold=go)
        app.default = redirect(signer.url("test-bucket", "a.txt"))
        text = configuration(location="""
            gcs_takeover_cache zone=v:1m valid=1m;
            proxy_next_upstream error http_404;""").replace(
                "server %%APP%%;", "server %%FIRST%%; server %%APP%% backup;")
        server = cached(text=text, names={"FIRST": first.address})
        connections = together(server, ["/signed/"] * 5)
        wait_until(lambda: first.requests)
        go.set()
        assert [one.response().body for one in connections] == [BODY] * 5
        assert server.get("/signed/", ANN | {"Host": "a"}).body == BODY
        assert len(app.requests) == 1


def test_a_reload_leaves_nobody_waiting(cached, app, signer):
    server = cached()
    go = threading.Event()
    app.default = redirect(signer.url("test-bucket", "a.txt"), hold=go)
    connections = together(server, ["/signed/"] * 5)
    wait_until(lambda: app.requests)
    server.reload()
    go.set()
    assert [one.response().body for one in connections] == [BODY] * 5
    assert len(app.requests) == 1

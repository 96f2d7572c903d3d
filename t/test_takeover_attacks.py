"""Takeover: what somebody with bad intentions, or bad luck, could try.

Each of these has once got what it should not get, or has killed a worker.
"""

from __future__ import annotations

import contextlib
import threading
from http.client import HTTPException

import pytest

from harness.nginx import modules_path, wait_until
from harness.studio import Answer, Asked, fileuri, redirect
from harness.takeover import BODY, gcs

pytest_plugins = ["harness.studio_plugin"]

ANN = {"Cookie": "sessionid=ann"}
SECRET = b"of another project"
URI = fileuri("test-bucket", "secret.txt")

# the pattern of the guide
TASKS = r"""
    location ~ ^/(tasks|projects)/\d+/(resolve|presign)/?$ {
        proxy_pass   http://app%s;
        gcs_takeover @named $gcs_fileuri;
        %s
    }
"""
REMEMBERED = "gcs_takeover_cache zone=v:1m valid=1m;"


@pytest.fixture
def images(module) -> list:
    """nginx's own filter of images, which fails on what is none."""
    filter = modules_path() / "ngx_http_image_filter_module.so"
    if not filter.exists():
        pytest.skip("this nginx has no image filter")
    return [filter]


# oracle: another page of the application says yes

def first_byte(asked: Asked) -> Answer:
    """Whoever asks below /files/ gets a file of his own, in ranges."""
    if "/files/" in asked.target:
        return Answer(206, (("Content-Range", "bytes 0-0/9"),), b"m")
    return Answer(403, body=b"not yours")


@pytest.mark.parametrize("path", [
    "/files/../tasks/1/resolve/", "/files/..//tasks/1/resolve/",
    "/files/%2e%2e/tasks/1/resolve/", "/files/%2E./tasks/1/resolve/",
    "/files/..%2ftasks/1/resolve/", "/files/x/../../tasks/1/resolve",
    "//files/../tasks/1/resolve/", "/tasks/1/files/../resolve/"])
@pytest.mark.parametrize("way", ["as it is", "rewritten", "request_uri"])
def test_an_answer_about_another_path_is_no_evidence(
        serve, app, signer, emulator, path, way):
    emulator.put_object("test-bucket", "secret.txt", SECRET)
    uri, more = {
        "as it is": ("", ""),
        "rewritten": ("", "rewrite ^(.*[^/])$ $1/ break;"),
        "request_uri": ("$request_uri", "rewrite ^(.*[^/])$ $1/ break;"),
    }[way]
    server = serve(more=TASKS % (uri, more))
    app.answer = first_byte
    answer = server.get(f"{path}?fileuri={URI}", ANN)
    assert SECRET not in answer.body
    assert not gcs(emulator)


def test_a_page_below_the_right_one_is_none(serve, app, signer, emulator):
    emulator.put_object("test-bucket", "secret.txt", SECRET)
    server = serve(more=TASKS % ("", ""))
    app.answer = first_byte
    for path in ("/tasks/1/resolve/files/", "/tasks/1/resolve/x/files/y"):
        answer = server.get(f"{path}?fileuri={URI}", ANN)
        assert SECRET not in answer.body
    assert not gcs(emulator)


# verdicts: one question's answer for another

def test_a_verdict_is_of_what_the_application_was_asked(serve, app, signer,
                                                        emulator):
    """Not of what the client has asked: a redirect lies between."""
    for name in "AB":
        emulator.put_object("test-bucket", name, name.encode())
    server = serve(more=f"""
        location /media/ {{
            proxy_pass   http://app;
            gcs_takeover @signed;
            {REMEMBERED}
        }}
        location /tenant/ {{
            rewrite      ^/tenant/(.*)$ /media/$http_x_tenant break;
            proxy_pass   http://app;
            gcs_takeover @signed;
            {REMEMBERED}
        }}
    """)
    turn = iter("ABAB")

    def answer(asked: Asked) -> Answer:
        if asked.path == "/next":
            return Answer(200, (("X-Accel-Redirect", f"/media/{next(turn)}"),))
        return redirect(signer.url("test-bucket", asked.path[-1]))

    app.answer = answer
    assert [server.get("/next", ANN).body for _ in range(4)] \
        == [b"A", b"B", b"A", b"B"]
    for name in "ABAB":
        assert server.get("/tenant/x", {**ANN, "X-Tenant": name}).body \
            == name.encode()


def test_nothing_is_remembered_of_somebody_unknown(serve, app, signer):
    """The application knows its users by a header that the key has not."""
    server = serve(location=REMEMBERED)
    yes = redirect(signer.url("test-bucket", "a.txt"))
    app.answer = lambda asked: \
        yes if asked.get("X-Auth-Token") == "ann" else Answer(401)
    for _ in range(2):
        assert server.get("/signed/", {"X-Auth-Token": "ann"}).body == BODY
        assert server.get("/signed/").status == 401


def test_who_is_slow_to_send_a_body_holds_nobody(serve, app, signer):
    server = serve(location=REMEMBERED)
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    slow = server.connect()
    slow.send(b"GET /signed/ HTTP/1.1\r\nHost: a\r\nCookie: sessionid=ann\r\n"
              b"Content-Length: 100\r\n\r\nx")
    answer = server.get("/signed/", {**ANN, "Host": "a"})
    assert (answer.status, answer.body) == (200, BODY)
    slow.close()


# where a request goes on

def test_an_error_page_is_not_what_the_url_says_of_the_object(
        serve, app, signer, emulator):
    emulator.put_object("test-bucket", "errors/404.html", b"<h1>gone</h1>",
                        content_type="text/html")
    page = "error_page 404 /errors/404.html;"
    server = serve(signed=page, more="""
        location /errors/ {
            gcs_pass    gs://test-bucket/errors/;
            gcs_auth    reader;
            gcs_sandbox off;
        }
    """)
    app.default = redirect(signer.url(
        "test-bucket", "none",
        parameters=(("response-content-type", "video/mp4"),
                    ("response-content-disposition", "attachment"))))
    answer = server.get("/signed/", ANN)
    assert (answer.status, answer.body) == (404, b"<h1>gone</h1>")
    assert answer.get("Content-Type") == "text/html"
    assert answer.get("Content-Disposition") is None
    assert answer.get("Content-Security-Policy") is None


@pytest.mark.parametrize("kind", ["an application", "the bucket"])
def test_a_filter_s_error_may_lead_to_another_location_of_ours(
        serve, app, signer, emulator, images, kind):
    """The upstream of the first is closed when that of the second is made,
    and each has its own context."""
    emulator.put_object("test-bucket", "image", b"not one" * 500,
                        content_type="image/png")
    first = {"an application": "proxy_pass http://app; gcs_takeover @signed;",
             "the bucket": "gcs_pass gs://test-bucket/; gcs_auth reader;"}
    server = serve(names={"modules": images}, more="""
        location /images/ {
            %s
            image_filter resize 10 10;
            error_page   415 /signed/;
        }
    """ % first[kind])

    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/images/"):
            return Answer(200, (("Content-Type", "image/png"),), b"no" * 5000)
        return redirect(signer.url("test-bucket", "a.txt"))

    app.answer = answer
    before = server.children()
    for _ in range(5):
        with contextlib.suppress(OSError, HTTPException):
            server.get("/images/image", ANN)    # nginx may hang up
        assert server.get("/signed/", ANN).body == BODY
    assert server.children() == before


def test_who_waits_may_be_taken_elsewhere_when_the_client_leaves(
        serve, app, signer):
    server = serve(location=REMEMBERED + "post_action /done;")
    go = threading.Event()
    done = threading.Event()
    yes = redirect(signer.url("test-bucket", "a.txt"), hold=go)
    app.answer = lambda asked: \
        Answer(200, hold=done) if asked.path == "/done" else yes
    before = server.children()
    request = (b"GET /signed/ HTTP/1.1\r\nHost: a\r\n"
               b"Cookie: sessionid=ann\r\n\r\n")
    first, second = server.connect(), server.connect()
    first.send(request)
    wait_until(lambda: app.asked("/signed/"))
    second.send(request)
    assert server.get("/ping").status == 204
    second.close()                          # who waits
    wait_until(lambda: app.asked("/done"))
    go.set()
    assert first.response().body == BODY
    done.set()
    assert server.get("/signed/", ANN).body == BODY
    assert server.children() == before


def test_a_location_inside_asks_as_the_client_does(serve, app, signer):
    """It inherits the lines of proxy_set_header, but not the takeover."""
    server = serve(more="""
        location /app/ {
            proxy_pass   http://app;
            gcs_takeover @named $gcs_fileuri;

            location /app/inner/ {
                gcs_object gs://test-bucket/a.txt;
                gcs_auth   reader;
                proxy_pass http://app;
            }
        }
    """)
    app.answer = lambda asked: Answer(
        200, (() if "inner" in asked.path
              else (("X-Accel-Redirect", "/app/inner/y"),)))
    uri = fileuri("test-bucket", "a.txt")
    server.request("HEAD", f"/app/x?fileuri={uri}",
                   {**ANN, "Range": "bytes=1-2"})
    inner = app.last()
    assert (inner.method, inner.get("Range")) == ("HEAD", "bytes=1-2")


def test_the_named_location_serves_what_was_taken_and_nothing_else(serve):
    server = serve(start=False, http="""
        map $gcs_takeover_url $moved {
            "~^gs://(?<there>[^/]+)/(?<name>.*)$" gs://$there/new/$name;
        }
    """, more="""
        location /moved/ { proxy_pass http://app; gcs_takeover @moved; }
        location @moved {
            gcs_pass $moved; gcs_auth reader; gcs_buckets test-bucket;
        }
    """)
    refused = server.test()
    assert refused.returncode != 0
    assert "gcs_pass $gcs_takeover_url" in refused.stdout + refused.stderr

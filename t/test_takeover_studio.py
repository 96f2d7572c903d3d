"""Takeover: the contract of Label Studio's media URLs, kept by a double of it.

The double answers as Label Studio does, its defects included; nginx makes of
it what the browser needs.  (A real one is in the other files of its name.)
"""

from __future__ import annotations

from typing import Iterator

import pytest

from emulator import content
from harness.nginx import wait_until
from harness.studio import LabelStudio, fileuri, override_range
from harness.takeover import APPLICATION, BODY, gcs

pytest_plugins = ["harness.studio_plugin"]

MEDIA = """
    gcs_credentials reader { file %%KEY%%; }
    server {
        listen             127.0.0.1:%%PORT%%;
        gcs_endpoint       %%EMULATOR%%;
        gcs_takeover_hosts %%GCS%%;
        proxy_set_header   Host $http_host;

        location / {
            proxy_pass http://%%STUDIO%%;
        }
        location ~ ^%%PREFIX%%/(tasks|projects)/\\d+/(resolve|presign)/?$ {
            proxy_pass   http://%%STUDIO%%;
            gcs_takeover %%HOW%%;
        }
        location %%PREFIX%%/storage-data/uploaded/ {
            proxy_pass   http://%%STUDIO%%;
            gcs_takeover @gcs;
        }
        location %%PREFIX%%/api/react-code/resolve/ {
            proxy_pass   http://%%STUDIO%%;
            gcs_takeover %%HOW%%;
        }
        location @gcs {
            gcs_pass $gcs_takeover_url;
            gcs_auth signature;
        }
        location @own {
            gcs_pass    $gcs_takeover_url;
            gcs_auth    reader;
            gcs_buckets test-bucket;
        }
    }
"""
REDIRECT, ORACLE = "@gcs", "@own $gcs_fileuri"
A = fileuri("test-bucket", "a.txt")
FILM = 9 * (1 << 20) + 5


@pytest.fixture(params=["", "/label"])
def prefix(request) -> str:
    """Alone on its host, or below a path."""
    return request.param


@pytest.fixture
def studio(emulator, bucket, prefix, signer) -> Iterator[LabelStudio]:
    """Project 1 with pre-signed URLs, project 2 without."""
    with LabelStudio(emulator.url, prefix) as double:
        double.connect(1, bucket, presign=signer)
        double.connect(2, bucket, token=lambda: emulator.mint_token(
            APPLICATION))
        double.tasks = {7: 1, 8: 2}
        double.tokens = {"the-token-of-ann": "ann", "the-token-of-bob": "bob"}
        double.projects[1].refused = {"bob"}
        double.projects[2].refused = {"bob"}
        yield double


@pytest.fixture
def front(serve, studio, prefix):
    def start(how: str):
        return serve(MEDIA, names={"STUDIO": studio.address, "HOW": how,
                                   "PREFIX": prefix})
    return start


@pytest.fixture
def ann(studio) -> dict[str, str]:
    return {"Cookie": "sessionid=" + studio.session("ann")}


# the double itself

def test_the_double_has_label_studio_s_ranges():
    for value, asked in (
            (None, None), ("bytes=0-", "bytes=0-1"),
            ("bytes=0-0", "bytes=0-1"), ("bytes=2-", "bytes=2-8388610"),
            ("bytes=0-499", "bytes=0-499"),
            ("bytes=0-99999999", "bytes=0-8388608"),
            ("bytes=-500", "bytes=0-1"), ("bytes=0-1,5-6", "bytes=0-1"),
            ("garbage", "bytes=0-1")):
        assert override_range(value) == asked, value


def test_the_double_streams_with_its_defects(front, studio, prefix, ann):
    """What nginx saves the browser from: through stock nginx it is so."""
    server = front(ORACLE)
    target = f"{prefix}/tasks/8/other/?fileuri={A}"
    assert server.get(target, ann).status == 404
    whole = f"{prefix}/tasks/8/resolve/?fileuri={A}"
    with_range = {"Range": "bytes=-3"}
    for path, headers, status, body in (
            (whole, {}, 200, BODY), (whole, with_range, 206, b"01"),
            (whole, {"Range": "bytes=0-"}, 206, b"01"),
            (whole, {"Range": "bytes=10-"}, 424, None)):
        answer = server.get(path, ann | headers, port=studio.port)
        assert answer.status == status
        assert body in (None, answer.body)
        assert (status == 424) != ("content-range" in answer.names)
    assert server.head(whole, ann, port=studio.port).status == 405


# by way of nginx

@pytest.mark.parametrize("task, how", [(7, REDIRECT), (8, ORACLE),
                                       (7, "@own"), (7, ORACLE)])
def test_each_media_url_gives_the_object(front, studio, prefix, ann, emulator,
                                         task, how):
    server = front(how)
    emulator.put_object("test-bucket", "film", size=FILM, seed=4,
                        content_type="video/mp4")
    film = fileuri("test-bucket", "film")
    paths = [f"/tasks/{task}/resolve/", f"/tasks/{task}/presign/",
             f"/tasks/{task}/resolve", f"/projects/{task - 6}/resolve/",
             f"/projects/{task - 6}/presign/"]
    for path in paths:
        emulator.reset_requests()
        studio.requests.clear()
        target = f"{prefix}{path}?fileuri={film}"
        answer = server.get(target, ann | {"Range": "bytes=0-0"})
        assert (answer.status, answer.get("Content-Range")) \
            == (206, f"bytes 0-0/{FILM}")
        assert answer.get("Content-Type") == "video/mp4"
        assert answer.get("Set-Cookie").startswith("sessionid=ann:")
        assert "private" in answer.get("Cache-Control")
        assert not {"vary", "x-frame-options", "referrer-policy",
                    "content-security-policy-report-only"} & answer.names
        assert [one.target for one in studio.requests] == [target]

    answer = server.get(target, ann | {"Range": "bytes=8388609-"})
    assert answer.body == content(4, 8388609, FILM)
    answer = server.get(target, ann | {"Range": "bytes=-3"})
    assert answer.body == content(4, FILM - 3, FILM)
    assert server.get(target, ann | {
        "Range": f"bytes={FILM}-"}).status == 416
    head = server.head(target + "&lsref=1", ann)
    assert (head.status, head.get("Content-Length")) == (200, str(FILM))
    answer = server.get(target, ann)
    assert (answer.status, answer.body) == (200, content(4, 0, FILM))


def test_label_studio_moves_no_media_byte(front, studio, prefix, ann,
                                          emulator):
    """None in redirect mode, two for a question in oracle mode."""
    emulator.put_object("test-bucket", "film", size=FILM)
    film = fileuri("test-bucket", "film")
    for how, task, most in ((REDIRECT, 7, 0), (ORACLE, 8, 2)):
        server = front(how)
        gcs(emulator)
        studio.requests.clear()
        for asked in ({}, {"Range": "bytes=0-"}, {"Range": "bytes=-9"}):
            server.get(f"{prefix}/tasks/{task}/resolve/?fileuri={film}",
                       ann | asked)
        theirs = [one for one in emulator.requests()
                  if one["target"].startswith("/download/")]
        assert sum(one["sent"] for one in theirs) == 3 * most
        assert len(theirs) == (3 if most else 0)
        assert len(studio.requests) == 3


@pytest.mark.parametrize("how, task", [(REDIRECT, 7), (ORACLE, 8)])
def test_the_status_table_passes(front, studio, prefix, ann, emulator, how,
                                 task):
    server = front(how)
    bob = {"Authorization": "Token the-token-of-bob"}
    media = f"{prefix}/tasks/{task}/resolve/"
    rows = [
        (f"{media}?fileuri={A}", {}, 401), (media, ann, 400),
        (f"{media}?fileuri={A}", bob, 403),
        (f"{prefix}/tasks/999/resolve/?fileuri={A}", ann, 404),
        (f"{media}?fileuri={fileuri('strange-bucket', 'a.txt')}", ann, 404),
        (f"{media}?fileuri=", ann, 404), (f"{media}?fileuri=%%", ann, 404),
        (f"{media}?fileuri={A.rstrip('=') or 'x'}x", ann, 404),
        (f"{media}?fileuri={A}", {"Cookie": "sessionid=ann:0:forged"}, 401),
    ]
    for target, headers, status in rows:
        answer = server.get(target, headers)
        assert answer.status == status, target
        if status == 401:
            assert answer.get("WWW-Authenticate") == 'Token realm="api"'
            assert answer.json() == {
                "detail": "Authentication credentials were not provided."}
        assert answer.get("X-Frame-Options") == "DENY"
    assert not [one for one in emulator.requests("storage")
                if one["status"] == 200]
    for method in ("POST", "DELETE", "OPTIONS"):
        assert server.request(method, f"{media}?fileuri={A}",
                              ann).status == 405


def test_who_cannot_sign_is_told_so(front, studio, prefix, ann,
                                               emulator):
    """Pre-signed URLs on, and no key: Label Studio's own answer is 404."""
    studio.projects[1].storages[0].presign = None
    server = front(REDIRECT)
    assert server.get(f"{prefix}/tasks/7/resolve/?fileuri={A}",
                      ann).status == 404


def test_an_object_that_is_gone_says_so(front, prefix, ann):
    """404 where pre-signed; 424, Label Studio's word, where it streams."""
    none = fileuri("test-bucket", "none")
    assert front(REDIRECT).get(f"{prefix}/tasks/7/resolve/?fileuri={none}",
                               ann).status == 404
    answer = front(ORACLE).get(f"{prefix}/tasks/8/resolve/?fileuri={none}",
                               ann)
    assert (answer.status, "error" in answer.json()) == (424, True)


@pytest.mark.parametrize("headers", [
    {"Authorization": "Token the-token-of-ann"},
    {"Authorization": "Bearer the-token-of-ann"},
    {"X-Api-Key": "the-token-of-ann"}])
def test_all_who_label_studio_knows_are_known(front, prefix, headers):
    for how, task in ((REDIRECT, 7), (ORACLE, 8)):
        server = front(how)
        assert server.get(f"{prefix}/tasks/{task}/resolve/?fileuri={A}",
                          headers).body == BODY


def test_a_session_is_renewed_by_each_answer(front, studio, prefix, ann):
    server = front(REDIRECT)
    cookie = ann["Cookie"]
    seen = {cookie}
    for _ in range(4):
        answer = server.get(f"{prefix}/tasks/7/resolve/?fileuri={A}",
                            {"Cookie": cookie})
        assert answer.body == BODY
        cookie = answer.get("Set-Cookie").partition(";")[0]
        assert studio.last().get("Cookie") in seen
        seen.add(cookie)
    assert len(seen) == 5


def test_a_permission_that_is_taken_back_is_back_at_once(
        front, studio, prefix, ann):
    server = front(ORACLE)
    target = f"{prefix}/tasks/8/resolve/?fileuri={A}"
    assert server.get(target, ann).body == BODY
    studio.projects[2].refused.add("ann")
    assert server.get(target, ann).status == 403


def test_uploads_keep_their_name(front, studio, prefix, ann, emulator,
                                 signer):
    server = front(REDIRECT)
    studio.uploads = studio.projects[1].storages[0]
    name = "upload/1/ab12-my picture.png"
    emulator.put_object("test-bucket", name, b"\x89PNG",
                        content_type="image/png")
    answer = server.get(f"{prefix}/storage-data/uploaded/?filepath="
                        + name.replace(" ", "%20"), ann)
    assert (answer.status, answer.body) == (200, b"\x89PNG")
    assert answer.get("Content-Disposition") == f'inline; filename="{name}"'
    assert answer.get("Content-Type") == "image/png"
    assert "set-cookie" in answer.names
    assert server.get(f"{prefix}/storage-data/uploaded/?filepath={name[:9]}"
                      ).status == 401


@pytest.mark.parametrize("how", [REDIRECT, ORACLE])
def test_the_react_code_route_needs_no_cookie(front, studio, prefix, how):
    if how == ORACLE:
        del studio.projects[1]
    server = front(how)
    path = f"{prefix}/api/react-code/resolve/"
    answer = server.get(f"{path}the-token-of-ann/?fileuri={A}")
    assert (answer.status, answer.body) == (200, BODY)
    assert "set-cookie" not in answer.names
    assert server.get(f"{path}of-nobody/?fileuri={A}").status == 401


def test_the_rest_of_label_studio_is_left_alone(front, studio, prefix, ann):
    server = front(REDIRECT)
    server.request("POST", f"{prefix}/api/projects/", ann, b"{}")
    assert studio.last().body == b"{}"
    server.get(f"{prefix}/tasks/7/resolve/more?fileuri={A}",
               ann | {"Range": "bytes=1-"})
    assert studio.last().get("Range") == "bytes=1-"
    wait_until(lambda: len(studio.requests) == 2)

"""The guide of Label Studio is followed: each of its configurations serves.

Label Studio is its double here (the real one has tests of its own), Cloud
Storage is the emulator.  Only addresses, ports and the places of files are
other ones than in the guide.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

import test_docs as docs
from emulator import content
from harness import Nginx
from harness.nginx import wait_until
from harness.studio import (Answer, LabelStudio, Signer, Storage, accel,
                            fileuri, redirect)
from test_guides import blocks, section, text_of

BUCKET, NAME = "my-bucket", "images/cat 1.png"
BODY = content(7, 0, 5000)
URI = fileuri(BUCKET, NAME)
PATH = f"/tasks/7/resolve/?fileuri={URI}"
USER = {"Authorization": "Token of-the-annotator"}
OURS = "reader@my-project.iam.gserviceaccount.com"
THEIRS = "label-studio@my-project.iam.gserviceaccount.com"
GUIDE = "label-studio"


@pytest.fixture
def google(emulator):
    emulator.create_bucket(BUCKET)
    emulator.put_object(BUCKET, NAME, BODY, content_type="image/png")
    return emulator


@pytest.fixture
def signer(google):
    return Signer(google.service_account(
        THEIRS, grants={BUCKET: ["objectViewer"]}), google.url)


@pytest.fixture
def studio(google, signer):
    """Task 7, in project 1 with a storage that has pre-signed URLs on."""
    with LabelStudio(google.url) as studio:
        studio.tokens["of-the-annotator"] = "annotator"
        studio.tasks[7] = 1
        studio.connect(1, BUCKET, presign=signer)
        studio.default = Answer(200, [("Content-Type", "text/html")],
                                b"<title>Label Studio</title>")
        yield studio


@pytest.fixture
def proxying(studio, google):
    """The same with pre-signed URLs off."""
    def token() -> str:
        return google.mint_token(THEIRS)

    studio.projects.clear()
    studio.connect(1, BUCKET, token=token)
    return studio


@pytest.fixture
def run(nginx, google, studio, tmp_path):
    """Starts nginx with a block of the guide, or of another page."""
    key = tmp_path / "key.json"
    key.write_text(google.service_account(
        OURS, grants={BUCKET: ["objectViewer"]}))

    def make(text: str, **names: object) -> Nginx:
        _, http = docs.complete(docs.Block("", 1, text), set())
        assert len(re.findall(r"\blisten\s", http)) <= 1
        http = re.sub(r"\blisten\s+[^;]+;", "", http)
        http = re.sub(r"\bserver \{\n(?!\s*server )",
                      "server {\nlisten 127.0.0.1:%%PORT%%;\n", http)
        http = re.sub(r"\bfile\s+[^;]+;|\bmetadata_server;",
                      f"file {key};", http)
        http = re.sub(r"(access_log|proxy_cache_path)(\s+)/\S*?([^/\s;]+)"
                      r"(?=[\s;])", r"\1\2%%DIR%%/\3", http)
        assert "127.0.0.1:8080" in http or "8081" in text
        http = http.replace("127.0.0.1:8080", studio.address)
        if "gcs_takeover_hosts" not in http:
            http = f"gcs_takeover_hosts {google.url[7:]};\n" + http
        return nginx("gcs_endpoint %%EMULATOR%%;\n" + http,
                     secrets=signatures(studio), **names)

    return make


def signatures(studio: LabelStudio) -> list[str]:
    """Not yet made when nginx is started: a list that grows."""
    return [one for project in studio.projects.values()
            for storage in project.storages if storage.presign
            for one in storage.presign.made]


def part(title: str, index: int = 0, page: str | None = None) -> str:
    """The configuration below a heading."""
    text = docs.sections(docs.page(page))[title] if page \
        else section(GUIDE, title)
    return blocks(text, "nginx")[index]


def read(google) -> list[dict]:
    """What nginx has asked of Cloud Storage; Label Studio uses the JSON API
    for what it streams."""
    return [one for one in google.requests("storage")
            if not one["target"].startswith(("/storage/", "/download/"))]


def served(server: Nginx, path: str = PATH, **more: str) -> None:
    """The object, whole, in part, and only its header."""
    answer = server.get(path, USER)
    assert (answer.status, answer.body) == (200, BODY), server.log()
    assert answer.get("Content-Type") == "image/png"
    assert answer.get("Cache-Control").startswith("private")
    assert answer.get("X-Content-Type-Options") == "nosniff"
    assert "location" not in answer.names

    answer = server.get(path, {**USER, "Range": "bytes=0-"})
    assert (answer.status, answer.body) == (206, BODY)
    answer = server.get(path, {**USER, "Range": "bytes=-500"})
    assert (answer.status, answer.body) == (206, BODY[-500:])
    answer = server.get(path, {**USER, "Range": "bytes=9000-"})
    assert (answer.status, answer.get("Content-Range")) \
        == (416, "bytes */5000")
    answer = server.request("HEAD", path, USER)
    assert (answer.status, answer.get("Content-Length")) == (200, "5000")


def log_of(server: Nginx, count: int) -> list[str]:
    path = server.dir / "media.log"
    wait_until(lambda: path.exists()
               and path.read_text().count("\n") >= count)
    return [line.rstrip() for line in path.read_text().splitlines()]


# the whole configuration

def test_the_whole_configuration_needs_no_identity(run, studio, google):
    server = run(blocks(text_of(GUIDE), "nginx")[-1])
    served(server)
    for kind in ("tasks/7/resolve", "tasks/7/presign/", "tasks/7/presign",
                 "projects/1/resolve/", "projects/1/presign"):
        answer = server.get(f"/{kind}?fileuri={URI}", USER)
        assert (answer.status, answer.body) == (200, BODY), kind
    asked = studio.requests
    assert {one.method for one in asked} == {"GET"}
    assert not any("if-none-match" in one.names for one in asked)
    assert {one["account"] for one in read(google)} == {THEIRS}
    assert "token" not in google.counts()


def test_pages_and_other_methods_go_to_label_studio(run, studio):
    server = run(part("The whole configuration"))
    answer = server.get("/projects/1/data", USER)
    assert b"Label Studio" in answer.body
    assert "set-cookie" in answer.names
    assert server.request("POST", PATH, USER).status == 405
    assert [one.method for one in studio.requests] == ["GET", "POST"]
    assert studio.last().get("Host") == f"127.0.0.1:{server.port}"


def test_uploads_and_exports_are_delivered(run, studio, signer, google):
    server = run(part("The whole configuration"))
    google.put_object(BUCKET, "upload/1/a.pdf", b"%PDF", content_type=
                      "application/pdf")
    studio.uploads = Storage(BUCKET, signer, None)
    answer = server.get("/storage-data/uploaded/?filepath=upload/1/a.pdf",
                        USER)
    assert (answer.status, answer.body) == (200, b"%PDF")
    assert answer.get("Content-Disposition") \
        == 'inline; filename="upload/1/a.pdf"'
    assert "content-security-policy" not in answer.names

    google.put_object(BUCKET, "export/1.json", b"[]")
    studio.routes["/api/projects/1/exports/2/download"] = accel(
        signer.url(BUCKET, "export/1.json"),
        ("Content-Disposition", 'attachment; filename="1.json"'))
    answer = server.get("/api/projects/1/exports/2/download", USER)
    assert (answer.status, answer.body) == (200, b"[]")
    assert answer.get("Content-Disposition") \
        == 'attachment; filename="1.json"'
    assert all("takeover=accel" in line for line in log_of(server, 2))


def test_a_custom_interface_may_read_from_a_page_without_an_origin(
        run, studio):
    server = run(part("The whole configuration"))
    answer = server.get("/api/react-code/resolve/of-the-annotator/"
                        f"?fileuri={URI}", {"Origin": "null"})
    assert (answer.status, answer.body) == (200, BODY)
    assert answer.get("Access-Control-Allow-Origin") == "*"
    # and no other page the rest
    answer = server.get(PATH, {**USER, "Origin": "null"})
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.names


# see that it works, and when it does not

def test_the_commands_say_what_the_guide_says(run, studio):
    server = run(part("The whole configuration"))
    studio.routes["/api/tasks/7/"] = Answer(200, [], PATH.encode())
    text, = blocks(section(GUIDE, "See that it works"), "sh")
    said = []
    for line in text.splitlines():
        for old, new in (("LABELS", server.url("")), ("/TASK/", "/7/"),
                         ("Token TOKEN", USER["Authorization"]),
                         ("Z3M6Ly9", URI)):
            line = line.replace(old, new)
        said.append(subprocess.run(shlex.split(line), capture_output=True,
                                   text=True, check=True).stdout)
    assert "/tasks/7/resolve/?fileuri=" in said[0]
    assert "206 Partial Content" in said[1]
    assert "Content-Range: bytes 0-0/5000" in said[1]
    assert "Cache-Control: private" in said[1]
    assert "image/png" in said[1]
    assert "Location" not in said[1] and "X-Goog" not in said[1]
    assert "200 OK" in said[2] and "Content-Length: 5000" in said[2]
    assert said[3] == "401\n"

    line, = blocks(section(GUIDE, "See that it works"), "text")
    assert log_of(server, 4)[1] == line.strip().replace("192.0.2.7",
                                                        "127.0.0.1")


def row(words: str) -> list[str]:
    """The columns of a row of "When it does not"."""
    [line] = [line for line in section(GUIDE, "When it does not").splitlines()
              if line.startswith("|") and words in line]
    return [column.strip() for column in line.strip("|").split(" | ")]


def showing_the_word(text: str) -> str:
    return text.replace("gcs_auth signature;", "gcs_auth signature;"
                        "add_header X-Error $gcs_error always;")


@pytest.mark.parametrize("words, path, headers, status", [
    ("no login", PATH, {}, 401),
    ("does not let this user", PATH, {"X-Api-Key": "of-the-other"}, 403),
    ("has no storage", "/tasks/7/resolve/?fileuri="
     + fileuri("another-bucket", "x"), USER, 404),
    ("could not read the bucket", "/projects/2/resolve/?fileuri="
     + fileuri("second-bucket", "x"), USER, 424)])
def test_label_studio_s_own_answers_pass(run, studio, google, words, path,
                                         headers, status):
    studio.tokens["of-the-other"] = "other"
    studio.projects[1].refused.add("other")
    google.create_bucket("second-bucket")
    studio.connect(2, "second-bucket", token=lambda: google.mint_token(THEIRS))
    server = run(part("The whole configuration"))
    answer = server.get(path, headers)
    assert answer.status == status
    assert "takeover=passed" in log_of(server, 1)[0]
    assert str(status) in row(words)[0]
    assert read(google) == []


def test_a_redirect_to_elsewhere_passes(run, studio):
    server = run(part("The whole configuration"))
    for url in ("https://b.s3.amazonaws.com/x?X-Amz-Signature=0",
                "/user/login/?next=/tasks/7/"):
        studio.routes["/tasks/7/resolve/"] = redirect(url)
        answer = server.get(PATH)
        assert (answer.status, answer.get("Location")) == (303, url)
    assert "takeover=passed" in log_of(server, 2)[1]


def test_what_label_studio_may_not_read_is_told_by_google_s_word(
        run, google, studio):
    google.grant(THEIRS, BUCKET, [])
    server = run(showing_the_word(part("The whole configuration")))
    answer = server.get(PATH, USER)
    assert answer.status == 403
    assert answer.get("X-Error") in row("what Label Studio has signed")[1]
    google.grant(THEIRS, BUCKET, ["objectViewer"])
    google.delete_object(BUCKET, NAME)
    answer = server.get(PATH, USER)
    assert answer.status == 404
    assert answer.get("X-Error") in row("the object is gone")[1]


def test_without_label_studio_nothing_is_served(run, studio):
    server = run(part("The whole configuration"))
    studio.stop()
    assert server.get(PATH, USER).status == 502
    assert "upstream=502" in log_of(server, 1)[0]


def test_nginx_is_taken_away_again(run, studio, google):
    """The lines gcs_takeover removed: Label Studio's redirect is back."""
    text = re.sub(r" *gcs_takeover @[^;]+;\n", "",
                  part("The whole configuration"))
    text = re.sub(r" *location @gcs[^{]*\{[^}]*\}\n", "", text)
    answer = run(text).get(PATH, USER)
    assert answer.status == 303
    assert answer.get("Location").startswith(google.url)


def test_html_runs_no_script(run, studio, google):
    google.put_object(BUCKET, "x.html", b"<script>", content_type="text/html")
    answer = run(part("The whole configuration")).get(
        f"/tasks/7/resolve/?fileuri={fileuri(BUCKET, 'x.html')}", USER)
    assert answer.get("Content-Security-Policy") == "sandbox"


# the other configurations of the guide

def test_below_a_path_label_studio_is_asked_without_it(
        run, studio, signer, google):
    server = run(part("Below a path"))
    served(server, "/label-studio" + PATH)
    assert studio.last().target == PATH
    answer = server.get("/label-studio/projects/?page=2", USER)
    assert b"Label Studio" in answer.body
    assert studio.last().target == "/projects/?page=2"

    google.put_object(BUCKET, "upload/a b.txt", b"text")
    studio.uploads = Storage(BUCKET, signer, None)
    answer = server.get("/label-studio/storage-data/uploaded/"
                        "?filepath=upload/a%20b.txt", USER)
    assert answer.body == b"text"
    assert studio.last().target \
        == "/storage-data/uploaded/?filepath=upload/a%20b.txt"


def test_with_an_identity_objects_are_cached_and_questions_are_not(
        run, studio, google):
    text = part("An identity of nginx's own")
    server = run(text.replace("gcs_takeover_cache zone=verdicts:10m "
                              "valid=5s;\n", ""))
    server.wait_log("token refreshed")
    served(server)
    assert {one["account"] for one in read(google)} == {OURS}
    before = len(studio.requests), len(read(google))
    assert server.get(PATH, USER).body == BODY
    assert (len(studio.requests), len(read(google))) \
        == (before[0] + 1, before[1])
    # whom Label Studio does not know gets nothing, cached or not
    assert server.get(PATH).status == 401

    google.put_object(BUCKET, "film.mp4", size=9 << 20, seed=3)
    film = f"/tasks/7/resolve/?fileuri={fileuri(BUCKET, 'film.mp4')}"
    for _ in range(2):
        answer = server.get(film, {**USER, "Range": "bytes=5000000-5000009"})
        assert (answer.status, answer.body) \
            == (206, content(3, 5000000, 5000010))
    assert server.get(film, USER).body == content(3, 0, 9 << 20)
    assert len(read(google)) == before[1] + 3


def test_what_is_not_in_the_list_is_left_to_the_browser(run, studio, google,
                                                        signer):
    google.create_bucket("other-bucket")
    studio.connect(1, "other-bucket", presign=signer)
    server = run(part("An identity of nginx's own"))
    answer = server.get("/tasks/7/resolve/?fileuri="
                        + fileuri("other-bucket", "x"), USER)
    assert answer.status == 303
    assert answer.get("Location").startswith(google.url)


@pytest.mark.parametrize("title", [
    "An identity of nginx's own", "Pre-signed URLs off"])
def test_verdicts_are_remembered_for_the_same_user(run, studio, google,
                                                   title):
    server = run(part(title))
    server.wait_log("token refreshed")
    for _ in range(3):
        assert server.get(PATH, USER).body == BODY
    assert len(studio.requests) == 1
    assert server.get(PATH).status == 401


def test_with_pre_signed_urls_off_label_studio_sends_two_bytes(
        run, proxying, google):
    server = run(part("Pre-signed URLs off"))
    server.wait_log("token refreshed")
    served(server)
    for asked in proxying.requests:
        assert (asked.method, asked.get("Range")) == ("GET", "bytes=0-0")
        assert asked.sent <= 2
    assert {one["account"] for one in read(google)} == {OURS}


def test_and_with_them_on_that_configuration_works_as_well(run, studio):
    server = run(part("Pre-signed URLs off"))
    server.wait_log("token refreshed")
    served(server)


def test_task_data_with_addresses_need_a_login(run, studio, google):
    studio.routes["/api/current-user/whoami"] = lambda asked: Answer(
        200 if asked.cookies.get("sessionid") == "mine" else 401)
    server = run(part("Addresses in the task data"))
    server.wait_log("token refreshed")
    path = "/media/my-bucket/images/cat%201.png"
    answer = server.get(path, {"Cookie": "sessionid=mine",
                               "Range": "bytes=0-9"})
    assert (answer.status, answer.body) == (206, BODY[:10])
    asked, = studio.requests
    assert (asked.method, asked.path) == ("GET", "/api/current-user/whoami")
    assert "range" not in asked.names
    assert server.get(path).status == 401
    assert server.get("/whoami", {"Cookie": "sessionid=mine"}).status == 404
    google.create_bucket("other-bucket")
    assert server.get("/media/other-bucket/x",
                      {"Cookie": "sessionid=mine"}).status == 403
    assert b"Label Studio" in server.get("/projects/", USER).body


@pytest.mark.parametrize("name, escaped", [
    (NAME, "images%2Fcat%201.png"), ("a//b", "a%2F%2Fb"),
    ("100%?#.png", "100%25%3F%23.png"), ("\u00e9", "%C3%A9")])
def test_nginx_is_label_studio_s_cloud_storage(run, google, name, escaped):
    google.put_object(BUCKET, name, b"bytes")
    server = run(part("nginx as Label Studio's Cloud Storage"))
    server.wait_log("token refreshed")
    answer = server.get(
        f"/download/storage/v1/b/{BUCKET}/o/{escaped}?alt=media",
        {"Authorization": "Bearer of-label-studio", "Range": "bytes=0-1"})
    assert (answer.status, answer.body) == (206, b"by")
    [asked] = read(google)
    assert asked["account"] == OURS

    variable, = blocks(section(GUIDE, "nginx as Label Studio's Cloud "
                                      "Storage"), "yaml")
    assert "/download/storage/v1/b/{bucket_name}/o/{blob_name}?alt=media" \
        in variable


def test_urls_for_another_host_are_read_by_an_identity_only(
        run, studio, google):
    """API_ENDPOINT_OVERRIDE: Google would refuse the signature."""
    theirs = Signer(google.service_account(
        THEIRS, grants={BUCKET: ["objectViewer"]}), "https://gcs.example.com")
    studio.projects.clear()
    studio.connect(1, BUCKET, presign=theirs)
    text = part("nginx as Label Studio's Cloud Storage", 1)
    server = run(text)
    server.wait_log("token refreshed")
    served(server)
    assert {one["account"] for one in read(google)} == {OURS}

    text = text.replace("gcs_auth    reader;\n", "gcs_auth signature;\n")
    text = re.sub(r" *gcs_buckets[^;]+;\n", "", text)
    assert run(text).get(PATH, USER).status >= 400
    [violation] = google.violations()
    assert violation["kind"] == "unknown-host"
    google.reset()


# takeover.md

def test_an_application_sends_x_accel_redirect(run, studio, google):
    google.put_object(BUCKET, "films/a b%.mp4", b"film",
                      content_type="video/mp4")
    studio.routes["/app/film"] = Answer(
        200, [("X-Accel-Redirect", "/private/films/a%20b%25.mp4"),
              ("Set-Cookie", "a=b"), ("Content-Type", "text/html"),
              ("Content-Disposition", "attachment"),
              ("Cache-Control", "no-store")])
    server = run(part("X-Accel-Redirect", page="takeover.md"))
    server.wait_log("token refreshed")
    answer = server.get("/app/film", USER)
    assert (answer.status, answer.body) == (200, b"film")
    assert answer.get("Content-Type") == "video/mp4"
    assert answer.get("Content-Disposition") == "attachment"
    assert answer.get("Cache-Control") == "no-store"
    assert "a=b" in answer.all("Set-Cookie")
    assert server.get("/private/films/a%20b%25.mp4").status == 404


# the image

def test_the_image_has_all_that_building_and_running_need():
    [text] = blocks(section(GUIDE, "Docker Compose"), "dockerfile")
    build, run = text.split("\nFROM ")[0], text.split("\nFROM ")[1]
    script = (docs.ROOT / "build.sh").read_text()
    needed = re.search(r"^missing_to_build\(\).*?^\}", script,
                       re.MULTILINE | re.DOTALL)[0]
    for package in set(re.findall(r"\b[a-z0-9]+[\w-]*-dev\b", needed)):
        assert re.search(rf"\s{package}\s", build), package
    for package in ("ca-certificates", "libcurl4", "libjansson4", "nginx"):
        assert package in run
    assert "ngx_http_gcs_proxy_module.so" in run


# troubleshooting.md

def test_each_reason_that_is_explained_is_one_of_the_code_s():
    text = docs.page("troubleshooting.md").split(
        "not taken: X`\n")[1].split("\n### ")[0]
    reasons = re.findall(r"^\* `([^`]+)`", text, re.MULTILINE)
    code = re.sub(r'"\s+"', "", docs.sources()).replace('\\"', '"')
    assert len(reasons) > 5
    for reason in reasons:
        assert f'"{reason}"' in code, reason


# the list of this file

def test_each_configuration_of_the_guide_is_served_by_a_test():
    parts = {title: len(blocks(text, "nginx")) for title, text
             in docs.sections(text_of(GUIDE)).items() if "```nginx" in text}
    here = Path(__file__).read_text()
    for title, count in parts.items():
        assert f'part("{title}"' in here \
            or f'part(title' in here and f'"{title}"' in here, title
        for index in range(1, count):
            assert f'part("{title}", {index})' in here, (title, index)

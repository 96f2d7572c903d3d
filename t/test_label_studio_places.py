"""Other places of Label Studio's media, with nginx in front of a real one.

Below a path, uploads and exports in Cloud Storage, and the other ways of the
guide.  Each needs a Label Studio that was started so.
"""

from __future__ import annotations

import json
import re

import pytest

from harness import pages_media as media
from harness.label_studio import (BUCKET, GOOGLE, Project, by_label_studio,
                                  by_nginx, cookie)
from harness.nginx import free_port

pytest_plugins = ["harness.label_studio_plugin"]
pytestmark = pytest.mark.timeout(400)  # the first one installs the database

TEXT = b"0123456789" * 10              # a.txt
PREFIX = "http://labels.example.com"


@pytest.fixture
def emulator(google):
    """What Google saw in this test."""
    google.reset_requests()
    return google


# below a path

@pytest.fixture(scope="module")
def below(studio_at):
    """Its users see it below /label-studio/."""
    return studio_at(host=f"{PREFIX}/label-studio")


def test_below_a_path_media_are_served(front, below, emulator):
    project = below.project(presign=True,
                            tasks=[{"image": f"gs://{BUCKET}/a.txt"}])
    [task] = below.tasks(project)
    assert task["data"]["image"] \
        == f"{PREFIX}/label-studio" + project.media("a.txt")
    server = front("Below a path", studio=below)

    target = task["data"]["image"].removeprefix(PREFIX)
    with below.counted() as said:
        answer = server.get(target, below.authorization)
        assert (answer.status, answer.body) == (200, TEXT), server.log()
        answer = server.get(target, {**below.authorization,
                                     "Range": "bytes=-5"})
        assert (answer.status, answer.body) == (206, b"56789")
        assert server.get(target).status == 401
    assert [status for _, _, status in said] == [303, 303, 401]
    assert len(by_nginx(emulator)) == 2
    assert by_label_studio(emulator) == 0


def test_below_a_path_a_user_logs_in(front, below):
    server = front("Below a path", studio=below)
    cookies = below.login(server.port)
    page = server.get("/label-studio/projects/", {"Cookie": cookie(cookies)})
    assert page.status == 200
    [script] = re.findall(rb'src="([^"]*/label-studio/[^"]*main\.js[^"]*)"',
                          page.body)[:1]
    script = script.decode().removeprefix(PREFIX)
    assert server.get(script, {"Cookie": cookie(cookies)}).status == 200


# uploads and exports

@pytest.fixture(scope="module")
def stored(google, studio_at, tmp_path_factory):
    """It keeps its users' files in a bucket, and has IAM sign for them."""
    google.create_bucket("uploads")
    key = tmp_path_factory.mktemp("key") / "key.json"
    key.touch(0o600)
    key.write_text(google.service_account(
        grants={"uploads": ["objectAdmin", "legacyBucketReader"]},
        token_uri=GOOGLE))
    email = json.loads(key.read_text())["client_email"]
    google.set_policy(email, {"roles/iam.serviceAccountTokenCreator": [
        f"serviceAccount:{email}"]})
    return studio_at(env={
        "STORAGE_TYPE": "gcs", "STORAGE_GCS_PROJECT_ID": "demo-project",
        "STORAGE_GCS_BUCKET_NAME": "uploads", "STORAGE_GCS_FOLDER": "ls",
        "GOOGLE_APPLICATION_CREDENTIALS": str(key),
        "USE_NGINX_FOR_EXPORT_DOWNLOADS": "1",
        # or else it never names an export to nginx
        "fflag_fix_all_lsdv_4813_async_export_conversion_22032023_short": "1"
    })


@pytest.fixture(scope="module")
def uploaded(stored) -> tuple[Project, str]:
    """A project, and the address of a picture that was uploaded to it."""
    project = stored.project(presign=True)
    stored.upload(project, "a cat.png", media.png(), "image/png")
    [task] = stored.tasks(project)
    return project, task["data"]["image"]


def test_an_upload_is_named_to_nginx(stored, uploaded):
    _, target = uploaded
    assert re.fullmatch(r"/storage-data/uploaded/"
                        r"\?filepath=upload/\d+/\w+-a_cat\.png", target)
    answer = stored.ask(target)
    assert (answer.status, answer.body) == (200, b"")
    assert re.fullmatch(
        r"/file_download/https/storage\.googleapis\.com/uploads/ls/upload/"
        r"\d+/\w+-a_cat\.png\?X-Goog-Algorithm=GOOG4-RSA-SHA256&.*",
        answer.get("X-Accel-Redirect"))
    name = target.partition("filepath=")[2]
    assert answer.get("Content-Disposition") == f'inline; filename="{name}"'


def test_an_upload_is_served(front, stored, uploaded, emulator):
    _, target = uploaded
    server = front(studio=stored)
    with stored.counted("/storage-data/") as said:
        answer = server.get(target, stored.authorization)
    assert (answer.status, answer.body) == (200, media.png()), server.log()
    assert said == [("GET", target, 200)]

    assert answer.get("Content-Type") == "image/png"
    assert answer.get("Content-Disposition") \
        == f'inline; filename="{target.partition("filepath=")[2]}"'
    assert answer.get("Cache-Control").startswith("private")
    assert "x-accel-redirect" not in answer.names
    [request] = by_nginx(emulator)
    assert request["credential"] == "signed URL"
    assert by_label_studio(emulator) == 0

    answer = server.get(target, {**stored.authorization,
                                 "Range": "bytes=1-3"})
    assert (answer.status, answer.body) == (206, b"PNG")
    answer = server.head(target, stored.authorization)
    assert (answer.status, answer.get("Content-Length")) \
        == (200, str(len(media.png())))


def test_an_upload_is_for_nobody_else(front, stored, uploaded, emulator):
    _, target = uploaded
    server = front(studio=stored)
    assert server.get(target).status == 401
    answer = server.get(target.replace("a_cat", "b_cat"),
                        stored.authorization)
    assert answer.status == 403
    assert emulator.requests("storage") == []


def test_an_export_is_served(front, stored, uploaded, emulator):
    project, _ = uploaded
    made = stored.api("POST", f"/projects/{project.id}/exports/",
                      {"title": "all"})
    target = f"/api/projects/{project.id}/exports/{made['id']}" \
             "/download?exportType=JSON"
    server = front(studio=stored)
    emulator.reset_requests()
    answer = server.get(target, stored.authorization)
    assert answer.status == 200, server.log()
    assert len(answer.json()) == 1
    assert answer.get("Content-Disposition").startswith("attachment; ")
    assert len(by_nginx(emulator)) == 1
    assert by_label_studio(emulator) == 0


# the other ways of the guide

def test_addresses_in_the_task_data_are_served_to_who_has_logged_in(
        front, studio, emulator):
    server = front("Addresses in the task data")
    target = f"/media/{BUCKET}/a.txt"
    with studio.counted("/api/current-user/whoami") as said:
        assert server.get(target).status == 401
        cookies = studio.login(server.port)
        answer = server.get(target, {"Cookie": cookie(cookies),
                                     "Range": "bytes=-5"})
        assert (answer.status, answer.body) == (206, b"56789")
        assert server.get(target, studio.authorization).body == TEXT
    assert [status for _, _, status in said] == [401, 200, 200]
    assert len(by_nginx(emulator)) == 2


def test_nginx_is_where_label_studio_downloads_from(front, studio_at,
                                                    emulator):
    port = free_port()
    server = front("nginx as Label Studio's Cloud Storage", studio=None,
                   PORT=port)
    studio = studio_at(env={
        "RESOLVER_PROXY_GCS_DOWNLOAD_URL":
            f"http://127.0.0.1:{port}/download/storage/v1"
            "/b/{bucket_name}/o/{blob_name}?alt=media"})
    project = studio.project(presign=False,
                             tasks=[{"image": f"gs://{BUCKET}/a.txt"}])
    for name in ("a.txt", "a b/ü%3F.txt"):
        emulator.put_object(BUCKET, name, TEXT)
        emulator.reset_requests()
        answer = studio.ask(project.media(name))
        assert (answer.status, answer.body) == (200, TEXT), server.log()
        assert by_label_studio(emulator) == 0
        [request] = by_nginx(emulator)
        assert request["credential"] == "valid"


def test_another_endpoint_moves_signed_urls_too(front, studio_at, emulator):
    """They are signed for that host; by an identity they are served."""
    endpoint = emulator.url.removeprefix("http://")
    studio = studio_at(env={"API_ENDPOINT_OVERRIDE": emulator.url})
    project = studio.project(presign=True,
                             tasks=[{"image": f"gs://{BUCKET}/a.txt"}])
    answer = studio.ask(project.media("a.txt"))
    assert answer.status == 303
    assert answer.get("Location").startswith(
        f"{emulator.url}/{BUCKET}/a.txt?X-Goog-Algorithm=")

    server = front("nginx as Label Studio's Cloud Storage", 1, studio=studio,
                   replace={"gcs.example.com": endpoint})
    answer = server.get(project.media("a.txt"), studio.authorization)
    assert (answer.status, answer.body) == (200, TEXT), server.log()
    [request] = by_nginx(emulator)
    assert request["credential"] == "valid"

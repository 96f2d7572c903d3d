"""A real Label Studio works through nginx with no key of its own.

STORAGE_EMULATOR_HOST tells the library in it to go to nginx and to need no
login.  RESOLVER_PROXY_GCS_DOWNLOAD_URL is for the one address that Label
Studio makes itself.  It cannot pre-sign without a key.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from harness import Nginx
from harness.api import PLAIN, configuration, headers_of
from harness.label_studio import BUCKET, LabelStudio, Project
from harness.nginx import sanitizer_environment
from conftest import SANITIZE, secrets_of

pytest_plugins = ["harness.label_studio_plugin"]
pytestmark = pytest.mark.timeout(400)  # the first one installs the database

ACCOUNT = "nginx@demo-project.iam.gserviceaccount.com"
TEXT = b"0123456789" * 10              # a.txt
RESULT = [{"from_name": "box", "to_name": "image", "type": "rectanglelabels",
           "value": {"x": 1, "y": 2, "width": 3, "height": 4,
                     "rectanglelabels": ["thing"]}}]


@dataclass
class Place:
    """Label Studio, the nginx that it takes for Google, and Google."""

    studio: LabelStudio
    server: Nginx
    http: str                          # with METHODS to be filled in

    def allow(self, methods: str) -> None:
        self.server.configure(self.http.replace("METHODS", methods))
        self.server.reload(old_gone=True)

    def storage(self, kind: str, **members: object) -> dict:
        return {"title": "t", "bucket": BUCKET, "prefix": "data",
                "google_project_id": "p", "regex_filter": ".*",
                "use_blob_urls": True, "presign": False,
                "recursive_scan": True, "google_application_credentials": "",
                **({"can_delete_objects": False} if kind == "export" else {}),
                **members}

    def refusal(self, target: str, value: dict) -> str:
        answer = self.studio.request(
            "POST", f"/api{target}", {
                **self.studio.authorization,
                "Content-Type": "application/json"},
            json.dumps(value).encode())
        assert answer.status == 400, answer.text
        return answer.text


@pytest.fixture(scope="module")
def place(google, module, studio_at, tmp_path_factory):
    """With no identity on the side of Label Studio."""
    google.create_bucket("foreign")
    google.put_object(BUCKET, "data/a.png", b"not really", content_type="i/p")
    google.put_object(BUCKET, "data/b ü.png", b"neither", content_type="i/p")
    google.put_object(BUCKET, "tasks/1.json", json.dumps(
        {"data": {"image": f"gs://{BUCKET}/a.png"}}).encode())

    folder = tmp_path_factory.mktemp("gateway")
    key = folder / "key.json"
    key.touch(0o600)
    key.write_text(google.service_account(ACCOUNT, grants={
        BUCKET: ["admin"], "foreign": ["admin"]}))

    http = configuration("METHODS", location="allow 127.0.0.1; deny all;") \
        .replace("test-bucket other-bucket limited-bucket/inside/", BUCKET)
    server = Nginx(folder / "nginx", http.replace(
        "METHODS", "GET HEAD PUT"), modules=[module], KEY=key,
        EMULATOR=google.url, env=sanitizer_environment() if SANITIZE else {})
    server.start()
    studio = studio_at(env={
        **{name: PLAIN[name] for name in ("NO_GCE_CHECK",)},
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{server.port}",
        "RESOLVER_PROXY_GCS_DOWNLOAD_URL":
            f"http://127.0.0.1:{server.port}/download/storage/v1"
            "/b/{bucket_name}/o/{blob_name}?alt=media"})
    yield Place(studio, server, http)

    # other files have the same Google, and count what is in the bucket
    google.configure(links="host")
    for name in ("data/a.png", "data/b ü.png", "tasks/1.json"):
        google.delete_object(BUCKET, name)
    assert studio.refused() == set()   # nothing but nginx was wanted
    wrong = server.finish([*secrets_of(google), studio.token])
    assert wrong == []


@pytest.fixture(autouse=True)
def ours(place, google):
    """What Google sees in a test is nginx's."""
    google.reset_requests()
    google.configure(links="google")
    yield
    assert google.violations() == []
    for record in google.requests():
        if record["kind"] == "storage":
            assert (record["credential"], record["account"]) \
                == ("valid", ACCOUNT), record
            assert "gcloud-python" in headers_of(record).get(
                "x-goog-api-client", "gcloud-python")
        else:
            assert (record["kind"], record["account"]) == ("token", ACCOUNT)


@pytest.fixture(scope="module")
def project(place) -> Project:
    """One with a source that is not pre-signed."""
    return place.studio.project(
        presign=False, key="", prefix="data",
        tasks=[{"image": f"gs://{BUCKET}/a.txt"}])


def test_the_connection_is_tested(place, project):
    place.studio.api("POST", "/storages/gcs/validate",
                     place.storage("import", project=project.id))
    place.studio.api("POST", "/storages/export/gcs/validate",
                     place.storage("export", project=project.id))


def test_what_is_to_be_synced_is_previewed(place, project):
    said = place.studio.api("POST", "/storages/gcs/files", {
        **place.storage("import"), "project": project.id, "limit": 10})
    assert [file["key"] for file in said["files"] if file["key"]] \
        == ["data/a.png", "data/b ü.png"]


def test_a_source_is_synced_into_tasks(place, project):
    said = place.studio.sync(project)
    assert (said["status"], said["last_sync_count"]) == ("completed", 2)
    found = {task["storage_filename"] for task in place.studio.tasks(project)}
    assert {"data/a.png", "data/b ü.png"} <= found


def test_tasks_are_read_out_of_files(place):
    made = place.studio.project(presign=False, key="", prefix="tasks",
                                use_blob_urls=False)
    assert place.studio.sync(made)["last_sync_count"] == 1
    [task] = place.studio.tasks(made)
    assert "image" in task["data"]


@pytest.mark.parametrize("asked, status, body", [
    (None, 200, TEXT), ("bytes=2-4", 206, b"234"), ("bytes=90-", 206,
                                                    b"0123456789")])
def test_media_come_through_label_studio(place, project, asked, status, body):
    headers = {"Range": asked} if asked else {}
    answer = place.studio.ask(project.media("a.txt"), **headers)
    assert (answer.status, answer.body) == (status, body)
    assert answer.get("Content-Type") == "text/plain"


def test_annotations_are_exported_as_they_are_made(place, project, google):
    """The target storage: made, changed, and all at once."""
    target = place.studio.api("POST", "/storages/export/gcs", {
        **place.storage("export", prefix="annotations"),
        "project": project.id})
    made = place.studio.api(
        "POST", f"/tasks/{project.task}/annotations/", {"result": RESULT})
    name = f"annotations/{made['id']}"
    stored = google.get_object(BUCKET, name)
    said = json.loads(stored["data"])
    assert (said["id"], said["task"]["id"]) == (made["id"], project.task)
    assert said["result"][0]["value"] == RESULT[0]["value"]

    changed = [{**RESULT[0], "value": {**RESULT[0]["value"], "x": 50}}]
    place.studio.api("PATCH", f"/annotations/{made['id']}/",
                     {"result": changed})
    again = google.get_object(BUCKET, name)
    assert again["generation"] > stored["generation"]
    assert json.loads(again["data"])["result"][0]["value"]["x"] == 50

    google.delete_object(BUCKET, name)
    said = place.studio.api(
        "POST", f"/storages/export/gcs/{target['id']}/sync", {})
    assert said["status"] == "completed"
    assert json.loads(google.get_object(BUCKET, name)["data"])["id"] \
        == made["id"]
    place.studio.api("DELETE", f"/storages/export/gcs/{target['id']}")
    google.delete_object(BUCKET, name)


def test_another_bucket_is_refused_with_a_reason(place, project):
    """Of a target Label Studio tells it in its log only."""
    said = place.refusal("/storages/gcs/validate", place.storage(
        "import", bucket="foreign", project=project.id))
    assert "gcs_buckets" in said, said
    before = place.studio.log().count("gcs_buckets")
    place.refusal("/storages/export/gcs/validate", place.storage(
        "export", bucket="foreign", project=project.id))
    assert place.studio.log().count("gcs_buckets") > before


def test_a_target_wants_leave_to_write(place, project, google):
    place.allow("GET HEAD")
    try:
        place.studio.sync(project)     # reading goes on
        target = place.studio.api("POST", "/storages/export/gcs", {
            **place.storage("export", prefix="refused"),
            "project": project.id})
        answer = place.studio.request(
            "POST", f"/api/tasks/{project.task}/annotations/", {
                **place.studio.authorization,
                "Content-Type": "application/json"},
            json.dumps({"result": RESULT}).encode())
        place.studio.api("DELETE", f"/storages/export/gcs/{target['id']}")
    finally:
        place.allow("GET HEAD PUT")
    assert answer.status >= 400
    assert "gcs_methods" in place.studio.log()
    assert not [record for record in google.requests("storage")
                if record["method"] != "GET"]


def test_without_a_key_it_cannot_sign(place):
    """What remains: pre-signed URLs are off, or nginx's (gcs_takeover)."""
    made = place.studio.project(presign=True, key="", prefix="data",
                                tasks=[{"image": f"gs://{BUCKET}/a.txt"}])
    answer = place.studio.ask(made.media("a.txt"))
    assert answer.status >= 400
    assert answer.get("Location") is None
    assert "private key" in place.studio.log()

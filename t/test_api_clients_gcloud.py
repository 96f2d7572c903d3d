"""`gcloud storage` and gsutil work through nginx, without a login.

They are programs of Google's that no package of Debian's or of Python's index
brings (gsutil there is, but wants a world of its own): where the Cloud SDK is
installed they are asked, elsewhere they are not.
"""

from __future__ import annotations

import shutil
import subprocess

import pytest

from emulator import content
from harness.api import BUCKET, FOREIGN, LIMITED, OTHER, PLAIN

from harness.api_plugin import *  # noqa: F401, F403, E402 (fixtures)

MIB = 1 << 20
BODY = b"0123456789" * 10
PROGRAMS = ["gcloud", "gsutil"]

BOTO = """
[Credentials]
gs_json_host = localhost
gs_json_port = {port}
[Boto]
ca_certificates_file = {ca}
num_retries = 0
[GSUtil]
software_update_check_period = 0
state_dir = {folder}/state
use_gcloud_storage = False
check_hashes = if_fast_else_skip
parallel_process_count = 1
"""


@pytest.fixture
def run(request, gateways, tmp_path):
    """run(words…) of one of the programs; its output, or why it failed."""
    def made(name: str, **parts: str):
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not asked: it is not installed")

        gateway = gateways(tls=name == "gsutil", **parts)
        folder = tmp_path / name
        folder.mkdir()
        env = {**PLAIN, "HOME": str(folder),
               "CLOUDSDK_CONFIG": str(folder / "config"),
               "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
               "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
               "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
               "CLOUDSDK_SURVEY_DISABLE_PROMPTS": "1",
               "CLOUDSDK_CORE_PROJECT": "p"}
        if name == "gcloud":
            env.update({
                "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "1",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE":
                    f"{gateway.url}/storage/v1/",
                "CLOUDSDK_STORAGE_MAX_RETRIES": "0"})
            command = [path, "storage"]
        else:
            boto = folder / "boto"
            boto.write_text(BOTO.format(
                port=gateway.secure, folder=folder,
                ca=tmp_path / "certificates" / "ca.pem"))
            # the SDK's gsutil would hand on a login of gcloud's
            env.update({"BOTO_CONFIG": str(boto),
                        "CLOUDSDK_CORE_PASS_CREDENTIALS_TO_GSUTIL": "0"})
            command = [path]

        def call(*words: object, code: int = 0) -> str:
            done = subprocess.run(
                [*command, *map(str, words)], env=env, cwd=folder,
                capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
            output = (done.stdout + done.stderr).decode()
            assert done.returncode == code, output
            return output

        call.gateway = gateway
        # gsutil has these words for every 403 when it has no login
        call.refused = "nginx: " if name == "gcloud" else "no configured"
        return call

    return made


@pytest.fixture(params=PROGRAMS)
def tool(request, run):
    return run(request.param)


def test_lists_and_descriptions(tool, google):
    google.configure(links="google")
    for name in ("d/1", "d/ü 2", "z"):
        google.put_object(BUCKET, name, b"x")
    assert tool("ls", f"gs://{BUCKET}/").split("\n")[:3] == [
        f"gs://{BUCKET}/{name}" for name in ("a.txt", "z", "d/")]
    said = tool("ls", "-l", f"gs://{BUCKET}/d/")
    assert f"gs://{BUCKET}/d/ü 2" in said and f"gs://{BUCKET}/z" not in said
    assert f"gs://{BUCKET}/d/1" in tool("ls", f"gs://{BUCKET}/**")


def test_files_come_and_go(tool, google, tmp_path):
    """Small, large enough for a session, and back again."""
    google.configure(links="google")
    for size in (1000, 9 * MIB):
        path, back = tmp_path / "ü 1.bin", tmp_path / "back.bin"
        path.write_bytes(content(1, 0, size))
        place = f"gs://{BUCKET}/dir/ü +1.bin"
        tool("cp", path, place)
        assert google.get_object(BUCKET, "dir/ü +1.bin")["data"] \
            == content(1, 0, size)
        tool("cp", place, back)
        assert back.read_bytes() == content(1, 0, size)
    assert tool("cat", "-r", "3-6", f"gs://{BUCKET}/a.txt")[:4] == "3456"
    paths = {record["target"].partition("?")[0]
             for record in tool.gateway.seen("POST")}
    assert paths == {f"/upload/storage/v1/b/{BUCKET}/o",
                     f"/resumable/upload/storage/v1/b/{BUCKET}/o"} \
        or paths == {f"/upload/storage/v1/b/{BUCKET}/o"}


def test_folders_are_synchronised_copied_moved_and_removed(tool, google,
                                                           tmp_path):
    source = tmp_path / "source"
    (source / "in").mkdir(parents=True)
    for name in ("1", "in/2"):
        (source / name).write_text(name)
    tool("rsync", "-r", source, f"gs://{BUCKET}/copy")
    assert google.get_object(BUCKET, "copy/in/2")["data"] == b"in/2"
    tool("cp", f"gs://{BUCKET}/copy/1", f"gs://{OTHER}/1")
    assert google.get_object(OTHER, "1")["data"] == b"1"
    tool("mv", f"gs://{OTHER}/1", f"gs://{OTHER}/moved")
    assert google.get_object(OTHER, "moved")["data"] == b"1"
    tool("rm", f"gs://{BUCKET}/copy/**")
    assert tool("ls", f"gs://{BUCKET}/**").split() \
        == [f"gs://{BUCKET}/a.txt"]


def test_gcloud_changes_and_composes(run, google):
    tool = run("gcloud")
    tool("objects", "update", f"gs://{BUCKET}/a.txt",
         "--custom-metadata=n=1", "--content-type=a/b")
    stored = google.get_object(BUCKET, "a.txt")
    assert stored["metadata"]["n"] == "1"
    assert stored["content_type"] == "a/b"
    tool("objects", "compose", f"gs://{BUCKET}/a.txt", f"gs://{BUCKET}/a.txt",
         f"gs://{BUCKET}/both")
    assert google.get_object(BUCKET, "both")["data"] == BODY * 2
    assert "location: EU" in tool("buckets", "describe", f"gs://{BUCKET}")
    said = tool("cp", "--if-generation-match=0", f"gs://{BUCKET}/a.txt",
                f"gs://{BUCKET}/both", code=1)
    assert "412" in said


def test_gsutil_changes_and_composes(run, google, tmp_path):
    tool = run("gsutil")
    tool("setmeta", "-h", "x-goog-meta-n:1", f"gs://{BUCKET}/a.txt")
    assert google.get_object(BUCKET, "a.txt")["metadata"]["n"] == "1"
    tool("compose", f"gs://{BUCKET}/a.txt", f"gs://{BUCKET}/a.txt",
         f"gs://{BUCKET}/both")
    assert google.get_object(BUCKET, "both")["data"] == BODY * 2
    path = tmp_path / "parts.bin"
    path.write_bytes(content(4, 0, 9 * MIB))
    tool("-o", "GSUtil:parallel_composite_upload_threshold=4M", "cp", path,
         f"gs://{BUCKET}/parts")
    assert google.get_object(BUCKET, "parts")["data"] \
        == content(4, 0, 9 * MIB)


def test_what_is_refused_is_shown_with_its_reason(tool, google, tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    for words in (("ls", f"gs://{FOREIGN}/"),
                  ("cp", path, f"gs://{FOREIGN}/b"),
                  ("cp", path, f"gs://{LIMITED}/b")):
        said = tool(*words, code=1)
        assert tool.refused in said, said
    assert tool.gateway.seen() == []


def test_what_is_packed_unread_is_refused(tool, tmp_path):
    """The name, or rights for all, would be in what is packed."""
    path = tmp_path / "file"
    path.write_text("x" * 1000)
    said = tool("cp", "-J", path, f"gs://{BUCKET}/packed", code=1)
    assert "nginx" in said, said
    assert tool.gateway.seen("POST") == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_may_read_only(run, google, tmp_path, name):
    tool = run(name, methods="GET HEAD")
    path = tmp_path / "file"
    path.write_text("x")
    assert BODY.decode() in tool("cat", f"gs://{BUCKET}/a.txt")
    for words in (("cp", path, f"gs://{BUCKET}/b"),
                  ("rm", f"gs://{BUCKET}/a.txt")):
        said = tool(*words, code=1)
        assert (tool.refused if name == "gsutil"
                else "gcs_methods") in said, said
    assert {record["method"] for record in tool.gateway.seen()} == {"GET"}


def test_nobody_is_let_in_by_gcloud(run, google):
    tool = run("gcloud")
    for words in (("objects", "update", f"gs://{BUCKET}/a.txt",
                   "--add-acl-grant=entity=allUsers,role=READER"),
                  ("cp", f"gs://{BUCKET}/a.txt", f"gs://{BUCKET}/b",
                   "--predefined-acl=publicRead"),
                  ("buckets", "create", "gs://new-one"),
                  ("buckets", "update", f"gs://{BUCKET}", "--versioning")):
        said = tool(*words, code=1)
        assert "nginx: " in said, said
    assert {record["method"] for record in tool.gateway.seen()} <= {"GET"}
    assert not google.get_object(BUCKET, "a.txt")["public"]

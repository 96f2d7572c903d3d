"""Google's library for Node works through nginx, without a credential."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from emulator import content
from harness.api import (BUCKET, FOREIGN, INSIDE, LIMITED, OTHER, ClientError,
                         Driver, headers_of, resident)
from test_signed_urls import node_packages  # noqa: F401

from harness.api_plugin import *  # noqa: F401, F403, E402 (fixtures)

PROGRAM = Path(__file__).resolve().parent / "api" / "node.js"
MIB = 1 << 20
BODY = b"0123456789" * 10
NAMES = ["plain.txt", "a b/größe+1.bin", "100%/%2F?#&=;", "a//b/",
         "~'()*!@:$,", "日本語/😀"]


@pytest.fixture
def node(node_packages):  # noqa: F811
    """node(gateway) starts the library; it is a function then."""
    started = []

    def start(gateway, how="endpoint"):
        driver = Driver(["node", str(PROGRAM), str(node_packages),
                         gateway.url, how]).start()
        started.append(driver)
        return driver

    yield start
    for driver in started:
        driver.stop()


@pytest.fixture(params=["endpoint", "env"])
def ask(request, node, gateway):
    return node(gateway, request.param)


@pytest.fixture
def one(node, gateway):
    """Where one way to find nginx is enough."""
    return node(gateway)


def filled(size: int) -> bytes:
    return (b"0123456789" * (size // 10 + 1))[:size]


def decoded(text: str) -> bytes:
    return base64.b64decode(text)


def test_what_is_there_is_found_listed_and_read(ask, google, gateway):
    google.configure(links="google")
    assert ask("bucket", BUCKET) == "EU"
    assert ask("exists", BUCKET, "a.txt") and not ask("exists", BUCKET, "no")
    for name in ("d/1", "d/2", "e/f/3", "z"):
        google.put_object(BUCKET, name, b"x")
    every = ["a.txt", "d/1", "d/2", "e/f/3", "z"]
    assert ask("list", BUCKET, {})[0] == every
    assert ask("list", BUCKET, {"autoPaginate": False, "maxResults": 2})[0] \
        == every[:2]
    assert ask("list", BUCKET, {"maxResults": 4})[0] == every[:4]
    assert ask("list", BUCKET, {"delimiter": "/", "autoPaginate": False}) \
        == [["a.txt", "z"], ["d/", "e/"]]
    said = ask("metadata", BUCKET, "a.txt")
    assert said["metadata"] == {"kept": "yes"}
    assert said["mediaLink"].startswith(gateway.url + "/download/storage/")
    assert decoded(ask("download", BUCKET, "a.txt")) == BODY
    assert decoded(ask("range", BUCKET, "a.txt", 5, 8)) == b"5678"
    assert ask("permissions", BUCKET, ["storage.objects.get"]) \
        == {"storage.objects.get": True}


def test_a_large_download_is_verified(one, google, tmp_path):
    google.put_object(BUCKET, "big", seed=1, size=20 * MIB)
    one("toFile", BUCKET, "big", str(tmp_path / "big"))
    assert (tmp_path / "big").read_bytes() == content(1, 0, 20 * MIB)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_will_do(ask, google, name):
    for more in ({"resumable": False}, {"resumable": True}):
        ask("save", BUCKET, name, 33, more)
        assert google.get_object(BUCKET, name)["data"] == filled(33)
        assert decoded(ask("download", BUCKET, name)) == filled(33)
        assert ask("metadata", BUCKET, name)["name"] == name
        assert name in ask("list", BUCKET, {"prefix": name})[0]
        assert ask("delete", BUCKET, name) == 204


@pytest.mark.parametrize("more", [
    {"resumable": False}, {"resumable": True},
    {"resumable": True, "chunkSize": 256 * 1024}], ids=str)
def test_files_arrive(ask, google, tmp_path, more):
    path = tmp_path / "file.bin"
    path.write_bytes(content(3, 0, 9 * MIB + 1))
    ask("upload", BUCKET, str(path), "up ü", {
        **more, "metadata": {"contentType": "video/mp4",
                             "metadata": {"k": "ü"}}})
    stored = google.get_object(BUCKET, "up ü")
    assert stored["data"] == content(3, 0, 9 * MIB + 1)
    assert stored["content_type"] == "video/mp4"
    assert stored["metadata"] == {"k": "ü"}


@pytest.mark.parametrize("more", [{"resumable": True}, {"resumable": False}],
                         ids=str)
def test_a_stream_of_unknown_length_arrives(one, google, more):
    size = 70_001
    one("stream", BUCKET, "stream", size, {**more, "contentType": "a/b"})
    stored = google.get_object(BUCKET, "stream")
    assert stored["data"] == b"".join(
        filled(min(1 << 16, size - at)) for at in range(0, size, 1 << 16))
    assert stored["content_type"] == "a/b"


def test_a_hundred_mebibytes_stay_out_of_memory(one, gateway, google):
    one("download", BUCKET, "a.txt")
    before = resident(gateway.server)
    one("stream", BUCKET, "large", 100 * MIB, {"resumable": True,
                                              "validation": False})
    assert google.get_object(BUCKET, "large")["size"] == 100 * MIB
    assert resident(gateway.server) - before < 4096


def test_a_session_leads_through_nginx(ask, gateway, google):
    place = ask("session", BUCKET, "later ü")
    assert place.startswith(f"{gateway.url}/upload/storage/v1/b/{BUCKET}/o?")
    answer = gateway.request("PUT", place.removeprefix(gateway.url),
                             body=b"hello")
    assert (answer.status, answer.json()["name"]) == (200, "later ü")


def test_metadata_copies_moves_and_compositions(ask, google):
    assert ask("setMetadata", BUCKET, "a.txt", {
        "metadata": {"n": "1"}, "contentType": "a/b"}) == "2"
    stored = google.get_object(BUCKET, "a.txt")
    assert stored["metadata"] == {"kept": "yes", "n": "1"}
    assert ask("copy", BUCKET, "a.txt", OTHER, "co py/1") == "co py/1"
    assert google.get_object(OTHER, "co py/1")["data"] == BODY
    assert ask("combine", BUCKET, ["a.txt", "a.txt"], "both") == "both"
    assert google.get_object(BUCKET, "both")["data"] == BODY * 2
    assert ask("move", BUCKET, "both", "m") == "m"
    assert ask("rename", BUCKET, "m", "n") == "n"
    assert ask("list", BUCKET, {})[0] == ["a.txt", "n"]
    ask("deleteFiles", BUCKET, {"prefix": "n"})
    assert ask("list", BUCKET, {})[0] == ["a.txt"]


def test_generations_guard(one, google):
    guard = {"preconditionOpts": {"ifGenerationMatch": 0}}
    for resumable in (True, False):
        more = {**guard, "resumable": resumable}
        one("save", BUCKET, f"once{resumable}", 5, more)
        with pytest.raises(ClientError) as info:
            one("save", BUCKET, f"once{resumable}", 6, more)
        assert info.value.code == 412
        assert google.get_object(BUCKET, f"once{resumable}")["size"] == 5


def test_what_is_missing_is_not_found(ask):
    for call in (("download", BUCKET, "no"), ("delete", BUCKET, "no"),
                 ("metadata", BUCKET, "no")):
        with pytest.raises(ClientError) as info:
            ask(*call)
        assert info.value.code == 404
        assert "No such object: test-bucket/no" in str(info.value)


def test_nothing_of_the_client_s_own_arrives(one, gateway):
    one("download", BUCKET, "a.txt")
    [record] = gateway.seen()
    assert headers_of(record)["x-goog-api-client"].startswith("gl-node/")
    assert record["credential"] == "valid"
    assert record["target"] == f"/storage/v1/b/{BUCKET}/o/a.txt?alt=media"


@pytest.mark.parametrize("bucket, inside", [(FOREIGN, ""),
                                            (LIMITED, "outside/")])
def test_other_places_are_refused_with_a_reason(one, gateway, tmp_path,
                                                bucket, inside):
    file = tmp_path / "file"
    file.write_bytes(b"x")
    for call in (("list", bucket, {"prefix": inside}),
                 ("metadata", bucket, inside + "a.txt"),
                 ("download", bucket, inside + "a.txt"),
                 ("save", bucket, inside + "b", 5, {"resumable": False}),
                 ("save", bucket, inside + "b", 5, {"resumable": True}),
                 ("copy", BUCKET, "a.txt", bucket, inside + "b"),
                 ("copy", bucket, inside + "a.txt", BUCKET, "b"),
                 ("combine", bucket, [INSIDE + "b.txt", "a.txt"],
                  INSIDE + "c"),
                 ("delete", bucket, inside + "a.txt")):
        with pytest.raises(ClientError) as info:
            one(*call)
        assert info.value.code == 403, call
        assert "nginx" in str(info.value), call
    # the library looks up the type of a composition's first source
    assert [record for record in gateway.seen()
            if record["method"] != "GET"] == []


@pytest.mark.parametrize("how", ["endpoint", "env"])
def test_methods_that_are_not_allowed_are_refused_with_a_reason(
        gateways, node, how):
    gateway = gateways(methods="GET HEAD")
    ask = node(gateway, how)
    assert decoded(ask("download", BUCKET, "a.txt")) == BODY
    for call in (("save", BUCKET, "b", 5, {"resumable": False}),
                 ("save", BUCKET, "b", 5, {"resumable": True}),
                 ("setMetadata", BUCKET, "a.txt", {"metadata": {}}),
                 ("copy", BUCKET, "a.txt", BUCKET, "b"),
                 ("move", BUCKET, "a.txt", "b"),
                 ("delete", BUCKET, "a.txt")):
        with pytest.raises(ClientError) as info:
            ask(*call)
        assert info.value.code == 403, call
        assert "gcs_methods" in str(info.value), call
    assert {record["method"] for record in gateway.seen()} == {"GET"}


def test_administration_is_refused_with_a_reason(ask, gateway, google):
    for call in (("buckets",), ("createBucket", "new-bucket"),
                 ("makePublic", BUCKET, "a.txt"), ("policy", BUCKET),
                 ("save", BUCKET, "b", 5, {"resumable": False,
                                           "public": True}),
                 ("save", BUCKET, "b", 5, {"resumable": True,
                                           "public": True})):
        with pytest.raises(ClientError) as info:
            ask(*call)
        assert info.value.code == 403, call
        assert "nginx" in str(info.value), call
    assert gateway.seen() == []

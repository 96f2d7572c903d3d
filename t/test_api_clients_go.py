"""Google's Go library works through nginx, without a credential.

t/api/go is built when a Go is there that can; Debian 12 has none that is new
enough for the library.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emulator import content
from harness.api import (BUCKET, FOREIGN, INSIDE, LIMITED, OTHER, ClientError,
                         Driver, headers_of, resident)

from harness.api_plugin import *  # noqa: F401, F403, E402 (fixtures)
pytestmark = pytest.mark.timeout(200)  # the first one builds the program

TESTS = Path(__file__).resolve().parent
SOURCE = TESTS / "api" / "go"
BUILD = Path(os.environ.get("BUILD_DIR", TESTS.parent / "build"))
MIB = 1 << 20
BODY = b"0123456789" * 10
NAMES = ["plain.txt", "a b/größe+1.bin", "100%/%2F?#&=;", "a//b/",
         "~'()*!@:$,", "日本語/😀"]
WAYS = [("endpoint",), ("env",), ("bare",), ("endpoint", "json"),
        ("bare", "json")]


def _version(text: str) -> tuple[int, ...]:
    match = re.search(r"\bgo ?(\d+)\.(\d+)", text)
    return tuple(int(part) for part in match.groups()) if match else ()


@pytest.fixture(scope="session")
def program() -> Path:
    """The library in a program, kept from one run to the next."""
    if shutil.which("go") is None:
        pytest.skip("the Go library is not asked: there is no go")

    # not with flags of ours: what Go has compiled before, it need not again
    env = {**os.environ, "GOTOOLCHAIN": "local"}
    said = subprocess.run(["go", "version"], capture_output=True, text=True,
                          env=env).stdout
    wanted = _version((SOURCE / "go.mod").read_text())
    if _version(said) < wanted:
        pytest.skip(f"the Go library is not asked: {said.strip()} is older "
                    f"than {'.'.join(map(str, wanted))}")

    stamp = hashlib.sha256(said.encode() + b"".join(
        (SOURCE / name).read_bytes()
        for name in ("go.mod", "go.sum", "main.go"))).hexdigest()
    made = BUILD / "go" / f"client-{stamp[:16]}"
    if made.exists():
        return made

    made.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            ["go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o",
             made.with_suffix(".new"), "."], cwd=SOURCE, env=env,
            capture_output=True, text=True, timeout=100)
    except subprocess.TimeoutExpired:
        pytest.skip("the Go library is not asked: it takes too long to "
                    "build; the next run goes on where this one stopped")
    if re.search(r"dial tcp|lookup |i/o timeout|Forbidden|proxyconnect",
                 done.stderr):
        pytest.skip("the Go library is not asked, it cannot be fetched: "
                    + done.stderr[-500:])
    assert done.returncode == 0, done.stderr
    made.with_suffix(".new").rename(made)
    return made


@pytest.fixture
def go(program):
    """go(gateway, way...) starts the library; it is a function then."""
    started = []

    def start(gateway, *way):
        driver = Driver([str(program), gateway.url, *(way or WAYS[0])])
        started.append(driver.start())
        return driver

    yield start
    for driver in started:
        driver.stop()


@pytest.fixture(params=WAYS, ids=" ".join)
def ask(request, go, gateway):
    return go(gateway, *request.param)


@pytest.fixture
def one(go, gateway):
    """Where one way to find nginx is enough."""
    return go(gateway)


def filled(size: int) -> bytes:
    return (b"0123456789" * (size // 10 + 1))[:size]


def decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def test_what_is_there_is_found_listed_and_read(ask, google, gateway):
    google.configure(links="google")
    assert ask("bucket", BUCKET) == "EU"
    for name in ("d/1", "d/2", "e/f/3", "z"):
        google.put_object(BUCKET, name, b"x")
    assert ask("list", BUCKET, "", "") == ["a.txt", "d/1", "d/2", "e/f/3",
                                           "z"]
    assert sorted(ask("list", BUCKET, "", "/")) == ["a.txt", "d/", "e/", "z"]
    assert ask("list", BUCKET, "e/", "") == ["e/f/3"]
    said = ask("metadata", BUCKET, "a.txt")
    assert (said["size"], said["metadata"]) == (100, {"kept": "yes"})
    assert said["mediaLink"].startswith(gateway.url + "/download/storage/")
    assert decoded(ask("download", BUCKET, "a.txt")) == BODY
    assert decoded(ask("range", BUCKET, "a.txt", 5, 4)) == b"5678"
    assert decoded(ask("range", BUCKET, "a.txt", -3, -1)) == b"789"
    assert ask("permissions", BUCKET, "storage.objects.get") \
        == ["storage.objects.get"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_will_do(ask, google, name):
    for size, chunk in ((33, 0), (300_000, 1)):
        assert ask("write", BUCKET, name, size, chunk) == name
        assert google.get_object(BUCKET, name)["data"] == filled(size)
        assert decoded(ask("download", BUCKET, name)) == filled(size)
        assert ask("metadata", BUCKET, name)["name"] == name
        assert name in ask("list", BUCKET, name, "")
        ask("delete", BUCKET, name)
    assert name not in ask("list", BUCKET, "", "")


@pytest.mark.parametrize("size, chunk, posts", [
    (0, 16 * MIB, 1), (9 * MIB, 16 * MIB, 1), (9 * MIB, 0, 1),
    (MIB, MIB, 3), (5 * MIB + 1, MIB, 7)])
def test_files_arrive_in_one_piece_or_in_chunks(one, gateway, google, size,
                                                chunk, posts):
    one("write", BUCKET, "up ü", size, chunk)
    stored = google.get_object(BUCKET, "up ü")
    assert stored["data"] == filled(size)
    assert stored["content_type"] == "video/mp4"
    assert stored["metadata"] == {"k": "ü"}
    assert len(gateway.seen("POST")) == posts


def test_a_large_object_is_read(ask, google):
    google.put_object(BUCKET, "big", seed=1, size=9 * MIB)
    assert decoded(ask("download", BUCKET, "big")) == content(1, 0, 9 * MIB)


@pytest.mark.parametrize("chunk", [0, 8 * MIB])
def test_a_hundred_mebibytes_stay_out_of_memory(one, gateway, google, chunk):
    """In chunks; all at once has its metadata at its head, and streams."""
    one("download", BUCKET, "a.txt")
    before = resident(gateway.server)
    one("write", BUCKET, "large", 100 * MIB, chunk)
    assert google.get_object(BUCKET, "large")["size"] == 100 * MIB
    assert resident(gateway.server) - before < 4096


def test_an_upload_goes_on_where_it_was_cut(one, gateway, google):
    google.fault(kind="storage", method="POST", status=503, skip=3)
    one("write", BUCKET, "cut", 5 * MIB, MIB)
    assert google.get_object(BUCKET, "cut")["data"] == filled(5 * MIB)
    assert 503 in [record["status"] for record in gateway.seen("POST")]


def test_metadata_copies_moves_and_compositions(ask, google):
    ask("update", BUCKET, "a.txt")
    stored = google.get_object(BUCKET, "a.txt")
    assert stored["metadata"] == {"kept": "yes", "n": "1"}
    assert ask("copy", BUCKET, "a.txt", OTHER, "co py/1") == "co py/1"
    assert google.get_object(OTHER, "co py/1")["data"] == BODY
    assert ask("compose", BUCKET, "a.txt", "both") == "both"
    assert google.get_object(BUCKET, "both")["data"] == BODY * 2
    assert ask("move", BUCKET, "both", "m") == "m"
    assert ask("list", BUCKET, "", "") == ["a.txt", "m"]


def test_generations_guard(ask, google):
    for chunk, name in ((0, "one"), (MIB, "chunks")):
        ask("write", BUCKET, name, 2 * MIB, chunk, "once")
        with pytest.raises(ClientError) as info:
            ask("write", BUCKET, name, 3 * MIB, chunk, "once")
        assert info.value.code == 412
        assert google.get_object(BUCKET, name)["size"] == 2 * MIB
    generation = google.get_object(BUCKET, "a.txt")["generation"]
    assert decoded(ask("generation", BUCKET, "a.txt", generation)) == BODY
    with pytest.raises(ClientError) as info:
        ask("generation", BUCKET, "a.txt", generation + 1)
    assert info.value.code == 412


def test_what_is_missing_is_not_found(ask):
    for call in ("download", "delete", "metadata"):
        with pytest.raises(ClientError) as info:
            ask(call, BUCKET, "no")
        assert info.value.code == 404
        assert "object doesn't exist" in str(info.value)


def test_nothing_of_the_client_s_own_arrives(one, gateway):
    one("download", BUCKET, "a.txt")
    [record] = gateway.seen()
    assert " gl-go/" in headers_of(record)["x-goog-api-client"]
    assert record["credential"] == "valid"
    assert record["target"] == f"/{BUCKET}/a.txt"


@pytest.mark.parametrize("bucket, inside", [(FOREIGN, ""),
                                            (LIMITED, "outside/")])
def test_other_places_are_refused_with_a_reason(ask, gateway, bucket, inside):
    for call in (("list", bucket, inside, ""),
                 ("metadata", bucket, inside + "a.txt"),
                 ("download", bucket, inside + "a.txt"),
                 ("write", bucket, inside + "b", 5, 0),
                 ("write", bucket, inside + "b", 2 * MIB, MIB),
                 ("update", bucket, inside + "a.txt"),
                 ("copy", BUCKET, "a.txt", bucket, inside + "b"),
                 ("copy", bucket, inside + "a.txt", BUCKET, "b"),
                 ("compose", bucket, "a.txt", INSIDE + "c"),
                 ("delete", bucket, inside + "a.txt")):
        with pytest.raises(ClientError) as info:
            ask(*call)
        assert info.value.code == 403, call
        assert "nginx" in str(info.value), call
    assert gateway.seen() == []


def test_methods_that_are_not_allowed_are_refused_with_a_reason(gateways, go):
    gateway = gateways(methods="GET HEAD")
    ask = go(gateway)
    assert decoded(ask("download", BUCKET, "a.txt")) == BODY
    for call in (("write", BUCKET, "b", 5, 0),
                 ("write", BUCKET, "b", 2 * MIB, MIB),
                 ("update", BUCKET, "a.txt"), ("move", BUCKET, "a.txt", "b"),
                 ("copy", BUCKET, "a.txt", BUCKET, "b"),
                 ("compose", BUCKET, "a.txt", "b"),
                 ("delete", BUCKET, "a.txt")):
        with pytest.raises(ClientError) as info:
            ask(*call)
        assert info.value.code == 403, call
        assert "gcs_methods" in str(info.value), call
    assert {record["method"] for record in gateway.seen()} == {"GET"}


def test_administration_is_refused_with_a_reason(ask, gateway):
    for call in (("buckets",), ("createBucket", "new-bucket"),
                 ("makePublic", BUCKET, "a.txt"), ("policy", BUCKET),
                 ("write", BUCKET, "b", 5, 0, "public"),
                 ("write", BUCKET, "b", 2 * MIB, MIB, "public")):
        with pytest.raises(ClientError) as info:
            ask(*call)
        assert info.value.code == 403, call
        assert "nginx" in str(info.value), call
    assert gateway.seen() == []

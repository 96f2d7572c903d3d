"""gcsfs, by which pandas and others open gs:// paths, works through nginx."""

from __future__ import annotations

import os

import pytest

from emulator import content
from harness.api import BUCKET, FOREIGN, INSIDE, LIMITED, OTHER

from harness.api_plugin import *  # noqa: F401, F403, E402 (fixtures)

# It would ask for gRPC first, and for a minute; it looks here when imported.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
gcsfs = pytest.importorskip("gcsfs", reason="gcsfs is not asked: it is not "
                                            "installed")
MIB = 1 << 20
BODY = b"0123456789" * 10


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Nobody's identity."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture(params=["endpoint_url", "STORAGE_EMULATOR_HOST"])
def fs(request, gateway, monkeypatch):
    options = {"token": "anon", "project": "p", "skip_instance_cache": True}
    if request.param == "endpoint_url":
        options["endpoint_url"] = gateway.url
    else:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gateway.url)
    return gcsfs.GCSFileSystem(**options)


def test_what_is_there_is_listed_and_read(fs, google):
    for name in ("d/1", "d/ü +2", "z"):
        google.put_object(BUCKET, name, name.encode())
    assert fs.ls(BUCKET) == [f"{BUCKET}/{name}" for name in
                             ("a.txt", "d", "z")]
    assert fs.find(f"{BUCKET}/d") == [f"{BUCKET}/d/1", f"{BUCKET}/d/ü +2"]
    assert fs.info(f"{BUCKET}/a.txt")["size"] == 100
    assert not fs.exists(f"{BUCKET}/nope")
    assert fs.cat_file(f"{BUCKET}/d/ü +2") == "d/ü +2".encode()
    assert fs.cat_file(f"{BUCKET}/a.txt", start=5, end=9) == b"5678"
    with fs.open(f"{BUCKET}/a.txt", "rb") as file:
        file.seek(50)
        assert file.read(3) == b"012"


@pytest.mark.parametrize("size", [0, 5, 6 * MIB + 1])
def test_what_is_written_is_there(fs, google, tmp_path, size):
    """In one body with bare line feeds, and in chunks that are POSTed."""
    data = content(1, 0, size)
    fs.pipe_file(f"{BUCKET}/one ü", data)
    assert google.get_object(BUCKET, "one ü")["data"] == data
    with fs.open(f"{BUCKET}/two+ü", "wb", block_size=256 * 1024) as file:
        file.write(data)
    assert google.get_object(BUCKET, "two+ü")["data"] == data
    path = tmp_path / "file"
    path.write_bytes(data)
    fs.put_file(str(path), f"{BUCKET}/three")
    assert google.get_object(BUCKET, "three")["data"] == data


def test_copies_moves_merges_and_removals(fs, google):
    fs.cp_file(f"{BUCKET}/a.txt", f"{OTHER}/c p")
    assert google.get_object(OTHER, "c p")["data"] == BODY
    fs.mv(f"{OTHER}/c p", f"{OTHER}/m")
    assert google.get_object(OTHER, "m")["data"] == BODY
    fs.merge(f"{OTHER}/both", [f"{OTHER}/m", f"{OTHER}/a.txt"])
    assert google.get_object(OTHER, "both")["data"] == BODY * 2
    fs.setxattrs(f"{OTHER}/m", n="1")
    assert google.get_object(OTHER, "m")["metadata"]["n"] == "1"
    fs.rm([f"{OTHER}/m", f"{OTHER}/both"])
    fs.invalidate_cache()
    assert fs.ls(OTHER) == [f"{OTHER}/a.txt"]


def test_what_is_refused_is_told_with_its_reason(fs, gateway):
    for call in (lambda: fs.cat_file(f"{FOREIGN}/a.txt"),
                 lambda: fs.ls(f"{LIMITED}/outside"),
                 lambda: fs.pipe_file(f"{FOREIGN}/b", b"x"),
                 lambda: fs.pipe_file(f"{LIMITED}/b", b"x"),
                 lambda: fs.cp_file(f"{BUCKET}/a.txt", f"{FOREIGN}/b"),
                 lambda: fs.merge(f"{LIMITED}/{INSIDE}c",
                                  [f"{LIMITED}/{INSIDE}b.txt",
                                   f"{LIMITED}/a.txt"])):
        with pytest.raises(OSError) as info:
            call()
        assert "nginx" in str(info.value) or "orbidden" in str(info.value)
    assert gateway.seen("POST") == []

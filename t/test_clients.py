"""Programs that others have written work through the module.

They are the judges here: a client that resumes, seeks or checks sums has
opinions about HTTP that no test of ours would think of.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from emulator import content

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"

NAME = "a folder/big + größe.bin"
PATH = "/media/a%20folder/big%20+%20gr%C3%B6%C3%9Fe.bin"
SIZE = 3_000_000
SEED = 11

# no proxy, no dot file and no language of this machine decides anything
PLAIN = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/nowhere",
         "no_proxy": "*"}


def run(*command: object, code: int = 0,
        **more: Any) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([str(word) for word in command],
                          capture_output=True, env=PLAIN, timeout=60,
                          stdin=subprocess.DEVNULL, **more)
    assert done.returncode == code, done.stderr.decode(errors="replace")
    return done


def curl(*options: object, **more: Any) -> bytes:
    return run("curl", "--disable", "--silent", "--show-error", "--fail",
               "--max-time", "50", *options, **more).stdout


def wget(*options: object, **more: Any) -> str:
    return run("wget", "--no-config", "--no-proxy", "--timeout=20",
               "--no-verbose", *options, **more).stderr.decode()


def storage_requests(emulator) -> list[dict[str, Any]]:
    return emulator.requests("storage")


def headers(record: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in record["headers"]}


def asked_ranges(emulator) -> list[str | None]:
    """The Range of each request to Cloud Storage, in order."""
    return [headers(record).get("range")
            for record in storage_requests(emulator)]


def starts(emulator) -> list[int]:
    """The first byte that each request has asked for."""
    return [int(re.match(r"bytes=(\d+)-", asked).group(1))
            for asked in asked_ranges(emulator)]


@pytest.fixture
def server(nginx, emulator, bucket, key_file):
    return nginx("""
        gcs_credentials reader { file %%KEY%%; }
        server {
            listen 127.0.0.1:%%PORT%%;
            add_header X-Connection $connection;
            location /media/ {
                gcs_pass     gs://%%BUCKET%%/;
                gcs_auth     reader;
                gcs_endpoint %%EMULATOR%%;
            }
        }
    """)


@pytest.fixture
def whole(server, emulator, bucket) -> bytes:
    """A large object with an unkind name; its bytes."""
    emulator.put_object(bucket, NAME, seed=SEED, size=SIZE,
                        content_type="application/octet-stream")
    return content(SEED, 0, SIZE)


@pytest.fixture
def cut(emulator, whole) -> int:
    """The next download breaks off after so many bytes."""
    emulator.fault(kind="storage", truncate_after=1_000_000)
    return 1_000_000


# curl

def test_curl_resumes_a_download_that_was_cut(server, emulator, whole, cut,
                                              tmp_path):
    file = tmp_path / "file"
    curl("-o", file, server.url(PATH), code=18)         # partial file
    have = file.stat().st_size
    assert 0 < have <= cut
    assert file.read_bytes() == whole[:have]

    curl("-C", "-", "-o", file, server.url(PATH))

    assert file.read_bytes() == whole
    assert asked_ranges(emulator) == [None, f"bytes={have}-"]


@pytest.mark.parametrize("option,first,last", [
    ("0-0", 0, 1),
    ("100-199", 100, 200),
    ("2999990-", SIZE - 10, SIZE),
    ("-500", SIZE - 500, SIZE),
    ("2999990-9999999", SIZE - 10, SIZE),
])
def test_curl_gets_a_range(server, emulator, whole, option, first, last):
    assert curl("--range", option, server.url(PATH)) == whole[first:last]
    assert asked_ranges(emulator) == [f"bytes={option}"]
    assert storage_requests(emulator)[0]["status"] == 206


def test_curl_is_told_that_a_range_is_beyond_the_end(server, whole):
    head = curl("--range", "4000000-", "--dump-header", "-", "-o",
                os.devnull, server.url(PATH), code=22).decode()
    assert head.startswith("HTTP/1.1 416 ")
    assert f"Content-Range: bytes */{SIZE}" in head


def test_curl_does_not_fetch_again_what_has_not_changed(server, emulator,
                                                        whole, tmp_path):
    etag, file = tmp_path / "etag", tmp_path / "file"
    curl("--etag-save", etag, "-o", file, server.url(PATH))
    said = curl("--etag-compare", etag, "-o", tmp_path / "again",
                "-w", "%{http_code} %{size_download}", server.url(PATH))
    assert said == b"304 0"
    assert [r["status"] for r in storage_requests(emulator)] == [200, 304]


def test_curl_fetches_many_objects_over_one_connection(server, emulator,
                                                       bucket, tmp_path):
    for number in range(5):
        emulator.put_object(bucket, f"n{number}", f"number {number}".encode())
    said = curl("-w", "%{num_connects}\n", "-o", tmp_path / "#1",
                server.url("/media/n[0-4]")).decode().split()
    assert said == ["1", "0", "0", "0", "0"]
    assert [(tmp_path / str(n)).read_text() for n in range(5)] \
        == [f"number {n}" for n in range(5)]
    assert emulator.connections()["storage"] == 1


def test_curl_unpacks_a_gzip_object_itself_or_lets_google(server, emulator,
                                                          bucket):
    text = b"the same line over and over\n" * 1000
    stored = gzip.compress(text)
    emulator.put_object(bucket, "page.txt", stored,
                        content_type="text/plain", content_encoding="gzip")
    url = server.url("/media/page.txt")
    assert curl("--compressed", url) == text
    assert curl(url) == text
    assert curl("-H", "Accept-Encoding: gzip", url) == stored


# wget

def test_wget_continues_a_file_that_is_not_complete(server, emulator, whole,
                                                    tmp_path):
    file = tmp_path / "file"
    file.write_bytes(whole[:1_234_567])
    wget("-c", "-O", file, server.url(PATH))
    assert file.read_bytes() == whole
    assert asked_ranges(emulator) == ["bytes=1234567-"]


def test_wget_gets_the_rest_of_a_cut_download_by_itself(server, emulator,
                                                        whole, cut, tmp_path):
    file = tmp_path / "file"
    wget("--tries=3", "--waitretry=0", "-O", file, server.url(PATH))
    assert file.read_bytes() == whole
    first, second = asked_ranges(emulator)
    assert first is None and re.fullmatch(r"bytes=\d+-", second)


def test_wget_knows_that_a_file_is_complete(server, emulator, whole,
                                            tmp_path):
    file = tmp_path / "file"
    file.write_bytes(whole)
    wget("-c", "-O", file, server.url(PATH))
    assert file.read_bytes() == whole
    assert [r["status"] for r in storage_requests(emulator)] == [416]


def test_wget_names_and_dates_a_file_as_the_object(server, emulator, bucket,
                                                   session, tmp_path):
    emulator.put_object(bucket, "2026/07.txt", b"text",
                        created=1_780_000_000,
                        content_disposition='attachment; filename="July.txt"')
    url = server.url("/media/2026/07.txt")
    dated = parsedate_to_datetime(
        session.head(url, timeout=20).headers["Last-Modified"])
    wget("--content-disposition", url, cwd=tmp_path)
    file = tmp_path / "July.txt"
    assert file.read_bytes() == b"text"
    assert file.stat().st_mtime == dated.timestamp()


# media

@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Ten seconds, a picture that tells its number, the index at the end."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    run("ffmpeg", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i",
        "testsrc=size=320x180:rate=25,noise=alls=30:allf=t,format=yuv420p",
        "-f", "lavfi", "-i", "sine=frequency=330", "-t", "10", "-c:v",
        "libx264", "-preset", "ultrafast", "-b:v", "3M", "-g", "25", "-c:a",
        "aac", path)
    data = path.read_bytes()
    assert data.index(b"moov") > data.index(b"mdat")
    return path


@pytest.fixture(params=["index at the end", "index at the front"])
def movie(request, film, tmp_path) -> Path:
    if "end" in request.param:
        return film
    path = tmp_path / "front.mp4"
    run("ffmpeg", "-nostdin", "-loglevel", "error", "-i", film, "-c", "copy",
        "-movflags", "+faststart", path)
    return path


def probe(source: object) -> Any:
    return json.loads(run(
        "ffprobe", "-loglevel", "error", "-of", "json", "-show_entries",
        "format=duration,size:stream=codec_name,nb_frames,width",
        source).stdout)


def frame(source: object, second: str) -> bytes:
    """The sum of the picture at that time."""
    return run("ffmpeg", "-nostdin", "-loglevel", "error", "-ss", second,
               "-i", source, "-map", "0:v", "-frames:v", "1", "-f",
               "framemd5", "-").stdout.splitlines()[-1]


def test_ffprobe_reads_a_film_by_ranges(server, emulator, bucket, movie):
    emulator.put_object(bucket, "film.mp4", movie.read_bytes(),
                        content_type="video/mp4")
    url = server.url("/media/film.mp4")

    assert probe(url) == probe(movie)

    assert all(asked_ranges(emulator))
    assert {r["status"] for r in storage_requests(emulator)} == {206}


def test_an_index_at_the_end_is_looked_for_there(server, emulator, bucket,
                                                 film):
    emulator.put_object(bucket, "film.mp4", film.read_bytes(),
                        content_type="video/mp4")
    probe(server.url("/media/film.mp4"))
    first, second, *_ = starts(emulator)
    assert first == 0 and second > film.stat().st_size // 2


def test_ffmpeg_jumps_to_the_same_picture_as_in_the_file(server, emulator,
                                                         bucket, movie):
    emulator.put_object(bucket, "film.mp4", movie.read_bytes(),
                        content_type="video/mp4")
    url = server.url("/media/film.mp4")

    assert frame(url, "8.4") == frame(movie, "8.4")

    # what lies between is not read through
    assert max(starts(emulator)) > movie.stat().st_size // 2
    assert {r["status"] for r in storage_requests(emulator)} == {206}


def test_ffmpeg_plays_a_film_to_its_end(server, emulator, bucket, movie):
    emulator.put_object(bucket, "film.mp4", movie.read_bytes(),
                        content_type="video/mp4")

    def played(source: object) -> bytes:
        return run("ffmpeg", "-nostdin", "-loglevel", "error", "-i", source,
                   "-f", "streamhash", "-").stdout

    assert played(server.url("/media/film.mp4")) == played(movie)


# Python

@pytest.fixture
def session():
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_requests_streams_a_large_object(server, session, whole):
    with session.get(server.url(PATH), stream=True, timeout=20) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Length"] == str(SIZE)
        assert b"".join(answer.iter_content(65536)) == whole


def test_a_requests_session_keeps_one_connection(server, session, emulator,
                                                 whole):
    answers = [session.get(server.url(path), timeout=20)
               for path in (PATH, PATH, "/media/none", PATH)]
    assert [a.status_code for a in answers] == [200, 200, 404, 200]
    assert answers[-1].content == whole
    kept = {a.headers["X-Connection"] for a in answers
            if "X-Connection" in a.headers}
    assert len(kept) == 1
    assert emulator.connections()["storage"] == 1


def test_requests_notices_a_body_that_was_cut(server, session, cut):
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        session.get(server.url(PATH), timeout=20)


def test_urllib_reads_an_object_and_its_type(server, whole):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(server.url(PATH), timeout=20) as answer:
        assert answer.headers.get_content_type() == "application/octet-stream"
        assert answer.read() == whole


def test_urllib_gets_an_error_as_an_error(server):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(server.url("/media/none"), timeout=20)
    assert caught.value.code == 404
    assert b"NoSuchKey" not in caught.value.read()


def test_aiohttp_reads_many_objects_at_a_time(server, emulator, bucket):
    aiohttp = pytest.importorskip("aiohttp")
    for number in range(40):
        emulator.put_object(bucket, f"n{number}", seed=number,
                            size=10_000 + number)

    async def fetch(session: Any, number: int) -> bool:
        async with session.get(server.url(f"/media/n{number}")) as answer:
            return await answer.read() == content(number, 0, 10_000 + number)

    async def fetch_all() -> list[bool]:
        async with aiohttp.ClientSession() as session:
            return await asyncio.gather(
                *(fetch(session, number) for number in range(40)))

    assert all(asyncio.run(fetch_all()))
    # however many came at once
    assert emulator.counts()["token"] == 1


# Google's own client, to the source of the bytes

@pytest.fixture
def google(emulator, bucket, key_file, monkeypatch):
    """It asks iamcredentials.googleapis.com about regions on its own, in a
    thread; nothing that is tested here may leave the machine."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    storage = pytest.importorskip("google.cloud.storage")
    from google.oauth2 import service_account
    credentials = service_account.Credentials.from_service_account_file(
        key_file)
    return storage.Client("demo-project", credentials, client_options={
        "api_endpoint": emulator.url}).bucket(bucket)


def test_googles_client_and_nginx_give_the_same_bytes(server, google, whole,
                                                      session):
    blob = google.blob(NAME)
    theirs = blob.download_as_bytes(checksum="crc32c")
    ours = session.get(server.url(PATH), timeout=20).content
    assert theirs == ours == whole


def test_googles_client_and_nginx_give_the_same_part(server, google, whole,
                                                     session):
    theirs = google.blob(NAME).download_as_bytes(start=1000, end=2_000_999)
    ours = session.get(server.url(PATH), timeout=20,
                       headers={"Range": "bytes=1000-2000999"})
    assert ours.status_code == 206
    assert theirs == ours.content == whole[1000:2_001_000]


def test_googles_client_and_nginx_agree_on_what_an_object_is(server, google,
                                                             emulator, bucket,
                                                             session):
    emulator.put_object(bucket, "page.html", b"<p>text</p>",
                        content_type="text/html; charset=utf-8",
                        content_language="pl",
                        content_disposition="inline",
                        cache_control="public, max-age=60")
    blob = google.blob("page.html")
    blob.reload()
    answer = session.head(server.url("/media/page.html"), timeout=20)
    assert {
        "Content-Type": blob.content_type,
        "Content-Language": blob.content_language,
        "Content-Disposition": blob.content_disposition,
        "Cache-Control": blob.cache_control,
        "Content-Length": str(blob.size),
    }.items() <= dict(answer.headers).items()


# README

def readme(language: str, containing: str) -> str:
    """The block of the README that has the text in it."""
    found = []
    for indent, block in re.findall(
            rf"^([ ]*)```{language}\n(.*?)^\1```$", README.read_text(),
            re.MULTILINE | re.DOTALL):
        if containing in block:
            found.append("".join(line[len(indent):]
                                 for line in block.splitlines(True)))
    assert len(found) == 1, f"{len(found)} blocks with {containing!r}"
    return found[0]


def test_the_configuration_of_the_readme_answers_its_command(
        nginx, emulator, key_file):
    emulator.create_bucket("my-bucket")
    emulator.put_object("my-bucket", "images/cat.png", b"a cat",
                        content_type="image/png")
    emulator.grant(json.loads(key_file.read_text())["client_email"],
                   "my-bucket", ["objectViewer"])

    text = readme("nginx", "127.0.0.1:8080")
    text = text.replace("/etc/nginx/gcs-key.json", "%%KEY%%")
    text = text.replace("127.0.0.1:8080", "127.0.0.1:%%PORT%%")
    server = nginx("gcs_endpoint %%EMULATOR%%;\n" + text)

    command, = [line for line in readme("sh", "curl -i").splitlines()
                if line.startswith("curl")]
    command = command.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
    answer = run("sh", "-c", command).stdout
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\na cat")


def test_the_first_configuration_of_the_readme_maps_as_it_says(
        nginx, emulator, key_file):
    emulator.create_bucket("my-bucket")
    emulator.put_object("my-bucket", "images/cat.png", b"a cat")
    emulator.grant(json.loads(key_file.read_text())["client_email"],
                   "my-bucket", ["objectViewer"])

    text = readme("nginx", "gs://my-bucket/images/")
    text = re.search(r"^http \{\n(.*)^\}$", text,
                     re.MULTILINE | re.DOTALL).group(1)
    text = text.replace("/etc/nginx/gcs-key.json", "%%KEY%%")
    text = text.replace("server {", "server {\nlisten 127.0.0.1:%%PORT%%;")
    server = nginx("gcs_endpoint %%EMULATOR%%;\n" + text)

    assert server.get("/media/cat.png").body == b"a cat"
    assert storage_requests(emulator)[0]["target"] \
        == "/my-bucket/images/cat.png"
    assert server.request("DELETE", "/media/cat.png").status == 405


def test_a_key_that_belongs_to_root_alone_is_enough(nginx, emulator, bucket,
                                                    key_file):
    """As the README tells to install it; the workers are nobody."""
    if os.geteuid() != 0:
        pytest.skip("only root has a key that others cannot read")
    emulator.put_object(bucket, "a.txt", b"hi")
    key_file.chmod(0o600)
    shutil.chown(key_file, "root", "root")
    server = nginx("""
        gcs_credentials reader { file %%KEY%%; }
        server {
            listen 127.0.0.1:%%PORT%%;
            location / {
                gcs_pass gs://%%BUCKET%%/; gcs_auth reader;
                gcs_endpoint %%EMULATOR%%;
            }
        }
    """, user="nobody nogroup")
    assert server.get("/a.txt").body == b"hi"

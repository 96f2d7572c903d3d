"""Google's Python library works through nginx, with no credential of its own.

The answers of Cloud Storage are those of the emulator; harness/api.py tells
what is looked at after each test besides.
"""

from __future__ import annotations

import gzip
import io
import json
from urllib.parse import quote

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage import transfer_manager
from google.oauth2.credentials import Credentials

from emulator import content
from harness.api import (ACCOUNT, BUCKET, FOREIGN, INSIDE, LIMITED, OTHER,
                         headers_of, resident)
from harness.nginx import VALGRIND
from test_write_stream import files

from harness.api_plugin import *  # noqa: F401, F403, E402 (fixtures)

MIB = 1 << 20
LARGE = 9 * MIB                        # the library uploads it in a session
BODY = b"0123456789" * 10              # a.txt
NAMES = ["plain.txt", "a b/größe+1.bin", "100%/%2F?#&=;", "a//b/",
         "~'()*!@:$,",
         "<>\"{}|\\^`", "日本語/😀", "-", "o/b/o", "storage/v1/b/x"]
NO_RETRY = {"retry": None}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No identity, proxy or endpoint of this machine."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST",
                 "API_ENDPOINT_OVERRIDE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def connect(gateway, credentials=None) -> storage.Client:
    return storage.Client(
        "p", credentials or AnonymousCredentials(),
        client_options={"api_endpoint": gateway.url})


@pytest.fixture
def client(gateway) -> storage.Client:
    return connect(gateway)


@pytest.fixture
def store(client):
    """The bucket, as the library has it."""
    return client.bucket(BUCKET)


def refused(info, *words: str, code: int = 403) -> None:
    """The reason is in what the library shows."""
    text = str(info.value)
    assert info.value.code == code, text
    assert all(word in text for word in words), text


# where it is told to go

def test_it_finds_nginx_by_the_variable_of_emulators_without_a_login(
        gateway, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gateway.url)
    client = storage.Client("p")
    assert client.get_bucket(BUCKET).location == "EU"
    blob = client.bucket(BUCKET).blob("new")
    blob.upload_from_string(b"x" * LARGE)
    assert blob.download_as_bytes() == b"x" * LARGE
    assert {record["account"] for record in gateway.seen()
            if record["credential"] == "valid"} == {ACCOUNT}


def test_a_login_of_its_own_stays_here(gateway):
    client = connect(gateway, Credentials("token-of-the-client"))
    blob = client.bucket(BUCKET).blob("b")
    blob.upload_from_string(b"x" * LARGE)
    blob.patch()
    assert client.bucket(BUCKET).blob("a.txt").download_as_bytes() == BODY
    assert gateway.seen()
    assert not [record for record in gateway.seen()
                if "token-of-the-client" in str(record["headers"])]


def test_its_words_to_google_arrive_and_what_names_a_person_does_not(
        gateway, client):
    client._extra_headers = {"Cookie": "session=1", "X-Forwarded-For": "9",
                             "X-HTTP-Method-Override": "DELETE",
                             "X-Goog-Api-Key": "k", "Referer": "http://x/"}
    assert client.bucket(BUCKET).get_blob("a.txt").size == 100
    [record] = gateway.seen()
    headers = headers_of(record)
    assert headers["x-goog-api-client"].startswith("gcloud-python/")
    assert "gzip" not in headers.get("accept-encoding", "")


# reading

def test_a_bucket_is_found(client):
    bucket = client.get_bucket(BUCKET)
    assert (bucket.name, bucket.storage_class) == (BUCKET, "STANDARD")
    assert client.bucket(BUCKET).exists()
    assert bucket.test_iam_permissions(
        ["storage.objects.get", "storage.objects.create"]) == [
        "storage.objects.get", "storage.objects.create"]


def test_lists_have_folders_pages_and_filters(client, google):
    for name in ("d/1", "d/2", "e/f/3", "z"):
        google.put_object(BUCKET, name, b"x")
    every = ["a.txt", "d/1", "d/2", "e/f/3", "z"]
    assert [b.name for b in client.list_blobs(BUCKET)] == every
    pages = list(client.list_blobs(BUCKET, page_size=2).pages)
    assert [[b.name for b in page] for page in pages] == [
        every[:2], every[2:4], every[4:]]
    found = client.list_blobs(BUCKET, delimiter="/")
    assert [b.name for b in found] == ["a.txt", "z"]
    assert found.prefixes == {"d/", "e/"}
    assert [b.name for b in client.list_blobs(BUCKET, prefix="e/")] \
        == ["e/f/3"]
    assert [b.name for b in client.list_blobs(
        BUCKET, start_offset="d/2", end_offset="z")] == ["d/2", "e/f/3"]
    assert [b.name for b in client.list_blobs(BUCKET, max_results=1)] \
        == ["a.txt"]
    assert [b.size for b in client.list_blobs(
        BUCKET, fields="items(name),nextPageToken")] == [None] * 5


def test_an_answer_is_google_s_own_but_for_the_links(gateway, google):
    """Byte for byte, a thousand objects in a page."""
    names = [f"many/{number:04} ü" for number in range(1000)]
    for name in names:
        google.put_object(BUCKET, name, b"x", metadata={"k": name})
    google.configure(links="google")
    target = f"/storage/v1/b/{BUCKET}/o?prefix=many/&projection=noAcl"
    mine = gateway.request("GET", target)
    token = google.mint_token(ACCOUNT)
    with gateway.server.connect(google.http_port) as direct:
        theirs = direct.get(target, {"Authorization": f"Bearer {token}"})
    assert mine.status == 200
    assert mine.get("Content-Type") == theirs.get("Content-Type")
    text = theirs.text
    for host in ("www.googleapis.com/storage/",
                 "storage.googleapis.com/download/"):
        assert text.count(f'Link": "https://{host}') == 1000
        path = host.partition("/")[2]
        text = text.replace(f'Link": "https://{host}',
                            f'Link": "{gateway.url}/{path}')
    assert mine.text == text
    google.reset_requests()


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_written_read_listed_and_deleted(client, store, google,
                                                     name):
    data = name.encode() * 3
    blob = store.blob(name)
    blob.upload_from_string(data, content_type="a/b")
    assert google.get_object(BUCKET, name)["data"] == data
    assert store.blob(name).download_as_bytes() == data
    again = store.get_blob(name)
    assert (again.name, again.content_type) == (name, "a/b")
    assert again.download_as_bytes() == data
    assert name in [b.name for b in client.list_blobs(BUCKET)]
    assert [b.name for b in client.list_blobs(BUCKET, prefix=name)] == [name]
    store.copy_blob(blob, store, name + " 2")
    assert google.get_object(BUCKET, name + " 2")["data"] == data
    blob.delete()
    assert not store.blob(name).exists()


@pytest.mark.parametrize("name", ["..", "a/../b", "./a", "a/.", ".."])
def test_a_name_that_nginx_would_resolve_is_refused_with_a_reason(
        gateway, store, name):
    with pytest.raises(exceptions.GoogleAPICallError) as info:
        store.blob(name).download_as_bytes(**NO_RETRY)
    assert info.value.code in (400, 403, 404)
    assert gateway.seen() == []


def test_downloads_are_whole_or_in_ranges(store, google, tmp_path):
    google.put_object(BUCKET, "big", seed=1, size=30 * MIB)
    whole = content(1, 0, 30 * MIB)
    blob = store.blob("big")
    assert blob.download_as_bytes(checksum="crc32c") == whole
    assert blob.download_as_bytes(checksum="md5") == whole
    assert blob.download_as_bytes(start=5, end=9) == whole[5:10]
    assert blob.download_as_bytes(start=-7) == whole[-7:]
    path = tmp_path / "big"
    store.blob("big", chunk_size=8 * MIB).download_to_filename(path)
    assert path.read_bytes() == whole
    with store.blob("big").open("rb", chunk_size=MIB) as file:
        file.seek(20 * MIB)
        assert file.read(10) == whole[20 * MIB:20 * MIB + 10]
    transfer_manager.download_chunks_concurrently(
        store.blob("big"), path, chunk_size=8 * MIB, max_workers=3,
        worker_type=transfer_manager.THREAD)
    assert path.read_bytes() == whole


def test_the_library_follows_links_and_they_lead_back_here(gateway, google,
                                                           store):
    """It fetches the mediaLink of an object that it has metadata of."""
    google.configure(links="google")
    found = {blob.name: blob for blob in store.list_blobs()}
    made = store.blob("made")
    made.upload_from_string(BODY)
    for blob in (store.get_blob("a.txt"), found["a.txt"], made):
        path = f"/storage/v1/b/{BUCKET}/o/{blob.name}"
        assert blob.self_link == gateway.url + path
        assert blob.media_link == (f"{gateway.url}/download{path}?generation="
                                   f"{blob.generation}&alt=media")
        assert blob.download_as_bytes() == BODY
    assert len([target for target in gateway.targets("GET")
                if "generation=" in target]) == 3


def test_links_lead_to_https_when_the_request_came_so(gateways, google):
    google.configure(links="google")
    gateway = gateways(tls=True)
    import ssl
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with gateway.server.connect(gateway.secure, tls=context) as connection:
        said = connection.get(f"/storage/v1/b/{BUCKET}/o/a.txt").json()
    assert said["mediaLink"].startswith(
        f"https://127.0.0.1:{gateway.secure}/download/storage/v1/b/")


def test_what_is_stored_compressed_is_unpacked_as_ever(store, google):
    packed = gzip.compress(BODY)
    google.put_object(BUCKET, "z", packed, content_encoding="gzip",
                      content_type="text/plain")
    assert store.blob("z").download_as_bytes() == BODY
    assert store.blob("z").download_as_bytes(raw_download=True) == packed


def test_what_is_not_there_is_not_found(store):
    assert not store.blob("nope").exists()
    assert store.get_blob("nope") is None
    for action in (store.blob("nope").download_as_bytes,
                   store.blob("nope").delete, store.blob("nope").reload):
        with pytest.raises(exceptions.NotFound) as info:
            action(**NO_RETRY)
        refused(info, "No such object: test-bucket/nope", code=404)


def test_keys_of_the_customer_pass(store, google):
    key = bytes(range(32))
    store.blob("secret", encryption_key=key).upload_from_string(BODY)
    assert store.blob("secret", encryption_key=key) \
        .download_as_bytes() == BODY
    with pytest.raises(exceptions.BadRequest):
        store.blob("secret").download_as_bytes(**NO_RETRY)


def test_only_the_operator_says_who_pays(gateways, google):
    gateway = gateways(location="gcs_user_project demo-project;")
    google.update_bucket(BUCKET, requester_pays=True)
    client = connect(gateway)
    assert client.bucket(BUCKET).blob("a.txt").download_as_bytes() == BODY
    asked = client.bucket(BUCKET, user_project="demo-project")
    assert asked.blob("a.txt").download_as_bytes() == BODY
    before = len(gateway.seen())
    with pytest.raises(exceptions.ClientError) as info:
        client.bucket(BUCKET, user_project="somebody-else").blob(
            "a.txt").download_as_bytes(**NO_RETRY)
    assert info.value.code in (400, 403)
    assert "project" in str(info.value).lower()
    assert len(gateway.seen()) == before


# writing

def test_a_small_upload_has_all_of_its_metadata(store, google):
    blob = store.blob("small ü")
    blob.metadata = {"k": "v", "ü": "ö"}
    blob.cache_control, blob.content_language = "no-store", "de"
    blob.content_disposition = "attachment"
    body = b"--\r\n\r\nbinary \x00\xff\r\n"
    blob.upload_from_string(body, content_type="image/x-demo")
    stored = google.get_object(BUCKET, "small ü")
    assert stored["data"] == body
    assert stored["content_type"] == "image/x-demo"
    assert stored["metadata"] == {"k": "v", "ü": "ö"}
    assert stored["cache_control"] == "no-store"
    assert stored["content_disposition"] == "attachment"
    assert blob.generation == stored["generation"]


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE])
@pytest.mark.parametrize("chunk", [None, MIB])
def test_files_arrive_whatever_their_size(gateway, store, google, tmp_path,
                                          size, chunk):
    path = tmp_path / "file"
    path.write_bytes(content(2, 0, size))
    store.blob("file", chunk_size=chunk).upload_from_filename(
        path, content_type="video/mp4")
    stored = google.get_object(BUCKET, "file")
    assert stored["data"] == content(2, 0, size)
    assert stored["content_type"] == "video/mp4"
    if chunk and size > MIB:
        assert [r["status"] for r in gateway.seen("PUT")] \
            == [308] * (-(-size // MIB) - 1) + [200]


def test_a_stream_of_unknown_length_arrives(store, google):
    with store.blob("stream", chunk_size=MIB).open("wb") as file:
        for _ in range(5):
            file.write(b"x" * 700_000)
    assert google.get_object(BUCKET, "stream")["data"] == b"x" * 3_500_000


def test_a_session_leads_through_nginx_and_needs_no_token(gateway, store,
                                                          google):
    place = store.blob("later").create_resumable_upload_session(
        content_type="a/b", size=5)
    assert place.startswith(
        f"{gateway.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable")
    target = place.removeprefix(gateway.url)
    answer = gateway.request("PUT", target,
                             {"Content-Range": "bytes */5"}, b"")
    assert (answer.status, answer.get("Range")) == (308, None)
    answer = gateway.request("PUT", target, body=b"hello")
    assert (answer.status, answer.json()["name"]) == (200, "later")
    assert google.get_object(BUCKET, "later")["content_type"] == "a/b"
    assert [r["credential"] for r in gateway.seen("PUT")] \
        == ["upload session"] * 2


def test_an_upload_goes_on_where_it_was_cut(gateway, store, google):
    """The library asks how far it came; nginx must not answer for Google."""
    google.fault(kind="storage", method="PUT", status=503, skip=1)
    store.blob("cut", chunk_size=MIB).upload_from_string(
        content(4, 0, LARGE), content_type="a/b")
    assert google.get_object(BUCKET, "cut")["data"] == content(4, 0, LARGE)
    assert 503 in [r["status"] for r in gateway.seen("PUT")]


def test_uploads_of_any_size_stay_out_of_memory_and_files(gateway, store,
                                                          google):
    size = (10 if VALGRIND else 100) * MIB
    store.blob("a.txt").download_as_bytes()
    before = resident(gateway.server)
    held = []

    class Zeroes(io.RawIOBase):
        """Bytes out of nothing; looks at nginx meanwhile."""
        at = 0

        def readable(self):
            return True

        def read(self, count=-1):
            if self.at % (4 * MIB) == 0:
                held.extend(files(gateway.server))
            left = size - self.at
            count = left if count < 0 else min(count, left)
            self.at += count
            return bytes(count)

        def tell(self):
            return self.at

    blob = store.blob("large")
    blob.upload_from_file(Zeroes(), size=size, checksum=None)
    assert google.get_object(BUCKET, "large")["size"] == size
    assert held == []
    assert resident(gateway.server) - before < 4096


def test_an_upload_in_parts_at_once(store, google, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content(6, 0, 21 * MIB))
    blob = store.blob("parts ü+ x")
    blob.metadata = {"k": "v"}
    transfer_manager.upload_chunks_concurrently(
        str(path), blob, chunk_size=5 * MIB, max_workers=3,
        worker_type=transfer_manager.THREAD)
    stored = google.get_object(BUCKET, "parts ü+ x")
    assert stored["data"] == content(6, 0, 21 * MIB)
    assert stored["metadata"] == {"k": "v"}


def test_generations_guard_against_each_other(store, google):
    blob = store.blob("once")
    blob.upload_from_string(b"1", if_generation_match=0)
    for size in (1, LARGE):
        with pytest.raises(exceptions.PreconditionFailed):
            store.blob("once").upload_from_string(
                b"2" * size, if_generation_match=0, **NO_RETRY)
    store.blob("once").upload_from_string(
        b"3", if_generation_match=blob.generation)
    with pytest.raises(exceptions.PreconditionFailed):
        store.blob("once").delete(if_generation_match=blob.generation,
                                   **NO_RETRY)
    with pytest.raises(exceptions.PreconditionFailed):
        store.blob("once").download_as_bytes(
            if_generation_match=blob.generation, **NO_RETRY)
    assert google.get_object(BUCKET, "once")["data"] == b"3"


def test_a_sum_that_is_wrong_is_told(store):
    blob = store.blob("sum")
    blob._properties["md5Hash"] = "AAAAAAAAAAAAAAAAAAAAAA=="
    blob._changes.add("md5Hash")
    with pytest.raises(exceptions.BadRequest):
        blob.upload_from_string(b"hello", checksum=None, **NO_RETRY)


def test_metadata_are_changed(store, google):
    blob = store.blob("a.txt")
    blob.metadata = {"new": "1"}
    blob.patch()
    assert google.get_object(BUCKET, "a.txt")["metadata"] \
        == {"kept": "yes", "new": "1"}
    blob = store.get_blob("a.txt")
    blob.content_type, blob.metadata = "a/b", {"all": "2"}
    blob.update()
    stored = google.get_object(BUCKET, "a.txt")
    assert (stored["content_type"], stored["metadata"]) == ("a/b",
                                                            {"all": "2"})
    assert stored["data"] == BODY


def test_objects_are_copied_rewritten_moved_and_composed(client, store,
                                                         google):
    source = store.blob("a.txt")
    copy = store.copy_blob(source, client.bucket(OTHER), "co py/1")
    assert copy.name == "co py/1"
    assert google.get_object(OTHER, "co py/1")["data"] == BODY

    google.put_object(BUCKET, "big", seed=1, size=3 * MIB)
    token, calls = None, 0
    while token is not None or calls == 0:
        token, done, whole = client.bucket(OTHER).blob("re").rewrite(
            store.blob("big"), token=token)
        calls += 1
    assert (done, whole) == (3 * MIB, 3 * MIB)
    assert google.get_object(OTHER, "re")["data"] == content(1, 0, 3 * MIB)

    store.blob("a.txt").update_storage_class("NEARLINE")
    assert google.get_object(BUCKET, "a.txt")["storage_class"] == "NEARLINE"
    store.rename_blob(store.blob("big"), "bigger")
    store.move_blob(store.blob("bigger"), "biggest")
    names = [b.name for b in client.list_blobs(BUCKET)]
    assert names == ["a.txt", "biggest"]

    made = store.blob("both")
    made.content_type = "a/b"
    made.compose([store.blob("a.txt"), store.blob("a.txt")])
    assert google.get_object(BUCKET, "both")["data"] == BODY * 2


def test_deletes_delete(client, store, google):
    for name in ("1", "2", "3"):
        google.put_object(BUCKET, name, b"x")
    store.blob("1").delete()
    store.delete_blobs([store.blob("2"), store.blob("3"),
                         store.blob("4")], on_error=lambda blob: None)
    assert [b.name for b in client.list_blobs(BUCKET)] == ["a.txt"]


# what is refused

def calls_on(bucket):
    """What may be done to a bucket and its objects."""
    def resumable():
        bucket.blob("b").upload_from_string(b"x" * LARGE, **NO_RETRY)

    return {
        "get": lambda: bucket.reload(**NO_RETRY),
        "list": lambda: list(bucket.list_blobs(**NO_RETRY)),
        "metadata": lambda: bucket.blob("a.txt").reload(**NO_RETRY),
        "download": lambda: bucket.blob("a.txt").download_as_bytes(
            **NO_RETRY),
        "upload": lambda: bucket.blob("b").upload_from_string(
            b"x", **NO_RETRY),
        "resumable upload": resumable,
        "patch": lambda: bucket.blob("a.txt").patch(**NO_RETRY),
        "compose": lambda: bucket.blob("b").compose([bucket.blob("a.txt")],
                                                    **NO_RETRY),
        "delete": lambda: bucket.blob("a.txt").delete(**NO_RETRY)}


CALLS = ["get", "list", "metadata", "download", "upload", "resumable upload",
         "patch", "compose", "delete"]
WRITES = ["upload", "resumable upload", "patch", "compose"]


@pytest.mark.parametrize("call", CALLS)
def test_another_bucket_is_refused_with_a_reason(gateway, client, call):
    with pytest.raises(exceptions.Forbidden) as info:
        calls_on(client.bucket(FOREIGN))[call]()
    refused(info, "bucket")
    assert gateway.seen() == []


@pytest.mark.parametrize("call", ["copy", "rewrite", "copy from"])
def test_a_copy_may_not_leave_the_buckets(gateway, client, google, call):
    mine, foreign = client.bucket(BUCKET), client.bucket(FOREIGN)
    with pytest.raises(exceptions.Forbidden) as info:
        if call == "copy":
            mine.copy_blob(mine.blob("a.txt"), foreign, "b", **NO_RETRY)
        elif call == "rewrite":
            foreign.blob("b").rewrite(mine.blob("a.txt"), **NO_RETRY)
        else:
            foreign.copy_blob(foreign.blob("a.txt"), mine, "b", **NO_RETRY)
    refused(info, "bucket")
    assert gateway.seen("POST") == []


@pytest.mark.parametrize("call", [*WRITES, "copy", "delete"])
def test_methods_that_are_not_allowed_are_refused_with_a_reason(
        gateways, google, call):
    gateway = gateways(methods="GET HEAD")
    bucket = connect(gateway).bucket(BUCKET)
    assert bucket.blob("a.txt").download_as_bytes() == BODY
    calls = calls_on(bucket)
    calls["copy"] = lambda: bucket.copy_blob(bucket.blob("a.txt"), bucket,
                                             "b", **NO_RETRY)
    with pytest.raises(exceptions.Forbidden) as info:
        calls[call]()
    refused(info, "gcs_methods")
    assert {record["method"] for record in gateway.seen()} == {"GET"}


def test_to_delete_and_to_move_are_rights_of_their_own(gateways):
    gateway = gateways(methods="GET HEAD PUT")
    bucket = connect(gateway).bucket(BUCKET)
    bucket.blob("b").upload_from_string(b"x")
    for action in (bucket.blob("b").delete,
                   lambda **more: bucket.move_blob(bucket.blob("b"), "c",
                                                   **more)):
        with pytest.raises(exceptions.Forbidden) as info:
            action(**NO_RETRY)
        refused(info, "gcs_methods")
    assert bucket.blob("b").exists()


ADMINISTRATION = {
    "list of buckets": lambda c: list(c.list_buckets(**NO_RETRY)),
    "new bucket": lambda c: c.create_bucket("new-bucket", **NO_RETRY),
    "end of a bucket": lambda c: c.bucket(BUCKET).delete(**NO_RETRY),
    "settings of a bucket": lambda c: c.bucket(BUCKET).patch(**NO_RETRY),
    "policy": lambda c: c.bucket(BUCKET).get_iam_policy(**NO_RETRY),
    "list of rights": lambda c: c.bucket(BUCKET).blob("a.txt").acl.reload(),
    "all may read": lambda c: c.bucket(BUCKET).blob("a.txt").make_public(),
    "upload for all": lambda c: c.bucket(BUCKET).blob("b").upload_from_string(
        b"x", predefined_acl="publicRead", **NO_RETRY),
    "large upload for all":
        lambda c: c.bucket(BUCKET).blob("b").upload_from_string(
            b"x" * LARGE, predefined_acl="publicRead", **NO_RETRY),
    "notifications": lambda c: list(c.bucket(BUCKET).list_notifications(
        **NO_RETRY)),
    "keys": lambda c: list(c.list_hmac_keys(**NO_RETRY)),
    "service account": lambda c: c.get_service_account_email(**NO_RETRY),
}


@pytest.mark.parametrize("what", ADMINISTRATION)
def test_administration_is_refused_with_a_reason(gateway, client, google,
                                                 what):
    with pytest.raises(exceptions.Forbidden) as info:
        ADMINISTRATION[what](client)
    refused(info, "nginx")
    assert gateway.seen() == []
    assert not google.get_object(BUCKET, "a.txt")["public"]


def test_a_batch_is_refused_with_a_reason(gateway, client, google):
    bucket = client.bucket(BUCKET)
    with pytest.raises(exceptions.Forbidden) as info:
        with client.batch():
            bucket.blob("a.txt").delete()
    refused(info, "batch")
    assert gateway.seen() == []


def test_rights_may_not_hide_in_the_metadata(gateway, google):
    """What the library would not send by itself."""
    rights = [{"entity": "allUsers", "role": "READER"}]
    member = json.dumps({"name": "b", "acl": rights})
    upload = f"/upload/storage/v1/b/{BUCKET}/o?uploadType="
    parts = (f"--x\r\nContent-Type: application/json\r\n\r\n{member}\r\n--x"
             "\r\nContent-Type: a/b\r\n\r\nhello\r\n--x--").encode()
    for method, target, kind, body in (
            ("POST", upload + "multipart", "multipart/related; boundary=x",
             parts),
            ("POST", upload + "multipart&name=b",
             "multipart/related; boundary=x", parts),
            ("POST", upload + "resumable", "application/json",
             member.encode()),
            ("POST", upload + "resumable&name=b", "application/json",
             member.encode()),
            ("PATCH", f"/storage/v1/b/{BUCKET}/o/a.txt", "application/json",
             json.dumps({"acl": rights}).encode()),
            ("POST", f"/storage/v1/b/{BUCKET}/o/b/compose",
             "application/json", json.dumps({
                 "sourceObjects": [{"name": "a.txt"}],
                 "destination": {"acl": rights}}).encode()),
            ("POST", f"/storage/v1/b/{BUCKET}/o/a.txt/rewriteTo/b/{BUCKET}"
             "/o/b", "application/json",
             json.dumps({"acl": rights}).encode())):
        answer = gateway.request(method, target, {"Content-Type": kind},
                                 body)
        assert answer.status == 403, target
        assert answer.json()["error"]["code"] == 403
        assert answer.json()["error"]["errors"][0]["reason"] == "forbidden"
    assert gateway.seen() == []


@pytest.mark.parametrize("how", ["multipart", "resumable"])
def test_the_metadata_may_not_name_another_bucket(gateway, how):
    member = json.dumps({"name": "b", "bucket": FOREIGN}).encode()
    kind, body = "application/json", member
    if how == "multipart":
        kind = "multipart/related; boundary=x"
        body = (b"--x\r\nContent-Type: application/json\r\n\r\n" + member
                + b"\r\n--x\r\nContent-Type: a/b\r\n\r\nhello\r\n--x--")
    answer = gateway.request(
        "POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType={how}",
        {"Content-Type": kind}, body)
    assert answer.status in (400, 403)
    assert gateway.seen() == []


# a part of a bucket

@pytest.fixture
def limited(client):
    return client.bucket(LIMITED)


def test_inside_of_a_prefix_all_works(limited, google):
    name = INSIDE + "new ü"
    limited.blob(name).upload_from_string(b"x")
    limited.blob(name + "2").upload_from_string(b"y" * LARGE)
    assert limited.blob(name).download_as_bytes() == b"x"
    limited.blob(INSIDE + "c").compose([limited.blob(name),
                                        limited.blob(INSIDE + "b.txt")])
    assert google.get_object(LIMITED, INSIDE + "c")["data"] == b"xinside"
    assert [b.name for b in limited.list_blobs(prefix=INSIDE)] == [
        INSIDE + "b.txt", INSIDE + "c", name, name + "2"]
    limited.blob(name).delete()


@pytest.mark.parametrize("call", [
    "list", "list of less", "metadata", "download", "upload",
    "resumable upload", "delete", "copy out", "copy in", "compose in"])
def test_outside_of_a_prefix_nothing_does(gateway, limited, google, call):
    inner, outer = limited.blob(INSIDE + "b.txt"), limited.blob("a.txt")
    calls = {
        **calls_on(limited),
        "list of less": lambda: list(limited.list_blobs(
            prefix=INSIDE[:-1], **NO_RETRY)),
        "copy out": lambda: limited.copy_blob(inner, limited, "out",
                                              **NO_RETRY),
        "copy in": lambda: limited.copy_blob(outer, limited, INSIDE + "in",
                                             **NO_RETRY),
        "compose in": lambda: limited.blob(INSIDE + "in").compose(
            [inner, outer], **NO_RETRY)}
    with pytest.raises(exceptions.Forbidden) as info:
        calls[call]()
    refused(info, "nginx")
    assert gateway.seen() == []


# when something fails

def test_errors_of_google_are_shown_as_they_are(gateway, store, google):
    google.grant(ACCOUNT, BUCKET, ["objectViewer"])
    with pytest.raises(exceptions.Forbidden) as info:
        store.blob("b").upload_from_string(b"x", **NO_RETRY)
    refused(info, ACCOUNT, "storage.objects.create")


def test_a_token_that_was_revoked_is_replaced(gateway, store, google):
    assert store.blob("a.txt").download_as_bytes() == BODY
    google.revoke_tokens()
    assert store.blob("a.txt").download_as_bytes(**NO_RETRY) == BODY


def test_without_a_token_the_library_is_told_to_try_again(gateways, google):
    google.fault(kind="token", status=500, count=50)
    gateway = gateways()
    with pytest.raises(exceptions.GoogleAPICallError) as info:
        connect(gateway).bucket(BUCKET).blob("a.txt").reload(**NO_RETRY)
    assert info.value.code in (502, 503)
    assert gateway.seen() == []
    google.clear_faults()


def test_the_library_tries_again_when_google_is_busy(gateway, store,
                                                     google):
    """So is the library's own look at the bucket, in another thread."""
    google.fault(kind="storage", status=429, count=2)
    assert store.blob("a.txt").download_as_bytes() == BODY
    statuses = [record["status"] for record in gateway.seen()]
    assert statuses in ([429, 200], [429, 429, 200])


def test_an_object_s_path_is_the_same_in_every_api(gateway, google):
    """The XML API beside the JSON API, with the same rules."""
    name = "a b/ü+%"
    google.put_object(BUCKET, name, BODY)
    path = f"/{BUCKET}/{quote(name)}"
    assert gateway.request("GET", path).body == BODY
    assert gateway.request("HEAD", path).get("Content-Length") == "100"
    assert gateway.request("PUT", f"/{BUCKET}/x", body=b"new").status == 200
    assert google.get_object(BUCKET, "x")["data"] == b"new"
    assert gateway.request("DELETE", f"/{BUCKET}/x").status == 204
    listed = gateway.request("GET", f"/{BUCKET}?list-type=2&prefix=a%20b/")
    assert "<Key>a b/ü+%</Key>" in listed.text
    before = len(gateway.seen())
    for target in (f"/{FOREIGN}/a.txt", f"/{LIMITED}/a.txt", f"/{LIMITED}",
                   f"/{BUCKET}/a.txt?acl", f"/{BUCKET}?cors", "/",
                   f"/{BUCKET}/a.txt?X-Goog-Signature=1"):
        answer = gateway.request("GET", target)
        assert answer.status in (400, 403), target
        assert "<Code>" in answer.text, target
    assert len(gateway.seen()) == before


@pytest.mark.parametrize("source, status", [
    (f"/{BUCKET}/a.txt", 200), (f"{BUCKET}/a%2Etxt", 200),
    (f"/{LIMITED}/{INSIDE}b.txt", 200), (f"/{FOREIGN}/a.txt", 403),
    (f"{FOREIGN}/a.txt", 403), (f"/{LIMITED}/a.txt", 403),
    (f"/{BUCKET}/../{FOREIGN}/a.txt", 400),
    (f"/{LIMITED}/{INSIDE}../a.txt", 403),
    (f"/{LIMITED}/{INSIDE}%2E%2E%2Fa.txt", 403), ("a.txt", 400), ("/", 400)])
def test_a_copy_by_header_has_the_same_rules(gateway, google, source, status):
    answer = gateway.request("PUT", f"/{BUCKET}/copy", {
        "x-goog-copy-source": source, "Content-Length": "0"})
    assert answer.status == status
    assert [record["status"] for record in gateway.seen()] \
        == ([200] if status == 200 else [])
    if status == 200:
        assert google.get_object(BUCKET, "copy")["size"] in (100, 6)


@pytest.mark.parametrize("query", [
    "uploadType=multipart&upload_id=x", "uploadType=media&upload_id=x&name=a",
    "uploadType=resumable&upload_id=&name=a", "uploadType=resumable&upload_id",
    "uploadType=resumable&uploadType=media&name=a&upload_id=x",
    "uploadtype=media&upload_id=x", "uploadType=resumable&upload%5Fid=x",
    "upload_id=x&upload_id=y", "uploadType=media&name=a&name=b"])
def test_nothing_is_taken_for_a_session_that_google_may_not(gateway, query):
    """A session's body is not looked into, and its request has no token."""
    for method in ("POST", "PUT"):
        answer = gateway.request(
            method, f"/upload/storage/v1/b/{BUCKET}/o?{query}", body=b"x")
        assert answer.status in (400, 403)
        assert answer.json()["error"]["message"].startswith("nginx: ")
    assert gateway.seen() == []


@pytest.mark.parametrize("target", [
    "/storage/v1/b/test-bucket/o/a.txt/acl", "/storage/v1/b/test-bucket/acl",
    "/storage/v1/b/test-bucket//o/a.txt", "//storage/v1/b/test-bucket/o",
    "/storage/v1//b/test-bucket/o", "/storage/v1/b/test-bucket%2Fo/a.txt",
    "/storage/v1/b/test-bucket/iam", "/storage/v1/b/test-bucket/o?prefix=a"
    "&prefix=b", "/storage/v1/b/test-bucket/o?Prefix=a",
    "/storage/v1/b/limited-bucket/o?prefix=inside/&prefix=",
    "/storage/v1/b/limited-bucket/o?prefix=inside",
    "/storage/v1/b/limited-bucket/o?prefix=inside/../",
    "/storage/v1/b/limited-bucket/o?startOffset=inside/",
    "/limited-bucket?prefix=inside/&prefix=", "/limited-bucket?prefix=",
    "/test-bucket/../foreign-bucket/a.txt",
    "/test-bucket/%2E%2E/foreign-bucket/a.txt",
    "/test-bucket/..%2Fforeign-bucket/a.txt",
    "/storage/v1/b/test-bucket/o/a.txt?access_token=x",
    "/storage/v1/b/test-bucket/o/a.txt?oauth_token=x",
    "/storage/v1/b/test-bucket/o/a.txt?alt=media&callback=x",
    "/storage/v1/b/test-bucket/o/a.txt?$.xgafv=1",
    "/storage/v1beta2/b/test-bucket/o", "/storage/v1/b/test-bucket/channels",
    "/storage/v1/b/test-bucket/o/a.txt?X-Goog-Algorithm=x",
    "/test-bucket/a.txt?GoogleAccessId=x&Signature=y&Expires=9",
    "/test-bucket?uploads", "/test-bucket/a.txt?uploads",
    "/discovery/v1/apis/storage/v1/rest", "/batch"])
def test_what_is_not_known_is_refused_before_there_is_a_token(gateway,
                                                              target):
    answer = gateway.request("GET", target)
    assert answer.status in (400, 403, 404), answer.text
    assert "nginx: " in answer.text
    assert gateway.seen() == []

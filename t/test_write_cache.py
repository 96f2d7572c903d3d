"""What is cached of an object is not served once it has been written through
this nginx, whoever asks and in whatever part."""

from __future__ import annotations

import threading
import time

import pytest

from emulator import content

PUBLIC = "public, max-age=3600"
OLD, NEW = b"old " * 50, b"new " * 50

HTTP = """
    proxy_cache_path %%DIR%%/cache keys_zone=z:1m inactive=10m;
    gcs_credentials writer { file %%KEY%%; }
    gcs_auth writer;
    gcs_endpoint %%EMULATOR%%;
    add_header X-Cache $upstream_cache_status always;
    add_header X-Error $gcs_error always;
"""
BOTH = """location / { gcs_pass gs://test-bucket/; proxy_cache z; %s
                      gcs_methods GET HEAD PUT DELETE; }"""


@pytest.fixture
def serve(nginx, emulator, key_file, bucket):
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin"]}))

    def make(server=BOTH % "", http="", **kw):
        instance = nginx(HTTP + http, server=server, **kw)
        instance.wait_log("token refreshed")
        return instance
    return make


def put(emulator, data=OLD, name="a", **kw):
    kw.setdefault("cache_control", PUBLIC)
    return emulator.put_object("test-bucket", name, data, **kw)


def seen(server, path="/a", headers=()):
    answer = server.get(path, dict(headers))
    return answer.status, answer.get("X-Cache"), answer.body


def cached(server, path="/a", body=OLD):
    assert seen(server, path)[2] == body
    assert seen(server, path) == (200, "HIT", body)


WRITE = {"Content-Type": "text/plain", "Cache-Control": PUBLIC}


def write(server, path="/a", body=NEW, headers=()):
    answer = server.request("PUT", path, {**WRITE, **dict(headers)}, body)
    assert answer.status == 200
    return answer


def test_after_a_put_the_new_object_is_served_and_cached(serve, emulator):
    put(emulator)
    server = serve(BOTH % "gcs_write_headers cache-control;")
    cached(server)
    write(server)
    assert seen(server) == (200, "MISS", NEW)
    assert seen(server) == (200, "HIT", NEW)
    write(server, body=OLD)
    cached(server)


def test_after_a_delete_there_is_nothing(serve, emulator):
    put(emulator)
    server = serve()
    cached(server)
    assert server.request("DELETE", "/a").status == 204
    assert seen(server)[:2] == (404, "MISS")


def test_what_was_missing_is_there_after_a_put(serve, emulator):
    server = serve(BOTH % "proxy_cache_valid 404 1h; "
                   "proxy_ignore_headers Cache-Control Expires;")
    assert seen(server)[:2] == (404, "MISS")
    assert seen(server)[:2] == (404, "HIT")
    write(server)
    assert seen(server)[0::2] == (200, NEW)


def test_other_objects_stay_cached(serve, emulator):
    names = ["a", "b", "c/a", "a/", "A"]
    for name in names:
        put(emulator, name=name)
    server = serve()
    for name in names:
        cached(server, "/" + name)
    write(server)
    for name in names[1:]:
        assert seen(server, "/" + name)[1] == "HIT"


def test_a_write_of_one_worker_is_known_to_the_others(serve, emulator):
    put(emulator)
    server = serve(BOTH % "gcs_write_headers cache-control;", workers=4)
    for turn in range(6):
        body = b"%d" % turn
        write(server, body=body)
        for _ in range(8):
            assert seen(server)[2] == body


def test_locations_apart_one_reads_and_one_writes(serve, emulator):
    put(emulator, name="x/a")
    server = serve("""
        location /read/ { gcs_pass gs://test-bucket/; proxy_cache z; }
        location /key/ { gcs_pass gs://test-bucket/x/; proxy_cache z;
                         proxy_cache_key $host$uri; }
        location ~ ^/var/(.*)$ { gcs_pass gs://test-bucket/$1;
                         gcs_buckets test-bucket; proxy_cache z;
                         proxy_cache_key k; }
        location /write/ { gcs_pass gs://test-bucket/x; gcs_methods PUT; }
    """)
    paths = ["/read/x/a", "/key/a", "/var/x/a"]
    for path in paths:
        cached(server, path)
    write(server, "/write/a")
    for path in paths:
        assert seen(server, path) [2] == NEW


@pytest.mark.parametrize("gzip", [{}, {"Accept-Encoding": "gzip"}], ids=str)
def test_no_slice_of_the_old_object_is_served(gzip, serve, emulator):
    size = 300000
    put(emulator, None, size=size, seed=1)
    server = serve(BOTH % "slice 64k; gcs_write_headers cache-control;")
    old, new = content(1, 0, size), content(2, 0, size)
    cached(server, body=old)
    assert seen(server, headers=gzip)[2] == old
    write(server, body=new)
    assert seen(server, headers={**gzip, "Range": "bytes=200000-200009"})[2] \
        == new[200000:200010]
    assert seen(server, headers=gzip)[2] == new
    assert seen(server, headers=gzip) == (200, "HIT", new)


def test_what_was_asked_for_before_the_write_is_not_kept(serve, emulator):
    """A slow download of the old object that ends after the write."""
    size = 2 << 20
    put(emulator, None, size=size, seed=1)
    server = serve(BOTH % "gcs_write_headers cache-control;")
    emulator.fault(kind="storage", method="GET", stall_after=1 << 20,
                   stall_seconds=1.5)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(seen(server)))
    thread.start()
    while not emulator.requests("storage"):
        time.sleep(0.01)
    write(server)
    assert not answers
    thread.join()
    assert answers[0][2] == content(1, 0, size)
    assert seen(server) == (200, "MISS", NEW)
    assert seen(server) == (200, "HIT", NEW)


def test_a_reload_forgets_no_write(serve, emulator):
    put(emulator)
    server = serve(BOTH % "gcs_write_headers cache-control;")
    cached(server)
    write(server)
    server.reload()
    assert seen(server)[2] == NEW
    assert seen(server) == (200, "HIT", NEW)


def test_a_restart_serves_nothing_that_may_be_old(serve, emulator):
    put(emulator)
    put(emulator, name="b")
    server = serve()
    cached(server)
    cached(server, "/b")
    write(server)
    server.quit()
    server.start()
    server.wait_log("token refreshed", count=2)
    assert seen(server)[2] == NEW
    assert seen(server, "/b") == (200, "MISS", OLD)


def test_what_nobody_may_write_stays_cached_over_a_restart(serve, emulator):
    put(emulator, name="read/a")
    server = serve("""
        location / { gcs_pass gs://test-bucket/; proxy_cache z; }
        location /read/w/ { gcs_pass gs://test-bucket/read/w/;
                            gcs_methods PUT; }
    """)
    cached(server, "/read/a")
    server.quit()
    server.start()
    assert seen(server, "/read/a") == (200, "HIT", OLD)


@pytest.mark.parametrize("fault,answer", [
    (dict(reset="before_headers"), 502), (dict(hang=True), 504),
    (dict(garbage=True), 502), (dict(status=500, code="InternalError"), 502),
    (dict(status=503, code="ServiceUnavailable"), 503)], ids=str)
def test_a_write_of_unknown_outcome_counts_as_one(fault, answer, serve,
                                                  emulator):
    put(emulator)
    server = serve(BOTH % "proxy_read_timeout 1s;")
    cached(server)
    emulator.fault(kind="storage", method="PUT", **fault)
    assert server.request("PUT", "/a", {}, NEW).status == answer
    put(emulator, NEW)                     # GCS has done it all the same
    assert seen(server) == (200, "MISS", NEW)


def test_a_client_that_leaves_early_counts_too(serve, emulator):
    put(emulator)
    server = serve()
    cached(server)
    connection = server.connect()
    connection.send(b"PUT /a HTTP/1.1\r\nHost: a\r\n"
                    b"Content-Length: 1000000\r\n\r\n" + b"x" * 500000)
    time.sleep(0.3)
    connection.close()
    server.wait_access_log('"PUT /a HTTP/1.1" (499|400)')
    assert seen(server) == (200, "MISS", OLD)


def test_a_failed_condition_shows_that_the_cache_is_old(serve, emulator):
    """Or else one would read, write in vain and read the same again."""
    put(emulator)
    server = serve(BOTH % "gcs_pass_header x-goog-generation;")
    cached(server)
    generation = server.get("/a").get("x-goog-generation")
    put(emulator, NEW)                     # by somebody else, elsewhere
    assert seen(server) == (200, "HIT", OLD)
    answer = server.request("PUT", "/a", {
        "x-goog-if-generation-match": generation}, b"mine")
    assert answer.status == 412
    answer = server.get("/a")
    assert (answer.get("X-Cache"), answer.body) == ("MISS", NEW)
    assert server.request("PUT", "/a", {
        "x-goog-if-generation-match": answer.get("x-goog-generation")},
        b"mine").status == 200


@pytest.mark.parametrize("fault", [
    dict(status=403, code="AccessDenied"), dict(status=429, code="SlowDown"),
    dict(status=400, code="BadDigest")], ids=str)
def test_a_refused_write_leaves_the_cache_alone(fault, serve, emulator):
    put(emulator)
    server = serve()
    cached(server)
    emulator.fault(kind="storage", method="PUT", **fault)
    assert server.request("PUT", "/a", {}, NEW).status >= 400
    assert seen(server) == (200, "HIT", OLD)


def test_a_stale_copy_is_not_served_for_want_of_a_better_one(serve, emulator):
    put(emulator)
    server = serve(BOTH % "proxy_cache_use_stale error timeout http_500 "
                   "http_502 http_503 http_504 updating;")
    cached(server)
    write(server)
    emulator.fault(kind="storage", method="GET", count=None, status=503,
                   code="ServiceUnavailable")
    assert seen(server)[0] == 503


# conditions on generations are not a cache's to judge

def test_a_read_with_a_generation_goes_to_gcs(serve, emulator):
    item = put(emulator)
    server = serve(BOTH % "proxy_cache_valid any 1h; "
                   "proxy_ignore_headers Cache-Control Expires;")
    cached(server)
    right = {"x-goog-if-generation-match": str(item["generation"])}
    assert seen(server, headers=right) == (200, "BYPASS", OLD)
    assert seen(server, headers={**right, "Range": "bytes=0-3"}) == (
        206, "BYPASS", OLD[:4])
    for name in ("x-goog-if-generation-match",
                 "x-goog-if-metageneration-match"):
        assert seen(server, headers={name: "7"})[:2] == (412, "BYPASS")
    assert seen(server) == (200, "HIT", OLD)
    put(emulator, name="b")
    assert seen(server, "/b", {"x-goog-if-generation-match": "7"})[0] == 412
    assert seen(server, "/b") == (200, "MISS", OLD)


def test_who_cannot_know_a_generation_does_not_get_past_the_cache(
        serve, emulator):
    put(emulator)
    server = serve("""
        location /r/ { gcs_pass gs://test-bucket/; proxy_cache z; }
        location /g/ { gcs_pass gs://test-bucket/; proxy_cache z;
                       gcs_pass_header x-goog-metageneration; }
    """)
    cached(server, "/r/a")
    for name in ("x-goog-if-generation-match",
                 "x-goog-if-metageneration-match"):
        assert seen(server, "/r/a", {name: "7"}) == (200, "HIT", OLD)
        assert seen(server, "/g/a", {name: "7"})[:2] == (412, "BYPASS")


def test_the_user_s_own_bypass_still_holds(serve, emulator):
    put(emulator)
    server = serve(BOTH % "proxy_no_cache $arg_n;",
                   http="proxy_cache_bypass $arg_b;")
    assert seen(server, "/a?n=1") == (200, "MISS", OLD)
    assert seen(server, "/a") == (200, "MISS", OLD)
    assert seen(server, "/a?b=1") == (200, "BYPASS", OLD)
    assert seen(server, "/a") == (200, "HIT", OLD)


def test_slices_are_asked_for_with_the_generation(serve, emulator):
    item = put(emulator, None, size=200000, seed=1)
    server = serve(BOTH % "slice 64k;")
    right = {"x-goog-if-generation-match": str(item["generation"])}
    assert seen(server, headers=right)[2] == content(1, 0, 200000)
    for record in emulator.requests("storage"):
        assert ["x-goog-if-generation-match", str(item["generation"])] in [
            [name.lower(), value] for name, value in record["headers"]]
    assert seen(server, headers={"x-goog-if-generation-match": "7"})[0] == 412


# where nothing is written, nothing changes

def test_without_writes_the_key_is_the_name_alone(nginx, emulator, key_file,
                                                  bucket):
    put(emulator)
    server = nginx(HTTP, server="""
        location / { gcs_pass gs://test-bucket/; proxy_cache z; }""")
    server.wait_log("token refreshed")
    cached(server)
    keys = [line for path in (server.dir / "cache").rglob("*")
            if path.is_file() for line in path.read_bytes().split(b"\n")
            if line.startswith(b"KEY: ")]
    assert keys == [b"KEY:  gs://test-bucket/a"]
    assert "gcs_written" not in server.log()

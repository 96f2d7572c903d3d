"""gcs_index, gcs_not_found, and the redirect to a folder."""

from __future__ import annotations

import gzip
import socket
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from harness.client import Connection
from harness.nginx import wait_until

CONF = """
    gcs_credentials reader {{ file %%KEY%%; }}
    gcs_auth reader;
    gcs_endpoint %%EMULATOR%%;
    {http}
    server {{
        listen 127.0.0.1:%%PORT%%;
        {server}
    }}
"""
FILES = "location /files/ { gcs_pass gs://test-bucket/base/; %s }"
INDEX = b"<h1>the index</h1>"
OTHER = b"<h1>not here</h1>"


@pytest.fixture
def serve(nginx, emulator, key_file):
    def make(inside="", *, http="", server=None, **kw):
        return nginx(CONF.format(http=http, server=server or FILES % inside),
                     **kw)
    return make


@pytest.fixture
def filled(emulator, bucket):
    for name, body in (("base/index.html", INDEX),
                       ("base/dir/index.html", INDEX + b" of dir"),
                       ("base/bare/a.txt", b"a"), ("base/deep/x/y", b"y"),
                       ("base/404.html", OTHER), ("base/file", b"file"),
                       ("secret/a", b"s"), ("base/é x/z", b"z")):
        emulator.put_object(bucket, name, body, content_type="text/html")
    return bucket


def asked(emulator) -> list[str]:
    """What GCS was asked: names, and "LIST prefix" for listings."""
    found = []
    for record in emulator.requests("storage"):
        url = urlsplit(record["target"])
        query = parse_qs(url.query)
        if "prefix" in query or url.path.endswith("/o"):
            found.append("LIST " + query.get("prefix", [""])[0])
        else:
            found.append(record["method"] + " "
                         + url.path.removeprefix("/test-bucket/"))
    return found


# gcs_index

def test_a_folder_is_its_index(serve, emulator, filled):
    server = serve("gcs_index index.html;")
    for path, body in (("/files/", INDEX), ("/files/dir/", INDEX + b" of dir"),
                       ("/files/?a=b", INDEX)):
        response = server.get(path)
        assert (response.status, response.body) == (200, body)
        assert response.get("Content-Type") == "text/html"
    assert asked(emulator) == ["GET base/index.html",
                               "GET base/dir/index.html",
                               "GET base/index.html"]


def test_head_conditions_and_ranges_are_those_of_the_index(serve, emulator,
                                                           filled):
    server = serve("gcs_index index.html;")
    head = server.request("HEAD", "/files/")
    assert head.status == 200
    assert head.get("Content-Length") == str(len(INDEX))
    etag = head.get("ETag")
    assert server.get("/files/", {"If-None-Match": etag}).status == 304
    part = server.get("/files/", {"Range": "bytes=0-3"})
    assert (part.status, part.body) == (206, INDEX[:4])
    assert server.get("/files/", {"If-Match": '"x"'}).status == 412
    assert emulator.requests("storage")[0]["method"] == "HEAD"


def test_a_folder_without_an_index_is_not_found(serve, emulator, filled):
    server = serve("gcs_index index.html;")
    assert server.get("/files/bare/").status == 404
    assert server.request("HEAD", "/files/bare/").status == 404
    assert asked(emulator) == ["GET base/bare/index.html",
                               "HEAD base/bare/index.html"]
    server.wait_log('"NoSuchKey"')


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_folder_without_an_index_is_listed(serve, emulator, filled, method):
    server = serve("gcs_index index.html; gcs_autoindex json;")
    with Connection(server.port) as connection:
        for _ in range(2):
            response = connection.request(method, "/files/bare/")
            assert response.status == 200
            assert response.get("Content-Type") == "application/json"
            if method == "GET":
                assert [e["name"] for e in response.json()] \
                    == ["base/bare/a.txt"]
                assert response.json()[0]["url"] == "/files/bare/a.txt"
        assert connection.request("GET", "/files/dir/").body \
            == INDEX + b" of dir"
    assert asked(emulator)[:2] == [method + " base/bare/index.html",
                                   "LIST base/bare/"]
    if method == "GET":
        assert emulator.connections()["storage"] == 1


def test_a_listing_after_an_index_has_all_pages_and_arguments(serve, emulator,
                                                              filled):
    names = [f"base/many/{n:03d}" for n in range(25)]
    for name in names:
        emulator.put_object(filled, name, b"x")
    emulator.configure(list_page=4)
    server = serve("gcs_index index.html; gcs_autoindex json;")
    assert [e["name"] for e in server.get("/files/many/").json()] == names
    assert [e["name"] for e in server.get("/files/many/?prefix=01").json()] \
        == names[10:20]
    assert server.get("/files/many/?limit=x").status == 400


def test_an_error_of_the_index_is_no_reason_to_list(serve, emulator, filled):
    server = serve("gcs_index index.html; gcs_autoindex json; "
                   "proxy_next_upstream off;")
    for status, mapped in ((403, 403), (500, 502), (503, 503), (400, 502)):
        emulator.fault(kind="storage", status=status)
        assert server.get("/files/bare/").status == mapped
    assert len(asked(emulator)) == 4


def test_a_missing_bucket_is_not_listed_nor_replaced(serve, emulator, filled):
    server = serve(server="""
        gcs_index index.html; gcs_autoindex json; gcs_not_found 404.html;
        location / { gcs_pass gs://no-such-bucket/; }
    """)
    assert server.get("/").status == 404
    assert server.get("/a").status == 404
    assert len(emulator.requests("storage")) == 2
    server.wait_log("NoSuchBucket")


def test_an_index_of_variables_and_of_buckets(serve, emulator, filled):
    server = serve(server="""
        gcs_index index.html; gcs_autoindex json;
        gcs_buckets test-bucket/base/;
        location ~ ^/b/(.*)$ { gcs_pass gs://test-bucket/$1; }
    """)
    assert server.get("/b/base/dir/").body == INDEX + b" of dir"
    assert server.get("/b/base/bare/").json()[0]["url"] == "/b/base/bare/a.txt"
    assert server.get("/b/secret/").status == 403
    assert server.get("/b/").status == 403


def test_a_write_to_a_folder_is_not_one_to_its_index(serve, emulator, filled):
    server = serve("gcs_index index.html; gcs_methods GET HEAD PUT DELETE;")
    server.request("PUT", "/files/dir/", body=b"overwritten")
    server.request("DELETE", "/files/dir/")
    assert server.get("/files/dir/").body == INDEX + b" of dir"
    assert "PUT base/dir/index.html" not in asked(emulator)


def test_an_index_is_cached_and_its_absence_is_not(serve, emulator, filled):
    emulator.put_object(filled, "base/index.html", INDEX,
                        cache_control="public, max-age=3600")
    server = serve("gcs_index index.html; gcs_autoindex json; proxy_cache z; "
                   "proxy_cache_valid any 1h; proxy_cache_lock on;",
                   http="proxy_cache_path %%DIR%%/cache keys_zone=z:1m;")
    server.wait_log("token refreshed")
    for _ in range(2):
        assert server.get("/files/").body == INDEX
        assert server.get("/files/index.html").body == INDEX
        assert len(server.get("/files/bare/").json()) == 1
    assert asked(emulator) == ["GET base/index.html"] + [
        "GET base/bare/index.html", "LIST base/bare/"] * 2
    emulator.put_object(filled, "base/bare/index.html", b"now")
    assert server.get("/files/bare/").body == b"now"


def test_a_stale_index_is_served_where_that_is_wanted(serve, emulator,
                                                      filled):
    emulator.put_object(filled, "base/index.html", INDEX,
                        cache_control="public, max-age=1")
    server = serve("gcs_index index.html; gcs_autoindex json; proxy_cache z; "
                   "proxy_cache_use_stale http_404;",
                   http="proxy_cache_path %%DIR%%/cache keys_zone=z:1m;")
    server.wait_log("token refreshed")
    assert server.get("/files/").body == INDEX
    emulator.delete_object(filled, "base/index.html")
    time.sleep(2.1)
    assert server.get("/files/").body == INDEX
    assert asked(emulator)[-1] == "GET base/index.html"


def test_an_index_may_be_presigned(serve, emulator, filled, key_file):
    server = serve("gcs_index index.html; gcs_mode presign; "
                   "gcs_endpoint %%EMULATOR_TLS%%;")
    response = server.get("/files/dir/")
    assert response.status == 303
    assert urlsplit(response.get("Location")).path \
        == "/test-bucket/base/dir/index.html"
    assert emulator.requests("storage") == []


# the redirect

def test_a_folder_without_its_slash_is_redirected(serve, emulator, filled):
    server = serve("gcs_autoindex json; absolute_redirect off;")
    for method in ("GET", "HEAD"):
        response = server.request(method, "/files/bare?a=b&c=%20")
        assert response.status == 301
        assert response.get("Location") == "/files/bare/?a=b&c=%20"
    assert asked(emulator) == ["GET base/bare", "LIST base/bare/",
                               "HEAD base/bare", "LIST base/bare/"]
    query = parse_qs(urlsplit(emulator.requests("storage")[1]["target"]).query)
    assert query["maxResults"] == ["1"]
    assert server.get("/files/deep/x").get("Location") == "/files/deep/x/"
    assert server.get("/files/%C3%A9%20x").get("Location") \
        == "/files/%C3%A9%20x/"
    assert server.get("/files/file").body == b"file"


def test_the_redirect_is_as_nginx_is_told(serve, emulator, filled):
    server = serve("gcs_index index.html;")
    host = f"127.0.0.1:{server.port}"
    assert server.get("/files/bare").get("Location") \
        == f"http://{host}/files/bare/"
    server = serve("gcs_index index.html; port_in_redirect off; "
                   "server_name_in_redirect on;",
                   http="server_names_hash_bucket_size 64;")
    assert server.get("/files/bare").get("Location").endswith("/files/bare/")
    assert f":{server.port}" not in server.get("/files/bare").get("Location")


@pytest.mark.parametrize("inside", ["", "gcs_autoindex off;",
                                    "gcs_not_found 404.html;"])
def test_without_listing_and_index_there_is_no_redirect(serve, emulator,
                                                        filled, inside):
    assert serve(inside).get("/files/bare").status == 404
    assert not [line for line in asked(emulator) if line.startswith("LIST")]


def test_what_is_neither_object_nor_folder_is_not_found(serve, emulator,
                                                        filled):
    server = serve("gcs_autoindex json;")
    for path in ("/files/none", "/files/bar", "/files/file%2Fx"):
        assert server.get(path).status == 404
    assert server.request("HEAD", "/files/none").status == 404
    server.wait_log('404 "NoSuchKey"')
    for line in server.log().splitlines():
        assert "gcs responded" not in line \
            or 'for "gs://test-bucket/base/' in line


@pytest.mark.parametrize("status", [400, 403, 404, 302])
def test_who_may_not_list_is_told_of_nothing(serve, emulator, filled, status):
    server = serve("gcs_autoindex json;")
    emulator.fault(kind="storage", path="/o[?]", status=status)
    assert server.get("/files/bare").status == 404


def test_a_probe_that_fails_is_tried_again_and_then_an_error(serve, emulator,
                                                             filled):
    server = serve("gcs_autoindex json; absolute_redirect off;")
    for status in (429, 503, 401):
        emulator.fault(kind="storage", path="/o[?]", status=status)
        assert server.get("/files/bare").status == 301
    emulator.fault(kind="storage", path="/o[?]", status=503, count=9)
    assert server.get("/files/bare").status == 503


@pytest.mark.parametrize("how", [{"chunked": True}, {"close": True},
                                 {"silent_close": True}, {"delay": 0.1}])
def test_the_answer_to_the_probe_comes_in_any_form(serve, emulator, filled,
                                                   how):
    server = serve("gcs_autoindex json; absolute_redirect off;")
    emulator.fault(kind="storage", count=None, **how)
    assert server.get("/files/bare").get("Location") == "/files/bare/"
    assert server.get("/files/none").status == 404


def test_a_redirect_leads_to_no_other_host(serve, emulator, bucket):
    for name in ("evil.com/x", "/evil.com/x", "a/evil.com/x"):
        emulator.put_object(bucket, name, b"x")
    server = serve(server="""
        gcs_autoindex json; absolute_redirect off; merge_slashes off;
        location / { gcs_pass gs://test-bucket/; }
    """)
    assert server.get("//evil.com").status in (400, 404)
    assert server.get("/evil.com").get("Location") == "/evil.com/"
    assert server.get("/a/evil.com%0d%0aSet-Cookie:a").status in (400, 404)


def test_what_the_client_did_not_ask_for_is_not_redirected(serve, emulator,
                                                           filled):
    server = serve(server="""
        gcs_autoindex json; absolute_redirect off;
        location /files/ { internal; gcs_pass gs://test-bucket/base/; }
        location /pretty/ { rewrite ^/pretty/(.*)$ /files/$1 last; }
        location /page { error_page 418 /files/bare; return 418; }
    """)
    assert server.get("/pretty/bare").status == 404
    assert server.get("/page").status == 404
    assert server.get("/pretty/file").body == b"file"


def test_a_folder_of_variables_is_redirected(serve, emulator, filled):
    server = serve(server="""
        gcs_autoindex json; absolute_redirect off;
        gcs_buckets test-bucket/base/;
        location ~ ^/b/(.*)$ { gcs_pass gs://test-bucket/$1; }
        location = /fixed { gcs_pass gs://test-bucket/base/bare$empty; }
    """, http='map $uri $empty { default ""; }')
    assert server.get("/b/base/bare").get("Location") == "/b/base/bare/"
    assert server.get("/b/secret").status == 403
    assert server.get("/fixed").status == 404


def test_an_hmac_key_probes_by_the_xml_api(nginx, emulator, filled, tmp_path):
    access, secret = emulator.hmac_key(
        "hmac@demo-project.iam.gserviceaccount.com",
        grants={filled: ["objectViewer"]})
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_text(secret)
    server = nginx("""
        gcs_credentials hmac { hmac_key %%ID%% %%SECRET%%; }
        gcs_auth hmac; gcs_endpoint %%EMULATOR%%; absolute_redirect off;
    """, server=FILES % "gcs_index index.html; gcs_autoindex json; "
                        "gcs_not_found 404.html;",
        ID=access, SECRET=path, secrets=[secret])
    assert server.get("/files/bare").get("Location") == "/files/bare/"
    assert server.get("/files/none").body == OTHER
    assert len(server.get("/files/bare/").json()) == 1
    assert server.get("/files/dir/").body == INDEX + b" of dir"


# gcs_not_found

def test_another_object_is_served_for_what_is_not_found(serve, emulator,
                                                        filled):
    server = serve("gcs_not_found 404.html;")
    for path in ("/files/none", "/files/x/y/", "/files/none?a=b"):
        response = server.get(path)
        assert (response.status, response.body) == (404, OTHER)
        assert response.get("Content-Type") == "text/html"
    head = server.request("HEAD", "/files/none")
    assert head.status == 404
    assert head.get("Content-Length") == str(len(OTHER))
    assert server.get("/files/file").body == b"file"
    assert asked(emulator)[:2] == ["GET base/none", "GET base/404.html"]


@pytest.mark.parametrize("code", [200, 403, 404, 410, 503])
def test_it_has_the_status_that_is_given(serve, emulator, filled, code):
    server = serve(f"gcs_not_found 404.html ={code};")
    response = server.get("/files/none")
    assert (response.status, response.body) == (code, OTHER)


def test_a_page_of_an_application_takes_conditions_and_ranges(serve, emulator,
                                                              filled):
    server = serve("gcs_not_found index.html =200; gcs_index index.html;")
    response = server.get("/files/some/route")
    assert (response.status, response.body) == (200, INDEX)
    etag = response.get("ETag")
    assert server.get("/files/some/route",
                      {"If-None-Match": etag}).status == 304
    part = server.get("/files/some/route", {"Range": "bytes=1-2"})
    assert (part.status, part.body) == (206, INDEX[1:3])
    assert server.get("/files/some/").body == INDEX


@pytest.mark.parametrize("headers", [
    {"Range": "bytes=0-3"}, {"If-None-Match": "*"}, {"If-Match": '"x"'},
    {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}])
@pytest.mark.parametrize("more", ["", "slice 5; proxy_cache z;",
                                  "proxy_cache z;"])
def test_a_page_of_an_error_is_always_whole(serve, emulator, filled, headers,
                                            more):
    emulator.put_object(filled, "base/404.html", OTHER,
                        cache_control="public, max-age=60")
    server = serve("gcs_not_found 404.html;" + more,
                   http="proxy_cache_path %%DIR%%/cache keys_zone=z:1m;")
    for _ in range(2):
        response = server.get("/files/none", headers)
        assert (response.status, response.body) == (404, OTHER)


def test_when_that_is_missing_too_it_is_a_plain_404(serve, emulator, filled):
    server = serve("gcs_not_found gone.html =200; "
                   "error_page 404 /files/404.html;")
    response = server.get("/files/none")
    assert (response.status, response.body) == (404, OTHER)
    assert asked(emulator)[:2] == ["GET base/none", "GET base/gone.html"]
    server = serve("gcs_not_found gone.html =200;")
    assert server.get("/files/none").status == 404
    server.wait_log("gone.html")


def test_only_404_of_a_read_is_replaced(serve, emulator, filled):
    server = serve("gcs_not_found 404.html =200; proxy_next_upstream off; "
                   "gcs_methods GET HEAD DELETE;")
    for status, mapped in ((403, 403), (412, 412), (500, 502), (503, 503)):
        emulator.fault(kind="storage", status=status)
        assert server.get("/files/none").status == mapped
    emulator.fault(kind="storage", status=404)
    assert server.request("DELETE", "/files/none").status == 404
    assert "GET base/404.html" not in asked(emulator)


def test_first_comes_the_folder_then_the_replacement(serve, emulator, filled):
    server = serve("gcs_index index.html; gcs_autoindex json; "
                   "gcs_not_found 404.html; absolute_redirect off;")
    assert server.get("/files/bare").status == 301
    assert len(server.get("/files/bare/").json()) == 1
    emulator.reset_requests()
    assert server.get("/files/none").body == OTHER
    assert asked(emulator) == ["GET base/none", "LIST base/none/",
                               "GET base/404.html"]


def test_it_is_no_way_out_of_the_buckets(serve, emulator, filled):
    server = serve(server="""
        gcs_buckets test-bucket/base/dir/; gcs_not_found secret/a =200;
        location ~ ^/b/(.*)$ { gcs_pass gs://test-bucket/$1; }
    """)
    assert server.get("/b/base/dir/none").status == 404
    assert "GET secret/a" not in asked(emulator)


def test_it_is_cached_under_its_own_name_alone(serve, emulator, filled):
    emulator.put_object(filled, "base/404.html", OTHER,
                        cache_control="public, max-age=60")
    for key in ("", "proxy_cache_key $uri;"):
        server = serve("gcs_not_found 404.html; proxy_cache z; "
                       "proxy_cache_valid any 1h;" + key,
                       http="proxy_cache_path %%DIR%%/cache keys_zone=z:1m;")
        for _ in range(3):
            response = server.get("/files/none")
            assert (response.status, response.body) == (404, OTHER)
        for n in range(3):
            assert server.get(f"/files/none{n}").body == OTHER
        assert server.get("/files/404.html").status == 200
        # the file comes to its place when the client has its answer
        wait_until(lambda: len(list((server.dir / "cache").iterdir())) == 1)
        emulator.put_object(filled, "base/none", b"there now")
        assert server.get("/files/none").body == b"there now"
        emulator.delete_object(filled, "base/none")


@pytest.mark.parametrize("key", ["", "proxy_cache_key $uri$slice_range;"])
def test_its_slices_are_not_those_of_what_is_missing(serve, emulator, filled,
                                                     key):
    server = serve("gcs_not_found 404.html =200; slice 4; proxy_cache z; "
                   "proxy_cache_valid any 1h;" + key,
                   http="proxy_cache_path %%DIR%%/cache keys_zone=z:1m;")
    for name in ("404.html", "index.html", "none"):
        emulator.put_object(filled, "base/" + name,
                            (name * 5).encode(),
                            cache_control="public, max-age=60")
    emulator.delete_object(filled, "base/none")
    for _ in range(2):
        assert server.get("/files/none").body == b"404.html" * 5
    emulator.put_object(filled, "base/none", b"there now, and long",
                        cache_control="public, max-age=60")
    assert server.get("/files/none").body == b"there now, and long"


def test_nothing_is_stored_in_the_place_of_another(serve, emulator, filled):
    server = serve("gcs_not_found 404.html =200; gcs_index index.html; "
                   "proxy_store %%DIR%%/store$uri;")
    assert server.get("/files/none").body == OTHER
    assert server.get("/files/dir/").body == INDEX + b" of dir"
    assert server.get("/files/file").body == b"file"
    wait_until((server.dir / "store/files/file").exists)
    stored = [path.name for path in (server.dir / "store").rglob("*")
              if path.is_file()]
    assert stored == ["file"]


# how it ends

@pytest.mark.parametrize("skip", [0, 1, 2])
@pytest.mark.parametrize("fault", [{"delay": 0.3}, {"hang": True},
                                   {"status": 503}])
def test_a_client_that_leaves_at_any_step(serve, emulator, filled, skip,
                                          fault):
    server = serve("gcs_autoindex json; gcs_not_found 404.html;")
    workers = set(server.children())
    for _ in range(3):
        emulator.fault(kind="storage", skip=skip, count=1, **fault)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /files/none HTTP/1.1\r\nHost: a\r\n\r\n")
            time.sleep(0.1)
        time.sleep(0.1)
        emulator.clear_faults()
    time.sleep(0.4)
    assert server.get("/files/none").body == OTHER
    assert set(server.children()) == workers


def test_connections_are_kept_from_step_to_step(serve, emulator, filled):
    server = serve("gcs_autoindex json; gcs_not_found 404.html;")
    with Connection(server.port) as connection:
        for _ in range(20):
            assert connection.get("/files/none").body == OTHER
            assert connection.get("/files/file").body == b"file"
    assert len(emulator.requests("storage")) == 80
    assert emulator.connections()["storage"] == 1


def test_a_token_is_waited_for_at_any_step(serve, emulator, filled):
    for skip in range(3):
        server = serve("gcs_autoindex json; gcs_not_found 404.html;")
        emulator.fault(kind="storage", skip=skip, status=401)
        emulator.fault(kind="token", skip=1, delay=0.2)
        assert server.get("/files/none").body == OTHER
        emulator.clear_faults()


def test_the_access_log_tells_of_every_step(serve, emulator, filled):
    server = serve("gcs_autoindex json; gcs_not_found 404.html;", http="""
        log_format mine '$status "$upstream_status" "$gcs_object" "$gcs_error"';
        access_log %%DIR%%/mine.log mine;
    """)
    server.get("/files/none")
    log = server.dir / "mine.log"
    end = time.monotonic() + 5
    while time.monotonic() < end and not log.read_text():
        time.sleep(0.02)
    assert log.read_text() \
        == '404 "404 : 200 : 200" "base/404.html" "-"\n'


# what may be written

@pytest.mark.parametrize("directive, word", [
    ("gcs_index /index.html;", "name of an object"),
    ("gcs_index a/;", "name of an object"),
    ("gcs_index ../a;", "name of an object"),
    ("gcs_index $uri;", "name of an object"),
    ("gcs_index a; gcs_index b;", "is duplicate"),
    ("gcs_not_found /a;", "name of an object"),
    ("gcs_not_found a/../b;", "name of an object"),
    ("gcs_not_found a 404;", "neither"), ("gcs_not_found a =301;", "neither"),
    ("gcs_not_found a =600;", "neither"), ("gcs_not_found a =;", "neither"),
    ("gcs_not_found a; gcs_not_found b;", "is duplicate"),
    ("gcs_mode presign; gcs_not_found a; gcs_endpoint https://a.example;",
     '"gcs_not_found" cannot be used')])
def test_what_makes_no_sense_is_refused(serve, directive, word):
    assert word in serve(directive, start=False).refusal()


def test_a_location_may_take_them_back(serve, emulator, filled):
    server = serve(server="""
        gcs_index index.html; gcs_not_found 404.html =200;
        location /files/ { gcs_pass gs://test-bucket/base/; }
        location /plain/ {
            gcs_pass gs://test-bucket/base/;
            gcs_index off; gcs_not_found off;
        }
    """)
    assert server.get("/files/").body == INDEX
    assert server.get("/files/none").status == 200
    assert server.get("/plain/").status == 404
    assert server.get("/plain/none").status == 404


def test_cross_origin_rules_hold_for_all_of_it(serve, emulator, filled):
    server = serve("gcs_index index.html; gcs_autoindex json; "
                   "gcs_not_found 404.html; gcs_cors https://one.example; "
                   "absolute_redirect off;")
    for path, status in (("/files/", 200), ("/files/bare/", 200),
                         ("/files/bare", 301), ("/files/none", 404)):
        response = server.get(path, {"Origin": "https://one.example"})
        assert response.status == status
        assert response.get("Access-Control-Allow-Origin") \
            == "https://one.example"


def test_a_compressed_page_is_plain_also_where_objects_come_in_slices(
        serve, emulator, filled):
    text = b"not here, " * 500
    emulator.put_object(filled, "base/404.html", gzip.compress(text),
                        content_encoding="gzip", content_type="text/html")
    server = serve("gcs_not_found 404.html; slice 1k;")
    answer = server.get("/files/none")
    assert (answer.status, answer.body) == (404, text)
    assert "content-encoding" not in answer.names

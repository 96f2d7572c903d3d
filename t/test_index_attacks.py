"""gcs_index, gcs_not_found, redirects and listings under attack."""

from __future__ import annotations

import re
import socket
import time

import pytest

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
CACHE = "proxy_cache_path %%DIR%%/cache keys_zone=z:1m;"
OTHER = b"<h1>not here</h1>"
INDEX = b"<h1>the index</h1>"


@pytest.fixture
def serve(nginx, emulator, key_file):
    def make(server, *, http="", **kw):
        return nginx(CONF.format(http=http, server=server), **kw)
    return make


@pytest.fixture
def filled(emulator, bucket):
    for name, body in (("base/404.html", OTHER),
                       ("base/dir/a.txt", b"a"),
                       ("pages/page", b'<!--#include virtual="/files/none" -->'
                                      b'<!--#include virtual="/files/dir" -->'
                                      b'<!--#include virtual="/files/dir/" -->'
                        )):
        emulator.put_object(bucket, name, body, content_type="text/html")
    return bucket


# 404 that is cached

FILES = """location /files/ {
        gcs_pass gs://test-bucket/base/; gcs_index index.html;
        gcs_autoindex json; gcs_not_found 404.html;
        proxy_cache z; proxy_cache_valid 404 1h; proxy_cache_valid 200 1s;
        proxy_ignore_headers Cache-Control Expires;
    }"""


def as_it_should_be(server):
    none = server.get("/files/none")
    assert (none.status, none.body) == (404, OTHER)
    assert server.get("/files/dir").status == 301
    assert [entry["name"] for entry in server.get("/files/dir/").json()]


def test_a_404_that_a_subrequest_has_cached_hides_nothing(serve, emulator,
                                                          filled):
    server = serve(FILES + """ location /pages/ {
        gcs_pass gs://test-bucket/pages/; ssi on; }""", http=CACHE)
    server.wait_log("token refreshed")
    server.get("/pages/page")
    as_it_should_be(server)


# redirects and links to other hosts

@pytest.mark.parametrize("path", [
    "//evil.com", "/\\evil.com", "/%5Cevil.com", "/%2Fevil.com",
    "///evil.com", "/.//evil.com", "/a/..//evil.com", "/%09/evil.com",
    "/%0d%0aX-Evil:%201", "/%2e%2e%2fevil.com", "/evil.com%3f", "/;evil.com",
    "/x@evil.com", "/%E2%80%AEevil"])
@pytest.mark.parametrize("absolute", ["on", "off"])
def test_a_redirect_stays_on_this_host(serve, emulator, filled, path,
                                       absolute):
    server = serve("merge_slashes off; absolute_redirect %s; location / { "
                   "gcs_pass gs://test-bucket; gcs_autoindex html; }"
                   % absolute)
    from urllib.parse import unquote
    name = unquote(path)[1:]
    for key in {name, name.lstrip("/"), "evil.com"}:
        try:
            emulator.put_object(filled, key + "/x", b"x")
        except Exception:
            pass
    with socket.create_connection(("127.0.0.1", server.port)) as c:
        c.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n"
                  "Connection: close\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            more = c.recv(65536)
            if not more:
                break
            head += more
    head = head.split(b"\r\n\r\n")[0].decode("latin1")
    assert "X-Evil" not in [h.split(":")[0] for h in head.split("\r\n")], head
    location = re.search("(?m)^Location: (.*?)\r?$", head)
    if location:
        value = location.group(1)
        rest = value.removeprefix("http://a")
        rest = rest.removeprefix(":%d" % server.port)
        assert re.match(r"/($|[^/\\])", rest), head
        assert "\\" not in rest and "\t" not in rest


def test_a_listing_of_a_path_of_two_slashes_links_to_this_host(
        serve, emulator, filled):
    emulator.put_object(filled, "/evil.com/x", b"x")
    emulator.put_object(filled, "/evil.com/y/z", b"x")
    server = serve("merge_slashes off; location / { "
                   "gcs_pass gs://test-bucket; gcs_autoindex html; }")
    text = server.get("//evil.com/").text
    for link in re.findall('(?:href|action|src)="([^"]*)"', text):
        assert not re.match(r"[/\\]{2}|[a-z]+:", link), link


# in the midst of things

def test_text_is_added_around_a_long_listing(serve, emulator, filled):
    for i in range(40):
        emulator.put_object(filled, f"base/many/{i:03}", b"x")
    server = serve("""location /files/ {
        gcs_pass gs://test-bucket/base/; gcs_autoindex html;
        gcs_index index.html;
        add_before_body /text/404.html; add_after_body /text/404.html;
        addition_types *; ssi on; sub_filter 03 03; sub_filter_once off;
        gzip on; gzip_min_length 1; gzip_types *; }
        location /text/ { gcs_pass gs://test-bucket/base/; }""")
    for accept in ("text/html", "application/json", "application/jsonl"):
        for _ in range(3):
            answer = server.get("/files/many/", headers={"Accept": accept})
            assert answer.body.startswith(OTHER) and \
                answer.body.endswith(OTHER), answer.body[-300:]


@pytest.mark.parametrize("path", ["/files/none", "/files/dir", "/files/dir/"])
def test_clients_of_subrequests_errors_and_post_action(serve, emulator, filled,
                                                       path):
    server = serve(FILES.replace("proxy_cache z;", """
            proxy_read_timeout 1s; proxy_next_upstream off;
            error_page 404 502 503 504 /files/again;
            recursive_error_pages on;
            post_action /files/none;
            mirror /files/none;""")
        + " location /accel/ { gcs_pass gs://test-bucket/base/; "
          "gcs_not_found nothing; error_page 404 = /files$uri; }", http=CACHE)
    server.get(path)
    wait_until(lambda: len(server.children()) >= 2)
    time.sleep(0.3)
    for fault in ({"delay": 0.05}, {"status": 503}, {"hang": True},
                  {"status": 401}, {"status": 404}, {}):
        for skip in range(3):
            if fault:
                emulator.fault(kind="storage", skip=skip, count=1, **fault)
            with socket.create_connection(("127.0.0.1", server.port)) as c:
                c.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"
                          f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                time.sleep(0.12)
            emulator.clear_faults()
    server.get("/accel/none")
    server.get("/accel/dir/")
    wait_until(lambda: server.get(path).status in (200, 301, 404))
    assert "exited on signal" not in server.log()


def test_a_reload_while_things_are_asked_for(serve, emulator, filled):
    server = serve(FILES, http=CACHE)
    server.wait_log("token refreshed")
    emulator.fault(kind="storage", skip=1, count=3, delay=0.6)
    socks = []
    for path in ("/files/none", "/files/dir", "/files/dir/"):
        c = socket.create_connection(("127.0.0.1", server.port))
        c.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n"
                  "Connection: close\r\n\r\n".encode())
        socks.append(c)
    time.sleep(0.2)
    server.reload()
    for c in socks:
        c.settimeout(10)
        data = b""
        while more := c.recv(65536):
            data += more
        assert data.startswith(b"HTTP/1.1 "), data
        assert data.split()[1] in (b"404", b"301", b"200")
    as_it_should_be(server)


@pytest.mark.parametrize("target, recursive", [
    ("/", "on"), ("/?prefix=/evil.com/", "off"), ("/?prefix=/", "off")])
def test_a_name_that_begins_with_a_slash_links_to_this_host(
        serve, emulator, filled, target, recursive):
    emulator.put_object(filled, "/evil.com/x", b"x")
    server = serve("location / { gcs_pass gs://test-bucket; gcs_autoindex "
                   "html; gcs_autoindex_recursive %s; }" % recursive)
    text = server.get(target).text
    assert "evil.com" in text
    for link in re.findall('(?:href|action|src)="([^"]*)"', text):
        assert not re.match(r"[/\\]{2}|[a-z]+:", link), link
    entries = server.get(target, headers={"Accept": "application/json"}).json()
    for entry in entries:
        assert not (entry.get("url") or "").startswith("//"), entry


def curl(server, path, *more, timeout=10):
    import subprocess
    return subprocess.run(
        ["curl", "-s", "--http2-prior-knowledge", *more,
         f"http://127.0.0.1:{server.port}{path}"],
        capture_output=True, timeout=timeout)


def test_http2_clients_of_every_step(nginx, emulator, filled, key_file):
    for i in range(30):
        emulator.put_object(filled, f"base/many/{i:03}", b"x" * 3)
    server = nginx(
        CONF.replace("%%PORT%%;", "%%PORT%%; listen "
                     "unix:%%DIR%%/h2.sock http2;").format(
            http=CACHE, server=FILES))
    sock = ["--unix-socket", str(server.dir / "h2.sock")]
    assert curl(server, "/files/none", *sock).stdout == OTHER
    assert b"301" in curl(server, "/files/dir", *sock).stdout
    assert curl(server, "/files/many/", *sock).stdout.count(b"many") == 90
    assert curl(server, "/files/many/", *sock, "-d", "x" * 9000, "-X",
                "GET").stdout.count(b"many") == 90
    for path in ("/files/none", "/files/dir", "/files/many/"):
        for skip in range(3):
            emulator.fault(kind="storage", skip=skip, count=1, delay=0.4)
            curl(server, path, *sock, "--max-time", "0.2")
            emulator.clear_faults()
    time.sleep(0.5)
    assert curl(server, "/files/none", *sock).stdout == OTHER
    assert "exited on signal" not in server.log()

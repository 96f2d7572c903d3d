"""gcs_autoindex: a folder of a bucket as a page, or as data."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from harness.client import Connection, Truncated
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
NAMES = ["base/a.txt", "base/b c.jpg", "base/dir/one", "base/dir/sub/two",
         "base/é.png", "base/zoo/x", "other/secret"]


@pytest.fixture
def serve(nginx, emulator, key_file):
    def make(inside="gcs_autoindex json;", *, http="", server=None, **kw):
        return nginx(CONF.format(http=http, server=server or FILES % inside),
                     **kw)
    return make


@pytest.fixture
def filled(emulator, bucket):
    for name in NAMES:
        emulator.put_object(bucket, name, b"x" * 10, content_type="text/plain")
    return bucket


def fill(emulator, bucket, count, prefix="base/"):
    names = [f"{prefix}{n:06d}" for n in range(count)]
    for name in names:
        emulator.put_object(bucket, name, b"x")
    return names


def listings(emulator) -> list[dict[str, str]]:
    """The queries of the listings that were asked for."""
    found = []
    for record in emulator.requests("storage"):
        url = urlsplit(record["target"])
        found.append({key: values[0]
                      for key, values in parse_qs(url.query).items()})
    return found


def names(response, kind=None) -> list[str]:
    assert response.status == 200
    return [entry["name"] for entry in response.json()
            if kind in (None, entry["type"])]


# formats

def test_a_folder_is_told_in_json(serve, emulator, filled):
    server = serve()
    response = server.get("/files/")
    assert response.status == 200
    assert response.get("Content-Type") == "application/json"
    assert "etag" not in response.names
    assert response.get("Content-Length") is None
    assert response.get("Vary") == "Accept"
    entries = {entry["name"]: entry for entry in response.json()}
    assert sorted(entries) == ["base/a.txt", "base/b c.jpg", "base/dir/",
                               "base/zoo/", "base/é.png"]
    entry = entries["base/b c.jpg"]
    assert entry["size"] == 10
    assert entry["contentType"] == "text/plain"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", entry["updated"])
    assert entry["generation"].isdigit()
    assert entry["uri"] == "gs://test-bucket/base/b c.jpg"
    assert entry["url"] == "/files/b%20c.jpg"
    assert entries["base/dir/"] == {
        "type": "folder", "name": "base/dir/", "url": "/files/dir/",
        "uri": "gs://test-bucket/base/dir/"}
    for entry in entries.values():
        if entry["type"] == "object":
            assert server.get(entry["url"]).body == b"x" * 10


def test_a_folder_within_is_told_as_well(serve, emulator, filled):
    server = serve()
    assert sorted(names(server.get("/files/dir/"))) == ["base/dir/one",
                                                        "base/dir/sub/"]
    [query, *_] = listings(emulator)
    assert query["prefix"] == "base/dir/"
    assert query["delimiter"] == "/"


@pytest.mark.parametrize("accept, type_", [
    ("application/x-ndjson", "application/x-ndjson"),
    ("application/jsonl, */*", "application/jsonl"),
    ("text/html", "application/json"), ("*/*", "application/json")])
def test_the_client_says_whether_it_takes_lines(serve, emulator, filled,
                                                accept, type_):
    response = serve().get("/files/", {"Accept": accept})
    assert response.get("Content-Type") == type_
    if type_ != "application/json":
        lines = [json.loads(line) for line in response.text.splitlines()]
        assert len(lines) == 5


def test_a_page_for_people(serve, emulator, filled):
    server = serve("gcs_autoindex html;")
    response = server.get("/files/dir/?q=ON", {"Accept": "text/html,*/*"})
    assert response.get("Content-Type") == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.get("Content-Security-Policy")
    assert '<a href="/files/dir/one">one</a>' in response.text
    assert "sub" not in response.text.partition("<table>")[2]
    assert '<li><a href="../">files</a></li>' in response.text
    assert "<p>1 entry.</p>" in response.text
    assert response.text.endswith("</html>\n")
    other = server.get("/files/dir/", {"Accept": "application/json"})
    assert sorted(names(other)) == ["base/dir/one", "base/dir/sub/"]


def test_names_of_any_kind_are_told_and_lead_to_their_objects(
        serve, emulator, bucket):
    wild = ["<script>", "a&b", "q?x=1", "h#h", "per%41cent", "quo\"te'", "é☃",
            "\t tab", "a//b", "back\\slash", "+plus", "semi;colon"]
    for name in wild:
        emulator.put_object(bucket, "base/" + name, name.encode())
    server = serve("gcs_autoindex json; gcs_autoindex_recursive on;")
    entries = server.get("/files/").json()
    assert sorted(e["name"] for e in entries) \
        == sorted("base/" + name for name in wild)
    for entry in entries:
        assert server.get(entry["url"]).body == entry["name"][5:].encode()


def test_without_the_directive_a_folder_is_not_found(serve, emulator, filled):
    assert serve("").get("/files/").status == 404
    assert emulator.requests("storage") == []


# pages

@pytest.mark.parametrize("page", [1, 3, 10, 1000])
def test_all_pages_are_one_answer(serve, emulator, bucket, page):
    expected = fill(emulator, bucket, 25)
    emulator.configure(list_page=page)
    server = serve()
    with Connection(server.port) as connection:
        for _ in range(3):
            assert names(connection.get("/files/")) == expected
    assert len(listings(emulator)) == 3 * -(-25 // page)


def test_an_empty_folder_is_an_empty_array(serve, emulator, bucket):
    response = serve().get("/files/")
    assert response.json() == []


def test_a_client_turns_the_pages_by_token(serve, emulator, bucket):
    expected = fill(emulator, bucket, 5)
    server, found, query = serve(), [], "?limit=2"
    while query:
        entries = server.get("/files/" + query).json()
        query = ""
        if entries[-1]["type"] == "next":
            query = "?limit=2&token=" + quote(entries.pop()["token"], "")
        found.append([entry["name"] for entry in entries])
    assert found == [expected[:2], expected[2:4], expected[4:]]


def test_a_page_for_people_has_a_link_to_the_next(serve, emulator, bucket):
    fill(emulator, bucket, 5)
    emulator.configure(list_page=3)
    server = serve("gcs_autoindex html;")
    first = server.get("/files/").text
    assert "3 entries, and there is more" in first
    link = re.search(r'rel="next" href="([^"]*)"', first)[1]
    second = server.get("/files/" + link.replace("&amp;", "&")).text
    assert "<p>2 entries.</p>" in second
    assert ">000003</a>" in second and ">000002</a>" not in second
    assert len(listings(emulator)) == 2
    third = server.get("/files/?limit=1").text
    assert re.search(r'href="\?token=[^"]*&amp;limit=1"', third)


def test_pages_go_through_gzip_and_http_10(serve, emulator, bucket):
    expected = fill(emulator, bucket, 50)
    emulator.configure(list_page=7)
    server = serve(http="gzip on; gzip_types application/json;")
    response = server.get("/files/", {"Accept-Encoding": "gzip"})
    assert response.get("Content-Encoding") == "gzip"
    assert [e["name"] for e in json.loads(gzip.decompress(response.body))] \
        == expected
    with Connection(server.port) as connection:
        response = connection.request("GET", "/files/", version="1.0")
    assert names(response) == expected


# narrowing

def test_a_client_narrows_by_prefix_and_by_substring(serve, emulator, filled):
    server = serve("gcs_autoindex json; gcs_autoindex_recursive on;")
    assert names(server.get("/files/?prefix=dir/")) \
        == ["base/dir/one", "base/dir/sub/two"]
    assert names(server.get("/files/?q=B%20C")) == ["base/b c.jpg"]
    assert names(server.get("/files/?q=base")) == []
    assert names(server.get("/files/?prefix=d&q=TWO")) \
        == ["base/dir/sub/two"]


@pytest.mark.parametrize("prefix", ["../", "../other/", "dir/../../other/",
                                    "%2e%2e/other", "./"])
def test_no_prefix_leads_out_of_the_folder(serve, emulator, filled, prefix):
    assert serve().get(f"/files/?prefix={prefix}").status == 400
    assert emulator.requests("storage") == []


@pytest.mark.parametrize("query", [
    "prefix=%00", "prefix=%ff", "prefix=" + "a" * 1100, "limit=0",
    "limit=1001", "limit=x", "q=" + "a" * 257, "token=" + "a" * 4097])
def test_a_bad_argument_is_refused(serve, emulator, filled, query):
    assert serve().get("/files/?" + query).status == 400
    assert emulator.requests("storage") == []


def test_names_outside_of_the_prefix_are_never_told(serve, emulator, filled):
    emulator.fault(kind="storage", status=200,
                   content_type="application/json",
                   body=json.dumps({"items": [{"name": "other/secret"},
                                              {"name": "base/a"}],
                                    "prefixes": ["other/", "base/b/"]}))
    server = serve()
    assert names(server.get("/files/")) == ["base/a", "base/b/"]
    server.wait_log("names outside of")


@pytest.mark.parametrize("format_", ["json", "html"])
def test_a_token_of_another_listing_leads_nowhere_else(serve, emulator,
                                                       filled, format_):
    for n in range(9):
        emulator.put_object(filled, f"other/{n}", b"x")
    emulator.configure(list_page=3)
    server = serve(server=FILES % f"gcs_autoindex {format_};" + """
        location /other/ { gcs_pass gs://test-bucket/other/;
                           gcs_autoindex json; }
    """)
    [*_, more] = server.get("/other/?limit=3").json()
    for query in ("", "&prefix=d", "&q=1", "&limit=1"):
        response = server.get(f"/files/?token={more['token']}{query}")
        assert response.status in (200, 400)
        assert "other/" not in response.text.replace("/other/?", "")


def test_the_operator_filters_by_a_regex(serve, emulator, filled):
    server = serve(r"gcs_autoindex json; gcs_autoindex_filter \.(jpg|png)$;")
    assert names(server.get("/files/"), "object") \
        == ["base/b c.jpg", "base/é.png"]
    assert names(server.get("/files/"), "folder") == ["base/dir/",
                                                      "base/zoo/"]


def test_the_object_that_stands_for_the_folder_is_not_in_it(
        serve, emulator, bucket):
    for name in ("base/", "base/a", "base/d/"):
        emulator.put_object(bucket, name, b"")
    assert sorted(names(serve().get("/files/"))) == ["base/a", "base/d/"]


def test_gcs_buckets_bounds_the_listing(serve, emulator, filled):
    server = serve(server="""
        gcs_autoindex json; gcs_buckets test-bucket/base/;
        location ~ ^/b/(.*)$ { gcs_pass gs://test-bucket/$1; }
    """)
    assert len(names(server.get("/b/base/"))) == 5
    assert server.get("/b/base/").json()[0]["url"].startswith("/b/base/")
    assert server.get("/b/").status == 403
    assert server.get("/b/other/").status == 403


# errors

@pytest.mark.parametrize("status, mapped", [
    (403, 403), (404, 404), (400, 502), (304, 502), (206, 502)])
def test_an_error_before_the_first_byte_has_its_status(
        serve, emulator, filled, status, mapped):
    emulator.fault(kind="storage", status=status, content_type="text/plain",
                   body='{"error": {"code": 1, "message": "the cause"}}')
    server = serve()
    assert server.get("/files/").status == mapped
    if status >= 400:
        server.wait_log("the cause")


def test_a_listing_may_be_the_page_of_an_error(serve, emulator, filled):
    server = serve("gcs_autoindex json; error_page 404 /files/dir/;")
    response = server.get("/files/missing")
    assert response.status == 404
    assert sorted(entry["name"] for entry in response.json()) \
        == ["base/dir/one", "base/dir/sub/"]
    assert response.json()[0]["uri"].startswith("gs://test-bucket/base/dir/")


def test_nobody_in_particular_lists_what_is_public_alone(serve, emulator,
                                                         filled):
    emulator.create_bucket("public-bucket", public=True)
    emulator.put_object("public-bucket", "base/a", b"x")
    server = serve(server="""
        gcs_auth anonymous; gcs_autoindex json;
        location /files/ { gcs_pass gs://test-bucket/base/; }
        location /open/ { gcs_pass gs://public-bucket/base/; }
    """)
    assert server.get("/files/").status == 403
    assert names(server.get("/open/")) == ["base/a"]


def test_an_answer_that_is_no_listing_is_an_error(serve, emulator, filled):
    emulator.fault(kind="storage", status=200, body="<html>a portal</html>")
    server = serve()
    assert server.get("/files/").status == 502
    server.wait_log("the answer is not a listing")


@pytest.mark.parametrize("fault", [
    {"status": 403}, {"status": 404}, {"truncate_after": 50},
    {"reset_after": 50}, {"status": 200, "body": "{}"},
    {"status": 200, "content_type": "application/json", "body": '{"items":['},
    {"status": 200, "content_type": "application/json", "body": "{]}"}])
@pytest.mark.parametrize("skip", [0, 1, 3])
def test_an_error_in_the_midst_ends_the_answer_short(
        serve, emulator, bucket, fault, skip):
    fill(emulator, bucket, 50)
    emulator.put_object(bucket, "base/page.html", "a page")
    emulator.configure(list_page=10)
    server = serve("gcs_autoindex json; error_page 403 404 /files/page.html;")
    assert len(names(server.get("/files/"))) == 51
    emulator.fault(kind="storage", skip=skip, count=1, **fault)
    try:
        response = server.get("/files/")
    except Truncated as exc:
        text = exc.response.body if exc.response else b""
        assert b"a page" not in text
        with pytest.raises(ValueError):
            json.loads(text)
    else:
        assert skip == 0
        assert response.status != 200 \
            or (fault == {"status": 403} or fault == {"status": 404}) \
            or not response.body.endswith(b"]\n")
    assert len(names(server.get("/files/"))) == 51


@pytest.mark.parametrize("status, pages", [(401, [0]), (401, [2]),
                                           (429, [0, 1, 2]), (503, [0, 1, 2])])
def test_what_passes_is_tried_again_on_every_page(serve, emulator, bucket,
                                                  status, pages):
    expected = fill(emulator, bucket, 30)
    emulator.configure(list_page=10)
    server = serve()
    for skip in pages:
        emulator.fault(kind="storage", skip=skip, status=status)
        assert names(server.get("/files/")) == expected


def test_a_token_that_goes_round_in_circles_ends_it(serve, emulator, filled):
    emulator.fault(kind="storage", status=200, count=None,
                   content_type="application/json",
                   body=json.dumps({"nextPageToken": "again"}))
    server = serve()
    with pytest.raises(Truncated):
        server.get("/files/")
    server.wait_log("goes round in circles")
    assert len(listings(emulator)) == 2


def test_a_client_that_leaves_ends_it(serve, emulator, bucket):
    fill(emulator, bucket, 100)
    emulator.configure(list_page=1)
    server = serve()
    for _ in range(5):
        with Connection(server.port) as connection:
            connection.send(b"GET /files/ HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.sock.recv(100)
    assert len(names(server.get("/files/"))) == 100


# the rest of nginx

def test_head_tells_the_header_alone(serve, emulator, filled):
    server = serve()
    response = server.request("HEAD", "/files/")
    assert response.status == 200
    assert response.get("Content-Type") == "application/json"
    assert {record["method"] for record in emulator.requests("storage")} \
        == {"GET"}


def test_conditions_and_ranges_of_a_client_mean_nothing_here(
        serve, emulator, filled):
    server = serve("gcs_autoindex json; slice 1m;")
    for headers in ({"Range": "bytes=0-3"}, {"If-None-Match": "*"},
                    {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
                    {"If-Match": '"x"'}, {"Accept-Encoding": "gzip"}):
        assert len(names(server.get("/files/", headers))) == 5
    for record in emulator.requests("storage"):
        sent = {name.lower() for name, _ in record["headers"]}
        assert sent <= {"host", "authorization", "user-agent"}


def test_a_listing_is_not_cached_and_an_object_beside_it_is(
        serve, emulator, filled):
    emulator.put_object(filled, "base/c", b"x",
                        cache_control="public, max-age=3600")
    server = serve("gcs_autoindex json; proxy_cache z; "
                   "add_header X-Cache $upstream_cache_status;",
                   http="proxy_cache_path %%DIR%%/cache keys_zone=z:1m;")
    for _ in range(2):
        assert len(names(server.get("/files/"))) == 6
        assert len(names(server.get("/files/dir/"))) == 2
        server.get("/files/c")
    assert len(emulator.requests("storage")) == 5
    assert server.get("/files/c").get("X-Cache") == "HIT"


def test_only_reading_lists(serve, emulator, filled):
    server = serve("gcs_autoindex json; gcs_methods GET HEAD PUT DELETE;")
    for method in ("PUT", "DELETE"):
        assert server.request(method, "/files/", body=b"x").status == 405
    assert server.request("POST", "/files/", body=b"x").status == 405
    assert emulator.requests("storage") == []


def test_variables_of_the_access_log_outlive_the_pages(serve, emulator,
                                                       bucket):
    expected = fill(emulator, bucket, 30)
    emulator.configure(list_page=3)
    server = serve(http="""
        map $gcs_uri $mapped { default "m:$gcs_uri"; }
        log_format mine '"$gcs_uri" "$mapped" "$request_id" "$gcs_error"';
        access_log %%DIR%%/mine.log mine;
    """)
    for _ in range(3):
        assert names(server.get("/files/")) == expected


def test_a_bad_regex_is_refused(serve, emulator, key_file):
    server = serve("gcs_autoindex json; gcs_autoindex_filter (;", start=False)
    assert "pcre" in server.refusal().lower()


def test_a_second_filter_is_refused(serve):
    server = serve("gcs_autoindex json; gcs_autoindex_filter off; "
                   "gcs_autoindex_filter a;", start=False)
    assert '"gcs_autoindex_filter" directive is duplicate' in server.refusal()


def test_an_outer_filter_is_switched_off(serve, filled):
    server = serve(http="gcs_autoindex_filter a;",
                   inside="gcs_autoindex json; gcs_autoindex_filter off;")
    assert set(names(server.get("/files/"))) == {
        "base/dir/", "base/zoo/", "base/a.txt", "base/b c.jpg", "base/é.png"}


def test_signed_urls_list_nothing(serve):
    server = serve("gcs_autoindex json; gcs_auth signature;", start=False)
    assert '"gcs_autoindex" cannot be used with "gcs_auth signature"' \
        in server.refusal()


def test_an_outer_line_lists_nothing_where_urls_are_signed(serve, filled,
                                                           emulator):
    server = serve(http="gcs_autoindex json;", inside="gcs_mode presign; "
                   "gcs_endpoint %%EMULATOR_TLS%%;")
    assert server.get("/files/").status == 404
    assert server.get("/files/a.txt").status == 303
    assert emulator.requests("storage") == []


def test_where_nothing_is_asked_of_gcs_nothing_is_listed(serve):
    server = serve("gcs_autoindex json; gcs_mode presign; "
                   "gcs_endpoint %%EMULATOR_TLS%%;", start=False)
    assert '"gcs_autoindex" cannot be used' in server.refusal()


def test_a_listing_is_no_slice_whatever_gcs_answers(serve, filled, emulator):
    emulator.fault(kind="storage", status=416, count=None,
                   headers={"Content-Range": "bytes */7"})
    server = serve("gcs_autoindex json; slice 1m;")
    assert server.get("/files/").status >= 400
    assert len(emulator.requests("storage")) == 1
    assert server.wait_log("gcs responded 416")


def test_nothing_more_is_asked_for_a_client_that_has_gone(serve, emulator,
                                                          bucket):
    fill(emulator, bucket, 300)
    emulator.configure(list_page=50)
    emulator.fault(kind="storage", delay=0.3, count=1)
    server = serve("gcs_autoindex json; proxy_ignore_client_abort on;")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                          struct.pack("ii", 1, 0))       # ends by a reset
        client.sendall(b"GET /files/ HTTP/1.0\r\nHost: x\r\n\r\n")
        wait_until(lambda: emulator.requests("storage"))
    server.wait_access_log("GET /files/")
    assert len(emulator.requests("storage")) < 6


# the page about it

def test_the_command_of_the_guide_makes_tasks_for_label_studio(
        serve, emulator, filled, tmp_path):
    if shutil.which("jq") is None:
        pytest.skip("jq is missing")
    server = serve()
    guide = (Path(__file__).parent.parent / "docs/autoindex.md").read_text()
    [command] = re.findall(r"```sh\n(curl [^`]*> tasks\.json)\n", guide)
    command = command.replace("http://127.0.0.1:8080/media/2026/",
                              server.url("/files/"))
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "tasks.json").read_text()) == [
        {"data": {"image": "https://labels.example.com/files/" + name}}
        for name in ("a.txt", "b%20c.jpg", "%C3%A9.png")]


def test_pages_are_counted_as_what_they_cost(serve, emulator, bucket):
    expected = fill(emulator, bucket, 25)
    emulator.configure(list_page=10)
    server = serve(server=FILES % "gcs_autoindex json;" + """
        location = /status { gcs_status; }
    """)
    assert names(server.get("/files/")) == expected

    def rows():
        return [row for row in server.get("/status").json()["requests"]
                if row["location"] == "/files/" and row["requests"]]

    wait_until(rows)
    [row] = rows()
    assert row["requests"] == 1 and row["statuses"]["200"] == 1
    assert row["upstream"]["requests"] == 3
    assert row["upstream"]["retries"] == 0


# XML, for an HMAC key

def test_an_hmac_key_lists_by_the_xml_api(nginx, emulator, bucket, tmp_path):
    expected = fill(emulator, bucket, 25, "base/é+ &<")
    emulator.configure(list_page=4)
    access, secret = emulator.hmac_key(
        "hmac@demo-project.iam.gserviceaccount.com",
        grants={bucket: ["objectViewer"]})
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_text(secret)
    server = nginx("""
        gcs_credentials hmac { hmac_key %%ID%% %%SECRET%%; }
        gcs_auth hmac; gcs_endpoint %%EMULATOR%%; gcs_autoindex json;
    """, server=FILES % "", ID=access, SECRET=path, secrets=[secret])
    response = server.get("/files/")
    assert names(response) == expected
    entry = response.json()[0]
    assert entry["size"] == 1 and len(entry["md5Hash"]) == 24
    assert emulator.requests("token") == []

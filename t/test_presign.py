"""Signed URLs instead of objects: what is answered, and that it works.

The emulator checks each signature with the public half of the key.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

LOCATION = """
    gcs_credentials reader {{ file %%KEY%%; }}
    map $arg_mode $mode {{ default proxy; url presign; wrong nothing; }}
    server {{
        listen       127.0.0.1:%%PORT%%;
        gcs_endpoint %%EMULATOR%%;
        gcs_auth     reader;
        {}
        location /ping {{ return 200 pong; }}
    }}"""
MEDIA = "location /media/ {{ gcs_pass gs://test-bucket/; {} }}"
NAMES = ["a.txt", "a b.txt", "ü/漢字.txt", "100%+&=?.txt", "a//b/", "~-_.!*'()"]


@pytest.fixture
def serve(nginx, emulator, key_file, bucket):
    emulator.put_object(bucket, "a.txt", b"0123456789",
                        content_type="text/plain")

    def start(directives="", more="", **kw):
        media = MEDIA.format("gcs_mode presign; " + directives)
        return nginx(LOCATION.format(media + more), **kw)
    return start


def url_of(response) -> str:
    assert response.status in (302, 303, 307), response.status
    return response.get("Location")


def quoted(name: str) -> str:
    return requests.utils.quote(name, safe="/")


def fields(url: str) -> dict[str, str]:
    return {name: values[0] for name, values
            in parse_qs(urlsplit(url).query, keep_blank_values=True).items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_get_is_sent_to_a_url_that_gives_the_object(
        serve, emulator, bucket, name):
    emulator.put_object(bucket, name, b"it is " + name.encode())
    server = serve()
    answer = server.get("/media/" + quoted(name))
    assert answer.status == 303
    got = requests.get(url_of(answer))
    assert (got.status_code, got.content) == (200, b"it is " + name.encode())
    assert emulator.requests("storage")[-1]["credential"] == "signed URL"


def test_nothing_is_asked_of_anyone_to_sign_with_a_key(serve, emulator):
    server = serve()
    url_of(server.get("/media/a.txt"))
    assert emulator.requests("storage") == []


def test_the_object_need_not_exist(serve):
    assert requests.get(url_of(serve().get("/media/none"))).status_code == 404


def test_head_is_signed_for_head(serve):
    answer = serve().request("HEAD", "/media/a.txt")
    url = url_of(answer)
    assert (answer.status, answer.body) == (303, b"")
    assert requests.head(url).status_code == 200
    assert requests.get(url).status_code == 403


@pytest.mark.parametrize("change", [
    lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"),
    lambda url: url.replace("/a.txt?", "/b.txt?"),
    lambda url: url.replace("X-Goog-Expires=900", "X-Goog-Expires=901"),
    lambda url: url + "&generation=1"],
    ids=["signature", "object", "life", "parameter"])
def test_an_altered_url_is_refused(serve, change):
    url = url_of(serve().get("/media/a.txt"))
    assert requests.get(url).status_code == 200
    assert requests.get(change(url)).status_code == 403


def test_a_url_expires(serve):
    url = url_of(serve("gcs_presign_ttl 1s;").get("/media/a.txt"))
    assert requests.get(url).status_code == 200
    deadline = time.time() + 5
    while requests.get(url).status_code == 200 and time.time() < deadline:
        time.sleep(0.2)
    assert requests.get(url).status_code == 400


def test_an_hmac_key_signs(nginx, emulator, key_file, bucket, tmp_path):
    emulator.put_object(bucket, "a.txt", b"0123456789")
    email = emulator.add_service_account(
        "hmac@demo-project.iam.gserviceaccount.com",
        grants={bucket: ["objectViewer"]})
    access_id, secret = emulator.hmac_key(email)
    (tmp_path / "secret").write_text(secret + "\n")
    server = nginx(LOCATION.format(MEDIA.format(
        "gcs_mode presign; gcs_auth hmac;")) + f"""
        gcs_credentials hmac {{ hmac_key {access_id} {tmp_path}/secret; }}""")
    url = url_of(server.get("/media/a.txt"))
    assert fields(url)["X-Goog-Algorithm"] == "GOOG4-HMAC-SHA256"
    assert requests.get(url).content == b"0123456789"


@pytest.mark.parametrize("auth", ["reader", "hmac"])
@pytest.mark.parametrize("line", ["gcs_presign_header Content-Type",
                                  "gcs_presign_query response-content-type"])
def test_a_line_break_is_never_signed(nginx, emulator, key_file, bucket,
                                      tmp_path, auth, line):
    access_id, secret = emulator.hmac_key("hmac@p.iam.gserviceaccount.com")
    (tmp_path / "secret").write_text(secret + "\n")
    server = nginx(LOCATION.format(MEDIA.format(
        f"gcs_mode presign; gcs_auth {auth}; {line} $broken;")) + f"""
        map $arg_x $broken {{ default "text/x"; 1 "a\\nb: c"; }}
        gcs_credentials hmac {{ hmac_key {access_id} {tmp_path}/secret; }}""")
    assert server.get("/media/a.txt").status == 303
    answer = server.get("/media/a.txt?x=1")
    assert (answer.status, answer.get("Location")) == (500, None)
    server.expect("cannot sign URLs: a header or query parameter has an "
                  "invalid value")


def test_ranges_and_conditions_need_no_signature(serve):
    url = url_of(serve().get("/media/a.txt"))
    part = requests.get(url, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")


def test_a_window_is_shorter_also_where_nobody_is_named(nginx):
    said = nginx(server="""location / {
        gcs_object gs://my-bucket/a;
        gcs_presign_ttl 30m; gcs_presign_window 1h; }""",
                 start=False).refusal()
    assert '"gcs_presign_window" must be shorter' in said
    assert re.search(r"nginx\.conf:\d+$", said, re.MULTILINE)


def test_a_window_gives_everyone_the_same_url(serve):
    server = serve("gcs_presign_ttl 1h; gcs_presign_window 30m;")
    before = time.time() // 1800
    urls = {url_of(server.get("/media/a.txt")) for _ in range(5)}
    if time.time() // 1800 == before:
        assert len(urls) == 1
    stamp = fields(urls.pop())["X-Goog-Date"]
    assert stamp[11:] in ("0000Z", "3000Z")


@pytest.mark.parametrize("directives, limits", [
    ("", (830, 840)), ("gcs_presign_ttl 1h; gcs_presign_window 10m;",
                       (2930, 3540)), ("gcs_presign_ttl 100s;", (85, 90))],
    ids=["default", "window", "short"])
def test_the_redirect_is_kept_no_longer_than_the_url_lives(
        serve, directives, limits):
    value = serve(directives).get("/media/a.txt").get("Cache-Control")
    assert value.startswith("private, max-age=")
    assert limits[0] <= int(value.split("=")[1]) <= limits[1]


def test_a_url_for_a_write_is_not_kept(serve):
    server = serve("gcs_methods GET HEAD PUT; gcs_presign_method PUT;")
    assert server.get("/media/a.txt").get("Cache-Control") == "no-store"


@pytest.mark.parametrize("answer, method, status", [
    ("redirect", "GET", 303), ("redirect", "HEAD", 303),
    ("redirect", "PUT", 307), ("redirect=302", "GET", 302),
    ("redirect=307", "GET", 307)])
def test_the_status_of_the_redirect(serve, answer, method, status):
    server = serve(f"gcs_presign_answer {answer}; gcs_methods GET HEAD PUT;")
    assert server.request(method, "/media/a.txt").status == status


def test_an_answer_as_json_says_how_to_use_the_url(serve, emulator, bucket):
    server = serve("""gcs_presign_answer json; gcs_methods GET HEAD PUT;
        gcs_presign_method PUT; gcs_presign_header Content-Type text/csv;
        gcs_presign_header x-goog-if-generation-match 0;""")
    answer = server.get("/media/new.csv")
    said = json.loads(answer.body)
    assert answer.get("Content-Type") == "application/json"
    assert set(said) == {"url", "method", "headers", "expires"}
    assert said["method"] == "PUT"
    assert said["headers"] == {"Content-Type": "text/csv",
                               "x-goog-if-generation-match": "0"}
    assert abs(said["expires"] - time.time() - 900) < 5
    # the reader may not write: the signature is right, the permission is not
    wrong = requests.put(said["url"], data=b"a,b", headers=said["headers"])
    assert wrong.status_code == 403 and b"AccessDenied" in wrong.content
    assert emulator.requests("storage")[-1]["credential"] == "signed URL"
    unsigned = requests.put(said["url"], data=b"a,b")
    assert b"SignatureDoesNotMatch" in unsigned.content


def test_a_header_that_json_cannot_tell_is_refused(serve):
    server = serve("""gcs_presign_answer json;
        gcs_presign_header x-goog-meta-who $http_x_who;""")
    assert server.get("/media/a.txt", {"X-Who": "me"}).status == 200
    refused = server.raw(b"GET /media/a.txt HTTP/1.0\r\nHost: x\r\n"
                         b"X-Who: \xff\r\n\r\n")
    assert refused.status == 400
    assert server.wait_log("is not valid UTF-8")


def test_query_parameters_are_signed_and_heeded(serve):
    server = serve("gcs_presign_query response-content-disposition "
                   "'attachment; filename*=UTF-8\\'\\'$arg_as'; "
                   "gcs_presign_query response-content-type $arg_type;")
    url = url_of(server.get("/media/a.txt?as=na%C3%AFve.txt"))
    assert "response-content-type" not in fields(url)
    got = requests.get(url)
    assert got.headers["Content-Disposition"] \
        == "attachment; filename*=UTF-8''na%C3%AFve.txt"
    assert requests.get(url.replace("attachment", "inline")).status_code == 403


def test_a_file_name_may_have_any_characters(serve):
    server = serve("gcs_presign_query response-content-disposition "
                   "'attachment; filename=\"naïve 漢字.txt\"';")
    url = url_of(server.get("/media/a.txt"))
    got = requests.get(url)
    assert got.headers["Content-Disposition"].encode("latin-1").decode() \
        == 'attachment; filename="naïve 漢字.txt"'


@pytest.mark.parametrize("host, start, path", [
    ("path", "{emulator}/test-bucket/a.txt?", None),
    ("virtual", "http://test-bucket.{authority}/a.txt?", None),
    ("https://cdn.example.com", "https://cdn.example.com/a.txt?", None)])
def test_the_host_of_the_url(serve, emulator, host, start, path):
    url = url_of(serve(f"gcs_presign_host {host};").get("/media/a.txt"))
    assert url.startswith(start.format(
        emulator=emulator.url, authority=urlsplit(emulator.url).netloc))


def test_a_variable_chooses_the_mode_for_each_request(
        nginx, emulator, key_file, bucket):
    emulator.put_object(bucket, "a.txt", b"content")
    server = nginx(LOCATION.format(MEDIA.format(
        "gcs_mode $mode; add_header X-Mode $gcs_mode always;")))
    through = server.get("/media/a.txt")
    assert (through.status, through.body) == (200, b"content")
    assert through.get("X-Mode") == "proxy"
    away = server.get("/media/a.txt?mode=url")
    assert away.get("X-Mode") == "presign"
    assert requests.get(url_of(away)).content == b"content"
    assert server.get("/media/a.txt?mode=wrong").status == 500
    server.wait_log('"gcs_mode" yields "nothing"')


@pytest.mark.parametrize("method, status", [
    ("GET", 303), ("HEAD", 303), ("PUT", 405), ("DELETE", 405),
    ("POST", 405), ("PATCH", 405)])
def test_methods_that_are_not_allowed_are_not_signed(serve, method, status):
    assert serve().request(method, "/media/a.txt").status == status


@pytest.mark.parametrize("target, status", [
    ("/media/a/../x", 400), ("/media/%00", 400), ("/media/", 404)])
def test_what_cannot_be_served_is_not_signed(serve, target, status):
    assert serve().get(target).status == status


def test_a_url_that_writes_is_not_of_the_index(serve):
    folder = "gcs_index index.html; gcs_methods GET HEAD PUT; "
    assert urlsplit(url_of(serve(folder).get("/media/x/"))).path \
        == "/test-bucket/x/index.html"
    assert urlsplit(url_of(serve(folder + "gcs_presign_method PUT;").get(
        "/media/x/"))).path == "/test-bucket/x/"


def test_a_bucket_that_is_not_allowed_is_not_signed(nginx, emulator, key_file,
                                                    bucket):
    server = nginx(LOCATION.format("""
        location ~ ^/b/(?<b>[^/]+)/(?<o>.+)$ {
            gcs_pass gs://$b/$o; gcs_buckets test-bucket; gcs_mode presign;
        }"""))
    assert server.get("/b/other/a.txt").status == 403
    assert server.get("/b/test-bucket/a.txt").status == 303


def test_who_is_refused_by_an_access_rule_costs_no_signature(serve):
    server = serve("deny all; add_header X-URL $gcs_mode always;")
    answer = server.get("/media/a.txt")
    assert (answer.status, answer.get("Location")) == (403, None)
    assert answer.get("X-URL") is None


def test_the_variable_is_a_url_of_the_object(serve):
    server = serve(more="""
        location /header/ { gcs_object gs://test-bucket/a.txt;
                            alias /; add_header X-URL $gcs_signed_url always; }
        location /return { gcs_object gs://test-bucket/a.txt;
                           return 200 $gcs_signed_url; }""")
    for url in (server.get("/header/none").get("X-URL"),
                server.get("/return").body.decode()):
        assert requests.get(url).content == b"0123456789"


def test_a_rewrite_after_the_variable_was_read_is_heeded(serve, emulator,
                                                         bucket):
    """A URL that was signed for the name before must not be given out."""
    emulator.put_object(bucket, "b.txt", b"another")
    server = serve("set $before $gcs_signed_url; "
                   "rewrite ^/media/a.txt$ /media/b.txt break; "
                   "add_header X-Before $before always;")
    answer = server.get("/media/a.txt")
    assert "/a.txt?" in answer.get("X-Before")
    assert requests.get(url_of(answer)).content == b"another"


def test_a_signed_url_is_in_no_log(serve):
    server = serve()
    url = url_of(server.get("/media/a.txt"))
    server.wait_access_log("/media/a.txt")
    signature = fields(url)["X-Goog-Signature"]
    logs = list(server.dir.glob("*.log"))
    assert len(logs) >= 2
    for path in logs:
        assert signature not in path.read_text()


def test_the_log_format_of_the_docs_has_no_signed_url(
        nginx, emulator, key_file, bucket, tmp_path):
    """Not even that of a client which shows one."""
    text = (Path(__file__).parents[1] / "docs" / "variables.md").read_text()
    formats = re.findall(r"^log_format gcs[^;]*;", text, re.MULTILINE)
    assert len(formats) == 1
    log = tmp_path / "gcs.log"
    server = nginx(formats[0] + LOCATION.format(
        f"access_log {log} gcs;" + MEDIA.format("gcs_mode presign;")))
    url = url_of(server.get("/media/a.txt"))
    server.get("/media/b.txt?" + urlsplit(url).query)
    server.stop()
    logged = log.read_text()
    assert "GET /media/b.txt" in logged
    assert fields(url)["X-Goog-Signature"] not in logged


@pytest.mark.parametrize("directives, words", [
    ("gcs_presign_ttl 8d;", "a signed URL lives from 1s to 7d"),
    ("gcs_presign_ttl 0;", "a signed URL lives from 1s to 7d"),
    ("gcs_presign_window 15m;", "must be shorter than"),
    ("gcs_presign_answer xml;", "it must be .redirect"),
    ("gcs_presign_answer redirect=301;", "it must be .redirect"),
    ("gcs_presign_method PATCH;", "it must be .GET"),
    ("gcs_presign_method PUT;", "is not in .gcs_methods"),
    ("gcs_presign_host example.com;", "it must be .path"),
    ("gcs_presign_host https://a/b;", "it must be .path"),
    ("gcs_presign_host https://;", "it must be .path"),
    ("gcs_presign_host https:///;", "it must be .path"),
    ("gcs_mode other;", "duplicate"),
    ("gcs_presign_ttl 1h; gcs_presign_ttl 2h;", "is duplicate"),
    ("gcs_presign_window off; gcs_presign_window 1m;", "is duplicate"),
    ("gcs_presign_window x;", "gcs_presign_window. directive invalid value"),
    ("gcs_presign_answer json; gcs_presign_answer json;", "is duplicate"),
    ("gcs_presign_method GET; gcs_presign_method GET;", "is duplicate"),
    ("gcs_presign_host path; gcs_presign_host path;", "is duplicate"),
    ("gcs_presign_query X-Goog-Signature x;", "invalid name"),
    ("gcs_auth anonymous;", "cannot sign URLs")])
def test_a_mistake_is_told(serve, directives, words):
    tested = serve(directives, start=False).test()
    assert tested.returncode == 1
    assert re.search(words, tested.stderr), tested.stderr


@pytest.mark.parametrize("mode, words", [
    ("other", 'invalid value "other" in "gcs_mode" directive; it must be '
     '"proxy" or "presign"'),
    ('"${mode"', "closing bracket")])
def test_another_mode_is_refused(nginx, key_file, mode, words):
    server = nginx(LOCATION.format(MEDIA.format(f"gcs_mode {mode};")),
                   start=False)
    assert words in server.refusal()


def test_a_window_is_checked_without_gcs_pass_too(serve):
    tested = serve(more="""location /x { gcs_object gs://test-bucket/a.txt;
        gcs_presign_window 1h; return 200 $gcs_signed_url; }""",
                   start=False).test()
    assert tested.returncode == 1
    assert "must be shorter than" in tested.stderr


def test_seconds_instead_of_minutes_are_asked_about(serve):
    server = serve("gcs_presign_ttl 15;")
    server.wait_log("were minutes meant")


def test_a_location_that_only_signs_needs_nobody_to_be_found(nginx, key_file):
    server = nginx("""
        gcs_credentials reader { file %%KEY%%; }
        server {
            listen 127.0.0.1:%%PORT%%;
            location /media/ {
                gcs_pass     gs://test-bucket/;
                gcs_endpoint https://nowhere.invalid;
                gcs_auth     reader;
                gcs_mode     presign;
                limit_except GET { deny all; }
                if ($arg_teapot) { return 418; }
            }
        }""")
    url = url_of(server.get("/media/a.txt"))
    assert url.startswith("https://nowhere.invalid/test-bucket/a.txt?")
    assert server.request("POST", "/media/a.txt").status == 403
    assert server.get("/media/a.txt?teapot=1").status == 418


@pytest.mark.parametrize("location,path", [
    ("location /media/ { gcs_pass gs://test-bucket/; gcs_auth @; "
     "gcs_mode presign; }", "/media/a.txt"),
    ("location /media/ { gcs_object gs://test-bucket/a.txt; gcs_auth @; "
     "return 303 $gcs_signed_url; }", "/media/"),
])
def test_a_url_is_of_the_universe_of_its_identity(
        nginx, key_file, location, path):
    key_file.write_text(json.dumps({**json.loads(key_file.read_text()),
                                    "universe_domain": "example.goog"}))
    server = nginx("""
        gcs_credentials other {
            file            %%KEY%%;
            universe_domain example.goog;
        }
        server { listen 127.0.0.1:%%PORT%%; """
                   + location.replace("@", "other") + " }")
    assert url_of(server.get(path)).startswith(
        "https://storage.example.goog/test-bucket/a.txt?")

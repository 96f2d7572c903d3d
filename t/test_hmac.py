"""hmac_key: each request is signed, and nothing else is ever asked.

The emulator computes every signature again from what has arrived, so an
answer 200 says that all of it was signed as it was sent.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from emulator import content
from harness.nginx import wait_until

EMAIL = "hmac@demo-project.iam.gserviceaccount.com"
BODY = b"0123456789" * 10

HTTP = """
    gcs_credentials hmac { hmac_key %%ID%% %%SECRET%%; %%MORE%% }
    gcs_auth hmac;
    gcs_endpoint %%EMULATOR%%;
"""
MEDIA = "location /media/ { gcs_pass gs://test-bucket/; %s }"


def header(record, name):
    values = [value for key, value in record["headers"]
              if key.lower() == name]
    assert len(values) < 2
    return values[0] if values else None


def storage(emulator):
    return emulator.requests("storage")


@pytest.fixture
def hmac_key(emulator, bucket):
    emulator.put_object(bucket, "a.txt", BODY, content_type="text/plain")
    return emulator.hmac_key(EMAIL, grants={bucket: ["objectViewer"]})


@pytest.fixture
def serve(nginx, emulator, hmac_key, tmp_path):
    """nginx with the key, in a file that root alone reads."""
    path = tmp_path / "hmac-secret"
    path.touch(0o600)
    path.write_text(f" {hmac_key[1]}\n")

    def make(server=MEDIA % "", *, http="", more="", secrets=(), **kw):
        return nginx(HTTP + http, server=server, ID=hmac_key[0], SECRET=path,
                     MORE=more, secrets=[hmac_key[1], *secrets], **kw)

    make.secret = path
    return make


def all_signed(emulator, hmac_key, count=None):
    """Every request to storage was valid, and none went elsewhere."""
    seen = storage(emulator)
    assert [record["credential"] for record in seen] == ["valid"] * len(seen)
    assert {record["account"] for record in seen} == {EMAIL}
    assert {record["access_id"] for record in seen} == {hmac_key[0]}
    assert count is None or len(seen) == count
    assert emulator.counts() == {"storage": len(seen)}
    return seen


def test_an_object_is_read_without_any_token(serve, emulator, hmac_key):
    server = serve()
    answer = server.get("/media/a.txt")
    assert (answer.status, answer.body) == (200, BODY)
    [request] = all_signed(emulator, hmac_key, 1)
    assert request["target"] == "/test-bucket/a.txt"
    assert request["signed_headers"] == ["host", "x-goog-content-sha256",
                                         "x-goog-date"]
    assert header(request, "x-goog-content-sha256") == "UNSIGNED-PAYLOAD"
    assert re.fullmatch(r"\d{8}T\d{6}Z", header(request, "x-goog-date"))
    # nothing of the signature comes back
    assert not any("goog4" in (name + value).lower()
                   for name, value in answer.headers)


@pytest.mark.parametrize("method, headers, status, size", [
    ("HEAD", {}, 200, 0),
    ("GET", {"Range": "bytes=10-19"}, 206, 10),
    ("GET", {"Range": "bytes=-5"}, 206, 5),
    ("GET", {"Range": "bytes=1000-"}, 416, None),
    ("GET", {"If-None-Match": "%ETAG%"}, 304, 0),
    ("GET", {"If-Match": '"other"'}, 412, None),
    ("GET", {"If-Range": "%ETAG%", "Range": "bytes=0-0"}, 206, 1)])
def test_ranges_and_conditions_are_answered_as_ever(
        serve, emulator, hmac_key, bucket, method, headers, status, size):
    etag = emulator.get_object(bucket, "a.txt")["etag"]
    headers = {k: v.replace("%ETAG%", etag) for k, v in headers.items()}
    answer = serve().request(method, "/media/a.txt", headers)
    assert answer.status == status
    assert size is None or len(answer.body) == size
    [request] = all_signed(emulator, hmac_key, 1)
    assert request["method"] == method
    assert not {"range", "if-match", "if-none-match", "if-range"} \
        & set(request["signed_headers"])


def test_many_requests_on_one_connection_are_each_signed(
        serve, emulator, hmac_key):
    server = serve()
    connection = server.connect()
    for _ in range(20):
        assert connection.get("/media/a.txt").status == 200
        assert connection.request("HEAD", "/media/a.txt").status == 200
        assert connection.get("/media/none").status == 404
    seen = all_signed(emulator, hmac_key, 60)
    assert len({record["signature"] for record in seen}) >= 3
    assert emulator.connections()["storage"] == 1


CACHE = "proxy_cache_path %%DIR%%/cache keys_zone=objects:1m;"
KEPT = ("proxy_cache objects; proxy_cache_valid 200 206 1h;"
        "proxy_ignore_headers Cache-Control Expires;")


def test_head_is_signed_as_the_get_that_fills_the_cache(serve, emulator,
                                                        hmac_key):
    server = serve(MEDIA % KEPT, http=CACHE)
    answer = server.head("/media/a.txt")
    assert (answer.status, answer.get("Content-Length")) == (200, "100")
    assert server.get("/media/a.txt").body == BODY
    [request] = all_signed(emulator, hmac_key, 1)
    assert request["method"] == "GET"


def test_head_that_is_not_converted_is_signed_as_head(serve, emulator,
                                                      hmac_key):
    server = serve(MEDIA % (KEPT + "proxy_cache_convert_head off;"
                            'proxy_cache_key "$request_method$gcs_object";'),
                   http=CACHE)
    assert server.head("/media/a.txt").status == 200
    assert server.get("/media/a.txt").body == BODY
    assert [record["method"] for record in all_signed(
        emulator, hmac_key, 2)] == ["HEAD", "GET"]


def test_a_revalidation_is_signed(serve, emulator, hmac_key):
    server = serve(MEDIA % (KEPT.replace("1h", "1s")
                            + "proxy_cache_revalidate on;"), http=CACHE)
    assert server.get("/media/a.txt").body == BODY
    time.sleep(2.1)
    assert server.get("/media/a.txt").body == BODY
    seen = all_signed(emulator, hmac_key, 2)
    assert [record["status"] for record in seen] == [200, 304]
    # a second later: another date, another signature
    assert header(seen[0], "x-goog-date") < header(seen[1], "x-goog-date")


def test_each_slice_is_signed(serve, emulator, hmac_key, bucket):
    emulator.put_object(bucket, "big", size=5 << 20, seed=3)
    server = serve(MEDIA % ('slice 1m; proxy_cache_key '
                            '"$gcs_object$slice_range";' + KEPT),
                   http=CACHE)
    assert server.get("/media/big").body == content(3, 0, 5 << 20)
    seen = all_signed(emulator, hmac_key, 5)
    assert [header(record, "range") for record in seen] == [
        f"bytes={n << 20}-{((n + 1) << 20) - 1}" for n in range(5)]


def test_a_subrequest_is_signed(serve, emulator, hmac_key):
    server = serve(MEDIA % "" + """
        location /both/ { add_after_body /media/a.txt;
                          gcs_pass gs://test-bucket/;
                          addition_types *; }""", modules=[])
    if "unknown directive" in server.log():
        pytest.skip("nginx has no addition module")
    assert server.get("/both/a.txt").body == BODY * 2
    all_signed(emulator, hmac_key, 2)


def test_an_internal_redirect_is_signed_for_where_it_leads(
        serve, emulator, hmac_key, bucket):
    emulator.put_object(bucket, "index.html", b"<p>")
    server = serve(MEDIA % "error_page 404 = /media/index.html; "
                   "recursive_error_pages on;")
    answer = server.get("/media/none")
    assert (answer.status, answer.body) == (200, b"<p>")
    assert [record["target"] for record in all_signed(
        emulator, hmac_key)][-1] == "/test-bucket/index.html"


# names

NAMES = st.text(st.characters(exclude_categories=["Cs"],
                              exclude_characters="\0\r\n"),
                min_size=1, max_size=40).filter(
    lambda name: not set(name.split("/")) & {".", ".."})


def test_every_name_is_signed_as_it_is_sent(serve, emulator, hmac_key,
                                            bucket):
    server = serve()
    connection = server.connect()
    emulator.configure(strict=True)

    @settings(max_examples=150, deadline=None, derandomize=True,
              database=None,
              suppress_health_check=list(HealthCheck))
    @given(name=NAMES, every=st.booleans())
    def check(name, every):
        raw = name.encode()
        emulator.put_object(bucket, raw, raw)
        path = "".join(
            chr(b) if chr(b).isascii() and (chr(b).isalnum() or b in b"-_.~/")
            and not every else f"%{b:02x}" for b in raw)
        answer = connection.get("/media/" + path)
        assert (answer.status, answer.body) == (200, raw), name

    check()
    all_signed(emulator, hmac_key)


@pytest.mark.parametrize("name", [
    "a+b c", "100%", "%2F", "a//b", "/a", "a/", "é", "あ/い", "\U0001f600",
    "~a", "a:b@c", "'(!*)'", "[a]{b}|c", "a\\b\"c^`", "a\tb", "?x=y", "#"])
def test_an_odd_name_is_signed_as_it_is_sent(serve, emulator, hmac_key,
                                             bucket, name):
    emulator.put_object(bucket, name, b"odd")
    path = "".join(f"%{b:02X}" for b in name.encode())
    assert serve().get("/media/" + path).body == b"odd"
    all_signed(emulator, hmac_key, 1)


# headers

def test_headers_of_gcs_set_header_are_signed(serve, emulator, hmac_key):
    server = serve(MEDIA % (
        "gcs_set_header X-Goog-Custom-Audit-Request $request_id;"
        "gcs_set_header x-goog-custom-audit-who \"  two   words \";"
        "gcs_set_header x-goog-custom-audit-name \"Zoë\";"
        "gcs_set_header x-goog-custom-audit-none $arg_none;"
        "gcs_set_header x-goog-custom-audit-arg $arg_x;"))
    assert server.get("/media/a.txt?x=a,b;c").status == 200
    [request] = all_signed(emulator, hmac_key, 1)
    assert request["signed_headers"] == [
        "host", "x-goog-content-sha256", "x-goog-custom-audit-arg",
        "x-goog-custom-audit-name", "x-goog-custom-audit-request",
        "x-goog-custom-audit-who", "x-goog-date"]
    assert header(request, "x-goog-custom-audit-arg") == "a,b;c"


def test_an_encrypted_object_is_read_with_signed_key_headers(
        serve, emulator, hmac_key, bucket):
    raw = b"k" * 32
    key, digest = (base64.b64encode(value).decode() for value in
                   (raw, hashlib.sha256(raw).digest()))
    emulator.put_object(bucket, "secret", b"x", csek=raw)
    server = serve(MEDIA % (
        "gcs_set_header x-goog-encryption-algorithm AES256;"
        f"gcs_set_header x-goog-encryption-key {key};"
        f"gcs_set_header x-goog-encryption-key-sha256 {digest};"))
    assert server.get("/media/secret").body == b"x"
    [request] = all_signed(emulator, hmac_key, 1)
    assert len([name for name in request["signed_headers"]
                if "encryption" in name]) == 3


@pytest.mark.parametrize("inner, more", [
    ("gcs_user_project demo-project;", ""),
    ("", "quota_project demo-project;"),
    ("gcs_user_project demo-project;", "quota_project not-this;"),
    ("gcs_user_project $arg_project;", "")])
def test_the_project_that_pays_is_signed(serve, emulator, hmac_key, bucket,
                                         inner, more):
    emulator.update_bucket(bucket, requester_pays=True)
    server = serve(MEDIA % inner, more=more)
    assert server.get("/media/a.txt?project=demo-project").status == 200
    [request] = all_signed(emulator, hmac_key, 1)
    assert header(request, "x-goog-user-project") == "demo-project"
    assert "x-goog-user-project" in request["signed_headers"]


def test_the_headers_of_the_client_are_neither_sent_nor_signed(
        serve, emulator, hmac_key):
    server = serve()
    answer = server.get("/media/a.txt", {
        "Authorization": "GOOG4-HMAC-SHA256 Credential=evil",
        "x-goog-date": "20200101T000000Z", "x-goog-user-project": "evil",
        "x-goog-content-sha256": "evil", "x-goog-meta-a": "1"})
    assert answer.status == 200
    [request] = all_signed(emulator, hmac_key, 1)
    assert "evil" not in str(request["headers"])


def test_another_host_is_signed_as_it_is_sent(serve, emulator, hmac_key):
    server = serve(MEDIA % "gcs_endpoint %%EMULATOR%% "
                   "host=storage.googleapis.com;")
    assert server.get("/media/a.txt").status == 200
    [request] = all_signed(emulator, hmac_key, 1)
    assert request["host"] == "storage.googleapis.com"


# writes

WRITE = "gcs_methods GET HEAD PUT DELETE;"


def test_what_is_written_and_deleted_is_signed(serve, emulator, hmac_key,
                                               bucket):
    emulator.grant(EMAIL, bucket, ["objectUser"])
    server = serve(MEDIA % WRITE)
    for name, body in (("new", b"content"), ("empty", b""),
                       ("large", b"x" * 300_000)):
        answer = server.request("PUT", f"/media/{name}",
                                {"Content-Type": "image/png"}, body)
        assert answer.status == 200, answer.body
        stored = emulator.get_object(bucket, name)
        assert (stored["data"], stored["content_type"]) == (body, "image/png")
    assert server.request("DELETE", "/media/new").status == 204
    assert server.get("/media/new").status == 404
    all_signed(emulator, hmac_key, 5)


def test_an_unbuffered_write_is_signed(serve, emulator, hmac_key, bucket):
    emulator.grant(EMAIL, bucket, ["objectUser"])
    server = serve(MEDIA % (WRITE + "proxy_request_buffering off;"))
    assert server.request("PUT", "/media/new", {}, b"x" * 100_000).status \
        == 200
    assert emulator.get_object(bucket, "new")["data"] == b"x" * 100_000
    all_signed(emulator, hmac_key, 1)


# failures

@pytest.mark.parametrize("status", [500, 503])
def test_a_retry_has_a_signature_that_is_valid(serve, emulator, hmac_key,
                                               status):
    server = serve()
    emulator.fault(kind="storage", status=status)
    assert server.get("/media/a.txt").body == BODY
    first, second = storage(emulator)
    assert (first["status"], second["status"]) == (status, 200)
    assert second["credential"] == "valid"


def test_a_retry_after_a_pause_is_signed_anew(serve, emulator, hmac_key):
    """The date of a signature is that of the request that carries it."""
    server = serve()
    emulator.fault(kind="storage", status=503, retry_after=1)
    assert server.get("/media/a.txt").body == BODY
    first, second = storage(emulator)
    assert second["credential"] == "valid"
    dates = [header(record, "x-goog-date") for record in (first, second)]
    assert dates[0] < dates[1], dates


def failed(serve, emulator, pattern, **kw):
    """The word and the one line of a request that fails."""
    server = serve(MEDIA % "add_header X-Error $gcs_error always;", **kw)
    answer = server.get("/media/a.txt")
    lines = [line for line in server.log().splitlines()
             if re.search(r"\[(warn|error|crit)\]", line)]
    assert len(lines) == 1, server.log()
    assert re.search(pattern, lines[0]), lines[0]
    assert emulator.counts() == {"storage": 1}
    return answer.status, answer.get("X-Error")


def test_a_wrong_secret_is_told_with_the_cause(serve, emulator, hmac_key):
    serve.secret.write_text("x" * 40)
    assert failed(serve, emulator, "secret is not that of the HMAC key",
                  secrets=["x" * 40]) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("state, word", [("inactive", "KeyInactive"),
                                         ("deleted", "KeyDeleted")])
def test_a_key_that_is_switched_off_is_told(serve, emulator, hmac_key, state,
                                            word):
    emulator.update_hmac_key(hmac_key[0], state)
    status, error = failed(serve, emulator, f"{word}.*HMAC key")
    assert (status, error) == (502, word)


def test_a_missing_role_is_told_by_name(serve, emulator, hmac_key, bucket):
    emulator.grant(EMAIL, bucket, [])
    assert failed(serve, emulator, EMAIL + ".*storage.objectViewer") \
        == (403, "AccessDenied")


def test_an_empty_secret_is_refused(serve):
    serve.secret.write_text(" \n")
    done = serve(start=False).test()
    assert done.returncode == 1 and "empty" in done.stderr


@pytest.mark.parametrize("text", ["two words", "two\nlines", "x\x01y",
                                  "n\xf6"])
def test_a_secret_that_is_none_is_refused_without_a_word_of_it(serve, text):
    serve.secret.write_text(text)
    done = serve(start=False).test()
    assert done.returncode == 1 and str(serve.secret) in done.stderr
    assert text not in done.stderr


def test_a_missing_secret_file_is_told(serve):
    serve.secret.unlink()
    done = serve(start=False).test()
    assert done.returncode == 1
    assert f'"{serve.secret}" failed (2: No such file' in done.stderr


@pytest.mark.parametrize("line, words", [
    ("scope https://www.googleapis.com/auth/devstorage.read_only;",
     '"scope" cannot be used with "hmac_key"'),
    ("impersonate a@b.iam.gserviceaccount.com;",
     '"impersonate" cannot be used with "hmac_key"'),
    ("token_lifetime 30m;", '"token_lifetime" cannot be used'),
    ("token_endpoint https://a.example.com/;", '"token_endpoint" cannot'),
    ("sts_endpoint https://a.example.com/;", '"sts_endpoint" cannot'),
    ("iam_endpoint https://a.example.com/;", '"iam_endpoint" cannot'),
    ("metadata_server;", "more than one source"),
    ("hmac_key GOOG1E %%SECRET%%;", '"hmac_key" directive is duplicate')])
def test_what_has_no_meaning_beside_hmac_key_is_refused(serve, line, words):
    done = serve(more=line, start=False).test()
    assert done.returncode == 1 and words in done.stderr, done.stderr


@pytest.mark.parametrize("value", ['"GOOG1E 1"', '"a,b"', '""', "a/b"])
def test_an_access_id_that_is_none_is_refused(nginx, emulator, bucket,
                                              tmp_path, value):
    (tmp_path / "s").write_text("x" * 40)
    done = nginx("gcs_credentials a { hmac_key %s %s; }"
                 % (value, tmp_path / "s"), start=False).test()
    assert done.returncode == 1 and "invalid access ID" in done.stderr


# beside others

def test_gcs_authorization_is_empty(serve, emulator, hmac_key):
    """A signature is of one request: it is for no other one."""
    server = serve(MEDIA % 'add_header X-A "[$gcs_authorization]" always;'
                   + """location /echo { gcs_object gs://test-bucket/a.txt;
                        return 200 "[$gcs_authorization]"; }""")
    answer = server.get("/media/a.txt")
    assert (answer.status, answer.get("X-A")) == (200, "[]")
    assert server.get("/echo").text == "[]"


def test_a_variable_chooses_between_signature_and_token(
        serve, emulator, hmac_key, bucket, key_file):
    server = serve("""
        location ~ ^/(?<who>[a-z]+)/(?<name>.*)$ {
            gcs_pass gs://test-bucket/$name;
            gcs_buckets test-bucket;
            gcs_auth $who;
        }""", http="gcs_credentials token { file %%KEY%%; }")
    server.wait_log("token refreshed")
    assert emulator.counts() == {"token": 1}
    connection = server.connect()
    for who in ("hmac", "token", "token", "hmac"):
        assert connection.get(f"/{who}/a.txt").body == BODY
    assert connection.get("/anonymous/a.txt").status == 403
    seen = storage(emulator)
    schemes = [(header(r, "authorization") or "-").split()[0] for r in seen]
    assert schemes == ["GOOG4-HMAC-SHA256", "Bearer", "Bearer",
                       "GOOG4-HMAC-SHA256", "-"]
    for record, scheme in zip(seen, schemes):
        # nothing of a signature is sent with a token, or with nothing
        assert (header(record, "x-goog-date") is not None) \
            == (header(record, "x-goog-content-sha256") is not None) \
            == (scheme == "GOOG4-HMAC-SHA256")


def test_two_keys_do_not_mix(serve, emulator, hmac_key, bucket, nginx,
                             tmp_path):
    other = emulator.hmac_key("other@demo-project.iam.gserviceaccount.com",
                              grants={bucket: ["objectViewer"]})
    (tmp_path / "other").write_text(other[1])
    server = serve(
        MEDIA % "" + "location /other/ { gcs_pass gs://test-bucket/; "
        "gcs_auth other; }", secrets=[other[1]],
        http=f"gcs_credentials other {{ hmac_key {other[0]} "
             f"{tmp_path}/other; }}")
    for _ in range(3):
        for place in ("media", "other"):
            assert server.get(f"/{place}/a.txt").status == 200
    assert [record["access_id"] for record in storage(emulator)] \
        == [hmac_key[0], other[0]] * 3


def test_nothing_is_asked_at_start(serve, emulator):
    server = serve(workers=2)
    server.reload()
    assert emulator.counts() == {}
    assert 'location "/media/" uses gcs credentials "hmac"' in server.log()


def test_the_date_follows_the_clock(serve, emulator, hmac_key):
    server = serve()
    before = time.time()
    assert server.get("/media/a.txt").status == 200
    time.sleep(2.1)
    assert server.get("/media/a.txt").status == 200
    first, second = (time.mktime(time.strptime(
        header(record, "x-goog-date"), "%Y%m%dT%H%M%SZ")) - time.timezone
        for record in all_signed(emulator, hmac_key, 2))
    assert before - 1.5 <= first <= before + 1.5
    assert second - first >= 1


@pytest.mark.timeout(120)
def test_a_secret_that_is_replaced_is_used_without_a_reload(
        serve, emulator, hmac_key, bucket):
    serve.secret.chmod(0o644)
    server = serve()
    assert server.get("/media/a.txt").status == 200
    # broken first: it is told, and the old one stays
    serve.secret.write_text("not a secret\n")
    server.wait_log(re.escape(str(serve.secret)), 40)
    assert server.get("/media/a.txt").status == 200
    new = emulator.call("add_hmac_key", email=EMAIL)["secret"]
    emulator.call("set_hmac_secret", access_id=hmac_key[0], secret=new)
    serve.secret.write_text(new)
    wait_until(lambda: server.get("/media/a.txt").status == 200, 40)

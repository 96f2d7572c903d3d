"""proxy_cache and its kin in a gcs_pass location.

Two things are the module's own here: what the key is made of, and that what
goes into a cache is asked for without the client's Range and conditions.  The
rest is nginx's, and must be as it is with every other upstream.
"""

from __future__ import annotations

import gzip
import re
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import pytest

from emulator import content
from harness.nginx import free_port, wait_until

PUBLIC = "public, max-age=3600"
BRIEF = "public, max-age=1"                # the least that nginx caches
BODY = b"0123456789" * 20


def conf(*locations: str, http: str = "", credentials: str = "") -> str:
    """A cache, and a location /m/ (then /n/, /o/) for each argument.

    An argument that begins with "location" stands as it is.
    """
    text = ""
    for name, inside in zip("mnopq", locations or ("",)):
        if inside.lstrip().startswith("location"):
            text += inside
        else:
            target = "" if "gcs_pass" in inside else \
                "gcs_pass gs://test-bucket;"
            text += "location /%s/ { %s proxy_cache z; %s }\n" \
                % (name, target, inside)
    return f"""
        proxy_cache_path %%DIR%%/cache keys_zone=z:1m;
        gcs_credentials reader {{ file %%KEY%%; {credentials} }}
        gcs_auth reader;
        gcs_endpoint %%EMULATOR%%;
        add_header X-Cache $upstream_cache_status always;
        add_header X-Error $gcs_error always;
        {http}
        server {{ listen 127.0.0.1:%%PORT%%; {text} }}
    """


@pytest.fixture
def serve(nginx):
    """nginx with its token: what the first request does without one is the
    subject of tests of their own."""
    def make(text, start=True, **kw):
        server = nginx(text, start=start, **kw)
        if start:
            server.wait_log("token refreshed")
        return server
    return make


def put(emulator, name="a.txt", data=BODY, **kw):
    kw.setdefault("cache_control", PUBLIC)
    kw.setdefault("content_type", "text/plain")
    return emulator.put_object("test-bucket", name, data, **kw)


def asked(emulator) -> list[dict]:
    return emulator.requests("storage")


def sent(record: dict) -> dict[str, str]:
    """The headers of a request as the emulator has seen them."""
    return {name.lower(): value for name, value in record["headers"]}


def same(response, status, cache, body=BODY):
    assert (response.status, response.get("X-Cache")) == (status, cache)
    assert response.body == body


def until_expired(server, path="/m/a.txt"):
    """Ask until the cache no longer says HIT; return that answer."""
    answers = []

    def expired():
        answers.append(server.get(path))
        return answers[-1].get("X-Cache") != "HIT"

    wait_until(expired, 5)
    return answers[-1]


def until_all_expired():
    """For objects of BRIEF that must not be asked for meanwhile."""
    end = int(time.time()) + 2             # nginx counts whole seconds
    wait_until(lambda: time.time() > end, 5)


# the key


def test_the_query_string_makes_no_second_copy(serve, emulator, key_file):
    put(emulator)
    server = serve(conf())
    same(server.get("/m/a.txt?x=1"), 200, "MISS")
    same(server.get("/m/a.txt?x=2&y"), 200, "HIT")
    same(server.get("/m/a.txt"), 200, "HIT")
    assert [r["target"] for r in asked(emulator)] == ["/test-bucket/a.txt"]


def test_the_key_is_the_escaped_name_of_the_object(serve, emulator, key_file):
    put(emulator, "ä b.txt")
    server = serve(conf())
    same(server.get("/m/%C3%A4%20b.txt"), 200, "MISS")
    # nginx names the file when the client has the answer already
    wait_until(lambda: list((server.dir / "cache").iterdir()))
    files = list((server.dir / "cache").iterdir())
    assert len(files) == 1
    assert re.search(rb"\nKEY:\s+gs://test-bucket/%C3%A4%20b\.txt\n",
                     files[0].read_bytes())


def test_spelling_host_and_location_make_no_second_copy(serve, emulator,
                                                        key_file):
    put(emulator)
    server = serve(conf("", ""))
    same(server.get("/m/a.txt"), 200, "MISS")
    for path, headers in (("/m/%61.txt", {}), ("/n/a.txt", {}),
                          ("/m/a.txt", {"Host": "other.example"})):
        same(server.get(path, headers), 200, "HIT")
    assert len(asked(emulator)) == 1


def test_names_that_nginx_would_merge_are_kept_apart(serve, emulator,
                                                     key_file):
    names = {"x": "/m/x", "/x": "/m//x", "a/x": "/m/a/x",
             "a//x": "/m/a//x", "a%2Fx": "/m/a%252Fx", "x?y": "/m/x%3Fy",
             "x#y": "/m/x%23y", " x": "/m/%20x"}
    for name in names:
        put(emulator, name, b"I am " + name.encode())
    server = serve(conf())
    for state in ("MISS", "HIT"):
        for name, path in names.items():
            same(server.get(path), 200, state, b"I am " + name.encode())
    assert len(asked(emulator)) == len(names)


def test_buckets_share_a_zone_without_mixing(serve, emulator, key_file):
    emulator.create_bucket("other-bucket", public=True)
    put(emulator, data=b"one")
    put(emulator, "a.txt/a.txt", data=b"one-one")
    emulator.put_object("other-bucket", "a.txt", b"two", cache_control=PUBLIC)
    emulator.put_object("other-bucket", "a.txt/a.txt", b"two-two",
                        cache_control=PUBLIC)
    server = serve(conf("", "gcs_pass gs://other-bucket; gcs_auth anonymous;",
                        "gcs_pass gs://test-bucket/a.txt;"))
    for state in ("MISS", "HIT"):
        same(server.get("/m/a.txt"), 200, state, b"one")
        same(server.get("/n/a.txt"), 200, state, b"two")
        same(server.get("/n/a.txt/a.txt"), 200, state, b"two-two")
        same(server.get("/m/a.txt/a.txt"), 200, state, b"one-one")
        same(server.get("/o/a.txt"), 200, "HIT", b"one-one")
    assert len(asked(emulator)) == 4


@pytest.mark.parametrize("place", ["location", "server", "http"])
def test_the_users_key_is_used(serve, emulator, key_file, place):
    put(emulator)
    key = 'proxy_cache_key "mine $uri $args";'
    inner, http = {"location": (key, ""), "http": ("", key),
                   "server": ("", "")}[place]
    text = conf(inner, http=http)
    if place == "server":
        text = text.replace("location", key + " location", 1)
    server = serve(text)
    same(server.get("/m/a.txt?x=1"), 200, "MISS")
    same(server.get("/m/a.txt?x=2"), 200, "MISS")
    same(server.get("/m/a.txt?x=1"), 200, "HIT")
    assert len(asked(emulator)) == 2


def test_no_key_of_the_user_mixes_objects(serve, emulator, key_file):
    put(emulator, "a.txt", b"one")
    put(emulator, "b.txt", b"two")
    server = serve(conf("proxy_cache_key always;"))
    for state in ("MISS", "HIT"):
        same(server.get("/m/a.txt"), 200, state, b"one")
        same(server.get("/m/b.txt"), 200, state, b"two")


@pytest.mark.parametrize("inner, http", [
    ('slice 1m; proxy_cache_key "$gcs_object";', ""),
    ('proxy_cache_key "$gcs_object";', "slice 1m;"),
    ("slice 1m;", 'proxy_cache_key "$gcs_object";'),
    ("", 'slice 1m; proxy_cache_key "$gcs_object";'),
    ('slice 1m; proxy_cache_key "$gcs_object";',
     'proxy_cache_key "$slice_range$gcs_object";'),
])
def test_a_key_without_the_slice_is_refused(serve, emulator, key_file, inner,
                                            http):
    tested = serve(conf(inner, http=http), start=False).test()
    assert tested.returncode == 1
    line = next(number for number, text in enumerate(
        open(tested.args[tested.args.index("-c") + 1]), 1)
        if "gcs_pass" in text)
    assert '"proxy_cache_key" "$gcs_object" must contain "$slice_range"' \
        in tested.stderr
    assert f"nginx.conf:{line}\n" in tested.stderr


@pytest.mark.parametrize("inner", [
    'slice 1m; proxy_cache_key "$slice_range $gcs_object";',
    'slice 1m; proxy_cache_key "${slice_range}$gcs_object";',
    'slice 0; proxy_cache_key "$gcs_object";',
    'proxy_cache_key "$gcs_object";',
])
def test_a_key_that_is_good_enough_is_taken(serve, emulator, key_file, inner):
    tested = serve(conf(inner), start=False).test()
    assert tested.returncode == 0, tested.stderr


# what goes in


def test_head_fills_the_cache_with_the_object(serve, emulator, key_file):
    put(emulator)
    server = serve(conf())
    head = server.head("/m/a.txt")
    same(head, 200, "MISS", b"")
    assert head.get("Content-Length") == str(len(BODY))
    same(server.get("/m/a.txt"), 200, "HIT")
    same(server.head("/m/a.txt"), 200, "HIT", b"")
    assert [r["method"] for r in asked(emulator)] == ["GET"]


def test_head_that_is_not_converted_poisons_no_get(serve, emulator, key_file):
    put(emulator)
    server = serve(conf("proxy_cache_convert_head off;"))
    head = server.head("/m/a.txt")
    assert (head.status, head.body) == (200, b"")
    response = server.get("/m/a.txt", timeout=3)
    assert (response.status, response.body) == (200, BODY)


@pytest.mark.parametrize("value, status, body, content_range", [
    ("bytes=10-19", 206, BODY[10:20], "bytes 10-19/200"),
    ("bytes=-5", 206, BODY[-5:], "bytes 195-199/200"),
    ("bytes=190-", 206, BODY[190:], "bytes 190-199/200"),
    ("bytes=200-", 416, None, "bytes */200"),
])
def test_a_range_first_and_a_plain_get_second(serve, emulator, key_file,
                                              value, status, body,
                                              content_range):
    put(emulator)
    server = serve(conf())
    for state in ("MISS", "HIT"):
        part = server.get("/m/a.txt", {"Range": value})
        assert (part.status, part.get("X-Cache")) == (status, state)
        assert part.get("Content-Range") == content_range
        assert body is None or part.body == body
        whole = server.get("/m/a.txt")
        # nginx keeps nothing of what its own filters have refused
        same(whole, 200, whole.get("X-Cache") if status == 416 else "HIT")
        assert whole.get("Content-Range") is None
    assert not any("range" in sent(r) for r in asked(emulator))
    assert len(asked(emulator)) == (2 if status == 416 else 1)


LONG_AGO = "Mon, 28 Sep 1970 06:00:00 GMT"
CONDITIONS = [
    ("If-None-Match", "ETAG", 304),
    ("If-None-Match", '"x", W/ETAG', 304),
    ("If-None-Match", "*", 304),
    ("If-None-Match", '"x"', 200),
    ("If-Modified-Since", "NOW", 304),
    ("If-Modified-Since", LONG_AGO, 200),
    ("If-Match", "ETAG", 200),
    ("If-Match", '"x"', 412),
    ("If-Unmodified-Since", LONG_AGO, 412),
    ("If-Unmodified-Since", "NOW", 200),
]


@pytest.mark.parametrize("name, value, status", CONDITIONS)
def test_conditions_first_and_a_plain_get_second(serve, emulator, key_file,
                                                 name, value, status):
    item = put(emulator)
    value = value.replace("ETAG", item["etag"]).replace(
        "NOW", formatdate(int(item["created"]), usegmt=True))
    server = serve(conf())
    for state in ("MISS", "HIT"):
        answer = server.get("/m/a.txt", {name: value})
        assert (answer.status, answer.get("X-Cache")) == (status, state)
        assert status != 200 or answer.body == BODY
        assert status != 304 or (answer.body == b"" and
                                 answer.get("ETag") == item["etag"])
        whole = server.get("/m/a.txt")
        # nginx keeps nothing of what its own filters have refused
        same(whole, 200, whole.get("X-Cache") if status == 412 else "HIT")
    seen = [set(sent(r)) for r in asked(emulator)]
    assert len(seen) == (2 if status == 412 else 1)
    assert not {h for headers in seen for h in headers if h[:3] == "if-"}


def test_if_range_is_judged_by_nginx_on_what_is_cached(serve, emulator,
                                                       key_file):
    item = put(emulator)
    server = serve(conf())
    for state in ("MISS", "HIT"):
        part = server.get("/m/a.txt", {"Range": "bytes=0-4",
                                       "If-Range": item["etag"]})
        same(part, 206, state, BODY[:5])
        whole = server.get("/m/a.txt", {"Range": "bytes=0-4",
                                        "If-Range": '"other"'})
        same(whole, 200, "HIT")
    assert len(asked(emulator)) == 1


def test_set_cookie_and_vary_of_gcs_do_not_concern_the_cache(
        serve, emulator, key_file):
    put(emulator)
    emulator.fault(kind="storage", count=None, headers=[
        ["Set-Cookie", "a=b"], ["Vary", "Origin, X-Other"]])
    server = serve(conf())
    first = server.get("/m/a.txt", {"Origin": "https://a.example"})
    same(first, 200, "MISS")
    second = server.get("/m/a.txt", {"Origin": "https://b.example",
                                     "X-Other": "1"})
    same(second, 200, "HIT")
    for response in (first, second):
        assert "set-cookie" not in response.names
        assert "Origin" not in (response.get("Vary") or "")
    assert len(asked(emulator)) == 1


@pytest.mark.parametrize("first", [True, False])
def test_a_gzip_object_is_cached_once_for_both_kinds_of_clients(
        serve, emulator, key_file, first):
    stored = gzip.compress(BODY, mtime=0)
    put(emulator, data=stored, content_encoding="gzip")
    server = serve(conf())
    for takes in (first, not first, first):
        response = server.get(
            "/m/a.txt", {"Accept-Encoding": "gzip"} if takes else {})
        assert response.status == 200
        assert response.get("Content-Encoding") == ("gzip" if takes else None)
        assert response.body == (stored if takes else BODY)
    assert len(asked(emulator)) == 1


# who waits for whom


def together(server, path, number=20):
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(lambda _: server.get(path), range(number)))


def test_the_lock_lets_one_of_twenty_ask(serve, emulator, key_file):
    put(emulator)
    emulator.fault(kind="storage", delay=0.3)
    server = serve(conf("proxy_cache_lock on;"))
    answers = together(server, "/m/a.txt")
    assert {(a.status, a.body) for a in answers} == {(200, BODY)}
    assert sorted(a.get("X-Cache") for a in answers) == ["HIT"] * 19 + ["MISS"]
    assert len(asked(emulator)) == 1


def test_the_lock_holds_while_the_token_is_awaited(nginx, emulator, key_file):
    put(emulator)
    emulator.fault(kind="token", delay=0.4)
    server = nginx(conf("proxy_cache_lock on;"))
    answers = together(server, "/m/a.txt")
    assert {(a.status, a.body) for a in answers} == {(200, BODY)}
    assert emulator.counts()["token"] == 1
    assert len(asked(emulator)) <= 2       # the first finds out


def test_objects_that_are_not_cached_are_not_serialised(serve, emulator,
                                                        key_file):
    put(emulator, cache_control=None)      # GCS: private, max-age=0
    server = serve(conf())
    server.get("/m/a.txt")
    emulator.fault(kind="storage", delay=0.3, count=None)
    start = time.monotonic()
    answers = together(server, "/m/a.txt", 10)
    assert {(a.status, a.body) for a in answers} == {(200, BODY)}
    assert {a.get("X-Cache") for a in answers} == {"MISS"}
    assert time.monotonic() - start < 1.5


def test_the_lock_holds_those_that_are_not_cached_no_longer_than_said(
        serve, emulator, key_file):
    put(emulator, cache_control=None)
    server = serve(conf("proxy_cache_lock on; proxy_cache_lock_timeout 1;"))
    server.get("/m/a.txt")
    emulator.fault(kind="storage", delay=0.3, count=None)
    start = time.monotonic()
    answers = together(server, "/m/a.txt", 10)
    assert {(a.status, a.body) for a in answers} == {(200, BODY)}
    assert time.monotonic() - start < 3


def test_an_object_that_is_not_cached_still_has_ranges(serve, emulator,
                                                       key_file):
    put(emulator, cache_control=None)
    server = serve(conf())
    for _ in range(2):
        same(server.get("/m/a.txt", {"Range": "bytes=5-8"}), 206, "MISS",
             BODY[5:9])
        same(server.get("/m/a.txt"), 200, "MISS")


@pytest.mark.parametrize("valid, times", [
    ("", 2), ("proxy_cache_valid 404 1m;", 2), ("proxy_cache_valid 1m;", 1),
    ("proxy_cache_valid 200 1m;", 1), ("proxy_cache_valid any 1m;", 1),
    ("proxy_cache_valid 404 1m; proxy_cache_valid 200 0;", 2)])
def test_an_object_that_does_not_say_how_long_is_cached_as_the_user_says(
        serve, emulator, key_file, valid, times):
    """Not at all, most often: then a part is asked for as without a cache."""
    put(emulator)
    emulator.fault(kind="storage", count=None,
                   remove_headers=["Cache-Control", "Expires"])
    server = serve(conf(valid))
    kept = ["MISS", "HIT"] if times == 1 else ["MISS", "MISS"]
    for status in kept:
        same(server.get("/m/a.txt", {"Range": "bytes=5-8"}), 206, status,
             BODY[5:9])
    # a look for the cache first, and the part itself then
    ranges = [sent(record).get("range") for record in asked(emulator)]
    assert ranges == ([None] if times == 1 else [None, "bytes=5-8"] * 2)


# growing old


def test_an_update_in_the_background_serves_the_old_meanwhile(
        serve, emulator, key_file):
    put(emulator, cache_control=BRIEF)
    server = serve(conf("proxy_cache_background_update on;"
                        "proxy_cache_use_stale updating;"))
    same(server.get("/m/a.txt"), 200, "MISS")
    put(emulator, data=b"new")
    emulator.fault(kind="storage", delay=0.5)

    same(until_expired(server), 200, "STALE")
    same(server.get("/m/a.txt", {"Range": "bytes=3-5"}), 206, "UPDATING",
         BODY[3:6])
    wait_until(lambda: server.get("/m/a.txt").body == b"new")
    same(server.get("/m/a.txt"), 200, "HIT", b"new")
    assert [r["target"] for r in asked(emulator)] == ["/test-bucket/a.txt"] * 2


def test_an_update_in_the_background_takes_nothing_of_the_client(
        serve, emulator, key_file):
    item = put(emulator, cache_control=BRIEF)
    server = serve(conf("proxy_cache_background_update on;"
                        "proxy_cache_use_stale updating;"))
    same(server.get("/m/a.txt"), 200, "MISS")
    put(emulator, data=b"new content")
    until_all_expired()
    same(server.get("/m/a.txt?q=1", {"Range": "bytes=3-5",
                                     "If-Range": item["etag"],
                                     "If-Match": item["etag"]}),
         206, "STALE", BODY[3:6])
    wait_until(lambda: len(asked(emulator)) == 2)
    wait_until(lambda: server.get("/m/a.txt").body == b"new content")
    update = asked(emulator)[1]
    assert update["target"] == "/test-bucket/a.txt"
    assert not {h for h in sent(update) if h == "range" or h[:3] == "if-"}


def test_revalidation_asks_with_the_cached_etag(serve, emulator, key_file):
    item = put(emulator, cache_control=BRIEF)
    server = serve(conf("proxy_cache_revalidate on;"))
    same(server.get("/m/a.txt"), 200, "MISS")
    until_all_expired()
    same(server.get("/m/a.txt", {"If-None-Match": '"the clients"',
                                 "If-Modified-Since": LONG_AGO,
                                 "Range": "bytes=0-9"}),
         206, "REVALIDATED", BODY[:10])
    again = asked(emulator)[1]
    assert again["status"] == 304
    assert sent(again)["if-none-match"] == item["etag"]
    assert sent(again)["if-modified-since"] == formatdate(
        int(item["created"]), usegmt=True)
    assert "range" not in sent(again)

    put(emulator, data=b"new")
    same(until_expired(server), 200, "EXPIRED", b"new")
    same(server.get("/m/a.txt"), 200, "HIT", b"new")


def test_without_revalidation_what_expired_is_fetched_whole(serve, emulator,
                                                            key_file):
    put(emulator, cache_control=BRIEF)
    server = serve(conf())
    same(server.get("/m/a.txt"), 200, "MISS")
    same(until_expired(server), 200, "EXPIRED")
    assert [r["status"] for r in asked(emulator)] == [200, 200]


# errors


def test_a_missing_object_is_remembered_as_such(serve, emulator, key_file):
    server = serve(conf("""proxy_cache_valid 404 1m;
                           proxy_ignore_headers Cache-Control Expires;"""))
    answers = [server.get("/m/nothing.txt") for _ in range(3)]
    assert [(a.status, a.get("X-Cache")) for a in answers] \
        == [(404, "MISS"), (404, "HIT"), (404, "HIT")]
    for answer in answers:
        assert b"<Code>" not in answer.body and b"nginx" in answer.body
    assert len(asked(emulator)) == 1


def test_errors_are_not_remembered_unasked(serve, emulator, key_file):
    server = serve(conf("proxy_cache_valid 200 1m;"
                        "proxy_ignore_headers Cache-Control Expires;"))
    assert server.get("/m/late.txt").status == 404
    put(emulator, "late.txt")
    same(server.get("/m/late.txt"), 200, "MISS")


FAILURES = {                               # what GCS does, and when it is so
    "http_429": {"status": 429}, "http_500": {"status": 500},
    "http_502": {"status": 502}, "http_503": {"status": 503},
    "http_504": {"status": 504}, "http_403": {"status": 403},
    "http_404": {"status": 404}, "error": {"reset": "before_headers"},
    "timeout": {"hang": True},
}


def test_a_stale_object_is_served_when_gcs_fails(serve, emulator, key_file):
    for word in FAILURES:
        put(emulator, word, cache_control=BRIEF)
    text = conf(*[f"""location /{word}/ {{
                          gcs_pass gs://test-bucket; proxy_cache z;
                          proxy_next_upstream_tries 1;
                          proxy_read_timeout 500ms;
                          proxy_cache_use_stale {word}; }}"""
                  for word in list(FAILURES)[:1]])
    more = "".join(f"""location /{word}/ {{
                           gcs_pass gs://test-bucket; proxy_cache z;
                           proxy_next_upstream_tries 1;
                           proxy_read_timeout 500ms;
                           proxy_cache_use_stale {word}; }}"""
                   for word in list(FAILURES)[1:])
    server = serve(text.rstrip().rstrip("}") + more + "}")
    for word in FAILURES:
        same(server.get(f"/{word}/{word}"), 200, "MISS")
    until_all_expired()

    wrong = {}
    for word, fault in FAILURES.items():
        emulator.fault(kind="storage", count=None, path=f"/{word}$",
                       retry_after=1, **fault)
        answer = server.get(f"/{word}/{word}")
        if (answer.status, answer.get("X-Cache"), answer.body,
                answer.get("Retry-After")) != (200, "STALE", BODY, None):
            wrong[word] = (answer.status, answer.get("X-Cache"))
    assert wrong == {}


def test_without_use_stale_a_failure_is_told(serve, emulator, key_file):
    put(emulator, cache_control=BRIEF)
    server = serve(conf("proxy_next_upstream_tries 1;"))
    same(server.get("/m/a.txt"), 200, "MISS")
    until_all_expired()
    emulator.fault(kind="storage", status=503, count=None)
    assert server.get("/m/a.txt").status == 503
    emulator.clear_faults()
    same(server.get("/m/a.txt"), 200, "EXPIRED")


def test_a_retry_fills_the_cache_with_the_right_bytes(serve, emulator,
                                                      key_file):
    put(emulator, data=None, size=700_000, seed=3)
    server = serve(conf())
    for fault in ({"status": 503}, {"revoke_tokens": True}):
        emulator.fault(kind="storage", **fault)
    same(server.get("/m/a.txt", {"Range": "bytes=500-100499"}), 206, "MISS",
         content(3, 500, 100_500))
    # the client has its part before the cache has the whole
    wait_until(lambda: list((server.dir / "cache").iterdir()))
    same(server.get("/m/a.txt"), 200, "HIT", content(3, 0, 700_000))
    assert [r["status"] for r in asked(emulator)] == [503, 401, 200]


def test_an_object_that_was_cut_off_is_not_cached(serve, emulator, key_file):
    put(emulator, data=None, size=700_000, seed=3)
    emulator.fault(kind="storage", truncate_after=300_000)
    server = serve(conf())
    with pytest.raises(ConnectionError):
        server.get("/m/a.txt")
    same(server.get("/m/a.txt"), 200, "MISS", content(3, 0, 700_000))


# tokens


def two_lives(nginx, tmp_path, first, second, **kw):
    """Fill a cache, then start again with another configuration."""
    place = "proxy_cache_path %%DIR%%/cache", f"proxy_cache_path {tmp_path}/c"
    filled = nginx(first.replace(*place))
    filled.wait_log("token refreshed")
    yield filled
    filled.quit()
    yield nginx(second.replace(*place), **kw)


def test_what_is_cached_needs_no_token(nginx, emulator, key_file, tmp_path):
    put(emulator)
    dead = f"token_endpoint http://127.0.0.1:{free_port()}/token;"
    lives = two_lives(nginx, tmp_path, conf(), conf(credentials=dead))
    same(next(lives).get("/m/a.txt"), 200, "MISS")
    server = next(lives)
    emulator.reset_requests()

    same(server.get("/m/a.txt"), 200, "HIT")
    same(server.get("/m/a.txt", {"Range": "bytes=1-2"}), 206, "HIT", BODY[1:3])
    assert asked(emulator) == []


def test_what_is_not_cached_is_a_502_without_a_token(nginx, emulator,
                                                     key_file):
    put(emulator)
    dead = f"token_endpoint http://127.0.0.1:{free_port()}/token;"
    server = nginx(conf(credentials=dead))
    for _ in range(5):
        answer = server.get("/m/a.txt")
        assert answer.status == 502
        assert answer.get("X-Error") == "token_unavailable"
    assert len(asked(emulator)) <= 1       # while the first fetch is under way
    assert 'no token of gcs credentials "reader": ' in server.log()


def test_a_token_endpoint_that_refuses_is_no_reason_to_ask_gcs(
        nginx, emulator, key_file):
    put(emulator)
    emulator.fault(kind="token", status=400, count=None,
                   body='{"error":"invalid_grant"}',
                   content_type="application/json")
    server = nginx(conf())
    server.wait_log("invalid_grant")
    assert server.get("/m/a.txt").status == 502
    assert asked(emulator) == []


def test_without_a_token_a_stale_object_is_better_than_none(
        nginx, emulator, key_file, tmp_path):
    put(emulator, cache_control=BRIEF)
    dead = f"token_endpoint http://127.0.0.1:{free_port()}/token;"
    lives = two_lives(nginx, tmp_path, conf(),
                      conf("proxy_cache_use_stale error;", credentials=dead))
    same(next(lives).get("/m/a.txt"), 200, "MISS")
    server = next(lives)
    server.wait_log("token")
    until_all_expired()
    same(server.get("/m/a.txt"), 200, "STALE")


def test_a_miss_waits_for_the_token(nginx, emulator, key_file):
    put(emulator)
    emulator.fault(kind="token", delay=0.4)
    server = nginx(conf())
    same(server.get("/m/a.txt", {"Range": "bytes=2-4"}), 206, "MISS",
         BODY[2:5])
    same(server.get("/m/a.txt"), 200, "HIT")
    assert emulator.counts()["token"] == 1
    assert [r["status"] for r in asked(emulator)] in ([401, 200], [200])


def test_a_miss_waits_no_longer_than_gcs_token_timeout(nginx, emulator,
                                                       key_file, tmp_path):
    put(emulator)
    lives = two_lives(
        nginx, tmp_path, conf(),
        conf("gcs_token_timeout 300ms;").replace("%%KEY%%", "%%KEY2%%"),
        KEY2=key_file)
    same(next(lives).get("/m/a.txt"), 200, "MISS")
    emulator.fault(kind="token", hang=True, count=None)
    put(emulator, "b.txt")
    server = next(lives)

    start = time.monotonic()
    answer = server.get("/m/b.txt")
    assert (answer.status, answer.get("X-Error")) == (504, "token_timeout")
    assert 0.25 < time.monotonic() - start < 2
    same(server.get("/m/a.txt"), 200, "HIT")


# by and around


def test_proxy_cache_bypass_fetches_and_refreshes(serve, emulator, key_file):
    put(emulator)
    server = serve(conf("proxy_cache_bypass $arg_fresh;"))
    same(server.get("/m/a.txt"), 200, "MISS")
    put(emulator, data=b"new content")
    same(server.get("/m/a.txt"), 200, "HIT")
    same(server.get("/m/a.txt?fresh=1", {"Range": "bytes=0-2"}), 206,
         "BYPASS", b"new")
    same(server.get("/m/a.txt"), 200, "HIT", b"new content")
    assert ["range" in sent(r) for r in asked(emulator)] == [False, False]


def test_proxy_no_cache_keeps_nothing(serve, emulator, key_file):
    put(emulator)
    server = serve(conf("proxy_no_cache $arg_never;"))
    for _ in range(2):
        same(server.get("/m/a.txt?never=1"), 200, "MISS")
        same(server.get("/m/a.txt?never=1", {"Range": "bytes=7-9"}), 206,
             "MISS", BODY[7:10])
    same(server.get("/m/a.txt"), 200, "MISS")
    same(server.get("/m/a.txt?never=1"), 200, "HIT")


def test_proxy_cache_min_uses_counts(serve, emulator, key_file):
    put(emulator)
    server = serve(conf("proxy_cache_min_uses 2;"))
    same(server.get("/m/a.txt", {"Range": "bytes=1-3"}), 206, "MISS",
         BODY[1:4])
    same(server.get("/m/a.txt", {"Range": "bytes=1-3"}), 206, "MISS",
         BODY[1:4])
    same(server.get("/m/a.txt"), 200, "HIT")
    assert len(asked(emulator)) == 2


def test_access_rules_hold_for_what_is_cached(serve, emulator, key_file):
    put(emulator)
    server = serve(conf("", """location /n/ {
        gcs_pass gs://test-bucket; proxy_cache z;
        auth_request /no; }
        location = /no { return 403; }"""))
    same(server.get("/m/a.txt"), 200, "MISS")
    assert server.get("/n/a.txt").status == 403
    assert server.request("PUT", "/m/a.txt", body=b"x").status == 405


def test_the_answer_from_the_cache_is_as_clean_as_the_first(serve, emulator,
                                                            key_file):
    put(emulator, metadata={"secret": "1"})
    server = serve(conf())
    first, second = server.get("/m/a.txt"), server.get("/m/a.txt")
    same(first, 200, "MISS")
    same(second, 200, "HIT")
    assert not {n for n in second.names
                if n.startswith(("x-goog", "x-guploader", "alt-svc"))}
    assert first.names == second.names
    assert second.all("X-Content-Type-Options") == ["nosniff"]

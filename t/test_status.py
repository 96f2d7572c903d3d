"""gcs_status: the counters are exact, shared by all workers, and outlive them.

What is shown in which form, and to whom, is in test_status_page.py.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from emulator import content
from harness.nginx import wait_until

CONF = """
    gcs_credentials reader {{ file %%KEY%%; }}
    {http}
    server {{
        listen       127.0.0.1:%%PORT%%;
        server_name  media.example;
        gcs_endpoint %%EMULATOR%%;
        gcs_auth     reader;
        add_header   X-Pid $pid always;
        location /media/ {{ gcs_pass gs://test-bucket/; {media} }}
        {server}
        location = /status {{ gcs_status; }}
        location = /ping {{ return 200 $pid; }}
    }}"""


@pytest.fixture
def serve(nginx, emulator, bucket, key_file):
    emulator.put_object(bucket, "a.txt", b"0123456789",
                        content_type="text/plain")

    def start(server="", media="", http="", **kw):
        text = CONF.format(server=server, media=media, http=http)
        instance = nginx(text, **kw)
        instance.wait_log("token refreshed")
        return instance

    return start


def status(server) -> dict:
    answer = server.get("/status")
    assert answer.status == 200, answer.text
    return answer.json()


def row(server, location="/media/", bucket="test-bucket",
        name="media.example") -> dict:
    found = [entry for entry in status(server)["requests"]
             if (entry["server"], entry["location"], entry["bucket"])
             == (name, location, bucket)]
    assert len(found) <= 1, "it is there twice"
    return found[0] if found else {"requests": 0}


def settled(server, requests: int, **kw) -> dict:
    """The row when so many requests are counted: nginx does so after it has
    answered."""
    wait_until(lambda: row(server, **kw)["requests"] >= requests)
    found = row(server, **kw)
    assert found["requests"] == requests
    return found


def credentials(server, name="reader") -> dict:
    return next(entry for entry in status(server)["credentials"]
                if entry["credentials"] == name)


def codes(entry: dict) -> dict[str, int]:
    return {code: count for code, count in entry["statuses"].items() if count}


def pids(server, target="/ping") -> set[str]:
    return {server.get(target).text for _ in range(40)}


# requests

def test_each_request_of_each_worker_is_counted_once(serve, emulator):
    server = serve(workers=3)
    emulator.put_object("test-bucket", "big", size=300_000)
    asked = [("/media/a.txt", {}, 200)] * 60 + [
        ("/media/a.txt", {"Range": "bytes=0-3"}, 206),
        ("/media/a.txt", {"Range": "bytes=90-"}, 416),
        ("/media/a.txt", {"If-Match": '"x"'}, 412),
        ("/media/none", {}, 404), ("/media/none", {}, 404),
        ("/media/big", {}, 200)] * 5

    def ask(question):
        target, headers, expected = question
        answer = server.get(target, headers)
        assert answer.status == expected, target
        return answer.get("X-Pid"), len(answer.body)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, asked))
    assert len({pid for pid, _ in answers}) > 1, "one worker did it all"

    found = settled(server, 90)
    assert codes(found) == {"2xx": 70, "200": 65, "206": 5, "4xx": 20,
                            "404": 10, "412": 5, "416": 5}
    assert found["upstream"]["requests"] == 90
    assert found["upstream"]["retries"] == 0
    assert found["sent_bytes"] > sum(size for _, size in answers) + 90 * 100


def test_what_is_sent_is_counted_to_the_byte(serve):
    server = serve()
    received = b""
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET /media/a.txt HTTP/1.1\r\nHost: x\r\n"
                     b"Connection: close\r\n\r\n")
        while data := sock.recv(65536):
            received += data
    assert settled(server, 1)["sent_bytes"] == len(received)


def test_an_error_page_elsewhere_does_not_hide_the_request(serve):
    server = serve("location = /sorry { return 200 sorry; }",
                   media="error_page 404 /sorry;")
    assert server.get("/media/none").text == "sorry"
    assert codes(settled(server, 1)) == {"4xx": 1, "404": 1}


def test_what_nginx_refuses_by_itself_is_counted_too(serve):
    server = serve("""location /closed/ { gcs_pass gs://test-bucket/;
                                          deny all; }""")
    assert server.request("POST", "/media/a.txt").status == 405
    assert server.get("/closed/a.txt").status == 403
    assert codes(settled(server, 1)) == {"4xx": 1}
    found = settled(server, 1, location="/closed/")
    assert codes(found) == {"4xx": 1, "403": 1}
    assert found["upstream"]["requests"] == 0


def test_locations_are_told_apart_as_they_are_written(serve):
    server = serve("""
        location = /a { gcs_pass gs://test-bucket/a.txt; }
        location ^~ /b/ { gcs_pass gs://test-bucket/; }
        location ~ ^/re/(?<name>.*)$ {
            gcs_pass gs://test-bucket/$name; gcs_buckets test-bucket; }""")
    for target in ("/a", "/b/a.txt", "/b/a.txt", "/re/a.txt"):
        assert server.get(target).status == 200
    settled(server, 1, location="= /a")
    settled(server, 2, location="^~ /b/")
    settled(server, 1, location="~ ^/re/(?<name>.*)$")
    assert row(server)["requests"] == 0


def test_a_rewrite_takes_all_of_a_request_elsewhere(serve):
    """Also when a variable was asked for in the location before."""
    server = serve(server="""
        location /plain/ { set $early $gcs_object;
                           rewrite ^/plain/(.*)$ /media/$1 last; }
        location /other/ { set $early $gcs_object; gcs_pass gs://test-bucket/;
                           rewrite ^/other/(.*)$ /media/$1 last; }""")
    for place in ("plain", "other"):
        assert server.get(f"/{place}/a.txt").status == 200
    assert settled(server, 2)["upstream"]["requests"] == 2
    other = row(server, "/other/")
    assert (other["requests"], other["upstream"]["requests"]) == (0, 0)


def test_servers_of_one_name_share_their_rows_and_others_do_not(serve):
    other = """server { listen 127.0.0.1:%%PORT_B%%; server_name {};
        gcs_endpoint %%EMULATOR%%; gcs_auth reader;
        location /media/ {{ gcs_pass gs://test-bucket/; }} }}"""
    server = serve(http=other.replace("{}", "media.example")
                   .replace("{{", "{").replace("}}", "}")
                   + other.replace("{}", "other.example b.example")
                   .replace("{{", "{").replace("}}", "}")
                   .replace("PORT_B", "PORT_C"))
    assert server.get("/media/a.txt").status == 200
    assert server.get("/media/a.txt", port=server.ports["PORT_B"]).status == 200
    assert server.get("/media/a.txt", port=server.ports["PORT_C"]).status == 200
    settled(server, 2)
    settled(server, 1, name="other.example")


def test_blocks_of_if_and_limit_except_count_for_their_location(serve):
    server = serve(media="""if ($arg_x) { add_header X-If yes; }
                            limit_except GET { deny all; }""")
    assert server.get("/media/a.txt?x=1").get("X-If") == "yes"
    assert server.request("DELETE", "/media/a.txt").status == 403
    assert codes(settled(server, 2)) == {"2xx": 1, "200": 1, "4xx": 1,
                                         "403": 1}


def test_subrequests_that_are_logged_are_counted_once(serve):
    server = serve(server="""log_subrequest on;
        location /guarded/ { auth_request /media/a.txt; alias %%DIR%%/; }
        location /both/ { auth_request /media/a.txt;
                          gcs_pass gs://test-bucket/; }""")
    assert server.get("/both/a.txt").status == 200
    assert settled(server, 1, location="/both/")
    assert row(server)["requests"] == 0


def test_slices_count_as_requests_to_cloud_storage_but_not_of_clients(
        serve, emulator):
    emulator.put_object("test-bucket", "big", size=5 << 20, seed=7)
    server = serve(media="slice 1m;")
    assert server.get("/media/big").body == content(7, 0, 5 << 20)
    assert settled(server, 1)["upstream"]["requests"] == 5


def test_what_a_cache_answers_is_no_request_to_cloud_storage(serve, emulator):
    emulator.put_object("test-bucket", "c", b"x",
                        cache_control="public, max-age=60")
    server = serve(http="proxy_cache_path %%DIR%%/cache keys_zone=z:1m;",
                   media="proxy_cache z;")
    for _ in range(3):
        assert server.get("/media/c").body == b"x"
    assert settled(server, 3)["upstream"]["requests"] == 1


def test_retries_and_the_time_of_each_request_are_counted(serve, emulator):
    server = serve()
    emulator.fault(kind="storage", status=503)
    emulator.fault(kind="storage", delay=0.3)
    assert server.get("/media/a.txt").status == 200
    found = settled(server, 1)
    upstream = found["upstream"]
    assert codes(found) == {"2xx": 1, "200": 1}
    assert (upstream["requests"], upstream["retries"]) == (2, 1)
    assert upstream["seconds"] >= 0.3
    limits = list(upstream["histogram"].values())
    assert limits == sorted(limits) and limits[-1] == 2
    assert upstream["histogram"]["0.25"] <= 1


def test_endpoints_that_fail_are_seen(serve, emulator):
    server = serve(media="proxy_read_timeout 300ms;")
    emulator.fault(kind="storage", status=500, count=None)
    assert server.get("/media/a.txt").status == 502
    emulator.clear_faults()
    emulator.fault(kind="storage", hang=True, count=None)
    assert server.get("/media/a.txt").status == 504
    assert codes(settled(server, 2)) == {"5xx": 2, "502": 1, "504": 1}


# buckets

def test_each_bucket_of_a_variable_has_its_row_and_too_many_share_one(
        serve, emulator):
    names = [f"bucket-{number:03}" for number in range(70)]
    for name in names:
        emulator.create_bucket(name, public=True)
        emulator.put_object(name, "a", b"x", public=True)
    server = serve("""location ~ ^/(?<b>bucket-\\d+)/(?<o>.*)$ {
                          gcs_pass gs://$b/$o; gcs_auth anonymous;
                          gcs_buckets %s; }
                      """ % " ".join(names), workers=2)
    for name in names:
        assert server.get(f"/{name}/a").status == 200
    assert server.get("/bucket-999/a").status == 403

    place = "~ ^/(?<b>bucket-\\d+)/(?<o>.*)$"
    settled(server, 6, location=place, bucket="(other)")
    for name in names[:64]:
        settled(server, 1, location=place, bucket=name)
    assert codes(settled(server, 1, location=place, bucket="")) \
        == {"4xx": 1, "403": 1}
    assert len([entry for entry in status(server)["requests"]
                if entry["location"] == place]) == 66


def test_a_client_cannot_name_rows(serve):
    server = serve("""location ~ ^/any/(?<b>[^/]+)/(?<o>.*)$ {
                          gcs_pass gs://$b/$o; gcs_buckets test-bucket; }""")
    for number in range(150):
        assert server.get(f"/any/bucket-{number}/a.txt").status == 403
    settled(server, 150, location="~ ^/any/(?<b>[^/]+)/(?<o>.*)$", bucket="")
    assert len(status(server)["requests"]) == 3


# reloads and deaths

def test_a_reload_keeps_the_counters_also_of_changed_configurations(serve):
    server = serve(workers=2)
    for _ in range(10):
        assert server.get("/media/a.txt").status == 200
    settled(server, 10)
    server.reload(old_gone=True)
    assert server.get("/media/a.txt").status == 200
    settled(server, 11)

    more = "".join("location /more-%d/ { gcs_pass gs://test-bucket/; }\n" % n
                   for n in range(5))
    server.configure(CONF.format(server=more, media="", http=""))
    server.reload(old_gone=True)
    assert server.get("/media/a.txt").status == 200
    assert server.get("/more-3/a.txt").status == 200
    settled(server, 12)
    settled(server, 1, location="/more-3/")


def test_a_larger_table_takes_over_what_the_smaller_had_counted(serve):
    server = serve()
    for _ in range(7):
        assert server.get("/media/a.txt").status == 200
    settled(server, 7)
    more = "".join("location /more-%d/ { gcs_pass gs://test-bucket/; }\n" % n
                   for n in range(200))
    server.configure(CONF.format(server=more, media="", http=""))
    server.reload(old_gone=True)
    assert server.get("/media/a.txt").status == 200
    settled(server, 8)
    # and it stays large: a reload back loses nothing either
    server.configure(CONF.format(server="", media="", http=""))
    server.reload(old_gone=True)
    settled(server, 8)


def test_names_that_come_and_go_never_fill_the_table(serve):
    server = serve()
    assert server.get("/media/a.txt").status == 200
    settled(server, 1)
    for turn in range(6):
        more = "".join(
            "location /t%d-%d/ { gcs_pass gs://test-bucket/; }\n" % (turn, n)
            for n in range(15))
        server.configure(CONF.format(server=more, media="", http=""))
        server.reload(old_gone=True)
        assert server.get(f"/t{turn}-14/a.txt").status == 200
        settled(server, 1, location=f"/t{turn}-14/")
    settled(server, 1)
    assert len(status(server)["requests"]) == 16


def test_an_old_worker_counts_on_after_a_reload(serve, emulator):
    emulator.put_object("test-bucket", "slow", b"x")
    server = serve()
    old = server.get("/ping").text
    emulator.fault(kind="storage", path="/slow", delay=1.5)
    with server.connect() as connection:
        connection.send(b"GET /media/slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: len(emulator.requests("storage")) == 1)
        server.reload()
        wait_until(lambda: server.get("/ping").text != old)
        assert row(server)["requests"] == 0
        answer = connection.response("GET")
        assert (answer.status, answer.get("X-Pid")) == (200, old)
    settled(server, 1)


def test_a_worker_that_is_killed_takes_nothing_with_it(serve):
    server = serve(workers=2)
    server.expect(r"exited on signal 9")
    for _ in range(20):
        assert server.get("/media/a.txt").status == 200
    settled(server, 20)
    for pid in server.children():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(server.log().split("exited on signal 9")) == 3)

    def answers() -> bool:
        try:
            return server.get("/media/a.txt").status == 200
        except OSError:
            return False

    wait_until(answers)
    settled(server, 21)


def test_workers_that_are_killed_while_they_count_stop_nobody(serve):
    server = serve(workers=2)
    server.expect(r"exited on signal 9")

    def ask(_):
        try:
            return server.get("/media/a.txt", timeout=10).status == 200
        except OSError:
            return False

    with ThreadPoolExecutor(6) as pool:
        answers = pool.map(ask, range(400))
        for _ in range(8):
            time.sleep(0.05)
            try:
                os.kill(server.children()[0], signal.SIGKILL)
            except (IndexError, ProcessLookupError):
                pass
        good = sum(answers)
    wait_until(lambda: row(server)["requests"] >= good - 16)
    before = row(server)["requests"]
    assert server.get("/media/a.txt").status == 200
    settled(server, before + 1)


# credentials

def test_the_token_is_told(serve, emulator):
    server = serve()
    token = credentials(server)["token"]
    assert (token["state"], token["fetches"], token["failures"]) \
        == ("valid", 1, 0)
    assert 0 <= token["age"] < 30
    assert 3500 < token["expires_in"] <= 3600


def test_fetches_that_fail_are_counted(nginx, emulator, bucket, key_file):
    emulator.fault(kind="token", status=500, count=2)
    server = nginx(CONF.format(server="", media="", http=""))
    server.wait_log("could not be fetched")
    token = credentials(server)["token"]
    assert (token["state"], token["failures"]) == ("failed", 1)
    assert "age" not in token and token["expires_in"] == 0
    assert server.get("/media/a.txt").status == 502
    server.wait_log("token refreshed", 20)
    token = credentials(server)["token"]
    assert (token["state"], token["fetches"], token["failures"]) \
        == ("valid", 3, 2)


PRESIGN = """location /signed/ { gcs_pass gs://test-bucket/;
                                 gcs_mode presign; %s }"""


def signed(server, count, target="/signed/a.txt", expected=303):
    for _ in range(count):
        assert server.get(target).status == expected


def test_signatures_of_a_key_are_counted(serve):
    server = serve(PRESIGN % "")
    signed(server, 4)
    found = credentials(server)
    assert found["signatures"] == {"key": 4, "iam": 0, "failures": 0}
    assert found["presign_cache"] == {"hits": 0, "misses": 0}
    assert codes(settled(server, 4, location="/signed/")) == {"3xx": 4}


def test_hits_and_misses_of_the_cache_are_counted(serve):
    server = serve(PRESIGN % "gcs_presign_window 1h; "
                   "gcs_presign_cache zone=urls:1m; gcs_presign_ttl 12h;",
                   workers=2)
    signed(server, 5)
    signed(server, 2, "/signed/b.txt")
    found = credentials(server)
    assert found["presign_cache"] == {"hits": 5, "misses": 2}
    assert found["signatures"] == {"key": 2, "iam": 0, "failures": 0}


def test_signatures_of_iam_and_their_failures_are_counted(serve, emulator):
    account = "attached@demo-project.iam.gserviceaccount.com"
    emulator.metadata_account(account, grants={"test-bucket": "objectViewer"})
    emulator.set_policy(account, {
        "roles/iam.serviceAccountTokenCreator": ["serviceAccount:" + account]})
    server = serve(PRESIGN % "gcs_auth machine;", http="""
        gcs_credentials machine { metadata_server %s;
                                  iam_endpoint %%%%EMULATOR%%%%; }
        """ % emulator.metadata_host)
    signed(server, 3)
    found = credentials(server, "machine")
    assert found["signatures"] == {"key": 0, "iam": 1, "failures": 0}
    assert found["presign_cache"] == {"hits": 2, "misses": 1}
    assert credentials(server)["signatures"]["iam"] == 0

    emulator.fault(kind="iam", status=403, count=1)
    signed(server, 1, "/signed/b.txt", 502)
    assert credentials(server, "machine")["signatures"] \
        == {"key": 0, "iam": 1, "failures": 1}
    # the token that IAM is asked with is another
    assert credentials(server, "machine (signing)")["token"]["state"] \
        == "valid"


def test_a_url_that_is_needed_early_is_remembered_too(serve):
    server = serve("""location /early/ {
        gcs_object gs://test-bucket/a.txt; return 200 $gcs_signed_url;
        gcs_presign_cache zone=early:1m; gcs_presign_window 5m; }""")
    assert server.get("/early/").text == server.get("/early/").text
    assert credentials(server)["signatures"]["key"] == 1
    assert credentials(server)["presign_cache"] == {"hits": 1, "misses": 1}


def test_signatures_outlive_a_reload(serve):
    server = serve(PRESIGN % "")
    signed(server, 2)
    server.reload(old_gone=True)
    signed(server, 1)
    assert credentials(server)["signatures"]["key"] == 3
    assert credentials(server)["token"]["fetches"] == 1


def test_a_key_for_hmac_has_signatures_but_no_token(serve, emulator,
                                                    tmp_path):
    name, secret = emulator.hmac_key("interop@p.iam.gserviceaccount.com")
    (tmp_path / "secret").touch(0o600)
    (tmp_path / "secret").write_text(secret)
    server = serve(http="gcs_credentials interop { hmac_key "
                        f"{name} {tmp_path}/secret; }}", secrets=[secret],
                   server="""location /signed/ { gcs_pass gs://test-bucket/;
                             gcs_auth interop; gcs_mode presign; }""")
    signed(server, 3)
    assert "token" not in credentials(server, "interop")
    assert credentials(server, "interop")["signatures"]["key"] == 3


# takeovers

def test_takeovers_are_counted_by_their_verdict(serve):
    server = serve("""
        gcs_takeover_unsigned on;
        location /files/ {
            proxy_pass http://127.0.0.1:%%PORT_APP%%;
            gcs_takeover @gcs;
            gcs_takeover_cache zone=verdicts:1m valid=60s;
        }
        location @gcs { gcs_pass $gcs_takeover_url;
                        gcs_buckets test-bucket; }
        """, http="""server { listen 127.0.0.1:%%PORT_APP%%;
            location /files/a { return 302
                "https://storage.googleapis.com/test-bucket/a.txt"; }
            location /files/b { return 200 mine; }
            location /files/c { return 403; }
            location /files/d { add_header X-Accel-Redirect
            "/file_download/https/storage.googleapis.com/test-bucket/a.txt";
                                return 200; } }""")
    one, two = {"Cookie": "one"}, {"Cookie": "two"}
    assert server.get("/files/a", one).body == b"0123456789"
    assert server.get("/files/a", one).body == b"0123456789"
    assert server.get("/files/a", two).body == b"0123456789"
    assert server.get("/files/b", one).text == "mine"
    assert server.get("/files/c", one).status == 403
    assert server.get("/files/c", one).status == 403
    assert server.get("/files/d", one).body == b"0123456789"

    def verdicts() -> dict[str, int]:
        found, = status(server)["takeovers"]
        assert (found["server"], found["location"]) \
            == ("media.example", "/files/")
        return found["verdicts"]

    wait_until(lambda: sum(verdicts().values()) == 7)
    assert verdicts() == {"redirect": 2, "accel": 1, "oracle": 0,
                          "cached": 1, "denied": 1, "passed": 2}
    found = settled(server, 4, location="@gcs")
    assert found["upstream"]["requests"] == 4
    # what the application has answered is no request to Cloud Storage
    assert [entry["location"] for entry in status(server)["requests"]] \
        == ["/media/", "@gcs"]


# without the directive

def test_without_the_directive_there_is_no_memory_for_it(
        nginx, emulator, bucket, key_file):
    emulator.put_object(bucket, "a.txt", b"hi")
    text = """
        gcs_credentials reader { file %%KEY%%; }
        server { listen 127.0.0.1:%%PORT%%; gcs_endpoint %%EMULATOR%%;
                 gcs_auth reader;
                 location /media/ { gcs_pass gs://test-bucket/; }
                 location /signed/ { gcs_pass gs://test-bucket/;
                                     gcs_mode presign; } SHOW }"""
    server = nginx(text.replace("SHOW", ""), log_level="debug")

    def zones() -> int:
        maps = [line for line in
                open(f"/proc/{server.children()[0]}/maps")
                if "/dev/zero" in line or "SYSV" in line]
        return len(maps)

    assert server.get("/media/a.txt").body == b"hi"
    assert server.get("/signed/a.txt").status == 303
    without = zones()
    server.configure(text.replace("SHOW", "location /s { gcs_status; }"))
    server.reload(old_gone=True)
    assert zones() == without + 1
    server.configure(text.replace("SHOW", ""))
    server.reload(old_gone=True)
    assert zones() == without
    assert server.get("/media/a.txt").body == b"hi"

"""gcs_check: each step tells what was found, and the whole is 200 or 503.

What a failed step says about its cause is in test_check_causes.py, who may
ask, and how runs are shared, in test_check_runs.py.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from harness.nginx import free_port

CONF = """
    gcs_credentials reader {{ {credentials} }}
    {http}
    server {{
        listen       127.0.0.1:%%PORT%%;
        gcs_endpoint {endpoint};
        {server}
        location = /check {{
            gcs_check gs://test-bucket/{arguments};
            gcs_auth {auth};
            {location}
        }}
    }}"""

STEPS = ["credential", "token", "tls", "clock", "bucket", "list", "read",
         "range", "sign", "write", "cors"]
READS = {"credential": "ok", "token": "ok", "tls": "skipped", "clock": "ok",
         "bucket": "skipped", "list": "ok", "read": "ok", "range": "ok",
         "sign": "ok", "write": "skipped", "cors": "skipped"}
ORIGIN = "https://label.example.com"


@pytest.fixture
def check(nginx, emulator, bucket, key_file):
    """Starts nginx with a gcs_check of the bucket."""
    def start(arguments="", location="", *, endpoint="%%EMULATOR%%",
              server="", http="", credentials="file %%KEY%%;",
              auth="reader", **kw):
        return nginx(CONF.format(
            arguments=arguments, location=location, endpoint=endpoint,
            server=server, http=http, credentials=credentials, auth=auth),
            **kw)

    return start


@pytest.fixture
def filled(emulator, bucket):
    emulator.put_object(bucket, "a.txt", b"0123456789")
    return emulator


def ask(server, target="/check") -> tuple[int, dict]:
    answer = server.get(target)
    assert answer.get("Content-Type") == "application/json", answer.text
    assert answer.get("Cache-Control") == "no-store"
    assert answer.get("X-Content-Type-Options") == "nosniff"
    report = answer.json()
    assert answer.status == {"ok": 200, "failed": 503}[report["status"]]
    assert [step["step"] for step in report["steps"]] == STEPS
    return answer.status, report


def step(report: dict, name: str) -> dict:
    return next(step for step in report["steps"] if step["step"] == name)


def states(report: dict) -> dict[str, str]:
    return {step["step"]: step["status"] for step in report["steps"]}


def email(key_file: Path) -> str:
    return json.loads(key_file.read_text())["client_email"]


# the whole

def test_who_may_read_the_bucket_passes(check, filled, key_file):
    status, report = ask(check())
    assert status == 200
    assert states(report) == READS
    assert report["url"] == "gs://test-bucket/"
    assert report["credentials"] == "reader"
    assert report["type"] == "service account key"
    assert report["account"] == email(key_file)
    assert report["endpoint"] == filled.url
    assert report["age"] <= 1
    when = time.strptime(report["checked"], "%Y-%m-%dT%H:%M:%SZ")
    assert abs(time.mktime(when) - time.mktime(time.gmtime())) < 10
    assert step(report, "read")["message"] == '"a.txt" was read'
    assert [s["step"] for s in report["steps"] if s["required"]] \
        == ["credential", "token", "read"]


def test_what_was_asked_is_no_more_than_that(check, filled, bucket):
    ask(check())
    storage = filled.requests("storage")
    assert [(r["method"], r["target"].partition("?")[0]) for r in storage] == [
        ("GET", "/storage/v1/b/test-bucket"),
        ("GET", "/storage/v1/b/test-bucket/o"),
        ("GET", "/test-bucket/a.txt"), ("GET", "/test-bucket/a.txt")]
    assert [r["credential"] for r in storage] == ["valid"] * 3 + ["signed URL"]
    for record in storage[2:]:
        names = {name.lower(): value for name, value in record["headers"]}
        assert names["range"] == "bytes=0-0"
        assert record["sent"] == 1
    assert "authorization" not in names


def test_head_has_the_status_and_no_body(check, filled, emulator, key_file):
    server = check("none/ valid=0")
    assert server.head("/check").status == 200
    emulator.grant(email(key_file), "test-bucket", [])
    answer = server.head("/check")
    assert (answer.status, answer.body) == (503, b"")
    assert int(answer.get("Content-Length")) > 500


@pytest.mark.parametrize("arguments, expected", [
    ("", 503), (" require=credential", 200), (" require=token,credential",
                                              200),
    (" require=credential,read", 503), (" require=list", 503),
    (" require=token,clock", 200), (" require=tls", 200)])
def test_only_required_steps_decide(check, filled, emulator, key_file,
                                    arguments, expected):
    emulator.grant(email(key_file), "test-bucket", [])
    status, report = ask(check(arguments))
    assert status == expected
    assert states(report)["list"] == "failed"


def test_a_required_step_that_is_skipped_fails_the_whole(check, filled):
    status, report = ask(check(" require=bucket"))
    assert (status, states(report)["bucket"]) == (503, "skipped")


# credential and token

def test_the_token_step_tells_how_long_it_is_valid(check, filled):
    _, report = ask(check())
    message = step(report, "token")["message"]
    seconds = int(message.removeprefix("there is one, it expires in ")
                  .removesuffix(" s"))
    assert 3500 < seconds < 3600


def test_a_file_replaced_by_a_bad_one_is_warned_of(check, filled, key_file):
    server = check(" valid=0")
    assert ask(server)[0] == 200
    key_file.write_text('{"type": "service_account", "client_email": "x@y"}')
    status, report = ask(server)
    found = step(report, "credential")
    assert (status, found["status"], found["warning"]) == (200, "ok", True)
    assert "private_key" in found["error"]
    assert "will not start again" in found["cause"]
    key_file.unlink()
    assert "No such file" in step(ask(server)[1], "credential")["error"]


def test_a_file_that_workers_may_not_read_is_no_fault(check, filled,
                                                      key_file, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir(0o700)
    moved = key_file.rename(secret / "key.json")
    tmp_path.chmod(0o755)
    server = check(credentials=f"file {moved};", user="nobody nogroup")
    server.dir.chmod(0o777)
    status, report = ask(server)
    assert (status, states(report)["credential"]) == (200, "ok")
    assert "warning" not in step(report, "credential")


# bucket, list, read

def test_who_may_get_the_bucket_is_told_so(check, filled, key_file):
    filled.grant(email(key_file), "test-bucket",
                 ["objectViewer", "legacyBucketReader"])
    status, report = ask(check(" require=bucket,read"))
    assert status == 200
    assert states(report) == {**READS, "bucket": "ok"}


def test_an_empty_prefix_is_ok_with_a_warning(check, filled):
    status, report = ask(check("none/"))
    found = step(report, "list")
    assert (status, found["status"], found["warning"]) == (200, "ok", True)
    assert "nothing is under the prefix" in found["cause"]
    assert found["command"] == "gcloud storage ls gs://test-bucket/"
    assert states(report)["read"] == states(report)["range"] == "skipped"
    assert states(report)["sign"] == "skipped"


def test_the_prefix_is_what_is_listed(check, filled, bucket):
    filled.put_object(bucket, "b/é +&.txt", b"x")
    _, report = ask(check('b/é'))
    assert step(report, "read")["message"] == '"b/é +&.txt" was read'
    assert filled.requests("storage")[1]["target"].endswith(
        "&prefix=b%2F%C3%A9")


def test_folders_and_empty_objects_are_read_last(check, emulator, bucket):
    for name, data in (("a/", b""), ("a/b", b""), ("a/c", b"xx")):
        emulator.put_object(bucket, name, data)
    _, report = ask(check("a/"))
    assert step(report, "read")["message"] == '"a/c" was read'


def test_an_object_without_bytes_is_read_without_a_range(check, emulator,
                                                         bucket):
    emulator.put_object(bucket, "empty", b"")
    status, report = ask(check())
    assert status == 200
    assert states(report) == {**READS, "range": "skipped"}
    assert step(report, "range")["message"] == "the object has no bytes"


def test_only_folders_are_as_good_as_nothing(check, emulator, bucket):
    emulator.put_object(bucket, "a/", b"")
    status, report = ask(check())
    assert (status, states(report)["list"], states(report)["read"]) \
        == (200, "ok", "skipped")
    assert "warning" not in step(report, "list")


def test_pages_without_names_are_followed(check, filled):
    filled.fault(kind="storage", path=r"/o\?", count=2, status=200,
                 body='{"nextPageToken": "a+b/="}',
                 content_type="application/json")
    filled.fault(kind="storage", path=r"pageToken=", status=200,
                 body='{"items": [{"name": "a.txt", "size": "10"}]}')
    status, report = ask(check())
    assert (status, states(report)) == (200, READS)
    assert "pageToken=a%2Bb%2F%3D" in filled.requests("storage")[2]["target"]


def test_pages_without_names_are_not_followed_for_ever(check, filled):
    filled.fault(kind="storage", path=r"/o\?", count=None, status=200,
                 body='{"nextPageToken": "x"}')
    status, report = ask(check())
    assert (status, step(report, "list")["warning"]) == (200, True)
    assert len([r for r in filled.requests("storage")
                if "/o?" in r["target"]]) == 5


def test_without_permission_to_list_a_named_object_is_read(check, filled,
                                                           key_file):
    filled.grant(email(key_file), "test-bucket", ["legacyObjectReader"])
    status, report = ask(check("a.txt"))
    assert (status, states(report)) == (200, {**READS, "list": "failed"})
    status, report = ask(check())
    assert (status, states(report)["read"]) == (503, "skipped")
    assert "name one in" in step(report, "read")["message"]


@pytest.mark.parametrize("name", ["a/../b", "./x", "a//b", "%2e?#&=+ ü"])
def test_an_object_of_any_name_is_read(check, emulator, bucket, name):
    emulator.put_object(bucket, name, b"x")
    status, report = ask(check())
    assert (status, states(report)) == (200, READS)


def test_an_object_stored_compressed_is_read_in_ranges(check, emulator,
                                                       bucket):
    emulator.put_object(bucket, "a.gz", b"\x1f\x8b" + b"x" * 50,
                        content_encoding="gzip", content_type="text/plain")
    assert states(ask(check())[1]) == READS


def test_a_large_answer_to_a_range_is_not_read_to_its_end(check, emulator,
                                                          bucket):
    emulator.put_object(bucket, "big", size=5_000_000)
    for number in range(2):
        emulator.fault(kind="storage", path="/test-bucket/big", status=200,
                       body="x" * 1_000_000)
    status, report = ask(check())
    assert (status, states(report)) == (200, {**READS, "range": "failed"})
    assert step(report, "range")["message"] \
        == "one byte was asked for, and 200 was answered"
    assert "seeking" in step(report, "range")["cause"]


@pytest.mark.parametrize("value", ["bytes 0-0/11", "bytes 1-1/10", "bytes 0-0",
                                   "bytes 0-0/*", "x"])
def test_a_wrong_content_range_is_seen(check, filled, value):
    filled.fault(kind="storage", path="/test-bucket/a.txt", status=206,
                 body="0", headers={"Content-Range": value})
    assert states(ask(check())[1]) == {**READS, "range": "failed"}


# clock

@pytest.mark.parametrize("skew, state, warning", [
    (-50, "ok", False), (50, "ok", False), (70, "ok", True),
    (-70, "ok", True), (400, "failed", False), (-400, "failed", False)])
def test_the_clock_is_compared_with_googles(check, filled, skew, state,
                                            warning):
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT",
                         time.gmtime(time.time() - skew))
    filled.fault(kind="storage", path="/storage/v1/b/test-bucket",
                 remove_headers=["Date"], headers={"Date": date})
    status, report = ask(check())
    found = step(report, "clock")
    assert (status, found["status"]) == (200, state)
    assert found.get("warning", False) == warning
    if warning or state == "failed":
        assert ("ahead of" if skew > 0 else "behind") in found["message"]
        assert found["command"] == "timedatectl set-ntp true"


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_without_a_date_the_clock_is_skipped(check, filled, date):
    filled.fault(kind="storage", path="/storage/v1/b/test-bucket",
                 remove_headers=["Date"],
                 headers={"Date": date} if date else {})
    assert states(ask(check())[1]) == {**READS, "clock": "skipped"}


# tls

TLS = {"endpoint": "%%EMULATOR_TLS%%"}


def test_tls_is_verified_with_the_configured_authority(check, filled):
    status, report = ask(check(
        " require=tls,read", "gcs_ssl_trusted_certificate %%CA%%;", **TLS))
    assert (status, states(report)) == (200, {**READS, "tls": "ok"})
    assert step(report, "tls")["message"] \
        == 'the certificate of "localhost" was verified'
    assert report["endpoint"] == filled.https_url


def test_an_unknown_authority_fails_tls(check, filled):
    status, report = ask(check(**TLS))
    found = step(report, "tls")
    assert (status, found["status"]) == (503, "failed")
    assert "certificate" in found["error"]
    assert "not issued by an authority" in found["cause"]
    assert found["command"].startswith("openssl s_client -connect localhost:")
    assert {states(report)[name] for name in STEPS[3:]} == {"skipped"}
    assert filled.requests("storage") == []


def test_an_authority_that_workers_may_not_read_fails_tls(check, filled,
                                                          tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir(0o700)
    (secret / "ca.pem").write_bytes(Path(filled.ca_file).read_bytes())
    tmp_path.chmod(0o755)
    server = check(location="gcs_ssl_trusted_certificate "
                   f"{secret}/ca.pem;", user="nobody nogroup", **TLS)
    found = step(ask(server)[1], "tls")
    assert found["status"] == "failed"
    assert "cannot be read by the worker" in found["cause"], found["error"]


def test_another_name_in_the_certificate_fails_tls(check, filled):
    _, report = ask(check(
        location="gcs_ssl_trusted_certificate %%CA%%;",
        endpoint="%%EMULATOR_TLS%% host=elsewhere.example"))
    assert states(report)["tls"] == "failed"
    assert "for another name" in step(report, "tls")["cause"]


def test_verification_may_be_off_which_is_warned_of(check, filled):
    status, report = ask(check(location="gcs_ssl_verify off;", **TLS))
    assert (status, states(report)) == (200, {**READS, "tls": "ok"})
    assert step(report, "tls")["warning"] is True
    assert "gcs_ssl_verify" in step(report, "tls")["message"]


def test_the_first_server_of_an_upstream_is_asked(check, filled):
    server = check(
        endpoint="https://google host=localhost",
        http=f"""upstream google {{
            server 127.0.0.1:{filled.https_port};
            server 127.0.0.1:9 backup; }}""",
        location="gcs_ssl_trusted_certificate %%CA%%;")
    status, report = ask(server)
    assert (status, states(report)) == (200, {**READS, "tls": "ok"})
    assert report["endpoint"] == "https://localhost"
    assert {r["host"] for r in filled.requests("storage")} == {"localhost"}


def test_the_host_of_the_endpoint_is_sent(check, filled):
    filled.configure(hosts=["storage.test"])
    _, report = ask(check(endpoint="%%EMULATOR%% host=storage.test"))
    assert states(report) == READS
    assert {r["host"] for r in filled.requests("storage")} == {"storage.test"}


# write

WRITES = "gcs_methods GET HEAD PUT DELETE;"


def test_permission_to_write_is_asked_for_and_nothing_is_written(
        check, filled, key_file):
    filled.grant(email(key_file), "test-bucket", ["objectUser"])
    status, report = ask(check(" require=write", WRITES))
    assert (status, states(report)) == (200, {**READS, "write": "ok"})
    assert {r["method"] for r in filled.requests("storage")} == {"GET"}
    assert "testPermissions" in filled.requests("storage")[-1]["target"]


@pytest.mark.parametrize("roles, methods, missing", [
    (["objectViewer"], "PUT DELETE",
     " storage.objects.create storage.objects.delete"),
    (["objectViewer"], "DELETE", " storage.objects.delete"),
    (["objectViewer", "objectCreator"], "PUT", " storage.objects.delete"),
    (["objectViewer", "objectCreator"], "DELETE", " storage.objects.delete")])
def test_a_missing_permission_to_write_is_named(check, filled, key_file,
                                                roles, methods, missing):
    filled.grant(email(key_file), "test-bucket", roles)
    status, report = ask(check(location=f"gcs_methods GET {methods};"))
    found = step(report, "write")
    assert (status, found["status"]) == (200, "failed")
    assert found["message"] == "not granted:" + missing
    assert found["command"].endswith("--role=roles/storage.objectUser")


# cors

def rules(origins, headers=("Content-Type", "Content-Range")):
    return [{"origin": origins, "method": ["GET"],
             "responseHeader": list(headers), "maxAgeSeconds": 60}]


@pytest.mark.parametrize("origins", [[ORIGIN], ["*"]])
def test_an_allowed_origin_passes(check, filled, bucket, origins):
    filled.update_bucket(bucket, cors=rules(origins))
    status, report = ask(check(f" require=cors origin={ORIGIN}"))
    assert (status, states(report)) == (200, {**READS, "cors": "ok"})
    assert "gcs_cors" in step(report, "cors")["message"]


def test_each_origin_must_be_allowed(check, filled, bucket):
    filled.update_bucket(bucket, cors=rules([ORIGIN]))
    other = "http://localhost:8080"
    status, report = ask(check(f" origin={ORIGIN} origin={other}"))
    found = step(report, "cors")
    assert (status, found["status"]) == (200, "failed")
    assert found["message"] == f'the bucket does not let "{other}" read'
    assert "only for signed URLs" in found["cause"]
    text = found["command"].removeprefix("echo '").partition("' > ")[0]
    assert json.loads(text)[0]["origin"] == [ORIGIN, other]
    assert "gcloud storage buckets update gs://test-bucket " \
        "--cors-file=cors.json" in found["command"]


def test_the_command_for_cors_is_right(check, filled, bucket):
    command = step(ask(check(f" origin={ORIGIN}"))[1], "cors")["command"]
    text = command.removeprefix("echo '").partition("' > ")[0]
    filled.update_bucket(bucket, cors=json.loads(text))
    found = step(ask(check(f" origin={ORIGIN}"))[1], "cors")
    assert (found["status"], "warning" in found) == ("ok", False)


def test_a_hidden_content_range_is_warned_of(check, filled, bucket):
    filled.update_bucket(bucket, cors=rules([ORIGIN], ["Content-Type"]))
    found = step(ask(check(f" origin={ORIGIN}"))[1], "cors")
    assert (found["status"], found["warning"]) == ("ok", True)
    assert '"Content-Range"' in found["cause"]


# configuration

@pytest.mark.parametrize("arguments, expected", [
    (" require=", "invalid parameter"), (" require=x", "invalid parameter"),
    (" require=read,", "invalid parameter"), (" valid=x", "invalid parameter"),
    (" valid=2h", "invalid parameter"), (" public public",
                                         "invalid parameter"),
    (" origin=x", "invalid parameter"), (" origin=https://a'b",
                                         "invalid parameter"),
    (" " + " ".join(f"origin=http://{i}" for i in range(9)),
     "invalid parameter"), (" nonsense", "invalid parameter"),
    (" require=read require=list", "invalid parameter"),
    ("$uri", "variables are not possible"), ("..", "it must be"),
    (" require=write", 'requires "write"'),
    (" require=cors", 'requires "cors"')])
def test_a_wrong_argument_is_refused(check, arguments, expected):
    assert expected in check(arguments, start=False).refusal()


@pytest.mark.parametrize("location, expected", [
    ("gcs_pass gs://test-bucket/;", "another content handler"),
    ("gcs_status;", "another content handler"),
    ("proxy_pass http://127.0.0.1:1;", "another content handler"),
    ("gcs_check gs://other/;", "is duplicate"),
    ("gcs_user_project $arg_p;", "cannot have variables")])
def test_what_does_not_go_together_is_refused(check, location, expected):
    assert expected in check(location=location, start=False).refusal()


@pytest.mark.parametrize("auth, expected", [
    ("$arg_a", "cannot have variables"), ("signature", "nobody's"),
    ("nobody", "unknown")])
def test_an_identity_that_cannot_be_checked_is_refused(check, auth, expected):
    assert expected in check(auth=auth, start=False).refusal()


def test_clear_text_beyond_this_machine_is_refused(check):
    assert "clear text" in check(endpoint="http://192.0.2.1",
                                 start=False).refusal()


def test_sign_cannot_be_required_of_who_cannot_sign(check):
    said = check(" require=sign", auth="anonymous", start=False).refusal()
    assert 'credentials "anonymous" cannot sign' in said


def test_each_check_shakes_hands_anew(check, filled):
    server = check(" valid=0", "gcs_ssl_trusted_certificate %%CA%%;", **TLS)
    for number in range(1, 4):
        assert states(ask(server)[1])["tls"] == "ok"
        assert filled.connections()["storage"] >= number


# CORS without an object, and without an answer

def test_cors_is_asked_of_an_object_that_can_be_read(check, filled, bucket):
    found = step(ask(check(f"none/ origin={ORIGIN}"))[1], "cors")
    assert found["status"] == "skipped"
    assert found["message"] == "there is no object that could be read"


def test_cors_is_not_asked_by_nobody(check, filled, key_file):
    key_file.write_text(filled.service_account(registered=False))
    status, report = ask(check(f" origin={ORIGIN}"))
    assert (status, states(report)["cors"]) == (503, "skipped")


def test_a_refusal_tells_nothing_of_cors(check, filled):
    filled.fault(kind="storage", path="^/test-bucket/a.txt$", skip=1,
                 status=403, code="AccessDenied", count=None)
    found = step(ask(check(f" origin={ORIGIN}", auth="reader"))[1], "cors")
    assert (found["status"], found["message"]) == (
        "failed", "an object could not be read")


def test_without_a_connection_nothing_is_said_of_tls(check, filled):
    status, report = ask(check(
        endpoint=f"https://127.0.0.1:{free_port()}"))
    assert (status, states(report)["tls"]) == (503, "skipped")
    assert step(report, "tls")["message"] == "there was no connection"


# what stands before the bucket

def test_an_endpoint_may_be_a_socket_of_this_machine(check, filled):
    server = check(endpoint="http://storage", http="""
        upstream storage { server unix:%%DIR%%/storage.sock; }
        server { listen unix:%%DIR%%/storage.sock; access_log off;
                 location / { proxy_pass %%EMULATOR%%; } }""")
    found = states(ask(server)[1])
    # what is signed is the name, which is not that of the emulator
    assert {**found, "sign": "ok"} == READS

"""What gcs_status shows, in which form and to whom.

The formats are read by a strict parser of our own, and by promtool where there
is one (Debian's package prometheus has it).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from harness.nginx import wait_until

DOCS = Path(__file__).resolve().parent.parent / "docs" / "status.md"
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.5,"
                         "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"}
TEXT = {"Accept": "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"}

CONF = """
    gcs_credentials reader { file %%KEY%%; }
    gcs_credentials "odd \\"one\\" \\\\" { file %%KEY%%; timeout 3s; }
    server {
        listen       127.0.0.1:%%PORT%%;
        gcs_endpoint %%EMULATOR%%;
        gcs_auth     reader;
        location /media/ { gcs_pass gs://test-bucket/; }
        location ~ "^/od\\"d\\\\/(?<n>.*)" { gcs_pass gs://test-bucket/$n;
                                             gcs_buckets test-bucket; }
        location /b\xe4d/ { gcs_pass gs://test-bucket/; }
        location /signed/ { gcs_pass gs://test-bucket/; gcs_mode presign; }
        location /app/ { proxy_pass http://127.0.0.1:%%PORT%%/none/;
                         gcs_takeover @gcs; }
        location @gcs { gcs_pass $gcs_takeover_url;
                        gcs_auth signature; }
        location /status { gcs_status; }
        location /json { gcs_status json; }
        location /prometheus { gcs_status prometheus; }
    }"""


@pytest.fixture
def server(nginx, emulator, bucket, key_file):
    emulator.put_object(bucket, "a.txt", b"hi")
    instance = nginx(CONF)
    instance.wait_log("token refreshed")
    assert instance.get("/media/a.txt").body == b"hi"
    assert instance.get("/signed/a.txt").status == 303
    wait_until(lambda: sum(entry["requests"] for entry in
                           instance.get("/json").json()["requests"]) == 2)
    return instance


# a parser that takes nothing for granted

@dataclass
class Family:
    type: str
    help: str
    samples: dict[tuple[str, tuple], float] = field(default_factory=dict)


NAME = r"[a-z_:][a-z0-9_:]*"
LABEL = rf'({NAME})="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL}(?:,(?=[a-z])|(?=\}})))+)\}})?"
                    r" (\d+(?:\.\d+)?)$")
SUFFIXES = {"counter": ["_total"], "gauge": [""],
            "histogram": ["_bucket", "_sum", "_count"]}


def unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text)


def parse(text: str, openmetrics: bool) -> dict[str, Family]:
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    if openmetrics:
        assert lines.pop() == "# EOF"
    found: dict[str, Family] = {}
    name = ""
    while lines:
        line = lines.pop(0)
        if line.startswith("# "):
            match = re.fullmatch(rf"# HELP ({NAME}) (\S.*)", line)
            name = match[1]
            assert name not in found, "a family in two places"
            kind = re.fullmatch(rf"# TYPE {name} (counter|gauge|histogram)",
                                lines.pop(0))[1]
            found[name] = Family(kind, match[2])
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        labels = {n: unescape(v) for n, v in
                  re.findall(LABEL, match[2] or "")}
        assert len(labels) == (match[2] or "").count('="')
        family = found[name]
        suffixes = SUFFIXES[family.type]
        if family.type == "counter" and not openmetrics:
            assert name.endswith("_total")
            suffixes = [""]
        assert match[1] in [name + suffix for suffix in suffixes], line
        key = (match[1], tuple(sorted(labels.items())))
        assert key not in family.samples, f"twice: {line}"
        family.samples[key] = float(match[5])
    for name, family in found.items():
        if family.type == "histogram":
            check_histogram(name, family, openmetrics)
    return found


def check_histogram(name: str, family: Family, openmetrics: bool) -> None:
    series: dict[tuple, list[tuple[str, float]]] = {}
    for (sample, labels), value in family.samples.items():
        if sample == name + "_bucket":
            rest = tuple(pair for pair in labels if pair[0] != "le")
            series.setdefault(rest, []).append((dict(labels)["le"], value))
    for labels, buckets in series.items():
        limits = [float(limit) for limit, _ in buckets]
        counts = [count for _, count in buckets]
        assert limits == sorted(set(limits)) and limits[-1] == float("inf")
        assert counts == sorted(counts)
        assert family.samples[(name + "_count", labels)] == counts[-1]
        assert (name + "_sum", labels) in family.samples
        for limit, _ in buckets:
            assert ("." in limit or limit == "+Inf") or not openmetrics


def test_the_parser_is_strict():
    good = '# HELP a_total x\n# TYPE a_total counter\na_total{b="c"} 1\n'
    parse(good, False)
    for bad in (good[:-1], good + good, good + 'a_total{b="c"} 2\n',
                good.replace("a_total{", "a{"), good.replace('"c"', '"c'),
                good.replace('"c"', '"c",'), good.replace(" 1", " x"),
                good.replace(" x", "")):
        with pytest.raises((AssertionError, TypeError, KeyError, IndexError)):
            parse(bad, False)


# the formats

@pytest.mark.parametrize("path, headers, form", [
    ("/status", {}, "json"), ("/status", {"Accept": "*/*"}, "json"),
    ("/status", {"Accept": "text/html,*/*;q=0.8"}, "json"),
    ("/status", OPENMETRICS, "openmetrics"), ("/status", TEXT, "text"),
    ("/status", {"Accept": "Application/OpenMetrics-Text"}, "openmetrics"),
    ("/json", OPENMETRICS, "json"), ("/json", TEXT, "json"),
    ("/prometheus", {}, "text"), ("/prometheus", TEXT, "text"),
    ("/prometheus", {"Accept": "application/json"}, "text"),
    ("/prometheus", OPENMETRICS, "openmetrics")])
def test_the_directive_and_accept_choose_the_format(server, path, headers,
                                                    form):
    answer = server.get(path, headers)
    assert answer.status == 200
    assert answer.get("Content-Type") == {
        "json": "application/json",
        "text": "text/plain; version=0.0.4; charset=utf-8",
        "openmetrics": "application/openmetrics-text; version=1.0.0; "
                       "charset=utf-8"}[form]
    assert answer.get("Cache-Control") == "no-store"
    assert answer.get("Content-Length") == str(len(answer.body))
    if form == "json":
        assert answer.json()["requests"]
    else:
        assert "gcs_requests" in parse(answer.text, True) \
            if form == "openmetrics" \
            else "gcs_requests_total" in parse(answer.text, False)


def labels_of(families: dict[str, Family], name: str, label: str) -> set[str]:
    return {dict(labels)[label] for _, labels in families[name].samples
            if label in dict(labels)}


def test_names_are_escaped_and_always_utf_8(nginx, emulator, bucket,
                                            key_file):
    instance = nginx("")
    text = instance._template.replace("http {", "http {" + CONF, 1)
    instance.stop()
    instance.conf.write_bytes(instance.expand(text).encode("latin-1"))
    instance.start()
    families = parse(instance.get("/prometheus").body.decode(), False)
    names = {"/media/", '~ ^/od"d\\/(?<n>.*)', "/b\ufffdd/", "/signed/"}
    assert labels_of(families, "gcs_requests_total", "location") == names
    assert labels_of(families, "gcs_takeovers_total", "location") == {"/app/"}
    assert labels_of(families, "gcs_token_state", "credentials") \
        == {"reader", 'odd "one" \\'}
    found = json.loads(instance.get("/json").body.decode())
    assert {entry["location"] for entry in found["requests"]} == names


def test_all_formats_tell_the_same(server):
    found = server.get("/json").json()
    text = parse(server.get("/status", TEXT).text, False)
    other = parse(server.get("/status", OPENMETRICS).text, True)

    def codes(families, name):
        return {labels: value for (_, labels), value
                in families[name].samples.items()}

    assert codes(text, "gcs_requests_total") == codes(other, "gcs_requests")
    for entry in found["requests"]:
        of_row = {dict(labels)["code"]: value for labels, value
                  in codes(text, "gcs_requests_total").items()
                  if dict(labels)["location"] == entry["location"]
                  and dict(labels)["bucket"] == entry["bucket"]}
        assert sum(of_row.values()) == entry["requests"]
        for digit in "12345":
            assert sum(value for code, value in of_row.items()
                       if code[0] == digit) == entry["statuses"][digit + "xx"]


def test_the_table_of_the_page_is_what_is_shown(server):
    families = parse(server.get("/status", TEXT).text, False)
    shown = {(name, family.type,
              frozenset(label for _, labels in family.samples
                        for label, _ in labels if label != "le"))
             for name, family in families.items()}
    rows = re.findall(r"^\| `(gcs_\w+)` \| (\w+) \| ([^|]*) \|",
                      DOCS.read_text(), re.MULTILINE)
    assert {(name, kind, frozenset(re.findall(r"`(\w+)`", labels)))
            for name, kind, labels in rows} == shown


def test_the_json_of_the_page_has_the_members_that_are_shown(server):
    text, = re.findall(r"^```json\n(.*?)^```", DOCS.read_text(),
                       re.MULTILINE | re.DOTALL)

    def shape(value, depth=0):
        if isinstance(value, list):
            return [shape(value[0], depth)] if value else []
        if not isinstance(value, dict):
            return type(value).__name__
        return {name: shape(member) for name, member in value.items()
                if not re.match(r"[\d+]", name)}

    found = server.get("/json").json()
    found["requests"] = [entry for entry in found["requests"]
                         if entry["requests"]]
    assert shape(json.loads(text)) == shape(found)


def test_nothing_secret_is_shown(server, emulator, key_file):
    text = "".join(server.get(path, headers).text
                   for path in ("/status", "/json", "/prometheus")
                   for headers in ({}, OPENMETRICS))
    key = json.loads(key_file.read_text())
    for secret in [*emulator.secrets(), key["private_key_id"],
                   key["client_email"], "Signature", "Bearer", "a.txt"]:
        assert secret not in text


# promtool

@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool, which Debian's package prometheus has")
    return found


def test_promtool_finds_nothing_to_blame(server, promtool):
    done = subprocess.run([promtool, "check", "metrics"],
                          input=server.get("/status", TEXT).body,
                          capture_output=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def rules() -> str:
    text, = [block for block in re.findall(
        r"^```yaml\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
        if "alert:" in block]
    return text


def test_promtool_takes_the_alert_rules(promtool, tmp_path):
    (tmp_path / "gcs.yml").write_text(rules())
    done = subprocess.run([promtool, "check", "rules", tmp_path / "gcs.yml"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS: 8 rules found" in done.stdout


SERIES = 'instance="n",server="s",location="/m/",bucket="b"'
WHO = 'instance="n",credentials="reader"'
CODES = ("200", "403", "502")


def good_and_bad() -> list[tuple[str, list[tuple[str, str]]]]:
    """An alert, and series with which it fires, and it alone."""
    def codes(ok: int, forbidden: int, bad: int) -> list[tuple[str, str]]:
        return [(f'gcs_requests_total{{{SERIES},code="{code}"}}',
                 f"0+{step}x40")
                for code, step in zip(CODES, (ok, forbidden, bad))]

    up = [('gcs_build_info{version="0.1.0"}', "1x40")]
    buckets = "gcs_upstream_request_duration_seconds_bucket{" + SERIES
    return [
        ("GcsNoToken", up + [
            (f'gcs_token_state{{{WHO},state="valid"}}', "0x40")]),
        ("GcsTokenFetchFails", up + [
            (f"gcs_token_fetch_failures_total{{{WHO}}}", "0+1x40")]),
        ("GcsErrors", up + codes(90, 0, 10)),
        ("", up + codes(98, 1, 1)),
        ("GcsForbidden", up + codes(60, 40, 0)),
        ("GcsRetries", up + [
            (f"gcs_upstream_retries_total{{{SERIES}}}", "0+2x40"),
            ("gcs_upstream_request_duration_seconds_count{%s}" % SERIES,
             "0+10x40")]),
        ("GcsSlow", up + [(buckets + ',le="10"}', "0+1x40"),
                          (buckets + ',le="60"}', "0+10x40"),
                          (buckets + ',le="+Inf"}', "0+10x40")]),
        ("GcsSignatureFails", up + [
            (f"gcs_signature_failures_total{{{WHO}}}", "0+1x40")]),
        ("GcsNoMetrics", []),
        ("", up + codes(100, 0, 0) + [
            (f'gcs_token_state{{{WHO},state="valid"}}', "1x40"),
            (f'gcs_token_state{{{WHO},state="failed"}}', "0x40"),
            (f"gcs_token_fetch_failures_total{{{WHO}}}", "1x40")])]


def test_each_alert_fires_when_it_should_and_no_other(promtool, tmp_path):
    groups = yaml.safe_load(rules())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    assert {name for name, _ in good_and_bad()} - {""} == set(alerts)
    for group in groups:
        for rule in group["rules"]:
            rule.pop("annotations")
    (tmp_path / "gcs.yml").write_text(yaml.safe_dump({"groups": groups}))

    tests = []
    for firing, series in good_and_bad():
        labels = {"GcsNoMetrics": {},
                  "GcsNoToken": {"instance": "n", "credentials": "reader",
                                 "state": "valid"}}
        by_credentials = {"instance": "n", "credentials": "reader"}
        by_place = {"instance": "n", "server": "s", "location": "/m/"}
        tests.append({
            "interval": "1m",
            "input_series": [{"series": name, "values": values}
                             for name, values in series],
            "alert_rule_test": [{
                "eval_time": "30m", "alertname": name,
                "exp_alerts": [{"exp_labels": {
                    "severity": next(
                        rule["labels"]["severity"] for group in groups
                        for rule in group["rules"] if rule["alert"] == name),
                    **labels.get(name, by_credentials if "Token" in name
                                 or "Signature" in name else by_place)}}]
                if name == firing else []} for name in alerts]})
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(
        {"rule_files": ["gcs.yml"], "evaluation_interval": "1m",
         "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", tmp_path / "tests.yml"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alert_rules_name_only_what_is_shown(server):
    shown = {name for name, family in parse(
        server.get("/status", TEXT).text, False).items()}
    shown |= {"gcs_upstream_request_duration_seconds" + suffix
              for suffix in SUFFIXES["histogram"]}
    named = {name for group in yaml.safe_load(rules())["groups"]
             for rule in group["rules"]
             for name in re.findall(r"gcs_\w+", rule["expr"])}
    assert named and named <= shown


# methods

@pytest.mark.parametrize("path", ["/status", "/prometheus"])
def test_head_is_get_without_a_body(server, path):
    get, head = server.get(path), server.head(path)
    assert (head.status, head.body) == (200, b"")
    assert head.get("Content-Type") == get.get("Content-Type")
    assert head.get("Content-Length") is not None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(server, method):
    answer = server.request(method, "/status", body=b"x")
    assert (answer.status, answer.get("Allow")) == (405, "GET, HEAD")


# who may look

WHO_CONF = """
    server {
        listen 127.0.0.1:%%PORT%%;
        listen 127.0.0.1:%%PORT_PROXY%% proxy_protocol;
        listen unix:%%DIR%%/nginx.sock;
        {more}
        location /s { gcs_status; }
        location /p { gcs_status public; }
        location /limited { gcs_status public; limit_except GET {
                                                   deny all; } }
        location /if { gcs_status; if ($arg_x) { set $y 1; } }
    }"""


@pytest.fixture
def who(nginx):
    return lambda more="": nginx(WHO_CONF.replace("{more}", more))


def test_loopback_sees_it_and_public_needs_nothing(who):
    server = who()
    assert server.get("/s").status == 200
    assert server.get("/p", {"X-Forwarded-For": "192.0.2.1"}).status == 200
    answer = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
         "--unix-socket", server.dir / "nginx.sock", "http://x/s"],
        capture_output=True, text=True)
    assert answer.stdout == "200"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "x-real-ip",
                                    "Forwarded", "Via"])
def test_what_a_proxy_has_passed_on_is_not_of_this_machine(who, header):
    server = who()
    assert server.get("/s", {header: "127.0.0.1"}).status == 403
    assert server.head("/s", {header: "127.0.0.1"}).status == 403


def test_the_client_that_realip_names_counts_as_well(who):
    # the trusted proxy is this machine, and tells of a client elsewhere
    server = who("set_real_ip_from 127.0.0.0/8; real_ip_header X-Client;")
    assert server.get("/s").status == 200
    assert server.get("/s", {"X-Client": "192.0.2.1"}).status == 403
    assert server.get("/s", {"X-Client": "2001:db8::1"}).status == 403
    assert server.get("/s", {"X-Client": "127.0.0.2"}).status == 200
    assert server.get("/s", {"X-Client": "::1"}).status == 200
    assert server.get("/s", {"X-Client": "::ffff:192.0.2.1"}).status == 403


def test_the_client_that_the_proxy_protocol_names_counts_as_well(who):
    server = who()
    port = server.ports["PORT_PROXY"]

    def ask(line: bytes) -> int:
        return server.raw(line + b"\r\nGET /s HTTP/1.1\r\nHost: x\r\n\r\n",
                          port=port).status

    assert ask(b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2") == 403
    assert ask(b"PROXY TCP6 2001:db8::1 ::1 1 2") == 403
    assert ask(b"PROXY UNKNOWN") == 403
    assert ask(b"PROXY TCP4 127.1 127.0.0.1 1 2") == 403
    assert ask(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2") == 200


@pytest.fixture
def elsewhere() -> str:
    """An address of this machine by which a peer looks like another one."""
    found = subprocess.run(["hostname", "-I"], capture_output=True,
                           text=True).stdout.split()
    addresses = [address for address in found if ":" not in address]
    if not addresses:
        pytest.skip("this machine has no address but loopback")
    return addresses[0]


def status_by(address: str, port: int, *headers: str) -> int:
    done = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy",
         "*", *(word for header in headers for word in ("-H", header)),
         f"http://{address}:{port}/s"], capture_output=True, text=True)
    return int(done.stdout)


def test_a_peer_that_is_not_on_loopback_is_refused(nginx, elsewhere):
    server = nginx("""server { listen 0.0.0.0:%%PORT%%;
                               location /s { gcs_status; } }""")
    assert status_by("127.0.0.1", server.port) == 200
    assert status_by(elsewhere, server.port) == 403


def test_a_header_does_not_make_a_peer_local(nginx, elsewhere):
    server = nginx("""server { listen 0.0.0.0:%%PORT%%;
                               set_real_ip_from 0.0.0.0/0;
                               real_ip_header X-Client;
                               location /s { gcs_status; } }""")
    for claim in ("127.0.0.1", "::1", "127.0.0.1:80"):
        assert status_by(elsewhere, server.port, f"X-Client: {claim}") == 403
    assert status_by("127.0.0.1", server.port, "X-Client: 127.0.0.1") == 200


def test_blocks_inside_do_not_lose_it(who):
    server = who()
    assert server.get("/if?x=1").json()["version"]
    assert server.get("/limited").status == 200
    assert server.request("POST", "/limited").status == 403


# the configuration

@pytest.mark.parametrize("location, words", [
    ("gcs_status xml;", 'invalid value "xml" in "gcs_status"'),
    ("gcs_status json json;", 'invalid value "json" in "gcs_status"'),
    ("gcs_status json prometheus;", 'invalid value "prometheus"'),
    ("gcs_status public public;", 'invalid value "public"'),
    ("gcs_status; gcs_status;", '"gcs_status" directive is duplicate'),
    ("gcs_status json public x;", "invalid number of arguments"),
    ("gcs_status; gcs_pass gs://test-bucket/; gcs_auth anonymous;",
     '"gcs_status" cannot be used in a location with "gcs_pass"'),
    ("gcs_status; proxy_pass http://127.0.0.1;",
     '"gcs_status" cannot be used in a location with')])
def test_what_makes_no_sense_is_refused(nginx, location, words):
    server = nginx("server { listen 127.0.0.1:%%PORT%%; "
                   f"location / {{ {location} }} }}", start=False)
    assert words in server.refusal()


@pytest.mark.parametrize("arguments", ["json public", "public json",
                                       "public prometheus"])
def test_the_order_of_arguments_does_not_matter(nginx, arguments):
    server = nginx("server { listen 127.0.0.1:%%PORT%%; "
                   f"location /s {{ gcs_status {arguments}; }} }}")
    answer = server.get("/s", {"Via": "1.1 x"})
    assert answer.status == 200
    assert ("json" in answer.get("Content-Type")) == ("json" in arguments)

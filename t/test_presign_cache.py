"""Signed URLs that are the same for all: windows, the cache in shared memory,
and one signature of IAM at a time, whoever asks for it."""

from __future__ import annotations

import json
import os
import random
import re
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from harness.client import Connection, request_bytes
from harness.nginx import wait_until

ATTACHED = "attached@demo-project.iam.gserviceaccount.com"
ANOTHER = "another@demo-project.iam.gserviceaccount.com"
CREATOR = "roles/iam.serviceAccountTokenCreator"

MAGIC = 0x67637501                        # of the table in the shared memory
ENTRY = 72                                # bytes, ngx_gcs_url_cache_entry_t
URL_MAX = 1976

CONF = """
    gcs_credentials machine {{ metadata_server {metadata};
                               iam_endpoint %%EMULATOR%%; {block} }}
    gcs_credentials another {{ metadata_server {metadata};
                               iam_endpoint %%EMULATOR%%;
                               impersonate """ + ANOTHER + """; }}
    gcs_credentials key {{ file %%KEY%%; }}
    {http}
    server {{
        listen       127.0.0.1:%%PORT%% {listen};
        gcs_endpoint %%EMULATOR%%;
        gcs_auth     machine;
        add_header   X-Error $gcs_error always;
        add_header   X-Pid $pid always;
        {server}
        location /media/ {{
            gcs_pass gs://test-bucket/;
            gcs_mode presign;
            {more}
        }}
        location /ping {{ return 200 $pid; }}
    }}"""


@pytest.fixture
def google(emulator, bucket):
    """A machine whose account signs for itself, and for ANOTHER."""
    emulator.put_object(bucket, "a.txt", b"0123456789")
    emulator.metadata_account(ATTACHED, grants={bucket: "objectUser"})
    emulator.set_policy(ATTACHED, {CREATOR: ["serviceAccount:" + ATTACHED]})
    emulator.add_service_account(
        ANOTHER, grants={bucket: ["objectUser"]},
        policy={CREATOR: ["serviceAccount:" + ATTACHED]})
    return emulator


@pytest.fixture
def serve(nginx, google, key_file):
    def start(more="", server="", http="", block="", listen="", **kw):
        return nginx(CONF.format(more=more, server=server, http=http,
                                 block=block, listen=listen,
                                 metadata=google.metadata_host), **kw)
    return start


def signatures(emulator) -> list[dict]:
    return [record for record in emulator.requests("iam")
            if record["target"].endswith(":signBlob")]


def url_of(response) -> str:
    assert response.status in (303, 307), (response.status,
                                           response.get("X-Error"))
    return response.get("Location")


def fields(url: str) -> dict[str, str]:
    return {name: values[0] for name, values
            in parse_qs(urlsplit(url).query).items()}


def signed_at(url: str) -> int:
    stamp = time.strptime(fields(url)["X-Goog-Date"], "%Y%m%dT%H%M%SZ")
    return int(time.mktime(stamp) - time.timezone)


def works(url: str) -> bool:
    answer = requests.get(url, timeout=10)
    assert (answer.status_code, answer.content) == (200, b"0123456789"), \
        answer.text
    return True


def room(window: int, left: float) -> None:
    """Wait until the window, of the clock, has that many seconds left."""
    while window - time.time() % window < left:
        time.sleep(0.05)


# the window

@pytest.mark.parametrize("directives, ttl, window", [
    ("", 900, 300), ("gcs_presign_ttl 60s;", 60, 20),
    ("gcs_presign_ttl 2h;", 7200, 300),
    ("gcs_presign_window 7s;", 900, 7),
    ("gcs_presign_ttl 2s;", 2, None), ("gcs_presign_window off;", 900, None)])
def test_iam_signs_for_a_window_of_five_minutes_or_a_third_of_the_life(
        serve, google, directives, ttl, window):
    if window:
        room(window, 2)
    begin = int(time.time())
    url = url_of(serve(directives).get("/media/a.txt"))
    assert fields(url)["X-Goog-Expires"] == str(ttl)
    if window is None:
        assert begin <= signed_at(url) <= time.time()
    else:
        assert signed_at(url) == begin - begin % window


def test_a_key_signs_for_now_unless_there_is_a_window(serve, google):
    server = serve("gcs_auth key;", server="""location /window/ {
        gcs_pass gs://test-bucket/; gcs_auth key; gcs_mode presign;
        gcs_presign_window 10m; }""")
    room(600, 2)
    now = int(time.time())
    at = signed_at(url_of(server.get("/media/a.txt")))
    assert now <= at <= time.time()
    window = url_of(server.get("/window/a.txt"))
    assert signed_at(window) == now - now % 600
    assert url_of(server.get("/window/a.txt")) == window and works(window)


@pytest.mark.parametrize("who", ["machine", "key"])
def test_a_url_is_the_same_in_a_window_and_lives_as_long_as_promised(
        serve, google, who):
    """The life that is left lies between TTL less the window, and TTL."""
    server = serve(f"gcs_auth {who}; gcs_presign_ttl 60s; "
                   "gcs_presign_window 2s; gcs_presign_answer json;")
    seen: dict[str, set[int]] = {}
    end = time.monotonic() + 2.6
    while time.monotonic() < end:
        before = time.time()
        answer = server.get("/media/a.txt")
        after = time.time()
        url, until = answer.json()["url"], answer.json()["expires"]
        seen.setdefault(url, set()).add(until)
        assert until == signed_at(url) + 60
        # nginx's clock has seconds, and its second may be some ms old
        assert 60 - 2 - 1 <= until - before and until - after <= 60
        age = int(re.fullmatch(r"private, max-age=(\d+)",
                               answer.get("Cache-Control"))[1])
        assert 0 < age <= until - before + 1 - 6
        time.sleep(0.1)
    assert 2 <= len(seen) <= 4
    assert all(len(ends) == 1 for ends in seen.values())
    assert {signed_at(url) % 2 for url in seen} == {0}
    if who == "machine":
        assert len(signatures(google)) == len(seen)


# the key of the cache

CHANGES = {
    "object": "", "method": "gcs_presign_method HEAD;",
    "host style": "gcs_presign_host virtual;",
    "host": "gcs_presign_host http://cdn.example.com;",
    "scheme": "gcs_presign_host https://cdn.example.com;",
    "parameter": "gcs_presign_query generation 1;",
    "value of a parameter": "gcs_presign_query generation 2;",
    "name of a parameter": "gcs_presign_query generatio n1;",
    "header": "gcs_presign_header x-goog-meta-a 1;",
    "a header, not a parameter": "gcs_presign_header generation 1;",
    "value of a header": "gcs_presign_header x-goog-meta-a 2;",
    "life": "gcs_presign_ttl 16m;", "window": "gcs_presign_window 1h; "
                                              "gcs_presign_ttl 2h;",
    "identity": "gcs_auth another;", "endpoint": "gcs_endpoint "
                                                 "%%EMULATOR_TLS%%;",
}


def test_a_url_is_taken_only_for_what_is_the_same_in_everything(serve,
                                                                google):
    """One cache for all locations; each differs in one thing."""
    locations = "".join(f"""
        location /{number}/ {{
            gcs_pass gs://test-bucket/;
            gcs_ssl_trusted_certificate %%CA%%;
            gcs_mode presign; {change} }}"""
        for number, change in enumerate(CHANGES.values()))
    server = serve(server=locations)
    room(300, 10)
    urls = {}
    for number, name in enumerate(CHANGES):
        path = f"/{number}/" + ("b.txt" if name == "object" else "a.txt")
        urls[name] = url_of(server.get(path))
        assert url_of(server.get(path)) == urls[name]
    urls["plain"] = url_of(server.get("/media/a.txt"))
    urls["request's method"] = url_of(server.head("/media/c.txt"))
    urls["of GET"] = url_of(server.get("/media/c.txt"))

    assert len(set(urls.values())) == len(urls)
    assert works(urls["plain"])
    # what HEAD of a.txt is, two ways have asked for
    assert url_of(server.head("/media/a.txt")) == urls["method"]
    assert len(signatures(google)) == len(urls)
    assert "another@" in fields(urls["identity"])["X-Goog-Credential"]
    payloads = {r["json"]["payload"] for r in signatures(google)}
    assert len(payloads) >= len(urls) - 1   # "scheme" is not signed


def test_what_a_variable_gives_is_in_the_key(serve, google):
    server = serve("gcs_presign_query response-content-disposition $arg_d;"
                   "gcs_presign_header x-goog-meta-h $arg_h;")
    targets = ["/media/a.txt", "/media/a.txt?d=1", "/media/a.txt?d=2",
               "/media/a.txt?h=1", "/media/a.txt?d=1&h=1"]
    urls = [url_of(server.get(target)) for target in targets * 2]
    assert len(set(urls)) == len(targets)
    assert len(signatures(google)) == len(targets)
    # what only the request has, and no signature
    assert url_of(server.get("/media/a.txt?unused=1")) == urls[0]


def test_a_key_that_is_replaced_makes_new_urls(serve, google, key_file,
                                               emulator):
    email = json.loads(key_file.read_text())["client_email"]
    server = serve("gcs_auth key; gcs_presign_window 10m; "
                   "gcs_presign_cache zone=own:1m;")
    room(600, 10)
    old = url_of(server.get("/media/a.txt"))
    key_file.write_text(google.service_account(
        email, {"test-bucket": ["objectViewer"]}, key="second"))
    google.remove_key(email)
    server.reload(old_gone=True)
    new = url_of(server.get("/media/a.txt"))
    assert new != old and works(new)
    assert requests.get(old, timeout=10).status_code == 403


# the zone

def test_a_reload_keeps_the_urls(serve, google):
    server = serve()
    room(300, 10)
    url = url_of(server.get("/media/a.txt"))
    server.reload(old_gone=True)
    assert url_of(server.get("/media/a.txt")) == url
    assert len(signatures(google)) == 1


def test_without_a_cache_every_request_is_signed(serve, google):
    server = serve("gcs_presign_cache off;")
    room(300, 5)
    urls = {url_of(server.get("/media/a.txt")) for _ in range(3)}
    assert len(urls) == 1 and works(urls.pop())
    assert len(signatures(google)) == 3


def test_locations_share_a_zone_by_its_name(serve, google):
    def location(name, cache):
        return (f"location /{name}/ {{ gcs_pass gs://test-bucket/; "
                f"gcs_mode presign; gcs_presign_cache {cache}; }}")
    server = serve(server=location("one", "zone=shared:128k")
                   + location("two", "zone=shared")
                   + location("three", "zone=other:128k"))
    room(300, 10)
    urls = {url_of(server.get(f"/{name}/a.txt"))
            for name in ("one", "two", "three")}
    assert len(urls) == 1
    assert len(signatures(google)) == 2


def test_a_full_zone_costs_time_and_nothing_else(serve, google, bucket):
    server = serve("gcs_presign_cache zone=tiny:64k;")
    room(300, 30)
    with server.connect() as connection:
        for number in range(60):
            url = url_of(connection.get(f"/media/{number}"))
            assert urlsplit(url).path == f"/test-bucket/{number}"
        first = len(signatures(google))
        assert first == 60
        for number in range(60):
            url = url_of(connection.get(f"/media/{number}"))
            assert urlsplit(url).path == f"/test-bucket/{number}"
        # who was used last stays
        for _ in range(3):
            url_of(connection.get("/media/59"))
        again = len(signatures(google)) - first
        assert 0 < again <= 60
    assert works(url_of(server.get("/media/a.txt")))


def test_what_is_used_all_the_time_stays(serve, google):
    server = serve("gcs_presign_cache zone=tiny:64k;")
    room(300, 30)
    with server.connect() as connection:
        for number in range(40):
            url_of(connection.get(f"/media/{number}"))
            url_of(connection.get("/media/a.txt"))
    often = [r for r in signatures(google)]
    assert len(often) == 41


def test_a_url_too_long_for_the_cache_is_given_out_all_the_same(serve,
                                                                google):
    server = serve("gcs_presign_query response-content-disposition $arg_x;",
                   workers=2)
    target = "/media/a.txt?x=" + "%20" * 450
    with ThreadPoolExecutor(6) as pool:
        urls = [url_of(answer) for answer in
                pool.map(server.get, [target] * 6)]
    assert len(set(urls)) == 1 and len(urls[0]) > URL_MAX
    assert works(urls[0])


# memory that has gone wrong

class Zone:
    """The table of a cache in the memory of a running nginx."""

    def __init__(self, pid: int, size: int):
        self.mem = os.open(f"/proc/{pid}/mem", os.O_RDWR)
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(part, 16)
                          for part in line.split()[0].split("-"))
            if "/dev/zero" not in line or "rw-s" not in line \
                    or end - start != size:
                continue
            at = self.read(start, size).find(struct.pack("<Q", MAGIC))
            if at > 0:
                self.table, self.end = start + at, end
                self.sets, = struct.unpack(
                    "<Q", self.read(self.table + 8, 8))
                return
        raise LookupError("no such zone")

    def __del__(self) -> None:
        os.close(self.mem)

    def read(self, at: int, size: int) -> bytes:
        return os.pread(self.mem, size, at)

    def write(self, at: int, data: bytes) -> None:
        assert os.pwrite(self.mem, data, at) == len(data)

    @property
    def entries(self) -> int:
        return self.table + 24

    def entry(self) -> int:
        """The address of the only entry that has a URL."""
        found = [self.entries + i * ENTRY for i in range(self.sets * 8)
                 if struct.unpack("<I", self.read(
                     self.entries + i * ENTRY + 68, 4))[0]]
        assert len(found) == 1
        return found[0]

    def url(self, entry: int) -> int:
        number = (entry - self.entries) // ENTRY
        return self.entries + self.sets * 8 * ENTRY + number * URL_MAX


CORRUPT = "gcs_presign_cache zone=own:256k;"


@pytest.mark.parametrize("seed", range(4))
def test_garbage_in_the_zone_costs_time_and_nothing_else(serve, google,
                                                         seed):
    """Of everything but nginx's own lock and page list."""
    random.seed(seed)
    server = serve(CORRUPT + "gcs_token_timeout 3s;", workers=2)
    room(300, 20)
    names = [str(number) for number in range(12)]
    right = {name: url_of(server.get("/media/" + name)) for name in names}
    zone = Zone(server.children()[0], 256 * 1024)
    start = zone.table if seed % 2 else zone.entries
    zone.write(start, random.randbytes(zone.end - start))
    for _ in range(2):
        for name in names:
            assert url_of(server.get("/media/" + name)) == right[name]
        if not seed % 2:
            server.reload()
    works(url_of(server.get("/media/a.txt")))


@pytest.mark.parametrize("seed", range(3))
def test_bytes_that_change_all_the_time_cost_time_and_nothing_else(
        serve, google, seed):
    random.seed(seed)
    server = serve(CORRUPT + "gcs_token_timeout 3s;", workers=2)
    room(300, 20)
    names = [str(number) for number in range(6)]
    right = {name: url_of(server.get("/media/" + name)) for name in names}
    zone = Zone(server.children()[0], 256 * 1024)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        for _ in range(400):
            entry = zone.entries + random.randrange(zone.sets * 8) * ENTRY
            zone.write(random.choice([
                entry + random.randrange(ENTRY), zone.table + 16
                + random.randrange(8), zone.url(entry)
                + random.randrange(600)]), random.randbytes(1))
        for name in names:
            assert url_of(server.get("/media/" + name)) == right[name]


def test_garbage_while_nobody_looks_does_not_stay(serve, google):
    server = serve(CORRUPT)
    room(300, 10)
    url = url_of(server.get("/media/a.txt"))
    zone = Zone(server.children()[0], 256 * 1024)
    zone.write(zone.entries, bytes(zone.end - zone.entries))
    assert url_of(server.get("/media/a.txt")) == url
    assert url_of(server.get("/media/a.txt")) == url
    assert len(signatures(google)) == 2


FAR = struct.pack("<q", 1 << 40)
# offset in the entry, what is written there
FIELDS = {
    "key": (0, b"\x55" * 32), "used": (32, b"\xff" * 8),
    "lease": (40, FAR), "failed": (48, FAR), "failed long ago": (48, b"\1"),
    "until": (56, FAR), "until a minute later": (56, None),
    "check": (64, b"\x99" * 4), "length": (68, struct.pack("<I", 77)),
    "length of all": (68, b"\xff" * 4),
    "no URL, and failed": (48, FAR + bytes(8 + 4 + 4)),
    "no URL, and a long lease": (40, "five minutes"),
}


@pytest.mark.parametrize("field", [*FIELDS, "URL", "end of the URL"])
def test_one_field_that_has_gone_wrong_costs_time_and_nothing_else(
        serve, google, field):
    server = serve(CORRUPT + "gcs_token_timeout 2s;"
                   "gcs_presign_answer json;", workers=2)
    room(300, 10)
    right = server.get("/media/a.txt").json()
    zone = Zone(server.children()[0], 256 * 1024)
    entry = zone.entry()
    if field == "URL":
        zone.write(zone.url(entry) + 40, b"X")
    elif field == "end of the URL":
        zone.write(zone.url(entry) + len(right["url"]) - 3, b"\0\0\0")
    else:
        at, data = FIELDS[field]
        if data is None:
            data = struct.pack("<q", right["expires"] + 60)
        elif data == "five minutes":       # of nginx's clock
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000000
            data = struct.pack("<q", now + 300000) + bytes(8 + 8 + 4 + 4)
        zone.write(entry + at, data)
    for _ in range(6):
        begin = time.monotonic()
        answer = server.get("/media/a.txt")
        assert answer.status == 200, answer.get("X-Error")
        assert answer.json() == right
        age = int(answer.get("Cache-Control").partition("=")[2])
        assert age <= right["expires"] - time.time()
        assert time.monotonic() - begin < 1.5
    assert server.lines("error") == []


@pytest.mark.parametrize("sets", [0, 1 << 20, 1 << 62, -1 % (1 << 64)])
def test_a_reload_does_not_believe_a_size_that_cannot_be(serve, google, sets):
    server = serve(CORRUPT, workers=2)
    right = url_of(server.get("/media/a.txt"))
    zone = Zone(server.children()[0], 256 * 1024)
    zone.write(zone.table + 8, struct.pack("<Q", sets))
    server.reload(old_gone=True)
    for number in range(20):
        assert str(number) in url_of(server.get(f"/media/{number}"))
    room(300, 1)
    assert url_of(server.get("/media/a.txt")).split("?")[0] \
        == right.split("?")[0]


# one signature for all

def ask(server, count: int, path: str = "/media/a.txt") -> list[Connection]:
    """Send that many requests, each on a connection, and read nothing."""
    made = []
    for _ in range(count):
        connection = server.connect()
        connection.send(request_bytes("GET", path, connection.host))
        made.append(connection)
    return made


def held_by(server, pid: int) -> int:
    """Connections of clients that a worker has accepted."""
    port = f":{server.port:04X} "
    inodes = {line.split()[9] for line in
              Path("/proc/net/tcp").read_text().splitlines()
              if port in line.split()[1] + " " and line.split()[3] == "01"}
    fds = 0
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            link = os.readlink(fd)
        except OSError:
            continue
        fds += link.removeprefix("socket:[").removesuffix("]") in inodes
    return fds


# so that each of many workers has some of the requests
SPREAD = {"workers": 8, "listen": "reuseport backlog=1024"}


def test_eight_workers_ask_iam_once(serve, google):
    """Who signs keeps the right to do so, however long it takes."""
    google.fault(kind="iam", path=":signBlob", delay=4)
    server = serve(**SPREAD)
    room(300, 5)
    answers = [c.response() for c in ask(server, 200)]
    assert {a.status for a in answers} == {303}
    assert len({a.get("Location") for a in answers}) == 1
    assert works(answers[0].get("Location"))
    assert len({a.get("X-Pid") for a in answers}) > 1
    assert len(signatures(google)) == 1


def test_another_worker_signs_when_the_first_is_killed(serve, google):
    """When it has not said for some time that it still does."""
    google.fault(kind="iam", path=":signBlob", hang=True)
    server = serve(**SPREAD)
    server.expect("exited on signal 9")
    workers = server.children()
    waiting = ask(server, 80)
    wait_until(lambda: len(signatures(google)) == 1, 10)
    wait_until(lambda: sum(held_by(server, pid) for pid in workers) >= 80, 10)
    first = signer(google, workers)
    lost = held_by(server, first)
    server.signal("KILL", first)
    begin = time.monotonic()
    gone, urls = 0, set()
    for connection in waiting:
        try:
            urls.add(url_of(connection.response()))
        except ConnectionError:
            gone += 1
    assert gone == lost < 80
    assert len(urls) == 1 and works(urls.pop())
    assert time.monotonic() - begin < 9
    assert len(signatures(google)) == 2
    wait_until(lambda: len(server.children()) == 8)


def signer(google, workers: list[int]) -> int:
    """The worker whose connection the first signBlob came on."""
    port = signatures(google)[0]["client_port"]
    suffix = f":{port:04X}"
    inode = next(line.split()[9] for line in
                 Path("/proc/net/tcp").read_text().splitlines()
                 if line.split()[1].endswith(suffix)
                 and line.split()[9] != "0")     # one that has been closed
    for pid in workers:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            if os.readlink(fd) == f"socket:[{inode}]":
                return pid
    raise LookupError("no worker has it")


def test_a_failure_is_told_to_all_who_wait(serve, google):
    google.fault(kind="iam", path=":signBlob", status=403, body="{}", delay=1,
                 count=None)
    server = serve(**SPREAD)
    answers = [c.response() for c in ask(server, 80)]
    assert {a.status for a in answers} == {502}
    assert len({a.get("X-Pid") for a in answers}) > 1
    assert {a.get("X-Error") for a in answers} <= {
        "impersonation_denied", "signature_unavailable"}
    assert len(signatures(google)) == 1
    assert len(server.lines("error", "a URL could not be signed")) == 1
    server.wait_log("no signed URL of gcs credentials", count=80)


def test_clients_that_go_away_disturb_nobody(serve, google):
    google.fault(kind="iam", path=":signBlob", delay=1)
    server = serve(**SPREAD)
    waiting = ask(server, 60)
    wait_until(lambda: len(signatures(google)) == 1)
    for connection in waiting[::2]:
        connection.close()
    urls = {url_of(c.response()) for c in waiting[1::2]}
    assert len(urls) == 1 and works(urls.pop())
    assert len(signatures(google)) == 1


def test_a_signature_that_nobody_waits_for_is_kept(serve, google):
    google.fault(kind="iam", path=":signBlob", delay=0.5)
    server = serve()
    room(300, 5)
    for connection in ask(server, 3):
        wait_until(lambda: len(signatures(google)) == 1)
        connection.close()
    wait_until(lambda: signatures(google)[0]["complete"])
    url_of(server.get("/media/a.txt"))
    assert len(signatures(google)) == 1


def test_a_worker_that_ends_waits_for_the_signature(serve, google):
    google.fault(kind="iam", path=":signBlob", delay=1)
    server = serve()
    waiting = ask(server, 5)
    wait_until(lambda: len(signatures(google)) == 1)
    server.signal("QUIT")
    urls = {url_of(c.response()) for c in waiting}
    assert len(urls) == 1 and works(urls.pop())
    wait_until(lambda: not server.running)


def test_old_and_new_workers_share_a_signature_over_a_reload(serve, google):
    google.fault(kind="iam", path=":signBlob", delay=1.5)
    server = serve()
    room(300, 5)
    old, = server.children()
    waiting = ask(server, 5)
    wait_until(lambda: len(signatures(google)) == 1)
    server.reload()
    server.wait_log(rf"{old}#\d+: gracefully shutting down")
    waiting += ask(server, 5)
    answers = [c.response() for c in waiting]
    assert len({url_of(a) for a in answers}) == 1
    assert len({a.get("X-Pid") for a in answers}) == 2
    assert len(signatures(google)) == 1


def test_what_an_ending_worker_drops_is_signed_by_another(serve, google):
    """Its clients have gone; the new worker's have not."""
    google.fault(kind="iam", path=":signBlob", status=503, retry_after=2)
    server = serve()
    old, = server.children()
    first, = ask(server, 1)
    wait_until(lambda: len(signatures(google)) == 1)
    server.reload()
    server.wait_log(rf"{old}#\d+: gracefully shutting down")
    waiting = ask(server, 3)
    # they wait for the old worker's signature
    time.sleep(0.1)
    assert len(signatures(google)) == 1
    first.close()
    begin = time.monotonic()
    urls = {url_of(c.response()) for c in waiting}
    assert len(urls) == 1 and works(urls.pop())
    assert time.monotonic() - begin < 6


def test_each_of_several_urls_in_the_making_is_its_own(serve, google):
    google.fault(kind="iam", path=":signBlob", delay=0.5, count=None)
    server = serve()
    names = ["a.txt", "b.txt", "c.txt"] * 2
    with ThreadPoolExecutor(6) as pool:
        urls = list(pool.map(lambda name: url_of(server.get("/media/" + name)),
                             names))
    assert [urlsplit(url).path for url in urls] \
        == ["/test-bucket/" + name for name in names]
    assert urls[:3] == urls[3:]
    assert len(signatures(google)) == 3


def test_a_fast_end_does_not_wait(serve, google):
    google.fault(kind="iam", path=":signBlob", hang=True)
    server = serve()
    ask(server, 5)
    wait_until(lambda: len(signatures(google)) == 1)
    server.stop(5)


# errors of the directive

@pytest.mark.parametrize("directives, words", [
    ("gcs_presign_cache on;", 'invalid value "on" in "gcs_presign_cache"'),
    ("gcs_presign_cache zone=;", "invalid value"),
    ("gcs_presign_cache zone=:1m;", "invalid value"),
    ("gcs_presign_cache zone=a:x;", "invalid value"),
    ("gcs_presign_cache zone=a:;", "invalid value"),
    ("gcs_presign_cache zone=a:-1;", "invalid value"),
    ("gcs_presign_cache zone=a:63k;", 'zone "a".*is too small'),
    ("gcs_presign_cache off; gcs_presign_cache off;", "is duplicate"),
    ("gcs_presign_cache zone=a:1m; gcs_presign_cache off;", "is duplicate"),
    ("gcs_presign_cache zone=a:1m b;", "invalid number of arguments"),
    ("gcs_presign_cache zone=a;", 'zone.*"a"')])
def test_a_mistake_is_told(serve, directives, words):
    said = serve(directives, start=False).refusal()
    assert re.search(words, said), said


def test_two_sizes_of_one_zone_conflict(serve):
    said = serve("gcs_presign_cache zone=a:1m;", server="""location /x/ {
        gcs_pass gs://test-bucket/; gcs_mode presign;
        gcs_presign_cache zone=a:2m; }""", start=False).refusal()
    assert '"a"' in said and "size" in said


def test_a_zone_of_another_module_is_none_of_ours(serve):
    said = serve("gcs_presign_cache zone=limits:1m;", http="""
        limit_req_zone $binary_remote_addr zone=limits:1m rate=1r/s;""",
                 start=False).refusal()
    assert "limits" in said
